"""The same bytes to real nodes, several at once, killed in between, and again later: one leaf, one proof each."""

import os
import threading
import time

import pytest

from pyrsia.errors import Refusal
from pyrsia.keys import verify
from pyrsia.ledger import entries
from pyrsia.ledger.genesis import Genesis
from pyrsia.verify.acknowledged import judge
from pyrsia.verify.pins import read_genesis

pytestmark = pytest.mark.processes


def signed(network, author, text):
    genesis = Genesis.parse(network.trust.read_bytes())
    now_ms = int(time.time() * 1000)
    body = {"kind": "description", "subject": "pkg:pypi/again@1", "text": text, "valid_from": now_ms}
    return entries.author(
        "fact.add",
        body,
        net=genesis.net,
        author=author.keys.node_id,
        nonce=os.urandom(16),
        until_ms=now_ms + 600_000,
        sign=author.keys.node.sign,
    )


class Sender(threading.Thread):
    """Sends bytes to one node until it acknowledges them, whatever happens to the node."""

    def __init__(self, node, raw, *, tries=4_000):
        super().__init__()
        self.node, self.raw, self.tries, self.answer = node, raw, tries, None
        self.start()

    def run(self):
        for _ in range(self.tries):
            try:
                with self.node.client(20.0) as client:
                    self.answer = client.post_bytes("/api/v1/entries", self.raw)
                return
            except Refusal:
                time.sleep(0.05)  # it is being killed, or starts; bounded by `tries`

    def told(self):
        self.join(240)
        assert self.answer is not None, "nothing was acknowledged"
        return self.answer


def holds(network, answer, raw):
    """The acknowledgement is checked as a stranger would who has the genesis and nothing else."""
    found = judge(answer["acknowledgement"], raw, [read_genesis(network.trust)], verify)
    assert (found.index, found.entry.id.hex()) == (answer["index"], answer["entry"])
    return found


def covered(network, raw):
    """The first node's answer about `raw`, once a cosigned checkpoint covers it (a heartbeat comes each 60 s)."""
    said = {}

    def told():
        with network.nodes[0].client() as client:
            said.update(client.post_bytes("/api/v1/entries", raw))
        return "checkpoint" in said["acknowledgement"]

    network.wait(told, 90, "no cosigned checkpoint covers the entry")
    return said


def test_the_same_bytes_are_one_leaf_whoever_is_asked_and_killed_and_however_often(network):
    network.wait(lambda: all(network.status(node)["peers"] >= 3 for node in network.nodes), 20, "no links")
    author, raws = network.nodes[-1], []
    for turn in range(4):
        raw = signed(network, author, f"turn {turn}")
        raws.append(raw)
        senders = [Sender(node, raw) for node in network.nodes]
        victim = network.validators[turn]
        network.kill(victim)  # between acceptance and finality, or before, or after: any of them must do
        network.start(victim)
        answers = [sender.told() for sender in senders]
        network.wait_ready(victim)
        assert len({(answer["entry"], answer["index"]) for answer in answers}) == 1
        for answer in answers:
            assert holds(network, answer, raw).height is not None

    newest = answers[0]["index"]
    network.wait(
        lambda: all(network.status(node)["log"]["size"] > newest for node in network.nodes), 30, "a node lags"
    )
    for node in network.nodes:
        with node.client() as client:
            for raw in raws:
                again = client.post_bytes("/api/v1/entries", raw)
                assert again["state"] == "duplicate"
                assert holds(network, again, raw).height is not None

    # After a full stop and a new start the answer is the same, and soon a cosigned checkpoint says so too: what
    # validators had signed for one another before the stop may not have been told everywhere.
    before = [network.nodes[0].client().post_bytes("/api/v1/entries", raw) for raw in raws]
    network.stop_all()
    network.start_all()
    network.wait(lambda: all(network.status(node)["peers"] >= 3 for node in network.nodes), 30, "no links")
    for raw, told in zip(raws, before, strict=True):
        again = covered(network, raw)
        assert (again["state"], again["index"]) == ("duplicate", told["index"])
        assert again["acknowledgement"]["block"] == told["acknowledgement"]["block"]
        assert holds(network, again, raw).checkpoint is not None
