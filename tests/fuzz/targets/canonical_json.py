"""Canonical JSON, against the standard library; and the native scan of it, of one entry and of a bundle."""

import json

from pyrsia._native import form
from pyrsia.units import MAX_JSON_DEPTH
from pyrsia.wire import canonical
from tests.fuzz import laws

MAX_BYTES = 1_024
JSON = True


def check(data: bytes) -> bool:
    found = laws.one_form(data, canonical.decode, canonical.encode)
    said = _standard(data)
    assert (found is not None) == (said is not None), "the two readers disagree"
    assert found == (said and said[0])
    at = form.malformed_at(data)
    assert (at == -1) == (found is not None), "the native scan disagrees"
    assert -1 <= at <= len(data)
    length = len(data).to_bytes(2, "big")
    assert form.first_malformed(b"\x00\x011" + length + data + b"\x00\x01[", 3) == (1 if found is None else 2)
    return found is not None


def _standard(data: bytes) -> tuple[object] | None:
    """The value in a tuple, if the standard library writes what it read in the same bytes."""
    try:
        value = json.loads(data.decode(), parse_float=_no, parse_constant=_no)
        again = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode()
    except (ValueError, RecursionError):
        return None
    return (value,) if again == data and _allowed(value, MAX_JSON_DEPTH.value) else None


def _no(text: str) -> object:
    raise ValueError(text)


def _allowed(value: object, depth: int) -> bool:
    if isinstance(value, dict | list):
        if depth == 0 or (isinstance(value, dict) and not all(name.isascii() for name in value)):
            return False
        return all(
            _allowed(item, depth - 1) for item in (value.values() if isinstance(value, dict) else value)
        )
    return isinstance(value, str | bool) or (isinstance(value, int) and 0 <= value < 1 << 53)


def seeds() -> dict[str, bytes]:
    texts = [
        '{"a":[1,true,"x"],"b":{}}', '{"b":1,"a":1}', '{"a":1,"a":1}', "[1.0]", "[1e3]", "[-0]", "[-1]", "null",
        "[9007199254740991]", "[9007199254740992]", '"\u00e9\U0001f600"', '"\\u00e9"', '"\\n\\t\\u0000"', '"\\/"',
        '"\x7f"', '"\\ud800"', "[[[[[[[[1]]]]]]]]", "[[[[[[[[[1]]]]]]]]]", " 1", "1 ", "01", "NaN", '{"\u00e9":1}',
        "", '"', "[1,]", "\ufeff1",
    ]  # fmt: skip
    return {f"{number:02d}": text.encode() for number, text in enumerate(texts)}
