# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
# cython: freethreading_compatible=True
"""Loops of the verifiable index: appending to the histories of many keys at once.

A history is an RFC 6962 tree whose entries are rows of 40 bytes (leaf index u64 BE || leaf hash). Kept of it is

    record = count u64 BE || roots of the perfect subtrees that count is the sum of, largest first, 32 bytes each

and what a prefix tree holds of it is its value, SHA-256(count u64 BE || root of the whole tree).

What decides is typed Python in pyrsia.ledger.prefixtree; the oracle is tests/reference/prefixtree.py.
Source: docs/log.md, "What stands in it"; RFC 6962 section 2.1.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free
from libc.string cimport memcpy

cdef extern from "sums.h" nogil:
    ctypedef struct room:
        void *at
        size_t used
        size_t width
    ctypedef struct sums:
        pass
    int room_for(room *r, size_t more) noexcept
    void sums_begin(sums *s) noexcept
    void sums_end(sums *s) noexcept
    uint32_t sums_give(sums *s, const uint8_t *hash) noexcept
    uint32_t sums_join(sums *s, uint8_t prefix, uint32_t left, uint32_t right) noexcept
    const uint8_t *sums_hash(const sums *s, uint32_t number) noexcept
    int sums_make(sums *s) noexcept
    uint64_t load_u64(const uint8_t *at) noexcept
    void store_u64(uint8_t *at, uint64_t x) noexcept
    int ones(uint64_t x) noexcept

cdef extern from "sha256.h" nogil:
    void sha256_prefixed(uint8_t prefix, const uint8_t *data, size_t size, uint8_t *out) noexcept

cdef enum:
    HASH = 32
    ROW = 40
    COUNT = 8
    COUNT_BITS = 53  # a log has no more leaves
    ROW_PREFIX = 0x00  # RFC 6962, 2.1
    NODE_PREFIX = 0x01


class BadRecord(ValueError):
    """A stored record breaks its format."""


cdef struct History:
    uint64_t count
    size_t edge  # where its subtrees' numbers begin among `edges`
    uint32_t root


cdef class Work:
    """Owner of the hashes and numbers that one call notes."""

    cdef sums all
    cdef room edges  # uint32_t
    cdef room histories

    def __cinit__(self):
        sums_begin(&self.all)
        self.edges.width = sizeof(uint32_t)
        self.histories.width = sizeof(History)

    def __dealloc__(self):
        sums_end(&self.all)
        free(self.edges.at)
        free(self.histories.at)

    cdef int append(self, object record, object rows) except -1:
        """One history with its new rows."""
        cdef uint32_t[64] edge
        cdef uint64_t count = 0
        cdef uint64_t carry
        cdef int used = 0
        cdef uint8_t[HASH] leaf
        cdef const uint8_t *at
        if record is not None:
            count = self.read(record, edge)
            used = ones(count)
        if type(rows) is not bytes:
            raise TypeError(f"rows are {type(rows).__name__}, not bytes")
        if not rows or len(<bytes> rows) % ROW:
            raise ValueError("rows of a history are one or more times 40 bytes")
        at = <const uint8_t *> PyBytes_AS_STRING(rows)
        for _ in range(len(<bytes> rows) // ROW):
            sha256_prefixed(ROW_PREFIX, at, ROW, leaf)
            edge[used] = sums_give(&self.all, leaf)
            at += ROW
            carry = count
            while carry & 1:  # two subtrees of one size are one of the next
                used -= 1
                edge[used] = sums_join(&self.all, NODE_PREFIX, edge[used], edge[used + 1])
                carry >>= 1
            used += 1
            count += 1
        return self.note(count, edge, used)

    cdef uint64_t read(self, object record, uint32_t *edge) except? 0:
        """The count of a stored record; the numbers of its subtrees go into `edge`."""
        cdef const uint8_t *at
        cdef uint64_t count
        cdef int i
        if type(record) is not bytes:
            raise TypeError(f"a record is {type(record).__name__}, not bytes")
        at = <const uint8_t *> PyBytes_AS_STRING(record)
        count = load_u64(at) if len(<bytes> record) >= COUNT else 0
        if not 0 < count < <uint64_t> 1 << COUNT_BITS or len(<bytes> record) != COUNT + ones(count) * HASH:
            raise BadRecord("the record of a history does not fit its count")
        for i in range(ones(count)):
            edge[i] = sums_give(&self.all, at + COUNT + i * HASH)
        return count

    cdef int note(self, uint64_t count, const uint32_t *edge, int used) except -1:
        """Keep what the record and the value are made of; the root folds the subtrees from the smallest up."""
        cdef uint32_t root = edge[used - 1]
        cdef int i
        for i in range(used - 2, -1, -1):
            root = sums_join(&self.all, NODE_PREFIX, edge[i], root)
        if not room_for(&self.edges, used) or not room_for(&self.histories, 1):
            raise MemoryError
        (<History *> self.histories.at)[self.histories.used] = History(count, self.edges.used, root)
        self.histories.used += 1
        memcpy(<uint32_t *> self.edges.at + self.edges.used, edge, used * sizeof(uint32_t))
        self.edges.used += used
        return 0

    cdef int make(self) except -1:
        """Make every hash; the GIL is released meanwhile."""
        cdef int enough
        with nogil:
            enough = sums_make(&self.all)
        if not enough:
            raise MemoryError
        return 0

    cdef bytes record(self, const History *history):
        cdef int parts = ones(history.count)
        cdef const uint32_t *edge = <const uint32_t *> self.edges.at + history.edge
        cdef bytes record = PyBytes_FromStringAndSize(NULL, COUNT + parts * HASH)
        cdef uint8_t *at = <uint8_t *> PyBytes_AS_STRING(record)
        cdef int i
        store_u64(at, history.count)
        for i in range(parts):
            memcpy(at + COUNT + i * HASH, sums_hash(&self.all, edge[i]), HASH)
        return record

    cdef bytes values(self):
        cdef const History *history = <const History *> self.histories.at
        cdef bytes values = PyBytes_FromStringAndSize(NULL, self.histories.used * HASH)
        cdef uint8_t *at = <uint8_t *> PyBytes_AS_STRING(values)
        cdef uint8_t[COUNT + HASH] text
        cdef size_t i
        for i in range(self.histories.used):
            store_u64(text, history[i].count)
            memcpy(text + COUNT, sums_hash(&self.all, history[i].root), HASH)
            sha256_prefixed(text[0], text + 1, COUNT + HASH - 1, at + i * HASH)  # the first byte as the prefix
        return values


def append(list records not None, list rows not None):
    """Append rows to histories: the new records, and the joined 32-byte values.

    Args:
        records: of each history, None for one that begins.
        rows: for each history one or more rows of 40 bytes, joined.

    Raises:
        BadRecord: a record breaks its format.
        ValueError: not as many rows as records, or rows that are not whole.
        TypeError: a record or rows are not bytes.
    """
    cdef Work work = Work()
    cdef Py_ssize_t i
    if len(rows) != len(records):
        raise ValueError(f"rows of {len(rows)} histories for {len(records)} records")
    for i in range(len(records)):
        work.append(records[i], rows[i])
    work.make()
    return [work.record(<const History *> work.histories.at + i) for i in range(len(records))], work.values()
