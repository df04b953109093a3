"""Cases that a policy must decide as somebody expects: a TOML or JSON file of them, and what came of each.

A case says a purl and what its facts are, as far as they differ from those of a file that everybody would accept:
rebuilt by two operators, a year old, with nothing known against it. No decisions: the engine's are told.

Source: docs/policy.md, "Testing rules".
"""

import json
import tomllib
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated, Any, Final, Literal, get_args, get_origin, get_type_hints

import msgspec

from pyrsia.errors import Malformed, Refusal
from pyrsia.knowledge.known import Advisory, Known, Licence, Sbom
from pyrsia.policy import dotted, lines, wording
from pyrsia.policy.evaluate import decide
from pyrsia.policy.facts import NETWORK, Agreeing, Decision, Facts
from pyrsia.policy.rules import KEYS, Policy
from pyrsia.units import Limit
from pyrsia.wire import purl as purls

MAX_CASES_BYTES = Limit(1 << 20, "some thousand cases, which nobody reads through")
_DAY_MS: Final = 86_400_000
_NOBODY: Final = "a" * 52

_Count = Annotated[int, msgspec.Meta(ge=0, le=1_000_000)]
_Severity = Literal["none", "low", "medium", "high", "critical", "unknown"]


class _Form(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """No unknown keys: a typo in a test would test nothing."""


class Person(_Form, frozen=True):
    """Who agreed: a builder's operator."""

    operator: str
    node: str = ""
    isolation: str = "namespace"


class Vex(_Form, frozen=True):
    outcome: Literal["affected", "fixed", "not-affected", "under-investigation"]
    issuer: str = _NOBODY


class AdvisoryForm(_Form, frozen=True):
    """`sure` = false: the version cannot be compared with what the advisory says."""

    id: str
    severity: _Severity
    aliases: tuple[str, ...] = ()
    fixed: str = ""
    issuer: str = _NOBODY
    sure: bool = True
    vex: tuple[Vex, ...] = ()


class LicenceForm(_Form, frozen=True):
    expression: str
    issuer: str = _NOBODY


class SbomForm(_Form, frozen=True):
    format: Literal["cyclonedx", "spdx"] = "cyclonedx"
    issuer: str = _NOBODY


class FactsForm(_Form, frozen=True):
    """`age_days` = -1: nobody knows how old it is. `known` = false: nobody knows what facts say of it; `whole` = false:
    only a part of the log is here.
    """

    origin: Literal["network", "local", "proxied"] = "network"
    status: Literal["REPRODUCED", "EQUIVALENT", "WITNESSED", "DISPUTED", "WITHDRAWN", ""] = "REPRODUCED"
    verdict: Literal["REPRODUCED", "EQUIVALENT", "WITNESSED", ""] = "REPRODUCED"
    by_digest: bool = False
    agreeing: tuple[str | Person, ...] = ("org A", "org B")
    containment: Literal["none", "partial", "full", ""] = "full"
    upstream: Literal["identical", "equivalent", "different", "none"] = "identical"
    age_days: Annotated[int, msgspec.Meta(ge=-1, le=1_000_000)] = 365
    advisories: tuple[AdvisoryForm, ...] = ()
    licences: tuple[str | LicenceForm, ...] = ()
    sboms: tuple[SbomForm, ...] = ()
    known: bool = True
    whole: bool = True


class Case(_Form, frozen=True):
    """`because`: a rule that must be among those that refuse, or of an allowed file among those that speak for it."""

    purl: str
    expect: Literal["allow", "refuse"]
    because: str = ""
    name: str = ""
    today: date | None = None
    head_age_s: _Count = 0
    facts: FactsForm = FactsForm()


class _File(_Form, frozen=True):
    case: Annotated[tuple[Case, ...], msgspec.Meta(min_length=1)]


def _words(key: str) -> tuple[str, ...]:
    """The words that a key of a case may have; none where it may have any."""
    for form in (Case, FactsForm, AdvisoryForm, Vex, SbomForm):
        kind = get_type_hints(form).get(key)
        if get_origin(kind) is Literal:
            return tuple(word or '""' for word in get_args(kind))
    return ()


@dataclass(frozen=True, slots=True)
class Result:
    """A case and the decision about it. `line`: where it stands; 0 in JSON."""

    case: Case
    line: int
    decision: Decision

    @property
    def rules(self) -> tuple[str, ...]:
        """Those that refuse; of an allowed file all that were asked."""
        said = self.decision.reasons
        return tuple(dict.fromkeys(one.rule for one in said if one.allows == self.decision.allowed))

    @property
    def passed(self) -> bool:
        as_expected = self.decision.allowed == (self.case.expect == "allow")
        return as_expected and (not self.case.because or self.case.because in self.rules)


def run(path: Path, policy: Policy, now_ms: int) -> list[Result]:
    """Every case of a file, in its order.

    Args:
        now_ms: Unix time, for cases that do not say which day it is.

    Raises:
        Refusal: `config-invalid`, naming the file and the line.
    """
    text = _text(path)
    document = _document(text, path)
    try:
        cases = msgspec.convert(document, _File).case
    except msgspec.ValidationError as error:
        raise _at(path, text, *wording.readable(str(error), _words)) from None
    found = []
    for at, case in enumerate(cases):
        place: lines.Place = ("case", at)
        if case.because and case.because not in (*KEYS, "origin", "purl"):
            raise _at(path, text, (*place, "because"), f"there is no rule {case.because[:40]}")
        try:
            purls.parse(case.purl)
        except Malformed as error:
            raise _at(path, text, (*place, "purl"), f"{case.purl[:80]}: {error}") from None
        today_ms = now_ms if case.today is None else _ms(case.today)
        decision = decide(policy, _facts(case, today_ms), today_ms, case.head_age_s * 1_000)
        found.append(Result(case, _line(path, text, place), decision))
    return found


def _ms(day: date) -> int:
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) * 1_000


def _facts(case: Case, now_ms: int) -> Facts:
    said = case.facts
    people = (one if isinstance(one, Person) else Person(one) for one in said.agreeing)
    return Facts(
        purl=case.purl,
        origin=said.origin,
        status=said.status if said.origin == NETWORK else "",
        agreeing=tuple(
            Agreeing(one.node or f"node {at}", one.operator, one.isolation) for at, one in enumerate(people)
        ),
        containment=said.containment,
        upstream=said.upstream,
        published_ms=0 if said.age_days < 0 else max(1, now_ms - said.age_days * _DAY_MS),
        known=_known(said) if said.known else None,
        verdict=said.verdict,
        by_digest=said.by_digest,
    )


def _known(said: FactsForm) -> Known:
    licences = (one if isinstance(one, LicenceForm) else LicenceForm(one) for one in said.licences)
    return Known(
        size=0,
        whole=said.whole,
        advisories=tuple(_advisory(one) for one in said.advisories),
        licences=tuple(Licence(one.expression, one.issuer, 0) for one in licences),
        sboms=tuple(Sbom(one.format, one.issuer, 0) for one in said.sboms),
    )


def _advisory(one: AdvisoryForm) -> Advisory:
    return Advisory(
        id=one.id,
        aliases=one.aliases,
        severity=one.severity,
        cvss="",
        why="as the case says",
        sure=one.sure,
        fixed=one.fixed,
        issuer=one.issuer,
        leaf=0,
        vex=tuple((it.issuer, it.outcome, 0) for it in one.vex),
    )


# -- the file --


def _text(path: Path) -> str:
    try:
        with path.open("rb") as opened:
            raw = opened.read(MAX_CASES_BYTES.value + 1)
        if len(raw) > MAX_CASES_BYTES.value:
            raise _invalid(path, f"it has more than {MAX_CASES_BYTES.value} bytes")
        return raw.decode()
    except OSError as error:
        raise _invalid(path, f"it cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise _invalid(path, "it is not UTF-8 text") from None


def _is_json(path: Path) -> bool:
    return path.suffix.lower() == ".json"


def _document(text: str, path: Path) -> Any:
    try:
        return json.loads(text) if _is_json(path) else dotted.read(text)
    except RecursionError:
        raise _invalid(path, "its values are nested too deeply") from None
    except (
        dotted.TooManyParts,
        tomllib.TOMLDecodeError,
        json.JSONDecodeError,
    ) as error:  # they name the line
        raise _invalid(path, str(error)[:200]) from None
    except ValueError:
        raise _invalid(path, "it holds a number or a date that nobody can read") from None


def _line(path: Path, text: str, place: lines.Place) -> int:
    return 0 if _is_json(path) else lines.line_of(text, place)


def _at(path: Path, text: str, place: lines.Place, why: str) -> Refusal:
    line = _line(path, text, place)
    return _invalid(path, f"line {line}: {why}" if line else why)


def _invalid(path: Path, why: str) -> Refusal:
    return Refusal(
        "config-invalid",
        what=f"the cases are not valid: {why}",
        who=str(path),
        do='correct it; a case says purl, expect = "allow" or "refuse", and facts (docs/policy.md)',
    )
