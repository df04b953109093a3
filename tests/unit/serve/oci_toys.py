"""Images of a log made of lists, a real shelf, an upstream made of a dict, and clients of `/v2/` over all of them."""

import base64
import hashlib
import json
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from pyrsia.builds.oci import documents
from pyrsia.config import LocalSection
from pyrsia.errors import Refusal, Unavailable
from pyrsia.node.packages.local import LocalPackages
from pyrsia.serve.app import build_app
from pyrsia.serve.desks.supply import Document, Local, NoLocal, NoUpstream, Supply, Upstream
from pyrsia.serve.desks.views import ProjectFile, Refused
from pyrsia.serve.grants import PUSH, READ, Grant
from pyrsia.serve.guard import Guard
from pyrsia.serve.http.connection import App
from pyrsia.store.local import LocalStore
from pyrsia.store.rocks import Database
from pyrsia.wire import purl as purls

sys.path.insert(0, str(Path(__file__).parent))
from toy import TOKEN, ToyNode, serving

PUSHES = "push-everything"
TOKENS = {
    PUSHES: Grant("ci", PUSH),
    "push-team": Grant("team", PUSH, "pkg:docker/team/*"),
    "read": Grant("reader", READ),
}
DOCKER = "application/vnd.docker.distribution.manifest.v2+json"
EMPTY = "application/vnd.oci.empty.v1+json"
ENVELOPE = "application/vnd.dsse.envelope.v1+json"


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def digest(data: bytes, algorithm: str = "sha256") -> str:
    return f"{algorithm}:{hashlib.new(algorithm, data).hexdigest()}"


def encoded(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def descriptor(data: bytes, kind: str, algorithm: str = "sha256", **more: Any) -> dict[str, Any]:
    return {"mediaType": kind, "digest": digest(data, algorithm), "size": len(data), **more}


def image_of(config: bytes, *layers: bytes, algorithm: str = "sha256", **more: Any) -> bytes:
    """A manifest of an image."""
    return encoded(
        {
            "schemaVersion": 2,
            "mediaType": documents.MANIFEST,
            "config": descriptor(config, documents.CONFIG, algorithm),
            "layers": [descriptor(layer, documents.LAYER, algorithm) for layer in layers],
            **more,
        }
    )


class Images(ToyNode):
    """A catalogue of images."""

    def image(self, name: str, tag: str, *, layer: bytes = b"layer" * 100, owner: str = "") -> dict[str, Any]:
        """Publish one as the oci plug-in names its files; what it is made of."""
        config = documents.encoded({"os": "linux"})
        manifest = image_of(config, layer)
        for file, data in (
            (f"sha256~{sha(config)}", config),
            (f"sha256~{sha(layer)}", layer),
            (f"manifest~{tag}", manifest),
        ):
            self.add(name, tag, file, data, owner)
        return {"config": config, "layer": layer, "manifest": manifest}

    def add(self, name: str, tag: str, file: str, data: bytes, owner: str = "") -> None:
        namespace, _, last = name.rpartition("/")
        package = purls.Purl("docker", namespace, last, tag)
        (self.folder / sha(data)).write_bytes(data)
        purl = str(purls.under(owner, package) if owner else package)
        self.rows.append(
            ProjectFile(
                file, sha(data), len(data), 1_700_000_000_000, purl, last, tag, "REPRODUCED", len(self.rows)
            )
        )
        self.published[sha(data)] = self.rows[-1]

    def refuse(self, data: bytes, code: str = "denied", what: str = "policy says no") -> None:
        """Every row with these bytes is kept back."""
        self.kept[sha(data)] = Refusal(code, what=what, who="policy.toml", do="ask for another version")

    def attest(self, manifest: bytes, *predicates: str) -> list[bytes]:
        """A bundle with an envelope of each; the envelopes."""
        lines = [
            encoded(
                {
                    "payload": base64.b64encode(encoded({"predicateType": one})).decode(),
                    "payloadType": "application/vnd.in-toto+json",
                    "signatures": [{"keyid": "k", "sig": "c2ln"}],
                }
            )
            for one in predicates
        ]
        self.bundles[sha(manifest)] = b"".join(line + b"\n" for line in lines)
        return lines

    @property
    def rows(self) -> list[ProjectFile]:
        return self.__dict__.setdefault("_rows", [])

    @property
    def kept(self) -> dict[str, Refusal]:
        return self.__dict__.setdefault("_kept", {})

    @property
    def exact(self) -> set[str]:
        """Digests of what is kept back, and given to who names it."""
        return self.__dict__.setdefault("_exact", set())

    @property
    def bundles(self) -> dict[str, bytes]:
        return self.__dict__.setdefault("_bundles", {})

    @property
    def asked(self) -> list[str]:
        return self.__dict__.setdefault("_asked", [])

    def revision(self) -> int:
        return len(self.rows) + len(self.kept)

    def _of(self, name: str) -> list[ProjectFile]:
        return [one for one in self.rows if str(purls.parse(one.purl).versionless) == name]

    async def prepare(self, name: str) -> None:
        """Everything is there."""

    def files(self, name: str) -> Sequence[ProjectFile]:
        self.asked.append(name)
        return [one for one in self._of(name) if one.sha256 not in self.kept]

    def refused(self, name: str) -> Sequence[Refused]:
        kept = [one for one in self._of(name) if one.sha256 in self.kept]
        return [Refused(one, self.kept[one.sha256], one.sha256 in self.exact) for one in kept]

    def packages(self, start: str) -> Sequence[str]:
        found = {str(purls.parse(one.purl).versionless) for one in self.rows}
        return sorted(one for one in found if one.startswith(start))

    def file(self, sha256: str) -> ProjectFile | None:
        if sha256 in self.kept:
            raise self.kept[sha256]
        return next((one for one in self.rows if one.sha256 == sha256), None)

    def by_digest(self, sha256: str) -> ProjectFile | None:
        found = next((one for one in self.rows if one.sha256 == sha256), None)
        return found if sha256 in self.exact else self.file(sha256)

    async def attestations(self, sha256: str) -> bytes | None:
        self.asked.append(f"attestations {sha256[:8]}")
        return self.bundles.get(sha256)


class Bytes:
    """A file of upstream's, whole or cut off at `fails_at`."""

    def __init__(self, path: Path, size: int, sha256: str, fails_at: int) -> None:
        self.path, self.size, self.sha256 = path, size, sha256
        self.fails_at = fails_at
        self.closed = 0

    async def ready(self, offset: int) -> int:
        if 0 <= self.fails_at <= offset:
            raise Unavailable("upstream's bytes are not what they must be")
        return self.size if self.fails_at < 0 else self.fails_at

    def close(self) -> None:
        self.closed += 1


@dataclass
class ToyUpstream:
    """What upstream has, by path; counts what it is asked, and fails the test when it must not be asked."""

    folder: Path
    allowed: tuple[str, ...] = ("pkg:docker/",)
    has: dict[str, bytes] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    opened: list[Bytes] = field(default_factory=list)
    fails_at: int = -1
    down: bool = False

    def takes(self, package: str) -> bool:
        return package.startswith(self.allowed)

    def proxies(self, ecosystem: str) -> bool:
        return ecosystem == "oci"

    async def document(
        self, package: str, path: str, *, accept: str = "", most: int = 8 << 20
    ) -> Document | None:
        self._ask(package, path)
        data = self.has.get(path)
        return None if data is None else Document(data, "application/json")

    async def file(self, package: str, path: str, *, sha256: str = "", sha512: str = "") -> Bytes | None:
        self._ask(package, path)
        assert sha256 or sha512, "a blob is asked for by its digest"
        data = self.has.get(path)
        if data is None:
            return None
        place = self.folder / f"up-{sha(path.encode())}"
        place.write_bytes(data)
        self.opened.append(Bytes(place, len(data), sha256, self.fails_at))
        return self.opened[-1]

    def kept(self, package: str, path: str) -> Path | None:
        return None

    def image(self, repository: str, tag: str, *, layer: bytes = b"upstream's layer") -> dict[str, bytes]:
        config = encoded({"os": "plan9"})
        made = {"config": config, "layer": layer, "manifest": image_of(config, layer)}
        self.has[f"v2/{repository}/manifests/{tag}"] = made["manifest"]
        self.has[f"v2/{repository}/manifests/{digest(made['manifest'])}"] = made["manifest"]
        for blob in (config, layer):
            self.has[f"v2/{repository}/blobs/{digest(blob)}"] = blob
        self.has[f"v2/{repository}/tags/list"] = encoded({"name": repository, "tags": [tag]})
        return made

    def _ask(self, package: str, path: str) -> None:
        assert self.takes(package), f"upstream must not be asked for {package}"
        self.asked.append(path)
        if self.down:
            raise Refusal("index-unreachable", what="upstream is down", who="upstream", do="try again")


@contextmanager
def shelf(folder: Path, section: LocalSection | None = None) -> Iterator[LocalPackages]:
    """A node's own shelf over a database."""
    database = Database.open(folder / "database")
    try:
        yield LocalPackages(
            LocalStore(folder / "local", database), section or LocalSection(), now_ms=lambda: 5
        )
    finally:
        database.close()


def whole(node: Images, local: Local | None = None, upstream: Upstream | None = None, **guard: Any) -> App:
    """The application of a node that is made of these."""
    return build_app(
        guard=Guard(control_token=TOKEN, tokens=TOKENS.get, **guard),
        supply=Supply(node, local or NoLocal(), upstream or NoUpstream()),
        log_view=node,
        admin=node,
    )


@asynccontextmanager
async def client(
    node: Images, local: Local | None = None, upstream: Upstream | None = None, token: str = ""
) -> AsyncIterator[httpx.AsyncClient]:
    """A client of that node, with a token as the clients send it."""
    async with serving(whole(node, local, upstream)) as server:
        listener = server.listeners[0]
        async with httpx.AsyncClient(
            base_url=f"http://{listener.host}:{listener.port}",
            auth=("anyone", token) if token else None,
            timeout=20,
            verify=False,  # noqa: S501 - plain http; loading certificates takes longer than a test
        ) as found:
            yield found


async def push_blob(web: httpx.AsyncClient, name: str, data: bytes, algorithm: str = "sha256") -> str:
    """Post, then put; its digest."""
    begun = await web.post(f"/v2/{name}/blobs/uploads/")
    assert begun.status_code == 202, begun.text
    told = digest(data, algorithm)
    kept = await web.put(begun.headers["location"], params={"digest": told}, content=data)
    assert kept.status_code == 201, kept.text
    return told


async def push_image(web: httpx.AsyncClient, name: str, tag: str, *layers: bytes, **more: Any) -> bytes:
    """Every blob, then the manifest by its tag; the manifest."""
    config = encoded({"os": "linux", "of": tag})
    for blob in (config, *layers):
        await push_blob(web, name, blob)
    manifest = image_of(config, *layers, **more)
    answer = await web.put(
        f"/v2/{name}/manifests/{tag}", content=manifest, headers={"content-type": documents.MANIFEST}
    )
    assert answer.status_code == 201, answer.text
    return manifest


def code_of(answer: httpx.Response) -> tuple[int, str]:
    """Status, and the code of the specification."""
    (row,) = answer.json()["errors"]
    assert row["message"]
    return answer.status_code, row["code"]
