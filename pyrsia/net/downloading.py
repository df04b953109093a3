"""One file from several nodes: the effects of a `Swarm` become asks over lines and writes, answers become events.

A manifest is looked for from source to source, and the first chunk is asked for with it: a file of one chunk takes one
round trip in all, and of a large one the first byte is here when its length is.

A source that lies, stalls or vanishes costs time, never truth, and never raises out of a task.

Source: docs/network.md, "Data links", "The swarm".
"""

from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Final

import trio

from pyrsia.errors import Malformed, Unavailable
from pyrsia.net.counting import Counters
from pyrsia.net.datalinks import DataLinks
from pyrsia.net.lines import Talk
from pyrsia.transfer import swarm
from pyrsia.transfer.manifest import Manifest, id_of
from pyrsia.transfer.swarm import Effect, Swarm
from pyrsia.units import NodeId
from pyrsia.wire import chunks
from pyrsia.wire.chunks import Message, Type
from pyrsia.wire.text import b32

ANSWER_S: Final = 6.0  # for a manifest: to connect, and 2 MiB
STAGGER_S: Final = 0.5  # before the next source is asked for a manifest as well
EARLY_S: Final = 2.0  # for a first chunk that follows its manifest; at 1 Mbit/s it takes as long
EARLY_KEPT_S: Final = (
    10.0  # between a manifest and the fetch that it is for lie a check and a file that is made
)
FIND_S: Final = 5.0  # between two searches for further sources
FIND_WAIT_S: Final = 5.0  # for what a search tells

Write = Callable[[int, bytes | memoryview], None]
Find = Callable[[], Awaitable[Sequence[NodeId]]]
Nodes = Callable[[], Sequence[NodeId]]
Usable = Callable[[Sequence[NodeId]], Sequence[NodeId]]
Accuse = Callable[[NodeId, str], None]


class Download:
    """Runs one `Swarm`."""

    def __init__(
        self,
        lines: DataLinks,
        manifest: Manifest,
        core: Swarm,
        write: Write,
        counters: Counters,
        accuse: Accuse,
    ) -> None:
        self._lines = lines
        self._id = manifest.id
        self._core = core
        self._write = write
        self._counters = counters
        self._accuse = accuse
        self._talks: dict[NodeId, Talk] = {}
        self._wake_s = 0.0
        self._nursery: trio.Nursery | None = None
        self._usable: Usable = list
        self._waiting: deque[Effect] | None = None  # while effects run
        self._over = False
        self._error: Exception | None = None

    async def run(self, find: Find | None, askers: Nodes, usable: Usable) -> None:
        """Until the file is here. Raises what ended it otherwise.

        Args:
            askers: who asks this node for the file meanwhile.
            usable: those of some nodes that may be asked.
        """
        self._usable = usable
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                if find is not None:
                    nursery.start_soon(self._seek, find)
                self._do(self._core.on_start(trio.current_time()))
                while not self._over:
                    await trio.sleep_until(self._wake_s)
                    self._learn(askers())
                    self._do(self._core.on_timer(trio.current_time()))
        finally:
            self._over = True
            for talk in [*self._talks.values()]:
                talk.close()
            self._talks.clear()
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

    # -- effects --

    def _do(self, effects: Sequence[Effect]) -> None:
        """Run `effects` in order, and what follows from them. What comes back meanwhile takes its turn behind them."""
        if self._waiting is not None:
            self._waiting.extend(effects)
            return
        self._waiting = deque(effects)
        try:
            while self._waiting and not self._over:
                self._do_one(self._waiting.popleft())
        finally:
            self._waiting = None

    def _do_one(self, effect: Effect) -> None:
        match effect:
            case swarm.Write():
                self._keep(effect)
            case swarm.Ask(node, wanted):
                self._say(node, lambda talk: talk.get(wanted))
            case swarm.Open(node):
                if self._nursery is not None:
                    self._nursery.start_soon(self._open, node)
            case swarm.Cancel(node, unwanted):
                self._say(node, lambda talk: talk.cancel(unwanted))
            case swarm.Look(node):
                self._say(node, Talk.want_have)
            case swarm.Drop(node, why, guilty, odd):
                if guilty:
                    self._accuse(node, why)
                elif odd:
                    self._counters.on_odd(node, why)
                self._let_go(node)
            case swarm.WakeAt(at_s):
                self._wake_s = at_s
            case swarm.Done():
                self._end(None)
            case swarm.Failed(why):
                self._end(Unavailable(f"no source of the file is left: {told(why)}"))

    def _keep(self, chunk: swarm.Write) -> None:
        """Straight from where ZeroMQ has it: whoever writes keeps no hold on the bytes."""
        try:
            self._write(chunk.offset, chunk.data)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the caller's and goes back to it
            self._end(error)
            return
        self._counters.received(chunk.source, len(chunk.data))

    def _end(self, error: Exception | None) -> None:
        self._over, self._error = True, error
        if self._nursery is not None:
            self._nursery.cancel_scope.cancel()

    def _say(self, node: NodeId, say: Callable[[Talk], None]) -> None:
        talk = self._talks.get(node)
        if talk is not None:
            say(talk)
        else:
            self._do(self._core.on_lost(trio.current_time(), node, "the connection broke"))

    def _let_go(self, node: NodeId) -> None:
        talk = self._talks.pop(node, None)
        if talk is not None:
            silent = talk.outstanding and trio.current_time() - talk.line.heard_s > STAGGER_S
            talk.close()
            if silent:
                self._lines.distrust(talk.line)

    # -- one source --

    async def _open(self, node: NodeId) -> None:
        try:
            line = await self._lines.line(node)
        except Unavailable as error:
            self.lost(node, str(error), guilty=False)
            return
        self._let_go(node)
        talk = self._talks[node] = line.talk(self._id, self)
        talk.want_have()

    def lost(self, node: NodeId, why: str, *, guilty: bool) -> None:
        """The line is gone (`lines.Listener`)."""
        self._talks.pop(node, None)
        event = self._core.on_fault if guilty else self._core.on_lost
        self._do(event(trio.current_time(), node, why))

    def take_chunk(self, node: NodeId, number: int, payload: memoryview) -> None:
        """A chunk of `node` (`lines.Listener`)."""
        self._do(self._core.on_chunk(trio.current_time(), node, number, payload))

    def take(self, node: NodeId, message: Message, payload: memoryview) -> None:
        """What any other answer of `node` leads to (`lines.Listener`)."""
        core, now_s = self._core, trio.current_time()
        match message.type:
            case Type.HAVE:
                self._do(core.on_have(now_s, node, message.count, chunks.held_of(message)))
            case Type.ALSO:
                self._learn(self._usable(message.nodes), node)
            case Type.NAK:
                if not message.chunks:
                    self._counters.on_nothing(node, self._id)
                self._do(core.on_nak(now_s, node, message.chunks))
            case _:
                self._do(core.on_busy(now_s, node, message.chunks))


class Early:
    """The first chunk of a file, asked of `node` together with the manifest."""

    def __init__(self, node: NodeId) -> None:
        self.node = node
        self.talk: Talk | None = None
        self.data = b""
        self.until_s = trio.current_time() + EARLY_KEPT_S
        self._over = trio.Event()

    async def wait(self) -> bytes:
        """Its bytes, not checked; none if it does not come."""
        try:
            with trio.move_on_after(EARLY_S):
                await self._over.wait()
        finally:
            self.close()  # also for who is cancelled here: a talk that is left open keeps its line and a credit
        return self.data

    def came(self, data: bytes) -> None:
        """It is here, or (no bytes) will not come."""
        self.data = data
        self._over.set()
        self.settle()

    def settle(self) -> None:
        """Ask and hear no more, if both answers are here: a line that nobody uses is closed some time."""
        if self.talk is not None and not self.talk.manifests and self._over.is_set():
            self.talk.close()

    def close(self) -> None:
        self._over.set()
        if self.talk is not None:
            self.talk.close()


class _Question:
    """A manifest asked of one source, and the first chunk with it."""

    def __init__(self, finder: "Finder", node: NodeId) -> None:
        self.over = trio.Event()  # it has answered, or will not
        self.early = Early(node)
        self._finder = finder

    def take_chunk(self, node: NodeId, number: int, payload: memoryview) -> None:
        self.early.came(bytes(payload))

    def take(self, node: NodeId, message: Message, payload: memoryview) -> None:
        match message.type:
            case Type.MANIFEST:
                self._finder.judge(node, bytes(payload), self.early)
                self.early.settle()
                self.over.set()
            case _:
                self.early.came(b"")
                if not message.chunks:
                    self._finder.reasons[node] = "does not offer it"
                    self._finder.without.append(node)
                    self.over.set()

    def lost(self, node: NodeId, why: str, *, guilty: bool) -> None:
        self.early.came(b"")
        self._finder.reasons.setdefault(node, why)
        if guilty:
            self._finder.lie(node, why)
        self.over.set()


class Finder:
    """Looks for one manifest: source after source, the next one sooner if the last is slow.

    Attributes:
        reasons: why each source did not give it.
        without: those that said that they do not have it.
        found: the manifest, and the first chunk, which may be on its way.
    """

    def __init__(self, lines: DataLinks, ident: bytes, accuse: Accuse) -> None:
        self._lines = lines
        self._id = ident
        self._accuse = accuse
        self.reasons: dict[NodeId, str] = {}
        self.without: list[NodeId] = []
        self.found: tuple[Manifest, Early] | None = None

    async def run(self, sources: Sequence[NodeId]) -> None:
        over = False
        try:
            await self._run(sources)
            over = True
        finally:
            if not over and self.found is not None:
                self.found[1].close()

    async def _run(self, sources: Sequence[NodeId]) -> None:
        async with trio.open_nursery() as nursery:
            for node in sources:
                question = _Question(self, node)
                nursery.start_soon(self._ask, question, node, nursery.cancel_scope)
                with trio.move_on_after(STAGGER_S):
                    await question.over.wait()
                if self.found is not None:
                    break

    async def _ask(self, question: _Question, node: NodeId, scope: trio.CancelScope) -> None:
        early = question.early
        try:
            with trio.move_on_after(ANSWER_S) as patience:
                line = await self._lines.line(node)
                talk = early.talk = line.talk(self._id, question)
                talk.want_manifest()
                talk.get((0,))
                await question.over.wait()
            if patience.cancelled_caught:
                self.reasons.setdefault(node, "did not answer")
        except Unavailable as error:
            self.reasons[node] = str(error)
        finally:
            if self.found is None or self.found[1] is not early:
                early.close()
                if early.talk is not None and not question.over.is_set():
                    self._lines.distrust(early.talk.line)
            question.over.set()
        if self.found is not None:
            scope.cancel()

    def judge(self, node: NodeId, data: bytes, early: Early) -> None:
        """`node` says that `data` is the manifest."""
        if id_of(data) != self._id:
            self.lie(node, "sent another manifest than was asked for")
            return
        try:
            manifest = Manifest.decode(data)
        except Malformed as error:  # whoever named it is to blame, not who keeps it
            self.reasons[node] = str(error)
            return
        if self.found is None:
            self.found = manifest, early

    def lie(self, node: NodeId, why: str) -> None:
        self.reasons[node] = why
        self._accuse(node, why)


def told(reasons: Iterable[tuple[NodeId, str]]) -> str:
    """Who did not help and why, for a person."""
    return "; ".join(f"{b32(node)[:8]} {why}" for node, why in reasons) or "nobody is left to ask"
