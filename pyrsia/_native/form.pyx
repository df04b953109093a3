# cython: language_level=3, boundscheck=False, wraparound=False
# cython: freethreading_compatible=True
"""Whether bytes are canonical JSON, for whole entry bundles at once and with the GIL released.

Whoever checks a log of millions of entries asks only yes or no of each, so nothing is decoded and no
object is made. What the form is stands in `pyrsia.wire.canonical`, the oracle of every function here:
objects with strictly rising ASCII names, lists, text with no escape but the necessary ones, whole numbers
0..2^53-1, true and false; no space, eight levels at most, valid UTF-8.

Source: docs/ledger.md, "Leaves"; RFC 8259; RFC 3629, section 4 for UTF-8.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport uint8_t, uint64_t
from libc.string cimport memcmp, memcpy

cdef extern from *:
    """
    #include <endian.h>
    """
    uint64_t le64toh(uint64_t) noexcept nogil
    int __builtin_ctzll(uint64_t) noexcept nogil

cdef enum:
    LENGTH_BYTES = 2
    MAX_ENTRY_BYTES = 60_000  # pyrsia.units.MAX_ENTRY_BYTES; a test holds the two together
    MAX_DEPTH = 8  # pyrsia.units.MAX_JSON_DEPTH
    MAX_DIGITS = 16  # of 2^53 - 1

cdef enum:
    NODE_CHARS = 52  # base32 of 32 bytes
    NONCE_DIGITS = 32
    SIGNATURE_DIGITS = 128

cdef uint64_t MAX_INT = ((<uint64_t> 1) << 53) - 1
cdef uint64_t ONES = 0x0101010101010101
cdef uint64_t TOPS = 0x8080808080808080


cdef inline uint64_t below(uint64_t eight, uint64_t bound) noexcept nogil:
    """Not zero if one of eight bytes is less than `bound` <= 128; bytes from 128 on are another's business."""
    return (eight - ONES * bound) & ~eight & TOPS


cdef inline uint64_t special(uint64_t eight) noexcept nogil:
    """Marks bytes that need a look: controls, quotes, backslashes, UTF-8. Only the lowest mark is exact."""
    return ((eight & TOPS) | below(eight, 0x20) | below(eight ^ (ONES * 0x22), 1)
            | below(eight ^ (ONES * 0x5C), 1))


cdef inline bint tail(const uint8_t *at) noexcept nogil:
    return at[0] & 0xC0 == 0x80


cdef inline Py_ssize_t sequence(const uint8_t *at, const uint8_t *end) noexcept nogil:
    """Length of the UTF-8 sequence of two to four bytes at `at`; 0 if there is none (RFC 3629, 4)."""
    cdef uint8_t first = at[0]
    cdef Py_ssize_t left = end - at
    if 0xC2 <= first <= 0xDF:
        return 2 if left >= 2 and tail(at + 1) else 0
    if 0xE0 <= first <= 0xEF:
        if left < 3 or not (tail(at + 1) and tail(at + 2)):
            return 0
        if first == 0xE0 and at[1] < 0xA0:  # would be shorter
            return 0
        return 0 if first == 0xED and at[1] > 0x9F else 3  # half of a surrogate pair
    if 0xF0 <= first <= 0xF4:
        if left < 4 or not (tail(at + 1) and tail(at + 2) and tail(at + 3)):
            return 0
        if first == 0xF0 and at[1] < 0x90:
            return 0
        return 0 if first == 0xF4 and at[1] > 0x8F else 4  # beyond U+10FFFF
    return 0


cdef inline Py_ssize_t escape(const uint8_t *at, const uint8_t *end) noexcept nogil:
    """Length of the escape at `at`, which is a backslash; 0 unless it is the one that must stand there."""
    cdef uint8_t low
    if end - at < 2:
        return 0
    if at[1] in (0x22, 0x5C, 0x62, 0x66, 0x6E, 0x72, 0x74):  # " \ b f n r t
        return 2
    # \u00XX in lower case, for the controls that have no short escape
    if end - at < 6 or memcmp(at, b"\\u00", 4) != 0 or not 0x30 <= at[4] <= 0x31:
        return 0
    if 0x30 <= at[5] <= 0x39:
        low = at[5] - 0x30
    elif 0x61 <= at[5] <= 0x66:
        low = at[5] - 0x61 + 10
    else:
        return 0
    low += (at[4] - 0x30) * 16
    return 0 if low in (0x08, 0x09, 0x0A, 0x0C, 0x0D) else 6


cdef inline uint8_t said(const uint8_t **at) noexcept nogil:
    """The ASCII character at `at` of a checked name, and `at` behind it. The closing quote is 0xFF."""
    cdef const uint8_t *here = at[0]
    cdef uint8_t digit
    if here[0] == 0x22:
        return 0xFF
    if here[0] != 0x5C:
        at[0] = here + 1
        return here[0]
    if here[1] != 0x75:
        at[0] = here + 2
        if here[1] == 0x62:
            return 0x08
        if here[1] == 0x66:
            return 0x0C
        if here[1] == 0x6E:
            return 0x0A
        if here[1] == 0x72:
            return 0x0D
        if here[1] == 0x74:
            return 0x09
        return here[1]
    at[0] = here + 6
    digit = here[5] - 0x30 if here[5] <= 0x39 else here[5] - 0x61 + 10
    return (here[4] - 0x30) * 16 + digit


cdef bint rises(const uint8_t *one, const uint8_t *other) noexcept nogil:
    """Whether checked name `one` stands before `other`; by what they say, since escapes sort otherwise."""
    cdef uint8_t a, b
    while True:
        if other[0] == 0x22:
            return False  # equal so far, and `other` is no longer
        if one[0] == 0x22:
            return True
        a = said(&one)
        b = said(&other)
        if a != b:
            return a < b


cdef bint text(const uint8_t **at, const uint8_t *end, bint ascii) noexcept nogil:
    """Read past a text from its opening quote on."""
    cdef const uint8_t *here = at[0]
    cdef uint64_t eight, marks
    cdef Py_ssize_t step
    if here == end or here[0] != 0x22:
        return False
    here += 1
    while True:
        while end - here >= 8:
            memcpy(&eight, here, 8)
            marks = special(le64toh(eight))
            if marks:
                here += __builtin_ctzll(marks) >> 3
                break
            here += 8
        if here == end:
            break
        if here[0] == 0x22:
            at[0] = here + 1
            return True
        if here[0] < 0x20:
            break
        if here[0] == 0x5C:
            step = escape(here, end)
        elif here[0] < 0x80:
            step = 1
        else:
            step = 0 if ascii else sequence(here, end)
        if step == 0:
            break
        here += step
    at[0] = here
    return False


cdef bint number(const uint8_t **at, const uint8_t *end) noexcept nogil:
    """Read past a whole number; at[0] is a digit."""
    cdef const uint8_t *here = at[0]
    cdef uint64_t value = 0
    cdef int digits = 0
    if here[0] == 0x30:
        at[0] = here + 1
        return True  # a digit behind it is no comma, bracket or end, and found there
    while here < end and 0x30 <= here[0] <= 0x39:
        digits += 1
        if digits > MAX_DIGITS:
            return False
        value = value * 10 + (here[0] - 0x30)
        here += 1
    if value > MAX_INT:
        return False
    at[0] = here
    return True


cdef bint word(const uint8_t **at, const uint8_t *end, const char *expected, Py_ssize_t size) noexcept nogil:
    if end - at[0] < size or memcmp(at[0], expected, size) != 0:
        return False
    at[0] += size
    return True


cdef bint value(const uint8_t **at, const uint8_t *end, int depth) noexcept nogil:
    """Read past one value; `depth` containers may still be opened. False leaves `at` where it is wrong."""
    cdef uint8_t first
    if at[0] == end:
        return False
    first = at[0][0]
    if first == 0x22:
        return text(at, end, False)
    if 0x30 <= first <= 0x39:
        return number(at, end)
    if first == 0x74:
        return word(at, end, b"true", 4)
    if first == 0x66:
        return word(at, end, b"false", 5)
    if depth == 0:
        return False
    if first == 0x7B:
        return fields(at, end, depth - 1)
    if first == 0x5B:
        return items(at, end, depth - 1)
    return False


cdef bint items(const uint8_t **at, const uint8_t *end, int depth) noexcept nogil:
    """Read past a list from its bracket on."""
    at[0] += 1
    if at[0] < end and at[0][0] == 0x5D:
        at[0] += 1
        return True
    while value(at, end, depth):
        if at[0] == end:
            return False
        if at[0][0] == 0x5D:
            at[0] += 1
            return True
        if at[0][0] != 0x2C:
            return False
        at[0] += 1
    return False


cdef bint fields(const uint8_t **at, const uint8_t *end, int depth) noexcept nogil:
    """Read past an object from its brace on."""
    cdef const uint8_t *name
    cdef const uint8_t *before = NULL
    at[0] += 1
    if at[0] < end and at[0][0] == 0x7D:
        at[0] += 1
        return True
    while True:
        name = at[0] + 1
        if not text(at, end, True):
            return False
        if before != NULL and not rises(before, name):
            at[0] = name
            return False
        before = name
        if at[0] == end or at[0][0] != 0x3A:
            return False
        at[0] += 1
        if not value(at, end, depth) or at[0] == end:
            return False
        if at[0][0] == 0x7D:
            at[0] += 1
            return True
        if at[0][0] != 0x2C:
            return False
        at[0] += 1


cdef Py_ssize_t wrong_at(const uint8_t *start, Py_ssize_t size) noexcept nogil:
    """Offset of the first byte that canonical JSON cannot have there; -1 if all of it is canonical."""
    cdef const uint8_t *at = start
    cdef const uint8_t *end = start + size
    if size > MAX_ENTRY_BYTES:
        return MAX_ENTRY_BYTES
    if value(&at, end, MAX_DEPTH) and at == end:
        return -1
    return at - start


def malformed_at(bytes entry not None):
    """Where `entry` stops being canonical JSON of at most 60,000 bytes: a byte offset, or -1 if it is.

    The offset is that of the text, number or bracket that is wrong, or of the byte inside a text; it is
    the length of the entry where something is missing at its end.
    """
    cdef const uint8_t *data = <const uint8_t *> PyBytes_AS_STRING(entry)
    cdef Py_ssize_t size = len(entry)
    cdef Py_ssize_t found
    with nogil:
        found = wrong_at(data, size)
    return found


def first_malformed(bytes bundle not None, Py_ssize_t count):
    """The position of the first of `count` entries of a bundle that is not canonical JSON; -1 if all are.

    An entry that the bundle's end cuts short is malformed; so, as number `count`, is what lies behind the
    last one.
    """
    cdef const uint8_t *at = <const uint8_t *> PyBytes_AS_STRING(bundle)
    cdef const uint8_t *end = at + len(bundle)
    cdef Py_ssize_t i, size
    cdef Py_ssize_t found = -1
    with nogil:
        for i in range(count):
            if end - at < LENGTH_BYTES:
                found = i
                break
            size = at[0] << 8 | at[1]
            at += LENGTH_BYTES
            if end - at < size or wrong_at(at, size) >= 0:
                found = i
                break
            at += size
        if found < 0 and at != end:
            found = count
    return found


cdef inline int digit(uint8_t sign) noexcept nogil:
    """What a lower-case hex digit is worth; -1 for anything else."""
    if 0x30 <= sign <= 0x39:
        return sign - 0x30
    if 0x61 <= sign <= 0x66:
        return sign - 0x57
    return -1


cdef bint hexed(const uint8_t **at, const uint8_t *end, int digits, uint8_t *out) noexcept nogil:
    """Read past so many hex digits; into `out` unless it is NULL."""
    cdef int i, high, low
    if end - at[0] < digits:
        return False
    for i in range(0, digits, 2):
        high, low = digit(at[0][i]), digit(at[0][i + 1])
        if high < 0 or low < 0:
            return False
        if out != NULL:
            out[i // 2] = <uint8_t> (high << 4 | low)
    at[0] += digits
    return True


cdef bint simple(const uint8_t **at, const uint8_t *end, Py_ssize_t size) noexcept nogil:
    """Read past `size` printable ASCII signs without quote or backslash, or up to the next quote if it is negative."""
    cdef const uint8_t *here = at[0]
    while here < end and here[0] != 0x22 and size != 0:
        if not 0x20 <= here[0] < 0x7F or here[0] == 0x5C:
            return False
        here += 1
        size -= 1
    at[0] = here
    return size <= 0


def authored(bytes entry not None, bytes domain not None):
    """The parts of an authored entry: (author, body, net, signature, type, until, signed), or None.

    None if the bytes are anything but canonical JSON of exactly the eight fields of an authored entry, author and
    net of 52 signs, nonce and signature of their digits, version 1: then whoever asks looks closer. What the parts
    say (node ids, type, body) is not looked at here.

    Args:
        domain: stands in front of `signed`, which is the entry without its signature.
    """
    cdef const uint8_t *start = <const uint8_t *> PyBytes_AS_STRING(entry)
    cdef Py_ssize_t size = len(entry)
    cdef const uint8_t *at = start
    cdef const uint8_t *end = start + size
    cdef const uint8_t *author
    cdef const uint8_t *body
    cdef const uint8_t *net
    cdef const uint8_t *before_sig
    cdef const uint8_t *after_sig
    cdef const uint8_t *kind
    cdef const uint8_t *until
    cdef Py_ssize_t body_size, kind_size, until_size, head
    cdef uint8_t signature[64]
    cdef char *out
    if size > MAX_ENTRY_BYTES or not word(&at, end, b'{"author":"', 11):
        return None
    author = at
    if not simple(&at, end, NODE_CHARS) or not word(&at, end, b'","body":', 9) or at == end or at[0] != 0x7B:
        return None
    body = at
    if not value(&at, end, MAX_DEPTH - 1):
        return None
    body_size = at - body
    if not word(&at, end, b',"net":"', 8):
        return None
    net = at
    if not simple(&at, end, NODE_CHARS) or not word(&at, end, b'","nonce":"', 11):
        return None
    if not hexed(&at, end, NONCE_DIGITS, NULL) or not word(&at, end, b'"', 1):
        return None
    before_sig = at
    if not word(&at, end, b',"sig":"', 8) or not hexed(&at, end, SIGNATURE_DIGITS, signature):
        return None
    if not word(&at, end, b'"', 1):
        return None
    after_sig = at
    if not word(&at, end, b',"type":"', 9):
        return None
    kind = at
    if not simple(&at, end, -1):
        return None
    kind_size = at - kind
    if not word(&at, end, b'","until":', 10):
        return None
    until = at
    if at == end or not 0x30 <= at[0] <= 0x39 or not number(&at, end):
        return None
    until_size = at - until
    if not word(&at, end, b',"v":1}', 7) or at != end:
        return None
    head = len(domain)
    signed = PyBytes_FromStringAndSize(NULL, head + (before_sig - start) + (end - after_sig))
    out = PyBytes_AS_STRING(signed)
    memcpy(out, PyBytes_AS_STRING(domain), head)
    memcpy(out + head, start, before_sig - start)
    memcpy(out + head + (before_sig - start), after_sig, end - after_sig)
    return (
        author[:NODE_CHARS].decode("ascii"),
        body[:body_size],
        net[:NODE_CHARS].decode("ascii"),
        PyBytes_FromStringAndSize(<char *> signature, sizeof(signature)),
        kind[:kind_size].decode("ascii"),
        int(until[:until_size]),
        signed,
    )
