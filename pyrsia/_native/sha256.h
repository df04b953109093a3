/* SHA-256 for the trees of this package: what the compiled modules call.
 *
 * Include this and call; which kernel works is chosen once, when the module is loaded: the processor's own
 * instructions, or AVX2, or portable C. PYRSIA_SHA256=portable|shani|avx2 forces one; a word that is unknown or
 * that this processor cannot run leaves a sentence in sha256_fault, and pyrsia._native refuses to be imported.
 *
 * Everything is static: a module that includes this has its own copy and its own choice. No function here
 * allocates, fails or needs the GIL. It needs GCC or Clang; away from x86-64 only the portable kernel is compiled.
 */
#ifndef PYRSIA_SHA256_H
#define PYRSIA_SHA256_H

#include <stdio.h>
#include <stdlib.h>

#include "sha256_lanes.h"
#include "sha256_portable.h"

/* SHA256_PORTABLE_ONLY lets a test compile what another processor gets. */
#if defined(__x86_64__) && defined(__GNUC__) && !defined(SHA256_PORTABLE_ONLY)
#define SHA256_X86 1
#include <cpuid.h>

#include "sha256_avx2.h"
#include "sha256_shani.h"
#endif

#ifdef SHA256_X86
#define SHA256_CHOICES "portable, avx2 or shani"

#define SHA256_HAS_SHANI 1
#define SHA256_HAS_AVX2 2

/* What this processor can run, asked of it directly: the compilers' own way to ask is missing from some runtimes.
 * SHA256_PLAIN_CPU lets a test see what one with neither does.
 *
 * Source: Intel SDM 2, CPUID (leaf 1, ECX: SSSE3 9, SSE4.1 19, OSXSAVE 27; leaf 7, EBX: AVX2 5, SHA 29) and XGETBV:
 * AVX2 also needs a system that keeps the vectors' upper halves (bits 1 and 2). */
#ifdef SHA256_PLAIN_CPU
static inline int sha256_cpu(void) { return 0; }
#else
static inline int sha256_cpu(void) {
    unsigned a, b, basic, d, extended, unused, kept = 0;
    int has = 0;
    if (!__get_cpuid(1, &a, &b, &basic, &d) || !__get_cpuid_count(7, 0, &a, &extended, &unused, &d)) {
        return 0;
    }
    if ((basic >> 9 & 1) && (basic >> 19 & 1) && (extended >> 29 & 1)) {
        has |= SHA256_HAS_SHANI;
    }
    if (basic >> 27 & 1) {
        __asm__ volatile("xgetbv" : "=a"(kept) : "c"(0) : "edx");
    }
    if ((kept & 6) == 6 && (extended >> 5 & 1)) {
        has |= SHA256_HAS_AVX2;
    }
    return has;
}
#endif
#else
#define SHA256_CHOICES "portable"
#endif

static const sha256_kernel *sha256_active = &SHA256_PORTABLE;
static char sha256_fault[192]; /* empty, or why the wanted kernel is not the active one; ends with what to do */

/* Make the kernel named `wanted` the active one, or the fastest that runs here for NULL and "". Returns whether
 * it is; if not, sha256_fault says why, and the active one stays as it was. */
static inline int sha256_choose(const char *wanted) {
    const sha256_kernel *runs[4];
    size_t n = 0, i;
    int known = 0;
    sha256_fault[0] = 0;
#ifdef SHA256_X86
    if (sha256_cpu() & SHA256_HAS_SHANI) {
        runs[n++] = &SHA256_SHANI;
    }
    if (sha256_cpu() & SHA256_HAS_AVX2) {
        runs[n++] = &SHA256_AVX2;
    }
    known = wanted && (strcmp(wanted, "shani") == 0 || strcmp(wanted, "avx2") == 0);
#endif
    runs[n++] = &SHA256_PORTABLE;
    for (i = 0; i < n; i++) {
        if (!wanted || !*wanted || strcmp(wanted, runs[i]->name) == 0) {
            sha256_active = runs[i];
            return 1;
        }
    }
    snprintf(sha256_fault, sizeof sha256_fault, "%s", known
        ? "PYRSIA_SHA256 names a way to hash that this processor cannot run; set it to portable, or unset it"
        : "PYRSIA_SHA256 names a way to hash that is not built in; set it to " SHA256_CHOICES ", or unset it");
    return 0;
}

/* Runs when the module is loaded, before anything can call into it. */
__attribute__((constructor)) static void sha256_set_up(void) {
    sha256_make_schedules();
    sha256_choose(getenv("PYRSIA_SHA256"));
}

/* n independent hashes of prefixes[i] || pairs[i][0:64]: nodes of a tree. outs[i] may lie in pairs[0..i]. */
static inline void sha256_nodes(const uint8_t *prefixes, const uint8_t *const *pairs, uint8_t *const *outs,
                                size_t n) {
    if (n) {
        sha256_active->pairs(prefixes, pairs, outs, n);
    }
}

/* n independent hashes of exactly pairs[i][0:64]. outs[i] may lie in pairs[0..i]. */
static inline void sha256_pairs(const uint8_t *const *pairs, uint8_t *const *outs, size_t n) {
    if (n) {
        sha256_active->pairs(NULL, pairs, outs, n);
    }
}

/* out = SHA-256(prefix || data[0:size]). `out` may overlap `data`: it is written last. */
static inline void sha256_prefixed(uint8_t prefix, const uint8_t *data, size_t size, uint8_t *out) {
    sha256_through(sha256_active, &prefix, &data, &size, out, 1);
}

/* out[32 * i] = SHA-256(prefix || data[i][0:sizes[i]]) for i < n, of any lengths in any order. */
static inline void sha256_prefixed_many(uint8_t prefix, const uint8_t *const *data, const size_t *sizes,
                                        uint8_t *out, size_t n) {
    sha256_through(sha256_active, &prefix, data, sizes, out, n);
}

/* out[32 * i] = SHA-256(data[i][0:sizes[i]]) for i < n. */
static inline void sha256_many(const uint8_t *const *data, const size_t *sizes, uint8_t *out, size_t n) {
    sha256_through(sha256_active, NULL, data, sizes, out, n);
}

#endif
