"""Four real validators survive whatever happens to one of them; what a majority needs, a minority cannot fake.

One network for all tests here: each leaves it whole, with one head everywhere, and the next one begins there.
"""

import contextlib
import shutil
import signal
from collections.abc import Iterator

import pytest

from pyrsia.demo.network import Node
from pyrsia.errors import Refusal
from tests.e2e.chaos.lies import LIES, TOLD
from tests.e2e.chaos.network import ChaosNetwork, running

pytestmark = pytest.mark.processes

HOUR_S = 3_600


@pytest.fixture(scope="module")
def shared() -> Iterator[ChaosNetwork]:
    with running() as network:
        yield network


@pytest.fixture
def fresh() -> Iterator[ChaosNetwork]:
    with running() as network:
        yield network


@pytest.fixture
def network(shared: ChaosNetwork) -> Iterator[ChaosNetwork]:
    """The shared network, and afterwards the proof that it is whole."""
    yield shared
    shared.heal()
    shared.wait(shared.one_head, 60, "the logs did not become equal")


def again(network: ChaosNetwork, node: Node, *twists: str) -> None:
    """Kill `node` and start it with these twists."""
    network.kill(node)
    network.twists[node.name] = list(twists)
    network.start(node)
    network.wait_ready(node)


def listed(network: ChaosNetwork, node: Node, index: int) -> str:
    with node.client() as client:
        return str(client.get("/api/v1/log/prove", index=index)["entry"])


def time_ms(network: ChaosNetwork, node: Node) -> int:
    return int(network.status(node)["log"]["time_ms"])


def refused_or_silent(network: ChaosNetwork, node: Node, text: str) -> bool:
    """Whether nobody acknowledges an entry within three seconds."""
    with contextlib.suppress(Refusal):
        network.say(node, text, patience_s=3.0)
        return False
    return True


def test_a_stopped_validator_costs_nothing_and_catches_up_when_it_goes_on(network: ChaosNetwork) -> None:
    still = network.validators[1]
    network.signal(still, signal.SIGSTOP)
    try:
        told = [network.say(network.follower, f"stopped {number}")["index"] for number in range(5)]
    finally:
        network.signal(still, signal.SIGCONT)
    network.wait(lambda: network.one_head(still, network.follower), 60, "it did not catch up")

    assert len(set(told)) == 5
    assert "stopped 4" in listed(network, still, told[-1])


def test_the_greater_part_of_a_split_goes_on_and_the_smaller_serves_what_it_has(
    network: ChaosNetwork,
) -> None:
    alone = network.validators[2]
    before = network.say(network.follower, "before the split")["index"]
    network.wait(network.one_head, 60, "the logs did not become equal")
    network.part({alone.name})
    told = network.say(network.validators[0], "in the greater part")["index"]

    assert "before the split" in listed(network, alone, before)
    assert refused_or_silent(network, alone, "in the smaller part")
    assert network.head(alone)[0] <= told
    network.heal()
    network.wait(network.one_head, 60, "the smaller part did not catch up")
    assert "in the greater part" in listed(network, alone, told)


def test_two_halves_acknowledge_nothing_and_go_on_as_one(network: ChaosNetwork) -> None:
    one, two, three, four = network.validators
    network.part({one.name, two.name})

    assert refused_or_silent(network, one, "one half")
    assert refused_or_silent(network, three, "the other half")
    assert network.head(one) == network.head(two)
    network.heal()
    told = network.say(four, "whole again")["index"]
    network.wait(network.one_head, 60, "the halves did not become one")
    assert "whole again" in listed(network, one, told)


def test_everybody_is_killed_at_once_and_nothing_acknowledged_is_lost(network: ChaosNetwork) -> None:
    told = {network.say(network.follower, f"last words {i}")["index"]: f"last words {i}" for i in range(5)}
    for node in network.nodes:
        network.kill(node)
    network.start_all()
    told[network.say(network.follower, "first words")["index"]] = "first words"
    network.wait(network.one_head, 60, "the logs did not become equal")

    for node in network.nodes:
        assert [text for index, text in told.items() if text not in listed(network, node, index)] == []


@pytest.mark.parametrize("off_s", [HOUR_S, -HOUR_S])
def test_a_clock_that_is_an_hour_off_stops_nobody_else(network: ChaosNetwork, off_s: int) -> None:
    wrong = network.validators[0]
    right = network.validators[3]
    again(network, wrong, "--skew-s", str(off_s))
    try:
        first = network.say(right, f"clock {off_s}")["index"]
        last = [network.say(right, f"clock {off_s}, {number}")["index"] for number in range(4)][-1]
        network.wait(network.one_head, 60, "the node with the wrong clock does not follow")
        # Both are asked one after the other, and each heartbeat between moves the log's time.
        network.wait(
            lambda: time_ms(network, right) == time_ms(network, wrong), 60, "their logs' times differ"
        )
    finally:
        again(network, wrong)

    assert first < last
    assert "clock" in listed(network, wrong, last)


def test_a_disk_that_is_slow_or_ends_costs_its_own_node_only(network: ChaosNetwork) -> None:
    slow, ends = network.validators[0], network.validators[1]
    again(network, slow, "--sync-ms", "100")
    network.kill(ends)
    network.twists[ends.name] = ["--fail-sync-at", "40"]
    network.start(ends)
    process = ends.process
    assert process is not None
    number = 0
    while process.poll() is None and number < 100:
        with contextlib.suppress(Refusal):
            network.say(network.follower, f"to a disk that ends {number}")
        number += 1
    code = process.poll()
    ends.process = None  # it is expected to have ended
    network.twists[ends.name] = []
    told = network.say(network.follower, "three of four go on")["index"]
    network.start(ends)
    network.wait_ready(ends)
    again(network, slow)

    assert code not in (None, 0)
    assert "three of four go on" in listed(network, network.validators[2], told)


def test_each_lie_of_a_validator_costs_time_and_nothing_else(fresh: ChaosNetwork) -> None:
    network, liar = fresh, fresh.validators[2]
    honest = [node for node in network.nodes if node is not liar]
    linked = len(honest)
    # "hasty" comes last: votes for views to come, which its own record lacks, stop its key once it is honest.
    for lie in sorted(LIES, key=lambda name: (name == "hasty", name)):
        again(network, liar, "--lie", lie)
        # A lie that reaches nobody is none; a liar whom the others refuse is let in again after a minute.
        network.wait(lambda: network.status(liar)["peers"] >= linked, 90, f"the liar has no links ({lie})")
        told: dict[int, str] = {}
        while len(told) < 3 or f"{TOLD}{lie}\n" not in (liar.data / "node.log").read_text(errors="replace"):
            text = f"beside {lie} {len(told)}"
            told[network.say(honest[len(told) % 4], text)["index"]] = text
            assert len(told) <= 3 * 4, f"no chance to lie came in three rounds of leaders ({lie})"
        network.wait(lambda: network.one_head(*honest), 60, f"logs differ beside a liar ({lie})")
        for node in honest:
            assert [text for index, text in told.items() if text not in listed(network, node, index)] == [], (
                lie
            )

    again(network, liar)
    network.wait(
        lambda: any("stopped voting" in notice for notice in network.status(liar)["notices"]),
        60,
        "the former liar votes with a record that lacks its votes",
    )
    notices = [notice for node in honest for notice in network.status(node)["notices"]]
    assert any(notice.startswith(f"ALARM: {liar.name} signed two statements") for notice in notices)
    assert not any(f"ALARM: {node.name}" in notice for node in honest for notice in notices)
    assert any(f"evidence against {liar.name} is leaf" in notice for notice in notices)


# The last one: its validator votes no more, and a network of four bears one such.
def test_a_validator_restored_from_an_old_image_of_its_disk_does_not_vote(network: ChaosNetwork) -> None:
    node = network.validators[3]
    network.say(network.follower, "in the image")
    network.stop(node)
    image = network.folder / "image"
    shutil.copytree(node.data, image, ignore=shutil.ignore_patterns("*.sock"))
    network.start(node)
    network.wait_ready(node)
    for number in range(3):
        network.say(network.follower, f"after the image {number}")
    network.wait(network.one_head, 60, "the logs did not become equal")

    # A vote of its own in a view that is not final yet is what the others will hold against it.
    others = [other for other in network.validators if other is not node]
    network.part({others[0].name})
    network.part({others[1].name})
    assert refused_or_silent(network, node, "only two of four hear of this")
    network.kill(node)
    shutil.rmtree(node.data)
    image.rename(node.data)
    network.start(node)
    network.wait_ready(node)
    network.heal()
    network.wait(
        lambda: any("stopped voting" in notice for notice in network.status(node)["notices"]),
        60,
        "it did not notice",
    )
    told = network.say(network.follower, "three vote, one follows")["index"]
    network.wait(network.one_head, 60, "it does not follow")

    assert "three vote, one follows" in listed(network, node, told)
