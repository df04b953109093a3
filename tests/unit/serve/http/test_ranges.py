"""Byte ranges and validators, against RFC 9110's own words."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyrsia.serve.http.ranges import Span, Unsatisfiable, matches, parse_range

WHOLE, NONE = None, Unsatisfiable()

TABLE = [
    (b"bytes=0-0", Span(0, 1)),
    (b"bytes=0-99", Span(0, 100)),
    (b"bytes=0-100", Span(0, 100)),  # clamped
    (b"bytes=99-99", Span(99, 1)),
    (b"bytes=99-", Span(99, 1)),
    (b"bytes=0-", Span(0, 100)),
    (b"bytes=10-19", Span(10, 10)),
    (b"Bytes=10-19", Span(10, 10)),
    (b"bytes= 10-19 ", Span(10, 10)),
    (b"bytes=-1", Span(99, 1)),
    (b"bytes=-100", Span(0, 100)),
    (b"bytes=-500", Span(0, 100)),
    (b"bytes=00010-00019", Span(10, 10)),
    (b"bytes=50-" + b"9" * 5000, Span(50, 50)),
    (b"bytes=100-", NONE),
    (b"bytes=100-200", NONE),
    (b"bytes=" + b"9" * 5000 + b"-", NONE),
    (b"bytes=-0", NONE),
    (b"bytes=20-10", WHOLE),
    (b"bytes=-", WHOLE),
    (b"bytes=a-b", WHOLE),
    (b"bytes=0-1,5-6", WHOLE),
    (b"bytes=1", WHOLE),
    (b"lines=1-2", WHOLE),
    (b"bytes=+1-2", WHOLE),
    (b"bytes=0x1-2", WHOLE),
    ("bytes=٣-٤".encode(), WHOLE),
    (b"", WHOLE),
]


def test_the_table_of_ranges_is_whole() -> None:
    assert len(TABLE) == 28


@pytest.mark.parametrize(("header", "expected"), TABLE)
def test_a_range_of_a_hundred_bytes(header: bytes, expected: Span | Unsatisfiable | None) -> None:
    assert parse_range(header, 100) == expected


def test_nothing_of_an_empty_file_can_be_asked_for() -> None:
    assert parse_range(b"bytes=0-", 0) == Unsatisfiable()
    assert parse_range(b"bytes=-5", 0) == Unsatisfiable()


@given(
    header=st.one_of(st.binary(max_size=40), st.from_regex(rb"bytes=[0-9]{0,4}-[0-9]{0,4}")),
    size=st.integers(0, 999),
)
def test_no_header_asks_for_bytes_outside_the_file(header: bytes, size: int) -> None:
    span = parse_range(header, size)

    if isinstance(span, Span):
        assert span.first >= 0
        assert span.count > 0
        assert span.first + span.count <= size


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (b'"a"', True),
        (b'W/"a"', True),
        (b'"b", "a"', True),
        (b'"b" , W/"a" ,"c"', True),
        (b"*", True),
        (b'"b"', False),
        (b"a", False),
        (b'"A"', False),
        (b'"b", a', False),
        (b"", False),
        (b'""', False),
    ],
)
def test_a_list_of_validators_matches_weakly(header: bytes, expected: bool) -> None:
    assert matches(header, b'"a"') is expected
