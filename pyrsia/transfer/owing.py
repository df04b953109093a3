"""What a download has, wants and is owed: by chunk who owes it, and how many bytes are on their way. No I/O.

A chunk is here, owed by one source or by two, or wanted. Nothing is decided here.
"""

from collections.abc import Iterable

from pyrsia.transfer.manifest import Manifest
from pyrsia.transfer.sources import Source
from pyrsia.units import CHUNK_BYTES


class Owing:
    """Of one download.

    Attributes:
        held: bit i is set for each chunk that is here.
        wanted: the same for those that are not here and that nobody owes.
        missing: bytes that are not here.
        owners: who owes a chunk, the first one asked first.
        bytes: owed by all sources together.
    """

    def __init__(self, manifest: Manifest, held: int) -> None:
        self._manifest = manifest
        self.all = (1 << manifest.count) - 1
        if held & ~self.all or held < 0:
            raise ValueError("chunks are held that the file does not have")
        self.held = held
        self.wanted = self.all & ~held
        self.missing = self._size_of(self.wanted)
        self.owners: dict[int, list[Source]] = {}
        self.bytes = 0

    @property
    def complete(self) -> bool:
        return self.held == self.all

    def keep(self, index: int) -> None:
        """Chunk `index` is here."""
        self.held |= 1 << index
        self.wanted &= ~(1 << index)
        self.missing -= self._manifest.span(index)[1]

    def owe(self, source: Source, index: int, now: float) -> None:
        size = self._manifest.span(index)[1]
        source.owe(now, index, size)
        self.bytes += size
        self.owners.setdefault(index, []).append(source)
        self.wanted &= ~(1 << index)

    def settle(self, source: Source, index: int) -> None:
        """`source` does not owe chunk `index` any more."""
        if source.owed.pop(index, None) is None:
            return
        size = self._manifest.span(index)[1]
        source.owed_bytes -= size
        self.bytes -= size
        owners = self.owners[index]
        owners.remove(source)
        if not owners:
            del self.owners[index]

    def release(self, source: Source, chunks: Iterable[int]) -> None:
        """`source` does not owe `chunks` any more: wanted again, unless here or owed by another."""
        for index in chunks:
            self.settle(source, index)
            bit = 1 << index
            if not self.held & bit and index not in self.owners:
                self.wanted |= bit

    def take_back(self, source: Source, chunks: Iterable[int]) -> bool:
        """`source` said no to `chunks`; whether all of them had been asked of it."""
        known = True
        for index in chunks:
            if index in source.owed:
                self.release(source, (index,))
            else:
                known = source.excuse(index) and known
        return known

    def _size_of(self, chunks: int) -> int:
        """Bytes of the chunks whose bits are set."""
        size = chunks.bit_count() * CHUNK_BYTES.value
        last = self._manifest.count - 1
        if last >= 0 and chunks >> last & 1:
            size -= CHUNK_BYTES.value - self._manifest.span(last)[1]
        return size
