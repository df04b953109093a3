"""The checkers: found, built and run. Each says yes, or why not."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

HERE = Path(__file__).resolve().parent
FSCK = "github.com/transparency-dev/tessera/cmd/fsck@v1.0.4"
BUILD_S, CHECK_S = 600, 300


def go() -> str | None:
    """Go, if this machine has it."""
    return shutil.which("go") or next(iter(_there(Path("/usr/local/go/bin/go"))), None)


def _there(path: Path) -> Iterator[str]:
    if path.exists():
        yield str(path)


def _run(arguments: list[str], wait_s: int, **changes: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        arguments,
        cwd=HERE / "checklog",
        capture_output=True,
        text=True,
        errors="replace",
        timeout=wait_s,
        env={**os.environ, "GOTOOLCHAIN": "local", **changes},
        check=False,
    )


@dataclass(frozen=True)
class Checkers:
    """Built programs. `fsck` is None where it was not asked for."""

    checklog: Path
    fsck: Path | None

    def complaints(self, folder: Path, vkey: str, cosigner: str = "") -> list[str]:
        """What each checker has against the log in `folder`; an empty text is a yes."""
        asked = [[str(self.checklog), str(folder), vkey, *([cosigner] if cosigner else [])]]
        if self.fsck is not None:
            key = folder.with_name(f"{folder.name}.vkey")
            key.write_text(vkey + "\n")
            asked.append(
                [
                    str(self.fsck),
                    f"--storage_url=file://{folder}/",
                    f"--public_key={key}",
                    "--ui=false",
                    "--N=2",
                ]
            )
        return [_complaint(_run(one, CHECK_S)) for one in asked]


def _complaint(done: subprocess.CompletedProcess[str]) -> str:
    # Tessera's fsck ends with 0 whatever it found (v1.0.4): only its words count.
    said = f"{done.stdout}{done.stderr}".strip()
    if done.returncode == 0 and ("ok: " in done.stdout or "Successfully fsck'd log" in said):
        return ""
    return said[-500:] or f"exit {done.returncode}"


def build(folder: Path, *, offline: bool) -> Checkers | str:
    """The programs, built into `folder`; or, in a sentence, why they are not to be had.

    Args:
        offline: nothing is fetched; Tessera's fsck is left out.
    """
    found = go()
    if found is None:
        return "this machine has no Go"
    proxy = {"GOPROXY": "off", "GOFLAGS": "-mod=readonly"} if offline else {}
    run = partial(_run, wait_s=BUILD_S, GOBIN=str(folder), **proxy)
    done = run([found, "build", "-o", str(folder / "checklog"), "."])
    if done.returncode == 0 and not offline:
        done = run([found, "install", FSCK])
    if done.returncode != 0:
        return f"the modules of the checkers are not to be had: {done.stderr.strip()[-300:]}"
    return Checkers(folder / "checklog", None if offline else folder / "fsck")


def versions() -> str:
    """What was used, for the record."""
    told = _run([go() or "go", "version"], CHECK_S).stdout.split()
    required = [line for line in (HERE / "checklog" / "go.mod").read_text().splitlines() if "require" in line]
    return f"{' '.join(told[2:])}; {FSCK.replace('@', ' ')}; {required[0].removeprefix('require ')}"
