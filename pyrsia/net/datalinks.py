"""The data connections of one node: which are open, who opens one, when one is closed.

One for each pair of nodes, whoever dialled it: both ends ask over it. It stays open while it is used and a minute
longer. A node that cannot be dialled is asked over the control link to dial us. Where both ends are configured so, the
connection is plain; what binds it to its node then is a ticket (`tickets`), given over the control link.

Every frame goes to its line (`lines`) or, if it asks for something, to the server (`serving`). What is no message costs
whoever sent it: a line that we dialled ends, sixteen such frames end the control link.

Source: docs/network.md, "Data links"; docs/adr/0065.
"""

import contextlib
import itertools
import secrets
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Sequence
from typing import Final

import trio
import zmq

from pyrsia.errors import Malformed, PyrsiaError, Unavailable
from pyrsia.net.cutting import inode_of
from pyrsia.net.lines import Line, hello, ticket_of
from pyrsia.net.links import Links
from pyrsia.net.sockets import until_lost
from pyrsia.net.tickets import TICKET_BYTES, Tickets
from pyrsia.net.zap import key_of
from pyrsia.net.zsock import ZSock
from pyrsia.units import CHUNK_BYTES, DATA_HWM, LINK_FAULTS, MAX_PEERS, Limit, NodeId
from pyrsia.wire import chunks, ranges
from pyrsia.wire.chunks import Message, Type

METHOD: Final = 12  # `node.kinds.Method.DATA_LINK`
PLAIN: Final = b"dp"  # how keys of plain lines begin that we dialled
DIAL_ME: Final = b"D"  # the asker cannot dial: please do -> empty
TICKET: Final = b"T"  # for a plain connection -> empty for no, or a ticket and a port u16

IDLE_S: Final = 60.0  # a client that installs packages comes back sooner than this
UNREACHED_S: Final = 60.0  # who could not be dialled is asked to dial, this long
ASK_S: Final = 3.0  # for an answer over the control link, and again for the connection that it leads to
SWEEP_S: Final = 1.0
UNLINKED_S: Final = (
    10.0  # a control link that breaks for a moment costs no line; without one nothing is given
)
MAX_LINES = Limit(
    64, "data connections that we dialled, at four descriptors each: a quarter of the usual 1,024"
)
MAX_ASKED = Limit(32, "of them that others asked for: half; a guest's name costs nothing")
MAX_HELD = Limit(
    2 * MAX_PEERS.value, "routes of those who dialled us: one of each peer, and one that it had before"
)
MAX_HELD_OF_NODE = Limit(4, "of them of one node; who connects in a loop fills no table")

_ASKS: Final = frozenset((Type.WANT_MANIFEST, Type.WANT_HAVE, Type.GET, Type.CANCEL))
_CHUNK_BYTES: Final = CHUNK_BYTES.value
_NOTHING: Final = memoryview(b"")

OnAsk = Callable[[Line, Message], None]
OnRange = Callable[[Line, ranges.Message], None]
OnFault = Callable[[NodeId, str], None]


def _take_chunks(line: Line, manifest_id: bytes, number: int, payload: memoryview) -> None:
    """A chunk, and those that follow it in the same message."""
    if len(payload) <= _CHUNK_BYTES:
        line.take_chunk(manifest_id, number, payload)
        return
    for at in range(0, len(payload), _CHUNK_BYTES):
        line.take_chunk(manifest_id, number, payload[at : at + _CHUNK_BYTES])
        number += 1


class DataLinks:
    """Lines of one node, by node.

    Args:
        on_ask, on_range: take what a node asks over a line.
        on_fault: told of whoever sends what no node sends, in words.
        serves: whether something is still to be sent over the line with this key.
    """

    def __init__(
        self,
        links: Links,
        on_ask: OnAsk,
        on_fault: OnFault,
        serves: Callable[[bytes], bool],
        on_range: OnRange,
    ) -> None:
        self._links = links
        self._on_ask = on_ask
        self._on_range = on_range
        self._on_fault = on_fault
        self._serves = serves
        self._dialled: dict[NodeId, Line] = {}
        self._held: OrderedDict[bytes, Line] = OrderedDict()  # key -> a line that its node dialled
        self._late: OrderedDict[bytes, int] = (
            OrderedDict()
        )  # key -> answers that may come though it was forgotten
        self._askers: set[NodeId] = set()  # of those that we dialled, who asked for it
        self._opening: dict[NodeId, trio.Event] = {}
        self._awaited: dict[NodeId, trio.Event] = {}  # who was asked to dial us
        self._unreached: dict[NodeId, float] = {}  # until when it is not dialled
        self._closed: dict[NodeId, float] = {}  # the same for its plain port
        self._faults: Counter[NodeId] = Counter()
        self._tickets = Tickets(secrets.token_bytes)
        self._numbers = itertools.count()
        self._nursery: trio.Nursery | None = None
        self._inodes: dict[bytes, int] = {}  # key -> the connection of a held line
        for endpoint in (lambda: links.data_endpoint, lambda: links.plain_endpoint):
            links.callers.know(endpoint, self._inodes.values)
        links.answer({METHOD: self._answer})

    def __len__(self) -> int:
        return len(self._dialled) + len(self._held)

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Until cancelled, or until the links are closed.

        Raises:
            ValueError: the links have no data socket, or are not open yet.
        """
        router = self._links.data_router
        if router is None:
            raise ValueError("the links have no data socket, or are not open yet")
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                nursery.start_soon(self._sweep)
                if self._links.plain_router is not None:
                    nursery.start_soon(self._read, self._links.plain_router, True)
                task_status.started()
                await self._read(router, False)
                nursery.cancel_scope.cancel()
        finally:
            self._nursery = None
            for line in [*self._dialled.values(), *self._held.values()]:
                line.end("this node stops")
            self._dialled.clear()
            self._held.clear()
            self._inodes.clear()

    # -- opening --

    async def line(self, node: NodeId) -> Line:
        """The line to `node`, opened now if there is none.

        Raises:
            Unavailable: there is none to be had.
        """
        while True:
            line = self._of(node)
            if line is not None:
                return line
            if not self._links.connected(node):
                raise Unavailable("is not connected, or serves no files")
            opening = self._opening.get(node)
            if opening is None:
                return await self._open(node)
            await opening.wait()

    def _of(self, node: NodeId) -> Line | None:
        """A line to `node` that lives."""
        line = self._dialled.get(node)
        if line is not None and line.alive:
            return line
        for line in [line for line in reversed(self._held.values()) if line.node == node]:
            if line.answers():
                return line
            self._forget(line, "the connection broke")
        return None

    async def _open(self, node: NodeId) -> Line:
        done = self._opening[node] = trio.Event()
        try:
            address = self._links.data_address(node)
            if address and trio.current_time() >= self._unreached.get(node, 0.0):
                return await self._dial(node, address)
            return await self._be_dialled(node)
        finally:
            del self._opening[node]
            done.set()

    async def _dial(self, node: NodeId, address: str, *, asked: bool = False) -> Line:
        clear = self._links.plain_router is not None and trio.current_time() >= self._closed.get(node, 0.0)
        ticket, plain = await self._ticket(node, address) if clear else (b"", "")
        # Behind the last wait: others who waited as long must find this one's place taken.
        nursery = self._room(node if asked else None)
        sock, monitor = self._links.client(
            node, plain or address, frame_bytes=chunks.FRAME_BYTES, hwm=DATA_HWM.value, plain=bool(plain)
        )
        mark = PLAIN if plain else b"d"
        line = Line(node, mark + b"%d" % next(self._numbers), sock, b"", self._begin)
        self._dialled[node] = line
        line.post(hello(ticket) if ticket else hello())
        nursery.start_soon(self._live, line, sock, monitor)
        return line

    async def _ticket(self, node: NodeId, address: str) -> tuple[bytes, str]:
        """A ticket of `node` and its plain address; empty when it gives none."""
        with contextlib.suppress(PyrsiaError):
            told = await self._links.request(node, METHOD, TICKET, ASK_S)
            if len(told) == TICKET_BYTES + 2:
                port = int.from_bytes(told[TICKET_BYTES:], "big")
                return told[:TICKET_BYTES], f"{address.rpartition(':')[0]}:{port}"
        return b"", ""

    async def _be_dialled(self, node: NodeId) -> Line:
        """Ask `node` over the control link to dial us."""
        came = self._awaited.setdefault(node, trio.Event())
        try:
            with trio.move_on_after(ASK_S):
                await self._links.request(node, METHOD, DIAL_ME, ASK_S)
                await came.wait()
        except PyrsiaError as error:
            raise Unavailable(f"cannot be dialled, and does not dial: {error}") from None
        finally:
            self._awaited.pop(node, None)
        self._unreached.pop(node, None)  # the next attempt is ours again
        line = self._of(node)
        if line is None:
            raise Unavailable("cannot be dialled, and does not dial")
        return line

    def _room(self, asker: NodeId | None = None) -> trio.Nursery:
        """Where a new line lives.

        Those that others asked for have half of the places. The line that was idle longest makes room; for a transfer
        of our own, and for a member's asking, also one over which a guest is only given something.

        Args:
            asker: who wants to be dialled; None where we want something.
        """
        if self._nursery is None:
            raise Unavailable("this node's data links do not run")
        if asker is not None:
            theirs = [line for line in self._dialled.values() if line.node in self._askers]
            if len(theirs) >= MAX_ASKED.value:
                self._make_way(theirs, guests=not self._links.guest(asker))
        if len(self._dialled) >= MAX_LINES.value:
            self._make_way(self._dialled.values(), guests=asker is None or not self._links.guest(asker))
        return self._nursery

    def _make_way(self, lines: Iterable[Line], *, guests: bool) -> None:
        """One of `lines` goes. `guests`: also one over which a guest is given something, if none is idle."""
        unused = [line for line in lines if not line.busy]
        may_go = [line for line in unused if not self._serves(line.key)]
        may_go = may_go or [line for line in unused if guests and self._links.guest(line.node)]
        if not may_go:
            raise Unavailable("too many data links are in use")
        self._forget(min(may_go, key=lambda line: line.used_s), "another line needs its place")

    async def _answer(self, node: NodeId, body: bytes) -> bytes:
        """What a node asks for over the control link."""
        if body == TICKET:
            port = self._links.plain_endpoint.rpartition(":")[2]
            if self._links.plain_router is None or not port.isdecimal():
                return b""
            return self._tickets.give(trio.current_time(), node) + int(port).to_bytes(2, "big")
        if body != DIAL_ME:
            raise Malformed("data link: neither a ticket nor a dial is asked for")
        line = self._dialled.get(node)
        if line is not None and line.key.startswith(PLAIN) and line.heard_s:
            self._forget(line, "the other end has dropped it")
            line = None
        if line is not None:  # it may have forgotten whose it is
            line.post(hello())
        elif self._nursery is not None and node not in self._opening:
            self._nursery.start_soon(self._dial_for, node)
        return b""

    async def _dial_for(self, node: NodeId) -> None:
        address = self._links.data_address(node)
        if address and node not in self._opening and node not in self._dialled:
            done = self._opening[node] = trio.Event()
            with contextlib.suppress(Unavailable):
                await self._dial(node, address, asked=True)
                self._askers.add(node)
            del self._opening[node]
            done.set()

    # -- living --

    async def _live(self, line: Line, sock: ZSock, monitor: ZSock) -> None:
        """Read a line that we dialled, from dial to loss."""
        try:
            with line.scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(until_lost, monitor, nursery.cancel_scope)
                    with contextlib.suppress(Unavailable):
                        while line.alive:
                            parts = sock.recv_now()
                            if parts is None:
                                line.turn()  # what all that came led to, in one ask
                                parts = await sock.recv()
                            self._take(line, parts)
                    nursery.cancel_scope.cancel()
        finally:
            if not line.heard_s:  # a plain port may be closed where the other one is open
                nobody = self._closed if line.key.startswith(PLAIN) else self._unreached
                if len(nobody) >= MAX_PEERS.value:
                    nobody.clear()
                nobody[line.node] = trio.current_time() + UNREACHED_S
            self._forget(line, "the connection broke")
            sock.close()
            monitor.close()

    async def _read(self, router: ZSock, plain: bool) -> None:
        """Read those that others dialled."""
        mark = b"p" if plain else b"c"
        heard: set[Line] = set()
        with contextlib.suppress(Unavailable):
            while True:
                message = router.recv_now()
                if message is None:
                    for line in heard:
                        line.turn()
                    heard.clear()
                    message = await router.recv()
                route, *parts = message
                taker = self._line_of(router, mark + route.bytes, route.bytes, parts[0]) if parts else None
                if taker is not None:
                    self._take(taker, parts)
                    if taker.busy:
                        heard.add(taker)

    def _line_of(self, router: ZSock, key: bytes, route: bytes, first: zmq.Frame) -> Line | None:
        """The line that a frame came over; None for a stranger, who gets nothing, not even a no."""
        line = self._held.get(key)
        if key.startswith(b"c"):
            node = self._links.node_of_curve(key_of(first))
        else:
            node = line.node if line is not None else self._bearer(first)
            if node is not None and not self._links.connected(node):
                node = None
        if node is None:
            self._links.counted["data-stranger"] += 1
            return None
        if line is not None and not line.alive:
            self._forget(line, "the connection broke")  # ended by who had no answer in time, say
            line = None
        if line is None or line.node != node:
            line = self._hold(Line(node, key, router, route, self._begin))
            self._inodes[key] = inode_of(first)
            line.expect_no_more(self._late.pop(key, 0))  # its connection is the same one, and honest
        return line

    def _bearer(self, first: zmq.Frame) -> NodeId | None:
        """Who shows a ticket of ours in the first frame of a plain connection."""
        try:
            ticket = ticket_of(first.buffer)
        except Malformed:
            return None
        return None if ticket is None else self._tickets.use(trio.current_time(), ticket)

    def _hold(self, line: Line) -> Line:
        own = [held for held in self._held.values() if held.node == line.node]
        for old in own[: max(0, len(own) + 1 - MAX_HELD_OF_NODE.value)]:
            self._forget(old, "it connected anew")
        if len(self._held) >= MAX_HELD.value:
            self._forget(next(iter(self._held.values())), "another line needs its place")
        self._held[line.key] = line
        if (awaited := self._awaited.get(line.node)) is not None:
            awaited.set()
        return line

    def _take(self, line: Line, parts: Sequence[zmq.Frame]) -> None:
        """Never raises for anything that a peer can send."""
        line.heard_s = trio.current_time()
        try:
            if len(parts) == 2:
                payload = parts[1].buffer
                chunk = chunks.chunk_of(parts[0].buffer, len(payload))
                if chunk is not None:
                    _take_chunks(line, *chunk, payload)
                    return
            if ticket_of(parts[0].buffer) is not None:
                if len(parts) > 1:
                    raise Malformed("hello: more than one frame")
                return
            if ranges.is_one(parts[0].buffer):
                self._take_range(line, ranges.decode([part.buffer for part in parts]), parts)
                return
            message = chunks.decode([part.buffer for part in parts])
            if message.type in _ASKS:
                self._asked(line, message)
            else:
                line.take(message, parts[1].buffer if len(parts) > 1 else _NOTHING)
        except Malformed as error:
            self._bad(line, error)

    def _take_range(self, line: Line, message: ranges.Message, parts: Sequence[zmq.Frame]) -> None:
        if message.type not in ranges.ASKS:
            line.take_range(message, parts[1].buffer if len(parts) > 1 else _NOTHING)
        elif self._may_ask(line):
            self._on_range(line, message)

    def _asked(self, line: Line, message: Message) -> None:
        if self._may_ask(line):
            self._on_ask(line, message)

    def _may_ask(self, line: Line) -> bool:
        if not self._links.connected(line.node):
            self._links.counted["data-stranger"] += 1
            return False
        line.used_s = line.heard_s
        return True

    def _bad(self, line: Line, error: Malformed) -> None:
        node = line.node
        self._links.counted["data-malformed"] += 1
        self._on_fault(node, f"sent garbage ({error})")
        if line.dialled or line.busy:
            self._forget(line, f"sent garbage ({error})", guilty=True)
        if len(self._faults) >= MAX_PEERS.value:
            self._faults.clear()
        self._faults[node] += 1
        if self._faults[node] >= LINK_FAULTS.value:
            del self._faults[node]
            self._links.ban(node, "data-faults")

    def _begin(self, line: Line) -> None:
        if self._nursery is not None:
            try:
                self._nursery.start_soon(line.flush)
            except RuntimeError:  # this node stops, and a transfer takes its asks back
                line.end("this node stops")

    def _forget(self, line: Line, why: str, *, guilty: bool = False) -> None:
        if self._dialled.get(line.node) is line:
            del self._dialled[line.node]
            self._askers.discard(line.node)
        held = self._held.get(line.key) is line
        if held:
            del self._held[line.key]
            self._inodes.pop(line.key, None)
        line.end(why, guilty=guilty)
        if held and line.late:
            self._late[line.key] = line.late
            if len(self._late) > MAX_HELD.value:
                self._late.popitem(last=False)

    def distrust(self, line: Line) -> None:
        """Nothing comes over it though something was asked: the next transfer gets a new one."""
        if line.alive and not line.busy:
            self._forget(line, "it is silent")

    async def _sweep(self) -> None:
        unlinked: dict[bytes, float] = {}  # since when its node has no control link, by key of a line
        while True:
            await trio.sleep(SWEEP_S)
            now_s = trio.current_time()
            lines = [*self._dialled.values(), *self._held.values()]
            was, unlinked = unlinked, {}
            for line in lines:
                if not self._links.connected(line.node):
                    unlinked[line.key] = was.get(line.key, now_s)
                # Who dialled closes it; the other end forgets it well after that.
                idle_s = IDLE_S if line.dialled else 3 * IDLE_S
                if not line.alive or now_s - unlinked.get(line.key, now_s) > UNLINKED_S:
                    self._forget(line, "it has no control link")
                elif now_s - line.used_s > idle_s and not line.busy and not self._serves(line.key):
                    self._forget(line, "it was idle")
