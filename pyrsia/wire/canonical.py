"""Canonical JSON: one value, one byte string.

Decides which values exist (objects with sorted ASCII names, lists, text, whole numbers, true and false)
and that bytes are accepted only if encoding what they say gives them back. What the fields mean is the
caller's business. `decode_plainly` is the definition of canonical bytes: a parser's leniency never matters there, for
whatever it forgives, the second encoding exposes. The scanner in `_native/form` is its fast twin.

Source: docs/ledger.md, "Leaves"; docs/adr/0003.
"""

from typing import Final, TypeAlias

import msgspec

from pyrsia._native import form
from pyrsia.errors import Malformed
from pyrsia.units import MAX_ENTRY_BYTES, MAX_JSON_DEPTH

Json: TypeAlias = "dict[str, Json] | list[Json] | str | int | bool"

MAX_INT: Final = (1 << 53) - 1  # what every JSON reader, JavaScript's included, keeps exact

_encode = msgspec.json.Encoder(order="sorted").encode
_decode = msgspec.json.Decoder().decode


def encode(value: Json) -> bytes:
    """The canonical bytes of `value`.

    Raises:
        ValueError: the value holds something that canonical JSON lacks; the caller has a bug.
    """
    try:
        _check(value, MAX_JSON_DEPTH.value)
        return _encode(value)
    except (Malformed, UnicodeEncodeError) as error:
        raise ValueError(f"not canonical JSON: {error}") from None


def decode(data: bytes, limit: int = MAX_ENTRY_BYTES.value) -> Json:
    """The value of canonical bytes, at most `limit` of them.

    Raises:
        Malformed: too long, not JSON, or not the one canonical form of what it says.
    """
    if len(data) <= limit and type(data) is bytes and form.malformed_at(data) < 0:
        value: Json = _decode(data)
        return value
    return decode_plainly(data, limit)  # which says what is wrong; and takes what is longer than an entry


def decode_plainly(data: bytes, limit: int = MAX_ENTRY_BYTES.value) -> Json:
    """`decode` by its definition, some four times slower: read, look at each value, write again, compare."""
    if len(data) > limit:
        raise Malformed(f"{len(data)} bytes of JSON, {limit} are allowed")
    try:
        value: Json = _decode(data)
        _check(value, MAX_JSON_DEPTH.value)
        again = _encode(value)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise Malformed(f"not JSON: {str(error)[:100]}") from None
    if again != data:
        raise Malformed("not the canonical form of what it says")
    return value


def _check(value: object, depth: int) -> None:
    """Refuse what canonical JSON lacks; `depth` containers may still be opened."""
    kind = type(value)
    if kind is str or kind is bool:
        return
    if kind is int:
        if not 0 <= value <= MAX_INT:  # type: ignore[operator]
            raise Malformed("a number is outside 0..2^53-1")
        return
    if kind is not dict and kind is not list:
        raise Malformed(f"a value of type {kind.__name__}")
    if depth == 0:
        raise Malformed(f"nested deeper than {MAX_JSON_DEPTH.value}")
    if kind is list:
        for item in value:  # type: ignore[attr-defined]
            _check(item, depth - 1)
        return
    for name, item in value.items():  # type: ignore[attr-defined]
        if type(name) is not str or not name.isascii():
            raise Malformed("a field name is not ASCII text")
        _check(item, depth - 1)
