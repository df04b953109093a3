"""Final blocks by height, from whoever has them: who is asked for what, and what waits for its turn.

Ranges are asked of several nodes at once, each answer is proven by itself, and what comes early waits in a small
buffer. A node is believed nothing but its proofs: its claim of a height only means that it is worth a question, and
who answers badly, or not, is asked later than others, and its claim counts for nothing in the end. Executing the blocks
is the core's business.

Source: docs/agreement.md, "Catch-up".
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

from pyrsia.errors import Malformed
from pyrsia.units import MAX_SYNC_BLOCKS, Limit
from pyrsia.wire.blocks import Blocks, GetBlocks

from . import catchup
from .committee import Checker

SYNC_RANGES = Limit(4, "answers of 1 MiB asked for at once: more would wait for their turn in memory")
SYNC_NODES = Limit(256, "as many as may be linked; a claim of one more is not worth more")
SYNC_STRIKES = Limit(
    6, "doublings of a node's rest: after two minutes of nothing useful it is asked at that pace"
)

NEVER = float("inf")


class _Asked(NamedTuple):
    first: int
    last: int
    until_s: float
    guess: bool = False  # that node never said that it has these


class Sync:
    """What is asked of whom."""

    def __init__(self, patience_s: float, grace_s: float = 0.0) -> None:
        """
        Args:
            patience_s: wait for one answer before another node is asked for the same blocks.
            grace_s: wait before the first question after being level: what agreement itself brings needs none.
        """
        self.patience_s = patience_s
        self.grace_s = grace_s
        self.trusted: frozenset[bytes] = frozenset()  # validators: their claims have places of their own
        self._claims: dict[bytes, int] = {}  # node -> final height that it has, as it says or as is guessed
        self._said: dict[bytes, int] = {}  # node -> final height that it claims
        self._asked: dict[bytes, _Asked] = {}  # the open question to each node
        self._late: dict[
            bytes, _Asked
        ] = {}  # questions that nobody waits for any more; an answer is still welcome
        self._early: dict[int, Blocks] = {}  # proven answers by first height
        self._strikes: dict[bytes, int] = {}
        self._rest: dict[bytes, float] = {}  # node -> not to be asked before
        self._behind_since: float | None = None
        self._turn = 0

    # -- what is known --

    def claim(self, node: bytes, height: int) -> None:
        """`node` says that a block of this height is final."""
        if self.guess(node, height):
            self._said[node] = max(height, self._said.get(node, 0))

    def guess(self, node: bytes, height: int) -> bool:
        """`node` may have a final block of this height; it has not said so, and its silence is no fault."""
        if node not in self._claims and len(self._claims) >= SYNC_NODES.value and not self._made_room(node):
            return False
        self._claims[node] = max(height, self._claims.get(node, 0))
        return True

    def _made_room(self, node: bytes) -> bool:
        """Ids cost nothing, so a full table must not shut out honest nodes: who disappointed goes, else the oldest."""
        others = [one for one in self._claims if one not in self.trusted]
        if not others:
            return node in self.trusted
        self._forget(max(others, key=lambda one: self._strikes.get(one, 0)))
        return True

    def _forget(self, node: bytes) -> None:
        del self._claims[node]
        self._said.pop(node, None)

    def poll(self, nodes: Iterable[bytes], now_s: float, height: int) -> list[tuple[bytes, GetBlocks]]:
        """Ask one of `nodes`, the next in turn, whether there is anything above `height`; silence is no fault."""
        found = list(nodes)
        if not found:
            return []
        self._turn += 1
        node = found[self._turn % len(found)]
        if node in self._asked:
            return []
        last = height + MAX_SYNC_BLOCKS.value
        self._late[node] = _Asked(height + 1, last, now_s)
        _bound(self._late)
        return [(node, GetBlocks(height + 1, last))]

    # -- questions --

    def ask(self, now_s: float, height: int) -> list[tuple[bytes, GetBlocks]]:
        """Questions that are due when the last final block is at `height`."""
        if not self._claims and not self._asked:
            return []
        self._expire(now_s, height)
        target = max(self._claims.values(), default=0)
        if target <= height:
            self._behind_since = None
            return []
        if self._behind_since is None:
            self._behind_since = now_s
        if now_s < self._behind_since + self.grace_s:
            return []
        out: list[tuple[bytes, GetBlocks]] = []
        horizon = height + SYNC_RANGES.value * MAX_SYNC_BLOCKS.value
        for first, last in self._gaps(height, min(target, horizon)):
            node = self._best(now_s, first)
            if node is None:
                continue
            last = min(last, self._claims[node])
            guess = first > self._said.get(node, 0)
            self._asked[node] = _Asked(first, last, now_s + self.patience_s, guess)
            out.append((node, GetBlocks(first, last)))
        return out

    def wake_s(self, now_s: float, height: int) -> float:
        """When `ask` may have something to say again."""
        if not self._claims:
            return NEVER
        if max(self._claims.values(), default=0) <= height:
            return NEVER
        since = now_s if self._behind_since is None else self._behind_since
        if now_s < since + self.grace_s:
            return since + self.grace_s
        waits = [asked.until_s for asked in self._asked.values()]
        waits += [self._rest[node] for node in self._claims if self._rest.get(node, 0.0) > now_s]
        return min(waits, default=now_s + self.patience_s)

    # -- answers --

    def take(self, now_s: float, node: bytes, answer: Blocks, checker: Checker, height: int) -> str:
        """An answer of `node`; why it is a lie, or an empty text. What is good waits for `next`."""
        asked = self._asked.pop(node, None) or self._late.pop(node, None)
        if asked is None:
            return ""  # nobody asked: not worth a check
        first, last = answer.blocks[0].header, answer.blocks[-1].header
        if first.epoch != checker.committee.epoch or last.height <= height:
            # Of a time that is over, or of one whose validators are not known yet: no lie, and no help.
            if self._said.get(node, 0) > height:
                self._strike(now_s, node)
            return ""
        try:
            catchup.proven(answer, checker)
        except Malformed as error:
            self._strike(now_s, node)
            return str(error)
        self._strikes.pop(node, None)
        self._rest.pop(node, None)
        early = asked.first <= first.height <= asked.last and len(self._early) < SYNC_RANGES.value
        if early or first.height <= height + 1:
            self._early.setdefault(first.height, answer)
        return ""

    def next(self, height: int) -> Blocks | None:
        """A proven answer that continues the last final block at `height`."""
        if not self._early:
            return None
        for first in sorted(self._early):
            answer = self._early[first]
            if answer.blocks[-1].header.height <= height:
                del self._early[first]
            elif first <= height + 1:
                del self._early[first]
                return answer
        return None

    def new_epoch(self) -> None:
        """What was proven by the validators of the old epoch is of no use above its end."""
        self._early.clear()

    # -- inside --

    def _gaps(self, height: int, target: int) -> list[tuple[int, int]]:
        """Ranges up to `target` that nobody has been asked for and that are not here."""
        taken = [(a.first, a.last) for a in self._asked.values()]
        taken += [(first, answer.blocks[-1].header.height) for first, answer in self._early.items()]
        out: list[tuple[int, int]] = []
        at = height + 1
        for first, last in sorted(taken):
            out += _pieces(at, min(first - 1, target))
            at = max(at, last + 1)
        return (out + _pieces(at, target))[: max(0, SYNC_RANGES.value - len(taken))]

    def _best(self, now_s: float, first: int) -> bytes | None:
        """Who should have block `first`, owes no answer, and has disappointed least."""
        able = [
            node
            for node, height in self._claims.items()
            if height >= first and node not in self._asked and now_s >= self._rest.get(node, 0.0)
        ]
        if not able:
            return None
        self._turn += 1
        able = able[self._turn % len(able) :] + able[: self._turn % len(able)]
        return min(able, key=lambda node: (self._strikes.get(node, 0), node not in self.trusted))

    def _expire(self, now_s: float, height: int) -> None:
        """Claims that have come true are done; who owes an answer for too long has a strike, unless it was a guess."""
        for node in [n for n, claimed in self._claims.items() if claimed <= height]:
            self._forget(node)
        for node in [n for n, asked in self._asked.items() if asked.until_s <= now_s or asked.last <= height]:
            asked = self._asked.pop(node)
            self._late[node] = asked
            if asked.guess and node in self._claims:  # nothing is made of it before it is guessed anew
                self._claims[node] = self._said.get(node, 0)
            elif asked.last > height:
                self._strike(now_s, node)
        _bound(self._late)

    def _strike(self, now_s: float, node: bytes) -> None:
        strikes = min(self._strikes.get(node, 0) + 1, SYNC_STRIKES.value)
        self._strikes[node] = strikes
        self._rest[node] = now_s + self.patience_s * 2 ** (strikes - 1)
        if (
            strikes == SYNC_STRIKES.value and node in self._claims
        ):  # it may claim anew, and rests all the same
            self._forget(node)
        _bound(self._strikes)
        _bound(self._rest)


def _bound(table: dict[bytes, Any]) -> None:
    """The oldest rows go first."""
    while len(table) > SYNC_NODES.value:
        del table[next(iter(table))]


def _pieces(first: int, last: int) -> list[tuple[int, int]]:
    """A range in questions of at most `MAX_SYNC_BLOCKS`."""
    step = MAX_SYNC_BLOCKS.value
    return [(at, min(at + step - 1, last)) for at in range(first, last + 1, step)]
