"""A source that somebody gives along: a folder, an archive, or one commit of a repository.

A folder is packed here in the one form (`packing`): what it holds decides the bytes, not when or where. An archive is
taken as it is, after a look in the sandbox. A commit comes as any source from git does. Nobody vouches for any of them:
what is built stands under the name of whoever gave it.

Source: docs/sources.md, "A source that you give along".
"""

import os
import re
import shutil
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal
from urllib.parse import urlsplit

import trio

from pyrsia.builds.inside import Inside
from pyrsia.builds.members import Hostile, shown
from pyrsia.builds.model import LocalSource, file_out
from pyrsia.builds.sandbox import BuildLimits, choose
from pyrsia.builds.sources import git_tree, packing
from pyrsia.builds.sources.git import PROGRAM, GitHosts, GitSources
from pyrsia.errors import Refusal
from pyrsia.units import MAX_ARCHIVE_MEMBERS, MAX_MEMBER_DEPTH, MAX_SOURCE_BYTES

ENDINGS: Final = (".tar", ".tar.gz", ".zip")
LEFT_OUT: Final = frozenset({".git"})  # history is no source; everything else that lies there is packed

_GIT: Final = re.compile(r"git\+((?:https?|file)://[^\s@]+(?:@[^\s@/]+/[^\s@]+)?)@([0-9a-f]+)")
_WHO: Final = "your command"


@dataclass(frozen=True, slots=True)
class Given:
    """What was written behind `--source`.

    Attributes:
        place: a path, or a repository's URL. commit: of the latter, hex.
    """

    kind: Literal["archive", "folder", "git"]
    place: str
    commit: str = ""


def parse(text: str) -> Given:
    """`DIR`, `ARCHIVE` or `git+URL@COMMIT`.

    Raises:
        Refusal: `usage`, it is none of them.
    """
    if text.startswith("git+"):
        found = _GIT.fullmatch(text)
        if found is None or len(found[2]) not in (40, 64) or urlsplit(found[1]).password:
            raise _usage(
                f"{text[:120]!r} is not git+URL@COMMIT with a whole commit and no password",
                "write the 40 or 64 digits of the commit; credentials belong in your netrc",
            )
        return Given("git", found[1], found[2])
    path = Path(text)
    if path.is_dir():
        return Given("folder", text)
    if not path.is_file():
        raise _usage(f"there is no folder or archive {text[:120]!r}", "check the path")
    if not path.name.endswith(ENDINGS):
        raise _usage(
            f"{path.name[:120]!r} is no archive that is read",
            f"give a folder, or one of {', '.join(ENDINGS)}",
        )
    return Given("archive", text)


def given(
    text: str,
    into: Path,
    *,
    name: str = "",
    version: str = "",
    hosts: GitHosts | None = None,
    limits: BuildLimits | None = None,
) -> LocalSource:
    """The source that a person names on this machine, ready to be sent to a node. Blocks; for commands.

    Args:
        into: a folder of the caller's, where the archive and what it takes to make it lie.
        name, version: of the package; without them a folder's own name names its archive.

    Raises:
        Refusal: `usage`, `too-large`, `no-sandbox`, `source-unreachable`; the text says why.
    """

    async def run() -> LocalSource:
        if asked.kind == "folder":
            return await trio.to_thread.run_sync(_of_folder, Path(asked.place), into, name, version)
        inside = Inside(await choose(False), into / "scratch", PROGRAM, limits)
        return await bring(asked, into, inside, name=name, version=version, hosts=hosts)

    asked = parse(text)
    return trio.run(run)


async def bring(
    asked: Given,
    into: Path,
    inside: Inside,
    *,
    name: str = "",
    version: str = "",
    hosts: GitHosts | None = None,
) -> LocalSource:
    """The same for who has a sandbox already.

    Raises:
        Refusal: as `given`.
        PhaseFailed: an archive or a tree that is not taken.
    """
    if asked.kind == "folder":
        return await trio.to_thread.run_sync(_of_folder, Path(asked.place), into, name, version)
    if asked.kind == "archive":
        return await _of_archive(Path(asked.place), into, inside.running(PROGRAM))
    named = name or urlsplit(asked.place).path.rstrip("/").rpartition("/")[2].removesuffix(".git")
    own = hosts or GitHosts()
    if asked.place.startswith("file:"):
        own = own.with_own(asked.place)
    found = await GitSources(inside, into / "git", own).fetch(
        asked.place, asked.commit, name=named or "source", version=version or asked.commit[:12]
    )
    return LocalSource(found.file.name, found.file.path, found.sha256, found.size)


def _of_folder(folder: Path, into: Path, name: str, version: str) -> LocalSource:
    top = (
        packing.file_name(name, version)
        if name and version
        else packing.file_name(folder.resolve().name, "source")
    )
    into.mkdir(parents=True, exist_ok=True)
    path = into / f"{top}.tar"
    try:
        pack_folder(folder, path, top)
        out = file_out(path)
    except Hostile as error:
        raise _usage(
            str(error), "leave it out of the folder, or give an archive of what is needed"
        ) from error
    except OSError as error:
        raise _usage(
            f"{folder} cannot be read: {error.strerror}", "check the folder's permissions"
        ) from error
    return LocalSource(path.name, path, out.sha256, _small(out.size))


async def _of_archive(archive: Path, into: Path, inside: Inside) -> LocalSource:
    def copied() -> Path:
        into.mkdir(parents=True, exist_ok=True)
        _small(archive.stat().st_size)
        return Path(shutil.copyfile(archive, into / archive.name))

    try:
        path = await trio.to_thread.run_sync(copied)
    except OSError as error:
        raise _usage(f"{archive} cannot be read: {error.strerror}", "check the path") from error
    inner = "given.zip" if path.name.endswith(".zip") else "given.tar.gz"
    job = {"operation": "look", "file": inner}
    async with inside.run(job, {inner: path}, phase="prefetch", who=ascii(path.name)):
        pass  # it may be unpacked: that is all there is to know
    out = await trio.to_thread.run_sync(file_out, path)
    return LocalSource(path.name, path, out.sha256, out.size)


def pack_folder(folder: Path, path: Path, top: str) -> None:
    """Write the archive of `folder` to `path`: its files, sorted, at one time, below `top`.

    Links to files of the folder are packed as copies; `.git` is left out, nothing else.

    Raises:
        Hostile: a link that leads out, a device or pipe, a name that no archive may hold, too many or too large.
        OSError: something cannot be read.
    """
    files: dict[str, Path] = {}
    links: dict[str, str] = {}
    for inner, place, mode in _walk(folder):
        if stat.S_ISLNK(mode):
            links[inner] = os.readlink(place)
        elif stat.S_ISREG(mode):
            files[inner] = place
        else:
            raise Hostile(f"{shown(inner)} is a device, a pipe or a socket")
    if not files:
        raise Hostile("the folder holds no file")
    landed = {inner: files[git_tree.landing(links, files, inner)] for inner in links}
    with path.open("wb") as out:
        packing.pack(out, top, _opened({**files, **landed}), packing.EARLIEST)


def _walk(folder: Path) -> Iterator[tuple[str, Path, int]]:
    """(path inside, path, mode) of all that is no folder; nothing is followed."""
    waiting, count = [("", folder)], 0
    while waiting:
        above, at = waiting.pop()
        if above.count("/") > MAX_MEMBER_DEPTH.value:
            raise Hostile(f"{shown(above)} lies deeper than {MAX_MEMBER_DEPTH.value} folders")
        with os.scandir(at) as listing:
            for entry in listing:
                count += 1
                if count > 2 * MAX_ARCHIVE_MEMBERS.value:
                    raise Hostile(f"more than {MAX_ARCHIVE_MEMBERS.value} files")
                if entry.name in LEFT_OUT:
                    continue
                inner = f"{above}{entry.name}"
                if entry.is_dir(follow_symlinks=False):
                    waiting.append((f"{inner}/", Path(entry.path)))
                else:
                    yield inner, Path(entry.path), entry.stat(follow_symlinks=False).st_mode


def _opened(files: Mapping[str, Path]) -> Iterator[packing.File]:
    for inner in packing.in_order(files):
        handle = os.open(files[inner], os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        with os.fdopen(handle, "rb") as content:
            state = os.fstat(handle)
            yield packing.File(inner, bool(state.st_mode & 0o100), state.st_size, content)


def _small(size: int) -> int:
    if size > MAX_SOURCE_BYTES.value:
        raise Refusal(
            "too-large",
            what=f"the source has {size} bytes, at most {MAX_SOURCE_BYTES.value} are taken",
            who=_WHO,
            do="leave out what is not source",
        )
    return size


def _usage(what: str, do: str) -> Refusal:
    return Refusal("usage", what=what, who=_WHO, do=do)
