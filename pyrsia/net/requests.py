"""Requests both ways: our questions and their answers, their questions and ours, and who gets BUSY.

At most `MAX_REQUESTS_PER_PEER` are under way with one peer in each direction and `MAX_REQUESTS` of all
peers are answered at once, of those that are no members `GUEST_REQUESTS` together. What a request means is its
handler's business; what no honest node asks (`Malformed`, `PeerFault` of a handler) costs its link like a bad frame.

Source: docs/network.md, "Requests".
"""

import json
import logging
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Final

import trio

from pyrsia.buckets import Bucket, Buckets
from pyrsia.errors import Malformed, PeerFault, PyrsiaError, Refusal, Unavailable
from pyrsia.net.faults import Faults
from pyrsia.net.outbox import ORDINARY, URGENT
from pyrsia.net.peers import Peer, Waiting
from pyrsia.units import (
    MAX_LINK_MESSAGE_BYTES,
    MAX_REQUESTS,
    MAX_REQUESTS_PER_PEER,
    REQUEST_DEADLINE_S,
    Limit,
    NodeId,
)
from pyrsia.wire import frames
from pyrsia.wire.frames import Frame, Type

GUEST_RATE = Limit(
    50, "requests a second of one guest: one that takes a snapshot asks for twenty parts a second"
)
GUEST_BURST = Limit(200, "at once: a follower that comes up asks everybody everything")
GUESTS_RATE = Limit(300, "of all guests together: at half a millisecond each a sixth of the loop")
GUESTS_BURST = Limit(600, "two seconds of it")
GUEST_REQUESTS = Limit(128, "a quarter of all: ids of guests are free, and members must be answered")
BUSY_AGAIN_MS: Final = 200
LOOK_S: Final = 0.05  # how much later than its deadline a request may end

_log = logging.getLogger("pyrsia.links")

# A handler that answers without waiting for anything is a plain function: it costs no task.
Handler = Callable[[NodeId, bytes], Awaitable[bytes] | bytes]


class Busy(Unavailable):
    """The peer has too much to do; ask again after `retry_s`."""

    def __init__(self, retry_s: float) -> None:
        super().__init__(f"the peer is busy, try again in {retry_s:g} s")
        self.retry_s = retry_s


class Wordless(Unavailable):
    """The peer says that it cannot answer, and not why: it knows no such method, or ours was no question."""


class Questions:
    """What we ask."""

    def __init__(self, counted: Counter[str]) -> None:
        self._counted = counted
        self._last = 0
        self._under_way: dict[int, Waiting] = {}
        self._some = trio.Event()

    async def run(self) -> None:
        """End what has waited too long, until cancelled. One look at all costs less than a timer for each."""
        while True:
            if not self._under_way:
                self._some = trio.Event()
                await self._some.wait()
            await trio.sleep(LOOK_S)
            now_s = trio.current_time()
            for waiting in [one for one in self._under_way.values() if one.until_s <= now_s]:
                waiting.end()

    async def ask(self, peer: Peer, method: int, payload: bytes, deadline_s: float) -> bytes:
        """Ask a linked peer and wait for its answer.

        Raises:
            Busy: the peer or our queue to it has no room now.
            Wordless: the peer cannot answer.
            Refusal: the peer's handler refused, in its own words.
            Unavailable: the link broke, or no answer in time.
        """
        if len(peer.waiting) >= MAX_REQUESTS_PER_PEER.value:
            raise Busy(BUSY_AGAIN_MS / 1000)
        deadline_s = min(deadline_s, float(REQUEST_DEADLINE_S.value))
        self._last += 1
        ident = self._last
        message = frames.request(ident, max(1, int(deadline_s * 1000)), method, payload)
        # Alone it goes out at once; with others, in the message that the writer makes of all of them.
        alone = not peer.waiting and peer.conn is not None and peer.conn.send_now(message)
        if not alone and not peer.outbox.push(message, ORDINARY):
            self._counted["send-queue-full"] += 1
            raise Busy(BUSY_AGAIN_MS / 1000)
        waiting = Waiting(trio.lowlevel.current_task(), trio.current_time() + deadline_s)
        peer.waiting[ident] = self._under_way[ident] = waiting
        self._some.set()
        try:
            await trio.lowlevel.wait_task_rescheduled(waiting.abort)
        finally:
            peer.waiting.pop(ident, None)
            del self._under_way[ident]
        if waiting.answer is not None and waiting.answer.type is Type.REPLY:
            return waiting.answer.body
        return _answer_of(waiting, deadline_s)

    def take(self, peer: Peer, frame: Frame) -> None:
        """An answer of `peer`; only to a question that was asked of it, and only the first."""
        waiting = peer.waiting.get(frame.request)
        if waiting is None or waiting.done:
            self._counted["reply-late"] += 1
            return
        waiting.end(frame)


class Answers:
    """What we are asked. A request whose handler waits for something has a task of its own in `nursery`."""

    def __init__(
        self,
        handler_of: Callable[[int], Handler | None],
        faults: Faults,
        counted: Counter[str],
        nursery: trio.Nursery,
    ) -> None:
        self._handler_of = handler_of
        self._faults = faults
        self._counted = counted
        self._nursery = nursery
        self._serving = self._of_guests = 0
        self._guest_rates: Buckets[NodeId] = Buckets(GUEST_RATE.value, GUEST_BURST.value)
        self._guests_rate = Bucket(GUESTS_RATE.value, GUESTS_BURST.value)

    def take(self, peer: Peer, frame: Frame) -> None:
        """A request of `peer`."""
        handler = self._handler_of(frame.number)
        full = (
            peer.serving >= MAX_REQUESTS_PER_PEER.value
            or self._serving >= MAX_REQUESTS.value
            or (peer.guest and not self._may_ask(peer.node))
        )
        if handler is None or full:
            self._counted["request-unknown" if handler is None else "request-busy"] += 1
            peer.outbox.push(_error(frame) if handler is None else _busy(frame), URGENT, wake=False)
            return
        try:
            said = handler(peer.node, frame.body)
        except Exception as error:  # noqa: BLE001 - see `_refusal`
            self._give(peer, self._refusal(peer, frame, error))
            return
        if isinstance(said, bytes):
            self._give(peer, self._reply(frame, said))
            return
        peer.serving += 1
        self._serving += 1
        self._of_guests += peer.guest
        self._nursery.start_soon(self._answer, peer, said, frame, peer.guest)

    def _may_ask(self, guest: NodeId) -> bool:
        """Whether a guest's request is taken: places and time of the loop are members' first."""
        now = trio.current_time()
        return (
            self._of_guests < GUEST_REQUESTS.value
            and self._guest_rates.of(guest).take(now)
            and self._guests_rate.take(now)
        )

    async def _answer(self, peer: Peer, said: Awaitable[bytes], frame: Frame, guest: bool) -> None:
        answer = b""
        try:
            with trio.move_on_after(min(frame.deadline_ms / 1000, REQUEST_DEADLINE_S.value)):
                answer = self._reply(frame, await said)
        except Exception as error:  # noqa: BLE001 - see `_refusal`
            answer = self._refusal(peer, frame, error)
        finally:
            peer.serving -= 1
            self._serving -= 1
            self._of_guests -= guest
        if answer and peer.conn is not None:
            self._give(peer, answer)
            peer.outbox.kick()

    def _reply(self, frame: Frame, body: bytes) -> bytes:
        if len(body) > MAX_LINK_MESSAGE_BYTES.value:
            self._counted["request-crashed"] += 1
            _log.error("the answer of method %d is over the limit of a message", frame.number)
            return _error(frame)
        return frames.reply(frame.request, body)

    def _refusal(self, peer: Peer, frame: Frame, error: Exception) -> bytes:
        """What is told of an error. A peer's bytes must not end the node, whatever bug they find."""
        if isinstance(error, Refusal):
            return _error(frame, json.dumps(error.as_dict()).encode())
        if isinstance(error, Malformed | PeerFault):
            self._faults.of_asker(peer, error)
        elif isinstance(error, PyrsiaError):
            self._faults.count(error)
        else:
            self._counted["request-crashed"] += 1
            _log.error("request for method %d", frame.number, exc_info=error)
        return _error(frame)

    def _give(self, peer: Peer, answer: bytes) -> None:
        """Queue an answer; whoever reads the peer sends it with the others that its message led to."""
        if not peer.outbox.push(answer, URGENT, wake=False):
            self._counted["send-queue-full"] += 1


def _busy(asked: Frame) -> bytes:
    return frames.encode(Frame(Type.BUSY, asked.request, BUSY_AGAIN_MS))


def _error(asked: Frame, said: bytes = b"") -> bytes:
    return frames.encode(Frame(Type.ERROR, asked.request, body=said))


def _answer_of(waiting: Waiting, deadline_s: float) -> bytes:
    answer = waiting.answer
    if answer is None:
        late = trio.current_time() >= waiting.until_s
        raise Unavailable("the link broke" if not late else f"no answer within {deadline_s:g} s")
    if answer.type is Type.BUSY:
        raise Busy(answer.deadline_ms / 1000)
    try:
        fields = json.loads(answer.body)
    except (ValueError, RecursionError):
        fields = None
    if not isinstance(fields, dict) or not all(isinstance(value, str | int) for value in fields.values()):
        raise Wordless("the peer could not answer")
    raise Refusal.from_dict(fields)
