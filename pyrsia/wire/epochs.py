"""Who validates in an epoch, and what proves the step to the next one.

A validator as the others of its epoch agree on it, the hash that headers carry of all of them, and the link of
the chain of epochs that followers, light clients and proof files check one by one.

Source: docs/agreement.md, "Epochs"; docs/log.md, "Epochs".
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from blake3 import blake3

from pyrsia.errors import Malformed
from pyrsia.units import HASH_BYTES, MAX_PROOF_HASHES, MAX_SEAL_BYTES, MAX_VALIDATORS
from pyrsia.wire import canonical
from pyrsia.wire.blocks import EPOCH_END, FinalityProof

_MEMBERS_PREFIX: Final = b"pyrsia/members/v1\x00"
_KEYS: Final = 5
VALIDATOR_BYTES: Final = _KEYS * HASH_BYTES
_SEAL_FIELDS: Final = {"body", "net", "type", "v"}
_HASH: Final = re.compile("[0-9a-f]{64}")


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


class SealedEnd(NamedTuple):
    """What the log itself says where an epoch ends.

    Attributes:
        height: of the block.
        next_members: `members_hash` of the next epoch's validators.
    """

    epoch: int
    height: int
    next_members: bytes

    @classmethod
    def read(cls, seal: bytes) -> "SealedEnd":
        """From the leaf that seals the block; that it is in the log is the caller's business.

        Raises:
            Malformed: no seal, or that of a block that ends nothing.
        """
        leaf = canonical.decode(seal, MAX_SEAL_BYTES.value)
        # (Who authors an entry cannot make it look like this: it has more fields.)
        body = leaf["body"] if isinstance(leaf, dict) and leaf.keys() == _SEAL_FIELDS else None
        if not isinstance(leaf, dict) or not isinstance(body, dict) or leaf["type"] != "block.seal":
            raise Malformed("the last leaf of the epoch is no seal")
        epoch, height, named = (body.get(name) for name in ("epoch", "height", "next_members"))
        if type(epoch) is not int or type(height) is not int or not isinstance(named, str):
            raise Malformed("the last leaf of the epoch is no seal of a block that ends one")
        if _HASH.fullmatch(named) is None:
            raise Malformed("its seal names the next validators in another form")
        return cls(epoch, height, bytes.fromhex(named))


class EpochEnd(NamedTuple):
    """The step from one epoch to the next.

    An old quorum whose keys leaked can end its epoch anew, at a tree that is the right one, and seat whom it likes.
    It cannot make that log say so: the seal in it names whom its block seated.

    Attributes:
        proof: proves the block that ends the epoch; it is the last of the proof's headers.
        validators: those of the next epoch, sorted by vote key; the block's `next_members_hash` names them.
        seal: the last leaf of the log at that block, which says the same.
        path: inclusion proof (RFC 6962, 2.1.1) of the seal, leaf `tree_size` - 1, in the tree of the block.
    """

    proof: FinalityProof
    validators: tuple[Validator, ...]
    seal: bytes
    path: tuple[bytes, ...]

    def encode(self) -> bytes:
        return b"".join(
            (
                len(self.validators).to_bytes(2, "big"),
                *(one.encode() for one in self.validators),
                len(self.seal).to_bytes(2, "big"),
                self.seal,
                len(self.path).to_bytes(1, "big"),
                *self.path,
                self.proof.encode(),
            )
        )

    @classmethod
    def decode(cls, data: bytes) -> "EpochEnd":
        """Read `encode`'s bytes; signatures, and whether the seal is in the log, are the caller's business.

        Raises:
            Malformed: not such bytes, the validators are not those that the last header names, or the seal is none
                that ends an epoch.
        """
        count, at = int.from_bytes(data[:2], "big"), 2
        if not 0 < count <= MAX_VALIDATORS.value or len(data) < at + count * VALIDATOR_BYTES + 2:
            raise Malformed(f"the end of an epoch with {count} validators")
        found = _cut(data, at, count, VALIDATOR_BYTES)
        at += count * VALIDATOR_BYTES
        size = int.from_bytes(data[at : at + 2], "big")
        at += 2
        if size > MAX_SEAL_BYTES.value or len(data) <= at + size:
            raise Malformed(f"the end of an epoch with a seal of {size} bytes")
        seal, hashes, at = data[at : at + size], data[at + size], at + size + 1
        if hashes > MAX_PROOF_HASHES.value or len(data) < at + hashes * HASH_BYTES:
            raise Malformed(f"the end of an epoch with a path of {hashes} hashes")
        path = _cut(data, at, hashes, HASH_BYTES)
        made = cls(
            FinalityProof.decode(data[at + hashes * HASH_BYTES :]),
            tuple(map(Validator.decode, found)),
            seal,
            path,
        )
        made._check_form()
        return made

    def _check_form(self) -> None:
        last = self.proof.headers[-1]
        votes = [one.vote for one in self.validators]
        if votes != sorted(set(votes)):
            raise Malformed("the next validators are not distinct and sorted by vote key")
        if last.kind != EPOCH_END or last.next_members_hash != members_hash(self.validators):
            raise Malformed("its block does not end an epoch, or names other validators")
        SealedEnd.read(self.seal)


def _cut(data: bytes, at: int, count: int, width: int) -> tuple[bytes, ...]:
    return tuple(data[start : start + width] for start in range(at, at + count * width, width))
