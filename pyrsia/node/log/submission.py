"""Entries on their way to the log: handed to validators, acknowledged only after finality.

The same bytes are sent again until the log holds them or their `until` has passed, so that a
submission is idempotent across validators and restarts: the entry's id is its content. Where a validator
has no room it says for how long, and is not asked before.

Source: docs/submission.md.
"""

import secrets
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec
import trio

from pyrsia.errors import Malformed, Refusal, Unavailable
from pyrsia.keys import KeyRing
from pyrsia.ledger import entries
from pyrsia.ledger.entries import Entry
from pyrsia.ledger.genesis import Genesis
from pyrsia.node.clock import NowMs, wall_ms
from pyrsia.node.kinds import Method
from pyrsia.units import SUBMIT_ANSWER_S, SUBMIT_PUSHBACK_S, SUBMIT_RESEND_S, Limit, NodeId, tolerated
from pyrsia.verify.acknowledged import Acknowledgement, read

UNTIL_MS = Limit(
    600_000, "ten minutes bridge a restart of a majority; a longer life only fills the dedup state"
)
HEDGE_S: Final = (
    0.25  # then the next validator is asked beside one that is slow; an answer takes a round trip
)
NONCE_BYTES = 16
BUSY = "busy"
_ORDERS_NONE: Final = "this node orders no entries"


Request = Callable[[NodeId, int, bytes, float], Awaitable[bytes]]
LeafOf = Callable[[bytes], int | None]
Acknowledge = Callable[[bytes, int], Acknowledgement]  # (entry id, leaf index)
Believe = Callable[[bytes, Acknowledgement], bool]  # (the entry's bytes, what a validator says of it)


class Waiters:
    """Who waits for which entry id; woken when the batch that holds it is synced.

    Two that wait for one entry are woken both, whichever of them gives up first.
    """

    def __init__(self) -> None:
        self._events: dict[bytes, list[trio.Event]] = {}

    def __len__(self) -> int:
        return len(self._events)

    def expect(self, entry_id: bytes) -> trio.Event:
        """A new event; hand it back to `forget`."""
        event = trio.Event()
        self._events.setdefault(entry_id, []).append(event)
        return event

    def settled(self, entry_ids: Sequence[bytes]) -> None:
        for entry_id in entry_ids:
            for event in self._events.pop(entry_id, ()):
                event.set()

    def forget(self, entry_id: bytes, event: trio.Event) -> None:
        waiting = [one for one in self._events.pop(entry_id, ()) if one is not event]
        if waiting:
            self._events[entry_id] = waiting


@dataclass(slots=True)
class Answers:
    """What validators said to one offer of one entry.

    Attributes:
        taken: how many hold the entry.
        refused: noes for good.
        busy: noes for now.
        said: an acknowledgement of one of them, once it is checked.
    """

    taken: int = 0
    refused: list[Refusal] = field(default_factory=list)
    busy: list[Refusal] = field(default_factory=list)
    said: Acknowledgement | None = None

    def add(self, told: Refusal | None) -> None:
        """One validator's; None says that it holds the entry.

        That it orders none is no word about the entry: whoever says so may have been a validator in our log only.
        """
        if told is None:
            self.taken += 1
        elif not orders_none(told):
            (self.busy if told.code == BUSY else self.refused).append(told)

    def settled(self, enough: int) -> Refusal | None:
        """The no that settles the matter: one that `enough` say, of whom one alone may lie."""
        if len(self.refused) >= enough:
            return self.refused[0]
        return None if self.taken else self.put_off(enough)

    def put_off(self, enough: int) -> Refusal | None:
        """The no for now of `enough`, where fewer took the entry, and those may all lie.

        One that does not lie is worth a moment's wait; a whole life's wait no claim of one validator is worth.
        """
        if self.taken >= enough or len(self.busy) < enough:
            return None
        # The shortest: a liar's wish for patience binds nobody, and coming too early costs one question.
        return min(self.busy, key=lambda one: one.retry_s)


class Submitter:
    """Authors entries as this node and sees them into the log."""

    def __init__(
        self,
        keys: KeyRing,
        genesis: Genesis,
        *,
        request: Request,
        validators: Callable[[], Sequence[NodeId]],
        leaf_of: LeafOf,
        waiters: Waiters,
        local: Callable[[bytes], None] | None,
        written: LeafOf | None = None,
        believe: Believe = lambda _, __: False,
        admitted: Callable[[], bool] = lambda: True,
        made: Callable[[Entry], None] = lambda _: None,
        now_ms: NowMs = wall_ms,
    ) -> None:
        """
        Args:
            admitted: whether this node is a member now, as far as its log goes: nobody else may author.
            validators: node ids of those who validate now, this node maybe among them.
            leaf_of: where an entry stands in the durable log of this node.
            local: puts an entry into this node's own mempool, for while it validates (may raise `Refusal`).
            written: where an entry stands in this node's log, on disk or not yet; None: `leaf_of` tells.
            believe: whether a validator's acknowledgement proves what it says; a follower may lag behind.
            made: told of each entry that this node signs: nobody needs to read it and check its signature here.
            now_ms: Unix time, which an entry's `until` counts in.
        """
        self._keys = keys
        self._genesis = genesis
        self._request = request
        self._all = validators
        self._leaf_of = leaf_of
        self._waiters = waiters
        self._local = local
        self._written = written or leaf_of
        self._believe = believe
        self._admitted = admitted
        self._made = made
        self._now_ms = now_ms
        self._not_before_s: dict[NodeId, float] = {}  # validators that said for how long they are busy

    def author(self, kind: str, body: dict[str, Any]) -> bytes:
        """A signed entry of this node, valid for `UNTIL_MS` from now."""
        entry = entries.authored(
            kind,
            body,
            net=self._genesis.net,
            author=self._keys.node_id,
            nonce=secrets.token_bytes(NONCE_BYTES),
            until_ms=self._now_ms() + UNTIL_MS.value,
            sign=self._keys.node.sign,
        )
        self._made(entry)
        return entry.raw

    async def submit(self, kind: str, body: dict[str, Any]) -> tuple[bytes, int]:
        """Author an entry and return (entry id, leaf index) once this node's log holds it.

        Raises:
            Refusal: as `submit_entry`; `forbidden` at once while this node is no member.
        """
        if not self._admitted():
            raise Refusal(
                "forbidden",
                what="this node is no member of the network, and only members author entries",
                who="this node, as far as its log goes",
                do="see `pyrsia member list`; to be admitted, docs/join.md; or ask another node",
            )
        return await self.submit_entry(self.author(kind, body))

    async def submit_entry(self, raw: bytes, *, patient: bool = True) -> tuple[bytes, int]:
        """See `raw` into the log of this node; (entry id, leaf index).

        Args:
            patient: wait for room as long as the entry's `until` allows; else `busy` is told at once, for
                somebody who can wait better than we.

        Raises:
            Refusal: f + 1 validators said no, so that an honest one did; or the log did not hold it by its
                `until`.
        """
        entry = _readable(raw)
        final = self._waiters.expect(entry.id)
        try:
            known = self._leaf_of(entry.id)
            if known is not None:
                return entry.id, known
            await self._see_through(entry, final, patient=patient)
        finally:
            self._waiters.forget(entry.id, final)
        return entry.id, self._leaf(entry)

    async def acknowledged(self, raw: bytes, acknowledge: Acknowledge) -> tuple[Acknowledgement, bool]:
        """See `raw` into the log; its acknowledgement, and whether it stood there already.

        One that validators give and that proves itself will do, where this node's own log lags behind.

        Args:
            acknowledge: makes it for a leaf of this node's own log.

        Raises:
            Refusal: as `submit_entry`, `busy` with the seconds after which there will be room.
        """
        entry = _readable(raw)
        final = self._waiters.expect(entry.id)
        try:
            known = self._leaf_of(entry.id)
            if known is not None:
                return acknowledge(entry.id, known), True
            stands = (
                self._written(entry.id) is not None
            )  # readers see it already; the disk does not have it yet
            said = await self._see_through(entry, final, patient=False, remote=True)
        finally:
            self._waiters.forget(entry.id, final)
        return said or acknowledge(entry.id, self._leaf(entry)), stands

    def _leaf(self, entry: Entry) -> int:
        index = self._leaf_of(entry.id)
        if index is None:
            raise Refusal(
                "internal", what="an acknowledged entry has no index", who="this node", do="report this"
            )
        return index

    async def _see_through(
        self, entry: Entry, final: trio.Event, *, patient: bool, remote: bool = False
    ) -> Acknowledgement | None:
        """Until it is final here, or, with `remote`, proven to be final elsewhere."""
        attempt = 0
        while not final.is_set():
            # Asked once even when its time is over: others may know where it stands, or say that it is.
            if attempt and self._now_ms() >= entry.until_ms:
                raise overdue(len(self._all()))
            answers = await self._offer_until(final, entry.raw, attempt)
            if final.is_set():
                break
            if answers.said is not None and remote:
                return answers.said
            settled = answers.settled(1 if self._own() is not None else self._enough())
            wait_s = float(SUBMIT_RESEND_S.value)
            if settled is not None:
                if not patient or settled.code != BUSY:
                    raise settled
                left_s = (entry.until_ms - self._now_ms()) / 1000
                wait_s = max(wait_s, min(settled.retry_s, SUBMIT_PUSHBACK_S.value, left_s))
            attempt += 1
            with trio.move_on_after(wait_s):
                await final.wait()
            put_off = answers.put_off(self._enough())
            if put_off is not None and not patient and not final.is_set():
                raise put_off
        return None

    async def _offer_until(self, final: trio.Event, raw: bytes, attempt: int) -> Answers:
        """Offer, but wait for no silent validator once the log holds the entry."""
        answers = Answers()

        async def watch() -> None:
            await final.wait()
            nursery.cancel_scope.cancel()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch)
            await self._offer(answers, raw, attempt)
            nursery.cancel_scope.cancel()
        return answers

    async def _offer(self, answers: Answers, raw: bytes, attempt: int) -> None:
        """To our own mempool, or to f + 1 validators, so that one honest holds it; others each time."""
        own = self._own()
        if own is not None:
            _offer_here(own, answers, raw)
            return
        others = [node for node in self._all() if node != self._keys.node_id]
        enough = self._enough()
        turn = attempt * enough

        def settled() -> bool:
            return answers.said is not None or enough in (answers.taken, len(answers.refused))

        async def ask(validator: NodeId, answered: trio.Event) -> None:
            await self._ask(validator, raw, answers)
            answered.set()
            if settled():
                nursery.cancel_scope.cancel()

        async with trio.open_nursery() as nursery:
            for i in range(len(others)):
                answered = trio.Event()
                nursery.start_soon(ask, others[(turn + i) % len(others)], answered)
                with trio.move_on_after(HEDGE_S):
                    await answered.wait()
                if settled():
                    return

    def _own(self) -> Callable[[bytes], None] | None:
        """Our own mempool's door, while we validate."""
        return self._local if self._keys.node_id in self._all() else None

    def _enough(self) -> int:
        return tolerated(len(self._all())) + 1

    async def _ask(self, validator: NodeId, raw: bytes, answers: Answers) -> None:
        """Add one validator's answer; silence, and a validator that is still busy, add nothing that settles."""
        left_s = self._not_before_s.get(validator, 0.0) - trio.current_time()
        if left_s > 0:
            answers.busy.append(told_busy(left_s))
            return
        try:
            answer = await self._request(validator, Method.SUBMIT, raw, float(SUBMIT_ANSWER_S.value))
        except Unavailable:
            return
        except Refusal as refusal:
            said: Refusal | Acknowledgement | None = refusal
        else:
            said = read_answer(answer)
        match said:
            case None:
                answers.add(None)
            case Acknowledgement():
                # Final elsewhere: one that proves it ends the matter, one that does not is no answer.
                if self._believe(raw, said):
                    answers.said = said
            case Refusal():
                self._refused(validator, said, answers)

    def _refused(self, validator: NodeId, refusal: Refusal, answers: Answers) -> None:
        answers.add(refusal)
        if refusal.code != BUSY:
            return
        wait_s = min(max(1, refusal.retry_s), SUBMIT_PUSHBACK_S.value)
        known: Collection[NodeId] = self._all()
        self._not_before_s = {node: s for node, s in self._not_before_s.items() if node in known}
        self._not_before_s[validator] = trio.current_time() + wait_s


class Reception:
    """Answers SUBMIT: nothing for what is taken, a refusal, or the acknowledgement of what is final."""

    def __init__(
        self,
        *,
        orders: Callable[[], bool],
        offer: Callable[[bytes, NodeId], object],
        leaf_of: LeafOf,
        acknowledge: Acknowledge,
    ) -> None:
        """`orders`: whether this node validates now; `offer`: its mempool's door (`Sharer.offer`)."""
        self._orders = orders
        self._offer = offer
        self._leaf_of = leaf_of
        self._acknowledge = acknowledge

    async def answer(self, node: NodeId, raw: bytes) -> bytes:
        """What a peer is told that submits `raw`; the same bytes are answered the same, whatever node is asked."""
        try:
            leaf = self._known(raw)
            if leaf is not None:
                return write_acknowledgement(leaf)
            if not self._orders():
                raise no_order()
            self._offer(raw, node)
        except Refusal as refusal:
            return write_refusal(refusal)
        return b""

    def _known(self, raw: bytes) -> Acknowledgement | None:
        try:
            entry = entries.parse(raw)
        except Malformed:
            return None  # the door says what is wrong with it
        index = self._leaf_of(entry.id)
        return None if index is None else self._acknowledge(entry.id, index)


def _readable(raw: bytes) -> Entry:
    try:
        entry = entries.parse(raw)
    except Malformed as error:
        raise Refusal(
            "entry-refused",
            what=f"the entry breaks its format: {error}",
            who="its author",
            do="correct it",
        ) from None
    if entry.author is None:
        raise Refusal(
            "entry-refused",
            what=f"a {entry.kind} is computed by every node and taken from nobody",
            who="its author",
            do="send an entry with an author's signature",
        )
    return entry


def _offer_here(own: Callable[[bytes], None], answers: Answers, raw: bytes) -> None:
    try:
        own(raw)
    except Refusal as refusal:
        answers.add(refusal)
    else:
        answers.add(None)


def overdue(n: int) -> Refusal:
    """Of an entry whose `until` is over, in a network of `n` validators."""
    return Refusal(
        "unavailable",
        what="the network did not take the entry in time",
        who=f"more than {tolerated(n)} of {n} validators are unreachable or silent",
        do="see `pyrsia peers`; ask again when a quorum is back",
    )


def no_order() -> Refusal:
    """What a node says that does not validate."""
    return Refusal(
        "forbidden",
        what=_ORDERS_NONE,
        who="the peer that asked",
        do="send the entry to a validator",
    )


def orders_none(refusal: Refusal) -> bool:
    """Whether it is `no_order`."""
    return (refusal.code, refusal.what) == ("forbidden", _ORDERS_NONE)


def undecided(no: Refusal) -> Refusal:
    """Of an entry that f + 1 validators took, so an honest one holds it, and f + 1 say `no` to: it may still come."""
    return Refusal(
        "unavailable",
        what=f"validators took the entry, and now some refuse it: {no.what}",
        who=no.who,
        do="send it again: the same bytes stand in the log once at most",
    )


def unreadable() -> Refusal:
    """What an answer comes to that is none."""
    return Refusal(
        "internal", what="a validator gave no readable answer", who="the validator", do="ask again"
    )


def told_busy(left_s: float) -> Refusal:
    """What a validator would say again that is not asked again yet."""
    wait_s = int(left_s) + 1
    return Refusal(
        BUSY,
        what="the validators have no room for the entry",
        who="the network's load",
        do=f"send it again in {wait_s} s",
        retry_s=wait_s,
    )


def write_refusal(refusal: Refusal) -> bytes:
    """The answer to SUBMIT that says no; yes is no bytes at all."""
    return msgspec.json.encode(refusal.as_dict())


def write_acknowledgement(said: Acknowledgement) -> bytes:
    """The answer to SUBMIT for an entry that is final."""
    return msgspec.json.encode({"acknowledgement": said})


def read_answer(answer: bytes) -> Refusal | Acknowledgement | None:
    """What a validator says to SUBMIT; nothing if it took the entry."""
    if not answer:
        return None
    try:
        fields = msgspec.json.decode(answer, type=dict[str, Any])
        if "acknowledgement" in fields:
            return read(fields["acknowledgement"])
        if all(isinstance(value, str | int) for value in fields.values()):
            return Refusal.from_dict(fields)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, Malformed):
        pass
    return unreadable()
