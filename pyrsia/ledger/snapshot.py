"""A final state, given to a node that is far behind and believed by nobody's word.

The seal of a final block names the roots of two prefix trees; the state and the index are what stands in them.
They come in parts, and each part proves itself: all rows below a place make the place's root, or the roots of the
places below it do. So parts may come from anybody in any order, a lie is found in the answer that holds it, and
nothing can be left out. What no root speaks of is made from what the roots do speak of.

Decides what a part proves, what is asked next, and how an answer is cut; storage and peers are the shells'.

Source: docs/storage.md, "Snapshots"; docs/adr/0032.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from pyrsia._native import merkle
from pyrsia.errors import Malformed, ProofInvalid
from pyrsia.ledger import entries, index, places
from pyrsia.ledger.index import PACKAGES, STATE
from pyrsia.ledger.places import Pair
from pyrsia.ledger.prefixtree import Fetch, Tree
from pyrsia.ledger.state import load
from pyrsia.log import tiles
from pyrsia.log import tree as log_tree
from pyrsia.log.tree import EMPTY_ROOT, TILE_BYTES, TILE_WIDTH, Frontier
from pyrsia.units import HASH_BYTES, SNAPSHOT_ANSWER_BYTES, SNAPSHOT_PLACES, Limit, TreeSize
from pyrsia.wire import canonical
from pyrsia.wire.blocks import Header
from pyrsia.wire.snapshots import ROOTS, Anchor, Fork, Part, Place, Row, Rows

DEEPEST: Final = 62  # below it a place is given whole: two keys of SHA-256 never share so much

MAX_WAITING = Limit(
    100_000, "places known and not asked for: the deepest are asked first, so 16 a level and answer is plenty"
)

RowsOf = Callable[[int, Sequence[bytes]], Sequence[Row | None]]
"""(tree, keys of 32 bytes) -> the row that stands behind each, None for one that is not there."""


# -- what an anchor proves --


@dataclass(frozen=True, slots=True)
class Sealed:
    """What the seal of a final block says of the state after it.

    Attributes:
        roots: of the tree of each number, 32 bytes.
        frontier: the right edge of the log.
    """

    roots: dict[int, bytes]
    frontier: Frontier


def sealed(anchor: Anchor, header: Header) -> Sealed:
    """What `anchor` says, if it is true of the final block with this header.

    Raises:
        ProofInvalid, Malformed: it is not.
    """
    if anchor.block.hash != header.hash():
        raise ProofInvalid("the anchor's block is not the one that is proven")
    frontier = _frontier(anchor.edge, header)
    last = header.tree_size - 1
    leaf = log_tree.leaf_hash(anchor.seal)
    log_tree.verify_inclusion(leaf, last, header.tree_size, anchor.inclusion, header.tree_root)
    seal = entries.parse(anchor.seal)
    said = seal.body
    if seal.kind != "block.seal" or said["height"] != header.height or said["view"] != header.view:
        raise ProofInvalid("the newest leaf is not the seal of the anchor's block")
    roots = {STATE: bytes.fromhex(said["state_root"]), PACKAGES: bytes.fromhex(said["index_root"])}
    return Sealed(roots, frontier)


def _frontier(edge: Sequence[bytes], header: Header) -> Frontier:
    """The right edge of the block's log. Where a level's last tile is full, the level above holds its root."""
    size = header.tree_size
    above = b""
    for level in reversed(range(len(edge))):
        row = edge[level]
        count = size >> 8 * level
        if not count or len(row) != HASH_BYTES * tiles.width(
            level, (count - 1) // TILE_WIDTH, TreeSize(size)
        ):
            raise ProofInvalid("the anchor's edge is not as wide as its log")
        if len(row) == TILE_BYTES and merkle.tile_root(row) != above[-HASH_BYTES:]:
            raise ProofInvalid("a full tile of the anchor's edge has no place in the level above")
        above = row
    try:
        frontier = Frontier.from_tiles(
            TreeSize(size), lambda level, _: edge[level] if level < len(edge) else b""
        )
    except Malformed as error:
        raise ProofInvalid(str(error)) from None
    if frontier.root() != header.tree_root:
        raise ProofInvalid("the anchor's edge is not that of the block's log")
    return frontier


# -- what a part proves --


def pair(tree: int, row: Row) -> Pair:
    """What a tree holds of a row.

    Raises:
        ProofInvalid: there is no such row.
    """
    key, value = row
    if tree == STATE:
        return index.state_key(key), hashlib.sha256(value).digest()
    if len(key) != HASH_BYTES:
        raise ProofInvalid(f"an index key of {len(key)} bytes")
    return key, record_value(value)


def record_value(record: bytes) -> bytes:
    """What the index holds of a history, from its record.

    Raises:
        ProofInvalid: the record breaks its format.
    """
    count = int.from_bytes(record[:8], "big")
    if not count or len(record) != 8 + HASH_BYTES * count.bit_count():
        raise ProofInvalid("a record of a history that is none")
    edge = [record[at : at + HASH_BYTES] for at in range(8, len(record), HASH_BYTES)]
    root = edge[-1]
    for left in reversed(edge[:-1]):
        root = hashlib.sha256(b"\x01" + left + root).digest()
    return hashlib.sha256(record[:8] + root).digest()


def fork_root(fork: Fork) -> bytes:
    """The root that the places below it give a place.

    Raises:
        ProofInvalid: there are none.
    """
    if fork.place.depth > DEEPEST:
        raise ProofInvalid("a fork where no two keys part any more")
    return places.of_slots(fork.place, fork.slots)


def rows_root(part: Rows) -> tuple[bytes, list[Pair]]:
    """The root that rows give their place, and what its tree holds of each.

    Raises:
        ProofInvalid: a row stands twice, or belongs to another place.
    """
    place = part.place
    found = [pair(place.tree, row) for row in part.rows]
    if len(dict(found)) != len(found) or not all(place.holds(key) for key, _ in found):
        raise ProofInvalid("a row stands twice, or belongs to another place")
    return places.of_pairs(found) or EMPTY_ROOT, found


class Proven(NamedTuple):
    """All rows below a place, to be installed, with what the place's tree holds of each."""

    place: Place
    rows: tuple[Row, ...]
    pairs: Sequence[Pair]


def derived(key: bytes, value: bytes) -> list[Row]:
    """The rows outside of `state_root` that follow from one inside of it: an id or a fact for each in a list.

    Raises:
        ProofInvalid: the value is not such a list.
    """
    ids, facts = key.startswith(b"ids/"), key.startswith(b"facts/")
    if not (ids or facts) or key.count(b"/") != 2:
        return []
    listed = load(value)
    if type(listed) is not list:
        raise ProofInvalid("a list of the state that is none")
    if ids:
        return [(b"id/" + one.encode("ascii"), b"1") for one in listed]
    place = canonical.encode(key.decode("ascii"))
    return [(b"fact/" + one[1].encode("ascii"), place) for one in listed]  # [author, id, kind, subject]


# -- asking --


@dataclass(slots=True)
class Gathering:
    """Which places are still to be asked for, and what the answers prove. Pull work with `ask`, return every
    asking with `take` or `give_back`.

    Attributes:
        roots: of each tree, as the seal says.
        held: the root of what the asker holds below a place already, None for nothing.
        done: how much of each tree is here, 0 to 1.
    """

    roots: dict[int, bytes]
    held: Callable[[Place], bytes | None]
    done: dict[int, float] = field(default_factory=lambda: {PACKAGES: 0.0, STATE: 0.0})
    _waiting: list[tuple[Place, bytes]] = field(default_factory=list)
    _asked: dict[Place, bytes] = field(default_factory=dict)

    def start(self) -> list[Proven]:
        """Begin; what can be installed at once: nothing, in the place of an empty tree."""
        return [gone for place in ROOTS for gone in self._want(place, self.roots[place.tree])]

    @property
    def finished(self) -> bool:
        return not self._waiting and not self._asked

    @property
    def waiting(self) -> int:
        """Places that could be asked for now."""
        return len(self._waiting)

    @property
    def fraction(self) -> float:
        """How much is here, as far as trees of hashes tell: 0 to 1."""
        return sum(self.done.values()) / len(self.done)

    def ask(self, askers: int) -> tuple[Place, ...]:
        """Places for one question, the deepest first; none if nothing waits.

        Args:
            askers: questions that may be under way at once; each gets its share.
        """
        count = max(1, min(SNAPSHOT_PLACES.value, len(self._waiting) // max(1, askers)))
        taken, self._waiting = self._waiting[-count:], self._waiting[:-count]
        self._asked.update(taken)
        return tuple(place for place, _ in reversed(taken))

    def give_back(self, asked: Sequence[Place]) -> None:
        """No answer: these are to be asked for again."""
        self._waiting += [(place, self._asked.pop(place)) for place in reversed(asked)]

    def take(self, asked: Sequence[Place], parts: Sequence[Part]) -> list[Proven]:
        """What the answer to a question proves, to be installed; what it leaves out is asked for again.

        Raises:
            ProofInvalid: the answer proves less than it says, or nothing; its sender is to blame. Nothing of it
                is taken.
        """
        known = {place: self._asked[place] for place in asked}
        forks: list[Fork] = []
        found: list[Proven] = []
        for part in parts:
            expected = known.pop(part.place, None)
            if expected is None:
                raise ProofInvalid("a part of a place that was not asked for")
            if isinstance(part, Rows):
                root, pairs = rows_root(part)
                found.append(Proven(part.place, part.rows, pairs))
            else:
                root = fork_root(part)
                forks.append(part)
            if root != expected:
                raise ProofInvalid("a part that has another root than its place")
            if isinstance(part, Rows):
                continue
            known.update((part.place.child(slot), made) for slot, made in part.slots)
        if not found and not forks:
            raise ProofInvalid("an answer without a part")
        if len(self._waiting) + len(known) > MAX_WAITING.value:
            raise ProofInvalid("an answer that parts places without giving a row")
        for place in asked:
            del self._asked[place]
        for proven in found:
            self._arrived(proven.place)
        found += [gone for fork in forks for gone in self._emptied(fork)]
        for place, expected in reversed(known.items()):
            found += self._want(place, expected)
        return found

    def _want(self, place: Place, expected: bytes) -> list[Proven]:
        """Ask for a place, unless what is held below it is right already."""
        held = self.held(place)
        if expected == EMPTY_ROOT and place.depth == 0:
            self._arrived(place)
            return [] if held is None else [Proven(place, (), ())]
        if held == expected:
            self._arrived(place)
        else:
            self._waiting.append((place, expected))
        return []

    def _emptied(self, fork: Fork) -> list[Proven]:
        """What is held where the fork has nothing goes."""
        full = {slot for slot, _ in fork.slots}
        empty = [fork.place.child(slot) for slot in range(16) if slot not in full]
        self.done[fork.place.tree] += sum(16.0**-place.depth for place in empty)
        return [Proven(place, (), ()) for place in empty if self.held(place) is not None]

    def _arrived(self, place: Place) -> None:
        self.done[place.tree] += 16.0**-place.depth


# -- answering --


def answer(
    trees: dict[int, Tree],
    fetch: Fetch,
    rows_of: RowsOf,
    asked: Sequence[Place],
    budget: int = SNAPSHOT_ANSWER_BYTES.value,
) -> list[Part]:
    """Parts for as many of the places as have room, the first one always; a place with nothing in it is left out.

    Raises:
        Refusal: `data-damaged`, a page or a row is not there.
    """
    parts: list[Part] = []
    whole = budget
    for place in asked:
        made, size = _below(trees[place.tree], fetch, rows_of, place, budget)
        if parts and 2 * budget < whole and isinstance(made[0] if made else None, Fork):
            break  # it may fit another answer undivided
        parts += made
        budget -= size
        if budget <= 0:
            break
    return parts


def _below(tree: Tree, fetch: Fetch, rows_of: RowsOf, place: Place, budget: int) -> tuple[list[Part], int]:
    """All rows below a place; or, where they are too many, its fork and what was read of the places below."""
    taken: list[tuple[bytes, Row]] = []
    size = 0
    for found in places.pairs(tree, fetch, place):
        keys = [key for key, _ in found]
        for key, row in zip(keys, rows_of(place.tree, keys), strict=True):
            if row is None:
                raise Malformed("a key of the tree without its row")
            size += sum(map(len, row)) + 6
            if taken and size > budget and place.depth <= DEEPEST:
                return _cut(tree, fetch, place, taken, key), size
            taken.append((key, row))
    return ([Rows(place, tuple(row for _, row in taken))] if taken else []), size


def _cut(
    tree: Tree, fetch: Fetch, place: Place, taken: list[tuple[bytes, Row]], stopped: bytes
) -> list[Part]:
    """The fork of a place, and everything below it that was read whole before `stopped`."""
    parts: list[Part] = [Fork(place, places.slots(tree, fetch, place))]
    end = place.slot(stopped)
    whole: dict[int, list[Row]] = {}
    for key, row in taken:
        whole.setdefault(place.slot(key), []).append(row)
    parts += [Rows(place.child(slot), tuple(rows)) for slot, rows in whole.items() if slot < end]
    rest = [one for one in taken if place.slot(one[0]) == end]
    if rest and place.depth < DEEPEST:
        parts += _cut(tree, fetch, place.child(end), rest, stopped)
    return parts
