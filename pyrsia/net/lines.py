"""One data connection with one node, kept open: what is asked over it, and to whom each answer belongs.

Both ends ask and both answer. Several files go over a line at once; each message names its file by manifest id, and
each transfer has a `Talk`, which knows what it asked for and so which answers are its own. Decided here: how many
chunks one node may owe us over a line (further GETs wait, and files take turns), and what an answer that nobody waits
for is: late as long as we asked for so much and did not get it, a fault beyond that. Left out: who opens and closes
lines (`datalinks`), which chunk to ask of whom (`transfer/swarm.py`), what is given (`serving`).

Source: docs/network.md, "Data links".
"""

from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from typing import Final, Protocol

import trio
import zmq

from pyrsia.errors import Malformed, Unavailable
from pyrsia.net.zsock import RETRY_S, ZSock
from pyrsia.units import MAX_ASK_CHUNKS, UPLOAD_QUEUE_CHUNKS, Limit, NodeId
from pyrsia.wire import chunks, ranges
from pyrsia.wire.chunks import Message, Type

LINE_CHUNKS: Final = (
    UPLOAD_QUEUE_CHUNKS.value
)  # asked for over one line and not here; the other end refuses more
ROUND_CHUNKS: Final = (
    4  # asked for together where answers come in a row: each message wakes a thread at both ends
)
RANGES_AT_ONCE: Final = 5  # a recipe and stretches that one transfer waits for (`stretches`)
MAX_WAITING = Limit(4_096, "asks that wait in one line: every chunk of sixteen files' credit, with cancels")

# The first frame of a connection, and of one that shall show that it lives: `type u8 | proto u8 | ticket [32]`.
HELLO: Final = 64
NO_TICKET: Final = bytes(32)
HELLO_BYTES: Final = 34


def hello(ticket: bytes = NO_TICKET) -> bytes:
    return bytes((HELLO, chunks.PROTO)) + ticket


def ticket_of(frame: bytes | memoryview) -> bytes | None:
    """The ticket of a HELLO; None for any other frame.

    Raises:
        Malformed: it begins like one and is none.
    """
    if not len(frame) or frame[0] != HELLO:
        return None
    if len(frame) != HELLO_BYTES or frame[1] != chunks.PROTO:
        raise Malformed("hello: not its length, or another protocol")
    return bytes(frame[2:])


class Listener(Protocol):
    """Who talks over a line."""

    def take_chunk(self, node: NodeId, number: int, payload: memoryview) -> None:
        """A chunk that was asked for."""
        ...

    def take(self, node: NodeId, message: Message, payload: memoryview) -> None:
        """Any other answer to what was asked; the payload is empty where the message has none."""
        ...

    def lost(self, node: NodeId, why: str, *, guilty: bool) -> None:
        """The line is gone, and with it all that was asked. `guilty`: no honest node did what this one did."""
        ...


class RangeListener(Protocol):
    """Who asks for the recipe and for stretches of one file over a line."""

    def take_range(self, message: ranges.Message, payload: memoryview) -> None:
        """An answer to one of its asks."""
        ...


class Talk:
    """What one transfer asks over one line, and what may still come of it. Made by `Line.talk`, ended by `close`."""

    __slots__ = (
        "active", "also", "closed", "expected", "haves", "line", "listener", "manifest_id", "manifests", "queue",
    )  # fmt: skip

    def __init__(self, line: "Line", manifest_id: bytes, listener: Listener) -> None:
        self.line = line
        self.manifest_id = manifest_id
        self.listener = listener
        self.active: set[int] = set()  # asked for, not here, not cancelled
        self.expected: Counter[int] = Counter()  # chunk -> answers that may still come
        self.haves = self.also = self.manifests = 0  # the same for other answers
        self.queue: deque[int] = deque(
            maxlen=MAX_WAITING.value
        )  # chunks to ask for, waiting for credit or company
        self.closed = False

    def want_manifest(self) -> None:
        self.manifests += 1
        self.line.ask(Message(Type.WANT_MANIFEST, self.manifest_id))

    def want_have(self) -> None:
        self.haves += 1
        self.line.ask(Message(Type.WANT_HAVE, self.manifest_id))

    def get(self, wanted: tuple[int, ...]) -> None:
        self.line.get(self, wanted)

    def cancel(self, unwanted: Sequence[int]) -> None:
        """These are not needed any more; they may come all the same."""
        self.line.cancel(self, unwanted)

    def close(self) -> None:
        """Nothing more is asked or heard. Calling it twice is harmless."""
        self.line.close_talk(self)

    @property
    def outstanding(self) -> int:
        """Answers that may still come."""
        return sum(self.expected.values()) + 2 * self.haves + self.also + self.manifests


class Line:
    """One connection.

    Args:
        key: names it on this node; never used again.
        route: of the other end on a ROUTER; empty where we dialled.
        begin: starts a task that ends no later than the line.
    """

    def __init__(
        self, node: NodeId, key: bytes, sock: ZSock, route: bytes, begin: Callable[["Line"], None]
    ) -> None:
        self.node = node
        self.key = key
        self.alive = True
        self.heard_s = 0.0  # when anything came last; 0: never
        self.used_s = trio.current_time()
        self.scope = trio.CancelScope()  # of whoever reads it, where we dialled
        self._sock = sock
        self._prefix = [route] if route else []
        self._begin = begin
        self._talks: dict[bytes, list[Talk]] = {}
        self.range_listeners: dict[bytes, RangeListener] = {}  # by manifest id
        self._turns: deque[Talk] = deque(maxlen=MAX_WAITING.value)  # those whose GETs wait
        self._owed = 0
        self._taking = False
        self._room = 0  # answers that may come though nobody waits for them any more
        self._out: deque[bytes] = deque(maxlen=MAX_WAITING.value)
        self._flushing = False

    @property
    def dialled(self) -> bool:
        return not self._prefix

    @property
    def busy(self) -> bool:
        """Whether a transfer of ours uses it."""
        return bool(self._talks)

    # -- asking --

    def talk(self, manifest_id: bytes, listener: Listener) -> Talk:
        """Begin to ask for a file."""
        talk = Talk(self, manifest_id, listener)
        self._talks.setdefault(manifest_id, []).append(talk)
        self.used_s = trio.current_time()
        return talk

    def ask(self, message: Message) -> None:
        self.post(chunks.encode(message))

    def get(self, talk: Talk, wanted: tuple[int, ...]) -> None:
        """Ask for these at once; while answers are taken, together with what they lead to."""
        if not talk.queue:
            self._turns.append(talk)
        talk.queue.extend(wanted)
        if not self._taking or len(talk.queue) >= ROUND_CHUNKS:
            self.turn()

    def cancel(self, talk: Talk, unwanted: Sequence[int]) -> None:
        if talk.queue:
            gone = frozenset(unwanted)
            kept = [number for number in talk.queue if number not in gone]
            talk.queue.clear()
            talk.queue.extend(kept)
            if not kept:
                self._turns.remove(talk)
        sent = talk.active.intersection(unwanted)
        self._settle(talk, sent)
        self._tell_off(talk.manifest_id, sent)
        if not self._taking:
            self.turn()

    def close_talk(self, talk: Talk) -> None:
        if talk.closed:
            return
        talk.closed = True
        if talk.queue:
            self._turns.remove(talk)
            talk.queue.clear()
        self._tell_off(talk.manifest_id, talk.active)
        self._settle(talk, tuple(talk.active))
        self._room += talk.outstanding
        self.turn()
        talks = self._talks.get(talk.manifest_id, [])
        if talk in talks:
            talks.remove(talk)
            if not talks:
                del self._talks[talk.manifest_id]
        self.used_s = trio.current_time()

    def _tell_off(self, manifest_id: bytes, unwanted: Iterable[int]) -> None:
        numbers, step = sorted(unwanted), MAX_ASK_CHUNKS.value
        for at in range(0, len(numbers) if self.alive else 0, step):
            self.ask(Message(Type.CANCEL, manifest_id, tuple(numbers[at : at + step])))

    def turn(self) -> None:
        """Ask for the chunks that there is credit for; files take turns."""
        while self._turns and self.alive and self._owed < LINE_CHUNKS:
            talk = self._turns.popleft()
            count = min(len(talk.queue), MAX_ASK_CHUNKS.value, LINE_CHUNKS - self._owed)
            wanted = tuple(dict.fromkeys(talk.queue.popleft() for _ in range(count)))
            if talk.queue:
                self._turns.append(talk)
            self._owed += len(talk.active.symmetric_difference(wanted) - talk.active)
            talk.active.update(wanted)
            talk.expected.update(wanted)
            self.ask(Message(Type.GET, talk.manifest_id, wanted))

    def _settle(self, talk: Talk, numbers: Iterable[int]) -> None:
        for number in numbers:
            if number in talk.active:
                talk.active.discard(number)
                self._owed -= 1

    # -- answers --

    def take(self, message: Message, payload: memoryview) -> None:
        """Hand an answer to whom it belongs.

        Raises:
            Malformed: nobody asked for so much.
        """
        self._taking = True
        try:
            self._hand_over(message, payload)
        finally:
            self._taking = False

    def take_chunk(self, manifest_id: bytes, number: int, payload: memoryview) -> None:
        """The same for a chunk: nearly all that comes.

        Raises:
            Malformed: nobody asked for it.
        """
        for talk in self._talks.get(manifest_id, ()):
            left = talk.expected.get(number)
            if left is None:
                continue
            if left > 1:
                talk.expected[number] = left - 1
            else:
                del talk.expected[number]
            if number in talk.active:
                talk.active.discard(number)
                self._owed -= 1
            self._taking = True
            try:
                talk.listener.take_chunk(self.node, number, payload)
            finally:
                self._taking = False
            return
        self._stray(1)

    def _hand_over(self, message: Message, payload: memoryview) -> None:
        talks = tuple(self._talks.get(message.manifest_id, ()))
        match message.type:
            case Type.NAK | Type.BUSY if message.chunks:
                self._take_numbered(talks, message, payload)
            case Type.NAK:
                for talk in talks:
                    talk.listener.take(self.node, message, payload)
                if not talks:
                    self._stray(1)
            case _:
                self._take_word(talks, message, payload)

    def _take_numbered(self, talks: Sequence[Talk], message: Message, payload: memoryview) -> None:
        left = list(message.chunks)
        for talk in talks:
            mine = tuple(number for number in left if talk.expected.get(number, 0) > 0)
            if not mine:
                continue
            left = [number for number in left if number not in mine]
            for number in mine:
                talk.expected[number] -= 1
                if not talk.expected[number]:
                    del talk.expected[number]
            self._settle(talk, mine)
            own = (
                message
                if len(mine) == len(message.chunks)
                else Message(message.type, message.manifest_id, mine)
            )
            talk.listener.take(self.node, own, payload)
            if not left:
                break
        self._stray(len(left))

    def _take_word(self, talks: Sequence[Talk], message: Message, payload: memoryview) -> None:
        """A HAVE, an ALSO or a MANIFEST: to the first that waits for one."""
        for talk in talks:
            if message.type is Type.HAVE and talk.haves:
                talk.haves -= 1
                talk.also += 1
            elif message.type is Type.ALSO and talk.also:
                talk.also -= 1
            elif message.type is Type.MANIFEST and talk.manifests:
                talk.manifests -= 1
            else:
                continue
            talk.listener.take(self.node, message, payload)
            return
        self._stray(1)

    def take_range(self, message: ranges.Message, payload: memoryview) -> None:
        """
        Raises:
            Malformed: nobody asks for such a thing.
        """
        listener = self.range_listeners.get(message.manifest_id)
        if listener is not None:
            listener.take_range(message, payload)
        else:
            self._stray(1)

    def stray(self) -> None:
        """An answer that came late or to nobody.

        Raises:
            Malformed: one too many.
        """
        self._stray(1)

    def expect_no_more(self, count: int) -> None:
        """So many answers may still come that nobody waits for."""
        self._room += count

    @property
    def late(self) -> int:
        """Answers that may still come, of a line that was ended while its connection lives on."""
        return self._room

    def _stray(self, count: int) -> None:
        self._room -= count
        if self._room < 0:
            raise Malformed("chunks: an answer that nobody asked for")

    # -- bytes --

    def post(self, frame: bytes) -> None:
        """Send one short message now, or as soon as there is room."""
        if not self.alive:
            return
        if not self._out and self._sock.send_now([*self._prefix, frame]):
            return
        if len(self._out) >= MAX_WAITING.value:
            self.end("takes no more asks")
            return
        self._out.append(frame)
        if not self._flushing:
            self._flushing = True
            self._begin(self)

    async def flush(self) -> None:
        """Send what waits. Run by whom `begin` starts."""
        try:
            while self._out and self.alive:
                await self.send((self._out[0],))
                self._out.popleft()
        except Unavailable as error:
            self.end(str(error))
        finally:
            self._flushing = False

    def answers(self) -> bool:
        """Whether the other end still holds this connection, as far as can be seen without waiting."""
        return self.alive and self._sock.send_now([*self._prefix, hello()])

    async def send(self, parts: Sequence[bytes | memoryview | zmq.Frame], *, copy: bool = True) -> None:
        """Send one message, waiting while the other end takes nothing.

        Raises:
            Unavailable: the connection is gone.
        """
        await self._sock.send([*self._prefix, *parts], copy=copy, retry_s=RETRY_S if self._prefix else None)

    def send_some(
        self, messages: Iterable[Sequence[bytes | memoryview]]
    ) -> Sequence[bytes | memoryview] | None:
        """Send messages without waiting; the first that finds no room is given back.

        Raises:
            Unavailable: the connection is gone.
        """
        left = self._sock.send_some([*self._prefix, *parts] for parts in messages)
        return left and left[len(self._prefix) :]

    async def breathe(self) -> None:
        """A turn of the loop, if it is time for one."""
        await self._sock.breathe()

    def end(self, why: str, *, guilty: bool = False) -> None:
        """It is gone, or let go: whoever talks over it is told. Calling it twice is harmless."""
        if not self.alive:
            return
        self.alive = False
        self.scope.cancel()
        talks = [talk for some in self._talks.values() for talk in some]
        self._room += sum(talk.outstanding for talk in talks) + RANGES_AT_ONCE * len(self.range_listeners)
        self._talks.clear()
        self._turns.clear()
        self._out.clear()
        for talk in talks:
            talk.queue.clear()
            talk.active.clear()
            talk.closed = True
            talk.listener.lost(self.node, why, guilty=guilty)
