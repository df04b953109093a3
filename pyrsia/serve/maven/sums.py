"""The checksums that Maven's clients ask for: all four from one reading of one file, remembered.

A sidecar and the `x-checksum-*` headers of an answer come from here alone, so they cannot tell of different bytes.
"""

import hashlib
from pathlib import Path
from typing import Final

import trio

from pyrsia.serve.http.reading import Header
from pyrsia.units import Limit

SUMS: Final = {".sha1": "sha1", ".md5": "md5", ".sha256": "sha256", ".sha512": "sha512"}
_KEPT: Final = Limit(20_000, "files whose checksums are remembered: 300 bytes each, a large build's closure")
_HERE_BYTES: Final = Limit(
    65_536, "four digests of this much take 0.3 ms; going to a thread and back costs nearly as much"
)

Sums = dict[str, str]


class SumCache:
    """Checksums by SHA-256, or by whatever names immutable bytes."""

    def __init__(self) -> None:
        self._kept: dict[str, Sums] = {}

    def known(self, name: str) -> Sums | None:
        return self._kept.get(name)

    def keep(self, name: str, sums: Sums) -> None:
        if len(self._kept) >= _KEPT.value:
            del self._kept[next(iter(self._kept))]
        self._kept[name] = sums

    def forget(self, name: str) -> None:
        self._kept.pop(name, None)

    async def of(self, name: str, path: Path, size: int) -> Sums:
        """Of the `size` bytes of `path`, read once for each `name`."""
        found = self._kept.get(name)
        if found is None:
            here = size <= _HERE_BYTES.value
            found = summed(path) if here else await trio.to_thread.run_sync(summed, path)
            self.keep(name, found)
        return found


def headers_of(sums: Sums) -> list[Header]:
    """A client that reads these (Maven 3.9 and newer) spares a request for each file."""
    return [(f"x-checksum-{kind}".encode(), sums[kind].encode()) for kind in SUMS.values()]


def summed(path: Path) -> Sums:
    """All four, in one pass.

    Raises:
        OSError
    """
    made = {kind: hashlib.new(kind, usedforsecurity=False) for kind in SUMS.values()}
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            for one in made.values():
                one.update(piece)
    return {kind: one.hexdigest() for kind, one in made.items()}


def of_bytes(data: bytes) -> Sums:
    return {kind: hashlib.new(kind, data, usedforsecurity=False).hexdigest() for kind in SUMS.values()}
