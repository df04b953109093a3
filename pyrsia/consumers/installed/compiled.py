"""Compiled files: whether the code in a `.pyc` is what its checked source compiles to.

Python runs the compiled file and not the source beside it, as long as a header of it fits, and whoever writes the one
writes the other. So the source is compiled here and both are compared as trees. The stranger's file is read by a
reader of this module: Python's own is not made for hostile bytes. Nothing is executed.

Compared is all but the name of the source file, which installers choose. Of another Python's file nothing can be said.

Source: CPython's `Python/marshal.c` and `importlib/_bootstrap_external.py`, 3.11 to 3.14.
"""

import enum
import hashlib
import importlib.util
import marshal
import sys
import warnings
from typing import Final

from pyrsia.errors import Malformed
from pyrsia.units import Limit

MAX_DEPTH = Limit(150, "values inside each other; code of deeply nested functions has 40")
_HEADER: Final = 16
_KNOWN: Final = (3, 11) <= sys.version_info[:2] <= (3, 14)  # whose code objects have the fields below
_SINGLE: Final = frozenset("0NFTS.")
_FIXED: Final = {"i": 4, "g": 8, "y": 16}
_SHORT: Final = frozenset("zZ)")
_TEXT: Final = frozenset("aAtuzZ")


class Said(enum.Enum):
    """What a comparison says."""

    SAME = "same"
    OTHER = "other"
    UNKNOWN = "unknown"


def compare(tag: str, optimized: int, compiled: bytes, source: bytes) -> Said:
    """Hold a compiled file against its source.

    Args:
        tag, optimized: as its name says.
    """
    if tag != sys.implementation.cache_tag or not _KNOWN:
        return Said.UNKNOWN
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            made = compile(source, "", "exec", dont_inherit=True, optimize=optimized)
        ours = _sum(marshal.dumps(made))
    except (SyntaxError, ValueError, RecursionError, MemoryError, OverflowError, Malformed):
        return Said.UNKNOWN
    try:
        same = compiled[:4] == importlib.util.MAGIC_NUMBER and _sum(compiled[_HEADER:]) == ours
    except (Malformed, RecursionError):
        return Said.OTHER
    return Said.SAME if same else Said.OTHER


def _sum(data: bytes) -> bytes:
    """One digest of a whole tree: a tree that refers to its parts again and again costs no more than its bytes."""
    reader = _Reader(data)
    found = reader.value(0)
    if reader.at != len(data):
        raise Malformed("bytes behind the code")
    return found


class _Reader:
    """Marshalled bytes, value by value, each as its digest."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._known: list[bytes] = []
        self.at = 0

    def _take(self, count: int) -> bytes:
        found = self._data[self.at : self.at + count]
        if count < 0 or len(found) != count:
            raise Malformed("it ends too early")
        self.at += count
        return found

    def _count(self, *, short: bool = False) -> int:
        return self._take(1)[0] if short else int.from_bytes(self._take(4), "little", signed=True)

    def value(self, depth: int) -> bytes:
        if depth > MAX_DEPTH.value:
            raise Malformed("its values are nested too deeply")
        first = self._take(1)[0]
        kind, at = chr(first & 0x7F), len(self._known)
        if kind == "r":
            number = self._count()
            if not 0 <= number < at or not self._known[number]:
                raise Malformed("it refers to what is not there")
            return self._known[number]
        if first & 0x80:
            self._known.append(b"")
        found = self._read(kind, depth)
        if first & 0x80:
            self._known[at] = found
        return found

    def _read(self, kind: str, depth: int) -> bytes:
        if kind in _SINGLE:
            return _digest(kind)
        if kind in _FIXED:
            return _digest(kind, self._take(_FIXED[kind]))
        if kind == "l":
            count = self._count()
            return _digest(kind, count.to_bytes(4, "little", signed=True), self._take(2 * abs(count)))
        if kind == "s" or kind in _TEXT:
            return _digest("s" if kind == "s" else "u", self._take(self._count(short=kind in _SHORT)))
        if kind in "()[<>":
            count = self._count(short=kind == ")")
            parts = [self.value(depth + 1) for _ in range(max(0, count))]
            return (
                _digest("(", *parts)
                if kind in "()"
                else _digest(kind, *(parts if kind == "[" else sorted(parts)))
            )
        if kind == ":":  # a slice, since 3.14
            return _digest(kind, *(self.value(depth + 1) for _ in range(3)))
        if kind == "c":
            return self._code(depth)
        raise Malformed(f"a value of the kind {kind!a}")

    def _code(self, depth: int) -> bytes:
        """Counts and flags, five values, the file's name, two names, a line, two tables."""
        parts = [self._take(4) for _ in range(5)] + [self.value(depth + 1) for _ in range(5)]
        self.value(depth + 1)  # what the source was called where it was compiled
        parts += [self.value(depth + 1) for _ in range(2)]
        parts.append(self._take(4))
        parts += [self.value(depth + 1) for _ in range(2)]
        return _digest("c", *parts)


def _digest(kind: str, *parts: bytes) -> bytes:
    made = hashlib.sha256(kind.encode())
    for part in parts:
        made.update(len(part).to_bytes(4, "little"))
        made.update(part)
    return made.digest()
