"""Bodies and certificates that are known missing: who is asked for them, and when.

A timer of its own: tied to the view's, a member that lags is pushed into new views by certificates for ever and
never asks for what it lacks. Blocks that nobody has by hash any more are final for the others: `by_height` says so.

Source: docs/agreement.md, "Catch-up".
"""

from collections.abc import Callable

from pyrsia.units import VIEW_WINDOW

NEVER = float("inf")
_AT_ONCE = 8  # blocks asked for in one round: as many views as may be in flight


class Wanted:
    """What one core lacks."""

    __slots__ = ("_asked", "_hint", "_me", "_n", "_turn", "at", "certs")

    def __init__(self, me: int, members: int) -> None:
        self._me = me
        self._n = members
        self._turn = me
        self._asked: dict[bytes, int] = {}  # block hash -> times asked
        self._hint: dict[bytes, int] = {}  # who should have it: asked first
        self.certs = 0  # the newest view of which a certificate is missing; 0 if none is
        self.at = NEVER  # when to ask

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

    def got(self, block_hash: bytes) -> None:
        self._asked.pop(block_hash, None)
        self._hint.pop(block_hash, None)

    def clear(self) -> None:
        """What is still missing is asked for anew; the rest is on no branch any more."""
        self._asked.clear()
        self._hint.clear()

    def arm(self, at_s: float) -> None:
        if self and self.at == NEVER:
            self.at = at_s

    def round(self, done: Callable[[bytes], bool]) -> list[tuple[int, bytes]]:
        """(member, block hash) to ask now: the holder that a hint names first, then the next member in turn."""
        for block_hash in [known for known in self._asked if done(known)]:
            self.got(block_hash)
        peer = self.peer()
        out: list[tuple[int, bytes]] = []
        for block_hash in list(self._asked)[:_AT_ONCE]:
            first = self._asked[block_hash] == 0
            self._asked[block_hash] += 1
            out.append((self._hint.get(block_hash, peer) if first else peer, block_hash))
        return out

    def peer(self) -> int:
        """The next member in turn."""
        self._turn = (self._turn + 1) % self._n
        if self._turn == self._me:
            self._turn = (self._turn + 1) % self._n
        return self._turn
