"""Bodies and certificates that are known missing: who is asked for them, and when.

A timer of its own: tied to the view's, a member that lags is pushed into new views by certificates for ever and
never asks for what it lacks. Blocks that nobody has by hash any more are final for the others: `by_height` says so.

Source: docs/agreement.md, "Catch-up".
"""

from pyrsia.units import VIEW_WINDOW
from pyrsia.wire.blocks import Block, GetBlock, GetCerts

from . import catchup
from .committee import Committee
from .effects import Effect, Now, Send
from .tree import BlockTree

NEVER = float("inf")
_AT_ONCE = 8  # blocks asked for in one round: as many views as may be in flight
_CERT_VIEWS = 21  # views asked for at once: three certificates each fit one answer


class Wanted:
    """What one core lacks.

    Attributes:
        at: when to ask.
        certs: the newest view of which a certificate is missing; 0 if none is.
        by_height: asking by hash has not helped.
    """

    __slots__ = ("_asked", "_committee", "_hint", "_me", "_out", "_pause_s", "_tree", "_turn", "at", "certs")

    def __init__(
        self, committee: Committee, me: int, *, tree: BlockTree, pause_s: float, out: list[Effect]
    ) -> None:
        """`pause_s`: between two rounds of questions, D0; the first comes after a quarter of it."""
        self._committee = committee
        self._me = me
        self._tree = tree
        self._pause_s = pause_s
        self._out = out
        self._turn = me
        self._asked: dict[bytes, int] = {}  # block hash -> times asked
        self._hint: dict[bytes, int] = {}  # who should have it: asked first
        self.certs = 0
        self.at = NEVER

    def __contains__(self, block_hash: object) -> bool:
        return block_hash in self._asked

    def __bool__(self) -> bool:
        return bool(self.certs or self._asked)

    @property
    def by_height(self) -> bool:
        """Whether asking by hash has not helped."""
        return any(times > 1 for times in self._asked.values())

    def want(self, block_hash: bytes, holder: int | None = None) -> None:
        if len(self._asked) < VIEW_WINDOW.value or block_hash in self._asked:
            self._asked.setdefault(block_hash, 0)
            if holder is not None and holder != self._me:
                self._hint.setdefault(block_hash, holder)

    def take(self, now: Now, block: Block) -> bool:
        """A block that somebody sent; whether it was wanted and is whole. Nothing else is kept."""
        if block.hash not in self._asked or not catchup.body_fits(block):
            return False
        self._tree.add(block)
        self.got(block.hash)
        if block.header.parent_hash not in self._tree.blocks:
            self.at = min(self.at, now.mono_s)  # its parent is missing, too: ask on at once
        return True

    def got(self, block_hash: bytes) -> None:
        self._asked.pop(block_hash, None)
        self._hint.pop(block_hash, None)

    def clear(self) -> None:
        """What is still missing is asked for anew; the rest is on no branch any more."""
        self._asked.clear()
        self._hint.clear()

    def arm(self, now: Now) -> None:
        if self.at == NEVER and self:
            self.at = now.mono_s + self._pause_s / 4

    def ask(self, now: Now) -> None:
        """One round of questions: blocks of the holder that a hint names first, then of the next member in turn."""
        self.at = NEVER
        tree = self._tree
        for known in [h for h in self._asked if h in tree.blocks or h in tree.bad or h == tree.final.hash]:
            self.got(known)
        if not self:
            return
        peer = self._peer()
        for block_hash in list(self._asked)[:_AT_ONCE]:
            first = self._asked[block_hash] == 0
            self._asked[block_hash] += 1
            self._out.append(Send(self._hint.get(block_hash, peer) if first else peer, GetBlock(block_hash)))
        if self.certs:
            lowest = max(1, tree.final.view, self.certs - _CERT_VIEWS + 1)
            ask = GetCerts(self._committee.epoch, lowest, max(lowest, self.certs))
            self._out.append(Send(self._peer(), ask))
            self.certs = 0
        self.at = now.mono_s + self._pause_s

    def _peer(self) -> int:
        """The next member in turn."""
        self._turn = (self._turn + 1) % self._committee.n
        if self._turn == self._me:
            self._turn = (self._turn + 1) % self._committee.n
        return self._turn
