"""Real Maven against a node's repository: what a user gets, and what the screen says where there is nothing to get.

The tests run the Maven of this machine against a small node whose log names Debian's repository. For another node or
another Maven, `make evidence` calls

    await row(folder, url, given="group:artifact:version", refused="group:artifact:version", home=None)
        -> dict[str, str], a sentence for each of CASES
    await trusted(folder, url, home, given=..., summary=b"<sha256>  <path>\n...")  -> str
    await deployed(folder, url, home=None)  -> dict[str, str]; the token `push` may push pkg:maven/org.acme/*

`folder` is empty, `home` an installation of Maven (None: the one on PATH), `url` ends in `/maven2/`. The node must give
maven-dependency-plugin with all that it needs, and `given`, and refuse `refused`. An AssertionError says which case
failed, with what Maven printed.
"""

import importlib.util
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from maven_repo import (
    ORIGIN,
    PLUGINS,
    Between,
    Maven,
    debian,
    get,
    needs_maven,
    node_at,
    project,
    refuse,
    second,
    version_of,
)

from tests.unit.serve.maven_toys import shelf
from tests.unit.serve.toy import ToyNode

assert importlib.util.find_spec("maven_repo")
pytestmark = [pytest.mark.clients]
CASES = ("cold", "warm", "wrong hash", "policy refusal", "interrupted transfer")
GIVEN = "commons-io:commons-io:2.11.0"
REFUSED = "info.picocli:picocli:4.6.2"


def place(coordinates: str) -> tuple[str, str]:
    """(folder of the version, path of the jar) in a repository."""
    group, artifact, version = coordinates.split(":")
    folder = f"{group.replace('.', '/')}/{artifact}/{version}"
    return folder, f"{folder}/{artifact}-{version}.jar"


async def row(
    folder: Path, url: str, *, given: str = GIVEN, refused: str = REFUSED, home: Path | None = None
) -> dict[str, str]:
    """Every case of one Maven, one after the other."""
    between, told = Between(), {}
    upstream: list[str] = []
    async with between.of(url) as address, second(upstream) as other:
        maven = Maven(folder, address, home, second=other)
        told["cold"] = await cold(maven, between, given)
        told["warm"] = await warm(maven, between, given)
        told["wrong hash"] = await wrong_hash(maven, between, given)
        told["policy refusal"] = await refusal(maven, upstream, refused)
        told["interrupted transfer"] = await interrupted(maven, between, given)
    assert not upstream, f"the other repository was asked for {upstream}"
    return told


async def cold(maven: Maven, between: Between, given: str) -> str:
    begun = time.monotonic()
    await maven.run("-C", *get(given))
    asked = between.asked()
    assert maven.has(place(given)[1])
    sidecars = sum(path.endswith((".sha1", ".md5")) for path in asked)
    return f"{len(asked)} requests, {sidecars} of them for checksums, {time.monotonic() - begun:.1f} s"


async def warm(maven: Maven, between: Between, given: str) -> str:
    await maven.run("-C", *get(given))
    asked = between.asked()
    assert not asked, f"what is here was asked for again: {asked[:5]}"
    return "nothing was asked for"


async def wrong_hash(maven: Maven, between: Between, given: str) -> str:
    folder, jar = place(given)
    maven.forget(folder)
    between.wrong = {jar}
    printed = await maven.run("-C", *get(given), good=False)
    between.wrong = set()
    assert "Checksum validation failed" in printed, printed[-3_000:]
    assert not maven.has(jar)
    return line(printed, "Checksum validation failed")


async def refusal(maven: Maven, upstream: list[str], refused: str) -> str:
    printed = await maven.run("-C", *get(refused), good=False)
    assert "policy refuses" in printed, printed[-3_000:]
    assert not maven.has(place(refused)[1])
    assert upstream == []
    return line(printed, "policy refuses") + "; the other repository was asked 0 times"


async def interrupted(maven: Maven, between: Between, given: str) -> str:
    """The transfer breaks off: Maven asks again by itself, or its next run does. Nothing that is not whole stays."""
    folder, jar = place(given)
    maven.forget(folder)
    between.asked()
    between.cut = {jar: 1}
    failed = ""
    try:
        await maven.run("-C", *get(given))
    except AssertionError as error:
        failed = str(error)
        assert not maven.has(jar), "half of a file stayed"
        await maven.run("-C", *get(given))
    assert between.cut == {jar: 0}
    assert maven.has(jar)
    count = len(between.asked(jar))
    return f"{'the next run got it' if failed else 'it was asked for again at once'}, {count} requests for the file"


def line(printed: str, words: str) -> str:
    """The line of a client's output that has `words`, without what is before them in it."""
    found = next((one for one in printed.splitlines() if words in one), "")
    assert found, f"{words!r} is not in {printed[-3_000:]}"
    return found[found.index(words) :][:300]


async def trusted(folder: Path, url: str, home: Path, *, given: str = GIVEN, summary: bytes) -> str:
    """Maven 3.9 and newer with `summary` as its trusted checksums: `given` passes, and a changed one does not."""
    (folder / "sums").mkdir(parents=True)
    (folder / "sums/checksums-pyrsia.sha256").write_bytes(summary)
    processor = "-Daether.artifactResolver.postProcessor.trustedChecksums"
    options = (
        processor,
        f"{processor}.checksumAlgorithms=SHA-256",
        "-Daether.trustedChecksumsSource.summaryFile",
        f"-Daether.trustedChecksumsSource.summaryFile.basedir={folder / 'sums'}",
    )
    maven = Maven(folder / "user", url, home)
    await maven.run("-C", *get(given), *options, f"{processor}.failIfMissing=true")
    changed = (folder / "sums/checksums-pyrsia.sha256").read_text().replace("0", "1")
    (folder / "sums/checksums-pyrsia.sha256").write_text(changed)
    maven.forget(place(given)[0])
    printed = await maven.run("-C", *get(given), *options, good=False)
    assert not maven.has(place(given)[1])
    return line(printed, "Artifact")


async def deployed(folder: Path, url: str, home: Path | None = None) -> dict[str, str]:
    """A project of three modules is deployed and resolved back; a release does not change."""
    between, told = Between(), {}
    async with between.of(url) as address:
        maven = Maven(folder / "user", address, home)
        await maven.run("-C", "deploy", folder=project(folder / "p", address, "1.0-SNAPSHOT"))
        puts = [path for method, path in between.requests if method == "PUT"]
        assert any("/app/1.0-SNAPSHOT/app-1.0-2" in path for path in puts), puts
        told["snapshot"] = f"{len(puts)} files, checksums and lists were put"
        jar = folder / "p/app/target/app-1.0-SNAPSHOT.jar"
        await maven.run("-C", *deploy_file(jar, address))
        told["release"] = "deployed by deploy-file"
        printed = await maven.run(
            "-C", *deploy_file(folder / "p/lib/target/lib-1.0-SNAPSHOT.jar", address), good=False
        )
        told["the same release with other bytes"] = line(
            printed, "stands here with other bytes" if "stands here" in printed else "HTTP Status: 409"
        )  # Maven 4 tells a push's status alone
        maven.forget("org/acme")
        await maven.run("-C", *get("org.acme:app:1.0-SNAPSHOT", "-Dtransitive=true",
                                   f"-DremoteRepositories={ORIGIN}::default::{address}"))  # fmt: skip
        assert maven.has("org/acme/lib/1.0-SNAPSHOT/lib-1.0-SNAPSHOT.jar")
        told["resolved back"] = "app and lib, by the newest build"
    return told


def deploy_file(jar: Path, url: str) -> tuple[str, ...]:
    """Arguments that deploy `jar` as the release org.acme:single:1.0."""
    plugin = f"{PLUGINS}:maven-deploy-plugin:{version_of('deploy')}:deploy-file"
    what = ("-DgroupId=org.acme", "-DartifactId=single", "-Dversion=1.0", "-Dpackaging=jar")
    return (plugin, f"-Durl={url}", f"-DrepositoryId={ORIGIN}", f"-Dfile={jar}", *what)


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ToyNode]:
    needs_maven()
    node = debian(tmp_path_factory.mktemp("node"), lambda purl: "WITNESSED")
    refuse(node, lambda file: file.purl.startswith("pkg:maven/info.picocli/picocli@"))
    return node


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One for both tests, so that the second has the plug-ins that the first fetched."""
    return tmp_path_factory.mktemp("clients")


async def test_this_machine_s_maven_gets_checks_and_is_refused_as_a_user_sees_it(node: ToyNode, folder: Path):
    async with node_at(node) as url:
        told = await row(folder / "user", url)

    assert tuple(told) == CASES
    assert "it is WITNESSED, REPRODUCED is the least" in told["policy refusal"]


async def test_a_project_is_deployed_and_resolved_back(node: ToyNode, folder: Path):
    with shelf(folder) as local:
        async with node_at(node, local=local) as url:
            await deployed(folder, url)
        builds = [one.key for one in local.rows("pkg:maven/org.acme/app", "1.0-SNAPSHOT/")]
        release = [one.key for one in local.rows("pkg:maven/org.acme/single")]

    assert [key.rpartition(".")[2] for key in builds] == ["jar", "pom"]
    assert release == ["1.0/single-1.0.jar", "1.0/single-1.0.pom"]
