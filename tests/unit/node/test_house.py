"""What lies in a data directory: opened for one member of one network, and refused for everybody else."""

import pytest

from pyrsia import config
from pyrsia.errors import Refusal
from pyrsia.keys import KeyRing
from pyrsia.node.founding import Founder, found
from pyrsia.node.house import House


@pytest.fixture(scope="module")
def network():
    """(genesis, the key rings of four validators and a follower)."""
    rings = [KeyRing.generate() for _ in range(5)]
    founders = [
        Founder(
            ring,
            f"n{i}",
            f"o{i}",
            f"d{i}",
            ("builder", "validator") if i < 4 else (),
            ("pip",) if i < 4 else (),
        )
        for i, ring in enumerate(rings)
    ]
    genesis = found(
        "t",
        founders,
        builders=3,
        agreeing=2,
        environments=["host:" + "0" * 64],
        min_isolation="namespace",
        demo=False,
        now_ms=1,
    )
    return genesis, rings


def furnish(folder, genesis, ring):
    ring.save(folder / "keys")
    (folder / "genesis.json").write_bytes(genesis)
    return folder


async def opened(folder):
    return House.open(folder, config.Config())


async def test_a_validator_and_a_follower_are_told_apart_by_the_genesis(tmp_path, network):
    genesis, rings = network
    validator = await opened(furnish(tmp_path / "v", genesis, rings[0]))
    follower = await opened(furnish(tmp_path / "f", genesis, rings[4]))
    validator.close()
    follower.close()

    assert (validator.role, validator.builds, validator.votes is None) == ("validator", True, False)
    assert (follower.role, follower.builds, follower.votes is None) == ("follower", False, True)


async def test_what_a_killed_node_left_of_builds_is_gone_and_its_records_are_not(tmp_path, network):
    folder = furnish(tmp_path / "v", network[0], network[1][0])
    house = await opened(folder)
    await house.persist([b"a vote"])
    house.close()
    (folder / "scratch" / "job-1").mkdir(parents=True)
    (folder / "results" / "built-1").mkdir(parents=True)

    again = await opened(folder)
    again.close()

    assert again.recovered().records == (b"a vote",)
    assert not (folder / "scratch").exists()
    assert not (folder / "results").exists()


async def test_a_stranger_to_the_network_cannot_run(tmp_path, network):
    folder = furnish(tmp_path / "s", network[0], KeyRing.generate())

    with pytest.raises(Refusal) as refused:
        await opened(folder)

    assert refused.value.code == "forbidden"
    assert not (folder / "db").exists()


@pytest.mark.parametrize(
    ("content", "code"), [(None, "config-invalid"), (b"{}", "data-damaged"), (b"\xff", "data-damaged")]
)
async def test_without_a_whole_genesis_there_is_no_house(tmp_path, network, content, code):
    folder = furnish(tmp_path / "g", network[0], network[1][0])
    (folder / "genesis.json").unlink()
    if content is not None:
        (folder / "genesis.json").write_bytes(content)

    with pytest.raises(Refusal) as refused:
        await opened(folder)

    assert refused.value.code == code


async def test_a_directory_serves_one_process_and_one_network(tmp_path, network):
    genesis, rings = network
    folder = furnish(tmp_path / "v", genesis, rings[0])
    house = await opened(folder)
    with pytest.raises(Refusal) as in_use:
        await opened(folder)
    house.close()
    (folder / "network").write_text("other\n")

    with pytest.raises(Refusal) as foreign:
        await opened(folder)

    assert in_use.value.code == "data-in-use"
    assert foreign.value.code == "data-foreign"


async def test_a_damaged_vote_record_stops_voting_and_not_the_node(tmp_path, network):
    folder = furnish(tmp_path / "v", network[0], network[1][0])
    house = await opened(folder)
    await house.persist([b"first vote"])
    await house.persist([b"second vote"])
    house.close()
    data = bytearray((folder / "votes.wal").read_bytes())
    data[20] ^= 1
    (folder / "votes.wal").write_bytes(data)

    again = await opened(folder)
    await again.persist([b"must not be written"])
    again.close()

    assert not again.may_vote
    assert not again.recovered().may_vote
    assert again.notices[0].startswith("stopped voting")
    assert b"must not be written" not in (folder / "votes.wal").read_bytes()


async def test_a_chain_is_hashed_once_and_a_damaged_file_of_it_is_made_anew(tmp_path, network):
    folder = furnish(tmp_path / "v", network[0], network[1][0])
    house = await opened(folder)
    file = folder / "keys" / "chain.links"
    first = house.chain()
    made = file.read_bytes()
    file.write_bytes(made[:-1])
    again = house.chain()
    house.close()

    assert first.end == again.end == house.member.chain_end
    assert file.read_bytes() == made
    assert file.stat().st_mode & 0o777 == 0o600
