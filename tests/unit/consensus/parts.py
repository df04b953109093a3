"""What the tests of agreement are made of.

`Net`: a few nodes across epochs in one queue, no loss but what a test asks for, and time that jumps. `Rig`: one core of
epoch 0 and what it did, fed with blocks, votes and certificates of four members by hand.
The application (`App`) orders entries; one that begins with `seats` names the numbers of the next epoch's validators.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

from blake3 import blake3

from pyrsia.consensus import catchup
from pyrsia.consensus.application import BlockRef, Draft, InvalidBlock, Slot
from pyrsia.consensus.committee import Committee
from pyrsia.consensus.core import Simplex
from pyrsia.consensus.effects import (
    Act,
    Answer,
    Blame,
    Broadcast,
    Deliver,
    Effect,
    Fault,
    Halt,
    Mute,
    Now,
    Persist,
    Post,
    Send,
    WakeAt,
)
from pyrsia.consensus.epochs import Epochs
from pyrsia.consensus.recovery import Recovered
from pyrsia.consensus.timing import Timing
from pyrsia.wire.blocks import (
    EPOCH_END,
    NORMAL,
    TAIL,
    ZERO,
    Block,
    Body,
    Cert,
    FinalityProof,
    Header,
    Justification,
    Message,
    Proposal,
    Statement,
    Status,
    Vote,
    entries_root,
    notarize,
    nullify,
)
from pyrsia.wire.epochs import Seats, Validator, members_hash

CHAIN_ID = blake3(b"unit").digest()
ORIGIN = "unit/0"
TIMING = Timing(delay_s=0.1, delay_max_s=2.0, heartbeat_s=3.0, fill_s=0.005, asleep_s=5.0)
START = BlockRef(CHAIN_ID, 0, 0, 0, 2, blake3(b"root").digest(), bytes(32))
WALL_MS = 1_800_000_000_000


def node_of(number: int) -> bytes:
    return b"node%028d" % number


def key_of(number: int, turn: int = 0) -> bytes:
    """The vote key of a node, after `turn` rotations."""
    return b"key%024d.%04d" % (number, turn)


def validator(number: int, turn: int = 0) -> Validator:
    return Validator(node_of(number), key_of(number, turn), bytes(32), bytes(32), bytes(32))


def sign(key: bytes, text: bytes) -> bytes:
    return blake3(key + text).digest(64)


def verify(key: bytes, text: bytes, sig: bytes) -> bool:
    return sign(key, text) == sig


def link_of(node: bytes, position: int) -> bytes:
    return blake3(node + b"%d" % position).digest()


def seats_entry(*names: str) -> bytes:
    """An entry that seats these nodes; "3.1" is node 3 with its vote key rotated once."""
    return b"seats " + " ".join(names).encode()


def _seats(epoch: int, entry: bytes) -> Seats:
    """(Bases stay zero: which link is due is the ledger's rule.)"""
    made = []
    for name in entry.decode().split()[1:]:
        number, _, turn = name.partition(".")
        made.append(validator(int(number), int(turn or 0)))
    made.sort(key=lambda one: one.vote)
    return Seats(epoch, tuple(made), frozenset(), (0,) * len(made))


class App:
    """Implements `Application`, with epochs."""

    def __init__(self, seats: Seats) -> None:
        self.final = START
        self.pending: list[bytes] = []
        self.seats_at = {START.hash: seats}
        self.over: dict[bytes, tuple[BlockRef, bytes, tuple[bytes, ...]]] = {}
        self.done: list[bytes] = []
        self.known_below = 1 << 62  # the height from which on it has not the rules

    def head(self) -> BlockRef:
        return self.final

    def knows(self, block_hash: bytes) -> bool:
        return block_hash == self.final.hash or block_hash in self.over

    def seats(self, block_hash: bytes) -> Seats:
        return self.seats_at[block_hash]

    def _ref(self, block_hash: bytes) -> BlockRef:
        return self.final if block_hash == self.final.hash else self.over[block_hash][0]

    def _open(self, block_hash: bytes) -> list[bytes]:
        used: list[bytes] = []
        while block_hash in self.over:
            _, block_hash, entries = self.over[block_hash]
            used += entries
        return [entry for entry in self.pending if entry not in used and entry not in self.done]

    def lacks(self, block_hash: bytes) -> str:
        height = self._ref(block_hash).height + 1
        return "" if height < self.known_below else f"block {height} needs rules of tomorrow"

    def has_work(self, parent: bytes) -> bool:
        return bool(self._open(parent))

    def build(self, parent: bytes, slot: Slot) -> Draft:
        entries: list[bytes] = []
        for entry in self._open(parent):
            entries.append(entry)
            if entry.startswith(b"seats"):
                break
        return self._run(parent, tuple(entries), slot.time_ms, slot.reveal)

    def _run(self, parent: bytes, entries: tuple[bytes, ...], time_ms: int, reveal: bytes) -> Draft:
        at, seats = self._ref(parent), self.seats_at[parent]
        next_members = b""
        if entries and entries[-1].startswith(b"seats"):
            after = _seats(seats.epoch + 1, entries[-1]).validators
            next_members = members_hash(after) if after != seats.validators else b""
        if not entries:
            return Draft(at.height + 1, (), at.tree_size, at.tree_root, at.beacon)
        root = blake3(at.tree_root + b"|".join(entries) + b"%d" % time_ms).digest()
        size = at.tree_size + len(entries) + 1
        return Draft(at.height + 1, entries, size, root, blake3(at.beacon + reveal).digest(), next_members)

    def check(self, header: Header, entries: tuple[bytes, ...]) -> None:
        seats = self.seats_at[header.parent_hash]
        if header.height >= self.known_below:
            raise InvalidBlock("rules of tomorrow")
        if any(entry.startswith(b"seats") for entry in entries[:-1]):
            raise InvalidBlock("something behind the entry that ends the epoch")
        draft = self._run(header.parent_hash, entries, header.time_ms, header.reveal)
        told = header.tree_size, header.tree_root, header.beacon
        if told != (draft.tree_size, draft.tree_root, draft.beacon):
            raise InvalidBlock("another tree")
        if (header.kind == EPOCH_END) != bool(draft.next_members):
            raise InvalidBlock("the wrong kind")
        if draft.next_members and draft.next_members != header.next_members_hash:
            raise InvalidBlock("other next members")
        proposer = seats.validators[header.proposer]
        leaders = len(seats.validators) - len(seats.convicted)
        if header.reveal != link_of(proposer.node, header.view // leaders):
            raise InvalidBlock("the wrong link")
        ref = BlockRef(
            header.hash(), header.height, header.view, header.time_ms, header.tree_size, header.tree_root,
            header.beacon, header.epoch,
        )  # fmt: skip
        self.over[ref.hash] = ref, header.parent_hash, entries
        after = _seats(seats.epoch + 1, entries[-1]) if draft.next_members else seats
        self.seats_at[ref.hash] = after

    def finalize(self, block: Block) -> None:
        self.final = self.over.pop(block.hash)[0]
        self.done += block.body.entries


@dataclass
class Peer:
    """One node: its core, its store, and what it did."""

    number: int
    app: App
    keys: set[bytes]
    core: Epochs | None = None
    links: bool = True
    wal: list[bytes] = field(default_factory=list)
    blocks: dict[int, bytes] = field(default_factory=dict)
    proofs: dict[int, bytes] = field(default_factory=dict)
    proof: FinalityProof | None = None
    wake: float = float("inf")
    acts: list[Act] = field(default_factory=list)

    @property
    def on(self) -> Epochs:
        assert self.core is not None
        return self.core

    def did(self, kind: type[Act]) -> list[Act]:
        return [act for act in self.acts if isinstance(act, kind)]

    def sent(self, kind: type[Message]) -> list[Message]:
        return [act.message for act in self.acts if isinstance(act, Post) and isinstance(act.message, kind)]


class Net:
    """Nodes 0.. up to `nodes`; the first `seated` of them are the validators of epoch 0."""

    def __init__(self, nodes: int = 5, seated: int = 4) -> None:
        self.now = 0.0
        self.seats = Seats(0, tuple(validator(i) for i in range(seated)), frozenset(), (0,) * seated)
        self.peers = [Peer(i, App(self.seats), {key_of(i, turn) for turn in range(3)}) for i in range(nodes)]
        self.queue: list[tuple[int, int, Message]] = []
        self.lost: Callable[[int, int, Message], bool] = lambda sender, to, message: False

    def __getitem__(self, number: int) -> Peer:
        return self.peers[number]

    @property
    def clock(self) -> Now:
        return Now(self.now, WALL_MS + int(self.now * 1000))

    def start(self, *numbers: int) -> None:
        """Start nodes (all, if none is named), and link them with all that run."""
        started = [self.peers[i] for i in numbers] or self.peers
        for peer in started:
            peer.core = Epochs(
                peer.app,
                CHAIN_ID,
                ORIGIN,
                node=node_of(peer.number),
                sign=lambda key, peer=peer: (lambda text: sign(key, text)) if key in peer.keys else None,
                verify=verify,
                reveal=lambda who, at, peer=peer: (link_of(who.node, at), ZERO) if peer.links else None,
                timing=TIMING,
                recovered=Recovered(tuple(peer.wal), peer.proof),
            )
            self.do(peer, peer.core.on_start(self.clock))
        for peer in started:
            for other in self.peers:
                if other is not peer and other.core is not None:
                    self.do(peer, peer.on.on_peer(self.clock, node_of(other.number)))
                    self.do(other, other.on.on_peer(self.clock, node_of(peer.number)))

    def stop(self, *numbers: int) -> None:
        """Like a power cut: what is not final, or in the record, is gone."""
        for number in numbers:
            peer = self.peers[number]
            peer.core = None
            peer.wake = float("inf")
            peer.app.over.clear()
            peer.acts.clear()

    def submit(self, *entries: bytes) -> None:
        for peer in self.peers:
            peer.app.pending += entries
            if peer.core is not None:
                self.do(peer, peer.core.on_work(self.clock))

    def do(self, peer: Peer, acts: Iterable[Act]) -> None:
        for act in acts:
            peer.acts.append(act)
            match act:
                case Post(to, message):
                    for other in self.peers:
                        wanted = to is None or node_of(other.number) in to
                        if wanted and other is not peer:
                            self.queue.append((peer.number, other.number, message))
                case Answer(to, first, last):
                    answer = catchup.serve(first, last, peer.blocks.get, peer.proofs.get)
                    number = next(p.number for p in self.peers if node_of(p.number) == to)
                    if answer is not None:
                        self.queue.append((peer.number, number, answer))
                case Persist(record):
                    peer.wal.append(record)
                case Deliver(blocks, proof):
                    for block in blocks:
                        peer.app.finalize(block)
                        peer.blocks[block.header.height] = block.encode()
                    peer.proofs[blocks[-1].header.height] = proof.encode()
                    peer.proof = proof
                case WakeAt(at_s):
                    peer.wake = at_s
                case Blame() | Fault() | Halt():
                    raise AssertionError(f"{peer.number} of honest nodes: {act}")
                case Mute():
                    pass

    def settle(self) -> None:
        """Deliver what is on its way, and what that brings, at this very moment."""
        while self.queue:
            sender, to, message = self.queue.pop(0)
            other = self.peers[to]
            if other.core is not None and self.peers[sender].core is not None:
                if not self.lost(sender, to, message):
                    self.do(other, other.core.on_message(self.clock, node_of(sender), message))

    def run(self, until: Callable[[], bool], seconds: float = 60.0) -> bool:
        """Let time pass until something holds; False if it does not within so many seconds."""
        end = self.now + seconds
        self.settle()
        while not until():
            wake = min(peer.wake for peer in self.peers)
            if wake > end:
                return False
            self.now = max(self.now, wake)
            for peer in self.peers:
                if peer.core is not None and peer.wake <= self.now:
                    peer.wake = float("inf")
                    self.do(peer, peer.core.on_timer(self.clock))
            self.settle()
        return True

    def heights(self, *numbers: int) -> list[int]:
        return [self.peers[i].app.final.height for i in numbers or range(len(self.peers))]

    def epochs(self, *numbers: int) -> list[int]:
        return [self.peers[i].on.committee.epoch for i in numbers or range(len(self.peers))]


# -- one core ---------------------------------------------------------------------------------------

N = 4
SEATS = Seats(0, tuple(validator(i) for i in range(N)), frozenset(), (0,) * N)
COMMITTEE = Committee(SEATS, CHAIN_ID, ORIGIN)


def at(seconds: float) -> Now:
    return Now(seconds, WALL_MS + int(seconds * 1000))


def vote(member: int, said: Statement) -> Vote:
    return Vote(said, member, sign(COMMITTEE.keys[member], COMMITTEE.text(said)))


def cert(said: Statement, members: tuple[int, ...] = (0, 1, 2)) -> Cert:
    return Cert(said, N, members, tuple(vote(i, said).sig for i in members))


def not_leader(*views: int) -> int:
    """A member that leads none of these views."""
    return next(i for i in range(N) if i not in {COMMITTEE.leader(v) for v in views})


def justification(view: int, parent: Block | None) -> Justification:
    first = 1 if parent is None else parent.header.view + 1
    gap = tuple(cert(nullify(0, v)) for v in range(first, view))
    return Justification(cert(notarize(parent.header)) if parent is not None else None, gap)


def block(
    view: int,
    parent: Block | None = None,
    just: Justification | None = None,
    nudge: int = 0,
    entries: tuple[bytes, ...] | None = None,
) -> Block:
    """A good block of this view's leader. `nudge`: makes another one, that many ms later."""
    app = App(SEATS)
    above = START
    if parent is not None:
        h = parent.header
        above = BlockRef(h.hash(), h.height, h.view, h.time_ms, h.tree_size, h.tree_root, h.beacon)
        app.final = above
        app.seats_at[above.hash] = SEATS
    just = justification(view, parent) if just is None else just
    leader = COMMITTEE.leader(view)
    reveal = link_of(node_of(leader), COMMITTEE.position(leader, view))
    time_ms = WALL_MS + view + nudge
    entries = (b"entry of %d %d" % (view, nudge),) if entries is None else entries
    draft = app._run(above.hash, entries, time_ms, reveal)
    ends = bool(draft.next_members)
    header = Header(
        CHAIN_ID, 0, view, draft.height, above.hash, above.view, leader, time_ms, EPOCH_END if ends else NORMAL,
        len(entries), entries_root(entries), draft.tree_size, draft.tree_root, COMMITTEE.members_hash,
        draft.next_members if ends else COMMITTEE.members_hash, just.hash(), reveal, draft.beacon, ZERO,
    )  # fmt: skip
    return Block(header, Body(entries, just))


def tail(view: int, end: Block, below: Block, **changes: object) -> Block:
    """A tail of `end`, with the certificate of `below`: `end` itself or another tail."""
    gap = tuple(cert(nullify(0, v)) for v in range(below.header.view + 1, view))
    just = Justification(cert(notarize(below.header)), gap)
    h = end.header
    fields = {
        "view": view,
        "parent_hash": end.hash,
        "parent_view": below.header.view,
        "proposer": COMMITTEE.leader(view),
        "time_ms": h.time_ms + view,
        "kind": TAIL,
        "n_entries": 0,
        "entries_root": entries_root(()),
        "next_members_hash": COMMITTEE.members_hash,
        "just_hash": just.hash(),
        "reveal": ZERO,
        **changes,
    }
    return Block(replace(h, **fields), Body((), just))  # type: ignore[arg-type]


def proposal(made: Block) -> Proposal:
    return Proposal(made, vote(made.header.proposer, notarize(made.header)))


class Rig:
    """A core that may vote (q-1 members answered), and what it did."""

    def __init__(
        self,
        me: int,
        app: App | None = None,
        recovered: Recovered | None = None,
        held: Vote | None = None,
        links: bool = True,
        gate: bool = True,
        stopped: bool = False,
    ):
        """`gate`: whether others answer the question what they hold. `stopped`: its key must not vote."""
        self.me = me
        self.app = app or App(SEATS)
        self.core = Simplex(
            COMMITTEE,
            me,
            self.app,
            sign=lambda text: sign(COMMITTEE.keys[me], text),
            verify=verify,
            reveal=lambda at: (link_of(node_of(me), at), ZERO) if links else None,
            timing=TIMING,
            recovered=recovered,
            stopped=stopped,
        )
        self.out: list[Effect] = self.core.on_start(at(0))
        self.ask = self.core.gate.ask
        if gate:
            self.answer(held)

    @property
    def others(self) -> list[int]:
        return [i for i in range(N) if i != self.me]

    def answer(self, held: Vote | None = None, seconds: float = 0.01) -> None:
        """Two members tell what they hold of our votes."""
        for other in self.others[:2]:
            self.hear(other, Status(0, 1, 0, START.hash, (), held, 0, self.ask), seconds)

    def hear(self, sender: int, message: Message, seconds: float = 0.01) -> list[Effect]:
        out = self.core.on_message(at(seconds), sender, message)
        self.out += out
        return out

    def certify(self, said: Statement, seconds: float = 0.01) -> list[Effect]:
        """Somebody sends a certificate."""
        return self.hear(self.others[0], cert(said), seconds)

    def propose(self, made: Block, seconds: float = 0.01) -> list[Effect]:
        return self.hear(made.header.proposer, proposal(made), seconds)

    def timer(self, seconds: float) -> list[Effect]:
        out = self.core.on_timer(at(seconds))
        self.out += out
        return out

    def sent(self, kind: type[Message]) -> list[Message]:
        return [
            e.message for e in self.out if isinstance(e, Broadcast | Send) and isinstance(e.message, kind)
        ]

    def votes(self, kind: int | None = None) -> list[Statement]:
        """What it said to all, each once."""
        sent = [e.message for e in self.out if isinstance(e, Broadcast)]
        votes = [m.vote if isinstance(m, Proposal) else m for m in sent if isinstance(m, Vote | Proposal)]
        return list(dict.fromkeys(v.said for v in votes if kind in (None, v.kind)))
