/* The collected heap at every size: what lies at the borders of size classes,
 * pages and arenas has room, is aligned, zero and kept, and moves to any other
 * size; and sizes that nobody has are refused. */
#include "test.h"

enum { SMALL = 32 << 10, MIB = 1 << 20, MOST = 200 };

typedef void *(*alloc_fn)(size_t);

static const alloc_fn kinds[] = {
    gmp_gc_alloc, gmp_gc_alloc_noscan, gmp_gc_alloc_root,
};
enum { ZEROED = 0, NOSCAN = 1, ROOT = 2, KINDS = 3 };

/* The only pointer to an object, apart from frames that are gone. */
static char *volatile kept;

/* The sizes at which something changes, up to what a tool has time for. */
static size_t borders[MOST];
static int n_borders;

static size_t most(void)
{
    return test_under(NULL) ? MIB + 1 : (size_t)192 * MIB + 1;
}

static void add(size_t size)
{
    if (size <= most()) {
        CHECK(n_borders < MOST);
        borders[n_borders++] = size;
    }
}

static void add_around(size_t size)
{
    add(size - 1);
    add(size);
    add(size + 1);
}

/* Every size that a small object may have: it has room, a fifth more at
 * most, and a larger one has no less. */
static void test_small(void)
{
    size_t room = 0;

    for (size_t n = 0; n <= SMALL; n += test_under(NULL) ? 61 : 1) {
        char *p = kinds[NOSCAN](n);
        size_t now = gmp_gc_size(p);

        CHECK(p != NULL && (uintptr_t)p % 16 == 0);
        CHECK(now >= n && now >= room);
        CHECK(now <= n + n / 5 + 16);
        if (now != room && n > 0) {
            add(n - 1);
            add(n);
        }
        room = now;
        CHECK_OK(gmp_gc_free(p));
    }
    CHECK_EQ(room, SMALL);
    for (size_t n = SMALL; n <= (size_t)64 * MIB; n *= 2)
        add_around(n);
    add_around(5 * 8192);
    add_around((size_t)8 * MIB + 8192);
    add_around((size_t)64 * MIB - 8192);
    add_around((size_t)64 * MIB + 8192);
    add_around((size_t)128 * MIB);
    add_around((size_t)192 * MIB);
}

/* Bytes `from` up to `to` are zero: all, or some where they are many. */
static void check_zero(const char *p, size_t from, size_t to)
{
    size_t step = to - from < MIB ? 1 : 4093;

    for (size_t i = from; i < to; i += step)
        CHECK_EQ(p[i], 0);
    if (to > from)
        CHECK_EQ(p[to - 1], 0);
}

static void check_place(char *p, size_t n)
{
    const size_t size = gmp_gc_size(p);
    const size_t at[] = {0, 1, 8, n / 2, n - (n > 0), size / 2, size - 1};

    CHECK(p != NULL && (uintptr_t)p % 16 == 0);
    CHECK(size >= n && size > 0);
    CHECK(size <= (n <= SMALL ? n + n / 5 + 16 : n + 8191));
    for (size_t i = 0; i < sizeof at / sizeof *at; i++) {
        CHECK(gmp_gc_base(p + at[i]) == p);
        CHECK_EQ(gmp_gc_size(p + at[i]), size);
    }
    CHECK(gmp_gc_base(p - 1) != p);
    /* Behind the last granule of 16 bytes. */
    CHECK(gmp_gc_base(p + (size + 15) / 16 * 16) != p);
}

/* Makes an object, and keeps the pointer that `f` tells. */
static __attribute__((noinline)) void make(alloc_fn alloc, size_t n,
                                           char *(*f)(char *p, size_t n))
{
    char *p = alloc(n);

    check_place(p, n);
    if (alloc != kinds[NOSCAN])
        check_zero(p, 0, gmp_gc_size(p));
    if (n > 0)
        p[0] = p[n - 1] = 1;
    kept = f(p, n);
}

static char *begin(char *p, size_t n)
{
    return p;
}

static char *middle(char *p, size_t n)
{
    return p + n / 2;
}

/* Behind what was asked for: in what the object has more, if it has. */
static char *end(char *p, size_t n)
{
    return p + n;
}

/* What has only one pointer, to its begin, into it or to its end. */
static void test_kept(size_t n)
{
    char *(*const which[])(char *, size_t) = {begin, middle, end};
    char *p;

    for (int i = 0; i < KINDS; i++) {
        make(kinds[i % KINDS], n, which[i]);
        CHECK_OK(gmp_gc());
        p = gmp_gc_base(which[i] == end && n > 0 ? kept - 1 : kept);
        check_place(p, n);
        CHECK(kept == which[i](p, n));
        if (n > 0)
            CHECK(p[0] == 1 && p[n - 1] == 1);
        kept = NULL;
        CHECK_EQ(gmp_gc_free(p + 8), -EINVAL);
        CHECK_OK(gmp_gc_free(p));
        CHECK(gmp_gc_base(p) == NULL);
        CHECK_EQ(gmp_gc_size(p), 0);
        CHECK_EQ(gmp_gc_free(p), -EINVAL);
    }
}

static void test_borders(void)
{
    for (int i = 0; i < n_borders; i++)
        test_kept(borders[i]);
    printf("%d sizes\n", n_borders);
}

/* From each size to each other one, and what is behind the old bytes is zero
 * where there may be pointers. */
static void test_realloc(void)
{
    static const size_t sizes[] = {
        0, 1, 16, 17, 100, 1024, 1025, 8192, 8193, SMALL, SMALL + 1, 40960,
        MIB, 8 * MIB + 1, 64 * MIB - 1, 64 * MIB, 64 * MIB + 1,
    };
    enum { SIZES = sizeof sizes / sizeof *sizes };

    for (int i = 0; i < SIZES * SIZES * KINDS; i++) {
        const int kind = i % KINDS;
        const size_t from = sizes[i / KINDS / SIZES];
        const size_t to = sizes[i / KINDS % SIZES];
        const size_t less = from < to ? from : to;
        char *p, *q;

        if (from > most() || to > most())
            continue;
        p = kinds[kind](from);
        CHECK(p != NULL);
        memset(p, 7, from);
        CHECK(gmp_gc_realloc(p, SIZE_MAX) == NULL);
        CHECK(gmp_gc_realloc(p + 8, to) == NULL);
        q = gmp_gc_realloc(p, to);
        check_place(q, to);
        if (less > 0)
            CHECK(q[0] == 7 && q[less / 2] == 7 && q[less - 1] == 7);
        if (kind != NOSCAN)
            check_zero(q, less < from ? gmp_gc_size(q) : from, gmp_gc_size(q));
        if (q != p)
            CHECK(gmp_gc_base(p) == NULL);
        CHECK_OK(gmp_gc_free(q));
    }
}

static void test_sizes_that_nobody_has(void)
{
    static const size_t sizes[] = {
        SIZE_MAX, SIZE_MAX - 1, SIZE_MAX - 15, SIZE_MAX - 16, SIZE_MAX - 8190,
        SIZE_MAX - 8191, SIZE_MAX - 8192, SIZE_MAX - (64 * MIB - 1),
        SIZE_MAX - 64 * MIB, SIZE_MAX / 2 + 1, SIZE_MAX / 2, PTRDIFF_MAX,
        (size_t)1 << 62, (size_t)1 << 48, (size_t)1 << 47,
    };
    static const size_t products[][2] = {
        {SIZE_MAX, 2}, {2, SIZE_MAX}, {SIZE_MAX / 2 + 1, 2}, {SIZE_MAX, SIZE_MAX},
        {(size_t)1 << 32, (size_t)1 << 32}, {SIZE_MAX / 16 + 1, 16}, {1, SIZE_MAX},
    };
    char *p = gmp_gc_alloc(100);
    const long before = status_value("/proc/self/status", "VmSize:");

    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        for (int kind = 0; kind < KINDS; kind++)
            CHECK(kinds[kind](sizes[i]) == NULL);
        CHECK(gmp_gc_realloc(p, sizes[i]) == NULL);
    }
    for (size_t i = 0; i < sizeof products / sizeof *products; i++)
        CHECK(gmp_gc_calloc(products[i][0], products[i][1]) == NULL);
    CHECK(status_value("/proc/self/status", "VmSize:") < before + 1024);
    check_place(p, 100);
    check_place(gmp_gc_calloc(0, SIZE_MAX), 0);
    check_place(gmp_gc_calloc(SIZE_MAX, 0), 0);
    check_place(gmp_gc_calloc(3, 1000), 3000);
}

int test_main(int argc, char **argv)
{
    (void)argc;
    (void)argv;
    test_small();
    test_borders();
    test_realloc();
    test_sizes_that_nobody_has();
    return 0;
}
