"""What is appended: blocks of a real ledger, executed once, so that every run writes the same bytes."""

from dataclasses import dataclass

from pyrsia.keys import PURPOSES, KeyRing
from pyrsia.ledger.chain import Commit
from pyrsia.log.checkpoint import Checkpoint
from pyrsia.log.note import SignedNote
from pyrsia.units import TreeSize
from pyrsia.wire.blocks import Block, Body, Justification
from tests.reference import merkle
from tests.reference.ledger import START, World, key
from tests.reference.story import signature_lines

FACTS_BEFORE = (
    246  # with genesis and the seals 251 leaves: the next blocks cross from one tile into the second
)
BLOCKS_BEFORE = 3
BLOCKS = 4
FACTS = 3  # in each block that is appended


@dataclass(frozen=True)
class Step:
    """One block, and what the log is once it is in."""

    commit: Commit
    block: Block | None
    state: dict[bytes, bytes]
    index: dict[bytes, bytes]
    size: int
    root: bytes
    note: bytes  # the checkpoint at this size, signed by everybody


class Script(World):
    """The steps from genesis on; the first `BLOCKS_BEFORE` + 1 are there before anything is watched."""

    def __init__(self) -> None:
        self.keys = KeyRing(*(key(0, purpose) for purpose in PURPOSES[:5]), chain_seed=key(0, "chain").seed)
        self.steps: list[Step] = []
        self._header = None
        super().__init__()
        for first in range(0, FACTS_BEFORE, FACTS_BEFORE // BLOCKS_BEFORE):
            self.block(*(self.fact(first + at) for at in range(FACTS_BEFORE // BLOCKS_BEFORE)))
        for number in range(BLOCKS):
            self.block(*(self.fact(1_000 + FACTS * number + at) for at in range(FACTS)))

    def fact(self, number):
        body = {
            "kind": "description",
            "subject": f"pkg:pypi/idna@1.{number}",
            "text": f"fact {number}",
            "valid_from": 1,
        }
        return self.entry(self.follower, "fact.add", body)

    def header(self, draft, slot, **changes):
        self._header = super().header(draft, slot, **changes), draft.entries
        return self._header[0]

    def write(self, commit):
        super().write(commit)
        block = None
        if self._header is not None:
            header, entries = self._header
            block = Block(header, Body(tuple(entries), Justification(None)))
        hashes = [merkle.leaf_hash(leaf) for leaf in self.leaves]
        size, root, state = len(self.leaves), merkle.root(hashes), self.state()
        index = {name: row for name, row in self.db.items() if name not in state}
        note = self._note(Checkpoint(self.genesis.origin, TreeSize(size), root))
        self.steps.append(Step(commit, block, state, index, size, root, note))

    def _note(self, head):
        lines = []
        for member, _ in enumerate(self.genesis.validators):
            lines += signature_lines(
                head, key(member, "log"), key(member, "cosign"), START // 1_000 + head.size
            )
        return SignedNote(head.text(), tuple(lines)).encode()
