"""Whether a log is whole: signed, every entry in its place, every tile and the root what the entries give.

The bundles are walked in order by several threads; each says what its entries hash to, and that must be what
the tile beside it holds. Tiles above follow from those below. The first thing that is wrong, in that order, is
reported, and where two objects contradict each other the signed root says which of them is to blame.

Source: docs/auditing.md, "What fsck checks".
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from pyrsia._native import merkle
from pyrsia.audit.blame import Blame
from pyrsia.audit.executing import Execution, signed_in
from pyrsia.audit.heads import Head, Rule
from pyrsia.audit.sources import CHECKPOINT, GENESIS, Absent, DirectorySource, Source, step_path
from pyrsia.audit.spreading import in_order
from pyrsia.audit.stopped import StoppedNode
from pyrsia.audit.strays import Strays
from pyrsia.errors import Malformed, Refusal
from pyrsia.ledger.entries import Entry
from pyrsia.ledger.replay import NotReplayed
from pyrsia.log import tiles, tree
from pyrsia.log.checking import (
    Fault,
    Rising,
    Wrong,
    checked,
    entries_in,
    entry_hashes,
    offset_of,
    same_rows,
)
from pyrsia.log.checkpoint import Checkpoint
from pyrsia.log.tiles import Bundle, Tile
from pyrsia.log.tree import TILE_WIDTH, Frontier
from pyrsia.units import HASH_BYTES, Limit, TreeSize
from pyrsia.verify.epochs import Line

STEP_BUNDLES = Limit(8, "bundles a thread takes at a time: about a millisecond, so handing out costs nothing")

Progress = Callable[[int, int], None]
"""(entries checked, entries in the log), some times a second at most."""


@dataclass(frozen=True, slots=True)
class Report:
    """A log that is whole.

    Attributes:
        beyond: leaves that a stopped node holds behind its newest checkpoint, checked as well.
        formed: whether entries were checked to be canonical JSON.
        entries: whether entries were read at all.
        executed: blocks executed and signatures checked, in a full check.
        epoch: the newest that is known of a log of Pyrsia: each of those before was proven to end.
        notes: what is odd and not wrong.
    """

    source: str
    head: Head
    objects: int
    octets: int
    beyond: int
    formed: bool
    entries: bool
    executed: tuple[int, int] | None
    epoch: int | None
    notes: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        found = self.head.checkpoint
        return {
            "ok": True,
            "source": self.source,
            "origin": found.origin,
            "size": found.size,
            "root": found.root.hex(),
            "time_s": self.head.time_s,
            "signers": list(self.head.signers),
            **({} if self.epoch is None else {"epoch": self.epoch}),
            "objects": self.objects,
            "bytes": self.octets,
            "beyond": self.beyond,
            "entries": self.entries,
            "form": self.formed,
            "notes": list(self.notes),
            **({"blocks": self.executed[0], "signatures": self.executed[1]} if self.executed else {}),
        }


@dataclass(frozen=True, slots=True)
class _Step:
    """What one thread found in a few bundles."""

    roots: bytes  # of the full tiles of level 0
    last: bytes  # hashes of the tile that is not full
    entries: int
    objects: int
    octets: int
    leaves: list[bytes]  # where the ledger is executed; else none
    signed: list[Entry]  # those of them whose signatures hold


def read_head(source: Source, rule: Rule) -> Head:
    """The source's checkpoint, if `rule` believes it, and all steps between epochs that the source has.

    Raises:
        Wrong: it is missing, or not one to believe; or a step proves nothing.
        Unavailable: the source cannot be read now.
    """
    try:
        rule.follow(source.epoch)
    except Malformed as error:
        raise checked(step_path(rule.line.epoch if rule.line else 0), error) from None
    try:
        return rule.read(source.checkpoint())
    except Absent:
        raise Wrong(Fault(CHECKPOINT, "it is missing")) from None
    except Malformed as error:
        raise checked(CHECKPOINT, error) from None


def check(
    source: Source, rule: Rule, progress: Progress, *, read_entries: bool = True, full: bool = False
) -> Report:
    """Check the whole log that `source` gives.

    Args:
        read_entries: False for a log whose entries do not lie in bundles; tiles are then checked alone.

        full: check what the entries say as well: their signatures, and the ledger that they make.

    Raises:
        Wrong: the first thing that is not as it must be.
        Refusal: `usage` for a full check of a log that is not Pyrsia's.
        Unavailable: the source cannot be read to its end.
    """
    if full and rule.genesis is None:
        raise Refusal(
            "usage",
            what="only a log of Pyrsia has a ledger to execute",
            who="--full",
            do="leave it out, or name the network's trust file with --trust",
        )
    head = read_head(source, rule)
    execution = Execution(rule.genesis) if full and rule.genesis is not None else None
    return _Check(source, rule, head, _extent(source, head), progress, read_entries, execution).run()


def _extent(source: Source, head: Head) -> Checkpoint:
    """What there is to check: the checkpoint's tree, or a stopped node's own, which may be ahead of it."""
    own = source.head() if isinstance(source, StoppedNode) else None
    return own if own is not None and own.size > head.checkpoint.size else head.checkpoint


@dataclass(slots=True)
class _Check:
    """One check of one log; `extent` is the tree to check."""

    source: Source
    rule: Rule
    head: Head
    extent: Checkpoint
    progress: Progress
    read_entries: bool
    execution: Execution | None
    _objects: int = 1
    _octets: int = 0

    @property
    def tree_size(self) -> TreeSize:
        return self.extent.size

    @property
    def tree_root(self) -> bytes:
        return self.extent.root

    def run(self) -> Report:
        self._octets = len(self.head.note)
        self._genesis()
        self._tree()
        self._checkpoint()
        self._epochs()
        notes: tuple[str, ...] = ()
        if isinstance(self.source, DirectorySource):
            notes = Strays(self.source, self.tree_size, self._bundle, self._tile, len(self._steps)).check()
        return Report(
            source=self.source.name,
            head=self.head,
            objects=self._objects,
            octets=self._octets,
            beyond=self.tree_size - self.head.checkpoint.size,
            formed=self._formed and self.read_entries,
            entries=self.read_entries,
            executed=(self.execution.blocks, self.execution.signatures) if self.execution else None,
            epoch=None if self.rule.line is None else self.rule.line.epoch,
            notes=notes,
        )

    @property
    def _blame(self) -> Blame:
        return Blame(self.extent, self._tile)

    @property
    def _formed(self) -> bool:
        return self.rule.genesis is not None

    # -- in order ------------------------------------------------------------------------------

    def _genesis(self) -> None:
        """The trust file, and that the log begins with it."""
        expected = self.rule.genesis
        if expected is None:
            return
        try:
            found = self.source.genesis()
        except Malformed as error:
            raise checked(GENESIS, error) from None
        if found is None:
            raise Wrong(Fault(GENESIS, "it is missing"))
        if found != expected.raw:
            at = next((i for i, (a, b) in enumerate(zip(found, expected.raw, strict=False)) if a != b), None)
            where = min(len(found), len(expected.raw)) if at is None else at
            raise Wrong(Fault(GENESIS, "it is not that of the network", offset=where))
        if self.tree_size and self.read_entries:
            first = entry_hashes(*self._first(), formed=True)[:HASH_BYTES]
            if first != tree.leaf_hash(expected.raw):
                raise Wrong(
                    Fault(
                        Bundle(0, tiles.width(0, 0, self.tree_size)).path,
                        "the log does not begin with its genesis",
                        entry=0,
                        offset=0,
                        expected=tree.leaf_hash(expected.raw).hex(),
                        found=first.hex(),
                    )
                )

    def _first(self) -> tuple[Bundle, bytes]:
        bundle = Bundle(0, tiles.width(0, 0, self.tree_size))
        return bundle, self._bundle(bundle)

    def _tree(self) -> None:
        rising, last, done = Rising(), b"", 0
        steps = in_order(self._step, self._firsts(), self.source.lanes, on_failure=self.source.close)
        for step in steps:
            for tile, hashes in rising.add(step.roots):
                self._above(tile, hashes)
            self._execute(step)
            last = step.last
            done += step.entries
            self._objects += step.objects
            self._octets += step.octets
            self.progress(done, self.tree_size)
        for tile, hashes in rising.rest():
            self._above(tile, hashes)
        self._execute(None)
        root = rising.root(last)
        if root != self.tree_root:
            raise Wrong(
                Fault(
                    CHECKPOINT,
                    "the entries give another root than the one that was signed",
                    expected=root.hex(),
                    found=self.tree_root.hex(),
                )
            )

    def _firsts(self) -> Iterator[int]:
        return iter(range(0, -(-self.tree_size // TILE_WIDTH), self._stride))

    @property
    def _stride(self) -> int:
        # The leaves of a step wait in memory for their turn to be executed, so a step is short then.
        return STEP_BUNDLES.value if self.execution is None else 1

    def _execute(self, step: _Step | None) -> None:
        """Execute a step's leaves; None at the end of the log."""
        if self.execution is None:
            return
        try:
            if step is None:
                self.execution.end()
            else:
                self.execution.feed(step.leaves, step.signed)
        except NotReplayed as error:
            raise self._unfounded(error) from None

    def _unfounded(self, error: NotReplayed) -> Wrong:
        index, position = divmod(error.leaf, TILE_WIDTH)
        bundle = Bundle(index, tiles.width(0, index, self.tree_size))
        offset = offset_of(self._bundle(bundle), position)
        return Wrong(Fault(bundle.path, error.why, entry=error.leaf, offset=offset))

    def _checkpoint(self) -> None:
        """A node that holds more than its checkpoint says must hold all that the checkpoint says."""
        signed = self.head.checkpoint
        if signed.size == self.tree_size:
            return
        found = Frontier.from_tiles(signed.size, self._wide).root()
        if found != signed.root:
            raise Wrong(
                Fault(
                    CHECKPOINT,
                    f"the first {signed.size} entries give another root than the one that was signed",
                    expected=found.hex(),
                    found=signed.root.hex(),
                )
            )

    @property
    def _steps(self) -> list[bytes]:
        """Between the epochs of a log of Pyrsia that had ended by its last leaf."""
        return [] if self.rule.line is None else self.rule.line.up_to(self.tree_size)

    def _epochs(self) -> None:
        """Each epoch ended with a block of this very log; and, executed, the log names the same validators."""
        line = self.rule.line
        if line is None:
            return
        for number, step in enumerate(self._steps):
            end = line.end(number)
            found = Frontier.from_tiles(end.size, self._wide).root()
            if found != end.root:
                what = (
                    f"the first {end.size} entries give another root than the one that ended epoch {number}"
                )
                raise Wrong(Fault(step_path(number), what, expected=found.hex(), found=end.root.hex()))
            self._objects += 1
            self._octets += len(step)
        if self.execution is not None:
            self._executed(line, self.execution)

    def _executed(self, line: Line, execution: Execution) -> None:
        for number in range(line.epoch + 2):
            ran = execution.epoch(number)
            path = step_path(max(number - 1, 0))
            if number > line.epoch:
                if ran is not None:
                    raise Wrong(Fault(path, f"it is missing: the log goes on in epoch {number}"))
            elif number and line.end(number - 1).size > self.tree_size:
                return
            elif ran is None or ran.validators != line.validators(number):
                raise Wrong(Fault(path, f"epoch {number} has other validators than the log says"))

    def _wide(self, level: int, index: int) -> bytes:
        return self._tile(Tile(level, index, tiles.width(level, index, self.tree_size)))

    # -- a few bundles -------------------------------------------------------------------------

    def _step(self, first: int) -> _Step:
        roots: list[bytes] = []
        last = b""
        leaves: list[bytes] = []
        entries = octets = objects = 0
        for index in range(first, first + self._stride):
            width = tiles.width(0, index, self.tree_size)
            if width == 0:
                break
            tile = Tile(0, index, width)
            hashes = self._tile(tile)
            if self.read_entries:
                bundle = Bundle(index, width)
                data = self._entries(bundle, tile, hashes)
                leaves += entries_in(bundle, data) if self.execution is not None else []
                octets += len(data)
                objects += 1
            if width == TILE_WIDTH:
                roots.append(merkle.tile_root(hashes))
            else:
                last = hashes
            entries += width
            octets += len(hashes)
            objects += 1
        return _Step(b"".join(roots), last, entries, objects, octets, leaves, signed_in(leaves))

    def _entries(self, bundle: Bundle, tile: Tile, stored: bytes) -> bytes:
        """A bundle, compared with its tile."""
        data = self._bundle(bundle)
        hashes = entry_hashes(bundle, data, formed=self._formed)
        if hashes != stored:
            raise self._blame.between(bundle, data, hashes, tile, stored)
        return data

    def _above(self, tile: Tile, hashes: bytes) -> None:
        """A tile above level 0 must hold the roots of the tiles below it."""
        stored = self._tile(tile)
        self._objects += 1
        self._octets += len(stored)
        try:
            same_rows(tile, stored, hashes, "a hash is not the root of the tile below it")
        except Wrong as wrong:
            raise self._blame.deeper(tile, stored, wrong) from None

    # -- fetched, or named as wrong ------------------------------------------------------------

    def _tile(self, tile: Tile) -> bytes:
        return named(tile.path, lambda: self.source.tile(tile))

    def _bundle(self, bundle: Bundle) -> bytes:
        return named(bundle.path, lambda: self.source.bundle(bundle))


def named(path: str, get: Callable[[], bytes]) -> bytes:
    """What `get` gives; what it cannot give becomes a `Wrong` of the object at `path`."""
    try:
        return get()
    except Absent:
        raise Wrong(Fault(path, "it is missing")) from None
    except Malformed as error:
        raise checked(path, error) from None
