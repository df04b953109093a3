"""Upstream's files: from here, or streamed to all who want one while it comes in once.

Decides what is given and when a download ends: nobody who leaves ends it for the others; when the last has left, it
goes on for a moment, since a client that was cut off comes back, and then ends. How it comes in is `downloading`'s.
"""

from collections.abc import Hashable
from pathlib import Path

import trio

from pyrsia.errors import Refusal, Unavailable
from pyrsia.node.upstream import folders
from pyrsia.node.upstream.asking import NoAnswer
from pyrsia.node.upstream.digests import Expected, digest_of
from pyrsia.node.upstream.downloading import Incoming, bring
from pyrsia.node.upstream.paths import is_folder
from pyrsia.node.upstream.wanted import Shop, Wanted, no_answer
from pyrsia.serve.desks.views import Arriving
from pyrsia.store.growing import Whole
from pyrsia.store.proxied import Copy, is_whole
from pyrsia.units import UPSTREAM_PATIENCE_S, Limit

LINGER_S = Limit(10, "a client that lost its connection asks again within seconds")
MAX_DOWNLOADS = Limit(512, "files under way or waiting for their turn: the layers of 50 images")


class Files:
    """Files of one node's upstream."""

    def __init__(self, shop: Shop, nursery: trio.Nursery) -> None:
        self._shop = shop
        self._nursery = nursery
        self._runs: dict[Hashable, Incoming] = {}

    def __len__(self) -> int:
        return len(self._runs)

    def kept(self, package: str, path: str) -> Path | None:
        copy = self._shop.copies.find(package, path)
        if copy is None or self._shop.against(package, path, copy.sha256) is not None:
            return None
        file = self._shop.copies.path(copy.sha256)
        return file if is_whole(file, copy.size) else None

    async def get(self, wanted: Wanted, expected: Expected) -> Arriving | None:
        """
        Raises:
            Refusal: `index-unreachable` with nothing kept, `digest-mismatch`, `too-large`, `busy`, or
                the log's or the policy's word about these bytes.
        """
        for url in filter(is_folder, wanted.urls):
            found = await _from_folder(url, expected)
            if found is not None:
                return found
        shop = self._shop
        kept = await self._kept(wanted, expected)
        if kept is not None and (refusal := self._against(wanted, kept)) is not None:
            if not wanted.ecosystem.moves(wanted.path):
                raise refusal
            kept = None
        if kept is not None and self._good(wanted, kept):
            shop.counters.copied += 1
            return _Kept(shop, kept)
        if kept is None and shop.is_absent(wanted):
            return None
        if not wanted.chain:  # it came round: nobody is asked again
            return _Kept(shop, kept) if kept is not None else None
        patience_s = UPSTREAM_PATIENCE_S.value if kept is not None else float("inf")
        with trio.move_on_after(patience_s):
            return await self._coming(wanted, expected, kept)
        shop.counters.stale += 1
        return _Kept(shop, kept) if kept is not None else None

    def _against(self, wanted: Wanted, copy: Copy) -> Refusal | None:
        return self._shop.against(wanted.package, wanted.path, copy.sha256)

    def _good(self, wanted: Wanted, copy: Copy) -> bool:
        moves = wanted.ecosystem.moves(wanted.path)
        return not moves or self._shop.freshness.holds(copy.checked_ms, self._shop.now_ms())

    async def _kept(self, wanted: Wanted, expected: Expected) -> Copy | None:
        """What is here of it and is what was expected, also when it came under another name."""
        copies = self._shop.copies
        copy = copies.find(wanted.package, wanted.path)
        if copy is not None and await self._is(copy, expected):
            return copy
        size = copies.size(expected.sha256) if expected.sha256 and not expected.sha512 else None
        if size is None or not self._may_have(wanted, expected.sha256):
            return None
        if not is_whole(copies.path(expected.sha256), size):
            await copies.lost(expected.sha256, size)
            return None
        found = Copy(wanted.package, wanted.path, "", expected.sha256, size, checked_ms=self._shop.now_ms())
        await copies.note(found)
        return found

    def _may_have(self, wanted: Wanted, sha256: str) -> bool:
        """Whether bytes that came for others are this package's too: of its ecosystem, and of one that is given now."""
        kind = wanted.package.partition("/")[0]
        others = self._shop.copies.packages(sha256)
        return any(one.partition("/")[0] == kind and self._shop.gives(one) for one in others)

    async def _is(self, copy: Copy, expected: Expected) -> bool:
        path = self._shop.copies.path(copy.sha256)
        if expected.sha256 and copy.sha256 != expected.sha256:
            return False
        if not is_whole(path, copy.size):  # (a thread costs fifty times as much)
            await self._shop.copies.lost(copy.sha256, copy.size)
            return False
        if not expected.sha512:
            return True
        return await trio.to_thread.run_sync(digest_of, path, "sha512") == expected.sha512

    # -- on its way --

    async def _coming(self, wanted: Wanted, expected: Expected, kept: Copy | None) -> Arriving | None:
        key = wanted.package, wanted.path, expected, wanted.chain
        run = self._runs.get(key)
        if run is None or run.over:
            if len(self._runs) >= MAX_DOWNLOADS.value:
                raise _too_many()
            run = self._runs[key] = Incoming(wanted, expected, kept)
            self._nursery.start_soon(self._go, key, run)
        with run.waiting():
            await run.begun.wait()
            if run.error is not None:
                raise run.error.again() if isinstance(run.error, Refusal) else run.error
            if run.growing is not None:
                return run.growing.reader()
            return None if run.copy is None else _Kept(self._shop, run.copy)

    async def _go(self, key: Hashable, run: Incoming) -> None:
        """One download, from the question until its last reader has left."""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._brought, run)
                await self._until_left(run)
                nursery.cancel_scope.cancel()
        finally:
            if self._runs.get(key) is run:
                del self._runs[key]
            run.fail(Unavailable("nobody waited for it any more"))
            if run.held:
                self._shop.copies.let_go(run.held)

    async def _until_left(self, run: Incoming) -> None:
        while True:
            await run.idle()
            if run.over:
                return
            with trio.move_on_after(LINGER_S.value):
                await run.busy()
                continue
            return

    async def _brought(self, run: Incoming) -> None:
        shop = self._shop
        try:
            await bring(shop, run)
        except NoAnswer as error:
            shop.counters.failed += 1
            if run.kept is not None and run.growing is None:
                shop.counters.stale += 1
                run.give(run.kept)
            else:
                run.fail(no_answer(run.wanted, error))
        except (Refusal, Unavailable) as error:
            run.fail(error)
        except OSError as error:
            run.fail(Unavailable(f"a file of upstream's cannot be written: {error.strerror}"))
        except Exception as error:  # noqa: BLE001 - it is told to who asked; the node goes on
            shop.told(f"a download of upstream's ended badly: {error!r}")
            run.fail(Unavailable("a fault of this node's"))


class _Kept:
    """A file that is here whole, held while somebody reads it (`serve.desks.views.Arriving`)."""

    def __init__(self, shop: Shop, copy: Copy) -> None:
        self._copies = shop.copies
        self._open = True
        self.path = shop.copies.path(copy.sha256)
        self.size = copy.size
        self.sha256 = copy.sha256
        self._copies.hold(copy.sha256)

    async def ready(self, offset: int) -> int:
        return self.size

    def close(self) -> None:
        if self._open:
            self._open = False
            self._copies.let_go(self.sha256)


async def _from_folder(url: str, expected: Expected) -> Arriving | None:
    path = folders.path_of(url)
    if not await trio.Path(path).is_file():
        return None
    for kind, wanted in (("sha256", expected.sha256), ("sha512", expected.sha512)):
        if wanted and await trio.to_thread.run_sync(digest_of, path, kind) != wanted:
            raise expected.mismatch("")
    return Whole(path, (await trio.Path(path).stat()).st_size, expected.sha256)


def _too_many() -> Refusal:
    return Refusal(
        "busy",
        what=f"{MAX_DOWNLOADS.value} files of upstream's are on their way already",
        who="the clients of this node",
        do="try again in a moment",
        retry_s=5,
    )
