"""Records as comma-separated values (RFC 4180), safe to open in a spreadsheet.

A spreadsheet takes a cell that begins with `=`, `+`, `-` or `@` for a formula, and strangers choose names and reasons;
such a cell of text gets an apostrophe in front. Numbers are never changed.

Source: RFC 4180; OWASP, "CSV Injection"; docs/inspect.md, "CSV".
"""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from pyrsia.wire.text import safe

_FORMULA: Final = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")  # also in full width


def written(rows: Iterable[Mapping[str, Any]], fields: Sequence[str]) -> str:
    """A line of names, and one for each row; lines end in CRLF. Lists are one cell, their elements between spaces."""
    out = io.StringIO()
    lines = csv.writer(out, lineterminator="\r\n")
    lines.writerow(fields)
    for row in rows:
        lines.writerow([cell(row[name]) for name in fields])
    return out.getvalue()


def cell(value: Any) -> str:
    """One value as a cell; None is an empty one."""
    if value is None:
        return ""
    if isinstance(value, int):
        return str(value)
    text = safe(plain(value))
    return f"'{text}" if text.startswith(_FORMULA) else text


def plain(value: Any) -> str:
    """A value in one line for people: lists and tables with spaces between their elements."""
    if value is None:
        return "-"
    if isinstance(value, Mapping):
        return " ".join(f"{name}:{one}" for name, one in value.items())
    if isinstance(value, (list, tuple)):
        return " ".join(str(one) for one in value)
    return str(value)
