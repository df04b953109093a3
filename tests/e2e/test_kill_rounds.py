"""Twenty rounds of kill -9 at random moments under load: nothing acknowledged is lost, one root everywhere."""

import random
import threading
import time

import pytest

from pyrsia.demo.network import Network
from pyrsia.errors import Refusal

pytestmark = pytest.mark.processes

ROUNDS = 20
SEED = 20261124
WRITERS = 3


class Load:
    """Writers that say facts through living nodes and remember what was acknowledged."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.acknowledged: dict[int, str] = {}
        self.over = threading.Event()
        self._threads = [threading.Thread(target=self._write, args=(number,)) for number in range(WRITERS)]

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        for thread in self._threads:
            thread.join(60)

    def _write(self, writer: int) -> None:
        number = 0
        while not self.over.is_set():
            node = self.network.nodes[(writer + number) % len(self.network.nodes)]
            number += 1
            text = f"writer {writer} fact {number}"
            try:
                with node.client(15.0) as client:
                    answer = client.post(
                        "/api/v1/facts", {"kind": "description", "subject": "pkg:pypi/load@1", "text": text}
                    )
            except Refusal:
                self.over.wait(0.05)  # that node is being killed or starts
                continue
            self.acknowledged[answer["index"]] = text


def test_twenty_kills_lose_no_acknowledged_entry_and_leave_one_root(network):
    draw = random.Random(SEED)
    with Load(network) as load:
        network.wait(lambda: len(load.acknowledged) > 5, 30, "the load did not begin")
        for _ in range(ROUNDS):
            victim = draw.choice(network.validators)
            time.sleep(draw.uniform(0.0, 0.3))  # the moment of the kill is the random input, not a wait
            network.kill(victim)
            network.start(victim)
            network.wait_ready(victim)
        before = len(load.acknowledged)
        network.wait(lambda: len(load.acknowledged) > before + 5, 60, "the network did not go on")

    def one_head() -> bool:
        heads = [network.status(node)["log"] for node in network.nodes]
        return len({(head["size"], head["root"]) for head in heads}) == 1

    network.wait(one_head, 60, "the logs did not become equal")
    assert len(load.acknowledged) > ROUNDS
    for node in network.nodes:
        with node.client() as client:
            lost = [
                i
                for i, text in load.acknowledged.items()
                if text not in client.get("/api/v1/log/prove", index=i)["entry"]
            ]
        assert lost == [], f"{node.name} lost acknowledged entries"
