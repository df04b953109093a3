"""Validators that lie: the real core, with what it says twisted on the way out.

Each lie is a function of one message on its way to some nodes; it gives what is sent instead. A liar signs with its
own vote key and nobody else's.
"""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from pyrsia.consensus.effects import Act, Post
from pyrsia.consensus.epochs import Epochs
from pyrsia.node import agreement
from pyrsia.wire.blocks import (
    FIN,
    NOT,
    Block,
    Cert,
    Message,
    Proposal,
    Statement,
    Vote,
    encode_message,
    finalize,
    notarize,
    nullify,
    signed_text,
)

SEED = 20261127


@dataclass(frozen=True, slots=True)
class Garbage:
    """Bytes that are no message."""

    data: bytes


def encoded(message: Message | Garbage) -> bytes:
    return message.data if isinstance(message, Garbage) else encode_message(message)


class Liar(Epochs):
    """Subclasses say what they twist."""

    def __init__(self, *args, **kwargs):
        self.rng = random.Random(SEED)
        self.old: list[Message] = []
        super().__init__(*args, **kwargs)

    def _acts(self, *args, **kwargs) -> list[Act]:
        return [said for act in super()._acts(*args, **kwargs) for said in self._twisted(act)]

    def _twisted(self, act: Act) -> Iterator[Act]:
        if isinstance(act, Post) and act.to is not None:
            yield from self.tell(act.to, act.message)
        else:
            yield act

    def tell(self, to: tuple[bytes, ...], message: Message) -> Iterator[Post]:
        yield Post(to, message)

    def signed(self, said: Statement) -> Vote:
        me = self.committee.places[self._node]
        sign = self._sign(self.committee.keys[me])
        assert sign is not None
        return Vote(said, me, sign(signed_text(self._chain_id, self._origin, said)))

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
        other = Block(header, message.block.body)
        yield Post(some, message)
        yield Post(others, Proposal(other, self.signed(notarize(header))))
        yield Post(others, self.signed(finalize(header)))


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


LIES: dict[str, type[Liar]] = {
    "double": Double,
    "equivocating": Equivocating,
    "garbling": Garbling,
    "hasty": Hasty,
    "replaying": Replaying,
    "silent": Silent,
    "withholding": Withholding,
}


def telling(name: str) -> Callable[..., Epochs]:
    """What makes the agreement of a node that tells this lie."""
    agreement.encode_message = encoded
    return LIES[name]
