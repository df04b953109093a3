"""Which packages the log had at a moment, and what their versions were worth then (`serve.desks.providing.Then`).

The list of packages only grows, in the order in which they came: so those of a moment are its beginning, which is found
in halves. A file's status is that of now, if nothing happened to it since; else the history of its package is read up
to the moment (`node.inspecting.past`).

Source: docs/inspect.md, "As the log was".
"""

from dataclasses import dataclass, field
from typing import Any, Final

import trio

from pyrsia.ledger import standing, state, views
from pyrsia.ledger.standing import PUBLISHED
from pyrsia.ledger.state import load
from pyrsia.ledger.touches import package_key
from pyrsia.node.inspecting.past import Log, Past, Pasts
from pyrsia.node.log.times import Moment
from pyrsia.serve.desks.providing import Stood
from pyrsia.units import Limit
from pyrsia.wire import purl as purls

WORK = Limit(
    20_000, "files and leaves looked at for one answer: half a second, in turns; the next page goes on"
)
MAX_FILES = Limit(50_000, "newest files of one package that are looked at: a second, in turns")
READ_A_TURN: Final = 512  # names between two turns of the loop: 3 us each
LOOKED_A_TURN: Final = 128  # files: 20 us each


class Names:
    """Packages in the order in which the log got them; what is read once is only added to."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._places: dict[str, int] = {}

    async def read(self) -> None:
        """Take in what came since."""
        count = int(load(self._log.state(state.PROJECTS.encode()), 0))
        while (at := len(self._places)) < count:
            if at % READ_A_TURN == 0:
                await trio.lowlevel.checkpoint()
                at = len(self._places)  # another question may have read on meanwhile
            if at < count:
                self._places[str(load(self._log.state(f"projects/{at:016}".encode())))] = at

    def place(self, package: str) -> int | None:
        return self._places.get(package)

    def count(self, size: int) -> int:
        """How many there were in the log's first `size` leaves."""
        low, high = 0, len(self._places)
        while low < high:
            middle = (low + high) // 2
            package = load(self._log.state(f"projects/{middle:016}".encode()))
            if load(self._log.state(f"project/{package}/{0:016}".encode()))["leaf"] < size:
                low = middle + 1
            else:
                high = middle
        return low


@dataclass(frozen=True, slots=True)
class _File:
    leaf: int
    body: dict[str, Any]  # what is asked of it below


@dataclass(slots=True)
class Then:
    """One moment, for one answer. `read`: files and leaves that were looked at."""

    log: Log
    names: Names
    pasts: Pasts
    moment: Moment
    count: int
    read: int = 0
    _now: dict[tuple[str, str], str] = field(default_factory=dict)

    @property
    def size(self) -> int:
        return self.moment.size

    @property
    def time_ms(self) -> int:
        return self.moment.time_ms

    @property
    def spent(self) -> bool:
        return self.read >= WORK.value

    def holds(self, package: str) -> bool:
        place = self.names.place(package)
        return place is not None and place < self.count

    async def stood(self, package: str) -> Stood:
        files, cut = await self._files(package)
        served: dict[tuple[str, str], _File] = {}
        for one in files:  # the first file of a name is given, unless a later one is worth more
            name = one.body["purl"], one.body["file"]
            if name not in served or standing.raises(served[name].body, one.body):
                served[name] = one
        given = {one.leaf for one in served.values()}
        replayed: Past | None = None
        offered: dict[str, str] = {}  # version -> verdict of its newest file
        fallen: dict[str, None] = {}
        for at, one in enumerate(reversed(files)):
            if at % LOOKED_A_TURN == 0:
                await trio.lowlevel.checkpoint()
            status = self._unchanged(one)
            if not status:
                if replayed is None:
                    replayed, read = await self.pasts.at(package_key(package), self.size)
                    self.read += read
                status = replayed.status(one.body["sha256"], one.body["purl"])
            version = purls.parse(one.body["purl"]).version
            if status in PUBLISHED:
                if one.leaf in given:
                    offered.setdefault(version, one.body["verdict"])
            else:
                fallen[version] = None
        return Stood(
            tuple(offered),
            tuple(one for one in fallen if one not in offered),
            next(iter(offered.values()), ""),
            not cut and (replayed is None or not replayed.cut),
        )

    async def _files(self, package: str) -> tuple[list[_File], bool]:
        """What was published of it by then, in log order; the newest, if it is too much, and whether it was."""
        found: list[_File] = []
        history = views.project_history(self.log.state, package, newest=True, size=self.size)
        for at, (placed, _) in enumerate(history):
            if at % LOOKED_A_TURN == 0:
                await trio.lowlevel.checkpoint()
            if len(found) >= MAX_FILES.value:
                return found[::-1], True
            self.read += 1
            wanted = {name: placed.body[name] for name in ("file", "purl", "sha256", "verdict")}
            found.append(_File(placed.leaf, wanted))
        return found[::-1], False

    def _unchanged(self, one: _File) -> str:
        """The status of now, if it is as old as the moment; else ""."""
        found = views.status(self.log.state, one.body["sha256"], one.body["purl"])
        return str(found["status"]) if found is not None and found["leaf"] < self.size else ""
