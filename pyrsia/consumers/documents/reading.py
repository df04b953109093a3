"""A document's bytes within a bound, as typed data, or a refusal that names the file."""

import re
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec

from pyrsia.errors import Malformed, Refusal
from pyrsia.units import MAX_DOCUMENT_BYTES, Limit

MAX_WHY_CHARS: Final = 200  # of a parser's own words, which may quote the document

MAX_NESTED = Limit(
    2_000_000,
    "objects and lists of one document, 250 MB as values: 32 bytes each in 64 MiB, real ones have 60",
)
MAX_PARTED = Limit(8_000_000, "commas of one document, behind each of which a value of 8 bytes may stand")
BYTE_ORDER: Final = b"\xef\xbb\xbf"  # that some editors put before UTF-8
SHORT_BYTES: Final = 1 << 20  # of which nothing needs counting
_MISSING: Final = re.compile(r"Object missing required field `(\w+)`")
_OTHER: Final = re.compile(r"Expected `([^`]+)`, got `([^`]+)`")
_TYPES: Final = {  # as a parser calls what JSON has
    "array": "a list", "bool": "true or false", "datetime": "a time", "float": "a number", "int": "a number",
    "null": "null", "object": "an object", "str": "a text",
}  # fmt: skip
_AT_BYTE: Final = re.compile(r"\(byte (\d+)\)")

T = TypeVar("T")


def whole(path: Path, most: int = MAX_DOCUMENT_BYTES.value) -> bytes:
    """The file's bytes.

    Raises:
        Refusal: `too-large`; `usage` for what is no plain file.
    """
    if not path.is_file():  # a pipe has no end, a device no size
        raise Refusal("usage", what=f"{path} is no plain file", who="your command", do="name a file")
    try:
        with path.open("rb") as file:
            data = file.read(most + 1)
    except OSError as error:
        raise Refusal("usage", what=f"{path} cannot be read: {error.strerror}", who="this machine",
                      do="check its rights") from None  # fmt: skip
    if len(data) > most:
        raise Refusal(
            "too-large",
            what=f"{path} has {path.stat().st_size:,} bytes, {most:,} are read of one document",
            who="the document",
            do="split it by component, or name the part that matters",
        )
    return data


def typed(data: bytes, shape: type[T]) -> T:
    """JSON as a value of the type `shape`; fields that it has not are passed over.

    Raises:
        Malformed: not UTF-8, no JSON, nested without end, more values than bytes of meaning, or another type at some
            place.
    """
    if len(data) > SHORT_BYTES:
        _check_values(data)
    data = data.removeprefix(BYTE_ORDER)
    try:
        return msgspec.json.decode(data, type=shape)
    except RecursionError:
        raise Malformed("it is nested too deeply") from None
    except UnicodeDecodeError:
        raise Malformed("it is not UTF-8") from None
    except msgspec.ValidationError as error:
        raise Malformed(_in_words(str(error))[:MAX_WHY_CHARS]) from None
    except (msgspec.MsgspecError, ValueError) as error:
        raise Malformed(_no_json(str(error), data)) from None


def _in_words(why: str) -> str:
    """What is of another type, as people say it; `$.id` is a place in the document."""
    said, _, place = why.partition(" - at ")
    inside = place.strip("`").removeprefix("$").removeprefix(".")
    where = f"`{inside}`" if inside else "it"
    if missing := _MISSING.fullmatch(said):
        return f"{where} has no `{missing[1]}`"
    if other := _OTHER.fullmatch(said):
        wanted = " or ".join(_TYPES.get(one, one) for one in other[1].split(" | ") if one != "null")
        return f"{where} is {_TYPES.get(other[2], other[2])}, where {wanted} belongs"
    if said.startswith("Invalid RFC3339"):
        return f"{where} is no time; one is written 2026-01-31T12:00:00Z"
    return why


def _no_json(why: str, data: bytes) -> str:
    """A parser's words, with the line in the place of the byte: that is what an editor goes to."""
    at = _AT_BYTE.search(why)
    if at is not None:
        line = data.count(b"\n", 0, int(at[1])) + 1
        why = f"{why[: at.start()]}(line {line})"
    if why.startswith("Input data was truncated"):
        why = "it ends before it is complete"
    return f"it is no JSON: {why.removeprefix('JSON is malformed: ')}"[:MAX_WHY_CHARS]


def _check_values(data: bytes) -> None:
    """A value costs far more than the two characters that it may be written with."""
    nested, parted = data.count(b"{") + data.count(b"["), data.count(b",")
    if nested > MAX_NESTED.value or parted > MAX_PARTED.value:
        raise Malformed(
            f"it has {nested:,} objects and lists and {parted:,} commas; "
            f"{MAX_NESTED.value:,} and {MAX_PARTED.value:,} are read of one document"
        )


def document(path: Path, shape: type[T], data: bytes | None = None) -> T:
    """`whole` and `typed`, for a file that is one document.

    Args:
        data: the document, where it is read already.

    Raises:
        Refusal: `too-large`, `usage`, `bad-request`.
    """
    data = whole(path) if data is None else data
    try:
        return typed(data, shape)
    except Malformed as error:
        raise refused(path, str(error)) from None


_AGAIN: Final = "make it again with its tool, or name another file"


def refused(path: Path | str, why: str, do: str = _AGAIN) -> Refusal:
    return Refusal("bad-request", what=f"{path}: {why}", who="the document, or whoever wrote it", do=do)


def text(value: Any) -> str:
    """A text, or "" for everything else: tools write null and numbers where a name belongs."""
    return value if isinstance(value, str) else ""
