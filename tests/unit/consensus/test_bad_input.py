"""Hostile messages of every kind: dropped, named where they are lies, bounded in memory, never an exception.

What cannot be decoded never reaches agreement; `decode_message` raises `Malformed` and nothing else.
"""

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyrsia.consensus.effects import Act, Answer, Blame, Deliver, Fault, Halt, Mute, Persist, Post
from pyrsia.consensus.epochs import Epochs
from pyrsia.errors import Malformed
from pyrsia.units import MAX_BLOCK_BYTES, MAX_GAP_VIEWS, VIEW_WINDOW
from pyrsia.wire.blocks import (
    FIN,
    Block,
    Blocks,
    Body,
    Cert,
    FinalityProof,
    GetBlock,
    GetBlocks,
    GetCerts,
    Justification,
    Message,
    OneBlock,
    Proposal,
    Status,
    Vote,
    decode_message,
    encode_message,
    finalize,
    notarize,
    nullify,
)
from tests.unit.consensus.parts import (
    COMMITTEE,
    START,
    N,
    Net,
    block,
    cert,
    node_of,
    not_leader,
    proposal,
    vote,
)

ME = not_leader(1)
LEADER = COMMITTEE.leader(1)
OTHER = next(i for i in range(N) if i not in (ME, LEADER))
B = block(1)
STRANGER = b"stranger" * 4


def victim(me: int = ME) -> Epochs:
    """A validator that may vote, in view 1, with nothing to order."""
    net = Net(4)
    net.start(me)
    core = net[me].on
    assert core.seat is not None
    for other in core.seat.committee.places:
        if other != node_of(me):
            core.on_message(net.clock, other, Status(0, 1, 0, START.hash, (), None, 0, core.seat.gate.ask))
    assert core.voting
    return core


def tell(core: Epochs, member: int, message: Message) -> list[Act]:
    return core.on_message(Net(1).clock, node_of(member), message)


def with_cert(change: Callable[[Cert], Cert]) -> Cert:
    return change(cert(nullify(0, 1)))


LIES: dict[str, tuple[int, Message]] = {
    "vote: forged signature": (OTHER, Vote(nullify(0, 1), OTHER, b"x" * 64)),
    "vote: another signer's": (OTHER, vote(LEADER, nullify(0, 1))),
    "vote: signer beyond the last": (OTHER, Vote(nullify(0, 1), 99, b"x" * 64)),
    "vote: signature of another view": (OTHER, Vote(nullify(0, 2), OTHER, vote(OTHER, nullify(0, 1)).sig)),
    "cert: q-1 signatures": (OTHER, cert(nullify(0, 1), (0, 1))),
    "cert: q+1 signatures": (OTHER, cert(nullify(0, 1), (0, 1, 2, 3))),
    "cert: a signer twice": (OTHER, cert(nullify(0, 1), (0, 1, 1))),
    "cert: signers not sorted": (OTHER, cert(nullify(0, 1), (2, 1, 0))),
    "cert: a forged signature": (OTHER, with_cert(lambda c: replace(c, sigs=(*c.sigs[:2], b"x" * 64)))),
    "cert: a signer beyond the last": (OTHER, with_cert(lambda c: replace(c, signers=(0, 1, 9)))),
    "cert: another number of members": (OTHER, with_cert(lambda c: replace(c, members=7))),
    "cert: signatures of another view": (OTHER, with_cert(lambda c: replace(c, said=nullify(0, 2)))),
    "proposal: not its turn": (OTHER, Proposal(B, vote(OTHER, notarize(B.header)))),
    "proposal: somebody else's": (OTHER, proposal(B)),
    "proposal: forged signature": (LEADER, Proposal(B, Vote(notarize(B.header), LEADER, b"x" * 64))),
    "proposal: another body": (
        LEADER, Proposal(Block(B.header, Body((b"!",), B.body.justification)), proposal(B).vote),
    ),
    "proposal: another justification": (
        LEADER,
        Proposal(
            Block(B.header, Body(B.body.entries, Justification(None, (cert(nullify(0, 1)),)))),
            proposal(B).vote,
        ),
    ),
    "status: a certificate that is none": (OTHER, Status(0, 1, 0, START.hash, (cert(nullify(0, 1), (0, 1)),))),
}  # fmt: skip

STALE: dict[str, tuple[int, Message]] = {
    "vote: another epoch": (OTHER, Vote(nullify(7, 1), OTHER, b"x" * 64)),
    "vote: the next epoch": (OTHER, Vote(nullify(1, 1), OTHER, b"x" * 64)),
    "vote: far ahead": (OTHER, vote(OTHER, nullify(0, 1 << 60))),
    "cert: another epoch": (OTHER, replace(cert(nullify(0, 1)), said=nullify(9, 1))),
    "proposal: another epoch": (LEADER, Proposal(Block(replace(B.header, epoch=9), B.body), proposal(B).vote)),
    "proposal: far ahead": (COMMITTEE.leader(5_000), proposal(block(5_000, just=Justification(None)))),
    "status: a vote that nobody signed": (OTHER, Status(0, 1, 0, START.hash, (), Vote(nullify(0, 3), ME, b"x" * 64))),
    "status: another epoch, another height": (OTHER, Status(1 << 63, 1 << 63, 1 << 63, b"?" * 32, (), None, 1 << 63)),
    "get blocks: from nowhere": (OTHER, GetBlocks(0, 1 << 63)),
    "get blocks: backwards": (OTHER, GetBlocks(9, 3)),
    "get block: unknown": (OTHER, GetBlock(b"?" * 32)),
    "get certs: everything": (OTHER, GetCerts(0, 0, 1 << 63)),
    "get certs: another epoch": (OTHER, GetCerts(5, 1, 2)),
    "one block: not asked for": (OTHER, OneBlock(B)),
    "blocks: not asked for": (OTHER, Blocks((B,), FinalityProof(cert(finalize(B.header)), (B.header,)))),
}  # fmt: skip


def changed(acts: list[Act]) -> list[Act]:
    """What would move this node: votes, records, final blocks, a stop."""
    votes = [a for a in acts if isinstance(a, Post) and isinstance(a.message, Vote | Proposal | Cert)]
    return votes + [a for a in acts if isinstance(a, Deliver | Halt | Mute | Persist | Blame)]


def still_works(core: Epochs) -> bool:
    """The honest run of a view, afterwards."""
    acts = tell(core, LEADER, proposal(B))
    acts += tell(core, OTHER, cert(notarize(B.header)))
    acts += tell(core, OTHER, cert(finalize(B.header)))
    return any(isinstance(a, Deliver) for a in acts) and core.final.hash == B.hash


@pytest.mark.parametrize("lie", LIES)
def test_a_lie_moves_nothing_and_is_named(lie: str) -> None:
    sender, message = LIES[lie]
    core = victim()
    acts = tell(core, sender, message)

    assert changed(acts) == []
    assert [a.node for a in acts if isinstance(a, Fault)] == [node_of(sender)]
    assert still_works(core)


@pytest.mark.parametrize("name", STALE)
def test_what_is_late_early_or_unasked_moves_nothing_and_is_no_fault(name: str) -> None:
    """Being behind, ahead or confused is not lying: nobody is scored for it."""
    sender, message = STALE[name]
    core = victim()
    acts = tell(core, sender, message)

    assert changed(acts) == []
    assert not any(isinstance(a, Fault) for a in acts)
    assert still_works(core)


@pytest.mark.parametrize("name", [*LIES, *STALE])
def test_a_stranger_is_not_heard_as_a_member(name: str) -> None:
    _, message = {**LIES, **STALE}[name]
    core = victim()
    acts = core.on_message(Net(1).clock, STRANGER, message)

    assert changed(acts) == []
    assert still_works(core)


def test_a_strangers_good_votes_count_for_nothing() -> None:
    core = victim()
    for member in range(N):
        if member != ME:
            core.on_message(Net(1).clock, STRANGER, vote(member, nullify(0, 1)))

    assert core.seat is not None
    assert core.seat.view == 1


@pytest.mark.parametrize("answer", ["another block", "another body", "another justification"])
def test_an_answer_that_was_asked_for_and_holds_another_block_is_not_taken(answer: str) -> None:
    """The question stands, and the right answer counts afterwards."""
    me = not_leader(1, 2)
    other = block(1, nudge=1)
    lie = {
        "another block": other,
        "another body": Block(B.header, Body((b"!",), B.body.justification)),
        "another justification": Block(B.header, Body(B.body.entries, other_justification())),
    }[answer]
    core = victim(me)
    assert core.seat is not None
    second = block(2, B)
    acts = tell(core, COMMITTEE.leader(2), proposal(second))
    acts += core.on_timer(later := Net(1).clock._replace(mono_s=0.2))
    asked = [a.to for a in acts if isinstance(a, Post) and a.message == GetBlock(B.hash)]
    assert asked
    assert asked[0] is not None
    acts = core.on_message(later, asked[0][0], OneBlock(lie))

    assert changed(acts) == []
    assert core.seat.tree.find(lie.hash) is None
    assert B.hash in core.seat._wanted
    acts = core.on_message(later, asked[0][0], OneBlock(B))
    votes = [a.message.said for a in acts if isinstance(a, Post) and isinstance(a.message, Vote)]
    assert notarize(second.header) in votes


def other_justification() -> Justification:
    return Justification(None, (cert(nullify(0, 1)),))


# -- floods --


def size(core: Epochs) -> dict[str, int]:
    """Everything that grows with what others send."""
    seat = core.seat
    assert seat is not None
    counting = seat.counting
    return {
        "views": len(counting.views),
        "votes": sum(len(kind) for state in counting.views.values() for kind in state.votes.values()),
        "blocks": len(seat.tree.blocks),
        "refused": len(seat.tree.bad),
        "wanted": len(seat._wanted._asked),
        "queue": len(counting.queue),
        "claims": len(core._sync._claims),
        "asked": len(core._sync._asked) + len(core._sync._late),
        "early": sum(map(len, core._early._small.values())) + len(core._early._proposals),
        "told": len(core._told_at),
        "linked": len(core._linked),
        "accused": len(counting._accused),
    }


def test_a_flood_of_votes_for_future_views_is_bounded() -> None:
    core = victim()
    for view in range(1, 5_000):
        tell(core, OTHER, vote(OTHER, nullify(0, view)))

    assert size(core)["views"] <= VIEW_WINDOW.value + 2
    assert still_works(core)


def test_a_leader_with_thousands_of_blocks_of_one_view_is_kept_one() -> None:
    core = victim()
    faults = [a for nudge in range(300) for a in tell(core, LEADER, proposal(block(1, nudge=nudge)))]

    assert size(core)["blocks"] == 1
    assert len([a for a in faults if isinstance(a, Blame)]) == 1


def test_proposals_for_all_views_ahead_are_bounded() -> None:
    core = victim()
    for view in range(1, 3 * VIEW_WINDOW.value):
        made = block(view, just=Justification(None, ()))
        tell(core, COMMITTEE.leader(view), proposal(made))

    assert size(core)["blocks"] <= VIEW_WINDOW.value + 1
    assert size(core)["accused"] <= 2 * N


def test_claims_questions_and_links_of_ten_thousand_peers_are_bounded() -> None:
    core = victim()
    clock = Net(1).clock
    for number in range(10_000):
        node = b"%032d" % number
        core.on_peer(clock, node)
        core.on_message(clock, node, Status(3, 1, 1 << 60, b"?" * 32, (), None, 5))
        core.on_message(clock, node, Vote(nullify(1, 1), 3, b"x" * 64))
        core.on_message(clock, node, GetCerts(0, 1, 1 << 60))

    assert max(size(core).values()) <= 16 * 128 + 8
    assert size(core)["claims"] <= 256
    assert size(core)["told"] <= 256
    assert still_works(core)


def test_a_stale_peer_is_answered_once_in_a_while_and_not_for_every_message() -> None:
    net = Net(4)
    net.start()
    net.submit(b"one", b"seats 0 1 2 3 4")
    core = net[0].on
    assert net.run(lambda: core.committee.epoch == 1)
    net.now += 5
    sent = [
        a for _ in range(500) for a in core.on_message(net.clock, STRANGER, Vote(nullify(0, 3), 1, b"x" * 64))
    ]

    assert len([a for a in sent if isinstance(a, Post)]) == 1


def test_a_peer_that_asks_for_everything_is_answered_at_a_bounded_rate() -> None:
    """S5: a question has 16 bytes, its answer up to a megabyte; other peers are answered all the same."""
    net = Net(4)
    net.start()
    net.submit(b"one")
    assert net.run(lambda: min(net.heights()) >= 1)
    core, clock = net[0].on, net.clock

    def answers(node: bytes, seconds: float) -> int:
        later = clock._replace(mono_s=clock.mono_s + seconds)
        out = [a for _ in range(500) for a in core.on_message(later, node, GetBlocks(1, 128))]
        return len([a for a in out if isinstance(a, Answer)])

    assert answers(STRANGER, 0.0) == 4
    assert answers(STRANGER, 0.5) == 4
    assert answers(node_of(1), 0.5) == 4
    clock = clock._replace(mono_s=clock.mono_s + 1)
    blocks = [a for _ in range(500) for a in core.on_message(clock, node_of(2), GetBlock(core.final.hash))]
    assert len([a for a in blocks if isinstance(a, Post)]) == 64

    def told(message: Message, node: bytes) -> int:
        out = [a for _ in range(200) for a in core.on_message(clock, node, message)]
        return len(
            [a for a in out if isinstance(a, Post) and a.to == (node,) and isinstance(a.message, Status)]
        )

    assert told(GetCerts(0, 1, 64), node_of(3)) == 4
    assert told(Status(0, 1, 0, START.hash, (), None, 7), node_of(3)) <= 1  # (as to any that is behind)
    for number in range(1_000):
        core.on_message(clock, b"%032d" % number, GetBlocks(1, 128))
    assert len(core._allowance._purses) == 256

    fresh = Net(4)
    fresh.start()
    core, clock = fresh[0].on, fresh.clock._replace(mono_s=fresh.now + 9)
    assert told(Status(0, core.seat.view, 0, START.hash, (), None, 7), node_of(1)) == 64  # type: ignore[union-attr]


def test_the_longest_justification_of_lies_stops_at_the_first() -> None:
    """A liar's 2,048 certificates cost one check, not 6,144."""
    checked: list[object] = []
    core = victim()
    assert core.seat is not None
    honest = core.seat._checker._verify

    def counted(*words: bytes) -> bool:
        checked.append(words)
        return honest(*words)

    core.seat._checker._verify = counted
    forged = tuple(
        Cert(nullify(0, view), N, (0, 1, 2), (b"x" * 64,) * 3) for view in range(1, MAX_GAP_VIEWS.value + 1)
    )
    view = 1 + MAX_GAP_VIEWS.value
    for at in range(1, MAX_GAP_VIEWS.value, 32):  # bring the core near enough to look at it
        core.on_message(Net(1).clock, node_of(OTHER), cert(nullify(0, at + 31)))
    checked.clear()
    tell(core, COMMITTEE.leader(view), proposal(block(view, just=Justification(None, forged))))

    assert 0 < len(checked) <= 3


def test_a_body_beyond_its_limits_is_not_even_decoded() -> None:
    """P5."""
    huge = block(1, entries=(b"x" * 60_000,) * (MAX_BLOCK_BYTES.value // 60_000 + 1))
    with pytest.raises(Malformed):
        decode_message(encode_message(proposal(huge)))
    long = block(1, entries=(b"x" * 60_001,))
    with pytest.raises(Malformed):
        decode_message(encode_message(proposal(long)))


# -- bytes --


def remembers(message: Message) -> bool:
    """Whether it tells the victim of a vote that it cast in that run and not in this one: it must stop for that."""
    if not isinstance(message, Status):
        return False
    return message.held is not None or any(one.vote_of(ME) is not None for one in message.certs)


def corpus() -> list[tuple[int, bytes]]:
    """Messages of every kind from an honest run over two epochs: (sender, bytes)."""
    net = Net(5)
    seen: dict[tuple[type, int], list[tuple[int, bytes]]] = {}

    def note(sender: int, to: int, message: Message) -> bool:
        kept = seen.setdefault((type(message), getattr(message, "kind", 0)), [])
        if len(kept) < 6:
            kept.append((sender, encode_message(message)))
        return False

    net.lost = note
    net.start(0, 1, 2, 3)
    for number in range(3):
        net.submit(b"entry %d" % number)
        assert net.run(lambda number=number: min(net.heights(0, 1, 2, 3)) > number)
    net.start(4)
    assert net.run(lambda: net.heights()[4] == 3)
    net.submit(b"seats 0 1 2 3 4")
    assert net.run(lambda: net.epochs() == [1] * 5)
    found = [one for kept in seen.values() for one in kept if not remembers(decode_message(one[1]))]
    made = block(1)
    others = tuple(i for i in range(N) if i != ME)
    certs = cert(nullify(0, 1), others), cert(notarize(made.header), others)
    extra: list[Message] = [
        Status(0, 3, 1, made.hash, certs, vote(OTHER, nullify(0, 1)), 7, 0),
        GetBlock(made.hash), OneBlock(made), GetCerts(0, 1, 9), cert(nullify(0, 2)), vote(OTHER, nullify(0, 1)),
        Blocks((made,), FinalityProof(cert(finalize(made.header)), (made.header,))),
        proposal(block(3)), proposal(made),
    ]  # fmt: skip
    return found + [(OTHER, encode_message(message)) for message in extra]


CORPUS = corpus()


def test_the_corpus_has_every_kind_of_message() -> None:
    assert {data[0] for _, data in CORPUS} == set(range(1, 10))


@st.composite
def hostile(draw: st.DrawFn) -> tuple[int, bytes]:
    """An honest message with bytes changed, cut off, repeated or put in."""
    sender, data = draw(st.sampled_from(CORPUS))
    raw = bytearray(data)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(raw) - 1)) if raw else 0
        how = draw(st.sampled_from(("flip", "set", "cut", "insert", "double")))
        if how == "flip" and raw:
            raw[at] ^= 1 << draw(st.integers(0, 7))
        elif how == "set":
            raw[at : at + 8] = draw(st.binary(min_size=8, max_size=8))
        elif how == "cut":
            del raw[at : at + draw(st.integers(1, 40))]
        elif how == "insert":
            raw[at:at] = draw(st.binary(max_size=40))
        else:
            raw[at:at] = raw[at : at + draw(st.integers(1, 200))]
    return sender, bytes(raw)


@settings(max_examples=150, deadline=None)
@given(told=st.lists(hostile(), min_size=1, max_size=12), stranger=st.booleans())
def test_no_bytes_break_a_node_or_make_it_accuse_or_stop(
    told: list[tuple[int, bytes]], stranger: bool
) -> None:
    core = victim()
    acts: list[Act] = []
    for sender, data in told:
        try:
            message = decode_message(data)
        except Malformed:
            continue
        assert encode_message(message) == data  # one byte string for each value
        node = STRANGER if stranger else node_of(sender if sender != ME else OTHER)
        acts += core.on_message(Net(1).clock, node, message)
    before = [a for a in acts if isinstance(a, Halt | Mute)]

    assert before == []
    assert not any(isinstance(a, Blame) and a.node == node_of(ME) for a in acts)
    assert max(size(core).values()) <= 300
    assert core.final.height <= 1
    assert core.halted == ""


@settings(max_examples=100, deadline=None)
@given(data=st.binary(max_size=400), tag=st.integers(0, 12))
def test_any_bytes_are_a_message_or_malformed(data: bytes, tag: int) -> None:
    raw = bytes((tag,)) + data
    try:
        message = decode_message(raw)
    except Malformed:
        return

    assert encode_message(message) == raw


def test_a_flood_in_the_name_of_one_member_costs_the_others_nothing() -> None:
    """Everything at once from one liar, between the steps of an honest view."""
    net = Net(4)
    net.start()
    liar = 3
    for name, (_, message) in {**LIES, **STALE}.items():
        for honest in (0, 1, 2):
            for act in net[honest].on.on_message(net.clock, node_of(liar), message):
                if not isinstance(act, Fault | Blame):
                    net.do(net[honest], [act])
                else:
                    assert act.node == node_of(liar), name
    net.submit(b"all the same")

    assert net.run(lambda: all(b"all the same" in peer.app.done for peer in net.peers))
    assert FIN in {v.kind for v in net[0].sent(Vote) if isinstance(v, Vote)}
