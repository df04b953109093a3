"""Which networks are believed, and what is remembered of them."""

import os

import pytest

from pyrsia.errors import Refusal
from pyrsia.log.checkpoint import Checkpoint
from pyrsia.units import TreeSize
from pyrsia.verify.pins import MAX_GENESIS_BYTES, Pins, read_genesis
from tests.reference.ledger import make_genesis
from tests.reference.story import Story


@pytest.fixture
def pins(tmp_path):
    return Pins(tmp_path / "trust")


@pytest.fixture(scope="module")
def story():
    return Story()


def test_a_pin_is_the_genesis_byte_for_byte_under_its_digest(pins):
    raw = make_genesis()
    pin = pins.add(raw)
    assert pin.path.read_bytes() == raw
    assert pin.path.stem == pin.digest
    assert [one.digest for one in pins.all()] == [pin.digest]
    assert (pins.folder.stat().st_mode & 0o777, sorted(os.listdir(pins.folder))) == (0o700, [pin.path.name])
    assert pins.add(raw) == pin


def test_no_folder_means_no_pins(pins):
    assert pins.all() == []


def test_what_is_no_genesis_is_never_pinned(pins, tmp_path):
    for data in (b"", b"{}", make_genesis()[:-1], make_genesis() + b"\n", b"\xff" * 100, b" " * 70_000):
        with pytest.raises(Refusal) as caught:
            pins.add(data)
        assert caught.value.code == "bad-request"
    assert not pins.folder.exists()


def test_a_pin_whose_file_changed_is_believed_no_more_and_hides_no_other(pins):
    kept, changed, renamed = (pins.add(make_genesis(name=name)) for name in ("a", "b", "c"))
    changed.path.write_bytes(make_genesis(name="evil"))
    renamed.path.rename(pins.folder / f"{'0' * 64}.genesis")
    (pins.folder / "garbage.genesis").write_bytes(b"garbage")
    (pins.folder / "folder.genesis").mkdir()
    assert pins.all() == [kept]


def test_a_removed_pin_is_gone_with_what_was_remembered(pins, story):
    pin = pins.add(story.genesis.raw)
    pins.saw(pin, story.note(), story.head())
    assert pins.remove(pin.digest) == pin
    assert (pins.all(), os.listdir(pins.folder)) == ([], [])
    with pytest.raises(Refusal) as caught:
        pins.remove(pin.digest)
    assert caught.value.code == "not-found"


def test_the_users_pins_lie_where_the_variable_says(monkeypatch, tmp_path):
    monkeypatch.setenv("PYRSIA_TRUST", str(tmp_path / "here"))
    assert Pins.of_user().folder == tmp_path / "here"


def test_a_trust_file_that_is_missing_or_endless_is_a_refusal(tmp_path):
    with pytest.raises(Refusal) as caught:
        read_genesis(tmp_path / "none")
    assert caught.value.code == "not-found"
    long = tmp_path / "long"
    long.write_bytes(b"1" * (MAX_GENESIS_BYTES.value * 2))
    with pytest.raises(Refusal) as caught:
        read_genesis(long)
    assert caught.value.code == "bad-request"
    with pytest.raises(Refusal):
        read_genesis(tmp_path)


def test_the_newest_head_is_remembered_across_runs(pins, story):
    pin = pins.add(story.genesis.raw)
    assert pins.newest(pin) is None
    for size in (4, 9, 6):
        pins.saw(pin, story.note(story.head(size)), story.head(size))
    assert Pins(pins.folder).newest(pin) == story.head(9)
    assert (pins.folder / f"{pin.digest}.head").read_bytes() == story.note(story.head(9))


def test_an_older_head_is_no_nodes_current_one(pins, story):
    pin = pins.add(story.genesis.raw)
    pins.saw(pin, story.note(story.head(9)), story.head(9), current=True)
    pins.saw(pin, story.note(story.head(9)), story.head(9), current=True)
    with pytest.raises(Refusal) as caught:
        pins.saw(pin, story.note(story.head(8)), story.head(8), current=True)
    assert (caught.value.code, caught.value.answer.exit) == ("too-old", 3)
    pins.saw(pin, story.note(story.head(8)), story.head(8))  # a proof file may be older
    assert pins.newest(pin).size == 9


def test_a_fork_is_noticed_and_both_sides_are_kept(pins, story):
    pin = pins.add(story.genesis.raw)
    other = Checkpoint(story.genesis.origin, TreeSize(9), b"\1" * 32)
    pins.saw(pin, story.note(story.head(9)), story.head(9))
    for current in (False, True):
        with pytest.raises(Refusal) as caught:
            pins.saw(pin, story.note(other), other, current=current)
        assert (caught.value.code, "two histories" in caught.value.what) == ("proof-invalid", True)
    assert (pins.folder / f"{pin.digest}.head").read_bytes() == story.note(story.head(9))
    assert (pins.folder / f"{pin.digest}.fork").read_bytes() == story.note(other)


def test_a_damaged_memory_is_an_empty_one(pins, story):
    pin = pins.add(story.genesis.raw)
    for damage in (b"", b"x" * 100_000, b"\xff\xfe", story.note()[:-5]):
        (pins.folder / f"{pin.digest}.head").write_bytes(damage)
        assert pins.newest(pin) is None
    pins.saw(pin, story.note(), story.head())
    assert pins.newest(pin) == story.head()


def test_networks_are_remembered_apart(pins, story):
    pin, other = pins.add(story.genesis.raw), pins.add(make_genesis(name="other"))
    pins.saw(pin, story.note(), story.head())
    assert (pins.newest(pin), pins.newest(other)) == (story.head(), None)
