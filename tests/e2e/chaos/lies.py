"""Validators that lie: the real core, with what it says twisted on the way out.

Each lie is a function of one message on its way to some nodes; it gives what is sent instead. A liar signs with its
own vote key and nobody else's. A lie that costs its link if told often is told less often than that, so that whoever
comes next is heard. The first time that a lie is at work, the node's output says so.
"""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from pyrsia.consensus.core import Simplex
from pyrsia.consensus.effects import Act, Post
from pyrsia.consensus.epochs import Epochs
from pyrsia.node.consensus import agreement
from pyrsia.units import LINK_FAULTS
from pyrsia.wire.blocks import (
    FIN,
    NOT,
    Block,
    Body,
    Cert,
    GetBlocks,
    GetCerts,
    Justification,
    Message,
    Proposal,
    Statement,
    Status,
    Vote,
    encode_message,
    finalize,
    notarize,
    nullify,
    signed_text,
)

SEED = 20261127
TOLD = "lied: "  # before the name of a lie, in a liar's output
NEXT_ASK = 1 << 40  # above every number of a question that an honest core counts up to


@dataclass(frozen=True, slots=True)
class Garbage:
    """Bytes that are no message."""

    data: bytes


def encoded(message: Message | Garbage) -> bytes:
    return message.data if isinstance(message, Garbage) else encode_message(message)


class Shameless(Simplex):
    """Votes on when others hold votes of its key that it has no record of: what a lie leaves behind."""

    def _check_held(self, status):
        pass


class Liar(Epochs):
    """Subclasses say what they twist."""

    def __init__(self, *args, **kwargs):
        self.rng = random.Random(SEED)
        self.old: list[Message] = []
        self.seen: Block | None = None  # the last block that anybody proposed here
        self.faults_left = LINK_FAULTS.value // 2
        self.lied = False
        super().__init__(*args, voter=Shameless, **kwargs)

    def on_message(self, now, node, message):
        if isinstance(message, Proposal):
            self.seen = message.block
        return super().on_message(now, node, message)

    def _acts(self, *args, **kwargs) -> list[Act]:
        return [said for act in super()._acts(*args, **kwargs) for said in self._twisted(act)]

    def _twisted(self, act: Act) -> Iterator[Act]:
        if isinstance(act, Post) and act.to is not None:
            said = [*self.tell(act.to, act.message)]
            if said != [act] and not self.lied and self._linked.keys() >= set(act.to):
                self.lied = True
                print(f"{TOLD}{type(self).__name__.lower()}", flush=True)
            yield from said
        else:
            yield act

    def tell(self, to: tuple[bytes, ...], message: Message) -> Iterator[Post]:
        yield Post(to, message)

    def signed(self, said: Statement) -> Vote:
        me = self.committee.places[self._node]
        sign = self._sign(self.committee.keys[me])
        assert sign is not None
        return Vote(said, me, sign(signed_text(self._chain_id, self._origin, said)))

    def shown(self, to: tuple[bytes, ...], block: Block) -> Iterator[Post]:
        """A block as its leader shows it, and a vote that it be final."""
        yield Post(to, Proposal(block, self.signed(notarize(block.header))))
        yield Post(to, self.signed(finalize(block.header)))

    def halves(self, to: tuple[bytes, ...]) -> tuple[tuple[bytes, ...], tuple[bytes, ...]]:
        mixed = self.rng.sample(to, len(to))
        return tuple(mixed[::2]), tuple(mixed[1::2])


class Double(Liar):
    """Gives each view up that it votes for, and finalizes it too."""

    def tell(self, to, message):
        yield Post(to, message)
        if isinstance(message, Vote) and message.kind == FIN:
            yield Post(to, self.signed(nullify(message.said.epoch, message.view)))


class Equivocating(Liar):
    """As leader, shows one block to some and another to the others."""

    def tell(self, to, message):
        if not isinstance(message, Proposal):
            yield Post(to, message)
            return
        some, others = self.halves(to)
        header = message.block.header
        header = replace(header, time_ms=header.time_ms + 1)
        yield Post(some, message)
        yield from self.shown(others, Block(header, message.block.body))


class Withholding(Liar):
    """Keeps certificates to itself and shows its proposals to one node."""

    def tell(self, to, message):
        if isinstance(message, Proposal):
            yield Post(to[:1], message)
        elif not isinstance(message, Cert):
            yield Post(to, message)


class Garbling(Liar):
    """Sends noise, and its own messages with a byte changed, beside what is right."""

    def tell(self, to, message):
        yield Post(to, message)
        data = bytearray(encoded(message))
        data[self.rng.randrange(len(data))] ^= 1 << self.rng.randrange(8)
        if self.rng.random() < 0.2:
            yield Post(to, Garbage(bytes(data)))
            yield Post(to, Garbage(self.rng.randbytes(self.rng.randrange(400))))


class Replaying(Liar):
    """Says everything again and again, long after."""

    def tell(self, to, message):
        self.old = [*self.old[-500:], message]
        yield Post(to, message)
        for again in self.rng.sample(self.old, min(3, len(self.old))):
            yield Post(to, again)


class Silent(Liar):
    """Never leads and never votes; asks and answers."""

    def tell(self, to, message):
        if not isinstance(message, Proposal | Vote):
            yield Post(to, message)


class Hasty(Liar):
    """Votes for blocks that it has not seen, and for views far ahead."""

    def tell(self, to, message):
        yield Post(to, message)
        if isinstance(message, Vote) and message.kind == NOT:
            ahead = message.view + self.rng.choice((1, 2, 60, 70, 10_000))
            yield Post(to, self.signed(nullify(message.said.epoch, ahead)))
            yield Post(to, self.signed(Statement(NOT, message.said.epoch, ahead, self.rng.randbytes(32))))
            yield Post(to, self.signed(nullify(message.said.epoch + 1, 1)))


class Stale(Liar):
    """As leader, shows some a block on the parent of the block before, without a word about the views between."""

    def tell(self, to, message):
        before = self.seen
        if not isinstance(message, Proposal) or before is None:
            yield Post(to, message)
            return
        self.seen = message.block
        some, others = self.halves(to)
        just = Justification(before.body.justification.parent_cert)
        now = message.block.header
        header = replace(
            before.header,
            view=now.view,
            proposer=now.proposer,
            time_ms=now.time_ms,
            reveal=now.reveal,
            next_chain=now.next_chain,
            just_hash=just.hash(),
        )
        yield Post(some, message)
        yield from self.shown(others, Block(header, Body(before.body.entries, just)))


class Wrong(Liar):
    """As leader, shows everybody a block whose tree is not what its entries make."""

    def tell(self, to, message):
        if not isinstance(message, Proposal):
            yield Post(to, message)
            return
        header = replace(message.block.header, tree_root=self.rng.randbytes(32))
        yield from self.shown(to, Block(header, message.block.body))


class Certificates(Liar):
    """Shows certificates that are none: a signature too few, one for all signers, of another epoch, of itself alone."""

    def tell(self, to, message):
        yield Post(to, message)
        if isinstance(message, Vote) and message.kind == NOT:
            yield from self.forged(to, self.alone(nullify(message.said.epoch, message.view)))
        elif isinstance(message, Cert):
            yield from self.forged(to, replace(message, signers=message.signers[:-1], sigs=message.sigs[:-1]))
            yield from self.forged(to, replace(message, sigs=message.sigs[:1] * len(message.sigs)))
            said = message.said._replace(epoch=message.said.epoch + 1)
            yield from self.forged(to, replace(message, said=said))

    def alone(self, said: Statement) -> Cert:
        """A quorum that is one signature, told as everybody's."""
        committee = self.committee
        sig = self.signed(said).sig
        return Cert(said, committee.n, tuple(range(committee.q)), (sig,) * committee.q)

    def forged(self, to, cert: Cert) -> Iterator[Post]:
        if self.faults_left > 0:
            self.faults_left -= 1
            yield Post(to, cert)


class Flood(Liar):
    """Asks for everything there is, many times with each vote."""

    def tell(self, to, message):
        yield Post(to, message)
        if not isinstance(message, Vote):
            return
        epoch = message.said.epoch
        for number in range(30):
            yield Post(to, GetBlocks(1, 128))
            yield Post(to, GetCerts(epoch, 1, 1 << 32))
            yield Post(to, Status(epoch, 1, 0, bytes(32), ask=NEXT_ASK + number))


class Claims(Liar):
    """Says that it is further than anybody can be, and has none of it."""

    def tell(self, to, message):
        yield Post(to, message)
        epoch, view = self.committee.epoch, message.view if isinstance(message, Vote) else 1
        yield Post(to, Status(epoch, view, 1 << 60, self.rng.randbytes(32)))


LIES: dict[str, type[Liar]] = {
    "certificates": Certificates,
    "claims": Claims,
    "double": Double,
    "equivocating": Equivocating,
    "flood": Flood,
    "garbling": Garbling,
    "hasty": Hasty,
    "replaying": Replaying,
    "silent": Silent,
    "stale": Stale,
    "withholding": Withholding,
    "wrong": Wrong,
}


def telling(name: str) -> Callable[..., Epochs]:
    """What makes the agreement of a node that tells this lie."""
    agreement.encode_message = encoded
    return LIES[name]
