"""What a dishonest validator signs, and the evidence that it gives of itself."""

from dataclasses import replace

from blake3 import blake3

from pyrsia.wire.blocks import (
    NORMAL,
    NOT,
    Cert,
    Header,
    Justification,
    Statement,
    Vote,
    finalize,
    notarize,
    nullify,
    signed_text,
)
from pyrsia.wire.epochs import members_hash
from pyrsia.wire.text import b32

ZERO = bytes(32)


class Misdeeds:
    """Statements by the validators of a `World` in its present epoch."""

    def __init__(self, world):
        self.genesis = world.genesis
        self.seats = world.seats()
        self.validators = self.seats.validators
        self.epoch = self.seats.epoch
        self.n = len(self.validators)
        self.q = self.n - (self.n - 1) // 3
        self.turns = world.rotation(self.seats)
        self.vote_keys = {at: world.vote_keys[one.vote] for at, one in enumerate(self.validators)}
        self.members = members_hash(self.validators)

    def node(self, index):
        return b32(self.validators[index].node)

    def vote(self, index, said, signer=None):
        text = signed_text(self.genesis.chain_id, self.genesis.origin, said)
        return Vote(said, index, self.vote_keys[index if signer is None else signer].sign(text))

    def cert(self, said, signers=None):
        signers = tuple(range(self.q)) if signers is None else tuple(signers)
        return Cert(said, self.n, signers, tuple(self.vote(one, said).sig for one in signers))

    def leader(self, view):
        return self.turns[view % len(self.turns)]

    def parent(self, view=3):
        return Statement(NOT, self.epoch, view, blake3(b"the parent").digest())

    def justification(self, view=6, parent_view=3):
        return Justification(
            self.cert(self.parent(parent_view)),
            tuple(self.cert(nullify(self.epoch, between)) for between in range(parent_view + 1, view)),
        )

    def header(self, view=6, parent_view=3, just=None, **changes):
        """Of a block that an honest validator may vote for, changes aside."""
        just = just if just is not None else self.justification(view, parent_view)
        made = Header(
            self.genesis.chain_id, self.epoch, view, 2, self.parent(parent_view).block_hash, parent_view,
            self.leader(view), 1_760_000_009_000, NORMAL, 0, ZERO, 4, ZERO, self.members, self.members,
            just.hash(), ZERO, ZERO, ZERO,
        )  # fmt: skip
        return replace(made, **changes)

    def pair(self, index, one, two, accused=None, **changes):
        """Body of evidence by two statements."""
        first, second = sorted(self.vote(index, said).encode().hex() for said in (one, two))
        return {
            "epoch": self.epoch, "first": first, "kind": "votes", "second": second,
            "validator": self.node(index if accused is None else accused), **changes,
        }  # fmt: skip

    def block(self, index, header, just, said=None, **changes):
        """Body of evidence by a vote for a block."""
        vote = self.vote(index, said(header) if said is not None else notarize(header))
        return {
            "epoch": self.epoch, "header": header.encode().hex(), "justification": just.encode().hex(), "kind": "block",
            "validator": self.node(index), "vote": vote.encode().hex(), **changes,
        }  # fmt: skip

    def statements(self, view=6):
        """NOT of two blocks, FIN of both, and NUL, all of one view."""
        one, two = self.header(view), self.header(view, beacon=b"\1" * 32)
        return notarize(one), notarize(two), finalize(one), finalize(two), nullify(self.epoch, view)
