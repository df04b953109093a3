"""Data links: files to and from peers, chunk by chunk, on sockets of their own so that no vote waits.

`DataPlane` is the face. Serving is in serving.py; which chunk to ask of whom is `transfer/swarm.py`'s
business; here its effects meet sockets. For each file and source there is one DEALER, made for the
transfer and closed after it: a connection takes 1 or 2 ms, the time of a few chunks, and an idle one
would hold three descriptors, an agreement about what is still owed, and a queue of 8 MiB.

A source that lies, stalls, sends garbage or vanishes costs time, never truth, and never raises out of a
task. Who lied is named, and not asked again for ten minutes. It is not banned: a validator with a bad
disk still has its vote.

Source: docs/network.md, "Data links", "ZeroMQ from trio".
"""

import contextlib
import logging
import secrets
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Final

import trio
import zmq

from pyrsia.errors import Malformed, Unavailable
from pyrsia.net.links import Links
from pyrsia.net.serving import Counters, Offered, Served, Server
from pyrsia.net.sockets import until_lost
from pyrsia.net.zsock import ZSock
from pyrsia.transfer import swarm
from pyrsia.transfer.buckets import Flow
from pyrsia.transfer.manifest import Manifest, id_of
from pyrsia.transfer.picking import Places
from pyrsia.transfer.sharing import Askers
from pyrsia.transfer.swarm import Effect, Swarm
from pyrsia.units import CHUNK_BYTES, DATA_HWM, MAX_FETCHES, MAX_PEERS, PEER_CREDIT_BYTES, NodeId
from pyrsia.wire import chunks
from pyrsia.wire.chunks import Message, Type
from pyrsia.wire.text import b32

__all__ = ["Counters", "DataPlane", "Served"]

LIAR_S: Final = 600.0  # long enough to make lying pointless, short enough for a repaired disk
ANSWER_S: Final = 6.0  # for a manifest: to connect, and 2 MiB
STAGGER_S: Final = 0.5  # before the next source is asked for a manifest as well
FIND_S: Final = 5.0  # between two searches for further sources
FIND_WAIT_S: Final = 5.0  # for what a search tells
ASKS: Final = 4 * PEER_CREDIT_BYTES.value // CHUNK_BYTES.value  # GET and CANCEL on their way to one source

_log = logging.getLogger("pyrsia.data")

Write = Callable[[int, bytes], None]
Find = Callable[[], Awaitable[Sequence[NodeId]]]
Nodes = Callable[[], Sequence[NodeId]]
Usable = Callable[[Sequence[NodeId]], Sequence[NodeId]]
Talk = Callable[[ZSock, trio.Nursery], Awaitable[None]]


class DataPlane:
    """What one node gives and takes over data links.

    Args:
        links: of the same node; opened before `run`, running while anything is fetched.
        offered: (asking node, manifest id) -> what that node may have, or None. Called for every ask.
        up, down: this node's own limits; none by default.
    """

    def __init__(
        self, links: Links, offered: Offered, *, up: Flow | None = None, down: Flow | None = None
    ) -> None:
        self.down = down
        self.counters = Counters()
        self._links = links
        self._server = Server(links, offered, self.counters, up)
        self._liars: dict[NodeId, float] = {}  # until when they are not asked
        self._slots = trio.CapacityLimiter(MAX_FETCHES.value)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve on `links.data_router` until cancelled or until the links close."""
        router = self._links.data_router
        if router is None:
            raise ValueError("the links have no data socket, or are not open yet")
        await self._server.run(router, task_status=task_status)

    async def manifest(self, manifest_id: bytes, sources: Sequence[NodeId]) -> Manifest:
        """The manifest with this id, from the first of `sources` that gives it.

        Raises:
            Unavailable: none of them does; the text names each with its reason.
        """
        reasons: dict[NodeId, str] = {}
        async with self._slots:
            finder = _Finder(self._links, manifest_id, reasons, self._accuse)
            found = await finder.run(self._candidates(sources))
        if found is None:
            raise Unavailable(f"nobody gives the manifest {manifest_id.hex()}: {_told(reasons.items())}")
        return found

    async def fetch(
        self,
        manifest: Manifest,
        sources: Sequence[NodeId],
        write: Write,
        *,
        held: int = 0,
        ordered: bool = False,
        places: Places | None = None,
        find: Find | None = None,
    ) -> None:
        """Bring the chunks of `manifest` from several of `sources` at once.

        Args:
            write: called with (offset, bytes) of each chunk, in any order, once, after it was verified.
                What it raises ends the transfer and reaches the caller.
            held: bit i is set for each chunk that is here already (resume).
            ordered: somebody reads along: the earlier chunks first.
            places: the chunks at which readers wait now, in place of `ordered`.
            find: tells further sources; called at once, then every few seconds while the transfer runs.

        Raises:
            Unavailable: no source is left; the text names each with its reason.
        """
        async with self._slots:
            core = Swarm(
                manifest, self._candidates(sources), secrets.SystemRandom(), held,
                ordered=ordered, places=places, down=self.down, seeking=find is not None, me=self._links.node,
            )  # fmt: skip
            run = _Download(self._links, manifest, core, write, self.counters, self._accuse)
            await run.run(find, lambda: self._may_help(self._server.askers, manifest.id), self._candidates)

    def _may_help(self, askers: Askers, manifest_id: bytes) -> Sequence[NodeId]:
        """Who asked this node for the file lately: they fetch it too."""
        return self._candidates(askers.fetching(trio.current_time(), manifest_id))

    def _candidates(self, sources: Sequence[NodeId]) -> list[NodeId]:
        """Each source once, connected ones first, without ourselves and those that lied lately."""
        now_s = trio.current_time()
        self._liars = {node: until_s for node, until_s in self._liars.items() if until_s > now_s}
        nodes = [n for n in dict.fromkeys(sources) if n != self._links.node and n not in self._liars]
        return sorted(nodes, key=lambda node: not self._links.connected(node))[: MAX_PEERS.value]

    def _accuse(self, node: NodeId, why: str) -> None:
        _log.warning("%s %s; it is not asked for a while", b32(node)[:8], why)
        self.counters.liars[node] = why
        self._liars[node] = trio.current_time() + LIAR_S


Accuse = Callable[[NodeId, str], None]


class _Download:
    """Runs one `Swarm`: its effects become messages, sockets and writes."""

    def __init__(
        self,
        links: Links,
        manifest: Manifest,
        core: Swarm,
        write: Write,
        counters: Counters,
        accuse: Accuse,
    ) -> None:
        self._links = links
        self._id = manifest.id
        self._core = core
        self._write = write
        self._counters = counters
        self._accuse = accuse
        self._scopes: dict[NodeId, trio.CancelScope] = {}
        self._asks: dict[NodeId, trio.MemorySendChannel[Message]] = {}
        self._wake_s = 0.0
        self._nursery: trio.Nursery | None = None
        self._usable: Usable = list
        self._over = False
        self._error: Exception | None = None

    async def run(self, find: Find | None, askers: Nodes, usable: Usable) -> None:
        """Until the file is here. Raises what ended it otherwise.

        Args:
            askers: who asks this node for the file meanwhile.
            usable: those of some nodes that may be asked.
        """
        self._usable = usable
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            if find is not None:
                nursery.start_soon(self._seek, find)
            self._do(self._core.on_start(trio.current_time()))
            while not self._over:
                await trio.sleep_until(self._wake_s)
                self._learn(askers())
                self._do(self._core.on_timer(trio.current_time()))
        self._counters.duplicates += self._core.duplicates
        if self._error is not None:
            raise self._error

    async def _seek(self, find: Find) -> None:
        while True:
            with trio.move_on_after(FIND_WAIT_S):
                self._learn(self._usable(await find()))
            self._do(self._core.on_sought(trio.current_time()))
            await trio.sleep(FIND_S)

    def _learn(self, nodes: Sequence[NodeId], teller: NodeId | None = None) -> None:
        for node in nodes:
            self._do(self._core.on_source(trio.current_time(), node, teller))

    def _do(self, effects: Sequence[Effect]) -> None:
        """Run `effects` in order, and what follows from them."""
        waiting = deque(effects)
        while waiting and not self._over:
            waiting.extend(self._do_one(waiting.popleft()))

    def _do_one(self, effect: Effect) -> Sequence[Effect]:
        match effect:
            case swarm.Open(node):
                if self._nursery is not None:
                    self._nursery.start_soon(self._talk_to, node)
            case swarm.Ask(node, wanted):
                return self._post(node, Message(Type.GET, self._id, wanted))
            case swarm.Cancel(node, unwanted):
                return self._post(node, Message(Type.CANCEL, self._id, unwanted))
            case swarm.Look(node):
                return self._post(node, Message(Type.WANT_HAVE, self._id))
            case swarm.Write():
                self._keep(effect)
            case swarm.Drop(node, why, guilty):
                if guilty:
                    self._accuse(node, why)
                self._let_go(node)
            case swarm.WakeAt(at_s):
                self._wake_s = at_s
            case swarm.Done():
                self._end(None)
            case swarm.Failed(why):
                self._end(Unavailable(f"no source of the file is left: {_told(why)}"))
        return ()

    def _keep(self, chunk: swarm.Write) -> None:
        data = bytes(chunk.data)
        try:
            self._write(chunk.offset, data)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the caller's and goes back to it
            self._end(error)
            return
        counters = self._counters
        counters.chunks_received += 1
        counters.bytes_received += len(data)
        counters.received_from[chunk.source] = counters.received_from.get(chunk.source, 0) + len(data)

    def _end(self, error: Exception | None) -> None:
        self._over, self._error = True, error
        if self._nursery is not None:
            self._nursery.cancel_scope.cancel()

    def _post(self, node: NodeId, message: Message) -> Sequence[Effect]:
        try:
            self._asks[node].send_nowait(message)
        except (KeyError, trio.WouldBlock, trio.BrokenResourceError):
            self._let_go(node)
            return self._core.on_lost(trio.current_time(), node, "takes no more asks")
        return ()

    def _let_go(self, node: NodeId) -> None:
        scope = self._scopes.pop(node, None)
        if scope is not None:
            scope.cancel()
        self._asks.pop(node, None)

    # -- one source --

    async def _talk_to(self, node: NodeId) -> None:
        """One connection from dial to loss."""

        async def talk(sock: ZSock, nursery: trio.Nursery) -> None:
            self._scopes[node] = nursery.cancel_scope
            asks, asked = trio.open_memory_channel[Message](ASKS)
            self._asks[node] = asks
            nursery.start_soon(_send_asks, sock, asked, Message(Type.WANT_HAVE, self._id))
            while True:
                self._do(self._take(node, await sock.recv()))

        why = await _converse(self._links, node, talk)
        self._do(self._core.on_lost(trio.current_time(), node, why))

    def _take(self, node: NodeId, frames: Sequence[zmq.Frame]) -> Sequence[Effect]:
        """What a message of `node` leads to."""
        core, now_s = self._core, trio.current_time()
        try:
            message = chunks.decode([frame.buffer for frame in frames])
            if message.manifest_id != self._id:
                raise Malformed("chunks: of another file")
            match message.type:
                case Type.CHUNK:
                    return core.on_chunk(now_s, node, message.chunks[0], frames[1].buffer)
                case Type.HAVE:
                    return core.on_have(now_s, node, message.count, chunks.held_of(message))
                case Type.ALSO:
                    self._learn(self._usable(message.nodes), node)
                    return ()
                case Type.NAK:
                    return core.on_nak(now_s, node, message.chunks)
                case Type.BUSY:
                    return core.on_busy(now_s, node, message.chunks)
                case _:
                    raise Malformed(f"chunks: a {message.type.name} is no answer")
        except Malformed as error:
            return core.on_fault(now_s, node, f"sent garbage ({error})")


class _Finder:
    """Looks for one manifest: source after source, the next one sooner if the last is slow."""

    def __init__(self, links: Links, ident: bytes, reasons: dict[NodeId, str], accuse: Accuse) -> None:
        self._links = links
        self._id = ident
        self._reasons = reasons
        self._accuse = accuse
        self._found: Manifest | None = None

    async def run(self, sources: Sequence[NodeId]) -> Manifest | None:
        async with trio.open_nursery() as nursery:
            for node in sources:
                over = trio.Event()
                nursery.start_soon(self._ask, node, over, nursery.cancel_scope)
                with trio.move_on_after(STAGGER_S):
                    await over.wait()
        return self._found

    async def _ask(self, node: NodeId, over: trio.Event, scope: trio.CancelScope) -> None:
        async def talk(sock: ZSock, _: trio.Nursery) -> None:
            await sock.send([chunks.encode(Message(Type.WANT_MANIFEST, self._id))])
            self._take(node, await sock.recv())

        why = "did not answer"
        with trio.move_on_after(ANSWER_S):
            why = await _converse(self._links, node, talk)
        if why:
            self._reasons[node] = why
        if self._found is not None:
            scope.cancel()
        over.set()

    def _take(self, node: NodeId, frames: Sequence[zmq.Frame]) -> None:
        try:
            message = chunks.decode([frame.buffer for frame in frames])
            if message.manifest_id != self._id or message.type not in (Type.MANIFEST, Type.NAK):
                raise Malformed("chunks: no answer to what was asked")
        except Malformed as error:
            self._lie(node, f"sent garbage ({error})")
            return
        if message.type is Type.NAK:
            self._reasons[node] = "does not offer it"
            return
        data = frames[1].bytes
        if id_of(data) != self._id:
            self._lie(node, "sent another manifest than was asked for")
            return
        try:
            self._found = Manifest.decode(data)
        except Malformed as error:  # whoever named it is to blame, not who keeps it
            self._reasons[node] = str(error)

    def _lie(self, node: NodeId, why: str) -> None:
        self._reasons[node] = why
        self._accuse(node, why)


async def _converse(links: Links, node: NodeId, talk: Talk) -> str:
    """Connect to the data address of `node` and run `talk`; why it ended, empty when `talk` returned."""
    address = links.data_address(node) if links.connected(node) else ""
    if not address:
        return "is not connected, or serves no files"
    try:
        sock, monitor = links.client(node, address, frame_bytes=chunks.FRAME_BYTES, hwm=DATA_HWM.value)
    except Unavailable as error:
        return str(error)
    why = "the connection broke"
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(until_lost, monitor, nursery.cancel_scope)
            try:
                await talk(sock, nursery)
                why = ""
            except Unavailable as error:
                why = str(error)
            nursery.cancel_scope.cancel()
    finally:
        sock.close()
        monitor.close()
    return why


async def _send_asks(sock: ZSock, asked: trio.MemoryReceiveChannel[Message], first: Message) -> None:
    with contextlib.suppress(Unavailable):
        await sock.send([chunks.encode(first)])
        async for message in asked:
            await sock.send([chunks.encode(message)])


def _told(reasons: Iterable[tuple[NodeId, str]]) -> str:
    """Who did not help and why, for a person."""
    return "; ".join(f"{b32(node)[:8]} {why}" for node, why in reasons) or "nobody is left to ask"
