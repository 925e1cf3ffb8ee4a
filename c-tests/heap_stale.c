/* Words that are no pointers of the program's keep nothing: addresses that the
 * C library and the library itself have in their data, and what a sweep leaves
 * on the stacks of the library's goroutines. Nor do numbers. And memcheck finds
 * nothing where the library looks at words that the program has not written. */
#include "shadow.h"

#include <stdint.h>

enum { LINKS = 400, SIZE = 40000, ROUNDS = 300, ARENAS = 3 };

#define ARENA ((size_t)64 << 20)

/* Objects that fill an arena, one each; their addresses are hidden. */
static __attribute__((noinline)) void fill_arenas(uintptr_t *hidden, int n)
{
    for (int i = 0; i < n; i++) {
        void *p = gmp_gc_alloc_noscan(ARENA);

        CHECK(p != NULL);
        hidden[i] = ~(uintptr_t)p;
    }
}

static __attribute__((noinline)) void check_gone(uintptr_t *hidden, int n)
{
    for (int i = 0; i < n; i++)
        CHECK(gmp_gc_base((void *)~hidden[i]) == NULL);
}

/* Objects lie where numbers and text are no addresses, also under a tool. */
static void test_place(void)
{
    uintptr_t at = (uintptr_t)gmp_gc_alloc(16);

    CHECK(at >> 40 == 0x1e || at >> 32 == 0x1e);
}

/* What calls have left below: frames of the next ones do not set all words. */
static __attribute__((noinline)) void wipe_stack(void)
{
    volatile char room[16 << 10];

    for (size_t i = 0; i < sizeof room; i++)
        room[i] = 0;
}

/* The library knows where the first arena begins and the last one ends, and
 * its data are roots where it is a part of the program. */
static void test_bounds_of_the_heap(void)
{
    uintptr_t hidden[ARENAS];

    fill_arenas(hidden, ARENAS);
    wipe_stack();
    CHECK_OK(gmp_gc());
    check_gone(hidden, ARENAS);
}

/* glibc keeps the address at which its next heap would lie, which is aligned as
 * an arena is, and may be where one begins. In a static program that word is
 * one of the program's. */
static void test_short_objects(void)
{
    static const size_t sizes[] = {8192, 40000, 1 << 20, 7 << 20};

    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        for (size_t sum = 0; sum < 2 * ARENA; sum += sizes[i]) {
            void *p = gmp_gc_alloc_noscan(sizes[i]);

            CHECK(p != NULL && (uintptr_t)p % ARENA != 0);
        }
    }
    CHECK_OK(gmp_gc());
}

static void **head;

/* Returns the address of an old link, hidden. */
static __attribute__((noinline)) uintptr_t make_chain(void)
{
    uintptr_t hidden = 0;

    head = NULL;
    for (int i = 0; i < LINKS; i++) {
        void **p = gmp_gc_alloc(SIZE);

        CHECK(p != NULL);
        *p = head;
        head = p;
        if (i == LINKS / 20)
            hidden = ~(uintptr_t)p;
    }
    return hidden;
}

static __attribute__((noinline)) uint64_t collections(void)
{
    gmp_gc_stats stats;

    CHECK_OK(gmp_gc_get_stats(&stats, sizeof stats));
    return stats.collections;
}

/* While bgsweep sweeps the chain, which is alive, the chain is dropped. So
 * bgsweep is stopped with whatever the sweep has left on its stack. A word of
 * that would keep the chain from some link on.
 *
 * One thing keeps words that are no pointers by right: the signal that stops a
 * thread may find bgsweep in a handler of the program's. Few rounds meet it. */
static void test_chain_that_is_swept(void)
{
    int kept = 0, rounds = test_times(ROUNDS);

    for (int i = 0; i < rounds; i++) {
        uintptr_t hidden = make_chain();
        uint64_t seen = collections();

        while (collections() == seen)
            CHECK(gmp_gc_alloc(SIZE) != NULL);
        if (i % 2)
            block_ns(US(i % 60));
        head = NULL;
        CHECK_OK(gmp_gc());
        kept += gmp_gc_base((void *)~hidden) != NULL;
    }
    if (kept > 0)
        fprintf(stderr, "%d of %d chains were kept\n", kept, rounds);
    CHECK(kept <= ROUNDS / 100);
}

static __attribute__((noinline)) void copy(long *to, volatile long *from)
{
    for (int i = 0; i < 8; i++)
        to[i] = from[i];
}

/* An object may have anything in it when it is freed. The last objects are in
 * registers of this function's: not in those of its caller, which stay. */
static __attribute__((noinline)) void test_unwritten_words(void)
{
    volatile long *junk = malloc(8 * sizeof *junk);

    CHECK(junk != NULL);
    for (int i = 0; i < 20; i++) {
        long *p = gmp_gc_alloc_noscan(64), *q = gmp_gc_alloc(64);

        CHECK(p != NULL && q != NULL);
        copy(p, junk);
        copy(q, junk);
        CHECK(gmp_gc_base(p) == p && gmp_gc_size(q + 1) == 64);
        p = gmp_gc_realloc(p, 200);
        CHECK(p != NULL);
        copy(p, junk);
        CHECK_OK(gmp_gc());
        CHECK_OK(gmp_gc_free(q));
        CHECK_OK(gmp_gc_free(p));
        CHECK_EQ(gmp_gc_free(p), -EINVAL);
    }
    free((void *)junk);
}

int test_main(int argc, char **argv)
{
    (void)argc;
    (void)argv;
    test_place();
    test_unwritten_words();
    test_bounds_of_the_heap();
    test_short_objects();
    test_chain_that_is_swept();
    return 0;
}
