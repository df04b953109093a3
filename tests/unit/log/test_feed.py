"""Asking a witness: from which size, how often, and which answers are believed."""

import pytest

from pyrsia import keys
from pyrsia.errors import Malformed
from pyrsia.log import note
from pyrsia.log.checkpoint import Checkpoint
from pyrsia.log.feed import (
    FEED_AGAIN_S,
    FEED_EVERY_S,
    FEED_RETRY_MOST_S,
    FEED_RETRY_S,
    FEED_TURNS,
    Asked,
    Feed,
    parse_asked,
)
from pyrsia.log.note import COSIGNATURE, VerifierKey
from pyrsia.units import MAX_WITNESSES
from tests.reference.toylog import ToyLog

OWN = keys.KeyPair(b"w" * 32)
KEY = VerifierKey("witness.example/1", COSIGNATURE, OWN.public)
LOG = ToyLog()
SIZE_KIND = "text/x.tlog.size"


def head(size: int) -> Checkpoint:
    return Checkpoint.parse(LOG.note(size).text)


def line(size: int, time_s: int = 100) -> bytes:
    return note.cosign_line(head(size).text(), KEY.name, OWN.sign, OWN.public, time_s).encode()


def feed() -> Feed:
    return Feed(KEY, keys.verify)


def test_the_first_question_starts_from_nothing_and_the_next_from_what_was_signed() -> None:
    one = feed()
    assert one.ask(0.0, head(5)) == 0
    given = one.on_answer(0.0, head(5), 200, "text/plain", line(5))
    assert given is not None
    assert (given.text, given.time_s, one.size) == (head(5).text(), 100, 5)
    assert one.ask(FEED_EVERY_S.value - 0.1, head(6)) is None
    assert one.ask(FEED_EVERY_S.value, head(6)) == 5


def test_a_log_at_rest_is_cosigned_anew_now_and_then() -> None:
    one = feed()
    one.on_answer(0.0, head(5), 200, "", line(5))
    assert one.ask(FEED_AGAIN_S.value - 1, head(5)) is None
    assert one.ask(FEED_AGAIN_S.value, head(5)) == 5


def test_a_size_in_a_409_is_where_the_next_question_starts_at_once() -> None:
    one = feed()
    assert one.on_answer(0.0, head(9), 409, f"{SIZE_KIND}; charset=utf-8", b"7\n") is None
    assert (one.ask(0.0, head(9)), one.trouble) == (7, "")
    # Ahead of us: another node fed it; we wait until our own log is as long.
    one.on_answer(0.0, head(9), 409, SIZE_KIND, b"12\n")
    assert one.ask(1000.0, head(11)) is None
    assert one.ask(1000.0, head(12)) == 12


def test_a_witness_that_names_size_after_size_is_given_a_rest() -> None:
    one = feed()
    for size in range(1, FEED_TURNS.value + 1):
        one.on_answer(0.0, head(9), 409, SIZE_KIND, b"%d\n" % size)
        assert one.ask(0.0, head(9)) == size
    one.on_answer(0.0, head(9), 409, SIZE_KIND, b"8\n")
    assert one.ask(0.0, head(9)) is None
    same = feed()
    same.on_answer(0.0, head(9), 409, SIZE_KIND, b"0\n")  # the very size that we asked from
    assert same.ask(0.0, head(9)) is None


@pytest.mark.parametrize(
    ("status", "kind", "body", "word"),
    [
        (200, "", b"", "no line of its key"),
        (200, "", line(6), "does not hold"),
        (200, "", line(5)[:-4], "none"),
        (200, "", b"\xff" * 100, "none"),
        (200, "", b"<html>", "none"),
        (200, "", note.sign_line(head(5).text(), KEY.name, OWN.sign, OWN.public).encode(), "no line"),
        (409, "text/plain", b"7\n", "answered 409"),
        (409, SIZE_KIND, b"07\n", "none"),
        (409, SIZE_KIND, b"+7\n", "none"),
        (409, SIZE_KIND, b"7\n\n", "none"),
        (409, SIZE_KIND, b"\xff\n", "none"),
        (409, SIZE_KIND, b"9223372036854775808\n", "none"),
        (409, SIZE_KIND, b"", "none"),
        (404, "", b"", "does not watch"),
        (403, "", b"", "does not know a key"),
        (400, "", b"", "takes our request for no request"),
        (422, "", b"", "does not continue"),
        (301, "", b"", "answered 301"),
        (503, "", b"", "answered 503"),
    ],
)
def test_any_other_answer_gives_nothing_and_is_told(status: int, kind: str, body: bytes, word: str) -> None:
    one = feed()
    assert one.on_answer(0.0, head(5), status, kind, body) is None
    assert word in one.trouble
    assert one.given is None
    assert one.refused == (status in (400, 403, 404, 422))
    assert one.inconsistent == (status == 422)
    assert one.ask(FEED_RETRY_S.value - 0.1, head(5)) is None
    assert one.ask(FEED_RETRY_S.value, head(5)) == 0


def test_lines_of_other_keys_are_passed_over() -> None:
    stranger = keys.KeyPair(b"s" * 32)
    other = note.cosign_line(head(5).text(), "other.example", stranger.sign, stranger.public, 1).encode()
    assert feed().on_answer(0.0, head(5), 200, "", other + line(5) + other) is not None
    assert feed().on_answer(0.0, head(5), 200, "", other * 100 + line(5)) is None


def test_each_failure_waits_twice_as_long_up_to_a_bound_and_success_forgets_them() -> None:
    one, now_s, waits = feed(), 0.0, []
    for _ in range(20):
        one.on_failure(now_s, "does not answer")
        began_s = now_s
        while one.ask(now_s, head(5)) is None:
            now_s += 1
        waits.append(now_s - began_s)
    assert waits[:4] == [5, 10, 20, 40]
    assert max(waits) == waits[-1] == FEED_RETRY_MOST_S.value
    one.on_answer(now_s, head(5), 200, "", line(5))
    assert one.trouble == ""
    one.on_failure(now_s, "does not answer")
    assert one.ask(now_s + FEED_RETRY_S.value, head(6)) == 5


# -- the configuration --


@pytest.mark.parametrize(
    "text",
    [
        "",
        "https://w.example",
        str(KEY),
        f"{KEY} ftp://w.example",
        f"{KEY} https://",
        f"{KEY} https://w.example:99999",
        f"{KEY} https://w.example/a b",
        f"{KEY} https://w.example/\u00e4",
        f"{VerifierKey('log.example', note.ED25519, OWN.public)} https://w.example",
    ],
)
def test_what_is_no_witness_to_ask_is_refused(text: str) -> None:
    with pytest.raises(Malformed):
        parse_asked([text])


def test_witnesses_to_ask_are_read_and_bounded() -> None:
    assert parse_asked([f"{KEY}  https://w.example/x/ "]) == (Asked(KEY, "https://w.example/x"),)
    assert Asked.parse(str(Asked(KEY, "https://w.example/x"))) == Asked(KEY, "https://w.example/x")
    with pytest.raises(Malformed, match="twice"):
        parse_asked([f"{KEY} https://a.example", f"{KEY} https://b.example"])
    many = [
        f"{VerifierKey('w', COSIGNATURE, keys.KeyPair(bytes([i]) * 32).public)} https://w.example"
        for i in range(MAX_WITNESSES.value + 1)
    ]
    with pytest.raises(Malformed, match="more than"):
        parse_asked(many)
