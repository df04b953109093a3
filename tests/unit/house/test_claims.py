"""The list of what this release promises, and the check that holds it against what ran: it must be able to fail."""

import json

import pytest

from tests import check_claims
from tests.check_claims import Bench, asserts, complaints, read_claims, row_of

GATE = '[[gate]]\nrow = "merkle/node"\nbaseline = "{}"\n'
NODE = "bench/test_merkle.py::test_node"
HERE = "tests/unit/house/test_claims.py"


def claim(*tests):
    return {"item": "x", "says": "It is so", "tests": list(tests)}


def bench(folder, gates=("hashlib",), recorded=None):
    (folder / "gates.toml").write_text("".join(GATE.format(one) for one in gates) or "gate = []")
    if recorded is not None:
        rows = [{"name": name, "beside": beside} for name, beside in recorded]
        (folder / "recorded.json").write_text(json.dumps({"some machine": rows, "another": []}))
    return Bench(folder)


@pytest.fixture(scope="module")
def ours():
    return Bench(check_claims.ROOT / "bench")


@pytest.mark.parametrize("row", read_claims(), ids=lambda row: row["item"])
def test_every_claim_names_tests_that_assert_and_bench_rows_that_are_judged(row, ours):
    """Whether they pass is asked after the run; that they are there and say something is asked here."""
    assert set(row) == {"item", "says", "tests"}
    assert len(set(row["tests"])) == len(row["tests"])
    assert complaints(row, dict.fromkeys(row["tests"], "passed"), ours) == []


def test_a_bench_row_without_a_gate_holds_no_claim(tmp_path):
    assert complaints(claim(NODE), {}, bench(tmp_path)) == []
    (told,) = complaints(claim(NODE), {}, bench(tmp_path, gates=()))
    assert told == f"It is so: {NODE}: the row merkle/node has no gate in bench/gates.toml"


@pytest.mark.parametrize(
    "name",
    ["bench/test_merkle.py::test_nod", "bench/test_merkle.py::hashlib_node", "bench/gone.py::test_node"],
)
def test_a_name_that_only_begins_like_a_row_or_stands_in_the_text_is_none(tmp_path, name):
    assert row_of(name) == ""
    assert complaints(claim(name), {}, bench(tmp_path)) == [f"It is so: {name} is no bench row"]


def test_a_row_must_have_been_recorded_beside_each_of_its_baselines(tmp_path):
    both = ("hashlib", "plain C")
    assert complaints(claim(NODE), {}, bench(tmp_path, both)) == []  # before anything ever was
    for recorded, missing in (
        ([("merkle/node", "hashlib"), ("merkle/node", "plain C")], []),
        ([("merkle/node", "hashlib"), ("merkle/tile-root", "plain C")], ["plain C"]),
        ([], ["hashlib", "plain C"]),
    ):
        told = complaints(claim(NODE), {}, bench(tmp_path, both, recorded))
        assert [one.partition(" beside ")[2] for one in told] == [
            f"{baseline} (make bench RECORD=1)" for baseline in missing
        ]


@pytest.mark.parametrize("outcome", ["failed", "skipped", None])
def test_a_test_that_did_not_pass_holds_no_claim(tmp_path, outcome):
    name = f"{HERE}::test_a_test_that_did_not_pass_holds_no_claim"
    found = {} if outcome is None else {name: outcome}
    (told,) = complaints(claim(name), found, bench(tmp_path))
    assert told == f"It is so: {name} is {outcome or 'missing'}"
    assert complaints(claim(name), {name: "passed"}, bench(tmp_path)) == []


def test_a_claim_of_nothing_or_of_a_test_that_asserts_nothing_is_none(tmp_path):
    assert complaints(claim(), {}, bench(tmp_path)) == ["It is so: names no test"]
    name = f"{HERE}::claim"
    assert not asserts(name)
    assert complaints(claim(name), {name: "passed"}, bench(tmp_path)) == [f"It is so: {name} asserts nothing"]
