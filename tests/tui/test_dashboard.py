"""The dashboard shows snapshots, survives an absent node, and prints the same as text."""

import httpx
import msgspec
import pytest
from textual.widgets import Static

from pyrsia.status import (
    AgreementStatus,
    BuildStatus,
    EntryStatus,
    LogStatus,
    NodeStatus,
    PeerStatus,
    Snapshot,
    TransferStatus,
    decode,
    encode,
)
from pyrsia.wire.text import safe
from pyrsia_tui import view
from pyrsia_tui.app import Dashboard, Rows
from pyrsia_tui.feed import MAX_SNAPSHOT_BYTES, Away, Feed
from tests.reference.fakenode import FakeNode


@pytest.fixture(autouse=True)
def only_when_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine takes more than a second for a screen: the next answer of a script would be shown already."""
    monkeypatch.setattr("pyrsia_tui.app.REFRESH_S", 3_600.0)


def snapshot(size: int = 41, *, cosigned: int = 3, name: str = "fern") -> Snapshot:
    log = LogStatus(size, "ab" * 32, 12, 14, 1_764_000_000_000, size, 1_764_000_000, cosigned, 4)
    node = NodeStatus(
        "a" * 52, name, "follower", "demo.example", True, "0.1.0", 5.0, "namespace", log, 4, 4,
        (), TransferStatus(), "http://127.0.0.1:1", (),
        AgreementStatus(2, 15, "votes", "amber", 4, 3, 1),
    )  # fmt: skip
    peer = PeerStatus(
        "b" * 52, "amber", "validator", "tcp://127.0.0.1:1", True, 1.25, 2_000, 3_000_000, state="alive",
        received_rate=2_500, score=-40.0, reason="sent a wrong chunk", version="0.1.0", log_size=41,
    )  # fmt: skip
    build = BuildStatus("c" * 64, "pkg:pypi/idna@3.10", "revealing", "", ("b",), ("b",), ())
    return Snapshot(node, (peer,), (build,), (EntryStatus(40, "build.commit", "commit by amber"),))


class Scripted:
    """A source that plays a list of snapshots and absences."""

    target = "scripted"

    def __init__(self, *script: Snapshot | Away) -> None:
        self.script = list(script)

    async def snapshot(self) -> Snapshot:
        answer = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        if isinstance(answer, Away):
            raise answer
        return answer

    async def close(self) -> None:
        return None


async def test_the_screen_shows_log_peers_builds_and_entries():
    app = Dashboard(Scripted(snapshot()))
    async with app.run_test(size=(140, 40)) as pilot:
        await pilot.pause()

        assert "fern (follower aaaaaaaa)" in str(app.query_one("#headline", Static).render())
        log = str(app.query_one("#log", Static).render())
        assert "41 entries" in log
        assert "epoch 2: 3 of 4 validators decide, 1 of them convicted of a lie" in log
        assert "this node votes, amber leads view 15" in log
        assert plain(app, "#peers")[:5] == ["amber", "alive", "1.2 ms", "-40", "2.5 kB"]
        assert plain(app, "#peers")[6:] == ["validator", "41", "0.1.0", "sent a wrong chunk", "bbbbbbbb"]
        assert plain(app, "#builds")[:2] == ["pkg:pypi/idna@3.10", "revealing"]
        assert plain(app, "#entries")[0] == "40"


def test_peers_that_want_a_look_stand_above_the_others():
    one = snapshot().peers[0]
    peers = tuple(
        msgspec.structs.replace(one, name=name, state=state, ignored=ignored, leaving=name == "f")
        for name, state, ignored in (
            ("a", "alive", False), ("b", "dead", False), ("c", "alive", True), ("d", "suspect", False),
            ("e", "left", False), ("f", "alive", False),
        )
    )  # fmt: skip
    rows = view.peer_rows(msgspec.structs.replace(snapshot(), peers=peers))
    assert [row[0] for row in rows] == ["c", "d", "b", "f", "a", "e"]
    assert rows[3][1] == "leaving"
    assert rows[0][3] == "-40 ignored"


async def test_a_narrow_screen_has_name_state_and_round_trip_of_a_peer():
    app = Dashboard(Scripted(snapshot()))
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.pause()
        shown = "\n".join(
            "".join(segment.text for segment in line) for line in app.screen._compositor.render_strips()
        )
        assert all(text in shown for text in ("amber", "alive", "1.2 ms"))


async def test_an_alarm_is_shown_above_what_can_wait():
    good = snapshot()
    told = ("a setting is not used", "ALARM: birch signed two statements that exclude each other in epoch 1")
    app = Dashboard(
        Scripted(msgspec.structs.replace(good, node=msgspec.structs.replace(good.node, notices=told)))
    )
    async with app.run_test(size=(140, 40)) as pilot:
        await pilot.pause()

        log = str(app.query_one("#log", Static).render())
        assert log.index("! ALARM: birch") < log.index("! a setting")


def plain(app, table, row=0):
    """A row as it is shown: markup that was read as markup is gone from it."""
    return [cell.plain for cell in app.query_one(table, Rows).get_row_at(row)]


@pytest.mark.parametrize(
    "evil", ["[/x] [red]", "[red]gone", "a\\[/b]\\", "[@click=app.quit]x[/]", "x\x1b[2J\n\u202e"]
)
async def test_a_strangers_text_is_shown_as_it_is_and_is_never_markup(evil):
    good = snapshot()
    node = msgspec.structs.replace(good.node, name=evil, network=evil, notices=(evil,), role=evil)
    shown = Snapshot(
        node,
        (msgspec.structs.replace(good.peers[0], name=evil, state=evil, role=evil, reason=evil),),
        (msgspec.structs.replace(good.builds[0], purl=evil, state=evil, verdict=evil, note=evil),),
        (EntryStatus(40, evil, evil),),
    )
    app = Dashboard(Scripted(shown, Away(evil)))
    async with app.run_test(size=(200, 50)) as pilot:
        await pilot.pause()

        told = safe(evil)
        assert [plain(app, "#peers")[at] for at in (0, 1, 6, 9)] == [told] * 4
        assert plain(app, "#builds")[:3] == [told, told, told]
        assert plain(app, "#builds")[-1] == told
        assert plain(app, "#entries") == ["40", told, told]
        assert f"! {told}" in str(app.query_one("#log", Static).render())
        assert f"{told} ({told} aaaaaaaa) of {told}" in str(app.query_one("#headline", Static).render())

        await pilot.press("r")
        await pilot.pause()
        assert told in str(app.query_one("#headline", Static).render())
        assert app.is_running


def test_the_text_picture_neutralises_every_text_of_a_node():
    evil = "a\x1b[2J\r\u202e"
    fields = {
        kind: {name: evil for name, value in msgspec.structs.asdict(good).items() if isinstance(value, str)}
        for kind, good in (
            ("node", snapshot().node), ("peer", snapshot().peers[0]), ("build", snapshot().builds[0]),
            ("entry", snapshot().entries[0]), ("log", snapshot().node.log),
        )
    }  # fmt: skip
    good = snapshot()
    text = view.as_text(
        Snapshot(
            msgspec.structs.replace(
                good.node,
                **fields["node"],
                notices=(evil,),
                log=msgspec.structs.replace(good.node.log, **fields["log"]),
            ),
            (msgspec.structs.replace(good.peers[0], **fields["peer"]),),
            (msgspec.structs.replace(good.builds[0], **fields["build"]),),
            (msgspec.structs.replace(good.entries[0], **fields["entry"]),),
        ),
        width=400,
    )

    assert "a\\x1b[2J" in text
    assert set(text) & set("\x1b\r\u202e") == set()


async def test_an_absent_node_is_said_and_its_return_is_shown():
    app = Dashboard(Scripted(Away("no node answers"), snapshot()))
    async with app.run_test(size=(140, 40)) as pilot:
        await pilot.pause()
        headline = app.query_one("#headline", Static)
        assert "no node answers" in str(headline.render())
        assert headline.has_class("-away")

        await pilot.press("r")
        await pilot.pause()

        assert not headline.has_class("-away")
        assert "fern" in str(headline.render())


async def test_a_log_that_nobody_cosigned_is_marked():
    app = Dashboard(Scripted(snapshot(cosigned=0)))
    async with app.run_test(size=(140, 40)) as pilot:
        await pilot.pause()

        assert app.query_one("#log", Static).has_class("-uncosigned")


async def test_q_ends_the_dashboard():
    app = Dashboard(Scripted(snapshot()))
    async with app.run_test() as pilot:
        await pilot.press("q")

    assert app.return_code == 0


def test_the_text_picture_holds_the_same_facts():
    text = view.as_text(snapshot(), width=120)

    for fact in ("fern (follower aaaaaaaa)", "41 entries", "amber", "pkg:pypi/idna@3.10", "build.commit"):
        assert fact in text
    assert max(len(line) for line in text.splitlines()) <= 120


def test_a_strangers_name_cannot_move_the_cursor():
    text = view.as_text(snapshot(name="evil\x1b[2J\u202e"))

    assert "\x1b" not in text
    assert "\u202e" not in text


def test_a_snapshot_survives_its_codec():
    assert decode(encode(snapshot())) == snapshot()


async def test_no_node_at_the_address_is_away_and_not_an_exception(tmp_path):
    feed = Feed(str(tmp_path))
    try:
        with pytest.raises(Away, match="no node answers"):
            await feed.snapshot()
    finally:
        await feed.close()


async def asked(node):
    feed = Feed(node.url)
    try:
        return await feed.snapshot()
    finally:
        await feed.close()


async def test_a_nodes_snapshot_comes_over_http():
    with FakeNode({"/api/v1/snapshot": (200, encode(snapshot()))}) as node:
        assert await asked(node) == snapshot()


async def test_an_endless_answer_is_cut_while_it_comes(monkeypatch):
    read = []
    plain = httpx.Response.aiter_bytes

    async def counted(self, *arguments):
        async for part in plain(self, *arguments):
            read.append(len(part))
            yield part

    monkeypatch.setattr(httpx.Response, "aiter_bytes", counted)
    with FakeNode({"/api/v1/snapshot": (200, b" " * (MAX_SNAPSHOT_BYTES.value * 2))}) as node:
        with pytest.raises(Away, match=f"longer than {MAX_SNAPSHOT_BYTES.value} bytes"):
            await asked(node)
    assert MAX_SNAPSHOT_BYTES.value < sum(read) < MAX_SNAPSHOT_BYTES.value * 1.5


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"\xff", b"[" * 200_000])
async def test_an_answer_that_is_no_snapshot_is_an_absence(body):
    with FakeNode({"/api/v1/snapshot": (200, body)}) as node:
        with pytest.raises(Away, match="not a snapshot"):
            await asked(node)


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 B"), (999, "999 B"), (1_500, "1.5 kB"), (3_000_000, "3.0 MB")]
)
def test_amounts_are_short(count, text):
    assert view.amount(count) == text
