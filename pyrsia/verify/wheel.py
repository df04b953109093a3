"""The one bounded look that a verifier takes into a file: the name and version in a wheel's METADATA.

It runs only after the file's SHA-256 matched the log. One member is read, its size bounded before
and while it is inflated; nothing is unpacked.
"""

import os
import struct
import zipfile
import zlib
from io import FileIO
from pathlib import Path
from typing import Final

from pyrsia.errors import Malformed
from pyrsia.units import MAX_ARCHIVE_MEMBERS, MAX_METADATA_BYTES, Limit

# An entry without a name has 46 bytes: 90,000 of them, 30 MB, are what a hostile file makes us hold.
DIRECTORY_BYTES = Limit(4 << 20, "20,000 members with names of 150 characters")

# Of the methods that zipfile knows only these inflate no further than they are asked to.
_METHODS: Final = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
BROKEN: Final = (  # what zipfile raises on a stranger's archive
    zipfile.BadZipFile, OSError, RuntimeError, NotImplementedError, EOFError, ValueError, KeyError, zlib.error,
    struct.error,
)  # fmt: skip


class Bounded(FileIO):
    """A file that gives no more at once than a sane wheel's directory has: zipfile asks for all of that in one read."""

    def read(self, size: int | None = -1, /) -> bytes:
        left = max(0, os.fstat(self.fileno()).st_size - self.tell())
        wanted = left if size is None or size < 0 else min(size, left)
        if wanted > DIRECTORY_BYTES.value:
            raise ValueError(f"its directory has more than {DIRECTORY_BYTES.value} bytes")
        return super().read(wanted)


def name_and_version(path: Path) -> tuple[str, str]:
    """(name, version) as the METADATA of the wheel at `path` spells them.

    Raises:
        Malformed: the file is not a wheel with exactly one METADATA of a sane size, or that names its package
            or version twice.
    """
    data = metadata(path)
    return header(data, "Name"), header(data, "Version")


def metadata(path: Path) -> bytes:
    """The METADATA of the wheel at `path`.

    Raises:
        Malformed: the file is not a wheel with exactly one METADATA of a sane size.
    """
    try:
        with Bounded(path) as file, zipfile.ZipFile(file) as archive:
            members = archive.infolist()
            if len(members) > MAX_ARCHIVE_MEMBERS.value:  # builders refuse those too
                raise Malformed(f"the wheel has {len(members)} members")
            found = [
                m
                for m in members
                if m.filename.endswith(".dist-info/METADATA") and m.filename.count("/") == 1
            ]
            if len(found) != 1:
                raise Malformed(f"the wheel has {len(found)} METADATA files")
            if found[0].compress_type not in _METHODS:
                raise Malformed("the wheel's METADATA is packed by an unknown method")
            with archive.open(found[0]) as member:
                data = member.read(MAX_METADATA_BYTES.value + 1)
    except BROKEN as error:
        raise Malformed(f"the wheel cannot be read: {error}") from None
    if len(data) > MAX_METADATA_BYTES.value:
        raise Malformed("the wheel's METADATA is too large")
    return data


def header(text: bytes, name: str) -> str:
    """The one value of a header. A line that begins with a space continues the one before.

    Raises:
        Malformed: it stands there not once, or is not ASCII.
    """
    values = []
    for line in text.split(b"\n"):
        if not line.strip():
            break  # headers end at the first empty line
        key, colon, value = line.partition(b":")
        if colon and key.rstrip().lower() == name.lower().encode("ascii"):
            values.append(value.strip())
    if len(values) != 1:
        raise Malformed(f"METADATA says {name} {len(values)} times, not once")
    try:
        return values[0].decode("ascii")
    except UnicodeDecodeError:
        raise Malformed(f"{name} in METADATA is not ASCII") from None
