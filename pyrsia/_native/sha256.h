/* SHA-256 of FIPS 180-4, portable C99, written for the nodes and leaves of an RFC 6962 tree.
 *
 * No allocation, no global state that changes, no errors: every function may run without the GIL.
 * Section numbers are those of FIPS 180-4.
 */
#ifndef PYRSIA_SHA256_H
#define PYRSIA_SHA256_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define SHA256_HASH_BYTES 32
#define SHA256_BLOCK_BYTES 64

/* 4.2.2: first 32 bits of the fractional parts of the cube roots of the first 64 primes. */
static const uint32_t SHA256_K[64] = {
    0x428a2f98u, 0x71374491u, 0xb5c0fbcfu, 0xe9b5dba5u, 0x3956c25bu, 0x59f111f1u, 0x923f82a4u, 0xab1c5ed5u,
    0xd807aa98u, 0x12835b01u, 0x243185beu, 0x550c7dc3u, 0x72be5d74u, 0x80deb1feu, 0x9bdc06a7u, 0xc19bf174u,
    0xe49b69c1u, 0xefbe4786u, 0x0fc19dc6u, 0x240ca1ccu, 0x2de92c6fu, 0x4a7484aau, 0x5cb0a9dcu, 0x76f988dau,
    0x983e5152u, 0xa831c66du, 0xb00327c8u, 0xbf597fc7u, 0xc6e00bf3u, 0xd5a79147u, 0x06ca6351u, 0x14292967u,
    0x27b70a85u, 0x2e1b2138u, 0x4d2c6dfcu, 0x53380d13u, 0x650a7354u, 0x766a0abbu, 0x81c2c92eu, 0x92722c85u,
    0xa2bfe8a1u, 0xa81a664bu, 0xc24b8b70u, 0xc76c51a3u, 0xd192e819u, 0xd6990624u, 0xf40e3585u, 0x106aa070u,
    0x19a4c116u, 0x1e376c08u, 0x2748774cu, 0x34b0bcb5u, 0x391c0cb3u, 0x4ed8aa4au, 0x5b9cca4fu, 0x682e6ff3u,
    0x748f82eeu, 0x78a5636fu, 0x84c87814u, 0x8cc70208u, 0x90befffau, 0xa4506cebu, 0xbef9a3f7u, 0xc67178f2u,
};

/* 5.3.3: the same of the square roots of the first 8 primes. */
static const uint32_t SHA256_START[8] = {
    0x6a09e667u, 0xbb67ae85u, 0x3c6ef372u, 0xa54ff53au, 0x510e527fu, 0x9b05688cu, 0x1f83d9abu, 0x5be0cd19u,
};

static inline uint32_t sha256_rotr(uint32_t x, int n) { return (x >> n) | (x << (32 - n)); }

static inline uint32_t sha256_load(const uint8_t *p) {
    return ((uint32_t)p[0] << 24) | ((uint32_t)p[1] << 16) | ((uint32_t)p[2] << 8) | (uint32_t)p[3];
}

static inline void sha256_store(uint8_t *p, uint32_t x) {
    p[0] = (uint8_t)(x >> 24);
    p[1] = (uint8_t)(x >> 16);
    p[2] = (uint8_t)(x >> 8);
    p[3] = (uint8_t)x;
}

/* 6.2.2 steps 2 to 4; `w` is a whole schedule and already holds K + W. The eight names rotate instead of
 * the eight values, which saves seven moves a round. */
#define SHA256_ROUND(a, b, c, d, e, f, g, h, kw)                                                          \
    do {                                                                                                  \
        uint32_t t1 = (h) + (sha256_rotr(e, 6) ^ sha256_rotr(e, 11) ^ sha256_rotr(e, 25)) +               \
                      ((g) ^ ((e) & ((f) ^ (g)))) + (kw);                                                 \
        (d) += t1;                                                                                        \
        (h) = t1 + (sha256_rotr(a, 2) ^ sha256_rotr(a, 13) ^ sha256_rotr(a, 22)) +                        \
              (((a) & (b)) | ((c) & ((a) | (b))));                                                        \
    } while (0)

/* 6.2.2 step 1, in a ring of 16 words. */
#define SHA256_NEXT(w, i)                                                                                 \
    ((w)[(i) & 15] += (w)[((i) + 9) & 15] +                                                               \
                      (sha256_rotr((w)[((i) + 1) & 15], 7) ^ sha256_rotr((w)[((i) + 1) & 15], 18) ^       \
                       ((w)[((i) + 1) & 15] >> 3)) +                                                      \
                      (sha256_rotr((w)[((i) + 14) & 15], 17) ^ sha256_rotr((w)[((i) + 14) & 15], 19) ^    \
                       ((w)[((i) + 14) & 15] >> 10)))

#define SHA256_EIGHT(i, WORD)                                                                             \
    SHA256_ROUND(a, b, c, d, e, f, g, h, SHA256_K[(i) + 0] + WORD((i) + 0));                              \
    SHA256_ROUND(h, a, b, c, d, e, f, g, SHA256_K[(i) + 1] + WORD((i) + 1));                              \
    SHA256_ROUND(g, h, a, b, c, d, e, f, SHA256_K[(i) + 2] + WORD((i) + 2));                              \
    SHA256_ROUND(f, g, h, a, b, c, d, e, SHA256_K[(i) + 3] + WORD((i) + 3));                              \
    SHA256_ROUND(e, f, g, h, a, b, c, d, SHA256_K[(i) + 4] + WORD((i) + 4));                              \
    SHA256_ROUND(d, e, f, g, h, a, b, c, SHA256_K[(i) + 5] + WORD((i) + 5));                              \
    SHA256_ROUND(c, d, e, f, g, h, a, b, SHA256_K[(i) + 6] + WORD((i) + 6));                              \
    SHA256_ROUND(b, c, d, e, f, g, h, a, SHA256_K[(i) + 7] + WORD((i) + 7))

#define SHA256_GIVEN(i) w[(i) & 15]
#define SHA256_MADE(i) SHA256_NEXT(w, i)

/* 6.2.2: one block into the state. */
static inline void sha256_block(uint32_t state[8], const uint8_t *block) {
    uint32_t w[16];
    uint32_t a = state[0], b = state[1], c = state[2], d = state[3];
    uint32_t e = state[4], f = state[5], g = state[6], h = state[7];
    int i;
    for (i = 0; i < 16; i++) {
        w[i] = sha256_load(block + 4 * i);
    }
    SHA256_EIGHT(0, SHA256_GIVEN);
    SHA256_EIGHT(8, SHA256_GIVEN);
    for (i = 16; i < 64; i += 16) {
        SHA256_EIGHT(i, SHA256_MADE);
        SHA256_EIGHT(i + 8, SHA256_MADE);
    }
    state[0] += a;
    state[1] += b;
    state[2] += c;
    state[3] += d;
    state[4] += e;
    state[5] += f;
    state[6] += g;
    state[7] += h;
}

/* out = SHA-256(prefix || data[0:size]). `out` may overlap `data`: it is written last. */
static inline void sha256_prefixed(uint8_t prefix, const uint8_t *data, size_t size, uint8_t *out) {
    uint32_t state[8];
    uint8_t block[SHA256_BLOCK_BYTES];
    size_t used, i;
    uint64_t bits = ((uint64_t)size + 1) * 8;

    memcpy(state, SHA256_START, sizeof state);
    block[0] = prefix;
    if (size < SHA256_BLOCK_BYTES - 1) {
        used = 1 + size;
        if (size) {
            memcpy(block + 1, data, size);
        }
    } else {
        memcpy(block + 1, data, SHA256_BLOCK_BYTES - 1);
        sha256_block(state, block);
        data += SHA256_BLOCK_BYTES - 1;
        size -= SHA256_BLOCK_BYTES - 1;
        while (size >= SHA256_BLOCK_BYTES) {
            sha256_block(state, data);
            data += SHA256_BLOCK_BYTES;
            size -= SHA256_BLOCK_BYTES;
        }
        used = size;
        if (size) {
            memcpy(block, data, size);
        }
    }
    /* 5.1.1: a one bit, zeros, the length in bits; the length may need a block of its own. */
    block[used++] = 0x80;
    if (used > SHA256_BLOCK_BYTES - 8) {
        memset(block + used, 0, SHA256_BLOCK_BYTES - used);
        sha256_block(state, block);
        used = 0;
    }
    memset(block + used, 0, SHA256_BLOCK_BYTES - 8 - used);
    sha256_store(block + 56, (uint32_t)(bits >> 32));
    sha256_store(block + 60, (uint32_t)bits);
    sha256_block(state, block);
    for (i = 0; i < 8; i++) {
        sha256_store(out + 4 * i, state[i]);
    }
}

#endif
