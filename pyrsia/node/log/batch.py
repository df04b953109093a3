"""Many entries of one client at once: one wait for all of them instead of a task for each.

Entries that this node may order itself are offered together, and most of them land in the same blocks; those of a node
without a vote are handed to validators together. Whatever has no end by that is seen through one by one by `Submitter`.
"""

from collections.abc import Awaitable, Callable, Sequence

import trio

from pyrsia.errors import Malformed, PyrsiaError, Refusal
from pyrsia.ledger import entries
from pyrsia.ledger.entries import Entry
from pyrsia.node.log.handing import Going, Hand
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
        hand: Hand,
        known: Callable[[bytes], Entry | None] = lambda _: None,
    ) -> None:
        """What it works with.

        Args:
            take: puts an entry into this node's own mempool (may raise `Refusal`), while it `orders` entries.
            hand: sees entries through together while it does not (`handing.Handing.see`).
            known: the entry with these bytes, where it was read before.
        """
        self._take = take
        self._orders = orders
        self._waiters = waiters
        self._leaf_of = leaf_of
        self._one_by_one = one_by_one
        self._hand = hand
        self._known = known

    async def submit(self, raws: Sequence[bytes]) -> list[Outcome]:
        """What became of each entry, in the order given; returns once every one is in the log or refused."""
        found: list[Outcome | None] = [None] * len(raws)
        going: list[Going] = []
        try:
            for place, raw in enumerate(raws):
                self._expect(place, raw, found, going)
            await self._see(going)
        finally:
            for one in going:
                self._waiters.forget(one.entry.id, one.final)
        for one in going:
            leaf = self._leaf_of(one.entry.id)
            found[one.place] = one.refusal if leaf is None else (one.entry.id, leaf)
        await self._rest(raws, found)
        return [outcome for outcome in found if outcome is not None]

    def _expect(self, place: int, raw: bytes, found: list[Outcome | None], going: list[Going]) -> None:
        """Find it in the log, or wait for it there."""
        try:
            entry = self._known(raw) or entries.parse(raw)
        except Malformed:
            return  # the path of single entries says what is wrong with it
        leaf = self._leaf_of(entry.id)
        if leaf is not None:
            found[place] = entry.id, leaf
        elif entry.author is not None:  # (of one without an author the path of single entries knows more)
            going.append(Going(place, entry, self._waiters.expect(entry.id)))

    async def _see(self, going: Sequence[Going]) -> None:
        if not self._orders():
            await self._hand(going)
            return
        taken = [one for one in going if self._offer(one)]
        with trio.move_on_after(BATCH_WAIT_S.value):
            for one in taken:
                if not one.final.is_set():  # (a wait for what has happened would still be a turn of the loop)
                    await one.final.wait()

    def _offer(self, one: Going) -> bool:
        """Into our own mempool; what it refuses for good is refused."""
        try:
            self._take(one.entry.raw)
        except Refusal as refusal:
            if refusal.code != BUSY:
                one.refusal = refusal
            return False
        return True

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
