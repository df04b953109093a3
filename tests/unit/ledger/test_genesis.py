"""The rules of a founding document, each broken alone."""

import copy
import json

import pytest
from blake3 import blake3
from hypothesis import given, settings
from hypothesis import strategies as st

from pyrsia.errors import Malformed
from pyrsia.ledger.genesis import MAX_MEMBERS, Genesis
from pyrsia.wire import canonical
from pyrsia.wire.text import b32
from tests.reference.ledger import key, make_genesis

GOOD = json.loads(make_genesis())


def document(change):
    """The good document after `change(body)`, encoded."""
    made = copy.deepcopy(GOOD)
    change(made["body"])
    return canonical.encode(made)


def member(body, role="validator"):
    return next(item for item in body["members"] if role in item["roles"])


def put(**fields):
    return lambda body: body.update(fields)


def at_member(**fields):
    return lambda body: member(body).update(fields)


def drop(name):
    return lambda body: body.pop(name)


def copy_key(mine, theirs):
    def change(body):
        first, second = [item for item in body["members"] if "validator" in item["roles"]][:2]
        first[mine] = second[theirs]

    return change


def node_key_as_vote_key(body):
    from pyrsia.wire.text import unb32

    chosen = member(body)
    chosen["vote"] = unb32(chosen["node"]).hex()


def same_name(body):
    body["members"][0]["name"] = body["members"][1]["name"]


def twice(body):
    body["members"].insert(1, copy.deepcopy(body["members"][0]))


def three_validators(body):
    chosen = member(body)
    chosen["roles"] = ["builder"]
    chosen.update(vote="", log="", cosign="", chain_end="")


RULES = {
    "K is at least 3": (put(builders=2, agreeing=2), "builders: a whole number from 3"),
    "K is at most 100": (put(builders=101, agreeing=60), "builders: a whole number"),
    "T is more than half of K": (put(builders=4, agreeing=2), "more than half"),
    "T of an odd K is more than half": (put(builders=5, agreeing=2), "more than half"),
    "T is at most K": (put(builders=3, agreeing=4), "at most K"),
    "T is not zero": (put(agreeing=0), "agreeing"),
    "T is a number": (put(agreeing="2"), "agreeing"),
    "T is not true": (put(agreeing=True), "agreeing"),
    "the rules are known": (put(rules=2), "rules version 2"),
    "four validators": (three_validators, "3 validators, from 4"),
    "members are sorted": (lambda body: body["members"].reverse(), "not sorted by node"),
    "a member stands once": (twice, "stands twice|same name|not sorted"),
    "names differ": (same_name, "the same name"),
    "a validator has a vote key": (at_member(vote=""), "exactly the keys"),
    "a validator has a log key": (at_member(log=""), "exactly the keys"),
    "a validator has a cosign key": (at_member(cosign=""), "exactly the keys"),
    "a validator has a chain": (at_member(chain_end=""), "exactly the keys"),
    "a builder has a build key": (at_member(build=""), "exactly the keys"),
    "no key without its role": (at_member(roles=["builder"]), "exactly the keys|validators"),
    "no vote key is shared": (copy_key("vote", "vote"), "used twice"),
    "no key serves two purposes": (copy_key("vote", "log"), "used twice"),
    "no chain is shared": (copy_key("chain_end", "chain_end"), "used twice"),
    "the node key is no vote key": (node_key_as_vote_key, "used twice"),
    "a key is 32 bytes": (at_member(vote="00" * 31), "vote: 32 bytes"),
    "a key is lower-case hex": (at_member(vote="AB" * 32), "vote: 32 bytes"),
    "a node id is base32": (at_member(node="1" * 52), "base32"),
    "roles are known": (at_member(roles=["boss", "builder", "validator"]), "roles"),
    "roles are sorted": (at_member(roles=["validator", "builder"]), "not sorted"),
    "roles stand once": (at_member(roles=["builder", "builder", "validator"]), "element twice|at most"),
    "capabilities are sorted": (at_member(capabilities=["pip", "conan"]), "not sorted"),
    "an operator has a name": (at_member(operator=""), "operator"),
    "an operator's name is ASCII": (at_member(operator="\u0430cme"), "operator"),
    "a name has no spaces around it": (at_member(name=" node"), "name"),
    "a name has no line end": (at_member(name="node\n"), "name"),
    "a domain has a name": (at_member(domain=""), "domain"),
    "limits are sorted": (put(limits=[["validator", 1], ["member", 1]]), "limits: pairs that are not sorted"),
    "limits stand once": (put(limits=[["member", 1], ["member", 2]]), "limits: pairs that are not sorted"),
    "a limit is a pair": (put(limits=[["member"]]), "limits"),
    "environments are sorted": (put(environments=["b", "a"]), "not sorted"),
    "isolation is known": (put(min_isolation="none"), "min_isolation"),
    "the mark is a truth value": (put(demo=1), "demo"),
    "the name fits a note": (put(name="a b"), "name"),
    "the name has no plus": (put(name="a+b"), "name"),
    "the name is not empty": (put(name=""), "name"),
    "the time is a number": (put(created_ms="0"), "created_ms"),
    "no field more": (put(motto="x"), "motto"),
    "no member field more": (at_member(motto="x"), "motto"),
    "members are bounded": (lambda body: body.update(members=body["members"] * MAX_MEMBERS), "bytes|at most"),
    **{f"{name} is there": (drop(name), name) for name in GOOD["body"]},
    **{
        f"a member's {name} is there": ((lambda body, name=name: member(body).pop(name)), name)
        for name in GOOD["body"]["members"][0]
    },
}


@pytest.mark.parametrize("name", RULES)
def test_a_document_that_breaks_one_rule_founds_nothing(name):
    change, why = RULES[name]

    with pytest.raises(Malformed, match=why):
        Genesis.parse(document(change))


def test_a_document_says_what_the_network_lives_by():
    raw = make_genesis(9, validators=7)

    genesis = Genesis.parse(raw)

    assert (len(genesis.founders), len(genesis.validators)) == (7, 7)
    assert (genesis.builders, genesis.agreeing) == (3, 2)
    assert genesis.chain_id == blake3(raw).digest()
    assert genesis.net == b32(genesis.chain_id)
    assert genesis.origin == f"test/{genesis.net[:16]}"
    assert genesis.limits == {"member": 100_000}
    assert [m.vote for m in genesis.validators] == sorted(m.vote for m in genesis.members if m.vote)
    assert genesis.member(key(3, "node").public).name == "node 3"
    assert genesis.member(key("stranger").public) is None


def test_two_operators_are_enough_only_for_as_many_builders_as_operators():
    """T over at least two operators follows: at most one builder an operator is drawn, and T is at least 2."""
    for builders in range(3, 101):
        for agreeing in range(1, builders + 1):
            try:
                Genesis.parse(document(put(builders=builders, agreeing=agreeing)))
            except Malformed:
                assert 2 * agreeing <= builders
            else:
                assert agreeing >= 2
                assert 2 * agreeing > builders


@settings(max_examples=200)
@given(st.data())
def test_a_changed_byte_is_refused_or_founds_another_network(data):
    raw = bytearray(make_genesis())
    raw[data.draw(st.integers(0, len(raw) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        other = Genesis.parse(bytes(raw))
    except Malformed:
        return
    assert other.chain_id != blake3(make_genesis()).digest()
    assert canonical.encode({"body": other.body, "type": "network.genesis", "v": 1}) == bytes(raw)


@given(st.binary(max_size=300))
def test_only_malformed_escapes(raw):
    with pytest.raises(Malformed):
        Genesis.parse(raw)
