"""Storage members keep what is theirs: whoever dies, lies, is full, joins late or leaves."""

import hashlib
import logging
import os
import struct
from types import SimpleNamespace

import msgspec
import pytest
import trio

from pyrsia.errors import Malformed, Refusal, Unavailable
from pyrsia.mesh.scores import FAULT, LIE, RATE
from pyrsia.node.kinds import Method
from pyrsia.node.mesh.providing import TOLD_BURST
from pyrsia.node.mesh.replicating import Replicating
from pyrsia.store import layout
from pyrsia.store.rocks import Batch, Database
from pyrsia.transfer.manifest import Manifest
from pyrsia.transfer.placement import Placement
from pyrsia.transfer.providers import AGAIN_S
from pyrsia.units import NodeId
from pyrsia.wire import providers as wire
from pyrsia.wire.providers import Held, Leaving, Provide, Sums, Who
from pyrsia.wire.text import b32
from tests.reference.waiting import until
from tests.unit.node.keepers import Crowd, entry, files

BLOBS = files(14)


def digest(data):
    return hashlib.sha256(data).digest()


@pytest.fixture
def clock(autojump_clock, monkeypatch):
    """Virtual time, and disks that are always in sync."""

    async def sync(_):
        await trio.lowlevel.checkpoint()

    monkeypatch.setattr(Database, "sync", sync)
    monkeypatch.setattr(os, "fdatasync", lambda _: None)
    monkeypatch.setattr(os, "fsync", lambda _: None)
    return autojump_clock


@pytest.fixture
def crowd(tmp_path, clock):
    return Crowd(tmp_path)


async def placed(crowd, blobs=BLOBS, builder=4):
    """A builder's outputs are named, and come to their owners."""
    await crowd.all[builder].keep(*blobs)
    crowd.name(crowd.all[builder].node, *blobs)
    await until(lambda: crowd.placed(blobs), 120.0)


async def test_what_the_log_names_comes_from_its_builder_to_its_owners_and_nobody_else(crowd):
    async def test():
        await placed(crowd)
        for data in BLOBS:
            assert crowd.holders(data) == set(crowd.owners(data))
            assert len(crowd.owners(data)) == 3
        told = [one.keeping.status for one in crowd.all[:4]]
        await until(lambda: all(one().counted and one().under == 0 for one in told), 600.0)
        assert "0 of " in crowd.all[0].keeping.status().line()
        assert (
            crowd.all[4].keeping.status().line()
            == "4 storage members keep 3 copies; this node is none of them"
        )

    await crowd.run(test)


async def test_a_dead_member_is_waited_for_and_then_the_next_in_order_takes_its_part(crowd):
    async def test():
        await placed(crowd)
        lost = crowd.all[1].node
        crowd.moved.clear()
        crowd.down.add(lost)
        crowd.down.add(crowd.all[4].node)  # the builder goes too
        await trio.sleep(590)
        assert crowd.moved == []
        await until(lambda: crowd.placed(BLOBS, {lost}), 60.0)
        moved = {sha256 for _, sha256 in crowd.moved}
        assert moved == {digest(data) for data in BLOBS if lost in crowd.owners(data)}
        assert crowd.all[0].keeping.status().gone
        # Back again: what the others took over goes once the owners are known to have it.
        crowd.down.clear()
        await until(lambda: all(crowd.holders(data) == set(crowd.owners(data)) for data in BLOBS), 400.0)

    await crowd.run(test)


async def test_two_of_four_gone_and_everything_is_still_kept_by_who_is_left(crowd):
    async def test():
        await placed(crowd)
        crowd.down |= {crowd.all[0].node, crowd.all[2].node, crowd.all[4].node}
        left = {crowd.all[1].node, crowd.all[3].node}
        await until(lambda: all(crowd.holders(data) == left for data in BLOBS), 700.0)

    await crowd.run(test)


async def test_a_member_that_lost_its_disk_gets_everything_again(crowd):
    async def test():
        await placed(crowd)
        poor = crowd.all[2]
        mine = [data for data in BLOBS if poor.node in crowd.owners(data)]
        for data in mine:
            await poor.blobs.unpin(digest(data), "shard")
            assert await poor.blobs.evict(digest(data))
        await until(lambda: crowd.placed(BLOBS), 800.0)  # found when the index is read again

    await crowd.run(test)


async def test_a_rotten_blob_is_brought_again_at_once(crowd):
    async def test():
        await placed(crowd)
        data = next(one for one in BLOBS if crowd.all[0].node in crowd.owners(one))
        crowd.moved.clear()
        assert await crowd.all[0].blobs.let_go(digest(data))
        await until(lambda: crowd.all[0].has(data), 10.0)
        assert crowd.moved == [(crowd.all[0].node, digest(data))]

    await crowd.run(test)


async def test_what_is_here_already_is_pinned_and_not_brought(crowd):
    async def test():
        owner = next(one for one in crowd.all[:4] if one.node in crowd.owners(BLOBS[0]))
        await owner.keep(BLOBS[0], pin="")
        crowd.name(owner.node, BLOBS[0])
        await until(lambda: crowd.placed(BLOBS[:1]), 120.0)
        assert (owner.node, digest(BLOBS[0])) not in crowd.moved

    await crowd.run(test)


async def test_disks_that_take_nothing_for_some_minutes_end_no_node(crowd, monkeypatch):
    sick, write = [], Database.write

    def writes(database, batch):
        if sick:
            raise Unavailable("the database: No space left on device")
        return write(database, batch)

    monkeypatch.setattr(Database, "write", writes)

    async def test():
        for at, keeper in enumerate(crowd.all[:4]):
            await keeper.keep(*BLOBS[at::4], pin="")
        await crowd.all[4].keep(*BLOBS)
        await crowd.all[0].keeping.draining.order(leave=True)
        crowd.name(crowd.all[4].node, *BLOBS)
        sick.append(True)
        await trio.sleep(75.0)
        assert not crowd.placed(BLOBS[:1])
        sick.clear()
        await crowd.all[0].keeping.draining.order(leave=False)
        await until(lambda: crowd.placed(BLOBS), 1_000.0)

    await crowd.run(test)


async def test_a_full_member_says_so_and_takes_what_fits_when_there_is_room(tmp_path, clock):
    crowd = Crowd(tmp_path, quota=300)

    async def test():
        big = [bytes([at]) * 100 for at in range(8)]
        await crowd.all[4].keep(*big)
        crowd.name(crowd.all[4].node, *big)
        await until(lambda: any(one.keeping.status().full for one in crowd.all[:4]), 120.0)
        assert all(one.blobs.used <= 300 for one in crowd.all[:4])
        assert any("no room for more" in one.keeping.status().line() for one in crowd.all[:4])
        for one in crowd.all[:4]:
            one.blobs.account.rules = type(one.blobs.account.rules)(quota=10_000)
        await until(lambda: crowd.placed(big), 200.0)

    await crowd.run(test)


async def test_a_blob_that_nobody_has_is_told_and_found_when_somebody_comes_with_it(crowd):
    async def test():
        lost = b"nobody has me"
        crowd.name(crowd.all[4].node, lost, *BLOBS[:5])
        await crowd.all[4].keep(*BLOBS[:5])
        await until(lambda: crowd.placed(BLOBS[:5]), 120.0)
        owner = crowd.keepers[crowd.owners(lost)[0]]
        await until(lambda: owner.keeping.status().lost == 1, 120.0)
        assert "1 file that nobody gives" in owner.keeping.status().line()
        await crowd.all[4].keep(lost)
        await until(lambda: crowd.placed([lost]), 2_000.0)
        assert owner.keeping.status().lost == 0

    await crowd.run(test)


@pytest.mark.parametrize(("took_s", "good_s"), [(0.0, 0.0), (0.5, 50.0)])
async def test_a_shard_that_takes_long_to_sum_up_is_summed_up_seldom_whatever_changes(
    crowd, clock, took_s, good_s
):
    with crowd.opened():
        stock, counted = crowd.all[0].keeping.replicating.stock, []

        def held(shard):
            counted.append(shard)
            clock.jump(took_s)
            yield digest(BLOBS[0])

        stock._held = held
        in_shard = bytes(32)
        first = stock.total(0)
        assert stock.total(0) == first
        assert len(counted) == 1
        stock.changed(in_shard)
        clock.jump(max(0.0, good_s - 1.0))
        stock.total(0)
        assert len(counted) == (2 if good_s == 0 else 1)
        clock.jump(2.0)
        stock.changed(in_shard)
        stock.total(0)
        assert len(counted) == (3 if good_s == 0 else 2)


async def test_an_entry_that_lies_about_size_or_digest_costs_time_only(crowd):
    async def test():
        await crowd.all[4].keep(*BLOBS[:3])
        leaf = entry(crowd.all[4].node, *BLOBS[:3])
        for one in crowd.all:
            one.name(leaf.replace(b'"size":%d' % len(BLOBS[0]), b'"size":%d' % (1 << 40)))
            one.name(leaf.replace(digest(BLOBS[1]).hex().encode(), b"ab" * 32))
            one.name(leaf)
        await until(lambda: crowd.placed(BLOBS[:3]), 120.0)
        assert not any(one.blobs.has(bytes.fromhex("ab" * 32)) for one in crowd.all)

    await crowd.run(test)


async def test_the_index_is_built_by_who_becomes_a_member_late_or_began_from_a_snapshot(crowd):
    async def test():
        late = crowd.all[3]
        size = late.log.size
        late.log.from_ = 9  # what lies below is not here yet
        for at, data in enumerate(BLOBS):
            await crowd.all[4].keep(data)
            crowd.name(crowd.all[4].node, data)
            assert late.log.size == size + at + 1
        mine = [data for data in BLOBS if late.node in crowd.owners(data)]
        await until(lambda: all(late.has(data) for data in mine if BLOBS.index(data) >= 9), 120.0)
        assert not any(late.has(data) for data in mine if BLOBS.index(data) < 9)
        late.log.from_ = 0
        await until(lambda: crowd.placed(BLOBS), 200.0)

    await crowd.run(test)


async def test_the_index_goes_on_behind_what_a_snapshot_jumped_over(crowd):
    with crowd.opened():
        keeper = crowd.all[0]
        stock, told = keeper.keeping.replicating.stock, []
        keeper.name(entry(keeper.node, BLOBS[0]))
        await stock.grow(told.extend)
        keeper.log.size += 700  # the node was away; what lies between is not here
        keeper.log.from_ = keeper.log.size
        keeper.name(entry(keeper.node, BLOBS[1]))
        await stock.grow(told.extend)
        assert [one.sha256 for one in told] == [digest(BLOBS[0]), digest(BLOBS[1])]
        assert stock.named(digest(BLOBS[1]))
        await stock.grow(told.extend)
        assert len(told) == 2


async def test_a_network_without_storage_members_does_nothing(tmp_path, clock):
    crowd = Crowd(tmp_path, storage=())

    async def test():
        await crowd.all[4].keep(*BLOBS)
        crowd.name(crowd.all[4].node, *BLOBS)
        await trio.sleep(1_000)
        assert crowd.asked == crowd.moved == []
        assert crowd.all[0].keeping.status().line() == ""
        assert await crowd.all[4].keeping.replicating.kept_elsewhere([digest(BLOBS[0])]) == set()
        with pytest.raises(Refusal, match="nobody to hand over to"):
            await crowd.all[0].keeping.drain(leave=True)

    await crowd.run(test)


# -- builders let go --


async def test_a_builder_need_not_pin_what_three_owners_have(crowd):
    async def test():
        builder = crowd.all[4].keeping.replicating
        fresh = files(3, seed=9)
        await placed(crowd)
        await crowd.all[4].keep(*fresh)
        wanted = [digest(data) for data in (*BLOBS, *fresh)]
        assert await builder.kept_elsewhere(wanted) == {digest(data) for data in BLOBS}
        crowd.down.add(crowd.all[0].node)
        kept = await builder.kept_elsewhere(wanted)
        assert kept == {digest(data) for data in BLOBS if crowd.all[0].node not in crowd.owners(data)}

    await crowd.run(test)


async def test_with_fewer_members_than_copies_pins_stay(tmp_path, clock):
    crowd = Crowd(tmp_path, storage=(0, 1))

    async def test():
        await placed(crowd)
        assert await crowd.all[4].keeping.replicating.kept_elsewhere([digest(BLOBS[0])]) == set()

    await crowd.run(test)


async def test_what_the_log_names_wrongly_is_brought_whole_twice_and_no_more(crowd):
    async def test():
        builder, data = crowd.all[4], BLOBS[0] * 3_000
        good = Manifest.of([data])
        named = Manifest(good.size, digest(b"other"), good.blake3, good.chunks)
        await builder.keep(data)
        builder.database.write(Batch().put(layout.MANIFESTS, named.id, good.sha256 + named.encode()))
        output = {"manifest": named.id.hex(), "sha256": named.sha256.hex(), "size": named.size}
        leaf = msgspec.json.encode({"author": b32(builder.node), "body": {"outputs": [output]}})
        for keeper in crowd.all:
            keeper.name(leaf)
        await until(lambda: len(crowd.moved) >= 6, 4_000.0)
        await trio.sleep(900.0)
        assert len(crowd.moved) == 6  # three owners
        assert all(not one.keeping.status().lost for one in crowd.all)

    await crowd.run(test)


# -- draining --


async def test_nothing_is_safe_before_the_index_covers_the_log(crowd):
    async def test():
        leaver, seen = crowd.all[0], set()
        await leaver.keep(*BLOBS)  # the only copies
        crowd.down.update(one.node for one in crowd.all if one is not leaver)
        for _ in range(3_000):
            leaver.log.add(entry(leaver.node))
        leaver.log.add(entry(leaver.node, *BLOBS))
        leaver.pulse.beat()
        await leaver.keeping.drain(leave=True)
        for _ in range(500):
            seen.add(leaver.keeping.drained().phase)
            await trio.lowlevel.checkpoint()
        assert seen == {"working"}
        await until(lambda: leaver.keeping.drained().files == len(BLOBS), 60.0)
        assert leaver.keeping.drained().phase == "working"

    await crowd.run(test)


async def test_what_is_pinned_counts_as_long_as_the_log_is_not_whole(crowd, monkeypatch):
    async def test():
        leaver = crowd.all[0]
        await leaver.keep(*BLOBS)
        monkeypatch.setattr(type(leaver.keeping.replicating.stock), "whole", False)
        await leaver.keeping.drain(leave=True)
        await until(lambda: leaver.keeping.drained().rounds >= 2, 60.0)
        told = leaver.keeping.drained()
        assert (told.phase, told.files, told.placed) == ("working", len(BLOBS), 0)

    await crowd.run(test)


async def test_a_dead_member_is_not_waited_for_and_it_is_said_that_copies_are_few(tmp_path, clock):
    crowd = Crowd(tmp_path, repair_after_s=30)

    async def test():
        await placed(crowd)
        dead, leaver = crowd.all[1], crowd.all[0]
        crowd.down.add(dead.node)
        await until(lambda: crowd.placed(BLOBS, {dead.node}), 300.0)
        await leaver.keeping.drain(leave=True)
        await until(lambda: leaver.keeping.drained().phase == "short", 300.0)
        assert leaver.keeping.drained().possible == 2

    await crowd.run(test)


async def test_a_member_that_leaves_hands_over_and_says_when_it_is_safe(crowd, caplog):
    caplog.set_level(logging.INFO, "pyrsia.storage")

    async def test():
        await placed(crowd)
        leaver = crowd.all[0]
        crowd.down.add(crowd.all[4].node)
        mine = [data for data in BLOBS if "shard" in leaver.pins(data)]
        assert (await leaver.keeping.drain(leave=True)).phase == "working"
        await until(lambda: leaver.keeping.drained().phase == "safe", 60.0)
        told = leaver.keeping.drained()
        assert told.placed == told.files == len(mine) > 0
        (said,) = [one for one in caplog.records if "safe to stop" in one.getMessage()]
        assert said.levelno == logging.INFO  # nothing that anybody has to mend
        assert told.line().endswith("safe to stop")
        assert "pyrsia node drain" in leaver.keeping.status().notice()
        assert crowd.all[1].keeping.status().notice() == ""
        for data in mine:
            assert crowd.holders(data) >= set(crowd.owners(data, {leaver.node}))
        assert leaver.keeping.status().shards == 0
        # It takes nothing new, and is asked for nothing new.
        fresh = files(8, seed=4)
        await crowd.all[1].keep(*fresh)
        crowd.name(crowd.all[1].node, *fresh)
        await until(lambda: crowd.placed(fresh, {leaver.node}), 120.0)
        assert not any(leaver.has(data) for data in fresh)
        # Taken back: it is an owner again, and lacks only what it missed.
        await leaver.keeping.drain(leave=False)
        await until(lambda: crowd.placed([*BLOBS, *fresh]), 60.0)
        assert leaver.keeping.drained().phase == "off"

    await crowd.run(test)


async def test_who_is_in_the_way_of_leaving_is_named(crowd):
    async def test():
        await placed(crowd)
        leaver, deaf = crowd.all[0], crowd.all[1]
        deaf.withholds = set()
        crowd.bent = lambda node, method, payload, answer: (
            wire.encode_bits([False] * len(Held(()).blobs or wire.decode_asked(payload).blobs))
            if node == deaf.node and method == Method.PROVIDERS and payload[0] == 2
            else answer
        )
        await leaver.keeping.drain(leave=True)
        await until(lambda: leaver.keeping.drained().rounds >= 3, 60.0)
        told = leaver.keeping.drained()
        assert told.phase == "working"
        assert told.placed < told.files
        assert all("does not have it yet" in one.why for one in told.unplaced)
        assert len(told.unplaced) <= 20
        crowd.down.add(deaf.node)
        await until(lambda: "does not answer" in leaver.keeping.drained().unplaced[0].why, 60.0)

    await crowd.run(test)


async def test_with_too_few_others_it_says_so(tmp_path, clock):
    crowd = Crowd(tmp_path, storage=(0, 1, 2))

    async def test():
        await placed(crowd)
        await crowd.all[0].keeping.drain(leave=True)
        await until(lambda: crowd.all[0].keeping.drained().phase == "short", 60.0)
        told = crowd.all[0].keeping.drained()
        assert (told.possible, told.wanted) == (2, 3)
        assert "there are no more members" in told.line()

    await crowd.run(test)


async def test_the_order_to_leave_outlives_a_restart(crowd):
    async def first():
        await placed(crowd)
        await crowd.all[0].keeping.drain(leave=True)

    async def second():
        assert crowd.all[0].keeping.drained().phase == "working"
        await until(lambda: crowd.all[0].keeping.status().shards == 0, 30.0)

    await crowd.run(first)
    await crowd.run(second)


async def test_who_says_that_it_leaves_is_believed_for_half_an_hour(crowd):
    async def test():
        node = crowd.all[0].node
        other = crowd.all[1].keeping
        await other.providing.take(node, Leaving(True).encode())
        await trio.sleep(5)
        assert other.status().gone
        await trio.sleep(1_805)
        assert not other.status().gone

    await crowd.run(test)


async def test_a_member_that_leaves_and_stays_by_turns_is_looked_at_every_ten_seconds_at_most(crowd):
    async def test():
        await placed(crowd)
        node, other = crowd.all[0].node, crowd.all[1].keeping
        looks, before = [], None
        for at in range(120):
            await other.providing.take(node, Leaving(at % 3 == 0).encode())
            await trio.sleep(0.5)
            if other.status().gone != before:
                before = other.status().gone
                looks.append(trio.current_time())
        assert 2 <= len(looks) <= 8
        await other.providing.take(node, Leaving(False).encode())
        await trio.sleep(15)
        assert not other.status().gone  # the last word counts

    await crowd.run(test)


# -- liars --


async def test_an_owner_that_has_nothing_and_says_it_has_all_is_found_and_counts_for_nothing(crowd):
    async def test():
        await placed(crowd)
        liar = crowd.all[1]
        liar.withholds = {one.node for one in crowd.all}
        others = [one for one in (crowd.all[0], crowd.all[2], crowd.all[3])]
        doubts = lambda one: one.keeping.replicating.copies.doubted(trio.current_time(), liar.node)  # noqa: E731
        await until(lambda: any(doubts(one) for one in others), 4_000.0)
        told = next(one for one in others if doubts(one))
        assert told.scores.of(trio.current_time(), liar.node) <= LIE / 2
        assert "gives no chunk" in told.scores.reason(liar.node)
        assert not any(doubts(one) for one in crowd.all if one is not told and one not in others)
        assert told.keeping.replicating.copies.under() > 0

    await crowd.run(test)


async def test_who_says_to_a_builder_that_it_has_what_it_gives_no_chunk_of_counts_for_nothing(crowd):
    async def test():
        liar, builder, leaver = crowd.all[1], crowd.all[4], crowd.all[0]

        def bent(node, method, payload, answer):
            asked = node == liar.node and method == Method.PROVIDERS and payload[0] == 2
            return wire.encode_bits([True] * len(wire.decode_asked(payload).blobs)) if asked else answer

        crowd.bent = bent
        liar.keeping.replicating.repair._stopped_s = float("inf")  # it brings nothing
        await builder.keep(*BLOBS)
        crowd.name(builder.node, *BLOBS)
        honest = [one for one in crowd.all[:4] if one is not liar]
        await until(
            lambda: all(one.has(data) for data in BLOBS for one in honest if one.node in crowd.owners(data)),
            120.0,
        )
        hers = {digest(data) for data in BLOBS if liar.node in crowd.owners(data)}
        assert hers
        for _ in range(3):
            sure = await builder.keeping.replicating.kept_elsewhere([digest(data) for data in BLOBS])
            assert not sure & hers
            await trio.sleep(60.0)
        assert builder.scores.of(trio.current_time(), liar.node) < LIE / 2
        await leaver.keeping.drain(leave=True)
        await until(lambda: leaver.keeping.drained().rounds >= 3, 300.0)
        assert leaver.keeping.drained().phase == "working"
        assert any("gives no chunk" in one.why for one in leaver.keeping.drained().unplaced)

    await crowd.run(test)


async def test_an_owner_that_has_no_time_for_a_check_is_no_liar(crowd):
    async def test():
        await placed(crowd)
        crowd.slow = {one.node for one in crowd.all}
        me = crowd.all[0]
        doubted = me.keeping.replicating.copies.doubted
        await until(lambda: any(doubted(trio.current_time(), one.node) for one in crowd.all), 20_000.0)
        crowd.slow = set()
        await until(lambda: not any(doubted(trio.current_time(), one.node) for one in crowd.all), 20_000.0)
        assert all(me.scores.of(trio.current_time(), one.node) >= 0 for one in crowd.all)

    await crowd.run(test)


async def test_an_answer_that_is_none_is_a_fault_and_nothing_waits_for_it(crowd):
    async def test():
        bad = crowd.all[1].node
        crowd.bent = lambda node, method, payload, answer: b"\xff" * 7 if node == bad and answer else answer
        await crowd.all[4].keep(*BLOBS)
        crowd.name(crowd.all[4].node, *BLOBS)
        await until(lambda: crowd.placed(BLOBS), 120.0)
        asker = crowd.all[0]
        await until(lambda: bool(asker.link.faults), 400.0)
        assert asker.link.faults[0] == (bad, "providers")
        assert asker.scores.of(trio.current_time(), bad) <= FAULT / 2

    await crowd.run(test)


# -- providers --


async def test_a_cache_is_found_by_who_asks_an_owner_and_forgotten_when_it_let_go(crowd):
    async def test():
        await placed(crowd)
        cache = crowd.all[4]
        data = BLOBS[0]
        asker = next(one for one in crowd.all[:4] if one.node not in crowd.owners(data))
        owner = crowd.keepers[crowd.owners(data)[0]].keeping.providing
        late = files(1, seed=3)
        await cache.keep(*late)
        crowd.name(crowd.all[0].node, *late)
        await trio.sleep(2 * AGAIN_S)  # told with everything else, at the latest now
        found = await asker.keeping.providing.find(digest(data))
        assert cache.node in found
        assert cache.node in await asker.keeping.providing.find(digest(late[0]))
        assert set(found[:3]) == set(crowd.owners(data))
        crowd.down.add(cache.node)  # the dead are not named
        question = Who((digest(data),)).encode()
        (told,) = wire.decode_known(await owner.answer(asker.node, question), 1)
        assert told.providers == (cache.node,)  # a link that broke just now says little
        await trio.sleep(11)
        (told,) = wire.decode_known(await owner.answer(asker.node, question), 1)
        assert told.providers == ()
        assert not owner._dead(NodeId(b"x" * 32))  # of a stranger nothing is known, nor written down
        crowd.down.clear()
        (told,) = wire.decode_known(await owner.answer(asker.node, question), 1)
        assert told.providers == (cache.node,)
        await cache.blobs.unpin(digest(data), "build")
        assert await cache.blobs.evict(digest(data))
        await trio.sleep(70)
        assert cache.node not in await asker.keeping.providing.find(digest(data))

    await crowd.run(test)


async def test_the_dead_are_asked_last_and_who_did_not_have_it_not_again(crowd):
    async def test():
        await placed(crowd)
        data, asker = BLOBS[0], crowd.all[4]
        providing = asker.keeping.providing
        first = crowd.owners(data)[0]
        builder = NodeId(b"b" * 32)
        crowd.down.add(first)
        order = providing.sources(digest(data), [builder])
        assert order[-1] in (first, builder)
        assert order[0] in crowd.owners(data)
        owner = crowd.keepers[crowd.owners(data)[1]].keeping.providing
        liar = crowd.all[4].node
        owner.tracker.on_provide(trio.current_time(), liar, digest(data), 900)
        assert liar in owner.sources(digest(data))
        for one in BLOBS[:5]:
            owner.tracker.on_provide(trio.current_time(), liar, digest(one), 900)
            owner.nothing(liar, Manifest.of([one]).id)
        assert liar not in owner.sources(digest(data))
        owner.nothing(liar, bytes(32))  # nobody names it
        assert owner._scores.of(trio.current_time(), liar) < 0

    await crowd.run(test)


async def test_records_are_taken_of_named_blobs_that_are_ours_from_members_only(crowd):
    async def test():
        await placed(crowd)
        owner = crowd.keepers[crowd.owners(BLOBS[0])[0]].keeping.providing
        member = crowd.all[4].node
        with pytest.raises(Refusal) as refused:
            await owner.take(NodeId(b"guest" + bytes(27)), Provide((digest(BLOBS[0]),), 900).encode())
        assert refused.value.code == "forbidden"
        strangers = tuple(hashlib.sha256(b"%d" % at).digest() for at in range(100))
        await owner.take(member, Provide((digest(BLOBS[0]), *strangers), 900).encode())
        assert owner.tracker.of(trio.current_time(), digest(BLOBS[0])) == (member,)
        assert len(owner.tracker) == 1
        assert owner._scores.of(trio.current_time(), member) <= RATE / 2
        with pytest.raises(Malformed):
            await owner.take(member, b"garbage")

    await crowd.run(test)


async def test_floods_of_records_and_questions_cost_their_sender(crowd):
    async def test():
        owner = crowd.all[0].keeping.providing
        node = crowd.all[4].node
        for _ in range(TOLD_BURST.value + 100):
            await owner.take(node, Provide((bytes(32),), 0).encode())
        assert owner._scores.of(trio.current_time(), node) <= 90 * RATE
        assert "more records" in owner._scores.reason(node)

        async def flood():
            for _ in range(1_000):
                await owner.answer(node, Held((bytes(32),)).encode())

        with pytest.raises(Refusal) as refused:
            await flood()
        assert refused.value.code == "busy"

    await crowd.run(test)


async def test_who_has_much_to_ask_waits_its_turn_and_is_never_too_fast(crowd):
    async def test():
        await placed(crowd)
        asker, owner = crowd.all[4].keeping.providing.asking, crowd.all[0]
        before = trio.current_time()
        assert [await asker.sums(owner.node, (1,)) for _ in range(400)].count(None) == 0
        assert trio.current_time() - before > 5
        said = [await asker.who(owner.node, (digest(BLOBS[0]),)) for _ in range(300)]
        assert None in said  # a reader does not wait for it
        assert owner.scores.of(trio.current_time(), crowd.all[4].node) == 0

    await crowd.run(test)


async def test_questions_are_answered_about_what_the_log_names_and_nothing_else(crowd):
    async def test():
        await placed(crowd)
        owner = crowd.keepers[crowd.owners(BLOBS[0])[0]]
        secret = b"not in the log"
        await owner.keep(secret)
        answer = owner.keeping.providing.answer
        asked = (digest(BLOBS[0]), digest(secret), bytes(32))
        bits = wire.decode_bits(await answer(crowd.all[4].node, Held(asked).encode()), 3)
        assert bits == (True, False, False)
        known = wire.decode_known(await answer(crowd.all[4].node, Who(asked).encode()), 3)
        assert [one.here for one in known] == [True, False, False]
        sums = wire.decode_sums(await answer(crowd.all[4].node, Sums((0, 7)).encode()), 2)
        assert all(one.count <= len(BLOBS) for one in sums)
        for wrong in (b"", b"\x09\x00\x01", struct.pack(">BHH", 3, 1, 4_096)):
            with pytest.raises(Malformed):
                await answer(crowd.all[4].node, wrong)

    await crowd.run(test)


async def test_who_is_in_the_way_is_told_though_the_log_changes_the_owners_while_they_are_asked(crowd):
    """Asked were the owners of before; to look for those of after among the answers ended the node."""

    async def test():
        await placed(crowd)
        leaver = crowd.all[0]
        draining = leaver.keeping.draining
        data = next(data for data in BLOBS if leaver.has(data))
        before, asked = draining._owning.placement, []

        class Owning:
            node = leaver.node

            @property
            def placement(self):
                return Placement.of(tuple(one for one in before.members if one.node not in asked))

        async def held(node, blobs):
            asked.append(node)
            return [False] * len(blobs)

        draining._owning = Owning()
        draining._providing = SimpleNamespace(asking=SimpleNamespace(held=held))
        (told,) = await draining._why([(digest(data), len(data))])
        assert len(asked) == before.wanted
        assert told.why.count("does not have it yet") == len(asked)

    await crowd.run(test)


def test_a_storage_member_that_is_gone_is_told_once_by_its_name_and_told_again_when_it_is_back(caplog):
    caplog.set_level(logging.INFO, "pyrsia.storage")
    ann, bob = NodeId(b"a" * 32), NodeId(b"b" * 32)
    members = {ann, bob}
    one = SimpleNamespace(
        _told_dead=frozenset(),
        _called={ann: "amber", bob: "birch"}.__getitem__,
        _owning=SimpleNamespace(placement=members),
    )
    for dead in ({ann}, {ann}, {ann, bob}, {bob}, set(), {ann}):
        Replicating._tell(one, frozenset(dead))
    members.discard(ann)  # a motion took its role: it is not back
    Replicating._tell(one, frozenset())
    gone, back = "is gone: others keep what it kept", "is back: it keeps its own again"
    assert [record.getMessage() for record in caplog.records] == [
        f"storage member {what}"
        for what in (f"amber {gone}", f"birch {gone}", f"amber {back}", f"birch {back}", f"amber {gone}")
    ]


async def test_an_owners_answer_that_finds_a_bug_is_none_and_ends_no_node(crowd, caplog):
    async def test():
        one = crowd.all[0].keeping.replicating
        asking, failed = one.providing.asking, []

        async def fails(node, asked):
            failed.append(node)
            raise KeyError("a blob that was forgotten")

        one.providing.asking = SimpleNamespace(held=fails, sums=fails)
        silent = []
        one.repair.on_silent, one.copies.on_silent = silent.append, silent.append
        other = crowd.all[1].node
        async with trio.open_nursery() as nursery:
            await one._ask(other, (digest(b"x"),))
            await one._sums(nursery, other, (1,))
            nursery.cancel_scope.cancel()
        assert failed == silent == [other] * 2
        one.providing.asking = asking

    await crowd.run(test)
    lines = [record.getMessage() for record in caplog.records]
    assert lines.count("an owner's answer about copies is not read: a fault of ours") == 1
