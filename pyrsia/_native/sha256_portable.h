/* SHA-256 of FIPS 180-4 in portable C99: the fall-back of every processor, and the definition that the faster
 * kernels beside it are tested against. Section numbers are those of FIPS 180-4.
 */
#ifndef PYRSIA_SHA256_PORTABLE_H
#define PYRSIA_SHA256_PORTABLE_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define SHA256_HASH_BYTES 32
#define SHA256_BLOCK_BYTES 64
#define SHA256_ALIGNED __attribute__((aligned(64)))

/* One way to compute SHA-256. All four members work without allocating, without a lock and without errors. */
typedef struct {
    const char *name;
    size_t lanes; /* how many messages `blocks` takes at once, 1 to SHA256_MOST_LANES */
    /* n hashes of pairs[i][0:64], behind the byte prefixes[i] unless `prefixes` is NULL. outs[i] may lie in
     * pairs[0..i]: no hash is written before every hash up to it has been read. */
    void (*pairs)(const uint8_t *prefixes, const uint8_t *const *pairs, uint8_t *const *outs, size_t n);
    /* `count` blocks from data[i] into states[i], for i < live <= lanes. */
    void (*blocks)(uint32_t (*states)[8], const uint8_t *const *data, size_t count, size_t live);
} sha256_kernel;

#define SHA256_MOST_LANES 8

/* 4.2.2: first 32 bits of the fractional parts of the cube roots of the first 64 primes. */
static const uint32_t SHA256_K[64] SHA256_ALIGNED = {
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
static const uint32_t SHA256_START[8] SHA256_ALIGNED = {
    0x6a09e667u, 0xbb67ae85u, 0x3c6ef372u, 0xa54ff53au, 0x510e527fu, 0x9b05688cu, 0x1f83d9abu, 0x5be0cd19u,
};

/* The second block of a pair behind one byte carries one byte of data, so it has 256 forms; that of a bare pair
 * carries none and has one. Their schedules, K already added, are made once: half of a node's work is gone.
 */
static uint32_t SHA256_LAST_OF_65[256][64] SHA256_ALIGNED;
static uint32_t SHA256_LAST_OF_64[64] SHA256_ALIGNED;

static inline uint32_t sha256_load(const uint8_t *p) {
    return ((uint32_t)p[0] << 24) | ((uint32_t)p[1] << 16) | ((uint32_t)p[2] << 8) | (uint32_t)p[3];
}

static inline void sha256_store(uint8_t *p, uint32_t x) {
    p[0] = (uint8_t)(x >> 24);
    p[1] = (uint8_t)(x >> 16);
    p[2] = (uint8_t)(x >> 8);
    p[3] = (uint8_t)x;
}

/* 6.2.2 step 4: a state as bytes. */
static inline void sha256_digest(const uint32_t state[8], uint8_t *out) {
    int i;
    for (i = 0; i < 8; i++) {
        sha256_store(out + 4 * i, state[i]);
    }
}

/* The macros below work on uint32_t and on vectors of them: one lane here, eight in sha256_avx2.h. */
#define SHA256_ROTR(x, n) (((x) >> (n)) | ((x) << (32 - (n))))

/* 6.2.2 step 3; `kw` is K + W of the round. The eight names rotate instead of the eight values, which saves
 * seven moves a round. */
#define SHA256_ROUND(a, b, c, d, e, f, g, h, kw)                                                          \
    do {                                                                                                  \
        __typeof__(a) t1 = (h) + (SHA256_ROTR(e, 6) ^ SHA256_ROTR(e, 11) ^ SHA256_ROTR(e, 25)) +          \
                           ((g) ^ ((e) & ((f) ^ (g)))) + (kw);                                            \
        (d) += t1;                                                                                        \
        (h) = t1 + (SHA256_ROTR(a, 2) ^ SHA256_ROTR(a, 13) ^ SHA256_ROTR(a, 22)) +                        \
              (((a) & (b)) | ((c) & ((a) | (b))));                                                        \
    } while (0)

/* 6.2.2 step 1, in a ring of 16 words. */
#define SHA256_NEXT(w, i)                                                                                 \
    ((w)[(i) & 15] += (w)[((i) + 9) & 15] + SHA256_SMALL_0((w)[((i) + 1) & 15]) +                         \
                      SHA256_SMALL_1((w)[((i) + 14) & 15]))
#define SHA256_SMALL_0(x) (SHA256_ROTR(x, 7) ^ SHA256_ROTR(x, 18) ^ ((x) >> 3))
#define SHA256_SMALL_1(x) (SHA256_ROTR(x, 17) ^ SHA256_ROTR(x, 19) ^ ((x) >> 10))

#define SHA256_EIGHT(i, KW)                                                                               \
    SHA256_ROUND(a, b, c, d, e, f, g, h, KW((i) + 0));                                                    \
    SHA256_ROUND(h, a, b, c, d, e, f, g, KW((i) + 1));                                                    \
    SHA256_ROUND(g, h, a, b, c, d, e, f, KW((i) + 2));                                                    \
    SHA256_ROUND(f, g, h, a, b, c, d, e, KW((i) + 3));                                                    \
    SHA256_ROUND(e, f, g, h, a, b, c, d, KW((i) + 4));                                                    \
    SHA256_ROUND(d, e, f, g, h, a, b, c, KW((i) + 5));                                                    \
    SHA256_ROUND(c, d, e, f, g, h, a, b, KW((i) + 6));                                                    \
    SHA256_ROUND(b, c, d, e, f, g, h, a, KW((i) + 7))

#define SHA256_GIVEN(i) (SHA256_K[i] + w[(i) & 15])
#define SHA256_MADE(i) (SHA256_K[i] + SHA256_NEXT(w, i))
#define SHA256_READY(i) kw[i]

#define SHA256_EIGHT_NAMES                                                                                \
    uint32_t a = state[0], b = state[1], c = state[2], d = state[3];                                      \
    uint32_t e = state[4], f = state[5], g = state[6], h = state[7]

#define SHA256_ADD_NAMES                                                                                  \
    state[0] += a;                                                                                        \
    state[1] += b;                                                                                        \
    state[2] += c;                                                                                        \
    state[3] += d;                                                                                        \
    state[4] += e;                                                                                        \
    state[5] += f;                                                                                        \
    state[6] += g;                                                                                        \
    state[7] += h

/* 6.2.2: one block into the state. */
static inline void sha256_block(uint32_t state[8], const uint8_t *block) {
    uint32_t w[16];
    int i;
    SHA256_EIGHT_NAMES;
    for (i = 0; i < 16; i++) {
        w[i] = sha256_load(block + 4 * i);
    }
    SHA256_EIGHT(0, SHA256_GIVEN);
    SHA256_EIGHT(8, SHA256_GIVEN);
    for (i = 16; i < 64; i += 16) {
        SHA256_EIGHT(i, SHA256_MADE);
        SHA256_EIGHT(i + 8, SHA256_MADE);
    }
    SHA256_ADD_NAMES;
}

/* The same for a block whose schedule, K added, is at hand. */
static inline void sha256_scheduled(uint32_t state[8], const uint32_t kw[64]) {
    int i;
    SHA256_EIGHT_NAMES;
    for (i = 0; i < 64; i += 16) {
        SHA256_EIGHT(i, SHA256_READY);
        SHA256_EIGHT(i + 8, SHA256_READY);
    }
    SHA256_ADD_NAMES;
}

/* 5.1.1: what stands behind the last whole block of a message: `rest` bytes (0..63), a one bit, zeros, and the
 * message's length in bits. Returns how many blocks (1 or 2) that makes of `block`. */
static inline size_t sha256_pad(uint8_t *block, const uint8_t *data, size_t rest, uint64_t message_bytes) {
    size_t size = rest < SHA256_BLOCK_BYTES - 8 ? SHA256_BLOCK_BYTES : 2 * SHA256_BLOCK_BYTES;
    if (rest) {
        memmove(block, data, rest);
    }
    block[rest] = 0x80;
    memset(block + rest + 1, 0, size - rest - 9);
    sha256_store(block + size - 8, (uint32_t)(message_bytes >> 29));
    sha256_store(block + size - 4, (uint32_t)(message_bytes << 3));
    return size / SHA256_BLOCK_BYTES;
}

/* K + W of one block (6.2.2 step 1). */
static inline void sha256_schedule(uint32_t kw[64], const uint8_t *block) {
    uint32_t w[16];
    int i;
    for (i = 0; i < 16; i++) {
        w[i] = sha256_load(block + 4 * i);
        kw[i] = SHA256_K[i] + w[i];
    }
    for (i = 16; i < 64; i++) {
        kw[i] = SHA256_MADE(i);
    }
}

static inline void sha256_make_schedules(void) {
    uint8_t block[2 * SHA256_BLOCK_BYTES], last;
    int i;
    for (i = 0; i < 256; i++) {
        last = (uint8_t)i;
        sha256_pad(block, &last, 1, 65);
        sha256_schedule(SHA256_LAST_OF_65[i], block);
    }
    sha256_pad(block, block, 0, 64);
    sha256_schedule(SHA256_LAST_OF_64, block);
}

/* The schedule of what stands behind the first 64 bytes of prefix || pair, or of pair alone. */
static inline const uint32_t *sha256_second(const uint8_t *prefixes, const uint8_t *pair) {
    return prefixes ? SHA256_LAST_OF_65[pair[SHA256_BLOCK_BYTES - 1]] : SHA256_LAST_OF_64;
}

static inline void sha256_portable_pairs(const uint8_t *prefixes, const uint8_t *const *pairs,
                                         uint8_t *const *outs, size_t n) {
    uint8_t head[SHA256_BLOCK_BYTES];
    uint32_t state[8];
    size_t i;
    for (i = 0; i < n; i++) {
        memcpy(state, SHA256_START, sizeof state);
        if (prefixes) {
            head[0] = prefixes[i];
            memcpy(head + 1, pairs[i], SHA256_BLOCK_BYTES - 1);
            sha256_block(state, head);
        } else {
            sha256_block(state, pairs[i]);
        }
        sha256_scheduled(state, sha256_second(prefixes, pairs[i]));
        sha256_digest(state, outs[i]);
    }
}

static inline void sha256_portable_blocks(uint32_t (*states)[8], const uint8_t *const *data, size_t count,
                                          size_t live) {
    size_t lane, i;
    for (lane = 0; lane < live; lane++) {
        for (i = 0; i < count; i++) {
            sha256_block(states[lane], data[lane] + i * SHA256_BLOCK_BYTES);
        }
    }
}

static const sha256_kernel SHA256_PORTABLE = {
    "portable",
    1,
    sha256_portable_pairs,
    sha256_portable_blocks,
};

#endif
