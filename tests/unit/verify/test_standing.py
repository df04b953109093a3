"""The present state in a proof: what is proven, what is refused, and the lies about it."""

import copy
import hashlib

import pytest

from pyrsia.errors import Malformed, Refusal
from pyrsia.keys import verify
from pyrsia.ledger import index, prefixtree, views
from pyrsia.log.checkpoint import Trusted
from pyrsia.verify import standing
from pyrsia.verify.artifact import judge
from pyrsia.wire import canonical
from tests.reference.story import NOW_MS, WHEEL, Story


@pytest.fixture(scope="module")
def story():
    return Story()


@pytest.fixture
def head(story):
    return Trusted(story.head(), (), 0)


@pytest.fixture
def key(story):
    return story.status_key


def test_present_and_absent_values_are_proven_as_of_the_newest_seal(story, head, key):
    found = standing.read(story.now(keys=[key, "member/nobody"]), head)
    assert found.values == {key: {"leaf": story.artifact.leaf, "status": "REPRODUCED"}, "member/nobody": None}
    assert found.time_ms == views.chain(story.world.db.get)["time_ms"]


def lies(document):
    """Documents that differ from a true one in one place, with a word for each."""

    def made(change):
        other = copy.deepcopy(document)
        change(other)
        return other

    row = document["values"][0]
    yield "no seal", made(lambda d: d.pop("seal"))
    yield "one more field", made(lambda d: d.update(more=1))
    yield "another value", made(lambda d: d["values"][0].update(value=row["value"].replace("REPRO", "WITNE")))
    yield "said to be absent", made(lambda d: d["values"][0].pop("value"))
    yield "another key", made(lambda d: d["values"][0].update(key="status/" + "0" * 64))
    yield "another purl's key", made(lambda d: d["values"][0].update(key=row["key"].replace("1.0", "2.0")))
    yield "a key that the root leaves out", made(lambda d: d["values"][0].update(key="id/" + "0" * 64))
    yield "twice", made(lambda d: d["values"].append(d["values"][0]))
    yield "too many", made(lambda d: d.update(values=[row] * 200))
    yield "no list", made(lambda d: d.update(values=7))
    yield "no path", made(lambda d: d["values"][0].update(path={"steps": 7}))
    for at in range(len(row["path"]["steps"])):
        yield f"step {at} left out", made(lambda d, at=at: d["values"][0]["path"]["steps"].pop(at))
        depth, sibling = row["path"]["steps"][at]
        turned = f"{int(sibling[:2], 16) ^ 1:02x}{sibling[2:]}"
        yield (
            f"step {at} turned",
            made(lambda d, at=at, s=[depth, turned]: d["values"][0]["path"]["steps"].__setitem__(at, s)),
        )


def test_every_lie_about_a_value_is_refused(story, head, key):
    document = story.now(keys=[key])
    assert standing.read(document, head).values[key]["status"] == "REPRODUCED"
    tried = list(lies(document))
    assert len(tried) > 12
    for word, lie in tried:
        with pytest.raises(Malformed):
            raise AssertionError(f"accepted: {word}: {standing.read(lie, head)}")


def test_an_older_seal_says_nothing_about_now(story, head, key):
    seals = [
        at for at in range(story.size - 1) if story.world.leaves[at].endswith(b'"type":"block.seal","v":1}')
    ]
    for seal in seals:
        with pytest.raises(Malformed, match="newest seal"):
            standing.read(story.now(keys=[key], seal=seal), head)


def test_a_leaf_that_is_no_seal_is_none(story, key):
    """The newest leaf of a head that lies inside a block, which no honest validator signs."""
    size = story.artifact.leaf + 1
    document = story.now(keys=[key])
    document["seal"] = standing.leaves.row(*story.row(size - 1, size))
    with pytest.raises(Malformed, match="newest seal"):
        standing.read(document, Trusted(story.head(size), (), 0))


@pytest.mark.parametrize(("status", "code"), [("WITHDRAWN", "withdrawn"), ("DISPUTED", "disputed")])
def test_what_was_withdrawn_or_disputed_since_is_refused_with_the_reason(tmp_path, status, code):
    """The state is changed behind the rules' back: entries that lead there are the ledger's tests."""
    story = Story()
    key, trees = story.status_key.encode(), views.trees(story.world.db.get)
    value = canonical.encode({"leaf": story.artifact.leaf, "reason": "the key leaked", "status": status})
    changes = {index.state_key(key): hashlib.sha256(value).digest()}
    change = prefixtree.update(trees.state, story.world.fetch, changes, trees.state.version)
    root = {**trees.value(), "state_root": change.tree.root.hex()}
    story.world.db.update({key: value, b"root": canonical.encode(root), **change.pages})
    story.world.block(story.world.request(version="2.0")[0])
    file = tmp_path / WHEEL
    file.write_bytes(story.data)
    with pytest.raises(Refusal, match="the key leaked") as caught:
        judge(file, story.proof(), [story.pin], now_ms=NOW_MS, expected=None, verify=verify)
    assert caught.value.code == code


def test_a_proof_that_leaves_out_the_status_or_a_member_is_refused(story, tmp_path, key):
    file = tmp_path / WHEEL
    file.write_bytes(story.data)
    builders = [f"member/{one}" for one in story.artifact.body["agreeing"]]
    for keys in ([], [key], builders, [key, *builders[1:]]):
        with pytest.raises(Refusal, match="leaves out") as caught:
            judge(
                file,
                story.proof(now=story.now(keys=keys)),
                [story.pin],
                now_ms=NOW_MS,
                expected=None,
                verify=verify,
            )
        assert caught.value.code == "proof-invalid"
