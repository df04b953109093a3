"""Entries that wait for a block: who may hold how many, and whose turn it is.

Pure: time and state come in as arguments. Decides admission and order only; whether an entry applies is
decided again by whoever executes the block.

Source: docs/ledger.md, "At the door".
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Final

from pyrsia.errors import Malformed, Refusal
from pyrsia.ledger import entries, roster
from pyrsia.ledger.context import NotApplied, Verify
from pyrsia.ledger.entries import Entry
from pyrsia.ledger.execute import Parses, Refused, admit
from pyrsia.ledger.genesis import Genesis
from pyrsia.ledger.state import Reads, View
from pyrsia.units import (
    CACHED_ENTRIES,
    MEMPOOL_AUTHOR_BYTES,
    MEMPOOL_AUTHOR_ENTRIES,
    MEMPOOL_BYTES,
    MEMPOOL_ENTRIES,
    RECENT_IDS,
)

ACCEPTED: Final = "accepted"
DUPLICATE: Final = "duplicate"
RETRY_MS: Final = 1_000  # on an idle network the state stands still, and each heartbeat tries again


@dataclass(slots=True)
class _Pending:
    entry: Entry
    tried_at: bytes = b""  # state_root on which it did not apply
    tried_ms: int = 0  # block time of that; time alone may allow it (an hour's quota, a clock ahead)

    def ripe(self, root: bytes, time_ms: int) -> bool:
        return not root or self.tried_at != root or time_ms >= self.tried_ms + RETRY_MS


class Mempool:
    """Pending entries by author, in order of arrival."""

    def __init__(self, genesis: Genesis, verify: Verify) -> None:
        self._genesis = genesis
        self._verify = verify
        self.parse = Parses(verify, CACHED_ENTRIES.value)  # shared with the chain: one check an entry
        self._by_id: dict[bytes, _Pending] = {}
        self._by_author: dict[bytes, dict[bytes, _Pending]] = {}
        self._author_bytes: dict[bytes, int] = {}
        self._id_of: dict[bytes, bytes] = {}  # raw -> id
        self._bytes = 0
        self._recent: dict[bytes, None] = {}

    def __len__(self) -> int:
        return len(self._by_id)

    def add(self, raw: bytes, now_ms: int, reads: Reads) -> str:
        """Take an entry in: `ACCEPTED`, or `DUPLICATE` if it waits or stands in the log already.

        Args:
            now_ms: the time that a block would have now.
            reads: the final state.

        Raises:
            Refusal: `entry-refused` (or a more telling code) for good, `busy` for now.
        """
        if raw in self._id_of:
            return DUPLICATE
        try:
            entry = entries.parse(raw)
        except Malformed as error:
            raise _no("entry-refused", f"the entry breaks its format: {error}") from None
        if entry.id in self._by_id or entry.id in self._recent or reads(b"id/" + entry.id.hex().encode()):
            return DUPLICATE
        if entry.author is None or roster.member(View(reads), entry.author) is None:
            raise _no("entry-refused", "the entry's author is no member of this network")
        self._room(entry.author, len(raw))
        if not entry.signature_holds(self._verify):
            raise _no("entry-refused", "the entry is not signed by its author")
        self.parse.know(entry)
        try:
            admit(entry, reads, self._genesis, now_ms, self.parse.holds)
        except NotApplied as no:
            # What a later state may allow waits here, except what a person had better hear now.
            if not no.later or no.code != "entry-refused":
                raise _no(no.code, no.why) from None
        self._put(entry)
        return ACCEPTED

    def waiting(self, root: bytes = b"", held: Collection[bytes] = ()) -> bool:
        """Whether something has not been tried on the state with this root.

        `held`: ids of entries that stand in blocks below already, which are not final yet.
        """
        return any(
            (not root or pending.tried_at != root) and name not in held
            for name, pending in self._by_id.items()
        )

    def pick(
        self,
        most: int,
        most_bytes: int,
        root: bytes = b"",
        time_ms: int = 0,
        held: Collection[bytes] = (),
    ) -> tuple[bytes, ...]:
        """Entries for one block: one of each author in turn, each author's in order of arrival.

        What did not apply on the state with this `root` is offered again a second later; what is `held` is not.
        """
        turns = [
            iter(
                [
                    item.entry.raw
                    for name, item in queue.items()
                    if item.ripe(root, time_ms) and name not in held
                ]
            )
            for queue in self._by_author.values()
        ]
        chosen: list[bytes] = []
        while turns:
            left = []
            for turn in turns:
                raw = next(turn, None)
                if raw is None:
                    continue
                if len(chosen) == most or len(raw) > most_bytes:
                    return tuple(chosen)
                chosen.append(raw)
                most_bytes -= len(raw)
                left.append(turn)
            turns = left
        return tuple(chosen)

    def set_aside(self, refused: Iterable[Refused], root: bytes, time_ms: int = 0) -> None:
        """Remember where these did not apply; what never will is dropped when its time is over."""
        for item in refused:
            name = self._id_of.get(item.raw)
            if name is not None:
                self._by_id[name].tried_at, self._by_id[name].tried_ms = root, time_ms

    def remove(self, ids: Iterable[bytes]) -> None:
        """These are final. Whoever was served waits behind those who were not."""
        for name in ids:
            pending = self._by_id.get(name)
            self._drop(name)
            author = pending.entry.author if pending is not None else None
            if author is not None and author in self._by_author:
                self._by_author[author] = self._by_author.pop(author)
            self._recent[name] = None
            if len(self._recent) > RECENT_IDS.value:
                del self._recent[next(iter(self._recent))]

    def expire(self, now_ms: int) -> None:
        """Forget what no block may hold any more."""
        for name in [name for name, item in self._by_id.items() if item.entry.until_ms < now_ms]:
            self._drop(name)

    def ids(self) -> tuple[bytes, ...]:
        return tuple(self._by_id)

    def get(self, entry_id: bytes) -> bytes | None:
        pending = self._by_id.get(entry_id)
        return pending.entry.raw if pending is not None else None

    def _room(self, author: bytes, size: int) -> None:
        if len(self._by_id) >= MEMPOOL_ENTRIES.value or self._bytes + size > MEMPOOL_BYTES.value:
            raise _busy("this validator holds as many pending entries as it may", "the network's load")
        if (
            len(self._by_author.get(author, ())) >= MEMPOOL_AUTHOR_ENTRIES.value
            or self._author_bytes.get(author, 0) + size > MEMPOOL_AUTHOR_BYTES.value
        ):
            raise _busy("the author has as many pending entries as one author may", "the entry's author")

    def _put(self, entry: Entry) -> None:
        assert entry.author is not None  # noqa: S101  (add has checked it)
        pending = _Pending(entry)
        self._by_id[entry.id] = pending
        self._by_author.setdefault(entry.author, {})[entry.id] = pending
        self._author_bytes[entry.author] = self._author_bytes.get(entry.author, 0) + len(entry.raw)
        self._id_of[entry.raw] = entry.id
        self._bytes += len(entry.raw)

    def _drop(self, name: bytes) -> None:
        pending = self._by_id.pop(name, None)
        if pending is None or pending.entry.author is None:
            return
        author, size = pending.entry.author, len(pending.entry.raw)
        del self._id_of[pending.entry.raw]
        self._bytes -= size
        queue = self._by_author[author]
        del queue[name]
        self._author_bytes[author] -= size
        if not queue:
            del self._by_author[author]
            del self._author_bytes[author]


def _no(code: str, what: str) -> Refusal:
    do = "wait and send it again" if code in ("busy", "conflict") else "correct it and sign it anew"
    return Refusal(code, what=what, who="the entry's author", do=do)


def _busy(what: str, who: str) -> Refusal:
    return Refusal("busy", what=what, who=who, do="send it again in a few seconds")
