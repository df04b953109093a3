"""Upstream's pages, read. A page that this node has read is not read again while upstream's bytes are the same."""

import hashlib
import logging
from typing import Final

import trio

from pyrsia.builds.pip import simple
from pyrsia.builds.pip.simple import Project
from pyrsia.errors import Malformed, Refusal, Unavailable
from pyrsia.serve.desks.supply import Document, Upstream
from pyrsia.serve.pypi.names import PURL
from pyrsia.units import Limit
from pyrsia.wire.text import safe

PAGE_BYTES = Limit(32 << 20, "JSON of the largest project of PyPI has 12 MB")
PATIENCE_S = Limit(5, "a page that could do without upstream; pip waits for 15 seconds, and asks for many")
KEPT_PAGES = Limit(64, "of 400 bytes a file; a project of 5,000 files takes 2 MB")
_INLINE_BYTES: Final = 100_000  # a millisecond to read; more goes to a thread

_log = logging.getLogger("pyrsia.serve")


class Theirs:
    """What upstream has, project by project."""

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream
        self._read: dict[str, tuple[bytes, Project]] = {}  # name -> (digest of the page, what it says)

    def takes(self, name: str) -> bool:
        return self._upstream.takes(PURL + name)

    async def page(self, name: str) -> Project | None:
        """Upstream's page; None if it has none.

        Raises:
            Refusal: as `Upstream.document`; `index-unreachable` for a page that is none.
        """
        found = await self._upstream.document(
            PURL + name, f"{name}/", accept=simple.ACCEPT, most=PAGE_BYTES.value
        )
        if found is None:
            return None
        digest = await _digest(found)
        known = self._read.pop(name, None)
        project = known[1] if known is not None and known[0] == digest else await _parsed(found, name)
        while len(self._read) >= KEPT_PAGES.value:
            del self._read[next(iter(self._read))]
        self._read[name] = (digest, project)
        return project

    async def quietly(self, name: str) -> Project | None:
        """The same for a name that has files without upstream: one that does not answer soon adds nothing."""
        if not self.takes(name):
            return None
        try:
            with trio.move_on_after(PATIENCE_S.value):
                return await self.page(name)
            why = f"upstream did not answer within {PATIENCE_S.value} s"
        except Refusal as refusal:
            why = safe(refusal.what)
        except Unavailable as error:  # the disk of upstream's copies, which are nobody's need
            why = safe(str(error))
        _log.info("nothing is added to %s: %s", name, why)
        return None


async def _digest(found: Document) -> bytes:
    """Of a page and where it came from."""

    def count() -> bytes:
        digest = hashlib.sha256(found.url.encode() + b"\0")
        digest.update(found.data)
        return digest.digest()

    # A megabyte takes as long as a request; the largest page would hold everybody up for a hundred of them.
    return count() if len(found.data) <= _INLINE_BYTES else await trio.to_thread.run_sync(count)


async def _parsed(found: Document, name: str) -> Project:
    def read() -> Project:
        return simple.parse(found.data, found.kind, found.url, name, found.url)

    try:
        if len(found.data) <= _INLINE_BYTES:
            return read()
        return await trio.to_thread.run_sync(read)
    except Malformed as error:
        raise Refusal(
            "index-unreachable",
            what=f"upstream's page of {name} cannot be read: {error}",
            who="the index that this node asks",
            do="try again later, or ask the network to build it: pyrsia build request " + name,
        ) from None
