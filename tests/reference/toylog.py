"""A small log of somebody else: it signs what it is told, forks included, and proves growth by the definition."""

from pyrsia import keys
from pyrsia.log import note as notes
from pyrsia.log.checkpoint import Checkpoint
from pyrsia.log.note import ED25519, SignedNote, VerifierKey
from pyrsia.log.witness import Request
from pyrsia.units import TreeSize
from tests.reference import merkle

ORIGIN = "toy.example/log"


class ToyLog:
    """`signers`: how many keys sign each checkpoint. Leaf i is the text `<i>`, after `fork` at another history."""

    def __init__(self, origin=ORIGIN, signers=1, seed=100):
        self.origin = origin
        self.pairs = [keys.KeyPair(bytes([seed + i]) * 32) for i in range(signers)]
        self.vkeys = [VerifierKey(origin.replace(" ", "-"), ED25519, pair.public) for pair in self.pairs]

    def leaves(self, size, fork=None):
        """Leaf hashes; from index `fork` on they are another history's."""
        return [
            merkle.leaf_hash(b"%d" % i if fork is None or i < fork else b"fork %d" % i) for i in range(size)
        ]

    def root(self, size, fork=None):
        return merkle.root(self.leaves(size, fork))

    def note(self, size, fork=None, *, root=None, more="", signers=None):
        head = Checkpoint(self.origin, TreeSize(size), root or self.root(size, fork))
        text = head.text() + more.encode()
        pairs = list(zip(self.vkeys, self.pairs, strict=True))[:signers]
        return SignedNote(
            text, tuple(notes.sign_line(text, key.name, pair.sign, pair.public) for key, pair in pairs)
        )

    def request(self, old, size, fork=None, *, proof=None, **changes):
        """What an honest feeder sends: the proof that leads from `old` to `size`."""
        note = self.note(size, fork, **changes)
        if proof is None:
            proof = merkle.proof(old, self.leaves(size, fork)) if 0 < old < size else []
        found, _ = Checkpoint.parse_foreign(note.text)
        return Request(TreeSize(old), tuple(proof), note, found)
