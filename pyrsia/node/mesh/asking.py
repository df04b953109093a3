"""Questions to owners of blobs over the links: what they have, and who else told them.

An answer that is none is its sender's fault; no answer is nobody's. Nobody is asked faster than it answers anybody
(`providing`): what can wait does, and a reader's question is left out.

Source: docs/replication.md, "Messages".
"""

from collections.abc import Callable, Sequence
from typing import Final, Protocol, TypeVar

import trio

from pyrsia.buckets import Buckets
from pyrsia.errors import Malformed, PyrsiaError
from pyrsia.mesh.scores import FAULT, Scores
from pyrsia.node.kinds import Method
from pyrsia.units import HELD_BLOBS, Limit, NodeId
from pyrsia.wire import providers as wire
from pyrsia.wire.providers import Held, Known, Leaving, Provide, Sum, Sums, Who

ASK_S: Final = 5.0  # an owner answers from its index
ASK_RATE = Limit(40, "questions a second to one node: less than the 50 that it answers")
ASK_BURST = Limit(150, "at once: less than its 200")

_T = TypeVar("_T")


class Links(Protocol):
    """What is needed of `net.links.Links`."""

    def connected(self, node: NodeId) -> bool: ...

    def fault(self, node: NodeId, why: str) -> None: ...

    async def request(self, node: NodeId, method: int, payload: bytes, deadline_s: float) -> bytes: ...


class Asking:
    """Questions to owners. An answer that is none is its sender's fault."""

    def __init__(self, links: Links, scores: Scores) -> None:
        self._links = links
        self._scores = scores
        self._pace: Buckets[NodeId] = Buckets(ASK_RATE.value, ASK_BURST.value)

    async def held(self, node: NodeId, blobs: Sequence[bytes]) -> tuple[bool, ...] | None:
        """Which of these `node` has, in batches; None without an answer."""
        found: list[bool] = []
        for at in range(0, len(blobs), HELD_BLOBS.value):
            batch = tuple(blobs[at : at + HELD_BLOBS.value])
            await self._turn(node)
            raw = await self._ask(node, Method.PROVIDERS, Held(batch).encode())
            bits = None if raw is None else self._read(node, raw, wire.decode_bits, len(batch))
            if bits is None:
                return None
            found += bits
        return tuple(found)

    async def sums(self, node: NodeId, shards: tuple[int, ...]) -> tuple[Sum, ...] | None:
        await self._turn(node)
        raw = await self._ask(node, Method.PROVIDERS, Sums(shards).encode())
        return None if raw is None else self._read(node, raw, wire.decode_sums, len(shards))

    async def who(self, node: NodeId, blobs: tuple[bytes, ...]) -> tuple[Known, ...] | None:
        if not self._pace.of(node).take(trio.current_time()):
            return None
        raw = await self._ask(node, Method.PROVIDERS, Who(blobs).encode())
        return None if raw is None else self._read(node, raw, wire.decode_known, len(blobs))

    async def tell(self, node: NodeId, told: Provide | Leaving) -> bool:
        """Whether it heard."""
        return await self._ask(node, Method.PROVIDE, told.encode()) is not None

    async def _turn(self, node: NodeId) -> None:
        bucket = self._pace.of(node)
        while not bucket.take(trio.current_time()):  # noqa: ASYNC110 (a bucket fills by time alone)
            await trio.sleep(max(0.01, bucket.wait_s(trio.current_time())))

    async def _ask(self, node: NodeId, method: Method, question: bytes) -> bytes | None:
        try:
            return await self._links.request(node, method, question, ASK_S)
        except PyrsiaError:
            return None

    def _read(
        self, node: NodeId, raw: bytes, decode: Callable[[bytes, int], tuple[_T, ...]], count: int
    ) -> tuple[_T, ...] | None:
        try:
            return decode(raw, count)
        except Malformed as error:
            self._scores.note(
                trio.current_time(), node, FAULT, f"an answer about blobs that is none: {error}"
            )
            self._links.fault(node, "providers")
            return None
