"""Members and motions as they were when the log had a certain size, as a state that `views` can be asked about.

The state knows who is a member and which motions wait; who was, and which did, is made again: the founders, and on them
every motion about members that was enacted, in their order, by the very functions that wrote the state. A motion's
record says by which leaf each thing happened to it, and epochs never change once they have begun; so nothing is asked
of the log but the time of one block, and a node that began from a snapshot answers too.

All motions that there ever were are looked at, since no list has those of one time. That is done in turns with others,
and by one question at a time.

Source: docs/inspect.md, "As the log was".
"""

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, Protocol

import msgspec
import trio

from pyrsia.ledger import motions, roster, state, views
from pyrsia.ledger.genesis import Genesis
from pyrsia.ledger.seats import Epoch
from pyrsia.ledger.state import Reads, View, load
from pyrsia.node.log import times
from pyrsia.node.log.times import Moment
from pyrsia.units import Limit
from pyrsia.wire import canonical

STRETCH = Limit(256, "motions looked at between two turns of the loop: a millisecond")
REMEMBERED = Limit(
    64, "moments whose members' names are remembered, 30 KB each: pages of one answer ask again"
)
MOTION: Final = "motion/"
_ABOUT_MEMBERS: Final = b'"kind":"member.'

Rows = Callable[[bytes, int], Sequence[tuple[bytes, bytes]]]  # of the state: keys from one on, and how many


class _When(msgspec.Struct, frozen=True):
    """What says whether a motion matters at a moment; the rest of its record is read only then."""

    leaf: int
    deadline: int
    author: str
    decided: int = -1


_when: Final = msgspec.json.Decoder(_When).decode  # our own bytes


class Log(times.Log, Protocol):
    """What is needed of `archive.Archive`."""

    def state(self, key: bytes) -> bytes | None: ...


class PastMembers:
    """One node's."""

    def __init__(self, log: Log, genesis: Genesis, rows: Rows) -> None:
        self._log, self._genesis, self._rows = log, genesis, rows
        self._turn = trio.CapacityLimiter(1)
        self._called: OrderedDict[int, Mapping[str, str]] = OrderedDict()

    async def at(self, moment: Moment) -> Reads:
        """The state as far as it speaks of members, epochs and motions, when the log was as long as `moment` says."""
        async with self._turn:
            return await _replayed(self._log, self._genesis, self._rows, moment.size)

    async def names(self, moment: Moment) -> Mapping[str, str]:
        """Node id -> what people called it, of everybody who was a member then."""
        known = self._called.get(moment.size)
        if known is None:
            known = self._called[moment.size] = views.names(await self.at(moment))
            while len(self._called) > REMEMBERED.value:
                self._called.popitem(last=False)
        return known


async def _replayed(log: Log, genesis: Genesis, rows: Rows, size: int) -> Reads:
    view = View(lambda key: log.state(key) if key.startswith(b"epoch/") else None)
    chain_ms = times.time_of(log, size - 1)
    number, epoch_of = _epochs(log.state, genesis)
    view.put(state.EPOCH, number(size))
    view.put(state.CHAIN, {"time_ms": chain_ms})
    roster.found(view, genesis)
    enacted: list[tuple[int, dict[str, Any]]] = []
    waiting: list[tuple[int, str, int, str]] = []
    for at, (name, raw) in enumerate(_motions(rows)):
        if at % STRETCH.value == 0:
            await trio.lowlevel.checkpoint()
        when = _when(raw)
        if when.leaf >= size:
            continue
        decided = 0 <= when.decided < size
        if decided and _ABOUT_MEMBERS in raw:
            enacted.append((when.decided, load(raw)["body"]))
        if not decided and when.deadline >= chain_ms:
            waiting.append((when.leaf, when.author, when.deadline, name))
    for leaf, body in sorted(enacted, key=lambda one: one[0]):
        motions.change_members(view, body, leaf)
    view.put(state.MOTIONS, [[author, deadline, name] for _, author, deadline, name in sorted(waiting)])

    def reads(key: bytes) -> bytes | None:
        text = key.decode()
        if text.startswith(MOTION):
            record = load(log.state(key))
            there = record is not None and record["leaf"] < size
            return canonical.encode(motions.before(record, size, epoch_of)) if there else None
        return view.raw(text)

    return reads


def _motions(rows: Rows) -> Iterator[tuple[str, bytes]]:
    """Id and record of every motion."""
    start = MOTION.encode()
    key = start
    while True:
        found = rows(key, STRETCH.value)
        for name, raw in found:
            if not name.startswith(start):
                return
            yield name.removeprefix(start).decode(), raw
        if len(found) < STRETCH.value:
            return
        key = found[-1][0] + b"\0"


def _epochs(reads: Reads, genesis: Genesis) -> tuple[Callable[[int], int], Callable[[int], Epoch]]:
    """The number of the epoch in which the next block of a log of some size stands, and the epoch itself."""
    newest = views.current(reads, genesis).number

    def number(size: int) -> int:
        low, high = 0, newest
        while low < high:
            middle = (low + high + 1) // 2
            began = views.epoch(reads, middle)
            if began is not None and began.size <= size:
                low = middle
            else:
                high = middle - 1
        return low

    def epoch(size: int) -> Epoch:
        found = views.epoch(reads, number(size))
        return views.current(reads, genesis) if found is None else found

    return number, epoch
