"""Messages of membership: bytes <-> frozen values, strict.

| tag | message | bytes after the tag |
| --- | --- | --- |
| 1 | `Ping` | seq u32, told |
| 2 | `Ack` | seq u32, log size u64, load u16, version behind its length u8, told |
| 3 | `Ask` | seq u32, target [32], told |
| 4 | `Relayed` | seq u32 |
| 5 | `Nack` | seq u32, able u8 |
| 6 | `Sync` | after [32], last [32], count u16, rows: node [32], incarnation u64, word u8 |
| 7 | `Tell` | more u8 (0, or 1 and a node [32] behind it), count u16, nodes wanted [32] each, told |

`told` is a count u8 and as many statements: word u8, node [32], incarnation u64, for a suspicion its author [32],
signature [64]. Big-endian. A statement says something of one node and is signed by its author: of being alive and of
leaving by the node itself, of a suspicion by who could not reach it. So it may come by anybody. There is no word for
"dead": a suspicion that nobody answers is enough, and each node waits for the answer itself.

Pure; signing and checking are the caller's.

Source: docs/mesh-membership.md, "Messages".
"""

import re
import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import Final, NamedTuple

from pyrsia.errors import Malformed
from pyrsia.units import MAX_INCARNATION, MAX_ROWS, MAX_TOLD, MAX_TREE_SIZE, Limit, NodeId

MAX_MESSAGE_BYTES = Limit(
    20_480, "the longest is a Tell: 64 statements and 256 nodes wanted are 17 KB; nothing is cut into parts"
)
FIRST: Final = NodeId(bytes(32))  # before every node
LAST: Final = NodeId(b"\xff" * 32)  # after every node

_DOMAIN: Final = b"pyrsia/membership/v1\0"
_SIGNATURE_BYTES: Final = 64
_ID_BYTES: Final = 32
_STATEMENT: Final = struct.Struct(">B32sQ")
_ROW: Final = struct.Struct(">32sQB")
_SEQ: Final = struct.Struct(">I")
_ACK: Final = struct.Struct(">IQHB")
_ASK: Final = struct.Struct(">I32s")
_NACK: Final = struct.Struct(">IB")
_SYNC: Final = struct.Struct(">32s32sH")
_COUNT: Final = struct.Struct(">H")
_VERSION: Final = re.compile(rb"[0-9A-Za-z.+\-]{0,32}")


class Word(IntEnum):
    """What a statement says of its node; of one incarnation, the larger word is the later one."""

    ALIVE = 1
    SUSPECT = 2
    LEFT = 3


@dataclass(frozen=True, slots=True)
class Statement:
    """One signed sentence about `node`. `author` is the node itself unless the word is SUSPECT.

    Attributes:
        incarnation: only the node itself makes it grow: what is said of an older one is void.
    """

    word: Word
    node: NodeId
    incarnation: int
    author: NodeId
    signature: bytes


@dataclass(frozen=True, slots=True)
class Vitals:
    """What a node says of itself with an answer; shown to people, believed by nobody.

    Attributes:
        load: milliseconds by which its loop is late.
    """

    log_size: int
    load: int
    version: str


Told = tuple[Statement, ...]


@dataclass(frozen=True, slots=True)
class Ping:
    """Are you there?"""

    seq: int
    told: Told


@dataclass(frozen=True, slots=True)
class Ack:
    """I am: the answer to `Ping`."""

    seq: int
    vitals: Vitals
    told: Told


@dataclass(frozen=True, slots=True)
class Ask:
    """Ping `target` for me."""

    seq: int
    target: NodeId
    told: Told


@dataclass(frozen=True, slots=True)
class Relayed:
    """The target of your `Ask` answered me."""

    seq: int


@dataclass(frozen=True, slots=True)
class Nack:
    """The target of your `Ask` did not answer me. Not `able`: I have no way to it, which says nothing of it."""

    seq: int
    able: bool


class Row(NamedTuple):
    """The newest that the sender knows of a node: incarnation 0 where it has no statement."""

    node: NodeId
    incarnation: int
    word: Word


@dataclass(frozen=True, slots=True)
class Sync:
    """All that I know of the nodes behind `after`, up to `last`, in order of their ids."""

    after: NodeId
    last: NodeId
    rows: tuple[Row, ...]


@dataclass(frozen=True, slots=True)
class Tell:
    """Statements unasked, or as the answer to `Sync`.

    Attributes:
        wants: nodes of which the other one knows more.
        more: ask again behind this node; None where nothing is left.
    """

    told: Told
    wants: tuple[NodeId, ...] = ()
    more: NodeId | None = None


Message = Ping | Ack | Ask | Relayed | Nack | Sync | Tell


def to_sign(net: bytes, word: Word, node: NodeId, incarnation: int) -> bytes:
    """The bytes under a statement's signature. `net` is the chain id: a statement counts in one network."""
    return _DOMAIN + net + _STATEMENT.pack(word, node, incarnation)


def encode(message: Message) -> bytes:
    """
    Raises:
        ValueError: not what `decode` takes; the caller has a bug.
    """
    match message:
        case Ping(seq, told):
            data = b"\x01" + _SEQ.pack(seq) + _told(told)
        case Ack(seq, vitals, told):
            version = vitals.version.encode("ascii")
            head = _ACK.pack(seq, vitals.log_size, vitals.load, len(version))
            data = b"\x02" + head + version + _told(told)
        case Ask(seq, target, told):
            data = b"\x03" + _ASK.pack(seq, target) + _told(told)
        case Relayed(seq):
            data = b"\x04" + _SEQ.pack(seq)
        case Nack(seq, able):
            data = b"\x05" + _NACK.pack(seq, able)
        case Sync(after, last, rows):
            packed = (_ROW.pack(row.node, row.incarnation, row.word) for row in rows)
            data = b"\x06" + _SYNC.pack(after, last, len(rows)) + b"".join(packed)
        case Tell(told, wants, more):
            head = b"\0" if more is None else b"\1" + more
            data = b"\x07" + head + _COUNT.pack(len(wants)) + b"".join(wants) + _told(told)
    return data


def decode(data: bytes) -> Message:
    """A message whose statements are not yet verified. Lets only `Malformed` escape."""
    if not data or data[0] not in _READERS:
        raise Malformed("membership: no message, or one that we do not know")
    if len(data) > MAX_MESSAGE_BYTES.value:
        raise Malformed("membership: longer than any message")
    reader = _Reader(data)
    message = _READERS[data[0]](reader)
    if reader.at != len(data):
        raise Malformed("membership: bytes left over")
    return message


def _told(told: Told) -> bytes:
    if len(told) > MAX_TOLD.value:
        raise ValueError(f"{len(told)} statements in one message")
    parts = [bytes((len(told),))]
    for one in told:
        parts.append(_STATEMENT.pack(one.word, one.node, one.incarnation))
        if one.word is Word.SUSPECT:
            parts.append(one.author)
        parts.append(one.signature)
    return b"".join(parts)


class _Reader:
    """Takes a message apart from the front."""

    __slots__ = ("_data", "at")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.at = 1  # behind the tag

    def bytes(self, count: int) -> bytes:
        end = self.at + count
        if end > len(self._data):
            raise Malformed("membership: cut short")
        part = self._data[self.at : end]
        self.at = end
        return part

    def node(self) -> NodeId:
        return NodeId(self.bytes(_ID_BYTES))

    def seq(self) -> int:
        return int.from_bytes(self.bytes(_SEQ.size), "big")

    def flag(self) -> bool:
        value = self.bytes(1)[0]
        if value > 1:
            raise Malformed("membership: a flag is 0 or 1")
        return value == 1

    def count(self, most: Limit) -> int:
        count = int.from_bytes(self.bytes(_COUNT.size), "big")
        if count > most.value:
            raise Malformed(f"membership: {count} of what may be {most.value} at most")
        return count

    def told(self) -> Told:
        count = self.bytes(1)[0]
        if count > MAX_TOLD.value:
            raise Malformed(f"membership: {count} statements in one message")
        return tuple(self._statement() for _ in range(count))

    def _statement(self) -> Statement:
        word, raw, incarnation = _STATEMENT.unpack(self.bytes(_STATEMENT.size))
        checked = _word(word)
        _check_incarnation(incarnation)
        if not incarnation and checked is not Word.SUSPECT:  # whoever is heard without one may be suspected
            raise Malformed("membership: a node counts its incarnations from 1")
        node = NodeId(raw)
        author = self.node() if checked is Word.SUSPECT else node
        if checked is Word.SUSPECT and author == node:
            raise Malformed("membership: nobody suspects itself")
        return Statement(checked, node, incarnation, author, self.bytes(_SIGNATURE_BYTES))


def _word(value: int) -> Word:
    try:
        return Word(value)
    except ValueError:
        raise Malformed(f"membership: no word {value}") from None


def _check_incarnation(incarnation: int) -> None:
    if incarnation > MAX_INCARNATION.value:
        raise Malformed("membership: an incarnation beyond all bounds")


def _ping(reader: _Reader) -> Message:
    return Ping(reader.seq(), reader.told())


def _ack(reader: _Reader) -> Message:
    seq, log_size, load, length = _ACK.unpack(reader.bytes(_ACK.size))
    version = reader.bytes(length)
    if log_size > MAX_TREE_SIZE.value:
        raise Malformed("membership: a log larger than any")
    if not _VERSION.fullmatch(version):
        raise Malformed("membership: the version is no version")
    return Ack(seq, Vitals(log_size, load, version.decode("ascii")), reader.told())


def _ask(reader: _Reader) -> Message:
    return Ask(reader.seq(), reader.node(), reader.told())


def _relayed(reader: _Reader) -> Message:
    return Relayed(reader.seq())


def _nack(reader: _Reader) -> Message:
    return Nack(reader.seq(), reader.flag())


def _sync(reader: _Reader) -> Message:
    after, last = reader.node(), reader.node()
    rows: list[Row] = []
    before: bytes = after
    for _ in range(reader.count(MAX_ROWS)):
        node, incarnation, word = _ROW.unpack(reader.bytes(_ROW.size))
        _check_incarnation(incarnation)
        if not before < node <= last:
            raise Malformed("membership: rows out of order, or beyond their page")
        before = node
        rows.append(Row(NodeId(node), incarnation, _word(word)))
    return Sync(after, last, tuple(rows))


def _tell(reader: _Reader) -> Message:
    more = reader.node() if reader.flag() else None
    wants = tuple(reader.node() for _ in range(reader.count(MAX_ROWS)))
    return Tell(reader.told(), wants, more)


_READERS: Final = {1: _ping, 2: _ack, 3: _ask, 4: _relayed, 5: _nack, 6: _sync, 7: _tell}
