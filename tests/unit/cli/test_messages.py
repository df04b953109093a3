"""`broadcast`, `listen`, `send`, `inbox`: what is asked of the node, what people read, what is refused before that."""

import io
import json
import sys
from types import SimpleNamespace

import pytest

from tests.reference.fakenode import ANSWERS, FakeNode

WHO, STRANGER = "b" * 52, "c" * 52
EVIL = "\x1b[31mred\u202e\nsecond \x07line"
HEARD = {
    "number": 4, "topic": "news/", "origin": WHO, "name": "birch", "text": "hello", "heard_ms": 1_760_000_000_000,
    "expires_ms": 1_760_000_600_000,
}  # fmt: skip
LETTER = {
    "number": 7, "origin": WHO, "name": "birch", "text": "for you", "sealed": True, "via": "cedar",
    "received_ms": 1_760_000_000_000,
}  # fmt: skip
SENT = {
    "number": 3, "to": WHO, "name": "birch", "text": "for them", "sealed": False, "state": "delivered", "why": "",
    "via": "", "tries": 1, "sent_ms": 1_760_000_000_000, "expires_ms": 1_760_003_600_000,
    "delivered_ms": 1_760_000_001_000,
}  # fmt: skip


def inbox(*letters):
    return {
        "messages": letters,
        "next": letters[-1]["number"] if letters else 0,
        "count": len(letters),
        "bytes": 7,
    }


@pytest.fixture
def node():
    told = {
        "/api/v1/broadcasts": (200, {**HEARD, "linked": 3, "messages": [HEARD], "next": 4, "lost": 0}),
        "/api/v1/messages": (200, {**SENT, **inbox(LETTER)}),
        "/api/v1/messages/sent": (200, {"messages": [SENT]}),
        "/api/v1/messages/7/delete": (200, {"number": 7}),
        "/api/v1/messages/sent/3/delete": (200, {"number": 3}),
    }
    with FakeNode({**ANSWERS, **told}) as made:
        yield made


def asked(node):
    return json.loads(node.seen[0][3])


def test_a_broadcast_says_under_which_topic_and_until_when(pyrsia, node):
    code, out, err = pyrsia("broadcast", "news", "hello", "--node", node.url)
    assert (code, err) == (0, "")
    assert asked(node) == {"topic": "news/", "text": "hello"}
    assert out == "said under news/; linked nodes: 3; kept until 2025-10-09 09:03:20\n"


def test_a_broadcast_of_a_node_without_any_link_says_that_nobody_hears_it(pyrsia, node):
    node.answers["/api/v1/broadcasts"] = (200, {**HEARD, "linked": 0})
    code, out, err = pyrsia("broadcast", "news/", "hello", "--node", node.url)
    assert code == 0  # it is kept, and who links within ten minutes asks for it
    assert "linked nodes: 0" in out
    assert "no link to any other" in err
    code, out, err = pyrsia("broadcast", "news/", "hello", "--node", node.url, "--json")
    assert json.loads(out)["linked"] == 0
    assert "no link to any other" in err


def test_text_travels_in_utf_8_and_not_in_escapes(pyrsia, node):
    text = "\u20ac" * 10_922
    assert pyrsia("send", "--to", "birch", text, "--node", node.url)[0] == 0
    assert len(node.seen[0][3]) < 33_000
    assert asked(node)["text"] == text


def test_what_is_not_on_the_line_comes_from_standard_input(pyrsia, node, monkeypatch):
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(b"from a pipe\n")))
    assert pyrsia("broadcast", "news/", "--node", node.url)[0] == 0
    assert asked(node)["text"] == "from a pipe"


SAYS = (("broadcast", "news/"), ("send", "--to", "birch"))


@pytest.mark.parametrize("command", SAYS)
@pytest.mark.parametrize("given", [b"\xff\xfe", b"half \xe2\x82", "a\udcff"])
def test_what_is_no_utf_8_is_refused_and_never_changed(pyrsia, node, monkeypatch, command, given):
    args = () if isinstance(given, bytes) else (given,)
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(given if not args else b"")))
    code, out, err = pyrsia(*command, *args, "--node", node.url)
    assert (code, out, node.seen) == (2, "", [])
    assert "not UTF-8 from byte" in err


@pytest.mark.parametrize("given", ["argument", "pipe"])
@pytest.mark.parametrize("letter", ["a", "\u20ac"], ids=["one", "three"])
@pytest.mark.parametrize(("command", "most"), [(SAYS[0], 4_096), (SAYS[1], 32_768)])
def test_length_is_counted_in_bytes_before_the_node_is_asked_with_one_refusal_and_one_code(
    pyrsia, node, monkeypatch, command, most, letter, given
):
    size = len(letter.encode())
    for count, code in ((most // size, 0), (most // size + 1, 2)):
        node.seen.clear()
        text = letter * count
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(text.encode() + b"\n")))
        args = (text,) if given == "argument" else ()
        got, _, err = pyrsia(*command, *args, "--node", node.url)
        assert (got, len(node.seen)) == (code, 1 - code // 2)
        if code:
            assert f"has at most {most:,} bytes, and this one {count * size:,}" in err


@pytest.mark.parametrize("command", [("broadcast", "{}", "x"), ("listen", "{}")])
@pytest.mark.parametrize("topic", ["bad//topic", "Big", "a" * 200, "two words", "", "/", "\udcff/"])
def test_what_is_no_topic_is_refused_before_the_node_is_asked(pyrsia, node, command, topic):
    if command[0] == "listen" and not topic:
        return  # all topics
    code, _, err = pyrsia(*(one.format(topic) for one in command), "--node", node.url)
    assert (code, node.seen) == (2, [])
    assert "is no topic" in err


@pytest.mark.parametrize("given", [b"", b"\n\n", b"x" * 70_000])
def test_nothing_and_too_much_on_standard_input_are_refused_before_the_node_is_asked(
    pyrsia, node, monkeypatch, given
):
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(given)))
    code, _, err = pyrsia("send", "--to", "birch", "--node", node.url)
    assert code == 2
    assert "standard input" in err
    assert node.seen == []


def test_listening_shows_when_where_and_who(pyrsia, node):
    code, out, _ = pyrsia("listen", "--node", node.url)
    assert (code, out) == (0, "2025-10-09 08:53:20 news/ birch (bbbbbbbb): hello\n")
    assert node.seen[0][1] == "/api/v1/broadcasts"
    pyrsia("listen", "news", "--node", node.url)
    assert node.seen[1][1] == "/api/v1/broadcasts?topic=news%2F"


def test_what_strangers_wrote_is_shown_line_by_line_and_moves_nothing(pyrsia, node):
    evil = {**HEARD, "text": EVIL, "name": "", "origin": STRANGER, "topic": "\x1b]0;x/"}
    node.answers["/api/v1/broadcasts"] = (200, {"messages": [evil], "next": 4, "lost": 0})
    node.answers["/api/v1/messages"] = (200, inbox({**LETTER, "text": EVIL, "via": EVIL, "name": EVIL}))
    node.answers["/api/v1/messages/sent"] = (
        200,
        {"messages": [{**SENT, "why": EVIL, "state": EVIL, "text": EVIL}]},
    )
    for command in (("listen",), ("inbox",), ("inbox", "--sent")):
        code, out, _ = pyrsia(*command, "--node", node.url)
        assert code == 0
        assert "\x1b" not in out
        assert "\u202e" not in out
        assert "\x07" not in out
        assert "\\x1b[31mred" in out
    code, out, _ = pyrsia("listen", "--node", node.url)
    assert out.splitlines()[0].endswith("no member (cccccccccccc):")
    assert out.splitlines()[1:] == ["    \\x1b[31mred\\u202e", "    second \\x07line"]


def test_nothing_is_said_in_words(pyrsia, node):
    node.answers["/api/v1/broadcasts"] = (200, {"messages": [], "next": 0, "lost": 0})
    node.answers["/api/v1/messages"] = (200, inbox())
    node.answers["/api/v1/messages/sent"] = (200, {"messages": []})
    assert pyrsia("listen", "--node", node.url)[1] == "nothing was said in the last ten minutes\n"
    told = pyrsia("listen", "new", "--node", node.url)[1]
    assert told == "nothing was said under new/ in the last ten minutes\n"
    assert pyrsia("inbox", "--node", node.url)[1] == "the inbox is empty\n"
    assert pyrsia("inbox", "--sent", "--node", node.url)[1] == "this node has written to nobody\n"


def pages(*told):
    """Each answer once, then one that no node gives: the command ends with it."""
    left = list(told)
    return lambda query: left.pop(0) if left else {"end": query}


@pytest.mark.parametrize("as_json", [False, True])
def test_following_goes_on_behind_what_was_shown_and_says_what_was_missed(pyrsia, node, as_json):
    more = {**HEARD, "number": 9, "text": "later"}
    node.answers["/api/v1/broadcasts"] = (
        200,
        pages({"messages": [HEARD], "next": 4, "lost": 0}, {"messages": [more], "next": 9, "lost": 3}),
    )
    code, out, err = pyrsia(
        "listen", "news/", "--follow", "--node", node.url, *(["--json"] if as_json else [])
    )
    lines = out.splitlines()
    assert code == 1
    assert [query for _, query, _, _ in node.seen] == [
        f"/api/v1/broadcasts?topic=news%2F&after={after}&wait_s=20" for after in (0, 4, 9)
    ]
    assert "3 messages came and went" in err
    if as_json:
        assert [json.loads(line).get("number") for line in lines[:2]] == [4, 9]
    else:
        assert [line.rpartition(" ")[2] for line in lines] == ["hello", "later"]


def test_an_inbox_is_followed_and_a_node_that_restarts_waited_for(pyrsia, node, monkeypatch):
    waited = []
    monkeypatch.setattr("pyrsia.cli.messages.time.sleep", waited.append)
    node.answers["/api/v1/messages"] = (200, pages(inbox(LETTER), inbox({**LETTER, "number": 8})))
    get = __import__("pyrsia.client", fromlist=["Client"]).Client.get
    calls = []

    def away_once(self, path, **query):
        calls.append(query)
        if len(calls) == 2:
            raise __import__("pyrsia.errors", fromlist=["Refusal"]).Refusal(
                "not-running", what="it is away", who="the node", do="start it"
            )
        return get(self, path, **query)

    monkeypatch.setattr("pyrsia.client.Client.get", away_once)
    code, out, err = pyrsia("inbox", "--follow", "--node", node.url)
    assert code == 1
    assert [query["after"] for query in calls] == [0, 7, 7, 8]
    assert "waiting for it" in err
    assert waited == [2.0]
    assert [line.split()[0] for line in out.splitlines()] == ["7", "8"]


def test_who_has_heard_nothing_yet_waits_for_a_node_that_restarts_too(pyrsia, node, monkeypatch):
    get = __import__("pyrsia.client", fromlist=["Client"]).Client.get
    empty = {"messages": [], "next": 0, "lost": 0}
    node.answers["/api/v1/broadcasts"] = (200, pages(empty, {**empty, "messages": [HEARD], "next": 4}))
    calls = []

    def away_once(self, path, **query):
        calls.append(query["after"])
        if len(calls) == 2:
            raise __import__("pyrsia.errors", fromlist=["Refusal"]).Refusal(
                "not-running", what="it is away", who="the node", do="start it"
            )
        return get(self, path, **query)

    monkeypatch.setattr("pyrsia.cli.messages.time.sleep", lambda _: None)
    monkeypatch.setattr("pyrsia.client.Client.get", away_once)
    _, out, err = pyrsia("listen", "--follow", "--node", node.url)
    assert calls[:3] == [0, 0, 0]
    assert "waiting for it" in err
    assert "hello" in out


def test_a_message_says_what_became_of_it(pyrsia, node):
    node.answers["/api/v1/messages"] = (200, SENT)
    code, out, _ = pyrsia(
        "send", "--to", "birch", "hi", "--seal", "--keep", "--expires", "2d", "--node", node.url
    )
    assert code == 0
    assert asked(node) == {"to": "birch", "text": "hi", "seal": True, "keep": True, "expires_s": 172_800}
    assert out == "to birch (bbbbbbbb): delivered 2025-10-09 08:53:21\n"


def test_what_waits_and_who_carried_it_is_said(pyrsia, node):
    waits = {**SENT, "state": "waiting", "why": "birch cannot be reached", "delivered_ms": 0}
    node.answers["/api/v1/messages"] = (200, waits)
    out = pyrsia("send", "--to", "birch", "hi", "--keep", "--node", node.url)[1]
    assert out.splitlines() == [
        "to birch (bbbbbbbb): waiting until 2025-10-09 09:53:20: birch cannot be reached",
        "the node tries again; see `pyrsia inbox --sent`",
    ]
    node.answers["/api/v1/messages"] = (200, {**SENT, "via": "cedar"})
    out = pyrsia("send", "--to", "birch", "hi", "--node", node.url)[1]
    assert out.splitlines() == [
        "to birch (bbbbbbbb): delivered 2025-10-09 08:53:21, carried by cedar",
        "cedar carried it and could read it: --seal keeps it from carriers",
    ]


def test_what_was_not_delivered_fails_with_the_reason_and_what_to_do(pyrsia, node):
    refusal = {"code": "unavailable", "what": "birch cannot be reached", "who": "birch", "do": "--keep"}
    node.answers["/api/v1/messages"] = (503, {"error": refusal})
    code, out, err = pyrsia("send", "--to", "birch", "hi", "--node", node.url)
    assert (code, out) == (1, "")
    assert err.splitlines() == ["pyrsia: birch cannot be reached", "  who: birch", "  do:  --keep"]


@pytest.mark.parametrize("span", ["", "x", "1", "0d", "-1h", "8d", "99999h"])
def test_a_span_that_is_none_is_refused(pyrsia, node, span):
    assert pyrsia("send", "--to", "birch", "hi", "--expires", span, "--node", node.url)[0] == 2
    assert node.seen == []


def test_the_inbox_says_who_wrote_how_it_came_and_is_read_to_its_end(pyrsia, node):
    first, second = (
        {**LETTER},
        {**LETTER, "number": 8, "sealed": False, "via": "", "name": "", "origin": STRANGER},
    )
    node.answers["/api/v1/messages"] = (
        200,
        lambda query: inbox(first) | {"count": 2} if query.get("after", "0") == "0" else inbox(second),
    )
    code, out, _ = pyrsia("inbox", "--node", node.url)
    assert code == 0
    assert out.splitlines() == [
        "7  2025-10-09 08:53:20 birch (bbbbbbbb), sealed, carried by cedar: for you",
        "8  2025-10-09 08:53:20 no member (cccccccccccc): for you",
    ]
    whole = json.loads(pyrsia("inbox", "--json", "--node", node.url)[1])
    assert [one["number"] for one in whole["messages"]] == [7, 8]
    assert whole["next"] == 8


def test_what_was_sent_is_listed_with_its_state(pyrsia, node):
    code, out, _ = pyrsia("inbox", "--sent", "--node", node.url)
    assert code == 0
    assert out.splitlines() == [
        "3  2025-10-09 08:53:20 to birch (bbbbbbbb): delivered 2025-10-09 08:53:21",
        "    for them",
    ]


def test_deleting_asks_for_that_one(pyrsia, node):
    assert pyrsia("inbox", "--delete", "7", "--node", node.url)[1] == "message 7 is deleted\n"
    assert pyrsia("inbox", "--sent", "--delete", "3", "--node", node.url)[0] == 0
    assert [path for _, path, _, _ in node.seen] == [
        "/api/v1/messages/7/delete",
        "/api/v1/messages/sent/3/delete",
    ]


@pytest.mark.parametrize("more", [("--sent",), ("--delete", "3")])
def test_following_goes_with_nothing_else(pyrsia, node, more):
    assert pyrsia("inbox", "--follow", *more, "--node", node.url)[0] == 2
    assert node.seen == []


@pytest.mark.parametrize(
    "command", [("listen",), ("inbox",), ("inbox", "--sent"), ("send", "--to", "b", "x")]
)
def test_an_answer_of_something_else_is_a_refusal_and_no_traceback(pyrsia, node, command):
    for path in ("/api/v1/broadcasts", "/api/v1/messages", "/api/v1/messages/sent"):
        node.answers[path] = (200, {"messages": [{"number": "x"}]})
    code, _, err = pyrsia(*command, "--node", node.url)
    assert code == 1
    assert "is it a Pyrsia node" in err
