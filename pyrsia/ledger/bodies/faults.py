"""The body of `fault.evidence`: statements of one validator that no honest one makes.

In the bytes that validators send each other, so that what is judged is what was signed. Decides what
can be told from the statements alone: one spelling, one signer, one view, and that they conflict.

Source: docs/ledger.md, "Leaves", "Evidence"; docs/agreement.md, "Evidence".
"""

from typing import Any, Final

from pyrsia.errors import Malformed
from pyrsia.ledger import shape
from pyrsia.units import Limit
from pyrsia.wire import canonical
from pyrsia.wire.blocks import NUL, Header, Vote, conflicting, decode_justification, decode_vote

MAX_VOTE_BYTES = Limit(256, "a FIN vote, the longest, has 171 bytes")
MAX_JUSTIFICATION_BYTES = Limit(
    24_000, "in hex, with its header, it stays below one entry; five certificates of a hundred validators"
)

_HEX_VOTE: Final = shape.hexed_upto(MAX_VOTE_BYTES.value)
_EPOCH: Final = shape.whole(0, canonical.MAX_INT)


def _vote(told: str) -> Vote:
    vote = decode_vote(bytes.fromhex(told))
    if vote.view > canonical.MAX_INT:
        raise Malformed("a view that no JSON number can be")
    return vote


def _check_votes(body: dict[str, Any]) -> None:
    one, two = (_vote(body[name]) for name in ("first", "second"))
    if body["first"] >= body["second"]:
        raise Malformed("the two votes are sorted by their bytes")
    if one.signer != two.signer or one.said.epoch != body["epoch"]:
        raise Malformed("the votes are of one signer in the epoch that is named")
    if not conflicting(one.said, two.said):
        raise Malformed("an honest validator may say both")


def _check_block(body: dict[str, Any]) -> None:
    vote = _vote(body["vote"])
    header = Header.decode(bytes.fromhex(body["header"]))
    justification = decode_justification(bytes.fromhex(body["justification"]))
    if vote.kind == NUL or vote.said.block_hash != header.hash():
        raise Malformed("the vote is not for the block with this header")
    if vote.said.epoch != body["epoch"]:
        raise Malformed("the vote is not of the epoch that is named")
    if justification.hash() != header.just_hash:
        raise Malformed("the justification is not the one that the header names")


EVIDENCE: Final[dict[str, shape.Check]] = {
    "block": shape.also(
        shape.fields(
            epoch=_EPOCH,
            header=shape.hexed_upto(512),
            justification=shape.hexed_upto(MAX_JUSTIFICATION_BYTES.value),
            kind=shape.one_of("block"),
            validator=shape.node,
            vote=_HEX_VOTE,
        ),
        _check_block,
    ),
    "votes": shape.also(
        shape.fields(
            epoch=_EPOCH, first=_HEX_VOTE, kind=shape.one_of("votes"), second=_HEX_VOTE, validator=shape.node
        ),
        _check_votes,
    ),
}

AUTHORED: Final[dict[str, shape.Check]] = {"fault.evidence": shape.tagged("kind", EVIDENCE)}
