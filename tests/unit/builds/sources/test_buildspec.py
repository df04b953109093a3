"""What others wrote about a package's source: taken as data, or refused with the line."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyrsia.builds.sources.buildspec import Mapped, parse_buildspec, parse_mapping
from pyrsia.errors import Malformed
from pyrsia.ledger.bodies.motions import MOTIONS
from pyrsia.units import MAX_BUILDSPEC_BYTES

PLAIN = """\
# coordinates
groupId=org.apache.commons
artifactId=commons-thing
version=1.15

gitRepo=https://github.com/apache/${artifactId}.git
gitTag=rel/${artifactId}-${version}   # a tag

tool=mvn-3.9.6
jdk=8
newline=lf
umask=022
command="mvn -Papache-release clean package -DskipTests -Dmaven.javadoc.skip -Dgpg.skip -Dx.y=1 site"
buildinfo=target/${artifactId}-${version}.buildinfo
issue='https://issues.example/$1'
"""


def with_line(line, plain=PLAIN):
    """The file with `line` at its end, and that line's number."""
    return (plain + line + "\n").encode(), len(plain.splitlines()) + 1


def test_a_buildspec_becomes_the_fields_of_a_motion():
    found = parse_buildspec(PLAIN.encode())

    assert found == Mapped(
        "pkg:maven/org.apache.commons/commons-thing",
        "https://github.com/apache/commons-thing.git",
        "rel/commons-thing-{version}",
        {"define": "x.y=1", "profiles": "apache-release"},
        found.left_out,
    )
    assert [line.partition(":")[0] for line in found.left_out] == [
        "line 9, tool",
        "line 10, jdk",
        "line 11, newline",
        "line 12, umask",
        "line 13, command",
    ]
    motion = {"keys": [], "kind": "mapping.set", "purl": found.purl, "reason": "x", "recipe": found.recipe()}
    MOTIONS["mapping.set"]({**motion, "replaces": 0, "repository": found.repository, "tag": found.tag})


def test_the_originals_own_variables_are_taken_and_a_version_in_the_tag_is_found():
    data = (
        b"groupId=a\nartifactId=b\nversion=1.2\nrepoType=git\nrepoUrl=https://one.example/b\nrepoTag=v1.2\n"
    )
    assert parse_buildspec(data).tag == "v{version}"
    assert parse_buildspec(data).recipe() == {}


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("gitHash=abc", "gitHash is no variable of a .buildspec"),
        ("command=`id`", "no command is run"),
        ('display="$(id)"', "no command is run"),
        ("display=$(id)", "no command is run"),
        ("display=$HOME", "only ${groupId}"),
        ('display="${version//./_}"', "only ${groupId}"),
        ("display=${HOME}", "only ${groupId}"),
        ("display=(a b)", "arrays are not taken"),
        ("issue+=x", "nothing is added"),
        ("display=a;id", "a character that means something to a shell"),
        ("display=a&&id", "a character that means something to a shell"),
        ("display=<(id)", "a character that means something to a shell"),
        ('display="a"id', "something stands behind"),
        ("display=a id", "something stands behind"),
        ('display="a', "a value ends on its own line"),
        ('display="a\\', "a value ends on its own line"),
        ("display=a\\", "a backslash or a control character"),
        ("display=\x1b[31m", "a backslash or a control character"),
        ("version=2", "version stands twice, also in line 4"),
        ("rm -rf /", "is no KEY=VALUE"),
        ("if true; then", "is no KEY=VALUE"),
        ("a[0]=b", "is no KEY=VALUE"),
        ("source other.sh", "is no KEY=VALUE"),
    ],
)
def test_what_a_shell_would_make_something_of_is_refused_with_its_line(line, why):
    data, number = with_line(line)
    with pytest.raises(Malformed) as caught:
        parse_buildspec(data)
    assert str(caught.value).startswith(f"line {number}")
    assert why in str(caught.value)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (("version=1.15\n", ""), "no line version"),
        (("gitTag=rel/${artifactId}-${version}", "gitTag=0123abc"), "does not have the version in it once"),
        (
            ("gitTag=rel/${artifactId}-${version}", "gitTag=${version}-${version}"),
            "does not have the version in it once",
        ),
        (("gitRepo=https", "other=https"), "other is no variable"),
        (("umask=022", "repoType=svn"), "only repositories of git"),
        (("groupId=", "groupId=../"), "purl"),
    ],
)
def test_what_is_missing_is_named(change, why):
    with pytest.raises(Malformed, match=why):
        parse_buildspec(PLAIN.replace(*change).encode())


@settings(max_examples=300)
@given(
    st.binary(max_size=200)
    | st.text("gitTa=$({`'\"\\\n# ;v}", max_size=60).map(lambda text: PLAIN + text).map(str.encode)
)
def test_whatever_a_file_holds_it_is_data_or_malformed(data):
    try:
        found = parse_buildspec(data)
    except Malformed:
        return
    said = repr((found.purl, found.repository, found.tag, found.parameters))
    assert not {"`", "$("} & {said[at : at + n] for at in range(len(said)) for n in (1, 2)}
    assert found.tag.count("{version}") == 1


def mapping(**change):
    told = {
        "package_type": "Maven2",
        "package_specific_id": "commons-codec:commons-codec:1.15",
        "source_repository": {
            "Git": {"url": "https://github.com/apache/commons-codec", "tag": "rel/commons-codec-1.15"}
        },
        "build_spec_url": "https://one.example/x.buildspec",
    }
    return json.dumps(told | change).encode()


def test_a_mapping_of_the_original_becomes_the_same_fields():
    found = parse_mapping(mapping())
    assert (found.purl, found.repository, found.tag, found.recipe()) == (
        "pkg:maven/commons-codec/commons-codec",
        "https://github.com/apache/commons-codec",
        "rel/commons-codec-{version}",
        {},
    )
    assert found.left_out == ("build_spec_url: nothing is fetched to be run",)


@pytest.mark.parametrize(
    "data",
    [
        b"{", b"[]", b"null", b"\xff", b"[" * 100_000, mapping(package_type="Docker"), mapping(source_repository=None),
        mapping(source_repository={"Git": {"url": "https://one.example/r"}}), mapping(package_specific_id="a:b"),
        mapping(source_repository={"Git": {"url": 1, "tag": "1.15"}}), b" " * (MAX_BUILDSPEC_BYTES.value + 1),
    ],
)  # fmt: skip
def test_what_is_no_mapping_is_refused(data):
    with pytest.raises(Malformed):
        parse_mapping(data)
