"""What a guest may say: it reads and follows, and orders nothing."""

from types import SimpleNamespace

import pytest

from pyrsia.errors import Refusal
from pyrsia.node.kinds import Kind
from pyrsia.node.members.guests import FRESH_MS, Guests
from pyrsia.units import NodeId

MEMBER, GUEST = NodeId(b"m" * 32), NodeId(b"g" * 32)


def door(age_ms=0):
    """The door, and what it blamed."""
    blamed = []
    return Guests(lambda node: node == MEMBER, lambda: age_ms, lambda *fault: blamed.append(fault)), blamed


@pytest.mark.parametrize(
    ("kind", "payload"), [(Kind.SHARE, b"entries"), (Kind.COSIGN, b"\0lines"), (Kind.COSIGN, b"")]
)
def test_what_only_members_say_does_nothing_from_a_guest_and_is_its_fault(kind, payload):
    guests, blamed = door()
    assert not guests.may_say(GUEST, kind, payload)
    assert blamed == [(GUEST, "guest: it says what only validators say")]
    assert guests.may_say(MEMBER, kind, payload)
    assert len(blamed) == 1


@pytest.mark.parametrize(
    ("kind", "payload"),
    [(Kind.CONSENSUS, b"ask for blocks"), (Kind.COSIGN, b"\1a whole note"), (Kind.SWIM, b"x")],
)
def test_a_guest_follows_and_passes_on_what_proves_itself(kind, payload):
    guests, blamed = door()
    assert guests.may_say(GUEST, kind, payload)
    assert blamed == []


def test_a_guests_entries_are_refused_in_words():
    guests, blamed = door()
    guests.may_submit(MEMBER)
    with pytest.raises(Refusal, match="members only") as refused:
        guests.may_submit(GUEST)
    assert (refused.value.code, refused.value.who) == ("forbidden", "the node that sent it")
    assert blamed == []  # an operator's mistake is no attack


def test_a_node_whose_log_is_behind_blames_nobody_whom_it_does_not_know_yet():
    guests, blamed = door(age_ms=FRESH_MS.value + 1)
    assert not guests.may_say(GUEST, Kind.SHARE, b"")
    assert blamed == []


class RestingLog:
    """A log to which no entry ever came, so that its state has no time; empty blocks followed."""

    def __init__(self, head_ms: int) -> None:
        self.head = SimpleNamespace(time_ms=head_ms)

    def state(self, key: bytes) -> bytes | None:
        return None


def test_a_network_at_rest_pardons_nothing():
    blamed = []
    log = RestingLog(head_ms=900_000)
    guests = Guests.of(log, lambda *fault: blamed.append(fault), clock=lambda: 905.0)
    assert not guests.may_say(GUEST, Kind.SHARE, b"garbage")
    assert [node for node, _ in blamed] == [GUEST]
    log.head.time_ms = 905_000 - FRESH_MS.value - 1  # this node is behind
    assert not guests.may_say(GUEST, Kind.SHARE, b"garbage")
    log.head = None  # it has not even begun
    assert not guests.may_say(GUEST, Kind.SHARE, b"garbage")
    assert len(blamed) == 1
