"""A validator whose database is damaged while it is down: it says so, catches up, and votes only if nothing is lost."""

import os
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from pyrsia.consensus import recovery
from pyrsia.demo.network import Network, Node
from pyrsia.errors import Refusal
from pyrsia.wire.blocks import Vote

pytestmark = pytest.mark.processes

HEAD, GROUP = 48, struct.Struct(">II")  # of votes.wal; the test's own reading of it
MARK = 16


def fact(text: str) -> dict[str, str]:
    return {"kind": "description", "subject": "pkg:pypi/load@1", "text": text}


def say(network: Network, texts: range) -> None:
    """Order one fact for each number, through the follower."""
    for number in texts:
        with network.follower.client(30.0) as client:
            client.post("/api/v1/facts", fact(f"fact {number} " + "x" * 400))


def head(network: Network, node: Node) -> tuple[int, str]:
    log = network.status(node)["log"]
    return log["size"], log["root"]


def one_head(network: Network) -> bool:
    return len({head(network, node) for node in network.nodes}) == 1


def votes_signed(node: Node) -> list[Vote]:
    """Every vote in the node's record file."""
    data, at, found = (node.data / "votes.wal").read_bytes(), HEAD, []
    while (length := GROUP.unpack_from(data, at)[0]) > 0:
        group = data[at + GROUP.size : at + GROUP.size + length]
        at += GROUP.size + length
        inner = MARK
        while inner < len(group):
            size = int.from_bytes(group[inner : inner + 4], "big")
            thing = recovery.read(group[inner + 4 : inner + 4 + size])
            inner += 4 + size
            if isinstance(thing, Vote):
                found.append(thing)
    return found


def torn(db: Path) -> None:
    """The end of RocksDB's log is gone: RocksDB itself opens it without a word."""
    for log in db.glob("*.log"):
        os.truncate(log, log.stat().st_size // 2)


def flipped(db: Path) -> None:
    log = max(db.glob("*.log"), key=lambda file: file.stat().st_size)
    data = bytearray(log.read_bytes())
    data[len(data) // 2] ^= 1
    log.write_bytes(data)


def no_manifest(db: Path) -> None:
    for file in db.glob("MANIFEST-*"):
        file.unlink()


def damage_and_start(network: Network, node: Node, damage: Callable[[Path], None]) -> list[str]:
    """Kill `node` with a log of some blocks, damage its database, start it; its notices."""
    say(network, range(6))
    network.wait(lambda: one_head(network), 30, "the logs did not become equal")
    network.kill(node)
    damage(node.data / "db")
    network.start(node)
    network.wait_ready(node)
    notices: list[str] = network.status(node)["notices"]
    return notices


@pytest.mark.parametrize("damage", [torn, flipped])
def test_a_validator_that_lost_its_database_says_so_catches_up_and_signs_nothing_any_more(
    network: Network, damage: Callable[[Path], None]
) -> None:
    node, other = network.validators[:2]
    notices = damage_and_start(network, node, damage)
    record = votes_signed(node)
    network.wait(lambda: one_head(network), 60, "the node did not catch up")

    say(network, range(100, 103))  # three of four go on, and the fourth follows
    network.wait(lambda: one_head(network), 60, "the node did not follow")
    network.kill(other)
    with pytest.raises(Refusal), network.follower.client(3.0) as client:  # two votes of four are no quorum
        client.post("/api/v1/facts", fact("needs a third vote"))
    network.start(other)
    network.wait_ready(other)
    say(network, range(200, 201))
    network.wait(lambda: one_head(network), 60, "the logs did not become equal again")

    assert notices[0].startswith("stopped voting: ")
    assert notices[1].startswith("set the database aside as db.damaged-1")
    assert "set the database aside" in node.diary(200)
    assert (node.data / "db.damaged-1").is_dir()
    assert len(record) > 0
    assert votes_signed(node) == record


def test_a_follower_that_lost_its_database_says_so_and_catches_up_to_the_same_root(network: Network) -> None:
    notices = damage_and_start(network, network.follower, no_manifest)
    network.wait(lambda: one_head(network), 60, "the follower did not catch up")

    assert notices[0].startswith("set the database aside as db.damaged-1")
    assert not any("voting" in notice for notice in notices)
    assert head(network, network.follower)[0] > 6
