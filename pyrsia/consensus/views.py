"""One view's memory: certificates, own votes, the proposal, and who voted for what.

Decides when votes make a certificate and when two votes are a fault. Signatures are checked before votes
come here.

Source: docs/agreement.md, "Counting", "Evidence".
"""

from pyrsia.wire.blocks import FIN, NOT, NUL, Block, Cert, Vote, conflicting


class ViewState:
    """What is known of one view."""

    __slots__ = ("bad_block", "certs", "my_fin", "my_not", "my_nul", "proposal", "view", "votes")

    def __init__(self, view: int) -> None:
        self.view = view
        self.certs: dict[int, Cert] = {}  # by kind
        self.votes: dict[int, dict[int, Vote]] = {NOT: {}, NUL: {}, FIN: {}}  # by kind and signer
        self.my_not: Vote | None = None
        self.my_nul: Vote | None = None
        self.my_fin: Vote | None = None
        self.proposal: Block | None = None  # the first one that its leader signed
        self.bad_block: Block | None = None  # the proposal, if P2 or P3 forbids to vote for it

    def block_cert(self) -> Cert | None:
        """A certificate under which a child may stand: notarized, or final."""
        return self.certs.get(NOT) or self.certs.get(FIN)

    def record_own(self, vote: Vote) -> None:
        if vote.kind == NOT:
            self.my_not = vote
        elif vote.kind == NUL:
            self.my_nul = vote
        else:
            self.my_fin = vote

    def own(self) -> list[Vote]:
        return [v for v in (self.my_not, self.my_nul, self.my_fin) if v is not None]

    def said_before(self, vote: Vote) -> Vote | None:
        """A vote of the same signer that no honest member casts beside `vote`."""
        for kind in _EXCLUDES[vote.kind]:
            other = self.votes[kind].get(vote.signer)
            if other is None:
                cert = self.certs.get(kind)
                other = cert.vote_of(vote.signer) if cert is not None else None
            if other is not None and conflicting(vote.said, other.said):
                return other
        return None

    def add(self, vote: Vote, quorum: int, members: int) -> Cert | None:
        """Count a checked vote; the certificate, once exactly `quorum` members said the same.

        A signer's first vote of a kind stays; a second one is evidence, not a vote.
        """
        votes = self.votes[vote.kind]
        if vote.signer in votes:
            return None
        votes[vote.signer] = vote
        if vote.kind in self.certs or len(votes) < quorum:
            return None
        same = sorted((v.signer, v.sig) for v in votes.values() if v.said == vote.said)
        if len(same) != quorum:
            return None
        return Cert(vote.said, members, tuple(s for s, _ in same), tuple(sig for _, sig in same))

    def forget_votes(self) -> None:
        """Keep certificates and own votes only: the view is long past."""
        for votes in self.votes.values():
            votes.clear()


_EXCLUDES = {NOT: (NOT, FIN), NUL: (FIN,), FIN: (FIN, NUL, NOT)}
