"""Wheels from other sources than an index, with compiled code, and built twice as two machines might."""

import hashlib
import importlib.util
import shutil
import sys
import sysconfig
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from pyrsia.builds.model import Built, LocalSource, Planned, SourceMapping, Want
from pyrsia.builds.pip.plugin import PipPlugin
from pyrsia.builds.sandbox import Sandbox
from pyrsia.builds.sources.git import GitHosts
from pyrsia.errors import Refusal, Unavailable

sys.path.insert(0, str(Path(__file__).parent))
import git_server
import sdists
from test_sandbox_escapes import make

assert importlib.util.find_spec("sdists")
pytestmark = pytest.mark.builds

OWNER = "a" * 51 + "q"
HEADERS = Path(sysconfig.get_paths()["include"], "Python.h")
needs_compiler = pytest.mark.skipif(
    shutil.which("cc") is None or not HEADERS.is_file(),
    reason="this machine has no C compiler or no headers of its Python (apt-get install gcc python3-dev)",
)


@pytest.fixture
def sandbox() -> Sandbox:
    return make("namespace")


@pytest.fixture
def index(tmp_path: Path) -> Path:
    tmp_path.chmod(0o755)
    folder = tmp_path / "index"
    folder.mkdir()
    return folder


async def carried_out(plugin: PipPlugin, planned: Planned, *, vary: bool = False) -> Built:
    request = sdists.request(planned)
    locked = await plugin.relock(request)
    assert locked == planned.lock
    built = await plugin.build(request, await plugin.prefetch(request, locked), lambda _: None, vary)
    assert built.outcome == "built", built.why
    return built


# -- given along ---------------------------------------------------------------------------------------


def given(folder: Path, name: str = "thing") -> LocalSource:
    """A source as the node hands it over; its index is none of the plug-in's."""
    path = sdists.sdist(folder, name, needs=("helper",), requires=("tool",))
    data = path.read_bytes()
    return LocalSource(path.name, path, hashlib.sha256(data).hexdigest(), len(data), "ab" * 32)


async def test_a_source_that_was_given_along_is_built_under_its_owners_name(
    sandbox: Sandbox, tmp_path: Path, index: Path
):
    sdists.sdist(index, "helper")
    sdists.wheel(index, "tool", "1.0")
    sdists.sdist(index, "thing", version="7.0")  # another package of that name: nobody asks for it
    source = given(tmp_path)
    asked: list[str] = []

    async def claimed(request: Mapping[str, Any]) -> Path:
        asked.append(request["purl"])
        return source.path

    async with sdists.plugin(sandbox, tmp_path / "p", index, claimed=claimed) as plugin:
        dependency, mine = await plugin.plan(Want("thing", source=source, generic=OWNER), sdists.now_ms())
        built = await carried_out(plugin, mine)

    assert dependency.purl == "pkg:pypi/helper@1.0"
    assert mine.purl == f"pkg:generic/{OWNER}/pypi/thing@1.0"
    assert mine.source == {
        "file": source.file,
        "sha256": source.sha256,
        "size": source.size,
        "manifest": "ab" * 32,
    }
    assert b"\ntool 1.0 " in mine.lock
    assert (built.source, built.outputs[0].name) == ("claimed", "thing-1.0-py3-none-any.whl")
    assert (built.outputs[0].upstream_relation, built.outputs[0].containment) == ("none", "full")
    assert asked == [mine.purl, mine.purl]


@pytest.mark.parametrize(("name", "version"), [("other", None), ("thing", "2.0")])
async def test_a_given_source_of_something_else_is_refused(
    name: str, version: str | None, sandbox: Sandbox, tmp_path: Path, index: Path
):
    sdists.wheel(index, "tool", "1.0")
    async with sdists.plugin(sandbox, tmp_path / "p", index) as plugin:
        with pytest.raises(Refusal) as caught:
            await plugin.plan(Want(name, version, source=given(tmp_path), generic=OWNER), sdists.now_ms())

    assert caught.value.code == "bad-request"
    assert "thing" in caught.value.what


# -- out of a repository -------------------------------------------------------------------------------


@pytest.mark.skipif(shutil.which("git") is None, reason="this machine has no git (apt-get install git)")
async def test_a_mapped_package_is_built_from_the_commit_of_its_tag_and_compared_with_the_index(
    sandbox: Sandbox, tmp_path: Path, index: Path
):
    with tarfile.open(sdists.sdist(tmp_path)) as archive:
        files = {
            f"python/{item.name.partition('/')[2]}": found.read()
            for item in archive
            if (found := archive.extractfile(item)) is not None
        }
    commit = git_server.repository(tmp_path / "repos" / "thing", files)
    git_server.git(tmp_path / "repos" / "thing", "tag", "v1.0")
    recipe = {"parameters": [["subdir", "python"]]}
    mapped = SourceMapping("pkg:pypi/thing", "https://git.example/thing/.git", "v{version}", recipe, 1)
    sdists.sdist(index)
    with git_server.serving(tmp_path / "repos") as (url, _):
        more = {
            "mapping": lambda purl: mapped if purl == mapped.purl else None,
            "git_hosts": GitHosts.configured((url,), (f"https://git.example/ = {url}/",)),
        }
        async with sdists.plugin(sandbox, tmp_path / "a", index, **more) as plugin:
            (planned,) = await plugin.plan(Want("thing", "1.0"), sdists.now_ms())
            first = await carried_out(plugin, planned)
            (index / "thing" / first.outputs[0].name).write_bytes(first.outputs[0].raw.file.path.read_bytes())
        async with sdists.plugin(sandbox, tmp_path / "b", index, **more) as plugin:
            (planned,) = await plugin.plan(Want("thing", "1.0"), sdists.now_ms())
            second = await carried_out(plugin, planned)
            moved = sdists.request(planned) | {"source": planned.source | {"sha256": "0" * 64}}
            with pytest.raises(Refusal) as lied:
                await plugin.relock(moved)
        async with sdists.plugin(
            sandbox, tmp_path / "c", index, **(more | {"mapping": lambda _: None})
        ) as plugin:
            with pytest.raises(Refusal) as unmapped:
                await plugin.relock(sdists.request(planned))

    assert planned.purl == "pkg:pypi/thing@1.0"
    assert planned.source["git"]["commit"] == commit
    assert planned.source["git"]["tag"] == "v1.0"
    assert planned.recipe["parameters"] == [["subdir", "python"]]
    assert {first.source, second.source} == {"mapping"}
    assert first.outputs[0].raw.file.sha256 == second.outputs[0].raw.file.sha256
    assert planned.recipe["sde"] == 1_704_067_200  # of upstream's wheel, since there is one
    assert first.outputs[0].containment == "full"
    assert [one.outputs[0].upstream_relation for one in (first, second)] == ["none", "identical"]
    assert (lied.value.code, unmapped.value.code) == ("digest-mismatch", "lock-mismatch")


# -- compiled code -------------------------------------------------------------------------------------

MODULE = """
#include <Python.h>
static PyObject *where(PyObject *self, PyObject *args) { return PyUnicode_FromString(__FILE__); }
static PyMethodDef methods[] = {{"where", where, METH_NOARGS, ""}, {NULL, NULL, 0, NULL}};
static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "fast", "", -1, methods};
PyMODINIT_FUNC PyInit_fast(void) { return PyModule_Create(&module); }
"""
SETUP = """
import os
from setuptools import Extension, setup
here = os.path.join(os.getcwd(), "fast.c")
setup(name="thing", version="1.0", py_modules=["plain"], ext_modules=[Extension("fast", [here])])
"""


def compiled(index: Path) -> None:
    """A package of which upstream has wheels for one platform only."""
    sdists.setuptools_wheel(index)
    sdists.sdist(index, files={"setup.py": SETUP, "plain.py": "x = 1\n", "fast.c": MODULE})
    theirs = index / "thing" / "thing-1.0-cp311-cp311-manylinux_2_17_x86_64.whl"
    theirs.write_bytes(
        sdists.wheels.pack(sdists.wheels.members({"plain.py": b"x = 1\n", "fast.so": b"\x7fELF"}))
    )


@needs_compiler
async def test_compiled_code_has_the_same_bytes_at_another_path_and_is_told_as_not_in_the_source(
    sandbox: Sandbox, tmp_path: Path, index: Path
):
    compiled(index)
    machine = sdists.StandIn()
    more = {"environments": machine, "admitted": lambda: machine.ids}
    async with sdists.plugin(sandbox, tmp_path / "p", index, **more) as plugin:
        (planned,) = await plugin.plan(Want("thing"), sdists.now_ms())
        first, again = await carried_out(plugin, planned), await carried_out(plugin, planned)
        varied = await carried_out(plugin, planned, vary=True)

    assert (planned.recipe["environment"], planned.recipe["isolation"]) == (machine.root.id, "namespace")
    one, two, other = (built.outputs[0] for built in (first, again, varied))
    assert one.name.endswith(f"-linux_{planned.target['arch']}.whl")
    assert one.raw.file.sha256 == two.raw.file.sha256
    assert one.stable == other.stable  # umask is in the modes of the raw wheel, nothing else is
    assert (one.containment, len(one.missing)) == ("partial", 1)
    assert one.missing[0].endswith(".so")
    with zipfile.ZipFile(one.raw.file.path) as archive:
        shared = archive.read(one.missing[0])
        modes = {item.filename: item.external_attr >> 16 & 0o777 for item in archive.infolist()}
    assert b"/build" not in shared
    assert b"fast.c" in shared
    assert modes[one.missing[0]] == 0o755
    if planned.target["arch"] == "x86_64" and planned.target["python"].startswith("3.11."):
        assert one.upstream_relation == "different"
        assert "built and tagged in another image" in one.upstream_reason


async def test_compiled_packages_are_refused_where_no_compiler_is_admitted(
    sandbox: Sandbox, tmp_path: Path, index: Path
):
    compiled(index)
    machine = sdists.StandIn()
    more: dict[str, Any] = {"environments": machine, "admitted": lambda: (machine.own.id,)}
    async with sdists.plugin(sandbox, tmp_path / "p", index, **more) as plugin:
        with pytest.raises(Refusal) as caught:
            await plugin.plan(Want("thing"), sdists.now_ms())
        own = sdists.request(await a_plan(sandbox, tmp_path / "q", index, machine))
        own["recipe"] = own["recipe"] | {"environment": machine.own.id, "isolation": "pure"}
        with pytest.raises(Refusal) as lied:
            await plugin.relock(own)

    assert caught.value.code == "build-failed"
    assert "no environment with a compiler" in caught.value.what
    assert lied.value.code == "lock-mismatch"
    assert "compiled wheels only" in lied.value.what


async def a_plan(sandbox: Sandbox, home: Path, index: Path, machine: sdists.StandIn) -> Planned:
    more = {"environments": machine, "admitted": lambda: machine.ids}
    async with sdists.plugin(sandbox, home, index, **more) as plugin:
        (planned,) = await plugin.plan(Want("thing"), sdists.now_ms())
    return planned


async def test_what_upstream_has_decides_where_a_package_and_its_closure_are_built(
    sandbox: Sandbox, tmp_path: Path, index: Path
):
    sdists.sdist(index, "mixed", needs=("plain", "thing"))
    sdists.wheel(index, "mixed", "1.0", needs=("plain", "thing"))
    (index / "mixed" / "mixed-1.0-cp310-cp310-win_amd64.whl").write_bytes(b"not read")
    sdists.sdist(index, "plain")
    sdists.sdist(index)
    machine = sdists.StandIn()
    found = {}
    for name, ids in {"both": machine.ids, "own": machine.ids[:1]}.items():
        more: dict[str, Any] = {"environments": machine, "admitted": lambda ids=ids: ids}
        async with sdists.plugin(sandbox, tmp_path / name, index, **more) as plugin:
            now_ms = sdists.now_ms()
            planned = await plugin.plan(Want("mixed"), now_ms)
            (alone,) = await plugin.plan(Want("mixed", closure=False), now_ms)
        assert alone == planned[-1]
        found[name] = {one.coordinates["name"]: one.recipe["environment"] for one in planned}

    assert found["both"] == {"plain": machine.own.id, "thing": machine.own.id, "mixed": machine.root.id}
    assert set(found["own"].values()) == {machine.own.id}


# -- twice ---------------------------------------------------------------------------------------------


async def test_a_varied_build_of_what_is_stable_has_the_same_bytes_and_of_what_is_not_has_others(
    sandbox: Sandbox, tmp_path: Path, index: Path
):
    sdists.sdist(index, "calm")
    sdists.sdist(index, "jumpy", evil="import os; said['where'] = os.getcwd()")
    found = {}
    for name in ("calm", "jumpy"):
        async with sdists.plugin(sandbox, tmp_path / name, index) as plugin:
            (planned,) = await plugin.plan(Want(name), sdists.now_ms())
            plain, varied = await carried_out(plugin, planned), await carried_out(plugin, planned, vary=True)
            found[name] = plain.outputs[0].stable == varied.outputs[0].stable
            assert (plain.outputs[0].raw.file.sha256 == varied.outputs[0].raw.file.sha256) == found[name]

    assert found == {"calm": True, "jumpy": False}


async def test_a_tool_that_the_network_published_comes_from_peers_and_from_the_index_where_they_are_away(
    sandbox: Sandbox, tmp_path: Path, index: Path
):
    sdists.sdist(index, requires=("tool",))
    tool = sdists.wheel(index, "tool", "1.0")
    kept = tmp_path / "kept"
    kept.write_bytes(tool.read_bytes())
    asked: list[str] = []

    async def bring(sha256: str) -> Path:
        asked.append(sha256)
        if len(asked) > 1:
            raise Unavailable("nobody is linked")
        return kept

    more: dict[str, Any] = {"published": lambda _: 41, "bring": bring}
    locks = []
    for name in ("near", "away"):
        async with sdists.plugin(sandbox, tmp_path / name, index, **more) as plugin:
            (planned,) = await plugin.plan(Want("thing"), sdists.now_ms())
            built = await carried_out(plugin, planned) if name == "away" else None
            locks.append(planned.lock)

    assert built is not None
    assert locks[0] == locks[1]
    assert set(asked) == {hashlib.sha256(kept.read_bytes()).hexdigest()}


async def test_inputs_that_the_network_published_are_linked_by_their_leaf(
    sandbox: Sandbox, tmp_path: Path, index: Path
):
    sdists.sdist(index, requires=("tool", "other"))
    tool = sdists.wheel(index, "tool", "1.0")
    sdists.wheel(index, "other", "1.0")
    digest = hashlib.sha256(tool.read_bytes()).hexdigest()
    more: dict[str, Any] = {"verified": lambda sha256: 41 if sha256 == digest else None}
    async with sdists.plugin(sandbox, tmp_path / "p", index, **more) as plugin:
        (planned,) = await plugin.plan(Want("thing"), sdists.now_ms())

    assert planned.linked == ((tool.name, 41),)
