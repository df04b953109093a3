"""What keeps upstream from a name: the log, the shelf of pushed packages, the policy, over a real ledger."""

from types import SimpleNamespace

import pytest

from pyrsia.config import Config, ProxySection
from pyrsia.errors import Refusal
from pyrsia.node.log.proofs import Proofs
from pyrsia.node.packages.catalog import Catalog
from pyrsia.node.packages.supply import make_supply, make_upstream
from pyrsia.node.policy.policing import Policing
from pyrsia.wire import purl
from pyrsia.wire.text import b32
from tests.reference.governance import Governed, about
from tests.reference.parts import Kept
from tests.reference.story import Story
from tests.unit.node.packages.test_catalog import Shelf, no_bundle

POLICY = '[pip]\nmode = "proxy"\ndeny = ["pkg:pypi/bad*", "pkg:pypi/some@6.*"]\n[maven]\nmode = "verified+witnessed"\n'


class Deciding(Kept, Governed):
    """A network whose motions and archive are real."""


@pytest.fixture
def world(tmp_path):
    made = Deciding(tmp_path, count=12, builders=11)
    yield made
    made.close()


@pytest.fixture
def upstream(world, tmp_path):
    """One that is not running: what it may ask is decided before that matters."""
    (tmp_path / "policy.toml").write_text(POLICY)
    house = SimpleNamespace(
        settings=Config(proxy=ProxySection(allow=("pkg:pypi/*", "pkg:maven/*"), quota_gb=1)),
        keys=SimpleNamespace(node_id=world.follower.public),
        archive=world.archive,
        data=tmp_path,
    )
    local = SimpleNamespace(owns=lambda package: package == "pkg:pypi/ours")
    found = make_upstream(house, local, Policing(tmp_path / "policy.toml", world.archive.state))
    yield found
    found.shop.copies.close()


async def no(asked):
    with pytest.raises(Refusal) as caught:
        await asked
    return caught.value


async def test_the_mode_of_the_policy_and_the_owner_decide(upstream):
    taken = {
        one: upstream.takes(one)
        for one in ("pkg:pypi/six", "pkg:pypi/ours", "pkg:maven/g/a", "pkg:conan/zlib")
    }

    assert list(taken.values()) == [True, False, False, False]
    assert [upstream.proxies(one) for one in ("pip", "maven")] == [True, False]
    told = await no(upstream.document("pkg:maven/g/a", "g/a/maven-metadata.xml"))
    assert (told.code, "the mode is verified+witnessed" in told.what) == ("denied", True)
    assert upstream.status().modes == {
        "pip": "proxy", "maven": "verified+witnessed", "conan": "verified", "oci": "verified+witnessed"
    }  # fmt: skip
    assert upstream.status().quota_bytes == 1 << 30


async def test_the_policy_refuses_names_and_versions_of_upstream_s_too(upstream):
    named = await no(upstream.document("pkg:pypi/badly", "badly/"))
    running = await no(upstream.document("pkg:pypi/some", "some/"))

    assert "deny names it: pkg:pypi/bad*" in named.what
    assert (running.code, running.what) == ("unavailable", "this node does not ask upstream now")


async def test_what_the_log_holds_is_its_own_also_when_it_was_withdrawn(world, upstream):
    story = Story(world=world)
    ours = upstream._rules.ours
    assert ours.versions("pkg:pypi/idna") == {"1.0"}
    assert ours.holds(story.sha256)
    world.enact(about("artifact.withdraw", story.sha256))

    assert ours.versions("pkg:pypi/idna") == {"1.0"}
    assert ours.holds(story.sha256)
    assert not ours.holds("0" * 64)
    assert ours.versions("pkg:pypi/other") == frozenset()


async def test_bytes_that_the_log_keeps_back_are_known_by_their_digest_whatever_upstream_calls_them(
    world, upstream, tmp_path
):
    story = Story(world=world)
    policing = Policing(None, world.archive.state)
    catalog = Catalog(world.archive, Shelf(tmp_path), Proofs(world.archive), no_bundle, policing=policing)
    make_supply(catalog, SimpleNamespace(), upstream)
    good = upstream.against(story.sha256), upstream.against("0" * 64)
    world.enact(about("artifact.withdraw", story.sha256))

    assert good == (None, None)
    assert upstream.against(story.sha256).code == "withdrawn"
    assert upstream.shop.against("pkg:pypi/idna", "idna/", story.sha256).code == "withdrawn"


async def test_what_a_node_claims_under_its_own_name_takes_nothing_from_anybody(world, upstream):
    own = str(purl.under(b32(world.follower.public), purl.parse("pkg:pypi/idna@1.0")))
    copy = Story(world=world, asked={"purl": own}, revealed={"source": "claimed"})
    ours = upstream._rules.ours

    assert not ours.holds(copy.sha256)
    assert ours.versions("pkg:pypi/idna") == frozenset()
    assert upstream.takes("pkg:pypi/idna")


async def test_a_glob_that_is_none_is_refused_at_the_start(world, tmp_path):
    house = SimpleNamespace(
        settings=Config(proxy=ProxySection(allow=("no glob",))),
        keys=SimpleNamespace(node_id=world.follower.public),
        archive=world.archive,
        data=tmp_path,
    )
    with pytest.raises(Refusal, match=r"proxy\.allow has .no glob.") as caught:
        make_upstream(house, SimpleNamespace(owns=bool), Policing(None, world.archive.state))

    assert caught.value.code == "config-invalid"
