# cython: language_level=3, boundscheck=False, wraparound=False
# cython: freethreading_compatible=True
"""Bulk hashing of RFC 6962 trees.

Only what is slow in Python and simple enough to read twice lives here; what decides (proofs,
consistency, trust) is typed Python in pyrsia.log. Cross into this module once per tile, level or
batch, never per node. The oracle for every function is its namesake in tests/reference/merkle.py.

Source: RFC 6962 section 2.1; the hash itself is sha256.h, from FIPS 180-4.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport uint8_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset

cdef extern from "sha256.h" nogil:
    ctypedef struct sha256_kernel:
        const char *name
    const sha256_kernel *sha256_active
    const char *sha256_fault
    int sha256_choose(const char *wanted) noexcept
    void sha256_nodes(
        const uint8_t *prefixes, const uint8_t *const *pairs, uint8_t *const *outs, size_t n
    ) noexcept
    void sha256_pairs(const uint8_t *const *pairs, uint8_t *const *outs, size_t n) noexcept
    void sha256_prefixed_many(
        uint8_t prefix, const uint8_t *const *data, const size_t *sizes, uint8_t *out, size_t n
    ) noexcept
    void sha256_many(const uint8_t *const *data, const size_t *sizes, uint8_t *out, size_t n) noexcept

cdef enum:
    HASH_BYTES = 32
    PAIR_BYTES = 64
    LEAF_PREFIX = 0x00  # RFC 6962, 2.1: the prefixes keep a leaf from posing as a node
    NODE_PREFIX = 0x01
    TILE_WIDTH = 256
    TILE_BYTES = 8192
    TOGETHER = 64  # nodes handed over in one call: enough to fill any kernel's lanes, few enough for the stack
    TILES_TOGETHER = 4  # their topmost nodes fill the lanes of a kernel; the scratch of four stays in the L1 cache
    SCRATCH_BYTES = 16384  # the level above the leaves of TILES_TOGETHER tiles


def kernel() -> str:
    """How this process computes SHA-256: "shani", "avx2" or "portable"."""
    return sha256_active.name.decode("ascii")


cdef void hash_level(const uint8_t *rows, uint8_t *out, Py_ssize_t pairs) noexcept nogil:
    """out[i] = SHA-256(0x01 || rows[2i] || rows[2i+1]). `out` may be `rows`: row i is read before it is written."""
    cdef uint8_t[TOGETHER] prefixes
    cdef const uint8_t *sources[TOGETHER]
    cdef uint8_t *targets[TOGETHER]
    cdef Py_ssize_t done = 0, count, i
    memset(prefixes, NODE_PREFIX, TOGETHER)
    while done < pairs:
        count = min(pairs - done, <Py_ssize_t> TOGETHER)
        for i in range(count):
            sources[i] = rows + (done + i) * PAIR_BYTES
            targets[i] = out + (done + i) * HASH_BYTES
        sha256_nodes(prefixes, sources, targets, count)
        done += count


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


cdef void fold_tiles(const uint8_t *const *tiles, Py_ssize_t count, uint8_t *roots) noexcept nogil:
    """roots[i] = root of the full tile at tiles[i]."""
    cdef uint8_t[SCRATCH_BYTES] scratch
    cdef Py_ssize_t done = 0, here, width, i
    while done < count:
        here = min(count - done, <Py_ssize_t> TILES_TOGETHER)
        for i in range(here):
            hash_level(tiles[done + i], scratch + i * (TILE_BYTES // 2), TILE_WIDTH // 2)
        # Side by side the tiles are one row, and eight levels up each of them is one hash of it.
        width = here * (TILE_WIDTH // 2)
        while width > here:
            width //= 2
            hash_level(scratch, scratch, width)
        memcpy(roots + done * HASH_BYTES, scratch, here * HASH_BYTES)
        done += here


cdef bytes roots_of(list tiles, Py_ssize_t count):
    """The roots of the first `count` of `tiles`, which are full: 32 bytes each."""
    cdef bytes out = PyBytes_FromStringAndSize(NULL, count * HASH_BYTES)
    cdef uint8_t *target = <uint8_t *> PyBytes_AS_STRING(out)
    cdef Py_ssize_t i
    cdef const uint8_t **rows
    if count == 0:
        return b""
    rows = <const uint8_t **> malloc(count * sizeof(const uint8_t *))
    if rows == NULL:
        raise MemoryError
    for i in range(count):
        rows[i] = <const uint8_t *> PyBytes_AS_STRING(<bytes> tiles[i])
    with nogil:
        fold_tiles(rows, count, target)
    free(rows)
    return out


# -- leaves --


def leaf_hashes(items not None):
    """SHA-256(0x00 || item) of each item, one after the other: 32 bytes per item.

    The GIL is released once for the whole batch; the items are held, not copied.

    Raises:
        TypeError: `items` is no sequence, or an item is not bytes.
    """
    return hash_items(items, True)


cdef bytes hash_items(items, bint leaves):
    """The hash of each item, one after the other; behind the prefix of leaves or bare."""
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
            if leaves:
                sha256_prefixed_many(LEAF_PREFIX, data, sizes, target, n)
            else:
                sha256_many(data, sizes, target, n)
    finally:
        free(data)
        free(sizes)
    return out


cdef Py_ssize_t bundle_entries(
    const uint8_t *data, Py_ssize_t size, Py_ssize_t largest, const uint8_t **entries, size_t *sizes, Py_ssize_t n
) noexcept nogil:
    """Where the `n` entries of a bundle lie; how many of its bytes they take, or -1 if they do not fit."""
    cdef Py_ssize_t at = 0, i, length
    for i in range(n):
        if size - at < 2:
            return -1
        length = (<Py_ssize_t> data[at] << 8) | data[at + 1]
        at += 2
        if length > largest or length > size - at:
            return -1
        entries[i] = data + at
        sizes[i] = length
        at += length
    return at


def bundle_hashes(bytes bundle not None, Py_ssize_t count, Py_ssize_t largest):
    """The leaf hashes of the `count` entries of a tlog-tiles bundle: 32 bytes each, no object per entry.

    Args:
        bundle: each entry behind its length as u16 BE.
        count: >= 0 entries, all that the bundle may hold.
        largest: bytes of the largest entry allowed; the format itself ends at 65,535.

    Raises:
        ValueError: the bytes end early, go on, or hold a larger entry.
    """
    cdef Py_ssize_t size = len(bundle)
    cdef Py_ssize_t end
    cdef bytes out
    cdef const uint8_t *source = <const uint8_t *> PyBytes_AS_STRING(bundle)
    cdef uint8_t *target
    cdef const uint8_t **entries
    cdef size_t *sizes
    # An entry takes two bytes at least, so a stranger's count asks for no more memory than his bytes did.
    if count < 0 or count > size // 2:
        raise ValueError(f"a bundle of {size} bytes does not hold {count} entries")
    out = PyBytes_FromStringAndSize(NULL, count * HASH_BYTES)
    target = <uint8_t *> PyBytes_AS_STRING(out)
    entries = <const uint8_t **> malloc((count + 1) * sizeof(const uint8_t *))
    sizes = <size_t *> malloc((count + 1) * sizeof(size_t))
    try:
        if entries == NULL or sizes == NULL:
            raise MemoryError
        with nogil:
            end = bundle_entries(source, size, largest, entries, sizes, count)
            if end == size:
                sha256_prefixed_many(LEAF_PREFIX, entries, sizes, target, count)
    finally:
        free(entries)
        free(sizes)
    if end < 0:
        raise ValueError("an entry bundle ends early or holds an entry too long")
    if end != size:
        raise ValueError(f"an entry bundle goes on after {count} entries")
    return out


# -- nodes --


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


# -- tiles --


def append(tuple edge not None, bytes hashes not None):
    """`hashes` (32 bytes each) behind the edge of a log: ([the changed tiles of each level], the new edge).

    Args:
        edge: per tile level the hashes of its last, partial tile, 0 to 255 of them.

    Returns:
        Of each level its changed tiles, leftmost first: the one of the old edge with all its hashes, then
        new ones. 8,192 bytes mean a full tile; only a last one may be shorter, and it is the new edge.

    Raises:
        ValueError: `hashes` is not a multiple of 32 bytes, or a level of the edge is none or a whole tile.
    """
    cdef list changed = []
    cdef list grown = []
    cdef bytes risen = hashes
    cdef bytes row
    cdef list tiles
    cdef Py_ssize_t number = 0
    if len(hashes) % HASH_BYTES:
        raise ValueError(f"{len(hashes)} bytes are no whole 32-byte hashes")
    while risen or number < len(edge):
        row = edge[number] if number < len(edge) else b""
        if row is None or len(row) % HASH_BYTES or len(row) >= TILE_BYTES:
            raise ValueError(f"level {number} of the edge is no partial tile")
        tiles = []
        if risen:
            tiles = cut(row, risen)
            row = tiles[len(tiles) - 1]
            if len(row) == TILE_BYTES:
                row = b""
            risen = roots_of(tiles, len(tiles) - (1 if row else 0))
        changed.append(tiles)
        grown.append(row)
        number += 1
    return changed, tuple(grown)


cdef list cut(bytes row, bytes risen):
    """`row` || `risen` in tiles; `row` is shorter than one, `risen` is not empty."""
    cdef list tiles = []
    cdef bytes tile
    cdef char *target
    cdef const char *source = PyBytes_AS_STRING(risen)
    cdef Py_ssize_t left = len(risen)
    cdef Py_ssize_t before = len(row)
    cdef Py_ssize_t taken
    while left:
        taken = min(left, TILE_BYTES - before)
        tile = PyBytes_FromStringAndSize(NULL, before + taken)
        target = PyBytes_AS_STRING(tile)
        if before:
            memcpy(target, PyBytes_AS_STRING(row), before)
        memcpy(target + before, source, taken)
        tiles.append(tile)
        source += taken
        left -= taken
        before = 0
    return tiles


def verify_tiles(tiles not None, bytes above not None):
    """Hash full tiles, and compare with the row of their roots in the tiles of the level above.

    Args:
        tiles: 256 hashes each, 8,192 bytes.
        above: one hash for each of them.

    Returns:
        The position of the first tile whose root is not its hash in `above`, or -1.

    Raises:
        TypeError: `tiles` is no sequence, or one of them is not bytes.
        ValueError: a tile is not full, or `above` is not one hash for each.
    """
    cdef list held = list(tiles)
    cdef Py_ssize_t n = len(held)
    cdef Py_ssize_t i
    cdef bytes roots
    if len(above) != n * HASH_BYTES:
        raise ValueError(f"{len(above)} bytes are not one hash for each of {n} tiles")
    for i in range(n):
        if type(held[i]) is not bytes:
            raise TypeError(f"tile {i} is {type(held[i]).__name__}, not bytes")
        if len(held[i]) != TILE_BYTES:
            raise ValueError(f"tile {i} is {len(held[i])} bytes long, not {TILE_BYTES}")
    roots = roots_of(held, n)
    if roots == above:
        return -1
    for i in range(n):
        if roots[i * HASH_BYTES : (i + 1) * HASH_BYTES] != above[i * HASH_BYTES : (i + 1) * HASH_BYTES]:
            return i
    raise AssertionError("two rows differ, but in none of their hashes")


# -- proofs --

cdef struct Climb:
    uint8_t[PAIR_BYTES] pair  # what is hashed next
    uint8_t[HASH_BYTES] root  # the root of what the proof has covered so far
    const uint8_t *sibling  # the next hash of the proof
    Py_ssize_t left  # how many are left
    uint64_t node  # index on the current level, counted from 0
    uint64_t last  # index of the rightmost node of that level
    bint ended  # the proof is as long as the claim needs, neither shorter nor longer


cdef bint step(Climb *climb) noexcept nogil:
    """Lay the next pair of one inclusion proof; False at its end (RFC 9162, 2.1.3.2)."""
    if climb.left == 0 or climb.last == 0:
        climb.ended = climb.left == 0 and climb.last == 0
        return False
    if climb.node & 1 or climb.node == climb.last:
        memcpy(climb.pair, climb.sibling, HASH_BYTES)
        memcpy(climb.pair + HASH_BYTES, climb.root, HASH_BYTES)
        # A right-edge node with no sibling rises unhashed until it is a right child.
        while climb.node and not climb.node & 1:
            climb.node >>= 1
            climb.last >>= 1
    else:
        memcpy(climb.pair, climb.root, HASH_BYTES)
        memcpy(climb.pair + HASH_BYTES, climb.sibling, HASH_BYTES)
    climb.node >>= 1
    climb.last >>= 1
    climb.sibling += HASH_BYTES
    climb.left -= 1
    return True


cdef void climb_all(Climb *climbs, Py_ssize_t count) noexcept nogil:
    """Take up to TOGETHER proofs to their ends, one level of all of them at a time: each is a chain, they are not."""
    cdef uint8_t[TOGETHER] prefixes
    cdef const uint8_t *pairs[TOGETHER]
    cdef uint8_t *roots[TOGETHER]
    cdef Py_ssize_t live, i
    memset(prefixes, NODE_PREFIX, TOGETHER)
    while True:
        live = 0
        for i in range(count):
            if step(&climbs[i]):
                pairs[live] = climbs[i].pair
                roots[live] = climbs[i].root
                live += 1
        if live == 0:
            return
        sha256_nodes(prefixes, pairs, roots, live)


def fold_many(bytes leaves not None, indices not None, sizes not None, proofs not None):
    """The roots that many inclusion proofs imply, each for its leaf hash, index and log size.

    It trusts no argument, so claims of strangers may come as they are; comparing the roots is the caller's.

    Args:
        leaves: 32 bytes for each claim.
        indices, sizes: of each claim; any integers.
        proofs: of each claim its sibling hashes from the leaf upwards, one after the other.

    Returns:
        Of each claim the root, or None where nothing can follow: the leaf is outside the log, the size
        beyond 64 bits, or the proof not as long as index and size demand.

    Raises:
        ValueError: not as many leaves, indices, sizes and proofs.
        TypeError: an argument is no sequence, an index no integer, a proof not bytes.
    """
    cdef tuple at = tuple(indices)
    cdef tuple of = tuple(sizes)
    cdef tuple held = tuple(proofs)
    cdef Py_ssize_t n = len(held)
    cdef list found = []
    cdef Climb *climbs
    cdef Py_ssize_t done = 0, count, i
    cdef const uint8_t *leaf = <const uint8_t *> PyBytes_AS_STRING(leaves)
    if len(at) != n or len(of) != n or len(leaves) != n * HASH_BYTES:
        raise ValueError(f"{len(leaves)} bytes of leaves, {len(at)} indices, {len(of)} sizes and {n} proofs")
    climbs = <Climb *> malloc(TOGETHER * sizeof(Climb))
    if climbs == NULL:
        raise MemoryError
    try:
        while done < n:
            count = min(n - done, <Py_ssize_t> TOGETHER)
            for i in range(count):
                begin(&climbs[i], leaf + (done + i) * HASH_BYTES, at[done + i], of[done + i], held[done + i])
            with nogil:
                climb_all(climbs, count)
            for i in range(count):
                found.append(
                    PyBytes_FromStringAndSize(<char *> climbs[i].root, HASH_BYTES) if climbs[i].ended else None
                )
            done += count
    finally:
        free(climbs)
    return found


cdef int begin(Climb *climb, const uint8_t *leaf, object index, object size, object proof) except -1:
    """A claim at its leaf; one that nothing can follow from gets a proof of no hashes in a log that needs some."""
    cdef uint64_t at = 0
    cdef uint64_t of = 0
    if type(proof) is not bytes:
        raise TypeError(f"a proof is {type(proof).__name__}, not bytes")
    try:
        at = index
        of = size
    except OverflowError:  # negative, or beyond 64 bits
        at = of = 0
    memcpy(climb.root, leaf, HASH_BYTES)
    climb.ended = False
    if at < of and len(<bytes> proof) % HASH_BYTES == 0:
        climb.sibling = <const uint8_t *> PyBytes_AS_STRING(<bytes> proof)
        climb.left = len(<bytes> proof) // HASH_BYTES
        climb.node = at
        climb.last = of - 1
    else:
        climb.left = 0
        climb.node = climb.last = 1
    return 0


# -- for tests and benches only --


def _fault() -> str:
    """Why the kernel that PYRSIA_SHA256 names is not the active one; empty if nothing is wrong with it."""
    return sha256_fault.decode("ascii")


def _select(bytes name not None) -> bool:
    """Make the kernel `name` the active one of this module; whether it can run here."""
    return bool(sha256_choose(PyBytes_AS_STRING(name)))


def _nodes(bytes prefixes, bytes pairs not None) -> bytes:
    """What `sha256_nodes` gives other modules: one hash for each 64 bytes of `pairs`; `sha256_pairs` for None."""
    cdef Py_ssize_t n = len(pairs) // PAIR_BYTES
    cdef Py_ssize_t i
    cdef bytes out = PyBytes_FromStringAndSize(NULL, n * HASH_BYTES)
    cdef const uint8_t **sources = <const uint8_t **> malloc((n + 1) * sizeof(const uint8_t *))
    cdef uint8_t **targets = <uint8_t **> malloc((n + 1) * sizeof(uint8_t *))
    try:
        if sources == NULL or targets == NULL:
            raise MemoryError
        if prefixes is not None and len(prefixes) != n:
            raise ValueError(f"{len(prefixes)} prefixes for {n} pairs")
        for i in range(n):
            sources[i] = <const uint8_t *> PyBytes_AS_STRING(pairs) + i * PAIR_BYTES
            targets[i] = <uint8_t *> PyBytes_AS_STRING(out) + i * HASH_BYTES
        if prefixes is None:
            sha256_pairs(sources, targets, n)
        else:
            sha256_nodes(<const uint8_t *> PyBytes_AS_STRING(prefixes), sources, targets, n)
    finally:
        free(sources)
        free(targets)
    return out


def _messages(items not None) -> bytes:
    """What `sha256_many` gives other modules: SHA-256 of each item."""
    return hash_items(items, False)
