"""The verifiable index: a prefix tree with one root for a set of (key, value), and proofs of what is in it.

The root is canonical: one set has one root, whatever order it came in. A set of none has the root SHA-256 of
nothing; of one, SHA-256(key || value); of more, SHA-256(byte d || root of those whose bit d is 0 || root of those
whose bit d is 1), d being the first bit at which the keys differ. So a path to a leaf tells at which bits the way
parts, and a key is shown to be absent by the one other leaf at which its lookup ends.

A tree is stored in pages that are never changed: an update writes new ones beside them, under its own version, so
older roots stay provable until somebody removes what they alone need. No I/O: callers fetch, one call a level.
What pages look like is `pyrsia/_native/prefixtree.pyx`'s; no hash depends on it.

Source: docs/log.md, "Prefix tree"; docs/adr/0025.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NoReturn

from pyrsia._native import histories as native_histories
from pyrsia._native import prefixtree as native
from pyrsia.errors import DatabaseDamaged, Malformed, ProofInvalid
from pyrsia.log.tree import EMPTY_ROOT
from pyrsia.units import HASH_BYTES, Limit

Fetch = Callable[[list[bytes]], Sequence[bytes | None]]
"""Page keys to pages, in that order, None for one that is not there."""

KEY_BITS: Final = 256
MAX_STEPS = Limit(KEY_BITS, "a path parts at each bit of a key at most once")
_NIBBLE_BITS: Final = 4


@dataclass(frozen=True, slots=True)
class Tree:
    """One version of a tree.

    Attributes:
        tag: 0..255, the first byte of all its pages' keys.
        root: 32 bytes.
        version: of its root page; None if it is empty.
    """

    tag: int
    root: bytes
    version: int | None

    @classmethod
    def empty(cls, tag: int) -> "Tree":
        return cls(tag, EMPTY_ROOT, None)


@dataclass(frozen=True, slots=True)
class Change:
    """What an update did.

    Attributes:
        tree: the new version; the old one, if nothing changed.
        pages: to write, by key.
        dropped: keys of pages that only older versions still need.
    """

    tree: Tree
    pages: dict[bytes, bytes]
    dropped: tuple[bytes, ...]


def update(tree: Tree, fetch: Fetch, changes: Mapping[bytes, bytes | None], version: int) -> Change:
    """`tree` with `changes`: a 32-byte key to its new 32-byte value, or to None for a key that goes.

    A key that goes and is not there changes nothing, and neither does a value that is there already. The same
    version may be used again: pages of it are then overwritten.

    Args:
        version: of the new pages; at least the tree's own, at most 2^64 - 1.

    Raises:
        ValueError: the version is older than the tree or too large, or a key or value is not 32 bytes.
        TypeError: a key or value is not bytes.
        Refusal: `data-damaged`, a page is missing or breaks its format.
    """
    if not (tree.version or 0) <= version < 1 << 64:
        raise ValueError(f"version {version} of a tree whose pages are of version {tree.version}")
    work = native.Update(tree.tag, tree.version, changes)
    try:
        while wanted := work.wanted():
            work.feed(list(fetch(wanted)))
    except native.BadPage as error:
        _damaged(error)
    changed, root, pages, dropped = work.finish(version)
    if not changed:
        return Change(tree, {}, ())
    if root is None:
        return Change(Tree.empty(tree.tag), pages, dropped)
    return Change(Tree(tree.tag, root, version), pages, dropped)


# -- proofs --


@dataclass(frozen=True, slots=True)
class Path:
    """The way from a leaf up to the root.

    Attributes:
        steps: (depth, root of the other side) of each node on the way, leaf side first; depths fall strictly and
            lie in 0..255, roots have 32 bytes.
        other: (key, value) of the leaf, where it is not the one that was looked for: then the path proves absence.
            An empty tree proves it without a leaf.
    """

    steps: tuple[tuple[int, bytes], ...]
    other: tuple[bytes, bytes] | None = None

    def as_json(self) -> dict[str, Any]:
        """For canonical JSON: `steps`, a list of [depth, hex], and `other`, [hex, hex], if there is one."""
        found: dict[str, Any] = {"steps": [[depth, sibling.hex()] for depth, sibling in self.steps]}
        if self.other is not None:
            found["other"] = [part.hex() for part in self.other]
        return found

    @classmethod
    def from_json(cls, value: Any) -> "Path":
        """The inverse of `as_json`; form only, what it proves is for the `verify_` functions.

        Raises:
            ProofInvalid: anything else.
        """
        if type(value) is not dict or not {"steps"} <= value.keys() <= {"steps", "other"}:
            raise ProofInvalid("a path is an object with steps, and an other leaf or none")
        steps = value["steps"]
        if type(steps) is not list or len(steps) > MAX_STEPS.value:
            raise ProofInvalid(f"the steps of a path are a list of at most {MAX_STEPS.value}")
        taken = tuple((_depth(depth), _unhex(sibling)) for depth, sibling in map(_two, steps))
        if "other" not in value:
            return cls(taken)
        other, held = _two(value["other"])
        return cls(taken, (_unhex(other), _unhex(held)))


def prove(tree: Tree, fetch: Fetch, key: bytes) -> tuple[bytes | None, Path]:
    """The value of `key` with the path that proves it, or None with the path that proves its absence.

    Storage is asked once a level of pages. No path is given that does not lead to `tree.root`.

    Raises:
        ValueError: the key is not 32 bytes.
        Refusal: `data-damaged`, a page is missing, breaks its format or does not belong to this root.
    """
    if len(key) != HASH_BYTES:
        raise ValueError(f"a key of {len(key)} bytes")
    if tree.version is None:
        return None, Path(())
    down, (found, value) = _lookup(tree, fetch, key)
    steps = tuple(reversed(down))
    if _root(found, value, steps) != tree.root:
        _damaged("the pages do not lead to the root")
    return (value, Path(steps)) if found == key else (None, Path(steps, (found, value)))


def _lookup(tree: Tree, fetch: Fetch, key: bytes) -> tuple[list[tuple[int, bytes]], tuple[bytes, bytes]]:
    """The steps from the root down, and the leaf at which they end."""
    path, depth, version = bytes(HASH_BYTES), 0, tree.version
    down: list[tuple[int, bytes]] = []
    while version is not None:
        [page] = fetch([native.page_key(tree.tag, path, depth, version)])
        try:
            steps, below, leaf = native.look(page, path, depth, version, key)
        except native.BadPage as error:
            _damaged(error)
        down += steps
        if leaf is not None:
            return down, leaf
        if below is not None:
            slot, version = below
            path, depth = _below(path, depth, slot), depth + 1
    raise AssertionError("a page is a fork or holds a leaf")


def root_if_present(key: bytes, value: bytes, path: Path) -> bytes:
    """The root of a tree in which `key` has `value`, as the path says; comparing it is the caller's job.

    Raises:
        ProofInvalid: the path has no such form.
    """
    if path.other is not None:
        raise ProofInvalid("a path of absence proves no presence")
    _check(path.steps, key, value)
    return _root(key, value, path.steps)


def verify_present(root: bytes, key: bytes, value: bytes, path: Path) -> None:
    """Return if `key` has `value` in the tree with `root`.

    Raises:
        ProofInvalid: it is not proved.
    """
    _check((), root)
    if root_if_present(key, value, path) != root:
        raise ProofInvalid("the path leads to another root")


def verify_absent(root: bytes, key: bytes, path: Path) -> None:
    """Return if the tree with `root` has no `key`.

    Every node of a tree sends a key to the side that its bit at the node's depth says. Two keys with the same bits
    at all depths of a path go the same way, so the lookup of `key` ends at the other leaf, and there is no `key`.

    Raises:
        ProofInvalid: it is not proved.
    """
    _check(path.steps, root, key, *(path.other or ()))
    if path.other is None:
        if path.steps or root != EMPTY_ROOT:
            raise ProofInvalid("only an empty tree proves absence without a leaf")
        return
    other, value = path.other
    if other == key:
        raise ProofInvalid("a key is not absent where it is the leaf itself")
    if any(_bit(key, depth) != _bit(other, depth) for depth, _ in path.steps):
        raise ProofInvalid("the lookup of the key does not end at this leaf")
    if _root(other, value, path.steps) != root:
        raise ProofInvalid("the path leads to another root")


def _check(steps: tuple[tuple[int, bytes], ...], *hashes: bytes) -> None:
    """Lengths come first: hashes of other lengths would let one be read as two, or a leaf as a node."""
    if any(len(one) != HASH_BYTES for one in hashes):
        raise ProofInvalid("a key, value or root is not 32 bytes long")
    above = KEY_BITS
    for depth, sibling in steps:
        if not 0 <= depth < above:
            raise ProofInvalid("the depths of a path do not fall from 255 towards 0")
        if len(sibling) != HASH_BYTES:
            raise ProofInvalid("a hash of a path is not 32 bytes long")
        above = depth


def _root(key: bytes, value: bytes, steps: tuple[tuple[int, bytes], ...]) -> bytes:
    root = hashlib.sha256(key + value).digest()
    for depth, sibling in steps:
        children = sibling + root if _bit(key, depth) else root + sibling
        root = hashlib.sha256(bytes((depth,)) + children).digest()
    return root


def _bit(key: bytes, depth: int) -> int:
    return key[depth >> 3] >> (7 - (depth & 7)) & 1


def _two(value: Any) -> list[Any]:
    if type(value) is not list or len(value) != 2:
        raise ProofInvalid("a list of two is expected in a path")
    return value


def _depth(value: Any) -> int:
    if type(value) is not int or not 0 <= value < KEY_BITS:
        raise ProofInvalid("a depth is a whole number from 0 to 255")
    return value


def _unhex(value: Any) -> bytes:
    """One spelling only: 64 lower-case digits."""
    if type(value) is not str or len(value) != 2 * HASH_BYTES or not _HEX.issuperset(value):
        raise ProofInvalid("a hash is 64 lower-case hex digits")
    return bytes.fromhex(value)


_HEX: Final = frozenset("0123456789abcdef")


# -- going through a whole tree --


def pages(tree: Tree, fetch: Fetch) -> Iterator[tuple[bytes, list[tuple[bytes, bytes]]]]:
    """(page key, its pairs, none for a fork) of every page, in the order of keys, each checked against its root.

    Memory is that of one page a level.

    Raises:
        Refusal: `data-damaged`, a page is missing, breaks its format or has another root than the page above says.
    """
    if tree.version is None:
        if tree.root != EMPTY_ROOT:
            _damaged("a tree without pages has the root of one")
        return
    waiting = [(bytes(HASH_BYTES), 0, tree.version, tree.root)]
    while waiting:
        path, depth, version, root = waiting.pop()
        key = native.page_key(tree.tag, path, depth, version)
        [page] = fetch([key])
        try:
            made, slots, pairs = native.read(page, path, depth, version)
        except native.BadPage as error:
            _damaged(error)
        if made != root:
            _damaged("a page has another root than the page above it says")
        yield key, pairs
        for slot, child, child_root in reversed(slots):
            waiting.append((_below(path, depth, slot), depth + 1, child, child_root))


def walk(tree: Tree, fetch: Fetch) -> Iterator[tuple[bytes, bytes]]:
    """(key, value) of everything in the tree, in the order of keys, checked as `pages` does."""
    for _, pairs in pages(tree, fetch):
        yield from pairs


def _below(path: bytes, depth: int, slot: int) -> bytes:
    """`path` with the nibble `slot` behind its first `depth` nibbles."""
    at = depth // 2
    return path[:at] + bytes((path[at] | slot << (0 if depth % 2 else _NIBBLE_BITS),)) + path[at + 1 :]


# -- histories: the small tree whose root is a package's value --


def histories(records: list[bytes | None], rows: list[bytes]) -> tuple[list[bytes], list[bytes]]:
    """Histories with rows at their ends: the new records, and the values that the index holds of them.

    Args:
        records: as this function gave them, None for a history that begins.
        rows: one or more times 40 bytes for each history: leaf index u64 BE || 32-byte leaf hash.

    Raises:
        ValueError: not as many rows as records, or rows that are not whole.
        Refusal: `data-damaged`, a record breaks its format.
    """
    try:
        made, values = native_histories.append(records, rows)
    except native_histories.BadRecord as error:
        _damaged(error)
    return made, [values[at : at + HASH_BYTES] for at in range(0, len(values), HASH_BYTES)]


def history_value(rows: bytes) -> bytes:
    """The value of a history, from all its rows of 40 bytes: SHA-256(count u64 BE || RFC 6962 root).

    Raises:
        Malformed: rows that are not whole, or none at all.
    """
    try:
        return native_histories.append([None], [rows])[1]
    except ValueError as error:
        raise Malformed(str(error)) from None


def history_count(record: bytes) -> int:
    """How many rows a history has."""
    return int.from_bytes(record[:8], "big")


def _damaged(why: object) -> NoReturn:
    raise DatabaseDamaged(f"the index of this node's database is damaged: {why}")
