"""Receipts: a reveal stands with those of enough failure domains and with no other; the oracle counts again."""

from itertools import permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyrsia.errors import Malformed, Refusal
from pyrsia.keys import verify
from pyrsia.ledger import chain, entries, receipts, views
from pyrsia.ledger.bodies.builds import MAX_RECEIPTS
from pyrsia.ledger.execute import Parses
from pyrsia.ledger.replay import NotReplayed, Replay
from pyrsia.wire.text import b32
from tests.reference import receipts as oracle
from tests.reference.governance import Governed, member_motion, newcomer
from tests.reference.ledger import World, blob, file_record, key

APPLIES = "another tree"  # what `forced` says of a block whose entries all apply


class Opened(Governed):
    """A world with storage members, and a request whose three builders have committed."""

    def __init__(self, storage=(0, 1, 2, 3), *, change=lambda body: body, **changes):
        super().__init__(storage=storage, **changes)
        self.holders = [self.nodes[i] for i in storage]
        self.asked, self.builders_of = self.drawn()
        self.bodies = {one: change(self.reveal(self.asked)) for one in self.builders_of}
        self.block(*(self.commit(one, body) for one, body in self.bodies.items()))
        self.said = views.request(self.db.get, self.asked).request.body

    def receipt(self, holder, builder=None, body=None, **more):
        builder = builder or self.builders_of[0]
        return oracle.sign(self, holder, builder, body or self.bodies[builder], self.said, **more)

    def with_receipts(self, *given, builder=None):
        builder = builder or self.builders_of[0]
        return self.entry(builder, "build.reveal", {**self.bodies[builder], "receipts": oracle.given(*given)})


def tried(world, raw):
    """What a block says that has this reveal in it; the door says the same."""
    said = world.forced(raw)
    if said.startswith(APPLIES) or APPLIES in said:
        return APPLIES
    with pytest.raises(Refusal) as caught:
        world.chain.mempool.add(raw, world.time + 1_000, world.db.get)
    assert caught.value.code == "receipts-missing"
    assert caught.value.what in said
    return said


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4])
def test_f_plus_1_failure_domains_must_have_signed(count):
    world = Opened()
    said = tried(world, world.with_receipts(*(world.receipt(one) for one in world.holders[:count])))
    if count < 2:
        assert f"in {count} failure domains, 2 are needed" in said
    else:
        assert said == APPLIES


def test_two_members_of_one_failure_domain_count_once():
    world = Opened(domains=["here", "here", "there", "far", "farther"])
    same = [world.receipt(one) for one in world.holders[:2]]
    assert "in 1 failure domains, 2 are needed" in tried(world, world.with_receipts(*same))
    assert tried(world, world.with_receipts(same[0], world.receipt(world.holders[2]))) == APPLIES


def test_where_there_are_fewer_domains_than_f_plus_1_all_of_them_must_sign():
    world = Opened((2, 4), domains=["a", "b", "one", "c", "one"])
    assert "in 0 failure domains, 1 are needed" in tried(world, world.with_receipts())
    assert tried(world, world.with_receipts(world.receipt(world.holders[1]))) == APPLIES


def test_seven_validators_want_three_domains():
    world = Opened((0, 1, 2, 3), count=8, validators=7, builders=4)
    two = [world.receipt(one) for one in world.holders[:2]]
    assert "in 2 failure domains, 3 are needed" in tried(world, world.with_receipts(*two))
    assert tried(world, world.with_receipts(*two, world.receipt(world.holders[2]))) == APPLIES


def test_a_network_without_storage_members_needs_none_and_takes_none():
    world = Opened(())
    assert tried(world, world.with_receipts()) == APPLIES
    said = tried(world, world.with_receipts(world.receipt(world.nodes[0])))
    assert f"a receipt of {b32(world.nodes[0].public)[:8]}, which is no storage member" in said


def test_a_builder_that_had_other_bytes_kept_than_it_reveals_is_refused_by_name():
    """It withholds a file: what was signed for lacks it, or has another one in its place."""
    world = Opened()
    builder = world.builders_of[0]
    body = world.bodies[builder]
    (output,) = body["outputs"]
    bare = {name: value for name, value in output["raw"].items() if name != "metadata"}
    for told in (
        {**body, "outputs": [{**output, "raw": output["canonical"]}]},  # one file less
        {**body, "outputs": [{**output, "raw": bare}]},  # its metadata
        {**body, "log": blob("another")},
        {**body, "outputs": [{**output, "raw": {**output["raw"], "size": 1}}]},
        {**body, "outputs": [{**output, "raw": {**output["raw"], "manifest": "ab" * 32}}]},
        {**body, "outcome": "failed", "outputs": []},
    ):
        two = [world.receipt(one, builder, told) for one in world.holders[:2]]
        said = tried(world, world.with_receipts(*two))
        assert "does not hold for the blobs of this reveal" in said
        assert said.split("receipt of ")[1][:8] in {b32(one.public)[:8] for one in world.holders}


def test_a_false_receipt_beside_enough_good_ones_spoils_the_reveal():
    world = Opened()
    good = [world.receipt(one) for one in world.holders[:2]]
    bad = {**world.receipt(world.holders[2]), "sig": good[0]["sig"]}
    assert "does not hold" in tried(world, world.with_receipts(*good, bad))
    stranger = world.receipt(world.follower)
    assert "no storage member" in tried(world, world.with_receipts(*good, stranger))


def test_receipts_in_another_order_or_twice_are_no_reveal():
    world = Opened()
    two = [world.receipt(one) for one in world.holders[:2]]
    body = world.bodies[world.builders_of[0]]
    for some in permutations(two):
        given = list(some)
        if given == oracle.given(*two):
            continue
        with pytest.raises(ValueError, match="not sorted by node, or two of one"):
            world.entry(world.builders_of[0], "build.reveal", {**body, "receipts": given})
    with pytest.raises(ValueError, match="not sorted by node, or two of one"):
        world.entry(world.builders_of[0], "build.reveal", {**body, "receipts": [two[0], two[0]]})
    many = [{"node": b32(bytes([i]) * 32), "sig": "00" * 64} for i in range(MAX_RECEIPTS.value + 1)]
    with pytest.raises(Malformed):
        entries.AUTHORED["build.reveal"]({**body, "receipts": oracle.given(*many)})
    entries.AUTHORED["build.reveal"]({**body, "receipts": oracle.given(*many[1:])})


def test_a_failure_needs_receipts_for_its_log_alone():
    def failed(body):
        return {**body, "outcome": "failed", "outputs": [], "phase": "build"}

    world = Opened(change=failed)
    body = world.bodies[world.builders_of[0]]
    assert "2 are needed" in tried(world, world.with_receipts())
    kept = receipts.blobs(body, world.said)
    assert kept == ((body["log"]["manifest"], body["log"]["sha256"], body["log"]["size"]),)
    assert tried(world, world.with_receipts(*(world.receipt(one) for one in world.holders[:2]))) == APPLIES


def test_a_member_that_lost_the_role_counts_no_more_and_one_that_got_it_does():
    world = Opened((0, 1, 4))
    first, second, last = world.holders
    theirs = [world.receipt(one) for one in (first, last)]
    assert tried(world, world.with_receipts(*theirs)) == APPLIES
    world.enact(
        member_motion("member.replace", node=b32(last.public), member=newcomer(4, ())), world.nodes[0]
    )
    assert f"a receipt of {b32(last.public)[:8]}, which is no" in tried(world, world.with_receipts(*theirs))
    assert tried(world, world.with_receipts(theirs[0], world.receipt(second))) == APPLIES
    world.enact(member_motion("member.add", member=newcomer("new", ("storage",))), world.nodes[0])
    fresh = world.receipt(key("new", "node"))
    assert tried(world, world.with_receipts(theirs[0], fresh)) == APPLIES


def test_a_reveal_that_is_refused_leaves_no_trace_and_its_builder_may_come_back():
    world = Opened()
    before = world.state()
    builder, *others = world.builders_of
    assert world.offer(world.with_receipts()) == ()
    assert world.state()[f"request/{world.asked}".encode()] == before[f"request/{world.asked}".encode()]
    for one in (builder, *others):
        two = [world.receipt(holder, one) for holder in world.holders[:2]]
        assert world.block(world.with_receipts(*two, builder=one))[0] == "build.reveal"
    world.settle()
    assert views.request(world.db.get, world.asked).verdict.body["verdict"] == "REPRODUCED"


def test_signatures_are_checked_last_and_once():
    """A stranger, or a builder that opens nothing, costs none; one reveal costs one for each receipt."""
    asked = []
    world = Opened()

    def counted(key_, text, signature):
        asked.append(text)
        return verify(key_, text, signature)

    world.chain.mempool.parse._verify = counted
    builder = world.builders_of[0]
    two = oracle.given(*(world.receipt(one) for one in world.holders[:2]))
    other = {**world.bodies[builder], "receipts": two, "nonce": "00" * 32}
    for raw in (
        world.entry(world.follower, "build.reveal", {**world.bodies[builder], "receipts": two}),
        world.entry(builder, "build.reveal", other),
        world.with_receipts(*two[:1]),
    ):
        world.forced(raw)
    assert not [text for text in asked if text.startswith(receipts.DOMAIN)]
    good = world.with_receipts(*two)
    world.forced(good)
    world.forced(good)
    assert len([text for text in asked if text.startswith(receipts.DOMAIN)]) == 2


# -- every mixture --


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_forged_moved_and_missing_receipts_never_count(data):
    """Whatever is taken away, forged, or moved here from another request, builder or network."""
    domains = data.draw(st.lists(st.sampled_from("abc"), min_size=7, max_size=7), label="domains")
    storage = tuple(sorted(data.draw(st.sets(st.integers(0, 6), max_size=5), label="storage")))
    world = _world(storage, tuple(domains))
    builder = world.builders_of[data.draw(st.integers(0, 2))]
    body, elsewhere = world.bodies[builder], world.builders_of[data.draw(st.integers(0, 2))]
    given = []
    for number in data.draw(st.sets(st.integers(0, 6), max_size=5), label="signers"):
        holder = world.nodes[number]
        match data.draw(
            st.sampled_from(["good"] * 6 + ["bit", "request", "builder", "net", "lied", "other"])
        ):
            case "good":
                made = world.receipt(holder, builder)
            case "bit":
                made = world.receipt(holder, builder)
                at = data.draw(st.integers(0, 511))
                flipped = int(made["sig"], 16) ^ 1 << at
                made = {**made, "sig": f"{flipped:0128x}"}
            case "request":
                made = world.receipt(holder, builder, {**body, "request": "12" * 32})
            case "builder":
                made = world.receipt(holder, elsewhere, body)
            case "net":
                made = world.receipt(holder, builder, net=b32(bytes(32)))
            case "lied":
                made = world.receipt(holder, builder, {**body, "log": blob("shorter")})
            case _:
                made = {**world.receipt(world.nodes[(number + 1) % 7], builder), "node": b32(holder.public)}
        given.append(made)
    raw = world.with_receipts(*given, builder=builder)
    told = {**body, "receipts": oracle.given(*given)}
    assert (tried(world, raw) == APPLIES) == oracle.enough(world, b32(builder.public), told, world.said)


_worlds = {}


def _world(storage, domains):
    """Worlds differ only by who stores and where; a block that is tried changes nothing."""
    if len(_worlds) > 200:
        _worlds.clear()
    if (storage, domains) not in _worlds:
        _worlds[storage, domains] = Opened(storage, count=7, domains=list(domains))
    return _worlds[storage, domains]


FILE = st.fixed_dictionaries(
    {"manifest": st.sampled_from("ab"), "sha256": st.sampled_from("cde"), "size": st.integers(0, 2)}
)
PACKED = st.fixed_dictionaries(
    {"manifest": st.just("x"), "members": FILE, "sha256": st.sampled_from("cde"), "size": st.integers(0, 2)},
    optional={"metadata": FILE},
)
OUTPUT = st.fixed_dictionaries({"canonical": PACKED, "raw": PACKED}, optional={"upstream": PACKED})


@given(
    st.lists(OUTPUT, max_size=4),
    FILE,
    st.fixed_dictionaries({"lock": FILE, "source": st.one_of(FILE, st.just({"sha256": "f", "size": 1}))}),
    st.booleans(),
)
def test_the_list_is_every_blob_that_the_reveal_offers_once(outputs, log, request, built):
    reveal = {
        "log": log, "outcome": "built" if built else "failed", "outputs": outputs if built else [],
        "request": "12" * 32,
    }  # fmt: skip
    kept = receipts.blobs(reveal, request)
    assert [list(row) for row in kept] == oracle.rows(reveal, request)
    said = receipts.signed_text("net", "12" * 32, "builder", reversed(kept))
    assert said == oracle.text("net", "builder", reveal, request)


# -- execution from the log alone --


class Lenient(chain.Chain):
    """Of validators that check no receipt: what a quorum of liars could put into a log."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        honest = self.mempool.parse._verify

        def holds(key_, text, signature):
            return text.startswith(receipts.DOMAIN) or honest(key_, text, signature)

        self.mempool.parse._verify = holds


@pytest.mark.parametrize("forged", [False, True])
def test_a_replay_checks_each_receipt(forged, monkeypatch):
    monkeypatch.setattr(chain, "Chain", Lenient)
    world = Opened()
    for builder in world.builders_of:
        two = [world.receipt(one, builder) for one in world.holders[:2]]
        if forged and builder is world.builders_of[1]:
            two[1] = {**two[1], "sig": two[0]["sig"]}
        world.block(world.with_receipts(*two, builder=builder))
    world.settle()
    assert len(views.request(world.db.get, world.asked).reveals) == 3
    replay = Replay(world.genesis, Parses(verify, 1_000))
    if not forged:
        replay.feed(world.leaves)
        assert replay.size == len(world.leaves)
        return
    with pytest.raises(NotReplayed, match="does not hold for the blobs of this reveal"):
        replay.feed(world.leaves)


def test_a_world_without_the_role_builds_as_before():
    world = World()
    request, builders = world.drawn()
    done = world.run(request, [(one, world.reveal(request)) for one in builders])
    assert done.verdict.body["verdict"] == "REPRODUCED"
    assert file_record("same")["sha256"] == done.artifact.body["sha256"]
