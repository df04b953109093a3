"""What runs inside for sources, called here as plain functions: one form of archive, and what is not taken."""

import json
import shutil
import tarfile
from pathlib import Path

import pytest

from pyrsia.builds.members import Hostile
from pyrsia.builds.sources import worker
from pyrsia.units import Limit
from tests.e2e import git_server

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="no git here (apt-get install git)")


def fetched(tmp_path, commit, tag="", top="thing-1.0"):
    """Fetch and check, as two runs would; (what was checked, the archive)."""
    work = tmp_path / f"work-{len(list(tmp_path.iterdir()))}"
    work.mkdir()
    job = {"url": f"file://{tmp_path}/thing", "commit": commit, "tag": tag, "top": top}
    told = worker.archive(job, work, work)
    (work / "told").write_text(json.dumps(told))
    if told["kind"] != "found":
        return told, None
    checking = {"commit": commit, "file": "source.tar", "links": told["links"], "top": top}
    return worker.check(checking, work, work), work / "source.tar"


def test_the_tree_has_one_digest_whatever_the_archive_is_called(tmp_path):
    commit = git_server.repository(tmp_path / "thing", {"a": b"a", "d/b": "b"}, links={"d/l": "../a"})
    one, first = fetched(tmp_path, commit)
    two, second = fetched(tmp_path, commit, top="other-2")

    assert one == two
    assert one["time"] == git_server.TIME_S
    assert first.read_bytes() != second.read_bytes()
    assert worker.look({"file": "source.tar"}, first.parent, first.parent) == {
        "members": 3,
        "size": 3,
        "top": "thing-1.0",
        "tree": one["tree"],
    }


def test_a_repository_with_sha256_commits_is_read_as_well(tmp_path):
    folder = tmp_path / "thing"
    folder.mkdir()
    git_server.git(folder, "init", "-q", "-b", "main", "--object-format=sha256")
    commit = git_server.repository(folder, {"a": b"a"})
    checked, _ = fetched(tmp_path, commit)

    assert len(commit) == 64
    assert checked["time"] == git_server.TIME_S


@pytest.mark.parametrize(
    ("files", "links", "why"),
    [
        ({"a": b"a"}, {"out": "../../etc/passwd"}, "'out' leads out of the source"),
        ({"d/a": b"a"}, {"d/out": "../../x"}, "'d/out' leads out of the source"),
        ({"a": b"a"}, {"out": "/etc/passwd"}, "'out' leads out of the source"),
        ({"a": b"a"}, {"one": "two", "two": "one"}, "leads in a circle"),
        ({"d/a": b"a"}, {"dir": "d"}, "leads to a folder or to nothing"),
        (
            {"a": b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 1\n"},
            {},
            "Git LFS pointer",
        ),
        ({"A/x": b"a", "a/x": b"b"}, {}, "differ only in case"),
        ({"a\\b": b"a"}, {}, "a backslash"),
    ],
)
def test_what_is_no_plain_tree_is_refused_with_a_sentence(tmp_path, files, links, why):
    commit = git_server.repository(tmp_path / "thing", files, links=links)
    with pytest.raises(Hostile, match=why):
        fetched(tmp_path, commit)


def test_a_submodule_is_refused_with_a_sentence(tmp_path):
    folder = tmp_path / "thing"
    git_server.repository(folder, {"a": b"a"})
    git_server.git(folder, "update-index", "--add", "--cacheinfo", f"160000,{'ab' * 20},vendored")
    git_server.git(folder, "commit", "-q", "-m", "a submodule")
    with pytest.raises(Hostile, match="'vendored' is a submodule"):
        fetched(tmp_path, git_server.git(folder, "rev-parse", "HEAD"))


def test_a_name_that_is_not_unicode_is_refused(tmp_path):
    folder = tmp_path / "thing"
    git_server.repository(folder, {"a": b"a"})
    blob = git_server.git(folder, "hash-object", "-w", "a")
    listing = f"100644 blob {blob}\t".encode() + b"\xff\xfe\n"
    tree = git_server.git(folder, "mktree", stdin=listing)
    with pytest.raises(Hostile, match="not Unicode"):
        fetched(tmp_path, git_server.git(folder, "commit-tree", "-m", "x", tree))


def test_marks_of_the_other_side_change_no_byte(tmp_path):
    marks = b"* filter=evil export-subst ident text eol=crlf\nb export-ignore\n"
    files = {".gitattributes": marks, "a": b"$Id$ $Format:%H$\n", "b": b"kept"}
    _, archive = fetched(tmp_path, git_server.repository(tmp_path / "thing", files))
    with tarfile.open(archive) as found:
        assert found.extractfile("thing-1.0/a").read() == b"$Id$ $Format:%H$\n"
        assert found.extractfile("thing-1.0/b").read() == b"kept"


def test_a_few_trees_that_stand_for_a_hundred_million_files_are_refused(tmp_path):
    folder = tmp_path / "thing"
    git_server.repository(folder, {"a": b"a"})
    tree = git_server.git(folder, "rev-parse", "HEAD^{tree}")
    for _ in range(8):
        listing = "".join(f"040000 tree {tree}\t{name}\n" for name in "0123456789")
        tree = git_server.git(folder, "mktree", stdin=listing.encode())
    with pytest.raises(Hostile, match="git ls-tree printed more than"):
        fetched(tmp_path, git_server.git(folder, "commit-tree", "-m", "x", tree))


def test_what_is_too_large_is_refused_before_it_is_read(tmp_path, monkeypatch):
    commit = git_server.repository(tmp_path / "thing", {"a": bytes(2_000), "b": b""})
    monkeypatch.setattr(worker, "MAX_UNPACKED_BYTES", Limit(1_999, "a test"))
    with pytest.raises(Hostile, match="2 files of 2000 bytes together are more"):
        fetched(tmp_path, commit)
    monkeypatch.setattr(worker, "MAX_UNPACKED_BYTES", Limit(2_000, "a test"))
    monkeypatch.setattr(worker, "MAX_ARCHIVE_MEMBERS", Limit(1, "a test"))
    with pytest.raises(Hostile, match="2 files of 2000 bytes together are more"):
        fetched(tmp_path, commit)


def test_an_object_that_is_no_commit_or_is_not_there_gives_nothing(tmp_path):
    folder = tmp_path / "thing"
    git_server.repository(folder, {"a": b"a"})
    tree = git_server.git(folder, "rev-parse", "HEAD^{tree}")
    with pytest.raises(Hostile, match="is no commit that this repository has"):
        fetched(tmp_path, tree)
    assert fetched(tmp_path, "ab" * 20) == ({"links": {}, "time": 0, "kind": "unreachable"}, None)


@pytest.mark.parametrize(
    "lie",
    [
        "other bytes", "other name", "exec bit", "a file more", "a file less", "another commit", "links forgotten",
        "a link more", "another time", "a link's copy",
    ],
)  # fmt: skip
def test_a_git_that_lies_is_found_out_without_git(tmp_path, lie):
    """The second run believes neither the archive nor the list of links: both must give the commit's own digest."""
    commit = git_server.repository(tmp_path / "thing", {"a": b"a", "b": "b"}, links={"l": "a"})
    work = tmp_path / "work"
    work.mkdir()
    told = worker.archive(
        {"url": f"file://{tmp_path}/thing", "commit": commit, "tag": "", "top": "t"}, work, work
    )
    links = {} if lie == "links forgotten" else {"l": "a", **({"a": "b"} if lie == "a link more" else {})}
    packed = [("a", b"a", 0o644), ("b", b"b", 0o755), ("l", b"a", 0o644)]
    changed = {
        "other bytes": [("a", b"x", 0o644), packed[1], ("l", b"x", 0o644)],
        "other name": [("A", b"a", 0o644), *packed[1:]],
        "exec bit": [packed[0], ("b", b"b", 0o644), packed[2]],
        "a file more": [*packed, ("z", b"", 0o644)],
        "a file less": [packed[0], packed[2]],
        "a link's copy": [*packed[:2], ("l", b"b", 0o644)],
    }.get(lie, packed)
    if lie == "another commit":
        (work / "commit").write_bytes((work / "commit").read_bytes() + b"\n")
    with (work / "lie.tar").open("wb") as out, tarfile.open(fileobj=out, mode="w") as archive:
        for name, data, mode in changed:
            item = tarfile.TarInfo(f"t/{name}")
            item.size, item.mode = len(data), mode
            item.mtime = git_server.TIME_S + (lie == "another time")
            (tmp_path / "data").write_bytes(data)
            with (tmp_path / "data").open("rb") as content:
                archive.addfile(item, content)
    assert told["links"] == {"l": "a"}
    with pytest.raises(Hostile):
        worker.check({"commit": commit, "file": "lie.tar", "links": links, "top": "t"}, work, work)
    good = {"commit": commit, "file": "source.tar", "links": told["links"], "top": "t"}
    if lie != "another commit":
        assert worker.check(good, work, work)["time"] == git_server.TIME_S


@pytest.mark.parametrize(
    ("names", "why"),
    [
        (["t/a", "u/b"], "one top folder"),
        (["a"], "one top folder"),
        (["t/a", "b"], "one top folder"),
        (["t/../../a"], "traversal"),
        (["/etc/passwd"], "absolute"),
        ([], "one top folder"),
    ],
)
def test_an_archive_given_along_is_looked_at(tmp_path: Path, names, why):
    with tarfile.open(tmp_path / "given.tar.gz", "w:gz") as archive:
        for name in names:
            archive.addfile(tarfile.TarInfo(name))
    with pytest.raises(Hostile, match=why):
        worker.look({"file": "given.tar.gz"}, tmp_path, tmp_path)
