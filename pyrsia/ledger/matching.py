"""Which leaves somebody asked for: by type, author, package, verdict.

One meaning for the node's explorer and for a monitor that trusts no node. Patterns come from strangers, so
matching one takes time in proportion to pattern and text, whatever they are.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from pyrsia.errors import Malformed
from pyrsia.ledger import entries, glance
from pyrsia.units import Limit
from pyrsia.wire import purl as purls

MAX_PATTERN_CHARS = Limit(300, "the longest purl; a pattern that is longer matches none")
MAX_STARS = Limit(16, "a purl has a handful of parts; more stars make a pattern that nobody can read")

KINDS: Final = frozenset((*entries.AUTHORED, *entries.DERIVED, "network.genesis"))

_PATTERN: Final = re.compile(r"(?:pkg:|\*)[!#-\[\]-~]*")
_RANGE: Final = re.compile(r"[<>=*|,]|%(?:3[CDE]|2A|7C|2C)")  # a version that is none, but a range of them

PackageOf = Callable[[str], str]
"""From the id, in hex, of a request or motion to the purl that it is about, "" if unknown."""


@dataclass(frozen=True, slots=True)
class PurlGlob:
    """A pattern for purls: `*` is any run of characters, `?` any one.

    Without `@` it speaks of packages, whatever their versions. With one, what concerns a package as a whole
    matches too (a fact about all its versions, or about a range of them): nobody who asks for version 3.7 wants
    to miss an advisory because it names more than that.
    """

    pattern: str
    _name: re.Pattern[str]
    _version: re.Pattern[str] | None

    @classmethod
    def parse(cls, pattern: str) -> "PurlGlob":
        """
        Raises:
            Malformed: not a pattern for purls; the text says why.
        """
        if len(pattern) > MAX_PATTERN_CHARS.value or pattern.count("*") > MAX_STARS.value:
            raise Malformed(
                f"a package pattern has at most {MAX_PATTERN_CHARS.value} characters"
                f" and {MAX_STARS.value} stars"
            )
        if _PATTERN.fullmatch(pattern) is None:
            raise Malformed("a package pattern begins with pkg: or * and is plain ASCII without spaces")
        name, at, version = pattern.partition("@")
        return cls(pattern, _compiled(name), _compiled(version) if at else None)

    @property
    def package(self) -> str:
        """The versionless purl if the pattern can only mean one package, else ""."""
        name = self.pattern.partition("@")[0]
        if "*" in name or "?" in name:
            return ""
        try:
            return str(purls.parse(name))
        except Malformed:
            return ""

    def matches(self, purl: str) -> bool:
        name, _, version = purl.partition("@")
        if self._name.fullmatch(name) is None:
            return False
        if self._version is None or not version or _RANGE.search(version):
            return True
        return self._version.fullmatch(version) is not None


def _compiled(pattern: str) -> re.Pattern[str]:
    """Each part behind a star is found at its first place for good (an atomic group), so nothing backtracks."""
    head, *parts = (re.escape(part).replace(r"\?", ".") for part in pattern.split("*"))
    if not parts:
        return re.compile(head)
    *middle, last = parts
    return re.compile(head + "".join(f"(?>.*?{part})" for part in middle) + f".*{last}", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Filter:
    """What a leaf must be; an empty field asks for nothing.

    Attributes:
        kinds: types, of which it has one.
        author: node id text.
        purls: patterns, of which one of its packages matches one.
        digests: SHA-256 in hex, of which it holds one; stands beside `purls`: either is enough.
        verdicts: of which it carries one.
    """

    kinds: frozenset[str] = frozenset()
    author: str = ""
    purls: tuple[PurlGlob, ...] = ()
    digests: tuple[str, ...] = ()
    verdicts: frozenset[str] = frozenset()

    def passes(self, leaf: bytes, package_of: PackageOf) -> bool:
        """Whether `leaf` is asked for. Entries that name only their request or motion are asked of `package_of`."""
        if self.kinds and glance.kind(leaf) not in self.kinds:
            return False
        if self.author and glance.author(leaf) != self.author:
            return False
        if self.verdicts and glance.verdict(leaf) not in self.verdicts:
            return False
        if not (self.purls or self.digests):
            return True
        return any(glance.names_digest(leaf, one) for one in self.digests) or self._concerns(leaf, package_of)

    def _concerns(self, leaf: bytes, package_of: PackageOf) -> bool:
        if not self.purls:
            return False
        return any(glob.matches(one) for one in packages_of(leaf, package_of) for glob in self.purls)


def packages_of(leaf: bytes, package_of: PackageOf) -> tuple[str, ...]:
    """The purls that a leaf is about: those that it names, else the one of its request or motion."""
    named = glance.packages(leaf)
    if named:
        return named
    entry = glance.reference(leaf)
    found = package_of(entry) if entry else ""
    return (found,) if found else ()
