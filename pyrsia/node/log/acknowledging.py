"""Acknowledgements out of one archive: where an entry stands, and what proves it.

Entries of one block share all but the last hashes of their proofs, so what a block costs is paid once.
"""

import base64
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

import msgspec

from pyrsia._native import merkle
from pyrsia.consensus import catchup
from pyrsia.consensus.light import Contradiction, Followed
from pyrsia.errors import Malformed, ProofInvalid, Refusal
from pyrsia.ledger import entries, glance, views
from pyrsia.ledger.genesis import Genesis
from pyrsia.ledger.state import Reads
from pyrsia.log import tree
from pyrsia.log.checkpoint import Trusted
from pyrsia.log.note import SignedNote
from pyrsia.log.tree import TILE_WIDTH, Coord
from pyrsia.node.log.archive import Archive
from pyrsia.units import HASH_BYTES, LeafIndex, Limit, TreeSize
from pyrsia.verify.acknowledged import Acknowledgement, FinalBlock, check
from pyrsia.verify.leaves import Verify
from pyrsia.wire.blocks import FinalityProof, Header

BLOCKS = Limit(32, "blocks whose proofs are kept at hand: those of the last second or two")

_TILE_LEVELS: Final = TILE_WIDTH.bit_length() - 1
_PAGE: Final = 64  # leaves looked at for a block's seal at a time


@dataclass(frozen=True, slots=True)
class _Block:
    """A block with leaves, from `first` up to its size, and hashes of the tree of that size.

    Attributes:
        tiles: by number, of the tiles that the block's leaves lie in: the hashes of each level, lowest first.
        nodes: other hashes that were asked for.
    """

    first: int
    final: FinalBlock
    tiles: dict[int, list[bytes]] = field(default_factory=dict)
    nodes: dict[Coord, bytes] = field(default_factory=dict)

    def known(self, coord: Coord) -> bytes | None:
        """The hash of a node, if it is at hand."""
        level, index = coord
        number = index << level >> _TILE_LEVELS
        rows = self.tiles.get(number)
        if rows is None or level >= len(rows):
            return self.nodes.get(coord)
        at = (index - (number << _TILE_LEVELS >> level)) * HASH_BYTES
        return rows[level][at : at + HASH_BYTES] or self.nodes.get(coord)


class Acknowledgements:
    """Makes acknowledgements of entries that are in the log."""

    def __init__(
        self,
        archive: Archive,
        *,
        covered: Callable[[], int] = lambda: 0,
        of_leaf: Callable[[int], bytes | None] = lambda _: None,
    ) -> None:
        """
        Args:
            covered: size of the newest cosigned checkpoint.
            of_leaf: the tlog-proof of a leaf under that checkpoint.
        """
        self._archive = archive
        self._covered = covered
        self._of_leaf = of_leaf
        self._blocks: OrderedDict[int, _Block] = OrderedDict()  # by first leaf

    def of(self, entry_id: bytes, index: int) -> Acknowledgement:
        """The acknowledgement of the entry that stands at leaf `index` of the durable log.

        Raises:
            Refusal: `internal`; the log on disk lacks what it must have.
        """
        said = self.many([(entry_id, index)])[0]
        covered = self._of_leaf(index) if index < self._covered() else None
        return said if covered is None else msgspec.structs.replace(said, checkpoint=covered.decode())

    def many(self, places: Sequence[tuple[bytes, int]]) -> list[Acknowledgement]:
        """The same for (entry id, leaf index) of each, without checkpoints; a block's cost little more than one."""
        together: dict[int, tuple[_Block, list[int]]] = {}  # by first leaf: positions in `places`
        for position, (_, index) in enumerate(places):
            block = self._block(index)
            together.setdefault(block.first, (block, []))[1].append(position)
        made: dict[int, Acknowledgement] = {}
        for block, positions in together.values():
            proofs = tree.inclusion_proofs(
                [LeafIndex(places[position][1]) for position in positions],
                TreeSize(block.final.size),
                partial(self._hashes, block),
            )
            for position, hashes in zip(positions, proofs, strict=True):
                entry_id, index = places[position]
                path = tuple(one.hex() for one in hashes)
                made[position] = Acknowledgement(entry_id.hex(), index, path, block.final, "")
        return [made[position] for position in range(len(places))]

    def _hashes(self, block: _Block, coords: list[Coord]) -> list[bytes]:
        if not block.tiles:
            self._bring(block)
        found = [block.known(coord) for coord in coords]
        missing = [coord for coord, node in zip(coords, found, strict=True) if node is None]
        if missing:
            block.nodes.update(zip(missing, self._archive.nodes(missing, block.final.size), strict=True))
        return [
            block.nodes[coord] if node is None else node for coord, node in zip(coords, found, strict=True)
        ]

    def _bring(self, block: _Block) -> None:
        """The tiles of its leaves, hashed level by level: one call each for hundreds of nodes."""
        size = block.final.size
        for number in range(block.first // TILE_WIDTH, -(-size // TILE_WIDTH)):
            row = self._archive.tile(0, number, min(TILE_WIDTH, size - number * TILE_WIDTH))
            rows = block.tiles[number] = []
            while row:
                rows.append(row)
                row = merkle.level(row[: len(row) // (2 * HASH_BYTES) * 2 * HASH_BYTES])

    def _block(self, index: int) -> _Block:
        for first, block in reversed(self._blocks.items()):
            if first <= index < block.final.size:
                return block
        block = self._read(index)
        self._blocks[block.first] = block
        if len(self._blocks) > BLOCKS.value:
            self._blocks.popitem(last=False)
        return block

    def _read(self, index: int) -> _Block:
        """The block that leaf `index` is in: its seal is the next one from there."""
        at = index
        while at < min(index + glance.MAX_BLOCK_LEAVES, self._archive.size):
            page = self._archive.entries(at, _PAGE)
            for leaf in page:
                at += 1
                if glance.is_seal(leaf):
                    return self._sealed(entries.parse(leaf).body, at)
            if not page:
                break
        raise Refusal(
            "internal",
            what=f"no seal stands behind leaf {index}",
            who="this node's disk",
            do="check the log: pyrsia log fsck --full",
        )

    def _sealed(self, seal: dict[str, Any], size: int) -> _Block:
        """A block by its seal, which is the last of `size` leaves."""
        height = seal["height"]
        # A node that began with a snapshot has not the blocks below it, nor their certificates.
        found = catchup.serve(height, height, self._archive.block, self._archive.finality) if height else None
        if found is None:
            return _Block(seal["first_leaf"], FinalBlock(height, size, "", ""))
        root = found.blocks[0].header.tree_root.hex()
        proof = base64.b64encode(found.proof.encode()).decode()
        return _Block(seal["first_leaf"], FinalBlock(height, size, root, proof))


class Believer:
    """Checks what validators say is final, with the validators that this node's own state knows."""

    def __init__(self, genesis: Genesis, reads: Reads, verify: Verify) -> None:
        self.genesis = genesis
        self._reads = reads
        self._verify = verify

    def __call__(self, leaf: bytes, said: Acknowledgement) -> bool:
        """Whether the finality proof of `said` proves that the log holds `leaf`."""
        try:
            check(msgspec.structs.replace(said, checkpoint=""), leaf, self, self._verify)
        except (Malformed, Contradiction):
            return False
        return True

    def final(self, proof: FinalityProof) -> Header:
        """The header that `proof` proves final.

        Raises:
            ProofInvalid: it proves nothing, or is of an epoch that this node has not come to yet.
        """
        epoch = views.epoch(self._reads, proof.cert.said.epoch)
        if epoch is None:
            raise ProofInvalid("an epoch that this node has not come to")
        genesis = self.genesis
        known = Followed(
            epoch.validators,
            chain_id=genesis.chain_id,
            origin=genesis.origin,
            verify=self._verify,
            epoch=epoch.number,
        )
        return known.final(proof)

    def trusted(self, note: SignedNote) -> Trusted:
        """Checkpoints are not asked about here."""
        raise ProofInvalid("a checkpoint proves nothing here")
