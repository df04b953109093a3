"""What this node says itself, findable by what it is about: so that nothing is said twice, and a change replaces.

A table beside the log, made out of it: it follows the log leaf by leaf and may be lost at any time. A word is found by
its kind, its subject and what it names there (an advisory's id, a commit, a request, a document's format); of two that
stand under one name the later one is meant. Beside that, every name under which an advisory was said is kept by the
advisory's id: who knows all that it is about can take back the rest.
"""

import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import msgspec
import trio
from blake3 import blake3

from pyrsia.knowledge.said import ADVISORY, FACT, Said
from pyrsia.ledger import glance
from pyrsia.node.knowledge import reading
from pyrsia.node.knowledge.reading import fact
from pyrsia.store import layout
from pyrsia.store.rocks import Batch, Database
from pyrsia.units import Limit

PAGE = Limit(
    500, "leaves between two turns of the loop: most are no words of ours, the others take 10 us each"
)

_NAMED_BY: Final = ("advisory", "commit", "request", "format")
_LATER: Final = ("supersedes", "valid_from")  # what of a body is not what it says
_NEXT: Final = b"next of words and advisories"  # another one makes the table anew
_ADVISORY: Final = b"advisory"  # and 16 bytes: the names under which it was said, one behind the other
_NAME_BYTES: Final = 16
_ROW: Final = struct.Struct(">QQ32s16s")  # leaf, valid_from, id, what it says
_sorted: Final = msgspec.json.Encoder(order="sorted").encode


class Log(reading.Log, Protocol):
    """What is needed of `archive.Archive`."""

    def leaf_of(self, entry_id: bytes) -> int | None: ...


@dataclass(frozen=True, slots=True)
class Word:
    """The newest that stands under a name. `says`: digest of everything but when it holds and what it replaces."""

    leaf: int
    valid_from: int
    id: bytes
    says: bytes


def name_of(body: Mapping[str, Any]) -> bytes:
    """Under which a fact is found, 16 bytes.

    Raises:
        ValueError, TypeError: it holds what JSON cannot.
    """
    named = [body.get(one, "") for one in _NAMED_BY]
    return blake3(_sorted([body["kind"], body["subject"], named])).digest(_NAME_BYTES)


def says(body: Mapping[str, Any]) -> bytes:
    """A digest of what a fact says, 16 bytes.

    Raises:
        ValueError, TypeError: it holds what JSON cannot.
    """
    return blake3(_sorted({name: value for name, value in body.items() if name not in _LATER})).digest(
        _NAME_BYTES
    )


def _under(advisory: str) -> bytes:
    return _ADVISORY + blake3(advisory.encode()).digest(_NAME_BYTES)


class Words:
    """One node's."""

    def __init__(self, log: Log, database: Database, author: str) -> None:
        """`author`: this node's id in base32."""
        self._log, self._database, self._author = log, database, author
        self._start = b'{"author":"%b"' % author.encode("ascii")

    async def catch_up(self) -> None:
        """Follow the log to its end, in turns with others.

        Raises:
            Refusal: `not-found`: a part of the log is not here yet.
        """
        raw = self._database.get(layout.SAID, _NEXT)
        at = 0 if raw is None else layout.read_number(raw)
        while at < self._log.size:
            leaves = self._log.entries(at, min(PAGE.value, self._log.size - at))
            self._write(self._told(at, leaves), at + len(leaves))
            at += len(leaves)
            await trio.lowlevel.checkpoint()

    def _told(self, first: int, leaves: Sequence[bytes]) -> Iterable[Said]:
        for offset, raw in enumerate(leaves):
            if raw.startswith(self._start) and glance.kind(raw) == FACT:
                one = fact(first + offset, raw)
                if one is not None:
                    yield one

    def _write(self, told: Iterable[Said], following: int) -> None:
        rows: dict[bytes, bytes | None] = {}
        advisories: dict[bytes, list[bytes]] = {}
        for one in told:
            if one.supersedes:
                self._end(one.supersedes, rows)
            if not one.is_withdrawal:
                row = _ROW.pack(one.leaf, one.body["valid_from"], bytes.fromhex(one.id), says(one.body))
                name = name_of(one.body)
                rows[name] = row
                if one.kind == ADVISORY:
                    advisories.setdefault(_under(one.body["advisory"]), []).append(name)
        for key, before in zip(advisories, self._names(list(advisories)), strict=True):
            rows[key] = b"".join(dict.fromkeys([*before, *advisories[key]]))
        batch = Batch().put_all(layout.SAID, rows)
        self._database.write(batch.put(layout.SAID, _NEXT, layout.number(following)))

    def _end(self, fact_id: str, rows: dict[bytes, bytes | None]) -> None:
        """The word with this id stands no more; a later one under its name does."""
        leaf = self._log.leaf_of(bytes.fromhex(fact_id))
        raw = None if leaf is None else self._log.entry(leaf)
        ended = None if leaf is None or raw is None else fact(leaf, raw)
        if ended is None:
            return
        name = name_of(ended.body)
        row = rows[name] if name in rows else self._database.get(layout.SAID, name)
        if row is not None and _ROW.unpack(row)[0] == ended.leaf:
            rows[name] = None

    def _names(self, keys: Sequence[bytes]) -> Iterable[list[bytes]]:
        for raw in self._database.multi_get(layout.SAID, keys):
            found = raw or b""
            yield [found[at : at + _NAME_BYTES] for at in range(0, len(found), _NAME_BYTES)]

    def of_advisories(self, ids: Sequence[str]) -> list[list[bytes]]:
        """Names under which this node ever said an advisory, for each id; some may stand no more."""
        return list(self._names([_under(one) for one in ids]))

    def subject(self, word: Word) -> str:
        """What it is about; "" where the log lacks it."""
        raw = self._log.entry(word.leaf)
        found = None if raw is None else fact(word.leaf, raw)
        return "" if found is None else found.subject

    def find(self, names: Sequence[bytes]) -> list[Word | None]:
        """What this node says under these names, in their order; None where it says nothing."""
        rows = self._database.multi_get(layout.SAID, names)
        return [None if row is None else Word(*_ROW.unpack(row)) for row in rows]
