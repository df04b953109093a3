"""From founders to a genesis that everybody can read."""

import pytest

from pyrsia.errors import Malformed
from pyrsia.keys import KeyRing
from pyrsia.ledger import beacon
from pyrsia.ledger.genesis import Genesis
from pyrsia.node.members import founding
from pyrsia.node.members.founding import Founder, found
from pyrsia.wire.text import b32

NUMBERS = {
    "builders": 3,
    "agreeing": 2,
    "environments": ["host:b", "host:a"],
    "min_isolation": "namespace",
    "demo": True,
}


@pytest.fixture(autouse=True)
def short_chains(monkeypatch):
    """A real chain of links takes a third of a second to hash."""
    monkeypatch.setattr(founding.beacon, "chain_end", lambda seed: beacon.forward(seed, 8))


def founders(validators=4, **changes):
    made = [
        Founder(
            KeyRing.generate(),
            f"node {i}",
            f"operator {i}",
            f"domain {i}",
            ("validator", "builder"),
            ("pip",),
        )
        for i in range(validators)
    ]
    return [*made, Founder(KeyRing.generate(), "follower", "operator f", "domain f", **changes)]


def test_the_genesis_names_every_founder_with_exactly_the_keys_of_its_roles():
    members = founders()
    genesis = Genesis.parse(found("test", members, now_ms=5, **NUMBERS))
    assert (len(genesis.validators), genesis.builders, genesis.agreeing) == (4, 3, 2)
    assert (genesis.demo, genesis.created_ms, genesis.environments) == (True, 5, ("host:a", "host:b"))
    for founder in members:
        member = genesis.member(founder.keys.node_id)
        validates = "validator" in founder.roles
        assert (member.name, member.operator, member.domain) == (
            founder.name,
            founder.operator,
            founder.domain,
        )
        assert member.vote == (founder.keys.vote.public if validates else b"")
        assert member.build == (founder.keys.build.public if validates else b"")
        assert bool(member.chain_end) == validates


def test_no_secret_is_in_the_genesis():
    members = founders()
    raw = found("test", members, now_ms=5, **NUMBERS)
    for founder in members:
        for pair in (
            founder.keys.node,
            founder.keys.vote,
            founder.keys.log,
            founder.keys.cosign,
            founder.keys.build,
        ):
            assert pair.seed.hex().encode() not in raw
            assert b32(pair.seed).encode() not in raw
        assert founder.keys.chain_seed.hex().encode() not in raw


def test_the_order_of_founders_changes_nothing():
    members = founders()
    assert found("test", members, now_ms=5, **NUMBERS) == found("test", members[::-1], now_ms=5, **NUMBERS)


@pytest.mark.parametrize(
    "lie",
    [{"agreeing": 1}, {"agreeing": 4}, {"builders": 2}, {"min_isolation": "none"}, {"environments": [""]}],
)
def test_numbers_that_break_the_rules_found_no_network(lie):
    with pytest.raises(Malformed):
        found("test", founders(), now_ms=5, **{**NUMBERS, **lie})


def test_three_validators_found_no_network():
    with pytest.raises(Malformed, match="validators"):
        found("test", founders(3), now_ms=5, **NUMBERS)


def test_one_key_or_name_twice_founds_no_network():
    members = founders()
    with pytest.raises(Malformed):
        found("test", [*members, members[0]], now_ms=5, **NUMBERS)
    with pytest.raises(Malformed):
        found("a name with spaces", members, now_ms=5, **NUMBERS)
