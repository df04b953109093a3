"""1 GiB from three processes, one of which lies and one is killed half way: the right bytes all the same.

How long it takes beside the honest source alone is a row of the bench (bench/test_mesh_transfer.py).
"""

import contextlib
import hashlib
import os
from pathlib import Path

import pytest

from tests.chaos.peer import manifest_of
from tests.chaos.peers import at, peer, write_manifest

HOST = "tcp://127.0.0.1"
GROWTH_KB = 65_536  # what a transfer may hold


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """A file of 1 GiB that does not repeat, and a copy with a flipped bit in each chunk of its second half."""
    folder = tmp_path_factory.mktemp("large")
    good, bad = folder / "good", folder / "bad"
    piece = os.urandom(1 << 20)
    with good.open("wb") as right, bad.open("wb") as wrong:
        for number in range(1_024):
            mark = number.to_bytes(8, "big")
            right.write(mark + piece[8:])
            wrong.write((mark if number < 512 else b"\xff" + mark[1:]) + piece[8:])
    yield good, bad
    good.unlink()
    bad.unlink()


def digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def test_one_lies_and_one_dies_and_the_bytes_are_right(large, tmp_path):
    good, bad = large
    manifest = write_manifest(manifest_of(good), tmp_path / "manifest")
    copy = tmp_path / "copy"
    with contextlib.ExitStack() as stack:
        honest, liar, mortal = (
            stack.enter_context(peer("give", number, HOST, path, good))
            for number, path in enumerate((good, bad, good), start=1)
        )
        told = [one.line() for one in (honest, liar, mortal)]
        taker = stack.enter_context(peer("take", 9, manifest, copy, *map(at, told)))
        assert taker.line() == {"half": True}
        mortal.kill()
        result = taker.line()
    assert digest(copy) == digest(good)
    assert list(result["liars"]) == [told[1]["node"]]
    assert "wrong chunk" in result["liars"][told[1]["node"]]
    assert set(result["given"]) >= {told[0]["node"], told[2]["node"]}
    assert result["duplicates"] < result["chunks"] / 100
    assert result["grown_kb"] <= GROWTH_KB
