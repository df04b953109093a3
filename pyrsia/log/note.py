"""C2SP signed notes: a text, an empty line, signature lines. Strict: one text, one encoding.

Decides what is a note and which known keys signed it. Lines of unknown keys are ignored, a known key
whose signature fails spoils the whole note. What the text means, and how many signers are enough, are
decided elsewhere. Base64 must be canonical: two encodings of one signature would be two notes.

Source: C2SP signed-note.md v1.0.0 and tlog-cosignature.md; docs/log.md, "Checkpoints".
"""

import base64
import binascii
import hashlib
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, TypeAlias

from pyrsia.errors import Malformed
from pyrsia.units import MAX_NOTE_BYTES, MAX_NOTE_LINES, Limit

MAX_VKEY_BYTES = Limit(4_096, "an ML-DSA-44 key is 1,756 characters of base64, behind a name of 255 bytes")

Sign: TypeAlias = Callable[[bytes], bytes]  # message -> 64-byte Ed25519 signature
Verify: TypeAlias = Callable[[bytes, bytes, bytes], bool]  # (public key, message, signature)

ED25519: Final = 0x01
COSIGNATURE: Final = 0x04
ML_DSA_44: Final = 0x06  # read in policies, not verified here
KEY_ID_BYTES: Final = 4
PUBLIC_BYTES: Final = 32
SIGNATURE_BYTES: Final = 64
TIME_BYTES: Final = 8
MAX_TIME_S: Final = (1 << 63) - 1

_DASH: Final = "\u2014 ".encode()
# Unicode's white space, spelt out: no table of the interpreter decides what is a name.
_NOT_IN_A_NAME: Final = re.compile(
    "[\x00-\x20\x7f\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000+]"
)
_CONTROL: Final = re.compile(rb"[\x00-\x09\x0b-\x1f]")
_KEY_ID: Final = re.compile(r"[0-9a-f]{8}", re.ASCII)
MAX_NAME_BYTES: Final = 255  # what a cosignature format with a one-byte length can carry


def key_id(name: str, kind: int, public: bytes) -> bytes:
    """The first 4 bytes of SHA-256(name || 0x0A || kind || public key)."""
    return hashlib.sha256(name.encode() + b"\n" + bytes([kind]) + public).digest()[:KEY_ID_BYTES]


@dataclass(frozen=True, slots=True)
class VerifierKey:
    """Who may sign, under which name and in which of the two ways that we verify."""

    name: str
    kind: int
    public: bytes

    def __post_init__(self) -> None:
        check_name(self.name)
        if self.kind not in (ED25519, COSIGNATURE) or len(self.public) != PUBLIC_BYTES:
            raise Malformed("a verifier key is 32 bytes of type 1 or 4")

    @property
    def id(self) -> bytes:
        return key_id(self.name, self.kind, self.public)

    def __str__(self) -> str:
        """`<name>+<key id in hex>+<base64 of type and key>`."""
        return f"{self.name}+{self.id.hex()}+{b64(bytes([self.kind]) + self.public)}"

    @classmethod
    def parse(cls, text: str) -> "VerifierKey":
        """The inverse of `str`.

        Raises:
            Malformed: another shape, an unknown type, or an id that is not this key's.
        """
        return cls(*split_vkey(text))


def split_vkey(text: str) -> tuple[str, int, bytes]:
    """(name, type, public key) of a verifier key of any type, also one whose signatures nobody here can check.

    Raises:
        Malformed: too long, another shape, or an id that is not this key's. The id of a type that we do not
            know follows a rule that we do not know, so it is not checked.
    """
    if len(text) > MAX_VKEY_BYTES.value:
        raise Malformed(f"a verifier key of more than {MAX_VKEY_BYTES.value} characters")
    name, _, rest = text.partition("+")
    shown, _, encoded = rest.partition("+")
    check_name(name)
    data = unb64(encoded)
    if len(data) < 2 or _KEY_ID.fullmatch(shown) is None:
        raise Malformed("a verifier key is <name>+<8 hex digits>+<base64 of type and key>")
    kind, public = data[0], data[1:]
    if kind in (ED25519, COSIGNATURE, ML_DSA_44) and key_id(name, kind, public).hex() != shown:
        raise Malformed("a verifier key whose id belongs to another")
    return name, kind, public


@dataclass(frozen=True, slots=True)
class SignatureLine:
    """One signature: whose, as it says, and the bytes after the key id."""

    name: str
    key_id: bytes
    signature: bytes

    def encode(self) -> bytes:
        return _DASH + f"{self.name} {b64(self.key_id + self.signature)}\n".encode()

    @classmethod
    def parse(cls, line: bytes) -> "SignatureLine":
        """A line with its line end.

        Raises:
            Malformed: not the one way to write it.
        """
        if not line.startswith(_DASH) or not line.endswith(b"\n"):
            raise Malformed("a signature line begins with an em dash and ends with a line end")
        try:
            name, _, encoded = line[len(_DASH) : -1].decode().partition(" ")
        except UnicodeDecodeError as error:
            raise Malformed("a signature line is not UTF-8") from error
        check_name(name)
        data = unb64(encoded)
        if len(data) <= KEY_ID_BYTES:
            raise Malformed("a signature line without a signature")
        return cls(name, data[:KEY_ID_BYTES], data[KEY_ID_BYTES:])


@dataclass(frozen=True, slots=True)
class SignedNote:
    """A text and the lines below it, not yet verified."""

    text: bytes
    lines: tuple[SignatureLine, ...]

    def encode(self) -> bytes:
        return self.text + b"\n" + b"".join(line.encode() for line in self.lines)

    @classmethod
    def parse(cls, data: bytes) -> "SignedNote":
        """The note that `data` is; `parse(data).encode() == data`.

        Raises:
            Malformed: too long, not UTF-8, control characters, no empty line before the signatures, too
                many of them, or one that is not canonical.
        """
        if len(data) > MAX_NOTE_BYTES.value:
            raise Malformed(f"a note of more than {MAX_NOTE_BYTES.value} bytes")
        # The last empty line divides: the text may have empty lines of its own.
        at = data.rfind(b"\n\n")
        if at < 0:
            raise Malformed("a note without an empty line before its signatures")
        text, below = data[: at + 1], data[at + 2 :]
        check_text(text)
        if not below.endswith(b"\n"):
            raise Malformed("a note ends with a signature line and its line end")
        lines = below.splitlines(keepends=True) if b"\r" not in below else [b""]
        if len(lines) > MAX_NOTE_LINES.value:
            raise Malformed(f"a note with more than {MAX_NOTE_LINES.value} signatures")
        return cls(text, tuple(SignatureLine.parse(line) for line in lines))


@dataclass(frozen=True, slots=True)
class Signer:
    """A known key whose signature holds; `time_s` is None unless it is a cosignature."""

    key: VerifierKey
    time_s: int | None


def sign_line(text: bytes, name: str, sign: Sign, public: bytes) -> SignatureLine:
    """A plain Ed25519 signature of `text` (type 0x01)."""
    return SignatureLine(name, key_id(name, ED25519, public), sign(text))


def cosign_line(text: bytes, name: str, sign: Sign, public: bytes, time_s: int) -> SignatureLine:
    """A cosignature/v1 of `text` at `time_s`, in seconds since 1970 (type 0x04).

    The signed message does not hold the name, so every cosigner needs a key of its own.
    """
    stamp = time_s.to_bytes(TIME_BYTES, "big")
    signature = stamp + sign(cosigned(text, time_s))
    return SignatureLine(name, key_id(name, COSIGNATURE, public), signature)


def cosigned(text: bytes, time_s: int) -> bytes:
    """The message of a cosignature/v1 (tlog-cosignature, "Ed25519 signed message")."""
    return b"cosignature/v1\ntime %d\n" % time_s + text


def verify_note(note: SignedNote, keys: Iterable[VerifierKey], verify: Verify) -> tuple[Signer, ...]:
    """The signers among `keys`, in the order of their lines; perhaps none.

    Raises:
        Malformed: a known key's signature does not hold, or a known key signed twice.
    """
    known = {(key.name, key.id): key for key in keys}
    signers: dict[VerifierKey, Signer] = {}
    for line in note.lines:
        key = known.get((line.name, line.key_id))
        if key is None:
            continue
        if key in signers:
            raise Malformed("a note that one key signed twice")
        signers[key] = verify_line(note.text, line, key, verify)
    return tuple(signers.values())


def verify_line(text: bytes, line: SignatureLine, key: VerifierKey, verify: Verify) -> Signer:
    """`line` as a signature of `text` by `key`.

    Raises:
        Malformed: another key's line, or a signature that does not hold.
    """
    if (line.name, line.key_id) != (key.name, key.id):
        raise Malformed("a signature line of another key")
    if key.kind == ED25519:
        time_s, message, signature = None, text, line.signature
    else:
        time_s = int.from_bytes(line.signature[:TIME_BYTES], "big")
        if time_s > MAX_TIME_S:
            raise Malformed("a cosignature with a time out of range")
        message, signature = cosigned(text, time_s), line.signature[TIME_BYTES:]
    if len(signature) != SIGNATURE_BYTES or not verify(key.public, message, signature):
        raise Malformed(f"a signature of {line.name} does not hold")
    return Signer(key, time_s)


def check_name(name: str) -> None:
    """Raises Malformed unless `name` may stand in a signature line."""
    try:
        size = len(name.encode())
    except UnicodeEncodeError as error:
        raise Malformed("a key name that UTF-8 cannot write") from error
    if not 1 <= size <= MAX_NAME_BYTES or _NOT_IN_A_NAME.search(name):
        raise Malformed("a key name is 1 to 255 bytes without space or plus")


def check_text(text: bytes) -> None:
    """Raises Malformed unless `text` may be signed as a note."""
    if not text.endswith(b"\n") or _CONTROL.search(text):
        raise Malformed("a note's text ends with a line end and has no control characters")
    try:
        text.decode()
    except UnicodeDecodeError as error:
        raise Malformed("a note's text is not UTF-8") from error


def unb64(text: str) -> bytes:
    """Standard base64 with padding, the one way to write it.

    Raises:
        Malformed: anything else, unused bits that are set included.
    """
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Malformed("not base64") from error
    if b64(data) != text:
        raise Malformed("base64 that is not canonical")
    return data


def b64(data: bytes) -> str:
    """Standard base64 with padding."""
    return base64.b64encode(data).decode("ascii")
