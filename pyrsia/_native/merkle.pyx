# cython: language_level=3, boundscheck=False, wraparound=False
# cython: freethreading_compatible=True
"""Bulk hashing of RFC 6962 trees.

Only what is slow in Python and simple enough to read twice lives here; what decides (proofs,
consistency, trust) is typed Python in pyrsia.log. Cross into this module once per tile, level or
batch, never per node. The oracle for every function is its namesake in tests/reference/merkle.py.

Source: RFC 6962 section 2.1; the hash itself is sha256.h, from FIPS 180-4.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport uint8_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy

cdef extern from "sha256.h" nogil:
    void sha256_prefixed(uint8_t prefix, const uint8_t *data, size_t size, uint8_t *out) noexcept

cdef enum:
    HASH_BYTES = 32
    PAIR_BYTES = 64
    LEAF_PREFIX = 0x00  # RFC 6962, 2.1: the prefixes keep a leaf from posing as a node
    NODE_PREFIX = 0x01


cdef void hash_level(const uint8_t *rows, uint8_t *out, Py_ssize_t pairs) noexcept nogil:
    """out[i] = SHA-256(0x01 || rows[2i] || rows[2i+1]). `out` may be `rows`: row i is read before it is written."""
    cdef Py_ssize_t i
    for i in range(pairs):
        sha256_prefixed(NODE_PREFIX, rows + i * PAIR_BYTES, PAIR_BYTES, out + i * HASH_BYTES)


cdef bytes fold(const uint8_t *rows, Py_ssize_t width):
    """Root of `width` >= 1 rows; an odd last row rises unhashed, which is RFC 6962's split."""
    cdef Py_ssize_t half
    cdef bytes root
    cdef uint8_t *scratch = <uint8_t *> malloc(((width + 1) // 2) * HASH_BYTES)
    if scratch == NULL:
        raise MemoryError
    try:
        with nogil:
            if width == 1:
                memcpy(scratch, rows, HASH_BYTES)
            while width > 1:
                half = width // 2
                hash_level(rows, scratch, half)
                if width & 1:
                    memcpy(scratch + half * HASH_BYTES, rows + (width - 1) * HASH_BYTES, HASH_BYTES)
                rows = scratch
                width = half + (width & 1)
        root = PyBytes_FromStringAndSize(<char *> scratch, HASH_BYTES)
    finally:
        free(scratch)
    return root


def leaf_hashes(items not None):
    """SHA-256(0x00 || item) of each item, one after the other: 32 bytes per item.

    The GIL is released once for the whole batch; the items are held, not copied.

    Raises:
        TypeError: `items` is no sequence, or an item is not bytes.
    """
    cdef tuple held = tuple(items)
    cdef Py_ssize_t n = len(held)
    cdef Py_ssize_t i
    cdef bytes item
    cdef bytes out = PyBytes_FromStringAndSize(NULL, n * HASH_BYTES)
    cdef uint8_t *target = <uint8_t *> PyBytes_AS_STRING(out)
    cdef const uint8_t **data
    cdef size_t *sizes
    if n == 0:
        return b""
    data = <const uint8_t **> malloc(n * sizeof(const uint8_t *))
    sizes = <size_t *> malloc(n * sizeof(size_t))
    try:
        if data == NULL or sizes == NULL:
            raise MemoryError
        for i in range(n):
            if type(held[i]) is not bytes:
                raise TypeError(f"item {i} is {type(held[i]).__name__}, not bytes")
            item = held[i]
            data[i] = <const uint8_t *> PyBytes_AS_STRING(item)
            sizes[i] = len(item)
        # `held` keeps every item alive, and bytes never change, so this needs no lock.
        with nogil:
            for i in range(n):
                sha256_prefixed(LEAF_PREFIX, data[i], sizes[i], target + i * HASH_BYTES)
    finally:
        free(data)
        free(sizes)
    return out


def level(bytes rows not None):
    """The row of parents above `rows`: half as many hashes.

    Raises:
        ValueError: `rows` is not a whole number of pairs of 32-byte hashes.
    """
    cdef Py_ssize_t size = len(rows)
    if size % PAIR_BYTES:
        raise ValueError(f"a row of {size} bytes is not whole pairs of 32-byte hashes")
    cdef bytes out = PyBytes_FromStringAndSize(NULL, size // 2)
    cdef const uint8_t *source = <const uint8_t *> PyBytes_AS_STRING(rows)
    cdef uint8_t *target = <uint8_t *> PyBytes_AS_STRING(out)
    if size:
        with nogil:
            hash_level(source, target, size // PAIR_BYTES)
    return out


def tile_root(bytes rows not None):
    """Root of the perfect subtree whose lowest row is `rows` (2**k hashes of 32 bytes).

    A full tile of 256 hashes is 255 node hashes; the GIL is released while they are made.

    Raises:
        ValueError: `rows` is not 32 * 2**k bytes long.
    """
    cdef Py_ssize_t size = len(rows)
    cdef Py_ssize_t width = size // HASH_BYTES
    if size % HASH_BYTES or width < 1 or width & (width - 1):
        raise ValueError(f"a tile row of {size} bytes is not 32 * 2**k")
    return fold(<const uint8_t *> PyBytes_AS_STRING(rows), width)


def range_root(bytes rows not None):
    """RFC 6962 root of any number >= 1 of leaf hashes, 32 bytes each.

    Raises:
        ValueError: `rows` is empty or not a multiple of 32 bytes.
    """
    cdef Py_ssize_t size = len(rows)
    if size % HASH_BYTES or size == 0:
        raise ValueError(f"a range of {size} bytes is not one or more 32-byte hashes")
    return fold(<const uint8_t *> PyBytes_AS_STRING(rows), size // HASH_BYTES)
