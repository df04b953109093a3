"""One line of a file that lists packages. What becomes of it is its reader's user's business."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final

from pyrsia.errors import Refusal
from pyrsia.units import MAX_LIST_BYTES

_ENDS: Final = re.compile("\r\n|[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]")  # all that `str.splitlines` goes by


@dataclass(frozen=True, slots=True)
class Row:
    """One package that a file names, in its ecosystem's words, or a line that names none.

    Attributes:
        version: exact, or "".
        line: counted from 1; 0 where nobody can say.
        closure: whether what it needs has to be asked for as well; a lock file lists that itself.
        left: why who installs the project here does without it; "" for what belongs to it.
        open: why nobody can say which package this is, as a sentence with its place; `do`: what helps.
        leads: another list that this line reads in, as it is written there.
    """

    ecosystem: str
    name: str
    version: str = ""
    line: int = 0
    closure: bool = True
    left: str = ""
    open: str = ""
    do: str = ""
    leads: str = ""


Reader = Callable[[Path, str], tuple[Row, ...]]


def text(path: Path) -> str:
    """A list's text.

    Raises:
        Refusal: `usage`: it cannot be read, is too large or not UTF-8.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_LIST_BYTES.value + 1)
    except OSError as error:
        raise no(path, f"it cannot be read: {error.strerror}", "check its name") from None
    if len(data) > MAX_LIST_BYTES.value:
        raise no(path, f"it is larger than {MAX_LIST_BYTES.value:,} bytes", "split it")
    return decoded(path, data)


def decoded(path: Path, data: bytes) -> str:
    """A list's bytes as text.

    Raises:
        Refusal: `usage`: not UTF-8.
    """
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise no(path, "it is not UTF-8", "convert it") from None


def has_more_lines(text: str, most: int) -> bool:
    """Whether more than `most` lines end in it, whatever ends them: before any of them is made."""
    return next(islice(_ENDS.finditer(text), most, None), None) is not None


def numbered(text: str) -> Iterator[tuple[int, str]]:
    """Lines as Python, and so pip, ends them, each with the number by which an editor finds it.

    A form feed, or what Unicode calls the end of a line, ends one here and none there.
    """
    number = 1
    for raw in text.splitlines(keepends=True):
        yield number, raw.splitlines()[0]
        number += raw.endswith(("\n", "\r"))


def no(path: Path, what: str, do: str) -> Refusal:
    return Refusal("usage", what=f"{path.name}: {what}", who="that file", do=do)
