"""Agreement's shell: one task feeds the core and runs its effects in order.

What a turn asks to persist is durable before anything of that turn is sent. Blocks that
became final are handed to `deliver`, which writes them in one batch. Nothing is decided here.
"""

import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import trio

from pyrsia.consensus.effects import (
    Accuse,
    Broadcast,
    Deliver,
    Effect,
    Halt,
    Mute,
    Now,
    Persist,
    Send,
    Serve,
    WakeAt,
)
from pyrsia.errors import Malformed
from pyrsia.node.kinds import Kind
from pyrsia.units import Limit, NodeId
from pyrsia.wire.blocks import FIN, Cert, Message, decode_message, encode_message
from pyrsia.wire.text import b32

INBOX = Limit(4_096, "agreement repeats what it needs; a fuller inbox would only be older news")
TURN = Limit(64, "events of one turn share one fdatasync; more would delay the first one's answer")
LAZY = Limit(64, "records that wait for the next vote's sync; a member that casts none writes them by itself")

_log = logging.getLogger("pyrsia.agreement")


class Core(Protocol):
    """What the validator's core and the follower's have in common."""

    def on_start(self, now: Now) -> list[Effect]: ...
    def on_message(self, now: Now, sender: int, message: Message) -> list[Effect]: ...
    def on_timer(self, now: Now) -> list[Effect]: ...


class Voter(Core, Protocol):
    """A validator's core also hears that there is work, and who has come."""

    def on_work(self, now: Now) -> list[Effect]: ...
    def on_peer(self, now: Now, peer: int) -> list[Effect]: ...


Event = Callable[[Now], list[Effect]]


@dataclass(frozen=True, slots=True)
class Hands:
    """What the shell can do for the core. `halt`: agreement ended here; `mute`: only its voting did."""

    send: Callable[[NodeId, int, bytes], bool]
    persist: Callable[[Sequence[bytes]], Awaitable[None]]
    deliver: Callable[[Deliver], None]
    serve: Callable[[int, int, int], Message | None]
    accuse: Callable[[Accuse], None]
    halt: Callable[[str], None]
    mute: Callable[[str], None]


class Agreement:
    """Runs one core."""

    def __init__(
        self, core: Core, members: Sequence[NodeId], voters: int, hands: Hands, voter: Voter | None = None
    ) -> None:
        """`members`: node ids by member index, the first `voters` of them validators; `voter`: the core, if it
        votes. The core never sends to itself."""
        self._core = core
        self._voter = voter
        self._members = list(members)
        self._voters = voters
        self._index = {node: number for number, node in enumerate(members)}
        self._hands = hands
        self._inbox, self._events = trio.open_memory_channel[Event](INBOX.value)
        self._wake_s = float("inf")
        self._halted = False
        self._lazy: list[bytes] = []

    def receive(self, peer: NodeId, data: bytes) -> None:
        """A message of a peer; what breaks its format, or comes from nobody known, is dropped."""
        sender = self._index.get(peer)
        if sender is None:
            return
        try:
            message = decode_message(data)
        except Malformed as error:
            _log.warning("a malformed agreement message from %s: %s", b32(peer)[:8], error)
            return
        self._offer(lambda now: self._core.on_message(now, sender, message))

    def work(self) -> None:
        """There is a new entry to order."""
        if self._voter is not None:
            self._offer(self._voter.on_work)

    def linked(self, peer: NodeId) -> None:
        """A link came up: that member is told where we stand."""
        member = self._index.get(peer)
        voter = self._voter
        if voter is not None and member is not None and member < self._voters:
            self._offer(lambda now: voter.on_peer(now, member))

    def _offer(self, event: Event) -> None:
        try:
            self._inbox.send_nowait(event)
        except trio.WouldBlock:
            _log.debug("the agreement inbox is full; one event is dropped")

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Feed the core until cancelled."""
        await self._do(self._core.on_start(_now()))
        task_status.started()
        while True:
            await self._do(await self._turn())

    async def _turn(self) -> list[Effect]:
        """The effects of what has come, or of the timer when nothing came in time."""
        with trio.move_on_at(self._wake_s):
            event = await self._events.receive()
            return self._hear(event) + self._hear_waiting()
        self._wake_s = float("inf")
        return self._hear(self._core.on_timer)

    def _hear_waiting(self) -> list[Effect]:
        """Whatever else has come: one turn, one sync."""
        effects: list[Effect] = []
        for _ in range(TURN.value):
            try:
                event = self._events.receive_nowait()
            except trio.WouldBlock:
                break
            effects += self._hear(event)
        return effects

    def _hear(self, event: Event) -> list[Effect]:
        """What the core wants done; nothing more once it has stopped, in this turn or a later one."""
        if self._halted:
            return []
        effects = event(_now())
        self._halted = any(isinstance(effect, Halt) for effect in effects)
        return effects

    async def _do(self, effects: Iterable[Effect]) -> None:
        """Persist first, once; then everything else in order."""
        effects = list(effects)
        await self._persist([effect for effect in effects if isinstance(effect, Persist)])
        for effect in effects:
            self._do_one(effect)

    async def _persist(self, asked: Sequence[Persist]) -> None:
        """Lazy records wait for the next that is not; their order in the file stays."""
        self._lazy += [effect.record for effect in asked]
        if all(effect.lazy for effect in asked) and len(self._lazy) < LAZY.value:
            return
        records, self._lazy = self._lazy, []
        with trio.CancelScope(shield=True):  # a vote half written is no vote; the sync takes a millisecond
            await self._hands.persist(records)

    def _do_one(self, effect: Effect) -> None:
        match effect:
            case Send(to, message):
                self._send(to, encode_message(message))
            case Broadcast(message):
                data = encode_message(message)
                # Followers are told what is final; votes on the way there are the validators' business.
                news = isinstance(message, Cert) and message.kind == FIN
                for number in range(len(self._members) if news else self._voters):
                    self._send(number, data)
            case WakeAt(at_s):
                self._wake_s = at_s
            case Deliver():
                self._hands.deliver(effect)
            case Serve(to, first, last):
                answer = self._hands.serve(to, first, last)
                if answer is not None:
                    self._send(to, encode_message(answer))
            case Accuse():
                self._hands.accuse(effect)
            case Mute(reason):
                self._hands.mute(reason)
            case Halt(reason):
                self._halted = True
                self._hands.halt(reason)
            case Persist():
                pass

    def _send(self, to: int, data: bytes) -> None:
        if 0 <= to < len(self._members):
            self._hands.send(self._members[to], Kind.CONSENSUS, data)


def _now() -> Now:
    return Now(trio.current_time(), int(time.time() * 1000))
