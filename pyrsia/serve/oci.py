"""The registry API for docker, containerd, podman and skopeo, read-only, over what the log publishes.

`/v2/<name>/` holds the images that stand under their own names, `/v2/<NodeId>/<name>/` what that node claims. A tag
leads to the manifest that was published for it; every other address is a digest, and its bytes are those of the log.

Left out: uploads and deletions (the log has its own door), logins (everything may be read by everyone).

Source: OCI distribution-spec 1.1; docs/builds-oci.md.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import parse_qsl, quote

import msgspec
import trio

from pyrsia.builds.oci import documents, names
from pyrsia.errors import Malformed, Refusal
from pyrsia.serve.answers import IMMUTABLE, REVALIDATE, quality, send_body, send_cached, send_file
from pyrsia.serve.bringing import brought
from pyrsia.serve.connection import Receive, Scope, Send
from pyrsia.serve.reading import Header
from pyrsia.serve.supply import Supply
from pyrsia.serve.views import ProjectFile
from pyrsia.units import Limit
from pyrsia.wire import purl as purls
from pyrsia.wire.purl import Purl
from pyrsia.wire.text import safe

PREFIX: Final = "/v2/"
_ROUTE: Final = re.compile(r"(?P<name>.+)/(?P<what>manifests|blobs|tags|referrers)/(?P<ref>[^/]+)")
_OWNER: Final = re.compile("[a-z2-7]{52}")
_TAG: Final = re.compile("[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_DIGEST: Final = re.compile("sha256:[0-9a-f]{64}")
_MANIFEST_BYTES: Final = Limit(4 << 20, "what every registry takes as a manifest")
_TAGS: Final = Limit(1_000, "of one page of tags; a client asks again with the last one")
_VERSION: Final[Header] = (b"docker-distribution-api-version", b"registry/2.0")
_JSON: Final = b"application/json"
_BYTES: Final = b"application/octet-stream"


class _Problem(Exception):
    """An answer in the API's own words."""

    def __init__(self, status: int, code: str, message: str, detail: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.detail = detail


class OciApp:
    """`/v2/`."""

    def __init__(self, supply: Supply) -> None:
        self._supply = supply
        self._catalog = supply.network
        self._revision = -1
        self._found: dict[str, Sequence[ProjectFile]] = {}  # by versionless purl, of one revision

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._answer(scope, receive, send)
        except _Problem as problem:
            await _say(send, problem)
        except Refusal as refusal:
            denied = refusal.code in ("withdrawn", "disputed")
            code = "DENIED" if denied else "UNKNOWN"
            status = 403 if denied else refusal.answer.http
            await _say(send, _Problem(status, code, refusal.what, refusal.do))

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] not in ("GET", "HEAD"):
            raise _Problem(405, "UNSUPPORTED", "this registry is read-only", "pyrsia build request publishes")
        path = scope["path"].removeprefix(PREFIX)
        try:
            query = dict(parse_qsl(scope["query_string"].decode("latin-1"), max_num_fields=20))
        except ValueError as error:
            raise _Problem(
                400, "UNSUPPORTED", "the address has too many parameters", "leave them out"
            ) from error
        if not path:
            await send_body(send, 200, b"{}", [(b"content-type", _JSON), _VERSION])
            return
        if path == "_catalog":
            await self._catalogue(send, query)
            return
        route = _ROUTE.fullmatch(path)
        if route is None:
            raise _Problem(404, "NAME_UNKNOWN", "there is no such address")
        files, reference = self._files(route["name"]), route["ref"]
        match route["what"]:
            case "manifests":
                await self._manifest(scope, receive, send, files, reference)
            case "blobs":
                await self._blob(scope, receive, send, files, reference)
            case "referrers":
                await _referrers(send, reference)
            case _ if reference == "list":
                await _tags(send, route["name"], files, query)
            case _:
                raise _Problem(404, "NAME_UNKNOWN", "there is no such address")

    # -- what is published --

    def _files(self, name: str) -> Sequence[ProjectFile]:
        """The files of an image, in the log's order.

        Raises:
            _Problem: it is no name, or nothing is published under it.
        """
        owner, _, rest = name.partition("/")
        owned = bool(_OWNER.fullmatch(owner)) and bool(rest)
        namespace, _, last = (rest if owned else name).rpartition("/")
        try:
            package = purls.parse(str(Purl("docker", namespace, last, "")))
        except Malformed as error:
            raise _Problem(
                400, "NAME_INVALID", f"{safe(name[:80])} is no name of an image", str(error)
            ) from None
        purl = str(purls.under(owner, package) if owned else package)
        if (revision := self._catalog.revision()) != self._revision:
            self._found.clear()
            self._revision = revision
        files = self._found.get(purl) or self._catalog.files(purl)
        if files:  # as many rows as images, whatever strangers ask for
            self._found[purl] = files
        if not files:
            detail = f"ask for it: pyrsia build request {package}"
            raise _Problem(404, "NAME_UNKNOWN", f"the log holds no image {name[:120]}", detail)
        return files

    async def _manifest(
        self, scope: Scope, receive: Receive, send: Send, files: Sequence[ProjectFile], reference: str
    ) -> None:
        file = _manifest_of(files, reference)
        if file is None or file.size > _MANIFEST_BYTES.value:
            raise _Problem(404, "MANIFEST_UNKNOWN", f"no manifest {reference[:80]} is published here")
        data = await trio.Path(await brought(self._catalog, receive, file)).read_bytes()
        kind = documents.media_type(data)
        if len(data) != file.size or not kind:
            raise _Problem(404, "MANIFEST_UNKNOWN", f"what is published as {reference[:80]} is no manifest")
        if not _accepted(kind, _accept(scope)):
            detail = f"it is {kind}; ask with that in Accept"
            raise _Problem(
                404, "MANIFEST_UNKNOWN", "the manifest is of a kind that the client does not take", detail
            )
        more: list[Header] = [_content(file.sha256), _VERSION, (b"vary", b"Accept")]
        caching = IMMUTABLE if _DIGEST.fullmatch(reference) else REVALIDATE
        etag = b'"sha256:%b"' % file.sha256.encode("ascii")
        await send_cached(scope, send, data, kind=kind.encode("ascii"), etag=etag, caching=caching, more=more)

    async def _blob(
        self, scope: Scope, receive: Receive, send: Send, files: Sequence[ProjectFile], reference: str
    ) -> None:
        if not _DIGEST.fullmatch(reference):
            raise _Problem(400, "DIGEST_INVALID", f"{reference[:80]} is no SHA-256 digest")
        sha256 = reference.removeprefix("sha256:")
        file = next((one for one in files if one.sha256 == sha256), None)
        if file is None:
            # A layer that several images share is published under the first of them.
            file = self._catalog.file(sha256)
        if file is None or not file.filename.startswith((names.BLOB, names.MANIFEST)):
            raise _Problem(404, "BLOB_UNKNOWN", f"no blob {reference[:80]} is published here")
        path = await brought(self._catalog, receive, file) if scope["method"] == "GET" else None
        etag = b'"sha256:%b"' % sha256.encode("ascii")
        more = [_content(sha256), _VERSION]
        await send_file(scope, _with(send, more), path, file.size, kind=_BYTES, etag=etag)

    async def _catalogue(self, send: Send, query: Mapping[str, str]) -> None:
        """Names of images, own names behind the others'. Not in the specification; Docker's registry has it."""
        found = [
            _name(purl) for start in ("pkg:docker/", "pkg:generic/") for purl in self._catalog.packages(start)
        ]
        page, link = _page(sorted(name for name in found if name), "/v2/_catalog", query)
        await _json(send, {"repositories": page}, link)


def _manifest_of(files: Sequence[ProjectFile], reference: str) -> ProjectFile | None:
    """The manifest of a tag or digest; of several with one name the first stays."""
    if _DIGEST.fullmatch(reference):
        sha256 = reference.removeprefix("sha256:")
        found = (one for one in files if one.sha256 == sha256 and one.filename.startswith(names.MANIFEST))
    elif _TAG.fullmatch(reference):
        name = names.MANIFEST + reference
        found = (one for one in files if one.version == reference and one.filename == name)
    else:
        raise _Problem(404, "MANIFEST_UNKNOWN", f"{reference[:80]} is neither a tag nor a digest")
    return next(found, None)


def _name(purl: str) -> str:
    """`pkg:docker/team/app` -> `team/app`; "" for another type."""
    found = purls.parse(purl)
    package = found.package
    if package.type != "docker":
        return ""
    parts = (found.owner, package.namespace, package.name)
    return "/".join(part for part in parts if part)


def _accept(scope: Scope) -> bytes:
    """All Accept lines as one: skopeo and podman send a line for each kind."""
    return b", ".join(value for key, value in scope["headers"] if key == b"accept")


def _accepted(kind: str, accept: bytes) -> bool:
    """Whether a client takes `kind`; one that names nothing takes anything."""
    ranges = quality(accept)
    if not accept.strip():
        return True
    wanted = (kind, "application/*", "*/*")
    found = [q for word in wanted for one, q in ranges if one == word]
    return bool(found) and found[0] > 0


async def _referrers(send: Send, reference: str) -> None:
    """Nothing refers to an image here: attestations stand beside the file (`/api/v1/attestations/`)."""
    if not _DIGEST.fullmatch(reference):
        raise _Problem(400, "DIGEST_INVALID", f"{reference[:80]} is no SHA-256 digest")
    body = documents.index([])
    await send_body(send, 200, body, [(b"content-type", documents.INDEX.encode("ascii")), _VERSION])


async def _tags(send: Send, name: str, files: Sequence[ProjectFile], query: Mapping[str, str]) -> None:
    found = {one.version for one in files if one.filename == names.MANIFEST + one.version}
    page, link = _page(sorted(found), f"/v2/{name}/tags/list", query)
    await _json(send, {"name": name, "tags": page}, link)


def _page(found: Sequence[str], address: str, query: Mapping[str, str]) -> tuple[list[str], str]:
    """The rows behind `last`, at most `n` of them, and where the rest is."""
    text = query.get("n", "")
    count = (
        min(int(text), _TAGS.value) if text.isascii() and text.isdecimal() and len(text) < 10 else _TAGS.value
    )
    rows = [one for one in found if one > query.get("last", "")]
    page = rows[:count]
    more = len(rows) > len(page) and bool(page)
    return page, f'<{address}?n={count}&last={quote(page[-1], safe="")}>; rel="next"' if more else ""


async def _json(send: Send, value: dict[str, Any], link: str) -> None:
    headers = [(b"content-type", _JSON), (b"cache-control", REVALIDATE), _VERSION]
    if link:
        headers.append((b"link", link.encode("ascii")))
    await send_body(send, 200, msgspec.json.encode(value), headers)


async def _say(send: Send, problem: _Problem) -> None:
    """An error as the API writes it; clients print `message`."""
    row = {"code": problem.code, "message": safe(problem.message), "detail": safe(problem.detail)}
    headers: list[Header] = [(b"content-type", _JSON), (b"cache-control", b"no-store"), _VERSION]
    if problem.status == 405:
        headers.append((b"allow", b"GET, HEAD"))
    await send_body(send, problem.status, msgspec.json.encode({"errors": [row]}), headers)


def _content(sha256: str) -> Header:
    return b"docker-content-digest", b"sha256:%b" % sha256.encode("ascii")


def _with(send: Send, more: Sequence[Header]) -> Send:
    """`send` that adds headers to the start of the answer."""

    async def sending(event: Any) -> None:
        if event["type"] == "http.response.start":
            event = {**event, "headers": [*event["headers"], *more]}
        await send(event)

    return sending
