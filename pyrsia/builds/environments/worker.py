"""Makes and unpacks file systems; it only ever runs inside the sandbox.

`make`: a lock and its files -> `rootfs.tar`. `unpack`: such an archive -> `root/`. `import`: an archive that another
tool made -> ours. Nothing of what is packed is ever started.

Source: docs/environments.md, "How a root is made".
"""

import gzip
import hashlib
import io
import json
import lzma
import os
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, Final, cast

from pyrsia.builds import members_tar, members_zip, unpack
from pyrsia.builds.environments import deb, facts
from pyrsia.builds.environments.lock import Part, RootfsLock, decode
from pyrsia.builds.environments.tree import Tree
from pyrsia.builds.members import Hostile, checked_name, shown

# Everything in a root is as old as the format that some of it ends up in: 1980-01-01, the first time of a ZIP.
MTIME: Final = 315_532_800
# Where the sandbox puts things of its own, in a root that is read-only.
PLACES: Final = (
    "build",
    "dev",
    "home",
    "in",
    "mnt",
    "opt",
    "proc",
    "root",
    "run",
    "srv",
    "sys",
    "tmp",
    "var/tmp",
)
_SITE: Final = "usr/lib/python3/dist-packages"
_PEOPLE: Final = {
    "etc/group": b"root:x:0:\nbuilder:x:1000:\nnogroup:x:65534:\n",
    "etc/nsswitch.conf": b"passwd: files\ngroup: files\nhosts: files\n",
    "etc/passwd": b"root:x:0:0:root:/root:/bin/sh\nbuilder:x:1000:1000:builder:/tmp:/bin/sh\n"
    b"nobody:x:65534:65534:nobody:/tmp:/bin/sh\n",
    "etc/hosts": b"127.0.0.1 localhost builder\n::1 localhost\n",
}
_CHUNK: Final = 1 << 20
_STATUS: Final = "var/lib/dpkg/status"
_MOST_TOLD: Final = 8 << 20  # of a file that is read for facts; a desktop's list of packages has 3 MB


def make(job: dict[str, Any], inputs: Path, work: Path) -> dict[str, Any]:
    """`rootfs.tar` from `lock` and the files that it names, which lie in `job["parts"]` (a mounted folder)."""
    lock, folder = decode((inputs / "lock").read_bytes()), Path(job["parts"])
    with (work / "spool").open("w+b") as spool:
        tree = Tree(spool, [prefix for (prefix,) in lock.rule("drop")])
        for part in lock.parts:
            _add(tree, part, folder / part.sha256, lock)
        _finish(tree, lock)
        answer = _written(tree, work)
    (work / "spool").unlink()
    return answer | {"facts": facts.facts(lock)}


def _add(tree: Tree, part: Part, path: Path, lock: RootfsLock) -> None:
    with path.open("rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != part.sha256:
            raise Hostile(f"{shown(part.file)} is not what the lock says")
        file.seek(0)
        if part.debian:
            for entry in deb.entries(file, part.file):
                _enter(tree, entry)
        elif part.file.endswith(".whl"):
            for one in members_zip.read(file, strict=False):
                if not one.folder:
                    data = b"".join(members_zip.content(file, one))
                    tree.file(f"{_SITE}/{one.path}", False, io.BytesIO(data))
        else:
            _lay(tree, file, [rule[1:] for rule in lock.rule("lay") if rule[0] == part.file])


def _enter(tree: Tree, entry: deb.Entry) -> None:
    if entry.kind == "folder":
        tree.folder(entry.path)
    elif entry.kind == "link":
        tree.link(entry.path, entry.target)
    elif entry.kind == "hard":
        tree.hard(entry.path, entry.target)
    elif entry.contents is not None:
        tree.file(entry.path, entry.exec, entry.contents)


def _lay(tree: Tree, file: Any, rules: list[tuple[str, ...]]) -> None:
    """Of a source archive: what the rules name, below its one top folder."""
    for name, folder, _, executable, _, contents in members_tar.read(file):
        inner = name.partition("/")[2]
        for inside, to in rules:
            if not folder and contents is not None and (inner == inside or inner.startswith(f"{inside}/")):
                tree.file(to + inner.removeprefix(inside), executable, contents)
                break


def _finish(tree: Tree, lock: RootfsLock) -> None:
    for place in PLACES:
        tree.folder(place)
    for path, target in lock.rule("link"):
        tree.link(path, target)
    for path, function in lock.rule("run"):
        module, _, name = function.partition(":")
        text = (
            f"#!/usr/bin/python3\nimport sys\nfrom {module} import {name}\nsys.exit({name}(sys.argv[1:]))\n"
        )
        tree.file(path, True, io.BytesIO(text.encode()))
    for prefix, path in lock.rule("join"):
        tree.file(path, False, io.BytesIO(tree.joined(prefix)))
    for path, data in _PEOPLE.items():
        if path not in tree:
            tree.file(path, False, io.BytesIO(data))
    tree.file(facts.FACTS_FILE, False, io.BytesIO(facts.written(facts.facts(lock))))


def _written(tree: Tree, work: Path) -> dict[str, Any]:
    tree.settle()
    if "usr/bin/python3" not in tree:
        raise Hostile("a build environment needs /usr/bin/python3, in which the work is done")
    path = work / "rootfs.tar"
    with path.open("wb") as out:
        tree.write(out, MTIME)
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"sha256": digest, "size": path.stat().st_size}


def taken(job: dict[str, Any], inputs: Path, work: Path) -> dict[str, Any]:
    """`rootfs.tar` of ours from an archive that another tool made (mmdebstrap): same files, our order and times.

    Facts: those that the archive carries, else from its own list of packages, with `job["facts"]` over them.
    """
    seen = {facts.FACTS_FILE: b"", _STATUS: b""}
    with (work / "spool").open("w+b") as spool:
        tree = Tree(spool, job["dropped"])
        for entry in _foreign(Path(job["archive"])):
            if entry.path in seen and entry.contents is not None:
                data = entry.contents.read(_MOST_TOLD)
                seen[entry.path] = data
                tree.file(entry.path, entry.exec, io.BytesIO(data))
            else:
                _enter(tree, entry)
        for place in PLACES:
            tree.folder(place)
        told = _facts_in(seen[facts.FACTS_FILE]) or (
            facts.of_status(seen[_STATUS].decode("utf-8", "replace"))
        )
        if not seen[facts.FACTS_FILE]:
            told |= {str(key): str(value) for key, value in job["facts"].items()}
            tree.file(facts.FACTS_FILE, False, io.BytesIO(facts.written(told)))
        lacking = [word for word in ("arch", "libc", "os", "python") if not told.get(word)]
        if lacking:
            raise Hostile(f"the archive does not say its {', '.join(lacking)}: give them as facts")
        answer = _written(tree, work)
    (work / "spool").unlink()
    return answer | {"facts": told}


def _facts_in(data: bytes) -> dict[str, str]:
    """The table of a facts file; empty for no file.

    Raises:
        Hostile: something else than a table of words.
    """
    try:
        told = json.loads(data or b"{}")
    except (ValueError, RecursionError) as error:
        raise Hostile(f"/{facts.FACTS_FILE} is not JSON") from error
    if not isinstance(told, dict) or not all(isinstance(value, str) for value in told.values()):
        raise Hostile(f"/{facts.FACTS_FILE} is not a table of words")
    return {str(key)[:40]: value[:80] for key, value in told.items()}


def _foreign(path: Path) -> Iterator[deb.Entry]:
    """The members of a whole root's archive; devices are left out, as the sandbox has its own."""
    with path.open("rb") as file:
        head = file.read(6)
        file.seek(0)
        stream = _stream(file, head)
        try:
            with tarfile.open(fileobj=cast("IO[bytes]", stream), mode="r|", errorlevel=2) as archive:
                for item in archive:
                    name = item.name.removeprefix("./").rstrip("/")
                    first = item.linkname.removeprefix("./") if item.islnk() else item.linkname
                    if name in ("", ".") or item.ischr() or item.isblk() or item.isfifo():
                        continue
                    kind = (
                        "folder"
                        if item.isdir()
                        else "link"
                        if item.issym()
                        else "hard"
                        if item.islnk()
                        else "file"
                    )
                    contents = archive.extractfile(item) if kind == "file" else None
                    yield deb.Entry(name, kind, bool(item.mode & 0o111), item.size, first, contents)
        except (tarfile.TarError, lzma.LZMAError, EOFError, OSError, ValueError) as error:
            raise Hostile(f"not an archive of a root: {error}") from error


def _stream(file: Any, head: bytes) -> Any:
    if head == b"\xfd7zXZ\0":
        return lzma.LZMAFile(file)
    return gzip.GzipFile(fileobj=file) if head[:2] == b"\x1f\x8b" else file


def unpacked(job: dict[str, Any], inputs: Path, work: Path) -> dict[str, Any]:
    """`root/` from `rootfs.tar`, which must be what it is called by."""
    archive = Path(job["archive"])
    with archive.open("rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != job["sha256"]:
            raise Hostile("the archive is not the one that the environment is called by")
        file.seek(0)
        root = work / "root"
        root.mkdir()
        try:
            with tarfile.open(fileobj=file, mode="r|", errorlevel=2) as opened:
                for item in opened:
                    _unpack(root, item, opened)
        except (tarfile.TarError, EOFError, OSError, ValueError) as error:
            raise Hostile(f"not an archive of a root: {error}") from error
    try:
        told = _facts_in((root / facts.FACTS_FILE).read_bytes())
    except OSError as error:
        raise Hostile(f"the root says nothing of itself in /{facts.FACTS_FILE}") from error
    return {"facts": told}


def _unpack(root: Path, item: tarfile.TarInfo, opened: tarfile.TarFile) -> None:
    """One member. Folders come before what is in them, so that no parent is a link: `O_NOFOLLOW` by order."""
    name = checked_name(item.name)
    path = root / name
    if path.parent.is_symlink() or path.parent.resolve() != path.parent:
        raise Hostile(f"{shown(name)} lies behind a link")
    if item.isdir():
        path.mkdir(mode=0o755)
    elif item.issym():
        os.symlink(item.linkname, path)
    elif item.islnk():
        os.link(root / checked_name(item.linkname), path, follow_symlinks=False)
    elif item.isreg() and (contents := opened.extractfile(item)) is not None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        with os.fdopen(os.open(path, flags, 0o755 if item.mode & 0o111 else 0o644), "wb") as out:
            while piece := contents.read(_CHUNK):
                out.write(piece)
    else:
        raise Hostile(f"{shown(name)} is neither file, folder nor link")


OPERATIONS: Final = {"import": taken, "make": make, "unpack": unpacked}

if __name__ == "__main__":
    sys.exit(unpack.serve(OPERATIONS, Path(sys.argv[1]), Path(sys.argv[2])))
