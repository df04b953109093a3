"""Fetched files, each under its SHA-256; those that were not asked for longest go first.

A file is here whole and with the promised digest, or not at all.
"""

import hashlib
import os
import tempfile
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, aclosing, suppress
from pathlib import Path
from typing import Final

import trio

from pyrsia.builds.outbound.keeping import trim
from pyrsia.builds.pip.refusals import mismatch, too_large
from pyrsia.builds.pip.simple import IndexFile
from pyrsia.units import MAX_SOURCE_BYTES, Limit

_CACHE_BYTES: Final = Limit(4 << 30, "tools and sources of some thousand pure packages")
_CACHE_KEPT_S: Final = Limit(3_600, "a file that was just asked for is still to be copied into a sandbox")


class Cache:
    """The files below `folder`, which is made when it is needed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def get(self, sha256: str) -> Path | None:
        """The file with this digest (hex), if it is here; it counts as asked for now."""
        path = self._folder / sha256
        try:
            os.utime(path)
        except FileNotFoundError:
            return None
        return path

    async def keep(
        self, file: IndexFile, opening: AbstractAsyncContextManager[AsyncGenerator[bytes, None]]
    ) -> Path:
        """Read `opening` to its end and keep it, if it is `file`.

        Raises:
            Refusal: `digest-mismatch`, `too-large`, and what `opening` raises.
            OSError: the folder cannot be written.
        """
        path = self._folder / file.sha256
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=self._folder, prefix=".part-")
        try:
            digest, size = hashlib.sha256(), 0
            with os.fdopen(handle, "wb") as out:
                async with opening as chunks, aclosing(chunks):
                    async for chunk in chunks:
                        size += len(chunk)
                        if size > MAX_SOURCE_BYTES.value or 0 <= file.size < size:
                            raise too_large(file.url, min(file.size, MAX_SOURCE_BYTES.value))
                        digest.update(chunk)
                        out.write(chunk)
            if digest.hexdigest() != file.sha256:
                raise mismatch(file, digest.hexdigest(), file.url)
            os.chmod(temporary, 0o644)  # the sandbox reads it as another uid
            os.replace(temporary, path)
        finally:
            with suppress(FileNotFoundError):
                os.unlink(temporary)
        await trio.to_thread.run_sync(trim, self._folder, _CACHE_BYTES.value, _CACHE_KEPT_S.value)
        return path
