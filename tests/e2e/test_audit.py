"""`pyrsia audit` of a real project at a real node: what was said through its API, now and before it was said."""

import json

import pytest

from pyrsia.cli.main import cli
from pyrsia.cli.tell import run
from tests.reference.toyaudit import sbom

pytestmark = pytest.mark.processes

ADVISORIES = (
    ("pkg:pypi/idna", "PYSEC-2024-60", "high", "3.7", ["CVE-2024-3651"]),
    ("pkg:pypi/jinja2", "GHSA-h5c8-rqwp-cp95", "medium", "3.1.3", ["CVE-2024-22195"]),
    (
        "pkg:maven/org.apache.commons/commons-text",
        "GHSA-599f-7c49-w659",
        "critical",
        "1.10.0",
        ["CVE-2022-42889"],
    ),
)
REQUIREMENTS = """\
# made by pip-compile
idna==3.6 \\
    --hash=sha256:c05567e9c24a6b9faaa835c4821bad0590fbb9d5779e7caa6e1cc4978e7eb24f
jinja2==3.1.4
markupsafe>=2
"""


def said(subject, name, severity, fixed, aliases):
    fields = {"advisory": name, "severity": severity, "aliases": aliases,
              "range": [{"introduced": "0", "fixed": fixed}]}  # fmt: skip
    return {
        "kind": "advisory",
        "subject": subject,
        "text": f"{name}, as its database says it",
        "fields": fields,
    }


def audit(capsys, node, *words):
    code = run(cli, ["audit", *map(str, words), "--node", str(node.data)])
    told = capsys.readouterr()
    assert told.err == ""
    return code, told.out


def test_a_project_is_audited_now_and_as_of_a_past_moment(network, tmp_path, capsys):
    issuer, other = network.nodes[0], network.nodes[-1]
    network.wait(lambda: all(network.status(node)["peers"] >= 3 for node in network.nodes), 30, "no links")
    listed, pom = tmp_path / "requirements.txt", tmp_path / "pom.xml"
    listed.write_text(REQUIREMENTS)
    pom.write_text(
        "<project><dependencies><dependency><groupId>org.apache.commons</groupId>"
        "<artifactId>commons-text</artifactId><version>1.9</version></dependency></dependencies></project>"
    )
    before = network.status(other)["log"]["size"]
    with issuer.client() as client:
        told = client.post("/api/v1/facts/batch", {"facts": [said(*one) for one in ADVISORIES]})
    assert [one["outcome"] for one in told["outcomes"]] == ["added"] * 3
    last = max(one["leaf"] for one in told["outcomes"])
    network.wait(lambda: network.status(other)["log"]["size"] > last, 30, "the follower lags")

    code, out = audit(capsys, other, listed, pom, "--format", "json")
    found = json.loads(out)
    assert code == 1
    named = {one["purl"]: [(each["id"], each["severity"], each["fixed"]) for each in one["findings"]]
             for one in found["components"]}  # fmt: skip
    assert named == {
        "pkg:pypi/idna@3.6": [("CVE-2024-3651", "high", ["3.7"])],
        "pkg:pypi/jinja2@3.1.4": [],
        "pkg:maven/org.apache.commons/commons-text@1.9": [("CVE-2022-42889", "critical", ["1.10.0"])],
    }
    assert [(one["what"], one["line"]) for one in found["not_audited"]] == [("markupsafe", 5)]
    assert found["at"]["whole"] is True
    assert found["at"]["size"] > last

    # Before the first of them was said nothing was known; between the two, one was.
    code, out = audit(capsys, other, listed, pom, "--as-of", before)
    assert (code, "no advisory" in out) == (0, True)
    first = min(one["leaf"] for one in told["outcomes"])
    code, out = audit(capsys, other, listed, "--as-of", first + 1, "--format", "json")
    assert code == 1
    assert json.loads(out)["at"]["size"] == first + 1

    report = tmp_path / "audit.sarif"
    code, _ = audit(capsys, other, listed, "--format", "sarif", "--out", report)
    (run_,) = json.loads(report.read_text())["runs"]
    (result,) = run_["results"]
    assert (code, result["ruleId"], result["level"]) == (1, "CVE-2024-3651", "error")
    assert result["locations"][0]["physicalLocation"]["region"] == {"startLine": 2}

    # Accepted by the node's own policy with a day and a reason: it is shown, and fails nothing.
    (other.data / "policy.toml").write_text(
        '[all]\naccept = [{advisory = "CVE-2024-3651", until = 2999-12-31, reason = "no input of strangers"}]\n'
    )
    network.wait(lambda: audit(capsys, other, listed)[0] == 0, 30, "the new rules are not taken over")
    assert "accepted until 2999-12-31" in audit(capsys, other, listed)[1]


def test_what_is_inside_an_image_is_audited_by_the_sbom_that_the_log_names(network, tmp_path, capsys):
    issuer, other = network.nodes[0], network.nodes[-1]
    network.wait(lambda: all(network.status(node)["peers"] >= 3 for node in network.nodes), 30, "no links")
    document = tmp_path / "app.json"
    document.write_bytes(sbom("pkg:pypi/idna@3.6", "pkg:npm/left-pad@1.3.0"))
    code, out = audit(capsys, other, "team/app:1.2")
    assert (code, "no SBOM of team/app:1.2 is in the log" in out) == (3, True)
    with issuer.client() as client:
        blob = client.post_file("/api/v1/facts/blob", document)
        fields = {"format": "cyclonedx", "components": 2, "blob": blob}
        inside = {"kind": "sbom", "subject": "pkg:docker/team/app@1.2", "text": "", "fields": fields}
        told = client.post("/api/v1/facts/batch", {"facts": [inside, said(*ADVISORIES[0])]})
    last = max(one["leaf"] for one in told["outcomes"])
    network.wait(lambda: network.status(other)["log"]["size"] > last, 30, "the follower lags")

    code, out = audit(capsys, other, "team/app:1.2", "--format", "json")  # the document comes from the issuer
    found = json.loads(out)
    assert code == 1
    (one,) = [one for one in found["components"] if one["findings"]]
    assert (one["purl"], one["places"][0]["file"].partition(" (")[0]) == ("pkg:pypi/idna@3.6", "team/app:1.2")
    assert found["counts"]["audited"] == 2
    assert "pkg:npm/left-pad@1.3.0" in [one["what"] for one in found["not_audited"]]
