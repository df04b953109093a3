"""What runs inside the sandbox for sources: git with its one way out, and a second look without either.

    resolve    {url, tag}                       -> {commit, kind}
    archive    {url, commit, tag, top}          -> {links, time}; leaves `source.tar` and `commit`
    check      {file, commit, links}, 2 files   -> {tree, time}
    look       {file}, 1 file                   -> {members, size, top, tree}

git is a program that strangers' servers talk to: it runs with no configuration but ours, and what it brought is made
sure of by `check` in another run. Only the standard library and modules that say the same of themselves are imported.

Source: docs/sources.md, "Sources from git".
"""

import hashlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from pyrsia.builds import unpack
from pyrsia.builds.members import Hostile, Member, shown
from pyrsia.builds.sources import git_tree, packing
from pyrsia.units import MAX_ARCHIVE_MEMBERS, MAX_UNPACKED_BYTES

_ANSWER_BYTES = 1 << 20  # of `ls-remote` for one tag: two lines
_LINK_BYTES = 4_096  # as long as a path
_TREE_BYTES = 32 << 20  # the list of 20,000 files with long names is 10 MB
_COMMIT_BYTES = 1 << 20

CONFIGURATION = """\
[core]
    hooksPath = /dev/null
    fsmonitor = false
    attributesFile = /dev/null
    commitGraph = false
[protocol]
    version = 2
    allow = never
[protocol "http"]
    allow = always
[protocol "file"]
    allow = always
[transfer]
    fsckObjects = true
[fetch]
    fsckObjects = true
    recurseSubmodules = false
[http]
    followRedirects = false
    proxy =
[credential]
    helper =
[safe]
    directory = *
[gc]
    auto = 0
[maintenance]
    auto = false
"""


def main(inputs: str, work: str) -> int:
    return unpack.serve(OPERATIONS, Path(inputs), Path(work))


class _Git:
    """git below `work`, without the host's configuration, prompts and helpers."""

    def __init__(self, work: Path) -> None:
        self._work = work
        configuration = work / "gitconfig"
        configuration.write_text(CONFIGURATION)
        self._env = {
            "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
            "HOME": str(work),
            "LC_ALL": "C",
            "TZ": "UTC",
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": str(configuration),
            "GIT_ATTR_NOSYSTEM": "1",
            "GIT_NO_REPLACE_OBJECTS": "1",
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_ASKPASS": "/bin/false",
        }

    def start(self, *words: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            ["git", *words],
            cwd=self._work,
            env=self._env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def run(self, *words: str, most: int = 0) -> bytes | None:
        """What it printed, at most `most` bytes; None where it failed. Its errors are in the log."""
        with self.start(*words) as process:
            assert process.stdin is not None  # noqa: S101
            assert process.stdout is not None  # noqa: S101
            process.stdin.close()
            data = process.stdout.read(most + 1)
            if len(data) > most:
                process.kill()
                verb = next(word for word in words if word not in ("-C", "repo"))
                raise Hostile(f"git {verb} printed more than {most} bytes")
        return data if process.returncode == 0 else None


def resolve(job: dict[str, Any], _: Path, work: Path) -> dict[str, Any]:
    """The commit that a tag leads to, by what the server says; `archive` makes sure that it is one."""
    name = f"refs/tags/{job['tag']}"
    told = _Git(work).run("ls-remote", job["url"], name, f"{name}^{{}}", most=_ANSWER_BYTES)
    if told is None:
        return {"commit": "", "kind": "unreachable"}
    found = {}
    for line in told.decode("utf-8", "replace").splitlines():
        digest, _tab, ref = line.partition("\t")
        if re.fullmatch("[0-9a-f]{40}(?:[0-9a-f]{24})?", digest):
            found[ref] = digest
    commit = found.get(f"{name}^{{}}") or found.get(name)
    return {"commit": commit or "", "kind": "found" if commit else "missing"}


def archive(job: dict[str, Any], _: Path, work: Path) -> dict[str, Any]:
    """Fetch one commit and pack its tree."""
    git, commit = _Git(work), job["commit"]
    form = "sha1" if len(commit) == 40 else "sha256"
    if git.run("init", "-q", "--bare", f"--object-format={form}", "repo") is None:
        raise Hostile("git here cannot read a repository of this kind")
    if not _fetched(git, job):
        return {"links": {}, "time": 0, "kind": "unreachable"}
    told = git.run("-C", "repo", "cat-file", "commit", commit, most=_COMMIT_BYTES)
    if told is None:
        raise Hostile(f"{commit[:12]} is no commit that this repository has")
    (work / "commit").write_bytes(told)
    _tree, time_s = git_tree.commit_says(told)
    listing = git.run("-C", "repo", "ls-tree", "-r", "-z", "-l", "--full-tree", commit, most=_TREE_BYTES)
    if listing is None:
        raise Hostile(f"the files of {commit[:12]} cannot be listed")
    files, linked = _listed(listing)
    with git.start("-C", "repo", "cat-file", "--batch") as reader:
        links = {path: _link(reader, path, digest, size) for path, (digest, size) in linked.items()}
        landings = {path: git_tree.landing(links, files, path) for path in links}
        with (work / "source.tar").open("wb") as out:
            packing.pack(out, job["top"], _contents(reader, files, landings), time_s)
        assert reader.stdin is not None  # noqa: S101
        reader.stdin.close()
    return {"links": links, "time": time_s, "kind": "found"}


def _fetched(git: _Git, job: Mapping[str, Any]) -> bool:
    """By the commit itself; a server that gives only what has a name is asked for the tag."""
    words = ("-C", "repo", "fetch", "-q", "--depth=1", "--no-tags", "--no-write-fetch-head", job["url"])
    if git.run(*words, job["commit"]) is not None:
        return True
    return bool(job["tag"]) and git.run(*words, f"+refs/tags/{job['tag']}:refs/heads/asked") is not None


_Listed = dict[str, tuple[str, int, bool]]  # path -> digest, size, whether it is executable


def _listed(listing: bytes) -> tuple[_Listed, dict[str, tuple[str, int]]]:
    """Files and links of a tree.

    Raises:
        Hostile: a submodule, a name that is not Unicode, or too many or too large.
    """
    files: _Listed = {}
    links: dict[str, tuple[str, int]] = {}
    total = 0
    for line in listing.split(b"\0")[:-1]:
        head, _, name = line.partition(b"\t")
        mode, _kind, digest, size = head.split()
        try:
            path = name.decode("utf-8")
        except UnicodeDecodeError:
            raise Hostile(f"a name that is not Unicode: {name[:80]!r}") from None
        if mode == b"160000":
            raise Hostile(
                f"{shown(path)} is a submodule: its files are not in this repository, give the source along whole"
            )
        if mode == git_tree.LINK:
            links[path] = digest.decode(), int(size)
        elif mode in (git_tree.PLAIN, git_tree.EXECUTABLE):
            files[path] = digest.decode(), int(size), mode == git_tree.EXECUTABLE
            total += int(size)
        else:
            raise Hostile(f"{shown(path)} has the mode {mode.decode()}, which git writes for nothing today")
    if len(files) + len(links) > MAX_ARCHIVE_MEMBERS.value or total > MAX_UNPACKED_BYTES.value:
        # Before any of it is read: a few KB of a pack may stand for more than this machine has.
        raise Hostile(
            f"{len(files) + len(links)} files of {total} bytes together are more than a source may have"
        )
    return files, links


def _contents(
    reader: subprocess.Popen[bytes], files: _Listed, landings: Mapping[str, str]
) -> Iterator[packing.File]:
    """All files in order; a link has the content of what it leads to."""
    for path in packing.in_order([*files, *landings]):
        digest, size, executable = files[landings.get(path, path)]
        yield packing.File(path, executable, size, _blob(reader, digest, size))
        assert reader.stdout is not None  # noqa: S101
        reader.stdout.read(1)  # the line's end behind each object


def _blob(reader: subprocess.Popen[bytes], digest: str, size: int) -> IO[bytes]:
    assert reader.stdin is not None  # noqa: S101
    assert reader.stdout is not None  # noqa: S101
    reader.stdin.write(f"{digest}\n".encode())
    reader.stdin.flush()
    if reader.stdout.readline(200) != f"{digest} blob {size}\n".encode():
        raise Hostile(f"git has no file {digest[:12]}")
    return reader.stdout


def _link(reader: subprocess.Popen[bytes], path: str, digest: str, size: int) -> str:
    if size > _LINK_BYTES:
        raise Hostile(f"the link {shown(path)} has {size} bytes")
    data = _blob(reader, digest, size).read(size + 1)[:size]
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        raise Hostile(f"the link {shown(path)} leads to a name that is not Unicode") from None


def check(job: dict[str, Any], inputs: Path, _: Path) -> dict[str, Any]:
    """Whether the archive holds the tree of that commit, link for link; our own digest of it, and its time."""
    new, links = git_tree.hasher(job["commit"]), job["links"]
    told = (inputs / "commit").read_bytes()
    if git_tree.whole(new, "commit", told).hex() != job["commit"]:
        raise Hostile("what git called the commit has another digest")
    tree, time_s = git_tree.commit_says(told)
    top = job["top"]
    members, entries, times = [], {}, set()
    for name, folder, size, executable, time, pieces in unpack.read_source(inputs / job["file"]):
        if folder:
            raise Hostile("an archive of ours has no folders of their own")
        ours, theirs = hashlib.sha256(), git_tree.start(new, "blob", size)
        for piece in pieces:
            ours.update(piece)
            theirs.update(piece)
        members.append(Member(name, ours.hexdigest(), size, executable))
        mode = git_tree.EXECUTABLE if executable else git_tree.PLAIN
        entries[name.partition("/")[2]] = git_tree.Entry(mode, theirs.digest())
        times.add(time)
    plain = {path: entry for path, entry in entries.items() if path not in links}
    for path in links:
        if entries.get(path) != plain[git_tree.landing(links, plain, path)]:
            raise Hostile(f"the link {shown(path)} is not a copy of what it leads to")
        target = git_tree.whole(new, "blob", links[path].encode())
        entries[path] = git_tree.Entry(git_tree.LINK, target)
    if git_tree.tree(new, entries).hex() != tree:
        raise Hostile("the files are not those of the commit")
    if times - {packing.clamped(time_s)}:
        raise Hostile("the archive has other times than the commit's")
    return {"tree": packing.tree_digest(packing.below(members, top)), "time": time_s}


def look(job: dict[str, Any], inputs: Path, _: Path) -> dict[str, Any]:
    """Whether an archive that somebody gave along may be unpacked: one top folder, plain names, no bomb."""
    members = unpack.source_members(inputs / job["file"])
    tops = {one.path.partition("/")[0] for one in members if "/" in one.path}
    if len(tops) != 1 or not all("/" in one.path for one in members):
        raise Hostile("a source archive has one top folder and nothing beside it")
    top = tops.pop()
    return {
        "members": len(members),
        "size": sum(one.size for one in members),
        "top": top,
        "tree": packing.tree_digest(packing.below(members, top)),
    }


OPERATIONS: dict[str, unpack.Operation] = {
    "resolve": resolve,
    "archive": archive,
    "check": check,
    "look": look,
}

if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2]))
