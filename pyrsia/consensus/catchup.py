"""Final blocks for members and followers that are behind: packing an answer, and checking one.

Nothing is believed before its proof: q signatures over a header, headers linked down to the last block, blocks
linked down to what the receiver already holds.

Source: docs/agreement.md, "Catch-up".
"""

from collections.abc import Callable, Sequence
from itertools import pairwise

from pyrsia.errors import Malformed
from pyrsia.units import MAX_PROOF_HEADERS, MAX_SYNC_BLOCKS, MAX_SYNC_BYTES
from pyrsia.wire.blocks import (
    EPOCH_END,
    HEADER_BYTES,
    TAIL,
    Block,
    Blocks,
    FinalityProof,
    Header,
    StoredBlocks,
    entries_root,
    header_of,
)

from .committee import Checker


def pack(
    first: int,
    last: int,
    block: Callable[[int], bytes | None],
    proof: Callable[[int], bytes | None],
) -> StoredBlocks | None:
    """Final blocks from height `first`, as many as one message takes; None if the store has not the first.

    They are of one epoch: the answer stops at the block that ends it, since what follows is proven by others. Blocks
    go out as they are stored; only headers are looked at.

    Args:
        block: the stored block at a height.
        proof: the stored `FinalityProof` at a height; the store has one at the last height of each `Deliver`.
    """
    data = block(first)
    if data is None:
        return None
    found, top = [data], header_of(data)
    size = len(data) + HEADER_BYTES * _headers_above(first, block, proof)
    for height in range(first + 1, min(last, first + MAX_SYNC_BLOCKS.value - 1) + 1):
        data = block(height) if top.kind != EPOCH_END else None
        # One block more is one header less in the proof.
        if data is None or size + len(data) > MAX_SYNC_BYTES.value:
            break
        size += len(data)
        found.append(data)
        top = header_of(data)
    packed = _prove(top.height, block, proof)
    return None if packed is None else StoredBlocks(tuple(found), packed)


def serve(
    first: int,
    last: int,
    block: Callable[[int], bytes | None],
    proof: Callable[[int], bytes | None],
) -> Blocks | None:
    """What `pack` answers, decoded: for whoever looks at it here."""
    packed = pack(first, last, block, proof)
    if packed is None:
        return None
    return Blocks(tuple(Block.decode(data) for data in packed.blocks), packed.proof)


def _headers_above(
    first: int, read: Callable[[int], bytes | None], proof: Callable[[int], bytes | None]
) -> int:
    """How many headers a proof of a block holds; the store has its stored proof's own on top, two at most."""
    for distance in range(MAX_PROOF_HEADERS.value):
        height = first + distance
        if proof(height) is not None or read(height) is None:
            return distance + 2
    return MAX_PROOF_HEADERS.value


def _prove(
    last: int, read: Callable[[int], bytes | None], proof: Callable[[int], bytes | None]
) -> FinalityProof | None:
    """The nearest proof at or above the block at height `last`, with the headers from there down to it."""
    down: list[Header] = []
    for height in range(last, last + MAX_PROOF_HEADERS.value - 1):
        stored = proof(height)
        if stored is not None:
            above = FinalityProof.decode(stored)
            return FinalityProof(above.cert, above.headers + tuple(reversed(down)))
        data = read(height)
        if data is None:
            return None
        down.append(header_of(data))
    return None


def body_fits(block: Block) -> bool:
    """Whether the body is the one that the header commits to."""
    header, body = block.header, block.body
    return (
        header.n_entries == len(body.entries)
        and header.entries_root == entries_root(body.entries)
        and header.just_hash == body.justification.hash()
    )


def proven(answer: Blocks, checker: Checker) -> None:
    """Whether an answer's blocks are whole, linked, of one epoch, and final.

    Raises:
        Malformed: the answer proves nothing; its sender is to blame.
    """
    blocks, last = answer.blocks, answer.blocks[-1]
    epoch = checker.committee.epoch
    if any(block.header.epoch != epoch or block.header.kind == TAIL for block in blocks):
        raise Malformed("a block of another epoch, or one that is not of the log")
    if not checker.proof(answer.proof) or answer.proof.headers[-1].hash() != last.hash:
        raise Malformed("the proof does not prove the last block")
    for parent, child in pairwise(blocks):
        if child.header.parent_hash != parent.hash or child.header.height != parent.header.height + 1:
            raise Malformed("the blocks are not linked")
    if not all(body_fits(block) for block in blocks):
        raise Malformed("a body does not fit its header")


def above(blocks: Sequence[Block], height: int, block_hash: bytes) -> tuple[Block, ...]:
    """Of proven blocks those above (`height`, `block_hash`), which the first of them must stand on.

    Empty if there are none, or if they begin too high. Executing them is the caller's business.

    Raises:
        Conflict: they prove another final block than ours: more than f members lied.
    """
    for block in blocks:
        if block.header.height == height and block.hash != block_hash:
            raise Conflict(f"two final blocks at height {height}")
    rest = tuple(block for block in blocks if block.header.height > height)
    if not rest or rest[0].header.height > height + 1:
        return ()
    if rest[0].header.parent_hash != block_hash:
        raise Conflict(f"a final block at height {height + 1} does not stand on ours")
    return rest


class Conflict(Exception):
    """Two valid finality proofs that exclude each other."""
