"""The verifiable index straight from its definition, with hashlib: slow, and obviously right.

A set of (key, value) is a dict of 32-byte keys to 32-byte values. Nothing here knows of pages.
"""

import hashlib

from tests.reference import merkle

Steps = list[tuple[int, bytes]]


def sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def bit(key: bytes, depth: int) -> int:
    """Bit `depth` of a key, the most significant bit of its first byte being bit 0."""
    return key[depth // 8] >> (7 - depth % 8) & 1


def split(pairs: dict[bytes, bytes]) -> tuple[int, dict[bytes, bytes], dict[bytes, bytes]]:
    """The first bit at which the keys differ, and the pairs on either side of it."""
    depth = next(d for d in range(256) if len({bit(key, d) for key in pairs}) == 2)
    return (
        depth,
        {key: value for key, value in pairs.items() if bit(key, depth) == 0},
        {key: value for key, value in pairs.items() if bit(key, depth) == 1},
    )


def root(pairs: dict[bytes, bytes]) -> bytes:
    if not pairs:
        return sha256(b"")
    if len(pairs) == 1:
        [(key, value)] = pairs.items()
        return sha256(key + value)
    depth, left, right = split(pairs)
    return sha256(bytes([depth]) + root(left) + root(right))


def lookup(pairs: dict[bytes, bytes], key: bytes) -> tuple[bytes, Steps]:
    """The key of the leaf at which the lookup of `key` ends, and its steps from the leaf up; not for the empty set."""
    if len(pairs) == 1:
        return next(iter(pairs)), []
    depth, left, right = split(pairs)
    mine, other = (right, left) if bit(key, depth) else (left, right)
    found, steps = lookup(mine, key)
    return found, [*steps, (depth, root(other))]


def history_value(rows: list[bytes]) -> bytes:
    """What the index says of a key with these rows of 40 bytes."""
    return sha256(len(rows).to_bytes(8, "big") + merkle.root([merkle.leaf_hash(row) for row in rows]))


def history_record(rows: list[bytes]) -> bytes:
    """Count, then the roots of the perfect subtrees that the count is the sum of, largest first."""
    parts, at = [], 0
    for power in range(63, -1, -1):
        if len(rows) >> power & 1:
            parts.append(merkle.root([merkle.leaf_hash(row) for row in rows[at : at + (1 << power)]]))
            at += 1 << power
    return len(rows).to_bytes(8, "big") + b"".join(parts)
