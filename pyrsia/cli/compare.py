"""`build compare`: whether two files are the same after normalising; on this machine, without a node."""

import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pyrsia.builds.explain.report import KINDS
from pyrsia.cli.explain import members
from pyrsia.cli.tell import json_option, tell

if TYPE_CHECKING:
    from pyrsia.builds.explain.comparing import Compared

_IN_WORDS = {
    "identical": "identical: the same bytes",
    "equivalent": "equivalent: the same content, packed differently",
    "different": "different",
}
_file = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command()
@click.argument("first", type=_file)
@click.argument("second", type=_file)
@click.option(
    "--as",
    "kind",
    type=click.Choice(KINDS),
    help="What both are [what each one's name and first bytes say].",
)
@json_option
def compare(first: Path, second: Path, kind: str | None, as_json: bool) -> int:
    """Whether two files are the same once their packing is taken away: times, order, owners, compression.

    The normaliser of their kind (wheel, jar, image layer, Conan package, tar, gzip) reads both in the sandbox of this
    machine; no node is asked. Exit code 0: identical or equivalent, 1: different, 2: one cannot be read.
    """
    import trio

    found = trio.run(_compare, first, second, kind or "")
    tell(asdict(found), as_json=as_json, text=lambda: _lines(found))
    return 1 if found.result == "different" else 0


async def _compare(first: Path, second: Path, kind: str) -> "Compared":
    from pyrsia.builds.explain.comparing import compare as compared
    from pyrsia.builds.sandbox import choose

    sandbox = await choose(allow_confined=True)
    with tempfile.TemporaryDirectory(prefix="pyrsia-compare-") as folder:
        return await compared((first, second), sandbox, Path(folder), kind=kind)


def _lines(found: "Compared") -> Iterator[str]:
    yield _IN_WORDS[found.result]
    for letter, side in zip("AB", found.sides, strict=True):
        taken = ", ".join(side.normalised) or "nothing"
        yield f"{letter}  {side.name}" + (f"  {side.kind} took away {taken}" if side.kind else "")
    if found.pair is None:
        return
    if found.pair.note or not found.pair.differing:
        yield from found.sentences
    else:
        yield f"{len(found.pair.differing) + found.pair.more} of {found.pair.members} files differ"
    yield from members(found.pair)
