"""The demo's network with wires that can be cut, and nodes that can be made to lie, lag or misread the clock."""

import signal
import sys
from dataclasses import dataclass, field
from typing import Any

from msgspec.structs import replace

from pyrsia import config
from pyrsia.demo.network import LOOPBACK, Network, Node, free_ports

from .wires import Wire


@dataclass(slots=True)
class ChaosNetwork(Network):
    """Nodes reach each other through wires only."""

    wires: dict[tuple[str, str], Wire] = field(default_factory=dict)  # (who dials, whom)
    twists: dict[str, list[str]] = field(default_factory=dict)  # node -> options of `node.py`

    def _config(self, node: Node) -> config.Config:
        plain = super(ChaosNetwork, self)._config(node)
        others = [other for other in self.validators if other is not node]
        for other, port in zip(others, free_ports(len(others)), strict=True):
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

    # -- asked and told --

    def say(self, node: Node, text: str, patience_s: float = 30.0) -> dict[str, Any]:
        """Order one fact through `node`; its acknowledgement."""
        with node.client(patience_s) as client:
            answer: dict[str, Any] = client.post(
                "/api/v1/facts", {"kind": "description", "subject": "pkg:pypi/chaos@1", "text": text}
            )
            return answer

    def head(self, node: Node) -> tuple[int, str]:
        log = self.status(node)["log"]
        return log["size"], log["root"]

    def one_head(self, *nodes: Node) -> bool:
        return len({self.head(node) for node in nodes or self.nodes}) == 1
