"""What this node can tell who provides a package (`serve.desks.providing.Provider`).

Verdicts and statuses are the ledger's, advisories and licences those of the knowledge desk. Nothing is decided here,
and policy has no say: what this node's clients may have is another question (`pyrsia policy check`).

Source: docs/providers.md.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cmp_to_key, partial
from heapq import nlargest
from typing import Any, Final

import trio

from pyrsia.errors import Malformed, Refusal
from pyrsia.knowledge.known import Advisory, Known
from pyrsia.knowledge.readers import compare, ordered, read
from pyrsia.knowledge.said import ADVISORY, DESCRIPTION
from pyrsia.knowledge.standing import STANDS
from pyrsia.ledger import views
from pyrsia.ledger.facts import RECHECK
from pyrsia.ledger.standing import DISPUTED, WITHDRAWN, worst_first
from pyrsia.ledger.touches import package_key
from pyrsia.ledger.views import Placed
from pyrsia.node.inspecting.past import Log, Past, Pasts
from pyrsia.node.log import times
from pyrsia.node.log.times import Moment
from pyrsia.node.members.past import PastMembers
from pyrsia.node.packages.downloads import Downloads
from pyrsia.node.packages.past import Names, Then
from pyrsia.serve.desks.knowing import NOW, AsOf, AuditOrder, AuditRow, FactRow, KnowledgeDesk
from pyrsia.serve.desks.providing import (
    AdvisoryView,
    DescriptionView,
    FileView,
    LicenceView,
    MappingView,
    Overview,
    RecheckView,
    SbomView,
    VersionView,
    worst,
)
from pyrsia.units import MAX_API_ROWS, MAX_AUDITED, MAX_FILES_SOUGHT, MAX_OVERVIEW_VERSIONS, Limit
from pyrsia.wire import purl as purls
from pyrsia.wire.purl import Purl

MAX_FILES = Limit(
    5_000, "newest of one package that are told of: a version has some tens, an image some hundred"
)
MAX_FACTS = Limit(
    5_000, "facts about one package that are told: 5 pages of the desk; advisories are counted by it"
)
MAX_ADVISORIES = Limit(
    20_000, "of all versions of an overview, 400 bytes each: 8 MB; older ones are asked for by their own purl"
)
MAX_DIGESTS = Limit(
    40, "newest files that facts by digest are looked up for: 5 ms; older ones are asked for by version"
)
TURN: Final = 16  # files between two turns of others
LOOKED_A_TURN: Final = 128  # that are only passed: 20 us each
SORTED_A_TURN: Final = 256  # versions: some two milliseconds, where they are words


@dataclass(frozen=True, slots=True)
class _Told:
    """What the desk says of a package at a moment.

    Attributes:
        first_ms: when each advisory was first spoken of.
        past: whether the moment was named.
    """

    size: int
    time_ms: int
    whole: bool
    rows: tuple[FactRow, ...]
    names: Mapping[str, str]
    first_ms: Mapping[str, int]
    past: bool
    rechecks: tuple[FactRow, ...] = ()

    def name(self, node: str) -> str:
        return self.names.get(node, node[:8])


@dataclass(frozen=True, slots=True)
class _Published:
    """Files by version, each version's in log order. `whole`: False where older ones were left out."""

    files: Mapping[str, Sequence[Placed]]
    whole: bool


class Provider:
    """One node's face for who provides packages."""

    def __init__(
        self,
        log: Log,
        desk: KnowledgeDesk,
        downloads: Downloads | None = None,
        *,
        pushed: Callable[[str], bool] = lambda package: False,
        pasts: Pasts | None = None,
        members: PastMembers | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`pushed`: whether a versionless purl was pushed to this node, so that the log knows nothing of it.

        Args:
            members: who was one; without it members of the past have the names of now.
        """
        self._members = members
        self._log, self._desk, self._downloads, self._pushed = log, desk, downloads, pushed
        self._reads, self._clock = log.state, clock
        self._names, self._pasts = Names(log), pasts or Pasts(log)

    async def then(self, at: AsOf) -> Then:
        now_ms = int(self._clock() * 1000)
        moment = await times.moment(self._log, at.size, at.time_ms, now_ms)
        await self._names.read()
        return Then(self._log, self._names, self._pasts, moment, self._names.count(moment.size))

    async def overview(self, purl: str, at: AsOf, most: int = MAX_OVERVIEW_VERSIONS.value) -> Overview:
        wanted = _parsed(purl)
        package = str(wanted.versionless)
        if self._pushed(package):
            raise _unknown(package, "it was pushed to this node, and the log says nothing of it")
        told = await self._told(package, at)
        found = await self._published(package, wanted.version, told.size)
        if not found.files:
            among = "" if found.whole else f", among the newest {MAX_FILES_SOUGHT.value} files of the package"
            moment = "" if at == NOW else " at that moment"
            raise _unknown(purl, f"the log publishes no file of it{moment}{among}")
        most = min(most, MAX_OVERVIEW_VERSIONS.value)
        shown = await newest_first(wanted.type, list(found.files), most)
        then = (await self._pasts.at(package_key(package), told.size))[0] if told.past else None
        files = {one: await self._views(found.files[one], told, then) for one in shown}
        told = replace(told, rechecks=await self._rechecks(told, files))
        audited = await self._audited([f"{package}@{one}" for one in shown], at)
        told = replace(told, first_ms=await self._first_of_files(told, package, files, audited))
        shown = [one for one in shown if f"{package}@{one}" in audited]
        rows: list[VersionView] = []
        for one in shown:
            await trio.lowlevel.checkpoint()
            row = audited.get(f"{package}@{one}")
            rows.append(_version(wanted.type, f"{package}@{one}", one, files[one], row, told))
        mapping, known = self._mapping(package, told.size, then)
        here = told.whole and found.whole and known and (then is None or then.whole)
        return Overview(
            purl=purl,
            package=package,
            size=told.size,
            time_ms=told.time_ms,
            whole=here and all(row.known is None or row.known.whole for row in audited.values()),
            versions=tuple(rows),
            descriptions=tuple(_descriptions(told, (package, purl))),
            mapping=mapping,
            more=len(found.files) > len(shown) or not found.whole,
            downloads=_total(wanted.type, map(self._counts, found.files.values())),
        )

    async def _told(self, package: str, at: AsOf) -> _Told:
        rows: list[FactRow] = []
        page = await self._desk.facts(package, at, kind="", first=0, count=MAX_API_ROWS.value)
        whole = page.whole
        rows += page.facts
        while page.next >= 0 and len(rows) < MAX_FACTS.value:
            # The same moment, also if the log grows meanwhile.
            fixed = AsOf(size=page.size) if at.time_ms is None else at
            page = await self._desk.facts(package, fixed, kind="", first=page.next, count=MAX_API_ROWS.value)
            rows += page.facts
        whole, past = whole and page.next < 0, at != AsOf()
        names: Mapping[str, str] = views.names(self._reads)
        if past and self._members is not None:
            names = await self._members.names(Moment(page.size, page.time_ms, past))
        return _Told(page.size, page.time_ms, whole, tuple(rows), names, _first(rows), past)

    async def _published(self, package: str, version: str, size: int) -> "_Published":
        """Files of the log's first `size` leaves by their versions, the newest if there are too many to tell of.

        Args:
            version: the one whose files are wanted; "" for all.
        """
        found: dict[tuple[str, str, str], Placed] = {}
        whole = True
        history = views.project_history(self._reads, package, newest=True, size=size)
        for count, (placed, _) in enumerate(history):
            if count >= MAX_FILES_SOUGHT.value or len(found) >= MAX_FILES.value:
                whole = False
                break
            if count % LOOKED_A_TURN == 0:
                await trio.lowlevel.checkpoint()
            of = purls.parse(placed.body["purl"]).version
            if version in ("", of):
                key = (of, placed.body["sha256"], placed.body["file"])
                found.pop(key, None)  # what was published again stands where it stood first
                found[key] = placed
        files: dict[str, list[Placed]] = {}
        for (of, _, _), placed in reversed(found.items()):
            files.setdefault(of, []).append(placed)
        return _Published(files, whole)

    async def _views(self, files: Sequence[Placed], told: _Told, then: Past | None) -> list[FileView]:
        made: list[FileView] = []
        for count, placed in enumerate(files):
            if count % TURN == 0:
                await trio.lowlevel.checkpoint()
            made.append(self._file(placed, told, then))
        return made

    async def _rechecks(self, told: _Told, files: Mapping[str, Sequence[FileView]]) -> tuple[FactRow, ...]:
        """Those of the package, and those of the newest files that are told of by their digests, in log order."""
        rows = {row.leaf: row for row in told.rows if row.kind == RECHECK}
        newest = sorted((file for some in files.values() for file in some), key=lambda file: -file.leaf)
        for digest in dict.fromkeys(file.sha256 for file in newest[: MAX_DIGESTS.value]):
            page = await self._desk.facts(
                f"sha256:{digest}", AsOf(size=told.size), kind=RECHECK, first=0, count=MAX_API_ROWS.value
            )
            rows.update((row.leaf, row) for row in page.facts)
        return tuple(rows[leaf] for leaf in sorted(rows))

    async def _first_of_files(
        self,
        told: _Told,
        package: str,
        files: Mapping[str, Sequence[FileView]],
        audited: Mapping[str, AuditRow],
    ) -> Mapping[str, int]:
        """When each advisory was first spoken of, also by facts about files by their digests.

        Only versions of which more stands than facts about the package say are looked into, the newest files first.
        """
        leaves = {row.leaf for row in told.rows}
        found = dict(told.first_ms)
        more = [
            file
            for version, some in files.items()
            if (row := audited.get(f"{package}@{version}")) is not None and row.known is not None
            if any(one.leaf not in leaves for one in row.known.advisories)
            for file in some
        ]
        more.sort(key=lambda file: -file.leaf)
        for digest in list(dict.fromkeys(file.sha256 for file in more))[: MAX_DIGESTS.value]:
            page = await self._desk.facts(
                f"sha256:{digest}", AsOf(size=told.size), kind=ADVISORY, first=0, count=MAX_API_ROWS.value
            )
            for name, time_ms in _first(page.facts).items():
                found[name] = min(time_ms, found.get(name, time_ms))
        return found

    def _count(self, sha256: str) -> int | None:
        return None if self._downloads is None else self._downloads.of(sha256)

    def _counts(self, files: Sequence[Placed]) -> list[int]:
        """How often each was given; nothing where this node does not count."""
        counts = (self._count(one.body["sha256"]) for one in files)
        return [count for count in counts if count is not None]

    def _file(self, placed: Placed, told: _Told, then: Past | None) -> FileView:
        body = placed.body
        counted = views.artifact(self._reads, body["sha256"], body["purl"]) or placed
        if counted.leaf < told.size:
            body = counted.body  # by it these bytes count: built, where they were only witnessed at first
        status, reason = self._status(body, then)
        return FileView(
            file=body["file"],
            sha256=body["sha256"],
            size=body["size"],
            verdict=body["verdict"],
            status=status,
            reason=reason,
            agreeing=tuple(told.name(one) for one in body["agreeing"]),
            dissenting=tuple(told.name(one["builder"]) for one in body["dissenting"]),
            published_ms=body["time_ms"],
            leaf=placed.leaf,
            request=body["request"],
            downloads=self._count(body["sha256"]),
        )

    def _status(self, body: Mapping[str, Any], then: Past | None) -> tuple[str, str]:
        """What the bytes are worth, and why; `then`: what they were worth at a moment of the past.

        A record says only what its last change made of a file: of a past moment the history is replayed.
        """
        if then is not None:
            status, reason = (
                then.status(body["sha256"], body["purl"]),
                then.reason(body["sha256"], body["purl"]),
            )
        else:
            record = views.status(self._reads, body["sha256"], body["purl"]) or {"status": ""}
            status, reason = str(record["status"]), str(record.get("reason", ""))
        return status or body["verdict"], reason

    async def _audited(self, asked: Sequence[str], at: AsOf) -> dict[str, AuditRow]:
        """Rows of versions, from the first on; of the last none where more is known than an overview tells."""
        found: dict[str, AuditRow] = {}
        told = 0
        left = [tuple(asked[at : at + MAX_AUDITED.value]) for at in range(0, len(asked), MAX_AUDITED.value)]
        while left and not (found and told >= MAX_ADVISORIES.value):
            purls = left.pop(0)
            try:
                answer = await self._desk.audit(AuditOrder(purls, at))
            except Refusal as refusal:
                if refusal.code != "too-large" or len(purls) == 1:
                    raise
                half = len(purls) // 2
                left[:0] = [purls[:half], purls[half:]]
                continue
            found.update({row.purl: row for row in answer.rows})
            told += sum(len(row.known.advisories) for row in answer.rows if row.known is not None)
        return found

    def _mapping(self, package: str, size: int, then: Past | None) -> tuple[MappingView | None, bool]:
        """What was in force, and whether that is known: the state has the newest alone, the history all of them."""
        record, known = views.mapping(self._reads, package), True
        if record is not None and record["leaf"] >= size:
            record, known = (None, False) if then is None or then.cut else (then.mapping, True)
        if record is None:
            return None, known
        return MappingView(record["repository"], record["tag"], tuple(record["keys"]), record["leaf"]), known


def _first(rows: Iterable[FactRow]) -> dict[str, int]:
    """Block time of the first word on each advisory, of those in log order."""
    found: dict[str, int] = {}
    for row in rows:
        if row.kind == ADVISORY:
            found.setdefault(row.body.get("advisory", ""), row.time_ms)
    return found


async def newest_first(kind: str, published: Sequence[str], most: int) -> list[str]:
    """Versions by the order of their ecosystem; by that of their publication where it has none, or cannot read one.

    In turns with others: a package may have thousands.

    Args:
        kind: purl type.
        published: each once, the one that was published first at the beginning.
        most: so many of the newest.
    """
    latest = published[::-1]
    key = cmp_to_key(partial(_order, kind))
    best: list[str] = []
    unread: list[str] = []
    for first in range(0, len(latest), SORTED_A_TURN):
        await trio.lowlevel.checkpoint()
        some = latest[first : first + SORTED_A_TURN]
        readable = {one for one in some if ordered(kind) and read(kind, one) is not None}
        best = nlargest(most, best + [one for one in some if one in readable], key=key)
        unread += [one for one in some if one not in readable]
    return [*best, *unread][:most]


def _order(kind: str, one: str, other: str) -> int:
    return compare(kind, one, other) or 0


def _version(
    kind: str, purl: str, version: str, files: Sequence[FileView], row: AuditRow | None, told: _Told
) -> VersionView:
    known = (row.known if row is not None else None) or Known(told.size, False)
    worst_file = min(files, key=lambda file: worst_first(file.status))
    advisories = tuple(_advisory(one, told) for one in known.advisories)
    digests = {f"sha256:{file.sha256}" for file in files}
    return VersionView(
        purl=purl,
        version=version,
        verdict=min((file.verdict for file in files), key=worst_first),
        status=worst_file.status,
        reason=worst_file.reason if worst_file.status in (DISPUTED, WITHDRAWN) else "",
        published_ms=files[0].published_ms,
        files=tuple(files),
        advisories=advisories,
        licences=tuple(
            LicenceView(one.expression, told.name(one.issuer), one.leaf) for one in known.licences
        ),
        sboms=tuple(SbomView(one.format, told.name(one.issuer), one.leaf, one.sha256) for one in known.sboms),
        rechecks=tuple(_rechecks(told, {purl, *digests}, {file.request for file in files})),
        worst=worst(one.severity for one in advisories),
        downloads=_downloads(kind, [file.downloads for file in files if file.downloads is not None]),
    )


def _downloads(kind: str, counts: Sequence[int]) -> int | None:
    if not counts:
        return None
    return sum(counts) if kind == "pypi" else max(counts)


def _total(kind: str, by_version: Iterable[Sequence[int]]) -> int | None:
    counts = [count for one in by_version if (count := _downloads(kind, one)) is not None]
    return sum(counts) if counts else None


def _advisory(one: Advisory, told: _Told) -> AdvisoryView:
    return AdvisoryView(
        id=one.id,
        aliases=one.aliases,
        severity=one.severity,
        cvss=one.cvss,
        why=one.why,
        sure=one.sure,
        fixed=one.fixed,
        issuer=told.name(one.issuer),
        leaf=one.leaf,
        first_known_ms=told.first_ms.get(one.id, 0),
        text=one.text,
        vex=tuple((told.name(issuer), outcome, leaf) for issuer, outcome, leaf in one.vex),
    )


def _rechecks(told: _Told, subjects: set[str], requests: set[str]) -> Iterable[RecheckView]:
    """In log order: those of the version or its files, and those of the whole package that name its request."""
    for row in told.rechecks:
        if row.subject in subjects or row.body.get("request") in requests:
            yield RecheckView(
                row.body["outcome"], row.author_name or told.name(row.author), row.time_ms, row.leaf,
                row.body["request"],
            )  # fmt: skip


def _descriptions(told: _Told, subjects: tuple[str, ...]) -> Iterable[DescriptionView]:
    """What stands of the package, and of the version that was asked for."""
    for row in told.rows:
        if row.kind == DESCRIPTION and row.state == STANDS and row.subject in subjects:
            body = row.body
            yield DescriptionView(
                row.subject, row.author_name or told.name(row.author), row.time_ms, row.leaf, row.text,
                tuple(body.get("tags", ())), body.get("homepage", ""), body.get("namespace", ""), body.get("json", ""),
            )  # fmt: skip


def _parsed(purl: str) -> Purl:
    try:
        return purls.parse(purl)
    except Malformed as error:
        raise Refusal(
            "bad-request",
            what=f"not a purl: {error}",
            who="the client's request",
            do="write pkg:TYPE/NAME@VERSION",
        ) from None


def _unknown(purl: str, why: str) -> Refusal:
    return Refusal(
        "package-unknown", what=f"{purl}: {why}", who="the client's request",
        do="check its name: pyrsia package search; or have it built: pyrsia build request",
    )  # fmt: skip
