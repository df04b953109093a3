"""Direct messages of one node, as a part of its mesh and as its people's desk.

Source: docs/mesh-messages.md.
"""

from collections.abc import Mapping

import trio

from pyrsia.errors import Refusal
from pyrsia.keys import KeyPair
from pyrsia.mesh.mail import Accept
from pyrsia.mesh.scores import Scores
from pyrsia.net.links import Handler, Links
from pyrsia.node.clock import NowMs, wall_ms
from pyrsia.node.kinds import Method
from pyrsia.node.mesh.delivering import AddressOf, Deliverer
from pyrsia.node.mesh.letters import Letters
from pyrsia.node.mesh.numbers import Numbers
from pyrsia.node.mesh.parts import OnKind
from pyrsia.node.mesh.receiving import Receiving
from pyrsia.node.mesh.sending import Sending
from pyrsia.node.mesh.who import Who
from pyrsia.serve.desks.messages import Deleted, InboxPage, MessageOrder, SentPage, SentStatus
from pyrsia.store.rocks import Database
from pyrsia.units import NodeId

_SEQ = b"mail-seq"


class Mailing:
    """Args:
    key: the node key.
    accept: who may write to this node.
    address_of: where a node without a link may be reached.
    """

    def __init__(
        self,
        links: Links,
        key: KeyPair,
        chain_id: bytes,
        *,
        database: Database,
        who: Who,
        book: Scores,
        accept: Accept,
        address_of: AddressOf = lambda node: "",
        now_ms: NowMs = wall_ms,
    ) -> None:
        letters = Letters(database)
        self._receiving = Receiving(
            links, key, chain_id, letters=letters, who=who, book=book, accept=accept, now_ms=now_ms
        )
        self._sending = Sending(
            key,
            chain_id,
            letters=letters,
            numbers=Numbers(database, _SEQ, now_ms),
            who=who,
            deliverer=Deliverer(links, who, book, address_of),
            now_ms=now_ms,
        )

    # -- the part --

    @property
    def methods(self) -> Mapping[int, Handler]:
        return {Method.MAIL: self._receiving.on_handed}

    @property
    def messages(self) -> Mapping[int, OnKind]:
        return {}

    def linked(self, node: NodeId, up: bool) -> None:
        if up:
            self._sending.linked(node)

    async def run(self) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._receiving.run)
            nursery.start_soon(self._sending.run)

    # -- the desk --

    async def send(self, order: MessageOrder) -> SentStatus:
        """Write to a node: delivered, or waiting where it is to be kept.

        Raises:
            Refusal: it was not delivered; why, and what to do.
        """
        return await self._sending.send(order)

    async def inbox(self, after: int, count: int, wait_s: float) -> InboxPage:
        """At most `count` messages behind the number `after`; waits for the first one for so long."""
        return await self._receiving.inbox(after, count, wait_s)

    def sent(self) -> SentPage:
        """All that this node wrote and remembers."""
        return self._sending.sent()

    async def delete(self, number: int, *, sent: bool) -> Deleted:
        """
        Raises:
            Refusal: `not-found`.
        """
        if not await (self._sending.delete(number) if sent else self._receiving.delete(number)):
            raise Refusal(
                "not-found",
                what=f"there is no message {number}",
                who="whoever writes the number",
                do="see `pyrsia inbox`" + (" --sent" if sent else ""),
            )
        return Deleted(number)
