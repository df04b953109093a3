"""Requests that were just settled: watched by builders that still have something to do about a verdict.

A verdict takes its request out of the open ones; every other block has nothing for who watches.
"""

from collections.abc import Awaitable, Callable

from pyrsia.ledger import views
from pyrsia.ledger.state import Reads
from pyrsia.node.pulse import Pulse
from pyrsia.units import Limit

RECENT = Limit(64, "requests that were just settled and may want this builder's word or signature")


async def watch(reads: Reads, pulse: Pulse, look: Callable[[str], Awaitable[object]]) -> None:
    """Have `look` see the newest requests, by id in hex, whenever a verdict may have come; until cancelled.

    The same request is seen again and again: `look` knows which it is done with.
    """
    looked = None
    while True:
        seen = pulse.beats
        now = views.requests_open(reads), views.recent_requests(reads, 1)
        if now != looked:
            looked = now
            for request in views.recent_requests(reads, RECENT.value):
                await look(request)
        await pulse.after(seen)
