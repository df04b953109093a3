"""Leaves with their way to a trusted head: the rows that proofs carry, and the seal that speaks for all before it.

    {"index": 7, "leaf": "<the leaf's canonical JSON>", "proof": ["<hex>", ...]}

The last leaf of the log at any checkpoint is the seal of its newest block, so one row of a proof says both roots
of the verifiable index, and nobody can show an older one.

Source: docs/log.md, "Proof file", "Verifiable index".
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pyrsia.errors import Malformed, ProofInvalid
from pyrsia.ledger import entries
from pyrsia.ledger.entries import Entry
from pyrsia.log import tree
from pyrsia.log.checkpoint import Trusted
from pyrsia.wire import canonical

Verify = Callable[[bytes, bytes, bytes], bool]


@dataclass(frozen=True, slots=True)
class Proven:
    """A leaf that is in the log."""

    index: int
    entry: Entry


@dataclass(frozen=True, slots=True)
class Roots:
    """What the newest seal below a head says."""

    index_root: bytes
    state_root: bytes
    time_ms: int
    seal: int


def row(index: int, leaf: bytes, hashes: Sequence[bytes]) -> canonical.Json:
    """A leaf as a proof carries it."""
    return {"index": index, "leaf": leaf.decode(), "proof": [one.hex() for one in hashes]}


def proven(row: object, head: Trusted) -> Proven:
    """The leaf of a row, once its inclusion is proven.

    Raises:
        Malformed: it is no such row, or proves nothing.
    """
    if not isinstance(row, dict) or set(row) != {"index", "leaf", "proof"}:
        raise Malformed("a leaf of the proof has index, leaf and proof")
    index, leaf, hashes = row["index"], row["leaf"], row["proof"]
    if type(index) is not int or not isinstance(leaf, str) or not isinstance(hashes, list):
        raise Malformed("a leaf of the proof has index, leaf and proof")
    try:
        siblings = [bytes.fromhex(one) for one in hashes if isinstance(one, str)]
        raw = leaf.encode()
    except ValueError:
        raise Malformed("a hash of the proof is not hexadecimal") from None
    if [one.hex() for one in siblings] != hashes:
        raise Malformed("a hash of the proof is not plain hexadecimal")
    included(tree.leaf_hash(raw), index, head, siblings)
    return Proven(index, entries.parse(raw))


def included(leaf_hash: bytes, index: int, head: Trusted, hashes: Sequence[bytes]) -> None:
    """Raises `ProofInvalid` unless the leaf stands in the log of this head."""
    tree.verify_inclusion(leaf_hash, index, head.checkpoint.size, hashes, head.checkpoint.root)


def roots(row: object, head: Trusted) -> Roots:
    """Both roots of the verifiable index under a head, from the row of its newest seal.

    Raises:
        Malformed: the row is not that of the head's last leaf, or that leaf is no seal.
    """
    found = proven(row, head)
    if found.index != head.checkpoint.size - 1 or found.entry.kind != "block.seal":
        raise ProofInvalid("the roots are not those of the newest seal")
    body = found.entry.body
    return Roots(
        bytes.fromhex(body["index_root"]), bytes.fromhex(body["state_root"]), body["time_ms"], found.index
    )
