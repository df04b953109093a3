"""Transport keys: the CURVE key of a node is the Curve25519 image of its Ed25519 node key.

So an address and a node id are enough to dial. The map goes one way: a server sees only the image, and
compares it with the image of the id that the greeting claims.

Source: docs/network.md, "Who is who".
"""

from dataclasses import dataclass

from nacl.bindings import (
    crypto_sign_ed25519_pk_to_curve25519,
    crypto_sign_ed25519_sk_to_curve25519,
    crypto_sign_seed_keypair,
)
from nacl.exceptions import CryptoError

from pyrsia.errors import Malformed


@dataclass(frozen=True, slots=True, repr=False)
class CurveKeys:
    """Raw 32-byte keys, as ZeroMQ takes them."""

    public: bytes
    secret: bytes


def curve_keys(seed: bytes) -> CurveKeys:
    """The transport keys of the node whose 32-byte Ed25519 seed this is."""
    public, secret = crypto_sign_seed_keypair(seed)
    return CurveKeys(
        crypto_sign_ed25519_pk_to_curve25519(public), crypto_sign_ed25519_sk_to_curve25519(secret)
    )


def curve_public(node: bytes) -> bytes:
    """The transport key that `node` must use.

    Raises:
        Malformed: the 32 bytes are no point of the curve, or of small order.
    """
    try:
        return bytes(crypto_sign_ed25519_pk_to_curve25519(node))
    except (CryptoError, ValueError, TypeError):
        raise Malformed("node id: not a public key") from None
