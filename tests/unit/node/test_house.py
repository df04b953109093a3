"""What lies in a data directory, opened; which of its keys sign, and how new ones take their place."""

import pytest

from pyrsia import config
from pyrsia.consensus.application import InvalidBlock
from pyrsia.errors import Refusal
from pyrsia.keys import KeyRing, verify
from pyrsia.ledger.chain import Chain
from pyrsia.node.house import House
from pyrsia.node.members.founding import Founder, found
from pyrsia.units import NodeId
from pyrsia.wire.text import b32


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


def remember(house):
    """Block 0, as a node writes it before anything else."""
    chain = Chain(
        house.genesis,
        house.archive.state,
        verify=verify,
        fetch=house.archive.index,
        head=None,
        invalid=InvalidBlock,
    )
    house.archive.write(chain.genesis_commit(), None, None)


async def test_a_validator_a_follower_and_a_stranger_are_told_apart_by_the_state(tmp_path, network):
    genesis, rings = network
    found = []
    for name, ring in (("v", rings[0]), ("f", rings[4]), ("s", KeyRing.generate())):
        house = await opened(furnish(tmp_path / name, genesis, ring))
        before = house.role, house.name
        remember(house)
        found.append((before, house.role, house.builds, house.name, house.record is not None))
        house.close()

    assert found == [
        (("follower", "node"), "validator", True, "n0", True),
        (("follower", "node"), "follower", False, "n4", True),
        (("follower", "node"), "follower", False, "node", False),
    ]


async def test_a_node_is_called_by_its_name_in_the_log_and_its_roles_are_told_as_they_stand_there(
    tmp_path, network
):
    genesis, rings = network
    found = []
    for name, ring in (("v", rings[0]), ("f", rings[4]), ("s", KeyRing.generate())):
        house = await opened(furnish(tmp_path / name, genesis, ring))
        remember(house)
        found.append((house.roles_in_words, house.called(NodeId(rings[4].node.public))))
        assert house.called(NodeId(b"?" * 32)) == b32(b"?" * 32)[:8]
        house.close()
    assert [called for _, called in found] == ["n4"] * 3
    assert [roles for roles, _ in found] == ["validator+builder", "follower", "follower"]


async def test_links_are_with_members_and_with_whom_the_operator_names_and_the_log_never_did(
    tmp_path, network
):
    genesis, rings = network
    stranger, other = KeyRing.generate(), KeyRing.generate()
    named = f"{b32(stranger.node.public)}@tcp://127.0.0.1:1"
    house = House.open(
        furnish(tmp_path / "v", genesis, rings[0]),
        config.Config(net=config.NetSection(peers=(named, "rubbish"))),
    )
    remember(house)
    welcome = [house.welcomes(ring.node.public) for ring in (rings[1], stranger, other)]
    house.close()

    assert welcome == [True, True, False]


async def test_what_a_killed_node_left_of_builds_is_gone_and_its_records_are_not(tmp_path, network):
    folder = furnish(tmp_path / "v", network[0], network[1][0])
    house = await opened(folder)
    assert house.signer(house.keys.vote.public) is not None
    await house.persist([b"a vote"])
    house.close()
    (folder / "scratch" / "job-1").mkdir(parents=True)
    (folder / "results" / "built-1").mkdir(parents=True)

    again = await opened(folder)
    again.close()

    assert again.recovered().records == (b"a vote",)
    assert not (folder / "scratch").exists()
    assert not (folder / "results").exists()


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
    assert house.signer(house.keys.vote.public) is not None
    await house.persist([b"first vote"])
    await house.persist([b"second vote"])
    house.close()
    data = bytearray((folder / "votes.wal").read_bytes())
    data[60] ^= 1
    (folder / "votes.wal").write_bytes(data)

    again = await opened(folder)
    assert again.signer(again.keys.vote.public) is None
    await again.persist([b"must not be written"])
    again.close()

    assert not again.may_vote
    assert again.notices[0].startswith("stopped voting")
    assert b"must not be written" not in (folder / "votes.wal").read_bytes()


async def test_a_chain_is_hashed_once_and_a_damaged_file_of_it_is_made_anew(tmp_path, network):
    folder = furnish(tmp_path / "v", network[0], network[1][0])
    house = await opened(folder)
    file = folder / "keys" / "chain.links"
    first = house.chain()
    made = file.read_bytes()
    house.close()
    file.write_bytes(made[:-1])
    house = await opened(folder)
    again = house.chain()
    house.close()

    assert first.end == again.end == house.genesis.member(house.keys.node_id).chain_end
    assert file.read_bytes() == made
    assert file.stat().st_mode & 0o777 == 0o600
