"""What nodes say of themselves: records, lists and questions of them, beacons, dial-back. The first byte says which."""

from pyrsia.units import NodeId
from pyrsia.wire import backs, beacons, records
from pyrsia.wire.records import Record
from tests.fuzz import laws

MAX_BYTES = 2_048


def check(data: bytes) -> bool:
    kind, data = data[:1], data[1:]
    match kind:
        case b"r":
            return laws.one_form(data, records.decode, lambda found: records.encode(*found)) is not None
        case b"l":
            return laws.one_form(data, records.decode_list, records.encode_list) is not None
        case b"q":
            asked = laws.read(records.decode_asked, data)
            if asked is None:
                return False
            again = records.decode_asked(records.encode_asked(asked.raws, asked.have, asked.sought))
            assert again == asked  # what the asker has may come in any order
            return True
        case b"b":
            return (
                laws.one_form(
                    data,
                    beacons.decode,
                    lambda found: beacons.encode(found[0].port, found[0].at_ms, found[0].raw, found[1]),
                )
                is not None
            )
        case _:
            ports = laws.one_form(data, backs.decode_ports, backs.encode_ports)
            reached = laws.one_form(data, backs.decode_reached, backs.encode_reached)
            return (ports, reached) != (None, None)


def seeds() -> dict[str, bytes]:
    record = Record(
        NodeId(b"n" * 32), b"c" * 32, 5, 1_800_000_000_000, 1_800_086_400_000, 7, b"r" * 32, "amber", "0.1.0",
        "tcp://192.0.2.1:7001", "tcp://[::1]:7002", "tcp://a.example:7003",
    )  # fmt: skip
    raw = records.encode(record, b"s" * 64)
    hidden = records.encode(
        Record(record.node, record.net, 0, 0, 1, 0, bytes(32), "", "", "", "", ""), bytes(64)
    )
    return {
        "record": b"r" + raw,
        "hidden": b"r" + hidden,
        "record-cut": b"r" + raw[:-1],
        "list": b"l" + records.encode_list([raw, hidden]),
        "list-empty": b"l" + records.encode_list([]),
        "list-cut": b"l" + records.encode_list([raw])[:-1],
        "question": b"q" + records.encode_asked([raw], [b"123456", b"abcdef"], [record.node]),
        "question-cut": b"q" + records.encode_asked([raw], [b"123456"])[:-1],
        "beacon": b"b" + beacons.encode(44_000, 1_800_000_000_000, raw, b"s" * 64),
        "beacon-cut": b"b" + beacons.encode(44_000, 1_800_000_000_000, raw, b"s" * 64)[:-1],
        "ports": b"p" + backs.encode_ports((44_000, 44_001, 0)),
        "reached": b"p" + backs.encode_reached((True, False, True)),
        "neither": b"p" + bytes(6),
    }
