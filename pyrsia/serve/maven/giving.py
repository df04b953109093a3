"""Files, and what stands beside them: from the log, from the shelf, from upstream. Who owns a name was decided before.

Each answer says in `x-pyrsia-verified` whose the bytes are: `yes` (the network's), `local`, `no` (upstream's).
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime
from typing import Final

from pyrsia.errors import Refusal, Unavailable
from pyrsia.serve.answers import (
    IMMUTABLE,
    REVALIDATE,
    header,
    not_found,
    send_arriving,
    send_bundle,
    send_cached,
    send_file,
    send_nothing,
)
from pyrsia.serve.bringing import PROOF_SUFFIX, brought, send_proof, send_published
from pyrsia.serve.desks.supply import LocalRow, Supply
from pyrsia.serve.desks.views import ProjectFile
from pyrsia.serve.http.connection import Receive, Scope, Send
from pyrsia.serve.http.reading import Header
from pyrsia.serve.http.waiting import while_there
from pyrsia.serve.maven import snapshots
from pyrsia.serve.maven.names import Known, Names
from pyrsia.serve.maven.paths import BUNDLE_SUFFIX, SNAPSHOT, FilePath, unknown
from pyrsia.serve.maven.proxied import Checked, opened
from pyrsia.serve.maven.refusals import Refusals
from pyrsia.serve.maven.sums import SUMS, SumCache, Sums, headers_of
from pyrsia.units import Limit

YES: Final[Header] = (b"x-pyrsia-verified", b"yes")
NO: Final[Header] = (b"x-pyrsia-verified", b"no")
ONLY_HERE: Final[Header] = (b"x-pyrsia-verified", b"local")
TEXT: Final = b"text/plain; charset=utf-8"
_HEADS: Final = Limit(8_192, "heads that are made already, 1 KB each; a large build asks for some thousand")
_OTHER: Final = b"application/octet-stream"
_KINDS: Final = {
    ".pom": b"text/xml",
    ".xml": b"text/xml",
    ".jar": b"application/java-archive",
    ".module": b"application/json",
    ".asc": b"text/plain",
}


class Giving:
    """Answers GET and HEAD of a file path."""

    def __init__(self, supply: Supply, names: Names, refusals: Refusals) -> None:
        self._supply = supply
        self._catalog = supply.network
        self._names = names
        self._refusals = refusals
        self._sums = SumCache()
        self._heads: dict[tuple[str, int], Sequence[Header]] = {}

    # -- the network's --

    async def published(
        self, scope: Scope, receive: Receive, send: Send, known: Known, place: FilePath
    ) -> None:
        """A file of a version that the log holds.

        Raises:
            Refusal: `denied` with the policy's reason, `not-found`, `unavailable` while nobody gives it.
        """
        at = (place.version, place.name)
        if at in known.refused and at not in known.files:
            raise self._refusals.told(known.refused[at])
        file = known.files.get(at)
        if file is None:
            raise unknown(place.package, place.version)
        if not place.beside:
            await self._artifact(scope, receive, send, file)
        elif place.beside == PROOF_SUFFIX:
            await send_proof(self._catalog, scope, send, file)
        elif place.beside == BUNDLE_SUFFIX:
            await send_bundle(scope, send, await self._catalog.attestations(file.sha256))
        elif place.beside == ".sha256":
            await _send_sum(scope, send, place.beside, file.sha256, YES)
        else:
            sums = self._sums.known(file.sha256)
            if sums is None:
                sums = await self._sums_of(file, receive)
            await _send_sum(scope, send, place.beside, sums[SUMS[place.beside]], YES)

    async def _artifact(self, scope: Scope, receive: Receive, send: Send, file: ProjectFile) -> None:
        etag = b'"%b"' % file.sha256.encode("ascii")
        if await _not_modified(scope, send, etag, file.upload_time_ms, YES):
            return
        sums = self._sums.known(file.sha256)
        if sums is None and (here := self._catalog.local(file.sha256)) is not None:
            sums = await self._sums.of(file.sha256, here, file.size)
        more, kind = self._head(file, sums), kind_of(file.filename)
        await send_published(self._catalog, scope, receive, send, file, kind=kind, etag=etag, more=more)

    def _head(self, file: ProjectFile, sums: Sums | None) -> Sequence[Header]:
        """What is said of a file in every answer; made once where its checksums are known."""
        if sums is None:
            return [YES, _modified(file.upload_time_ms)]
        at = (file.sha256, file.upload_time_ms)
        kept = self._heads.get(at)
        if kept is None:
            kept = (YES, _modified(file.upload_time_ms), *headers_of(sums))
            if len(self._heads) >= _HEADS.value:
                del self._heads[next(iter(self._heads))]
            self._heads[at] = kept
        return kept

    async def _sums_of(self, file: ProjectFile, receive: Receive) -> Sums:
        path = await brought(self._catalog, receive, file)
        return await self._sums.of(file.sha256, path, file.size)

    # -- pushed to this node --

    async def local(self, scope: Scope, send: Send, place: FilePath) -> None:
        """A file of the shelf.

        Raises:
            Refusal: `not-found`; `unavailable` where its bytes are gone.
        """
        row = self._row(place)
        if row is None or place.beside in (PROOF_SUFFIX, BUNDLE_SUFFIX):
            raise not_found(f"nobody pushed {place.name} of {place.artifact} {place.version} to this node")
        refusal = self._supply.local.refusal(place.package, place.version)
        if refusal is not None:
            raise refusal
        moving = place.version.endswith(SNAPSHOT) and f"-{place.version}" in place.name
        caching = REVALIDATE if moving else IMMUTABLE
        if place.beside:
            text = row.sha256 if place.beside == ".sha256" else row.more[SUMS[place.beside]]
            await _send_sum(scope, send, place.beside, text, ONLY_HERE, caching)
            return
        etag = b'"%b"' % row.sha256.encode("ascii")
        if not moving and await _not_modified(scope, send, etag, row.time_ms, ONLY_HERE):
            return
        path = self._supply.local.path(row.sha256)
        if path is None:
            raise _gone(place.name)
        more = [ONLY_HERE, _modified(row.time_ms), *headers_of({**row.more, "sha256": row.sha256})]
        await send_file(
            scope, send, path, row.size, kind=kind_of(place.name), etag=etag, more=more, caching=caching
        )

    def _row(self, place: FilePath) -> LocalRow | None:
        row = self._supply.local.row(place.package, place.key)
        if row is not None or not place.version.endswith(SNAPSHOT):
            return row
        # A client that read no list asks for the moving name itself.
        asked = snapshots.part(place.artifact, place.version, place.name)
        if asked is None or asked.build is not None:
            return None
        rows = {row.key.rpartition("/")[2]: row for row in self._names.rows(place.package, place.version)}
        parts = (snapshots.part(place.artifact, place.version, name) for name in rows)
        newest = snapshots.current(part for part in parts if part is not None).get(asked.kind)
        return rows[newest.name] if newest is not None else None

    # -- upstream's --

    async def proxied(self, scope: Scope, receive: Receive, send: Send, place: FilePath) -> None:
        """A file that only upstream may have.

        Raises:
            Refusal: `not-found`; `index-unreachable`; `unavailable` where the bytes are not what upstream says.
        """
        upstream = self._supply.upstream
        moving = place.version.endswith(SNAPSHOT) and f"-{place.version}" in place.name
        if moving or place.beside in (PROOF_SUFFIX, BUNDLE_SUFFIX) or not upstream.takes(place.package):
            raise unknown(place.package, place.version)
        found = await while_there(receive, lambda: opened(upstream, place.package, place.whole, self._sums))
        if found is None:
            raise not_found("neither the network nor upstream has this artifact")
        if place.beside:
            await self._proxied_sum(scope, receive, send, place, found)
            return
        sums = self._sums.known(f"{place.package} {place.whole}")
        if sums is None and not found.sha256 and not found.sha1:
            # Nothing tells these bytes from others that upstream may have next time: no part of them goes out.
            sums = await _summed(receive, place, found)
        digest = found.sha256 or found.sha1 or (sums["sha1"] if sums else "")
        etag = b'"%b"' % digest.encode("ascii")
        more = [NO]
        if sums is not None:
            more += headers_of(sums)
        elif found.sha1:
            more.append((b"x-checksum-sha1", found.sha1.encode("ascii")))
        await send_arriving(scope, receive, send, found, kind=kind_of(place.name), etag=etag, more=more)

    async def _proxied_sum(
        self, scope: Scope, receive: Receive, send: Send, place: FilePath, found: Checked
    ) -> None:
        sums = await _summed(receive, place, found)
        found.close()
        await _send_sum(scope, send, place.beside, sums[SUMS[place.beside]], NO)


async def _summed(receive: Receive, place: FilePath, found: Checked) -> Sums:
    """The checksums, once the whole file is here; closes it where that fails."""
    try:
        return await while_there(receive, found.whole)
    except BaseException as error:
        found.close()
        if not isinstance(error, Unavailable):
            raise
        raise Refusal(
            "unavailable",
            what=f"upstream gives no whole {place.name}: {error}",
            who="upstream's repository",
            do="try again; the operator of this node sees which repository it is in its settings.xml",
        ) from None


def kind_of(name: str) -> bytes:
    """The media type that a file's name tells."""
    return _KINDS.get(name[name.rfind(".") :], _OTHER)


async def _send_sum(
    scope: Scope, send: Send, beside: str, text: str, mark: Header, caching: bytes = IMMUTABLE
) -> None:
    """A sidecar: the bare digest."""
    body = text.encode("ascii")
    etag = b'"%b-%b"' % (SUMS[beside].encode("ascii"), body[:32])
    await send_cached(scope, send, body, kind=TEXT, etag=etag, caching=caching, more=[mark])


def _modified(time_ms: int) -> Header:
    changed = datetime.fromtimestamp(time_ms // 1000, UTC)
    return b"last-modified", format_datetime(changed, usegmt=True).encode("ascii")


async def _not_modified(scope: Scope, send: Send, etag: bytes, time_ms: int, mark: Header) -> bool:
    """Answer 304 to a client that has the file of that time and gave no ETag (RFC 9110 section 13.2.2)."""
    since = header(scope, b"if-modified-since")
    if not since or header(scope, b"if-none-match"):
        return False
    if not _not_newer(datetime.fromtimestamp(time_ms // 1000, UTC), since):
        return False
    told = [(b"etag", etag), (b"cache-control", IMMUTABLE), _modified(time_ms), mark]
    await send_nothing(send, 304, told)
    return True


def _not_newer(changed: datetime, since: bytes) -> bool:
    """Whether a client that has the file of `since` has it still (RFC 9110 section 13.1.3)."""
    try:
        asked = parsedate_to_datetime(since.decode("ascii"))
    except (OverflowError, ValueError):  # a year or a zone beyond every calendar
        return False
    return asked.tzinfo is not None and changed <= asked


def _gone(name: str) -> Refusal:
    return Refusal(
        "unavailable",
        what=f"the bytes of {name} are not on this node's disk any more",
        who="this node's disk",
        do="push the version again, or let its operator look at the folder of local packages",
    )
