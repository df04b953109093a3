"""Whose signature makes a checkpoint worth believing: named keys for any log, a quorum for a pinned network.

A `Rule` reads a note and gives the head that it may be believed for, or refuses. Foreign logs may write
extension lines below the root; ours never do.

Source: C2SP tlog-checkpoint v1.0.0 and signed-note; docs/log.md, "Checkpoints".
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from pyrsia import keys
from pyrsia.errors import Malformed, ProofInvalid, Refusal
from pyrsia.ledger.genesis import Genesis
from pyrsia.log import checkpoint as checkpoints
from pyrsia.log import note as notes
from pyrsia.log.checkpoint import Checkpoint
from pyrsia.log.note import SignedNote, VerifierKey
from pyrsia.verify.evidence import validator_keys
from pyrsia.verify.pins import Pin


@dataclass(frozen=True, slots=True)
class Head:
    """A checkpoint whose signatures hold.

    Attributes:
        note: its exact bytes.
        time_s: when it was cosigned, if anybody that counts said so.
        signers: names of the keys that count, as their lines have them.
    """

    note: bytes
    checkpoint: Checkpoint
    time_s: int | None
    signers: tuple[str, ...]


class Rule(Protocol):
    """Who must have signed."""

    @property
    def genesis(self) -> Genesis | None:
        """Of a Pyrsia log, whose entries then have a form to check; None for any other log."""
        ...

    def read(self, note: bytes) -> Head:
        """The head that `note` may be believed for.

        Raises:
            Malformed: no checkpoint, a signature that does not hold, or too few of them (`ProofInvalid`).
        """
        ...


@dataclass(frozen=True, slots=True)
class NamedKeys:
    """Every one of `keys` must have signed.

    A plain key signs as the log, so it names the origin too; with cosigners' keys alone the origin is
    whatever they signed, unless it is given.
    """

    keys: tuple[VerifierKey, ...]
    origin: str | None = None

    @property
    def genesis(self) -> Genesis | None:
        return None

    def read(self, note: bytes) -> Head:
        parsed = SignedNote.parse(note)
        found, _ = Checkpoint.parse_foreign(parsed.text)
        signers = notes.verify_note(parsed, self.keys, keys.verify)
        lacking = set(self.keys) - {signer.key for signer in signers}
        if lacking or not self.keys:
            raise ProofInvalid(
                f"the checkpoint is not signed by {min((k.name for k in lacking), default='')}"
            )
        if found.origin not in self._origins(found.origin):
            raise ProofInvalid(f"the checkpoint is of another log: {found.origin}")
        times = [signer.time_s for signer in signers if signer.time_s is not None]
        return Head(note, found, min(times, default=None), tuple(signer.key.name for signer in signers))

    def _origins(self, default: str) -> set[str]:
        if self.origin is not None:
            return {self.origin}
        return {key.name for key in self.keys if key.kind == notes.ED25519} or {default}


@dataclass(frozen=True, slots=True)
class Quorum:
    """The log and q validators of a network must have signed."""

    network: Genesis

    @property
    def genesis(self) -> Genesis | None:
        return self.network

    def read(self, note: bytes) -> Head:
        parsed = SignedNote.parse(note)
        known = validator_keys(self.network)
        trusted = checkpoints.quorum(parsed, known, self.network.q, keys.verify)
        names = {key.public: key.name for key in known}
        signers = tuple(names[public] for public in trusted.cosigners)
        return Head(note, trusted.checkpoint, trusted.time_s, signers)


def origin_of(note: bytes) -> str:
    """The log that a note names, nothing verified.

    Raises:
        Malformed: no checkpoint.
    """
    return Checkpoint.parse_foreign(SignedNote.parse(note).text)[0].origin


def named(vkeys: Sequence[str], origin: str | None) -> NamedKeys:
    """The rule of keys as a person wrote them.

    Raises:
        Refusal: `usage` for what is no verifier key.
    """
    try:
        return NamedKeys(tuple(VerifierKey.parse(text) for text in vkeys), origin)
    except Malformed as error:
        raise Refusal(
            "usage",
            what=f"this is no verifier key: {error}",
            who="--vkey",
            do="write it as its owner does: <name>+<8 hex digits>+<base64>; Ed25519 and cosignature/v1 only",
        ) from None


def pinned(note: bytes, pins: Sequence[Pin]) -> Quorum:
    """The rule of the pinned network that keeps the log which `note` names.

    Raises:
        Refusal: `not-pinned`.
        Malformed: no checkpoint.
    """
    origin = origin_of(note)
    for pin in pins:
        if pin.genesis.origin == origin:
            return Quorum(pin.genesis)
    raise Refusal(
        "not-pinned",
        what=f"not pinned: no pinned network keeps the log {origin}",
        who="this machine's trust",
        do="name the log's key with --vkey KEY, or pin its network: pyrsia trust add URL --digest sha256:...",
    )
