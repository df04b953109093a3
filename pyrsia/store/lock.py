"""One process and one network for each data directory."""

import fcntl
import os
from pathlib import Path

from pyrsia.errors import Refusal

LOCK_NAME = "node.lock"
STAMP_NAME = "network"


class DataDir:
    """A node's data directory, held by this process until `close`."""

    def __init__(self, path: Path, handle: int) -> None:
        self.path = path
        self._handle = handle

    @classmethod
    def open(cls, path: Path, net: str) -> "DataDir":
        """Take `path` for the network whose id text is `net`.

        Raises:
            Refusal: `data-in-use` with the holder's pid, or `data-foreign`.
        """
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle = os.open(path / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = os.pread(handle, 20, 0).decode("ascii", "replace").strip() or "unknown"
            os.close(handle)
            raise _in_use(path, holder) from None
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)
        taken = cls(path, handle)
        try:
            taken._stamp(net)
        except Refusal:
            taken.close()
            raise
        return taken

    def close(self) -> None:
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1

    def _stamp(self, net: str) -> None:
        stamp = self.path / STAMP_NAME
        try:
            found = stamp.read_text(encoding="ascii").strip()
        except FileNotFoundError:
            stamp.write_text(net + "\n", encoding="ascii")
            return
        if found != net:
            raise Refusal(
                "data-foreign",
                what=f"{self.path} holds the data of another network",
                who="the data directory, or the genesis beside it",
                do="name another directory; nothing here was touched",
            )


def _in_use(path: Path, holder: str) -> Refusal:
    return Refusal(
        "data-in-use",
        what=f"{path} is in use by process {holder}",
        who="another Pyrsia node",
        do="stop it first, or name another data directory",
    )
