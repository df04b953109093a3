"""Seals of direct messages: for the recipient's key alone, by a key that is made for one message and forgotten.

The key is the Curve25519 image of the node key, as the transport's is. Who sealed it the envelope says, and under the
seal the text stands behind its author's id (`wire.mail`).

Source: libsodium's sealed boxes (X25519, XSalsa20-Poly1305).
"""

from nacl.exceptions import CryptoError
from nacl.public import PrivateKey, PublicKey, SealedBox

from pyrsia.errors import Malformed
from pyrsia.net.curve import curve_keys, curve_public
from pyrsia.units import NodeId
from pyrsia.wire import mail


def sealed(to: NodeId, author: NodeId, text: bytes) -> bytes:
    """
    Raises:
        Malformed: `to` is no key.
    """
    return bytes(SealedBox(PublicKey(curve_public(to))).encrypt(mail.under_seal(author, text)))


def opened(seed: bytes, author: NodeId, data: bytes) -> bytes:
    """The text. Args: seed: of the recipient's node key.

    Raises:
        Malformed: it is sealed for somebody else, or was somebody else's.
    """
    try:
        under = SealedBox(PrivateKey(curve_keys(seed).secret)).decrypt(data)
    except (CryptoError, ValueError, TypeError):
        raise Malformed("mail: the seal is not for this node") from None
    return mail.read_under_seal(author, bytes(under))
