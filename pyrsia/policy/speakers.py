"""Who said something, by name: a policy's reasons know nodes by eight letters of their ids alone.

What is decided must not hang on names, which a motion may change; people know nobody by letters. So what they read has
both, `amber (c6sicnks)`: by the letters the whole id is found, which policy.toml names.
"""

import re
from collections.abc import Callable
from typing import Final

LETTERS: Final = 8
_WHO: Final = re.compile(
    r"(?<=says )[a-z2-7]{8}\b|(?<=not name )[a-z2-7]{8}\b|\b[a-z2-7]{8}(?= (?:says|lists) )"
)


def called(node: str, name: str) -> str:
    """How people read a node, by its id or the letters of it; `name`: "" for who has none."""
    letters = node[:LETTERS]
    return f"{name} ({letters})" if name else letters


def speaks(line: str) -> bool:
    """Whether letters stand in a line that may be somebody's."""
    return _WHO.search(line) is not None


def with_names(line: str, name: Callable[[str], str]) -> str:
    """A line with the names beside the letters; `name`: of letters, "" for those that are nobody's."""
    return _WHO.sub(lambda found: called(found[0], name(found[0])), line)
