"""Compares two results of one build, member by member; it only ever runs inside the sandbox.

Operation `compare`: `first` and `second` are file names in the input folder, packed as their name's ending says (ZIP,
tar, gzip) or plain bytes. The answer lists at most MAX_DIFFERING members with how and why they differ, and what differs
in the packing alone.

Source: docs/attestations.md, "Explanations".
"""

import hashlib
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyrsia.builds import members_zip
from pyrsia.builds.explain.causes import MAX_CONTENT, cause
from pyrsia.builds.members import Hostile, is_record
from pyrsia.builds.unpack import read_source, serve

MAX_DIFFERING = 100  # members that are listed; a person reads fewer
_ZIP = (".whl", ".jar", ".zip")
_TAR = (".tar", ".tar.gz", ".tgz")


@dataclass(frozen=True, slots=True)
class Seen:
    """One member as far as it is compared."""

    sha256: str
    size: int
    exec: bool
    time: int


def compare(job: dict[str, Any], inputs: Path, work: Path) -> dict[str, Any]:
    """What differs between two files of one name."""
    first, second = inputs / job["first"], inputs / job["second"]
    left, right = listed(first), listed(second)
    differing: list[dict[str, Any]] = []
    for path in sorted(left.keys() | right.keys()):
        if is_record(path) and path in left and path in right:
            continue  # it lists the others; nobody learns from it
        one, other = left.get(path), right.get(path)
        if one is None or other is None:
            differing.append({"path": path, "how": "only-second" if one is None else "only-first"})
        elif one.sha256 != other.sha256:
            differing.append({"path": path, "how": "content", "sizes": [one.size, other.size]})
        elif one.exec != other.exec:
            differing.append({"path": path, "how": "exec"})
    wanted = {row["path"] for row in differing[:MAX_DIFFERING] if row["how"] == "content"}
    ours, theirs = heads(first, wanted), heads(second, wanted)
    for row in differing[:MAX_DIFFERING]:
        if row["how"] == "content":
            found = cause(ours.get(row["path"], b""), theirs.get(row["path"], b""))
            row |= {"cause": found.name, "shown": [list(pair) for pair in found.shown]}
    return {
        "members": len(left.keys() | right.keys()),
        "differing": differing[:MAX_DIFFERING],
        "more": max(0, len(differing) - MAX_DIFFERING),
        "packing": packing(first, second, left, right),
    }


def listed(path: Path) -> dict[str, Seen]:
    """Members by path; a file that is no archive is its own one member, called ``."""
    found = {}
    for name, executable, time, pieces in _members(path):
        digest, size = hashlib.sha256(), 0
        for piece in pieces:
            digest.update(piece)
            size += len(piece)
        found[name] = Seen(digest.hexdigest(), size, executable, time)
    return found


def heads(path: Path, wanted: set[str]) -> dict[str, bytes]:
    """The beginnings of the members in `wanted`."""
    found = {}
    for name, _, _, pieces in _members(path):
        if name in wanted:
            kept = bytearray()
            for piece in pieces:
                if len(kept) < MAX_CONTENT:
                    kept += piece
            found[name] = bytes(kept[:MAX_CONTENT])
    return found


def packing(first: Path, second: Path, left: dict[str, Seen], right: dict[str, Seen]) -> list[str]:
    """What differs in how the two are packed, by name: `time`, `mode`, `order`, `compression`."""
    both = left.keys() & right.keys()
    found = {"time"} if any(left[name].time != right[name].time for name in both) else set()
    if [name for name in left if name in both] != [name for name in right if name in both]:
        found.add("order")
    if first.name.endswith(_ZIP):
        ours, theirs = _records(first), _records(second)
        shared = ours.keys() & theirs.keys()
        if any(ours[name].mode != theirs[name].mode for name in shared):
            found.add("mode")
        same = [name for name in shared & both if left[name].sha256 == right[name].sha256]
        if any(
            (ours[name].method, ours[name].packed) != (theirs[name].method, theirs[name].packed)
            for name in same
        ):
            found.add("compression")
    elif not found and left == right and first.read_bytes() != second.read_bytes():
        found.add("compression" if first.name.endswith((".gz", ".tgz")) else "mode")
    return sorted(found)


def _records(path: Path) -> dict[str, members_zip.ZipMember]:
    with path.open("rb") as file:
        return {one.path: one for one in members_zip.read(file, strict=False)}


def _members(path: Path) -> Iterator[tuple[str, bool, int, Iterator[bytes]]]:
    """(path, executable, time, pieces) of each file."""
    if path.name.endswith((*_ZIP, *_TAR)):
        if path.name.endswith(_ZIP):
            with path.open("rb") as file:
                for one in members_zip.read(file, strict=False):
                    if not one.folder:
                        yield one.path, one.exec, one.time, members_zip.content(file, one)
            return
        for name, folder, _, executable, time, pieces in read_source(path):
            if not folder:
                yield name, executable, time, pieces
        return
    with path.open("rb") as file:
        yield path.name.partition("-")[2] or path.name, False, 0, iter(lambda: file.read(1 << 16), b"")


def told(job: dict[str, Any], inputs: Path, work: Path) -> dict[str, Any]:
    """As `compare`; an archive that cannot be read safely is compared as plain bytes, and the answer says why."""
    try:
        return compare(job, inputs, work)
    except Hostile as error:
        first, second = (inputs / job[side] for side in ("first", "second"))
        found = cause(first.read_bytes()[:MAX_CONTENT], second.read_bytes()[:MAX_CONTENT])
        how = {"path": "", "how": "content", "cause": found.name, "shown": [list(p) for p in found.shown]}
        return {"members": 1, "differing": [how], "more": 0, "packing": [], "unread": str(error)}


OPERATIONS = {"compare": told}

if __name__ == "__main__":
    sys.exit(serve(OPERATIONS, Path(sys.argv[1]), Path(sys.argv[2])))
