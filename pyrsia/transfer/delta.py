"""What a new version shares with an old one: files as pieces, and which bytes need not travel.

A wheel or a jar keeps each member's compressed bytes together, and a member that did not change has the same ones in
the next version. A **recipe** cuts a file there: pieces that one after the other are the file, bit for bit. Who has an
older version and the new one's recipe copies what it has and asks for the rest.

Nothing here is believed. A recipe says where to look; whether the bytes are right, the manifest's chunk hashes say, and
what does not fit them is brought like any other chunk. Piece names are short on purpose: they find, they do not prove.

    version u8 = 1 | size u64 | pieces: name [16], size u32 each

Left out: cutting (strangers' archives are read in the sandbox, `node/recipes.py`), the bytes (`store`), the asking.

Source: docs/delta.md.
"""

import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from blake3 import blake3

from pyrsia.errors import Malformed
from pyrsia.transfer.manifest import MAX_FILE_BYTES, Manifest
from pyrsia.units import CHUNK_BYTES, Limit
from pyrsia.wire.ranges import MAX_RANGE_BYTES, MAX_RANGES

VERSION: Final = 1
NAME_BYTES: Final = 16
LEAST_PIECE: Final = Limit(1_024, "a name costs 20 bytes: of pieces this long, 2 %")
MAX_PIECES = Limit(65_536, "1.3 MB of names, within one frame; a file with more members is cut more coarsely")
LEAST_FILE = Limit(1 << 20, "below, asking for a recipe takes longer than four chunks")
LEAST_SHARED: Final = 1 / 4  # of a file; with less in common the usual way is quicker
_HEAD: Final = struct.Struct(">BQ")
_PIECE: Final = struct.Struct(">16sI")
_CONTEXT: Final = "pyrsia v1 piece"


@dataclass(frozen=True, slots=True)
class Recipe:
    """A file as pieces.

    Attributes:
        names: of the pieces, 16 bytes each, joined.
        sizes: of the pieces in bytes, none of them 0.
    """

    names: bytes
    sizes: tuple[int, ...]

    @property
    def size(self) -> int:
        """Of the file, in bytes."""
        return sum(self.sizes)

    def spans(self) -> Iterable[tuple[bytes, int, int]]:
        """(name, offset, size) of each piece, in order."""
        at = 0
        for number, size in enumerate(self.sizes):
            yield self.names[number * NAME_BYTES : (number + 1) * NAME_BYTES], at, size
            at += size

    def encode(self) -> bytes:
        """At most 1.3 MB."""
        pieces = (_PIECE.pack(name, size) for name, _, size in self.spans())
        return _HEAD.pack(VERSION, self.size) + b"".join(pieces)

    @classmethod
    def decode(cls, data: bytes, size: int) -> "Recipe":
        """The recipe of a file of `size` bytes. Lets only `Malformed` escape."""
        most = _HEAD.size + _PIECE.size * MAX_PIECES.value
        if not _HEAD.size <= len(data) <= most or (len(data) - _HEAD.size) % _PIECE.size:
            raise Malformed(f"recipe: {len(data)} bytes")
        version, said = _HEAD.unpack_from(data)
        if version != VERSION or said != size or size > MAX_FILE_BYTES:
            raise Malformed("recipe: of another version, or of another file")
        pieces = list(_PIECE.iter_unpack(data[_HEAD.size :]))
        sizes = tuple(count for _, count in pieces)
        if not all(sizes) or sum(sizes) != size:
            raise Malformed("recipe: its pieces are not the file")
        return cls(b"".join(name for name, _ in pieces), sizes)


def name_of(data: bytes | memoryview) -> bytes:
    """What a piece with these bytes is called."""
    return blake3(data, derive_key_context=_CONTEXT).digest(NAME_BYTES)


def cuts(size: int, spans: Sequence[tuple[int, int]]) -> list[int]:
    """Where to cut a file of `size` bytes so that each of `spans` (start, end) is a piece of its own.

    Spans that are short, overlap, run backwards or beyond the file are left out: an odd archive is cut coarsely, and
    never wrongly. What lies between two pieces is one as well.

    Returns:
        Offsets from 0 to `size`, both with them, rising; at most MAX_PIECES pieces.
    """
    found, end = {0, size}, 0
    for start, stop in sorted(spans):
        if start < end or stop > size or stop - start < LEAST_PIECE.value or start < 0:
            continue
        if len(found) + 2 > MAX_PIECES.value:
            break
        found |= {start, stop}
        end = stop
    return sorted(found)


def recipe_of(data: memoryview, offsets: Sequence[int]) -> Recipe:
    """The recipe of the bytes `data`, cut at `offsets` (`cuts`)."""
    spans = list(pairwise(offsets))
    names = b"".join(name_of(data[start:stop]) for start, stop in spans)
    return Recipe(names, tuple(stop - start for start, stop in spans))


@dataclass(frozen=True, slots=True)
class Place:
    """Where a piece is already: in which of the files at hand, from which offset on, and how long it is."""

    file: int
    offset: int
    size: int


def places(recipes: Sequence[Recipe]) -> dict[bytes, Place]:
    """Name -> place, of all pieces of the files at hand; the first one counts."""
    found: dict[bytes, Place] = {}
    for number, recipe in enumerate(recipes):
        for name, offset, size in recipe.spans():
            found.setdefault(name, Place(number, offset, size))
    return found


@dataclass(frozen=True, slots=True)
class Copy:
    """Bytes to be copied: from `place` to `offset` of the new file."""

    place: Place
    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class Plan:
    """How a file comes to be.

    Attributes:
        copies: bytes that are here, in the order of the new file.
        missing: (offset, size) of what has to be asked for, merged, each at most MAX_RANGE_BYTES.
        size: of the file.
    """

    copies: tuple[Copy, ...]
    missing: tuple[tuple[int, int], ...]
    size: int

    @property
    def shared(self) -> int:
        """Bytes that need not travel."""
        return sum(copy.size for copy in self.copies)

    @property
    def worthwhile(self) -> bool:
        return self.shared >= self.size * LEAST_SHARED

    def batches(self) -> list[tuple[tuple[int, int], ...]]:
        """`missing` in asks: each at most MAX_RANGES ranges of MAX_RANGE_BYTES in all."""
        found: list[tuple[tuple[int, int], ...]] = []
        batch: list[tuple[int, int]] = []
        size = 0
        for one in self.missing:
            if batch and (size + one[1] > MAX_RANGE_BYTES.value or len(batch) == MAX_RANGES.value):
                found.append(tuple(batch))
                batch, size = [], 0
            batch.append(one)
            size += one[1]
        return [*found, tuple(batch)] if batch else found


def plan(recipe: Recipe, at_hand: Mapping[bytes, Place]) -> Plan:
    """How to make the file of `recipe` from what is at hand."""
    copies: list[Copy] = []
    missing: list[tuple[int, int]] = []
    for name, offset, size in recipe.spans():
        place = at_hand.get(name)
        if place is not None and place.size == size:  # a name that somebody made up may say another one
            copies.append(Copy(place, offset, size))
        elif missing and sum(missing[-1]) == offset:
            missing[-1] = (missing[-1][0], missing[-1][1] + size)
        else:
            missing.append((offset, size))
    most = MAX_RANGE_BYTES.value
    cut = [
        (start, min(most, offset + size - start))
        for offset, size in missing
        for start in range(offset, offset + size, most)
    ]
    return Plan(tuple(copies), tuple(cut), recipe.size)


def held(
    manifest: Manifest, written: Sequence[tuple[int, int]], read: Callable[[int, int], bytes | memoryview]
) -> int:
    """Bit i is set for each chunk of the new file that was written whole and is what the manifest says.

    Args:
        written: (offset, size) of what was written, in any order, none twice.
        read: (offset, size) -> the bytes that stand there.
    """
    step = CHUNK_BYTES.value
    there = [0] * manifest.count
    for offset, size in written:
        while size > 0:
            index = offset // step
            if not 0 <= index < manifest.count:
                break
            taken = min(size, (index + 1) * step - offset)
            there[index] += taken
            offset, size = offset + taken, size - taken
    bits = 0
    for index, count in enumerate(there):
        span = manifest.span(index)
        if count == span[1] and manifest.holds(index, read(*span)):
            bits |= 1 << index
    return bits
