"""Many entries of one client at once: one wait for all of them instead of a task for each.

Entries that this node may order itself are offered together, and most of them land in the same blocks. Whatever is
not final by then, and everything that a node without a vote is given, is seen through one by one by `Submitter`.
"""

from collections.abc import Awaitable, Callable, Sequence

import trio

from pyrsia.errors import Malformed, PyrsiaError, Refusal
from pyrsia.ledger import entries
from pyrsia.ledger.entries import Entry
from pyrsia.node.log.submission import BUSY, LeafOf, Waiters
from pyrsia.units import Limit

BATCH_WAIT_S = Limit(2, "then each is sent again as a single one would be")

Outcome = tuple[bytes, int] | Refusal  # entry id and leaf index, or why not


class Batches:
    """Sees whole batches into the log."""

    def __init__(
        self,
        *,
        take: Callable[[bytes], None],
        orders: Callable[[], bool],
        waiters: Waiters,
        leaf_of: LeafOf,
        one_by_one: Callable[[bytes], Awaitable[tuple[bytes, int]]],
        known: Callable[[bytes], Entry | None] = lambda _: None,
    ) -> None:
        """What it works with.

        Args:
            take: puts an entry into this node's own mempool (may raise `Refusal`), while it `orders` entries.
            known: the entry with these bytes, where it was read before.
        """
        self._take = take
        self._orders = orders
        self._waiters = waiters
        self._leaf_of = leaf_of
        self._one_by_one = one_by_one
        self._known = known

    async def submit(self, raws: Sequence[bytes]) -> list[Outcome]:
        """What became of each entry, in the order given; returns once every one is in the log or refused."""
        found: list[Outcome | None] = [None] * len(raws)
        waiting: list[tuple[int, bytes, trio.Event]] = []
        try:
            for place, raw in enumerate(raws):
                self._offer(place, raw, found, waiting)
            with trio.move_on_after(BATCH_WAIT_S.value):
                for _, _, final in waiting:
                    if not final.is_set():  # (a wait for what has happened would still be a turn of the loop)
                        await final.wait()
        finally:
            for _, name, final in waiting:
                self._waiters.forget(name, final)
        for place, name, _ in waiting:
            leaf = self._leaf_of(name)
            if leaf is not None:
                found[place] = name, leaf
        await self._rest(raws, found)
        return [outcome for outcome in found if outcome is not None]

    def _offer(
        self,
        place: int,
        raw: bytes,
        found: list[Outcome | None],
        waiting: list[tuple[int, bytes, trio.Event]],
    ) -> None:
        """Into our own mempool, if we have one; what it refuses for good is refused."""
        if not self._orders():
            return
        try:
            entry = self._known(raw) or entries.parse(raw)
            leaf = self._leaf_of(entry.id)
            if leaf is not None:
                found[place] = entry.id, leaf
                return
            self._take(raw)
        except Malformed:
            return  # the path of single entries says what is wrong with it
        except Refusal as refusal:
            if refusal.code != BUSY:
                found[place] = refusal
            return
        waiting.append((place, entry.id, self._waiters.expect(entry.id)))

    async def _rest(self, raws: Sequence[bytes], found: list[Outcome | None]) -> None:
        async def see(place: int) -> None:
            try:
                found[place] = await self._one_by_one(raws[place])
            except Refusal as refusal:
                found[place] = refusal
            except PyrsiaError as error:
                found[place] = Refusal(
                    "unavailable", what=str(error), who="this node's disk or network", do="send it again"
                )

        async with trio.open_nursery() as nursery:
            for place, outcome in enumerate(found):
                if outcome is None:
                    nursery.start_soon(see, place)
