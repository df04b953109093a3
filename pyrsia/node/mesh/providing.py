"""Who has which blob, told and asked over the links: records of caches, questions of owners, and where to look first.

Owners answer everybody with a link. They take records from members of the log only, and only of blobs that the log
names and that are theirs to track. What floods costs its sender points; what is false costs who believed it a question,
and its teller points when it happens again and again.

Source: docs/replication.md, "Providers"; docs/mesh.md.
"""

import secrets
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from typing import Final

import trio

from pyrsia.buckets import Buckets
from pyrsia.errors import Refusal
from pyrsia.mesh.scores import RATE, Scores
from pyrsia.net.links import Handler
from pyrsia.node.kinds import Method
from pyrsia.node.mesh.asking import Asking, Links
from pyrsia.node.mesh.enduring import Enduring
from pyrsia.node.mesh.owning import Owning
from pyrsia.node.mesh.parts import OnKind
from pyrsia.node.mesh.stock import Stock
from pyrsia.store.blobs import Blobs
from pyrsia.transfer.providers import TTL_S, Announcer, Misses, Tracker, ranked
from pyrsia.units import Limit, NodeId
from pyrsia.wire import providers as wire
from pyrsia.wire.providers import Held, Known, Leaving, Provide, Sums, Who

WHO_S: Final = 0.3  # somebody may wait for the first byte meanwhile
KNOWN_S: Final = 60.0
TURN_S: Final = 2.0
SWEEP_S: Final = 60.0
MAX_KNOWN = Limit(1_024, "blobs whose providers are remembered for a minute, 700 KB at most")
ASKED_OWNERS = Limit(2, "owners asked who else has a blob; each hears of every cache")
TOLD_RATE = Limit(2, "messages a second from one provider; a cache of 8,000 blobs needs eight in ten minutes")
TOLD_BURST = Limit(64, "a cache that comes back tells what it has at once")
ASKED_RATE = Limit(50, "questions a second of one peer; a repair of 100,000 blobs asks a hundred")
ASKED_BURST = Limit(200, "a full look at all shards is sixteen, a busy cache's misses come in bursts")
GUEST_LOOKS = Limit(
    64, "blobs that a guest's question may name for the price of another: some 0.4 ms of a core"
)
FALSE = Limit(3, "records in a row that were false before it costs points: caches change")


class Providing:
    """The part of one node that knows who has what.

    Args:
        member: whether a node is a member of the log.
        dead: whether a node is believed dead: it is asked last.

    Attributes:
        on_leaving: told of each member that says whether it is about to leave.
        gone: who is passed over as an owner (`Replicating` sets it).
    """

    def __init__(
        self,
        owning: Owning,
        stock: Stock,
        blobs: Blobs,
        links: Links,
        scores: Scores,
        *,
        member: Callable[[NodeId], bool],
        dead: Callable[[NodeId], bool] = lambda _: False,
    ) -> None:
        self.asking = Asking(links, scores)
        self.tracker = Tracker()
        self.on_leaving: Callable[[NodeId, bool], None] = lambda node, leaving: None
        self.gone: frozenset[NodeId] = frozenset()
        self._owning = owning
        self._stock = stock
        self._blobs = blobs
        self._links = links
        self._scores = scores
        self._member = member
        self._dead = dead
        self._announcer = Announcer(secrets.SystemRandom(), wire.PROVIDE_BLOBS.value)
        self._misses = Misses()
        self._known: OrderedDict[bytes, tuple[float, tuple[NodeId, ...]]] = OrderedDict()
        self._told: Buckets[NodeId] = Buckets(TOLD_RATE.value, TOLD_BURST.value)
        self._asked: Buckets[NodeId] = Buckets(ASKED_RATE.value, ASKED_BURST.value)
        blobs.on_kept.append(self.came)
        blobs.on_gone.append(self._went)

    # -- as a part of the mesh --

    @property
    def methods(self) -> Mapping[int, Handler]:
        return {Method.PROVIDE: self.take, Method.PROVIDERS: self.answer}

    @property
    def messages(self) -> Mapping[int, OnKind]:
        return {}

    def linked(self, node: NodeId, up: bool) -> None:
        """Records run out by themselves: a link that breaks for a moment loses none."""

    async def run(self) -> None:
        """Tell owners what is here, and forget what has run out; until cancelled."""
        sweep_s, endures = trio.current_time(), Enduring("owners are not told what is here")
        while True:
            now = trio.current_time()
            if now >= sweep_s:
                sweep_s = now + SWEEP_S
                self.tracker.sweep(now)
            with endures.turn():
                if self._announcer.again(now):
                    await self._announce(now)
                for told in self._announcer.take(now):
                    if self._links.connected(told.owner):
                        await self.asking.tell(
                            told.owner, Provide(told.blobs, int(TTL_S) if told.here else 0)
                        )
            await trio.sleep(TURN_S)

    # -- asked by others --

    async def take(self, node: NodeId, raw: bytes) -> bytes:
        """What a provider tells.

        Raises:
            Malformed: nobody tells that.
            Refusal: `forbidden` for who is no member.
        """
        told = wire.decode_told(raw)
        now = trio.current_time()
        if not self._member(node):
            raise Refusal(
                "forbidden",
                what="records are taken from members of the network",
                who="the asking node",
                do="read as you like; to be found as a provider, become a member",
            )
        if not self._told.of(node).take(now):
            self._scores.note(now, node, RATE, "it tells more records of blobs than anybody has")
            return b""
        if self._scores.ignored(now, node):
            return b""
        if isinstance(told, Leaving):
            self.on_leaving(node, told.leaving)
        else:
            await self._record(now, node, told)
        return b""

    async def _record(self, now: float, node: NodeId, told: Provide) -> None:
        strays = 0
        for at, sha256 in enumerate(told.blobs):
            if told.ttl_s and not (self._tracks(sha256) and self._stock.named(sha256)):
                strays += 1
            else:
                self.tracker.on_provide(now, node, sha256, told.ttl_s)
            if at % 64 == 63:
                await trio.lowlevel.checkpoint()
        # The log here may be a block behind, or members may just have changed: a few are nobody's fault.
        if strays > 8 and 2 * strays > len(told.blobs):
            self._scores.note(
                now, node, RATE, "it tells records of blobs that are not in the log, or not ours"
            )

    def _tracks(self, sha256: bytes) -> bool:
        placement = self._owning.placement
        me = self._owning.node
        return me in placement.owners(sha256) or me in placement.owners(sha256, self.gone)

    def _price(self, node: NodeId, asked: Who | Held | Sums) -> float:
        """What a question costs: of a guest, whose ids are free, also by what has to be looked up."""
        if self._member(node):
            return 1.0
        return 1.0 + len(asked.shards if isinstance(asked, Sums) else asked.blobs) / GUEST_LOOKS.value

    async def answer(self, node: NodeId, raw: bytes) -> bytes:
        """What is here, and who else told that it has it.

        Raises:
            Malformed: nobody asks that.
            Refusal: `busy`.
        """
        asked = wire.decode_asked(raw)
        now = trio.current_time()
        if not self._asked.of(node).take(now, self._price(node, asked)):
            self._scores.note(now, node, RATE, "it asks about blobs without pause")
            raise Refusal(
                "busy", what="too many questions", who="the asking node", do="ask again in a second"
            )
        match asked:
            case Who(blobs):
                return wire.encode_known([self._knows(now, node, sha256) for sha256 in blobs])
            case Held(blobs):
                bits = []
                for at, sha256 in enumerate(blobs):
                    bits.append(self._stock.here(sha256))
                    if at % 128 == 127:
                        await trio.lowlevel.checkpoint()
                return wire.encode_bits(bits)
            case Sums(shards):
                sums = []
                for at, shard in enumerate(shards):
                    sums.append(self._stock.total(shard))
                    if at % 8 == 7:
                        await trio.lowlevel.checkpoint()
                return wire.encode_sums(sums)

    def _knows(self, now: float, asker: NodeId, sha256: bytes) -> Known:
        told = self.tracker.of(now, sha256)
        others = tuple(node for node in told if node != asker and not self._dead(node))
        return Known(self._stock.here(sha256), others)

    # -- where to look --

    async def find(self, sha256: bytes, builders: Iterable[NodeId] = ()) -> tuple[NodeId, ...]:
        """Whom to ask for these bytes, the best first; owners are asked who else has them."""
        now = trio.current_time()
        if now >= self._known.get(sha256, (0.0, ()))[0]:
            await self._learn(now, sha256)
        return self.sources(sha256, builders)

    def sources(self, sha256: bytes, builders: Iterable[NodeId] = ()) -> tuple[NodeId, ...]:
        """The same from what is known already."""
        now, me = trio.current_time(), self._owning.node
        told = (*self._known.get(sha256, (0.0, ()))[1], *self.tracker.of(now, sha256))
        placement = self._owning.placement
        owners = dict.fromkeys((*placement.owners(sha256), *placement.owners(sha256, self.gone)))
        providers = (node for node in told if not self._misses.missed(now, node, sha256))
        order = ranked(owners, builders, providers, linked=self._links.connected, dead=self._dead)
        return tuple(node for node in order if node != me)

    async def _learn(self, now: float, sha256: bytes) -> None:
        owners = [
            node
            for node in self._owning.placement.owners(sha256, self.gone)
            if node != self._owning.node and self._links.connected(node) and not self._dead(node)
        ]
        found: dict[NodeId, None] = {}

        async def ask(owner: NodeId) -> None:
            known = await self.asking.who(owner, (sha256,))
            if known is not None:
                found.update(dict.fromkeys(known[0].providers))

        with trio.move_on_after(WHO_S):
            async with trio.open_nursery() as nursery:
                for owner in owners[: ASKED_OWNERS.value]:
                    nursery.start_soon(ask, owner)
        self._known[sha256] = (now + KNOWN_S, tuple(found))
        self._known.move_to_end(sha256)
        while len(self._known) > MAX_KNOWN.value:
            self._known.popitem(last=False)

    def nothing(self, node: NodeId, manifest: bytes) -> None:
        """It said over a data link that it has nothing of this file."""
        sha256 = self._stock.digest_of(manifest)
        if sha256 is not None:
            self.missed(node, sha256)

    def missed(self, node: NodeId, sha256: bytes) -> None:
        """It does not have it. Who was named as a provider, by itself, is not asked again for a while."""
        now = trio.current_time()
        if node not in (*self._known.get(sha256, (0.0, ()))[1], *self.tracker.of(now, sha256)):
            return
        self.tracker.on_missed(node, sha256)
        if self._misses.note(now, node, sha256) > FALSE.value:
            self._scores.note(now, node, RATE, "again and again it has not what it says it has")

    # -- told to others --

    def came(self, sha256: bytes) -> None:
        """A blob is here, whole, checked and synced."""
        self._stock.changed(sha256)
        self._tell(trio.current_time(), sha256, here=True)

    def _went(self, sha256: bytes) -> None:
        self._stock.changed(sha256)
        self._tell(trio.current_time(), sha256, here=False)

    async def _announce(self, now: float) -> None:
        """Everything that is here, to whoever tracks it."""
        if self._owning.placement.wanted:
            async for sha256, _ in self._blobs.rows():
                self._tell(now, sha256, here=True)

    def _tell(self, now: float, sha256: bytes, *, here: bool) -> None:
        owners = self._owning.placement.owners(sha256, self.gone)
        if not owners or self._owning.node in owners or (here and not self._stock.named(sha256)):
            return
        for owner in owners:
            self._announcer.add(now, owner, sha256, here)
