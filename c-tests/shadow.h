/* A shadow of the collected heap: exactly which objects are alive, by the
 * test's own reckoning. An object that is alive must not be handed out again,
 * and must hold what was written.
 *
 * The shadow is memory of calloc with one bit for each granule of 16 bytes, so
 * it holds no pointer that would keep an object.
 */
#ifndef GMPRT_SHADOW_H
#define GMPRT_SHADOW_H

#include "test.h"

/* Whether each allocation collects: GMPDEBUG=gcstress=1. */
static inline bool gc_stressed(void)
{
    const char *debug = getenv("GMPDEBUG");

    return debug != NULL && strstr(debug, "gcstress") != NULL;
}

enum { SHADOW_CHUNK = 26, SHADOW_CHUNKS = 1 << (47 - SHADOW_CHUNK) };

static _Atomic(_Atomic uint64_t *) shadow_chunks[SHADOW_CHUNKS];
static atomic_long shadow_births, shadow_deaths;

static inline _Atomic uint64_t *shadow_word(const void *p, uint64_t *bit)
{
    uintptr_t at = (uintptr_t)p;
    size_t chunk = at >> SHADOW_CHUNK, granule = (at >> 4) & ((1 << 22) - 1);
    _Atomic uint64_t *bits = atomic_load(&shadow_chunks[chunk]);

    CHECK(chunk < SHADOW_CHUNKS);
    if (bits == NULL) {
        _Atomic uint64_t *none = NULL;
        bits = calloc(1 << 16, sizeof *bits);
        CHECK(bits != NULL);
        if (!atomic_compare_exchange_strong(&shadow_chunks[chunk], &none, bits)) {
            free((void *)bits);
            bits = none;
        }
    }
    *bit = (uint64_t)1 << (granule & 63);
    return &bits[granule >> 6];
}

/* The heap has handed `p` out. */
static inline void shadow_born(const void *p)
{
    uint64_t bit;
    _Atomic uint64_t *word = shadow_word(p, &bit);

    CHECK(((uintptr_t)p & 15) == 0);
    if (atomic_fetch_or(word, bit) & bit)
        test_fail(__FILE__, __LINE__, "an object that is alive is handed out");
    atomic_fetch_add_explicit(&shadow_births, 1, memory_order_relaxed);
}

/* The test is about to drop the last pointer to `p`. */
static inline void shadow_dies(const void *p)
{
    uint64_t bit;
    _Atomic uint64_t *word = shadow_word(p, &bit);

    if (!(atomic_fetch_and(word, ~bit) & bit))
        test_fail(__FILE__, __LINE__, "the test drops an object twice");
    atomic_fetch_add_explicit(&shadow_deaths, 1, memory_order_relaxed);
}

/* A node of a tree of the test's. */
struct node {
    uint64_t magic; /* of its address and its value */
    uint64_t value;
    struct node *left, *right;
    unsigned char *text; /* noscan, `length` bytes of value */
    size_t length;
};

static inline uint64_t node_magic(const struct node *n)
{
    return (uint64_t)(uintptr_t)n * 0x9E3779B97F4A7C15u ^ n->value;
}

static inline uint64_t shadow_random(uint64_t *seed)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    return *seed;
}

static inline struct node *node_make(uint64_t *seed)
{
    size_t more = shadow_random(seed) % 8 == 0 ? shadow_random(seed) % 3000 : 0;
    struct node *n = gmp_gc_alloc(sizeof *n + more);

    CHECK(n != NULL);
    shadow_born(n);
    CHECK(n->magic == 0 && n->left == NULL && n->right == NULL
          && n->text == NULL);
    n->value = shadow_random(seed);
    n->magic = node_magic(n);
    if (n->value % 4 == 0) {
        n->length = 1 + n->value % 500;
        n->text = gmp_gc_alloc_noscan(n->length);
        CHECK(n->text != NULL);
        shadow_born(n->text);
        memset(n->text, (int)(n->value & 0xff), n->length);
    }
    return n;
}

/* A tree of about `size` nodes. */
static inline struct node *tree_make(uint64_t *seed, int size)
{
    struct node *n;

    if (size <= 0)
        return NULL;
    n = node_make(seed);
    size--;
    if (size > 0) {
        int left = (int)(shadow_random(seed) % (uint64_t)(size + 1));
        n->left = tree_make(seed, left);
        n->right = tree_make(seed, size - left);
    }
    return n;
}

static inline void node_check(const struct node *n)
{
    if (n->magic != node_magic(n))
        test_fail(__FILE__, __LINE__, "a node that is alive has changed");
    if (n->text != NULL
        && (n->text[0] != (n->value & 0xff)
            || n->text[n->length - 1] != (n->value & 0xff)))
        test_fail(__FILE__, __LINE__, "a text that is alive has changed");
}

static inline int tree_check(const struct node *n)
{
    if (n == NULL)
        return 0;
    node_check(n);
    return 1 + tree_check(n->left) + tree_check(n->right);
}

/* Checks the tree, and says that it dies. The caller drops it. */
static inline int tree_drop(struct node *n)
{
    int nodes;

    if (n == NULL)
        return 0;
    node_check(n);
    nodes = 1 + tree_drop(n->left) + tree_drop(n->right);
    if (n->text != NULL)
        shadow_dies(n->text);
    shadow_dies(n);
    return nodes;
}

#endif
