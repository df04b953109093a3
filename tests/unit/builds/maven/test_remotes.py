"""Files of the operator's repositories: the first that has a path wins, and what goes inside is what was hashed."""

import hashlib
from pathlib import Path
from typing import Any, cast

import pytest
import trio

from pyrsia.builds.maven import lock
from pyrsia.builds.maven.coordinates import Artifact
from pyrsia.builds.maven.plugin import MavenPlugin
from pyrsia.builds.maven.remotes import REMOTE, Remotes
from pyrsia.builds.maven.runs import Study, first_words, job_of, no_copy
from pyrsia.builds.maven.settings import MavenSettings, Repository
from pyrsia.errors import Refusal

JAR = "org/example/tool/1.0/tool-1.0.jar"


@pytest.fixture
def remotes(tmp_path: Path) -> Remotes:
    put(tmp_path / "first", "org/example/lib/1/lib-1.jar", b"first")
    put(tmp_path / "second", "org/example/lib/1/lib-1.jar", b"second")
    put(tmp_path / "second", JAR, b"only here")
    put(tmp_path / "second", "org/example/tool/maven-metadata.xml", b"<metadata/>")
    put(tmp_path, "secret.jar", b"of somebody")
    return Remotes(
        MavenSettings(tuple(Repository((tmp_path / name).as_uri()) for name in ("first", "second"))),
        tmp_path / "cache",
    )


def put(folder: Path, path: str, data: bytes) -> None:
    place = folder / path
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(data)


def locked(path: str, data: bytes) -> lock.Locked:
    return lock.Locked(path, hashlib.sha256(data).hexdigest(), len(data))


async def test_the_first_repository_that_has_a_path_wins(remotes: Remotes):
    async with remotes:
        found = [
            await remotes.find(path)
            for path in ("org/example/lib/1/lib-1.jar", JAR, "org/example/x/1/x-1.jar")
        ]

    assert [None if one is None else one.path.read_bytes() for one in found] == [b"first", b"only here", None]


@pytest.mark.parametrize("path", ["../secret.jar", "a/../../secret.jar", "/etc/passwd", "a//b", ""])
async def test_a_path_leads_nowhere_but_down(remotes: Remotes, path: str):
    async with remotes:
        assert await remotes.find(path) is None


async def test_a_locked_file_has_its_digest_or_is_refused_with_both(remotes: Remotes, tmp_path: Path):
    async with remotes:
        assert (await remotes.locked(locked(JAR, b"only here"))).read_bytes() == b"only here"
        with pytest.raises(Refusal, match=hashlib.sha256(b"only here").hexdigest()) as other:
            await remotes.locked(locked(JAR, b"only thee"))
        with pytest.raises(Refusal) as missing:
            await remotes.locked(locked("org/example/x/1/x-1.jar", b"x"))
        with pytest.raises(Refusal) as large:
            await remotes.locked(locked("org/example/lib/1/lib-1.jar", b"fir"))
        (tmp_path / "second" / JAR).unlink()
        again = await remotes.locked(locked(JAR, b"only here"))

    assert [one.value.code for one in (other, missing, large)] == [
        "digest-mismatch",
        "version-unknown",
        "too-large",
    ]
    assert again.read_bytes() == b"only here"  # by digest, from the cache


async def ask(socket: Path, path: str) -> int:
    async with await trio.open_unix_socket(socket) as stream:
        await stream.send_all(
            f"GET /{REMOTE}/{path} HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n".encode()
        )
        return int((await stream.receive_some(65_536)).split()[1])


async def test_a_planning_run_gets_files_of_releases_and_what_moves_is_remembered_not_answered(
    remotes: Remotes,
):
    moving: set[str] = set()
    async with remotes, remotes.recording(moving) as proxy:
        asked = {
            path: await ask(proxy.socket, path)
            for path in (
                JAR,
                f"{JAR}.sha1",
                "org/example/tool/maven-metadata.xml",
                "org/example/tool/1-SNAPSHOT/tool-1-SNAPSHOT.pom",
                "org/example/tool/1.0/other.jar",
                ".index/all.gz",
            )
        }
        record = [(one.path, one.sha256, one.size) for one in proxy.record]

    assert list(asked.values()) == [200, 404, 403, 403, 403, 403]
    assert moving == {
        "org/example/tool/maven-metadata.xml",
        "org/example/tool/1-SNAPSHOT/tool-1-SNAPSHOT.pom",
    }
    assert record == [(JAR, hashlib.sha256(b"only here").hexdigest(), 9)]


class Peers:
    """What the network published, and how it comes."""

    def __init__(self, path: Path | None, known: str) -> None:
        self.path = path
        self.known = known

    def published(self, sha256: str) -> int | None:
        return 7 if sha256 == self.known else None

    async def bring(self, sha256: str) -> Path:
        if self.path is None:
            raise Refusal("unavailable", what="nobody has it", who="the peers", do="try again")
        return self.path


async def test_what_the_network_published_comes_from_peers_first(remotes: Remotes, tmp_path: Path):
    line = locked(JAR, b"only here")
    put(tmp_path, "peer.jar", b"only here")
    found = []
    for shop in (Peers(tmp_path / "peer.jar", line.sha256), Peers(None, line.sha256), Peers(None, "")):
        plugin = MavenPlugin.__new__(MavenPlugin)
        plugin._shop = cast("Any", shop)
        async with remotes:
            found.append(await plugin._input(remotes, line))

    assert [path == tmp_path / "peer.jar" for path in found] == [True, False, False]
    assert {path.read_bytes() for path in found} == {b"only here"}


def test_maven_s_first_words_are_told_and_nothing_of_them_raw():
    log = (
        b"[INFO] fine\n[ERROR] [ERROR] Some problems were encountered while processing the POMs:\n"
        b"[ERROR] COMPILATION ERROR : \n[INFO] ---\n[ERROR] \x1b[31mTool.java:[3,1] missing\n[ERROR] third\n"
    )

    said = first_words(log)

    assert said.startswith("COMPILATION ERROR :: ")
    assert "Tool.java" in said
    assert "third" not in said
    assert said.isprintable()


def test_a_recipe_s_parameters_reach_the_run_and_stand_over_nothing_else():
    value = {"root": "", "module": "core", "packaging": "jar", "final_name": ""}
    study = Study(Artifact("org.example", "core", "1"), value)
    recipe = {"sde": 5, "parameters": [["sources", "attach"], ["tests", "run"]]}

    job = job_of(study, "source.zip", recipe, remote="http://x")

    assert (job["tests"], job["sources"], job["module"], job["artifact"]) == ("run", "attach", "core", "core")
    assert (job["repository"], job["profiles"], job["zone"]) == ("", "", "UTC")


@pytest.mark.parametrize(
    ("path", "copies"),
    [
        (JAR, True),
        ("org/example/tool/1.0/tool-1.0-sources.jar", True),
        ("org/example/tool/1.0/tool-1.0.pom", False),
        ("org/example/tool/0.9/tool-0.9.jar", False),
        ("org/example/tool-core/1.0/tool-core-1.0.jar", False),
    ],
)
def test_a_build_that_reads_its_own_published_result_is_refused(path: str, copies: bool):
    """Whoever runs inside may fetch that through the proxy and hand it out as built; the record tells."""
    artifact, lines = Artifact("org.example", "tool", "1.0"), [locked(path, b"x")]
    code = ""
    try:
        no_copy(artifact, lines)
    except Refusal as refused:
        code = refused.code
    assert code == ("unresolvable" if copies else "")
