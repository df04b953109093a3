"""What this node says itself, findable by what it is about: so that nothing is said twice, and a change replaces.

A table beside the log, made out of it: it follows the log leaf by leaf and may be lost at any time. A word is found by
its kind, its subject and what it names there (an advisory's id, a commit, a request, a document's format). Of several
that stand under one name the latest is meant, and the others are kept so that they can be ended too. Beside that, every
name under which an advisory was said is kept by the advisory's id, with how new a record each came from, of those too
that were taken back: who knows all that it is about can take back the rest, and an older record says nothing any more.
"""

import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
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

MAX_BESIDE = Limit(
    64,
    "words that stand under one name beside the latest: those of a crash are one, 64 say somebody repeats himself",
)
PAGE = Limit(
    500, "leaves between two turns of the loop: most are no words of ours, the others take 10 us each"
)

_NAMED_BY: Final = ("advisory", "commit", "request", "format")
_LATER: Final = ("supersedes", "valid_from")  # what of a body is not what it says
_NEXT: Final = b"next of all dated words and advisories"  # another one makes the table anew
# And 16 bytes: how new its newest record is, in 8 bytes, then the names under which it was said, one behind the other.
_ADVISORY: Final = b"advisory dated"
_DATE_BYTES: Final = 8
_NAME_BYTES: Final = 16
_ROW: Final = struct.Struct(
    ">QQ32s16sQ?"
)  # leaf, valid_from, id, what it says, modified_ms, whether it is gone
_sorted: Final = msgspec.json.Encoder(order="sorted").encode


class Log(reading.Log, Protocol):
    """What is needed of `archive.Archive`."""

    def leaf_of(self, entry_id: bytes) -> int | None: ...


@dataclass(frozen=True, slots=True)
class Word:
    """The newest under a name that stands; of an advisory also what was taken back last, if nothing stands.

    Attributes:
        valid_from: of what is gone, from when on it is.
        says: digest of everything but when it holds and what it replaces.
        modified_ms: of the record that it came from, or that took it back (for one that came by no record: when it was
            taken back); 0 for none.
        beside: ids of earlier ones that stand under its name, the oldest first.
    """

    leaf: int
    valid_from: int
    id: bytes
    says: bytes
    modified_ms: int = 0
    gone: bool = False
    beside: tuple[bytes, ...] = ()

    @property
    def row(self) -> bytes:
        return _ROW.pack(self.leaf, self.valid_from, self.id, self.says, self.modified_ms, self.gone)


@dataclass(frozen=True, slots=True)
class Advisory:
    """What this node ever said under an advisory's id. `modified_ms`: of the newest record; `names`: some are gone."""

    modified_ms: int
    names: tuple[bytes, ...]


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
        dates: dict[bytes, int] = {}
        for one in told:
            if one.supersedes:
                self._end(one, rows)
            if not one.is_withdrawal:
                name, dated = name_of(one.body), one.body.get("modified_ms", 0)
                row = _ROW.pack(
                    one.leaf, one.body["valid_from"], bytes.fromhex(one.id), says(one.body), dated, False
                )
                others = [word.row for word in self._standing(name, rows) if not word.gone]
                rows[name] = b"".join([*others[-MAX_BESIDE.value :], row])
                if one.kind == ADVISORY:
                    key = _under(one.body["advisory"])
                    advisories.setdefault(key, []).append(name)
                    dates[key] = max(dated, dates.get(key, 0))
        for key, before in zip(advisories, self._advisories(list(advisories)), strict=True):
            dated = max(before.modified_ms, dates[key])
            names = dict.fromkeys([*before.names, *advisories[key]])
            rows[key] = dated.to_bytes(_DATE_BYTES) + b"".join(names)
        batch = Batch().put_all(layout.SAID, rows)
        self._database.write(batch.put(layout.SAID, _NEXT, layout.number(following)))

    def _end(self, by: Said, rows: dict[bytes, bytes | None]) -> None:
        """The word that this ends stands no more; a later one under its name does."""
        leaf = self._log.leaf_of(bytes.fromhex(by.supersedes))
        raw = None if leaf is None else self._log.entry(leaf)
        ended = None if leaf is None or raw is None else fact(leaf, raw)
        if ended is None:
            return
        name = name_of(ended.body)
        before = self._standing(name, rows)
        after = [word for word in before if word.leaf != ended.leaf]
        if len(after) == len(before):
            return
        rows[name] = b"".join(word.row for word in after) or None
        if by.is_withdrawal and ended.kind == ADVISORY and not after:
            [word] = before
            since = by.body["valid_from"]
            rows[name] = _ROW.pack(ended.leaf, since, word.id, word.says, max(since, word.modified_ms), True)

    def _standing(self, name: bytes, rows: Mapping[bytes, bytes | None]) -> list[Word]:
        """Under a name, the oldest first, with what was just written."""
        return _read(rows[name] if name in rows else self._database.get(layout.SAID, name))

    def _advisories(self, keys: Sequence[bytes]) -> Iterable[Advisory]:
        for raw in self._database.multi_get(layout.SAID, keys):
            found = raw or bytes(_DATE_BYTES)
            names = range(_DATE_BYTES, len(found), _NAME_BYTES)
            yield Advisory(
                int.from_bytes(found[:_DATE_BYTES]), tuple(found[at : at + _NAME_BYTES] for at in names)
            )

    def of_advisories(self, ids: Sequence[str]) -> list[Advisory]:
        """What this node ever said under each id."""
        return list(self._advisories([_under(one) for one in ids]))

    def body(self, word: Word) -> Mapping[str, Any]:
        """As the log has it; empty where the log lacks it."""
        raw = self._log.entry(word.leaf)
        found = None if raw is None else fact(word.leaf, raw)
        return {} if found is None else found.body

    def subject(self, word: Word) -> str:
        """What it is about; "" where the log lacks it."""
        return str(self.body(word).get("subject", ""))

    def find(self, names: Sequence[bytes]) -> list[Word | None]:
        """What this node says under these names, in their order; None where it says nothing."""
        return [_word(row) for row in self._database.multi_get(layout.SAID, names)]


def _word(row: bytes | None) -> Word | None:
    words = _read(row)
    if len(words) < 2:
        return words[0] if words else None
    return replace(words[-1], beside=tuple(one.id for one in words[:-1]))


def _read(row: bytes | None) -> list[Word]:
    """A row of an earlier layout is none: the table is being made anew."""
    if row is None or len(row) % _ROW.size:
        return []
    return [Word(*one) for one in _ROW.iter_unpack(row)]
