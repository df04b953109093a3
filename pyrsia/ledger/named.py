"""The blobs that an entry of the log names, with digest and size: what storage members keep.

Every object of an entry with `manifest`, `sha256` and `size` is a blob: outputs, logs, sources that were given along,
lists of lock inputs, lists of members, metadata. Whether the three belong together only the bytes tell. What an entry
names by a digest alone is none: a registry's source, the files of a lock, an environment.

Source: docs/ledger.md, "Leaves".
"""

from collections.abc import Iterator
from typing import Any, Final

import msgspec

from pyrsia.errors import Malformed
from pyrsia.units import CHUNK_BYTES, MAX_CHUNKS, NodeId
from pyrsia.wire.text import unb32

_SIGN: Final = b'"manifest":"'
_MOST: Final = MAX_CHUNKS.value * CHUNK_BYTES.value  # a larger file has no manifest, so nobody can have it
_decode: Final = (
    msgspec.json.Decoder().decode
)  # of the log's own bytes, whose form was checked before they came there

Named = tuple[bytes, bytes, int]  # manifest id, SHA-256, size


def blobs(leaf: bytes) -> Iterator[Named]:
    """Each blob that the entry names, in its order; the same one may come twice."""
    if _SIGN in leaf:
        yield from _within(_decode(leaf)["body"])


def givers(leaf: bytes) -> tuple[NodeId, ...]:
    """Who had the blobs when the entry was made: the builders that agreed, or its author."""
    fields = _decode(leaf)
    agreeing = fields["body"].get("agreeing")
    texts = [*(agreeing if isinstance(agreeing, list) else ()), fields.get("author", "")]
    found = []
    for text in texts:
        try:
            found.append(NodeId(unb32(text)))
        except (Malformed, TypeError):
            continue
    return tuple(dict.fromkeys(found))


def _within(value: Any) -> Iterator[Named]:
    if isinstance(value, dict):
        manifest, sha256, size = (value.get(name) for name in ("manifest", "sha256", "size"))
        if isinstance(manifest, str) and isinstance(sha256, str) and isinstance(size, int) and size <= _MOST:
            yield bytes.fromhex(manifest), bytes.fromhex(sha256), size
        for inner in value.values():
            yield from _within(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _within(inner)
