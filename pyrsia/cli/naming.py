"""Who said something, by name, as a node's answers know its members (`policy.speakers`). JSON has ids."""

from collections.abc import Iterable, Mapping
from typing import Any

from pyrsia.client import Client
from pyrsia.errors import Refusal
from pyrsia.policy import speakers
from pyrsia.policy.speakers import called


def by(row: Mapping[str, Any]) -> str:
    """The author of a fact, as a node's answer has it."""
    return called(row["author"], row["author_name"])


def with_names(node: Client, lines: Iterable[str]) -> list[str]:
    """Lines with the members' names beside their letters; as they are where none stands in them, or nobody can say."""
    told = list(lines)
    if not any(map(speakers.speaks, told)):
        return told
    names = _names(node)
    return [speakers.with_names(line, lambda letters: names.get(letters, "")) for line in told]


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
            letters = who[: speakers.LETTERS]
            found[letters] = "" if letters in found else name
    return found
