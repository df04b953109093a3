"""Which versions a fact means: order and equality by each ecosystem's own rules. No I/O, nothing raised.

Three answers, not two: a version, or the end of a range, that its ecosystem cannot read may lie anywhere, so it counts
as meant, and the answer says that it is not sure. What can be settled without reading it, is: the same text is the
same version, and nothing comes before "0".

- `pypi`: PEP 440, by `packaging`. A local version (1.0+cu118) is one of 1.0 wherever a fact names 1.0.
- `maven`: ComparableVersion, by `univers`. `conan`: Conan's Version, by `univers`.
- `docker`, `generic` and whatever else: no order; the same text is the same version.

Source: docs/knowledge.md, "Which versions are meant"; ranges mean what the OSV schema says, "affected[].ranges".
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cmp_to_key, lru_cache, partial
from typing import Any, Final

from pyrsia.knowledge.readers import compare, ordered, read
from pyrsia.units import Limit

__all__ = [
    "BEGINNING",
    "NO",
    "UNNAMED",
    "WHATEVER",
    "Bounds",
    "Hit",
    "compare",
    "fixed",
    "meets",
    "named",
    "ordered",
    "same",
]

FIXES_TRIED = Limit(
    8, "release lines that overlap; each try asks all ranges, and 64 tries of 64 are 4,096 comparisons"
)
LISTS_KNOWN = Limit(
    512, "lists of versions as advisories name them: at 1,024 a list 50 MB, at the usual 50 3 MB"
)

BEGINNING: Final = "0"  # as OSV writes: comes before every version
WHATEVER: Final = "every version"
UNNAMED: Final = "no version was named"


@dataclass(frozen=True, slots=True)
class Hit:
    """Whether a fact means a version.

    Attributes:
        affected: it does, or may.
        sure: False where the ecosystem's rules cannot compare them, so that it counts as meant.
        why: which part of the fact says so; for people, in the fact's own spelling.
        fixed: the least version above this one that the fact calls fixed and does not mean itself; "" for none.
    """

    affected: bool
    sure: bool
    why: str
    fixed: str = ""


NO: Final = Hit(False, True, "")

Bounds = Mapping[str, str]  # of one range: introduced, and fixed or last


def same(kind: str, one: str, other: str) -> bool | None:
    """Whether two texts are one version: 1.0 and 1.0.0 are. None: unlike texts that nobody can compare."""
    if one == other:
        return True
    if not ordered(kind):
        return False
    order = compare(kind, one, other)
    return None if order is None else order == 0


def _public(kind: str, version: str) -> str:
    """Without its local label: what upstream calls it."""
    return version.partition("+")[0] if kind == "pypi" else version


def named(kind: str, version: str, name: str, *, exactly: bool = False) -> bool | None:
    """Whether a fact that names `name` means `version`: as `same`; a local version is one of its public one.

    Args:
        exactly: whether what speaks in favour of a version is asked about: a local version is a build of somebody
            else, and a repository of Maven or Conan keeps 1.0 and 1.0.0 apart.
    """
    if exactly and kind != "pypi":
        return version == name
    if not exactly and kind == "pypi" and "+" not in name:
        version = _public(kind, version)
    return same(kind, version, name)


def _within(kind: str, version: str, bounds: Bounds, exactly: bool) -> bool | None:
    """Three-valued: one end that surely leaves it out settles the range, whatever the other end is."""
    introduced = bounds["introduced"]
    since: bool | None = True
    if introduced != BEGINNING:
        order = compare(kind, version, introduced)
        if order is not None and order < 0:
            return False
        since = None if order is None else True
    if "fixed" in bounds:
        order = compare(kind, version, bounds["fixed"])
        until = None if order is None else order < 0
    elif "last" in bounds:
        last = bounds["last"]
        order = compare(kind, version if exactly or "+" in last else _public(kind, version), last)
        until = None if order is None else order <= 0
    else:
        return since
    if until is False:
        return False
    return None if since is None or until is None else True


def _shown(bounds: Bounds) -> str:
    """As people write it: [1.0, 1.3), and [1.0, ...) without an end."""
    end = bounds["fixed"] + ")" if "fixed" in bounds else bounds["last"] + "]" if "last" in bounds else "...)"
    return f"[{bounds['introduced']}, {end}"


def meets(
    kind: str, version: str, ranges: Sequence[Bounds], versions: Sequence[str], *, exactly: bool = False
) -> Hit:
    """Whether a fact of a whole package means one version of it.

    Args:
        kind: purl type.
        version: as its purl has it; "" for nobody's, which every fact may mean.
        ranges: each with `introduced` ("0" from the beginning, else inclusive), and `fixed` (exclusive) or `last`
            (inclusive) or neither (without an end). Any of them may mean it.
        versions: meant one by one, besides those in the ranges. Without both the fact means every version.
        exactly: as `named` has it.
    """
    if not ranges and not versions:
        return Hit(True, True, WHATEVER)
    if not version:
        return Hit(True, False, UNNAMED)
    unsure = ""
    for bounds in ranges:
        within = _within(kind, version, bounds, exactly)
        if within:
            return Hit(
                True, True, f"{version} lies in {_shown(bounds)}", fixed(kind, version, ranges, versions)
            )
        if within is None and not unsure:
            unsure = f"{version} cannot be compared with {_shown(bounds)}"
    listed = _listed(kind, version, versions, exactly)
    if listed:
        return Hit(True, True, f"{version} is named", fixed(kind, version, ranges, versions))
    if listed is None and not unsure:
        unsure = f"{version} cannot be compared with the versions that are named"
    return Hit(True, False, unsure, fixed(kind, version, ranges, versions)) if unsure else NO


def _listed(kind: str, version: str, versions: Sequence[str], exactly: bool) -> bool | None:
    """None: nobody can read `version`. A name that nobody can read means only its own text: it is no range."""
    if version in versions:
        return True
    if not versions or not ordered(kind):
        return False
    if read(kind, version) is None:
        return None
    if exactly:
        return kind == "pypi" and _among(kind, version, tuple(versions))
    return _among(kind, version, tuple(versions)) or _among(kind, _public(kind, version), tuple(versions))


def _among(kind: str, version: str, versions: tuple[str, ...]) -> bool:
    found = read(kind, version)
    numbers, words = _names(kind, versions)
    if found is None or found.numbers is None:
        return any(compare(kind, version, one) == 0 for one in versions)
    return found.numbers in numbers or any(compare(kind, version, one) == 0 for one in words)


@lru_cache(LISTS_KNOWN.value)
def _names(kind: str, versions: tuple[str, ...]) -> tuple[frozenset[tuple[int, ...]], tuple[str, ...]]:
    """Those that are numbers and dots alone, to be looked up, and the others that can be read."""
    numbers, words = set(), []
    for one in versions:
        found = read(kind, one)
        if found is not None and found.numbers is not None:
            numbers.add(found.numbers)
        elif found is not None:
            words.append(one)
    return frozenset(numbers), tuple(words)


def fixed(kind: str, version: str, ranges: Sequence[Bounds], versions: Sequence[str]) -> str:
    """The least end of a range above `version` that the fact does not mean itself; "" for none, or none soon.

    A range that means one end means every one before its own, so its own is tried next.
    """
    ends = tuple({one["fixed"] for one in ranges if "fixed" in one})
    tried = _least(kind, ends, version)
    for _ in range(FIXES_TRIED.value):
        if not tried:
            break
        meaning = [one for one in ranges if _within(kind, tried, one, False) is not False]
        if not meaning and _listed(kind, tried, versions, False) is False:
            return tried
        if any("fixed" not in one and "last" not in one for one in meaning):
            break
        beyond = max((one["fixed"] for one in meaning if "fixed" in one), key=_key(kind), default=tried)
        tried = beyond if compare(kind, tried, beyond) == -1 else _least(kind, ends, tried)
    return ""


def _least(kind: str, ends: Sequence[str], above: str) -> str:
    """ "" for none."""
    return min((one for one in ends if compare(kind, above, one) == -1), key=_key(kind), default="")


@lru_cache(8)
def _key(kind: str) -> Callable[[str], Any]:
    return cmp_to_key(partial(_order, kind))


def _order(kind: str, one: str, other: str) -> int:
    return compare(kind, one, other) or 0
