"""What a storage member signs for a blob that it keeps: which network, which bytes, how many.

The form that a receipt has in a reveal is in `bodies.builds`; under rules 1 no reveal carries one.

Source: docs/ledger.md, "Leaves".
"""

from typing import Final

from pyrsia.wire import canonical

DOMAIN: Final = b"pyrsia/receipt/v1\0"


def signed_text(net: str, sha256: str, size: int) -> bytes:
    """The text under a receipt's signature, which is the storage member's node key's.

    Args:
        net: the chain id as in every entry, so that a receipt counts in one network.
        sha256: 64 hex digits.
        size: in bytes.
    """
    return DOMAIN + canonical.encode({"net": net, "sha256": sha256, "size": size})
