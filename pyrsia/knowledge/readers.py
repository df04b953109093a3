"""Versions as the libraries of their ecosystems read them. Nothing raised: what cannot be read is None.

What is numbers and dots alone all three ecosystems compare in one way, number by number with zeros at the end left
out; it is read here, 20 times as fast, and the library is asked only where it meets something else.

Two of the libraries follow an older release of their ecosystem. What it reads otherwise is respelled for them first,
or not read at all (docs/adr/0068 has the table):

- Maven takes a word behind a dot as behind a hyphen since 3.8.7, and `release` for the release itself.
- Conan splits what stands before a build at the first hyphen and at no other since 2.

Source: docs/knowledge.md, "Which versions are meant"; Maven, POM reference, "Version Order Specification".
"""

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final

from packaging.version import Version as PypiVersion
from univers.conan.version import Version as ConanVersion
from univers.maven import Version as MavenVersion

from pyrsia.units import Limit

MAX_VERSION_CHARS = Limit(128, "a tag of docker, the longest version that purls have; it is read whole")
VERSIONS_KNOWN = Limit(
    65_536, "those of 200 advisories of 50 packages, each read once: 20 MB where all have words"
)

MAX_PARTS = Limit(
    24, "numbers and words of a version of Maven, each a list in a list: real ones have 12, 24 take 50 us"
)

# What the libraries raise at what they cannot read or compare; the later ones where nobody thought of it.
UNREADABLE: Final = (ValueError, TypeError, LookupError, AttributeError, RuntimeError)

_NUMBERS: Final = re.compile(r"[0-9]+(?:\.[0-9]+)*", re.ASCII)
_MAVEN: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+~-]*", re.ASCII)
_CONAN: Final = re.compile(r"[A-Za-z0-9_]+(?:[.+-][A-Za-z0-9_]+)*", re.ASCII)
_PART: Final = re.compile(r"[0-9]+|[a-z_+~]+")
_WORD_BEHIND_DOT: Final = re.compile(r"\.(?=[a-z_+~]+(?:[0-9]|$))")
_RELEASE: Final = re.compile(r"(?<![a-z_+~])release(?![a-z_+~])")
# A part that begins with nothing (0, or a word for the release) and goes on: the library stops at the nothing.
_BEGINS_WITH_NOTHING: Final = re.compile(
    r"(?:-|(?<=[0-9])(?=[a-z])|(?<=[a-z])(?=[0-9]))(?:0+(?=[.a-z-])|(?:ga|final|release)-?(?=[.0-9]|ga|final|release))"
)
# A word for the release that does not stand right behind the numbers: what follows it the library puts elsewhere.
_RELEASE_WORD: Final = re.compile(r"(?<![a-z_+~])(?:ga|final|release)(?![a-z_+~])")
_NUMBERS_ALONE: Final = re.compile(r"[0-9.]*-?")


class Read:
    """One version. `numbers`: set where it is numbers and dots alone, without zeros at the end."""

    __slots__ = ("_full", "_text", "_with", "numbers")

    def __init__(self, text: str, reader: Callable[[str], Any]) -> None:
        self._text, self._with = text, reader
        self.numbers: tuple[int, ...] | None = None
        self._full = None
        if _NUMBERS.fullmatch(text):  # as nearly all; a package's advisories have some hundred of them
            numbers = tuple(map(int, text.split(".")))
            self.numbers = numbers if numbers[-1] else _stripped(numbers)
        else:
            self._full = reader(text)

    @property
    def full(self) -> Any:
        """As its library has it; None: it cannot be read."""
        if self._full is None:
            self._full = self._with(self._text)
        return self._full


def _stripped(numbers: tuple[int, ...]) -> tuple[int, ...]:
    """Without zeros at the end."""
    while numbers and not numbers[-1]:
        numbers = numbers[:-1]
    return numbers


def _maven(text: str) -> Any:
    if _MAVEN.fullmatch(text) is None:
        return None
    spelled = _WORD_BEHIND_DOT.sub("-", text.lower())
    if (
        _BEGINS_WITH_NOTHING.search(spelled)
        or _is_late(spelled)
        or len(_PART.findall(spelled)) > MAX_PARTS.value
    ):
        return None
    return MavenVersion(_RELEASE.sub("ga", spelled))  # type: ignore[no-untyped-call]


def _is_late(spelled: str) -> bool:
    """Whether a word for the release stands elsewhere than right behind the numbers at the beginning."""
    found = _RELEASE_WORD.finditer(spelled)
    return any(_NUMBERS_ALONE.fullmatch(spelled, 0, one.start()) is None for one in found)


def _conan(text: str) -> Any:
    if _CONAN.fullmatch(text) is None:
        return None
    front, plus, build = text.rpartition("+") if "+" in text else (text, "", "")
    main, hyphen, pre = front.partition("-")
    # A comma and a star sort where a hyphen and a plus do, and are split at by nobody.
    pre = pre.replace("-", ",").replace("+", "*")
    return ConanVersion(main + hyphen + pre + plus + build.replace("-", ","))  # type: ignore[no-untyped-call]


_READERS: Final[dict[str, Callable[[str], Any]]] = {"conan": _conan, "maven": _maven, "pypi": PypiVersion}


def ordered(kind: str) -> bool:
    """Whether versions of this purl type have an order here."""
    return kind in _READERS


@lru_cache(VERSIONS_KNOWN.value)
def read(kind: str, text: str) -> Read | None:
    """None: its ecosystem cannot read it, or has no order."""
    reader = _READERS.get(kind)
    if reader is None or len(text) > MAX_VERSION_CHARS.value or not text.isascii():
        return None
    try:
        found = Read(text, reader)
        return None if found.numbers is None and found.full is None else found
    except UNREADABLE:
        return None


def compare(kind: str, one: str, other: str) -> int | None:
    """-1, 0 or 1 as `one` is before, the same as or behind `other`; None where nobody can say."""
    if one == other:
        return 0
    left, right = read(kind, one), read(kind, other)
    if left is None or right is None:
        return None
    mine, theirs = left.numbers, right.numbers
    if mine is None or theirs is None:
        try:
            mine, theirs = left.full, right.full
            return -1 if mine < theirs else int(mine != theirs)
        except UNREADABLE:
            return None
    return (mine > theirs) - (mine < theirs)
