"""`add-checkpoint` bodies and what a witness answers to them; lines that say which logs it watches.

The first byte says what the witness cosigned before: nothing, the same head, a smaller one, or another root.
"""

from pyrsia.log.note import SignedNote
from pyrsia.log.witness import Cosigned, Request, WatchedLog, WitnessKey, decide
from pyrsia.units import TreeSize
from tests.fuzz import laws
from tests.fuzz.targets import samples
from tests.reference import merkle

MAX_BYTES = 4_096

LOG = WatchedLog(samples.ORIGIN, tuple(key for key in samples.KEYS if key.kind == 1))
_LOG_KEY, _OWN = samples.PAIRS[0]
OWN = WitnessKey("w.example", _OWN.public, _OWN.sign)


def check(data: bytes) -> bool:
    before, body = data[:1], data[1:]
    line = laws.read(lambda raw: WatchedLog.parse(raw.decode("utf-8", "replace")), body)
    if line is not None:
        assert WatchedLog.parse(str(line)) == line
    request = laws.one_form(body, Request.parse, Request.encode)
    if request is None:
        return line is not None
    state = _states()[before[0] % 4 if before else 0]
    decision = decide(LOG, state, request, now_s=samples.TIME_S, key=OWN, verify=lambda *_: True)
    given = [bool(decision.line), decision.size is not None, decision.refusal is not None]
    assert sum(given) == 1, "one answer, and only one"
    if decision.keep is not None:
        assert decision.line
        assert decision.keep.size >= (state.size if state else 0)
        assert SignedNote.parse(decision.keep.note).text == request.note.text
    if decision.line and state is not None and state.size == request.checkpoint.size:
        assert state.root == request.checkpoint.root, "two roots of one size cosigned"
    return True


def _states() -> list[Cosigned | None]:
    def kept(size: int, root: bytes) -> Cosigned:
        note = samples.signed(samples.head_of(samples.ORIGIN, size, root)).encode()
        return Cosigned(TreeSize(size), root, samples.TIME_S - 9, note, ((size, root, note),))

    size = samples.HEAD.size
    smaller = merkle.root(samples.HASHES[:3])
    return [
        None,
        kept(size, samples.HEAD.root),
        kept(3, smaller),
        kept(size, b"another root of 32 octets, x 32."),
    ]


def seeds() -> dict[str, bytes]:
    note, head = samples.NOTE, samples.HEAD
    grown = tuple(merkle.proof(3, samples.HASHES))
    first = Request(TreeSize(0), (), note, head).encode()
    then = Request(TreeSize(3), grown, note, head).encode()
    same = Request(head.size, (), note, head).encode()
    key = str(LOG.keys[0])
    return {
        "first": b"\0" + first,
        "grown": b"\2" + then,
        "same": b"\1" + same,
        "fork": b"\3" + same,
        "wrong-old-size": b"\2" + same,
        "old-beyond": b"\2" + then.replace(b"old 3", b"old 9"),
        "old-with-a-zero": b"\2" + then.replace(b"old 3", b"old 03"),
        "proof-too-long": b"\2" + then.replace(b"old 3\n", b"old 3\n" + grown_line(grown[0]) * 70),
        "no-checkpoint": b"\0old 0\n\n",
        "log": b"\0" + key.encode(),
        "log-of-two": f"\0{2} {LOG.keys[0]} {LOG.keys[1]} origin=a b".encode(),
    }


def grown_line(one: bytes) -> bytes:
    return b"".join((samples.b64(one), b"\n"))
