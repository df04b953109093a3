"""`build list|show|status --as-of`: refused, with a command that answers what the log can."""

import json
import shlex

import pytest

from pyrsia.serve.inspecting.where import parse
from tests.reference.fakenode import BUILD

ID = BUILD["request"]


def said(pyrsia, node, *command):
    """What is refused, and the words of the command that is named instead."""
    code, out, err = pyrsia("build", *command, "--json", "--node", node.url)
    told = json.loads(err or out)["error"]
    assert (code, told["code"], node.seen) == (2, "usage", [])  # nobody was asked
    assert told["what"] == "how far a build was at a past moment stands in no entry of the log"
    return shlex.split(told["do"].partition(": pyrsia ")[2])


def test_all_requests_of_then_are_asked_for_newest_first(pyrsia, node):
    assert said(pyrsia, node, "list", "--as-of", "41") == [
        "inspect-log", "builds", "--as-of", "41", "--newest", "--format", "table",
    ]  # fmt: skip
    assert said(pyrsia, node, "list", "--as-of", "2024-01-31 12:00")[3] == "2024-01-31 12:00"


@pytest.mark.parametrize("command", [("show",), ("status", "--id")])
@pytest.mark.parametrize(
    ("request_id", "where"),
    [(ID, f"build_id = {ID}"), (ID.upper(), f"build_id = {ID}"), (ID[:10], f"build_id glob {ID[:10]}*")],
)
def test_one_is_asked_for_by_its_id_or_how_that_begins(pyrsia, node, command, request_id, where):
    found = said(pyrsia, node, *command, request_id, "--as-of", "41")
    assert found == ["inspect-log", "builds", "--as-of", "41", "--where", where]
    parse(where)  # and it is a condition


def test_the_command_that_is_named_is_one(pyrsia, node):
    instead = said(pyrsia, node, "show", ID, "--as-of", "41")
    node.answers["/api/v1/inspect/builds"] = (
        200, {"size": 41, "time_ms": 1, "rows": [], "next": "", "scanned": 0, "whole": True},
    )  # fmt: skip
    code, _, err = pyrsia(*instead, "--format", "table", "--node", node.url)
    assert (code, "no such record at size 41" in err) == (0, True)


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("list", "--as-of", "tomorrow"), "tomorrow is no time"),
        (("list", "--as-of", "2999-01-01"), "lies ahead"),
        (("show", "x' --rm", "--as-of", "41"), "was not found"),
    ],
)
def test_what_is_no_moment_and_no_id_is_told_first(pyrsia, node, words, why):
    code, _, err = pyrsia("build", *words, "--node", node.url)
    assert code in (1, 2)
    assert why in err
    assert "inspect-log builds" not in err
