"""The complete history of a package with a thousand entries: how large its proof is, and how long it takes to check.

"Beside": the entries themselves are what one asked for, and signatures are checked with every proof file.
"""

import hashlib

import pytest
import trio

from bench.harness import Figure, Timed, budget, row
from pyrsia.keys import verify
from pyrsia.node.log.proofs import Proofs
from pyrsia.verify import history
from pyrsia.verify.history import Subject
from tests.reference.parts import Kept
from tests.reference.story import Story

PACKAGE = "pkg:pypi/idna"
ENTRIES = 1_000
A_BLOCK = 50  # facts of one author in one block, far below what the mempool holds of one


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    """A story's pin, the history file of its package, and its leaves."""
    world = Kept(tmp_path_factory.mktemp("kept"))
    story = Story(world=world)
    while (missing := ENTRIES - len(touching(world))) > 0:
        at = len(world.leaves)
        world.block(*(world.fact(f"about idna {at + one}") for one in range(min(A_BLOCK, missing))))
    world.archive.keep_checkpoint(story.note())
    data = trio.run(Proofs(world.archive).of_history, Subject.parse(PACKAGE))
    found = history.read(data, [story.pin], verify)
    assert len(found.leaves) == ENTRIES
    yield story, data, found.leaves, world
    world.close()


def touching(world) -> list[tuple[int, bytes]]:
    return world.archive.history(Subject.parse(PACKAGE).key, 0, ENTRIES)


@row("history/size", "proof that 1,000 entries are all there are", unit="KB", goal=100, rounds=1)
def test_size_of_a_completeness_proof(measure, packed):
    story, data, leaves, world = packed
    beside = (len(data) - sum(len(leaf) for _, leaf in leaves)) / 1000
    one_each = sum(32 * len(world.archive.inclusion(at, story.size)) for at, _ in leaves) / 1000
    measure(
        Figure(lambda: beside),
        {"budget": budget(100.0), "an inclusion proof each": Figure(lambda: one_each)},
    )


def hashed_once(leaves) -> bytes:
    """What checking costs at least: each entry and each node of a tree over them hashed, with hashlib."""
    level = [hashlib.sha256(b"\0" + leaf).digest() for _, leaf in leaves]
    while len(level) > 1:
        level = [
            hashlib.sha256(b"\1" + b"".join(level[at : at + 2])).digest() for at in range(0, len(level), 2)
        ]
    return level[0]


@row("history/check", "1,000 entries are complete, signatures aside", unit="ms", clock="cpu", goal=10)
def test_checking_a_completeness_proof(measure, packed):
    story, data, leaves, _ = packed
    pins = [story.pin]
    measure(
        Timed(lambda: history.read(data, pins, lambda *_: True)),
        {"hashing alone, hashlib": Timed(lambda: hashed_once(leaves))},
    )
