"""Faults of comparable code, one test each: docs/agreement.md, "Faults of comparable code"."""

from dataclasses import replace

import pytest

from pyrsia.consensus.committee import Checker
from pyrsia.consensus.effects import Broadcast, Deliver, Halt, Persist, Send, WakeAt
from pyrsia.consensus.recovery import Recovered, keep, record
from pyrsia.wire.blocks import (
    FIN,
    NOT,
    Blocks,
    Cert,
    FinalityProof,
    Justification,
    Proposal,
    Vote,
    finalize,
    notarize,
    nullify,
)
from tests.unit.consensus.parts import (
    COMMITTEE,
    SEATS,
    App,
    Net,
    Rig,
    block,
    cert,
    justification,
    key_of,
    node_of,
    not_leader,
    proposal,
    seats_entry,
    sign,
    tail,
    verify,
    vote,
)


def test_a_block_that_skips_a_notarized_view_without_its_nullification_gets_no_vote() -> None:
    """ava-labs/Simplex 281."""
    first = block(1)
    skipping = block(3, first, Justification(cert(notarize(first.header)), ()))
    rig = Rig(not_leader(1, 2, 3))
    rig.propose(first)
    rig.certify(notarize(first.header))
    rig.certify(nullify(0, 2))
    assert rig.core.view == 3
    rig.propose(skipping)

    assert notarize(skipping.header) not in rig.votes()
    assert nullify(0, 3) in rig.votes()


def test_the_gap_is_that_of_the_proposal_and_not_of_the_own_view() -> None:
    """commonware 2100: a member that is ahead or behind judges the same block the same way."""
    first = block(1)
    good = block(4, first)
    torn = block(4, first, Justification(justification(4, first).parent_cert, (cert(nullify(0, 3)),)))
    verdicts = []
    for made in (good, torn):
        for known in ((), (2,), (2, 3)):
            rig = Rig(not_leader(1, 4))
            rig.propose(first)
            rig.certify(notarize(first.header))
            for view in known:
                rig.certify(nullify(0, view))
            rig.propose(made)
            rig.certify(nullify(0, 3))  # (whoever was behind enters view 4 now)
            verdicts.append(notarize(made.header) in rig.votes(NOT))

    assert verdicts == [True] * 3 + [False] * 3


def test_repeating_never_makes_a_vote_and_a_view_given_up_is_never_finalized() -> None:
    """ava-labs/Simplex 280, 290 and commonware 2695: NUL first, then the notarization comes late."""
    rig, b = Rig(not_leader(1, 2)), block(1)
    rig.timer(20.0)
    assert rig.votes() == [nullify(0, 1)]
    rig.propose(b, 20.1)
    rig.certify(notarize(b.header), 20.1)
    for seconds in (20.3, 20.9, 21.5, 22.5):
        rig.timer(seconds)

    assert rig.votes(FIN) == []
    assert rig.votes(NOT) == []
    assert rig.core.view == 2  # the late notarization still counts


def test_nothing_is_signed_at_or_below_the_last_final_view() -> None:
    """ava-labs/Simplex 280: a view whose own flags were forgotten with it must not be voted in again."""
    rig, b = Rig(not_leader(1, 2)), block(2)
    rig.certify(nullify(0, 1))
    rig.propose(b)
    rig.certify(notarize(b.header))
    rig.certify(finalize(b.header))
    assert rig.core.final.view == 2
    before = rig.votes()
    for late in (block(1), block(2), block(2, nudge=1)):
        rig.propose(late, 0.1)
        rig.certify(notarize(late.header), 0.1)
    rig.timer(1.0)

    assert [said for said in rig.votes() if said not in before and said.view <= 2] == []


def test_a_restart_enters_the_view_after_the_highest_certificate_and_repeats_its_own_vote() -> None:
    """ava-labs/Simplex 328, commonware 2043: the last record of the file is not the highest view."""
    me = not_leader(1, 2, 3)
    records = (record(vote(me, nullify(0, 3))), record(cert(nullify(0, 2))), record(cert(nullify(0, 1))))
    rig = Rig(me, recovered=Recovered(records))
    assert rig.core.view == 3
    rig.propose(block(3))
    rig.timer(20.0)
    rig.timer(21.0)

    assert rig.votes(NOT) == []  # P1 holds over restarts
    assert rig.votes() == [nullify(0, 3)]


def test_a_restart_votes_twice_for_nothing() -> None:
    """commonware 2043, 2045, 2050: another block of a view in which the file holds a NOT."""
    me = not_leader(1)
    first, second = block(1), block(1, nudge=1)
    rig = Rig(me, recovered=Recovered((record(first), record(vote(me, notarize(first.header))))))
    rig.propose(second)
    rig.certify(notarize(second.header))
    rig.timer(20.0)
    rig.timer(21.0)

    assert rig.votes(NOT) in ([], [notarize(first.header)])
    assert rig.votes(FIN) == []  # NOT(h), then FIN(h') would be a fault


def test_an_own_block_is_sent_again_and_never_built_anew() -> None:
    leader = COMMITTEE.leader(1)
    b = block(1)
    app = App(SEATS)
    app.pending.append(b"something else")
    rig = Rig(leader, app, Recovered((record(b), record(vote(leader, notarize(b.header))))))
    rig.timer(0.5)
    rig.timer(40.0)

    proposed = {m.block for m in rig.sent(Proposal) if isinstance(m, Proposal)}
    assert proposed == {b}


def test_records_of_another_epoch_are_not_taken_up() -> None:
    """ava-labs/Simplex 551."""
    me = not_leader(1)
    old = Vote(nullify(7, 1), me, b"s" * 64)
    rig, b = Rig(me, recovered=Recovered((record(old),))), block(1)
    rig.propose(b)

    assert rig.votes() == [notarize(b.header)]
    assert keep(record(old), 0, 5)  # but a later epoch's record stays in the file


def test_tails_have_no_height_of_their_own_and_are_never_delivered() -> None:
    """ava-labs/Simplex 545: tails reuse no number, so nothing looks like two final blocks of one height."""
    end = block(1, entries=(seats_entry("0", "1", "2", "5"),))
    first, second = tail(2, end, end), tail(3, end, block(1))
    rig = Rig(not_leader(1, 2, 3))
    for made in (end, first):
        rig.propose(made)
        rig.certify(notarize(made.header))
    out = rig.certify(finalize(first.header))

    delivered = [e for e in out if isinstance(e, Deliver)]
    assert [d.blocks for d in delivered] == [(end,)]
    assert delivered[0].proof.headers == (first.header, end.header)
    assert first.header.height == second.header.height == end.header.height
    assert rig.core.ended
    assert not any(isinstance(e, Halt) for e in rig.out)


def test_an_unverified_finalization_halts_nobody() -> None:
    """ava-labs/Simplex 544: kept under the height that it claims, it would exclude the true one."""
    rig, b = Rig(not_leader(1, 2)), block(1)
    claim = finalize(b.header)._replace(block_hash=b"x" * 32)
    forged = Cert(claim, 4, (0, 1, 2), (b"s" * 64,) * 3)
    rig.hear(rig.others[0], forged)
    rig.propose(b)
    rig.certify(notarize(b.header))
    out = rig.certify(finalize(b.header))

    assert any(isinstance(e, Deliver) for e in out)
    assert not rig.core.halted


def test_a_vote_is_on_disk_before_it_is_on_the_wire() -> None:
    """aptos-core 18298: signed, sent, then stored."""
    rig, b = Rig(not_leader(1)), block(1)
    out = [e for e in rig.propose(b) if not isinstance(e, WakeAt)]
    sent = [i for i, e in enumerate(out) if isinstance(e, Broadcast | Send)]
    stored = [i for i, e in enumerate(out) if isinstance(e, Persist) and not e.lazy]

    assert sent
    assert min(sent) > stored[0]
    assert out[stored[0]] == Persist(record(vote(rig.me, notarize(b.header))))


@pytest.mark.parametrize("members", [(0, 1), (0, 1, 2, 3), (0, 0, 1), (2, 1, 0)])
def test_only_the_canonical_certificate_counts(members: tuple[int, ...]) -> None:
    """C5, CometBFT 1749: exactly q, distinct, sorted, every signature good."""
    assert not Checker(COMMITTEE, verify).cert(cert(nullify(0, 1), members))
    good = cert(nullify(0, 1))
    assert Checker(COMMITTEE, verify).cert(good)
    for at in range(3):
        sigs = tuple(b"x" * 64 if i == at else sig for i, sig in enumerate(good.sigs))
        assert not Checker(COMMITTEE, verify).cert(replace(good, sigs=sigs))


def test_votes_that_were_checked_one_by_one_excuse_no_other_signature() -> None:
    """CometBFT 1749 again: the shortcut is for equal bytes under an equal statement only."""
    said, other = nullify(0, 1), nullify(0, 2)
    known = {i: vote(i, said) for i in range(3)}
    forged = replace(cert(said), sigs=(vote(0, said).sig, vote(1, said).sig, b"x" * 64))
    elsewhere = Cert(other, 4, (0, 1, 2), tuple(vote(i, said).sig for i in range(3)))

    assert not Checker(COMMITTEE, verify).cert(forged, known)
    assert not Checker(COMMITTEE, verify).cert(elsewhere, known)
    assert Checker(COMMITTEE, lambda *_: False).cert(cert(said), known)


def test_the_newest_of_several_pending_blocks_brings_its_ancestors_in_order() -> None:
    """asonnino/hotstuff: a commit loop that looks out of order with two ancestors pending."""
    first = block(1)
    second = block(2, first)
    third = block(3, second)
    rig = Rig(not_leader(1, 2, 3))
    for made in (first, second, third):
        rig.propose(made)
        rig.certify(notarize(made.header))
    out = rig.certify(finalize(third.header))

    assert [e.blocks for e in out if isinstance(e, Deliver)] == [(first, second, third)]


def test_a_proof_names_its_block_whatever_its_sender_says_of_its_height() -> None:
    """ava-labs/Simplex 544, for blocks by height."""
    net = Net(4)
    net.start()
    net.submit(b"one")
    assert net.run(lambda: min(net.heights()) >= 1)
    b = net[0].blocks[1]
    made = type(block(1)).decode(b)
    wrong = Blocks(
        (replace(made, header=replace(made.header, height=7)),), FinalityProof.decode(net[0].proofs[1])
    )
    late = Net(4)
    late.start(0)
    late[0].on._sync.claim(node_of(1), 7)
    late[0].on._sync.ask(late.now + 9, 0)
    late[0].on._sync.ask(late.now + 10, 0)
    out = late[0].on.on_message(late.clock, node_of(1), wrong)

    assert not any(isinstance(e, Deliver | Halt) for e in out)


def test_duplicate_keys_make_no_committee() -> None:
    """Jepsen on Tendermint 0.10: validators with the same key."""
    from pyrsia.consensus.committee import Committee

    twice = replace(SEATS, validators=(*SEATS.validators[:3], SEATS.validators[2]))
    with pytest.raises(ValueError, match="distinct"):
        Committee(twice, b"c" * 32, "o/1")
    assert verify(key_of(0), b"text", sign(key_of(0), b"text"))
    assert proposal(block(1)).vote.signer == COMMITTEE.leader(1)
