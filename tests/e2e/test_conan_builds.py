"""The whole conan plug-in: recipes planned and built for real in the sandbox, served to a real `conan install`."""

import hashlib
import importlib.util
import json
import secrets
import socket
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import trio

from pyrsia.builds.conan.remotes import Remotes
from pyrsia.builds.model import Built, PhaseFailed, SourceMapping, Want
from pyrsia.builds.sandbox import BuildLimits, Sandbox
from pyrsia.errors import Refusal

sys.path.insert(0, str(Path(__file__).parent))
import conans
from sandbox_backends import make
from test_sandbox_escapes import of_marker

assert importlib.util.find_spec("conans")
pytestmark = pytest.mark.builds
NODE = "a" * 52


@pytest.fixture
def sandbox(tmp_path: Path) -> Sandbox:
    tmp_path.chmod(0o755)
    conans.needed()
    return make("bubblewrap")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """The library, built once for the tests that only use what came of it."""
    home = tmp_path_factory.mktemp("tiny")
    home.chmod(0o755)
    home.parent.chmod(0o755)
    conans.needed()
    source = conans.archive(home, conans.library())
    return trio.run(built_from, make("bubblewrap"), home / "node", source)


@pytest.fixture
def node(tiny: Built, tmp_path: Path) -> conans.Published:
    """A gateway that has it under its own name, and under a node's."""
    (tmp_path / "toy").mkdir()
    found = conans.Published(tmp_path / "toy")
    conans.publish(found, tiny)
    conans.publish(found, tiny, f"pkg:generic/{NODE}/conan/tiny")
    return found


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


async def test_release_and_debug_agree_across_homes_umasks_and_time_zones(
    sandbox: Sandbox, tiny: Built, tmp_path: Path
):
    source = conans.archive(tmp_path, conans.library())

    other = await built_from(sandbox, tmp_path / "another-machine", source, vary=True)

    assert conans.digests(tiny) == conans.digests(other)
    assert conans.kinds(tiny) == sorted(
        ["conanfile.py", "conan_sources.tgz", "conanmanifest.txt"]
        + 2 * ["conan_package.tgz", "conaninfo.txt", "conanmanifest.txt"]
    )
    assert [one.stable for one in tiny.outputs] == [one.stable for one in other.outputs]
    assert tiny.source == "claimed"


async def client(home: Path, *words: str) -> str:
    """Run an unmodified Conan with a home of its own; what it said."""
    done = await trio.run_process(
        [str(conans.conan()), *words],
        env=conans.clean(home),
        cwd=home,  # it writes scripts where it stands
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


async def test_an_unchanged_conan_installs_both_and_a_consumer_links_them(
    node: conans.Published, tmp_path: Path
):
    """From the network's names, and from the node's own."""
    files = conans.library("app", ("tiny/1.0",))
    for path, text in files.items():
        (tmp_path / "app" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "app" / path).write_text(text)

    async with conans.gateway(node) as address:
        base = f"{address}/conan"
        for number, url in enumerate((base, f"{base}/{NODE}")):
            home = tmp_path / f"client-{number}"
            home.mkdir()
            await client(home, "remote", "add", "pyrsia", url, "--index", "0")
            await client(home, "remote", "disable", "conancenter")
            listed = await client(home, "list", "tiny/*:*", "-r", "pyrsia", "--format", "compact")
            assert "tiny/1.0" in listed
            for build_type in ("Release", "Debug") if number == 0 else ("Debug",):
                chosen = profile(tmp_path, build_type)
                said = await client(home, "install", "--requires=tiny/1.0", "-pr:a", chosen, "--build=never")
                assert "Package installed" in said
                if number == 0:
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


async def test_a_recipe_of_a_remote_is_rebuilt_and_found_identical(
    sandbox: Sandbox, tiny: Built, node: conans.Published, tmp_path: Path
):
    """By revision, with the package that the remote already has compared member by member."""
    async with conans.gateway(node) as address:
        url = f"{address}/conan"
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
    assert conans.digests(again) == conans.digests(tiny)
    assert again.source == "registry"
    assert {one.upstream_relation for one in again.outputs} == {"identical"}
    assert {one.upstream.file.sha256 for one in again.outputs if one.upstream} == set(
        conans.digests(tiny).values()
    )


async def test_what_a_recipe_requires_is_asked_for_first_locked_linked_and_built_against(
    sandbox: Sandbox, tiny: Built, node: conans.Published, tmp_path: Path
):
    files = conans.library("app", ("tiny/1.0",))
    linked = {sha256: number for number, sha256 in enumerate(conans.digests(tiny).values())}
    sources = tmp_path / "sources"
    sources.mkdir()
    (sources / "notes.txt").write_text("fetched\n")

    async with conans.gateway(node) as address, files_of(sources) as from_there:
        digest = hashlib.sha256(b"fetched\n").hexdigest()
        files["conanfile.py"] += SOURCE.replace("BASE", from_there).replace("SHA256", digest)
        source = conans.archive(tmp_path, files, "app-1.0")
        url = f"{address}/conan"
        remotes = Remotes({"conan-0": url}, {"source-0": from_there})
        builder = conans.plugin(sandbox, tmp_path / "n", remotes, given=source, published=linked)
        want = Want("", None, source=source, generic=NODE, parameters={"option.shared": "True"})
        required, planned = await builder.plan(want, conans.now_ms())
        (alone,) = await builder.plan(replace(want, closure=False), conans.now_ms())
        request = conans.request(planned, NODE)
        locked = await builder.relock(request)
        inputs = await builder.prefetch(request, locked)

    made = await builder.build(request, inputs)

    assert (required.purl, planned.purl) == ("pkg:conan/tiny@1.0", "pkg:conan/app@1.0")
    assert required.source["file"].startswith("tiny-1.0-")
    assert required.recipe["parameters"] == [
        ["build_type", "Debug Release"]
    ]  # by the rules, not as the app's
    assert alone == planned
    lines = [line.split(" ") for line in locked.decode().splitlines()[1:]]
    assert ["app", "1.0", f"source~{digest}", digest, "8"] in lines
    needed = {name: sha256 for title, _, name, sha256, _ in lines if title == "tiny"}
    published = conans.digests(tiny)
    assert needed
    assert needed.items() <= published.items()
    assert sum(name.endswith("conan_package.tgz") for name in needed) == 2
    assert dict(planned.linked) == {name: linked[sha256] for name, sha256 in needed.items()}
    assert conans.digests(made)
    package = next(one for one in made.outputs if one.name.endswith("conan_package.tgz"))
    held = conans.unpacked(package.raw.file.path)
    assert held["res/notes.txt"] == b"fetched\n"
    assert held["lib/libapp.so"] == "libapp.so.1"  # a link stays one


# -- hostile recipes ----------------------------------------------------------------------------------

EVIL = """
import json, os, socket, subprocess, sys, urllib.error, urllib.request

def tried(what):
    try:
        return repr(what())[:200]
    except Exception as error:
        return f"refused: {type(error).__name__}"

def ask(url, data=None):
    return urllib.request.urlopen(url, data=data, timeout=5).status

said = {
    "home": tried(lambda: open(os.path.expanduser("~/left"), "w").write("x")),
    "host": tried(lambda: open(HOST_HOME + "/left", "w").write("x")),
    "host's files": tried(lambda: os.listdir(HOST_HOME)),
    "neighbour": tried(lambda: socket.create_connection(("127.0.0.1", PORT), 2)),
    "outside": tried(lambda: socket.create_connection(("192.0.2.1", 80), 2)),
    "the remote": tried(lambda: ask("http://127.0.0.1:7999/conan-0/v1/ping")),
    "another place on it": tried(lambda: ask("http://127.0.0.1:7999/conan-0/api/v1/status")),
    "a post to it": tried(lambda: ask("http://127.0.0.1:7999/conan-0/v1/ping", b"stolen")),
    "the neighbour through it": tried(lambda: ask(f"http://127.0.0.1:7999/http://127.0.0.1:{PORT}/")),
}
for _ in range(3):
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(3600)", MARKER], start_new_session=True)
print("SAID" + json.dumps(said), file=sys.stderr, flush=True)
raise RuntimeError("that is all")
"""


async def test_a_hostile_recipe_gets_out_of_planning_with_nothing(
    sandbox: Sandbox, node: conans.Published, tmp_path: Path
):
    """It writes to HOME and to the host's, dials out, misuses the way out and leaves daemons behind."""
    marker = f"marker-{secrets.token_hex(6)}"
    (tmp_path / "home").mkdir()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        port = listener.getsockname()[1]
        names = f"HOST_HOME, PORT, MARKER = {str(tmp_path / 'home')!r}, {port}, {marker!r}\n"
        files = conans.library()
        files["conanfile.py"] = names + EVIL + files["conanfile.py"]
        source = conans.archive(tmp_path, files)
        async with conans.gateway(node) as address:
            url = f"{address}/conan"
            planner = conans.plugin(sandbox, tmp_path / "n", Remotes({"conan-0": url}, {}), given=source)
            with pytest.raises(PhaseFailed, match="Unable to load conanfile") as caught:
                await planner.plan(Want("tiny", "1.0", source=source, generic=NODE), conans.now_ms())
        with pytest.raises(BlockingIOError):
            listener.accept()

    lines = caught.value.log.decode().splitlines()
    said = json.loads(next(line for line in lines if line.startswith("SAID"))[4:])
    assert said.pop("home") == "1"  # the sandbox's own, in memory
    assert said.pop("the remote") == "200"
    assert {name: words for name, words in said.items() if not words.startswith("refused")} == {}
    assert list((tmp_path / "home").iterdir()) == []
    assert of_marker(marker) == []
    assert list((tmp_path / "n" / "scratch").iterdir()) == []


IN_BUILD = """
    def build(self):
        {code}
"""


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("import os\n        while True: os.fork()", "processes"),
        (
            "import socket\n        socket.create_connection(('192.0.2.1', 80), 5)",
            "Conan ended with an error",
        ),
    ],
    ids=["fork bomb", "dials out"],
)
async def test_a_hostile_build_fails_and_is_told_as_that(
    sandbox: Sandbox, tmp_path: Path, code: str, why: str
):
    files = conans.library()
    files["conanfile.py"] += IN_BUILD.format(code=code)
    source = conans.archive(tmp_path, files)
    node = conans.plugin(sandbox, tmp_path / "n", given=source, limits=BuildLimits(processes=64))
    want = Want("tiny", "1.0", source=source, generic=NODE, parameters={"build_type": "Release"})
    (planned,) = await node.plan(want, conans.now_ms())
    request = conans.request(planned, NODE)

    built = await node.build(request, await node.prefetch(request, planned.lock))

    assert (built.outcome, built.phase, built.outputs) == ("failed", "build", ())
    assert why in built.why
    await built.discard()
    assert list((tmp_path / "n" / "results").iterdir()) == []
    assert list((tmp_path / "n" / "scratch").iterdir()) == []


async def test_a_recipe_that_calls_itself_another_package_is_refused(sandbox: Sandbox, tmp_path: Path):
    source = conans.archive(tmp_path, conans.library("other"))
    node = conans.plugin(sandbox, tmp_path / "n", given=source)

    with pytest.raises(Refusal, match="tiny") as caught:
        await node.plan(Want("tiny", "1.0", source=source, generic=NODE), conans.now_ms())

    assert caught.value.code == "build-failed"


async def test_a_mapped_repository_is_planned_by_commit_and_tag(sandbox: Sandbox, tmp_path: Path):
    """The recipe in a folder of the repository, its options by the mapping; two nodes agree on source and lock."""
    repository = conans.repository(tmp_path / "repositories" / "tiny", "packaging", conans.library())
    recipe = {"parameters": [["build_type", "Release"], ["subdir", "packaging"]]}
    mapping = SourceMapping("pkg:conan/tiny", "https://code.example/tiny", "v{version}", recipe, 1)
    nodes = [
        conans.plugin(sandbox, tmp_path / name, mapping=mapping, repositories=repository.parent)
        for name in "ab"
    ]

    (planned,) = await nodes[0].plan(Want("tiny", "1.0"), conans.now_ms())
    locked = await nodes[1].relock(conans.request(planned))

    assert locked == planned.lock
    assert planned.purl == "pkg:conan/tiny@1.0"
    assert (planned.source["file"], planned.source["git"]["tag"]) == ("tiny-1.0.tar", "v1.0")
    assert planned.recipe["parameters"] == recipe["parameters"]
