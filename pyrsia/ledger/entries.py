"""Entries: the leaves of the log. Their bytes, their signatures, their fields.

Decides whether bytes are an entry of version 1 (canonical, exact field sets, sizes) and what its id is.
Whether a well-formed entry may stand in the log now is `execute`'s business; whether its signature
holds is asked through `signature_holds`, because checking is a matter of arguments here.

Source: docs/ledger.md, "Leaves".
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from blake3 import blake3

from pyrsia.errors import Malformed
from pyrsia.ledger import shape
from pyrsia.ledger.genesis import ISOLATIONS
from pyrsia.units import (
    MAX_ATTESTATION_BYTES,
    MAX_DRAWN,
    MAX_ENTRY_BYTES,
    MAX_FACT_BYTES,
    MAX_OUTPUTS,
    NodeId,
)
from pyrsia.wire import canonical
from pyrsia.wire.text import b32, unb32

DOMAIN: Final = b"pyrsia/entry/v1\0"
NONCE_BYTES: Final = 16
SIGNATURE_BYTES: Final = 64

VERDICTS: Final = ("DIVERGED", "EQUIVALENT", "FAILED", "INSUFFICIENT", "REPRODUCED", "WITNESSED")
RELATIONS: Final = ("different", "equivalent", "identical", "none")
SOURCES: Final = ("claimed", "mapping", "registry")
CONTAINMENTS: Final = ("full", "none", "partial")

# Exact on canonical bytes: a quote within a text is escaped there, and only a key is followed by a colon.
_MANIFEST: Final = re.compile(rb'"manifest":"([0-9a-f]{64})"')
_WORD: Final = shape.ascii_name(100)
_FILE: Final = shape.matching(r"[A-Za-z0-9_][A-Za-z0-9._+!~-]{0,199}", "a plain file name")
_VERSION: Final = shape.text(100)
_BLOB: Final = shape.fields(manifest=shape.hash32, sha256=shape.hash32, size=shape.size)
_PUBLISHED: Final = shape.fields(
    {"requires_python": _VERSION},
    manifest=shape.hash32,
    members=_BLOB,
    metadata=_BLOB,
    sha256=shape.hash32,
    size=shape.size,
)
_OUTPUT: Final = shape.fields(
    {"requires_python": _VERSION, "upstream": _PUBLISHED},
    canonical=_PUBLISHED,
    containment=shape.one_of(*CONTAINMENTS),
    name=_FILE,
    normalised=shape.list_of(shape.text(200), 64),
    raw=_PUBLISHED,
    stable=shape.hash32,
    upstream_relation=shape.one_of(*RELATIONS),
)
_RECIPE: Final = shape.fields(
    backend=_WORD,
    cutoff_ms=shape.time_ms,
    environment=shape.ascii_name(200),
    isolation=_WORD,
    normaliser=_WORD,
    sde=shape.whole(0, 1 << 40),
    v=shape.whole(1, 1),
)
_NODES: Final = shape.list_of(shape.node, MAX_DRAWN.value)
_DISSENTING: Final = shape.list_of(shape.fields(builder=shape.node, why=shape.text(200)), MAX_DRAWN.value)

AUTHORED: Final[dict[str, shape.Check]] = {
    "build.request": shape.fields(
        coordinates=shape.fields(name=shape.ascii_name(200), version=shape.ascii_name(100)),
        ecosystem=_WORD,
        lock=_BLOB,
        purl=shape.purl,
        recipe=_RECIPE,
        requester=shape.node,
        source=shape.fields(file=_FILE, sha256=shape.hash32, size=shape.size),
        target=shape.fields(arch=_WORD, libc=shape.text(100), os=_WORD, python=_WORD),
    ),
    "build.cancel": shape.fields(request=shape.hash32),
    "build.commit": shape.fields(commitment=shape.hash32, request=shape.hash32),
    "build.reveal": shape.fields(
        attestation=shape.text(MAX_ATTESTATION_BYTES.value),
        environment=shape.ascii_name(200),
        isolation=shape.one_of(*ISOLATIONS),
        lock_sha256=shape.hash32,
        log=_BLOB,
        nonce=shape.hexed(32),
        outcome=shape.one_of("built", "failed"),
        outputs=shape.list_of(_OUTPUT, MAX_OUTPUTS.value),
        phase=shape.text(60),
        receipts=shape.list_of(shape.flag, 0),  # empty until storage members sign for blobs
        request=shape.hash32,
        source=shape.one_of(*SOURCES),
    ),
    "fact.add": shape.fields(
        kind=_WORD,
        subject=shape.text(320, 1),
        text=shape.text(MAX_FACT_BYTES.value),
        valid_from=shape.time_ms,
    ),
}
DERIVED: Final[dict[str, shape.Check]] = {
    "build.draw": shape.fields(
        beacon=shape.hash32,
        builders=_NODES,
        commit_deadline=shape.time_ms,
        request=shape.hash32,
        reveal_deadline=shape.time_ms,
        round=shape.whole(0, 1),
    ),
    "build.verdict": shape.fields(
        agreeing=_NODES,
        dissenting=_DISSENTING,
        purl=shape.purl,
        request=shape.hash32,
        silent=_NODES,
        source_sha256=shape.hash32,
        verdict=shape.one_of(*VERDICTS),
    ),
    "artifact.add": shape.fields(
        {"requires_python": _VERSION},
        agreeing=_NODES,
        containment=shape.one_of(*CONTAINMENTS),
        dissenting=_DISSENTING,
        file=_FILE,
        manifest=shape.hash32,
        members=_BLOB,
        metadata=_BLOB,
        purl=shape.purl,
        request=shape.hash32,
        served=shape.one_of("canonical", "raw", "upstream"),
        sha256=shape.hash32,
        size=shape.size,
        source=shape.one_of(*SOURCES),
        source_sha256=shape.hash32,
        time_ms=shape.time_ms,
        upstream=shape.one_of(*RELATIONS),
        verdict=shape.one_of(*VERDICTS),
    ),
    "block.seal": shape.fields(
        {"next_chain": shape.hash32},
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

_AUTHORED_FIELDS: Final = frozenset(("author", "body", "net", "nonce", "sig", "type", "until", "v"))
_DERIVED_FIELDS: Final = frozenset(("body", "net", "type", "v"))
_GENESIS_FIELDS: Final = frozenset(("body", "type", "v"))
_check_nonce: Final = shape.hexed(NONCE_BYTES)
_check_signature: Final = shape.hexed(SIGNATURE_BYTES)


@dataclass(frozen=True, slots=True)
class Entry:
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
    """A signed entry.

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
        parse(raw)
    except Malformed as error:
        raise ValueError(f"not a valid {kind}: {error}") from None
    return raw


def derive(kind: str, body: dict[str, Any], *, net: str) -> bytes:
    """The bytes of an entry that everybody computes and nobody signs."""
    return canonical.encode({"body": body, "net": net, "type": kind, "v": 1})


def parse(raw: bytes) -> Entry:
    """Read a leaf of any kind.

    Raises:
        Malformed: not an entry of version 1. Nothing else escapes.
    """
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
    if kind == "build.reveal":
        _check_reveal(body)
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


def _check_reveal(body: dict[str, Any]) -> None:
    """`built` has outputs and no phase, `failed` a phase and no outputs."""
    built = body["outcome"] == "built"
    if built != bool(body["outputs"]) or built == bool(body["phase"]):
        raise Malformed("built with outputs and no phase, or failed with a phase and no outputs")
    for output in body["outputs"]:
        if (output["upstream_relation"] == "none") == ("upstream" in output):
            raise Malformed("an upstream file and a relation to it go together")


def entry_id(raw: bytes) -> bytes:
    """The id of a well-formed entry, 32 bytes."""
    return parse(raw).id


def commitment(request: bytes, builder: bytes, reveal: dict[str, Any]) -> bytes:
    """What a builder commits to: every word of its reveal, its own key, and a secret nonce.

    The builder's key inside stops a copy of another's commitment; failures are covered too, so nobody
    learns early that a build failed.

    Args:
        request: 32-byte entry id of the request.
        builder: 32-byte node key.
        reveal: the body of the `build.reveal` to come, `nonce` included.
    """
    open_part = {name: value for name, value in reveal.items() if name != "nonce"}
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
