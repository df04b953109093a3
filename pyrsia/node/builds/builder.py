"""A drawn builder's work: lock, sources, build, commitment, receipts, reveal.

The job (the reveal to come, with its nonce) is on disk before its commitment is on the wire, so that a
restarted builder opens the commitment that it made. What the log draws, and when a reveal is owed, the
ledger says; nothing is decided here but the order of work.

Source: docs/builds-how.md, "Step by step"; docs/ledger.md, "A block".
"""

import hashlib
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import trio

from pyrsia.builds.model import Built, PhaseFailed, Plugin, SourceWithheld
from pyrsia.errors import PyrsiaError, Refusal, Unavailable
from pyrsia.keys import KeyPair, KeyRing
from pyrsia.ledger import entries, views
from pyrsia.ledger.genesis import Genesis
from pyrsia.ledger.views import Assignment
from pyrsia.node.builds.queue import Priority, Turns, slots
from pyrsia.node.builds.receipts import Receipts
from pyrsia.node.builds.reveal import Misnamed, Reveals, unfit
from pyrsia.node.builds.windows import Times, times
from pyrsia.node.clock import NowMs, wall_ms
from pyrsia.node.log.submission import Submitter
from pyrsia.node.pulse import Pulse
from pyrsia.node.storage.shelf import Shelf
from pyrsia.store import layout
from pyrsia.store.rocks import Batch, Database
from pyrsia.units import HASH_BYTES, Limit
from pyrsia.wire import canonical

MAX_JOBS = Limit(10_000, "jobs looked at by one start; a builder owes a few at a time, the rest is history")
RETRY_S = Limit(
    5, "what failed for want of a peer, an index or a disk is tried again until the window is nearly over"
)
RETRY_MOST_S = Limit(60, "each wait is longer than the one before, up to this: a window has ten minutes")
# Of this machine or of the world: nothing is said about the package.
UNABLE = frozenset({
    "no-sandbox", "no-environment", "index-unreachable", "source-unreachable", "unavailable", "busy", "storage-full",
})  # fmt: skip

_log = logging.getLogger("pyrsia.builder")

DrawnFirst = Callable[[Mapping[str, Any]], bool]
Reads = Callable[[bytes], bytes | None]
Revealed = Callable[[str, Mapping[str, Any]], None]  # (request, body of the reveal)


@dataclass(slots=True)
class _Work:
    """One assignment that is worked on.

    Attributes:
        sealed: nothing of it is built any more, an entry is on its way.
        since: when the try that runs had its turn, on trio's clock; None while none runs.
        cut: a try used up its share while others waited.
        blocked: a server did not answer the package's own run, which chose what to ask: tried again, and told at the
            end, since a package could otherwise have one builder struck by asking for what no server answers.
    """

    times: Times
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)
    sealed: bool = False
    failures: int = 0
    since: float | None = None
    cut: bool = False
    blocked: PhaseFailed | None = None

    def late(self) -> bool:
        """Whether, at the end of the time for it, the build itself was what took too long, and not the world.

        After faults of the world only a try that had some time says anything about the package.
        """
        if self.cut or self.blocked:
            return True
        if self.since is None:
            return False
        return not self.failures or trio.current_time() - self.since >= self.times.spare_s


class Builder:
    """Does what the log draws this node for."""

    def __init__(
        self,
        keys: KeyRing,
        genesis: Genesis,
        *,
        plugins: Mapping[str, Plugin],
        shelf: Shelf,
        submitter: Submitter,
        reads: Reads,
        database: Database,
        pulse: Pulse,
        parallel: int,
        attests: Callable[[], KeyPair] | None = None,
        revealed: Revealed = lambda *_: None,
        receipts: Receipts | None = None,
        now_ms: NowMs = wall_ms,
    ) -> None:
        """
        Args:
            parallel: builds at once; 0: by this machine's cores.
            attests: the build key that the log knows now; without it the one in `keys`.
            revealed: told of each reveal of ours that stands in the log.
            receipts: gets them of storage members; without it none are sought.
        """
        self._keys = keys
        self._genesis = genesis
        self._plugins = plugins
        self._reveals = Reveals(keys.node_id, attests or (lambda: keys.build), shelf)
        self._submitter = submitter
        self._reads = reads
        self._database = database
        self._pulse = pulse
        self._now_ms = now_ms
        self._revealed = revealed
        self._receipts = receipts
        self.turns = Turns(slots(parallel))
        self._active: dict[tuple[str, str, int], _Work] = {}
        self.notes: dict[str, str] = {}  # request -> what is done for it right now
        self.built = 0

    @property
    def building(self) -> tuple[str, ...]:
        return tuple(self.notes)

    def waiting(self) -> list[str]:
        """What waits for its turn, the next one first, in words."""
        return [
            f"{one.request[:16]}: {one.priority.name.lower().replace('_', '-')}, asked by {one.requester[:8]}"
            for one in self.turns.waiting()
        ]

    def job(self, request: str, number: int) -> dict[str, Any] | None:
        """The reveal that this node has ready for a round of a request, if it has one."""
        raw = self._database.get(layout.JOBS, bytes.fromhex(request) + bytes((number,)))
        found = None if raw is None else canonical.decode(raw)
        return found if isinstance(found, dict) else None

    async def run(self) -> None:
        """Look at every new block for work; each assignment runs in a task of its own, until cancelled."""
        await self.forget_settled()
        async with trio.open_nursery() as nursery:
            while True:
                seen = self._pulse.beats
                due = {
                    _key(owed): owed
                    for owed in views.assignments(self._reads, self._genesis, self._keys.node_id)
                }
                for key, work in self._active.items():
                    if key not in due and not work.sealed:
                        work.scope.cancel()  # settled without us: its tree dies with the task
                for key, owed in due.items():
                    if key not in self._active:
                        self._active[key] = _Work(times(owed, self._now_ms()))
                        nursery.start_soon(self._work, owed, self._active[key])
                self.turns.drop_wishes(views.requests_open(self._reads))
                await self._pulse.after(seen)

    async def _work(self, owed: Assignment, work: _Work) -> None:
        """One assignment to its end; a fault of the world is tried again, later each time, until the deadline."""
        try:
            with work.scope:
                while (left_ms := owed.deadline_ms - self._now_ms()) > 0:
                    # What is built after the deadline nobody may see; an entry on its way is let go there.
                    with trio.move_on_after(left_ms / 1000):
                        if await self._tried(owed, work):
                            return
                        work.failures += 1
                        await trio.sleep(self._pause_s(work))
            if work.scope.cancelled_caught:
                _log.info("%s of %s: settled without this builder", owed.owes, owed.request[:16])
        finally:
            self._active.pop(_key(owed), None)
            self.notes.pop(owed.request, None)

    def _pause_s(self, work: _Work) -> float:
        """How long to wait before another try: longer each time, and never past a moment when something is due."""
        pause_s = float(min(work.failures * RETRY_S.value, RETRY_MOST_S.value))
        now_ms = self._now_ms()
        due = [(at - now_ms) / 1000 for at in (work.times.source_by_ms, work.times.end_ms) if at > now_ms]
        return min(pause_s, *due)

    async def _tried(self, owed: Assignment, work: _Work) -> bool:
        """Whether this assignment needs no other try."""
        try:
            await (self._commit(owed, work) if owed.owes == "commit" else self._reveal(owed, work))
            return True
        except PyrsiaError as error:
            _log.warning("%s of %s: %s", owed.owes, owed.request[:16], error)
            # The log will not take it: too late, or done by another life of ours.
            return isinstance(error, Refusal) and error.code == "entry-refused"
        except Exception:  # noqa: BLE001 (one package's surprise must not end the node that builds it)
            _log.exception("%s of %s", owed.owes, owed.request[:16])
            return False

    # -- commit --------------------------------------------------------------------------------

    async def _commit(self, owed: Assignment, work: _Work) -> None:
        body = self._job(owed)
        if body is None:
            body = await self._in_time(owed, work)
            if body is None:
                _log.warning(
                    "commit of %s: not built in time, and not by the package's fault", owed.request[:16]
                )
                await trio.sleep_forever()  # until it is settled, or the deadline: nothing is said
            await self._database.commit(Batch().put(layout.JOBS, self._job_key(owed), canonical.encode(body)))
            self.built += len(body["outputs"])
        digest = entries.commitment(bytes.fromhex(owed.request), self._keys.node_id, body)
        work.sealed = True
        self.notes[owed.request] = "committing"
        await self._submitter.submit("build.commit", {"commitment": digest.hex(), "request": owed.request})

    async def _in_time(self, owed: Assignment, work: _Work) -> dict[str, Any] | None:
        """The reveal: of what was built, or that it was not done in time; None where that was not its own fault.

        Raises:
            Unavailable: it gives way to others that wait, to be tried again after them; and as `_made`.
        """
        priority = Priority.RETRY if work.failures else Priority.NEW
        self.notes[owed.request] = "waiting for its turn"
        with trio.move_on_after(max(work.times.end_ms - self._now_ms(), 0) / 1000):
            async with self.turns.turn(owed.request, owed.view.author, priority, work.times.share_s):
                work.since = trio.current_time()
                try:
                    return await self._made(owed, work)
                except Exception as error:
                    work.since = None
                    work.blocked = error if isinstance(error, PhaseFailed) else None
                    raise
            work.cut, work.since = True, None
            raise Unavailable(f"it had its share of {work.times.share_s:.0f} s, and others wait")
        return await self._late(owed, work) if work.late() else None

    async def _late(self, owed: Assignment, work: _Work) -> dict[str, Any]:
        """The reveal that says that a build was not done in time."""
        self.notes[owed.request] = "not done in time"
        request = owed.view.request.body
        failure = work.blocked or PhaseFailed(
            "build",
            "not done in time: the time for it ended a minute before the commitment is due",
            who=request["purl"],
            do="tell its authors, or ask when fewer builds are open",
        )
        return await self._failure(owed, failure, request["lock"]["sha256"], failure.phase)

    async def _failure(
        self, owed: Assignment, failure: Refusal, lock_sha256: str, phase: str
    ) -> dict[str, Any]:
        request = owed.view.request.body
        failed = await self._plugin_of(request).failed(failure, lock_sha256, phase=phase)
        try:
            return await self._reveals.body(owed.request, request, failed)
        finally:
            await _let_go(failed)

    async def _made(self, owed: Assignment, work: _Work) -> dict[str, Any]:
        """Build, keep every file, and write the reveal that will be opened later.

        Raises:
            SourceWithheld: and there is time left in which it may come.
        """
        request = owed.view.request.body
        try:
            built = await self._built(owed, request)
        except SourceWithheld as error:
            if self._now_ms() < work.times.source_by_ms:
                raise
            why = f"nobody gave the source in two thirds of the time: {error}"[:200]
            withheld = PhaseFailed(
                "prefetch", why, who="the requester", do="keep the node that has it running"
            )
            return await self._failure(owed, withheld, request["lock"]["sha256"], "prefetch")
        try:
            body = await self._reveals.body(owed.request, request, built)
            why = unfit(body, 0 if self._receipts is None else self._receipts.needed)
            if not why:
                return body
        except (
            ValueError
        ) as error:  # from `attest.statement`: names or parameters that fill the provenance alone
            why = f"its provenance does not fit into the log: {error}"[:200]
        finally:
            await _let_go(built)
        # What the log cannot hold is this package's failure, and not this builder's: said, not thrown.
        failure = Refusal("build-failed", what=why, who=request["purl"], do="tell its authors")
        return await self._failure(owed, failure, built.lock_sha256, "normalise")

    async def _built(self, owed: Assignment, request: Mapping[str, Any]) -> Built:
        def progress(sentence: str) -> None:
            self.notes[owed.request] = sentence

        wanted = request["lock"]["sha256"]
        plugin = self._plugin_of(request)
        progress("resolving the lock")
        try:
            locked = await plugin.relock(request)
        except Refusal as refusal:
            if refusal.code in UNABLE:
                raise
            return await plugin.failed(refusal, wanted)
        mine = hashlib.sha256(locked).hexdigest()
        if mine != wanted:
            mismatch = Refusal(
                "lock-mismatch",
                what="this builder's resolver gives another lock",
                who="the requester's index or this one",
                do="compare both indexes",
            )
            return await plugin.failed(mismatch, mine, phase="lock-mismatch")
        try:
            await self._reveals.keep_lock(locked, request["lock"])
        except Misnamed as refusal:
            return await plugin.failed(refusal, mine, phase="lock-mismatch")
        progress("fetching source and tools")
        try:
            inputs = await plugin.prefetch(request, locked)
            await self._reveals.keep_source(request["source"])
        except Refusal as refusal:
            if refusal.code in UNABLE:
                raise
            return await plugin.failed(refusal, mine)
        return await plugin.build(request, inputs, progress)

    def _plugin_of(self, request: Mapping[str, Any]) -> Plugin:
        """
        Raises:
            Refusal: `no-sandbox`: genesis says that this node builds it, this machine does not.
        """
        plugin = self._plugins.get(request["ecosystem"])
        if plugin is None:
            raise Refusal(
                "no-sandbox",
                what=f"this node has no plug-in for {request['ecosystem']}",
                who="this machine",
                do="see `pyrsia doctor`; the draw goes on without this builder",
            )
        return plugin

    # -- reveal --------------------------------------------------------------------------------

    async def _reveal(self, owed: Assignment, work: _Work) -> None:
        work.sealed = True
        body = self._job(owed)
        if body is None:
            raise Refusal(
                "data-damaged",
                what=f"the job of request {owed.request[:16]} is gone although its commitment stands in the log",
                who="this node's database",
                do="nothing; this builder counts as silent for the request",
            )
        if self._receipts is not None:
            body = {**body, "receipts": await self._kept(self._receipts, owed, body)}
        self.notes[owed.request] = "revealing"
        await self._submitter.submit("build.reveal", body)
        self._database.write(Batch().delete(layout.JOBS, self._job_key(owed)))
        self._revealed(owed.request, body)

    async def _kept(
        self, receipts: Receipts, owed: Assignment, body: Mapping[str, Any]
    ) -> list[dict[str, str]]:
        def say(sentence: str) -> None:
            self.notes[owed.request] = sentence

        return await receipts.gather(owed.request, body, owed.view.request.body, say)

    async def forget_settled(self) -> None:
        """Drop the jobs of requests that have their verdict: nobody will ask for them again."""
        batch = Batch()
        for key, _ in self._database.scan(layout.JOBS, b"", MAX_JOBS.value):
            view = views.request(self._reads, key[:HASH_BYTES].hex())
            if view is None or view.state in ("done", "cancelled"):
                batch.delete(layout.JOBS, key)
        if len(batch):
            await self._database.commit(batch)

    def _job(self, owed: Assignment) -> dict[str, Any] | None:
        return self.job(owed.request, owed.view.round)

    @staticmethod
    def _job_key(owed: Assignment) -> bytes:
        """One job for each request and round: a second draw is built anew."""
        return bytes.fromhex(owed.request) + bytes((owed.view.round,))


async def _let_go(built: Built) -> None:
    """Its folder goes, also where its time is over."""
    with trio.CancelScope(shield=True):
        await built.discard()


def _key(owed: Assignment) -> tuple[str, str, int]:
    return owed.request, owed.owes, owed.view.round
