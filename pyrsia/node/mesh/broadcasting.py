"""The shell of broadcasts: sockets and requests on one side, those who say and listen on the other.

Decides nothing: `mesh.broadcast` says what counts, `mesh.pulling` whom to ask when, `mesh.choosing` whom to follow. A
peer is followed once it has answered a first question: then it knows of our link, and grants the subscription.

Source: docs/mesh-broadcast.md.
"""

import logging
import secrets
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import msgspec
import trio

from pyrsia.errors import Malformed, PyrsiaError, Refusal, Unavailable
from pyrsia.keys import KeyPair, verify
from pyrsia.mesh import scores
from pyrsia.mesh.broadcast import Blame, Broadcasts, Deliver, Effect, Republish
from pyrsia.mesh.choosing import chosen
from pyrsia.mesh.pulling import Pulls
from pyrsia.mesh.scores import Scores
from pyrsia.net.broadcasting import Air
from pyrsia.net.links import Busy, Handler, Links
from pyrsia.node.clock import NowMs, wall_ms
from pyrsia.node.kinds import Method
from pyrsia.node.mesh.enduring import Border
from pyrsia.node.mesh.hearing import Heard
from pyrsia.node.mesh.numbers import Numbers
from pyrsia.node.mesh.parts import OnKind
from pyrsia.node.mesh.who import Who
from pyrsia.serve.desks.messages import HeardPage, HeardStatus, SaidStatus
from pyrsia.store.rocks import Database
from pyrsia.units import Limit, NodeId
from pyrsia.wire import gossip
from pyrsia.wire.envelopes import Envelope
from pyrsia.wire.text import b32

ASK_S = Limit(10, "an answer of 256 KiB over 1 Mbit/s takes a fifth of it")
CHOOSE_S: Final = 5.0  # who was lost or is new is looked for
FULL_BYTES: Final = gossip.MAX_ANSWER_BYTES.value - 8_192  # an answer of so many had no room for the next one
_SEQ: Final = b"broadcast-seq"

_log = logging.getLogger("pyrsia.broadcast")


class Broadcasting:
    """Args:
    key: the node key.
    validators: whose broadcasts are always followed.
    """

    def __init__(
        self,
        links: Links,
        key: KeyPair,
        chain_id: bytes,
        *,
        database: Database,
        who: Who,
        validators: Callable[[], Sequence[NodeId]],
        book: Scores,
        now_ms: NowMs = wall_ms,
    ) -> None:
        self.heard = Heard(now_ms())
        self.core = Broadcasts(
            links.node, chain_id, verify=verify, member=who.is_member, ignored=book.ignored
        )
        self.air = Air(links, self._on_frame, self._on_followed)
        self._links = links
        self._key = key
        self._numbers = Numbers(database, _SEQ, now_ms)
        self._who = who
        self._validators = validators
        self._book = book
        self._now_ms = now_ms
        self._draw = secrets.SystemRandom()
        self._pulls = Pulls(trio.current_time(), self._draw)
        self._answered: set[NodeId] = set()  # since they were linked
        self._asking: set[NodeId] = set()
        self._changed = trio.Event()
        self._border = Border("broadcasts are not asked for")
        self._hearing = Border("a broadcast is not heard")

    # -- the part --

    @property
    def methods(self) -> Mapping[int, Handler]:
        return {Method.BROADCASTS: self._on_asked}

    @property
    def messages(self) -> Mapping[int, OnKind]:
        return {}

    def linked(self, node: NodeId, up: bool) -> None:
        if up:
            self._pulls.on_linked(trio.current_time(), node)
        else:
            self._pulls.on_gone(node)
            self._answered.discard(node)
            self.air.forget(node)
        self._wake()

    async def run(self) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.air.run)
            nursery.start_soon(self._choose)
            while True:
                changed = self._changed
                for node in self._pulls.due(trio.current_time()):
                    if node not in self._asking:
                        self._asking.add(node)
                        nursery.start_soon(self._pull, node)
                with trio.move_on_at(self._pulls.wake_at):
                    await changed.wait()

    # -- saying and listening --

    async def broadcast(self, topic: str, text: str) -> SaidStatus:
        """Say it to everybody; what those who listen here are told, and how many others there are.

        Raises:
            Refusal: `bad-request`, `too-large`, `busy`.
        """
        seq = await self._numbers.next(self.core.next_seq())
        envelope, raw = self.core.publish(
            trio.current_time(), self._now_ms(), topic, text.encode(), seq, self._key.sign
        )
        self._do((Deliver(envelope), Republish(topic, raw)))
        told = self._told(envelope, self.heard.number)
        return SaidStatus(**msgspec.structs.asdict(told), linked=len(self._links.linked()))

    async def listen(self, topic: str, after: int, count: int, wait_s: float) -> HeardPage:
        """What was heard of a topic (empty: of all) behind the number `after`; waits for the first one."""
        return await self.heard.after(topic, after, count, wait_s)

    def _told(self, envelope: Envelope, number: int) -> HeardStatus:
        return HeardStatus(
            number,
            envelope.topic,
            b32(envelope.origin),
            self._who.name_of(envelope.origin),
            envelope.payload.decode("utf-8", "backslashreplace"),
            self._now_ms(),
            envelope.expires_ms,
        )

    # -- what comes --

    def _on_frame(self, node: NodeId, data: bytes) -> None:
        with self._hearing.turn():  # anybody who is followed publishes what it likes
            self._do(self.core.on_frame(trio.current_time(), self._now_ms(), node, data))

    def _on_followed(self, node: NodeId) -> None:
        self._pulls.on_followed(trio.current_time(), node)
        self._wake()

    def _do(self, effects: Sequence[Effect]) -> None:
        for effect in effects:
            match effect:
                case Deliver(envelope):
                    self.heard.add(self._told(envelope, self.heard.number + 1))
                case Republish(topic, raw):
                    self.air.publish(topic, raw)
                case Blame(node, points, reason):
                    self._blame(node, points, reason)

    def _blame(self, node: NodeId, points: float, reason: str) -> None:
        now = trio.current_time()
        ignored = self._book.ignored(now, node)
        self._book.note(now, node, points, reason)
        if self._book.ignored(now, node) and not ignored:
            _log.warning("%s is ignored for a while: %s", self._who.called(node), reason)
            self.air.forget(node)

    # -- gaps --

    async def _on_asked(self, node: NodeId, payload: bytes) -> bytes:
        """What `node` lacks.

        Raises:
            Refusal: `bad-request`, `busy`.
        """
        now, now_ms = trio.current_time(), self._now_ms()
        try:
            vector = gossip.decode_vector(payload)
        except Malformed as error:
            self._links.fault(node, str(error))
            raise Refusal("bad-request", what=str(error), who="the peer", do="send a vector") from None
        answer = self.core.answer(now, now_ms, node, vector)
        if not self._book.ignored(now, node) and self.core.lacks(vector):
            self._pulls.on_ahead(now, node)
            self._wake()
        return gossip.encode_answer(answer)

    async def _pull(self, node: NodeId) -> None:
        """Ask `node` for what lacks here."""
        try:
            with self._border.turn():
                await self._ask_for(node)
        finally:
            self._asking.discard(node)

    async def _ask_for(self, node: NodeId) -> None:
        try:
            asked = self.core.vector(self._now_ms())
            question = gossip.encode_vector(asked)
            try:
                answer = await self._links.request(node, Method.BROADCASTS, question, ASK_S.value)
            except (Refusal, Busy):
                answer = b""  # it is there, and knows of us
            except Unavailable:
                return
            if self._links.connected(node):
                await self._pulled(node, asked, answer)
        except PyrsiaError as error:
            _log.debug("%s: %s", b32(node)[:8], error)

    async def _pulled(self, node: NodeId, asked: gossip.Vector, answer: bytes) -> None:
        try:
            raws = gossip.decode_answer(answer)
        except Malformed as error:
            self._blame(node, scores.FAULT, str(error))
            return
        new = node not in self._answered
        self._answered.add(node)
        if new:
            self._follow()
        news = False
        for effects in self.core.on_answer(trio.current_time(), self._now_ms(), node, asked, raws):
            news |= any(isinstance(effect, Deliver) for effect in effects)
            self._do(effects)
            await trio.lowlevel.checkpoint()
        if news and len(answer) >= FULL_BYTES:  # without news it is asked no sooner than others
            self._pulls.on_full(trio.current_time(), node)
            self._wake()

    # -- whom to follow --

    async def _choose(self) -> None:
        while True:
            with self._border.turn():
                self._follow()
            await trio.sleep(CHOOSE_S)

    def _follow(self) -> None:
        now = trio.current_time()
        known = [
            node
            for node in self._answered
            if self._links.broadcast_address(node) and not self._book.ignored(now, node)
        ]
        self.air.follow(chosen(known, self._validators(), self.air.following, self._draw))

    def _wake(self) -> None:
        self._changed.set()
        self._changed = trio.Event()
