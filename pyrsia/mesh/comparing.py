"""Two nodes compare all that they believe, a page at a time: one lists, the other answers with what either lacks.

A page is a range of node ids. Whoever answers sends statements that the lister lacks, names nodes of which the lister
knows more, and nodes that it has never heard of (which are only asked for elsewhere). So a few hundred nodes that agree
cost two messages and 10 KB, and what gossip lost in a partition comes back.

Source: docs/mesh-membership.md, "Comparing".
"""

from bisect import bisect_right, insort
from dataclasses import dataclass
from typing import Final

from pyrsia.mesh.beliefs import Beliefs
from pyrsia.units import MAX_ROWS, MAX_TOLD, Limit, NodeId
from pyrsia.wire.membership import LAST, Statement, Sync, Tell, Word

MAX_PAGES = Limit(64, "kept of what was not changed since: all of the largest network twice over")
_NOTHING: Final = (0, Word.ALIVE)  # what is not listed


@dataclass(frozen=True, slots=True)
class Answer:
    """`strangers`: nodes that only the lister knows."""

    tell: Tell
    strangers: tuple[NodeId, ...]


_AGREED: Final = Answer(Tell(()), ())


class Ledger:
    """Node ids in order, our own among them: what pages are cut from."""

    def __init__(self, me: NodeId) -> None:
        self._me = me
        self._ids: list[NodeId] = [me]
        self._pages: dict[NodeId, Sync] = {}  # by where they begin
        self._pages_of: tuple[int, Statement] | None = None  # what they say

    def add(self, node: NodeId) -> None:
        insort(self._ids, node)

    def remove(self, node: NodeId) -> None:
        at = bisect_right(self._ids, node) - 1
        if at >= 0 and self._ids[at] == node:
            del self._ids[at]

    def between(self, after: NodeId, last: NodeId) -> list[NodeId]:
        """Ids behind `after`, up to `last`."""
        return self._ids[bisect_right(self._ids, after) : bisect_right(self._ids, last)]

    def page(self, beliefs: Beliefs, own: Statement, after: NodeId) -> Sync:
        """The next page behind `after`; one that ends with `LAST` is the last."""
        if self._pages_of != (beliefs.version, own) or len(self._pages) >= MAX_PAGES.value:
            self._pages, self._pages_of = {}, (beliefs.version, own)
        found = self._pages.get(after)
        if found is None:
            found = self._pages[after] = self._make(beliefs, own, after)
        return found

    def _make(self, beliefs: Beliefs, own: Statement, after: NodeId) -> Sync:
        ids = self.between(after, LAST)
        rows = beliefs.rows(ids[: MAX_ROWS.value], own)
        return Sync(after, LAST if len(ids) <= MAX_ROWS.value else ids[MAX_ROWS.value - 1], rows)

    def answer(self, beliefs: Beliefs, own: Statement, asked: Sync) -> Answer:
        """What we know better than `asked`, and what we would like to know; as much as one message holds."""
        if self.page(beliefs, own, asked.after) == asked:
            return _AGREED  # nearly always, and two lists are compared sooner than gone through
        theirs = {node: (incarnation, word) for node, incarnation, word in asked.rows}
        told: list[Statement] = []
        wants: list[NodeId] = []
        strangers: list[NodeId] = []
        more, before = None, asked.after
        for node in sorted(theirs.keys() | set(self.between(asked.after, asked.last))):
            told_us = theirs.get(node, _NOTHING)
            if node != self._me and node not in beliefs:
                strangers.append(node)
                continue
            ours = _newest(beliefs, own, node)
            if ours > told_us:
                known = [own] if node == self._me else beliefs.since(node, told_us)
                if len(told) + len(known) > MAX_TOLD.value:
                    more = before
                    break
                told += known
            elif ours < told_us:
                wants.append(node)
            before = node
        return Answer(Tell(tuple(told), tuple(wants), more), tuple(strangers))

    def wanted(self, beliefs: Beliefs, own: Statement, wants: tuple[NodeId, ...]) -> Tell:
        """All that is known of `wants`, as much as one message holds."""
        told: list[Statement] = []
        for node in wants:
            known = [own] if node == self._me else beliefs.since(node, _NOTHING) if node in beliefs else []
            if len(told) + len(known) > MAX_TOLD.value:
                break
            told += known
        return Tell(tuple(told))


def _newest(beliefs: Beliefs, own: Statement, node: NodeId) -> tuple[int, Word]:
    return (own.incarnation, own.word) if node == own.node else beliefs.newest(node)
