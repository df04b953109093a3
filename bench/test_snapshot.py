"""A fresh follower, up to where it can execute the next block: from a snapshot, and by executing everything.

Both ends run in this process: what peers read and send is part of the time.
"""

import shutil
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import trio

from bench.harness import LONG, Figure, Timed, budget, row
from bench.memory import peak_mb
from bench.pasts import GENESIS, LongPast
from pyrsia.keys import verify
from pyrsia.ledger import entries
from pyrsia.ledger.chain import Chain
from pyrsia.ledger.genesis import Genesis
from pyrsia.node.log.archive import Archive
from pyrsia.node.sync.points import Points
from pyrsia.node.sync.snapshots import Peers, Snapshots
from pyrsia.node.sync.staging import adopt
from pyrsia.store.rocks import Batch, Database
from pyrsia.units import NodeId

CI_SIZE = 20_000
GIVERS = [NodeId(b"%032d" % number) for number in range(4)]
MEMORY_SIZES = [pytest.param(CI_SIZE, id=f"{CI_SIZE}"), pytest.param(200_000, marks=LONG, id="200000")]
READY_GOAL_US = {10**6: 30}  # 30 s; a smaller size is measured to see a change, not to meet a goal
REPLAY_GOAL_US = {10**6: 240}  # 240 s
SIZES = [pytest.param(CI_SIZE, id=f"{CI_SIZE}"), pytest.param(10**6, marks=LONG, id=f"{10**6}")]


@pytest.fixture(scope="module")
def pasts(tmp_path_factory):
    """A function that gives the past of a size, each made once."""
    made: dict[int, LongPast] = {}

    def of(size: int) -> LongPast:
        if size not in made:
            made[size] = LongPast(tmp_path_factory.mktemp("past")).grow(size)
        return made[size]

    yield of
    for one in made.values():
        one.close()


class Fresh:
    """A new folder for each call."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.number = 0

    @property
    def path(self) -> Path:
        return self._folder / f"{self.number}"

    def next(self) -> None:
        shutil.rmtree(self.path, ignore_errors=True)
        self.number += 1
        self.path.mkdir()


def ready(database: Database) -> tuple[Chain, Archive]:
    """Where a start ends: the chain stands on the head and can execute the next block."""
    genesis = Genesis.parse(GENESIS)
    archive = Archive(database, genesis)
    chain = Chain(genesis, archive.state, verify=verify, fetch=archive.index, head=archive.head)
    if archive.head is None:
        archive.write(chain.genesis_commit(), None, None)
    return chain, archive


async def take(past: LongPast, folder: Path) -> Chain:
    """From nothing to ready, by a snapshot of `past`."""
    genesis = Genesis.parse(GENESIS)
    points = Points(past.archive, past.database, clock=iter((0.0, *[100.0] * 99)).__next__)

    async def request(_: NodeId, method: int, payload: bytes, __: float) -> bytes:
        return await points.methods[method](GIVERS[0], payload)

    with closing(Database.open(folder / "db")) as database:
        _, archive = ready(database)
        peers = Peers(lambda: GIVERS, request, lambda node, why: None)
        taking = Snapshots(
            genesis, archive, database, peers, verify=verify, alarm=lambda why: None, far_leaves=0
        )
        assert await taking.look()
    with closing(Database.open(folder / "db")) as database:
        assert adopt(database, genesis)
        return ready(database)[0]


def copied(past: LongPast, folder: Path) -> None:
    """The rows of the state and its trees, put into an empty database: no proof, no network."""
    with closing(Database.open(folder / "db")) as database:
        for family in past.archive.live:
            start, batch = b"", Batch()
            while rows := past.database.scan(family, start, 10_000):
                for one, value in rows:
                    batch.put(family, one, value)
                    if batch.size > 1 << 20:
                        trio.run(database.pour, batch)
                        batch = Batch()
                start = rows[-1][0] + b"\0"
            trio.run(database.pour, batch)
        database.flush()


@LONG
@pytest.mark.parametrize("at", SIZES)
@row(
    "snapshot/ready",
    "a fresh follower of so many entries, from a snapshot",
    unit="us per entry",
    goal=READY_GOAL_US,
    rounds=1,
)
def test_ready(measure, pasts, tmp_path, at):
    past = pasts(at)
    fresh, plain = Fresh(tmp_path), Fresh(tmp_path / "plain")
    (tmp_path / "plain").mkdir()
    fresh.next()
    assert trio.run(take, past, fresh.path).head().hash == past.chain.head().hash
    measure(
        Timed(lambda: trio.run(take, past, fresh.path), at, before=fresh.next),
        {"its rows copied, RocksDB": Timed(lambda: copied(past, plain.path), at, before=plain.next)},
    )


def replayed(past: LongPast, folder: Path) -> None:
    """Every block checked, executed and written."""
    with closing(Database.open(folder / "db")) as database:
        chain, archive = ready(database)
        for block in past.blocks():
            chain.check(block.header, block.body.entries)
            archive.write(chain.commit(block.hash), block, None)
            chain.final(block.hash)
        database.flush()
        assert chain.head().hash == past.chain.head().hash


def signatures(past: LongPast) -> None:
    for block in past.blocks():
        for raw in block.body.entries:
            assert entries.parse(raw).signature_holds(verify)


@LONG
@pytest.mark.parametrize("at", SIZES)
@row(
    "snapshot/replay",
    "a fresh follower of so many entries, by executing all",
    unit="us per entry",
    goal=REPLAY_GOAL_US,
    rounds=1,
)
def test_replay(measure, pasts, tmp_path, at):
    past = pasts(at)
    fresh = Fresh(tmp_path)
    measure(
        Timed(lambda: replayed(past, fresh.path), at, before=fresh.next),
        {"its signatures alone": Timed(lambda: signatures(past), at)},
    )


def take_of(folder: str) -> None:
    """Run in a process of its own by `test_memory`."""
    with closing(LongPast(Path(folder))) as past, TemporaryDirectory() as other:
        trio.run(take, past, Path(other))


@LONG
@pytest.mark.parametrize("at", MEMORY_SIZES)
@row("snapshot/memory", "giving and taking a snapshot of so many entries", unit="MB", rounds=1)
def test_memory(measure, tmp_path, at):
    LongPast(tmp_path).grow(at).close()
    measure(
        Figure(lambda: peak_mb("bench.test_snapshot", "take_of", str(tmp_path))),
        {"budget": budget(200.0)},
    )
