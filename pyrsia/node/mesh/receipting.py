"""A storage member's desk: it takes what a builder is about to reveal, keeps it, and signs that it does.

Decides who may ask (a builder whose reveal of an open request the log awaits), for how much, and that nothing is signed
before every byte is here, pinned and synced. One builder has one list a round: its commitment stands in the log, so an
honest one never has another. The bytes come from the builder, which lends them; equal bytes of several builders come
once, from all of them. Work goes on when its asker gives up waiting, so whoever asks again soon gets the answer; a
restart forgets all of this and loses nothing, since pins stay.

Left out: which receipts a reveal needs (`ledger.receipts`), whom a builder asks (`node.builds.receipts`), what becomes
of pins whose reveal never came (`node.builds.keep`).

Source: docs/ledger.md, "Receipts"; docs/builds-how.md, "Receipts"; docs/adr/0058.
"""

import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import trio

from pyrsia.errors import PyrsiaError, Refusal, StorageFull, Unavailable
from pyrsia.keys import KeyPair
from pyrsia.ledger import receipts, views
from pyrsia.ledger.genesis import Genesis
from pyrsia.ledger.state import View
from pyrsia.ledger.views import Assignment
from pyrsia.mesh.scores import FAULT, RATE, Scores
from pyrsia.net.links import Handler
from pyrsia.node.clock import NowMs, wall_ms
from pyrsia.node.kinds import Method
from pyrsia.node.mesh.parts import OnKind
from pyrsia.node.pulse import Pulse
from pyrsia.node.storage.shelf import Shelf
from pyrsia.store.blobs import Blobs
from pyrsia.units import Limit, NodeId
from pyrsia.wire.receipts import Ask, Wanted
from pyrsia.wire.text import b32

PIN: Final = "receipt:"  # and the request's id
MAX_BYTES = Limit(
    8 << 30,
    "of one reveal: raw, canonical and upstream files of a build that has 2 GiB of disk, and its source",
)
MAX_WORK = Limit(64, "lists worked on at once; builders of more wait, and ask another member meanwhile")
PER_BUILDER = Limit(8, "of them for one builder, so that one alone does not fill the desk")
AT_ONCE = Limit(
    4, "blobs that are fetched from one builder at once; most are small, and a slow one holds no more"
)
LAG_S = Limit(5, "a gate that the builder sees open and this node does not: blocks arrive within a second")
LAGGING = Limit(32, "asks that wait for the log to come; each looks at one request with every block")

_log = logging.getLogger("pyrsia.receipts")

_US: Final = "this storage member"
_Key = tuple[str, int, NodeId]  # request, round, builder


@dataclass(slots=True)
class _Work:
    """One list on its way. `answer`: the signature, or why there is none, once `done` is set."""

    ask: Ask
    builder: NodeId
    done: trio.Event = field(default_factory=trio.Event)
    answer: bytes | Refusal = b""


class Receipting:
    """The desk of one node; it refuses everybody while the node is no storage member."""

    def __init__(
        self,
        node_key: KeyPair,
        genesis: Genesis,
        *,
        reads: Callable[[bytes], bytes | None],
        shelf: Shelf,
        blobs: Blobs,
        sync: Callable[[], Awaitable[object]],
        pulse: Pulse,
        scores: Scores,
        now_ms: NowMs = wall_ms,
    ) -> None:
        """
        Args:
            reads: the final state.
            sync: returns when everything that was written to the index is on the disk.
        """
        self.node = NodeId(node_key.public)
        self.signed = 0
        self.leaving: Callable[[], bool] = lambda: False  # whether the node hands over what it keeps
        self._key = node_key
        self._genesis = genesis
        self._reads = reads
        self._shelf = shelf
        self._blobs = blobs
        self._sync = sync
        self._pulse = pulse
        self._scores = scores
        self._now_ms = now_ms
        self._nursery: trio.Nursery | None = None
        self._lists: dict[_Key, tuple[Wanted, ...]] = {}
        self._work: dict[_Key, _Work] = {}
        self._begun: set[bytes] = set()  # manifests of downloads that run, each in one builder's name
        self._turns: dict[NodeId, trio.CapacityLimiter] = {}
        self._lagging = 0

    # -- as a part of the mesh --

    @property
    def methods(self) -> Mapping[int, Handler]:
        return {Method.RECEIPT: self.answer}

    @property
    def messages(self) -> Mapping[int, OnKind]:
        return {}

    def linked(self, node: NodeId, up: bool) -> None:
        """Nothing changes with a link."""

    async def run(self) -> None:
        """Until cancelled: the tasks that bring what was asked for live here."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            try:
                await trio.sleep_forever()
            finally:
                self._nursery = None

    # -- asked --

    @property
    def keeps(self) -> bool:
        """Whether this node is a storage member now."""
        return self.node_text in receipts.domains(View(self._reads))

    @property
    def node_text(self) -> str:
        return b32(self.node)

    async def answer(self, builder: NodeId, data: bytes) -> bytes:
        """The signature over what `builder` wants kept, 64 bytes.

        Raises:
            Malformed: no ask; its link takes that for a bad frame.
            Refusal: why not, for the builder's operator.
        """
        ask = Ask.decode(data)
        if not self.keeps:
            raise _no("forbidden", "this node is no storage member", "ask one that the log names as one")
        if self.leaving():
            raise _no("unavailable", "this storage member is about to leave", "ask another one")
        owed = await self._owed(builder, ask)
        key = (owed.request, owed.view.round, builder)
        self._check(key, ask)
        work = self._work.get(key)
        if work is None:
            work = self._begin(key, ask, owed)
        await work.done.wait()
        if isinstance(work.answer, Refusal):
            raise work.answer.again()
        return work.answer

    async def _owed(self, builder: NodeId, ask: Ask) -> Assignment:
        """What makes the ask rightful; waits a moment for a log that is a block behind the builder's."""
        request = ask.request.hex()
        found = self._reveal_owed(request, builder)
        if found is None and self._lagging < LAGGING.value and self._drawn(request, builder):
            self._lagging += 1
            try:
                with trio.move_on_after(LAG_S.value):
                    while found is None:
                        await self._pulse.after(self._pulse.beats)
                        found = self._reveal_owed(request, builder)
            finally:
                self._lagging -= 1
        if found is None:
            if self._not_its(request, builder):
                self._scores.note(
                    trio.current_time(), builder, RATE, "asked for a receipt that is not its to ask for"
                )
            raise _no(
                "not-yet",
                "no open request awaits a reveal of yours, as far as this node's log goes",
                "ask when every drawn builder has committed, and before you have revealed",
            )
        return found

    def _reveal_owed(self, request: str, builder: NodeId) -> Assignment | None:
        found = views.assignment(self._reads, request, builder)
        return found if found is not None and found.owes == "reveal" else None

    def _drawn(self, request: str, builder: NodeId) -> bool:
        """Whether it may come to owe one: nobody else is waited for."""
        found = views.request(self._reads, request)
        if found is None or found.draw is None or found.state in ("done", "cancelled"):
            return False
        return b32(builder) in found.draw.body["builders"]

    def _not_its(self, request: str, builder: NodeId) -> bool:
        """Whether this node's log says so. One that is behind says nothing of a request that it does not know yet."""
        found = views.request(self._reads, request)
        if found is None or found.state in ("done", "cancelled"):
            return found is not None
        return found.draw is not None and b32(builder) not in found.draw.body["builders"]

    def _check(self, key: _Key, ask: Ask) -> None:
        """
        Raises:
            Refusal: `conflict` for a second list, `too-large`, `busy`.
        """
        if self._lists.get(key, ask.blobs) != ask.blobs:
            self._scores.note(trio.current_time(), key[2], FAULT, "asked for receipts of two reveals")
            raise _no("conflict", "you had another list for this request", "ask for what you committed to")
        total = sum(one.size for one in ask.blobs)
        if total > MAX_BYTES.value:
            raise _no(
                "too-large", f"{total} bytes, {MAX_BYTES.value} of one reveal are kept", "offer smaller files"
            )
        if key in self._work:
            return
        mine = sum(1 for _, __, builder in self._work if builder == key[2])
        if len(self._work) >= MAX_WORK.value or mine >= PER_BUILDER.value:
            raise _no(
                "busy",
                "this node fetches for as many reveals as it may",
                "ask again in a few seconds",
                who=_US,
            )

    def _begin(self, key: _Key, ask: Ask, owed: Assignment) -> _Work:
        if self._nursery is None:
            raise _no(
                "unavailable", "this node is stopping, or not yet started", "ask another storage member"
            )
        self._forget()
        self._lists[key] = ask.blobs
        work = self._work[key] = _Work(ask, key[2])
        self._nursery.start_soon(self._run, key, work, owed)
        return work

    def _forget(self) -> None:
        """Lists of requests that are settled; so as many are remembered as open requests have builders."""
        open_now = set(views.requests_open(self._reads))
        self._lists = {key: one for key, one in self._lists.items() if key[0] in open_now}

    # -- done --

    async def _run(self, key: _Key, work: _Work, owed: Assignment) -> None:
        """To the signature, a refusal, or the end of the reveal's time."""
        refusal = _no("unavailable", "the bytes did not come in time", "reveal sooner, or from a faster line")
        try:
            with trio.move_on_after(max(0.0, (owed.deadline_ms - self._now_ms()) / 1000)):
                await self._keep(key, work.ask)
                if gone := await self._gone(key, work.ask):
                    for one in gone:  # its row says that it is here; so it is brought like any other
                        await self._blobs.let_go(one.sha256, one.size)
                    await self._keep(key, work.ask)
                    if await self._gone(key, work.ask):
                        raise Unavailable("what was kept is not on this disk")
                work.answer = self._key.sign(self._text(key, work.ask))
                self.signed += 1
        except Refusal as told:
            refusal = told
            if told.code == "storage-full":  # it says how much disk this node has: not a stranger's business
                _log.warning("no receipt for %s of %s: %s", self._called(key), key[0][:16], told)
                refusal = _no("storage-full", "no disk for it", "ask another storage member", who=_US)
        except PyrsiaError as error:
            _log.warning("no receipt for %s of %s: %s", self._called(key), key[0][:16], error)
            refusal = _no("unavailable", "the bytes did not come whole", "lend them, and ask again")
        except Exception:  # noqa: BLE001 (one builder's bytes must not end the node, whatever they are)
            _log.exception("no receipt for %s of %s", self._called(key), key[0][:16])
        finally:
            if not work.answer:
                work.answer = refusal
            self._work.pop(key, None)
            work.done.set()

    def _called(self, key: _Key) -> str:
        """Its builder, for the diary."""
        return views.called(self._reads, key[2])

    def _text(self, key: _Key, ask: Ask) -> bytes:
        kept = [(one.manifest.hex(), one.sha256.hex(), one.size) for one in ask.blobs]
        return receipts.signed_text(self._genesis.net, key[0], b32(key[2]), kept)

    async def _keep(self, key: _Key, ask: Ask) -> None:
        """Every blob here, pinned, and that on the disk.

        Raises:
            Refusal: one is not what the list says.
            Unavailable: bytes or disk are not to be had.
        """
        turns = self._turns_of(key[2])
        pin, failures = PIN + key[0], list[PyrsiaError]()

        async def one(blob: Wanted) -> None:
            async with turns:
                try:
                    await self._have(blob, key[2], pin)
                except PyrsiaError as error:
                    failures.append(error)
                    nursery.cancel_scope.cancel()

        async with trio.open_nursery() as nursery:
            for blob in ask.blobs:
                nursery.start_soon(one, blob)
        if failures:
            raise failures[0]
        await self._sync()  # once for all pins, and for those of another list of this request

    async def _gone(self, key: _Key, ask: Ask) -> list[Wanted]:
        """Blobs that the index, or the disk, has no more: looked at last, for the first of a long list waits for it."""
        paths = [(one, self._blobs.path(one.sha256)) for one in ask.blobs]
        there = await self._blobs.in_thread(lambda: {one for one, path in paths if _size(path) == one.size})
        pin = PIN + key[0]
        return [one for one in ask.blobs if one not in there or pin not in self._blobs.pins(one.sha256)]

    def _turns_of(self, builder: NodeId) -> trio.CapacityLimiter:
        busy = {one for _, __, one in self._work}
        self._turns = {one: turns for one, turns in self._turns.items() if one in busy}
        return self._turns.setdefault(builder, trio.CapacityLimiter(AT_ONCE.value))

    async def _have(self, blob: Wanted, builder: NodeId, pin: str) -> None:
        with self._blobs.holding(blob.sha256):
            if self._shelf.local(blob.sha256) is None:
                await self._bring(blob, builder)
            kept = await self._shelf.keep(blob.sha256, pin=pin, manifest=blob.manifest, sync=False)
        if kept is None or (kept.manifest, kept.size) != (blob.manifest, blob.size):
            raise _no(
                "digest-mismatch",
                f"the blob {blob.sha256.hex()[:16]} has another manifest or size than your list says",
                "write the manifest that its bytes have",
            )

    async def _bring(self, blob: Wanted, builder: NodeId) -> None:
        """From the builder, and whoever else lends the same bytes meanwhile: the shelf has one download a blob.

        One that another builder's ask began may fail for that one's sake (a false digest beside the manifest): then it
        is begun anew in this one's name.
        """
        while True:
            mine = blob.manifest not in self._begun
            if mine:
                self._begun.add(blob.manifest)
            try:
                await self._shelf.fetch(blob.manifest, blob.sha256, blob.size, [builder])
                return
            except Unavailable as error:
                if mine or isinstance(error, StorageFull):
                    raise
            finally:
                if mine:
                    self._begun.discard(blob.manifest)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return -1


def _no(code: str, what: str, do: str, *, who: str = "the asking builder") -> Refusal:
    return Refusal(code, what=what, who=who, do=do)
