"""Files cut into pieces by the real sandbox: unchanged members are shared, odd archives are cut coarsely."""

import contextlib
import io
import random
import zipfile
from types import SimpleNamespace

import pytest
import trio

from pyrsia.builds.sandbox import BuildLimits
from pyrsia.node.storage.recipes import Recipes
from pyrsia.store.rocks import Database
from pyrsia.transfer import delta
from pyrsia.units import CHUNK_BYTES
from tests.e2e.sandbox_backends import make


def archive(members, comment=b""):
    """A ZIP file of (name, seed): equal seeds have equal bytes."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, seed in members:
            packed.writestr(zipfile.ZipInfo(name), random.Random(seed).randbytes(30_000 + seed))
        packed.comment = comment
    return out.getvalue()


@contextlib.contextmanager
def recipes(folder):
    shop = SimpleNamespace(sandbox=make("namespace"), scratch=folder / "scratch", limits=BuildLimits())
    database = Database.open(folder / "db")
    try:
        yield Recipes(database, shop)
    finally:
        database.close()


async def cut(book, folder, data):
    path = folder / "file"
    path.write_bytes(data)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(book.run)
        found = await book.soon(random.Random(data).randbytes(32), path, len(data))
        nursery.cancel_scope.cancel()
    return found


async def test_versions_share_the_members_that_did_not_change(tmp_path):
    old = archive([(f"package/{number}.py", number) for number in range(50)])
    new = archive([(f"package/{number}.py", number if number % 10 else 900) for number in range(60)])
    with recipes(tmp_path) as book:
        first, second = [await cut(book, tmp_path, data) for data in (old, new)]
    assert b"".join(delta.name_of(new[at : at + size]) for _, at, size in second.spans()) == second.names
    plan = delta.plan(second, delta.places([first]))
    shared = sum(30_000 + number for number in range(50) if number % 10)
    assert shared <= plan.shared < len(new)


@pytest.mark.parametrize("oddity", ["comment", "prefix", "no-archive", "cut", "bomb"])
async def test_an_odd_file_is_cut_into_fixed_pieces(tmp_path, oddity):
    data = archive([(f"{number}", number) for number in range(40)])
    odd = {
        "comment": archive([("one", 1)] * 1, b"a comment") + bytes(700_000),
        "prefix": b"#!/bin/sh\n" + data,
        "no-archive": random.Random(1).randbytes(700_000),
        "cut": data[:-30],
        "bomb": data[:-2] + b"\xff\xff",
    }[oddity]
    with recipes(tmp_path) as book:
        found = await cut(book, tmp_path, odd)
    step = CHUNK_BYTES.value
    assert set(found.sizes[:-1]) == {step}
    assert found.size == len(odd)


async def test_what_was_cut_is_kept_and_a_file_that_is_gone_is_forgotten(tmp_path):
    data = archive([("one", 1), ("two", 2)])
    name = random.Random(data).randbytes(32)
    with recipes(tmp_path) as book:
        assert book.kept(name, len(data)) is None
        found = await cut(book, tmp_path, data)
        assert book.kept(name, len(data)) == found
        assert book.kept(name, len(data) + 1) is None
        book.forget(name)
        assert book.kept(name, len(data)) is None


async def test_without_a_sandbox_nothing_is_cut(tmp_path):
    database = Database.open(tmp_path / "db")
    try:
        assert await cut(Recipes(database, None), tmp_path, archive([("one", 1)])) is None
    finally:
        database.close()
