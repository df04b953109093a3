"""What must lie on the disk after an append that did not end well: a whole prefix, with all that was acknowledged.

Everything is compared with what the ledger computed and the slow tree says, family by family; nothing here asks
the code that wrote it what is right.
"""

import hashlib
from pathlib import Path

from pyrsia.audit import fsck
from pyrsia.audit.heads import Quorum
from pyrsia.audit.stopped import StoppedNode
from pyrsia.log import tiles
from pyrsia.node.opening import Facts
from pyrsia.store import layout
from pyrsia.store.blobs import PARTIAL, Blobs
from pyrsia.units import TreeSize
from tests.e2e.crash.appender import opened, vote
from tests.e2e.crash.ground import Run
from tests.e2e.crash.script import Script, Step
from tests.reference import merkle

MOST_KEYS = 100_000


async def check(script: Script, data: Path, run: Run, *, began: int) -> int:
    """Assert all of it, go on appending, assert it again; how many leaves were found.

    Args:
        began: leaves that were on the disk before the run.
    """
    facts = opened(script, data)
    try:
        assert facts.ballots.give(script.keys.vote.public)
        if began or run.lines:
            assert facts.notices == ()
        found = facts.archive.size
        assert found >= max(began, run.size)
        _is_prefix(script, facts)
        _acknowledged(script, facts, data, run)
        signed = facts.archive.checkpoint() is not None
    finally:
        facts.close()
    assert signed or run.size <= script.steps[0].size
    if signed:
        assert _fsck(script, data) == found
    await _goes_on(script, data)
    assert _fsck(script, data) == script.steps[-1].size
    return found


def _fsck(script: Script, data: Path) -> int:
    """What `pyrsia log fsck` checks in a stopped node's directory; how many leaves it found whole."""
    source = StoppedNode.open(data)
    try:
        report = fsck.check(source, Quorum(script.genesis), lambda done, of: None)
    finally:
        source.close()
    assert report.formed
    return report.head.checkpoint.size + report.beyond


def _is_prefix(script: Script, facts: Facts) -> None:
    archive, size = facts.archive, facts.archive.size
    steps = [step for step in script.steps if step.size <= size]
    if not steps:
        assert archive.head is None
        return
    assert archive.head == steps[-1].commit.head
    assert (archive.head.tree_size, archive.head.tree_root) == (steps[-1].size, steps[-1].root)
    leaves = script.leaves[:size]
    assert [
        leaf for first in range(0, size, 200) for leaf in archive.entries(first, min(200, size - first))
    ] == leaves
    assert archive.entry(size) is None
    _tiles_are_right(facts, [merkle.leaf_hash(leaf) for leaf in leaves])
    assert dict(facts.database.scan(layout.STATE, b"", MOST_KEYS)) == steps[-1].state
    assert dict(facts.database.scan(layout.INDEX, b"", MOST_KEYS)) == steps[-1].index
    for step in steps:
        assert archive.block(step.commit.height) == (step.block.encode() if step.block else None)
        _ids_are_right(facts, step)


def _ids_are_right(facts: Facts, step: Step) -> None:
    for offset, name in enumerate(step.commit.entry_ids):
        if name:
            assert facts.archive.leaf_of(name) == step.commit.first_leaf + offset


def _tiles_are_right(facts: Facts, hashes: list[bytes]) -> None:
    for tile in tiles.tiles_of(TreeSize(len(hashes))):
        span = 1 << 8 * tile.level
        first = tile.index * 256
        rows = [merkle.root(hashes[at * span : (at + 1) * span]) for at in range(first, first + tile.width)]
        assert facts.archive.tile(tile.level, tile.index, tile.width) == b"".join(rows)


def _acknowledged(script: Script, facts: Facts, data: Path, run: Run) -> None:
    assert not any(line.startswith("bug") for line in run.lines), run.lines
    trimmed = run.size == script.steps[-1].size  # then the vote for the first block goes
    for height in run.said("vote"):
        assert vote(int(height)) in facts.ballots.records or (height == "0" and trimmed)
    blobs = Blobs(data / "blobs", facts.database)
    assert list((data / "blobs" / PARTIAL).iterdir()) == []
    for name in run.said("blob"):
        digest = bytes.fromhex(name)
        assert blobs.has(digest)
        assert hashlib.sha256(blobs.path(digest).read_bytes()).digest() == digest


async def _goes_on(script: Script, data: Path) -> None:
    """What lacks is appended as if nothing had been."""
    facts = opened(script, data)
    try:
        assert facts.ballots.give(script.keys.vote.public)
        for step in script.steps:
            if step.size > facts.archive.size:
                await facts.ballots.append([vote(step.commit.height)])
                facts.archive.write(step.commit, step.block, None)
        facts.archive.keep_checkpoint(script.steps[-1].note)
        await facts.database.sync()
        _is_prefix(script, facts)
    finally:
        facts.close()
