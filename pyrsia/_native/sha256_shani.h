/* SHA-256 with the processor's own instructions (SHA-NI of x86-64), up to four messages interleaved.
 *
 * One message alone waits for each pair of rounds to end; four independent ones keep the unit busy. The functions
 * carry their target as an attribute, so this compiles everywhere and runs only where the dispatcher found it.
 *
 * Source: FIPS 180-4; Intel SDM 2, SHA256RNDS2, SHA256MSG1, SHA256MSG2. The instructions hold a state as two
 * vectors, (A, B, E, F) and (C, D, G, H), first name in the highest word.
 */
#ifndef PYRSIA_SHA256_SHANI_H
#define PYRSIA_SHA256_SHANI_H

#include <immintrin.h>

#include "sha256_portable.h"

#define SHANI_TARGET __attribute__((target("sha,sse4.1,ssse3")))
#define SHANI_INLINE static inline __attribute__((always_inline, target("sha,sse4.1,ssse3")))
#define SHANI_LANES 4

/* The four bytes of each word the other way round: messages and hashes are big-endian. */
SHANI_INLINE __m128i shani_swapped(__m128i words) {
    return _mm_shuffle_epi8(words, _mm_set_epi8(12, 13, 14, 15, 8, 9, 10, 11, 4, 5, 6, 7, 0, 1, 2, 3));
}

SHANI_INLINE __m128i shani_start_abef(void) {
    return _mm_set_epi32((int)SHA256_START[0], (int)SHA256_START[1], (int)SHA256_START[4], (int)SHA256_START[5]);
}

SHANI_INLINE __m128i shani_start_cdgh(void) {
    return _mm_set_epi32((int)SHA256_START[2], (int)SHA256_START[3], (int)SHA256_START[6], (int)SHA256_START[7]);
}

/* From the eight words in order to the instructions' two vectors, and back. */
SHANI_INLINE void shani_enter(const uint32_t state[8], __m128i *abef, __m128i *cdgh) {
    __m128i badc = _mm_shuffle_epi32(_mm_loadu_si128((const __m128i *)state), 0xB1);
    __m128i hgfe = _mm_shuffle_epi32(_mm_loadu_si128((const __m128i *)(state + 4)), 0x1B);
    *abef = _mm_alignr_epi8(badc, hgfe, 8);
    *cdgh = _mm_blend_epi16(hgfe, badc, 0xF0);
}

SHANI_INLINE void shani_leave(__m128i abef, __m128i cdgh, __m128i *abcd, __m128i *efgh) {
    __m128i feba = _mm_shuffle_epi32(abef, 0x1B);
    __m128i dchg = _mm_shuffle_epi32(cdgh, 0xB1);
    *abcd = _mm_blend_epi16(feba, dchg, 0xF0);
    *efgh = _mm_alignr_epi8(dchg, feba, 8);
}

/* 6.2.2 step 1 for four words: w is a ring of four vectors, `g` the number of the one to make. */
#define SHANI_NEXT(w, g)                                                                                  \
    _mm_sha256msg2_epu32(_mm_add_epi32(_mm_sha256msg1_epu32((w)[(g) & 3], (w)[((g) + 1) & 3]),            \
                                       _mm_alignr_epi8((w)[((g) + 3) & 3], (w)[((g) + 2) & 3], 4)),       \
                         (w)[((g) + 3) & 3])

/* 6.2.2 step 3 for four rounds of one lane. Each instruction makes two rounds and answers (A, B, E, F); what
 * went in as that is (C, D, G, H) now, so the two names change places twice. */
#define SHANI_ROUNDS(lane, kw)                                                                            \
    do {                                                                                                  \
        __m128i four = (kw);                                                                              \
        cdgh[lane] = _mm_sha256rnds2_epu32(cdgh[lane], abef[lane], four);                                 \
        abef[lane] = _mm_sha256rnds2_epu32(abef[lane], cdgh[lane], _mm_shuffle_epi32(four, 0x0E));        \
    } while (0)

#define SHANI_K(g) _mm_load_si128((const __m128i *)(SHA256_K + 4 * (g)))

#define SHANI_GIVEN(g)                                                                                    \
    for (l = 0; l < lanes; l++) {                                                                         \
        SHANI_ROUNDS(l, _mm_add_epi32(w[l][g], SHANI_K(g)));                                              \
    }

#define SHANI_MADE(g)                                                                                     \
    for (l = 0; l < lanes; l++) {                                                                         \
        w[l][(g) & 3] = SHANI_NEXT(w[l], g);                                                              \
        SHANI_ROUNDS(l, _mm_add_epi32(w[l][(g) & 3], SHANI_K(g)));                                        \
    }

#define SHANI_READY(g)                                                                                    \
    for (l = 0; l < lanes; l++) {                                                                         \
        SHANI_ROUNDS(l, _mm_load_si128((const __m128i *)(kw[l] + 4 * (g))));                              \
    }

#define SHANI_FOUR(STEP, g) STEP(g) STEP((g) + 1) STEP((g) + 2) STEP((g) + 3)

/* One block, in `w`, into each lane's state. `lanes` is a constant wherever this is expanded. */
SHANI_INLINE void shani_block(__m128i *abef, __m128i *cdgh, __m128i (*w)[4], const int lanes) {
    __m128i abef_before[SHANI_LANES], cdgh_before[SHANI_LANES];
    int l;
    for (l = 0; l < lanes; l++) {
        abef_before[l] = abef[l];
        cdgh_before[l] = cdgh[l];
    }
    SHANI_FOUR(SHANI_GIVEN, 0)
    SHANI_FOUR(SHANI_MADE, 4)
    SHANI_FOUR(SHANI_MADE, 8)
    SHANI_FOUR(SHANI_MADE, 12)
    for (l = 0; l < lanes; l++) {
        abef[l] = _mm_add_epi32(abef[l], abef_before[l]);
        cdgh[l] = _mm_add_epi32(cdgh[l], cdgh_before[l]);
    }
}

/* The same for a block whose schedule, K added, is at hand. */
SHANI_INLINE void shani_scheduled(__m128i *abef, __m128i *cdgh, const uint32_t *const *kw, const int lanes) {
    __m128i abef_before[SHANI_LANES], cdgh_before[SHANI_LANES];
    int l;
    for (l = 0; l < lanes; l++) {
        abef_before[l] = abef[l];
        cdgh_before[l] = cdgh[l];
    }
    SHANI_FOUR(SHANI_READY, 0)
    SHANI_FOUR(SHANI_READY, 4)
    SHANI_FOUR(SHANI_READY, 8)
    SHANI_FOUR(SHANI_READY, 12)
    for (l = 0; l < lanes; l++) {
        abef[l] = _mm_add_epi32(abef[l], abef_before[l]);
        cdgh[l] = _mm_add_epi32(cdgh[l], cdgh_before[l]);
    }
}

/* The first 64 bytes of prefix || pair, or of pair alone, as schedule words. The prefix moves everything by one
 * byte, and the first load may not begin before the pair. */
SHANI_INLINE void shani_head(__m128i w[4], const uint8_t *prefix, const uint8_t *pair) {
    __m128i first = _mm_loadu_si128((const __m128i *)pair);
    const uint8_t *rest = pair + 16;
    if (prefix) {
        first = _mm_insert_epi8(_mm_slli_si128(first, 1), *prefix, 0);
        rest = pair + 15;
    }
    w[0] = shani_swapped(first);
    w[1] = shani_swapped(_mm_loadu_si128((const __m128i *)rest));
    w[2] = shani_swapped(_mm_loadu_si128((const __m128i *)(rest + 16)));
    w[3] = shani_swapped(_mm_loadu_si128((const __m128i *)(rest + 32)));
}

SHANI_INLINE void shani_pairs_of(const uint8_t *prefixes, const uint8_t *const *pairs, uint8_t *const *outs,
                                 const int lanes) {
    __m128i abef[SHANI_LANES], cdgh[SHANI_LANES], w[SHANI_LANES][4], abcd, efgh;
    const uint32_t *kw[SHANI_LANES];
    int l;
    for (l = 0; l < lanes; l++) {
        abef[l] = shani_start_abef();
        cdgh[l] = shani_start_cdgh();
        shani_head(w[l], prefixes ? prefixes + l : NULL, pairs[l]);
        kw[l] = sha256_second(prefixes, pairs[l]);
    }
    shani_block(abef, cdgh, w, lanes);
    shani_scheduled(abef, cdgh, kw, lanes);
    for (l = 0; l < lanes; l++) {
        shani_leave(abef[l], cdgh[l], &abcd, &efgh);
        _mm_storeu_si128((__m128i *)outs[l], shani_swapped(abcd));
        _mm_storeu_si128((__m128i *)(outs[l] + 16), shani_swapped(efgh));
    }
}

SHANI_INLINE void shani_pairs_all(const uint8_t *prefixes, const uint8_t *const *pairs, uint8_t *const *outs,
                                  size_t n, const int prefixed) {
    size_t i = 0;
#define SHANI_PREFIXES (prefixed ? prefixes + i : NULL)
    for (; n - i >= SHANI_LANES; i += SHANI_LANES) {
        shani_pairs_of(SHANI_PREFIXES, pairs + i, outs + i, SHANI_LANES);
    }
    switch (n - i) {
    case 3:
        shani_pairs_of(SHANI_PREFIXES, pairs + i, outs + i, 3);
        break;
    case 2:
        shani_pairs_of(SHANI_PREFIXES, pairs + i, outs + i, 2);
        break;
    case 1:
        shani_pairs_of(SHANI_PREFIXES, pairs + i, outs + i, 1);
        break;
    default:
        break;
    }
#undef SHANI_PREFIXES
}

SHANI_TARGET static inline void sha256_shani_pairs(const uint8_t *prefixes, const uint8_t *const *pairs,
                                                   uint8_t *const *outs, size_t n) {
    if (prefixes) {
        shani_pairs_all(prefixes, pairs, outs, n, 1);
    } else {
        shani_pairs_all(NULL, pairs, outs, n, 0);
    }
}

SHANI_INLINE void shani_blocks_of(uint32_t (*states)[8], const uint8_t *const *data, size_t count,
                                  const int lanes) {
    __m128i abef[SHANI_LANES], cdgh[SHANI_LANES], w[SHANI_LANES][4], abcd, efgh;
    size_t i;
    int l;
    for (l = 0; l < lanes; l++) {
        shani_enter(states[l], &abef[l], &cdgh[l]);
    }
    for (i = 0; i < count; i++) {
        for (l = 0; l < lanes; l++) {
            shani_head(w[l], NULL, data[l] + i * SHA256_BLOCK_BYTES);
        }
        shani_block(abef, cdgh, w, lanes);
    }
    for (l = 0; l < lanes; l++) {
        shani_leave(abef[l], cdgh[l], &abcd, &efgh);
        _mm_storeu_si128((__m128i *)states[l], abcd);
        _mm_storeu_si128((__m128i *)(states[l] + 4), efgh);
    }
}

SHANI_TARGET static inline void sha256_shani_blocks(uint32_t (*states)[8], const uint8_t *const *data,
                                                    size_t count, size_t live) {
    switch (live) {
    case 4:
        shani_blocks_of(states, data, count, 4);
        break;
    case 3:
        shani_blocks_of(states, data, count, 3);
        break;
    case 2:
        shani_blocks_of(states, data, count, 2);
        break;
    default:
        shani_blocks_of(states, data, count, 1);
        break;
    }
}

static const sha256_kernel SHA256_SHANI = {
    "shani",
    SHANI_LANES,
    sha256_shani_pairs,
    sha256_shani_blocks,
};

#endif
