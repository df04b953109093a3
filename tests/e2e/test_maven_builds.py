"""The whole maven plug-in with a real Maven: projects built offline from their lock, honest and hostile."""

import importlib.util
import io
import os
import shutil
import socket
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import trio

from pyrsia.builds.maven import lock
from pyrsia.builds.maven.coordinates import of_path
from pyrsia.builds.model import Built, Inputs, LocalSource, NamedFile, Planned, SourceMapping, Want, file_out
from pyrsia.builds.sandbox import Sandbox
from pyrsia.builds.sources.git import GitHosts
from pyrsia.errors import Refusal

sys.path.insert(0, str(Path(__file__).parent))
import git_server
import mavens
from maven_repo import serving
from sandbox_backends import make

from tests.unit.serve.test_maven import publish
from tests.unit.serve.toy import ToyNode, toy_app

assert importlib.util.find_spec("mavens")
pytestmark = [pytest.mark.builds, pytest.mark.processes]
TOOL = Want("org.example:tool", "1.0", closure=False)
FOLDER = "org/example/tool/1.0"


@pytest.fixture(scope="module")
def sandbox() -> Sandbox:
    mavens.needs_maven()
    return make("bubblewrap")


@pytest.fixture
def house(tmp_path: Path) -> mavens.House:
    tmp_path.chmod(0o755)
    return mavens.House(tmp_path / "house")


def digests(built: Built) -> dict[str, tuple[str, str, str]]:
    assert built.outcome == "built", built.why
    return {one.name: (one.raw.file.sha256, one.canonical.file.sha256, one.stable) for one in built.outputs}


@dataclass(frozen=True)
class Made:
    """The honest project, planned and built once for all tests that only look at it."""

    house: mavens.House
    planned: Planned
    inputs: Inputs
    built: Built


@pytest.fixture(scope="module")
def made(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Made:
    home = tmp_path_factory.mktemp("made")
    home.chmod(0o755)
    house = mavens.House(home / "house")
    house.release(mavens.project())

    async def make_it() -> Made:
        builder = mavens.plugin(sandbox, home / "b", house)
        (planned,) = await builder.plan(TOOL, mavens.now_ms())
        request = mavens.request(planned)
        inputs = await builder.prefetch(request, planned.lock)
        return Made(house, planned, inputs, await builder.build(request, inputs))

    return trio.run(make_it)


def test_a_plan_names_source_recipe_and_every_file_that_the_build_reads(made: Made):
    """Parent, plug-ins, test and dependency come from the repositories; checksums and lists are not kept."""
    planned = made.planned
    paths = [line.path for line in lock.decode(planned.lock)]

    assert planned.purl == "pkg:maven/org.example/tool@1.0"
    assert planned.coordinates == {"name": "tool", "namespace": "org.example", "version": "1.0"}
    assert planned.source["file"] == "tool-1.0-source-release.zip"
    assert planned.target["jdk"] == "17"
    assert planned.recipe["parameters"] == [["sources", "attach"], ["tests", "compile"]]
    assert "org/example/house/3/house-3.pom" in paths
    assert "commons-io/commons-io/2.11.0/commons-io-2.11.0.jar" in paths
    assert "junit/junit/4.13.2/junit-4.13.2.jar" in paths
    assert "org/apache/maven/plugins/maven-surefire-plugin/2.22.3/maven-surefire-plugin-2.22.3.jar" in paths
    assert not [path for path in paths if path.endswith((".sha1", ".md5")) or "maven-metadata" in path]


async def test_builders_of_other_umask_zone_and_place_agree_bit_for_bit_and_name_what_upstream_has(
    sandbox: Sandbox, tmp_path: Path, house: mavens.House, made: Made, monkeypatch: pytest.MonkeyPatch
):
    """The other builder makes the lock itself, and the build has nothing but the files of it."""
    house.release(mavens.project())
    jar = next(one for one in made.built.outputs if one.name == "tool-1.0.jar")
    house.put(f"{FOLDER}/tool-1.0.jar", _repacked(jar.raw.file.path))
    request = mavens.request(made.planned)
    monkeypatch.setenv("TZ", "Asia/Kathmandu")
    monkeypatch.setenv("LC_ALL", "C")
    before = os.umask(0o077)
    try:
        other = mavens.plugin(sandbox, tmp_path / "a" / "longer" / "place", house)
        locked = await other.relock(request)
        built = await other.build(request, await other.prefetch(request, locked), vary=True)
    finally:
        os.umask(before)

    assert locked == made.planned.lock
    assert digests(built) == digests(made.built)
    assert sorted(digests(built)) == ["tool-1.0-sources.jar", "tool-1.0.jar", "tool-1.0.pom"]
    sources, theirs, pom = built.outputs
    assert (sources.upstream_relation, sources.containment) == ("equivalent", "full")
    assert (pom.upstream_relation, pom.containment) == ("identical", "full")
    assert (theirs.upstream_relation, theirs.containment) == ("equivalent", "partial")
    assert theirs.missing == ("org/example/Tool.class",)
    assert (built.source, built.isolation) == ("registry", "namespace")
    with zipfile.ZipFile(theirs.raw.file.path) as packed:
        assert {item.date_time for item in packed.infolist()} == {mavens.STAMP}
        assert packed.read("words.txt") == b"just words\n"


def _repacked(path: Path) -> bytes:
    """The same jar as another machine's tools would pack it: other times, and who built it."""
    data = io.BytesIO()
    with zipfile.ZipFile(path) as ours, zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as theirs:
        for item in ours.infolist():
            text = ours.read(item)
            if item.filename == "META-INF/MANIFEST.MF":
                text = text.replace(
                    b"Manifest-Version: 1.0\r\n", b"Manifest-Version: 1.0\r\nBuilt-By: someone\r\n"
                )
            item.date_time = mavens.STAMP
            theirs.writestr(item, text)
    return data.getvalue()


async def test_a_request_whose_recipe_or_source_is_not_what_the_rules_give_is_refused_before_maven_runs(
    sandbox: Sandbox, tmp_path: Path, made: Made
):
    builder = mavens.plugin(sandbox, tmp_path / "b", made.house)
    honest = mavens.request(made.planned)
    recipe, source = made.planned.recipe, made.planned.source
    lies = {
        "lock-mismatch": [
            {"recipe": recipe | {"sde": recipe["sde"] + 2}},
            {"recipe": recipe | {"parameters": [["sources", "project"], ["tests", "skip"]]}},
            {"recipe": recipe | {"normaliser": "jar@2"}},
            {"target": made.planned.target | {"jdk": "8"}},
        ],
        "digest-mismatch": [{"source": source | {"sha256": "0" * 64}}],
        "no-environment": [{"recipe": recipe | {"environment": "rootfs:" + "1" * 64}}],
    }

    for code, changes in lies.items():
        for change in changes:
            with pytest.raises(Refusal) as refused:
                await builder.relock(honest | change)
            assert refused.value.code == code


async def test_any_node_normalises_compares_and_asks_for_containment_alone(
    sandbox: Sandbox, tmp_path: Path, made: Made
):
    builder = mavens.plugin(sandbox, tmp_path / "b", made.house)
    outputs = {one.name: one for one in made.built.outputs}
    jar = outputs["tool-1.0.jar"]
    theirs = tmp_path / "theirs.jar"
    theirs.write_bytes(_repacked(jar.raw.file.path))
    source, into = made.inputs.source, tmp_path / "into"
    into.mkdir()

    (found,) = await builder.normalise({jar.name: theirs}, source, {jar.name: jar.raw.file.path}, 5, into)

    assert found.upstream_relation == "equivalent"
    assert found.stable == jar.stable
    assert found.raw.file.sha256 != jar.raw.file.sha256
    assert "jar-manifest:3" in found.normalised
    differs = builder.compare(found.raw.members.path.read_bytes(), jar.raw.members.path.read_bytes())
    assert differs.content == ("META-INF/MANIFEST.MF",)
    for name, kind in (
        ("tool-1.0.jar", "partial"),
        ("tool-1.0.pom", "full"),
        ("tool-1.0-sources.jar", "full"),
    ):
        file = NamedFile(name, outputs[name].raw.file.path)
        assert await builder.containment(file, source, into) == kind


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        sock.setblocking(False)
        yield sock


async def test_an_extension_that_writes_to_home_and_dials_out_is_contained_while_planning_and_building(
    sandbox: Sandbox, tmp_path: Path, house: mavens.House, listener: socket.socket
):
    home = tmp_path / "home of somebody"
    home.mkdir(mode=0o777)
    places = [str(home / "evil"), "/etc/evil", "/usr/evil", "/mnt/evil", "/in/evil"]
    port = listener.getsockname()[1]
    house.evil(places, port)
    house.release(mavens.project(mavens.USES_EXTENSION))
    builder = mavens.plugin(sandbox, tmp_path / "b", house)

    (planned,) = await builder.plan(TOOL, mavens.now_ms())
    request = mavens.request(planned)
    built = await builder.build(request, await builder.prefetch(request, planned.lock))

    with zipfile.ZipFile(built.outputs[0].raw.file.path) as packed:
        said = packed.read("said.txt").decode().splitlines()
    assert "wrote /tmp/evil-was-here" in said  # its own HOME, in memory, gone with the run
    assert {f"no {place}" for place in places} <= set(said)
    assert {"no way to 127.0.0.1", "no way to 203.0.113.7"} <= set(said)
    assert (
        len([line for line in said if line.startswith("nobody answers")]) == 3
    )  # the build has no proxy at all
    assert list(home.iterdir()) == []
    # Other tests may make folders there meanwhile.
    assert [place for place in (str(Path.home()), "/tmp") if "evil-was-here" in os.listdir(place)] == []
    with pytest.raises(BlockingIOError):
        listener.accept()


@pytest.mark.parametrize(
    ("dependency", "where"),
    [
        ("[2.0,3.0)", "commons-io/commons-io/maven-metadata.xml"),
        ("2.99-SNAPSHOT", "commons-io/commons-io/2.99-SNAPSHOT"),
    ],
)
async def test_a_project_that_leaves_a_version_open_is_refused_by_name(
    sandbox: Sandbox, tmp_path: Path, house: mavens.House, dependency: str, where: str
):
    files = mavens.project()
    files["pom.xml"] = files["pom.xml"].replace(
        "<version>2.11.0</version>", f"<version>{dependency}</version>"
    )
    house.put("commons-io/commons-io/maven-metadata.xml", b"<metadata/>")
    house.release(files)

    with pytest.raises(Refusal) as refused:
        await mavens.plugin(sandbox, tmp_path / "p", house).plan(TOOL, mavens.now_ms())

    assert refused.value.code == "unresolvable"
    assert where in refused.value.what


async def test_a_source_that_was_given_along_stands_under_its_author_s_name(
    sandbox: Sandbox, tmp_path: Path, house: mavens.House
):
    """Its own files say whose it is; a module of it is built with what it needs, and nothing is compared."""
    node = "a" * 52
    path = tmp_path / "mine.zip"
    path.write_bytes(mavens.archive(_two_modules(), top="two-2.0", stamp=(1980, 1, 1, 0, 0, 0)))
    given = file_out(path)
    want = Want(
        "org.example:core",
        source=LocalSource("mine.zip", path, given.sha256, given.size),
        generic=node,
        parameters={"define": "said=hello"},
    )
    builder = mavens.plugin(sandbox, tmp_path / "b", house)

    with pytest.raises(Refusal, match="holds no project"):
        await builder.plan(replace(want, name="org.example:other"), mavens.now_ms())
    (planned,) = await builder.plan(want, mavens.now_ms())

    assert planned.purl == f"pkg:generic/{node}/maven/org.example/core@2.0"
    assert planned.recipe["parameters"] == [
        ["define", "said=hello"],
        ["sources", "project"],
        ["tests", "compile"],
    ]
    request = mavens.request(planned) | {"source": planned.source | {"manifest": "0" * 64}}
    folder = tmp_path / "b" / "given"
    folder.mkdir()
    (folder / "mine.zip").write_bytes(path.read_bytes())
    built = await builder.build(request, await builder.prefetch(request, planned.lock))
    assert built.source == "claimed"
    assert sorted(digests(built)) == ["core-2.0.jar", "core-2.0.pom"]
    with zipfile.ZipFile(built.outputs[0].raw.file.path) as packed:
        assert packed.read("said.txt") == b"hello"


def _two_modules() -> dict[str, str]:
    head = '<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>'
    parent = (
        "<parent><groupId>org.example</groupId><artifactId>two</artifactId><version>2.0</version></parent>"
    )
    return {
        "pom.xml": f"{head}<parent><groupId>org.example</groupId><artifactId>house</artifactId><version>3</version>"
        "<relativePath/></parent><artifactId>two</artifactId><version>2.0</version><packaging>pom</packaging>"
        "<modules><module>core</module><module>broken</module></modules></project>",
        "core/pom.xml": f"{head}{parent}<artifactId>core</artifactId><build><resources><resource><directory>res"
        "</directory><filtering>true</filtering></resource></resources></build></project>",
        "core/res/said.txt": "${said}",
        "broken/pom.xml": f"{head}{parent}<artifactId>broken</artifactId></project>",
        "broken/src/main/java/Broken.java": "this is no Java",
    }


@pytest.mark.skipif(shutil.which("git") is None, reason="this machine has no git (apt-get install git)")
async def test_a_mapped_repository_is_the_source_under_the_package_s_own_name(
    sandbox: Sandbox, tmp_path: Path, house: mavens.House
):
    """The tag's commit is packed, the mapping's words are the recipe's, and another commit is not the request's."""
    folder = tmp_path / "repos" / "tool"
    files = {path: text.encode() for path, text in mavens.project().items()}
    commit = git_server.repository(folder, files)
    git_server.git(folder, "tag", "tool-1.0")
    mapping = SourceMapping(
        "pkg:maven/org.example/tool",
        "https://git.example/tool",
        "tool-{version}",
        {"parameters": [["tests", "skip"]]},
        1,
    )
    hosts = GitHosts(mirrors=(("https://git.example/", f"file://{tmp_path}/repos/"),))
    builder = mavens.plugin(sandbox, tmp_path / "b", house, mapping=mapping, hosts=hosts)

    (planned,) = await builder.plan(TOOL, mavens.now_ms())
    request = mavens.request(planned)

    assert planned.purl == "pkg:maven/org.example/tool@1.0"
    assert planned.source["git"]["commit"] == commit
    assert planned.recipe["parameters"] == [["sources", "project"], ["tests", "skip"]]
    other = request | {"source": planned.source | {"git": planned.source["git"] | {"commit": "0" * 40}}}
    with pytest.raises(Refusal, match="commit") as refused:
        await builder.relock(other)
    assert refused.value.code == "digest-mismatch"


async def test_a_build_that_fails_is_an_answer_that_tells_maven_s_first_words(
    sandbox: Sandbox, tmp_path: Path, house: mavens.House
):
    house.release(mavens.project(files={"src/main/java/org/example/Broken.java": "class Broken {"}))
    builder = mavens.plugin(sandbox, tmp_path / "b", house)

    with pytest.raises(Refusal, match="COMPILATION ERROR") as refused:
        await builder.plan(TOOL, mavens.now_ms())
    failed = await builder.failed(refused.value, "0" * 64)

    assert (failed.outcome, failed.phase) == ("failed", "requirements")
    assert b"Broken.java" in failed.log.path.read_bytes()
    assert str(tmp_path).encode() not in failed.log.path.read_bytes()


async def test_what_no_source_was_released_for_is_left_to_witnesses(
    sandbox: Sandbox, tmp_path: Path, house: mavens.House
):
    house.put("org/example/bare/1/bare-1.pom", mavens.BARE_POM.format("org.example", "bare", 1).encode())
    plan = mavens.plugin(sandbox, tmp_path / "p", house).plan

    for name, version, code, words in (
        ("org.example:bare", "1", "no-sdist", "witness"),
        ("org.example:nobody", "1", "package-unknown", "spelling"),
        ("org.example:tool", "1-SNAPSHOT", "version-unknown", "exact version"),
        ("nonsense", "1", "bad-request", "group:artifact"),
    ):
        with pytest.raises(Refusal) as refused:
            await plan(Want(name, version), mavens.now_ms())
        assert refused.value.code == code
        assert words in refused.value.do


async def test_an_unchanged_mvn_builds_on_what_the_network_published_and_on_nothing_else(
    tmp_path: Path, made: Made
):
    """Every file of a lock and the result itself stand at a gateway; Maven starts with an empty repository."""
    (tmp_path / "node").mkdir()
    node = ToyNode(tmp_path / "node")
    results = [(f"{FOLDER}/{one.name}", one.raw.file.path) for one in made.built.outputs]
    for path, file in [*made.inputs.files, *results]:
        artifact = of_path(path)
        assert artifact is not None
        publish(node, artifact, path.rpartition(f"/{artifact.name}-{artifact.version}")[2], file.read_bytes())
    consumer = tmp_path / "consumer"
    consumer.mkdir()
    (consumer / "pom.xml").write_text(mavens.CONSUMER)
    source = consumer / "src/main/java/org/example/Uses.java"
    source.parent.mkdir(parents=True)
    source.write_text('package org.example; class Uses { String name = Tool.name("/a/b.c"); }')

    async with serving(toy_app(node)) as server:
        (tmp_path / "settings.xml").write_text(
            "<settings><mirrors><mirror><id>pyrsia</id><mirrorOf>*</mirrorOf>"
            f"<url>{server.url}/maven2/</url></mirror></mirrors></settings>"
        )
        command = [
            "mvn",
            "-B",
            "-q",
            "-C",
            "-s",
            str(tmp_path / "settings.xml"),
            "-f",
            str(consumer / "pom.xml"),
        ]
        command += [f"-Dmaven.repo.local={tmp_path / 'repository'}", f"-Duser.home={tmp_path}", "package"]
        ran = await trio.run_process(command, capture_stdout=True, stderr=subprocess.STDOUT, check=False)

    assert ran.returncode == 0, ran.stdout.decode()
    assert (consumer / "target" / "consumer-1.jar").is_file()
    fetched = tmp_path / "repository" / FOLDER / "tool-1.0.jar"
    assert file_out(fetched).sha256 == digests(made.built)["tool-1.0.jar"][0]


async def test_what_a_project_needs_at_run_time_is_asked_for_before_it(
    sandbox: Sandbox, tmp_path: Path, house: mavens.House
):
    """And what Maven fetched for tests and plug-ins alone is not."""
    need = "<groupId>org.example</groupId><artifactId>words</artifactId><version>1</version>"
    pom = mavens.BARE_POM.format("org.example", "words", 1)
    house_of = (
        "<groupId>org.example</groupId><artifactId>house</artifactId><version>3</version><relativePath/>"
    )
    pom = pom.replace("<groupId>", f"<parent>{house_of}</parent><groupId>", 1)
    files = {"pom.xml": pom, "src/main/resources/words.txt": mavens.WORDS}
    house.put("org/example/words/1/words-1.pom", pom.encode())
    house.put("org/example/words/1/words-1.jar", mavens.archive({"words.txt": mavens.WORDS}, top="META-INF"))
    house.put("org/example/words/1/words-1-source-release.zip", mavens.archive(files, top="words-1"))
    project = mavens.project(
        files={"src/main/java/org/example/Tool.java": "package org.example; class Tool {}\n"}
    )
    project.pop("src/test/java/org/example/ToolTest.java")
    io = "<groupId>commons-io</groupId><artifactId>commons-io</artifactId><version>2.11.0</version>"
    project["pom.xml"] = project["pom.xml"].replace(io, need)
    house.release(project)
    builder = mavens.plugin(sandbox, tmp_path / "b", house)

    words, tool = await builder.plan(replace(TOOL, closure=True), mavens.now_ms())

    assert (words.purl, tool.purl) == ("pkg:maven/org.example/words@1", "pkg:maven/org.example/tool@1.0")
    assert words.source["file"] == "words-1-source-release.zip"
    assert "org/example/words/1/words-1.jar" in [line.path for line in lock.decode(tool.lock)]
    assert await builder.relock(mavens.request(words)) == words.lock
