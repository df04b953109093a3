"""Large files between processes: beside the honest source alone, and many at once beside a registry.

Givers and takers are processes of their own, as nodes are; they share the machine's cores, so what counts is the ratio.
"""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from bench.harness import LONG, Figure, row
from tests.chaos.peer import manifest_of
from tests.chaos.peers import at as place
from tests.chaos.peers import peer, write_manifest

HOST = "tcp://127.0.0.1"
MIB = 1 << 20


@dataclass(slots=True)
class Files:
    """A file, its manifest, and a copy that is wrong in its second half."""

    good: Path
    bad: Path
    manifest: Path
    copy: Path

    @classmethod
    def make(cls, folder: Path, count: int) -> "Files":
        """`count` MiB that do not repeat."""
        files = cls(*(folder / name for name in ("good", "bad", "manifest", "copy")))
        piece = os.urandom(MIB)
        with files.good.open("wb") as right, files.bad.open("wb") as wrong:
            for number in range(count):
                mark = number.to_bytes(8, "big")
                right.write(mark + piece[8:])
                wrong.write((mark if number < count // 2 else b"\xff" + mark[1:]) + piece[8:])
        write_manifest(manifest_of(files.good), files.manifest)
        return files


@pytest.fixture
def files(tmp_path: Path, at: str) -> Iterator[Files]:
    made = Files.make(tmp_path, int(at.removesuffix("-MiB")))
    yield made
    for path in (made.good, made.bad, made.copy):
        path.unlink(missing_ok=True)


def seconds(files: Files, *, villains: bool) -> float:
    """One fetch: from an honest process alone, or with one that corrupts and one that is killed half way."""
    with contextlib.ExitStack() as stack:
        sources = (files.good, files.bad, files.good) if villains else (files.good,)
        givers = [
            stack.enter_context(peer("give", number, HOST, path, files.good))
            for number, path in enumerate(sources, start=1)
        ]
        told = [one.line() for one in givers]
        taker = stack.enter_context(peer("take", 9, files.manifest, files.copy, *map(place, told)))
        assert taker.line() == {"half": True}
        if villains:
            givers[2].kill()
        result = taker.line()
    assert list(result["liars"]) == ([told[1]["node"]] if villains else [])
    assert result["duplicates"] < max(1, result["chunks"] / 100)
    return float(result["seconds"])


@pytest.mark.parametrize("at", ["256-MiB", pytest.param("1024-MiB", marks=LONG)])
@row("transfer/three-sources", "one corrupts, one dies half way", unit="s", rounds=3)
def test_three_sources_of_which_one_lies_and_one_dies(measure, files, at):
    measure(
        Figure(lambda: seconds(files, villains=True)),
        {"the honest source alone": Figure(lambda: seconds(files, villains=False))},
    )
    assert files.copy.stat().st_size == files.good.stat().st_size
