"""Whether a server may be asked now: how often it failed, and how long it wants to be left alone. Pure.

A server that is down must be a quick no, or every client waits for it in turn: after `FAILURES` in a row nobody asks
for a while, then one asks, and while that fails too the while doubles. What a server asks for by Retry-After (RFC 9110
section 10.2.3) counts from its first answer. Only the way to it and its own failures count; a 404 or a redirect that
leads astray are its words about one path.
"""

from collections import OrderedDict
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Final

from pyrsia.builds.outbound.addresses import Origin
from pyrsia.units import Limit

FAILURES = Limit(3, "one lost connection and one restart of a server; then it is down")
FIRST_REST_S = Limit(5, "a server that restarts is back by then")
LONGEST_REST_S = Limit(120, "what is up again is asked within two minutes")
MAX_RETRY_S = Limit(
    600, "longest that a Retry-After is believed; a typing error must not end a mirror for a day"
)
RATE_REST_S = Limit(30, "after a 429 that does not say how long")
MAX_ORIGINS = Limit(256, "servers that files of pages lead to; a mirror has a handful")

TOO_MANY: Final = 429


@dataclass(slots=True)
class _Known:
    failures: int = 0
    until_s: float = 0.0  # nobody asks before
    trying: bool = False  # the one that may ask after a rest


class Circuits:
    """What is known of every server that was asked lately. Times are the caller's, in seconds."""

    def __init__(self) -> None:
        self._known: OrderedDict[Origin, _Known] = OrderedDict()

    def wait_s(self, origin: Origin, now_s: float) -> float:
        """0 where `origin` may be asked: then one of `good`, `bad` and `unsaid` follows. Else how long not."""
        known = self._of(origin)
        if now_s < known.until_s:
            return known.until_s - now_s
        if known.failures >= FAILURES.value:
            if known.trying:
                return 1.0
            known.trying = True
        return 0.0

    def good(self, origin: Origin) -> None:
        """It answered, whatever it said."""
        self._known.pop(origin, None)

    def unsaid(self, origin: Origin) -> None:
        """Who asked went away before there was an answer."""
        self._of(origin).trying = False

    def bad(self, origin: Origin, now_s: float, rest_s: float = 0.0) -> None:
        """It did not answer, or said that it cannot; `rest_s`: how long it wants to be left alone."""
        known = self._of(origin)
        known.failures += 1
        known.trying = False
        doubled = known.failures - FAILURES.value
        if doubled >= 0:
            own = min(FIRST_REST_S.value * 2 ** min(doubled, 10), LONGEST_REST_S.value)
            rest_s = max(rest_s, own)
        if rest_s > 0:
            known.until_s = max(known.until_s, now_s + rest_s)

    def _of(self, origin: Origin) -> _Known:
        known = self._known.setdefault(origin, _Known())
        self._known.move_to_end(origin)
        while len(self._known) > MAX_ORIGINS.value:
            self._known.popitem(last=False)
        return known


def rest_s(status: int, retry_after: str, now_s: float) -> float:
    """How long a server wants to be left alone; 0 where it does not say so.

    Args:
        retry_after: the header's value, "" for none. now_s: Unix time.
    """
    told = 0.0
    if retry_after.isascii() and retry_after.strip().isdecimal():
        told = float(retry_after.strip()[:9])
    elif retry_after:
        try:
            told = parsedate_to_datetime(retry_after).timestamp() - now_s
        except (ValueError, OverflowError, IndexError):
            told = 0.0
    if told <= 0:
        return float(RATE_REST_S.value) if status == TOO_MANY else 0.0
    return min(told, float(MAX_RETRY_S.value))
