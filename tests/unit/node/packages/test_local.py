"""Packages that are pushed to a node: what was acknowledged is there again, and nothing else stays."""

import errno
import hashlib
import shutil
import signal
import sys
from itertools import pairwise

import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pyrsia.config import LocalSection
from pyrsia.errors import Refusal
from pyrsia.node.packages import local
from pyrsia.node.packages.local import IDLE_S, KEY_CHARS, MORE_BYTES, OPEN_UPLOADS, PIECE_BYTES, LocalPackages
from pyrsia.store import journal as journal_file
from pyrsia.store import layout
from pyrsia.store import local as store_local
from pyrsia.store.local import ROWS, LocalStore
from pyrsia.store.rocks import Database
from pyrsia.units import Limit

PACKAGE = "pkg:maven/org.example/lib"
OTHER = "pkg:maven/org.example/lib2"
DATA = bytes(range(256)) * 3_000  # some pieces and a rest


class Shelf:
    """A shelf on a disk that can be opened again."""

    def __init__(self, folder, section=None):
        self.folder = folder
        self.section = section or LocalSection()
        self.database = None
        self.start()

    def start(self):
        self.database = Database.open(self.folder / "db")
        self.store = LocalStore(self.folder / "local", self.database)
        self.packages = LocalPackages(self.store, self.section, now_ms=lambda: 5)

    def stop(self):
        self.database.close()

    def again(self):
        self.stop()
        self.start()

    def lose(self):
        """As a start that set the database aside."""
        self.stop()
        shutil.rmtree(self.folder / "db")
        self.start()

    def files(self):
        """Names of all files below the folder of bytes; the journal aside."""
        found = (path for path in (self.folder / "local").rglob("*") if path.is_file())
        return sorted(path.name for path in found if path.name != ROWS)


@pytest.fixture
def shelf(tmp_path):
    made = Shelf(tmp_path)
    yield made
    made.stop()


async def push(shelf, key, data=DATA, package=PACKAGE, more=None):
    upload = await shelf.packages.open(package)
    for at in range(0, len(data), 100_000):
        await upload.write(data[at : at + 100_000])
    return await upload.keep(key, by="ci", more=more)


def sha256(data):
    return hashlib.sha256(data).hexdigest()


async def test_what_was_pushed_is_there_after_a_restart_with_all_that_was_said_of_it(shelf):
    row = await push(shelf, "1.0/lib-1.0.jar", more={"sha1": "ab"})
    shelf.again()

    assert (row.sha256, row.size, row.by, row.time_ms, row.more) == (
        sha256(DATA),
        len(DATA),
        "ci",
        5,
        {"sha1": "ab"},
    )
    assert shelf.packages.row(PACKAGE, "1.0/lib-1.0.jar") == row
    assert shelf.packages.path(row.sha256).read_bytes() == DATA
    assert shelf.packages.owns(PACKAGE)
    assert not shelf.packages.owns("pkg:maven/org.example")
    assert shelf.files() == [row.sha256]


async def test_an_acknowledged_push_survives_kill_9(tmp_path):
    program = """
import os, signal, sys, trio
from pathlib import Path
from tests.unit.node.packages.test_local import Shelf, push
async def main():
    shelf = Shelf(Path(sys.argv[1]))
    row = await push(shelf, "a")
    await (await shelf.packages.open("pkg:pypi/half")).write(b"x" * 300_000)
    print(row.sha256, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
trio.run(main)
"""
    ran = await trio.run_process(
        [sys.executable, "-c", program, str(tmp_path)], capture_stdout=True, check=False
    )

    assert ran.returncode == -signal.SIGKILL
    shelf = Shelf(tmp_path)
    assert shelf.packages.path(ran.stdout.decode().strip()).read_bytes() == DATA
    assert shelf.files() == [sha256(DATA)]  # the half one is nobody's
    assert not shelf.packages.owns("pkg:pypi/half")
    shelf.stop()


@pytest.mark.parametrize("algorithm", ["sha256", "sha512", "sha1", "md5"])
async def test_digests_are_those_of_what_was_written_so_far(shelf, algorithm):
    upload = await shelf.packages.open(PACKAGE)
    written = b""
    for piece in (b"", b"a", DATA, b"z" * PIECE_BYTES.value, b"end"):
        await upload.write(piece)
        written += piece
        assert upload.digest(algorithm) == hashlib.new(algorithm, written).hexdigest()
        assert upload.size == len(written)


@pytest.mark.parametrize(
    ("package", "known"),
    [
        ("pkg:docker/team/app", ["sha256", "sha512"]),
        ("pkg:pypi/acme", ["sha256", "md5"]),
        ("pkg:conan/zlib", ["sha256", "sha1", "md5"]),
    ],
)
async def test_each_ecosystem_has_the_digests_that_its_clients_compare(shelf, package, known):
    upload = await shelf.packages.open(package)
    await upload.write(b"bytes")
    for algorithm in known:
        assert upload.digest(algorithm) == hashlib.new(algorithm, b"bytes").hexdigest()


async def test_bytes_live_as_long_as_a_row_names_them(shelf):
    digest = (await push(shelf, "a")).sha256
    assert await shelf.packages.link(OTHER, "b", digest, by="ci") is not None
    assert shelf.store.used == len(DATA)

    assert await shelf.packages.delete(PACKAGE, "a")
    assert not await shelf.packages.delete(PACKAGE, "a")
    assert not shelf.packages.owns(PACKAGE)
    assert shelf.packages.path(digest).read_bytes() == DATA

    await push(shelf, "b", b"others", OTHER)
    assert shelf.packages.path(digest) is None
    assert shelf.files() == [sha256(b"others")]
    assert shelf.store.used == len(b"others")


async def test_pushing_the_same_again_changes_neither_counts_nor_bytes(shelf):
    for _ in range(3):
        await push(shelf, "a")
    assert shelf.store.used == len(DATA)
    assert shelf.store.packages == {PACKAGE: 1}
    assert await shelf.packages.delete(PACKAGE, "a")
    assert shelf.files() == []


async def test_nothing_is_linked_to_bytes_that_are_not_here(shelf):
    assert await shelf.packages.link(PACKAGE, "a", "ab" * 32, by="ci") is None
    assert await shelf.packages.link(PACKAGE, "a", "../../../etc/passwd", by="ci") is None
    assert shelf.packages.path("../../x") is None
    assert shelf.packages.path(sha256(b"").upper()) is None
    assert not shelf.packages.owns(PACKAGE)


async def test_packages_and_keys_do_not_run_into_each_other(shelf):
    for package, key in ((PACKAGE, "a/1"), (PACKAGE, "a/2"), (PACKAGE, "b"), (OTHER, "a/1"), (OTHER, "2")):
        await push(shelf, key, key.encode(), package)

    assert [row.key for row in shelf.packages.rows(PACKAGE)] == ["a/1", "a/2", "b"]
    assert [row.key for row in shelf.packages.rows(PACKAGE, "a/")] == ["a/1", "a/2"]
    assert [row.key for row in shelf.packages.rows(OTHER)] == ["2", "a/1"]
    assert list(shelf.packages.packages("pkg:maven/")) == [PACKAGE, OTHER]
    assert list(shelf.packages.packages("pkg:pypi/")) == []


async def test_of_many_rows_those_are_read_that_were_pushed_last(tmp_path):
    shelf, times = Shelf(tmp_path), iter(range(1, 100))
    shelf.packages = LocalPackages(shelf.store, LocalSection(), now_ms=lambda: next(times))
    for key in ("9/c", "1/a", "5/b", "7/d"):
        await push(shelf, key, key.encode())
    await push(shelf, "9/c", b"again")

    assert [row.key for row in shelf.packages.rows(PACKAGE, most=2)] == ["7/d", "9/c"]
    assert [row.key for row in shelf.packages.rows(PACKAGE, "5", most=2)] == ["5/b"]
    assert shelf.packages.rows(PACKAGE, most=4) == shelf.packages.rows(PACKAGE)
    assert shelf.packages.rows(PACKAGE, most=3)[0] == shelf.packages.row(PACKAGE, "5/b")
    shelf.stop()


async def test_each_change_has_a_revision_and_no_read_has(shelf):
    seen = [shelf.packages.revision()]
    await push(shelf, "a")
    seen.append(shelf.packages.revision())
    await shelf.packages.link(PACKAGE, "b", sha256(DATA), by="ci")
    seen.append(shelf.packages.revision())
    await shelf.packages.delete(PACKAGE, "a")
    seen.append(shelf.packages.revision())
    shelf.packages.rows(PACKAGE)
    assert len(set(seen)) == 4
    assert shelf.packages.revision() == seen[-1]


async def test_policy_is_asked_about_the_canonical_purl_of_what_was_pushed(shelf):
    asked = []
    assert shelf.packages.refusal(PACKAGE, "1.0") is None
    shelf.packages.judge = lambda purl: asked.append(purl)
    shelf.packages.refusal(PACKAGE, "1.0+a~b c")
    shelf.packages.refusal("pkg:docker/team/app", "sha256:" + "ab" * 32)
    assert asked == [f"{PACKAGE}@1.0%2Ba~b%20c", "pkg:docker/team/app@sha256:" + "ab" * 32]


# -- bounds --


async def refused(awaitable):
    with pytest.raises(Refusal) as caught:
        await awaitable
    return caught.value.code


async def test_one_file_too_large_is_refused_and_leaves_nothing(shelf, monkeypatch):
    monkeypatch.setattr(local, "_GB", 100_000)
    shelf.packages = LocalPackages(shelf.store, LocalSection(quota_gb=100, upload_gb=3))
    upload = await shelf.packages.open(PACKAGE)
    await upload.write(b"x" * 300_000)

    assert await refused(upload.write(b"x")) == "too-large"
    assert shelf.packages.upload(upload.id) is None
    assert shelf.files() == []


async def test_what_is_on_its_way_counts_against_the_quota_too(shelf, monkeypatch):
    monkeypatch.setattr(local, "_GB", 100_000)
    shelf.packages = LocalPackages(shelf.store, LocalSection(quota_gb=3, upload_gb=3))
    await push(shelf, "a", b"k" * 100_000)
    first = await shelf.packages.open(PACKAGE)
    await first.write(b"x" * 150_000)
    second = await shelf.packages.open(PACKAGE)

    assert await refused(second.write(b"y" * 60_000)) == "storage-full"
    first.drop()
    third = await shelf.packages.open(PACKAGE)
    await third.write(b"y" * 190_000)
    await third.keep("b", by="ci")
    assert shelf.store.used == 290_000


async def test_what_is_remembered_of_files_counts_against_the_quota_too(shelf, monkeypatch):
    monkeypatch.setattr(local, "_GB", 100_000)
    shelf.packages = LocalPackages(shelf.store, LocalSection(quota_gb=3, upload_gb=3))
    digest = (await push(shelf, "a", b"a")).sha256
    more = {"attestations": "x" * 40_000}
    for key in ("b", "c", "d", "c", "c", "c"):  # the same name again is no more
        await shelf.packages.link(PACKAGE, key, digest, by="ci", more=more)
    await shelf.packages.link(PACKAGE, "e", digest, by="ci", more=more)
    assert shelf.store.remembered > 300_000

    assert await refused(shelf.packages.link(PACKAGE, "f", digest, by="ci")) == "storage-full"
    assert await refused(push(shelf, "g", b"")) == "storage-full"
    await shelf.packages.delete(PACKAGE, "e")
    assert await shelf.packages.link(PACKAGE, "f", digest, by="ci") is not None


async def test_a_quota_of_zero_takes_nothing(tmp_path):
    shelf = Shelf(tmp_path, LocalSection(quota_gb=0))
    assert await refused(shelf.packages.open(PACKAGE)) == "denied"
    shelf.stop()


async def test_so_many_uploads_are_open_and_no_more_until_an_idle_hour_ends_them(autojump_clock, shelf):
    first = await shelf.packages.open(PACKAGE)
    await first.write(b"x" * PIECE_BYTES.value)
    for _ in range(OPEN_UPLOADS.value - 1):
        await shelf.packages.open(PACKAGE)
    assert await refused(shelf.packages.open(PACKAGE)) == "busy"

    await trio.sleep(IDLE_S.value - 1)
    assert shelf.packages.upload(first.id) is first
    await first.write(b"y")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(shelf.packages.run)
        await trio.sleep(IDLE_S.value - 1)
        assert shelf.packages.upload(first.id) is first  # it was written to
        assert len(shelf.packages._uploads) == 1
        await trio.sleep(100)
        nursery.cancel_scope.cancel()
    assert shelf.files() == []  # by itself, although nobody asked
    assert await refused(first.write(b"z")) == "conflict"


async def test_one_token_keeps_nobody_else_from_pushing(autojump_clock, shelf, monkeypatch):
    monkeypatch.setattr(local, "OPEN_UPLOADS", Limit(8, "a test"))
    monkeypatch.setattr(local, "SHARE", Limit(2, "a test"))
    held = []
    for number in range(8):  # alone, it may have them all
        held.append(await shelf.packages.open(f"pkg:pypi/p{number}", by="ci"))
        await trio.sleep(1)
    await held[0].write(b"x")
    assert await refused(shelf.packages.open(PACKAGE, by="ci")) == "busy"

    others = [await shelf.packages.open(PACKAGE, by="other") for _ in range(2)]
    assert await refused(shelf.packages.open(PACKAGE, by="other")) == "busy"
    assert [shelf.packages.upload(one.id) is not None for one in held[:4]] == [True, False, False, True]
    assert await refused(held[1].write(b"y")) == "conflict"
    await others[0].write(b"z")
    assert (await others[0].keep("a", by="other")).by == "other"
    assert all(shelf.packages.upload(one.id) is one for one in (held[0], *held[3:]))


async def test_who_has_a_share_and_no_more_gives_way_to_nobody(shelf, monkeypatch):
    monkeypatch.setattr(local, "OPEN_UPLOADS", Limit(8, "a test"))
    monkeypatch.setattr(local, "SHARE", Limit(2, "a test"))
    for by in "abcd" * 2:
        await shelf.packages.open(PACKAGE, by=by)
    assert await refused(shelf.packages.open(PACKAGE, by="e")) == "busy"


async def test_rows_of_a_package_and_packages_have_a_bound(shelf, monkeypatch):
    monkeypatch.setattr(local, "PACKAGE_ROWS", Limit(2, "a test"))
    monkeypatch.setattr(local, "PACKAGES", Limit(1, "a test"))
    await push(shelf, "a")
    await push(shelf, "b")

    assert await refused(push(shelf, "c")) == "too-large"
    assert await refused(shelf.packages.open(OTHER)) == "too-large"
    assert await refused(shelf.packages.link(PACKAGE, "c", sha256(DATA), by="ci")) == "too-large"
    assert [row.key for row in shelf.packages.rows(PACKAGE)] == ["a", "b"]


async def test_what_is_here_can_be_replaced_where_there_is_no_room_for_more(shelf, monkeypatch):
    monkeypatch.setattr(local, "PACKAGE_ROWS", Limit(2, "a test"))
    await push(shelf, "a")
    assert await refused(shelf.packages.open(PACKAGE, "a", "b", "c")) == "too-large"
    (await shelf.packages.open(PACKAGE, "a", "b")).drop()
    await push(shelf, "b")

    again = await shelf.packages.open(PACKAGE, "b", "a")
    await again.write(b"again")
    assert (await again.keep("b", by="ci")).sha256 == sha256(b"again")
    assert await shelf.packages.link(PACKAGE, "a", sha256(b"again"), by="ci") is not None
    assert await refused(shelf.packages.open(PACKAGE, "b", "c")) == "too-large"
    assert await refused(shelf.packages.open(PACKAGE)) == "too-large"


@pytest.mark.parametrize(
    ("key", "more", "code"),
    [
        ("a\0b", {}, "bad-request"),
        ("a" * (KEY_CHARS.value + 1), {}, "bad-request"),
        ("a", {"text": "x" * (MORE_BYTES.value + 1)}, "too-large"),
    ],
)
async def test_a_key_that_is_none_and_a_talkative_client_leave_nothing(shelf, key, more, code):
    assert await refused(push(shelf, key, more=more)) == code
    assert shelf.files() == []
    assert not shelf.packages.owns(PACKAGE)


async def test_an_upload_takes_one_writer_at_a_time_and_ends_once(shelf):
    upload = await shelf.packages.open(PACKAGE)
    codes = []

    async def write():
        try:
            await upload.write(DATA)
        except Refusal as refusal:
            codes.append(refusal.code)

    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(write)

    assert codes == ["conflict", "conflict"]
    assert (await upload.keep("a", by="ci")).sha256 == sha256(DATA)
    assert await refused(upload.keep("b", by="ci")) == "conflict"
    assert await refused(upload.write(b"x")) == "conflict"


async def test_a_cancelled_piece_does_not_end_an_upload(shelf):
    upload = await shelf.packages.open(PACKAGE)
    with trio.CancelScope() as scope:
        scope.cancel()
        await upload.write(b"a" * PIECE_BYTES.value)
    await upload.write(b"b")

    row = await upload.keep("a", by="ci")
    assert row.sha256 == sha256(b"a" * PIECE_BYTES.value + b"b")
    assert row.size == PIECE_BYTES.value + 1


# -- crashes --


async def test_a_start_removes_what_no_row_names_and_nothing_else(shelf):
    row = await push(shelf, "a")
    shelf.stop()
    stray = shelf.store.path(hashlib.sha256(b"stray").digest())
    stray.parent.mkdir(parents=True)
    stray.write_bytes(b"stray")
    (shelf.folder / "local" / "partial" / "half").write_bytes(b"half")
    shelf.start()

    assert shelf.files() == [row.sha256]
    assert shelf.packages.said == ""


async def test_pushed_packages_outlive_the_database_that_named_them(shelf):
    rows = [await push(shelf, "a", more={"sha1": "ab"}), await push(shelf, "b", b"b")]
    await push(shelf, "c", b"c")
    await shelf.packages.delete(PACKAGE, "c")
    shelf.lose()

    assert "2 names are known again" in shelf.packages.said
    assert list(shelf.packages.rows(PACKAGE)) == rows
    assert shelf.packages.path(rows[0].sha256).read_bytes() == DATA
    shelf.again()
    assert shelf.packages.said == ""
    assert list(shelf.packages.rows(PACKAGE)) == rows


async def test_a_file_that_was_damaged_with_the_database_gets_no_name_again(shelf):
    bad, good = await push(shelf, "a"), await push(shelf, "b", b"b")
    shelf.packages.path(bad.sha256).write_bytes(b"rotten")
    shelf.lose()

    assert "1 names are known again; the files of 1 are damaged or gone" in shelf.packages.said
    assert list(shelf.packages.rows(PACKAGE)) == [good]
    assert shelf.files() == [good.sha256]


async def test_a_damaged_or_torn_line_of_the_journal_costs_its_own_row_alone(shelf):
    first, second = await push(shelf, "a"), await push(shelf, "b", b"b")
    journal = shelf.folder / "local" / "rows"
    lines = journal.read_bytes()
    journal.write_bytes(lines.replace(b'"a"', b'"x"') + b"\n12345678 [torn")
    third = await push(shelf, "c", b"c")
    shelf.lose()

    assert list(shelf.packages.rows(PACKAGE)) == [second, third]
    assert first.sha256 not in shelf.files()


async def test_a_journal_that_is_mostly_history_is_written_anew(shelf, monkeypatch):
    monkeypatch.setattr(journal_file, "HISTORY_LINES", Limit(3, "a test"))
    for _ in range(9):
        await push(shelf, "a", b"a")
    journal = shelf.folder / "local" / "rows"
    assert journal.read_bytes().count(b"\n") == 9
    shelf.again()
    assert journal.read_bytes().count(b"\n") == 1
    shelf.lose()
    assert [row.key for row in shelf.packages.rows(PACKAGE)] == ["a"]


async def test_a_journal_is_written_anew_while_the_node_runs_too(shelf, monkeypatch):
    monkeypatch.setattr(journal_file, "HISTORY_BYTES", Limit(20_000, "a test"))
    monkeypatch.setattr(store_local, "SCAN_ROWS", Limit(2, "pieces of two rows"))
    journal, sizes = shelf.folder / "local" / "rows", []
    for number in range(60):
        await push(shelf, f"k{number % 5}", b"%d" % number, more={"said": "x" * 1_000})
        sizes.append(journal.stat().st_size)
    await shelf.packages.delete(PACKAGE, "k4")

    assert max(sizes) < 2 * 6_500 + 20_000 + 1_300  # what five rows take, and history within its bounds
    assert sum(after < before for before, after in pairwise(sizes)) >= 2
    rows = list(shelf.packages.rows(PACKAGE))
    shelf.lose()
    assert list(shelf.packages.rows(PACKAGE)) == rows
    assert len(rows) == 4
    assert shelf.store.remembered == remembered(shelf)


@pytest.mark.parametrize("step", ["add", "into_place"])
async def test_a_journal_that_cannot_be_written_anew_stays_and_keeps_the_push(shelf, monkeypatch, step):
    monkeypatch.setattr(journal_file, "HISTORY_BYTES", Limit(300, "a test"))
    tried = []

    def full(*_):
        tried.append(1)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(journal_file.Anew, step, full)
    rows = [await push(shelf, key, key.encode()) for key in "abcdefgh"]
    assert 1 <= len(tried) < 4  # not at every push
    assert not (shelf.folder / "local" / "rows.new").exists()
    shelf.lose()
    assert list(shelf.packages.rows(PACKAGE)) == rows


async def test_files_that_nothing_names_any_more_are_kept_aside(tmp_path):
    shelf = Shelf(tmp_path)
    row = await push(shelf, "a")
    (tmp_path / "local" / "rows").unlink()
    shelf.lose()

    assert not shelf.packages.owns(PACKAGE)
    assert "local.aside-1" in shelf.packages.said
    assert [path.name for path in (tmp_path / "local.aside-1").glob("*/*/*")] == [row.sha256]
    shelf.again()
    assert shelf.packages.said == ""
    shelf.stop()


async def test_a_database_of_before_gets_the_new_families(tmp_path, monkeypatch):
    new = (layout.LOCAL, layout.LOCAL_BYTES, layout.TOKENS)
    with monkeypatch.context() as before:
        before.setattr(layout, "FAMILIES", tuple(one for one in layout.FAMILIES if one not in new))
        Database.open(tmp_path / "db").close()

    shelf = Shelf(tmp_path)
    assert (await push(shelf, "a")).sha256 == sha256(DATA)
    shelf.stop()


def remembered(shelf):
    """Twice what the database holds of rows: they stand in the journal too."""
    found = shelf.database.scan(layout.LOCAL, b"", 1_000)
    return 2 * sum(len(key) + len(raw) for key, raw in found)


KEYS = st.sampled_from(["a", "b", "c"])
BYTES = st.sampled_from([b"", b"one", b"two"])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("push"), st.sampled_from([PACKAGE, OTHER]), KEYS, BYTES),
        st.tuples(st.just("link"), st.sampled_from([PACKAGE, OTHER]), KEYS, BYTES),
        st.tuples(st.just("delete"), st.sampled_from([PACKAGE, OTHER]), KEYS, BYTES),
        st.tuples(st.sampled_from(["restart", "lose"]), st.just(""), st.just(""), st.just(b"")),
    ),
    max_size=10,
)


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
async def test_after_any_steps_the_shelf_is_what_a_dict_would_be(tmp_path_factory, steps):
    shelf, rows = Shelf(tmp_path_factory.mktemp("shelf")), {}
    for step, package, key, data in steps:
        if step == "push":
            await push(shelf, key, data, package)
            rows[package, key] = data
        elif step == "link":
            linked = await shelf.packages.link(package, key, sha256(data), by="ci")
            assert (linked is not None) == (data in rows.values())
            if linked is not None:
                rows[package, key] = data
        elif step == "delete":
            assert await shelf.packages.delete(package, key) == (rows.pop((package, key), None) is not None)
        elif step == "restart":
            shelf.again()
        else:
            shelf.lose()

        assert {(p, r.key): r.sha256 for p in (PACKAGE, OTHER) for r in shelf.packages.rows(p)} == {
            place: sha256(held) for place, held in rows.items()
        }
        assert shelf.files() == sorted({sha256(held) for held in rows.values()})
        assert shelf.store.used == sum(map(len, set(rows.values())))
        assert shelf.store.remembered == remembered(shelf)
    shelf.stop()
