"""The simple repository API for pip, uv and their like, and the files behind it.

Decides spelling (normalised names, trailing slashes), form (JSON or HTML by Accept) and caching. What is
published, and where its bytes come from, is the catalogue's. Never a 500 for what does not exist, never
a full answer with other bytes than the log's: a length that differs is refused before the first byte.

Left out: uploads, upstream proxying, project status (api-version 1.4).

Source: the simple repository API specification (PEP 503, 629, 658, 691, 700, 714, 592).
"""

import hashlib
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from html import escape
from typing import Any, Final
from urllib.parse import quote

import msgspec

from pyrsia.errors import Refusal
from pyrsia.serve.answers import (
    IMMUTABLE,
    REVALIDATE,
    header,
    not_found,
    put_back,
    quality,
    send_body,
    send_bundle,
    send_cached,
    send_file,
    send_not_allowed,
    send_nothing,
)
from pyrsia.serve.bringing import PROOF_SUFFIX, brought, send_proof
from pyrsia.serve.connection import Receive, Scope, Send
from pyrsia.serve.reading import Header
from pyrsia.serve.supply import Supply
from pyrsia.serve.views import ProjectFile
from pyrsia.status import in_words
from pyrsia.units import MAX_PAGE_CACHE
from pyrsia.wire.purl import pypi_name

PREFIX: Final = "/pypi/"
JSON: Final = "application/vnd.pypi.simple.v1+json"
HTML: Final = "application/vnd.pypi.simple.v1+html"
PLAIN_HTML: Final = "text/html"
API_VERSION: Final = "1.1"

METADATA_SUFFIX: Final = ".metadata"
BUNDLE_SUFFIX: Final = ".intoto.jsonl"

# The spellings of each form; `latest` is answered with what it means today.
_SPELLINGS: Final = {
    JSON: (JSON, "application/vnd.pypi.simple.latest+json"),
    HTML: (HTML, "application/vnd.pypi.simple.latest+html"),
    PLAIN_HTML: (PLAIN_HTML,),
}
_NAME: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?")
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_NODE: Final = re.compile(r"[a-z2-7]{52}")
_MAX_NAME: Final = 200


def normalise(name: str) -> str | None:
    """PEP 503's normal form of `name`; None if it is no project name (ASCII only)."""
    if len(name) > _MAX_NAME or not _NAME.fullmatch(name):
        return None
    return pypi_name(name)


def negotiate(accept: bytes) -> str | None:
    """The form to answer in, or None: 406. Without a wish it is text/html, as PEP 691 advises."""
    ranges = quality(accept)
    if not accept.strip():
        return PLAIN_HTML
    best: tuple[float, int, str] | None = None
    # Ties go to JSON where it was named, to HTML where anything will do.
    for preference, form in ((3, JSON), (2, HTML), (1, PLAIN_HTML)):
        q, named = _quality_of(form, ranges)
        rank = (q, preference if named else 0 - preference, form)
        if q > 0 and (best is None or rank[:2] > best[:2]):
            best = rank
    return best[2] if best else None


def _quality_of(form: str, ranges: Sequence[tuple[str, float]]) -> tuple[float, bool]:
    """The q of `form` by its most specific range, and whether it was named. RFC 9110 section 12.5.1."""
    exact = [q for kind, q in ranges if kind in _SPELLINGS[form]]
    if exact:
        return max(exact), True
    for wildcard in (form.partition("/")[0] + "/*", "*/*"):
        found = [q for kind, q in ranges if kind == wildcard]
        if found:
            return max(found), False
    return 0.0, False


class PypiApp:
    """`/pypi/simple/` and `/pypi/files/`; under `/pypi/<NodeId>/` what that node built under its own name."""

    def __init__(self, supply: Supply) -> None:
        self._supply = supply
        self._catalog = supply.network
        self._pages: dict[
            tuple[str, str, str], tuple[bytes, bytes]
        ] = {}  # (owner, name, form) -> (etag, body)
        self._revision = -1

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] not in ("GET", "HEAD"):
            await send_not_allowed(scope, send)
            return
        parts, owner = scope["path"].removeprefix(PREFIX).split("/"), ""
        if _NODE.fullmatch(parts[0]):
            owner, *parts = parts
        match parts:
            case ["simple"]:
                await _redirect(send, b"simple/", scope)
            case ["simple", ""]:
                await self._page(scope, send, owner, "")
            case ["simple", name]:
                await self._project_without_slash(scope, send, name)
            case ["simple", name, ""]:
                await self._project(scope, send, owner, name)
            case ["files", sha256, filename]:
                await self._file(scope, receive, send, sha256, filename)
            case _:
                raise not_found("there is no such page", do="packages are at /pypi/simple/<name>/")

    # -- pages --

    async def _project_without_slash(self, scope: Scope, send: Send, name: str) -> None:
        normal = normalise(name)
        if normal is None:
            raise _unknown(name)
        await _redirect(send, f"{normal}/".encode("ascii"), scope)

    async def _project(self, scope: Scope, send: Send, owner: str, name: str) -> None:
        normal = normalise(name)
        if normal is None:
            raise _unknown(name)
        if normal != name:
            await _redirect(send, f"../{normal}/".encode("ascii"), scope)
            return
        await self._page(scope, send, owner, normal)

    async def _page(self, scope: Scope, send: Send, owner: str, name: str) -> None:
        """The page of `name`, or the list of all names for ""; `owner`: under whose own name, "" for nobody's."""
        form = negotiate(header(scope, b"accept"))
        if form is None:
            await _not_acceptable(send)
            return
        etag, body = self._rendered(owner, name, form)
        kind = form.encode("ascii") + (b"; charset=utf-8" if form == PLAIN_HTML else b"")
        vary: list[Header] = [(b"vary", b"Accept")]
        await send_cached(scope, send, body, kind=kind, etag=etag, caching=REVALIDATE, more=vary)

    def _rendered(self, owner: str, name: str, form: str) -> tuple[bytes, bytes]:
        revision = self._catalog.revision()
        if revision != self._revision:
            self._pages.clear()
            self._revision = revision
        page = self._pages.get((owner, name, form))
        if page is None:
            body = self._render(owner, name, form)
            page = (b'"%b"' % hashlib.sha256(body).hexdigest()[:32].encode("ascii"), body)
            if len(self._pages) >= MAX_PAGE_CACHE.value:
                del self._pages[next(iter(self._pages))]
            self._pages[(owner, name, form)] = page
        return page

    def _render(self, owner: str, name: str, form: str) -> bytes:
        start = f"pkg:generic/{owner}/pypi/" if owner else ""
        if not name:
            named = (one.removeprefix(start) for one in self._catalog.packages(start)) if owner else None
            projects = self._catalog.projects() if named is None else list(named)
            return projects_json(projects) if form == JSON else projects_html(projects)
        files = self._catalog.files(start + name)
        if not files:
            raise _unknown(name)
        return project_json(name, files) if form == JSON else project_html(name, files)

    # -- files --

    async def _file(self, scope: Scope, receive: Receive, send: Send, sha256: str, filename: str) -> None:
        file = self._catalog.file(sha256) if _SHA256.fullmatch(sha256) else None
        if file is None:
            raise not_found("the log publishes no file with this digest")
        if filename == file.filename:
            await self._artifact(scope, receive, send, file)
        elif filename == file.filename + METADATA_SUFFIX:
            await self._metadata(scope, send, file)
        elif filename == file.filename + PROOF_SUFFIX:
            await send_proof(self._catalog, scope, send, file)
        elif filename == file.filename + BUNDLE_SUFFIX:
            await send_bundle(scope, send, await self._catalog.attestations(file.sha256))
        else:
            # The digest alone is not enough: a name the log does not give would be our lie.
            raise not_found("the log gives this digest another file name")

    async def _artifact(self, scope: Scope, receive: Receive, send: Send, file: ProjectFile) -> None:
        etag = b'"%b"' % file.sha256.encode("ascii")
        path = await brought(self._catalog, receive, file) if scope["method"] == "GET" else None
        await send_file(scope, send, path, file.size, kind=_kind(file.filename), etag=etag)

    async def _metadata(self, scope: Scope, send: Send, file: ProjectFile) -> None:
        body = await self._catalog.metadata(file.sha256) if file.metadata_sha256 else None
        if body is None:
            raise not_found("this file has no separate metadata")
        if hashlib.sha256(body).hexdigest() != file.metadata_sha256:
            raise Refusal(
                "unavailable",
                what="this node's copy of the metadata is not the one in the log",
                who="this node's disk",
                do=put_back(file.metadata_sha256),
            )
        etag = b'"%b"' % file.metadata_sha256.encode("ascii")
        kind = b"text/plain; charset=utf-8"
        await send_cached(scope, send, body, kind=kind, etag=etag, caching=IMMUTABLE)


# -- rendering --


def projects_json(names: Sequence[str]) -> bytes:
    return msgspec.json.encode(
        {"meta": {"api-version": API_VERSION}, "projects": [{"name": name} for name in names]}
    )


def project_json(name: str, files: Sequence[ProjectFile]) -> bytes:
    return msgspec.json.encode(
        {
            "meta": {"api-version": API_VERSION},
            "name": name,
            "versions": list(dict.fromkeys(file.version for file in files)),
            "files": [_file_json(file) for file in files],
        }
    )


def _file_json(file: ProjectFile) -> dict[str, Any]:
    url = _url(file)
    fields: dict[str, Any] = {
        "filename": file.filename,
        "url": url,
        "hashes": {"sha256": file.sha256},
        "size": file.size,
        "upload-time": _time(file.upload_time_ms),
        "yanked": file.yanked or False,
        # The old name, dist-info-metadata, is left out: pip before 23.1 crashes on it in JSON (PEP 714).
        "core-metadata": _core_metadata(file),
        "_pyrsia": {
            "log-index": file.log_index,
            "verdict": file.verdict,
            "verdict-in-words": in_words(file.verdict, len(file.agreeing)),
            "purl": file.purl,
            "upstream": file.upstream,
            "agreeing": list(file.agreeing),
            "dissenting": list(file.dissenting),
            "proof": url + PROOF_SUFFIX,
            "attestations": url + BUNDLE_SUFFIX,
        },
    }
    if file.requires_python:
        fields["requires-python"] = file.requires_python
    return fields


def _core_metadata(file: ProjectFile) -> bool | dict[str, str]:
    return {"sha256": file.metadata_sha256} if file.metadata_sha256 else False


def projects_html(names: Sequence[str]) -> bytes:
    rows = (f'<a href="{quote(name, safe="")}/">{escape(name)}</a><br>' for name in names)
    return _document("Simple index", rows)


def project_html(name: str, files: Sequence[ProjectFile]) -> bytes:
    return _document(f"Links for {name}", map(_anchor, files))


def _anchor(file: ProjectFile) -> str:
    attributes = {"href": f"{_url(file)}#sha256={file.sha256}"}
    if file.requires_python:
        attributes["data-requires-python"] = file.requires_python
    if file.metadata_sha256:
        attributes["data-core-metadata"] = f"sha256={file.metadata_sha256}"
        attributes["data-dist-info-metadata"] = f"sha256={file.metadata_sha256}"
    if file.yanked:
        attributes["data-yanked"] = file.yanked
    attributes["data-pyrsia-verdict"] = in_words(file.verdict, len(file.agreeing))
    text = " ".join(f'{key}="{escape(value)}"' for key, value in attributes.items())
    return f"<a {text}>{escape(file.filename)}</a><br>"


def _document(title: str, rows: Any) -> bytes:
    head = (
        "<!DOCTYPE html>\n<html>\n<head>\n"
        f'<meta name="pypi:repository-version" content="{API_VERSION}">\n'
        f'<meta charset="utf-8">\n<title>{escape(title)}</title>\n</head>\n<body>\n<h1>{escape(title)}</h1>\n'
    )
    return (head + "".join(f"{row}\n" for row in rows) + "</body>\n</html>\n").encode()


def _url(file: ProjectFile) -> str:
    """From a project's page to the file; relative, so that a prefix of a proxy in front does no harm."""
    return f"../../files/{file.sha256}/{quote(file.filename, safe='')}"


def _time(ms: int) -> str:
    return datetime.fromtimestamp(ms // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{ms % 1000:03d}Z"


def _kind(filename: str) -> bytes:
    # Never a Content-Encoding: a client would unpack what it must hash.
    return b"application/octet-stream" if not filename.endswith((".whl", ".zip")) else b"application/zip"


async def _redirect(send: Send, location: bytes, scope: Scope) -> None:
    query = scope["query_string"]
    headers = [(b"location", location + (b"?" + query if query else b"")), (b"cache-control", REVALIDATE)]
    await send_nothing(send, 301, headers)


async def _not_acceptable(send: Send) -> None:
    body = f"this index answers in {JSON}, {HTML} or {PLAIN_HTML}\n".encode()
    await send_body(send, 406, body, [(b"content-type", b"text/plain; charset=utf-8"), (b"vary", b"Accept")])


def _unknown(name: str) -> Refusal:
    shown = "".join(c if c.isascii() and c.isprintable() else "?" for c in name[:80])
    return Refusal(
        "package-unknown",
        what=f"the log holds no package named {shown!r}",
        who="the client's request",
        do=f"ask the network to build it: pyrsia build request {shown}"
        if normalise(name)
        else "a name has letters and digits, with . _ - between them",
    )
