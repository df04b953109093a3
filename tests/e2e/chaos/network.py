"""The demo's network with wires that can be cut, and nodes that can be made to lie, lag or misread the clock."""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from msgspec.structs import replace

from pyrsia import config
from pyrsia.demo.network import Network, Node
from pyrsia.demo.ports import LOOPBACK
from pyrsia.node.members.founding import fitted

from .wires import Wire

PATIENCE_S = 60.0  # for what needs a quorum, also while a leader is gone


@dataclass(slots=True)
class ChaosNetwork(Network):
    """Nodes reach each other through wires only."""

    wires: dict[tuple[str, str], Wire] = field(default_factory=dict)  # (who dials, whom)
    twists: dict[str, list[str]] = field(default_factory=dict)  # node -> options of `node.py`
    said: int = -1  # the greatest leaf index that was acknowledged here

    def _config(self, node: Node) -> config.Config:
        plain = super(ChaosNetwork, self)._config(node)
        others = [other for other in self.validators if other is not node]
        for other, port in zip(others, self.ports.hold(len(others)), strict=True):
            self.wires[node.name, other.name] = Wire(port, other.control_port)
        peers = tuple(
            f"{other.node_id}@tcp://{LOOPBACK}:{self.wires[node.name, other.name].port}" for other in others
        )
        return replace(plain, net=replace(plain.net, peers=peers))

    def _command(self, node: Node) -> list[str]:
        command = super(ChaosNetwork, self)._command(node)
        command[:3] = [sys.executable, "-m", "tests.e2e.chaos.node"]
        return command + self.twists.get(node.name, [])

    def part(self, side: set[str]) -> None:
        """Cut every wire between `side` and the others."""
        for (a, b), wire in self.wires.items():
            if (a in side) != (b in side):
                wire.cut()

    def heal(self) -> None:
        for wire in self.wires.values():
            wire.mend()

    def signal(self, node: Node, number: signal.Signals) -> None:
        assert node.process is not None
        node.process.send_signal(number)

    def remove(self) -> None:
        for wire in self.wires.values():
            wire.close()
        super(ChaosNetwork, self).remove()

    def again(self, node: Node, *twists: str) -> None:
        """Kill `node` and start it with these twists."""
        self.kill(node)
        self.twists[node.name] = list(twists)
        self.start(node)
        self.wait_ready(node)

    # -- asked and told --

    def say(self, node: Node, text: str, patience_s: float = 30.0) -> dict[str, Any]:
        """Order one fact through `node`; its acknowledgement."""
        with node.client(patience_s) as client:
            answer: dict[str, Any] = client.post(
                "/api/v1/facts", {"kind": "description", "subject": "pkg:pypi/chaos@1", "text": text}
            )
            self.said = max(self.said, answer["index"])
            return answer

    def head(self, node: Node) -> tuple[int, str]:
        log = self.status(node)["log"]
        return log["size"], log["root"]

    def one_head(self, *nodes: Node) -> bool:
        """Whether these (all by default) have one log, and in it all that was acknowledged here.

        An acknowledgement may come before the asked node has the block itself: two equal heads may both be old.
        """
        heads = {self.head(node) for node in nodes or self.nodes}
        return len(heads) == 1 and heads.pop()[0] > self.said

    def leaf(self, node: Node, index: int) -> str:
        """A leaf of that node's log, as it stands there."""
        with node.client() as client:
            return str(client.get("/api/v1/log/prove", index=index)["entry"])

    # -- governed --

    def propose(self, by: Node, **body: Any) -> str:
        """The id of a motion, which `by` has proposed and, if it validates, approved."""
        with by.client(PATIENCE_S) as client:
            return str(client.post("/api/v1/motions", {"motion": {"reason": "a test", **body}})["id"])

    def approve(self, motion: str, *nodes: Node) -> dict[str, Any]:
        """Each of them approves, or accepts; where the motion stands then."""
        told: dict[str, Any] = {}
        for node in nodes:
            with node.client(PATIENCE_S) as client:
                told = client.post(f"/api/v1/motions/{motion}/approve", {})
        return told

    def seated(self, node: Node, *roles: str) -> dict[str, Any]:
        """The body of the motion that gives `node` these roles."""
        with node.client() as client:
            document = client.get("/api/v1/document")
        able = ("pip",) if "builder" in roles else ()
        return {
            "kind": "member.replace",
            "member": fitted(document, sorted(roles), able),
            "node": node.node_id,
        }

    def rotate(self, node: Node, *purposes: str) -> str:
        """The id of the motion that gives it new keys, which it has proposed and, if it validates, approved."""
        with node.client(PATIENCE_S) as client:
            order = {"purposes": purposes, "reason": "a test"}
            return str(client.post("/api/v1/keys/rotate", order)["motion"]["id"])

    def epoch(self, node: Node) -> int:
        return int(self.status(node)["agreement"]["epoch"])

    def reach(self, epoch: int, *nodes: Node) -> None:
        """Wait until they are all in this epoch."""
        for node in nodes or self.nodes:
            self.wait(lambda node=node: self.epoch(node) == epoch, 60, f"{node.name} is not in epoch {epoch}")


@contextmanager
def running() -> Iterator[ChaosNetwork]:
    """A network of its own that runs, and leaves nothing."""
    network = ChaosNetwork.create(isolation="namespace", environment="host:" + "0" * 64)
    try:
        network.start_all()
        yield network
    finally:
        network.stop_all()
        network.remove()
