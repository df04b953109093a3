"""What this node's vote keys have signed, and which of its keys must sign no more.

A vote record is one key's memory. The key in force has `votes.wal`; one that the members have agreed on and whose
epoch has begun has `votes.next` beside it, until the first block of that epoch is on disk: so a crash between two
epochs finds both memories. A key without its whole memory is named in `voting.stopped`, durably, and never signs
again; another key of the same node may.

Source: docs/storage.md, "votes.wal"; docs/agreement.md, "Mute and Halt"; docs/adr/0024.
"""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Final

import msgspec

from pyrsia.errors import Refusal
from pyrsia.files import sync_folder, write_whole
from pyrsia.keys import KeyRing
from pyrsia.store import votes
from pyrsia.store.votes import Mark, VotesWal
from pyrsia.units import Limit

VOTES: Final = "votes.wal"
COMING: Final = "votes.next"  # of the vote key that follows
STOPPED: Final = "voting.stopped"
SET_ASIDE = Limit(3, "damaged vote records that are kept for whoever asks what the disk did; the oldest goes")
STOPPED_KEYS = Limit(
    64, "of one node: a dozen rotations, each after a loss; the oldest are forgotten with their keys"
)


class _Stop(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`voting.stopped`: public keys in hex, and what happened to each."""

    keys: dict[str, str]


class Ballots:
    """The vote records of one node. Nothing is written before a key was `given` a seat.

    Attributes:
        why: what the operator is told of the present vote key; empty while it may vote.
    """

    def __init__(self, data: Path, keys: KeyRing) -> None:
        self._data = data
        self._keys = keys
        self._stopped = _read_stopped(data / STOPPED)
        self._records: list[
            VotesWal
        ] = []  # of the present key and of the one to come, as far as they are whole
        self._seat: VotesWal | None = None  # where new votes go
        self._whole = False  # whether the record of the present key could be read
        self._marked: list[VotesWal] = []  # records that speak of the database
        self.why = ""

    @classmethod
    def open(cls, data: Path, keys: KeyRing, *, first: bool) -> "Ballots":
        """Open what lies in `data`. Inside trio only.

        Args:
            first: whether this directory has no database yet: a record that is not there was never made then.

        Raises:
            Unavailable: the disk said no.
        """
        found = cls(data, keys)
        found._finish_promotion()
        found._open_present(first=first)
        found._open_coming()
        found._marked = [wal for wal in found._records if wal.marked != Mark() or wal.records]
        return found

    # -- asked --

    @property
    def mark(self) -> Mark | None:
        """What was acknowledged of the database; None where nothing is recorded, as in followers."""
        marks = [wal.marked for wal in self._marked]
        return max(marks, key=lambda mark: (mark.height, mark.sequence)) if marks else None

    @property
    def promised(self) -> bool:
        """Whether something that was signed may depend on the database: a loss of it is a loss of memory."""
        return bool(self._marked) or not self._records

    @property
    def records(self) -> list[bytes]:
        """Every record of every whole file, oldest first."""
        return [record for wal in self._records for record in wal.records]

    @property
    def size(self) -> int:
        """Bytes of the longest file."""
        return max((wal.size for wal in self._records), default=0)

    def stopped(self, key: bytes) -> str:
        """Why the key with this public half must sign no more; empty if it may."""
        return self._stopped.get(key.hex()) or self._stopped.get("", "")

    def may_vote(self, key: bytes) -> bool:
        return not self.stopped(key) and any(wal.key == key for wal in self._records)

    # -- changed --

    def give(self, key: bytes) -> bool:
        """The vote key with this public half has a seat: votes go to its record from now on. False: it must not vote.

        Raises:
            Unavailable: the disk said no.
        """
        wal = self.record_of(key)
        if wal is None:
            return False
        self._seat = wal
        if wal not in self._marked:
            self._marked.append(wal)
        return True

    def record_of(self, key: bytes) -> VotesWal | None:
        """The record of a vote key of this node, made now for the one to come; None for one that must not vote.

        Raises:
            Unavailable: the disk said no.
        """
        if self.stopped(key):
            return None
        for wal in self._records:
            if wal.key == key:
                return wal
        coming = self._keys.coming.get("vote")
        if coming is None or coming.public != key:
            return None
        wal = VotesWal.begin(self._data / COMING, key, self.mark or Mark())
        self._records.append(wal)
        return wal

    def stop(self, keys: Iterable[bytes], why: str) -> None:
        """Write down, durably, that these keys must sign no more; a reason that stands is kept."""
        told = {key.hex(): why for key in keys}
        self._write_stopped({**told, **self._stopped})
        for wal in [wal for wal in self._records if wal.key.hex() in told]:
            self._records.remove(wal)
            wal.close()
        self._marked = [wal for wal in self._marked if wal in self._records]
        self._seat = self._seat if self._seat in self._records else None
        self.why = self.stopped(self._keys.vote.public) or self.why

    def promote(self) -> None:
        """The coming vote key has become the present one: so does its record. What was damaged is set aside."""
        old = [wal for wal in self._records if wal.key != self._keys.vote.public]
        for wal in old:
            self._records.remove(wal)
            wal.close()
        self._marked = [wal for wal in self._marked if wal not in old]
        self._finish_promotion()
        for wal in self._records:
            wal.path = self._data / VOTES
        self._whole = bool(self._records)
        self.why = self.stopped(self._keys.vote.public)

    def forget(self, kept: Iterable[bytes]) -> None:
        """Of the keys that must not sign, those that this node has no more need no word."""
        names = {key.hex() for key in kept} | {""}
        left = {key: why for key, why in self._stopped.items() if key in names}
        if left != self._stopped:
            self._write_stopped(left)

    # -- like one file --

    async def append(self, records: Sequence[bytes]) -> None:
        """Into the record of the key that votes; nowhere where none does."""
        if self._seat is not None and records:
            await self._seat.append(records)

    async def note(self, mark: Mark) -> None:
        """How far the database is on disk, in each record of a key that has or had a seat."""
        for wal in self._marked:
            await wal.mark(mark)

    async def trim(self, keep: Callable[[bytes], bool]) -> None:
        for wal in self._records:
            await wal.trim(keep)

    def close(self) -> None:
        for wal in self._records:
            wal.close()

    # -- opening --

    def _finish_promotion(self) -> None:
        """Where keys were renamed and a crash kept their record from it."""
        present, coming = self._data / VOTES, self._data / COMING
        if votes.owner(coming) != self._keys.vote.public:
            return
        if present.exists() and not self._whole:
            _set_aside(present)
        coming.rename(present)
        sync_folder(self._data)

    def _open_present(self, *, first: bool) -> None:
        path, key = self._data / VOTES, self._keys.vote.public
        self.why = self.stopped(key)
        if self.why:
            return
        if votes.missing(path) and not first:  # the record is made before the database
            self.stop([key], _lost(f"the vote record {path} is gone"))
            return
        try:
            self._records.append(VotesWal.open(path, key))
            self._whole = True
        except Refusal as refusal:
            if refusal.code != "data-damaged":
                raise
            self.why = f"{refusal.what}; {refusal.do}"

    def _open_coming(self) -> None:
        pair, path = self._keys.coming.get("vote"), self._data / COMING
        if not path.exists() or (pair is not None and self.stopped(pair.public)):
            return
        try:
            if pair is None:
                raise Refusal("data-damaged", what=f"{path} is of no key of this node", who="", do="")
            self._records.append(VotesWal.open(path, pair.public))
        except Refusal as refusal:
            if refusal.code != "data-damaged":
                raise
            if pair is not None:
                self.stop([pair.public], _lost(refusal.what))
            _set_aside(path)

    def _write_stopped(self, said: dict[str, str]) -> None:
        self._stopped = dict(list(said.items())[-STOPPED_KEYS.value :])
        path = self._data / STOPPED
        if not self._stopped:
            path.unlink(missing_ok=True)
            sync_folder(self._data)
            return
        text = msgspec.json.format(msgspec.json.encode(_Stop(self._stopped)), indent=1)
        write_whole(path, text + b"\n", 0o600)


def lost_database(what: str) -> str:
    """Why no key of this node may sign what the lost database knew of."""
    return _lost(f"{what}; the vote record outlived what it speaks of")


def _lost(what: str) -> str:
    return (
        f"{what}; this key must not vote again: the node catches up from its peers, follows and serves, until"
        " the members have rotated the key (pyrsia keys rotate)"
    )


def _read_stopped(path: Path) -> dict[str, str]:
    """Reason by public key in hex; under the empty key what stops every one, as a file that nobody can read does."""
    try:
        return dict(msgspec.json.decode(path.read_bytes(), type=_Stop).keys)
    except FileNotFoundError:
        return {}
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {"": f"{path} says that a key must not vote again, and is damaged: no key of this node votes"}


def _set_aside(path: Path) -> None:
    """Keep a record that is of no more use under another name."""
    numbers = sorted(
        int(number)
        for number in (one.name.rpartition("-")[2] for one in path.parent.glob(f"{VOTES}.damaged-*"))
        if number.isascii() and number.isdigit()
    )
    for old in numbers[: max(0, len(numbers) + 1 - SET_ASIDE.value)]:
        path.with_name(f"{VOTES}.damaged-{old}").unlink(missing_ok=True)
    path.rename(path.with_name(f"{VOTES}.damaged-{numbers[-1] + 1 if numbers else 1}"))
    sync_folder(path.parent)
