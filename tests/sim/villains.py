"""Validators that hold their key and keep no rule.

A villain runs a correct core with no patience and twists what it says. Each habit is one way to lie; a villain has a
few. What it does is a named decision (`faults`), so that a run can be shrunk to the lies that matter.

`Twins` need no code: two correct copies of one node, each heard by a part of the others (see `World`).
"""

import random
import struct
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pyrsia.consensus.application import Slot
from pyrsia.consensus.effects import Act, Answer, Deliver, Persist, Post, WakeAt
from pyrsia.errors import Malformed
from pyrsia.wire.blocks import (
    EPOCH_END,
    FIN,
    NORMAL,
    NOT,
    TAIL,
    ZERO,
    Block,
    Blocks,
    Body,
    Cert,
    GetBlock,
    GetBlocks,
    GetCerts,
    Justification,
    OneBlock,
    Proposal,
    Statement,
    Status,
    Vote,
    decode_message,
    encode_message,
    entries_root,
    finalize,
    notarize,
    nullify,
)

if TYPE_CHECKING:
    from .world import Node, World

REMEMBERED = 60  # messages that a villain may say again
# Its line takes no more: three liars that answer each other's replays would fill a run that never ends. The busiest
# of some hundred runs told 600.
LIES_A_SECOND = 2_000


class Villain:
    """One liar. `twist` is given what an honest core would do, and returns what is done.

    Attributes:
        lied: how often each habit was at work.
    """

    def __init__(self, world: "World", node: "Node", habits: Iterable[str] = ()) -> None:
        self.world = world
        self.node = node
        self.rng = random.Random(f"{world.seed} villain {node.number}")
        self.habits = tuple(habits) or tuple(self.rng.sample(sorted(HABITS), self.rng.randint(1, 4)))
        self.lied: dict[str, int] = {}
        self.certs: deque[Cert] = deque(maxlen=REMEMBERED)
        self.memory: deque[Any] = deque(maxlen=REMEMBERED)
        self.votes: dict[Statement, dict[int, bytes]] = {}
        self.count = 0
        self._second, self._in_it = 0, 0  # the running second, and the lies in it

    def heard(self, message: object) -> None:
        if isinstance(message, Cert):
            self.certs.append(message)
        elif isinstance(message, Vote):
            self.votes.setdefault(message.said, {})[message.signer] = message.sig
            if len(self.votes) > REMEMBERED:
                del self.votes[next(iter(self.votes))]
        self.memory.append(message)

    def twist(self, acts: list[Act]) -> list[Act]:
        """Each habit in turn makes of every message what it likes."""
        for habit in self.habits:
            out: list[Act] = []
            for act in acts:
                if isinstance(act, Persist | WakeAt | Deliver):
                    out.append(act)
                    continue
                twisted = HABITS[habit](self, act)
                if twisted is not None and self._lies(habit):
                    out += twisted
                else:
                    out.append(act)
            acts = out
        return acts

    def _lies(self, habit: str) -> bool:
        second = int(self.world.now)
        if second != self._second:
            self._second, self._in_it = second, 0
        self._in_it += 1
        if self._in_it > LIES_A_SECOND:
            return False
        self.count += 1
        if not self.world.faults.on("lie", self.node.number, self.count, habit):
            return False
        self.lied[habit] = self.lied.get(habit, 0) + 1
        return True

    # -- what all of them need --

    @property
    def seat(self) -> Any:
        return self.node.core.seat if self.node.core is not None else None

    @property
    def epoch(self) -> int:
        return self.node.core.committee.epoch if self.node.core is not None else 0

    @property
    def others(self) -> list[int]:
        return [i for i in self.world.numbers if i != self.node.number]

    def to(self, numbers: Iterable[int], message: Any) -> list[Act]:
        return [Post((self.world.id_of(i),), message) for i in numbers]

    def some(self, least: int = 0, most: int | None = None) -> list[int]:
        others = self.others
        most = len(others) if most is None else min(most, len(others))
        return self.rng.sample(others, self.rng.randint(min(least, most), most))

    def vote(self, said: Statement) -> Vote | None:
        """Signed with the key of this villain's seat in that epoch; None if it had none, or none is known."""
        return self.world.vote_of(self.node.number, said)


Habit = Callable[[Villain, Act], list[Act] | None]  # None: it has nothing to do with this act


def _message(act: Act) -> Any:
    return act.message if isinstance(act, Post) else None


def _own_proposal(villain: Villain, act: Act) -> Proposal | None:
    message = _message(act)
    seat = villain.seat
    if not isinstance(message, Proposal) or seat is None or message.vote.signer != seat.me:
        return None
    return message


def silent(villain: Villain, act: Act) -> list[Act] | None:
    return [] if villain.rng.random() < 0.1 else None


def withhold(villain: Villain, act: Act) -> list[Act] | None:
    """A block to exactly f + 1 or to a quorum with itself, or to whom it likes; certificates and votes to few."""
    message = _message(act)
    n = len(villain.world.auditor.epochs[max(villain.world.auditor.epochs)].validators)
    f = (n - 1) // 3
    if isinstance(message, Proposal):
        exact = villain.rng.choice((f + 1, n - f - 1, 0))
        chosen = villain.some(exact, exact) if exact else villain.some(1)
        return villain.to(chosen, message)
    if isinstance(message, Cert):
        return villain.to(villain.some(0, 1), message)
    if isinstance(message, Vote) and villain.rng.random() < 0.4:
        return villain.to(villain.some(1), message)
    return None


def everything(villain: Villain, act: Act) -> list[Act] | None:
    """NOT, NUL and FIN of the view, each to whom it may hurt."""
    message = _message(act)
    if not isinstance(message, Vote) or villain.seat is None:
        return None
    out: list[Act] = [act]
    said = [nullify(message.said.epoch, message.view)]
    for block in list(villain.seat.tree.blocks.values()):
        if block.header.view == message.view:
            said += [notarize(block.header), finalize(block.header)]
    for one in said:
        vote = villain.vote(one)
        if vote is not None:
            out += villain.to(villain.some(), vote)
    return out


def equivocate(villain: Villain, act: Act) -> list[Act] | None:
    """Two blocks for one view, each to some, and votes for both."""
    honest = _own_proposal(villain, act)
    other = _forged(villain, honest.block, stale=False) if honest is not None else None
    if honest is None or other is None:
        return None
    return [act, *_offered(villain, other)]


def stale(villain: Villain, act: Act) -> list[Act] | None:
    """A block on an older parent, without the certificates of the views between."""
    honest = _own_proposal(villain, act)
    other = _forged(villain, honest.block, stale=True) if honest is not None else None
    if honest is None or other is None:
        return None
    return [*villain.to(villain.some(), honest), *_offered(villain, other)]


def wrong(villain: Villain, act: Act) -> list[Act] | None:
    """A block in which one field is not what it must be."""
    honest = _own_proposal(villain, act)
    if honest is None:
        return None
    header = honest.block.header
    change: dict[str, Any] = villain.rng.choice(
        (
            {"tree_root": bytes(32)},
            {"tree_size": header.tree_size + 1},
            {"beacon": b"\x07" * 32},
            {"reveal": b"\x07" * 32},
            {"time_ms": header.time_ms + 3_600_000},
            {"time_ms": 1},
            {"height": header.height + 1},
            {"parent_view": header.parent_view + 1},
            {"kind": EPOCH_END},
            {"kind": TAIL},
            {"kind": TAIL, "parent_hash": villain.rng.randbytes(32)},
            {"kind": NORMAL, "next_members_hash": b"\x07" * 32},
            {"next_members_hash": b"\x07" * 32, "kind": EPOCH_END},
            {"members_hash": b"\x07" * 32},
            {"next_chain": b"\x07" * 32},
            {"just_hash": bytes(32)},
            {"n_entries": header.n_entries + 1},
            {"epoch": header.epoch + 1},
        )
    )
    return _offered(villain, Block(replace(header, **change), honest.block.body))


def _offered(villain: Villain, block: Block) -> list[Act]:
    not_, fin = villain.vote(notarize(block.header)), villain.vote(finalize(block.header))
    if not_ is None or fin is None or not _travels(villain, OneBlock(block)):
        return []
    sides = villain.some(1)
    return [
        *villain.to(sides, Proposal(block, not_)),
        *villain.to(sides, fin),
        *villain.to(villain.some(), not_),
    ]


def _travels(villain: Villain, message: Any) -> bool:
    """Whether a message comes through the receiver's door: what does not decode never reaches its core."""
    try:
        decode_message(encode_message(message))
    except Malformed:
        villain.world.undecodable += 1
        return False
    return True


def _forged(villain: Villain, block: Block, *, stale: bool) -> Block | None:
    """Another block for the same view: a later time and other entries, maybe on an older parent."""
    seat, app, header = villain.seat, villain.node.app, block.header
    parent_cert, gap = block.body.justification.parent_cert, block.body.justification.gap
    if header.kind == TAIL:
        if stale:
            return None
        return Block(replace(header, time_ms=header.time_ms + 1), block.body)
    if not app.knows(header.parent_hash):
        return None
    at = app._ref(header.parent_hash)
    if stale:
        certs = [s.block_cert() for v, s in sorted(seat.counting.views.items()) if v < header.parent_view]
        if seat.telling.floor is not None and seat.telling.floor.view < header.parent_view:
            certs.append(seat.telling.floor)
        known = [c for c in certs if c is not None and app.knows(c.said.block_hash)]
        if not known:
            return None
        parent_cert = villain.rng.choice(known)
        at, gap = app._ref(parent_cert.said.block_hash), ()
    slot = Slot(
        header.epoch, header.view, header.proposer, max(header.time_ms, at.time_ms) + 1, header.reveal
    )
    draft = app.forge(at.hash, slot, villain.rng)
    just = Justification(parent_cert, gap)
    forged = replace(
        header,
        parent_hash=at.hash,
        parent_view=parent_cert.view if parent_cert is not None else 0,
        height=at.height + 1,
        time_ms=slot.time_ms,
        kind=EPOCH_END if draft.next_members else NORMAL,
        n_entries=len(draft.entries),
        entries_root=entries_root(draft.entries),
        tree_size=draft.tree_size,
        tree_root=draft.tree_root,
        next_members_hash=draft.next_members or header.members_hash,
        beacon=draft.beacon,
        just_hash=just.hash(),
    )
    return Block(forged, Body(draft.entries, just))


def replay(villain: Villain, act: Act) -> list[Act] | None:
    """Old messages, one's own and others'."""
    if not villain.memory or villain.rng.random() > 0.3:
        return None
    again = villain.rng.choice(villain.memory)
    return [act, *villain.to(villain.some(1), again)]


def certificates(villain: Villain, act: Act) -> list[Act] | None:
    """Certificates that are none: a signer twice, one too few, of another epoch, view, block or kind."""
    if not villain.certs or villain.rng.random() > 0.3:
        return None
    cert = villain.rng.choice(villain.certs)
    epoch, view = villain.epoch, villain.seat.view if villain.seat is not None else 1
    if villain.rng.random() < 0.5:
        early = _early(villain)
        return [act, *villain.to(villain.some(1), early)] if early is not None else None
    others = [said for said in (nullify(epoch, view), cert.said) if said is not None]
    said = villain.rng.choice(others)
    one = villain.vote(said)
    sigs = (one.sig,) * len(cert.signers) if one is not None else cert.sigs
    signer = one.signer if one is not None else 0
    forged = villain.rng.choice(
        (
            Cert(said, cert.members, (signer,) * len(cert.signers), sigs),
            Cert(
                cert.said, cert.members, cert.signers[:1] * len(cert.signers), cert.sigs[:1] * len(cert.sigs)
            ),
            Cert(cert.said, cert.members, cert.signers[:-1], cert.sigs[:-1]),
            Cert(cert.said._replace(epoch=epoch + 1), cert.members, cert.signers, cert.sigs),
            Cert(cert.said._replace(view=view), cert.members, cert.signers, cert.sigs),
            Cert(nullify(epoch, cert.view), cert.members, cert.signers, cert.sigs),
            Cert(cert.said, cert.members + 1, cert.signers, cert.sigs),
            Cert(said, cert.members, cert.signers, sigs),
        )
    )
    return [act, *villain.to(villain.some(1), forged)]


def _early(villain: Villain) -> Cert | None:
    """The votes that there are for something, one's own with them, one too few, as if they were enough."""
    seats = villain.world.auditor.epochs.get(villain.epoch)
    if seats is None or not villain.votes:
        return None
    n = len(seats.validators)
    said = villain.rng.choice(list(villain.votes)[-6:])
    own = villain.vote(said)
    sigs = {**villain.votes[said], **({own.signer: own.sig} if own is not None else {})}
    chosen = sorted(sigs)[: n - (n - 1) // 3 - 1]
    return Cert(said, n, tuple(chosen), tuple(sigs[signer] for signer in chosen)) if chosen else None


def future(villain: Villain, act: Act) -> list[Act] | None:
    """Votes far ahead, in this epoch and in others."""
    if villain.rng.random() > 0.2 or villain.seat is None:
        return None
    rng = villain.rng
    view = villain.seat.view + rng.choice((1, 2, 7, 63, 64, 65, 1_000_000))
    epoch = max(0, villain.epoch + rng.choice((0, 0, 1, 2, -1)))
    block_hash = rng.randbytes(32)
    said = rng.choice(
        (
            nullify(epoch, view),
            Statement(NOT, epoch, view, block_hash),
            Statement(FIN, epoch, view, block_hash, 1 << 40, 1, 1 << 40, block_hash),
        )
    )
    vote = villain.vote(said)
    return [act, *villain.to(villain.some(1), vote)] if vote is not None else None


def garbage(villain: Villain, act: Act) -> list[Act] | None:
    """Bytes of a message, some of them changed; most do not decode, and those are dropped at the door."""
    message = _message(act)
    if message is None or isinstance(message, bytes) or villain.rng.random() > 0.3:
        return None
    try:
        data = bytearray(encode_message(message))
    except (OverflowError, struct.error):  # another habit's certificate, which no bytes can say
        return None
    for _ in range(villain.rng.randint(1, 4)):
        data[villain.rng.randrange(len(data))] = villain.rng.randrange(256)
    if villain.rng.random() < 0.3:
        del data[villain.rng.randrange(len(data)) :]
    try:
        told = decode_message(bytes(data))
    except Malformed:
        villain.world.undecodable += 1
        return None
    return [act, *villain.to(villain.some(1), told)]


def flood(villain: Villain, act: Act) -> list[Act] | None:
    """Questions without end."""
    if villain.rng.random() > 0.05:
        return None
    rng = villain.rng
    asks: list[Any] = []
    for _ in range(rng.randint(5, 40)):
        first = rng.randint(0, 30)
        asks.append(
            rng.choice(
                (
                    GetBlock(rng.randbytes(32)),
                    GetBlocks(first, first + rng.choice((0, 5, 127))),
                    GetCerts(villain.epoch, first, first + rng.choice((0, 5, 1000))),
                    Status(villain.epoch, 1, 0, bytes(32), (), None, rng.randint(1, 1 << 40), 0),
                )
            )
        )
    target = rng.choice(villain.others)
    return [act, *(one for ask in asks for one in villain.to((target,), ask))]


def claims(villain: Villain, act: Act) -> list[Act] | None:
    """Heights that do not exist, answers that nobody asked for, blocks that are not what was asked for."""
    rng = villain.rng
    if isinstance(act, Answer):
        blocks = villain.world.packed(villain.node, act)
        if blocks is None or rng.random() > 0.7:
            return None
        last = blocks.blocks[-1]
        lies = (
            Blocks(blocks.blocks[:-1] or blocks.blocks, blocks.proof),
            Blocks((Block(last.header, Body((b"lie",), last.body.justification)),), blocks.proof),
            Blocks(
                (*blocks.blocks, replace(last, header=replace(last.header, height=last.header.height + 1))),
                blocks.proof,
            ),
            Blocks(blocks.blocks, replace(blocks.proof, headers=blocks.proof.headers * 2)),
        )
        lie = rng.choice(lies)
        return [Post((act.to,), lie)] if _travels(villain, lie) else []
    if rng.random() > 0.1 or villain.seat is None:
        return None
    final = villain.seat.final
    lie = rng.choice(
        (
            Status(
                villain.epoch,
                villain.seat.view + 50,
                final.height + rng.choice((1, 100, 1 << 40)),
                rng.randbytes(32),
                (),
                None,
                0,
                0,
            ),
            Status(villain.epoch + 1, 1, final.height, final.hash, (), None, 0, rng.randint(0, 1 << 41)),
            Status(villain.epoch, 1, 0, ZERO, tuple(villain.certs)[:3], None, 1, 0),
            OneBlock(next(iter(villain.seat.tree.blocks.values())))
            if villain.seat.tree.blocks
            else GetBlocks(1, 1),
        )
    )
    return [act, *villain.to(villain.some(1), lie)]


HABITS: dict[str, Habit] = {
    "certificates": certificates,
    "claims": claims,
    "equivocate": equivocate,
    "everything": everything,
    "flood": flood,
    "future": future,
    "garbage": garbage,
    "replay": replay,
    "silent": silent,
    "stale": stale,
    "withhold": withhold,
    "wrong": wrong,
}
