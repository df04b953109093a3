"""Entries of facts that went out and of which nobody knows yet what became: so that none is said twice.

Others may hold an entry for as long as it is valid and bring it into the log after this node gave up, or died. Until it
is in the log, refused for good or too old, whoever would say the same offers that entry again and makes no other.

A table beside the log; losing it costs a fact that is said twice, which `words` makes good.

Source: docs/knowledge.md, "At a node".
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from pyrsia.errors import Malformed
from pyrsia.ledger import entries
from pyrsia.store import layout
from pyrsia.store.rocks import Batch, Database
from pyrsia.units import Limit

MAX_UNDERWAY = Limit(
    20_000,
    "entries, 20 MB: ten minutes' worth of a network that answers nothing; then the oldest are forgotten",
)
SLACK_MS = Limit(60_000, "that others' clocks may be behind ours when an entry's time is over")

Turn = bytes | str  # a fact's name, or an advisory's id: what only one order at a time speaks of

_PREFIX: Final = b"underway/"  # then a fact's name
_END: Final = b"underway0"
_row: Final = msgspec.msgpack.Decoder(tuple[str, bytes])  # an advisory's id, "" for none; the entry


@dataclass(frozen=True, slots=True)
class Entry:
    """`name`: of the fact."""

    name: bytes
    turn: Turn
    raw: bytes


class Underway:
    """One node's."""

    def __init__(self, database: Database, leaf_of: Callable[[bytes], int | None]) -> None:
        self._database, self._leaf_of = database, leaf_of
        self._of: dict[Turn, dict[bytes, Entry]] = {}
        self._names: dict[bytes, Turn] = {}
        for key, value in database.scan(layout.SAID, _PREFIX, MAX_UNDERWAY.value, before=_END):
            try:
                advisory, raw = _row.decode(value)
            except msgspec.MsgspecError:
                continue
            name = key[len(_PREFIX) :]
            self._know(Entry(name, advisory or name, raw))

    def _know(self, one: Entry) -> None:
        self._names[one.name] = one.turn
        self._of.setdefault(one.turn, {})[one.name] = one

    def keep(self, going: Iterable[Entry]) -> None:
        """Before they go out. Not synced: a machine that loses this loses what it handed out, or says it twice."""
        batch = Batch()
        for one in going:
            self._know(one)
            advisory = one.turn if isinstance(one.turn, str) else ""
            batch.put(layout.SAID, _PREFIX + one.name, msgspec.msgpack.encode((advisory, one.raw)))
        while len(self._names) > MAX_UNDERWAY.value:
            oldest = next(iter(self._names))
            self._drop(oldest, batch)
        self._database.write(batch)

    def settled(self, names: Iterable[bytes]) -> None:
        """What became of these is known."""
        batch = Batch()
        for name in names:
            self._drop(name, batch)
        if len(batch):
            self._database.write(batch)

    def _drop(self, name: bytes, batch: Batch) -> None:
        turn = self._names.pop(name, None)
        if turn is None:
            return
        batch.delete(layout.SAID, _PREFIX + name)
        of_turn = self._of[turn]
        del of_turn[name]
        if not of_turn:
            del self._of[turn]

    def open(self, turns: Iterable[Turn], now_ms: int) -> Sequence[Entry]:
        """Those of these turns that may still come into the log, and are not there."""
        if not self._names:
            return ()
        found = [one for turn in turns for one in self._of.get(turn, {}).values()]
        over = [one.name for one in found if self._is_over(one.raw, now_ms)]
        self.settled(over)
        gone = set(over)
        return [one for one in found if one.name not in gone]

    def _is_over(self, raw: bytes, now_ms: int) -> bool:
        try:
            entry = entries.parse(raw)
        except Malformed:
            return True
        return self._leaf_of(entry.id) is not None or now_ms > entry.until_ms + SLACK_MS.value
