# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
# cython: freethreading_compatible=True
"""Loops of the verifiable index: reading, changing and hashing pages of a prefix tree, and short histories.

A tree is stored in pages, each under

    tag u8 || n u8 || first n nibbles of its keys, padded with a zero nibble if n is odd || version u64 BE

with 0 <= n <= 63. A page is one of two kinds, and never changes once it is written:

    bucket = 1 u8 || count u8 (1..BUCKET_PAIRS) || count x (key 32 || value 32), keys rising
    fork   = 2 u8 || slots u16 BE || for each slot from 0 up: root 32 || version u64 BE

A bucket holds every pair whose key begins with the n nibbles. A fork splits them by the next nibble: bit s
of `slots` says that some have the nibble s, `root` is the root hash of their set, and their page stands under
n + 1 nibbles and `version`, which is at most the fork's own.

An update reads a level of pages at a time, so its caller asks storage once a level. All hashes of an update
are first written down as sums (which two hashes make which) and then made in order of their height, so that
those that do not need each other are hashed side by side, whichever page they belong to.

What decides (proofs, trust, whose fault) is typed Python in pyrsia.ledger.prefixtree; the oracle is
tests/reference/prefixtree.py. Source: docs/log.md, "Prefix tree"; the hash itself is sha256.h.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc, qsort, realloc
from libc.string cimport memcmp, memcpy, memset

cdef extern from "sha256.h" nogil:
    void sha256_nodes(const uint8_t *prefixes, const uint8_t **pairs, uint8_t **outs, size_t n) noexcept
    void sha256_pairs(const uint8_t **pairs, uint8_t **outs, size_t n) noexcept
    void sha256_prefixed(uint8_t prefix, const uint8_t *data, size_t size, uint8_t *out) noexcept

cdef extern from *:
    """
    #define PREFIXTREE_NONE 0xFFFFFFFFu
    #define prefixtree_clz64(x) __builtin_clzll(x)
    #define prefixtree_swap64(x) __builtin_bswap64(x)
    #define prefixtree_ones64(x) __builtin_popcountll(x)
    #if !defined(__BYTE_ORDER__) || __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
    #error "first_difference reads eight bytes of a key at once, as a little-endian number"
    #endif
    """
    uint32_t NONE "PREFIXTREE_NONE"  # no hash
    int clz64 "prefixtree_clz64"(uint64_t x) noexcept nogil
    int ones64 "prefixtree_ones64"(uint64_t x) noexcept nogil
    uint64_t swap64 "prefixtree_swap64"(uint64_t x) noexcept nogil

cdef enum:
    HASH = 32
    PAIR = 64
    ROW = 40
    SLOTS = 16
    SLOT = 40
    NIBBLES = 64
    BUCKET_MOST = 32
    BUCKET = 1  # kinds of a page
    FORK = 2
    BUCKET_HEAD = 2
    FORK_HEAD = 3
    SAME = 0  # what an update did to a node
    CHANGED = 1
    GONE = 2
    LEAF = 0  # kinds of a hash, in the top bits of its id
    KNOWN = 1
    SUM = 2
    KIND_SHIFT = 30
    AT_ONCE = 256  # sums gathered for one call: 24 KiB of them stay in the first cache
    ROW_PREFIX = 0x00  # RFC 6962, 2.1
    NODE_PREFIX = 0x01

BUCKET_PAIRS = BUCKET_MOST


class BadPage(ValueError):
    """A stored page or record is missing or breaks its format."""


# -- bytes --


cdef inline int nibble(const uint8_t *key, int at) noexcept nogil:
    return key[at >> 1] & 15 if at & 1 else key[at >> 1] >> 4


cdef inline int bit(const uint8_t *key, int at) noexcept nogil:
    return key[at >> 3] >> (7 - (at & 7)) & 1


cdef inline uint64_t load64(const uint8_t *at) noexcept nogil:
    cdef uint64_t x
    memcpy(&x, at, 8)
    return swap64(x)


cdef inline void store64(uint8_t *at, uint64_t x) noexcept nogil:
    x = swap64(x)
    memcpy(at, &x, 8)


cdef inline int first_difference(const uint8_t *a, const uint8_t *b) noexcept nogil:
    """The first bit, 0..255, at which two keys differ; 256 if they do not."""
    cdef int word
    cdef uint64_t x
    for word in range(4):
        x = load64(a + 8 * word) ^ load64(b + 8 * word)
        if x:
            return 64 * word + clz64(x)
    return 256


cdef inline bint shares(const uint8_t *key, const uint8_t *path, int depth) noexcept nogil:
    """Whether a key begins with the first `depth` nibbles of `path`."""
    return first_difference(key, path) >= 4 * depth


# -- arrays that grow --


cdef struct Room:
    void *at
    size_t used
    size_t size
    size_t width


cdef int make_room(Room *room, size_t more) except -1:
    """Room for `more` items behind those in use; what lies there may move."""
    cdef size_t size = room.size
    cdef void *at
    if room.used + more <= size:
        return 0
    while size < room.used + more:
        size = size * 2 if size else 64
    at = realloc(room.at, size * room.width)
    if at == NULL:
        raise MemoryError
    room.at = at
    room.size = size
    return 0


# -- sums: hashes that are written down first and made later --


cdef struct Sum:
    uint32_t left
    uint32_t right
    uint16_t height
    uint8_t prefix


cdef void hash_pairs(const uint8_t *pairs, uint8_t *out, size_t n) noexcept nogil:
    """out[i] = SHA-256(pairs[i]), exactly 64 bytes each."""
    cdef const uint8_t *rows[AT_ONCE]
    cdef uint8_t *outs[AT_ONCE]
    cdef size_t i, m
    while n:
        m = min(n, <size_t> AT_ONCE)
        for i in range(m):
            rows[i] = pairs + i * PAIR
            outs[i] = out + i * HASH
        sha256_pairs(rows, outs, m)
        pairs += m * PAIR
        out += m * HASH
        n -= m


cdef class Sums:
    """Hashes with ids: of pairs (LEAF), given ones (KNOWN), and sums of two others (SUM)."""

    cdef Room pairs  # key || value of each leaf; a page's stand side by side
    cdef Room known
    cdef Room sums
    cdef uint8_t *leaf_hashes
    cdef uint8_t *sum_hashes

    def __cinit__(self):
        self.pairs = Room(NULL, 0, 0, PAIR)
        self.known = Room(NULL, 0, 0, HASH)
        self.sums = Room(NULL, 0, 0, sizeof(Sum))
        self.leaf_hashes = NULL
        self.sum_hashes = NULL

    def __dealloc__(self):
        free(self.pairs.at)
        free(self.known.at)
        free(self.sums.at)
        free(self.leaf_hashes)
        free(self.sum_hashes)

    cdef uint32_t leaf(self, const uint8_t *key, const uint8_t *value) except? 0xFFFFFFFF:
        cdef uint8_t *place
        make_room(&self.pairs, 1)
        place = <uint8_t *> self.pairs.at + self.pairs.used * PAIR
        memcpy(place, key, HASH)
        memcpy(place + HASH, value, HASH)
        self.pairs.used += 1
        return <uint32_t> (self.pairs.used - 1) | (<uint32_t> LEAF << KIND_SHIFT)

    cdef uint8_t *place(self, uint32_t *made) except NULL:
        """Where a given hash is to be written, and its id."""
        make_room(&self.known, 1)
        made[0] = <uint32_t> self.known.used | (<uint32_t> KNOWN << KIND_SHIFT)
        self.known.used += 1
        return <uint8_t *> self.known.at + (self.known.used - 1) * HASH

    cdef uint32_t give(self, const uint8_t *given) except? 0xFFFFFFFF:
        cdef uint32_t made
        memcpy(self.place(&made), given, HASH)
        return made

    cdef int height(self, uint32_t made) noexcept nogil:
        if made >> KIND_SHIFT != SUM:
            return 0
        return (<Sum *> self.sums.at)[made & ((1 << KIND_SHIFT) - 1)].height

    cdef uint32_t join(self, int prefix, uint32_t left, uint32_t right) except? 0xFFFFFFFF:
        """SHA-256(prefix || left || right); where one side is NONE the other rises as it is."""
        cdef Sum *place
        cdef int above
        if left == NONE:
            return right
        if right == NONE:
            return left
        make_room(&self.sums, 1)
        place = <Sum *> self.sums.at + self.sums.used
        above = max(self.height(left), self.height(right)) + 1
        place.left = left
        place.right = right
        place.prefix = <uint8_t> prefix
        place.height = <uint16_t> above
        self.sums.used += 1
        return <uint32_t> (self.sums.used - 1) | (<uint32_t> SUM << KIND_SHIFT)

    cdef const uint8_t *hash(self, uint32_t made) noexcept nogil:
        """The hash of an id, once `make` has run."""
        cdef size_t at = made & ((1 << KIND_SHIFT) - 1)
        if made >> KIND_SHIFT == SUM:
            return self.sum_hashes + at * HASH
        if made >> KIND_SHIFT == KNOWN:
            return <const uint8_t *> self.known.at + at * HASH
        return self.leaf_hashes + at * HASH

    cdef int make(self) except -1:
        """Make every hash; the GIL is released meanwhile."""
        cdef uint32_t *order
        if max(self.pairs.used, max(self.known.used, self.sums.used)) >= 1 << KIND_SHIFT:
            raise ValueError("an update of a thousand million hashes")
        self.leaf_hashes = <uint8_t *> malloc(self.pairs.used * HASH + 1)
        self.sum_hashes = <uint8_t *> malloc(self.sums.used * HASH + 1)
        order = <uint32_t *> malloc(self.sums.used * sizeof(uint32_t) + 1)
        try:
            if self.leaf_hashes == NULL or self.sum_hashes == NULL or order == NULL:
                raise MemoryError
            with nogil:
                hash_pairs(<const uint8_t *> self.pairs.at, self.leaf_hashes, self.pairs.used)
                self.make_sums(order)
        finally:
            free(order)
        return 0

    cdef void make_sums(self, uint32_t *order) noexcept nogil:
        """Sums by height: whatever a sum needs lies lower, and those of one height do not need each other."""
        cdef size_t[1024] ends
        cdef const Sum *sums = <const Sum *> self.sums.at
        cdef uint8_t[AT_ONCE] prefixes
        cdef uint8_t[AT_ONCE * PAIR] pairs
        cdef const uint8_t *rows[AT_ONCE]
        cdef uint8_t *outs[AT_ONCE]
        cdef size_t i, n, at, end
        cdef int height
        memset(ends, 0, sizeof(ends))
        for i in range(self.sums.used):
            ends[sums[i].height] += 1
        for height in range(1, 1024):
            ends[height] += ends[height - 1]
        for i in range(self.sums.used, 0, -1):
            ends[sums[i - 1].height] -= 1
            order[ends[sums[i - 1].height]] = <uint32_t> (i - 1)
        at = 0
        while at < self.sums.used:
            height = sums[order[at]].height
            end = ends[height + 1]
            n = min(end - at, <size_t> AT_ONCE)
            for i in range(n):
                rows[i] = pairs + i * PAIR
                outs[i] = self.sum_hashes + <size_t> order[at + i] * HASH
                prefixes[i] = sums[order[at + i]].prefix
                memcpy(pairs + i * PAIR, self.hash(sums[order[at + i]].left), HASH)
                memcpy(pairs + i * PAIR + HASH, self.hash(sums[order[at + i]].right), HASH)
            sha256_nodes(prefixes, rows, outs, n)
            at += n


cdef uint32_t fold_pairs(Sums sums, const uint8_t *pairs, uint32_t first, int n) except? 0xFFFFFFFF:
    """The root of n >= 1 rising pairs, at most a bucket of them, whose leaves' ids are first, first + 1 and so on.

    The bits at which neighbours part, from left to right, tell the tree: a node is done when the next key
    parts from it at a higher place (a smaller bit) than its own.
    """
    cdef uint32_t[BUCKET_MOST] left
    cdef int[BUCKET_MOST] parts
    cdef int open_nodes = 0
    cdef int i, next_part
    cdef uint32_t node
    for i in range(n):
        node = first + i
        next_part = -1 if i == n - 1 else first_difference(pairs + i * PAIR, pairs + (i + 1) * PAIR)
        while open_nodes and parts[open_nodes - 1] > next_part:
            open_nodes -= 1
            node = sums.join(parts[open_nodes], left[open_nodes], node)
        left[open_nodes] = node
        parts[open_nodes] = next_part
        open_nodes += 1
    return left[0]


cdef uint32_t fold_slots(Sums sums, const uint32_t *slots, int first, int end, int depth) except? 0xFFFFFFFF:
    """The root over the slots [first, end) of a fork under `depth` nibbles; NONE if all are."""
    cdef int middle = (first + end) // 2
    cdef int at
    if end - first == 1:
        return slots[first]
    at = 4 * depth + 4 - (ones64(end - first - 1))  # 16 slots part at the fork's first bit, 2 at its fourth
    return sums.join(
        at, fold_slots(sums, slots, first, middle, depth), fold_slots(sums, slots, middle, end, depth)
    )


# -- pages --


cdef struct Page:
    const uint8_t *at
    int kind
    int count  # pairs of a bucket
    int slots  # bits of a fork


cdef int parse(Page *page, object data, const uint8_t *path, int depth, uint64_t version) except -1:
    """What a stored page says; every byte of it is checked, so what follows may run bare."""
    cdef const uint8_t *at
    cdef Py_ssize_t size
    cdef int i
    if data is None:
        raise BadPage("a page is missing")
    if type(data) is not bytes:
        raise TypeError(f"a page is {type(data).__name__}, not bytes")
    at = <const uint8_t *> PyBytes_AS_STRING(data)
    size = len(<bytes> data)
    page.at = at
    page.kind = at[0] if size >= FORK_HEAD else 0
    if page.kind == BUCKET:
        page.count = at[1]
        if not 1 <= page.count <= BUCKET_MOST or size != BUCKET_HEAD + page.count * PAIR:
            raise BadPage(f"a bucket of {page.count} pairs in {size} bytes")
        at += BUCKET_HEAD
        if not shares(at, path, depth) or not shares(at + (page.count - 1) * PAIR, path, depth):
            raise BadPage("a bucket holds a key of another page")
        for i in range(page.count - 1):
            if memcmp(at + i * PAIR, at + (i + 1) * PAIR, HASH) >= 0:
                raise BadPage("the keys of a bucket do not rise")
    elif page.kind == FORK:
        page.slots = at[1] << 8 | at[2]
        page.count = ones64(page.slots)
        if page.count == 0 or size != FORK_HEAD + page.count * SLOT or depth >= NIBBLES - 1:
            raise BadPage(f"a fork of {page.count} slots in {size} bytes under {depth} nibbles")
        for i in range(page.count):
            if load64(at + FORK_HEAD + i * SLOT + HASH) > version:
                raise BadPage("a fork of one version holds a page of a later one")
    else:
        raise BadPage("a page of no known kind")
    return 0


cdef inline const uint8_t *slot_of(const Page *page, int slot) noexcept nogil:
    """A fork's row for a slot that it has."""
    return page.at + FORK_HEAD + ones64(page.slots & ((1 << slot) - 1)) * SLOT


cdef bytes key_of_page(int tag, const uint8_t *path, int depth, uint64_t version):
    cdef int packed = (depth + 1) // 2
    cdef bytes key = PyBytes_FromStringAndSize(NULL, 2 + packed + 8)
    cdef uint8_t *at = <uint8_t *> PyBytes_AS_STRING(key)
    at[0] = <uint8_t> tag
    at[1] = <uint8_t> depth
    memcpy(at + 2, path, packed)
    if depth & 1:
        at[1 + packed] &= 0xF0
    store64(at + 2 + packed, version)
    return key


cdef int load_slots(Sums sums, const Page *page, uint32_t *ids) except -1:
    cdef int slot
    for slot in range(SLOTS):
        ids[slot] = sums.give(slot_of(page, slot)) if page.slots >> slot & 1 else NONE
    return 0


cdef uint32_t load_pairs(Sums sums, const uint8_t *pairs, int n) except? 0xFFFFFFFF:
    """The pairs of a bucket as leaves; the first one's id."""
    cdef uint32_t first
    make_room(&sums.pairs, n)
    first = <uint32_t> sums.pairs.used | (<uint32_t> LEAF << KIND_SHIFT)
    memcpy(<uint8_t *> sums.pairs.at + sums.pairs.used * PAIR, pairs, n * PAIR)
    sums.pairs.used += n
    return first


# -- one page at a time: proofs and walks --


cdef const uint8_t *checked_path(bytes path, int depth) except NULL:
    if len(path) != HASH or not 0 <= depth < NIBBLES:
        raise ValueError("a path is 32 bytes, of which up to 63 nibbles count")
    return <const uint8_t *> PyBytes_AS_STRING(path)


def page_key(int tag, bytes path not None, int depth, uint64_t version):
    """The key of the page under the first `depth` nibbles (0..63) of `path` (32 bytes).

    Raises:
        ValueError: `tag` is no byte, or the path or depth is not as said.
    """
    if not 0 <= tag <= 255:
        raise ValueError("a tag is one byte")
    return key_of_page(tag, checked_path(path, depth), depth, version)


def look(object page, bytes path not None, int depth, uint64_t version, bytes key not None):
    """One page of a lookup: the steps that it adds, from the root down, and where the lookup goes on or ends.

    Args:
        path: 32 bytes; the page stands under its first `depth` nibbles, which `key` need not share.
        version: of the page.

    Returns:
        (steps, (slot, version) of the next page or None, (key, value) of the leaf or None).

    Raises:
        BadPage: it is missing or breaks its format.
    """
    cdef Page found
    cdef Sums sums = Sums()
    cdef list steps = []
    cdef const uint8_t *goal
    if len(key) != HASH:
        raise ValueError("a key is 32 bytes")
    goal = <const uint8_t *> PyBytes_AS_STRING(key)
    parse(&found, page, checked_path(path, depth), depth, version)
    if found.kind == FORK:
        return look_in_fork(sums, &found, depth, goal)
    return look_in_bucket(sums, &found, goal)


cdef tuple look_in_fork(Sums sums, const Page *page, int depth, const uint8_t *goal):
    cdef uint32_t[SLOTS] ids
    cdef uint32_t left, right
    cdef int first = 0, end = SLOTS, at = 4 * depth
    cdef int middle
    cdef list steps = []
    cdef const uint8_t *row
    load_slots(sums, page, ids)
    while end - first > 1:
        middle = (first + end) // 2
        left = fold_slots(sums, ids, first, middle, depth)
        right = fold_slots(sums, ids, middle, end, depth)
        if left != NONE and right != NONE:
            steps.append((at, right if bit(goal, at) == 0 else left))
        if right == NONE or (left != NONE and bit(goal, at) == 0):
            end = middle
        else:
            first = middle
        at += 1
    row = slot_of(page, first)
    return made_steps(sums, steps), (first, load64(row + HASH)), None


cdef tuple look_in_bucket(Sums sums, const Page *page, const uint8_t *goal):
    cdef int first = 0, end = page.count
    cdef int at, middle
    cdef const uint8_t *pairs = page.at + BUCKET_HEAD
    cdef uint32_t ids = load_pairs(sums, pairs, page.count)
    cdef list steps = []
    while end - first > 1:
        at = first_difference(pairs + first * PAIR, pairs + (end - 1) * PAIR)
        middle = first + 1
        while bit(pairs + middle * PAIR, at) == 0:
            middle += 1
        if bit(goal, at) == 0:
            steps.append((at, fold_pairs(sums, pairs + middle * PAIR, ids + middle, end - middle)))
            end = middle
        else:
            steps.append((at, fold_pairs(sums, pairs + first * PAIR, ids + first, middle - first)))
            first = middle
    return made_steps(sums, steps), None, pair_at(pairs, first)


cdef list made_steps(Sums sums, list steps):
    sums.make()
    return [(at, PyBytes_FromStringAndSize(<const char *> sums.hash(made), HASH)) for at, made in steps]


cdef tuple pair_at(const uint8_t *pairs, int i):
    return (
        PyBytes_FromStringAndSize(<const char *> pairs + i * PAIR, HASH),
        PyBytes_FromStringAndSize(<const char *> pairs + i * PAIR + HASH, HASH),
    )


def read(object page, bytes path not None, int depth, uint64_t version):
    """All that a page says: its root, and either (slot, version, root) of each page below it or its pairs.

    Raises:
        BadPage: it is missing or breaks its format.
    """
    cdef Page found
    cdef Sums sums = Sums()
    cdef uint32_t[SLOTS] ids
    cdef uint32_t made
    cdef int slot
    cdef list slots = [], pairs = []
    cdef const uint8_t *row
    parse(&found, page, checked_path(path, depth), depth, version)
    if found.kind == FORK:
        load_slots(sums, &found, ids)
        made = fold_slots(sums, ids, 0, SLOTS, depth)
        for slot in range(SLOTS):
            if found.slots >> slot & 1:
                row = slot_of(&found, slot)
                slots.append((slot, load64(row + HASH), PyBytes_FromStringAndSize(<const char *> row, HASH)))
    else:
        row = found.at + BUCKET_HEAD
        made = fold_pairs(sums, row, load_pairs(sums, row, found.count), found.count)
        for slot in range(found.count):
            pairs.append(pair_at(row, slot))
    sums.make()
    return PyBytes_FromStringAndSize(<const char *> sums.hash(made), HASH), slots, pairs


# -- updates: level by level --


cdef struct Edit:
    const uint8_t *key
    const uint8_t *value  # NULL: the key goes


cdef struct Node:
    uint32_t first  # of its edits, which stand in a row
    uint32_t end
    uint32_t child  # of the nodes below it, which stand in a row too, by slot
    uint32_t hash  # its new root, once it is CHANGED
    uint64_t version
    Page page
    uint16_t touched  # slots with a node below it
    uint8_t depth
    uint8_t stored  # whether there is a page yet
    uint8_t state


cdef struct Fresh:  # a page to write
    const uint8_t *path
    uint8_t depth
    uint8_t kind
    uint16_t slots
    uint32_t first  # its first pair among the sums' pairs, or its first slot among `rows`
    uint32_t count


cdef struct Row:
    uint64_t version
    uint32_t hash


cdef int by_key(const void *a, const void *b) noexcept nogil:
    return memcmp((<const Edit *> a).key, (<const Edit *> b).key, HASH)


cdef class Update:
    """One update of a tree: while `wanted` names pages, `feed` them; then `finish`.

    Holds the edits and the pages that they touch, nothing else of the tree.
    """

    cdef int tag
    cdef dict edits_held  # keeps the bytes alive that `edits` points into
    cdef list pages_held  # and those that the nodes point into
    cdef Room edits
    cdef Room nodes
    cdef Room merged  # pairs of the bucket at hand
    cdef Room fresh
    cdef Room rows
    cdef size_t level  # first node of the level whose pages are wanted
    cdef bint finished
    cdef Sums sums

    def __cinit__(self, int tag, object version, object edits not None):
        """
        Args:
            tag: first byte of the tree's page keys.
            version: of its root page, or None if the tree is empty.
            edits: key to new value, or to None for a key that goes; 32 bytes each.

        Raises:
            ValueError: a key or value is not 32 bytes, or `tag` no byte.
            TypeError: they are not bytes.
        """
        self.edits = Room(NULL, 0, 0, sizeof(Edit))
        self.nodes = Room(NULL, 0, 0, sizeof(Node))
        self.merged = Room(NULL, 0, 0, sizeof(Edit))
        self.fresh = Room(NULL, 0, 0, sizeof(Fresh))
        self.rows = Room(NULL, 0, 0, sizeof(Row))
        if not 0 <= tag <= 255:
            raise ValueError("a tag is one byte")
        self.tag = tag
        self.edits_held = dict(edits)
        self.pages_held = []
        self.sums = Sums()
        self.level = 0
        self.finished = False
        self.take_edits()
        if self.edits.used:
            self.plant(0, <uint32_t> self.edits.used, 0, version is not None, 0 if version is None else version)

    def __dealloc__(self):
        free(self.edits.at)
        free(self.nodes.at)
        free(self.merged.at)
        free(self.fresh.at)
        free(self.rows.at)

    cdef int take_edits(self) except -1:
        cdef Edit *edit
        if len(self.edits_held) >= 1 << 24:
            raise ValueError(f"{len(self.edits_held)} edits at once")
        make_room(&self.edits, len(self.edits_held))
        for key, value in self.edits_held.items():
            if type(key) is not bytes or not (value is None or type(value) is bytes):
                raise TypeError("keys and values of a prefix tree are bytes")
            if len(<bytes> key) != HASH or (value is not None and len(<bytes> value) != HASH):
                raise ValueError("keys and values of a prefix tree are 32 bytes")
            edit = <Edit *> self.edits.at + self.edits.used
            edit.key = <const uint8_t *> PyBytes_AS_STRING(key)
            edit.value = NULL
            if value is not None:
                edit.value = <const uint8_t *> PyBytes_AS_STRING(value)
            self.edits.used += 1
        if self.edits.used:
            qsort(self.edits.at, self.edits.used, sizeof(Edit), by_key)
        return 0

    cdef int plant(self, uint32_t first, uint32_t end, int depth, bint stored, uint64_t version) except -1:
        cdef Node *node
        make_room(&self.nodes, 1)
        node = <Node *> self.nodes.at + self.nodes.used
        memset(node, 0, sizeof(Node))
        node.first = first
        node.end = end
        node.depth = <uint8_t> depth
        node.stored = stored
        node.version = version
        node.hash = NONE
        self.nodes.used += 1
        return 0

    cdef const uint8_t *path(self, const Node *node) noexcept nogil:
        return (<const Edit *> self.edits.at)[node.first].key

    cdef bytes key_of(self, const Node *node, uint64_t version):
        return key_of_page(self.tag, self.path(node), node.depth, version)

    def wanted(self):
        """Keys of the pages to `feed` next, in that order; none once the last level is known."""
        cdef Node *node
        cdef list keys = []
        cdef size_t i
        for i in range(self.level, self.nodes.used):
            node = <Node *> self.nodes.at + i
            if node.stored:
                keys.append(self.key_of(node, node.version))
        return keys

    def feed(self, list pages not None):
        """Take the pages that were wanted: one each, None for one that is missing.

        Raises:
            BadPage: one is missing or breaks its format.
            ValueError: there are too few or too many.
        """
        cdef size_t end = self.nodes.used
        cdef size_t i
        cdef Py_ssize_t n = 0
        cdef Node *node
        for i in range(self.level, end):
            node = <Node *> self.nodes.at + i
            if not node.stored:
                continue
            if n == len(pages):
                raise ValueError("fewer pages than were wanted")
            parse(&node.page, pages[n], self.path(node), node.depth, node.version)
            self.pages_held.append(pages[n])
            n += 1
            if node.page.kind == FORK:
                self.branch(i)
        if n != len(pages):
            raise ValueError("more pages than were wanted")
        self.level = end

    cdef int branch(self, size_t i) except -1:
        """Nodes below a fork for the slots that its edits touch; deleting in a slot that is not there is nothing."""
        cdef const Edit *edits = <const Edit *> self.edits.at
        cdef Node node = (<Node *> self.nodes.at)[i]  # a copy: the nodes may move
        cdef uint32_t first = node.first
        cdef uint32_t end
        cdef int slot
        cdef bint adds, has
        cdef uint16_t touched = 0
        (<Node *> self.nodes.at)[i].child = <uint32_t> self.nodes.used
        while first < node.end:
            slot = nibble(edits[first].key, node.depth)
            adds = False
            end = first
            while end < node.end and nibble(edits[end].key, node.depth) == slot:
                adds = adds or edits[end].value != NULL
                end += 1
            has = node.page.slots >> slot & 1
            if adds or has:
                touched |= <uint16_t> (1 << slot)
                self.plant(
                    first, end, node.depth + 1, has, load64(slot_of(&node.page, slot) + HASH) if has else 0
                )
            first = end
        (<Node *> self.nodes.at)[i].touched = touched
        return 0

    def finish(self, uint64_t version):
        """The new pages, all under `version`.

        Returns:
            (whether anything changed; the new root, or None if the tree is empty now; page key -> page; keys of
            pages that are no part of the tree any more and that no new page overwrites).

        Raises:
            ValueError: pages are still wanted, or it was finished before.
        """
        cdef size_t i
        cdef Node *node
        cdef list dropped = []
        if self.finished or (self.level < self.nodes.used and self.wanted()):
            raise ValueError("an update is finished once, when no page is wanted any more")
        self.finished = True
        for i in range(self.nodes.used, 0, -1):  # those below come after those above
            self.settle(i - 1, version)
        for i in range(self.nodes.used):
            node = <Node *> self.nodes.at + i
            if node.stored and (node.state == GONE or (node.state == CHANGED and node.version != version)):
                dropped.append(self.key_of(node, node.version))
        if self.nodes.used == 0 or (<Node *> self.nodes.at).state == SAME:
            return False, None, {}, ()
        node = <Node *> self.nodes.at
        self.sums.make()
        root = None
        if node.state == CHANGED:
            root = PyBytes_FromStringAndSize(<const char *> self.sums.hash(node.hash), HASH)
        return True, root, self.written(version), tuple(dropped)

    cdef int settle(self, size_t i, uint64_t version) except -1:
        cdef Node *node = <Node *> self.nodes.at + i
        if node.stored and node.page.kind == FORK:
            return self.settle_fork(node, version)
        return self.settle_bucket(node, version)

    cdef int settle_bucket(self, Node *node, uint64_t version) except -1:
        if not self.merge(node):
            node.state = SAME
        elif self.merged.used == 0:
            node.state = GONE
        else:
            node.state = CHANGED
            node.hash = self.build(0, self.merged.used, node.depth, version)
        return 0

    cdef bint merge(self, const Node *node) except? True:
        """The pairs of a bucket with its edits, into `merged`; whether anything is new."""
        cdef int count = node.page.count if node.stored else 0
        cdef const uint8_t *old = node.page.at + BUCKET_HEAD
        cdef const Edit *edit = <const Edit *> self.edits.at + node.first
        cdef const Edit *end = <const Edit *> self.edits.at + node.end
        cdef Edit *into
        cdef int order
        cdef bint new = False
        self.merged.used = 0
        make_room(&self.merged, count + (node.end - node.first))
        into = <Edit *> self.merged.at
        while count or edit < end:
            order = 1 if count == 0 else -1 if edit == end else memcmp(old, edit.key, HASH)
            if order < 0:
                into[0] = Edit(old, old + HASH)
                into += 1
            elif edit.value != NULL:
                into[0] = edit[0]
                into += 1
                new = new or order > 0 or memcmp(old + HASH, edit.value, HASH) != 0
            elif order == 0:
                new = True
            if order <= 0:
                old += PAIR
                count -= 1
            if order >= 0:
                edit += 1
        self.merged.used = into - <Edit *> self.merged.at
        return new

    cdef uint32_t build(self, size_t first, size_t end, int depth, uint64_t version) except? 0xFFFFFFFF:
        """Pages for the merged pairs [first, end), which share `depth` nibbles; the id of their root."""
        cdef uint32_t[SLOTS] ids
        cdef uint64_t[SLOTS] versions
        cdef const Edit *pairs = <const Edit *> self.merged.at
        cdef size_t at
        cdef int slot
        if end - first <= BUCKET_MOST:
            return self.write_bucket(pairs + first, <int> (end - first), depth)
        for slot in range(SLOTS):
            ids[slot] = NONE
            versions[slot] = version
        at = first
        while first < end:
            slot = nibble(pairs[first].key, depth)
            while at < end and nibble(pairs[at].key, depth) == slot:
                at += 1
            ids[slot] = self.build(first, at, depth + 1, version)
            first = at
        return self.write_fork(pairs[end - 1].key, depth, ids, versions)

    cdef uint32_t write_bucket(self, const Edit *pairs, int n, int depth) except? 0xFFFFFFFF:
        cdef Fresh *page
        cdef uint32_t first = <uint32_t> self.sums.pairs.used
        cdef int i
        make_room(&self.sums.pairs, n)
        for i in range(n):
            self.sums.leaf(pairs[i].key, pairs[i].value)
        make_room(&self.fresh, 1)
        page = <Fresh *> self.fresh.at + self.fresh.used
        page[0] = Fresh(pairs[0].key, <uint8_t> depth, BUCKET, 0, first, n)
        self.fresh.used += 1
        return fold_pairs(self.sums, <const uint8_t *> self.sums.pairs.at + <size_t> first * PAIR, first, n)

    cdef uint32_t write_fork(
        self, const uint8_t *path, int depth, const uint32_t *ids, const uint64_t *versions
    ) except? 0xFFFFFFFF:
        cdef Fresh *page
        cdef uint32_t first = <uint32_t> self.rows.used
        cdef uint16_t slots = 0
        cdef int slot
        make_room(&self.rows, SLOTS)
        for slot in range(SLOTS):
            if ids[slot] != NONE:
                slots |= <uint16_t> (1 << slot)
                (<Row *> self.rows.at)[self.rows.used] = Row(versions[slot], ids[slot])
                self.rows.used += 1
        make_room(&self.fresh, 1)
        page = <Fresh *> self.fresh.at + self.fresh.used
        page[0] = Fresh(path, <uint8_t> depth, FORK, slots, first, <uint32_t> (self.rows.used - first))
        self.fresh.used += 1
        return fold_slots(self.sums, ids, 0, SLOTS, depth)

    cdef int settle_fork(self, Node *node, uint64_t version) except -1:
        cdef uint32_t[SLOTS] ids
        cdef uint64_t[SLOTS] versions
        cdef const Node *child = <const Node *> self.nodes.at + node.child
        cdef int below = ones64(node.touched)
        cdef int slot, i
        cdef bint left = False
        for i in range(below):
            if child[i].state != SAME:
                break
        else:
            node.state = SAME
            return 0
        for slot in range(SLOTS):
            ids[slot] = NONE
            versions[slot] = version
            i = ones64(node.touched & ((1 << slot) - 1))
            if node.touched >> slot & 1 and child[i].state != SAME:
                if child[i].state == CHANGED:
                    ids[slot] = child[i].hash
            elif node.page.slots >> slot & 1:
                ids[slot] = self.sums.give(slot_of(&node.page, slot))
                versions[slot] = load64(slot_of(&node.page, slot) + HASH)
            left = left or ids[slot] != NONE
        if not left:
            node.state = GONE
            return 0
        node.state = CHANGED
        node.hash = self.write_fork(self.path(node), node.depth, ids, versions)
        return 0

    cdef dict written(self, uint64_t version):
        cdef dict pages = {}
        cdef const Fresh *fresh = <const Fresh *> self.fresh.at
        cdef size_t i
        for i in range(self.fresh.used):
            key = key_of_page(self.tag, fresh[i].path, fresh[i].depth, version)
            pages[key] = self.bucket(fresh + i) if fresh[i].kind == BUCKET else self.fork(fresh + i)
        return pages

    cdef bytes bucket(self, const Fresh *fresh):
        cdef bytes page = PyBytes_FromStringAndSize(NULL, BUCKET_HEAD + <Py_ssize_t> fresh.count * PAIR)
        cdef uint8_t *at = <uint8_t *> PyBytes_AS_STRING(page)
        at[0] = BUCKET
        at[1] = <uint8_t> fresh.count
        memcpy(
            at + BUCKET_HEAD,
            <const uint8_t *> self.sums.pairs.at + <size_t> fresh.first * PAIR,
            <size_t> fresh.count * PAIR,
        )
        return page

    cdef bytes fork(self, const Fresh *fresh):
        cdef bytes page = PyBytes_FromStringAndSize(NULL, FORK_HEAD + <Py_ssize_t> fresh.count * SLOT)
        cdef uint8_t *at = <uint8_t *> PyBytes_AS_STRING(page)
        cdef const Row *rows = <const Row *> self.rows.at + fresh.first
        cdef uint32_t i
        at[0] = FORK
        at[1] = <uint8_t> (fresh.slots >> 8)
        at[2] = <uint8_t> (fresh.slots & 0xFF)
        for i in range(fresh.count):
            memcpy(at + FORK_HEAD + i * SLOT, self.sums.hash(rows[i].hash), HASH)
            store64(at + FORK_HEAD + i * SLOT + HASH, rows[i].version)
        return page


# -- histories: a small RFC 6962 tree of each key's rows, of which only the right edge is kept --


def histories(list records not None, list rows not None):
    """Append rows to histories: the new records, and the joined 32-byte values that a prefix tree holds of them.

    A record is `count u64 BE || roots of the perfect subtrees that count is the sum of, largest first`. A value is
    SHA-256(count u64 BE || RFC 6962 root of all rows so far).

    Args:
        records: of each history, None for one that begins.
        rows: for each history one or more rows of 40 bytes (leaf index u64 BE || leaf hash), joined.

    Raises:
        BadPage: a record breaks its format.
        ValueError: not as many rows as records, or rows that are not whole.
    """
    cdef Sums sums = Sums()
    cdef Room edges = Room(NULL, 0, 0, sizeof(uint32_t))
    cdef Py_ssize_t n = len(records)
    cdef Py_ssize_t i
    cdef list counts = [], made = []
    cdef bytes values = PyBytes_FromStringAndSize(NULL, n * HASH)
    cdef uint8_t *value = <uint8_t *> PyBytes_AS_STRING(values)
    cdef uint32_t *roots
    cdef size_t at = 0
    cdef uint64_t count
    if len(rows) != n:
        raise ValueError(f"rows of {len(rows)} histories for {n} records")
    roots = <uint32_t *> malloc(n * sizeof(uint32_t) + 1)
    try:
        if roots == NULL:
            raise MemoryError
        for i in range(n):
            counts.append(append_rows(sums, &edges, records[i], rows[i], roots + i))
        sums.make()
        for i in range(n):
            count = counts[i]
            made.append(record_of(sums, count, <const uint32_t *> edges.at + at))
            at += ones64(count)
            value_of(count, sums.hash(roots[i]), value + i * HASH)
    finally:
        free(edges.at)
        free(roots)
    return made, values


cdef uint64_t append_rows(Sums sums, Room *edges, object record, bytes rows, uint32_t *root) except? 0:
    """One history with its new rows: its count; the ids of its edge go behind `edges`, that of its root into `root`."""
    cdef uint32_t[64] edge
    cdef uint64_t count = 0
    cdef int used = 0
    cdef int i
    cdef const uint8_t *at
    cdef uint64_t carry
    if record is not None:
        count = read_record(sums, record, edge)
        used = ones64(count)
    if rows is None or len(rows) == 0 or len(rows) % ROW:
        raise ValueError("rows of a history are one or more times 40 bytes")
    at = <const uint8_t *> PyBytes_AS_STRING(rows)
    for _ in range(len(rows) // ROW):
        sha256_prefixed(ROW_PREFIX, at, ROW, sums.place(&edge[used]))
        at += ROW
        carry = count
        while carry & 1:  # two subtrees of one size are one of the next
            used -= 1
            edge[used] = sums.join(NODE_PREFIX, edge[used], edge[used + 1])
            carry >>= 1
        used += 1
        count += 1
    root[0] = edge[used - 1]
    for i in range(used - 2, -1, -1):
        root[0] = sums.join(NODE_PREFIX, edge[i], root[0])
    make_room(edges, used)
    memcpy(<uint32_t *> edges.at + edges.used, edge, used * sizeof(uint32_t))
    edges.used += used
    return count


cdef uint64_t read_record(Sums sums, object record, uint32_t *edge) except? 0:
    cdef const uint8_t *at
    cdef uint64_t count
    cdef int i
    if type(record) is not bytes:
        raise TypeError(f"a record is {type(record).__name__}, not bytes")
    at = <const uint8_t *> PyBytes_AS_STRING(record)
    count = load64(at) if len(<bytes> record) >= 8 else 0
    if not 0 < count < <uint64_t> 1 << 53 or len(<bytes> record) != 8 + ones64(count) * HASH:
        raise BadPage("the record of a history does not fit its count")
    for i in range(ones64(count)):
        edge[i] = sums.give(at + 8 + i * HASH)
    return count


cdef bytes record_of(Sums sums, uint64_t count, const uint32_t *edge):
    cdef int parts = ones64(count)
    cdef bytes record = PyBytes_FromStringAndSize(NULL, 8 + parts * HASH)
    cdef uint8_t *at = <uint8_t *> PyBytes_AS_STRING(record)
    cdef int i
    store64(at, count)
    for i in range(parts):
        memcpy(at + 8 + i * HASH, sums.hash(edge[i]), HASH)
    return record


cdef void value_of(uint64_t count, const uint8_t *root, uint8_t *out) noexcept nogil:
    cdef uint8_t[8 + HASH] text
    store64(text, count)
    memcpy(text + 8, root, HASH)
    sha256_prefixed(text[0], text + 1, 8 + HASH - 1, out)
