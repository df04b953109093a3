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
_REQUEST: Final = re.compile(rb'"request":"([0-9a-f]{64})"')
_VERDICT: Final = re.compile(rb'"verdict":"([A-Z]{1,20})"')
# Free text that happens to begin like a purl names no package; nor does what stands in it behind an escaped quote.
_PACKAGES: Final = re.compile(rb'(?<!"text":)(?<!\\)"(pkg:[!#-\[\]-~]{1,400})"')
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
    """Every purl that a field of the leaf holds, in order."""
    return tuple(one.decode("ascii") for one in _PACKAGES.findall(leaf))


def request(leaf: bytes) -> str:
    """Id, in hex, of the build request that the leaf belongs to, "" for none."""
    found = _REQUEST.search(leaf)
    return found[1].decode("ascii") if found else ""


def verdict(leaf: bytes) -> str:
    """The verdict that it carries, "" for none."""
    found = _VERDICT.search(leaf)
    return found[1].decode("ascii") if found else ""


class Seal(NamedTuple):
    """What ends a block: index of its first leaf, and its time in milliseconds."""

    first_leaf: int
    time_ms: int


def seal(leaf: bytes) -> Seal | None:
    """The leaf as the seal of a block, None if it is none."""
    if not leaf.endswith(_SEAL_END):
        return None
    first, time = _FIRST.search(leaf), _TIME.search(leaf)
    return Seal(int(first[1]), int(time[1])) if first and time else None


def names_digest(leaf: bytes, sha256: str) -> bool:
    """Whether the leaf holds this digest (64 hex digits) anywhere, also inside a text such as a fact's subject."""
    return sha256.encode("ascii") in leaf
