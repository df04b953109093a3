"""pip and uv against a node, as their users run them: every case of one client, one after the other."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from consuming import Between, Tree, between

Row = dict[str, str]
UV = str(Path(sys.executable).with_name("uv"))  # of the group `clients`, wherever PATH leads
QUIET = {"PIP_CONFIG_FILE": os.devnull, "PIP_DISABLE_PIP_VERSION_CHECK": "1", "UV_NO_CONFIG": "1"}


def run(*words: str | Path, good: bool = True, cwd: Path | None = None, **environ: str) -> str:
    """What a client printed, on both streams; it must have ended as it should."""
    hidden = ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS", "UV_INDEX_URL", "UV_DEFAULT_INDEX")
    outer = {name: value for name, value in os.environ.items() if name not in hidden}
    done = subprocess.run(
        list(map(str, words)), cwd=cwd, env=outer | QUIET | environ, capture_output=True, text=True, timeout=240,
        check=False,
    )  # fmt: skip
    assert (done.returncode == 0) == good, f"{words}\n{done.stdout[-4_000:]}\n{done.stderr[-4_000:]}"
    return done.stdout + done.stderr


def installed(target: Path) -> int:
    return len(list(target.glob("many_*-1.0.dist-info")))


def row(command: Callable[[Path, str, Path], list[str]], url: str, index: Tree, folder: Path) -> Row:
    """A sentence for each case, what was seen.

    Args:
        command: (target, index URL, cache) -> the client's words before the requirement.
        url: of a node that gives many-5 with all that it needs, and refuses many-0==1.1.
        index: an index that holds both and counts; it is asked for nothing.
    """
    told: Row = {}
    with between(url) as way:
        simple = f"{way.url}/pypi/simple/"
        words = partial(command, index=simple, cache=folder / "cache")
        began = time.monotonic()
        run(*words(target=folder / "cold"), "many-5==1.0")
        assert installed(folder / "cold") == 6
        told["cold"] = f"6 packages, {len(way.asked)} requests, {time.monotonic() - began:.1f} s"
        told["warm"] = _warm(way, lambda: run(*words(target=folder / "warm"), "many-5==1.0"))
        way.lie = ".whl"
        said = run(*command(folder / "lied", simple, folder / "c2"), "many-5==1.0", good=False)
        told["wrong hash"] = _line(said, "hash")
        way.lie = "\0"
        asked = list(index.asked)
        said = run(*command(folder / "denied", simple, folder / "c3"), "many-0==1.1", good=False)
        assert index.asked == asked
        told["policy refusal"] = _line(said, "deny") + "; the index that has it was asked 0 times"
        way.cut = ".whl"
        cut = command(folder / "cut", simple, folder / "c4")
        again = "by itself"
        try:
            run(*cut, "many-5==1.0")
        except AssertionError:
            again = "in the next run"
            run(*cut, "many-5==1.0")
        assert installed(folder / "cut") == 6
        told["interrupted transfer"] = f"the rest was asked for {again}"
    return told


def _warm(way: Between, call: Callable[[], object]) -> str:
    before = len(way.asked)
    call()
    files = [path for path in way.asked[before:] if path.endswith(".whl")]
    return f"{len(way.asked) - before} requests, {len(files)} of them for files"


def _line(said: str, word: str) -> str:
    found = [line.strip() for line in said.splitlines() if word in line.lower()]
    assert found, f"{word!r} is not in {said[-2_000:]}"
    return found[0][:300]


def pip_words(target: Path, index: str, cache: Path) -> list[str]:
    return [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--cache-dir",
        str(cache),
        "--target",
        str(target),
        "--index-url",
        index,
    ]


def uv_words(target: Path, index: str, cache: Path) -> list[str]:
    return [
        UV,
        "pip",
        "install",
        "--cache-dir",
        str(cache),
        "--target",
        str(target),
        "--default-index",
        index,
    ]
