"""What must hold at every step, computed from what was sent and delivered, never with the code under test.

I1 to I11 are explained in docs/simulator.md. The auditor keeps every signature that was ever sent, one final chain,
and its own reckoning of who validates in which epoch.
"""

import struct
from collections.abc import Iterable
from hashlib import blake2b
from itertools import pairwise
from typing import Any, NoReturn, Protocol

from blake3 import blake3

from pyrsia.consensus.effects import Blame, Deliver
from pyrsia.wire.blocks import (
    EPOCH_END,
    FIN,
    NORMAL,
    NOT,
    NUL,
    Block,
    Cert,
    FinalityProof,
    Message,
    Proposal,
    Statement,
    Vote,
)
from pyrsia.wire.epochs import Seats, members_hash

_STEP = struct.Struct(">dBB")


class Broken(AssertionError):
    """An invariant does not hold; the text names it, the seed and the moment."""


class Oracle(Protocol):
    """Says what a final block does, by another way than the application does it."""

    def executed(self, block: Block) -> Seats | None:
        """The seats of the next epoch if the block ends its own.

        Raises:
            Broken: the header tells something else (I6, I7).
        """
        ...


class Auditor:
    """One run's."""

    def __init__(self, chain_id: bytes, seats: Seats, oracle: Oracle) -> None:
        self.chain_id = chain_id
        self.oracle = oracle
        self.epochs: dict[int, Seats] = {seats.epoch: seats}
        self.final: dict[int, Block] = {}
        self.begins: dict[int, int] = {seats.epoch: 0}  # epoch -> height of the block it starts from
        self.accused: list[Blame] = []
        self.height = 0
        self.votes: dict[
            bytes, dict[tuple[int, int], dict[int, bytes]]
        ] = {}  # honest: key -> place -> kind -> hash
        self.tails = 0  # proofs of an epoch's end that rest on a tail
        self._digest = blake2b(digest_size=16)
        self._said: dict[Statement, set[int]] = {}
        self._quorums: dict[tuple[int, int], dict[int, bytes]] = {}
        self._entries: dict[bytes, int] = {}
        self._rotations: dict[int, tuple[int, ...]] = {}

    # -- the run's fingerprint --

    def step(self, at: float, kind: int, node: int) -> None:
        self._digest.update(_STEP.pack(at, kind, node))

    @property
    def fingerprint(self) -> str:
        """Equal for two runs only if all their events were, in order and to the moment."""
        return self._digest.hexdigest()

    # -- what is sent --

    def sent(self, message: Message, key: bytes, epoch: int, durable: Iterable[bytes], who: int) -> None:
        """An honest node sends a vote of its own key.

        Args:
            epoch: the one that follows from the blocks that it delivered.
            durable: records of its votes.wal that were synced.
        """
        vote = message if isinstance(message, Vote) else message.vote  # type: ignore[union-attr]
        said = vote.said
        if b"\x01" + vote.encode() not in durable:
            self.fail(f"I8: {who} sent a vote that is not on its disk: {said}")
        if said.epoch != epoch:
            self.fail(f"I9: {who} votes in epoch {said.epoch} while it is in {epoch}")
        mine = self.votes.setdefault(key, {}).setdefault(said[1:3], {})
        if mine.setdefault(said.kind, said.block_hash) != said.block_hash:
            self.fail(f"I1/I2: {who} voted twice in epoch {epoch} view {said.view}, kind {said.kind}")
        if NUL in mine and FIN in mine:
            self.fail(f"I2: {who} sent NUL and FIN of epoch {epoch} view {said.view}")
        if NOT in mine and FIN in mine and mine[NOT] != mine[FIN]:
            self.fail(f"I2: {who} sent NOT and FIN of two blocks of epoch {epoch} view {said.view}")

    def has_sent(self, key: bytes, said: Statement) -> bool:
        return self.votes.get(key, {}).get(said[1:3], {}).get(said.kind) == said.block_hash

    def signed(self, vote: Vote) -> None:
        """A signature exists. I5: no two quorums of a view exclude each other, whoever gathers them."""
        said = vote.said
        signers = self._said.get(said)
        if signers is None:
            signers = self._said[said] = set()
        signers.add(vote.signer)
        seats = self.epochs.get(said.epoch)
        if seats is None or len(signers) < quorum(seats):
            return
        held = self._quorums.setdefault(said[1:3], {})
        if held.setdefault(said.kind, said.block_hash) != said.block_hash:
            self.fail(f"I5: two quorums of kind {said.kind} in epoch {said.epoch} view {said.view}")
        if NUL in held and FIN in held:
            self.fail(f"I5: epoch {said.epoch} view {said.view} was finalized and given up")

    # -- what is delivered --

    def delivered(self, effect: Deliver, parent: tuple[int, bytes], who: int) -> None:
        """An honest node hands on final blocks above `parent` (height, hash)."""
        height, block_hash = parent
        for block in effect.blocks:
            header = block.header
            if (header.height, header.parent_hash) != (height + 1, block_hash):
                self.fail(f"I4: {who} delivers height {header.height} on {height}")
            height, block_hash = header.height, block.hash
            if self.final.setdefault(height, block).hash != block.hash:
                self.fail(f"I3: two final blocks at height {height}")
            if height > self.height:
                self._new(block)
        self._proven(effect.proof, effect.blocks[-1], who)

    def _new(self, block: Block) -> None:
        header = block.header
        seats = self.epochs[max(self.epochs)]
        if header.kind not in (NORMAL, EPOCH_END):
            self.fail(f"I9: a tail was delivered at height {header.height}")
        if header.epoch != seats.epoch or header.members_hash != members_hash(seats.validators):
            self.fail(f"I9: height {header.height} names other members than those of epoch {seats.epoch}")
        turns = self.rotation(seats)
        if header.proposer != turns[header.view % len(turns)]:
            self.fail(f"I9: height {header.height} is by {header.proposer}, whose turn it was not")
        just = block.body.justification
        for cert in just.gap if just.parent_cert is None else (just.parent_cert, *just.gap):
            if not self.really(cert, seats):
                self.fail(
                    f"I9: height {header.height} rests on a certificate that no quorum signed: {cert.said}"
                )
        for entry in block.body.entries:
            if self._entries.setdefault(entry, header.height) != header.height:
                self.fail(f"I7: {entry!r} is in two blocks")
        after = self.oracle.executed(block)
        if (after is not None) != (header.kind == EPOCH_END):
            self.fail(f"I9: height {header.height} says wrongly whether it ends its epoch")
        if after is not None:
            self.opened(after, header)
        elif header.next_members_hash != header.members_hash:
            self.fail(f"I9: height {header.height} names next members and ends nothing")
        self.height = header.height

    def opened(self, after: Seats, header: Any) -> None:
        if after.epoch != header.epoch + 1 or header.next_members_hash != members_hash(after.validators):
            self.fail(f"I9: height {header.height} names other next members than its entries make")
        self.epochs[after.epoch] = after
        self.begins[after.epoch] = header.height

    def _proven(self, proof: FinalityProof, last: Block, who: int) -> None:
        """The proof is whole: q distinct members of the epoch really signed it, and its headers lead to the block."""
        cert, headers = proof.cert, proof.headers
        seats = self.epochs[last.header.epoch]
        if not self.really(cert, seats):
            self.fail(
                f"I9: {who} took a certificate that no quorum of epoch {seats.epoch} signed: {cert.said}"
            )
        top = headers[0]
        told = cert.said[3:]
        if (
            told != (top.hash(), top.height, top.time_ms, top.tree_size, top.tree_root)
            or headers[-1].hash() != last.hash
        ):
            self.fail(f"I9: {who} took a proof of another block at height {last.header.height}")
        if any(child.parent_hash != parent.hash() for child, parent in pairwise(headers)):
            self.fail(f"I9: {who} took a proof with a hole at height {last.header.height}")
        self.tails += len(headers) > 1 and headers[0].height == last.header.height

    def really(self, cert: Cert, seats: Seats) -> bool:
        """Whether exactly q distinct members of these seats signed this."""
        signers = set(cert.signers)
        return (
            cert.said.epoch == seats.epoch
            and len(signers) == len(cert.signers) == quorum(seats)
            and signers <= self._said.get(cert.said, set())
        )

    def rotation(self, seats: Seats) -> tuple[int, ...]:
        """Who leads in turn: all but the convicted, sorted by a hash that the epoch salts."""
        if seats.epoch not in self._rotations:
            n = len(seats.validators)
            skipped = seats.convicted if len(seats.convicted) <= (n - 1) // 3 else frozenset()
            salt = self.chain_id + seats.epoch.to_bytes(8, "big")
            turns = sorted((blake3(salt + one.vote).digest(), i) for i, one in enumerate(seats.validators))
            self._rotations[seats.epoch] = tuple(i for _, i in turns if i not in skipped)
        return self._rotations[seats.epoch]

    # -- who is blamed --

    def blamed(self, blame: Blame, honest: bool, who: int) -> None:
        """I10: evidence is against liars, and is what it says."""
        self.accused.append(blame)
        if honest:
            self.fail(f"I10: {who} accuses an honest node: {blame}")
        votes = [vote for vote in (blame.first, blame.second) if vote is not None]
        if any(vote.signer not in self._said.get(vote.said, set()) for vote in votes):
            self.fail(f"I10: {who} accuses with a signature that nobody made: {blame}")
        if blame.second is not None and not excludes(blame.first.said, blame.second.said):
            self.fail(f"I10: {who} accuses with two votes that go together: {blame}")

    def fail(self, text: str) -> NoReturn:
        raise Broken(text)


def quorum(seats: Seats) -> int:
    n = len(seats.validators)
    return n - (n - 1) // 3


def excludes(one: Statement, other: Statement) -> bool:
    """Whether no honest validator says both."""
    if one[1:3] != other[1:3]:
        return False
    kinds = {one.kind, other.kind}
    if kinds == {NUL, FIN}:
        return True
    return NUL not in kinds and one.block_hash != other.block_hash


def own_vote(message: object) -> Vote | None:
    """The vote that a message is, or that signs the proposal that it is."""
    if isinstance(message, Vote):
        return message
    return message.vote if isinstance(message, Proposal) else None
