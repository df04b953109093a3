"""Signature lines, and what they say as a signature or a cosignature of a known key."""

from pyrsia.log import note as notes
from pyrsia.log.note import COSIGNATURE, ED25519, SignatureLine, VerifierKey
from tests.fuzz import laws
from tests.fuzz.targets import samples

MAX_BYTES = 512

PUBLIC = bytes(range(32))


def check(data: bytes) -> bool:
    line = laws.one_form(data, SignatureLine.parse, SignatureLine.encode)
    if line is None:
        return False
    for kind in (ED25519, COSIGNATURE):
        _as_signed_by(VerifierKey(line.name, kind, PUBLIC), line)
    return True


def _as_signed_by(key: VerifierKey, line: SignatureLine) -> None:
    """The line with the key's own id: its message and time, for a verifier that accepts what it is given."""
    asked: list[tuple[bytes, bytes, bytes]] = []
    own = SignatureLine(line.name, key.id, line.signature)
    signer = laws.read(
        lambda text: notes.verify_line(text, own, key, lambda *said: not asked.append(said)),
        samples.NOTE.text,
    )
    stamped = key.kind == COSIGNATURE
    time_s = int.from_bytes(line.signature[:8], "big") if stamped else None
    whole = len(line.signature) == (72 if stamped else 64) and (time_s or 0) < 1 << 63
    assert (signer is not None) == whole
    if signer is not None:
        said = f"cosignature/v1\ntime {time_s}\n".encode() if stamped else b""
        assert signer.time_s == time_s
        assert asked == [(PUBLIC, said + samples.NOTE.text, line.signature[-64:])]


def seeds() -> dict[str, bytes]:
    log, cosigned = samples.NOTE.lines[:2]
    late = b"\xff" * 8 + cosigned.signature[8:]
    return {
        "signature": log.encode(),
        "cosignature": cosigned.encode(),
        "time-beyond-2-63": SignatureLine(cosigned.name, cosigned.key_id, late).encode(),
        "one-byte": SignatureLine("a", b"1234", b"x").encode(),
        "no-byte": b"\xe2\x80\x94 a AAAAAA==\n",
        "no-line-end": log.encode()[:-1],
    }
