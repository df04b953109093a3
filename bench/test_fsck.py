"""Checking a whole log of ours in files, with all cores, beside the same check as one would write it first."""

import hashlib
from pathlib import Path

import pytest

from bench.harness import LONG, Timed, row
from bench.logs import entries
from pyrsia._native import merkle
from pyrsia.audit.fsck import check
from pyrsia.audit.heads import Quorum
from pyrsia.audit.sources import DirectorySource
from pyrsia.keys import verify
from pyrsia.ledger import entries as codec
from pyrsia.ledger.genesis import Genesis
from pyrsia.log import checkpoint, tiles
from pyrsia.log.checkpoint import Checkpoint
from pyrsia.log.note import SignedNote
from pyrsia.log.tiles import Bundle, Tile
from pyrsia.log.tree import TILE_WIDTH, Frontier
from pyrsia.units import TreeSize
from pyrsia.wire import canonical
from tests.reference.ledger import World, key, make_genesis

PLAIN_BUNDLES = 40  # the plain way is slow and steady: these stand for all


def written(folder: Path, leaves, genesis: Genesis) -> Quorum:
    """Export `leaves`, a generator, as files with a checkpoint of three validators."""
    frontier, edge = Frontier(), {}
    pending: list[bytes] = []

    def put(path: str, data: bytes) -> None:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)

    def bundle() -> None:
        nonlocal frontier
        index, width = frontier.size // TILE_WIDTH, len(pending)
        put(Bundle(index, width).path, tiles.bundle_encode(pending))
        frontier, changed = frontier.append(merkle.leaf_hashes(pending))
        for (level, number), hashes in changed.items():
            edge[level] = (number, hashes)
            if len(hashes) == TILE_WIDTH * 32:
                put(Tile(level, number).path, hashes)
        pending.clear()

    for leaf in leaves:
        pending.append(leaf)
        if len(pending) == TILE_WIDTH:
            bundle()
    if pending:
        bundle()
    for level, (number, hashes) in edge.items():
        put(Tile(level, number, len(hashes) // 32).path, hashes)
    head = Checkpoint(genesis.origin, frontier.size, frontier.root())
    lines = [checkpoint.log_line(head, key(0, "log").sign, key(0, "log").public)]
    lines += [
        checkpoint.cosign_line(head, key(i, "cosign").sign, key(i, "cosign").public, 1) for i in range(3)
    ]
    put("genesis", genesis.raw)
    put("checkpoint", SignedNote(head.text(), tuple(lines)).encode())
    return Quorum(genesis)


def facts(genesis: Genesis, size: int):
    yield genesis.raw
    for first in range(1, size, 10_000):
        yield from entries(first, min(10_000, size - first))


def plainly(folder: Path, bundles: int) -> None:
    """Read, split, parse, hash and compare, entry by entry, with what every Python has."""
    for index in range(bundles):
        found = tiles.bundle_decode((folder / Bundle(index).path).read_bytes(), TILE_WIDTH)
        for entry in found:
            canonical.decode(entry)
        row = b"".join(hashlib.sha256(b"\0" + entry).digest() for entry in found)
        assert row == (folder / Tile(0, index).path).read_bytes()
        while len(row) > 32:
            row = b"".join(
                hashlib.sha256(b"\1" + row[at : at + 64]).digest() for at in range(0, len(row), 64)
            )


def silent(done: int, total: int) -> None:
    """Nobody watches."""


@row("fsck/files", "a log in files checked: hashes, tiles, form", unit="entries/s", goal=400_000)
@pytest.mark.parametrize("at", [50_000, pytest.param(1_000_000, marks=LONG)])
def test_files(measure, tmp_path, at):
    genesis = Genesis.parse(make_genesis())
    rule = written(tmp_path, facts(genesis, at), genesis)
    source = DirectorySource(tmp_path)
    report = check(source, rule, silent)
    assert (report.head.checkpoint.size, report.formed, report.notes) == (TreeSize(at), True, ())
    measure(
        Timed(lambda: check(source, rule, silent), at),
        {"plain Python": Timed(lambda: plainly(tmp_path, PLAIN_BUNDLES), PLAIN_BUNDLES * TILE_WIDTH)},
    )


@row("fsck/full", "the same, with signatures and execution", unit="entries/s")
def test_full(measure, tmp_path):
    world = World()
    for number in range(2):
        raws = [
            world.entry(
                node,
                "fact.add",
                {
                    "kind": "description",
                    "subject": f"pkg:pypi/p{number}-{i}@1",
                    "text": "x" * 40,
                    "valid_from": 0,
                },
            )
            for node in world.nodes
            for i in range(200)
        ]
        world.block(*raws)
    rule = written(tmp_path, iter(world.leaves), world.genesis)
    source = DirectorySource(tmp_path)
    assert check(source, rule, silent, full=True).executed == (3, 2_000)
    signed = [entry for entry in map(codec.parse, world.leaves) if entry.author]

    def signatures() -> None:
        assert all(entry.signature_holds(verify) for entry in signed)

    measure(
        Timed(lambda: check(source, rule, silent, full=True), len(world.leaves)),
        {"its signatures alone": Timed(signatures, len(signed))},
    )
