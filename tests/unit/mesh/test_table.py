"""The table of records: what counts, who fills it, who has places of their own."""

import importlib.util
import random
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyrsia.errors import Malformed
from pyrsia.mesh import table as tables
from pyrsia.mesh.table import Taken
from pyrsia.units import FUTURE_MS, Limit, NodeId

sys.path.insert(0, str(Path(__file__).parent))
from township import DAY_MS, NOW_MS, ident, raw_of, table_of

assert importlib.util.find_spec("township")

EVE, ANN = ident(0, crowd=9), ident(1, crowd=9)


@pytest.fixture
def small(monkeypatch):
    """A table of 16 strangers, of whom a source may bring four."""
    monkeypatch.setattr(tables, "MAX_STRANGERS", Limit(16, "small enough to fill"))
    monkeypatch.setattr(tables, "MAX_OF_SOURCE", Limit(4, "a quarter"))


def flipped(raw, at=-1):
    other = bytearray(raw)
    other[at] ^= 1
    return bytes(other)


def test_a_newer_record_takes_the_place_of_an_older_one_and_nothing_else_does():
    table, node = table_of(), ident(1)
    assert table.take(NOW_MS, raw_of(node, seq=5, name="five"), EVE) is Taken.NEW
    assert table.take(NOW_MS, raw_of(node, seq=6, name="six"), EVE) is Taken.NEWER
    for seq in (6, 5, 1):
        assert table.take(NOW_MS, raw_of(node, seq=seq, name="late"), EVE) is Taken.OLD
    assert (len(table), table.record(node).name) == (1, "six")


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (flipped(raw_of(ident(1), seq=9)), "unsigned"),
        (raw_of(ident(1), seq=9, net=b"m" * 32), "wrong-net"),
        (raw_of(ident(1), seq=9)[:-1], "cut short|past the end|unsigned"),
        (raw_of(NodeId(bytes(32)), seq=9), "not a public key"),
        (bytes(1_025), "too long"),
        (b"", "cut short"),
    ],
    ids=["unsigned", "other network", "truncated", "no key", "oversize", "empty"],
)
def test_what_no_honest_node_sends_is_malformed_and_changes_nothing(raw, why):
    table = table_of()
    table.take(NOW_MS, raw_of(ident(1)), EVE)
    with pytest.raises(Malformed, match=why):
        table.take(NOW_MS, raw, EVE)
    assert [one.seq for one in table.records()] == [1]


def test_expired_and_future_records_and_our_own_change_nothing():
    table = table_of(me=ident(7))
    late = NOW_MS + FUTURE_MS.value
    assert table.take(NOW_MS, raw_of(ident(1), at_ms=NOW_MS - DAY_MS), EVE) is Taken.EXPIRED
    assert table.take(NOW_MS, raw_of(ident(1), at_ms=late + 1), EVE) is Taken.FUTURE
    assert table.take(NOW_MS, raw_of(ident(7)), EVE) is Taken.OWN
    assert len(table) == 0
    assert table.take(NOW_MS, raw_of(ident(1), at_ms=late), EVE) is Taken.NEW


def test_a_record_is_forgotten_when_it_expires():
    table = table_of()
    table.take(NOW_MS, raw_of(ident(1)), EVE)
    assert table.settle(NOW_MS + DAY_MS - 1) == []
    assert table.settle(NOW_MS + DAY_MS) == [ident(1)]
    assert (len(table), table.strangers_of(EVE), table.address(ident(1))) == (0, 0, "")


def test_a_thousand_hostile_records_from_one_peer_displace_nobody():
    table = table_of()
    for number in range(20):
        table.take(NOW_MS, raw_of(ident(number + 1)), ident(number + 1))
    taken = [table.take(NOW_MS, raw_of(ident(number, crowd=1)), EVE) for number in range(1_100)]

    assert all(ident(number + 1) in table for number in range(20))
    assert table.strangers_of(EVE) == tables.MAX_OF_SOURCE.value == 1_024
    assert set(taken[1_024:]) == {Taken.FULL}


def test_five_crowds_fill_a_table_and_a_newcomer_still_finds_a_place(small):
    table = table_of()
    for crowd in range(1, 6):
        for number in range(10):
            table.take(NOW_MS, raw_of(ident(number, crowd=crowd)), ident(crowd, crowd=9))
    assert len(table) == 16
    assert table.take(NOW_MS, raw_of(ident(50)), ident(50)) is Taken.NEW
    assert ident(50) in table
    assert len(table) == 16
    assert sorted(table.strangers_of(ident(crowd, crowd=9)) for crowd in range(1, 6)) == [3] * 5


def test_strangers_cannot_take_the_places_of_members_and_need_not_leave_theirs(small):
    members = {ident(number, crowd=5) for number in range(30)}
    table = table_of(members=members)
    for number in range(16):
        table.take(NOW_MS, raw_of(ident(number, crowd=1)), ident(number, crowd=1))
    for node in members:
        assert table.take(NOW_MS, raw_of(node), EVE) is Taken.NEW
    assert all(node in table for node in members)
    assert (len(table), table.strangers_of(EVE)) == (46, 0)

    members.clear()  # all have left
    table.settle(NOW_MS)
    assert table.strangers_of(EVE) == 30
    assert table.take(NOW_MS, raw_of(ident(99)), EVE) is Taken.FULL


def test_who_has_a_link_is_in_nobodys_share():
    table = table_of()
    table.take(NOW_MS, raw_of(ident(1)), EVE)
    table.linked(ident(1))
    assert (table.strangers_of(EVE), table.strangers_of(ident(1))) == (0, 1)
    table.take(NOW_MS, raw_of(ident(1)), EVE)  # repeated by another: nothing changes
    assert (table.strangers_of(EVE), table.strangers_of(ident(1))) == (0, 1)


def test_strangers_that_link_one_after_the_other_share_one_allowance(small):
    table = table_of()
    for number in range(50):
        node = ident(number, crowd=5)
        assert table.take(NOW_MS, raw_of(node), node) is Taken.NEW
        table.linked(node)
        table.unlinked(node)
        assert table.strangers_of(node) == 0
    assert (len(table), table.strangers_of(tables.PASSERS)) == (4, 4)
    assert table.take(NOW_MS, raw_of(ANN), EVE) is Taken.NEW

    node = next(iter(table)).record.node
    table.linked(node)  # it is back
    assert (table.strangers_of(tables.PASSERS), table.strangers_of(node)) == (3, 1)


def test_what_strangers_told_that_came_and_went_is_one_sources_share(small):
    table = table_of(members={ANN})
    for number in range(50):
        guest = ident(number, crowd=5)
        table.take(NOW_MS, raw_of(ident(number + 1, crowd=6)), guest)
        table.unlinked(guest)
        assert table.strangers_of(guest) == 0
    assert (len(table), table.strangers_of(tables.PASSERS)) == (4, 4)
    table.take(NOW_MS, raw_of(ident(9)), ANN)
    table.unlinked(ANN)  # a member answers for what it told
    assert table.strangers_of(ANN) == 1


def test_a_member_whose_link_is_gone_keeps_its_place(small):
    members = {ident(number) for number in range(1, 11)}
    table = table_of(members=members)
    for node in members:
        table.take(NOW_MS, raw_of(node), node)
        table.unlinked(node)
    assert (len(table), table.strangers_of(tables.PASSERS)) == (10, 0)


def twins(number):
    node = ident(number)
    return tuple(NodeId(node[:31] + bytes([node[31] & 0x7F | sign])) for sign in (0, 0x80))


def test_two_ids_with_one_transport_key_are_one_node_and_a_members_comes_first():
    plain, flip = twins(1)
    table = table_of()
    assert table.take(NOW_MS, raw_of(plain), EVE) is Taken.NEW
    assert table.take(NOW_MS, raw_of(flip), ANN) is Taken.TWIN
    assert [one.node for one in table.records()] == [plain]

    table = table_of(members={flip})
    table.take(NOW_MS, raw_of(plain), EVE)
    assert table.take(NOW_MS, raw_of(flip), ANN) is Taken.NEW
    assert [one.node for one in table.records()] == [flip]
    assert table.take(NOW_MS, raw_of(plain, seq=9), EVE) is Taken.TWIN


def test_a_sign_flipped_and_a_non_canonical_key_of_the_real_curve():
    """Of real keys: the twin of a key has its transport key, and what is no canonical key has none."""
    from pyrsia.keys import KeyPair
    from pyrsia.net.curve import curve_public

    public = KeyPair(bytes(32)).public
    twin = public[:31] + bytes([public[31] ^ 0x80])
    assert curve_public(public) == curve_public(twin)
    for low in range(19):  # y + p for the y below 19: the second encodings that fit 255 bits
        for sign in (0, 0x80):
            other = (low + 2**255 - 19).to_bytes(32, "little")
            with pytest.raises(Malformed):
                curve_public(other[:31] + bytes([other[31] | sign]))


@given(st.integers(0, 2**32), st.integers(1, 400))
def test_whatever_comes_the_bounds_hold_and_the_books_are_right(seed, count):
    draw = random.Random(seed)
    members = {ident(number) for number in range(5)}
    table = table_of(members=members)
    limits = tables.MAX_STRANGERS, tables.MAX_OF_SOURCE
    tables.MAX_STRANGERS, tables.MAX_OF_SOURCE = Limit(16, "small"), Limit(4, "a quarter")
    try:
        newest = {}
        for _ in range(count):
            node, seq = ident(draw.randrange(40)), draw.randrange(5)
            source = draw.choice([node, ident(draw.randrange(6), crowd=9)])
            if draw.random() < 0.05:
                members ^= {ident(draw.randrange(10))}
                table.settle(NOW_MS)
            if draw.random() < 0.1:
                table.unlinked(gone := ident(draw.randrange(40)))
                if gone not in table:
                    newest.pop(gone, None)
            if draw.random() < 0.02:
                table.forget(node)
                newest.pop(node, None)
            taken = table.take(NOW_MS, raw_of(node, seq=seq), source)
            if taken in (Taken.NEW, Taken.NEWER):
                newest[node] = seq
            rows = list(table)
            strangers = [row for row in rows if not row.member]
            assert len(strangers) <= 16 + 10  # who leaves the log keeps its place
            shares = {row.source: 0 for row in strangers}
            for row in strangers:
                shares[row.source] += 1
            assert all(table.strangers_of(source) == share for source, share in shares.items())
            assert all(row.record.seq == newest[row.record.node] for row in rows)
            assert len({row.curve for row in rows}) == len(rows)
    finally:
        tables.MAX_STRANGERS, tables.MAX_OF_SOURCE = limits
