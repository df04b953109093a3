"""`node drain`: it waits until it is safe, and says who is in the way."""

import json

import pytest

from pyrsia.cli import node as command
from tests.reference.fakenode import ANSWERS, FakeNode

WORKING = {
    "phase": "working", "files": 30, "bytes": 3_000, "placed": 2, "placed_bytes": 200, "wanted": 3, "possible": 3,
    "rounds": 1, "unplaced": [{"sha256": "ab" * 32, "size": 100, "copies": 2, "why": "bcdefghi does not answer"}],
}  # fmt: skip
SAFE = {**WORKING, "phase": "safe", "placed": 30, "placed_bytes": 3_000, "unplaced": []}
SHORT = {**SAFE, "phase": "short", "possible": 2}
OFF = {**SAFE, "phase": "off", "files": 0, "placed": 0}


@pytest.fixture
def asked(monkeypatch):
    monkeypatch.setattr(command, "POLL_S", 0.0)

    def asked(*answers):
        """The first to the order, the others to what is asked then; the last one goes on."""
        left = list(answers)
        return FakeNode(
            {**ANSWERS, "/api/v1/drain": (200, lambda _: left.pop(0) if len(left) > 1 else left[0])}
        )

    return asked


def test_it_waits_until_it_is_safe(pyrsia, asked):
    with asked(WORKING, SAFE) as node:
        code, out, err = pyrsia("node", "drain", "--node", node.url)
    assert code == 0
    assert out == "30 of 30 files have 3 copies elsewhere: safe to stop\n"
    assert err.splitlines() == [  # and who is in the way, while it waits
        "2 of 30 files have 3 copies elsewhere: do not stop it yet",
        "  abababababababab  2 copies elsewhere: bcdefghi does not answer",
        "  and 27 more",
    ]
    assert node.seen[0][:2] == ("POST", "/api/v1/drain")
    assert json.loads(node.seen[0][3]) == {"leave": True}
    assert node.seen[1][:2] == ("GET", "/api/v1/drain")


def test_without_waiting_it_tells_who_is_in_the_way(pyrsia, asked):
    with asked(WORKING, SAFE) as node:
        code, out, _ = pyrsia("node", "drain", "--no-wait", "--node", node.url)
    assert code == 0
    assert out.splitlines() == [
        "2 of 30 files have 3 copies elsewhere: do not stop it yet",
        "  abababababababab  2 copies elsewhere: bcdefghi does not answer",
        "  and 27 more",
    ]
    assert len(node.seen) == 1


def test_too_few_others_are_a_refusal_and_exit_code_1(pyrsia, asked):
    with asked(SHORT, SHORT) as node:
        code, out, err = pyrsia("node", "drain", "--node", node.url)
        assert code == 1
        assert "there are no more members to keep them" in out
        assert "only 2 other storage members exist, and 3 copies are wanted" in err
        code, out, err = pyrsia("node", "drain", "--json", "--node", node.url)
    assert (code, err) == (1, "")
    assert json.loads(out)["phase"] == "short"


def test_undo_does_not_wait(pyrsia, asked):
    for before, said in (
        (WORKING, "the order is taken back: this node stays, and keeps again what it kept\n"),
        (OFF, "this node was not being drained: nothing has changed\n"),
    ):
        with asked(before, OFF) as node:
            code, out, _ = pyrsia("node", "drain", "--undo", "--node", node.url)
        assert (code, out) == (0, said)
        assert [one[0] for one in node.seen] == ["GET", "POST"]
        assert json.loads(node.seen[1][3]) == {"leave": False}


def test_an_order_that_somebody_took_back_is_told(pyrsia, asked):
    with asked(WORKING, OFF) as node:
        code, _, err = pyrsia("node", "drain", "--node", node.url)
    assert code == 1
    assert "took the order back" in err
