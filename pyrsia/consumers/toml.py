"""Edits of TOML files that keep comments and order: tomlkit writes, and what came out is read again."""

from pathlib import Path
from typing import Any

import tomlkit
from tomlkit.exceptions import TOMLKitError

from pyrsia.consumers.edits import broken, unsure
from pyrsia.policy import dotted


def read(text: str, path: Path) -> dict[str, Any]:
    """Raises `Refusal` (`config-invalid`) for what is no TOML."""
    try:
        return dotted.read(text)
    except (ValueError, RecursionError) as error:  # ValueError also for a number of too many digits
        raise broken(path, str(error)) from None


def document(text: str, path: Path) -> tomlkit.TOMLDocument:
    """`text` to be edited; written again untouched it is the same text.

    Raises:
        Refusal: `config-invalid`.
    """
    read(text, path)
    try:
        found = tomlkit.parse(text)
        same = tomlkit.dumps(found) == text
    except (TOMLKitError, ValueError, RecursionError) as error:
        raise broken(path, str(error)) from None
    if not same:
        raise unsure(path)
    return found


def finished(made: tomlkit.TOMLDocument, wanted: dict[str, Any], path: Path) -> str:
    """The text of an edited document, which must say exactly what is `wanted`.

    Raises:
        Refusal: `config-invalid`.
    """
    text = tomlkit.dumps(made)
    if read(text, path) != wanted:
        raise unsure(path)
    return text
