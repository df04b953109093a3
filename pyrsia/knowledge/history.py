"""How what is known of a package came to be: when each weakness was first told, and what was said of it since.

Source: docs/knowledge.md, "What stands".
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

from pyrsia.knowledge import severities
from pyrsia.knowledge.said import ADVISORY, VEX, Said
from pyrsia.knowledge.standing import STANDS, SUPERSEDED, TO_COME, WITHDRAWN, Standing, every


@dataclass(frozen=True, slots=True)
class Change:
    """One word of one issuer about an advisory.

    Attributes:
        what: known (said for the first time by this issuer), changed, withdrawn, or vex.
        severity: as of this word; "" for withdrawn and vex.
        fixed: ends of its ranges that are called fixed, as the fact has them.
        detail: for people: what differs from this issuer's word before, or the VEX outcome.
        subject: package, version or file that it is about; `range`, `versions`: of a package, which of it are meant.
        from_ms: when it begins, where that is after it was said; 0 for at once.
    """

    leaf: int
    time_ms: int
    issuer: str
    what: str
    severity: str = ""
    fixed: tuple[str, ...] = ()
    detail: str = ""
    subject: str = ""
    range: tuple[Mapping[str, str], ...] = ()
    versions: tuple[str, ...] = ()
    from_ms: int = 0


@dataclass(frozen=True, slots=True)
class Story:
    """Of one advisory id, whoever speaks of it.

    Attributes:
        first_leaf: where the log first had it, under this id; `first_ms`: the block time.
        severity: the highest that stands; "" where none stands any more, or none yet.
        fixed: versions called fixed by what stands.
        withdrawn_ms: when the last of it was taken back; None while anything of it stands or is to come.
        state: stands if anything of it does, else to-come if anything is, else withdrawn.
        coming: severity and time of what is to come next; None for nothing.
        changes: in log order.
    """

    id: str
    aliases: tuple[str, ...]
    first_leaf: int
    first_ms: int
    severity: str
    fixed: tuple[str, ...]
    withdrawn_ms: int | None
    changes: tuple[Change, ...]
    state: str = STANDS
    coming: tuple[str, int] | None = None


def names(one: Said) -> tuple[str, ...]:
    """What an advisory calls the weakness, its id first; of VEX what it speaks of."""
    return (one.body["advisory"], *one.body.get("aliases", ()))


def first_known(facts: Iterable[Said], advisory: str) -> Said | None:
    """The first fact that told of a weakness, by its id or an alias; None where none did."""
    told = (one for one in facts if one.kind == ADVISORY and not one.is_withdrawal and advisory in names(one))
    return min(told, key=lambda one: one.leaf, default=None)


def timeline(facts: Iterable[Said], now_ms: int) -> tuple[Story, ...]:
    """Every weakness that the facts of a package tell of, in the order in which the log came to know them."""
    of_id: dict[str, list[Standing]] = {}
    vex: dict[str, list[Said]] = {}  # by what it speaks of
    for one in every(facts, now_ms):
        if one.said.kind == ADVISORY:
            of_id.setdefault(one.said.body["advisory"], []).append(one)
        elif one.said.kind == VEX:
            vex.setdefault(one.said.body["advisory"], []).append(one.said)
    return tuple(_story(name, rows, vex) for name, rows in of_id.items())


def _story(name: str, rows: list[Standing], vex: Mapping[str, list[Said]]) -> Story:
    first, last = rows[0].said, rows[-1].said
    stand = [one.said for one in rows if one.stands]
    coming = [(_severity(one.said), int(one.said.body["valid_from"])) for one in rows if one.state == TO_COME]
    ends = [_ended(one) for one in rows if one.state in (SUPERSEDED, WITHDRAWN)]
    return Story(
        name,
        tuple(last.body.get("aliases", ())),
        first.leaf,
        first.time_ms,
        max((_severity(one) for one in stand), key=severities.rank, default=""),
        tuple(dict.fromkeys(end for one in stand for end in _fixed(one))),
        max(ends) if len(ends) == len(rows) else None,
        _changes(rows, vex),
        STANDS if stand else TO_COME if coming else WITHDRAWN,
        min(coming, key=itemgetter(1)) if coming else None,
    )


def _ended(one: Standing) -> int:
    """When those who read the log could know: not before the block that says so, nor before the time that it names."""
    return max(one.ends_ms or 0, one.by.time_ms if one.by is not None else 0)


def _severity(one: Said) -> str:
    return severities.severity(one.body["severity"], one.body.get("cvss", ""))


def _fixed(one: Said) -> tuple[str, ...]:
    return tuple(bounds["fixed"] for bounds in one.body.get("range", ()) if "fixed" in bounds)


def _changes(rows: list[Standing], vex: Mapping[str, list[Said]]) -> tuple[Change, ...]:
    by_id = {one.said.id: one.said for one in rows}
    called = dict.fromkeys(name for one in rows for name in names(one.said))
    changes = [_change(one.said, by_id.get(one.said.supersedes)) for one in rows]
    changes += [
        Change(one.by.leaf, one.by.time_ms, one.by.author, "withdrawn", **{**_meant(one.said), "from_ms": 0})
        for one in rows
        if one.by is not None and one.by.is_withdrawal
    ]
    changes += [
        Change(one.leaf, one.time_ms, one.author, VEX, detail=one.body["outcome"], **_meant(one))
        for name in called
        for one in vex.get(name, ())
    ]
    return tuple(sorted(changes, key=lambda one: one.leaf))


def _change(one: Said, before: Said | None) -> Change:
    what = "known" if before is None else "changed"
    return Change(
        one.leaf,
        one.time_ms,
        one.author,
        what,
        _severity(one),
        _fixed(one),
        _differs(one, before),
        **_meant(one),
    )


def _meant(one: Said) -> dict[str, Any]:
    """What a word is about, and from when on."""
    from_ms = int(one.body["valid_from"])
    return {
        "subject": one.subject,
        "range": tuple(one.body.get("range", ())),
        "versions": tuple(one.body.get("versions", ())),
        "from_ms": from_ms if from_ms > one.time_ms else 0,
    }


def _differs(one: Said, before: Said | None) -> str:
    if before is None:
        return ""
    parts = []
    if _severity(one) != _severity(before):
        parts.append(f"severity {_severity(before)} to {_severity(one)}")
    if _fixed(one) != _fixed(before):
        parts.append(f"fixed in {', '.join(_fixed(one)) or 'nothing yet'}")
    elif any(one.body.get(field) != before.body.get(field) for field in ("range", "versions")):
        parts.append("other versions")
    return "; ".join(parts)
