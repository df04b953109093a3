"""Lists of others, read beside the loop, and each list of upstream's once while its bytes are the same.

A list may be as long as `lists.LIST_BYTES`: a short one is read at once, since a thread costs more than that.
"""

import hashlib
from collections.abc import Callable
from typing import Final

import trio

from pyrsia.serve.maven import lists
from pyrsia.serve.maven.lists import Listed
from pyrsia.units import Limit

KEPT: Final = Limit(
    64, "lists of upstream's that are read already; one of 4,000 versions takes half a megabyte"
)
_INLINE_BYTES: Final = Limit(50_000, "some milliseconds to read")
_INLINE_VERSIONS: Final = Limit(1_000, "some milliseconds to put in order")


class Theirs:
    """What upstream's lists say, by the digest of each."""

    def __init__(self) -> None:
        self._read: dict[bytes, Listed] = {}

    async def read(self, data: bytes) -> Listed:
        """
        Raises:
            Malformed: as `lists.read`.
        """
        digest = hashlib.sha256(data).digest()
        found = self._read.pop(digest, None)
        if found is None:
            found = await read(data)
        while len(self._read) >= KEPT.value:
            del self._read[next(iter(self._read))]
        self._read[digest] = found
        return found


async def read(data: bytes) -> Listed:
    """A list that somebody sent.

    Raises:
        Malformed: as `lists.read`.
    """
    if len(data) <= _INLINE_BYTES.value:
        return lists.read(data)
    return await trio.to_thread.run_sync(lists.read, data)


async def written(make: Callable[[], bytes], versions: int) -> bytes:
    """A list of so many versions."""
    if versions <= _INLINE_VERSIONS.value:
        return make()
    return await trio.to_thread.run_sync(make)
