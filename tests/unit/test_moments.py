"""A moment as people write it: what is not all of a time is none."""

import pytest

from pyrsia import moments

NOON = 1_769_860_800_000  # 2026-01-31, 12:00 UTC


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("2026-01-31T12:00:00", NOON),
        ("2026-01-31T12:00:00.000000+00:00", NOON),
        ("2h", NOON),
        ("2026-01-31T12:00:00.00000000000000000000garbage", None),  # what stood behind was thrown away
        ("2026-01-31T12:00:00.0000000000000000000+05:00", None),
        ("2026-01-31" + " " * 100, None),
        ("soon", None),
        ("1969-12-31", None),
    ],
)
def test_a_time_is_read_whole_or_not_at_all(text, told):
    assert moments.time_ms(text, NOON / 1000 + 7_200) == told
