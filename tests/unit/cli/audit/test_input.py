"""`audit -`: what people pipe into it, and --as for what its content does not tell."""

import io
import json
import sys

import pytest

from pyrsia.cli.audit import reading
from pyrsia.cli.audit.command import KINDS
from pyrsia.consumers.auditing import findings, kinds
from pyrsia.units import Limit
from tests.reference.toyaudit import ToyAudit, sbom
from tests.unit.consumers.auditing.sarifrules import check

FROZEN = """\
# Editable install with no version control (mine==1.0)
-e /home/me/mine
idna==3.6
direct @ file:///tmp/direct-1.0-py3-none-any.whl
click==8.1
"""


@pytest.fixture
def node():
    toy = ToyAudit()
    toy.advisory("pkg:pypi/idna", "CVE-2024-3651", "high", fixed="3.7")
    with toy.node() as made:
        yield made


@pytest.fixture
def typed(monkeypatch):
    """Give a command its standard input."""

    def give(data):
        data = data if isinstance(data, bytes) else data.encode()
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))

    return give


def test_what_pip_freezes_is_audited_from_standard_input(pyrsia, node, typed):
    typed(FROZEN)
    code, out, err = pyrsia("audit", "-", "--node", node.url)
    assert (code, err) == (1, "")
    assert "CVE-2024-3651" in out
    assert "not audited: -e: it lies beside, or comes from an address (standard input:2)" in out
    assert "not audited: direct: it comes from no index (standard input:4)" in out
    assert "2 versions audited" in out
    typed(FROZEN)
    _, out, _ = pyrsia("audit", "-", "--node", node.url, "--json")
    (found,) = (one for one in json.loads(out)["components"] if one["findings"])
    assert found["places"] == [{"file": "standard input", "line": 3}]
    typed(FROZEN)
    _, out, _ = pyrsia("audit", "-", "--node", node.url, "--format", "sarif")
    check(json.loads(out))
    assert '"uri": "standard%20input"' in out


def test_every_kind_is_read_from_standard_input_and_beside_files(pyrsia, node, typed, tmp_path):
    listed = tmp_path / "any"
    listed.write_text("click==8.1\n")
    typed(sbom("pkg:pypi/idna@3.6"))
    code, out, _ = pyrsia("audit", listed, "-", "pkg:pypi/six@1", "--node", node.url)
    assert (code, "3 versions audited" in out) == (1, True)


def test_a_kind_that_is_named_is_taken_for_what_it_is_said_to_be(pyrsia, node, typed, tmp_path):
    assert set(KINDS) == {*kinds.READERS, kinds.SBOM}
    typed("idna==3.6\n")
    assert pyrsia("audit", "-", "--as", "requirements", "--node", node.url)[0] == 1
    typed("idna==3.6\n")
    code, out, err = pyrsia("audit", "-", "--as", "uv.lock", "--node", node.url)
    assert (code, out) == (2, "")
    assert "standard input: it is no TOML" in err
    strange = tmp_path / "strange"
    strange.write_text("\n[nothing]\n")
    assert pyrsia("audit", strange, "--as", "poetry.lock", "--node", node.url)[0] == 3  # names no package
    code, _, err = pyrsia("audit", strange, "--as", "npm", "--node", node.url)
    assert (code, "requirements" in err) == (2, True)


def test_lists_that_standard_input_leads_to_lie_in_the_folder_of_the_command(
    pyrsia, node, typed, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "more.txt").write_text("idna==3.6\n")
    typed("-r more.txt\n-r gone.txt\n")
    code, out, _ = pyrsia("audit", "-", "--node", node.url)
    assert (code, "not audited: -r gone.txt: it cannot be read here (standard input:2)" in out) == (1, True)


@pytest.mark.parametrize(
    ("data", "words", "why"),
    [
        (b"", ("-", "-"), "`-` is there twice"),
        (b"\0\0", ("-",), "standard input: it is no text"),
        (b"idna==3.6\n\xff", ("-",), "standard input: it is not UTF-8"),
        (b'{"a": 1}', ("-",), "standard input: it is neither CycloneDX nor SPDX"),
        (b"Usage: pip [options]\n", ("-",), "standard input: line 1 is no requirement"),
    ],
)
def test_what_cannot_be_read_is_refused_and_named(pyrsia, node, typed, data, words, why):
    typed(data)
    code, out, err = pyrsia("audit", *words, "--node", node.url)
    assert (code, out) == (2, "")
    assert why in err


def test_nothing_on_standard_input_is_no_answer(pyrsia, node, typed, monkeypatch):
    typed("")
    code, out, _ = pyrsia("audit", "-", "--node", node.url)
    assert (code, "not audited: standard input: it names no package" in out) == (3, True)
    monkeypatch.setattr(sys, "stdin", None)
    code, _, err = pyrsia("audit", "-", "--node", node.url)
    assert (code, "there is no standard input" in err) == (2, True)


@pytest.mark.parametrize("error", [MemoryError, RecursionError])
def test_what_takes_more_than_the_process_has_is_no_finding(pyrsia, node, tmp_path, monkeypatch, error):
    """Exit code 1 with a traceback would say that something was found."""

    def broken(*_, **__):
        raise error

    listed = tmp_path / "large"
    listed.write_text("idna==3.6\n")
    monkeypatch.setitem(kinds.READERS, "requirements", broken)
    code, out, err = pyrsia("audit", listed, "--node", node.url)
    assert (code, out) == (3, "")
    assert "large is larger, or deeper, than this process has memory for" in " ".join(err.split())
    monkeypatch.setattr(findings, "report", broken)
    code, out, err = pyrsia("audit", "pkg:pypi/idna@3.6", "--node", node.url, "--json")
    assert (code, "what is audited is larger" in out + err) == (3, True)


def test_standard_input_has_a_bound(pyrsia, node, typed, monkeypatch):
    monkeypatch.setattr(reading, "MAX_DOCUMENT_BYTES", Limit(100, "for the test"))
    typed("#" * 101)
    code, _, err = pyrsia("audit", "-", "--node", node.url)
    assert (code, "standard input has more than 100 bytes" in err) == (2, True)


@pytest.mark.parametrize(
    ("named", "what", "do"),
    [
        ("gone.txt", "there is no file gone.txt here", "check its name"),
        ("deep/uv.lock", "there is no file deep/uv.lock here", "check its name"),
        ("/gone", "there is no file /gone here", "check its name"),
        ("idna==3.6", "names a version, but no ecosystem", "write it as a purl: pkg:pypi/idna@3.6"),
        ("Idna@3.6.0", "names a version, but no ecosystem", "write it as a purl: pkg:pypi/idna@3.6.0"),
        ("org.acme:lib:1.0", "names a version, but no ecosystem", "write it as a purl: pkg:maven/org.acme/lib@1.0"),
        ("zlib/1.3", "names a version, but no ecosystem", "write it as a purl: pkg:conan/zlib@1.3"),
        ("idna", "says neither a version nor a tag", "a package is a purl (pkg:pypi/idna@VERSION)"),
        ("a b\x1b[31m", "a b\\x1b[31m is no file here, no purl and no image with a tag", "`-` for standard input"),
    ],
)  # fmt: skip
def test_what_is_not_there_is_told_by_what_it_looks_like(pyrsia, node, named, what, do):
    code, out, err = pyrsia("audit", named, "--node", node.url)
    assert (code, out) == (2, "")
    told = " ".join(err.split())
    assert what in told
    assert do in told


def test_advisories_below_what_fails_are_told_as_such(pyrsia, node):
    code, out, _ = pyrsia("audit", "pkg:pypi/idna@3.6", "--node", node.url, "--fail-on", "critical")
    assert (code, out.splitlines()[-1]) == (0, "none that counts is at or above critical")
    code, out, _ = pyrsia("audit", "pkg:pypi/idna", "--node", node.url)
    assert (code, "all that is said of it tells `pyrsia facts show pkg:pypi/idna`" in out) == (3, True)


def test_a_finding_says_in_which_file_and_line_the_version_stands(pyrsia, node, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    deep = tmp_path / ("d" * 80) / "requirements.txt"
    deep.parent.mkdir()
    for path in (deep, tmp_path / "r.txt"):
        path.write_text("click==8.1\nidna==3.6\n")

    def where(*named):
        _, out, _ = pyrsia("audit", *named, "--node", node.url)
        return out.splitlines()[1].rsplit("  ", 1)[1].strip()

    assert where("r.txt") == "r.txt:2"
    assert where("r.txt", deep, "pkg:pypi/idna@3.6") == "r.txt:2 and 2 more"
    assert where(deep) == f"...{'d' * 38}/requirements.txt:2"
    assert where("pkg:pypi/idna@3.6") == "-"


def test_who_names_nothing_is_told_what_can_be_named(pyrsia):
    code, _, err = pyrsia("audit")
    assert code == 2
    assert "`-` for standard input" in " ".join(err.split())
