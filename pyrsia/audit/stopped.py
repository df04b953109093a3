"""The log in the data directory of a node that does not run, read where the node keeps it.

The directory is held meanwhile, as a node would: a node that starts is told who has it. Nothing is changed
but what RocksDB does when it is opened after a crash; damage is reported, never set aside.
"""

from pathlib import Path
from typing import Final

from pyrsia.audit.fetching import Absent
from pyrsia.audit.sources import cores
from pyrsia.errors import Malformed, Refusal
from pyrsia.ledger import views
from pyrsia.ledger.genesis import Genesis
from pyrsia.log.checkpoint import Checkpoint
from pyrsia.log.tiles import Bundle, Tile
from pyrsia.log.tree import TILE_WIDTH, Frontier
from pyrsia.node.house import GENESIS
from pyrsia.node.log.archive import Archive
from pyrsia.store.lock import DataDir
from pyrsia.store.rocks import Database
from pyrsia.units import TreeSize

DATABASE: Final = "db"


class StoppedNode:
    """A `Source` over a data directory that no process holds."""

    def __init__(self, folder: Path, directory: DataDir, database: Database, genesis: Genesis) -> None:
        self.folder = folder
        self.network = genesis
        self._directory = directory
        self._database = database
        self._archive = Archive(database, genesis)

    @classmethod
    def open(cls, folder: Path) -> "StoppedNode":
        """Take the directory.

        Raises:
            Refusal: `not-found`, `data-in-use`, `data-foreign` or `data-damaged`.
        """
        genesis = network_of(folder)
        if not (folder / DATABASE).is_dir():
            raise Refusal(
                "not-found",
                what=f"the node in {folder} has no log yet",
                who="the data directory",
                do="start the node and let it catch up",
            )
        directory = DataDir.open(folder, genesis.net)
        try:
            return cls(folder, directory, Database.open(folder / DATABASE), genesis)
        except BaseException:
            directory.close()
            raise

    @property
    def name(self) -> str:
        return str(self.folder)

    @property
    def lanes(self) -> int:
        return cores()

    def head(self) -> Checkpoint | None:
        """The node's own tree head, signed by nobody and perhaps ahead of the newest checkpoint."""
        head = self._archive.head
        if head is None:
            return None
        frontier = Frontier.decode(head.frontier)
        return Checkpoint(self.network.origin, TreeSize(head.tree_size), frontier.root())

    def checkpoint(self) -> bytes:
        note = self._archive.checkpoint()
        if note is None:
            raise Absent("no checkpoint has been cosigned yet")
        return note

    def tile(self, tile: Tile) -> bytes:
        found = self._archive.tile(tile.level, tile.index, tile.width)
        if found is None:
            raise Absent(f"{tile.path} is not in the database, or not that wide")
        return found

    def bundle(self, bundle: Bundle) -> bytes:
        found = self._archive.bundle(bundle.index, bundle.width)
        if found is not None:
            return found
        first = bundle.index * TILE_WIDTH
        for index in range(first, min(first + bundle.width, self._archive.size)):
            if self._archive.entry(index) is None:
                raise Malformed(f"entry {index} is not in the database")
        raise Absent(f"{bundle.path} lies beyond the log")

    def names(self) -> dict[str, str]:
        """Node id -> what people call it, of everybody who is a member now."""
        return views.names(self._archive.state)

    def genesis(self) -> bytes | None:
        return self._archive.genesis()

    def epoch(self, number: int) -> bytes | None:
        return self._archive.epoch_end(number)

    def close(self) -> None:
        self._database.close()
        self._directory.close()


def network_of(folder: Path) -> Genesis:
    """The genesis in a data directory.

    Raises:
        Refusal: `not-found` or `data-damaged`.
    """
    try:
        return Genesis.parse((folder / GENESIS).read_bytes())
    except FileNotFoundError:
        raise Refusal(
            "not-found",
            what=f"{folder} is no log and no node's data directory",
            who="your command",
            do="name a folder with a checkpoint, an address, or a node's data directory",
        ) from None
    except Malformed as error:
        raise Refusal(
            "data-damaged",
            what=f"{folder / GENESIS} is no genesis: {error}",
            who="this machine's disk or whoever changed the file",
            do="restore it from the network's trust file; its digest is the pin",
        ) from None
