"""What a pattern of a policy means of one purl: as it is written, by any spelling, or also as a node's own copy.

A denial is heeded widely: at every spelling, and where a node published the package under its own name. What lifts a
rule is heeded as it is written.

Source: docs/policy.md, "Rules".
"""

from dataclasses import dataclass
from functools import lru_cache

from pyrsia.ledger.matching import PurlGlob
from pyrsia.units import Limit
from pyrsia.wire import purl as purls

MAX_NAMED = Limit(4_096, "versions that are asked for again and again, 2 KB each; spelling one takes 30 us")


@dataclass(frozen=True, slots=True)
class Named:
    """One purl. Of each pair: its packages without versions, and its full names."""

    own: tuple[frozenset[str], frozenset[str]]
    wide: tuple[frozenset[str], frozenset[str]]

    def itself(self, glob: PurlGlob) -> bool:
        """Whether the pattern means it by one of its spellings."""
        return any(map(glob.matches, self.own[0])) and any(map(glob.matches, self.own[1]))

    def any_meaning(self, glob: PurlGlob) -> bool:
        """Whether it means it or, of a copy under a node's own name, the package that this is of."""
        return any(map(glob.matches, self.wide[0])) and any(map(glob.matches, self.wide[1]))


@lru_cache(MAX_NAMED.value)
def named(text: str) -> Named:
    """
    Raises:
        Malformed: not a purl.
    """
    purl = purls.parse(text)
    own = _spelled(purl, text)
    other = own if purl.package is purl else _spelled(purl.package, text)
    return Named(own, (own[0] | other[0], own[1] | other[1]))


def _spelled(purl: purls.Purl, text: str) -> tuple[frozenset[str], frozenset[str]]:
    packages = frozenset((text.partition("@")[0], *map(str, purls.spellings(purl.versionless))))
    return packages, frozenset((text, *map(str, purls.spellings(purl))))
