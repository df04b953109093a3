"""Asking for a closure: dependencies first, and nothing that the network knows already."""

import pytest
import trio

from pyrsia.builds.model import Planned, Want
from pyrsia.errors import Refusal
from pyrsia.ledger import entries, views
from pyrsia.node.builds.requests import PLAN_S, Requests
from pyrsia.node.storage.shelf import BlobRef
from pyrsia.wire.text import b32
from tests.reference.governance import Governed, about
from tests.reference.ledger import blob
from tests.reference.story import Story
from tests.unit.ledger.test_rechecks import built, tomorrow

LOCK = repr("lock").encode()  # whose digest the reference's requests name


class Planner:
    def __init__(self, *planned):
        self.planned, self.asked, self.hangs = planned, [], False

    async def plan(self, want, now_ms, progress):
        self.asked.append((want.name, want.version))
        progress(f"planning {want.name}")
        if self.hangs:
            await trio.sleep_forever()
        return self.planned


class Shelf:
    def __init__(self):
        self.kept = []

    async def put(self, data, *, pin=""):
        self.kept.append((data, pin))
        made = blob("lock")
        return BlobRef(bytes.fromhex(made["manifest"]), bytes.fromhex(made["sha256"]), made["size"])


class Submitter:
    """Puts every entry into the test's own ledger."""

    def __init__(self, world):
        self.world = world

    async def submit(self, kind, body):
        raw = self.world.entry(self.world.follower, kind, body)
        self.world.block(raw)
        return entries.entry_id(raw), len(self.world.leaves)


def planned(story, version="1.0", **changes):
    asked = story.asked
    fields = {
        "purl": f"pkg:pypi/idna@{version}",
        "coordinates": {"name": "idna", "version": version},
        "source": asked["source"],
        "recipe": asked["recipe"],
        "lock": LOCK,
        "ecosystem": "pip",
        "target": asked["target"],
        **changes,
    }
    return Planned(**fields)


def requests(story, planner, shelf=None):
    world = story.world
    return Requests(
        world.follower.public,
        plugins={"pip": planner},
        shelf=shelf or Shelf(),
        submitter=Submitter(world),
        reads=world.db.get,
    )


@pytest.fixture
def story():
    return Story()


async def test_a_published_package_is_named_and_not_asked_for_again(story):
    shelf = Shelf()
    size = story.size
    asked = await requests(story, Planner(planned(story)), shelf).ask("pip", Want("idna", "1.0"), 1)
    assert [(one.request, one.purl) for one in asked] == [(story.request, "pkg:pypi/idna@1.0")]
    assert (story.size, shelf.kept) == (size, [])


async def test_a_running_request_is_named_and_not_asked_for_again(story):
    request, _ = story.world.drawn(version="2.0")
    size = story.size
    (asked,) = await requests(story, Planner(planned(story, "2.0"))).ask("pip", Want("idna", "2.0"), 1)
    assert (asked.request, story.size) == (request, size)


async def test_what_is_new_is_requested_in_the_plans_order_with_its_lock_kept(story):
    shelf, planner = Shelf(), Planner(planned(story, "2.0"), planned(story), planned(story, "3.0"))
    asked = await requests(story, planner, shelf).ask("pip", Want("idna", None), 1)
    assert [one.purl.partition("@")[2] for one in asked] == ["2.0", "1.0", "3.0"]
    assert asked[1].request == story.request
    assert planner.asked == [("idna", None)]
    assert shelf.kept == [(LOCK, "lock")] * 2
    body = entries.parse(story.world.leaves[-2]).body
    assert (body["purl"], body["lock"], body["coordinates"]["version"]) == (
        "pkg:pypi/idna@3.0",
        blob("lock"),
        "3.0",
    )


async def test_a_request_that_failed_is_asked_for_anew(story):
    world = story.world
    request, builders = world.drawn(version="2.0")
    view = world.run(request, [(builder, world.reveal(request, at)) for at, builder in enumerate(builders)])
    assert view.artifact is None
    (asked,) = await requests(story, Planner(planned(story, "2.0"))).ask("pip", Want("idna", "2.0"), 1)
    assert asked.request != request


@pytest.mark.parametrize("name", ["source", "target", "recipe"])
async def test_another_source_target_or_recipe_is_another_request(story, name):
    value = dict(getattr(planned(story), name))
    changed = {"source": ("sha256", "9" * 64), "target": ("arch", "riscv64"), "recipe": ("sde", 5)}[name]
    value[changed[0]] = changed[1]
    (asked,) = await requests(story, Planner(planned(story, **{name: value}))).ask(
        "pip", Want("idna", "1.0"), 1
    )
    assert asked.request != story.request


async def test_a_false_lock_of_somebody_elses_running_request_is_no_answer(story):
    """Its builders will say so, some time; the honest request does not wait for that."""
    squatter = story.world.drawn(version="2.0", lock=blob("junk"))[0]
    (asked,) = await requests(story, Planner(planned(story, "2.0"))).ask("pip", Want("idna", "2.0"), 1)
    assert (asked.known, asked.request == squatter) == (False, False)


async def test_of_what_is_published_another_lock_makes_no_new_request(story):
    other = b"pyrsia lock pip v1\n"  # as an index would give it today
    (asked,) = await requests(story, Planner(planned(story, lock=other))).ask("pip", Want("idna", "1.0"), 1)
    assert (asked.request, asked.known) == (story.request, True)


async def test_a_refused_entry_is_told_as_the_log_says_it(story):
    other = {**planned(story).recipe, "environment": "host:" + "7" * 64}
    with pytest.raises(Refusal, match="not admitted"):
        await requests(story, Planner(planned(story, "2.0", recipe=other))).ask("pip", Want("idna", "2.0"), 1)


async def test_what_somebody_else_asked_for_meanwhile_is_named(story):
    world, shelf = story.world, Shelf()
    asked = []

    class Meanwhile(Shelf):
        async def put(self, data, *, pin=""):
            asked.append(world.drawn(version="2.0")[0])
            return await shelf.put(data, pin=pin)

    (found,) = await requests(story, Planner(planned(story, "2.0")), Meanwhile()).ask(
        "pip", Want("idna", "2.0"), 1
    )
    assert [found.request] == asked


async def test_a_plan_that_hangs_ends_with_a_sentence(story, autojump_clock):
    planner = Planner()
    planner.hangs = True
    asking, began = requests(story, planner), trio.current_time()
    with pytest.raises(Refusal) as caught:
        await asking.ask("pip", Want("idna", "1.0"), 1)
    assert (caught.value.code, trio.current_time() - began) == ("unavailable", pytest.approx(PLAN_S.value))
    assert asking.note == ""


async def test_what_is_planned_right_now_can_be_read(story):
    planner = Planner()
    planner.hangs = True
    asking = requests(story, planner)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(asking.ask, "pip", Want("idna", "1.0"), 1)
        await trio.testing.wait_all_tasks_blocked()
        assert asking.note == "planning idna"
        nursery.cancel_scope.cancel()
    assert asking.note == ""


async def test_an_ecosystem_without_a_plug_in_is_refused_and_those_with_one_are_named(story):
    with pytest.raises(Refusal) as caught:
        await requests(story, Planner()).ask("npm", Want("left-pad"), 1)
    assert (caught.value.code, "pip" in caught.value.do) == ("bad-request", True)


async def test_the_cut_off_alone_makes_no_other_request(story):
    later = {**planned(story).recipe, "cutoff_ms": 1}
    (asked,) = await requests(story, Planner(planned(story, recipe=later))).ask("pip", Want("idna", "1.0"), 1)
    assert (asked.request, asked.known) == (story.request, True)


# -- what counts as published --


@pytest.fixture
def world():
    return Governed(count=12, builders=11, capabilities=["pip", "witness"])


class Told:
    """As much of a story as `requests` and `planned` read: one request that came to its end."""

    def __init__(self, world, view):
        self.world, self.asked, self.request = world, view.request.body, view.id


async def again(world, view):
    """The request that answers somebody who asks for what `view` is about."""
    story = Told(world, view)
    (asked,) = await requests(story, Planner(planned(story))).ask("pip", Want("idna", "1.0"), 1)
    return asked


async def test_a_withdrawn_file_answers_nobody_who_asks_for_it(world):
    view, _ = built(world)
    assert (await again(world, view)).request == view.id
    world.enact(about("artifact.withdraw", view.artifact.body["sha256"]))
    assert not (await again(world, view)).known


async def test_a_disputed_file_answers_nobody_who_asks_for_it(world):
    view, _ = built(world)
    tomorrow(world)
    built(world, "two")
    assert views.status(world.db.get, view.artifact.body["sha256"])["status"] == "DISPUTED"
    asked = await again(world, view)
    assert asked.request != view.id


def lock_of(*files):
    rows = [f"tool 1.0 {one.body['file']} {one.body['sha256']} 5" for one in files]
    return "\n".join(["pyrsia lock pip v1", *rows, ""]).encode()


async def asked_verified(world, view):
    """The rows of a plan whose one input is the file of `view`, for who takes verified inputs only."""
    story = Told(world, view)
    one = planned(story, "9.0", lock=lock_of(view.artifact))
    return await requests(story, Planner(one)).rows("pip", Want("idna", "9.0", verified_only=True), 1)


@pytest.mark.parametrize("mine", [True, False])
async def test_an_input_under_an_own_name_is_verified_for_its_owner_alone(world, mine):
    """`requests` asks as the follower: what another member had built under its name is nothing to it."""
    author = world.follower if mine else world.nodes[0]
    view, _ = built(world, author=author, purl=f"pkg:generic/{b32(author.public)}/pypi/idna@1.0")
    if mine:
        (row,) = await asked_verified(world, view)
        assert row.inputs[0].entry == view.artifact.leaf
        return
    with pytest.raises(Refusal) as caught:
        await asked_verified(world, view)
    assert caught.value.code == "inputs-unverified"
    assert "another member's own name" in caught.value.what


async def test_an_input_that_was_only_witnessed_is_not_verified(world):
    view, _ = built(world, ecosystem="witness")
    with pytest.raises(Refusal) as caught:
        await asked_verified(world, view)
    assert caught.value.code == "inputs-unverified"
    assert "only witnessed" in caught.value.what


async def test_an_input_that_was_built_is_verified_and_its_leaf_is_told(world):
    view, _ = built(world)
    (row,) = await asked_verified(world, view)
    assert row.inputs[0].entry == view.artifact.leaf
