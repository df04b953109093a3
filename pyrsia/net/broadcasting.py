"""The sockets of broadcasts: our XPUB, and a SUB for each peer that we follow. It moves frames and judges none.

Who has no control link gets nothing: a subscription is granted to the transport key of a linked node, and one of a
stranger is passed over. A grant ends with its connection, and a connection that has grants ends with the link of its
node: an XPUB sends to whoever is connected. A node has few of them, for each gets a copy of everything. What a peer
publishes is handed over with the id of the peer that the SUB was made for, whose key the connection proved.

Whom we follow in vain again and again rests, longer each time: where a peer publishes is no more than its own word.

ZeroMQ drops at its marks; `mesh.broadcast` says how gaps are closed.

Source: docs/mesh-broadcast.md; docs/adr/0062.
"""

import re
from collections import Counter
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

import trio
import zmq

from pyrsia.errors import Unavailable
from pyrsia.net.cutting import Wire, cut, wire_of
from pyrsia.net.links import Links
from pyrsia.net.sockets import until_lost
from pyrsia.net.zap import key_of
from pyrsia.net.zsock import ZSock
from pyrsia.units import Limit, NodeId
from pyrsia.wire import gossip

MAX_GRANTS = Limit(32, "subscriptions of one peer: one to all, or some topics; more only grow a table")
MAX_WIRES = Limit(2, "connections of one peer with grants: one, and one that is about to be seen as broken")
MAX_SAID = Limit(
    256, "messages over one connection for subscriptions: an honest peer sends one to everything"
)
MAX_STRANGE = Limit(8, "the same without a link: a peer may be followed in the moment in which its link ends")
MAX_COUNTED = Limit(1_024, "connections whose messages are counted: as many as one address may have")
FIRST_REST_S: Final = 5.0
LAST_REST_S: Final = 600.0
STEADY_S: Final = 60.0  # a subscription that lasted so long was none in vain
MAX_RESTING = Limit(1_024, "peers that were followed in vain; the one that began first is forgotten first")
_PREFIX: Final = re.compile(rb"(?:[a-z0-9][a-z0-9._\-]{0,30}/)?")  # everything, or one topic
_SUBSCRIBE: Final = 1
_UNSUBSCRIBE: Final = 0

OnFrame = Callable[[NodeId, bytes], None]


@dataclass(frozen=True, slots=True)
class _Rest:
    times: int
    until_s: float


class Air:
    """What one node publishes and follows.

    Args:
        on_frame: called for each frame with who published it; hands over and returns at once.
        on_followed: a subscription to this node was just sent.
    """

    def __init__(
        self, links: Links, on_frame: OnFrame, on_followed: Callable[[NodeId], None] = lambda node: None
    ) -> None:
        self.counted: Counter[str] = Counter()
        self._links = links
        self._on_frame = on_frame
        self._on_followed = on_followed
        self._said: dict[Wire, int] = {}  # messages that came over it, the last one last
        self._rests: dict[NodeId, _Rest] = {}
        self._following: dict[NodeId, trio.CancelScope] = {}
        self._grants: dict[NodeId, dict[Wire, set[bytes]]] = {}  # the oldest connection first
        self._nursery: trio.Nursery | None = None
        links.callers.know(lambda: links.broadcast_endpoint, self._granted_wires)

    async def run(self) -> None:
        """Grant subscriptions, and follow whom `follow` names, until cancelled or until the links close."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            publisher = self._links.publisher
            if publisher is not None:
                nursery.start_soon(self._grant, publisher)
            try:
                await trio.sleep_forever()
            finally:  # from here on the nursery takes nobody in, while others still run
                self._nursery = None

    @property
    def following(self) -> Collection[NodeId]:
        return self._following.keys()

    def publish(self, topic: str, envelope: bytes) -> bool:
        """To all who follow us. False: ZeroMQ had no room, or there is no socket."""
        publisher = self._links.publisher
        sent = publisher is not None and publisher.send_now([gossip.frame(topic, envelope)])
        self.counted["published" if sent else "not-published"] += 1
        return sent

    def follow(self, nodes: Collection[NodeId]) -> None:
        """From now on follow these, and nobody else. Who was lost is followed anew if it is named after its rest."""
        for node in [node for node in self._following if node not in nodes]:
            self._following.pop(node).cancel()
        for node in nodes:
            address = self._links.broadcast_address(node)
            rest = self._rests.get(node)
            if node in self._following or not address or self._nursery is None:
                continue
            if rest is None or rest.until_s <= trio.current_time():
                self._following[node] = scope = trio.CancelScope()
                self._nursery.start_soon(self._read, node, address, scope)

    def forget(self, node: NodeId) -> None:
        """Its link is gone: so is what it was granted, and what we follow of it."""
        for wire in self._grants.pop(node, ()):
            cut(wire)
        scope = self._following.pop(node, None)
        if scope is not None:
            scope.cancel()

    def _granted_wires(self) -> set[int]:
        return {wire.inode for wires in self._grants.values() for wire in wires}

    async def _read(self, node: NodeId, address: str, scope: trio.CancelScope) -> None:
        began_s, guest = trio.current_time(), self._links.guest(node)
        try:
            with suppress(Unavailable):
                sock, monitor = self._links.subscriber(node, address)
                try:
                    with scope:
                        async with trio.open_nursery() as nursery:
                            nursery.start_soon(until_lost, monitor, scope)
                            with suppress(Unavailable):
                                await self._take(node, sock)
                            scope.cancel()
                finally:
                    sock.close()
                    monitor.close()
        finally:
            lost = self._following.get(node) is scope
            if lost:
                del self._following[node]
            if lost or guest:  # a guest ends its link, and so this, when it likes
                self._rest(node, began_s)

    def _rest(self, node: NodeId, began_s: float) -> None:
        """It was followed since then, and is no more."""
        before, now_s = self._rests.pop(node, None), trio.current_time()
        if now_s - began_s >= STEADY_S:
            return
        times = before.times + 1 if before is not None else 0
        rest_s = min(LAST_REST_S, FIRST_REST_S * 2 ** min(times - 1, 16)) if times else 0.0
        self._rests[node] = _Rest(times, now_s + rest_s)
        while len(self._rests) > MAX_RESTING.value:
            del self._rests[next(iter(self._rests))]

    async def _take(self, node: NodeId, sock: ZSock) -> None:
        sock.subscribe(b"")
        self._on_followed(node)
        while True:
            parts = await sock.recv()
            if len(parts) == 1:
                self._on_frame(node, parts[0].bytes)
            else:  # no honest node has more than one
                self._on_frame(node, b"")

    async def _grant(self, publisher: ZSock) -> None:
        with suppress(Unavailable):
            while True:
                parts = await publisher.recv()
                self._granted(publisher, parts)

    def _granted(self, publisher: ZSock, parts: list[zmq.Frame]) -> None:
        """Grant what was asked for last, or pass it over: without a grant nothing is sent."""
        data, node, wire = parts[0].bytes, self._links.node_of_curve(key_of(parts[0])), wire_of(parts[0])
        if wire is None or not self._may_say(node, wire):  # it broke meanwhile, or is broken now
            self.counted["subscription-none"] += 1
            return
        if len(parts) != 1 or not data or data[0] not in (_SUBSCRIBE, _UNSUBSCRIBE):
            self.counted["subscription-none"] += 1
            return
        if node is None:
            self.counted["subscription-stranger"] += 1
            return
        wanted, prefix, granted = data[0] == _SUBSCRIBE, data[1:], self._wire(node, wire)
        full = wanted and prefix not in granted and len(granted) >= MAX_GRANTS.value
        if full or not _PREFIX.fullmatch(prefix):
            self.counted["subscription-none"] += 1
            self._links.fault(node, "subscription: no topic, or too many")
            return
        (granted.add if wanted else granted.discard)(prefix)
        publisher.subscribe(prefix, wanted=wanted)

    def _may_say(self, node: NodeId | None, wire: Wire) -> bool:
        """Whether one more message may come over this connection; else it is cut.

        ZeroMQ keeps whatever a connection says until somebody reads it, and what it subscribed to until it ends.
        """
        said = self._said[wire] = self._said.pop(wire, 0) + 1
        while len(self._said) > MAX_COUNTED.value:
            del self._said[next(iter(self._said))]
        most = (MAX_STRANGE if node is None else MAX_SAID).value
        if said == most + 1:
            self.counted["subscription-flood"] += 1
            cut(wire)
            if node is not None:
                self._links.fault(node, "subscription: again and again")
        return said <= most

    def _wire(self, node: NodeId, wire: Wire) -> set[bytes]:
        """What is granted over this connection of `node`; of more than it may have the oldest are cut."""
        wires = self._grants.setdefault(node, {})
        for old in [old for old in wires if not old.there]:
            del wires[old]
        granted = wires.setdefault(wire, set())
        while len(wires) > MAX_WIRES.value:
            oldest = next(iter(wires))
            del wires[oldest]
            cut(oldest)
            self.counted["subscription-cut"] += 1
        return granted
