"""What a witness of other people answers: two bytes that choose the status, then the body."""

from pyrsia.log.feed import Asked, Feed
from pyrsia.log.note import COSIGNATURE, SignatureLine, VerifierKey
from tests.fuzz import laws
from tests.fuzz.targets import samples

MAX_BYTES = 1_024

_OWN = samples.PAIRS[0][1]
KEY = VerifierKey("w.example", COSIGNATURE, _OWN.public)
STATUS = (200, 409, 404, 422, 500, 200, 409, 200)


def check(data: bytes) -> bool:
    choice, body = data[:1], data[1:]
    asked = laws.read(lambda raw: Asked.parse(raw.decode("utf-8", "replace")), body)
    if asked is not None:
        assert Asked.parse(str(asked)) == asked
    status = STATUS[choice[0] % len(STATUS)] if choice else 200
    kind = "text/x.tlog.size; charset=utf-8" if status == 409 else "text/plain"
    feed = Feed(KEY, lambda *_: True)
    given = feed.on_answer(1.0, samples.HEAD, status, kind, body)
    if given is None:
        learnt = status == 409 and not feed.trouble
        assert bool(feed.trouble) != learnt
        assert learnt == (feed.size > 0)
        return asked is not None or learnt
    assert status == 200
    assert (given.text, given.line.key_id) == (samples.HEAD.text(), KEY.id)
    assert given.time_s == int.from_bytes(given.line.signature[:8], "big")
    return True


def seeds() -> dict[str, bytes]:
    line = SignatureLine(KEY.name, KEY.id, bytes(4) + b"\x60\0\0\0" + bytes(64)).encode()
    other = samples.NOTE.lines[1].encode()
    return {
        "line": b"\0" + line,
        "two-lines": b"\0" + other + line,
        "other": b"\0" + other,
        "size": b"\x017\n",
        "size-with-a-plus": b"\x01+7\n",
        "no": b"\x03",
        "asked": f"\0{KEY} https://w.example/".encode(),
        "asked-of-nobody": f"\0{KEY} https://[".encode(),
    }
