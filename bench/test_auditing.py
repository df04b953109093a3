"""`pyrsia audit` of a thousand requirements, Python's own start aside: reading, asking, deciding, telling.

The node's part of the work is a row of its own (bench/test_knowledge.py): here it has its answer ready, so that what
is measured is the command. Beside it: pip's own parser over the same lines, which any tool of this kind needs.
"""

import contextlib
import io
import re

import msgspec
import pytest
from packaging.requirements import Requirement

from bench.harness import Timed, row
from pyrsia.cli.main import cli
from pyrsia.cli.tell import run
from pyrsia.serve.desks.knowing import AuditOrder
from tests.reference.toyaudit import ToyAudit

VERSIONS = 1_000
ADVISED = 3  # every third of them has an advisory: far more than a project that anybody keeps


@pytest.fixture
def project(tmp_path):
    """A node with its answer ready, and requirements with two hashes each."""
    toy = ToyAudit()
    for number in range(0, VERSIONS, ADVISED):
        toy.advisory(
            f"pkg:pypi/p{number}", f"PYSEC-{number}", "high", fixed="2", aliases=[f"CVE-2026-{number}"]
        )
    hashes = "".join(f" \\\n    --hash=sha256:{digit * 64}" for digit in "01")
    listed = tmp_path / "requirements.txt"
    listed.write_text("".join(f"p{number}==1.{number % 7}{hashes}\n" for number in range(VERSIONS)))
    order = AuditOrder(tuple(f"pkg:pypi/p{number}@1.{number % 7}" for number in range(VERSIONS)))
    with toy.node() as node:
        node.answers["/api/v1/audit"] = (200, msgspec.json.encode(toy.audit(order)))
        yield node, listed


@row("audit/requirements", "1,000 requirements, the node's answer ready", unit="ms", goal=1_000)
def test_audit_of_a_thousand_requirements(measure, project):
    node, listed = project

    def audited():
        told = io.StringIO()
        with contextlib.redirect_stdout(told):
            assert run(cli, ["audit", str(listed), "--node", node.url]) == 1
        assert f"{VERSIONS} versions audited" in told.getvalue()
        node.seen.clear()

    def parsed():
        lines = re.sub(r"\\\n", " ", listed.read_text()).splitlines()
        assert len([Requirement(line.partition(" --hash")[0]) for line in lines]) == VERSIONS

    measure(Timed(audited), {"parsing the lines, packaging": Timed(parsed)})
