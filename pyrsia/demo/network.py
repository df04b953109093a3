"""Five nodes on loopback: founded, started, killed, stopped and watched from outside.

Each node is a process with its own data directory and free ports. Every wait is for a condition and
has a bound; a node that ends by itself is an error that carries the end of its diary.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from pyrsia import config
from pyrsia.client import Client
from pyrsia.demo.ports import LOOPBACK, Ports
from pyrsia.errors import PyrsiaError, Refusal
from pyrsia.keys import KeyRing
from pyrsia.ledger import beacon
from pyrsia.node.house import keep_chain
from pyrsia.node.members.founding import Founder, found
from pyrsia.units import MAX_CONTROL_PATH_BYTES
from pyrsia.wire.text import b32

VALIDATORS: Final = ("amber", "birch", "cedar", "dune")
FOLLOWER: Final = "fern"
ECOSYSTEMS: Final = ("conan", "maven", "oci", "pip", "witness")  # that every builder of the demo can build

START_S: Final = 60.0  # imports and RocksDB take 2 s on a two-core machine, 20 on one that does much else
STOP_S: Final = 3.0  # what a person waits after Ctrl-C
GONE_S: Final = 60.0  # what a killed process may take on a machine that does much else
POLL_S: Final = 0.05
WATCH_S: Final = 0.5


class DemoFailed(PyrsiaError):
    """A step of the story did not come true; the text is the cause."""


@dataclass(slots=True)
class Node:
    """One process of the demo."""

    name: str
    role: str
    keys: KeyRing
    data: Path
    http_port: int
    control_port: int
    data_port: int
    broadcast_port: int
    process: subprocess.Popen[bytes] | None = None

    @property
    def http(self) -> str:
        return f"http://{LOOPBACK}:{self.http_port}"

    @property
    def node_id(self) -> str:
        return b32(self.keys.node.public)

    def client(self, patience_s: float = 30.0) -> Client:
        return Client(str(self.data), patience_s=patience_s)

    def diary(self, lines: int = 12) -> str:
        """The end of what the node wrote."""
        try:
            text = (self.data / "node.log").read_text(encoding="utf-8", errors="replace")
        except OSError:
            return "(it wrote nothing)"
        return "\n".join(text.splitlines()[-lines:])

    def as_dict(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "role": self.role,
            "http": self.http,
            "data": str(self.data),
            "pid": self.process.pid if self.process else 0,
        }


@dataclass(slots=True)
class Network:
    """The demo's network below `folder`."""

    folder: Path
    isolation: str
    environment: str
    villain_purl: str = ""
    nodes: list[Node] = field(default_factory=list)
    variables: dict[str, str] = field(default_factory=dict)  # what the nodes see beside our own environment
    guests: list[KeyRing] = field(default_factory=list)  # members without a node, who author entries
    roots: tuple[str, ...] = ()  # environments that are admitted beside `environment`
    ports: Ports = field(default_factory=Ports)
    shared: str = ""  # folder of environments that all nodes read; empty: each has its own

    @classmethod
    def create(
        cls, *, isolation: str, environment: str, roots: Sequence[str] = (), shared: str = ""
    ) -> "Network":
        """Keys, genesis, directories and configurations of a new network; nothing runs yet."""
        folder = Path(tempfile.mkdtemp(prefix="pyrsia-demo-", dir=_short_folder()))
        network = cls(folder, isolation, environment, roots=tuple(roots), shared=shared)
        try:
            network._make_nodes()
            network._found()
        except BaseException:  # Ctrl-C too: nothing half made stays
            network.remove()
            raise
        return network

    def _make_nodes(self) -> None:
        names = [*VALIDATORS, FOLLOWER]
        ports = self.ports.hold(4 * len(names))
        for position, name in enumerate(names):
            role = "follower" if name == FOLLOWER else "validator"
            http, control, data, broadcast = ports[4 * position : 4 * position + 4]
            keys, folder = KeyRing.generate(), self.folder / name
            self.nodes.append(Node(name, role, keys, folder, http, control, data, broadcast))

    def _roles(self, node: Node) -> tuple[str, ...]:
        """That a node has from the genesis on."""
        return ("builder", "issuer", "storage", "validator") if node.role == "validator" else ()

    @property
    def follower(self) -> Node:
        return self.nodes[-1]

    @property
    def validators(self) -> list[Node]:
        return self.nodes[:-1]

    @property
    def trust(self) -> Path:
        return self.results / "demo.genesis"

    @property
    def results(self) -> Path:
        """What outlives the demo: wheel, proof and trust file."""
        return self.folder / "results"

    def _found(self) -> None:
        chains = {
            node.name: beacon.Chain20(node.keys.chain_seed) for node in self.nodes if node.role == "validator"
        }
        founders = [
            Founder(
                keys=node.keys,
                name=node.name,
                operator=f"{node.name}-operator",
                domain=f"{node.name}.example",
                roles=self._roles(node),
                capabilities=ECOSYSTEMS if node.role == "validator" else (),
                chain_end=chains[node.name].end if node.name in chains else b"",
            )
            for node in self.nodes
        ] + [
            Founder(guest, f"guest-{number}", f"guest-{number}", "guests.example")
            for number, guest in enumerate(self.guests)
        ]
        genesis = found(
            "demo.pyrsia.example",
            founders,
            builders=3,
            agreeing=2,
            environments=[self.environment, *self.roots],
            min_isolation=self.isolation,
            demo=True,
            now_ms=int(time.time() * 1000),
        )
        self.results.mkdir()
        self.trust.write_bytes(genesis)
        for node in self.nodes:
            node.data.mkdir(mode=0o700)
            node.keys.save(node.data / "keys")
            if node.name in chains:
                keep_chain(chains[node.name], node.data)
            (node.data / "genesis.json").write_bytes(genesis)
            config.save(self._config(node), node.data)

    def _config(self, node: Node) -> config.Config:
        peers = tuple(
            f"{other.node_id}@tcp://{LOOPBACK}:{other.control_port}"
            for other in self.validators
            if other is not node
        )
        return config.Config(
            node=config.NodeSection(name=node.name),
            http=config.HttpSection(host=LOOPBACK, port=node.http_port),
            net=config.NetSection(
                host=LOOPBACK,
                control_port=node.control_port,
                data_port=node.data_port,
                broadcast_port=node.broadcast_port,
                peers=peers,
            ),
            builds=config.BuildsSection(
                allow_confined=self.isolation == "confined", wall_s=120, environments=self.shared
            ),
            timing=config.TimingSection(delta_ms=150, heartbeat_ms=5_000),
        )

    def arm(self, purl: str) -> None:
        """Every builder alters its output for `purl` if it is drawn first."""
        self.villain_purl = purl

    def start(self, node: Node) -> None:
        """Start `node`; its diary goes to a file beside its data."""
        if node.process is not None and node.process.poll() is None:
            raise ValueError(f"{node.name} already runs")
        command = self._command(node)
        environment = {
            key: value
            for key, value in os.environ.items()
            if not (key.startswith("PYRSIA_") and "__" in key) and key != "PYRSIA_NODE"
        } | self.variables
        with (node.data / "node.log").open("ab") as diary:
            node.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=diary,
                stderr=diary,
                env=environment,
                start_new_session=True,  # Ctrl-C reaches the demo alone, which then stops the nodes in order
            )

    def _command(self, node: Node) -> list[str]:
        command = [sys.executable, "-m", "pyrsia.demo.node"]
        command += ["--data", str(node.data), "--parent", str(os.getpid())]
        return command + (["--villain", self.villain_purl] if self.villain_purl else [])

    def start_all(self) -> None:
        for node in self.nodes:
            self.start(node)
        for node in self.nodes:
            self.wait_ready(node)

    def wait_ready(self, node: Node) -> None:
        def answers() -> bool:
            try:
                with node.client(2.0) as client:
                    client.get_bytes("/healthz")
            except Refusal:
                return False
            return True

        self.wait(answers, START_S, f"{node.name} does not answer")

    def wait(self, condition: Callable[[], bool], patience_s: float, what: str) -> None:
        """Return when `condition` holds; `DemoFailed(what)` after `patience_s` or when a node has ended."""
        end_s = time.monotonic() + patience_s
        while not condition():
            self.check_alive()
            if time.monotonic() > end_s:
                raise DemoFailed(f"{what} within {patience_s:.0f} s")
            time.sleep(POLL_S)

    def check_alive(self) -> None:
        for node in self.nodes:
            if node.process is not None and node.process.poll() is not None:
                raise DemoFailed(
                    f"node {node.name} ended by itself with exit code {node.process.returncode};"
                    f" its last words:\n{node.diary()}"
                )

    def status(self, node: Node) -> dict[str, Any]:
        with node.client() as client:
            answer: dict[str, Any] = client.get("/api/v1/status")
            return answer

    def kill(self, node: Node) -> None:
        """SIGKILL, as a power cut would look from outside."""
        if node.process is not None:
            node.process.kill()
            node.process.wait(GONE_S)
            node.process = None

    def stop(self, node: Node) -> None:
        """SIGTERM, and SIGKILL for what does not end within the bound."""
        if node.process is None:
            return
        node.process.terminate()
        try:
            node.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            node.process.kill()
            node.process.wait(GONE_S)
        node.process = None

    def stop_all(self) -> None:
        """All at once, within the bound of one."""
        running = [node for node in self.nodes if node.process is not None]
        for node in running:
            assert node.process is not None  # noqa: S101 (for the type checker; filtered above)
            node.process.send_signal(signal.SIGTERM)
        end_s = time.monotonic() + STOP_S - 1.0
        for node in running:
            assert node.process is not None  # noqa: S101
            try:
                node.process.wait(max(0.05, end_s - time.monotonic()))
            except subprocess.TimeoutExpired:
                node.process.kill()
                node.process.wait(GONE_S)
            node.process = None

    def watch(self) -> None:
        """Stay until Ctrl-C; a node that ends by itself ends the watch with an error."""
        while True:
            self.check_alive()
            time.sleep(WATCH_S)

    def remove(self) -> None:
        """Everything goes."""
        self.ports.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def remove_all_but_results(self) -> None:
        """The nodes' data go; wheels, proofs and the trust file stay."""
        self.ports.close()
        for path in self.folder.iterdir():
            if path != self.results:
                shutil.rmtree(path, ignore_errors=True)
        shutil.rmtree(self.results / "lies", ignore_errors=True)


def _short_folder() -> str:
    """The temporary folder, or /tmp where its path leaves no room for a node's control socket."""
    folder = tempfile.gettempdir()
    longest = len(os.fsencode(folder)) + len("/pyrsia-demo-12345678/amber/control.sock")
    return folder if longest <= MAX_CONTROL_PATH_BYTES.value else "/tmp"  # noqa: S108 (mkdtemp below it)
