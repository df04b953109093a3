"""From one epoch to the next: rules E1 to E9 of docs/agreement.md."""

from dataclasses import replace

import pytest

from pyrsia.consensus.application import BlockRef
from pyrsia.consensus.committee import Committee
from pyrsia.consensus.effects import Deliver, Halt, Mute
from pyrsia.consensus.recovery import keep, place, record
from pyrsia.wire.blocks import (
    EPOCH_END,
    FIN,
    NOT,
    NUL,
    TAIL,
    ZERO,
    Block,
    Blocks,
    Cert,
    FinalityProof,
    Message,
    Proposal,
    Status,
    Vote,
    nullify,
)
from tests.unit.consensus.parts import (
    CHAIN_ID,
    ORIGIN,
    START,
    Net,
    Peer,
    _seats,
    key_of,
    node_of,
    seats_entry,
    sign,
    validator,
)


def running(nodes: int = 5) -> Net:
    """A network that has decided one entry."""
    net = Net(nodes)
    net.start()
    net.submit(b"first")
    assert net.run(lambda: min(net.heights()) >= 1)
    return net


def blocks(peer: Peer) -> list[Block]:
    return [Block.decode(peer.blocks[height]) for height in sorted(peer.blocks)]


def ends(peer: Peer) -> list[tuple[Block, FinalityProof]]:
    """Blocks that ended an epoch, as this node stored them, each with its proof."""
    found = [block for block in blocks(peer) if block.header.kind == EPOCH_END]
    return [(block, FinalityProof.decode(peer.proofs[block.header.height])) for block in found]


def test_the_entry_that_changes_the_validators_ends_the_epoch_and_the_next_one_stands_on_it() -> None:
    """E1, E5: views from 1, parent view 0 and no parent certificate, heights go on."""
    net = running()
    net.submit(b"with it", seats_entry("0", "1", "2", "4"), b"behind it")
    assert net.run(lambda: all(b"behind it" in peer.app.done for peer in net.peers))

    [(end, proof)] = ends(net[0])
    after = blocks(net[0])[end.header.height]
    assert end.body.entries == (b"with it", seats_entry("0", "1", "2", "4"))
    assert proof.headers == (end.header,)
    assert (after.header.epoch, after.header.height) == (1, end.header.height + 1)
    assert (after.header.parent_hash, after.header.parent_view) == (end.hash, 0)
    assert after.body.justification.parent_cert is None
    assert after.header.members_hash == end.header.next_members_hash != end.header.members_hash
    assert net.epochs() == [1] * 5
    assert len({tuple(sorted(peer.blocks.values())) for peer in net.peers}) == 1


def test_who_loses_its_seat_follows_and_who_gains_one_votes() -> None:
    """E7."""
    net = running()
    net.submit(seats_entry("0", "1", "2", "4"))
    assert net.run(lambda: net.epochs() == [1] * 5)
    net.submit(b"later")
    assert net.run(lambda: all(b"later" in peer.app.done for peer in net.peers))

    assert [peer.on.seat is not None for peer in net.peers] == [True, True, True, False, True]
    assert net.run(lambda: net[4].on.voting)
    assert any(isinstance(v, Vote) and v.said.epoch == 1 for v in net[4].sent(Vote))
    assert not any(isinstance(v, Vote) and v.said.epoch == 1 for v in net[3].sent(Vote))


def without_fin(net: Net, count: int) -> None:
    """No FIN vote of the first `count` views from the end of the epoch on reaches anybody."""
    first: dict[str, int] = {}

    def lost(sender: int, to: int, message: Message) -> bool:
        if isinstance(message, Proposal) and message.block.header.kind == EPOCH_END:
            first.setdefault("view", message.block.header.view)
        if not isinstance(message, Vote) or message.kind != FIN or message.said.epoch:
            return False
        return first.get("view", 1 << 60) <= message.view < first["view"] + count

    net.lost = lost


@pytest.mark.parametrize("tails", [1, 2, 12])
def test_tails_prove_the_end_with_two_headers_however_many_there_are(tails: int) -> None:
    """E2, E3, E4."""
    net = running()
    without_fin(net, tails)
    net.submit(seats_entry("0", "1", "2", "4"), b"behind it")
    assert net.run(lambda: all(b"behind it" in peer.app.done for peer in net.peers), 600)

    proposed = [m.block for peer in net.peers for m in peer.sent(Proposal) if isinstance(m, Proposal)]
    made = [block for block in dict.fromkeys(proposed) if block.header.kind == TAIL]
    [(end, proof)] = ends(net[0])
    assert len(made) >= tails
    for tail in made:
        header = tail.header
        assert (header.height, header.tree_root, header.beacon) == (
            end.header.height, end.header.tree_root, end.header.beacon,
        )  # fmt: skip
        assert (header.parent_hash, header.reveal, header.n_entries) == (end.hash, ZERO, 0)
    assert [header.kind for header in proof.headers] == [TAIL, EPOCH_END]
    assert proof.headers[0].parent_hash == end.hash
    assert not any(block.header.kind == TAIL for block in blocks(net[0]))
    assert all(len(ends(peer)) == 1 for peer in net.peers)


def test_a_node_that_was_away_for_several_epochs_comes_back_through_each() -> None:
    """E6: stale messages are answered with where we are; blocks by height stop at each end."""
    net = running()
    net.stop(3)
    for turn in (1, 2, 3):
        names = ["0", "1", "2", "3", "4"] if turn % 2 else ["0", "1", "2", "3"]
        net.submit(b"in %d" % turn, seats_entry(*names[turn:], *names[:turn]))
        assert net.run(lambda turn=turn: net.epochs(0, 1, 2, 4) == [turn] * 4)
    net.start(3)
    assert net.run(lambda: net.epochs() == [3] * 5)
    net.submit(b"together")
    assert net.run(lambda: all(b"together" in peer.app.done for peer in net.peers))

    assert len(ends(net[3])) == 3
    delivered = [act for act in net[3].did(Deliver) if isinstance(act, Deliver)]
    assert all(len({block.header.epoch for block in act.blocks}) == 1 for act in delivered)


def test_whoever_sees_the_end_by_certificates_votes_at_once_and_whoever_was_brought_there_asks_first() -> (
    None
):
    """R5."""
    net = running()
    cut = {3}
    net.lost = lambda sender, to, message: (sender in cut) != (to in cut)
    net.submit(seats_entry("0", "1", "2", "3", "4"))
    assert net.run(lambda: net.epochs(0, 1, 2, 4) == [1] * 4)
    assert [net[i].on.voting for i in (0, 1, 2)] == [True] * 3
    net[3].acts.clear()
    net.lost = lambda sender, to, message: False
    assert net.run(lambda: net[3].on.committee.epoch == 1)
    assert net.run(lambda: net[3].on.voting)

    asked = [m for m in net[3].sent(Status) if isinstance(m, Status) and m.epoch == 1 and m.ask]
    assert asked
    assert all(
        m.ask == 0 for i in (0, 1, 2) for m in net[i].sent(Status) if isinstance(m, Status) and m.epoch == 1
    )


def test_what_comes_from_the_next_epoch_too_early_waits_in_a_small_buffer() -> None:
    """E8: the view of the next epoch goes on with it, without a repetition."""
    net = running()
    late: list[tuple[int, int, Message]] = []

    def held(sender: int, to: int, message: Message) -> bool:
        old = isinstance(message, Vote | Cert) and message.said.epoch == 0 and message.kind == FIN
        if to == 2 and old and net[2].on.committee.epoch == 0:
            late.append((sender, to, message))
            return True
        return False

    net.lost = held
    net.submit(seats_entry("0", "1", "2", "4"), b"behind it")
    assert net.run(lambda: net.epochs(0, 1) == [1, 1])
    net.now += 0.02
    for peer in net.peers:
        if peer.number != 2:
            net.do(peer, peer.on.on_timer(net.clock))
    net.settle()
    early = net[2].on._early
    waiting = [node for node, _ in [*early._small.items(), *early._proposals.items()]]
    net.lost = lambda sender, to, message: False
    for one in late:
        net.queue.append(one)
    net.settle()

    assert waiting
    assert net[2].on.committee.epoch == 1
    assert not early._small
    assert not early._proposals
    assert any(isinstance(v, Vote) and v.said.epoch == 1 for v in net[2].sent(Vote))


def test_the_buffer_for_the_next_epoch_is_bounded() -> None:
    net = running()
    proposal = next(m for peer in net.peers for m in peer.sent(Proposal) if isinstance(m, Proposal))
    header = proposal.block.header
    forged = Proposal(Block(replace(header, epoch=1), proposal.block.body), proposal.vote)
    for sender in range(1_000):
        for view in range(1, 40):
            net[0].on.on_message(net.clock, b"%032d" % sender, Vote(nullify(1, view), 0, b"x" * 64))
        net[0].on.on_message(net.clock, b"%032d" % sender, forged)
    early = net[0].on._early

    assert len(early._small) == 128
    assert max(map(len, early._small.values())) == 16
    assert len(early._proposals) == 8


def restarted(net: Net, number: int) -> Peer:
    net.stop(number)
    net.start(number)
    return net[number]


def test_a_restart_takes_up_the_epoch_that_follows_the_last_final_block() -> None:
    net = running()
    net.submit(seats_entry("0", "1", "2", "4"))
    assert net.run(lambda: net.epochs() == [1] * 5)
    everybody = range(5)
    net.stop(*everybody)
    net.start()
    net.submit(b"after the restart of all")

    assert net.epochs() == [1] * 5
    assert net.run(lambda: all(b"after the restart of all" in peer.app.done for peer in net.peers))


def test_records_of_the_next_epoch_are_kept_for_a_node_whose_database_is_behind() -> None:
    """R3: votes of epoch 1 are on disk, the block that ended epoch 0 is not: after catching up they still bind."""
    net = running()
    before = net[0].app.final
    done, seats = list(net[0].app.done), dict(net[0].app.seats_at)
    stored, proof = dict(net[0].blocks), net[0].proof
    net.submit(seats_entry("0", "1", "2", "4"))
    assert net.run(lambda: net.epochs() == [1] * 5)
    net.submit(b"one more")
    assert net.run(lambda: all(b"one more" in peer.app.done for peer in net.peers))
    said = {v.said for v in net[0].sent(Vote) if isinstance(v, Vote) and v.said.epoch == 1}
    net.stop(0)
    net[0].app.final, net[0].app.done, net[0].app.seats_at = before, done, seats
    net[0].blocks, net[0].proof = stored, proof
    net.start(0)
    assert net.run(lambda: net[0].on.voting and net[0].on.committee.epoch == 1)
    net.submit(b"and another")
    assert net.run(lambda: all(b"and another" in peer.app.done for peer in net.peers))

    assert said
    again = {v.said for v in net[0].sent(Vote) if isinstance(v, Vote) and v.said.epoch == 1}
    by_place = {(s.kind, s.view): s for s in said}
    assert all(by_place.get((s.kind, s.view), s) == s for s in again)
    assert not net[0].did(Mute)


def test_a_vote_of_a_later_epoch_that_others_hold_and_the_file_lacks_mutes_the_key() -> None:
    """R4, over the end of an epoch: the whole data directory is an old copy."""
    net = running()
    before = net[0].app.final
    done, seats = list(net[0].app.done), dict(net[0].app.seats_at)
    stored, proof, wal = dict(net[0].blocks), net[0].proof, list(net[0].wal)
    net.submit(seats_entry("0", "1", "2", "4"))
    assert net.run(lambda: net.epochs() == [1] * 5)
    net.submit(b"one more")
    assert net.run(lambda: all(b"one more" in peer.app.done for peer in net.peers))
    net.stop(0)
    net[0].app.final, net[0].app.done, net[0].app.seats_at = before, done, seats
    net[0].blocks, net[0].proof, net[0].wal = stored, proof, wal
    net.start(0)
    assert net.run(lambda: net[0].on.committee.epoch == 1)
    net.run(lambda: False, 10)

    assert net[0].did(Mute)
    assert not net[0].on.voting
    assert net[0].sent(Vote) == []
    assert net.heights()[0] == net.heights()[1]  # it follows


def first_leader(*names: str) -> int:
    """The number of the node that leads view 1 of epoch 1 with these seats."""
    seats = _seats(1, seats_entry(*names))
    committee = Committee(seats, CHAIN_ID, ORIGIN)
    return int(committee.validators[committee.leader(1)].node[4:])


@pytest.mark.parametrize("ended", [False, True])
def test_a_restored_key_is_told_of_its_votes_in_an_epoch_that_the_others_have_not_begun(ended: bool) -> None:
    """R4: it alone knew that the epoch had ended, led the next one, and lost that. `ended`: it still knows the end."""
    names = ["0", "1", "2", "3.1"]
    if first_leader(*names) == 3:
        names = ["0", "1", "2.1", "3"]
    lost = first_leader(*names)
    net = Net(4)
    net.start()
    net.submit(b"first")
    assert net.run(lambda: min(net.heights()) >= 1)
    peer, others = net[lost], [i for i in range(4) if i != lost]
    before = peer.app.final, list(peer.app.done), dict(peer.app.seats_at), dict(peer.blocks), peer.proof

    def hidden(sender: int, to: int, message: Message) -> bool:
        """Nobody but that node learns that the end is final."""
        certs = message.certs if isinstance(message, Status) else ()
        fin = isinstance(message, Vote | Cert) and message.kind == FIN
        told = any(one.kind == FIN and one.said.height > 1 for one in certs)
        return isinstance(message, Blocks) or told or (fin and (to != lost or peer.on.committee.epoch == 1))

    net.lost = hidden
    net.submit(seats_entry(*names))
    assert net.run(lambda: peer.on.committee.epoch == 1)
    copy = [data for data in peer.wal if place(data)[0] == 0]
    net.submit(b"second")
    assert net.run(lambda: any(place(data)[0] == 1 for data in peer.wal))
    net.settle()
    assert net.epochs(*others) == [0, 0, 0]

    net.stop(lost)
    peer.wal = copy
    if not ended:
        peer.app.final, peer.app.done, peer.app.seats_at, peer.blocks, peer.proof = before
        net.lost = lambda sender, to, message: (
            hidden(sender, to, message) or (isinstance(message, Vote | Cert) and message.kind == FIN)
        )
    net.start(lost)
    net.run(lambda: False, 6)
    assert not peer.on.voting
    assert net.epochs(*others) == [0, 0, 0]
    net.lost = lambda sender, to, message: False
    assert net.run(lambda: all(b"second" in one.app.done for one in net.peers))
    net.run(lambda: False, 6)

    assert peer.did(Mute)
    assert peer.sent(Vote) == peer.sent(Proposal) == []


def test_a_lost_key_is_healed_by_its_successor_while_the_node_runs() -> None:
    """R6: the node follows, is given another key by the members, and then they can spare another node."""
    net = Net(4)
    net[3].keys = {key_of(3, 1)}  # the record of the old one is gone
    net.start()
    assert net.run(lambda: all(net[i].on.voting for i in (0, 1, 2)))
    before = net[3].on.voting, bool(net[3].did(Mute))
    net.submit(seats_entry("0", "1", "2", "3.1"))
    assert net.run(lambda: net.epochs() == [1] * 4)
    assert net.run(lambda: net[3].on.voting)
    net.stop(2)
    net.submit(b"by three")

    assert before == (False, True)
    assert net.run(lambda: b"by three" in net[0].app.done)


def entry_a_block(net: Net, *numbers: int, count: int) -> None:
    """So many blocks, one after the other."""
    for _ in range(count):
        entry = b"at %f" % net.now
        net.submit(entry)
        assert net.run(lambda entry=entry: all(entry in net[i].app.done for i in numbers))


def test_r7_whoever_lacks_coming_rules_is_silent_before_them_and_stops_with_a_clear_sentence() -> None:
    """It votes for the last block of the old rules, leaves the next to the others, and follows."""
    net = running(4)
    net[0].app.known_below = 4
    halts: list[Halt] = []
    do = net.do
    net.do = lambda peer, acts: do(  # type: ignore[method-assign]
        peer, [act for act in acts if not (isinstance(act, Halt) and (halts.append(act) or True))]
    )
    entry_a_block(net, 0, 1, 2, 3, count=2)
    assert net.run(lambda: bool(net[0].did(Mute)))
    heights = net.heights(0)
    net.run(lambda: False, 30)  # (heartbeats)
    voted = {v.said.view for v in net[0].sent(Vote) if isinstance(v, Vote)}
    last = Block.decode(net[0].blocks[3]).header

    assert heights == [3]
    assert net[0].did(Mute) == [Mute("block 4 needs rules of tomorrow")]
    assert max(voted) == last.view
    assert {v.kind for v in net[0].sent(Vote) if isinstance(v, Vote) and v.view == last.view} >= {FIN}
    assert not any(isinstance(m, Proposal) and m.block.header.view > last.view for m in net[0].sent(Proposal))
    assert not net[0].on.voting
    assert halts == [Halt("block 4 needs rules of tomorrow")]
    assert net[0].on.halted
    assert net.heights(0) == [3]
    assert min(net.heights(1, 2, 3)) > 4


def test_r7_the_end_of_an_epoch_is_finished_under_the_rules_that_it_knows() -> None:
    """Tails are no blocks of the log: without them the end would never be final. The next epoch begins silent."""
    net = running()
    for peer in net.peers:
        peer.app.known_below = 3
    without_fin(net, 2)
    net.submit(seats_entry("0", "1", "2", "4"))
    assert net.run(lambda: net.epochs() == [1] * 5, 60)
    net.submit(b"of tomorrow")
    net.run(lambda: False, 30)

    assert net.heights() == [2] * 5
    assert all(len(peer.did(Mute)) == 1 for peer in net.peers if peer.number != 3)
    assert not any(v.said.epoch for peer in net.peers for v in peer.sent(Vote) if isinstance(v, Vote))
    net.stop(*range(5))
    for peer in net.peers:  # newer software everywhere
        peer.app.known_below = 1 << 62
    net.start()
    assert net.run(lambda: all(b"of tomorrow" in peer.app.done for peer in net.peers))


def test_r7_a_follower_stops_at_them_with_the_same_sentence() -> None:
    net = running()
    entry_a_block(net, 0, 1, 2, 3, count=2)
    late = Net(5)
    late.start(4)
    late[4].app.known_below = 2
    late[4].on._sync.claim(node_of(0), 3)
    answer = Blocks(tuple(blocks(net[0])), FinalityProof.decode(net[0].proofs[3]))
    late[4].on.on_timer(late.clock._replace(mono_s=1.0))
    out = late[4].on.on_message(late.clock, node_of(0), answer)

    assert Halt("block 2 needs rules of tomorrow") in out
    assert late[4].on.halted == "block 2 needs rules of tomorrow"


def test_a_muted_key_stays_muted_in_the_next_epoch_and_its_successor_votes() -> None:
    """R6."""
    net = running()
    net[0].on.seat.gate.stopped = True  # type: ignore[union-attr]
    net[0].on.seat.gate.voting = False  # type: ignore[union-attr]
    net.submit(seats_entry("0", "1", "2", "3", "4"))
    assert net.run(lambda: net.epochs() == [1] * 5)
    net.run(lambda: False, 5)
    muted = net[0].on.voting
    net.submit(seats_entry("0.1", "1", "2", "3", "4"))
    assert net.run(lambda: net.epochs() == [2] * 5)

    assert not muted
    assert net.run(lambda: net[0].on.voting)


def test_a_seat_whose_key_is_not_here_follows_and_says_so() -> None:
    net = running()
    net[0].keys = {key_of(0)}
    net.submit(seats_entry("0.1", "1", "2", "3", "4"))
    assert net.run(lambda: net.epochs() == [1] * 5)

    assert net[0].on.seat is None
    assert net[0].did(Mute)


def test_records_are_ordered_by_epoch_first() -> None:
    """R2 (ava-labs/Simplex 551): the record of an epoch stays until the next one has a final block."""
    old, new = Vote(nullify(4, 90), 0, b"s" * 64), Vote(nullify(5, 1), 0, b"s" * 64)

    assert [place(record(v)) for v in (old, new)] == [(4, 90), (5, 1)]
    assert keep(record(old), 4, 80)  # the head ends epoch 4: later views of it stay
    assert keep(record(new), 4, 80)
    assert not keep(record(old), 5, 0)


def test_one_dead_validator_of_four_is_replaced() -> None:
    net = running()
    net.stop(3)
    net.submit(seats_entry("0", "1", "2", "4"))
    assert net.run(lambda: net.epochs(0, 1, 2, 4) == [1] * 4)
    net.submit(b"by the new four")

    assert net.run(lambda: all(b"by the new four" in net[i].app.done for i in (0, 1, 2, 4)))
    assert net.run(lambda: net[4].on.voting)


def test_a_leader_without_links_still_brings_its_epoch_to_an_end() -> None:
    """L3: a tail reveals nothing, so it needs no link."""
    net = running()
    without_fin(net, 2)
    net.submit(seats_entry("0", "1", "2", "4"))
    assert net.run(lambda: any(p.on.seat and p.on.seat.tree.ends_at(p.on.seat._tip()) for p in net.peers))
    for peer in net.peers:
        peer.links = False

    assert net.run(lambda: net.epochs() == [1] * 5, 120)


def test_the_start_of_an_epoch_counts_as_view_zero() -> None:
    net = running()
    net.submit(seats_entry("0", "1", "2", "4"))
    assert net.run(lambda: net.epochs() == [1] * 5)
    final = net[0].on.final

    assert isinstance(final, BlockRef)
    assert (final.view, final.epoch, final.height) == (0, 0, net[0].app.final.height)
    assert final.hash == net[0].app.final.hash != START.hash


def test_votes_are_signed_for_their_own_epoch_only() -> None:
    """E9: after the end of an epoch nobody signs in it any more."""
    net = running()
    net.submit(seats_entry("0", "1", "2", "4"))
    assert net.run(lambda: net.epochs() == [1] * 5)
    for peer in net.peers:
        peer.acts.clear()
    old = Vote(nullify(0, 99), 3, sign(key_of(3), b""))
    for peer in net.peers[:3]:
        net.do(peer, peer.on.on_message(net.clock, node_of(3), old))
    net.run(lambda: False, 10)

    sent = [v for peer in net.peers for v in peer.sent(Vote) if isinstance(v, Vote)]
    assert sent
    assert {v.said.epoch for v in sent} == {1}
    assert {NOT, FIN} <= {v.kind for v in sent} <= {NOT, FIN, NUL}
    assert validator(3) not in net[0].on.committee.validators


def test_t2_whoever_was_away_holds_nobody_up_once_it_has_caught_up() -> None:
    """The network waits for the fourth of four, which is dead; the third comes back from sixty blocks ago."""
    net = running(4)
    net.stop(2)
    for i in range(60):
        net.submit(b"entry %d" % i)
        assert net.run(lambda i=i: all(b"entry %d" % i in net[n].app.done for n in (0, 1, 3)))
    while net[0].on.committee.leader(net[0].on.seat.view) != net[0].on.committee.places[node_of(3)]:  # type: ignore[union-attr]
        net.submit(b"one more at %f" % net.now)
        view = net[0].on.seat.view  # type: ignore[union-attr]
        assert net.run(lambda view=view: all(net[n].on.seat.view > view for n in (0, 1)))  # type: ignore[union-attr]
    net.stop(3)
    net.submit(b"waits")
    net.run(lambda: False, 5)
    came = net.now
    net.start(2)
    assert net.run(lambda: all(b"waits" in net[n].app.done for n in (0, 1, 2)), 300)

    assert net.now - came < 3.0  # (virtual time)
