# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
# cython: freethreading_compatible=True
"""Loops of the verifiable index: reading, changing and hashing pages of a prefix tree.

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
from libc.stdlib cimport free, qsort
from libc.string cimport memcmp, memcpy, memset

cdef extern from "sums.h" nogil:
    ctypedef struct room:
        void *at
        size_t used
        size_t width
    ctypedef struct sums:
        room pairs
    uint32_t SUMS_NONE
    int room_for(room *r, size_t more) noexcept
    void sums_begin(sums *s) noexcept
    void sums_end(sums *s) noexcept
    uint32_t sums_leaves(sums *s, const uint8_t *pairs, size_t n) noexcept
    uint32_t sums_leaf(sums *s, const uint8_t *key, const uint8_t *value) noexcept
    uint32_t sums_give(sums *s, const uint8_t *hash) noexcept
    uint32_t sums_join(sums *s, uint8_t prefix, uint32_t left, uint32_t right) noexcept
    const uint8_t *sums_hash(const sums *s, uint32_t number) noexcept
    int sums_make(sums *s) noexcept
    uint64_t load_u64(const uint8_t *at) noexcept
    void store_u64(uint8_t *at, uint64_t x) noexcept
    int ones(uint64_t x) noexcept
    int key_nibble(const uint8_t *key, int at) noexcept
    int key_bit(const uint8_t *key, int at) noexcept
    int key_order(const uint8_t *a, const uint8_t *b) noexcept
    int key_parts(const uint8_t *a, const uint8_t *b) noexcept

cdef enum:
    HASH = 32
    PAIR = 64
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

BUCKET_PAIRS = BUCKET_MOST


class BadPage(ValueError):
    """A stored page is missing or breaks its format."""


cdef class Sums:
    """Owner of the hashes that one call notes."""

    cdef sums all

    def __cinit__(self):
        sums_begin(&self.all)

    def __dealloc__(self):
        sums_end(&self.all)

    cdef int make(self) except -1:
        """Make every hash; the GIL is released meanwhile."""
        cdef int enough
        with nogil:
            enough = sums_make(&self.all)
        if not enough:
            raise MemoryError
        return 0

    cdef bytes hash(self, uint32_t number):
        return PyBytes_FromStringAndSize(<const char *> sums_hash(&self.all, number), HASH)


cdef int make_room(room *r, size_t more) except -1:
    if not room_for(r, more):
        raise MemoryError
    return 0


cdef inline bint shares(const uint8_t *key, const uint8_t *path, int depth) noexcept nogil:
    """Whether a key begins with the first `depth` nibbles of `path`."""
    return key_parts(key, path) >= 4 * depth


# -- roots --


cdef uint32_t fold_pairs(sums *s, const uint8_t *pairs, uint32_t first, int n) noexcept nogil:
    """The root of n >= 1 rising pairs, at most a bucket of them; their leaves' numbers begin with `first`.

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
        next_part = -1 if i == n - 1 else key_parts(pairs + i * PAIR, pairs + (i + 1) * PAIR)
        while open_nodes and parts[open_nodes - 1] > next_part:
            open_nodes -= 1
            node = sums_join(s, <uint8_t> parts[open_nodes], left[open_nodes], node)
        left[open_nodes] = node
        parts[open_nodes] = next_part
        open_nodes += 1
    return left[0]


cdef uint32_t fold_slots(sums *s, const uint32_t *slots, int first, int end, int depth) noexcept nogil:
    """The root over the slots [first, end) of a fork under `depth` nibbles; SUMS_NONE if all are."""
    cdef int middle = (first + end) // 2
    cdef uint32_t left, right
    if end - first == 1:
        return slots[first]
    left = fold_slots(s, slots, first, middle, depth)
    right = fold_slots(s, slots, middle, end, depth)
    # 16 slots part at the fork's first bit, 8 at its second, 2 at its fourth.
    return sums_join(s, <uint8_t> (4 * depth + 4 - ones(end - first - 1)), left, right)


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
            if key_order(at + i * PAIR, at + (i + 1) * PAIR) >= 0:
                raise BadPage("the keys of a bucket do not rise")
    elif page.kind == FORK:
        page.slots = at[1] << 8 | at[2]
        page.count = ones(page.slots)
        if page.count == 0 or size != FORK_HEAD + page.count * SLOT or depth >= NIBBLES - 1:
            raise BadPage(f"a fork of {page.count} slots in {size} bytes under {depth} nibbles")
        for i in range(page.count):
            if load_u64(at + FORK_HEAD + i * SLOT + HASH) > version:
                raise BadPage("a fork of one version holds a page of a later one")
    else:
        raise BadPage("a page of no known kind")
    return 0


cdef inline const uint8_t *slot_of(const Page *page, int slot) noexcept nogil:
    """A fork's row for a slot that it has."""
    return page.at + FORK_HEAD + ones(page.slots & ((1 << slot) - 1)) * SLOT


cdef bytes key_of_page(int tag, const uint8_t *path, int depth, uint64_t version):
    cdef int packed = (depth + 1) // 2
    cdef bytes key = PyBytes_FromStringAndSize(NULL, 2 + packed + 8)
    cdef uint8_t *at = <uint8_t *> PyBytes_AS_STRING(key)
    at[0] = <uint8_t> tag
    at[1] = <uint8_t> depth
    memcpy(at + 2, path, packed)
    if depth & 1:
        at[1 + packed] &= 0xF0
    store_u64(at + 2 + packed, version)
    return key


cdef void load_slots(sums *s, const Page *page, uint32_t *numbers) noexcept nogil:
    cdef int slot
    for slot in range(SLOTS):
        numbers[slot] = sums_give(s, slot_of(page, slot)) if page.slots >> slot & 1 else SUMS_NONE


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
    cdef Sums made = Sums()
    cdef const uint8_t *goal
    if len(key) != HASH:
        raise ValueError("a key is 32 bytes")
    goal = <const uint8_t *> PyBytes_AS_STRING(key)
    parse(&found, page, checked_path(path, depth), depth, version)
    if found.kind == FORK:
        return look_in_fork(made, &found, depth, goal)
    return look_in_bucket(made, &found, goal)


cdef tuple look_in_fork(Sums made, const Page *page, int depth, const uint8_t *goal):
    cdef uint32_t[SLOTS] numbers
    cdef uint32_t left, right
    cdef int first = 0, end = SLOTS, at = 4 * depth
    cdef int middle
    cdef list steps = []
    cdef const uint8_t *row
    load_slots(&made.all, page, numbers)
    while end - first > 1:
        middle = (first + end) // 2
        left = fold_slots(&made.all, numbers, first, middle, depth)
        right = fold_slots(&made.all, numbers, middle, end, depth)
        if left != SUMS_NONE and right != SUMS_NONE:
            steps.append((at, left if key_bit(goal, at) else right))
        if right == SUMS_NONE or (left != SUMS_NONE and not key_bit(goal, at)):
            end = middle
        else:
            first = middle
        at += 1
    row = slot_of(page, first)
    return made_steps(made, steps), (first, load_u64(row + HASH)), None


cdef tuple look_in_bucket(Sums made, const Page *page, const uint8_t *goal):
    cdef int first = 0, end = page.count
    cdef int at, middle
    cdef const uint8_t *pairs = page.at + BUCKET_HEAD
    cdef uint32_t leaf = sums_leaves(&made.all, pairs, page.count)
    cdef list steps = []
    while end - first > 1:
        at = key_parts(pairs + first * PAIR, pairs + (end - 1) * PAIR)
        middle = first + 1
        while not key_bit(pairs + middle * PAIR, at):
            middle += 1
        if key_bit(goal, at):
            steps.append((at, fold_pairs(&made.all, pairs + first * PAIR, leaf + first, middle - first)))
            first = middle
        else:
            steps.append((at, fold_pairs(&made.all, pairs + middle * PAIR, leaf + middle, end - middle)))
            end = middle
    return made_steps(made, steps), None, pair_at(pairs, first)


cdef list made_steps(Sums made, list steps):
    made.make()
    return [(at, made.hash(number)) for at, number in steps]


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
    cdef Sums made = Sums()
    cdef uint32_t[SLOTS] numbers
    cdef uint32_t root
    cdef int i
    cdef list slots = [], pairs = []
    cdef const uint8_t *row
    parse(&found, page, checked_path(path, depth), depth, version)
    if found.kind == FORK:
        load_slots(&made.all, &found, numbers)
        root = fold_slots(&made.all, numbers, 0, SLOTS, depth)
        for i in range(SLOTS):
            if found.slots >> i & 1:
                row = slot_of(&found, i)
                slots.append((i, load_u64(row + HASH), PyBytes_FromStringAndSize(<const char *> row, HASH)))
    else:
        row = found.at + BUCKET_HEAD
        root = fold_pairs(&made.all, row, sums_leaves(&made.all, row, found.count), found.count)
        pairs = [pair_at(row, i) for i in range(found.count)]
    made.make()
    return made.hash(root), slots, pairs


# -- updates: level by level --


cdef struct Edit:
    const uint8_t *key
    const uint8_t *value  # NULL: the key goes


cdef struct Node:
    uint32_t first  # of its edits, which stand in a row
    uint32_t end
    uint32_t child  # of the nodes below it, which stand in a row too, by slot
    uint32_t number  # of its new root, once it is CHANGED
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
    uint32_t first  # number of its first leaf, or its first slot among `rows`
    uint32_t count


cdef struct Row:
    uint64_t version
    uint32_t number


cdef int by_key(const void *a, const void *b) noexcept nogil:
    return key_order((<const Edit *> a).key, (<const Edit *> b).key)


cdef class Update:
    """One update of a tree: while `wanted` names pages, `feed` them; then `finish`.

    Holds the edits and the pages that they touch, nothing else of the tree.
    """

    cdef int tag
    cdef dict edits_held  # keeps the bytes alive that `edits` points into
    cdef list pages_held  # and those that the nodes point into
    cdef room edits
    cdef room nodes
    cdef room merged  # pairs of the bucket at hand
    cdef room fresh
    cdef room rows
    cdef size_t level  # first node of the level whose pages are wanted
    cdef bint finished
    cdef Sums made

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
        self.edits.width = sizeof(Edit)
        self.nodes.width = sizeof(Node)
        self.merged.width = sizeof(Edit)
        self.fresh.width = sizeof(Fresh)
        self.rows.width = sizeof(Row)
        if not 0 <= tag <= 255:
            raise ValueError("a tag is one byte")
        self.tag = tag
        self.edits_held = dict(edits)
        self.pages_held = []
        self.made = Sums()
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
        node.number = SUMS_NONE
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
            slot = key_nibble(edits[first].key, node.depth)
            adds = False
            end = first
            while end < node.end and key_nibble(edits[end].key, node.depth) == slot:
                adds = adds or edits[end].value != NULL
                end += 1
            has = node.page.slots >> slot & 1
            if adds or has:
                touched |= <uint16_t> (1 << slot)
                self.plant(
                    first, end, node.depth + 1, has, load_u64(slot_of(&node.page, slot) + HASH) if has else 0
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
        self.made.make()
        root = None
        if node.state == CHANGED:
            root = self.made.hash(node.number)
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
            node.number = self.build(0, self.merged.used, node.depth, version)
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
            order = 1 if count == 0 else -1 if edit == end else key_order(old, edit.key)
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
        """Pages for the merged pairs [first, end), which share `depth` nibbles; the number of their root."""
        cdef uint32_t[SLOTS] numbers
        cdef uint64_t[SLOTS] versions
        cdef const Edit *pairs = <const Edit *> self.merged.at
        cdef size_t at
        cdef int slot
        if end - first <= BUCKET_MOST:
            return self.write_bucket(pairs + first, <int> (end - first), depth)
        for slot in range(SLOTS):
            numbers[slot] = SUMS_NONE
            versions[slot] = version
        at = first
        while first < end:
            slot = key_nibble(pairs[first].key, depth)
            while at < end and key_nibble(pairs[at].key, depth) == slot:
                at += 1
            numbers[slot] = self.build(first, at, depth + 1, version)
            first = at
        return self.write_fork(pairs[end - 1].key, depth, numbers, versions)

    cdef uint32_t write_bucket(self, const Edit *pairs, int n, int depth) except? 0xFFFFFFFF:
        cdef Fresh *page
        cdef uint32_t first = SUMS_NONE
        cdef uint32_t number
        cdef int i
        for i in range(n):
            number = sums_leaf(&self.made.all, pairs[i].key, pairs[i].value)
            if number == SUMS_NONE:
                raise MemoryError
            first = number if i == 0 else first
        make_room(&self.fresh, 1)
        page = <Fresh *> self.fresh.at + self.fresh.used
        page[0] = Fresh(pairs[0].key, <uint8_t> depth, BUCKET, 0, first, n)
        self.fresh.used += 1
        return fold_pairs(&self.made.all, self.pairs(first), first, n)

    cdef const uint8_t *pairs(self, uint32_t leaf) noexcept nogil:
        """The pair of a leaf; those of the leaves that follow it stand behind. A leaf's number is its place."""
        return <const uint8_t *> self.made.all.pairs.at + <size_t> leaf * PAIR

    cdef uint32_t write_fork(
        self, const uint8_t *path, int depth, const uint32_t *numbers, const uint64_t *versions
    ) except? 0xFFFFFFFF:
        cdef Fresh *page
        cdef uint32_t first = <uint32_t> self.rows.used
        cdef uint16_t slots = 0
        cdef int slot
        make_room(&self.rows, SLOTS)
        for slot in range(SLOTS):
            if numbers[slot] != SUMS_NONE:
                slots |= <uint16_t> (1 << slot)
                (<Row *> self.rows.at)[self.rows.used] = Row(versions[slot], numbers[slot])
                self.rows.used += 1
        make_room(&self.fresh, 1)
        page = <Fresh *> self.fresh.at + self.fresh.used
        page[0] = Fresh(path, <uint8_t> depth, FORK, slots, first, <uint32_t> (self.rows.used - first))
        self.fresh.used += 1
        return fold_slots(&self.made.all, numbers, 0, SLOTS, depth)

    cdef int settle_fork(self, Node *node, uint64_t version) except -1:
        cdef uint32_t[SLOTS] numbers
        cdef uint64_t[SLOTS] versions
        cdef const Node *child = <const Node *> self.nodes.at + node.child
        cdef int below = ones(node.touched)
        cdef int slot, i
        cdef bint left = False
        for i in range(below):
            if child[i].state != SAME:
                break
        else:
            node.state = SAME
            return 0
        for slot in range(SLOTS):
            numbers[slot] = SUMS_NONE
            versions[slot] = version
            i = ones(node.touched & ((1 << slot) - 1))
            if node.touched >> slot & 1 and child[i].state != SAME:
                if child[i].state == CHANGED:
                    numbers[slot] = child[i].number
            elif node.page.slots >> slot & 1:
                numbers[slot] = sums_give(&self.made.all, slot_of(&node.page, slot))
                versions[slot] = load_u64(slot_of(&node.page, slot) + HASH)
            left = left or numbers[slot] != SUMS_NONE
        if not left:
            node.state = GONE
            return 0
        node.state = CHANGED
        node.number = self.write_fork(self.path(node), node.depth, numbers, versions)
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
        memcpy(at + BUCKET_HEAD, self.pairs(fresh.first), <size_t> fresh.count * PAIR)
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
            memcpy(at + FORK_HEAD + i * SLOT, sums_hash(&self.made.all, rows[i].number), HASH)
            store_u64(at + FORK_HEAD + i * SLOT + HASH, rows[i].version)
        return page
