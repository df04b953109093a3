"""Unverified copies: what is kept, what goes first, what a crash leaves."""

import hashlib
import sqlite3
from contextlib import nullcontext, suppress

import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pyrsia.errors import Refusal, Unavailable
from pyrsia.store import proxied
from pyrsia.store.proxied import Copies, Copy
from pyrsia.units import Limit

PACKAGE = "pkg:pypi/six"


class Clock:
    """Milliseconds that a test moves."""

    def __init__(self):
        self.ms = 1_000_000

    def __call__(self):
        return self.ms


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def copies(tmp_path, clock):
    found = Copies(tmp_path / "proxied", quota=100, clock_ms=clock)
    yield found
    found.close()


async def keep(copies, path, data, **more):
    room = await copies.room(len(data))
    room.path.write_bytes(data)
    sha256 = hashlib.sha256(data).hexdigest()
    return await room.keep(Copy(PACKAGE, path, more.pop("variant", ""), sha256, len(data), **more))


def again(copies, tmp_path, clock, quota=100):
    copies.close()
    return Copies(tmp_path / "proxied", quota=quota, clock_ms=clock)


def on_disk(tmp_path):
    return sorted(file.name for file in (tmp_path / "proxied").glob("??/*"))


async def test_a_copy_is_found_with_all_that_was_said_of_it_also_after_a_start(copies, tmp_path, clock):
    path = await keep(
        copies, "six/", b"page", kind="text/html", etag='"1"', checked_ms=5, url="https://i/six/"
    )
    copies = again(copies, tmp_path, clock)

    found = copies.find(PACKAGE, "six/")
    copies.close()

    assert path.read_bytes() == b"page"
    assert (found.kind, found.etag, found.checked_ms, found.url) == ("text/html", '"1"', 5, "https://i/six/")
    assert copies.used == 4
    assert copies.said == ""


async def test_what_depends_on_more_than_the_path_is_kept_side_by_side(copies):
    await keep(copies, "six/", b"html", variant="text/html")
    await keep(copies, "six/", b"json", variant="json")

    assert copies.find(PACKAGE, "six/", "json").sha256 == hashlib.sha256(b"json").hexdigest()
    assert copies.find(PACKAGE, "six/") is None
    assert len(copies.variants(PACKAGE, "six/")) == 2


async def test_the_same_bytes_take_their_room_once(copies):
    await keep(copies, "a", b"x" * 40)
    await keep(copies, "b", b"x" * 40)

    assert copies.used == 40
    assert copies.rows == 2
    assert copies.find(PACKAGE, "a").sha256 == copies.find(PACKAGE, "b").sha256


async def test_what_was_not_asked_for_longest_goes_first(copies, tmp_path, clock):
    for name in "abc":
        await keep(copies, name, name.encode() * 30)
        clock.ms += 1_000
    clock.ms += 100_000
    copies.find(PACKAGE, "a")
    clock.ms += 100_000
    await keep(copies, "d", b"d" * 30)

    assert copies.find(PACKAGE, "b") is None
    assert [copies.find(PACKAGE, name) is not None for name in "acd"] == [True, True, True]
    assert copies.used == 90
    assert copies.evicted == 1
    assert hashlib.sha256(b"b" * 30).hexdigest() not in on_disk(tmp_path)


async def test_what_somebody_holds_or_was_just_told_of_stays(copies, clock):
    await keep(copies, "held", b"h" * 50)
    await keep(copies, "told", b"t" * 50)
    held = copies.find(PACKAGE, "held").sha256
    copies.hold(held)
    clock.ms += 100_000
    copies.find(PACKAGE, "told")

    with pytest.raises(Refusal) as caught:
        await copies.room(10)
    clock.ms += 100_000
    (await copies.room(10)).drop()

    assert caught.value.code == "busy"
    assert caught.value.retry_s == 60
    assert copies.path(held).read_bytes() == b"h" * 50
    assert copies.find(PACKAGE, "told") is None
    copies.let_go(held)
    clock.ms += 100_000
    (await copies.room(60)).drop()
    assert copies.find(PACKAGE, "held") is None


async def test_what_is_on_its_way_counts_and_is_given_back(copies):
    first = await copies.room(60)
    with pytest.raises(Refusal) as caught:
        await copies.room(60)
    first.path.write_bytes(b"half")
    first.drop()
    first.drop()
    second = await copies.room(60)
    await second.grow(40)
    with pytest.raises(Refusal) as large:
        await second.grow(1)

    assert caught.value.code == "busy"
    assert large.value.code == "too-large"
    assert "101 bytes" in large.value.what
    assert not first.path.exists()


async def test_rows_are_bounded_as_bytes_are(copies, clock, monkeypatch):
    monkeypatch.setattr(proxied, "MAX_COPIES", Limit(3, "a test"))
    for number in range(5):
        await keep(copies, str(number), b"%d" % number)
        clock.ms += 61_000

    assert [copies.find(PACKAGE, str(number)) is not None for number in range(5)] == [False] * 2 + [True] * 3
    assert copies.rows == 3


async def test_a_disk_that_is_nearly_full_takes_nothing(copies, monkeypatch):
    monkeypatch.setattr(proxied, "SPARE_BYTES", Limit(1 << 60, "a test"))

    with pytest.raises(Unavailable, match="would be free"):
        await copies.room(10)
    monkeypatch.undo()
    (await copies.room(100)).drop()


async def test_a_row_can_be_renewed_and_dropped(copies):
    await keep(copies, "a", b"aaa", checked_ms=1)
    row = copies.find(PACKAGE, "a")
    await copies.note(Copy(PACKAGE, "a", "", row.sha256, 3, checked_ms=9))
    await copies.note(Copy(PACKAGE, "z", "", "00" * 32, 3))

    assert copies.find(PACKAGE, "a").checked_ms == 9
    assert copies.find(PACKAGE, "z") is None
    await copies.forget(PACKAGE, "a")
    assert copies.find(PACKAGE, "a") is None
    assert copies.rows == 0
    assert copies.size(row.sha256) == 3


async def test_a_start_puts_right_what_a_crash_left(copies, tmp_path, clock):
    """Rows without a file, files without a row, files of another length, halves."""
    for name in ("kept", "lost", "short"):
        await keep(copies, name, name.encode() * 2)
    paths = {name: copies.path(copies.find(PACKAGE, name).sha256) for name in ("kept", "lost", "short")}
    half = (await copies.room(10)).path
    half.write_bytes(b"half")
    copies.close()
    paths["lost"].unlink()
    paths["short"].write_bytes(b"s")
    stray = tmp_path / "proxied" / "ab" / ("ab" * 32)
    stray.parent.mkdir(exist_ok=True)
    stray.write_bytes(b"stray")
    copies = Copies(tmp_path / "proxied", quota=100, clock_ms=clock)

    assert on_disk(tmp_path) == [paths["kept"].name]
    assert copies.find(PACKAGE, "kept") is not None
    assert copies.find(PACKAGE, "lost") is None
    assert copies.find(PACKAGE, "short") is None
    assert (copies.used, copies.rows) == (8, 1)
    assert not half.exists()
    copies.close()


@pytest.mark.parametrize("damage", ["noise", "another form"])
async def test_a_damaged_index_is_begun_anew_and_said(copies, tmp_path, clock, damage):
    await keep(copies, "a", b"aaa")
    copies.close()
    index = tmp_path / "proxied" / "index.sqlite"
    if damage == "noise":
        index.write_bytes(b"\xff" * 8_192)
    else:
        with sqlite3.connect(index) as database:
            database.execute("PRAGMA user_version = 7")
        database.close()
    copies = Copies(tmp_path / "proxied", quota=100, clock_ms=clock)

    assert "damaged" in copies.said
    assert on_disk(tmp_path) == []
    assert await keep(copies, "b", b"bbb")
    assert copies.used == 3
    copies.close()


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    steps=st.lists(
        st.tuples(st.sampled_from(["keep", "find", "hold", "free", "restart"]), st.integers(0, 9)),
        max_size=25,
    )
)
def test_the_index_names_no_missing_file_and_the_quota_holds(tmp_path_factory, steps):
    """Whatever comes in which order, with a clock that makes everything old at once."""

    async def run():
        folder = tmp_path_factory.mktemp("any")
        clock, held = Clock(), []
        copies = Copies(folder / "proxied", quota=100, clock_ms=clock)
        for step, number in steps:
            clock.ms += 61_000
            name, data = str(number), bytes([number]) * (number * 7 + 1)
            match step:
                case "keep":
                    with suppress(Refusal) if held else nullcontext():
                        await keep(copies, name, data)
                case "find":
                    found = copies.find(PACKAGE, name)
                    assert found is None or copies.path(found.sha256).read_bytes() == data
                case "hold":
                    found = copies.find(PACKAGE, name)
                    if found is not None:
                        copies.hold(found.sha256)
                        held.append(found.sha256)
                case "free" if held:
                    copies.let_go(held.pop())
                case "restart":
                    copies.close()
                    copies, held = Copies(folder / "proxied", quota=100, clock_ms=clock), []
            assert copies.used <= 100
            assert copies.used == sum(file.stat().st_size for file in (folder / "proxied").glob("??/*"))
            assert all(copies.path(one).exists() for one in held)
        copies.close()

    trio.run(run)
