"""What this node can tell who provides a package (`serve.providing.Provider`).

Verdicts and statuses are the ledger's, advisories and licences those of the knowledge desk. Nothing is decided here,
and policy has no say: what this node's clients may have is another question (`pyrsia policy check`).

Source: docs/providers.md.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cmp_to_key, partial
from typing import Any, Final

import trio

from pyrsia.errors import Malformed, Refusal
from pyrsia.knowledge import versions
from pyrsia.knowledge.known import Advisory, Known
from pyrsia.knowledge.said import ADVISORY, DESCRIPTION
from pyrsia.knowledge.standing import STANDS
from pyrsia.ledger import views
from pyrsia.ledger.facts import RECHECK
from pyrsia.ledger.standing import DISPUTED, WITHDRAWN
from pyrsia.ledger.touches import package_key
from pyrsia.ledger.views import Placed
from pyrsia.node.downloads import Downloads
from pyrsia.node.inspecting_past import Log, Past, past
from pyrsia.serve.knowing import AsOf, AuditOrder, AuditRow, FactRow, KnowledgeDesk
from pyrsia.serve.providing import (
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
from pyrsia.units import MAX_API_ROWS, MAX_AUDITED, MAX_OVERVIEW_VERSIONS, Limit
from pyrsia.wire import purl as purls
from pyrsia.wire.purl import Purl

MAX_FILES = Limit(5_000, "of one package that are looked at: a version has some tens, an image some hundred")
MAX_FACTS = Limit(
    5_000, "facts about one package that are told: 5 pages of the desk; advisories are counted by it"
)
MAX_DIGESTS = Limit(
    40, "newest files that facts by digest are looked up for: 5 ms; older ones are asked for by version"
)
TURN: Final = 16  # files between two turns of others

_BAD: Final = (WITHDRAWN, DISPUTED)


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


class Provider:
    """One node's face for who provides packages."""

    def __init__(
        self,
        log: Log,
        desk: KnowledgeDesk,
        downloads: Downloads | None = None,
        *,
        pushed: Callable[[str], bool] = lambda package: False,
    ) -> None:
        """`pushed`: whether a versionless purl was pushed to this node, so that the log knows nothing of it."""
        self._log, self._desk, self._downloads, self._pushed = log, desk, downloads, pushed
        self._reads = log.state

    async def overview(self, purl: str, at: AsOf, most: int = MAX_OVERVIEW_VERSIONS.value) -> Overview:
        wanted = _parsed(purl)
        package = str(wanted.versionless)
        if self._pushed(package):
            raise _unknown(package, "it was pushed to this node, and the log says nothing of it")
        told = await self._told(package, at)
        files = await self._files(package, wanted.version, told)
        if not files:
            raise _unknown(purl, "the log publishes no file of it at that moment")
        told = replace(told, rechecks=await self._rechecks(told, files))
        by_version: dict[str, list[FileView]] = {}
        for version, file in files:
            by_version.setdefault(version, []).append(file)
        newest = newest_first(wanted.type, list(by_version))
        shown = newest[: min(most, MAX_OVERVIEW_VERSIONS.value)]
        audited = await self._audited([f"{package}@{one}" for one in shown], at)
        rows: list[VersionView] = []
        for one in shown:
            await trio.lowlevel.checkpoint()
            row = audited.get(f"{package}@{one}")
            rows.append(_version(wanted.type, f"{package}@{one}", one, by_version[one], row, told))
        return Overview(
            purl=purl,
            package=package,
            size=told.size,
            time_ms=told.time_ms,
            whole=told.whole and all(row.known is None or row.known.whole for row in audited.values()),
            versions=tuple(rows),
            descriptions=tuple(_descriptions(told, (package, purl))),
            mapping=self._mapping(package, told.size),
            more=len(newest) > len(shown),
            downloads=_total(wanted.type, by_version.values()),
        )

    async def _told(self, package: str, at: AsOf) -> _Told:
        rows: list[FactRow] = []
        page = await self._desk.facts(package, at, kind="", first=0, count=MAX_API_ROWS.value)
        whole = page.whole
        rows += page.facts
        while page.next >= 0 and len(rows) < MAX_FACTS.value:
            fixed = AsOf(size=page.size)  # the same moment, also if the log grows meanwhile
            page = await self._desk.facts(package, fixed, kind="", first=page.next, count=MAX_API_ROWS.value)
            rows += page.facts
        whole = whole and page.next < 0
        return _Told(
            page.size, page.time_ms, whole, tuple(rows), views.names(self._reads), _first(rows), at != AsOf()
        )

    async def _files(self, package: str, version: str, told: _Told) -> list[tuple[str, FileView]]:
        """Files of the log's first `size` leaves, in log order, with their versions."""
        found: dict[str, tuple[str, FileView]] = {}
        then = await past(self._log, package_key(package), told.size) if told.past else None
        for count, (placed, _) in enumerate(views.project_history(self._reads, package)):
            if count >= MAX_FILES.value or placed.leaf >= told.size:
                break
            if count % TURN == 0:
                await trio.lowlevel.checkpoint()
            of = purls.parse(placed.body["purl"]).version
            if version in ("", of):
                key = f"{placed.body['sha256']} {placed.body['file']} {of}"
                found.setdefault(key, (of, self._file(placed, told, then)))
        return list(found.values())

    async def _rechecks(self, told: _Told, files: Sequence[tuple[str, FileView]]) -> tuple[FactRow, ...]:
        """Those of the package, and those of its newest files by their digests, in log order."""
        rows = {row.leaf: row for row in told.rows if row.kind == RECHECK}
        for digest in dict.fromkeys(file.sha256 for _, file in files[-MAX_DIGESTS.value :]):
            page = await self._desk.facts(
                f"sha256:{digest}", AsOf(size=told.size), kind=RECHECK, first=0, count=MAX_API_ROWS.value
            )
            rows.update((row.leaf, row) for row in page.facts)
        return tuple(rows[leaf] for leaf in sorted(rows))

    def _file(self, placed: Placed, told: _Told, then: Past | None) -> FileView:
        body = placed.body
        counted = views.artifact(self._reads, body["sha256"], body["purl"]) or placed
        if counted.leaf < told.size:
            body = counted.body  # by it these bytes count: built, where they were only witnessed at first
        status, reason = self._status(body, told.size, then)
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
            downloads=None if self._downloads is None else self._downloads.of(body["sha256"]),
        )

    def _status(self, body: Mapping[str, Any], size: int, then: Past | None) -> tuple[str, str]:
        """What the bytes are worth, and why; `then`: what they were worth when the log had `size` leaves.

        A record says only what its last change made of a file: of a past moment the history is replayed.
        """
        record = views.status(self._reads, body["sha256"], body["purl"]) or {"leaf": size, "status": ""}
        status = record["status"] if then is None else then.status(body["sha256"], body["purl"])
        same = record["leaf"] < size and record["status"] == status
        return str(status or body["verdict"]), str(record.get("reason", "")) if same else ""

    async def _audited(self, asked: Sequence[str], at: AsOf) -> dict[str, AuditRow]:
        found: dict[str, AuditRow] = {}
        for first in range(0, len(asked), MAX_AUDITED.value):
            order = AuditOrder(tuple(asked[first : first + MAX_AUDITED.value]), at)
            found.update({row.purl: row for row in (await self._desk.audit(order)).rows})
        return found

    def _mapping(self, package: str, size: int) -> MappingView | None:
        record = views.mapping(self._reads, package)
        if record is None or record["leaf"] >= size:
            return None
        return MappingView(record["repository"], record["tag"], tuple(record["keys"]), record["leaf"])


def _first(rows: Iterable[FactRow]) -> dict[str, int]:
    """Block time of the first word on each advisory, of those in log order."""
    found: dict[str, int] = {}
    for row in rows:
        if row.kind == ADVISORY:
            found.setdefault(row.body.get("advisory", ""), row.time_ms)
    return found


def newest_first(kind: str, published: Sequence[str]) -> list[str]:
    """Versions by the order of their ecosystem; by that of their publication where it has none, or cannot read one.

    Args:
        kind: purl type.
        published: each once, the one that was published first at the beginning.
    """
    latest = list(reversed(published))
    readable = [one for one in latest if _at_least(kind, one, "1") is not None]
    readable.sort(key=cmp_to_key(partial(_order, kind)), reverse=True)
    return readable + [one for one in latest if one not in set(readable)]


def _at_least(kind: str, version: str, other: str) -> bool | None:
    """Whether a range that begins with `other` holds `version`; None where nobody can say."""
    if not versions.ordered(kind):
        return None
    found = versions.meets(kind, version, ({"introduced": other},), ())
    return found.affected if found.sure else None


def _order(kind: str, one: str, other: str) -> int:
    return bool(_at_least(kind, one, other)) - bool(_at_least(kind, other, one))


def _version(
    kind: str, purl: str, version: str, files: Sequence[FileView], row: AuditRow | None, told: _Told
) -> VersionView:
    known = (row.known if row is not None else None) or Known(told.size, False)
    bad = next((file for word in _BAD for file in files if file.status == word), None)
    advisories = tuple(_advisory(one, told) for one in known.advisories)
    digests = {f"sha256:{file.sha256}" for file in files}
    return VersionView(
        purl=purl,
        version=version,
        verdict=files[0].verdict,
        status=bad.status if bad is not None else files[0].status,
        reason=bad.reason if bad is not None else "",
        published_ms=files[0].published_ms,
        files=tuple(files),
        advisories=advisories,
        licences=tuple(
            LicenceView(one.expression, told.name(one.issuer), one.leaf) for one in known.licences
        ),
        sboms=tuple(SbomView(one.format, told.name(one.issuer), one.leaf, one.sha256) for one in known.sboms),
        rechecks=tuple(_rechecks(told, {purl, *digests}, {file.request for file in files})),
        worst=worst(one.severity for one in advisories),
        downloads=_downloads(kind, files),
    )


def _downloads(kind: str, files: Sequence[FileView]) -> int | None:
    counts = [file.downloads for file in files if file.downloads is not None]
    if not counts:
        return None
    return sum(counts) if kind == "pypi" else max(counts)


def _total(kind: str, versions_: Iterable[Sequence[FileView]]) -> int | None:
    counts = [count for files in versions_ if (count := _downloads(kind, files)) is not None]
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
