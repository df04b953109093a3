"""A Maven repository for an unchanged `mvn`, read-only, over what the log publishes.

`/maven2/` holds the artifacts that stand under their own names, `/maven2/<NodeId>/` what that node claims. Files have
the log's bytes; their checksums are computed from them, once; lists of versions are made of what the log knows. What is
not there is a quick 404, since Maven asks each of its repositories in turn.

Left out: uploads, snapshots, lists of plug-in prefixes, upstream proxying.

Source: the layout of Maven 2 repositories; docs/builds-maven.md, "Installing".
"""

import hashlib
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime
from pathlib import Path
from typing import Final
from xml.sax.saxutils import escape

import trio

from pyrsia.builds.maven import versions
from pyrsia.builds.maven.coordinates import METADATA, plain
from pyrsia.serve.answers import (
    IMMUTABLE,
    REVALIDATE,
    header,
    not_found,
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
from pyrsia.units import MAX_PAGE_CACHE, Limit
from pyrsia.wire import purl as purls
from pyrsia.wire.purl import Purl

PREFIX: Final = "/maven2/"
BUNDLE_SUFFIX: Final = ".intoto.jsonl"
SUMS: Final = {".sha1": "sha1", ".md5": "md5", ".sha256": "sha256", ".sha512": "sha512"}
_OWNER: Final = re.compile(r"[a-z2-7]{52}")
_TEXT: Final = b"text/plain; charset=utf-8"
_KINDS: Final = {".pom": b"text/xml", ".xml": b"text/xml", ".jar": b"application/java-archive"}
_SUMS_KEPT: Final = Limit(
    20_000, "files whose checksums are remembered: 300 bytes each, a large build's closure"
)
_UNKNOWN: Final = "the log publishes no such artifact"

Sums = dict[str, str]


class MavenApp:
    """`/maven2/` and `/maven2/<NodeId>/`."""

    def __init__(self, supply: Supply) -> None:
        self._supply = supply
        self._catalog = supply.network
        self._revision = -1
        self._files: dict[str, dict[tuple[str, str], ProjectFile]] = {}  # purl -> (version, name) -> file
        self._sums: dict[str, Sums] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] not in ("GET", "HEAD"):
            await send_not_allowed(scope, send)
            return
        owner, path = _split(scope["path"].removeprefix(PREFIX))
        *folders, name = path.split("/")
        if not all(re.fullmatch(r"[A-Za-z0-9._+-]{1,200}", part) for part in (*folders, name)):
            raise not_found(_UNKNOWN)
        if len(folders) >= 2 and name.startswith(METADATA):
            await self._metadata(scope, send, owner, folders, name)
        elif len(folders) >= 3:
            await self._file(scope, receive, send, owner, folders, name)
        else:
            raise not_found(_UNKNOWN, do="artifacts are at /maven2/<group>/<artifact>/<version>/")

    # -- lists of versions --

    async def _metadata(
        self, scope: Scope, send: Send, owner: str, folders: Sequence[str], name: str
    ) -> None:
        """The list of an artifact's versions, or a checksum of it: both are made from the same bytes."""
        group, artifact = ".".join(folders[:-1]), folders[-1]
        found = self._published(owner, group, artifact)
        ending = name.removeprefix(METADATA)
        if not found or (ending and ending not in SUMS):
            raise not_found(_UNKNOWN)
        body = metadata(group, artifact, list(found.values()))
        if ending:
            body = hashlib.new(SUMS[ending], body, usedforsecurity=False).hexdigest().encode("ascii")
        etag = b'"%b"' % hashlib.sha256(body).hexdigest()[:32].encode("ascii")
        kind = _TEXT if ending else _KINDS[".xml"]
        await send_cached(scope, send, body, kind=kind, etag=etag, caching=REVALIDATE)

    # -- files --

    async def _file(
        self, scope: Scope, receive: Receive, send: Send, owner: str, folders: Sequence[str], name: str
    ) -> None:
        *group, artifact, version = folders
        published = self._published(owner, ".".join(group), artifact)
        file = published.get((version, name))
        if file is not None:
            await self._artifact(scope, receive, send, file)
            return
        for ending in (*SUMS, PROOF_SUFFIX, BUNDLE_SUFFIX):
            if name.endswith(ending) and (version, name.removesuffix(ending)) in published:
                await self._beside(
                    scope, receive, send, published[version, name.removesuffix(ending)], ending
                )
                return
        raise not_found(_UNKNOWN)

    async def _artifact(self, scope: Scope, receive: Receive, send: Send, file: ProjectFile) -> None:
        etag = b'"%b"' % file.sha256.encode("ascii")
        changed = datetime.fromtimestamp(file.upload_time_ms // 1000, UTC)
        more: list[Header] = [(b"last-modified", format_datetime(changed, usegmt=True).encode("ascii"))]
        if not header(scope, b"if-none-match") and _not_newer(changed, header(scope, b"if-modified-since")):
            await send_nothing(send, 304, [(b"etag", etag), (b"cache-control", IMMUTABLE), *more])
            return
        path = await brought(self._catalog, receive, file) if scope["method"] == "GET" else None
        if path is not None:
            # A client that reads these (Maven 3.9 and newer) spares a request for each file.
            sums = await self._sums_of(file, path)
            more += [(f"x-checksum-{kind}".encode(), sums[kind].encode()) for kind in SUMS.values()]
        kind = _KINDS.get(Path(file.filename).suffix, b"application/octet-stream")
        await send_file(scope, send, path, file.size, kind=kind, etag=etag, more=more)

    async def _beside(
        self, scope: Scope, receive: Receive, send: Send, file: ProjectFile, ending: str
    ) -> None:
        """A checksum of a file, its proof, or its attestations."""
        if ending == PROOF_SUFFIX:
            await send_proof(self._catalog, scope, send, file)
        elif ending == BUNDLE_SUFFIX:
            await send_bundle(scope, send, await self._catalog.attestations(file.sha256))
        else:
            kind = SUMS[ending]
            text = file.sha256
            if kind != "sha256":
                text = (await self._sums_of(file, await brought(self._catalog, receive, file)))[kind]
            etag = b'"%b-%b"' % (kind.encode("ascii"), file.sha256[:32].encode("ascii"))
            await send_cached(scope, send, text.encode("ascii"), kind=_TEXT, etag=etag, caching=IMMUTABLE)

    async def _sums_of(self, file: ProjectFile, path: Path) -> Sums:
        found = self._sums.get(file.sha256)
        if found is None:
            found = await trio.to_thread.run_sync(_summed, path)
            if len(self._sums) >= _SUMS_KEPT.value:
                del self._sums[next(iter(self._sums))]
            self._sums[file.sha256] = found
        return found

    # -- what is published --

    def _published(self, owner: str, group: str, artifact: str) -> dict[tuple[str, str], ProjectFile]:
        """The files of an artifact by (version, name); the first of a name stays."""
        if not (plain(group) and plain(artifact)):
            return {}
        package = Purl("maven", group, artifact, "")
        purl = str(purls.under(owner, package) if owner else package)
        revision = self._catalog.revision()
        if revision != self._revision:
            self._files.clear()
            self._revision = revision
        found = self._files.get(purl)
        if found is None:
            found = {}
            for file in self._catalog.files(purl):
                found.setdefault((file.version, file.filename), file)
            if len(self._files) >= MAX_PAGE_CACHE.value:
                del self._files[next(iter(self._files))]
            self._files[purl] = found
        return found


def metadata(group: str, artifact: str, files: Sequence[ProjectFile]) -> bytes:
    """The list of an artifact's versions, in the order in which the log published them; `files` are not empty."""
    listed = list(dict.fromkeys(file.version for file in files))
    last = versions.newest(listed)
    stamp = datetime.fromtimestamp(max(file.upload_time_ms for file in files) // 1000, UTC)
    rows = "".join(f"      <version>{escape(version)}</version>\n" for version in listed)
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n<metadata>\n'
        f"  <groupId>{escape(group)}</groupId>\n  <artifactId>{escape(artifact)}</artifactId>\n  <versioning>\n"
        f"    <latest>{escape(last)}</latest>\n    <release>{escape(last)}</release>\n"
        f"    <versions>\n{rows}    </versions>\n"
        f"    <lastUpdated>{stamp:%Y%m%d%H%M%S}</lastUpdated>\n  </versioning>\n</metadata>\n"
    ).encode()


def _split(path: str) -> tuple[str, str]:
    """The node whose own names are meant ("" for those of the network), and the rest of the path."""
    first, _, rest = path.partition("/")
    return (first, rest) if _OWNER.fullmatch(first) else ("", path)


def _not_newer(changed: datetime, since: bytes) -> bool:
    """Whether a client that has the file of `since` has it still (RFC 9110 section 13.1.3)."""
    try:
        asked = parsedate_to_datetime(since.decode("ascii")) if since else None
    except (OverflowError, ValueError):  # a year or a zone beyond every calendar
        return False
    return asked is not None and asked.tzinfo is not None and changed <= asked


def _summed(path: Path) -> Sums:
    sums = {kind: hashlib.new(kind, usedforsecurity=False) for kind in SUMS.values()}
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            for one in sums.values():
                one.update(piece)
    return {kind: one.hexdigest() for kind, one in sums.items()}
