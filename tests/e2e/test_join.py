"""docs/join.md as it stands, run by real nodes: joining, building, validating, replacing, new keys, leaving.

The page's blocks are read and run in order, each as the person that it names. What the page leaves to its reader is
filled in: an address, a digest, the motion that was proposed last. Between blocks the test looks at what came of it.
"""

import contextlib
import hashlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import PIPE
from typing import Any

import pytest
from msgspec.structs import replace

from pyrsia import config
from pyrsia.client import Client
from pyrsia.demo.network import Network, Node
from pyrsia.demo.ports import LOOPBACK
from pyrsia.errors import Refusal
from pyrsia.keys import KeyPair

pytestmark = pytest.mark.processes

PAGE = Path(__file__).parents[2] / "docs" / "join.md"
BLOCK = re.compile(r"^```sh (\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PROPOSED = re.compile(r"^motion ([0-9a-f]{12}): ", re.MULTILINE)
THERE, HERE = "192.0.2.1", "192.0.2.2"  # the members' namespace, and the newcomer's
PATIENCE_S = 180.0  # on a machine that does much else, five nodes have taken a minute to answer


def sections() -> dict[str, list[tuple[str, list[str]]]]:
    """The page's commands: heading -> (person, lines)."""
    parts = re.split(r"^## (.*)$", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    return {
        heading: [(who, lines.strip().splitlines()) for who, lines in BLOCK.findall(text)]
        for heading, text in zip(parts[::2], parts[1::2], strict=True)
    }


@dataclass(slots=True)
class Spread(Network):
    """The demo's network, in a network namespace where one is named."""

    namespace: str = ""
    address: str = LOOPBACK

    @classmethod
    def spread(cls, namespace: str, address: str) -> "Spread":
        """The network, made and not running."""
        folder = Path(tempfile.mkdtemp(prefix="pyrsia-join-", dir="/tmp"))  # short: it holds control sockets
        made = cls(folder, "namespace", "host:" + "0" * 64, namespace=namespace, address=address)
        made._make_nodes()
        made._found()
        return made

    def _config(self, node: Node) -> config.Config:
        plain = super(Spread, self)._config(node)
        peers = tuple(peer.replace(LOOPBACK, self.address) for peer in plain.net.peers)
        return replace(
            plain,
            http=replace(plain.http, host=self.address, public=True),
            net=replace(plain.net, host=self.address, peers=peers),
        )

    def _command(self, node: Node) -> list[str]:
        return [*inside(self.namespace), *super(Spread, self)._command(node)]


def inside(namespace: str) -> list[str]:
    """What goes before a command that is to run in the namespace of the process with this number."""
    own = ["-U", "--preserve-credentials"] if os.geteuid() else []
    return ["nsenter", "-t", namespace, *own, "-n"] if namespace else []


@dataclass(slots=True)
class People:
    """Who runs the page's commands, and what they see."""

    network: Spread
    namespace: str = ""  # of erin
    motion: str = ""
    running: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def desk(self) -> Path:
        """Where files lie that people send each other, and erin's home."""
        return self.network.folder / "desk"

    @property
    def erin(self) -> Path:
        return self.desk / "erin" / ".local" / "share" / "pyrsia" / "node"

    def node(self, name: str) -> Node:
        return next(node for node in self.network.nodes if node.name == name)

    def data(self, name: str) -> Path:
        return self.erin if name == "erin" else self.node(name).data

    def variables(self, who: str) -> dict[str, str]:
        """A shell of that person: own home, and a `pyrsia` that is this tree's."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYRSIA_", "XDG_"))}
        own = {"HOME": str(self.desk / who), "PATH": f"{self.desk}:{os.environ['PATH']}"}
        if who != "erin":
            return {**kept, **own, "PYRSIA_NODE": str(self.data(who))}
        if not self.namespace:  # on one machine the usual ports are the others'
            ports = zip(("HTTP__PORT", "NET__CONTROL_PORT", "NET__DATA_PORT"), self._ports(), strict=True)
            own |= {f"PYRSIA_{name}": str(port) for name, port in ports}
        return {**kept, **own}

    def _ports(self) -> list[int]:
        kept = self.desk / "ports.json"
        if not kept.exists():
            kept.write_text(json.dumps(self.network.ports.hold(3)))
        found: list[int] = json.loads(kept.read_text())
        return found

    def prepare(self) -> None:
        self.desk.mkdir()
        shim = self.desk / "pyrsia"
        shim.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m pyrsia "$@"\n')
        shim.chmod(0o755)

    def run(self, heading: str) -> str:
        """Every command below a heading of the page; all that they printed."""
        told = ""
        for who, lines in sections()[heading]:
            if who == "erin" and self.running:
                self.catch_up("erin")
            for line in lines:
                told += self.say(who, line)
        return told

    def say(self, who: str, line: str) -> str:
        """One command line of the page, as that person."""
        address = f"http://{self.network.address}:{self.node('amber').http_port}"
        digest = hashlib.sha256(self.network.trust.read_bytes()).hexdigest()
        line = line.replace("http://amber.example:7888", address)
        line = line.replace("sha256:HEX", f"sha256:{digest}").replace("MOTION", self.motion)
        command = [*(inside(self.namespace) if who == "erin" else []), "sh", "-c", line]
        (self.desk / who).mkdir(exist_ok=True)
        if line == "pyrsia node run":
            # In the shell's place, so that ending the process ends the node and leaves none behind.
            self._start(who, [*command[:-1], f"exec {line}"])
            return ""
        done = subprocess.run(
            command,
            cwd=self.desk,
            env=self.variables(who),
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
        )
        assert done.returncode == 0, f"{who}: {line}\n{done.stdout}\n{done.stderr}"
        if any(word in line for word in ("propose", "rotate", "authorize")):
            self.motion = PROPOSED.findall(done.stdout)[-1]
        return done.stdout

    def _start(self, who: str, command: list[str]) -> None:
        with (self.desk / f"{who}.log").open("ab") as diary:
            self.running.append(
                subprocess.Popen(
                    command, stdin=subprocess.DEVNULL, stdout=diary, stderr=diary, env=self.variables(who)
                )
            )
        self.wait(lambda: self.asked(who, "/healthz")["ready"], f"{who}'s node does not answer")

    def asked(self, who: str, path: str) -> dict[str, Any]:
        with Client(str(self.data(who))) as node:
            answer: dict[str, Any] = node.get(path)
            return answer

    def wait(self, condition: Any, what: str) -> None:
        def holds() -> bool:
            try:
                return bool(condition())
            except Refusal:
                return False

        self.network.wait(holds, PATIENCE_S, what)

    def linked(self, who: str, node_id: str) -> bool:
        peers = self.asked(who, "/api/v1/peers")["peers"]
        return any(peer["node_id"] == node_id and peer["connected"] for peer in peers)

    def head(self, who: str) -> tuple[int, str]:
        log = self.asked(who, "/api/v1/status")["log"]
        return log["size"], log["root"]

    def catch_up(self, who: str, other: str = "amber") -> None:
        """Once a member: until its log is another's. A node that left is refused, and left alone."""
        if self.asked(other, "/api/v1/members")["members"] and self.member(who) is not None:
            self.wait(lambda: self.head(who) == self.head(other), f"{who} does not catch up")

    def member(self, who: str, by: str = "amber") -> dict[str, Any] | None:
        everybody = self.asked(by, "/api/v1/members")["members"]
        return next((one for one in everybody if one["name"] == who), None)

    def order(self, who: str, text: str) -> int:
        """A fact through that person's node; its place in the log."""
        with Client(str(self.data(who)), patience_s=PATIENCE_S) as node:
            index: int = node.post(
                "/api/v1/facts", {"kind": "description", "subject": "pkg:pypi/join@1", "text": text}
            )["index"]
            return index

    def end(self) -> None:
        for process in self.running:
            process.terminate()
        for process in self.running:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(10)
        self.network.stop_all()
        self.network.remove()


@pytest.fixture
def apart() -> Iterator[tuple[str, str]]:
    """Two network namespaces with a cable between them: the members', the newcomer's."""
    if shutil.which("ip") is None:
        pytest.skip("network namespaces need iproute2; apt-get install iproute2")
    with contextlib.ExitStack() as held:
        # Who is not root is so in a user namespace, and both network namespaces belong to that.
        theirs = holder(held, ["unshare", "-n" if os.geteuid() == 0 else "-Urn"])
        hers = holder(held, [*inside(theirs), "unshare", "-n"])
        cable = ["ip", "link", "add", "there", "type", "veth", "peer", "name", "here", "netns", hers]
        made([*inside(theirs), *cable])
        for name, address, end in ((theirs, THERE, "there"), (hers, HERE, "here")):
            made([*inside(name), "ip", "addr", "add", f"{address}/30", "dev", end])
            for one in ("lo", end):
                made([*inside(name), "ip", "link", "set", one, "up"])
        yield theirs, hers


def holder(held: contextlib.ExitStack, command: list[str]) -> str:
    """The number of a process that keeps a new namespace until `held` ends, or this process does."""
    process = held.enter_context(
        subprocess.Popen([*command, "cat"], stdin=PIPE, stdout=PIPE, stderr=subprocess.STDOUT)
    )
    held.callback(process.kill)
    assert process.stdin is not None
    assert process.stdout is not None
    with contextlib.suppress(BrokenPipeError):
        process.stdin.write(b"in\n")
        process.stdin.flush()
    said = process.stdout.readline()  # the same word once the namespace is there, else a complaint and an end
    if said != b"in\n":
        refused(command, said.decode(errors="replace"))
    return str(process.pid)


def made(step: list[str]) -> None:
    done = subprocess.run(step, capture_output=True, text=True, timeout=20, check=False)
    if done.returncode != 0:
        refused(step, done.stderr)


def refused(step: list[str], said: str) -> None:
    pytest.skip(f"this machine allows no network namespaces: {' '.join(step)}: {said.strip()}")


@pytest.fixture
def people(request: pytest.FixtureRequest) -> Iterator[People]:
    """The members' nodes run; erin has nothing yet. `request.param`: whether she is on a machine of her own."""
    theirs, hers = request.getfixturevalue("apart") if request.param else ("", "")
    network = Spread.spread(theirs, THERE if request.param else LOOPBACK)
    made = People(network, hers)
    try:
        made.prepare()
        network.start_all()
        yield made
    finally:
        made.end()


@pytest.mark.parametrize("people", [False, True], ids=["one machine", "own namespace"], indirect=True)
def test_the_page_about_joining_is_true_word_for_word(people: People) -> None:
    members = ("amber", "birch", "cedar", "dune")
    people.run("1. A node of one's own")
    people.order("amber", "what a guest reads")
    people.wait(lambda: people.head("erin") == people.head("amber"), "a guest does not catch up")
    people.wait(lambda: people.asked("erin", "/api/v1/status")["peers"] >= 4, "a guest has too few links")
    before = people.asked("erin", "/api/v1/status")
    assert (before["log"]["size"] > 2, before["role"]) == (True, "follower")
    assert people.member("erin") is None
    assert people.member("erin", by="erin") is None
    with pytest.raises(Refusal, match="only members"):
        people.order("erin", "what a guest says")

    people.run("2. A member that follows")
    people.catch_up("erin")
    assert people.member("erin", by="erin")["roles"] == []
    assert people.asked("erin", "/api/v1/status")["role"] == "follower"

    people.run("3. A builder")
    assert people.member("erin")["roles"] == ["builder"]
    assert people.asked("amber", "/api/v1/members")["epoch"] == 0

    told = people.run("4. A validator")
    assert "epoch 1 begins behind it" in told
    people.catch_up("erin")
    now = people.asked("erin", "/api/v1/members")
    assert (now["epoch"], now["validators"], now["quorum"]) == (1, 5, 4)
    assert people.asked("erin", "/api/v1/status")["role"] == "validator"
    people.network.kill(people.node("dune"))
    size = people.order("birch", "four of five are needed now: erin's vote is one of them")
    assert size > 0

    people.run("A validator that is gone")
    people.catch_up("erin")
    people.catch_up("fern")
    now = people.asked("fern", "/api/v1/members")
    assert {one["name"] for one in now["members"] if one["validates"]} == {*members, "erin", "fern"} - {
        "dune"
    }
    assert people.member("dune") is None
    assert people.order("fern", "fern votes in dune's place") > size

    old = people.member("erin")["keys"]["vote"]
    people.run("New keys")
    people.catch_up("erin")
    new = people.member("erin")["keys"]["vote"]
    key = people.erin / "keys" / "vote.key"
    people.order("erin", "a block of the new epoch")
    people.wait(lambda: not (people.erin / "keys" / "next" / "vote.key").exists(), "the new key has no place")
    assert new != old
    assert KeyPair(bytes.fromhex(key.read_text())).public.hex() == new

    people.run("Leaving")
    assert people.member("erin") is None
    assert people.asked("amber", "/api/v1/members")["validators"] == 4
    people.wait(
        lambda: not any(peer["connected"] for peer in people.asked("erin", "/api/v1/peers")["peers"]),
        "links outlive membership",
    )
    assert people.order("cedar", "and it goes on") > 0


@pytest.mark.parametrize("people", [False], ids=["four"], indirect=True)
def test_at_four_a_dead_validator_is_replaced_and_one_that_lost_its_votes_votes_again(people: People) -> None:
    network = people.network
    people.order("amber", "before anything happened")
    fern = people.node("fern").node_id
    people.wait(lambda: people.linked("amber", fern), "fern has no link with amber")
    told = people.say("amber", f"pyrsia authorize --peer {fern}")  # its keys come over the link
    assert told.startswith("Authorize request successfully handled.")
    for who in ("birch", "cedar"):
        people.say(who, "pyrsia member approve MOTION")
    people.catch_up("fern")
    assert people.member("fern")["roles"] == ["builder"]
    with pytest.raises(Refusal, match="already exists"), Client(str(people.data("amber"))) as node:
        node.post("/authorized_node", {"peer_id": fern})
    network.kill(people.node("dune"))
    people.say("fern", "pyrsia member document > fern.json")
    people.say("amber", "pyrsia member propose replace dune --file fern.json --reason 'dune is dead'")
    for who in ("birch", "cedar", "fern"):
        people.say(who, "pyrsia member approve MOTION")
    network.nodes.remove(people.node("dune"))
    people.catch_up("fern")
    now = people.asked("fern", "/api/v1/members")
    assert (now["epoch"], now["validators"], people.asked("fern", "/api/v1/status")["role"]) == (
        1,
        4,
        "validator",
    )
    people.order("fern", "four again")

    amber = people.node("amber")
    network.stop(amber)
    record = amber.data / "votes.wal"
    data = bytearray(record.read_bytes())
    data[60] ^= 1  # in its first group: with whole ones behind it that is damage
    record.write_bytes(data)
    network.start(amber)
    network.wait_ready(amber)
    assert any(
        text.startswith("stopped voting") for text in people.asked("amber", "/api/v1/status")["notices"]
    )
    assert "must not sign" in people.say("amber", "pyrsia keys list")
    people.order("birch", "three go on without amber's votes")

    people.catch_up("amber", "birch")
    people.say("amber", "pyrsia keys rotate vote --reason 'its record was damaged'")
    for who in ("birch", "cedar"):
        people.say(who, "pyrsia member approve MOTION")
    people.order("birch", "a block of the new epoch")
    people.wait(lambda: not (amber.data / "votes.next").exists(), "the new record has no place")
    network.kill(people.node("birch"))
    network.nodes.remove(people.node("birch"))

    # Of four, three are left: nothing becomes final without amber's votes.
    assert people.order("cedar", "with amber's new vote key") > 0
    assert "must not sign" not in people.say("amber", "pyrsia keys list")
    assert (amber.data / "votes.wal.damaged-1").exists()
