"""What an archive holds: the rules for its names, its list of members, and the digests over that list.

Archives are made by strangers. This module says which names may be unpacked and how a set of members
is written down so that two nodes write the same bytes. It runs inside the sandbox: only the standard
library is imported, and nothing is read or written here.

Source: docs/builds-how.md, "What no archive may hold".
"""

import hashlib
import json
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from pyrsia.errors import Malformed
from pyrsia.units import MAX_ARCHIVE_MEMBERS, MAX_MEMBER_DEPTH, MAX_MEMBER_NAME_BYTES, MAX_UNPACKED_BYTES


class Hostile(Malformed):
    """An archive that no honest tool makes; the text says which rule it breaks and where."""


@dataclass(frozen=True, slots=True, order=True)
class Member:
    """One file of an archive; folders are not members.

    Attributes:
        path: relative, with slashes.
        sha256: of the decompressed bytes, lower-case hex.
        size: decompressed bytes.
        exec: whether the file is executable.
    """

    path: str
    sha256: str
    size: int
    exec: bool


class Names:
    """Admits the names of one archive, one after the other, and counts what they unpack to."""

    def __init__(self) -> None:
        self._files: set[str] = set()
        self._folders: dict[str, str] = {}  # folded spelling -> spelling
        self._folded: set[str] = set()
        self._count = 0
        self._bytes = 0

    def admit(self, name: str, size: int, *, folder: bool) -> str:
        """Check one name and return it without a slash at its end.

        Raises:
            Hostile: the name may not be unpacked, stands twice, or the archive is too large.
        """
        self._count += 1
        self._bytes += size
        if self._count > MAX_ARCHIVE_MEMBERS.value:
            raise Hostile(f"more than {MAX_ARCHIVE_MEMBERS.value} members")
        if self._bytes > MAX_UNPACKED_BYTES.value:
            raise Hostile(f"unpacks to more than {MAX_UNPACKED_BYTES.value} bytes")
        path = checked_name(name.removesuffix("/") if folder else name)
        parts = path.split("/")
        for depth in range(1, len(parts)):
            self._enter("/".join(parts[:depth]))
        if folder:
            self._enter(path)
            return path
        if path in self._files:
            raise Hostile(f"duplicate name {shown(path)}")
        folded = fold(path)
        if folded in self._folded or folded in self._folders:
            raise Hostile(f"two names that differ only in case or form: {shown(path)}")
        self._files.add(path)
        self._folded.add(folded)
        return path

    def _enter(self, folder: str) -> None:
        folded = fold(folder)
        if folded in self._folded or self._folders.setdefault(folded, folder) != folder:
            raise Hostile(f"two names that differ only in case or form: {shown(folder)}")


def fold(name: str) -> str:
    """One spelling for all names that some file system takes for the same."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def shown(name: str) -> str:
    """A hostile name as it may be printed: ASCII, short, no control characters."""
    return ascii(name[:120])


def checked_name(name: str) -> str:
    """`name` when it is a plain relative path.

    Raises:
        Hostile: absolute, climbing, empty or hidden in a way that some system reads otherwise.
    """
    try:
        length = len(name.encode("utf-8"))
    except UnicodeEncodeError as error:
        raise Hostile(f"a name that is not Unicode: {shown(name)}") from error
    if not 0 < length <= MAX_MEMBER_NAME_BYTES.value:
        raise Hostile(f"a name of {length} bytes")
    if name.startswith("/") or re.match(r"[A-Za-z]:", name):
        raise Hostile(f"absolute path {shown(name)}")
    if "\\" in name or any(unicodedata.category(char) in ("Cc", "Cs") for char in name):
        raise Hostile(f"a backslash or control character in {shown(name)}")
    parts = name.split("/")
    if len(parts) > MAX_MEMBER_DEPTH.value:
        raise Hostile(f"a path of {len(parts)} folders")
    if ".." in parts:
        raise Hostile(f"path traversal in {shown(name)}")
    if "" in parts or "." in parts:
        raise Hostile(f"an empty path segment in {shown(name)}")
    return name


def canonical_json(value: Any) -> bytes:
    """The network's canonical JSON, for values made here; `pyrsia.wire.canonical` checks it elsewhere."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode("utf-8")


def encode(members: Iterable[Member]) -> bytes:
    """The member list as published: canonical JSON, sorted by path."""
    return canonical_json(
        [
            {"exec": one.exec, "path": one.path, "sha256": one.sha256, "size": one.size}
            for one in sorted(members)
        ]
    )


def decode(data: bytes) -> tuple[Member, ...]:
    """Read a member list.

    Raises:
        Malformed: anything that `encode` would not have written.
    """
    try:
        rows = json.loads(data)
        found = tuple(Member(row["path"], row["sha256"], row["size"], row["exec"]) for row in rows)
        same = encode(found) == data
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise Malformed("not a list of members") from error
    if not same:
        raise Malformed("a list of members in another form")
    return found


def stable(members: Iterable[Member]) -> str:
    """The digest that ignores how members were packed: path, size, exec bit and content, RECORD left out.

    RECORD is derived from the others and is checked against them before this digest is taken.
    """
    kept = [one for one in members if not is_record(one.path)]
    return hashlib.sha256(b"pyrsia/stable/v1\0" + encode(kept)).hexdigest()


def is_record(path: str) -> bool:
    """Whether `path` is a wheel's RECORD."""
    return re.fullmatch(r"[^/]+\.dist-info/RECORD", path) is not None


# Disagreement is a first-class result: the record of a dissent will say which members differ. Until that record
# is shown, only tests ask.


@dataclass(frozen=True, slots=True)
class Difference:
    """How two lists of members differ, for a person."""

    only_first: tuple[str, ...]
    only_second: tuple[str, ...]
    content: tuple[str, ...]
    mode: tuple[str, ...]
    likely: str


def compare(first: Iterable[Member], second: Iterable[Member]) -> Difference:
    """Name every member that differs and guess the cause in words."""
    left, right = ({one.path: one for one in side} for side in (first, second))
    both = sorted(left.keys() & right.keys())
    content = tuple(path for path in both if left[path].sha256 != right[path].sha256)
    mode = tuple(path for path in both if left[path].exec != right[path].exec)
    only_left, only_right = (
        tuple(sorted(left.keys() - right.keys())),
        tuple(sorted(right.keys() - left.keys())),
    )
    changed = [path for path in content if not is_record(path)]
    if only_left or only_right:
        likely = "other files were packed: another version of the build tool, or another source"
    elif not changed and not mode:
        likely = "only the packing differs: order, times, modes or compression"
    elif all(re.fullmatch(r"[^/]+\.dist-info/(WHEEL|METADATA)", path) for path in changed) and not mode:
        likely = "another version of the build tool wrote the metadata"
    elif mode and not changed:
        likely = "executable bits differ: another umask or another source"
    else:
        likely = "the contents differ: a date, a random value, or a changed file"
    return Difference(only_left, only_right, content, mode, likely)
