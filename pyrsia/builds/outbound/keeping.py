"""Files kept under their SHA-256: written whole or not at all, those not asked for longest go first.

Source: docs/sources.md, "The rules of every fetch".
"""

import hashlib
import os
import tempfile
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, suppress
from pathlib import Path

from pyrsia.errors import Refusal


async def keep(
    folder: Path, pieces: AsyncGenerator[bytes, None], limit: int, too_large: Callable[[], Refusal]
) -> tuple[str, int]:
    """Read `pieces` to their end and keep them below `folder`, which is made; their SHA-256 (hex) and size.

    Raises:
        Refusal: `too_large()` for more than `limit` bytes, and what `pieces` raises.
        OSError: the folder cannot be written.
    """
    os.makedirs(folder, mode=0o700, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=folder, prefix=".part-")
    try:
        digest, size = hashlib.sha256(), 0
        with os.fdopen(handle, "wb") as out:
            async with aclosing(pieces):
                async for piece in pieces:
                    size += len(piece)
                    if size > limit:
                        raise too_large()
                    digest.update(piece)
                    out.write(piece)
        os.chmod(temporary, 0o644)  # the sandbox reads it as another uid
        os.replace(temporary, folder / digest.hexdigest())
    finally:
        with suppress(FileNotFoundError):
            os.unlink(temporary)
    return digest.hexdigest(), size


def trim(cache: Path, most_bytes: int, kept_s: float) -> None:
    """Drop the files of `cache` that were not asked for longest, until the rest is at most `most_bytes`.

    Args:
        kept_s: files asked for within that time stay, whatever their size.
    """
    found = []
    with os.scandir(cache) as listing:
        for entry in listing:
            with suppress(FileNotFoundError):
                state = entry.stat(follow_symlinks=False)
                found.append((state.st_mtime, state.st_size, entry.path))
    total, now = sum(size for _, size, _ in found), time.time()
    for asked, size, path in sorted(found):
        if total <= most_bytes or asked > now - kept_s:
            return
        with suppress(FileNotFoundError):
            os.unlink(path)
        total -= size
