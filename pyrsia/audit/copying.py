"""A copy of a log that grows with it: verified from the root down before anything is written.

One round reads the newest checkpoint, compares it with the one that the folder has, proves that the log only
grew, and then fetches what is new: tiles by their place in a tile above, entries by their tile. The checkpoint
is written last. A checkpoint that shrinks, forks or does not go on from the last one is refused and kept as
evidence beside the one that it contradicts.

Source: docs/auditing.md, "Copies"; C2SP tlog-tiles and tlog-checkpoint.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pyrsia._native import merkle
from pyrsia.audit import evidence
from pyrsia.audit.fsck import Progress, named, read_head
from pyrsia.audit.heads import Head, Rule
from pyrsia.audit.keeping import Keeper
from pyrsia.audit.sources import GENESIS, Absent, Source, step_path
from pyrsia.audit.spreading import in_order
from pyrsia.consensus.light import Contradiction
from pyrsia.errors import Malformed, ProofInvalid, Refusal
from pyrsia.log import tiles
from pyrsia.log.checking import (
    Fault,
    ProvenTiles,
    Wrong,
    check_growth,
    entry_hashes,
    wrong_entry,
)
from pyrsia.log.tiles import TILE_HEIGHT, Bundle, Tile
from pyrsia.log.tree import TILE_WIDTH
from pyrsia.units import HASH_BYTES, TreeSize
from pyrsia.verify.evidence import forked

_NOTHING: Final = TreeSize(0)


class Alarm(Refusal):
    """The log's signers contradict what they signed before.

    Attributes:
        path: the file with both notes.
    """

    def __init__(self, what: str, source: str, path: Path) -> None:
        super().__init__(
            "proof-invalid",
            what=f"ALARM: {what}",
            who=f"whoever signs the log at {source}, or hands out its past",
            do=f"believe neither; both checkpoints are kept: {path}",
        )
        self.path = path


@dataclass(frozen=True, slots=True)
class Round:
    """What one round brought.

    Attributes:
        old: size before; equal to the head's where nothing was new.
        files, octets: written; `reused` files of an earlier run were found true and left.
    """

    head: Head
    old: TreeSize
    files: int
    octets: int
    reused: int
    pruned: int


@dataclass(frozen=True, slots=True)
class _Job:
    """A bundle and its tile, and what the tile must be: its hashes where it is not full, else its root."""

    index: int
    width: int
    proven: bytes


@dataclass(frozen=True, slots=True)
class _Done:
    entries: int
    files: int
    octets: int
    reused: int


class Copy:
    """One folder that follows one log. For one thread; it spreads its own work."""

    def __init__(self, source: Source, rule: Rule, keeper: Keeper, progress: Progress) -> None:
        self._source = source
        self._rule = rule
        self._keeper = keeper
        self._progress = progress
        self._files = self._octets = self._reused = 0

    def round(self) -> Round:
        """Bring the folder to the source's newest checkpoint.

        Raises:
            Alarm: that checkpoint contradicts the one in the folder.
            Wrong: an object is not the one that was signed.
            Refusal: the folder holds another log, or a checkpoint that nobody signed.
            Unavailable: the source cannot be read now.
        """
        self._files = self._octets = self._reused = 0
        head = read_head(self._source, self._rule)
        kept = self._kept()
        old = kept.checkpoint.size if kept else _NOTHING
        if kept is not None:
            self._compare(kept, head)
        pruned = 0
        if head.checkpoint.size > old or kept is None:
            self._grow(kept, head)
        self._epochs(head)
        if head.checkpoint.size > old or kept is None:
            self._keeper.sync()
            # Before the checkpoint: a run that is killed in between finds the old size again, and prunes again.
            pruned = self._keeper.prune(old, head.checkpoint.size)
            self._keeper.publish(head.note)
        elif head.note != kept.note and (head.time_s or 0) >= (kept.time_s or 0):
            self._keeper.publish(head.note)  # the same tree, signed anew
        return Round(head, old, self._files, self._octets, self._reused, pruned)

    def _kept(self) -> Head | None:
        try:
            note = self._keeper.files.checkpoint()
        except Absent:
            return None
        try:
            return self._rule.read(note, self._keeper.files.epoch)
        except Malformed as error:
            raise Refusal(
                "data-damaged",
                what=f"the checkpoint in {self._keeper.folder} is not to be believed: {error}",
                who="whoever wrote it, or another key than before",
                do="name the log's key; or remove the checkpoint: what else is there is verified and used again",
            ) from None

    # -- may it follow -------------------------------------------------------------------------

    def _compare(self, kept: Head, head: Head) -> None:
        mine, theirs = kept.checkpoint, head.checkpoint
        if mine.origin != theirs.origin:
            raise Refusal(
                "conflict",
                what=f"{self._keeper.folder} holds the log {mine.origin}, not {theirs.origin}",
                who="your command",
                do="name another folder",
            )
        if theirs.size < mine.size:
            raise self._alarm(
                "shrunk", kept, head, f"the log shrank from {mine.size} to {theirs.size} entries"
            )
        if theirs.size == mine.size and theirs.root != mine.root:
            raise self._alarm("forked", kept, head, f"the log has two roots at size {mine.size}")

    def _alarm(self, why: evidence.Why, kept: Head, head: Head, what: str) -> Alarm:
        pair = evidence.Pair(why, kept.note, head.note, what, self._source.name)
        path = evidence.keep(self._keeper.folder / evidence.FOLDER, pair)
        return Alarm(what, self._source.name, path)

    # -- what is new ---------------------------------------------------------------------------

    def _grow(self, kept: Head | None, head: Head) -> None:
        size = head.checkpoint.size
        proven = ProvenTiles(size, head.checkpoint.root, self._fetch)
        old = _NOTHING
        if kept is not None:
            old = kept.checkpoint.size
            try:
                check_growth(proven, old, kept.checkpoint.root)
            except Wrong:
                raise  # a tile that is not what was signed says nothing of the signers
            except ProofInvalid:
                what = f"the log of {size} entries does not begin with the one of {old}"
                raise self._alarm("inconsistent", kept, head, what) from None
        self._ended(proven, old, size)
        done = int(old)
        jobs = self._jobs(proven, old, size)
        for part in in_order(self._copied, jobs, self._source.lanes, on_failure=self._source.close):
            done = min(done + part.entries, size)
            self._files += part.files
            self._octets += part.octets
            self._reused += part.reused
            self._progress(done, size)
        self._upper(proven, old, size)
        if self._rule.genesis is not None:
            self._put(GENESIS, self._rule.genesis.raw)

    def _ended(self, proven: ProvenTiles, old: TreeSize, size: TreeSize) -> None:
        """What ended an epoch by a quorum's votes and what a quorum cosigned must be one log.

        Raises:
            Refusal: an alarm; they are not.
        """
        line = self._rule.line
        if line is None:
            return
        for number, step in enumerate(line.up_to(size)):
            end = line.end(number)
            checked = end.size <= old and self._keeper.files.epoch(number) == step
            if checked or end.size == size:  # there the checkpoint's own root was compared
                continue
            try:
                check_growth(proven, end.size, end.root)
            except Wrong:
                raise
            except ProofInvalid:
                what = f"the log of {size} entries does not begin with the one of {end.size} that ended epoch {number}"
                raise forked(Contradiction(what, step, b"")) from None

    def _epochs(self, head: Head) -> None:
        """The steps between epochs up to this head, which whoever checks the copy needs."""
        line = self._rule.line
        if line is None:
            return
        for number, step in enumerate(line.up_to(head.checkpoint.size)):
            if self._keeper.files.epoch(number) != step:
                self._put(step_path(number), step)

    def _jobs(self, proven: ProvenTiles, old: TreeSize, size: TreeSize) -> Iterator[_Job]:
        for index in range(old // TILE_WIDTH, -(-size // TILE_WIDTH)):
            width = tiles.width(0, index, size)
            if width < TILE_WIDTH:
                yield _Job(index, width, proven.tile(0, index))
                continue
            at = index % TILE_WIDTH * HASH_BYTES
            yield _Job(index, width, proven.tile(1, index // TILE_WIDTH)[at : at + HASH_BYTES])

    def _copied(self, job: _Job) -> _Done:
        """Write one bundle and its tile, fetched or found here, once they are proven; in any thread."""
        tile, bundle = Tile(0, job.index, job.width), Bundle(job.index, job.width)
        hashes, tile_found = self._tile(tile, job.proven)
        data, bundle_found = self._bundle(bundle, hashes)
        written = [(tile.path, hashes)] * (not tile_found) + [(bundle.path, data)] * (not bundle_found)
        for path, content in written:
            self._keeper.put(path, content)
        octets = sum(len(content) for _, content in written)
        return _Done(job.width, len(written), octets, tile_found + bundle_found)

    def _tile(self, tile: Tile, proven: bytes) -> tuple[bytes, bool]:
        """The hashes of a tile of level 0, and whether they lie here already."""
        if tile.width < TILE_WIDTH:
            return proven, self._here(tile) == proven
        here = self._here(tile)
        if len(here) == TILE_WIDTH * HASH_BYTES and merkle.tile_root(here) == proven:
            return here, True
        found = self._fetch(tile)
        root = merkle.tile_root(found)
        if root != proven:
            what = "the tile is not the one that the signed tree has there"
            raise Wrong(Fault(tile.path, what, expected=proven.hex(), found=root.hex()))
        return found, False

    def _bundle(self, bundle: Bundle, hashes: bytes) -> tuple[bytes, bool]:
        """The bytes of a bundle whose entries have these hashes, and whether they lie here already."""
        formed = self._rule.genesis is not None
        here = self._here(bundle)
        try:
            if here and entry_hashes(bundle, here, formed=formed) == hashes:
                return here, True
        except Wrong:
            pass  # half of an earlier run, or somebody's hand: the true one is fetched over it
        data = named(bundle.path, lambda: self._source.bundle(bundle))
        found = entry_hashes(bundle, data, formed=formed)
        if found != hashes:
            raise wrong_entry(bundle, data, found, hashes)
        return data, False

    def _upper(self, proven: ProvenTiles, old: TreeSize, size: TreeSize) -> None:
        """The tiles above level 0 that are new or wider."""
        level = 1
        while count := size >> TILE_HEIGHT * level:
            first = (old >> TILE_HEIGHT * level) // TILE_WIDTH
            for index in range(first, -(-count // TILE_WIDTH)):
                path = Tile(level, index, tiles.width(level, index, size)).path
                self._put(path, proven.tile(level, index))
            level += 1

    def _here(self, wanted: Tile | Bundle) -> bytes:
        try:
            return self._keeper.files.raw(wanted)
        except (Absent, Malformed):
            return b""

    def _fetch(self, tile: Tile) -> bytes:
        return named(tile.path, lambda: self._source.tile(tile))

    def _put(self, path: str, data: bytes) -> None:
        self._keeper.put(path, data)
        self._files += 1
        self._octets += len(data)
