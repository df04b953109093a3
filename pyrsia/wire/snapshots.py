"""What a node that is far behind asks of its peers, and what they answer: a final state, and the log below it.

A *point* is a sealed final block whose state a peer has kept. Its *anchor* proves it: the block with its finality
proof, its seal with the way to the root that the block names, the right edge of the tree, and the growth of the
log from what the asker holds. The rest is *parts* of the two prefix trees whose roots the seal names: a part is all
rows below one place of a tree, or, where those are too many, the roots of the up to sixteen places below it. A
place is a tree and the first nibbles of its keys; whoever asks knows its root, so each part proves itself.

Numbers are big-endian. Decoders are strict, and bounded before they allocate; whether what is said is true is
`pyrsia.ledger.snapshot`'s business.

    points   = count u8 | point*                        point = height u64 | size u64 | block hash 32
    place    = tree u8 | n u8 (0 to 63) | first n nibbles, a zero nibble behind an odd number
    part     = place | 1 u8 | count u32 | row*          row   = key length u16 | value length u32 | key | value
             | place | 2 u8 | slots u16 | root 32 for each slot, from 0 up

Source: docs/storage.md, "Snapshots".
"""

import struct
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from pyrsia.errors import Malformed
from pyrsia.units import HASH_BYTES, MAX_ENTRY_BYTES, MAX_PROOF_HASHES, SNAPSHOT_PLACES, Limit
from pyrsia.wire.blocks import Block, FinalityProof
from pyrsia.wire.epochs import EpochEnd

MAX_POINTS = Limit(16, "a peer keeps fewer; what a liar adds is not looked at")
MAX_STEPS = Limit(64, "epochs in one answer; one of four validators takes 1.5 KB")
MAX_LEVELS = Limit(8, "levels of tiles below the largest size of a log")
MAX_BUNDLES = Limit(64, "asked at once; an answer has as many as fit")
MAX_TILES = Limit(48, "of 8 KiB each in one answer")

STATE: Final = 1  # numbers of the trees, as `ledger.index` tags their pages
PACKAGES: Final = 0
_TREES: Final = (PACKAGES, STATE)
_NIBBLES: Final = 63
_ROWS: Final = 1
_FORK: Final = 2
_U16 = struct.Struct(">H")
_U32 = struct.Struct(">I")
_U64 = struct.Struct(">Q")
_POINT = struct.Struct(">QQ32s")
_ROW = struct.Struct(">HI")
_BUNDLE = struct.Struct(">QH")
_TILE = struct.Struct(">BQ")


class Point(NamedTuple):
    """A sealed final block whose state is kept: its height, the size of the log with it, its hash."""

    height: int
    size: int
    block_hash: bytes


class Place(NamedTuple):
    """All keys of a tree that begin with some nibbles.

    Attributes:
        tree: PACKAGES or STATE.
        depth: how many nibbles, 0 to 63.
        path: 32 bytes that begin with them; zeros follow.
    """

    tree: int
    depth: int
    path: bytes

    def child(self, slot: int) -> "Place":
        """The place of the keys whose next nibble is `slot`."""
        at, odd = divmod(self.depth, 2)
        byte = self.path[at] | slot << (0 if odd else 4)
        return Place(self.tree, self.depth + 1, self.path[:at] + bytes((byte,)) + self.path[at + 1 :])

    def holds(self, key: bytes) -> bool:
        """Whether a 32-byte key begins with the place's nibbles."""
        whole, odd = divmod(self.depth, 2)
        if key[:whole] != self.path[:whole]:
            return False
        return not odd or key[whole] >> 4 == self.path[whole] >> 4

    def slot(self, key: bytes) -> int:
        """The nibble of `key` behind the place's own."""
        at, odd = divmod(self.depth, 2)
        return key[at] & 15 if odd else key[at] >> 4

    def encode(self) -> bytes:
        return bytes((self.tree, self.depth)) + self.path[: (self.depth + 1) // 2]


ROOTS: Final = tuple(Place(tree, 0, bytes(HASH_BYTES)) for tree in _TREES)

Row = tuple[bytes, bytes]  # a state key and its value, or an index key and the record of its history


class Rows(NamedTuple):
    """Everything below a place."""

    place: Place
    rows: tuple[Row, ...]


class Fork(NamedTuple):
    """The (slot, root) of each place below a place, slots rising; more rows than an answer takes."""

    place: Place
    slots: tuple[tuple[int, bytes], ...]


Part = Rows | Fork


class Anchor(NamedTuple):
    """What makes a point believable; nothing in it is checked by decoding.

    Attributes:
        block: the sealed block; the proof proves it.
        seal: its last leaf.
        inclusion: from the seal up to the block's `tree_root`.
        edge: the last tile of each level of the tree, as wide as it is at that size, lowest level first.
        grown: consistency proof from the asker's size to the block's.
    """

    block: Block
    proof: FinalityProof
    seal: bytes
    inclusion: tuple[bytes, ...]
    edge: tuple[bytes, ...]
    grown: tuple[bytes, ...] = ()

    @property
    def point(self) -> Point:
        return Point(self.block.header.height, self.block.header.tree_size, self.block.hash)

    def encode(self) -> bytes:
        fields = (self.block.encode(), self.proof.encode(), self.seal)
        edge = bytes((len(self.edge),)) + encode_pieces(self.edge)
        return b"".join((*map(_sized, fields), edge, _hashes(self.inclusion), _hashes(self.grown)))

    @classmethod
    def decode(cls, data: bytes) -> "Anchor":
        """
        Raises:
            Malformed: other bytes.
        """
        read = _Reader(data)
        block, proof = Block.decode(read.sized()), FinalityProof.decode(read.sized())
        seal, levels = read.sized(), read.u8()
        if len(seal) > MAX_ENTRY_BYTES.value or levels > MAX_LEVELS.value:
            raise Malformed("a seal longer than an entry, or a tree of more levels than there are")
        edge = tuple(read.sized() for _ in range(levels))
        anchor = cls(block, proof, seal, read.hashes(), edge, read.hashes())
        read.end()
        return anchor


class Step(NamedTuple):
    """The end of an epoch, and the consistency proof from the asker's size to the size at that end."""

    end: EpochEnd
    joined: tuple[bytes, ...] = ()


# -- points and anchors --


def encode_points(points: Sequence[Point]) -> bytes:
    return bytes((len(points),)) + b"".join(_POINT.pack(*one) for one in points)


def decode_points(data: bytes) -> tuple[Point, ...]:
    """
    Raises:
        Malformed: other bytes, or more than MAX_POINTS.
    """
    read = _Reader(data)
    count = read.u8()
    if count > MAX_POINTS.value:
        raise Malformed(f"{count} points; at most {MAX_POINTS.value}")
    points = tuple(Point(*_POINT.unpack(read.take(_POINT.size))) for _ in range(count))
    read.end()
    return points


def ask_anchor(block_hash: bytes, size: int) -> bytes:
    """`size`: leaves that the asker holds, from which growth is to be proven; 0 for none."""
    return block_hash + _U64.pack(size)


def asked_anchor(data: bytes) -> tuple[bytes, int]:
    """
    Raises:
        Malformed: other bytes.
    """
    if len(data) != HASH_BYTES + _U64.size:
        raise Malformed("no question for an anchor")
    return data[:HASH_BYTES], int(_U64.unpack_from(data, HASH_BYTES)[0])


def ask_steps(first: int, size: int) -> bytes:
    """The ends of epoch `first` and of those after it, each with its growth from `size` leaves."""
    return _U64.pack(first) + _U64.pack(size)


def asked_steps(data: bytes) -> tuple[int, int]:
    """
    Raises:
        Malformed: other bytes.
    """
    if len(data) != 2 * _U64.size:
        raise Malformed("no question for the ends of epochs")
    return int(_U64.unpack_from(data)[0]), int(_U64.unpack_from(data, _U64.size)[0])


def encode_steps(steps: Iterable[Step]) -> bytes:
    return b"".join(_sized(one.end.encode()) + _hashes(one.joined) for one in steps)


def decode_steps(data: bytes) -> tuple[Step, ...]:
    """
    Raises:
        Malformed: other bytes, or more than MAX_STEPS.
    """
    read = _Reader(data)
    steps: list[Step] = []
    while not read.done:
        if len(steps) == MAX_STEPS.value:
            raise Malformed(f"more than {MAX_STEPS.value} epochs in one answer")
        steps.append(Step(EpochEnd.decode(read.sized()), read.hashes()))
    return tuple(steps)


# -- parts --


def ask_parts(block_hash: bytes, places: Sequence[Place]) -> bytes:
    return b"".join((block_hash, bytes((len(places),)), *(one.encode() for one in places)))


def asked_parts(data: bytes) -> tuple[bytes, tuple[Place, ...]]:
    """
    Raises:
        Malformed: other bytes, no place or more than SNAPSHOT_PLACES.
    """
    read = _Reader(data)
    block_hash, count = read.take(HASH_BYTES), read.u8()
    if not 0 < count <= SNAPSHOT_PLACES.value:
        raise Malformed(f"{count} places; 1 to {SNAPSHOT_PLACES.value}")
    places = tuple(read.place() for _ in range(count))
    read.end()
    return block_hash, places


def encode_part(part: Part) -> bytes:
    if isinstance(part, Fork):
        bits = sum(1 << slot for slot, _ in part.slots)
        return b"".join(
            (part.place.encode(), bytes((_FORK,)), _U16.pack(bits), *(root for _, root in part.slots))
        )
    head = part.place.encode() + bytes((_ROWS,)) + _U32.pack(len(part.rows))
    return head + b"".join(_ROW.pack(len(key), len(value)) + key + value for key, value in part.rows)


def decode_parts(data: bytes) -> tuple[Part, ...]:
    """
    Raises:
        Malformed: other bytes.
    """
    read = _Reader(data)
    parts: list[Part] = []
    while not read.done:
        parts.append(read.part())
    return tuple(parts)


# -- the log below a point --


def ask_bundles(bundles: Sequence[tuple[int, int]]) -> bytes:
    """Entry bundles as (index, width)."""
    return b"".join(_BUNDLE.pack(*one) for one in bundles)


def asked_bundles(data: bytes) -> tuple[tuple[int, int], ...]:
    """
    Raises:
        Malformed: other bytes, none or more than MAX_BUNDLES.
    """
    count, over = divmod(len(data), _BUNDLE.size)
    if over or not 0 < count <= MAX_BUNDLES.value:
        raise Malformed("no question for entry bundles")
    return tuple((index, width) for index, width in _BUNDLE.iter_unpack(data))


def ask_tiles(tiles: Sequence[tuple[int, int]]) -> bytes:
    """Full tiles as (level, index)."""
    return b"".join(_TILE.pack(*one) for one in tiles)


def asked_tiles(data: bytes) -> tuple[tuple[int, int], ...]:
    """
    Raises:
        Malformed: other bytes, none or more than MAX_TILES.
    """
    count, over = divmod(len(data), _TILE.size)
    if over or not 0 < count <= MAX_TILES.value:
        raise Malformed("no question for tiles")
    return tuple((level, index) for level, index in _TILE.iter_unpack(data))


def encode_pieces(pieces: Iterable[bytes]) -> bytes:
    """Bundles or tiles, each behind its length."""
    return b"".join(map(_sized, pieces))


def decode_pieces(data: bytes, most: int) -> tuple[bytes, ...]:
    """
    Raises:
        Malformed: other bytes, or more than `most` pieces.
    """
    read = _Reader(data)
    pieces: list[bytes] = []
    while not read.done:
        if len(pieces) == most:
            raise Malformed(f"more than the {most} pieces that were asked for")
        pieces.append(read.sized())
    return tuple(pieces)


def _sized(data: bytes) -> bytes:
    return _U32.pack(len(data)) + data


def _hashes(hashes: Sequence[bytes]) -> bytes:
    return bytes((len(hashes),)) + b"".join(hashes)


class _Reader:
    """A cursor over a stranger's bytes, whose number of bytes is bounded by the message that they came in."""

    __slots__ = ("at", "data")

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    @property
    def done(self) -> bool:
        return self.at == len(self.data)

    def end(self) -> None:
        if not self.done:
            raise Malformed("bytes after the end")

    def take(self, count: int) -> bytes:
        found = self.data[self.at : self.at + count]
        if len(found) != count:
            raise Malformed("the bytes end inside a field")
        self.at += count
        return found

    def u8(self) -> int:
        return self.take(1)[0]

    def sized(self) -> bytes:
        return self.take(_U32.unpack(self.take(_U32.size))[0])

    def hashes(self) -> tuple[bytes, ...]:
        count = self.u8()
        if count > MAX_PROOF_HASHES.value:
            raise Malformed(f"a proof of {count} hashes")
        return tuple(self.take(HASH_BYTES) for _ in range(count))

    def place(self) -> Place:
        tree, depth = self.u8(), self.u8()
        if tree not in _TREES or depth > _NIBBLES:
            raise Malformed("no place of a tree")
        packed = self.take((depth + 1) // 2)
        if depth % 2 and packed[-1] & 15:
            raise Malformed("a place with a nibble behind its last")
        return Place(tree, depth, packed.ljust(HASH_BYTES, b"\0"))

    def part(self) -> Part:
        place, kind = self.place(), self.u8()
        if kind == _FORK:
            bits = _U16.unpack(self.take(_U16.size))[0]
            if not bits:
                raise Malformed("a fork with nothing below it")
            slots = [slot for slot in range(16) if bits >> slot & 1]
            return Fork(place, tuple((slot, self.take(HASH_BYTES)) for slot in slots))
        if kind != _ROWS:
            raise Malformed(f"no part has the kind {kind}")
        count = _U32.unpack(self.take(_U32.size))[0]
        if count * _ROW.size > len(self.data) - self.at:
            raise Malformed("more rows than there are bytes")
        return Rows(place, tuple(self.row() for _ in range(count)))

    def row(self) -> Row:
        key, value = _ROW.unpack(self.take(_ROW.size))
        return self.take(key), self.take(value)
