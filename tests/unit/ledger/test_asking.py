"""What a request must say: whose name, whose source, whose recipe. And how long its builders have."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyrsia.errors import Refusal
from pyrsia.ledger import asking, entries, views
from pyrsia.units import COMMIT_WINDOW_MS, MAX_OPEN_OF_OPERATOR, SLOW_COMMIT_WINDOW_MS
from pyrsia.wire import purl
from pyrsia.wire.text import b32
from tests.reference.governance import Governed, mapping, numbers
from tests.reference.ledger import ENVIRONMENT, blob

APPLIES = "execution gives another tree"
GIT = {"commit": "ab" * 20, "tag": "v1.0", "tree": "cd" * 32}
SOURCE = {"file": "idna.tar.gz", "sha256": blob("source")["sha256"], "size": 5}
FROM_GIT = {**SOURCE, "git": GIT}
GIVEN = {**SOURCE, "manifest": "ef" * 32}
PACKAGES = {
    "maven": ("pkg:maven/org.apache.commons/commons-text@1.12.0", "org.apache.commons", "commons-text", "1.12.0"),
    "conan": ("pkg:conan/team/stable/zlib@1.3.1", "team/stable", "zlib", "1.3.1"),
    "oci": ("pkg:docker/team/app@1.0", "team", "app", "1.0"),
    "pip": ("pkg:pypi/idna@1.0", None, "idna", "1.0"),
}  # fmt: skip


@pytest.fixture
def world():
    return Governed(count=7, builders=6, capabilities=sorted(asking.ECOSYSTEMS))


def named(ecosystem, package=None):
    text, namespace, name, version = PACKAGES[package or ecosystem]
    coordinates = {"name": name, "version": version}
    return {
        "coordinates": coordinates if namespace is None else {**coordinates, "namespace": namespace},
        "ecosystem": ecosystem,
        "purl": text,
    }


def own(node, text):
    return str(purl.under(b32(node.public), purl.parse(text)))


def asked(world, author=None, **changes):
    """Why this request may not stand, or that it may."""
    return world.forced(world.request(author=author, **changes)[0])


def recipe(world, **changes):
    return {**entries.parse(world.request()[0]).body["recipe"], **changes}


MAPPED = {"parameters": [["extras", "none"]]}


# -- names --


@pytest.mark.parametrize("ecosystem", sorted(PACKAGES))
def test_each_ecosystem_builds_packages_of_its_type_alone(world, ecosystem):
    assert APPLIES in asked(world, **named(ecosystem))
    for other in set(PACKAGES) - {ecosystem}:
        assert f"{ecosystem} builds" in asked(world, **{**named(ecosystem), "purl": PACKAGES[other][0]})
    assert APPLIES in asked(world, **named("witness", ecosystem))


@pytest.mark.parametrize("ecosystem", ["maven", "conan", "oci"])
def test_the_namespace_is_part_of_the_name(world, ecosystem):
    good = named(ecosystem)
    bare = {name: value for name, value in good["coordinates"].items() if name != "namespace"}
    for coordinates in (bare, {**bare, "namespace": "other"}, {**bare, "name": "x", "namespace": "team"}):
        assert "different packages" in asked(world, **{**good, "coordinates": coordinates})


def test_an_own_name_is_its_nodes_alone(world):
    me, other = world.follower, world.nodes[0]
    mine = {**named("pip"), "purl": own(me, "pkg:pypi/idna@1.0"), "source": GIVEN}
    assert APPLIES in asked(world, **mine)
    assert "only its own node" in asked(world, author=other, **mine, requester=b32(other.public))
    assert "witnessed under its own name" in asked(
        world, **{**mine, "ecosystem": "witness", "source": SOURCE}
    )
    assert "pip builds" in asked(world, **{**mine, "purl": own(me, PACKAGES["maven"][0])})
    assert "different packages" in asked(world, **{**mine, "purl": own(me, "pkg:pypi/idna@2.0")})


def test_a_source_that_was_given_along_never_stands_under_a_known_name(world):
    assert "requester's own name only" in asked(world, source=GIVEN)
    world.enact(mapping())
    assert "requester's own name only" in asked(world, source=GIVEN, recipe=recipe(world, **MAPPED))
    assert APPLIES in asked(world, source=FROM_GIT, recipe=recipe(world, **MAPPED))


@pytest.mark.parametrize(("where", "verdict"), [("own", "REPRODUCED"), ("known", "INSUFFICIENT")])
def test_a_claimed_source_counts_under_the_claimers_name_and_nowhere_else(world, where, verdict):
    """Even if all builders say so: under a known name each of them has to look for itself."""
    changes = {"purl": own(world.follower, "pkg:pypi/idna@1.0"), "source": GIVEN} if where == "own" else {}
    request, builders = world.drawn(**changes)
    view = world.run(request, [(b, world.reveal(request, source="claimed")) for b in builders])
    assert view.verdict.body["verdict"] == verdict
    if where == "known":
        assert view.artifacts == ()
        return
    assert view.artifact.body["source"] == "claimed"
    assert views.project_files(world.db.get, "idna") == ()
    package = own(world.follower, "pkg:pypi/idna")
    assert views.project_files(world.db.get, package) == (view.artifact,)


# -- mappings --


def test_a_git_source_needs_a_mapping_and_the_mappings_tag(world):
    assert "no enacted mapping" in asked(world, source=FROM_GIT)
    world.enact(mapping())
    fits = {"recipe": recipe(world, **MAPPED)}
    assert APPLIES in asked(world, source=FROM_GIT, **fits)
    for tag in ("", "1.0", "v1.0.0", "v2.0", "V1.0"):
        assert "its tag is not the one" in asked(world, source={**SOURCE, "git": {**GIT, "tag": tag}}, **fits)


def test_a_mapping_is_not_left_out_by_asking_for_the_registrys_archive(world):
    """Whoever mapped a package may have done so because an upload can be somebody else's."""
    world.enact(mapping(recipe={}))
    assert "is not from there" in asked(world)
    assert "is not from there" in asked(world, version="2.0", recipe=recipe(world, **MAPPED))
    assert APPLIES in asked(world, source=FROM_GIT)
    assert APPLIES in asked(world, ecosystem="witness")  # which says itself that nobody built anything
    assert APPLIES in asked(world, purl=own(world.follower, "pkg:pypi/idna@1.0"))


def test_an_environment_that_is_not_admitted_any_more_does_not_lose_the_package(world):
    other = "rootfs:" + "7" * 64
    world.enact(numbers(environments=[ENVIRONMENT, other]))
    world.enact(mapping(recipe={"environment": other}))
    assert "environment is not what" in asked(world, source=FROM_GIT)
    assert APPLIES in asked(world, source=FROM_GIT, recipe=recipe(world, environment=other))
    world.enact(numbers(environments=[ENVIRONMENT]))
    assert "not admitted" in asked(world, source=FROM_GIT, recipe=recipe(world, environment=other))
    assert APPLIES in asked(world, source=FROM_GIT)


@pytest.mark.parametrize("package", ["maven", "oci"])
def test_a_pipeline_builds_what_a_mapping_gives_to_it_and_nothing_else(world, package):
    """Few builders have one: whoever could choose it would choose among few."""
    asks = {**named("pipeline", package), "source": FROM_GIT}
    name = str(purl.parse(asks["purl"]).versionless)
    tag = GIT["tag"].replace("1.0", "{version}")
    world.enact(mapping(name, recipe={"backend": "maven@1"}, tag=tag))
    source = {**SOURCE, "git": {**GIT, "tag": "v" + asks["coordinates"]["version"]}}
    asks["source"] = source
    assert "does not say that a pipeline" in asked(world, **asks)
    world.enact(mapping(name, replaces=1, recipe={}, tag=tag))
    assert "does not say that a pipeline" in asked(world, **asks)
    world.enact(mapping(name, replaces=2, recipe={"backend": "pipeline@1"}, tag=tag))
    assert APPLIES in asked(world, **asks, recipe=recipe(world, backend="pipeline@1"))
    assert "is not from there" in asked(
        world, **{**asks, "source": SOURCE}, recipe=recipe(world, backend="pipeline@1")
    )


def test_without_a_mapping_nothing_is_built_by_a_pipeline(world):
    for package in ("maven", "oci"):
        assert "no enacted mapping" in asked(world, **named("pipeline", package))
    for package in ("pip", "conan"):
        assert "pipeline builds docker, maven packages" in asked(world, **named("pipeline", package))


@pytest.mark.parametrize("field", ["backend", "isolation", "normaliser"])
def test_what_a_mapping_sets_of_a_recipe_is_not_the_requesters_choice(world, field):
    other = recipe(world, **MAPPED, **{field: "other"})
    assert APPLIES in asked(world, recipe=other)  # for the builders to judge, by the rules
    world.enact(mapping())
    assert f"{field} is not what" in asked(world, source=FROM_GIT, recipe=other)
    assert APPLIES in asked(world, source=FROM_GIT, recipe=recipe(world, **MAPPED))
    claimed = own(world.follower, "pkg:pypi/idna@1.0")
    assert APPLIES in asked(world, purl=claimed, source=GIVEN, recipe=other)  # under its own name it is


@pytest.mark.parametrize("given", [None, [], [["extras", "all"]], [["other", "none"]]])
def test_parameters_of_a_mapping_are_all_there_as_it_sets_them(world, given):
    world.enact(mapping())
    other = recipe(world) if given is None else recipe(world, parameters=given)
    assert "parameter extras is not what" in asked(world, source=FROM_GIT, recipe=other)
    more = recipe(world, parameters=[["extras", "none"], ["z", "by the rules"]])
    assert APPLIES in asked(world, source=FROM_GIT, recipe=more)


def test_a_mapping_says_nothing_of_what_is_witnessed(world):
    world.enact(mapping())
    assert APPLIES in asked(world, ecosystem="witness", recipe=recipe(world, backend="witness@1"))


# -- a tag that moves --


def from_git(world, commit="ab" * 20, sources=("mapping",) * 3, **changes):
    source = {**SOURCE, "git": {**GIT, "commit": commit}, **changes}
    request, builders = world.drawn(source=source, recipe=recipe(world, **MAPPED))
    bodies = [(b, world.reveal(request, source=how)) for b, how in zip(builders, sources, strict=True)]
    return world.run(request, bodies)


def test_the_commit_that_builders_found_first_stays_the_one_of_its_version(world):
    world.enact(mapping())
    view = from_git(world)
    assert view.artifact.body["source"] == "mapping"
    seen = views.first_commit(world.db.get, "pkg:pypi/idna@1.0")
    assert seen == {"commit": "ab" * 20, "leaf": view.verdict.leaf, "request": view.id, "tag": "v1.0"}
    moved = {**SOURCE, "git": {**GIT, "commit": "ff" * 20}}
    assert "the tag was moved" in asked(world, source=moved, recipe=recipe(world, **MAPPED))
    world.enact(mapping(replaces=1, repository="https://example.org/elsewhere"))
    assert "the tag was moved" in asked(world, source=moved, recipe=recipe(world, **MAPPED))
    assert from_git(world).artifact is not None  # the same commit may be built again
    assert views.first_commit(world.db.get, "pkg:pypi/idna@1.0") == seen


def test_whoever_asks_first_with_a_false_commit_spoils_no_name(world):
    """A request is a claim; only what T builders resolved themselves is kept."""
    world.enact(mapping())
    false = {**SOURCE, "git": {**GIT, "commit": "ff" * 20}}
    request, builders = world.drawn(source=false, recipe=recipe(world, **MAPPED))
    failed = {"outcome": "failed", "outputs": [], "phase": "prefetch"}
    world.run(request, [(b, world.reveal(request, **failed)) for b in builders])
    assert views.first_commit(world.db.get, "pkg:pypi/idna@1.0") is None
    assert from_git(world).artifact is not None


def test_of_two_commits_that_were_asked_for_at_once_the_second_to_be_built_publishes_nothing(world):
    world.enact(mapping())
    recipe_of = recipe(world, **MAPPED)
    requests = []
    for at, commit in enumerate(("ab" * 20, "ff" * 20)):
        sha256 = blob(("source", at))["sha256"]
        source = {**SOURCE, "git": {**GIT, "commit": commit}, "sha256": sha256}
        requests.append(world.drawn(source=source, recipe=recipe_of))
    views_of = [
        world.run(request, [(b, world.reveal(request, at, source="mapping")) for b in builders])
        for at, (request, builders) in enumerate(requests)
    ]
    assert [view.verdict.body["verdict"] for view in views_of] == ["REPRODUCED"] * 2
    assert [len(view.artifacts) for view in views_of] == [1, 0]
    assert views.first_commit(world.db.get, "pkg:pypi/idna@1.0")["commit"] == "ab" * 20


def test_under_an_own_name_no_commit_stays(world):
    """There its author says which commit is which version, and may say another thing tomorrow."""
    for at, commit in enumerate(("ab" * 20, "ff" * 20)):
        source = {**SOURCE, "git": {**GIT, "commit": commit}, "sha256": blob(("own", at))["sha256"]}
        request, builders = world.drawn(purl=own(world.follower, "pkg:pypi/idna@1.0"), source=source)
        view = world.run(request, [(b, world.reveal(request, at, source="mapping")) for b in builders])
        assert len(view.artifacts) == 1
    assert not [name for name in world.db if name.startswith(b"commit/")]


@pytest.mark.parametrize("how", ["registry", "claimed"])
def test_a_git_source_counts_only_of_builders_that_resolved_the_tag(world, how):
    world.enact(mapping())
    view = from_git(world, sources=(how, "mapping", how))
    assert (view.verdict.body["verdict"], view.artifacts) == ("INSUFFICIENT", ())
    assert views.first_commit(world.db.get, "pkg:pypi/idna@1.0") is None


# -- how long builders have --


@given(st.sampled_from(sorted(asking.ECOSYSTEMS)), st.sampled_from(["pure", "native"]))
def test_the_window_is_a_function_of_what_is_asked_for(ecosystem, isolation):
    body = {"ecosystem": ecosystem, "recipe": {"isolation": isolation}}
    quick = ecosystem == "witness" or (ecosystem == "pip" and isolation == "pure")
    expected = COMMIT_WINDOW_MS.value if quick else SLOW_COMMIT_WINDOW_MS.value
    assert asking.commit_window_ms(body) == expected


def test_a_slow_build_may_commit_late_and_not_a_millisecond_later(world):
    request, builders = world.drawn(**named("conan"))
    deadline = views.request(world.db.get, request).draw.body["commit_deadline"]
    assert deadline == world.time + SLOW_COMMIT_WINDOW_MS.value
    raw = world.entry(
        builders[0], "build.commit", {"commitment": "00" * 32, "request": request}, until=deadline + 60_000
    )
    assert APPLIES in world.forced(raw, at=deadline)
    assert "commit deadline has passed" in world.forced(raw, at=deadline + 1)


# -- how much one may ask for --


def test_one_operator_keeps_half_of_the_open_requests_free_for_others():
    world = Governed(count=5, operators=["a", "b", "c", "d", "d"])
    world.db[b"asking/d"] = str(MAX_OPEN_OF_OPERATOR.value).encode()
    with pytest.raises(Refusal, match="250 requests of its operator are open") as no:
        world.block(world.request()[0])
    assert no.value.code == "busy"
    assert "of its operator are open" in asked(
        world, author=world.nodes[3]
    )  # another node of the same operator
    assert APPLIES in asked(world, author=world.nodes[0])


def test_what_is_over_is_counted_no_more(world):
    for _ in range(2):
        raw, request = world.request()
        world.block(raw)
        assert world.db[b"asking/operator-6"] == b"1"
        world.block(world.entry(world.follower, "build.cancel", {"request": request}))
        assert b"asking/operator-6" not in world.db
    request, builders = world.drawn()
    world.run(request, [(b, world.reveal(request)) for b in builders])
    assert b"asking/operator-6" not in world.db
