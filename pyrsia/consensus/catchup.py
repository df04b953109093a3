"""Final blocks for members and followers that are behind: packing an answer, and checking one.

Nothing is believed before its proof: q signatures over a header, headers linked down to the last block, blocks
linked down to what the receiver already holds.

Source: docs/agreement.md, "Catch-up".
"""

from collections.abc import Callable
from itertools import pairwise

from pyrsia.errors import Malformed
from pyrsia.units import MAX_PROOF_HEADERS, MAX_SYNC_BLOCKS, MAX_SYNC_BYTES
from pyrsia.wire.blocks import Block, Blocks, FinalityProof, entries_root

from .committee import Checker


def serve(
    first: int,
    last: int,
    block: Callable[[int], bytes | None],
    proof: Callable[[int], bytes | None],
) -> Blocks | None:
    """Final blocks from height `first`, as many as one message takes; None if the store has not the first.

    Args:
        block: the stored block at a height.
        proof: the stored `FinalityProof` at a height; the store has one at the last height of each `Deliver`.
    """
    found: list[Block] = []
    size = 0
    for height in range(first, min(last, first + MAX_SYNC_BLOCKS.value - 1) + 1):
        data = block(height)
        if data is None or (found and size + len(data) > MAX_SYNC_BYTES.value):
            break
        size += len(data)
        found.append(Block.decode(data))
    if not found:
        return None
    packed = _prove(found[-1], block, proof)
    return None if packed is None else Blocks(tuple(found), packed)


def _prove(
    block: Block, read: Callable[[int], bytes | None], proof: Callable[[int], bytes | None]
) -> FinalityProof | None:
    """The nearest proof at or above `block`, with the headers from there down to it."""
    down = [block.header]
    for height in range(block.header.height, block.header.height + MAX_PROOF_HEADERS.value):
        if height > block.header.height:
            data = read(height)
            if data is None:
                return None
            down.append(Block.decode(data).header)
        stored = proof(height)
        if stored is not None:
            above = FinalityProof.decode(stored)
            return FinalityProof(above.cert, above.headers + tuple(reversed(down[:-1])))
    return None


def body_fits(block: Block) -> bool:
    """Whether the body is the one that the header commits to."""
    header, body = block.header, block.body
    return (
        header.n_entries == len(body.entries)
        and header.entries_root == entries_root(body.entries)
        and header.just_hash == body.justification.hash()
    )


def checked(answer: Blocks, checker: Checker, height: int, block_hash: bytes) -> tuple[Block, ...]:
    """The blocks of `answer` above (`height`, `block_hash`), proven final and whole.

    Empty if there are none above. Executing them is the caller's business.

    Raises:
        Malformed: the answer proves nothing; its sender is to blame.
        Conflict: it proves another final block than ours: more than f members lied.
    """
    if not checker.proof(answer.proof) or answer.proof.headers[-1].hash() != answer.blocks[-1].hash:
        raise Malformed("the proof does not prove the last block")
    blocks = answer.blocks
    for parent, child in pairwise(blocks):
        if child.header.parent_hash != parent.hash or child.header.height != parent.header.height + 1:
            raise Malformed("the blocks are not linked")
    if not all(body_fits(block) for block in blocks):
        raise Malformed("a body does not fit its header")
    for block in blocks:
        if block.header.height == height and block.hash != block_hash:
            raise Conflict(f"two final blocks at height {height}")
    above = tuple(block for block in blocks if block.header.height > height)
    if above and above[0].header.height == height + 1 and above[0].header.parent_hash != block_hash:
        raise Conflict(f"a final block at height {height + 1} does not stand on ours")
    if above and above[0].header.height > height + 1:
        raise Malformed("the blocks begin above what was asked for")
    return above


class Conflict(Exception):
    """Two valid finality proofs that exclude each other."""
