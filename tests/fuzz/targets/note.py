"""Signed notes, against the rules of the format read by regular expressions."""

import base64
import re

from pyrsia.log.note import ED25519, SignedNote, VerifierKey, verify_note
from tests.fuzz import laws
from tests.fuzz.targets import samples

MAX_BYTES = 2_048

_LINE = re.compile("\u2014 ([^\\s+\x00-\x1f\x7f\x85]{1,255}) ([A-Za-z0-9+/]+={0,2})")


def check(data: bytes) -> bool:
    found = laws.one_form(data, SignedNote.parse, SignedNote.encode)
    assert (found is not None) == _is_note(data), "the two readers disagree"
    if found is None:
        return False
    laws.read(lambda _: verify_note(found, samples.KEYS, lambda *_: True), data)
    first = found.lines[0]
    key = VerifierKey(first.name, ED25519, bytes(32))
    assert VerifierKey.parse(str(key)) == key
    return True


def _is_note(data: bytes) -> bool:
    """Whether `data` is a note: split once from behind, then line by line."""
    try:
        text, divided, below = data.decode().rpartition("\n\n")
    except UnicodeDecodeError:
        return False
    lines = below.split("\n")
    if not divided or lines.pop() or not lines or any(ord(c) < 32 and c != "\n" for c in text):
        return False
    return len(lines) <= 256 and all(map(_is_line, lines))


def _is_line(line: str) -> bool:
    found = _LINE.fullmatch(line)
    if found is None or len(found[1].encode()) > 255 or len(found[2]) % 4:
        return False
    data = base64.b64decode(found[2])
    return len(data) > 4 and base64.b64encode(data).decode() == found[2]


def seeds() -> dict[str, bytes]:
    return {
        "checkpoint": samples.NOTE.encode(),
        "one-line": SignedNote(samples.NOTE.text, samples.NOTE.lines[:1]).encode(),
        "empty-lines-in-the-text": SignedNote(b"a\n\n\nb\n", samples.NOTE.lines[1:2]).encode(),
        "name-beyond-ascii": b"x\n\n\xe2\x80\x94 caf\xc3\xa9 AAAAAAAAAA==\n",
        "bits-left-over": b"x\n\n\xe2\x80\x94 a AAAAAAAAAB==\n",
        "hyphen-for-the-dash": b"x\n\n- a AAAAAAAAAA==\n",
        "carriage-return": b"x\n\n\xe2\x80\x94 a AAAAAAAAAA==\r\n",
        "no-signature": b"x\n\n\n",
    }
