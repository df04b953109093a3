"""What a node tells of a build: whether clients get its files."""

import pytest

from pyrsia.ledger import views
from pyrsia.node.builds.told import is_served
from tests.reference.ledger import World


@pytest.fixture
def world():
    return World()


def built(world, word):
    """A build of one package and version whose result is `word`."""
    request, builders = world.drawn()
    return world.run(request, [(one, world.reveal(request, word)) for one in builders])


def test_the_first_file_of_a_name_is_served_and_a_later_build_s_other_bytes_are_not(world):
    first, again, changed = built(world, "one"), built(world, "one"), built(world, "two")
    assert [one.verdict.body["verdict"] for one in (first, again, changed)] == ["REPRODUCED"] * 3
    assert [is_served(world.db.get, one) for one in (first, again, changed)] == [True, True, False]


def test_what_published_nothing_withholds_nothing(world):
    request, _ = world.drawn()
    assert is_served(world.db.get, views.request(world.db.get, request))
