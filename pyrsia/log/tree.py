"""The RFC 6962 tree: appending, roots, proofs and their verification. No I/O: callers fetch.

A proof is made in three steps so that storage is asked once: plan (which nodes are needed), fetch (the
caller's business, one multi-get), finish (fold what came back). Verification needs no storage at all,
and everything that a stranger can get wrong is `ProofInvalid`.

Nodes are named (level, index): the root of leaves [index << level, (index + 1) << level).

Source: RFC 6962 section 2.1; verification follows RFC 9162 sections 2.1.3.2 and 2.1.4.2.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from pyrsia._native import merkle
from pyrsia.errors import Malformed, ProofInvalid
from pyrsia.units import HASH_BYTES, MAX_TREE_SIZE, LeafIndex, TreeSize

Coord: TypeAlias = tuple[int, int]  # (level, index) of a node
Nodes: TypeAlias = Callable[[list[Coord]], list[bytes]]  # one hash per node, in the order asked
TileUpdates: TypeAlias = dict[tuple[int, int], bytes]  # (tile level, tile index) -> its hashes so far

TILE_WIDTH: Final = 256
TILE_BYTES: Final = TILE_WIDTH * HASH_BYTES
_SIZE_BYTES: Final = 8
_NO_LEAVES: Final = TreeSize(0)
# SHA-256 of nothing (RFC 6962, 2.1)
EMPTY_ROOT: Final = bytes.fromhex("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")


def leaf_hash(entry: bytes) -> bytes:
    """SHA-256(0x00 || entry). For more than one entry `merkle.leaf_hashes` is far cheaper."""
    return merkle.leaf_hashes((entry,))


def hash_children(left: bytes, right: bytes) -> bytes:
    """SHA-256(0x01 || left || right) of two 32-byte hashes."""
    return merkle.level(left + right)


# -- appending --


@dataclass(frozen=True, slots=True)
class Frontier:
    """The right edge of a log: all that is needed to append to it and to know its root.

    Immutable, so that every block that is not yet final can have its own.

    Attributes:
        size: number of leaves.
        edge: per tile level the hashes of its last, partial tile: 0 to 255 of them. The top level's is
            never empty; no level at all means an empty log.
    """

    size: TreeSize = _NO_LEAVES
    edge: tuple[bytes, ...] = ()

    def append(self, leaf_hashes: bytes) -> "tuple[Frontier, TileUpdates]":
        """The log with `leaf_hashes` (32 bytes each) at its end, and every tile whose content changed.

        A tile is given with all hashes that it holds now; 8,192 bytes mean that it is full and final.
        Any earlier width of it is a prefix of that, so a store may overwrite it in place.

        Raises:
            ValueError: not a whole number of hashes, or more leaves than a log can hold.
        """
        count, odd = divmod(len(leaf_hashes), HASH_BYTES)
        size = self.size + count
        if odd or size > MAX_TREE_SIZE.value:
            raise ValueError(f"{len(leaf_hashes)} bytes of leaf hashes do not fit a log of {self.size}")
        changed, edge = merkle.append(self.edge, leaf_hashes)
        updates: TileUpdates = {}
        for level, tiles in enumerate(changed):
            first = (self.size >> 8 * level) // TILE_WIDTH
            updates.update({(level, first + number): tile for number, tile in enumerate(tiles)})
        return Frontier(TreeSize(size), edge), updates

    def root(self) -> bytes:
        """The RFC 6962 root; at most 255 node hashes per tile level."""
        root = b""
        for row in self.edge:
            # The incomplete subtree below stands to the right of this level's whole ones.
            root = merkle.range_root(row + root) if row or root else b""
        return root or EMPTY_ROOT

    @property
    def hashes(self) -> tuple[bytes, ...]:
        """The compact range: roots of the perfect subtrees that `size` is the sum of, largest first."""
        found: list[bytes] = []
        for row in self.edge:
            here: list[bytes] = []
            at, width = 0, len(row) // HASH_BYTES
            for bit in range(7, -1, -1):
                if width >> bit & 1:
                    end = at + (HASH_BYTES << bit)
                    here.append(merkle.tile_root(row[at:end]))
                    at = end
            found = here + found
        return tuple(found)

    def encode(self) -> bytes:
        """Size as u64 BE, then the edge from level 0 up; its widths follow from the size."""
        return self.size.to_bytes(_SIZE_BYTES, "big") + b"".join(self.edge)

    @classmethod
    def decode(cls, data: bytes) -> "Frontier":
        """The inverse of `encode`.

        Raises:
            Malformed: the length does not fit the size in front.
        """
        size = int.from_bytes(data[:_SIZE_BYTES], "big")
        if len(data) < _SIZE_BYTES or size > MAX_TREE_SIZE.value:
            raise Malformed("a frontier without a size of the log")
        edge: list[bytes] = []
        at = _SIZE_BYTES
        for width in _edge_widths(size):
            edge.append(data[at : at + width * HASH_BYTES])
            at += width * HASH_BYTES
        if len(data) != at:
            raise Malformed(f"a frontier of {size} leaves is {at} bytes long, not {len(data)}")
        return cls(TreeSize(size), tuple(edge))

    @classmethod
    def from_tiles(cls, size: TreeSize, tile: Callable[[int, int], bytes]) -> "Frontier":
        """The frontier of a log whose tiles are at hand; `tile(level, index)` may hold more than asked.

        Raises:
            Malformed: a tile is shorter than the size says.
        """
        edge: list[bytes] = []
        for level, width in enumerate(_edge_widths(size)):
            row = tile(level, size >> 8 * (level + 1))[: width * HASH_BYTES] if width else b""
            if len(row) != width * HASH_BYTES:
                raise Malformed(f"the last tile of level {level} is too short for {size} leaves")
            edge.append(row)
        return cls(size, tuple(edge))


def _edge_widths(size: int) -> list[int]:
    widths: list[int] = []
    while size:
        widths.append(size % TILE_WIDTH)
        size //= TILE_WIDTH
    return widths


# -- making proofs: plan, fetch, finish --


def plan_inclusion(index: LeafIndex, size: TreeSize) -> list[Coord]:
    """The nodes to fetch for `finish_inclusion`.

    Raises:
        ValueError: the leaf is not in the log.
    """
    return _coords(_inclusion_ranges(index, size))


def finish_inclusion(index: LeafIndex, size: TreeSize, nodes: Sequence[bytes]) -> list[bytes]:
    """The inclusion proof, leaf side first, from the hashes of the planned nodes."""
    return _folded(_inclusion_ranges(index, size), nodes)


def plan_consistency(old: TreeSize, new: TreeSize) -> list[Coord]:
    """The nodes to fetch for `finish_consistency`.

    Raises:
        ValueError: not 1 <= old <= new.
    """
    return _coords(_consistency_ranges(old, new))


def finish_consistency(old: TreeSize, new: TreeSize, nodes: Sequence[bytes]) -> list[bytes]:
    """The consistency proof from the hashes of the planned nodes."""
    return _folded(_consistency_ranges(old, new), nodes)


def inclusion_proof(index: LeafIndex, size: TreeSize, nodes: Nodes) -> list[bytes]:
    """The proof that leaf `index` is in the log of `size`; `nodes` is called once."""
    ranges = _inclusion_ranges(index, size)
    return _folded(ranges, nodes(_coords(ranges)))


def inclusion_proofs(indices: Iterable[LeafIndex], size: TreeSize, nodes: Nodes) -> list[list[bytes]]:
    """`inclusion_proof` of many leaves; what their proofs share is fetched and folded once."""
    paths = [_inclusion_ranges(index, size) for index in indices]
    ranges = list(dict.fromkeys(part for path in paths for part in path))
    known = dict(zip(ranges, _folded(ranges, nodes(_coords(ranges))), strict=True))
    return [[known[part] for part in path] for path in paths]


def consistency_proof(old: TreeSize, new: TreeSize, nodes: Nodes) -> list[bytes]:
    """The proof that the log of `new` begins with that of `old`; `nodes` is called once."""
    ranges = _consistency_ranges(old, new)
    return _folded(ranges, nodes(_coords(ranges)))


def _split(width: int) -> int:
    """The largest power of two below `width` > 1 (RFC 6962, 2.1)."""
    return 1 << (width - 1).bit_length() - 1


def _inclusion_ranges(index: int, size: int) -> list[tuple[int, int]]:
    """RFC 6962, 2.1.1, as ranges of leaves, leaf side first."""
    if not 0 <= index < size:
        raise ValueError(f"leaf {index} is not in a log of {size}")
    ranges: list[tuple[int, int]] = []
    low, high = 0, size
    while high - low > 1:
        middle = low + _split(high - low)
        if index < middle:
            ranges.append((middle, high))
            high = middle
        else:
            ranges.append((low, middle))
            low = middle
    return ranges[::-1]


def _consistency_ranges(old: int, new: int) -> list[tuple[int, int]]:
    """RFC 6962, 2.1.2: SUBPROOF(old, D[new], true), as ranges of leaves."""
    if not 1 <= old <= new:
        raise ValueError(f"no proof leads from {old} leaves to {new}")
    ranges: list[tuple[int, int]] = []
    low, high = 0, new
    while old < high:
        middle = low + _split(high - low)
        if old <= middle:
            ranges.append((middle, high))
            high = middle
        else:
            ranges.append((low, middle))
            low = middle
    if low:
        ranges.append((low, high))  # the verifier holds the whole old root only when it is this subtree
    return ranges[::-1]


def _perfect(low: int, high: int) -> list[Coord]:
    """The perfect subtrees that make up [low, high), largest first; `low` is a multiple of each."""
    found: list[Coord] = []
    while low < high:
        level = (high - low).bit_length() - 1
        found.append((level, low >> level))
        low += 1 << level
    return found


def _coords(ranges: list[tuple[int, int]]) -> list[Coord]:
    return [coord for low, high in ranges for coord in _perfect(low, high)]


def _folded(ranges: list[tuple[int, int]], nodes: Sequence[bytes]) -> list[bytes]:
    counts = [(high - low).bit_count() for low, high in ranges]
    if len(nodes) != sum(counts) or any(len(node) != HASH_BYTES for node in nodes):
        raise ValueError("not the nodes that were planned")
    proof: list[bytes] = []
    at = 0
    for count in counts:
        at += count
        root = nodes[at - 1]
        for left in reversed(nodes[at - count : at - 1]):
            root = hash_children(left, root)
        proof.append(root)
    return proof


# -- verifying proofs --


def root_from_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes]) -> bytes:
    """The root that `proof` implies for the leaf hash at `index`.

    Comparing it with a trusted root is the caller's job; a wrong proof of the right length leads to
    another root.

    Args:
        leaf: 32 bytes, already leaf-hashed.
        proof: sibling hashes from the leaf upwards, 32 bytes each.

    Raises:
        ProofInvalid: the leaf lies outside the log, a hash is not 32 bytes long, or there are too many
            or too few of them.
    """
    _check_hashes(leaf, *proof)
    _check_size(size)
    if not 0 <= index < size:
        raise ProofInvalid(f"leaf {index} is not in a log of {size}")
    # `node` walks up from the leaf; `last` is the rightmost node of the same level.
    node, last, root = index, size - 1, leaf
    for sibling in proof:
        if last == 0:
            raise ProofInvalid("the proof has hashes left over")
        if node & 1 or node == last:
            root = hash_children(sibling, root)
            # A right-edge node with no sibling rises unhashed until it is a right child.
            while node and not node & 1:
                node >>= 1
                last >>= 1
        else:
            root = hash_children(root, sibling)
        node >>= 1
        last >>= 1
    if last != 0:
        raise ProofInvalid("the proof ends below the root")
    return root


def verify_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> None:
    """Return if the leaf hash stands at `index` of the log with `size` and `root`.

    Raises:
        ProofInvalid: it is not proved.
    """
    _check_hashes(root)
    if root_from_inclusion(leaf, index, size, proof) != root:
        raise ProofInvalid("the proof leads to another root")


def verify_consistency(
    old_size: int, old_root: bytes, new_size: int, new_root: bytes, proof: Sequence[bytes]
) -> None:
    """Return if the log of `new_size` begins with all of that of `old_size` (RFC 9162, 2.1.4.2).

    An old size of 0 is refused: nothing follows from an empty log, and what that means is the caller's
    rule.

    Raises:
        ProofInvalid: it is not proved.
    """
    _check_hashes(old_root, new_root, *proof)
    _check_size(new_size)
    if not 1 <= old_size <= new_size:
        raise ProofInvalid(f"no proof leads from {old_size} leaves to {new_size}")
    if old_size == new_size:
        if proof or old_root != new_root:
            raise ProofInvalid("one size, but two roots or a proof that has nothing to prove")
        return
    if not proof:
        raise ProofInvalid("an empty proof of growth")
    # Where the old log is one perfect subtree its root starts the walk and is not sent.
    walk = [old_root, *proof] if old_size & (old_size - 1) == 0 else list(proof)
    node, last = old_size - 1, new_size - 1
    while node & 1:
        node >>= 1
        last >>= 1
    old = new = walk[0]
    for sibling in walk[1:]:
        if last == 0:
            raise ProofInvalid("the proof has hashes left over")
        if node & 1 or node == last:
            old = hash_children(sibling, old)
            new = hash_children(sibling, new)
            while node and not node & 1:
                node >>= 1
                last >>= 1
        else:
            new = hash_children(new, sibling)
        node >>= 1
        last >>= 1
    if last != 0:
        raise ProofInvalid("the proof ends below the root")
    if old != old_root or new != new_root:
        raise ProofInvalid("the proof leads to other roots")


@dataclass(frozen=True, slots=True)
class Inclusion:
    """The claim that a leaf hash stands at `index` of the log with `size` and `root`; nothing in it is trusted.

    Attributes:
        leaf: 32 bytes, already leaf-hashed.
        proof: sibling hashes from the leaf upwards, 32 bytes each.
        root: the trusted root, 32 bytes.
    """

    leaf: bytes
    index: int
    size: int
    proof: Sequence[bytes]
    root: bytes


def unproved(claims: Sequence[Inclusion]) -> list[int]:
    """Positions of the claims that are not proved, ascending; none at all means that every one holds.

    The same as `verify_inclusion` on each, many times faster: the hashing is one native call, in which
    independent proofs climb side by side.
    """
    shaped = [
        position
        for position, claim in enumerate(claims)
        if all(len(one) == HASH_BYTES for one in (claim.leaf, claim.root, *claim.proof))
    ]
    asked = [claims[position] for position in shaped]
    roots = merkle.fold_many(
        b"".join(claim.leaf for claim in asked),
        [claim.index for claim in asked],
        [claim.size for claim in asked],
        [b"".join(claim.proof) for claim in asked],
    )
    proved = {
        position for position, claim, root in zip(shaped, asked, roots, strict=True) if root == claim.root
    }
    return [position for position in range(len(claims)) if position not in proved]


# -- subtrees --


def verify_subtree_inclusion(
    leaf: bytes, index: int, start: int, end: int, proof: Sequence[bytes], root: bytes
) -> None:
    """Return if the leaf hash stands at `index` of a log whose leaves [start, end) have `root`.

    Only a valid subtree has inclusion proofs: a plain log of its leaves (draft-ietf-plants-merkle-tree-certs,
    "Subtrees"). An empty one includes nothing.

    Raises:
        ProofInvalid: it is not proved, or [start, end) is no valid subtree.
    """
    _check_subtree(start, end)
    if not start <= index < end:
        raise ProofInvalid(f"leaf {index} is not in the subtree [{start}, {end})")
    verify_inclusion(leaf, index - start, end - start, proof, root)


def verify_subtree_consistency(
    start: int, end: int, size: int, subtree_root: bytes, root: bytes, proof: Sequence[bytes]
) -> None:
    """Return if the leaves [start, end) of the log with `size` and `root` have the root `subtree_root`.

    With `start` 0 this is consistency of two sizes. The empty subtree is part of every log that reaches it:
    its root is fixed, its proof empty, and `root` says nothing about it. So an old size of 0 passes here,
    as the draft has it, and not in `verify_consistency`.

    Source: draft-ietf-plants-merkle-tree-certs, "Verifying a Subtree Consistency Proof".

    Raises:
        ProofInvalid: it is not proved, or [start, end) is no valid subtree of that log.
    """
    _check_hashes(subtree_root, root, *proof)
    _check_size(size)
    _check_subtree(start, end)
    if end > size:
        raise ProofInvalid(f"the subtree [{start}, {end}) is not in a log of {size}")
    if start == end:
        if proof or subtree_root != EMPTY_ROOT:
            raise ProofInvalid("the empty subtree has one root and nothing to prove")
        return
    # Three nodes of one level walk up: the subtree's leftmost and rightmost, and the log's rightmost.
    first, node, last = start, end - 1, size - 1
    # A subtree whose right edge is the log's was one range when the proof was cut: it counts as one node.
    # Any other falls into perfect subtrees, and the proof begins with the smallest, at its right edge.
    while first != node and (node == last or node & 1):
        first, node, last = first >> 1, node >> 1, last >> 1
    if first == node:
        part = whole = subtree_root
        siblings = proof
    elif proof:
        part = whole = proof[0]
        siblings = proof[1:]
    else:
        raise ProofInvalid("an empty proof of a subtree that is not a node")
    for sibling in siblings:
        if last == 0:
            raise ProofInvalid("the proof has hashes left over")
        if node & 1 or node == last:
            if first < node:  # still inside the subtree
                part = hash_children(sibling, part)
            whole = hash_children(sibling, whole)
            while node and not node & 1:
                first, node, last = first >> 1, node >> 1, last >> 1
        else:
            whole = hash_children(whole, sibling)
        first, node, last = first >> 1, node >> 1, last >> 1
    if last != 0:
        raise ProofInvalid("the proof ends below the root")
    if part != subtree_root or whole != root:
        raise ProofInvalid("the proof leads to other roots")


def _check_subtree(start: int, end: int) -> None:
    """[start, end) is valid if a power of two >= its width divides `start`: then its shape is the log's own."""
    _check_size(end)
    if not 0 <= start <= end or start & ((1 << max(end - start - 1, 0).bit_length()) - 1):
        raise ProofInvalid(f"[{start}, {end}) is no subtree")


def _check_hashes(*hashes: bytes) -> None:
    """Lengths come first: two empty byte strings are equal, and prove nothing."""
    if any(len(one) != HASH_BYTES for one in hashes):
        raise ProofInvalid("a hash is not 32 bytes long")


def _check_size(size: int) -> None:
    """A size bounds the walk, so it has a bound itself: that of the format's u64."""
    if size >= 1 << 64:
        raise ProofInvalid("a size beyond 64 bits")
