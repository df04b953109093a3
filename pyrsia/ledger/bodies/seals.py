"""The body of `block.seal`: what closes every block that holds a leaf.

Source: docs/ledger.md, "Leaves", "A block".
"""

from typing import Final

from pyrsia.ledger import shape
from pyrsia.wire import canonical

DERIVED: Final[dict[str, shape.Check]] = {
    "block.seal": shape.fields(
        {"next_chain": shape.hash32, "next_members": shape.hash32},
        beacon=shape.hash32,
        epoch=shape.whole(0, canonical.MAX_INT),
        first_leaf=shape.whole(0, canonical.MAX_INT),
        height=shape.whole(0, canonical.MAX_INT),
        index_root=shape.hash32,
        proposer=shape.whole(0, 65_535),
        reveal=shape.hash32,
        state_root=shape.hash32,
        time_ms=shape.time_ms,
        view=shape.whole(0, canonical.MAX_INT),
    ),
}
