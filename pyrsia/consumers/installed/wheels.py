"""What a wheel holds, read from the wheel: for those that were only witnessed, whose contents the log does not list.

It runs only after the file's SHA-256 was proven. Nothing is unpacked: each member is inflated through a hash, with its
size bounded before and while, and names are admitted by the rules for archives of strangers.

Source: docs/builds-how.md, "What no archive may hold".
"""

import hashlib
import zipfile
from pathlib import Path
from typing import Final

from pyrsia.builds.members import Member, Names, shown
from pyrsia.errors import Malformed
from pyrsia.verify.wheel import BROKEN, Bounded

# Of the methods that zipfile knows only these inflate no further than they are asked to.
_METHODS: Final = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_ENCRYPTED: Final = 0x1
_PIECE_BYTES: Final = 1 << 18


def members_of(path: Path) -> tuple[Member, ...]:
    """The members of the wheel at `path`, sorted by path.

    Raises:
        Malformed: it is no wheel that may be read: names that climb or clash, too many or too large members.
    """
    names = Names()
    try:
        with Bounded(path) as file, zipfile.ZipFile(file) as archive:
            found = []
            for info in archive.infolist():
                name = names.admit(info.filename, info.file_size, folder=info.is_dir())
                if not info.is_dir():
                    found.append(_member(archive, info, name))
    except BROKEN as error:
        raise Malformed(f"the wheel cannot be read: {error}") from None
    return tuple(sorted(found))


def _member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, name: str) -> Member:
    if info.compress_type not in _METHODS or info.flag_bits & _ENCRYPTED:
        raise Malformed(f"{shown(name)} is packed by an unknown method")
    made, size = hashlib.sha256(), 0
    with archive.open(info) as opened:
        while piece := opened.read(_PIECE_BYTES):
            size += len(piece)
            if size > info.file_size:
                raise Malformed(f"{shown(name)} is larger than it says")
            made.update(piece)
    return Member(name, made.hexdigest(), size, bool(info.external_attr >> 16 & 0o111))
