"""Types that cannot be mixed up, and every limit with the reason for its number."""

from dataclasses import dataclass
from typing import Final, NewType

LeafIndex = NewType("LeafIndex", int)  # 0-based position of a leaf in the log
TreeSize = NewType("TreeSize", int)  # number of leaves: an index + 1
Height = NewType("Height", int)  # number of a block; genesis is 0
View = NewType("View", int)  # one leader's turn, from 1
Epoch = NewType("Epoch", int)  # life of one validator set, from 0
NodeId = NewType("NodeId", bytes)  # 32-byte Ed25519 public key
Sha256 = NewType("Sha256", bytes)  # 32 bytes
Blake3 = NewType("Blake3", bytes)  # 32 bytes

HASH_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class Limit:
    """A bound and why it is that number.

    Attributes:
        value: in the unit that the name ends with.
        reason: one sentence that a stranger accepts.
    """

    value: int
    reason: str


# -- wire and ledger --
MAX_ENTRY_BYTES = Limit(60_000, "a tlog-tiles bundle frames an entry with a 16-bit length; the rest is headroom")
MAX_JSON_DEPTH = Limit(8, "the deepest entry type needs 6; a deeper one only serves to exhaust a decoder")

# -- log --

# -- store --

# -- consensus --

# -- net and transfer --

# -- builds --

# -- serve --

# -- node, cli, demo --
