"""Complete histories out of a real archive: all of it or nothing, and every lie refused."""

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from pyrsia.errors import Malformed, Refusal
from pyrsia.keys import verify
from pyrsia.ledger import entries, touches
from pyrsia.ledger.state import View
from pyrsia.node.log.proofs import Proofs
from pyrsia.verify import history
from pyrsia.verify.history import Subject
from tests.reference.parts import Kept
from tests.reference.story import Story

IDNA, OTHER = "pkg:pypi/idna", "pkg:pypi/nobody-ever"


@pytest.fixture(scope="module")
def story(tmp_path_factory):
    world = Kept(tmp_path_factory.mktemp("kept"))
    made = Story(world=world, dissenter=True)
    other = {"kind": "description", "subject": "pkg:pypi/attrs@1.0", "text": "another's", "valid_from": 1}
    world.block(world.entry(world.follower, "fact.add", other))
    for at in range(3):
        world.block(world.fact(f"about idna {at}"))
    world.archive.keep_checkpoint(made.note())
    yield made
    world.close()


def of(story, text):
    return trio.run(Proofs(story.world.archive).of_history, Subject.parse(text))


def read(story, data):
    return history.read(data, [story.pin], verify)


def slow(story, key):
    """Straight from the definition: all leaves that touch the key."""
    view = View(story.world.db.get)
    found = []
    for at, leaf in enumerate(story.world.leaves):
        if key in touches.touched(entries.parse(leaf), view):
            found.append((at, leaf))
    return tuple(found)


def test_a_packages_history_is_all_that_touched_it_and_nothing_else(story):
    found = read(story, of(story, f"{IDNA}@1.0"))
    assert found.leaves == slow(story, touches.package_key(IDNA))
    kinds = [entries.parse(leaf).kind for _, leaf in found.leaves]
    assert {
        "build.request",
        "build.draw",
        "build.commit",
        "build.reveal",
        "build.verdict",
        "artifact.add",
        "fact.add",
    } == set(kinds)
    assert kinds.count("build.reveal") == 3
    assert (found.subject.text, found.head.checkpoint.size) == (IDNA, story.size)


def test_a_digest_has_a_history_too_and_what_nobody_named_has_a_proof_of_none(story):
    found = read(story, of(story, f"sha256:{story.sha256}"))
    assert found.leaves == slow(story, touches.digest_key(story.sha256))
    assert len(found.leaves) >= 3
    assert read(story, of(story, OTHER)).leaves == ()
    assert read(story, of(story, "0" * 64)).leaves == ()


def test_a_leaf_left_out_added_moved_or_changed_is_refused(story):
    data = of(story, IDNA)
    head, lines = data.split(b"\n")[:2], data.split(b"\n")[2:-1]
    foreign = b"%d %b" % (0, story.world.leaves[0])

    def file(rows):
        return b"\n".join([*head, *rows, b""])

    assert read(story, file(lines)).leaves
    lies = [lines[:at] + lines[at + 1 :] for at in range(len(lines))]
    lies += [[foreign, *lines], [*lines, lines[-1]], [lines[1], lines[0], *lines[2:]], []]
    lies += [[lines[0].replace(b" ", b"  ", 1), *lines[1:]], [b"0" + lines[0], *lines[1:]]]
    lies += [[b"%d %b" % (int(lines[0].split()[0]) - 1, lines[0].split(b" ", 1)[1]), *lines[1:]]]
    for rows in lies:
        with pytest.raises(Refusal) as caught:
            read(story, file(rows))
        assert caught.value.code == "proof-invalid"


def test_absence_cannot_be_claimed_for_what_is_there_nor_one_history_for_another(story):
    absent, present = of(story, OTHER), of(story, IDNA)
    for data in (
        absent.replace(OTHER.encode(), IDNA.encode()),
        present.replace(b'{"about":{"purl":"pkg:pypi/idna"}', b'{"about":{"purl":"pkg:pypi/attrs"}'),
        absent.replace(b'"other":', b'"othar":'),
        absent + b"0 " + story.world.leaves[0] + b"\n",
    ):
        with pytest.raises(Refusal) as caught:
            read(story, data)
        assert caught.value.code == "proof-invalid"


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_any_changed_byte_is_refused_or_changes_nothing(story, data):
    good = of(story, IDNA)
    honest = read(story, good)
    at = data.draw(st.integers(0, len(good) - 1))
    bad = bytearray(good)
    bad[at] ^= 1 << data.draw(st.integers(0, 7))
    refusal = None
    try:
        found = read(story, bytes(bad))
    except Refusal as no:
        refusal = no
    if refusal is not None:
        assert refusal.code in ("proof-invalid", "not-pinned")
        return
    # A signature less in the note changes neither what is proven nor of which log.
    assert (found.subject, found.leaves) == (honest.subject, honest.leaves)
    assert found.head.checkpoint == honest.head.checkpoint


def test_a_head_whose_index_is_not_kept_any_more_gives_no_history(story):
    archive = story.world.archive
    note = archive.checkpoint()
    archive.keep_checkpoint(story.note(story.head(1)))
    try:
        assert of(story, IDNA) is None
    finally:
        archive.keep_checkpoint(note)


@pytest.mark.parametrize("text", ["idna", "pkg:pypi", "sha256:zz", "A" * 64, ""])
def test_a_subject_is_a_purl_or_a_digest(text):
    with pytest.raises(Malformed):
        Subject.parse(text)
