"""A world whose final blocks go to an archive with their certificates, as agreement hands them on."""

from pyrsia.units import needed
from pyrsia.wire.blocks import Block, Body, Cert, FinalityProof, Justification, finalize, signed_text
from tests.reference.parts import Kept


class Certified(Kept):
    """`alone`: heights whose certificate is only that of a later block, as in a delivery of several."""

    alone = frozenset()

    def header(self, draft, slot, **changes):
        self.newest = super().header(draft, slot, **changes), draft.entries
        return self.newest[0]

    def proof(self, header, *, signers=None):
        """q FIN votes over a header; `signers`: indices, others than the first q."""
        validators = self.seats().validators
        said = finalize(header)
        text = signed_text(self.genesis.chain_id, self.genesis.origin, said)
        chosen = tuple(range(needed(len(self.genesis.validators)))) if signers is None else signers
        sigs = tuple(self.vote_keys[validators[i].vote].sign(text) for i in chosen)
        return FinalityProof(Cert(said, len(validators), chosen, sigs), (header,))

    def write(self, commit):
        if commit.height == 0:
            super().write(commit)
            return
        header, applied = self.newest
        database_write, archive = self.archive.write, self.archive
        block = Block(header, Body(tuple(applied), Justification(None)))
        proof = None if commit.height in self.alone else self.proof(header)
        archive.write = lambda done, _, __: database_write(done, block, proof)
        try:
            super().write(commit)
        finally:
            del archive.write

    def leaf_of(self, raw_id):
        return self.archive.leaf_of(raw_id)
