"""Which versions a fact means: order and equality by each ecosystem's own rules. No I/O, nothing raised.

Three answers, not two: a version, or the end of a range, that its ecosystem cannot read may lie anywhere, so it counts
as meant, and the answer says that it is not sure. What can be settled without reading it, is: the same text is the
same version, and nothing comes before "0".

- `pypi`: PEP 440, by `packaging`. A local version (1.0+cu118) is one of 1.0 wherever a fact names 1.0.
- `maven`: ComparableVersion, by `univers`. `conan`: Conan's Version, by `univers`.
- `docker`, `generic` and whatever else: no order; the same text is the same version.

Source: docs/knowledge.md, "Which versions are meant"; ranges mean what the OSV schema says, "affected[].ranges".
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from packaging.version import InvalidVersion
from packaging.version import Version as PypiVersion
from univers.conan.version import Version as ConanVersion
from univers.maven import Version as MavenVersion

from pyrsia.units import Limit

MAX_VERSION_CHARS = Limit(128, "a tag of docker is the longest that purls have; what compares is read whole")
VERSIONS_KNOWN = Limit(65_536, "of versions read: those of 200 advisories on 50 packages, 20 MB, read once")

BEGINNING: Final = "0"  # as OSV writes: comes before every version
WHATEVER: Final = "every version"
UNNAMED: Final = "no version was named"

# Numbers and dots alone: all three ecosystems compare these number by number, zeros at the end left out.
_NUMBERS: Final = re.compile(r"[0-9]+(?:\.[0-9]+)*", re.ASCII)
# What a version of theirs is written with; whatever else stands in a range is not one.
_MAVEN: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+~-]*", re.ASCII)
_CONAN: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_+.-]*", re.ASCII)


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


class _Read:
    """A version as its ecosystem reads it. `numbers`: set where it is numbers and dots alone."""

    __slots__ = ("full", "numbers")

    def __init__(self, full: Any, numbers: tuple[int, ...] | None) -> None:
        self.full = full
        self.numbers = numbers


def _maven(text: str) -> Any:
    return MavenVersion(text) if _MAVEN.fullmatch(text) else None  # type: ignore[no-untyped-call]


def _conan(text: str) -> Any:
    return ConanVersion(text) if _CONAN.fullmatch(text) else None  # type: ignore[no-untyped-call]


def _pypi(text: str) -> Any:
    return PypiVersion(text)


_READERS: Final[dict[str, Callable[[str], Any]]] = {"conan": _conan, "maven": _maven, "pypi": _pypi}
# What the libraries raise at what they cannot read or compare; the last are their way to say "never thought of".
_UNREADABLE: Final = (InvalidVersion, ValueError, TypeError, RuntimeError, IndexError)


def ordered(kind: str) -> bool:
    """Whether versions of this purl type have an order here."""
    return kind in _READERS


@lru_cache(VERSIONS_KNOWN.value)
def _read(kind: str, text: str) -> _Read | None:
    """None: its ecosystem cannot read it."""
    reader = _READERS.get(kind)
    if reader is None or len(text) > MAX_VERSION_CHARS.value or not text.isascii():
        return None
    try:
        full = reader(text)
    except _UNREADABLE:
        return None
    if full is None:
        return None
    return _Read(full, _numbers(text) if _NUMBERS.fullmatch(text) else None)


def _numbers(text: str) -> tuple[int, ...]:
    numbers = [int(part) for part in text.split(".")]
    while numbers and not numbers[-1]:
        numbers.pop()
    return tuple(numbers)


def _compare(kind: str, one: str, other: str) -> int | None:
    """Below, equal or above: -1, 0 or 1; None where nobody can say."""
    if one == other:
        return 0
    left, right = _read(kind, one), _read(kind, other)
    if left is None or right is None:
        return None
    if left.numbers is not None and right.numbers is not None:
        return (left.numbers > right.numbers) - (left.numbers < right.numbers)
    try:
        if left.full == right.full:
            return 0
        return -1 if left.full < right.full else 1
    except _UNREADABLE:
        return None


def same(kind: str, one: str, other: str) -> bool | None:
    """Whether two texts are one version: 1.0 and 1.0.0 are. None: unlike texts that nobody can compare."""
    if one == other:
        return True
    if kind not in _READERS:
        return False
    order = _compare(kind, one, other)
    return None if order is None else order == 0


@lru_cache(VERSIONS_KNOWN.value)
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
        order = _compare(kind, version, introduced)
        if order is not None and order < 0:
            return False
        since = None if order is None else True
    if "fixed" in bounds:
        order = _compare(kind, version, bounds["fixed"])
        until = None if order is None else order < 0
    elif "last" in bounds:
        last = bounds["last"]
        order = _compare(kind, version if exactly or "+" in last else _public(kind, version), last)
        until = None if order is None else order <= 0
    else:
        return since
    if until is False:
        return False
    return None if since is None or until is None else True


def _shown(bounds: Bounds) -> str:
    """As people write it: [1.0, 1.3)."""
    end = bounds["fixed"] + ")" if "fixed" in bounds else bounds["last"] + "]" if "last" in bounds else ")"
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
    if not versions or kind not in _READERS:
        return False
    if _read(kind, version) is None:
        return None
    return any(named(kind, version, one, exactly=exactly) for one in versions)


def fixed(kind: str, version: str, ranges: Iterable[Bounds], versions: Sequence[str]) -> str:
    """The least end of a range above `version` that the fact does not mean itself; "" for none."""
    ranges = tuple(ranges)
    for end in _ascending(kind, (one["fixed"] for one in ranges if "fixed" in one)):
        if _compare(kind, version, end) == -1 and not _means(kind, end, ranges, versions):
            return end
    return ""


def _means(kind: str, version: str, ranges: Sequence[Bounds], versions: Sequence[str]) -> bool:
    inside = any(_within(kind, version, bounds, False) is not False for bounds in ranges)
    return inside or _listed(kind, version, versions, False) is not False


def _ascending(kind: str, ends: Iterator[str]) -> list[str]:
    """Those that can be read, least first."""
    rest: list[str] = []
    for end in ends:
        at = 0
        while at < len(rest) and _compare(kind, rest[at], end) != 1:
            at += 1
        if _read(kind, end) is not None:
            rest.insert(at, end)
    return rest
