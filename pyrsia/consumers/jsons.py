"""Edits of JSON files: the order of the keys stays, and so does the depth of the indentation."""

import json
import re
from pathlib import Path
from typing import Any

from pyrsia.consumers.edits import broken


def read(text: str, path: Path) -> dict[str, Any]:
    """The object that the file holds, empty for an empty file.

    Raises:
        Refusal: `config-invalid` for what is no JSON object, or names a key twice.
    """

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len({name for name, _ in pairs}) != len(pairs):
            raise ValueError("a key stands twice")
        return dict(pairs)

    if not text.strip():
        return {}
    try:
        found = json.loads(text, object_pairs_hook=once)
    except (ValueError, RecursionError) as error:
        raise broken(path, str(error)) from None
    if not isinstance(found, dict):
        raise broken(path, "it is no JSON object")
    return found


def write(value: dict[str, Any], like: str) -> str:
    """`value` in the indentation of `like`; `like` itself where it says the same."""
    if like.strip() and json.loads(like) == value:
        return like
    found = re.search(r"^\{\s*?\n([ \t]+)\"", like)
    indent: int | str = found[1] if found else 4
    text = json.dumps(value, indent=indent, ensure_ascii=not like or like.isascii())
    return text + ("\n" if not like or like.endswith("\n") else "")
