"""Whose signature makes a checkpoint worth believing: named keys for any log, a quorum for a pinned network.

A `Rule` reads a note and gives the head that it may be believed for, or refuses. Foreign logs may write
extension lines below the root; ours never do. Validators change with epochs: whoever gives the note also gives the
steps from those that are known to those who signed it, each of which is proven before it counts.

Source: C2SP tlog-checkpoint v1.0.0 and signed-note; docs/log.md, "Checkpoints", "Epochs".
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from pyrsia import keys
from pyrsia.consensus.light import Contradiction
from pyrsia.errors import Malformed, ProofInvalid, Refusal
from pyrsia.ledger.genesis import Genesis
from pyrsia.log import checkpoint as checkpoints
from pyrsia.log import note as notes
from pyrsia.log.checkpoint import Checkpoint, Trusted
from pyrsia.log.note import SignedNote, VerifierKey
from pyrsia.verify.epochs import Line, Steps
from pyrsia.verify.evidence import forked
from pyrsia.verify.pins import Pin


def no_steps(epoch: int) -> bytes | None:
    """Nobody tells of later epochs."""
    return None


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

    @property
    def line(self) -> Line | None:
        """The epochs of a Pyrsia log that are known by now; None for any other log."""
        ...

    def read(self, note: bytes, steps: Steps = no_steps) -> Head:
        """The head that `note` may be believed for.

        Args:
            steps: gives the steps to later epochs, where that takes them.

        Raises:
            Malformed: no checkpoint, a signature that does not hold, or too few of them (`ProofInvalid`).
            Refusal: an alarm; quorums have signed what excludes each other.
            Unavailable: `steps` cannot be had now.
        """
        ...

    def follow(self, steps: Steps) -> int:
        """Take all further steps that `steps` gives; how many. Raises as `read`."""
        ...


class _Epochless:
    """The rule of a log whose signers do not change."""

    @property
    def genesis(self) -> Genesis | None:
        return None

    @property
    def line(self) -> Line | None:
        return None

    def follow(self, steps: Steps) -> int:
        return 0


@dataclass(frozen=True)
class NamedKeys(_Epochless):
    """Every one of `keys` must have signed.

    A plain key signs as the log, so it names the origin too; with cosigners' keys alone the origin is
    whatever they signed, unless it is given.
    """

    keys: tuple[VerifierKey, ...]
    origin: str | None = None

    def read(self, note: bytes, steps: Steps = no_steps) -> Head:
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


@dataclass(frozen=True)
class Unsigned(_Epochless):
    """Nobody's signature counts: for a log that is read along without a pin."""

    def read(self, note: bytes, steps: Steps = no_steps) -> Head:
        return Head(note, Checkpoint.parse_foreign(SignedNote.parse(note).text)[0], None, ())


class Quorum:
    """The log and a quorum of a network's validators must have signed: those of the epoch that the size lies in."""

    def __init__(self, network: Genesis, steps: Sequence[bytes] = ()) -> None:
        """`steps`: to later epochs, as they are remembered; they are proven here."""
        self.network = network
        self._line = Line.of(network, steps, keys.verify)

    @property
    def genesis(self) -> Genesis | None:
        return self.network

    @property
    def line(self) -> Line | None:
        return self._line

    def read(self, note: bytes, steps: Steps = no_steps) -> Head:
        parsed = SignedNote.parse(note)
        try:
            trusted = self._trusted(parsed)
        except ProofInvalid:
            if not self.follow(steps):
                raise
            trusted = self._trusted(parsed)
        origin = self.network.origin
        signers = tuple(checkpoints.cosigner_name(origin, public) for public in trusted.cosigners)
        return Head(note, trusted.checkpoint, trusted.time_s, signers)

    def follow(self, steps: Steps) -> int:
        try:
            return self._line.follow(steps)
        except Contradiction as error:
            raise forked(error) from None

    def _trusted(self, note: SignedNote) -> Trusted:
        try:
            return self._line.trusted(note)
        except Contradiction as error:
            raise forked(error) from None


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
            return Quorum(pin.genesis, pin.steps)
    raise Refusal(
        "not-pinned",
        what=f"not pinned: no pinned network keeps the log {origin}",
        who="this machine's trust",
        do="name the log's key with --vkey KEY, or pin its network: pyrsia trust add URL --digest sha256:...",
    )
