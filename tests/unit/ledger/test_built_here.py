"""What counts as built by this network: not what was only witnessed, and nobody else's own copy."""

import pytest

from pyrsia.ledger import views
from pyrsia.wire.text import b32
from tests.reference.governance import Governed, about
from tests.unit.ledger.test_rechecks import built, tomorrow


@pytest.fixture
def world():
    return Governed(count=12, builders=11, capabilities=["pip", "witness"])


def sha256_of(view):
    return view.artifact.body["sha256"]


def test_what_builders_agreed_on_counts_for_everybody(world):
    view, _ = built(world)
    assert views.built(world.db.get, sha256_of(view), "") == view.artifact.leaf


def test_what_stands_under_a_members_own_name_counts_for_that_member_alone(world):
    me, other = b32(world.follower.public), b32(world.nodes[0].public)
    view, _ = built(world, purl=f"pkg:generic/{me}/pypi/idna@1.0")
    found = {one: views.built(world.db.get, sha256_of(view), one) for one in (me, other, "")}
    assert found == {me: view.artifact.leaf, other: None, "": None}


def test_what_was_only_witnessed_counts_once_it_is_built(world):
    seen, _ = built(world, ecosystem="witness")
    assert views.offered(world.db.get, sha256_of(seen))
    assert views.built(world.db.get, sha256_of(seen), "") is None
    tomorrow(world)
    made, _ = built(world)
    assert sha256_of(made) == sha256_of(seen)
    assert views.built(world.db.get, sha256_of(seen), "") == made.artifact.leaf


def test_what_is_unknown_or_withdrawn_does_not_count(world):
    assert views.built(world.db.get, "9" * 64, "") is None
    view, _ = built(world)
    world.enact(about("artifact.withdraw", sha256_of(view)))
    assert views.built(world.db.get, sha256_of(view), "") is None
