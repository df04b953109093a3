"""One word for how bad a weakness is: what a fact says, and what its CVSS vector comes to. Nothing raised.

The words are CVSS' own ratings. A vector that cannot be read says nothing, so that the fact's own word stands; where
both say nothing it is `unknown`, which a policy treats as worse than critical.

Source: docs/knowledge.md, "Severity"; CVSS 3.1, "Qualitative Severity Rating Scale"; CVSS 4.0, "Metric Groups".
"""

from collections.abc import Callable, Iterator
from functools import lru_cache
from itertools import product
from typing import Any, Final

from pyrsia.units import Limit

VECTORS_KNOWN = Limit(4_096, "more than CVSS 3 has base vectors (2,592): each is worked out once, 1 MB")
MAX_VECTOR_CHARS = Limit(200, "as long as the log lets one be; a full vector of CVSS 4 has 180")

UNKNOWN: Final = "unknown"
WORDS: Final = ("none", "low", "medium", "high", "critical")  # least first
_WARM: Final = "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H"
_THREE: Final = ("AV", "AC", "PR", "UI", "S", "C", "I", "A")  # of CVSS 3, in the order of its specification
_BASE: Final = frozenset(("AV", "AC", "AT", "PR", "UI", "VC", "VI", "VA", "SC", "SI", "SA"))  # of CVSS 4
_RANKS: Final = {word: rank for rank, word in enumerate((*WORDS, UNKNOWN))}


def rank(word: str) -> int:
    """0 for none to 4 for critical; 5 for unknown and for every word that is none of these."""
    return _RANKS.get(word, len(WORDS))


def severity(said: str, vector: str) -> str:
    """The higher of a fact's own word and its vector's; the one that says something where the other does not.

    Args:
        said: one of `WORDS`, or anything else for no word.
        vector: CVSS 2 to 4 as text, "" for none.
    """
    worked = of_vector(vector)
    if said not in WORDS:
        return worked
    return said if worked == UNKNOWN else max(said, worked, key=rank)


@lru_cache(VECTORS_KNOWN.value)
def of_vector(vector: str) -> str:
    """The rating of the base score; `unknown` for what is no vector."""
    if not vector or len(vector) > MAX_VECTOR_CHARS.value or not vector.isascii():
        return UNKNOWN
    from cvss import CVSSError

    vector = _plain(vector)
    try:
        found = _reader(vector)(vector)
        # Of CVSS 4 the library rates all of it, and what a place or a day adds lowers it.
        if vector.startswith("CVSS:4") and (base := _base(vector)) != vector:
            found = _reader(vector)(base)
        word = str(found.severities()[0]).lower()
    except (CVSSError, ValueError, ArithmeticError, LookupError, TypeError):
        return UNKNOWN
    return word if word in WORDS else UNKNOWN


def warm() -> None:
    """Load the library, 4 ms, before somebody waits for the first answer."""
    for vector in ("CVSS:4.0/AV:N/AC:L/AT:N/PR:N/UI:N/VC:H/VI:H/VA:H/SC:N/SI:N/SA:N", _WARM):
        of_vector(vector)


def common() -> Iterator[str]:
    """Base vectors of CVSS 3.1, all, as databases write them: each takes 15 us to be worked out."""
    for values in product("NALP", "LH", "NLH", "NR", "UC", "NLH", "NLH", "NLH"):
        yield "CVSS:3.1/" + "/".join(map(":".join, zip(_THREE, values, strict=True)))


def _plain(vector: str) -> str:
    """As the library wants it: databases also write brackets or a version around CVSS 2, and a slash at the end."""
    if vector.startswith("(") and vector.endswith(")"):
        vector = vector[1:-1]
    return vector.removeprefix("CVSS:2.0/").removesuffix("/")


def _base(vector: str) -> str:
    """A vector of CVSS 4 without its threat, environmental and supplemental metrics."""
    version, *metrics = vector.split("/")
    return "/".join((version, *(one for one in metrics if one.partition(":")[0] in _BASE)))


def _reader(vector: str) -> Callable[[str], Any]:
    from cvss import CVSS2, CVSS3, CVSS4

    reader: Callable[[str], Any] = CVSS2
    if vector.startswith("CVSS:4"):
        reader = CVSS4
    elif vector.startswith("CVSS:3"):
        reader = CVSS3
    return reader
