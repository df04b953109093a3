"""`audit`: what is read is asked about once, findings decide the exit code, and what nobody knows fails closed."""

import hashlib
import json
import os
from dataclasses import replace

import msgspec
import pytest

from pyrsia.consumers.auditing import asking, components, kinds, sarif
from pyrsia.consumers.auditing.images import MAX_SBOMS
from pyrsia.knowledge.about import about
from pyrsia.units import MAX_AUDITED, Limit
from tests.reference import toyaudit
from tests.reference.fakenode import FakeNode
from tests.reference.toyaudit import ISSUER, OTHER, ToyAudit, sbom
from tests.unit.consumers.auditing.sarifrules import check

IDNA = "pkg:pypi/idna"
OLD = "pkg:pypi/idna@3.6"


@pytest.fixture
def toy():
    made = ToyAudit()
    made.advisory(IDNA, "PYSEC-2024-60", "high", fixed="3.7", aliases=["CVE-2024-3651"], text="slow")
    made.advisory("pkg:maven/org.acme/lib", "GHSA-aaaa", "medium", fixed="2.0")
    made.advisory("pkg:conan/zlib", "CVE-1", "critical", ranged=True)
    made.here[OLD] = ("network", "REPRODUCED", False)
    return made


@pytest.fixture
def node(toy):
    with toy.node() as made:
        yield made


def wrote(folder, name, text):
    path = folder / name
    path.write_text(text)
    return path


def told(pyrsia, node, *words):
    code, out, err = pyrsia("audit", *words, "--node", node.url, "--format", "json")
    assert err == ""
    return code, json.loads(out)


def test_a_requirement_with_an_advisory_is_found_with_its_line_and_fails(pyrsia, node, tmp_path):
    listed = wrote(
        tmp_path, "requirements.txt", "# mine\nclick==8.1\nidna==3.6 \\\n  --hash=sha256:00\nopen>=1\n"
    )
    code, out, err = pyrsia("audit", listed, "--node", node.url)
    assert (code, err) == (1, "")
    row = next(line for line in out.splitlines() if line.startswith("pypi/idna"))
    assert row.split("  ")[0] == "pypi/idna"
    assert all(word in row for word in ("3.6", "CVE-2024-3651 (PYSEC-2024-60)", "high", "3.7", "REFUSED"))
    assert f"not audited: open: no version: it is left open ({listed}:5)" in out
    assert "unknown here: pkg:pypi/click@8.1" in out
    assert "2 versions audited at size 103 of the log" in out
    assert out.splitlines()[-1] == "1 at or above high: failed"
    code, told_ = told(pyrsia, node, listed)
    assert (code, told_["exit"], told_["ok"]) == (1, 1, False)
    (found,) = [one for one in told_["components"] if one["findings"]]
    assert found["places"] == [{"file": str(listed), "line": 3}]
    assert (found["origin"], found["status"], found["allowed"]) == ("network", "REPRODUCED", False)
    assert found["findings"][0]["said"][0]["id"] == "PYSEC-2024-60"
    assert told_["not_audited"] == [
        {"what": "open", "why": "no version: it is left open", "file": str(listed), "line": 5}
    ]


@pytest.mark.parametrize(
    ("word", "severity", "code"),
    [
        ("none", "critical", 0),
        ("low", "none", 0),
        ("low", "low", 1),
        ("medium", "low", 0),
        ("high", "medium", 0),
        ("high", "critical", 1),
        ("critical", "high", 0),
        ("critical", "unknown", 1),
        ("any", "none", 1),
    ],
)
def test_the_exit_code_follows_the_severity_that_is_asked_for(pyrsia, word, severity, code):
    toy = ToyAudit()
    toy.advisory("pkg:pypi/a", "X-1", severity)
    with toy.node() as node:
        assert pyrsia("audit", "pkg:pypi/a@1", "--fail-on", word, "--node", node.url)[0] == code


def test_what_is_read_of_every_kind_is_asked_about_once_with_all_its_places(pyrsia, toy, node, tmp_path):
    uv = (
        'version = 1\n\n[[package]]\nname = "idna"\nversion = "3.6"\n'
        'source = { registry = "https://i" }\n\n[[package]]\nname = "mine"\nversion = "1"\n'
        'source = { virtual = "." }\n'
    )
    pom = (
        "<project>\n<dependencies>\n<dependency><groupId>org.acme</groupId><artifactId>lib</artifactId>\n"
        "<version>1.0</version><scope>test</scope></dependency>\n<dependency><groupId>o</groupId>"
        "<artifactId>open</artifactId></dependency></dependencies></project>"
    )
    conan = '{"version": "0.5",\n "requires": [\n  "zlib/1.3#a%1.0"\n ], "build_requires": ["cmake/3.30"]}'
    files = [
        wrote(tmp_path, "any.name", uv),
        wrote(tmp_path, "other.name", pom),
        wrote(tmp_path, "third.name", conan),
        tmp_path / "fourth.name",
        wrote(tmp_path, "fifth.name", "idna==3.6\n-r more.txt\n--index-url https://x\n-e .\n"),
        wrote(tmp_path, "more.txt", "-r fifth.name\nidna == 3.6 ; python_version < '3'\n"),
    ]
    files[3].write_bytes(sbom(OLD, "pkg:npm/left-pad@1.0", "pkg:pypi/nothing"))
    code, found = told(pyrsia, node, *files[:5], "pkg:pypi/IDNA@3.6")
    assert code == 1
    (order,) = toy.orders
    assert order.purls == (
        OLD,
        "pkg:maven/org.acme/lib@1.0",
        "pkg:conan/zlib@1.3",
        "pkg:conan/cmake@3.30",
    )
    places = {one["purl"]: [(each["file"].rpartition("/")[2], each["line"]) for each in one["places"]]
              for one in found["components"]}  # fmt: skip
    assert places[OLD] == [("any.name", 3), ("fourth.name", 1), ("fifth.name", 1), ("more.txt", 2), ("", 0)]
    assert places["pkg:maven/org.acme/lib@1.0"] == [("other.name", 3)]
    assert places["pkg:conan/zlib@1.3"] == [("third.name", 3)]
    left = {(one["what"], one["line"]) for one in found["not_audited"]}
    assert left == {
        ("mine", 8),
        ("o:open", 5),
        ("pkg:pypi/nothing", 1),
        ("-e", 4),
        ("pkg:npm/left-pad@1.0", 1),
    }
    assert found["counts"]["audited"] == 4


def test_what_is_of_no_ecosystem_that_is_known_here_is_not_audited_and_alone_no_answer(
    pyrsia, toy, node, tmp_path
):
    listed = tmp_path / "sbom.json"
    strange = ("pkg:npm/lodash@4.17.0", "pkg:npm/lodash@4.17.1", "pkg:deb/debian/openssl@1.0.1e")
    listed.write_bytes(sbom(*strange))
    code, out, _ = pyrsia("audit", listed, "pkg:golang/x@1", "--node", node.url)
    assert code == 3
    assert toy.orders == []
    assert "not audited: pkg:deb/debian/openssl@1.0.1e: unknown ecosystem deb" in out
    assert "not looked into: 2 packages of npm, an ecosystem that the network does not know" in out
    assert "no answer: nothing was audited" in out
    assert "nothing audited; 4 not audited" in out
    assert "no advisory" not in out
    code, found = told(pyrsia, node, listed, "pkg:pypi/fine@1")
    assert (code, found["counts"]["audited"], found["counts"]["not_audited"]) == (0, 1, 3)


def test_a_report_is_text_whatever_names_files_have(pyrsia, node, tmp_path):
    path = tmp_path / os.fsdecode(b"re\xff.txt")
    path.write_text("idna==3.6\nopen\n")
    for shape in ("json", "sarif"):
        _, out, _ = pyrsia("audit", path, "--node", node.url, "--format", shape, "--ignore", "\udcff")
        msgspec.json.decode(out)  # strict about what is no text


def test_what_code_scanning_has_no_room_for_is_told_on_standard_error_and_in_the_run(
    pyrsia, toy, node, tmp_path, monkeypatch
):
    monkeypatch.setattr(sarif, "MAX_RESULTS", Limit(1, "a test's"))
    listed = wrote(tmp_path, "requirements.txt", "idna==3.6\n\n")
    code, out, err = pyrsia("audit", listed, "--node", node.url, "--format", "sarif")
    assert (code, "left out" in err) == (1, False)
    again = wrote(tmp_path, "dev.txt", "idna==3.6\n")
    code, out, err = pyrsia("audit", listed, again, "--node", node.url, "--format", "sarif")
    assert (code, err.splitlines()) == (
        1, ["1 result left out: code scanning takes 1 of one run, and the worst are here; --format json has all"],
    )  # fmt: skip
    assert json.loads(out)["runs"][0]["properties"]["leftOut"] == 1
    _, _, err = pyrsia("audit", listed, again, "--node", node.url, "--format", "json")
    assert "left out" not in err


def test_pages_are_asked_and_merged(pyrsia, toy, node, tmp_path):
    listed = wrote(tmp_path, "requirements.txt", "".join(f"p{n}==1\n" for n in range(2_500)) + "idna==3.6\n")
    code, found = told(pyrsia, node, listed)
    assert [len(one.purls) for one in toy.orders] == [MAX_AUDITED.value, MAX_AUDITED.value, 501]
    assert (code, found["counts"]["audited"], found["counts"]["unknown_here"]) == (1, 2_501, 2_500)


def test_what_a_node_finds_too_much_is_asked_in_halves(pyrsia, toy, node, tmp_path):
    listed = wrote(tmp_path, "requirements.txt", "".join(f"p{n}==1\n" for n in range(100)) + "idna==3.6\n")
    toy.most = 30
    code, found = told(pyrsia, node, listed, "--as-of", toy.size)
    assert (code, found["counts"]["audited"]) == (1, 101)
    toy.most = 0
    code, _, err = pyrsia("audit", listed, "--node", node.url)
    assert (code, "too much" in err) == (3, True)


def test_a_node_with_other_audits_to_do_is_asked_again_and_not_for_ever(pyrsia, toy, node, monkeypatch):
    pauses = []
    monkeypatch.setattr(asking.time, "sleep", pauses.append)
    toy.busy = asking.TRIES.value - 1
    assert pyrsia("audit", OLD, "--node", node.url)[0] == 1
    assert pauses == [asking.MAX_PAUSE_S.value] * (asking.TRIES.value - 1)
    toy.busy = 100
    code, _, err = pyrsia("audit", OLD, "--node", node.url)
    assert (code, "other audits" in err) == (3, True)


def test_a_past_moment_is_passed_on_and_decides_nothing_by_policy(pyrsia, toy, node):
    size = toy.size
    toy.advisory("pkg:pypi/late", "L-1", "critical", ranged=True)
    code, found = told(pyrsia, node, "pkg:pypi/late@1", OLD, "--as-of", size)
    assert toy.orders[-1].at.size == size
    assert [one["id"] for each in found["components"] for one in each["findings"]] == ["CVE-2024-3651"]
    assert {one["allowed"] for one in found["components"]} == {None}
    assert pyrsia("audit", "pkg:pypi/late@1", "--as-of", size, "--node", node.url)[0] == 0
    assert pyrsia("audit", "pkg:pypi/late@1", "--node", node.url)[0] == 1
    pyrsia("audit", "pkg:pypi/late@1", "--as-of", "2026-01-31", "--node", node.url)
    assert toy.orders[-1].at.time_ms == 1_769_817_600_000
    for words in (("--as-of", "soon"), ("--as-of", "2999-01-01"), ("--as-of", "1", "--policy", __file__)):
        assert pyrsia("audit", OLD, *words, "--node", node.url)[0] == 2
    assert code == 1


def test_a_file_s_digest_is_no_image_called_sha256(pyrsia, toy, node):
    code, _, err = pyrsia("audit", f"sha256:{'ab' * 32}", "--node", node.url)
    assert (code, toy.orders) == (2, [])
    assert "is a file, and what is audited are versions of packages" in " ".join(err.split())
    assert f"pyrsia facts show sha256:{'ab' * 32}" in " ".join(err.split())


def test_a_node_that_is_away_or_lacks_facts_is_no_answer(pyrsia, toy, node):
    code, out, err = pyrsia("audit", OLD, "--node", "http://127.0.0.1:1")
    assert (code, out) == (3, "")
    assert "no node answers" in err
    code, out, _ = pyrsia("audit", OLD, "--node", "http://127.0.0.1:1", "--json", "--fail-on", "none")
    assert (code, json.loads(out)["error"]["code"]) == (3, "not-running")
    toy.whole = False
    code, out, _ = pyrsia("audit", "pkg:pypi/fine@1", "--node", node.url)
    assert code == 3
    assert "no answer: the node lacks facts" in out
    assert pyrsia("audit", "pkg:pypi/fine@1", "--node", node.url, "--fail-on", "none")[0] == 0
    assert pyrsia("audit", OLD, "--node", node.url)[0] == 1  # what is known is known


def test_where_nothing_has_a_version_there_is_no_answer(pyrsia, toy, node, tmp_path):
    listed = wrote(tmp_path, "requirements.txt", "a\nb>=1\n")
    code, out, _ = pyrsia("audit", listed, "--node", node.url)
    assert code == 3
    assert "no answer: nothing was audited" in out
    assert toy.orders == []
    code, out, _ = pyrsia("audit", wrote(tmp_path, "empty.txt", ""), "--node", node.url)
    assert (code, "need in turn" in out) == (3, False)


def test_what_the_log_calls_withdrawn_is_told_with_its_place(pyrsia, toy, node, tmp_path):
    toy.here["pkg:pypi/old@1"] = ("network", "WITHDRAWN", None)
    listed = wrote(tmp_path, "requirements.txt", "\nold==1\n")
    code, out, _ = pyrsia("audit", listed, "--node", node.url)
    assert code == 0
    assert (
        f"in the log: pkg:pypi/old@1 is WITHDRAWN: `pyrsia package show` has the reason ({listed}:2)" in out
    )
    assert "no advisory, and 1 withdrawn or disputed" in out


def test_an_ignored_advisory_is_shown_and_does_not_count_and_lifts_no_other(pyrsia, toy, node):
    for name in ("PYSEC-2024-60", "CVE-2024-3651"):
        code, found = told(pyrsia, node, OLD, "--ignore", name, "--ignore", "NOT-1")
        assert code == 0
        assert found["components"][0]["findings"][0]["lifted"] == f"--ignore {name}"
        assert found["unmatched_ignores"] == ["NOT-1"]
    # Another's advisory that claims both names makes them one finding, and makes nothing of it count less.
    toy.advisory(IDNA, "BAD-1", "low", fixed="9", aliases=["CVE-2024-3651", "CVE-OTHER"], author=OTHER)
    toy.advisory(IDNA, "REAL-1", "critical", fixed="9", aliases=["CVE-OTHER"])
    code, found = told(pyrsia, node, OLD, "--ignore", "CVE-2024-3651")
    assert code == 1
    assert [one["severity"] for one in found["components"][0]["findings"]] == ["critical"]


def test_of_one_issuer_a_record_without_a_severity_gives_way_and_anothers_does_not(pyrsia, toy, node):
    toy.advisory("pkg:pypi/two", "PYSEC-1", "unknown", aliases=["CVE-2"])
    assert pyrsia("audit", "pkg:pypi/two@1", "--node", node.url)[0] == 1
    toy.advisory("pkg:pypi/two", "OTHER-1", "low", aliases=["CVE-2"], author=OTHER)
    assert pyrsia("audit", "pkg:pypi/two@1", "--node", node.url)[0] == 1
    toy.advisory("pkg:pypi/two", "GHSA-1", "low", aliases=["CVE-2"])
    assert pyrsia("audit", "pkg:pypi/two@1", "--node", node.url)[0] == 0


def test_policy_lifts_what_it_accepts_and_a_file_decides_instead(pyrsia, toy, node, tmp_path):
    accepted = (
        '[[all.accept]]\nadvisory = "CVE-2024-3651"\nuntil = 9000-01-01\nreason = "no input of strangers"\n'
    )
    toy.policy = accepted
    code, out, _ = pyrsia("audit", OLD, "--node", node.url)
    assert code == 0
    assert "CVE-2024-3651 accepted until 9000-01-01" in out
    toy.policy = accepted.replace("9000", "2020")
    assert pyrsia("audit", OLD, "--node", node.url)[0] == 1
    tried = wrote(tmp_path, "tried.toml", accepted)
    node.answers["/api/v1/policy/facts"] = (
        200, {"owner": "network", "now_ms": 1, "head_age_ms": 0, "files": []},
    )  # fmt: skip
    assert pyrsia("audit", OLD, "--policy", tried, "--node", node.url)[0] == 0
    tried.write_text("nonsense = 1\n")
    assert pyrsia("audit", OLD, "--policy", tried, "--node", node.url)[0] == 2


def test_the_rules_of_a_file_decide_on_a_version_under_the_spelling_that_the_log_has(
    pyrsia, toy, node, tmp_path
):
    toy.here["pkg:pypi/idna@3"] = ("network", "WITNESSED", True)
    one = {"purl": "pkg:pypi/idna@3.0", "origin": "network", "sha256": "ab" * 32, "status": "WITNESSED"}
    node.answers["/api/v1/policy/facts"] = (200, lambda query: {
        "owner": "network", "now_ms": 1, "head_age_ms": 0,
        "files": [one] if query["purl"] == one["purl"] else []})  # fmt: skip
    tried = wrote(tmp_path, "tried.toml", "[all]\nagreeing = 3\n")
    _, found = told(pyrsia, node, "pkg:pypi/idna@3", "--policy", tried)
    assert found["components"][0]["allowed"] is False


def test_an_image_is_asked_about_by_tag_and_digest_and_its_sbom_is_looked_into(pyrsia, toy, node):
    manifest = b'{"schemaVersion": 2}'
    digest = "sha256:" + hashlib.sha256(manifest).hexdigest()
    document = sbom(OLD)
    sha256 = hashlib.sha256(document).hexdigest()
    node.answers["/v2/team/app/manifests/1.2"] = (200, manifest)
    code, out, _ = pyrsia("audit", "localhost:5000/team/app:1.2", "--node", node.url)
    assert code == 3
    assert "no answer: no SBOM of localhost:5000/team/app:1.2 is in the log" in out
    assert "not looked into: the layers of localhost:5000/team/app:1.2" in out
    assert toy.orders[-1].purls == ("pkg:docker/team/app@1.2", f"pkg:docker/team/app@{digest}")
    leaf = toy.say(
        "sbom", f"pkg:docker/team/app@{digest}", format="cyclonedx", blob={"sha256": sha256, "size": 1}
    )
    code, out, _ = pyrsia("audit", "team/app:1.2", "--node", node.url)
    assert code == 3
    assert "its SBOM: it cannot be read" in out  # the node has no such document
    node.answers[f"/api/v1/facts/blob/{leaf}"] = (200, document)
    code, found = told(pyrsia, node, "team/app:1.2")
    assert code == 1
    (one,) = [one for one in found["components"] if one["findings"]]
    assert (one["purl"], one["places"][0]["file"]) == (OLD, f"team/app:1.2 (SBOM sha256:{sha256[:12]})")
    assert pyrsia("audit", "team/app:1.2", "--node", node.url, "--ignore", "CVE-2024-3651")[0] == 0
    node.answers[f"/api/v1/facts/blob/{leaf}"] = (200, sbom("pkg:pypi/fine@1"))
    code, out, _ = pyrsia("audit", "team/app:1.2", "--node", node.url)
    assert (code, "the node gave other bytes" in out) == (3, True)
    code, out, _ = pyrsia("audit", "docker://gone", "--node", node.url)
    assert (code, "its digest is unknown" in out) == (3, True)
    assert pyrsia("audit", "docker://gone", "--node", node.url, "--fail-on", "none")[0] == 0


@pytest.fixture
def image(toy, node):
    """An image's digest, its audit's words, and a way to say an SBOM of it."""
    manifest = b'{"schemaVersion": 2}'
    node.answers["/v2/app/manifests/1"] = (200, manifest)

    def say(document, author=ISSUER, **fields):
        blob = {"sha256": hashlib.sha256(document).hexdigest(), "size": 1}
        subject = "pkg:docker/app@sha256:" + hashlib.sha256(manifest).hexdigest()
        leaf = toy.say("sbom", subject, author, format="cyclonedx", blob=blob, **fields)
        node.answers[f"/api/v1/facts/blob/{leaf}"] = (200, document)

    return say


def test_no_sbom_of_an_image_hides_what_another_one_lists(pyrsia, node, image):
    empty = [sbom() + b" " * number for number in range(MAX_SBOMS.value)]
    image(empty[0], OTHER)
    code, out, _ = pyrsia("audit", "app:1", "--node", node.url)
    assert (code, "no SBOM of app:1 lists a package that is known here" in out) == (3, True)
    image(sbom(OLD))
    assert pyrsia("audit", "app:1", "--node", node.url)[0] == 1
    passing = ("audit", "app:1", "--ignore", "CVE-2024-3651", "--node", node.url)
    code, out, _ = pyrsia(*passing)
    assert (code, "its SBOM: it lists nothing" in out) == (0, True)  # who lists nothing speaks against nobody
    for one in empty[1:]:  # newer ones
        image(one, OTHER)
    code, out, _ = pyrsia(*passing)
    assert (code, "app:1 has more SBOMs than the 8 that are read" in out) == (3, True)
    code, found = told(pyrsia, node, "app:1")
    assert code == 1
    assert "the SBOM of leaf 103" in [one["what"] for one in found["not_audited"]]


def test_an_sbom_in_xml_is_looked_into_and_says_where_in_it_a_part_stands(pyrsia, node, image):
    image(
        b'<bom xmlns="http://cyclonedx.org/schema/bom/1.5"><components>\n<component bom-ref="i"><name>idna</name>'
        b"<purl>pkg:pypi/idna@3.6</purl></component></components></bom>"
    )
    code, found = told(pyrsia, node, "app:1")
    (one,) = (one for one in found["components"] if one["findings"])
    assert (code, one["places"][0]["line"], one["places"][0]["ref"]) == (1, 2, "i")
    _, out, _ = pyrsia("audit", "app:1", "--node", node.url, "--format", "sarif")
    check(json.loads(out))
    (result,) = json.loads(out)["runs"][0]["results"]
    assert result["locations"][0]["physicalLocation"] == {"artifactLocation": {"uri": "app%3A1"}}


def test_an_sbom_of_an_image_that_is_no_document_is_no_answer(pyrsia, node, image):
    image(b'<!DOCTYPE bom [<!ENTITY a "b">]><bom xmlns="http://cyclonedx.org/schema/bom/1.5">&a;</bom>')
    code, out, _ = pyrsia("audit", "app:1", "--node", node.url)
    assert (code, "it cannot be read: its SBOM: it declares a document type" in out) == (3, True)


def test_sboms_of_an_image_that_differ_are_all_asked_about_and_no_answer(pyrsia, toy, node, image):
    image(sbom("pkg:pypi/fine@1"))
    assert pyrsia("audit", "app:1", "--node", node.url)[0] == 0
    image(sbom("pkg:pypi/fine@1") + b" ", OTHER)
    assert pyrsia("audit", "app:1", "--node", node.url)[0] == 0
    image(sbom("pkg:pypi/other@1"), OTHER)
    code, out, _ = pyrsia("audit", "app:1", "--node", node.url)
    assert (code, "SBOMs of app:1 do not list the same" in out) == (3, True)
    assert "pkg:pypi/other@1" in toy.orders[-1].purls
    # Whom policy names is believed, and the others are counted; about the past it decides nothing.
    toy.policy = f'[all]\nissuers = ["{ISSUER}"]\n'
    code, out, _ = pyrsia("audit", "app:1", "--node", node.url)
    assert (code, "not looked into: 2 of the SBOMs of app:1" in out) == (0, True)
    assert pyrsia("audit", "app:1", "--node", node.url, "--as-of", toy.size)[0] == 3
    toy.policy = f'[all]\nissuers = ["{"e" * 52}"]\n'
    code, out, _ = pyrsia("audit", "app:1", "--node", node.url)
    assert (code, "no SBOM of app:1 by those that `issuers` names is in the log" in out) == (3, True)


def test_sboms_that_the_node_lacks_are_no_answer(pyrsia, toy, node, image, monkeypatch):
    image(sbom("pkg:pypi/fine@1"))
    monkeypatch.setattr(toyaudit, "about", lambda *args: replace(about(*args), beyond=((OTHER, "sbom"),)))
    code, out, _ = pyrsia("audit", "app:1", "--node", node.url)
    assert (code, "the node has not all SBOMs of app:1" in out) == (3, True)
    toy.policy = f'[all]\nissuers = ["{ISSUER}"]\n'
    assert pyrsia("audit", "app:1", "--node", node.url)[0] == 0


def test_what_this_machine_cannot_do_is_no_answer_and_no_finding(pyrsia, node, image, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device", "/tmp/x")

    image(sbom("pkg:pypi/fine@1"))
    monkeypatch.setattr(kinds, "document", full)
    code, out, err = pyrsia("audit", "app:1", "--node", node.url)
    assert (code, out, "No space left on device: /tmp/x" in err) == (3, "", True)


def test_an_sbom_of_more_than_an_audit_asks_about_is_no_answer_and_hides_nothing(
    pyrsia, node, image, monkeypatch
):
    monkeypatch.setattr(components, "MAX_COMPONENTS", Limit(4, "for the test"))
    image(sbom(OLD))
    image(sbom(*(f"pkg:pypi/p{number}@1" for number in range(4))), OTHER)
    code, out, _ = pyrsia("audit", "app:1", "--node", node.url, "--ignore", "CVE-2024-3651")
    assert (code, "more than 4 versions" in out) == (3, True)
    assert pyrsia("audit", "app:1", "--node", node.url)[0] == 1


def test_what_is_nothing_of_all_that_is_refused(pyrsia, node, tmp_path):
    for named in (
        "gone.txt",
        "idna",
        "pkg:",
        tmp_path,
        "Team/App:1",
        "a" * 400,
        "docker://a:..",
        "docker://A",
    ):
        code, out, err = pyrsia("audit", named, "--node", node.url)
        assert (code, out) == (2, ""), named
        assert err.startswith("pyrsia: ")
    assert pyrsia("audit", "--node", node.url)[0] == 2


def test_a_report_is_written_to_a_file_and_summed_up(pyrsia, node, tmp_path):
    out = tmp_path / "audit.sarif"
    code, told_, _ = pyrsia("audit", OLD, "--node", node.url, "--format", "sarif", "--out", out)
    assert code == 1
    assert json.loads(out.read_text())["version"] == "2.1.0"
    assert told_.splitlines()[-1] == f"written to {out}"
    assert "1 at or above high: failed" in told_
    code, _, err = pyrsia("audit", OLD, "--node", node.url, "--out", tmp_path / "no" / "where")
    assert (code, "cannot be written" in err) == (2, True)


@pytest.mark.parametrize(
    "answer",
    [
        {},
        [],
        {"size": 1, "time_ms": 1, "whole": True, "rows": []},
        {"size": 1, "time_ms": 1, "whole": True, "rows": [
            {"purl": "pkg:pypi/b@1", "origin": "", "status": "", "known": None}]},
        {"size": -1, "time_ms": 10**30, "whole": True, "rows": [{"purl": OLD}]},
    ],
)  # fmt: skip
def test_a_hostile_node_is_no_answer(pyrsia, answer):
    with FakeNode({"/api/v1/audit": (200, answer)}) as node:
        code, out, err = pyrsia("audit", OLD, "--node", node.url)
    assert (code, out) == (3, "")
    assert "not what a node gives" in err


def test_a_version_that_the_node_cannot_read_is_not_audited(pyrsia):
    row = {"purl": OLD, "origin": "", "status": "", "known": None, "error": "no\x1b[31m purl"}
    answer = {"size": 1, "time_ms": 10**18, "whole": True, "rows": [row]}
    with FakeNode({"/api/v1/audit": (200, answer)}) as node:
        code, out, _ = pyrsia("audit", OLD, "--node", node.url)
    assert code == 3
    assert "not audited: pkg:pypi/idna@3.6: no\\x1b[31m purl" in out
