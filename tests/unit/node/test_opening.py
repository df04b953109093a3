"""A damaged database opens whole, recovered up to what was acknowledged, or not at all; never shorter and voting."""

import os
import shutil
from dataclasses import dataclass

import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pyrsia import config
from pyrsia.errors import Refusal
from pyrsia.keys import KeyRing
from pyrsia.node.house import House
from pyrsia.store import layout, rescue
from pyrsia.store.rocks import Database
from pyrsia.wire.blocks import Block, Body, Justification
from tests.reference.ledger import World, key

VALIDATOR, FOLLOWER = 0, 4
OLD, NEW, LOOSE = 12, 12, 3  # blocks in tables, blocks in RocksDB's log, blocks that were never synced


class Writer(World):
    """A ledger whose blocks go to the archive of a house."""

    def __init__(self):
        self.archive = None
        super().__init__()

    def attach(self, house):
        self.archive = house.archive
        if house.archive.head is None:
            self.archive.write(self.chain.genesis_commit(), None, None)

    def write(self, commit):
        super().write(commit)
        if self.archive is not None:
            self.archive.write(commit, self.proposed, None)

    def header(self, draft, slot, **changes):
        made = super().header(draft, slot, **changes)
        self.proposed = Block(made, Body(draft.entries, Justification(None, ())))
        return made

    def fact(self, number):
        body = {
            "kind": "description",
            "subject": "pkg:pypi/x@1.0",
            "text": f"fact {number} " + "x" * 300,
            "valid_from": 1,
        }
        return self.entry(self.follower, "fact.add", body)


def ring(i):
    purposes = ("node", "vote", "log", "cosign", "build")
    return KeyRing(*(key(i, purpose) for purpose in purposes), chain_seed=key(i, "chain").seed)


@dataclass
class Killed:
    """A data directory as a kill leaves it, and what had been acknowledged."""

    folder: object
    height: int
    leaves: list
    blob: bytes


def seated(data, member):
    """An open house; the validator's has its seat."""
    house = House.open(data, config.Config())
    assert member != VALIDATOR or house.signer(house.keys.vote.public) is not None
    return house


async def kill(folder, member, loose):
    """Run a house through two lives and copy it while the second is still open."""
    world = Writer()
    live = folder / "live"
    ring(member).save(live / "keys")
    (live / "genesis.json").write_bytes(world.genesis.raw)
    house = seated(live, member)
    world.attach(house)
    for number in range(OLD):
        world.block(world.fact(number))
        await house.database.sync()
        await house.persist([b"vote %d" % number])
    blob = await house.blobs.put_bytes(b"an artifact " * 9_000)
    house.close()
    house = seated(live, member)
    world.attach(house)
    for number in range(OLD, OLD + NEW):
        world.block(world.fact(number))
        await house.database.sync()
        await house.persist([b"vote %d" % number])
    height, leaves = world.chain.head().height, list(world.leaves)
    for number in range(loose):
        world.block(world.fact(OLD + NEW + number))
    shutil.copytree(live, folder / "killed")
    house.close()
    return Killed(folder / "killed", height, leaves, blob)


@pytest.fixture(scope="module")
def validator(tmp_path_factory):
    return trio.run(kill, tmp_path_factory.mktemp("validator"), VALIDATOR, 0)


@pytest.fixture(scope="module")
def mid_write(tmp_path_factory):
    """Killed with blocks that were written, and not synced."""
    return trio.run(kill, tmp_path_factory.mktemp("mid"), VALIDATOR, LOOSE)


@pytest.fixture(scope="module")
def follower(tmp_path_factory):
    return trio.run(kill, tmp_path_factory.mktemp("follower"), FOLLOWER, 0)


def flip(path, at):
    data = bytearray(path.read_bytes())
    data[at if at >= 0 else len(data) + at] ^= 0x10
    path.write_bytes(data)


def largest(db, pattern):
    return max(db.glob(pattern), key=lambda file: file.stat().st_size)


def log(db):
    return largest(db, "*.log")


def table(db):
    return largest(db, "*.sst")


def manifest(db):
    return largest(db, "MANIFEST-*")


def size(file):
    return file.stat().st_size


DAMAGE = {
    "nothing": lambda db: None,
    "log: a bit in its middle": lambda db: flip(log(db), size(log(db)) // 2),
    "log: a bit near its end": lambda db: flip(log(db), -10),
    "log: a torn end": lambda db: os.truncate(log(db), size(log(db)) - 10),
    "log: half of it": lambda db: os.truncate(log(db), size(log(db)) // 2),
    "log: its second half is zeros": lambda db: (
        (whole := size(log(db))),
        os.truncate(log(db), whole // 2),
        os.truncate(log(db), whole),
    ),
    "log: gone": lambda db: log(db).unlink(),
    "table: a bit in its middle": lambda db: flip(table(db), size(table(db)) // 2),
    "table: a bit in its first block": lambda db: flip(table(db), 20),
    "table: a bit in its footer": lambda db: flip(table(db), -20),
    "table: half of it": lambda db: os.truncate(table(db), size(table(db)) // 2),
    "table: empty": lambda db: os.truncate(table(db), 0),
    "table: gone": lambda db: table(db).unlink(),
    "manifest: a bit in its middle": lambda db: flip(manifest(db), size(manifest(db)) // 2),
    "manifest: a bit near its end": lambda db: flip(manifest(db), -5),
    "manifest: half of it": lambda db: os.truncate(manifest(db), size(manifest(db)) // 2),
    "manifest: a torn end": lambda db: os.truncate(manifest(db), size(manifest(db)) - 5),
    "manifest: empty": lambda db: os.truncate(manifest(db), 0),
    "manifest: gone": lambda db: manifest(db).unlink(),
    "CURRENT: a bit": lambda db: flip(db / "CURRENT", 9),
    "CURRENT: its last bit": lambda db: flip(db / "CURRENT", -1),
    "CURRENT: empty": lambda db: os.truncate(db / "CURRENT", 0),
    "CURRENT: gone": lambda db: (db / "CURRENT").unlink(),
    "CURRENT: names another manifest": lambda db: (db / "CURRENT").write_text("MANIFEST-000999\n"),
    "rocksdict's own file: a bit": lambda db: flip(db / "rocksdict-config.json", 3),
    "rocksdict's own file: empty": lambda db: os.truncate(db / "rocksdict-config.json", 0),
    "rocksdict's own file: gone": lambda db: (db / "rocksdict-config.json").unlink(),
    "options: a bit": lambda db: [flip(file, 50) for file in db.glob("OPTIONS-*")],
    "everything but the log": lambda db: [f.unlink() for f in db.iterdir() if f.suffix != ".log"],
    "every file": lambda db: [f.unlink() for f in db.iterdir()],
    "the folder": lambda db: shutil.rmtree(db),
}


def broken(killed, tmp_path, damage):
    data = tmp_path / "data"
    shutil.copytree(killed.folder, data)
    DAMAGE[damage](data / "db")
    return data


def start(data):
    """A start, and the next one where the first ends with a sentence, as a service manager would do it."""
    try:
        return started(data)
    except Refusal as refusal:
        if refusal.code != "data-damaged":
            raise
        return started(data)


def started(data):
    house = House.open(data, config.Config())
    try:  # everything that a node may ask of its log
        for family in (layout.STATE, layout.INDEX, layout.SEALS):
            assert len(house.database.scan(family, b"", 10_000)) > 0 or house.archive.size == 0
        house.archive.entries(0, house.archive.size)
        for height in range(1, 1 + (house.archive.head.height if house.archive.head else 0)):
            assert house.archive.block(height) is not None
    except BaseException:
        house.close()
        raise
    return house


FILES = ("*.log", "*.sst", "MANIFEST-*", "CURRENT", "OPTIONS-*")


@given(data=st.data())
@settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_flipped_byte_and_no_cut_anywhere_makes_a_validator_vote_on_a_shorter_log(
    validator, tmp_path_factory, data
):
    folder = broken(validator, tmp_path_factory.mktemp("anywhere"), "nothing")
    file = largest(folder / "db", data.draw(st.sampled_from(FILES)))
    at = data.draw(st.integers(0, size(file) - 1))
    if data.draw(st.booleans()):
        os.truncate(file, at)
    else:
        flip(file, at)

    async def found():
        house = start(folder)
        leaves = the_log(house)
        house.close()
        return house.may_vote, leaves

    may_vote, leaves = trio.run(found)
    shutil.rmtree(folder)

    assert leaves == (validator.leaves if may_vote else [])


def the_log(house):
    return house.archive.entries(0, house.archive.size)


@pytest.mark.parametrize("damage", DAMAGE)
async def test_a_damaged_validator_has_its_whole_log_or_no_vote(validator, tmp_path, damage):
    data = broken(validator, tmp_path, damage)

    house = start(data)
    found, may_vote, notices = the_log(house), house.may_vote, list(house.notices)
    house.close()

    if may_vote:
        assert found == validator.leaves
        assert notices == [] or notices[0].startswith("recovered the database")
    else:
        assert found == []
        assert notices[0].startswith("stopped voting: ")
        assert "set the database aside" in notices[1]
        assert (data / "voting.stopped").exists()
        assert (house.may_vote, house.may_cosign) == (False, False)
    assert may_vote or damage != "nothing"


@pytest.mark.parametrize("damage", DAMAGE)
async def test_a_validator_that_was_killed_while_it_wrote_loses_nothing_that_was_acknowledged(
    mid_write, tmp_path, damage
):
    house = start(broken(mid_write, tmp_path, damage))
    found, may_vote = the_log(house), house.may_vote
    house.close()

    assert found[: len(mid_write.leaves)] == mid_write.leaves if may_vote else found == []


@pytest.mark.parametrize("damage", DAMAGE)
async def test_a_damaged_follower_has_a_log_that_fits_together_or_a_new_one(follower, tmp_path, damage):
    house = start(broken(follower, tmp_path, damage))
    found, notices = the_log(house), list(house.notices)
    house.close()

    assert found == follower.leaves[: len(found)]
    assert found or notices
    assert not any("voting" in notice for notice in notices)


async def test_damage_behind_the_last_acknowledged_block_costs_a_copy_and_not_the_vote(mid_write, tmp_path):
    data = broken(mid_write, tmp_path, "log: a bit near its end")

    house = House.open(data, config.Config())
    house.close()

    assert house.may_vote
    assert house.archive.head.height == mid_write.height + LOOSE - 1
    assert house.notices[0].startswith("recovered the database up to all that was acknowledged")
    assert (data / "db.damaged-1").is_dir()
    assert not (data / "db.copy").exists()


async def test_a_lost_database_stops_the_vote_at_every_later_start_and_leaves_the_record_alone(
    validator, tmp_path
):
    data = broken(validator, tmp_path, "log: a torn end")
    record = (data / "votes.wal").read_bytes()
    House.open(data, config.Config()).close()

    house = House.open(data, config.Config())
    await house.persist([b"must not be written"])
    house.close()

    assert not house.may_vote
    assert [notice.split(":")[0] for notice in house.notices] == ["stopped voting"]
    assert "was on its disk" in house.notices[0]
    assert (data / "votes.wal").read_bytes().rstrip(b"\0") == record.rstrip(b"\0")


async def test_a_vote_record_that_is_gone_stops_the_vote_and_leaves_the_log(validator, tmp_path):
    data = broken(validator, tmp_path, "nothing")
    (data / "votes.wal").unlink()
    House.open(data, config.Config()).close()

    house = House.open(data, config.Config())
    found = the_log(house)
    house.close()

    assert not house.may_vote
    assert found == validator.leaves
    assert "is gone" in house.notices[0]


async def test_a_damaged_vote_record_beside_a_lost_database_stops_tree_heads_too(validator, tmp_path):
    data = broken(validator, tmp_path, "nothing")
    flip(data / "votes.wal", 30)
    House.open(data, config.Config()).close()
    house = House.open(data, config.Config())
    house.close()
    known = house.may_vote, house.may_cosign
    (data / "db" / "CURRENT").unlink()

    again = House.open(data, config.Config())
    again.close()

    assert known == (False, True)
    assert (again.may_vote, again.may_cosign) == (False, False)
    assert again.notices[0].startswith("stopped voting: ")


async def test_a_first_start_that_was_killed_before_its_database_was_whole_costs_no_vote(validator, tmp_path):
    data = broken(validator, tmp_path, "everything but the log")
    (data / "votes.wal").write_bytes(b"")
    shutil.rmtree(data / "db")
    House.open(data, config.Config()).close()
    (data / "db" / "CURRENT").unlink()

    house = House.open(data, config.Config())
    house.close()

    assert house.may_vote
    assert not (data / "voting.stopped").exists()


async def test_damage_that_is_met_while_the_node_runs_is_a_sentence_and_the_next_start_acts_on_it(
    validator, tmp_path
):
    data = broken(validator, tmp_path, "table: a bit in its first block")
    with pytest.raises(Refusal, match="damaged"):
        started(data).close()

    house = House.open(data, config.Config())
    house.close()

    assert (house.may_vote, house.archive.head) == (False, None)
    assert not (data / "db.suspect").exists()


async def test_artifacts_outlive_the_database_and_a_forged_file_is_not_known(validator, tmp_path):
    data = broken(validator, tmp_path, "the folder")
    forged = data / "blobs" / "ab" / "cd" / ("abcd" + "0" * 60)
    forged.parent.mkdir(parents=True)
    forged.write_bytes(b"not what its name says")

    house = House.open(data, config.Config())
    known = house.blobs.has(validator.blob), house.blobs.has(bytes.fromhex(forged.name))
    manifests = house.database.scan(layout.MANIFESTS, b"", 10)
    house.close()

    assert known == (True, False)
    assert [row[:32] for _, row in manifests] == [validator.blob]
    assert "1 artifact files outlived the database and are kept" in house.notices


async def test_a_start_that_was_interrupted_between_two_renames_goes_on(validator, tmp_path):
    data = broken(validator, tmp_path, "nothing")
    (data / "db").rename(data / "db.copy")  # an accepted copy whose original has given up the name

    house = House.open(data, config.Config())
    found = the_log(house)
    house.close()

    assert (house.may_vote, found) == (True, validator.leaves)


async def test_a_half_made_copy_is_nobodys(validator, tmp_path):
    data = broken(validator, tmp_path, "nothing")
    (data / "db.copy").mkdir()
    (data / "db.copy" / "CURRENT").write_text("half")

    house = House.open(data, config.Config())
    house.close()

    assert (house.may_vote, (data / "db.copy").exists()) == (True, False)


async def test_databases_set_aside_are_few(tmp_path):
    for _ in range(5):
        Database.open(tmp_path / "db").close()
        (tmp_path / "db" / "CURRENT").unlink()
        opened = rescue.open_database(
            tmp_path / "db", mark=None, measure=lambda _: 0, on_loss=lambda why: None
        )
        opened.database.close()

    aside = sorted(folder.name for folder in tmp_path.glob("db.damaged-*"))
    assert aside == [f"db.damaged-{number}" for number in range(6 - rescue.SET_ASIDE.value, 6)]
