"""The demo's five steps, in order. A step that does not come true raises; nothing is printed as done
that was not looked at from outside: over the nodes' own interfaces, by pip, by `pyrsia verify`."""

import concurrent.futures
import contextlib
import shlex
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pyrsia.demo import install, lies
from pyrsia.demo.network import DemoFailed, Network, Node
from pyrsia.demo.report import Report
from pyrsia.demo.teller import Teller, Timed
from pyrsia.units import MAX_FILE_BYTES
from pyrsia.wire.purl import pypi_name

BUILD_S: Final = 240.0  # a closure of several packages on a busy two-core machine
COMMIT_S: Final = 20.0  # an entry takes milliseconds; a view of a dead leader costs a timeout each
CATCH_UP_S: Final = 30.0
FETCH_S: Final = 30.0
GOOD: Final = ("REPRODUCED", "EQUIVALENT")


@dataclass(slots=True)
class Story:
    """One run. `packages` are `name==version`; the first is the one that is verified.

    pip's own set-up of `environment` is no part of the story; it runs beside it.
    """

    network: Network
    packages: Sequence[str]
    dissent: str
    tell: Teller
    report: Report
    environment: install.FreshVenv

    def run(self) -> None:
        """All steps; raises `DemoFailed` or `Refusal` at the first that fails."""
        with self._step("start"):
            self.start()
        with self._step("builds"):
            self.builds()
        with self._step("dissent"):
            self.dissenting()
        with self._step("loss"):
            self.loss()
        python = self.environment.python()
        with self._step("use"):
            self.use(python)
        with self._step("proof"):
            self.proof()
        self.report.log = _log(self.network.status(self.network.follower))

    @contextlib.contextmanager
    def _step(self, name: str) -> Iterator[None]:
        with Timed(self.report.seconds, name):
            yield

    # -- 0: the network ------------------------------------------------------------------------

    def start(self) -> None:
        network, tell = self.network, self.tell
        tell.now("starting four validator-builders and one follower")
        network.arm(_purl(self.dissent))
        network.start_all()
        self.report.nodes = [node.as_dict() for node in network.nodes]

        self._linked(network.nodes)
        for node in network.nodes:
            tell.say(f"{node.role:<9} {node.name:<6} {node.node_id[:8]}  {node.http}")

    def _linked(self, nodes: Sequence[Node]) -> None:
        def linked() -> bool:
            return all(self.network.status(node)["peers"] >= 3 for node in nodes)

        self.network.wait(linked, COMMIT_S, "the nodes did not find each other")

    # -- 1: builds -----------------------------------------------------------------------------

    def builds(self) -> None:
        self.tell.title("1. builds: the network builds a real package from its source, three times over")
        for package in self.packages:
            for build in self._request(package):
                if build["verdict"] not in GOOD:
                    raise DemoFailed(
                        f"{build['purl']} was not reproduced: {build['verdict']} {build.get('note', '')}"
                    )

    def _request(self, package: str) -> list[dict[str, Any]]:
        """Ask through the follower; return every finished build of the closure, in order."""
        name, _, version = package.partition("==")
        self.tell.now(f"asking for {package} and everything it needs at run time")
        with self.network.follower.client(BUILD_S) as client:
            answer: dict[str, Any] = self._while_polling(
                lambda: client.post("/api/v1/builds", {"ecosystem": "pip", "name": name, "version": version}),
                f"planning {package}",
            )
        finished = []
        for asked in answer["requests"]:
            finished.append(self._finish(asked["request"], asked["purl"]))
        return finished

    def _while_polling(self, work: Any, sentence: str) -> Any:
        """Run `work` in a thread and keep the living line alive; a node that dies ends the wait."""
        done: concurrent.futures.Future[Any] = concurrent.futures.Future()

        def body() -> None:
            try:
                done.set_result(work())
            except BaseException as error:  # noqa: BLE001 (carried to the caller's thread)
                done.set_exception(error)

        threading.Thread(target=body, daemon=True).start()

        def ended() -> bool:
            self.tell.now(sentence)
            return done.done()

        self.network.wait(ended, BUILD_S, f"{sentence} did not end")
        return done.result()

    def _finish(self, request: str, purl: str) -> dict[str, Any]:
        build: dict[str, Any] = {}

        def done() -> bool:
            with self.network.follower.client() as client:
                build.update(client.get(f"/api/v1/builds/{request}"))
            committed, revealed = len(build["committed"]), len(build["revealed"])
            self.tell.now(f"{purl}: {build['state']}, {committed} committed, {revealed} revealed")
            return bool(build["state"] == "done")

        self.network.wait(done, BUILD_S, f"the build of {purl} did not end")
        names = {node.node_id: node.name for node in self.network.nodes}
        agreeing = [names.get(builder, builder[:8]) for builder in build["agreeing"]]
        dissenting = [names.get(builder, builder[:8]) for builder in build["dissenting"]]
        sentence = f"{purl}: {build['verdict']}, agreed by {', '.join(agreeing) or 'nobody'}"
        self.tell.say(sentence + (f"; dissenting: {', '.join(dissenting)}" if dissenting else ""))
        if build["file"]:
            self.tell.say(f"    {build['file']}  sha256:{build['sha256'][:16]}...")
        self.report.requests.append(
            {
                "purl": purl,
                "verdict": build["verdict"],
                "agreeing": list(build["agreeing"]),
                "dissenting": list(build["dissenting"]),
                "file": build["file"],
                "sha256": build["sha256"],
            }
        )
        return build

    # -- 2: dissent ----------------------------------------------------------------------------

    def dissenting(self) -> None:
        self.tell.title("2. dissent: one builder of the next package alters its output")
        build = self._request(self.dissent)[-1]
        first = build["builders"][0]
        if list(build["dissenting"]) != [first]:
            raise DemoFailed(f"the altered build was {first[:8]}'s, the record names {build['dissenting']}")
        if build["verdict"] not in GOOD or len(build["agreeing"]) != 2 or first in build["agreeing"]:
            raise DemoFailed(
                f"two honest builders should have published it; the record says {build['verdict']}"
            )
        self.tell.say("the record names the dissenter; the two that agree published the package")
        self._explained(build["request"])

    def _explained(self, request: str) -> None:
        """What the follower says about why they differ, after bringing both results."""
        with self.network.follower.client(FETCH_S) as client:
            told = self._while_polling(
                lambda: client.get(f"/api/v1/builds/{request}/explanation"), "comparing the two results"
            )
        self.report.explained = list(told["sentences"])
        lines = [line for pair in told["pairs"] for one in pair["differing"] for line in one["shown"]]
        if not lines:
            raise DemoFailed(
                f"the altered file should have been found and shown; the node says {told['sentences']}"
            )
        for sentence in told["sentences"]:
            self.tell.say(f"explained: {sentence}")
        self.tell.say(f"explained: the altered result says {lines[0][1]!r}")

    # -- 3: loss -------------------------------------------------------------------------------

    def loss(self) -> None:
        network, tell = self.network, self.tell
        victim = network.validators[-1]
        tell.title(f"3. loss: {victim.name} is killed (SIGKILL); the others go on")
        before = network.status(network.follower)["log"]["size"]
        network.kill(victim)
        for number in range(3):
            self._fact(f"said while {victim.name} was away, number {number + 1}")
        during = network.status(network.follower)["log"]["size"]
        if during <= before:
            raise DemoFailed(f"the log stood still at {before} while {victim.name} was dead")
        tell.say(f"the log grew from {before} to {during} entries without it")
        network.start(victim)
        network.wait_ready(victim)
        target = network.status(network.validators[0])["log"]

        def caught_up() -> bool:
            ours = network.status(victim)["log"]
            tell.now(f"{victim.name} catches up: {ours['size']} of {target['size']} entries")
            return bool(ours["size"] >= target["size"])

        network.wait(caught_up, CATCH_UP_S, f"{victim.name} did not catch up")
        self._equal_roots()
        self.report.nodes = [node.as_dict() for node in network.nodes]
        tell.say(f"{victim.name} is back and holds the same log, root {target['root'][:16]}")

    def _fact(self, text: str) -> None:
        with self.network.follower.client(COMMIT_S) as client:
            self._while_polling(
                lambda: client.post(
                    "/api/v1/facts", {"kind": "description", "subject": _purl(self.packages[0]), "text": text}
                ),
                "committing a fact",
            )

    def _equal_roots(self) -> None:
        """Every node has, at one size, one root."""

        def equal() -> bool:
            heads = {
                (log["size"], log["root"])
                for log in (self.network.status(n)["log"] for n in self.network.nodes)
            }
            return len(heads) == 1

        self.network.wait(equal, CATCH_UP_S, "the nodes' logs are not equal")

    # -- 4: use --------------------------------------------------------------------------------

    def use(self, python: Path) -> None:
        network, tell = self.network, self.tell
        index = f"{network.follower.http}/pypi/simple/"
        tell.title("4. use: an unchanged pip installs it from the follower, which built nothing")
        network.stop(network.follower)
        refused = install.pip_install(python, index, list(self.packages))
        if refused.returncode == 0:
            raise DemoFailed("pip installed the package although the follower was stopped")
        tell.say("with the follower stopped pip finds nothing, so what it gets next comes from there")
        network.start(network.follower)
        network.wait_ready(network.follower)
        self._linked([network.follower])
        self.report.nodes = [node.as_dict() for node in network.nodes]
        before = network.status(network.follower)["transfer"]
        tell.now(f"pip install --index-url {index} {' '.join(self.packages)}")
        done = install.pip_install(python, index, list(self.packages))
        if done.returncode != 0:
            raise DemoFailed(f"pip failed:\n{done.stdout}{done.stderr}")
        have = install.installed(python)
        wanted = {item["purl"].removeprefix("pkg:pypi/").partition("@")[0]: item["purl"].partition("@")[2]
                  for item in self.report.requests if item["purl"] != _purl(self.dissent)}  # fmt: skip
        missing = {name: version for name, version in wanted.items() if have.get(name) != version}
        if missing:
            raise DemoFailed(f"pip did not install {missing}; it installed {have}")
        after = network.status(network.follower)["transfer"]
        if after["artifacts_built"] != 0 or after["bytes_received"] <= before["bytes_received"]:
            raise DemoFailed(f"the follower should have fetched and built nothing; its counters say {after}")
        sources = sum(1 for received in after["sources"].values() if received > 0)
        tell.say(f"installed {', '.join(f'{name} {version}' for name, version in sorted(wanted.items()))}")
        of = "one peer" if sources == 1 else f"{sources} peers"
        tell.say(f"the follower fetched {after['bytes_received']} bytes from {of} and built nothing")
        self._save_results()

    def _save_results(self) -> None:
        """Download what `verify` needs, as a person would: the file and the proof beside it."""
        for build in self._published():
            with self.network.follower.client(FETCH_S) as client:
                base = f"/pypi/files/{build['sha256']}/{build['file']}"
                wheel = client.get_bytes(base, most=MAX_FILE_BYTES.value)
                (self.network.results / build["file"]).write_bytes(wheel)
                proof = client.get_bytes(f"{base}.tlog-proof")
                (self.network.results / f"{build['file']}.tlog-proof").write_bytes(proof)
                bundle = client.get_bytes(f"{base}.intoto.jsonl")
                (self.network.results / f"{build['file']}.intoto.jsonl").write_bytes(bundle)

    def _published(self) -> list[dict[str, Any]]:
        return [item for item in self.report.requests if item["file"]]

    # -- 5: proof ------------------------------------------------------------------------------

    def proof(self) -> None:
        tell, results = self.tell, self.network.results
        tell.title("5. proof: `pyrsia verify`, offline, three lies, and the whole log")
        chosen = next(b for b in self._published() if b["purl"] == self._chosen_purl())
        wheel = results / chosen["file"]
        evidence = results / f"{chosen['file']}.tlog-proof"
        trust = self.network.trust
        answer = lies.verify(wheel, trust, as_json=False)
        if answer.code != 0:
            raise DemoFailed(f"verify refused the true file:\n{answer.text}")
        tell.raw("".join(f"         {line}\n" for line in answer.text.splitlines()))
        if not answer.text.startswith(chosen["purl"]):
            raise DemoFailed("verify did not print the purl first")
        if "demo: all operators are one person" not in answer.text:
            raise DemoFailed("verify did not say that all operators are one person")
        folder = results / "lies"
        other = next(b for b in self._published() if b["sha256"] != chosen["sha256"])
        told = {
            "a flipped byte": lies.flipped_byte(wheel, evidence, folder / "flipped"),
            "a wheel renamed to another package": lies.renamed(wheel, evidence, folder / "renamed"),
            "the proof of another file": lies.other_proof(
                wheel, results / f"{other['file']}.tlog-proof", folder / "other"
            ),
        }
        for name, file in told.items():
            refused = lies.verify(file, trust)
            if refused.code != 1 or "error" not in refused.body:
                raise DemoFailed(f"{name} should be refused with exit 1, not {refused.code}: {refused.text}")
            tell.say(f"refused, {name}: {refused.body['error']['what']}")
        self.report.wheel, self.report.proof, self.report.trust = str(wheel), str(evidence), str(trust)
        self._whole_log(chosen["purl"])

    def _whole_log(self, package: str) -> None:
        """What one file's proof does not say: that its package's history is complete, and that the log is whole."""
        tell, trust = self.tell, str(self.network.trust)
        history = self.network.results / "history.txt"
        node = ("--node", str(self.network.follower.data))
        told = lies.pyrsia("log", "history", package, "--prove", str(history), "--trust", trust, *node)
        again = lies.pyrsia("log", "verify-history", str(history), "--trust", trust)
        if (told.code, again.code) != (0, 0):
            raise DemoFailed(f"the history of {package} was refused:\n{told.text}{again.text}")
        of, leaves = again.body["of"], len(again.body["leaves"])
        self.report.history = {"file": str(history), "of": of, "leaves": leaves}
        tell.say(f"the history of {of} is complete: {leaves} leaves, proven offline")
        short = lies.shortened(history, self.network.results / "lies")
        refused = lies.pyrsia("log", "verify-history", str(short), "--trust", trust)
        if refused.code != 1:
            raise DemoFailed(f"a history without its last leaf should be refused: {refused.text}")
        tell.say(f"refused, that history without its last leaf: {refused.body['error']['what']}")
        whole = lies.pyrsia("log", "fsck", "--trust", trust, *node)
        if whole.code != 0:
            raise DemoFailed(f"the follower's log is not whole: {whole.text}")
        self.report.fsck = whole.body["size"]
        tell.say(
            f"`pyrsia log fsck`: all {whole.body['size']} entries of the follower's log and every tile are true"
        )

    def _chosen_purl(self) -> str:
        """The package that the person asked for; without a version, whichever was built under its name."""
        wanted = _purl(self.packages[0])
        purls = [item["purl"] for item in self._published()]
        return (
            wanted
            if wanted in purls
            else next(p for p in purls if p.partition("@")[0] == wanted.partition("@")[0])
        )


def _purl(package: str) -> str:
    name, _, version = package.partition("==")
    normal = pypi_name(name.strip())
    return f"pkg:pypi/{normal}@{version}" if version else f"pkg:pypi/{normal}"


def _log(status: dict[str, Any]) -> dict[str, Any]:
    return {"size": status["log"]["size"], "root": status["log"]["root"]}


def after(network: Network, report: Report, example: str, *, keep: bool) -> Iterator[str]:
    """What to try next: with the network still running, or with what outlives it."""
    wheel = Path(report.wheel)
    name, version = wheel.name.split("-")[:2]
    if keep:
        node = network.follower
        yield f"export PYRSIA_NODE={shlex.quote(str(node.data))}"
        yield "pyrsia status                    # the node at a glance"
        yield "pyrsia dashboard                 # live peers, log and builds"
        yield "pyrsia log show                  # newest entries"
        yield f"pyrsia build request {example} --follow"
        yield f"pyrsia fetch pkg:pypi/{name.replace('_', '-')}@{version} # the file, and its proof beside it"
        yield f"pip install --index-url {node.http}/pypi/simple/ {name}=={version}"
    else:
        yield "make demo KEEP=1                 # the same, and leaves the network running"
        yield "make demo PACKAGE=requests==2.32.3"
    yield f"pyrsia verify --trust {shlex.quote(report.trust)} {shlex.quote(report.wheel)}"
