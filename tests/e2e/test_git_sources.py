"""Sources from git, out of a real repository through the sandbox: one commit, one archive, and what is not taken."""

import hashlib
import shutil
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyrsia.builds.inside import Inside
from pyrsia.builds.model import PhaseFailed, SourceMapping
from pyrsia.builds.sandbox import choose
from pyrsia.builds.sources import local
from pyrsia.builds.sources.git import PROGRAM, GitHosts, GitSources, same
from pyrsia.errors import Refusal

sys.path.insert(0, str(Path(__file__).parent))
import git_server

pytestmark = [
    pytest.mark.builds,
    pytest.mark.skipif(shutil.which("git") is None, reason="this machine has no git (apt-get install git)"),
]

FILES = {"src/a.py": b"A = 1\n", "README": b"words\n", "run.sh": "#!/bin/sh\n", "src/\u00e9.txt": b"\xc3\xa9"}


@pytest.fixture
def host(tmp_path: Path) -> Iterator[tuple[str, list[str]]]:
    with git_server.serving(tmp_path / "repos") as found:
        yield found


@pytest.fixture
async def inside(tmp_path: Path) -> Inside:
    try:
        sandbox = await choose(False)
    except Refusal as refusal:
        pytest.skip(f"git runs in the sandbox `namespace` only: {refusal.what}")
    return Inside(sandbox, tmp_path / "scratch", PROGRAM)


def sources(inside: Inside, home: Path, url: str, mirror: str = "") -> GitSources:
    mirrors = (f"https://git.example/ = {mirror or url + '/'}",)
    return GitSources(inside, home / "cache", GitHosts.configured((url,), mirrors))


def mapping(tag: str = "v{version}") -> SourceMapping:
    return SourceMapping("pkg:pypi/thing", "https://git.example/thing/.git", tag, {}, 1)


async def test_a_tag_leads_to_a_commit_and_the_commit_to_the_same_archive_everywhere(host, inside, tmp_path):
    folder = tmp_path / "repos" / "thing"
    commit = git_server.repository(folder, FILES, links={"link": "src/a.py", "again": "link"})
    git_server.git(folder, "tag", "-a", "-m", "one", "v1.0")
    later = git_server.repository(folder, {"src/a.py": b"A = 2\n"})
    url, asked = host
    found = await sources(inside, tmp_path / "one", url).mapped(mapping(), name="thing", version="1.0")
    again = await sources(inside, tmp_path / "two", url, f"file://{tmp_path}/repos/").mapped(
        mapping(), name="thing", version="1.0"
    )

    assert found.commit == commit != later
    assert found.as_source() == again.as_source()
    assert found.file.path.read_bytes() == again.file.path.read_bytes()
    assert found.file.name == "thing-1.0.tar"
    assert hashlib.sha256(found.file.path.read_bytes()).hexdigest() == found.sha256
    same(found.as_source(), again)
    with tarfile.open(found.file.path) as archive:
        members = archive.getmembers()
        assert [(one.name, oct(one.mode)) for one in members] == [
            ("thing-1.0/README", "0o644"),
            ("thing-1.0/again", "0o644"),
            ("thing-1.0/link", "0o644"),
            ("thing-1.0/run.sh", "0o755"),
            ("thing-1.0/src/a.py", "0o644"),
            ("thing-1.0/src/\u00e9.txt", "0o644"),
        ]
        assert {(one.mtime, one.uid, one.gid, one.uname, one.type) for one in members} == {
            (git_server.TIME_S, 0, 0, "", tarfile.REGTYPE)
        }
        assert archive.extractfile("thing-1.0/again").read() == b"A = 1\n"
    assert all("git-upload-pack" in one for one in asked)
    assert any(one.startswith("POST") for one in asked)


async def test_a_moved_tag_is_another_source_and_both_commits_are_named(host, inside, tmp_path):
    folder = tmp_path / "repos" / "thing"
    git_server.repository(folder, FILES)
    git_server.git(folder, "tag", "v1.0")
    git = sources(inside, tmp_path, host[0])
    first = await git.mapped(mapping(), name="thing", version="1.0")
    moved = git_server.repository(folder, {"src/a.py": b"A = 3\n"})
    git_server.git(folder, "tag", "-f", "v1.0")
    second = await git.mapped(mapping(), name="thing", version="1.0")
    kept = await git.fetch(mapping().repository, first.commit, name="thing", version="1.0", tag="v1.0")

    assert second.commit == moved
    assert kept.as_source() == first.as_source()
    with pytest.raises(Refusal, match=f"{first.commit}.*{moved}") as caught:
        same(first.as_source(), second)
    assert caught.value.code == "digest-mismatch"


async def test_a_source_that_is_not_taken_is_refused_with_a_sentence(host, inside, tmp_path):
    commit = git_server.repository(
        tmp_path / "repos" / "thing", {"a": b"a"}, links={"out": "../../etc/passwd"}
    )
    with pytest.raises(PhaseFailed, match="'out' leads out of the source"):
        await sources(inside, tmp_path, host[0]).fetch(
            mapping().repository, commit, name="thing", version="1.0"
        )


async def test_what_is_not_there_is_said_so_and_by_whom(host, inside, tmp_path):
    folder = tmp_path / "repos" / "thing"
    commit = git_server.repository(folder, FILES)
    git = sources(inside, tmp_path, host[0])
    refusals = []
    for ask in (
        lambda: git.mapped(mapping(), name="thing", version="9"),
        lambda: git.mapped(mapping("--upload-pack=x{version}"), name="thing", version="1"),
        lambda: git.fetch("https://git.example/none/.git", commit, name="thing", version="1"),
        lambda: git.fetch("http://127.0.0.2:1/thing", commit, name="thing", version="1"),
        lambda: git.fetch("https://127.0.0.1:1/thing", commit, name="thing", version="1"),
        lambda: git.fetch(f"file://{folder}", commit, name="thing", version="1"),
        lambda: git.fetch(mapping().repository, "HEAD", name="thing", version="1"),
        lambda: git.fetch(mapping().repository, "ab" * 20, name="thing", version="1"),
    ):
        with pytest.raises(Refusal) as caught:
            await ask()
        refusals.append(caught.value)

    assert [one.code for one in refusals] == [
        "version-unknown",
        "bad-request",
        "source-unreachable",
        "source-unreachable",
        "source-unreachable",
        "source-unreachable",
        "bad-request",
        "source-unreachable",
    ]
    assert "has no tag v9" in refusals[0].what
    assert "it is not https" in refusals[3].what
    assert "not configured here" in refusals[4].what
    assert "are no repositories unless configured" in refusals[5].what


async def test_a_commit_given_along_comes_out_of_a_folder_that_its_owner_names(inside, tmp_path):
    commit = git_server.repository(tmp_path / "thing", FILES)
    asked = local.parse(f"git+file://{tmp_path}/thing@{commit}")
    found = await local.bring(asked, tmp_path / "out", inside, name="thing", version="1.0")
    (tmp_path / "thing" / "README").write_bytes(b"changed, and not committed")
    copied = shutil.copyfile(found.path, tmp_path / found.file)
    archive = await local.bring(local.parse(str(copied)), tmp_path / "again", inside)

    assert (found.file, found.size) == ("thing-1.0.tar", found.path.stat().st_size)
    assert (archive.file, archive.sha256) == (found.file, found.sha256)
