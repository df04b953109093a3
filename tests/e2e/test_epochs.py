"""Real nodes from one epoch to the next: new keys, new validators, liars and the dead, in the middle of everything.

One network for all tests here, which really builds. Each test leaves it whole, with one head and one epoch
everywhere, and the next one begins there.
"""

import contextlib
import hashlib
import json
import random
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trio
from msgspec.structs import replace

from pyrsia import config
from pyrsia.builds.pip import host
from pyrsia.builds.sandbox import survey
from pyrsia.cli.documents import document_of
from pyrsia.demo import sample
from pyrsia.demo.network import Node
from pyrsia.errors import Refusal
from pyrsia.keys import KeyPair, KeyRing
from pyrsia.node.members.founding import fitted
from pyrsia.node.sync.points import REST_S
from tests.e2e.chaos.load import Load
from tests.e2e.chaos.network import ChaosNetwork
from tests.e2e.chaos.person import Person

pytestmark = [pytest.mark.processes, pytest.mark.builds]

SEED = 20261128
KILLS = 4
GOOD = ("REPRODUCED", "EQUIVALENT")
BUILD_S = 120.0


class Stage:
    """The network, and people who look at it from outside."""

    def __init__(self, network: ChaosNetwork) -> None:
        self.network = network
        self.desk = network.folder / "desk"
        self.desk.mkdir()
        self.early = Person(self.desk / "early")  # pinned genesis in epoch 0 and has not looked since
        self.late = Person(self.desk / "late")  # has the genesis, and nothing else

    def __getattr__(self, name: str) -> Node:
        return next(node for node in self.network.nodes if node.name == name)

    def followed(self) -> list[subprocess.Popen[bytes]]:
        """Outsiders who follow the log of fern all the while: a tail and a mirror, with the genesis alone."""
        url, trust = self.fern.http, ("--trust", self.network.trust)
        self.followers = [
            self.late.begin(
                self.desk / "tail", "log", "tail", url, "-f", "-n", 1_000, "--json", "--every", 0.5, *trust
            ),
            self.late.begin(
                self.desk / "copied", "log", "mirror", url, self.copy, "--follow", "--every", 1, *trust
            ),
        ]
        return self.followers

    @property
    def copy(self) -> Path:
        """Where the mirror is."""
        return self.desk / "copy"

    def tailed(self) -> list[int]:
        """Places of the entries that the tail has told."""
        lines = (self.desk / "tail").read_text(encoding="utf-8").splitlines(keepends=True)
        return [json.loads(line)["index"] for line in lines if line.startswith("{") and line.endswith("\n")]

    def copied(self) -> int:
        """Size of the mirror."""
        note = self.copy / "checkpoint"
        return int(note.read_bytes().split(b"\n")[1]) if note.exists() else 0

    @property
    def epoch(self) -> int:
        """The one in which every test begins."""
        return self.network.epoch(self.network.nodes[0])

    def pin(self, person: Person) -> None:
        trust = self.network.trust
        digest = hashlib.sha256(trust.read_bytes()).hexdigest()
        told = person.run("trust", "add", trust, "--digest", f"sha256:{digest}")
        assert told.code == 0, told.err

    def leaves(self, kind: str) -> list[tuple[int, dict[str, Any]]]:
        """The newest leaves of this type with their places, oldest first."""
        node = self.network.nodes[0]
        with node.client() as client:
            rows = client.get("/api/v1/log/entries", type=kind, order="newest", count=200)["entries"]
        return [(row["index"], json.loads(self.network.leaf(node, row["index"]))) for row in rows][::-1]

    def seals(self, epoch: int) -> list[dict[str, Any]]:
        """The last leaf of each block of an epoch that has one, oldest first."""
        found = [leaf["body"] for _, leaf in self.leaves("block.seal")]
        return [body for body in found if body["epoch"] == epoch]

    def proposers(self) -> set[str]:
        """Names of those who made blocks of the present epoch that have a seal, which names them by their index."""
        with self.network.nodes[0].client() as client:
            told = client.get("/api/v1/members")
        seated = sorted((one["keys"]["vote"], one["name"]) for one in told["members"] if one["validates"])
        return {seated[seal["proposer"]][1] for seal in self.seals(told["epoch"])}

    def index(self, kind: str, request: str) -> list[int]:
        """Leaves of this type about a request."""
        return [index for index, leaf in self.leaves(kind) if leaf["body"]["request"] == request]

    def ask_for(self, version: str) -> str:
        """Request the sample package; the request's id."""
        with self.network.follower.client(BUILD_S) as client:
            order = {"ecosystem": "pip", "name": sample.DISSENT[0], "version": version}
            return str(client.post("/api/v1/builds", order)["requests"][-1]["request"])

    def build(self, request: str) -> dict[str, Any]:
        with self.network.follower.client() as client:
            told: dict[str, Any] = client.get(f"/api/v1/builds/{request}")
            return told

    def built(self, request: str) -> dict[str, Any]:
        """The build, once it is over."""
        self.network.wait(lambda: self.build(request)["state"] == "done", BUILD_S, "the build did not end")
        return self.build(request)

    def download(self, build: dict[str, Any]) -> Path:
        """The published file, with its proof beside it, which is there once a checkpoint covers it."""
        network, to = self.network, self.desk / build["file"]
        network.wait(lambda: self._fetched(build, to), 30, "no checkpoint covers the file")
        return to

    def _fetched(self, build: dict[str, Any], to: Path) -> bool:
        place = f"/pypi/files/{build['sha256']}/{build['file']}"
        with contextlib.suppress(Refusal), self.network.follower.client() as client:
            to.with_name(f"{to.name}.tlog-proof").write_bytes(client.get_bytes(f"{place}.tlog-proof"))
            to.write_bytes(client.get_bytes(place))
            return True
        return False

    def renew(self, node: Node) -> None:
        """New keys for who had a seat and is to have one again; the log names none, so nobody has to agree.

        It is refused until that node has a block of the epoch behind the seat.
        """
        purposes = ("vote", "log", "cosign", "build", "chain")

        def renewed() -> bool:
            with contextlib.suppress(Refusal), node.client() as client:
                told = client.post("/api/v1/keys/rotate", {"purposes": purposes, "reason": "a test"})
                return (told["motion"], told["replaced"]) == (None, sorted(purposes))
            return False

        self.network.wait(renewed, 30, f"{node.name} does not get new keys")

    def phase(self, motion: str) -> str:
        with self.network.nodes[0].client() as client:
            return str(client.get(f"/api/v1/motions/{motion}")["phase"])

    def cosigned_by(self, node: Node) -> int:
        """How many validators cosigned the checkpoint of that node's present size; 0 while there is none."""
        log = self.network.status(node)["log"]
        return int(log["cosigned"]) if log["checkpoint_size"] == log["size"] else 0


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    found = trio.run(survey)
    if not found.isolation:
        pytest.skip(f"nothing can be built here: {found.advice}")
    network = ChaosNetwork.create(isolation=found.isolation, environment=host.environment())
    followers: list[subprocess.Popen[bytes]] = []
    try:
        url = sample.write_index(network.folder / "index")
        network.variables = {"PIP_CONFIG_FILE": "/dev/null", "PIP_INDEX_URL": url, "PIP_EXTRA_INDEX_URL": ""}
        network.start_all()
        stage = Stage(network)
        followers += stage.followed()
        yield stage
    finally:
        for process in followers:
            process.kill()
            process.wait(10)
        network.stop_all()
        network.remove()


@pytest.fixture
def stage(shared: Stage) -> Iterator[Stage]:
    """The shared network, and afterwards the proof that it is whole."""
    yield shared
    network = shared.network
    network.heal()
    network.wait(network.one_head, 60, "the logs did not become equal")
    network.reach(shared.epoch)


@contextlib.contextmanager
def standing_still(network: ChaosNetwork, *nodes: Node) -> Iterator[None]:
    """Without these; where it takes the quorum, everybody else must vote."""
    for node in nodes:
        network.signal(node, signal.SIGSTOP)
    try:
        yield
    finally:
        for node in nodes:
            network.signal(node, signal.SIGCONT)


def seat(stage: Stage, node: Node) -> None:
    """`node` validates from the next epoch on, if it does not yet."""
    network = stage.network
    if network.status(node)["role"] == "validator":
        return
    epoch = stage.epoch
    motion = network.propose(node, **network.seated(node, "builder", "validator"))
    network.approve(motion, stage.amber, stage.birch, stage.cedar)
    network.reach(epoch + 1)


def test_a_build_drawn_in_one_epoch_gets_its_verdict_in_the_next_and_new_keys_sign_from_there_on(
    stage: Stage,
) -> None:
    network, amber, epoch = stage.network, stage.amber, stage.epoch
    stage.pin(stage.early)
    before = stage.built(stage.ask_for("0.1.0"))
    assert before["verdict"] in GOOD
    told = stage.early.run("trust", "update", network.follower.http)
    assert (told.code, "epoch 0" in told.out) == (0, True), (told.out, told.err)
    assert stage.early.run("verify", stage.download(before)).code == 0

    old = {name: getattr(amber.keys, name).public.hex() for name in ("vote", "log", "cosign")}
    motion = network.rotate(amber, "vote", "log", "cosign")
    network.approve(motion, stage.birch)
    request = stage.ask_for("0.2.0")
    network.wait(lambda: stage.build(request)["builders"] != [], 60, "no builders were drawn")
    assert network.approve(motion, stage.cedar)["phase"] == "enacted"
    after = stage.built(request)
    network.reach(epoch + 1)

    first = stage.seals(epoch + 1)[0]["first_leaf"]
    assert (after["verdict"] in GOOD, stage.index("build.draw", request)[0] < first) == (True, True)
    assert all(at >= first for at in stage.index("build.reveal", request))
    network.wait(lambda: not any((amber.data / "keys" / "next").glob("*.key")), 60, "new keys have no place")
    new = KeyRing.load(amber.data / "keys")
    for name, public in old.items():
        assert getattr(new, name).public.hex() != public
        assert not any(
            KeyPair(bytes.fromhex(file.read_text())).public.hex() == public
            for file in (amber.data / "keys").rglob("*.key")
        )
    amber.keys = new
    # With birch still, amber's votes and tree heads are needed: three of four are a quorum.
    with standing_still(network, stage.birch):
        network.say(network.follower, "by the new keys")
        network.wait(
            lambda: stage.cosigned_by(network.follower) == 3, 30, "no quorum cosigned with the new keys"
        )
    network.wait(lambda: stage.cosigned_by(network.follower) >= 3, 30, "no quorum cosigns")
    file = stage.download(after)
    stage.pin(stage.late)
    for person in (stage.early, stage.late):
        assert person.run("verify", file).code == 0, person.home
        assert person.run("verify", stage.desk / before["file"]).code == 0, person.home


class Approving(threading.Thread):
    """Has one node after the other approve a motion, again and again until the node says that it has."""

    def __init__(self, network: ChaosNetwork, motion: str, nodes: list[Node], *, tries: int = 4_000) -> None:
        super().__init__()
        self.network, self.motion, self.nodes, self.tries = network, motion, nodes, tries
        self.phase = ""
        self.start()

    def run(self) -> None:
        for node in self.nodes:
            while not self._approved(node):
                self.tries -= 1
                if not self.tries:
                    return
                time.sleep(0.05)  # it is being killed, or starts; bounded by `tries`

    def _approved(self, node: Node) -> bool:
        """Also if an earlier try was carried out and its answer was lost."""
        with contextlib.suppress(Refusal):
            self.network.approve(self.motion, node)
        with contextlib.suppress(Refusal), node.client() as client:
            told = client.get(f"/api/v1/motions/{self.motion}")
            self.phase = told["phase"]
            return node.name in told["approvals"] or self.phase == "enacted"
        return False


def test_a_follower_becomes_a_validator_while_others_are_killed_and_nothing_acknowledged_is_lost(
    stage: Stage,
) -> None:
    network, fern, epoch = stage.network, stage.fern, stage.epoch
    draw, others = random.Random(SEED), [stage.birch, stage.cedar, stage.dune]
    body = stage.network.seated(fern, "builder", "validator")
    with Load(network) as load:
        network.wait(lambda: len(load.acknowledged) > 5, 60, "the load did not begin")
        motion = network.propose(fern, **body)
        approving = Approving(network, motion, draw.sample(others, len(others)))
        for _ in range(KILLS):
            victim = draw.choice(others)
            approving.join(draw.uniform(0.0, 0.2))  # the moment of the kill is the random input, not a wait
            network.kill(victim)
            network.start(victim)
            network.wait_ready(victim)
        approving.join(240)  # each node may take a quarter of it to start
        for node in network.nodes:  # whoever has not seen the end of the epoch on disk sees it now
            network.kill(node)
        network.start_all()
        before = len(load.acknowledged)
        network.wait(lambda: len(load.acknowledged) > before + 5, 60, "the network did not go on")

    assert approving.phase == "enacted"
    network.wait(network.one_head, 60, "the logs did not become equal")
    network.reach(epoch + 1)
    for node in network.nodes:
        assert load.lost(node) == [], f"{node.name} lost acknowledged entries"
        assert network.status(node)["agreement"]["part"] == "votes"
    assert len(load.acknowledged) > 10
    network.say(fern, "five of five")
    network.wait(lambda: stage.cosigned_by(stage.amber) >= 4, 30, "no quorum of the new epoch cosigns")


def test_who_is_cut_off_while_an_epoch_ends_catches_up_over_the_end_and_votes(stage: Stage) -> None:
    network, alone = stage.network, stage.cedar
    seat(stage, stage.fern)
    epoch = stage.epoch
    motion = network.rotate(stage.birch, "vote")
    network.approve(motion, stage.amber, stage.fern)
    network.part({alone.name})
    assert network.approve(motion, stage.dune)["phase"] == "enacted"
    told = network.say(stage.amber, "in the new epoch")["index"]
    others = [node for node in network.nodes if node is not alone]
    network.reach(epoch + 1, *others)

    assert network.epoch(alone) == epoch
    network.heal()
    network.reach(epoch + 1)
    network.wait(network.one_head, 60, "it did not catch up")
    assert "in the new epoch" in network.leaf(alone, told)
    with standing_still(network, stage.dune):  # four of five: its vote is needed
        assert network.say(alone, "with the vote of who was cut off")["index"] > told


def test_a_validator_that_stood_still_over_two_ends_of_epochs_catches_up_over_both(stage: Stage) -> None:
    network, still = stage.network, stage.dune
    seat(stage, stage.fern)
    epoch = stage.epoch
    rest = [stage.amber, stage.birch, stage.cedar, stage.fern]
    with standing_still(network, still):
        for turn, node in enumerate((stage.cedar, stage.amber), 1):
            motion = network.rotate(node, "cosign", "chain")
            told = network.approve(motion, *(one for one in rest if one is not node))
            assert told["phase"] == "enacted"
            network.reach(epoch + turn, *rest)
        index = network.say(stage.amber, "two epochs later")["index"]

    network.reach(epoch + 2)
    network.wait(lambda: network.head(still)[0] > index, 60, "it did not catch up")
    assert "two epochs later" in network.leaf(still, index)
    with standing_still(network, stage.amber):
        assert network.say(still, "with the vote of who stood still")["index"] > index


def test_two_changes_of_validators_at_once_are_two_epochs_and_nobody_waits_for_a_needless_approval(
    stage: Stage,
) -> None:
    network = stage.network
    seat(stage, stage.fern)
    epoch = stage.epoch
    both = [network.rotate(stage.cedar, "vote"), network.rotate(stage.dune, "log", "vote")]
    approving = [Approving(network, motion, network.nodes, tries=2) for motion in both]
    for one in approving:
        one.join(30)

    assert [(one.is_alive(), one.phase) for one in approving] == [(False, "enacted")] * 2
    network.reach(epoch + 2)
    said = 0

    def all_lead() -> bool:
        nonlocal said
        said += 1
        network.say(network.nodes[said % 4], f"in the second of two epochs {said}")
        return len(stage.proposers()) == 5

    network.wait(all_lead, 60, "not everybody leads")
    assert {seal["epoch"] for seal in stage.seals(epoch + 1)} == {epoch + 1}


def test_a_liar_is_convicted_leads_no_view_of_the_next_epoch_and_leads_again_with_a_new_key(
    stage: Stage,
) -> None:
    network, liar = stage.network, stage.dune
    seat(stage, stage.fern)
    epoch, honest = stage.epoch, [stage.amber, stage.birch, stage.cedar, stage.fern]
    network.again(liar, "--lie", "double")
    said = 0

    def convicted() -> bool:
        nonlocal said
        said += 1
        network.say(honest[said % 4], f"beside a liar {said}")
        return stage.leaves("fault.evidence") != []

    network.wait(convicted, 60, "no evidence is on record")
    motion = network.rotate(stage.cedar, "log")
    network.approve(motion, stage.amber, stage.birch, stage.fern)
    network.reach(epoch + 1, *honest)
    network.kill(liar)  # one that led would be waited for
    said = 0

    def all_led() -> bool:
        nonlocal said
        said += 1
        network.say(honest[said % 4], f"without the liar {said}")
        return said >= 12 and len(stage.proposers()) >= 4  # a view that takes too long gives its turn away

    network.wait(all_led, 60, "not every honest one leads")
    status = network.status(stage.amber)["agreement"]
    assert (status["convicted"], status["validators"]) == (1, 5)
    assert stage.proposers() == {node.name for node in honest}

    network.twists[liar.name] = []
    network.start(liar)
    network.wait_ready(liar)
    network.reach(epoch + 1)
    network.wait(lambda: network.one_head(liar, stage.amber), 60, "the former liar does not catch up")
    assert "it leads no view: find out who signed" in notices(network, liar)
    motion = network.rotate(liar, "vote")
    network.approve(motion, *honest[:3])
    network.reach(epoch + 2)
    said = 0

    def leads() -> bool:
        nonlocal said
        said += 1
        network.say(honest[said % 4], f"with a new key {said}")
        return liar.name in stage.proposers()

    network.wait(leads, 60, "who has a new key does not lead")
    assert network.status(stage.amber)["agreement"]["convicted"] == 0


def test_a_newcomer_follows_from_genesis_through_every_epoch_and_after_a_loss_from_a_snapshot(
    stage: Stage,
) -> None:
    network = stage.network
    if stage.epoch == 0:
        seat(stage, stage.fern)
    gale = newcomer(stage, "gale")
    motion = network.propose(stage.amber, kind="member.add", member=as_follower(gale))
    network.approve(motion, stage.birch, stage.cedar, stage.fern)
    network.nodes.append(gale)
    network.start(gale)
    network.wait_ready(gale)
    network.wait(network.one_head, 60, "the newcomer does not catch up")
    assert (network.epoch(gale), network.status(gale)["role"]) == (stage.epoch, "follower")

    told = network.say(gale, "from the newcomer")["index"]
    told_s = time.monotonic()
    network.kill(gale)
    # Points that a snapshot can be taken of are made while the log rests.
    network.wait(lambda: time.monotonic() - told_s > REST_S + 1, 10, "the log does not rest")
    shutil.rmtree(gale.data / "db")
    network.twists[gale.name] = ["--far", "10"]
    network.start(gale)
    network.wait(lambda: "began from the state after block" in notices(network, gale), 60, "no snapshot")
    network.say(stage.birch, "after the snapshot")
    network.wait(network.one_head, 60, "it does not go on from the snapshot")
    assert network.epoch(gale) == stage.epoch
    network.wait(lambda: held(network, gale, told), 60, "the log below does not come")
    network.twists[gale.name] = []


def newcomer(stage: Stage, name: str) -> Node:
    """A node as docs/join.md makes it: from an address and a digest."""
    network, data = stage.network, stage.network.folder / name
    digest = hashlib.sha256(network.trust.read_bytes()).hexdigest()
    told = stage.late.run(
        "init", "--data", data, "--name", name, "--operator", f"{name}-operator", "--domain", f"{name}.example",
        "--join", stage.amber.http, "--digest", f"sha256:{digest}",
    )  # fmt: skip
    assert told.code == 0, told.err
    http, control, chunks, broadcast = network.ports.hold(4)
    settings = config.load(data)
    config.save(
        replace(
            settings,
            http=replace(settings.http, port=http),
            net=replace(settings.net, control_port=control, data_port=chunks, broadcast_port=broadcast),
        ),
        data,
    )
    return Node(name, "follower", KeyRing.load(data / "keys"), data, http, control, chunks, broadcast)


def as_follower(node: Node) -> dict[str, Any]:
    """What `pyrsia member document` prints there, without a role."""
    return fitted(document_of(node.data), [], [])


def notices(network: ChaosNetwork, node: Node) -> str:
    """What its operator is told; nothing while it starts anew."""
    with contextlib.suppress(Refusal):
        return " ".join(network.status(node)["notices"])
    return ""


def held(network: ChaosNetwork, node: Node, index: int) -> bool:
    with contextlib.suppress(Refusal):
        return bool(network.leaf(node, index))
    return False


def test_a_dead_validator_of_four_is_replaced_without_its_voice(stage: Stage) -> None:
    network, dead = stage.network, stage.birch
    if network.status(stage.fern)["role"] == "validator":  # four again
        epoch = stage.epoch
        motion = network.propose(stage.amber, **network.seated(stage.fern))
        network.approve(motion, stage.birch, stage.cedar, stage.dune)
        network.reach(epoch + 1)
        with pytest.raises(Refusal, match="would have a key again that is or was somebody's"):
            network.propose(stage.fern, **network.seated(stage.fern, "builder", "validator"))
        network.say(stage.amber, "the epoch with the old keys is over")
        stage.renew(stage.fern)
    epoch = stage.epoch
    network.kill(dead)
    shutil.rmtree(dead.data)
    body = network.seated(stage.fern, "builder", "validator") | {"node": dead.node_id}
    motion = network.propose(stage.amber, **body)
    told = network.approve(motion, stage.cedar, stage.dune, stage.fern)
    assert told["phase"] == "enacted"
    network.nodes.remove(dead)

    network.reach(epoch + 1)
    status = network.status(stage.fern)
    assert (status["role"], status["agreement"]["validators"]) == ("validator", 4)
    with standing_still(network, stage.dune):  # three of four: the newcomer's vote is needed
        network.say(stage.amber, "with the vote of who took the place")


def test_outside_everything_is_believed_by_genesis_alone_over_every_epoch(stage: Stage) -> None:
    network, node = stage.network, stage.fern
    if stage.epoch == 0:
        pytest.skip("nothing has happened yet: run the whole module")
    network.say(node, "the last word")
    size = network.head(node)[0]
    network.wait(lambda: network.status(node)["log"]["checkpoint_size"] >= size, 30, "no checkpoint")
    files = sorted(stage.desk.glob("*.whl"))
    assert len(files) == 2
    shutil.rmtree(stage.late.pins)
    stage.pin(stage.late)
    for person, learned in ((stage.early, "epoch"), (stage.late, f"({stage.epoch} new)")):
        told = person.run("trust", "update", node.http)
        assert (told.code, learned in told.out) == (0, True), (told.out, told.err)
        for file in files:
            assert person.run("verify", file).code == 0, file
            assert person.run("verify", file, "--node", node.http).code == 0, file
    nobody = Person(stage.desk / "nobody")
    for command in (
        ("log", "fsck", "--full", node.http, "--trust", network.trust),
        ("log", "tail", node.http, "--json", "--trust", network.trust),
        ("log", "mirror", node.http, stage.desk / "mirror", "--trust", network.trust),
        ("log", "fsck", stage.desk / "mirror", "--trust", network.trust),
    ):
        told = nobody.run(*command)
        assert told.code == 0, (command, told.out, told.err)
    # What builders say of a check of theirs may come behind the last word.
    network.wait(lambda: stage.tailed()[-1:] >= [size - 1], 30, "the tail is not at the end")
    network.wait(lambda: stage.copied() >= size, 30, "the mirror is not at the end")
    assert [process.poll() for process in stage.followers] == [None, None]
    assert stage.tailed()[:size] == list(range(size))
    assert nobody.run("log", "fsck", stage.copy, "--trust", network.trust).code == 0
    note = stage.desk / "mirror" / "checkpoint"
    told = stage.late.run("log", "policy", "--node", node.http, "--check", note, "--json")
    assert told.code == 0, (told.out, told.err)
