"""Who validates now, and what is final, for somebody who keeps no log: the light client's core.

It starts from validators that it trusts (those of genesis, or of a remembered epoch) and follows the chain of
epochs by `EpochEnd` steps, each proven with the validators of the epoch that it ends, and each said by the log's
own seal as well. It may also hold a tree head that it has seen: whatever does not lead up to that head, or on from
it, is refused, so a key that leaked long after its epoch rewrites nothing for who remembers (a long-range fork).

Two answers to a wrong word. `ProofInvalid`: it proves nothing, its sender is to blame, another may be asked.
`Contradiction`: a quorum signed it, and a quorum signed what excludes it; more than f validators of that epoch
lied, or their keys leaked. That is an alarm with both texts, and never believed.

No I/O. Source: docs/agreement.md, "Followers and light clients"; `EpochEnd` in wire/epochs.py.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from pyrsia.errors import Malformed, ProofInvalid, PyrsiaError
from pyrsia.log import tree
from pyrsia.wire.blocks import EPOCH_END, NORMAL, TAIL, FinalityProof, Header
from pyrsia.wire.epochs import EpochEnd, SealedEnd, Seats, Validator, members_hash

from .committee import Checker, Committee, Verify


class Contradiction(PyrsiaError):
    """Two words of a quorum that exclude each other: more than f validators lied, or their keys leaked.

    Attributes:
        first: what was believed before, encoded (an `EpochEnd`, a `FinalityProof`, or a head's text); or an
            `EpochEnd` whose block seats others than the log under it says.
        second: the encoded `FinalityProof` that it excludes.
    """

    def __init__(self, what: str, first: bytes, second: bytes) -> None:
        super().__init__(what)
        self.first = first
        self.second = second


class Head(NamedTuple):
    """A tree head that is believed, and the epoch of the block that ends at it (its seal says which)."""

    epoch: int
    size: int
    root: bytes

    def text(self) -> bytes:
        """For people and for evidence."""
        return f"epoch {self.epoch}, size {self.size}, root {self.root.hex()}\n".encode()


class _Age:
    """One epoch: who validates in it, and the step that ended it, if it has ended."""

    __slots__ = ("checker", "end", "hash", "validators")

    def __init__(
        self, epoch: int, validators: tuple[Validator, ...], chain_id: bytes, origin: str, verify: Verify
    ) -> None:
        seats = Seats(epoch, validators, frozenset(), (0,) * len(validators))
        committee = Committee(seats, chain_id, origin)
        self.checker = Checker(committee, verify)
        self.validators = validators
        self.hash = members_hash(validators)
        self.end: EpochEnd | None = None

    @property
    def last(self) -> Header | None:
        """The block that ends the epoch."""
        return None if self.end is None else self.end.proof.headers[-1]


class Followed:
    """The chain of epochs as far as it is proven.

    Attributes:
        epoch: number of the newest epoch whose validators are known.
        seen: the newest tree head that is believed; what excludes it is refused.
    """

    def __init__(
        self,
        validators: Sequence[Validator],
        *,
        chain_id: bytes,
        origin: str,
        verify: Verify,
        epoch: int = 0,
        seen: Head | None = None,
    ) -> None:
        """
        Args:
            validators: those of `epoch`, trusted: genesis's, or what an earlier `Followed` ended with.
            verify: (public key, message, signature) -> bool, libsodium's.
            seen: a head that was believed earlier, or that a person pinned; of this epoch or a later one.

        Raises:
            ValueError: the validators are not distinct and sorted by vote key.
        """
        self._chain_id = chain_id
        self._origin = origin
        self._verify = verify
        self._first = epoch
        self._ages = [self._age(epoch, tuple(validators))]
        self._newest: FinalityProof | None = None  # of the highest block that was ever proven here
        self.seen = seen

    @property
    def epoch(self) -> int:
        return self._first + len(self._ages) - 1

    def validators(self, epoch: int) -> tuple[Validator, ...]:
        """Those of an epoch that is known.

        Raises:
            ProofInvalid: it is not.
        """
        return self._of(epoch).validators

    def epoch_of_size(self, size: int) -> int:
        """The epoch whose block ends at `size` leaves; the newest known one beyond the last known end.

        At exactly the size that ends an epoch this is the epoch that ended; `signers` names both.
        """
        for number, age in enumerate(self._ages, self._first):
            if age.last is None or size <= age.last.tree_size:
                return number
        raise AssertionError("the newest epoch has not ended")

    def signers(self, size: int) -> tuple[tuple[Validator, ...], ...]:
        """The validators of whom a quorum makes a checkpoint of `size` trusted: one set, or two where an epoch ends."""
        epoch = self.epoch_of_size(size)
        last = self._of(epoch).last
        both = last is not None and last.tree_size == size
        return tuple(self.validators(number) for number in range(epoch, epoch + 1 + both))

    # -- what others say --

    def step(self, end: EpochEnd, joined: Sequence[bytes] = ()) -> None:
        """Take the step from the newest epoch to the next one; one that was taken already changes nothing.

        Args:
            joined: with a head `seen` in this epoch or a later one, the consistency proof between that head and
                the end of this epoch, from the smaller size to the larger; none where they are of one size.

        Raises:
            ProofInvalid: it is not proven, another epoch's, or does not lead to `seen`.
            Contradiction: a quorum signed it, and it excludes what is believed, or what its own log says.
        """
        header = end.proof.headers[-1] if end.proof.headers else None
        if header is None or header.kind != EPOCH_END:
            raise ProofInvalid("the step names no block that ends an epoch")
        votes = [one.vote for one in end.validators]
        if votes != sorted(set(votes)) or header.next_members_hash != members_hash(end.validators):
            raise ProofInvalid("the step brings other validators than its block names")
        self._check(end.proof)
        _check_seal(end, header)
        if header.epoch < self.epoch:  # `_check` has held it against the end that is known
            return
        self._leads(Head(header.epoch, header.tree_size, header.tree_root), end.proof, joined)
        self._of(header.epoch).end = end
        self._ages.append(self._age(header.epoch + 1, end.validators))

    def final(self, proof: FinalityProof) -> Header:
        """The header of the block that `proof` proves final.

        Raises:
            ProofInvalid: it proves nothing, or speaks of an epoch that is not known here.
            Contradiction: a quorum signed it, and it excludes what is believed.
        """
        header = self._check(proof)
        if header.kind == TAIL:
            raise ProofInvalid("a tail is no block of the log")
        newest = self._newest.headers[-1] if self._newest is not None else None
        if newest is None or header.height > newest.height:
            self._newest = proof
        return header

    def advance(self, proof: FinalityProof, grown: Sequence[bytes] = ()) -> Header:
        """`final`, and its tree head is the one that is `seen` from now on.

        Args:
            grown: the consistency proof from the head that was seen; none before the first, or at the same size.

        Raises:
            ProofInvalid, Contradiction: as `final`; also for a head older than the one seen, or one that is not
                shown to have grown from it.
        """
        header = self.final(proof)
        head = Head(header.epoch, header.tree_size, header.tree_root)
        if self.seen is not None and (head.epoch, head.size) < (self.seen.epoch, self.seen.size):
            raise ProofInvalid(f"an older head than the one of {self.seen.size} leaves that was seen")
        self._leads(head, proof, grown, every=True)
        self.seen = head
        return header

    # -- checking --

    def _age(self, epoch: int, validators: tuple[Validator, ...]) -> _Age:
        return _Age(epoch, validators, self._chain_id, self._origin, self._verify)

    def _of(self, epoch: int) -> _Age:
        if not self._first <= epoch <= self.epoch:
            raise ProofInvalid(f"the validators of epoch {epoch} are not known; those up to {self.epoch} are")
        return self._ages[epoch - self._first]

    def _check(self, proof: FinalityProof) -> Header:
        """The last header of a proof that a quorum of its epoch signed and that excludes nothing believed."""
        epoch = proof.cert.said.epoch
        age = self._of(epoch)
        if not age.checker.proof(proof):
            raise ProofInvalid(f"no quorum of epoch {epoch} signed it, or its headers are not linked")
        for header in proof.headers:
            if (header.chain_id, header.epoch, header.members_hash) != (self._chain_id, epoch, age.hash):
                raise ProofInvalid("a header is of another chain or epoch, or names other validators")
        self._tails(proof)
        for header in proof.headers:
            self._fits_epoch(header, age, proof)
            self._fits_seen(header, proof)
        found = proof.headers[-1]
        self._fits_newest(found, proof)
        return found

    def _tails(self, proof: FinalityProof) -> None:
        """Behind the end of an epoch come tails alone, of its height and tree."""
        for above, header in pairwise(proof.headers):
            tail = above.kind == TAIL
            same = (above.height, above.tree_root) == (header.height, header.tree_root)
            if (header.kind != NORMAL) != tail or (tail and not same):
                raise ProofInvalid("behind the end of an epoch stands something else than its tails")

    def _fits_epoch(self, found: Header, age: _Age, proof: FinalityProof) -> None:
        """A block of an epoch lies between its start and its end, and there is one end."""
        before = self._ages[found.epoch - 1 - self._first] if found.epoch > self._first else None
        start = None if before is None else before.last
        if before is not None and before.end is not None and start is not None:
            if found.height <= start.height or not _follows(start, found):
                raise _against(before.end, proof, "a block of an epoch below the epoch's start")
        last = age.last
        if last is None or age.end is None or found.kind == TAIL or found.hash() == last.hash():
            return
        if found.height >= last.height or found.tree_size >= last.tree_size or found.kind == EPOCH_END:
            raise _against(age.end, proof, f"epoch {found.epoch} has ended with another block")

    def _fits_seen(self, found: Header, proof: FinalityProof) -> None:
        """One root a size, also at the size of the head that was seen."""
        seen = self.seen
        if seen is not None and found.tree_size == seen.size and found.tree_root != seen.root:
            raise Contradiction("one size of the log with two roots", seen.text(), proof.encode())

    def _fits_newest(self, found: Header, proof: FinalityProof) -> None:
        """One block a height, one root a size."""
        newest = None if self._newest is None else self._newest.headers[-1]
        if newest is None or self._newest is None or found.kind == TAIL or found.hash() == newest.hash():
            return
        low, high = (found, newest) if found.height < newest.height else (newest, found)
        if low.height == high.height or not _follows(low, high):
            raise _against(self._newest, proof, "two final blocks exclude each other")

    def _leads(
        self, head: Head, proof: FinalityProof, joined: Sequence[bytes], *, every: bool = False
    ) -> None:
        """Whether `head` and the head that was seen are of one log, and the seen one is of the epoch it says.

        Args:
            every: also where the seen head is of an earlier epoch than `head`.
        """
        seen = self.seen
        if seen is None or (seen.epoch < head.epoch and not every):
            return
        if (seen.epoch > head.epoch and head.size > seen.size) or (
            seen.epoch == head.epoch and proof.headers[-1].kind == EPOCH_END and head.size < seen.size
        ):
            raise Contradiction(
                f"epoch {head.epoch} does not end where the head that was seen says",
                seen.text(),
                proof.encode(),
            )
        if seen.size == head.size:
            return  # of one root: `_fits_seen`
        old, new = (head, seen) if head.size < seen.size else (seen, head)
        tree.verify_consistency(old.size, old.root, new.size, new.root, joined)


def _check_seal(end: EpochEnd, header: Header) -> None:
    """Whether the log itself says that its epoch ended with this block, and who comes next.

    Without it the keys of an old quorum could end its epoch anew on the true log, so that the end leads to every
    head that anybody has seen, and seat whom they like.

    Raises:
        ProofInvalid: nobody showed what it says.
        Contradiction: it says something else, and a quorum signed both.
    """
    leaf = tree.leaf_hash(end.seal)
    tree.verify_inclusion(leaf, header.tree_size - 1, header.tree_size, end.path, header.tree_root)
    try:
        said = SealedEnd.read(end.seal)
    except Malformed as error:
        raise ProofInvalid(str(error)) from None
    if said != (header.epoch, header.height, header.next_members_hash):
        raise Contradiction(
            f"the block that ends epoch {header.epoch} says something else than the log under it",
            end.encode(),
            end.proof.encode(),
        )


def _follows(low: Header, high: Header) -> bool:
    """Whether the log after `high` can begin with the log after `low`, as far as sizes and roots tell."""
    if low.tree_size == high.tree_size:
        return low.tree_root == high.tree_root
    return low.tree_size < high.tree_size


def _against(believed: EpochEnd | FinalityProof, proof: FinalityProof, what: str) -> Contradiction:
    return Contradiction(what, believed.encode(), proof.encode())
