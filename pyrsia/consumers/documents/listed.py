"""Versions that a record lists beside its ranges: which of them no range holds, so that a fact must name them.

A version is affected if a record lists it or a range holds it, and databases list what their ranges hold anyway. What
surely lies in a range is left out; what cannot be read means its own text, and stays. Nearly all are settled by the
first number in which two versions differ, which every ecosystem here compares alike.

Source: the OSV schema 1.7, "Evaluation"; docs/knowledge.md, "Importing".
"""

import re
from collections.abc import Collection, Iterable, Sequence
from functools import lru_cache
from typing import Final, NamedTuple

from pyrsia.consumers.documents.ranges import Stretch
from pyrsia.errors import Malformed
from pyrsia.units import Limit

MAX_COMPARED = Limit(
    200_000, "versions listed times stretches of one package: 3,000 and 64; some seconds where all are odd"
)
LEADS_KNOWN = Limit(65_536, "versions of an export, each of which stands in some records, 12 MB")

BEGINNING: Final = "0"  # as OSV writes: before every version
_NUMBERS: Final = re.compile(r"[0-9]{1,9}(?:\.[0-9]{1,9}){0,9}(?![0-9])", re.ASCII)
_SPLITS_AT: Final = ".+-"  # what ends a part of a version of Conan; 2b is one part there

_Lead = tuple[int, ...]


class _Bounds(NamedTuple):
    begin: str
    begins: _Lead
    end: str
    ends: _Lead
    inside: bool  # whether the end itself is


def outside(kind: str, stretches: Sequence[Stretch], versions: Collection[str]) -> list[str]:
    """Those versions, sorted as text, that may lie outside of every stretch.

    Raises:
        Malformed: more than anybody would compare.
    """
    if len(versions) * len(stretches) > MAX_COMPARED.value:
        raise Malformed(f"it lists {len(versions):,} versions beside {len(stretches)} ranges")
    bounds = [_bounds(kind, one) for one in stretches]
    if kind == "pypi" and any("+" in one.begin or "+" in one.end for one in bounds):
        return sorted(versions)  # a public version means its local ones too, on both sides of such a bound
    return sorted([version for version in versions if not _held(kind, version, bounds)])


def _bounds(kind: str, one: Stretch) -> _Bounds:
    begin, end = one["introduced"], one.get("fixed", one.get("last", ""))
    return _Bounds(begin, _lead(kind, begin), end, _lead(kind, end), "last" in one)


def _held(kind: str, version: str, every: Iterable[_Bounds]) -> bool:
    lead = _lead(kind, version)
    count = len(lead)
    for begin, begins, end, ends, inside in every:
        # Numbers decide where neither of the two only goes on behind the other's end.
        if begin != BEGINNING:
            if lead < begins:
                before = begins[:count] != lead or _order(kind, version, begin, -1) < 0
            else:
                before = lead[: len(begins)] == begins and _order(kind, version, begin, -1) < 0
            if before:
                continue
        if not end:
            return True
        if lead < ends:
            if ends[:count] != lead:
                return True
        elif lead[: len(ends)] != ends:
            continue
        # The last version inside is the last with any label of its own.
        asked = version.partition("+")[0] if inside and kind == "pypi" else version
        if _order(kind, asked, end, 1) < inside:
            return True
    return False


def _order(kind: str, version: str, bound: str, unknown: int) -> int:
    """-1, 0 or 1; `unknown` where nobody can say."""
    from pyrsia.knowledge.versions import compare  # libraries of versions, and some imports need none

    order = compare(kind, version, bound)
    return unknown if order is None else order


@lru_cache(LEADS_KNOWN.value)
def _lead(kind: str, version: str) -> _Lead:
    """The numbers that a version begins with; none where its ecosystem cannot read it, or begins otherwise."""
    found = _NUMBERS.match(version)
    if found is None:
        return ()
    numbers = tuple(map(int, found[0].split(".")))
    following = version[found.end() : found.end() + 1]
    if not following:
        return numbers
    if following == "!" or not _readable(kind, version):
        return ()
    return numbers if kind != "conan" or following in _SPLITS_AT else numbers[:-1]


def _readable(kind: str, version: str) -> bool:
    from pyrsia.knowledge.readers import read

    return read(kind, version) is not None
