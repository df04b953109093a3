/* Hashes that are noted first and made later, for trees whose nodes are changed many at a time.
 *
 * A sum is one byte and two other hashes; which those are is known long before what they are. So whoever changes a
 * tree notes its sums as it goes and gets a number for each, whichever part of the tree they belong to; `sums_make`
 * then makes all of one height side by side, so that the lanes of the kernel below stay busy.
 *
 * No function here needs the GIL or fails by itself: where memory ran out, `failed` is set and numbers are
 * SUMS_NONE until `sums_make` says so.
 */
#ifndef PYRSIA_SUMS_H
#define PYRSIA_SUMS_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "sha256.h"

#define SUMS_HASH 32
#define SUMS_PAIR 64
#define SUMS_NONE 0xFFFFFFFFu /* no hash; as one side of a sum: the other rises as it is */
#define SUMS_HEIGHTS 1024     /* a path in a tree of 256-bit keys has 256 sums, one in a history at most 106 */
#define SUMS_AT_ONCE 256      /* gathered for one call: 24 KiB of them stay in the first cache */

/* The two top bits of a number say what it is of, the others the place there. */
#define SUMS_SHIFT 30
#define SUMS_PLACE ((1u << SUMS_SHIFT) - 1)
enum { SUMS_LEAF = 0, SUMS_GIVEN = 1, SUMS_NODE = 2 };

/* -- an array that grows -- */

typedef struct {
    void *at;
    size_t used, size, width;
} room;

/* Room for `more` items behind those in use; what lies there may move. Returns whether there is. */
static inline int room_for(room *r, size_t more) {
    size_t size = r->size ? r->size : 64;
    void *at;
    if (r->used + more <= r->size) {
        return 1;
    }
    while (size < r->used + more) {
        size *= 2;
    }
    at = realloc(r->at, size * r->width);
    if (!at) {
        return 0;
    }
    r->at = at;
    r->size = size;
    return 1;
}

/* -- sums -- */

typedef struct {
    uint32_t left, right;
    uint16_t height;
    uint8_t prefix;
} sums_node;

typedef struct {
    room pairs, given, nodes;
    uint8_t *leaf_hashes, *node_hashes; /* NULL until they are made */
    int failed;
} sums;

static inline void sums_begin(sums *s) {
    memset(s, 0, sizeof *s);
    s->pairs.width = SUMS_PAIR;
    s->given.width = SUMS_HASH;
    s->nodes.width = sizeof(sums_node);
}

static inline void sums_end(sums *s) {
    free(s->pairs.at);
    free(s->given.at);
    free(s->nodes.at);
    free(s->leaf_hashes);
    free(s->node_hashes);
}

/* A number for the next item of `r`, of which there is room for `more`; SUMS_NONE if there is none. */
static inline uint32_t sums_number(sums *s, room *r, size_t more, uint32_t kind) {
    if (r->used + more > SUMS_PLACE || !room_for(r, more)) {
        s->failed = 1;
        return SUMS_NONE;
    }
    return (uint32_t)r->used | kind << SUMS_SHIFT;
}

/* A leaf from a key and a value. */
static inline uint32_t sums_leaf(sums *s, const uint8_t *key, const uint8_t *value) {
    uint32_t number = sums_number(s, &s->pairs, 1, SUMS_LEAF);
    if (number != SUMS_NONE) {
        uint8_t *pair = (uint8_t *)s->pairs.at + s->pairs.used++ * SUMS_PAIR;
        memcpy(pair, key, SUMS_HASH);
        memcpy(pair + SUMS_HASH, value, SUMS_HASH);
    }
    return number;
}

/* n leaves from n pairs of 64 bytes that stand side by side; the first one's number, the others follow. */
static inline uint32_t sums_leaves(sums *s, const uint8_t *pairs, size_t n) {
    uint32_t first = sums_number(s, &s->pairs, n, SUMS_LEAF);
    if (first != SUMS_NONE) {
        memcpy((uint8_t *)s->pairs.at + s->pairs.used * SUMS_PAIR, pairs, n * SUMS_PAIR);
        s->pairs.used += n;
    }
    return first;
}

/* A hash that is known. */
static inline uint32_t sums_give(sums *s, const uint8_t *hash) {
    uint32_t number = sums_number(s, &s->given, 1, SUMS_GIVEN);
    if (number != SUMS_NONE) {
        memcpy((uint8_t *)s->given.at + s->given.used * SUMS_HASH, hash, SUMS_HASH);
        s->given.used += 1;
    }
    return number;
}

static inline unsigned sums_height(const sums *s, uint32_t number) {
    return number >> SUMS_SHIFT == SUMS_NODE ? ((const sums_node *)s->nodes.at)[number & SUMS_PLACE].height : 0;
}

/* SHA-256(prefix || left || right). */
static inline uint32_t sums_join(sums *s, uint8_t prefix, uint32_t left, uint32_t right) {
    uint32_t number;
    unsigned a, b;
    if (left == SUMS_NONE || right == SUMS_NONE) {
        return left == SUMS_NONE ? right : left;
    }
    number = sums_number(s, &s->nodes, 1, SUMS_NODE);
    if (number != SUMS_NONE) {
        sums_node *node = (sums_node *)s->nodes.at + s->nodes.used++;
        a = sums_height(s, left);
        b = sums_height(s, right);
        node->left = left;
        node->right = right;
        node->prefix = prefix;
        node->height = (uint16_t)((a > b ? a : b) + 1);
        s->failed |= node->height >= SUMS_HEIGHTS - 1;
    }
    return number;
}

/* The hash of a number, once it is made. */
static inline const uint8_t *sums_hash(const sums *s, uint32_t number) {
    size_t place = (size_t)(number & SUMS_PLACE) * SUMS_HASH;
    switch (number >> SUMS_SHIFT) {
    case SUMS_NODE: return s->node_hashes + place;
    case SUMS_GIVEN: return (const uint8_t *)s->given.at + place;
    default: return s->leaf_hashes + place;
    }
}

static inline void sums_make_leaves(sums *s) {
    const uint8_t *pairs[SUMS_AT_ONCE];
    uint8_t *outs[SUMS_AT_ONCE];
    size_t at, i, n;
    for (at = 0; at < s->pairs.used; at += n) {
        n = s->pairs.used - at < SUMS_AT_ONCE ? s->pairs.used - at : SUMS_AT_ONCE;
        for (i = 0; i < n; i++) {
            pairs[i] = (const uint8_t *)s->pairs.at + (at + i) * SUMS_PAIR;
            outs[i] = s->leaf_hashes + (at + i) * SUMS_HASH;
        }
        sha256_pairs(pairs, outs, n);
    }
}

/* `order` becomes the places of all sums, lowest first; ends[h] the end of those lower than h. */
static inline void sums_sort(const sums *s, uint32_t *order, size_t ends[SUMS_HEIGHTS]) {
    const sums_node *nodes = (const sums_node *)s->nodes.at;
    size_t i;
    memset(ends, 0, SUMS_HEIGHTS * sizeof *ends);
    for (i = 0; i < s->nodes.used; i++) {
        ends[nodes[i].height] += 1;
    }
    for (i = 1; i < SUMS_HEIGHTS; i++) {
        ends[i] += ends[i - 1];
    }
    for (i = s->nodes.used; i > 0; i--) {
        order[--ends[nodes[i - 1].height]] = (uint32_t)(i - 1);
    }
}

/* Whatever a sum needs lies lower, and those of one height do not need each other. */
static inline void sums_make_nodes(sums *s, uint32_t *order) {
    const sums_node *nodes = (const sums_node *)s->nodes.at;
    size_t ends[SUMS_HEIGHTS];
    uint8_t prefixes[SUMS_AT_ONCE], pairs[SUMS_AT_ONCE][SUMS_PAIR];
    const uint8_t *rows[SUMS_AT_ONCE];
    uint8_t *outs[SUMS_AT_ONCE];
    size_t at, i, n, end;
    sums_sort(s, order, ends);
    for (at = 0; at < s->nodes.used; at += n) {
        end = ends[nodes[order[at]].height + 1];
        n = end - at < SUMS_AT_ONCE ? end - at : SUMS_AT_ONCE;
        for (i = 0; i < n; i++) {
            const sums_node *node = nodes + order[at + i];
            prefixes[i] = node->prefix;
            memcpy(pairs[i], sums_hash(s, node->left), SUMS_HASH);
            memcpy(pairs[i] + SUMS_HASH, sums_hash(s, node->right), SUMS_HASH);
            rows[i] = pairs[i];
            outs[i] = s->node_hashes + (size_t)order[at + i] * SUMS_HASH;
        }
        sha256_nodes(prefixes, rows, outs, n);
    }
}

/* Make every hash, once. Returns whether memory sufficed, here and before. */
static inline int sums_make(sums *s) {
    uint32_t *order = malloc(s->nodes.used * sizeof *order + 1);
    s->leaf_hashes = malloc(s->pairs.used * SUMS_HASH + 1);
    s->node_hashes = malloc(s->nodes.used * SUMS_HASH + 1);
    s->failed |= !order || !s->leaf_hashes || !s->node_hashes;
    if (!s->failed) {
        sums_make_leaves(s);
        sums_make_nodes(s, order);
    }
    free(order);
    return !s->failed;
}

/* -- numbers and keys as bytes, most significant first -- */

static inline uint64_t load_u64(const uint8_t *at) {
    uint64_t x = 0;
    int i;
    for (i = 0; i < 8; i++) {
        x = x << 8 | at[i];
    }
    return x;
}

static inline void store_u64(uint8_t *at, uint64_t x) {
    int i;
    for (i = 7; i >= 0; i--) {
        at[i] = (uint8_t)x;
        x >>= 8;
    }
}

static inline int ones(uint64_t x) { return __builtin_popcountll(x); }

static inline int key_nibble(const uint8_t *key, int at) { return at & 1 ? key[at >> 1] & 15 : key[at >> 1] >> 4; }

static inline int key_bit(const uint8_t *key, int at) { return key[at >> 3] >> (7 - (at & 7)) & 1; }

/* The first bit, 0..255, at which two keys differ; 256 if they do not. */
static inline int key_parts(const uint8_t *a, const uint8_t *b) {
    int word;
    for (word = 0; word < 4; word++) {
        uint64_t x = load_u64(a + 8 * word) ^ load_u64(b + 8 * word);
        if (x) {
            return 64 * word + __builtin_clzll(x);
        }
    }
    return 256;
}

/* Which of two keys comes first: below, at or above zero, as memcmp says it; nearly always told by eight bytes. */
static inline int key_order(const uint8_t *a, const uint8_t *b) {
    uint64_t x = load_u64(a), y = load_u64(b);
    return x == y ? memcmp(a + 8, b + 8, SUMS_HASH - 8) : x < y ? -1 : 1;
}

#endif
