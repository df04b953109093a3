"""On which line of a TOML text a key stands. The text is one that `tomllib` has read; nothing is judged here.

A refusal names the line, so that nobody looks for a typo in two thousand patterns.
"""

import re
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

Place = tuple[str | int, ...]

_SKIP: Final = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_SPACE: Final = re.compile(r"[ \t]*")
_BARE_KEY: Final = re.compile(r"[A-Za-z0-9_-]+")
_BARE: Final = re.compile(r"[^,\]}#\r\n]*")
_STRING: Final = re.compile(
    r'"""(?:[^\\]|\\.)*?"""{1,3}' r"|'''.*?'''{1,3}" r'|"(?:[^"\\\n]|\\.)*"' r"|'[^'\n]*'", re.DOTALL
)
_ESCAPE: Final = re.compile(r"\\(?:u([0-9A-Fa-f]{4})|U([0-9A-Fa-f]{8})|x([0-9A-Fa-f]{2})|(.))", re.DOTALL)


def line_of(text: str, place: Place) -> int:
    """The line, from 1, of a key, or of the nearest thing around it; 0 where nothing of it is found.

    Args:
        place: names of tables and keys from the outside in, and the number of an element, from 0, in an array.
    """
    scan = _Scan(text)
    with suppress(RecursionError, AttributeError, IndexError):  # not what `tomllib` read: some line, or none
        scan.document()
    while place and place not in scan.found:
        place = place[:-1]
    return text.count("\n", 0, scan.found[place]) + 1 if place else 0


class _Scan:
    """One pass over a text. `found`: offset of every key, table and element."""

    def __init__(self, text: str) -> None:
        self._text, self._at = text, 0
        self.found: dict[Place, int] = {}
        self._last: dict[Place, int] = {}  # of an array of tables, its newest

    def document(self) -> None:
        table: Place = ()
        while self._skip() < len(self._text):
            begun = self._at
            if self._text.startswith("[[", begun):
                self._at += 2
                *outer, name = self._key()
                array = (*self._within(outer), name)
                number = self._last[array] = self._last.get(array, -1) + 1
                table = (*array, number)
                self._at += 2
            elif self._text[begun] == "[":
                self._at += 1
                table = self._within(self._key())
                self._at += 1
            else:
                self._pair(table)
                continue
            for size in range(1, len(table) + 1):
                self.found.setdefault(table[:size], begun)

    def _within(self, names: Sequence[str]) -> Place:
        """The place of a table, with the number of the newest element behind the name of each array."""
        place: Place = ()
        for name in names:
            place = (*place, name)
            place = (*place, self._last[place]) if place in self._last else place
        return place

    def _skip(self) -> int:
        self._at = self._match(_SKIP).end()
        return self._at

    def _match(self, pattern: re.Pattern[str]) -> re.Match[str]:
        found = pattern.match(self._text, self._at)
        if found is None:
            raise AttributeError
        return found

    def _key(self) -> tuple[str, ...]:
        parts: list[str] = []
        while True:
            self._at = self._match(_SPACE).end()
            quoted = self._text[self._at : self._at + 1] in ('"', "'")
            part = self._match(_STRING if quoted else _BARE_KEY)
            self._at = part.end()
            parts.append(_plain(part[0]) if quoted else part[0])
            self._at = self._match(_SPACE).end()
            if self._text[self._at : self._at + 1] != ".":
                return tuple(parts)
            self._at += 1

    def _pair(self, table: Place) -> None:
        begun = self._at
        names = self._key()
        for size in range(1, len(names) + 1):
            self.found.setdefault((*table, *names[:size]), begun)
        self._at += 1  # "="
        self._value((*table, *names))

    def _value(self, place: Place) -> None:
        self._at = self._match(_SPACE).end()
        first = self._text[self._at : self._at + 1]
        if first == "[":
            self._elements(place)
        elif first == "{":
            self._inline(place)
        else:
            self._at = self._match(_STRING if first in ('"', "'") else _BARE).end()

    def _elements(self, place: Place) -> None:
        self._at += 1
        number = 0
        while self._text[self._skip()] != "]":
            self.found[*place, number] = self._at
            self._value((*place, number))
            number += 1
            if self._text[self._skip()] == ",":
                self._at += 1
        self._at += 1

    def _inline(self, place: Place) -> None:
        self._at += 1
        while self._text[self._skip()] != "}":
            self._pair(place)
            if self._text[self._skip()] == ",":
                self._at += 1
        self._at += 1


def _plain(quoted: str) -> str:
    if quoted[0] == "'":
        return quoted[1:-1]
    named = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", "e": "\x1b"}

    def meant(found: re.Match[str]) -> str:
        number = found[1] or found[2] or found[3]
        return chr(int(number, 16)) if number else named.get(found[4], found[4])

    return _ESCAPE.sub(meant, quoted[1:-1])
