"""`file:` roots: folders of this machine in the place of a server, such as the one that Debian's packages fill.

They are read where they are; nothing is copied. A folder of wheels becomes a page as an index would write it.
"""

import json
from pathlib import Path
from typing import Final

from pyrsia.builds.pip import folder
from pyrsia.builds.pip.simple import JSON_TYPE
from pyrsia.wire.text import safe

_PAGE_TYPE: Final = JSON_TYPE


def path_of(url: str) -> Path:
    return folder.path_of(url)


def read(url: str, most: int) -> bytes | None:
    """The file that `url` names; None where there is none, or a larger one."""
    path = path_of(url)
    if not path.is_file() or path.stat().st_size > most:
        return None
    return path.read_bytes()


def pip_page(url: str) -> tuple[bytes, str] | None:
    """The page of the project whose folder `url` names, and its type.

    Raises:
        Refusal: the index that it is in is not there, or cannot be read.
    """
    place = path_of(url)
    found = folder.read_page(place.parent, place.name, safe(url))
    if found is None:
        return None
    files = [
        {
            "filename": one.filename,
            "url": one.url,
            "hashes": {"sha256": one.sha256} if one.sha256 else {},
            "requires-python": one.requires_python or None,
            **({"size": one.size} if one.size >= 0 else {}),
        }
        for one in found.files
    ]
    page = {"meta": {"api-version": "1.0"}, "name": found.name, "files": files}
    return json.dumps(page).encode(), _PAGE_TYPE
