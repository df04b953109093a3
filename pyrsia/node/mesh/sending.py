"""Direct messages that this node wrote: tried, tried again, and what became of each.

What is tried when `mesh.outbox` decides, by which way `delivering`. A message is on the disk before its first try.

Source: docs/mesh-messages.md.
"""

import contextlib
import logging

import msgspec
import trio

from pyrsia.errors import Malformed, PyrsiaError, Refusal
from pyrsia.keys import KeyPair
from pyrsia.mesh import outbox
from pyrsia.mesh.mail import check_life
from pyrsia.mesh.outbox import Outbox, Sent
from pyrsia.node.clock import NowMs
from pyrsia.node.mesh.delivering import Arrived, Deliverer
from pyrsia.node.mesh.enduring import Border, Enduring
from pyrsia.node.mesh.letters import SENT, Letters, Mine
from pyrsia.node.mesh.numbers import Numbers
from pyrsia.node.mesh.sealing import sealed
from pyrsia.node.mesh.who import Who
from pyrsia.serve.desks.messages import MessageOrder, SentPage, SentStatus
from pyrsia.store.rocks import Batch
from pyrsia.units import MAX_MAIL_BYTES, Limit, NodeId
from pyrsia.wire import envelopes, mail
from pyrsia.wire.envelopes import Envelope, Kind
from pyrsia.wire.mail import Form
from pyrsia.wire.text import b32

TRIES_AT_ONCE = Limit(8, "recipients that are tried again; others take their turn, what is new does not")


class _Line:
    """Tries to reach one recipient: one at a time."""

    def __init__(self) -> None:
        self.turn = trio.Lock()
        self.users = 0
        self.failed = 0
        self.why: Refusal | None = None


_log = logging.getLogger("pyrsia.mail")


class Sending:
    """Args:
    key: the node key.
    deliverer: takes messages to others.
    """

    def __init__(
        self,
        key: KeyPair,
        chain_id: bytes,
        *,
        letters: Letters,
        numbers: Numbers,
        who: Who,
        deliverer: Deliverer,
        now_ms: NowMs,
    ) -> None:
        self._key = key
        self._net = chain_id
        self._me = NodeId(key.public)
        self._letters = letters
        self._numbers = numbers
        self._who = who
        self._deliverer = deliverer
        self._now_ms = now_ms
        self._outbox = Outbox()
        self._lines: dict[NodeId, _Line] = {}
        self._turns = trio.CapacityLimiter(TRIES_AT_ONCE.value)
        self._changed = trio.Event()
        self._border = Border("a message is not tried again now")
        for number, mine in letters.all_mine():
            self._outbox.load(trio.current_time(), _row(number, mine))

    def linked(self, node: NodeId) -> None:
        """What waits for it is tried now."""
        self._outbox.on_linked(trio.current_time(), node)
        self._wake()

    async def run(self) -> None:
        """Try again what waits, until cancelled."""
        endures = Enduring("messages that expired are not marked as such")
        async with trio.open_nursery() as nursery:
            while True:
                changed = self._changed
                tried, expired = self._outbox.due(trio.current_time(), self._now_ms())
                with endures.turn():
                    for row in expired:
                        self._save(row)
                for row in tried:
                    nursery.start_soon(self._try_again, row)
                with trio.move_on_at(self._outbox.wake_at):
                    await changed.wait()

    async def send(self, order: MessageOrder) -> SentStatus:
        """Write to a node: delivered, or waiting where it is to be kept.

        Raises:
            Refusal: it was not delivered; why, and what to do.
        """
        number, envelope, raw = await self._write(order)
        return self._told(number, await self._attempt(number, envelope, raw, tell=not order.keep))

    async def _write(self, order: MessageOrder) -> tuple[int, Envelope, bytes]:
        """A new message, on the disk."""
        to, text = self._recipient(order), order.text.encode()
        life_ms = check_life(order.expires_s)
        if len(text) > MAX_MAIL_BYTES.value:
            raise Refusal(
                "too-large",
                what=f"a message has at most {MAX_MAIL_BYTES.value} bytes, and this one {len(text)}",
                who="whoever sends it",
                do="put it where the other can fetch it, and write where that is",
            )
        try:
            payload = (
                mail.payload(Form.SEALED, sealed(to, self._me, text))
                if order.seal
                else mail.payload(Form.PLAIN, text)
            )
        except Malformed:
            raise Refusal(
                "bad-request",
                what="this node id is no key, so nothing can be sealed for it",
                who="your command",
                do="check the id",
            ) from None
        now_ms, seq = self._now_ms(), await self._numbers.next()
        envelope = Envelope(Kind.MAIL, self._net, self._me, to, seq, now_ms + life_ms, "", payload)
        raw = envelopes.encode(envelope, self._key.sign(envelopes.to_sign(envelope)))
        number, batch = self._letters.number(SENT), Batch()
        for gone in self._outbox.add(Sent(number, to, envelope.expires_ms, kept=order.keep)):
            self._letters.delete(batch, SENT, gone)
        self._letters.keep_mine(batch, number, _mine(order, to, text, raw, now_ms, envelope.expires_ms))
        try:
            self._letters.write(batch)
            await self._letters.sync()
        except BaseException:  # it is not promised to anybody, and must not wait for ever
            self._outbox.delete(number)
            raise
        return number, envelope, raw

    def _recipient(self, order: MessageOrder) -> NodeId:
        to = self._who.find(order.to)
        if to == self._me:
            raise Refusal(
                "conflict",
                what="a node does not write to itself",
                who="whoever writes the name",
                do="name another node",
            )
        return to

    async def _attempt(
        self, number: int, envelope: Envelope, raw: bytes, *, tell: bool = False, again: bool = False
    ) -> Sent:
        """One try, and what became of it.

        Raises:
            Refusal: it was not delivered; where `tell`, or where it never will be.
        """
        try:
            arrived = await self._deliver(envelope, raw, again=again)
            row = self._outbox.on_delivered(number, arrived.via, arrived.received_ms)
        except Refusal as refusal:
            row = self._outbox.on_failed(trio.current_time(), number, refusal)
            self._save(row)
            self._wake()
            if tell or row is None or row.state == outbox.REFUSED:
                raise
        except BaseException:  # nobody waits for it: tried again where it is kept, else settled
            self._outbox.on_failed(trio.current_time(), number, _given_up())
            self._wake()
            raise
        self._save(row)
        if row is None:
            raise Refusal(
                "not-found", what="it was deleted meanwhile", who="this node's operator", do="write anew"
            )
        return row

    async def _deliver(self, envelope: Envelope, raw: bytes, *, again: bool) -> Arrived:
        """When it is its turn with its recipient. Who waited while another one found nobody there has the same answer:
        a hundred messages to a node that is away cost one try, and no other recipient waits for them.

        Raises:
            Refusal: why it did not arrive.
        """
        line = self._lines.setdefault(envelope.to, _Line())
        line.users, failed = line.users + 1, line.failed
        try:
            async with line.turn:
                if line.failed != failed and line.why is not None:
                    raise line.why.again()
                try:
                    async with self._turns if again else contextlib.nullcontext():
                        return await self._deliverer.deliver(envelope, raw)
                except Refusal as refusal:
                    if refusal.code == "unavailable":
                        line.failed, line.why = line.failed + 1, refusal
                    raise
        finally:
            line.users -= 1
            if not line.users:
                del self._lines[envelope.to]

    async def _try_again(self, row: Sent) -> None:
        with self._border.turn():  # its row is tried again in time, whatever carriers and recipients answer
            try:
                mine = self._letters.mine(row.number)
                if mine is None:
                    return
                envelope, _ = envelopes.decode(mine.raw)
                await self._attempt(row.number, envelope, mine.raw, again=True)
            except PyrsiaError as error:
                _log.debug("message %d: %s", row.number, error)

    def _save(self, row: Sent | None) -> None:
        mine = None if row is None else self._letters.mine(row.number)
        if row is None or mine is None:
            return
        batch = Batch()
        self._letters.keep_mine(
            batch,
            row.number,
            msgspec.structs.replace(
                mine,
                state=row.state,
                tries=row.tries,
                why=row.why,
                via=row.via,
                delivered_ms=row.delivered_ms,
            ),
        )
        self._letters.write(batch)

    def sent(self) -> SentPage:
        """All that is remembered."""
        return SentPage(tuple(self._told(row.number, row) for row in self._outbox.rows()))

    def _told(self, number: int, row: Sent) -> SentStatus:
        mine = self._letters.mine(number)
        over = row.state == outbox.WAITING and row.expires_ms <= self._now_ms()
        return SentStatus(
            number,
            b32(row.to),
            self._who.name_of(row.to),
            mine.text.decode("utf-8", "backslashreplace") if mine is not None else "",
            mine.sealed if mine is not None else False,
            outbox.EXPIRED
            if over
            else row.state,  # by the clock: its row is changed when it would be tried again
            row.why,
            self._who.called(row.via),
            row.tries,
            mine.sent_ms if mine is not None else 0,
            row.expires_ms,
            row.delivered_ms,
        )

    async def delete(self, number: int) -> bool:
        """Whether there was such a message. It is tried no more, and gone for good when this returns."""
        if not self._outbox.delete(number):
            return False
        batch = Batch()
        self._letters.delete(batch, SENT, number)
        self._letters.write(batch)
        await self._letters.sync()
        return True

    def _wake(self) -> None:
        self._changed.set()
        self._changed = trio.Event()


def _given_up() -> Refusal:
    return Refusal(
        "unavailable",
        what="whoever wrote it did not wait until it was delivered",
        who="whoever wrote it",
        do="write anew, or with --keep",
    )


def _row(number: int, mine: Mine) -> Sent:
    return Sent(
        number,
        NodeId(mine.to),
        mine.expires_ms,
        mine.state,
        mine.kept,
        mine.tries,
        mine.why,
        mine.via,
        mine.delivered_ms,
    )


def _mine(order: MessageOrder, to: NodeId, text: bytes, raw: bytes, sent_ms: int, expires_ms: int) -> Mine:
    return Mine(to, text, order.seal, sent_ms, expires_ms, raw, outbox.WAITING, order.keep, 0, "", b"", 0)
