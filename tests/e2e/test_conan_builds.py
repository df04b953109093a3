"""The whole conan plug-in: recipes planned and built for real in the sandbox, served to a real `conan install`."""

import hashlib
import importlib.util
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import trio

from pyrsia.builds.conan.remotes import Remotes
from pyrsia.builds.model import Built, Want
from pyrsia.builds.sandbox import Sandbox

sys.path.insert(0, str(Path(__file__).parent))
import conans
from sandbox_backends import make
from toy import serving, toy_app

assert importlib.util.find_spec("conans")
pytestmark = pytest.mark.builds
NODE = "a" * 52


@pytest.fixture
def sandbox(tmp_path: Path) -> Sandbox:
    tmp_path.chmod(0o755)
    conans.needed()
    return make("bubblewrap")


async def built_from(
    sandbox: Sandbox, home: Path, source: conans.LocalSource, *, vary: bool = False
) -> Built:
    """Plan, lock again, fetch and build on a machine of its own, as a drawn builder does."""
    node = conans.plugin(sandbox, home, given=source)
    (planned,) = await node.plan(Want("tiny", "1.0", source=source, generic=NODE), conans.now_ms())
    request = conans.request(planned, NODE)
    locked = await node.relock(request)
    assert locked == planned.lock
    return await node.build(request, await node.prefetch(request, locked), vary=vary)


async def test_release_and_debug_agree_across_homes_umasks_and_time_zones(sandbox: Sandbox, tmp_path: Path):
    source = conans.archive(tmp_path, conans.library())

    first = await built_from(sandbox, tmp_path / "a", source)
    second = await built_from(sandbox, tmp_path / "another-machine", source, vary=True)

    assert conans.digests(first) == conans.digests(second)
    assert conans.kinds(first) == sorted(
        ["conanfile.py", "conan_sources.tgz", "conanmanifest.txt"]
        + 2 * ["conan_package.tgz", "conaninfo.txt", "conanmanifest.txt"]
    )
    assert [one.stable for one in first.outputs] == [one.stable for one in second.outputs]


async def client(home: Path, *words: str, cwd: Path | None = None) -> str:
    """Run an unmodified Conan with a home of its own; what it said."""
    done = await trio.run_process(
        [str(conans.conan()), *words],
        env=conans.clean(home),
        cwd=cwd,
        capture_stdout=True,
        stderr=subprocess.STDOUT,
        check=False,
    )
    said = done.stdout.decode()
    assert done.returncode == 0, said
    return said


PROFILE = """[settings]
os=Linux
arch={arch}
compiler=gcc
compiler.version={version}
compiler.libcxx=libstdc++11
compiler.cppstd=gnu17
build_type={build_type}
"""


def profile(folder: Path, build_type: str) -> str:
    path = folder / build_type
    facts = conans.Here().one.facts
    arch = {"x86_64": "x86_64", "aarch64": "armv8"}[facts["arch"]]
    version = facts["compiler"].removeprefix("gcc-").partition(".")[0]
    path.write_text(PROFILE.format(arch=arch, version=version, build_type=build_type))
    return str(path)


async def test_an_unchanged_conan_installs_both_and_a_consumer_links_them(sandbox: Sandbox, tmp_path: Path):
    """From the network's names, and from the node's own."""
    built = await built_from(sandbox, tmp_path / "a", conans.archive(tmp_path, conans.library()))
    (tmp_path / "toy").mkdir()
    node = conans.Published(tmp_path / "toy")
    conans.publish(node, built)
    conans.publish(node, built, f"pkg:generic/{NODE}/conan/tiny")
    files = conans.library("app", ("tiny/1.0",))
    for path, text in files.items():
        (tmp_path / "app" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "app" / path).write_text(text)

    async with serving(toy_app(node)) as server:
        base = f"http://127.0.0.1:{server.listeners[0].port}/conan"
        for number, url in enumerate((base, f"{base}/{NODE}")):
            home = tmp_path / f"client-{number}"
            home.mkdir()
            await client(home, "remote", "add", "pyrsia", url, "--index", "0")
            await client(home, "remote", "disable", "conancenter")
            listed = await client(home, "list", "tiny/*:*", "-r", "pyrsia", "--format", "compact")
            assert "tiny/1.0" in listed
            for build_type in ("Release", "Debug"):
                chosen = profile(tmp_path, build_type)
                said = await client(home, "install", "--requires=tiny/1.0", "-pr:a", chosen, "--build=never")
                assert "Package installed" in said
                await client(home, "create", str(tmp_path / "app"), "-pr:a", chosen, "--build=app/*")
            await client(home, "cache", "check-integrity", "tiny/1.0:*")


SOURCE = """
    def source(self):
        from conan.tools.files import download
        url = "BASE/notes.txt"
        download(self, url, "notes.txt", sha256="SHA256")

    def package(self):
        from conan.tools.files import copy
        CMake(self).install()
        copy(self, "notes.txt", self.source_folder, self.package_folder + "/res")
"""


@asynccontextmanager
async def files_of(folder: Path) -> AsyncIterator[str]:
    """A plain HTTP server of a folder's files; its base URL."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


async def test_a_recipe_of_a_remote_is_rebuilt_and_found_identical(sandbox: Sandbox, tmp_path: Path):
    """By revision, with the package that the remote already has compared member by member."""
    built = await built_from(sandbox, tmp_path / "a", conans.archive(tmp_path, conans.library()))
    (tmp_path / "toy").mkdir()
    node = conans.Published(tmp_path / "toy")
    conans.publish(node, built)

    async with serving(toy_app(node)) as server:
        url = f"http://127.0.0.1:{server.listeners[0].port}/conan"
        remotes = Remotes({"conan-0": url}, {})
        planner = conans.plugin(sandbox, tmp_path / "planner", remotes)
        builder = conans.plugin(sandbox, tmp_path / "builder", remotes)
        (planned,) = await planner.plan(Want("tiny", "1.0"), conans.now_ms())
        request = conans.request(planned)
        locked = await builder.relock(request)
        inputs = await builder.prefetch(request, locked)

    again = await builder.build(request, inputs)

    assert planned.purl == "pkg:conan/tiny@1.0"
    assert locked == planned.lock == b"pyrsia lock conan v1\n"
    assert planned.recipe["sde"] == conans.EPOCH
    assert conans.digests(again) == conans.digests(built)
    assert again.source == "registry"
    assert {one.upstream_relation for one in again.outputs} == {"identical"}
    assert {one.upstream.file.sha256 for one in again.outputs if one.upstream} == set(
        conans.digests(built).values()
    )


async def test_what_a_recipe_requires_is_locked_linked_and_built_against(sandbox: Sandbox, tmp_path: Path):
    built = await built_from(sandbox, tmp_path / "a", conans.archive(tmp_path, conans.library()))
    (tmp_path / "toy").mkdir()
    node = conans.Published(tmp_path / "toy")
    conans.publish(node, built)
    files = conans.library("app", ("tiny/1.0",))
    linked = {sha256: number for number, sha256 in enumerate(conans.digests(built).values())}
    sources = tmp_path / "sources"
    sources.mkdir()
    (sources / "notes.txt").write_text("fetched\n")

    async with serving(toy_app(node)) as server, files_of(sources) as from_there:
        digest = hashlib.sha256(b"fetched\n").hexdigest()
        files["conanfile.py"] += SOURCE.replace("BASE", from_there).replace("SHA256", digest)
        source = conans.archive(tmp_path, files, "app-1.0")
        url = f"http://127.0.0.1:{server.listeners[0].port}/conan"
        remotes = Remotes({"conan-0": url}, {"source-0": from_there})
        builder = conans.plugin(sandbox, tmp_path / "n", remotes, given=source, published=linked)
        (planned,) = await builder.plan(Want("app", None, source=source, generic=NODE), conans.now_ms())
        request = conans.request(planned, NODE)
        locked = await builder.relock(request)
        inputs = await builder.prefetch(request, locked)

    made = await builder.build(request, inputs)

    lines = [line.split(" ") for line in locked.decode().splitlines()[1:]]
    assert ["app", "1.0", f"source~{digest}", digest, "8"] in lines
    required = {name: sha256 for title, _, name, sha256, _ in lines if title == "tiny"}
    published = conans.digests(built)
    assert required and required.items() <= published.items()
    assert sum(name.endswith("conan_package.tgz") for name in required) == 2
    assert dict(planned.linked) == {name: linked[sha256] for name, sha256 in required.items()}
    assert conans.digests(made)
    package = next(one for one in made.outputs if one.name.endswith("conan_package.tgz"))
    assert conans.unpacked(package.raw.file.path, tmp_path)["res/notes.txt"] == b"fetched\n"
