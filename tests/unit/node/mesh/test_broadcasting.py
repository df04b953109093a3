"""Broadcasts between nodes over real sockets: loss, restarts, readers, and peers that answer with anything."""

import random

import pytest
import trio
import trio.testing

from pyrsia.errors import Refusal
from pyrsia.mesh import pulling, scores
from pyrsia.net.broadcasting import Air
from pyrsia.node.clock import wall_ms
from pyrsia.node.kinds import Method
from pyrsia.node.mesh import hearing
from pyrsia.node.mesh.broadcasting import FULL_BYTES
from pyrsia.node.mesh.hearing import MAX_HEARD, Heard
from pyrsia.node.mesh.numbers import BLOCK, Numbers
from pyrsia.serve.desks.messages import HeardPage, HeardStatus
from pyrsia.store import layout
from pyrsia.store.rocks import Database
from pyrsia.units import Limit
from pyrsia.wire import envelopes, gossip
from pyrsia.wire.envelopes import EVERYBODY, Envelope, Kind
from tests.reference.waiting import bounded, until
from tests.unit.node.mesh.talkers import CHAIN, NAMES, PAIRS, town


@pytest.fixture
def often(monkeypatch):
    """Gaps are looked for ten times a second."""
    monkeypatch.setattr(pulling, "EVERY_MS", Limit(100, "a test waits for it"))
    monkeypatch.setattr(pulling, "JITTER_MS", Limit(100, "a test waits for it"))


async def test_with_a_fifth_of_all_frames_lost_and_half_the_nodes_restarting_every_live_node_hears_all(
    often, monkeypatch
):
    draw, lost = random.Random(7), []
    take = Air._take

    async def lossy(air, node, sock):
        heard = air._on_frame

        def maybe(peer, data):
            if draw.random() < 0.2:
                lost.append(data)
            else:
                heard(peer, data)

        air._on_frame = maybe
        try:
            await take(air, node, sock)
        finally:
            air._on_frame = heard

    monkeypatch.setattr(Air, "_take", lossy)
    names = NAMES[:6]
    async with town(None, *names) as made:
        await made.joined(*names)
        said = []
        for number, name in enumerate(names[:3]):
            await made.stop(name)
            for speaker in names[3:]:
                said.append(f"{number} {speaker}")
                await made.talkers[speaker].desk.broadcast("news/", said[-1])
            await made.start(name)
            made.join(*[other for other in names if other != name], name)
        for speaker in names:
            said.append(f"last {speaker}")
            await made.talkers[speaker].desk.broadcast("news/", said[-1])
        await until(lambda: all(set(node.texts) >= set(said) for node in made.talkers.values()))
        assert all(sorted(node.texts) == sorted(said) for node in made.talkers.values())
        assert lost
        assert not [
            node.book.reason(other.id)
            for node in made.talkers.values()
            for other in (made.fay,)
            if node.book.reason(other.id)
        ]


async def test_who_says_something_is_told_to_how_many_it_goes():
    async with town(None, "ann", "bob") as made:
        said = await made.ann.desk.broadcast("news/", "to myself")
        assert (said.topic, said.text, said.linked) == ("news/", "to myself", 0)
        await made.joined("ann", "bob")
        assert (await made.ann.desk.broadcast("news/", "to bob")).linked == 1


async def test_who_says_something_is_named_by_the_log_and_a_guest_by_nobody(often):
    async with town(None, "ann", "bob", members=("ann",)) as made:
        await made.joined("ann", "bob")
        await made.ann.desk.broadcast("news/", "from ann")
        await made.bob.desk.broadcast("news/", "from bob")
        await until(lambda: len(made.ann.texts) == len(made.bob.texts) == 2)
        page = await made.bob.desk.heard("", 0, 100, 0)
        assert {(row.name, row.text) for row in page.messages} == {("ann", "from ann"), ("", "from bob")}


async def test_a_reader_waits_for_the_next_one_of_his_topic_and_one_that_restarts_hears_the_old(often):
    async with town(None, "ann", "bob") as made:
        await made.joined("ann", "bob")
        await made.ann.desk.broadcast("other/", "not for him")
        await until(lambda: made.bob.texts)
        pages = []

        async def read():
            pages.append(await made.bob.desk.heard("news/", made.bob.casts.heard.number, 100, 20))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(read)
            await made.ann.desk.broadcast("other/", "nor this")
            await until(lambda: len(made.bob.texts) == 2)
            await made.ann.desk.broadcast("news/", "this")
        assert [[row.text for row in page.messages] for page in pages] == [["this"]]
        await made.stop("bob")
        await made.start("bob")
        made.join("ann", "bob")
        await until(lambda: len(made.bob.texts) == 3)


async def test_what_is_not_ours_to_say_is_refused_here():
    async with town(None, "ann") as made:
        for topic, text, code in (("News", "x", "bad-request"), ("news/", "x" * 5_000, "too-large")):
            with pytest.raises(Refusal) as refused:
                await made.ann.desk.broadcast(topic, text)
            assert refused.value.code == code
        assert made.ann.texts == []


async def test_a_vector_that_is_none_is_refused_and_counts_as_a_fault():
    async with town(None, "ann", "bob") as made:
        await made.joined("ann", "bob")
        for garbage in (b"", b"\xff\xff", bytes(300_000)):
            with pytest.raises(Refusal) as refused:
                await made.bob.links.request(made.ann.id, Method.BROADCASTS, garbage, 10)
            assert refused.value.code == "bad-request"
        assert made.ann.links.counted["bad-vector"] == 3
        assert made.ann.links.connected(made.bob.id)


@pytest.mark.parametrize("answer", [b"\x00", b"\x00\x05hello", bytes(gossip.MAX_ANSWER_BYTES.value + 1)])
async def test_a_peer_that_answers_with_garbage_loses_points_with_a_reason_and_is_not_listened_to_in_the_end(
    often, answer
):
    async def lie(node, payload):
        return answer

    async with town(None, "ann", "bob") as made:
        made.bob.links._more[Method.BROADCASTS] = lie
        await made.joined("ann", "bob")
        await until(lambda: made.ann.book.ignored(trio.current_time(), made.bob.id))
        assert "answer" in made.ann.book.reason(made.bob.id)
        await until(lambda: made.bob.id not in made.ann.casts.air.following)
        assert made.ann.texts == []


async def test_a_full_answer_without_news_is_asked_for_no_sooner_than_anything_else():
    async with town(None, "ann", "bob") as made:
        now_ms, casts = wall_ms(), made.ann.casts
        pair = PAIRS[NAMES.index("bob")]
        soon = []
        casts._pulls.on_full = lambda now, node: soon.append(node)

        def full(expires_ms, sign):
            raws = []
            for seq in range(60):
                one = Envelope(
                    Kind.BROADCAST, CHAIN, made.bob.id, EVERYBODY, seq, expires_ms, "news/", bytes(4_090)
                )
                raws.append(envelopes.encode(one, sign(envelopes.to_sign(one))))
            answer = gossip.encode_answer(raws)
            assert FULL_BYTES <= len(answer) <= gossip.MAX_ANSWER_BYTES.value
            return answer

        for junk in (full(now_ms - 1, lambda _: bytes(64)), full(0, lambda _: bytes(64))):
            await casts._pulled(made.bob.id, {}, junk)
        assert soon == []
        await casts._pulled(made.bob.id, {}, full(now_ms + 60_000, pair.sign))
        assert soon == [made.bob.id]


async def test_what_a_followed_peer_publishes_that_is_no_broadcast_costs_points_and_then_the_ear(often):
    async with town(None, "ann", "bob") as made:
        await made.joined("ann", "bob")
        await until(lambda: made.bob.id in made.ann.casts.air.following)
        with bounded(20):
            while not made.ann.book.ignored(trio.current_time(), made.bob.id):
                made.bob.links.publisher.send_now([b"news/" + bytes(100)])
                await trio.sleep(0.01)
        assert made.ann.book.of(trio.current_time(), made.bob.id) <= scores.IGNORED
        await until(lambda: made.bob.id not in made.ann.casts.air.following)
        assert made.ann.links.connected(made.bob.id), "agreement is not judged by a score"


async def test_numbers_grow_over_a_restart_and_over_a_lost_database(tmp_path):
    now = 1_000
    database = Database.open(tmp_path / "one")
    numbers = Numbers(database, b"k", lambda: now)
    first = [await numbers.next() for _ in range(3)]
    assert await numbers.next(5_000) == 5_000
    database.close()

    database = Database.open(tmp_path / "one")
    again = Numbers(database, b"k", lambda: 0)  # and a clock that was set back
    second = await again.next()
    database.close()

    database = Database.open(tmp_path / "empty")
    third = await Numbers(database, b"k", lambda: 2_000_000).next()
    taken = layout.read_number(database.get(layout.MISC, b"k"))
    database.close()
    assert first == [1_000, 1_001, 1_002]
    assert 5_000 < second <= 5_000 + BLOCK
    assert (third, taken) == (2_000_000, 2_000_000 + BLOCK)


async def test_two_that_take_a_number_at_once_get_two(tmp_path):
    database = Database.open(tmp_path / "one")
    numbers, got = Numbers(database, b"k", lambda: 0), []

    async def take():
        got.append(await numbers.next())

    async with trio.open_nursery() as nursery:
        for _ in range(20):
            nursery.start_soon(take)
    database.close()
    assert sorted(got) == list(range(20))


def row(number, text="x", topic="news/"):
    return HeardStatus(number, topic, "a" * 52, "ann", text, 0, 0)


async def test_a_reader_slower_than_the_ring_is_told_how_many_he_missed_and_makes_nobody_wait():
    heard = Heard()
    for number in range(1, MAX_HEARD.value + 51):
        heard.add(row(number))
    page = await heard.after("", 10, 100, 0)
    assert (page.lost, page.messages[0].number, len(page.messages)) == (40, 51, 100)
    page = await heard.after("", page.next, 100, 0)
    assert (page.lost, page.messages[0].number) == (0, 151)


async def test_large_texts_push_out_more_of_the_ring_and_a_cursor_of_another_life_begins_anew():
    heard = Heard()
    for number in range(1, 3_001):
        heard.add(row(number, "x" * 4_000))
    assert len(heard._rows) <= (4 << 20) // 4_000
    page = await heard.after("", 10**9, 5, 0)
    assert (page.lost, len(page.messages)) == (3_000 - len(heard._rows), 5)
    assert (await heard.after("none/", 0, 5, 0)).next == 3_000


async def test_a_reader_whose_topic_is_silent_waits_no_longer_than_he_said(autojump_clock):
    heard = Heard()
    began = trio.current_time()
    page = await heard.after("news/", 0, 5, 25)
    assert (page.messages, trio.current_time() - began) == ((), 25)


async def test_a_broadcast_wakes_those_who_wait_for_its_topic_once_and_all_get_one_page(
    autojump_clock, monkeypatch
):
    monkeypatch.setattr(hearing, "MAX_WOKEN", Limit(30, "a test waits for them"))
    heard, pages, looked = Heard(), [], []
    real = heard._page
    monkeypatch.setattr(heard, "_page", lambda *asked: looked.append(asked) or real(*asked))
    for number in range(1, 101):
        heard.add(row(number))

    async def wait(topic, after):
        pages.append((topic, await heard.after(topic, after, 500, 25), trio.current_time()))

    async with trio.open_nursery() as nursery:
        for _ in range(10):
            nursery.start_soon(wait, "news/", 100)
            nursery.start_soon(wait, "none/", 50)
            nursery.start_soon(wait, "", 100)
        await trio.testing.wait_all_tasks_blocked()
        began = trio.current_time()
        nursery.start_soon(wait, "news/", 100)  # one more than may be woken: he looks by himself
        await trio.testing.wait_all_tasks_blocked()
        looked.clear()
        heard.add(row(101, "first"))
        await trio.testing.wait_all_tasks_blocked()
        assert (len(pages), looked) == (20, [])
        assert len({id(page) for _, page, _ in pages}) == 1
        page = pages[0][1]
        assert ([one.text for one in page.messages], page.next, page.lost) == (["first"], 101, 0)
    late = [(page, at_s - began) for topic, page, at_s in pages[20:] if topic == "news/"]
    assert late == [(page, hearing.LATE_S)]
    silent = [(page, at_s - began) for topic, page, at_s in pages[20:] if topic == "none/"]
    assert silent == [(HeardPage((), 101, 0), 25)] * 10
    assert (heard._waiting, heard._readers) == ({}, 0)


async def test_a_reader_of_an_earlier_life_of_the_node_is_shown_all_of_this_one():
    heard = Heard(1_000)
    for number in range(1_001, 1_016):
        heard.add(row(number, f"new {number}"))
    for after in (990, 5_000):  # also where the clock went back
        page = await heard.after("", after, 500, 0)
        assert ([one.number for one in page.messages], page.lost) == (list(range(1_001, 1_016)), 0)
    for number in range(1_016, 1_001 + MAX_HEARD.value + 7):
        heard.add(row(number))
    assert (await heard.after("", 990, 500, 0)).lost == 7
    assert (await heard.after("", 0, 500, 0)).lost == 0


async def test_numbers_of_a_later_life_are_above_all_of_the_earlier_one():
    async with town(None, "ann") as made:
        await made.ann.desk.broadcast("news/", "before")
        seen = (await made.ann.desk.heard("", 0, 100, 0)).next
        await made.stop("ann")
        await made.start("ann")
        for _ in range(5):
            await made.ann.desk.broadcast("news/", "after")
        page = await made.ann.desk.heard("", seen, 100, 0)
        assert ([one.text for one in page.messages], page.lost) == (["after"] * 5, 0)


async def test_a_bug_that_an_answer_of_a_peer_finds_ends_one_question_and_no_node(caplog):
    async with town(None, "ann", "bob") as made:
        failed, good = [], made.ann.casts.core.on_answer

        def fails(*given):
            failed.append(given)
            made.ann.casts.core.on_answer = good
            raise KeyError("an origin that was forgotten")

        made.ann.casts.core.on_answer = fails
        await made.joined("ann", "bob")
        await until(lambda: failed)
        said = await made.bob.desk.broadcast("news/", "hello")
        await until(lambda: made.ann.casts.heard.number > 0 and heard_by(made.ann, said))
    lines = [one.getMessage() for one in caplog.records]
    assert lines.count("broadcasts are not asked for: a fault of ours") == 1


async def test_a_bug_that_a_published_frame_finds_ends_no_node(caplog):
    async with town(None, "ann", "bob") as made:
        good = made.ann.casts.core.on_frame

        def fails(*given):
            made.ann.casts.core.on_frame = good
            raise KeyError("an origin that was forgotten")

        await made.joined("ann", "bob")
        made.ann.casts.core.on_frame = fails
        made.ann.casts.air._on_frame(made.bob.id, b"news/")
        said = await made.bob.desk.broadcast("news/", "hello")
        await until(lambda: heard_by(made.ann, said))
    lines = [one.getMessage() for one in caplog.records]
    assert lines.count("a broadcast is not heard: a fault of ours") == 1


def heard_by(node, said):
    return any(row.text == said.text for row in node.casts.heard._rows)
