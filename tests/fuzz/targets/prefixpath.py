"""Paths of the prefix tree, as JSON; the fold is done a second time with hashlib.

{"key": hex, "path": {"other": [hex, hex], "steps": [[depth, hex]]}, "value": hex}
"""

import hashlib
from typing import Any

from pyrsia.errors import Malformed, ProofInvalid
from pyrsia.ledger import prefixtree
from pyrsia.ledger.prefixtree import Path
from pyrsia.wire import canonical
from tests.reference import prefixtree as slow

MAX_BYTES = 4_096
JSON = True


def check(data: bytes) -> bool:
    try:
        fields = canonical.decode(data)
        assert isinstance(fields, dict)
        key, value = (_octets(fields.get(name)) for name in ("key", "value"))
        path = Path.from_json(fields.get("path"))
    except (Malformed, AssertionError):
        return False
    assert path.as_json() == fields["path"], "two spellings of one path"
    leaf = path.other or (key, value)
    root = _fold(leaf[0], leaf[1], path.steps) if len(leaf[0]) == len(leaf[1]) == 32 else b""
    present, absent = (
        _holds(prefixtree.verify_present, root, key, value, path),
        _holds(prefixtree.verify_absent, root, key, path),
    )
    falls = [depth for depth, _ in path.steps] == sorted({depth for depth, _ in path.steps}, reverse=True)
    sound = falls and len(key) == len(value) == 32
    assert present == (sound and path.other is None)
    assert absent == (falls and len(key) == 32 and path.other is not None and _ends_there(key, path))
    if present:
        assert not _holds(prefixtree.verify_present, root, _flipped(key), value, path)
        assert not _holds(prefixtree.verify_present, root, key, _flipped(value), path)
    return True


def _octets(value: Any) -> bytes:
    if not isinstance(value, str):
        raise Malformed("no text")
    try:
        return bytes.fromhex(value)
    except ValueError:
        raise Malformed("no hex") from None


def _holds(verify: Any, *args: Any) -> bool:
    try:
        verify(*args)
    except ProofInvalid:
        return False
    return True


def _fold(key: bytes, value: bytes, steps: tuple[tuple[int, bytes], ...]) -> bytes:
    node = hashlib.sha256(key + value).digest()
    for depth, sibling in steps:
        pair = (sibling, node) if slow.bit(key, depth) else (node, sibling)
        node = hashlib.sha256(bytes([depth]) + pair[0] + pair[1]).digest()
    return node


def _ends_there(key: bytes, path: Path) -> bool:
    assert path.other is not None
    other = path.other[0]
    return key != other and all(slow.bit(key, depth) == slow.bit(other, depth) for depth, _ in path.steps)


def _flipped(data: bytes) -> bytes:
    return bytes([data[0] ^ 1]) + data[1:]


def pairs(count: int) -> dict[bytes, bytes]:
    return {slow.sha256(b"key %d" % at): slow.sha256(b"value %d" % at) for at in range(count)}


def seeds() -> dict[str, bytes]:
    def said(key: bytes, value: bytes, path: Path) -> bytes:
        return canonical.encode({"key": key.hex(), "path": path.as_json(), "value": value.hex()})

    held = pairs(20)
    key, missing = next(iter(held)), slow.sha256(b"nobody")
    _, up = slow.lookup(held, key)
    found, down = slow.lookup(held, missing)
    there, not_there = Path(tuple(up)), Path(tuple(down), (found, held[found]))
    return {
        "present": said(key, held[key], there),
        "absent": said(missing, held[key], not_there),
        "one-pair": said(key, held[key], Path(())),
        "depths-that-rise": said(key, held[key], Path(tuple(reversed(up)))),
        "absent-where-it-is": said(key, held[key], Path(tuple(up), (key, held[key]))),
        "depth-256": said(key, held[key], there).replace(b"[[", b"[[25", 1),
        "no-path": b'{"key":"","value":""}',
    }
