"""The Conan 2 REST API for `conan install` and its like, read-only, over what the log publishes.

`/conan/` holds the packages that stand under their own names, `/conan/<NodeId>/` what that node claims. Which address
means what `builds.conan.rest` decides; here are the log's files, their bytes, and the words that Conan prints: its
errors are text. A revision is shown only when all of its files are published, and its bytes are those of the log.

Beside every file of a recipe or package stand its proof (`.tlog-proof`) and its attestations (`.intoto.jsonl`); no list
names them, since clients would take them for files of the package.

Left out: uploads, logins (everything may be read by everyone), metadata files.

Source: docs/builds-conan.md; Conan 2, `conan/internal/rest/rest_client_v2.py`.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Final
from urllib.parse import parse_qsl

import msgspec
import trio

from pyrsia.builds.conan import names, rest
from pyrsia.builds.conan.names import Place, Ref
from pyrsia.errors import Malformed, Refusal
from pyrsia.serve.answers import REVALIDATE, send_body, send_bundle, send_file, send_not_allowed
from pyrsia.serve.bringing import PROOF_SUFFIX, brought, send_proof
from pyrsia.serve.connection import Receive, Scope, Send
from pyrsia.serve.reading import Header
from pyrsia.serve.supply import Supply
from pyrsia.serve.views import ProjectFile
from pyrsia.units import Limit
from pyrsia.wire import purl as purls
from pyrsia.wire.purl import Purl
from pyrsia.wire.text import safe

PREFIX: Final = "/conan/"
BUNDLE_SUFFIX: Final = ".intoto.jsonl"
_OWNER: Final = re.compile(r"[a-z2-7]{52}")
_TEXT: Final = b"text/plain; charset=utf-8"
_JSON: Final = b"application/json"
_SHELVES: Final = Limit(2_000, "references remembered between two blocks; a client asks for some hundred")
_INFOS: Final = Limit(500, "packages whose settings one search tells; a recipe has some dozen")
_INFO_BYTES: Final = Limit(65_536, "a conaninfo.txt has 1 KB")
_CAPABILITIES: Final[Header] = (b"x-conan-server-capabilities", rest.CAPABILITIES.encode("ascii"))


class ConanApp:
    """`/conan/` and `/conan/<NodeId>/`."""

    def __init__(self, supply: Supply) -> None:
        self._supply = supply
        self._catalog = supply.network
        self._revision = -1
        self._shelves: dict[tuple[str, Ref], tuple[rest.Shelf, dict[str, ProjectFile]]] = {}
        self._refs: dict[str, list[Ref]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] not in ("GET", "HEAD"):
            await send_not_allowed(scope, send)
            return
        owner, path = _split(scope["path"].removeprefix(PREFIX))
        try:
            query = dict(parse_qsl(scope["query_string"].decode("latin-1"), max_num_fields=20))
        except ValueError:
            await _say(send, 400, "the address has too many parameters")
            return
        self._renew()
        try:
            await self._answer(scope, receive, send, owner, path, query)
        except Refusal as refusal:
            await _say(send, refusal.answer.http, f"{refusal.what}; {refusal.do}")

    async def _answer(
        self, scope: Scope, receive: Receive, send: Send, owner: str, path: str, query: Mapping[str, str]
    ) -> None:
        beside = next((one for one in (PROOF_SUFFIX, BUNDLE_SUFFIX) if path.endswith(one)), "")
        path = path.removesuffix(beside)
        match rest.answer(path, query, lambda: self._all(owner), lambda ref: self._shelf(owner, ref)[0]):
            case rest.Held(ref, place) if beside:
                file = self._shelf(owner, ref)[1][str(place)]
                if beside == PROOF_SUFFIX:
                    await send_proof(self._catalog, scope, send, file)
                else:
                    await send_bundle(scope, send, await self._catalog.attestations(file.sha256))
            case _ if beside:
                await _say(send, 404, "proofs and attestations stand beside files only")
            case rest.Pong():
                await send_body(send, 200, b"", [(b"content-type", _TEXT), _CAPABILITIES])
            case rest.Json(value):
                await _json(send, msgspec.json.encode(value))
            case rest.Infos(ref, places):
                await self._infos(receive, send, owner, ref, places)
            case rest.Held(ref, place):
                file = self._shelf(owner, ref)[1][str(place)]
                found = await brought(self._catalog, receive, file) if scope["method"] == "GET" else None
                etag = b'"%b"' % file.sha256.encode("ascii")
                await send_file(scope, send, found, file.size, kind=b"application/octet-stream", etag=etag)
            case rest.Missing(what):
                await _say(send, 404, what)

    async def _infos(
        self, receive: Receive, send: Send, owner: str, ref: Ref, places: Mapping[str, Place]
    ) -> None:
        """The settings of each package, out of its conaninfo.txt; one that nobody gives now is left out."""
        found: dict[str, dict[str, str]] = {}
        files = self._shelf(owner, ref)[1]
        for package_id, place in list(places.items())[: _INFOS.value]:
            file = files[str(place)]
            if file.size > _INFO_BYTES.value:
                continue
            path = await brought(self._catalog, receive, file)
            found[package_id] = {"content": await trio.Path(path).read_text("utf-8", "replace")}
        await _json(send, msgspec.json.encode(found))

    # -- what is published --

    def _renew(self) -> None:
        revision = self._catalog.revision()
        if revision != self._revision:
            self._shelves.clear()
            self._refs.clear()
            self._revision = revision

    def _shelf(self, owner: str, ref: Ref) -> tuple[rest.Shelf, dict[str, ProjectFile]]:
        """What is published of `ref`, and the files by their published names; the first of a name stays."""
        found = self._shelves.get((owner, ref))
        if found is None:
            files: dict[str, ProjectFile] = {}
            for file in self._catalog.files(_purl(owner, ref)):
                if file.version == ref.version:
                    files.setdefault(file.filename, file)
            found = rest.Shelf((name, file.upload_time_ms) for name, file in files.items()), files
            if len(self._shelves) >= _SHELVES.value:
                del self._shelves[next(iter(self._shelves))]
            self._shelves[owner, ref] = found
        return found

    def _all(self, owner: str) -> Iterable[Ref]:
        if owner not in self._refs:
            if len(self._refs) >= _SHELVES.value:
                self._refs.clear()
            self._refs[owner] = sorted(set(self._references(owner)))
        return self._refs[owner]

    def _references(self, owner: str) -> Iterable[Ref]:
        for name in self._catalog.packages(_start(owner)):
            try:
                package = purls.parse(name).package
                for version in {file.version for file in self._catalog.files(name)}:
                    ref = names.from_namespace(package.namespace, package.name, version)
                    if self._shelf(owner, ref)[0].recipes():
                        yield ref
            except Malformed:
                continue  # a name that the log took and no Conan client can say


def _split(path: str) -> tuple[str, str]:
    """The node whose own names are meant ("" for those of the network), and the rest of the path."""
    first, _, rest_of_path = path.partition("/")
    return (first, rest_of_path) if _OWNER.fullmatch(first) else ("", path)


def _start(owner: str) -> str:
    return f"pkg:{purls.GENERIC}/{owner}/conan/" if owner else names.PURL


def _purl(owner: str, ref: Ref) -> str:
    package = Purl("conan", ref.namespace, ref.name, "")
    return str(purls.under(owner, package) if owner else package)


async def _json(send: Send, body: bytes) -> None:
    # Exactly this content type: Conan refuses any other.
    await send_body(send, 200, body, [(b"content-type", _JSON), (b"cache-control", REVALIDATE)])


async def _say(send: Send, status: int, what: str) -> None:
    body = f"{safe(what)}\n".encode()
    await send_body(send, status, body, [(b"content-type", _TEXT), (b"cache-control", b"no-store")])
