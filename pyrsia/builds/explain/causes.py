"""What makes two contents of one name differ: a guess from how the differing lines look. Pure.

A guess is made by taking something away from both sides (dates, paths, versions, random digits) until they are equal;
what had to be taken away is the cause. Where nothing makes them equal, the cause is not known and the lines speak for
themselves. Contents are strangers' bytes: everything is bounded, and no pattern can be made to run for long.

It runs inside the sandbox and imports only the standard library.

Source: docs/attestations.md, "Explanations"; the causes measured for wheels, jars and Conan packages.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

MAX_CONTENT: Final = 4 << 20  # bytes of one member that are looked at; what lies behind is not compared
MAX_LINES: Final = 20_000  # lines, or strings of a binary, of one side
MAX_SHOWN: Final = 3  # pairs of lines that are shown
MAX_LINE: Final = 160  # characters of a line that are shown

_DATE: Final = re.compile(
    r"\d{4}[-/.]\d{1,2}[-/.]\d{1,2}(?:[T ]\d{1,2}:\d\d(?::\d\d)?(?:\.\d{1,9})?(?:Z|[+-]\d\d:?\d\d)?)?"
    r"|\d{1,2}:\d\d:\d\d|(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun),? "
    r"|(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)[a-z]{0,6} \d{1,2}"
    r"|\b1[0-9]{9}(?:[0-9]{3})?\b"
)
_PATH: Final = re.compile(r"(?:/[A-Za-z0-9._+~-]{1,255}){2,40}")
_VERSION: Final = re.compile(r"\d{1,9}(?:\.\d{1,9}){1,5}(?:[a-z]{1,4}\d{0,4})?")
_RANDOM: Final = re.compile(r"[0-9a-fA-F]{8,64}(?:-[0-9a-fA-F]{4,64}){0,4}|0x[0-9a-fA-F]{4,16}")
_STRING: Final = re.compile(rb"[\x20-\x7e]{6,4096}")


@dataclass(frozen=True, slots=True)
class Cause:
    """One guess.

    Attributes:
        name: `order`, `date`, `path`, `version`, `random` or `unknown`.
        shown: at most MAX_SHOWN pairs of differing lines, first side and second.
    """

    name: str
    shown: tuple[tuple[str, str], ...]


_TAKEN_AWAY: Final[tuple[tuple[str, Callable[[str], str]], ...]] = (
    ("date", lambda line: _DATE.sub("", line)),
    ("path", lambda line: _PATH.sub("", line)),
    ("version", lambda line: _VERSION.sub("", line)),
    ("random", lambda line: _RANDOM.sub("", line)),
)


def cause(first: bytes, second: bytes) -> Cause:
    """Why these two differ."""
    left, right = lines(first), lines(second)
    pairs = _differing(left, right)
    shown = tuple((_cut(one), _cut(other)) for one, other in pairs[:MAX_SHOWN])
    if left != right and sorted(left) == sorted(right):
        return Cause("order", shown)
    for name, without in _TAKEN_AWAY:
        if left != right and [without(line) for line in left] == [without(line) for line in right]:
            return Cause(name, shown)
    return Cause("unknown", shown)


def lines(data: bytes) -> list[str]:
    """The lines of a text; of anything else its printable strings."""
    data = data[:MAX_CONTENT]
    try:
        if b"\0" not in data:
            return data.decode("utf-8").splitlines()[:MAX_LINES]
    except UnicodeDecodeError:
        pass
    found = []
    for match in _STRING.finditer(data):
        found.append(match.group().decode("ascii"))
        if len(found) == MAX_LINES:
            break
    return found


def _differing(left: Sequence[str], right: Sequence[str]) -> list[tuple[str, str]]:
    """Pairs of lines at the same place that are not the same; a side that ends first has empty ones."""
    found = []
    for at in range(max(len(left), len(right))):
        one = left[at] if at < len(left) else ""
        other = right[at] if at < len(right) else ""
        if one != other:
            found.append((one, other))
            if len(found) == MAX_SHOWN:
                break
    return found


def _cut(line: str) -> str:
    return line if len(line) <= MAX_LINE else line[: MAX_LINE - 1] + "…"
