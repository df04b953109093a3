"""Steps between epochs as bytes, what headers say of validators, and whose turn a view is."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from pyrsia.errors import Malformed
from pyrsia.units import MAX_SEAL_BYTES
from pyrsia.wire import canonical
from pyrsia.wire.blocks import (
    EPOCH_END,
    NOT,
    TAIL,
    ZERO,
    Cert,
    FinalityProof,
    Header,
    Justification,
    Statement,
    entries_root,
    finalize,
    justified,
    notarize,
    nullify,
    rotation,
)
from pyrsia.wire.epochs import VALIDATOR_BYTES, EpochEnd, SealedEnd, Validator, members_hash

VECTORS = Path(__file__).parents[2] / "wire" / "vectors" / "epochs.json"


def validators(*numbers: int) -> tuple[Validator, ...]:
    return tuple(Validator(*(bytes([kind, number]) * 16 for kind in range(5))) for number in sorted(numbers))


OLD, NEW = validators(1, 2, 3, 4), validators(1, 2, 3, 5)
SEAL = canonical.encode(
    {
        "body": {"epoch": 3, "height": 5, "next_members": members_hash(NEW).hex()},
        "net": "n", "type": "block.seal", "v": 1,
    }
)  # fmt: skip
PATH = (b"a" * 32, b"b" * 32)
END = Header(
    b"c" * 32, 3, 9, 5, b"p" * 32, 7, 2, 1_800_000_000_000, EPOCH_END, 1, entries_root((b"x",)), 77, b"t" * 32,
    members_hash(OLD), members_hash(NEW), b"j" * 32, b"r" * 32, b"b" * 32, ZERO,
)  # fmt: skip
TAIL_OF = replace(
    END, view=12, parent_hash=END.hash(), parent_view=9, kind=TAIL, n_entries=0, entries_root=entries_root(()),
    next_members_hash=members_hash(OLD), reveal=ZERO, time_ms=END.time_ms + 1,
)  # fmt: skip


def signed(header: Header) -> Cert:
    return Cert(finalize(header), 4, (0, 2, 3), (b"1" * 64, b"2" * 64, b"3" * 64))


def step(*headers: Header) -> EpochEnd:
    return EpochEnd(FinalityProof(signed(headers[0]), headers), NEW, SEAL, PATH)


def sealing(**changes: canonical.Json) -> bytes:
    """A leaf like that of the end, with other fields in its body."""
    body = {"epoch": 3, "height": 5, "next_members": members_hash(NEW).hex(), **changes}
    said = {name: value for name, value in body.items() if value is not None}
    return canonical.encode({"body": said, "net": "n", "type": "block.seal", "v": 1})


def test_the_committed_vectors_pin_the_step_the_hashes_and_the_turns() -> None:
    """To change a format on purpose, write this file anew: the difference is then seen."""
    keys = [one.vote for one in OLD]
    made = {
        "members_hash": members_hash(OLD).hex(),
        "end": {"header": END.encode().hex(), "hash": END.hash().hex()},
        "tail": {"header": TAIL_OF.encode().hex(), "hash": TAIL_OF.hash().hex()},
        "step": step(END).encode().hex(),
        "step through a tail": step(TAIL_OF, END).encode().hex(),
        "turns": [list(rotation(b"c" * 32, epoch, keys)) for epoch in range(4)],
        "turns less the convicted": list(rotation(b"c" * 32, 0, keys, {2})),
    }

    assert json.loads(VECTORS.read_text()) == made
    assert len(made["turns"]) == 4


NO_SEALS = (
    b"",
    b"{}",
    b"[]",
    SEAL + b" ",  # not in the one form
    SEAL[:-1],
    sealing(epoch=None),
    sealing(epoch=True),
    sealing(height="5"),
    sealing(next_members=None),  # the seal of a block that ends nothing
    sealing(next_members="AB" * 32),
    sealing(next_members="ab" * 31),
    sealing(next_members="ab" * 32 + "\n"),
    sealing(more="x" * 1_024),
    canonical.encode({"body": [], "net": "n", "type": "block.seal", "v": 1}),
    canonical.encode({"body": {}, "type": "block.seal", "v": 1}),
    SEAL.replace(b"block.seal", b"block.look"),
    b'{"author":"a",' + SEAL[1:],  # what somebody signed
)


def test_a_seal_says_where_its_epoch_ended_and_who_is_next() -> None:
    assert SealedEnd.read(SEAL) == (3, 5, members_hash(NEW))
    assert SealedEnd.read(sealing(beacon="x")) == (3, 5, members_hash(NEW))
    for seal in NO_SEALS:
        with pytest.raises(Malformed):
            SealedEnd.read(seal)


def test_the_largest_seal_there_is_fits() -> None:
    most, digest = canonical.MAX_INT, "f" * 64
    body = {"beacon": digest, "epoch": most, "first_leaf": most, "height": most, "index_root": digest,
            "next_chain": digest, "next_members": digest, "proposer": 65_535, "reveal": digest, "state_root": digest,
            "time_ms": most, "view": most}  # fmt: skip
    seal = canonical.encode({"body": body, "net": "a" * 52, "type": "block.seal", "v": 1})
    assert len(seal) == 720 < MAX_SEAL_BYTES.value
    assert SealedEnd.read(seal) == (most, most, b"\xff" * 32)


@pytest.mark.parametrize("headers", [(END,), (TAIL_OF, END)])
def test_a_step_comes_back_as_it_went(headers: tuple[Header, ...]) -> None:
    assert EpochEnd.decode(step(*headers).encode()) == step(*headers)


@pytest.mark.parametrize(
    "lie",
    [
        step(END)._replace(validators=OLD),  # other validators than its block names
        step(END)._replace(validators=NEW[:3]),
        step(END)._replace(validators=(NEW[1], NEW[0], *NEW[2:])),  # not sorted
        step(END)._replace(validators=(NEW[0], *NEW)),  # one twice
        step(replace(END, kind=0)),  # its block ends nothing
        step(END, TAIL_OF),  # its last header is a tail
        step(END)._replace(path=(b"a" * 32,) * 65),
        *(step(END)._replace(seal=seal) for seal in NO_SEALS),
    ],
)
def test_a_step_that_is_none_is_refused(lie: EpochEnd) -> None:
    with pytest.raises(Malformed):
        EpochEnd.decode(lie.encode())


@given(cut=st.integers(0, 4_000))
def test_a_step_cut_anywhere_is_refused(cut: int) -> None:
    data = step(TAIL_OF, END).encode()
    if cut < len(data):
        with pytest.raises(Malformed):
            EpochEnd.decode(data[:cut])
    with pytest.raises(Malformed):
        EpochEnd.decode(data + bytes(1 + cut % 3))


@given(at=st.integers(0, 4 * VALIDATOR_BYTES - 1), bit=st.integers(0, 7))
def test_any_bit_of_a_validator_changes_what_headers_say(at: int, bit: int) -> None:
    raw = bytearray(b"".join(one.encode() for one in OLD))
    raw[at] ^= 1 << bit
    changed = [Validator.decode(raw[i : i + VALIDATOR_BYTES]) for i in range(0, len(raw), VALIDATOR_BYTES)]

    assert members_hash(changed) != members_hash(OLD)


# -- whose turn --


@given(
    count=st.integers(4, 30), epoch=st.integers(0, 1 << 63), skipped=st.sets(st.integers(0, 29), max_size=12)
)
def test_everybody_but_the_convicted_has_a_turn_unless_they_are_more_than_f(
    count: int, epoch: int, skipped: set[int]
) -> None:
    keys = [b"%032d" % number for number in range(count)]
    convicted = {number for number in skipped if number < count}
    turns = rotation(b"c" * 32, epoch, keys, convicted)
    salt = b"c" * 32 + epoch.to_bytes(8, "big")
    leading = [i for i in range(count) if i not in convicted or len(convicted) > (count - 1) // 3]

    assert list(turns) == sorted(leading, key=lambda i: blake3(salt + keys[i]).digest())


# -- the form of a justification --


def of(header: Header, view: int) -> Cert:
    """A NOT certificate that a header with parent view `view` may carry."""
    return Cert(Statement(NOT, header.epoch, view, header.parent_hash), 4, (0, 1, 2), (b"s" * 64,) * 3)


def nul(view: int, epoch: int = 3) -> Cert:
    return Cert(nullify(epoch, view), 4, (0, 1, 2), (b"s" * 64,) * 3)


def test_a_justification_is_the_parents_certificate_and_every_view_between() -> None:
    good = Justification(of(END, 7), (nul(8),))
    first = replace(END, view=3, parent_view=0)

    assert justified(END, good)
    assert justified(first, Justification(None, (nul(1), nul(2))))
    for bad in (
        Justification(None, (nul(8),)),
        Justification(of(END, 7), ()),
        Justification(of(END, 7), (nul(7),)),
        Justification(of(END, 7), (nul(8), nul(8))),
        Justification(of(END, 6), (nul(8),)),
        Justification(nul(7), (nul(8),)),
        Justification(of(END, 7), (nul(8, epoch=2),)),
        Justification(Cert(notarize(TAIL_OF), 4, (0, 1, 2), (b"s" * 64,) * 3), (nul(8),)),
    ):
        assert not justified(END, bad)
    assert not justified(first, Justification(of(first, 0), (nul(1), nul(2))))


def test_a_tails_certificate_may_be_another_tails_and_an_ordinary_blocks_may_not() -> None:
    other = Cert(Statement(NOT, 3, 9, b"another tail" + bytes(20)), 4, (0, 1, 2), (b"s" * 64,) * 3)
    just = Justification(other, (nul(10), nul(11)))

    assert justified(TAIL_OF, just)
    assert not justified(replace(TAIL_OF, kind=0), just)


def test_a_view_of_any_number_is_judged_at_once() -> None:
    assert not justified(
        replace(END, view=(1 << 64) - 1, parent_view=7), Justification(of(END, 7), (nul(8),))
    )
