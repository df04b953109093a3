"""Messages about waiting entries: one form each, and nothing else is read."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyrsia.errors import Malformed
from pyrsia.units import MAX_ENTRY_BYTES, MAX_PART_BYTES, SHARE_BYTES, SHARE_ENTRIES, SHARE_IDS
from pyrsia.wire import frames, sharing
from pyrsia.wire.sharing import Entries, Have, Want

raws = st.lists(st.binary(min_size=1, max_size=300), min_size=1, max_size=64)
ids = st.lists(st.binary(min_size=32, max_size=32), max_size=40, unique=True)
messages = st.one_of(
    st.builds(lambda found: Entries(tuple(found)), raws),
    st.builds(lambda found, more: Have(tuple(found), more), ids.filter(bool), st.booleans()),
    st.builds(lambda found, more: Want(tuple(found), more), ids, st.booleans()),
)


@given(messages)
def test_every_message_is_read_as_it_was_written(message):
    assert sharing.decode(message.encode()) == message


@given(st.binary(max_size=200), st.sampled_from([b"", b"\1", b"\2", b"\3"]))
def test_whatever_is_read_has_one_form_and_nothing_but_malformed_escapes(rest, tag):
    data = tag + rest
    try:
        message = sharing.decode(data)
    except Malformed:
        return
    assert message.encode() == data


@given(messages, st.data())
def test_a_message_that_is_cut_or_longer_is_refused(message, data):
    whole = message.encode()
    cut = data.draw(st.integers(0, len(whole) - 1))
    for wrong in (whole[:cut], whole + b"\0"):
        with pytest.raises(Malformed):
            sharing.decode(wrong)


@given(st.lists(st.binary(min_size=1, max_size=60_000), max_size=200))
def test_batches_keep_all_entries_in_order_within_one_frame_each(found):
    made = sharing.batches(found)
    assert [raw for batch in made for raw in batch.raws] == found
    for batch in made:
        assert 1 <= len(batch.raws) <= SHARE_ENTRIES.value
        assert sharing.decode(batch.encode()) == batch
    # As few as that takes: no two neighbours would fit one message.
    for one, other in pairwise(made):
        together = 2 + sum(map(sharing.cost, (*one.raws, other.raws[0])))
        assert len(one.raws) == SHARE_ENTRIES.value or together > SHARE_BYTES.value


def test_the_largest_messages_fit_one_frame():
    head = frames.HEADER_BYTES + 2
    largest = Entries((b"x" * MAX_ENTRY_BYTES.value,)).encode()
    page = Have(tuple(i.to_bytes(32, "big") for i in range(SHARE_IDS.value)), True).encode()
    assert max(len(largest), len(page), SHARE_BYTES.value) + head <= MAX_PART_BYTES.value
    assert sharing.decode(page).more


@pytest.mark.parametrize(
    "wrong",
    [
        b"", b"\1", b"\1\0", b"\0\1", b"\4\1x",
        Entries((b"x",) * 65).encode(),  # one more than a batch
        Entries((b"x" * 33_000, b"y" * 33_000)).encode(),  # more bytes than a batch
        b"\1\1\0\0",  # an empty entry
        b"\1\1" + (60_001).to_bytes(2, "big") + b"x" * 60_001,
        Have((), False).encode(),
        Have((b"a" * 32, b"a" * 32), False).encode(),
        Want(tuple(i.to_bytes(32, "big") for i in range(SHARE_IDS.value + 1)), False).encode(),
        b"\2\2\0\1" + b"a" * 32,  # a flag of two
    ],
)  # fmt: skip
def test_what_no_validator_sends_is_refused(wrong):
    with pytest.raises(Malformed, match="sharing:"):
        sharing.decode(wrong)
