"""A package index over a toy node, a real shelf, and an upstream made of pages; counts what upstream is asked."""

import base64
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import msgspec

from pyrsia.errors import Refusal
from pyrsia.serve.desks.supply import Document, Supply
from pyrsia.serve.desks.tokens import TokenOrder
from pyrsia.serve.desks.views import ProjectFile, Refused
from pyrsia.serve.http.connection import Receive, Scope, Send
from pyrsia.serve.pypi import JSON
from tests.unit.serve.maven_toys import Bytes, shelf
from tests.unit.serve.toy import ToyNode, serving, toy_app

INDEX = "https://index.example/simple"
HELD = "https://files.example"


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


class Coming(Bytes):
    """Bytes of which those from `fails_at` on never become ready."""

    async def ready(self, offset: int) -> int:
        upto = await super().ready(offset)
        return min(upto, self.fails_at) if self.fails_at >= 0 else upto


@dataclass
class ToyIndex:
    """Upstream in the mode `proxy` (serve.desks.supply.Upstream)."""

    folder: Path
    allowed: str = "pkg:pypi/"
    pages: dict[str, Document] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    opened: list[Coming] = field(default_factory=list)
    down: bool = False
    fails_at: int = -1

    def list(self, name: str, **files: bytes | tuple[bytes, dict[str, Any]]) -> None:
        """Let the index have a page: file name (with `__` for each of `-` and `.`: see `spelt`) -> bytes and fields."""
        rows = []
        for key, value in files.items():
            data, more = value if isinstance(value, tuple) else (value, {})
            filename = spelt(key)
            url = f"{HELD}/{filename}"
            self.files[url] = data
            row = {"filename": filename, "url": url, "hashes": {"sha256": digest(data)}, "size": len(data)}
            rows.append({**row, **more})
        body = {"meta": {"api-version": "1.1"}, "name": name, "files": rows}
        self.pages[name] = Document(msgspec.json.encode(body), JSON, url=f"{INDEX}/{name}/")

    def takes(self, package: str) -> bool:
        return package.startswith(self.allowed)

    def proxies(self, ecosystem: str) -> bool:
        return True

    async def document(
        self, package: str, path: str, *, accept: str = "", most: int = 8 << 20
    ) -> Document | None:
        self.asked.append(path)
        if self.down:
            raise Refusal("index-unreachable", what="it is down", who="the index", do="try again")
        return self.pages.get(path.rstrip("/"))

    async def file(self, package: str, path: str, *, sha256: str = "", sha512: str = "") -> Coming | None:
        self.asked.append(path)
        data = self.files.get(path)
        if data is None:
            return None
        place = self.folder / f"upstream-{len(self.opened)}"
        place.write_bytes(data)
        # As the real one: the last bytes of what is not as announced never become ready.
        fails_at = self.fails_at if self.fails_at >= 0 or digest(data) == sha256 else max(0, len(data) - 1)
        self.opened.append(Coming(place, len(data), sha256, step=4, fails_at=fails_at))
        return self.opened[-1]

    def kept(self, package: str, path: str) -> Path | None:
        return None


def spelt(key: str) -> str:
    """A file name that was written as a keyword: `a_1_0` is a-1.0-py3-none-any.whl."""
    name, major, minor = key.rsplit("_", 2)
    return f"{name}-{major}.{minor}-py3-none-any.whl"


@dataclass
class Place:
    """A node with its shelf and upstream, and a client that talks to it."""

    node: ToyNode
    supply: Supply
    upstream: ToyIndex
    client: httpx.AsyncClient
    url: str
    seen: list[str]  # method and path of every request, in order

    async def page(self, name: str) -> dict[str, Any]:
        answer = await self.client.get(f"/pypi/simple/{name}/", headers={"accept": JSON})
        assert answer.status_code == 200, answer.text
        page: dict[str, Any] = answer.json()
        page["verified"] = answer.headers["x-pyrsia-verified"]
        return page

    async def token(self, pattern: str = "", scope: Any = "push") -> str:
        name = f"t{len(self.node.keyring.made)}"
        return (await self.node.keyring.make(TokenOrder(scope, pattern, name))).token

    async def push(self, token: str, filename: str, data: bytes, **fields: Any) -> httpx.Response:
        """Upload as twine does."""
        told = {
            ":action": "file_upload",
            "protocol_version": "1",
            "name": filename.split("-")[0],
            "version": filename.split("-")[1].removesuffix(".tar.gz"),
            "filetype": "sdist" if filename.endswith(".tar.gz") else "bdist_wheel",
            "sha256_digest": digest(data),
            "classifiers": ["A :: B", "C"],
            **fields,
        }
        kept = {name: value for name, value in told.items() if value is not None}
        return await self.client.post(
            "/pypi/legacy/", data=kept, files={"content": (filename, data)}, headers=basic(token)
        )


def basic(token: str) -> dict[str, str]:
    if not token:
        return {}
    return {"authorization": "Basic " + base64.b64encode(f"__token__:{token}".encode()).decode()}


def refuse(node: ToyNode, file: ProjectFile, code: str = "denied", what: str = "policy says no") -> Refused:
    """Let the toy's policy keep a published file back."""
    refusal = Refusal(code, what=what, who="this node's policy", do="ask its operator")
    node.kept_back[file.sha256] = Refused(file, refusal)
    return node.kept_back[file.sha256]


@asynccontextmanager
async def place(folder: Path, *, proxy: bool = True) -> AsyncIterator[Place]:
    """A node for the time of the block. `proxy`: whether it asks upstream at all."""
    (folder / "blobs").mkdir()
    node, upstream = ToyNode(folder / "blobs"), ToyIndex(folder, "pkg:pypi/" if proxy else "nothing")
    seen: list[str] = []
    with shelf(folder) as local:
        supply = Supply(node, local, upstream)
        app = toy_app(node, supply)

        async def counting(scope: Scope, receive: Receive, send: Send) -> None:
            seen.append(f"{scope['method']} {scope['path']}")
            await app(scope, receive, send)

        async with serving(counting) as server:
            async with httpx.AsyncClient(base_url=server.url, timeout=20) as client:
                yield Place(node, supply, upstream, client, server.url, seen)
