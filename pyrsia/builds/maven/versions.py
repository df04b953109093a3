"""The order of Maven's versions, as far as a list of them needs it: which one is the newest release.

Source: Maven's `ComparableVersion`, "Version Order Specification" in the POM reference.
"""

import re
from functools import cmp_to_key
from itertools import zip_longest
from typing import Final

_QUALIFIERS: Final = ("alpha", "beta", "milestone", "rc", "snapshot", "", "sp")
_ALIASES: Final = {"ga": "", "final": "", "release": "", "cr": "rc"}
_SHORT: Final = {"a": "alpha", "b": "beta", "m": "milestone"}
_PIECE: Final = re.compile(r"([.-]?)(\d+|[^\d.-]+)")

Token = tuple[str, str | int]


def newest(versions: list[str]) -> str:
    """The last of `versions` in Maven's order; they are not empty."""
    return max(versions, key=cmp_to_key(compare))


def compare(first: str, second: str) -> int:
    """Negative, 0 or positive as `first` is older than, the same as or newer than `second`."""
    for mine, theirs in zip_longest(_tokens(first), _tokens(second)):
        found = _weight(mine, theirs) > _weight(theirs, mine), _weight(mine, theirs) < _weight(theirs, mine)
        if any(found):
            return found[0] - found[1]
    return 0


def _tokens(version: str) -> list[Token]:
    found: list[Token] = []
    pieces = _PIECE.findall(version.lower())
    for at, (separator, text) in enumerate(pieces):
        before = separator or ("-" if at else "")
        if text.isdigit():
            found.append((before, int(text)))
        else:
            digit_follows = at + 1 < len(pieces) and not pieces[at + 1][0]
            text = _SHORT.get(text, text) if digit_follows else text
            found.append((before, _ALIASES.get(text, text)))
    # What says nothing at the end of a part (`1.0`, `1-ga`) is left out.
    kept: list[Token] = []
    for at, token in enumerate(found):
        kept.append(token)
        ends = at + 1 == len(found) or found[at + 1][0] == "-"
        while ends and kept and kept[-1][1] in (0, ""):
            kept.pop()
    return kept


def _weight(token: Token | None, other: Token | None) -> tuple[int, int, str | int]:
    """What one token counts against another; a missing one is the nothing of the other's kind."""
    if token is None:
        value: str | int = 0 if other is not None and isinstance(other[1], int) else ""
        token = (other[0] if other is not None else "", value)
    separator, value = token
    if isinstance(value, int):
        if value == 0:
            return (_QUALIFIERS.index(""), 0, 0)
        return (len(_QUALIFIERS) + (2 if separator == "." else 1), value, 0)
    if value in _QUALIFIERS:
        return (_QUALIFIERS.index(value), 0, 0)
    return (len(_QUALIFIERS), 0, value)
