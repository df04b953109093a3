"""Commands that ask a node: which one, what they print, and what a hostile answer does to them."""

import json

import pytest

from pyrsia import client
from pyrsia.cli.builds import follow
from pyrsia.errors import Refusal
from tests.reference.fakenode import ANSWERS, BUILD, PEER, STATUS, FakeNode

EVIL = "\x1b[31m\u202eevil\x07\x9b"
ASKING = [
    ["status"],
    ["peers"],
    ["list"],
    ["log", "show"],
    ["log", "prove", "2"],
    ["build", "list"],
    ["build", "show", BUILD["request"]],
    ["build", "status", "--id", BUILD["request"]],
]
names = [" ".join(one[:2]) for one in ASKING]


@pytest.mark.parametrize("command", ASKING, ids=names)
def test_each_command_answers_as_text_and_as_json(pyrsia, node, command):
    code, out, err = pyrsia(*command, "--node", node.url)
    assert (code, err) == (0, "")
    assert out.strip()
    code, out, err = pyrsia(*command, "--node", node.url, "--json")
    assert (code, err, len(out.splitlines())) == (0, "", 1)
    assert json.loads(out)


def test_the_fields_that_scripts_rely_on_are_there(pyrsia, node):
    told = json.loads(pyrsia("status", "--node", node.url, "--json")[1])
    assert (told["node_id"], told["name"], told["role"], told["peers"]) == ("a" * 52, "alpha", "validator", 2)
    assert (told["log"]["size"], told["log"]["root"]) == (7, "ab" * 32)
    told = json.loads(pyrsia("log", "show", "--node", node.url, "--json")[1])
    assert (told["size"], told["root"], told["entries"][0]["summary"]) == (7, "ab" * 32, "a fact")


def test_people_are_told_what_they_need(pyrsia, node):
    out = pyrsia("status", "--node", node.url)[1]
    for words in (
        "alpha (validator aaaaaaaa) of test",
        "demo: all operators are one person",
        "notice:    ALARM: look",
    ):
        assert words in out
    out = pyrsia("build", "show", BUILD["request"], "--node", node.url)[1]
    for words in ("dddddddd  revealed  agreed", "eeeeeeee  drawn  dissents", "note      a word"):
        assert words in out
    assert "alive" in pyrsia("peers", "--node", node.url)[1]
    out = pyrsia("build", "status", "--id", BUILD["request"], "--node", node.url)[1]
    assert out == f"Build status for '{BUILD['request']}' is 'SUCCESS'\n"


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"state": "drawn"}, "RUNNING"),
        ({"verdict": "DIVERGED"}, "FAILED - (Error: DIVERGED)"),
        ({}, "SUCCESS"),
    ],
)
def test_build_status_speaks_the_originals_words(pyrsia, node, change, word):
    node.answers[f"/api/v1/builds/{BUILD['request']}"] = (200, {**BUILD, **change})
    out = pyrsia("build", "status", "--id", BUILD["request"], "--node", node.url, "--json")[1]
    assert json.loads(out)["status"] == word


def test_ping_says_the_originals_words(pyrsia, node):
    assert pyrsia("ping", "--node", node.url) == (0, "Connection Successful !!\n", "")
    assert json.loads(pyrsia("ping", "--node", node.url, "--json")[1]) == {"ok": True, "node": node.url}


def test_log_show_asks_for_the_newest_or_from_where_it_is_told(pyrsia, node):
    pyrsia("log", "show", "-n", "3", "--node", node.url)
    pyrsia("log", "show", "--from", "1", "-n", "2", "--node", node.url)
    asked = [path for _, path, _, _ in node.seen if "entries" in path]
    assert asked == ["/api/v1/log/entries?first=4&count=3", "/api/v1/log/entries?first=1&count=2"]


def test_log_show_of_a_moment_has_the_size_and_root_of_then(pyrsia, node):
    then = {"size": 2, "root": "ab" * 32, "entries": [], "next": -1, "scanned": 0, "first": 0}
    node.answers["/api/v1/log/entries"] = (200, then)
    out = pyrsia("log", "show", "-n", "3", "--as-of", "2", "--node", node.url, "--json")[1]
    assert json.loads(out) == {"size": 2, "root": "ab" * 32, "entries": []}
    pyrsia("log", "show", "--from", "1", "--as-of", "2026-01-31", "--node", node.url)
    assert [path for _, path, _, _ in node.seen] == [
        "/api/v1/log/entries?as_of=2&count=3",
        "/api/v1/log/entries?first=1&as_of_time=1769817600000&count=20",
    ]
    code, _, err = pyrsia("log", "show", "--as-of", "2999-01-01", "--node", node.url)
    assert (code, "lies ahead" in err) == (2, True)


def test_log_prove_writes_the_proof_to_a_file(pyrsia, node, tmp_path):
    out = tmp_path / "leaf.json"
    assert pyrsia("log", "prove", "2", "--out", out, "--node", node.url)[0] == 0
    assert json.loads(out.read_text())["index"] == 2


# -- which node --


def test_the_target_rule_is_option_then_variable_then_the_users_node_then_the_systems(
    tmp_path, monkeypatch, home
):
    users, systems = tmp_path / "users", tmp_path / "systems"
    monkeypatch.setattr(client.config, "user_data_dir", lambda: users)
    monkeypatch.setattr(client.config, "system_data_dir", lambda: systems)
    assert client.resolve(None) == str(users)
    systems.mkdir()
    (systems / client.CONTROL_SOCKET).touch()
    assert client.resolve(None) == str(systems)
    users.mkdir()
    (users / client.CONTROL_SOCKET).touch()
    assert client.resolve(None) == str(users)
    monkeypatch.setenv("PYRSIA_NODE", "http://x")
    assert client.resolve(None) == "http://x"
    assert client.resolve("http://y") == "http://y"


@pytest.mark.parametrize("command", [*ASKING, ["ping"]], ids=[*names, "ping"])
def test_every_command_follows_the_rule(pyrsia, node, command, monkeypatch):
    monkeypatch.setenv("PYRSIA_NODE", "http://127.0.0.1:9")
    assert pyrsia(*command, "--node", node.url)[0] == 0
    monkeypatch.setenv("PYRSIA_NODE", node.url)
    assert pyrsia(*command)[0] == 0


def test_a_directory_means_its_control_socket_with_the_token_beside_it(pyrsia, tmp_path):
    (tmp_path / client.CONTROL_TOKEN).write_text("secret\n")
    with FakeNode(dict(ANSWERS), socket=tmp_path / client.CONTROL_SOCKET) as node:
        code, out, _ = pyrsia("status", "--node", tmp_path, "--json")
    assert (code, json.loads(out)["name"]) == (0, "alpha")
    assert node.seen[0][2]["authorization"] == "Bearer secret"


def test_a_node_that_restarted_has_another_token_which_is_read_again(tmp_path):
    """Each start writes one. What is no token is asked with once, and not for ever."""
    token, valid = tmp_path / client.CONTROL_TOKEN, ["first"]
    no = {"error": {"code": "unauthenticated", "what": "no", "who": "you", "do": "log in"}}
    token.write_text("first\n")
    with FakeNode(dict(ANSWERS), socket=tmp_path / client.CONTROL_SOCKET) as node:

        def gives(headers):
            good = headers.get("authorization") == f"Bearer {valid[0]}"
            return (200, {"name": "alpha"}) if good else (401, no)

        node.by_headers = gives
        asking = client.Client(str(tmp_path))
        assert asking.get("/api/v1/status") == {"name": "alpha"}
        token.write_text("second\n")
        valid[0] = "second"
        assert asking.get("/api/v1/status") == {"name": "alpha"}
        assert asking.post("/api/v1/x", {}) == {"name": "alpha"}
        token.write_text("third\n")
        valid[0] = "third"
        assert asking.post_file("/api/v1/x", token) == {"name": "alpha"}
        assert node.seen[-1][3] == b"third\n"
        valid[0] = "fourth"
        seen = len(node.seen)
        with pytest.raises(Refusal) as refused:
            asking.get("/api/v1/status")
    assert refused.value.code == "unauthenticated"
    assert len(node.seen) == seen + 1


def test_a_token_goes_to_a_url_only_when_the_variable_says_so(pyrsia, node, monkeypatch, tmp_path):
    (tmp_path / client.CONTROL_TOKEN).write_text("secret\n")
    pyrsia("status", "--node", node.url)
    monkeypatch.setenv("PYRSIA_TOKEN", "given")
    pyrsia("status", "--node", node.url)
    assert [headers.get("authorization") for _, _, headers, _ in node.seen] == [None, "Bearer given"]


def test_no_node_is_a_sentence_that_says_how_to_start_one(pyrsia, tmp_path):
    for target in (tmp_path, tmp_path / ("x" * 120), "http://127.0.0.1:9"):
        code, out, err = pyrsia("status", "--node", target)
        assert (code, out) == (1, "")
        assert "no node answers" in err
        assert "Error" not in err
        assert "pyrsia node run" in err
    code, out, _ = pyrsia("status", "--json")
    assert (code, json.loads(out)["error"]["code"]) == (1, "not-running")


@pytest.mark.parametrize("target", ["http://", "http://[", "http://x:port", "http://x:99999", "https://:80"])
def test_an_address_that_is_none_is_a_usage_error(pyrsia, target):
    code, _, err = pyrsia("status", "--node", target)
    assert code == 2
    assert "Traceback" not in err


# -- hostile answers --

HOSTILE = [
    b"",
    b"<html>",
    b"null",
    b"[]",
    b"{}",
    b"5",
    b'"text"',
    b"\xff\xfe",
    b"[" * 200_000,
    b'{"peers":5,"builds":{},"entries":"x","log":[],"size":"7"}',
    b'{"peers":[1],"builds":[null],"entries":[{}],"size":-1,"root":7}',
    b'{"size":1e999}',
]


@pytest.mark.parametrize("body", HOSTILE, ids=range(len(HOSTILE)))
@pytest.mark.parametrize("command", ASKING, ids=names)
def test_an_answer_of_another_shape_is_a_refusal_and_never_a_traceback(pyrsia, node, command, body):
    for path in list(node.answers):
        node.answers[path] = (200, body)
    if command == ["list"] and body == b"[]":
        return_code = 0  # nobody is connected
    else:
        return_code = 1
    code, out, err = pyrsia(*command, "--node", node.url)
    assert code == return_code
    if code:
        assert out == ""
        assert "  do:  " in err


@pytest.mark.parametrize("body", [b"null", b"[]", b"{}", b'{"data":5}', b'{"request":"%s"}' % (b"x" * 9_999)])
@pytest.mark.parametrize(
    ("command", "path"),
    [
        (["build", "explain", BUILD["request"]], f"/api/v1/builds/{BUILD['request']}/explanation"),
        (["build", "logs", BUILD["request"]], f"/api/v1/builds/{BUILD['request']}/log"),
        (["facts", "show", "pkg:pypi/idna"], "/api/v1/facts"),
        (["audit", "pkg:pypi/idna@3.7"], "/api/v1/audit"),
    ],
    ids=lambda one: one[0] if isinstance(one, list) else "",
)
def test_every_command_calls_an_answer_that_no_node_gives_the_same(pyrsia, node, command, path, body):
    node.answers[path] = (200, body)
    code, out, err = pyrsia(*command, "--node", node.url)
    assert (code, out) == (3 if command[0] == "audit" else 1, "")
    assert "the answer is not what a node gives" in err
    assert "is it a Pyrsia node of this version?" in err
    assert len(err) < 900


@pytest.mark.parametrize("status", [400, 401, 404, 500, 503])
@pytest.mark.parametrize(
    "body", [b"", b"oops", b'{"error":5}', b'{"error":{"code":5}}', b'{"error":{"code":"x"}}', b"[" * 99_999]
)
def test_a_no_of_any_form_is_told(pyrsia, node, status, body):
    node.answers["/api/v1/status"] = (status, body)
    code, out, err = pyrsia("status", "--node", node.url)
    assert (code, out) == (1, "")
    assert err.startswith("pyrsia: ")


def test_a_nodes_refusal_is_told_in_its_own_words_with_its_code(pyrsia, node):
    said = {"code": "no-proof", "what": f"no {EVIL}", "who": "w", "do": "d"}
    node.answers["/api/v1/status"] = (404, {"error": said})
    code, _, err = pyrsia("status", "--node", node.url)
    assert (code, "\\x1b[31m\\u202eevil\\x07" in err, "\x1b" in err) == (3, True, False)
    code, out, _ = pyrsia("status", "--node", node.url, "--json")
    told = {**said, "what": "no \\x1b[31m\\u202eevil\\x07\\x9b"}  # escaped where it was read
    assert (code, out.isascii(), json.loads(out)["error"]) == (3, True, told)


def test_an_endless_answer_is_cut(pyrsia, node, monkeypatch):
    node.answers["/api/v1/status"] = (200, b" " * (client.MAX_ANSWER_BYTES.value + 10))
    code, _, err = pyrsia("status", "--node", node.url)
    assert (code, "longer than" in err) == (1, True)


def test_control_characters_from_a_node_never_reach_the_terminal(pyrsia, node):
    bad_build = {**BUILD, "purl": EVIL, "note": EVIL, "file": EVIL, "verdict": EVIL}
    node.answers.update(
        {
            "/api/v1/status": (
                200,
                {**STATUS, "name": EVIL, "notices": [EVIL], "network": EVIL, "building": [EVIL]},
            ),
            "/api/v1/peers": (200, {"peers": [{**PEER, "name": EVIL, "address": EVIL}]}),
            "/peers": (200, [EVIL]),
            "/api/v1/builds": (200, {"builds": [bad_build]}),
            f"/api/v1/builds/{BUILD['request']}": (200, bad_build),
            "/api/v1/log/entries": (200, {"entries": [{"index": 1, "kind": EVIL, "summary": EVIL}]}),
            "/api/v1/log/prove": (
                200,
                {"index": 1, "size": 2, "root": EVIL, "leaf_hash": EVIL, "hashes": [EVIL], "entry": EVIL},
            ),
        }
    )
    for command in ASKING:
        for flag in ([], ["--json"]):
            code, out, err = pyrsia(*command, *flag, "--node", node.url)
            assert code == 0, command
            assert not set(EVIL) & set("\x1b\u202e\x07\x9b") & set(out + err), command


# -- asking for builds --


def asking(node, *states):
    """A node that takes a request and then tells these states, one a question."""
    waiting = [{**BUILD, **state} for state in states]
    node.answers["/api/v1/builds"] = (
        202,
        {"requests": [{"request": BUILD["request"], "purl": BUILD["purl"]}]},
    )

    class Turning(dict):
        def get(self, path, otherwise=None):
            if path.endswith(BUILD["request"]):
                return 200, waiting.pop(0) if len(waiting) > 1 else waiting[0]
            return super().get(path, otherwise)

    node.answers = Turning(node.answers)


def test_a_build_is_asked_for_and_followed_to_its_verdict(pyrsia, node, monkeypatch):
    monkeypatch.setattr(follow, "POLL_S", 0.001)
    asking(node, {"state": "open"}, {"state": "drawn"}, {})
    code, out, err = pyrsia("build", "request", "idna==1.0", "--follow", "--node", node.url)
    assert code == 0
    order = {"ecosystem": "pip", "name": "idna", "version": "1.0", "witness": True}
    assert json.loads(node.seen[0][3]) == order
    assert "asked: pkg:pypi/idna@1.0" in out
    assert "REPRODUCED (1 agreeing, 1 dissenting)" in out
    assert [line.split()[-1] for line in err.splitlines()] == ["open", "drawn"]


def test_a_build_that_was_not_reproduced_exits_1(pyrsia, node, monkeypatch):
    monkeypatch.setattr(follow, "POLL_S", 0.001)
    asking(node, {"verdict": "DIVERGED"})
    code, out, err = pyrsia("build", "request", "idna", "--follow", "--node", node.url)
    assert (code, "DIVERGED" in out, "not every package" in err) == (1, True, True)


def test_following_a_network_that_stands_still_ends(pyrsia, node, monkeypatch):
    monkeypatch.setattr(follow, "POLL_S", 0.001)
    monkeypatch.setattr(follow, "FOLLOW_S", type(follow.FOLLOW_S)(1, "a test's patience"))
    asking(node, {"state": "drawn"})
    code, _, err = pyrsia("build", "request", "idna", "--follow", "--node", node.url)
    assert (code, "no verdict after 1 s" in err) == (1, True)


def test_asking_without_following_returns_at_once(pyrsia, node):
    asking(node, {"state": "open"})
    code, out, _ = pyrsia("build", "request", "idna", "--node", node.url, "--json")
    assert (code, json.loads(out)["requests"][0]["purl"]) == (0, "pkg:pypi/idna@1.0")
    assert len(node.seen) == 1


@pytest.mark.parametrize(
    "request_id", ["../../peers?x=1#y", "", "c" * 7, "c" * 65, "g" * 64, "\u0661" * 64, "idna==1.0"]
)
def test_what_is_no_request_id_is_not_found_and_no_address_is_made_of_it(pyrsia, node, request_id):
    for command in (["build", "show", request_id], ["build", "status", "--id", request_id]):
        code, out, err = pyrsia(*command, "--node", node.url)
        assert (code, out, node.seen) == (1, "", [])
        assert f"'{request_id}' was not found" in err
        assert "pyrsia build list" in err


OTHER = {**BUILD, "request": "c" * 12 + "d" * 52, "purl": "pkg:pypi/other@2"}


@pytest.mark.parametrize("prefix", ["c" * 8, "c" * 16, "C" * 16, "c" * 63])
def test_a_unique_beginning_of_an_id_is_enough(pyrsia, node, prefix):
    whole = pyrsia("build", "show", BUILD["request"], "--node", node.url)
    assert pyrsia("build", "show", prefix, "--node", node.url) == whole
    out = pyrsia("build", "status", "--id", prefix, "--node", node.url)[1]
    assert out == f"Build status for '{prefix}' is 'SUCCESS'\n"
    told = json.loads(pyrsia("build", "status", "--id", prefix, "--node", node.url, "--json")[1])
    assert told["id"] == BUILD["request"]


def test_the_ids_that_are_shown_are_taken_back(pyrsia, node):
    node.answers["/api/v1/builds"] = (200, {"builds": [OTHER, BUILD]})
    rows = pyrsia("build", "list", "--node", node.url)[1].splitlines()[1:]
    shown = {row.split()[0]: row.split()[1] for row in rows}
    assert len(shown) == 2
    for short, purl in shown.items():
        code, out, _ = pyrsia("build", "show", short, "--node", node.url)
        assert (code, out.startswith(f"{purl}: ")) == (0, True)


def test_a_beginning_that_two_ids_share_is_refused_with_both(pyrsia, node):
    node.answers["/api/v1/builds"] = (200, {"builds": [OTHER, BUILD]})
    code, out, err = pyrsia("build", "show", "c" * 9, "--node", node.url)
    assert (code, out) == (2, "")
    for one in (OTHER, BUILD):
        assert f"{one['request']} ({one['purl']})" in err


@pytest.mark.parametrize("unknown", ["0" * 8, "0" * 64])
def test_an_unknown_build_is_told_in_the_originals_words(pyrsia, node, unknown):
    code, out, err = pyrsia("build", "status", "--id", unknown, "--node", node.url)
    assert (code, out) == (1, "")
    assert "Failed to fetch" in err
    assert f"'{unknown}' was not found" in err
