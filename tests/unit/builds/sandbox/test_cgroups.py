"""Where control groups are looked for, how they are bounded, and what is read from them: on folders that look so."""

import errno
import os
from pathlib import Path

import pytest
import trio
import trio.testing

from pyrsia.builds.sandbox import BuildLimits, cgroups
from pyrsia.builds.sandbox.cgroups import Group, Places
from pyrsia.units import SANDBOX_KILL_MS

UNIFIED = "cgroup2 {top}/unified cgroup2 rw,nosuid 0 0\n"
OLD = (
    "proc /proc proc rw 0 0\n"
    "cgroup {top}/memory cgroup rw,relatime,memory 0 0\n"
    "cgroup {top}/pids cgroup rw,relatime,pids 0 0\n"
    "cgroup {top}/cpu,cpuacct cgroup rw,relatime,cpu,cpuacct 0 0\n"
)


def test_the_groups_of_a_process_are_found_in_both_versions():
    mounts = (OLD + UNIFIED).format(top="/sys/fs/cgroup")
    groups = "8:pids:/a\n4:memory:/a/b\n2:cpu,cpuacct:/\n1:name=systemd:/x\n0::/c\n"

    assert cgroups.own(mounts, groups) == {
        "pids": Path("/sys/fs/cgroup/pids/a"),
        "memory": Path("/sys/fs/cgroup/memory/a/b"),
        "cpu": Path("/sys/fs/cgroup/cpu,cpuacct"),
        "cpuacct": Path("/sys/fs/cgroup/cpu,cpuacct"),
        "": Path("/sys/fs/cgroup/unified/c"),
    }


@pytest.mark.parametrize("text", ["", "0::relative", "nonsense", "0:", "::::", "0::/x"])
def test_what_is_no_group_is_nowhere(text: str):
    assert cgroups.own("cgroup\nshort line\n", text) == {}


def unified(top: Path, *, controllers: str, enabled: str = "", name: str = "own") -> Path:
    group = top / name
    group.mkdir(parents=True)
    (group / "cgroup.controllers").write_text(controllers)
    (group / "cgroup.subtree_control").write_text(enabled)
    (group / "cgroup.procs").write_text("")
    return group


def test_version_2_is_used_where_its_controllers_are_or_can_be_passed_on(tmp_path: Path):
    group = unified(tmp_path, controllers="cpu memory pids")

    places = cgroups.find({"": group})

    assert places == Places(2, {"memory": group, "pids": group}, group)
    assert places.parents == (group,)
    assert (group / "cgroup.subtree_control").read_text() == "+memory +pids"


def test_a_node_that_moved_down_finds_the_group_that_it_divided(tmp_path: Path):
    group = unified(tmp_path, controllers="memory pids", enabled="memory pids")
    leaf = unified(group, controllers="memory pids", name="pyrsia-node")

    assert cgroups.find({"": leaf}) == Places(2, {"memory": group, "pids": group}, group)


@pytest.mark.parametrize("word", [b"1", b"0", b"", None])
def test_a_group_with_processes_is_divided_only_where_somebody_gave_it_to_us(
    word: bytes | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """The kernel refuses to bound groups below one that holds processes: they must move, and may be a user's shell."""
    group = unified(tmp_path, controllers="memory pids")
    (group / "cgroup.procs").write_text("4001\n")
    written = Path.write_text

    def as_the_kernel_does(self: Path, text: str, *rest: str) -> int:
        if self.name == "cgroup.subtree_control" and not (group / "pyrsia-node/cgroup.procs").exists():
            raise OSError(errno.EBUSY, "busy")
        return written(self, text, *rest)

    def said(_: Path, name: str) -> bytes:
        if word is None or name != "user.delegate":
            raise OSError(errno.ENODATA, "none")
        return word

    monkeypatch.setattr(Path, "write_text", as_the_kernel_does)
    monkeypatch.setattr(os, "getxattr", said)

    places = cgroups.find({"": group})

    moved = group / "pyrsia-node" / "cgroup.procs"
    if word == b"1":
        assert places == Places(2, {"memory": group, "pids": group}, group)
        assert moved.read_text() == "4001"
    else:
        assert places is None
        assert not moved.parent.exists()


def test_a_unified_hierarchy_without_memory_leaves_that_to_version_1(tmp_path: Path):
    group = unified(tmp_path, controllers="hugetlb")
    folders = {"": group, "memory": tmp_path / "m", "pids": tmp_path / "p"}

    assert cgroups.find(folders) == Places(1, {"memory": tmp_path / "m", "pids": tmp_path / "p"}, group)
    assert cgroups.find({"": group, "memory": tmp_path / "m"}) is None
    assert cgroups.find({}) is None


def test_a_group_of_version_2_is_bounded_as_one(tmp_path: Path):
    group = Group(
        Places(2, {"memory": tmp_path, "pids": tmp_path}, tmp_path), BuildLimits(memory_bytes=7, processes=9)
    )

    (folder,) = group.folders
    read = {path.name: path.read_text() for path in folder.iterdir()}
    assert read == {"memory.max": "7", "memory.oom.group": "1", "memory.swap.max": "0", "pids.max": "73"}


def test_groups_of_version_1_are_bounded_each(tmp_path: Path):
    for name in ("m", "p"):
        (tmp_path / name).mkdir()
    places = Places(1, {"memory": tmp_path / "m", "pids": tmp_path / "p"}, None)

    group = Group(places, BuildLimits(memory_bytes=7, processes=9))

    memory, pids = group.folders
    assert (memory / "memory.limit_in_bytes").read_text() == "7"
    assert (memory / "memory.memsw.limit_in_bytes").read_text() == "7"
    assert (pids / "pids.max").read_text() == "73"


@pytest.mark.parametrize(
    ("version", "text", "broken"),
    [
        (2, "low 0\nhigh 0\nmax 9\noom 1\noom_kill 1\n", True),
        (2, "low 0\nmax 9\noom 0\noom_kill 0\n", False),
        (1, "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n", True),
        (1, "oom_kill_disable 0\nunder_oom 1\noom_kill 0\n", False),
        (1, "oom_kill many\n", False),
        (1, "", False),
    ],
)
def test_only_an_end_by_the_kernel_breaks_the_memory_limit(
    version: int, text: str, broken: bool, tmp_path: Path
):
    group = Group(Places(version, {"memory": tmp_path, "pids": tmp_path}, None), BuildLimits())
    (group.folders[0] / ("memory.events" if version == 2 else "memory.oom_control")).write_text(text)

    assert group.memory_broken() is broken


def test_a_host_that_gives_no_groups_gives_none_and_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(
        cgroups, "here", lambda: Places(2, {"memory": tmp_path / "gone", "pids": tmp_path}, None)
    )
    assert cgroups.make(BuildLimits()) is None
    monkeypatch.setattr(cgroups, "here", lambda: None)
    assert cgroups.make(BuildLimits()) is None
    assert cgroups.told().startswith("by a look at them every 100 ms")


def test_removing_waits_for_the_kernel_and_no_longer_than_a_kill(tmp_path: Path):
    group = Group(Places(2, {"memory": tmp_path, "pids": tmp_path}, None), BuildLimits())
    (folder,) = group.folders  # holds files here, as a group holds a process that is not yet gone

    async def remove() -> float:
        start = trio.current_time()
        await group.remove()
        return trio.current_time() - start

    def took() -> float:
        return trio.run(remove, clock=trio.testing.MockClock(autojump_threshold=0))

    assert took() == pytest.approx(SANDBOX_KILL_MS.value / 1000, abs=0.01)
    assert folder.exists()
    for path in folder.iterdir():
        path.unlink()
    assert took() == 0
    assert not folder.exists()
    assert took() == 0
