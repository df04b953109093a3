"""Whatever is an entry may be offered: it stands, or is refused in words, and the log still replays."""

import contextlib
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyrsia.errors import Malformed, Refusal
from pyrsia.keys import verify
from pyrsia.ledger import entries, views
from pyrsia.ledger.execute import Parses
from pyrsia.ledger.replay import Replay
from tests.reference.governance import Governed
from tests.wire.make_entries import accepted

BODIES = [
    (entry["type"], entry["body"])
    for entry in (json.loads(raw) for _, raw in accepted())
    if entry["type"] in entries.AUTHORED
]
OFFERED = BODIES + [body for body in BODIES if body[0] in ("motion.approve", "motion.propose")] * 3
POINTS = {
    "build.cancel": "request",
    "build.commit": "request",
    "build.reveal": "request",
    "motion.approve": "motion",
}
STEP = st.tuples(
    st.integers(0, len(OFFERED) - 1), st.integers(0, 4), st.integers(0, 40), st.booleans(), st.booleans()
)


@settings(max_examples=60, deadline=None)
@given(st.lists(STEP, min_size=8, max_size=40), st.integers(1, 700_000))
def test_any_entries_in_any_order_leave_a_log_that_replays(steps, wait):
    world, ids, waiting = Governed(), [], []
    for body_at, author, back, agreed, ends in steps:
        kind, body = OFFERED[body_at]
        if ids and kind in POINTS:  # of something that is there
            body = {**body, POINTS[kind]: ids[-1 - back % len(ids)]}
        elif ids and "supersedes" in body:
            body = {**body, "supersedes": ids[-1 - back % len(ids)]}
        raw = world.entry(world.nodes[author], kind, body)
        ids.append(entries.entry_id(raw).hex())
        offered = [raw]
        if kind == "motion.propose" and agreed:
            offered += [world.approval(ids[-1], one) for one in world.validators()]
        for one in offered:
            with contextlib.suppress(Refusal):  # in words, and nothing else is raised
                world.chain.mempool.add(one, world.time, world.db.get)
        waiting += offered
        if ends:
            assert "execution gives" in world.forced(*waiting) or "does not apply" in world.forced(*waiting)
            world.propose(wait)
            waiting = []
    world.propose(wait)
    replay = Replay(world.genesis, Parses(verify, 1_000))
    replay.feed(world.leaves)
    assert {name: row for name, row in replay.kept.rows.items() if name[0] > 31} == world.state()
    assert views.trees(replay.kept.get) == views.trees(world.db.get)


def test_the_bodies_are_of_every_type():
    assert {kind for kind, _ in BODIES} == set(entries.AUTHORED)


@pytest.mark.parametrize("field", ["expected", "sha256", "artifact_hash", "outputs"])
def test_a_request_has_no_place_for_the_digest_that_should_come_out(field):
    body = next(body for kind, body in BODIES if kind == "build.request")
    entries.AUTHORED["build.request"](body)
    with pytest.raises(Malformed):
        entries.AUTHORED["build.request"]({**body, field: "ab" * 32})
