"""One file of a node into a folder, by digest: begun again where it ended, and in its place only when it is whole.

What is not here yet lies in `.<file>.<digest>.part`. A node that ends early is asked again for the rest as long as
something came; the digest decides at the end, and a wrong file is thrown away.
"""

import hashlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from pyrsia.client import Client
from pyrsia.errors import Refusal
from pyrsia.files import sync_folder
from pyrsia.units import MAX_FILE_BYTES, Limit

MAX_TRIES = Limit(
    20, "connections for one file, each of which brought something; a node that ends more often is ill"
)
PROGRESS_S: Final = 1.0
Told = Callable[[int, int], None]  # bytes that are here, bytes in all


def fetch(node: Client, path: str, file: Path, sha256: str, size: int, told: Told) -> bool:
    """Bring the bytes at `path` to `file`; whether anything had to be fetched.

    Raises:
        Refusal: `digest-mismatch`; the node's.
    """
    if file.is_file() and _digest(file) == sha256:
        return False
    part = file.with_name(f".{file.name[:180]}.{sha256[:16]}.part")
    begun = part.exists()
    _whole(node, path, part, told, size)
    if begun and _digest(part) != sha256:  # what lay here was of something else
        part.unlink()
        _whole(node, path, part, told, size)
    if _digest(part) != sha256:
        part.unlink()
        raise Refusal(
            "digest-mismatch",
            what="the bytes are not what the node's own index names",
            who="the node",
            do="ask another node; do not use these bytes",
        )
    part.replace(file)
    sync_folder(file.parent)
    return True


def _whole(node: Client, path: str, part: Path, told: Told, size: int) -> None:
    next_s = time.monotonic() + PROGRESS_S

    def tick(have: int) -> None:
        nonlocal next_s
        if time.monotonic() >= next_s:
            next_s = time.monotonic() + PROGRESS_S
            told(have, size)

    with part.open("ab+") as opened:
        for attempt in range(MAX_TRIES.value):
            before = opened.seek(0, 2)
            if size and before >= size:
                return
            try:
                node.get_into(path, opened, most=MAX_FILE_BYTES.value, tick=tick)
                if not size or opened.seek(0, 2) >= size:
                    return
            except Refusal as refusal:
                more = opened.seek(0, 2) > before
                if refusal.code != "not-running" or not more or attempt + 1 == MAX_TRIES.value:
                    raise


def _digest(path: Path) -> str:
    with path.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
