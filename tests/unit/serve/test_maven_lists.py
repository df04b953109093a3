"""`maven-metadata.xml` at every level, against a slow oracle."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyrsia.builds.maven import versions
from pyrsia.builds.maven.poms import read_xml
from pyrsia.errors import Malformed, Refusal
from pyrsia.serve.maven import lists, paths, snapshots
from pyrsia.serve.maven.lists import Plugin
from pyrsia.units import Limit
from pyrsia.wire import purl
from tests.reference import mavenlists
from tests.reference.mavenlists import Push

FREELY = settings(deadline=None)
KINDS = [("", "jar"), ("", "pom"), ("sources", "jar"), ("bin", "tar.gz"), ("jdk1.5", "jar"), ("", "jar.asc"),
         ("", "module"), ("bin", "tar.gz.asc"), ("a-b", "zip")]  # fmt: skip
TIMES = st.sampled_from([f"2026010{day}.0{hour}0000" for day in range(1, 4) for hour in range(4)])
PUSHES = st.lists(
    st.builds(
        lambda number, time, kind: Push(number, time, *kind),
        st.integers(0, 40),
        TIMES,
        st.sampled_from(KINDS),
    ),
    min_size=1,
    max_size=60,
    unique=True,
)
VERSIONS = st.lists(
    st.sampled_from(["1.0", "1.1", "1.9", "1.10", "2.0-rc1", "2.0", "3-SNAPSHOT"]), unique=True
)


def parts(pushes):
    found = [snapshots.part("tool", "1.0-SNAPSHOT", push.name("tool", "1.0")) for push in pushes]
    assert None not in found
    return found


@FREELY
@given(PUSHES)
def test_a_snapshot_s_list_offers_the_newest_file_of_each_kind(pushes):
    root = read_xml(lists.snapshot("org.example", "tool", "1.0-SNAPSHOT", parts(pushes), 1_700_000_000_000))

    number, time = mavenlists.newest(pushes)
    assert root.get("versioning/snapshot/buildNumber") == str(number)
    assert root.get("versioning/snapshot/timestamp") == time
    offered = {
        (one.get("classifier"), one.get("extension")): one.get("value")
        for one in root.all("versioning/snapshotVersions/snapshotVersion")
    }
    assert offered == mavenlists.offered(pushes, "1.0")
    # The next client takes the number after this one, so whatever it pushes is the newest.
    later = Push(number + 1, "20260101.000000", "", "jar")
    assert mavenlists.newest([*pushes, later]) == (number + 1, later.time)
    assert snapshots.newest(parts([*pushes, later])) == snapshots.Build(number + 1, later.time)


@FREELY
@given(PUSHES, st.integers(1, 5))
def test_only_the_newest_builds_stay(pushes, most):
    gone = {part.name for part in snapshots.outdated(parts(pushes), most)}

    stays = {push.name("tool", "1.0") for push in mavenlists.kept(pushes, most)}
    assert gone == {push.name("tool", "1.0") for push in pushes} - stays


@FREELY
@given(VERSIONS.filter(bool), st.sets(st.sampled_from(["1.1", "2.0"])), VERSIONS)
def test_upstream_adds_versions_behind_ours_and_latest_stays_ours(ours, refused, theirs):
    held = {*ours, *refused}
    added = lists.added(lists.read(lists.package("g", "a", ["0", *theirs], "2026")), {"0", *held})
    root = read_xml(lists.package("g", "a", (*ours, *added), "2026", preferred=ours))

    listed = [one.text for one in root.all("versioning/versions/version")]
    assert listed == mavenlists.merged(ours, held, theirs)
    assert root.get("versioning/latest") in ours
    released = [version for version in ours if not version.endswith("-SNAPSHOT")]
    assert root.get("versioning/release") == (versions.newest(released) if released else "")
    assert all(versions.compare(root.get("versioning/latest"), one) >= 0 for one in ours)
    assert lists.read(lists.package("g", "a", ours, "2026")).versions == tuple(ours)


@pytest.mark.parametrize(
    "name",
    [
        "tool-1.0-SNAPSHOT",
        "tool-1.0-20260101.000000-.jar",
        "tool-1.0-20260101.000000-1",
        "tool-1.0-20260101.000000-1.",
        "tool-1.0-20260101.000000-1-.jar",
        "tool-1.0-20260101.00000-1.jar",
        "tool-1.0-20260101.000000-1x.jar",
        "tool-1.0-20260101.000000-12345678901.jar",
        "tool-1.1-20260101.000000-1.jar",
        "other-1.0-20260101.000000-1.jar",
        "tool-1.0.jar",
    ],
)
def test_what_no_client_calls_a_build_of_a_snapshot_is_none(name):
    assert snapshots.part("tool", "1.0-SNAPSHOT", name) is None


def test_a_file_under_the_moving_name_counts_where_no_build_has_such_a_file():
    names = ["tool-1.0-SNAPSHOT.jar", "tool-1.0-SNAPSHOT-sources.jar", "tool-1.0-20260101.000000-1.jar"]
    found = [snapshots.part("tool", "1.0-SNAPSHOT", name) for name in names]
    root = read_xml(lists.snapshot("g", "tool", "1.0-SNAPSHOT", found, 0))

    offered = {
        (one.get("classifier"), one.get("extension")): one.get("value")
        for one in root.all("versioning/snapshotVersions/snapshotVersion")
    }
    assert offered == {("", "jar"): "1.0-20260101.000000-1", ("sources", "jar"): "1.0-SNAPSHOT"}
    assert snapshots.outdated(found, 0) == [found[2]]  # the moving name is no build that grows old


def test_of_two_plugins_with_one_prefix_or_one_artifact_the_earlier_list_wins():
    ours = (Plugin("tool", "tool-maven-plugin", "Ours"),)
    theirs = (Plugin("tool", "evil-maven-plugin"), Plugin("t", "tool-maven-plugin"), Plugin("more", "more-x"))

    assert lists.merged_plugins(ours, theirs) == (ours[0], theirs[2])
    again = lists.read(lists.group(lists.merged_plugins(ours, theirs)))
    assert again.plugins == (ours[0], theirs[2])


@pytest.mark.parametrize(
    ("artifact", "prefix"),
    [
        ("maven-clean-plugin", "clean"),
        ("maven-plugin-plugin", "plugin"),
        ("spotless-maven-plugin", "spotless"),
        ("maven-surefire-report-plugin", "surefire-report"),
        ("guava", ""),
        ("maven-plugin", ""),
        ("maven-plugin-api", ""),
    ],
)
def test_a_plugin_s_prefix_comes_from_its_name(artifact, prefix):
    assert lists.prefix_of(artifact) == prefix


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"<metadata>",
        b"<html/>",
        b'<!DOCTYPE x [<!ENTITY e "boo">]><metadata>&e;</metadata>',
        b"<metadata>" * 70 + b"</metadata>" * 70,
        b"\xff\xfe",
    ],
)
def test_what_is_no_list_is_told_so(data):
    with pytest.raises(Malformed, match="not a list"):
        lists.read(data)


@FREELY
@given(
    st.binary(max_size=200) | st.text(max_size=200).map(lambda text: f"<metadata>{text}</metadata>".encode())
)
def test_no_list_of_a_stranger_raises_anything_else(data):
    try:
        listed = lists.read(data)
    except Malformed:
        return
    assert listed == lists.read(data)


def test_a_list_that_is_all_elements_or_all_line_ends_costs_no_more_than_a_real_one(monkeypatch):
    monkeypatch.setattr(lists, "_ELEMENTS", Limit(10, "a test"))
    with pytest.raises(Malformed, match="more than 10 elements"):
        lists.read(b"<metadata>" + b"<a/>" * 10 + b"</metadata>")
    assert lists.read(b"<metadata>" + b"<a/>" * 9 + b"</metadata>") == lists.Listed()
    # Each line end was a piece of its own, and this took minutes.
    ends = 2 << 20
    assert len(read_xml(b"<metadata>" + b"\n" * ends + b"</metadata>").text) == ends


def test_names_that_no_repository_could_have_are_left_out():
    listed = lists.read(
        b"<metadata><versioning><versions><version>1.0</version><version>../../etc</version><version> 2 </version>"
        b"<version>1..2</version><version/></versions></versioning><plugins><plugin><prefix>a b</prefix>"
        b"<artifactId>x</artifactId></plugin><plugin><prefix>ok</prefix><artifactId>../x</artifactId></plugin>"
        b"</plugins></metadata>"
    )
    assert (listed.versions, listed.plugins) == (("1.0", "2"), ())


SEGMENTS = st.sampled_from(
    ["org", "a.b", "lib", "1.0", "1.0-SNAPSHOT", "lib-1.0.jar", "lib-1.0.jar.sha1", "maven-metadata.xml", "..", ".",
     "", "maven-metadata.xml.md5", "a" * 52, "a" * 201, "x%2F", "-", ".sha1", "maven-metadata.xml.asc"]
)  # fmt: skip


@FREELY
@given(st.lists(SEGMENTS | st.text(max_size=8), max_size=8).map("/".join))
def test_every_path_names_something_inside_of_a_repository_or_is_not_found(path):
    try:
        place = paths.read(path)
    except Refusal:
        return
    steps = place.whole.split("/")
    assert not {"", ".", ".."} & set(steps)
    assert place.whole.isascii()
    if isinstance(place, paths.FilePath):
        assert str(purl.parse(place.package)) == place.package
        assert place.key == "/".join(steps[-2:])
        assert path.removeprefix(f"{place.root}/") == place.whole + place.beside
    else:
        assert path.removeprefix(f"{place.root}/") == place.whole + place.beside
        named = place.snapshot[:2] if place.snapshot else place.artifact
        assert named is None or purl.parse(paths.package_of(*named))
        assert not place.group or purl.parse(paths.package_of(place.group, "x"))
