"""DSSE envelopes, for a verifier that holds every signature for good: what was opened is packed and opened again."""

from pyrsia.builds import dsse
from tests.fuzz import laws

MAX_BYTES = 1_024
JSON = True

KEY = bytes(range(32))


def check(data: bytes) -> bool:
    found = laws.read(_open, data)
    if found is None:
        return False
    payload, held = found
    assert held == (KEY,)
    packed = dsse.envelope(payload, [("key", bytes(64))])
    assert _open(packed.encode()) == found
    return True


def _open(data: bytes) -> tuple[bytes, tuple[bytes, ...]]:
    return dsse.opened(data.decode("utf-8", "replace"), [KEY, KEY], lambda *_: True)


def seeds() -> dict[str, bytes]:
    plain = dsse.envelope(b'{"a":1}', [("key", bytes(64))]).encode()
    return {
        "plain": plain,
        "unsigned": dsse.envelope(b"{}", []).encode(),
        "two": dsse.envelope(b"{}", [("a", bytes(64)), ("b", b"\xff" * 64)]).encode(),
        "another-type": plain.replace(b"in-toto", b"other"),
        "cut": plain[:-1],
        "payload-is-a-number": b'{"payload":1,"payloadType":"application/vnd.in-toto+json","signatures":[]}',
        "deep": b'{"signatures":' + b"[" * 500 + b"]" * 500 + b"}",
    }
