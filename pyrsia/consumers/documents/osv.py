"""One OSV record as the facts that it comes to: an advisory for each package of an ecosystem that is known here.

What it means for a package stands in the ranges of versions of that package, and in those of its list of versions that
lie in no range. A record that cannot be said whole is refused whole, so that nothing of it is half said.

Source: the OSV schema 1.7; docs/knowledge.md, "Importing".
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final, TypeVar

import msgspec

from pyrsia.consumers.documents.listed import outside
from pyrsia.consumers.documents.outcome import shown
from pyrsia.consumers.documents.purls import spelled
from pyrsia.consumers.documents.ranges import Range, stretches
from pyrsia.consumers.documents.reading import text, typed
from pyrsia.errors import Malformed
from pyrsia.knowledge.said import ADVISORY
from pyrsia.knowledge.severities import UNKNOWN, WORDS, of_vector, rank
from pyrsia.ledger import shape
from pyrsia.serve.desks.knowing import FactTold
from pyrsia.units import (
    MAX_AFFECTED,
    MAX_FACT_ALIASES,
    MAX_FACT_BYTES,
    MAX_FACT_VERSIONS,
    MAX_TIME_MS,
    SPELLINGS_KNOWN,
    Limit,
)
from pyrsia.wire.text import safe

# ecosystem as OSV writes it -> purl type; a suffix behind a colon names a release or a registry
ECOSYSTEMS: Final = {"PyPI": "pypi", "Maven": "maven", "ConanCenter": "conan"}
MAX_VERSIONS_BYTES = Limit(
    45_000, "of versions named one by one: an entry has 60,000, and other fields beside"
)
_VECTORS: Final = ("CVSS_V2", "CVSS_V3", "CVSS_V4")
_MODERATE: Final = {"moderate": "medium"}  # GitHub's word
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

T = TypeVar("T")

_id: Final = shape.ascii_name(64)
_version: Final = shape.ascii_name(100)
_vector: Final = shape.ascii_name(200)


_NOTHING: Final = msgspec.Raw(b"null")


class _Severity(msgspec.Struct):
    """`score`: of whatever shape."""

    type: str = ""
    score: msgspec.Raw = _NOTHING


class _Specific(msgspec.Struct):
    severity: Any = None


class _Package(msgspec.Struct):
    ecosystem: str
    name: str


class _Affected(msgspec.Struct):
    package: _Package | None = None
    severity: list[_Severity] | None = None
    ranges: list[Range] | None = None
    versions: list[str] | None = None


class _Record(msgspec.Struct):
    id: str
    modified: datetime
    published: datetime | None = None
    withdrawn: datetime | None = None
    aliases: list[str] | None = None
    summary: str | None = None
    details: str | None = None
    severity: list[_Severity] | None = None
    affected: list[_Affected] | None = None
    database_specific: msgspec.Raw = _NOTHING  # a hint, of whatever shape


@dataclass(frozen=True, slots=True)
class Record:
    """What one record comes to.

    Attributes:
        modified_ms: as its database says; of two with one id the newer counts.
        facts: at most one for each package.
        subjects: every package of ours that it names, those too of which nothing can be said.
        skipped, noted: reasons, for a `Tally`.
    """

    id: str
    modified_ms: int
    facts: tuple[FactTold, ...]
    subjects: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()
    noted: tuple[str, ...] = ()


@dataclass(slots=True)
class _About:
    """All that a record says of one package, which may stand in several places of it."""

    kind: str
    severity: list[_Severity] = field(default_factory=list)
    ranges: list[Range] = field(default_factory=list)
    versions: set[str] = field(default_factory=set)


def read(data: bytes, now_ms: int) -> Record:
    """The record that `data` is.

    Args:
        now_ms: Unix time; a withdrawal that lies ahead is none yet.

    Raises:
        Malformed: no OSV record, or one that the log has no room for; the text names the record if that is known.
    """
    found = typed(data, _Record)
    try:
        _id(found.id)
    except Malformed as error:
        raise Malformed(f"id: {error}") from None
    try:
        return _said(found, now_ms)
    except Malformed as error:
        raise Malformed(f"{found.id}: {error}") from None


def _said(found: _Record, now_ms: int) -> Record:
    skipped: list[str] = []
    modified_ms = _ms(found.modified)
    packages = _packages(found.affected or (), skipped)
    withdrawn = found.withdrawn is not None and _ms(found.withdrawn) <= now_ms
    if withdrawn:
        fields = {"advisory": found.id, "modified_ms": modified_ms}
        gone = tuple(FactTold(ADVISORY, purl, fields=fields, withdraw=True) for purl in packages)
        return Record(found.id, modified_ms, gone, tuple(packages), tuple(skipped))
    aliases, few = _aliases(found)
    noted = ["aliases left out"] if few else []
    common: dict[str, Any] = {
        "advisory": found.id,
        "modified_ms": modified_ms,
        **({"aliases": aliases} if aliases else {}),
    }
    valid_from = _ms(found.published) if found.published is not None else 0
    words = _text(found)
    facts = []
    for purl, about in packages.items():
        meant = _meant(about, noted)
        if not meant:
            skipped.append("git commits only, no versions" if about.ranges else "names no versions")
            continue
        fields = {
            **common,
            **_severity(about.severity or found.severity or (), found.database_specific),
            **meant,
        }
        facts.append(FactTold(ADVISORY, purl, words, valid_from, fields))
    return Record(found.id, modified_ms, tuple(facts), tuple(packages), tuple(skipped), tuple(noted))


def _packages(affected: Sequence[_Affected], skipped: list[str]) -> dict[str, _About]:
    """By purl, in the order of the record; what is no package of ours goes to `skipped`."""
    if len(affected) > MAX_AFFECTED.value:
        raise Malformed(f"it names {len(affected)} packages, {MAX_AFFECTED.value} are read")
    if not affected:
        skipped.append("names no package")
    found: dict[str, _About] = {}
    for one in affected:
        if one.package is None:
            skipped.append("names no package")
            continue
        ecosystem = one.package.ecosystem.partition(":")[0]
        kind = ECOSYSTEMS.get(ecosystem)
        if kind is None:
            skipped.append(f"unknown ecosystem {shown(ecosystem) or 'without a name'}")
            continue
        about = found.setdefault(_purl(kind, one.package.name), _About(kind))
        about.severity += one.severity or ()
        about.ranges += one.ranges or ()
        about.versions.update(one.versions or ())
    return found


@lru_cache(SPELLINGS_KNOWN.value)
def _purl(kind: str, name: str) -> str:
    namespace = ""
    if kind == "maven":
        namespace, colon, rest = name.partition(":")
        if not colon:
            raise Malformed(f"{shown(name)} is no group:artifact")
        return _spelled(kind, namespace, rest, name)
    return _spelled(kind, "", name, name)


def _spelled(kind: str, namespace: str, name: str, said: str) -> str:
    try:
        return spelled(kind, namespace, name)
    except Malformed as error:
        raise Malformed(f"{shown(said)} is no {kind} package: {error}") from None


def _meant(about: _About, noted: list[str]) -> dict[str, Any]:
    """The fields that say which versions; empty where the record names none."""
    found = stretches(about.kind, about.ranges)
    for stretch in found:
        for version in stretch.values():
            if not _is_version(version):
                _checked(version)
    versions = outside(about.kind, found, about.versions) if found else sorted(about.versions)
    if found and not all(map(_is_version, versions)):  # rather the ranges than nothing
        versions = [one for one in versions if _is_version(one)]
        noted.append("listed versions that no package can have left out")
    if len(versions) > MAX_FACT_VERSIONS.value or sum(map(len, versions)) > MAX_VERSIONS_BYTES.value:
        raise Malformed(
            f"it names {len(versions):,} versions one by one, {MAX_FACT_VERSIONS.value:,} fit into a fact"
        )
    if not found:
        for version in versions:
            _checked(version)
    return {**({"range": found} if found else {}), **({"versions": versions} if versions else {})}


@lru_cache(SPELLINGS_KNOWN.value)
def _is_version(said: str) -> bool:
    try:
        _version(said)
    except Malformed:
        return False
    return True


def _checked(version: str) -> None:
    try:
        _version(version)
    except Malformed as error:
        raise Malformed(f"version {shown(version)[:60]}: {error}") from None


def _severity(said: Iterable[_Severity], specific: msgspec.Raw) -> dict[str, str]:
    """The worst vector and its word; a database's own word where no vector can be read."""
    vectors = [_hint(one.score, str) or "" for one in said if one.type in _VECTORS]
    rated = [(of_vector(vector), vector) for vector in vectors if _is_vector(vector)]
    known = [(word, vector) for word, vector in rated if word != UNKNOWN]
    if known:
        word, vector = max(known, key=lambda one: (rank(one[0]), one[1]))
        return {"severity": word, "cvss": vector}
    hint = _hint(specific, _Specific)
    word = text(hint.severity).lower() if hint is not None else ""
    word = _MODERATE.get(word, word)
    return {"severity": word if word in WORDS else UNKNOWN}


def _hint(raw: msgspec.Raw, shape: type[T]) -> T | None:
    """A part of a record that may have any shape, and costs nothing but itself where it has another."""
    try:
        return msgspec.json.decode(raw, type=shape)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None


def _is_vector(said: str) -> bool:
    try:
        _vector(said)
    except Malformed:
        return False
    return True


def _aliases(found: _Record) -> tuple[list[str], bool]:
    """Sorted, and whether some are left out. Of too many, names in CVE stay first: others look for those."""
    named = {one for one in found.aliases or () if one != found.id}
    good = sorted((one for one in named if _is_id(one)), key=lambda one: (not one.startswith("CVE-"), one))
    kept = sorted(good[: MAX_FACT_ALIASES.value])
    return kept, len(kept) < len(named)


def _is_id(said: str) -> bool:
    try:
        _id(said)
    except Malformed:
        return False
    return True


def _text(found: _Record) -> str:
    return bounded((found.summary or "") if (found.summary or "").strip() else found.details or "")


def bounded(words: str) -> str:
    """What fits into a fact of a stranger's text, on one line, harmless to print."""
    most = MAX_FACT_BYTES.value
    line = safe(" ".join(words[: 4 * most].split()))
    if len(line.encode()) <= most:
        return line
    return line.encode()[: most - 3].decode(errors="ignore") + "\u2026"


def _ms(time: datetime) -> int:
    """POSIX milliseconds, 0 for what lies before. A time without a zone is UTC, as the schema has it."""
    aware = time if time.tzinfo is not None else time.replace(tzinfo=UTC)
    return min(max(0, int((aware - _EPOCH).total_seconds() * 1_000)), MAX_TIME_MS.value)
