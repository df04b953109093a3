"""Blobs on their way to the shelf: one download a blob, whoever wants it, which goes on where it was interrupted.

Decided here: in which order a blob is brought (its manifest, a file for it, chunks, the check of the whole), who shares
a download that runs, and what is said of one that failed: at which of these it was, and why each source was no help.
Left out: which chunk comes from whom (`transfer/swarm`), the file (`store/partials`), who may be given what (`shelf`).
"""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

import trio

from pyrsia.errors import OtherBytes, PyrsiaError, Refusal, Unavailable
from pyrsia.net.data import DataPlane
from pyrsia.store.growing import Growing
from pyrsia.store.partials import Partial, Partials
from pyrsia.transfer.manifest import Manifest
from pyrsia.units import CHUNK_BYTES, MAX_PEERS, NodeId

MAX_TOLD: Final = MAX_PEERS  # sources that those told who share a download

Find = Callable[[bytes], Awaitable[Sequence[NodeId]]]
Before = Callable[[Partial, Sequence[NodeId]], Awaitable[None]]
Describe = Callable[[Manifest], Awaitable[object]]


class Coming:
    """One download that runs.

    Attributes:
        wanted: SHA-256 and size of what it must be.
        sources: who may have it, as those say who want it.
        encoded: its manifest, once it is known.
        partial: what has come.
        path: of the whole blob, once it is here.
        error: why it is not; None as well when whoever ran it was cancelled.
    """

    def __init__(self, wanted: tuple[bytes, int], find: Find | None) -> None:
        self.wanted = wanted
        self.find = find
        self.sources: list[NodeId] = []
        self.encoded = b""
        self.partial: Partial | None = None
        self.path: Path | None = None
        self.error: PyrsiaError | None = None
        self.over = trio.Event()
        self._readers: list[Growing] = []

    def join(self, sources: Sequence[NodeId], growing: Growing | None) -> None:
        """Somebody wants it, knows of `sources`, and tells what has come to those who read `growing`."""
        new = [node for node in dict.fromkeys(sources) if node not in self.sources]
        self.sources += new[: MAX_TOLD.value - len(self.sources)]
        if growing is not None:
            self._readers.append(growing)
            if self.partial is not None:
                self.partial.follow(growing)

    def opened(self, partial: Partial, encoded: bytes) -> None:
        self.partial, self.encoded = partial, encoded
        for growing in self._readers:
            partial.follow(growing)

    def places(self) -> list[int]:
        """The chunks at which readers wait."""
        return [at // CHUNK_BYTES.value for growing in self._readers for at in growing.lacking()]


class Bringing:
    """The downloads of one node.

    Attributes:
        find: who else may have the blob with this SHA-256; None where nobody is there to ask.
        before: writes what of a blob can be had otherwise, before its chunks are asked for; raises nothing.
        measured: told how many bytes of a blob peers gave in how many seconds.
    """

    def __init__(self, partials: Partials, plane: DataPlane, describe: Describe) -> None:
        """`describe` indexes the manifest of a blob that is here."""
        self.find: Find | None = None
        self.before: Before | None = None
        self.measured: Callable[[int, float], None] = lambda size, took_s: None
        self.partials = partials
        self._plane = plane
        self._describe = describe
        self._running: dict[bytes, Coming] = {}

    def coming(self, manifest_id: bytes) -> Coming | None:
        """The download of this manifest, if it runs and something of it may be here."""
        found = self._running.get(manifest_id)
        return None if found is None or found.partial is None else found

    async def bring(
        self,
        manifest_id: bytes,
        sha256: bytes,
        size: int,
        sources: Sequence[NodeId],
        growing: Growing | None,
        *,
        seek: bool = True,
    ) -> Path:
        """The path of the blob, when it is here.

        Args:
            seek: others may be asked who has it. What no entry names yet is nobody's business.

        Raises:
            Unavailable: nobody gave it whole, or there is no disk for it.
        """
        while (running := self._running.get(manifest_id)) is not None:
            if running.wanted != (sha256, size):  # one of the two is a lie, which must not end the other
                await running.over.wait()
                continue
            running.join(sources, growing)
            await running.over.wait()
            if running.path is not None:
                return running.path
            if running.error is not None:
                raise _again(running.error)
            # Whoever ran it was cancelled: what has come rests, and is gone on with.
        coming = self._running[manifest_id] = Coming((sha256, size), self.find if seek else None)
        coming.join(sources, growing)
        try:
            coming.path = await self._run(coming, manifest_id, sha256, size)
        except PyrsiaError as error:
            coming.error = error
            raise
        finally:
            del self._running[manifest_id]
            coming.over.set()
        return coming.path

    async def _run(self, coming: Coming, manifest_id: bytes, sha256: bytes, size: int) -> Path:
        manifest = await self.partials.manifest(manifest_id)
        if manifest is None:
            manifest = await self._manifest(coming, manifest_id, sha256)
        if (manifest.sha256, manifest.size) != (sha256, size):
            raise OtherBytes("the manifest that the log names speaks of other bytes than the log")
        partial = await self.partials.open(manifest)
        try:
            coming.opened(partial, manifest.encode())
            if self.before is not None:
                await self.before(partial, list(coming.sources))
            lacking, began_s = manifest.count - partial.held.bit_count(), trio.current_time()
            await self._chunks(coming, partial, sha256)
            self.measured(lacking * CHUNK_BYTES.value, trio.current_time() - began_s)
            coming.path = await partial.finish(sha256)
        except BaseException:
            partial.rest()
            raise
        with trio.CancelScope(shield=True):  # without its manifest no peer could be given it
            await self._describe(manifest)
        return coming.path

    async def _manifest(self, coming: Coming, manifest_id: bytes, sha256: bytes) -> Manifest:
        """From those who are known, then from those who are found."""
        known, reason = list(coming.sources), "nobody is known to have it"
        if known:
            try:
                return await self._plane.manifest(manifest_id, known)
            except Unavailable as error:
                reason = str(error)
        await self._look(coming, sha256)
        others = [node for node in coming.sources if node not in known]
        if not others:
            raise Unavailable(f"it was looked for: {reason}")
        try:
            return await self._plane.manifest(manifest_id, others)
        except Unavailable as error:
            raise Unavailable(f"it was looked for: {reason}; {error}") from None

    async def _look(self, coming: Coming, sha256: bytes) -> Sequence[NodeId]:
        """Ask who else may have it; all that are known then."""
        if coming.find is not None:
            with suppress(PyrsiaError):  # who cannot be asked knows of nobody
                coming.join(await coming.find(sha256), None)
        return coming.sources

    async def _chunks(self, coming: Coming, partial: Partial, sha256: bytes) -> None:
        error: Exception | None = None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial.keep_flushing)
            try:
                await self._plane.fetch(
                    partial.manifest,
                    list(coming.sources),
                    partial.write_at,
                    held=partial.held,
                    places=coming.places,
                    find=lambda: self._look(coming, sha256),
                )
            except Exception as caught:  # noqa: BLE001 - raised below, as itself and not in a group
                error = caught
            nursery.cancel_scope.cancel()
        if type(error) is Unavailable and not partial.lost:
            here = f"{partial.held.bit_count()} of {partial.manifest.count} chunks came"
            raise Unavailable(f"{here} and are kept for the next try: {error}") from None
        if error is not None:
            raise error


def _again(error: PyrsiaError) -> PyrsiaError:
    """The same for one more who is told."""
    if isinstance(error, Refusal):
        return error.again()
    return (OtherBytes if isinstance(error, OtherBytes) else Unavailable)(str(error))
