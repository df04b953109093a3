"""New keys in the place of old ones: when, what is left of the old, and what a crash on the way costs."""

import os
import shutil
from contextlib import suppress

import pytest
import trio

from pyrsia import config
from pyrsia.keys import KeyRing
from pyrsia.ledger import beacon
from pyrsia.ledger.beacon import ZERO
from pyrsia.node.house import House
from pyrsia.store import votes
from tests.reference.housed import Housed

MEMORY = ("vote", "log", "cosign")
STEPS = 14  # renames and syncs of folders, and a few


def secrets_in(folder):
    return {file.read_text().strip() for file in folder.rglob("*.key")}


@pytest.fixture
async def world(tmp_path):
    made = Housed(tmp_path)
    yield made
    made.house.close()


async def test_new_keys_lie_beside_the_old_and_asking_again_makes_no_others(world):
    house, before = world.house, secrets_in(world.data / "keys")

    first = house.prepare(["vote", "log"])
    again = house.prepare(["log", "vote"])
    house.close()
    world.open()

    made = world.data / "keys" / "next" / "vote.key"
    assert first == again
    assert {file.name for file in made.parent.iterdir()} == {"vote.key", "log.key"}
    assert (made.stat().st_mode & 0o777, made.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    assert before < secrets_in(world.data / "keys")
    assert world.house.coming("vote").hex() == first["vote"]
    assert not any(secret in first.values() for secret in secrets_in(world.data / "keys"))


async def test_the_old_key_signs_until_the_epoch_ends_and_is_gone_when_the_next_has_begun(world):
    house = world.house
    old = {purpose: getattr(house.keys, purpose) for purpose in MEMORY}
    assert house.signer(old["vote"].public) is not None
    await house.persist([b"old vote"])

    new = {name: bytes.fromhex(public) for name, public in world.rotate(*MEMORY).items()}
    assert list(house.settle()) == []
    assert None not in (house.log_key(old["log"].public), house.log_key(new["log"]))
    signer = house.signer(new["vote"])
    await house.persist([b"new vote"])
    assert house.recovered().records == (b"old vote", b"new vote")

    begun = house.archive.head.height
    world.next_block()
    assert list(house.settle(begun)) == []  # that block is written and not on disk yet
    assert list(house.settle(begun + 1)) == [*MEMORY]
    assert votes.owner(world.data / "votes.wal") == new["vote"]
    assert house.recovered().records == (b"new vote",)
    assert signer(b"x") == house.keys.vote.sign(b"x")
    assert house.signer(old["vote"].public) is None
    assert not {pair.seed.hex() for pair in old.values()} & secrets_in(world.data / "keys")
    assert {name: getattr(house.keys, name).public for name in new} == new


async def test_a_build_key_needs_no_epoch_and_the_state_says_which_one_attests(world):
    house = world.house
    old = house.keys.build
    new = bytes.fromhex(world.rotate("build")["build"])

    attests = house.build_key()
    assert (attests.public, list(house.settle())) == (new, ["build"])
    assert house.build_key() is house.keys.build is attests
    assert old.seed.hex() not in secrets_in(world.data / "keys")


class Power(Exception):
    """It failed here."""


@pytest.mark.parametrize("step", range(STEPS))
async def test_a_crash_anywhere_on_the_way_costs_neither_key_nor_vote(tmp_path, monkeypatch, step):
    """Every rename and sync of a folder is a place to die at; what is there then is opened by another process."""
    world = Housed(tmp_path)
    world.house.signer(world.house.keys.vote.public)
    new = bytes.fromhex(world.rotate("vote", "chain")["vote"])
    assert world.house.signer(new) is not None
    await world.house.persist([b"new vote"])
    world.next_block()
    await world.house.database.sync()
    done = died = 0

    def dying(real):
        def step_by_step(*arguments, **named):
            nonlocal done, died
            if done >= step:
                died += 1
                raise Power
            done += 1
            return real(*arguments, **named)

        return step_by_step

    with monkeypatch.context() as dies:
        dies.setattr("pathlib.Path.rename", dying(os.rename))
        dies.setattr("pyrsia.keys.sync_folder", dying(lambda folder: None))
        dies.setattr("pyrsia.node.consensus.ballots.sync_folder", dying(lambda folder: None))
        dies.setattr("pyrsia.node.house.sync_folder", dying(lambda folder: None))
        with suppress(Power):
            world.house.settle()
    shutil.copytree(world.data, tmp_path / "killed")
    world.house.close()

    house = House.open(tmp_path / "killed", config.Config())
    signer, records = house.signer(new), house.recovered().records
    await house.persist([b"another vote"])
    end = bytes.fromhex(house.record["chain_end"])
    link = house.link(end, 5)
    after = house.recovered().records
    house.close()

    assert signer is not None
    assert records == (b"new vote",)
    assert after == (b"new vote", b"another vote")
    assert (house.keys.vote.public, house.keys.coming) == (new, {})
    assert beacon.forward(link[0], 6) == end
    assert died or done < STEPS  # with the last one, no step was left out


@pytest.mark.parametrize("loss", ["damaged", "gone"])
async def test_a_key_that_lost_its_memory_never_votes_and_its_successor_does(world, loss):
    house = world.house
    old = house.keys.vote.public
    house.signer(old)
    await house.persist([b"first"])
    await house.persist([b"second"])
    await house.database.sync()
    house.close()
    record = world.data / "votes.wal"
    if loss == "gone":
        record.unlink()
    else:
        data = bytearray(record.read_bytes())
        data[60] ^= 1
        record.write_bytes(data)
    world.open()
    assert world.house.signer(old) is None

    new = bytes.fromhex(world.rotate("vote")["vote"])
    assert world.house.signer(new) is not None
    await world.house.persist([b"healed"])
    world.next_block()
    world.house.settle()
    world.house.close()
    world.open()

    assert (world.house.may_vote, world.house.notices) == (True, [])
    assert world.house.recovered().records == (b"healed",)
    assert not (world.data / "voting.stopped").exists()
    assert (world.data / "votes.wal.damaged-1").exists() == (loss == "damaged")


async def test_a_lost_database_stops_every_key_that_needs_it_until_each_is_rotated(world):
    house = world.house
    house.signer(house.keys.vote.public)
    await house.persist([b"a vote"])
    world.next_block()
    await house.database.sync()
    house.close()
    shutil.rmtree(world.data / "db")
    world.open()
    house = world.house

    assert [house.votes.stopped(getattr(house.keys, one).public) != "" for one in MEMORY] == [True] * 3
    assert house.log_key(house.keys.log.public) is house.cosign_key(house.keys.cosign.public) is None
    world.rotate("vote")
    world.next_block()
    house.settle()
    assert (house.may_vote, house.may_cosign) == (True, False)
    world.rotate("log", "cosign")
    world.next_block()
    house.settle()
    assert (house.may_vote, house.may_cosign) == (True, True)
    assert not (world.data / "voting.stopped").exists()


async def test_a_word_that_nobody_can_read_stops_every_key(world):
    world.house.close()
    (world.data / "voting.stopped").write_bytes(b'{"keys":')
    world.open()
    house = world.house

    assert house.signer(house.keys.vote.public) is None
    assert house.log_key(house.keys.log.public) is None
    assert "no key of this node votes" in house.notices[0]


async def test_a_record_beside_another_key_is_no_memory_of_it(world):
    house = world.house
    house.signer(house.keys.vote.public)
    await house.persist([b"a vote"])
    await house.database.sync()
    house.close()
    other = KeyRing.generate().vote
    (world.data / "keys" / "vote.key").write_text(other.seed.hex() + "\n")
    world.open()

    assert world.house.signer(other.public) is None
    assert "of another vote key" in world.house.notices[0]


async def test_links_go_on_in_the_next_chain_and_its_end_is_told_in_time(world, monkeypatch):
    monkeypatch.setattr(beacon, "LINKS", 4_096)
    monkeypatch.setattr(beacon, "NEXT_WITHIN", 100)
    house = world.house
    first = house.chain().end

    early, next_early = house.link(first, 0)
    late, told = house.link(first, 4_000)
    beyond, after = house.link(first, 4_096 + 7)

    assert (beacon.forward(early, 1), next_early) == (first, ZERO)
    assert beacon.forward(late, 4_001) == first
    assert beacon.forward(beyond, 8) == told != first
    assert after == ZERO
    assert house.link(bytes(32), 0) is None


async def test_a_disk_that_refuses_a_new_record_is_the_world_s_no(world, monkeypatch):
    from pyrsia.errors import Unavailable

    new = bytes.fromhex(world.rotate("vote")["vote"])

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(votes, "write_whole", full)
    with pytest.raises(Unavailable, match="No space left"):
        world.house.signer(new)
    await trio.lowlevel.checkpoint()
    assert not (world.data / "votes.next").exists()
