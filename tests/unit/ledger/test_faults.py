"""Evidence: what convicts, and that no honest validator can be convicted, whatever is put together."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyrsia.errors import Refusal
from pyrsia.keys import verify
from pyrsia.ledger import entries, faults, views
from pyrsia.ledger.context import NotApplied
from pyrsia.ledger.execute import Parses, admit
from pyrsia.wire.blocks import EPOCH_END, FIN, TAIL, Justification, Vote, finalize, notarize, nullify
from pyrsia.wire.text import b32
from tests.reference.governance import Governed
from tests.reference.ledger import key
from tests.reference.misdeeds import Misdeeds

WORLD = Governed()
DID = Misdeeds(WORLD)
NOT_ONE, NOT_TWO, FIN_ONE, FIN_TWO, NUL = DID.statements()
HOLDS = Parses(verify, 4_096).holds


def told(body, world=WORLD, author=None):
    return world.entry(author or world.follower, "fault.evidence", body)


def verdict(body):
    """Why the evidence does not stand on the state of `WORLD`, or an empty text."""
    raw = told(body)
    try:
        admit(entries.parse(raw), WORLD.db.get, WORLD.genesis, WORLD.time, HOLDS)
    except NotApplied as no:
        return no.why
    return ""


# -- two votes --


@pytest.mark.parametrize(
    ("one", "two"), [(NOT_ONE, NOT_TWO), (FIN_ONE, FIN_TWO), (NUL, FIN_ONE), (NOT_ONE, FIN_TWO)]
)
def test_two_votes_that_no_honest_member_casts_convict(one, two):
    assert verdict(DID.pair(1, one, two)) == ""


def test_evidence_is_recorded_once_for_each_validator_epoch_and_kind():
    world = Governed()
    did = Misdeeds(world)
    raw = told(did.pair(1, NOT_ONE, NOT_TWO), world)
    world.block(raw)
    record = views.fault(world.db.get, did.node(1), 0, "votes")
    assert entries.parse(world.leaves[record["leaf"]]).raw == raw
    assert (record["author"], record["view"]) == (b32(world.follower.public), NOT_ONE.view)
    again = told(did.pair(1, FIN_ONE, FIN_TWO), world)
    with pytest.raises(Refusal, match="on record already"):
        world.chain.mempool.add(again, world.time, world.db.get)
    assert "on record already" in world.forced(again)
    just = short_gap(did)
    world.block(
        told(did.pair(2, NOT_ONE, NOT_TWO), world), told(did.block(1, did.header(just=just), just), world)
    )
    assert views.fault(world.db.get, did.node(2), 0, "votes")
    assert views.fault(world.db.get, did.node(1), 0, "block")
    assert did.node(1) in views.members(world.db.get)  # it leads nothing from the next epoch on; no more
    assert world.seats().convicted == frozenset()


def short_gap(did):
    whole = did.justification()
    return Justification(whole.parent_cert, whole.gap[:-1])


def test_signatures_of_another_key_convict_nobody():
    for forged in (NOT_ONE, NOT_TWO):
        votes = [DID.vote(1, said, signer=2 if said is forged else 1) for said in (NOT_ONE, NOT_TWO)]
        first, second = sorted(vote.encode().hex() for vote in votes)
        body = {**DID.pair(1, NOT_ONE, NOT_TWO), "first": first, "second": second}
        assert verdict(body) == "the accused did not sign this"


def test_votes_of_one_validator_do_not_accuse_another():
    assert verdict(DID.pair(1, NOT_ONE, NOT_TWO, accused=2)) == "the accused did not sign this"


@pytest.mark.parametrize("who", [WORLD.follower, key("stranger")])
def test_only_validators_are_accused(who):
    body = {**DID.pair(1, NOT_ONE, NOT_TWO), "validator": b32(who.public)}
    assert verdict(body) == "the accused was no validator in this epoch"


def test_votes_of_another_network_or_epoch_convict_nobody():
    other = Governed(name="another")
    body = Misdeeds(other).pair(1, NOT_ONE, NOT_TWO)
    assert verdict(body) == "the accused did not sign this"
    later = [said._replace(epoch=1) for said in (NOT_ONE, NOT_TWO)]
    assert verdict(DID.pair(1, *later, epoch=1)) == "no epoch has this number"
    assert (
        verdict(DID.pair(1, *(said._replace(epoch=9) for said in later), epoch=9))
        == "no epoch has this number"
    )


HONEST = st.sampled_from(
    [(NOT_ONE,), (NOT_ONE, FIN_ONE), (NOT_ONE, NUL), (NUL,), (NOT_TWO, FIN_TWO), (NOT_TWO, NUL)]
)


@settings(max_examples=60)
@given(HONEST, st.integers(1, 9), st.integers(1, 9), st.integers(0, 3))
def test_no_two_of_an_honest_validators_votes_are_evidence(cast, view, other_view, index):
    """It says one of these of each view; anything that is put together from two of them is no entry."""
    votes = [said._replace(view=at) for said in cast for at in {view, other_view}]
    for one in votes:
        for two in votes:
            with pytest.raises(ValueError, match="fault"):
                told(DID.pair(index, one, two))


# -- a vote for a block --


def test_a_vote_for_a_block_in_order_is_no_fault():
    just = DID.justification()
    for said in (notarize, finalize):
        assert verdict(DID.block(2, DID.header(just=just), just, said)) != ""
    first = Justification(None, ())
    start = DID.header(view=1, parent_view=0, just=first)
    assert verdict(DID.block(2, start, first)) == "the block breaks neither P2 nor P3"


@pytest.mark.parametrize(
    "changes",
    [
        {"proposer": (DID.leader(6) + 1) % 4},
        {"proposer": 40_000},
        {"chain_id": b"\1" * 32},
        {"members_hash": bytes(32)},
        {"next_members_hash": b"\1" * 32},
        {"kind": EPOCH_END},
        {"kind": TAIL, "reveal": b"\1" * 32},
        {"kind": TAIL, "next_chain": b"\1" * 32},
        {"kind": TAIL, "n_entries": 1},
        {"kind": TAIL, "next_members_hash": b"\1" * 32},
    ],
)
@pytest.mark.parametrize("said", [notarize, finalize])
def test_a_header_that_breaks_p2_convicts_whoever_voted_for_it(changes, said):
    just = DID.justification()
    assert verdict(DID.block(2, DID.header(just=just, **changes), just, said)) == ""


@pytest.mark.parametrize("changes", [{"kind": TAIL}, {"kind": EPOCH_END, "next_members_hash": b"\1" * 32}])
def test_the_end_of_an_epoch_and_a_tail_are_blocks_in_order(changes):
    just = DID.justification()
    header = DID.header(just=just, **changes)
    assert verdict(DID.block(2, header, just)) == "the block breaks neither P2 nor P3"


def certs(did):
    """(what is wrong, justification) for a block of view 6 on view 3."""
    whole = did.justification()
    parent, gap = whole.parent_cert, whole.gap
    q = did.q
    yield "no parent", Justification(None, gap)
    yield "a parent given up", Justification(did.cert(nullify(0, 3)), gap)
    yield "another parent", Justification(did.cert(did.parent(3)._replace(block_hash=b"\2" * 32)), gap)
    yield "a parent of another view", Justification(did.cert(did.parent(2)), gap)
    yield "a view missing at the end", Justification(parent, gap[:-1])
    yield "a view missing at the start", Justification(parent, gap[1:])
    yield "no gap", Justification(parent, ())
    yield "a view too many", Justification(parent, (*gap, did.cert(nullify(0, 6))))
    yield "views out of order", Justification(parent, gap[::-1])
    yield "a view twice", Justification(parent, (gap[0], gap[0]))
    yield "a gap that was notarized", Justification(parent, (gap[0], did.cert(did.parent(5))))
    yield "another epoch", Justification(parent, (gap[0], did.cert(nullify(1, 5))))
    yield "one signature short", Justification(did.cert(parent.said, range(q - 1)), gap)
    yield "one signature too many", Justification(did.cert(parent.said, range(q + 1)), gap)
    yield "a forged signature", Justification(replace(parent, sigs=(bytes(64), *parent.sigs[1:])), gap)
    swapped = (parent.sigs[1], parent.sigs[0], *parent.sigs[2:])
    yield "signatures swapped", Justification(replace(parent, sigs=swapped), gap)
    yield "another number of members", Justification(replace(parent, members=5), gap)
    yield (
        "a forged gap",
        Justification(parent, (gap[0], replace(gap[1], sigs=(*gap[1].sigs[:-1], bytes(64))))),
    )


@pytest.mark.parametrize(
    ("what", "just"), list(certs(DID)), ids=lambda case: case if isinstance(case, str) else ""
)
def test_a_justification_that_breaks_p3_convicts_who_voted_not_and_nobody_who_finalised(what, just):
    header = DID.header(just=just)
    assert verdict(DID.block(2, header, just)) == ""
    assert "only a NOT vote answers" in verdict(DID.block(2, header, just, finalize))


def test_a_parent_that_is_final_is_as_good_as_one_that_is_notarized():
    parent = DID.header(view=3, parent_view=2)
    just = Justification(DID.cert(finalize(parent)), DID.justification().gap)
    header = DID.header(just=just, parent_hash=parent.hash())
    assert verdict(DID.block(2, header, just)) == "the block breaks neither P2 nor P3"


def test_a_view_of_any_number_is_judged_at_once():
    """The gap is counted, never built: this one has 2^53 views. Beyond, no state could name the view."""
    just = DID.justification()
    last = (1 << 53) - 1
    header = DID.header(just=just, view=last, proposer=DID.leader(last))
    assert verdict(DID.block(2, header, just)) == ""
    with pytest.raises(ValueError, match="no JSON number"):
        told(DID.block(2, replace(header, view=last + 1), just))
    with pytest.raises(ValueError, match="no JSON number"):
        told(DID.pair(2, *(said._replace(view=1 << 63) for said in (NOT_ONE, NOT_TWO))))


def test_who_did_not_vote_for_it_is_not_accused_by_it():
    just = short_gap(DID)
    header = DID.header(just=just)
    body = DID.block(2, header, just)
    assert verdict({**body, "validator": DID.node(1)}) == "the accused did not sign this"
    forged = DID.vote(1, notarize(header), signer=2).encode().hex()
    assert verdict({**body, "validator": DID.node(1), "vote": forged}) == "the accused did not sign this"


def test_the_signatures_of_certificates_are_checked_only_for_a_vote_of_the_accused():
    """Else anybody could make every node check thousands of signatures for nothing."""
    asked = []

    def counting(*words):
        asked.append(words)
        return verify(*words)

    just = DID.justification()
    header = DID.header(just=just)
    unsigned = Vote(notarize(header), 2, bytes(64)).encode().hex()
    body = DID.block(2, header, just, vote=unsigned)
    with pytest.raises(NotApplied, match="did not sign"):
        admit(entries.parse(told(body)), WORLD.db.get, WORLD.genesis, WORLD.time, counting)
    assert len(asked) == 1


def test_the_rules_are_those_of_agreement():
    """The same block, judged by the core's own committee and by the ledger."""
    from pyrsia.consensus.committee import Checker, Committee

    committee = Committee(DID.seats, WORLD.genesis.chain_id, WORLD.genesis.origin)
    checker = Checker(committee, verify)
    assert [committee.leader(view) for view in range(20)] == [DID.leader(view) for view in range(20)]
    assert DID.header().members_hash == committee.members_hash
    judge = faults._Judge(Judge(), views.current(WORLD.db.get, WORLD.genesis), 0)
    for _, just in certs(DID):
        for cert in (just.parent_cert, *just.gap):
            if cert is not None:
                assert judge.good(cert) == checker.cert(cert)
    assert FIN_ONE.kind == FIN


class Judge:
    """A context as far as certificates are concerned."""

    genesis = WORLD.genesis
    holds = staticmethod(verify)
