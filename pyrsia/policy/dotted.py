"""TOML of others, read: keys of many parts are found before, since parsing one takes time in the square of its parts.

`a.b.c = 1` has three parts; 256 KiB of nothing but dots would hold up a node for a quarter of an hour. Nothing else
in a policy has a dot outside of texts, but for a number.

Source: docs/policy.md, "Rules"; TOML 1.0, "Keys" and "String".
"""

import re
import tomllib
from typing import Any, Final

from pyrsia.units import Limit

MAX_DOTS = Limit(32, "in a line, outside of texts: a heading of a policy has one")

# Texts and comments, as TOML reads them from the left; what is never closed is an error where it begins, so nothing
# behind it is looked at: each of its quotes would be tried to the end.
_TEXT: Final = re.compile(
    r'"""(?:[^"\\]|\\.|"{1,2}(?!"))*+"{3,5}'
    r"|'''(?:[^']|'{1,2}(?!'))*+'{3,5}"
    r'|"(?:[^"\\\n]|\\[^\n])*+"'
    r"|'[^'\n]*+'"
    r"|[\"'].*+"
    r"|\#[^\n]*+",
    re.DOTALL,
)


class TooManyParts(ValueError):
    """A text that is not parsed because of a key in it; says on which line."""


def read(text: str) -> dict[str, Any]:
    """What the TOML text says. Whatever somebody else may have written is read by this.

    Raises:
        TooManyParts: it has a key that takes too long to read.
        ValueError: it is no TOML, or holds a number or a date that Python reads none of.
        RecursionError: its values are nested without end.
    """
    if line := line_of(text):
        raise TooManyParts(f"line {line}: it has more than {MAX_DOTS.value} dots outside of texts")
    return tomllib.loads(text)


def line_of(text: str) -> int:
    """The first line, from 1, that has more dots than a key may; 0 where there is none."""
    bare = _TEXT.sub(lambda found: "\n" * found[0].count("\n"), text)
    for number, line in enumerate(bare.split("\n"), start=1):
        if line.count(".") > MAX_DOTS.value:
            return number
    return 0
