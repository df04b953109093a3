"""A real follower that lost everything takes a snapshot over real links, goes on from it, and fills the log below."""

import shutil
import time

import pytest

from pyrsia.demo.network import Node
from pyrsia.errors import PyrsiaError
from pyrsia.node.sync.points import REST_S
from tests.e2e.chaos.network import ChaosNetwork, running

pytestmark = pytest.mark.processes

ENTRIES = 40


def notices(network: ChaosNetwork, node: Node) -> str:
    """What its operator is told; nothing while it starts anew."""
    try:
        return " ".join(network.status(node)["notices"])
    except PyrsiaError:
        return ""


def whole(network: ChaosNetwork, node: Node) -> bool:
    """Whether its whole log can be read, first entry included."""
    try:
        with node.client() as client:
            return bool(client.get("/api/v1/log/prove", index=5)["entry"])
    except PyrsiaError:
        return False


def test_a_follower_that_lost_its_disk_takes_a_snapshot_and_then_the_log_below() -> None:
    with running() as network:
        node = network.follower
        for number in range(ENTRIES):
            network.say(network.validators[0], f"before {number}")
        told_s = time.monotonic()
        network.kill(node)
        network.wait(lambda: time.monotonic() - told_s > REST_S + 1, 10, "the log does not rest")
        shutil.rmtree(node.data / "db")
        network.twists[node.name] = ["--far", "10"]
        network.start(node)
        network.wait(
            lambda: "began from the state after block" in notices(network, node),
            60,
            "no snapshot was taken",
        )
        told = network.say(network.validators[1], "after")["index"]
        network.wait(network.one_head, 60, "the follower does not go on from the snapshot")
        network.wait(lambda: whole(network, node), 60, "the log below the snapshot does not come")

        with node.client() as client:
            assert client.get("/api/v1/log/prove", index=told)["entry"]
        assert network.head(node) == network.head(network.validators[0])
