"""The shell around `log.witness`: state in the database, durable before the answer; evidence; the key.

One request of a log at a time: the state is read, decided upon, written and synced before the next one of that
log looks at it. What stays bounded: how many wait, how many cosignatures of growth a log gets in a second, how
much evidence is kept.

The key is worth nothing without the memory of what it signed. So the database holds the public half of the key
that it remembers for; a key whose database is gone cosigns no more, and no more for a log of which the database
knows less than the mark beside the key (`marks`).

Source: C2SP tlog-witness.md v1.0.0; docs/auditing.md, "Witness"; ADR 28.
"""

import hashlib
import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Final

import msgspec
import trio

from pyrsia import keys
from pyrsia.config import WitnessSection
from pyrsia.errors import Malformed, Refusal
from pyrsia.keys import WITNESS, KeyPair
from pyrsia.log import witness
from pyrsia.log.note import VerifierKey, check_name
from pyrsia.log.witness import Cosigned, Evidence, Request, WatchedLog, WitnessKey
from pyrsia.node.witness.marks import Marks
from pyrsia.status import EvidenceRow, WatchedStatus
from pyrsia.store import layout
from pyrsia.store.rocks import Batch, Database
from pyrsia.units import Limit
from pyrsia.wire.text import safe

WAITING = Limit(8, "requests of one log behind the one that is being written; its feeders ask again")
GROWTHS = Limit(20, "cosigned growths of one log in a second; logs sign a checkpoint a second at most")
FEW_KEYS = Limit(8, "of a log are checked on the loop, in half a millisecond; more in a worker thread")
MAX_EVIDENCE = Limit(16, "kept of each kind and log: two notes convict, more only fill the disk")

_KEY: Final = b"witness/key"  # the public key that this database remembers for
_LOG: Final = b"witness/log/"
_EVIDENCE: Final = b"witness/evidence/"
_KINDS: Final = ("fork", "shrink", "proof")

_log = logging.getLogger("pyrsia.witness")


class Witnessing:
    """One node as a witness of other people's logs."""

    def __init__(
        self,
        database: Database,
        key: WitnessKey,
        logs: Sequence[WatchedLog],
        *,
        marks: Marks,
        clock: Callable[[], float],
        notices: list[str],
        stopped: str = "",
    ) -> None:
        """`clock`: seconds since 1970; `stopped`: why this key must not cosign, empty if it may.

        Raises:
            Unavailable: the disk said no.
        """
        self._database = database
        self._key = key
        self._logs: Mapping[str, WatchedLog] = {log.origin: log for log in logs}
        self._by_hash = {log.hash: log for log in logs}
        self._turns = {log.origin: trio.Lock() for log in logs}
        self._paces: dict[str, tuple[int, int]] = {}  # origin -> (second, growths in it)
        self._thread = trio.CapacityLimiter(1)
        self._marks = marks
        self._clock = clock
        self._notices = notices
        self.stopped = stopped
        if stopped:
            notices.append(stopped)
        self._forgotten = {} if stopped else {log.origin: why for log in logs if (why := self._forgets(log))}
        for log in logs:
            self._alarm(log)

    def _forgets(self, log: WatchedLog) -> str:
        """Why this key cosigns `log` no more, told as a notice; nothing if the database knows all that it said."""
        state = self._read(log)
        why = self._marks.check(log, *((-1, b"") if state is None else (state.size, state.root)))
        if not why:
            return ""
        why = (
            f"the log {log.origin} is cosigned here no more: {why}; tell that log and the others of this witness, then"
            f" remove {self._marks.key_file} and restart to begin with a new key"
        )
        self._notices.append(why)
        _log.error("%s", safe(why))
        return why

    @property
    def verifier(self) -> VerifierKey:
        """Under which others check what this node cosigns."""
        return self._key.verifier

    async def add_checkpoint(self, body: bytes) -> bytes | int:
        """Our cosignature line, or the size that we cosigned last.

        Raises:
            Refusal: the protocol's no (400, 403, 404, 422), `busy`, or `unavailable` for a key that stopped, or
                that stopped for this log.
            Unavailable: the database failed; nothing was signed.
        """
        if self.stopped:
            raise _stopped(self.stopped)
        try:
            request = Request.parse(body)
        except Malformed as error:
            raise witness.malformed(error) from None
        log = self._logs.get(request.checkpoint.origin)
        if log is None:
            raise witness.unknown(request.checkpoint.origin)
        if log.origin in self._forgotten:
            raise _stopped(self._forgotten[log.origin])
        turn = self._turns[log.origin]
        if turn.statistics().tasks_waiting >= WAITING.value:
            raise _busy()
        async with turn:
            return await self._decided(log, request)

    async def _decided(self, log: WatchedLog, request: Request) -> bytes | int:
        now_s = int(self._clock())
        decide = partial(
            witness.decide, log, self._read(log), request, now_s=now_s, key=self._key, verify=keys.verify
        )
        if len(log.keys) > FEW_KEYS.value:
            # Many signatures of one note would hold the loop, and anybody can send a true note again.
            decision = await trio.to_thread.run_sync(decide, limiter=self._thread)
        else:
            decision = decide()
        batch = Batch()
        if decision.keep is not None:
            self._pace(log, now_s)
            batch.put(layout.MISC, _LOG + bytes.fromhex(log.hash), msgspec.msgpack.encode(decision.keep))
        if decision.evidence is not None:
            self._keep_evidence(batch, log, decision.evidence, now_s)
        if len(batch):
            self._database.write(batch)
        if decision.line or len(batch):
            # Also for a line that is given again: what wrote it may have failed before it was durable.
            await self._database.sync()
        if decision.line:
            await self._mark(log)
        if decision.evidence is not None:
            self._alarm(log)
        if decision.refusal is not None:
            raise decision.refusal
        return decision.line if decision.size is None else decision.size

    async def _mark(self, log: WatchedLog) -> None:
        """Have it beside the key what is about to be said; after the sync, so that no crash puts it ahead."""
        state = self._read(log)
        assert state is not None  # noqa: S101 (a line speaks of what was kept)
        if self._marks.missing(log, state.size, state.root):
            keep = partial(self._marks.keep, log, state.size, state.root)
            await trio.to_thread.run_sync(keep, limiter=self._thread)

    def _pace(self, log: WatchedLog, now_s: int) -> None:
        second, count = self._paces.get(log.origin, (now_s, 0))
        if second != now_s:
            count = 0
        if count >= GROWTHS.value:
            raise _busy()
        self._paces[log.origin] = now_s, count + 1

    def _read(self, log: WatchedLog) -> Cosigned | None:
        raw = self._database.get(layout.MISC, _LOG + bytes.fromhex(log.hash))
        return None if raw is None else msgspec.msgpack.decode(raw, type=Cosigned)

    # -- evidence ------------------------------------------------------------------------------

    def _keep_evidence(self, batch: Batch, log: WatchedLog, found: Evidence, now_s: int) -> None:
        prefix = _EVIDENCE + bytes.fromhex(log.hash) + bytes([_KINDS.index(found.kind)])
        # By the text that was told: the same text with other signatures says nothing new.
        key = prefix + hashlib.sha256(found.told.rpartition(b"\n\n")[0]).digest()
        row = EvidenceRow(found.kind, now_s, found.kept.decode(), found.told.decode())
        if self._database.get(layout.MISC, key) is None and len(self._rows(prefix)) < MAX_EVIDENCE.value:
            batch.put(layout.MISC, key, msgspec.msgpack.encode(row))
            _log.warning("evidence against the log %s: %s", safe(log.origin), found.kind)

    def _rows(self, prefix: bytes) -> list[EvidenceRow]:
        most = MAX_EVIDENCE.value * len(_KINDS)
        found = self._database.scan(layout.MISC, prefix, most)
        return [msgspec.msgpack.decode(raw, type=EvidenceRow) for key, raw in found if key.startswith(prefix)]

    def _alarm(self, log: WatchedLog) -> None:
        """Say once that the log forked, again after each start: what convicts a log is never old news.

        What anybody can send with an old checkpoint in hand alarms nobody; it is kept, and `witness list` counts it.
        """
        kinds = {row.kind for row in self._rows(_EVIDENCE + bytes.fromhex(log.hash))}
        notice = (
            f"ALARM: the log {log.origin} signed two tree heads of one size; see `pyrsia witness evidence`"
        )
        if "fork" in kinds and notice not in self._notices:
            self._notices.append(notice)
            _log.error("%s", safe(notice))

    # -- reading -------------------------------------------------------------------------------

    def checkpoint(self, origin_hash: str) -> bytes | None:
        """The newest checkpoint that we cosigned for the log with this hash of its origin."""
        log = self._by_hash.get(origin_hash)
        state = self._read(log) if log is not None else None
        return None if state is None else state.note

    def evidence(self, origin_hash: str) -> tuple[str, Sequence[EvidenceRow]] | None:
        log = self._by_hash.get(origin_hash)
        if log is None:
            return None
        return log.origin, self._rows(_EVIDENCE + bytes.fromhex(log.hash))

    def watched(self) -> tuple[WatchedStatus, ...]:
        """Every watched log and how far it is cosigned."""
        return tuple(self._watched(log) for log in self._logs.values())

    def _watched(self, log: WatchedLog) -> WatchedStatus:
        state = self._read(log)
        return WatchedStatus(
            origin=log.origin,
            hash=log.hash,
            keys=tuple(str(key) for key in log.keys),
            need=log.need,
            size=-1 if state is None else state.size,
            root="" if state is None else state.root.hex(),
            time_s=0 if state is None else state.time_s,
            evidence=len(self._rows(_EVIDENCE + bytes.fromhex(log.hash))),
            stopped=self._forgotten.get(log.origin, ""),
        )


def open_witnessing(
    folder: Path,
    settings: WitnessSection,
    database: Database,
    *,
    clock: Callable[[], float],
    notices: list[str],
) -> Witnessing | None:
    """The witness of the node whose keys lie in `folder`; None if it watches no log. Before anything is served.

    Raises:
        Refusal: `config-invalid` for a line that is no log or a name that is none; `data-damaged`.
        Unavailable: the disk said no.
    """
    try:
        logs = witness.parse_logs(settings.logs)
    except Malformed as error:
        raise _invalid("witness.logs", str(error)) from None
    if not logs:
        return None
    pair, stopped = _key_of(folder, database)
    name = settings.name or witness.default_name(pair.public)
    try:
        check_name(name)
    except Malformed as error:
        raise _invalid("witness.name", str(error)) from None
    key = WitnessKey(name, pair.public, pair.sign)
    marks = Marks(folder, pair.public)
    return Witnessing(database, key, logs, marks=marks, clock=clock, notices=notices, stopped=stopped)


def _key_of(folder: Path, database: Database) -> tuple[KeyPair, str]:
    """The key, made now if there is none, and why it must not cosign (nothing if it may)."""
    pair, remembered = keys.load_key(folder, WITNESS), database.get(layout.MISC, _KEY)
    if pair is None:
        pair = KeyPair.generate()
        # The memory before the key: a crash between leaves a memory of nothing, never a key without one.
        database.write(Batch().put(layout.MISC, _KEY, pair.public))
        database.flush()
        keys.keep_key(folder, WITNESS, pair)
    elif remembered != pair.public:
        return pair, (
            "the witness key cosigns no more: the database that knew what it signed is gone; tell the logs, "
            f"then remove {folder / f'{WITNESS}.key'} and restart to begin with a new key"
        )
    return pair, ""


def _busy() -> Refusal:
    return Refusal(
        "busy",
        what="this log asks for cosignatures faster than they are written",
        who="the feeders of this log",
        do="ask again in a second",
    )


def _stopped(why: str) -> Refusal:
    return Refusal("unavailable", what=why, who="this node's disk", do="ask its operator")


def _invalid(key: str, why: str) -> Refusal:
    return Refusal(
        "config-invalid",
        what=f"{key} is not valid: {why}",
        who=f"{key} in config.toml",
        do="write it with `pyrsia witness add-log`, or see docs/auditing.md",
    )
