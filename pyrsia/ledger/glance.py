"""What a leaf says of itself at a glance: its type, author, packages and verdict, read off the bytes.

For looking through many leaves: no JSON is decoded. Exact on canonical bytes, because there a quote inside a
text is escaped, and the last fields of a leaf stand in one order; whatever else the bytes are, nothing is
raised and nothing is proved. What counts is decoded with `entries.parse`.

Source: docs/ledger.md, "Leaves".
"""

import re
from typing import Final, NamedTuple

from pyrsia.units import MAX_BLOCK_ENTRIES, MAX_DERIVED

# From the first leaf of a block to its seal: authored entries, derived ones, and a little more than needed.
MAX_BLOCK_LEAVES: Final = MAX_BLOCK_ENTRIES.value + MAX_DERIVED.value + 2

# The end of a leaf: authored ones have `until` between their type and the version.
_KIND: Final = re.compile(rb'"type":"([a-z.]{1,40})"(?:,"until":[0-9]{1,16})?,"v":1}\Z')
_AUTHOR: Final = re.compile(rb'\{"author":"([a-z2-7]{52})"')
_REFERENCE: Final = re.compile(rb'"(?:request|motion)":"([0-9a-f]{64})"')
# Entries that name their package only by the entry that they belong to.
_REFERRING: Final = frozenset(
    ("build.cancel", "build.commit", "build.draw", "build.reveal", "build.verdict", "motion.approve")
)
_VERDICT: Final = re.compile(rb'"verdict":"([A-Z]{1,20})"')
# Only these fields hold purls; in a text the quotes around them would be escaped.
_PACKAGES: Final = re.compile(rb'"(?:purl|subject)":"(pkg:[!#-\[\]-~]{1,400})"')
_TIME: Final = re.compile(rb'"time_ms":([0-9]{1,16})')
_FIRST: Final = re.compile(rb'"first_leaf":([0-9]{1,16})')
_SEAL_END: Final = b'"type":"block.seal","v":1}'
_END_BYTES: Final = 120  # holds the longest of these ends


def kind(leaf: bytes) -> str:
    """The leaf's `type`, "" if it ends in none."""
    found = _KIND.search(leaf[-_END_BYTES:])
    return found[1].decode("ascii") if found else ""


def author(leaf: bytes) -> str:
    """Node id text of who signed it, "" for derived leaves."""
    found = _AUTHOR.match(leaf)
    return found[1].decode("ascii") if found else ""


def packages(leaf: bytes) -> tuple[str, ...]:
    """Every purl that the leaf is about by its own fields, in order."""
    return tuple(one.decode("ascii") for one in _PACKAGES.findall(leaf))


def reference(leaf: bytes) -> str:
    """Id, in hex, of the request or motion whose package the leaf is about, "" for none."""
    if kind(leaf) not in _REFERRING:
        return ""
    found = _REFERENCE.search(leaf)
    return found[1].decode("ascii") if found else ""


def verdict(leaf: bytes) -> str:
    """The verdict that it carries, "" for none."""
    found = _VERDICT.search(leaf)
    return found[1].decode("ascii") if found else ""


class Seal(NamedTuple):
    """What ends a block: index of its first leaf, and its time in milliseconds."""

    first_leaf: int
    time_ms: int


def is_seal(leaf: bytes) -> bool:
    """Whether it ends a block."""
    return leaf.endswith(_SEAL_END)


def seal(leaf: bytes) -> Seal | None:
    """The leaf as the seal of a block, None if it is none."""
    if not is_seal(leaf):
        return None
    first, time = _FIRST.search(leaf), _TIME.search(leaf)
    return Seal(int(first[1]), int(time[1])) if first and time else None


def names_digest(leaf: bytes, sha256: str) -> bool:
    """Whether the leaf holds this digest (64 hex digits) anywhere, also inside a text such as a fact's subject."""
    return sha256.encode("ascii") in leaf
