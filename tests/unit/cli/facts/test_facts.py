"""`facts show|history|list|watch|add|withdraw` against a fake node."""

import json

import pytest

from pyrsia import client
from pyrsia.cli.facts import watch
from tests.reference.facts_desk import ME, Desk
from tests.reference.fakenode import NODE, STATUS, FakeNode

ADVISORY = {
    "kind": "advisory", "subject": "pkg:pypi/idna", "text": "long\x1b names", "valid_from": 0, "advisory": "CVE-1",
    "severity": "medium", "aliases": ["GHSA-1"], "range": [{"introduced": "0", "fixed": "3.7"}],
}  # fmt: skip


def row(leaf, body, state="stands", by=-1, **more):
    return {
        "leaf": leaf, "time_ms": 1_700_000_000_000 + leaf * 1_000, "id": f"{leaf:064x}", "author": ME,
        "author_name": "alpha", "kind": body["kind"], "subject": body["subject"], "text": body["text"], "state": state,
        "by": by, "body": body, **more,
    }  # fmt: skip


def page(*rows, following=-1, **more):
    return {
        "subject": "", "size": 100, "time_ms": 1_700_000_100_000, "whole": True, "facts": rows, "next": following,
        **more,
    }  # fmt: skip


REVIEW = {
    "kind": "review",
    "subject": "pkg:pypi/idna@3.10",
    "text": "",
    "valid_from": 0,
    "rating": "positive",
}
OLD = row(3, {**ADVISORY, "severity": "high", "range": [{"introduced": "0"}]}, "superseded", 7)
NEW = row(7, {**ADVISORY, "supersedes": OLD["id"]})
GONE = row(9, {**ADVISORY, "advisory": "CVE-2"}, "withdrawn", 12, by_ms=1_700_000_012_000)
COMES = row(14, {**ADVISORY, "advisory": "CVE-3", "valid_from": 1_893_456_000_000}, "to-come")
FILE = row(15, {**ADVISORY, "advisory": "FILE-1", "subject": f"sha256:{'6b' * 32}", "range": []})


@pytest.fixture
def asked(node):
    def answers(query):
        asked.query = query
        return page(*asked.rows, **asked.more)

    node.rows, node.more = [OLD, NEW, GONE], {}
    asked = node
    node.answers["/api/v1/facts"] = (200, answers)
    return node


def test_show_tells_what_stands_and_with_all_what_does_not(pyrsia, asked):
    code, out, _ = pyrsia("facts", "show", "pkg:pypi/Idna", "--node", asked.url)
    assert code == 0
    assert "CVE-1 medium [0, 3.7); long\\x1b names" in out
    assert "CVE-2" not in out
    assert "1 stand about pkg:pypi/idna among 100 leaves, 2023-11-14 22:15:00" in out
    assert asked.query == {"of": "pkg:pypi/idna", "count": "1000"}
    _, out, _ = pyrsia("facts", "show", "pkg:pypi/idna", "--all", "--node", asked.url)
    assert "superseded by 7" in out
    assert "withdrawn by 12" in out


def test_show_asks_about_a_moment_and_a_kind(pyrsia, asked):
    pyrsia("facts", "show", "pkg:pypi/idna@3.6", "--as-of", "42", "--kind", "vex", "--node", asked.url)
    assert asked.query == {"of": "pkg:pypi/idna@3.6", "as_of": "42", "kind": "vex", "count": "1000"}
    pyrsia("facts", "show", f"sha256:{'AB' * 32}", "--as-of", "2024-04-01", "--node", asked.url)
    assert asked.query == {"of": f"sha256:{'ab' * 32}", "as_of_time": "1711929600000", "count": "1000"}


def test_show_says_when_a_node_has_not_all_of_the_log(pyrsia, asked):
    asked.rows, asked.more = [], {"whole": False}
    _, out, _ = pyrsia("facts", "show", "pkg:pypi/idna", "--node", asked.url)
    assert "nothing is said about pkg:pypi/idna" in out
    assert "does not have all of the log yet" in out


def test_pages_are_read_one_after_the_other(pyrsia, node):
    pages = {None: page(OLD, following=4), "4": page(following=6), "6": page(NEW)}
    node.answers["/api/v1/facts"] = (200, lambda query: pages[query.get("first")])
    _, out, _ = pyrsia("facts", "show", "pkg:pypi/idna", "--all", "--json", "--node", node.url)
    assert [one["leaf"] for one in json.loads(out)["facts"]] == [3, 7]


@pytest.mark.parametrize("subject", ["idna", "pkg:pypi/", "sha256:xy", "pkg:pypi/a b"])
def test_what_names_no_package_is_a_slip_of_the_command(pyrsia, asked, subject):
    code, _, err = pyrsia("facts", "show", subject, "--node", asked.url)
    assert (code, asked.seen) == (2, [])
    assert subject in err


def test_history_tells_first_known_changed_fixed_and_withdrawn_with_leaves_and_dates(pyrsia, asked):
    code, out, _ = pyrsia("facts", "history", "pkg:pypi/idna", "--node", asked.url)
    assert code == 0
    lines = [" ".join(line.split()) for line in out.splitlines()]
    for line in (
        "CVE-1 (GHSA-1)",
        "first known 2023-11-14 22:13:23, leaf 3",
        "severity medium",
        "fixed in 3.7",
        "3 2023-11-14 22:13:23 alpha (aaaaaaaa) known [0, ...) high",
        "7 2023-11-14 22:13:27 alpha (aaaaaaaa) changed [0, 3.7) medium, severity high to medium; fixed in 3.7",
        "withdrawn 2023-11-14 22:13:32",
        "12 2023-11-14 22:13:32 alpha (aaaaaaaa) withdrawn [0, 3.7)",
        "1 known weakness (1 withdrawn) of pkg:pypi/idna among 100 leaves, 2023-11-14 22:15:00",
    ):
        assert line in lines


def test_history_counts_what_stands_and_tells_what_is_to_come_with_its_day(pyrsia, asked):
    """What was taken back, and what does not count yet, is no known weakness; the node is asked once."""
    asked.rows = [
        GONE,
        COMES,
        row(16, {**COMES["body"], "severity": "low", "supersedes": COMES["id"]}, "to-come"),
    ]
    _, out, _ = pyrsia("facts", "history", "pkg:pypi/idna", "--node", asked.url)
    lines = [" ".join(line.split()) for line in out.splitlines()]
    for line in (
        "severity none stands yet (medium from 2030-01-01)",
        "14 2023-11-14 22:13:34 alpha (aaaaaaaa) known [0, 3.7) medium, fixed in 3.7, from 2030-01-01",
        "16 2023-11-14 22:13:36 alpha (aaaaaaaa) changed [0, 3.7) low, severity medium to low, from 2030-01-01",
        "0 known weaknesses (1 withdrawn, 1 to come) of pkg:pypi/idna among 100 leaves, 2023-11-14 22:15:00",
    ):
        assert line in lines
    assert len(asked.seen) == 1


def test_what_is_said_of_a_versions_file_is_marked_as_about_that_file(pyrsia, asked):
    vex = {"kind": "vex", "subject": "pkg:pypi/idna@3.6", "text": "", "valid_from": 0, "advisory": "FILE-1"}
    asked.rows = [FILE, row(16, {**vex, "outcome": "not-affected"})]
    _, out, _ = pyrsia("facts", "history", "pkg:pypi/idna@3.6", "--node", asked.url)
    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert "15 2023-11-14 22:13:35 alpha (aaaaaaaa) known file 6b6b6b6b medium" in lines
    assert "16 2023-11-14 22:13:36 alpha (aaaaaaaa) vex 3.6 not-affected" in lines
    assert f"file 6b6b6b6b is sha256:{'6b' * 32}" in lines
    (story,) = json.loads(pyrsia("facts", "history", "pkg:pypi/idna@3.6", "--json", "--node", asked.url)[1])[
        "advisories"
    ]
    assert [one["subject"] for one in story["changes"]] == [FILE["subject"], "pkg:pypi/idna@3.6"]
    _, out, _ = pyrsia("facts", "show", "pkg:pypi/idna@3.6", "--node", asked.url)
    assert "file 6b6b6b6b  FILE-1 medium" in out
    assert f"file 6b6b6b6b is sha256:{'6b' * 32}" in out
    asked.rows = [FILE]
    _, out, _ = pyrsia("facts", "show", FILE["subject"], "--node", asked.url)
    assert "is sha256" not in out


def test_what_is_to_come_is_told_with_its_day_wherever_a_state_is(pyrsia, asked):
    asked.rows = [COMES]
    for command in (("show", "pkg:pypi/idna"), ("list",), ("watch", "--since", "4")):
        _, out, _ = pyrsia("facts", *command, "--node", asked.url)
        assert "to-come 2030-01-01" in out
    asked.rows = [{**COMES, "body": {**COMES["body"], "valid_from": "soon"}}]
    assert "to-come -" in pyrsia("facts", "list", "--node", asked.url)[1]


def test_history_of_what_nobody_speaks_of_says_so(pyrsia, asked):
    asked.rows = []
    _, out, _ = pyrsia("facts", "history", "pkg:pypi/idna", "--as-of", "3", "--node", asked.url)
    assert out.startswith("no weakness is known of pkg:pypi/idna")
    _, out, _ = pyrsia("facts", "history", "pkg:pypi/idna", "--json", "--node", asked.url)
    assert json.loads(out)["advisories"] == []


def test_list_tells_the_newest(pyrsia, asked):
    asked.rows = [NEW, row(5, REVIEW)]
    _, out, _ = pyrsia("facts", "list", "-n", "1", "--kind", "advisory", "--node", asked.url)
    assert asked.query == {"order": "newest", "count": "1", "kind": "advisory"}
    assert "CVE-1" in out
    assert "review" not in out


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"json": '{"a":1}', "namespace": "team"}, "namespace team json of 7 bytes"),
        ({"tags": ["dns"], "homepage": "https://x"}, "dns https://x"),
    ],
)
def test_a_description_says_what_it_has(pyrsia, asked, more, words):
    body = {"kind": "description", "subject": "pkg:pypi/idna", "text": "", "valid_from": 0, **more}
    asked.rows = [row(5, body)]
    for command in ("list", "watch"):
        assert words in pyrsia("facts", command, "--node", asked.url)[1]


def test_what_lies_beyond_the_log_is_refused_in_words_for_who_wrote_the_command(pyrsia, asked):
    asked.rows = []
    assert pyrsia("facts", "watch", "--since", "99", "--node", asked.url)[0] == 0
    code, _, err = pyrsia("facts", "watch", "--since", "100", "--node", asked.url)
    assert (code, "leaf 100 is beyond its end" in err) == (2, True)
    error = {
        "code": "bad-request",
        "what": "it was never as long",
        "who": "the client's request",
        "do": "see",
    }
    asked.answers["/api/v1/facts"] = (400, {"error": error})
    _, _, err = pyrsia("facts", "list", "--as-of", "99999", "--node", asked.url)
    assert "your command" in err
    assert "client" not in err


def test_a_strangers_answer_is_a_refusal(pyrsia, node):
    for answer in ({}, [], {"facts": [{}]}, page({"leaf": "x"})):
        node.answers["/api/v1/facts"] = (200, answer)
        for command in (("show", "pkg:pypi/idna"), ("history", "pkg:pypi/idna"), ("list",), ("watch",)):
            code, _, err = pyrsia("facts", *command, "--node", node.url)
            assert (code, "not what a node gives" in err) == (1, True)


def test_a_homepage_is_a_page_on_the_web(pyrsia, node):
    said = ("facts", "add", "description", "pkg:pypi/idna", "--field", "homepage=javascript:alert(1)")
    code, _, err = pyrsia(*said, "--node", node.url)
    assert code == 2
    assert "no page on the web" in err
    assert node.seen == []


# -- webhooks --


def test_webhooks_are_shown_with_what_is_wrong_with_them(pyrsia, node):
    path = "/api/v1/facts/webhooks"
    good = {
        "url": "https://hooks.example/a", "kinds": [], "packages": [], "severity": "none", "signed": True,
        "state": "told", "next": 9, "behind": 0, "failures": 0, "since_ms": 0, "trouble": "", "delivered": 4,
        "last_ms": 1_700_000_000_000,
    }  # fmt: skip
    bad = {
        **good, "url": "https://hooks.example/b\x1b[2J", "kinds": ["advisory"], "packages": ["pkg:pypi/*"],
        "severity": "high", "signed": False, "state": "failing", "behind": 12, "failures": 5,
        "since_ms": 1_700_000_000_000, "trouble": "503\x1b", "delivered": 0, "last_ms": 0,
    }  # fmt: skip
    node.answers[path] = (200, {"webhooks": [good, bad]})
    code, out, _ = pyrsia("facts", "webhooks", "--node", node.url)
    assert code == 0
    assert "https://hooks.example/a" in out
    assert "every kind" in out
    assert "advisory, high or worse, pkg:pypi/*" in out
    assert "503\\x1b since 2023-11-14 22:13:20, 5 calls" in out
    assert "counted since the node's start" in out
    assert "\x1b" not in out
    code, out, _ = pyrsia("facts", "webhooks", "--json", "--node", node.url)
    assert json.loads(out)["webhooks"] == [good, bad]
    node.answers[path] = (200, {"webhooks": []})
    assert "no webhooks" in pyrsia("facts", "webhooks", "--node", node.url)[1]
    node.answers[path] = (200, {"webhooks": [{"url": 1}]})
    code, _, err = pyrsia("facts", "webhooks", "--node", node.url)
    assert code != 0
    assert err


# -- watch --


def test_watch_ends_without_follow(pyrsia, asked):
    asked.rows = [row(5, REVIEW), NEW]
    asked.rows.append(row(8, {**REVIEW, "subject": "pkg:maven/a/b"}))
    _, out, _ = pyrsia("facts", "watch", "--since", "4", "--purl", "pkg:pypi/*", "--node", asked.url)
    assert asked.query == {"first": "5", "order": "oldest", "count": "1000"}
    assert [line.split()[0] for line in out.splitlines()] == ["5", "7"]
    code, _, err = pyrsia("facts", "watch", "--purl", "x", "--node", asked.url)
    assert (code, "x:" in err) == (2, True)


def test_what_is_taken_back_is_told_with_what_it_was(pyrsia, asked):
    word = {
        "kind": "advisory",
        "subject": "pkg:pypi/idna",
        "text": "",
        "valid_from": 0,
        "withdrawn": True,
        "supersedes": GONE["id"],
    }
    asked.rows = [row(12, word, "withdrawn", ends=9, ended=GONE["body"])]
    _, out, _ = pyrsia("facts", "watch", "--since", "4", "--node", asked.url)
    assert "advisory         pkg:pypi/idna  taken back: CVE-2 medium" in out
    _, out, _ = pyrsia("facts", "list", "--node", asked.url)
    assert "ends 9" in out
    assert "taken back: CVE-2 medium" in out
    asked.rows = [row(12, word, "withdrawn")]
    _, out, _ = pyrsia("facts", "watch", "--since", "4", "--node", asked.url)
    assert "taken back: what is not here" in out


def test_watch_follows_across_lost_connections_without_losing_or_repeating(pyrsia, node, monkeypatch):
    lines = {"6": [row(7, REVIEW), row(8, REVIEW)], "8": [row(9, REVIEW)], "9": []}
    asked, pauses = [], []

    def stream(query):
        asked.append(query)
        return b"\n" + b"".join(json.dumps(one).encode() + b"\n" for one in lines[query["after"]])

    def pause(seconds):
        pauses.append(seconds)
        if len(pauses) == 3:
            raise KeyboardInterrupt

    node.answers["/api/v1/facts/follow"] = (200, stream)
    monkeypatch.setattr(watch.time, "sleep", pause)
    code, out, err = pyrsia("facts", "watch", "--follow", "--json", "--kind", "review", "--node", node.url)
    assert code == 130
    assert [json.loads(line)["leaf"] for line in out.splitlines()] == [7, 8, 9]
    assert asked == [{"kind": "review", "after": after} for after in ("6", "8", "9")]
    assert "waiting for it" in err


def test_watch_follows_a_node_of_this_machine_across_its_restart(pyrsia, tmp_path, monkeypatch):
    """Which has another token then: whoever watches in a unit learns of the next advisory all the same."""
    token, running = tmp_path / client.CONTROL_TOKEN, ["first"]
    no = {"error": {"code": "unauthenticated", "what": "no", "who": "you", "do": "log in"}}

    def gives(headers):
        if headers.get("authorization") != f"Bearer {running[0]}":
            return 401, no
        return 200, json.dumps(row(len(pauses) + 7, REVIEW)).encode() + b"\n"

    pauses = []

    def restarts(seconds):
        pauses.append(seconds)
        if len(pauses) == 2:
            raise KeyboardInterrupt
        running[0] = "second"
        token.write_text("second\n")

    token.write_text("first\n")
    monkeypatch.setattr(watch.time, "sleep", restarts)
    with FakeNode(socket=tmp_path / client.CONTROL_SOCKET) as node:
        node.by_headers = gives
        code, out, _ = pyrsia("facts", "watch", "--follow", "--since", "1", "--json", "--node", tmp_path)
    assert code == 130
    assert [json.loads(line)["leaf"] for line in out.splitlines()] == [7, 8]


@pytest.mark.parametrize(
    ("code", "asks_s", "waits_s"), [("busy", 7, 7), ("unavailable", 0, 2), ("busy", 86_400, 60)]
)
def test_watch_waits_for_a_node_that_has_no_room_now(pyrsia, node, monkeypatch, code, asks_s, waits_s):
    pauses = []

    def pause(seconds):
        pauses.append(seconds)
        if len(pauses) == 2:
            raise KeyboardInterrupt

    error = {"code": code, "what": "full", "who": "x", "do": "y", **({"retry_s": asks_s} if asks_s else {})}
    node.answers["/api/v1/facts/follow"] = (503, {"error": error})
    monkeypatch.setattr(watch.time, "sleep", pause)
    exit_code, _, err = pyrsia("facts", "watch", "--follow", "--since", "1", "--node", node.url)
    assert (exit_code, pauses) == (130, [waits_s, waits_s])
    assert err.count("waiting for it") == 1


@pytest.mark.parametrize("line", [b"{}\n", b"no json\n", b"[" * 99_999 + b"\n", b"x" * ((1 << 20) + 1)])
def test_watch_refuses_what_is_no_fact(pyrsia, node, line):
    node.answers["/api/v1/facts/follow"] = (200, line)
    code, _, _ = pyrsia("facts", "watch", "--follow", "--since", "1", "--node", node.url)
    assert code == 1


# -- add and withdraw --


@pytest.fixture
def desk():
    return Desk()


@pytest.fixture
def saying(desk):
    with FakeNode({"/api/v1/facts/batch": (200, desk.answer), "/api/v1/status": (200, STATUS)}) as node:
        yield node


@pytest.mark.parametrize(
    ("command", "body"),
    [
        (
            ["review", "pkg:pypi/Idna@3.10", "--field", "rating=positive", "--field", "thoroughness=high",
             "--text", "read"],
            {"rating": "positive", "thoroughness": "high", "subject": "pkg:pypi/idna@3.10", "text": "read"},
        ),
        (
            ["advisory", "pkg:pypi/idna", "--field", "advisory=CVE-1", "--field", "severity=high", "--range", "..3.7",
             "--range", "4.0..=4.2", "--range", "5.0..", "--field", "aliases=B,A", "--from", "2024-01-01"],
            {"advisory": "CVE-1", "severity": "high", "aliases": ["A", "B"], "valid_from": 1_704_067_200_000,
             "range": [{"introduced": "0", "fixed": "3.7"}, {"introduced": "4.0", "last": "4.2"},
                       {"introduced": "5.0"}]},
        ),
        (["licence", f"sha256:{'ab' * 32}", "--field", "expression=MIT OR ISC"], {"expression": "MIT OR ISC"}),
        (["licence", "pkg:pypi/idna", "--field", "expression=GPL-2.0-only WITH GCC-exception-2.0 OR LicenseRef-x"],
         {"kind": "licence"}),
        (["advisory", "pkg:docker/x", "--field", "advisory=A", "--field", "severity=low", "--range", "b..a",
          "--range", "b..=b"], {"kind": "advisory"}),
        (["description", "pkg:pypi/idna", "--tag", "net", "--tag", "dns", "--field", "homepage=https://x"],
         {"tags": ["dns", "net"], "homepage": "https://x"}),
        (["commit-signature", "pkg:pypi/idna@1", "--field", f"commit={'a' * 40}", "--field", "good=true",
          "--field", "key=k"],
         {"commit": "a" * 40, "good": True, "key": "k"}),
        (["vex", "pkg:pypi/idna@1", "--field", "advisory=CVE-1", "--field", "outcome=not-affected"],
         {"outcome": "not-affected"}),
    ],
)  # fmt: skip
def test_every_kind_can_be_said(pyrsia, saying, desk, command, body):
    code, out, err = pyrsia("facts", "add", *command, "--node", saying.url)
    assert (code, err) == (0, "")
    assert out.endswith(": added, leaf 0\n")
    (said,) = desk.stands.values()
    assert {name: said[name] for name in body} == body
    _, out, _ = pyrsia("facts", "add", *command, "--node", saying.url, "--json")
    assert json.loads(out)["outcome"] == "same"


def test_json_of_a_description_is_written_without_spaces(pyrsia, saying, desk, tmp_path):
    file = tmp_path / "about.json"
    file.write_text('{ "b": [1, 2],\n "a": "\N{SNOWMAN}" }')
    assert (
        pyrsia("facts", "add", "description", "pkg:pypi/idna", "--json-file", file, "--node", saying.url)[0]
        == 0
    )
    (said,) = desk.stands.values()
    assert said["json"] == r'{"a":"\u2603","b":[1,2]}'


@pytest.mark.parametrize(
    ("command", "why"),
    [
        (["review", "pkg:pypi/idna", "--field", "rating"], "NAME=VALUE"),
        (["review", "pkg:pypi/idna", "--field", "rating=superb"], "rating: one of negative"),
        (["review", "pkg:pypi/idna", "--field", "colour=red"], "not allowed: colour"),
        (["sbom", "pkg:pypi/idna@1", "--field", "components=-1"], "whole number"),
        (["commit-signature", "pkg:pypi/idna", "--field", "good=yes"], "true or false"),
        (["advisory", "pkg:pypi/idna", "--range", "1.0"], "FROM..TO"),
        (["advisory", "pkg:pypi/idna@1", "--field", "advisory=A", "--field", "severity=low", "--range", "1.."],
         "a range speaks"),
        (["licence", "pkg:pypi/idna", "--text", "x" * 2_000], "text"),
        (["licence", "pkg:pypi/idna", "--from", "soon"], "soon is no time"),
        (["licence", "pkg:pypi/idna", "--field", "expression=Bad Expr"], "no SPDX expression"),
        (["licence", "pkg:pypi/idna", "--field", "expression=NOASSERTION"], "--text NAME"),
        (["licence", "pkg:pypi/idna", "--field", "expression=MIT OR Apache"], "Apache is no SPDX id"),
        (["licence", "pkg:pypi/idna", "--field", "expression=("], "no SPDX expression"),
        (["advisory", "pkg:pypi/idna", "--field", "advisory=A", "--field", "severity=low", "--range", "2.0..1.0"],
         "no version lies in 2.0..1.0"),
        (["advisory", "pkg:conan/zlib", "--field", "advisory=A", "--field", "severity=low", "--range", "1.2..1.2"],
         "no version lies in 1.2..1.2"),
        (["rumour", "pkg:pypi/idna"], "rumour"),
    ],
)  # fmt: skip
def test_a_slip_is_told_beside_the_command_and_nothing_is_sent(pyrsia, saying, command, why):
    code, _, err = pyrsia("facts", "add", *command, "--node", saying.url)
    assert (code, saying.seen) == (2, [])
    assert why in " ".join(err.split())


@pytest.mark.parametrize(
    "command",
    ["facts show pkg:pypi/a", "facts history pkg:pypi/a", "facts list", "package show pkg:pypi/a", "log search",
     "inspect-log artifacts"],
)  # fmt: skip
def test_no_question_about_a_moment_to_come_is_asked(pyrsia, asked, command):
    code, _, err = pyrsia(*command.split(), "--as-of", "2999-01-01", "--node", asked.url)
    assert (code, asked.seen) == (2, [])
    assert "2999-01-01 lies ahead: nobody knows that log yet" in " ".join(err.split())


@pytest.mark.parametrize("data", [b"{", b"[" * 60_000, b'"' + b"x" * 2_000 + b'"', b" " * 70_000, b"\xff"])
def test_a_file_that_is_no_json_or_too_long_is_a_slip_too(pyrsia, saying, tmp_path, data):
    file = tmp_path / "about.json"
    file.write_bytes(data)
    code, _, _ = pyrsia(
        "facts", "add", "description", "pkg:pypi/idna", "--json-file", file, "--node", saying.url
    )
    assert (code, saying.seen) == (2, [])


def test_who_is_no_issuer_hears_what_the_node_says(pyrsia, saying, desk):
    desk.issuer = False
    code, _, err = pyrsia(
        "facts", "add", "advisory", "pkg:pypi/idna", "--field", "advisory=A", "--field", "severity=low",
        "--node", saying.url,
    )  # fmt: skip
    assert (code, "this node is no issuer" in err) == (1, True)


def test_a_fact_is_taken_back_by_its_leaf_or_its_id(pyrsia, saying, desk):
    own = row(7, ADVISORY, author=NODE)
    for which in ("7", own["id"]):
        desk.stands = {("advisory", "pkg:pypi/idna", "CVE-1"): {}}
        saying.answers["/api/v1/facts"] = (200, page(row(9, REVIEW), own) if which != "7" else page(own))
        code, out, _ = pyrsia("facts", "withdraw", which, "--node", saying.url)
        assert (code, desk.stands) == (0, {})
        assert "advisory about pkg:pypi/idna: taken back" in out


@pytest.mark.parametrize(("beside", "told"), [(1, "and 1 other that"), (2, "and 2 others that"), (0, "")])
def test_what_goes_beside_it_is_told_when_a_fact_is_taken_back(pyrsia, saying, beside, told):
    saying.answers["/api/v1/facts"] = (200, page(row(7, REVIEW, author=NODE)))
    answer = {"outcomes": [{"outcome": "withdrawn", "leaf": 90}], "beside": beside}
    saying.answers["/api/v1/facts/batch"] = (200, answer)
    _, out, _ = pyrsia("facts", "withdraw", "7", "--node", saying.url)
    assert "review about pkg:pypi/idna@3.10: taken back, leaf 90\n" in out
    assert told in out
    assert ("beside it" in out) == bool(beside)
    _, out, _ = pyrsia("facts", "withdraw", "7", "--json", "--node", saying.url)
    assert json.loads(out)["beside"] == beside


def test_of_what_is_announced_only_the_announcement_is_taken_back(pyrsia, saying, desk):
    before = row(3, {**ADVISORY, "severity": "critical", "modified_ms": 5}, "stands", author=NODE)
    ahead = {**ADVISORY, "severity": "low", "supersedes": before["id"], "valid_from": 2**42}
    pages = {"7": page(row(7, ahead, "to-come", author=NODE, ends=3)), "3": page(before)}
    saying.answers["/api/v1/facts"] = (200, lambda query: pages[query["first"]])
    desk.stands = {("advisory", "pkg:pypi/idna", "CVE-1"): {}}
    code, out, _ = pyrsia("facts", "withdraw", "7", "--node", saying.url)
    assert (code, len(desk.entries)) == (0, 1)
    assert desk.entries[0][1]["severity"] == "critical"
    assert "modified_ms" not in desk.entries[0][1]  # the node would take it for an older record
    assert "the announcement is taken back" in out
    pages["3"] = page({**before, "state": "withdrawn"})
    pyrsia("facts", "withdraw", "7", "--node", saying.url)
    assert desk.entries[1][1] is None


def test_a_document_is_taken_back_by_its_format_and_what_is_gone_is_said_to_be(pyrsia, saying, desk):
    sbom = {
        "kind": "sbom",
        "subject": "pkg:pypi/idna@1",
        "text": "",
        "valid_from": 0,
        "format": "spdx",
        "components": 1,
    }
    saying.answers["/api/v1/facts"] = (200, page(row(7, sbom, author=NODE)))
    _, out, _ = pyrsia("facts", "withdraw", "7", "--node", saying.url)
    assert "is gone already" in out
    (order,) = [json.loads(body) for _, path, _, body in saying.seen if path == "/api/v1/facts/batch"]
    assert order["facts"][0]["fields"] == {"format": "spdx"}


@pytest.mark.parametrize(
    ("found", "why"),
    [
        (page(), "is no fact"),
        (page(row(8, ADVISORY, author=NODE)), "is no fact"),
        (page(row(7, ADVISORY, author="b" * 52, author_name="beta")), "beta (bbbbbbbb) said it"),
        (page(row(7, ADVISORY, "withdrawn", 9, author=NODE)), "withdrawn already"),
        (
            page(row(7, {**ADVISORY, "withdrawn": True}, "withdrawn", ends=3, author=NODE)),
            "takes leaf 3 back itself",
        ),
    ],
)
def test_what_is_not_this_nodes_or_is_gone_cannot_be_taken_back(pyrsia, saying, desk, found, why):
    saying.answers["/api/v1/facts"] = (200, found)
    code, _, err = pyrsia("facts", "withdraw", "7", "--node", saying.url)
    assert (code, desk.orders) == (1, 0)
    assert why in err


@pytest.mark.parametrize(
    ("command", "word"),
    [
        (("sbom", "pkg:pypi/idna@3.10"), "facts import sbom FILE --subject pkg:pypi/idna@3.10"),
        (("sbom", "pkg:pypi/idna@3.10", "--field", "components=3"), "facts import sbom FILE"),
        (("review", "pkg:pypi/idna@3.10"), "this review says nothing"),
        (("licence", "pkg:pypi/idna"), "this licence says nothing"),
        (("description", "pkg:pypi/idna", "--field", "tags="), "this description says nothing"),
        (
            ("advisory", "pkg:npm/foo", "--field", "advisory=X-1", "--field", "severity=high"),
            "unknown ecosystem npm: this network compares none of its versions",
        ),
    ],
)
def test_what_says_nothing_is_told_beside_the_command(pyrsia, saying, command, word):
    code, _, err = pyrsia("facts", "add", *command, "--node", saying.url)

    assert (code, saying.seen) == (2, [])
    assert word in " ".join(err.split())
