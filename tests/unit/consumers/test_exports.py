"""Exports: what stands in each file, that a hole refuses the whole, and that a hostile node gets nothing into one."""

import json

import msgspec
import pytest

from pyrsia.consumers.exports import choosing, conan, image_files, maven, oci, pip
from pyrsia.consumers.exports.choosing import Known, versions
from pyrsia.errors import Refusal
from pyrsia.policy import rules
from pyrsia.policy.facts import LOCAL, PROXIED, Facts
from pyrsia.wire import purl as purls
from tests.reference.fakenode import FakeNode
from tests.unit.cli.conftest import home as home
from tests.unit.cli.conftest import pyrsia as pyrsia
from tests.unit.serve.toyjudge import ToyJudge, known

RREV, OLDER, PACKAGE, PREV = "1" * 32, "2" * 32, "3" * 40, "4" * 32
IDNA = ("idna-3.10-py3-none-any.whl", "idna-3.10.tar.gz")


def digest(number):
    return f"{number:064x}"


@pytest.fixture
def judge():
    return ToyJudge([
        known("pkg:pypi/idna@3.10", IDNA[0], sha256=digest(1)),
        known("pkg:pypi/idna@3.10", IDNA[1], sha256=digest(2)),
        known("pkg:pypi/idna@3.11", "idna-3.11-py3-none-any.whl", status="WITNESSED", sha256=digest(3)),
        known("pkg:pypi/idna@3.9", "idna-3.9-py3-none-any.whl", sha256=digest(4)),
        known("pkg:pypi/six@1.17.0", "six-1.17.0-py2.py3-none-any.whl", sha256=digest(5)),
        known("pkg:maven/org.acme/lib@1.0", "lib-1.0.jar", sha256=digest(6)),
        known("pkg:maven/org.acme/lib@1.0", "lib-1.0.pom", sha256=digest(7)),
        known("pkg:maven/org.acme/lib@1.1", "lib-1.1.jar", sha256=digest(8)),
        known("pkg:maven/org.acme/lib@1.1", "lib-1.1.pom", sha256=digest(9), status="DISPUTED"),
        known("pkg:maven/org.other/tool@2", "tool-2.pom", sha256=digest(10)),
        known("pkg:conan/zlib@1.3.1", f"{RREV}~conanmanifest.txt", sha256=digest(11)),
        known("pkg:conan/zlib@1.3.1", f"{RREV}~conanfile.py", sha256=digest(12)),
        known("pkg:conan/zlib@1.3.1", f"{RREV}~{PACKAGE}~{PREV}~conan_package.tgz", sha256=digest(13)),
        known("pkg:conan/team/stable/fmt@10.0", f"{OLDER}~conanmanifest.txt", sha256=digest(14)),
        known("pkg:docker/library/alpine@3.20", "manifest~3.20", sha256=digest(15), status="WITNESSED"),
        known("pkg:docker/library/alpine@3.20", f"sha256~{digest(16)}", sha256=digest(16), status="WITNESSED"),
        known("pkg:docker/ghcr.io/acme/app@1", "manifest~1", sha256=digest(17)),
        known("pkg:docker/acme/broken@1", "manifest~1", sha256=digest(18)),
        known("pkg:docker/acme/broken@1", f"sha256~{digest(19)}", sha256=digest(19), status="DISPUTED"),
    ])  # fmt: skip


@pytest.fixture
def node(judge):
    def facts(query):
        return msgspec.to_builtins(judge.known(query["purl"]))

    def packages(query):
        return msgspec.to_builtins(judge.packages(query["start"], query.get("after", "")))

    answers = {
        "/api/v1/policy": (200, lambda _: msgspec.to_builtins(judge.policy())),
        "/api/v1/policy/facts": (200, facts),
        "/api/v1/policy/names": (200, packages),
    }
    with FakeNode(answers) as made:
        yield made


@pytest.fixture
def export(pyrsia, node):
    def call(*words, code=0):
        found, out, err = pyrsia("export", *words, "--node", node.url)
        assert found == code, (out, err)
        return out if code == 0 else out + err

    return call


# -- pip --


def test_every_allowed_file_of_a_version_is_listed_with_its_hash(export):
    both = f"idna==3.10 \\\n    --hash=sha256:{digest(1)} \\\n    --hash=sha256:{digest(2)}\n"
    six = f"six==1.17.0 \\\n    --hash=sha256:{digest(5)}\n"
    assert export("pip-requirements", "six==1.17.0", "idna==3.10") == both + six
    assert export("pip-requirements", "pkg:pypi/idna@3.10") == both
    assert export("pip-requirements", "Idna") == both  # the newest that policy allows
    assert export("pip-requirements", "idna<3.10").startswith("idna==3.9 ")


def test_a_list_keeps_markers_and_extras_and_tells_what_it_leaves_out(export, pyrsia, node, tmp_path):
    listed = tmp_path / "requirements.in"
    listed.write_text(
        "--index-url https://pypi.org/simple\n"
        "# a comment\n"
        "idna[all]>=3.9, <3.11 ; python_version > '3'  # why\n"
        "six==1.17.0 \\\n    --hash=sha256:" + "0" * 64 + "\n"
        "six==1.17.0\n"
        "mine @ https://example.org/mine.whl\n"
    )
    out = tmp_path / "out.txt"
    _, said, err = pyrsia("export", "pip-requirements", "-r", listed, "-o", out, "--node", node.url)
    lines = out.read_text().splitlines()
    assert lines[0] == 'idna[all]==3.10 ; python_version > "3" \\'
    assert [line for line in lines if not line.startswith(" ")][1:] == ["six==1.17.0 \\"]
    assert "0" * 64 not in out.read_text()
    assert f"{out}: 3 versions" in said
    assert ("line 1: the option --index-url" in err, "line 7: it comes from an address" in err) == (
        True,
        True,
    )


def test_a_hole_refuses_the_whole_and_nothing_is_written(export, tmp_path):
    out = tmp_path / "out.txt"
    said = export("pip-requirements", "six", "idna==3.11", "unknown==1", "-o", out, code=1)
    assert "it is WITNESSED, EQUIVALENT is the least" in said
    assert "pkg:pypi/unknown: the log holds no file of it" in said
    assert not out.exists()


def test_other_rules_make_another_export(export, tmp_path):
    tried = tmp_path / "p.toml"
    tried.write_text('[pip]\nmode = "verified+witnessed"\n')
    assert export("pip-requirements", "idna", "--policy", tried).startswith("idna==3.11 ")


def test_scripts_get_what_is_in_it_and_what_is_not(export):
    told = json.loads(export("pip-requirements", "idna==3.10", "--json"))
    (one,) = told["packages"]
    assert (one["purl"], [each["file"] for each in one["files"]]) == ("pkg:pypi/idna@3.10", sorted(IDNA))
    assert told["text"].startswith("idna==3.10 ")


def test_a_pre_release_is_only_taken_where_nothing_else_fits():
    found = [
        choosing.Version(purls.parse(f"pkg:pypi/x@{one}"), ()) for one in ("1.0", "2.0a1", "1.10", "1.9")
    ]
    newest = pip.of_purl(purls.parse("pkg:pypi/x")).newest(found)
    assert newest.purl.version == "1.10"
    assert pip.of_purl(purls.parse("pkg:pypi/x")).newest(found[1:2]).purl.version == "2.0a1"


@pytest.mark.parametrize("line", ["idna==", "idna 3", "../x", "\u212aidna==1", "x;y"])
def test_what_is_no_requirement_is_refused_with_its_line(export, tmp_path, line):
    listed = tmp_path / "r.txt"
    listed.write_text(f"six\n{line}\n")
    assert "line 2" in export("pip-requirements", "-r", listed, code=2)


# -- Maven --


def test_checksums_have_the_resolver_s_form_and_name_what_is_allowed(export, tmp_path):
    lines = export("maven-trusted-checksums", "org.acme:lib").splitlines()
    assert lines == [
        f"{digest(6)}  org/acme/lib/1.0/lib-1.0.jar",
        f"{digest(7)}  org/acme/lib/1.0/lib-1.0.pom",
        f"{digest(8)}  org/acme/lib/1.1/lib-1.1.jar",  # its pom is disputed, so Maven will not take it
    ]
    folder = tmp_path / "project" / ".mvn" / "checksums"
    said = export("maven-trusted-checksums", "--all", "-o", folder, "--repository", "central")
    text = (folder / "checksums-central.sha256").read_text()
    assert text.splitlines()[:2] == lines[:2]
    assert text.splitlines()[-1].endswith("  org/other/tool/2/tool-2.pom")  # from the second page
    assert (
        "-Daether.trustedChecksumsSource.summaryFile.basedir=${session.rootDirectory}/.mvn/checksums" in said
    )
    assert "-Daether.artifactResolver.postProcessor.trustedChecksums.failIfMissing=true" in said
    elsewhere = export("maven-trusted-checksums", "--all", "-o", tmp_path / "sums")
    assert f"basedir={tmp_path}/sums" in elsewhere


def test_what_maven_cannot_be_told_is_refused(export):
    assert "holds no file" in export("maven-trusted-checksums", "org.acme:none", code=1)
    export("maven-trusted-checksums", code=2)
    export("maven-trusted-checksums", "lib", code=2)
    export("maven-trusted-checksums", "pkg:pypi/idna", code=2)
    export("maven-trusted-checksums", "--all", "--repository", "../x", code=2)


# -- Conan --


def test_a_lock_pins_the_recipe_revision_that_is_allowed(export, tmp_path):
    lock = json.loads(export("conan-lock", "zlib/1.3.1", "fmt/10.0@team/stable"))
    assert lock["requires"] == [f"zlib/1.3.1#{RREV}", f"fmt/10.0@team/stable#{OLDER}"]
    assert (lock["version"], lock["build_requires"]) == ("0.5", [])
    old = tmp_path / "conan.lock"
    old.write_text(json.dumps({"version": "0.5", "requires": [f"zlib/1.3.1#{OLDER}%1.0"]}))
    assert json.loads(export("conan-lock", "-r", old))["requires"] == [f"zlib/1.3.1#{RREV}"]


def test_a_revision_with_a_refused_file_is_none_and_the_newest_whole_one_is_taken(export, judge):
    judge.files += [
        known("pkg:conan/zlib@1.3.1", f"{OLDER}~conanmanifest.txt", sha256=digest(21)),
        known("pkg:conan/zlib@1.3.1", f"{OLDER}~conanfile.py", sha256=digest(22), status="DISPUTED"),
    ]
    assert json.loads(export("conan-lock", "zlib/1.3.1"))["requires"] == [f"zlib/1.3.1#{RREV}"]
    judge.files = [
        known("pkg:conan/zlib@1.3.1", f"{RREV}~{PACKAGE}~{PREV}~conan_package.tgz", sha256=digest(23)),
        known("pkg:conan/zlib@1.3.1", "something-else", sha256=digest(24)),
    ]
    assert "no revision is allowed as a whole" in export("conan-lock", "zlib/1.3.1", code=1)


# -- images --


def test_references_get_the_digest_that_the_tag_leads_to(export):
    alpine = f"alpine:3.20@sha256:{digest(15)}\n"
    assert export("oci-digests", "alpine:3.20") == alpine
    assert export("oci-digests", "docker.io/library/alpine:3.20") == f"docker.io/library/{alpine}"
    assert export("oci-digests", f"alpine:3.20@sha256:{digest(99)}") == alpine
    assert export("oci-digests", "127.0.0.1:7888/library/alpine:3.20") == f"127.0.0.1:7888/library/{alpine}"
    assert export("oci-digests", "localhost/alpine:3.20") == f"localhost/{alpine}"
    assert export(
        "oci-digests", "pkg:docker/ghcr.io/acme/app@1", "alpine:3.20", "--format", "containerfile"
    ) == (f"FROM {alpine}FROM ghcr.io/acme/app:1@sha256:{digest(17)}\n")
    told = json.loads(export("oci-digests", "alpine:3.20", "--format", "json"))
    assert told["images"][0]["pinned"] == alpine.strip()
    assert export("oci-digests", "--all").splitlines() == [
        alpine.strip(),
        f"ghcr.io/acme/app:1@sha256:{digest(17)}",
    ]


def test_an_image_with_a_refused_layer_is_not_exported(export):
    assert "its status is DISPUTED" in export("oci-digests", "acme/broken:1", code=1)
    assert "holds no file" in export("oci-digests", "alpine:edge", code=1)
    export("oci-digests", "UPPER", code=2)
    export("oci-digests", code=2)


CONTAINERFILE = """\
# syntax=docker/dockerfile:1
ARG BASE=debian
from --platform=linux/amd64 alpine:3.20 AS build  # comment
RUN echo FROM alpine:3.20
FROM ghcr.io/acme/app:1
FROM build
FROM scratch
FROM $BASE
"""
COMPOSE = """\
services:
  web:
    image: "alpine:3.20"
    command: "image: alpine:3.20"
  app:
    image: ghcr.io/acme/app:1 # ours
  made:
    build: .
"""


def test_files_that_name_images_are_pinned_and_otherwise_stay_as_they_are(export, tmp_path):
    file = tmp_path / "Containerfile"
    file.write_text(CONTAINERFILE)
    out = export("oci-digests", "--rewrite", file)
    assert out == CONTAINERFILE.replace("alpine:3.20 AS", f"alpine:3.20@sha256:{digest(15)} AS").replace(
        "app:1\n", f"app:1@sha256:{digest(17)}\n"
    )
    file.write_text(out)
    assert export("oci-digests", "--rewrite", file) == out  # again, and nothing changes
    compose = tmp_path / "compose.yaml"
    compose.write_text(COMPOSE)
    assert export("oci-digests", "--rewrite", compose) == COMPOSE.replace(
        '"alpine:3.20"\n', f'"alpine:3.20@sha256:{digest(15)}"\n', 1
    ).replace("app:1 #", f"app:1@sha256:{digest(17)} #").replace(
        f'"image: alpine:3.20@sha256:{digest(15)}"', '"image: alpine:3.20"'
    )
    file.write_text("FROM alpine:edge\n")
    export("oci-digests", "--rewrite", file, code=1)


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("Containerfile", "FROM --platform=$BUILDPLATFORM --foo=1 mallory/evil:5"),
        ("Containerfile", "FROM \\\n  mallory/evil:5"),
        ("compose.yaml", "  b: {image: 'mallory/evil:1'}"),
        ("compose.yaml", "  b: {build: ., 'image' : mallory/evil:1}"),
        ("compose.yaml", "    image:\n      mallory/evil:2"),
        ("compose.yaml", '    "image": mallory/evil:3'),
        ("compose.yaml", "    image: &anchor mallory/evil:3"),
        ("compose.yaml", "    ? image\n    : mallory/evil:3"),
    ],
)
def test_a_file_with_an_image_that_cannot_be_pinned_is_refused_as_a_whole(export, tmp_path, name, line):
    file = tmp_path / name
    start = "FROM alpine:3.20\n" if name == "Containerfile" else "services:\n  a:\n    image: alpine:3.20\n"
    file.write_text(f"{start}{line}\n")
    said = export("oci-digests", "--rewrite", file, "-o", tmp_path / "out", code=2)
    assert "images are named where they cannot be pinned" in said
    assert not (tmp_path / "out").exists()


def test_images_that_a_build_copies_from_or_mounts_are_pinned(export, tmp_path):
    file = tmp_path / "Containerfile"
    text = (
        "FROM alpine:3.20 AS b\nCOPY --chown=1 --from=alpine:3.20 /x /x\nCOPY --from=b /x /x\nCOPY --from=0 /x /x\n"
        "RUN --network=none \\\n  --mount=type=bind,from=alpine:3.20,source=/x,target=/y \\\n  x --from=alpine:3.20\n"
    )
    file.write_text(text)
    pin = f"alpine:3.20@sha256:{digest(15)}"
    out = export("oci-digests", "--rewrite", file)
    assert out == text.replace("alpine:3.20", pin).replace(f"x --from={pin}", "x --from=alpine:3.20")
    file.write_text("FROM alpine:3.20\nCOPY --from=mallory/evil:1 /x /x\n")
    assert "pkg:docker/mallory/evil@1" in export("oci-digests", "--rewrite", file, code=1)


@pytest.mark.parametrize(
    "before",
    [
        "RUN echo `date`",
        "# escape=`\nRUN dir c:\\",
        "RUN a \\\n# why\n  b",
        "RUN <<X\na \\\nX",
        "ONBUILD \\",
        "\\",
        "ARG A\n# escape=`\nRUN echo `a`",
    ],
)
def test_what_stands_before_a_line_does_not_hide_it(before):
    found = image_files.scan(
        f"{before}\nFROM alpine:3.20 AS x\nCOPY --from=b:1 a b\n", "containerfile", lambda one: f"{one}@"
    )
    assert found.text.endswith("\nFROM alpine:3.20@ AS x\nCOPY --from=b:1@ a b\n")


def test_lines_that_lead_to_images_that_nobody_sees_are_told(pyrsia, node, tmp_path):
    file = tmp_path / "Containerfile"
    file.write_text(CONTAINERFILE)
    code, _, err = pyrsia("export", "oci-digests", "--rewrite", file, "--node", node.url)
    assert code == 0
    assert "skipped: not pinned: line 8: FROM $BASE" in err
    assert "line 1: # syntax=docker/dockerfile:1" in err
    compose = tmp_path / "compose.yaml"
    compose.write_text(COMPOSE)
    code, out, _ = pyrsia("export", "oci-digests", "--rewrite", compose, "--node", node.url, "--json")
    assert (code, json.loads(out)["skipped"]) == (0, ["not pinned: line 8: build: ."])


# -- what nobody agreed on, and nodes that lie --


def of(*facts, text=""):
    return versions(Known(facts, rules.parse(text.encode(), "p"), ToyJudge().known("x").now_ms, 0))


@pytest.mark.parametrize("origin", [LOCAL, PROXIED])
def test_what_is_not_in_the_log_is_never_exported(origin):
    facts = Facts("pkg:pypi/x@1", origin, "x-1.whl", digest(1))
    (found,) = of(facts, text='[pip]\nmode = "proxy"\n')
    assert (found.files, "not in the log" in found.refused[0]) == ((), True)


@pytest.mark.parametrize(
    "change",
    [
        {"sha256": "0" * 63},
        {"sha256": "A" * 64},
        {"sha256": digest(1) + "\n--index-url http://evil"},
        {"file": "../x"},
        {"file": "a b"},
        {"file": "x\ny"},
        {"file": ""},
        {"purl": "pkg:pypi/x"},
        {"purl": "pkg:pypi/x@1\n"},
        {"purl": "pkg:maven/a/../b@1"},
    ],
)
def test_a_name_or_digest_that_no_node_gives_ends_the_export(change):
    facts = known("pkg:pypi/x@1", "x-1.whl", sha256=digest(1))
    with pytest.raises(Refusal) as caught:
        of(msgspec.convert({**msgspec.to_builtins(facts), **change}, Facts))
    assert caught.value.code == "unavailable"


def test_a_node_whose_list_never_ends_is_left(pyrsia, monkeypatch):
    answers = {
        "/api/v1/policy": (200, msgspec.to_builtins(ToyJudge().policy())),
        "/api/v1/policy/names": (200, lambda query: {
            "packages": [f"pkg:maven/a/b{query.get('after', '')}"], "next": query.get("after", "") + "z"}),
        "/api/v1/policy/facts": (200, msgspec.to_builtins(ToyJudge().known("x"))),
    }  # fmt: skip
    from pyrsia.cli.export import asking
    from pyrsia.units import Limit

    monkeypatch.setattr(asking, "MAX_PACKAGES", Limit(5, "for a test"))
    with FakeNode(answers) as node:
        code, out, _ = pyrsia("export", "maven-trusted-checksums", "--all", "--node", node.url, "--json")
        assert (code, json.loads(out)["error"]["code"], len(node.seen) < 9) == (1, "too-large", True)
        for packages in ([], ["pkg:maven/a/b"]):  # pages that only seem to go on
            node.seen.clear()
            node.answers["/api/v1/policy/names"] = (
                200,
                lambda query, told=packages: {"packages": told, "next": query.get("after", "") + "z"},
            )
            pyrsia("export", "maven-trusted-checksums", "--all", "--node", node.url)
            assert len(node.seen) < 9
        node.answers["/api/v1/policy/names"] = (200, {"packages": ["pkg:maven/a/../b"], "next": ""})
        code, out, _ = pyrsia("export", "maven-trusted-checksums", "--all", "--node", node.url, "--json")
        assert (code, json.loads(out)["error"]["code"]) == (1, "unavailable")
        node.answers["/api/v1/policy/names"] = (200, {"packages": ["pkg:maven/a/b"], "next": ""})
        for command in (
            "maven-trusted-checksums",
            "oci-digests",
        ):  # an empty list would look like one that was meant
            code, out, _ = pyrsia("export", command, "--all", "--node", node.url, "--json")
            assert (code, json.loads(out)["error"]["code"]) == (1, "not-found")


def test_the_small_readers_take_what_they_name_and_nothing_else():
    assert str(maven.coordinates("g.h:a:1")) == "pkg:maven/g.h/a@1"
    assert [maven.coordinates(one) for one in ("g", "g:a:1:2", "g h:a", "../x:a", ":")] == [None] * 5
    assert str(conan.reference("zlib/1.3#abc")) == "pkg:conan/zlib@1.3"
    assert [conan.reference(one) for one in ("zlib", "zlib/1.3@", "Z/1", "../..")] == [None] * 4
    assert str(oci.reference("alpine").spellings[0]) == "pkg:docker/alpine@latest"
    assert (
        oci.reference("127.0.0.1:5000/x:1").said == "127.0.0.1:5000/x:1"
        if oci.reference("127.0.0.1:5000/x:1")
        else True
    )
    assert [oci.reference(one) for one in ("", ":", "a b", "-x", "x:" + "y" * 200)] == [None] * 5
