"""Who kept others waiting goes last for a day, and nobody can have somebody else struck."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyrsia.ledger import strikes, views
from pyrsia.units import COMMIT_WINDOW_MS, MAX_STRIKES, REVEAL_WINDOW_MS, STRIKE_WINDOW_MS
from pyrsia.wire.text import b32
from tests.reference.governance import Governed, member_motion
from tests.reference.ledger import World, key

WINDOWS = COMMIT_WINDOW_MS.value + REVEAL_WINDOW_MS.value + 2_000


def words(world, builder):
    return [one.word for one in views.struck(world.db.get, b32(builder.public))]


def strike_time(rows):
    return max(one.time_ms for one in rows)


def play(world, request, builders, commits, reveals):
    """One round: so many of the builders commit, so many of those reveal; then time passes until it is settled."""
    bodies = [(b, world.reveal(request)) for b in builders]
    world.block(*(world.commit(*pair) for pair in bodies[:commits]))
    if commits < len(builders):
        world.propose(wait=COMMIT_WINDOW_MS.value + 1_000)
        world.propose()
    if reveals:
        world.block(*(world.entry(b, "build.reveal", body) for b, body in bodies[:reveals]))
    world.propose(wait=WINDOWS)
    world.settle()
    return views.request(world.db.get, request)


@pytest.mark.parametrize(
    ("commits", "reveals", "expected"),
    [
        (3, 3, [[], [], []]),
        (3, 2, [[], [], ["withheld"]]),
        (2, 2, [[], [], ["silent"]]),
        (2, 1, [[], ["withheld"], ["silent"]]),
        (1, 0, [[], ["unanswered"], ["unanswered"]]),
        (0, 0, [["unanswered"]] * 3),
    ],
)
def test_each_builder_of_a_round_gets_what_it_did(commits, reveals, expected):
    world = World(count=12, builders=11)
    request, builders = world.drawn()
    play(world, request, builders, commits, reveals)
    assert [words(world, one) for one in builders] == expected
    for one in builders:
        assert all(strike.request == request for strike in views.struck(world.db.get, b32(one.public)))


def test_a_builder_that_reveals_a_failure_did_its_part(world):
    request, builders = world.drawn()
    failed = {"outcome": "failed", "outputs": [], "phase": "build"}
    view = world.run(request, [(b, world.reveal(request, **failed)) for b in builders])
    assert view.verdict.body["verdict"] == "FAILED"
    assert [words(world, one) for one in builders] == [[]] * 3


def test_a_late_commit_is_no_commit_and_a_strike(world):
    request, builders = world.drawn()
    bodies = [(b, world.reveal(request)) for b in builders]
    world.block(*(world.commit(*pair) for pair in bodies[:2]))
    deadline = views.request(world.db.get, request).draw.body["commit_deadline"]
    late = world.commit(*bodies[2])
    assert "commit deadline has passed" in world.forced(late, at=deadline + 1)
    world.propose(wait=WINDOWS)
    world.settle()
    assert words(world, builders[2]) == ["silent"]


def test_a_struck_builder_is_drawn_last_for_a_day_and_still_drawn_where_nobody_else_is():
    world = World(count=12, builders=11)
    request, builders = world.drawn()
    play(world, request, builders, 2, 2)
    struck = builders[2]
    for at in range(12):  # three of eleven: one in 45 would miss it twelve times by luck
        _, drawn = world.drawn(name=f"package-{at}")
        assert struck.public not in {b.public for b in drawn}

    small = World()  # four builders, three are drawn
    request, builders = small.drawn()
    play(small, request, builders, 2, 2)
    _, drawn = small.drawn(name="other")
    assert builders[2].public not in {b.public for b in drawn}
    small = World(count=4, builders=3, validators=4)
    request, builders = small.drawn()
    play(small, request, builders, 2, 2)
    _, drawn = small.drawn(name="other")
    assert drawn[-1] == builders[2]  # last, and not left out

    world.propose(wait=STRIKE_WINDOW_MS.value)
    drawn = [b.public for at in range(12) for b in world.drawn(name=f"later-{at}")[1]]
    assert struck.public in drawn


def test_a_strike_ranks_for_its_own_ecosystem_alone():
    """Else asking for what a builder lacks would take it away from all that it can build."""
    world = World(count=4, builders=3, validators=4, capabilities=["pip", "witness"])
    request, builders = world.drawn()
    play(world, request, builders, 2, 2)
    assert views.struck(world.db.get, b32(builders[2].public))[0].ecosystem == "pip"
    view, now = views.View(world.db.get), world.time
    for at, one in enumerate(builders):
        assert strikes.ranks(view, b32(one.public), "pip", now) == ([request] if at == 2 else [])
        assert not strikes.ranks(view, b32(one.public), "witness", now)


def test_nobody_is_ranked_by_a_round_in_which_hardly_anybody_answered():
    """Else a package that keeps every honest builder too long would put them all behind those who only copy."""
    world = World(count=12, builders=11)
    request, builders = world.drawn()
    play(world, request, builders, 1, 0)
    second = world.builders(request)
    play(world, request, second, 0, 0)
    now = world.time
    assert all(words(world, one) for one in (*builders[1:], *second))
    assert not any(
        strikes.ranks(views.View(world.db.get), b32(one.public), "pip", now) for one in world.nodes
    )


def test_a_builder_whose_key_was_revoked_could_not_answer_and_is_not_struck():
    world = Governed(count=12, builders=11, validators=4)
    request, builders = world.drawn()
    gone = builders[2]
    world.enact(
        member_motion("member.rotate", node=b32(gone.public), build=key("next", "build").public.hex())
    )
    play(world, request, builders, 2, 2)
    assert views.request(world.db.get, request).verdict.body["silent"] == [b32(gone.public)]
    assert words(world, gone) == []


def test_the_newest_strikes_are_kept_and_old_ones_go(world):
    count = MAX_STRIKES.value + 3
    struck = None
    for at in range(count):
        request, builders = world.drawn(version=f"{at}.1")
        play(world, request, builders, 3, 0)  # each of three withholds; so all are drawn again and again
        struck = builders[0]
    kept = views.struck(world.db.get, b32(struck.public))
    assert len(kept) == MAX_STRIKES.value
    assert kept[-1].request == request
    world.propose(wait=STRIKE_WINDOW_MS.value)
    request, builders = world.drawn(version="9.9")
    play(world, request, builders, 3, 0)
    for one in builders:
        left = views.struck(world.db.get, b32(one.public))
        assert left
        assert all(strike.time_ms + STRIKE_WINDOW_MS.value >= strike_time(left) for strike in left)


NODES = "abcde"


@given(st.sets(st.sampled_from(NODES)), st.data(), st.integers(3, 5))
def test_the_words_are_those_of_the_table(committed, data, agreeing):
    """docs/ledger.md, "Strikes", word for word."""
    revealed = data.draw(st.sets(st.sampled_from(sorted(committed)))) if committed else set()
    gate = len(committed) >= agreeing
    if not gate:
        revealed = set()  # nobody can
    for node in NODES:
        said = strikes.why(node, committed, revealed, agreeing)
        if node in revealed:
            assert said == ""
        elif gate:
            assert said == ("withheld" if node in committed else "silent")
        else:
            assert said == ("" if node in committed else "unanswered")
