"""Whole builds through the chain: from a request to what clients are served."""

import pytest

from pyrsia.errors import Refusal
from pyrsia.ledger import entries, views
from pyrsia.units import COMMIT_WINDOW_MS, REVEAL_WINDOW_MS
from pyrsia.wire.text import b32
from tests.reference.ledger import World, blob, key


def test_a_request_becomes_a_published_file(world):
    raw, request = world.request()
    assert world.block(raw) == ["build.request", "block.seal"]
    assert world.settle() == ["block.seal", "build.draw", "block.seal"]  # f + 1 = 2 preimages
    builders = world.builders(request)
    assert len(builders) == 3
    assert [a.owes for a in views.assignments(world.db.get, world.genesis, builders[0].public)] == ["commit"]
    view = world.run(request, [(builder, world.reveal(request)) for builder in builders])
    assert view.state == "done"
    assert view.verdict.body["verdict"] == "REPRODUCED"
    assert view.verdict.body["agreeing"] == [b32(builder.public) for builder in builders]
    assert view.artifact.body["served"] == "raw"
    assert views.project_files(world.db.get, "idna") == (view.artifact,)
    assert views.artifact(world.db.get, view.artifact.body["sha256"]) == view.artifact
    kinds = [entries.parse(world.leaves[leaf]).kind for leaf in view.leaves]
    assert len(kinds) == 1 + 1 + 3 + 3 + 2
    assert kinds[-2:] == ["build.verdict", "artifact.add"]


def test_one_dissenter_is_named_and_two_publish(world):
    request, builders = world.drawn()
    bodies = [(builder, world.reveal(request)) for builder in builders[1:]]
    view = world.run(request, [(builders[0], world.reveal(request, "altered")), *bodies])
    assert view.artifact.body["dissenting"] == [{"builder": b32(builders[0].public), "why": "other contents"}]
    assert len(view.artifact.body["agreeing"]) == 2


def test_three_different_results_diverge_and_publish_nothing(world):
    request, builders = world.drawn()
    view = world.run(request, [(b, world.reveal(request, i)) for i, b in enumerate(builders)])
    assert (view.verdict.body["verdict"], view.artifact) == ("DIVERGED", None)


def test_reveals_with_another_lock_never_count(world):
    request, builders = world.drawn()
    other = world.reveal(request, lock_sha256=blob("other")["sha256"])
    view = world.run(request, [(builder, other) for builder in builders])
    assert (view.verdict.body["verdict"], view.artifact) == ("INSUFFICIENT", None)


def test_a_lock_that_builders_could_not_reproduce_fails(world):
    request, builders = world.drawn()
    failed = world.reveal(request, outcome="failed", phase="lock-mismatch", outputs=[])
    view = world.run(request, [(builder, failed) for builder in builders])
    assert (view.verdict.body["verdict"], view.artifact) == ("FAILED", None)


@pytest.mark.parametrize("change", [{"isolation": "confined"}, {"source": "claimed"}])
def test_weak_isolation_and_claimed_sources_do_not_count(world, change):
    request, builders = world.drawn()
    view = world.run(request, [(builder, world.reveal(request, **change)) for builder in builders])
    assert view.artifact is None


def test_silent_builders_cause_one_second_draw(world):
    request, builders = world.drawn()
    world.block(world.commit(builders[0], world.reveal(request)))
    world.propose(wait=COMMIT_WINDOW_MS.value + 2_000)
    world.settle()
    view = views.request(world.db.get, request)
    assert (len(view.draws), view.round, view.state) == (2, 1, "drawn")
    world.propose(wait=COMMIT_WINDOW_MS.value + 2_000)
    world.settle()
    view = views.request(world.db.get, request)
    assert (view.verdict.body["verdict"], len(view.verdict.body["silent"]), len(view.draws)) == (
        "INSUFFICIENT",
        3,
        2,
    )


def test_two_of_three_publish_after_the_commit_deadline_and_the_silent_one_is_named(world):
    request, builders = world.drawn()
    bodies = [(builder, world.reveal(request)) for builder in builders[:2]]
    world.block(*(world.commit(*pair) for pair in bodies))
    world.block(*(world.entry(b, "build.reveal", body, until=world.time + 3_000_000) for b, body in bodies))
    assert not views.request(world.db.get, request).reveals  # the gate is closed
    world.propose(wait=COMMIT_WINDOW_MS.value)
    world.propose(wait=2_000)
    world.settle()
    view = views.request(world.db.get, request)
    assert view.verdict.body["silent"] == [b32(builders[2].public)]
    assert view.artifact is not None
    late = world.commit(builders[2], world.reveal(request))
    with pytest.raises(Refusal, match="settled"):
        world.block(late)
    assert REVEAL_WINDOW_MS.value > 2_000


def test_a_copied_commitment_cannot_be_opened(world):
    request, builders = world.drawn()
    body = world.reveal(request)
    copied = world.commit(builders[1], body, as_builder=builders[0])
    world.block(*(world.commit(b, body) for b in (builders[0], builders[2])), copied)
    with pytest.raises(Refusal, match="does not open"):
        world.block(world.entry(builders[1], "build.reveal", body))


def test_a_reveal_with_another_nonce_is_refused(world):
    request, builders = world.drawn()
    body = world.reveal(request)
    world.block(*(world.commit(builder, body) for builder in builders))
    with pytest.raises(Refusal, match="does not open"):
        world.block(world.entry(builders[0], "build.reveal", {**body, "nonce": "00" * 32}))


def test_the_requesters_operator_is_never_drawn():
    for i in range(3):
        world = World()
        _, builders = world.drawn(author=world.nodes[i])
        assert world.nodes[i].public not in {builder.public for builder in builders}


def test_too_few_builders_is_said_at_admission_with_the_numbers():
    world = World(operators=["a", "a", "b", "c", "c"])
    raw, _ = world.request()
    with pytest.raises(Refusal, match=r"2 operators .* 3 are needed") as caught:
        world.block(raw)
    assert caught.value.code == "too-few-builders"


def test_strangers_and_second_requests_are_refused(world):
    stranger = key("stranger")
    with pytest.raises(Refusal, match="no member"):
        world.block(world.request(author=stranger)[0])
    world.block(world.request()[0])
    with pytest.raises(Refusal, match="is being built") as caught:
        world.block(world.request()[0])
    assert caught.value.code == "conflict"


def test_a_block_that_lies_about_its_outcome_is_refused(world):
    from pyrsia.ledger.chain import InvalidBlock

    slot = world.slot()
    world.chain.mempool.add(world.request()[0], world.time, world.db.get)
    draft = world.chain.build(world.chain.head().hash, slot)
    lies = [
        {"tree_root": bytes(32)},
        {"tree_size": 1},
        {"beacon": bytes(32)},
        {"reveal": bytes(32)},
        {"time_ms": 0},
        {"height": 9},
        {"n_entries": 0},
        {"kind": 1},
        {"next_chain": b"\1" * 32},
    ]
    for lie in lies:
        with pytest.raises(InvalidBlock):
            world.chain.check(world.header(draft, slot, **lie), draft.entries)
    honest = world.header(draft, slot)
    world.chain.check(honest, draft.entries)
    assert world.chain.knows(honest.hash())


def test_an_idle_block_changes_nothing(world):
    before = dict(world.db)
    assert world.propose() == []
    assert world.db == before
    assert not world.chain.has_work(world.chain.head().hash)


def test_the_same_entry_stands_once(world):
    body = {"kind": "description", "subject": "pkg:pypi/idna@1.0", "text": "x", "valid_from": 1}
    raw = world.entry(world.follower, "fact.add", body)
    assert world.block(raw) == ["fact.add", "block.seal"]
    assert world.chain.mempool.add(raw, world.time, world.db.get) == "duplicate"
