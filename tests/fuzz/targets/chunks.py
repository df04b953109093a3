"""Frames of a data link; a mark divides the first frame from the second."""

from pyrsia.wire import chunks
from pyrsia.wire.chunks import Message, Type
from tests.fuzz import laws

MAX_BYTES = 1_024

_MARK = b"\xff\x00\xff|"


def check(data: bytes) -> bool:
    head, mark, payload = data.partition(_MARK)
    frames = [head, payload] if mark else [head]
    found = laws.read(lambda _: chunks.decode(frames), data)
    if found is None:
        return False
    assert chunks.encode(found) == head
    assert chunks.held_of(found) >= 0
    return True


def seeds() -> dict[str, bytes]:
    name = b"m" * 32
    heads = {
        "want-manifest": Message(Type.WANT_MANIFEST, name),
        "want-have": Message(Type.WANT_HAVE, name),
        "have-all": Message(Type.HAVE, name, count=9),
        "have-some": Message(Type.HAVE, name, count=9, bits=b"\x05\x01"),
        "get": Message(Type.GET, name, (3, 1, 2)),
        "cancel": Message(Type.CANCEL, name, (1,)),
        "nak": Message(Type.NAK, name),
        "busy": Message(Type.BUSY, name, (4,)),
    }
    made = {key: chunks.encode(message) for key, message in heads.items()}
    return {
        **made,
        "manifest": chunks.encode(Message(Type.MANIFEST, name)) + _MARK + b"bytes",
        "chunk": chunks.encode(Message(Type.CHUNK, name, (5,))) + _MARK + b"bytes",
        "chunk-without-bytes": chunks.encode(Message(Type.CHUNK, name, (5,))),
    }
