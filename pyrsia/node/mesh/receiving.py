"""Direct messages that come: put on the disk, then a receipt; those for others carried one hop. And the inbox.

What is taken `mesh.mail` decides.

Source: docs/mesh-messages.md.
"""

from typing import Final

import trio

from pyrsia.errors import Malformed, Refusal, Unavailable
from pyrsia.keys import KeyPair, verify
from pyrsia.mesh import scores
from pyrsia.mesh.mail import Accept, Again, Carry, Could, Forged, Keep, Past, Post
from pyrsia.mesh.scores import Scores
from pyrsia.net.links import Links
from pyrsia.node.clock import NowMs
from pyrsia.node.kinds import Method
from pyrsia.node.mesh import delivering
from pyrsia.node.mesh.enduring import Enduring
from pyrsia.node.mesh.letters import INBOX, Letter, Letters
from pyrsia.node.mesh.sealing import opened
from pyrsia.node.mesh.who import Who
from pyrsia.serve.desks.messages import InboxPage, LetterStatus
from pyrsia.store.rocks import Batch
from pyrsia.units import Limit, NodeId
from pyrsia.wire import envelopes, mail
from pyrsia.wire.envelopes import Envelope
from pyrsia.wire.mail import Form, Hops
from pyrsia.wire.text import b32

MAX_RECEIPT_BYTES = Limit(512, "an envelope with 16 bytes in it has 247")
PAGE: Final = 200  # messages of one answer
EXPIRE_S: Final = 60.0  # ids that have expired are looked for


class Receiving:
    """Args:
    key: the node key.
    accept: who may write to this node.
    """

    def __init__(
        self,
        links: Links,
        key: KeyPair,
        chain_id: bytes,
        *,
        letters: Letters,
        who: Who,
        book: Scores,
        accept: Accept,
        now_ms: NowMs,
    ) -> None:
        self._links = links
        self._key = key
        self._letters = letters
        self._who = who
        self._book = book
        self._now_ms = now_ms
        self._post = Post(
            NodeId(key.public),
            chain_id,
            verify=verify,
            member=who.is_member,
            accept=accept,
            linked=links.connected,
        )
        self._past = Past()
        self._came = trio.Event()
        for ident, expires_ms, author, member in letters.window():
            self._post.window.add(ident, expires_ms, author, member=member)
        for number, letter in letters.letters():
            self._post.inbox.add(number, NodeId(letter.origin), len(letter.text), member=letter.member)

    async def run(self) -> None:
        """Forget ids that have expired, until cancelled."""
        endures = Enduring("ids of old messages are not forgotten")
        while True:
            with endures.turn():  # what stays in the database is forgotten after the next start
                sure_ms = self._past.sure_ms(trio.current_time(), self._now_ms())
                gone, batch = self._post.window.expire(sure_ms), Batch()
                for expires_ms, ident in gone:
                    self._letters.forget(batch, ident, expires_ms)
                if gone:
                    self._letters.write(batch)
            await trio.sleep(EXPIRE_S)

    # -- what is handed over --

    async def on_handed(self, node: NodeId, payload: bytes) -> bytes:
        """A receipt for what `node` handed over.

        Raises:
            Refusal: why there is none.
        """
        now = trio.current_time()
        if self._book.ignored(now, node):
            raise Refusal(
                "busy", what="it is not listened to for a while", who="the peer", do="wait", retry_s=60
            )
        try:
            verdict = self._post.on_handed(now, self._now_ms(), node, payload)
            match verdict:
                case Keep():
                    return await self._keep(verdict, node)
                case Again(envelope):
                    await self._letters.sync()  # its first copy may be on its way to the disk
                    return self._receipt(envelope)
                case Could(yes):
                    return mail.could(yes)
                case Carry():
                    return await self._carry(verdict)
        except Malformed as error:
            if isinstance(error, Forged):
                self._book.note(now, node, scores.LIE, "a message with a false signature")
            self._links.fault(node, str(error))
            raise Refusal(
                "bad-request", what=str(error), who="the peer", do="send what is a message"
            ) from None

    async def _keep(self, kept: Keep, node: NodeId) -> bytes:
        envelope = kept.envelope
        form, text = mail.read_payload(envelope.payload)
        if form is Form.SEALED:
            try:
                text = opened(self._key.seed, envelope.origin, text)
            except Malformed as error:  # its author's doing; a carrier cannot look under a seal
                raise Refusal(
                    "bad-request", what=str(error), who="its author", do="seal it for this node"
                ) from None
        now_ms, number, batch = self._now_ms(), self._letters.number(INBOX), Batch()
        via = node if kept.carried else b""
        letter = Letter(envelope.origin, kept.member, text, form is Form.SEALED, via, now_ms)
        self._letters.remember(batch, envelope.id, envelope.expires_ms, envelope.origin, member=kept.member)
        self._letters.keep(batch, number, letter)
        self._letters.write(batch)  # what a full disk does not take was never here, and comes again
        self._post.window.add(envelope.id, envelope.expires_ms, envelope.origin, member=kept.member)
        self._post.inbox.add(number, envelope.origin, len(text), member=kept.member)
        await self._letters.sync()
        self._came.set()
        self._came = trio.Event()
        return self._receipt(envelope)

    def _receipt(self, message: Envelope) -> bytes:
        receipt = mail.receipt(message, self._now_ms())
        return envelopes.encode(receipt, self._key.sign(envelopes.to_sign(receipt)))

    async def _carry(self, carried: Carry) -> bytes:
        """
        Raises:
            Refusal: the recipient's own; `unavailable`.
        """
        to = carried.envelope.to
        handed = mail.handed(Hops.CARRIER, carried.raw)
        try:
            answer = await self._links.request(to, Method.MAIL, handed, float(delivering.ANSWER_S.value) - 1)
        except Unavailable as error:
            raise Refusal(
                "unavailable",
                what=f"the recipient did not answer: {error}",
                who="the recipient",
                do="try again later",
            ) from None
        if len(answer) > MAX_RECEIPT_BYTES.value:
            self._links.fault(to, "mail: a receipt that is too long")
            raise Refusal(
                "unavailable",
                what="the recipient's answer is no receipt",
                who="the recipient",
                do="ask its operator",
            )
        return answer

    # -- the inbox --

    async def inbox(self, after: int, count: int, wait_s: float) -> InboxPage:
        """At most `count` messages behind the number `after`; waits for the first one for so long."""
        page = self._page(after, count)
        with trio.move_on_after(wait_s):
            while not page.messages and wait_s > 0:
                await self._came.wait()
                page = self._page(after, count)
        return page

    def _page(self, after: int, count: int) -> InboxPage:
        rows: list[LetterStatus] = []
        for number, letter in self._letters.letters(after):
            if len(rows) >= min(count, PAGE):
                break
            rows.append(self._shown(number, letter))
        end = rows[-1].number if rows else min(after, self._letters.last)
        return InboxPage(tuple(rows), end, len(self._post.inbox), self._post.inbox.bytes)

    def _shown(self, number: int, letter: Letter) -> LetterStatus:
        return LetterStatus(
            number,
            b32(letter.origin),
            self._who.name_of(NodeId(letter.origin)),
            letter.text.decode("utf-8", "backslashreplace"),
            letter.sealed,
            self._who.called(letter.via),
            letter.received_ms,
        )

    async def delete(self, number: int) -> bool:
        """Whether there was such a message. It is gone for good when this returns."""
        if number not in self._post.inbox:
            return False
        batch = Batch()
        self._letters.delete(batch, INBOX, number)
        self._letters.write(batch)
        self._post.inbox.remove(number)
        await self._letters.sync()
        return True
