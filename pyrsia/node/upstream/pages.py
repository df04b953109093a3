"""Upstream's pages and lists: kept, asked for again when they are old, given as they were when upstream is silent.

Source: RFC 9110 section 13 (validators), RFC 5861 section 4 (stale on error); docs/upstream.md, "How long it is good".
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import trio
from msgspec.structs import replace

from pyrsia.builds.outbound.addresses import bare
from pyrsia.errors import Refusal, Unavailable
from pyrsia.node.upstream import folders
from pyrsia.node.upstream.asking import ABSENT, NoAnswer, Page, Question
from pyrsia.node.upstream.paths import is_folder
from pyrsia.node.upstream.turns import Turns
from pyrsia.node.upstream.wanted import Shop, Wanted, no_answer
from pyrsia.serve.desks.supply import Document
from pyrsia.store.proxied import Copy
from pyrsia.units import MAX_INDEX_PAGE_BYTES, UPSTREAM_PATIENCE_S, Limit

HOT_BYTES = Limit(16 << 20, "pages in memory: those of a large build, which asks for each several times")
HOT_PAGE_BYTES = Limit(1 << 20, "one of them; larger ones are few, and read in 5 ms")

_OCTETS: Final = "application/octet-stream"


class Pages:
    """Documents of one node's upstream."""

    def __init__(self, shop: Shop, nursery: trio.Nursery) -> None:
        self._shop = shop
        self._turns: Turns[Document | None] = Turns(nursery)
        self._hot = _Hot()

    async def get(self, wanted: Wanted, *, accept: str, most: int) -> Document | None:
        """
        Raises:
            Refusal: `index-unreachable` with nothing kept, `busy`.
        """
        most = min(most, MAX_INDEX_PAGE_BYTES.value)
        shop = self._shop
        kept = await self._kept(wanted, accept, most)
        if kept is not None and self._good(wanted, kept.copy):
            shop.counters.copied += 1
            return kept.document(stale=False)
        if kept is None and shop.is_absent(wanted):
            return None
        if not wanted.chain:  # it came round: nobody is asked again
            return kept.document(stale=True) if kept is not None else None
        try:
            return await self._turns.join(
                (wanted.package, wanted.path, accept, most, wanted.chain),
                lambda: self._ask(wanted, accept, most, kept.copy if kept is not None else None),
                patience_s=UPSTREAM_PATIENCE_S.value if kept is not None else float("inf"),
                lasting=kept is not None,
            )
        except (Refusal, Unavailable, trio.TooSlowError):
            if kept is None:
                raise
            shop.counters.stale += 1
            return kept.document(stale=True)

    def _good(self, wanted: Wanted, copy: Copy) -> bool:
        moves = wanted.ecosystem.moves(wanted.path)
        return not moves or self._shop.freshness.holds(copy.checked_ms, self._shop.now_ms())

    async def _kept(self, wanted: Wanted, accept: str, most: int) -> "_Kept | None":
        copy = self._shop.copies.find(wanted.package, wanted.path, accept)
        if copy is None or copy.size > most:
            return None
        data = self._hot.get(copy.sha256)
        if data is None:
            path = self._shop.copies.path(copy.sha256)
            data = await trio.to_thread.run_sync(_read_whole, path, copy.sha256)
            if data is None:  # somebody tidied the folder, or the disk rots
                await self._shop.copies.forget(wanted.package, wanted.path, accept)
                return None
            self._hot.add(copy.sha256, data)
        return _Kept(copy, data)

    # -- asking: one task for all who want the same --

    async def _ask(self, wanted: Wanted, accept: str, most: int, kept: Copy | None) -> Document | None:
        for url in wanted.urls:
            found = await self._from(wanted, url, accept, most, kept)
            if found is not None:
                return found
        self._shop.had_nothing(wanted)
        if kept is not None:
            await self._shop.copies.forget(wanted.package, wanted.path, accept)
        return None

    async def _from(
        self, wanted: Wanted, url: str, accept: str, most: int, kept: Copy | None
    ) -> Document | None:
        if is_folder(url):
            return await trio.to_thread.run_sync(_from_folder, url, most)
        known = kept if kept is not None and kept.asked == bare(url) else None
        question = Question(url, wanted.chain, _head(accept, known))
        self._shop.counters.asked += 1
        try:
            page = await wanted.asker.page(question, most)
            _check(wanted, page, known)
        except NoAnswer as error:
            self._shop.counters.failed += 1
            raise no_answer(wanted, error) from None
        self._shop.counters.bytes += len(page.data)
        if page.status in ABSENT:
            return None
        if page.status == 304 and known is not None:
            return await self._renewed(known)
        return await self._taken(wanted, bare(url), accept, page)

    async def _renewed(self, known: Copy) -> Document | None:
        copies = self._shop.copies
        data = await trio.to_thread.run_sync(_read_whole, copies.path(known.sha256), known.sha256)
        if data is None:
            await copies.forget(known.package, known.path, known.variant)
            return None
        await copies.note(replace(known, checked_ms=self._shop.now_ms()))
        return _Kept(known, data).document(stale=False)

    async def _taken(self, wanted: Wanted, asked: str, accept: str, page: Page) -> Document:
        """Keep it; where there is no room, it is given all the same."""
        copy = Copy(
            wanted.package,
            wanted.path,
            accept,
            hashlib.sha256(page.data).hexdigest(),
            len(page.data),
            kind=page.kind or _OCTETS,
            asked=asked,
            url=page.url,
            etag=page.etag,
            modified=page.modified,
            checked_ms=self._shop.now_ms(),
        )
        try:
            room = await self._shop.copies.room(len(page.data))
            try:
                await trio.to_thread.run_sync(room.path.write_bytes, page.data)
                await room.keep(copy)
            finally:
                room.drop()
        except (Refusal, Unavailable, OSError) as error:
            self._shop.told(f"a page of upstream's is not kept: {error}")
        self._shop.absent.forget(wanted.package, wanted.path)
        return _Kept(copy, page.data).document(stale=False)


class _Hot:
    """Pages that were asked for lately, by digest: a resolver asks for the same ones again and again."""

    def __init__(self) -> None:
        self._data: dict[str, bytes] = {}  # the one asked for last stands last
        self._size = 0

    def get(self, sha256: str) -> bytes | None:
        data = self._data.pop(sha256, None)
        if data is not None:
            self._data[sha256] = data
        return data

    def add(self, sha256: str, data: bytes) -> None:
        if len(data) > HOT_PAGE_BYTES.value or sha256 in self._data:
            return
        self._data[sha256] = data
        self._size += len(data)
        while self._size > HOT_BYTES.value:
            self._size -= len(self._data.pop(next(iter(self._data))))


@dataclass(frozen=True, slots=True)
class _Kept:
    copy: Copy
    data: bytes

    def document(self, *, stale: bool) -> Document:
        return Document(self.data, self.copy.kind, stale, self.copy.url)


def _head(accept: str, known: Copy | None) -> dict[str, str]:
    told = {"accept": accept or "*/*", "accept-encoding": "gzip"}
    if known is not None and known.etag:
        told["if-none-match"] = known.etag
    elif known is not None and known.modified:
        told["if-modified-since"] = known.modified
    return told


def _check(wanted: Wanted, page: Page, known: Copy | None) -> None:
    """
    Raises:
        NoAnswer: it is none to what was asked.
    """
    if page.status == 304 and known is None:
        raise NoAnswer("the answer was that nothing changed, and nothing is known")
    digest = wanted.ecosystem.digest(wanted.path)
    if page.status == 200 and digest and hashlib.sha256(page.data).hexdigest() != digest:
        raise NoAnswer(f"what came for sha256:{digest[:16]} has another digest")


def _read_whole(path: Path, sha256: str) -> bytes | None:
    """The bytes if they are what they were."""
    try:
        data = path.read_bytes()
    except OSError:
        return None
    return data if hashlib.sha256(data).hexdigest() == sha256 else None


def _from_folder(url: str, most: int) -> Document | None:
    if url.endswith("/"):
        page = folders.pip_page(url.rstrip("/"))
        return None if page is None else Document(page[0], page[1], url=url)
    data = folders.read(url, most)
    return None if data is None else Document(data, _OCTETS, url=url)
