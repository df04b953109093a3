"""Who agrees: the members of one epoch, their quorum, whose turn a view is, and whether a signature counts.

A certificate counts only in its one canonical form: exactly q distinct members in rising order, every
signature checked (CometBFT issue 1749).

Source: docs/agreement.md, "Members and quorum", "What is signed".
"""

from collections.abc import Callable, Mapping
from itertools import pairwise

from pyrsia.units import needed, tolerated
from pyrsia.wire.blocks import Cert, FinalityProof, Statement, Vote, finalize, rotation, signed_text
from pyrsia.wire.epochs import Seats, Validator, members_hash

Verify = Callable[[bytes, bytes, bytes], bool]  # (public key, message, signature)

_REMEMBERED = 512  # checked certificates and signed texts kept: the views in flight, several times over


class Committee:
    """The validators of one epoch."""

    __slots__ = (
        "chain_id", "epoch", "f", "keys", "members_hash", "n", "origin", "places", "q", "rotation", "seats"
    )  # fmt: skip

    def __init__(self, seats: Seats, chain_id: bytes, origin: str) -> None:
        """The validators' order in `seats` gives each member its index.

        Raises:
            ValueError: they are not sorted by vote key, or not distinct.
        """
        keys = tuple(one.vote for one in seats.validators)
        if list(keys) != sorted(set(keys)) or not keys:
            raise ValueError("members are distinct and sorted by vote key")
        self.seats = seats
        self.keys = keys
        self.chain_id = chain_id
        self.origin = origin
        self.epoch = seats.epoch
        self.n = len(keys)
        self.f = tolerated(self.n)
        self.q = needed(self.n)
        self.members_hash = members_hash(seats.validators)
        self.rotation = rotation(chain_id, seats.epoch, keys, seats.convicted)
        self.places = {one.node: index for index, one in enumerate(seats.validators)}

    @property
    def validators(self) -> tuple[Validator, ...]:
        return self.seats.validators

    def leader(self, view: int) -> int:
        """Index of the member whose turn `view` is."""
        return self.rotation[view % len(self.rotation)]

    def position(self, member: int, view: int) -> int:
        """Where in its chains of links the one lies that `member` reveals as leader of `view`."""
        return self.seats.bases[member] + view // len(self.rotation)

    def text(self, said: Statement) -> bytes:
        return signed_text(self.chain_id, self.origin, said)


class Checker:
    """Checks signatures of one committee; remembers what was found good, never what was bad."""

    __slots__ = ("_good", "_texts", "_verify", "committee")

    def __init__(self, committee: Committee, verify: Verify) -> None:
        self.committee = committee
        self._verify = verify
        self._good: dict[Cert, None] = {}
        self._texts: dict[Statement, bytes] = {}

    def text(self, said: Statement) -> bytes:
        text = self._texts.get(said)
        if text is None:
            text = self.committee.text(said)
            if len(self._texts) >= _REMEMBERED:
                del self._texts[next(iter(self._texts))]
            self._texts[said] = text
        return text

    def vote(self, vote: Vote) -> bool:
        """Whether a member of this epoch said this."""
        committee = self.committee
        if vote.said.epoch != committee.epoch or not 0 <= vote.signer < committee.n:
            return False
        return self._verify(committee.keys[vote.signer], self.text(vote.said), vote.sig)

    def signed_by(self, member: int, vote: Vote) -> bool:
        """Whether a vote of any epoch is by the key that `member` has in this one."""
        return self._verify(self.committee.keys[member], self.text(vote.said), vote.sig)

    def cert(self, cert: Cert, known: Mapping[int, Vote] | None = None) -> bool:
        """Whether a quorum of this epoch said this, in canonical form.

        Args:
            known: votes by signer that were checked one by one; the same signatures need no second check.
        """
        if cert in self._good:
            return True
        committee, signers = self.committee, cert.signers
        if cert.said.epoch != committee.epoch or cert.members != committee.n or len(signers) != committee.q:
            return False
        if any(a >= b for a, b in pairwise(signers)) or signers[-1] >= committee.n:
            return False
        text = self.text(cert.said)
        for signer, sig in zip(signers, cert.sigs, strict=True):
            vote = known.get(signer) if known is not None else None
            if vote is not None and vote.sig == sig and vote.said == cert.said:
                continue
            if not self._verify(committee.keys[signer], text, sig):
                return False
        self.trust(cert)
        return True

    def trust(self, cert: Cert) -> None:
        """Remember a certificate as good: built from votes that were each checked."""
        if len(self._good) >= _REMEMBERED:
            del self._good[next(iter(self._good))]
        self._good[cert] = None

    def proof(self, proof: FinalityProof) -> bool:
        """Whether `proof` proves its last header final: rebuilt text, q signatures, linked headers."""
        headers = proof.headers
        if not headers or finalize(headers[0]) != proof.cert.said:
            return False
        if any(child.parent_hash != parent.hash() for child, parent in pairwise(headers)):
            return False
        return self.cert(proof.cert)
