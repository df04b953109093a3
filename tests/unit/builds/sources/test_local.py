"""Sources given along: a folder is packed by what it holds, and what is none of ours is refused in words."""

import os
import socket
import tarfile
import zipfile
from contextlib import asynccontextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyrsia.builds import unpack
from pyrsia.builds.members import Hostile
from pyrsia.builds.sources import local, packing
from pyrsia.errors import Refusal
from pyrsia.units import Limit


def fill(folder, files):
    for path, data in files.items():
        place = folder / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)
    return folder


def test_a_folder_gives_the_same_archive_whenever_and_wherever_it_is_packed(tmp_path):
    files = {"src/a.c": b"int a;", "README": b"words", "run": b"#!"}
    one, two = fill(tmp_path / "one", files), fill(tmp_path / "two", dict(reversed(files.items())))
    for folder in (one, two):
        (folder / "run").chmod(0o700)
        (folder / "link").symlink_to("src/a.c")
    fill(two, {".git/config": b"x", "src/.git/x": b"y"})
    os.utime(two / "README", (1, 1))
    first = local.given(str(one), tmp_path / "out1", name="@team/thing", version="1.0")
    second = local.given(str(two), tmp_path / "out2", name="@team/thing", version="1.0")

    assert first.file == second.file == "team-thing-1.0.tar" or first.file.endswith("team-thing-1.0.tar")
    assert first.path.read_bytes() == second.path.read_bytes()
    assert (first.sha256, first.size) == (second.sha256, second.path.stat().st_size)
    with tarfile.open(first.path) as archive:
        told = {one.name.partition("/")[2]: (one.mode, one.mtime, one.type) for one in archive}
    assert told == {
        "README": (0o644, packing.EARLIEST, tarfile.REGTYPE),
        "link": (0o644, packing.EARLIEST, tarfile.REGTYPE),
        "run": (0o755, packing.EARLIEST, tarfile.REGTYPE),
        "src/a.c": (0o644, packing.EARLIEST, tarfile.REGTYPE),
    }
    assert len(unpack.source_members(first.path)) == 4


names = st.text("ab.\u00e9 -", min_size=1, max_size=6).filter(lambda text: text not in (".", ".."))


@settings(max_examples=50, deadline=None)
@given(
    st.dictionaries(st.lists(names, min_size=1, max_size=3).map("/".join), st.binary(max_size=50), min_size=1)
)
def test_what_is_packed_is_what_the_reader_of_sources_finds(tmp_path_factory, files):
    folder = tmp_path_factory.mktemp("any")
    try:
        fill(folder / "in", files)
    except (FileExistsError, NotADirectoryError, IsADirectoryError):
        return  # a file and a folder of one name
    try:
        local.pack_folder(folder / "in", folder / "out.tar", "top")
    except Hostile as error:
        assert any(why in str(error) for why in ("differ only in case or form", "Git LFS pointer"))  # noqa: PT017
        return
    found = {one.path: (one.size, one.sha256) for one in unpack.source_members(folder / "out.tar")}
    assert found == {
        f"top/{path}": (len(data), packing.hashlib.sha256(data).hexdigest()) for path, data in files.items()
    }


def test_what_a_folder_may_not_hold_is_refused_with_a_sentence(tmp_path, monkeypatch):
    def said(folder):
        with pytest.raises(Refusal) as caught:
            local.given(str(folder), tmp_path / "out")
        assert caught.value.code == "usage"
        return caught.value.what

    out = fill(tmp_path / "leads-out", {"a": b""})
    (out / "l").symlink_to("/etc/passwd")
    away = fill(tmp_path / "leads-away", {"d/a": b""})
    (away / "d" / "l").symlink_to("../../leads-out/a")
    pipe = fill(tmp_path / "pipe", {"a": b""})
    os.mkfifo(pipe / "p")
    ear = fill(tmp_path / "ear", {"a": b""})
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(ear / "s"))
        sockets = said(ear)
    empty = tmp_path / "empty"
    empty.mkdir()
    pointer = fill(tmp_path / "lfs", {"a": b"version https://git-lfs.github.com/spec/v1\n"})

    assert said(out) == "the link 'l' leads out of the source"
    assert said(away) == "the link 'd/l' leads out of the source"
    assert "is a device, a pipe or a socket" in said(pipe)
    assert "is a device, a pipe or a socket" in sockets
    assert said(empty) == "the folder holds no file"
    assert "Git LFS pointer" in said(pointer)
    monkeypatch.setattr(local, "MAX_ARCHIVE_MEMBERS", Limit(1, "a test"))
    assert "more than 1 files" in said(fill(tmp_path / "many", {name: b"" for name in "abcdef"}))


def test_a_source_that_is_too_large_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(local, "MAX_SOURCE_BYTES", Limit(100, "a test"))
    with pytest.raises(Refusal) as caught:
        local.given(str(fill(tmp_path / "in", {"a": bytes(200)})), tmp_path / "out")
    assert caught.value.code == "too-large"


@pytest.mark.parametrize(
    "text",
    [
        "nowhere", "git+https://one.example/r", "git+https://one.example/r@main", "git+ssh://one.example/r@" + "a" * 40,
        "git+https://one.example/r@" + "a" * 39, "git+https://u:p@one.example/r@" + "a" * 40,
        "git+https://one.example/r @" + "a" * 40, "git+https://one.example/r@" + "A" * 40,
    ],
)  # fmt: skip
def test_what_names_no_source_is_refused(text):
    with pytest.raises(Refusal) as caught:
        local.parse(text)
    assert caught.value.code == "usage"


def test_folders_archives_and_commits_are_told_apart(tmp_path):
    (tmp_path / "a.zip").write_bytes(b"")
    (tmp_path / "a.rar").write_bytes(b"")
    commit = "ab" * 32

    assert local.parse(str(tmp_path)).kind == "folder"
    assert local.parse(str(tmp_path / "a.zip")).kind == "archive"
    assert local.parse(f"git+https://one.example/r.git@{commit}") == local.Given(
        "git", "https://one.example/r.git", commit
    )
    with pytest.raises(Refusal, match="is no archive that is read"):
        local.parse(str(tmp_path / "a.rar"))


class Look:
    """A sandbox's runner that only notes what it was given."""

    def __init__(self):
        self.asked = []

    def running(self, _):
        return self

    @asynccontextmanager
    async def run(self, job, files, **_):
        self.asked.append((job, {name: path.read_bytes() for name, path in files.items()}))
        yield None


async def test_an_archive_is_taken_as_it_is_after_a_look(tmp_path):
    with zipfile.ZipFile(tmp_path / "thing-1.0.zip", "w") as archive:
        archive.writestr("thing-1.0/a", "a")
    data, inside = (tmp_path / "thing-1.0.zip").read_bytes(), Look()
    found = await local.bring(local.parse(str(tmp_path / "thing-1.0.zip")), tmp_path / "out", inside)

    assert inside.asked == [({"operation": "look", "file": "given.zip"}, {"given.zip": data})]
    assert (found.file, found.path.read_bytes(), found.size) == ("thing-1.0.zip", data, len(data))
