"""The verifiable index: what a block adds to the two prefix trees, and where their rows lie.

`index_root` speaks of packages and digests: each key's whole history, as a tree of its own, so that "this is all
there ever was of it" and "nobody ever named it" can be proven. `state_root` speaks of the state's keys: "this is
its status now". Both are computed before anybody votes, from pages that are written once and never changed, so a
block that is not final yet is an overlay, and the newest seals stay provable.

Decides which rows a block adds; what is touched is `touches`', how pages hash is `prefixtree`'s.

Source: docs/log.md, "Verifiable index"; docs/adr/0025.
"""

import hashlib
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from pyrsia.ledger import prefixtree
from pyrsia.ledger.prefixtree import Change, Fetch, Tree
from pyrsia.log.tree import EMPTY_ROOT

# First bytes of the rows, below every printable one: in one map with the state they meet no state key.
PACKAGES: Final = 0  # pages of the tree behind index_root
STATE: Final = 1  # pages of the tree behind state_root
_RECORD: Final = b"\2"  # key -> count and right edge of its history
_ROW: Final = b"\3"  # key, leaf index -> leaf hash

_STATE_DOMAIN: Final = b"pyrsia/state/v1\n"
_NUMBER: Final = struct.Struct(">Q")
_LEAF: Final = struct.Struct(">Q32s")

Touched = Mapping[bytes, list[tuple[int, bytes]]]  # index key -> (leaf index, leaf hash), in log order


def _root(text: str | None) -> bytes:
    return EMPTY_ROOT if text is None else bytes.fromhex(text)


@dataclass(frozen=True, slots=True)
class Trees:
    """Both trees at one seal."""

    packages: Tree
    state: Tree

    def value(self) -> dict[str, Any]:
        """As the state's key `root` holds it: the one thing outside of the roots that it names."""
        fields: dict[str, Any] = {
            "index_root": self.packages.root.hex(),
            "state_root": self.state.root.hex(),
        }
        if self.packages.version is not None:
            fields["index_at"] = self.packages.version
        if self.state.version is not None:
            fields["state_at"] = self.state.version
        return fields

    @classmethod
    def of(cls, value: Mapping[str, Any] | None) -> "Trees":
        fields = value or {}
        return cls(
            Tree(PACKAGES, _root(fields.get("index_root")), fields.get("index_at")),
            Tree(STATE, _root(fields.get("state_root")), fields.get("state_at")),
        )


@dataclass(frozen=True, slots=True)
class Growth:
    """What one sealed block adds: rows to write, and pages that older seals alone still need."""

    trees: Trees
    rows: dict[bytes, bytes]
    dropped: tuple[bytes, ...]


NOTHING: Final = Growth(Trees.of(None), {}, ())


def of_history(touched: Touched, tree: Tree, fetch: Fetch, version: int) -> tuple[Change, dict[bytes, bytes]]:
    """The packages' tree after these leaves; with the records and rows of their histories.

    Args:
        version: height of the block.
    """
    rows: dict[bytes, bytes] = {}
    added = [_added(key, places, rows) for key, places in touched.items()]
    names = [_RECORD + key for key in touched]
    records, values = prefixtree.histories(list(fetch(names)), added)
    rows.update(zip(names, records, strict=True))
    changes: dict[bytes, bytes | None] = dict(zip(touched, values, strict=True))
    return prefixtree.update(tree, fetch, changes, version), rows


def _added(key: bytes, places: list[tuple[int, bytes]], rows: dict[bytes, bytes]) -> bytes:
    """What these leaves add to the history's own tree; each is a row of it too."""
    added = b""
    for leaf, leaf_hash in places:
        number = _NUMBER.pack(leaf)
        rows[_ROW + key + number] = leaf_hash
        added += number + leaf_hash
    return added


def of_state(writes: Mapping[bytes, bytes | None], tree: Tree, fetch: Fetch, version: int) -> Change:
    """The state's tree after `writes`; keys that `covered` leaves out are ignored."""
    changes = {
        state_key(key): None if value is None else hashlib.sha256(value).digest()
        for key, value in writes.items()
        if covered(key)
    }
    return prefixtree.update(tree, fetch, changes, version)


def covered(key: bytes) -> bool:
    """Whether state_root speaks of a state key.

    Not of `root`, which names the root; and not of `id/...` and `fact/...`: each is an element of a list below
    `ids/` or `facts/`, which it does speak of, and a thousand a block would cost more than all the rest.
    """
    return key != b"root" and not key.startswith((b"id/", b"fact/"))


def grow(
    before: Trees,
    fetch: Fetch,
    version: int,
    touched: Touched,
    writes: Mapping[bytes, bytes | None],
) -> Growth:
    """Both trees after the block at height `version`, which touched these histories and wrote this state."""
    packages, rows = of_history(touched, before.packages, fetch, version)
    state = of_state(writes, before.state, fetch, version)
    rows.update(packages.pages)
    rows.update(state.pages)
    return Growth(Trees(packages.tree, state.tree), rows, packages.dropped + state.dropped)


# -- keys --


def state_key(key: bytes) -> bytes:
    """Where a state key stands in the tree behind state_root."""
    return hashlib.sha256(_STATE_DOMAIN + key).digest()


def record_key(key: bytes) -> bytes:
    """Where the record of a history stands."""
    return _RECORD + key


def row_key(key: bytes, leaf: int) -> bytes:
    return _ROW + key + _NUMBER.pack(leaf)


def is_row(key: bytes) -> bool:
    """Whether a row is one leaf of a history, which execution never reads."""
    return key.startswith(_ROW)


def row_leaf(row: bytes) -> int:
    """The leaf index that a row's key ends with."""
    return int(_NUMBER.unpack(row[-_NUMBER.size :])[0])


def rows_after(key: bytes) -> bytes:
    """The first key behind all rows of a history."""
    return _ROW + key + b"\xff" * (_NUMBER.size + 1)


def packed(places: Iterable[tuple[int, bytes]]) -> bytes:
    """(leaf index, leaf hash) as a history's own tree hashes them, 40 bytes each."""
    return b"".join(_LEAF.pack(*place) for place in places)
