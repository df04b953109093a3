"""A node that does not vote: it takes final blocks with their proofs, executes them, and hands them on.

It believes no sender: q signatures over a header, links down to what it holds, and its own execution decide.
Who answers does not matter, so peers are asked in turn, on a timer of its own.

Source: docs/agreement.md, "Followers", "Catch-up".
"""

from collections.abc import Sequence

from pyrsia.errors import Malformed
from pyrsia.units import MAX_SYNC_BLOCKS
from pyrsia.wire.blocks import FIN, Block, Blocks, Cert, FinalityProof, GetBlocks, Message

from . import catchup
from .application import Application, BlockRef
from .committee import Checker, Committee, Verify
from .effects import Deliver, Effect, Halt, Now, Send, Serve, WakeAt
from .tree import BlockTree


class Follower:
    """Follows one epoch's final chain."""

    def __init__(
        self,
        committee: Committee,
        app: Application,
        *,
        verify: Verify,
        poll_s: float = 1.0,
        patience_s: float = 2.0,
    ) -> None:
        """`poll_s`: pause between questions while nothing is missing; `patience_s`: wait for one answer."""
        self.halted = ""
        self.tree = BlockTree(app, committee)
        self._checker = Checker(committee, verify)
        self._poll_s = poll_s
        self._patience_s = patience_s
        self._turn = 0
        self._at = 0.0

    @property
    def final(self) -> BlockRef:
        """The last final block that was handed on."""
        return self.tree.final

    def on_start(self, now: Now) -> list[Effect]:
        return self._ask(now)

    def on_timer(self, now: Now) -> list[Effect]:
        """Nobody answered, or it is time to look again: ask the next member."""
        if self.halted or now.mono_s < self._at:
            return []
        self._turn += 1
        return self._ask(now)

    def on_message(self, now: Now, sender: int, message: Message) -> list[Effect]:
        """Final blocks, a hint that there are some, or another follower's question."""
        if self.halted:
            return []
        if isinstance(message, Blocks):
            return self.on_blocks(now, message.blocks, message.proof, sender)
        if isinstance(message, Cert):
            return self._on_cert(now, sender, message)
        if isinstance(message, GetBlocks):
            last = min(message.last, self.final.height, message.first + MAX_SYNC_BLOCKS.value - 1)
            return [Serve(sender, message.first, last)] if 0 < message.first <= last else []
        return []

    def on_blocks(
        self, now: Now, blocks: Sequence[Block], proof: FinalityProof, sender: int | None = None
    ) -> list[Effect]:
        """Check, execute, hand on; a lie costs its sender nothing but our time."""
        if self.halted or not blocks:
            return []
        final = self.final
        try:
            above = catchup.checked(Blocks(tuple(blocks), proof), self._checker, final.height, final.hash)
        except Malformed:
            return []
        except catchup.Conflict as error:
            return self._halt(str(error))
        if not above:
            return []
        for block in above:
            self.tree.add(block)
            if not self.tree.check(block):
                return self._halt(f"a final block that our rules refuse: {self.tree.bad[block.hash]}")
        self.tree.finalize(list(above))
        effects: list[Effect] = [Deliver(above, proof)]
        if proof.cert.said.height > self.final.height or len(blocks) > 1:
            return effects + self._ask(now, sender)
        return effects + self._wake(now, self._poll_s)

    def _on_cert(self, now: Now, sender: int, cert: Cert) -> list[Effect]:
        if cert.kind != FIN or cert.said.height <= self.final.height or not self._checker.cert(cert):
            return []
        return self._ask(now, sender)

    def _ask(self, now: Now, peer: int | None = None) -> list[Effect]:
        to = self._turn % self._checker.committee.n if peer is None else peer
        first = self.final.height + 1
        ask = Send(to, GetBlocks(first, first + MAX_SYNC_BLOCKS.value - 1))
        return [
            ask,
            *self._wake(now, min(self._poll_s, self._patience_s) if peer is None else self._patience_s),
        ]

    def _wake(self, now: Now, after_s: float) -> list[Effect]:
        self._at = now.mono_s + after_s
        return [WakeAt(self._at)]

    def _halt(self, reason: str) -> list[Effect]:
        self.halted = reason
        return [Halt(reason)]
