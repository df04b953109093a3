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
from pyrsia.node.knowledge.reading import fact
from pyrsia.node.storage.arriving import Arrivals
from pyrsia.node.storage.shelf import BlobRef
from pyrsia.serve.desks.views import Arriving
from pyrsia.store.growing import Whole
from pyrsia.units import MAX_DOCUMENT_BYTES, MAX_HTTP_FETCH_WAIT_S, Limit, NodeId
from pyrsia.wire.text import safe, unb32

BROUGHT = Limit(
    6, "documents on their way at once: a third of what a node fetches, so that packages still come"
)
BROUGHT_OF_ONE = Limit(
    2, "of them that one member named: whoever names what nobody gives holds up nobody else's"
)
HEAD_BYTES: Final = 1_024  # by which text is told from the archives that packages are
_RETRY_S: Final = 30


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
        here: Callable[[bytes], Path | None],
    ) -> None:
        """
        Args:
            sources: who may have a blob, those first that should.
            name_of: the purl of the file that the log publishes with this SHA-256 in hex; "" for none.
            here: the file with a SHA-256 if this node has it.
        """
        self._log, self._arrivals, self._sources, self._name_of = log, arrivals, sources, name_of
        self._here = here
        self._begun: dict[bytes, NodeId] = {}  # what is on its way for this, and who named it

    async def document(self, leaf: int) -> Arriving | None:
        """The document of the fact at this leaf, whole and here; None where there is no such fact, or it names none.

        Close it. Nothing but its first bytes was read: it is as long as the fact says, and may be given as it lies.

        Raises:
            Refusal: `denied`: it is a published file, no text, or not as long as was said; `too-large`; `busy`;
                `unavailable` where nobody who has it is there; `storage-full`.
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
        found = await self._whole(ref, NodeId(unb32(said.author)))
        try:
            await _check(found)
        except BaseException:
            found.close()
            raise
        return found

    async def _whole(self, ref: BlobRef, author: NodeId) -> Arriving:
        if (here := self._here(ref.sha256)) is not None:
            return Whole(here, ref.size, ref.sha256.hex())
        self._admit(ref.sha256, author)
        arriving = self._arrivals.bring(ref, self._sources(ref.sha256, [author]))
        try:
            with trio.move_on_after(MAX_HTTP_FETCH_WAIT_S.value):
                await arriving.ready(arriving.size)
                return arriving
            raise Unavailable(f"it did not come within {MAX_HTTP_FETCH_WAIT_S.value} s")
        except StorageFull:
            arriving.close()
            raise
        except Unavailable as error:
            arriving.close()
            raise Refusal("unavailable", what=str(error), who="who said the fact, or the network between",
                          do="try again when they are back; see `pyrsia peers`") from None  # fmt: skip
        except BaseException:
            arriving.close()
            raise

    def _admit(self, sha256: bytes, author: NodeId) -> None:
        """Room for one more on its way; a slow one takes it from its own author's first."""
        self._begun = {one: who for one, who in self._begun.items() if self._arrivals.runs(one)}
        if self._arrivals.runs(sha256):
            return
        of_author = sum(who == author for who in self._begun.values())
        if of_author >= BROUGHT_OF_ONE.value or len(self._begun) >= BROUGHT.value:
            raise Refusal(
                "busy",
                what=f"{of_author or len(self._begun)} other documents are on their way to this node",
                who="those who give them slowly",
                do="try again in half a minute",
                retry_s=_RETRY_S,
            )
        self._begun[sha256] = author


async def _check(file: Arriving) -> None:
    """
    Raises:
        Refusal: `denied`.
    """
    size, head = await trio.to_thread.run_sync(_glance, file.path)
    if size != file.size:
        raise _denied(
            f"it has {size:,} bytes, and the fact says {file.size:,}", "ask who said the fact for it"
        )
    if not _is_text(head):
        raise _denied("it is no document: it is no text", "ask who said the fact for it")


def _glance(path: Path) -> tuple[int, bytes]:
    """How long a file is, and how it begins."""
    try:
        with path.open("rb") as file:
            return path.stat().st_size, file.read(HEAD_BYTES)
    except OSError as error:
        raise Refusal("unavailable", what=f"it cannot be read: {error.strerror}", who="this node's disk",
                      do="try again") from None  # fmt: skip


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
