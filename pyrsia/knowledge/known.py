"""All that is known of one version, as a policy asks and as people are shown. Plain data; `about` makes it.

Source: docs/knowledge.md.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Advisory:
    """One issuer's word that a version has a known weakness.

    Attributes:
        id: as its database calls it; `aliases`: what others call the same.
        severity: critical, high, medium, low, none or unknown: the higher of what the fact and its vector say.
        why: which part of the fact means this version: "1.2 lies in [1.0, 1.3)", or that the version cannot be read.
        sure: False where the version cannot be compared by its ecosystem's rules, so that it counts as affected.
        fixed: the least version above this one that the fact calls fixed; "" for none.
        issuer: node id of its author.
        leaf: of the fact. `text`: for people.
        vex: what issuers say of it for this very version, as (issuer, outcome, leaf).
    """

    id: str
    aliases: tuple[str, ...]
    severity: str
    cvss: str
    why: str
    sure: bool
    fixed: str
    issuer: str
    leaf: int
    text: str = ""
    vex: tuple[tuple[str, str, int], ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        return (self.id, *self.aliases)


@dataclass(frozen=True, slots=True)
class Licence:
    """One author's word for a licence: an SPDX expression, "" where the fact has only text.

    `copied`: it is of the package that this one is a node's own copy of. Who asks for a licence is not answered by it.
    """

    expression: str
    issuer: str
    leaf: int
    copied: bool = False


@dataclass(frozen=True, slots=True)
class Sbom:
    """A document that lists what is inside: cyclonedx or spdx, with the digest of its blob ("" where none is told)."""

    format: str
    issuer: str
    leaf: int
    sha256: str = ""


@dataclass(frozen=True, slots=True)
class Known:
    """What stands about one version at a moment.

    Attributes:
        size: leaves of the log that this speaks of.
        whole: whether every fact below `size` was here to be read; a node that began from a snapshot lacks some.
        flips_ms: when time alone changes it; None for never.
        beyond: (author, kind) of whom more stands about the package than one author has room for: of these words, and
            only of these, some are missing.
    """

    size: int
    whole: bool
    advisories: tuple[Advisory, ...] = ()
    licences: tuple[Licence, ...] = ()
    sboms: tuple[Sbom, ...] = ()
    flips_ms: int | None = None
    beyond: tuple[tuple[str, str], ...] = ()

    def lacks(self, *kinds: str) -> tuple[str, ...]:
        """Authors some of whose words of these kinds are missing."""
        return tuple(dict.fromkeys(author for author, kind in self.beyond if kind in kinds))
