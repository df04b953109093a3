"""The lock of a file system: every file that it is made of, by digest, and every rule that shapes it.

A rootfs is a pure function of these bytes. Under the first line stand `name version file sha256 size` for each
Debian package (`.deb`) and Python archive (`.whl`, `.tar.gz`), sorted, then rules, each a word and its arguments,
sorted too:

    drop PREFIX             nothing below this path is taken
    join PREFIX TO          a file TO of all that lies below PREFIX, in the order of paths
    lay FILE INSIDE TO      from the archive FILE, what stands at INSIDE below its top folder, laid at TO
    link PATH TARGET        a symbolic link
    run PATH MODULE:NAME    a program at PATH that calls a Python function

Paths are relative to the root and use no `..`. It runs inside the sandbox as well: only the standard library.

Source: docs/environments.md, "The lock".
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from pyrsia.errors import Malformed
from pyrsia.units import Limit

HEADER: Final = "pyrsia lock rootfs v1"
MAX_ROOTFS_LOCK_BYTES = Limit(1 << 20, "2,000 packages with 200 bytes each, twice over")
MAX_ROOTFS_LOCK_LINES = Limit(4_000, "a whole desktop has 2,000 packages; a tool chain has 150")
_FILE: Final = re.compile(
    r"(?P<name>[A-Za-z0-9][A-Za-z0-9.+_-]{0,99}) (?P<version>[A-Za-z0-9.!+:~_-]{1,100})"
    r" (?P<file>[A-Za-z0-9][A-Za-z0-9.+%~_-]{0,250}) (?P<sha256>[0-9a-f]{64}) (?P<size>0|[1-9][0-9]{0,11})"
)
_PATH: Final = r"[A-Za-z0-9._+@:~/-]{1,200}"
_RULES: Final = {
    "drop": re.compile(f"drop {_PATH}"),
    "join": re.compile(f"join {_PATH} {_PATH}"),
    "lay": re.compile(f"lay [A-Za-z0-9][A-Za-z0-9.+%~_-]{{0,250}} {_PATH} {_PATH}"),
    "link": re.compile(f"link {_PATH} {_PATH}"),
    "run": re.compile(rf"run {_PATH} [A-Za-z_][A-Za-z0-9_.]{{0,99}}:[A-Za-z_][A-Za-z0-9_]{{0,99}}"),
}
SUFFIXES: Final = (".deb", ".whl", ".tar.gz")


@dataclass(frozen=True, slots=True, order=True)
class Part:
    """One file that a rootfs is made of."""

    name: str
    version: str
    file: str
    sha256: str
    size: int

    @property
    def debian(self) -> bool:
        return self.file.endswith(".deb")


@dataclass(frozen=True, slots=True)
class RootfsLock:
    """Attributes:
    parts: sorted; no two of one name and kind.
    rules: (word, arguments...), sorted.
    """

    parts: tuple[Part, ...]
    rules: tuple[tuple[str, ...], ...] = ()

    def rule(self, word: str) -> list[tuple[str, ...]]:
        """The arguments of each rule of that word."""
        return [rule[1:] for rule in self.rules if rule[0] == word]


def encode(parts: Iterable[Part], rules: Iterable[tuple[str, ...]] = ()) -> bytes:
    """The lock's bytes; neither order matters.

    Raises:
        ValueError: two files of one package, or a line that `decode` would refuse.
    """
    ordered, ruled = sorted(parts), sorted(set(rules))
    if len({(one.name, one.debian) for one in ordered}) != len(ordered):
        raise ValueError("a lock names each package once")
    if len({one.file for one in ordered}) != len(ordered):
        raise ValueError("a lock names each file once")
    lines = [f"{one.name} {one.version} {one.file} {one.sha256} {one.size}" for one in ordered]
    lines += [" ".join(rule) for rule in ruled]
    for line in lines:
        _check(line)
    return "".join(f"{line}\n" for line in [HEADER, *lines]).encode("ascii")


def decode(data: bytes) -> RootfsLock:
    """Read a lock strictly: `encode` writes the same bytes again.

    Raises:
        Malformed: anything that `encode` would not have written.
    """
    if len(data) > MAX_ROOTFS_LOCK_BYTES.value:
        raise Malformed(f"a lock of {len(data)} bytes")
    try:
        lines = data.decode("ascii").split("\n")
    except UnicodeDecodeError as error:
        raise Malformed("a lock that is not ASCII") from error
    if lines[0] != HEADER or lines[-1] != "" or len(lines) - 2 > MAX_ROOTFS_LOCK_LINES.value:
        raise Malformed("a lock without its first line, its last newline, or with too many lines")
    parts, rules = [], []
    for line in lines[1:-1]:
        found = _check_malformed(line)
        if isinstance(found, Part):
            parts.append(found)
        else:
            rules.append(found)
    try:
        same = encode(parts, rules) == data
    except ValueError as error:
        raise Malformed(str(error)) from error
    if not same:
        raise Malformed("a lock whose lines are not in order")
    return RootfsLock(tuple(parts), tuple(rules))


def _check_malformed(line: str) -> Part | tuple[str, ...]:
    try:
        return _check(line)
    except ValueError as error:
        raise Malformed(str(error)) from error


def _check(line: str) -> Part | tuple[str, ...]:
    match = _FILE.fullmatch(line)
    if match is not None:
        if not match["file"].endswith(SUFFIXES):
            raise ValueError(f"a rootfs is not made of {match['file'][:80]!r}")
        return Part(match["name"], match["version"], match["file"], match["sha256"], int(match["size"]))
    words = tuple(line.split(" "))
    rule = _RULES.get(words[0])
    if rule is None or not rule.fullmatch(line):
        raise ValueError(f"not a line of a rootfs lock: {line[:80]!r}")
    paths = {"drop": words[1:], "join": words[1:], "lay": words[2:], "link": words[1:2], "run": words[1:2]}[
        words[0]
    ]
    for path in paths:
        if path.startswith("/") or {"", ".", ".."} & set(path.split("/")):
            raise ValueError(f"not a path below the root: {path[:80]!r}")
    return words
