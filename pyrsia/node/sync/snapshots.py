"""A node that is far behind takes the state of a final block from its peers, and starts again from there.

The shell around `ledger.snapshot` and `consensus.light`: asks which points peers keep, follows the epochs up to the
point with proofs, asks many peers for parts, and stages what they prove. Nothing is decided by who said it. A peer
that lies is found by the answer that holds the lie, and asked no more; one that is silent loses its turn.

The node goes on meanwhile. When all is staged it starts anew (`again`), and the start adopts the point.

Source: docs/storage.md, "Snapshots"; docs/adr/0032.
"""

import logging
import secrets
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import trio

from pyrsia.consensus import catchup
from pyrsia.consensus.committee import Verify
from pyrsia.consensus.light import Contradiction, Followed, Head
from pyrsia.errors import Malformed, ProofInvalid, PyrsiaError, Refusal, Unavailable
from pyrsia.ledger import snapshot, views
from pyrsia.ledger.genesis import Genesis
from pyrsia.ledger.snapshot import Gathering, Sealed
from pyrsia.node.kinds import Method
from pyrsia.node.log.archive import Archive
from pyrsia.node.sync.staging import Staging
from pyrsia.store import layout
from pyrsia.store.rocks import Batch, Database
from pyrsia.units import MAX_PEERS, SNAPSHOT_ASK_S, Limit, NodeId
from pyrsia.wire import snapshots as wire
from pyrsia.wire.snapshots import Anchor, Place, Point
from pyrsia.wire.text import b32

FAR_LEAVES = Limit(50_000, "executed in some twelve seconds; a snapshot and a new start take as long")
FAR_BLOCKS = Limit(20_000, "empty blocks are fetched and checked at some thousand a second")
ASKERS_A_PEER = Limit(2, "questions under way with one peer: one is read while the other travels")
MOST_PEERS = Limit(8, "more sources bring no more, since this node hashes and writes what they bring")
STRIKES = Limit(3, "no answers in a row of one peer; a node that restarts has one or two")
LOOK_S = Limit(60, "between two looks at how far peers are; a partition that heals is noticed in time")
FIRST_LOOK_S = Limit(1, "from the first link to the first look: the others are linked by then")
AGAIN_S = Limit(5, "after a fetch that came to nothing; peers may keep a newer point by then")
LIAR_S = Limit(
    600, "a peer with a bad disk is mended by then; one that lies on purpose costs an answer each time"
)
OFFER_S = Limit(3, "a peer answers from memory; a fresh follower waits for the slowest")
MAX_EPOCHS = Limit(100_000, "epochs followed at once: a change of validators every hour for eleven years")

Request = Callable[[NodeId, int, bytes, float], Awaitable[bytes]]

_log = logging.getLogger("pyrsia.snapshots")


@dataclass(frozen=True, slots=True)
class Peers:
    """What the node's links do for a fetch.

    Attributes:
        linked: who can be asked now.
        request: asks one of them, as `net.links.Links.request`.
        blame: told of a peer whose answer holds a lie, and which.
        member: whether a node is one of the log, as far as this node has it.
        shuffle: puts a list into an order by lot, in place.
    """

    linked: Callable[[], Sequence[NodeId]]
    request: Request
    blame: Callable[[NodeId, str], None]
    member: Callable[[NodeId], bool] = lambda node: False
    shuffle: Callable[[list[NodeId]], None] = secrets.SystemRandom().shuffle

    def drawn(self, liars: "Liars") -> list[NodeId]:
        """Whom to ask, in this order: members first, each group by lot.

        Ids cost nothing, so whoever is asked by the order of ids asks whom a stranger chose.
        """
        found = [node for node in self.linked() if node not in liars]
        self.shuffle(found)
        return sorted(found, key=lambda node: not self.member(node))


class Liars:
    """Peers whose answers held a lie: not asked for a while, since a disk can be mended."""

    def __init__(self) -> None:
        self._until_s: dict[NodeId, float] = {}

    def add(self, node: NodeId) -> None:
        self._until_s[node] = trio.current_time() + LIAR_S.value
        while len(self._until_s) > MAX_PEERS.value:
            del self._until_s[next(iter(self._until_s))]

    def __contains__(self, node: NodeId) -> bool:
        return self._until_s.get(node, 0.0) > trio.current_time()


class NotGiven(PyrsiaError):
    """No peer gave what is needed; another look may find more."""


class Snapshots:
    """Looks now and then whether this node is far behind; if it is, fetches a point.

    Attributes:
        said: what it does, for people; empty while there is nothing to do.
        again: set once a point is staged: the node is to start anew.
    """

    def __init__(
        self,
        genesis: Genesis,
        archive: Archive,
        database: Database,
        peers: Peers,
        *,
        verify: Verify,
        alarm: Callable[[str], None],
        hold: Callable[[bool], None] = lambda held: None,
        patient: bool = False,
        far_leaves: int = FAR_LEAVES.value,
        far_blocks: int = FAR_BLOCKS.value,
    ) -> None:
        """
        Args:
            alarm: told when quorums contradict each other: whoever is right, this node must not go on by itself.
            hold: told True while a point is fetched: executing blocks meanwhile would be for nothing.
            patient: a node without a block waits for its first look; not for validators, who begin a network.
        """
        self.said = ""
        self.again = trio.Event()
        self._genesis = genesis
        self._archive = archive
        self._database = database
        self._peers = peers
        self._verify = verify
        self._alarm = alarm
        self._hold = hold
        self._patient = patient
        self._far_leaves = far_leaves
        self._far_blocks = far_blocks
        self._liars = Liars()

    async def run(self) -> None:
        """Until a point is staged, quorums contradict each other, or it is cancelled."""
        wait_s = float(FIRST_LOOK_S.value)
        head = self._archive.head
        self._hold(self._patient and (head is None or head.height == 0))
        while True:
            await trio.sleep(wait_s)
            if not self._peers.linked():
                continue
            wait_s = float(LOOK_S.value)
            try:
                if await self.look():
                    return  # held to the end: what it executed now would be further than the point
            except Contradiction as error:
                self._alarm(f"{error}: the operators must talk to each other")
                return
            except (NotGiven, Unavailable) as error:
                _log.warning("no snapshot yet: %s", error)
                wait_s = float(AGAIN_S.value)
            self.said = ""
            self._hold(False)

    async def look(self) -> bool:
        """Fetch a point if the peers are far ahead; whether one is staged now.

        Raises:
            Contradiction: quorums signed things that exclude each other.
            NotGiven: it is far behind, and nobody gave all of a point.
            Unavailable: the disk said no.
        """
        offers = await self._offers()
        silent: set[NodeId] = set()
        for point, givers in _best(offers):
            if not self._far(point):
                continue
            anchor, sealed = await self._anchor(point, givers, silent)
            if anchor is None or sealed is None:
                continue
            self._hold(True)  # not before it is proven: who votes must not stand still for a word
            self.said = f"far behind: taking the state after block {point.height}"
            _log.info("%s from %d peers", self.said, len(givers))
            await self._gather(anchor, sealed, givers)
            self.again.set()
            return True
        return False

    def _far(self, point: Point) -> bool:
        head = self._archive.head
        height, size = (0, 0) if head is None else (head.height, head.tree_size)
        return point.size > size + self._far_leaves or (
            point.height > height + self._far_blocks and point.size > size
        )

    # -- asking --

    async def _ask(
        self, node: NodeId, method: Method, payload: bytes, within_s: int = SNAPSHOT_ASK_S.value
    ) -> bytes:
        """
        Raises:
            Unavailable: no answer, or a refusal.
        """
        try:
            return await self._peers.request(node, method, payload, float(within_s))
        except Refusal as refusal:
            raise Unavailable(f"{b32(node)[:8]} refused: {refusal.what}") from None

    def _lied(self, node: NodeId, why: Exception) -> None:
        _log.warning("%s lied about a snapshot: %s", b32(node)[:8], why)
        self._liars.add(node)
        self._peers.blame(node, str(why))

    async def _offers(self) -> dict[NodeId, tuple[Point, ...]]:
        """What each peer keeps; who does not answer in time keeps nothing."""
        found: dict[NodeId, tuple[Point, ...]] = {}

        async def one(node: NodeId) -> None:
            try:
                found[node] = wire.decode_points(await self._ask(node, Method.POINTS, b"", OFFER_S.value))
            except Unavailable:
                pass
            except Malformed as error:
                self._lied(node, error)

        async with trio.open_nursery() as nursery:
            for node in self._peers.drawn(self._liars)[: 2 * MOST_PEERS.value]:
                nursery.start_soon(one, node)
        return found

    # -- what proves the point --

    async def _anchor(
        self, point: Point, givers: list[NodeId], silent: set[NodeId]
    ) -> tuple[Anchor | None, Sealed | None]:
        """A point proven by finality, epoch by epoch; whoever lies about it is taken from `givers`.

        Args:
            silent: those that did not answer, who are asked about no other point.
        """
        followed = self._followed()
        size = 0 if followed.seen is None else followed.seen.size
        for node in [node for node in givers if node not in silent]:
            try:
                data = await self._ask(node, Method.ANCHOR, wire.ask_anchor(point.block_hash, size))
                anchor, followed = Anchor.decode(data), self._followed()
                await self._follow(followed, anchor.block.header.epoch, size, node)
                header = followed.advance(anchor.proof, anchor.grown)
                if not catchup.body_fits(anchor.block) or anchor.point != point:
                    raise ProofInvalid("the anchor is not of the point that was offered")
                return anchor, snapshot.sealed(anchor, header)
            except Unavailable as error:
                _log.info("no anchor: %s", error)
                silent.add(node)
                self._hold(False)  # a fresh follower has waited long enough
            except Malformed as error:
                self._lied(node, error)
                givers.remove(node)
        return None, None

    def _followed(self) -> Followed:
        """From what this node has executed itself: the epoch it is in, and the head of its log.

        Genesis alone needs no proof that a log has grown from it: the chain id is in all that is signed.
        """
        head, reads = self._archive.head, self._archive.state
        seats = views.seats(reads, self._genesis)
        begun = head is not None and head.height > 0
        seen = Head(seats.epoch, head.tree_size, head.tree_root) if head is not None and begun else None
        return Followed(
            seats.validators,
            chain_id=self._genesis.chain_id,
            origin=self._genesis.origin,
            verify=self._verify,
            epoch=seats.epoch,
            seen=seen,
        )

    async def _follow(self, followed: Followed, epoch: int, size: int, node: NodeId) -> None:
        """Take steps up to `epoch`, and keep them: they are facts.

        Raises:
            ProofInvalid: the peer claims an epoch that it does not prove.
            Contradiction: as the steps.
            Unavailable: no answer.
        """
        first = followed.epoch
        while followed.epoch < epoch:
            data = await self._ask(node, Method.STEPS, wire.ask_steps(followed.epoch, size))
            steps = wire.decode_steps(data)
            if not steps or followed.epoch - first > MAX_EPOCHS.value:
                raise ProofInvalid(
                    f"a point of epoch {epoch}, and no proof of how epoch {followed.epoch} ended"
                )
            batch = Batch()
            for step in steps:
                number = step.end.proof.cert.said.epoch
                followed.step(step.end, step.joined)
                batch.put(layout.EPOCHS, layout.number(number), step.end.encode())
            self._database.write(batch)

    # -- the rows --

    async def _gather(self, anchor: Anchor, sealed: Sealed, givers: Sequence[NodeId]) -> None:
        """Fetch and stage everything that the point's roots speak of.

        Raises:
            NotGiven: the peers left before all was here. What came stays, and is not fetched again.
        """
        staging = Staging(self._database)
        fetch = _Fetch(self, anchor, staging, Gathering(sealed.roots, staging.held))
        await fetch.run(givers)
        if not fetch.gathering.finished:
            raise NotGiven("no peer is left that gives parts of the state")
        if staging.roots != sealed.roots:
            raise AssertionError("what was proven part by part is not the whole")
        await staging.complete(anchor)


class _Fetch:
    """One point's rows, from several peers at once."""

    def __init__(self, shell: Snapshots, anchor: Anchor, staging: Staging, gathering: Gathering) -> None:
        self._shell = shell
        self._point = anchor.point
        self._staging = staging
        self.gathering = gathering
        self._changed = trio.Event()
        self._strikes: Counter[NodeId] = Counter()
        self._askers = 0

    async def run(self, givers: Sequence[NodeId]) -> None:
        """Until everything is staged or nobody is left to ask."""
        for part in self.gathering.start():
            await self._staging.install(part, self._point.height)
        chosen = givers[: MOST_PEERS.value]
        self._askers = len(chosen) * ASKERS_A_PEER.value
        async with trio.open_nursery() as nursery:
            for node in chosen:
                for _ in range(ASKERS_A_PEER.value):
                    nursery.start_soon(self._keep_asking, node)

    async def _keep_asking(self, node: NodeId) -> None:
        """One question to `node` after the other."""
        try:
            while not self.gathering.finished and not self._given_up(node):
                asked = self.gathering.ask(self._askers)
                if asked:
                    await self._question(node, asked)
                else:
                    await self._changed.wait()
        finally:
            self._askers -= 1
            self._tell()

    def _given_up(self, node: NodeId) -> bool:
        return node in self._shell._liars or self._strikes[node] >= STRIKES.value

    async def _question(self, node: NodeId, asked: tuple[Place, ...]) -> None:
        shell, gathering = self._shell, self.gathering
        question = wire.ask_parts(self._point.block_hash, asked)
        open_question = True
        try:
            data = await shell._ask(node, Method.PARTS, question)
            parts = gathering.take(asked, wire.decode_parts(data))
            open_question = False
            self._strikes[node] = 0
            for part in parts:
                await self._staging.install(part, self._point.height)
            done = int(100 * gathering.fraction)
            shell.said = f"far behind: {done} % of the state after block {self._point.height} is here"
        except Unavailable as error:
            if not open_question:
                raise  # our own disk
            self._strikes[node] += 1
            _log.info("no part of the state: %s", error)
        except Malformed as error:
            shell._lied(node, error)
        finally:
            if open_question:
                gathering.give_back(asked)
            self._tell()
        if self._strikes[node]:
            await trio.sleep(0.2 * self._strikes[node])

    def _tell(self) -> None:
        """Who waits for a place to ask for looks again."""
        self._changed.set()
        self._changed = trio.Event()


def _best(offers: dict[NodeId, tuple[Point, ...]]) -> list[tuple[Point, list[NodeId]]]:
    """Points with who keeps them: those that more than one keeps first, the highest first."""
    givers: dict[Point, list[NodeId]] = {}
    for node, points in offers.items():
        for point in points:
            givers.setdefault(point, []).append(node)
    return sorted(givers.items(), key=lambda one: (len(one[1]) > 1, one[0].height), reverse=True)
