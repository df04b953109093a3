"""Events of OSV as stretches of versions, each from where it begins to where it ends.

Events are a set in the format and a list in its files: nearly all lists rise already, and only one that does not is
sorted, by the rules of its ecosystem.

Source: the OSV schema 1.7, "affected[].ranges[].events" and its evaluation algorithm.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from functools import cmp_to_key, lru_cache
from itertools import pairwise
from typing import Final

import msgspec

from pyrsia.errors import Malformed
from pyrsia.units import MAX_FACT_RANGES, Limit

USABLE: Final = ("ECOSYSTEM", "SEMVER")  # types whose events are versions; those of GIT are commits
MAX_EVENTS = Limit(256, "of one range: two for each stretch that a fact may have, twice over")
NUMBERS_KNOWN = Limit(16_384, "versions of an export, each of which stands in some records, 3 MB")
NO_LIMIT: Final = "*"
_NUMBERS: Final = re.compile(r"[0-9]{1,9}(?:\.[0-9]{1,9}){0,9}", re.ASCII)  # plain in every ecosystem

Stretch = dict[str, str]
_At = tuple[str, str]  # what happens, at which version


class Event(msgspec.Struct, omit_defaults=True):
    introduced: str | None = None
    fixed: str | None = None
    last_affected: str | None = None
    limit: str | None = None


class Range(msgspec.Struct):
    type: str = ""
    events: list[Event] | None = None


def stretches(kind: str, ranges: Iterable[Range]) -> list[Stretch]:
    """Of all ranges that speak of versions, none twice, in their order; empty if there are none.

    Args:
        kind: purl type, by whose rules events are sorted.

    Raises:
        Malformed: more than a fact may have, or events that nobody can put in order.
    """
    found: list[Stretch] = []
    for one in ranges:
        if one.type in USABLE:
            found += [stretch for stretch in _of(kind, one.events or []) if stretch not in found]
        if len(found) > MAX_FACT_RANGES.value:
            raise Malformed(f"more than {MAX_FACT_RANGES.value} ranges of versions")
    return found


def _of(kind: str, events: Sequence[Event]) -> list[Stretch]:
    if len(events) > MAX_EVENTS.value:
        raise Malformed(f"a range of {len(events)} events, {MAX_EVENTS.value} are read")
    happens = [at for event in events for at in _happens(event)]
    if not happens:
        return []
    if not any(what == "introduced" for what, _ in happens):
        raise Malformed("a range that ends and never begins")
    if not (_alternates(happens) and _rises(happens)):
        happens = _sorted(kind, happens)
    return _limited(kind, _paired(happens), {one.limit for one in events if one.limit is not None})


def _happens(event: Event) -> list[_At]:
    """Old records have a beginning and its end in one event."""
    said = (("introduced", event.introduced), ("fixed", event.fixed), ("last", event.last_affected))
    return [(what, version) for what, version in said if version is not None]


def _limited(kind: str, found: list[Stretch], limits: set[str]) -> list[Stretch]:
    """What lies before one of the limits at least, which is before the greatest; without limits all of it.

    Raises:
        Malformed: limits that nobody can compare with what they limit.
    """
    if not limits or NO_LIMIT in limits:
        return found
    comparing = _comparing(kind)

    def compare(one: str, other: str) -> int:
        return comparing(("", one), ("", other))

    limit = max(limits, key=cmp_to_key(compare))
    kept: list[Stretch] = []
    for one in found:
        end = one.get("fixed", one.get("last"))
        if end is None or compare(end, limit) >= ("fixed" in one):
            one = {"introduced": one["introduced"], "fixed": limit}
        if one.get("fixed") != limit or compare(one["introduced"], limit) < 0:
            kept.append(one)
    return kept


def _alternates(happens: Sequence[_At]) -> bool:
    begins = [what == "introduced" for what, _ in happens]
    return begins[0] and all(one != other for one, other in pairwise(begins))


def _rises(happens: Sequence[_At]) -> bool:
    """Whether that is plain from numbers; a list of other versions is believed where the rules cannot say more."""
    numbers = [_numbers(version) for _, version in happens]
    return all(one is not None and other is not None and one <= other for one, other in pairwise(numbers))


@lru_cache(NUMBERS_KNOWN.value)
def _numbers(version: str) -> tuple[int, ...] | None:
    return tuple(map(int, version.split("."))) if _NUMBERS.fullmatch(version) else None


def _paired(happens: Iterable[_At]) -> list[Stretch]:
    """A beginning inside a stretch and an end outside of one change nothing, as the format's algorithm has it."""
    found: list[Stretch] = []
    begun = ""
    for what, version in happens:
        if what == "introduced":
            begun = begun or version
        elif begun:
            found.append({"introduced": begun, what: version})
            begun = ""
    if begun:
        found.append({"introduced": begun})
    return found


def _sorted(kind: str, happens: Sequence[_At]) -> list[_At]:
    """
    Raises:
        Malformed: versions that cannot be compared, in a list that does not alternate.
    """
    try:
        return sorted(happens, key=cmp_to_key(_comparing(kind)))
    except Malformed:
        if _alternates(happens):
            return list(happens)
        raise


def _comparing(kind: str) -> Callable[[_At, _At], int]:
    from pyrsia.knowledge.versions import BEGINNING, meets  # libraries of versions, and few events need them

    def compare(one: _At, other: _At) -> int:
        left, right = one[1], other[1]
        if left == right:
            return 0
        if BEGINNING in (left, right):
            return -1 if left == BEGINNING else 1
        hit = meets(kind, left, ({"introduced": right},), ())
        back = meets(kind, right, ({"introduced": left},), ())
        if not (hit.sure and back.sure):
            raise Malformed(
                f"events that must be put in order, and {left[:40]} cannot be compared with {right[:40]}"
            )
        return hit.affected - back.affected

    return compare
