"""Names beside the letters of an id, in what people read."""

import pytest

from pyrsia.cli.naming import called, with_names
from pyrsia.client import Client
from tests.reference.fakenode import FakeNode

AMBER, BIRCH = "c6sicnks" + "a" * 44, "ftaw5nmz" + "b" * 44
MEMBERS = {"members": [{"node_id": AMBER, "name": "amber"}, {"node_id": BIRCH, "name": "birch"}]}


def told(answer, *lines, status=200):
    with FakeNode({"/api/v1/members": (status, answer)}) as node:
        return with_names(Client(node.url), lines), len(node.seen)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("CVE-1: high, says c6sicnks in leaf 3", "CVE-1: high, says amber (c6sicnks) in leaf 3"),
        ("ftaw5nmz lists what is inside (spdx)", "birch (ftaw5nmz) lists what is inside (spdx)"),
        ("c6sicnks says not-affected", "amber (c6sicnks) says not-affected"),
        ("`issuers` does not name ftaw5nmz", "`issuers` does not name birch (ftaw5nmz)"),
        ("says zzzzzzzz in leaf 3", "says zzzzzzzz in leaf 3"),
    ],
)
def test_who_says_something_has_a_name_beside_the_letters(line, said):
    assert told(MEMBERS, line, "packages of somebody") == ([said, "packages of somebody"], 1)


def test_what_names_nobody_asks_nobody():
    assert told(MEMBERS, "software c6sicnks") == (["software c6sicnks"], 0)


@pytest.mark.parametrize(
    "answer", [[], {}, {"members": 3}, {"members": [3, {"node_id": 4, "name": "x"}, {}]}]
)
def test_a_node_that_cannot_tell_names_leaves_the_letters(answer):
    assert told(answer, "says c6sicnks")[0] == ["says c6sicnks"]
    error = {"error": {"code": "forbidden", "what": "no", "who": "you", "do": "log in"}}
    assert told(error, "says c6sicnks", status=403)[0] == ["says c6sicnks"]


def test_letters_that_two_members_share_name_neither():
    twins = {"members": [{"node_id": "c6sicnks" + end * 44, "name": end} for end in "ab"]}
    assert told(twins, "says c6sicnks")[0] == ["says c6sicnks"]


def test_who_has_no_name_is_called_by_letters():
    assert (called(AMBER, "amber"), called(AMBER, "")) == ("amber (c6sicnks)", "c6sicnks")
