"""What package clients see: the projects of the final log as far as policy allows, and files brought from peers.

Every method that gives a file asks the policy (`policing`). Only `published` does not: what builders here need is not
what this node's clients may have. What is withdrawn or disputed is offered to nobody who chooses; whether who names the
very bytes gets them is policy's word as well (docs/adr/0070).
"""

import itertools
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import trio

from pyrsia.errors import Refusal, StorageFull, Unavailable
from pyrsia.ledger import views
from pyrsia.ledger.views import Placed
from pyrsia.node.log.archive import Archive
from pyrsia.node.log.proofs import Proofs
from pyrsia.node.policy.policing import Policing
from pyrsia.node.storage.arriving import Arrivals
from pyrsia.node.storage.shelf import BlobRef, Shelf
from pyrsia.serve.desks.views import Arriving, ProjectFile, Refused
from pyrsia.serve.grants import asked_by_a_pusher
from pyrsia.units import MAX_CONTENTS_BYTES, Limit, NodeId
from pyrsia.verify import standing
from pyrsia.wire import purl as purls
from pyrsia.wire.text import unb32

Sources = Callable[[bytes, Sequence[NodeId]], Sequence[NodeId]]

_PYPI = "pkg:pypi/"
MAX_LOOKED = Limit(
    20_000, "files among which a second name of some bytes is looked for: all of the largest project"
)
MAX_LISTED = Limit(20_000, "files of all listings that are remembered, 1 KB each: as long as the longest one")
TURN = Limit(8, "files judged between two turns of the loop, 3 ms each where a package has 200 advisories")
TRIES = Limit(
    3, "listings begun while blocks come; each answer is remembered, so that the second takes a tenth"
)
MAX_KNOWN = Limit(4_096, "files asked for between two blocks, 2 KB each: most requests are for the same few")


@dataclass(frozen=True, slots=True)
class _Given:
    """A file that may be given; `body`: its `artifact.add`."""

    body: dict[str, Any]
    file: ProjectFile


@dataclass(slots=True)
class _Listing:
    """A project's files that may be given, and those that are kept back; `count`: all that it ever had."""

    files: list[ProjectFile] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)
    count: int = 0


class Catalog:
    """The packages of one node's log (`serve.desks.views.Catalog`)."""

    def __init__(
        self,
        archive: Archive,
        shelf: Shelf,
        proofs: Proofs,
        bundle: Callable[[str], Awaitable[bytes | None]],
        missed: Callable[[str], object] = lambda _: None,
        policing: Policing | None = None,
    ) -> None:
        """`sources` says whom to ask for bytes, given the builders that agreed on them: at first these alone.

        Args:
            missed: told of each versionless purl that a client asked for in vain who may not push it here.
            policing: None for the default rules and a head that is always fresh.
        """
        self._archive = archive
        self._shelf = shelf
        self._proofs = proofs
        self._bundle = bundle
        self._missed = missed
        self._revision = -1
        self._known: dict[tuple[str, bool], _Given | Refusal] = {}  # by digest, and whether a client named it
        self._listings: dict[str, _Listing] = {}
        self._listed = 0  # files of all of them
        self._preparing: dict[str, trio.Event] = {}
        self.policing = policing or Policing(None, archive.state)
        self.arrivals = Arrivals(shelf)
        self.sources: Sources = lambda sha256, builders: builders
        self.met: Callable[[bytes], object] = lambda sha256: (
            None
        )  # told of each blob that is about to be read

    @property
    def fetched(self) -> int:
        """Files that were brought for clients."""
        return self.arrivals.brought

    def revision(self) -> int:
        """Both numbers only grow, so that no two states share one."""
        return self._archive.size + self.policing.revision()

    def projects(self) -> Sequence[str]:
        names = (name.removeprefix(_PYPI) for name in views.projects(self._archive.state))
        return sorted(name for name in names if ":" not in name)

    def packages(self, start: str) -> Sequence[str]:
        return sorted(name for name in views.projects(self._archive.state) if name.startswith(start))

    def holds(self, package: str) -> bool:
        return views.has_project(self._archive.state, package)

    def files(self, name: str) -> Sequence[ProjectFile]:
        listing = self._listing(name)
        if not listing.count:
            package = name if name.startswith("pkg:") else _PYPI + name  # (not: withdrawn or disputed)
            if not asked_by_a_pusher(package):
                self._missed(package)
        return listing.files

    def refused(self, name: str) -> Sequence[Refused]:
        """Later files of a version, which pages never list, only where they are withdrawn or disputed."""
        return [replace(one, refusal=one.refusal.again()) for one in self._listing(name).refused]

    async def prepare(self, name: str) -> None:
        """Judge a project's files in turns with others, so that `files` and `refused` answer at once."""
        while (others := self._preparing.get(name)) is not None:
            await others.wait()
        if self._remembered(name) is not None:
            return
        done = self._preparing[name] = trio.Event()
        try:
            for _ in range(TRIES.value):
                revision, listing = self.revision(), _Listing()
                for at, _ in enumerate(self._judging(name, listing), start=1):
                    if at % TURN.value == 0:
                        await trio.lowlevel.checkpoint()
                if revision == self.revision():
                    self._keep(name, listing)
                    return
        finally:
            del self._preparing[name]
            done.set()

    def _listing(self, name: str) -> _Listing:
        found = self._remembered(name)
        if found is None:
            found = _Listing()
            for _ in self._judging(name, found):
                pass
            self._keep(name, found)
        return found

    def _judging(self, name: str, into: _Listing) -> Iterator[None]:
        """A step for each file that the project ever had."""
        for one, served in views.project_history(self._archive.state, name):
            into.count += 1
            refusal = self._refuses(one)
            if refusal is None:
                if served and self._offers(one):
                    into.files.append(_file(one))
            elif refusal.code != "denied" or (served and self._offers(one)):
                exact = served and refusal.code != "denied" and self._refuses(one, by_digest=True) is None
                into.refused.append(Refused(_file(one, refusal.what if exact else ""), refusal, exact))
            yield

    def _remembered(self, name: str) -> _Listing | None:
        self._renew()
        return self._listings.get(name)

    def _keep(self, name: str, listing: _Listing) -> None:
        self._renew()
        if name in self._listings or not listing.count:  # names that strangers make up take no room
            return
        while self._listings and self._listed + listing.count > MAX_LISTED.value:
            self._listed -= self._listings.pop(next(iter(self._listings))).count
        self._listings[name] = listing
        self._listed += listing.count

    def _renew(self) -> None:
        revision = self.revision()
        if revision != self._revision:
            self._known.clear()
            self._listings.clear()
            self._listed = 0
            self._revision = revision

    def _offers(self, one: Placed) -> bool:
        return views.offered(self._archive.state, one.body["sha256"], one.body["purl"])

    def file(self, sha256: str) -> ProjectFile | None:
        found = self._allowed(sha256, by_digest=False)
        return None if found is None else found.file

    def by_digest(self, sha256: str) -> ProjectFile | None:
        found = self._allowed(sha256)
        return None if found is None else found.file

    def named(self, sha256: str, filename: str) -> ProjectFile | None:
        reads = self._archive.state
        packages = dict.fromkeys(str(purls.parse(one).versionless) for one in views.names_of(reads, sha256))
        rows = (one for name in packages for one, served in views.project_history(reads, name) if served)
        for one in itertools.islice(rows, MAX_LOOKED.value):
            if (one.body["sha256"], one.body["file"]) == (sha256, filename):
                refusal = self._refuses(one)
                if refusal is None or self._refuses(one, by_digest=True) is None:
                    return _file(one, refusal.what if refusal is not None else "")
        return None

    def _refuses(self, found: Placed, *, by_digest: bool = False) -> Refusal | None:
        """`withdrawn` or `disputed` (the file and its history stay, nobody is offered it), or `denied` by policy."""
        record = views.status(self._archive.state, found.body["sha256"], found.body["purl"]) or {"status": ""}
        status = str(record["status"])
        try:
            if status:
                standing.refuse_unless_offered(record)
        except Refusal as refusal:
            if not by_digest:
                return refusal
            denied = self.policing.refuses(found, status, by_digest=True)
            if denied is None:
                return None
            # The log leaves it to who names the bytes; that they are not given is this node's own rule.
            return Refusal(refusal.code, what=refusal.what, who=denied.who, do=denied.do)
        return self.policing.refuses(found, status)

    def _allowed(self, sha256: str, *, by_digest: bool = True) -> "_Given | None":
        """What `_judged` says, remembered as long as nothing can have changed it.

        Args:
            by_digest: the client named these bytes, and chose no version.

        Raises:
            Refusal: a new one each time, since raising lengthens the traceback that it carries.
        """
        self._renew()
        if len(self._known) >= MAX_KNOWN.value:
            self._known.clear()
        known = self._known.get((sha256, by_digest))
        if known is None:
            try:
                known = self._judged(sha256, by_digest)
            except Refusal as refusal:
                self._known[sha256, by_digest] = refusal.again()
                raise
            if known is None:  # digests that strangers make up take no room
                return None
            self._known[sha256, by_digest] = known
        if isinstance(known, Refusal):
            raise known.again()
        return known

    def _judged(self, sha256: str, by_digest: bool) -> "_Given | None":
        """The bytes under a purl by which they may be given: a layer may be of an image that is denied and of another.

        One under which they are offered comes before one under which they are withdrawn.

        Raises:
            Refusal: there is no such purl; it says what speaks against the one that stands for them.
        """
        reads = self._archive.state
        first = views.name_of(reads, sha256)
        told: Refusal | None = None
        exact: _Given | None = None
        for name in (first, *(one for one in views.names_of(reads, sha256) if one != first)):
            found = views.artifact(reads, sha256, name) if name else None
            if found is None:
                continue
            refusal = self._refuses(found)
            if refusal is None:
                return _Given(found.body, _file(found))
            if by_digest and exact is None:
                denied = self._refuses(found, by_digest=True)
                if denied is None:
                    exact = _Given(found.body, _file(found, refusal.what))
                refusal = denied or refusal
            told = told or refusal
        if exact is None and told is not None:
            raise told
        return exact

    def local(self, sha256: str) -> Path | None:
        digest = bytes.fromhex(sha256)
        here = self._shelf.local(digest)
        if here is not None:
            self.met(digest)
        return here

    def arriving(self, sha256: str) -> Arriving:
        found = self._allowed(sha256)
        if found is None:
            raise _unknown(sha256)
        return self._arriving(found.body, found.body["agreeing"])

    async def blob(self, sha256: str) -> Path:
        """The file's path; many askers share one download."""
        return await _whole(self.arriving(sha256))

    async def published(self, sha256: str) -> Path:
        """The same for builds on this node, which take what the log offers, whatever clients may have.

        Raises:
            Refusal: as `blob`, but for `denied`.
        """
        found = views.artifact(self._archive.state, sha256)
        if found is None:
            raise _unknown(sha256)
        record = views.status(self._archive.state, sha256, found.body["purl"])
        if record is not None:
            standing.refuse_unless_offered(record)
        return await _whole(self._arriving(found.body, found.body["agreeing"]))

    async def metadata(self, sha256: str) -> bytes | None:
        found = self._allowed(sha256)
        if found is None:
            return None
        blob, holders = found.body.get("metadata"), found.body["agreeing"]
        if blob is None:
            return None
        path = await _whole(self._arriving(blob, holders))
        return await trio.Path(path).read_bytes()

    async def contents(self, sha256: str) -> bytes | None:
        """What the file holds, as its builders agreed; whoever installed it may ask, whatever policy says today."""
        found = views.artifact(self._archive.state, sha256)
        if found is None:
            return None
        blob, holders = found.body["members"], found.body["agreeing"]
        if blob["size"] > MAX_CONTENTS_BYTES.value:
            raise Refusal("too-large", what="its list of members is too long to be told", who="its builders",
                          do="compare the file itself: pyrsia verify FILE")  # fmt: skip
        path = await _whole(self._arriving(blob, holders))
        return await trio.Path(path).read_bytes()

    async def proof(self, sha256: str) -> bytes | None:
        return self._proofs.of_artifact(sha256)

    async def attestations(self, sha256: str) -> bytes | None:
        return await self._bundle(sha256)

    def _arriving(self, blob: dict[str, Any], holders: Sequence[str]) -> Arriving:
        """One blob, from here or from the builders that agreed on it."""
        ref = BlobRef(bytes.fromhex(blob["manifest"]), bytes.fromhex(blob["sha256"]), blob["size"])
        return self.arrivals.bring(ref, self.sources(ref.sha256, [NodeId(unb32(node)) for node in holders]))


async def _whole(arriving: Arriving) -> Path:
    """Its path once every byte is here.

    Raises:
        Refusal: `unavailable`, `storage-full`.
    """
    try:
        await arriving.ready(arriving.size)
        return arriving.path
    except StorageFull:
        raise
    except Unavailable as error:
        raise Refusal(
            "unavailable",
            what=str(error),
            who="the builders or the network between",
            do="try again when one of them is back; see `pyrsia peers`",
        ) from None
    finally:
        arriving.close()


def _unknown(sha256: str) -> Refusal:
    return Refusal(
        "not-found", what=f"the log names no file {sha256[:16]}", who="the client's request", do="check it"
    )


def _file(placed: Placed, yanked: str = "") -> ProjectFile:
    body = placed.body
    package = purls.parse(body["purl"])
    return ProjectFile(
        filename=body["file"],
        sha256=body["sha256"],
        size=body["size"],
        upload_time_ms=body["time_ms"],
        purl=body["purl"],
        name=package.name,
        version=package.version,
        verdict=body["verdict"],
        log_index=placed.leaf,
        request=body["request"],
        requires_python=body.get("requires_python", ""),
        metadata_sha256=body["metadata"]["sha256"] if "metadata" in body else "",
        yanked=yanked,
        upstream=body["upstream"],
        agreeing=tuple(body["agreeing"]),
        dissenting=tuple(one["builder"] for one in body["dissenting"]),
    )
