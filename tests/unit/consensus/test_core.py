"""One validator, one event at a time: the rules of docs/agreement.md, and the faults of comparable code."""

from dataclasses import replace

import pytest

from pyrsia.consensus.committee import Checker, Committee
from pyrsia.consensus.core import Simplex
from pyrsia.consensus.effects import Accuse, Broadcast, Deliver, Effect, Mute, Now, Persist, Send, WakeAt
from pyrsia.consensus.recovery import Recovered, keep, place, record
from pyrsia.consensus.timing import Timing, asleep
from pyrsia.consensus.views import conflicting
from pyrsia.wire.blocks import (
    FIN,
    NOT,
    NUL,
    Block,
    Body,
    Cert,
    GetBlock,
    Header,
    Justification,
    Proposal,
    Statement,
    Status,
    Vote,
    entries_root,
    finalize,
    notarize,
    nullify,
)
from tests.sim.toy import GENESIS, Toy, execute, key_of, reveal_of, seats_of
from tests.sim.world import CHAIN_ID, fake_sign, fake_verify

N = 4
TIMING = Timing(delay_s=0.1, heartbeat_s=10.0, fill_s=0.005)
COMMITTEE = Committee(seats_of(N), CHAIN_ID, "unit/0")


def at(seconds: float) -> Now:
    return Now(seconds, 1_800_000_000_000 + int(seconds * 1000))


def vote(member: int, said: Statement) -> Vote:
    return Vote(said, member, fake_sign(key_of(member), COMMITTEE.text(said)))


def cert(said: Statement, members: tuple[int, ...] = (0, 1, 2)) -> Cert:
    return Cert(said, N, members, tuple(vote(i, said).sig for i in members))


def block(view: int, parent: Block | None = None, just: Justification | None = None, nudge: int = 0) -> Block:
    ref = GENESIS
    if parent is not None:
        h = parent.header
        ref = replace(
            GENESIS, hash=h.hash(), height=h.height, view=h.view, time_ms=h.time_ms, tree_size=h.tree_size,
            tree_root=h.tree_root, beacon=h.beacon,
        )  # fmt: skip
        just = just or Justification(cert(notarize(h)), ())
    just = just or Justification(None, tuple(cert(nullify(0, v)) for v in range(1, view)))
    leader = COMMITTEE.leader(view)
    time_ms = 1_800_000_000_000 + view + nudge
    entries = (b"entry of %d %d" % (view, nudge),)
    size, root, beacon = execute(ref, entries, time_ms, reveal_of(leader, view // N))
    header = Header(
        CHAIN_ID, 0, view, ref.height + 1, ref.hash, ref.view, leader, time_ms, 0, 1, entries_root(entries), size,
        root, COMMITTEE.members_hash, COMMITTEE.members_hash, just.hash(), reveal_of(leader, view // N), beacon,
        bytes(32),
    )  # fmt: skip
    return Block(header, Body(entries, just))


def proposal(b: Block) -> Proposal:
    return Proposal(b, vote(b.header.proposer, notarize(b.header)))


class Rig:
    """A core that may vote (q-1 members answered), and what it did."""

    def __init__(
        self,
        me: int,
        app: Toy | None = None,
        recovered: Recovered | None = None,
        held: Vote | None = None,
        links: bool = True,
    ):
        self.app = app or Toy()
        self.core = Simplex(
            COMMITTEE,
            me,
            self.app,
            sign=lambda text: fake_sign(key_of(me), text),
            verify=fake_verify,
            reveal=lambda at: (reveal_of(me, at), bytes(32)) if links else None,
            timing=TIMING,
            recovered=recovered,
        )
        self.out: list[Effect] = self.core.on_start(at(0))
        ask = next(e.message.ask for e in self.out if isinstance(e, Send) and isinstance(e.message, Status))
        for other in [i for i in range(N) if i != me][:2]:
            self.hear(other, Status(0, 1, 0, GENESIS.hash, (), held, 0, ask))

    def hear(self, sender: int, message: object, seconds: float = 0.01) -> list[Effect]:
        out = self.core.on_message(at(seconds), sender, message)  # type: ignore[arg-type]
        self.out += out
        return out

    def timer(self, seconds: float) -> list[Effect]:
        out = self.core.on_timer(at(seconds))
        self.out += out
        return out

    def votes(self, kind: int | None = None) -> list[Statement]:
        sent = [e.message for e in self.out if isinstance(e, Broadcast)]
        votes = [m.vote if isinstance(m, Proposal) else m for m in sent if isinstance(m, Vote | Proposal)]
        return list(dict.fromkeys(v.said for v in votes if kind in (None, v.kind)))


def not_leader(*views: int) -> int:
    return next(i for i in range(N) if i not in {COMMITTEE.leader(v) for v in views})


def test_a_good_proposal_is_persisted_before_its_vote_is_sent() -> None:
    rig, b = Rig(not_leader(1)), block(1)
    out = rig.hear(b.header.proposer, proposal(b))

    kinds = [type(e) for e in out if not isinstance(e, WakeAt)]
    assert kinds == [Persist, Persist, Broadcast]
    assert rig.votes() == [notarize(b.header)]


def test_three_votes_make_a_certificate_and_three_more_make_it_final() -> None:
    me = not_leader(1)
    rig, b = Rig(me), block(1)
    rig.hear(b.header.proposer, proposal(b))
    others = [i for i in range(N) if i not in (me, b.header.proposer)]
    rig.hear(others[0], vote(others[0], notarize(b.header)))
    assert rig.votes(FIN) == [finalize(b.header)]
    assert rig.core.view == 2
    for other in others:
        out = rig.hear(other, vote(other, finalize(b.header)))

    delivered = [e for e in out if isinstance(e, Deliver)]
    assert [d.blocks for d in delivered] == [(b,)]
    assert Checker(COMMITTEE, fake_verify).proof(delivered[0].proof)
    assert rig.core.final.hash == b.hash


def test_a_block_that_skips_a_view_without_its_nullification_gets_no_vote() -> None:
    """ava-labs #281."""
    first = block(1)
    skipping = block(3, first, Justification(cert(notarize(first.header)), ()))
    rig = Rig(not_leader(1, 2, 3))
    rig.hear(first.header.proposer, proposal(first))
    other = first.header.proposer
    rig.hear(other, cert(notarize(first.header)))
    rig.hear(other, cert(nullify(0, 2)))
    assert rig.core.view == 3
    rig.hear(skipping.header.proposer, proposal(skipping))

    assert notarize(skipping.header) not in rig.votes()
    assert nullify(0, 3) in rig.votes()


def test_repeating_never_makes_a_vote_and_a_view_given_up_is_never_finalized() -> None:
    """ava-labs #280 and commonware #2695: NUL first, then the notarization comes late."""
    me = not_leader(1, 2)
    rig, b = Rig(me), block(1)
    rig.timer(20.0)
    assert rig.votes() == [nullify(0, 1)]
    rig.hear(b.header.proposer, proposal(b), 20.1)
    rig.hear(b.header.proposer, cert(notarize(b.header)), 20.1)
    for seconds in (20.3, 20.9, 21.5, 22.5):
        rig.timer(seconds)

    assert rig.votes(FIN) == []
    assert rig.votes(NOT) == []
    assert rig.core.view == 2  # the late notarization still counts


def test_a_restart_enters_the_view_after_the_highest_certificate_and_repeats_its_own_vote() -> None:
    """ava-labs #328, commonware #2043: the last record of the file is not the highest view."""
    me = not_leader(1, 2, 3)
    records = (
        record(vote(me, nullify(0, 3))),
        record(cert(nullify(0, 2))),
        record(cert(nullify(0, 1))),
    )
    rig = Rig(me, recovered=Recovered(records))
    assert rig.core.view == 3
    b = block(3)
    rig.hear(b.header.proposer, proposal(b))
    rig.timer(20.0)
    rig.timer(21.0)

    assert rig.votes(NOT) == []  # P1 holds over restarts
    assert rig.votes() == [nullify(0, 3)]


def test_an_own_block_is_sent_again_and_never_built_anew() -> None:
    leader = COMMITTEE.leader(1)
    b = block(1)
    mine = vote(leader, notarize(b.header))
    app = Toy()
    app.pending[b"something else"] = None
    rig = Rig(leader, app, Recovered((record(b), record(mine))))
    rig.timer(0.5)
    rig.timer(40.0)

    proposed = [
        e.message.block for e in rig.out if isinstance(e, Broadcast) and isinstance(e.message, Proposal)
    ]
    assert proposed
    assert set(proposed) == {b}


def test_records_of_another_epoch_are_not_taken_up() -> None:
    """ava-labs #551."""
    me = not_leader(1)
    old = Vote(nullify(7, 1), me, b"s" * 64)
    rig, b = Rig(me, recovered=Recovered((record(old),))), block(1)
    rig.hear(b.header.proposer, proposal(b))

    assert rig.votes() == [notarize(b.header)]


def test_nothing_is_voted_before_q_minus_one_members_told_what_they_hold() -> None:
    me = not_leader(1)
    rig = Rig.__new__(Rig)
    rig.app = Toy()
    rig.core = Simplex(
        COMMITTEE, me, rig.app, sign=lambda t: b"", verify=fake_verify, reveal=lambda v: (b"", b""), timing=TIMING
    )
    rig.out = rig.core.on_start(at(0))
    b = block(1)
    rig.hear(b.header.proposer, proposal(b))
    rig.hear(b.header.proposer, Status(0, 1, 0, GENESIS.hash, (), None, 0, 0))  # answers nothing
    rig.timer(30.0)

    assert rig.votes() == []


def test_a_vote_that_others_hold_and_the_file_lacks_stops_the_key() -> None:
    me = not_leader(1)
    rig = Rig(me, held=vote(me, nullify(0, 1)))
    b = block(1)
    rig.hear(b.header.proposer, proposal(b))

    assert any(isinstance(e, Mute) for e in rig.out)
    assert rig.votes() == []
    assert not rig.core.halted  # it goes on as a follower


def test_a_forged_vote_in_a_status_stops_nobody() -> None:
    me = not_leader(1)
    rig = Rig(me, held=Vote(nullify(0, 1), me, b"x" * 64))

    assert not any(isinstance(e, Mute) for e in rig.out)
    assert rig.core.voting


def test_a_leader_with_two_blocks_is_accused_and_only_the_first_gets_a_vote() -> None:
    rig, first, second = Rig(not_leader(1)), block(1), block(1, nudge=1)
    leader = first.header.proposer
    rig.hear(leader, proposal(first))
    out = rig.hear(leader, proposal(second))

    assert [e.signer for e in out if isinstance(e, Accuse)] == [leader]
    assert rig.votes(NOT) == [notarize(first.header)]


def test_a_block_with_a_wrong_root_is_given_up_at_once() -> None:
    rig, good = Rig(not_leader(1)), block(1)
    bad = Block(replace(good.header, tree_root=b"?" * 32), good.body)
    rig.hear(bad.header.proposer, proposal(bad))

    assert rig.votes() == [nullify(0, 1)]


def test_a_body_that_does_not_fit_is_dropped_without_blaming_the_leader() -> None:
    rig, good = Rig(not_leader(1)), block(1)
    torn = Block(good.header, Body((b"other",), good.body.justification))
    rig.hear(good.header.proposer, Proposal(torn, proposal(good).vote))
    assert rig.votes() == []
    rig.hear(good.header.proposer, proposal(good))

    assert rig.votes() == [notarize(good.header)]


def test_a_block_from_the_future_waits_for_the_clock() -> None:
    rig = Rig(not_leader(1))
    late = block(1, nudge=5_000)
    rig.hear(late.header.proposer, proposal(late))
    assert rig.votes() == []
    rig.timer(3.5)

    assert rig.votes() == [notarize(late.header)]


@pytest.mark.parametrize("members", [(0, 1), (0, 1, 2, 3), (0, 0, 1), (2, 1, 0)])
def test_only_the_canonical_certificate_counts(members: tuple[int, ...]) -> None:
    """cometbft #1749: exactly q, distinct, sorted, every signature good."""
    assert not Checker(COMMITTEE, fake_verify).cert(cert(nullify(0, 1), members))
    good = cert(nullify(0, 1))
    assert Checker(COMMITTEE, fake_verify).cert(good)
    assert not Checker(COMMITTEE, fake_verify).cert(replace(good, sigs=(*good.sigs[:2], b"x" * 64)))


def test_a_certificate_of_a_far_view_is_followed_and_the_missing_body_asked_for() -> None:
    rig = Rig(me := not_leader(1))
    first = block(1)
    b = block(2, first)
    rig.hear((me + 1) % N, cert(notarize(b.header)))
    assert rig.core.view == 3
    rig.timer(0.2)

    asked = [e.message.block_hash for e in rig.out if isinstance(e, Send) and isinstance(e.message, GetBlock)]
    assert b.hash in asked


def test_timers_that_ran_out_before_voting_was_allowed_start_again() -> None:
    """Found by the simulator: a member that could not vote yet never gave its view up afterwards."""
    me = not_leader(1)
    core = Simplex(
        COMMITTEE, me, Toy(), sign=lambda t: fake_sign(key_of(me), t), verify=fake_verify, reveal=lambda v: (b"", b""),
        timing=TIMING,
    )  # fmt: skip
    out = core.on_start(at(0))
    ask = next(e.message.ask for e in out if isinstance(e, Send) and isinstance(e.message, Status))
    core.on_timer(at(20))
    for other in [i for i in range(N) if i != me][:2]:
        core.on_message(at(21), other, Status(0, 1, 0, GENESIS.hash, (), None, 0, ask))
    out = core.on_timer(at(22))

    assert any(
        isinstance(e, Broadcast) and isinstance(e.message, Vote) and e.message.kind == NUL for e in out
    )


def test_votes_that_exclude_each_other() -> None:
    b, c = block(1), block(1, nudge=1)
    n, f, u = notarize(b.header), finalize(b.header), nullify(0, 1)

    assert not conflicting(n, u)
    assert not conflicting(n, f)
    assert conflicting(u, f)
    assert conflicting(n, notarize(c.header))
    assert conflicting(f, finalize(c.header))
    assert conflicting(n, finalize(c.header))
    assert not conflicting(f, finalize(block(2).header))


def test_trimming_keeps_what_lies_above_the_final_view() -> None:
    b = block(3)
    records = [record(vote(1, nullify(0, 2))), record(b), record(cert(nullify(0, 4)))]

    assert [place(r) for r in records] == [(0, 2), (0, 3), (0, 4)]
    assert [keep(r, 0, 2) for r in records] == [False, True, True]


def test_a_silent_leader_sleeps_only_when_a_quorum_spoke() -> None:
    assert asleep([0.0, 20.0, 20.0, 0.0], 0, 3, 3, 20.0, 10.0)
    assert not asleep([0.0, 0.0, 0.0, 0.0], 0, 3, 3, 20.0, 10.0)  # an idle network
    assert not asleep([0.0, 20.0, 20.0, 0.0], 3, 3, 3, 20.0, 10.0)  # never oneself


def test_patience_grows_with_failed_views_and_ends() -> None:
    timing = Timing(delay_s=1.0, delay_max_s=60.0)

    assert [round(timing.patience_s(k), 3) for k in (0, 1, 2)] == [1.0, 1.5, 2.25]
    assert timing.patience_s(1_000) == 60.0


def test_a_leader_without_a_link_gives_its_view_up_and_stays() -> None:
    me = COMMITTEE.leader(1)
    app = Toy()
    app.pending[b"work"] = None
    with_links, without = Rig(me, app), Rig(me, app, links=False)
    for rig in (with_links, without):
        rig.timer(10 * TIMING.heartbeat_s)

    assert any(isinstance(e, Broadcast) and isinstance(e.message, Proposal) for e in with_links.out)
    assert not any(isinstance(e, Broadcast) and isinstance(e.message, Proposal) for e in without.out)
    assert without.votes(NUL) == [nullify(0, 1)]
    assert not without.core.halted
