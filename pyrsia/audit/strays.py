"""What else lies in a folder that holds a log: older partial files, which must still be true, and strays.

A file that readers of the format could ask for must hold what the log holds there, also if no tile of the
present size needs it. Whatever else lies about is a note, never an error: it is not part of the log.
"""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from pyrsia.audit.sources import CHECKPOINT, GENESIS, DirectorySource, first_entries, step_path
from pyrsia.errors import Malformed
from pyrsia.log import tiles
from pyrsia.log.checking import Fault, Wrong
from pyrsia.log.tiles import Bundle, Tile
from pyrsia.units import HASH_BYTES, Limit, TreeSize

MAX_NOTES = Limit(20, "names a person reads; the rest is a number")


@dataclass(slots=True)
class Strays:
    """One walk through a folder whose log of `size` leaves was found whole, read by `bundle` and `tile`.

    Attributes:
        epochs: how many steps between epochs were checked.
    """

    source: DirectorySource
    size: TreeSize
    bundle: Callable[[Bundle], bytes]
    tile: Callable[[Tile], bytes]
    epochs: int = 0
    _beyond: int = 0
    _strays: list[str] = field(default_factory=list)
    _stray: int = 0

    def check(self) -> tuple[str, ...]:
        """Notes for a person.

        Raises:
            Wrong: an older partial file that is no prefix of what the log holds there.
        """
        for path in self._paths():
            self._look(path)
        notes = [f"{path} is no part of the log" for path in self._strays]
        if self._stray > len(self._strays):
            notes.append(f"{self._stray - len(self._strays)} more files are no part of the log")
        if self._beyond:
            notes.append(f"{self._beyond} files lie beyond the checkpoint and were not checked")
        return tuple(notes)

    def _paths(self) -> Iterator[str]:
        """Every file's path below the folder, sorted; folders that begin with a dot are nobody's business."""
        for folder, names, files in os.walk(self.source.folder):
            names[:] = sorted(name for name in names if not name.startswith("."))
            below = os.path.relpath(folder, self.source.folder)
            for name in sorted(files):
                if not name.startswith("."):
                    yield name if below == "." else f"{below}/{name}"

    def _look(self, path: str) -> None:
        if path in (CHECKPOINT, GENESIS, *map(step_path, range(self.epochs))):
            return
        try:
            named = tiles.parse(path)
        except Malformed:
            self._stray += 1
            if len(self._strays) < MAX_NOTES.value:
                self._strays.append(path)
            return
        level = named.level if isinstance(named, Tile) else 0
        held = tiles.width(level, named.index, self.size)
        if held < named.width:
            # The full tile of a partial one that the checkpoint names: its beginning was read in its place.
            self._beyond += 1
        elif held > named.width:
            self._narrower(named, held)

    def _narrower(self, named: Tile | Bundle, held: int) -> None:
        found = self.source.raw(named)
        if isinstance(named, Tile):
            expected = self.tile(Tile(named.level, named.index, held))[: named.width * HASH_BYTES]
        else:
            expected = first_entries(self.bundle(Bundle(named.index, held)), named.width)
        if found == expected:
            return
        at = next((i for i, (a, b) in enumerate(zip(found, expected, strict=False)) if a != b), None)
        raise Wrong(
            Fault(
                named.path,
                f"it is not the beginning of what the log of {self.size} holds there",
                offset=min(len(found), len(expected)) if at is None else at,
            )
        )
