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


def tagged(tag: str, variants: dict[str, Check]) -> Check:
    """An object whose field `tag` says which of the `variants` it is."""

    def check(value: Any) -> None:
        name = value.get(tag) if type(value) is dict else None
        if type(name) is not str or name not in variants:
            raise Malformed(f"{tag}: one of {', '.join(variants)} is expected")
        variants[name](value)

    return check


def also(check: Check, *rules: Check) -> Check:
    """What passes `check` and then, in order, the `rules` across its fields."""

    def all_of(value: Any) -> None:
        check(value)
        for rule in rules:
            rule(value)

    return all_of


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


def table(key: Check, value: Check, most: int) -> Check:
    """A map as a list of pairs, sorted by key, no key twice."""
    pairs = list_of(pair(key, value), most)

    def check(rows: Any) -> None:
        pairs(rows)
        if any(a[0] >= b[0] for a, b in pairwise(rows)):
            raise Malformed("pairs that are not sorted by their first, or have it twice")

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


def hexed_upto(most: int) -> Check:
    """1 to `most` bytes."""

    def check(value: Any) -> None:
        if type(value) is not str or not 0 < len(value) <= 2 * most or _HEX.fullmatch(value) is None:
            raise Malformed(f"1 to {most} bytes of lower-case hex are expected")

    return check


def yes(value: Any) -> None:
    """A mark that is left out when it does not hold."""
    if value is not True:
        raise Malformed("true is expected, or no such field")


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


def package(value: Any) -> None:
    """A purl without a version."""
    purl(value)
    if purls.parse(value).version:
        raise Malformed("a purl without a version is expected")


def release(value: Any) -> None:
    """A purl with a version."""
    purl(value)
    if not purls.parse(value).version:
        raise Malformed("a purl with a version is expected")


hash32: Final = hexed(32)
time_ms: Final = whole(0, MAX_INT)
size: Final = whole(0, 1 << 50)
