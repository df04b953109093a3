"""What people's own clients get from a follower: pip, uv, Maven, image tools; with empty caches, and with upstream cut.

Everything that the follower gives was built or witnessed by four other nodes. The upstreams stay reachable while
refusals are tried, hold what is refused, and count: where the node enforces, nobody asks them.
"""

import contextlib
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from functools import partial
from io import BytesIO
from pathlib import Path

import pytest
import trio

from pyrsia.builds.pip import host
from pyrsia.builds.sandbox import survey
from pyrsia.demo.network import Network
from pyrsia.demo.ports import Ports

sys.path.insert(0, str(Path(__file__).parent))
import maven_repo
import ocis
import pythons
import sdists
import test_maven_clients
import test_oci_clients
from consuming import Field, Tree, gavs
from maven_repo import Maven, needs_maven
from pythons import installed, run

pytestmark = [pytest.mark.processes, pytest.mark.builds, pytest.mark.clients]

MANY = 30  # packages of one requirements file, each of which needs the one before
MAVEN_GIVEN = "commons-io:commons-io:2.11.0"
MAVEN_REFUSED = "commons-validator:commons-validator:1.7"
POLICY = """[all]
deny = ["pkg:pypi/many-0@1.1", "pkg:docker/library/kept-back", "pkg:maven/commons-validator/commons-validator"]
[maven]
mode = "verified+witnessed"
"""
SETTINGS = "<settings><mirrors><mirror><id>debian</id><mirrorOf>*</mirrorOf><url>{}</url></mirror></mirrors></settings>"


# -- what is upstream --


def write_index(folder: Path) -> dict[str, str]:
    """Thirty projects with source archives, pages that list them, and a wheel of the last one; file -> SHA-256."""
    for at in range(MANY):
        needs = (f"many-{at - 1}",) if at else ()
        sdists.sdist(folder, f"many-{at}", needs=needs)
    sdists.sdist(folder, "many-0", "1.1")
    last = folder / f"many-{MANY - 1}"
    run(
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "-q",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        last,
        next(last.glob("*.tar.gz")),
    )
    # One wheel of upstream's is packed otherwise: what is built is EQUIVALENT to it, and upstream's bytes are given.
    before = folder / f"many-{MANY - 2}"
    run(
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "-q",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        before,
        next(before.glob("*.tar.gz")),
    )
    packed_otherwise(next(before.glob("*.whl")))
    found = {}
    for project in folder.iterdir():
        rows = []
        for file in sorted(project.glob("*.*")):
            found[file.name] = hashlib.sha256(file.read_bytes()).hexdigest()
            rows.append(f'<a href="{file.name}#sha256={found[file.name]}">{file.name}</a>')
        (project / "index.html").write_text("<!DOCTYPE html><body>" + "\n".join(rows) + "</body>")
    return found


def packed_otherwise(wheel: Path) -> None:
    """The same members, deflated."""
    with zipfile.ZipFile(wheel) as archive:
        members = [(item, archive.read(item)) for item in archive.infolist()]
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        for item, data in members:
            archive.writestr(item, data, zipfile.ZIP_DEFLATED)


def write_image(folder: Path, name: str, text: bytes) -> Path:
    """An image of one layer as an OCI layout."""
    blobs = folder / name / "blobs" / "sha256"
    blobs.mkdir(parents=True)

    def keep(data: bytes, kind: str) -> dict[str, object]:
        digest = hashlib.sha256(data).hexdigest()
        (blobs / digest).write_bytes(data)
        return {
            "mediaType": f"application/vnd.oci.image.{kind}",
            "digest": f"sha256:{digest}",
            "size": len(data),
        }

    packed = BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for path, data in {
            "etc/motd": text,
            "usr/share/noise": hashlib.shake_256(text).digest(300_000),
        }.items():
            item = tarfile.TarInfo(path)
            item.size = len(data)
            tar.addfile(item, BytesIO(data))
    layer = packed.getvalue()
    config = {
        "architecture": {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine], "os": "linux", "config": {},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]},
    }  # fmt: skip
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": keep(json.dumps(config).encode(), "config.v1+json"),
        "layers": [keep(layer, "layer.v1.tar")],
    }
    listed = keep(json.dumps(manifest).encode(), "manifest.v1+json")
    (folder / name / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    (folder / name / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [listed]}))
    return folder / name


@contextlib.contextmanager
def registry(folder: Path) -> Iterator[tuple[str, Path]]:
    """Debian's registry: its host and port, and the file that has a line for each request."""
    if not shutil.which("docker-registry") or not shutil.which("skopeo"):
        pytest.skip("images are witnessed at a registry; apt-get install docker-registry skopeo")
    settings, said = folder / "registry.yml", folder / "registry.log"
    with contextlib.closing(Ports()) as ports:
        (port,) = ports.hold(1)
        settings.write_text(
            "version: 0.1\nlog: {level: warn}\n"
            f'storage: {{filesystem: {{rootdirectory: "{folder / "images"}"}}}}\nhttp: {{addr: "127.0.0.1:{port}"}}\n'
        )
        with said.open("wb") as log:
            process = subprocess.Popen(["docker-registry", "serve", str(settings)], stdout=log, stderr=log)
        try:
            yield f"127.0.0.1:{port}", said
        finally:
            process.kill()
            process.wait(10)


# -- the network --


class Consumers(Field):
    """The field of this module, with its upstreams."""

    index: Tree
    maven: Tree
    images: str
    image_log: Path
    digests: dict[str, str]
    project: Path


@pytest.fixture(scope="module")
def field(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Consumers]:
    with standing(tmp_path_factory.mktemp("consumers")) as made:
        yield made


@contextlib.contextmanager
def standing(folder: Path) -> Iterator[Consumers]:
    """The network with everything that clients ask for in the tests."""
    needs_maven()
    found = trio.run(survey)
    if not found.isolation:
        pytest.skip("nothing can be built on a machine without a sandbox")
    digests = write_index(folder / "index")
    index, maven = Tree(folder / "index"), Tree(maven_repo.DEBIAN)
    home = folder / "home"
    (home / ".m2").mkdir(parents=True)
    (home / ".m2" / "settings.xml").write_text(SETTINGS.format(maven.url))
    with registry(folder) as (images, image_log):
        network = Network.create(isolation=found.isolation, environment=host.environment())
        network.variables = {
            "HOME": str(home),
            "PIP_CONFIG_FILE": os.devnull,
            "PIP_INDEX_URL": index.url,
            "PIP_EXTRA_INDEX_URL": "",
            "PIP_FIND_LINKS": "",
            "PYRSIA_BUILDS__REGISTRIES": f"http://{images}",
            "PYRSIA_BUILDS__SELF_CHECK": "false",  # it asks upstream, which the tests count
            "PYRSIA_BUILDS__RECHECKS_PER_DAY": "0",
        }
        made = Consumers(network, folder)
        made.index, made.maven, made.images, made.image_log, made.digests = (
            index,
            maven,
            images,
            image_log,
            digests,
        )
        try:
            made.policy(POLICY)
            network.start_all()
            network.wait(
                lambda: all(network.status(node)["peers"] >= 3 for node in network.nodes),
                30,
                "nodes do not meet",
            )
            made.notes = filled(made)
            yield made
        finally:
            network.stop_all()
            network.remove()
            index.cut()
            maven.cut()


def filled(made: Consumers) -> dict[str, str]:
    """Have everything built or witnessed; purl -> verdict."""
    made.project = maven_repo.project(made.folder / "project", made.url, "1.0")
    test = made.project / "lib/src/test/java/org/acme/LibTest.java"
    test.parent.mkdir(parents=True)
    test.write_text(
        "package org.acme; public class LibTest extends junit.framework.TestCase {"
        " public void testOne() { assertEquals(1, new Lib().one()); } }"
    )
    pom = made.project / "lib/pom.xml"
    pom.write_text(pom.read_text().replace("</project>", (
        "<dependencies><dependency><groupId>junit</groupId><artifactId>junit</artifactId><version>4.13.2</version>"
        "<scope>test</scope></dependency></dependencies></project>")))  # fmt: skip
    # What Maven asks for is what has to be witnessed: with an empty repository, from upstream itself.
    direct = Maven(made.folder / "direct", made.maven.url)
    trio.run(lambda: direct.run("package", folder=made.project))
    trio.run(partial(direct.run, *maven_repo.get(MAVEN_GIVEN)))
    for name, text in {"base": b"the base\n", "kept-back": b"kept back\n"}.items():
        layout = write_image(made.folder / "layouts", name, text)
        run(
            "skopeo",
            "copy",
            "-q",
            "--dest-tls-verify=false",
            f"oci:{layout}",
            f"docker://{made.images}/library/{name}:1",
        )
    seen = [*gavs(made.maven.given()), "pkg:maven/commons-validator/commons-validator@1.7",
            "pkg:docker/library/base@1", "pkg:docker/library/kept-back@1"]  # fmt: skip
    orders: list[dict[str, object]] = [{"purl": f"pkg:pypi/many-{MANY - 1}"}, {"purl": "pkg:pypi/many-0@1.0"}]
    orders += [{"purl": purl, "ecosystem": "witness", "closure": False} for purl in dict.fromkeys(seen)]
    return made.publish(orders)


def test_everything_was_built_or_witnessed_by_the_network(field: Consumers) -> None:
    verdicts = field.notes
    assert len([purl for purl in verdicts if purl.startswith("pkg:pypi/many-")]) == MANY + 1
    assert {verdict for purl, verdict in verdicts.items() if purl.startswith("pkg:pypi/")} == {"REPRODUCED"}
    with field.follower.client() as node:
        rows = node.get(f"/pypi/simple/many-{MANY - 2}/")["files"]
    assert [(row["_pyrsia"]["verdict"], row["_pyrsia"]["upstream"]) for row in rows] == [
        ("EQUIVALENT", "equivalent")
    ]
    assert {verdict for purl, verdict in verdicts.items() if not purl.startswith("pkg:pypi/")} == {
        "WITNESSED"
    }


# -- pip and uv --


def test_thirty_packages_of_a_requirements_file_with_an_empty_cache(field: Consumers, tmp_path: Path) -> None:
    asked = list(field.index.asked)
    (tmp_path / "requirements.txt").write_text("".join(f"many-{at}==1.0\n" for at in range(MANY)))
    words = ("--no-cache-dir", "--target", tmp_path / "t", "-r", tmp_path / "requirements.txt", "--index-url")
    run(sys.executable, "-m", "pip", "install", "-q", *words, f"{field.url}/pypi/simple/")
    assert installed(tmp_path / "t") == MANY
    assert field.index.asked == asked  # the node has them; nobody went upstream


def test_hashes_that_were_made_against_upstream_hold_here(field: Consumers, tmp_path: Path) -> None:
    lines = {}
    for at in (MANY - 2, MANY - 1):  # upstream's wheel is equivalent to what was built, and identical
        found = [field.digests[f"many_{at}-1.0{ending}"] for ending in ("-py3-none-any.whl", ".tar.gz")]
        lines[at] = f"many-{at}==1.0 " + " ".join(f"--hash=sha256:{digest}" for digest in found) + "\n"
    (tmp_path / "locked.txt").write_text("".join(lines.values()))
    words = ("--no-cache-dir", "--no-deps", "--require-hashes", "-r", tmp_path / "locked.txt", "--target")
    index = f"{field.url}/pypi/simple/"
    run(sys.executable, "-m", "pip", "install", "-q", *words, tmp_path / "pip", "--index-url", index)
    run(pythons.UV, "pip", "install", "-q", *words, tmp_path / "uv", "--default-index", index)
    assert installed(tmp_path / "pip") == installed(tmp_path / "uv") == 2
    other = lines[MANY - 1].replace("sha256:", "sha256:0000")
    (tmp_path / "locked.txt").write_text(re.sub("(?<=sha256:0000)(.{60}).{4}", r"\1", other))
    told = run(
        sys.executable, "-m", "pip", "install", *words, tmp_path / "no", "--index-url", index, good=False
    )
    assert "DO NOT MATCH THE HASHES" in told


def test_pip_says_why_a_version_is_refused_and_nobody_asks_the_index_that_has_it(
    field: Consumers, tmp_path: Path
) -> None:
    asked = list(field.index.asked)
    words = (
        "--no-cache-dir",
        "--target",
        tmp_path / "t",
        "--index-url",
        f"{field.url}/pypi/simple/",
        "many-0==1.1",
    )
    told = run(sys.executable, "-m", "pip", "install", *words, good=False)
    assert "deny" in told
    assert field.index.asked == asked
    run(
        sys.executable, "-m", "pip", "install", "-q", *words[:-1], "many-0"
    )  # the other version is there as before
    assert installed(tmp_path / "t") == 1
    # The same index beside the node is the hole that `pyrsia setup` speaks of: pip takes the version from there.
    run(sys.executable, "-m", "pip", "download", "-q", "--no-cache-dir", "--no-deps", "--no-build-isolation", "-d",
        tmp_path / "d", "--index-url", field.index.url, "many-0==1.1")  # fmt: skip
    assert field.index.asked != asked


def test_pip_cold_warm_lied_to_refused_and_cut_off(field: Consumers, tmp_path: Path) -> None:
    told = pythons.row(pythons.pip_words, field.url, field.index, tmp_path)
    assert sorted(told) == ["cold", "interrupted transfer", "policy refusal", "warm", "wrong hash"]
    assert "HASHES" in told["wrong hash"]


# -- Maven --


def test_maven_packages_a_project_with_an_empty_repository_and_with_upstream_cut(
    field: Consumers, tmp_path: Path
) -> None:
    asked = list(field.maven.asked)
    user = Maven(tmp_path / "user", f"{field.url}/maven2/")

    async def twice() -> tuple[str, str]:
        shutil.rmtree(field.project / "lib" / "target")  # of the run that went upstream
        shutil.rmtree(field.project / "app" / "target")
        first = await user.run("-C", "package", folder=field.project)
        for module in ("lib", "app"):
            shutil.rmtree(field.project / module / "target")
        shutil.rmtree(user.repository)  # a fresh client cache, and nothing but the node to ask
        return first, await user.run("-C", "package", folder=field.project)

    for told in trio.run(twice):
        assert "Tests run: 1, Failures: 0" in told
        assert "BUILD SUCCESS" in told
    assert field.maven.asked == asked
    assert (field.project / "app/target/app-1.0.jar").is_file()


def test_maven_cold_warm_lied_to_refused_and_cut_off(field: Consumers, tmp_path: Path) -> None:
    asked = list(field.maven.asked)
    row = partial(
        test_maven_clients.row,
        tmp_path / "m",
        f"{field.url}/maven2/",
        given=MAVEN_GIVEN,
        refused=MAVEN_REFUSED,
    )
    told = trio.run(row)
    assert sorted(told) == sorted(test_maven_clients.CASES)
    assert "deny" in told["policy refusal"]
    assert field.maven.asked == asked


def test_in_the_mode_verified_maven_names_every_missing_plugin_at_once(
    field: Consumers, tmp_path: Path
) -> None:
    asked = list(field.maven.asked)
    plugins = sorted(
        {purl.partition("@")[0].rpartition("/")[2] for purl in field.notes if "-plugin@" in purl}
    )
    assert len(plugins) >= 4
    with field.rules(POLICY.replace('mode = "verified+witnessed"', 'mode = "verified"')):
        user = Maven(tmp_path / "user", f"{field.url}/maven2/")
        told = trio.run(lambda: user.run("package", folder=field.project, good=False))
    assert [name for name in plugins if name not in told] == []
    assert field.maven.asked == asked


# -- images --


def test_an_image_on_a_witnessed_base_is_built_and_pulled_with_upstream_cut(
    field: Consumers, tmp_path: Path
) -> None:
    base = json.loads(
        run("skopeo", "inspect", "--no-tags", "--tls-verify=false", f"docker://{field.host}/library/base:1")
    )
    source = tmp_path / "two"
    source.mkdir()
    (source / "Dockerfile").write_text(
        f"FROM library/base@{base['Digest']}\nCOPY greeting.txt /greeting.txt\n"
    )
    (source / "greeting.txt").write_text("good day\n")
    told = json.loads(
        field.pyrsia("build", "request", "two==1.0", "--source", str(source), "--wait", "--json")
    )
    assert [one["verdict"] for one in told["builds"]] == ["REPRODUCED"]
    before = field.image_log.read_bytes()
    with contextlib.ExitStack() as stack:
        for at in range(2):  # an empty store each time
            place = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            name = f"{field.host}/{field.follower.node_id}/two"
            tag = json.loads(run("skopeo", "list-tags", "--tls-verify=false", f"docker://{name}"))["Tags"][0]
            run(
                "skopeo", "copy", "-q", "--src-tls-verify=false", f"docker://{name}:{tag}", f"dir:{place}/two"
            )
            manifest = json.loads((place / "two" / "manifest.json").read_bytes())
            assert len(manifest["layers"]) == 2, at
            run(
                "skopeo",
                "copy",
                "-q",
                "--src-tls-verify=false",
                f"docker://{field.host}/library/base:1",
                f"dir:{place}/base",
            )
    assert field.image_log.read_bytes() == before


def test_skopeo_cold_warm_lied_to_refused_cut_off_and_pushing(field: Consumers, tmp_path: Path) -> None:
    token = json.loads(field.pyrsia("keys", "token", "--scope", "push", "--json"))["token"]
    row = partial(
        test_oci_clients.row, ocis.Skopeo, tmp_path, field.host, given="library/base:1",
        refused="library/kept-back:1", reason="deny", token=token, second=field.images,
    )  # fmt: skip
    told = trio.run(row)
    assert sorted(told) == sorted(test_oci_clients.CASES)
    assert "0 requests" in told["policy refusal"] or "asked 0 times" in told["policy refusal"]
