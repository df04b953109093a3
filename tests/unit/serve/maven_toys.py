"""A Maven repository over a toy node, a real shelf, and an upstream made of a dict."""

import hashlib
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from pyrsia.builds.maven.coordinates import Artifact
from pyrsia.config import LocalSection
from pyrsia.errors import Refusal, Unavailable
from pyrsia.node.packages.local import LocalPackages
from pyrsia.serve.app import LIMITS, build_app
from pyrsia.serve.desks.supply import Document, NoUpstream, Supply, Upstream
from pyrsia.serve.desks.views import ProjectFile, Refused
from pyrsia.serve.grants import PUSH, READ, Grant
from pyrsia.serve.guard import Guard
from pyrsia.store.local import LocalStore
from pyrsia.store.rocks import Database
from tests.unit.serve.toy import TOKEN, ToyNode, serving

OWNER = "a" * 52
JAR = b"PK not really a jar"
SUMS = {".sha1": "sha1", ".md5": "md5", ".sha256": "sha256", ".sha512": "sha512"}
TOKENS = {
    "push": Grant("ci", PUSH, "pkg:maven/org.acme/*"),
    "other": Grant("elsewhere", PUSH, "pkg:maven/net.other/*"),
    "read": Grant("reader", READ),
}


def tool(version: str = "1.0") -> Artifact:
    return Artifact("org.example", "tool", version)


def publish(
    node: ToyNode,
    artifact: Artifact,
    ending: str,
    data: bytes,
    *,
    owner: str = "",
    time_s: int = 1_700_000_000,
    verdict: str = "REPRODUCED",
) -> ProjectFile:
    """Let the toy's log name a file."""
    sha256 = hashlib.sha256(data).hexdigest()
    (node.folder / sha256).write_bytes(data)
    purl = artifact.purl(owner)
    file = ProjectFile(
        filename=artifact.file(ending),
        sha256=sha256,
        size=len(data),
        upload_time_ms=time_s * 1000,
        purl=purl,
        name=purl.partition("@")[0].rpartition("/")[2],
        version=artifact.version,
        verdict=verdict,
        log_index=len(node.published),
    )
    node.published[f"{purl} {file.filename} {len(node.published)}"] = file
    return file


def refuse(node: ToyNode, artifact: Artifact, ending: str, data: bytes, code: str = "denied") -> ProjectFile:
    """Let the toy's log name a file that its policy does not give."""
    file = publish(node, artifact, ending, data, verdict="WITNESSED")
    what = f"policy refuses {file.purl}: it is WITNESSED, REPRODUCED is the least"
    refusal = Refusal(code, what=what, who="this node's policy", do="lower `minimum`")
    node.kept_back[file.sha256] = Refused(file, refusal)
    node.published = {key: one for key, one in node.published.items() if one != file}
    node.published[f"refused {len(node.kept_back)}"] = file  # so that the revision changes
    return file


@contextmanager
def shelf(folder: Path, section: LocalSection | None = None) -> Iterator[LocalPackages]:
    """The real shelf of a node in `folder`."""
    database = Database.open(folder / "db")
    try:
        yield LocalPackages(LocalStore(folder / "local", database), section or LocalSection())
    finally:
        database.close()


@dataclass
class Bytes:
    """A file of upstream's, which comes in steps (serve.desks.supply.Arriving)."""

    path: Path
    size: int
    sha256: str = ""
    step: int = 1 << 30
    fails_at: int = -1
    closed: int = 0

    async def ready(self, offset: int) -> int:
        if 0 <= self.fails_at <= offset:
            raise Unavailable("upstream hung up")
        return min(self.size, offset + self.step)

    def close(self) -> None:
        self.closed += 1


@dataclass
class ToyUpstream:
    """What upstream has, by path; counts what it is asked."""

    folder: Path
    allowed: str = "pkg:maven/"
    has: dict[str, bytes] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    opened: list[Bytes] = field(default_factory=list)
    here: set[str] = field(default_factory=set)
    step: int = 1 << 30
    fails_at: int = -1
    down: bool = False

    def takes(self, package: str) -> bool:
        return package.startswith(self.allowed)

    def proxies(self, ecosystem: str) -> bool:
        return True

    async def document(
        self, package: str, path: str, *, accept: str = "", most: int = 8 << 20
    ) -> Document | None:
        self._ask(package, path)
        data = self.has.get(path)
        if data is not None and len(data) > most:
            raise Refusal("index-unreachable", what=f"more than {most} bytes", who="upstream", do="look")
        return None if data is None else Document(data, "text/xml")

    async def file(self, package: str, path: str, *, sha256: str = "", sha512: str = "") -> Bytes | None:
        self._ask(package, path)
        if path not in self.has:
            return None
        place = self.folder / hashlib.sha256(path.encode()).hexdigest()
        place.write_bytes(self.has[path])
        self.opened.append(Bytes(place, len(self.has[path]), step=self.step, fails_at=self.fails_at))
        return self.opened[-1]

    def kept(self, package: str, path: str) -> Path | None:
        return self.folder if path in self.here else None

    def _ask(self, package: str, path: str) -> None:
        assert self.takes(package), f"upstream must not be asked for {package}"
        self.asked.append(path)
        if self.down:
            raise Refusal("index-unreachable", what="upstream is down", who="upstream", do="try again")


@asynccontextmanager
async def repository(
    node: ToyNode, local: LocalPackages, upstream: Upstream | None = None
) -> AsyncIterator[str]:
    """The address of `/maven2/` of a whole node made of these."""
    guard = Guard(control_token=TOKEN, tokens=TOKENS.get)
    supply = Supply(node, local, upstream or NoUpstream())
    async with serving(
        build_app(guard=guard, supply=supply, log_view=node, admin=node), limits=LIMITS
    ) as server:
        yield f"{server.url}/maven2"


@asynccontextmanager
async def asking(
    node: ToyNode, local: LocalPackages, upstream: Upstream | None = None, token: str = ""
) -> AsyncIterator[httpx.AsyncClient]:
    """A client of it, with a token as Maven sends it."""
    async with repository(node, local, upstream) as url:
        auth = ("ci", token) if token else None
        async with httpx.AsyncClient(base_url=url, timeout=20, auth=auth) as client:
            yield client
