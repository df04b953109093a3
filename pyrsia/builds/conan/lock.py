"""The lock of a conan build: every file that its planning fetched, one line each.

Two kinds of lines under the head: files of recipes and packages that the recipe requires, each named by its place
(`<recipe revision>~<file>`, `<recipe revision>~<package id>~<package revision>~<file>`), and sources that `source()`
downloads, named `source~<SHA-256>`. Where a file came from is left out: two mirrors give one lock.

Source: docs/builds-conan.md.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from pyrsia.builds import locks
from pyrsia.builds.conan import names
from pyrsia.errors import Malformed

HEADER: Final = "pyrsia lock conan v1"
SOURCE: Final = "source~"
_LINE: Final = re.compile(
    r"(?P<title>[a-z0-9_+.@/-]{2,310}) (?P<version>[a-z0-9_+.-]{1,100}) (?P<file>[a-z0-9_.~]{1,200})"
    r" (?P<sha256>[0-9a-f]{64}) (?P<size>0|[1-9][0-9]{0,11})"
)


@dataclass(frozen=True, slots=True, order=True)
class Locked:
    """One file.

    Attributes:
        title: `name` or `name@user[/channel]` of the package that it belongs to; for a source, of the one to be built.
    """

    title: str
    version: str
    file: str
    sha256: str
    size: int


def encode(files: Iterable[Locked]) -> bytes:
    """The lock's bytes; the order of `files` does not matter.

    Raises:
        ValueError: two files at one place.
    """
    ordered = sorted(set(files))
    if len({(one.title, one.version, one.file) for one in ordered}) != len(ordered):
        raise ValueError("a lock names each file once")
    lines = [f"{one.title} {one.version} {one.file} {one.sha256} {one.size}" for one in ordered]
    return locks.written(HEADER, lines)


def decode(data: bytes) -> tuple[Locked, ...]:
    """Read a lock strictly: `encode(decode(data)) == data`.

    Raises:
        Malformed: anything that `encode` would not have written.
    """
    found = tuple(_line(line) for line in locks.lines_of(data, HEADER))
    locks.check_same(data, lambda: encode(found), "a lock whose lines are not in order")
    return found


def _line(text: str) -> Locked:
    match = _LINE.fullmatch(text)
    if match is None:
        raise Malformed(f"not a line of a lock: {text[:80]!r}")
    names.titled(match["title"], match["version"])
    if match["file"].startswith(SOURCE):
        if match["file"] != SOURCE + match["sha256"]:
            raise Malformed(f"a source that is not named by its digest: {text[:80]!r}")
    else:
        names.place(match["file"])
    return Locked(match["title"], match["version"], match["file"], match["sha256"], int(match["size"]))
