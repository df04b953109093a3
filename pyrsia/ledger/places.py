"""What stands below a place of a stored prefix tree: its pairs, its root, and the places below it.

A place is all keys that begin with some nibbles. Pages part at nibbles too, but where they do is each node's own
history, so a place may be a page, lie inside of one, or be many. No root depends on that.

Source: docs/storage.md, "Snapshots"; docs/adr/0025.
"""

from collections.abc import Iterator, Sequence
from typing import Final

from pyrsia._native import prefixtree as native
from pyrsia.errors import DatabaseDamaged
from pyrsia.ledger import prefixtree
from pyrsia.ledger.prefixtree import Fetch, Tree
from pyrsia.wire.snapshots import Place

Pair = tuple[bytes, bytes]
_Page = tuple[Place, int]  # where a page stands, and its version
_FORK: Final = b"\2"
_NO_VERSION: Final = bytes(8)


def pairs(tree: Tree, fetch: Fetch, place: Place) -> Iterator[list[Pair]]:
    """The pairs below `place`, keys rising, a page at a time.

    Raises:
        Refusal: `data-damaged`, a page is missing or breaks its format.
    """
    waiting = _top(tree, fetch, place)
    while waiting:
        page = waiting.pop()
        _, slots, found = _read(tree, fetch, page)
        if page[0].depth < place.depth:  # a bucket that holds other places' pairs too
            found = [pair for pair in found if place.holds(pair[0])]
        if found:
            yield found
        waiting += [(page[0].child(slot), version) for slot, version, _ in reversed(slots)]


def root(tree: Tree, fetch: Fetch, place: Place) -> bytes | None:
    """The root of what stands below `place`; None for nothing.

    Raises:
        Refusal: `data-damaged`.
    """
    if place.depth == 0:
        return None if tree.version is None else tree.root
    for page in _top(tree, fetch, place):
        made, _, found = _read(tree, fetch, page)
        if page[0].depth == place.depth:
            return made
        return of_pairs([pair for pair in found if place.holds(pair[0])])
    return None


def slots(tree: Tree, fetch: Fetch, place: Place) -> tuple[tuple[int, bytes], ...]:
    """The (slot, root) of each place right below `place` with something in it, slots rising.

    Raises:
        Refusal: `data-damaged`.
    """
    for page in _top(tree, fetch, place):
        _, below, found = _read(tree, fetch, page)
        if below:
            return tuple((slot, made) for slot, _, made in below)
        split: dict[int, list[Pair]] = {}
        for pair in found:
            if place.holds(pair[0]):
                split.setdefault(place.slot(pair[0]), []).append(pair)
        return tuple((slot, of_pairs(some) or b"") for slot, some in sorted(split.items()))
    return ()


def of_pairs(found: Sequence[Pair]) -> bytes | None:
    """The root of a set of pairs of 32 bytes each; None for none."""
    if not found:
        return None
    return prefixtree.update(Tree.empty(0), lambda keys: [None] * len(keys), dict(found), 0).tree.root


def of_slots(place: Place, below: Sequence[tuple[int, bytes]]) -> bytes:
    """The root of a place from those of the places below it, one or more, slots 0 to 15 rising.

    Raises:
        ValueError: the place has no places below it.
    """
    bits = sum(1 << slot for slot, _ in below)
    page = _FORK + bits.to_bytes(2, "big") + b"".join(made + _NO_VERSION for _, made in below)
    made: bytes = native.read(page, place.path, place.depth, 0)[0]
    return made


def _top(tree: Tree, fetch: Fetch, place: Place) -> list[_Page]:
    """The page of `place`, or the bucket above that holds all of it; nothing, if nothing is there."""
    if tree.version is None:
        return []
    at: _Page = (Place(place.tree, 0, bytes(32)), tree.version)
    while at[0].depth < place.depth:
        _, below, found = _read(tree, fetch, at)
        if found:
            return [at]
        wanted = at[0].slot(place.path)
        following = [(at[0].child(slot), version) for slot, version, _ in below if slot == wanted]
        if not following:
            return []
        at = following[0]
    return [at]


def _read(tree: Tree, fetch: Fetch, page: _Page) -> tuple[bytes, list[tuple[int, int, bytes]], list[Pair]]:
    """(root, (slot, version, root) of each page below, pairs) of a stored page."""
    place, version = page
    [raw] = fetch([native.page_key(tree.tag, place.path, place.depth, version)])
    try:
        return native.read(raw, place.path, place.depth, version)
    except native.BadPage as error:
        raise DatabaseDamaged(f"the index of this node's database is damaged: {error}") from None
