"""`package map`: the motion that goes to the node, from words, files and documents, and what is refused before.
`package search`: what a person and a script see of what the node found."""

import json

import pytest

from tests.reference.fakenode import ANSWERS, FakeNode
from tests.unit.builds.sources.test_buildspec import PLAIN, mapping

MOTION = {
    "id": "0123456789ab" + "c" * 52,
    "kind": "mapping.set",
    "summary": "the source of pkg:pypi/idna",
    "phase": "open",
    "author": "amber",
    "reason": "r",
    "approvals": ["amber"],
    "missing": ["birch"],
    "needed": 2,
    "accepts": "",
    "time_ms": 1,
    "deadline_ms": 2,
    "leaf": 7,
    "accepted": "",
    "decided": -1,
    "epoch": -1,
    "body": {},
}
WORDS = ("pkg:pypi/idna", "--git", "https://github.com/kjd/idna", "--tag-pattern", "v{version}")


@pytest.fixture
def node():
    with FakeNode({**ANSWERS, "/api/v1/motions": (201, MOTION)}) as made:
        yield made


def sent(node):
    method, path, _, body = node.seen[-1]
    assert (method, path) == ("POST", "/api/v1/motions")
    return json.loads(body)


def test_a_mapping_goes_to_the_node_as_a_motion(pyrsia, node):
    code, out, err = pyrsia(
        "package", "map", *WORDS, "--key", "cd" * 32, "--key", "ab" * 32, "--node", node.url
    )

    assert (code, err) == (0, "")
    assert "motion 0123456789ab" in out
    assert sent(node) == {
        "approve": True,
        "motion": {
            "keys": ["ab" * 32, "cd" * 32],
            "kind": "mapping.set",
            "purl": "pkg:pypi/idna",
            "reason": "the source of pkg:pypi/idna",
            "recipe": {},
            "repository": "https://github.com/kjd/idna",
            "tag": "v{version}",
        },
    }


def test_a_buildspec_and_a_mapping_of_the_original_give_the_same_kind_of_motion(pyrsia, node, tmp_path):
    (tmp_path / "x.buildspec").write_text(PLAIN)
    (tmp_path / "x.mapping").write_bytes(mapping())
    first = pyrsia("package", "map", "--from-buildspec", tmp_path / "x.buildspec", "--node", node.url)
    one = sent(node)["motion"]
    second = pyrsia(
        "package",
        "map",
        "--from-mapping",
        tmp_path / "x.mapping",
        "--tag-pattern",
        "x-{version}",
        "--node",
        node.url,
    )
    two = sent(node)["motion"]

    assert (first[0], second[0]) == (0, 0)
    assert "not taken: line 10, jdk" in first[2]
    assert (one["purl"], one["tag"]) == (
        "pkg:maven/org.apache.commons/commons-thing",
        "rel/commons-thing-{version}",
    )
    assert one["recipe"] == {"parameters": [["define", "x.y=1"], ["profiles", "apache-release"]]}
    assert (two["purl"], two["tag"]) == ("pkg:maven/commons-codec/commons-codec", "x-{version}")


def test_who_is_no_member_writes_a_document_that_a_member_proposes(pyrsia, node, tmp_path):
    no = {
        "code": "entry-refused",
        "what": "the entry's author is no member of this network",
        "who": "x",
        "do": "y",
    }
    with FakeNode({**ANSWERS, "/api/v1/motions": (422, {"error": no})}) as stranger:
        refused = pyrsia("package", "map", *WORDS, "--node", stranger.url)
    written = pyrsia("package", "map", *WORDS, "--reason", "ours", "--out", tmp_path / "m.json", "--json")
    asked_before = len(node.seen)
    code, _, _ = pyrsia("package", "map", "--from-document", tmp_path / "m.json", "--node", node.url)

    assert refused[0] == 1
    assert "add --out FILE, and ask a member to run pyrsia package map --from-document FILE" in refused[2]
    assert (written[0], asked_before, code) == (0, 0, 0)
    assert (
        sent(node)["motion"]
        == json.loads(written[1])["motion"]
        == json.loads((tmp_path / "m.json").read_text())
    )
    assert sent(node)["motion"]["reason"] == "ours"


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("pkg:pypi/idna",), "--git URL is missing"),
        (("pkg:pypi/idna", "--git", "https://one.example/r"), "--tag-pattern PATTERN is missing"),
        ((), "PURL is missing"),
        (("pkg:pypi/idna@3", *WORDS[1:]), "write pkg:pypi/idna"),
        (("idna", *WORDS[1:]), "a purl starts with pkg:"),
        (
            ("pkg:pypi/idna", "--git", "http://one.example/r", "--tag-pattern", "{version}"),
            "the https address",
        ),
        (
            ("pkg:pypi/idna", "--git", "https://one.example/r", "--tag-pattern", "v1"),
            "a tag pattern with {version}",
        ),
        ((*WORDS, "--key", "zz"), "not a mapping"),
        ((*WORDS, "--recipe", "{"), "--recipe is not JSON"),
        ((*WORDS, "--recipe", '{"cutoff_ms": 1}'), "not a mapping"),
    ],
)
def test_what_is_no_mapping_is_refused_before_the_node_is_asked(pyrsia, node, words, why):
    code, _, err = pyrsia("package", "map", *words, "--node", node.url)
    assert code == 2
    assert why in err
    assert node.seen == []


def test_files_that_are_none_are_refused_with_the_line_and_nothing_raw(pyrsia, node, tmp_path):
    (tmp_path / "evil").write_text(PLAIN + "display=$(id)\x1b[31m\n")
    (tmp_path / "json").write_text('{"kind": "member.add"}')
    spec = pyrsia("package", "map", "--from-buildspec", tmp_path / "evil", "--node", node.url)
    document = pyrsia("package", "map", "--from-document", tmp_path / "json", "--node", node.url)
    both = pyrsia(
        "package",
        "map",
        "--from-document",
        tmp_path / "json",
        "--from-mapping",
        tmp_path / "json",
        "--node",
        node.url,
    )
    other = (tmp_path / "good").write_text(PLAIN)
    about = pyrsia(
        "package", "map", "pkg:pypi/idna", "--from-buildspec", tmp_path / "good", "--node", node.url
    )

    assert [code for code, _, _ in (spec, document, both, about)] == [2, 2, 2, 2]
    assert "line 16: no command is run to make a value" in spec[2]
    assert "\x1b" not in spec[2]
    assert "it is no motion that" in document[2]
    assert "take it from one file" in both[2]
    assert "the file is about pkg:maven/" in about[2]
    assert other
    assert node.seen == []


# -- search --

FOUND = {
    "query": "zlib@1",
    "more": True,
    "next": 3,
    "packages": [
        {"purl": "pkg:conan/zlib", "ecosystem": "conan", "origin": "network", "owner": "", "verdict": "REPRODUCED",
         "versions": ["1.3.1", "1.3", "1.2.13", "1.2.12", "1.2.11"], "refused": ["1.2.8"], "whole": True},
        {"purl": "pkg:conan/acme/zlib", "ecosystem": "conan", "origin": "local", "owner": "", "verdict": "",
         "versions": ["1.0"], "refused": [], "whole": True},
        {"purl": "pkg:docker/zlib", "ecosystem": "oci", "origin": "network", "owner": "", "verdict": "",
         "versions": [], "refused": ["1"], "whole": True},
    ],
    "size": -1,
    "time_ms": 0,
}  # fmt: skip


def searched(pyrsia, answer, *words):
    with FakeNode({"/api/v1/search": (200, answer)}) as node:
        return *pyrsia("package", "search", *words, "--node", node.url), node.seen[-1][1]


def test_what_is_found_stands_in_a_line_each_and_says_how_to_see_more(pyrsia):
    code, out, _, asked = searched(pyrsia, FOUND, "zlib@1", "conan", "--count", "3", "--ecosystem", "conan")

    assert code == 0
    assert asked == "/api/v1/search?q=zlib%401+conan&first=0&count=3&ecosystem=conan"
    lines = [line.split() for line in out.splitlines()]
    assert lines[0][-3:] == ["of", "all", "versions"]
    assert lines[1] == ["pkg:conan/zlib", "1.3.1,", "1.3,", "1.2.13,", "1.2.12", "REPRODUCED", "1", "refused"]
    assert lines[2] == ["pkg:conan/acme/zlib", "1.0", "pushed", "here"]
    assert lines[3] == ["pkg:docker/zlib", "-", "refused", "1", "refused"]
    assert "--first 3" in out.splitlines()[-1]


def test_a_script_gets_the_node_s_answer(pyrsia):
    code, out, _, _ = searched(pyrsia, FOUND, "zlib", "--json")
    assert (code, json.loads(out)) == (0, FOUND)


def test_what_is_not_there_is_told_with_what_to_do(pyrsia):
    code, out, _, _ = searched(pyrsia, {"query": "nothing", "packages": [], "more": False}, "nothing")
    assert code == 1
    assert "no package here is called like nothing" in out
    assert "pyrsia build request" in out


def test_a_search_of_a_moment_says_which_and_goes_on_behind_what_it_told(pyrsia):
    one = {
        "purl": "pkg:pypi/idna", "ecosystem": "pip", "origin": "network", "owner": "", "versions": ["1.0"],
        "refused": ["2.0"], "verdict": "REPRODUCED", "whole": True,
    }  # fmt: skip
    short = {**one, "purl": "pkg:pypi/much", "whole": False}
    told = {
        "query": "idna", "packages": [one, short], "more": True, "next": 7, "size": 1_234,
        "time_ms": 1_760_000_000_000,
    }  # fmt: skip
    with FakeNode({**ANSWERS, "/api/v1/search": (200, told)}) as node:
        code, out, _ = pyrsia(
            "package", "search", "idna", "--as-of", "1234", "--first", 5, "--node", node.url
        )
        assert code == 0
        assert out.startswith("as of 1,234 entries, 2025-10-09 08:53:20 UTC\n")
        assert "1 fallen" in out
        assert "its history is too long to tell" in out
        assert "--first 7" in out  # where the node says that it goes on
        assert "as_of=1234" in node.seen[-1][1]
    looked = {**told, "packages": []}
    with FakeNode({**ANSWERS, "/api/v1/search": (200, looked)}) as node:
        code, out, _ = pyrsia("package", "search", "idna@1", "--as-of", "1234", "--node", node.url)
        assert (code, "none among the first that were looked at" in out, "--first 7" in out) == (
            1,
            True,
            True,
        )
    none = {**told, "packages": [], "more": False, "next": -1}
    with FakeNode({**ANSWERS, "/api/v1/search": (200, none)}) as node:
        code, out, _ = pyrsia("package", "search", "idna", "--as-of", "2026-01-31", "--node", node.url)
        assert (code, "no package was called like idna then" in out) == (1, True)
        code, _, err = pyrsia("package", "search", "idna", "--as-of", "soon", "--node", node.url)
        assert (code, "is no time" in err) == (2, True)
