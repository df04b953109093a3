"""Counts of downloads: exact, kept over a restart, and never more rows than the log has files."""

from collections import Counter

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from pyrsia.errors import Unavailable
from pyrsia.node.packages import downloads as module
from pyrsia.node.packages.downloads import Downloads
from pyrsia.store import layout
from pyrsia.store.rocks import Database
from pyrsia.units import Limit

FILES = [f"{i:064x}" for i in range(1, 6)]


@pytest.fixture
def database(tmp_path):
    opened = Database.open(tmp_path / "db")
    yield opened
    opened.close()


def counts(database, named=lambda sha256: True):
    return Downloads(database, named)


@settings(max_examples=20, deadline=None)
@given(steps=st.lists(st.one_of(st.sampled_from(FILES), st.sampled_from(["write", "restart"])), max_size=40))
def test_whatever_happens_between_each_download_counts_once(tmp_path_factory, steps):
    database = Database.open(tmp_path_factory.mktemp("counts") / "db")
    try:
        kept, told = counts(database), Counter()
        for step in steps:
            if step == "write":
                kept.write()
            elif step == "restart":
                kept.write()
                kept = counts(database)
            else:
                kept.given(step)
                told[step] += 1
        assert {one: kept.of(one) for one in FILES} == {one: told[one] for one in FILES}
    finally:
        database.close()


def test_what_was_not_written_goes_with_a_crash_and_nothing_before_it(database):
    kept = counts(database)
    kept.given(FILES[0])
    kept.write()
    kept.given(FILES[0])

    assert (kept.of(FILES[0]), counts(database).of(FILES[0])) == (2, 1)


@pytest.mark.parametrize("text", ["", "x", "0" * 63, "0" * 65, "G" * 64, "of-" + "0" * 61, "\u0660" * 64])
def test_what_is_no_digest_of_a_file_of_the_log_takes_no_room(database, text):
    asked = []
    kept = counts(database, lambda sha256: bool(asked.append(sha256)))
    kept.given(text)
    kept.given("0" * 64)
    kept.write()

    assert asked == ["0" * 64]
    assert database.scan(layout.DOWNLOADS, b"", 9) == []


def test_rows_have_an_end_and_files_that_have_one_go_on_counting(database, monkeypatch):
    monkeypatch.setattr(module, "MAX_COUNTED", Limit(2, "for this test"))
    kept = counts(database)
    for one in (*FILES, *FILES):
        kept.given(one)
        kept.write()

    assert [kept.of(one) for one in FILES] == [2, 2, 0, 0, 0]
    assert kept.full
    assert counts(database).full


def test_a_burst_of_files_is_written_when_it_is_too_large_to_be_remembered(database, monkeypatch):
    monkeypatch.setattr(module, "MAX_UNWRITTEN", Limit(2, "for this test"))
    kept = counts(database)
    for one in FILES:
        kept.given(one)

    assert [counts(database).of(one) for one in FILES] == [1, 1, 1, 1, 0]


def test_a_disk_that_takes_nothing_costs_counts_at_most(database, monkeypatch):
    def full(batch):
        raise Unavailable("no space left")

    kept, real = counts(database), database.write
    kept.given(FILES[0])
    monkeypatch.setattr(database, "write", full)
    kept.write()
    monkeypatch.setattr(module, "MAX_UNWRITTEN", Limit(2, "for this test"))
    assert kept.of(FILES[0]) == 1
    for one in FILES:  # more than is remembered: the oldest go
        kept.given(one)
    monkeypatch.setattr(database, "write", real)
    kept.write()
    assert 0 < sum(counts(database).of(one) for one in FILES) <= 6
    assert counts(database)._rows == sum(counts(database).of(one) > 0 for one in FILES)


def test_it_writes_every_minute_and_when_the_node_stops(database):
    async def scenario():
        kept = counts(database)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(kept.run)
            kept.given(FILES[0])
            await trio.sleep(module.EVERY_S.value + 1)
            assert counts(database).of(FILES[0]) == 1
            kept.given(FILES[1])
            nursery.cancel_scope.cancel()
        assert counts(database).of(FILES[1]) == 1

    trio.run(scenario, clock=MockClock(autojump_threshold=0))
