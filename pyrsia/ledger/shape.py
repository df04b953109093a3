"""Small checkers that say what a JSON value must look like; the entry types are built from them.

A checker takes a value of canonical JSON and raises `Malformed` naming the rule. All alphabets are
listed ASCII; no Unicode table takes part.
"""

import re
from collections.abc import Callable
from itertools import pairwise
from typing import Any, Final, TypeAlias

from pyrsia.errors import Malformed
from pyrsia.wire import purl as purls
from pyrsia.wire.canonical import MAX_INT
from pyrsia.wire.text import unb32

Check: TypeAlias = Callable[[Any], None]

_HEX: Final = re.compile("(?:[0-9a-f]{2})*")


def fields(optional: dict[str, Check] | None = None, /, **required: Check) -> Check:
    """An object with exactly the `required` fields, and any of the `optional` ones."""
    may = optional or {}
    checks = {**required, **may}
    names = frozenset(required)

    def check(value: Any) -> None:
        if type(value) is not dict:
            raise Malformed("an object is expected")
        keys = value.keys()
        if keys != names and not (names <= keys and keys <= checks.keys()):
            odd = sorted((keys ^ names) - may.keys())
            raise Malformed(f"fields that are missing or not allowed: {', '.join(odd)[:200]}")
        for name, item in value.items():
            try:
                checks[name](item)
            except Malformed as error:
                raise Malformed(f"{name}: {error}") from None

    return check


def list_of(item: Check, most: int) -> Check:
    def check(value: Any) -> None:
        if type(value) is not list or len(value) > most:
            raise Malformed(f"a list of at most {most} is expected")
        for element in value:
            item(element)

    return check


def sorted_set(item: Check, most: int) -> Check:
    """A list of texts, sorted, none twice: a set has one spelling."""
    inner = list_of(item, most)

    def check(value: Any) -> None:
        inner(value)
        if any(a >= b for a, b in pairwise(value)):
            raise Malformed("a list that is not sorted, or has an element twice")

    return check


def pair(first: Check, second: Check) -> Check:
    def check(value: Any) -> None:
        if type(value) is not list or len(value) != 2:
            raise Malformed("a list of two is expected")
        first(value[0])
        second(value[1])

    return check


def one_of(*words: str) -> Check:
    allowed = frozenset(words)

    def check(value: Any) -> None:
        if type(value) is not str or value not in allowed:
            raise Malformed(f"one of {', '.join(sorted(allowed))} is expected")

    return check


def whole(least: int, most: int) -> Check:
    def check(value: Any) -> None:
        if type(value) is not int or not least <= value <= most:
            raise Malformed(f"a whole number from {least} to {most} is expected")

    return check


def text(most_bytes: int, least: int = 0) -> Check:
    """Any text of so many UTF-8 bytes."""

    def check(value: Any) -> None:
        if type(value) is not str or not least <= len(value.encode()) <= most_bytes:
            raise Malformed(f"text of {least} to {most_bytes} bytes is expected")

    return check


def matching(pattern: str, what: str) -> Check:
    compiled = re.compile(pattern)

    def check(value: Any) -> None:
        if type(value) is not str or compiled.fullmatch(value) is None:
            raise Malformed(f"{what} is expected")

    return check


def ascii_name(most: int) -> Check:
    """1 to `most` printable ASCII characters without space, quote or backslash."""
    return matching(rf"[!#-\[\]-~]{{1,{most}}}", f"a printable ASCII name of at most {most} characters")


def label(most: int) -> Check:
    """What people call something: printable ASCII, spaces inside allowed."""
    return matching(
        rf"[!#-\[\]-~](?:[ !#-\[\]-~]{{0,{most - 2}}}[!#-\[\]-~])?",
        f"a printable ASCII label of at most {most} characters",
    )


def hexed(size: int) -> Check:
    digits = 2 * size

    def check(value: Any) -> None:
        if type(value) is not str or len(value) != digits or _HEX.fullmatch(value) is None:
            raise Malformed(f"{size} bytes of lower-case hex are expected")

    return check


def flag(value: Any) -> None:
    if type(value) is not bool:
        raise Malformed("true or false is expected")


def key_or_empty(value: Any) -> None:
    if value != "":
        hash32(value)


def node(value: Any) -> None:
    if type(value) is not str:
        raise Malformed("a node id is expected")
    unb32(value)


def purl(value: Any) -> None:
    if type(value) is not str:
        raise Malformed("a purl is expected")
    purls.parse(value)


hash32: Final = hexed(32)
time_ms: Final = whole(0, MAX_INT)
size: Final = whole(0, 1 << 50)
