"""What the readers of TOML and of its values say, in words for who wrote the file: what is wrong, and what to write.

`tomllib` and `msgspec` speak to programmers. A sentence of theirs that is not known here is passed on as it is.
"""

import difflib
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from pyrsia.policy.lines import Place

_AT: Final = re.compile(r"(.*) \((?:at line (\d+), column \d+|at end of document)\)", re.DOTALL)
_KINDS: Final = {
    "str": "a text in quotes",
    "int": "a whole number without quotes",
    "float": "a number with a point",
    "bool": "true or false",
    "array": "a list in brackets",
    "object": "a table",
    "date": "a day without quotes, as in 2026-12-31",
    "datetime": "a day with a time",
    "time": "a time",
}
_NODE_ID: Final = "a node's id is 52 small letters and digits: `pyrsia member show NAME` has it"
# Of a key that takes texts of one form, which that is.
_FORMS: Final[Mapping[str, str]] = {
    "builders": _NODE_ID,
    "issuers": _NODE_ID,
    "vex_issuers": _NODE_ID,
    "advisory": "an advisory's id is 1 to 64 characters without blanks, as its database writes it: CVE-2026-1",
    "reason": "a reason is a text that says something",
}
_SYNTAX: Final = (
    (
        re.compile(r"Invalid value"),
        "what stands here is no value; a text stands in quotes, a list ends with ]",
    ),
    (re.compile(r"Cannot declare \((.*)\) twice"), "the table {0} stands here twice"),
    (re.compile(r"Cannot overwrite a value"), "a key stands twice in one table"),
    (re.compile(r"Unterminated string"), "a text has no quote at its end"),
    (re.compile(r"Expected '=' after a key in a key/value pair"), "a key has no = behind it"),
    (
        re.compile(r"Expected '\]' at the end of a table declaration"),
        "the name of a table has no ] behind it",
    ),
    (re.compile(r"Expected newline or end of document after a statement"), "something stands behind a value"),
    (
        re.compile(r"Unescaped '.' in a string"),
        "a backslash in a text stands twice; or write the text in '...'",
    ),
    (re.compile(r"Invalid statement"), "a line is `key = value`, [table] or # a remark"),
)


def of_syntax(error: str) -> str:
    """What `tomllib` says, with the line in front as everywhere."""
    found = _AT.fullmatch(error)
    what, line = (found[1], found[2]) if found is not None else (error, None)
    for said, ours in _SYNTAX:
        match = said.fullmatch(what)
        if match is not None:
            what = ours.format(*map(_table, match.groups()))
    if line:
        return f"line {line}: {what}"
    return f"at its end: {what}" if found is not None else what


def _table(names: str) -> str:
    """`('all', 'x')` as TOML writes it."""
    return f"[{'.'.join(re.findall(chr(39) + '(.*?)' + chr(39), names))}]"


def readable(
    error: str,
    words_of: Callable[[str], Sequence[str]] = lambda key: (),
    keys: Sequence[str] = (),
) -> tuple[Place, str]:
    """Where msgspec found something, and a sentence with the key in front, as TOML spells it.

    Args:
        words_of: the words that a key may have.
        keys: those that there are, for who misspelt one.
    """
    what, _, path = error.partition(" - at `$")
    place: Place = tuple(
        int(number) if number else name for name, number in re.findall(r"\.(\w+)|\[(\d+)\]", path)
    )
    key = path.removesuffix("`").removeprefix(".")
    unknown = re.fullmatch(r"Object contains unknown field `(.*)`", what, re.DOTALL)
    if unknown is not None:
        meant = difflib.get_close_matches(unknown[1][:40], keys, 1)
        hint = f"; did you mean {meant[0]}?" if meant else ""
        return (*place, unknown[1]), f"there is no key {f'{key}.' if key else ''}{unknown[1][:40]}{hint}"
    missing = re.fullmatch(r"Object missing required field `(.*)`", what)
    if missing is not None:
        return place, f"{f'{key} has' if key else 'it has'} no `{missing[1]}`"
    name = next((one for one in reversed(place) if isinstance(one, str)), "")
    what = _of_value(what, name, words_of(name))
    return place, f"{key}: {what}" if key else what


def _of_value(what: str, name: str, words: Sequence[str]) -> str:
    """What is wrong with the value of a key, or with one of its list."""
    wrong = re.fullmatch(r"Invalid enum value '(.*)'", what, re.DOTALL)
    if wrong is not None and words:
        return f"{wrong[1][:40]!r} is none of {', '.join(words)}"
    if what == "Invalid RFC3339 encoded date":
        return "it is no date; write one as in 2026-12-31"
    if re.fullmatch(r"Expected `str` matching regex .*", what, re.DOTALL):
        return _FORMS.get(name, "the text has another form than this key takes")
    kinds = re.fullmatch(r"Expected `(\w+)`, got `(\w+)`", what)
    if kinds is not None and kinds[1] in _KINDS:
        return f"{_KINDS[kinds[1]]} is expected, not {_KINDS.get(kinds[2], kinds[2])}"
    bound = re.fullmatch(r"Expected `(\w+)` (of length )?(>=|<=) (-?\d+)", what)
    if bound is None:
        return what
    word = {"str": " characters", "array": " of them"}.get(bound[1], "") if bound[2] else ""
    return f"{bound[4]}{word} at {'least' if bound[3] == '>=' else 'most'}"
