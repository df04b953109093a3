"""Asks over a data line for the recipe of a file and for stretches of its bytes, a few at a time.

What does not come in time is not waited for; what nobody asked for is a fault of who sent it. Nothing is believed here:
`node/storage/deltas.py` checks what comes against the manifest.

Source: docs/delta.md, "Messages".
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final, Protocol

import trio

from pyrsia.errors import Unavailable
from pyrsia.net.lines import Line
from pyrsia.units import Limit, NodeId
from pyrsia.wire import ranges
from pyrsia.wire.ranges import Message, Type

RECIPE_S: Final = (
    1.0  # whoever has to cut the file first says no; a recipe of a megabyte takes this at 10 Mbit/s
)
RANGES_S: Final = 6.0  # 256 KiB at half a megabit a second; slower, and the swarm does better
AT_ONCE = Limit(4, "asks under way: a megabyte, as the least credit of a swarm's source")


class Meter(Protocol):
    """This node's own limit of what comes, and its counters (`data.DataPlane`)."""

    async def pay(self, node: NodeId, size: int, /) -> None: ...

    def came(self, node: NodeId, size: int, /) -> None: ...


class _Waiting:
    """One ask on its way. `answer` is None where the other end said no."""

    __slots__ = ("answer", "kind", "over")

    def __init__(self, kind: Type) -> None:
        self.kind = kind
        self.over = trio.Event()
        self.answer: bytes | None = None


class Stretches:
    """What one transfer asks of one node. Made by `open_stretches`."""

    def __init__(self, line: Line, manifest_id: bytes, meter: Meter | None = None) -> None:
        self._line = line
        self._id = manifest_id
        self._meter = meter
        self._waiting: dict[int, _Waiting] = {}
        self._last = 0
        self._slots = trio.CapacityLimiter(AT_ONCE.value)

    async def recipe(self) -> bytes | None:
        """The encoded recipe; None where the node has none now.

        Raises:
            Unavailable: no answer in time, or the line broke.
        """
        return await self._ask(Message(Type.WANT_RECIPE, self._id), 0, Type.RECIPE, RECIPE_S)

    async def get(self, wanted: Sequence[tuple[int, int]]) -> list[bytes] | None:
        """The bytes of each of `wanted` (offset, size); None where the node does not give them.

        Raises:
            Unavailable: no answer in time, the line broke, or another number of bytes came.
        """
        size = sum(size for _, size in wanted)
        async with self._slots:
            if self._meter is not None:
                await self._meter.pay(self._line.node, size)
            self._last += 1
            ask = Message(Type.GET_RANGES, self._id, self._last, tuple(wanted))
            answer = await self._ask(ask, self._last, Type.RANGES, RANGES_S)
        if answer is None:
            return None
        if self._meter is not None:
            self._meter.came(self._line.node, len(answer))
        if len(answer) != size:
            raise Unavailable("another number of bytes came than was asked for")
        found, at = [], 0
        for _, size in wanted:
            found.append(answer[at : at + size])
            at += size
        return found

    async def _ask(self, message: Message, number: int, kind: Type, patience_s: float) -> bytes | None:
        if not self._line.alive:
            raise Unavailable("the connection broke")
        waiting = self._waiting[number] = _Waiting(kind)
        self._line.post(ranges.encode(message))
        try:
            with trio.move_on_after(patience_s) as patience:
                await waiting.over.wait()
        finally:
            if not waiting.over.is_set():
                self._line.expect_no_more(1)
            self._waiting.pop(number, None)
        if patience.cancelled_caught:
            raise Unavailable("no answer in time")
        return waiting.answer

    def take_range(self, message: Message, payload: memoryview) -> None:
        """An answer (`lines.RangeListener`).

        Raises:
            Malformed: to nothing that is waited for.
        """
        waiting = self._waiting.get(message.number)
        if waiting is None or waiting.over.is_set() or message.type not in (waiting.kind, Type.NONE):
            self._line.stray()
            return
        waiting.answer = bytes(payload) if message.type is not Type.NONE else None
        waiting.over.set()


@contextmanager
def open_stretches(line: Line, manifest_id: bytes, meter: Meter | None = None) -> Iterator[Stretches]:
    """Ask over `line` for one file, as fast as `meter` lets it in.

    Raises:
        Unavailable: another transfer asks for it over this line already.
    """
    if manifest_id in line.range_listeners:
        raise Unavailable("the file is asked for already")
    stretches = line.range_listeners[manifest_id] = Stretches(line, manifest_id, meter)
    try:
        yield stretches
    finally:
        del line.range_listeners[manifest_id]
