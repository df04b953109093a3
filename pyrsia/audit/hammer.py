"""`pyrsia log hammer`: write into a log and verify it at once, and say whether anything acknowledged is missing.

Writers put facts into the log through one node and remember what was acknowledged; now and then they send an
entry that is in the log already and expect the same leaf again. Readers verify, under one shared checkpoint that
is proved to go on from each before, that every acknowledged entry stands where the node said, and random
bundles beside them. The goal counts only if all of that holds.
"""

import heapq
import json
import math
import random
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec
import trio

from pyrsia.audit.heads import Head, Rule
from pyrsia.audit.lane import Lane
from pyrsia.audit.proven import ProvenLog
from pyrsia.audit.sources import Source
from pyrsia.client import foreign, refusal_in
from pyrsia.errors import Malformed, PyrsiaError, Refusal, Unavailable, first_cause
from pyrsia.ledger import entries
from pyrsia.log.tree import TILE_WIDTH
from pyrsia.units import MAX_ENTRY_BYTES, Limit

HEAD_S: Final = 0.25  # between two looks at the checkpoint: four times as often as one is signed
FIRST_S = Limit(10, "for the first cosigned checkpoint of a network that has just begun: a second or two")
SETTLE_S = Limit(60, "for a checkpoint that covers the last acknowledged entry: one is due within a second")
PAUSE_S: Final = (0.1, 0.2, 0.4, 0.8, 1.6)  # after a "not now" of the node; the last one for all that follow
AGAIN: Final = frozenset(("busy", "unavailable", "not-running"))  # what a later attempt may mend


def first_checkpoint(source: Source) -> bytes:
    """The newest checkpoint of a log, with a little patience: a network that has just begun has none yet.

    Raises:
        Refusal, Unavailable: as `source.checkpoint`, once the patience is over or waiting would not help.
    """
    ends_s = time.monotonic() + FIRST_S.value
    while True:
        try:
            return source.checkpoint()
        except (Unavailable, Refusal) as error:
            passing = isinstance(error, Unavailable) or error.code == "unavailable"
            if not passing or time.monotonic() >= ends_s:
                raise
            time.sleep(HEAD_S)


class Ack(msgspec.Struct):
    """A node's word that an entry is in the log."""

    entry: str
    state: str
    index: int


class _Shown(msgspec.Struct):
    """The part of a leaf's proof that holds the leaf itself."""

    entry: str


class Report(msgspec.Struct):
    """What came of it. Waits in milliseconds; `ok` is the whole verdict and `why` what is against it."""

    ok: bool
    why: str
    goal: int
    acknowledged: int
    verified: int
    seconds: float
    entries_per_second: float
    write_p50_ms: float
    write_p99_ms: float
    resent: int
    refused: int
    verifications: int
    verify_p50_ms: float
    verify_p99_ms: float
    size: int
    root: str


@dataclass(frozen=True, slots=True)
class Plan:
    """How hard to hammer, and for how long."""

    goal: int
    seconds: float
    writers: int = 16
    readers: int = 2
    text_bytes: int = 200
    packages: int = 10_000
    resend: float = 0.1
    seed: int = 0


class Failed(PyrsiaError):
    """The log, or the node, is not what it says."""


@dataclass
class Hammer:
    """One run."""

    plan: Plan
    target: str
    source: Source
    rule: Rule
    progress: Callable[[int, int], None]
    token_of: str = ""  # the data directory whose token is sent to `target`, if that is an address
    acknowledged: int = 0
    verified: int = 0
    resent: int = 0
    refused: int = 0
    last_refusal: str = ""
    writes_s: list[float] = field(default_factory=list)
    reads_s: list[float] = field(default_factory=list)
    head: Head | None = None
    _sent: int = 0
    _leaves: dict[int, bytes] = field(
        default_factory=dict
    )  # acknowledged, not yet verified: leaf -> entry id
    _indices: set[int] = field(default_factory=set)
    _due: list[int] = field(default_factory=list)  # a heap of the same leaves, and of some that are verified
    _recent: deque[tuple[int, str]] = field(default_factory=lambda: deque(maxlen=1_000))
    _random: random.Random = field(init=False)
    _grown: trio.Event = field(default_factory=trio.Event)

    def __post_init__(self) -> None:
        self._random = random.Random(self.plan.seed)  # noqa: S311 (load, not secrets)

    async def run(self) -> Report:
        """
        Raises:
            Refusal: nothing could be written at all, because this caller may not.
        """
        why = ""
        began_s = ended_s = trio.current_time()
        try:
            await self._look()
            began_s = trio.current_time()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._keep_looking)
                for number in range(self.plan.readers):
                    nursery.start_soon(_Reader(self, number).run)
                await self._write_all(began_s + self.plan.seconds)
                ended_s = trio.current_time()
                await self._settle(_Reader(self, self.plan.readers))
                nursery.cancel_scope.cancel()
        except BaseExceptionGroup as group:
            why = self._reason(group)
        except (Failed, Unavailable, Malformed) as error:
            why = str(error)
        if not why and self.acknowledged < self.plan.goal:
            why = f"{self.acknowledged} of {self.plan.goal} entries were acknowledged in {self.plan.seconds:g} s"
            why += f"; the node said: {self.last_refusal}" if self.last_refusal else ""
        return self._report(why, max(ended_s - began_s, 1e-6))

    def _reason(self, group: BaseExceptionGroup[BaseException]) -> str:
        """Why it failed; what is not a failure of the log goes on its way."""
        for kind in (KeyboardInterrupt, Refusal):
            found = group.subgroup(kind)
            if found is not None:
                raise first_cause(found) from None
        ours, others = group.split((Failed, Unavailable, Malformed))
        if others is not None:
            raise others
        return str(first_cause(ours)) if ours is not None else ""

    # -- writing -------------------------------------------------------------------------------

    async def _write_all(self, end_s: float) -> None:
        with trio.move_on_at(end_s):
            async with trio.open_nursery() as writers:
                for number in range(self.plan.writers):
                    writers.start_soon(self._write, number)

    async def _write(self, number: int) -> None:
        lane, pauses = Lane(self.target, self.token_of), 0
        try:
            while self.acknowledged < self.plan.goal:
                try:
                    if self._recent and self._random.random() < self.plan.resend:
                        await self._resend(lane)
                    else:
                        await self._send(lane)
                    pauses = 0
                except (Refusal, Unavailable) as error:
                    self._note(error)
                    await trio.sleep(PAUSE_S[min(pauses, len(PAUSE_S) - 1)])
                    pauses += 1
        finally:
            await lane.close()

    def _note(self, error: Refusal | Unavailable) -> None:
        if isinstance(error, Refusal) and error.code not in AGAIN:
            raise error
        self.refused += 1
        self.last_refusal = error.what if isinstance(error, Refusal) else str(error)

    async def _send(self, lane: Lane) -> None:
        self._sent += 1
        text = f"hammer {self.plan.seed} {self._sent} ".ljust(self.plan.text_bytes, "x")
        fact = {
            "kind": "description",
            "subject": f"pkg:pypi/hammer-{self._sent % self.plan.packages}",
            "text": text,
        }
        began_s = trio.current_time()
        ack = await _asked(lane, "POST", "/api/v1/facts", Ack, json.dumps(fact).encode())
        if ack.index in self._indices:
            raise Failed(f"leaf {ack.index} was acknowledged for two entries")
        try:
            entry_id = bytes.fromhex(ack.entry)
        except ValueError:
            raise Malformed("the node gives an entry id that is no hex") from None
        self._indices.add(ack.index)
        self._leaves[ack.index] = entry_id
        heapq.heappush(self._due, ack.index)
        self._recent.append((ack.index, ack.entry))
        self.writes_s.append(trio.current_time() - began_s)
        self.acknowledged += 1
        self.progress(self.acknowledged, self.plan.goal)

    async def _resend(self, lane: Lane) -> None:
        """An entry is its bytes: sent again it is the same leaf, never another."""
        index, entry_id = self._random.choice(self._recent)
        try:
            shown = await _asked(lane, "GET", f"/api/v1/log/prove?index={index}", _Shown)
        except Refusal as no:
            self._not_yet(no, index)
            return
        raw = shown.entry.encode()
        if len(raw) > MAX_ENTRY_BYTES.value or entries.parse(raw).id.hex() != entry_id:
            raise Failed(f"leaf {index} is not the entry that was acknowledged there")
        again = await _asked(lane, "POST", "/api/v1/entries", Ack, raw)
        if (again.entry, again.state, again.index) != (entry_id, "duplicate", index):
            raise Failed(
                f"the entry of leaf {index} was sent again and answered {again.state} at {again.index}"
            )
        self.resent += 1

    def _not_yet(self, no: Refusal, index: int) -> None:
        """That a leaf is not there is no fault of a node whose log lags: a validator proved the acknowledgement.

        Raises:
            Failed: the node's own checkpoint covers the leaf.
            Refusal: `no`, where it says something else.
        """
        if no.code != "not-found":
            raise no
        if self.head is not None and index < self.head.checkpoint.size:
            raise Failed(f"leaf {index} is below the node's checkpoint, and the node has no such leaf")

    # -- verifying -----------------------------------------------------------------------------

    async def _keep_looking(self) -> None:
        while True:
            await trio.sleep(HEAD_S)
            try:
                await self._look()
            except (Unavailable, Refusal) as error:
                self._note(error)

    async def _look(self) -> None:
        """The newest checkpoint, if it is signed and goes on from the last."""
        head = await trio.to_thread.run_sync(self._head, abandon_on_cancel=True)
        last = self.head
        if last is not None:
            old, new = last.checkpoint, head.checkpoint
            if new.size < old.size:
                raise Failed(f"the log shrank from {old.size} to {new.size} leaves")
            proven = ProvenLog(self.source, new)
            if old.size and not await trio.to_thread.run_sync(
                proven.begins_with, old, abandon_on_cancel=True
            ):
                raise Failed(
                    f"the log forked: what is signed at {new.size} does not begin with what was at {old.size}"
                )
        self.head = head
        self._grown.set()
        self._grown = trio.Event()

    def _head(self) -> Head:
        """What the node says, in a thread: it may take steps to later epochs."""
        return self.rule.read(self.source.checkpoint(), self.source.epoch)

    async def _settle(self, reader: "_Reader") -> None:
        """Until every acknowledged entry is verified.

        Raises:
            Failed: one is missing, or no checkpoint covers it in time.
        """
        with trio.move_on_after(SETTLE_S.value):
            while self._leaves:
                grown = self._grown
                if not await reader.verify_acknowledged():
                    await grown.wait()
            return
        raise Failed(
            f"{len(self._leaves)} acknowledged entries are in no checkpoint after {SETTLE_S.value} s"
        )

    def due(self, size: int) -> int | None:
        """A bundle with acknowledged entries below `size` that nobody verified yet."""
        while self._due and self._due[0] not in self._leaves:
            heapq.heappop(self._due)
        return self._due[0] // TILE_WIDTH if self._due and self._due[0] < size else None

    def confirm(self, bundle: int, leaves: tuple[bytes, ...]) -> None:
        """Hold the acknowledged entries of a verified bundle against it.

        Raises:
            Failed: something else stands there.
        """
        first = bundle * TILE_WIDTH
        for offset, leaf in enumerate(leaves):
            wanted = self._leaves.get(first + offset)
            if wanted is None:
                continue
            if entries.parse(leaf).id != wanted:
                raise Failed(f"leaf {first + offset} is not the entry that was acknowledged there")
            del self._leaves[first + offset]
            self.verified += 1

    def _report(self, why: str, seconds: float) -> Report:
        head = self.head
        return Report(
            ok=not why,
            why=why,
            goal=self.plan.goal,
            acknowledged=self.acknowledged,
            verified=self.verified,
            seconds=round(seconds, 3),
            entries_per_second=round(self.acknowledged / seconds, 1),
            write_p50_ms=_ms(self.writes_s, 0.5),
            write_p99_ms=_ms(self.writes_s, 0.99),
            resent=self.resent,
            refused=self.refused,
            verifications=len(self.reads_s),
            verify_p50_ms=_ms(self.reads_s, 0.5),
            verify_p99_ms=_ms(self.reads_s, 0.99),
            size=head.checkpoint.size if head else 0,
            root=head.checkpoint.root.hex() if head else "",
        )


class _Reader:
    """Verifies bundles under the shared head: acknowledged ones, and random ones between."""

    def __init__(self, hammer: Hammer, number: int) -> None:
        self._hammer = hammer
        self._log: ProvenLog | None = None  # this reader's alone: one thread at a time
        self._random = random.Random(hammer.plan.seed + number)  # noqa: S311 (load, not secrets)

    async def run(self) -> None:
        while True:
            grown = self._hammer._grown
            size = self._hammer.head.checkpoint.size if self._hammer.head else 0
            try:
                if size:
                    await self._verify(self._random.randrange(size) // TILE_WIDTH)
                if not await self.verify_acknowledged():
                    await grown.wait()
            except (Unavailable, Refusal) as error:
                self._hammer._note(error)
                await trio.sleep(HEAD_S)

    async def verify_acknowledged(self) -> bool:
        """Verify one bundle with acknowledged entries; whether there was one."""
        head = self._hammer.head
        bundle = None if head is None else self._hammer.due(head.checkpoint.size)
        if bundle is None:
            return False
        await self._verify(bundle)
        return True

    async def _verify(self, bundle: int) -> None:
        head = self._hammer.head
        assert head is not None  # noqa: S101 (nothing is verified before the first)
        if self._log is None or self._log.checkpoint != head.checkpoint:
            self._log = ProvenLog(self._hammer.source, head.checkpoint)
        began_s = trio.current_time()
        leaves = await trio.to_thread.run_sync(self._log.bundle, bundle, abandon_on_cancel=True)
        self._hammer.reads_s.append(trio.current_time() - began_s)
        self._hammer.confirm(bundle, leaves)


async def _asked(lane: Lane, method: str, path: str, shape: Any, body: bytes = b"") -> Any:
    status, data = await lane.ask(method, path, body)
    if status >= 400:
        raise refusal_in(status, data)
    try:
        return msgspec.json.decode(data, type=shape)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise Malformed(foreign(str(error)).what) from None


def _ms(values: list[float], part: float) -> float:
    """The wait below which `part` (0..1) of `values` lie; 0 of none."""
    ordered = sorted(values) or [0.0]
    return round(1000 * ordered[min(len(ordered) - 1, math.floor(part * len(ordered)))], 3)
