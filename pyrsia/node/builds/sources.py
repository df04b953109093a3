"""Sources that come along with a request: taken from the operator, brought from the author's node.

A source is a blob like any other: named by its SHA-256 and manifest, given to peers once the log names it. What is in
the archive nobody looks at here.

Source: docs/builds.md, "A source of one's own".
"""

import hashlib
import os
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import trio

from pyrsia.builds.model import SourceWithheld
from pyrsia.errors import Malformed, PeerFault, Refusal, Unavailable
from pyrsia.ledger.bodies.builds import FILE
from pyrsia.node.storage.shelf import BlobRef, Shelf
from pyrsia.serve.desks.orders import GivenSource
from pyrsia.units import MAX_HTTP_FETCH_WAIT_S, MAX_SOURCE_BYTES, Limit, NodeId
from pyrsia.wire.text import unb32

ENDINGS: Final = (".tar", ".tar.gz", ".zip")
PIN: Final = "source"  # given along here; see `build_keep`


class Sources:
    """The door for sources of one node, and the way to those of others.

    Args:
        folder: where one is written while it comes in.
        near: nodes that are linked now; who builds the same may have it too.
    """

    def __init__(self, shelf: Shelf, folder: Path, near: Callable[[], list[NodeId]]) -> None:
        self._shelf = shelf
        self._folder = folder
        self._near = near

    async def take(self, file: str, chunks: AsyncIterator[bytes]) -> GivenSource:
        """Keep what comes in, at most MAX_SOURCE_BYTES.

        Raises:
            Refusal: `bad-request` for its name, `too-large`.
            Unavailable: the disk said no.
        """
        _check_name(file)
        kept = await self.keep(chunks, MAX_SOURCE_BYTES, "a source")
        return GivenSource(file, kept.manifest.hex(), kept.sha256.hex(), kept.size)

    async def keep(self, chunks: AsyncIterator[bytes], most: Limit, what: str) -> BlobRef:
        """Keep what comes in, at most so many bytes; a day, unless the log comes to name it.

        Args:
            what: it is, for people.

        Raises:
            Refusal: `too-large`.
            Unavailable: the disk said no.
        """
        try:
            path, digest = await self._written(chunks, most, what)
        except OSError as error:
            raise Unavailable(f"{what} cannot be kept: {error.strerror}") from error
        try:
            return await self._shelf.adopt(path, digest, pin=PIN)
        finally:
            await trio.to_thread.run_sync(_gone, path)

    async def _written(self, chunks: AsyncIterator[bytes], most: Limit, what: str) -> tuple[Path, bytes]:
        self._folder.mkdir(mode=0o755, parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix="source-", dir=self._folder)
        digest, size = hashlib.sha256(), 0
        try:
            with os.fdopen(handle, "wb") as out:
                async for chunk in chunks:
                    size += len(chunk)
                    if size > most.value:
                        raise _too_large(most, what)
                    digest.update(chunk)
                    await trio.to_thread.run_sync(out.write, chunk)
        except BaseException:
            _gone(Path(name))
            raise
        return Path(name), digest.digest()

    def local(self, sha256: str) -> Path | None:
        return self._shelf.local(bytes.fromhex(sha256))

    async def bring(self, request: Mapping[str, Any]) -> Path:
        """The source of a request's body, from here, its author's node, or a builder that has it already.

        Raises:
            SourceWithheld: nobody gave it in time, or the request names none.
        """
        source = request["source"]
        sha256 = bytes.fromhex(source["sha256"])
        local = self._shelf.local(sha256)
        if local is not None:
            return local
        if "manifest" not in source:
            raise SourceWithheld("the request does not say how its source travels")
        author = NodeId(unb32(request["requester"]))
        sources = [author, *(node for node in self._near() if node != author)]
        try:
            with trio.fail_after(MAX_HTTP_FETCH_WAIT_S.value):
                return await self._shelf.fetch(
                    bytes.fromhex(source["manifest"]), sha256, source["size"], sources
                )
        except trio.TooSlowError:
            raise SourceWithheld(f"nobody gave the source {source['sha256'][:16]} in time") from None
        except (Unavailable, PeerFault, Malformed) as error:
            raise SourceWithheld(f"nobody gave the source {source['sha256'][:16]}: {error}") from None


def _check_name(file: str) -> None:
    """
    Raises:
        Refusal: `bad-request`: the log would not take it, or it is none of the archives that are read.
    """
    try:
        FILE(file)
        good = file.endswith(ENDINGS)
    except Malformed:
        good = False
    if not good:
        raise Refusal(
            "bad-request",
            what=f"{file[:80]!r} is no name of a source archive",
            who="the client's request",
            do=f"send ?file=NAME that ends in {', '.join(ENDINGS)}",
        )


def _too_large(most: Limit, what: str) -> Refusal:
    return Refusal(
        "too-large",
        what=f"{what} has at most {most.value} bytes",
        who="the client's request",
        do=f"leave out what does not belong to {what}",
    )


def _gone(path: Path) -> None:
    with suppress(FileNotFoundError):
        path.unlink()
