"""Stock clients enforce what was exported: pip, Conan and Maven refuse other bytes by themselves, wherever they are.

Each stands beside a second source that is reachable and holds the other bytes; nothing of Pyrsia is between.
"""

import http.server
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import msgspec
import pytest
import trio

from pyrsia.cli.main import cli
from pyrsia.cli.tell import run
from pyrsia.consumers.exports import maven
from pyrsia.policy.facts import Facts
from tests.reference.fakenode import FakeNode
from tests.unit.serve.toy import ToyNode, toy_wheel
from tests.unit.serve.toyjudge import AGREEING, NOW_MS, ToyJudge, known

sys.path.insert(0, str(Path(__file__).parent))
import conans
import maven_repo

pytestmark = pytest.mark.clients
CLIENT_S = 120


@contextmanager
def asked(judge: ToyJudge) -> Iterator[str]:
    """The address of a node that knows these files."""
    answers = {
        "/api/v1/policy": (200, lambda _: msgspec.to_builtins(judge.policy())),
        "/api/v1/policy/facts": (200, lambda query: msgspec.to_builtins(judge.known(query["purl"]))),
        "/api/v1/policy/names": (
            200,
            lambda query: msgspec.to_builtins(judge.packages(query["start"], query.get("after", ""))),
        ),
    }
    with FakeNode(answers) as node:
        yield node.url


def exported(judge: ToyJudge, *words: str | Path) -> None:
    with asked(judge) as url:
        assert run(cli, ["export", *map(str, words), "--node", url]) == 0


# -- pip --


@contextmanager
def index(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """A package index made of `folder/<project>/*.whl`: its address, and what was asked for."""
    seen: list[str] = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append(self.path)
            super().do_GET()

        def log_message(self, *_: object) -> None:
            return

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/", seen
        finally:
            server.shutdown()
            thread.join()


def pip(target: Path, url: str, listed: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            *(sys.executable, "-m", "pip", "install", "--no-cache-dir", "--disable-pip-version-check"),
            *("--require-hashes", "--index-url", url, "--target", target, "-r", listed),
        ],
        env={"PATH": os.environ["PATH"], "PIP_CONFIG_FILE": os.devnull},
        capture_output=True,
        text=True,
        timeout=CLIENT_S,
        check=False,
    )


def placed(folder: Path, name: str, data: bytes) -> None:
    place = folder / name.partition("-")[0]
    place.mkdir(parents=True, exist_ok=True)
    (place / name).write_bytes(data)


def test_pip_installs_the_exported_bytes_and_refuses_others_from_an_index_that_has_them(
    tmp_path: Path,
) -> None:
    name, wheel, metadata = toy_wheel("alpha", "1.0")
    toy = ToyNode(tmp_path)
    file = toy.publish(name, wheel, metadata)
    listed = tmp_path / "requirements.txt"
    exported(
        ToyJudge([known(file.purl, name, sha256=file.sha256)]), "pip-requirements", "alpha", "-o", listed
    )
    placed(tmp_path / "good", name, wheel)
    placed(tmp_path / "bad", name, toy_wheel("alpha", "1.0", ["beta"])[1])

    with index(tmp_path / "good") as (url, _):
        done = pip(tmp_path / "target", url, listed)
        assert done.returncode == 0, done.stderr
        assert (tmp_path / "target" / "alpha.py").is_file()
    with index(tmp_path / "bad") as (url, seen):
        done = pip(tmp_path / "other", url, listed)
        assert done.returncode != 0
        assert "THESE PACKAGES DO NOT MATCH THE HASHES" in done.stderr
        assert any(path.endswith(name) for path in seen)  # it had them, and would have been believed
        assert not (tmp_path / "other" / "alpha.py").exists()


# -- Conan --

RECIPE = """
from conan import ConanFile


class Recipe(ConanFile):
    name = "thing"
    version = "1.0"
    {extra}
"""


def test_conan_takes_the_exported_revision_and_not_the_newest(tmp_path: Path) -> None:
    program, env = conans.conan(), conans.clean(tmp_path / "home")

    def conan(*words: str, good: bool = True) -> str:
        done = subprocess.run(
            [str(program), *words],
            env=env,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=CLIENT_S,
            check=False,
        )
        assert (done.returncode == 0) == good, done.stdout + done.stderr
        return done.stdout + done.stderr

    def made(extra: str) -> str:
        (tmp_path / "conanfile.py").write_text(RECIPE.format(extra=extra))
        conan("export", ".")
        conan("list", "thing/1.0#latest", "--format=json", "--out-file=list.json")
        found = json.loads((tmp_path / "list.json").read_text())
        (revision,) = found["Local Cache"]["thing/1.0"]["revisions"]
        return str(revision)

    conan("remote", "remove", "*")
    profile = tmp_path / "profile"
    profile.write_text("[settings]\nos=Linux\narch=x86_64\n")
    agreed = made('description = "agreed"')
    newest = made('description = "newest"')
    assert agreed != newest
    lock = tmp_path / "conan.lock"

    def install(good: bool = True) -> str:
        words = ("--requires=thing/1.0", "--build=missing", f"-pr:a={profile}")
        return conan("install", *words, f"--lockfile={lock}", good=good)

    def files(revision: str) -> list[Facts]:
        return [known("pkg:conan/thing@1.0", f"{revision}~conanmanifest.txt", sha256="1" * 64)]

    exported(ToyJudge(files(agreed)), "conan-lock", "thing/1.0", "-o", lock)
    said = install()
    assert (f"thing/1.0#{agreed}" in said, newest in said) == (True, False)
    exported(ToyJudge(files("9" * 32)), "conan-lock", "thing/1.0", "-o", lock)
    assert "Package 'thing/1.0' not resolved" in install(good=False)  # two others are there


# -- Maven --


POM = """<project><modelVersion>4.0.0</modelVersion><groupId>org.acme</groupId><artifactId>lib</artifactId>
<version>1.0</version></project>
"""


async def test_maven_refuses_a_jar_that_the_exported_checksums_do_not_name(tmp_path: Path) -> None:
    maven_repo.needs_maven()
    home = os.environ.get("PYRSIA_MAVEN39")
    if not home:
        pytest.skip(
            "no Maven of 3.9 or later: PYRSIA_MAVEN39 names its folder; Debian has 3.8, which checks no such list"
        )
    (tmp_path / "node").mkdir()
    node = maven_repo.debian(tmp_path / "node")
    for name, data in (("lib-1.0.jar", b"a jar of sorts"), ("lib-1.0.pom", POM.encode())):
        file = tmp_path / name
        file.write_bytes(data)
        maven_repo.name(node, f"org/acme/lib/1.0/{name}", file)
    judge = ToyJudge([
        Facts(one.purl, "network", one.filename, one.sha256, "REPRODUCED", AGREEING, published_ms=NOW_MS - 1)
        for one in node.published.values()
        if not one.name.endswith(".")  # (Debian has a folder that no purl names)
    ])  # fmt: skip
    sums = tmp_path / "project" / ".mvn" / "checksums"
    await trio.to_thread.run_sync(partial(exported, judge, "maven-trusted-checksums", "--all", "-o", sums))
    inside = "${session.rootDirectory}/.mvn/checksums"  # as the command prints it for this folder
    (sums.parent / "maven.config").write_text("".join(f"{line}\n" for line in maven.options(inside)))
    between = maven_repo.Between()
    async with maven_repo.node_at(node) as url, between.of(url) as address:
        user = maven_repo.Maven(tmp_path / "maven", address, home=Path(home))
        get, here = maven_repo.get("org.acme:lib:1.0"), sums.parents[1]
        await user.run(*get, folder=here)
        assert user.has("org/acme/lib/1.0/lib-1.0.jar")
        user.forget("org/acme")
        # Its sidecars are asked for at the same place, and are right for these bytes: only the list knows better.
        between.wrong = {"lib-1.0.jar"}
        printed = await user.run(*get, "-c", folder=here, good=False)
        assert "trusted checksum mismatch" in printed
        between.wrong = set()
        (sums / "checksums-pyrsia.sha256").write_text(
            "".join(
                line
                for line in (sums / "checksums-pyrsia.sha256").read_text().splitlines(keepends=True)
                if "org/acme/lib" not in line
            )
        )
        user.forget("org/acme")
        printed = await user.run(*get, folder=here, good=False)  # what the list does not name
        assert "Missing from" in printed
