"""A node as a witness: what is on disk before it answers, what survives a crash, what stays bounded."""

import errno
import shutil
import signal
import subprocess
import sys

import msgspec
import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from pyrsia import keys
from pyrsia.config import WitnessSection
from pyrsia.errors import Malformed, Refusal, Unavailable
from pyrsia.log import note
from pyrsia.log.note import SignedNote
from pyrsia.log.witness import MAX_LOGS, origin_hash
from pyrsia.node.witness import marks
from pyrsia.node.witness.witnessing import FEW_KEYS, GROWTHS, MAX_EVIDENCE, WAITING, open_witnessing
from pyrsia.store import layout
from pyrsia.store.rocks import Batch, Database
from tests.reference.garbage import collected
from tests.reference.toylog import ORIGIN, ToyLog
from tests.reference.waiting import bounded

LOG = ToyLog()
HASH = origin_hash(ORIGIN)


class Node:
    """A data directory with a database, and the witness that is opened on it."""

    def __init__(self, folder, *logs, name="witness.example/1"):
        self.folder = folder
        (folder / "keys").mkdir(exist_ok=True)
        self.settings = WitnessSection(name=name, logs=logs or (str(LOG.vkeys[0]),))
        self.now_s = 1_800_000_000
        self.open()

    def open(self):
        self.database = Database.open(self.folder / "db")
        self.notices = []
        self.witness = open_witnessing(
            self.folder / "keys",
            self.settings,
            self.database,
            clock=lambda: self.now_s,
            notices=self.notices,
        )

    def restart(self):
        self.database.close()
        self.open()

    async def tell(self, *arguments, **changes):
        return await self.witness.add_checkpoint(LOG.request(*arguments, **changes).encode())

    async def refused(self, *arguments, **changes):
        with pytest.raises(Refusal) as caught:
            await self.tell(*arguments, **changes)
        return caught.value.answer.http

    def time_of(self, line, size):
        """The cosignature's time, once its signature held."""
        parsed = note.SignatureLine.parse(line)
        return note.verify_line(LOG.note(size).text, parsed, self.witness.verifier, keys.verify).time_s


@pytest.fixture
def node(tmp_path):
    made = Node(tmp_path)
    yield made
    made.database.close()


async def test_a_whole_conversation(node):
    assert node.witness.checkpoint(HASH) is None
    line = await node.tell(0, 5)
    assert node.time_of(line, 5) == node.now_s
    assert await node.tell(0, 9) == 5
    node.now_s += 3
    assert node.time_of(await node.tell(5, 9), 9) == node.now_s
    node.now_s += 3
    assert node.time_of(await node.tell(9, 9), 9) == node.now_s
    assert await node.refused(9, 12, proof=[]) == 422
    assert await node.refused(9, 9, fork=2) == 422
    assert await node.refused(9, 7, proof=[]) == 400
    assert await node.tell(7, 8) == 9
    served = SignedNote.parse(node.witness.checkpoint(HASH))
    signers = note.verify_note(served, [*LOG.vkeys, node.witness.verifier], keys.verify)
    assert [one.time_s for one in signers] == [None, node.now_s]
    assert served.text == LOG.note(9).text


async def test_who_is_no_log_of_ours_changes_nothing(node):
    stranger, other = ToyLog(seed=200), ToyLog("other.example")
    for log, code in ((stranger, 403), (other, 404)):
        with pytest.raises(Refusal) as caught:
            await node.witness.add_checkpoint(log.request(0, 5).encode())
        assert caught.value.answer.http == code
    for body in (b"", b"junk", bytes(10_000_000)):
        with pytest.raises(Refusal) as caught:
            await node.witness.add_checkpoint(body)
        assert caught.value.answer.http == 400
    assert [key for key, _ in node.database.scan(layout.MISC, b"", 10)] == [b"witness/key"]


async def test_nothing_is_answered_before_it_is_on_disk(node, monkeypatch):
    gate, sync, told = trio.Event(), node.database.sync, []

    async def slow():
        await gate.wait()
        await sync()

    monkeypatch.setattr(node.database, "sync", slow)

    async def ask():
        told.append(await node.tell(0, 5))

    with bounded():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            await trio.testing.wait_all_tasks_blocked()
            assert told == []
            gate.set()
    assert len(told) == 1
    assert node.witness.checkpoint(HASH) is not None


async def test_a_crash_between_disk_and_answer_never_leads_to_a_smaller_cosignature(node, monkeypatch):
    """The client is gone when the answer would be sent; the next start knows what was signed."""
    await node.tell(0, 5)

    async def gone():
        node.database.flush()
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(node.database, "sync", gone)
        with pytest.raises(KeyboardInterrupt):
            await node.tell(5, 9)
    node.restart()
    assert await node.tell(5, 7) == 9
    assert await node.refused(9, 7, proof=[]) == 400
    assert await node.refused(9, 9, fork=7) == 422
    assert node.time_of(await node.tell(9, 9), 9) == node.now_s


DYING = """
import os, signal, sys, trio
from pathlib import Path
from pyrsia.store.rocks import Database
from tests.unit.node.witness.test_witnessing import Node

async def main():
    node = Node(Path(sys.argv[1]))
    await node.tell(0, 5)
    flush = node.database.flush
    def die():
        if sys.argv[2] == "after":
            flush()
        os.kill(os.getpid(), signal.SIGKILL)
    node.database.flush = die
    print(await node.tell(5, 9))

trio.run(main)
"""


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_kill_at_the_sync_leaves_a_witness_that_goes_on_from_what_it_may_have_said(tmp_path, when):
    done = await trio.run_process(
        [sys.executable, "-c", DYING, str(tmp_path), when],
        check=False,
        capture_stdout=True,
        stderr=subprocess.STDOUT,
    )
    assert (done.returncode, done.stdout) == (-signal.SIGKILL, b"")  # and nothing was answered

    node = Node(tmp_path)
    known = await node.tell(0, 12)
    assert known == 9 if when == "after" else known in (5, 9)
    assert node.witness.stopped == ""
    assert isinstance(await node.tell(known, 12), bytes)
    node.database.close()


@pytest.mark.parametrize("broken", ["write", "sync", "flush"])
async def test_a_database_that_fails_signs_nothing(node, monkeypatch, broken):
    await node.tell(0, 5)

    def fail(*_):
        raise Unavailable("the disk is full")

    async def fail_later(*_):
        raise Unavailable("the disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(node.database, broken, fail_later if broken == "sync" else fail)
        with pytest.raises(Unavailable):
            await node.tell(5, 9)
        if broken != "write":
            # It is visible, and not durable: given again it must not be, either.
            with pytest.raises(Unavailable):
                await node.tell(9, 9)
    # Whatever of it reached the disk, the next answer follows from that.
    known = await node.tell(0, 9)
    assert known == (5 if broken == "write" else 9)
    node.now_s += 1
    assert node.time_of(await node.tell(known, 9), 9) == node.now_s
    node.restart()
    assert await node.tell(0, 9) == 9


async def test_of_two_requests_at_once_one_is_told_the_other_s_size(node):
    """Check and write are one step: else the second would roll the first one back (tlog-witness)."""
    await node.tell(0, 5)
    told = {}

    async def ask(size):
        told[size] = await node.tell(5, size)

    with bounded():
        async with trio.open_nursery() as nursery:
            for size in (9, 7, 12):
                nursery.start_soon(ask, size)
    first = next(size for size, answer in told.items() if isinstance(answer, bytes))
    assert [answer for size, answer in told.items() if size != first] == [first, first]
    assert (await node.tell(0, 12)) == first


async def test_who_waits_is_bounded(node, monkeypatch):
    gate, sync = trio.Event(), node.database.sync
    answers = []

    async def slow():
        await gate.wait()
        await sync()

    monkeypatch.setattr(node.database, "sync", slow)

    async def ask():
        try:
            await node.tell(0, 5)
            answers.append(200)
        except Refusal as refusal:
            answers.append(refusal.answer.http)

    with bounded():
        async with trio.open_nursery() as nursery:
            for _ in range(WAITING.value + 4):
                nursery.start_soon(ask)
            await trio.testing.wait_all_tasks_blocked()
            assert answers == [429] * 3
            gate.set()


async def test_a_log_gets_so_many_cosignatures_in_a_second(node):
    for size in range(1, GROWTHS.value + 1):
        await node.tell(size - 1, size)
    assert await node.refused(GROWTHS.value, GROWTHS.value + 1) == 429
    for _ in range(50):  # asking again costs nothing and writes nothing
        await node.tell(GROWTHS.value, GROWTHS.value)
    node.now_s += 1
    assert isinstance(await node.tell(GROWTHS.value, GROWTHS.value + 1), bytes)


# -- evidence --


async def test_a_fork_is_kept_and_alarms_now_and_after_every_start(node):
    await node.tell(0, 5)
    assert node.notices == []
    for _ in range(2):
        assert await node.refused(5, 5, fork=2) == 422
    assert len(node.notices) == 1
    assert node.notices[0].startswith("ALARM: the log toy.example/log signed two tree heads")
    origin, (row,) = node.witness.evidence(HASH)
    assert (origin, row.kind, row.time_s) == (ORIGIN, "fork", node.now_s)
    kept, told = SignedNote.parse(row.kept.encode()), SignedNote.parse(row.told.encode())
    assert (kept.text, told) == (LOG.note(5).text, LOG.note(5, fork=2))
    for one in (kept, told):
        assert note.verify_note(one, LOG.vkeys, keys.verify)
    node.restart()
    assert len(node.notices) == 1
    assert node.witness.watched()[0].evidence == 1


async def test_a_smaller_head_and_a_bad_proof_are_kept_and_alarm_nobody(node):
    await node.tell(0, 5)
    assert await node.refused(5, 3, proof=[]) == 400
    assert await node.refused(5, 9, fork=1) == 422
    assert sorted(row.kind for row in node.witness.evidence(HASH)[1]) == ["proof", "shrink"]
    node.restart()
    assert node.notices == []


async def test_a_stranger_who_replays_the_log_s_old_checkpoints_leaves_no_mark(node):
    await node.tell(0, 3)
    await node.tell(3, 5)
    assert await node.refused(5, 3, proof=[]) == 400  # tlog-witness: the old size is above the checkpoint's
    assert await node.tell(0, 3) == 5  # 409 with the size, which is how a feeder that lags learns it
    assert (node.notices, node.witness.evidence(HASH)[1]) == ([], [])


async def test_evidence_is_bounded_and_one_kind_crowds_out_no_other(node):
    await node.tell(0, 5)
    for size in range(6, 6 + MAX_EVIDENCE.value + 5):
        assert await node.refused(5, size, fork=1) == 422
    assert await node.refused(5, 5, fork=1) == 422
    kinds = [row.kind for row in node.witness.evidence(HASH)[1]]
    assert (kinds.count("proof"), kinds.count("fork")) == (MAX_EVIDENCE.value, 1)


async def test_a_log_of_many_keys_is_checked_beside_the_loop(tmp_path):
    log = ToyLog("many.example", signers=FEW_KEYS.value + 1)
    node = Node(tmp_path, " ".join(["3", *(str(vkey) for vkey in log.vkeys)]))
    assert isinstance(await node.witness.add_checkpoint(log.request(0, 5).encode()), bytes)
    with pytest.raises(Refusal):
        await node.witness.add_checkpoint(log.request(5, 5, fork=1).encode())
    assert node.witness.watched()[0].evidence == 1
    node.database.close()


# -- the key --


async def test_the_key_is_made_at_first_use_and_stays(tmp_path):
    node = Node(tmp_path, name="")
    first = node.witness.verifier
    assert first.name.startswith("pyrsia.witness/")
    assert (tmp_path / "keys" / "witness.key").stat().st_mode & 0o777 == 0o600
    node.restart()
    assert node.witness.verifier == first
    node.database.close()


async def test_without_a_log_to_watch_there_is_no_witness_and_no_key(tmp_path):
    database = Database.open(tmp_path / "db")
    (tmp_path / "keys").mkdir()
    made = open_witnessing(tmp_path / "keys", WitnessSection(), database, clock=lambda: 0, notices=[])
    assert made is None
    assert list((tmp_path / "keys").iterdir()) == []
    database.close()


async def test_a_key_whose_memory_is_gone_cosigns_no_more(node):
    """The database was set aside: what this key signed is not known, so it must not sign again."""
    await node.tell(0, 9)
    node.database.close()
    (node.folder / "db").rename(node.folder / "db.damaged-1")
    node.open()
    assert await node.refused(0, 5) == 503
    assert "cosigns no more" in node.notices[0]
    assert node.witness.stopped
    (node.folder / "keys" / "witness.key").unlink()
    node.restart()
    assert isinstance(await node.tell(0, 5), bytes)


# -- the mark beside the key --


def put_back(folder, saved):
    shutil.rmtree(folder / "db")
    shutil.copytree(saved, folder / "db")


async def test_a_database_that_is_behind_what_was_cosigned_signs_nothing_for_that_log(tmp_path):
    """The database of yesterday beside the key of today would cosign a fork of what it cosigned since."""
    other = ToyLog("other.example", seed=60)
    node = Node(tmp_path, str(LOG.vkeys[0]), str(other.vkeys[0]))
    await node.tell(0, 5)
    await node.witness.add_checkpoint(other.request(0, 4).encode())
    node.database.close()
    shutil.copytree(tmp_path / "db", tmp_path / "saved")
    node.open()
    await node.tell(5, 9)
    node.database.close()
    put_back(tmp_path, tmp_path / "saved")
    for _ in range(2):  # now, and after every start
        node.open()
        assert node.witness.watched()[0].size == 5  # it really forgot
        for request in (LOG.request(5, 9), LOG.request(5, 9, fork=5), LOG.request(5, 5), LOG.request(9, 12)):
            with pytest.raises(Refusal, match="cosigned here no more") as caught:
                await node.witness.add_checkpoint(request.encode())
            assert caught.value.answer.http == 503
        (notice,) = node.notices
        assert "cosigned size 9" in notice
        assert "knows size 5" in notice
        assert [one.stopped for one in node.witness.watched()] == [notice, ""]
        assert node.witness.stopped == ""
        node.database.close()
    node.open()
    assert isinstance(await node.witness.add_checkpoint(other.request(4, 6).encode()), bytes)

    (tmp_path / "keys" / "witness.key").unlink()
    node.restart()
    assert node.notices == []  # what an earlier key said binds no new one
    assert isinstance(await node.tell(5, 7), bytes)
    node.database.close()


@pytest.mark.parametrize("found", ["another root", "nothing"])
async def test_a_database_with_another_root_or_without_the_log_is_behind_too(node, found):
    await node.tell(0, 5)
    ((key, raw),) = node.database.scan(layout.MISC, b"witness/log/", 1)
    state = {**msgspec.msgpack.decode(raw), "root": bytes(32)}
    batch = Batch().delete(layout.MISC, key)
    node.database.write(
        batch if found == "nothing" else Batch().put(layout.MISC, key, msgspec.msgpack.encode(state))
    )
    node.restart()
    assert await node.refused(0 if found == "nothing" else 5, 9) == 503
    assert len(node.notices) == 1


@pytest.mark.parametrize("left", [0, 20], ids=["gone", "torn"])
async def test_a_synced_end_of_the_databases_own_log_that_is_lost_is_noticed(tmp_path, left):
    """RocksDB cuts it off without a word, as if it had never been synced."""
    (tmp_path / "a").mkdir()
    node = Node(tmp_path / "a")
    await node.tell(0, 5)
    before = {path.name: path.stat().st_size for path in (tmp_path / "a" / "db").glob("*.log")}
    await node.tell(5, 9)
    shutil.copytree(
        tmp_path / "a", tmp_path / "b"
    )  # as a power cut leaves it: everything in the log is synced
    node.database.close()
    (wal,) = [
        path for path in (tmp_path / "b" / "db").glob("*.log") if path.stat().st_size > before[path.name]
    ]
    wal.write_bytes(wal.read_bytes()[: before[wal.name] + left])
    again = Node(tmp_path / "b")
    assert again.witness.watched()[0].size == 5
    assert await again.refused(5, 9, fork=5) == 503
    again.database.close()


async def test_a_kill_between_the_sync_and_the_mark_stops_nothing(node, monkeypatch):
    await node.tell(0, 5)

    def die(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(marks.Marks, "keep", die)
        with pytest.raises(KeyboardInterrupt):
            await node.tell(5, 9)
    node.restart()
    assert node.notices == []
    mark = node.folder / "keys" / marks.FOLDER / HASH
    assert marks.Mark.parse(mark.read_bytes()).size == 5
    assert isinstance(await node.tell(9, 9), bytes)  # the line of then, and only now it is said
    assert marks.Mark.parse(mark.read_bytes()).size == 9


async def test_without_its_mark_on_disk_no_line_is_sent_until_the_next_start(node, monkeypatch):
    await node.tell(0, 5)

    def full(*_):
        raise OSError(errno.ENOSPC, "no space")

    with monkeypatch.context() as patched:
        patched.setattr(marks, "write_whole", full)
        with pytest.raises(Unavailable, match="no space"):
            await node.tell(5, 9)
    with pytest.raises(Unavailable, match="no space"):  # a yes after a no proves nothing
        await node.tell(9, 9)
    node.restart()
    assert isinstance(await node.tell(9, 9), bytes)


async def test_a_mark_is_written_once_a_growth_and_not_for_a_newer_time(node, monkeypatch):
    written = []
    monkeypatch.setattr(
        marks, "write_whole", lambda path, data, mode: written.append((path.name, data, mode))
    )
    await node.tell(0, 5)
    for _ in range(3):
        node.now_s += 1
        await node.tell(5, 5)
    await node.tell(5, 9)
    key = node.witness.verifier.public
    assert written == [(HASH, marks.Mark(key, size, LOG.root(size)).encode(), 0o600) for size in (5, 9)]


async def test_a_mark_that_is_damaged_stops_its_log(node):
    await node.tell(0, 5)
    path = node.folder / "keys" / marks.FOLDER / HASH
    whole = path.read_bytes()
    for raw in (b"", whole[:-1], whole + b"\n", whole.replace(b"\n5\n", b"\n05\n"), whole + bytes(1000)):
        path.write_bytes(raw)
        node.restart()
        assert await node.refused(5, 9) == 503
        assert "damaged" in node.notices[0]
    path.write_bytes(whole)
    node.restart()
    assert isinstance(await node.tell(5, 9), bytes)


@given(st.binary(min_size=32, max_size=32), st.integers(0, 2**53 - 1), st.binary(min_size=32, max_size=32))
def test_a_mark_reads_back_and_nothing_else_is_one(key, size, root):
    mark = marks.Mark(key, size, root)
    assert marks.Mark.parse(mark.encode()) == mark


@given(st.binary(max_size=200) | st.text("0123456789abcdefABCDEF\n", max_size=200).map(str.encode))
def test_what_is_no_mark_is_refused_in_our_words(raw):
    try:
        mark = marks.Mark.parse(raw)
    except Malformed:
        return
    assert mark.encode() == raw


async def test_a_crash_while_the_key_is_made_leaves_no_key_without_memory(tmp_path, monkeypatch):
    def crash(*_):
        raise KeyboardInterrupt

    # The database of the crashed process is closed by its end; here its lock goes with the object.
    with collected(), monkeypatch.context() as patched:
        patched.setattr(keys, "keep_key", crash)
        with pytest.raises(KeyboardInterrupt):
            Node(tmp_path)
    node = Node(tmp_path)
    assert node.witness.stopped == ""
    assert isinstance(await node.tell(0, 5), bytes)
    node.database.close()


@pytest.mark.parametrize(
    ("section", "word"),
    [
        (WitnessSection(logs=("junk",)), "witness.logs"),
        (WitnessSection(logs=(str(LOG.vkeys[0]), str(ToyLog(seed=7).vkeys[0]))), "one origin"),
        (WitnessSection(logs=(str(LOG.vkeys[0]),), name="two words"), "witness.name"),
        (WitnessSection(logs=(str(LOG.vkeys[0]),), name="a+b"), "witness.name"),
        (
            WitnessSection(
                logs=tuple(str(ToyLog(f"l{i}.example").vkeys[0]) for i in range(MAX_LOGS.value + 1))
            ),
            "more than",
        ),
    ],
)
async def test_a_configuration_that_makes_no_witness_is_refused_before_anything_is_served(
    tmp_path, section, word
):
    database = Database.open(tmp_path / "db")
    (tmp_path / "keys").mkdir()
    with pytest.raises(Refusal, match=word) as caught:
        open_witnessing(tmp_path / "keys", section, database, clock=lambda: 0, notices=[])
    assert caught.value.code == "config-invalid"
    database.close()


async def test_many_logs_are_kept_apart(tmp_path):
    logs = [ToyLog(f"log-{i}.example", seed=30 + i) for i in range(5)]
    node = Node(tmp_path, *(str(log.vkeys[0]) for log in logs))
    for size, log in enumerate(logs, 3):
        assert isinstance(await node.witness.add_checkpoint(log.request(0, size).encode()), bytes)
    assert [one.size for one in node.witness.watched()] == [3, 4, 5, 6, 7]
    node.database.close()
