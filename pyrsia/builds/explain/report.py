"""Who said what about one build, and why they differ, for people. Pure: facts of the log and findings come in.

Builders that said the same are one group, called A, B, ... in the order of the draw. Each other group is compared
with the one that won, or with A where nobody did. The words about causes are decided here and nowhere else.

Source: docs/attestations.md, "Explanations".
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any, Final

from pyrsia.wire import canonical
from pyrsia.wire.text import safe

_DIGEST: Final = re.compile("[0-9a-f]{32,128}")
KINDS: Final = (
    "wheel@1",
    "jar@1",
    "conan@1",
    "oci-layer@1",
    "tar@1",
    "sdist@1",
    "gzip@1",
    "bytes",
)  # of files
MAX_GROUPS: Final = 4  # that are compared: the winner with three others; more is noise, and each costs a run

SENTENCES: Final[Mapping[str, str]] = {
    "order": "the same lines in another order: a tool walks a folder, a set or a hash without sorting it",
    "date": "a date or a time is written into it: a tool does not heed SOURCE_DATE_EPOCH",
    "path": "a folder's name is written into it: the build was made elsewhere, and no prefix map hides that",
    "version": "a version is written into it: the builders used different versions of a tool",
    "random": "random digits are written into it: an identifier, an address or a hash seed that changes each time",
    "unknown": "no usual cause explains it: read the lines; a changed source or an altered file looks like this",
    "only-first": "only {first} packed it: another version of a tool, or another source",
    "only-second": "only {second} packed it: another version of a tool, or another source",
    "exec": "its executable bit differs: another umask, or another source",
    "time": "the times of the packed files differ: a tool does not heed SOURCE_DATE_EPOCH",
    "mode": "the modes of the packed files differ: another umask",
    "packing-order": "the files are packed in another order: a tool does not sort a folder",
    "compression": "the same files are compressed differently: another version of zlib",
}


@dataclass(frozen=True, slots=True)
class Said:
    """What one drawn builder said.

    Attributes:
        group: letter of those that said the same, "" for one that said nothing that can be compared.
        outcome: `built`, `failed`, `silent`, or `waiting` while the build runs.
        why: of the verdict, for a dissenter; the phase, for a failure.
    """

    builder: str
    operator: str
    group: str
    outcome: str
    isolation: str
    agrees: bool
    why: str


@dataclass(frozen=True, slots=True)
class Differing:
    """One member that two groups do not share; `shown`: pairs of lines, first group's and second's."""

    path: str
    how: str
    cause: str
    shown: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Pair:
    """One output, compared between two groups.

    Attributes:
        members: how many there are in both. more: differing ones that are not listed.
        packing: `time`, `mode`, `order`, `compression`: what differs in how the files are packed.
        note: why there is no comparison, or why it is one of plain bytes.
    """

    output: str
    first: str
    second: str
    members: int = 0
    differing: tuple[Differing, ...] = ()
    more: int = 0
    packing: tuple[str, ...] = ()
    note: str = ""
    deep: str = ""


@dataclass(frozen=True, slots=True)
class Explanation:
    """All of it."""

    request: str
    purl: str
    state: str
    verdict: str
    said: tuple[Said, ...]
    pairs: tuple[Pair, ...] = ()
    sentences: tuple[str, ...] = field(default=())


def said(view: Any, operators: Mapping[str, str]) -> tuple[Said, ...]:
    """What each builder of the last draw said.

    Args:
        view: a `ledger.views.RequestView`.
        operators: builder -> operator.
    """
    if view.draw is None:
        return ()
    reveals = {one.author: one.body for one in view.reveals if one.round == view.round}
    verdict = view.verdict.body if view.verdict is not None else None
    dissent = {one["builder"]: one["why"] for one in verdict["dissenting"]} if verdict else {}
    letters = groups(view.draw.body["builders"], reveals)
    found = []
    for builder in view.draw.body["builders"]:
        body = reveals.get(builder)
        outcome = body["outcome"] if body else ("silent" if verdict else "waiting")
        found.append(
            Said(
                builder=builder,
                operator=operators.get(builder, ""),
                group=letters.get(builder, ""),
                outcome=outcome,
                isolation=body["isolation"] if body else "",
                agrees=verdict is not None and builder in verdict["agreeing"],
                why=dissent.get(builder) or (body["phase"] if body else ""),
            )
        )
    return tuple(found)


def groups(builders: Sequence[str], reveals: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """builder -> letter; equal bytes of every output, or a failure in the same phase, are one group."""
    letters: dict[bytes, str] = {}
    found = {}
    for builder in builders:
        body = reveals.get(builder)
        if body is None:
            continue
        key = canonical.encode(
            [body["phase"], [[one["name"], one["raw"]["sha256"]] for one in body["outputs"]]]
        )
        found[builder] = letters.setdefault(key, chr(ord("A") + min(len(letters), 25)))
    return found


def to_compare(said: Sequence[Said]) -> tuple[tuple[Said, Said], ...]:
    """(the reference, another) of each group that built something else than the reference."""
    built = [one for one in said if one.outcome == "built"]
    if not built:
        return ()
    first = next((one for one in built if one.agrees), built[0])
    others: dict[str, Said] = {}
    for one in built:
        if one.group != first.group:
            others.setdefault(one.group, one)
    return tuple((first, one) for one in list(others.values())[: MAX_GROUPS - 1])


def matched(
    ours: Sequence[Mapping[str, Any]], theirs: Sequence[Mapping[str, Any]]
) -> list[tuple[Mapping[str, Any] | None, Mapping[str, Any] | None]]:
    """Outputs of two results that are the same file of each, in order; None where one side lacks it.

    Files of images and of Conan packages have digests and revisions in their names, so what differs has another
    name too: such runs are left out, and what then has one name is matched in the order in which it was revealed.
    """
    same = {one["raw"]["sha256"] for one in ours} & {one["raw"]["sha256"] for one in theirs}
    sides: list[dict[str, list[Mapping[str, Any]]]] = [{}, {}]
    for side, outputs in zip(sides, (ours, theirs), strict=True):
        for one in outputs:
            if one["raw"]["sha256"] not in same:
                side.setdefault(_DIGEST.sub("*", one["name"]), []).append(one)
    left, right = sides
    return [
        pair
        for name in sorted(left.keys() | right.keys())
        for pair in zip_longest(left.get(name, ()), right.get(name, ()))
    ]


def pair(output: str, first: Said, second: Said, answer: Mapping[str, Any]) -> Pair:
    """What the worker found about one output. Its answer is a stranger's: whatever does not fit is left out."""
    listed = answer.get("differing")
    found = []
    for one in listed if isinstance(listed, list) else ():
        if not isinstance(one, dict):
            continue
        shown = one.get("shown")
        lines = [
            (safe(str(two[0]))[:200], safe(str(two[1]))[:200])
            for two in (shown if isinstance(shown, list) else ())
            if isinstance(two, list) and len(two) == 2
        ]
        how = str(one.get("how"))
        cause = str(one.get("cause", how))
        if cause in SENTENCES:
            found.append(Differing(safe(str(one.get("path", "")))[:300], how, cause, tuple(lines[:3])))
    packing = answer.get("packing")
    return Pair(
        output=output,
        first=first.group,
        second=second.group,
        members=_count(answer.get("members")),
        differing=tuple(found[:100]),
        more=_count(answer.get("more")),
        packing=tuple(
            word
            for word in ("time", "mode", "order", "compression")
            if isinstance(packing, list) and word in packing
        ),
        note=safe(str(answer.get("unread", "")))[:300],
    )


def _count(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 40 else 0


def sentences(said: Sequence[Said], pairs: Sequence[Pair]) -> tuple[str, ...]:
    """The whole story in words, the most telling first."""
    return tuple(_story(said, pairs))


def _story(said: Sequence[Said], pairs: Sequence[Pair]) -> Iterator[str]:
    failed = [one for one in said if one.outcome == "failed"]
    for phase in dict.fromkeys(one.why for one in failed):
        who = [one.builder[:8] for one in failed if one.why == phase]
        yield f"{', '.join(who)} failed: {safe(phase)[:200]}"
    silent = [one.builder[:8] for one in said if one.outcome == "silent"]
    if silent:
        yield f"{', '.join(silent)} said nothing before the deadline"
    built = [one for one in said if one.outcome == "built"]
    if built and len({one.group for one in built}) == 1:
        count = len(built)
        yield f"all {count} that built it made the same bytes" if count > 1 else "one builder built it"
    for one in pairs:
        yield from _of_pair(one)


def _of_pair(one: Pair) -> Iterator[str]:
    where = f"{one.output}, {one.first} against {one.second}"
    if one.note and not one.differing and not one.packing:
        yield f"{where}: {one.note}"
        return
    if not one.differing:
        yield f"{where}: the same files in another packing"
    elif one.members:
        yield f"{where}: {len(one.differing) + one.more} of {one.members} files differ"
    for name in one.packing:
        yield f"{where}: {SENTENCES['packing-order' if name == 'order' else name]}"
    for name in dict.fromkeys(each.cause for each in one.differing):
        paths = [each.path or one.output for each in one.differing if each.cause == name]
        shown = ", ".join(paths[:3]) + (f" and {len(paths) - 3} more" if len(paths) > 3 else "")
        yield f"{shown}: {SENTENCES[name].format(first=one.first, second=one.second)}"
