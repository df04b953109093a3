"""Whatever a source gives is the log's, or is refused: every leaf, every bundle, every earlier head."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyrsia.audit.proven import KEPT_TILES, ProvenLog
from pyrsia.errors import Malformed, ProofInvalid
from pyrsia.log.checkpoint import Checkpoint
from pyrsia.log.tiles import Bundle
from tests.reference import merkle
from tests.reference.ledger import World
from tests.unit.audit.signed import SignedLog
from tests.unit.log.logs import numbered

WORLD = World()
ENTRIES = numbered(700)
HASHES = [merkle.leaf_hash(one) for one in ENTRIES]
SIZES = [1, 2, 3, 7, 8, 255, 256, 257, 300, 511, 512, 513, 700]


def log_of(size):
    return SignedLog(ENTRIES[:size], WORLD)


def head_of(size, root=None):
    return Checkpoint(WORLD.genesis.origin, size, root or merkle.root(HASHES[:size]))


@pytest.mark.parametrize("size", SIZES)
def test_every_entry_is_read_in_its_place(size):
    proven = ProvenLog(log_of(size), head_of(size))
    assert list(proven.entries(0, size)) == list(enumerate(ENTRIES[:size]))
    assert list(proven.entries(size // 2, size - 1)) == list(enumerate(ENTRIES))[size // 2 : size - 1]
    for index in {0, size // 2, size - 1}:
        proven.included(index, HASHES[index])


@settings(max_examples=60, deadline=None)
@given(size=st.sampled_from(SIZES), seed=st.integers(0, 1 << 30))
def test_an_earlier_head_is_told_from_one_of_another_history(size, seed):
    rng = random.Random(seed)
    proven = ProvenLog(log_of(size), head_of(size))
    old = rng.choice([rng.randint(1, size), size, 1 << rng.randrange(size.bit_length())])
    assert proven.begins_with(head_of(old))
    root = bytearray(merkle.root(HASHES[:old]))
    root[rng.randrange(32)] ^= 1 << rng.randrange(8)
    assert not proven.begins_with(head_of(old, bytes(root)))


@settings(max_examples=150, deadline=None)
@given(size=st.sampled_from(SIZES), seed=st.integers(0, 1 << 30))
def test_one_changed_bit_of_anything_given_is_refused_or_changes_nothing(size, seed):
    rng = random.Random(seed)
    log = log_of(size)
    honest = log_of(size)
    number = rng.randrange(-(-size // 256))
    old = rng.randint(1, size)
    work = [
        lambda proven: proven.bundle(number),
        lambda proven: proven.begins_with(head_of(old)),
        lambda proven: proven.included(size - 1, HASHES[size - 1]),
    ]
    task = rng.choice(work)
    truth = task(ProvenLog(honest, head_of(size)))
    path = rng.choice(honest.asked or ["none"])
    there = dict(log.every())
    if path in there:
        data = bytearray(there[path])
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        log.forge[path] = bytes(data)
    try:
        assert task(ProvenLog(log, head_of(size))) == truth
    except Malformed:
        assert path in there


def test_a_head_that_the_tiles_do_not_lead_to_proves_neither_yes_nor_no():
    lied = Checkpoint(WORLD.genesis.origin, 700, b"x" * 32)
    proven = ProvenLog(log_of(700), lied)
    with pytest.raises(ProofInvalid):
        proven.begins_with(head_of(300))
    with pytest.raises(ProofInvalid):
        proven.bundle(1)
    with pytest.raises(ProofInvalid):
        proven.included(5, HASHES[5])
    with pytest.raises(ProofInvalid):
        proven.included(700, HASHES[5])


@pytest.mark.parametrize("change", [lambda b: b[:-1], lambda b: b + b"\0", lambda b: b"", lambda b: b[2:]])
def test_a_bundle_of_another_form_is_refused(change):
    log = log_of(300)
    path = Bundle(1, 44).path
    log.forge[path] = change(log.bundle(Bundle(1, 44)))
    with pytest.raises(Malformed):
        ProvenLog(log, head_of(300)).bundle(1)


def test_entries_in_another_order_are_refused():
    log = log_of(300)
    one, two = ENTRIES[256:258]
    log.entries[256:258] = [two, one]
    with pytest.raises(ProofInvalid):
        ProvenLog(log, head_of(300)).bundle(1)


def test_a_walk_through_the_log_asks_for_each_thing_once():
    log = log_of(700)
    assert len(list(ProvenLog(log, head_of(700)).entries(0, 700))) == 700
    assert len(log.asked) == len(set(log.asked)) <= 3 + 4
    assert KEPT_TILES.value >= 7 * 2
