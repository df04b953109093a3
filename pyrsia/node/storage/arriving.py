"""Downloads from peers that are read while they run: one a file, however many clients read it.

Decides how long a download goes on: while somebody reads it and it moves; and a little longer when everybody left,
because a client that was interrupted comes back with a Range, and half of a large file is dear. Left out: which peers
have it and what policy says (`catalog`), the bytes (`shelf`).
"""

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import trio

from pyrsia.errors import PyrsiaError, StorageFull, Unavailable
from pyrsia.node.storage.shelf import BlobRef, Shelf
from pyrsia.serve.desks.views import Arriving
from pyrsia.store.growing import Growing, Whole
from pyrsia.units import MAX_FETCHES, MAX_HTTP_FETCH_WAIT_S, Limit, NodeId

ABANDONED_S: Final = Limit(
    30, "a client that was cut off tries again at once, or after a few seconds of back-off"
)

_log = logging.getLogger("pyrsia.data")


@dataclass(slots=True)
class _Download:
    growing: Growing
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)
    left_s: float = math.inf  # when the last reader left


class Arrivals:
    """What is on its way to one node's shelf. `run` must run while anything is brought."""

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf
        self._running: dict[bytes, _Download] = {}
        self._nursery: trio.Nursery | None = None
        self._slots = trio.CapacityLimiter(MAX_FETCHES.value)  # who waits for one holds no disk yet
        self.brought = 0

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Bring what is asked for, until cancelled."""
        try:
            async with trio.open_nursery() as self._nursery:
                task_status.started()
                await trio.sleep_forever()
        finally:
            self._nursery = None

    def bring(self, blob: BlobRef, sources: Sequence[NodeId]) -> Arriving:
        """The blob, here or on its way from `sources`. Close it.

        Raises:
            Unavailable: the node stops.
        """
        here = self._shelf.local(blob.sha256)
        if here is not None:
            return Whole(here, blob.size, blob.sha256.hex())
        download = self._running.get(blob.sha256)
        if download is None:
            if self._nursery is None:
                raise Unavailable("this node fetches nothing now")
            download = self._running[blob.sha256] = self._begin(blob)
            self._nursery.start_soon(self._fetch, download, blob, sources)
        return download.growing.reader()

    def runs(self, sha256: bytes) -> bool:
        """Whether it is on its way, also when nobody waits for it any more."""
        return sha256 in self._running

    def _begin(self, blob: BlobRef) -> _Download:
        growing = Growing(blob.size, sha256=blob.sha256.hex(), changed=lambda: _tend(download))
        download = _Download(growing)
        return download

    async def _fetch(self, download: _Download, blob: BlobRef, sources: Sequence[NodeId]) -> None:
        growing, told = download.growing, f"{blob.sha256.hex()[:16]} did not come"
        try:
            with download.scope:
                _tend(download)
                async with self._slots:
                    path = await self._shelf.fetch(blob.manifest, blob.sha256, blob.size, sources, growing)
                growing.finish(path)
                self.brought += 1
                return
            growing.fail(f"{told}: it stood still for {MAX_HTTP_FETCH_WAIT_S.value} seconds")
        except StorageFull as full:  # no source is to blame
            growing.fail(full)
        except PyrsiaError as error:
            growing.fail(f"{told}: {error}")
        except Exception:  # noqa: BLE001 - the border: one download's fault ends only that download
            _log.exception("a download ended in a fault of ours")
            growing.fail(f"{told}: a fault of this node")
        finally:
            del self._running[blob.sha256]
            growing.fail(f"{told}: this node stops")


def _tend(download: _Download) -> None:
    """Move the moment at which a download ends that nobody reads, or that does not move, or that failed its readers."""
    growing, now_s = download.growing, trio.current_time()
    if growing.over:
        download.scope.cancel()
        return
    if growing.readers:
        download.left_s = math.inf
    elif download.left_s == math.inf:
        download.left_s = now_s
    still_s = growing.moved_s + MAX_HTTP_FETCH_WAIT_S.value
    download.scope.deadline = min(still_s, download.left_s + ABANDONED_S.value)
