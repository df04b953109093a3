"""Four builders, two under another Python, each under conditions of its own, agree on packages of all four ecosystems.

    python -m tests.evidence.mixed --other PYTHON [--home FOLDER] [--only WORD ...]

A real network of four validators and a follower. Two builders run under this interpreter, two under PYTHON in a
virtual environment that is made from a copy of the repository at another path. Time zone, umask, locale, depth of
paths, host name and the compiler's variables differ as well. One asks, in turn, and the three others are drawn, so that
no verdict is one interpreter's. Environments are file systems only: a host's own would be another for each Python.
Packages come from the operator's index and repositories; the last two travel as sources of a requester's own.
"""

import argparse
import contextlib
import functools
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec

from pyrsia import config
from pyrsia.demo import roots
from pyrsia.demo.network import VALIDATORS, Network, Node
from pyrsia.errors import Refusal
from pyrsia.wire.text import safe
from tests.e2e.test_four_ecosystems import projects, pyrsia

WHEELS: Final = (
    "attrs==24.2.0",
    "jinja2==3.1.4",
    "packaging==24.2",
    "rich==13.9.4",
    "urllib3==2.2.3",
    "click==8.1.7",
    "requests==2.32.3",
    "six==1.16.0",
    "markupsafe==3.0.2",
    "msgpack==1.1.0",
    "wrapt==1.17.0",
)
RELEASES: Final = ("org.apache.maven.shared:file-management==3.1.0",)
PLAN_S: Final = 900.0
VERDICT_S: Final = 1_800.0
SENTENCES: Final = 6  # of an explanation
HERE: Final = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True)
class Condition:
    """What one builder's process sees. `depth`: folders between the network's folder and the node's data."""

    other: bool
    depth: int
    umask: str
    host: str
    variables: Mapping[str, str]


CONDITIONS: Final = dict(
    zip(
        VALIDATORS,
        (
            Condition(False, 0, "022", "", {"TZ": "UTC", "LANG": "C.UTF-8"}),
            Condition(True, 2, "002", "birch.one.example", {"TZ": "Asia/Kolkata", "LANG": "C"}),
            Condition(
                False,
                1,
                "027",
                "cedar",
                {"TZ": "America/St_Johns", "LANG": "tr_TR.UTF-8", "CC": "/bin/false", "CFLAGS": "-O0 -g3"},
            ),
            Condition(
                True, 3, "077", "dune-4", {"TZ": "Pacific/Apia", "LC_ALL": "POSIX", "PYTHONHASHSEED": "7"}
            ),
        ),
        strict=True,
    )
)


@dataclass(frozen=True)  # without slots, for the property that is kept
class Interpreter:
    """A Python that has Pyrsia, and the checkout that it runs from."""

    program: Path
    checkout: Path

    @functools.cached_property
    def version(self) -> str:
        said = subprocess.run([self.program, "-V"], capture_output=True, text=True, check=True, timeout=60)
        return said.stdout.split()[1]


def other_interpreter(python: str, home: Path) -> Interpreter:
    """A virtual environment of `python` below `home`, made from a copy of this checkout; one made before is taken."""
    copy, venv = home / "another" / "checkout", home / "venv"
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, cwd=HERE, capture_output=True, check=True, timeout=60).stdout
    for name in filter(None, names.decode().split("\0")):
        if (HERE / name).is_file():  # else it was deleted, and not committed yet
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(HERE / name, copy / name)
    if not (venv / ".ready").exists():
        variables = os.environ | {"VENV": str(venv), "PYTHON": python}
        variables.pop("PYTHONPATH", None)
        subprocess.run(["sh", "tools/setup.sh"], cwd=copy, env=variables, check=True, timeout=1_800, stdout=2)
    return Interpreter(venv / "bin" / "python", copy)


def renames_hosts() -> bool:
    """Whether a process may have a host name of its own here."""
    command = ["unshare", "--uts", "hostname", "elsewhere"]
    return (
        shutil.which("unshare") is not None
        and not subprocess.run(command, check=False, timeout=60).returncode
    )


class Mixed(Network):
    """A network whose builders run under `CONDITIONS`."""

    own: Interpreter
    other: Interpreter
    hosts: bool

    def _make_nodes(self) -> None:
        super()._make_nodes()
        for node in self.validators:
            deep = [f"level-{number}" for number in range(CONDITIONS[node.name].depth)]
            node.data = self.folder.joinpath(*deep, node.name)
            node.data.parent.mkdir(parents=True, exist_ok=True)

    def _config(self, node: Node) -> config.Config:
        """With time for Java, and without second builds beside the ones that are waited for."""
        made = super()._config(node)
        builds = msgspec.structs.replace(made.builds, wall_s=900, self_check=False, rechecks_per_day=0)
        return msgspec.structs.replace(made, builds=builds)

    def _command(self, node: Node) -> list[str]:
        command = super()._command(node)
        if node is self.follower:
            return command
        at = CONDITIONS[node.name]
        interpreter = self.other if at.other else self.own
        script = 'umask "$1"; cd "$2"; shift 2; exec "$@"'
        renamed = bool(at.host) and self.hosts
        apart = ["unshare", "--uts"] if renamed else []
        script = f'hostname "{at.host}"; {script}' if renamed else script
        variables = [f"{name}={value}" for name, value in at.variables.items()]
        inner = ["env", "-u", "PYTHONPATH", *variables, str(interpreter.program), *command[1:]]
        return [*apart, "sh", "-euc", script, "sh", at.umask, str(interpreter.checkout), *inner]

    def called(self, node_id: str) -> str:
        """A builder with its interpreter."""
        name = next(node.name for node in self.nodes if node.node_id == node_id)
        version = (self.other if CONDITIONS[name].other else self.own).version
        return f"{name} {'.'.join(version.split('.')[:2])}"


@dataclass(slots=True)
class Row:
    """What came of one package."""

    name: str
    planner: str = ""
    verdict: str = ""
    agreeing: tuple[str, ...] = ()
    relation: str = ""
    seconds: float = 0.0
    words: tuple[str, ...] = ()

    def __str__(self) -> str:
        told = f"{self.name:46} {self.verdict:12} {', '.join(self.agreeing):34} {self.relation:34} {self.seconds:5.0f}"
        return "\n".join([told, *(f"    {safe(line)}" for line in self.words)])


class Asking:
    """Asks a network for one package after the other and tells what came of it."""

    def __init__(self, network: Mixed) -> None:
        self._network = network
        self._asked = 0

    def published(self, ecosystem: str, package: str) -> Row:
        """A package of the operator's index or repository, without what it needs at run time."""
        name, _, version = package.partition("==")
        order = {"ecosystem": ecosystem, "name": name, "version": version, "closure": False}

        def ask(planner: Node) -> str:
            with planner.client(PLAN_S) as client:
                (request,) = client.post("/api/v1/builds", order)["requests"]
            return str(request["request"])

        return self._row(f"{name} {version}", ask)

    def given(self, kind: str, folder: Path, name: str, *words: str) -> Row:
        """A folder of a maintainer's own."""

        def ask(_: Node) -> str:
            command = ["build", "request", *words, "--source", str(folder), "--as", kind, "--json"]
            done = pyrsia(self._network, *command)
            try:
                (request,) = json.loads(done.stdout)["requests"]
            except (ValueError, KeyError):
                raise Refusal(
                    "build-failed",
                    what=f"the command said: {(done.stderr or done.stdout).strip()[-600:]}",
                    who="the plan",
                    do="see the command",
                ) from None
            return str(request["request"])

        return self._row(name, ask)

    def _row(self, name: str, ask: Callable[[Node], str]) -> Row:
        row, start = Row(name), time.monotonic()
        planner = self._network.validators[self._asked % len(self._network.validators)]
        self._asked += 1
        try:
            request = ask(planner)
            build = self._done(request)
        except Refusal as refusal:
            row.verdict, row.words = "refused", (f"{refusal.code}: {refusal.what}",)
            return row
        row.seconds = time.monotonic() - start
        row.verdict = build["verdict"]
        row.agreeing = tuple(sorted(map(self._network.called, build["agreeing"])))
        row.relation = self._relation(build["purl"])
        if row.verdict != "REPRODUCED" or build["dissenting"]:
            with self._network.follower.client() as client:
                sentences = client.get(f"/api/v1/builds/{request}/explanation")["sentences"]
            row.words = tuple(sentences[:SENTENCES])
        return row

    def _done(self, request: str) -> dict[str, Any]:
        """The build as the follower, which built nothing, tells it at the end."""
        found: dict[str, Any] = {}

        def ended() -> bool:
            with self._network.follower.client() as client:
                try:
                    found.update(client.get(f"/api/v1/builds/{request}"))
                except Refusal as refusal:
                    if refusal.code != "not-found":  # the request is not in its copy of the log yet
                        raise
            return bool(found.get("verdict")) and found["state"] == "done"

        self._network.wait(ended, VERDICT_S, "no verdict")
        return found

    def _relation(self, purl: str) -> str:
        """How the published files stand to upstream's."""
        with self._network.follower.client() as client:
            page = client.get("/api/v1/log/entries", type="artifact.add", purl=purl)
            leaves = [client.get("/api/v1/log/prove", index=one["index"])["entry"] for one in page["entries"]]
        relations = [json.loads(leaf)["body"]["upstream"] for leaf in leaves]
        counts = {kind: relations.count(kind) for kind in relations}
        return ", ".join(
            f"{number} {'with none' if kind == 'none' else kind}" for kind, number in sorted(counts.items())
        )


def chosen(asking: Asking, home: Path, only: Sequence[str]) -> Iterator[Row]:
    """Each package as soon as it is done; with `only`, those whose name has one of the words in it."""
    folders = projects(home / "projects", "")
    published = [("pip", package) for package in WHEELS] + [("maven", package) for package in RELEASES]
    for ecosystem, package in published:
        if not only or any(word in package for word in only):
            yield asking.published(ecosystem, package)
    if not only or "conan" in only:
        yield asking.given("conan", folders["conan"], "tiny 1.0 (Conan, Release and Debug)")
    if not only or "oci" in only:
        yield asking.given("oci", folders["oci"], "team/greeting 1.0 (image)", "team/greeting==1.0")


def described(network: Mixed) -> Iterator[str]:
    """The conditions, a line each."""
    for name, at in CONDITIONS.items():
        version = (network.other if at.other else network.own).version
        variables = ", ".join(f"{key}={value}" for key, value in at.variables.items())
        host = f"host name {at.host}" if at.host and network.hosts else "the machine's host name"
        yield (
            f"{name}: CPython {version}, {'a copy of the checkout' if at.other else 'the checkout'}, umask {at.umask}, "
            f"data {at.depth} folders deeper, {host}, {variables}"
        )


def main() -> int:
    """Print the rows; 1 where a package was not reproduced and nobody can say why."""
    parser = argparse.ArgumentParser(prog="tests.evidence.mixed")
    parser.add_argument("--other", required=True, help="another CPython than the one that runs this")
    parser.add_argument(
        "--home", type=Path, help="where the other virtual environment is kept for the next time"
    )
    parser.add_argument("--only", nargs="*", default=[])
    arguments = parser.parse_args()
    with contextlib.ExitStack() as stack:
        home = arguments.home or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mixed-")))
        home.mkdir(parents=True, exist_ok=True)
        other = other_interpreter(arguments.other, home.resolve())
        made = roots.made(("c", "jvm"), roots.folder(), lambda line: print(line, file=sys.stderr))
        network = Mixed.create(
            isolation="namespace", environment=made.ids[0], roots=made.ids[1:], shared=made.folder
        )
        assert isinstance(network, Mixed)
        stack.callback(network.remove)
        stack.callback(network.stop_all)
        network.own = Interpreter(Path(sys.executable), HERE)
        network.other, network.hosts = other, renames_hosts()
        network.start_all()
        network.wait(
            lambda: all(network.status(node)["peers"] >= 3 for node in network.nodes), 60, "no links"
        )
        return table(network, home, arguments.only)


def table(network: Mixed, home: Path, only: Sequence[str]) -> int:
    print("\n".join(described(network)))
    print("\nOne of the four asks, the others are drawn; seconds: from order to verdict, with planning.\n")
    print("The date is the machine's: what is identical to upstream's file was built there on another one.\n")
    print(f"{'package':46} {'verdict':12} {'agreeing':34} {'against upstream':34} seconds", flush=True)
    done = []
    for row in chosen(Asking(network), home, only):
        print(row, flush=True)
        done.append(row)
    good = [row for row in done if row.verdict == "REPRODUCED" and len(row.agreeing) == 3]
    both = [row for row in good if len({one.split()[1] for one in row.agreeing}) == 2]
    print(
        f"\n{len(done)} packages, {len(good)} reproduced by all three, {len(both)} of them under both interpreters"
    )
    if any("different" in row.relation for row in done):
        print(
            "different: upstream's own file came out of other tools than the environment's, such as its compiler"
        )
    return int(any(row.verdict != "REPRODUCED" and not row.words for row in done))


if __name__ == "__main__":
    sys.exit(main())
