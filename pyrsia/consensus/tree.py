"""Blocks above the last final one: which are held, which were executed, which one is refused for ever.

Decides when a block is *checked*: its parent is, its header fits the parent, and the application executed it
(P2, P4 without the clock, P5, P6). Views and votes are not its business.

A tail has no content, so the application never sees one. It stands on the block that ends the epoch, whatever
tails came before it: that block is two headers below any certificate that makes it final.

Source: docs/agreement.md, "P: when to vote NOT", "Epochs", "Delivery".
"""

from collections import OrderedDict

from pyrsia.units import MAX_RECENT_BLOCKS
from pyrsia.wire.blocks import EPOCH_END, TAIL, Block, Header, contradicts_itself

from .application import Application, BlockRef, Executed, InvalidBlock
from .catchup import Conflict
from .committee import Committee


def ref(header: Header) -> BlockRef:
    """The block of `header` as something that was executed."""
    return BlockRef(
        header.hash(),
        header.height,
        header.view,
        header.time_ms,
        header.tree_size,
        header.tree_root,
        header.beacon,
        header.epoch,
    )


class BlockTree:
    """Un-final blocks by hash, on top of the last final one."""

    __slots__ = ("_app", "_committee", "bad", "blocks", "checked", "final", "recent")

    def __init__(self, app: Application, committee: Committee, start: Executed) -> None:
        """`start`: the last final block; of this epoch, or the one that ended the epoch before it."""
        self._app = app
        self._committee = committee
        view = start.view if start.epoch == committee.epoch else 0  # views of an epoch count from 1
        self.final = BlockRef(
            start.hash,
            start.height,
            view,
            start.time_ms,
            start.tree_size,
            start.tree_root,
            start.beacon,
            start.epoch,
        )
        self.blocks: dict[bytes, Block] = {}
        self.checked: set[bytes] = set()
        self.bad: dict[bytes, str] = {}  # refused for ever, and why
        self.recent: OrderedDict[bytes, Block] = OrderedDict()  # final ones, for members a moment behind

    def add(self, block: Block) -> None:
        if block.header.view > self.final.view:
            self.blocks.setdefault(block.hash, block)

    def find(self, block_hash: bytes) -> Block | None:
        return self.blocks.get(block_hash) or self.recent.get(block_hash)

    def stands(self, block_hash: bytes) -> bool:
        """Whether a child may be executed on this block now."""
        return block_hash == self.final.hash or block_hash in self.checked

    def parent_of(self, header: Header) -> BlockRef | None:
        """The checked parent of a block, if it is held."""
        if header.parent_hash == self.final.hash:
            return self.final
        parent = self.blocks.get(header.parent_hash)
        return ref(parent.header) if parent is not None and parent.hash in self.checked else None

    def ends_at(self, block_hash: bytes) -> Block | None:
        """The un-final block that ends the epoch, if `block_hash` is that block or one of its tails."""
        block = self.blocks.get(block_hash)
        if block is not None and block.header.kind == TAIL:
            block = self.blocks.get(block.header.parent_hash)
        return block if block is not None and block.header.kind == EPOCH_END else None

    def path(self, block_hash: bytes) -> tuple[list[Block], bytes | None]:
        """Blocks above the final one up to `block_hash`, lowest first; and the hash of the missing one.

        Raises:
            Conflict: the chain of `block_hash` does not pass through the last final block.
        """
        found: list[Block] = []
        at = block_hash
        while at != self.final.hash:
            block = self.blocks.get(at)
            if block is None:
                return found[::-1], at
            if block.header.height <= self.final.height:
                raise Conflict(f"a branch below the final height {self.final.height}")
            found.append(block)
            at = block.header.parent_hash
        return found[::-1], None

    def settle(self, block_hash: bytes) -> bytes | None:
        """Check `block_hash` and what lies below it, as far as bodies are held.

        Returns the hash of the body that is missing, or None. Whether it came out checked, bad or off the
        final chain, the sets tell.
        """
        if self.stands(block_hash) or block_hash in self.bad:
            return None
        block = self.blocks.get(block_hash)
        below = _certified(block)
        if below is not None and below not in self.blocks and below != self.final.hash:
            return below
        if block is not None and not self._placed(block):
            self.bad[block_hash] = "no certificate speaks of its parent"
            return None
        try:
            path, missing = self.path(block_hash)
        except Conflict as error:
            self.bad[block_hash] = str(error)
            return None
        if missing is not None:
            return missing
        for block in path:
            if block.hash in self.checked:
                continue
            if not self.check(block):
                self.bad.setdefault(block_hash, "it stands on a refused block")
                return None
        return None

    def _placed(self, block: Block) -> bool:
        """Whether a proposal names a parent that there is, where its certificate is not the parent's own.

        A tail stands on the end that its certificate speaks of; a block without one on the start of the epoch. Any
        other hash would be asked for until the next final block, since nobody has it.
        """
        header = block.header
        if header.kind != TAIL:
            return header.parent_view > 0 or self.final.view > 0 or header.parent_hash == self.final.hash
        certified = self.blocks.get(_certified(block) or b"")
        if certified is None:
            return False
        kind = certified.header.kind
        end = certified.header.parent_hash if kind == TAIL else certified.hash
        return kind in (TAIL, EPOCH_END) and header.parent_hash == end

    def refusal(self, block: Block) -> str:
        """Why a final block was refused, for people: software that is too old is no liar's work."""
        lacking = self._app.lacks(block.header.parent_hash) if self.stands(block.header.parent_hash) else ""
        return lacking or f"a final block that our rules refuse: {self.bad.get(block.hash)}"

    def check(self, block: Block) -> bool:
        """Execute one block whose parent is checked; False and remembered if it breaks a rule."""
        if block.hash in self.checked:
            return True
        if block.hash in self.bad:
            return False
        try:
            self._check_header(block)
            if block.header.kind != TAIL:
                self._app.check(block.header, block.body.entries)
        except InvalidBlock as error:
            self.bad[block.hash] = str(error)
            return False
        self.checked.add(block.hash)
        return True

    def _check_header(self, block: Block) -> None:
        """P2, P4 without the clock, and what P6 says of kinds; which kind is due, the application knows."""
        committee, header = self._committee, block.header
        if header.chain_id != committee.chain_id or header.epoch != committee.epoch:
            raise InvalidBlock("it belongs to another chain or epoch")
        if header.members_hash != committee.members_hash:
            raise InvalidBlock("it names other members")
        if header.proposer != committee.leader(header.view):
            raise InvalidBlock("its proposer is not the leader of its view")
        if contradicts_itself(header):
            raise InvalidBlock("it names next members, a reveal or entries that its kind forbids")
        parent = self.parent_of(header)
        if parent is None:
            raise InvalidBlock("its parent is not on the chain")
        if header.time_ms <= parent.time_ms:
            raise InvalidBlock("its time is not after its parent's")
        if header.kind == TAIL:
            self._check_tail(block, parent)
            return
        if self.ends_at(header.parent_hash) is not None:
            raise InvalidBlock("it stands behind the end of its epoch and is no tail")
        if header.parent_view != parent.view:
            raise InvalidBlock("it misstates its parent's view")
        if header.height != parent.height + 1:
            raise InvalidBlock("its height is not its parent's plus one")

    def _check_tail(self, block: Block, end: BlockRef) -> None:
        """A tail repeats the block that ends the epoch, and its certificate is that block's or another tail's of it."""
        header = block.header
        below = self.blocks.get(header.parent_hash)
        if below is None or below.header.kind != EPOCH_END:
            raise InvalidBlock("a tail stands on the block that ends its epoch")
        certified = self.blocks.get(_certified(block) or b"")
        if certified is None or self.ends_at(certified.hash) is not below:
            raise InvalidBlock("a tail continues the end of its epoch or a tail of it")
        told = header.height, header.tree_size, header.tree_root, header.beacon
        if told != (end.height, end.tree_size, end.tree_root, end.beacon):
            raise InvalidBlock("a tail adds nothing to the log")

    def finalize(self, blocks: list[Block]) -> None:
        """Move the floor: everything at or below the last block's view is forgotten."""
        self.final = ref(blocks[-1].header)
        for block in blocks:
            self.recent[block.hash] = block
        while len(self.recent) > MAX_RECENT_BLOCKS.value:
            self.recent.popitem(last=False)
        floor = self.final.view
        gone = [h for h, block in self.blocks.items() if block.header.view <= floor]
        for block_hash in gone:
            del self.blocks[block_hash]
            self.checked.discard(block_hash)
        self.bad = {h: why for h, why in self.bad.items() if h in self.blocks}


def _certified(tail: Block | None) -> bytes | None:
    """The block whose certificate a tail carries: beside its parent, what it needs to be judged."""
    if tail is None or tail.header.kind != TAIL or tail.body.justification.parent_cert is None:
        return None
    return tail.body.justification.parent_cert.said.block_hash
