"""Stored pages of the prefix tree and records of histories, as a damaged disk may give them.

number of nibbles u8 | path 32 | page, or a record of a history
"""

from pyrsia._native import histories
from pyrsia._native import prefixtree as native
from pyrsia.ledger import prefixtree
from pyrsia.ledger.prefixtree import Tree
from tests.fuzz.targets.prefixpath import pairs
from tests.reference import prefixtree as slow

MAX_BYTES = 2_600

VERSION = 7
ROW = bytes(7) + b"\x05" + bytes(32)


def check(data: bytes) -> bool:
    depth, path, page = (data[0] % 64 if data else 0), data[1:33].ljust(32, b"\0"), data[33:]
    _record(page)
    try:
        root, below, held = native.read(page, path, depth, VERSION)
    except ValueError:  # BadPage is one; a path with more nibbles than it should have is the caller's
        for work in (_look, _update):
            _refused(work, page, path, depth)
        return False
    if held:
        assert root == slow.root(dict(held))
        assert [key for key, _ in held] == sorted({key for key, _ in held})
        for key, value in held:
            _, further, leaf = native.look(page, path, depth, VERSION, key)
            assert (further, leaf) == (None, (key, value))
    assert bool(held) != bool(below)
    assert all(version <= VERSION and 0 <= slot < 16 for slot, version, _ in below)
    return True


def _look(page: bytes, path: bytes, depth: int) -> None:
    native.look(page, path, depth, VERSION, path)


def _update(page: bytes, path: bytes, depth: int) -> None:
    """The page as a root: only there may it stand by itself."""
    work = native.Update(1, VERSION, {path: bytes(32)})
    if depth == 0 and work.wanted():
        work.feed([page])
        work.finish(VERSION)


def _refused(work: object, page: bytes, path: bytes, depth: int) -> None:
    try:
        work(page, path, depth)  # type: ignore[operator]
    except ValueError:
        return


def _record(page: bytes) -> None:
    try:
        [record], _ = histories.append([page], [ROW])
    except ValueError:
        return
    assert int.from_bytes(record[:8], "big") == int.from_bytes(page[:8], "big") + 1


def seeds() -> dict[str, bytes]:
    def page_of(count: int) -> dict[bytes, bytes]:
        return prefixtree.update(Tree.empty(1), lambda keys: [None] * len(keys), pairs(count), VERSION).pages

    def said(key: bytes, page: bytes) -> bytes:
        """A stored page behind its place: tag, nibbles, path, version stand in its key."""
        nibbles = key[1]
        return bytes([nibbles]) + key[2:-8].ljust(32, b"\0") + page

    [(key, bucket)] = page_of(5).items()
    forked = list(page_of(60).items())
    rows = [ROW, ROW, ROW]
    return {
        "bucket": said(key, bucket),
        "bucket-cut": said(key, bucket)[:-1],
        "bucket-unsorted": said(key, bucket[:2] + bucket[66:130] + bucket[2:66] + bucket[130:]),
        **{f"page-{at}": said(*one) for at, one in enumerate(forked[:4])},
        "record": bytes(33) + slow.history_record(rows),
        "no-page": b"",
    }
