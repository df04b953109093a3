"""The whole conan plug-in: recipes planned and built for real in the sandbox, served to a real `conan install`."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
import trio

from pyrsia.builds.model import Built, Want
from pyrsia.builds.sandbox import Sandbox

sys.path.insert(0, str(Path(__file__).parent))
import conans
from test_sandbox_escapes import make
from toy import serving, toy_app

assert importlib.util.find_spec("conans")
pytestmark = pytest.mark.builds
NODE = "a" * 52


@pytest.fixture
def sandbox(tmp_path: Path) -> Sandbox:
    tmp_path.chmod(0o755)
    conans.needed()
    return make("namespace")


async def built_from(sandbox: Sandbox, home: Path, source: conans.LocalSource, *, vary: bool = False) -> Built:
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
