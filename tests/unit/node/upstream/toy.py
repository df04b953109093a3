"""An upstream that says exactly what a test wants said, byte by byte, and counts who asks what; and a node in front."""

import hashlib
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import trio

from pyrsia.builds.conan.remotes import Remotes
from pyrsia.builds.maven.settings import MavenSettings, Repository
from pyrsia.builds.outbound import transport
from pyrsia.builds.pip.config import PipConfig
from pyrsia.config import ProxySection
from pyrsia.errors import Refusal
from pyrsia.node.upstream.conan import ConanRemotes
from pyrsia.node.upstream.maven import MavenRepositories
from pyrsia.node.upstream.oci import ImageRegistries
from pyrsia.node.upstream.pip import PackageIndexes
from pyrsia.node.upstream.proxy import Proxy, Rules
from pyrsia.policy.facts import Facts
from pyrsia.store.proxied import Copies

NODE = "n" * 52
SIX = "pkg:pypi/six"
_CONTEXT = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


@pytest.fixture
def bare_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No proxy and no netrc of whoever runs the tests; no reading of all authorities, which takes a while."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "no-netrc"))
    monkeypatch.setattr(transport, "_tls", lambda *_: _CONTEXT)


@dataclass(frozen=True)
class Asked:
    """One request that came in."""

    target: str
    headers: Mapping[str, str]


Say = Callable[[trio.SocketStream, Asked], Awaitable[None]]


def plain(body: bytes, status: str = "200 OK", *, length: int | None = None, **headers: str) -> bytes:
    """A whole answer; `length`: what it announces, if that is a lie."""
    told = {"content-length": str(len(body) if length is None else length)}
    told |= {name.replace("_", "-"): value for name, value in headers.items()}
    lines = "".join(f"{name}: {value}\r\n" for name, value in told.items())
    return f"HTTP/1.1 {status}\r\n{lines}\r\n".encode() + body


def page(*files: tuple[str, str], **more: object) -> bytes:
    """A page of an index in JSON: (file name, URL) each."""
    rows = [{"filename": name, "url": url, "hashes": {}, **more} for name, url in files]
    return json.dumps({"meta": {"api-version": "1.0"}, "name": "six", "files": rows}).encode()


JSON_TYPE = "application/vnd.pypi.simple.v1+json"


@dataclass
class Upstream:
    """Attributes: says: target -> a whole answer, or a function that says it. asked: what came in, in order."""

    says: dict[str, bytes | Say] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def times(self, target: str) -> int:
        return sum(one.target == target for one in self.asked)

    async def talk(self, stream: trio.SocketStream) -> None:
        kept = b""
        try:
            while True:
                while b"\r\n\r\n" not in kept:
                    piece = await stream.receive_some(65_536)
                    if not piece:
                        return
                    kept += bytes(piece)
                raw, _, kept = kept.partition(b"\r\n\r\n")
                first, *lines = raw.decode("latin-1").split("\r\n")
                headers = {line.partition(":")[0].lower(): line.partition(":")[2].strip() for line in lines}
                asked = Asked(first.split(" ")[1], headers)
                self.asked.append(asked)
                said = self.says.get(asked.target, plain(b"none", "404 Not Found"))
                if isinstance(said, bytes):
                    await stream.send_all(said)
                else:
                    await said(stream, asked)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return
        finally:
            await trio.aclose_forcefully(stream)


@asynccontextmanager
async def listening(found: Upstream | None = None, port: int = 0) -> AsyncIterator[Upstream]:
    """One that answers as long as the context lasts."""
    found = found or Upstream()
    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(port, host="127.0.0.1")
        found.port = listeners[0].socket.getsockname()[1]
        nursery.start_soon(trio.serve_listeners, found.talk, listeners)
        try:
            yield found
        finally:
            nursery.cancel_scope.cancel()


@dataclass
class Ours:
    """What the log and this node have."""

    names: set[str] = field(default_factory=set)
    held: dict[str, set[str]] = field(default_factory=dict)
    digests: set[str] = field(default_factory=set)

    def pushed(self, package: str) -> bool:
        return package in self.names

    def versions(self, package: str) -> frozenset[str]:
        return frozenset(self.held.get(package, ()))

    def holds(self, sha256: str) -> bool:
        return sha256 in self.digests


@dataclass
class Front:
    """A node's upstream, with knobs."""

    proxy: Proxy
    copies: Copies
    ours: Ours
    now: list[int]  # ms
    modes: dict[str, str]
    judged: list[Facts]

    @property
    def counters(self) -> object:
        return self.proxy.shop.counters

    @property
    def under_way(self) -> int:
        return len(self.proxy._files)

    def later(self, seconds: float) -> None:
        self.now[0] += int(seconds * 1_000)


def made(ups: Mapping[str, tuple[str, ...]]) -> Callable[[str, object], object]:
    """The addresses of a test: ecosystem -> base URLs."""

    def make(name: str, _: object) -> object:
        urls = ups[name]
        match name:
            case "pip":
                return PackageIndexes(PipConfig(indexes=urls, timeout_s=2.0))
            case "maven":
                return MavenRepositories(MavenSettings(tuple(map(Repository, urls))))
            case "conan":
                return ConanRemotes(Remotes({f"conan-{i}": url for i, url in enumerate(urls)}, {}))
            case _:
                return ImageRegistries(urls)

    return make


@asynccontextmanager
async def in_front(
    folder: Path,
    ups: Mapping[str, tuple[str, ...]],
    *,
    judge: Callable[[Facts], Refusal | None] = lambda _: None,
    node: str = NODE,
    ours: object = None,
    quota: int = 1 << 30,
    **section: object,
) -> AsyncIterator[Front]:
    """A node's upstream that runs as long as the context lasts."""
    now, judged, ours = [1_700_000_000_000], [], ours or Ours()
    modes = dict.fromkeys(("pip", "maven", "conan", "oci"), "proxy")
    copies = Copies(folder / "proxied", quota=quota, clock_ms=lambda: now[0])

    def judging(facts: Facts) -> Refusal | None:
        judged.append(facts)
        return judge(facts)

    rules = Rules(node, lambda name: modes[name], ours, judging, ProxySection(**section), made=made(ups))
    proxy = Proxy(rules, copies, lambda: now[0])
    try:
        async with proxy.running():
            yield Front(proxy, copies, ours, now, modes, judged)
    finally:
        copies.close()


async def whole(arriving: object) -> bytes:
    """All bytes of an arriving file, read as they become ready, as the HTTP server would."""
    try:
        at, found = 0, b""
        while True:
            end = await arriving.ready(at)
            with arriving.path.open("rb") as file:
                file.seek(at)
                found += file.read(end - at)
            at = end
            if at >= arriving.size:
                return found
    finally:
        arriving.close()


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
