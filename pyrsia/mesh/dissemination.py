"""What is told on with every message: each statement a number of times that grows with the logarithm of the network.

The newest comes first, then what was told longest ago. A statement makes room for a newer one about the same node; of
suspicions, those of several authors stand side by side, since each counts.

Source: docs/mesh-membership.md, "What is told on".
"""

import math
from collections import OrderedDict
from typing import Final

from pyrsia.units import Limit, NodeId
from pyrsia.wire.membership import Statement, Word

TIMES: Final = 4  # so many times the logarithm: one node in some thousands misses it, and compares soon after
MAX_RUMOURS = Limit(4_096, "600 KB: of each node of a large network one; what was told most gives way")

_Key = tuple[NodeId, NodeId | None]


class _Rumour:
    __slots__ = ("statement", "times")

    def __init__(self, statement: Statement) -> None:
        self.statement = statement
        self.times = 0


class Rumours:
    """Of one node. Which statements are worth telling is its caller's business."""

    def __init__(self) -> None:
        self._waiting: OrderedDict[_Key, _Rumour] = OrderedDict()

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, statement: Statement) -> None:
        """Tell `statement` from now on; it comes first."""
        key = _key(statement)
        self._waiting[key] = _Rumour(statement)
        self._waiting.move_to_end(key, last=False)
        if len(self._waiting) > MAX_RUMOURS.value:
            self._waiting.popitem()

    def void(self, node: NodeId, authors: list[NodeId]) -> None:
        """What `authors` suspected of `node` is not worth telling any more."""
        for author in authors:
            self._waiting.pop((node, author), None)

    def forget(self, node: NodeId, authors: list[NodeId]) -> None:
        """Nor is anything else that was said of `node`, by itself or by `authors`."""
        self._waiting.pop((node, None), None)
        self.void(node, authors)

    def take(self, most: int, nodes: int) -> list[Statement]:
        """The next ones for somebody, at most `most`, in a network of `nodes`."""
        if not self._waiting:
            return []
        enough = TIMES * math.ceil(math.log10(nodes + 1))
        taken: list[Statement] = []
        for _ in range(min(most, len(self._waiting))):
            key, rumour = self._waiting.popitem(last=False)
            taken.append(rumour.statement)
            rumour.times += 1
            if rumour.times < enough:
                self._waiting[key] = rumour
        return taken


def _key(statement: Statement) -> _Key:
    return statement.node, statement.author if statement.word is Word.SUSPECT else None
