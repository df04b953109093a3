"""What every worker does with archives of strangers; it only ever runs inside the sandbox.

Reads the members of a source archive, unpacks it below a folder of our own making, and answers the one job that a
worker is started for. Only the standard library and modules that say the same of themselves are imported.

Source: docs/builds-how.md, "Step by step"; docs/sandbox.md.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from pyrsia.builds import links, members_tar, members_zip
from pyrsia.builds.members import Hostile, Member

_CHUNK = 1 << 16

Operation = Callable[[dict[str, Any], Path, Path], dict[str, Any]]


def serve(operations: Mapping[str, Operation], inputs: Path, work: Path) -> int:
    """Do what `job.json` asks for and write `result.json`; a hostile input is an answer (`refused`)."""
    job = json.loads((inputs / "job.json").read_text())
    os.umask(0o022)
    try:
        result = operations[job["operation"]](job, inputs, work)
    except Hostile as error:
        result = {"refused": str(error)}
    (work / "result.json").write_text(json.dumps(result))
    return 0


def source_members(path: Path) -> list[Member]:
    """The files of a source archive with their digests, below its one top folder."""
    found = []
    for name, folder, _, executable, _, pieces in read_source(path):
        if not folder:
            digest, size = hashlib.sha256(), 0
            for piece in pieces:
                digest.update(piece)
                size += len(piece)
            found.append(Member(name, digest.hexdigest(), size, executable))
    return found


def read_source(path: Path) -> Iterator[tuple[str, bool, int, bool, int, Iterator[bytes]]]:
    with path.open("rb") as file:
        if path.name.endswith(".zip"):
            records = members_zip.read(file, strict=False, links=True)
            for one in records:
                if one.folder:
                    yield one.path, True, 0, one.exec, one.time, iter(())
            for name, one in links.followed(file, records):
                yield name, False, one.size, one.exec, one.time, members_zip.content(file, one)
        else:
            for name, folder, size, executable, time, contents in members_tar.read(file):
                yield name, folder, size, executable, time, _pieces(contents)


def _pieces(file: IO[bytes] | None) -> Iterator[bytes]:
    while file is not None and (piece := file.read(_CHUNK)):
        yield piece


def unpack_source(path: Path, into: Path, epoch: int, *, backwards: bool = False) -> Path:
    """Unpack a source archive below `into`; its one top folder.

    Times are clamped to `epoch`, modes to 0644 and 0755. Links that stay inside become copies of what they lead to.

    Args:
        backwards: make the folders' entries anew in the opposite order, for a second look at a build.
    """
    tops = set()
    for name, folder, _, executable, time, pieces in read_source(path):
        tops.add(name.partition("/")[0])
        if len(tops) > 1:
            raise Hostile("a source archive has one top folder, this one has more")
        put(into, name, folder, executable, pieces)
        if not folder:
            when = min(max(time, members_zip.EARLIEST), epoch)
            os.utime(into / name, (when, when))
    if not tops:
        raise Hostile("the source archive is empty")
    top = into / tops.pop()
    if not top.is_dir():
        raise Hostile("the source archive has no top folder")
    if backwards:
        _turned(top)
    return top


def _turned(top: Path) -> None:
    """Take every file out of its folder and put it back, last name first: most file systems list them so, then."""
    for folder, _, files in os.walk(top):
        for name in sorted(files, reverse=True):
            path = Path(folder, name)
            path.rename(f"{path}.turned")
            Path(f"{path}.turned").rename(path)


def put(into: Path, name: str, folder: bool, executable: bool, pieces: Iterator[bytes]) -> None:
    """Write one member. `into` was made by us and holds no link, so a plain path stays inside it."""
    path = into / name
    if folder:
        path.mkdir(parents=True, exist_ok=True)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    with os.fdopen(os.open(path, flags, 0o755 if executable else 0o644), "wb") as out:
        for piece in pieces:
            out.write(piece)
