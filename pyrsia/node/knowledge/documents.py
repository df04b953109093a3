"""The documents that facts name: an SBOM's bytes, from here or from who said the fact.

Source: docs/knowledge.md, "Auditing a project".
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, Protocol

import trio

from pyrsia.errors import Refusal, StorageFull, Unavailable
from pyrsia.node.arriving import Arrivals
from pyrsia.node.knowledge.reading import fact
from pyrsia.node.shelf import BlobRef
from pyrsia.units import MAX_DOCUMENT_BYTES, NodeId
from pyrsia.wire.text import unb32

TOGETHER: Final = 2  # documents in memory at once, beside those that are being sent


class Log(Protocol):
    """What is needed of `archive.Archive`."""

    def entry(self, index: int) -> bytes | None: ...


class Documents:
    """One node's."""

    def __init__(
        self,
        log: Log,
        arrivals: Arrivals,
        sources: Callable[[bytes, Sequence[NodeId]], Sequence[NodeId]],
    ) -> None:
        """`sources`: who may have a blob, those first that should."""
        self._log, self._arrivals, self._sources = log, arrivals, sources
        self._reading = trio.CapacityLimiter(TOGETHER)

    async def document(self, leaf: int) -> bytes | None:
        """The document of the fact at this leaf; None where there is no such fact, or it names none.

        Raises:
            Refusal: `too-large`; `unavailable` where nobody who has it is there; `storage-full`.
        """
        raw = self._log.entry(leaf)
        said = None if raw is None else fact(leaf, raw)
        blob = None if said is None else said.body.get("blob")
        if said is None or blob is None:
            return None
        if blob["size"] > MAX_DOCUMENT_BYTES.value:
            raise Refusal(
                "too-large",
                what=f"the document has {blob['size']:,} bytes, {MAX_DOCUMENT_BYTES.value:,} are told at once",
                who="whoever said the fact",
                do="ask them for the document",
            )
        ref = BlobRef(bytes.fromhex(blob["manifest"]), bytes.fromhex(blob["sha256"]), blob["size"])
        async with self._reading:
            path = await self._here(ref, [NodeId(unb32(said.author))])
            return await trio.Path(path).read_bytes()

    async def _here(self, ref: BlobRef, holders: Sequence[NodeId]) -> Path:
        arriving = self._arrivals.bring(ref, self._sources(ref.sha256, holders))
        try:
            await arriving.ready(arriving.size)
            return arriving.path
        except StorageFull:
            raise
        except Unavailable as error:
            raise Refusal("unavailable", what=str(error), who="who said the fact, or the network between",
                          do="try again when they are back; see `pyrsia peers`") from None  # fmt: skip
        finally:
            arriving.close()
