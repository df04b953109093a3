"""Entries on their way to the log: handed to validators, acknowledged only after finality.

The same bytes are sent again until the log holds them or their `until` has passed, so that a
submission is idempotent across validators and restarts: the entry's id is its content.
"""

import secrets
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec
import trio

from pyrsia.errors import Malformed, Refusal, Unavailable
from pyrsia.keys import KeyRing
from pyrsia.ledger import entries
from pyrsia.ledger.genesis import Genesis
from pyrsia.node.clock import NowMs, wall_ms
from pyrsia.node.kinds import Method
from pyrsia.units import Limit, NodeId

UNTIL_MS = Limit(
    600_000, "ten minutes bridge a restart of a majority; a longer life only fills the dedup state"
)
RESEND_S = Limit(2, "two views of a dead leader pass in this time; asking more often only repeats the bytes")
ANSWER_S = Limit(5, "a validator answers from memory; what takes longer is a dead link")
NONCE_BYTES = 16
BUSY = "busy"


Request = Callable[[NodeId, int, bytes, float], Awaitable[bytes]]
LeafOf = Callable[[bytes], int | None]


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


class Submitter:
    """Authors entries as this node and sees them into the log."""

    def __init__(
        self,
        keys: KeyRing,
        genesis: Genesis,
        *,
        request: Request,
        validators: Sequence[NodeId],
        leaf_of: LeafOf,
        waiters: Waiters,
        local: Callable[[bytes], None] | None,
        now_ms: NowMs = wall_ms,
    ) -> None:
        """`local` puts an entry into this node's own mempool, if it is a validator (may raise `Refusal`);
        `now_ms` is Unix time, which an entry's `until` counts in."""
        self._keys = keys
        self._genesis = genesis
        self._request = request
        self._validators = [node for node in validators if node != keys.node_id]
        self._leaf_of = leaf_of
        self._waiters = waiters
        self._local = local
        self._now_ms = now_ms

    def author(self, kind: str, body: dict[str, Any]) -> bytes:
        """A signed entry of this node, valid for `UNTIL_MS` from now."""
        return entries.author(
            kind,
            body,
            net=self._genesis.net,
            author=self._keys.node_id,
            nonce=secrets.token_bytes(NONCE_BYTES),
            until_ms=self._now_ms() + UNTIL_MS.value,
            sign=self._keys.node.sign,
        )

    async def submit(self, kind: str, body: dict[str, Any]) -> tuple[bytes, int]:
        """Author an entry and return (entry id, leaf index) once the log holds it."""
        return await self.submit_entry(self.author(kind, body))

    async def submit_entry(self, raw: bytes) -> tuple[bytes, int]:
        """See `raw` into the log.

        Raises:
            Refusal: f + 1 validators said no, so that an honest one did; or the log did not hold it by its
                `until`.
        """
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
        final = self._waiters.expect(entry.id)
        try:
            known = self._leaf_of(entry.id)
            if known is not None:
                return entry.id, known
            await self._see_through(raw, entry.until_ms, final)
        finally:
            self._waiters.forget(entry.id, final)
        index = self._leaf_of(entry.id)
        if index is None:
            raise Refusal(
                "internal", what="an acknowledged entry has no index", who="this node", do="report this"
            )
        return entry.id, index

    async def _see_through(self, raw: bytes, until_ms: int, final: trio.Event) -> None:
        attempt = 0
        while not final.is_set():
            if self._now_ms() >= until_ms:
                raise Refusal(
                    "unavailable",
                    what="the network did not take the entry in time",
                    who=f"more than {self._genesis.f} of {self._genesis.n} validators are unreachable or silent",
                    do="see `pyrsia peers`; ask again when a quorum is back",
                )
            refusal = await self._offer_until(final, raw, attempt)
            if refusal is not None and not final.is_set():
                raise refusal
            attempt += 1
            with trio.move_on_after(RESEND_S.value):
                await final.wait()

    async def _offer_until(self, final: trio.Event, raw: bytes, attempt: int) -> Refusal | None:
        """Offer, but wait for no silent validator once the log holds the entry."""
        refused: list[Refusal] = []

        async def watch() -> None:
            await final.wait()
            nursery.cancel_scope.cancel()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch)
            refused = await self._offer(raw, attempt)
            nursery.cancel_scope.cancel()
        return refused[0] if refused else None

    async def _offer(self, raw: bytes, attempt: int) -> list[Refusal]:
        """To our own mempool, or to f + 1 validators, so that one honest holds it; others each time.

        Returns what settles the matter: nothing, our own mempool's no, or f + 1 validators' noes. One
        validator's no settles nothing: it may lie.
        """
        if self._local is not None:
            try:
                self._local(raw)
            except Refusal as refusal:
                return [] if refusal.code == BUSY else [refusal]
            return []
        enough = self._genesis.f + 1
        turn = attempt * enough
        taken, refused = 0, list[Refusal]()
        for i in range(len(self._validators)):
            no = await self._ask(self._validators[(turn + i) % len(self._validators)], raw)
            if no is None:
                taken += 1
            elif no.code != BUSY:
                refused.append(no)
            if enough in (taken, len(refused)):
                break
        return refused if len(refused) >= enough else []

    async def _ask(self, validator: NodeId, raw: bytes) -> Refusal | None:
        """One validator's answer; None is yes, `busy` also stands for one that does not answer."""
        try:
            answer = await self._request(validator, Method.SUBMIT, raw, float(ANSWER_S.value))
        except Unavailable as error:
            return Refusal(BUSY, what=str(error), who="the validator", do="ask again")
        except Refusal as refusal:
            return refusal
        return read_refusal(answer) if answer else None


def write_refusal(refusal: Refusal) -> bytes:
    """The answer to SUBMIT that says no; yes is no bytes at all."""
    return msgspec.json.encode(refusal.as_dict())


def read_refusal(answer: bytes) -> Refusal:
    try:
        return Refusal.from_dict(msgspec.json.decode(answer, type=dict[str, str]))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return Refusal(
            "internal", what="a validator gave no readable answer", who="the validator", do="ask again"
        )
