/* BLAKE3 of 32 bytes, again and again, in portable C99. Section numbers are those of the BLAKE3 paper.
 *
 * Such a message is one block of one chunk, so its hash is one compression (2.2) with the start, end and root
 * flags. Words 8 to 15 of the block are zero: written out with constants, the compiler leaves their sums away.
 */
#ifndef PYRSIA_BLAKE3_LINK_H
#define PYRSIA_BLAKE3_LINK_H

#include <stdint.h>

#define BLAKE3_LINK_BYTES 32
#define BLAKE3_LINK_FLAGS (1u | 2u | 8u) /* CHUNK_START, CHUNK_END, ROOT */

/* 2.2: the initial value, which is SHA-256's. */
#define BLAKE3_IV0 0x6a09e667u
#define BLAKE3_IV1 0xbb67ae85u
#define BLAKE3_IV2 0x3c6ef372u
#define BLAKE3_IV3 0xa54ff53au
#define BLAKE3_IV4 0x510e527fu
#define BLAKE3_IV5 0x9b05688cu
#define BLAKE3_IV6 0x1f83d9abu
#define BLAKE3_IV7 0x5be0cd19u

#define BLAKE3_TURN(x, by) (((x) >> (by)) | ((x) << (32 - (by))))

/* 2.2: the quarter round. */
#define BLAKE3_MIX(a, b, c, d, x, y)     \
    do {                                 \
        a += b + (x);                    \
        d = BLAKE3_TURN(d ^ a, 16);      \
        c += d;                          \
        b = BLAKE3_TURN(b ^ c, 12);      \
        a += b + (y);                    \
        d = BLAKE3_TURN(d ^ a, 8);       \
        c += d;                          \
        b = BLAKE3_TURN(b ^ c, 7);       \
    } while (0)

/* Columns, then diagonals, with the words of the block in the order that the round gives them. */
#define BLAKE3_ROUND(a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p) \
    do {                                                             \
        BLAKE3_MIX(s0, s4, s8, s12, w##a, w##b);                     \
        BLAKE3_MIX(s1, s5, s9, s13, w##c, w##d);                     \
        BLAKE3_MIX(s2, s6, s10, s14, w##e, w##f);                    \
        BLAKE3_MIX(s3, s7, s11, s15, w##g, w##h);                    \
        BLAKE3_MIX(s0, s5, s10, s15, w##i, w##j);                    \
        BLAKE3_MIX(s1, s6, s11, s12, w##k, w##l);                    \
        BLAKE3_MIX(s2, s7, s8, s13, w##m, w##n);                     \
        BLAKE3_MIX(s3, s4, s9, s14, w##o, w##p);                     \
    } while (0)

static inline uint32_t blake3_load(const uint8_t *p) {
    return (uint32_t)p[0] | ((uint32_t)p[1] << 8) | ((uint32_t)p[2] << 16) | ((uint32_t)p[3] << 24);
}

static inline void blake3_store(uint8_t *p, uint32_t x) {
    p[0] = (uint8_t)x;
    p[1] = (uint8_t)(x >> 8);
    p[2] = (uint8_t)(x >> 16);
    p[3] = (uint8_t)(x >> 24);
}

/* Replace the 32 bytes of `link` by their hash, `steps` times. */
static void blake3_links(uint8_t *link, uint64_t steps) {
    enum { w8 = 0, w9 = 0, w10 = 0, w11 = 0, w12 = 0, w13 = 0, w14 = 0, w15 = 0 };
    uint32_t w0 = blake3_load(link), w1 = blake3_load(link + 4), w2 = blake3_load(link + 8);
    uint32_t w3 = blake3_load(link + 12), w4 = blake3_load(link + 16), w5 = blake3_load(link + 20);
    uint32_t w6 = blake3_load(link + 24), w7 = blake3_load(link + 28);

    for (; steps > 0; steps--) {
        uint32_t s0 = BLAKE3_IV0, s1 = BLAKE3_IV1, s2 = BLAKE3_IV2, s3 = BLAKE3_IV3;
        uint32_t s4 = BLAKE3_IV4, s5 = BLAKE3_IV5, s6 = BLAKE3_IV6, s7 = BLAKE3_IV7;
        uint32_t s8 = BLAKE3_IV0, s9 = BLAKE3_IV1, s10 = BLAKE3_IV2, s11 = BLAKE3_IV3;
        uint32_t s12 = 0, s13 = 0, s14 = BLAKE3_LINK_BYTES, s15 = BLAKE3_LINK_FLAGS; /* counter 0 */

        /* Each line is the one before it, permuted as the table of 2.2 says. */
        BLAKE3_ROUND(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
        BLAKE3_ROUND(2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8);
        BLAKE3_ROUND(3, 4, 10, 12, 13, 2, 7, 14, 6, 5, 9, 0, 11, 15, 8, 1);
        BLAKE3_ROUND(10, 7, 12, 9, 14, 3, 13, 15, 4, 0, 11, 2, 5, 8, 1, 6);
        BLAKE3_ROUND(12, 13, 9, 11, 15, 10, 14, 8, 7, 2, 5, 3, 0, 1, 6, 4);
        BLAKE3_ROUND(9, 14, 11, 5, 8, 12, 15, 1, 13, 3, 0, 10, 2, 6, 4, 7);
        BLAKE3_ROUND(11, 15, 5, 0, 1, 9, 8, 6, 14, 10, 2, 12, 3, 4, 7, 13);
        w0 = s0 ^ s8;
        w1 = s1 ^ s9;
        w2 = s2 ^ s10;
        w3 = s3 ^ s11;
        w4 = s4 ^ s12;
        w5 = s5 ^ s13;
        w6 = s6 ^ s14;
        w7 = s7 ^ s15;
    }
    blake3_store(link, w0);
    blake3_store(link + 4, w1);
    blake3_store(link + 8, w2);
    blake3_store(link + 12, w3);
    blake3_store(link + 16, w4);
    blake3_store(link + 20, w5);
    blake3_store(link + 24, w6);
    blake3_store(link + 28, w7);
}

#endif
