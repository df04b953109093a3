"""Whoever asks chooses no builders: not by asking again, not by calling off, not through other members or words."""

import pytest

from pyrsia.ledger import entries, views
from pyrsia.units import COMMIT_WINDOW_MS, KEEP_BUILDERS_MS
from pyrsia.wire import canonical, purl
from pyrsia.wire.text import b32
from tests.reference.governance import Governed
from tests.reference.ledger import World, blob

TRIES = 6  # of eleven builders three are drawn: that all of these agree by luck is 1 in 10^17


def big(**changes):
    """Eleven builders; members 11 to 13 belong to one operator and build nothing."""
    operators = [f"operator-{i}" for i in range(11)] + ["asker"] * 3
    return World(count=14, builders=11, operators=operators, **changes)


def same(drawn):
    return all(one == drawn[0] for one in drawn)


def publics(builders):
    return [one.public for one in builders]


def recipe(world, **changes):
    return {**entries.parse(world.request()[0]).body["recipe"], **changes}


def finished(world, **changes):
    request, builders = world.drawn(**changes)
    world.run(request, [(b, world.reveal(request, at)) for at, b in enumerate(builders)])  # DIVERGED
    return publics(builders)


def made_up(at):
    """A source that nobody has; nothing in the log tells."""
    return {"file": "idna.tar.gz", "sha256": blob(("made up", at))["sha256"], "size": 5}


WAYS = {
    "again": lambda world, at: {},
    "another member of the operator": lambda world, at: {"author": world.nodes[11 + at % 3]},
    "another target": lambda world, at: {"target": {"arch": f"arch{at}", "libc": "musl", "os": "linux"}},
    "another parameter": lambda world, at: {"recipe": recipe(world, parameters=[["word", str(at)]])},
    "another lock": lambda world, at: {"lock": blob(("lock", at))},
    "another cut-off": lambda world, at: {"recipe": recipe(world, sde=at)},
    "another name of the source's file": lambda world, at: {
        "source": {"file": f"f{at}.tar.gz", "sha256": blob("source")["sha256"], "size": 5}
    },
    "another source": lambda world, at: {"source": made_up(at)},
    "another version": lambda world, at: {"version": f"99.{at}", "source": made_up(at)},
}


@pytest.mark.parametrize("way", WAYS)
def test_within_a_day_the_builders_stay_however_it_is_asked(way):
    world = big()
    drawn = [finished(world, **WAYS[way](world, at)) for at in range(TRIES)]
    assert same(drawn)
    world.propose(wait=KEEP_BUILDERS_MS.value)
    assert finished(world) != drawn[0]


def test_calling_off_before_the_draw_and_asking_again_is_no_new_draw():
    """Who leads the block of the draw knows its seed, and may put the cancellation of a friend into that very block."""
    world = big()
    raw, request = world.request()
    world.block(raw)
    world.propose()  # the first preimage; the next block's completes the seed
    assert "build.cancel" in world.block(world.entry(world.follower, "build.cancel", {"request": request}))
    world.settle()
    assert views.request(world.db.get, request).draws == ()
    drawn = []
    for _ in range(TRIES):
        again, builders = world.drawn()
        drawn.append(publics(builders))
        world.run(again, [(b, world.reveal(again, at)) for at, b in enumerate(builders)])
    kept = [value for name, value in world.db.items() if name.startswith(b"kept/")]
    assert len(kept) == 1
    assert same(drawn)
    assert [b32(one) for one in drawn[0]] == canonical.decode(kept[0])["builders"]


def test_calling_off_again_and_again_is_one_draw():
    world = big()
    seen = set()
    for _ in range(TRIES):
        raw, request = world.request()
        world.block(raw)
        world.block(world.entry(world.follower, "build.cancel", {"request": request}))
        world.settle()
        (kept,) = [value for name, value in world.db.items() if name.startswith(b"kept/")]
        seen.add(tuple(canonical.decode(kept)["builders"]))
    assert len(seen) == 1


def test_another_operator_moves_its_own_builder_alone():
    """Its own node may not build what it asks for; the others of the draw stay."""
    world = big()
    before = finished(world)
    asker = next(node for node in world.nodes if node.public == before[0])
    after = finished(world, author=asker)
    assert after[:2] == before[1:]
    assert before[0] not in after


def test_two_requesters_in_turn_move_their_own_builders_alone():
    """Else each turn would bring in somebody new, and a gang could wait until that is one of it."""
    world = big()
    before = finished(world)
    askers = [next(node for node in world.nodes if node.public == one) for one in before[:2]]
    drawn = [finished(world, author=askers[at % 2]) for at in range(2 * TRIES)]
    assert len({tuple(one) for one in drawn}) == 2
    assert finished(world) == before


def test_each_ecosystem_has_its_own_draw_for_a_package_and_no_other():
    world = big(capabilities=["pip", "witness"])
    drawn = {how: [finished(world, ecosystem=how) for _ in range(2)] for how in ("pip", "witness")}
    assert same(drawn["pip"])
    assert same(drawn["witness"])
    assert finished(world) == drawn["pip"][0]


def test_colluders_do_not_get_together_by_asking_for_what_nobody_made():
    """Two of eleven: a draw that has both comes once in eighteen, so sixty throws would find it."""
    world = big()
    seen = {tuple(finished(world, version=f"99.{at}", source=made_up(at))) for at in range(60)}
    assert len(seen) == 1


def test_strikes_for_other_packages_do_not_move_a_kept_draw():
    world = big()
    before = finished(world)
    struck = []
    for at in range(20):  # one of the three is drawn for half of all packages
        asked, builders = world.drawn(name=f"other-{at}")
        silent = [b.public for b in builders if b.public in before][:1]
        struck += silent
        play(world, asked, [(b, world.reveal(asked)) for b in builders if b.public not in silent])
    assert struck
    assert all(views.struck(world.db.get, b32(one)) for one in struck)
    assert finished(world) == before


def play(world, request, bodies):
    """Those who answer, and the deadlines for those who do not."""
    world.block(*(world.commit(*pair) for pair in bodies))
    world.propose(wait=COMMIT_WINDOW_MS.value + 1_000)
    world.propose()
    world.block(*(world.entry(b, "build.reveal", body) for b, body in bodies))
    world.settle()


def test_under_an_own_name_another_source_is_no_new_draw():
    """There its author makes the source, and could change a byte of it until it likes the draw."""
    world = big()
    own = str(purl.under(b32(world.follower.public), purl.parse("pkg:pypi/idna@1.0")))
    drawn = [
        finished(
            world,
            purl=own,
            source={"file": "a.tar", "manifest": "ab" * 32, "sha256": blob(("own", at))["sha256"], "size": 5},
        )
        for at in range(TRIES)
    ]
    assert same(drawn)


def test_a_builder_that_dies_is_replaced_and_no_other():
    """The day's builders stay; the one that kept the others waiting goes last."""
    world = big()
    request, builders = world.drawn()
    bodies = [(b, world.reveal(request, at)) for at, b in enumerate(builders)]
    play(world, request, bodies[:2])
    after = finished(world)
    assert after[:2] == publics(builders)[:2]
    assert after[2] != builders[2].public


def test_an_hour_of_asking_is_bounded_by_the_quota():
    world = Governed(limits=[["member", 20]])
    for at in range(20):
        assert world.block(world.request(version=f"{at}.0")[0])[0] == "build.request"
    assert "has used its 20 entries" in world.forced(world.request(version="99.0")[0])
