"""The simple repository API for pip, uv and their like, the files behind it, and uploads.

Decides spelling (normalised names, trailing slashes), who owns a name, and caching. What stands on a page is
`listing`'s, what is published and where its bytes come from is the supply's. Never a 500 for what does not exist, never
a full answer with other bytes than those that were announced.

    /pypi/simple/<name>/                      a page
    /pypi/<NodeId>/simple/<name>/             what that node built under its own name
    /pypi/files/<sha256>/<file>               of the log, with .metadata, .tlog-proof or .intoto.jsonl behind it
    /pypi/local/<name>/<sha256>/<file>        pushed to this node, or its .metadata
    /pypi/proxied/<name>/<sha256>/<file>      upstream's, unverified, or its .metadata
    /pypi/legacy/                             uploads; DELETE with <name>/<file> behind it takes one back

Source: the simple repository API specification (PEP 503, 691, 658).
"""

import hashlib
import re
from collections.abc import Callable
from typing import Final

import trio

from pyrsia.builds.pip.simple import IndexFile, Project
from pyrsia.errors import Refusal
from pyrsia.serve.answers import (
    IMMUTABLE,
    REVALIDATE,
    header,
    not_found,
    put_back,
    send_arriving,
    send_body,
    send_bundle,
    send_cached,
    send_file,
    send_not_allowed,
    send_nothing,
)
from pyrsia.serve.bringing import PROOF_SUFFIX, send_proof, send_published
from pyrsia.serve.desks.supply import Supply
from pyrsia.serve.desks.views import ProjectFile
from pyrsia.serve.http.connection import Receive, Scope, Send
from pyrsia.serve.http.reading import Header
from pyrsia.serve.pypi import listing, pages
from pyrsia.serve.pypi.listing import BUNDLE_SUFFIX, FILES
from pyrsia.serve.pypi.names import PURL, kind_of, normalise
from pyrsia.serve.pypi.negotiating import HTML, JSON, PLAIN_HTML, negotiate
from pyrsia.serve.pypi.pages import Page
from pyrsia.serve.pypi.theirs import Theirs
from pyrsia.serve.pypi.upload import Uploads, metadata_of
from pyrsia.units import MAX_PAGE_CACHE, Limit
from pyrsia.wire.text import NODE_ID

PREFIX: Final = "/pypi/"
METADATA_SUFFIX: Final = ".metadata"
_BESIDE: Final = ("", METADATA_SUFFIX, PROOF_SUFFIX, BUNDLE_SUFFIX)
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_VERIFIED: Final = b"x-pyrsia-verified"
_OWN: Final = b"private, max-age=31536000, immutable"  # no cache on the way may give it to who has no token
# Above, a page is made in a thread: others are answered meanwhile.
INLINE_FILES = Limit(100, "files that are listed on the loop: two milliseconds")

_Rendered = tuple[
    Project | None, bytes, bytes, str
]  # upstream's page behind it, ETag, body, how far verified


class PypiApp:
    """Everything below `/pypi/`."""

    def __init__(self, supply: Supply) -> None:
        self._supply = supply
        self._catalog = supply.network
        self._theirs = Theirs(supply.upstream)
        self._uploads = Uploads(supply)
        self._pages: dict[tuple[str, str, str], _Rendered] = {}  # by owner, name and form
        self._held: dict[str, bool] = {}  # whether the log holds a name
        self._revision = (-1, -1)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        parts, owner = scope["path"].removeprefix(PREFIX).split("/"), ""
        if parts[0] == "legacy" and len(parts) > 1:
            await self._change(scope, receive, send, parts[1:])
            return
        if scope["method"] not in ("GET", "HEAD"):
            await send_not_allowed(scope, send)
            return
        if NODE_ID.fullmatch(parts[0]):
            owner, *parts = parts
        match parts:
            case ["simple"]:
                await _redirect(send, b"simple/", scope)
            case ["simple", ""]:
                await self._list(scope, send, owner)
            case ["simple", name]:
                await self._project_without_slash(scope, send, name)
            case ["simple", name, ""]:
                await self._project(scope, send, owner, name)
            case ["files", sha256, filename]:
                await self._file(scope, receive, send, sha256, filename)
            case ["local", name, sha256, filename] if not owner:
                await self._pushed(scope, send, name, sha256, filename)
            case ["proxied", name, sha256, filename] if not owner:
                await self._passed_on(scope, receive, send, name, sha256, filename)
            case _:
                raise not_found("there is no such page", do="packages are at /pypi/simple/<name>/")

    async def _change(self, scope: Scope, receive: Receive, send: Send, parts: list[str]) -> None:
        # uv prints the body of a no as it comes: sentences, not JSON.
        others = [(name, value) for name, value in scope["headers"] if name != b"accept"]
        scope["headers"] = [*others, (b"accept", b"text/plain")]
        match scope["method"], parts:
            case "POST", [""]:
                said = await self._uploads.take(scope, receive)
            case "DELETE", [name, filename]:
                said = await self._uploads.take_back(scope, name, filename)
            case _, [""]:
                await send_not_allowed(scope, send, b"POST")
                return
            case _, [_, _]:
                await send_not_allowed(scope, send, b"DELETE")
                return
            case _:
                raise not_found("there is no such address", do="uploads go to /pypi/legacy/")
        await send_body(send, 200, said.encode(), [(b"content-type", b"text/plain; charset=utf-8")])

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
        form = await _form(scope, send)
        if form is not None:
            _, etag, body, verified = await self._rendered(owner, normal, form)
            await _send_page(scope, send, form, etag, body, verified)

    async def _list(self, scope: Scope, send: Send, owner: str) -> None:
        """All names; `owner`: those that a node has under its own name."""
        form = await _form(scope, send)
        if form is None:
            return
        self._renew()
        found = self._pages.get((owner, "", form))
        if found is None:
            names = self._names(owner)
            body = pages.projects_json(names) if form == JSON else pages.projects_html(names)
            found = None, _etag(body), body, ""
            self._keep((owner, "", form), found)
        await _send_page(scope, send, form, found[1], found[2], "")

    def _names(self, owner: str) -> list[str]:
        if owner:
            start = f"pkg:generic/{owner}/pypi/"
            return [one.removeprefix(start) for one in self._catalog.packages(start)]
        pushed = (one.removeprefix(PURL) for one in self._supply.local.packages(PURL))
        return sorted({*self._catalog.projects(), *pushed})

    async def _rendered(self, owner: str, name: str, form: str) -> _Rendered:
        theirs = None if owner else await self._upstreams(name)
        await self._catalog.prepare(f"pkg:generic/{owner}/pypi/{name}" if owner else name)
        self._renew()
        key, revision = (owner, name, form), self._revision
        found = self._pages.get(key)
        if found is not None and found[0] is theirs:
            return found
        make, count = self._maker(owner, name, theirs)

        def render() -> _Rendered:
            page = make()
            body = pages.project_json(page) if form == JSON else pages.project_html(page)
            return theirs, _etag(body), body, page.verified

        made = render() if count <= INLINE_FILES.value else await trio.to_thread.run_sync(render)
        if revision == self._revision:  # else it is a page of a moment ago: good for who asked then
            self._keep(key, made)
        return made

    def _maker(self, owner: str, name: str, theirs: Project | None) -> tuple[Callable[[], Page], int]:
        """What lists a page, and how many files it looks at."""
        if owner:
            files = self._catalog.files(f"pkg:generic/{owner}/pypi/{name}")
            if files:
                return lambda: listing.of_node(name, files), len(files)
            raise _unknown(name)
        local = self._supply.local
        if local.owns(PURL + name):
            rows = local.rows(PURL + name, FILES)
            refused_rows = [local.refusal(PURL + name, listing.version_of(row)) for row in rows]
            return lambda: listing.of_shelf(name, rows, refused_rows), len(rows)
        files, refused = self._catalog.files(name), self._catalog.refused(name)
        count = len(files) + len(refused) + (len(theirs.files) if theirs is not None else 0)
        if files or refused:
            return lambda: listing.of_network(name, files, refused, theirs), count
        if theirs is not None:
            return lambda: listing.of_upstream(name, theirs), count
        raise _unknown(name)

    def _renew(self) -> None:
        revision = (self._catalog.revision(), self._supply.local.revision())
        if revision != self._revision:
            self._pages.clear()
            self._held.clear()
            self._revision = revision

    def _keep(self, key: tuple[str, str, str], made: _Rendered) -> None:
        self._pages.pop(key, None)
        if len(self._pages) >= MAX_PAGE_CACHE.value:
            del self._pages[next(iter(self._pages))]
        self._pages[key] = made

    async def _upstreams(self, name: str) -> Project | None:
        """Upstream's page, where it may have a part in ours.

        Raises:
            Refusal: upstream does not answer, and nobody else has the name.
        """
        if self._supply.local.owns(PURL + name) or not self._theirs.takes(name):
            return None
        await self._catalog.prepare(name)
        return await (self._theirs.quietly(name) if self._network_has(name) else self._theirs.page(name))

    def _network_has(self, name: str) -> bool:
        """Whether the log holds the name; asked at each request, and a project may have thousands of files."""
        self._renew()
        if name not in self._held:
            if len(self._held) >= MAX_PAGE_CACHE.value:
                self._held.clear()
            self._held[name] = bool(self._catalog.files(name) or self._catalog.refused(name))
        return self._held[name]

    # -- files of the log --

    async def _file(self, scope: Scope, receive: Receive, send: Send, sha256: str, filename: str) -> None:
        file = self._catalog.by_digest(sha256) if _SHA256.fullmatch(sha256) else None
        if file is None:
            raise not_found("the log publishes no file with this digest")
        if filename.removeprefix(file.filename) not in _BESIDE:
            bare = next(
                (filename.removesuffix(one) for one in _BESIDE[1:] if filename.endswith(one)), filename
            )
            file = self._catalog.named(sha256, bare) or file
        if filename == file.filename:
            etag = b'"%b"' % file.sha256.encode("ascii")
            more: list[Header] = [(_VERIFIED, b"yes")]
            kind = kind_of(file.filename)
            await send_published(self._catalog, scope, receive, send, file, kind=kind, etag=etag, more=more)
        elif filename == file.filename + METADATA_SUFFIX:
            await self._metadata(scope, send, file)
        elif filename == file.filename + PROOF_SUFFIX:
            await send_proof(self._catalog, scope, send, file)
        elif filename == file.filename + BUNDLE_SUFFIX:
            await send_bundle(scope, send, await self._catalog.attestations(file.sha256))
        else:
            # The digest alone is not enough: a name the log does not give would be our lie.
            raise not_found("the log gives this digest another file name")

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
        await _send_metadata(scope, send, body, file.metadata_sha256, b"yes")

    # -- files that were pushed here --

    async def _pushed(self, scope: Scope, send: Send, name: str, sha256: str, filename: str) -> None:
        local = self._supply.local
        bare = filename.removesuffix(METADATA_SUFFIX)
        row = local.row(PURL + name, FILES + bare) if normalise(name) == name else None
        path = local.path(sha256) if row is not None and row.sha256 == sha256 else None
        if row is None or path is None:
            raise not_found("no such file was pushed to this node")
        refusal = local.refusal(PURL + name, listing.version_of(row))
        if refusal is not None:
            raise refusal
        if filename == bare:
            etag = b'"%b"' % row.sha256.encode("ascii")
            more: list[Header] = [(_VERIFIED, b"local")]
            await send_file(
                scope, send, path, row.size, kind=kind_of(bare), etag=etag, more=more, caching=_OWN
            )
            return
        told = row.more.get("metadata", "")
        if not told:
            raise not_found("this file has no separate metadata")
        await _send_metadata(scope, send, await metadata_of(path, told), told, b"local", _OWN)

    # -- upstream's files --

    async def _passed_on(
        self, scope: Scope, receive: Receive, send: Send, name: str, sha256: str, filename: str
    ) -> None:
        """A file that upstream's page of a package lists with this digest, which must hold."""
        bare = filename.removesuffix(METADATA_SUFFIX)
        file = await self._listed_upstream(name, sha256, bare) if normalise(name) == name else None
        if file is None:
            raise not_found("upstream lists no such file that this node would pass on")
        url, digest = file.url, file.sha256
        if filename != bare:
            if file.metadata_sha256 is None:
                raise not_found("this file has no separate metadata")
            url, digest = file.url + METADATA_SUFFIX, file.metadata_sha256
        arriving = await self._supply.upstream.file(PURL + name, url, sha256=digest)
        if arriving is None:
            raise not_found("upstream has this file no more")
        kind = kind_of(bare) if filename == bare else b"text/plain; charset=utf-8"
        etag = b'"%b"' % (digest or f"of-{file.sha256}").encode("ascii")
        more: list[Header] = [(_VERIFIED, b"no")]
        await send_arriving(scope, receive, send, arriving, kind=kind, etag=etag, more=more)

    async def _listed_upstream(self, name: str, sha256: str, filename: str) -> IndexFile | None:
        if self._supply.local.owns(PURL + name) or not self._theirs.takes(name):
            return None
        theirs = await self._theirs.page(name)
        if theirs is None:
            return None
        await self._catalog.prepare(name)
        held = {one.version for one in self._catalog.files(name)}
        held |= {one.file.version for one in self._catalog.refused(name)}
        # The page may list thousands of files: only the one that is asked for is looked at closely.
        asked = tuple(one for one in theirs.files if (one.filename, one.sha256) == (filename, sha256))
        return next(iter(listing.proxied(name, Project(name, theirs.index, asked), held)), None)


# -- answers --


def _etag(body: bytes) -> bytes:
    return b'"%b"' % hashlib.sha256(body).hexdigest()[:32].encode("ascii")


async def _form(scope: Scope, send: Send) -> str | None:
    """The form to answer in; None where there is none that the client takes, and it was told."""
    form = negotiate(header(scope, b"accept"))
    if form is None:
        body = f"this index answers in {JSON}, {HTML} or {PLAIN_HTML}\n".encode()
        headers: list[Header] = [(b"content-type", b"text/plain; charset=utf-8"), (b"vary", b"Accept")]
        await send_body(send, 406, body, headers)
    return form


async def _send_page(scope: Scope, send: Send, form: str, etag: bytes, body: bytes, verified: str) -> None:
    # A page costs this node nothing to say again: clients ask each time, and are told 304.
    kind = form.encode("ascii") + (b"; charset=utf-8" if form == PLAIN_HTML else b"")
    more: list[Header] = [(b"vary", b"Accept")]
    if verified:
        more.append((_VERIFIED, verified.encode("ascii")))
    await send_cached(scope, send, body, kind=kind, etag=etag, caching=REVALIDATE, more=more)


async def _send_metadata(
    scope: Scope, send: Send, body: bytes, sha256: str, verified: bytes, caching: bytes = IMMUTABLE
) -> None:
    etag = b'"%b"' % sha256.encode("ascii")
    more: list[Header] = [(_VERIFIED, verified)]
    kind = b"text/plain; charset=utf-8"
    await send_cached(scope, send, body, kind=kind, etag=etag, caching=caching, more=more)


async def _redirect(send: Send, location: bytes, scope: Scope) -> None:
    query = scope["query_string"]
    headers = [(b"location", location + (b"?" + query if query else b"")), (b"cache-control", REVALIDATE)]
    await send_nothing(send, 301, headers)


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
