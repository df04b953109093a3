"""The log on disk: what delivery writes, in one batch, and what readers of the log are given.

Blocks, leaves, tiles, ids, state and the head go together or not at all (docs/agreement.md, "Delivery").
Nothing is acknowledged from here before the batch is synced; that is the caller's business.
"""

import struct
from collections import deque

import msgspec

from pyrsia.ledger import entries, index
from pyrsia.ledger.chain import ChainHead, Commit
from pyrsia.ledger.genesis import Genesis
from pyrsia.ledger.index import Trees
from pyrsia.log import tiles, tree
from pyrsia.log.tree import TILE_WIDTH, Coord, Frontier
from pyrsia.store import layout, segments
from pyrsia.store.rocks import Batch, Database
from pyrsia.units import LeafIndex, Limit, TreeSize
from pyrsia.wire.blocks import Block, FinalityProof

PAGE = Limit(1_000, "one page of an answer; a reader asks again for more")

KEPT_SEALS = Limit(
    1_024, "seals whose proofs can still be made: a checkpoint is seconds old, which is some tens of seals"
)

_HEAD = b"head"
_NOTE = b"checkpoint"
_PROOF = struct.Struct(">I")


class Sealed(msgspec.Struct, frozen=True, array_like=True):
    """One row of `seals`: the trees of a seal, and the pages that it replaced."""

    trees: dict[str, str | int]
    dropped: list[bytes]


class Archive:
    """The final log of one node: entries, tiles, blocks and state."""

    def __init__(self, database: Database, genesis: Genesis) -> None:
        self._database = database
        self._genesis = genesis
        raw = database.get(layout.META, _HEAD)
        self.head = None if raw is None else msgspec.msgpack.decode(raw, type=ChainHead)
        self._seals = deque(
            layout.read_number(key) for key, _ in database.scan(layout.SEALS, b"", 2 * KEPT_SEALS.value)
        )

    # -- writing -------------------------------------------------------------------------------

    def write(self, commit: Commit, block: Block | None, proof: FinalityProof | None) -> None:
        """Put one executed block into the database; visible at once, durable after the next sync.

        Args:
            block: None for block 0, which nobody proposed.
            proof: stored at the last height of each delivery.
        """
        batch = Batch()
        self._write_leaves(batch, commit)
        if commit.leaves:
            self._write_index(batch, commit)
        for key, value in commit.writes.items():
            if value is None:
                batch.delete(layout.STATE, key)
            else:
                batch.put(layout.STATE, key, value)
        if block is not None:
            encoded = block.encode()
            tail = b"" if proof is None else proof.encode()
            batch.put(layout.BLOCKS, layout.number(commit.height), _PROOF.pack(len(encoded)) + encoded + tail)
        batch.put(layout.META, _HEAD, msgspec.msgpack.encode(commit.head))
        self._database.write(batch)
        self.head = commit.head
        if commit.leaves:
            self._seals.append(commit.tree_size - 1)
        while len(self._seals) > KEPT_SEALS.value:
            self._seals.popleft()

    def _write_index(self, batch: Batch, commit: Commit) -> None:
        """What the block's seal adds to the index; pages that no kept seal needs any more go."""
        growth = commit.growth
        for key, row in growth.rows.items():
            batch.put(layout.INDEX, key, row)
        seal = msgspec.msgpack.encode(Sealed(growth.trees.value(), list(growth.dropped)))
        batch.put(layout.SEALS, layout.number(commit.tree_size - 1), seal)
        if len(self._seals) < KEPT_SEALS.value:
            return
        # The oldest goes; what the next one replaced was kept for the oldest alone.
        batch.delete(layout.SEALS, layout.number(self._seals[0]))
        following = self._seals[1] if len(self._seals) > 1 else None
        for page in () if following is None else self._sealed(following).dropped:
            batch.delete(layout.INDEX, page)

    def _write_leaves(self, batch: Batch, commit: Commit) -> None:
        segments.put(batch, commit.first_leaf, commit.leaves)
        for offset, leaf in enumerate(commit.leaves):
            index = layout.number(commit.first_leaf + offset)
            if commit.entry_ids[offset]:
                batch.put(layout.IDS, commit.entry_ids[offset], index)
            for manifest in entries.manifests(leaf):
                batch.put(layout.NAMED, manifest, index)
        before = Frontier() if self.head is None else Frontier.decode(self.head.frontier)
        _, changed = before.append(commit.leaf_hashes)
        for (level, number), hashes in changed.items():
            batch.put(layout.TILES, layout.tile(level, number), hashes)

    # -- reading -------------------------------------------------------------------------------

    @property
    def size(self) -> int:
        return 0 if self.head is None else self.head.tree_size

    def state(self, key: bytes) -> bytes | None:
        return self._database.get(layout.STATE, key)

    def entry(self, index: int) -> bytes | None:
        return segments.one(self._database, index) if 0 <= index < self.size else None

    def entries(self, first: int, count: int) -> list[bytes]:
        """At most `count` leaves from `first` on, in order."""
        count = min(count, PAGE.value, self.size - first)
        if first < 0 or count <= 0:
            return []
        return segments.some(self._database, first, count)

    def leaf_of(self, entry_id: bytes) -> int | None:
        """Where the entry with this id stands."""
        raw = self._database.get(layout.IDS, entry_id)
        return None if raw is None else int.from_bytes(raw, "big")

    def names(self, manifest: bytes) -> bool:
        """Whether an entry of the log names the blob with this manifest id."""
        return self._database.get(layout.NAMED, manifest) is not None

    def block(self, height: int) -> bytes | None:
        """The encoded final block at `height`, 1 or more."""
        raw = self._database.get(layout.BLOCKS, layout.number(height))
        if raw is None:
            return None
        (size,) = _PROOF.unpack_from(raw)
        return raw[_PROOF.size : _PROOF.size + size]

    def finality(self, height: int) -> bytes | None:
        """The encoded proof that was delivered with the block at `height`, if it ended a delivery."""
        raw = self._database.get(layout.BLOCKS, layout.number(height))
        if raw is None:
            return None
        (size,) = _PROOF.unpack_from(raw)
        return raw[_PROOF.size + size :] or None

    # -- the verifiable index ----------------------------------------------------------------

    def index(self, keys: list[bytes]) -> list[bytes | None]:
        """Rows of the index (`ledger.index` names them), in the order asked."""
        return self._database.multi_get(layout.INDEX, keys)

    def trees(self, seal: int) -> Trees | None:
        """Both trees as the seal at leaf index `seal` has them; None for one that is not kept any more."""
        raw = self._database.get(layout.SEALS, layout.number(seal))
        return None if raw is None else Trees.of(msgspec.msgpack.decode(raw, type=Sealed).trees)

    def history(self, key: bytes, first: int, count: int) -> list[tuple[int, bytes]]:
        """(leaf index, leaf hash) of leaves that touch an index key, in log order.

        Args:
            first: begin at this leaf index.
            count: at most so many, and at most a page.
        """
        found = self._database.scan(
            layout.INDEX,
            index.row_key(key, first),
            min(count, PAGE.value),
            before=index.rows_after(key),
        )
        return [(index.row_leaf(row), leaf_hash) for row, leaf_hash in found]

    def _sealed(self, seal: int) -> "Sealed":
        raw = self._database.get(layout.SEALS, layout.number(seal))
        return Sealed({}, []) if raw is None else msgspec.msgpack.decode(raw, type=Sealed)

    # -- proofs and tiles ----------------------------------------------------------------------

    def inclusion(self, index: int, size: int) -> list[bytes]:
        """Hashes from leaf `index` to the root of the tree of `size` leaves."""
        return tree.inclusion_proof(
            LeafIndex(index), TreeSize(size), lambda wanted: self._nodes(wanted, size)
        )

    def consistency(self, old: int, new: int) -> list[bytes]:
        """Hashes that lead from the root at `old` leaves to the root at `new`, 1 <= old <= new <= size."""
        return tree.consistency_proof(TreeSize(old), TreeSize(new), lambda wanted: self._nodes(wanted, new))

    def _nodes(self, wanted: list[Coord], size: int) -> list[bytes]:
        planned = tiles.plan_tiles(wanted, TreeSize(size))
        keys = [layout.tile(tile.level, tile.index) for tile in planned]
        rows = self._database.multi_get(layout.TILES, keys)
        # A stored tile may be wider than the tree asked about: any narrower one is its prefix.
        fetched = {tile: (row or b"")[: 32 * tile.width] for tile, row in zip(planned, rows, strict=True)}
        return tiles.nodes_in(wanted, TreeSize(size), fetched)

    def _read_tile(self, level: int, index: int) -> bytes:
        return self._database.get(layout.TILES, layout.tile(level, index)) or b""

    def tile(self, level: int, index: int, width: int) -> bytes | None:
        """The first `width` hashes of a tile, if the log is that far."""
        row = self._read_tile(level, index)[: 32 * width]
        return row if len(row) == 32 * width else None

    def bundle(self, index: int, width: int) -> bytes | None:
        first = index * TILE_WIDTH
        if first + width > self.size:
            return None
        return segments.bundle(self._database, index, width)

    def genesis(self) -> bytes:
        return self._genesis.raw

    # -- the served checkpoint -----------------------------------------------------------------

    def checkpoint(self) -> bytes | None:
        """The newest checkpoint that a quorum has cosigned."""
        return self._database.get(layout.META, _NOTE)

    def keep_checkpoint(self, note: bytes) -> None:
        self._database.write(Batch().put(layout.META, _NOTE, note))
