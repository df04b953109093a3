"""Entry bundles: the first byte says how many entries are expected, less one."""

from pyrsia._native import merkle as kernel
from pyrsia.log import checking, tiles
from pyrsia.log.tiles import Bundle
from pyrsia.units import MAX_ENTRY_BYTES
from tests.fuzz import laws
from tests.reference import merkle

MAX_BYTES = 2_048


def check(data: bytes) -> bool:
    count, body = (data[0] + 1, data[1:]) if data else (1, b"")
    found = laws.read(lambda raw: tiles.bundle_decode(raw, count), body)
    assert found == _walk(body, count), "the two readers disagree"
    assert _native(body, count) == (found and merkle.leaf_hashes(found)), "the kernel disagrees"
    named = laws.read(lambda raw: checking.entries_in(Bundle(0, count), raw), body)
    assert (named and tuple(named)) == found, "who names the first wrong byte disagrees"
    if found is not None:
        assert tiles.bundle_encode(found) == body
    return found is not None


def _native(body: bytes, count: int) -> bytes | None:
    try:
        return kernel.bundle_hashes(body, count, MAX_ENTRY_BYTES.value)
    except ValueError:
        return None


def _walk(body: bytes, count: int) -> tuple[bytes, ...] | None:
    """The same from the front, consuming."""
    entries = []
    while body:
        length, body = body[:2], body[2:]
        size = int.from_bytes(length, "big")
        if len(length) < 2 or size > min(60_000, len(body)):
            return None
        entries.append(body[:size])
        body = body[size:]
    return tuple(entries) if len(entries) == count else None


def seeds() -> dict[str, bytes]:
    three = tiles.bundle_encode([b"one", b"", b"three" * 20])
    return {
        "three": b"\x02" + three,
        "two-expected": b"\x01" + three,
        "four-expected": b"\x03" + three,
        "cut": b"\x02" + three[:-1],
        "one-over": b"\x02" + three + b"\0",
        "full": b"\xff" + tiles.bundle_encode([b"%d" % at for at in range(256)]),
        "too-long": b"\x00\xff\xff" + bytes(100),
    }
