"""Times as people write and read them: UTC, to the second."""

import re
import time
from datetime import UTC, datetime
from typing import Final

import click

from pyrsia import moments

_SPAN: Final = re.compile(r"([0-9]{1,6}(?:\.[0-9]{1,3})?)(s|m|h|d|w)?", re.ASCII)
_SECONDS: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}

as_of_option = click.option(
    "--as-of", metavar="SIZE|TIME", help="As the log was: at this size, on a date, or 7d ago."
)


def told(time_ms: int) -> str:
    """`2026-01-31 12:00:00`, or `-` for no time and one that no calendar has."""
    try:
        return datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S") if time_ms else "-"
    except (ValueError, OverflowError, OSError):
        return "-"


def read(text: str) -> int:
    """Milliseconds since 1970 of a date, a date and time (UTC unless it says otherwise), or a span ago (`2h`, `7d`).

    Raises:
        click.BadParameter: none of these.
    """
    found = moments.time_ms(text, time.time())
    if found is None:
        raise click.BadParameter(f"{text} is no time; write {moments.HOW}")
    return found


def moment(text: str | None) -> dict[str, int]:
    """`--as-of SIZE|TIME` as nodes are asked: `as_of`, `as_of_time`, or nothing.

    Raises:
        click.BadParameter: neither a size nor a time, or a time to come.
    """
    if text is None:
        return {}
    size = moments.size(text)
    return {"as_of_time": past(text)} if size is None else {"as_of": size}


def past(text: str) -> int:
    """As `read`, of a moment that somebody can know about.

    Raises:
        click.BadParameter: no time, or one that lies ahead of this clock.
    """
    time_ms = read(text)
    if time_ms > time.time() * 1_000:
        raise click.BadParameter(
            f"{text} lies ahead: nobody knows that log yet; for what is known now leave it out"
        )
    return time_ms


class Span(click.ParamType[float]):
    """An option that is a length of time in seconds: `90`, `30s`, `2m`, `1h`."""

    name = "span"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        text = str(value)
        found = _SPAN.fullmatch(text)
        if found is None or float(found[1]) == 0:
            raise click.BadParameter(f"{text} is no length of time; write 30s, 2m or 1h")
        return float(found[1]) * _SECONDS[found[2] or "s"]


class Time(click.ParamType[int]):
    """An option that is a time."""

    name = "time"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        return value if isinstance(value, int) else read(str(value))
