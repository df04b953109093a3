"""What agreement says against a validator is, as it stands, an entry that the ledger takes."""

from dataclasses import replace

import pytest

from pyrsia.consensus.effects import Accuse, Blame
from pyrsia.ledger.bodies.faults import EVIDENCE
from pyrsia.wire.blocks import Block, Body, Justification, finalize, notarize, nullify
from tests.unit.consensus.parts import (
    COMMITTEE,
    SEATS,
    App,
    Net,
    Rig,
    block,
    cert,
    key_of,
    node_of,
    not_leader,
    proposal,
    seats_entry,
    sign,
    tail,
    vote,
)


def blame(accused: Accuse) -> Blame:
    node = COMMITTEE.validators[accused.signer].node
    return Blame(node, 0, accused.first, accused.second, accused.header, accused.justification)


def accusations(rig: Rig) -> list[Accuse]:
    return [e for e in rig.out if isinstance(e, Accuse)]


B, C = block(1), block(1, nudge=1)
PAIRS = [
    (notarize(B.header), notarize(C.header)),
    (finalize(B.header), finalize(C.header)),
    (nullify(0, 1), finalize(B.header)),
    (notarize(C.header), finalize(B.header)),
]


@pytest.mark.parametrize(("one", "two"), PAIRS)
def test_two_votes_become_a_body_of_the_entrys_form_in_either_order(one: object, two: object) -> None:
    liar = COMMITTEE.leader(1)
    bodies = []
    for first, second in ((one, two), (two, one)):
        rig = Rig(not_leader(1))
        rig.hear(liar, vote(liar, first))  # type: ignore[arg-type]
        rig.hear(liar, vote(liar, second))  # type: ignore[arg-type]
        [accused] = accusations(rig)
        bodies.append(blame(accused).body())

    EVIDENCE["votes"](bodies[0])
    assert bodies[0] == bodies[1]
    assert bodies[0]["kind"] == "votes"


def without_gap(made: Block) -> Block:
    just = Justification(made.body.justification.parent_cert, ())
    return Block(replace(made.header, just_hash=just.hash()), Body((), just))


END = block(1, entries=(seats_entry("0", "1", "2", "5"),))
FORBIDDEN = {
    "P2: other members": Block(replace(B.header, members_hash=b"?" * 32), B.body),
    "P2: an end that changes nothing": Block(replace(B.header, kind=1), B.body),
    "P2: next members without an end": Block(replace(B.header, next_members_hash=b"?" * 32), B.body),
    "P2: a tail that reveals": tail(2, END, END, reveal=b"?" * 32),
    "P3: a gap without its certificate": block(3, B, Justification(cert(notarize(B.header)), ())),
    "P3: a tail without its gap": without_gap(tail(3, END, END)),
}


@pytest.mark.parametrize("rule", FORBIDDEN)
def test_a_vote_for_a_forbidden_block_becomes_a_body_of_the_entrys_form(rule: str) -> None:
    made = FORBIDDEN[rule]
    leader = COMMITTEE.leader(made.header.view)
    made = Block(replace(made.header, proposer=leader), made.body)
    rig = Rig(not_leader(1, made.header.view))
    rig.propose(made)
    other = next(i for i in rig.others if i != leader)
    rig.hear(other, vote(other, notarize(made.header)))

    assert [a.signer for a in accusations(rig)] == [leader, other]
    for accused in accusations(rig):
        body = blame(accused).body()
        EVIDENCE["block"](body)
        assert body["kind"] == "block"
    assert notarize(made.header) not in rig.votes()


@pytest.mark.parametrize(
    "made",
    [
        Block(replace(B.header, tree_root=b"?" * 32), B.body),  # P6
        Block(replace(B.header, height=7), B.body),  # P4
        Block(replace(B.header, reveal=b"?" * 32), B.body),  # P5
        tail(2, END, END, height=9),  # E3, which no header shows by itself
    ],
)
def test_what_only_execution_shows_is_refused_and_is_no_evidence(made: Block) -> None:
    rig = Rig(not_leader(1, 2))
    if made.header.view == 2:
        rig.propose(END)
        rig.certify(notarize(END.header))
    rig.propose(made)

    assert accusations(rig) == []
    assert nullify(0, made.header.view) in rig.votes()


def test_honest_votes_in_any_order_accuse_nobody() -> None:
    """NOT then NUL of one view, FIN of another block's view, the same vote twice, a tail on a tail."""
    rig = Rig(not_leader(1, 2, 3))
    first = tail(2, END, END)
    for made in (END, first, tail(3, END, first)):
        view, leader = made.header.view, made.header.proposer
        rig.propose(made)
        for said in (notarize(made.header), notarize(made.header), nullify(0, view)):
            rig.hear(leader, vote(leader, said))
        rig.certify(notarize(made.header))

    assert accusations(rig) == []


def test_evidence_names_the_validator_of_its_epoch_and_not_of_the_next() -> None:
    """Index 3 is another node in the next epoch."""
    net = Net(5)
    net.start(0, 1, 2, 4)  # (node 3 is the liar: nobody runs it)
    net.submit(seats_entry("0", "1", "2", "4"))
    assert net.run(lambda: net.epochs(0, 1, 2, 4) == [1] * 4)
    core = net[0].on
    assert core.seat is not None
    liar = core.committee.places[node_of(4)]
    leader = core.committee.leader(1)
    said = [nullify(1, 50), finalize(replace(block(50, just=Justification(None)).header, epoch=1))]
    acts = []
    for one in said:
        sig = sign(key_of(4), core.committee.text(one))
        acts += core.on_message(
            net.clock, node_of(4), replace(vote(0, nullify(0, 1)), said=one, signer=liar, sig=sig)
        )
    [accused] = [a for a in acts if isinstance(a, Blame)]

    assert (accused.node, accused.epoch) == (node_of(4), 1)
    EVIDENCE["votes"](accused.body())
    assert leader in range(4)
    assert App(SEATS).head().height == 0
    assert proposal(B).vote.signer == COMMITTEE.leader(1)
