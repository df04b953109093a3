"""What a builder asks a storage member to keep: what is read has one form, within its bounds."""

from pyrsia.wire.receipts import MAX_BLOBS, Ask, Wanted
from tests.fuzz import laws

MAX_BYTES = 2_048


def check(data: bytes) -> bool:
    found = laws.read(Ask.decode, data)
    if found is None:
        return False
    assert found.encode() == data
    assert Ask.of(found.request, found.blobs) == found
    assert 1 <= len(found.blobs) <= MAX_BLOBS.value
    assert all(0 <= one.size <= 1 << 50 for one in found.blobs)
    return True


def seeds() -> dict[str, bytes]:
    def blob(word: int, size: int = 100) -> Wanted:
        return Wanted(bytes([word]) * 32, bytes([word + 1]) * 32, size)

    request, three = b"r" * 32, [blob(1), blob(2, 0), blob(2, 1 << 50)]
    whole = Ask.of(request, three).encode()
    return {
        "one": Ask.of(request, [blob(7)]).encode(),
        "three": whole,
        "none": request + b"\0\0",
        "cut": whole[:-1],
        "over": request + b"\0\1" + bytes(64) + b"\0\4" + bytes(6),
        "twice": request + b"\0\2" + 2 * (bytes(64) + bytes(8)),
        "unsorted": request + b"\0\2" + b"\1" * 64 + bytes(8) + bytes(64) + bytes(8),
    }
