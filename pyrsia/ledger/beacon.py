"""The beacon: public randomness that no proposer can choose.

Each validator commits to the end of a chain of 2^20 BLAKE3 links. The link that a header must reveal is
fixed by its view (position = view // L), so nothing can be ground; hashing forward from the newest link
in state proves it. Which blocks feed the beacon is `execute`'s business.

Source: docs/ledger.md, "Beacon".
"""

from typing import Final

from blake3 import blake3

from pyrsia._native.links import forward
from pyrsia.errors import Malformed

LINKS: Final = 1 << 20
NEXT_WITHIN: Final = 65_536  # links left: at 4 validators and a view every 5 s the last fortnight of a chain
# Positions skipped where an epoch ends: at 4 validators 256 views, each waited out by somebody.
END_MARGIN: Final = 64
KEPT_EVERY: Final = 1_024  # 32 KB kept, and any link is at most 1,023 hashes away
NEAR_EVERY: Final = 32  # of the kilobyte around the last position, so that the next one costs 31 hashes
ZERO: Final = bytes(32)

_START: Final = "pyrsia v1 beacon chain"
_NEXT: Final = "pyrsia v1 beacon next chain"
_FILE: Final = "pyrsia v1 beacon chain file"


class Chain20:
    """One validator's chain of links, secret until revealed."""

    __slots__ = ("_kept", "_near", "end")

    _near: dict[int, bytes]  # links between two kept ones, where the last question was, by how far they are

    def __init__(self, seed: bytes) -> None:
        """Hash the whole chain once: about a tenth of a second."""
        if len(seed) != 32:
            raise ValueError(f"a chain seed is 32 bytes, not {len(seed)}")
        kept: list[bytes] = []
        link = blake3(seed, derive_key_context=_START).digest()
        for _ in range(LINKS // KEPT_EVERY):
            kept.append(link)
            link = forward(link, KEPT_EVERY)
        self._kept = tuple(kept)
        self._near = {}
        self.end = link  # what genesis commits to

    def encode(self) -> bytes:
        """The kept links and the end, for a file as secret as the seed: reading them saves the hashing."""
        content = b"".join(self._kept) + self.end
        return content + blake3(content, derive_key_context=_FILE).digest()

    @classmethod
    def decode(cls, data: bytes, seed: bytes) -> "Chain20":
        """Read `encode`'s bytes.

        Raises:
            Malformed: damaged, or of another seed.
        """
        content, check = data[:-32], data[-32:]
        if len(content) != 32 * (LINKS // KEPT_EVERY + 1):
            raise Malformed("a chain of another length")
        if check != blake3(content, derive_key_context=_FILE).digest():
            raise Malformed("a chain with a changed byte")
        if content[:32] != blake3(seed, derive_key_context=_START).digest():
            raise Malformed("a chain of another seed")
        chain = cls.__new__(cls)
        chain._kept = tuple(content[at : at + 32] for at in range(0, len(content) - 32, 32))
        chain._near = {}
        chain.end = content[-32:]
        return chain

    def link(self, position: int) -> bytes:
        """The link to reveal at `position`: hashed `position + 1` times it gives the end.

        Raises:
            ValueError: the chain has no such position.
        """
        if not 0 <= position < LINKS:
            raise ValueError(f"position {position} is outside the chain")
        steps = LINKS - 1 - position
        near, rest = divmod(steps, NEAR_EVERY)
        if near not in self._near:
            self._walk(steps // KEPT_EVERY)
        return forward(self._near[near], rest)

    def _walk(self, kept: int) -> None:
        """Remember what lies between this kept link and the next: positions are asked for one after the other."""
        link, each = self._kept[kept], KEPT_EVERY // NEAR_EVERY
        found: dict[int, bytes] = {}
        for at in range(kept * each, (kept + 1) * each):
            found[at] = link
            link = forward(link, NEAR_EVERY)
        self._near = found


def chain_seed(seed: bytes, number: int) -> bytes:
    """The seed of a member's chain `number`: what grows from `seed` is its first, 0."""
    if number == 0:
        return seed
    return blake3(seed + number.to_bytes(8, "big"), derive_key_context=_NEXT).digest()


def chain_end(seed: bytes) -> bytes:
    """The end of the chain that grows from `seed`, 32 bytes."""
    return Chain20(seed).end


def position(view: int, leaders: int, base: int = 0) -> int:
    """Position of the link that a header of `view` reveals; it counts through all chains of its proposer.

    Args:
        leaders: how many lead in turn in this epoch.
        base: the proposer's position at view 0 of this epoch.
    """
    return base + view // leaders


def offers_next(at: int) -> bool:
    """Whether the header that reveals the link at position `at` may name the end of the chain after this one."""
    return LINKS - 1 - at % LINKS < NEXT_WITHIN


def check_link(reveal: bytes, at: int, newest: bytes, next_position: int) -> None:
    """Whether `reveal` is the link at position `at`.

    Args:
        newest: the newest known link of this chain, or its end if none was revealed.
        next_position: position after that of `newest`; the chain's first for its end.

    Raises:
        Malformed: it is not, or `at` lies behind the newest link or in another chain.
    """
    if not next_position <= at or at // LINKS != next_position // LINKS:
        raise Malformed(f"position {at} of a chain whose next is {next_position}")
    if len(reveal) != len(newest) or forward(reveal, at - next_position + 1) != newest:
        raise Malformed("the revealed link does not lead to the newest known one")


def mix(parent: bytes, reveal: bytes) -> bytes:
    """The beacon of a sealed block."""
    return blake3(parent + reveal).digest()
