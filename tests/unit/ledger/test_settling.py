"""Several files of one build: compared at once, published one by one, each name served once and for ever."""

import pytest

from pyrsia.keys import verify
from pyrsia.ledger import entries, settling, views
from pyrsia.ledger.execute import Parses
from pyrsia.ledger.replay import Replay
from pyrsia.units import MAX_DERIVED, MAX_ENTRY_BYTES, MAX_OUTPUTS
from tests.reference.ledger import World, file_record

NAMES = ("thing-1.0-sources.jar", "thing-1.0.jar", "thing-1.0.pom")


def bare(word):
    return {name: value for name, value in file_record(word).items() if name != "metadata"}


def output(world, request, name, word="same", **changes):
    plain = world.reveal(request)["outputs"][0]
    files = {"canonical": bare((word, name, "canonical")), "raw": bare((word, name))}
    return {**plain, **files, "name": name, **changes}


def reveal(world, request, words, **changes):
    """`words`: file name -> what is in it."""
    return world.reveal(
        request, outputs=[output(world, request, name, word) for name, word in words.items()], **changes
    )


def told(view):
    return [(one.body["file"], one.body["served"], one.body["verdict"]) for one in view.artifacts]


def test_each_file_is_published_by_name_and_without_metadata_where_there_is_none(world):
    request, builders = world.drawn()
    words = dict.fromkeys(reversed(NAMES), "same")
    view = world.run(request, [(b, reveal(world, request, words)) for b in builders])
    assert told(view) == [(name, "raw", "REPRODUCED") for name in NAMES]
    kinds = [entries.parse(world.leaves[leaf]).kind for leaf in view.leaves]
    assert kinds[-4:] == ["build.verdict", *["artifact.add"] * 3]
    assert views.project_files(world.db.get, "idna") == view.artifacts
    for one in view.artifacts:
        assert "metadata" not in one.body
        assert views.artifact(world.db.get, one.body["sha256"]) == one
        assert views.status(world.db.get, one.body["sha256"]) == {"leaf": one.leaf, "status": "REPRODUCED"}


def test_one_other_file_of_many_is_dissent_and_is_named(world):
    request, builders = world.drawn()
    words = dict.fromkeys(NAMES, "same")
    bodies = [reveal(world, request, words), *[reveal(world, request, {**words, NAMES[1]: "evil"})]]
    view = world.run(request, [(builders[0], bodies[1]), *((b, bodies[0]) for b in builders[1:])])
    assert [one["why"] for one in view.verdict.body["dissenting"]] == [f"other contents of {NAMES[1]}"]
    assert told(view) == [(name, "raw", "REPRODUCED") for name in NAMES]


def test_liars_about_different_files_agree_with_nobody(world):
    """Each file alone would have a majority of two; together none has, so nothing is put together from parts."""
    request, builders = world.drawn()
    words = dict.fromkeys(NAMES, "same")
    view = world.run(
        request,
        [
            (b, reveal(world, request, {**words, name: "evil"}))
            for b, name in zip(builders, NAMES, strict=True)
        ],
    )
    assert (view.verdict.body["verdict"], view.artifacts) == ("DIVERGED", ())
    assert len(view.verdict.body["dissenting"]) == 3


def test_upstreams_bytes_are_served_for_the_files_that_enough_name_and_no_other(world):
    request, builders = world.drawn()
    body = reveal(world, request, dict.fromkeys(NAMES, "same"))
    named = {"upstream": file_record("central"), "upstream_relation": "equivalent"}
    other = {"upstream": file_record("central pom"), "upstream_relation": "different"}
    sources, jar, pom = body["outputs"]
    body["outputs"] = [sources, {**jar, **named}, {**pom, **other}]
    view = world.run(request, [(b, body) for b in builders])
    assert told(view) == [
        (NAMES[0], "raw", "REPRODUCED"),
        (NAMES[1], "upstream", "EQUIVALENT"),
        (NAMES[2], "raw", "REPRODUCED"),
    ]
    assert [one.body["upstream"] for one in view.artifacts] == ["none", "equivalent", "different"]
    assert view.artifacts[1].body["metadata"] == file_record("central")["metadata"]
    assert view.verdict.body["verdict"] == "REPRODUCED"


def test_the_weakest_containment_is_told_for_each_file(world):
    request, builders = world.drawn()
    bodies = [reveal(world, request, dict.fromkeys(NAMES, "same")) for _ in builders]
    bodies[1]["outputs"][0]["containment"] = "none"
    bodies[2]["outputs"][2]["containment"] = "partial"
    view = world.run(request, [*zip(builders, bodies, strict=True)])
    assert [one.body["containment"] for one in view.artifacts] == ["none", "full", "partial"]


def test_the_first_file_of_each_name_is_served_for_ever_and_new_names_join_it(world):
    request, builders = world.drawn()
    first = world.run(
        request, [(b, reveal(world, request, {NAMES[1]: "one", NAMES[2]: "one"})) for b in builders]
    )
    request, builders = world.drawn()
    words = {NAMES[0]: "two", NAMES[1]: "two", NAMES[2]: "one"}
    second = world.run(request, [(b, reveal(world, request, words)) for b in builders])
    assert views.project_files(world.db.get, "idna") == (*first.artifacts, second.artifacts[0])
    every = views.project_files(world.db.get, "idna", every=True)
    assert every == (*first.artifacts, *second.artifacts)
    assert world.db[f"served/pkg:pypi/idna@1.0/{NAMES[1]}".encode()] != world.db[
        f"served/pkg:pypi/idna@1.0/{NAMES[0]}".encode()
    ]  # fmt: skip


def test_what_is_witnessed_is_upstreams_and_says_no_more(world):
    world = World(capabilities=["witness"])
    request, builders = world.drawn(ecosystem="witness")
    bodies = [reveal(world, request, {NAMES[1]: "seen"}) for _ in builders]
    for at, body in enumerate(
        bodies
    ):  # nothing is normalised: what a witness says besides the bytes does not count
        body["outputs"][0].update(canonical=bare(at), stable=f"{at:064x}", containment="full")
    view = world.run(request, [*zip(builders, bodies, strict=True)])
    assert view.verdict.body["verdict"] == "WITNESSED"
    body = view.artifact.body
    assert (body["verdict"], body["served"], body["upstream"]) == ("WITNESSED", "upstream", "identical")
    assert (body["containment"], body["sha256"]) == ("none", bare(("seen", NAMES[1]))["sha256"])
    assert len(view.verdict.body["agreeing"]) == 3


@pytest.mark.parametrize("how", ["mapping", "claimed"])
def test_a_witness_that_did_not_ask_the_registry_saw_nothing(how):
    world = World(capabilities=["witness"])
    request, builders = world.drawn(ecosystem="witness")
    view = world.run(request, [(b, reveal(world, request, {NAMES[1]: "seen"}, source=how)) for b in builders])
    assert (view.verdict.body["verdict"], view.artifacts) == ("INSUFFICIENT", ())


def many(count):
    return {f"file-{at:02}.bin": "same" for at in range(count)}


def test_a_reveal_of_the_most_files_is_an_entry_and_with_upstreams_of_all_it_may_not_be(world):
    """The bound on outputs is of the form, the bound on bytes is the log's: a builder refuses what does not fit."""
    request, builders = world.drawn()
    body = reveal(world, request, many(MAX_OUTPUTS.value), attestation="x" * 16_000)
    raw = world.entry(builders[0], "build.reveal", body)
    assert len(raw) <= MAX_ENTRY_BYTES.value
    for one in body["outputs"]:
        one.update(upstream=file_record(one["name"]), upstream_relation="different")
    with pytest.raises(ValueError, match=r"not a valid build\.reveal: .* bytes"):
        world.entry(builders[0], "build.reveal", body)


def test_verdicts_whose_files_have_no_room_wait_for_the_next_block_in_their_order():
    """All are settled at one deadline, and one verdict with its files is never torn apart."""
    world = World(count=6, validators=4, builders=5)
    a_block = MAX_DERIVED.value // settling.MOST_DERIVED
    count = a_block + 2
    raws = [world.request(version=f"{at}.0") for at in range(count)]
    world.block(*(raw for raw, _ in raws))
    world.settle()
    words = many(MAX_OUTPUTS.value)
    opened = []
    for _, request in raws:
        bodies = [(b, reveal(world, request, words)) for b in world.builders(request)]
        world.block(*(world.commit(*pair) for pair in bodies))
        opened += [
            world.entry(b, "build.reveal", body) for b, body in bodies[:2]
        ]  # the third withholds its own
    for raw in opened:
        world.block(raw)
    world.time = views.request(world.db.get, raws[0][1]).draw.body["reveal_deadline"]
    blocks = []
    for _ in range(4):
        kinds = world.propose()
        blocks.append(sum(kind in ("build.verdict", "artifact.add") for kind in kinds))
    assert [number for number in blocks if number] == [
        a_block * settling.MOST_DERIVED,
        2 * settling.MOST_DERIVED,
    ]
    settled = [
        entry.body["request"] for entry in map(entries.parse, world.leaves) if entry.kind == "build.verdict"
    ]
    assert settled == [
        entry.id.hex() for entry in map(entries.parse, world.leaves) if entry.kind == "build.request"
    ]
    for _, request in raws:
        view = views.request(world.db.get, request)
        leaves = [one.leaf for one in view.artifacts]
        assert leaves == [*range(view.verdict.leaf + 1, view.verdict.leaf + settling.MOST_DERIVED)]
    replay = Replay(world.genesis, Parses(verify, 100))
    replay.feed(world.leaves)
    assert {name: row for name, row in replay.kept.rows.items() if name[0] > 31} == world.state()
