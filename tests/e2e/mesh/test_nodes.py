"""The mesh of five real nodes as their people see it: who is there, what was said, what was written, and to whom."""

import signal

import msgspec
import pytest

from pyrsia import config
from pyrsia.demo.network import Network
from tests.e2e.chaos.person import Person

pytestmark = pytest.mark.processes

PATIENCE_S = 180


@pytest.fixture(scope="module")
def network():
    """Four validators, and a follower that is told of one of them."""
    made = Network.create(isolation="namespace", environment="host:" + "0" * 64)
    follower = made.follower
    settings = config.load(follower.data)
    one = msgspec.structs.replace(settings.net, peers=settings.net.peers[:1])
    config.save(msgspec.structs.replace(settings, net=one), follower.data)
    try:
        made.start_all()
        yield made
    finally:
        made.stop_all()
        made.remove()


@pytest.fixture
def people(network, tmp_path):
    """Runs `pyrsia` at a node: (node, arguments) -> what it told."""
    person = Person(tmp_path / "home")

    def run(node, *arguments):
        return person.run(*arguments, "--node", node.data)

    return run


def states(people, node):
    """Name -> state of every peer that `node` knows."""
    return {peer["name"]: peer["state"] for peer in people(node, "peers", "--json").json["peers"]}


def everybody(network, node):
    return {other.name for other in network.nodes} - {node.name}


def alive(people, node):
    return {name for name, state in states(people, node).items() if state == "alive"}


def test_a_node_that_is_told_of_one_other_comes_to_know_all(network, people):
    follower = network.follower
    network.wait(
        lambda: alive(people, follower) >= everybody(network, follower),
        PATIENCE_S,
        "the follower does not know all",
    )
    shown = people(follower, "peers")
    assert shown.code == 0
    assert all(name in shown.out for name in everybody(network, follower))


def test_a_node_that_is_killed_is_seen_as_dead_and_alive_when_it_is_back(network, people):
    seen_by, lost = network.follower, network.validators[3]
    network.kill(lost)
    network.wait(
        lambda: states(people, seen_by).get(lost.name) == "dead",
        PATIENCE_S,
        "nobody calls a killed node dead",
    )
    assert lost.name not in alive(people, network.validators[0])
    network.start(lost)
    network.wait_ready(lost)
    network.wait(
        lambda: lost.name in alive(people, seen_by), PATIENCE_S, "a node that is back is not seen as alive"
    )


def heard(people, node, topic):
    return [row["text"] for row in people(node, "listen", topic, "--json").json["messages"]]


def test_what_is_said_is_heard_by_all_and_by_who_was_away(network, people):
    away = network.validators[2]
    network.kill(away)
    said = people(network.follower, "broadcast", "news/", "the mirror \x1b[31mis up")
    assert said.code == 0, said.err
    for node in network.nodes:
        if node is not away:
            network.wait(
                lambda node=node: heard(people, node, "news/") != [], PATIENCE_S, f"{node.name} hears nothing"
            )
    network.start(away)
    network.wait_ready(away)
    network.wait(lambda: heard(people, away, "news/") != [], PATIENCE_S, "who was away does not hear it")
    shown = people(away, "listen", "news/").out
    assert "the mirror" in shown
    assert "\x1b" not in shown
    assert network.follower.name in shown


def test_a_sealed_message_arrives_once_and_its_receipt_comes_back(network, people):
    writer, reader = network.follower, network.validators[1]
    sent = people(writer, "send", "--to", reader.name, "--seal", "only for you", "--json")
    assert sent.code == 0, sent.err
    texts = [row["text"] for row in people(reader, "inbox", "--json").json["messages"]]
    assert texts.count("only for you") == 1
    shown = people(reader, "inbox").out
    assert "only for you" in shown
    assert writer.name in shown
    assert "delivered" in people(writer, "inbox", "--sent").out


def test_a_message_to_a_node_that_is_down_is_reported_and_kept_for_it_if_so_wanted(network, people):
    writer, reader = network.follower, network.validators[3]
    network.kill(reader)
    lost = people(writer, "send", "--to", reader.name, "nobody is there")
    assert lost.code == 1
    assert reader.name in lost.err or reader.node_id[:8] in lost.err
    kept = people(writer, "send", "--to", reader.name, "--keep", "when you are back")
    assert kept.code in (0, 1), kept.err
    network.start(reader)
    network.wait_ready(reader)

    def texts():
        return [row["text"] for row in people(reader, "inbox", "--json").json["messages"]]

    network.wait(
        lambda: "when you are back" in texts(), 2 * PATIENCE_S, "a message that was kept does not come"
    )
    assert "nobody is there" not in texts()


def test_a_node_that_stands_still_is_not_called_dead_at_once_and_accuses_nobody(network, people):
    still, seen_by = network.validators[1], network.validators[0]
    assert still.process is not None
    still.process.send_signal(signal.SIGSTOP)
    try:
        network.wait(
            lambda: states(people, seen_by).get(still.name) in ("suspect", "dead"),
            PATIENCE_S,
            "nobody looks at it",
        )
    finally:
        still.process.send_signal(signal.SIGCONT)
    network.wait(lambda: still.name in alive(people, seen_by), PATIENCE_S, "it is not alive again")
    assert alive(people, still) >= everybody(network, still)


def test_a_name_that_nobody_has_is_refused_with_what_to_do(network, people):
    told = people(network.follower, "send", "--to", "nobody-of-this-name", "hello")
    assert told.code in (1, 2)
    assert "nobody-of-this-name" in told.err


def test_the_disk_is_shown(network, people):
    shown = people(network.follower, "storage", "status", "--json").json
    assert 0 <= shown["used"] < shown["allocated"]
    assert people(network.follower, "storage", "gc", "--dry-run").code == 0
