"""How people write a moment, one way everywhere: options, pages, forms.

A size of the log is a number; a time is a date, a date with a time of day (UTC unless it says otherwise), or how long
ago it was.
"""

import re
from datetime import UTC, datetime
from typing import Final

HOW: Final = "2026-01-31, 2026-01-31T12:00, or 2h for two hours ago (s, m, h, d, w)"
_AGO: Final = re.compile(r"([0-9]{1,6})(s|m|h|d|w)")
_SIZE: Final = re.compile(r"[0-9]{1,16}")
_SECONDS: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
_MAX_CHARS: Final = 40  # no time is longer: what stands behind is not thrown away


def size(text: str) -> int | None:
    """The size of the log that is written so; None for what is no size."""
    return int(text) if _SIZE.fullmatch(text) else None


def time_ms(text: str, now_s: float) -> int | None:
    """Milliseconds since 1970 of what is written so; None for what is no time, and what lies before 1970.

    Args:
        now_s: Unix time, for what is so long ago.
    """
    ago = _AGO.fullmatch(text)
    if ago:
        return max(0, int((now_s - int(ago[1]) * _SECONDS[ago[2]]) * 1000))
    if len(text) > _MAX_CHARS:
        return None
    try:
        found = datetime.fromisoformat(text)
        told_ms = int((found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp() * 1000)
    except (ValueError, OverflowError):
        return None
    return told_ms if told_ms >= 0 else None
