"""Broadcasts among many nodes with a fifth of everything lost, restarts and partitions, in virtual time."""

import pytest

from pyrsia.mesh.choosing import CHOSEN, EVERYBODY
from tests.sim.mesh.callers import Caller, node_id
from tests.sim.mesh.network import Network, Weather

LOSSY = Weather(loss=0.2)


def started(count, seed, weather=LOSSY):
    network = Network(seed, weather)
    nodes = [node_id(number + 1) for number in range(count)]
    for number, node in enumerate(nodes):
        start(network, nodes, node, seed * 1_000 + number, life=1)
    return network, nodes


def start(network, nodes, node, seed, life):
    others = [other for other in nodes if other != node]
    network.start(node, Caller(network, node, others, seed=seed, life=life))


def everybody_heard(network, payloads):
    return all(host.heard.keys() >= set(payloads) for host in network.hosts.values())


@pytest.mark.parametrize("seed", range(3))
def test_what_is_said_while_half_the_nodes_restart_and_a_fifth_is_lost_reaches_every_live_node(seed):
    network, nodes = started(40, seed)
    network.run(2.0)
    payloads = []
    for number, node in enumerate(nodes[:20]):  # one says something each half second, and one restarts
        payload = b"said %d" % number
        payloads.append(payload)
        network.hosts[nodes[20 + number]].say(payload)
        network.crash(node)
        network.at(
            network.now + 3.0,
            lambda node=node, number=number: start(network, nodes, node, seed * 77 + number, life=2),
        )
        network.run(network.now + 0.5)

    network.run(network.now + 3.0)
    assert len(network.hosts) == len(nodes)
    network.run_until(lambda: everybody_heard(network, payloads), within=60.0)
    assert network.lost["weather"] > 1_000
    assert all(times == 1 for host in network.hosts.values() for times in host.heard.values())
    assert not [blame for host in network.hosts.values() for blame in host.blames]


def test_a_node_that_was_gone_for_minutes_hears_what_was_said_meanwhile_and_no_more_than_once():
    network, nodes = started(20, 5)
    network.run(2.0)
    network.crash(nodes[0])
    for number in range(60):
        network.hosts[nodes[1 + number % 19]].say(b"meanwhile %d" % number)
        network.run(network.now + 3.0)
    start(network, nodes, nodes[0], 99, life=2)
    network.run_until(lambda: len(network.hosts[nodes[0]].heard) == 60, within=30.0)
    assert set(network.hosts[nodes[0]].heard.values()) == {1}


def test_both_sides_of_a_partition_hear_of_the_other_one_when_it_is_over():
    network, nodes = started(20, 6)
    network.run(2.0)
    network.partition(nodes[:10], nodes[10:])
    network.hosts[nodes[0]].say(b"left")
    network.hosts[nodes[19]].say(b"right")
    network.run(network.now + 60.0)
    assert not everybody_heard(network, [b"left", b"right"])
    network.heal()
    network.run_until(lambda: everybody_heard(network, [b"left", b"right"]), within=40.0)


def test_beyond_the_number_up_to_which_all_are_followed_a_few_are_enough():
    count = EVERYBODY.value + 36
    network, nodes = started(count, 7)
    network.run(3.0)
    frames = []
    network.tap = lambda now, sender, to, message: frames.append(to) if message[0] == "frame" else None
    network.hosts[nodes[3]].say(b"to a hundred")
    network.run_until(lambda: everybody_heard(network, [b"to a hundred"]), within=60.0)
    assert count - 1 <= len(frames) <= CHOSEN.value * count
    assert all(len(host.follows) == CHOSEN.value for host in network.hosts.values())


def test_the_same_seed_gives_the_same_run():
    def run():
        network, nodes = started(12, 8)
        network.run(2.0)
        network.hosts[nodes[0]].say(b"once")
        network.run(network.now + 30.0)
        return dict(network.sent), dict(network.lost)

    assert run() == run()
