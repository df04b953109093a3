"""Every proof of every log of up to 130 leaves, and every bit of every hash in it turned over.

That is some twenty-seven million false proofs. They are folded natively, 256 a call; the verifiers in Python,
which decide, see every proof with one bit turned, another one each time.
"""

import functools
import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from pyrsia._native import merkle
from pyrsia.errors import ProofInvalid
from pyrsia.log import tree
from tests.reference import merkle as oracle

MOST = 130
BITS = 256  # of one hash
LEAVES = [hashlib.sha256(b"leaf %d" % i).digest() for i in range(MOST)]
ROOTS = [oracle.root(LEAVES[:size]) for size in range(MOST + 1)]


@functools.cache
def every_bit(one: bytes) -> list[bytes]:
    """The hash 256 times, each time with another one of its bits turned."""
    number = int.from_bytes(one)
    return [(number ^ 1 << bit).to_bytes(32) for bit in range(BITS)]


def turned(proof: Sequence[bytes], number: int, bit: int) -> list[bytes]:
    bent = list(proof)
    bent[number] = (int.from_bytes(bent[number]) ^ 1 << bit % BITS).to_bytes(32)
    return bent


def every_false_fold(leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> int:
    """Fold it with every bit of the leaf and of every hash turned; how many folds, none of which gave `root`."""
    joined = b"".join(proof)
    assert merkle.fold_many(leaf, [index], [size], [joined]) == [root]
    indices, sizes, leaves = [index] * BITS, [size] * BITS, leaf * BITS
    found = merkle.fold_many(b"".join(every_bit(leaf)), indices, sizes, [joined] * BITS)
    for number, one in enumerate(proof):
        before, behind = joined[: 32 * number], joined[32 * number + 32 :]
        bent = [before + other + behind for other in every_bit(one)]
        found += merkle.fold_many(leaves, indices, sizes, bent)
    assert root not in found
    assert None not in found
    return len(found)


def inclusions(size: int) -> int:
    leaves, root = LEAVES[:size], ROOTS[size]
    return sum(
        every_false_fold(leaf, index, size, oracle.path(index, leaves), root)
        for index, leaf in enumerate(leaves)
    )


def growths(size: int) -> int:
    """The hashes of a consistency proof lead to the new root like an inclusion proof of the node they begin at."""
    folds = 0
    for old in range(1, size):
        proof = oracle.proof(old, LEAVES[:size])
        walk = proof if old & (old - 1) else [ROOTS[old], *proof]
        node, last = old - 1, size - 1
        while node & 1:
            node, last = node >> 1, last >> 1
        folds += every_false_fold(walk[0], node, last + 1, walk[1:], ROOTS[size])
    return folds


@pytest.mark.parametrize(("every", "least"), [(inclusions, 14_000_000), (growths, 12_000_000)])
def test_every_bit_of_every_hash_of_every_proof_matters(every, least: int) -> None:
    # The native calls give up the interpreter, so two threads are nearly twice as fast.
    with ThreadPoolExecutor(2) as pool:
        assert sum(pool.map(every, range(MOST, 0, -1))) > least


def test_every_inclusion_proof_verifies_and_with_a_bit_turned_a_hash_less_or_more_does_not() -> None:
    seen = 0
    for size in range(1, MOST + 1):
        root = ROOTS[size]
        for index in range(size):
            leaf, proof = LEAVES[index], oracle.path(index, LEAVES[:size])
            tree.verify_inclusion(leaf, index, size, proof, root)
            false = [turned(proof, number, 37 * size + 11 * index + number) for number in range(len(proof))]
            for bent in (*false, [*proof, leaf], *([proof[:-1]] if proof else [])):
                seen += 1
                with pytest.raises(ProofInvalid):
                    tree.verify_inclusion(leaf, index, size, bent, root)
    assert seen > 60_000


def test_every_consistency_proof_verifies_and_with_a_bit_turned_a_hash_less_or_more_does_not() -> None:
    seen = 0
    for size in range(2, MOST + 1):
        root = ROOTS[size]
        for old in range(1, size):
            proof = oracle.proof(old, LEAVES[:size])
            tree.verify_consistency(old, ROOTS[old], size, root, proof)
            false = [turned(proof, number, 37 * size + 11 * old + number) for number in range(len(proof))]
            for bent in (*false, [*proof, root], proof[:-1]):
                seen += 1
                with pytest.raises(ProofInvalid):
                    tree.verify_consistency(old, ROOTS[old], size, root, bent)
    assert seen > 60_000
