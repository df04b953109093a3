"""A whole network in one heap: cores, their disks, an application, catch-up, and everything that goes wrong.

One seeded generator decides all. Signatures are hashes that only their owner computes here. Invariants are
checked from what was sent and delivered, never with the code under test.

Source: docs/agreement.md, "How it is tested".
"""

import gc
import heapq
import random
import struct
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from hashlib import blake2b

from blake3 import blake3

from pyrsia.consensus import catchup
from pyrsia.consensus.application import Slot
from pyrsia.consensus.committee import Committee
from pyrsia.consensus.core import Simplex
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
from pyrsia.consensus.timing import Timing
from pyrsia.units import VIEW_WINDOW
from pyrsia.wire.blocks import (
    FIN,
    NOT,
    NUL,
    Block,
    Body,
    Cert,
    Justification,
    Message,
    Proposal,
    Vote,
    entries_root,
    finalize,
    notarize,
    nullify,
)

from .toy import GENESIS, Toy, execute, reveal_of, seats_of

CHAIN_ID = blake3(b"simulated").digest()
WALL_MS = 1_800_000_000_000
TIMING = Timing(delay_s=0.05, delay_max_s=2.0, heartbeat_s=1.0, fill_s=0.005, asleep_s=2.0)

HASTY = replace(TIMING, fill_s=0.0, heartbeat_s=0.0)  # a villain waits for nothing


class Broken(AssertionError):
    """An invariant does not hold; the text names it and the seed."""


def fake_sign(key: bytes, text: bytes) -> bytes:
    return blake3(key + text).digest(64)


def fake_verify(key: bytes, text: bytes, sig: bytes) -> bool:
    return blake3(key + text).digest(64) == sig


@dataclass
class Plan:
    """What one run does to its network."""

    n: int = 4
    byzantine: int = 0
    seconds: float = 2.5
    drop: float = 0.0
    duplicate: float = 0.03
    delay_s: float = 0.008
    crashes: int = 0
    partitions: int = 0
    entries: int = 12
    slow_disk: float = 0.02
    skew_ms: int = 300
    lose_sync: bool = False  # mutant: sends before the sync
    impure: bool = False  # mutant: a ledger rule that is no function of the log
    core: type[Simplex] = Simplex

    @classmethod
    def random(cls, rng: random.Random, **fixed: object) -> "Plan":
        plan = cls(
            byzantine=rng.choice((0, 1)),
            drop=rng.choice((0.0, 0.0, 0.02, 0.1, 0.2)),
            delay_s=rng.choice((0.002, 0.008, 0.02)),
            crashes=rng.choice((0, 0, 1, 2, 4)),
            partitions=rng.choice((0, 0, 1, 2)),
            skew_ms=rng.choice((0, 300, 5_000)),
        )
        return replace(plan, **fixed)  # type: ignore[arg-type]


@dataclass
class Node:
    number: int
    app: Toy
    skew_ms: int
    core: Epochs | None = None
    life: int = 0
    wal: list[bytes] = field(default_factory=list)  # synced
    loose: list[bytes] = field(default_factory=list)  # written, not synced
    durable: set[bytes] = field(default_factory=set)
    waiting: list[list[Act]] = field(default_factory=list)  # turns behind an open sync
    sent: dict[int, dict[int, bytes]] = field(default_factory=dict)  # view -> kind -> hash, over all lives
    blocks: dict[int, bytes] = field(default_factory=dict)
    proofs: dict[int, bytes] = field(default_factory=dict)
    proof: object = None
    view: int = 0
    height: int = 0
    wake: float = 0.0
    villain: "Villain | None" = None


class World:
    """One run."""

    def __init__(self, seed: int, plan: Plan | None = None) -> None:
        self.seed = seed
        self.rng = random.Random(seed)
        self.plan = plan or Plan.random(self.rng)
        n = self.plan.n
        self.committee = Committee(seats_of(n), CHAIN_ID, "simulated/0")
        self.heap: list[tuple[float, int, int, int, object]] = []
        self.seq = 0
        self.now = 0.0
        self.events = 0
        self.messages = 0
        self.healed = False
        self.blocked: set[tuple[int, int]] = set()
        self.audit = blake2b(digest_size=16)
        self.final: dict[int, Block] = {}
        self.roots: dict[int, tuple[int, bytes, bytes]] = {}
        self.entry_at: dict[bytes, int] = {}
        self.said: dict[tuple[int, int, bytes], set[int]] = {}
        self.quorums: dict[int, dict[int, bytes]] = {}
        self.accused: list[Blame] = []
        self.expected: list[bytes] = []
        skews = [
            self.rng.randint(-self.plan.skew_ms, self.plan.skew_ms) // (1 if i == 0 else 10) for i in range(n)
        ]
        self.nodes = [Node(i, Toy(self.plan.impure, i, n), skews[i]) for i in range(n)]
        for i in self.rng.sample(range(n), self.plan.byzantine):
            self.nodes[i].villain = Villain(self, self.nodes[i])
        self.honest = [node for node in self.nodes if node.villain is None]

    # -- running -----------------------------------------------------------------------------------

    def push(self, at: float, kind: int, node: int, payload: object) -> None:
        self.seq += 1
        heapq.heappush(self.heap, (at, self.seq, kind, node, payload))

    def run(self) -> "World":
        """Faults, then healing, then the end checks.

        Raises:
            Broken: with the seed, the moment and the auditor's hash.
        """
        collecting = gc.isenabled()
        gc.disable()
        try:
            self._plan_faults()
            for node in self.nodes:
                self._start(node)
            self._until(self.plan.seconds, lambda: False)
            self._heal()
        except (KeyError, ValueError, AttributeError, TypeError, IndexError, RecursionError) as error:
            raise Broken(f"seed {self.seed} at {self.now:.4f}: a part raised {error!r}") from error
        finally:
            if collecting:
                gc.enable()
        return self

    def fail(self, text: str) -> None:
        raise Broken(f"seed {self.seed} at {self.now:.4f}: {text} [{self.audit.hexdigest()}] {self.plan}")

    def _plan_faults(self) -> None:
        rng, plan = self.rng, self.plan
        for _ in range(plan.crashes):
            at, node = rng.uniform(0, plan.seconds), rng.choice(self.honest).number
            everybody = rng.random() < 0.15
            down_s = rng.uniform(0.02, 1.0)
            for number in [h.number for h in self.honest] if everybody else [node]:
                self.push(at, CRASH, number, down_s)
        for _ in range(plan.partitions):
            at, length = rng.uniform(0, plan.seconds), rng.uniform(0.1, 1.5)
            side = set(rng.sample(range(plan.n), rng.randint(1, plan.n - 1)))
            one_way = rng.random() < 0.4
            cut = {(a, b) for a in range(plan.n) for b in range(plan.n) if a in side and b not in side}
            if not one_way:
                cut |= {(b, a) for a, b in cut}
            self.push(at, CUT, 0, cut)
            self.push(at + length, MEND, 0, cut)
        for i in range(plan.entries):
            self._submit(b"entry %d" % i, rng.uniform(0, plan.seconds))

    def _submit(self, entry: bytes, at: float) -> None:
        self.expected.append(entry)
        for node in self.nodes:
            late = self.rng.expovariate(1 / 0.005) if self.rng.random() < 0.9 else self.rng.uniform(0, 1)
            self.push(at + (late if node.number else 0.0), ENTRY, node.number, entry)

    def _until(self, end: float, done: Callable[[], bool]) -> bool:
        heap, update = self.heap, self.audit.update
        while heap and heap[0][0] <= end:
            at, _, kind, number, payload = heapq.heappop(heap)
            self.now = at
            self.events += 1
            update(_STEP.pack(at, kind, number))
            node = self.nodes[number]
            if kind == MESSAGE:
                sender, message = payload  # type: ignore[misc]
                if node.core is not None:
                    self._do(node, node.core.on_message(self.clock(node), self.id_of(sender), message))
            elif kind == WAKE:
                if node.core is not None and payload == (node.life, node.wake):
                    self._do(node, node.core.on_timer(self.clock(node)))
            elif kind == SYNC:
                if payload == node.life and node.core is not None:
                    self._synced(node)
            elif kind == ENTRY:
                self._entry(node, payload)  # type: ignore[arg-type]
            elif kind == CRASH:
                self._crash(node, payload)  # type: ignore[arg-type]
            elif kind == RESTART:
                if node.core is None:
                    self._start(node)
            elif kind == CUT:
                if not self.healed:
                    self.blocked |= payload  # type: ignore[operator]
            else:
                self.blocked -= payload  # type: ignore[operator]
            if node.core is not None and node.villain is None:
                self._step(node)
            if done():
                return True
        self.now = end
        return False

    def reveal(self, member: int, position: int) -> bytes:
        return reveal_of(member, position)

    def id_of(self, member: int) -> bytes:
        """A validator's node id."""
        return self.committee.validators[member].node

    def clock(self, node: Node) -> Now:
        return Now(self.now, WALL_MS + node.skew_ms + int(self.now * 1000))

    def _start(self, node: Node) -> None:
        node.life += 1
        node.view, node.height = 0, node.app.final.height
        key = self.committee.keys[node.number]
        node.core = Epochs(
            node.app,
            self.committee.chain_id,
            self.committee.origin,
            node=self.id_of(node.number),
            sign=lambda _: lambda text: fake_sign(key, text),
            verify=fake_verify,
            reveal=lambda _, position: (self.reveal(node.number, position), bytes(32)),
            timing=TIMING if node.villain is None else HASTY,
            recovered=Recovered(tuple(node.wal), node.proof),  # type: ignore[arg-type]
            voter=self.plan.core,
        )
        self._do(node, node.core.on_start(self.clock(node)))

    def _crash(self, node: Node, down_s: float) -> None:
        if node.core is None or self.healed:
            return
        node.core = None
        written = node.loose + [e.record for turn in node.waiting for e in turn if isinstance(e, Persist)]
        node.wal += written[: self.rng.randint(0, len(written))]  # a torn tail: any prefix may have survived
        node.durable.update(node.wal)
        node.loose, node.waiting = [], []
        node.app.crash()
        self.push(self.now + down_s, RESTART, node.number, None)

    def _entry(self, node: Node, entry: bytes) -> None:
        if node.core is not None and entry not in node.app.done:
            node.app.pending[entry] = None
            self._do(node, node.core.on_work(self.clock(node)))

    # -- effects -----------------------------------------------------------------------------------

    def _do(self, node: Node, effects: list[Act]) -> None:
        """Run a turn; from its first record that needs a sync, the rest waits for the disk."""
        if node.villain is not None:
            effects = node.villain.twist(effects)
        if self.plan.lose_sync:
            early = [e for e in effects if isinstance(e, Post)]
            effects = [e for e in effects if not isinstance(e, Post)]
            for effect in early:
                self._effect(node, effect)
        for i, effect in enumerate(effects):
            wait = node.waiting or (isinstance(effect, Persist) and not effect.lazy)
            if wait and not isinstance(effect, WakeAt):
                node.waiting.append([e for e in effects[i:] if not isinstance(e, WakeAt)])
                for alarm in effects[i:]:
                    if isinstance(alarm, WakeAt):
                        self._effect(node, alarm)
                slow = self.rng.random() < self.plan.slow_disk and not self.healed
                self.push(
                    self.now + (0.2 if slow else self.rng.uniform(0.0002, 0.003)),
                    SYNC,
                    node.number,
                    node.life,
                )
                return
            self._effect(node, effect)

    def _synced(self, node: Node) -> None:
        """One fdatasync covers everything written so far: all open turns go on, in order."""
        turns, node.waiting = node.waiting, []
        records = node.loose + [e.record for turn in turns for e in turn if isinstance(e, Persist)]
        node.wal += records
        node.durable.update(records)
        node.loose = []
        for turn in turns:
            for effect in turn:
                if not isinstance(effect, Persist):
                    self._effect(node, effect)

    def _effect(self, node: Node, effect: Act) -> None:
        if isinstance(effect, Post):
            self._sent(node, effect.message)
            places = self.committee.places
            for to in range(self.plan.n) if effect.to is None else [places[one] for one in effect.to]:
                if to != node.number:
                    self.post(node.number, to, effect.message)
        elif isinstance(effect, WakeAt):
            node.wake = max(effect.at_s, self.now)
            self.push(node.wake, WAKE, node.number, (node.life, node.wake))
        elif isinstance(effect, Persist):
            node.loose.append(effect.record)
        elif isinstance(effect, Deliver):
            self._delivered(node, effect)
        elif isinstance(effect, Answer):
            answer = catchup.serve(effect.first, effect.last, node.blocks.get, node.proofs.get)
            if answer is not None:
                self.post(node.number, self.committee.places[effect.to], answer)
        elif isinstance(effect, Blame | Fault):
            number = self.committee.places[effect.node]
            if isinstance(effect, Blame):
                self.accused.append(effect)
            if self.nodes[number].villain is None:
                self.fail(f"I10: {node.number} accuses honest {number}: {effect}")
        elif isinstance(effect, Halt | Mute) and node.villain is None:
            self.fail(f"honest {node.number} halts: {effect.reason}")

    def post(self, sender: int, to: int, message: Message) -> None:
        self.messages += 1
        rng, plan = self.rng, self.plan
        if not self.healed:
            if (sender, to) in self.blocked or (plan.drop and rng.random() < plan.drop):
                return
            delay = rng.expovariate(1 / plan.delay_s)
            if self.nodes[sender].villain is not None and rng.random() < 0.7:
                delay /= 20  # whoever attacks has the better link
            elif rng.random() < 0.02:
                delay += rng.uniform(0, 1)
            if rng.random() < plan.duplicate:
                self.push(self.now + 3 * delay, MESSAGE, to, (sender, message))
        else:
            delay = rng.uniform(0.001, 0.004)
        self.push(self.now + delay, MESSAGE, to, (sender, message))

    # -- invariants --------------------------------------------------------------------------------

    def _sent(self, node: Node, message: Message) -> None:
        vote = (
            message if isinstance(message, Vote) else message.vote if isinstance(message, Proposal) else None
        )
        if vote is None or vote.signer != node.number:
            return
        said = vote.said
        self.note_signed(vote)
        if node.villain is not None:
            return
        if b"\x01" + vote.encode() not in node.durable:
            self.fail(f"I8: {node.number} sent a vote that is not on its disk: {said}")
        mine = node.sent.setdefault(said.view, {})
        before = mine.setdefault(said.kind, said.block_hash)
        if before != said.block_hash:
            self.fail(f"I1/I2: {node.number} voted twice in view {said.view}, kind {said.kind}")
        if NUL in mine and FIN in mine:
            self.fail(f"I2: {node.number} sent NUL and FIN of view {said.view}")
        if NOT in mine and FIN in mine and mine[NOT] != mine[FIN]:
            self.fail(f"I2: {node.number} sent NOT and FIN of two blocks of view {said.view}")

    def note_signed(self, vote: Vote) -> None:
        """I5, from the set of all signatures that were ever sent."""
        said = vote.said
        signers = self.said.setdefault((said.view, said.kind, said.block_hash), set())
        signers.add(vote.signer)
        if len(signers) >= self.committee.q:
            quorum = self.quorums.setdefault(said.view, {})
            if quorum.setdefault(said.kind, said.block_hash) != said.block_hash:
                self.fail(f"I5: two quorums of kind {said.kind} in view {said.view}")
            if NUL in quorum and FIN in quorum:
                self.fail(f"I5: view {said.view} was finalized and given up")

    def _delivered(self, node: Node, effect: Deliver) -> None:
        for block in effect.blocks:
            header = block.header
            if header.height != node.app.final.height + 1 or header.parent_hash != node.app.final.hash:
                self.fail(f"I4: {node.number} delivers height {header.height} on {node.app.final.height}")
            if node.villain is None:
                self._agreed(block)
            node.app.finalize(block)
            node.blocks[header.height] = block.encode()
        node.proofs[node.app.final.height] = effect.proof.encode()
        node.proof = effect.proof
        floor = (0, node.app.final.view)
        node.wal = [r for r in node.wal if _place(r) > floor]

    def _agreed(self, block: Block) -> None:
        header = block.header
        known = self.final.setdefault(header.height, block)
        if known.hash != block.hash:
            self.fail(f"I3: two final blocks at height {header.height}")
        if header.height in self.roots:
            return
        parent = self.final[header.height - 1].header if header.height > 1 else None
        at = GENESIS
        if parent is not None:
            size, root, beacon = self.roots[header.height - 1]
            at = replace(GENESIS, tree_size=size, tree_root=root, beacon=beacon)
        naive = execute(at, block.body.entries, header.time_ms, header.reveal)
        self.roots[header.height] = naive
        if naive != (header.tree_size, header.tree_root, header.beacon):
            self.fail(f"I6: wrong root at height {header.height}")
        for entry in block.body.entries:
            if self.entry_at.setdefault(entry, header.height) != header.height:
                self.fail(f"I7: {entry!r} is in two blocks")

    def _step(self, node: Node) -> None:
        core = node.core
        if core is None or core.seat is None:
            return
        if core.seat.view < node.view or core.final.height < node.height:
            self.fail(f"I8: {node.number} went back")
        node.view = core.seat.view
        node.height = core.final.height
        if self.events & 127 == 0 and core.seat is not None:
            tallies = sum(1 for s in core.seat._views.values() if any(s.votes.values()))
            if tallies > 2 * VIEW_WINDOW.value + 2:
                self.fail(f"I11: {node.number} keeps {tallies} tallies")

    # -- the end -----------------------------------------------------------------------------------

    def _heal(self) -> None:
        self.healed = True
        self.blocked.clear()
        for node in self.nodes:
            node.skew_ms = 0
            if node.core is None:
                self._start(node)
        for entry in self.expected:
            for node in self.honest:
                self.push(self.now + 0.01, ENTRY, node.number, entry)
        for i in range(4):
            self._submit(b"late %d" % i, self.now + 0.1 + 0.2 * i)
        start = max((node.app.final.height for node in self.honest), default=0)

        def well() -> bool:
            low = min(node.app.final.height for node in self.honest)
            return low >= start + 5 and all(
                len(node.app.done) >= len(self.expected) and node.app.done.issuperset(self.expected)
                for node in self.honest
            )

        begun = self.now
        if not self._until(self.now + 60.0, well):
            heights = [
                (n.app.final.height, n.core.seat.view if n.core and n.core.seat else None, len(n.app.done))
                for n in self.honest
            ]
            self.fail(f"L1/L2/L5: 60 s after healing from height {start}: {heights} of {len(self.expected)}")
        self.heal_s = self.now - begun
        for node in self.honest:  # L2
            if not node.app.done.issuperset(self.expected):
                self.fail(f"L2: {node.number} lacks entries")
        for height in range(1, min(node.app.final.height for node in self.honest) + 1):  # L3
            if len({node.blocks[height] for node in self.honest}) != 1:
                self.fail(f"L3: stores differ at height {height}")


MESSAGE, WAKE, SYNC, ENTRY, CRASH, RESTART, CUT, MEND = range(8)
_STEP = struct.Struct(">dBB")


def _place(record: bytes) -> tuple[int, int]:
    """(epoch, view) of a record, read from its fixed places: the test's own reading."""
    at = 1 + 32 if record[0] == 2 else 2
    return struct.unpack_from(">QQ", record, at)  # type: ignore[return-value]


class Villain:
    """A validator that holds its key and keeps no rule: it equivocates, votes for everything, withholds."""

    def __init__(self, world: World, node: Node) -> None:
        self.world = world
        self.node = node
        self.habits = world.rng.sample(("equivocate", "stale", "votes", "withhold", "silent"), 2)
        self.equivocated = 0  # slots of its own for which it sent two blocks

    def twist(self, effects: list[Act]) -> list[Act]:
        rng = self.world.rng
        if "silent" in self.habits and rng.random() < 0.1:
            return [e for e in effects if isinstance(e, WakeAt | Deliver)]
        out: list[Act] = []
        for effect in effects:
            message = effect.message if isinstance(effect, Post) and _to_many(effect) else None
            if isinstance(message, Proposal) and message.block.header.proposer == self.node.number:
                out += self._propose(message)
            elif isinstance(message, Vote) and "votes" in self.habits:
                out += [effect, *self._everything(message)]
            elif isinstance(message, Cert) and "withhold" in self.habits:
                out += [self._post(to, message) for to in self._some(1)]
            else:
                out.append(effect)
        return out

    def _post(self, to: int, message: Message) -> Post:
        return Post((self.world.id_of(to),), message)

    def _some(self, least: int) -> list[int]:
        others = [i for i in range(self.world.plan.n) if i != self.node.number]
        return self.world.rng.sample(others, self.world.rng.randint(least, len(others)))

    def _vote(self, said: object) -> Vote:
        committee = self.world.committee
        sig = fake_sign(committee.keys[self.node.number], committee.text(said))  # type: ignore[arg-type]
        return Vote(said, self.node.number, sig)  # type: ignore[arg-type]

    def _everything(self, vote: Vote) -> list[Act]:
        """NOT, NUL and FIN of the view, each to whom it may hurt."""
        out: list[Act] = [self._post(to, self._vote(nullify(0, vote.view))) for to in self._some(0)]
        core = self.node.core.seat if self.node.core is not None else None
        for block in list(core.tree.blocks.values()) if core is not None else []:
            if block.header.view == vote.view:
                for said in (notarize(block.header), finalize(block.header)):
                    out += [self._post(to, self._vote(said)) for to in self._some(0)]
        return out

    def _propose(self, honest: Proposal) -> list[Act]:
        out: list[Act] = []
        if "withhold" in self.habits:
            out += [self._post(to, honest) for to in self._some(1)]
        else:
            out.append(Post(None, honest))
        if "stale" in self.habits or "equivocate" in self.habits:
            other = self._forge(honest.block, stale="stale" in self.habits)
            if other is not None:
                self.equivocated += 1
                vote = self._vote(notarize(other.header))
                fin = self._vote(finalize(other.header))
                sides = self._some(1)
                out = [
                    e for e in out if not ("stale" in self.habits and isinstance(e, Post) and e.to is None)
                ] or []
                out += [self._post(to, Proposal(other, vote)) for to in sides]
                out += [self._post(to, fin) for to in sides]
                out += [self._post(to, vote) for to in self._some(0)]
        return out

    def _forge(self, block: Block, stale: bool) -> Block | None:
        """Another block for the same view: a later time, or an older parent without the gap's certificates."""
        core = self.node.core.seat if self.node.core is not None else None
        if core is None:
            return None
        header = block.header
        parent_cert, gap = block.body.justification.parent_cert, block.body.justification.gap
        try:
            at = self.node.app._ref(header.parent_hash)
        except KeyError:
            return None
        if stale:
            certs = [s.block_cert() for v, s in sorted(core._views.items()) if v < header.parent_view]
            if core._floor_cert is not None and core._floor_cert.view < header.parent_view:
                certs.append(core._floor_cert)
            known = [c for c in certs if c is not None and self._knows(c.said.block_hash)]
            if not known:
                return None
            parent_cert = self.world.rng.choice(known)
            at = self.node.app._ref(parent_cert.said.block_hash)
            gap = ()
        slot = Slot(0, header.view, header.proposer, max(header.time_ms, at.time_ms) + 1, header.reveal)
        draft = self.node.app.forge(at.hash, slot, self.world.rng)
        just = Justification(parent_cert, gap)
        forged = replace(
            header,
            parent_hash=at.hash,
            parent_view=at.view,
            height=at.height + 1,
            time_ms=slot.time_ms,
            n_entries=len(draft.entries),
            entries_root=entries_root(draft.entries),
            tree_size=draft.tree_size,
            tree_root=draft.tree_root,
            beacon=draft.beacon,
            just_hash=just.hash(),
        )
        return Block(forged, Body(draft.entries, just))

    def _knows(self, block_hash: bytes) -> bool:
        return self.node.app.knows(block_hash) or block_hash == self.node.app.final.hash


def _to_many(post: Post) -> bool:
    return post.to is None or len(post.to) > 1
