"""Checkpoints: origin, size and root in exactly three lines, and who must have signed them.

`Checkpoint.parse` is for our own log: exactly one text for one tree head. `Checkpoint.parse_foreign` reads
what the format allows besides, for the logs of others.

A validator signs each with two keys: the `log` key as the log itself (type 0x01, name = origin) and the
`cosign` key (cosignature/v1). q cosignatures, beside at least one signature as the log, make a
checkpoint trusted. Extension lines are refused: nothing of ours writes them. Validators and their keys
change with epochs; a quorum is always one of a single epoch.

Source: C2SP tlog-checkpoint.md v1.0.0; docs/log.md, "Checkpoints", "Epochs".
"""

import base64
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final, TypeAlias

from pyrsia.errors import Malformed, ProofInvalid
from pyrsia.log import note as notes
from pyrsia.log.note import COSIGNATURE, ED25519, Sign, SignatureLine, SignedNote, VerifierKey, Verify
from pyrsia.log.tree import EMPTY_ROOT
from pyrsia.units import HASH_BYTES, MAX_TREE_SIZE, TreeSize, needed
from pyrsia.wire.text import b32

_DECIMAL: Final = re.compile(r"0|[1-9][0-9]{0,15}", re.ASCII)
_NAME_CHARACTERS: Final = 16  # of the base32 key: 80 bits, enough for a name; the key id and key decide


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a log says of itself: which log, how many leaves, which root."""

    origin: str
    size: TreeSize
    root: bytes

    def text(self) -> bytes:
        """The three lines."""
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n".encode()

    @classmethod
    def parse(cls, text: bytes) -> "Checkpoint":
        """The inverse of `text`.

        Raises:
            Malformed: not exactly three lines, a size with a leading zero or out of range, a root that
                is not 32 bytes of canonical base64, an empty log with another root.
        """
        found, extensions = cls.parse_foreign(text)
        if extensions:
            raise Malformed("a checkpoint has exactly three lines")
        notes.check_name(found.origin)
        if found.size == 0 and found.root != EMPTY_ROOT:
            raise Malformed("a checkpoint of an empty log with a root")
        return found

    @classmethod
    def parse_foreign(cls, text: bytes) -> "tuple[Checkpoint, tuple[str, ...]]":
        """The checkpoint of any C2SP log, and its extension lines, which mean nothing here.

        Its origin may have spaces, and an empty log may claim any root: whoever relies on either checks it.
        What was signed is `text`, not the text of the checkpoint that this gives.

        Raises:
            Malformed: less than three lines, an empty one, a size that is not one decimal number or out of
                range, a root that is not 32 bytes of canonical base64.
        """
        notes.check_text(text)
        lines = text.decode().split("\n")[:-1]
        if len(lines) < 3 or "" in lines:
            raise Malformed("a checkpoint has three lines or more, and no empty one")
        origin, size, root = lines[0], lines[1], notes.unb64(lines[2])
        if len(origin.encode()) > notes.MAX_NAME_BYTES:
            raise Malformed(f"a checkpoint's origin is at most {notes.MAX_NAME_BYTES} bytes")
        if len(root) != HASH_BYTES:
            raise Malformed("a checkpoint's root is 32 bytes")
        return cls(origin, parse_size(size), root), tuple(lines[3:])


def parse_size(text: str) -> TreeSize:
    """A tree size as every format here writes it.

    Raises:
        Malformed: a sign, a leading zero, another digit than ASCII's, or more than a log can hold.
    """
    # Two texts of one tree head would be two things to sign, so characters are matched, not left to int().
    if _DECIMAL.fullmatch(text) is None or int(text) > MAX_TREE_SIZE.value:
        raise Malformed("a size is a decimal number without leading zeros, at most 2^53 - 1")
    return TreeSize(int(text))


@dataclass(frozen=True, slots=True)
class Trusted:
    """A checkpoint that a quorum signed.

    Attributes:
        time_s: the q-th newest cosignature's time: at least one honest validator signed no earlier.
        cosigners: public keys of all whose cosignature holds.
        of: keys of all validators of the epoch whose quorum this is.
    """

    checkpoint: Checkpoint
    time_s: int
    cosigners: tuple[bytes, ...]
    of: "tuple[Pair, ...]" = ()


Pair: TypeAlias = tuple[bytes, bytes]
"""A validator's public keys `log` and `cosign`."""


def cosigner_name(origin: str, public: bytes) -> str:
    """The name of a validator's cosignature lines; it follows from the key, so nobody has to tell it."""
    return f"{origin}/{b32(public)[:_NAME_CHARACTERS]}"


def log_key(origin: str, public: bytes) -> VerifierKey:
    """A validator's `log` key as a verifier key."""
    return VerifierKey(origin, ED25519, public)


def cosign_key(origin: str, public: bytes) -> VerifierKey:
    """A validator's `cosign` key as a verifier key."""
    return VerifierKey(cosigner_name(origin, public), COSIGNATURE, public)


def validator_keys(origin: str, validators: Iterable[Pair]) -> tuple[VerifierKey, ...]:
    """The verifier keys of validators."""
    return tuple(
        key for log, cosign in validators for key in (log_key(origin, log), cosign_key(origin, cosign))
    )


def log_line(checkpoint: Checkpoint, sign: Sign, public: bytes) -> SignatureLine:
    """The signature as the log itself."""
    return notes.sign_line(checkpoint.text(), checkpoint.origin, sign, public)


def cosign_line(checkpoint: Checkpoint, sign: Sign, public: bytes, time_s: int) -> SignatureLine:
    """The cosignature of a validator at `time_s`."""
    name = cosigner_name(checkpoint.origin, public)
    return notes.cosign_line(checkpoint.text(), name, sign, public, time_s)


def quorum(note: SignedNote, keys: Sequence[VerifierKey], q: int, verify: Verify) -> Trusted:
    """The checkpoint in `note`, if the log and q different cosigners among `keys` signed it.

    Raises:
        Malformed: not a checkpoint, or a known signature that does not hold.
        ProofInvalid: too few signatures, or a log that is not the one that `keys` are for.
    """
    if q < 1:
        raise ValueError("a quorum of nobody")
    checkpoint = Checkpoint.parse(note.text)
    signers = notes.verify_note(note, keys, verify)
    if not any(signer.key.kind == ED25519 and signer.key.name == checkpoint.origin for signer in signers):
        raise ProofInvalid("the checkpoint is not signed by the log that it names")
    # By key, not by name: a cosignature does not cover its name.
    times = {signer.key.public: signer.time_s for signer in signers if signer.time_s is not None}
    if len(times) < q:
        raise ProofInvalid(f"{len(times)} validators signed the checkpoint; {q} are needed")
    return Trusted(checkpoint, sorted(times.values(), reverse=True)[q - 1], tuple(times))


def quorum_of(note: SignedNote, origin: str, epochs: Sequence[Sequence[Pair]], verify: Verify) -> Trusted:
    """The checkpoint in `note`, if the log and a quorum of one of `epochs` signed it.

    Args:
        epochs: the validators of each epoch that may speak for this size: one, or two at the end of one. Lines
            of both are never added up.

    Raises:
        Malformed: not a checkpoint, or a known signature that does not hold.
        ProofInvalid: too few signatures of any one epoch, or a log of another origin.
    """
    failed = ProofInvalid("nobody's signatures count for a checkpoint of this size")
    for validators in reversed(epochs):
        try:
            found = quorum(note, validator_keys(origin, validators), needed(len(validators)), verify)
        except ProofInvalid as error:
            failed = error
        else:
            return replace(found, of=tuple(validators))
    raise failed
