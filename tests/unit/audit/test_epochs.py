"""Copies, checks and followers of a log whose validators and keys change while it grows."""

from dataclasses import replace

import pytest

from pyrsia.audit.copying import Copy
from pyrsia.audit.follow import Begun, Follow
from pyrsia.audit.following import Following
from pyrsia.audit.fsck import check
from pyrsia.audit.heads import Quorum, no_steps
from pyrsia.audit.keeping import Keeper
from pyrsia.audit.opening import Believed
from pyrsia.audit.sources import DirectorySource, step_path
from pyrsia.audit.tail import Tail
from pyrsia.errors import Malformed, ProofInvalid, Refusal
from pyrsia.keys import verify
from pyrsia.log.checking import Wrong
from pyrsia.verify.epochs import Line
from pyrsia.verify.pins import Pins
from pyrsia.wire.epochs import EpochEnd
from tests.reference.reigns import SIGNED_S, Reigns, fact, three_epochs
from tests.unit.audit.files import read
from tests.unit.audit.signed import SignedLog


def silent(done, total):
    """Nobody watches."""


def copy(log, folder, rule=None):
    keeper = Keeper(folder)
    try:
        return Copy(log, rule or log.rule, keeper, silent).round()
    finally:
        keeper.close()


def fsck(folder, world, **options):
    return check(DirectorySource(folder), Quorum(world.genesis), silent, **options)


def wrong(folder, world, **options):
    with pytest.raises(Wrong) as found:
        fsck(folder, world, **options)
    return found.value.fault


@pytest.fixture
def log():
    return SignedLog(world=Reigns()).follow()


@pytest.fixture
def copied(log, tmp_path):
    """A copy of a log in its third epoch."""
    three_epochs(log.world)
    copy(log.follow(), tmp_path)
    return tmp_path


# -- copies --


def test_a_copy_grows_from_epoch_to_epoch_and_is_checked_from_genesis_alone(log, tmp_path):
    rule = log.rule
    copy(log, tmp_path, rule)
    assert not (tmp_path / "epochs").exists()
    log.world.rotate(1, 1)
    copy(log.follow(), tmp_path, rule)
    log.world.block(fact(log.world, "in the second"))
    log.world.replace(2, "new")
    log.world.block(fact(log.world, "in the third"))
    done = copy(log.follow(), tmp_path, log.rule)  # as another run, which knows genesis alone
    assert done.head.checkpoint.size == len(log.world.leaves)
    files = read(tmp_path)
    assert [files[step_path(number)] for number in range(2)] == log.world.steps
    for full in (False, True):
        report = fsck(tmp_path, log.world, full=full)
        assert (report.as_dict()["epoch"], report.notes) == (2, ())


def test_an_epoch_that_ends_while_the_log_rests_is_copied_too(log, tmp_path):
    """The size is the same, the checkpoint is signed anew, by validators whom only the step makes known."""
    world = log.world
    world.rotate(1, 1)
    log.follow()
    log.note = world.cosigned(epoch=0)
    log.steps = []
    copy(log, tmp_path)
    log.follow()
    log.note = world.cosigned(epoch=1, time_s=SIGNED_S + 60)
    assert copy(log, tmp_path).head.time_s == SIGNED_S + 60
    assert fsck(tmp_path, world).head.time_s == SIGNED_S + 60


def test_a_source_that_holds_back_a_step_gives_a_checkpoint_of_strangers(log, tmp_path):
    three_epochs(log.world)
    log.follow()
    log.steps = log.steps[:1]
    with pytest.raises(Malformed):
        copy(log, tmp_path)
    assert read(tmp_path) == {}


def test_a_checkpoint_of_validators_who_left_is_not_copied(log, tmp_path):
    three_epochs(log.world)
    log.follow()
    for epoch in (0, 1):
        log.note = log.world.cosigned(epoch=epoch)
        with pytest.raises(Wrong) as refused:
            copy(log, tmp_path)
        assert refused.value.fault.path == "checkpoint"


def test_a_log_that_goes_another_way_than_its_epochs_ended_is_an_alarm(log, tmp_path):
    """A quorum voted for one log, and one cosigned another: more than f of them lied."""
    world = three_epochs(log.world)
    log.follow()
    header = EpochEnd.decode(world.steps[1]).proof.headers[-1]
    log.steps[1] = world.elsewhere(1, header)
    with pytest.raises(Refusal) as refused:
        copy(log, tmp_path)
    assert refused.value.what.startswith("ALARM")
    assert read(tmp_path) == {}


def test_a_step_that_comes_late_is_held_against_the_log_as_well(log, tmp_path):
    """Those who are in both epochs signed, so the copy grew without the step; then one comes that ends elsewhere."""
    world = log.world
    world.rotate(1, 1)
    world.block(fact(world, "after"))
    common = [(0, place) for place, one in enumerate(world.reigns[0]) if one in world.reigns[1]]
    log.follow()
    log.steps = []
    log.note = world.cosigned(signers=0, also=common)
    copy(log, tmp_path)
    world.block(fact(world, "later"))
    log.follow()
    header = EpochEnd.decode(world.steps[0]).proof.headers[-1]
    log.steps = [world.elsewhere(0, header)]
    log.note = world.cosigned(signers=0, also=common)
    with pytest.raises(Refusal) as refused:
        copy(log, tmp_path)
    assert refused.value.what.startswith("ALARM")


# -- fsck --


def test_a_step_that_is_missing_changed_or_another_s_is_named(copied, log):
    world = log.world
    first, second = (copied / step_path(number) for number in range(2))
    whole = first.read_bytes()
    for lie in (b"", whole[:-1], whole + b"\0", bytes([whole[0] ^ 1]) + whole[1:], world.steps[1]):
        first.write_bytes(lie)
        assert wrong(copied, world).path == step_path(0)
    first.write_bytes(whole)
    second.write_bytes(world.steps[0])
    assert wrong(copied, world).path == step_path(1)
    second.unlink()
    assert wrong(copied, world).path == "checkpoint"
    second.write_bytes(world.step(1, EpochEnd.decode(world.steps[1]).proof.headers[-1], tails=1))
    assert fsck(copied, world).notes == ()


def test_an_epoch_s_end_that_is_not_of_this_log_is_named(copied, log):
    world = log.world
    header = EpochEnd.decode(world.steps[1]).proof.headers[-1]
    for lie in (world.elsewhere(1, header), world.step(1, replace(header, tree_root=b"\1" * 32))):
        (copied / step_path(1)).write_bytes(lie)
        assert wrong(copied, world).path == step_path(1)


def test_a_full_check_misses_a_step_that_no_signature_needs(tmp_path):
    """The three validators that were there before and after sign alone: only the ledger says that there is a fourth."""
    world = Reigns()
    log = SignedLog(world=world).follow()
    world.rotate(1, 1)
    world.block(fact(world, "after"))
    log.follow()
    log.steps = []
    common = [place for place, one in enumerate(world.reigns[0]) if one in world.reigns[1]]
    log.note = world.cosigned(signers=0, also=[(0, place) for place in common])
    copy(log, tmp_path)
    assert fsck(tmp_path, world).as_dict()["epoch"] == 0
    assert wrong(tmp_path, world, full=True).path == step_path(0)


def test_other_files_beside_the_steps_are_strays(copied, log):
    (copied / "epochs" / "7").write_bytes(log.world.steps[0])
    (copied / "epochs" / "00").write_bytes(b"x")
    assert fsck(copied, log.world).notes == (
        "epochs/00 is no part of the log", "epochs/7 is no part of the log",
    )  # fmt: skip


# -- following --


def test_a_tail_goes_on_from_epoch_to_epoch_with_one_source_after_another(log):
    rule, shown, sources = log.rule, [], []

    def opened():
        sources.append(log)
        return log

    def begin(source, note):
        hands = Tail(shown.append, names={}, saw=lambda effect: None, warn=shown.append)
        rule.read(note, source.epoch)
        return Begun(rule, Following(position=0), hands)

    loop = Follow(opened, begin, warn=shown.append, now_s=lambda: SIGNED_S)
    loop.round()
    for at in (1, 2):
        log.world.rotate(at, 1)
        log.world.block(fact(log.world, f"after {at}"))
        log.follow()
        loop.round()
        assert loop.trouble is None
    assert [one.index for one in shown] == list(range(len(log.world.leaves)))
    assert rule.line.epoch == 2
    # From here on what the first validators sign is nobody's word, and waited out as trouble.
    log.note = log.world.cosigned(epoch=0)
    loop.round()
    assert isinstance(loop.trouble, ProofInvalid)


def test_a_rule_asks_for_steps_only_when_a_checkpoint_needs_them(log):
    rule = log.rule
    rule.read(log.note, log.epoch)
    assert not [path for path in log.asked if path.startswith("epochs/")]
    log.world.rotate(1, 1)
    log.world.block(fact(log.world, "after"))
    log.follow()
    with pytest.raises(ProofInvalid):
        rule.read(log.note, no_steps)
    rule.read(log.note, log.epoch)
    assert [path for path in log.asked if path.startswith("epochs/")] == ["epochs/0", "epochs/1"]


def test_what_is_remembered_of_a_pinned_network_counts_before_anybody_is_asked(log, tmp_path, monkeypatch):
    world = three_epochs(log.world)
    monkeypatch.setenv("PYRSIA_TRUST", str(tmp_path))
    pins = Pins.of_user()
    pin = pins.add(world.genesis.raw)
    pins.learn(pin, Line.of(world.genesis, world.steps, verify))
    log.follow()
    log.steps = []
    assert Believed().rule(log).read(log.note).checkpoint.size == len(world.leaves)
    old = world.cosigned(world.at(len(world.leaves) + 1, root=b"\1" * 32), epoch=0)
    with pytest.raises(ProofInvalid):
        Believed().rule(log).read(old)
