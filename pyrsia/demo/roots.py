"""Environments for the demo's builders: made once on this machine, kept, and shared by all its nodes."""

import fcntl
import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from platformdirs import user_cache_path

from pyrsia.errors import Refusal

MAKE_S: Final = 1_800.0  # 300 MB of packages over a slow line; a quick one takes half a minute


@dataclass(frozen=True, slots=True)
class Roots:
    """Environments that are here: `ids` in the order asked for, and the folder that nodes share."""

    ids: tuple[str, ...] = ()
    folder: str = ""


def folder() -> Path:
    """Where they are kept between demos: a cache, that may be deleted."""
    return user_cache_path("pyrsia") / "demo"


def made(names: Sequence[str], data: Path, say: Callable[[str], None]) -> Roots:
    """The environments called `names` (see `pyrsia build environment list`), made where they lack.

    Raises:
        Refusal: `no-environment`, with what the command said.
    """
    if not names:
        return Roots()
    data.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (data / "making").open("w") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)  # who comes second finds them made
        ids = [_made(name, data, say) for name in names]
    return Roots(tuple(ids), str(data / "environments"))


def _made(name: str, data: Path, say: Callable[[str], None]) -> str:
    """The id of one environment."""
    say(f"making the build environment {name!r} below {data}, or finding it made")
    command = [sys.executable, "-m", "pyrsia", "build", "environment", "make", name]
    done = subprocess.run(
        [*command, "--data", str(data), "--json"],
        capture_output=True,
        text=True,
        timeout=MAKE_S,
        check=False,
    )
    try:
        answer = json.loads(done.stdout)
        return str(answer["id"])
    except (ValueError, KeyError, TypeError):
        raise Refusal(
            "no-environment",
            what=f"the build environment {name!r} could not be made: {(done.stderr or done.stdout).strip()[-600:]}",
            who="this machine or its package archives",
            do="try `pyrsia build environment make` by hand, or run the demo without it",
        ) from None
