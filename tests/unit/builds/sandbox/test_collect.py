"""What a job left is read as a stranger's letter."""

import os
from pathlib import Path

import pytest

from pyrsia import errors
from pyrsia.builds.sandbox import collect


def test_plain_files_come_back_in_order(tmp_path: Path):
    (tmp_path / "b.whl").write_bytes(b"2")
    (tmp_path / "a.whl").write_bytes(b"1")
    (tmp_path / "notes").write_bytes(b"3")

    assert list(collect.outputs(tmp_path, suffix=".whl").items()) == [("a.whl", b"1"), ("b.whl", b"2")]


@pytest.mark.parametrize("kind", ["link", "pipe", "folder", "socket"])
def test_anything_but_a_plain_file_is_refused_at_once(kind: str, tmp_path: Path):
    place = tmp_path / "x.whl"
    if kind == "link":
        place.symlink_to("/etc/passwd")
    elif kind == "pipe":
        os.mkfifo(place)
    elif kind == "folder":
        place.mkdir()
    else:
        os.mknod(place, 0o140600)

    with pytest.raises(errors.Malformed):
        collect.outputs(tmp_path)
    with pytest.raises(errors.Malformed):
        collect.output(tmp_path, "x.whl")


def test_a_folder_that_is_a_link_is_not_entered(tmp_path: Path):
    (tmp_path / "out").symlink_to("/etc")

    with pytest.raises(errors.Malformed):
        collect.outputs(tmp_path / "out")


@pytest.mark.parametrize("name", ["../x", "a/b", "", ".", ".."])
def test_a_name_is_not_a_path(name: str, tmp_path: Path):
    with pytest.raises(errors.Malformed):
        collect.output(tmp_path, name)


def test_a_file_above_its_limit_is_refused(tmp_path: Path):
    (tmp_path / "x").write_bytes(b"12345")

    assert collect.output(tmp_path, "x", most=5) == b"12345"
    with pytest.raises(errors.Malformed):
        collect.output(tmp_path, "x", most=4)


def test_a_copy_keeps_bytes_modes_times_and_links_and_leaves_the_rest(tmp_path: Path):
    source, target = tmp_path / "s", tmp_path / "t"
    (source / "d").mkdir(parents=True)
    target.mkdir()
    (source / "d" / "run").write_bytes(b"#!")
    (source / "d" / "run").chmod(0o4755)
    os.utime(source / "d" / "run", (1, 1))
    (source / "link").symlink_to("/etc/shadow")
    os.mkfifo(source / "pipe")

    collect.copy(source, target, entries=10, size=10)

    found = (target / "d" / "run").stat()
    assert (found.st_mode & 0o7777, found.st_mtime) == (0o755, 1)
    assert os.readlink(target / "link") == "/etc/shadow"
    assert sorted(os.listdir(target)) == ["d", "link"]


@pytest.mark.parametrize(("entries", "size"), [(1, 100), (100, 1)])
def test_a_copy_stops_at_its_bounds(entries: int, size: int, tmp_path: Path):
    source, target = tmp_path / "s", tmp_path / "t"
    source.mkdir()
    target.mkdir()
    for name in "abc":
        (source / name).write_bytes(b"12")

    with pytest.raises(errors.Malformed):
        collect.copy(source, target, entries=entries, size=size)


def test_folders_deeper_than_a_stack_are_refused_and_removed(tmp_path: Path):
    target = tmp_path / "t"
    target.mkdir()
    top = tmp_path / "s"
    top.mkdir()
    here = os.open(top, os.O_RDONLY)
    for _ in range(2000):
        os.mkdir("d", dir_fd=here)
        below = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)

    with pytest.raises(errors.Malformed):
        collect.copy(top, target, entries=10_000, size=10)
    collect.discard(top)

    assert not top.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_file_with_a_second_name_is_not_given_away(tmp_path: Path):
    folder = tmp_path / "f"
    folder.mkdir()
    (tmp_path / "roots").write_bytes(b"")
    os.link(tmp_path / "roots", folder / "also")
    (folder / "own").write_bytes(b"")

    collect.give(folder, 61_534)

    assert (tmp_path / "roots").stat().st_uid == 0
    assert (folder / "own").stat().st_uid == 61_534
