"""`pyrsia peers`: what an operator sees of each peer, and of one that misbehaves."""

import json

import pytest

from pyrsia.cli import peers as command
from pyrsia.status import PeerStatus
from tests.reference.fakenode import PEER

BAD = {
    **PEER,
    "node_id": "c" * 52,
    "name": "cinder",
    "role": "validator",
    "roles": ["builder", "validator"],
    "state": "suspect",
    "rtt_ms": 12.34,
    "heard_s": 7.0,
    "received_rate": 2_500_000,
    "sent_rate": 12,
    "version": "0.1.0",
    "log_size": 41_000,
    "load_ms": 250,
    "score": -123.4,
    "ignored": True,
    "reason": "sent a wrong chunk",
    "faults": {"sent a wrong chunk": 2, "membership: cut short": 3},
    "known": ["log", "record", "its dial"],
    "suspected_by": ["d" * 52],
}


@pytest.fixture
def told(node):
    node.answers["/api/v1/peers"] = (200, {"peers": [PEER, BAD]})
    return node


def test_each_peer_has_its_state_rates_version_log_score_and_last_fault(pyrsia, told):
    code, out, _ = pyrsia("peers", "--node", told.url)
    header, bad, good = out.splitlines()
    assert code == 0
    assert header.split("  ")[0] == "id"
    assert "alive" in good
    for text in ("cccccccc", "cinder", "suspect", "12.3 ms", "2.5 MB/s", "12 B/s", "0.1.0", "41,000"):
        assert text in bad
    assert "-123 ignored" in bad
    assert "sent a wrong chunk" in bad


@pytest.mark.parametrize("wanted", ["cinder", "ccc", "c" * 52])
def test_one_peer_is_told_whole_with_its_faults_counted(pyrsia, told, wanted):
    code, out, _ = pyrsia("peers", wanted, "--node", told.url)
    assert code == 0
    for line in (
        "roles:        builder, validator",
        "state:        suspect, heard 7 s ago",
        "suspected by: dddddddd",
        "known by:     log, record, its dial",
        "log:          41,000 entries, by its own word",
        "load:         250 ms late, by its own word",
        "score:        -123.4; what it tells unasked is not read",
        "       3 x  membership: cut short",
        "       2 x  sent a wrong chunk",
    ):
        assert line in out.splitlines()
    assert json.loads(pyrsia("peers", wanted, "--json", "--node", told.url)[1])["faults"] == BAD["faults"]


def test_a_peer_that_is_none_or_several_is_refused_in_words(pyrsia, told):
    code, _, err = pyrsia("peers", "zinnia", "--node", told.url)
    assert (code, "no peer is called 'zinnia'" in err) == (1, True)
    told.answers["/api/v1/peers"] = (200, {"peers": [PEER, {**BAD, "node_id": "b" * 51 + "a"}]})
    code, _, err = pyrsia("peers", "bbb", "--node", told.url)
    assert (code, "2 peers are meant" in err) == (1, True)


def test_a_guest_that_calls_itself_like_a_member_is_not_taken_for_it(pyrsia, told):
    guest = {**PEER, "node_id": "e" * 52, "name": "cinder", "role": "guest", "roles": []}
    told.answers["/api/v1/peers"] = (200, {"peers": [guest, BAD]})
    assert "c" * 52 in pyrsia("peers", "cinder", "--node", told.url)[1]
    rows = pyrsia("peers", "--node", told.url)[1].splitlines()
    assert [("(cinder)" in row) for row in rows if "cinder" in row] == [
        "eeeeeeee" in row for row in rows if "cinder" in row
    ]


def test_a_peer_that_is_gone_says_since_when_and_an_alive_one_without_a_link_says_that(pyrsia, told):
    gone = {**PEER, "state": "dead", "connected": False, "gone_s": 600.0}
    told.answers["/api/v1/peers"] = (200, {"peers": [gone]})
    assert (
        "state:        dead for 10 min, not heard on a link" in pyrsia("peers", "beta", "--node", told.url)[1]
    )
    told.answers["/api/v1/peers"] = (200, {"peers": [{**PEER, "connected": False}]})
    assert "alive, no link" in pyrsia("peers", "--node", told.url)[1]


@pytest.mark.parametrize(
    ("changes", "word", "line"),
    [
        ({"leaving": True}, "leaving", "state:        leaving, not heard on a link of its own"),
        ({"leaving": True, "connected": False}, "leaving, no link", "state:        leaving, no link, not heard on a"),
        ({"leaving": True, "state": "dead"}, "dead", "state:        dead, not heard on a link of its own"),
        ({"leaving": True}, "leaving", "leaving:      it hands over what it keeps, to be stopped then; by its own"),
        ({"state": "left"}, "left", "left:         it said goodbye, as at every stop and restart"),
    ],
)  # fmt: skip
def test_who_hands_over_what_it_keeps_is_leaving_and_who_said_goodbye_has_left(
    pyrsia, told, changes, word, line
):
    told.answers["/api/v1/peers"] = (200, {"peers": [{**PEER, **changes}, PEER | {"name": "alpha"}]})
    first, second = pyrsia("peers", "--node", told.url)[1].splitlines()[1:]
    row = second if word == "left" else first  # who will be gone stands above who stays
    assert ["beta", word] == [cell.strip() for cell in row.split("  ") if cell.strip()][1:4:2]
    assert line in pyrsia("peers", "beta", "--node", told.url)[1]
    raw = json.loads(pyrsia("peers", "beta", "--json", "--node", told.url)[1])
    assert (raw["state"], raw["leaving"]) == (changes.get("state", "alive"), changes.get("leaving", False))


def test_who_was_refused_stands_above_with_until_when_and_can_be_asked_for(pyrsia, told):
    refused = {
        **PEER, "node_id": "f" * 52, "name": "", "role": "guest", "state": "unknown", "connected": False,
        "score": -320.0, "ignored": True, "reason": "membership: no message", "refused_until_ms": 1_700_000_000_000,
    }  # fmt: skip
    told.answers["/api/v1/peers"] = (200, {"peers": [PEER, refused]})
    _, first, _ = pyrsia("peers", "--node", told.url)[1].splitlines()
    assert first.startswith("ffffffff")
    assert "refused until 22:13:20 UTC" in first
    one = pyrsia("peers", "ffff", "--node", told.url)[1]
    assert "state:        refused until 22:13:20 UTC" in one
    assert "last fault:   membership: no message" in one
    assert json.loads(pyrsia("peers", "ffff", "--json", "--node", told.url)[1])["refused_until_ms"] > 0


@pytest.mark.parametrize("width", [40, 60, 80, 100, 200])
def test_a_narrow_terminal_has_fewer_columns_and_never_a_broken_line(width):
    lines = command._table([_whole(PEER), _whole(BAD)], width)
    assert max(map(len, lines)) <= max(width, 45)
    assert lines[0].startswith("id ")
    assert all(name in lines[0] for name in ("name", "state", "score"))
    assert ("address" in lines[0]) is (width == 200)


def _whole(peer):
    shown = PeerStatus(**peer)
    return {field: getattr(shown, field) for field in shown.__struct_fields__}


@pytest.mark.parametrize("unknown", [None, -1])
def test_what_is_not_known_of_a_peer_is_null_for_scripts_and_a_word_for_people(pyrsia, told, unknown):
    blank = {**PEER, "rtt_ms": unknown, "gone_s": unknown, "heard_s": unknown, "load_ms": unknown}
    told.answers["/api/v1/peers"] = (200, {"peers": [blank]})
    code, out, _ = pyrsia("peers", PEER["node_id"][:10], "--node", told.url)
    rows = pyrsia("peers", "--node", told.url)[1]
    raw = json.loads(pyrsia("peers", "--json", "--node", told.url)[1])
    assert code == 0
    assert "round trip:   unknown" in out
    assert "load:         unknown" in out
    assert "not heard on a link of its own" in out
    assert " - " in rows
    assert {raw["peers"][0][key] for key in ("rtt_ms", "gone_s", "heard_s", "load_ms")} == {unknown}
