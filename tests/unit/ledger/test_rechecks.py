"""A published file is looked at again: single words change nothing, a verdict by others disputes it."""

import pytest

from pyrsia.keys import verify
from pyrsia.ledger import entries, views
from pyrsia.ledger.execute import Parses
from pyrsia.ledger.replay import Replay
from pyrsia.units import KEEP_BUILDERS_MS
from pyrsia.wire.text import b32
from tests.reference.governance import Governed, about, fact, mapping
from tests.reference.ledger import blob, file_record

APPLIES = "execution gives another tree"


def built(world, word="one", names=("idna-1.0-py3-none-any.whl",), request=None, builders=None, **changes):
    """One request to its end; all its builders say the same: (its view, their keys)."""
    if request is None:
        request, builders = world.drawn(**changes)
    body = world.reveal(request, word)
    body["outputs"] = [output(body, name, word) for name in names]
    return world.run(
        request, [(one, {**body, "nonce": b32(one.public).encode().hex()[:64]}) for one in builders]
    ), builders


def output(body, name, word):
    """A file of its own for each name; the first is the word's."""
    plain = body["outputs"][0]
    return {
        **plain,
        "canonical": file_record((word, name, "canonical")),
        "name": name,
        "raw": file_record((word, name)),
    }


def tomorrow(world):
    world.propose(wait=KEEP_BUILDERS_MS.value + 1)


def status(world, view):
    return [views.status(world.db.get, one.body["sha256"])["status"] for one in view.artifacts]


@pytest.fixture
def world():
    return Governed(count=12, builders=11)


def test_a_contradiction_by_others_disputes_what_was_published_until_a_motion_resolves_it(world):
    first, before = built(world)
    tomorrow(world)
    later, builders = built(world, "two")

    assert not {b.public for b in before} & {
        b.public for b in builders
    }  # those who have not built it go first
    assert status(world, first) == ["DISPUTED"]
    record = views.status(world.db.get, first.artifact.body["sha256"])
    assert record["leaf"] == later.verdict.leaf
    assert later.id in record["reason"]
    assert views.project_files(world.db.get, "idna") == ()  # and the later file does not take its place
    assert views.project_files(world.db.get, "idna", every=True) == (first.artifact, later.artifact)

    world.enact(about("dispute.resolve", first.artifact.body["sha256"]))
    assert status(world, first) == ["REPRODUCED"]
    assert views.project_files(world.db.get, "idna") == (first.artifact,)


def test_a_later_verdict_that_agrees_changes_nothing(world):
    first, _ = built(world)
    tomorrow(world)
    again, _ = built(world)
    assert again.verdict.body["verdict"] == "REPRODUCED"
    assert status(world, first) == ["REPRODUCED"]


@pytest.mark.parametrize(
    "changes",
    [
        {"lock": blob("another lock")},
        {"source": {"file": "x.tar.gz", "sha256": blob("another")["sha256"], "size": 1}},
        {"target": {"arch": "arm64", "libc": "musl", "os": "linux"}},
        {"recipe": {"sde": 1}},
    ],
)
def test_verdicts_over_other_inputs_are_not_compared(world, changes):
    first, _ = built(world)
    tomorrow(world)
    recipe = entries.parse(world.request()[0]).body["recipe"]
    if "recipe" in changes:
        changes = {"recipe": {**recipe, **changes["recipe"]}}
    request, builders = world.drawn(**changes)
    asked = views.request(world.db.get, request).request.body
    bodies = [(b, world.reveal(request, "two", lock_sha256=asked["lock"]["sha256"])) for b in builders]
    assert world.run(request, bodies).verdict.body["verdict"] == "REPRODUCED"
    assert status(world, first) == ["REPRODUCED"]


def test_within_the_day_the_same_builders_contradict_nobody_but_themselves(world):
    first, before = built(world)
    second, builders = built(world, "two")
    assert builders == before
    assert second.verdict.body["verdict"] == "REPRODUCED"
    assert status(world, first) == ["REPRODUCED"]


def test_where_too_few_others_are_left_nothing_is_disputed():
    world = Governed(
        count=5, builders=4
    )  # of four, three are drawn: one other at most is there the next time
    first, _ = built(world)
    tomorrow(world)
    second, _ = built(world, "two")
    assert second.verdict.body["verdict"] == "REPRODUCED"
    assert status(world, first) == ["REPRODUCED"]


@pytest.mark.parametrize(("builders", "status_then"), [(7, "REPRODUCED"), (8, "DISPUTED")])
def test_t_others_must_contradict_and_not_one_fewer(builders, status_then):
    """Of seven, two are left for the second draw of five; of eight, three, which is T."""
    world = Governed(count=9, builders=builders, drawn=5, agreeing=3)
    first, _ = built(world)
    tomorrow(world)
    second, _ = built(world, "two")
    assert len(second.verdict.body["agreeing"]) == 5
    assert status(world, first) == [status_then]


def test_only_the_files_that_differ_are_disputed(world):
    names = ("a.jar", "b.pom", "c.jar")
    first, _ = built(world, names=names)
    tomorrow(world)
    request, builders = world.drawn()
    body = world.reveal(request, "one")
    body["outputs"] = [output(body, name, "two" if name == "b.pom" else "one") for name in names[:2]]
    world.run(request, [(b, body) for b in builders])
    assert status(world, first) == ["REPRODUCED", "DISPUTED", "DISPUTED"]  # c.jar is not made at all any more


def test_other_raw_bytes_of_equal_contents_are_no_contradiction(world):
    first, _ = built(world)
    tomorrow(world)
    request, builders = world.drawn()
    body = world.reveal(request, "one")
    body["outputs"] = [
        {**output(body, "idna-1.0-py3-none-any.whl", "one"), "raw": file_record("zipped later")}
    ]
    later = world.run(request, [(b, body) for b in builders])
    assert later.artifact.body["sha256"] != first.artifact.body["sha256"]
    assert status(world, first) == ["REPRODUCED"]


def test_what_is_withdrawn_is_not_disputed_as_well(world):
    first, _ = built(world)
    world.enact(about("artifact.withdraw", first.artifact.body["sha256"]))
    tomorrow(world)
    built(world, "two")
    assert status(world, first) == ["WITHDRAWN"]


def test_witnesses_that_see_other_bytes_later_dispute_what_was_seen(world):
    seen = {"ecosystem": "witness"}
    world = Governed(count=12, builders=11, capabilities=["pip", "witness"])
    first, _ = built(world, **seen)
    assert (status(world, first), first.verdict.body["verdict"]) == (["WITNESSED"], "WITNESSED")
    tomorrow(world)
    built(world, "two", **seen)
    assert status(world, first) == ["DISPUTED"]


# -- single words --


def said(world, author, **fields):
    """Why a re-check fact may not stand, or that it may."""
    return world.forced(world.entry(author, "fact.add", fact("recheck", **fields)))


def test_a_recheck_is_on_record_and_changes_no_status(world):
    first, _ = built(world)
    sha256 = first.artifact.body["sha256"]
    files = [{"expected": sha256, "file": first.artifact.body["file"], "found": "ef" * 32}]
    body = fact("recheck", f"sha256:{sha256}", outcome="contradicts", request=first.id, files=files)
    raw = world.entry(world.follower, "fact.add", body)
    world.block(raw)
    assert views.fact(world.db.get, entries.entry_id(raw).hex())["kind"] == "recheck"
    assert status(world, first) == ["REPRODUCED"]


def test_a_recheck_names_a_request_that_has_a_verdict_and_is_of_its_package(world):
    first, _ = built(world)
    open_request, _ = world.drawn(version="3.0")
    good = {"outcome": "agrees", "request": first.id}
    assert APPLIES in said(world, world.follower, **good)
    assert APPLIES in said(world, world.follower, **good, subject="pkg:pypi/idna")
    assert "no verdict" in said(world, world.follower, **{**good, "request": "ab" * 32})
    assert "no verdict" in said(world, world.follower, **{**good, "request": open_request})
    assert "another package" in said(world, world.follower, **good, subject="pkg:pypi/other@1.0")
    assert "another package" in said(world, world.follower, **good, subject="pkg:pypi/idna@2.0")
    assert "did not publish" in said(world, world.follower, **good, subject="sha256:" + "ab" * 32)


def test_a_self_check_is_of_a_builder_of_that_request(world):
    first, builders = built(world)
    mine = {"outcome": "unstable", "request": first.id, "self": True}
    assert APPLIES in said(world, builders[0], **mine)
    other = next(node for node in world.nodes if node not in builders)
    assert "a builder that revealed" in said(world, other, **mine)


def test_disputes_strikes_and_first_commits_can_be_computed_from_the_log_alone(world):
    world.enact(mapping())
    git = {"commit": "ab" * 20, "tag": "v1.0", "tree": "cd" * 32}
    recipe = {**entries.parse(world.request()[0]).body["recipe"], "parameters": [["extras", "none"]]}
    source = {"file": "idna.tar", "git": git, "sha256": blob("source")["sha256"], "size": 5}
    for word in ("one", "two"):
        request, builders = world.drawn(source=source, recipe=recipe)
        bodies = [(b, world.reveal(request, word, source="mapping")) for b in builders]
        world.block(*(world.commit(*pair) for pair in bodies))
        world.block(*(world.entry(b, "build.reveal", body) for b, body in bodies[:2]))
        tomorrow(world)  # the third withheld its own
        world.settle()
    kept = {name.partition(b"/")[0] for name in world.db}
    assert {b"strikes", b"commit", b"made", b"served"} <= kept
    replay = Replay(world.genesis, Parses(verify, 100))
    replay.feed(world.leaves)
    assert {name: row for name, row in replay.kept.rows.items() if name[0] > 31} == world.state()
    assert views.trees(replay.kept.get) == views.trees(world.db.get)
    first = views.project_files(world.db.get, "idna", every=True)[0]
    assert views.status(replay.kept.get, first.body["sha256"])["status"] == "DISPUTED"


# -- witnessed, then built --


@pytest.fixture
def seeing():
    return Governed(count=12, builders=11, capabilities=["pip", "witness"])


def served(world):
    return [(one.leaf, one.body["verdict"]) for one in views.project_files(world.db.get, "idna")]


def test_what_was_witnessed_and_is_built_bit_for_bit_later_is_reproduced(seeing):
    seen, _ = built(seeing, ecosystem="witness")
    sha256 = seen.artifact.body["sha256"]
    assert served(seeing) == [(seen.artifact.leaf, "WITNESSED")]
    made, _ = built(seeing)
    assert made.artifact.body["sha256"] == sha256
    assert views.status(seeing.db.get, sha256) == {"leaf": made.artifact.leaf, "status": "REPRODUCED"}
    assert views.artifact(seeing.db.get, sha256) == made.artifact
    assert served(seeing) == [(made.artifact.leaf, "REPRODUCED")]
    tomorrow(seeing)
    built(seeing, ecosystem="witness")  # what is seen again takes nothing from it
    assert served(seeing) == [(made.artifact.leaf, "REPRODUCED")]


def test_a_built_file_takes_the_place_of_one_that_was_only_witnessed(seeing):
    """Else whoever has a tampered upload witnessed first keeps the honest build out for ever."""
    seen, _ = built(seeing, "tampered upstream", ecosystem="witness")
    made, _ = built(seeing, "honest build")
    assert served(seeing) == [(made.artifact.leaf, "REPRODUCED")]
    assert status(seeing, seen) == ["WITNESSED"]  # by its digest it is what it was
    later, _ = built(seeing, "another build", recipe=recipe_of(seeing, sde=1))
    assert later.artifact is not None
    assert served(seeing) == [(made.artifact.leaf, "REPRODUCED")]  # what was built stays
    assert len(views.project_files(seeing.db.get, "idna", every=True)) == 3


def recipe_of(world, **changes):
    return {**entries.parse(world.request()[0]).body["recipe"], **changes}


@pytest.mark.parametrize("names", [("a.jar",), ("a.jar", "b.pom")])
def test_files_that_nobody_builds_stay_witnessed(seeing, names):
    built(seeing, names=("a.jar", "b.pom", "c-javadoc.jar"), ecosystem="witness")
    built(seeing, "built", names=names)
    now = {one.body["file"]: one.body["verdict"] for one in views.project_files(seeing.db.get, "idna")}
    assert now == {
        name: "REPRODUCED" if name in names else "WITNESSED" for name in ("a.jar", "b.pom", "c-javadoc.jar")
    }


def test_withdrawn_bytes_stay_withdrawn_when_they_are_built(seeing):
    seen, _ = built(seeing, ecosystem="witness")
    seeing.enact(about("artifact.withdraw", seen.artifact.body["sha256"]))
    made, _ = built(seeing)
    assert status(seeing, made) == ["WITHDRAWN"]
    assert served(seeing) == []


def test_a_dispute_among_witnesses_ends_in_the_better_verdict(seeing):
    seen, _ = built(seeing, ecosystem="witness")
    tomorrow(seeing)
    built(seeing, "two", ecosystem="witness")
    assert status(seeing, seen) == ["DISPUTED"]
    made, _ = built(seeing)
    assert status(seeing, made) == ["DISPUTED"]
    seeing.enact(about("dispute.resolve", seen.artifact.body["sha256"]))
    assert status(seeing, made) == ["REPRODUCED"]


def test_witnesses_of_another_upload_say_nothing_against_what_was_built(seeing):
    built(seeing, ecosystem="witness")
    made, _ = built(seeing)
    tomorrow(seeing)
    later, _ = built(seeing, "another upload", ecosystem="witness")
    assert later.verdict.body["verdict"] == "WITNESSED"
    assert status(seeing, made) == ["REPRODUCED"]
    assert served(seeing) == [(made.artifact.leaf, "REPRODUCED")]


# -- two requests at once --


def test_a_false_lock_or_recipe_keeps_nobody_elses_request_out(world):
    honest = world.request()[0]
    world.block(world.request(lock=blob("junk"))[0], world.request(recipe=recipe_of(world, sde=1))[0])
    assert APPLIES in world.forced(honest)
    assert "build.request" in world.block(honest)
    assert "is being built" in world.forced(world.request()[0])
    assert len(views.requests_open(world.db.get)) == 3


def test_requests_at_once_for_one_package_have_the_same_builders(world):
    drawn = []
    for at in range(3):
        drawn.append(world.drawn(lock=blob(("lock", at)))[1])
    assert drawn[0] == drawn[1] == drawn[2]
