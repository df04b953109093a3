/* What one would write first in C: SHA-256 as FIPS 180-4 has it, one node or message after the other. And the same
 * loops around somebody else's SHA256(), whose address the caller gives.
 *
 * It shares nothing with the kernels of this package on purpose.
 */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef unsigned char *one_shot(const unsigned char *data, size_t size, unsigned char *out);

static uint32_t K[64], START[8];

/* 4.2.2 and 5.3.3: 32 bits of the roots of the first primes behind the point, found by halving. */
static uint32_t behind_the_point(unsigned prime, int cubed) {
    long double low = 1, high = prime;
    int i;
    for (i = 0; i < 80; i++) {
        long double middle = (low + high) / 2;
        if (middle * middle * (cubed ? middle : 1) <= prime) {
            low = middle;
        } else {
            high = middle;
        }
    }
    return (uint32_t)((low - (unsigned)low) * 4294967296.0L);
}

__attribute__((constructor)) static void set_up(void) {
    unsigned number = 1, found = 0, divisor;
    while (found < 64) {
        number++;
        for (divisor = 2; divisor < number && number % divisor; divisor++) {
        }
        if (divisor == number) {
            if (found < 8) {
                START[found] = behind_the_point(number, 0);
            }
            K[found++] = behind_the_point(number, 1);
        }
    }
}

#define ROTR(x, n) (((x) >> (n)) | ((x) << (32 - (n))))

static void block(uint32_t state[8], const unsigned char *data) {
    uint32_t w[64], t1, t2;
    uint32_t a = state[0], b = state[1], c = state[2], d = state[3];
    uint32_t e = state[4], f = state[5], g = state[6], h = state[7];
    int i;
    for (i = 0; i < 16; i++) {
        w[i] = (uint32_t)data[4 * i] << 24 | (uint32_t)data[4 * i + 1] << 16 | (uint32_t)data[4 * i + 2] << 8 |
               data[4 * i + 3];
    }
    for (i = 16; i < 64; i++) {
        uint32_t s0 = ROTR(w[i - 15], 7) ^ ROTR(w[i - 15], 18) ^ (w[i - 15] >> 3);
        uint32_t s1 = ROTR(w[i - 2], 17) ^ ROTR(w[i - 2], 19) ^ (w[i - 2] >> 10);
        w[i] = w[i - 16] + s0 + w[i - 7] + s1;
    }
    for (i = 0; i < 64; i++) {
        t1 = h + (ROTR(e, 6) ^ ROTR(e, 11) ^ ROTR(e, 25)) + ((e & f) ^ (~e & g)) + K[i] + w[i];
        t2 = (ROTR(a, 2) ^ ROTR(a, 13) ^ ROTR(a, 22)) + ((a & b) ^ (a & c) ^ (b & c));
        h = g, g = f, f = e, e = d + t1;
        d = c, c = b, b = a, a = t1 + t2;
    }
    state[0] += a, state[1] += b, state[2] += c, state[3] += d;
    state[4] += e, state[5] += f, state[6] += g, state[7] += h;
}

unsigned char *plain_sha256(const unsigned char *data, size_t size, unsigned char *out) {
    unsigned char last[128] = {0};
    uint32_t h[8];
    size_t rest = size % 64, end = rest < 56 ? 64 : 128, i;
    memcpy(h, START, sizeof h);
    for (i = 0; i + 64 <= size; i += 64) {
        block(h, data + i);
    }
    memcpy(last, data + size - rest, rest);
    last[rest] = 0x80;
    for (i = 0; i < 8; i++) {
        last[end - 1 - i] = (unsigned char)((uint64_t)size * 8 >> 8 * i);
    }
    block(h, last);
    if (end == 128) {
        block(h, last + 64);
    }
    for (i = 0; i < 32; i++) {
        out[i] = (unsigned char)(h[i / 4] >> (24 - i % 4 * 8));
    }
    return out;
}

/* out[32 * i] = SHA-256(0x01 || rows[64 * i : 64 * i + 64]); `out` may be `rows`. */
void level(one_shot *hash, const unsigned char *rows, size_t pairs, unsigned char *out) {
    unsigned char node[65] = {1};
    size_t i;
    for (i = 0; i < pairs; i++) {
        memcpy(node + 1, rows + 64 * i, 64);
        hash(node, sizeof node, out + 32 * i);
    }
}

/* The root of a full tile; `out` has room for half of it. */
void tile_root(one_shot *hash, const unsigned char *rows, unsigned char *out) {
    size_t pairs = 128;
    for (level(hash, rows, pairs, out); pairs > 1;) {
        pairs /= 2;
        level(hash, out, pairs, out);
    }
}

/* out[32 * i] = SHA-256(0x00 || item i) for `count` items of `size` bytes behind each other. */
void leaves(one_shot *hash, const unsigned char *items, size_t size, size_t count, unsigned char *out) {
    unsigned char leaf[65536];
    size_t i;
    leaf[0] = 0;
    for (i = 0; i < count; i++) {
        memcpy(leaf + 1, items + size * i, size);
        hash(leaf, size + 1, out + 32 * i);
    }
}
