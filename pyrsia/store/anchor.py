"""Whether the blob folder is the one that the index speaks of, or what lies there while its disk is not mounted.

A folder that is away makes every file look missing, and what is missing is forgotten. So the folder holds a mark, and
the database its copy: a file is believed to be missing only where the mark is there. A copy of the whole folder has it
too, and another node's folder has another. Who lost the files for good says so with an empty mark.
"""

import logging
import secrets
from contextlib import suppress
from pathlib import Path
from typing import Final, Protocol

from pyrsia.errors import Unavailable
from pyrsia.files import write_whole
from pyrsia.store import layout
from pyrsia.store.rocks import Batch

MARK: Final = "folder.mark"
_ROW: Final = b"storage/folder"
_BYTES: Final = 16

_log = logging.getLogger("pyrsia.store")


class _Rows(Protocol):
    def get(self, family: str, key: bytes, /) -> bytes | None: ...

    def write(self, batch: Batch, /) -> object: ...


class Anchor:
    """Of one folder.

    Attributes:
        away: why files that are missing are not believed to be, for people; "" while the folder is there.
    """

    def __init__(self, folder: Path, database: _Rows, *, empty: bool) -> None:
        """Look whether it is there, and mark it where nobody did. Says what is wrong, and raises nothing.

        Args:
            empty: the index names no blob, so any folder will do.
        """
        self._folder = folder
        self._mark = folder / MARK
        self._database = database
        self._token = b""
        self.away = ""
        with suppress(OSError, Unavailable):  # a disk that is full: the next check tries again
            self._token = self._known() or self._begun()
            if empty and self._read() != self._token:
                write_whole(self._mark, self._token, 0o600)
            self.check()

    def check(self) -> None:
        """In a thread.

        Raises:
            Unavailable: the folder is not the one that is meant.
            OSError: it cannot be told.
        """
        if not self._token:
            self._token = self._known() or self._begun()
        found = self._read()
        if found == b"":
            write_whole(self._mark, self._token, 0o600)
        elif found != self._token:
            if not self.away:
                _log.error("storage: %s is not the folder of this node's artifacts", self._folder)
            self.away = (
                f"{self._folder} is not the folder of this node's artifacts: mount its disk; "
                f"if they are lost for good, make {self._mark} an empty file"
            )
            raise Unavailable(self.away)
        self.away = ""

    def _known(self) -> bytes:
        return self._database.get(layout.MISC, _ROW) or b""

    def _begun(self) -> bytes:
        """What a folder has that no database knows yet, or a new mark: on the disk before the database says so."""
        token = self._read() or b""
        if len(token) != _BYTES:
            token = secrets.token_bytes(_BYTES)
            write_whole(self._mark, token, 0o600)
        self._database.write(Batch().put(layout.MISC, _ROW, token))
        return token

    def _read(self) -> bytes | None:
        try:
            with self._mark.open("rb") as file:
                return file.read(_BYTES + 1)
        except FileNotFoundError:
            return None
