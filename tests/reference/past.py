"""A node with a past: blocks by the real ledger, their finality signed by the real keys, all of it in its archive."""

from pyrsia.node.log.archive import Archive
from pyrsia.wire.blocks import Block, Body, Cert, FinalityProof, Justification, finalize, signed_text
from tests.reference.parts import Kept

_NOTHING = Justification(None)


class Past(Kept):
    """Each block is written with itself and a proof, as a delivery writes it.

    `unproven`: this many blocks of each delivery have their proof only above them.
    """

    def __init__(self, folder, unproven=0, **changes):
        self.unproven = unproven
        self.block_now = None
        super().__init__(folder, **changes)

    def header(self, draft, slot, **changes):
        told = {"just_hash": _NOTHING.hash()}
        if self.chain.head().epoch != slot.epoch:  # it stands on the block that ended the epoch before
            told["parent_view"] = 0
        made = super().header(draft, slot, **(told | changes))
        self.validators = self.seats().validators
        self.block_now = Block(made, Body(draft.entries, _NOTHING))
        return made

    def proof(self, header):
        """A quorum of the block's epoch signs it."""
        said = finalize(header)
        text = signed_text(self.genesis.chain_id, self.genesis.origin, said)
        n = len(self.validators)
        q = n - (n - 1) // 3
        sigs = tuple(self.vote_keys[one.vote].sign(text) for one in self.validators[:q])
        return FinalityProof(Cert(said, n, tuple(range(q)), sigs), (header,))

    def write(self, commit):
        if self.archive is None:
            self.archive = Archive(self.database, self.genesis)
        super(Kept, self).write(commit)
        block = self.block_now
        proven = block is not None and (not self.unproven or commit.height % (self.unproven + 1) == 0)
        self.archive.write(commit, block, self.proof(block.header) if proven else None)
