"""A ledger whose blocks go to a real data directory, as that of one of its validators."""

from pyrsia import config
from pyrsia.node.house import House
from pyrsia.wire.blocks import Block, Body, Justification
from pyrsia.wire.text import b32
from tests.reference.governance import Governed, member_motion
from tests.reference.parts import ring

ME = 0


class Housed(Governed):
    """A ledger whose blocks go to the house of its first validator."""

    def __init__(self, folder):
        self.house = None
        super().__init__()
        self.data = folder / "node"
        ring(ME).save(self.data / "keys")
        (self.data / "genesis.json").write_bytes(self.genesis.raw)
        self.written = []
        self.open()

    def open(self):
        self.house = House.open(self.data, config.Config())
        if self.house.archive.head is None:
            self.house.archive.write(self.chain.genesis_commit(), None, None)
            for commit, block in self.written:
                self.house.archive.write(commit, block, None)

    def write(self, commit):
        super().write(commit)
        if self.house is not None:
            block = Block(self.proposed[0], Body(self.proposed[1], Justification(None)))
            self.written.append((commit, block))
            self.house.archive.write(commit, block, None)

    def slot(self, *told, **more):
        """Not of a view whose leader has a chain of real length, which a world cannot reveal."""
        while self.seats().validators[self.leader(self.view + 1)].chain_end not in self.seeds:
            self.view += 1
        return super().slot(*told, **more)

    def header(self, draft, slot, **changes):
        made = super().header(draft, slot, **changes)
        self.proposed = made, tuple(draft.entries)
        return made

    def rotate(self, *purposes):
        """The members agree on new keys of this node: the epoch has ended, and no block of the next is there."""
        fields = self.house.prepare(purposes)
        self.enact(member_motion("member.rotate", node=b32(self.house.keys.node.public), **fields))
        return fields

    def next_block(self):
        """One of the new epoch."""
        self.block(
            self.entry(
                self.follower,
                "fact.add",
                {"kind": "description", "subject": "pkg:pypi/x@1", "text": "x", "valid_from": 1},
            )
        )
