"""Who else fetches a file: named to the next asker, for some seconds, never more than the bounds say."""

from hypothesis import given
from hypothesis import strategies as st

from pyrsia.transfer.sharing import MAX_ASKERS, MAX_FILES, NAMED_S, Askers
from pyrsia.units import MAX_ALSO, NodeId
from pyrsia.wire.chunks import Message, Type, encode

FILE = b"f" * 32
A, B, C = (NodeId(letter * 32) for letter in (b"a", b"b", b"c"))


def node(number):
    return NodeId(number.to_bytes(32, "big"))


def test_each_asker_is_named_to_the_others_and_never_to_itself():
    askers = Askers()
    assert askers.asked(0.0, A, FILE) == ()
    assert askers.asked(0.1, B, FILE) == (A,)
    assert set(askers.asked(0.2, A, FILE)) == {B}
    assert set(askers.asked(0.3, C, FILE)) == {A, B}
    assert askers.asked(0.3, C, b"other" * 6 + b"..") == ()
    assert set(askers.fetching(0.3, FILE)) == {A, B, C}


def test_who_does_not_ask_again_is_forgotten():
    askers = Askers()
    askers.asked(0.0, A, FILE)
    askers.asked(NAMED_S, B, FILE)
    assert askers.asked(NAMED_S + 0.1, C, FILE) == (B,)
    assert askers.fetching(3 * NAMED_S, FILE) == ()
    askers.forget(FILE)
    assert askers.asked(NAMED_S + 0.2, C, FILE) == ()


def test_of_many_each_answer_names_others():
    askers = Askers()
    for number in range(40):
        askers.asked(0.0, node(number), FILE)
    named = [askers.asked(0.1, A, FILE) for _ in range(5)]
    assert all(len(one) == MAX_ALSO.value for one in named)
    assert len({one for some in named for one in some}) == 40


@given(st.lists(st.tuples(st.floats(0, 5), st.integers(0, 300), st.integers(0, 600)), max_size=800))
def test_tables_are_bounded_and_every_answer_fits_a_message(asks):
    askers, now = Askers(), 0.0
    for step, asker, file in asks:
        now += step / 100
        told = askers.asked(now, node(asker), file.to_bytes(32, "big"))
        assert node(asker) not in told
        if told:
            encode(Message(Type.ALSO, FILE, nodes=told))
    assert len(askers._files) <= MAX_FILES.value
    assert all(len(some) <= MAX_ASKERS.value for some in askers._files.values())
