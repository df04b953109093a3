"""What is asked of the index and of the sandbox: together, once, and not more than is needed."""

import base64
import contextlib
import hashlib
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trio
from packaging.requirements import Requirement
from packaging.version import Version

from pyrsia.builds.environments import Environment
from pyrsia.builds.inside import Answer
from pyrsia.builds.model import PhaseFailed
from pyrsia.builds.pip import gather, host
from pyrsia.builds.pip.gather import Gatherer, Memory, Source, together
from pyrsia.builds.pip.hooks import Hooks
from pyrsia.builds.pip.places import Place
from pyrsia.builds.pip.resolve import Facts, Release
from pyrsia.builds.pip.simple import IndexFile, Project
from pyrsia.builds.pip.toolbox import PLAIN_USES, Toolbox
from pyrsia.errors import Refusal, Unavailable
from pyrsia.units import Limit

HERE = Place(Environment("host:" + "0" * 64, None, host.facts()), host.target())


class World:
    """An index and a sandbox in memory: `requires` and `broken` by file name."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.projects: dict[str, Project] = {}
        self.requires: dict[str, list[str]] = {}
        self.broken: dict[str, str] = {}
        self.offered: set[str] = set()
        self.runs: list[dict[str, Any]] = []
        self.answers: dict[str, Any] = {}
        self.asked: list[tuple[str, int]] = []
        self.gatherer = Gatherer(self, self, Hooks(self, Toolbox(self, folder / "toolbox")))

    def add(
        self, name: str, version: str = "1.0", requires: tuple[str, ...] = (), *, sdist: bool = False
    ) -> None:
        filename = f"{name}-{version}.tar.gz" if sdist else f"{name}-{version}-py3-none-any.whl"
        (self.folder / filename).write_bytes(filename.encode())
        file = IndexFile(filename, f"file:///{filename}", hashlib.sha256(filename.encode()).hexdigest())
        known = self.projects.get(name, Project(name, "x", ()))
        self.projects[name] = Project(name, "x", (*known.files, file))
        self.requires[filename] = list(requires)

    # the index

    async def project(self, name: str, since_ms: int = 0) -> Project:
        self.asked.append((name, since_ms))
        if name not in self.projects:
            raise Refusal("package-unknown", what=f"no index has {name}", who="x", do="y")
        return self.projects[name]

    async def fetch(self, file: IndexFile) -> Path:
        return self.folder / file.filename

    async def metadata(self, file: IndexFile) -> bytes | None:
        return self._metadata(file.filename) if file.filename in self.offered else None

    def _metadata(self, filename: str) -> bytes:
        name, version = filename.split("-")[:2]
        lines = [f"Name: {name}", f"Version: {version.removesuffix('.tar.gz')}"]
        return "\n".join([*lines, *(f"Requires-Dist: {one}" for one in self.requires[filename]), ""]).encode()

    # the sandbox

    @contextlib.asynccontextmanager
    async def run(self, job: dict[str, Any], files: dict[str, Path], *, phase: str, who: str, **more: Any):
        self.runs.append(dict(job) | {"mounts": more.get("mounts", ())})
        if job["operation"] == "lay":
            (self.folder / "tools").mkdir()
        yield Answer(self._answer(job, files), b"a log", self.folder)

    def _answer(self, job: dict[str, Any], files: dict[str, Path]) -> dict[str, Any]:
        kind = job.get("hook", job["operation"])
        if kind in self.answers:
            return self.answers[kind]
        if kind == "study":
            return {"newest": 1_700_000_000, "requires": []}
        if kind == "requires":
            return {"requires": []}
        if kind == "lay":
            return {"tools": len(job["wheels"])}
        if kind == "metadata" and "hook" in job:
            return {"metadata": base64.b64encode(self._metadata(files[job["source"]].name)).decode()}
        found: dict[str, dict[str, str]] = {"metadata": {}, "broken": {}}
        for name in job["wheels"]:
            filename = files[name].name
            if filename in self.broken:
                found["broken"][name] = self.broken[filename]
            else:
                found["metadata"][name] = base64.b64encode(self._metadata(filename)).decode()
        return found

    async def solve(self, *wanted: str, cutoff: int = 7) -> list[str]:
        lines = [Requirement(one) for one in wanted]
        found = await self.gatherer.solve(lines, Facts(), HERE, cutoff, "any")
        return [f"{one.name} {one.version}" for one in found]


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


async def test_metadata_of_many_wheels_is_read_in_one_run_and_never_twice(world: World):
    world.add("app", requires=tuple(f"lib{n}" for n in range(9)))
    for n in range(9):
        world.add(f"lib{n}")

    assert len(await world.solve("app")) == 10
    assert [len(run["wheels"]) for run in world.runs] == [1, 9]
    assert len(await world.solve("app")) == 10
    assert len(world.runs) == 2


async def test_metadata_that_the_index_offers_costs_no_run(world: World):
    world.add("app", requires=("lib",))
    world.add("lib")
    world.offered = {"app-1.0-py3-none-any.whl", "lib-1.0-py3-none-any.whl"}

    assert await world.solve("app") == ["lib 1.0", "app 1.0"]
    assert world.runs == []


async def test_a_broken_wheel_that_was_only_read_ahead_stops_nothing(world: World):
    """`wide` takes the newest lib at first and is then held to an older one by `narrow`."""
    world.add("app", requires=("narrow", "zlib"))
    world.add("narrow", requires=("zlib<2",))
    world.add("zlib", "1.0")
    world.add("zlib", "2.0")
    world.broken["zlib-2.0-py3-none-any.whl"] = "not a ZIP archive"

    assert await world.solve("app") == ["zlib 1.0", "narrow 1.0", "app 1.0"]


async def test_a_broken_wheel_that_is_needed_is_named_with_its_reason(world: World):
    world.add("app", requires=("lib",))
    world.add("lib")
    world.broken["lib-1.0-py3-none-any.whl"] = "not a ZIP archive"

    with pytest.raises(PhaseFailed) as caught:
        await world.solve("app")

    assert (caught.value.phase, caught.value.who) == ("metadata", "lib 1.0")
    assert "not a ZIP archive" in caught.value.what


@pytest.mark.parametrize(
    "answer", [{}, {"metadata": 7}, {"metadata": {"0.whl": "%%"}}, {"metadata": {"0.whl": []}}]
)
async def test_an_answer_of_the_sandbox_that_says_nothing_is_a_failed_phase(
    world: World, answer: dict[str, Any]
):
    world.add("app")
    world.answers["metadata"] = answer

    with pytest.raises(PhaseFailed):
        await world.solve("app")


async def test_a_package_without_any_wheel_is_asked_through_its_backend(world: World):
    world.add("app", sdist=True, requires=("lib",))
    world.add("lib")

    assert await world.solve("app") == ["lib 1.0", "app 1.0"]
    assert [run.get("hook", run["operation"]) for run in world.runs] == [
        "study",
        "requires",
        "metadata",
        "metadata",
    ]


async def test_an_unknown_project_is_told_only_where_nothing_else_fits(world: World):
    world.add("app", "1.0")
    world.add("app", "2.0", requires=("nowhere",))

    assert await world.solve("app") == ["app 1.0"]
    with pytest.raises(Refusal) as caught:
        await world.solve("app==2.0")
    assert caught.value.code == "package-unknown"
    assert "nowhere" in caught.value.what


async def test_pages_are_asked_for_as_of_the_cut_off(world: World):
    world.add("app")
    await world.solve("app", cutoff=1234)

    assert world.asked == [("app", 1234)]


def a_source(world: World) -> Source:
    world.add("thing", sdist=True)
    return Source("thing-1.0.tar.gz", "ab" * 32, world.folder / "thing-1.0.tar.gz")


async def test_tools_are_what_is_static_and_what_the_backend_asks_for_and_are_asked_for_once(world: World):
    source = a_source(world)
    world.add("tool", requires=("helper",))
    world.add("helper")
    world.add("late")
    world.answers |= {
        "study": {"newest": 5, "requires": ["tool", "windows-only; sys_platform == 'win32'"]},
        "requires": {"requires": ["late"]},
    }
    recipe = {"cutoff_ms": 1_700_000_000_000, "sde": 5}

    first = await world.gatherer.tools(source, HERE, recipe)
    runs = len(world.runs)
    second = await world.gatherer.tools(source, HERE, recipe)

    assert [one.line.name for one in first] == ["helper", "late", "tool"]
    assert first == second
    assert len(world.runs) == runs


@pytest.mark.parametrize(
    ("kind", "answer", "phase"),
    [
        ("study", {"newest": -1, "requires": []}, "prefetch"),
        ("study", {"newest": "soon", "requires": []}, "prefetch"),
        ("study", {"newest": 5, "unreadable": "pyproject.toml cannot be read"}, "requirements"),
        ("study", {"newest": 5}, "requirements"),
        ("requires", {"requires": [7]}, "requirements"),
        ("requires", {"requires": ["x"] * 201}, "requirements"),
        ("requires", {"failed": 1}, "requirements"),
    ],
)
async def test_what_a_source_says_wrongly_is_a_failure_in_its_phase(
    world: World, kind: str, answer: dict[str, Any], phase: str
):
    source = a_source(world)
    world.answers[kind] = answer

    with pytest.raises(PhaseFailed) as caught:
        await world.gatherer.tools(source, HERE, {"cutoff_ms": 1_700_000_000_000, "sde": 5})

    assert caught.value.phase == phase
    if kind == "requires":
        assert caught.value.log == b"a log"


async def test_the_cut_off_is_what_the_source_gives_and_nobodys_choice(world: World):
    source = a_source(world)
    world.answers["study"] = {"newest": 1_600_000_000, "requires": []}
    unknown = await world.gatherer.recipe(source, HERE)
    of_commit = await world.gatherer.recipe(source, HERE, None)
    uploaded = await world.gatherer.recipe(replace(source, upload_ms=1_650_000_000_000), HERE, None)
    assert (unknown["cutoff_ms"], unknown["sde"]) == (0, 1_600_000_000)
    assert (of_commit["cutoff_ms"], of_commit["sde"]) == (1_600_000_000_000, 1_600_000_000)
    assert (uploaded["cutoff_ms"], uploaded["sde"]) == (1_650_000_000_000, 1_600_000_000)


async def test_without_a_cut_off_every_tool_is_seen(world: World):
    world.add("tool")
    name, at = "tool-2.0-py3-none-any.whl", 1_750_000_000_000
    (world.folder / name).write_bytes(b"later")
    late = IndexFile(name, f"file:///{name}", hashlib.sha256(b"later").hexdigest(), upload_ms=at)
    world.requires[name] = []
    world.projects["tool"] = Project("tool", "x", (*world.projects["tool"].files, late))
    assert await world.solve("tool", cutoff=at - 1) == ["tool 1.0"]
    assert await world.solve("tool", cutoff=0) == ["tool 2.0"]


async def test_a_requirement_with_a_url_is_refused(world: World):
    source = a_source(world)
    world.answers["study"] = {"newest": 5, "requires": ["tool @ https://evil.example/tool.whl"]}

    with pytest.raises(Refusal) as caught:
        await world.gatherer.tools(source, HERE, {"cutoff_ms": 1_700_000_000_000, "sde": 5})

    assert caught.value.code == "unresolvable"


async def test_tasks_run_together_within_their_bound_and_keep_their_order():
    running = most = 0

    async def task(n: int) -> int:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await trio.lowlevel.checkpoint()
        running -= 1
        return n

    found = await together([lambda n=n: task(n) for n in range(20)], 3)

    assert found == list(range(20))
    assert most == 3


async def test_the_first_failure_of_many_is_raised_as_it_is():
    async def bad() -> None:
        raise Refusal("too-large", what="a", who="b", do="c")

    with pytest.raises(Refusal) as caught:
        await together([bad, trio.sleep_forever, bad], 8)

    assert caught.value.code == "too-large"


def test_a_memory_forgets_its_oldest_rows():
    memory: Memory[int, int] = Memory()
    for n in range(gather.REMEMBERED.value + 5):
        memory.keep(n, n)

    assert memory.get(4) is None
    assert memory.get(5) == 5


def with_reference(source: Source, generator: str, world: World, requires: list[str]) -> Source:
    """The same source with an upstream wheel that was packed by `generator`."""
    world.answers["study"] = {"newest": 5, "requires": requires, "generator": generator}
    (world.folder / "up.whl").write_bytes(b"a wheel")
    return replace(source, reference=IndexFile("up.whl", "file:///up.whl", "cd" * 32))


async def locked(world: World, source: Source) -> list[str]:
    recipe = {"cutoff_ms": 1_700_000_000_000, "sde": 5}
    found = await world.gatherer.tools(source, HERE, recipe)
    return [f"{one.line.name} {one.line.version}" for one in found]


async def test_the_program_that_packed_upstreams_wheel_stands_at_its_version(world: World):
    for version in ("1.0", "2.0", "3.0"):
        world.add("hatchling", version)
    source = a_source(world)

    assert await locked(world, with_reference(source, "hatchling 2.0", world, ["hatchling"])) == [
        "hatchling 2.0"
    ]


@pytest.mark.parametrize("generator", ["hatchling 2.0", "hatchling 9.9", "flit 3.9.0", "meson", ""])
async def test_what_the_tools_own_requirements_do_not_allow_is_not_pinned(world: World, generator: str):
    for version in ("1.0", "2.0", "3.0"):
        world.add("hatchling", version)
    source = with_reference(a_source(world), generator, world, ["hatchling>2"])

    assert await locked(world, source) == ["hatchling 3.0"]


async def test_a_generator_holds_for_what_the_backend_asks_for_as_well_and_makes_nothing_needed(world: World):
    world.add("setuptools")
    for version in ("0.40", "0.44", "0.45"):
        world.add("wheel", version)
    source = with_reference(a_source(world), "bdist_wheel (0.44)", world, ["setuptools"])

    assert await locked(world, source) == ["setuptools 1.0"]
    world.answers["requires"] = {"requires": ["wheel"]}
    other = replace(source, sha256="ee" * 32)
    assert await locked(world, other) == ["setuptools 1.0", "wheel 0.44"]


def thing(source: Source, version: str = "2.0") -> Source:
    return replace(source, builds=("thing", Version(version)))


async def test_a_source_is_never_built_by_its_own_wheel_nor_by_a_later_one(world: World):
    """It could hand that wheel out as built; older versions are how a package builds itself."""
    source = thing(a_source(world))
    for version in ("1.0", "1.5", "2.0", "3.0"):
        world.add("thing", version)
    world.add("helper", requires=("Thing",))
    world.answers["study"] = {"newest": 5, "requires": ["helper"]}

    assert await locked(world, source) == ["helper 1.0", "thing 1.5"]
    world.answers["requires"] = {"requires": ["thing>=1.5"]}
    assert await locked(world, replace(source, sha256="ee" * 32)) == ["helper 1.0", "thing 1.5"]


@pytest.mark.parametrize("asked", ["static", "dynamic"])
async def test_where_nothing_but_its_own_wheel_fits_a_source_is_not_built(world: World, asked: str):
    source = thing(a_source(world))
    world.add("thing", "2.0")
    world.add("tool")
    lines = ["thing==2.0"]
    world.answers["study"] = {"newest": 5, "requires": lines if asked == "static" else ["tool"]}
    world.answers["requires"] = {"requires": lines}

    with pytest.raises(Refusal) as caught:
        await locked(world, source)
    assert caught.value.code == "unresolvable"


async def test_a_release_of_an_index_says_what_it_builds(world: World):
    world.add("Thing", "2.0", sdist=True)
    (file,) = world.projects["Thing"].files
    release = Release("thing", Version("2.0"), None, file, None, False)

    assert (await world.gatherer.source(release)).builds == ("thing", Version("2.0"))


# -- tools that are laid out once ------------------------------------------------------------------


WHEELS = {"a-1-py3-none-any.whl": ("aa" * 32, Path("a")), "b-1-py3-none-any.whl": ("bb" * 32, Path("b"))}


def laid(world: World) -> int:
    return sum(run["operation"] == "lay" for run in world.runs)


async def opened(
    toolbox: Toolbox, wheels: dict[str, tuple[str, Path]] = WHEELS, environment: Any = None
) -> Path:
    async with toolbox.opened(wheels, environment or HERE.environment, who="x") as mounts:
        (mount,) = mounts
        assert (mount.writable, mount.source.is_dir()) == (False, True)
        return mount.source


async def test_a_set_of_tools_is_laid_out_once_for_all_who_ask_for_it(world: World):
    toolbox = Toolbox(world, world.folder / "box")
    async with trio.open_nursery() as nursery:
        for _ in range(PLAIN_USES.value - 2):
            nursery.start_soon(opened, toolbox)

    assert laid(world) == 1
    assert await opened(toolbox) == await opened(toolbox, dict(reversed(WHEELS.items())))
    assert laid(world) == 1


async def test_another_wheel_or_another_environment_is_another_set(world: World):
    toolbox = Toolbox(world, world.folder / "box")
    first = await opened(toolbox)
    other = Environment("rootfs:" + "0" * 64, None, host.facts())
    changed = WHEELS | {"a-1-py3-none-any.whl": ("cc" * 32, Path("a"))}
    places = {first, await opened(toolbox, changed), await opened(toolbox, environment=other)}

    assert len(places) == 3
    async with toolbox.opened({}, HERE.environment, who="x") as mounts:
        assert mounts == ()
    assert laid(world) == 3


async def test_sets_that_are_too_many_go_but_none_that_is_looked_at(
    world: World, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("pyrsia.builds.pip.toolbox.SETS", Limit(2, "test"))
    toolbox = Toolbox(world, world.folder / "box")
    async with toolbox.opened(WHEELS, HERE.environment, who="x") as mounts:
        for number in range(4):
            await opened(toolbox, {"c.whl": (f"{number:064}", Path("c"))})
        assert mounts[0].source.is_dir()
        assert len(list((world.folder / "box").iterdir())) == 2
    await opened(toolbox, {"c.whl": ("9" * 64, Path("c"))})

    assert not mounts[0].source.exists()
    assert len(list((world.folder / "box").iterdir())) == 2


async def test_a_set_that_comes_again_is_compiled_when_nobody_looks_at_it(world: World):
    toolbox = Toolbox(world, world.folder / "box")
    for _ in range(PLAIN_USES.value - 1):
        await opened(toolbox)
    async with toolbox.opened(WHEELS, HERE.environment, who="x") as mounts:
        assert await opened(toolbox) == mounts[0].source  # ripe, but somebody looks at it
    assert laid(world) == 1
    compiled = await opened(toolbox)

    assert [run["compile"] for run in world.runs if run["operation"] == "lay"] == [False, True]
    assert compiled != mounts[0].source
    assert not mounts[0].source.exists()
    assert await opened(toolbox) == compiled


async def test_a_set_that_was_swept_away_is_laid_out_again_and_one_in_use_looks_young(world: World):
    toolbox = Toolbox(world, world.folder / "box")
    first = await opened(toolbox)
    os.utime(world.folder / "box", (0, 0))
    assert await opened(toolbox) == first
    assert (world.folder / "box").stat().st_mtime > 1e9
    shutil.rmtree(world.folder / "box")

    assert (await opened(toolbox)).is_dir()
    assert laid(world) == 2


async def test_tools_that_cannot_be_laid_out_leave_nothing_and_may_be_tried_again(world: World):
    toolbox = Toolbox(world, world.folder / "box")
    (world.folder / "box").write_text("a file where the folder should be")
    with pytest.raises(Unavailable):
        await opened(toolbox)
    (world.folder / "box").unlink()
    (world.folder / "tools").rmdir()

    assert (await opened(toolbox)).is_dir()
