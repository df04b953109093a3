"""The build service of a real network: a source of one's own, what is witnessed, logs, plans, and pip at the end.

Five processes, an index made of a folder, the command line as a person types it.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from pyrsia.builds.pip import host
from pyrsia.builds.sandbox import survey
from pyrsia.demo import sample
from pyrsia.demo.network import Network
from pyrsia.keys import verify
from pyrsia.wire.text import unb32
from tests.reference import receipts as oracle

pytestmark = pytest.mark.processes
COMMAND_S = 180


class Service:
    def __init__(self, network: Network, folder: Path) -> None:
        self.network, self.folder = network, folder
        self.follower = network.follower

    def pyrsia(self, *words: str | Path, node: Path | None = None) -> subprocess.CompletedProcess[str]:
        command = [
            sys.executable,
            "-m",
            "pyrsia",
            *map(str, words),
            "--node",
            str(node or self.follower.data),
        ]
        return subprocess.run(command, capture_output=True, text=True, timeout=COMMAND_S, check=False)

    def told(self, *words: str) -> dict:
        done = self.pyrsia(*words, "--json")
        assert done.returncode == 0, done.stderr + done.stdout
        return json.loads(done.stdout)


def wheel_only(folder: Path) -> None:
    """A project that has a wheel for this Python and no source archive."""
    version = f"cp{sys.version_info.major}{sys.version_info.minor}"
    libc = os.confstr("CS_GNU_LIBC_VERSION").split()[1].replace(".", "_")
    tag = f"{version}-{version}-manylinux_{libc}_{os.uname().machine}"
    place = folder / "seen"
    place.mkdir()
    with zipfile.ZipFile(place / f"seen-1.0-{tag}.whl", "w") as archive:
        archive.writestr("seen/__init__.py", "x = 1\n")
        archive.writestr("seen-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: seen\nVersion: 1.0\n")
        archive.writestr(
            "seen-1.0.dist-info/WHEEL", f"Wheel-Version: 1.0\nRoot-Is-Purelib: false\nTag: {tag}\n"
        )
        archive.writestr("seen-1.0.dist-info/RECORD", "")


def tool(folder: Path) -> None:
    """Something that a source may want to be built with, and that this network has never built."""
    place = folder / "tool"
    place.mkdir()
    with zipfile.ZipFile(place / "tool-1.0-py3-none-any.whl", "w") as archive:
        archive.writestr("tool.py", "x = 1\n")
        archive.writestr("tool-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tool\nVersion: 1.0\n")
        archive.writestr(
            "tool-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr("tool-1.0.dist-info/RECORD", "")


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    found = trio.run(survey)
    if not found.isolation:
        pytest.skip("nothing can be built on a machine without a sandbox")
    folder = tmp_path_factory.mktemp("service")
    url = sample.write_index(folder / "index")
    wheel_only(folder / "index")
    tool(folder / "index")
    network = Network.create(isolation=found.isolation, environment=host.environment())
    network.variables = {
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_INDEX_URL": url,
        "PIP_EXTRA_INDEX_URL": "",
        "PYRSIA_BUILDS__AUTO": "pkg:pypi/*-dep",
    }
    try:
        network.start_all()
        network.wait(
            lambda: all(network.status(node)["peers"] >= 3 for node in network.nodes), 30, "nodes do not meet"
        )
        yield Service(network, folder)
    finally:
        network.stop_all()
        network.remove()


def own_source(folder: Path) -> Path:
    """A folder with a project that no index has."""
    place = folder / "mine"
    shutil.copytree(sample.PROJECTS / "pyrsia-sample" / "0.1.0", place)
    (place / "backend").mkdir()
    shutil.copyfile(sample.BACKEND, place / "backend" / "sample_backend.py")
    text = (place / "pyproject.toml").read_text()
    (place / "pyproject.toml").write_text(text.replace('version = "0.1.0"', 'version = "9.9"'))
    return place


def test_a_source_of_ones_own_is_built_by_three_and_installed_from_a_prefix_of_its_own(
    service: Service, tmp_path: Path
):
    place = own_source(tmp_path)
    asked = ("pyrsia-sample==9.9", "--source", str(place), "--as", "pip")

    plan = service.told("build", "plan", *asked)["plans"][0]
    done = service.told("build", "request", *asked, "--wait")

    owner = service.follower.node_id
    (build,) = done["builds"]
    assert build["purl"] == plan["purl"] == f"pkg:generic/{owner}/pypi/pyrsia-sample@9.9"
    assert (build["verdict"], len(build["agreeing"])) == ("REPRODUCED", 3), build
    assert plan["lock_sha256"] == _lock_of(service, build["request"])
    target = tmp_path / "installed"
    index = f"{service.follower.http}/pypi/{owner}/simple/"
    quiet = ("--quiet", "--no-cache-dir", "--no-deps", "--disable-pip-version-check")
    installed = subprocess.run(
        [
            sys.executable,
            "-m",
            "pip",
            "install",
            *quiet,
            "--target",
            str(target),
            "--index-url",
            index,
            "pyrsia-sample",
        ],
        capture_output=True,
        text=True,
        timeout=COMMAND_S,
        check=False,
        env=os.environ | {"PIP_CONFIG_FILE": os.devnull},
    )
    assert installed.returncode == 0, installed.stderr
    assert (target / "pyrsia_sample" / "__init__.py").is_file()
    with service.follower.client() as client:
        projects = client.get("/pypi/simple/")["projects"]
    assert {"name": "pyrsia-sample"} not in projects  # (its first of that name comes below)


def _lock_of(service: Service, request: str) -> str:
    with service.follower.client() as client:
        found = client.get("/api/v1/log/entries", first=0, count=1_000)["entries"]
        index = next(
            one["index"] for one in found if one["kind"] == "build.request" and "9.9" in one["summary"]
        )
        entry = json.loads(client.get("/api/v1/log/prove", index=index)["entry"])
    return str(entry["body"]["lock"]["sha256"])


def test_every_blob_that_a_reveal_named_lies_whole_on_the_disks_of_those_that_signed_for_it(service: Service):
    with service.follower.client() as client:
        found = client.get("/api/v1/log/entries", first=0, count=1_000)["entries"]

        def leaves(kind: str) -> list[dict]:
            indices = [one["index"] for one in found if one["kind"] == kind]
            return [json.loads(client.get("/api/v1/log/prove", index=index)["entry"]) for index in indices]

        asked, revealed = leaves("build.request"), leaves("build.reveal")
    (request,) = [one["body"] for one in asked if one["body"]["purl"].endswith("/pyrsia-sample@9.9")]
    assert "manifest" in request["source"]
    mine = [one for one in revealed if one["body"]["source"] == "claimed"]
    assert len(mine) == 3
    node_of = {node.node_id: node for node in service.network.validators}
    for reveal in mine:
        said = oracle.text(reveal["net"], reveal["author"], reveal["body"], request)
        signers = [one["node"] for one in reveal["body"]["receipts"]]
        assert len(set(signers)) == 2  # f + 1 of four, each a failure domain of its own
        for one in reveal["body"]["receipts"]:
            assert verify(unb32(one["node"]), said, bytes.fromhex(one["sig"]))
            for _, sha256, size in oracle.rows(reveal["body"], request):
                file = node_of[one["node"]].data / "blobs" / sha256[:2] / sha256[2:4] / sha256
                data = file.read_bytes()
                assert (hashlib.sha256(data).hexdigest(), len(data)) == (sha256, size)


def test_what_has_no_source_is_witnessed_and_said_to_be_that_and_no_more(service: Service):
    done = service.pyrsia("build", "request", "seen==1.0", "--wait")

    assert done.returncode == 0, done.stderr + done.stdout
    assert "witnessed, not rebuilt: no source archive" in done.stdout
    assert "WITNESSED: same bytes seen by 3 nodes, not rebuilt" in done.stdout
    refused = service.pyrsia("policy", "check", "pkg:pypi/seen@1.0")
    assert (refused.returncode, "it is WITNESSED, EQUIVALENT is the least" in refused.stdout) == (1, True)
    tried = service.folder / "tried.toml"
    tried.write_text('[pip]\nmode = "verified+witnessed"\n')
    allowed = service.pyrsia("policy", "check", "pkg:pypi/seen@1.0", "--policy", tried)
    assert allowed.returncode == 0, allowed.stdout + allowed.stderr
    shutil.copy(tried, service.follower.data / "policy.toml")
    service.network.wait(
        lambda: service.pyrsia("policy", "check", "pkg:pypi/seen@1.0").returncode == 0,
        30,
        "the policy is not taken over",
    )
    with service.follower.client() as client:
        (file,) = client.get("/pypi/simple/seen/")["files"]
        html = client.get_bytes("/pypi/simple/seen/")
    assert file["_pyrsia"]["verdict"] == "WITNESSED"
    assert file["_pyrsia"]["verdict-in-words"].endswith("not rebuilt")
    assert b"seen" in html


def test_a_policy_that_became_bad_is_told_and_the_one_before_it_stays(service: Service):
    file = service.follower.data / "policy.toml"
    good = file.read_text()
    file.write_text("[pip]\nmode = 7\n")

    def notices() -> str:
        return " ".join(service.told("status")["notices"])

    service.network.wait(lambda: "policy.toml: the policy is not valid" in notices(), 30, "nobody is told")
    assert "the rules before that change stay in force" in notices()
    assert service.pyrsia("policy", "check", "pkg:pypi/seen@1.0").returncode == 0
    file.write_text(good)
    service.network.wait(lambda: "policy.toml" not in notices(), 30, "the good file is not taken over")


def test_a_known_package_is_built_its_log_is_read_once_it_may_be_and_it_cannot_be_cancelled_any_more(
    service: Service,
):
    done = service.told("build", "request", "pyrsia-sample==0.2.0", "--wait")
    (build,) = done["builds"]
    assert build["verdict"] == "REPRODUCED"

    log = service.pyrsia("build", "logs", build["request"], "--builder", build["agreeing"][0][:8])
    again = service.told("build", "request", "pkg:pypi/pyrsia-sample@0.2.0")
    cancel = service.pyrsia("build", "cancel", build["request"])
    shown = service.pyrsia("build", "show", build["request"])

    assert log.returncode == 0, log.stderr
    assert again["requests"][0] | {"note": ""} == {
        "ecosystem": "pip", "known": True, "note": "", "purl": build["purl"], "request": build["request"],
    }  # fmt: skip
    assert (cancel.returncode, "after the draw" in cancel.stderr) == (1, True)
    assert "REPRODUCED by 3 builders" in shown.stdout


def test_what_a_client_misses_is_asked_for_within_the_glob_and_nothing_else(service: Service):
    follower = service.follower

    def missed(name: str) -> int:
        # Without a token: what one looks for that may push it may be a name of its own.
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(f"{follower.http}/pypi/simple/{name}/")  # noqa: S310
        with caught.value as refused:
            return refused.code

    assert [missed(name) for name in ("pyrsia-sample-dep", "other")] == [404, 404]

    def built() -> bool:
        with follower.client() as client:
            builds = client.get("/api/v1/builds")["builds"]
        return any("/pyrsia-sample-dep@" in one["purl"] and one["verdict"] == "REPRODUCED" for one in builds)

    service.network.wait(built, 90, "what a client missed was not built")
    with follower.client() as client:
        assert client.get("/pypi/simple/pyrsia-sample-dep/")["files"]
        assert not any("/other" in one["purl"] for one in client.get("/api/v1/builds")["builds"])


def test_a_file_that_lists_packages_is_asked_for_as_a_whole_and_followed(service: Service, tmp_path: Path):
    """With what they need; what the network has already is named and not built again."""
    listed = tmp_path / "requirements.txt"
    listed.write_text("pyrsia-sample==0.3.0  # needs the other one\npyrsia-sample-dep==1.0.0\n-e ./mine\n")

    done = service.pyrsia("build", "request", "-r", str(listed), "--wait", "--json")
    again = service.told("build", "plan", "-r", str(listed))

    told = json.loads(done.stdout)
    assert {one["purl"]: one["verdict"] for one in told["builds"]} == {
        "pkg:pypi/pyrsia-sample-dep@1.0.0": "REPRODUCED",
        "pkg:pypi/pyrsia-sample@0.3.0": "REPRODUCED",
    }
    asked = [one["purl"] for one in told["requests"]]
    assert asked.index("pkg:pypi/pyrsia-sample-dep@1.0.0") < asked.index("pkg:pypi/pyrsia-sample@0.3.0")
    (skipped,) = told["skipped"]
    assert skipped.startswith("requirements.txt: line 3: the option -e ")
    known = {one["purl"]: one["request"] for one in again["plans"]}
    assert known == {one["purl"]: one["request"] for one in told["builds"]}


def test_what_was_built_is_exported_and_pip_takes_it_by_its_hashes(service: Service, tmp_path: Path):
    listed, locked = tmp_path / "requirements.txt", tmp_path / "locked.txt"
    listed.write_text("pyrsia-sample==0.3.0\npyrsia-sample-dep\n")
    checked = service.pyrsia("policy", "check", "-r", listed)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    done = service.pyrsia("export", "pip-requirements", "-r", listed, "-o", locked)
    assert done.returncode == 0, done.stderr
    command = [
        *(
            sys.executable,
            "-m",
            "pip",
            "install",
            "--no-cache-dir",
            "--require-hashes",
            "--only-binary",
            ":all:",
        ),
        *(
            "--index-url",
            f"{service.follower.http}/pypi/simple/",
            "--target",
            tmp_path / "target",
            "-r",
            locked,
        ),
    ]
    quiet = {"capture_output": True, "text": True, "timeout": COMMAND_S, "check": False}
    env = os.environ | {"PIP_CONFIG_FILE": os.devnull}
    installed = subprocess.run(command, env=env, **quiet)
    assert installed.returncode == 0, installed.stderr
    assert (tmp_path / "target" / "pyrsia_sample").is_dir()
    good = locked.read_text()
    digest = good.partition("sha256:")[2][:64]
    locked.write_text(good.replace(digest, "0" * 64))
    refused = subprocess.run([*command, "--upgrade"], env=env, **quiet)
    assert (refused.returncode, "DO NOT MATCH THE HASHES" in refused.stderr) == (1, True)


def test_inputs_that_the_network_has_not_built_are_refused_by_name_where_only_those_are_wanted(
    service: Service, tmp_path: Path
):
    place = own_source(tmp_path)
    project = place / "pyproject.toml"
    project.write_text(
        project.read_text().replace("requires = []", 'requires = ["tool"]').replace("9.9", "9.8")
    )
    asked = ("--source", str(place), "--as", "pip")

    refused = service.pyrsia("build", "request", *asked, "--only-verified-inputs")
    plan = service.told("build", "plan", *asked)["plans"][0]

    assert refused.returncode == 1
    assert "tool-1.0-py3-none-any.whl of pkg:" in refused.stderr
    assert "were not built by this network" in refused.stderr
    assert [(one["file"], one["entry"]) for one in plan["inputs"]] == [("tool-1.0-py3-none-any.whl", -1)]
    assert plan["request"] == ""  # nothing was asked for
