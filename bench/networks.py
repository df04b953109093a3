"""Networks of validators alone, for benches: nodes that tell where their time goes, and members who author entries."""

import os
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from bench import parts
from bench.node import PARTS
from pyrsia.config import Config, TimingSection
from pyrsia.demo.network import Network, Node
from pyrsia.keys import KeyRing
from pyrsia.ledger.genesis import Genesis
from pyrsia.wire.blocks import rotation

D0_MS = 150  # the delay of a message that nodes assume: as the demo's, so that busy cores are no dead leaders
AUTHORS = 16  # so that the bound on one author's waiting entries is no bound on the network
ROOT = Path(__file__).resolve().parents[1]


@dataclass(slots=True)
class Validators(Network):
    """`count` validators and nobody else, or an issuer without a vote beside them."""

    count: int = 4
    instant: bool = False  # builds take no time
    issuer: bool = False  # one more node, the last: it follows, and may say advisories

    def _make_nodes(self) -> None:
        names = [f"v{number}" for number in range(self.count)] + ["issuer"] * self.issuer
        ports = self.ports.hold(4 * len(names))
        for number, name in enumerate(names):
            http, control, data, broadcast = ports[4 * number : 4 * number + 4]
            role = "validator" if number < self.count else "follower"
            self.nodes.append(
                Node(name, role, KeyRing.generate(), self.folder / name, http, control, data, broadcast)
            )

    def _roles(self, node: Node) -> tuple[str, ...]:
        return super(Validators, self)._roles(node) or ("issuer",)

    def _command(self, node: Node) -> list[str]:
        command = [sys.executable, "-m", "bench.node", "--data", str(node.data), "--parent", str(os.getpid())]
        return [*command, "--instant"] if self.instant else command

    def _config(self, node: Node) -> Config:
        timing = TimingSection(delta_ms=D0_MS, heartbeat_ms=5_000)
        return msgspec.structs.replace(super(Validators, self)._config(node), timing=timing)

    def view(self, node: Node) -> int:
        """The newest final view that a node knows."""
        return int(self.status(node)["log"]["view"])

    def leader(self) -> Node:
        """Whose turn it is in the idle network: of the view behind the final one."""
        genesis = Genesis.parse(self.trust.read_bytes())
        order = rotation(genesis.chain_id, 0, [member.vote for member in genesis.validators])
        member = genesis.validators[order[(self.view(self.nodes[0]) + 1) % len(order)]]
        return next(node for node in self.nodes if node.keys.node_id == member.node)

    @property
    def validators(self) -> list[Node]:
        return self.nodes[: self.count]


@contextmanager
def validators(count: int, *, instant: bool = False, issuer: bool = False) -> Iterator[Validators]:
    """A running, linked network of `count` validators; `instant`: builds take no time (`bench.instant`).

    `issuer`: with one more node that may say advisories and only follows, the last.
    """
    # Below the socket paths' bound wherever the temporary folder is.
    folder = Path(tempfile.mkdtemp(prefix="pyrsia-bench-", dir="/tmp"))
    network = Validators(
        folder,
        "namespace",
        "host:" + "0" * 64,
        variables={"PYTHONPATH": str(ROOT)},
        guests=[KeyRing.generate() for _ in range(AUTHORS)],
        count=count,
        instant=instant,
        issuer=issuer,
    )
    try:
        network._make_nodes()
        network._found()
        network.start_all()
        network.wait(
            lambda: all(network.status(node)["peers"] >= count - 1 for node in network.nodes), 30, "no links"
        )
        yield network
    finally:
        network.stop_all()
        network.remove()


@dataclass(slots=True)
class Watch:
    """Processor time of a network's nodes between `begin` and `end`."""

    network: Validators
    _busy_s: dict[str, float] = field(default_factory=dict)
    _parts: dict[str, Counter[str]] = field(default_factory=dict)
    _threads: dict[str, Counter[str]] = field(default_factory=dict)

    def begin(self) -> None:
        for node in self._running():
            pid = _pid(node)
            self._parts[node.name] = _told(node)
            self._threads[node.name] = parts.threads_s(pid)
            self._busy_s[node.name] = parts.busy_s(pid)

    def busy_s(self) -> float:
        """Of all nodes together since `begin`."""
        return sum(parts.busy_s(_pid(node)) - self._busy_s[node.name] for node in self._running())

    def by_part(self) -> Counter[str]:
        """The same, by part."""
        found: Counter[str] = Counter()
        for node in self._running():
            found.update(_told(node) - self._parts[node.name])
            found.update(parts.threads_s(_pid(node)) - self._threads[node.name])
        return found

    def _running(self) -> list[Node]:
        return [node for node in self.network.nodes if node.process is not None]


def _pid(node: Node) -> int:
    if node.process is None:
        raise ValueError(f"{node.name} does not run")
    return node.process.pid


def _told(node: Node) -> Counter[str]:
    path = node.data / PARTS
    path.unlink(missing_ok=True)
    os.kill(_pid(node), signal.SIGUSR1)
    end_s = time.monotonic() + 5
    while not path.exists():
        if time.monotonic() > end_s:
            raise RuntimeError(f"{node.name} does not tell where its time went")
        time.sleep(0.005)
    return parts.read(path)
