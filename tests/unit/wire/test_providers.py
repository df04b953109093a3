"""PROVIDE and PROVIDERS: every value survives its bytes, everything else is Malformed."""

import contextlib
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyrsia.errors import Malformed
from pyrsia.units import NodeId
from pyrsia.wire import providers
from pyrsia.wire.providers import Held, Known, Leaving, Provide, Sum, Sums, Who

_hashes = st.lists(st.binary(min_size=32, max_size=32), min_size=1, max_size=9, unique=True).map(tuple)
_shards = st.sets(st.integers(0, 4_095), min_size=1, max_size=9).map(lambda found: tuple(sorted(found)))
_told = st.builds(Provide, _hashes, st.integers(0, 900)) | st.builds(Leaving, st.booleans())
_asked = st.builds(Who, _hashes) | st.builds(Held, _hashes) | st.builds(Sums, _shards)
_known = st.builds(
    Known,
    st.booleans(),
    st.lists(st.binary(min_size=32, max_size=32).map(NodeId), max_size=3, unique=True).map(tuple),
)


def of(at: int) -> bytes:
    return at.to_bytes(32, "big")


@given(_told, _asked)
def test_questions_survive_their_bytes(told: Provide | Leaving, asked: Who | Held | Sums) -> None:
    assert providers.decode_told(told.encode()) == told
    assert providers.decode_asked(asked.encode()) == asked


@given(st.lists(_known, max_size=5), st.lists(st.booleans(), max_size=30), st.lists(_hashes, max_size=4))
def test_answers_survive_their_bytes(
    known: list[Known], bits: list[bool], sets: list[tuple[bytes, ...]]
) -> None:
    assert providers.decode_known(providers.encode_known(known), len(known)) == tuple(known)
    assert providers.decode_bits(providers.encode_bits(bits), len(bits)) == tuple(bits)
    sums = [Sum.of(one) for one in sets]
    assert providers.decode_sums(providers.encode_sums(sums), len(sums)) == tuple(sums)


@given(st.binary(max_size=120), st.integers(0, 4))
def test_any_bytes_are_read_or_malformed(data: bytes, count: int) -> None:
    """What is read gives the same bytes again: there is one form."""
    for read in (providers.decode_told, providers.decode_asked):
        with contextlib.suppress(Malformed):
            assert read(data).encode() == data
    readers: tuple[Callable[[bytes, int], object], ...] = (
        providers.decode_known, providers.decode_bits, providers.decode_sums,
    )  # fmt: skip
    for answer in readers:
        with contextlib.suppress(Malformed):
            answer(data, count)


MANY = tuple(of(at) for at in range(1_025))

WRONG_TOLD = {
    "empty": b"",
    "another tag": b"\x03\x00",
    "a flag that is none": b"\x02\x02",
    "a flag with a tail": b"\x02\x01\x00",
    "no blob": Provide((), 900).encode(),
    "too many blobs": Provide(MANY, 900).encode(),
    "for too long": Provide((of(1),), 901).encode(),
    "cut": Provide((of(1), of(2)), 900).encode()[:-1],
    "a tail": Provide((of(1),), 900).encode() + b"\x00",
    "the same twice": Provide((of(1), of(1)), 900).encode(),
    "a count beyond the bytes": b"\x01\x00\x10\xff\xff" + of(1),
}
WRONG_ASKED = {
    "empty": b"",
    "another tag": b"\x07\x00\x01" + of(1),
    "nobody": Who(()).encode(),
    "too many": Who(MANY[:65]).encode(),
    "too many held": Held(MANY).encode(),
    "no shard": Sums(()).encode(),
    "too many shards": Sums(tuple(range(257))).encode(),
    "a shard that is none": Sums((4_096,)).encode(),
    "shards upside down": Sums((2, 1)).encode(),
    "a shard twice": Sums((2, 2)).encode(),
    "cut shards": Sums((2, 3)).encode()[:-1],
}


@pytest.mark.parametrize("name", sorted(WRONG_TOLD))
def test_what_nobody_tells_is_malformed(name: str) -> None:
    with pytest.raises(Malformed, match="providers"):
        providers.decode_told(WRONG_TOLD[name])


@pytest.mark.parametrize("name", sorted(WRONG_ASKED))
def test_what_nobody_asks_is_malformed(name: str) -> None:
    with pytest.raises(Malformed, match="providers"):
        providers.decode_asked(WRONG_ASKED[name])


@pytest.mark.parametrize(
    ("data", "count"), [(b"", 1), (b"\x01\x01\x01", 9), (b"\x04", 2), (b"\xff", 7), (b"\x00\x00", 8)]
)
def test_bits_of_a_wrong_length_or_beyond_the_last_are_malformed(data: bytes, count: int) -> None:
    with pytest.raises(Malformed, match="no bits"):
        providers.decode_bits(data, count)


def test_an_answer_names_at_most_twenty_providers() -> None:
    crowd = tuple(NodeId(of(at)) for at in range(21))
    with pytest.raises(Malformed, match="21 of one blob"):
        providers.decode_known(providers.encode_known([Known(False, crowd)]), 1)
    with pytest.raises(Malformed, match="behind the last"):
        providers.decode_known(providers.encode_known([Known(True), Known(True)]), 1)


def test_sums_are_of_sets_and_wrap_around() -> None:
    big = [bytes([255]) * 32, bytes([255]) * 31 + b"\xfe", of(3)]
    assert Sum.of(big) == Sum.of(reversed(big))
    assert Sum.of(big) != Sum.of(big[:2])
    assert Sum.of(big).count == 3
    assert Sum.of(()) == Sum()
