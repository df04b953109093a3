# cython: language_level=3, boundscheck=False, wraparound=False
# cython: freethreading_compatible=True
"""Links of a beacon chain: a link hashed many times with BLAKE3, with the GIL released.

A chain has 2^20 links, and who founds, joins or checks one hashes along it. 32 bytes are one block of one chunk,
so a link is one compression of its 64 bytes, half of them zero, and nothing else of BLAKE3 is needed here.

Source: docs/ledger.md, "Beacon"; the BLAKE3 paper, sections 2.2 and 2.3.
"""

from libc.stdint cimport uint8_t, uint64_t

cdef extern from "blake3_link.h":
    enum:
        BLAKE3_LINK_BYTES
    void blake3_links(uint8_t *link, uint64_t steps) noexcept nogil


def forward(link: bytes, steps: int) -> bytes:
    """`link` hashed `steps` times.

    Raises:
        ValueError: the link is not 32 bytes, or a count is below 0.
    """
    cdef uint8_t[32] place
    cdef const uint8_t *given
    cdef uint64_t count
    cdef int at
    if len(link) != BLAKE3_LINK_BYTES or steps < 0:
        raise ValueError(f"a link of {len(link)} bytes, {steps} steps")
    given, count = link, steps
    for at in range(BLAKE3_LINK_BYTES):
        place[at] = given[at]
    with nogil:
        blake3_links(place, count)
    return place[:BLAKE3_LINK_BYTES]
