"""Bytes under several purls: what happens to them under one says nothing about the others."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyrsia.ledger import standing, views
from pyrsia.ledger.state import View
from pyrsia.units import MAX_NAMES_OF_BYTES
from pyrsia.wire import purl
from pyrsia.wire.text import b32
from tests.reference.governance import Governed, about, mapping, withdrawal
from tests.reference.ledger import key
from tests.unit.ledger.test_rechecks import built, status, tomorrow

KNOWN = "pkg:pypi/idna@1.0"


@pytest.fixture
def world():
    return Governed(count=12, builders=11)


def own(node, text=KNOWN):
    return str(purl.under(b32(node.public), purl.parse(text)))


def of(world, view, package):
    return views.status(world.db.get, view.artifact.body["sha256"], package)["status"]


def test_nobody_disputes_others_files_by_an_own_name(world):
    """Its source copies the known file, and a day later, as its clock says, makes something else."""
    mine = {"purl": own(world.follower)}
    honest, _ = built(world)
    tomorrow(world)
    copy, _ = built(world, **mine)
    assert copy.artifact.body["sha256"] == honest.artifact.body["sha256"]
    tomorrow(world)
    other, _ = built(world, "two", **mine)
    assert other.verdict.body["verdict"] == "REPRODUCED"
    assert of(world, honest, mine["purl"]) == "DISPUTED"
    assert (of(world, honest, KNOWN), status(world, honest)) == ("REPRODUCED", ["REPRODUCED"])
    assert views.project_files(world.db.get, "idna") == (honest.artifact,)
    assert views.project_files(world.db.get, str(purl.parse(mine["purl"]).versionless)) == ()


def test_whoever_is_first_under_an_own_name_does_not_take_the_bytes_from_their_package(world):
    mine = own(world.follower)
    copy, _ = built(world, purl=mine)
    sha256 = copy.artifact.body["sha256"]
    assert views.artifact(world.db.get, sha256) == copy.artifact
    tomorrow(world)
    honest, _ = built(world)
    assert views.artifact(world.db.get, sha256) == honest.artifact
    assert views.artifact(world.db.get, sha256, mine) == copy.artifact
    world.enact(about("artifact.withdraw", sha256))
    assert (of(world, honest, KNOWN), of(world, honest, mine)) == ("WITHDRAWN", "REPRODUCED")
    assert not views.offered(
        world.db.get, sha256
    )  # a copy does not go on offering what its package has withdrawn
    assert views.offered(world.db.get, sha256, mine)


def test_a_maintainer_withdraws_what_somebody_else_published_first(world):
    mine = own(world.follower)
    copy, _ = built(world, purl=mine)
    tomorrow(world)
    honest, _ = built(world)
    world.enact(mapping())
    sha256 = honest.artifact.body["sha256"]
    raw = world.entry(world.follower, "artifact.withdraw", withdrawal(world, sha256))
    assert "artifact.withdraw" in world.block(raw)
    assert (of(world, honest, KNOWN), of(world, copy, mine)) == ("WITHDRAWN", "REPRODUCED")


def test_of_bytes_that_two_packages_share_one_may_go(world):
    """A layer of two images, or a file of two versions."""
    first, _ = built(world)
    second, _ = built(world, version="2.0")
    sha256 = first.artifact.body["sha256"]
    assert views.artifact(world.db.get, sha256) == first.artifact
    world.enact(about("artifact.withdraw", sha256))
    assert (of(world, first, KNOWN), of(world, first, "pkg:pypi/idna@2.0")) == ("WITHDRAWN", "REPRODUCED")
    assert views.offered(world.db.get, sha256)
    assert views.artifact(world.db.get, sha256) == second.artifact
    world.enact(about("artifact.withdraw", sha256, "pkg:pypi/idna@2.0"))
    assert not views.offered(world.db.get, sha256)
    assert views.artifact(world.db.get, sha256) == first.artifact


def test_what_nobody_published_has_no_name_and_no_status(world):
    assert views.name_of(world.db.get, "ab" * 32) == ""
    assert views.status(world.db.get, "ab" * 32) is None
    assert views.artifact(world.db.get, "ab" * 32) is None
    assert not views.offered(world.db.get, "ab" * 32, KNOWN)


NAMES = [f"pkg:pypi/shared-{at}@1.0" for at in range(40)]
OWN = [own(key("owner", at)) for at in range(40)]


@settings(max_examples=25, deadline=None)
@given(st.lists(st.sampled_from(NAMES + OWN), min_size=1, max_size=80))
def test_own_names_come_last_and_give_way_where_the_list_is_full(published):
    view = View({}.get)
    for leaf, package in enumerate(published):
        body = {"purl": package, "sha256": "ab" * 32, "verdict": "REPRODUCED"}
        standing.publish(view, {"body": body, "leaf": leaf})
    order = list(dict.fromkeys(published))
    shared = [one for one in order if one in NAMES]
    listed = view.get(standing.names_key("ab" * 32))
    assert listed == (shared + [one for one in order if one in OWN])[: MAX_NAMES_OF_BYTES.value]
    for package in order:  # listed or not, its status is its own
        assert view.get(standing.status_key("ab" * 32, package))["status"] == "REPRODUCED"
