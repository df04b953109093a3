"""The simulator over the real ledger: real entries, motions and builds, mempools that share, a dict for each disk.

Validators approve every motion that they see, builders build whatever they are drawn for (some lie, some are silent),
and an entry is submitted to one node only: how the others come to hold it is the sharing core's business.

Beside the invariants of `World`: at every block that becomes final somewhere, every honest node has the same state
root, state and leaves at that height, and the tree root is the one of the definition (I6); no reveal stands before its
gate; who gets a seat has executed the log up to the motion that gives it; every request ends.
"""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from pyrsia.consensus.application import BlockRef, Draft, InvalidBlock, Seats, Slot
from pyrsia.errors import Refusal
from pyrsia.keys import verify
from pyrsia.ledger import entries, execute, receipts, sharing, views
from pyrsia.ledger.chain import Chain, ChainHead, Commit
from pyrsia.ledger.genesis import Genesis
from pyrsia.ledger.mempool import Mempool
from pyrsia.ledger.state import View
from pyrsia.units import COMMIT_WINDOW_MS, REVEAL_WINDOW_MS
from pyrsia.wire.blocks import EPOCH_END, Block, Header
from pyrsia.wire.epochs import Validator
from pyrsia.wire.text import b32, unb32
from tests.reference import ledger, merkle
from tests.reference import receipts as oracle
from tests.reference.governance import Governed, member_motion, newcomer, secret
from tests.reference.ledger import keep, key, links_at

from .auditor import Auditor, Broken
from .clocks import WALL_MS
from .plan import Plan
from .world import CALL, DIE, TURNS, Node, World, fake_verify

BOTH = ("builder", "validator")
BUILD_S = (0.02, 0.3)  # how long a simulated build takes
ENDED = ("settled", "cancelled", "closed", "done")

if TYPE_CHECKING:
    from .newcomer import Newcomer

Verify = Callable[[bytes, bytes, bytes], bool]

once = lru_cache(maxsize=50_000)(verify)
link = lru_cache(maxsize=50_000)(links_at)
leaf_hash = lru_cache(maxsize=50_000)(merkle.leaf_hash)


class Book(Governed):
    """A genesis, and the pen for entries of its people; it has a chain of its own that nobody extends."""

    def __init__(self, n: int, people: int) -> None:
        super().__init__(count=people, validators=n, storage=range(people - 1))
        self.chains = {
            ledger.links_end(secret(who, "chain", turn).seed): secret(who, "chain", turn).seed
            for who in range(people)
            for turn in range(TURNS)
        }
        for who in range(people):
            for turn in range(TURNS):
                self.know(who, turn)
        self.votes = {secret(who, "vote", turn).public: who for who in range(people) for turn in range(TURNS)}
        self.ids = [key(who, "node").public for who in range(people)]
        self.numbers = {one: number for number, one in enumerate(self.ids)}

    def begin(self) -> None:
        self.count, self.time = 0, WALL_MS


@lru_cache(maxsize=8)
def book(n: int, people: int) -> Book:
    return Book(n, people)


class Real:
    """A `Chain`, its mempool and its store.

    Attributes:
        running: the node whose rules run now: what a pure rule cannot know, and a mutant asks.
        executed: called after each block.
    """

    running = 0

    def __init__(self, genesis: Genesis, me: int, clock: Callable[[], int], verify: Verify) -> None:
        self.genesis = genesis
        self.verify = verify
        self.me = me
        self.clock = clock
        self.db: dict[bytes, bytes] = {}
        self.leaves: list[bytes] = []
        self.done: set[bytes] = set()
        self.kept: ChainHead | None = None
        self.executed: Callable[[Real, Block], None] = lambda app, block: None
        self.crash()
        self._write(self.inner.genesis_commit())

    def crash(self) -> None:
        Real.running = self.me
        self.pool = Mempool(self.genesis, self.verify)
        self.inner = Chain(
            self.genesis,
            self.db.get,
            verify=self.verify,
            head=self.kept,
            mempool=self.pool,
            invalid=InvalidBlock,
        )
        self.head, self.has_work, self.knows = self.inner.head, self.inner.has_work, self.inner.knows
        self.seats, self.lacks, self._ref = self.inner.seats, self.inner.lacks, self.inner._ref

    @property
    def final(self) -> BlockRef:
        return self.inner.head()  # type: ignore[return-value]

    def build(self, parent: bytes, slot: Slot) -> Draft:
        Real.running = self.me
        return self.inner.build(parent, slot)  # type: ignore[return-value]

    def forge(self, parent: bytes, slot: Slot, rng: random.Random) -> Draft:
        """A liar's block for a slot that has one: executed rightly, at another time, with what entries it likes."""
        waiting = self.pool.ids()
        if waiting and rng.random() < 0.5:
            self.pool.remove([rng.choice(waiting)])
        return self.build(parent, slot)

    def check(self, header: Header, body: tuple[bytes, ...]) -> None:
        Real.running = self.me
        self.inner.check(header, body)

    def submit(self, raw: bytes) -> bool:
        """Straight into the mempool; the world goes by the sharing core instead."""
        return self.pool.add(raw, self.clock(), self.db.get) == sharing.ACCEPTED

    def _write(self, commit: Commit) -> None:
        self.leaves += commit.leaves
        self.kept = commit.head
        keep(self.db, commit.writes, commit.growth)

    def finalize(self, block: Block) -> None:
        Real.running = self.me
        self._write(self.inner.commit(block.hash))
        self.inner.final(block.hash)
        self.done.update(block.body.entries)
        self.executed(self, block)

    def image(self) -> tuple[Any, ...]:
        return dict(self.db), list(self.leaves), set(self.done), self.kept

    def restore(self, image: tuple[Any, ...]) -> None:
        self.db, self.leaves, self.done, self.kept = dict(image[0]), list(image[1]), set(image[2]), image[3]
        self.crash()

    @property
    def state_root(self) -> str:
        return views.state_root(self.db.get)


class Agent:
    """What a node does about the ledger: it shares entries, approves motions, builds and tells.

    Attributes:
        temper: of its builds: honest, lying, silent, one that commits and never reveals ("shy"), or one that has too
            few storage members keep what it reveals ("hoarding").
    """

    def __init__(self, world: "RealWorld", node: Node, temper: str) -> None:
        self.world = world
        self.node = node
        self.temper = temper
        self.reset()

    def reset(self) -> None:
        """A new life: what was in memory is gone."""
        app = self.node.app
        self.sharing = sharing.Sharing(
            app.pool, app.db.get, node=self.world.id_of(self.node.number), validators=self._validators
        )
        self.did: set[tuple[str, ...]] = set()
        self.wake = 0.0

    def _validators(self) -> list[bytes]:
        core = self.node.core
        return [one.node for one in core.committee.validators] if core is not None else []

    def now(self) -> sharing.Now:
        return sharing.Now(*self.world.clock(self.node))

    def run(self, effects: list[sharing.Effect]) -> None:
        world, node = self.world, self.node
        for effect in effects:
            match effect:
                case sharing.Tell(to, data):
                    for one in to:
                        for target in node.targets.get(one, ()):
                            world.network.post(world.now, node.place, target, data)
                case sharing.WakeAt(at_s):
                    self.wake = max(at_s, world.now)
                    world.push(self.wake, CALL, node.place, self._timer(node.life, self.wake))
                case sharing.Work():
                    if node.core is not None:
                        world.do(node, node.core.on_work(world.clock(node)))
                case sharing.Blame(who, what, _):
                    accused = world.nodes[world.number_of(who)]
                    if accused.honest and node.honest:
                        world.fail(
                            f"I10: {node.number} blames honest {accused.number} for what it shares: {what}"
                        )

    def _timer(self, life: int, at: float) -> Callable[[Node], None]:
        def fire(node: Node) -> None:
            if node.life == life and self.wake == at and node.core is not None:
                self.run(self.sharing.on_timer(self.now()))

        return fire

    def submit(self, raw: bytes) -> None:
        """An entry comes here first."""
        if self.node.core is None:
            return
        try:
            _, effects = self.sharing.on_entry(self.now(), raw)
        except Refusal as refusal:
            self.world.refused.append((raw, refusal))
            return
        self.run(effects)

    # -- after each block --

    def look(self) -> None:
        """Do what the log asks of this node."""
        reads, me = self.node.app.db.get, self.world.id_of(self.node.number)
        for motion in views.motions_open(reads):
            record = views.motion(reads, motion)
            if record is not None and ("approve", motion) not in self.did and self._concerns(record, me):
                self.did.add(("approve", motion))
                self._author("motion.approve", {"motion": motion}, 0.001)
        if self.temper == "silent":
            return
        for owed in views.assignments(reads, self.world.genesis, me):
            mark = (owed.owes, owed.request, str(owed.view.round))
            if mark not in self.did and not (owed.owes == "reveal" and self.temper == "shy"):
                self.did.add(mark)
                self._build(owed.owes, owed.request)

    def _concerns(self, record: dict[str, Any], me: bytes) -> bool:
        wanted = record["body"].get("member", {}).get("node", record["body"].get("node", ""))
        return me in self._validators() or wanted == b32(me)

    def _build(self, owes: str, request: str) -> None:
        world = self.world
        told = world.told(self.node.number, request, self.temper == "lying")
        lo, hi = BUILD_S
        later = world.rng_of(self.node).uniform(lo, hi) if owes == "commit" else 0.002
        if owes == "commit":
            mine = world.id_of(self.node.number)
            made = entries.commitment(bytes.fromhex(request), mine, told).hex()
            self._author("build.commit", {"commitment": made, "request": request}, later)
        else:
            self._author("build.reveal", {**told, "receipts": self._receipts(request, told)}, later)

    def _receipts(self, request: str, told: dict[str, Any]) -> list[dict[str, str]]:
        """Of storage members that this node's own state knows: as many domains as are needed, each of one member."""
        world, reads = self.world, self.node.app.db.get
        keepers = receipts.domains(View(reads))
        by_domain = {domain: node for node, domain in sorted(keepers.items())}
        wanted = receipts.needed(keepers, views.current(reads, world.genesis).f)
        chosen = sorted(by_domain.values())[: wanted - (self.temper == "hoarding")]
        asked = views.request(reads, request)
        assert asked is not None
        pens = [key(world.number_of(unb32(node)), "node") for node in chosen]
        return [
            oracle.sign(world, pen, key(self.node.number, "node"), told, asked.request.body) for pen in pens
        ]

    def _author(self, kind: str, body: dict[str, Any], later: float) -> None:
        world, life = self.world, self.node.life

        def send(node: Node) -> None:
            if node.life == life and node.core is not None:
                world.enter(world.write(node.number, kind, body), node)

        world.push(world.now + later, CALL, self.node.place, send)


class RealWorld(World):
    """A network of a real genesis: n validators that build, some members that follow, one that asks for builds.

    Attributes:
        requests: builds that are asked for.
        keys: whether votes are signed with Ed25519, too.
    """

    def __init__(
        self, seed: int, plan: Plan | None = None, *, requests: int = 0, keys: bool = False, **rest: Any
    ) -> None:
        self.requests = requests
        self.keys = keys
        self.outcomes: dict[int, tuple[str, dict[bytes, bytes], list[bytes]]] = {}  # by height
        self.draws: dict[str, dict[str, Any]] = {}
        self.commits: dict[tuple[str, int], set[str]] = {}
        self.proposed: dict[str, int] = {}  # motion -> height
        self.gates = 0
        self.kept = 0  # reveals whose receipts were looked at
        self.newcomer: Newcomer | None = None
        self.dice = random.Random(f"{seed} people")
        self.refused: list[tuple[bytes, Refusal]] = []
        super().__init__(seed, plan, **rest)
        self.agents = {
            node.place: Agent(
                self, node, self.rng.choice(("honest",) * 5 + ("hoarding", "lying", "silent", "shy"))
            )
            for node in self.nodes
        }

    # -- how it is founded --

    def _found(self) -> None:
        self.book = book(self.plan.n, self.plan.n + self.plan.spares + 1)
        self.book.begin()
        self.genesis = self.book.genesis
        self.chain_id, self.origin = self.genesis.chain_id, self.genesis.origin
        self.author = self.plan.n + self.plan.spares
        self.auditor = Auditor(self.chain_id, self.book.seats(), self)

    def _app(self, number: int) -> Any:
        app = Real(self.genesis, number, lambda: WALL_MS + int(self.now * 1000), self.verify)
        app.executed = self._executed
        return app

    def id_of(self, number: int) -> bytes:
        return self.book.ids[number]

    def number_of(self, node: bytes) -> int:
        return self.book.numbers[node]

    def _holds(self, number: int, vote: bytes) -> bool:
        return self.book.votes.get(vote) == number

    def signer(self, vote: bytes) -> Callable[[bytes], bytes]:
        return self.book.vote_keys[vote].sign if self.keys else super().signer(vote)

    def verify(self, key: bytes, text: bytes, sig: bytes) -> bool:
        """Entries are always signed for good; votes only if the run is one with real vote keys."""
        return (
            once(key, text, sig) if self.keys or key not in self.book.votes else fake_verify(key, text, sig)
        )

    def reveal(self, one: Validator, position: int) -> tuple[bytes, bytes] | None:
        return link(self.book.chains[one.chain_end], position), bytes(32)

    def rng_of(self, node: Node) -> random.Random:
        return node.disk.rng

    # -- entries --

    def write(self, number: int, kind: str, body: dict[str, Any]) -> bytes:
        """An entry of a member."""
        self.book.time = WALL_MS + int(self.now * 1000) + self.jumped_ms
        return self.book.entry(key(number, "node"), kind, body)  # type: ignore[no-any-return]

    jumped_ms = 0

    def told(self, number: int, request: str, lies: bool) -> dict[str, Any]:
        """What a builder reveals: the same in every life."""
        self.book.count = 0
        return self.book.reveal(request, f"lie of {number}" if lies else "same")  # type: ignore[no-any-return]

    def _plan_faults(self) -> None:
        super()._plan_faults()
        self.push(self.plan.seconds * 0.8, CALL, 0, lambda _: self._arrive())
        for i in range(self.requests):
            raw, _ = self.book.request(f"1.{i}", author=key(self.author, "node"))
            self.expected.append(raw)
            self._spread(raw, self.rng.uniform(0, self.plan.seconds * 0.6))

    def _arrive(self) -> None:
        """A newcomer asks for the newest state."""
        from .newcomer import Newcomer

        if self.outcomes:
            self.newcomer = Newcomer(self, max(self.outcomes))

    def _submit(self, entry: bytes, at: float) -> None:
        body = {
            "kind": "description",
            "subject": "pkg:pypi/x@1.0",
            "text": entry.decode(),
            "valid_from": WALL_MS,
        }
        raw = self.write(self.author, "fact.add", body)
        self.expected.append(raw)
        self._spread(raw, at)

    def _spread(self, entry: bytes, at: float) -> None:
        """To one validator, which tells the others."""
        self.push(at, CALL, self.honest[0].place, lambda _: self.enter(entry))

    def _entry(self, node: Node, entry: bytes) -> None:
        self.enter(entry, node)

    def enter(self, raw: bytes, node: Node | None = None, tries: int = 12) -> None:
        """Hand an entry to the node itself if it validates, else to some validator; again while the log lacks it."""
        seats = self.auditor.epochs[max(self.auditor.epochs)]
        seated = [self.nodes[self.number_of(one.node)] for one in seats.validators]
        if node is None or node not in seated or tries < 12:
            up = [one for one in seated if one.core is not None and one.honest]
            node = self.dice.choice(up) if up else None
        if node is not None:
            if raw in node.app.done:
                return
            self.agents[node.place].submit(raw)
        if tries:
            self.push(self.now + 2.0, CALL, self.honest[0].place, lambda _: self.enter(raw, node, tries - 1))

    def _plan_death(self, rng: random.Random, i: int) -> None:
        """One validator dies for good, and a member takes its place."""
        one = rng.choice([node for node in self.honest if node.place < self.plan.n and not node.dead])
        at = rng.uniform(0, self.plan.seconds * 0.7)
        if self.faults.on("dead", i):
            one.dead = True
            self.push(at, DIE, one.place)
            spare = newcomer(self.plan.n + i % max(1, self.plan.spares), ("validator",))
            motion = member_motion("member.replace", node=b32(self.id_of(one.number)), member=spare)
            self._spread(self._motion(motion), at + 0.2)

    def _change(self, rng: random.Random, i: int) -> bytes:
        """A motion that changes who validates: a member takes a seat, or a validator gets another vote key."""
        number = rng.choice(self.numbers)
        if self.plan.spares and rng.random() < 0.6:
            number = rng.choice(self.numbers[self.plan.n :])
            return self._motion(
                member_motion("member.replace", node=b32(self.id_of(number)), member=newcomer(number, BOTH))
            )
        number = number % self.plan.n
        vote = newcomer(number, BOTH, 1 + i % (TURNS - 2))["vote"]
        return self._motion(member_motion("member.rotate", node=b32(self.id_of(number)), vote=vote))

    def _motion(self, body: dict[str, Any]) -> bytes:
        return self.write(self.rng.choice(self.numbers[: self.plan.n]), "motion.propose", body)

    def evidence(self, act: Any) -> None:
        """The node that has it writes it into the log."""
        raw = self.write(self.author, "fault.evidence", act.body())
        self._spread(raw, self.now + 0.003)

    # -- messages beside agreement's --

    def hear(self, node: Node, sender: Node, message: Any) -> None:
        if isinstance(message, bytes):
            agent = self.agents[node.place]
            agent.run(agent.sharing.on_message(agent.now(), self.id_of(sender.number), message))
        else:
            super().hear(node, sender, message)

    def _link(self, node: Node, other: int) -> None:
        super()._link(node, other)
        peer = self.nodes[other]
        if node.core is not None and peer.core is not None:
            agent = self.agents[node.place]
            agent.run(agent.sharing.on_link(agent.now(), self.id_of(peer.number), True))

    def _start(self, node: Node) -> None:
        super()._start(node)
        agent = self.agents[node.place]
        agent.reset()
        agent.run(agent.sharing.on_start(agent.now()))
        self.push(self.now, CALL, node.place, lambda _: agent.look())

    # -- what must hold --

    def executed(self, block: Block) -> Seats | None:
        """See `auditor.Oracle`; the seats are the first honest node's own, and every other node must find the same."""
        if block.header.kind != EPOCH_END:
            return None
        return self.delivering.app.seats(block.hash)  # type: ignore[no-any-return]

    def _delivers(self, node: Node, effect: Any) -> None:
        self.delivering = node
        super()._delivers(node, effect)
        if node.honest:
            self.push(self.now, CALL, node.place, lambda node: self.agents[node.place].look())

    def _executed(self, app: Real, block: Block) -> None:
        """I6: one state root, one state and one log at each height, and the tree that the header promised."""
        header = block.header
        if not self.nodes[app.me].honest:
            return
        known = self.outcomes.get(header.height)
        if known is None:
            root = merkle.root([leaf_hash(leaf) for leaf in app.leaves])
            if (len(app.leaves), root) != (header.tree_size, header.tree_root):
                self.fail(f"I6: {app.me} has another tree at height {header.height} than its header")
            before = self.outcomes.get(header.height - 1)
            self._read(header, app.leaves[len(before[2]) if before is not None else 0 :])
            self.outcomes[header.height] = app.state_root, dict(app.db), list(app.leaves)
        elif known != (app.state_root, app.db, app.leaves):
            self.fail(f"I6: {app.me} has another state root, state or log at height {header.height}")

    def _read(self, header: Header, leaves: list[bytes]) -> None:
        """Builds and motions, from the leaves alone."""
        last = 0
        for leaf in leaves:
            entry = entries.parse(leaf)
            body = entry.body
            match entry.kind:
                case "build.draw":
                    self.draws[body["request"]] = body
                case "build.commit":
                    drawn = self.draws[body["request"]]
                    self.commits.setdefault((body["request"], drawn["round"]), set()).add(
                        b32(entry.author or b"")
                    )
                case "build.reveal":
                    self._gate(header, body["request"])
                    self._kept(header, entry, leaves)
                case "motion.propose":
                    self.proposed[entry.id.hex()] = header.height
                case "motion.approve":
                    last = self.proposed[body["motion"]]
        if header.kind == EPOCH_END:
            self._synced(header.epoch, last)

    def _gate(self, header: Header, request: str) -> None:
        """No reveal before its gate: all K committed, or the time for it is over and T did."""
        drawn = self.draws[request]
        commits = len(self.commits.get((request, drawn["round"]), ()))
        late = header.time_ms > drawn["commit_deadline"] and commits >= drawn["agreeing"]
        if commits < len(drawn["builders"]) and not late:
            self.fail(f"G1: a reveal at height {header.height} after {commits} commits")
        self.gates += 1

    def _kept(self, header: Header, entry: entries.Entry, leaves: list[bytes]) -> None:
        """G3: no reveal without receipts of enough failure domains, by the state before its block.

        A block that changes members is left out: who kept blobs when its reveals were looked at is not known here.
        """
        known = self.outcomes.get(header.height - 1)
        if known is None or any(b'"type":"motion.approve"' in leaf for leaf in leaves):
            return
        before = SimpleNamespace(genesis=self.genesis, db=known[1])
        asked = views.request(before.db.get, entry.body["request"])
        if asked is None or not oracle.enough(
            before, b32(entry.author or b""), entry.body, asked.request.body
        ):
            self.fail(f"G3: a reveal at height {header.height} without its receipts")
        self.kept += 1

    def open_requests(self) -> set[str]:
        return {one for node in self.standing() for one in views.requests_open(node.app.db.get)}

    def run(self) -> "RealWorld":
        super().run()
        try:
            self._ends()
            if self.newcomer is not None:
                core = self.newcomer.core
                self.until(self.now + 20.0, lambda: core.finished)
                self.newcomer.check()
            low = min(len(node.app.leaves) for node in self.standing())
            if len({tuple(node.app.leaves[:low]) for node in self.standing()}) != 1:
                self.fail("L3: the logs differ")
        except Broken as error:
            raise Broken(
                f"seed {self.seed} at {self.now:.4f}: {error} [{self.auditor.fingerprint}]"
            ) from error
        return self

    def _synced(self, ended: int, proposed: int) -> None:
        """J1: who is given a seat has executed the log up to the motion that gives it."""
        before = {one.node for one in self.auditor.epochs[ended].validators}
        for one in self.auditor.epochs[ended + 1].validators:
            node = self.nodes[self.number_of(one.node)]
            if one.node not in before and node.app.final.height < proposed:
                self.fail(
                    f"J1: {node.number} has a seat by a motion of height {proposed}, and is at {node.app.final.height}"
                )

    def _ends(self) -> None:
        """Every request ends: with an answer, or because its time is over; clocks are put forward for that."""
        by_ms = COMMIT_WINDOW_MS.value + REVEAL_WINDOW_MS.value + 2_000
        for _ in range(4):
            if not self.open_requests() or self.until(self.now + 3.0, lambda: not self.open_requests()):
                return
            self.jumped_ms += by_ms
            for node in self.nodes:
                node.clock.jump(by_ms)
        self.fail(f"G2: {len(self.open_requests())} requests never end")


# -- mutants of the ledger -------------------------------------------------------------------------

Impurity = Callable[[], int]


def by_half() -> int:
    """Asks which machine it runs on: half of them say the one, half the other."""
    return Real.running % 2


def by_one() -> int:
    """One machine of four has a newer library."""
    return int(Real.running == 3)


def by_luck(seed: int) -> Impurity:
    """Draws lots of its own, once in a while."""
    rng = random.Random(seed)
    return lambda: int(rng.random() < 0.1)


@contextmanager
def impure(rule: Impurity, *, sealed: bool = True) -> Iterator[None]:
    """While it lasts, every block of the real ledger writes to the state what `rule` makes up.

    Args:
        sealed: whether the write is made before the seal, and so covered by state_root.
    """
    honest = execute._Run._sealed

    def mutant(run: execute._Run, *rest: object) -> bytes:
        if sealed:
            run._view.put("impure", rule())
        seal = honest(run, *rest)  # type: ignore[arg-type]
        if not sealed:
            run._view.put("impure", rule())
        return seal

    execute._Run._sealed = mutant  # type: ignore[assignment,method-assign]
    try:
        yield
    finally:
        execute._Run._sealed = honest  # type: ignore[method-assign]


__all__ = ["Real", "RealWorld", "by_half", "by_luck", "by_one", "impure", "unb32"]
