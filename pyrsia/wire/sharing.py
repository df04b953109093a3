"""Messages by which validators share entries that wait for a block: bytes <-> frozen values, strict.

| tag | message | bytes after the tag |
| --- | --- | --- |
| 1 | `Entries` | count u8, then length u16 and bytes of each |
| 2 | `Have` | flag u8, count u16, 32 bytes an id |
| 3 | `Want` | flag u8, count u16, 32 bytes an id |

Big-endian. Every message fits one frame of a link, so none is cut into parts and none waits behind a block.

Source: docs/submission.md, "How validators share".
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from pyrsia.errors import Malformed
from pyrsia.units import HASH_BYTES, MAX_ENTRY_BYTES, SHARE_BYTES, SHARE_ENTRIES, SHARE_IDS

_ENTRIES: Final = 1
_HAVE: Final = 2
_WANT: Final = 3
_HEAD_BYTES: Final = 2  # tag and count of `Entries`
_LENGTH_BYTES: Final = 2


@dataclass(frozen=True, slots=True)
class Entries:
    """Whole entries: new ones of the sender, or what was asked for. 1 to `SHARE_ENTRIES`."""

    raws: tuple[bytes, ...]

    def encode(self) -> bytes:
        parts = [bytes((_ENTRIES, len(self.raws)))]
        for raw in self.raws:
            parts += (len(raw).to_bytes(_LENGTH_BYTES, "big"), raw)
        return b"".join(parts)


@dataclass(frozen=True, slots=True)
class Have:
    """Ids of entries that wait at the sender, 1 to `SHARE_IDS`. `more`: there are other pages, for the asking."""

    ids: tuple[bytes, ...]
    more: bool

    def encode(self) -> bytes:
        return _page(_HAVE, self.more, self.ids)


@dataclass(frozen=True, slots=True)
class Want:
    """Ids that the sender lacks, at most `SHARE_IDS`. `next`: send the next page."""

    ids: tuple[bytes, ...]
    next: bool

    def encode(self) -> bytes:
        return _page(_WANT, self.next, self.ids)


Message = Entries | Have | Want


def cost(raw: bytes) -> int:
    """Bytes that an entry takes in a batch."""
    return _LENGTH_BYTES + len(raw)


def batches(raws: Sequence[bytes]) -> list[Entries]:
    """`raws` in order, in as few messages as the limits allow."""
    found: list[Entries] = []
    batch: list[bytes] = []
    size = _HEAD_BYTES
    for raw in raws:
        if len(batch) == SHARE_ENTRIES.value or size + cost(raw) > SHARE_BYTES.value:
            found.append(Entries(tuple(batch)))
            batch, size = [], _HEAD_BYTES
        batch.append(raw)
        size += cost(raw)
    return [*found, Entries(tuple(batch))] if batch else found


def decode(data: bytes) -> Message:
    """The message in `data`, all of it.

    Raises:
        Malformed: any other byte string; no honest validator sends one.
    """
    if len(data) < _HEAD_BYTES:
        raise Malformed("sharing: shorter than a message")
    if data[0] == _ENTRIES:
        return _entries(data)
    if data[0] in (_HAVE, _WANT):
        return _ids(data)
    raise Malformed(f"sharing: no message has the tag {data[0]}")


def _entries(data: bytes) -> Entries:
    count, at = data[1], _HEAD_BYTES
    if not 1 <= count <= SHARE_ENTRIES.value or len(data) > SHARE_BYTES.value:
        raise Malformed(f"sharing: a batch of {count} entries and {len(data)} bytes")
    raws = []
    for _ in range(count):
        size = int.from_bytes(data[at : at + _LENGTH_BYTES], "big")
        at += _LENGTH_BYTES
        if not 0 < size <= MAX_ENTRY_BYTES.value or at + size > len(data):
            raise Malformed("sharing: an entry is empty, too long or cut")
        raws.append(data[at : at + size])
        at += size
    if at != len(data):
        raise Malformed("sharing: bytes behind the last entry")
    return Entries(tuple(raws))


def _page(tag: int, flag: bool, ids: Sequence[bytes]) -> bytes:
    return b"".join((bytes((tag, flag)), len(ids).to_bytes(2, "big"), *ids))


def _ids(data: bytes) -> Have | Want:
    flag, count = data[1], int.from_bytes(data[2:4], "big")
    least = 1 if data[0] == _HAVE else 0
    if flag > 1 or not least <= count <= SHARE_IDS.value or len(data) != 4 + count * HASH_BYTES:
        raise Malformed(f"sharing: a page of {count} ids in {len(data)} bytes")
    ids = tuple(data[at : at + HASH_BYTES] for at in range(4, len(data), HASH_BYTES))
    if len(set(ids)) != count:
        raise Malformed("sharing: an id stands twice in one page")
    return Have(ids, bool(flag)) if data[0] == _HAVE else Want(ids, bool(flag))
