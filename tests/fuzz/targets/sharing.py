"""Messages about waiting entries: what is read has one form, and keeps within the bounds of a frame."""

from pyrsia.units import MAX_ENTRY_BYTES, SHARE_BYTES, SHARE_ENTRIES, SHARE_IDS
from pyrsia.wire import sharing
from pyrsia.wire.sharing import Entries, Have, Want
from tests.fuzz import laws

MAX_BYTES = 2_048


def check(data: bytes) -> bool:
    found = laws.read(sharing.decode, data)
    if found is None:
        return False
    assert found.encode() == data
    if isinstance(found, Entries):
        assert 1 <= len(found.raws) <= SHARE_ENTRIES.value
        assert all(0 < len(raw) <= MAX_ENTRY_BYTES.value for raw in found.raws)
        assert sharing.batches(found.raws) == [found]
    else:
        assert len(set(found.ids)) == len(found.ids) <= SHARE_IDS.value
        assert {len(one) for one in found.ids} <= {32}
    assert len(data) <= SHARE_BYTES.value
    return True


def seeds() -> dict[str, bytes]:
    ids = tuple(bytes([number]) * 32 for number in range(1, 5))
    return {
        "one": Entries((b"{}",)).encode(),
        "three": Entries((b"{}", b"x" * 300, b"y")).encode(),
        "have": Have(ids, False).encode(),
        "have-more": Have(ids[:1], True).encode(),
        "want": Want(ids, False).encode(),
        "want-next": Want((), True).encode(),
        "twice": Have((ids[0], ids[0]), False).encode(),
        "cut": Entries((b"{}", b"xyz")).encode()[:-1],
    }
