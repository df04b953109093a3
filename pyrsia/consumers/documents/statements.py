"""VEX documents of either format as facts: one for each product and weakness, the newest where there are several.

Source: docs/knowledge.md, "Importing".
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import msgspec

from pyrsia.consumers.documents import bomxml, cyclonedx, openvex, vulnerabilities
from pyrsia.consumers.documents.osv import bounded
from pyrsia.consumers.documents.outcome import Tally, shown
from pyrsia.consumers.documents.purls import canonical, narrowed, ours
from pyrsia.consumers.documents.reading import refused, text, typed, whole
from pyrsia.errors import Malformed
from pyrsia.knowledge.advisories import LIFTING
from pyrsia.knowledge.said import VEX
from pyrsia.ledger import shape
from pyrsia.serve.desks.knowing import FactTold
from pyrsia.units import Limit

MAX_STATEMENTS = Limit(100_000, "products times weaknesses of one document; an image's has some thousand")

_id: Final = shape.ascii_name(64)
_PART: Final = "part"  # in the place of a purl: it names less than a version
_EARLIEST: Final = datetime.min.replace(tzinfo=UTC)


class _Marks(msgspec.Struct):
    """What tells the formats apart."""

    bom: Any = msgspec.field(name="bomFormat", default="")
    context: Any = msgspec.field(name="@context", default="")


@dataclass(frozen=True, slots=True)
class _Said:
    """One statement about some products, in words of the log; `outcome` "": it has none that the log knows."""

    where: str
    weakness: str
    purls: tuple[str, ...]
    outcome: str
    justification: str
    words: str
    time: datetime
    status: str = ""  # as the document has it


def read(paths: Iterable[Path], tally: Tally) -> list[FactTold]:
    """The facts that documents come to, in their order; what they do not come to goes to `tally`.

    Raises:
        Refusal: `too-large`, `usage`, `bad-request`: no VEX document.
    """
    found: dict[tuple[str, str], tuple[datetime, FactTold]] = {}
    for path in paths:
        data = whole(path)
        try:
            for one in _statements(data, path):
                tally.records += 1
                _take(one, found, tally)
        except Malformed as error:
            raise refused(path, str(error)) from None
    return [fact for _, fact in found.values()]


def _take(one: _Said, found: dict[tuple[str, str], tuple[datetime, FactTold]], tally: Tally) -> None:
    """
    Raises:
        Malformed: more than one import has room for.
    """
    for fact in _facts(one, tally):
        key = fact.subject, str(fact.fields["advisory"])
        if key in found:
            tally.note("two statements about one thing, of which the newer counts")
        if key not in found or found[key][0] <= one.time:
            found[key] = one.time, fact
    if len(found) > MAX_STATEMENTS.value:
        raise Malformed(f"more than {MAX_STATEMENTS.value:,} statements")


def _statements(data: bytes, path: Path) -> Iterable[_Said]:
    if bomxml.root(data):
        return _of_cyclonedx(bomxml.read(data)[0], str(path))
    marks = typed(data, _Marks)
    if marks.bom == cyclonedx.FORMAT:
        return _of_cyclonedx(typed(data, vulnerabilities.VexBom), str(path))
    if openvex.CONTEXT in text(marks.context):
        return _of_openvex(typed(data, openvex.Vex), str(path))
    raise Malformed("it is neither OpenVEX in JSON nor CycloneDX")


def _of_openvex(found: openvex.Vex, where: str) -> Iterator[_Said]:
    for number, one in enumerate(found.statements or (), 1):
        outcome = openvex.OUTCOMES.get(text(one.status), "")
        yield _Said(
            f"{where}: statement {number}",
            openvex.weakness(one),
            tuple(map(_speller(outcome), openvex.products(one))),
            outcome,
            openvex.JUSTIFICATIONS.get(text(one.justification), ""),
            openvex.words(one),
            _time(one.timestamp) or _time(found.timestamp) or _EARLIEST,
            text(one.status),
        )


def _of_cyclonedx(found: vulnerabilities.VexBom, where: str) -> Iterator[_Said]:
    purls = vulnerabilities.purls_of(found)
    for number, one in enumerate(found.vulnerabilities or (), 1):
        analysis = one.analysis or vulnerabilities.Analysis()
        outcome = vulnerabilities.OUTCOMES.get(text(analysis.state), "")
        yield _Said(
            f"{where}: vulnerability {number}",
            text(one.id),
            tuple(vulnerabilities.meant(one, purls, _speller(outcome))),
            outcome,
            vulnerabilities.JUSTIFICATIONS.get(text(analysis.justification), ""),
            text(analysis.detail),
            _time(one.updated) or _EARLIEST,
            text(analysis.state),
        )


def _speller(outcome: str) -> Callable[[str], str]:
    """What speaks in favour of a part speaks for no version; what speaks against a part is said of all of it."""
    return _whole if outcome in LIFTING else canonical


def _whole(written: str) -> str:
    purl = canonical(written)
    return _PART if purl and narrowed(written) else purl


def _facts(one: _Said, tally: Tally) -> Iterator[FactTold]:
    try:
        _id(one.weakness)
    except Malformed as error:
        tally.refuse(one.where, f"{shown(one.weakness) or 'a weakness without a name'}: {error}")
        return
    if not one.outcome:
        document = one.where.rpartition(": ")[0]
        tally.skip(
            f"says an unknown outcome: {shown(one.status)} ({document})" if one.status else "says no outcome"
        )
        return
    fields = {"advisory": one.weakness, "outcome": one.outcome}
    if one.justification and one.outcome == "not-affected":
        fields["justification"] = one.justification
    if not one.purls:
        tally.skip("names no product")
    for purl in one.purls:
        if purl == _PART:
            tally.skip("in favour of a part alone: a file, a classifier, a platform, another registry's")
        elif not purl:
            tally.skip("a product without a purl, or a range of versions")
        elif not ours(purl):
            tally.skip(f"unknown ecosystem {shown(purl.partition('/')[0])}")
        else:
            yield FactTold(VEX, purl, bounded(one.words), fields=fields)


def _time(value: Any) -> datetime | None:
    try:
        found = datetime.fromisoformat(text(value)) if text(value) else None
    except ValueError:
        return None
    return found.replace(tzinfo=UTC) if found is not None and found.tzinfo is None else found
