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
from pyrsia.wire.text import b32
from tests.reference.ledger import key

ZERO = bytes(32)


class Misdeeds:
    """Statements by the validators of a `World`."""

    def __init__(self, world):
        self.genesis = world.genesis
        at = {member.node: index for index, member in enumerate(self.genesis.validators)}
        self.vote_keys = {at[key(i, "node").public]: key(i, "vote") for i in range(self.genesis.n)}
        self.keys = [member.vote for member in self.genesis.validators]

    def node(self, index):
        return b32(self.genesis.validators[index].node)

    def vote(self, index, said, signer=None):
        text = signed_text(self.genesis.chain_id, self.genesis.origin, said)
        return Vote(said, index, self.vote_keys[index if signer is None else signer].sign(text))

    def cert(self, said, signers=None):
        signers = tuple(range(self.genesis.q)) if signers is None else tuple(signers)
        return Cert(said, self.genesis.n, signers, tuple(self.vote(one, said).sig for one in signers))

    def leader(self, view):
        salt = self.genesis.chain_id + (0).to_bytes(8, "big")
        order = sorted(range(self.genesis.n), key=lambda i: blake3(salt + self.keys[i]).digest())
        return order[view % self.genesis.n]

    def parent(self, view=3):
        return Statement(NOT, 0, view, blake3(b"the parent").digest())

    def justification(self, view=6, parent_view=3):
        return Justification(
            self.cert(self.parent(parent_view)),
            tuple(self.cert(nullify(0, between)) for between in range(parent_view + 1, view)),
        )

    def header(self, view=6, parent_view=3, just=None, **changes):
        """Of a block that an honest validator may vote for, changes aside."""
        just = just if just is not None else self.justification(view, parent_view)
        members = blake3(b"pyrsia/members/v1\x00" + b"".join(
            key for m in self.genesis.validators for key in (m.node, m.vote, m.log, m.cosign, m.chain_end)
        )).digest()  # fmt: skip
        made = Header(
            self.genesis.chain_id, 0, view, 2, self.parent(parent_view).block_hash, parent_view, self.leader(view),
            1_760_000_009_000, NORMAL, 0, ZERO, 4, ZERO, members, members, just.hash(), ZERO, ZERO, ZERO,
        )  # fmt: skip
        return replace(made, **changes)

    def pair(self, index, one, two, accused=None, **changes):
        """Body of evidence by two statements."""
        first, second = sorted(self.vote(index, said).encode().hex() for said in (one, two))
        return {
            "epoch": 0, "first": first, "kind": "votes", "second": second,
            "validator": self.node(index if accused is None else accused), **changes,
        }  # fmt: skip

    def block(self, index, header, just, said=None, **changes):
        """Body of evidence by a vote for a block."""
        vote = self.vote(index, said(header) if said is not None else notarize(header))
        return {
            "epoch": 0, "header": header.encode().hex(), "justification": just.encode().hex(), "kind": "block",
            "validator": self.node(index), "vote": vote.encode().hex(), **changes,
        }  # fmt: skip

    def statements(self, view=6):
        """NOT of two blocks, FIN of both, and NUL, all of one view."""
        one, two = self.header(view), self.header(view, beacon=b"\1" * 32)
        return notarize(one), notarize(two), finalize(one), finalize(two), nullify(0, view)
