"""A copy grows with its log, is whole whenever it is stopped, and believes nothing that was not signed."""

import gzip
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pyrsia import keys
from pyrsia.audit.copying import Alarm, Copy
from pyrsia.audit.fsck import check
from pyrsia.audit.keeping import Keeper
from pyrsia.audit.mirror import LONGEST_S, Follow
from pyrsia.audit.sources import DirectorySource
from pyrsia.errors import Refusal, Unavailable
from pyrsia.log import note
from pyrsia.log.checking import Wrong
from pyrsia.log.note import SignedNote
from tests.unit.audit.files import RULE, Site, noted, objects, read, send, write
from tests.unit.audit.signed import SignedLog
from tests.unit.log.logs import Log, numbered

STEPS = [0, 1, 255, 256, 257, 511, 512, 513, 900]


class Killed(BaseException):
    """What no handler catches, as a kill -9."""


def silent(done, total):
    """Nobody watches."""


def copy(source, folder, rule=RULE, keeper=None):
    keeper = keeper or Keeper(folder)
    try:
        return Copy(source, rule, keeper, silent).round()
    finally:
        keeper.close()


def source_of(tmp_path, entries, name="log"):
    return DirectorySource(write(tmp_path / name, objects(entries)))


def whole(folder, rule=RULE):
    return check(DirectorySource(folder), rule, silent)


def test_a_copy_holds_the_same_bytes_and_grows_by_what_is_new(tmp_path):
    old = 0
    for size in STEPS:
        source = source_of(tmp_path, numbered(size), f"log{size}")
        done = copy(source, tmp_path / "copy")
        assert (done.old, done.head.checkpoint.size) == (old, size)
        assert read(tmp_path / "copy").items() >= objects(numbered(size)).items()
        assert whole(tmp_path / "copy").notes == ()
        old = size
    # Partial files stay until the full one is there, and no longer.
    kept = read(tmp_path / "copy")
    assert {path for path in kept if path not in objects(numbered(900))} == {
        f"tile/1/000.p/{width}" for width in (1, 2)
    }
    again = copy(source, tmp_path / "copy")
    assert (again.files, again.octets, again.old) == (0, 0, 900)


def test_only_what_is_new_is_asked_for(tmp_path):
    with Site(objects(numbered(600))) as site:
        copy(site.source(), tmp_path)
        site.files = objects(numbered(800))
        site.asked.clear()
        copy(site.source(), tmp_path)
        assert not {path for path in site.asked if "/000" in path and "tile/1" not in path} - {"tile/0/000"}
        assert "tile/entries/000" not in site.asked
        assert "tile/entries/002" in site.asked
        site.asked.clear()
        copy(site.source(), tmp_path)
        assert site.asked == ["checkpoint"]
    assert whole(tmp_path).as_dict()["size"] == 800


def test_a_log_of_pyrsia_is_copied_with_its_genesis(tmp_path):
    log = SignedLog().follow()
    log.world.block(log.world.request()[0])
    copy(log.follow(), tmp_path, log.rule)
    assert read(tmp_path)["genesis"] == log.world.genesis.raw
    assert whole(tmp_path, log.rule).formed


@pytest.mark.parametrize("folder_of_another", [True, False])
def test_two_writers_or_two_logs_do_not_mix(tmp_path, folder_of_another):
    source = source_of(tmp_path, numbered(3))
    if folder_of_another:
        other = SignedLog().follow()
        copy(other, tmp_path / "copy", other.rule)
        with pytest.raises(Refusal) as refused:
            copy(source, tmp_path / "copy")
        assert refused.value.code == "data-damaged"
    else:
        keeper = Keeper(tmp_path / "copy")
        with pytest.raises(Refusal) as refused:
            Keeper(tmp_path / "copy")
        assert refused.value.code == "data-in-use"
        keeper.close()
        copy(source, tmp_path / "copy")


# -- the signers' lies --


def evidence(folder):
    (path,) = (folder / "evidence").iterdir()
    return path, json.loads(path.read_text())


def refused_with_evidence(tmp_path, first, second, why):
    folder = tmp_path / "copy"
    copy(source_of(tmp_path, first, "first"), folder)
    before = {path: data for path, data in read(folder).items() if not path.startswith("evidence")}
    source = source_of(tmp_path, second, "second")
    for _ in range(2):  # the same lie told twice is one piece of evidence
        with pytest.raises(Alarm) as alarm:
            copy(source, folder)
    path, fields = evidence(folder)
    assert alarm.value.path == path
    assert "ALARM" in alarm.value.what
    assert alarm.value.answer.exit == 1
    assert (fields["why"], set(fields)) == (why, {"kept", "offered", "said", "source", "why"})
    for name, entries in (("kept", first), ("offered", second)):
        parsed = SignedNote.parse(fields[name].encode())
        assert fields[name].encode() == objects(entries)["checkpoint"]
        assert note.verify_note(parsed, RULE.keys, keys.verify)
    after = {path: data for path, data in read(folder).items() if not path.startswith("evidence")}
    assert after == before


def test_a_log_that_shrinks_is_refused_and_kept_as_evidence(tmp_path):
    refused_with_evidence(tmp_path, numbered(300), numbered(299), "shrunk")


def test_a_log_that_forks_is_refused_and_kept_as_evidence(tmp_path):
    refused_with_evidence(tmp_path, numbered(300), [*numbered(299), b"other"], "forked")


@pytest.mark.parametrize("sizes", [(1, 2), (255, 256), (256, 257), (300, 700), (512, 513)])
def test_a_larger_log_with_another_past_is_refused_and_kept_as_evidence(tmp_path, sizes):
    old, new = sizes
    other = [*numbered(new)]
    other[old // 2] = b"other"
    refused_with_evidence(tmp_path, numbered(old), other, "inconsistent")


def test_no_growth_changes_nothing_and_a_newer_signature_of_the_same_tree_is_kept(tmp_path):
    log = SignedLog(world=None).follow()
    copy(log, tmp_path, log.rule)
    older = log.note
    assert copy(log, tmp_path, log.rule).files == 0
    log.cosign(log.time_s + 60)
    assert copy(log, tmp_path, log.rule).files == 0
    assert read(tmp_path)["checkpoint"] == log.note
    log.note = older  # an old note sent again
    copy(log, tmp_path, log.rule)
    assert read(tmp_path)["checkpoint"] != older


# -- the server's lies --


def refused(source, folder):
    try:
        copy(source, folder)
    except Wrong as wrong:
        return wrong
    return None


@given(st.data())
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_nothing_that_was_not_signed_is_ever_written(tmp_path_factory, data):
    old, new = data.draw(st.sampled_from([(0, 300), (300, 520), (255, 257), (0, 1)]))
    honest = objects(numbered(new))
    path = data.draw(st.sampled_from(sorted(set(honest) - {"checkpoint"})))
    content = honest[path]
    lie = data.draw(
        st.one_of(
            st.integers(0, len(content) * 8 - 1).map(
                lambda bit: (
                    content[: bit // 8] + bytes([content[bit // 8] ^ 1 << bit % 8]) + content[bit // 8 + 1 :]
                )
            ),
            st.sampled_from([content[:-1], content + b"x", b"", b"<html>"]),
        )
    )
    tmp_path = tmp_path_factory.mktemp("copy")
    if old:
        copy(source_of(tmp_path, numbered(old), "old"), tmp_path / "copy")
    source = DirectorySource(write(tmp_path / "lies", {**honest, path: lie}))
    wrong = refused(source, tmp_path / "copy")
    if wrong is None:
        assert objects(numbered(old)).get(path) == content  # it was here, so nobody was asked
    else:  # which of the last tiles is wrong is not known, so all are named
        assert path in (wrong.fault.path, *wrong.fault.what.replace(",", "").split())
    for name, written in read(tmp_path / "copy").items():
        if name != "checkpoint":
            assert written == honest.get(name, objects(numbered(old)).get(name)), name
    copy(source_of(tmp_path, numbered(new), "honest"), tmp_path / "copy")
    assert read(tmp_path / "copy").items() >= honest.items()


def test_what_lies_here_is_used_again_only_if_it_is_true(tmp_path):
    honest = objects(numbered(700))
    here = {
        path: honest[path] for path in ("tile/0/000", "tile/entries/000", "tile/0/001", "tile/entries/001")
    }
    here["tile/0/001"] = here["tile/0/001"][:-1] + b"\0"
    here["tile/entries/001"] = here["tile/entries/001"][:-1]
    write(tmp_path / "copy", here)
    with Site(honest) as site:
        site.on["tile/entries/000"] = site.on["tile/0/000"] = lambda handler: send(handler, b"", status=500)
        done = copy(site.source(), tmp_path / "copy")
    assert done.reused == 2
    assert read(tmp_path / "copy") == honest


def test_packed_bundles_are_written_unpacked(tmp_path):
    honest = objects(numbered(300))
    with Site(honest) as site:
        for path in ("tile/entries/000", "tile/entries/001.p/44"):
            site.on[path] = lambda handler, path=path: send(
                handler, gzip.compress(honest[path]), content_encoding="gzip"
            )
        copy(site.source(), tmp_path)
    assert read(tmp_path) == honest


def test_a_source_that_shows_a_checkpoint_without_its_tiles_is_refused(tmp_path):
    files = objects(numbered(300))
    source = DirectorySource(write(tmp_path / "log", {"checkpoint": files["checkpoint"]}))
    with pytest.raises(Wrong) as wrong:
        copy(source, tmp_path / "copy")
    assert wrong.value.fault.what == "it is missing"
    assert read(tmp_path / "copy") == {}


# -- kills --


class Mortal(Keeper):
    """Dies at its n-th step, of which a write has two: half a file under another name, and the whole one."""

    def __init__(self, folder, steps):
        super().__init__(folder)
        self.left = steps

    def step(self):
        self.left -= 1
        if self.left < 0:
            raise Killed

    def put(self, path, data):
        target = self.folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.with_name(f".{target.name}.new").write_bytes(data[: len(data) // 2])
        self.step()
        super().put(path, data)
        self.step()

    def sync(self):
        self.step()
        super().sync()

    def _prune(self, full):
        self.step()
        removed = super()._prune(full)
        self.step()
        return removed

    def publish(self, note):
        self.step()
        super().publish(note)
        self.step()


@pytest.mark.parametrize("sizes", [(0, 300), (300, 520), (255, 512)])
def test_killed_at_any_step_a_copy_is_whole_and_the_next_run_ends_it(tmp_path, sizes):
    old, new = sizes
    first, second = objects(numbered(old)), objects(numbered(new))
    source = DirectorySource(write(tmp_path / "log", second))
    source.__class__ = type("OneLane", (DirectorySource,), {"lanes": 1})
    for steps in range(1_000):
        folder = write(tmp_path / f"copy{steps}", first)
        keeper = Mortal(folder, steps)
        try:
            copy(source, folder, keeper=keeper)
        except Killed:
            at = whole(folder).as_dict()["size"]
            assert at in (old, new)
            copy(source, folder)
        else:
            break
        assert whole(folder).as_dict()["size"] == new
        assert not [path for path in read(folder) if path.endswith(".new")]
        there = read(folder)
        assert there.items() >= second.items()
        assert {path for path in there if path not in second} <= {"tile/1/000.p/1"}  # not full: it stays
    assert steps > 10


# -- following --


class Stop(Exception):
    """The test has seen enough."""


def follow(rounds, sleeps=8):
    told, warned, pauses = [], [], []

    def sleep(pause_s):
        pauses.append(pause_s)
        if len(pauses) == sleeps:
            raise Stop

    def once():
        found = rounds.pop(0) if rounds else Unavailable("down")
        if isinstance(found, BaseException):
            raise found
        return found

    with pytest.raises(Stop):
        Follow(once, 10, told.append, warned.append, sleep).run()
    return told, warned, pauses


def test_following_backs_off_while_a_log_fails_and_says_why_once(tmp_path):
    grown = copy(source_of(tmp_path, numbered(3)), tmp_path / "copy")
    still = copy(source_of(tmp_path, numbered(3)), tmp_path / "copy")
    told, warned, pauses = follow([grown, still, Unavailable("no"), Unavailable("no"), grown])
    assert told == [grown, grown]
    assert warned == ["no", "down"]
    assert pauses == [10, 10, 20, 40, 10, 20, 40, 80]
    assert max(follow([], 40)[2]) == LONGEST_S.value


def test_following_ends_with_an_alarm(tmp_path):
    copy(source_of(tmp_path, numbered(300), "first"), tmp_path / "copy")
    source = source_of(tmp_path, numbered(299), "second")
    with pytest.raises(Alarm):
        Follow(lambda: copy(source, tmp_path / "copy"), 1, print, print, print).run()


def test_a_tree_of_another_log_is_no_growth(tmp_path):
    """The signed root decides: tiles of a true log under a checkpoint that says something else."""
    files = objects(numbered(300))
    lie = Log([b"x" + one for one in numbered(300)])
    files["checkpoint"] = noted(300, lie.frontier.root())
    with pytest.raises(Wrong) as wrong:
        copy(DirectorySource(write(tmp_path / "log", files)), tmp_path / "copy")
    assert "does not give the signed root" in wrong.value.fault.what
