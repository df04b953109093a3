"""Founding documents: who may be a network."""

import json

from pyrsia.ledger.genesis import Genesis
from tests.fuzz import laws
from tests.reference.ledger import make_genesis

MAX_BYTES = 8_192
JSON = True


def check(data: bytes) -> bool:
    found = laws.one_form(data, Genesis.parse, lambda genesis: genesis.raw)
    if found is None:
        return False
    assert json.loads(data)["body"] == found.body
    assert 4 <= len(found.validators) == len({member.vote for member in found.validators})
    assert found.origin.startswith(found.name)
    assert all(found.member(member.node) == member for member in found.members)
    assert all(count >= 0 for count in found.limits.values())
    return True


def seeds() -> dict[str, bytes]:
    return {
        "four": make_genesis(4),
        "five": make_genesis(),
        "seven": make_genesis(7, validators=7, builders=3),
        "three": make_genesis(3, validators=3, builders=3),
        "rules-2": make_genesis(4, rules=2),
        "space-in-the-name": make_genesis(4, name="a b"),
        "half-agree": make_genesis(4, agreeing=2, builders=4),
    }
