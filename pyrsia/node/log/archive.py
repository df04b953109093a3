"""The log on disk: what delivery writes, in one batch, and what readers of the log are given.

Blocks, leaves, tiles, ids, state and the head go together or not at all (docs/agreement.md, "Delivery").
Nothing is acknowledged from here before the batch is synced; that is the caller's business.
"""

import struct
from collections import deque
from collections.abc import Callable, Mapping

import msgspec

from pyrsia.errors import Refusal
from pyrsia.ledger import entries, index, views
from pyrsia.ledger.chain import ChainHead, Commit
from pyrsia.ledger.genesis import Genesis
from pyrsia.ledger.index import Trees
from pyrsia.log import tiles, tree
from pyrsia.log.tree import TILE_WIDTH, Coord, Frontier
from pyrsia.store import layout, segments
from pyrsia.store.hot import Hot
from pyrsia.store.rocks import Batch, Database
from pyrsia.units import KEPT_SEALS, LeafIndex, Limit, TreeSize
from pyrsia.wire.blocks import Block, FinalityProof
from pyrsia.wire.epochs import EpochEnd

PAGE = Limit(1_000, "one page of an answer; a reader asks again for more")

_HEAD = b"head"
_GENERATION = b"generation"
_HOLE = b"hole"
_NOTE = b"checkpoint"
_PROOF = struct.Struct(">I")


class Sealed(msgspec.Struct, frozen=True, array_like=True):
    """One row of `seals`: the trees of a seal, and the pages that it replaced."""

    trees: dict[str, str | int]
    dropped: list[bytes]


class Hole(msgspec.Struct, frozen=True, array_like=True):
    """What a node that began from a snapshot has yet to fetch of the log below it; it is filled from above.

    Attributes:
        first: entries below this leaf were here before.
        end: size of the log at the snapshot.
        at: from this leaf on everything is here. Below it entries from `first` on and their tiles may lack, and
            all rows of histories do.
    """

    first: int
    end: int
    at: int


def generation(database: Database) -> int:
    """Which of `layout.GENERATIONS` is live."""
    return 1 if database.get(layout.META, _GENERATION) == b"\x01" else 0


class Archive:
    """The final log of one node: entries, tiles, blocks and state.

    Attributes:
        hole: what is not here yet of a log that was begun from a snapshot; `keep_hole` changes it.
        sealed: called after each block with a seal is written, before anything else is.
    """

    def __init__(self, database: Database, genesis: Genesis) -> None:
        self._database = database
        self._genesis = genesis
        self._hot = Hot(lambda key: database.get(self._live.state, key))
        self._live = layout.GENERATIONS[generation(database)]
        raw_hole = database.get(layout.META, _HOLE)
        self.hole = None if raw_hole is None else msgspec.msgpack.decode(raw_hole, type=Hole)
        self.sealed: Callable[[], None] = lambda: None
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
        self._write_state(batch, commit.writes)
        if block is not None:
            encoded = block.encode()
            tail = b"" if proof is None else proof.encode()
            batch.put(layout.BLOCKS, layout.number(commit.height), _PROOF.pack(len(encoded)) + encoded + tail)
        batch.put(layout.META, _HEAD, msgspec.msgpack.encode(commit.head))
        self._database.write(batch)
        self._hot.changed(commit.writes)
        self.head = commit.head
        if commit.leaves:
            self._seals.append(commit.tree_size - 1)
        while len(self._seals) > KEPT_SEALS.value:
            self._seals.popleft()
        if commit.leaves:
            self.sealed()

    def _write_state(self, batch: Batch, writes: Mapping[bytes, bytes | None]) -> None:
        batch.put_all(self.live.state, writes)
        covered = {
            index.state_key(key): None if value is None else key
            for key, value in writes.items()
            if index.covered(key)
        }
        batch.put_all(self.live.keys, covered)

    def _write_index(self, batch: Batch, commit: Commit) -> None:
        """What the block's seal adds to the index; pages that no kept seal needs any more go."""
        growth = commit.growth
        batch.put_all(self.live.pages, growth.rows)
        seal = msgspec.msgpack.encode(Sealed(growth.trees.value(), list(growth.dropped)))
        batch.put(layout.SEALS, layout.number(commit.tree_size - 1), seal)
        if len(self._seals) < KEPT_SEALS.value:
            return
        # The oldest goes; what the next one replaced was kept for the oldest alone.
        batch.delete(layout.SEALS, layout.number(self._seals[0]))
        following = self._seals[1] if len(self._seals) > 1 else None
        for page in () if following is None else self._sealed(following).dropped:
            batch.delete(self.live.pages, page)

    def _write_leaves(self, batch: Batch, commit: Commit) -> None:
        segments.put(batch, commit.first_leaf, commit.leaves)
        first, number = commit.first_leaf, layout.number
        ids = {name: number(first + at) for at, name in enumerate(commit.entry_ids) if name}
        batch.put_all(layout.IDS, ids)
        for at, leaf in enumerate(commit.leaves):
            for manifest in entries.manifests(leaf):
                batch.put(layout.NAMED, manifest, number(first + at))
        before = Frontier() if self.head is None else Frontier.decode(self.head.frontier)
        _, changed = before.append(commit.leaf_hashes)
        for (level, tile), hashes in changed.items():
            batch.put(layout.TILES, layout.tile(level, tile), hashes)

    # -- reading -------------------------------------------------------------------------------

    @property
    def size(self) -> int:
        return 0 if self.head is None else self.head.tree_size

    @property
    def live(self) -> layout.Generation:
        """Where the state and its index lie."""
        return self._live

    @live.setter
    def live(self, generation: layout.Generation) -> None:
        self._live = generation
        self._hot.forget()

    def state(self, key: bytes) -> bytes | None:
        """What the state holds under a key; only `write` changes it, or what is remembered would not be true."""
        return self._hot.get(key)

    def entry(self, index: int) -> bytes | None:
        """Leaf `index`, None beyond the end.

        Raises:
            Refusal: `not-found`, it is not here yet.
        """
        found = segments.one(self._database, index) if 0 <= index < self.size else None
        if found is None:
            self._refuse_hole(index, index + 1)
        return found

    def entries(self, first: int, count: int) -> list[bytes]:
        """At most `count` leaves from `first` on, in order.

        Raises:
            Refusal: `not-found`, not all of them are here yet.
        """
        count = min(count, PAGE.value, self.size - first)
        if first < 0 or count <= 0:
            return []
        found = segments.some(self._database, first, count)
        if len(found) < count:
            self._refuse_hole(first, first + count)
        return found

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

    def epoch_end(self, number: int) -> bytes | None:
        """The encoded step (`wire.epochs.EpochEnd`) from an epoch to the next one; None if it has not ended.

        Raises:
            Refusal: `not-found`, its seal is not here yet.
        """
        brought = self._database.get(layout.EPOCHS, layout.number(number))
        if brought is not None:
            return brought
        following = views.epoch(self.state, number + 1)
        proof = None if following is None else self.finality(following.height)
        if following is None or proof is None:
            return None
        seal = self.entry(following.size - 1)
        if seal is None:
            return None
        path = tuple(self.inclusion(following.size - 1, following.size))
        return EpochEnd(FinalityProof.decode(proof), following.validators, seal, path).encode()

    # -- the verifiable index ----------------------------------------------------------------

    def index(self, keys: list[bytes]) -> list[bytes | None]:
        """Rows of the index (`ledger.index` names them), in the order asked."""
        return self._database.multi_get(self.live.pages, keys)

    def trees(self, seal: int) -> Trees | None:
        """Both trees as the seal at leaf index `seal` has them; None for one that is not kept any more."""
        raw = self._database.get(layout.SEALS, layout.number(seal))
        return None if raw is None else Trees.of(msgspec.msgpack.decode(raw, type=Sealed).trees)

    def history(self, key: bytes, first: int, count: int) -> list[tuple[int, bytes]]:
        """(leaf index, leaf hash) of leaves that touch an index key, in log order.

        Args:
            first: begin at this leaf index.
            count: at most so many, and at most a page.

        Raises:
            Refusal: `not-found`, some of them may not be here yet.
        """
        if self.hole is not None and first < self.hole.at:
            raise self._not_here()
        found = self._database.scan(
            self.live.pages,
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
        return tree.inclusion_proof(LeafIndex(index), TreeSize(size), lambda wanted: self.nodes(wanted, size))

    def consistency(self, old: int, new: int) -> list[bytes]:
        """Hashes that lead from the root at `old` leaves to the root at `new`, 1 <= old <= new <= size."""
        return tree.consistency_proof(TreeSize(old), TreeSize(new), lambda wanted: self.nodes(wanted, new))

    def nodes(self, wanted: list[Coord], size: int) -> list[bytes]:
        """Hashes of these nodes of the tree of `size` leaves."""
        planned = tiles.plan_tiles(wanted, TreeSize(size))
        keys = [layout.tile(tile.level, tile.index) for tile in planned]
        rows = self._database.multi_get(layout.TILES, keys)
        # A stored tile may be wider than the tree asked about: any narrower one is its prefix.
        fetched = {tile: (row or b"")[: 32 * tile.width] for tile, row in zip(planned, rows, strict=True)}
        if self.hole is not None and any(len(row) < 32 * tile.width for tile, row in fetched.items()):
            raise self._not_here()
        return tiles.nodes_in(wanted, TreeSize(size), fetched)

    def _read_tile(self, level: int, index: int) -> bytes:
        return self._database.get(layout.TILES, layout.tile(level, index)) or b""

    def tile(self, level: int, index: int, width: int) -> bytes | None:
        """The first `width` hashes of a tile, if the log is that far.

        Raises:
            Refusal: `not-found`, it is not here yet.
        """
        row = self._read_tile(level, index)[: 32 * width]
        if len(row) == 32 * width:
            return row
        step = TILE_WIDTH**level
        self._refuse_hole(index * TILE_WIDTH * step, (index * TILE_WIDTH + width) * step)
        return None

    def edge(self, size: int) -> list[bytes]:
        """The last tile of each level of the log of `size` leaves, as wide as it was then, lowest first."""
        found: list[bytes] = []
        while count := size >> 8 * len(found):
            number = (count - 1) // TILE_WIDTH
            found.append(self._read_tile(len(found), number)[: 32 * (count - TILE_WIDTH * number)])
        return found

    def bundle(self, index: int, width: int) -> bytes | None:
        """The first `width` entries of a bundle, if the log is that far.

        Raises:
            Refusal: `not-found`, they are not here yet.
        """
        first = index * TILE_WIDTH
        if first + width > self.size:
            return None
        # Before it is read: rows on both sides of a hole look like a bundle.
        self._refuse_hole(first, first + width)
        return segments.bundle(self._database, index, width)

    def genesis(self) -> bytes:
        return self._genesis.raw

    # -- a log that was begun from a snapshot --------------------------------------------------

    @property
    def behind(self) -> str:
        """What of the log is not here yet, in words; empty when all of it is."""
        hole = self.hole
        if hole is None:
            return ""
        done = 100 * (hole.end - hole.at) // hole.end
        return f"the log below entry {hole.at} is being fetched ({done} % of what the snapshot left out)"

    def here_from(self, first: int) -> int:
        """From which leaf on, `first` or a later one, everything is here."""
        return first if self.hole is None else max(first, self.hole.at)

    def keep_hole(self, batch: Batch, hole: Hole | None) -> None:
        """Write with `batch`, at once, that this is what is not here yet."""
        if hole is None:
            batch.delete(layout.META, _HOLE)
        else:
            batch.put(layout.META, _HOLE, msgspec.msgpack.encode(hole))
        self._database.write(batch)
        self.hole = hole

    def _refuse_hole(self, first: int, end: int) -> None:
        """Raise if one of these leaves may not be here yet; returns where the log just is not that long."""
        if self.hole is not None and end <= self.size and first < self.hole.at and end > self.hole.first:
            raise self._not_here()

    def _not_here(self) -> Refusal:
        return Refusal(
            "not-found",
            what=f"not here yet: {self.behind}",
            who="this node, which began from a snapshot",
            do="ask again later, or ask another node",
        )

    # -- the served checkpoint -----------------------------------------------------------------

    def checkpoint(self) -> bytes | None:
        """The newest checkpoint that a quorum has cosigned."""
        return self._database.get(layout.META, _NOTE)

    def keep_checkpoint(self, note: bytes) -> None:
        self._database.write(Batch().put(layout.META, _NOTE, note))
