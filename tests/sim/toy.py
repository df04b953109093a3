"""The smallest thing that can be agreed about: a hash-chained counter with a state root."""

import random

from blake3 import blake3

from pyrsia.consensus.application import BlockRef, Draft, InvalidBlock, Seats, Slot
from pyrsia.wire.blocks import Block, Header
from pyrsia.wire.epochs import Validator

GENESIS = BlockRef(blake3(b"toy genesis").digest(), 0, 0, 0, 2, blake3(b"toy root").digest(), bytes(32))


def key_of(member: int) -> bytes:
    return b"%032d" % member


def node_of(member: int) -> bytes:
    return b"node%028d" % member


def seats_of(n: int) -> Seats:
    """Epoch 0 with n validators; a member's number is its index."""
    made = (Validator(node_of(i), key_of(i), bytes(32), bytes(32), bytes(32)) for i in range(n))
    return Seats(0, tuple(made), frozenset(), (0,) * n)


def reveal_of(member: int, position: int) -> bytes:
    return blake3(b"reveal %d %d" % (member, position)).digest()


def execute(
    parent: BlockRef, entries: tuple[bytes, ...], time_ms: int, reveal: bytes
) -> tuple[int, bytes, bytes]:
    """(tree_size, tree_root, beacon) after a block: a block without entries changes nothing."""
    if not entries:
        return parent.tree_size, parent.tree_root, parent.beacon
    root = blake3(parent.tree_root + b"|".join(entries) + b"%d" % time_ms + reveal).digest()
    return parent.tree_size + len(entries) + 1, root, blake3(parent.beacon + reveal).digest()


class Toy:
    """Implements `Application`; what is final survives a crash, overlays and pending entries do not."""

    def __init__(self, impure: bool = False, me: int = 0, n: int = 4) -> None:
        self.seated = seats_of(n)
        self.final: BlockRef = GENESIS
        self.chain: list[Block] = []
        self.done: set[bytes] = set()
        self.pending: dict[bytes, None] = {}
        self.over: dict[bytes, tuple[BlockRef, bytes, tuple[bytes, ...]]] = {}
        self.impure = impure  # a mutant: the rule asks which machine it runs on
        self.me = me

    def head(self) -> BlockRef:
        return self.final

    def _ref(self, block_hash: bytes) -> BlockRef:
        return self.final if block_hash == self.final.hash else self.over[block_hash][0]

    def _used(self, block_hash: bytes) -> set[bytes]:
        used: set[bytes] = set()
        while block_hash in self.over:
            _, parent, entries = self.over[block_hash]
            used.update(entries)
            block_hash = parent
        return used

    def has_work(self, parent: bytes) -> bool:
        if not self.pending:
            return False
        if len(self.pending) > 64:
            return True
        used = self._used(parent)
        return any(entry not in used for entry in self.pending)

    def build(self, parent: bytes, slot: Slot) -> Draft:
        used, at = self._used(parent), self._ref(parent)
        entries = tuple(e for e in self.pending if e not in used and e not in self.done)[:50]
        return Draft(at.height + 1, entries, *self._run(at, entries, slot.time_ms, slot.reveal))

    def forge(self, parent: bytes, slot: Slot, rng: random.Random) -> Draft:
        """A liar's block for a slot that has one: executed rightly, with other entries."""
        at = self._ref(parent)
        entries = () if rng.random() < 0.5 else (b"forged %d" % slot.view,)
        return Draft(at.height + 1, entries, *execute(at, entries, slot.time_ms, slot.reveal))

    def _run(
        self, at: BlockRef, entries: tuple[bytes, ...], time_ms: int, reveal: bytes
    ) -> tuple[int, bytes, bytes]:
        size, root, beacon = execute(at, entries, time_ms, reveal)
        if self.impure and entries:
            root = blake3(root + bytes([self.me % 2])).digest()
        return size, root, beacon

    def check(self, header: Header, entries: tuple[bytes, ...]) -> None:
        at = self._ref(header.parent_hash)
        if header.reveal != reveal_of(header.proposer, header.view // len(self.seated.validators)):
            raise InvalidBlock("wrong reveal")
        used = self._used(header.parent_hash) | self.done
        if len(set(entries)) != len(entries) or any(e in used for e in entries):
            raise InvalidBlock("an entry twice")
        if (header.tree_size, header.tree_root, header.beacon) != self._run(
            at, entries, header.time_ms, header.reveal
        ):
            raise InvalidBlock("wrong root")
        ref = BlockRef(
            header.hash(),
            header.height,
            header.view,
            header.time_ms,
            header.tree_size,
            header.tree_root,
            header.beacon,
        )
        self.over[ref.hash] = (ref, header.parent_hash, entries)

    def seats(self, block_hash: bytes) -> Seats:
        return self.seated

    def knows(self, block_hash: bytes) -> bool:
        return block_hash in self.over

    def finalize(self, block: Block) -> None:
        """What the shell does with each delivered block."""
        self.final = self.over[block.hash][0]
        self.chain.append(block)
        self.done.update(block.body.entries)
        for entry in block.body.entries:
            self.pending.pop(entry, None)
        height = self.final.height
        self.over = {h: o for h, o in self.over.items() if o[0].height > height}

    def crash(self) -> None:
        self.over.clear()
        self.pending.clear()
