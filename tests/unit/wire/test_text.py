"""Text forms and the one function that makes strangers' text harmless."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyrsia.errors import Malformed
from pyrsia.wire.text import b32, safe, unb32


@given(st.binary(min_size=32, max_size=32))
def test_names_of_keys_come_back(data):
    assert len(b32(data)) == 52
    assert unb32(b32(data)) == data


@pytest.mark.parametrize("text", ["", "a" * 51, "a" * 51 + "b", "A" * 52, "1" * 52, "a" * 52 + "="])
def test_other_spellings_are_refused(text):
    with pytest.raises(Malformed):
        unb32(text)


@pytest.mark.parametrize(
    "hidden", ["\x1b", "\n", "\r", "\x9b", "\u202e", "\u2066", "\u200b", "\ufeff", "\U000e0041"]
)
def test_what_moves_or_hides_is_written_out(hidden):
    assert hidden not in safe(f"a{hidden}b")
    assert safe(f"a{hidden}b").isascii()
