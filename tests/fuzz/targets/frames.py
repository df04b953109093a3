"""Frames of a control link, one after another as a peer may send them, each behind its length; and greetings."""

from pyrsia.units import NodeId
from pyrsia.wire import frames
from pyrsia.wire.frames import Assembler, Frame, Greeting, Type
from tests.fuzz import laws

MAX_BYTES = 4_096


def check(data: bytes) -> bool:
    greeting = laws.one_form(data, frames.decode_greeting, lambda found: frames.encode_greeting(*found))
    laws.one_form(data, frames.split_seq, lambda found: frames.with_seq(*found))
    accepted, assembler = greeting is not None, Assembler()
    for piece in _pieces(data):
        frame = laws.one_form(piece, frames.decode, frames.encode)
        accepted |= frame is not None
        if frame is not None and frame.type is Type.BUNDLE:
            laws.one_form(frame.body, lambda body: frames.unbundled(body, 66), _bundle)
        if frame is not None and frame.type is Type.PART:
            whole = laws.read(lambda _, part=frame: assembler.add(part), piece)
            assert whole is None or whole.type is not Type.PART
    return accepted


def _pieces(data: bytes) -> list[bytes]:
    """A list of byte strings out of one: each behind its length as u16."""
    found = []
    while len(data) > 2:
        size = int.from_bytes(data[:2], "big")
        found.append(data[2 : 2 + size])
        data = data[2 + size :]
    return found


def _bundle(found: list[bytes]) -> bytes:
    return b"".join(len(piece).to_bytes(4, "big") + piece for piece in found)


def _joined(*pieces: bytes) -> bytes:
    return b"".join(len(piece).to_bytes(2, "big") + piece for piece in pieces)


def seeds() -> dict[str, bytes]:
    said = Greeting(
        NodeId(b"n" * 32), b"c" * 32, NodeId(b"t" * 32), b"o" * 16, 1_800_000_000_000, "node 1",
        "tcp://127.0.0.1:7001", "tcp://[::1]:7002", "tcp://127.0.0.1:7003",
    )  # fmt: skip
    kinds = {kind.name.lower(): _joined(frames.encode(Frame(kind, 7, 1_000, 0, b"body"))) for kind in Type}
    # The real ones are 64 KiB each: the fuzzer gets their heads, and pieces that are too short for their place.
    parts = [frames.encode(Frame(Type.PART, 1, 0, 0, bytes((0, at, 0, 3)) + b"piece")) for at in range(3)]
    return {
        **kinds,
        "greeting": frames.encode_greeting(said, b"s" * 64),
        "parts": _joined(*parts),
        "bundle": _joined(frames.bundled([frames.reply(1, b"x"), frames.request(2, 9, 3, b"y")])[0]),
        "numbered": _joined(frames.encode(Frame(Type.REQUEST, 7, 1_000, 513, b""))),
        "cut": _joined(frames.encode(Frame(Type.PING))[:-1]),
    }
