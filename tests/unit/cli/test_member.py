"""`member`, `authorize` and `keys`: what is asked of the node, what people are told, what is refused before that."""

import json

import pytest

from pyrsia.cli import motions
from pyrsia.cli.init import MOST_PEERS, _is_near, peers_of
from pyrsia.keys import KeyRing
from tests.reference.fakenode import ANSWERS, FakeNode
from tests.reference.governance import newcomer

EVIL = "\x1b[31m‮evil\x07"
ID = "0123456789ab" + "c" * 52
MOTION = {
    "id": ID,
    "kind": "member.add",
    "summary": "erin of erin-corp becomes a member",
    "phase": "open",
    "author": "amber",
    "reason": "she asked",
    "approvals": ["amber"],
    "missing": ["birch", "cedar", "dune"],
    "needed": 3,
    "accepts": "",
    "time_ms": 1,
    "deadline_ms": 2,
    "leaf": 7,
    "accepted": "",
    "decided": -1,
    "epoch": -1,
    "body": {},
}
AMBER = {
    "node_id": "a" * 52,
    "name": "amber",
    "operator": "amber-corp",
    "domain": "rack-1",
    "roles": ["builder", "validator"],
    "capabilities": ["pip"],
    "validates": True,
    "since_epoch": 0,
    "connected": True,
    "keys": {"vote": "ab" * 32},
}
AMBER["strikes"] = [
    {"time_ms": 1_760_000_000_000, "ecosystem": "conan", "request": "cd" * 32, "word": "withheld"}
]
BIRCH = {**AMBER, "node_id": "abbbbb" + "b" * 46, "name": "birch", "convicted": True, "since_epoch": 2}
ERIN = {
    **AMBER,
    "node_id": "abbbbc" + "e" * 46,
    "name": "erin",
    "roles": [],
    "validates": False,
    "since_epoch": -1,
}
MEMBERS = {"epoch": 2, "validators": 4, "quorum": 3, "members": [ERIN, AMBER, BIRCH], "motions": [MOTION]}
KEYS = {
    "keys": [
        {"purpose": "vote", "public": "ab" * 32, "state": "must not sign", "why": "its record is gone"},
        {"purpose": "vote", "public": "cd" * 32, "state": "to come"},
    ]
}
DOCUMENT = newcomer("erin", ("builder", "validator"))


@pytest.fixture
def node():
    told = {
        "/api/v1/members": (200, MEMBERS),
        "/api/v1/motions": (201, MOTION),
        f"/api/v1/motions/{ID}": (200, MOTION),
        f"/api/v1/motions/{ID[:12]}": (200, MOTION),
        f"/api/v1/motions/{ID[:12]}/approve": (200, MOTION),
        "/api/v1/document": (200, DOCUMENT),
        "/api/v1/keys": (200, KEYS),
        "/api/v1/keys/rotate": (
            200,
            {"body": {"kind": "member.rotate", "node": "n", "vote": "v"}, "motion": MOTION},
        ),
        "/authorized_node": (201, MOTION),
    }
    with FakeNode({**ANSWERS, **told}) as made:
        yield made


@pytest.fixture
def document(tmp_path):
    file = tmp_path / "erin.json"
    file.write_text(json.dumps(DOCUMENT))
    return file


ASKING = [
    ["member", "list"],
    ["member", "show", "amber"],
    ["member", "motions"],
    ["member", "motion", ID[:12]],
    ["member", "approve", ID[:12]],
    ["member", "propose", "remove", "amber", "--reason", "x"],
    ["authorize", "--peer", "e" * 52],
    ["keys", "list"],
    ["keys", "rotate", "vote"],
]


def test_a_builder_that_kept_others_waiting_is_shown_with_its_strikes(pyrsia, node):
    _, out, _ = pyrsia("member", "show", "amber", "--node", node.url)
    assert "strike:    2025-10-09 08:53:20: withheld in a build of conan, request cdcdcdcdcdcdcdcd\n" in out


@pytest.mark.parametrize("command", ASKING, ids=" ".join)
def test_each_command_answers_as_text_and_as_json(pyrsia, node, command):
    code, out, err = pyrsia(*command, "--node", node.url)
    assert (code, err) == (0, "")
    assert out.strip()
    code, out, err = pyrsia(*command, "--node", node.url, "--json")
    assert (code, err, len(out.splitlines())) == (0, "", 1)
    assert json.loads(out)


@pytest.mark.parametrize("command", ASKING, ids=" ".join)
def test_what_a_node_says_reaches_no_terminal_raw(pyrsia, node, command):
    evil = {**MOTION, "summary": EVIL, "author": EVIL, "reason": EVIL, "approvals": [EVIL], "missing": [EVIL]}
    one = {**AMBER, "operator": EVIL, "domain": EVIL}
    for path, (status, value) in list(node.answers.items()):
        if value is MOTION:
            node.answers[path] = (status, evil)
    node.answers["/api/v1/members"] = (200, {**MEMBERS, "members": [one], "motions": [evil]})
    node.answers["/api/v1/keys"] = (200, {"keys": [{**KEYS["keys"][0], "why": EVIL, "public": EVIL}]})
    node.answers["/api/v1/keys/rotate"] = (200, {"body": {}, "motion": evil})

    code, out, err = pyrsia(*command, "--node", node.url)

    assert code == 0
    assert not any(bad in out + err for bad in "\x1b‮\x07")


def test_people_see_who_belongs_to_the_network_and_what_waits_for_whom(pyrsia, node):
    out = pyrsia("member", "list", "--node", node.url)[1]

    assert [line.split()[0] for line in out.splitlines()[1:4]] == ["amber", "birch", "erin"]
    assert "since epoch 2, convicted of a lie" in out
    assert "epoch 2: 4 validators, 3 approvals enact a motion" in out
    assert "1 of 3 approvals (amber); waiting for 2 more of birch, cedar, dune" in out


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({}, "1 of 3 approvals (amber); waiting for 2 more of birch, cedar, dune"),
        (
            {"approvals": ["a", "b", "c"], "accepts": "erin", "phase": "awaits-acceptance"},
            "3 of 3 approvals (a, b, c); waiting for the acceptance of erin",
        ),
        ({"approvals": [], "accepted": "erin"}, "0 of 3 approvals, accepted by erin; waiting for 3 more of"),
        (
            {"phase": "enacted", "approvals": ["a", "b", "c"], "decided": 9, "epoch": 3},
            "enacted by a, b, c in entry 9; epoch 3 begins behind it",
        ),
        ({"phase": "expired"}, "expired with 1 of 3 approvals"),
    ],
)
def test_where_a_motion_stands_is_said_in_a_sentence(change, words):
    assert words in motions.standing({**MOTION, **change})


def test_following_stays_until_it_is_decided_and_says_each_step_once(pyrsia, node, monkeypatch):
    path = f"/api/v1/motions/{ID}"
    steps = [
        MOTION,
        {**MOTION, "approvals": ["amber", "birch"], "missing": ["cedar", "dune"]},
        {**MOTION, "phase": "enacted", "approvals": ["amber", "birch", "cedar"], "decided": 9},
    ]
    slept = []

    def sleep(_):
        slept.append(1)
        node.answers[path] = (200, steps[min(len(slept) // 2, 2)])

    monkeypatch.setattr(motions.time, "sleep", sleep)
    code, out, err = pyrsia("member", "approve", ID[:12], "--follow", "--node", node.url)

    assert code == 0
    assert [line.partition(": ")[2].partition(";")[0] for line in err.splitlines()] == [
        "1 of 3 approvals (amber)",
        "2 of 3 approvals (amber, birch)",
    ]
    assert "enacted by amber, birch, cedar in entry 9" in out


def test_following_a_motion_that_expires_is_a_no(pyrsia, node, monkeypatch):
    node.answers[f"/api/v1/motions/{ID}"] = (200, {**MOTION, "phase": "expired"})
    monkeypatch.setattr(motions.time, "sleep", lambda _: None)

    assert pyrsia("member", "motion", ID, "--follow", "--node", node.url)[0] == 1
    assert pyrsia("member", "approve", ID[:12], "--follow", "--node", node.url)[0] == 1


def asked(node):
    """The motion that the node was given."""
    method, path, _, body = node.seen[-1]
    assert (method, path) == ("POST", "/api/v1/motions")
    return json.loads(body)


@pytest.mark.parametrize(
    ("command", "body"),
    [
        (["remove", "birch"], {"kind": "member.remove", "node": BIRCH["node_id"]}),
        (["remove", BIRCH["node_id"][:6]], {"kind": "member.remove", "node": BIRCH["node_id"]}),
        (
            ["rotate", "erin", "--vote", "ab" * 32, "--chain-end", "cd" * 32],
            {"kind": "member.rotate", "node": ERIN["node_id"], "vote": "ab" * 32, "chain_end": "cd" * 32},
        ),
        (
            ["network", "--builders", "4", "--agreeing", "3", "--limit", "member=9", "--limit", "builder=8",
             "--environment", "host:b", "--environment", "host:a", "--rules", "1@900"],
            {"kind": "network.set", "builders": 4, "agreeing": 3, "limits": [["builder", 8], ["member", 9]],
             "environments": ["host:a", "host:b"], "rules": {"height": 900, "version": 1}},
        ),
        (
            ["mapping", "pkg:pypi/idna", "--repository", "https://x.org/a/b", "--tag", "v{version}", "--key", "ab" * 32,
             "--recipe", '{"backend":"wheel"}'],
            {"kind": "mapping.set", "purl": "pkg:pypi/idna", "repository": "https://x.org/a/b", "tag": "v{version}",
             "keys": ["ab" * 32], "recipe": {"backend": "wheel"}},
        ),
        (
            ["withdraw", "pkg:pypi/idna@1", "ab" * 32],
            {"kind": "artifact.withdraw", "purl": "pkg:pypi/idna@1", "sha256": "ab" * 32},
        ),
        (
            ["resolve", "pkg:pypi/idna@1", "ab" * 32],
            {"kind": "dispute.resolve", "purl": "pkg:pypi/idna@1", "sha256": "ab" * 32},
        ),
    ],
)  # fmt: skip
def test_each_kind_of_motion_is_proposed_as_the_ledger_has_it(pyrsia, node, command, body):
    code, _, err = pyrsia("member", "propose", *command, "--reason", "why", "--node", node.url)

    assert (code, err) == (0, "")
    assert asked(node) == {"approve": True, "motion": {**body, "reason": "why"}}


def test_a_newcomer_is_proposed_with_the_keys_of_the_roles_that_it_shall_have(pyrsia, node, document):
    base = ("--file", document, "--reason", "x", "--node", node.url)
    pyrsia("member", "propose", "add", *base, "--role", "none", "--no-approve")
    follower = asked(node)
    pyrsia("member", "propose", "add", *base, "--role", "builder")
    builder = asked(node)["motion"]["member"]
    pyrsia("member", "propose", "replace", "birch", *base)
    successor = asked(node)["motion"]

    assert follower["approve"] is False
    assert (follower["motion"]["member"]["roles"], follower["motion"]["member"]["build"]) == ([], "")
    assert (builder["roles"], builder["build"], builder["vote"]) == (["builder"], DOCUMENT["build"], "")
    assert (successor["node"], successor["member"]) == (BIRCH["node_id"], DOCUMENT)


def test_a_node_proposes_roles_for_itself_with_its_own_keys(pyrsia, node, tmp_path):
    base = ("--role", "validator", "--reason", "x", "--node", node.url)
    code, _, err = pyrsia("member", "propose", "roles", *base)
    own = asked(node)["motion"]
    other = pyrsia("member", "propose", "roles", "amber", *base)

    assert (code, err) == (0, "")
    assert (own["kind"], own["node"], own["member"]["vote"]) == (
        "member.replace",
        DOCUMENT["node"],
        DOCUMENT["vote"],
    )
    assert (other[0], "not of amber" in other[2]) == (2, True)


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (["member", "approve", "xyz"], 2),
        (["member", "approve", "012"], 2),
        (["member", "motion", "../status"], 2),
        (["member", "show", "nobody"], 1),
        (["member", "show", "abb"], 1),
        (["member", "propose", "add", "--reason", "x"], 2),
        (["member", "propose", "roles", "--reason", "x"], 2),
        (["member", "propose", "roles", "--role", "none", "--role", "builder", "--reason", "x"], 2),
        (["member", "propose", "remove", "amber"], 2),
        (["member", "propose", "network", "--reason", "x"], 2),
        (["member", "propose", "network", "--limit", "member", "--reason", "x"], 2),
        (["member", "propose", "network", "--rules", "1@x", "--reason", "x"], 2),
        (
            [
                "member",
                "propose",
                "mapping",
                "p",
                "--repository",
                "r",
                "--tag",
                "t",
                "--recipe",
                "{",
                "--reason",
                "x",
            ],
            2,
        ),
        (["keys", "rotate"], 2),
        (["keys", "rotate", "node"], 2),
        (["authorize"], 2),
    ],
)
def test_what_cannot_be_meant_is_refused_and_changes_nothing(pyrsia, node, command, code):
    assert pyrsia(*command, "--node", node.url, "--json")[0] == code
    assert not [one for one in node.seen if one[0] == "POST"]


def test_a_name_that_two_ids_begin_with_is_nobody_s(pyrsia, node):
    code, out, _ = pyrsia("member", "show", "abbbb", "--node", node.url, "--json")
    assert (code, json.loads(out)["error"]["code"]) == (1, "not-found")
    twins = {**MEMBERS, "members": [BIRCH, {**ERIN, "node_id": "abbbbb" + "c" * 46}]}
    node.answers["/api/v1/members"] = (200, twins)
    code, out, _ = pyrsia("member", "show", "abbbbb", "--node", node.url, "--json")
    assert (code, "several members" in json.loads(out)["error"]["what"]) == (2, True)


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b"\xff", b"[" * 9_000, b" " * 20_000, b'{"node":1}'])
def test_a_file_that_is_no_member_document_is_refused(pyrsia, node, tmp_path, content):
    file = tmp_path / "x.json"
    file.write_bytes(content)
    for command in (["member", "propose", "add", "--reason", "x"], ["authorize", "--peer", "e" * 52]):
        code, out, _ = pyrsia(*command, "--file", file, "--node", node.url, "--json")
        assert (code, json.loads(out)["error"]["code"]) == (2, "usage")


def test_authorize_says_what_the_original_said_and_sends_the_document(pyrsia, node, document):
    code, out, _ = pyrsia("authorize", "-p", DOCUMENT["node"], "--file", document, "--node", node.url)

    order = json.loads(node.seen[-1][3])
    assert code == 0
    assert out.startswith("Authorize request successfully handled.\n")
    assert (order["peer_id"], order["member"]) == (DOCUMENT["node"], DOCUMENT)


def test_keys_say_which_of_them_must_not_sign_and_why(pyrsia, node):
    out = pyrsia("keys", "list", "--node", node.url)[1]

    assert "vote: its record is gone" in out
    assert [line.split()[1] for line in out.splitlines()[1:3]] == ["must", "to"]


def test_a_rotation_that_another_shall_propose_is_told_as_its_command(pyrsia, node):
    node.answers["/api/v1/keys/rotate"] = (
        200,
        {"body": {"kind": "member.rotate", "node": "e" * 52, "chain_end": "cd" * 32}, "motion": None},
    )

    out = pyrsia("keys", "rotate", "chain", "--no-propose", "--node", node.url)[1]

    assert out.startswith(f"pyrsia member propose rotate {'e' * 52} --chain-end {'cd' * 32} ")
    assert json.loads(node.seen[-1][3])["propose"] is False


def test_keys_that_the_log_does_not_name_are_replaced_at_once_and_so_it_says(pyrsia, node):
    node.answers["/api/v1/keys/rotate"] = (200, {"body": {}, "motion": None, "replaced": ["log", "vote"]})

    code, out, _ = pyrsia("keys", "rotate", "vote", "log", "--node", node.url)

    assert (code, out) == (0, "new at once, since the log names none of this node: log, vote\n")


# -- the newcomer --


@pytest.fixture
def joined(tmp_path):
    KeyRing.generate().save(tmp_path / "own" / "keys")
    return tmp_path / "own"


@pytest.mark.parametrize("option", ["--data", "--node"])
def test_a_document_needs_somebody_who_answers_for_the_node(pyrsia, joined, option):
    code, out, _ = pyrsia("member", "document", option, joined)
    told = pyrsia(
        "member", "document", option, joined, "--operator", "o", "--domain", "d", "--role", "builder"
    )

    assert (code, out) == (2, "")
    document = json.loads(told[1])
    assert (document["operator"], document["domain"], document["roles"], document["capabilities"]) == (
        *("o", "d"),
        ["builder"],
        ["pip"],
    )
    assert KeyRing.load(joined / "keys").vote.public.hex() == document["vote"]


PEERS = {"peer_id": "a" * 52, "peer_addrs": ["tcp://0.0.0.0:44000"]}


@pytest.mark.parametrize(
    ("told", "address", "found"),
    [
        (
            PEERS,
            "tcp://10.0.0.7:44000",
            [f"{'a' * 52}@tcp://127.0.0.1:44000", f"{'b' * 52}@tcp://10.0.0.7:44000"],
        ),
        ({**PEERS, "peer_addrs": ["tcp://[::]:1"]}, "", [f"{'a' * 52}@tcp://127.0.0.1:1"]),
        ({**PEERS, "peer_id": EVIL}, "tcp://\x1b:1", []),
        ({**PEERS, "peer_addrs": ["file:///etc"] * 40}, "", []),
        ({}, "", []),
        (b"<html>", "", []),
    ],
)
def test_whom_to_dial_is_taken_from_the_node_as_far_as_it_is_an_address(node, told, address, found):
    node.answers["/status"] = (200, told)
    node.answers["/api/v1/peers"] = (
        200,
        {
            "peers": [
                {"node_id": "b" * 52, "name": "b", "role": "follower", "address": address, "connected": True}
            ]
        },
    )

    peers = peers_of(node.url)

    assert list(peers) == found
    assert len(peers) <= MOST_PEERS.value


@pytest.mark.parametrize(
    ("there", "host", "near"),
    [
        ("8.8.8.8", "9.9.9.9", True),
        ("amber.example", "9.9.9.9", True),
        ("10.0.0.7", "9.9.9.9", False),  # within another network, or a lie that would open a scope
        ("127.0.0.1", "9.9.9.9", False),
        ("10.0.0.7", "10.0.0.1", True),
        ("10.0.0.7", "amber.corp", True),
        ("127.0.0.1", "amber.corp", False),
        ("10.0.0.7", "127.0.0.1", True),
        ("127.0.0.1", "localhost", True),
    ],
)
def test_an_address_within_a_network_is_taken_from_who_is_there_too(there, host, near):
    assert _is_near(there, host) is near


def test_members_and_motions_are_asked_for_as_of_a_moment(pyrsia):
    then = {
        **MEMBERS,
        "size": 40,
        "time_ms": 1_760_000_000_000,
        "members": [{**AMBER, "connected": None, "strikes": None}],
    }
    told = {"/api/v1/members": (200, then), f"/api/v1/motions/{ID[:12]}": (200, MOTION)}
    with FakeNode({**ANSWERS, **told}) as node:
        where = ("--as-of", "40", "--node", node.url)
        _, out, _ = pyrsia("member", "list", *where)
        assert out.startswith("as of 40 entries, 2025-10-09 08:53:20 UTC\n")
        [row] = [line for line in out.splitlines() if line.startswith("amber")]
        assert row.split()[-1] == "-"
        _, out, _ = pyrsia("member", "show", "amber", *where)
        assert "strike" not in out
        _, out, _ = pyrsia("member", "motions", *where, "--json")
        assert json.loads(out)["size"] == 40
        assert pyrsia("member", "motion", ID[:12], *where)[0] == 0
        code, _, err = pyrsia("member", "show", "nobody", *where)
        assert (code, "no member of this network at that moment" in err) == (1, True)
        assert {target.partition("?")[2] for _, target, *_ in node.seen} == {"as_of=40"}

        code, _, err = pyrsia("member", "list", "--as-of", "2999-01-01", "--node", node.url)
        assert (code, "lies ahead" in err) == (2, True)
        code, _, err = pyrsia("member", "motion", ID[:12], "--follow", *where)
        assert (code, "--follow" in err) == (2, True)
