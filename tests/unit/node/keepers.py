"""Storage members in one process: real databases, files and parts; links and data links that a test can cut.

Entries are the bare objects that the index reads; members come from the state of a reference world.
"""

import hashlib
from collections.abc import Awaitable, Callable, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import msgspec
import trio

from pyrsia.config import StorageSection
from pyrsia.errors import Malformed, PyrsiaError, Unavailable
from pyrsia.mesh.scores import Scores
from pyrsia.net.data import Counters
from pyrsia.node.mesh.keeping import make_keeping
from pyrsia.node.pulse import Pulse
from pyrsia.node.storage.shelf import Shelf
from pyrsia.store import layout, segments
from pyrsia.store.blobs import Blobs
from pyrsia.store.quota import Rules
from pyrsia.store.rocks import Batch, Database
from pyrsia.transfer.manifest import Manifest
from pyrsia.units import CHUNK_BYTES, NodeId
from pyrsia.wire.text import b32
from tests.reference.ledger import World, key


def files(count, seed=0):
    return [hashlib.sha256(f"{seed} {at}".encode()).digest() * (1 + at % 5) for at in range(count)]


def entry(author, *blobs):
    """An entry that names these bytes."""
    body = {
        "outputs": [
            {
                "manifest": Manifest.of([data]).id.hex(),
                "sha256": hashlib.sha256(data).hexdigest(),
                "size": len(data),
            }
            for data in blobs
        ]
    }
    return msgspec.json.encode({"author": b32(author), "body": body})


class Log:
    """The archive of one keeper, as far as its parts look at it."""

    def __init__(self, database, reads):
        self._database = database
        self.state = reads
        self.size = 0
        self.from_ = 0

    def add(self, leaf):
        batch = Batch()
        segments.put(batch, self.size, [leaf])
        for blob in msgspec.json.decode(leaf)["body"]["outputs"]:
            batch.put(layout.NAMED, bytes.fromhex(blob["manifest"]), layout.number(self.size))
        self._database.write(batch)
        self.size += 1

    def here_from(self, first):
        return max(first, self.from_)


class Link:
    """What one keeper sees of the others."""

    def __init__(self, crowd, node):
        self.crowd, self.node, self.faults = crowd, node, []

    def connected(self, node):
        return node in self.crowd.keepers and self.crowd.joined(self.node, node)

    def linked(self):
        return [node for node in self.crowd.keepers if self.connected(node)]

    def data_address(self, node):
        return "tcp://somewhere" if self.connected(node) else ""

    def fault(self, node, why):
        self.faults.append((node, why))

    async def request(self, node, method, payload, deadline_s):
        await trio.sleep(0.002)
        if not self.connected(node):
            raise Unavailable("there is no link to the peer")
        self.crowd.asked.append((self.node, node, int(method)))
        try:
            answer = await self.crowd.keepers[node].methods[method](self.node, payload)
        except Malformed:
            raise Unavailable("the peer could not answer") from None
        return self.crowd.bent(node, method, payload, answer)


class Plane:
    """Data links: files of whoever is connected and serves them."""

    def __init__(self, crowd, node):
        self.counters, self.crowd, self.node = Counters(), crowd, node

    def _holders(self, sources, manifest_id):
        for source in sources:
            if self.crowd.joined(self.node, source):
                served = self.crowd.keepers[source].shelf.served(self.node, manifest_id)
                whole = served is not None and served.held is None
                if whole and self.node not in self.crowd.keepers[source].withholds:
                    yield served

    async def manifest(self, manifest_id, sources):
        await trio.sleep(0.002)
        for served in self._holders(sources, manifest_id):
            return Manifest.decode(served.manifest)
        raise Unavailable("nobody gives the manifest")

    async def gives(self, manifest, node, chunk, wait_s):
        await trio.sleep(0.002)
        if not self.crowd.joined(self.node, node) or node in self.crowd.slow:
            return None
        return any(True for _ in self._holders([node], manifest.id))

    async def fetch(self, manifest, sources, write, *, held=0, **more):
        await trio.sleep(0.002)
        for served in self._holders(sources, manifest.id):
            data = served.path.read_bytes()
            for at in range(manifest.count):
                if not held >> at & 1:
                    write(at * CHUNK_BYTES.value, data[at * CHUNK_BYTES.value :][: CHUNK_BYTES.value])
            self.crowd.moved.append((self.node, manifest.sha256))
            return
        raise Unavailable("no source of the file is left")


class Keeper:
    """One node."""

    def __init__(self, crowd, at, folder, settings, quota):
        self.node = NodeId(key(at, "node").public)
        self.folder, self.settings, self.quota, self.crowd = folder, settings, quota, crowd
        self.withholds = set()  # who gets no bytes
        self.scores, self.pulse = Scores(), Pulse()

    def open(self):
        self.database = Database.open(self.folder / "db")
        self.blobs = Blobs(
            self.folder / "blobs", self.database, Rules(quota=self.quota) if self.quota else None
        )
        self.log = Log(self.database, self.crowd.world.db.get)
        self.link = Link(self.crowd, self.node)
        self.plane = Plane(self.crowd, self.node)
        named = lambda manifest: self.database.get(layout.NAMED, manifest) is not None  # noqa: E731
        self.shelf = Shelf(self.database, self.blobs, self.plane, named=named)
        self.keeping = make_keeping(
            archive=self.log,
            database=self.database,
            blobs=self.blobs,
            shelf=self.shelf,
            plane=self.plane,
            links=self.link,
            pulse=self.pulse,
            scores=self.scores,
            settings=self.settings,
        )
        self.shelf.bringing.find = self.keeping.providing.find
        self.methods = {}
        for part in self.keeping.parts:
            self.methods.update(part.methods)

    def name(self, leaf):
        self.log.add(leaf)
        self.pulse.beat()

    async def keep(self, *blobs, pin="build"):
        for data in blobs:
            await self.shelf.put(data, pin=pin)

    def has(self, data):
        return self.blobs.has(hashlib.sha256(data).digest())

    def pins(self, data):
        return self.blobs.pins(hashlib.sha256(data).digest())

    async def run(self):
        async with trio.open_nursery() as nursery:
            for part in self.keeping.parts:
                nursery.start_soon(part.run)


class Crowd:
    """The keepers of a network whose first `storage` members have that role; each is a failure domain."""

    def __init__(self, folder: Path, count=5, storage=(0, 1, 2, 3), quota=0, **settings) -> None:
        self.world = World(count=count, storage=storage)
        self.keepers = {}
        self.down, self.moved, self.asked = set(), [], []
        self.slow = set()  # who says nothing to a check in time
        self.bent: Callable[[NodeId, int, bytes, bytes], bytes] = lambda node, method, payload, answer: answer
        self.scopes = {}
        for at in range(count):
            place = folder / str(at)
            place.mkdir()
            keeper = Keeper(self, at, place, StorageSection(**settings), quota)
            self.keepers[keeper.node] = keeper
        self.all = list(self.keepers.values())

    def joined(self, one, other):
        return one != other and not {one, other} & self.down

    @contextmanager
    def opened(self):
        with ExitStack() as stack:
            for keeper in self.all:
                keeper.open()
                stack.callback(keeper.database.close)
            yield self

    async def run(self, test: Callable[[], Awaitable[None]]) -> None:
        with self.opened():
            async with trio.open_nursery() as nursery:
                for keeper in self.all:
                    nursery.start_soon(keeper.run)
                await test()
                nursery.cancel_scope.cancel()

    def name(self, author, *blobs):
        """Every log has an entry of `author` that names these."""
        for keeper in self.all:
            keeper.name(entry(author, *blobs))

    def owners(self, data, gone=frozenset()) -> Sequence[NodeId]:
        return self.all[0].keeping.owning.placement.owners(hashlib.sha256(data).digest(), gone)

    def holders(self, data):
        """Who keeps it as an owner and is there."""
        return {
            node for node, one in self.keepers.items() if node not in self.down and "shard" in one.pins(data)
        }

    def placed(self, blobs, gone=frozenset()):
        return all(self.holders(data) >= set(self.owners(data, gone)) for data in blobs)


__all__ = ["Crowd", "Keeper", "PyrsiaError", "entry", "files"]
