"""Which steps make a world: what is shown of a root, what never is, and what is refused."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyrsia import errors
from pyrsia.builds.sandbox import BuildLimits, Job, Mount, world
from pyrsia.builds.sandbox.world import NO_DEVICES, NO_SUID, READ_ONLY

SHOWN = READ_ONLY | NO_SUID | NO_DEVICES


def a_root(folder: Path) -> Path:
    for name in (
        "usr/bin/sh",
        "etc/passwd",
        "etc/debian_version",
        "opt/tool/run",
        "proc/host",
        "dev/sda",
        "tmp/left",
        "sys/x",
        "run/x",
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    (folder / "bin").symlink_to("usr/bin")
    (folder / "out").symlink_to("/old/etc")
    (folder / ".marker").touch()
    os.mkfifo(folder / "pipe")
    return folder


def test_a_root_is_shown_by_its_entries_read_only_without_what_is_the_jobs_own(tmp_path: Path):
    root = a_root(tmp_path)

    who = [("file", place, data) for place, data in world._WHO.items()]
    assert [place for _, place, _ in who] == ["/etc/group", "/etc/hosts", "/etc/passwd"]
    assert list(world.of_root(root, ["/build"])) == [
        ("bind", "/.marker", f"{root}/.marker", SHOWN),
        ("link", "/bin", "usr/bin"),
        ("dir", "/etc"),
        ("bind", "/etc/debian_version", f"{root}/etc/debian_version", SHOWN),
        ("bind", "/opt", f"{root}/opt", SHOWN),
        ("link", "/out", "/old/etc"),
        ("bind", "/usr", f"{root}/usr", SHOWN),
        *who,
    ]


def test_a_mount_below_a_folder_of_the_root_parts_that_folder(tmp_path: Path):
    root = a_root(tmp_path)
    (root / "opt/other").mkdir()

    steps = list(world.of_root(root, ["/opt/tool/given"], outside="/shown"))

    assert [step for step in steps if step[1].startswith("/opt")] == [
        ("dir", "/opt"),
        ("bind", "/opt/other", "/shown/opt/other", SHOWN),
        ("dir", "/opt/tool"),
        ("bind", "/opt/tool/run", "/shown/opt/tool/run", SHOWN),
    ]


def test_what_is_mounted_hides_what_the_root_has_there(tmp_path: Path):
    root = a_root(tmp_path)

    places = [step[1] for step in world.of_root(root, ["/usr", "/etc/passwd"])]

    assert "/usr" not in places
    assert "/etc/passwd" not in places
    assert "/etc/hosts" in places
    assert "/etc/hosts" not in [step[1] for step in world.of_root(root, ["/etc"])]


@pytest.mark.parametrize("target", ["/out/x", "/bin/x/y", "/.marker/x", "/pipe/x"])
def test_below_a_link_or_a_file_of_the_root_nothing_is_mounted(target: str, tmp_path: Path):
    """The mount would follow the link: here to the host's own /etc, as it is seen while a world is made."""
    with pytest.raises(errors.Refusal) as refused:
        list(world.of_root(a_root(tmp_path), [target]))

    assert refused.value.code == "no-environment"
    assert "link or a file at /" in refused.value.what


def test_a_root_that_is_gone_is_the_machines_fault(tmp_path: Path):
    with pytest.raises(errors.Refusal) as refused:
        list(world.of_root(tmp_path / "gone", []))

    assert refused.value.code == "no-environment"


@given(st.lists(st.text("ab/", max_size=8), max_size=5))
def test_whatever_is_mounted_a_root_is_never_bound_whole_or_writable(tmp_path_factory, targets: list[str]):
    root = tmp_path_factory.mktemp("root", numbered=True)
    (root / "a/b/a").mkdir(parents=True)
    (root / "b").touch()
    holes = ["/" + target.strip("/") for target in targets]

    try:
        steps = list(world.of_root(root, holes))
    except errors.Refusal:
        assert any(hole.startswith("/b/") for hole in holes)
        return
    for step in steps:
        assert step[1] not in ("", "/")
        assert step[1] not in holes
        if step[0] == "bind":
            assert step[3] & READ_ONLY
            assert not any(hole.startswith(step[1] + "/") for hole in holes)


def test_a_jobs_mounts_come_in_order_and_the_world_is_closed_behind_them(tmp_path: Path):
    job = Job(("x",), mounts=(Mount(tmp_path, "/in"), Mount(tmp_path, "/build", writable=True)))

    source = os.path.realpath(tmp_path)
    assert list(world.mounts(job)) == [
        ("bind", "/build", source, NO_SUID | NO_DEVICES),
        ("bind", "/in", source, SHOWN),
        ("fixed", "/"),
    ]
    outside = {"/build": "/elsewhere/1", "/in": "/elsewhere/0"}
    assert [step[1:3] for step in world.mounts(job, outside)][:2] == [*outside.items()]


def test_a_mount_inside_another_is_the_callers_mistake(tmp_path: Path):
    mounts = (Mount(tmp_path, "/build/deep"), Mount(tmp_path, "/build", writable=True))

    with pytest.raises(ValueError, match="'/build/deep' lies inside another mount"):
        Job(("x",), mounts=mounts).check()


def test_folders_in_memory_are_no_larger_than_the_jobs_disk():
    job = Job(("x",), limits=BuildLimits(disk_bytes=5 << 20))

    steps = list(world.furniture(job, proc=False))

    assert ("tmpfs", "/tmp", 0o1777, 5 << 20) in steps
    assert ("dir", "/proc") in steps
    assert ("proc", "/proc") in world.furniture(job, proc=True)
    assert steps.index(("fixed", "/dev")) > max(
        at for at, step in enumerate(steps) if step[1].startswith("/dev/")
    )


def test_a_job_with_a_root_that_is_no_folder_or_a_socket_nobody_can_name_is_the_callers_mistake(
    tmp_path: Path,
):
    with pytest.raises(ValueError, match="root is not a folder"):
        Job(("x",), root=tmp_path / "gone").check()
    with pytest.raises(ValueError, match="at most 107 bytes"):
        Job(("x",), egress=tmp_path / ("s" * 108)).check()
