"""Edits of pip's kind of ini files that leave every other line as it is.

The text is cut into lines; which of them belong to an option follows the rules of Python's `RawConfigParser`, which pip
reads with: sections, `key = value` or `key : value`, lines that are indented further than the key continue it, full
lines that begin with `#` or `;` are comments. What came out is read again by that parser and compared; an edit that
would change anything else is refused.
"""

import configparser
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from pyrsia.consumers.edits import broken, unsure

_SECTION: Final = re.compile(r"\[(?P<name>.+)\]")
_OPTION: Final = re.compile(r"(?P<key>.*?)\s*[=:]")
Options = Mapping[str, Mapping[str, str]]


def read(text: str, path: Path) -> dict[str, dict[str, str]]:
    """Section -> option (normalised) -> value, with those of `[DEFAULT]` in each, as pip sees them.

    Raises:
        Refusal: `config-invalid`; pip would stop at it too.
    """
    parser = configparser.RawConfigParser()
    try:
        parser.read_string(text.lstrip("\ufeff") if text.startswith("\ufeff") else text)
    except configparser.Error as error:
        raise broken(path, str(error)) from None
    return {
        name: {normal(key): value or "" for key, value in parser.items(name)} for name in parser.sections()
    }


def normal(key: str) -> str:
    """pip takes `index_url` and `--index-url` for `index-url`."""
    return key.lower().replace("_", "-").removeprefix("--")


def edit(text: str, path: Path, section: str, changes: Mapping[str, str | None]) -> str:
    """`text` with options of one section set, or taken out where the value is None.

    Raises:
        Refusal: `config-invalid`.
    """
    before = read(text, path)
    made = text
    for key, value in changes.items():
        made = _one(made, section, key, value)
    wanted = {name: dict(options) for name, options in before.items()}
    ours = wanted.setdefault(section, {})
    for key, value in changes.items():
        if value is None:
            ours.pop(key, None)
        else:
            ours[key] = value
    if not ours and section not in before:
        del wanted[section]
    if read(made, path) != wanted:
        raise unsure(path)
    return made


def _one(text: str, section: str, key: str, value: str | None) -> str:
    lines = text.splitlines(keepends=True)
    newline = "\r\n" if lines and lines[0].endswith("\r\n") else "\n"
    start, spans, end = _spans(lines, section)
    new = [] if value is None else [f"{key} = {value}".replace("\n", f"{newline}    ") + newline]
    same = [span for name, *span in spans if name == key]
    if same:
        first, last = same[0]
        return "".join([*lines[:first], *new, *lines[last:]])
    if value is None:
        return text
    if start is None:
        if lines and not lines[-1].endswith(("\n", "\r")):
            lines[-1] += newline
        return "".join([*lines, f"[{section}]{newline}", *new])
    if lines[end - 1] and not lines[end - 1].endswith(("\n", "\r")):
        lines[end - 1] += newline
    return "".join([*lines[:end], *new, *lines[end:]])


def _spans(lines: list[str], section: str) -> tuple[int | None, list[tuple[str, int, int]], int]:
    """Where the section begins, (option, first line, line behind its last) of it, and the line behind its last one.

    Comments and empty lines behind an option belong to whatever comes next.
    """
    here, start, end, indent = False, None, 0, 0
    spans: list[tuple[str, int, int]] = []
    open_option = False
    for at, line in enumerate(lines):
        stripped = line.strip()
        if not stripped or stripped[0] in "#;":
            continue
        depth = len(line) - len(line.lstrip())
        if open_option and depth > indent:
            if here:
                name, first, _ = spans[-1]
                spans[-1], end = (name, first, at + 1), at + 1
            continue
        indent, open_option = depth, False
        found = _SECTION.match(stripped)
        if found:
            here = found["name"] == section
            if here:
                start, end = at, at + 1
            continue
        option = _OPTION.match(stripped)
        open_option = True
        if here:
            spans.append((normal(option["key"]) if option else stripped, at, at + 1))
            end = at + 1
    return start, spans, end
