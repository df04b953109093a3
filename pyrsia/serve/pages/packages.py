"""What a package's page shows: versions with their files, who agreed, what is kept back and why, and the history."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from packaging.version import Version

from pyrsia.builds.maven import versions as maven
from pyrsia.errors import Malformed, Refusal
from pyrsia.ledger.matching import PurlGlob
from pyrsia.policy.facts import LOCAL
from pyrsia.serve import badges
from pyrsia.serve.answers import not_found
from pyrsia.serve.desks.knowing import NOW, AsOf, FactsTold
from pyrsia.serve.desks.providing import Overview
from pyrsia.serve.desks.supply import LocalRow, Supply
from pyrsia.serve.desks.views import Admin, LogQuery, ProjectFile
from pyrsia.serve.finding import TYPES, version_of
from pyrsia.serve.pages.facts import address_of, moment, row
from pyrsia.serve.pages.install import ways
from pyrsia.status import MembersStatus
from pyrsia.units import Limit
from pyrsia.wire import purl as purls
from pyrsia.wire.purl import Purl

_FILES: Final = Limit(400, "files on one page; an image of many layers has some hundred")
_SAID: Final = Limit(100, "facts on the page of what nobody built; the page of facts has the others")
_HISTORY: Final = Limit(50, "entries on a page; the log's own pages have the others")


@dataclass(frozen=True, slots=True)
class FileView:
    """One file, told for people. `leaf` is -1 for what the log does not know."""

    name: str
    version: str
    sha256: str
    size: int
    time_ms: int
    verdict: str
    leaf: int = -1
    request: str = ""
    upstream: str = ""
    agreeing: tuple[str, ...] = ()
    dissenting: tuple[str, ...] = ()
    by: str = ""
    refusal: Refusal | None = None


@dataclass(frozen=True, slots=True)
class VersionView:
    """One version and its files, in the order in which they were published."""

    version: str
    files: tuple[FileView, ...]


async def package(supply: Supply, admin: Admin, text: str, url: str, as_of: str = "") -> dict[str, Any]:
    """The values of the page of a purl, which may name a version.

    What nobody built, and somebody said something of, has a page too: that.

    Args:
        as_of: what was known then, as its form writes it; the files and what this node gives of them are those of now.

    Raises:
        Refusal: `not-found`: it is no purl, or nothing here has this name. `bad-request`: no such moment.
    """
    at = moment(as_of)
    purl = _purl(text)
    name = str(purl.versionless)
    files = _local(supply.local.rows(name), purl) if supply.owner(name) == LOCAL else ()
    owner = LOCAL if files else ""
    if not files:
        files = await _network(supply, admin, purl.versionless)
    shown = [one for one in by_version(files) if purl.version in ("", one.version)]
    said = None if shown else await _said(admin, purl, at)
    if not shown and said is None:
        raise not_found(
            f"this node has no {text[:200]}", do=f"ask the network for it: pyrsia build request {text[:200]}"
        )
    known = None if owner else await _known(admin, str(purl), at)
    if known is not None:  # newest first, as its ecosystem has it; what was not in the log then comes behind
        places = {one.version: place for place, one in enumerate(known.versions)}
        shown.sort(key=lambda one: places.get(one.version, len(places)))
    given = newest(purl.type, [one.version for one in shown if any(not file.refusal for file in one.files)])
    return {
        "purl": text,
        "owner": owner,
        "install": ways(purl.versionless, given, url) if given else (),
        "versions": shown,
        "history": () if owner else await _history(admin, name),
        "known": known,
        "about": {} if known is None else {one.version: one for one in known.versions},
        "past": at != NOW,
        "as_of": as_of,
        "said": said,
        "rows": () if said is None else tuple(map(row, said.facts)),
        "more": "" if said is None or said.next < 0 else address_of(str(purl), as_of, said.next),
        "badge": ""
        if known is None
        else badges.path(str(purl)) + (f"?as_of={known.size}" if at != NOW else ""),
        "markdown": "" if known is None else badges.markdown(str(purl), url, "verdict"),
    }


async def _said(admin: Admin, purl: Purl, at: AsOf) -> FactsTold | None:
    """What was said of it then; None where nothing ever was."""
    page = await admin.knowledge.facts(str(purl), at, kind="", first=0, count=_SAID.value)
    if page.facts or at == NOW:
        return page if page.facts else None
    now = await admin.knowledge.facts(str(purl), NOW, kind="", first=0, count=1)
    return page if now.facts else None


async def _known(admin: Admin, purl: str, at: AsOf) -> Overview | None:
    """What the log says of it; None where it says nothing, as of what only upstream has."""
    try:
        return await admin.provider.overview(purl, at)
    except Refusal as refusal:
        if refusal.code != "package-unknown":
            raise
        return None


def by_version(files: Iterable[FileView]) -> list[VersionView]:
    """Files by their version; the version that was published last comes first."""
    found: dict[str, list[FileView]] = {}
    for file in files:
        found.setdefault(file.version, []).append(file)
    return [VersionView(version, tuple(of)) for version, of in reversed(found.items())]


def newest(kind: str, versions: Sequence[str]) -> str:
    """The version to install: by the order of its ecosystem where that is known here, else the first one; "" of none.

    Args:
        versions: the one that was published last first.
    """
    if kind == "maven":
        releases = [text for text in versions if not text.endswith("-SNAPSHOT")]
        return maven.newest(releases or list(versions)) if versions else ""
    if kind != "pypi":
        return next(iter(versions), "")
    finals = [text for text in versions if not Version(text).is_prerelease]
    return max(finals or versions, key=Version, default="")


def _purl(text: str) -> Purl:
    try:
        return purls.parse(text)
    except Malformed as error:
        raise not_found(
            f"this address names no package: {error}", do="a package's page is /packages/pkg:pypi/idna"
        ) from None


async def _network(supply: Supply, admin: Admin, purl: Purl) -> tuple[FileView, ...]:
    # The catalog calls Python's packages by their names alone.
    name = purl.name if purl.type == "pypi" else str(purl)
    await supply.network.prepare(name)
    kept_back = {one.file.sha256: one for one in supply.network.refused(name)}
    both = [*supply.network.files(name), *(one.file for one in kept_back.values())]
    names = _names(await admin.members())
    shown = sorted(both, key=lambda file: file.log_index)[-_FILES.value :]
    return tuple(
        _of_log(file, names, kept_back[file.sha256].refusal if file.sha256 in kept_back else None)
        for file in shown
    )


def _of_log(file: ProjectFile, names: Mapping[str, str], refusal: Refusal | None) -> FileView:
    return FileView(
        name=file.filename,
        version=file.version,
        sha256=file.sha256,
        size=file.size,
        time_ms=file.upload_time_ms,
        verdict=file.verdict,
        leaf=file.log_index,
        request=file.request,
        upstream="" if file.upstream == "none" else file.upstream,
        agreeing=tuple(names.get(node, node[:8]) for node in file.agreeing),
        dissenting=tuple(names.get(node, node[:8]) for node in file.dissenting),
        refusal=refusal,
    )


def _names(members: MembersStatus) -> dict[str, str]:
    return {one.node_id: f"{one.name} ({one.operator})" for one in members.members}


def _local(rows: Sequence[LocalRow], purl: Purl) -> tuple[FileView, ...]:
    """What was pushed, of each version; what belongs to no version (blobs, lists) is its registry's own business."""
    ecosystem = TYPES.get(purl.package.type, "")
    return tuple(
        FileView(
            name=row.key.rpartition("/")[2],
            version=version,
            sha256=row.sha256,
            size=row.size,
            time_ms=row.time_ms,
            verdict=LOCAL,
            by=row.by,
        )
        for row in sorted(rows, key=lambda row: row.time_ms)[-_FILES.value :]
        if (version := version_of(row, ecosystem))
    )


async def _history(admin: Admin, name: str) -> Sequence[Any]:
    page = await admin.explore(LogQuery(count=_HISTORY.value, order="newest", purl=PurlGlob.parse(name)))
    return page.entries
