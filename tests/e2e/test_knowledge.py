"""What is known of a package decides what real clients get: docs/knowledge.md as it stands, and what it leaves out.

The page's blocks are run in their order, each as the person that it names: issuers at their nodes, the operator of a
node that serves clients, and a developer with pip, Maven, Conan and skopeo as they are. What the page cannot know is
filled in: addresses, the id of a motion, days. `...` of the page stands for anything.
"""

import concurrent.futures
import json
import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest

from pyrsia.client import Client
from pyrsia.errors import Refusal

sys.path.insert(0, str(Path(__file__).parent))
import conans
import greetings
from consuming import Field
from maven_repo import DEBIAN, needs_maven

pytestmark = [pytest.mark.processes, pytest.mark.clients]

PAGE = Path(__file__).parents[2] / "docs" / "knowledge.md"
STORY = (
    "Stopping a vulnerable version",
    "Accepting one for a while",
    "What was known on a day",
    "A version that is withdrawn",
)
BLOCK = re.compile(r"^```(\w+)(?: (\S+))?(?: (later))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FAILS = re.compile(r"^(?:\[?ERROR\b|\.\.\. denied:|.*: (?:failed|REFUSED)$)", re.MULTILINE)
LAST, THAT_DAY = "2026-12-31", "2026-11-26"  # the page's days
SETTINGS = """<settings><mirrors><mirror><id>debian</id><mirrorOf>*,!pyrsia</mirrorOf><url>{}</url></mirror></mirrors>
<profiles><profile><id>here</id><repositories><repository><id>pyrsia</id><url>{}/maven2/</url></repository></repositories>
</profile></profiles><activeProfiles><activeProfile>here</activeProfile></activeProfiles></settings>
"""
PROFILE = "[settings]\nos=Linux\narch=x86_64\n"


@dataclass
class Desk:
    """Where the page's commands run."""

    field: Field
    folder: Path
    moment: str  # after everything was published, before anything was said of it
    last: str = ""  # day of the acceptance
    motion: str = ""
    printed: dict[str, str] = field(default_factory=dict)

    def prepare(self) -> None:
        self.folder.mkdir()
        home = self.folder / "home"
        (home / ".m2").mkdir(parents=True)
        (home / ".m2" / "settings.xml").write_text(SETTINGS.format(DEBIAN.as_uri(), self.field.url))
        (home / ".conan2" / "profiles").mkdir(parents=True)
        (home / ".conan2" / "profiles" / "default").write_text(PROFILE)
        remote = {"name": "pyrsia", "url": f"{self.field.url}/conan", "verify_ssl": True}
        (home / ".conan2" / "remotes.json").write_text(json.dumps({"remotes": [remote]}))
        python = shlex.quote(sys.executable)
        shims = {
            "pyrsia": f'{python} -m pyrsia "$@"',
            "pip": f'{python} -m pip "$@"',
            "conan": f'{conans.conan()} "$@"',
        }
        for name, command in shims.items():
            (self.folder / name).write_text(f"#!/bin/sh\nexec {command}\n")
            (self.folder / name).chmod(0o755)

    def variables(self, who: str) -> dict[str, str]:
        hidden = ("PYRSIA_", "XDG_", "PIP_", "CONAN_")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(hidden)}
        home = self.folder / "home"
        own = {
            "HOME": str(home),
            "PATH": f"{self.folder}:{os.environ['PATH']}",
            "MAVEN_OPTS": f"-Duser.home={home} -XX:TieredStopAtLevel=1 -XX:+UseSerialGC",
            "PIP_INDEX_URL": f"{self.field.url}/pypi/simple/",
            "PIP_CONFIG_FILE": os.devnull,
            "PIP_NO_CACHE_DIR": "1",
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
            "NO_PROXY": "127.0.0.1",
        }
        nodes = {node.name: str(node.data) for node in self.field.network.nodes}
        return {**kept, **own, **({"PYRSIA_NODE": nodes[who]} if who in nodes else {})}

    def filled(self, text: str) -> str:
        """The page's words with what it cannot know."""
        text = text.replace("127.0.0.1:7888", self.field.host).replace("MOTION", self.motion)
        return text.replace(f"--as-of {THAT_DAY}", f"--as-of {self.moment}").replace(LAST, self.last)

    def run(self, who: str, line: str) -> tuple[int, str]:
        done = subprocess.run(
            ["sh", "-c", self.filled(line)], cwd=self.folder, env=self.variables(who), stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, timeout=120, check=False,
        )  # fmt: skip
        found = re.search(r"^motion ([0-9a-f]{12}):", done.stdout, re.MULTILINE)
        self.motion = found[1] if found else self.motion
        return done.returncode, done.stdout

    def carry_out(self, who: str, lines: str, shown: str) -> str:
        """All that a block printed. Its commands succeed, but for the last one where the page shows an error."""
        printed, commands = "", lines.strip().splitlines()
        for at, line in enumerate(commands):
            code, told = self.run(who, line)
            fails = at + 1 == len(commands) and FAILS.search(shown) is not None
            assert (code != 0) == fails, f"{who}: {line}\n{told[-3_000:]}"
            printed += told
        return printed


def story() -> list[tuple[str, str, str, str, str]]:
    """(heading, form, name, `later`, text) of the story's blocks, in order."""
    parts = re.split(r"^## (.*)$", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    return [
        (heading, *block)
        for heading, text in zip(parts[::2], parts[1::2], strict=True)
        if heading in STORY
        for block in BLOCK.findall(text)
    ]


def plain(text: str) -> str:
    """A line without what differs from run to run."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", text)
    text = re.sub(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[ T][0-9:]{8}", "TIME", text)
    text = re.sub(r"^ *[0-9]+ +TIME", "N TIME", text)
    text = re.sub(r"\b(leaf|size|among) [0-9]+", r"\1 N", text)
    text = re.sub(r"^motion [0-9a-f]{12}", "motion ID", text)
    return re.sub(" +", " ", text).strip()


def missing(shown: str, printed: str) -> list[str]:
    """The lines of the page that were not printed, in the page's order."""
    left = iter([plain(line) for line in printed.splitlines()])
    found = []
    for line in shown.splitlines():
        pattern = re.escape(plain(line)).replace(re.escape("..."), ".*")
        if not any(re.fullmatch(pattern, one) for one in left):
            found.append(line)
    return found


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    needs_maven()
    conans.conan()
    folder = tmp_path_factory.mktemp("known")
    with greetings.standing(folder / "field") as field:
        second = int(time.time()) + 1
        field.network.wait(lambda: time.time() > second + 0.5, 5, "time stands still")
        moment = datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")
        made = Desk(field, folder / "desk", moment, _day(30))
        made.prepare()
        yield made


def _day(later: int) -> str:
    return (datetime.now(UTC) + timedelta(days=later)).date().isoformat()


def test_the_page_s_commands_print_what_it_shows(desk: Desk) -> None:
    blocks, policy = story(), greetings.POLICY
    assert {heading for heading, *_ in blocks} == set(STORY)
    for at, (heading, form, name, later, text) in enumerate(blocks):
        if form == "toml":
            policy, desk.last = text, _day(30)
            desk.field.take_over(desk.filled(policy))
        elif form == "sh":
            if later:
                desk.last = _day(-1)
                if _day(-1) not in (desk.field.follower.data / "policy.toml").read_text():
                    desk.field.take_over(desk.filled(policy))
            shown = blocks[at + 1] if at + 1 < len(blocks) else ("", "", "", "", "")
            expected = desk.filled(shown[4]) if shown[1:3] == ("text", "") else ""
            printed = desk.carry_out(name, text, expected)
            assert missing(expected, printed) == [], f"{heading}:\n{text}\n{printed[-4_000:]}"
        elif "." in name:
            (desk.folder / name).write_text(text)


# -- what the page leaves out --


def decisions(desk: Desk, name: str) -> dict[str, object]:
    """What a node's policy says of each file of every version, with all reasons but the age of its head."""
    (node,) = (one for one in desk.field.network.nodes if one.name == name)
    found = {}
    with node.client() as client:
        for purl in greetings.PURLS.values():
            for version in greetings.VERSIONS:
                told = client.get("/api/v1/policy/check", purl=f"{purl}@{version}")
                rows = [
                    (
                        one["sha256"],
                        one["allowed"],
                        [r for r in one["reasons"] if r["rule"] != "max_head_age_s"],
                    )
                    for one in told["files"]
                ]
                found[f"{purl}@{version}"] = sorted(rows, key=lambda row: row[0])
    return found


@pytest.mark.parametrize(
    "rules",
    [
        'max_severity = "medium"\naccept = [{ advisory = "DEMO-2026-7", until = 2999-01-01, reason = "no" }]',
        'sbom = "required"\nlicences_deny = ["GPL-*"]',
    ],
)
def test_two_nodes_with_one_policy_and_one_log_decide_alike(desk: Desk, rules: str) -> None:
    text = f"{greetings.POLICY}{rules}\n"
    nodes = [node for node in desk.field.network.nodes if node.name in ("birch", "fern")]
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        list(pool.map(partial(desk.field.take_over, text), nodes))
    network = desk.field.network
    network.wait(lambda: len({network.status(node)["log"]["root"] for node in nodes}) == 1, 20, "logs differ")
    ours, theirs = decisions(desk, "fern"), decisions(desk, "birch")
    assert ours == theirs
    assert all(ours.values())


# A recipe or package of Conan of which one file is withdrawn is whole for nobody who chooses.
WITHDRAWN = ("conanfile.py", "conan_package.tgz", ".jar", ".pom", ".whl", "manifest~1.1")


def withdraw(desk: Desk, purl: str, reason: str) -> None:
    """What a version is known by, by motions that three validators approve; nothing that is withdrawn already."""
    nodes = desk.field.network.nodes
    with nodes[0].client() as amber, nodes[1].client() as birch, nodes[2].client() as cedar:
        files = amber.get("/api/v1/policy/facts", purl=purl)["files"]
        left = [one for one in files if one["file"].endswith(WITHDRAWN) and one["status"] != "WITHDRAWN"]
        for sha256 in [one["sha256"] for one in left]:
            body = {"kind": "artifact.withdraw", "purl": purl, "reason": reason, "sha256": sha256}
            motion = amber.post("/api/v1/motions", {"motion": body, "approve": True})["id"]
            for node in (birch, cedar):
                desk.field.network.wait(partial(_approved, node, motion), 20, "no approval")

    def gone() -> bool:
        with desk.field.follower.client() as fern:
            rows = fern.get("/api/v1/policy/facts", purl=purl)["files"]
        return all(one["status"] == "WITHDRAWN" for one in rows if one["file"].endswith(WITHDRAWN))

    desk.field.network.wait(gone, 20, f"{purl} is not withdrawn")


def _approved(node: Client, motion: str) -> bool:
    try:
        node.post(f"/api/v1/motions/{motion}/approve", {})
    except Refusal as refusal:
        if refusal.code == "not-found":  # it is a block behind
            return False
        if refusal.code not in ("conflict", "entry-refused"):  # enacted already
            raise
    return True


WHY = "WITHDRAWN: it greets the wrong people"


def test_a_withdrawn_version_is_chosen_by_no_client_and_given_by_its_digest(desk: Desk) -> None:
    desk.field.take_over(greetings.POLICY)
    host = desk.field.host
    tls = "--src-tls-verify=false"
    digest = desk.run(
        "dev", f"skopeo inspect --tls-verify=false --format '{{{{.Digest}}}}' docker://{host}/greeting:1.1"
    )[1]
    for kind in ("maven", "conan", "docker"):
        withdraw(desk, f"{greetings.PURLS[kind]}@1.1", "it greets the wrong people")

    code, told = desk.run("dev", f"skopeo copy -q {tls} docker://{host}/greeting:1.1 dir:gone")
    assert (code != 0, WHY in told) == (True, True), told
    code, told = desk.run("dev", f"skopeo copy -q {tls} docker://{host}/greeting@{digest.strip()} dir:kept")
    assert code == 0, told
    assert '"1.1"' not in desk.run("dev", f"skopeo list-tags --tls-verify=false docker://{host}/greeting")[1]

    (desk.folder / "home/.conan2").rename(desk.folder / "home/before")  # a client that has nothing yet
    for name in ("profiles", "remotes.json"):
        (desk.folder / "home/.conan2").mkdir(exist_ok=True)
        (desk.folder / "home/before" / name).rename(desk.folder / "home/.conan2" / name)
    code, told = desk.run("dev", "conan install --requires='greeting/[>=1.0]'")
    assert (code, "greeting/1.0: Package installed" in told) == (0, True), told
    code, told = desk.run("dev", "conan install --requires=greeting/1.1")
    assert (code != 0, WHY in told) == (True, True), told
    whole = f"greeting/1.1#{greetings.RREV['1.1']}:{greetings.PACKAGE_ID}#{greetings.PREV['1.1']}"
    code, told = desk.run(
        "dev", f"conan download '{whole}' -r pyrsia && conan install --requires=greeting/1.1 -nr"
    )
    assert code == 0, told

    get = "mvn -q -Dmaven.repo.local=m2 dependency:get -Dtransitive=false -Dartifact=org.example:greeting"
    code, told = desk.run("dev", f"{get}:1.1")
    assert (code != 0, WHY in told) == (True, True), told
    assert desk.run("dev", f"{get}:1.0")[0] == 0
    with desk.field.follower.client() as fern:
        assert b"1.1" not in fern.get_bytes("/maven2/org/example/greeting/maven-metadata.xml")
        (jar,) = (
            one
            for one in fern.get("/api/v1/policy/facts", purl="pkg:maven/org.example/greeting@1.1")["files"]
            if one["file"].endswith(".jar")
        )
    code, told = desk.run("fern", "pyrsia fetch pkg:maven/org.example/greeting@1.1")
    assert (code, "WITHDRAWN" in told, "pyrsia fetch sha256:" in told) == (1, True, True), told
    code, told = desk.run("fern", f"pyrsia fetch sha256:{jar['sha256']}")
    assert (code, "WITHDRAWN" in told, (desk.folder / jar["file"]).exists()) == (0, True, True), told
    code, told = desk.run("fern", f"pyrsia verify {jar['file']} --trust {desk.field.network.trust}")
    assert (code, WHY in told) == (1, True), told


def test_a_policy_that_refuses_what_is_withdrawn_is_obeyed_whoever_names_the_bytes(desk: Desk) -> None:
    withdraw(desk, f"{greetings.PURLS['pip']}@1.1", "it greets the wrong people")
    desk.field.take_over(f'{greetings.POLICY}withdrawn = "refused"\n')
    code, told = desk.run("dev", "pip install -q --target none greeting==1.1")
    assert (code != 0, WHY in told) == (True, True), told
