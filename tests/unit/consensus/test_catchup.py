"""Answers with final blocks: what fits one message, where they stop, and how far a proof may lie above."""

from dataclasses import replace

import pytest

from pyrsia.consensus import catchup
from pyrsia.consensus.committee import Checker
from pyrsia.errors import Malformed
from pyrsia.units import MAX_PROOF_HEADERS, MAX_SYNC_BLOCKS, MAX_SYNC_BYTES
from pyrsia.wire.blocks import (
    EPOCH_END,
    HEADER_BYTES,
    Block,
    Blocks,
    FinalityProof,
    decode_message,
    encode_message,
    finalize,
)
from tests.unit.consensus.parts import COMMITTEE, START, block, cert, seats_entry, tail, verify

CHECKER = Checker(COMMITTEE, verify)


class Store:
    """A chain as a node keeps it: blocks by height, a proof where one `Deliver` ended."""

    def __init__(self, count: int, entry_bytes: int = 10, every: int = 1, end: bool = False) -> None:
        made: list[Block] = []
        for view in range(1, count + 1):
            entries: tuple[bytes, ...] = (b"%d" % view + bytes(entry_bytes),)
            if end and view == count:
                entries = (seats_entry("0", "1", "2", "5"),)
            made.append(block(view, made[-1] if made else None, entries=entries))
        self.chain = made
        self.blocks = {b.header.height: b.encode() for b in made}
        self.proofs = {
            b.header.height: FinalityProof(cert(finalize(b.header)), (b.header,)).encode()
            for b in made
            if b.header.height % every == 0 or b is made[-1]
        }

    def serve(self, first: int, last: int) -> Blocks | None:
        return catchup.serve(first, last, self.blocks.get, self.proofs.get)


def test_an_answer_is_as_long_as_one_message_takes() -> None:
    store = Store(60, entry_bytes=40_000)
    made = store.serve(1, 60)
    assert made is not None
    catchup.proven(made, CHECKER)

    assert 15 < len(made.blocks) < 30
    assert len(encode_message(made)) <= MAX_SYNC_BYTES.value + 10_000
    assert len((Store(3).serve(2, 999) or made).blocks) == 2


def test_what_is_stored_is_sent_as_it_is() -> None:
    """An answer costs its sender no decoding: only headers are looked at."""
    store = Store(30, every=7)
    for first, last in ((1, 30), (5, 6), (30, 30)):
        packed = catchup.pack(first, last, store.blocks.get, store.proofs.get)
        made = store.serve(first, last)
        assert packed is not None
        assert made is not None
        assert encode_message(packed) == encode_message(made)
        assert decode_message(encode_message(packed)) == made
    torn = {height: data[:HEADER_BYTES] + b"?" for height, data in store.blocks.items()}

    assert catchup.pack(1, 30, torn.get, store.proofs.get) is not None
    assert catchup.pack(31, 40, store.blocks.get, store.proofs.get) is None


def test_a_proof_above_brings_the_headers_down_to_the_last_block() -> None:
    store = Store(50, every=20)
    for first, last in ((1, 3), (19, 20), (20, 20), (21, 45), (50, 50)):
        made = store.serve(first, last)
        assert made is not None
        catchup.proven(made, CHECKER)
        assert [b.header.height for b in made.blocks] == list(range(first, last + 1))
        above = -(-last // 20) * 20 if last <= 40 else 50
        assert len(made.proof.headers) == above - last + 1


def test_the_headers_of_the_proof_count_into_the_message() -> None:
    """Many small blocks that became final at once: the first answers hold more proof than blocks."""
    store = Store(MAX_PROOF_HEADERS.value - 1, every=10_000)
    at, answers = 1, 0
    while at < len(store.chain):
        made = store.serve(at, at + MAX_SYNC_BLOCKS.value - 1)
        assert made is not None
        catchup.proven(made, CHECKER)
        assert len(encode_message(made)) <= 1 << 20
        at += len(made.blocks)
        answers += 1

    assert answers == 4


def test_what_no_proof_reaches_is_not_served() -> None:
    store = Store(4, every=10_000)
    store.proofs.clear()

    assert store.serve(1, 4) is None
    assert store.serve(9, 12) is None


def test_an_answer_stops_at_the_end_of_its_epoch() -> None:
    store = Store(5, end=True)
    beyond = block(6, store.chain[-1], entries=(b"of the next epoch",))
    store.blocks[6] = beyond.encode()
    made = store.serve(3, 6)
    assert made is not None

    assert [b.header.height for b in made.blocks] == [3, 4, 5]
    assert made.blocks[-1].header.kind == EPOCH_END


def test_a_proof_through_a_tail_proves_the_end() -> None:
    store = Store(3, end=True)
    end = store.chain[-1]
    above = tail(4, end, end)
    proof = FinalityProof(cert(finalize(above.header)), (above.header, end.header))
    store.proofs[3] = proof.encode()
    made = store.serve(1, 3)
    assert made is not None
    catchup.proven(made, CHECKER)

    assert made.proof == proof
    with pytest.raises(Malformed):  # the tail itself is no block of the log
        catchup.proven(Blocks((above,), FinalityProof(proof.cert, (above.header,))), CHECKER)


def test_blocks_above_ours_stand_on_ours_or_contradict_us() -> None:
    store = Store(6)
    made = store.serve(3, 6)
    assert made is not None
    second = store.chain[1]

    assert catchup.above(made.blocks, 2, second.hash) == made.blocks
    assert [b.header.height for b in catchup.above(made.blocks, 4, store.chain[3].hash)] == [5, 6]
    assert catchup.above(made.blocks, 1, store.chain[0].hash) == ()  # they begin too high
    assert catchup.above(made.blocks, 6, made.blocks[-1].hash) == ()
    with pytest.raises(catchup.Conflict):
        catchup.above(made.blocks, 2, START.hash)
    with pytest.raises(catchup.Conflict):
        catchup.above(made.blocks, 4, START.hash)


def test_blocks_of_another_epoch_are_not_proven_by_this_one() -> None:
    made = Store(3).serve(1, 3)
    assert made is not None
    other = Checker(
        type(COMMITTEE)(replace(COMMITTEE.seats, epoch=1), COMMITTEE.chain_id, COMMITTEE.origin), verify
    )
    with pytest.raises(Malformed, match="another epoch"):
        catchup.proven(made, other)
