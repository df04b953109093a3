"""Builders that lie, copy, stay silent, flap or come late, in every mixture: the right verdict, and names for the rest.

What a mixture must come to is said by `expected`, from the roles alone; the slow oracle judges the reveals besides.
"""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyrsia.ledger import verdict, views
from pyrsia.wire.text import b32
from tests.reference import verdict as oracle
from tests.reference.ledger import World, blob, file_record

HONEST = "honest"
ROLES = {
    HONEST: "builds",
    "liar": "reveals bytes of its own",
    "gang": "reveals the bytes that its whole gang agreed on",
    "upstream": "hands in the registry's file as its own build",
    "copycat": "commits to what another builder committed to",
    "late": "commits after the deadline",
    "silent": "does nothing",
    "flapping": "commits, and does not reveal",
    "failing": "reveals that the build failed",
}
GONE = ("copycat", "late", "silent", "flapping")


def result(world, request, role, place):
    """The reveal of a builder in this role."""
    upstream = {"upstream": file_record("registry"), "upstream_relation": "equivalent"}
    word = {HONEST: "same", "liar": ("lie", place), "gang": "gang", "upstream": "same"}.get(role, "same")
    body = world.reveal(request, word, nonce=blob((role, place, world.count))["sha256"])
    output = body["outputs"][0]
    if role in (HONEST, "upstream"):
        output.update(upstream)
    if role == "upstream":
        output["raw"] = file_record("registry")
        output["upstream_relation"] = "identical"
    if role == "failing":
        body.update(outcome="failed", outputs=[], phase="build")
    return body


def play(world, request, roles):
    """One round with these roles in draw order; (reveal bodies by node id text of who could reveal)."""
    builders = world.builders(request)
    drawn = views.request(world.db.get, request).draw.body
    bodies = [result(world, request, role, place) for place, role in enumerate(roles)]
    commits = {}
    for place, (builder, role) in enumerate(zip(builders, roles, strict=True)):
        if role in ("silent", "late", "copycat"):
            continue
        commits[place] = world.commit(builder, bodies[place])
    for place, role in enumerate(roles):
        if role == "copycat" and commits:  # the newest commitment it can see, under its own name
            seen = min(commits)
            commits[place] = world.commit(builders[place], bodies[seen], as_builder=builders[seen])
            bodies[place] = bodies[seen]
    if commits:
        world.block(*commits.values())
    for place, role in enumerate(roles):
        if role == "late":
            late = world.commit(builders[place], bodies[place])
            assert "deadline has passed" in world.forced(late, at=drawn["commit_deadline"] + 1)
    after = drawn["commit_deadline"] + 1_000
    if len(commits) < len(builders):
        world.propose(wait=max(1_000, after - world.time))
        world.propose()
    for place, role in enumerate(roles):
        if role == "copycat" and place in commits and len(commits) >= drawn["agreeing"]:
            raw = world.entry(builders[place], "build.reveal", bodies[place])
            assert "does not open" in world.forced(raw)
    said = {}
    if len(commits) >= drawn["agreeing"]:
        said = {place: bodies[place] for place, role in enumerate(roles) if role not in GONE}
        if said:
            world.block(*(world.entry(builders[place], "build.reveal", body) for place, body in said.items()))
    world.propose(wait=max(1_000, drawn["reveal_deadline"] + 2_000 - world.time))
    world.settle()
    return {b32(builders[place].public): body for place, body in said.items()}


def expected(roles, agreeing):
    """(verdict, role of those that agree) by counting heads; None if nothing can be agreed on."""
    count = {role: roles.count(role) for role in ROLES}
    committed = len(roles) - count["silent"] - count["late"]
    if all(role in ("silent", "late", "copycat") for role in roles):
        committed = 0  # nothing to copy
    if committed < agreeing:
        return "INSUFFICIENT", None
    for role in (HONEST, "gang", "upstream"):
        if count[role] >= agreeing:
            return "REPRODUCED", role
    if count[HONEST] + count["upstream"] >= agreeing:
        return "EQUIVALENT", None  # equal after normalising: a copy of upstream cannot be told from a build
    if count["failing"] >= agreeing:
        return "FAILED", "failing"
    answered = sum(count[role] for role in ROLES if role not in GONE)
    return ("DIVERGED" if answered >= agreeing else "INSUFFICIENT"), None


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_every_mixture_of_roles_comes_to_the_right_verdict_with_names(data):
    total = data.draw(st.integers(3, 5))
    agreeing = total // 2 + 1
    world = World(count=12, builders=11, agreeing=agreeing, drawn=total)
    request, _ = world.drawn()
    for turn in range(2):
        roles = data.draw(st.lists(st.sampled_from([HONEST] * 4 + [*ROLES]), min_size=total, max_size=total))
        drawn = views.request(world.db.get, request).draw.body
        said = play(world, request, roles)
        word, winner = expected(roles, agreeing)
        silent = [node for node, role in zip(drawn["builders"], roles, strict=True) if node not in said]
        view = views.request(world.db.get, request)
        if word == "INSUFFICIENT" and silent and not turn:
            assert (view.state, view.round, view.verdict) == ("drawn", 1, None)
            continue
        break
    told = view.verdict.body
    assert told["verdict"] == word
    rules = verdict.Rules.of(view.request.body, drawn)
    assert oracle.decide(drawn["builders"], said, rules) == (
        word,
        tuple(told["agreeing"]),
        tuple(told["silent"]),
    )
    role_of = dict(zip(drawn["builders"], roles, strict=True))
    if winner is not None:
        assert {role_of[node] for node in told["agreeing"]} == {winner}
    named = {one["builder"] for one in told["dissenting"]}
    assert named == {node for node in said if node not in told["agreeing"]}
    assert told["silent"] == silent
    assert all(one["why"] for one in told["dissenting"])
    assert not set(silent) & named
    if word in ("REPRODUCED", "EQUIVALENT"):
        assert len(view.artifacts) == 1
        if winner == HONEST:  # T of them name the registry's file, so its bytes are what clients get
            assert view.artifact.body["sha256"] == file_record("registry")["sha256"]
            assert view.artifact.body["verdict"] == "EQUIVALENT"  # and nobody made those bytes
    else:
        assert view.artifacts == ()
    for node, role in role_of.items():
        struck = {one.word for one in views.struck(world.db.get, node)}
        if role == HONEST:
            assert not struck & {"silent", "withheld"}


@pytest.mark.parametrize("place", range(3))
def test_a_copied_commitment_is_no_result_wherever_its_builder_was_drawn(world, place):
    request, _ = world.drawn()
    roles = [HONEST] * 3
    roles[place] = "copycat"
    play(world, request, roles)
    view = views.request(world.db.get, request)
    copycat = view.draw.body["builders"][place]
    assert view.verdict.body["silent"] == [copycat]
    assert [one.word for one in views.struck(world.db.get, copycat)] == ["withheld"]
    assert len(view.verdict.body["agreeing"]) == 2


def test_one_that_hands_in_the_registrys_file_is_told_from_those_that_built(world):
    request, _ = world.drawn()
    play(world, request, ["upstream", HONEST, HONEST])
    body = views.request(world.db.get, request).verdict.body
    assert body["dissenting"] == [
        {
            "builder": views.request(world.db.get, request).draw.body["builders"][0],
            "why": "other raw bytes, equal after normalising",
        }
    ]


def test_a_flapping_builder_is_replaced_once_and_the_request_comes_to_its_end():
    world = World(count=12, builders=11)
    request, before = world.drawn()
    play(world, request, ["flapping", "silent", "silent"])
    after = world.builders(request)
    assert not {one.public for one in before} & {one.public for one in after}
    play(world, request, ["flapping", "silent", HONEST])
    view = views.request(world.db.get, request)
    assert (view.state, view.verdict.body["verdict"], len(view.draws)) == ("done", "INSUFFICIENT", 2)
