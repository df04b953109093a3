"""`pyrsia log monitor`: every entry about some packages goes to a hook, at least once, whatever happens between.

The state file holds the newest proved checkpoint and the position behind the last entry that was delivered;
it is written after each delivery, so a kill between the two repeats that one entry and loses none. A fork or a
log that shrank is kept as evidence beside it, and told before the monitor ends.

Source: docs/auditing.md, "Monitor".
"""

import fcntl
import hashlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import msgspec
import platformdirs

from pyrsia.audit import events
from pyrsia.audit.events import Event, Watchlist, alarm_event, row, said, timed
from pyrsia.audit.evidence import Pair, Why, keep_as
from pyrsia.audit.follow import Undelivered
from pyrsia.audit.following import Alarm, Keep
from pyrsia.audit.heads import Head, Rule
from pyrsia.audit.outlets import Outlet
from pyrsia.audit.proven import ProvenLog
from pyrsia.errors import Malformed, Refusal
from pyrsia.files import write_whole
from pyrsia.ledger.genesis import Genesis
from pyrsia.ledger.matching import Filter
from pyrsia.units import MAX_NOTE_BYTES, MAX_TREE_SIZE, Limit
from pyrsia.wire import canonical

MAX_STATE_BYTES = Limit(1 << 20, "a note of 64 KiB, escaped, and 2,000 requests of 370 bytes")
BACKLOG = Limit(4_096, "leaves read back at the first start for requests whose builds are still going on")
SAVE_EVERY = Limit(4_096, "leaves that concern nobody between two writes of the state: a moment's work again")
MAX_WATCHED = Limit(100, "patterns and digests of one monitor; each entry is held against all of them")

_VERSION: Final = 1


class _Record(msgspec.Struct, forbid_unknown_fields=True):
    """The state file."""

    v: int
    network: str  # SHA-256 of genesis, hex
    purls: list[str]
    digests: list[str]
    note: str
    position: int
    requests: dict[str, str]
    learned: bool


@dataclass(slots=True)
class State:
    """What a monitor remembers, on disk before anything counts as done.

    Attributes:
        note: the newest proved checkpoint; empty at the first start.
        position: the next leaf to look at; None at the first start.
        requests: the build requests that are asked for, with their packages.
        learned: they include those from before the first start.
    """

    path: Path
    network: str
    watched: Filter
    note: bytes = b""
    position: int | None = None
    requests: dict[str, str] = field(default_factory=dict)
    learned: bool = False
    _handle: int = -1

    @classmethod
    def open(cls, path: Path | None, genesis: Genesis, watched: Filter) -> "State":
        """Take the state at `path`, or where that of this log and filter lies, for this process alone.

        Raises:
            Refusal: `data-in-use`, `data-foreign` (another log's or filter's), `data-damaged`.
        """
        network = hashlib.sha256(genesis.raw).hexdigest()
        state = cls(path or default_path(network, watched), network, watched)
        state.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        state._handle = _locked(state.path.with_name(state.path.name + ".lock"), state.path)
        try:
            state._read()
        except BaseException:
            state.close()
            raise
        return state

    def begin(self, first: int | None) -> int | None:
        """The position to go on from: the remembered one, or `first` where there is none; None for the log's end.

        Raises:
            Refusal: `usage`, where somebody wants to begin at `first` and this monitor is elsewhere already.
        """
        if first is None or self.position is None or first == self.position:
            return first if self.position is None else self.position
        raise Refusal(
            "usage",
            what=f"this monitor goes on at entry {self.position}; it cannot begin at {first} any more",
            who=f"--from, and the state file {self.path}",
            do=f"leave --from out to go on; to begin anew remove {self.path}, or name another with --state",
        )

    def last(self, rule: Rule) -> Head | None:
        """The newest proved head, its signatures checked again; None at the first start.

        Raises:
            Refusal: `data-damaged`.
        """
        try:
            return rule.read(self.note) if self.note else None
        except Malformed as error:
            raise _damaged(self.path, str(error)) from None

    def save(self) -> None:
        """Durable when this returns."""
        record = _Record(
            v=_VERSION,
            network=self.network,
            purls=[one.pattern for one in self.watched.purls],
            digests=list(self.watched.digests),
            note=self.note.decode("utf-8"),
            position=self.position or 0,
            requests=self.requests,
            learned=self.learned,
        )
        write_whole(self.path, msgspec.json.encode(record), 0o600)

    def close(self) -> None:
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1

    def _read(self) -> None:
        try:
            with self.path.open("rb") as file:
                data = file.read(MAX_STATE_BYTES.value + 1)
        except FileNotFoundError:
            return
        record = _parsed(data, self.path)
        mine = ([one.pattern for one in self.watched.purls], list(self.watched.digests))
        if record.network != self.network or (record.purls, record.digests) != mine:
            raise Refusal(
                "data-foreign",
                what="the state file is that of another network, or of other patterns",
                who=str(self.path),
                do="name another file with --state, or give the patterns that it was made with",
            )
        self.note, self.position = record.note.encode(), record.position
        self.requests, self.learned = record.requests, record.learned


def _parsed(data: bytes, path: Path) -> _Record:
    try:
        record = msgspec.json.decode(data, type=_Record)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise _damaged(path, str(error)) from None
    sound = (
        len(data) <= MAX_STATE_BYTES.value
        and record.v == _VERSION
        and len(record.note) <= MAX_NOTE_BYTES.value
        and 0 <= record.position <= MAX_TREE_SIZE.value
        and len(record.requests) <= events.KNOWN_REQUESTS.value
    )
    if not sound:
        raise _damaged(path, "a field is out of range")
    return record


def _damaged(path: Path, why: str) -> Refusal:
    return Refusal(
        "data-damaged",
        what=f"the state file cannot be read: {why[:200]}",
        who=str(path),
        do="restore it, or remove it and say with --from where to begin",
    )


def _locked(path: Path, state: Path) -> int:
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(handle)
        raise Refusal(
            "data-in-use",
            what=f"another monitor uses {state}",
            who="that process",
            do="stop it, or name another file with --state",
        ) from None
    return handle


def default_path(network: str, watched: Filter) -> Path:
    """Below the user's state folder, one file for each network and filter."""
    told = [network, sorted(one.pattern for one in watched.purls), sorted(watched.digests)]
    name = hashlib.sha256(canonical.encode(told)).hexdigest()[:24]  # type: ignore[arg-type]
    return Path(platformdirs.user_state_dir("pyrsia", appauthor=False)) / "monitor" / f"{name}.json"


def pair_of(alarm: Alarm, source: str) -> Pair:
    """Both notes, byte for byte, so that they convict whoever signed them. `source`: where the second was read."""
    why: Why = "shrunk" if alarm.trouble == "shrunk" else "inconsistent"
    if alarm.old.checkpoint.size == alarm.new.checkpoint.size:
        why = "forked"
    return Pair(why, alarm.old.note, alarm.new.note, said(alarm), source)


class Monitor:
    """The hands of a log that is followed: what concerns the watched packages goes to every outlet."""

    def __init__(
        self,
        state: State,
        outlets: Sequence[Outlet],
        *,
        names: Mapping[str, str],
        saw: Callable[[Keep], None],
        warn: Callable[[str], None],
        progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> None:
        """
        Args:
            names: node id text -> what people call it.
            saw: compares a proved head with what this user saw elsewhere; raises `Refusal` for a fork.
            progress: hears how many of how many leaves were looked at.
        """
        self._state = state
        self._names = names
        self._outlets = outlets
        self._saw = saw
        self._warn = warn
        self._progress = progress
        self._watch = Watchlist(state.watched, state.requests)

    def keep(self, effect: Keep) -> None:
        try:
            self._saw(effect)
        except Refusal as refusal:
            event: Event = {"event": "alarm", "trouble": "fork", "log": effect.head.checkpoint.origin}
            event |= {"summary": refusal.what, "first": "", "second": effect.head.note.decode("utf-8")}
            self._tell_all(event | {"evidence": refusal.do})
            raise
        self._state.note, self._state.position = effect.head.note, effect.position
        self._save()

    def deliver(self, log: ProvenLog, first: int) -> Iterator[int]:
        self._learn_backlog(log, first)
        for index, leaf, time_ms in timed(log.entries(first, log.checkpoint.size)):
            self._progress(index, log.checkpoint.size)
            told = row(index, leaf, time_ms, self._names)
            if told.kind == "unreadable":
                self._warn(f"leaf {index} cannot be read: {told.summary}")
            wanted = self._watch.concerns(leaf)
            if wanted or told.kind == "unreadable":
                event = self._watch.event(told, leaf, log.checkpoint)
                for outlet in self._outlets:
                    outlet.send(event)
            if wanted or (index + 1) % SAVE_EVERY.value == 0 or index + 1 == log.checkpoint.size:
                self._state.position = index + 1
                self._save()
                yield index + 1

    def alarm(self, effect: Alarm, source: str) -> None:
        path = self._state.path.with_suffix(".alarm")
        try:
            keep_as(path, pair_of(effect, source))
            kept = str(path)
        except OSError as error:
            kept = ""
            self._warn(f"the evidence cannot be kept: {error.strerror}: {path}")
        self._tell_all(alarm_event(effect, kept))
        raise alarmed(effect, kept)

    def warn(self, text: str) -> None:
        self._warn(text)

    def _tell_all(self, event: Event) -> None:
        """An alarm: one outlet's trouble must not keep it from the next."""
        for outlet in self._outlets:
            try:
                outlet.send(event)
            except Undelivered as error:
                self._warn(f"the alarm was not delivered: {error}")

    def _learn_backlog(self, log: ProvenLog, first: int) -> None:
        """Builds that began before the first start are about packages too; only their requests name these."""
        if self._state.learned:
            return
        for _, leaf in log.entries(max(0, first - BACKLOG.value), first):
            self._watch.learn(leaf)
        self._state.learned = True

    def _save(self) -> None:
        self._state.requests = self._watch.requests
        self._state.save()


def alarmed(alarm: Alarm, kept: str) -> Refusal:
    """How an alarm ends a command."""
    return Refusal(
        "proof-invalid",
        what=f"ALARM: {said(alarm)}",
        who="more than f of its validators"
        if alarm.trouble == "fork"
        else "the node, or more than f of its validators",
        do=f"believe neither; show both heads to its operators: {kept}" if kept else "believe neither",
    )
