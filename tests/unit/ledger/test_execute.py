"""What an entry must be to stand in a block: each rule broken alone, at the door and inside a leader's block."""

import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyrsia.errors import Malformed, Refusal
from pyrsia.keys import verify
from pyrsia.ledger import entries, execute, state, touches, views
from pyrsia.ledger.execute import HOUR_MS, BlockIn, Parses
from pyrsia.ledger.replay import Replay
from pyrsia.ledger.state import View
from pyrsia.units import (
    COMMIT_WINDOW_MS,
    MAX_ATTESTATION_BYTES,
    MAX_DERIVED,
    MAX_FACT_BYTES,
    MAX_OPEN_REQUESTS,
    MAX_OUTPUTS,
    MAX_UNTIL_MS,
    REVEAL_WINDOW_MS,
)
from pyrsia.wire import canonical
from pyrsia.wire.text import b32
from tests.reference import merkle, prefixtree
from tests.reference.ledger import START, World, blob, key

WINDOWS = COMMIT_WINDOW_MS.value + REVEAL_WINDOW_MS.value


def fact(world, author=None, text="x", until=None, **changes):
    body = {"kind": "description", "subject": "pkg:pypi/idna@1.0", "text": text, "valid_from": 1, **changes}
    return world.entry(author or world.follower, "fact.add", body, until=until)


def refused(world, raw, why):
    """Refused to its author, and in the block of a leader that puts it in all the same."""
    with pytest.raises(Refusal, match=why):
        world.chain.mempool.add(raw, world.time + 1_000, world.db.get)
    assert why_in_block(world, raw, why)


def why_in_block(world, raw, why):
    told = world.forced(raw)
    assert why in told, told
    return True


# -- the envelope --


def test_an_entry_may_stand_until_its_time_and_no_later(world):
    raw = fact(world, until=world.time + 5_000)
    assert "another tree" in world.forced(raw, at=world.time + 5_000)  # it applies
    assert "its time is over" in world.forced(raw, wait=1)


def test_an_until_more_than_a_day_ahead_waits_for_its_day(world):
    raw = fact(world, until=world.time + MAX_UNTIL_MS.value + 60_000)
    assert "more than 24 hours ahead" in world.forced(raw)
    assert world.block(raw) == []
    assert world.propose(wait=60_000) == ["fact.add", "block.seal"]


def test_an_entry_stands_once_for_as_long_as_it_may_be_repeated(world):
    raw = fact(world, until=world.time + 5_000_000)
    assert "stands in the log already" in world.forced(raw, raw)
    world.block(raw)
    for _ in range(4):
        assert "stands in the log already" in world.forced(raw)
        world.block(fact(world), wait=1_200_000)
        assert world.chain.mempool.add(raw, world.time, world.db.get) == "duplicate"
    assert "its time is over" in world.forced(raw, wait=1_200_000)


def test_ids_are_forgotten_after_their_time_and_not_before(world):
    raws = [fact(world, until=world.time + minutes * 60_000) for minutes in (1, 30, 90)]
    world.block(*raws)
    names = [b"id/" + entries.entry_id(raw).hex().encode() for raw in raws]
    assert all(name in world.db for name in names)
    world.block(fact(world), wait=45 * 60_000)
    assert [name in world.db for name in names] == [False, False, True]
    world.time += 24 * 3_600_000
    world.block(fact(world))
    assert not any(name in world.db for name in names)
    left = [name for name in world.db if name.startswith((b"id/", b"ids/"))]
    assert len(left) <= 6  # the newest facts


def test_an_entry_of_another_network_is_refused(world):
    raw = entries.author(
        "fact.add",
        {"kind": "review", "subject": "pkg:pypi/y", "text": "", "valid_from": 1},
        net=b32(bytes(32)),
        author=world.follower.public,
        nonce=bytes(16),
        until_ms=world.time + 60_000,
        sign=world.follower.sign,
    )
    refused(world, raw, "of this network")


def test_a_stranger_may_author_nothing(world):
    raw = fact(world, author=key("stranger"))
    with pytest.raises(Refusal, match="no member"):
        world.chain.mempool.add(raw, world.time, world.db.get)
    why_in_block(world, raw, "not a member")


def test_a_signature_of_another_key_is_refused(world):
    raw = fact(world)
    entry = entries.parse(raw)
    forged = raw.replace(entry.signature.hex().encode(), key("other").sign(entry.signed).hex().encode())
    refused(world, forged, "signed by its author")


@pytest.mark.parametrize("kind", sorted(entries.DERIVED))
def test_derived_entries_are_refused_from_outside(world, kind):
    request, builders = world.drawn()
    world.run(request, [(builder, world.reveal(request)) for builder in builders])
    leaf = next(leaf for leaf in world.leaves if entries.parse(leaf).kind == kind)

    with pytest.raises(Refusal, match="has no author"):
        world.chain.mempool.add(leaf, world.time, world.db.get)
    why_in_block(world, leaf, "not signed by its author")


def test_the_genesis_is_refused_from_outside(world):
    why_in_block(world, world.genesis.raw, "not signed by its author")


@given(st.binary(max_size=80))
@settings(max_examples=40)
def test_noise_spoils_a_block_and_breaks_nothing(raw):
    assert "does not apply" in World().forced(raw)


# -- quota --


def test_an_hours_quota_binds_authors_and_leaders_and_a_new_hour_of_block_time_ends_it():
    world = World(limits=[["member", 3]])
    world.time = START - START % HOUR_MS + HOUR_MS
    raws = [fact(world, until=world.time + 2 * HOUR_MS) for _ in range(4)]
    assert "used its 3 entries" in world.forced(*raws)
    assert world.block(*raws[:2]) == ["fact.add"] * 2 + ["block.seal"]
    pool = world.chain.mempool
    pool.add(raws[2], world.time, world.db.get)
    # The door counts what waits: the leader would leave out the fourth.
    with pytest.raises(Refusal, match="used its 3 entries") as no:
        pool.add(raws[3], world.time, world.db.get)
    assert (no.value.code, no.value.retry_s) == ("busy", (HOUR_MS - world.time % HOUR_MS) // 1_000)
    pool.add(raws[3], world.time, lambda key: None if key.startswith(b"quota/") else world.db.get(key))
    assert world.propose() == ["fact.add", "block.seal"]
    assert world.propose() == []
    # The fourth waited. The state stands still meanwhile: time alone lets it in.
    assert world.propose(wait=HOUR_MS) == ["fact.add", "block.seal"]


def test_the_most_generous_role_of_a_member_counts_and_no_role_without_a_number():
    world = World(limits=[["builder", 2], ["member", 1]])
    builder = world.nodes[0]
    assert "another tree" in world.forced(fact(world, builder), fact(world, builder))
    assert "used its 2 entries" in world.forced(*(fact(world, builder) for _ in range(3)))
    assert "used its 1 entries" in world.forced(fact(world), fact(world))
    silent = World(limits=[["validator", 5]])
    assert "used its 0 entries" in silent.forced(fact(silent))


def test_what_is_refused_uses_no_quota_and_leaves_no_trace():
    world = World(limits=[["member", 1]])
    good, late = fact(world), fact(world, until=world.time + 1)
    slot = world.slot(2_000)
    block = BlockIn(1, 0, slot.view, slot.time_ms, slot.proposer, slot.reveal, (late, good), 2, bytes(32))
    both = execute.execute(block, world.db.get, world.genesis, world.chain.mempool.parse, world.fetch)
    alone = execute.execute(
        BlockIn(1, 0, slot.view, slot.time_ms, slot.proposer, slot.reveal, (good,), 2, bytes(32)),
        world.db.get, world.genesis, world.chain.mempool.parse, world.fetch,
    )  # fmt: skip

    assert [item.raw for item in both.refused] == [late]
    assert (both.leaves, both.writes) == (alone.leaves, alone.writes)


# -- requests --


def recipe(**changes):
    good = {
        "backend": "pip/wheel@1",
        "cutoff_ms": START,
        "environment": "host:" + "e" * 64,
        "isolation": "pure",
        "normaliser": "wheel@1",
        "sde": START // 1000,
        "v": 1,
    }
    return {"recipe": {**good, **changes}}


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"ecosystem": "gems"}, "gems is not built here"),
        ({"ecosystem": "conan"}, "conan builds conan packages"),
        ({"purl": "pkg:pypi/idna@2.0"}, "different packages"),
        ({"purl": "pkg:pypi/other@1.0"}, "different packages"),
        ({"purl": "pkg:generic/idna@1.0"}, "names another type"),
        ({"coordinates": {"name": "idna", "version": "2.0"}}, "different packages"),
        ({"requester": b32(key(0, "node").public)}, "requester is not its author"),
        (recipe(environment="host:" + "f" * 64), "not admitted by this network"),
    ],
)
def test_a_request_that_can_never_stand_is_refused(world, changes, why):
    refused(world, world.request(**changes)[0], why)


@pytest.mark.parametrize(
    "changes", [recipe(cutoff_ms=START + 86_410_000), recipe(sde=START // 1000 + 86_410)]
)
def test_a_recipe_in_the_future_waits_until_it_is_not(world, changes):
    raw, request = world.request(**changes)
    assert "in the future" in world.forced(raw)
    world.block(raw)
    assert views.request(world.db.get, request) is None
    assert world.propose(wait=1_000) == []
    assert world.propose(wait=60_000) == ["build.request", "block.seal"]


def test_one_request_is_open_for_a_package_source_and_target(world):
    raw, request = world.request()
    world.block(raw)
    again, _ = world.request()
    refused(world, again, "is being built")
    other = {"target": {"arch": "arm64", "libc": "musl", "os": "linux", "python": "3.12.0"}}
    assert "another tree" in world.forced(world.request(**other)[0])
    world.block(world.entry(world.follower, "build.cancel", {"request": request}))
    assert "another tree" in world.forced(again)


def test_open_requests_are_bounded(world):
    world.db[state.OPEN.encode()] = canonical.encode(["0" * 64] * MAX_OPEN_REQUESTS.value)
    refused(world, world.request()[0], "500 requests are open")


def test_a_request_is_cancelled_by_its_author_before_the_draw_alone(world):
    raw, request = world.request()
    world.block(raw)
    cancel = {"request": request}
    refused(world, world.entry(world.nodes[0], "build.cancel", cancel), "only the requester")
    world.settle()
    refused(world, world.entry(world.follower, "build.cancel", cancel), "after the draw")
    assert views.request(world.db.get, request).state == "drawn"


def test_a_cancelled_request_is_drawn_no_more_and_its_preimages_are_forgotten(world):
    raw, request = world.request()
    world.block(raw)
    world.block(world.entry(world.follower, "build.cancel", {"request": request}))
    assert "build.draw" not in world.settle()
    view = views.request(world.db.get, request)
    assert (view.state, view.draws) == ("cancelled", ())
    assert views.requests_open(world.db.get) == ()
    assert not [name for name in world.db if name.startswith((b"waiting/", b"queue/", b"unique/"))]
    refused(world, world.entry(world.follower, "build.cancel", {"request": request}), "after the draw")
    refused(world, world.commit(world.nodes[0], world.reveal(request)), "was not drawn")


def test_entries_about_a_request_that_is_not_there_wait_at_the_door_and_spoil_a_block(world):
    raw = world.entry(world.follower, "build.cancel", {"request": "ab" * 32})
    why_in_block(world, raw, "no such request")
    assert world.chain.mempool.add(raw, world.time, world.db.get) == "accepted"
    assert world.propose() == []


# -- commits and reveals --


def test_commits_before_the_draw_wait_and_strangers_to_the_draw_are_refused():
    world = World(count=7, builders=6)
    raw, request = world.request()
    world.block(raw)
    why_in_block(world, world.commit(world.nodes[0], world.reveal(request)), "not drawn yet")
    world.settle()
    drawn = {b.public for b in world.builders(request)}
    other = next(node for node in world.nodes[:6] if node.public not in drawn)
    refused(world, world.commit(other, world.reveal(request)), "was not drawn")
    refused(world, world.entry(other, "build.reveal", world.reveal(request)), "was not drawn")
    refused(world, world.commit(world.follower, world.reveal(request)), "was not drawn")


def test_a_builder_commits_once_and_reveals_once(world):
    request, builders = world.drawn()
    bodies = {b: world.reveal(request) for b in builders}
    world.block(world.commit(builders[0], bodies[builders[0]]))
    refused(world, world.commit(builders[0], world.reveal(request, "other")), "committed already")
    world.block(*(world.commit(b, bodies[b]) for b in builders[1:]))
    opened = world.entry(builders[0], "build.reveal", bodies[builders[0]])
    world.block(opened)
    refused(world, world.entry(builders[0], "build.reveal", bodies[builders[0]]), "revealed already")


def test_two_commits_of_one_builder_in_one_block_are_one_too_many(world):
    request, builders = world.drawn()
    two = [world.commit(builders[0], world.reveal(request, word)) for word in (1, 2)]
    assert "committed already" in world.forced(*two)


def test_a_commit_counts_until_its_deadline_and_not_a_millisecond_longer(world):
    request, builders = world.drawn()
    deadline = views.request(world.db.get, request).draw.body["commit_deadline"]
    raw = world.commit(builders[0], world.reveal(request))
    assert "another tree" in world.forced(raw, at=deadline)
    assert "commit deadline has passed" in world.forced(raw, at=deadline + 1)


def test_nobody_reveals_before_all_have_committed_or_the_deadline_passed(world):
    request, builders = world.drawn()
    bodies = {b: world.reveal(request) for b in builders}
    early = world.entry(builders[0], "build.reveal", bodies[builders[0]], until=world.time + 3_000_000)
    why_in_block(world, early, "has not committed")
    world.block(*(world.commit(b, bodies[b]) for b in builders[:2]))
    why_in_block(world, early, "have not committed yet")
    deadline = views.request(world.db.get, request).draw.body["commit_deadline"]
    assert "have not committed yet" in world.forced(early, at=deadline)
    assert "another tree" in world.forced(early, at=deadline + 1)


def test_one_commit_opens_no_gate_at_the_deadline(world):
    request, builders = world.drawn()
    body = world.reveal(request)
    world.block(world.commit(builders[0], body))
    deadline = views.request(world.db.get, request).draw.body["commit_deadline"]
    raw = world.entry(builders[0], "build.reveal", body, until=deadline + 60_000)
    assert "have not committed yet" in world.forced(raw, at=deadline + 1)


@pytest.mark.parametrize(("committed", "why"), [(3, "committed already"), (2, "deadline has passed")])
def test_whichever_way_the_gate_opened_nobody_commits_after_a_reveal(world, committed, why):
    """A commit could then be a copy of what was revealed."""
    request, builders = world.drawn()
    bodies = {b: world.reveal(request) for b in builders}
    world.block(*(world.commit(b, bodies[b]) for b in builders[:committed]))
    deadline = views.request(world.db.get, request).draw.body["commit_deadline"]
    opened = world.entry(builders[0], "build.reveal", bodies[builders[0]], until=deadline + 60_000)
    if committed < len(builders):
        world.block(opened, wait=deadline + 1 - world.time)
    else:
        world.block(opened)
    assert len(views.request(world.db.get, request).reveals) == 1
    refused(world, world.commit(builders[2], bodies[builders[2]]), why)


def test_a_reveal_counts_until_its_deadline_and_not_a_millisecond_longer(world):
    request, builders = world.drawn()
    bodies = {b: world.reveal(request) for b in builders}
    world.block(*(world.commit(b, bodies[b]) for b in builders))
    drawn = views.request(world.db.get, request).draw.body
    assert drawn["reveal_deadline"] == drawn["commit_deadline"] + REVEAL_WINDOW_MS.value
    raw = world.entry(builders[0], "build.reveal", bodies[builders[0]], until=world.time + 3_000_000)
    assert "another tree" in world.forced(raw, at=drawn["reveal_deadline"])
    assert "reveal deadline has passed" in world.forced(raw, at=drawn["reveal_deadline"] + 1)


@pytest.mark.parametrize(
    "change",
    [
        {"nonce": "11" * 32},
        {"lock_sha256": "11" * 32},
        {"isolation": "confined"},
        {"source": "mapping"},
        {"attestation": "{ }"},
        {"environment": "host:f"},
        {"log": blob("another log")},
        {"outcome": "failed", "phase": "build", "outputs": []},
    ],
)
def test_a_reveal_that_differs_in_one_word_does_not_open_its_commitment(world, change):
    request, builders = world.drawn()
    body = world.reveal(request)
    world.block(*(world.commit(b, body) for b in builders))
    refused(world, world.entry(builders[0], "build.reveal", {**body, **change}), "does not open")
    assert "another tree" in world.forced(world.entry(builders[0], "build.reveal", body))


def test_a_commitment_opens_for_its_builder_and_its_request_alone(world):
    body = world.reveal("ab" * 32)
    mine = entries.commitment(bytes(32), key("a").public, body)
    assert entries.commitment(bytes(32), key("b").public, body) != mine
    assert entries.commitment(b"\1" * 32, key("a").public, body) != mine
    assert entries.commitment(bytes(32), key("a").public, {**body, "nonce": "00" * 32}) != mine


def test_a_builder_that_commits_and_never_reveals_is_silent(world):
    request, builders = world.drawn()
    bodies = {b: world.reveal(request) for b in builders}
    world.block(*(world.commit(b, bodies[b]) for b in builders))
    world.block(*(world.entry(b, "build.reveal", bodies[b]) for b in builders[:2]))
    assert views.request(world.db.get, request).state == "revealing"
    world.propose(wait=WINDOWS + 1_000)
    world.settle()
    view = views.request(world.db.get, request)
    assert view.verdict.body["silent"] == [b32(builders[2].public)]
    assert (view.verdict.body["verdict"], len(view.verdict.body["agreeing"])) == ("REPRODUCED", 2)
    refused(world, world.entry(builders[2], "build.reveal", bodies[builders[2]]), "is settled")


# -- what is published --


def test_the_first_file_of_a_version_stays_and_later_ones_are_history(world):
    first, builders = world.drawn()
    before = world.run(first, [(b, world.reveal(first, "one")) for b in builders])
    second, again = world.drawn()
    after = world.run(second, [(b, world.reveal(second, "two")) for b in again])
    assert after.artifact.body["sha256"] != before.artifact.body["sha256"]
    assert views.project_files(world.db.get, "idna") == (before.artifact,)
    assert views.project_files(world.db.get, "idna", every=True) == (before.artifact, after.artifact)
    assert views.projects(world.db.get) == ("pkg:pypi/idna",)
    assert views.recent_requests(world.db.get, 5) == (second, first)


def test_a_diverged_request_opens_the_way_for_another(world):
    request, builders = world.drawn()
    world.run(request, [(b, world.reveal(request, i)) for i, b in enumerate(builders)])
    assert views.requests_open(world.db.get) == ()
    assert "another tree" in world.forced(world.request()[0])


# -- the block --


def test_leaves_are_authored_then_derived_in_queue_order_then_one_seal(world):
    raws = [world.request(version=f"{i}.0") for i in range(3)]
    world.block(*(raw for raw, _ in raws))
    world.propose()
    kinds = world.block(fact(world), fact(world))
    assert kinds == ["fact.add", "fact.add", *["build.draw"] * 3, "block.seal"]
    drawn = [entries.parse(leaf).body["request"] for leaf in world.leaves[-4:-1]]
    assert drawn == [request for _, request in raws]
    for leaf, (_, request) in zip(range(len(world.leaves) - 4, len(world.leaves) - 1), raws, strict=True):
        assert views.request(world.db.get, request).draw.leaf == leaf


def test_the_seal_says_what_the_block_was(world):
    height, first = world.chain.head().height, len(world.leaves)
    world.block(fact(world))
    seal = entries.parse(world.leaves[-1]).body
    head = world.chain.head()
    assert seal == {
        "beacon": head.beacon.hex(),
        "epoch": 0,
        "first_leaf": first,
        "height": height + 1,
        "index_root": views.trees(world.db.get).packages.root.hex(),
        "proposer": world.leader(world.view),
        "reveal": seal["reveal"],
        "state_root": views.state_root(world.db.get),
        "time_ms": world.time,
        "view": world.view,
    }
    assert views.chain(world.db.get) == {
        "beacon": seal["beacon"],
        "height": height + 1,
        "time_ms": world.time,
    }


def test_a_block_derives_at_most_256_and_the_rest_waits_in_order():
    world = World()
    count = 300
    raws = [world.request(author=world.nodes[i % 5], version=f"{i}.0") for i in range(count)]
    kinds = world.block(*(raw for raw, _ in raws))
    assert kinds.count("build.request") == count
    drawn, blocks = [], []
    for _ in range(4):
        kinds = world.propose()
        if "build.draw" in kinds:
            blocks.append(kinds.count("build.draw"))
            drawn += [
                entries.parse(leaf).body["request"]
                for leaf in world.leaves[-len(kinds) :]
                if entries.parse(leaf).kind == "build.draw"
            ]
    assert blocks == [MAX_DERIVED.value, count - MAX_DERIVED.value]
    order = [request for i in range(5) for _, request in raws[i::5]]
    assert sorted(drawn) == sorted(order)
    queued = [entries.parse(leaf) for leaf in world.leaves if entries.parse(leaf).kind == "build.request"]
    assert drawn == [entry.id.hex() for entry in queued]
    assert not world.chain.has_work(world.chain.head().hash)


# -- the log says everything --


def test_the_state_can_be_computed_from_the_log_alone(world):
    request, builders = world.drawn()
    world.propose()  # idle: no leaf
    world.run(request, [(b, world.reveal(request, i // 2)) for i, b in enumerate(builders)])
    other, _ = world.drawn(version="2.0")
    world.propose(wait=WINDOWS + 1_000)
    world.settle()
    replay = Replay(world.genesis, Parses(verify, 100))
    replay.feed(world.leaves)
    assert replay.pending == 0
    assert {name: row for name, row in replay.kept.rows.items() if name[0] > 31} == world.state()
    assert views.trees(replay.kept.get) == views.trees(world.db.get)
    assert views.request(world.db.get, other).round == 1


class Recorder(World):
    """Keeps every commit's writes."""

    def __init__(self, **changes):
        self.commits = []
        super().__init__(**changes)

    def write(self, commit):
        self.commits.append(commit)
        super().write(commit)


def slow_roots(world):
    """docs/log.md, "Verifiable index", word for word: both roots of everything that there is now."""
    histories = {}
    for at, leaf in enumerate(world.leaves):
        entry = entries.parse(leaf)
        for touched in touches.touched(entry, View(world.db.get)):
            histories.setdefault(touched, []).append(at.to_bytes(8, "big") + merkle.leaf_hash(leaf))
    values = {
        key: hashlib.sha256(
            len(rows).to_bytes(8, "big") + merkle.root([*map(merkle.leaf_hash, rows)])
        ).digest()
        for key, rows in histories.items()
    }
    said = {
        hashlib.sha256(b"pyrsia/state/v1\n" + name).digest(): hashlib.sha256(value).digest()
        for name, value in world.state().items()
        if name != b"root" and not name.startswith((b"id/", b"fact/"))
    }
    return prefixtree.root(values), prefixtree.root(said)


def test_roots_are_those_that_the_page_describes():
    world = Recorder()
    request, builders = world.drawn()
    world.run(request, [(b, world.reveal(request)) for b in builders])
    index_root, state_root = slow_roots(world)
    seal = entries.parse(world.leaves[-1]).body
    assert (seal["index_root"], seal["state_root"]) == (index_root.hex(), state_root.hex())
    assert views.trees(world.db.get).packages.root == index_root
    assert views.state_root(world.db.get) == state_root.hex()
    assert len(world.commits) >= 6
    assert all(not commit.writes for commit in world.commits if not commit.leaves)


# -- fields --


def bad_bodies():
    world = World()
    good = world.reveal("ab" * 32)
    out = good["outputs"][0]
    request = entries.parse(world.request()[0]).body
    text = {"kind": "review", "subject": "pkg:pypi/y", "text": "", "valid_from": 1}
    yield "fact.add", {**text, "text": "x" * (MAX_FACT_BYTES.value + 1)}
    yield "fact.add", {**text, "text": "\u00e9" * (MAX_FACT_BYTES.value // 2 + 1)}
    yield "fact.add", {**text, "subject": ""}
    yield "fact.add", {**text, "subject": "pkg:generic/" + "s" * 289}
    yield "fact.add", {**text, "subject": "idna"}
    yield "fact.add", {**text, "subject": "sha256:" + "g" * 64}
    yield "fact.add", {**text, "kind": "two words"}
    yield "fact.add", {**text, "valid_from": -1 + 1.0}
    yield "build.reveal", {**good, "attestation": "x" * (MAX_ATTESTATION_BYTES.value + 1)}
    yield "build.reveal", {**good, "phase": "build"}
    yield "build.reveal", {**good, "outputs": []}
    yield "build.reveal", {**good, "outcome": "failed"}
    yield "build.reveal", {**good, "outcome": "failed", "phase": "x" * 61, "outputs": []}
    yield "build.reveal", {**good, "outputs": [out] * (MAX_OUTPUTS.value + 1)}
    yield "build.reveal", {**good, "receipts": [True]}
    yield "build.reveal", {**good, "isolation": "none"}
    yield "build.reveal", {**good, "source": "hearsay"}
    yield "build.reveal", {**good, "outputs": [{**out, "name": "../x.whl"}]}
    yield "build.reveal", {**good, "outputs": [{**out, "name": "a/b.whl"}]}
    yield "build.reveal", {**good, "outputs": [{**out, "upstream_relation": "identical"}]}
    yield "build.reveal", {**good, "outputs": [{**out, "upstream": out["raw"]}]}
    yield "build.reveal", {**good, "outputs": [{**out, "containment": "some"}]}
    yield "build.reveal", {**good, "outputs": [{**out, "normalised": ["x"] * 65}]}
    yield "build.reveal", {**good, "outputs": [{**out, "raw": {**out["raw"], "size": (1 << 50) + 1}}]}
    yield "build.request", {**request, "purl": "pkg:pypi/Idna@1.0"}
    yield "build.request", {**request, "purl": "pkg:pypi/idna@1.0?a=b"}
    yield "build.request", {**request, "source": {**request["source"], "file": "-rf"}}
    yield "build.request", {**request, "source": {**request["source"], "url": "http://x"}}
    yield "build.request", {**request, "recipe": {**request["recipe"], "v": 2}}
    yield "build.request", {**request, "target": {**request["target"], "libc": "x" * 101}}
    yield "build.commit", {"commitment": "00" * 31, "request": "00" * 32}
    yield "build.cancel", {"request": "00" * 33}
    yield "build.cancel", {}


@pytest.mark.parametrize(("kind", "body"), [*bad_bodies()])
def test_fields_out_of_their_bounds_make_no_entry(kind, body):
    with pytest.raises(ValueError, match=r"not a valid|not canonical"):
        World().entry(key(4, "node"), kind, body)


def test_the_text_of_a_missing_field_names_only_what_is_wrong():
    from pyrsia.ledger import shape

    check = shape.fields({"may": shape.flag}, must=shape.flag)
    with pytest.raises(Malformed, match=r"not allowed: must$"):
        check({"may": True})
    check({"may": True, "must": True})


# -- parses --


def test_signatures_are_checked_once_and_the_memory_is_bounded():
    world, asked = World(), []

    def counting(*words):
        asked.append(words)
        return verify(*words)

    parse = Parses(counting, 3)
    raws = [fact(world) for _ in range(5)]
    for raw in (*raws, *raws[-3:]):
        parse(raw)
    assert len(asked) == 5
    parse(raws[0])
    assert len(asked) == 6
    with pytest.raises(Malformed):
        parse(b"{}")
