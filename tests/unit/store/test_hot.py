"""Remembered rows: what they say is what the table says, and no more of them is kept than the bound."""

from hypothesis import given
from hypothesis import strategies as st

from pyrsia.store.hot import HOT_BYTES, HOT_ROWS, Hot

KEYS = st.integers(0, 12).map(lambda number: b"%d" % number)
VALUES = st.none() | st.binary(max_size=3) | st.just(b"x" * (HOT_BYTES.value + 1))


@given(st.lists(st.tuples(st.sampled_from(["get", "write", "turn"]), KEYS, VALUES), max_size=60))
def test_it_says_what_the_table_says_whatever_was_asked_and_written_before(steps) -> None:
    table: dict[bytes, bytes] = {}
    hot = Hot(table.get)
    for step, key, value in steps:
        if step == "write":
            if value is None:
                table.pop(key, None)
            else:
                table[key] = value
            hot.changed([key])
        elif step == "turn":
            hot._old, hot._young = hot._young, {}  # as after HOT_ROWS questions
        assert hot.get(key) == table.get(key)


def test_what_was_asked_once_is_not_read_again_until_it_changed() -> None:
    asked = []

    def read(key: bytes) -> bytes | None:
        asked.append(key)
        return None if key == b"none" else b"v"

    hot = Hot(read)
    for _ in range(3):
        assert hot.get(b"a") == b"v"
        assert hot.get(b"none") is None
    assert asked == [b"a", b"none"]
    hot.changed([b"none"])
    assert hot.get(b"none") is None
    assert asked == [b"a", b"none", b"none"]


def test_it_keeps_twice_the_bound_at_most_and_what_is_asked_again_and_again() -> None:
    asked = []
    hot = Hot(lambda key: asked.append(key) or b"v")  # type: ignore[func-returns-value]
    for number in range(3 * HOT_ROWS.value):
        hot.get(b"%d" % number)
        hot.get(b"often")
        assert len(hot) <= 2 * HOT_ROWS.value
    assert asked.count(b"often") == 1


def test_large_rows_are_not_kept() -> None:
    hot = Hot(lambda _: b"x" * (HOT_BYTES.value + 1))
    assert len(hot.get(b"a") or b"") == HOT_BYTES.value + 1
    assert len(hot) == 0
