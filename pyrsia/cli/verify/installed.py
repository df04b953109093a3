"""`verify` for what is installed: environments, local repositories, images, locks; one table, one exit code."""

import sys
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from pyrsia.cli.tell import table, tell
from pyrsia.consumers.installed.rows import HEADER, Row, as_dict, cells, closing_lines, exit_code

if TYPE_CHECKING:  # imported when the command runs, not for --help
    from pyrsia.consumers.installed.prover import Prover
    from pyrsia.consumers.installed.sources import FromNode, Source
    from pyrsia.policy.rules import Policy
    from pyrsia.verify.evidence import Evidence
    from pyrsia.verify.knowing import Learn
    from pyrsia.verify.pins import Pin

PROGRESS_S: Final = 1.0  # a command that takes longer says how far it is
_WIDE: Final = 60  # columns of a cell; whole texts are in --json


@dataclass(frozen=True, slots=True)
class What:
    """What is checked: exactly one of the first six, or several of them in turn."""

    digests: tuple[str, ...] = ()
    venvs: tuple[Path, ...] = ()
    m2s: tuple[Path, ...] = ()
    conans: tuple[Path, ...] = ()
    images: tuple[str, ...] = ()
    locks: tuple[Path, ...] = ()
    skip: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.digests or self.venvs or self.m2s or self.conans or self.images or self.locks)

    def unseen(self) -> list[str]:
        """What is not looked at where these are checked; docs/verify.md says why."""
        told = (
            (self.venvs, "of an environment the interpreter, its standard library, and what switches it on"),
            (self.m2s, "of a local repository Maven's own notes: checksums, metadata, where files came from"),
            (self.conans, "of a Conan home sources, builds, what finalize() made, extensions and hooks"),
            (self.images, "of an image at a node the layers themselves, which are not downloaded"),
            (self.locks, "of a lock the project's own packages and what is installed already"),
        )
        return [one for named, one in told if named]


@dataclass(frozen=True, slots=True)
class How:
    """Where proofs come from, what is believed and accepted, and how it is told."""

    target: str | None
    bundle: Path | None
    save: Path | None
    believed: "Sequence[Pin]"
    policy: "Policy"
    learn: "Learn"
    purl: str | None
    every: bool
    as_json: bool


def run(what: What, how: How, remember: "Callable[[Evidence, bool], None]") -> int:
    """Check it all, tell it, and answer the exit code.

    Raises:
        Refusal: `not-running`, `not-found`, `bad-request`, `too-large`: nothing can be said then.
    """
    if how.bundle is None:
        node = _node(how)
        return _run(what, how, node, node, remember)
    from pyrsia.consumers.installed.bundle import FromBundle

    with closing(FromBundle(how.bundle)) as bundle:
        return _run(what, how, bundle, None, remember)


def _node(how: How) -> "FromNode":
    from pyrsia.consumers.installed.sources import FromNode

    return FromNode(how.target)


def _run(
    what: What,
    how: How,
    given: "Source",
    node: "FromNode | None",
    remember: "Callable[[Evidence, bool], None]",
) -> int:
    from pyrsia.consumers.installed.bundle import Recorder
    from pyrsia.consumers.installed.prover import Prover
    from pyrsia.keys import verify as verify_signature

    recorder = Recorder(given)
    source: Source = recorder if how.save is not None else given
    prover = Prover(
        source,
        how.believed,
        now_ms=int(time.time() * 1000),
        verify=verify_signature,
        policy=how.policy,
        learn=how.learn,
    )
    rows = _rows(what, how, prover, source, node)
    for found in prover.seen.values():
        remember(found, source.current)
    told = {**as_dict(rows), "not_looked_at": what.unseen()}
    if how.save is not None:
        told["bundle"] = str(how.save)
        head = {
            "made_ms": int(time.time() * 1000),
            "node": node.target if node else "",
            "networks": _networks(prover),
        }
        recorder.save(how.save, head)
    tell(told, as_json=how.as_json, text=lambda: _lines(rows, what, how))
    return exit_code(rows)


def _networks(prover: "Prover") -> list[dict[str, str]]:
    return [{"name": one.pin.name, "digest": f"sha256:{one.pin.digest}"} for one in prover.seen.values()]


def _rows(what: What, how: How, prover: "Prover", source: "Source", node: "FromNode | None") -> list[Row]:
    from pyrsia.consumers.installed import conan_home, images, locks, m2, venv

    tick = Progress(quiet=how.as_json)
    rows = [prover.row(f"sha256:{one}", one, how.purl or "") for one in what.digests]
    for root in what.venvs:
        rows += venv.check(root, prover, source, skip=what.skip, tick=tick)
    for root in what.m2s:
        rows += m2.check(root, prover, tick=tick)
    for root in what.conans:
        rows += conan_home.check(root, prover, source, tick=tick)
    for image in what.images:
        rows += images.check(image, prover, node, expected=how.purl or "", tick=tick)
    for lock in what.locks:
        rows += locks.check(lock, prover, source, tick=tick)
    return rows


def _lines(rows: Sequence[Row], what: What, how: How) -> list[str]:
    short = [tuple(_cut(cell) for cell in line) for line in cells(rows, every=how.every)]
    lines = [*(table(short, HEADER) if short else []), *closing_lines(rows)]
    if unseen := what.unseen():
        lines.append(f"not looked at: {'; '.join(unseen)}")
    return [*lines, f"bundle: {how.save}"] if how.save else lines


def _cut(cell: str) -> str:
    """A digest by its beginning; a long path by its end, which tells more."""
    if cell.startswith("sha256:"):
        return f"{cell[:23]}..."
    return cell if len(cell) <= _WIDE or " " in cell else f"...{cell[-_WIDE + 3 :]}"


class Progress:
    """A line on standard error now and then, for what takes longer than a second."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._next_s = time.monotonic() + PROGRESS_S
        self._every_s = PROGRESS_S if sys.stderr.isatty() else 5 * PROGRESS_S

    def __call__(self, number: int, total: int, what: str) -> None:
        now_s = time.monotonic()
        if self._quiet or now_s < self._next_s:
            return
        from pyrsia.wire.text import safe

        self._next_s = now_s + self._every_s
        of = f" of {total}" if total else ""
        click.echo(f"  {number}{of}: {safe(what)[:80]}", err=True)
