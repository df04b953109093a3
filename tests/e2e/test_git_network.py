"""A mapping on a real network: its motion is enacted, three builders fetch the commit themselves, and agree."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trio

from pyrsia.builds.pip import host
from pyrsia.builds.sandbox import choose
from pyrsia.demo.network import Network, Node
from pyrsia.errors import Refusal

sys.path.insert(0, str(Path(__file__).parent))
import git_server
import sdists

pytestmark = [
    pytest.mark.processes,
    pytest.mark.skipif(shutil.which("git") is None, reason="this machine has no git (apt-get install git)"),
]
PURL = "pkg:pypi/thing"


@pytest.fixture
def namespace() -> None:
    try:
        trio.run(choose, False)
    except Refusal as refusal:
        pytest.skip(f"git runs in the sandbox `namespace` only: {refusal.what}")


@pytest.fixture
def mapped(namespace: None, tmp_path: Path) -> Iterator[tuple[Network, Path, str]]:
    """A network whose nodes know a git host of their own; the repository of `thing` there, and the commit of 1.0."""
    tmp_path.chmod(0o755)
    (tmp_path / "index").mkdir()
    files = {
        "src/__init__.py": b"version = '1.0'\n",
        "backend.py": sdists.BACKEND.format(name="thing", version="1.0", needs=(), evil="").encode(),
        "pyproject.toml": sdists.IN_TREE.format(requires=[]).encode(),
    }
    folder = tmp_path / "repos" / "thing"
    commit = git_server.repository(folder, files)
    git_server.git(folder, "tag", "-a", "-m", "one", "v1.0")
    with git_server.serving(tmp_path / "repos") as (url, _):
        net = Network.create(isolation="namespace", environment=host.environment())
        net.variables = {
            "PIP_CONFIG_FILE": "/dev/null",
            "PIP_INDEX_URL": (tmp_path / "index").as_uri(),
            "PIP_EXTRA_INDEX_URL": "",
            "PYRSIA_BUILDS__GIT_HOSTS": url,
            "PYRSIA_BUILDS__GIT_MIRRORS": f"https://git.example/ = {url}/",
        }
        try:
            net.start_all()
            yield net, folder, commit
        finally:
            net.stop_all()
            net.remove()


def pyrsia(node: Node, *words: str) -> Any:
    """What a command answers, or the refusal that it tells."""
    command = [sys.executable, "-m", "pyrsia", *words, "--node", str(node.data), "--json"]
    done = subprocess.run(command, capture_output=True, check=False, timeout=180)
    return json.loads((done.stdout or done.stderr).splitlines()[-1])


def entries(node: Node, kind: str) -> list[dict[str, Any]]:
    """The bodies of a type's entries, newest first."""
    with node.client() as client:
        rows = client.get("/api/v1/log/entries", type=kind, order="newest", count=50)["entries"]
        proofs = [client.get("/api/v1/log/prove", index=row["index"]) for row in rows]
    return [json.loads(one["entry"])["body"] for one in proofs]


def test_a_mapping_moves_a_package_under_its_name_from_the_commit_that_its_builders_found(
    mapped: tuple[Network, Path, str],
):
    net, repository, commit = mapped
    words = (PURL, "--git", "https://git.example/thing", "--tag-pattern", "v{version}", "--key", "ab" * 32)
    motion = pyrsia(net.validators[0], "package", "map", *words)
    for node in net.validators[1:3]:
        motion = pyrsia(node, "member", "approve", motion["id"][:12])
    assert motion["phase"] == "enacted"

    (built,) = pyrsia(net.follower, "build", "request", "thing==1.0", "--wait")["builds"]
    asked, added = entries(net.follower, "build.request")[0], entries(net.follower, "artifact.add")[0]

    assert (built["purl"], built["verdict"]) == (f"{PURL}@1.0", "REPRODUCED")
    assert len(built["agreeing"]) == 3
    assert {one["source"] for one in entries(net.follower, "build.reveal")} == {"mapping"}
    assert asked["source"]["git"]["commit"] == commit
    assert asked["source"]["git"]["tag"] == "v1.0"
    assert (added["purl"], added["verdict"], added["source"]) == (f"{PURL}@1.0", "REPRODUCED", "mapping")
    assert "git.example" not in json.dumps([asked, *entries(net.follower, "build.reveal"), added])

    moved = git_server.repository(repository, {"src/__init__.py": b"version = 'another'\n"})
    git_server.git(repository, "tag", "-f", "v1.0")
    refused = pyrsia(net.follower, "build", "request", "thing==1.0", "--wait")

    assert moved != commit
    assert f"builders found commit {commit[:12]} behind the tag of this version at first" in json.dumps(
        refused
    )
    assert len(entries(net.follower, "build.request")) == 1
