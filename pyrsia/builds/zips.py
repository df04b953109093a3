"""Writing the one ZIP form that takes no compressor and no library version: stored, one time, two modes.

Who calls it decides the members and their order; here is only how bytes are laid. It runs inside the sandbox
and imports only the standard library.

Source: docs/builds-pip.md, "Normalising"; PKWARE APPNOTE 6.3.10, sections 4.3 and 4.4.
"""

import struct
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import BinaryIO, Final

from pyrsia.builds.members_zip import EARLIEST

LATEST: Final = 4_354_819_198  # 2107-12-31, the last date that ZIP can write


def dos_time(time_s: int) -> tuple[int, int]:
    """(time, date) as ZIP writes them, to 2 s, in UTC, within the years that it can write."""
    stamp = datetime.fromtimestamp(min(max(time_s, EARLIEST), LATEST), UTC)
    return (
        stamp.hour << 11 | stamp.minute << 5 | stamp.second // 2,
        (stamp.year - 1980) << 9 | stamp.month << 5 | stamp.day,
    )


class Writer:
    """Writes members one after the other to `out`, which stands at its beginning; `finish` ends the file."""

    def __init__(self, out: BinaryIO, time_s: int) -> None:
        self._out = out
        self._stamp = dos_time(time_s)
        self._directory = bytearray()
        self._count = 0

    def add(self, path: str, size: int, crc: int, pieces: Iterable[bytes], *, executable: bool) -> None:
        """One file, stored. `pieces` hold exactly `size` bytes with the checksum `crc`."""
        self._header(path, size, crc, (0o100755 if executable else 0o100644) << 16)
        for piece in pieces:
            self._out.write(piece)

    def folder(self, path: str) -> None:
        """One folder, `path` without a slash at its end."""
        self._header(f"{path}/", 0, 0, 0o040755 << 16 | 0x10)

    def _header(self, path: str, size: int, crc: int, attributes: int) -> None:
        offset, name = self._out.tell(), path.encode("utf-8")
        flags = 0 if path.isascii() else 0x800
        common = (20, flags, 0, *self._stamp, crc, size, size, len(name), 0)
        self._out.write(struct.pack("<4s5H3L2H", b"PK\3\4", *common) + name)
        made_by = 3 << 8 | 20  # Unix, so that the mode counts
        fields = (made_by, *common, 0, 0, 0, attributes, offset)
        self._directory += struct.pack("<4s6H3L5H2L", b"PK\1\2", *fields) + name
        self._count += 1

    def finish(self) -> None:
        start = self._out.tell()
        self._out.write(self._directory)
        end = (b"PK\5\6", 0, 0, self._count, self._count, len(self._directory), start, 0)
        self._out.write(struct.pack("<4s4H2LH", *end))
