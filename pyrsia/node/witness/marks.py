"""What the witness's key has said, kept beside the key: per log the newest size and root that were cosigned.

The database alone cannot tell a torn end of its own log, which was never synced, from one that was synced and is
damaged: RocksDB cuts both off without a word, and the key would cosign what forks from what it cosigned before. A
validator's vote record carries a mark of what was acknowledged; a node that only witnesses has none, so each log
has a small file here. It is on disk before a line is sent and after the database is, so it is never ahead of a
database that kept its promises.

A file a log, not one for all: a growth writes a hundred bytes and touches no other log's mark. Size and root, not the
database's sequence as in the vote record: they say what was signed, and of which log it is forgotten.

Source: docs/storage.md, "Start and recovery"; docs/keys.md, "When a key is lost or stolen"; ADR 28.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pyrsia.errors import Malformed, Unavailable
from pyrsia.files import sync_folder, write_whole
from pyrsia.keys import WITNESS
from pyrsia.log.checkpoint import parse_size
from pyrsia.log.witness import WatchedLog
from pyrsia.units import HASH_BYTES, Limit

FOLDER: Final = "witness.said"
MAX_MARK_BYTES = Limit(256, "read of a mark: two hexadecimal numbers of 64 digits and a size of 19 at most")


@dataclass(frozen=True, slots=True)
class Mark:
    """The newest tree head of one log that `key` (32 bytes, public) cosigned."""

    key: bytes
    size: int
    root: bytes

    def encode(self) -> bytes:
        return f"{self.key.hex()}\n{self.size}\n{self.root.hex()}\n".encode()

    @classmethod
    def parse(cls, raw: bytes) -> "Mark":
        """The inverse of `encode`; `parse(raw).encode() == raw`.

        Raises:
            Malformed: anything else.
        """
        try:
            key, size, root, rest = raw.decode("ascii").split("\n")
            mark = cls(bytes.fromhex(key), parse_size(size), bytes.fromhex(root))
        except ValueError as error:  # a wrong number of lines, too
            raise Malformed("not three lines of a key, a size and a root") from error
        if rest or len(mark.key) != HASH_BYTES or len(mark.root) != HASH_BYTES or mark.encode() != raw:
            raise Malformed("a key or a root that is not 32 bytes in lower-case hexadecimal")
        return mark


class Marks:
    """The files of one node's witness key."""

    def __init__(self, keys_folder: Path, key: bytes) -> None:
        self._folder = keys_folder / FOLDER
        self.key_file = keys_folder / f"{WITNESS}.key"
        self._key = key
        self._known: dict[str, Mark] = {}  # by hash of the origin; what this process read or wrote
        self._failed = ""  # what a write failed with, once

    def check(self, log: WatchedLog, size: int, root: bytes) -> str:
        """What speaks against cosigning `log` on with a database that knows this head; nothing, mostly.

        Args:
            size, root: the newest head that the database says was cosigned; -1 and nothing before the first.

        Raises:
            Unavailable: the disk said no.
        """
        try:
            with self._path(log).open("rb") as file:
                mark = Mark.parse(file.read(MAX_MARK_BYTES.value))
        except FileNotFoundError:
            return ""
        except Malformed as error:
            return f"{self._path(log)}, which says how far this key cosigned the log, is damaged: {error}"
        except OSError as error:
            raise _no_disk(self._path(log), error) from None
        if mark.key != self._key:  # an earlier key's; this one has said nothing yet
            return ""
        if mark.size > size or (mark.size == size and mark.root != root):
            known = "nothing of it" if size < 0 else f"size {size}, root {root.hex()[:16]}"
            return (
                f"this key cosigned size {mark.size}, root {mark.root.hex()[:16]}, and the database that should"
                f" remember it knows {known}"
            )
        self._known[log.hash] = mark
        return ""

    def missing(self, log: WatchedLog, size: int, root: bytes) -> bool:
        """Whether `keep` has anything to write before a line about this head may be sent."""
        return self._known.get(log.hash) != Mark(self._key, size, root)

    def keep(self, log: WatchedLog, size: int, root: bytes) -> None:
        """Have this head on disk when this returns. Blocks; one call at a time.

        Raises:
            Unavailable: the disk said no, now or at an earlier call: a sync that succeeds after that proves nothing.
        """
        if self._failed:
            raise Unavailable(self._failed)
        mark = Mark(self._key, size, root)
        try:
            if not self._folder.is_dir():
                self._folder.mkdir(mode=0o700)
                sync_folder(self._folder.parent)
            write_whole(self._path(log), mark.encode(), 0o600)
        except OSError as error:
            no = _no_disk(self._path(log), error)
            self._failed = str(no)
            raise no from None
        self._known[log.hash] = mark

    def _path(self, log: WatchedLog) -> Path:
        return self._folder / log.hash


def _no_disk(path: Path, error: OSError) -> Unavailable:
    return Unavailable(f"the witness's mark {path}: {error.strerror}")
