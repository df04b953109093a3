/* SHA-256 of eight messages at once, one in each 32-bit column of AVX2's vectors: for x86-64 processors without
 * instructions of their own for it.
 *
 * The rounds are the portable ones, on vectors of words; only bringing messages into columns is new. As in
 * sha256_shani.h the functions carry their target as an attribute.
 */
#ifndef PYRSIA_SHA256_AVX2_H
#define PYRSIA_SHA256_AVX2_H

#include <immintrin.h>

#include "sha256_portable.h"

#define AVX2_TARGET __attribute__((target("avx2")))
#define AVX2_INLINE static inline __attribute__((always_inline, target("avx2")))
#define AVX2_LANES 8

typedef uint32_t avx2_words __attribute__((vector_size(32), may_alias)); /* one word of each lane */

/* Eight rows of eight words become eight columns. */
AVX2_INLINE void avx2_transpose(__m256i r[8]) {
    __m256i pairs[8], quads[8];
    int i;
    for (i = 0; i < 8; i += 2) {
        pairs[i] = _mm256_unpacklo_epi32(r[i], r[i + 1]);
        pairs[i + 1] = _mm256_unpackhi_epi32(r[i], r[i + 1]);
    }
    for (i = 0; i < 8; i += 4) {
        quads[i] = _mm256_unpacklo_epi64(pairs[i], pairs[i + 2]);
        quads[i + 1] = _mm256_unpackhi_epi64(pairs[i], pairs[i + 2]);
        quads[i + 2] = _mm256_unpacklo_epi64(pairs[i + 1], pairs[i + 3]);
        quads[i + 3] = _mm256_unpackhi_epi64(pairs[i + 1], pairs[i + 3]);
    }
    for (i = 0; i < 4; i++) {
        r[i] = _mm256_permute2x128_si256(quads[i], quads[i + 4], 0x20);
        r[i + 4] = _mm256_permute2x128_si256(quads[i], quads[i + 4], 0x31);
    }
}

/* The four bytes of each word the other way round: messages and hashes are big-endian. */
AVX2_INLINE __m256i avx2_swapped(__m256i words) {
    return _mm256_shuffle_epi8(words, _mm256_set_epi8(12, 13, 14, 15, 8, 9, 10, 11, 4, 5, 6, 7, 0, 1, 2, 3,
                                                      12, 13, 14, 15, 8, 9, 10, 11, 4, 5, 6, 7, 0, 1, 2, 3));
}

#define AVX2_K(i) ((avx2_words)_mm256_set1_epi32((int)SHA256_K[i]))
#define AVX2_GIVEN(i) (AVX2_K(i) + w[(i) & 15])
#define AVX2_MADE(i) (AVX2_K(i) + SHA256_NEXT(w, i))
#define AVX2_READY(i) ((avx2_words)columns[(i) & 7])

#define AVX2_EIGHT_NAMES                                                                                  \
    avx2_words a = state[0], b = state[1], c = state[2], d = state[3];                                    \
    avx2_words e = state[4], f = state[5], g = state[6], h = state[7]

/* One block of each lane, in `w`, into `state`. */
AVX2_INLINE void avx2_block(avx2_words state[8], avx2_words w[16]) {
    int i;
    AVX2_EIGHT_NAMES;
    SHA256_EIGHT(0, AVX2_GIVEN);
    SHA256_EIGHT(8, AVX2_GIVEN);
    for (i = 16; i < 64; i += 16) {
        SHA256_EIGHT(i, AVX2_MADE);
        SHA256_EIGHT(i + 8, AVX2_MADE);
    }
    SHA256_ADD_NAMES;
}

/* The same for blocks whose schedules, K added, are at hand. */
AVX2_INLINE void avx2_scheduled(avx2_words state[8], const uint32_t *const *kw) {
    __m256i columns[8];
    int i, l;
    AVX2_EIGHT_NAMES;
    for (i = 0; i < 64; i += 8) {
        for (l = 0; l < AVX2_LANES; l++) {
            columns[l] = _mm256_load_si256((const __m256i *)(kw[l] + i));
        }
        avx2_transpose(columns);
        SHA256_EIGHT(i, AVX2_READY);
    }
    SHA256_ADD_NAMES;
}

/* 32 bytes of each lane as eight words of the schedule. */
AVX2_INLINE void avx2_columns(avx2_words w[8], const __m256i *rows) {
    __m256i columns[8];
    int i;
    for (i = 0; i < 8; i++) {
        columns[i] = avx2_swapped(rows[i]);
    }
    avx2_transpose(columns);
    for (i = 0; i < 8; i++) {
        w[i] = (avx2_words)columns[i];
    }
}

/* The first 64 bytes of prefix || pair, or of pair alone. The prefix moves everything by one byte, and the first
 * load may not begin before the pair. */
AVX2_INLINE void avx2_heads(avx2_words w[16], const uint8_t *prefixes, const uint8_t *const *pairs) {
    __m256i low[AVX2_LANES], high[AVX2_LANES];
    int l;
    for (l = 0; l < AVX2_LANES; l++) {
        if (prefixes) {
            __m128i first = _mm_slli_si128(_mm_loadu_si128((const __m128i *)pairs[l]), 1);
            low[l] = _mm256_set_m128i(_mm_loadu_si128((const __m128i *)(pairs[l] + 15)),
                                      _mm_insert_epi8(first, prefixes[l], 0));
            high[l] = _mm256_loadu_si256((const __m256i *)(pairs[l] + 31));
        } else {
            low[l] = _mm256_loadu_si256((const __m256i *)pairs[l]);
            high[l] = _mm256_loadu_si256((const __m256i *)(pairs[l] + 32));
        }
    }
    avx2_columns(w, low);
    avx2_columns(w + 8, high);
}

AVX2_INLINE void avx2_eight_pairs(const uint8_t *prefixes, const uint8_t *const *pairs, uint8_t *const *outs) {
    avx2_words state[8], w[16];
    const uint32_t *kw[AVX2_LANES];
    __m256i rows[8];
    int i;
    for (i = 0; i < 8; i++) {
        state[i] = (avx2_words)_mm256_set1_epi32((int)SHA256_START[i]);
        kw[i] = sha256_second(prefixes, pairs[i]);
    }
    avx2_heads(w, prefixes, pairs);
    avx2_block(state, w);
    avx2_scheduled(state, kw);
    for (i = 0; i < 8; i++) {
        rows[i] = (__m256i)state[i];
    }
    avx2_transpose(rows);
    for (i = 0; i < AVX2_LANES; i++) {
        _mm256_storeu_si256((__m256i *)outs[i], avx2_swapped(rows[i]));
    }
}

AVX2_INLINE void avx2_pairs_all(const uint8_t *prefixes, const uint8_t *const *pairs, uint8_t *const *outs,
                                size_t n, const int prefixed) {
    uint8_t spare[AVX2_LANES][SHA256_HASH_BYTES], some_prefixes[AVX2_LANES];
    const uint8_t *some[AVX2_LANES];
    uint8_t *targets[AVX2_LANES];
    size_t i, l;
    for (i = 0; n - i >= AVX2_LANES; i += AVX2_LANES) {
        avx2_eight_pairs(prefixed ? prefixes + i : NULL, pairs + i, outs + i);
    }
    if (n == i) {
        return;
    }
    /* Lanes without a pair of their own repeat the first of the rest, for nobody. */
    for (l = 0; l < AVX2_LANES; l++) {
        size_t from = i + l < n ? i + l : i;
        some_prefixes[l] = prefixed ? prefixes[from] : 0;
        some[l] = pairs[from];
        targets[l] = i + l < n ? outs[from] : spare[l];
    }
    avx2_eight_pairs(prefixed ? some_prefixes : NULL, some, targets);
}

AVX2_TARGET static inline void sha256_avx2_pairs(const uint8_t *prefixes, const uint8_t *const *pairs,
                                                 uint8_t *const *outs, size_t n) {
    if (n == 1) {
        sha256_portable_pairs(prefixes, pairs, outs, n); /* one alone is faster without the columns */
    } else if (prefixes) {
        avx2_pairs_all(prefixes, pairs, outs, n, 1);
    } else {
        avx2_pairs_all(NULL, pairs, outs, n, 0);
    }
}

AVX2_TARGET static inline void sha256_avx2_blocks(uint32_t (*states)[8], const uint8_t *const *data,
                                                  size_t count, size_t live) {
    avx2_words state[8], w[16];
    __m256i rows[AVX2_LANES];
    const uint8_t *heads[AVX2_LANES];
    size_t i, l;
    if (live == 1) {
        sha256_portable_blocks(states, data, count, live);
        return;
    }
    /* Lanes without a message repeat the first one's, for nobody. */
    for (l = 0; l < AVX2_LANES; l++) {
        heads[l] = data[l < live ? l : 0];
        rows[l] = _mm256_loadu_si256((const __m256i *)states[l < live ? l : 0]);
    }
    avx2_transpose(rows);
    for (i = 0; i < 8; i++) {
        state[i] = (avx2_words)rows[i];
    }
    for (i = 0; i < count; i++) {
        avx2_heads(w, NULL, heads);
        avx2_block(state, w);
        for (l = 0; l < AVX2_LANES; l++) {
            heads[l] += SHA256_BLOCK_BYTES;
        }
    }
    for (i = 0; i < 8; i++) {
        rows[i] = (__m256i)state[i];
    }
    avx2_transpose(rows);
    for (l = 0; l < live; l++) {
        _mm256_storeu_si256((__m256i *)states[l], rows[l]);
    }
}

static const sha256_kernel SHA256_AVX2 = {
    "avx2",
    AVX2_LANES,
    sha256_avx2_pairs,
    sha256_avx2_blocks,
};

#endif
