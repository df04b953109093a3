"""The giving half of data links: answers asks over any line, chunk by chunk, from mapped files.

Only a node that is connected on the control link gets anything, and only what `offered` grants it; all
others get nothing, not even a no. Files are immutable and stay mapped while they are in demand; a chunk
goes to the socket without a copy. Each line has its own queue and its own sender, so a peer that
does not read delays nobody; whose turn it is `transfer/uploads.py` decides. A file that is evicted while it is mapped
is only unlinked: whoever is given a chunk of it gets that, and then its map is forgotten. One that the disk no longer
gives is refused, chunk by chunk, and doubted.

Source: docs/network.md, "Data links".
"""

import math
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

import trio

from pyrsia.errors import PyrsiaError, Unavailable
from pyrsia.mapping import MappedFile
from pyrsia.net.counting import Counters
from pyrsia.net.lines import Line
from pyrsia.net.links import Links
from pyrsia.transfer.buckets import Flow
from pyrsia.transfer.manifest import Manifest
from pyrsia.transfer.sharing import Askers
from pyrsia.transfer.uploads import SHORT_BYTES, Uploads
from pyrsia.units import MAX_OPEN_MAPS, ROW_CHUNKS, NodeId
from pyrsia.wire import chunks, ranges
from pyrsia.wire.chunks import Message, Type

IN_A_ROW: Final = (
    16  # chunks of one line that has no other beside it: 4 MiB, some milliseconds of a fast line
)
STALLED_S: Final = 30.0  # a connection that takes nothing for this long is given up


@dataclass(frozen=True, slots=True)
class Served:
    """What this node gives: an encoded manifest, and the immutable file that it describes.

    Attributes:
        held: bit i is set for each chunk that is in the file, which still grows to its full size in place; None
            for a whole file. Chunks that are there never change.
    """

    manifest: bytes
    path: Path
    held: int | None = None

    def gives(self, chunk: int) -> bool:
        return self.held is None or bool(self.held >> chunk & 1)


Offered = Callable[[NodeId, bytes], Served | None]
RecipeOf = Callable[
    [bytes, Served, Manifest], bytes
]  # SHA-256 of a whole file -> its encoded recipe, or nothing


class _Item(NamedTuple):
    """One message to send, with its payload; of stretches the bytes are looked up when their turn comes."""

    message: Message | ranges.Message
    manifest: bytes = b""
    served: Served | None = None


class _Chunk(NamedTuple):
    """A chunk to send. Its bytes are looked up when its turn comes."""

    manifest_id: bytes
    number: int
    served: Served
    size: int


class Maps:
    """Files mapped for reading, the least recently used forgotten first.

    A mapping lives on until the last chunk that points into it has left the socket.
    """

    def __init__(self, most: int = MAX_OPEN_MAPS.value) -> None:
        self._most = most
        self._open: OrderedDict[bytes, tuple[Served, Manifest, MappedFile]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._open)

    def get(self, manifest_id: bytes, served: Served) -> tuple[Manifest, MappedFile]:
        """The manifest and the bytes of its file.

        Raises:
            Malformed: the manifest is none.
            Unavailable: the file is not there, or not the size that the manifest says.
        """
        known = self._open.get(manifest_id)
        if known is not None and (known[0] is served or known[0].path == served.path):
            self._open.move_to_end(manifest_id)
            return known[1:]
        manifest = Manifest.decode(served.manifest)
        mapped = MappedFile(served.path, manifest.size)
        self._open[manifest_id] = (served, manifest, mapped)
        while len(self._open) > self._most:
            self._open.popitem(last=False)
        return manifest, mapped

    def drop(self, manifest_id: bytes) -> None:
        self._open.pop(manifest_id, None)

    def forget(self, sha256: bytes) -> None:
        """The file with this digest is gone: its disk is given back, and who brings it again is read anew."""
        for manifest_id in [one for one, found in self._open.items() if found[1].sha256 == sha256]:
            del self._open[manifest_id]


class Server:
    """Gives over the lines of one node. Answers about `offered`; blames nobody who asks properly, and takes it.

    Attributes:
        recipe: makes recipes of files. doubt: told the SHA-256 of a whole file that is not what its manifest says.
    """

    def __init__(self, links: Links, offered: Offered, counters: Counters, flow: Flow | None = None) -> None:
        self._links = links
        self._offered = offered
        self._counters = counters
        self.askers = Askers()
        self.recipe: RecipeOf = lambda sha256, served, manifest: b""
        self.doubt: Callable[[bytes], object] = lambda sha256: None
        self._uploads: Uploads[_Item | _Chunk] = Uploads(flow, guest=links.guest)
        self._maps = Maps()
        self._senders: set[bytes] = set()
        self._turns: dict[bytes, trio.Event] = {}
        self._nursery: trio.Nursery | None = None

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Until cancelled."""
        try:
            async with trio.open_nursery() as self._nursery:
                task_status.started()
                await trio.sleep_forever()
        finally:
            self._nursery = None

    def serves(self, key: bytes) -> bool:
        """Whether something is still to be sent over the line with this key."""
        return key in self._senders

    def forget(self, sha256: bytes) -> None:
        """The file with this digest is not here any more."""
        self._maps.forget(sha256)

    # -- asks --

    def take(self, line: Line, ask: Message) -> None:
        """What a linked node asks over `line`. Never raises for anything that a peer can send."""
        match ask.type:
            case Type.WANT_MANIFEST | Type.WANT_HAVE:
                self._tell(line, ask)
            case Type.GET:
                self._queue(line, ask)
            case _:
                self._uploads.cancel(line.key, ((ask.manifest_id, chunk) for chunk in ask.chunks))
        self._wake(line)

    def take_range(self, line: Line, ask: ranges.Message) -> None:
        """The same for the recipe of a file, and for stretches of it."""
        found = self._open(line.node, ask.manifest_id)
        no = ranges.Message(ranges.Type.NONE, ask.manifest_id, ask.number)
        if found is None or found[0].held is not None:
            self._short(line, no)
        elif ask.type is ranges.Type.WANT_RECIPE:
            recipe = self.recipe(found[1].sha256, *found)
            item = _Item(ranges.Message(ranges.Type.RECIPE, ask.manifest_id), recipe)
            if not recipe or not self._uploads.push(line.node, line.key, item, len(recipe)):
                self._short(line, no)
        elif any(offset + size > found[1].size for offset, size in ask.ranges) or not self._uploads.push(
            line.node, line.key, _Item(ask, served=found[0]), sum(size for _, size in ask.ranges)
        ):
            self._short(line, no)
        self._wake(line)

    def _wake(self, line: Line) -> None:
        if self._uploads.waits(line.key) and line.key not in self._senders and self._nursery is not None:
            self._senders.add(line.key)
            self._nursery.start_soon(self._send, line)

    def _tell(self, line: Line, ask: Message) -> None:
        found = self._open(line.node, ask.manifest_id)
        if found is None:
            self._short(line, Message(Type.NAK, ask.manifest_id))
        elif ask.type is Type.WANT_HAVE:
            self._tell_have(line, ask.manifest_id, *found)
        else:
            data = found[0].manifest
            item = _Item(Message(Type.MANIFEST, ask.manifest_id), data)
            if not self._uploads.push(line.node, line.key, item, len(data)):
                self._short(line, Message(Type.NAK, ask.manifest_id))

    def _tell_have(self, line: Line, manifest_id: bytes, served: Served, paper: Manifest) -> None:
        held = (1 << paper.count) - 1 if served.held is None else served.held
        self._short(line, chunks.have(manifest_id, paper.count, held))
        others = self.askers.asked(trio.current_time(), line.node, manifest_id)
        if others:
            self._short(line, Message(Type.ALSO, manifest_id, nodes=others))

    def _queue(self, line: Line, ask: Message) -> None:
        found = self._open(line.node, ask.manifest_id)
        if found is None:
            self._short(line, Message(Type.NAK, ask.manifest_id))
            return
        served, manifest = found
        refused: dict[Type, list[int]] = {Type.NAK: [], Type.BUSY: []}
        for chunk in ask.chunks:
            if chunk >= manifest.count or not served.gives(chunk):
                refused[Type.NAK].append(chunk)
                continue
            size = manifest.span(chunk)[1]
            item = _Chunk(ask.manifest_id, chunk, served, size)
            if not self._uploads.push(line.node, line.key, item, size, item[:2]):
                refused[Type.BUSY].append(chunk)
        for kind, some in refused.items():
            if some:
                self._short(line, Message(kind, ask.manifest_id, tuple(some)))

    def _open(self, node: NodeId, manifest_id: bytes) -> tuple[Served, Manifest] | None:
        """What `node` may have under this id, if it is really here."""
        served = None
        try:
            served = self._offered(node, manifest_id)
            if served is None:
                self._maps.drop(manifest_id)
                return None
            return served, self._maps.get(manifest_id, served)[0]
        except PyrsiaError:
            self._links.counted["data-not-here"] += 1
            if served is not None:
                self._unread(manifest_id, served)
        except Exception:  # noqa: BLE001 - what a peer asks must not end the node, whatever bug it finds
            self._links.counted["data-crashed"] += 1
        return None

    def _unread(self, manifest_id: bytes, served: Served) -> None:
        """A file did not give what its manifest says: it went, a crash cut it, or the disk is ill."""
        self._maps.drop(manifest_id)
        if served.held is None:
            with suppress(PyrsiaError):
                self.doubt(Manifest.decode(served.manifest).sha256)

    def _short(self, line: Line, message: Message | ranges.Message) -> None:
        """A short answer. A peer whose queue is full of them does not read; it gets no more."""
        if not self._uploads.push(line.node, line.key, _Item(message), SHORT_BYTES):
            self._links.counted["data-queue-full"] += 1

    # -- sending --

    async def _send(self, line: Line) -> None:
        """Everything that waits for one line, in turn with the others."""
        key = line.key
        try:
            with trio.CancelScope() as stalled:
                while self._uploads.waits(key) and self._links.connected(line.node):
                    await self._turn(key)
                    left = line.send_some(self._ready(line))
                    if left is None:
                        await line.breathe()
                        continue
                    stalled.deadline = trio.current_time() + STALLED_S
                    await line.send(left, copy=False)
                    stalled.deadline = math.inf
            if stalled.cancelled_caught:
                self._counters.on_odd(line.node, "takes nothing of what it asked for")
                raise Unavailable("the connection takes nothing")
        except Unavailable as error:
            self._links.counted["data-asker-gone"] += 1
            line.end(str(error))
        finally:
            self._turns.pop(key, None)
            self._uploads.forget(key)
            self._senders.discard(key)
            self._wake_next()

    async def _turn(self, key: bytes) -> None:
        """Return when no other line that is ready to send goes before this one."""
        if not self._turns and not self._uploads.wait_s((key,), trio.current_time()):
            return
        while True:
            mine, now_s = trio.Event(), trio.current_time()
            self._turns[key] = mine
            if not self._uploads.waits(key) or self._uploads.turn(self._turns, now_s) == key:
                del self._turns[key]
                self._wake_next()
                return
            self._wake_next()
            with trio.move_on_after(self._uploads.wait_s((key,), now_s) or math.inf):
                await mine.wait()

    def _wake_next(self) -> None:
        following = self._uploads.turn(self._turns, trio.current_time())
        if following is not None:
            self._turns[following].set()

    def _ready(self, line: Line) -> Iterator[Sequence[bytes | memoryview]]:
        """Messages that may go over the line now, each taken when the last one is sent, until it is another's turn."""
        key, now_s, left = line.key, trio.current_time(), IN_A_ROW
        while left > 0:
            item = self._uploads.pop(key, now_s)
            if item is None:
                return
            if isinstance(item, _Chunk):
                row = self._row(key, item, now_s)
                parts = self._chunks(line, item, len(row))
                if parts is None:
                    parts, row = self._first_of(line, row), row[:1]
                left -= len(row)
            else:
                parts = self._word(line, item)
                left -= 1
            yield parts
            if self._turns or self._uploads.wait_s((key,), now_s):
                return

    def _row(self, key: bytes, item: _Chunk, now_s: float) -> list[_Chunk]:
        """Chunks that go in one message: `item`, and what follows it in the file and in the queue, taken out."""
        row = [item]
        while len(row) < ROW_CHUNKS.value and not self._turns and not self._uploads.wait_s((key,), now_s):
            following = self._uploads.first(key)
            if not isinstance(following, _Chunk) or following.number != item.number + len(row):
                break
            if following.manifest_id != item.manifest_id or following.served.path != item.served.path:
                break
            self._uploads.pop(key, now_s)
            row.append(following)
        return row

    def _first_of(self, line: Line, row: Sequence[_Chunk]) -> Sequence[bytes | memoryview]:
        """Of a row that cannot be given the first chunk alone, or its no; the others are in the queue as if they had
        never been taken out: one rotten chunk costs no other."""
        item, *others = row
        alone = None
        if others:
            self._uploads.give_back(line.node, line.key, [(one[:2], one.size, one) for one in others])
            alone = self._chunks(line, item, 1)
        return alone or (chunks.encode(Message(Type.NAK, item.manifest_id, (item.number,))),)

    def _chunks(self, line: Line, item: _Chunk, count: int) -> Sequence[bytes | memoryview] | None:
        """So many chunks from `item` on; None where they cannot be had."""
        try:
            manifest, mapped = self._maps.get(item.manifest_id, item.served)
            start, length = manifest.span(item.number)
            if count > 1:
                offset, last = manifest.span(item.number + count - 1)
                length = offset + last - start
            data = mapped[start : start + length]
        except PyrsiaError:  # evicted since it was asked for, or no longer what the disk gives
            self._unread(item.manifest_id, item.served)
            return None
        self._counters.chunks_sent += count
        self._counters.sent(line.node, length)
        return chunks.chunk_head(item.manifest_id, item.number), data

    def _word(self, line: Line, item: _Item) -> Sequence[bytes | memoryview]:
        if isinstance(item.message, ranges.Message):
            return self._ranges(line, item.message, item)
        head = chunks.encode(item.message)
        return (head, item.manifest) if item.manifest else (head,)

    def _ranges(self, line: Line, message: ranges.Message, item: _Item) -> Sequence[bytes | memoryview]:
        payload = item.manifest
        if item.served is not None:
            try:
                _, mapped = self._maps.get(message.manifest_id, item.served)
                payload = b"".join(mapped[offset : offset + size] for offset, size in message.ranges)
                message = ranges.Message(ranges.Type.RANGES, message.manifest_id, message.number)
            except PyrsiaError:  # evicted since it was asked for, or no longer what the disk gives
                self._unread(message.manifest_id, item.served)
                message = ranges.Message(ranges.Type.NONE, message.manifest_id, message.number)
        self._counters.sent(line.node, len(payload))
        return (ranges.encode(message), payload) if payload else (ranges.encode(message),)
