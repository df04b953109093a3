"""What the commands that read whole logs share: whom to believe, progress, and how a wrong thing is told."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from pyrsia.cli.tell import tell, trust_option
from pyrsia.errors import Malformed, Refusal, Unavailable
from pyrsia.log.checking import Wrong
from pyrsia.wire.text import safe

if TYPE_CHECKING:  # imported when a command runs, not for --help
    from pyrsia.audit.copying import Round

Command = TypeVar("Command", bound=Callable[..., Any])

QUIET_S: Final = 1.0  # what takes less needs no progress
TERMINAL_S: Final = 0.2  # between two looks on a terminal, where one line is written over
FILE_S: Final = 10.0  # and in a file, where each look is a line


def belief_options(command: Command) -> Command:
    """`--vkey`, `--origin` and `--trust`."""
    for option in (
        trust_option,
        click.option("--origin", metavar="TEXT", help="The log's origin line [the name of its key]."),
        click.option(
            "--vkey",
            "vkeys",
            multiple=True,
            metavar="KEY",
            help="A verifier key of any C2SP log or cosigner; repeated, all of them must have signed.",
        ),
    ):
        command = option(command)
    return command


class Progress:
    """Entries done and how fast, on standard error, once it takes more than a second."""

    def __init__(self, doing: str) -> None:
        self._doing = doing
        self._began_s = time.monotonic()
        self._next_s = self._began_s + QUIET_S
        self._terminal = sys.stderr.isatty()
        self._open = False

    def __call__(self, done: int, total: int) -> None:
        now_s = time.monotonic()
        if now_s < self._next_s:
            return
        self._next_s = now_s + (TERMINAL_S if self._terminal else FILE_S)
        text = self.line(done, total, done / max(now_s - self._began_s, 0.001))
        if self._terminal:
            click.echo(f"\r\x1b[K{text}", nl=False, err=True)
            self._open = True
        else:
            click.echo(text, err=True)

    def line(self, done: int, total: int, rate: float) -> str:
        """What is shown. `rate`: a second, since the beginning."""
        return f"{self._doing} {done:,} of {total:,} entries, {rate:,.0f}/s"

    def end(self) -> None:
        """Leave the terminal on a line of its own."""
        if self._open:
            click.echo("\r\x1b[K", nl=False, err=True)
            self._open = False


class CatchingUp:
    """Progress of a log that is followed: told while there is much to catch up with, and silent at its end."""

    def __init__(self) -> None:
        self._progress: Progress | None = None

    def __call__(self, done: int, total: int) -> None:
        if self._progress is None:
            self._progress = Progress("looked at")
        self._progress(done, total)
        if done + 1 >= total:
            self._progress.end()
            self._progress = None


@contextmanager
def reading(name: str, progress: Progress | None = None) -> Iterator[None]:
    """What a log that cannot be read is refused for."""
    try:
        yield
    except Wrong:
        raise
    except Malformed as error:
        raise Refusal(
            "proof-invalid",
            what=str(error),
            who=f"the log at {name}",
            do="do not rely on it; ask its operators",
        ) from None
    except Unavailable as error:
        raise Refusal(
            "unavailable",
            what=str(error),
            who=f"the log at {name}, or the way there",
            do="look at the address and try again later",
        ) from None
    finally:
        if progress is not None:
            progress.end()


def tell_wrong(wrong: Wrong, name: str, *, as_json: bool) -> int:
    """Name the first wrong thing; the exit code."""
    fault = wrong.fault
    if as_json:
        tell({"ok": False, "source": name, "fault": fault.as_dict()}, as_json=True, text=list)
        return 1
    where = [
        f"{label} {value:,}"
        for label, value in (("entry", fault.entry), ("hash", fault.hash), ("byte", fault.offset))
        if value is not None
    ]
    lines = [f"pyrsia: {fault.path}: {fault.what}", f"  where: {name}" + "".join(f", {one}" for one in where)]
    lines += [f"  expected: {fault.expected}"] * bool(fault.expected)
    lines += [f"  found:    {fault.found}"] * bool(fault.found)
    for line in lines:
        click.echo(safe(line), err=True)
    return 1


def copied(done: "Round", folder: Path, *, as_json: bool) -> None:
    """What one round of a copy brought."""
    found = done.head.checkpoint
    value = {
        "ok": True,
        "folder": str(folder),
        "origin": found.origin,
        "size": found.size,
        "old_size": done.old,
        "root": found.root.hex(),
        "files": done.files,
        "bytes": done.octets,
        "reused": done.reused,
        "removed": done.pruned,
    }
    grown = f"{done.old:,} -> {found.size:,}" if found.size > done.old else f"{found.size:,}, as before"
    again = f", {done.reused:,} found there" if done.reused else ""
    tell(
        value,
        as_json=as_json,
        text=lambda: [f"{found.origin}: {grown}; {done.files:,} files, {done.octets:,} bytes written{again}"],
    )
