"""Proof files: the lines of a tlog-proof around its note."""

from pyrsia.log.note import SignedNote
from pyrsia.log.prooffile import TlogProof
from pyrsia.units import LeafIndex
from tests.fuzz import laws
from tests.fuzz.targets import samples
from tests.reference import merkle

MAX_BYTES = 4_096


def check(data: bytes) -> bool:
    found = laws.one_form(data, TlogProof.parse, TlogProof.encode)
    if found is None:
        return False
    assert data.endswith(found.note)
    assert SignedNote.parse(found.note).encode() == found.note
    assert all(len(one) == 32 for one in found.hashes)
    return True


def seeds() -> dict[str, bytes]:
    note = samples.NOTE.encode()

    def proof(index: int, extra: bytes | None = None) -> bytes:
        return TlogProof(extra, LeafIndex(index), tuple(merkle.path(index, samples.HASHES)), note).encode()

    plain = proof(3)
    return {
        "plain": plain,
        "last-leaf": proof(6),
        "extra": proof(0, b'{"leaves":[],"v":1}'),
        "empty-extra": plain.replace(b"\nindex", b"\nextra \nindex"),
        "index-with-a-zero": plain.replace(b"index 3", b"index 03"),
        "index-beyond": plain.replace(b"index 3", b"index 9007199254740992"),
        "no-note": plain[: plain.index(b"\n\n") + 2],
        "hash-of-31-bytes": plain.replace(b"index 3\n", b"index 3\n" + b"A" * 41 + b"AA=\n"),
    }
