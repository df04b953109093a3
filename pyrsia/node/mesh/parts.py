"""The parts of a node's mesh, and which of them a method, a message or a change of links concerns.

Nothing is decided here. A part is made before the links run, so that no peer asks before somebody answers.

Source: docs/mesh.md.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import trio

from pyrsia.net.links import Handler
from pyrsia.node.mesh.enduring import Border
from pyrsia.units import NodeId

OnKind = Callable[[NodeId, bytes], None]


class Part(Protocol):
    """One concern of the mesh."""

    @property
    def methods(self) -> Mapping[int, Handler]:
        """Requests that it answers, by `kinds.Method`."""
        ...

    @property
    def messages(self) -> Mapping[int, OnKind]:
        """One-way messages that it takes, by `kinds.Kind`: handed over at once, nothing awaited."""
        ...

    def linked(self, node: NodeId, up: bool) -> None:
        """A peer is connected, or gone."""
        ...

    async def run(self) -> None:
        """Until cancelled."""
        ...


class Mesh:
    """The parts of one node."""

    def __init__(self, parts: Sequence[Part]) -> None:
        """
        Raises:
            ValueError: two of them want the same method or message.
        """
        self._parts = tuple(parts)
        self._border = Border("a part was not told of a link")
        self.methods: dict[int, Handler] = {}
        self._messages: dict[int, OnKind] = {}
        for part in self._parts:
            if self.methods.keys() & part.methods.keys() or self._messages.keys() & part.messages.keys():
                raise ValueError(f"{type(part).__name__} wants what another part has")
            self.methods.update(part.methods)
            self._messages.update(part.messages)

    def take(self, node: NodeId, kind: int, payload: bytes) -> None:
        """A one-way message; a kind that no part knows is ignored.

        Raises:
            Malformed: no honest peer sends this.
        """
        taker = self._messages.get(kind)
        if taker is not None:
            taker(node, payload)

    def linked(self, node: NodeId, up: bool) -> None:
        """Tell every part, also those behind one that has a bug."""
        for part in self._parts:
            with self._border.turn():
                part.linked(node, up)

    async def run(self) -> None:
        """Run every part until cancelled."""
        async with trio.open_nursery() as nursery:
            for part in self._parts:
                nursery.start_soon(part.run)
