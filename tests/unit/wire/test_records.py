"""Node records, lists of them, beacons, dial-back: one reading for each byte string, bounded, one way to fail."""

import contextlib
from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pyrsia.errors import Malformed
from pyrsia.keys import KeyPair, verify
from pyrsia.units import MAX_RECORD_BYTES, MAX_RECORDS, MAX_SOUGHT, RECORD_LIFE_MS, NodeId
from pyrsia.wire import backs, beacons, records
from pyrsia.wire.records import MAX_HAVE, Record

PAIR = KeyPair(bytes(32))
NOW_MS = 1_700_000_000_000
RECORD = Record(
    node=NodeId(PAIR.public), net=b"n" * 32, seq=5, issued_ms=NOW_MS, expires_ms=NOW_MS + RECORD_LIFE_MS.value,
    log_size=9, log_root=b"r" * 32, name="amber", version="0.1.0", control="tcp://192.0.2.7:44000",
    data="tcp://[2001:db8::1]:44001", broadcast="tcp://amber.example:44002",
)  # fmt: skip


def signed(record=RECORD):
    return records.encode(record, PAIR.sign(records.to_sign(record)))


def test_a_record_survives_its_encoding_and_its_signature_covers_every_byte():
    raw = signed()
    record, signature = records.decode(raw)

    assert record == RECORD
    assert verify(record.node, records.to_sign(record), signature)
    for at in range(len(raw)):
        other = bytearray(raw)
        other[at] ^= 1
        try:
            record, signature = records.decode(bytes(other))
        except Malformed:
            continue
        assert not verify(record.node, records.to_sign(record), signature), at


def test_a_cut_or_longer_record_is_none():
    raw = signed()
    for size in range(len(raw)):
        with pytest.raises(Malformed):
            records.decode(raw[:size])
    with pytest.raises(Malformed):
        records.decode(raw + b"\0")
    with pytest.raises(Malformed):
        records.decode(bytes(MAX_RECORD_BYTES.value + 1))


@pytest.mark.parametrize(
    "changes",
    [
        {"expires_ms": NOW_MS},
        {"expires_ms": NOW_MS + RECORD_LIFE_MS.value + 1},
        {"name": "a" * 65},
        {"name": "\u202e"},
        {"version": "0.1\n"},
        {"control": ""},  # and yet it has others
        {"control": "tcp://192.0.2.7:0"},
        {"control": "tcp://192.0.2.7:65536"},
        {"control": "ipc:///run/x"},
        {"data": "tcp://a b:1"},
        {"seq": 1 << 53},
        {"log_size": 1 << 53},
        {"name": "é" * 64, "control": f"tcp://{'a' * 200}:1", "data": f"tcp://{'a' * 200}:1",
         "broadcast": f"tcp://{'a' * 200}:1", "version": "1" * 33},
    ],
)  # fmt: skip
def test_what_no_honest_node_says_is_neither_encoded_nor_read(changes):
    with pytest.raises(ValueError, match=r"record|number|text|survive"):
        signed(replace(RECORD, **changes))


def test_a_node_that_nobody_can_dial_says_so():
    record = replace(RECORD, control="", data="", broadcast="")
    assert records.decode(signed(record))[0] == record


@given(st.binary(max_size=1_100))
@example(bytes([1]) + bytes(400))
def test_any_bytes_are_a_record_or_malformed(data):
    with contextlib.suppress(Malformed):
        record, signature = records.decode(data)
        assert records.encode(record, signature) == data


@given(
    st.lists(st.binary(max_size=1_024), max_size=MAX_RECORDS.value),
    st.frozensets(st.binary(min_size=6, max_size=6), max_size=40),
    st.lists(st.binary(min_size=32, max_size=32), max_size=MAX_SOUGHT.value),
)
def test_questions_and_lists_survive_their_encoding(raws, have, sought):
    assert records.decode_list(records.encode_list(raws)) == raws
    asked = records.decode_asked(records.encode_asked(raws, have, sought))
    assert (asked.raws, asked.have, list(asked.sought)) == (raws, have, sought)


@given(st.binary(max_size=300))
def test_any_bytes_are_a_question_or_malformed(data):
    with contextlib.suppress(Malformed):
        asked = records.decode_asked(data)
        assert records.encode_asked(asked.raws, asked.have, asked.sought).startswith(data[:1])
    with contextlib.suppress(Malformed):
        assert records.encode_list(records.decode_list(data)) == data


def test_lists_over_their_bounds_are_malformed():
    for data in (
        b"",
        bytes([MAX_RECORDS.value + 1]) + b"\0\0" * (MAX_RECORDS.value + 1),
        b"\1\4\1" + bytes(1_025),  # one of 1,025 bytes
        b"\2\0\1x",  # two promised
        b"\0",  # nobody sought, and nothing said of it
        bytes([0, MAX_SOUGHT.value + 1]) + bytes(32 * (MAX_SOUGHT.value + 1)),
        bytes([0, 1]) + bytes(31),
        bytes([0, 0]) + bytes(5),
        bytes([0, 0]) + bytes(6 * (MAX_HAVE.value + 1)),
    ):
        with pytest.raises(Malformed):
            records.decode_asked(data)
    with pytest.raises(ValueError, match="33 records"):
        records.encode_list([b""] * 33)


def test_news_are_what_the_asker_lacks_and_no_more_than_a_message():
    raws = [bytes([at]) for at in range(80)]
    have = {records.digest(raw) for raw in raws[::2]}
    assert records.news(raws, have) == raws[1:64:2]


def test_a_beacon_survives_and_its_signature_covers_port_time_and_record():
    raw = signed()
    data = beacons.encode(44_000, NOW_MS, raw, PAIR.sign(beacons.to_sign(44_000, NOW_MS, raw)))
    beacon, signature = beacons.decode(data)

    assert (beacon.port, beacon.at_ms, beacon.raw, beacon.record) == (44_000, NOW_MS, raw, RECORD)
    assert verify(RECORD.node, beacons.to_sign(beacon.port, beacon.at_ms, beacon.raw), signature)
    for at in range(len(data)):
        other = bytearray(data)
        other[at] ^= 1
        try:
            beacon, signature = beacons.decode(bytes(other))
        except Malformed:
            continue
        assert not verify(
            beacon.record.node, beacons.to_sign(beacon.port, beacon.at_ms, beacon.raw), signature
        ), at


@given(st.binary(max_size=1_200))
def test_any_bytes_are_a_beacon_or_malformed(data):
    with contextlib.suppress(Malformed):
        beacon, signature = beacons.decode(b"pyrsia-1" + data)
        assert beacons.encode(beacon.port, beacon.at_ms, beacon.raw, signature) == b"pyrsia-1" + data


@given(st.binary(max_size=8))
@example(b"\0\0\0\1\0\1")
@example(b"\1\0\2")
def test_dial_back_takes_three_ports_and_three_answers_and_nothing_else(data):
    with contextlib.suppress(Malformed):
        ports = backs.decode_ports(data)
        assert (backs.encode_ports(ports), ports[0] > 0) == (data, True)
    with contextlib.suppress(Malformed):
        assert backs.encode_reached(backs.decode_reached(data)) == data
    assert backs.decode_reached(backs.encode_reached((True, False, True))) == (True, False, True)
