"""One validator, one event at a time: the numbered rules of docs/agreement.md (those of epochs: test_epochs.py)."""

from dataclasses import replace

import pytest

from pyrsia.consensus.application import InvalidBlock
from pyrsia.consensus.committee import Checker, Committee
from pyrsia.consensus.effects import Accuse, Broadcast, Deliver, Lie, Mute, Persist, Send, WakeAt
from pyrsia.consensus.recovery import Recovered, keep, place, record
from pyrsia.consensus.timing import Timing, asleep
from pyrsia.consensus.tree import BlockTree
from pyrsia.units import VIEW_WINDOW
from pyrsia.wire.blocks import (
    FIN,
    NOT,
    NUL,
    ZERO,
    Block,
    Body,
    Cert,
    GetBlock,
    GetCerts,
    Header,
    Justification,
    Proposal,
    Status,
    Vote,
    conflicting,
    entries_root,
    finalize,
    notarize,
    nullify,
)
from tests.unit.consensus.parts import (
    COMMITTEE,
    SEATS,
    START,
    TIMING,
    WALL_MS,
    App,
    N,
    Rig,
    at,
    block,
    cert,
    justification,
    not_leader,
    proposal,
    seats_entry,
    tail,
    verify,
    vote,
)

END = block(1, entries=(seats_entry("0", "1", "2", "5"),))


# -- a view --


def test_a_good_proposal_is_persisted_before_its_vote_is_sent() -> None:
    """R1."""
    rig, b = Rig(not_leader(1)), block(1)
    out = rig.propose(b)

    kinds = [type(e) for e in out if not isinstance(e, WakeAt)]
    assert kinds == [Persist, Persist, Broadcast]
    assert rig.votes() == [notarize(b.header)]


def test_three_votes_make_a_certificate_and_three_more_make_it_final() -> None:
    me = not_leader(1)
    rig, b = Rig(me), block(1)
    rig.propose(b)
    others = [i for i in range(N) if i not in (me, b.header.proposer)]
    rig.hear(others[0], vote(others[0], notarize(b.header)))
    assert rig.votes(FIN) == [finalize(b.header)]
    assert rig.core.view == 2
    for other in others:
        out = rig.hear(other, vote(other, finalize(b.header)))

    delivered = [e for e in out if isinstance(e, Deliver)]
    assert [d.blocks for d in delivered] == [(b,)]
    assert Checker(COMMITTEE, verify).proof(delivered[0].proof)
    assert rig.core.final.hash == b.hash


@pytest.mark.parametrize("kind", [NOT, NUL, FIN])
def test_any_certificate_of_a_view_or_a_later_one_leads_into_the_next_and_never_back(kind: int) -> None:
    """C6."""
    first, b = block(1), block(5)
    said = {NOT: notarize(b.header), NUL: nullify(0, 5), FIN: finalize(b.header)}[kind]
    rig = Rig(not_leader(1, 5))
    rig.certify(said)
    entered = rig.core.view
    rig.certify(nullify(0, 2))
    rig.certify(notarize(first.header))

    assert entered == rig.core.view == 6


# -- P: when to vote NOT --


def test_p1_one_not_a_view_and_none_after_nul() -> None:
    first, second = block(1), block(1, nudge=1)
    rig, late = Rig(not_leader(1)), Rig(not_leader(1))
    rig.propose(first)
    rig.propose(second)
    late.timer(20.0)
    late.propose(first, 20.1)

    assert rig.votes(NOT) == [notarize(first.header)]
    assert late.votes() == [nullify(0, 1)]


def test_p1_a_later_views_proposal_brings_its_view_and_waits_for_its_parent() -> None:
    """Its justification brings the certificate of view 1; what is behind may get no NOT any more."""
    first = block(1)
    second = block(2, first)
    rig = Rig(not_leader(1, 2))
    rig.propose(second)
    assert (rig.core.view, rig.votes(NOT)) == (2, [])
    rig.propose(first)

    assert rig.votes(NOT) == [notarize(second.header)]
    assert rig.votes(FIN) == [finalize(first.header)]


WRONG_HEADS = {
    "P2 chain": {"chain_id": b"?" * 32},
    "P2 members": {"members_hash": b"?" * 32},
    "P2 proposer": {"proposer": not_leader(1)},
    "P2 next members": {"next_members_hash": b"?" * 32},
    "P4 height": {"height": 2},
    "P4 time": {"time_ms": START.time_ms},
    "P5 reveal": {"reveal": b"?" * 32},
    "P6 root": {"tree_root": b"?" * 32},
    "P6 size": {"tree_size": 99},
    "P6 beacon": {"beacon": b"?" * 32},
    "P6 kind": {"kind": 1},
    "P6 tail": {"kind": 2},
}


@pytest.mark.parametrize("rule", WRONG_HEADS)
def test_p2_to_p6_a_block_that_breaks_a_deterministic_rule_is_given_up_at_once(rule: str) -> None:
    """P2, P4, P5, P6."""
    rig, good = Rig(not_leader(1)), block(1)
    bad = Block(replace(good.header, **WRONG_HEADS[rule]), good.body)
    leader = COMMITTEE.leader(1)
    rig.hear(leader, Proposal(bad, vote(leader, notarize(bad.header))))

    assert rig.votes() == [nullify(0, 1)]


def test_p5_a_block_with_an_entry_that_does_not_apply_in_its_place_is_given_up() -> None:
    """Header and body agree in all; the application alone refuses what stands behind the end of an epoch."""
    rig = Rig(not_leader(1))
    bad = block(1, entries=(seats_entry("0", "1", "2", "5"), b"behind the end"))
    rig.propose(bad)

    assert rig.votes() == [nullify(0, 1)]
    assert bad.hash in rig.core.tree.bad
    other = Rig(rig.me)
    other.propose(block(1, entries=(b"behind nothing", b"behind the end")))
    assert len(other.votes(NOT)) == 1


FIRST = block(1)


@pytest.mark.parametrize(
    "just",
    [
        Justification(None, ()),  # no certificate of the parent
        Justification(cert(nullify(0, 1)), (cert(nullify(0, 2)),)),  # a NUL certificate for a parent
        Justification(cert(notarize(block(1, nudge=1).header)), (cert(nullify(0, 2)),)),  # of another block
        Justification(cert(notarize(FIRST.header)), ()),  # a view too few
        Justification(cert(notarize(FIRST.header)), (cert(nullify(0, 2)), cert(nullify(0, 3)))),
        Justification(cert(notarize(FIRST.header)), (cert(nullify(0, 1)),)),  # another view
        Justification(cert(notarize(FIRST.header)), (cert(nullify(0, 2), (0, 1)),)),  # q-1 signatures
        Justification(cert(notarize(FIRST.header)), (replace(cert(nullify(0, 2)), sigs=(b"x" * 64,) * 3),)),
        Justification(cert(notarize(FIRST.header)), (cert(nullify(1, 2)),)),  # another epoch
    ],
)
def test_p3_the_justification_holds_exactly_the_certificates_that_it_must(just: Justification) -> None:
    """A4: whoever votes for such a block gives evidence against itself."""
    made = block(3, FIRST, just)
    rig = Rig(not_leader(1, 3))
    rig.propose(FIRST)
    rig.certify(notarize(FIRST.header))
    rig.certify(nullify(0, 2))
    rig.propose(made)
    other = next(i for i in rig.others if i != made.header.proposer)
    rig.hear(other, vote(other, notarize(made.header)))

    assert notarize(made.header) not in rig.votes()
    assert nullify(0, 3) in rig.votes()
    accused = [e for e in rig.out if isinstance(e, Accuse)]
    assert [e.signer for e in accused] == [made.header.proposer, other]
    assert all(e.second is None and e.header == made.header and e.justification == just for e in accused)


def test_p3_votes_that_came_before_the_forbidden_block_accuse_their_signers_too() -> None:
    made = block(3, FIRST, Justification(cert(notarize(FIRST.header)), ()))
    rig = Rig(not_leader(1, 3))
    other = next(i for i in rig.others if i != made.header.proposer)
    rig.hear(other, vote(other, notarize(made.header)))
    rig.propose(made)

    assert {e.signer for e in rig.out if isinstance(e, Accuse)} == {made.header.proposer, other}


def test_p4_a_missing_parent_is_asked_for_and_is_no_reason_to_refuse() -> None:
    first = block(1)
    second = block(2, first)
    rig = Rig(not_leader(1, 2))
    rig.propose(second)
    assert rig.votes() == []
    rig.timer(0.2)
    asked = [
        (e.to, e.message.block_hash)
        for e in rig.out
        if isinstance(e, Send) and isinstance(e.message, GetBlock)
    ]
    rig.propose(first, 0.3)

    assert first.hash in [block_hash for _, block_hash in asked]
    assert rig.me not in [to for to, _ in asked]
    assert notarize(second.header) in rig.votes()


def test_p4_a_block_from_the_future_waits_for_the_clock() -> None:
    rig = Rig(not_leader(1))
    late = block(1, nudge=5_000)
    rig.propose(late)
    assert rig.votes() == []
    rig.timer(3.05)

    assert rig.votes() == [notarize(late.header)]


def behind_the_end(made: Block) -> Rig:
    """A core that holds the certified end of the epoch in view 1, and is given a block of view 2."""
    rig = Rig(not_leader(1, 2))
    rig.propose(END)
    rig.certify(notarize(END.header))
    rig.propose(made)
    return rig


def test_p6_behind_the_end_of_an_epoch_only_a_tail_gets_a_vote() -> None:
    """E2, E3."""
    more = block(2, END)

    good = tail(2, END, END)
    assert notarize(good.header) in behind_the_end(good).votes(NOT)
    assert behind_the_end(more).votes(NOT) == [notarize(END.header)]
    assert nullify(0, 2) in behind_the_end(more).votes(NUL)


@pytest.mark.parametrize(
    "changes",
    [
        {"height": 2},
        {"tree_size": 99},
        {"tree_root": b"?" * 32},
        {"beacon": b"?" * 32},
        {"reveal": b"?" * 32},
        {"next_chain": b"?" * 32},
        {"next_members_hash": b"?" * 32},
        {"time_ms": END.header.time_ms},
        {"proposer": not_leader(2)},
        {"parent_hash": START.hash},
    ],
)
def test_p6_a_tail_repeats_the_end_and_adds_nothing(changes: dict[str, object]) -> None:
    """E3."""
    bad = tail(2, END, END, **changes)
    rig = Rig(not_leader(1, 2))
    rig.propose(END)
    rig.certify(notarize(END.header))
    leader = COMMITTEE.leader(2)
    rig.hear(leader, Proposal(bad, vote(leader, notarize(bad.header))))

    assert rig.votes(NOT) == [notarize(END.header)]
    assert nullify(0, 2) in rig.votes(NUL)


def test_p6_a_tail_with_an_entry_or_of_no_end_is_refused() -> None:
    entries = (b"smuggled",)
    made = tail(2, END, END, n_entries=1, entries_root=entries_root(entries))
    smuggled = Block(made.header, Body(entries, made.body.justification))
    plain = tail(2, FIRST, FIRST)
    rig = Rig(not_leader(1, 2))
    rig.propose(FIRST)
    rig.certify(notarize(FIRST.header))
    rig.propose(plain)

    assert notarize(smuggled.header) not in behind_the_end(smuggled).votes()
    assert notarize(plain.header) not in rig.votes()


@pytest.mark.parametrize(
    "where", ["a tail behind a block", "a tail behind the end", "a tail of nothing", "a first block"]
)
def test_p6_a_parent_that_nobody_has_is_refused_at_once_and_not_looked_for(where: str) -> None:
    """Its leader would cost the network a view's patience, and its hash questions until the next final block."""
    nowhere = b"?" * 32
    view = 1 if where == "a first block" else 2
    rig = Rig(not_leader(1, 2))
    if where == "a first block":
        b = block(1)
        made = replace(b, header=replace(b.header, parent_hash=nowhere))
    else:
        below = END if where == "a tail behind the end" else FIRST
        rig.propose(below)
        rig.certify(notarize(below.header))
        made = tail(2, below, below, parent_hash=nowhere)
    if where == "a tail of nothing":
        just = Justification(None, (cert(nullify(0, 1)),))
        header = replace(made.header, parent_view=0, just_hash=just.hash())
        made = Block(header, replace(made.body, justification=just))
    rig.propose(made)
    for step in range(8):
        rig.timer(0.05 + 0.1 * step)

    assert nullify(0, view) in rig.votes(NUL)
    assert rig.sent(GetBlock) == []
    assert rig.core.needs == 0
    accused = [e for e in rig.out if isinstance(e, Accuse)]
    assert bool(accused) == (where == "a tail of nothing")  # P3: it says by itself that it is none


def test_p6_a_tail_continues_a_tail_of_the_same_end() -> None:
    """E3: its certificate is the newest tail's, its parent the end; a tail of another end is none."""
    first = tail(2, END, END)
    good = tail(3, END, first)
    other = block(1, nudge=1, entries=(seats_entry("0", "1", "2", "6"),))
    strange = tail(3, END, tail(2, other, other))
    verdicts = []
    for made, below in ((good, first), (strange, tail(2, other, other))):
        rig = Rig(not_leader(1, 3))
        rig.propose(END)
        rig.certify(notarize(END.header))
        rig.propose(below)
        rig.certify(notarize(below.header))
        if made is strange:
            rig.core.tree.add(other)
        rig.propose(made)
        verdicts.append(notarize(made.header) in rig.votes(NOT))

    assert verdicts == [True, False]


# -- V: when to vote FIN --


def test_v1_v2_no_fin_without_the_certificate_or_without_the_body() -> None:
    rig, b = Rig(not_leader(1)), block(1)
    rig.propose(b)
    assert rig.votes(FIN) == []
    blind = Rig(not_leader(1))
    blind.certify(notarize(b.header))

    assert blind.votes(FIN) == []
    blind.propose(b)  # the body comes after the certificate, in a view that is over
    assert blind.votes(FIN) == [finalize(b.header)]


def test_v2_a_certified_block_that_the_own_rules_refuse_gets_no_fin() -> None:
    rig, good = Rig(not_leader(1)), block(1)
    bad = Block(replace(good.header, tree_root=b"?" * 32), good.body)
    rig.propose(bad)
    rig.certify(notarize(bad.header))

    assert rig.votes(FIN) == []


def test_v3_no_fin_after_nul() -> None:
    rig, b = Rig(not_leader(1)), block(1)
    rig.propose(b)
    rig.timer(20.0)
    rig.certify(notarize(b.header), 20.1)

    assert rig.votes() == [notarize(b.header), nullify(0, 1)]


def test_v4_one_fin_and_none_for_another_block_than_the_one_voted_not_for() -> None:
    first, second = block(1), block(1, nudge=1)
    rig = Rig(not_leader(1))
    rig.propose(first)
    rig.propose(second)
    rig.certify(notarize(second.header))

    assert rig.votes(NOT) == [notarize(first.header)]
    assert rig.votes(FIN) == []


# -- N: giving a view up --


def test_n1_patience_with_the_leader_is_two_d_and_with_its_view_three() -> None:
    """Counted from the moment when the view's clock starts: here after the heartbeat."""
    silent, slow = Rig(not_leader(1)), Rig(not_leader(1))
    starts, d = TIMING.heartbeat_s, TIMING.delay_s
    slow.propose(block(1), starts)
    silent.timer(starts + 2 * d - 0.01)
    early = silent.votes()
    silent.timer(starts + 2 * d)
    slow.timer(starts + 3 * d - 0.01)
    held = slow.votes(NUL)
    slow.timer(starts + 3 * d)

    assert early == held == []
    assert silent.votes() == [nullify(0, 1)]
    assert slow.votes() == [notarize(block(1).header), nullify(0, 1)]


def test_n2_no_nul_after_fin() -> None:
    rig, b = Rig(not_leader(1)), block(1)
    rig.propose(b)
    rig.certify(notarize(b.header))
    assert rig.votes(FIN) == [finalize(b.header)]
    rig.timer(20.0)

    assert nullify(0, 1) not in rig.votes(NUL)


def test_n3_others_nul_votes_below_a_quorum_move_nobody_but_the_leaders_own_does() -> None:
    me, leader = not_leader(1), COMMITTEE.leader(1)
    rig = Rig(me)
    other = next(i for i in rig.others if i != leader)
    rig.hear(other, vote(other, nullify(0, 1)))
    assert rig.votes() == []
    rig.hear(leader, vote(leader, nullify(0, 1)))

    assert rig.votes() == [nullify(0, 1)]


# -- L: leading --


def leading(links: bool = True) -> Rig:
    app = App(SEATS)
    app.pending.append(b"work")
    rig = Rig(COMMITTEE.leader(1), app, links=links)
    rig.timer(10 * TIMING.heartbeat_s)
    return rig


def test_l1_the_leader_proposes_what_its_own_rules_accept() -> None:
    rig = leading()
    [made] = {m for m in rig.sent(Proposal) if isinstance(m, Proposal)}

    assert made.block.body.entries == (b"work",)
    assert made.vote.said == notarize(made.block.header)


def test_l1_a_block_fills_for_five_milliseconds_of_its_view() -> None:
    rig = Rig(COMMITTEE.leader(2))
    rig.app.pending.append(b"first")
    rig.certify(nullify(0, 1), 1.0)
    rig.timer(1.0049)
    assert rig.sent(Proposal) == []
    rig.app.pending.append(b"second")
    rig.timer(1.005)

    [made] = {m for m in rig.sent(Proposal) if isinstance(m, Proposal)}
    assert made.block.body.entries == (b"first", b"second")
    assert Timing().fill_s == TIMING.fill_s == 0.005


def test_l1_a_leader_whose_own_rules_refuse_what_it_built_gives_its_view_up() -> None:
    class Doubting(App):
        def check(self, header: Header, entries: tuple[bytes, ...]) -> None:
            raise InvalidBlock("our own fault")

    app = Doubting(SEATS)
    app.pending.append(b"work")
    rig = Rig(COMMITTEE.leader(1), app)
    rig.timer(10 * TIMING.heartbeat_s)

    assert rig.sent(Proposal) == []
    assert rig.votes() == [nullify(0, 1)]
    assert not rig.core.halted


def test_l2_a_leader_that_lacks_a_certificate_asks_for_it() -> None:
    leader = COMMITTEE.leader(3)
    app = App(SEATS)
    app.pending.append(b"work")
    rig = Rig(leader, app)
    rig.certify(nullify(0, 2))  # view 1 is unknown
    rig.timer(0.02)
    rig.timer(0.05)
    asked = [m for m in rig.sent(GetCerts) if isinstance(m, GetCerts)]
    assert asked
    assert asked[0].first <= 1 <= asked[0].last
    assert not any(m.block.header.view == 3 for m in rig.sent(Proposal) if isinstance(m, Proposal))
    rig.certify(nullify(0, 1), 0.06)
    rig.timer(0.07)

    [made] = [m.block for m in rig.sent(Proposal) if isinstance(m, Proposal) and m.block.header.view == 3]
    assert [c.view for c in made.body.justification.gap] == [1, 2]


def test_l3_a_leader_without_a_link_gives_its_view_up_and_stays() -> None:
    rig = leading(links=False)

    assert rig.sent(Proposal) == []
    assert rig.votes(NUL) == [nullify(0, 1)]
    assert not rig.core.halted


def test_l4_the_header_names_the_next_chain_that_the_leader_reveals() -> None:
    rig = Rig(COMMITTEE.leader(1))
    rig.core._reveal = lambda position: (ZERO, b"next" * 8)
    rig.app.check = lambda header, entries: None  # type: ignore[method-assign]
    rig.app.pending.append(b"work")
    rig.out += rig.core.on_work(at(1.0))
    [made] = [m for m in rig.sent(Proposal) if isinstance(m, Proposal)]

    assert made.block.header.next_chain == b"next" * 8


@pytest.mark.parametrize(("parent_ahead_ms", "expected_ms"), [(1_500, 1_502), (0, 40)])
def test_l4_a_block_has_its_leaders_time_or_the_moment_after_its_parents(
    parent_ahead_ms: int, expected_ms: int
) -> None:
    rig, parent = Rig(COMMITTEE.leader(2)), block(1, nudge=parent_ahead_ms)
    rig.app.pending.append(b"work")
    rig.propose(parent, 0.02)
    rig.certify(notarize(parent.header), 0.02)
    rig.timer(0.04)

    [made] = {m for m in rig.sent(Proposal) if isinstance(m, Proposal)}
    assert made.block.header.parent_hash == parent.hash
    assert made.block.header.time_ms == WALL_MS + expected_ms


# -- C: counting --


def test_c1_a_vote_counts_only_over_its_signers_own_link() -> None:
    rig, b = Rig(not_leader(1)), block(1)
    one, two = rig.others[:2]
    out = rig.hear(one, vote(two, notarize(b.header)))

    assert [e.sender for e in out if isinstance(e, Lie)] == [one]
    assert not rig.core.counting.at(1).votes[NOT]


def test_c2_votes_far_ahead_are_not_kept_and_certificates_are() -> None:
    rig = Rig(not_leader(1))
    far = 1 + VIEW_WINDOW.value + 1
    one = rig.others[0]
    rig.hear(one, vote(one, nullify(0, far)))
    assert far not in rig.core._views
    rig.certify(nullify(0, far))

    assert rig.core.view == far + 1


def test_c2_votes_far_behind_are_forgotten_however_fast_certificates_lead_on() -> None:
    """One liar votes in every view that can be kept; certificates of views far apart move this member past them."""
    rig = Rig(not_leader(1))
    liar, window = rig.others[0], VIEW_WINDOW.value
    views = rig.core.counting.views
    for _ in range(10):
        base = rig.core.view
        for view in range(max(1, base - 2 * window), base + 2 * window):
            rig.hear(liar, vote(liar, nullify(0, view)))
        rig.hear(rig.others[1], cert(nullify(0, base + window - 1), tuple(rig.others)))
    kept = [state.view for state in views.values() for votes in state.votes.values() for _ in votes]

    assert rig.core.view == 1 + 10 * window
    assert kept
    assert len(kept) <= 2 * window
    assert min(kept) > rig.core.view - window


def test_c2_a_late_proposal_of_a_view_far_behind_is_not_kept() -> None:
    rig = Rig(not_leader(3, 5))
    rig.certify(nullify(0, 4 + VIEW_WINDOW.value - 1))
    late, near = block(3), block(5)
    for made in (late, near):
        rig.propose(made)

    assert rig.core.tree.find(late.hash) is None
    assert rig.core.tree.find(near.hash) == near


def test_c3_a_signers_first_vote_of_a_kind_stays() -> None:
    first, second = block(1), block(1, nudge=1)
    rig = Rig(not_leader(1))
    leader = first.header.proposer
    rig.hear(leader, vote(leader, notarize(first.header)))
    out = rig.hear(leader, vote(leader, notarize(second.header)))

    assert [e.signer for e in out if isinstance(e, Accuse)] == [leader]
    assert rig.core.counting.at(1).votes[NOT][leader].said == notarize(first.header)


def test_c4_what_is_past_the_quorum_is_not_checked_unless_it_contradicts() -> None:
    checked = []
    rig, b = Rig(not_leader(1)), block(1)
    honest = rig.core._checker._verify
    rig.core._checker._verify = lambda *words: bool(checked.append(words)) or honest(*words)  # type: ignore[func-returns-value]
    rig.certify(notarize(b.header))
    before = len(checked)
    late = rig.others[2]
    rig.hear(late, vote(late, notarize(b.header)))
    assert len(checked) == before
    rig.hear(late, vote(late, notarize(block(1, nudge=1).header)))

    assert len(checked) == before + 1


def test_c7_a_blocks_certificate_goes_to_those_who_do_not_show_that_they_left_its_view() -> None:
    me = not_leader(1, 2)
    rig, b = Rig(me), block(1)
    rig.propose(b)
    quiet, shows = (i for i in rig.others if i != b.header.proposer)
    rig.hear(quiet, vote(quiet, notarize(b.header)))
    assert rig.core.view == 2
    rig.hear(shows, vote(shows, finalize(b.header)))
    at_once = [e for e in rig.out if isinstance(e, Broadcast) and isinstance(e.message, Cert)]
    out = rig.timer(0.01 + TIMING.relay_s)

    assert at_once == []
    relayed = {e.to: e.message for e in out if isinstance(e, Send) and isinstance(e.message, Cert)}
    assert set(relayed) == {quiet, b.header.proposer}
    assert all(c.said == notarize(b.header) for c in relayed.values())


def test_c7_that_a_view_was_given_up_is_told_to_all_at_once() -> None:
    rig = Rig(not_leader(1))
    out = rig.certify(nullify(0, 1))

    assert [e.message for e in out if isinstance(e, Broadcast)] == [cert(nullify(0, 1))]


# -- A: evidence --


def test_a1_votes_that_exclude_each_other() -> None:
    b, c = block(1), block(1, nudge=1)
    n, f, u = notarize(b.header), finalize(b.header), nullify(0, 1)

    assert not conflicting(n, u)
    assert not conflicting(n, f)
    assert conflicting(u, f)
    assert conflicting(n, notarize(c.header))
    assert conflicting(f, finalize(c.header))
    assert conflicting(n, finalize(c.header))
    assert not conflicting(f, finalize(block(2).header))


def test_a1_a_leader_with_two_blocks_is_accused_and_only_the_first_gets_a_vote() -> None:
    rig, first, second = Rig(not_leader(1)), block(1), block(1, nudge=1)
    leader = first.header.proposer
    rig.propose(first)
    out = rig.propose(second)

    [accused] = [e for e in out if isinstance(e, Accuse)]
    assert accused.signer == leader
    assert accused.second is not None
    assert {accused.first.said, accused.second.said} == {notarize(first.header), notarize(second.header)}
    assert rig.votes(NOT) == [notarize(first.header)]


def test_a2_a_contradiction_in_a_view_that_is_final_is_still_noticed() -> None:
    rig, b = Rig(not_leader(1)), block(1)
    rig.propose(b)
    rig.certify(notarize(b.header))
    rig.certify(finalize(b.header))
    assert rig.core.final.view == 1
    liar = 0 if rig.me != 0 else 1
    out = rig.hear(liar, vote(liar, nullify(0, 1)))

    assert [e.signer for e in out if isinstance(e, Accuse)] == [liar]


def test_a3_one_member_is_accused_once_of_each_kind() -> None:
    rig = Rig(not_leader(1))
    liar = COMMITTEE.leader(1)
    for view in (1, 5):
        made = block(view), block(view, nudge=1)
        for b in made:
            rig.hear(liar, vote(liar, notarize(b.header)))

    assert len([e for e in rig.out if isinstance(e, Accuse)]) == 1


# -- T: timers and repetition --


def test_t1_a_silent_leader_sleeps_only_when_a_quorum_spoke() -> None:
    assert asleep([0.0, 20.0, 20.0, 0.0], 0, 3, 3, 20.0, 10.0)
    assert not asleep([0.0, 0.0, 0.0, 0.0], 0, 3, 3, 20.0, 10.0)  # an idle network
    assert not asleep([0.0, 20.0, 20.0, 0.0], 3, 3, 3, 20.0, 10.0)  # never oneself


def test_t1_a_view_of_a_sleeping_leader_is_given_up_at_once() -> None:
    me, leader = not_leader(1, 2), COMMITTEE.leader(2)
    rig = Rig(me)
    rig.app.pending.append(b"work")
    for seconds in (10.0, 20.0):
        for other in rig.others:
            if other != leader:
                rig.hear(other, vote(other, nullify(0, 1)), seconds)
                rig.hear(other, Status(0, 1, 0, START.hash), seconds)
    rig.certify(nullify(0, 1), 20.0)
    assert rig.core.view == 2
    rig.timer(20.0)

    assert nullify(0, 2) in rig.votes(NUL)


def test_t2_patience_grows_with_failed_views_and_ends() -> None:
    timing = Timing(delay_s=1.0, delay_max_s=60.0)

    assert [round(timing.patience_s(k), 3) for k in (0, 1, 2)] == [1.0, 1.5, 2.25]
    assert timing.patience_s(1_000) == 60.0


def patience(rig: Rig) -> float:
    """D of the current view, in units of D0."""
    return (rig.core.clock.view_at - rig.core.clock.base) / 3 / TIMING.delay_s


def test_t2_patience_follows_from_certificates_and_not_from_a_counter() -> None:
    rig = Rig(not_leader(1))
    for view in range(1, 6):
        rig.certify(nullify(0, view))
    slow = patience(rig)
    b = block(6)
    rig.propose(b)
    rig.certify(notarize(b.header))
    rig.certify(finalize(b.header))
    rig.certify(notarize(block(7, b).header))

    assert slow == pytest.approx(1.5**5)
    assert patience(rig) == pytest.approx(1.0)


def test_t2_blocks_that_are_never_final_make_a_member_patient_too() -> None:
    """Delays longer than D0: each view gets its block and too many NUL votes, and nothing would ever be final."""
    rig = Rig(not_leader(1, 2))
    blocks = [block(1)]
    for view in range(2, 9):
        blocks.append(block(view, blocks[-1]))
    found = []
    for made in blocks:
        rig.propose(made)
        rig.certify(notarize(made.header))
        found.append(patience(rig))

    assert found[:3] == [pytest.approx(1.0)] * 3
    assert found[3:] == [pytest.approx(1.5**k) for k in range(1, 6)]


def test_t2_what_is_final_and_not_here_yet_has_not_failed() -> None:
    """A member that was away lacks bodies, not patience: its own lag is no reason to wait for half a minute."""
    newest = block(7)
    told, late, idle = Rig(not_leader(1)), Rig(not_leader(1)), Rig(not_leader(1))
    told.certify(finalize(newest.header))
    late.certify(notarize(newest.header))
    idle.certify(nullify(0, 7))
    before = patience(late), patience(idle)
    late.certify(finalize(newest.header))
    idle.certify(notarize(block(6).header))

    assert before == (pytest.approx(1.5**4), pytest.approx(1.5**7))
    assert patience(told) == patience(late) == pytest.approx(1.0)
    assert patience(idle) == pytest.approx(1.5**4)
    assert {rig.core.view for rig in (told, late, idle)} == {8}
    assert {rig.core.final.view for rig in (told, late, idle)} == {0}


def test_n4_when_leader_after_leader_fails_a_view_takes_its_time() -> None:
    """Else a network whose leaders all fail would burn the 2,048 views that a block can bridge in a few minutes."""
    quick, slow = Rig(not_leader(1, 2)), Rig(not_leader(1, 2, 20))
    bad = [Block(replace(block(v).header, tree_root=b"?" * 32), block(v).body) for v in (2, 20)]
    quick.certify(nullify(0, 1))
    quick.propose(bad[0])
    for view in range(1, 20):
        slow.certify(nullify(0, view))
    slow.propose(bad[1])

    assert nullify(0, 2) in quick.votes(NUL)
    assert nullify(0, 20) not in slow.votes(NUL)
    slow.timer(100.0)
    assert nullify(0, 20) in slow.votes(NUL)


def test_l2_a_long_gap_is_asked_for_from_its_newest_missing_view_on() -> None:
    leader = COMMITTEE.leader(300)
    rig = Rig(leader)
    rig.app.pending.append(b"work")
    rig.certify(nullify(0, 299), 1.0)
    seconds, asked, others = 1.01, [], tuple(rig.others)
    while seconds < 4.0 and not any(m.block.header.view == 300 for m in rig.sent(Proposal)):  # type: ignore[attr-defined]
        out = rig.timer(seconds)
        asked = [e.message for e in out if isinstance(e, Send) and isinstance(e.message, GetCerts)]
        for ask in asked:
            held = tuple(cert(nullify(0, view), others) for view in range(ask.first, ask.last + 1))
            assert len(held) <= 21
            rig.hear(rig.others[0], Status(0, 300, 0, START.hash, held), seconds)
        seconds += 0.026

    [made] = {m.block for m in rig.sent(Proposal) if isinstance(m, Proposal) and m.block.header.view == 300}
    assert len(made.body.justification.gap) == 299


def test_t3_repeating_sends_the_same_bytes_and_nothing_new() -> None:
    rig, b = Rig(not_leader(1)), block(1)
    rig.propose(b)
    rig.timer(20.0)
    first = rig.votes()
    for seconds in range(21, 60):
        rig.timer(float(seconds))

    assert rig.votes() == first == [notarize(b.header), nullify(0, 1)]
    stored = [e.record for e in rig.out if isinstance(e, Persist) and not e.lazy]
    assert len(stored) == len(set(stored)) == 2


def test_t4_what_is_missing_is_asked_for_although_views_fly_by() -> None:
    """The fetch timer is not the view's: certificates push this member on and it asks all the same."""
    rig = Rig(me := not_leader(1))
    blocks = [block(1)]
    for view in range(2, 12):
        blocks.append(block(view, blocks[-1]))
    asked = set()
    for i, made in enumerate(blocks):
        seconds = 0.1 + i * 0.05
        rig.certify(notarize(made.header), seconds)
        out = rig.timer(seconds + 0.04)
        asked |= {
            e.message.block_hash for e in out if isinstance(e, Send) and isinstance(e.message, GetBlock)
        }
        assert all(e.to != me for e in out if isinstance(e, Send))

    assert len(asked) >= 4


def test_t5_a_member_that_is_behind_is_told_but_not_for_everything_that_it_says() -> None:
    rig = Rig(not_leader(1, 2))
    rig.certify(nullify(0, 1), 1.0)
    one = rig.others[1]
    before = len(rig.sent(Status))
    for _ in range(100):
        rig.hear(one, Status(0, 1, 0, START.hash), 1.0)
    told = len(rig.sent(Status)) - before
    rig.hear(one, Status(0, 1, 0, START.hash), 2.0)

    assert told == 1
    assert len(rig.sent(Status)) == before + 2


# -- R: durable record and permission to vote --


def test_r4_nothing_is_voted_before_q_minus_one_members_told_what_they_hold() -> None:
    rig, b = Rig(not_leader(1), gate=False), block(1)
    rig.propose(b)
    rig.hear(b.header.proposer, Status(0, 1, 0, START.hash, (), None, 0, 0))  # answers nothing
    rig.hear(b.header.proposer, Status(0, 1, 0, START.hash, (), None, 0, rig.ask + 1))  # another question
    for _ in range(3):
        rig.hear(
            b.header.proposer, Status(0, 1, 0, START.hash, (), None, 0, rig.ask)
        )  # one member, however often
    rig.timer(30.0)

    assert rig.votes() == []
    assert not rig.core.voting


def test_r4_a_vote_that_others_hold_and_the_file_lacks_stops_the_key() -> None:
    me = not_leader(1)
    rig = Rig(me, held=vote(me, nullify(0, 1)))
    rig.propose(block(1))

    assert any(isinstance(e, Mute) for e in rig.out)
    assert rig.votes() == []
    assert not rig.core.halted  # it goes on as a follower


def test_r4_a_vote_inside_a_certificate_that_the_file_lacks_stops_the_key_too() -> None:
    me = not_leader(1)
    rig = Rig(me, gate=False)
    quorum = tuple(sorted({me, *rig.others[:2]}))
    held = Status(0, 2, 0, START.hash, (cert(nullify(0, 1), quorum),), None, 0, rig.ask)
    rig.hear(rig.others[0], held)

    assert any(isinstance(e, Mute) for e in rig.out)


def test_r4_a_forged_vote_in_a_status_stops_nobody() -> None:
    me = not_leader(1)
    rig = Rig(me, held=Vote(nullify(0, 1), me, b"x" * 64))

    assert not any(isinstance(e, Mute) for e in rig.out)
    assert rig.core.voting


def test_r4_a_vote_of_a_later_epoch_that_the_file_holds_stops_nobody() -> None:
    me = not_leader(1)
    later = vote(me, nullify(1, 1))
    lacking, holding = Rig(me, held=later), Rig(me, recovered=Recovered((record(later),)), held=later)

    assert any(isinstance(e, Mute) for e in lacking.out)
    assert not any(isinstance(e, Mute) for e in holding.out)
    assert holding.core.voting


def test_r4_a_lost_vote_that_is_told_after_the_gate_opened_stops_the_key_all_the_same() -> None:
    """Two members answered and held nothing; the third has what this key signed before its file was restored."""
    rig, b = Rig(not_leader(1)), block(1)
    lost = vote(rig.me, notarize(block(1, nudge=7).header))
    assert rig.core.voting
    rig.hear(rig.others[2], Status(0, 1, 0, START.hash, (), lost, 0, rig.ask), 0.02)
    rig.propose(b, 0.03)
    rig.timer(30.0)

    assert len([e for e in rig.out if isinstance(e, Mute)]) == 1
    assert not rig.core.voting
    assert rig.votes() == []


def test_r4_what_this_key_said_in_this_life_stops_it_never() -> None:
    rig, b = Rig(not_leader(1)), block(1)
    rig.propose(b)
    said = vote(rig.me, notarize(b.header))
    for other in rig.others:
        rig.hear(other, Status(0, 1, 0, START.hash, (), said, 0, rig.ask), 0.02)
    quorum = tuple(sorted((rig.me, *rig.others[:2])))
    held = (cert(notarize(b.header), quorum), cert(finalize(b.header), quorum))
    rig.hear(rig.others[0], Status(0, 2, 0, START.hash, held[:1], said), 0.03)
    rig.hear(rig.others[0], Status(0, 2, 0, START.hash, held, vote(rig.me, finalize(b.header))), 0.04)
    rig.hear(rig.others[1], Status(0, 2, 1, b.hash, held, said), 0.05)

    assert rig.core.final.hash == b.hash
    assert rig.core.voting
    assert not any(isinstance(e, Mute) for e in rig.out)


@pytest.mark.parametrize("last", [NUL, FIN])
def test_r4_an_old_vote_that_comes_again_hides_no_newer_one(last: int) -> None:
    """Repetition, or another link, brings NOT after NUL: what the signer is told of is the NUL."""
    rig, b = Rig(not_leader(1, 2)), block(1)
    other = b.header.proposer
    first = vote(other, notarize(b.header))
    second = vote(other, nullify(0, 1) if last == NUL else finalize(b.header))
    for said in (first, second, first):
        rig.hear(other, said)
    rig.hear(other, Status(0, 1, 0, START.hash, (), None, 5), 2.0)
    told = [m for m in rig.sent(Status) if isinstance(m, Status) and m.answer == 5]

    assert [m.held for m in told] == [second]


def test_r4_only_members_of_this_epoch_answer() -> None:
    """In a later one the key may have no seat any more; an earlier one knows nothing of these votes."""
    rig = Rig(not_leader(1), gate=False)
    for epoch in (1, 7):
        for other in rig.others:
            rig.hear(other, Status(epoch, 1, 0, START.hash, (), None, 0, rig.ask))
    assert not rig.core.voting
    rig.answer()
    assert rig.core.voting

    before = len(rig.sent(Status))
    rig.hear(rig.others[2], Status(1, 1, 0, START.hash, (), None, 77), 2.0)
    assert len(rig.sent(Status)) == before
    rig.hear(rig.others[2], Status(0, 1, 0, START.hash, (), None, 77), 2.0)
    [answer] = rig.sent(Status)[before:]
    assert isinstance(answer, Status)
    assert answer.answer == 77


def test_r4_timers_that_ran_out_before_voting_was_allowed_start_again() -> None:
    """Found by the simulator: a member that could not vote yet never gave its view up afterwards."""
    rig = Rig(not_leader(1), gate=False)
    rig.timer(20.0)
    rig.answer(seconds=21.0)
    rig.timer(22.0)

    assert rig.votes() == [nullify(0, 1)]


def test_r6_a_key_that_must_not_vote_follows() -> None:
    rig, b = Rig(not_leader(1), stopped=True), block(1)
    rig.propose(b)
    rig.certify(notarize(b.header))
    rig.certify(finalize(b.header))
    rig.timer(30.0)

    assert rig.votes() == []
    assert rig.core.final.hash == b.hash


def test_r2_trimming_keeps_what_lies_above_the_final_view() -> None:
    records = [record(vote(1, nullify(0, 2))), record(block(3)), record(cert(nullify(0, 4)))]

    assert [place(r) for r in records] == [(0, 2), (0, 3), (0, 4)]
    assert [keep(r, 0, 2) for r in records] == [False, True, True]


# -- members --


def test_m1_the_convicted_lead_no_view_and_positions_count_from_the_base() -> None:
    """Leaders in turn, less the convicted; more than f convicted count as none."""
    one = replace(SEATS, convicted=frozenset({2}), bases=(0, 10, 20, 30))
    two = replace(SEATS, convicted=frozenset({1, 2}))
    committee = Committee(one, COMMITTEE.chain_id, COMMITTEE.origin)

    assert {committee.leader(view) for view in range(30)} == {0, 1, 3}
    assert {Committee(two, COMMITTEE.chain_id, "o/1").leader(view) for view in range(30)} == {0, 1, 2, 3}
    assert [committee.position(3, view) for view in (0, 2, 3, 8)] == [30, 30, 31, 32]
    assert committee.members_hash == COMMITTEE.members_hash


def test_a_tree_that_starts_behind_an_ended_epoch_counts_views_from_zero() -> None:
    start = replace(START, view=17, epoch=4, height=9)
    seats = replace(SEATS, epoch=5)
    tree = BlockTree(App(SEATS), Committee(seats, COMMITTEE.chain_id, "o/1"), start)

    assert (tree.final.view, tree.final.height) == (0, 9)
    assert at(1.0).mono_s == 1.0
    assert justification(3, None).gap[0].view == 1
    assert proposal(FIRST).block is FIRST
