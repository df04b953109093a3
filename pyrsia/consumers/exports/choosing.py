"""Which version of a package is exported, and which of its files: those that policy allows.

A package without any is a problem, and one problem refuses the whole export: a list with a hole in it would be
mistaken for a complete one. The text that comes out is read by other programs as theirs, so every name and digest of
the node's is checked before it stands in it.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from pyrsia.errors import Malformed, Refusal
from pyrsia.policy.evaluate import decide
from pyrsia.policy.facts import NETWORK, Facts
from pyrsia.policy.rules import Policy
from pyrsia.units import Limit
from pyrsia.wire import purl as purls
from pyrsia.wire.purl import Purl

MAX_PROBLEMS = Limit(20, "packages that a refusal names; who mends these asks again")
_FILE: Final = re.compile("[A-Za-z0-9_][A-Za-z0-9._+!~-]{0,299}")
_SHA256: Final = re.compile("[0-9a-f]{64}")

Newest = Callable[[Sequence["Version"]], "Version | None"]


@dataclass(frozen=True, slots=True)
class Known:
    """What a node says of a package: facts, its rules, its clock and the age of its head."""

    files: tuple[Facts, ...]
    policy: Policy
    now_ms: int
    head_age_ms: int


@dataclass(frozen=True, slots=True)
class Version:
    """One version with the files of it that are allowed, sorted by name; `refused`: why others are not."""

    purl: Purl
    files: tuple[Facts, ...]
    refused: tuple[str, ...] = ()

    @property
    def published_ms(self) -> int:
        return max((one.published_ms for one in self.files), default=0)


def versions(known: Known) -> list[Version]:
    """All versions that the node told of, in its order.

    Raises:
        Refusal: `unavailable` for names and digests that no node gives.
    """
    allowed: dict[str, list[Facts]] = {}
    refused: dict[str, list[str]] = {}
    for facts in known.files:
        _check(facts)
        said = decide(known.policy, facts, known.now_ms, known.head_age_ms)
        against = [one.what for one in said.reasons if not one.allows]
        if facts.origin != NETWORK:
            against.append("it is not in the log, so nobody agreed on its bytes")
        if against:
            refused.setdefault(facts.purl, []).append(f"{facts.file or facts.purl}: {'; '.join(against)}")
            allowed.setdefault(facts.purl, [])
        else:
            allowed.setdefault(facts.purl, []).append(facts)
    return [
        Version(
            purls.parse(purl),
            tuple(sorted(files, key=lambda one: (one.file, one.sha256))),
            tuple(refused.get(purl, ())),
        )
        for purl, files in allowed.items()
    ]


def chosen(asked: Purl, found: Sequence[Version], newest: Newest, *, whole: bool = False) -> "Version | str":
    """The version that is meant, or why there is none.

    Args:
        newest: of several that are allowed, where the version was left open.
        whole: a version with a refused file does not count.
    """
    there = [one for one in found if not asked.version or one.purl == asked]
    good = [one for one in there if one.files and not (whole and one.refused)]
    best = newest(good) if good else None
    if best is not None:
        return best
    if not there:
        return f"{asked}: the log holds no file of it"
    why = [reason for one in there for reason in one.refused]
    return f"{asked}: {why[0] if why else 'no version fits'}"


def refuse_problems(problems: Sequence[str]) -> None:
    """
    Raises:
        Refusal: `denied`, if there are any.
    """
    if not problems:
        return
    shown = "; ".join(problems[: MAX_PROBLEMS.value])
    more = f"; and {len(problems) - MAX_PROBLEMS.value} more" if len(problems) > MAX_PROBLEMS.value else ""
    raise Refusal(
        "denied",
        what=f"{len(problems)} of what is asked for cannot be exported: {shown}{more}",
        who="the node's policy, or the log",
        do="ask for a build (pyrsia build request), or see pyrsia policy explain; nothing was written",
    )


def refuse_none(found: Sequence[Version], what: str) -> None:
    """
    Raises:
        Refusal: `not-found`, if there is nothing to write: an empty file would look like one that was meant.
    """
    if not found:
        raise Refusal(
            "not-found",
            what=f"the log holds no {what} that policy allows",
            who="the node's policy, or the log",
            do="see what is there with pyrsia package search, what holds with pyrsia policy show; nothing was written",
        )


def by_time(found: Sequence[Version]) -> Version | None:
    """The one that was published last; of two at once, the one that sorts last."""
    return max(found, key=lambda one: (one.published_ms, one.purl.version), default=None)


def _check(facts: Facts) -> None:
    try:
        good = bool(purls.parse(facts.purl).version) or facts.origin != NETWORK
    except Malformed:
        good = False
    if facts.origin == NETWORK:
        good = good and bool(_FILE.fullmatch(facts.file) and _SHA256.fullmatch(facts.sha256))
    if not good:
        raise Refusal(
            "unavailable",
            what="the node names a file as no node does",
            who="whatever listens at that address",
            do="ask a node that you trust",
        )


def summary(found: Sequence[Version]) -> list[Mapping[str, object]]:
    """For JSON."""
    return [
        {
            "purl": str(one.purl),
            "files": [
                {"file": each.file, "sha256": each.sha256, "status": each.status} for each in one.files
            ],
            "left_out": list(one.refused),
        }
        for one in found
    ]
