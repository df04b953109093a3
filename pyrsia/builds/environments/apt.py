"""Asks the operator's own apt which packages a root needs, and brings their files.

apt resolves in folders of ours, with an empty list of installed packages, from the machine's configured sources and
keys: it checks the archive's signatures, we keep only names and digests. Nothing is installed, and no root's rights
are needed.

Source: docs/environments.md, "How a root is made"; apt-get(8), apt.conf(5).
"""

import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final
from urllib.parse import unquote

from pyrsia.builds.environments.lock import Part
from pyrsia.errors import Refusal
from pyrsia.units import Limit

APT_S = Limit(1_800, "500 MB of packages on a slow line")
_URI: Final = re.compile(r"'(?P<url>[^']+)' (?P<file>\S+) (?P<size>\d+) SHA256:(?P<sha256>[0-9a-f]{64})")
_ARCHIVE: Final = re.compile(r"'(?P<base>[^'\s]+)/dists/[^'/\s]+/InRelease'")
_SUITE: Final = re.compile("[a-z][a-z0-9-]{1,30}")
_KEYS: Final = tuple(
    Path("/usr/share/keyrings") / f"{name}-archive-keyring.gpg" for name in ("debian", "ubuntu")
)
_LISTS_AGE_S = Limit(
    86_400, "archives publish four times a day; a day-old list still names files that are there"
)


class Apt:
    """apt-get with folders below `state`.

    Args:
        arch: in Debian's words (`amd64`); the machine's own where it is "".
        suite: another release of the machine's own archive (`trixie`); its own sources where it is "".
    """

    def __init__(self, state: Path, arch: str = "", suite: str = "") -> None:
        self._state = state
        self._arch = arch
        self._suite = suite

    def plan(
        self, packages: Sequence[str], leave: Iterable[str] = (), wish: Iterable[str] = ()
    ) -> tuple[Part, ...]:
        """The closure of `packages` and of what of `wish` the archive has, recommended ones left out, without `leave`.

        Blocks: call it in a thread.

        Raises:
            Refusal: `no-environment` without apt; `unresolvable` with apt's words.
        """
        self._refresh()
        left = frozenset(leave)
        wished = [one for one in wish if self._has(one)]
        text = self._run("--print-uris", "-y", "install", *packages, *wished)
        found = [_part(match) for match in _URI.finditer(text)]
        if not found:
            raise _refusal("apt named no files", "look at /etc/apt/sources.list.d; then try again")
        return tuple(one for one in found if one.name not in left)

    def fetch(self, parts: Iterable[Part], into: Path) -> None:
        """Download what is not in `into` yet; every file comes to lie there under its file name, unchecked."""
        into.mkdir(parents=True, exist_ok=True)
        self._refresh()
        self._run("download", *(f"{one.name}={one.version}" for one in parts), cwd=into)

    def _has(self, package: str) -> bool:
        try:
            return bool(self._run("--print-uris", "download", package))
        except Refusal:
            return False

    def _refresh(self) -> None:
        if shutil.which("apt-get") is None:
            raise _refusal(
                "this machine has no apt",
                "make it on Debian or Ubuntu, or import an archive that was made there",
            )
        for name in ("state/lists/partial", "cache/archives/partial"):
            (self._state / name).mkdir(parents=True, exist_ok=True)
        if self._suite and not self._other.exists():
            self._other.write_text(other_release(self._run("--print-uris", "update"), self._suite))
        stamp = self._state / "refreshed"
        if not stamp.exists() or _age_s(stamp) > _LISTS_AGE_S.value:
            self._run("update")
            stamp.touch()

    @property
    def _other(self) -> Path:
        return self._state / "suite.sources"

    def _run(self, *words: str, cwd: Path | None = None) -> str:
        own = {
            "Dir::State": self._state / "state",
            "Dir::State::status": "/dev/null",
            "Dir::Cache": self._state / "cache",
            "APT::Install-Recommends": "false",
            "APT::Sandbox::User": "root" if os.geteuid() == 0 else "",
            "Acquire::ForceHash": "SHA256",
            "Acquire::Languages": "none",
            "Debug::NoLocking": "true",
        }
        if self._arch:
            own |= {"APT::Architecture": self._arch, "APT::Architectures": self._arch}
        if self._other.exists():
            own |= {"Dir::Etc::sourcelist": self._other, "Dir::Etc::sourceparts": "-"}
        options = [part for key, value in own.items() if value != "" for part in ("-o", f"{key}={value}")]
        env = {"PATH": "/usr/bin:/bin", "LC_ALL": "C"} | {
            key: value
            for key, value in os.environ.items()
            if key.lower() in ("http_proxy", "https_proxy", "no_proxy")
        }
        try:
            done = subprocess.run(
                ["/usr/bin/apt-get", "-q", *options, *words],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                cwd=cwd,
                env=env,
                text=True,
                errors="replace",
                timeout=APT_S.value,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise _refusal(
                f"apt did not answer: {error}", "try again; see that the machine reaches its mirror"
            ) from error
        if done.returncode:
            lines = [line for line in done.stderr.splitlines() if line.startswith("E:")] or [
                "it said nothing"
            ]
            raise _refusal(
                ascii(" ".join(lines)[:400]),
                "look at the names, at /etc/apt/sources.list.d, and whether the lock is of another release (--suite)",
            )
        return done.stdout


def other_release(told: str, suite: str) -> str:
    """A source of `suite` on the first archive among what `apt-get --print-uris update` told, as deb822 has it.

    Raises:
        Refusal: `usage` for no suite's name, `unresolvable` where no archive was told.
    """
    if not _SUITE.fullmatch(suite):
        raise Refusal("usage", what=f"{suite[:40]!a} is no release", who="your command", do="write trixie")
    found = _ARCHIVE.search(told)
    if found is None:
        raise _refusal("apt names no archive", "look at /etc/apt/sources.list.d")
    keys = next((path for path in _KEYS if found["base"].rstrip("/").endswith(path.stem.split("-")[0])), None)
    signed = f"Signed-By: {keys}\n" if keys is not None and keys.exists() else ""
    return f"Types: deb\nURIs: {found['base']}\nSuites: {suite}\nComponents: main\n{signed}"


def _part(match: re.Match[str]) -> Part:
    """`1%3a2.3` in a file's name is the version `1:2.3`."""
    name, version, _ = match["file"].removesuffix(".deb").split("_")
    return Part(name, unquote(version), match["file"], match["sha256"], int(match["size"]))


def _age_s(path: Path) -> float:
    return time.time() - path.stat().st_mtime


def _refusal(what: str, do: str) -> Refusal:
    return Refusal(
        "unresolvable", what=f"the packages of a root cannot be had: {what}", who="apt on this machine", do=do
    )
