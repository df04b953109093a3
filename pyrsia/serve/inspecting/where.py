"""Conditions on records: `field op value`, as people and scripts write them.

Each field has one type: a number, a time (a number that may also be written as a date) or a text; a list is asked of
its elements. Nothing is ever put together into a query of another language: a condition is read once, bounded, and
compared value by value.

Source: docs/inspect.md, "Conditions".
"""

import fnmatch
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, NoReturn

from pyrsia.errors import Refusal
from pyrsia.units import Limit
from pyrsia.wire.text import safe

MAX_CONDITION_CHARS = Limit(400, "the longest purl, 300 characters, with a field and an operator before it")
MAX_STARS = Limit(8, "of one pattern; a file's name has four parts")

NUMBERS: Final = frozenset(("num_artifacts", "leaf", "size", "advisories"))
SECONDS: Final = frozenset(("timestamp",))
MILLISECONDS: Final = frozenset(("time_ms",))
TEXTS: Final = (
    "id", "package_type", "package_specific_id", "package_specific_artifact_id", "artifact_hash", "source_hash",
    "artifact_id", "source_id", "operation", "node_id", "node_public_key", "build_id", "verdict", "status", "purl",
    "file", "agreeing", "dissenting", "node_name", "operator", "roles", "keys", "motion", "reason",
)  # fmt: skip
KNOWN: Final = frozenset((*NUMBERS, *SECONDS, *MILLISECONDS, *TEXTS))

OPERATORS: Final = ("!=", "<=", ">=", "=", "<", ">", "~", "glob")
NULL: Final = "null"  # the value that stands for none
_TEXT_ONLY: Final = frozenset(("~", "glob"))
_FIELD: Final = re.compile(r"[A-Za-z_]{1,40}")
_NUMBER: Final = re.compile(r"-?[0-9]{1,16}")
_ORDER: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "=": lambda a, b: bool(a == b),
    "!=": lambda a, b: bool(a != b),
    "<": lambda a, b: bool(a < b),
    "<=": lambda a, b: bool(a <= b),
    ">": lambda a, b: bool(a > b),
    ">=": lambda a, b: bool(a >= b),
}


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition. `value`: a number, a text, or None for `null`; `pattern`: what `glob` compares with."""

    field: str
    op: str
    value: int | str | None
    pattern: re.Pattern[str] | None = None

    def holds(self, found: Any) -> bool:
        """Whether the record's value `found` is as asked. Of a list one element has to be; for `!=` every one. An empty
        list is no value."""
        if isinstance(found, dict):
            found = tuple(found.values())
        if found == ():
            found = None
        if not isinstance(found, tuple):
            return self._holds(found)
        if self.op == "!=":
            return all(self._holds(one) for one in found)
        return any(self._holds(one) for one in found)

    def _holds(self, found: Any) -> bool:
        if self.value is None or found is None:
            same = found is None and self.value in (None, "")
            return same if self.op == "=" else self.op == "!=" and not same
        if self.op == "~":
            return str(self.value).lower() in str(found).lower()
        if self.pattern is not None:
            return self.pattern.fullmatch(str(found)) is not None
        return _ORDER[self.op](found, self.value)


def parse(text: str) -> Condition:
    """Read `field op value`. The value goes to the end; `"` around it keep its outer spaces.

    Raises:
        Refusal: `bad-request`, which says at which character it goes wrong, and what may stand there.
    """
    if len(text) > MAX_CONDITION_CHARS.value:
        _wrong(
            text,
            MAX_CONDITION_CHARS.value,
            "it is too long",
            f"{MAX_CONDITION_CHARS.value} characters at most",
        )
    at = _behind_spaces(text, 0)
    found = _FIELD.match(text, at)
    field = found[0] if found else ""
    if field not in KNOWN:
        _wrong(
            text, at, f"there is no field {field!r}" if field else "no field stands", ", ".join(sorted(KNOWN))
        )
    at = _behind_spaces(text, at + len(field))
    op = next((one for one in OPERATORS if text.startswith(one, at)), "")
    if not op or (op == "glob" and text[at + 4 : at + 5] not in (" ", '"')):
        _wrong(text, at, "no operator stands", f"one of {' '.join(OPERATORS)}")
    if op in _TEXT_ONLY and field not in TEXTS:
        _wrong(text, at, f"{field} is a number, which {op} cannot compare", "= != < <= > >=")
    at = _behind_spaces(text, at + len(op))
    value = text[at:].rstrip(" ")
    if not value:
        _wrong(text, at, "no value stands", 'a value; "" for an empty text')
    return _condition(text, at, field, op, value)


def _condition(text: str, at: int, field: str, op: str, value: str) -> Condition:
    if value == NULL:
        if op not in ("=", "!="):
            _wrong(text, at, f"{op} cannot compare with null", "a value, or = and != before null")
        return Condition(field, op, None)
    if len(value) >= 2 and value[0] == value[-1] == '"':
        value = value[1:-1]
    elif value[0] == '"':
        _wrong(text, at, 'a " without its end', 'a " at the end')
    if field not in TEXTS:
        return Condition(field, op, _number(text, at, field, value))
    if op != "glob":
        return Condition(field, op, value)
    if value.count("*") > MAX_STARS.value:
        _wrong(text, at, "a pattern with too many stars", f"{MAX_STARS.value} at most")
    # `[` means itself: file names have brackets, and nobody expects a set of letters.
    return Condition(field, op, value, re.compile(fnmatch.translate(value.replace("[", "[[]"))))


def _number(text: str, at: int, field: str, value: str) -> int:
    """A whole number; for a time also a date, or a date and time (UTC where it says nothing else)."""
    if _NUMBER.fullmatch(value):
        return int(value)
    if field in NUMBERS:
        _wrong(text, at, f"{field} is a number", "a whole number")
    try:
        moment = datetime.fromisoformat(value)
        found = int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)
    except (ValueError, OverflowError):
        _wrong(text, at, f"{field} is a time", "a number, or a date such as 2026-01-31 or 2026-01-31T12:00")
    return found // 1000 if field in SECONDS else found


def _behind_spaces(text: str, at: int) -> int:
    while text[at : at + 1] == " ":
        at += 1
    return at


def _wrong(text: str, at: int, why: str, may: str) -> NoReturn:
    shown = safe(text[: MAX_CONDITION_CHARS.value])
    raise Refusal(
        "bad-request",
        what=f"the condition {shown!r} goes wrong at character {at + 1}: {why}",
        who="the client's request",
        do=f"write there: {may}; a whole condition is `field op value`, such as: file ~ .whl",
    )
