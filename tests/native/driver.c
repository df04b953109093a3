/* Hashes messages, nodes and pairs with every kernel that runs here; the test compares what it prints.
 *
 * Each message lies in memory of exactly its own size, so that a sanitizer sees a byte read beyond it.
 * Message n of size s holds the bytes (i * 7 + n) % 251.
 */
#include "sha256.h"

static uint8_t *made(size_t size, size_t number) {
    uint8_t *bytes = malloc(size ? size : 1);
    size_t i;
    for (i = 0; i < size; i++) {
        bytes[i] = (uint8_t)((i * 7 + number) % 251);
    }
    return bytes;
}

static void print_hash(const char *kernel, const char *what, size_t number, const uint8_t *hash) {
    int i;
    printf("%s %s %zu ", kernel, what, number);
    for (i = 0; i < SHA256_HASH_BYTES; i++) {
        printf("%02x", hash[i]);
    }
    printf("\n");
}

#define COUNT 22

static void hash_all(const char *kernel) {
    static const size_t sizes[COUNT] = {0,  1,   54,  55,  56,  57,  63,   64,   65,   118,  119,
                                        120, 127, 128, 183, 184, 1014, 1015, 1016, 1078, 1079, 65536};
    const uint8_t *messages[COUNT], *pairs[COUNT];
    uint8_t *outs[COUNT], prefixes[COUNT];
    size_t i;
    uint8_t *hashes = malloc(COUNT * SHA256_HASH_BYTES);
    for (i = 0; i < COUNT; i++) {
        messages[i] = made(sizes[i], i);
        pairs[i] = made(SHA256_BLOCK_BYTES, i);
        prefixes[i] = (uint8_t)(11 * i);
        outs[i] = malloc(SHA256_HASH_BYTES);
    }
    sha256_prefixed_many(0, messages, sizes, hashes, COUNT);
    for (i = 0; i < COUNT; i++) {
        print_hash(kernel, "leaf", i, hashes + i * SHA256_HASH_BYTES);
    }
    sha256_many(messages, sizes, hashes, COUNT);
    for (i = 0; i < COUNT; i++) {
        print_hash(kernel, "message", i, hashes + i * SHA256_HASH_BYTES);
    }
    sha256_nodes(prefixes, pairs, outs, COUNT);
    for (i = 0; i < COUNT; i++) {
        print_hash(kernel, "node", i, outs[i]);
    }
    sha256_pairs(pairs, outs, COUNT);
    for (i = 0; i < COUNT; i++) {
        print_hash(kernel, "pair", i, outs[i]);
    }
    /* In place: each hash over the beginning of what it is the hash of. */
    for (i = 0; i < COUNT; i++) {
        sha256_prefixed(7, pairs[i], SHA256_BLOCK_BYTES, (uint8_t *)pairs[i]);
        print_hash(kernel, "inplace", i, pairs[i]);
        free((void *)messages[i]);
        free((void *)pairs[i]);
        free(outs[i]);
    }
    free(hashes);
}

int main(int count, char **words) {
    int i;
    printf("default %s\n", sha256_active->name);
    for (i = 1; i < count; i++) {
        if (sha256_choose(words[i])) {
            hash_all(words[i]);
        } else {
            printf("%s: %s\n", words[i], sha256_fault);
        }
    }
    return 0;
}
