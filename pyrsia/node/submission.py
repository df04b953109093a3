"""Entries on their way to the log: handed to validators, acknowledged only after finality.

The same bytes are sent again until the log holds them or their `until` has passed, so that a
submission is idempotent across validators and restarts: the entry's id is its content.
"""

import secrets
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec
import trio

from pyrsia.errors import Malformed, Refusal, Unavailable
from pyrsia.keys import KeyRing
from pyrsia.ledger import entries
from pyrsia.ledger.genesis import Genesis
from pyrsia.node.kinds import Method
from pyrsia.units import Limit, NodeId

UNTIL_MS = Limit(
    600_000, "ten minutes bridge a restart of a majority; a longer life only fills the dedup state"
)
RESEND_S = Limit(2, "two views of a dead leader pass in this time; asking more often only repeats the bytes")
ANSWER_S = Limit(5, "a validator answers from memory; what takes longer is a dead link")
NONCE_BYTES = 16

Request = Callable[[NodeId, int, bytes, float], Awaitable[bytes]]
LeafOf = Callable[[bytes], int | None]


class Waiters:
    """Who waits for which entry id; woken when the batch that holds it is synced."""

    def __init__(self) -> None:
        self._events: dict[bytes, trio.Event] = {}

    def expect(self, entry_id: bytes) -> trio.Event:
        return self._events.setdefault(entry_id, trio.Event())

    def settled(self, entry_ids: Sequence[bytes]) -> None:
        for entry_id in entry_ids:
            event = self._events.pop(entry_id, None)
            if event is not None:
                event.set()

    def forget(self, entry_id: bytes) -> None:
        self._events.pop(entry_id, None)


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
    ) -> None:
        """`local` puts an entry into this node's own mempool, if it is a validator (may raise `Refusal`)."""
        self._keys = keys
        self._genesis = genesis
        self._request = request
        self._validators = [node for node in validators if node != keys.node_id]
        self._leaf_of = leaf_of
        self._waiters = waiters
        self._local = local

    def author(self, kind: str, body: dict[str, Any]) -> bytes:
        """A signed entry of this node, valid for `UNTIL_MS` from now."""
        return entries.author(
            kind,
            body,
            net=self._genesis.net,
            author=self._keys.node_id,
            nonce=secrets.token_bytes(NONCE_BYTES),
            until_ms=int(time.time() * 1000) + UNTIL_MS.value,
            sign=self._keys.node.sign,
        )

    async def submit(self, kind: str, body: dict[str, Any]) -> tuple[bytes, int]:
        """Author an entry and return (entry id, leaf index) once the log holds it."""
        return await self.submit_entry(self.author(kind, body))

    async def submit_entry(self, raw: bytes) -> tuple[bytes, int]:
        """See `raw` into the log.

        Raises:
            Refusal: a validator said why not, or no quorum took it before its `until`.
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
        final = self._waiters.expect(entry.id)
        known = self._leaf_of(entry.id)
        if known is not None:
            self._waiters.forget(entry.id)
            return entry.id, known
        try:
            await self._see_through(raw, entry.until_ms, final)
        finally:
            self._waiters.forget(entry.id)
        index = self._leaf_of(entry.id)
        if index is None:
            raise Refusal(
                "internal", what="an acknowledged entry has no index", who="this node", do="report this"
            )
        return entry.id, index

    async def _see_through(self, raw: bytes, until_ms: int, final: trio.Event) -> None:
        attempt = 0
        while not final.is_set():
            if int(time.time() * 1000) >= until_ms:
                raise Refusal(
                    "unavailable",
                    what="the network did not take the entry in time",
                    who=f"more than {self._genesis.f} of {self._genesis.n} validators are unreachable or silent",
                    do="see `pyrsia peers`; ask again when a quorum is back",
                )
            await self._offer(raw, attempt)
            attempt += 1
            with trio.move_on_after(RESEND_S.value):
                await final.wait()

    async def _offer(self, raw: bytes, attempt: int) -> None:
        """To our own mempool, or to f + 1 validators, so that one honest holds it; others each time."""
        if self._local is not None:
            self._local(raw)
            return
        count = self._genesis.f + 1
        turn = attempt * count
        chosen = [self._validators[(turn + i) % len(self._validators)] for i in range(len(self._validators))]
        taken = 0
        for validator in chosen:
            try:
                answer = await self._request(validator, Method.SUBMIT, raw, float(ANSWER_S.value))
            except Unavailable:
                continue
            if answer:
                refusal = read_refusal(answer)
                if refusal.code != "busy":
                    raise refusal
                continue
            taken += 1
            if taken >= count:
                return


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
