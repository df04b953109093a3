"""Who validates in an epoch, and what proves the step to the next one.

A validator as the others of its epoch agree on it, the hash that headers carry of all of them, and the link of
the chain of epochs that followers, light clients and proof files check one by one.

Source: docs/agreement.md, "Epochs".
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from blake3 import blake3

from pyrsia.errors import Malformed
from pyrsia.units import HASH_BYTES, MAX_VALIDATORS
from pyrsia.wire.blocks import EPOCH_END, FinalityProof

_MEMBERS_PREFIX: Final = b"pyrsia/members/v1\x00"
_KEYS: Final = 5
VALIDATOR_BYTES: Final = _KEYS * HASH_BYTES


class Validator(NamedTuple):
    """One validator: public keys of 32 bytes each, and the end of its chain of beacon links."""

    node: bytes
    vote: bytes
    log: bytes
    cosign: bytes
    chain_end: bytes

    def encode(self) -> bytes:
        return b"".join(self)

    @classmethod
    def decode(cls, data: bytes) -> "Validator":
        """From exactly `VALIDATOR_BYTES` bytes."""
        return cls(*(data[at : at + HASH_BYTES] for at in range(0, VALIDATOR_BYTES, HASH_BYTES)))


def members_hash(validators: Sequence[Validator]) -> bytes:
    """What a header says of its epoch's validators, who are sorted by vote key."""
    return blake3(_MEMBERS_PREFIX + b"".join(one.encode() for one in validators)).digest()


@dataclass(frozen=True, slots=True)
class Seats:
    """Who decides on the blocks of one epoch, fixed by the state at its start.

    Attributes:
        validators: sorted by vote key; the position is a member's index.
        convicted: indices of those who lead no view, because evidence against them is on record.
        bases: for each validator, the position of its beacon chain at view 0 of this epoch.
    """

    epoch: int
    validators: tuple[Validator, ...]
    convicted: frozenset[int]
    bases: tuple[int, ...]


class EpochEnd(NamedTuple):
    """The step from one epoch to the next.

    Attributes:
        proof: proves the block that ends the epoch; it is the last of the proof's headers.
        validators: those of the next epoch, sorted by vote key; the block's `next_members_hash` names them.
    """

    proof: FinalityProof
    validators: tuple[Validator, ...]

    def encode(self) -> bytes:
        return b"".join(
            (
                len(self.validators).to_bytes(2, "big"),
                *(one.encode() for one in self.validators),
                self.proof.encode(),
            )
        )

    @classmethod
    def decode(cls, data: bytes) -> "EpochEnd":
        """Read `encode`'s bytes; signatures are the caller's business.

        Raises:
            Malformed: not such bytes, or the validators are not those that the last header names.
        """
        count = int.from_bytes(data[:2], "big")
        end = 2 + count * VALIDATOR_BYTES
        if not 0 < count <= MAX_VALIDATORS.value or len(data) <= end:
            raise Malformed(f"the end of an epoch with {count} validators")
        found = tuple(
            Validator.decode(data[at : at + VALIDATOR_BYTES]) for at in range(2, end, VALIDATOR_BYTES)
        )
        proof = FinalityProof.decode(data[end:])
        last = proof.headers[-1]
        votes = [one.vote for one in found]
        if votes != sorted(set(votes)):
            raise Malformed("the next validators are not distinct and sorted by vote key")
        if last.kind != EPOCH_END or last.next_members_hash != members_hash(found):
            raise Malformed("its block does not end an epoch, or names other validators")
        return cls(proof, found)
