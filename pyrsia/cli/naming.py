"""Who said something, by name: a policy's reasons know nodes by eight letters of their ids alone.

What is decided must not hang on names, which a motion may change; people know nobody by letters. So what they read has
both, `amber (c6sicnks)`: by the letters the whole id is found, which policy.toml names. JSON has ids.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from pyrsia.client import Client
from pyrsia.errors import Refusal

_LETTERS: Final = 8
_WHO: Final = re.compile(
    r"(?<=says )[a-z2-7]{8}\b|(?<=not name )[a-z2-7]{8}\b|\b[a-z2-7]{8}(?= (?:says|lists) )"
)


def by(row: Mapping[str, Any]) -> str:
    """The author of a fact, as a node's answer has it."""
    return called(row["author"], row["author_name"])


def called(node: str, name: str) -> str:
    letters = node[:_LETTERS]
    return f"{name} ({letters})" if name else letters


def with_names(node: Client, lines: Iterable[str]) -> list[str]:
    """Lines with the members' names beside their letters; as they are where none stands in them, or nobody can say."""
    told = list(lines)
    if not any(map(_WHO.search, told)):
        return told
    names = _names(node)
    return [_WHO.sub(lambda found: called(found[0], names.get(found[0], "")), line) for line in told]


def _names(node: Client) -> dict[str, str]:
    """By the letters; none for letters that two members share."""
    try:
        answer = node.get("/api/v1/members")
    except Refusal:
        return {}
    rows = answer.get("members") if isinstance(answer, dict) else None
    found: dict[str, str] = {}
    for row in rows if isinstance(rows, list) else ():
        who, name = (row.get("node_id"), row.get("name")) if isinstance(row, dict) else (None, None)
        if isinstance(who, str) and isinstance(name, str):
            letters = who[:_LETTERS]
            found[letters] = "" if letters in found else name
    return found
