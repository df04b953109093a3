"""DSSE envelopes: a payload's bytes and who signed them, one key or several. Pure.

What is signed are the payload's bytes, never what was parsed from them. `keyid` is a hint for other tools and decides
nothing here: every signature is tried under every trusted key, and T different keys must hold.

Source: DSSE protocol 1.0.2 (https://github.com/secure-systems-lab/dsse, protocol.md and envelope.md).
"""

import base64
import binascii
import json
from collections.abc import Callable, Sequence
from typing import Final

from pyrsia.errors import Malformed
from pyrsia.units import MAX_ATTESTATION_BYTES, Limit
from pyrsia.wire import canonical

PAYLOAD_TYPE: Final = "application/vnd.in-toto+json"
MAX_SIGNATURES = Limit(100, "K of a network is at most this, and each builder signs once")

Sign = Callable[[bytes], bytes]
Verify = Callable[[bytes, bytes, bytes], bool]  # public key, message, signature


def pae(payload_type: str, payload: bytes) -> bytes:
    """DSSE's pre-authentication encoding: what is really signed."""
    kind = payload_type.encode("utf-8")
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)


def signed_text(payload: bytes) -> bytes:
    """What a key signs for an in-toto Statement."""
    return pae(PAYLOAD_TYPE, payload)


def envelope(payload: bytes, signatures: Sequence[tuple[str, bytes]]) -> str:
    """The envelope as JSON text.

    Args:
        signatures: (keyid, 64-byte Ed25519 signature over `signed_text(payload)`) each.
    """
    return canonical.encode(
        {
            "payload": base64.b64encode(payload).decode(),
            "payloadType": PAYLOAD_TYPE,
            "signatures": [
                {"keyid": keyid, "sig": base64.b64encode(signature).decode()}
                for keyid, signature in signatures
            ],
        }
    ).decode()


def opened(
    text: str,
    keys: Sequence[bytes],
    verify: Verify,
    *,
    least: int = 1,
    limit: int = MAX_ATTESTATION_BYTES.value,
) -> tuple[bytes, tuple[bytes, ...]]:
    """(the payload, those of `keys` that signed it, in their order).

    Raises:
        Malformed: no envelope, another payload type, or fewer than `least` different keys hold.
    """
    if len(text) > limit:
        raise Malformed(f"an attestation of {len(text)} characters")
    try:
        outer = json.loads(text)
        kind = outer["payloadType"]
        payload = _unbase64(outer["payload"])
        signatures = [_unbase64(one["sig"]) for one in outer["signatures"]]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise Malformed("not a DSSE envelope") from error
    if kind != PAYLOAD_TYPE:
        raise Malformed("an attestation with another payload type")
    message, tried = signed_text(payload), signatures[: MAX_SIGNATURES.value]
    held = tuple(key for key in dict.fromkeys(keys) if any(verify(key, message, one) for one in tried))
    if len(held) < least:
        raise Malformed(
            "the attestation is not signed by this builder's key"
            if least == 1
            else f"{len(held)} of the trusted keys signed this attestation, {least} are needed"
        )
    return payload, held


def _unbase64(text: str) -> bytes:
    """Standard or URL-safe base64, as DSSE asks of a verifier."""
    try:
        return base64.b64decode(text.replace("-", "+").replace("_", "/"), validate=True)
    except (binascii.Error, AttributeError) as error:
        raise ValueError("not base64") from error
