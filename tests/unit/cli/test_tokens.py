"""`keys token`: what is asked of the node, what people are told, what is refused before that."""

import json

import pytest

from tests.reference.fakenode import ANSWERS, FakeNode

EVIL = "\x1b[31mevil\x07"
STATUS = {
    "id": "0123456789ab",
    "name": "ci",
    "scope": "push",
    "package": "pkg:maven/org.example/*",
    "made_ms": 1_760_000_000_000,
    "expires_ms": 1_767_776_000_000,
    "used_ms": 0,
}


@pytest.fixture
def node():
    told = {
        "/api/v1/tokens": (200, {"token": "pyr_x", "status": STATUS, "tokens": [STATUS], "failures": 3}),
        "/api/v1/tokens/ci/revoke": (200, STATUS),
    }
    with FakeNode({**ANSWERS, **told}) as made:
        yield made


def test_making_one_asks_for_what_was_said_and_tells_the_token_first(pyrsia, node):
    code, out, err = pyrsia(
        "keys", "token", "--scope", "push", "--package", "pkg:maven/org.example/*", "--name", "ci",
        "--expires", "12h", "--node", node.url,
    )  # fmt: skip

    assert (code, err) == (0, "")
    assert json.loads(node.seen[0][3]) == {
        "scope": "push",
        "package": "pkg:maven/org.example/*",
        "name": "ci",
        "expires_s": 43_200,
    }
    assert out.splitlines()[0] == "pyr_x"
    assert "push pkg:maven/org.example/*, until 2026-01-07 08:53; it is shown this once" in out


def test_json_holds_the_token(pyrsia, node):
    code, out, _ = pyrsia("keys", "token", "--scope", "read", "--json", "--node", node.url)
    assert code == 0
    assert json.loads(out) == {"token": "pyr_x", **STATUS}
    assert json.loads(node.seen[0][3])["expires_s"] == 90 * 86_400


def test_the_list_tells_what_each_allows_and_how_many_wrong_ones_came(pyrsia, node):
    code, out, _ = pyrsia("keys", "token", "list", "--node", node.url)
    assert code == 0
    assert out.splitlines()[1].split() == [
        "ci", "0123456789ab", "push", "pkg:maven/org.example/*", "2025-10-09", "08:53", "2026-01-07", "08:53", "-",
    ]  # fmt: skip
    assert "wrong token since the node started: 3" in out


def test_revoking_names_what_ended(pyrsia, node):
    code, out, _ = pyrsia("keys", "token", "revoke", "ci", "--node", node.url)
    assert (code, out) == (0, "revoked: ci (push)\n")
    assert node.seen[0][:2] == ("POST", "/api/v1/tokens/ci/revoke")


@pytest.mark.parametrize(
    "wrong",
    [
        ["keys", "token"],
        ["keys", "token", "--scope", "root"],
        ["keys", "token", "--scope", "push", "--expires", "never"],
        ["keys", "token", "--scope", "push", "--expires", "0d"],
        ["keys", "token", "--scope", "push", "--expires", "99999d"],
        ["keys", "token", "revoke", "../keys/rotate"],
        ["keys", "token", "--scope", "push", "list"],
        ["keys", "token", "--node", "elsewhere", "revoke", "ci"],
    ],
    ids=" ".join,
)
def test_what_makes_no_sense_is_refused_before_the_node_is_asked(pyrsia, node, wrong):
    code, _, err = pyrsia(*wrong, "--node", node.url)
    assert code == 2
    assert err
    assert node.seen == []


@pytest.mark.parametrize("command", [["--scope", "push"], ["list"], ["revoke", "ci"]])
def test_what_a_node_says_reaches_no_terminal_raw(pyrsia, node, command):
    evil = {**STATUS, "name": EVIL, "package": EVIL, "scope": EVIL, "made_ms": 10**30}
    node.answers["/api/v1/tokens"] = (200, {"token": EVIL, "status": evil, "tokens": [evil]})
    node.answers["/api/v1/tokens/ci/revoke"] = (200, evil)
    _, out, err = pyrsia("keys", "token", *command, "--node", node.url)
    assert "\x1b" not in out + err
    assert "\x07" not in out + err


def test_without_a_running_node_it_says_so(pyrsia, tmp_path):
    code, _, err = pyrsia("keys", "token", "--scope", "push", "--node", str(tmp_path))
    assert code == 1
    assert "no node runs there" in err
