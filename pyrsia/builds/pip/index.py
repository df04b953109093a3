"""Our client of a package index: project pages and files, by URL and hash, over httpx on trio.

Decides: which index is asked, in which order, what of its answers is kept, and that only promised bytes
are given out. Leaves out: where a fetch may go (`addresses`), how it goes (`web`, `transport`), what a
page says (`simple`) and which file is wanted (`resolve`, `plugin`).

Source: docs/builds-pip.md, "Where the source comes from"; PEPs 503, 658, 691.
"""

import time
from collections import OrderedDict
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

import httpx
import trio

from pyrsia.builds.outbound.addresses import Origin, bare, origin_of, shown
from pyrsia.builds.outbound.settings import Outbound
from pyrsia.builds.outbound.web import Web
from pyrsia.builds.pip import folder, simple
from pyrsia.builds.pip.cache import Cache
from pyrsia.builds.pip.config import PipConfig
from pyrsia.builds.pip.refusals import BLAME, mismatch, too_large, unreachable
from pyrsia.builds.pip.simple import IndexFile, Project
from pyrsia.errors import Malformed, Refusal, Unavailable
from pyrsia.units import MAX_INDEX_PAGE_BYTES, MAX_METADATA_BYTES, MAX_SOURCE_BYTES, Limit
from pyrsia.wire.purl import pypi_name

# PyPI's pages lead to its files under another name: who configured the one configured the other, wherever it leads.
_PYPI: Final = ("pypi.org", 443)
_PYPI_FILES: Final = ("files.pythonhosted.org", 443)
_PAGES: Final = Limit(128, "pages kept in memory: twice the packages and tools of one large closure")
_PAGE_MS: Final = Limit(
    600_000,
    "nodes that look minutes apart agree; a file that was added or yanked is seen while its request is built",
)


@dataclass(frozen=True, slots=True)
class _Index:
    """One configured index: its root, and the credentials written into its URL."""

    root: str
    auth: httpx.BasicAuth | None

    @property
    def folder(self) -> Path | None:
        return folder.path_of(self.root) if urlsplit(self.root).scheme == "file" else None


class IndexClient:
    """Asks the configured indexes in order. Use `async with`; one instance serves one task tree.

    Args:
        config: what pip's configuration says.
        cache: folder for fetched files, each named by its SHA-256; made when missing.
        clock_ms: this machine's time, in ms since 1970.
    """

    def __init__(
        self,
        config: PipConfig,
        cache: Path,
        clock_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self._clock_ms = clock_ms
        self._cache = Cache(cache)
        self._indexes = tuple(_index(url) for url in config.indexes)
        self._pages: OrderedDict[str, tuple[int, Project]] = OrderedDict()  # with the time of asking
        self._folders = tuple(i.folder.resolve() for i in self._indexes if i.folder)
        auth = {origin_of(i.root): i.auth for i in self._indexes if i.folder is None and i.auth}
        hosts = open_hosts(i.root for i in self._indexes if i.folder is None)
        self._web = Web(outbound(config, auth, hosts))

    async def __aenter__(self) -> "IndexClient":
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        await self._web.aclose()

    @property
    def indexes(self) -> tuple[str, ...]:
        """The indexes as they may be printed."""
        return tuple(shown(index.root) for index in self._indexes)

    async def project(self, name: str, since_ms: int | None = 0) -> Project:
        """The page of project `name` from the first index that has it.

        Args:
            since_ms: a page that was read before that time (ms since 1970) is read again: one that is
                younger than a cut-off says all that there is to know before it, but for what was deleted or
                yanked since: one that was read _PAGE_MS ago is read again whatever is asked. None: read it anew.

        Raises:
            Refusal: `package-unknown` when no index has it, `index-unreachable` when one did not answer.
        """
        name = pypi_name(name)
        asked_ms, known = self._pages.get(name, (0, None))
        now_ms = self._clock_ms()
        if known is not None and since_ms is not None and asked_ms >= max(since_ms, now_ms - _PAGE_MS.value):
            return known
        asked_ms = now_ms
        for index in self._indexes:
            found = await (_folder_page(index, name) if index.folder else self._page(index, name))
            if found is not None:
                self._pages[name] = asked_ms, found
                while len(self._pages) > _PAGES.value:
                    self._pages.popitem(last=False)
                return found
        raise Refusal(
            "package-unknown",
            what=f"no configured index has a package named {name}",
            who=", ".join(self.indexes),
            do="check the spelling, or set index-url in your pip configuration",
        )

    def holds(self, file: IndexFile) -> bool:
        """Whether `file` was fetched before."""
        return self._cache.get(file.sha256) is not None

    async def fetch(self, file: IndexFile) -> Path:
        """The bytes of `file`, checked against its SHA-256; a file fetched before is not fetched again.

        Raises:
            Refusal: `digest-mismatch` with both digests, `too-large`, `index-unreachable`.
            Unavailable: the cache cannot be written.
        """
        if not file.sha256:
            raise mismatch(file, "no SHA-256 from the index", "")
        try:
            return self._cache.get(file.sha256) or await self._cache.keep(file, self._open_file(file))
        except OSError as error:
            raise Unavailable(f"a fetched file cannot be kept: {error}") from error

    async def metadata(self, file: IndexFile) -> bytes | None:
        """PEP 658: a wheel's METADATA without the wheel; None where the index offers no digest for it."""
        if not file.metadata_sha256:
            return None
        companion = replace(
            file, url=file.url + ".metadata", sha256=file.metadata_sha256, size=-1, metadata_sha256=None
        )
        path = await self.fetch(companion)
        if path.stat().st_size > MAX_METADATA_BYTES.value:
            raise too_large(companion.url, MAX_METADATA_BYTES.value)
        return path.read_bytes()

    @asynccontextmanager
    async def _open_file(self, file: IndexFile) -> AsyncIterator[AsyncGenerator[bytes, None]]:
        if urlsplit(file.url).scheme == "file":
            yield folder.read_file(folder.below(file.url, self._folders))
            return
        limit = min(file.size, MAX_SOURCE_BYTES.value) if file.size >= 0 else MAX_SOURCE_BYTES.value
        async with self._web.get(file.url, accept="*/*", limit=limit) as response:
            yield _raw(response)

    async def _page(self, index: _Index, name: str) -> Project | None:
        url = f"{index.root}/{name}/"
        async with self._web.get(
            url, accept=simple.ACCEPT, limit=MAX_INDEX_PAGE_BYTES.value, missing_ok=True
        ) as response:
            if response.status_code in (404, 410):
                return None
            body = bytearray()
            async for chunk in response.aiter_bytes():
                body += chunk
                if len(body) > MAX_INDEX_PAGE_BYTES.value:
                    raise too_large(url, MAX_INDEX_PAGE_BYTES.value)
            kind = response.headers.get("content-type", "")
            try:
                return simple.parse(bytes(body), kind, str(response.url), name, shown(index.root))
            except Malformed as error:
                raise unreachable(url, str(error)) from error


def open_hosts(indexes: Iterable[str]) -> frozenset[tuple[str, int]]:
    """(host, port) of configured indexes, and where their files are known to lie."""
    hosts = frozenset(origin_of(one)[1:] for one in indexes)
    return hosts | {_PYPI_FILES} if _PYPI in hosts else hosts


def outbound(
    config: PipConfig, auth: Mapping[Origin, httpx.Auth], hosts: frozenset[tuple[str, int]]
) -> Outbound:
    """How fetches go under pip's configuration."""
    return Outbound(
        cert=config.cert,
        client_cert=config.client_cert,
        proxy=config.proxy,
        trusted_hosts=config.trusted_hosts,
        timeout_s=config.timeout_s,
        auth=auth,
        open_hosts=hosts,
        blame=BLAME,
    )


async def _folder_page(index: _Index, name: str) -> Project | None:
    root = index.folder
    assert root is not None  # noqa: S101 - the caller asked
    return await trio.to_thread.run_sync(folder.read_page, root, name, index.root)


def _index(url: str) -> _Index:
    parts = urlsplit(url)
    if parts.scheme == "file":
        return _Index(url, None)
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    return _Index(bare(url), httpx.BasicAuth(user, password) if user or password else None)


async def _raw(response: httpx.Response) -> AsyncGenerator[bytes, None]:
    async for chunk in response.aiter_raw():
        yield chunk
