"""What a Maven artifact is called, and what a lock may say of its files."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyrsia.builds.maven import lock
from pyrsia.builds.maven.coordinates import Artifact, is_release, of_path, of_request, parse_name
from pyrsia.builds.maven.remotes import moving_path
from pyrsia.errors import Malformed, Refusal
from pyrsia.wire import purl as purls

PART = st.from_regex(r"[a-z][a-z0-9-]{0,8}", fullmatch=True)
VERSIONS = st.from_regex(r"[0-9]{1,2}(?:\.[0-9]{1,2}){0,2}(?:-[a-z]{1,4}[0-9])?", fullmatch=True)
ARTIFACTS = st.builds(Artifact, st.lists(PART, min_size=1, max_size=3).map(".".join), PART, VERSIONS)
ENDINGS = st.sampled_from([".jar", ".pom", "-sources.jar", "-tests.jar"])
FILES = st.builds(
    lambda artifact, ending, sha256, size: lock.Locked(artifact.path(ending), sha256.hex(), size),
    ARTIFACTS,
    ENDINGS,
    st.binary(min_size=32, max_size=32),
    st.integers(0, 1 << 30),
)


@given(ARTIFACTS, ENDINGS)
def test_a_path_of_a_repository_leads_back_to_its_artifact_and_the_purl_is_canonical(
    artifact: Artifact, ending: str
):
    assert of_path(artifact.path(ending)) == artifact
    assert of_request({"coordinates": artifact.coordinates}) == artifact
    purl = purls.parse(artifact.purl())
    assert (purl.namespace, purl.name, purl.version) == (artifact.group, artifact.name, artifact.version)
    own = purls.parse(artifact.purl("a" * 52))
    assert own.namespace == f"{'a' * 52}/maven/{artifact.group}"


@pytest.mark.parametrize(
    "path",
    [
        "org/example/tool/maven-metadata.xml",
        "org/example/tool/1.0-SNAPSHOT/tool-1.0-20260101.000000-1.jar",
        "org/example/tool/1.0/other-1.0.jar",
        "org/example/tool/LATEST/tool-LATEST.jar",
        "org/../tool/1.0/tool-1.0.jar",
        "org/.hidden/tool/1.0/tool-1.0.jar",
        "org//tool/1.0/tool-1.0.jar",
        "tool/1.0/tool-1.0.jar",
        "org/example/tool/1.0/tool-1.0.jar?x=y",
        "org/example/tool/1.0/tool-1.0.jar\n",
    ],
)
def test_a_path_that_is_no_file_of_a_release_is_none(path: str):
    assert of_path(path) is None
    with pytest.raises(ValueError, match="no file of an artifact"):
        lock.encode([lock.Locked(path, "0" * 64, 1)])


@pytest.mark.parametrize(
    "version", ["1-SNAPSHOT", "1-snapshot", "LATEST", "RELEASE", "[1,2)", "", "..", "1..2", "1/2"]
)
def test_what_names_another_file_tomorrow_is_no_release(version: str):
    assert not is_release(version)


@pytest.mark.parametrize(
    "name", ["tool", "org.example:", ":tool", "a:b:c", "../x:y", "a b:c", "org..example:tool", ""]
)
def test_a_name_without_group_or_with_steps_in_it_is_refused(name: str):
    with pytest.raises(Refusal) as refused:
        parse_name(name)

    assert refused.value.code == "bad-request"


def test_what_moves_is_never_answered_while_planning():
    assert moving_path("org/example/tool/maven-metadata.xml")
    assert moving_path("org/example/tool/1-SNAPSHOT/tool-1-SNAPSHOT.pom")
    assert not moving_path("org/example/tool/1/tool-1.pom")


@given(st.lists(FILES, max_size=8, unique_by=lambda one: one.path))
def test_a_lock_has_one_form_whatever_the_order(files: list[lock.Locked]):
    data = lock.encode(files)

    assert data == lock.encode(reversed(files))
    assert data.startswith(b"pyrsia lock maven v1\n")
    assert lock.decode(data) == tuple(sorted(files))


@given(st.lists(FILES, min_size=1, max_size=4, unique_by=lambda one: one.path), st.data())
def test_the_lie_a_lock_with_one_byte_changed_is_refused_or_says_something_else(
    files: list[lock.Locked], data: st.DataObject
):
    honest = lock.encode(files)
    at = data.draw(st.integers(0, len(honest) - 1))
    lie = honest[:at] + bytes([honest[at] ^ data.draw(st.integers(1, 255))]) + honest[at + 1 :]

    try:
        read = lock.decode(lie)
    except Malformed:
        return
    assert lock.encode(read) == lie != honest


@pytest.mark.parametrize(
    "line",
    [
        "org.example:tool 2.0 org/example/tool/1.0/tool-1.0.jar {} 1",  # another version than its path
        "org.other:tool 1.0 org/example/tool/1.0/tool-1.0.jar {} 1",
        "org.example:tool 1.0 org/example/tool/1.0/../../tool-1.0.jar {} 1",
        "org.example:tool 1.0 /org/example/tool/1.0/tool-1.0.jar {} 1",
        "org.example:tool 1.0 org/example/tool/1.0/tool-1.0.jar {} 01",
        "org.example:tool 1.0 org/example/tool/1.0/tool-1.0.jar {} 1 https://somewhere",
    ],
)
def test_a_line_that_says_two_things_is_no_lock(line: str):
    with pytest.raises(Malformed):
        lock.decode(f"{lock.HEADER}\n{line.format('0' * 64)}\n".encode())


def test_a_path_that_stands_twice_is_no_lock():
    one = lock.Locked("org/example/tool/1.0/tool-1.0.jar", "0" * 64, 1)

    with pytest.raises(ValueError, match="once"):
        lock.encode([one, lock.Locked(one.path, "1" * 64, 1)])


def test_checksums_and_signatures_are_not_kept():
    assert [lock.kept(f"x.jar{ending}") for ending in ("", ".sha1", ".md5", ".sha512", ".asc")] == [True] + [
        False
    ] * 4
