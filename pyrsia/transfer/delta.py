"""What a new version shares with an old one: files as pieces, and which bytes need not travel.

A wheel or a jar keeps each member's compressed bytes together, and a member that did not change has the same ones in
the next version. A **recipe** cuts a file there: pieces that one after the other are the file, bit for bit. Who has an
older version and the new one's recipe copies what it has and asks for the rest.

Nothing here is believed. A recipe says where to look; whether the bytes are right, the manifest's chunk hashes say, and
what does not fit them is brought like any other chunk. Piece names are short on purpose: they find, they do not prove.

    version u8 = 1 | size u64 | pieces: name [16], size u32 each

Left out: cutting (strangers' archives are read in the sandbox, `node/storage/recipes.py`), bytes (`store`), the asking.

Source: docs/delta.md.
"""

import struct
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, pairwise
from typing import Final, Protocol

from blake3 import blake3

from pyrsia.errors import Malformed
from pyrsia.transfer.manifest import MAX_FILE_BYTES
from pyrsia.units import CHUNK_BYTES, MAX_RANGE_BYTES, MAX_RANGES, Limit

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


class Sliced(Protocol):
    """Bytes of which parts can be had."""

    def __getitem__(self, part: slice, /) -> memoryview: ...


def recipe_of(data: Sliced, offsets: Sequence[int]) -> Recipe:
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


class Again:
    """The pieces of a file at hand, named again where something that was made of them is wrong: it may have rotted.

    Attributes:
        read: bytes that were named.
    """

    def __init__(self, recipe: Recipe, data: Sliced) -> None:
        self._names = recipe.names
        self._data = data
        self._ends = list(accumulate(recipe.sizes))
        self._known: dict[int, bool] = {}
        self.read = 0

    def holds(self, at: int, size: int) -> bool:
        """Whether every piece that a part of these bytes lies in is still what the recipe says."""
        first, last = bisect_right(self._ends, at), bisect_left(self._ends, at + size)
        return all(self._piece(number) for number in range(first, last + 1))

    def _piece(self, number: int) -> bool:
        if number not in self._known:
            start, end = self._ends[number - 1] if number else 0, self._ends[number]
            name = self._names[number * NAME_BYTES : (number + 1) * NAME_BYTES]
            self._known[number] = name_of(self._data[start:end]) == name
            self.read += end - start
        return self._known[number]


@dataclass(frozen=True, slots=True)
class Copy:
    """Bytes to be copied: `size` of them from `at` in file `file` of those at hand, to `offset` of the new one."""

    file: int
    at: int
    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class Plan:
    """How a file comes to be.

    Attributes:
        copies: what is here, in the order of the new file.
        missing: (offset, size) of all else, in order; no two of them touch.
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


def plan(recipe: Recipe, at_hand: Mapping[bytes, Place]) -> Plan:
    """How to make the file of `recipe` from what is at hand."""
    copies: list[Copy] = []
    missing: list[tuple[int, int]] = []
    for name, offset, size in recipe.spans():
        place = at_hand.get(name)
        if place is not None and place.size == size:  # a name that somebody made up may say another one
            copies.append(Copy(place.file, place.offset, offset, size))
        elif missing and sum(missing[-1]) == offset:
            missing[-1] = (missing[-1][0], missing[-1][1] + size)
        else:
            missing.append((offset, size))
    return Plan(tuple(copies), tuple(missing), recipe.size)


@dataclass(slots=True)
class Chunk:
    """One chunk of the new file: what of it is here, and what has to be asked for.

    Attributes:
        missing: (offset, size), in order.
    """

    index: int
    copies: list[Copy] = field(default_factory=list)
    missing: list[tuple[int, int]] = field(default_factory=list)

    @property
    def shared(self) -> int:
        return sum(copy.size for copy in self.copies)

    @property
    def lacks(self) -> int:
        return sum(size for _, size in self.missing)

    @property
    def worthwhile(self) -> bool:
        """Whether it is better made than brought: a quarter of it is here, and what lacks fits one ask."""
        return len(self.missing) <= MAX_RANGES.value and 3 * self.shared >= self.lacks

    def made(
        self, copied: Callable[[Copy], bytes | memoryview], asked: Sequence[bytes | memoryview]
    ) -> bytes:
        """Its bytes, right or wrong.

        Args:
            copied: the bytes of a copy; fewer where the file at hand is shorter than it was.
            asked: those of `missing`, in order.
        """
        parts = [(copy.offset, copied(copy)) for copy in self.copies]
        parts += [(offset, data) for (offset, _), data in zip(self.missing, asked, strict=True)]
        return b"".join(data for _, data in sorted(parts, key=lambda part: part[0]))


def chunks(plan: Plan) -> list[Chunk]:
    """The chunks of the new file that are better made than brought, in order."""
    step = CHUNK_BYTES.value
    found = [Chunk(index) for index in range(-(-plan.size // step))]
    for copy in plan.copies:
        for offset, size in _split(copy.offset, copy.size):
            found[offset // step].copies.append(Copy(copy.file, copy.at + offset - copy.offset, offset, size))
    for start, count in plan.missing:
        for offset, size in _split(start, count):
            found[offset // step].missing.append((offset, size))
    return [chunk for chunk in found if chunk.worthwhile]


def asks(wanted: Sequence[Chunk]) -> list[list[Chunk]]:
    """`wanted` in groups: what one lacks fits one ask. Chunks that lack nothing are in none."""
    found: list[list[Chunk]] = []
    count = size = 0
    for chunk in (one for one in wanted if one.missing):
        count, size = count + len(chunk.missing), size + chunk.lacks
        if not found or count > MAX_RANGES.value or size > MAX_RANGE_BYTES.value:
            found.append([])
            count, size = len(chunk.missing), chunk.lacks
        found[-1].append(chunk)
    return found


def _split(offset: int, size: int) -> Iterator[tuple[int, int]]:
    """A stretch, cut where chunks end."""
    step, end = CHUNK_BYTES.value, offset + size
    while offset < end:
        border = min(end, (offset // step + 1) * step)
        yield offset, border - offset
        offset = border
