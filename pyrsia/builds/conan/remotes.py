"""The operator's Conan remotes, read as data: remotes.json and two lines of global.conf in Conan's home.

Nothing of Conan runs on the host. Every remote that is enabled and of the ordinary kind is asked in its order; what
`core.sources:download_urls` and `user.pyrsia:source_urls` name are the servers that sources may be fetched from.

Left out: credentials files (a remote that asks for them may have them in its URL, or in netrc), local recipe folders.

Source: docs/builds-conan.md; Conan 2, `conan/internal/api/remotes/`.
"""

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pyrsia.errors import Malformed, Refusal
from pyrsia.units import Limit

MAX_REMOTES = Limit(16, "of each kind; a person's list has a handful")
_MAX_FILE = Limit(1 << 20, "a list of remotes has some kilobytes")
_SOURCE_KEYS: Final = ("core.sources:download_urls", "user.pyrsia:source_urls")
_LINE: Final = re.compile(r"\s*([a-z_.]+:[a-z_]+)\s*=\s*(\[.*\])\s*")


@dataclass(frozen=True, slots=True)
class Remotes:
    """Base URLs by the names that a run inside knows them by: `conan-0`, `conan-1`, ... and `source-0`, ..."""

    conan: Mapping[str, str]
    sources: Mapping[str, str]

    @property
    def all(self) -> dict[str, str]:
        return {**self.conan, **self.sources}


def home() -> Path:
    """Conan's home: CONAN_HOME, else `.conan2` in the user's."""
    told = os.environ.get("CONAN_HOME")
    return Path(told) if told else Path.home() / ".conan2"


def load(folder: Path | None = None) -> Remotes:
    """The remotes of the Conan home `folder`; none where it has no remotes.json.

    Raises:
        Refusal: `config-invalid` for a file that Conan could not read either.
    """
    folder = folder or home()
    try:
        rows = _rows(_read(folder / "remotes.json"))
        urls = _source_urls(_read(folder / "global.conf"))
    except Malformed as error:
        raise Refusal(
            "config-invalid", what=str(error), who=f"the Conan home {folder}", do="see `conan remote list`"
        ) from error
    return Remotes(
        {f"conan-{number}": url for number, url in enumerate(rows)},
        {f"source-{number}": url for number, url in enumerate(urls)},
    )


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_FILE.value + 1)
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise Malformed(f"{path.name} cannot be read: {error.strerror}") from error
    if len(data) > _MAX_FILE.value:
        raise Malformed(f"{path.name} has more than {_MAX_FILE.value} bytes")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Malformed(f"{path.name} is not text") from error


def _rows(text: str) -> list[str]:
    if not text:
        return []
    try:
        rows: Any = json.loads(text)["remotes"]
        found = [
            str(row["url"])
            for row in rows
            if not row.get("disabled") and row.get("remote_type") in (None, "", "remote")
        ]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise Malformed("remotes.json is not a list of remotes") from error
    return _urls(found)


def _source_urls(text: str) -> list[str]:
    found: list[str] = []
    for line in text.splitlines():
        match = _LINE.fullmatch(line)
        if match is None or match[1] not in _SOURCE_KEYS:
            continue
        try:
            values = json.loads(match[2].replace("'", '"'))
        except ValueError as error:
            raise Malformed(f"{match[1]} in global.conf is not a list of addresses") from error
        found += [str(value) for value in values if value != "origin"]
    return _urls(found)


def _urls(found: list[str]) -> list[str]:
    kept = [url.rstrip("/") for url in dict.fromkeys(found) if url.startswith(("http://", "https://"))]
    return kept[: MAX_REMOTES.value]
