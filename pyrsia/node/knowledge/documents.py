"""The documents that facts name: an SBOM's bytes, from here or from who said the fact.

Any member may name any bytes, so this is no way to a file that a registry gives: what the log publishes has a door
that asks the policy, and no other.

Source: docs/knowledge.md, "At a node".
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
from pyrsia.wire.text import safe, unb32

HEAD_BYTES: Final = 1_024  # by which text is told from the archives that packages are
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
        name_of: Callable[[str], str],
    ) -> None:
        """
        Args:
            sources: who may have a blob, those first that should.
            name_of: the purl of the file that the log publishes with this SHA-256 in hex; "" for none.
        """
        self._log, self._arrivals, self._sources, self._name_of = log, arrivals, sources, name_of
        self._reading = trio.CapacityLimiter(TOGETHER)

    async def document(self, leaf: int) -> bytes | None:
        """The document of the fact at this leaf; None where there is no such fact, or it names none.

        Raises:
            Refusal: `denied`: it is a published file, or no text; `too-large`; `unavailable` where nobody who has it
                is there; `storage-full`.
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
        if name := self._name_of(blob["sha256"]):
            raise _denied(
                f"it is no document but a file of {safe(name)}",
                f"ask for it by its name: pyrsia fetch {safe(name)}",
            )
        ref = BlobRef(bytes.fromhex(blob["manifest"]), bytes.fromhex(blob["sha256"]), blob["size"])
        async with self._reading:
            path = await self._here(ref, [NodeId(unb32(said.author))])
            data = await trio.Path(path).read_bytes()
        if not _is_text(data[:HEAD_BYTES]):
            raise _denied("it is no document: it is no text", "ask who said the fact for it")
        return data

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


def _is_text(head: bytes) -> bool:
    """Whether a document may begin like this; archives and programs have NUL bytes, or what is no UTF-8."""
    if b"\0" in head:
        return False
    try:
        head.decode()
    except UnicodeDecodeError as error:
        return len(head) == HEAD_BYTES and error.start >= HEAD_BYTES - 3  # a character that goes on behind it
    return True


def _denied(what: str, do: str) -> Refusal:
    return Refusal("denied", what=what, who="whoever said the fact", do=do)
