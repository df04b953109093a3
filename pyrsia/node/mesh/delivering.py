"""How a direct message reaches its recipient: over a link, one made for it, or one peer that carries it.

A message that is not sealed can be read by who carries it. So it is handed to members of the log only, one after
another, and to nobody who has not said before that it has a link with the recipient. Who takes long keeps none of the
others waiting: the next one is asked meanwhile, and next time it is asked last.

What counts is the recipient's receipt, signed: a carrier's word that it arrived, or that it was refused, is hearsay.
"""

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import trio

from pyrsia.errors import Malformed, PyrsiaError, Refusal, Unavailable
from pyrsia.keys import verify
from pyrsia.mesh import scores
from pyrsia.mesh.scores import Scores
from pyrsia.net.links import Links
from pyrsia.node.kinds import Method
from pyrsia.node.mesh.who import Who
from pyrsia.units import Limit, NodeId
from pyrsia.wire import envelopes, mail
from pyrsia.wire.envelopes import Envelope
from pyrsia.wire.mail import Form, Hops

ANSWER_S = Limit(10, "a message is on the recipient's disk in some ms; a carrier asks on for as long as that")
DELIVER_S = Limit(20, "for all ways together: people wait 30 s for an answer")
ASK_S = Limit(2, "a peer says at once whether it could carry a message")
NEXT_S = Limit(
    2, "a carrier with a link has its answer in some ms; all eight have begun within the time for all"
)
REACH_S = Limit(3, "for a link that is made for one message")
CARRIERS = Limit(8, "peers that are asked to carry one message; in a network where most know most, two do")
_LINK_S: Final = 30.0  # such a link stays for what follows

AddressOf = Callable[[NodeId], str]


@dataclass(frozen=True, slots=True)
class Arrived:
    """When it came to its recipient, and who carried it; empty for nobody."""

    received_ms: int
    via: bytes = b""


class Deliverer:
    """Args:
    address_of: where a node without a link may be dialled; empty where nobody knows, or where its record leads to a
        network that is none of ours (`mesh.scopes`).
    """

    def __init__(self, links: Links, who: Who, book: Scores, address_of: AddressOf) -> None:
        self._links = links
        self._who = who
        self._book = book
        self._address_of = address_of
        self._draw = secrets.SystemRandom()
        self._slow: set[NodeId] = set()  # of those that are linked: the last one took long

    async def deliver(self, envelope: Envelope, raw: bytes) -> Arrived:
        """Hand it over, and bring back the receipt.

        Raises:
            Refusal: the recipient's own; `unavailable` where it cannot be reached, with what was tried last.
        """
        with trio.move_on_after(DELIVER_S.value):
            return await self._deliver(envelope, raw)
        raise self._unreachable(envelope.to, f"nobody answered within {DELIVER_S.value} s", 0)

    async def _deliver(self, envelope: Envelope, raw: bytes) -> Arrived:
        to, tried = envelope.to, ""
        if not self._links.connected(to):
            await self._reach(to)
        if self._links.connected(to):
            try:
                return self._arrived(envelope, await self._hand(to, raw))
            except Unavailable as error:
                tried = f"it gave no answer ({error})"
            except Malformed:
                tried = "it gave a receipt that is none"
        sealed = mail.read_payload(envelope.payload)[0] is Form.SEALED
        carriers = self._carriers(to, sealed=sealed)
        arrived, heard = await self._carried(envelope, raw, carriers)
        if arrived is not None:
            return arrived
        raise self._unreachable(to, heard or tried, len(carriers), sealed=sealed)

    async def _carried(
        self, envelope: Envelope, raw: bytes, carriers: list[NodeId]
    ) -> tuple[Arrived | None, str]:
        """The first receipt that a carrier brings; and what one of those that brought none said of it."""
        found: list[Arrived] = []
        heard = ""

        async def ask(carrier: NodeId, over: trio.Event) -> None:
            nonlocal heard
            said = await self._by(envelope, raw, carrier)
            if isinstance(said, Arrived):
                found.append(said)
                nursery.cancel_scope.cancel()
            heard = said if isinstance(said, str) and said else heard
            over.set()

        async with trio.open_nursery() as nursery:
            for carrier in carriers:
                over = trio.Event()
                nursery.start_soon(ask, carrier, over)
                with trio.move_on_after(NEXT_S.value) as wait:
                    await over.wait()
                (self._slow.add if wait.cancelled_caught else self._slow.discard)(carrier)
        return (found[0] if found else None), heard

    async def _by(self, envelope: Envelope, raw: bytes, carrier: NodeId) -> Arrived | str:
        """Have one peer carry it: what it said where it did not, empty where it could not."""
        try:
            if await self._could(carrier, envelope.to):
                return self._arrived(envelope, await self._hand(carrier, raw), carrier)
        except Malformed:
            self._book.note(trio.current_time(), carrier, scores.LIE, "a receipt that its signer never gave")
        except Refusal as refusal:
            if refusal.code != "not-found":  # hearsay: whoever carries it may say anything
                return f"{self._who.called(carrier)} would have carried it: {refusal.what}"
        except Unavailable:
            pass
        return ""

    async def _could(self, carrier: NodeId, to: NodeId) -> bool:
        """Whether it says that it has a link with the recipient."""
        answer = await self._links.request(carrier, Method.MAIL, mail.ask(to), float(ASK_S.value))
        return mail.read_could(answer)

    async def _hand(self, node: NodeId, raw: bytes) -> bytes:
        return await self._links.request(
            node, Method.MAIL, mail.handed(Hops.AUTHOR, raw), float(ANSWER_S.value)
        )

    def _arrived(self, envelope: Envelope, answer: bytes, carrier: NodeId | None = None) -> Arrived:
        """
        Raises:
            Malformed: it is no receipt of the recipient's.
        """
        found, signature, received_ms = mail.read_receipt(envelope, answer)
        if not verify(envelope.to, envelopes.to_sign(found), signature):
            raise Malformed("mail: a receipt with a false signature")
        return Arrived(received_ms, carrier or b"")

    async def _reach(self, to: NodeId) -> None:
        """Make a link, if it is known where."""
        address = self._address_of(to)
        if not address:
            return
        try:
            self._links.dial([(to, address)], for_s=_LINK_S)
        except PyrsiaError:  # no room for one more
            return
        with trio.move_on_after(REACH_S.value):
            while not self._links.connected(to):  # noqa: ASYNC110 (bounded; links have no event for one peer)
                await trio.sleep(0.05)

    def _carriers(self, to: NodeId, *, sealed: bool) -> list[NodeId]:
        """Members first, in an order that nobody can foresee, but that slow ones are last; nobody else for what they
        could read."""
        now = trio.current_time()
        self._slow.intersection_update(self._links.linked())
        linked = [node for node in self._links.linked() if node != to and not self._book.ignored(now, node)]
        if not sealed:
            linked = [node for node in linked if self._who.is_member(node)]
        self._draw.shuffle(linked)
        linked.sort(key=lambda node: (not self._who.is_member(node), node in self._slow))
        return linked[: CARRIERS.value]

    def _unreachable(self, to: NodeId, tried: str, asked: int, *, sealed: bool = True) -> Refusal:
        if asked:
            why = f"there is no link, and none of the {asked} nodes that were asked has one with it"
        elif not sealed and any(node != to for node in self._links.linked()):
            why = "there is no link with it or with a member that may carry what is not sealed"
        else:
            why = "this node has no link to any other"
        told = tried or why
        return Refusal(
            "unavailable",
            what=f"{self._who.called(to)} cannot be reached: {told}",
            who="the recipient, or the network between",
            do="try again when it is up; with --keep this node does so until the message expires",
        )
