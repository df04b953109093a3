"""Agreement's shell: one task feeds the core and runs its effects in order.

What a turn asks to persist is durable before anything of that turn is sent. Blocks that
became final are handed to `deliver`, which writes them in one batch. Nothing is decided here.
"""

import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

import trio

from pyrsia.consensus.effects import (
    Act,
    Answer,
    Blame,
    Deliver,
    Fault,
    Halt,
    Mute,
    Now,
    Persist,
    Post,
    WakeAt,
)
from pyrsia.errors import Malformed
from pyrsia.node.kinds import Kind
from pyrsia.units import Limit, NodeId
from pyrsia.wire.blocks import Message, StoredBlocks, decode_message, encode_message
from pyrsia.wire.text import b32

INBOX = Limit(4_096, "agreement repeats what it needs; a fuller inbox would only be older news")
WAITING = Limit(512, "of one peer's messages in the inbox, so that none pushes out the votes of the others")
WAITING_BYTES = Limit(16 << 20, "the same in bytes: sixteen of the largest proposals")
GUEST_WAITING = Limit(
    64, "of one node that is no member: it asks for blocks, and answers a few questions at once"
)
GUESTS_WAITING = Limit(256, "of all of these together: ids are free, and the inbox is for those who vote")
GUESTS_WAITING_BYTES = Limit(8 << 20, "the same in bytes: more answers than are asked for at once")
TURN = Limit(64, "events of one turn share one fdatasync; more would delay the first one's answer")
LAZY = Limit(64, "records that wait for the next vote's sync; a member that casts none writes them by itself")

ANSWERS_QUEUED = Limit(
    1 << 20, "bytes for one peer: one answer more waits behind one that is still on its way"
)

_log = logging.getLogger("pyrsia.agreement")


class Core(Protocol):
    """What the shell tells agreement (`consensus.epochs.Epochs`)."""

    def on_start(self, now: Now) -> list[Act]: ...
    def on_message(self, now: Now, node: bytes, message: Message) -> list[Act]: ...
    def on_timer(self, now: Now) -> list[Act]: ...
    def on_work(self, now: Now) -> list[Act]: ...
    def on_peer(self, now: Now, node: bytes) -> list[Act]: ...


Event = Callable[[Now], list[Act]]


@dataclass(frozen=True, slots=True)
class Hands:
    """What the shell can do for the core.

    Attributes:
        linked: every node that has a link now.
        serve: final blocks of a range of heights, if they are here.
        queued: bytes that wait to be sent to a node.
        guest: whether a linked node has no place of its own.
        blame: evidence against a validator.
        fault: a peer sent what no honest one sends.
        halt: agreement ended here; mute: only this node's voting did (True: its key has lost its memory).
    """

    send: Callable[[NodeId, int, bytes], bool]
    linked: Callable[[], Iterable[NodeId]]
    persist: Callable[[Sequence[bytes]], Awaitable[None]]
    deliver: Callable[[Deliver], None]
    serve: Callable[[int, int], Message | StoredBlocks | None]
    blame: Callable[[Blame], None]
    fault: Callable[[NodeId, str], None]
    halt: Callable[[str], None]
    mute: Callable[[str, bool], None]
    queued: Callable[[NodeId], int] = lambda _: 0
    guest: Callable[[NodeId], bool] = lambda _: False


class Agreement:
    """Runs one core.

    Attributes:
        counted: what was dropped, and why.
    """

    def __init__(self, core: Core, hands: Hands) -> None:
        self.counted: Counter[str] = Counter()
        self._core = core
        self._hands = hands
        self._inbox, self._events = trio.open_memory_channel[Event](INBOX.value)
        self._waiting: Counter[NodeId] = Counter()  # messages in the inbox, by who sent them
        self._waiting_bytes: Counter[NodeId] = Counter()
        self._of_guests = self._of_guests_bytes = 0
        self._wake_s = float("inf")
        self._timer = trio.CancelScope()  # around waiting; its end is the core's timer
        self._halted = False
        self._goes_on = trio.Event()  # replaced while held
        self._goes_on.set()
        self._lazy: list[bytes] = []

    def hold(self, held: bool) -> None:
        """Stand still, or go on: while a state is on its way that takes the place of all that would be done."""
        if held and self._goes_on.is_set():
            self._goes_on = trio.Event()
        elif not held:
            self._goes_on.set()

    def receive(self, peer: NodeId, data: bytes) -> None:
        """A message of a linked peer; what breaks its format is dropped, and is its sender's fault."""
        guest, size = self._hands.guest(peer), len(data)
        if not self._room(peer, size, guest=guest):
            self.counted["peer-full"] += 1
            return
        try:
            message = decode_message(data)
        except Malformed as error:
            _log.warning("a malformed agreement message from %s: %s", b32(peer)[:8], error)
            self.counted["malformed"] += 1
            self._hands.fault(peer, str(error))
            return

        def heard(now: Now) -> list[Act]:
            self._count(peer, -1, -size, guest=guest)
            return self._core.on_message(now, peer, message)

        if self._offer(heard):
            self._count(peer, 1, size, guest=guest)

    def _room(self, peer: NodeId, size: int, *, guest: bool) -> bool:
        """Whether one more of its messages may wait: none pushes out those of others, and none fills the memory."""
        count = self._waiting.get(peer, 0)
        if not guest:
            return count < WAITING.value and self._waiting_bytes.get(peer, 0) + size <= WAITING_BYTES.value
        return (
            count < GUEST_WAITING.value
            and self._of_guests < GUESTS_WAITING.value
            and self._of_guests_bytes + size <= GUESTS_WAITING_BYTES.value
        )

    def _count(self, peer: NodeId, by: int, size: int, *, guest: bool) -> None:
        self._waiting[peer] += by
        self._waiting_bytes[peer] += size
        if not self._waiting[peer]:
            del self._waiting[peer], self._waiting_bytes[peer]
        if guest:
            self._of_guests += by
            self._of_guests_bytes += size

    def work(self) -> None:
        """There is a new entry to order."""
        self._offer(self._core.on_work)

    def linked(self, peer: NodeId) -> None:
        """A link came up: that node is told where we stand."""
        self._offer(lambda now: self._core.on_peer(now, peer))

    def _offer(self, event: Event) -> bool:
        try:
            self._inbox.send_nowait(event)
        except trio.WouldBlock:
            self.counted["inbox-full"] += 1
            return False
        return True

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Feed the core until cancelled."""
        await self._do(self._core.on_start(_now()))
        task_status.started()
        while True:
            event: Event | None = None
            with trio.CancelScope(deadline=self._wake_s) as self._timer:
                event = await self._until_held()
            if not self._goes_on.is_set():
                await self._goes_on.wait()
            if event is not None:
                await self._do(self._turn(event))
                continue
            self._wake_s = float("inf")
            await self._do(self._hear(self._core.on_timer))

    async def _until_held(self) -> Event:
        """Turn after turn, until the timer ends it; an event that is to wait for `hold` comes back."""
        rested = False
        while True:
            event = await self._next(rested)
            if not self._goes_on.is_set():
                return event
            rested = await self._do(self._turn(event))

    async def _next(self, rested: bool) -> Event:
        """The next event. Who has just waited for a disk has let others run: it need not wait a turn of the loop."""
        if rested:
            await trio.lowlevel.checkpoint_if_cancelled()
            with suppress(trio.WouldBlock):
                return self._events.receive_nowait()
        return await self._events.receive()

    def _turn(self, event: Event) -> list[Act]:
        """What has come wants."""
        return self._hear(event) + self._hear_waiting()

    def _hear_waiting(self) -> list[Act]:
        """Whatever else has come: one turn, one sync."""
        acts: list[Act] = []
        for _ in range(TURN.value):
            try:
                event = self._events.receive_nowait()
            except trio.WouldBlock:
                break
            acts += self._hear(event)
        return acts

    def _hear(self, event: Event) -> list[Act]:
        """What the core wants done; once it has stopped, in this turn or a later one, final blocks are still served."""
        acts = event(_now())
        if self._halted:
            return [act for act in acts if isinstance(act, Answer)]
        self._halted = any(isinstance(act, Halt) for act in acts)
        return acts

    async def _do(self, acts: Iterable[Act]) -> bool:
        """Persist first, once; then everything else in order. Whether there was anything to wait for."""
        acts = list(acts)
        waited = await self._persist([act for act in acts if isinstance(act, Persist)])
        for act in acts:
            self._do_one(act)
        return waited

    async def _persist(self, asked: Sequence[Persist]) -> bool:
        """Lazy records wait for the next that is not; their order in the file stays. Whether any were written now."""
        self._lazy += [act.record for act in asked]
        if all(act.lazy for act in asked) and len(self._lazy) < LAZY.value:
            return False
        records, self._lazy = self._lazy, []
        with trio.CancelScope(shield=True):  # a vote half written is no vote; the sync takes a millisecond
            await self._hands.persist(records)
        return True

    def _do_one(self, act: Act) -> None:
        match act:
            case Post(to, message):
                data = encode_message(message)
                for node in self._hands.linked() if to is None else to:
                    self._hands.send(NodeId(node), Kind.CONSENSUS, data)
            case WakeAt(at_s):
                self._wake_s = self._timer.deadline = at_s
            case Deliver():
                self._hands.deliver(act)
            case Answer(to, first, last):
                if self._hands.queued(NodeId(to)) > ANSWERS_QUEUED.value:
                    self.counted["answer-queue-full"] += 1  # it asks again, or another
                    return
                answer = self._hands.serve(first, last)
                if answer is not None:
                    self._hands.send(NodeId(to), Kind.CONSENSUS, encode_message(answer))
            case Blame():
                self._hands.blame(act)
            case Fault(node, why):
                self._hands.fault(NodeId(node), why)
            case Mute(reason, lost):
                self._hands.mute(reason, lost)
            case Halt(reason):
                self._halted = True
                self._hands.halt(reason)
            case Persist():
                pass


def _now() -> Now:
    return Now(trio.current_time(), int(time.time() * 1000))
