"""Canonical JSON: one value, one byte string."""

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyrsia.errors import Malformed
from pyrsia.wire import canonical

VALUES = st.recursive(
    st.booleans() | st.integers(0, canonical.MAX_INT) | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(st.characters(max_codepoint=127), max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)


def depth(value):
    if isinstance(value, dict):
        value = list(value.values())
    return 1 + max(map(depth, value), default=0) if isinstance(value, list) else 0


@given(VALUES.filter(lambda value: depth(value) <= 8))
def test_encoding_is_the_standard_librarys_sorted_and_tight(value):
    data = canonical.encode(value)
    assert data == json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode()
    assert canonical.decode(data) == value


@given(VALUES.filter(lambda value: depth(value) <= 8), st.data())
def test_a_flipped_bit_is_refused_or_another_value(value, data):
    raw = bytearray(canonical.encode(value))
    at = data.draw(st.integers(0, len(raw) * 8 - 1))
    raw[at // 8] ^= 1 << at % 8
    try:
        other = canonical.decode(bytes(raw))
    except Malformed:
        return
    assert canonical.encode(other) == bytes(raw)
    assert canonical.encode(other) != canonical.encode(value)


@given(st.binary(max_size=200))
def test_only_malformed_escapes(data):
    with contextlib.suppress(Malformed):
        assert canonical.encode(canonical.decode(data)) == data


@pytest.mark.parametrize(
    "value", [None, 1.0, -1, 1 << 53, {"é": 1}, {1: 2}, b"x", "\ud800", [[[[[[[[[1]]]]]]]]]]
)
def test_values_that_json_of_ours_lacks_are_a_bug(value):
    with pytest.raises(ValueError, match="not canonical"):
        canonical.encode(value)
