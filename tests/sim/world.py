"""A whole network in one heap: cores, their disks, an application, catch-up, and everything that goes wrong.

One seed decides all. Signatures are hashes that only their owner computes here. `plan` says what a run does,
`faults` what of it takes effect, `network`, `disk`, `clocks` and `villains` do it, `auditor` checks every step, and
`ending` what must hold once everything was healed.

Source: docs/simulator.md.
"""

import gc
import heapq
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, NoReturn

from blake3 import blake3

from pyrsia.consensus import catchup
from pyrsia.consensus.committee import Committee
from pyrsia.consensus.effects import (
    Act,
    Answer,
    Blame,
    Deliver,
    Fault,
    Halt,
    Mute,
    Now,
    Persist,
    Post,
    WakeAt,
)
from pyrsia.consensus.epochs import Epochs
from pyrsia.consensus.recovery import Recovered
from pyrsia.units import VIEW_WINDOW
from pyrsia.wire.blocks import EPOCH_END, Block, Blocks, Message, Proposal, Statement, Vote, decode_vote
from pyrsia.wire.epochs import Seats, Validator

from . import toy
from .auditor import Auditor, Broken, own_vote, quorum
from .clocks import WALL_MS as WALL_MS
from .clocks import Clock
from .disk import Disk, Image
from .faults import Faults
from .network import Network, Pair, partition
from .plan import HASTY, TIMING, Plan, tightened
from .trace import Trace
from .villains import Villain

CHAIN_ID = blake3(b"simulated").digest()
ORIGIN = "simulated/0"
TURNS = 6  # vote keys that a member may have had
MOST_EVENTS = (
    2_000_000  # of one run; the busiest have a tenth, and what never ends is to be told, not waited for
)

(
    MESSAGE,
    WAKE,
    SYNC,
    ENTRY,
    CRASH,
    RESTART,
    CUT,
    MEND,
    LINK,
    CLOG,
    UNCLOG,
    JUMP,
    IMAGE,
    ROLLBACK,
    DIE,
    CALL,
) = range(16)


def fake_sign(key: bytes, text: bytes) -> bytes:
    return blake3(key + text).digest(64)


def fake_verify(key: bytes, text: bytes, sig: bytes) -> bool:
    return blake3(key + text).digest(64) == sig


@dataclass
class Node:
    """One machine. Twins share a number; every other node has its own.

    Attributes:
        place: in `World.nodes`.
        number: whose keys it has.
        life: counts its starts; what an earlier life asked for is void.
        epoch: the one that follows from what it delivered.
        rolled: came back with an old image of its disk, and may be muted for it.
        worst: the newest view in which it had voted until then; none of the disk's votes may be newer.
        told: by place, the newest view of which others had heard a vote of it then.
    """

    place: int
    number: int
    app: Any
    clock: Clock
    disk: Disk
    core: Epochs | None = None
    life: int = 0
    epoch: int = 0
    view: tuple[int, int] = (0, 0)
    height: int = 0
    wake: float = 0.0
    villain: Villain | None = None
    twin: bool = False
    dead: bool = False
    rolled: bool = False
    muted: str = ""
    worst: tuple[int, int] = (0, 0)
    told: dict[int, tuple[int, int]] = field(default_factory=dict)
    image: Image | None = None
    heard: dict[int, tuple[int, int]] = field(default_factory=dict)  # newest vote of others, in this life
    targets: dict[bytes, tuple[int, ...]] = field(default_factory=dict)

    @property
    def honest(self) -> bool:
        return self.villain is None and not self.twin


class Naive:
    """The toy's definition, run block by block beside the network."""

    def __init__(self, n: int) -> None:
        at = toy.GENESIS
        self.world = toy.begin(n)
        self.told = at.tree_size, at.tree_root, at.beacon

    def executed(self, block: Block) -> Seats | None:
        """See `auditor.Oracle`."""
        header, before = block.header, self.world
        if header.reveal != before.owes(header.proposer, header.view):
            raise Broken(f"I6: height {header.height} reveals another link than it owes")
        after = toy.turn(before, block.body.entries, header.view)
        if after is None:
            raise Broken(f"I7: an entry of height {header.height} does not apply")
        self.told = toy.execute(*self.told, block.body.entries, header.time_ms, header.reveal)
        if self.told != (header.tree_size, header.tree_root, header.beacon):
            raise Broken(f"I6: wrong root at height {header.height}")
        self.world = after
        return after.seats if after.seats.epoch != before.seats.epoch else None


class World:
    """One run."""

    def __init__(
        self,
        seed: int,
        plan: Plan | None = None,
        *,
        faults: Faults | None = None,
        trace: Trace | None = None,
    ) -> None:
        self.seed = seed
        self.rng = random.Random(seed)
        self.plan = plan or Plan.random(self.rng)
        self.faults = faults or Faults()
        self.trace = trace
        self.heap: list[tuple[float, int, int, int, Any]] = []
        self.seq = 0
        self.now = 0.0
        self.events = 0
        self.undecodable = 0
        self.early: dict[int, list[tuple[Node, Vote]]] = {}
        self.committees: dict[int, Committee] = {}
        self.unheard: list[tuple[Node, Vote]] = []  # liars' votes of an epoch that no honest node has begun
        self.network = Network(seed, self.plan, self.faults, self._arrives)
        self.expected: list[bytes] = []
        self.numbers = list(range(self.plan.n + self.plan.spares))
        self._found()
        self._people()
        self.handlers: tuple[Callable[[Node, Any], None], ...] = (
            self._message, self._wake, self._sync, self._entry, self._crash, self._restart, self._cut, self._mend,
            self._link, self._clog, self._unclog, self._jump, self._keep_image, self._rollback, self._die, self._call,
        )  # fmt: skip

    # -- the network as it is founded; the real ledger does these in its own way --

    def _found(self) -> None:
        self.chain_id, self.origin = CHAIN_ID, ORIGIN
        self.auditor = Auditor(CHAIN_ID, toy.begin(self.plan.n).seats, Naive(self.plan.n))

    def _app(self, number: int) -> Any:
        return toy.Toy(self.plan.n, number, self.plan.impure)

    def id_of(self, number: int) -> bytes:
        return toy.node_of(number)

    def number_of(self, node: bytes) -> int:
        return toy.number_of(node)

    def _holds(self, number: int, vote: bytes) -> bool:
        """Whether this vote key is one of the node's."""
        return vote.startswith(b"%016d" % number) and toy.turn_of(vote) < TURNS

    def reveal(self, one: Validator, position: int) -> tuple[bytes, bytes] | None:
        return toy.reveal_of(one, position), bytes(32)

    # -- who takes part --

    def _people(self) -> None:
        plan, rng = self.plan, self.rng
        liars = rng.sample(range(plan.n), plan.byzantine)
        places = self.numbers + [number for number in liars if plan.twins]
        self.nodes = [
            Node(
                at,
                number,
                self._app(number),
                Clock(rng, plan, wrong=at == 0),
                Disk(at, random.Random(f"{self.seed} disk {at}"), plan, self.faults),
            )
            for at, number in enumerate(places)
        ]
        for number in liars:
            if plan.twins:
                for node in self.nodes:
                    node.twin |= node.number == number
            else:
                self.nodes[number].villain = Villain(self, self.nodes[number], plan.habits)
                self.network.fast.add(number)
        self.honest = [node for node in self.nodes if node.honest]
        self._wire(rng)

    def _wire(self, rng: random.Random) -> None:
        """Who hears which copy of whom: twins are each heard by a part of the others, now and then by all."""
        copies: dict[int, list[int]] = {}
        for node in self.nodes:
            copies.setdefault(node.number, []).append(node.place)
        side = {node.place: rng.choice((0, 1, 2)) for node in self.nodes}
        for node in self.nodes:
            for number, all_of in copies.items():
                heard = all_of
                if len(all_of) > 1 and side[node.place] < 2 and not node.twin:
                    heard = all_of[side[node.place] : side[node.place] + 1]
                if node.twin and self.nodes[all_of[0]].honest:
                    mine = copies[node.number].index(node.place)
                    heard = [at for at in all_of if side[at] in (2, mine)]
                if number != node.number:
                    node.targets[self.id_of(number)] = tuple(heard)

    # -- running -----------------------------------------------------------------------------------

    def push(self, at: float, kind: int, node: int, payload: Any = None) -> None:
        self.seq += 1
        heapq.heappush(self.heap, (at, self.seq, kind, node, payload))

    def run(self) -> "World":
        """Faults, then healing, then the end checks.

        Raises:
            Broken: with the seed, the moment and the fingerprint.
        """
        from .ending import heal

        collecting = gc.isenabled()
        gc.disable()
        try:
            with tightened(self.plan.tight):
                self._plan_faults()
                for node in self.nodes:
                    self._start(node)
                self.until(self.plan.seconds)
                heal(self)
        except Broken as error:
            raise Broken(
                f"seed {self.seed} at {self.now:.4f}: {error} [{self.auditor.fingerprint}]"
            ) from error
        except Exception as error:
            raise Broken(f"seed {self.seed} at {self.now:.4f}: a part raised {error!r}") from error
        finally:
            if collecting:
                gc.enable()
        return self

    def fail(self, text: str) -> NoReturn:
        raise Broken(text)

    def _plan_faults(self) -> None:
        """Everything that has a time of its own; messages, syncs and lies are decided as they come."""
        rng, plan, on, push = self.rng, self.plan, self.faults.on, self.push
        seconds = plan.seconds
        for i in range(plan.crashes):
            at, one, down_s = rng.uniform(0, seconds), rng.choice(self.honest), rng.uniform(0.02, 1.0)
            crashed = self.honest if rng.random() < 0.15 else [one]
            if on("crash", i):
                for node in crashed:
                    push(at, CRASH, node.place, down_s)
        for i in range(plan.partitions):
            at, length = rng.uniform(0, seconds), rng.uniform(0.1, 1.5)
            pairs = partition(rng, len(self.nodes))
            if on("cut", i):
                push(at, CUT, 0, pairs)
                push(at + length, MEND, 0, pairs)
        for i in range(plan.clogs):
            self._plan_clog(rng, i)
        for i in range(plan.jumps):
            at, one, by_ms = (
                rng.uniform(0, seconds),
                rng.choice(self.honest),
                rng.choice((-3_600_000, -900, 900, 2_500)),
            )
            if on("jump", i):
                push(at, JUMP, one.place, by_ms)
        for i in range(plan.entries):
            self._submit(b"entry %d" % i, rng.uniform(0, seconds))
        for i in range(plan.seats):
            at, change = rng.uniform(0, seconds), self._change(rng, i)
            if on("seats", i):
                self._spread(change, at)
        for i in range(plan.dead):
            self._plan_death(rng, i)
        for i in range(plan.rollbacks):
            at, back_s = rng.uniform(0.2, seconds * 0.6), rng.uniform(0.05, 0.8)
            one = rng.choice([node for node in self.honest if node.place < plan.n and not node.dead])
            if on("rollback", i):
                push(at, IMAGE, one.place)
                push(at + back_s, ROLLBACK, one.place, rng.uniform(0.02, 0.3))

    def _plan_clog(self, rng: random.Random, i: int) -> None:
        """Swizzle: some nodes are clogged one after the other, and unclogged in another order."""
        nodes = rng.sample(range(len(self.nodes)), rng.randint(1, len(self.nodes)))
        at = rng.uniform(0, self.plan.seconds)
        times = [at + k * rng.uniform(0.01, 0.2) for k in range(2 * len(nodes))]
        back = rng.sample(nodes, len(nodes))
        if self.faults.on("clog", i):
            for node, when in zip(nodes, sorted(times)[: len(nodes)], strict=True):
                self.push(when, CLOG, node)
            for node, when in zip(back, sorted(times)[len(nodes) :], strict=True):
                self.push(when, UNCLOG, node)

    def _plan_death(self, rng: random.Random, i: int) -> None:
        """One validator dies for good; the others seat a spare node and unseat the dead one."""
        one = rng.choice([node for node in self.honest if node.place < self.plan.n and not node.dead])
        spare = self.plan.n + i % max(1, self.plan.spares)
        at = rng.uniform(0, self.plan.seconds * 0.7)
        if self.faults.on("dead", i):
            one.dead = True
            self.push(at, DIE, one.place)
            self._spread(b"seats + %d #dead%d" % (spare, i), at + 0.2)
            self._spread(b"seats - %d #dead%d" % (one.number, i), at + 0.3)

    def _change(self, rng: random.Random, i: int) -> bytes:
        """A change of the seats. Whether it applies then, the chain decides."""
        what = rng.choice("+-~~") if self.plan.spares else "~"
        if what == "~":
            return b"seats ~ %d %d #%d" % (rng.choice(self.numbers), rng.randint(1, TURNS - 2), i)
        return b"seats %b %d #%d" % (what.encode(), rng.choice(self.numbers), i)

    def _submit(self, entry: bytes, at: float) -> None:
        """An entry that must become final."""
        self.expected.append(entry)
        self._spread(entry, at)

    def _spread(self, entry: bytes, at: float) -> None:
        """Every node hears of it, some late."""
        for node in self.nodes:
            late = self.rng.expovariate(1 / 0.005) if self.rng.random() < 0.9 else self.rng.uniform(0, 1)
            self.push(at + (late if node.place else 0.0), ENTRY, node.place, entry)

    def until(self, end: float, done: Callable[[], bool] | None = None) -> bool:
        """Events up to `end`; stops when `done` says so, and tells whether it did."""
        heap, step, handlers, nodes, pop = (
            self.heap,
            self.auditor.step,
            self.handlers,
            self.nodes,
            heapq.heappop,
        )
        while heap and heap[0][0] <= end:
            at, _, kind, number, payload = pop(heap)
            self.now = at
            self.events += 1
            if self.events > MOST_EVENTS:
                raise Broken(f"no end after {MOST_EVENTS:,} events")
            step(at, kind, number)
            node = nodes[number]
            handlers[kind](node, payload)
            if node.core is not None and node.villain is None:
                self._still_sane(node)
            if done is not None and done():
                return True
        self.now = end
        return False

    # -- events ------------------------------------------------------------------------------------

    def _arrives(self, at: float, to: int, sender: int, message: object) -> None:
        self.push(at, MESSAGE, to, (sender, message))

    def _message(self, node: Node, payload: Any) -> None:
        if node.core is None:
            return
        at, message = payload
        sender = self.nodes[at]
        if self.trace is not None:
            self.trace.heard(self.now, node, sender, message)
        if node.villain is not None:
            node.villain.heard(message)
        if self.plan.rollbacks and isinstance(message, Vote | Proposal):
            said = own_vote(message).said  # type: ignore[union-attr]
            node.heard[sender.number] = max(node.heard.get(sender.number, (0, 0)), said[1:3])
        self.hear(node, sender, message)

    def hear(self, node: Node, sender: Node, message: Any) -> None:
        """A message for one of the node's parts."""
        assert node.core is not None
        self.do(node, node.core.on_message(self.clock(node), self.id_of(sender.number), message))

    def _wake(self, node: Node, payload: Any) -> None:
        if node.core is not None and payload == (node.life, node.wake):
            self.do(node, node.core.on_timer(self.clock(node)))

    def _sync(self, node: Node, payload: Any) -> None:
        life, fails = payload
        if life != node.life or node.core is None:
            return
        if fails:  # a node whose disk refuses stops there and then
            self._crash(node, 0.3)
            return
        for turn in node.disk.synced():
            for act in turn:
                if not isinstance(act, Persist):
                    self._act(node, act)

    def _entry(self, node: Node, entry: bytes) -> None:
        if node.core is not None and node.app.submit(entry):
            self.do(node, node.core.on_work(self.clock(node)))

    def _crash(self, node: Node, down_s: float) -> None:
        if node.core is None or self.network.healed:
            return
        self._stop(node)
        self.push(self.now + down_s, RESTART, node.place)

    def _stop(self, node: Node) -> None:
        if self.trace is not None:
            self.trace.event(self.now, node, "stops")
        node.core = None
        node.disk.crash()
        node.app.crash()
        node.heard.clear()

    def _restart(self, node: Node, _: Any) -> None:
        if node.core is None and not node.dead:
            self._start(node)

    def _cut(self, _: Node, pairs: list[Pair]) -> None:
        if not self.network.healed:
            self.network.sever(pairs)

    def _mend(self, _: Node, pairs: list[Pair]) -> None:
        self.network.mend(pairs)
        for a, b in pairs:
            self.push(self.now + 0.005, LINK, a, b)

    def _link(self, node: Node, other: int) -> None:
        """A link to `other` is up again."""
        peer = self.nodes[other]
        if (
            node.core is not None
            and peer.core is not None
            and other in node.targets.get(self.id_of(peer.number), ())
        ):
            self.do(node, node.core.on_peer(self.clock(node), self.id_of(peer.number)))

    def _clog(self, node: Node, _: Any) -> None:
        if not self.network.healed:
            self.network.clog(node.place)

    def _unclog(self, node: Node, _: Any) -> None:
        self.network.unclog(self.now, node.place)

    def _jump(self, node: Node, by_ms: int) -> None:
        if not self.network.healed:
            node.clock.jump(by_ms)

    def _die(self, node: Node, _: Any) -> None:
        if node.core is not None:
            self._stop(node)

    def _call(self, node: Node, call: Callable[[Node], None]) -> None:
        call(node)

    # -- an old disk --

    def _keep_image(self, node: Node, _: Any) -> None:
        if node.core is not None:
            node.image = node.disk.image(node.app.image())

    def _rollback(self, node: Node, down_s: float) -> None:
        """The node stops and comes back with the image; if enough others know better it must not vote."""
        image = node.image
        if image is None or self.network.healed:
            return
        if node.core is not None:
            self._stop(node)
        node.disk.restore(image)
        node.app.restore(image.app)
        node.rolled = True
        node.worst = max(
            (
                at
                for key, places in self.auditor.votes.items()
                if self._holds(node.number, key)
                for at in places
            ),
            default=(0, 0),
        )
        node.epoch = node.app.seats(node.app.final.hash).epoch
        node.told = {other.place: other.heard.get(node.number, (0, 0)) for other in self.honest}
        self.push(self.now + down_s, RESTART, node.place)

    def _known(self, node: Node, key: bytes, said: Statement) -> bool:
        """Whether f + 1 members, who still have to do with this key, have heard of a vote of it that is no older."""
        seats = self.auditor.epochs[said.epoch]
        members = {one.node for one in seats.validators} - {self.id_of(node.number)}
        knowing = [
            other
            for other in self.honest
            if self.id_of(other.number) in members
            and node.told[other.place] >= said[1:3]
            and any(one.vote == key for one in self.auditor.epochs[other.epoch].validators)
        ]
        return len(knowing) > len(seats.validators) - quorum(seats)

    # -- a node ------------------------------------------------------------------------------------

    def clock(self, node: Node) -> Now:
        return node.clock.now(self.now)

    def _start(self, node: Node) -> None:
        node.life += 1
        node.view, node.height = (0, 0), node.app.final.height
        if self.trace is not None:
            self.trace.event(self.now, node, f"starts at height {node.height}")
        for record in node.disk.wal:
            if record[0] == 1:
                self._signed(node, decode_vote(record[1:]))
        number = node.number
        node.core = Epochs(
            node.app,
            self.chain_id,
            self.origin,
            node=self.id_of(number),
            sign=lambda vote: self.signer(vote) if self._holds(number, vote) else None,
            verify=self.verify,
            reveal=self.reveal,
            timing=TIMING if node.villain is None else HASTY,
            recovered=Recovered(tuple(node.disk.wal), node.disk.proof),
            voter=self.plan.core,
        )
        self.do(node, node.core.on_start(self.clock(node)))
        for other in self.nodes:
            if other is not node and other.core is not None:
                self.push(self.now + 0.002, LINK, node.place, other.place)
                self.push(self.now + 0.002, LINK, other.place, node.place)

    def signer(self, vote: bytes) -> Callable[[bytes], bytes]:
        """Signs with a vote key; a hash that anybody could compute and nobody does."""
        return lambda text: fake_sign(vote, text)

    def verify(self, key: bytes, text: bytes, sig: bytes) -> bool:
        return fake_verify(key, text, sig)

    def vote_of(self, number: int, said: Statement) -> Vote | None:
        """What a villain signs: anything, with the key that its node has in that epoch."""
        seats = self.auditor.epochs.get(said.epoch)
        me = self.id_of(number)
        if seats is None:
            return None
        for index, one in enumerate(seats.validators):
            if one.node == me:
                text = self._committee(seats).text(said)
                return Vote(said, index, self.signer(one.vote)(text))
        return None

    def _committee(self, seats: Seats) -> Committee:
        found = self.committees.get(seats.epoch)
        if found is None:
            found = self.committees[seats.epoch] = Committee(seats, self.chain_id, self.origin)
        return found

    # -- what a node does --------------------------------------------------------------------------

    def do(self, node: Node, acts: list[Act]) -> None:
        """Run a turn; from its first record that needs a sync, the rest waits for the disk."""
        if not node.honest:  # what it signs may be in its certificates, whatever it sends
            for act in acts:
                if isinstance(act, Persist) and act.record[0] == 1:
                    self._signed(node, decode_vote(act.record[1:]))
        if node.villain is not None:
            acts = node.villain.twist(acts)
        if self.plan.lose_sync:
            for act in acts:
                if isinstance(act, Post):
                    self._act(node, act)
            acts = [act for act in acts if not isinstance(act, Post)]
        waiting = node.disk.waiting
        for i, act in enumerate(acts):
            if isinstance(act, WakeAt):
                self._act(node, act)
            elif waiting or (isinstance(act, Persist) and not act.lazy):
                self._wait(node, acts[i:])
                return
            else:
                self._act(node, act)

    def _wait(self, node: Node, acts: list[Act]) -> None:
        node.disk.waiting.append([act for act in acts if not isinstance(act, WakeAt)])
        for act in acts:
            if isinstance(act, WakeAt):
                self._act(node, act)
        sync_s = node.disk.sync_s(self.network.healed)
        self.push(self.now + abs(sync_s), SYNC, node.place, (node.life, sync_s < 0))

    def _act(self, node: Node, act: Act) -> None:
        match act:
            case Post(to, message):
                self._posts(node, to, message)
            case WakeAt(at_s):
                node.wake = max(at_s, self.now)
                self.push(node.wake, WAKE, node.place, (node.life, node.wake))
            case Persist(record):
                node.disk.loose.append(record)
            case Deliver():
                self._delivers(node, act)
            case Answer():
                answer = self.packed(node, act)
                if answer is not None:
                    self._posts(node, (act.to,), answer)
            case Blame() | Fault():
                self._blames(node, act)
            case Halt(reason) | Mute(reason):
                self._refuses(node, act, reason)

    def _posts(self, node: Node, to: tuple[bytes, ...] | None, message: Any) -> None:
        self._said(node, message)
        if self.trace is not None:
            self.trace.said(self.now, node, to, message)
        post, now, here = self.network.post, self.now, node.place
        for one in node.targets if to is None else to:
            for target in node.targets.get(one, ()):
                post(now, here, target, message)

    def packed(self, node: Node, ask: Answer) -> Blocks | None:
        return catchup.serve(ask.first, ask.last, node.disk.blocks.get, node.disk.proofs.get)

    def _said(self, node: Node, message: Message) -> None:
        vote = own_vote(message)
        if vote is None:
            return
        self._signed(node, vote)
        if not node.honest:
            return
        seats = self.auditor.epochs.get(vote.said.epoch)
        if seats is None:
            self.fail(f"I9: {node.number} votes in epoch {vote.said.epoch}, which nobody has begun")
        key = seats.validators[vote.signer].vote
        if not self._holds(node.number, key):
            return  # (a villain's old message is no honest node's: it passes on nobody's votes)
        if node.rolled and vote.said[1:3] <= node.worst and not self.auditor.has_sent(key, vote.said):
            if self._known(node, key, vote.said):
                self.fail(
                    f"I8: {node.number} votes after a rollback that others could tell it of: {vote.said}"
                )
            return  # whom nobody can tell counts among the f
        self.auditor.sent(message, key, node.epoch, node.disk.durable, node.number)

    def _signed(self, node: Node, vote: Vote) -> None:
        seats = self.auditor.epochs.get(vote.said.epoch)
        if seats is None:  # a liar may be the first to learn that an epoch has begun
            self.unheard = [*self.unheard, (node, vote)][-1_000:]
            return
        if not 0 <= vote.signer < len(seats.validators):
            return
        if not node.honest:  # what liars send may be forged
            key = seats.validators[vote.signer].vote
            text = self._committee(seats).text(vote.said)
            if not self.verify(key, text, vote.sig):
                return
        self.auditor.signed(vote)

    def _delivers(self, node: Node, effect: Deliver) -> None:
        if self.trace is not None:
            self.trace.event(
                self.now,
                node,
                f"delivers {effect.blocks[0].header.height}..{effect.blocks[-1].header.height}",
            )
        final = node.app.final
        if node.honest:
            self.auditor.delivered(effect, (final.height, final.hash), node.number)
            for maker, vote in self.early.pop(max(self.auditor.epochs), ()):
                self._signed(maker, vote)
            if self.unheard and effect.blocks[-1].header.kind == EPOCH_END:
                unheard, self.unheard = self.unheard, []
                for liar, vote in unheard:
                    self._signed(liar, vote)
        for block in effect.blocks:
            node.app.finalize(block)
            node.disk.blocks[block.header.height] = block.encode()
        last = effect.blocks[-1].header
        node.disk.proofs[last.height] = effect.proof.encode()
        node.disk.proof = effect.proof
        node.epoch = node.app.seats(last.hash()).epoch
        node.disk.trim(last.epoch, last.view)

    def _blames(self, node: Node, act: Blame | Fault) -> None:
        number = self.number_of(act.node)
        accused = [one for one in self.nodes if one.number == number]
        honest = all(one.honest and not one.rolled for one in accused)
        if isinstance(act, Fault):
            if honest and node.honest:
                self.fail(f"I10: {node.number} finds fault with honest {number}: {act.why}")
            return
        if node.honest:
            self.auditor.blamed(act, honest, node.number)
            self.evidence(act)

    def evidence(self, act: Blame) -> None:
        """It goes into the log: the toy believes it, since the auditor has checked it."""
        seats = self.auditor.epochs[act.epoch]
        key = seats.validators[act.first.signer].vote
        entry = b"fault " + key
        for other in self.honest:
            self.push(self.now + 0.003, ENTRY, other.place, entry)

    def _refuses(self, node: Node, act: Halt | Mute, reason: str) -> None:
        if self.trace is not None:
            self.trace.event(self.now, node, f"refuses: {reason}")
        if not node.honest:
            return
        if node.rolled and isinstance(act, Mute):
            node.muted = reason
            return
        self.fail(f"honest {node.number} halts: {reason}")

    # -- invariants of one node --------------------------------------------------------------------

    def _still_sane(self, node: Node) -> None:
        core = node.core
        if core is None or not node.honest:
            return
        height = core.final.height
        view = (core.committee.epoch, core.seat.view if core.seat is not None else 0)
        if view < node.view or height < node.height:
            self.fail(f"I8: {node.number} went back")
        node.view, node.height = view, height
        if self.events & 127 == 0 and core.seat is not None:
            tallies = sum(1 for s in core.seat.counting.views.values() if any(s.votes.values()))
            if tallies > 2 * VIEW_WINDOW.value + 2:
                self.fail(f"I11: {node.number} keeps {tallies} tallies")

    def standing(self) -> Iterable[Node]:
        """Who must be well at the end."""
        return [node for node in self.honest if not node.dead]
