"""The same over real links and data links: four storage members on loopback, one of which dies."""

import hashlib
import random
from contextlib import AsyncExitStack

import trio

from pyrsia.config import StorageSection
from pyrsia.mesh.scores import Scores
from pyrsia.net.data import DataPlane
from pyrsia.net.links import Links
from pyrsia.node.mesh.keeping import make_keeping
from pyrsia.node.pulse import Pulse
from pyrsia.node.storage.shelf import Shelf
from pyrsia.store import layout
from pyrsia.store.blobs import Blobs
from pyrsia.store.rocks import Database
from pyrsia.units import CHUNK_BYTES
from tests.reference.ledger import World, key
from tests.reference.waiting import until
from tests.unit.node.keepers import Log, entry

# One of several chunks, one of one, small ones.
FILES = [
    random.Random(at).randbytes(size)
    for at, size in enumerate((3 * CHUNK_BYTES.value + 5, 70_000, 900, 5, 1))
]


class Member:
    """A storage member with everything but agreement."""

    def __init__(self, world, at, folder):
        folder.mkdir()
        self.database = Database.open(folder / "db")
        self.blobs = Blobs(folder / "blobs", self.database)
        self.log = Log(self.database, world.db.get)
        self.pulse, self.scope = Pulse(), trio.CancelScope()
        methods = {}
        self.links = Links(
            key(at, "node"),
            world.genesis.chain_id,
            control_addr="tcp://127.0.0.1:*",
            data_addr="tcp://127.0.0.1:*",
            allow=lambda node: True,
            on_message=lambda node, kind, payload: None,
            methods=methods,
        )
        self.node = self.links.node
        self.plane = DataPlane(self.links, lambda node, manifest: self.shelf.served(node, manifest))
        named = lambda manifest: self.database.get(layout.NAMED, manifest) is not None  # noqa: E731
        self.shelf = Shelf(self.database, self.blobs, self.plane, named=named)
        self.keeping = make_keeping(
            archive=self.log,
            database=self.database,
            blobs=self.blobs,
            shelf=self.shelf,
            plane=self.plane,
            links=self.links,
            pulse=self.pulse,
            scores=Scores(),
            settings=StorageSection(repair_after_s=1),
        )
        self.shelf.bringing.find = self.keeping.providing.find
        for part in self.keeping.parts:
            methods.update(part.methods)

    async def run(self):
        with self.scope:
            async with trio.open_nursery() as nursery:
                await nursery.start(self.links.run)
                await nursery.start(self.plane.run)
                for part in self.keeping.parts:
                    nursery.start_soon(part.run)

    def keeps(self, data):
        return "shard" in self.blobs.pins(hashlib.sha256(data).digest())


async def test_blobs_reach_their_owners_and_those_of_a_dead_member_the_next_in_order(tmp_path):
    world = World(storage=(0, 1, 2, 3))
    async with AsyncExitStack() as closing:
        crowd = [Member(world, at, tmp_path / str(at)) for at in range(4)]
        for one in crowd:
            closing.callback(one.database.close)
            closing.callback(one.links.close)
            one.links.open()
        async with trio.open_nursery() as nursery:
            for at, one in enumerate(crowd):
                one.links.dial([(other.node, other.links.control_endpoint) for other in crowd[:at]])
                nursery.start_soon(one.run)
            await until(lambda: all(len(one.links.linked()) == 3 for one in crowd))
            for data in FILES:
                await crowd[0].shelf.put(data, pin="build")
            for one in crowd:
                one.log.add(entry(crowd[0].node, *FILES))
                one.pulse.beat()
            owners = crowd[0].keeping.owning.placement.owners

            def placed(gone=frozenset()):
                wanted = {data: owners(hashlib.sha256(data).digest(), gone) for data in FILES}
                return all(one.keeps(data) for one in crowd for data in FILES if one.node in wanted[data])

            await until(placed)
            for data in FILES:
                assert {one.node for one in crowd if one.keeps(data)} == set(
                    owners(hashlib.sha256(data).digest())
                )
            dead = crowd.pop()
            dead.scope.cancel()
            await until(lambda: placed({dead.node}))
            for one in crowd:
                assert all(
                    one.blobs.path(hashlib.sha256(data).digest()).read_bytes() == data for data in FILES
                )
            wanted = [hashlib.sha256(data).digest() for data in FILES]
            kept = await crowd[1].keeping.replicating.confirmed(wanted, least=3)
            assert kept == set(wanted)
            nursery.cancel_scope.cancel()
