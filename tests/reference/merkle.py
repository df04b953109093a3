"""RFC 6962 word for word, with hashlib: slow, and obviously right. The names are those of the kernel."""

import hashlib
from collections.abc import Sequence


def leaf_hash(entry: bytes) -> bytes:
    return hashlib.sha256(b"\x00" + entry).digest()


def hash_children(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


def rows_of(rows: bytes) -> list[bytes]:
    return [rows[at : at + 32] for at in range(0, len(rows), 32)]


def leaf_hashes(items: Sequence[bytes]) -> bytes:
    return b"".join(leaf_hash(item) for item in items)


def bundle_hashes(bundle: bytes, count: int, largest: int) -> bytes:
    """Entries behind their lengths as u16 BE (C2SP tlog-tiles); exactly `count` of them."""
    entries = []
    while bundle and len(entries) < count:
        length = int.from_bytes(bundle[:2], "big")
        if len(bundle) < 2 + length or length > largest:
            raise ValueError("cut short, or too long")
        entries.append(bundle[2 : 2 + length])
        bundle = bundle[2 + length :]
    if bundle or len(entries) != count:
        raise ValueError("not as many entries")
    return leaf_hashes(entries)


def level(rows: bytes) -> bytes:
    pairs = rows_of(rows)
    return b"".join(hash_children(pairs[i], pairs[i + 1]) for i in range(0, len(pairs), 2))


def range_root(rows: bytes) -> bytes:
    return root(rows_of(rows))


tile_root = range_root


def append(edge: tuple[bytes, ...], hashes: bytes) -> tuple[list[list[bytes]], tuple[bytes, ...]]:
    """Level by level: what is behind the last full tile and what rises from below, in tiles of 256."""
    changed: list[list[bytes]] = []
    grown: list[bytes] = []
    risen = hashes
    while risen or len(grown) < len(edge):
        row = (edge[len(grown)] if len(grown) < len(edge) else b"") + risen
        tiles = [row[at : at + 8192] for at in range(0, len(row), 8192)]
        changed.append(tiles if risen else [])
        grown.append(row[len(row) // 8192 * 8192 :])
        risen = b"".join(tile_root(tile) for tile in tiles if len(tile) == 8192)
    return changed, tuple(grown)


def verify_tiles(tiles: Sequence[bytes], above: bytes) -> int:
    wrong = [i for i, tile in enumerate(tiles) if tile_root(tile) != rows_of(above)[i]]
    return wrong[0] if wrong else -1


def fold_many(
    leaves: bytes, indices: Sequence[int], sizes: Sequence[int], proofs: Sequence[bytes]
) -> list[bytes | None]:
    folded = zip(rows_of(leaves), indices, sizes, proofs, strict=True)
    return [fold(leaf, index, size, rows_of(proof)) for leaf, index, size, proof in folded]


def fold(leaf: bytes, index: int, size: int, proof: list[bytes]) -> bytes | None:
    """PATH (2.1.1) read from its end: the last hash is the root of the half in which the leaf is not."""
    if not 0 <= index < size < 2**64:
        return None
    if size == 1:
        return None if proof else leaf
    if not proof or len(proof[-1]) != 32:
        return None
    k = split(size)
    if index < k:
        below = fold(leaf, index, k, proof[:-1])
        return None if below is None else hash_children(below, proof[-1])
    below = fold(leaf, index - k, size - k, proof[:-1])
    return None if below is None else hash_children(proof[-1], below)


def split(n: int) -> int:
    """The largest power of two smaller than n."""
    k = 1
    while k * 2 < n:
        k *= 2
    return k


def root(leaves: list[bytes]) -> bytes:
    """MTH (2.1)."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    k = split(len(leaves))
    return hash_children(root(leaves[:k]), root(leaves[k:]))


def path(m: int, leaves: list[bytes]) -> list[bytes]:
    """PATH (2.1.1)."""
    if len(leaves) == 1:
        return []
    k = split(len(leaves))
    if m < k:
        return [*path(m, leaves[:k]), root(leaves[k:])]
    return [*path(m - k, leaves[k:]), root(leaves[:k])]


def proof(m: int, leaves: list[bytes]) -> list[bytes]:
    """PROOF (2.1.2)."""
    return subproof(m, leaves, whole=True)


def subproof(m: int, leaves: list[bytes], *, whole: bool) -> list[bytes]:
    """SUBPROOF (2.1.2)."""
    n = len(leaves)
    if m == n:
        return [] if whole else [root(leaves)]
    k = split(n)
    if m <= k:
        return [*subproof(m, leaves[:k], whole=whole), root(leaves[k:])]
    return [*subproof(m - k, leaves[k:], whole=False), root(leaves[:k])]


def subtree_proof(start: int, end: int, leaves: list[bytes], *, whole: bool = True) -> list[bytes]:
    """SUBTREE_SUBPROOF of draft-ietf-plants-merkle-tree-certs: [start, end) is part of the tree of `leaves`."""
    n = len(leaves)
    if (start, end) == (0, n):
        return [] if whole else [root(leaves)]
    k = split(n)
    if end <= k:
        return [*subtree_proof(start, end, leaves[:k], whole=whole), root(leaves[k:])]
    if start >= k:
        return [*subtree_proof(start - k, end - k, leaves[k:], whole=whole), root(leaves[:k])]
    return [*subtree_proof(0, end - k, leaves[k:], whole=False), root(leaves[:k])]
