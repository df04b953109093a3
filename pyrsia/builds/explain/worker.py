"""Compares two results of one build, member by member; it only ever runs inside the sandbox.

Operation `compare`: `first` and `second` are file names in the input folder, packed as their name's ending says (ZIP,
tar, gzip) or plain bytes. The answer lists at most MAX_DIFFERING members with how and why they differ, and what differs
in the packing alone.

Operation `stable`: the files `first` and `second`, which their owner calls `names`; whether they are the same without
their packing, what that took away, and if they are not, what `compare` says.

Source: docs/attestations.md, "Explanations", "Comparing two files".
"""

import hashlib
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from pyrsia.builds import members_zip
from pyrsia.builds.explain import stable
from pyrsia.builds.explain.causes import MAX_CONTENT, cause
from pyrsia.builds.members import Hostile, is_record
from pyrsia.builds.oci import layer
from pyrsia.builds.unpack import read_source, serve

MAX_DIFFERING = 100  # members that are listed; a person reads fewer
_ZIP = (".whl", ".jar", ".zip")
_TAR = (".tar", ".tar.gz", ".tgz")
_GZIP = b"\x1f\x8b"
_LAYER = ".layer"  # a tar file, compressed or not, that may hold links


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
        found.add("compression" if first.read_bytes()[:2] == _GZIP else "mode")
    return sorted(found)


def _records(path: Path) -> dict[str, members_zip.ZipMember]:
    with path.open("rb") as file:
        return {one.path: one for one in members_zip.read(file, strict=False)}


def _members(path: Path) -> Iterator[tuple[str, bool, int, Iterator[bytes]]]:
    """(path, executable, time, pieces) of each file; the content of a link is where it leads."""
    if path.name.endswith(_LAYER):
        with path.open("rb") as file:
            for item in layer.entries(file):
                if item.kind != "folder":
                    target = iter((item.target.encode("utf-8", "replace"),))
                    content = item.contents
                    pieces = target if content is None else iter(partial(content.read, 1 << 16), b"")
                    yield item.path, bool(item.mode & 0o111), item.time, pieces
        return
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


def unpacked(job: dict[str, Any], inputs: Path, work: Path) -> dict[str, Any]:
    """Whether two files are the same without their packing; of one that is not taken, which and why."""
    sides, kinds = ("first", "second"), []
    found: list[stable.Stable] = []
    for side, name in zip(sides, job["names"], strict=True):
        kind = job["kind"] or stable.kind_of(name, inputs / side)
        kinds.append(kind)
        try:
            found.append(stable.stable(kind, inputs / side, work))
        except Hostile as error:
            return {"hostile": side, "kind": kind, "why": str(error)}
    answer = {"kinds": kinds, "removed": [one.removed for one in found], "same": False}
    if found[0].content != found[1].content:
        return answer | {"unread": f"one is {kinds[0]}, the other {kinds[1]}"}
    if found[0].digest == found[1].digest:
        return answer | {"same": True}
    first, second = (
        stable.laid(one, inputs / side, side, work) for one, side in zip(found, sides, strict=True)
    )
    return answer | told({"first": first.name, "second": second.name}, work, work)


OPERATIONS = {"compare": told, "stable": unpacked}

if __name__ == "__main__":
    sys.exit(serve(OPERATIONS, Path(sys.argv[1]), Path(sys.argv[2])))
