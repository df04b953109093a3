"""`maven-metadata.xml` of a package, of a group's plug-ins, of a snapshot: which of them a path means, and from whom.

A checksum of a list is that of the list that was given last: a client that has just read one must not be told the
digest of a newer one.
"""

from collections.abc import Awaitable
from dataclasses import dataclass, replace
from typing import Final

import trio

from pyrsia.errors import Malformed, Refusal, Unavailable
from pyrsia.policy.facts import LOCAL
from pyrsia.serve.answers import REVALIDATE, not_found, send_cached
from pyrsia.serve.desks.supply import Document, Supply
from pyrsia.serve.http.connection import Receive, Scope, Send
from pyrsia.serve.http.reading import Header
from pyrsia.serve.http.waiting import while_there
from pyrsia.serve.maven import lists, snapshots
from pyrsia.serve.maven.giving import NO, ONLY_HERE, TEXT, YES, kind_of
from pyrsia.serve.maven.lists import Listed, Plugin
from pyrsia.serve.maven.names import Known, Names
from pyrsia.serve.maven.paths import ListPath, package_of, unknown
from pyrsia.serve.maven.refusals import Refusals
from pyrsia.serve.maven.sums import SUMS, Sums, headers_of, of_bytes
from pyrsia.serve.maven.theirs import Theirs, written
from pyrsia.units import MAX_PAGE_CACHE, Limit

_SAME_S: Final = Limit(
    10, "a client asks for a list's checksum right after the list; later it would miss new versions"
)
_STAND_IN: Final = "maven-metadata"  # an artifact of a group, for globs that speak of artifacts


@dataclass(frozen=True, slots=True)
class _Page:
    """A list as it is sent. `revision`: None where upstream may change it."""

    body: bytes
    mark: Header
    sums: Sums
    etag: bytes
    revision: tuple[int, int] | None


class Listing:
    """Answers GET and HEAD of a list and of its checksums."""

    def __init__(self, supply: Supply, names: Names, refusals: Refusals) -> None:
        self._supply = supply
        self._names = names
        self._refusals = refusals
        self._given: dict[ListPath, tuple[float, _Page]] = {}
        self._read = Theirs()

    async def send(self, scope: Scope, receive: Receive, send: Send, place: ListPath) -> None:
        """
        Raises:
            Refusal: `not-found`; `denied` where policy refuses all that the list would name; `index-unreachable`.
        """
        itself = ListPath(place.root, place.folders)
        page = await self._page(receive, itself, again=bool(place.beside))
        if place.beside:
            text = page.sums[SUMS[place.beside]].encode("ascii")
            etag = b'"%b-%b"' % (SUMS[place.beside].encode("ascii"), page.etag.strip(b'"'))
            await send_cached(scope, send, text, kind=TEXT, etag=etag, caching=REVALIDATE, more=[page.mark])
            return
        more = [page.mark, *headers_of(page.sums)]
        kind = kind_of("list.xml")
        await send_cached(scope, send, page.body, kind=kind, etag=page.etag, caching=REVALIDATE, more=more)

    async def _page(self, receive: Receive, place: ListPath, *, again: bool) -> _Page:
        at_s, page = self._given.get(place, (0.0, None))
        now_s = trio.current_time()
        if page is not None and again and now_s - at_s <= _SAME_S.value:
            return page
        revision = self._names.revision
        if page is None or page.revision != revision:
            page = await self._made(receive, place, revision)
        self._given.pop(place, None)
        if len(self._given) >= MAX_PAGE_CACHE.value:
            del self._given[next(iter(self._given))]
        # Of upstream's, which may be long, only the digests are needed again.
        self._given[place] = (now_s, page if page.revision is not None else replace(page, body=b""))
        return page

    async def _made(self, receive: Receive, place: ListPath, revision: tuple[int, int]) -> _Page:
        if place.snapshot is not None:
            body, mark = await self._snapshot(receive, place, place.snapshot)
        else:
            body, mark = await self._named(receive, place)
        sums = of_bytes(body)
        etag = b'"%b"' % sums["sha256"][:32].encode("ascii")
        alone = mark != NO and self._asked(place) is None
        return _Page(body, mark, sums, etag, revision if alone else None)

    # -- one snapshot --

    async def _snapshot(
        self, receive: Receive, place: ListPath, named: tuple[str, str, str]
    ) -> tuple[bytes, Header]:
        group, artifact, version = named
        package = package_of(group, artifact, place.root)
        if (await self._names.look(package)).owner == LOCAL:
            rows = self._names.rows(package, version)
            found = (snapshots.part(artifact, version, row.key.rpartition("/")[2]) for row in rows)
            parts = [one for one in found if one is not None]
            if not parts:
                raise not_found(f"nobody pushed {artifact} {version} to this node")
            newest_ms = max(row.time_ms for row in rows)
            return lists.snapshot(group, artifact, version, parts, newest_ms), ONLY_HERE
        document = None
        if not place.root and self._supply.upstream.takes(package):
            document = await self._document(receive, package, place)
        if document is None:
            raise unknown(package)
        return document.data, NO

    # -- a package, and the group of the same path --

    async def _named(self, receive: Receive, place: ListPath) -> tuple[bytes, Header]:
        named = place.artifact
        known = await self._names.look(package_of(*named, place.root)) if named else None
        listed = not place.root and place.group
        plugins = tuple(self._names.plugins(place.group)) if listed else ()
        ours, updated = self._versions(known)
        document, theirs = await self._theirs(receive, place, known, ours=bool(ours or plugins))
        added = tuple(self._added(theirs, known))
        more = lists.merged_plugins(plugins, self._free(place.group, theirs))
        if document is not None and not ours and not plugins and more == theirs.plugins:
            return document.data, NO
        if not (ours or added or more):
            raise self._nothing(known)
        mark = NO if added or len(more) > len(plugins) else self._mark(place, known, plugins)
        if not (ours or added) or named is None:
            return lists.group(more), mark
        stamp = max(updated, theirs.updated if added else "")
        all_of_them = (*ours, *added)
        return await written(
            lambda: lists.package(*named, all_of_them, stamp, preferred=ours, plugins=more), len(all_of_them)
        ), mark

    def _versions(self, known: Known | None) -> tuple[tuple[str, ...], str]:
        """Versions of ours in the order in which they came, and when the newest did."""
        if known is None:
            return (), ""
        if known.owner == LOCAL:
            rows = sorted(self._names.rows(known.purl), key=lambda row: row.time_ms)
            found = [(row.key.partition("/")[0], row.time_ms) for row in rows]
        else:
            files = (file for file in known.files.values() if file.version not in known.torn)
            found = [(file.version, file.upload_time_ms) for file in files]
        if not found:
            return (), ""
        return tuple(dict.fromkeys(version for version, _ in found)), lists.stamp(
            max(time for _, time in found)
        )

    def _added(self, theirs: Listed, known: Known | None) -> list[str]:
        """Versions that upstream may add: none to a local package, none that the log holds."""
        if known is None or known.owner == LOCAL:
            return []
        return lists.added(theirs, known.versions)

    def _free(self, group: str, theirs: Listed) -> list[Plugin]:
        """Upstream's plug-ins, but for those that others own."""
        local = self._supply.local
        return [one for one in theirs.plugins if not local.owns(package_of(group, one.artifact))]

    def _mark(self, place: ListPath, known: Known | None, plugins: tuple[Plugin, ...]) -> Header:
        local = known is not None and known.owner == LOCAL
        local = local or any(
            self._supply.local.owns(package_of(place.group, one.artifact)) for one in plugins
        )
        return ONLY_HERE if local else YES

    def _nothing(self, known: Known | None) -> Refusal:
        if known is not None and known.refused:
            return self._refusals.told(list(known.refused.values())[-1])
        return unknown(known.purl if known is not None else "")

    # -- upstream --

    def _asked(self, place: ListPath) -> str | None:
        """The package under which upstream may be asked for this list."""
        if place.root:
            return None
        named = place.artifact
        package = package_of(*named) if named else ""
        if package and self._supply.local.owns(package):
            return None  # not even as a group: a private name is not told
        if package and self._supply.upstream.takes(package):
            return package
        if not place.group:
            return None
        stand_in = package_of(place.group, _STAND_IN)
        return stand_in if self._supply.upstream.takes(stand_in) else None

    async def _theirs(
        self, receive: Receive, place: ListPath, known: Known | None, *, ours: bool
    ) -> tuple[Document | None, Listed]:
        """What upstream says, whole and read. While it is not reachable, what is ours is given alone."""
        package = self._asked(place)
        if package is None:
            return None, Listed()
        try:
            document = await self._document(receive, package, place)
            if document is None:
                return None, Listed()
            return document, await self._read.read(document.data)
        except (Refusal, Unavailable):
            if not ours:
                raise
        except Malformed as error:
            if not ours:
                raise Refusal(
                    "index-unreachable",
                    what=f"upstream's list cannot be read: {error}",
                    who="upstream's repository",
                    do="look at its maven-metadata.xml",
                ) from None
        return None, Listed()

    async def _document(self, receive: Receive, package: str, place: ListPath) -> Document | None:
        def ask() -> Awaitable[Document | None]:
            return self._supply.upstream.document(package, place.whole, most=lists.LIST_BYTES.value)

        return await while_there(receive, ask)
