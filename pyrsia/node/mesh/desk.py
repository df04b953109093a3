"""What this node's people say and hear (`serve.desks.messages.MessageDesk`), over the parts that do it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pyrsia.mesh.scores import Scores
from pyrsia.net.links import Links
from pyrsia.node.house import House
from pyrsia.node.mesh.broadcasting import Broadcasting
from pyrsia.node.mesh.discovering import Discovering
from pyrsia.node.mesh.mailing import Mailing
from pyrsia.node.mesh.parts import Part
from pyrsia.node.mesh.who import Who
from pyrsia.serve.desks.messages import (
    Deleted,
    HeardPage,
    InboxPage,
    MessageOrder,
    SaidStatus,
    SentPage,
    SentStatus,
)
from pyrsia.units import NodeId


@dataclass(frozen=True, slots=True)
class Desk:
    """Nothing is decided here."""

    broadcasting: Broadcasting
    mailing: Mailing

    @property
    def parts(self) -> Sequence[Part]:
        """Of the mesh."""
        return (self.broadcasting, self.mailing)

    async def broadcast(self, topic: str, text: str) -> SaidStatus:
        return await self.broadcasting.broadcast(topic, text)

    async def heard(self, topic: str, after: int, count: int, wait_s: float) -> HeardPage:
        return await self.broadcasting.listen(topic, after, count, wait_s)

    async def send(self, order: MessageOrder) -> SentStatus:
        return await self.mailing.send(order)

    async def inbox(self, after: int, count: int, wait_s: float) -> InboxPage:
        return await self.mailing.inbox(after, count, wait_s)

    def sent(self) -> SentPage:
        return self.mailing.sent()

    async def delete(self, number: int, *, sent: bool) -> Deleted:
        return await self.mailing.delete(number, sent=sent)


def make_desk(
    house: House,
    links: Links,
    book: Scores,
    *,
    validators: Callable[[], Sequence[NodeId]],
    discovering: Discovering,
) -> Desk:
    """Broadcasts and messages of the node of `house`. Recipients are dialled where discovery allows it."""
    who = Who(
        house.archive.state,
        links.linked,
        lambda: [(peer.node, peer.name) for peer in links.peers() if peer.connected],
    )
    node, chain = house.keys.node, house.genesis.chain_id
    return Desk(
        Broadcasting(links, node, chain, database=house.database, who=who, validators=validators, book=book),
        Mailing(
            links,
            node,
            chain,
            database=house.database,
            who=who,
            book=book,
            accept=house.settings.messages.accept,
            address_of=discovering.way,
        ),
    )
