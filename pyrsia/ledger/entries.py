"""Entries: the leaves of the log. Their bytes, their signatures, their fields.

Decides whether bytes are an entry of version 1 (canonical, exact field sets, sizes) and what its id is.
Whether a well-formed entry may stand in the log now is `execute`'s business; whether its signature
holds is asked through `signature_holds`, because checking is a matter of arguments here.

Source: docs/ledger.md, "Leaves".
"""

import re
from collections.abc import Callable, Iterator
from typing import Any, Final

import msgspec
from blake3 import blake3

from pyrsia._native import form
from pyrsia.errors import Malformed
from pyrsia.ledger import shape
from pyrsia.ledger.bodies import AUTHORED as AUTHORED
from pyrsia.ledger.bodies import DERIVED as DERIVED
from pyrsia.ledger.bodies.builds import VERDICTS as VERDICTS
from pyrsia.units import MAX_ENTRY_BYTES, NodeId
from pyrsia.wire import canonical
from pyrsia.wire.text import b32, unb32

DOMAIN: Final = b"pyrsia/entry/v1\0"
NONCE_BYTES: Final = 16
SIGNATURE_BYTES: Final = 64

# Exact on canonical bytes: a quote within a text is escaped there, and only a key is followed by a colon.
_MANIFEST: Final = re.compile(rb'"manifest":"([0-9a-f]{64})"')
_NOT_COMMITTED: Final = ("nonce", "receipts")
_AUTHORED_FIELDS: Final = frozenset(("author", "body", "net", "nonce", "sig", "type", "until", "v"))
_DERIVED_FIELDS: Final = frozenset(("body", "net", "type", "v"))
_GENESIS_FIELDS: Final = frozenset(("body", "type", "v"))
_decode: Final = msgspec.json.Decoder().decode
_check_nonce: Final = shape.hexed(NONCE_BYTES)
_check_signature: Final = shape.hexed(SIGNATURE_BYTES)


class Entry(msgspec.Struct, frozen=True, gc=False):
    """A well-formed leaf. `author` is None and `until_ms` 0 where nobody signed it.

    Attributes:
        kind: its `type`.
        id: BLAKE3 of `signed`, 32 bytes.
        signed: the domain and the canonical bytes without `sig`: what the author signed.
        signature: 64 bytes, or empty.
        raw: the leaf, byte for byte.
    """

    kind: str
    body: dict[str, Any]
    net: str
    author: NodeId | None
    until_ms: int
    id: bytes
    signed: bytes
    signature: bytes
    raw: bytes

    def signature_holds(self, verify: Callable[[bytes, bytes, bytes], bool]) -> bool:
        """Whether the author's node key signed this. Only authored entries can pass."""
        return self.author is not None and verify(self.author, self.signed, self.signature)


def author(
    kind: str,
    body: dict[str, Any],
    *,
    net: str,
    author: NodeId,
    nonce: bytes,
    until_ms: int,
    sign: Callable[[bytes], bytes],
) -> bytes:
    """`authored`, its bytes."""
    made = authored(kind, body, net=net, author=author, nonce=nonce, until_ms=until_ms, sign=sign)
    return made.raw


def authored(
    kind: str,
    body: dict[str, Any],
    *,
    net: str,
    author: NodeId,
    nonce: bytes,
    until_ms: int,
    sign: Callable[[bytes], bytes],
) -> Entry:
    """A signed entry, as everybody will read it.

    Args:
        nonce: 16 random bytes, so that the same words said twice are two entries.
        until_ms: block time after which no block may hold it.

    Raises:
        ValueError: the fields are no valid entry; the caller has a bug.
    """
    fields: dict[str, Any] = {
        "author": b32(author),
        "body": body,
        "net": net,
        "nonce": nonce.hex(),
        "type": kind,
        "until": until_ms,
        "v": 1,
    }
    fields["sig"] = sign(DOMAIN + canonical.encode(fields)).hex()
    raw = canonical.encode(fields)
    try:
        return parse(raw)
    except Malformed as error:
        raise ValueError(f"not a valid {kind}: {error}") from None


def derive(kind: str, body: dict[str, Any], *, net: str) -> bytes:
    """The bytes of an entry that everybody computes and nobody signs."""
    return canonical.encode({"body": body, "net": net, "type": kind, "v": 1})


def parse(raw: bytes) -> Entry:
    """Read a leaf of any kind.

    Raises:
        Malformed: not an entry of version 1. Nothing else escapes.
    """
    parts = form.authored(raw, DOMAIN) if type(raw) is bytes else None
    if parts is None or parts[4] not in AUTHORED:
        return parse_plainly(raw)
    author, text, net, signature, kind, until_ms, signed = parts
    body = _decode(text)
    try:
        unb32(net)
        node = NodeId(unb32(author))
        AUTHORED[kind](body)
    except Malformed:
        return parse_plainly(raw)  # which finds the same, and says it in its order
    return Entry(kind, body, net, node, until_ms, blake3(signed).digest(), signed, signature, raw)


def parse_plainly(raw: bytes) -> Entry:
    """`parse` field by field, for leaves of any kind and for what is wrong with them; twice as slow."""
    fields = canonical.decode(raw, MAX_ENTRY_BYTES.value)
    if type(fields) is not dict:
        raise Malformed("an entry is an object")
    kind, body = fields.get("type"), fields.get("body")
    if (
        type(kind) is not str
        or type(body) is not dict
        or type(fields.get("v")) is not int
        or fields["v"] != 1
    ):
        raise Malformed("an entry has a type, a body and version 1")
    keys = fields.keys()
    try:
        if kind in AUTHORED and keys == _AUTHORED_FIELDS:
            return _authored(raw, kind, body, fields)
        if kind in DERIVED and keys == _DERIVED_FIELDS:
            shape.node(fields["net"])
            DERIVED[kind](body)
            signed = DOMAIN + raw
            return Entry(kind, body, str(fields["net"]), None, 0, blake3(signed).digest(), signed, b"", raw)
        if kind == "network.genesis" and keys == _GENESIS_FIELDS:
            signed = DOMAIN + raw
            return Entry(kind, body, "", None, 0, blake3(signed).digest(), signed, b"", raw)
    except Malformed as error:
        raise Malformed(f"{kind}: {error}") from None
    raise Malformed("an unknown type, or fields that this type does not have")


def _authored(raw: bytes, kind: str, body: dict[str, Any], fields: dict[str, Any]) -> Entry:
    shape.node(fields["net"])
    _check_nonce(fields["nonce"])
    _check_signature(fields["sig"])
    shape.time_ms(fields["until"])
    node = NodeId(unb32(fields["author"]) if type(fields["author"]) is str else b"")
    if not node:
        raise Malformed("author: a node id is expected")
    AUTHORED[kind](body)
    # The bytes are canonical, so all after the body has one form: `sig` is cut out without encoding again.
    tail = len(f',"type":"{kind}","until":{fields["until"]},"v":1}}')
    cut = len(raw) - tail
    signed = DOMAIN + raw[: cut - len(',"sig":""') - 2 * SIGNATURE_BYTES] + raw[cut:]
    return Entry(
        kind,
        body,
        fields["net"],
        node,
        fields["until"],
        blake3(signed).digest(),
        signed,
        bytes.fromhex(fields["sig"]),
        raw,
    )


def entry_id(raw: bytes) -> bytes:
    """The id of a well-formed entry, 32 bytes."""
    return parse(raw).id


def commitment(request: bytes, builder: bytes, reveal: dict[str, Any]) -> bytes:
    """What a builder commits to: every word of its reveal but receipts, its own key, and a secret nonce.

    The builder's key inside stops a copy of another's commitment; failures are covered too, so nobody
    learns early that a build failed. Receipts are asked for only once the gate is open: bytes that nobody
    may see yet cannot be stored by others.

    Args:
        request: 32-byte entry id of the request.
        builder: 32-byte node key.
        reveal: the body of the `build.reveal` to come, `nonce` included.
    """
    open_part = {name: value for name, value in reveal.items() if name not in _NOT_COMMITTED}
    digest = blake3(b"pyrsia/build-commit/v1\0")
    for field in (
        request,
        builder,
        bytes.fromhex(reveal["lock_sha256"]),
        canonical.encode(open_part),
        bytes.fromhex(reveal["nonce"]),
    ):
        digest.update(len(field).to_bytes(4, "big"))
        digest.update(field)
    return digest.digest()


def manifests(leaf: bytes) -> Iterator[bytes]:
    """Manifest ids (32 bytes each) of the blobs that an entry of the log names."""
    return (bytes.fromhex(found.decode()) for found in _MANIFEST.findall(leaf))
