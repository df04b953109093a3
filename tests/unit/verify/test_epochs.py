"""Epochs for those outside: every step is proven, every checkpoint signed by its own epoch, every lie refused."""

import base64
import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyrsia.consensus.light import Contradiction
from pyrsia.errors import Malformed, ProofInvalid, Refusal
from pyrsia.keys import verify
from pyrsia.ledger import entries
from pyrsia.log import checkpoint as checkpoints
from pyrsia.log import note as notes
from pyrsia.log.checkpoint import Checkpoint
from pyrsia.log.note import SignatureLine, SignedNote
from pyrsia.units import MAX_PROOFFILE_BYTES, MAX_STEP_BYTES, needed
from pyrsia.verify import epochs, evidence
from pyrsia.verify.artifact import judge
from pyrsia.verify.epochs import Gap, Line
from pyrsia.verify.pins import Pin, Pins
from pyrsia.wire.blocks import finalize, signed_text
from pyrsia.wire.epochs import EpochEnd, members_hash
from tests.reference import merkle
from tests.reference.ledger import START
from tests.reference.reigns import Reigns, fact, three_epochs
from tests.reference.story import NOW_MS, WHEEL, Story

WORLD = three_epochs()
SIZE = len(WORLD.leaves)
FIRST, SECOND = WORLD.ends


def known(count=2, world=WORLD):
    return Line.of(world.genesis, world.steps[:count], verify)


def believed(line, note):
    try:
        return line.trusted(SignedNote.parse(note))
    except ProofInvalid:
        return None


# -- checkpoints --


@pytest.mark.parametrize("size", range(2, SIZE + 1))
def test_a_checkpoint_is_believed_exactly_from_the_epochs_that_its_size_lies_in(size):
    own = {epoch for epoch in range(3) if (0, FIRST, SECOND)[epoch] <= size <= (FIRST, SECOND, SIZE)[epoch]}
    for epoch in range(3):
        found = believed(known(), WORLD.cosigned(WORLD.at(size), epoch=epoch))
        assert (found is not None) == (epoch in own), (size, epoch)


@settings(max_examples=300, deadline=None)
@given(data=st.data(), size=st.sampled_from([FIRST - 1, FIRST, FIRST + 1, SECOND - 1, SECOND, SECOND + 1]))
def test_no_signatures_of_several_epochs_add_up(data, size):
    """Any signers of any epochs: believed exactly if one epoch of this size has its quorum among them."""
    everybody = [(epoch, place) for epoch in range(3) for place in range(4)]
    chosen = data.draw(st.sets(st.sampled_from(everybody)))
    own = [e for e in range(3) if (0, FIRST, SECOND)[e] <= size <= (FIRST, SECOND, SIZE)[e]]
    keys = {WORLD.reigns[epoch][place] for epoch, place in chosen}
    signing = {one.cosign: (epoch, place) for epoch, place in chosen for one in [WORLD.reigns[epoch][place]]}
    note = WORLD.cosigned(WORLD.at(size), signers=0, also=sorted(signing.values()))
    good = any(
        len({one.cosign for one in keys} & {one.cosign for one in WORLD.reigns[epoch]}) >= needed(4)
        for epoch in own
    )
    try:
        found = believed(known(), note)
    except Malformed:
        assert not chosen  # a note without a signature is none
        return
    assert (found is not None) == good
    assert not good or set(found.of) in [
        {(one.log, one.cosign) for one in WORLD.reigns[epoch]} for epoch in own
    ]


def test_old_keys_that_sign_a_bigger_size_are_believed_by_nobody_who_knows_the_step():
    """Who knows less believes them: that is why steps are remembered, and why a checkpoint may be pinned."""
    leaked = WORLD.cosigned(WORLD.at(SIZE + 5, root=b"\1" * 32), epoch=0)
    assert believed(known(0), leaked)
    for count in (1, 2):
        assert believed(known(count), leaked) is None


def test_a_checkpoint_with_another_root_than_the_block_that_ended_an_epoch_is_an_alarm():
    for epoch, end in enumerate(WORLD.ends):
        fork = WORLD.cosigned(WORLD.at(end, root=b"\2" * 32), epoch=epoch)
        with pytest.raises(Contradiction):
            known().trusted(SignedNote.parse(fork))


def test_the_epoch_of_a_head_is_the_one_whose_quorum_signed_it():
    line = known()
    told = [
        line.epoch_of(line.trusted(SignedNote.parse(WORLD.cosigned(WORLD.at(size), epoch=epoch))))
        for size, epoch in ((5, 0), (FIRST, 0), (FIRST, 1), (FIRST + 1, 1), (SECOND, 2), (SIZE, 2))
    ]
    assert told == [0, 0, 1, 1, 2, 2]


def test_what_validators_vote_for_is_no_checkpoint_whoever_signs_it():
    """FIN says size and root too, before anything is final; its text has a first line and a form of its own."""
    said = finalize(ended(1))
    text = signed_text(WORLD.genesis.chain_id, WORLD.genesis.origin, said)
    with pytest.raises(Malformed):
        Checkpoint.parse(text)
    with pytest.raises(Malformed):
        Checkpoint.parse_foreign(text[: text.index(b"\n") + 1])
    signers = [WORLD.pairs[one.log] for one in WORLD.reigns[1]]
    lines = tuple(notes.sign_line(text, WORLD.genesis.origin, pair.sign, pair.public) for pair in signers)
    with pytest.raises(Malformed):
        known().trusted(SignedNote(text, lines))
    head = WORLD.at(SECOND)
    votes = [WORLD.pairs[one.vote] for one in WORLD.reigns[1]]
    relabelled = tuple(
        SignatureLine(head.origin, checkpoints.log_key(head.origin, pair.public).id, voter.sign(text))
        for pair, voter in zip(signers, votes, strict=True)
    )
    with pytest.raises(Malformed):
        known().trusted(SignedNote(head.text(), relabelled))


# -- steps --


def ended(epoch):
    """The header that ended an epoch of the world."""
    return EpochEnd.decode(WORLD.steps[epoch]).proof.headers[-1]


def test_the_line_knows_who_validates_and_where_epochs_end():
    line = known()
    assert line.epoch == 2
    assert [line.validators(number) for number in range(3)] == [tuple(reign) for reign in WORLD.reigns]
    assert [line.end(number) for number in range(2)] == [WORLD.at(end) for end in WORLD.ends]
    assert (line.up_to(FIRST - 1), line.up_to(FIRST), line.up_to(SIZE)) == ([], WORLD.steps[:1], WORLD.steps)


def test_a_proof_over_a_tail_is_as_good():
    line = known(0)
    line.take(WORLD.step(0, ended(0), tails=1))
    assert line.epoch == 1


def test_the_same_step_proven_otherwise_changes_nothing():
    line = known()
    line.take(WORLD.step(0, ended(0), tails=1), 0)
    assert line.steps == WORLD.steps


BEFORE = max(size for size in range(2, FIRST) if entries.parse(WORLD.leaves[size - 1]).kind == "block.seal")
THIEF = tuple(sorted((*WORLD.reigns[0][:3], WORLD.reigns[2][3]), key=lambda one: one.vote))


def seating(validators):
    """The block that ended the first epoch, on the true log, with other validators in its header."""
    return replace(ended(0), next_members_hash=members_hash(validators))


def shorter(size):
    """The block that ended the first epoch, earlier in the true log."""
    return replace(ended(0), tree_size=size, tree_root=WORLD.tree(size))


def showing(index):
    """The first step with another leaf of its log, which is there."""
    hashes = [merkle.leaf_hash(leaf) for leaf in WORLD.leaves[:FIRST]]
    path = tuple(merkle.path(index, hashes))
    return EpochEnd.decode(WORLD.steps[0])._replace(seal=WORLD.leaves[index], path=path).encode()


LIES = {
    "skipped": lambda: (0, WORLD.steps[1]),
    "fewer than a quorum": lambda: (0, WORLD.step(0, ended(0), signers=2)),
    "one more than a quorum": lambda: (0, WORLD.step(0, ended(0), signers=4)),
    "signed by the next epoch": lambda: (0, WORLD.step(0, ended(0), by=2)),
    "signed by an earlier epoch": lambda: (1, WORLD.step(1, ended(1), by=0)),
    "no end": lambda: (0, WORLD.step(0, replace(ended(0), kind=0))),
    "a tail": lambda: (0, WORLD.step(0, replace(ended(0), kind=2))),
    "another chain": lambda: (0, WORLD.step(0, replace(ended(0), chain_id=b"\1" * 32))),
    "another epoch": lambda: (0, WORLD.step(0, replace(ended(0), epoch=1))),
    "other members": lambda: (0, WORLD.step(0, replace(ended(0), members_hash=b"\1" * 32))),
    "it ends before it begins": lambda: (1, WORLD.step(1, replace(ended(1), height=1, tree_size=3))),
    "a tree that the seal is not in": lambda: (0, WORLD.step(0, replace(ended(0), tree_root=b"\1" * 32))),
    "another epoch's seal": lambda: (0, WORLD.step(0, ended(0), leaves=WORLD.leaves[: ended(1).tree_size])),
    "a log that ends in no seal": lambda: (0, WORLD.step(0, shorter(FIRST - 1))),
    "a log that ends in the seal of a block that ends nothing": lambda: (0, WORLD.step(0, shorter(BEFORE))),
    "a seal from below": lambda: (0, showing(BEFORE - 1)),
    "no seal": lambda: (0, EpochEnd.decode(WORLD.steps[0])._replace(seal=b"").encode()),
    "no path": lambda: (0, EpochEnd.decode(WORLD.steps[0])._replace(path=()).encode()),
    "validators that its own log does not name": lambda: (0, WORLD.step(0, seating(THIEF), following=THIEF)),
    "a height that its own log does not name": lambda: (0, WORLD.step(0, replace(ended(0), height=77))),
    "nothing": lambda: (0, b""),
    "too long": lambda: (0, WORLD.steps[0] + bytes(MAX_STEP_BYTES.value)),
    "followed by bytes": lambda: (0, WORLD.steps[0] + b"\0"),
}


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES)
def test_a_step_that_is_a_lie_is_not_taken(lie):
    count, step = lie()
    line = known(count)
    with pytest.raises((Malformed, Contradiction)):
        line.take(step)
    assert (line.epoch, line.steps) == (count, WORLD.steps[:count])


def test_a_list_of_next_validators_that_was_not_agreed_on_is_not_taken():
    """With the old block the hash betrays it; with a block of its own, the signatures that it lacks."""
    thief, forged = THIEF, seating(THIEF)
    real = EpochEnd.decode(WORLD.steps[0])
    lies = [
        real._replace(validators=thief).encode(),
        real._replace(proof=replace(real.proof, headers=(forged,)), validators=thief).encode(),
        WORLD.step(0, forged, signers=2, following=thief),
        real._replace(validators=real.validators[:3]).encode(),
        real._replace(validators=tuple(reversed(real.validators))).encode(),
    ]
    for lie in lies:
        with pytest.raises(Malformed):
            known(0).take(lie)


def test_a_quorum_that_seats_others_than_the_true_log_says_is_an_alarm_also_for_who_knows_nothing_yet():
    """Leaked keys can sign a block on the true log, and cannot make that log say what it does not."""
    with pytest.raises(Contradiction) as alarm:
        known(0).take(WORLD.step(0, seating(THIEF), following=THIEF))
    told = EpochEnd.decode(alarm.value.first)
    assert (told.seal, told.validators) == (WORLD.leaves[FIRST - 1], THIEF)


def test_a_second_end_of_one_epoch_with_its_quorum_is_an_alarm():
    """More than f validators, or their keys years later: nobody may believe either."""
    lie = WORLD.elsewhere(0, ended(0), THIEF, view=ended(0).view + 1)
    alone = known(0)
    alone.take(lie)  # nothing that was seen speaks against it
    for count in (1, 2):
        line = known(count)
        with pytest.raises(Contradiction):
            line.take(lie, 0)
        assert line.steps == WORLD.steps[:count]


@settings(max_examples=300, deadline=None)
@given(at=st.integers(0, len(WORLD.steps[0]) - 1), bit=st.integers(0, 7))
def test_a_step_with_any_bit_flipped_is_not_taken(at, bit):
    lie = WORLD.steps[0][:at] + bytes([WORLD.steps[0][at] ^ 1 << bit]) + WORLD.steps[0][at + 1 :]
    with pytest.raises(Malformed):
        known(0).take(lie)


def test_whoever_gives_steps_is_asked_until_there_are_none():
    asked, line = [], known(0)

    def steps(epoch):
        asked.append(epoch)
        return WORLD.steps[epoch] if epoch < 2 else None

    assert line.follow(steps) == 2
    assert (line.epoch, asked) == (2, [0, 1, 2])
    assert line.follow(steps) == 0


def test_a_giver_that_repeats_itself_for_ever_is_refused_at_once():
    with pytest.raises(Malformed):
        known(0).follow(lambda epoch: WORLD.steps[0])


# -- in proofs --


def carried(document, line=None):
    line = line or known(0)
    epochs.unpack(document, line, SignedNote.parse(WORLD.cosigned()))
    return line.epoch


def test_a_proof_carries_all_steps_or_the_newest_that_there_is_room_for():
    texts = [base64.b64encode(step).decode() for step in WORLD.steps]
    room = [len(texts[1]) + 3, len(texts[0]) + 3]
    assert epochs.pack(WORLD.steps, sum(room)) == {"first": 0, "steps": texts}
    assert epochs.pack(WORLD.steps, sum(room) - 1) == {"first": 1, "steps": texts[1:]}
    assert epochs.pack(WORLD.steps, room[0] - 1) == {"first": 2, "steps": []}
    assert epochs.pack([], 100) == {"first": 0, "steps": []}
    assert epochs.pack(WORLD.steps[1:], 10_000, 1) == {"first": 1, "steps": texts[1:]}
    assert carried(epochs.pack(WORLD.steps, 10_000)) == 2


def test_a_proof_that_begins_behind_what_is_known_says_so_and_helps_who_knows_more():
    late = epochs.pack(WORLD.steps[1:], 10_000, 1)
    with pytest.raises(Gap) as refused:
        carried(late)
    assert (refused.value.first, refused.value.known) == (1, 0)
    assert carried(late, known(1)) == 2
    assert carried(late, known(2)) == 2
    assert carried({"first": 2, "steps": []}, known(2)) == 2


@pytest.mark.parametrize(
    "document",
    [
        None, [], {}, {"first": 0}, {"first": 0, "steps": [], "more": 1}, {"first": True, "steps": []},
        {"first": -1, "steps": []}, {"first": 0, "steps": [1]}, {"first": 0, "steps": "x"},
        {"first": 0, "steps": ["!"]}, {"first": 0, "steps": ["AAAA"]}, {"first": "0", "steps": []},
        {"first": 1 << 60, "steps": []},
    ],
)  # fmt: skip
def test_epochs_of_a_proof_in_another_form_are_refused(document):
    with pytest.raises(Malformed):
        carried(document)


def test_steps_behind_the_checkpoint_of_a_proof_are_refused():
    document = epochs.pack(WORLD.steps, 10_000)
    old = SignedNote.parse(WORLD.cosigned(WORLD.at(SECOND - 1)))
    with pytest.raises(Malformed):
        epochs.unpack(document, known(0), old)
    epochs.unpack(epochs.pack(WORLD.steps[:1], 10_000), known(0), old)


@pytest.fixture(scope="module")
def story():
    return Story(world=three_epochs(Reigns(count=6)))


def judged(story, folder, proof, pin=None):
    file = folder / WHEEL
    file.write_bytes(story.data)
    return judge(file, proof, [pin or story.pin], now_ms=NOW_MS, expected=None, verify=verify)


def test_a_proof_file_of_a_later_epoch_is_checked_offline_from_genesis(story, tmp_path):
    finding = judged(story, tmp_path, story.proof())
    assert (finding.epoch, finding.quorum) == (2, (4, 4))
    assert "of epoch 2" in "\n".join(finding.lines())
    assert finding.as_dict()["quorum"] == {"cosigned": 4, "validators": 4, "epoch": 2}


def test_a_proof_file_of_an_earlier_checkpoint_needs_no_later_epochs(tmp_path):
    world = Reigns(count=6)
    story = Story(world=world)
    size = story.size
    early = story.proof(size=size)
    three_epochs(world)
    assert judged(story, tmp_path, early).epoch == 0
    assert judged(story, tmp_path, early, replace(story.pin, steps=tuple(world.steps))).epoch == 0


def test_a_proof_file_signed_by_those_who_left_is_refused(story, tmp_path):
    for epoch in (0, 1):
        lie = story.proof(note=story.world.cosigned(story.head(), epoch=epoch))
        with pytest.raises(Refusal) as refused:
            judged(story, tmp_path, lie)
        assert refused.value.code == "proof-invalid"


def test_a_proof_file_without_its_epochs_is_refused_unless_they_are_remembered(story, tmp_path):
    rows = [story.row(i, story.size) for i in story.leaves()]
    late = story.proof(extra=evidence.pack(rows, story.now(), (), 2))
    with pytest.raises(Refusal) as refused:
        judged(story, tmp_path, late)
    assert refused.value.code == "no-proof"
    assert "trust update" in refused.value.do
    remembering = replace(story.pin, steps=tuple(story.world.steps))
    assert judged(story, tmp_path, late, remembering).epoch == 2


def test_a_proof_file_that_contradicts_what_is_remembered_is_an_alarm(story, tmp_path):
    world = story.world
    header = EpochEnd.decode(world.steps[0]).proof.headers[-1]
    thief = tuple(sorted((*world.reigns[0][:3], world.reigns[2][3]), key=lambda one: one.vote))
    lie = world.elsewhere(0, header, thief, view=header.view + 1)
    rows = [story.row(i, story.size) for i in story.leaves()]
    proof = story.proof(extra=evidence.pack(rows, story.now(), [lie]))
    with pytest.raises(Refusal) as refused:
        judged(story, tmp_path, proof, replace(story.pin, steps=tuple(world.steps)))
    assert refused.value.what.startswith("ALARM")


def test_a_proof_of_a_leaf_says_with_which_epoch_its_steps_begin():
    """Also where whoever made it has no older ones."""
    for first, steps in enumerate((WORLD.steps, WORLD.steps[1:])):
        assert json.loads(evidence.pack_steps(steps, first))["epochs"]["first"] == first
    assert evidence.pack_steps([]) is None


def test_however_many_epochs_there_are_a_proof_file_stays_within_its_size(story):
    rows = [story.row(i, story.size) for i in story.leaves()]
    extra = evidence.pack(rows, story.now(), [bytes(9_000)] * 500)
    assert len(story.proof(extra=extra)) <= MAX_PROOFFILE_BYTES.value
    assert b'"first":0' not in extra


# -- remembered --


def pinned(folder, world=WORLD):
    pins = Pins(folder)
    return pins, pins.add(world.genesis.raw)


def again(pins) -> Pin:
    (pin,) = pins.all()
    return pin


def test_epochs_are_remembered_beside_the_pin_and_go_with_it(tmp_path):
    pins, pin = pinned(tmp_path)
    assert pin.steps == ()
    pins.learn(pin, known())
    assert again(pins).steps == tuple(WORLD.steps)
    pins.learn(pin, known(1))  # less is nothing new
    assert again(pins).line(verify).epoch == 2
    assert pins.add(WORLD.genesis.raw).steps == tuple(WORLD.steps)
    pins.remove(pin.digest)
    assert list(tmp_path.iterdir()) == []


def test_a_memory_that_is_cut_or_changed_is_believed_as_far_as_it_proves_itself(tmp_path):
    pins, pin = pinned(tmp_path)
    pins.learn(pin, known())
    path = tmp_path / f"{pin.digest}.epochs"
    whole = path.read_bytes()
    half = 4 + len(WORLD.steps[0])
    for length in (0, 3, 4, half - 1, half, half + 3, len(whole) - 1):
        path.write_bytes(whole[:length])
        assert again(pins).line(verify).epoch == (1 if length >= half else 0)
    path.write_bytes(whole[:200] + bytes([whole[200] ^ 1]) + whole[201:])
    assert again(pins).line(verify).epoch == 0
    path.write_bytes(b"\xff" * 100)
    assert again(pins).line(verify).epoch == 0
    pins.learn(again(pins), known())
    assert again(pins).line(verify).epoch in (0, 2)


def test_a_memory_that_contradicts_itself_ends_where_it_does(tmp_path):
    pins, pin = pinned(tmp_path)
    pins.learn(pin, known(1))
    lie = WORLD.elsewhere(0, ended(0), THIEF)
    path = tmp_path / f"{pin.digest}.epochs"
    path.write_bytes(path.read_bytes() + len(lie).to_bytes(4, "big") + lie)
    assert again(pins).line(verify).steps == WORLD.steps[:1]


def test_more_validators_want_a_larger_quorum():
    """Four of five from the step on: the three that sufficed before it do not."""
    world = Reigns(count=6, validators=5)
    world.block(fact(world, "one"))
    world.rotate(0, 1)
    world.block(fact(world, "two"))
    line = known(1, world)
    assert [len(line.validators(number)) for number in range(2)] == [5, 5]
    assert believed(line, world.cosigned(signers=4))
    assert believed(line, world.cosigned(signers=3)) is None
    assert world.time > START
