"""requirements*.txt: pip's lines.

Source: pip, "Requirements File Format"; PEP 508.
"""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from packaging.markers import Marker, UndefinedComparison, UndefinedEnvironmentName
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion

from pyrsia.consumers.lists.rows import Row, has_more_lines, no, numbered
from pyrsia.units import Limit

MAX_LINES = Limit(100_000, "a thousand packages with a hundred hashes each")
MAX_REQUIREMENT_CHARS = Limit(4_096, "an address with a marker and a fragment has some hundred")

# As pip's parser takes them: also behind other options of a line, together with their word, and shortened.
_LEADS: Final = re.compile(r"(?:-r|--requirem[a-z]*(?:=|$))(.*)", re.DOTALL)
_EDITABLE: Final = re.compile(r"-e.*|--ed[a-z]*(?:=.*)?", re.DOTALL)
_OPTIONS: Final = re.compile(r"\s--(?:hash|config-settings|global-option)\b")
_COMMENT: Final = re.compile(r"(?:^|\s)#.*$")  # a run of spaces before it would be tried from each of them
_CORRECT: Final = "correct it"
_PIN: Final = "pin it (`pip freeze` and `pip-compile` do), or leave the version out for the newest"


def rows(path: Path, text: str) -> tuple[Row, ...]:
    if has_more_lines(text, MAX_LINES.value):
        raise no(path, f"it has more than {MAX_LINES.value} lines", "split it")
    return tuple(_row(number, line) for number, line in _lines(text))


def _row(number: int, line: str) -> Row:
    where = f"line {number}"
    if line.startswith("-"):
        option, leads = _option(line)
        return Row("pip", option, line=number, leads=leads,
                   left=f"{where}: the option {option} is the node's own configuration's business")  # fmt: skip
    line = _OPTIONS.split(line, maxsplit=1)[0].strip()
    wanted = _parsed(line)
    if wanted is None:
        return Row("pip", line[:80], line=number, open=f"{where} is no requirement: {line[:80]!r}",
                   do=_CORRECT)  # fmt: skip
    name = canonicalize_name(wanted.name)
    version, open_ = _pin(where, wanted)
    left, do = "", _PIN if open_ else ""
    means = wanted.marker is None or _means(wanted.marker)
    if means is None:
        open_, do = f"{where}: nobody can decide the marker of {wanted.name}: {wanted.marker}", _CORRECT
    elif not means:
        left = f"{where}: {wanted.name} is not for this machine: {wanted.marker}"
    elif wanted.url:
        left = f"{where}: {wanted.name} comes from an address and from no index"
    return Row("pip", name, version, number, left=left, open=open_, do=do)


def _means(marker: Marker) -> bool | None:
    """Whether it means this machine; None where it compares what cannot be compared."""
    try:
        return marker.evaluate()
    except (UndefinedComparison, UndefinedEnvironmentName, InvalidVersion, ValueError):
        return None


def _option(line: str) -> tuple[str, str]:
    """(the option that a line is about, the list that it leads to); of several the one that brings packages."""
    try:
        words = shlex.split(line) if len(line) <= MAX_REQUIREMENT_CHARS.value else line.split()
    except ValueError:  # a quote that does not end
        words = line.split()
    for at, word in enumerate(words):
        leads = _LEADS.fullmatch(word)
        if leads is not None:
            return word, leads[1] or " ".join(words[at + 1 : at + 2])
        if _EDITABLE.fullmatch(word):
            return "-e", ""
    return line.split()[0], ""


def _parsed(line: str) -> Requirement | None:
    if len(line) > MAX_REQUIREMENT_CHARS.value:
        return None
    try:
        return Requirement(line)
    except InvalidRequirement:
        return None


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """(number of its first line, text) of each logical line, without comments and continuations.

    As pip reads them: lines are joined first, and what goes on at the end of the file is a line all the same. Only a
    backslash that ends a line joins it, none with a space behind it, and none in a line that is all comment.
    """
    begun, parts = 0, [""]
    for number, raw in (*numbered(text), (0, "")):
        begun = begun or number
        comment = raw.lstrip().startswith("#")
        if raw.endswith("\\") and not comment:
            parts.append(raw.strip("\\"))
            continue
        whole = _COMMENT.sub("", "".join((*parts, f" {raw}" if comment else raw))).strip()
        if whole:
            yield begun, whole
        begun, parts = 0, [""]


def _pin(where: str, wanted: Requirement) -> tuple[str, str]:
    """(exact version, why there is none): both empty where a requirement says nothing of a version."""
    exact = [one for one in wanted.specifier if one.operator in ("==", "===")]
    if not wanted.specifier:
        return "", ""
    if len(wanted.specifier) != 1 or not exact or "*" in exact[0].version:
        return "", f"{where} leaves the version of {wanted.name} open: {wanted.specifier}"
    return exact[0].version, ""
