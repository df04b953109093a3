"""Who builds: nobody chooses, nobody knows beforehand, one an operator, silent ones replaced once."""

import pytest
from blake3 import blake3
from hypothesis import given, settings
from hypothesis import strategies as st

from pyrsia.errors import Malformed, Refusal
from pyrsia.ledger import beacon, draw, entries, views
from pyrsia.ledger.genesis import Genesis
from pyrsia.units import COMMIT_WINDOW_MS, KEEP_BUILDERS_MS
from pyrsia.wire.text import b32
from tests.reference.governance import Governed, member_motion, numbers
from tests.reference.ledger import LINKS, World, key, links_at, links_end, make_genesis

MANY = Genesis.parse(make_genesis(12, builders=11, operators=[f"o{i // 2}" for i in range(12)]))
HASH = st.binary(min_size=32, max_size=32)


def slow_rank(request, seed, members, count):
    """The formula of docs/ledger.md: the best of each operator, best first."""
    best = {}
    for member in members:
        digest = blake3(request + seed + member.node).digest()
        if member.operator not in best or digest < best[member.operator][0]:
            best[member.operator] = (digest, member.text)
    return [text for _, text in sorted(best.values())[:count]]


def capable(genesis, ecosystem, requester):
    """Builders of genesis that may be drawn for this requester (32-byte node key)."""
    asking = genesis.member(requester)
    return draw.able(genesis.members, ecosystem, asking.operator if asking is not None else "")


@given(HASH, HASH, st.integers(1, 8))
def test_the_order_is_the_formulas_with_one_builder_an_operator(request, seed, count):
    able = capable(MANY, "pip", b"")

    drawn = draw.rank(request, seed, able, count)

    assert drawn == slow_rank(request, seed, able, count)
    operators = [member.operator for text in drawn for member in able if member.text == text]
    assert len(set(operators)) == len(drawn) == min(count, draw.operators(able))


@given(HASH, st.lists(HASH, min_size=2, max_size=4), st.data())
def test_changing_one_bit_of_one_preimage_changes_every_rank(request, reveals, data):
    at, bit = data.draw(st.integers(0, len(reveals) - 1)), data.draw(st.integers(0, 255))
    changed = bytearray(reveals[at])
    changed[bit // 8] ^= 1 << bit % 8
    others = [*reveals[:at], bytes(changed), *reveals[at + 1 :]]

    assert draw.seed(reveals) != draw.seed(others)


def test_nobody_is_drawn_more_often_than_others():
    genesis = Genesis.parse(make_genesis(9, builders=8))
    able = capable(genesis, "pip", b"")
    times = dict.fromkeys((member.text for member in able), 0)
    for i in range(2_000):
        for text in draw.rank(i.to_bytes(32, "big"), bytes(32), able, 3):
            times[text] += 1

    assert all(650 < count < 850 for count in times.values())  # 750 expected, 3.6 sigma


def test_only_builders_with_the_capability_and_of_another_operator_are_capable():
    requester = key(1, "node").public
    able = capable(MANY, "pip", requester)
    assert {member.operator for member in able} == {f"o{i}" for i in range(1, 6)}
    assert all("builder" in member.roles for member in able)
    assert capable(MANY, "conan", requester) == []
    assert len(capable(MANY, "pip", b"no member")) == 11


@given(HASH, HASH)
def test_kept_builders_come_first_in_their_order_and_silent_ones_last(request, seed):
    able = capable(MANY, "pip", b"")
    before = draw.rank(bytes(32), bytes(32), able, 3)

    assert draw.rank(request, seed, able, 3, first=before) == before
    assert draw.rank(request, seed, able, 3, first=before, later=before[1:], last=before[:2]) == before
    drawn = draw.rank(request, seed, able, 3, last=before)
    silent = {member.text for member in able if member.text in before}
    assert not silent & set(drawn)
    assert len(draw.rank(request, seed, able, 6, last=before)) == 6  # taken if nobody else is left


@given(HASH, HASH, st.data())
def test_who_built_it_before_goes_behind_the_others_and_before_those_that_were_silent(request, seed, data):
    able = capable(MANY, "pip", b"")
    texts = [member.text for member in able]
    again = data.draw(st.sets(st.sampled_from(texts)))
    silent = data.draw(st.sets(st.sampled_from(texts)))

    drawn = draw.rank(request, seed, able, 6, later=sorted(again), last=sorted(silent))

    groups = [2 if text in silent else 1 if text in again else 0 for text in drawn]
    assert groups == sorted(groups)
    operator_of = {member.text: member.operator for member in able}
    for text, group in zip(drawn, groups, strict=True):  # of each operator the builder of its best group
        mine = [one for one in texts if operator_of[one] == operator_of[text]]
        assert group == min(2 if one in silent else 1 if one in again else 0 for one in mine)


def test_a_kept_builder_that_is_not_capable_any_more_is_replaced():
    able = capable(MANY, "pip", b"")
    before = draw.rank(bytes(32), bytes(32), able, 3)
    left = [member for member in able if member.text != before[0]]

    drawn = draw.rank(b"\1" * 32, bytes(32), left, 3, first=before)

    assert before[0] not in drawn
    assert drawn[:2] == before[1:]


def test_fewer_than_k_operators_are_refused_at_admission_with_the_numbers():
    world = World(operators=["a", "a", "b", "b", "asker"])
    with pytest.raises(
        Refusal, match=r"^2 operators other than the requester's can build pip, 3 are needed"
    ) as no:
        world.block(world.request()[0])
    assert no.value.code == "too-few-builders"
    assert "2 operators" in world.forced(world.request()[0])


def test_the_requesters_operator_is_left_out_with_all_its_nodes():
    """Four builders of three operators, the requester's among them: two are left."""
    world = World(operators=["a", "b", "c", "c", "c"])
    with pytest.raises(Refusal, match="2 operators other than"):
        world.block(world.request()[0])


def test_the_seed_is_of_the_first_f_plus_1_distinct_proposers_after_the_request():
    world = World(count=7, validators=7, builders=6)  # f = 2
    raw, request = world.request()
    world.block(raw)
    reveals, proposers = [], []
    while views.request(world.db.get, request).draw is None:
        assert len(proposers) < 3
        world.propose()
        seal = entries.parse(world.leaves[-1]).body
        proposers.append(seal["proposer"])
        reveals.append(bytes.fromhex(seal["reveal"]))

    assert len(set(proposers)) == 3
    drawn = views.request(world.db.get, request).draw.body
    assert drawn["beacon"] == draw.seed(reveals).hex()
    able = capable(world.genesis, "pip", world.follower.public)
    assert drawn["builders"] == slow_rank(bytes.fromhex(request), draw.seed(reveals), able, 3)
    assert drawn["commit_deadline"] == world.time + COMMIT_WINDOW_MS.value


def test_one_proposer_twice_counts_once_for_the_seed():
    world = World()  # f = 1: two distinct proposers
    raw, request = world.request()
    world.block(raw)
    for _ in range(3):
        world.view += len(world.genesis.validators) - 1  # the same leader again
        world.propose()
        assert views.request(world.db.get, request).draw is None
    world.propose()

    assert views.request(world.db.get, request).draw is not None


def test_the_block_of_the_request_gives_no_preimage():
    """Its leader knew its own link when it chose which requests to take."""
    world = World()
    raw, request = world.request()
    world.block(raw)
    own = entries.parse(world.leaves[-1]).body["reveal"]
    world.settle()

    reveals = [
        entries.parse(leaf).body["reveal"]
        for leaf in world.leaves
        if entries.parse(leaf).kind == "block.seal"
    ]
    after = reveals[reveals.index(own) + 1 :][:2]
    drawn = views.request(world.db.get, request).draw.body
    assert drawn["beacon"] == draw.seed([bytes.fromhex(word) for word in after]).hex()


def test_a_repeated_request_keeps_its_builders_for_a_day_and_no_longer():
    world = World(count=12, builders=11)
    first, builders = world.drawn()
    world.run(first, [(b, world.reveal(first)) for b in builders])

    second, again = world.drawn(target={"arch": "x86_64", "libc": "musl", "os": "linux", "python": "3.12.0"})
    assert again == builders
    world.run(second, [(b, world.reveal(second)) for b in again])
    others = []
    for at in range(3):  # one in 990 draws gives the same three in the same order
        other, drawn = world.drawn(name=f"other-{at}")
        world.run(other, [(b, world.reveal(other)) for b in drawn])
        others.append(drawn)
    assert others != [builders] * 3

    world.propose(wait=KEEP_BUILDERS_MS.value)
    fresh = []
    for _ in range(3):  # one in 990 draws gives the same three in the same order
        request, drawn = world.drawn()
        fresh.append(drawn)
        world.run(request, [(b, world.reveal(request)) for b in drawn])
    assert fresh[0] != builders
    assert fresh[1] == fresh[2] == fresh[0]


def test_asking_again_and_again_does_not_lengthen_the_day():
    world = World(count=12, builders=11)
    first, builders = world.drawn()
    world.run(first, [(b, world.reveal(first)) for b in builders])
    world.propose(wait=KEEP_BUILDERS_MS.value - 3_600_000)
    second, again = world.drawn()
    assert again == builders
    world.run(second, [(b, world.reveal(second)) for b in again])
    world.propose(wait=3_600_000)

    assert world.drawn()[1] != builders


def test_silent_builders_are_replaced_once_and_answering_ones_may_stay():
    world = World(count=12, builders=11)
    request, builders = world.drawn()
    world.propose(wait=COMMIT_WINDOW_MS.value + 1_000)
    world.settle()
    second = world.builders(request)
    assert not {b.public for b in second} & {b.public for b in builders}
    assert views.request(world.db.get, request).draw.body["round"] == 1

    world.propose(wait=COMMIT_WINDOW_MS.value + 1_000)
    world.settle()
    view = views.request(world.db.get, request)
    assert (view.state, len(view.draws)) == ("done", 2)
    assert view.verdict.body["silent"] == [b32(b.public) for b in second]


def test_a_second_round_can_publish_and_reveals_of_the_first_do_not_count_in_it():
    world = World(count=12, builders=11)
    request, builders = world.drawn()
    world.block(*(world.commit(b, world.reveal(request, b.public)) for b in builders[:1]))
    world.propose(wait=COMMIT_WINDOW_MS.value + 1_000)
    world.settle()
    second = world.builders(request)
    late = world.commit(builders[0], world.reveal(request))
    if builders[0] not in second:
        assert "not drawn" in world.forced(late)
    view = world.run(request, [(b, world.reveal(request)) for b in second])

    assert view.verdict.body["agreeing"] == [b32(b.public) for b in second]
    assert view.artifact is not None


# -- the beacon --


def test_links_lead_to_the_end_and_each_position_has_one():
    seed = bytes(range(32))
    end = links_end(seed)
    for at in (0, 1, 7, LINKS - 1):
        assert beacon.forward(links_at(seed, at), at + 1) == end
        beacon.check_link(links_at(seed, at), at, end, 0)


@settings(max_examples=60)
@given(st.integers(0, LINKS - 1), st.integers(0, LINKS - 1), st.binary(min_size=32, max_size=32))
def test_a_link_of_another_position_or_chain_is_refused(at, other, noise):
    seed = bytes(range(32))
    lies = [noise] if other == at else [noise, links_at(seed, other)]
    for lie in lies:
        with pytest.raises(Malformed):
            beacon.check_link(lie, at, links_end(seed), 0)


def test_a_link_of_another_length_is_refused():
    for link in (b"", bytes(31), links_at(bytes(32), 7) + b"x", bytes(64)):
        with pytest.raises(Malformed, match="does not lead"):
            beacon.check_link(link, 7, links_end(bytes(32)), 0)


def test_a_link_behind_the_newest_or_outside_the_chain_is_refused():
    seed = bytes(range(32))
    for at in (4, -1, beacon.LINKS):
        with pytest.raises(Malformed, match="position"):
            beacon.check_link(links_at(seed, 4), at, links_at(seed, 4), 5)


def test_a_real_chain_keeps_every_1024th_link_and_finds_all():
    chain = beacon.Chain20(bytes(32))
    for at in (0, 1, 1_022, 1_023, 1_024, *range(2_000, 2_100), beacon.LINKS // 2, beacon.LINKS - 1):
        assert beacon.forward(chain.link(at), 1) == (chain.link(at - 1) if at else chain.end)
    for at in (-1, beacon.LINKS):
        with pytest.raises(ValueError, match="outside"):
            chain.link(at)


def test_a_kept_chain_is_read_back_and_any_changed_byte_or_other_seed_is_refused():
    chain = beacon.Chain20(bytes(32))
    data = chain.encode()

    again = beacon.Chain20.decode(data, bytes(32))

    assert again.end == chain.end
    assert all(again.link(at) == chain.link(at) for at in (0, 1, 1_023, 1_024, 77_777, beacon.LINKS - 1))
    with pytest.raises(Malformed):
        beacon.Chain20.decode(data, b"other seed".ljust(32))
    for at in range(0, len(data), 997):
        with pytest.raises(Malformed):
            beacon.Chain20.decode(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :], bytes(32))
    for cut in (b"", data[:-1], data + b"x"):
        with pytest.raises(Malformed):
            beacon.Chain20.decode(cut, bytes(32))


def test_fewer_than_k_builders_are_not_drawn_and_publish_nothing():
    """K rises between admission and draw: those who are left would be fewer than the network asks for."""
    world = Governed()
    motion = world.propose_motion(numbers(agreeing=3, builders=5))
    world.block(*(world.approval(motion, one) for one in world.validators()[:2]))
    raw, request = world.request()
    world.block(raw)
    world.block(world.approval(motion, world.validators()[2]))
    kinds = world.settle()

    view = views.request(world.db.get, request)
    assert "build.draw" not in kinds
    assert (view.state, view.draws, view.artifact) == ("done", (), None)
    assert view.verdict.body["verdict"] == "INSUFFICIENT"
    assert (view.verdict.body["agreeing"], view.verdict.body["silent"]) == ([], [])
    with pytest.raises(Refusal, match="5 are needed"):
        world.chain.mempool.add(world.request(version="2.0")[0], world.time + 1_000, world.db.get)


def test_a_draw_keeps_the_operators_of_its_block():
    world = Governed(count=6, builders=5)
    world.enact(numbers(agreeing=3, builders=5))
    request, _ = world.drawn()
    draw = views.request(world.db.get, request).draw.body
    operator_of = {member.text: member.operator for member in world.genesis.members}
    assert draw["operators"] == [operator_of[node] for node in draw["builders"]]
    assert draw["excluded"] == operator_of[b32(world.follower.public)]
    fields = next(one for one in world.genesis.body["members"] if one["node"] == b32(world.nodes[4].public))
    moved = {**fields, "operator": operator_of[b32(world.nodes[0].public)]}
    world.enact(member_motion("member.replace", node=fields["node"], member=moved))
    assert views.request(world.db.get, request).draw.body == draw
