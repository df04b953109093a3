"""git's own digests of files, trees and commits, made again from an archive, so that nobody need believe git.

Whatever unpacked a stranger's pack may have been led astray by it; a commit's digest over a tree's digest over the
files at hand cannot. SHA-1 alone would not do, which is why our own digest of the tree stands beside the commit.

Source: gitformat-pack(5), git-hash-object(1); docs/sources.md, "Sources from git".
"""

import hashlib
import posixpath
import re
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from pyrsia.builds.members import Hostile, shown

PLAIN: Final = b"100644"
EXECUTABLE: Final = b"100755"
LINK: Final = b"120000"
_FOLDER: Final = b"40000"
_LINKS: Final = 16  # links that lead to links; the kernel follows 40
_COMMIT: Final = re.compile(
    rb"tree ([0-9a-f]{40,64})\n(?:parent [0-9a-f]{40,64}\n)*"
    rb"author [^\n]*\ncommitter [^\n]*> (-?[0-9]{1,18}) [+-][0-9]{4}\n"
)


class Entry(NamedTuple):
    """A file of a tree: its mode as git writes it, and its digest."""

    mode: bytes
    digest: bytes


def hasher(commit: str) -> Any:
    """The hash of the repository that a commit's digest is of.

    Raises:
        ValueError: it is no digest of a commit.
    """
    if re.fullmatch("[0-9a-f]{40}(?:[0-9a-f]{24})?", commit) is None:
        raise ValueError("no digest of a commit")
    return hashlib.sha1 if len(commit) == 40 else hashlib.sha256


def start(new: Any, kind: str, size: int) -> Any:
    """A hash that has taken the head of an object of `size` bytes."""
    return new(b"%s %d\0" % (kind.encode(), size))


def whole(new: Any, kind: str, data: bytes) -> bytes:
    """The digest of an object."""
    made = start(new, kind, len(data))
    made.update(data)
    return bytes(made.digest())


def tree(new: Any, files: Mapping[str, Entry]) -> bytes:
    """The digest of the tree that holds `files` (path -> entry); git keeps no empty folders."""
    folders: dict[str, dict[str, Entry]] = {}
    entries: list[tuple[bytes, bytes, bytes]] = []  # key to sort by, mode and name, digest
    for path, entry in files.items():
        head, slash, rest = path.partition("/")
        if slash:
            folders.setdefault(head, {})[rest] = entry
        else:
            name = head.encode("utf-8")
            entries.append((name, entry.mode + b" " + name, entry.digest))
    for folder, inner in folders.items():
        told = folder.encode("utf-8")
        entries.append((told + b"/", _FOLDER + b" " + told, tree(new, inner)))
    return whole(new, "tree", b"".join(head + b"\0" + digest for _, head, digest in sorted(entries)))


def commit_says(data: bytes) -> tuple[str, int]:
    """The tree (hex) and the time (s since 1970) of a commit's object.

    Raises:
        Hostile: it is no commit as git writes one.
    """
    found = _COMMIT.match(data)
    if found is None:
        raise Hostile("the commit is not written as git writes one")
    return found[1].decode(), int(found[2])


def landing(links: Mapping[str, str], files: Mapping[str, Any], path: str) -> str:
    """The file that the link at `path` leads to, through other links if need be.

    Raises:
        Hostile: it leads out of the tree, to a folder, to nothing, or in a circle.
    """
    at = path
    for _ in range(_LINKS):
        target = links[at]
        if not target or target.startswith("/") or "\\" in target or "\0" in target:
            raise Hostile(f"the link {shown(path)} leads out of the source")
        at = posixpath.normpath(posixpath.join(posixpath.dirname(at), target))
        if at == ".." or at.startswith("../"):
            raise Hostile(f"the link {shown(path)} leads out of the source")
        if at in files:
            return at
        if at not in links:
            raise Hostile(
                f"the link {shown(path)} leads to a folder or to nothing; only links to files are taken"
            )
    raise Hostile(f"the link {shown(path)} leads in a circle")
