"""Many entries handed to validators at once, by a node that orders none itself: one question for up to 64 of them.

What `submission` does for one entry is done for all that go together: f + 1 validators are given them, so that an
honest one holds each; what is not final then goes to the next ones. Each entry has its own answers and its own end.

Source: docs/submission.md, "Submitting".
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec
import trio

from pyrsia.errors import Malformed, Refusal, Unavailable
from pyrsia.ledger import entries
from pyrsia.ledger.entries import Entry
from pyrsia.net.requests import Wordless
from pyrsia.node.clock import NowMs, wall_ms
from pyrsia.node.kinds import Method
from pyrsia.node.log.submission import (
    BUSY,
    Answers,
    LeafOf,
    Request,
    no_order,
    overdue,
    told_busy,
    undecided,
    unreadable,
)
from pyrsia.units import SUBMIT_ANSWER_S, SUBMIT_PUSHBACK_S, SUBMIT_RESEND_S, NodeId, tolerated
from pyrsia.wire import sharing
from pyrsia.wire.sharing import Entries

HEDGE_S: Final = 1.0  # then one more is asked: checking 64 signatures on a busy core takes a part of it
_told: Final = msgspec.json.Decoder(list[dict[str, str | int] | None])


@dataclass(slots=True)
class Going:
    """An entry on its way.

    Attributes:
        final: set once this node's log holds it.
        refusal: why it will not come, once that is settled.
        held: whether f + 1 validators took it at some time.
        not_before_s: when each validator that had no room for it may be asked again.
    """

    place: int
    entry: Entry
    final: trio.Event
    refusal: Refusal | None = None
    answers: Answers = field(default_factory=Answers)
    held: bool = False
    not_before_s: dict[NodeId, float] = field(default_factory=dict)

    @property
    def is_open(self) -> bool:
        return self.refusal is None and not self.final.is_set()

    def heard(self, validator: NodeId, said: Refusal | None) -> None:
        """Add what `validator` says."""
        self.answers.add(said)
        if said is not None and said.code == BUSY:
            wait_s = min(max(1, said.retry_s), SUBMIT_PUSHBACK_S.value)
            self.not_before_s[validator] = trio.current_time() + wait_s

    def settle(self, enough: int) -> None:
        """Refuse it where what validators said just now comes to that."""
        self.held |= self.answers.taken >= enough
        no = self.answers.settled(enough)
        self.refusal = undecided(no) if no is not None and no.code != BUSY and self.held else no

    def is_put_off(self, validator: NodeId) -> bool:
        """Whether `validator` is still busy by its own word; then that counts once more."""
        left_s = self.not_before_s.get(validator, 0.0) - trio.current_time()
        if left_s <= 0:
            return False
        self.answers.add(told_busy(left_s))
        return True


@dataclass(slots=True)
class Heard:
    """Of the validators that were asked: whether some answered, and whether some cannot."""

    some: bool = False
    wordless: bool = False


class Handing:
    """One node's."""

    def __init__(
        self,
        *,
        node: NodeId,
        request: Request,
        validators: Callable[[], Sequence[NodeId]],
        now_ms: NowMs = wall_ms,
    ) -> None:
        """
        Args:
            node: our own id.
            validators: node ids of those who validate now.
            now_ms: Unix time, which an entry's `until` counts in.
        """
        self._node, self._request, self._validators, self._now_ms = node, request, validators, now_ms

    async def see(self, going: Sequence[Going]) -> None:
        """Until each is final here or refused. Where validators know no batches all are left open.

        `busy` is a refusal here: whoever brings many can wait better than we.
        """
        attempt = 0
        left = [one for one in going if one.is_open]
        while left:
            if not await self._offer(left, attempt):
                return
            n = len(self._validators())
            enough = tolerated(n) + 1
            for one in left:
                one.settle(enough)
            with trio.move_on_after(SUBMIT_RESEND_S.value):
                await _all_final([one for one in left if one.refusal is None])
            for one in left:
                if one.is_open:
                    is_over = self._now_ms() >= one.entry.until_ms
                    one.refusal = overdue(n) if is_over else one.answers.put_off(enough)
            left = [one for one in left if one.is_open]
            attempt += 1

    async def _offer(self, left: Sequence[Going], attempt: int) -> bool:
        """To f + 1 validators, others each time. Ends early once all are final.

        False: all that answer know single entries only, as those of earlier versions do.
        """
        for one in left:
            one.answers = Answers()
        heard = Heard()

        async def part(several: Sequence[Going]) -> None:
            await self._offer_part(several, attempt, heard)

        async def parts() -> None:
            async with trio.open_nursery() as nursery:
                at = 0
                for batch in sharing.batches([one.entry.raw for one in left]):
                    nursery.start_soon(part, left[at : at + len(batch.raws)])
                    at += len(batch.raws)
            nursery_of_all.cancel_scope.cancel()

        async with trio.open_nursery() as nursery_of_all:
            nursery_of_all.start_soon(parts)
            await _all_final(left)
            nursery_of_all.cancel_scope.cancel()
        return heard.some or not heard.wordless

    async def _offer_part(self, part: Sequence[Going], attempt: int, heard: Heard) -> None:
        """The first f + 1 at once, then one more whenever those are slow or do not settle it."""
        order = [node for node in self._validators() if node != self._node]
        enough = tolerated(len(self._validators())) + 1
        payload = Entries(tuple(one.entry.raw for one in part)).encode()
        asked: list[trio.Event] = []

        async def ask(validator: NodeId, answered: trio.Event) -> None:
            await self._ask(validator, payload, part, heard)
            answered.set()
            if _held(part, enough):
                nursery.cancel_scope.cancel()

        async with trio.open_nursery() as nursery:
            for i in range(len(order)):
                asked.append(trio.Event())
                nursery.start_soon(ask, order[(attempt * enough + i) % len(order)], asked[-1])
                if i + 1 < enough:
                    continue
                with trio.move_on_after(HEDGE_S):
                    for answered in asked:
                        await answered.wait()
                if _held(part, enough):
                    break

    async def _ask(self, validator: NodeId, payload: bytes, part: Sequence[Going], heard: Heard) -> None:
        """Add one validator's answers. Silence settles nothing."""
        wanted = [one for one in part if not one.is_put_off(validator)]
        if not wanted:
            heard.some = True
            return
        if len(wanted) < len(part):
            part, payload = wanted, Entries(tuple(one.entry.raw for one in wanted)).encode()
        try:
            answer = await self._request(validator, Method.SUBMIT_MANY, payload, float(SUBMIT_ANSWER_S.value))
        except Wordless:
            heard.wordless = True
            return
        except Unavailable:
            return
        except Refusal as refusal:
            told: Sequence[Refusal | None] = [refusal] * len(part)
        else:
            told = read_answers(answer, len(part))
        heard.some = True
        for one, said in zip(part, told, strict=True):
            one.heard(validator, said)


async def _all_final(going: Sequence[Going]) -> None:
    for one in going:
        if not one.final.is_set():  # (a wait for what has happened would still be a turn of the loop)
            await one.final.wait()


def _held(part: Sequence[Going], enough: int) -> bool:
    """Whether no further answer can change what becomes of any."""
    return all(
        one.final.is_set() or one.answers.taken >= enough or len(one.answers.refused) >= enough
        for one in part
    )


class Desk:
    """Answers SUBMIT_MANY."""

    def __init__(
        self,
        *,
        orders: Callable[[], bool],
        offer: Callable[[bytes, NodeId], object],
        leaf_of: LeafOf,
        may: Callable[[NodeId], None],
    ) -> None:
        """
        Args:
            orders: whether this node validates now.
            offer: its mempool's door (`Sharer.offer`).
            leaf_of: where an entry stands in the durable log of this node.
            may: raises `Refusal` for a peer that may not submit.
        """
        self._orders, self._offer, self._leaf_of, self._may = orders, offer, leaf_of, may

    def answer(self, node: NodeId, payload: bytes) -> bytes:
        """What a peer is told that submits these; of what is final it is told nothing, its own log will have it.

        Raises:
            Refusal: none of them is looked at.
            Malformed: `payload` is no batch of entries.
        """
        self._may(node)
        if not self._orders():
            raise no_order()
        message = sharing.decode(payload)
        if not isinstance(message, Entries):
            raise Malformed("a page of ids is no batch of entries")
        return write_answers([self._take(raw, node) for raw in message.raws])

    def _take(self, raw: bytes, node: NodeId) -> Refusal | None:
        try:
            self._offer(raw, node)
        except Refusal as refusal:
            return None if self._is_final(raw) else refusal  # asked last: few are refused
        return None

    def _is_final(self, raw: bytes) -> bool:
        try:
            return self._leaf_of(entries.parse(raw).id) is not None
        except Malformed:
            return False


def write_answers(told: Sequence[Refusal | None]) -> bytes:
    """Nothing where all were taken; else null or a refusal for each."""
    if all(one is None for one in told):
        return b""
    return msgspec.json.encode([None if one is None else one.as_dict() for one in told])


def read_answers(answer: bytes, count: int) -> Sequence[Refusal | None]:
    """What a validator says to each of `count` entries; None for those that it took."""
    if not answer:
        return [None] * count
    try:
        rows: list[dict[str, Any] | None] = list(_told.decode(answer))
        if len(rows) == count:
            return [None if row is None else Refusal.from_dict(row) for row in rows]
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        pass
    return [unreadable()] * count


Hand = Callable[[Sequence[Going]], Awaitable[None]]
