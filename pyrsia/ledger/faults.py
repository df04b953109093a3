"""`fault.evidence`: whether two statements of a validator, or one about a block, prove it at fault.

Honest validators are never accused: every rule here is one that consensus checks before the vote that is
held against them. What happens to the accused is for people; here it is only made certain.

Source: docs/ledger.md, "Evidence"; docs/agreement.md, "Evidence", rules P2 and P3.
"""

from itertools import pairwise
from typing import Any

from pyrsia.ledger import roster
from pyrsia.ledger.context import Context, NotApplied
from pyrsia.ledger.entries import Entry
from pyrsia.ledger.genesis import Genesis
from pyrsia.wire.blocks import (
    NOT,
    NUL,
    Cert,
    Header,
    Justification,
    Vote,
    decode_justification,
    decode_vote,
    rotation,
    signed_text,
)
from pyrsia.wire.epochs import Validator, members_hash
from pyrsia.wire.text import unb32


def evidence(ctx: Context, entry: Entry, author: str, leaf: int) -> None:
    """Recorded once for each validator, epoch and kind."""
    body, view = entry.body, ctx.view
    if body["epoch"] != 0:
        raise NotApplied("no epoch has this number")
    index = roster.validator(view, unb32(body["validator"]))
    if index is None:
        raise NotApplied("the accused is no validator")
    place = f"fault/{body['validator']}/{body['epoch']}/{body['kind']}"
    if view.raw(place) is not None:
        raise NotApplied("this fault is on record already")
    vote = _two_votes(ctx, body, index) if body["kind"] == "votes" else _bad_block(ctx, body, index)
    view.put(place, {"author": author, "leaf": leaf, "view": vote.view})


def _two_votes(ctx: Context, body: dict[str, Any], index: int) -> Vote:
    """The form says that they conflict; both must be the accused's."""
    votes = [decode_vote(bytes.fromhex(body[name])) for name in ("first", "second")]
    for vote in votes:
        _his(ctx, vote, index)
    return votes[0]


def _bad_block(ctx: Context, body: dict[str, Any], index: int) -> Vote:
    """A vote for a block that P2 or P3 forbids.

    A FIN vote is held against its signer for P2 only: a block that a quorum voted NOT for is finalised
    without a second look at its justification.
    """
    vote = decode_vote(bytes.fromhex(body["vote"]))
    _his(ctx, vote, index)
    header = Header.decode(bytes.fromhex(body["header"]))
    if _breaks_p2(ctx.genesis, header):
        return vote
    if vote.kind != NOT:
        raise NotApplied("its header breaks no rule, and only a NOT vote answers for the justification")
    justification = decode_justification(bytes.fromhex(body["justification"]))
    if _justified(ctx, header, justification):
        raise NotApplied("the block breaks neither P2 nor P3")
    return vote


def _his(ctx: Context, vote: Vote, index: int) -> None:
    if vote.signer != index or not _signed(ctx, vote):
        raise NotApplied("the accused did not sign this")


def _signed(ctx: Context, vote: Vote) -> bool:
    genesis = ctx.genesis
    text = signed_text(genesis.chain_id, genesis.origin, vote.said)
    return ctx.holds(genesis.validators[vote.signer].vote, text, vote.sig)


def _breaks_p2(genesis: Genesis, header: Header) -> bool:
    """Another chain or other members, or a proposer out of turn. (Its epoch is the vote's own.)"""
    keys = [member.vote for member in genesis.validators]
    members = members_hash(
        [Validator(m.node, m.vote, m.log, m.cosign, m.chain_end) for m in genesis.validators]
    )
    return (
        header.chain_id != genesis.chain_id
        or header.members_hash != members
        or header.proposer != rotation(genesis.chain_id, header.epoch, keys)[header.view % genesis.n]
    )


def _justified(ctx: Context, header: Header, told: Justification) -> bool:
    """P3: exactly the parent's certificate, and one NUL certificate for each view between, all good."""
    parent = told.parent_cert
    if parent is None:
        if header.parent_view != 0:
            return False
    elif parent.kind == NUL or parent.said[1:4] != (header.epoch, header.parent_view, header.parent_hash):
        return False
    if len(told.gap) != header.view - header.parent_view - 1:  # (counted first: a view may be any number)
        return False
    for view, cert in enumerate(told.gap, header.parent_view + 1):
        if (cert.kind, cert.said.epoch, cert.view) != (NUL, header.epoch, view):
            return False
    certs = told.gap if parent is None else (parent, *told.gap)
    return all(_good(ctx, cert) for cert in certs)


def _good(ctx: Context, cert: Cert) -> bool:
    """A certificate counts in one form: exactly q members in rising order, every signature checked."""
    genesis, signers = ctx.genesis, cert.signers
    if cert.members != genesis.n or len(signers) != genesis.q:
        return False
    if any(a >= b for a, b in pairwise(signers)) or signers[-1] >= genesis.n:
        return False
    votes = (Vote(cert.said, signer, sig) for signer, sig in zip(signers, cert.sigs, strict=True))
    return all(_signed(ctx, vote) for vote in votes)
