"""A node without a seat: it takes final blocks with their proofs, executes them, and hands them on.

It believes no sender: q signatures over a header, links down to what it holds, and its own execution decide. Whom it
asks, and that the proofs hold, is `sync`'s business; what comes after the epoch is `epochs`'.

Source: docs/agreement.md, "Followers and light clients", "Catch-up".
"""

from pyrsia.wire.blocks import EPOCH_END, ZERO, Block, Blocks, Status

from . import catchup
from .application import Application, BlockRef, Executed
from .committee import Committee
from .effects import Deliver, Effect, Halt, Now
from .tree import BlockTree


class Follower:
    """Follows one epoch's final chain. `ended`: the block that ends the epoch was handed on."""

    def __init__(self, committee: Committee, app: Application, start: Executed | None = None) -> None:
        """`start`: the last final block, if it is not the application's head yet."""
        self.committee = committee
        self.halted = ""
        self.ended = False
        self.tree = BlockTree(app, committee, app.head() if start is None else start)

    @property
    def final(self) -> BlockRef:
        """The last final block that was handed on."""
        return self.tree.final

    def adopt(self, now: Now, answer: Blocks) -> list[Effect]:
        """Final blocks that `catchup.proven` found good: execute them, and hand them on."""
        if self.halted or self.ended:
            return []
        try:
            rest = catchup.above(answer.blocks, self.final.height, self.final.hash)
        except catchup.Conflict as error:
            return self._halt(str(error))
        if not rest:
            return []
        for block in rest:
            self.tree.add(block)
            if not self.tree.check(block):
                return self._halt(self.tree.refusal(block))
        self.tree.finalize(list(rest))
        self.ended = rest[-1].header.kind == EPOCH_END
        return [Deliver(rest, answer.proof)]

    def find(self, block_hash: bytes) -> Block | None:
        return self.tree.find(block_hash)

    def status(self) -> Status:
        """Where we stand."""
        return Status(self.committee.epoch, 0, self.final.height, self.final.hash or ZERO)

    def _halt(self, reason: str) -> list[Effect]:
        self.halted = reason
        return [Halt(reason)]
