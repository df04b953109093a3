"""Requests both ways: our questions and their answers, their questions and ours, and who gets BUSY.

At most `MAX_REQUESTS_PER_PEER` are under way with one peer in each direction and `MAX_REQUESTS` of all
peers are answered at once. What a request means is its handler's business.

Source: docs/network.md, "Requests".
"""

import json
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

import trio

from pyrsia.errors import PyrsiaError, Refusal, Unavailable
from pyrsia.net.faults import Faults
from pyrsia.net.outbox import ORDINARY, URGENT
from pyrsia.net.peers import Peer, Waiting
from pyrsia.units import (
    MAX_LINK_MESSAGE_BYTES,
    MAX_REQUESTS,
    MAX_REQUESTS_PER_PEER,
    REQUEST_DEADLINE_S,
    NodeId,
)
from pyrsia.wire import frames
from pyrsia.wire.frames import Frame, Type

BUSY_AGAIN_MS: Final = 200

_log = logging.getLogger("pyrsia.links")

Handler = Callable[[NodeId, bytes], Awaitable[bytes]]


class Busy(Unavailable):
    """The peer has too much to do; ask again after `retry_s`."""

    def __init__(self, retry_s: float) -> None:
        super().__init__(f"the peer is busy, try again in {retry_s:g} s")
        self.retry_s = retry_s


class Questions:
    """What we ask."""

    def __init__(self, counted: Counter[str]) -> None:
        self._counted = counted
        self._last = 0

    async def ask(self, peer: Peer, method: int, payload: bytes, deadline_s: float) -> bytes:
        """Ask a linked peer and wait for its answer.

        Raises:
            Busy: the peer or our queue to it has no room now.
            Refusal: the peer's handler refused, in its own words.
            Unavailable: the link broke, or no answer in time.
        """
        if len(peer.waiting) >= MAX_REQUESTS_PER_PEER.value:
            raise Busy(BUSY_AGAIN_MS / 1000)
        deadline_s = min(deadline_s, float(REQUEST_DEADLINE_S.value))
        self._last += 1
        ident, waiting = self._last, Waiting(trio.Event())
        frame = Frame(Type.REQUEST, ident, max(1, int(deadline_s * 1000)), method, payload)
        if not peer.outbox.push(frames.encode(frame), ORDINARY):
            self._counted["send-queue-full"] += 1
            raise Busy(BUSY_AGAIN_MS / 1000)
        peer.waiting[ident] = waiting
        try:
            with trio.move_on_after(deadline_s):
                await waiting.done.wait()
        finally:
            peer.waiting.pop(ident, None)
        return _answer_of(waiting, deadline_s)

    def take(self, peer: Peer, frame: Frame) -> None:
        """An answer of `peer`; only to a question that was asked of it, and only the first."""
        waiting = peer.waiting.get(frame.request)
        if waiting is None or waiting.answer is not None:
            self._counted["reply-late"] += 1
            return
        waiting.answer = frame
        waiting.done.set()


class Answers:
    """What we are asked. Each request has a task of its own in `nursery`."""

    def __init__(
        self,
        methods: Mapping[int, Handler],
        faults: Faults,
        counted: Counter[str],
        nursery: trio.Nursery,
    ) -> None:
        self._methods = methods
        self._faults = faults
        self._counted = counted
        self._nursery = nursery
        self._serving = 0

    def take(self, peer: Peer, frame: Frame) -> None:
        """A request of `peer`."""
        handler = self._methods.get(frame.number)
        full = peer.serving >= MAX_REQUESTS_PER_PEER.value or self._serving >= MAX_REQUESTS.value
        if handler is None or full:
            self._counted["request-unknown" if handler is None else "request-busy"] += 1
            answer = Frame(Type.ERROR, frame.request) if handler is None else _busy(frame.request)
            peer.outbox.push(frames.encode(answer), URGENT)
            return
        peer.serving += 1
        self._serving += 1
        self._nursery.start_soon(self._answer, peer, handler, frame)

    async def _answer(self, peer: Peer, handler: Handler, frame: Frame) -> None:
        answer: Frame | None = None
        try:
            with trio.move_on_after(min(frame.deadline_ms / 1000, REQUEST_DEADLINE_S.value)):
                body = await handler(peer.node, frame.body)
                if len(body) > MAX_LINK_MESSAGE_BYTES.value:
                    raise ValueError("the answer is over the limit of a message")
                answer = Frame(Type.REPLY, frame.request, body=body)
        except Refusal as refusal:
            answer = Frame(Type.ERROR, frame.request, body=json.dumps(refusal.as_dict()).encode())
        except PyrsiaError as error:
            self._faults.count(error)
            answer = Frame(Type.ERROR, frame.request)
        except Exception:  # noqa: BLE001 - a peer's bytes must not end the node, whatever bug they find
            self._counted["request-crashed"] += 1
            _log.exception("request for method %d", frame.number)
            answer = Frame(Type.ERROR, frame.request)
        finally:
            peer.serving -= 1
            self._serving -= 1
        if answer is not None and peer.conn is not None:
            if not peer.outbox.push(frames.encode(answer), URGENT):
                self._counted["send-queue-full"] += 1


def _busy(request: int) -> Frame:
    return Frame(Type.BUSY, request, BUSY_AGAIN_MS)


def _answer_of(waiting: Waiting, deadline_s: float) -> bytes:
    answer = waiting.answer
    if answer is None:
        lost = waiting.done.is_set()
        raise Unavailable("the link broke" if lost else f"no answer within {deadline_s:g} s")
    if answer.type is Type.REPLY:
        return answer.body
    if answer.type is Type.BUSY:
        raise Busy(answer.deadline_ms / 1000)
    try:
        fields = json.loads(answer.body)
    except (ValueError, RecursionError):
        fields = None
    if not isinstance(fields, dict) or not all(isinstance(value, str | int) for value in fields.values()):
        raise Unavailable("the peer could not answer")
    raise Refusal.from_dict(fields)
