"""`fault.evidence`: whether two statements of a validator, or one about a block, prove it at fault.

Honest validators are never accused: every rule here is one that consensus checks before the vote that is
held against them. The accused is judged as the validator that it was in the epoch of its votes, and leads no view
from the next epoch on, unless its vote key is another one by then. The rest is for people.

Source: docs/ledger.md, "Evidence"; docs/agreement.md, "Evidence", rules P2 and P3.
"""

from itertools import pairwise
from typing import Any

from pyrsia.ledger import seats
from pyrsia.ledger.context import Context, NotApplied
from pyrsia.ledger.entries import Entry
from pyrsia.ledger.seats import Epoch
from pyrsia.wire.blocks import (
    NOT,
    Cert,
    Header,
    Justification,
    Vote,
    contradicts_itself,
    decode_justification,
    decode_vote,
    justified,
    signed_text,
)
from pyrsia.wire.text import unb32


def evidence(ctx: Context, entry: Entry, author: str, leaf: int) -> None:
    """Recorded once for each validator, epoch and kind."""
    body, view = entry.body, ctx.view
    epoch = seats.of(view, body["epoch"])
    if epoch is None:
        raise NotApplied("no epoch has this number", later=body["epoch"] == ctx.epoch.number + 1)
    index = epoch.index(unb32(body["validator"]))
    if index is None:
        raise NotApplied("the accused was no validator in this epoch")
    place = f"fault/{body['validator']}/{body['epoch']}/{body['kind']}"
    if view.raw(place) is not None:
        raise NotApplied("this fault is on record already")
    judge = _Judge(ctx, epoch, index)
    vote = judge.two_votes(body) if body["kind"] == "votes" else judge.bad_block(body)
    view.put(place, {"author": author, "leaf": leaf, "view": vote.view})
    seats.convict(view, epoch.validators[index].vote, leaf)


class _Judge:
    """One validator of one epoch before its own signatures."""

    def __init__(self, ctx: Context, epoch: Epoch, accused: int) -> None:
        self._genesis = ctx.genesis
        self._holds = ctx.holds
        self._epoch = epoch
        self._accused = accused

    def two_votes(self, body: dict[str, Any]) -> Vote:
        """The form says that they conflict; both must be the accused's."""
        votes = [decode_vote(bytes.fromhex(body[name])) for name in ("first", "second")]
        for vote in votes:
            self._his(vote)
        return votes[0]

    def bad_block(self, body: dict[str, Any]) -> Vote:
        """A vote for a block that P2 or P3 forbids.

        A FIN vote is held against its signer for P2 only: a block that a quorum voted NOT for is finalised
        without a second look at its justification.
        """
        vote = decode_vote(bytes.fromhex(body["vote"]))
        self._his(vote)
        header = Header.decode(bytes.fromhex(body["header"]))
        if self.breaks_p2(header):
            return vote
        if vote.kind != NOT:
            raise NotApplied("its header breaks no rule, and only a NOT vote answers for the justification")
        justification = decode_justification(bytes.fromhex(body["justification"]))
        if self._justified(header, justification):
            raise NotApplied("the block breaks neither P2 nor P3")
        return vote

    def _his(self, vote: Vote) -> None:
        if vote.signer != self._accused or not self._signed(vote):
            raise NotApplied("the accused did not sign this")

    def _signed(self, vote: Vote) -> bool:
        text = signed_text(self._genesis.chain_id, self._genesis.origin, vote.said)
        return self._holds(self._epoch.validators[vote.signer].vote, text, vote.sig)

    def breaks_p2(self, header: Header) -> bool:
        """What a header says wrongly by itself: chain, members, turn, and what its kind forbids.

        Its epoch is the vote's own. Nothing here needs the block's parent.
        """
        epoch, chain_id = self._epoch, self._genesis.chain_id
        turns = epoch.rotation(chain_id)
        return (
            header.chain_id != chain_id
            or header.members_hash != epoch.members_hash
            or header.proposer != turns[header.view % len(turns)]
            or contradicts_itself(header)
        )

    def _justified(self, header: Header, told: Justification) -> bool:
        """P3: exactly the parent's certificate, and one NUL certificate for each view between, all good."""
        if not justified(header, told):
            return False
        parent = told.parent_cert
        certs = told.gap if parent is None else (parent, *told.gap)
        return all(self.good(cert) for cert in certs)

    def good(self, cert: Cert) -> bool:
        """A certificate counts in one form: exactly q members in rising order, every signature checked."""
        epoch, signers = self._epoch, cert.signers
        if cert.said.epoch != epoch.number or cert.members != epoch.n or len(signers) != epoch.q:
            return False
        if any(a >= b for a, b in pairwise(signers)) or signers[-1] >= epoch.n:
            return False
        votes = (Vote(cert.said, signer, sig) for signer, sig in zip(signers, cert.sigs, strict=True))
        return all(self._signed(vote) for vote in votes)
