"""Our client of a package index: project pages and files, by URL and hash, over httpx on trio.

Decides: which address a fetch may reach, who gets credentials, how long and how large an answer may
be. Leaves out: what a page says (`simple`) and which file is wanted (`resolve`, `plugin`).

A page of a stranger names the URLs that we fetch, so every hop is checked anew: addresses of loopback,
private networks and link-local are reached only where the user configured that very host and port as
an index; credentials go to the origin they were written for and nowhere else; a redirect counts as a
new fetch. A name is resolved once and the checked address is the one connected to.

Source: DESIGN 8 "Whose inputs"; client-protocols.md section 5; PEPs 503, 658, 691.
"""

import hashlib
import ipaddress
import os
import ssl
import tempfile
import time
from collections import OrderedDict
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlsplit, urlunsplit

import httpcore
import httpx
import trio

from pyrsia.builds.pip import simple
from pyrsia.builds.pip.config import PipConfig
from pyrsia.builds.pip.simple import IndexFile, Project
from pyrsia.errors import Malformed, Refusal, Unavailable
from pyrsia.units import (
    INDEX_ATTEMPTS,
    INDEX_FETCH_S,
    INDEX_REDIRECTS,
    MAX_INDEX_PAGE_BYTES,
    MAX_METADATA_BYTES,
    MAX_SOURCE_BYTES,
    Limit,
)
from pyrsia.wire.purl import pypi_name

# Networks that a page of a stranger must not lead us into.
_CLOSED: Final = tuple(
    ipaddress.ip_network(text)
    for text in (
        "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12",
        "192.168.0.0/16", "224.0.0.0/4", "240.0.0.0/4", "::/128", "::1/128", "fc00::/7", "fe80::/10",
        "ff00::/8",
    )
)  # fmt: skip
_PAGES: Final = Limit(128, "pages kept in memory: twice the packages and tools of one large closure")
_CACHE_BYTES: Final = Limit(4 << 30, "tools and sources of some thousand pure packages")
_CACHE_KEPT_S: Final = Limit(3_600, "a file that was just asked for is still to be copied into a sandbox")
_PORTS: Final = {"http": 80, "https": 443}
Origin = tuple[str, str, int]  # scheme, host, port


def address_allowed(text: str) -> bool:
    """Whether a numeric address lies outside loopback, private and link-local networks."""
    address = ipaddress.ip_address(text.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address):
        address = address.ipv4_mapped or address
    return not any(address in network for network in _CLOSED if network.version == address.version)


def origin_of(url: str) -> Origin:
    """(scheme, host, port) of an http or https URL.

    Raises:
        Malformed: it has no host, or a port that is not a number.
    """
    try:
        parts = urlsplit(url)
        port = parts.port or _PORTS.get(parts.scheme, 0)
    except ValueError as error:
        raise Malformed(f"a URL that cannot be read: {shown(url)}") from error
    if parts.scheme not in _PORTS or not parts.hostname:
        raise Malformed(f"a URL that is neither http nor https: {shown(url)}")
    return parts.scheme, parts.hostname.lower(), port


def shown(url: str) -> str:
    """`url` as it may be printed: without user name and password."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "(unreadable URL)"
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment=""))


class _Forbidden(Exception):
    """A name that leads into a closed network."""


class _Guard(httpcore.AsyncNetworkBackend):
    """Connects to addresses that were checked after the one and only resolution of the name."""

    def __init__(self, open_hosts: frozenset[tuple[str, int]]) -> None:
        self._open = open_hosts
        self._inner = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        try:
            with trio.fail_after(timeout or INDEX_FETCH_S.value):
                found = await trio.socket.getaddrinfo(host, port, type=trio.socket.SOCK_STREAM)
        except (OSError, trio.TooSlowError) as error:
            raise httpcore.ConnectError(f"{host}: the name does not resolve") from error
        addresses = list(dict.fromkeys(str(item[4][0]) for item in found))[:4]
        if (host.lower(), port) not in self._open and not all(map(address_allowed, addresses)):
            raise _Forbidden(
                f"{host} is a loopback, private or link-local address and is no configured index"
            )
        failure: Exception = httpcore.ConnectError(f"{host}: no address")
        for address in addresses:
            try:
                return await self._inner.connect_tcp(address, port, timeout, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise failure

    async def sleep(self, seconds: float) -> None:
        await trio.sleep(seconds)


@dataclass(frozen=True, slots=True)
class _Index:
    """One configured index: its root, and the credentials written into its URL."""

    root: str
    auth: httpx.BasicAuth | None

    @property
    def folder(self) -> Path | None:
        parts = urlsplit(self.root)
        return Path(unquote(parts.path)) if parts.scheme == "file" else None


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
        self._config = config
        self._cache = cache
        self._indexes = tuple(_index(url) for url in config.indexes)
        self._auth = {origin_of(i.root): i.auth for i in self._indexes if i.folder is None and i.auth}
        self._netrc = _netrc()
        self._pages: OrderedDict[str, tuple[int, Project]] = OrderedDict()  # with the time of asking
        self._folders = tuple(i.folder.resolve() for i in self._indexes if i.folder)
        self._open = frozenset(origin_of(i.root)[1:] for i in self._indexes if i.folder is None)
        self._clients: dict[bool, httpx.AsyncClient] = {}

    async def __aenter__(self) -> "IndexClient":
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        for client in self._clients.values():
            with trio.CancelScope(shield=True), trio.move_on_after(2):
                await client.aclose()
        self._clients.clear()

    @property
    def indexes(self) -> tuple[str, ...]:
        """The indexes as they may be printed."""
        return tuple(shown(index.root) for index in self._indexes)

    async def project(self, name: str, since_ms: int | None = 0) -> Project:
        """The page of project `name` from the first index that has it.

        Args:
            since_ms: a page that was read before that time (ms since 1970) is read again: one that is
                younger than a cut-off says all that there is to know before it. None: read it anew.

        Raises:
            Refusal: `package-unknown` when no index has it, `index-unreachable` when one did not answer.
        """
        name = pypi_name(name)
        asked_ms, known = self._pages.get(name, (0, None))
        if known is not None and since_ms is not None and asked_ms >= since_ms:
            return known
        asked_ms = self._clock_ms()
        for index in self._indexes:
            found = await (self._folder_page(index, name) if index.folder else self._page(index, name))
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

    async def fetch(self, file: IndexFile) -> Path:
        """The bytes of `file`, checked against its SHA-256; a file fetched before is not fetched again.

        Raises:
            Refusal: `digest-mismatch` with both digests, `too-large`, `index-unreachable`.
            Unavailable: the cache cannot be written.
        """
        try:
            return await self._fetched(file)
        except OSError as error:
            raise Unavailable(f"a fetched file cannot be kept: {error}") from error

    async def _fetched(self, file: IndexFile) -> Path:
        if not file.sha256:
            raise _mismatch(file, "no SHA-256 from the index", "")
        path = self._cache / file.sha256
        with suppress(FileNotFoundError):
            os.utime(path)  # the oldest are dropped first
            return path
        self._cache.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=self._cache, prefix=".part-")
        try:
            digest, size = hashlib.sha256(), 0
            with os.fdopen(handle, "wb") as out:
                async with self._open_file(file) as chunks, aclosing(chunks):
                    async for chunk in chunks:
                        size += len(chunk)
                        if size > MAX_SOURCE_BYTES.value or 0 <= file.size < size:
                            raise _too_large(file.url, min(file.size, MAX_SOURCE_BYTES.value))
                        digest.update(chunk)
                        out.write(chunk)
            if digest.hexdigest() != file.sha256:
                raise _mismatch(file, digest.hexdigest(), file.url)
            os.chmod(temporary, 0o644)  # the sandbox reads it as another uid
            os.replace(temporary, path)
        finally:
            with suppress(FileNotFoundError):
                os.unlink(temporary)
        await trio.to_thread.run_sync(trim, self._cache, _CACHE_BYTES.value, _CACHE_KEPT_S.value)
        return path

    async def metadata(self, file: IndexFile) -> bytes | None:
        """PEP 658: a wheel's METADATA without the wheel; None where the index offers no digest for it."""
        if not file.metadata_sha256:
            return None
        companion = replace(
            file, url=file.url + ".metadata", sha256=file.metadata_sha256, size=-1, metadata_sha256=None
        )
        path = await self.fetch(companion)
        if path.stat().st_size > MAX_METADATA_BYTES.value:
            raise _too_large(companion.url, MAX_METADATA_BYTES.value)
        return path.read_bytes()

    # -- file: indexes are folders --

    async def _folder_page(self, index: _Index, name: str) -> Project | None:
        root = index.folder
        assert root is not None  # noqa: S101 - the caller asked
        return await trio.to_thread.run_sync(_read_folder, root, name, index.root)

    @asynccontextmanager
    async def _open_file(self, file: IndexFile) -> AsyncIterator[AsyncGenerator[bytes, None]]:
        if urlsplit(file.url).scheme == "file":
            yield _read_file(self._below_a_folder(file.url))
            return
        limit = min(file.size, MAX_SOURCE_BYTES.value) if file.size >= 0 else MAX_SOURCE_BYTES.value
        async with self._get(file.url, accept="*/*", limit=limit) as response:
            yield _raw(response)

    def _below_a_folder(self, url: str) -> Path:
        """The path of a file: URL; an http page must not make us read other files of this machine."""
        path = Path(unquote(urlsplit(url).path)).resolve()
        if not any(path.is_relative_to(folder) for folder in self._folders):
            raise _unreachable(url, "the file is not below a configured file: index")
        return path

    # -- http --

    async def _page(self, index: _Index, name: str) -> Project | None:
        url = f"{index.root}/{name}/"
        async with self._get(
            url, accept=simple.ACCEPT, limit=MAX_INDEX_PAGE_BYTES.value, missing_ok=True
        ) as response:
            if response.status_code in (404, 410):
                return None
            body = bytearray()
            async for chunk in response.aiter_bytes():
                body += chunk
                if len(body) > MAX_INDEX_PAGE_BYTES.value:
                    raise _too_large(url, MAX_INDEX_PAGE_BYTES.value)
            kind = response.headers.get("content-type", "")
            try:
                return simple.parse(bytes(body), kind, str(response.url), name, shown(index.root))
            except Malformed as error:
                raise _unreachable(url, str(error)) from error

    @asynccontextmanager
    async def _get(
        self, url: str, *, accept: str, limit: int, missing_ok: bool = False
    ) -> AsyncIterator[httpx.Response]:
        """One answer with status 200 (or 404, 410 where missing is an answer), its body unread."""
        with trio.move_on_after(INDEX_FETCH_S.value) as scope:
            response = await self._answer(url, accept)
            try:
                if response.status_code != 200 and not (missing_ok and response.status_code in (404, 410)):
                    raise _unreachable(url, f"the answer was {response.status_code} {response.reason_phrase}")
                promised = response.headers.get("content-length", "")
                if (
                    promised.isdecimal() and int(promised) > limit
                ):  # one without a length is cut while it is read
                    raise _too_large(url, limit)
                try:
                    yield response
                except httpx.HTTPError as error:
                    raise _unreachable(url, _reason(error)) from error
            finally:
                with trio.CancelScope(shield=True), trio.move_on_after(2):
                    await response.aclose()
        if scope.cancelled_caught:
            raise _unreachable(url, f"no whole answer within {INDEX_FETCH_S.value} s")

    async def _answer(self, url: str, accept: str) -> httpx.Response:
        """Follow redirects ourselves: each hop is a new fetch with its own checks and credentials."""
        first = url
        for _ in range(INDEX_REDIRECTS.value + 1):
            response = await self._send(url, accept)
            if response.status_code not in (301, 302, 303, 307, 308):
                return response
            target = response.headers.get("location", "")
            await response.aclose()
            following = str(httpx.URL(url).join(target))
            if urlsplit(url).scheme == "https" and urlsplit(following).scheme != "https":
                raise _unreachable(first, "a redirect leads from https to http")
            url = following
        raise _unreachable(first, f"more than {INDEX_REDIRECTS.value} redirects")

    async def _send(self, url: str, accept: str) -> httpx.Response:
        try:
            origin = origin_of(url)
        except Malformed as error:
            raise _unreachable(url, str(error)) from error
        client = self._client(trusted=self._trusted(origin))
        bare = urlunsplit(urlsplit(url)._replace(netloc=urlsplit(url).netloc.rpartition("@")[2]))
        request = client.build_request("GET", bare, headers={"accept": accept, "accept-encoding": "gzip"})
        if accept == "*/*":
            request.headers["accept-encoding"] = "identity"  # a hash speaks of the bytes as stored
        auth = self._auth.get(origin) or self._netrc
        for attempt in range(INDEX_ATTEMPTS.value):
            last = attempt + 1 == INDEX_ATTEMPTS.value
            try:
                response = await client.send(request, auth=auth, stream=True, follow_redirects=False)
            except _Forbidden as error:
                raise _unreachable(url, str(error)) from error
            except (httpx.HTTPError, httpx.InvalidURL) as error:
                if last:
                    raise _unreachable(url, _reason(error)) from error
            else:
                if response.status_code < 500 or last:
                    return response
                await response.aclose()
            await trio.sleep(0.25 * 2**attempt)
        raise AssertionError("unreachable")

    def _trusted(self, origin: Origin) -> bool:
        _, host, port = origin
        return host in self._config.trusted_hosts or f"{host}:{port}" in self._config.trusted_hosts

    def _client(self, *, trusted: bool) -> httpx.AsyncClient:
        if trusted not in self._clients:
            self._clients[trusted] = _make_client(self._config, self._open, trusted)
        return self._clients[trusted]


def _index(url: str) -> _Index:
    parts = urlsplit(url)
    if parts.scheme == "file":
        return _Index(url, None)
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    bare = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
    return _Index(bare, httpx.BasicAuth(user, password) if user or password else None)


def _netrc() -> httpx.Auth | None:
    """The user's netrc: httpx picks the machine by host name on every request."""
    named = os.environ.get("NETRC")
    for path in [Path(named)] if named else [Path.home() / ".netrc", Path.home() / "_netrc"]:
        if path.is_file():
            try:
                return httpx.NetRCAuth(str(path))
            except Exception:  # noqa: BLE001 - a broken netrc is no credentials, as in pip
                return None
    return None


def _make_client(
    config: PipConfig, open_hosts: frozenset[tuple[str, int]], trusted: bool
) -> httpx.AsyncClient:
    context = _tls(config, trusted)
    guard = _Guard(open_hosts)

    def transport(proxy: str | None) -> httpx.AsyncHTTPTransport:
        made = httpx.AsyncHTTPTransport(
            verify=context, proxy=proxy, trust_env=False, limits=httpx.Limits(max_connections=8)
        )
        if proxy is None:
            # httpx has no argument for the backend that connects; a proxy resolves for itself.
            made._pool._network_backend = guard
        return made

    mounts: dict[str, httpx.AsyncBaseTransport | None] = {}
    for pattern, proxy in _proxies(config).items():
        mounts[pattern] = transport(proxy)
    return httpx.AsyncClient(
        transport=transport(None),
        mounts=mounts,
        timeout=config.timeout_s,
        trust_env=False,
        headers={"user-agent": "pyrsia"},
    )


def _proxies(config: PipConfig) -> dict[str, str | None]:
    """Pattern of URL -> proxy, or None for a direct connection."""
    if config.proxy:
        proxy = config.proxy if "://" in config.proxy else f"http://{config.proxy}"
        return {"all://": proxy}
    from httpx._utils import get_environment_proxies  # the rules of NO_PROXY, as httpx reads them

    return get_environment_proxies()


def _tls(config: PipConfig, trusted: bool) -> ssl.SSLContext:
    try:
        if trusted:
            context = ssl.create_default_context()
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        elif config.cert is None:
            context = ssl.create_default_context()
        elif Path(config.cert).is_dir():
            context = ssl.create_default_context(capath=config.cert)
        else:
            context = ssl.create_default_context(cafile=config.cert)
        if config.client_cert:
            context.load_cert_chain(config.client_cert)
    except (OSError, ssl.SSLError) as error:
        raise Refusal(
            "config-invalid",
            what=f"the certificate file of the pip configuration cannot be read: {error}",
            who="pip's options cert and client-cert",
            do="correct the path",
        ) from error
    return context


def _read_folder(root: Path, name: str, index: str) -> Project | None:
    """A `file:` index: `root/name/index.html` where there is one, else the folder's own files."""
    if not root.is_dir():
        raise _unreachable(index, "the folder does not exist")
    folder = root / name
    if not folder.is_dir():
        return None
    page = folder / "index.html"
    if page.is_file():
        if page.stat().st_size > MAX_INDEX_PAGE_BYTES.value:
            raise _too_large(index, MAX_INDEX_PAGE_BYTES.value)
        try:
            listed = simple.parse(page.read_bytes(), "text/html", page.resolve().as_uri(), name, index)
        except Malformed as error:
            raise _unreachable(index, str(error)) from error
        files = tuple(_hashed(file, folder) for file in listed.files)
        return replace(listed, files=files)
    files = tuple(
        IndexFile(path.name, path.resolve().as_uri(), _sha256(path), path.stat().st_size)
        for path in sorted(folder.iterdir())
        if path.is_file() and simple.plain_name(path.name)
    )
    return Project(name, index, files)


def _hashed(file: IndexFile, folder: Path) -> IndexFile:
    path = folder / file.filename
    if file.sha256 or not path.is_file():
        return file
    return replace(file, sha256=_sha256(path), size=path.stat().st_size)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def trim(cache: Path, most_bytes: int, kept_s: float) -> None:
    """Drop the files of `cache` that were not asked for longest, until the rest is at most `most_bytes`.

    Args:
        kept_s: files asked for within that time stay, whatever their size.
    """
    found = []
    with os.scandir(cache) as listing:
        for entry in listing:
            with suppress(FileNotFoundError):
                state = entry.stat(follow_symlinks=False)
                found.append((state.st_mtime, state.st_size, entry.path))
    total, now = sum(size for _, size, _ in found), time.time()
    for asked, size, path in sorted(found):
        if total <= most_bytes or asked > now - kept_s:
            return
        with suppress(FileNotFoundError):
            os.unlink(path)
        total -= size


async def _raw(response: httpx.Response) -> AsyncGenerator[bytes, None]:
    async for chunk in response.aiter_raw():
        yield chunk


async def _read_file(path: Path) -> AsyncGenerator[bytes, None]:
    try:
        async with await trio.open_file(path, "rb") as file:
            while chunk := await file.read(1 << 20):
                yield chunk
    except OSError as error:
        raise _unreachable(path.as_uri(), error.strerror or "it cannot be read") from error


def _reason(error: Exception) -> str:
    if isinstance(error, httpx.TimeoutException):
        return "it did not answer in time"
    return str(error) or type(error).__name__


def _unreachable(url: str, why: str) -> Refusal:
    return Refusal(
        "index-unreachable",
        what=f"{shown(url)} gave no usable answer: {why}",
        who="the package index of your pip configuration",
        do="check the network and `pip config list`, then try again",
    )


def _too_large(url: str, limit: int) -> Refusal:
    return Refusal(
        "too-large",
        what=f"{shown(url)} is larger than {limit} bytes",
        who="the package index",
        do="this file cannot be used",
    )


def _mismatch(file: IndexFile, got: str, url: str) -> Refusal:
    return Refusal(
        "digest-mismatch",
        what=f"{file.filename} has the SHA-256 {got}, but {file.sha256 or 'one'} was promised",
        who=shown(url) if url else "the package index",
        do="do not use this file; ask the index's operator what happened",
    )
