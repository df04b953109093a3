"""Nodes that broadcast and write to each other over real sockets: links, a database, and the two parts, no log."""

import contextlib
from collections import defaultdict

import trio

from pyrsia import keys
from pyrsia.mesh.scores import Scores
from pyrsia.net.links import Links
from pyrsia.node.clock import wall_ms
from pyrsia.node.mesh.broadcasting import Broadcasting
from pyrsia.node.mesh.desk import Desk
from pyrsia.node.mesh.mailing import Mailing
from pyrsia.node.mesh.parts import Mesh
from pyrsia.node.mesh.who import Who
from pyrsia.store.rocks import Database
from pyrsia.units import NodeId
from tests.reference.waiting import until

CHAIN = b"c" * 32
ANY = "tcp://127.0.0.1:*"
NAMES = ("ann", "bob", "cid", "dot", "eve", "fay", "gil", "hal")
PAIRS = [keys.KeyPair(bytes([number + 1]) * 32) for number in range(len(NAMES))]


class Memory:
    """As much of a database as the parts need; a real one takes a quarter of a second to open and close."""

    def __init__(self):
        self.rows = {}

    def get(self, family, key):
        return self.rows.get((family, key))

    def scan(self, family, start, limit, *, before=None):
        keys = sorted(key for kept, key in self.rows if kept == family and key >= start)
        return [(key, self.rows[family, key]) for key in keys if before is None or key < before][:limit]

    def write(self, batch):
        for family, key, value in batch:
            if value is None:
                self.rows.pop((family, key), None)
            else:
                self.rows[family, key] = value

    async def sync(self):
        await trio.lowlevel.checkpoint()

    def close(self):
        pass


class Names(Who):
    """What the log would say: names of members by id."""

    def __init__(self, members, linked):
        super().__init__(lambda key: None, linked)
        self.names = members

    def _members(self):
        return self.names


class Talker:
    """One life of one node. `clock_ms` moves its wall clock."""

    def __init__(
        self, number, database, members, *, address=ANY, accept="members", address_of=lambda node: ""
    ):
        self.name, self.pair = NAMES[number], PAIRS[number]
        self.clock_ms = 0
        self.book = Scores()
        self.database = database
        self.ended = trio.Event()
        self.links = Links(
            self.pair,
            CHAIN,
            control_addr=address,
            broadcast_addr=ANY,
            allow=lambda node: True,
            on_message=lambda *message: None,
            methods={},
            on_link=self._on_link,
            name=self.name,
        )
        self.id = self.links.node
        self.who = Names(members, self.links.linked)
        how = {"database": self.database, "who": self.who, "book": self.book, "now_ms": self._now_ms}
        self.casts = Broadcasting(self.links, self.pair, CHAIN, validators=lambda: (), **how)
        self.mail = Mailing(self.links, self.pair, CHAIN, accept=accept, address_of=address_of, **how)
        self.desk = Desk(self.casts, self.mail)
        self.mesh = Mesh(self.desk.parts)
        self.links.answer(self.mesh.methods)

    @property
    def at(self):
        return self.id, self.links.control_endpoint

    @property
    def texts(self):
        """What was heard here, in order."""
        return [row.text for row in self.casts.heard._rows]

    async def letters(self):
        return [(row.name, row.text) for row in (await self.desk.inbox(0, 100, 0)).messages]

    async def run(self, task_status=trio.TASK_STATUS_IGNORED):
        try:
            async with trio.open_nursery() as nursery:
                await nursery.start(self.links.run)
                nursery.start_soon(self.mesh.run)
                task_status.started()
                await trio.sleep_forever()
        finally:
            self.database.close()
            self.ended.set()

    def _on_link(self, node, up):
        self.mesh.linked(node, up)

    def _now_ms(self):
        return wall_ms() + self.clock_ms


class Town:
    """Talkers by name, each in a life that can end. Without a folder their databases are in memory."""

    def __init__(self, nursery, folder, members):
        self.nursery, self.folder, self.members = nursery, folder, members
        self.memories = defaultdict(Memory)
        self.talkers, self.lives, self.addresses = {}, {}, {}

    def __getattr__(self, name):
        return self.talkers[name]

    async def start(self, name, **how):
        number = NAMES.index(name)
        database = self.memories[name] if self.folder is None else Database.open(self.folder / name)
        talker = Talker(number, database, self.members, address=self.addresses.get(name, ANY), **how)
        self.talkers[name] = talker
        self.lives[name] = scope = trio.CancelScope()

        async def live(task_status):
            with scope:
                await talker.run(task_status=task_status)

        await self.nursery.start(live)
        self.addresses[name] = talker.links.control_endpoint
        return talker

    async def stop(self, name):
        talker = self.talkers.pop(name)
        self.lives[name].cancel()
        await talker.ended.wait()

    def join(self, *names):
        """Each dials those before it."""
        for at, name in enumerate(names):
            self.talkers[name].links.dial([self.talkers[other].at for other in names[:at]])

    async def joined(self, *names):
        self.join(*names)
        talkers = [self.talkers[name] for name in names]
        await until(lambda: all(a is b or a.links.connected(b.id) for a in talkers for b in talkers))


@contextlib.asynccontextmanager
async def town(folder, *names, members=NAMES, **how):
    """These nodes, started and not linked; `members`: whom the log names."""
    named = {NodeId(PAIRS[NAMES.index(name)].public): name for name in members}
    async with trio.open_nursery() as nursery:
        made = Town(nursery, folder, named)
        for name in names:
            await made.start(name, **how)
        yield made
        nursery.cancel_scope.cancel()
