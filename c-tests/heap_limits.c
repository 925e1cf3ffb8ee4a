/* The limit of the collected heap, and its percentage: below what is alive,
 * just above, none, and numbers that are none; before the first object, and
 * while goroutines allocate. */
#include "shadow.h"

enum { MIB = 1 << 20, KEPT = 8 * MIB, PIECE = 64 << 10, PIECES = KEPT / PIECE };

static char *kept[PIECES];

static gmp_gc_stats numbers(void)
{
    gmp_gc_stats stats;

    CHECK_OK(gmp_gc_get_stats(&stats, sizeof stats));
    return stats;
}

static void look(void)
{
    for (int i = 0; i < PIECES; i++)
        CHECK(kept[i][0] == (char)i && kept[i][PIECE - 1] == (char)i);
}

static void make_kept(void)
{
    for (int i = 0; i < PIECES; i++) {
        CHECK((kept[i] = gmp_gc_alloc_noscan(PIECE)) != NULL);
        memset(kept[i], i, PIECE);
    }
}

/* How many objects of `size` bytes are to be had, of so many at most; each is
 * garbage at once. */
static __attribute__((noinline)) int made(size_t size, int most)
{
    int n = 0;

    while (n < most && gmp_gc_alloc(size) != NULL)
        n++;
    return n;
}

/* What is said before the first object is so, and what the environment says is
 * so before that. */
static void test_before_the_first(void)
{
    const bool set = getenv("GMP_GOGC") != NULL;
    const int64_t limit = set ? 512 * MIB : INT64_MAX;

    CHECK_EQ(gmp_gc_set_limit(-1), limit);
    CHECK_EQ(gmp_gc_set_percent(set ? 50 : 100), set ? 50 : 100);
    CHECK(numbers().next_bytes <= 4 * MIB);
    CHECK_EQ(gmp_gc_set_percent(300), set ? 50 : 100);
    CHECK_EQ(gmp_gc_set_limit(16 * MIB), limit);
    CHECK(gmp_gc_alloc(17 * MIB) == NULL);
    CHECK(gmp_gc_alloc(16) != NULL);
    CHECK_EQ(gmp_gc_set_limit(-1), 16 * MIB);
    CHECK_EQ(gmp_gc_set_percent(100), 300);
}

static void test_numbers(void)
{
    static const int64_t none[] = {-1, INT64_MIN, INT64_MIN + 1, -MIB};

    CHECK_EQ(gmp_gc_set_limit(INT64_MAX), 16 * MIB);
    for (size_t i = 0; i < sizeof none / sizeof *none; i++)
        CHECK_EQ(gmp_gc_set_limit(none[i]), INT64_MAX);
    CHECK_EQ(gmp_gc_set_limit(INT64_MAX - 1), INT64_MAX);
    CHECK(made(MIB, 20) == 20);
    CHECK_EQ(gmp_gc_set_limit(INT64_MAX), INT64_MAX - 1);
    CHECK_EQ(gmp_gc_set_percent(INT32_MAX), 100);
    CHECK_EQ(gmp_gc_set_percent(INT32_MIN), INT32_MAX);
    CHECK_EQ(gmp_gc_set_percent(0), -1);
    CHECK(made(MIB, 20) == 20);
    CHECK_EQ(gmp_gc_set_percent(100), 0);
}

/* No object is to be had, but those for which there is room in spans that a
 * thread has. What there is stays, and is freed and made smaller. */
static void test_below(int64_t limit)
{
    char *p = gmp_gc_alloc(100000), *q = gmp_gc_alloc(100000);
    uint64_t failed = numbers().failed;

    CHECK(p != NULL && q != NULL);
    memset(p, 9, 100000);
    gmp_gc_set_limit(limit);
    CHECK(gmp_gc_alloc(MIB) == NULL && gmp_gc_alloc_root(MIB) == NULL);
    CHECK(gmp_gc_alloc_noscan(MIB) == NULL && gmp_gc_calloc(4, MIB) == NULL);
    CHECK(made(16, 10000) < 10000);
    CHECK(made(0, 10000) < 10000);
    CHECK(gmp_gc_chan_make(1000, 100) == NULL);
    CHECK(gmp_gc_realloc(p, MIB) == NULL);
    CHECK((p = gmp_gc_realloc(p, 90000)) != NULL);
    CHECK((p = gmp_gc_realloc(p, 89000)) != NULL);
    CHECK(p[0] == 9 && p[88999] == 9);
    CHECK_OK(gmp_gc_free(p));
    CHECK_OK(gmp_gc());
    look();
    GMP_GC_KEEP(q);
    CHECK_EQ(numbers().failed, failed);
    CHECK_EQ(gmp_gc_set_limit(INT64_MAX), limit);
    CHECK(gmp_gc_alloc(MIB) != NULL);
}

/* A span counts as a whole when a thread takes it, and passes the limit by less
 * than that. */
static void check_live(int64_t limit)
{
    CHECK(numbers().live_bytes <= (uint64_t)limit + MIB / 4);
}

/* An object that grows, and is garbage then. */
static __attribute__((noinline)) void grow_one(void)
{
    char *p = gmp_gc_alloc(1000);

    CHECK(p != NULL);
    p[0] = 5;
    CHECK((p = gmp_gc_realloc(p, MIB)) != NULL);
    CHECK(p[0] == 5);
}

/* What a call has left below: an old address would keep its object, and the one
 * before that, so the next call wants a third. */
static __attribute__((noinline)) void wipe_stack(void)
{
    volatile char room[16 << 10];

    for (size_t i = 0; i < sizeof room; i++)
        room[i] = 0;
}

/* Garbage makes room, for a new object and for one that grows. */
static void test_just_above(void)
{
    const int64_t above = 2 * MIB;

    CHECK_OK(gmp_gc());
    gmp_gc_set_limit((int64_t)numbers().live_bytes + above);
    CHECK(made(1000, 30000) == 30000);
    CHECK(made(100000, 300) == 300);
    CHECK(made(MIB, 30) == 30);
    CHECK(gmp_gc_alloc(3 * MIB) == NULL);
    for (int i = 0; i < 30; i++) {
        grow_one();
        wipe_stack();
    }
    look();
    check_live(gmp_gc_set_limit(INT64_MAX));
}

/* Without a percentage the limit alone says when. */
static void test_limit_alone(void)
{
    const int64_t limit = 64 * MIB;
    uint64_t before;

    CHECK_EQ(gmp_gc_set_percent(-1), 100);
    gmp_gc_set_limit(limit);
    CHECK_OK(gmp_gc());
    before = numbers().collections;
    CHECK_EQ(numbers().next_bytes, limit);
    CHECK(made(MIB, 40) == 40);
    if (!gc_stressed())
        CHECK_EQ(numbers().collections, before);
    CHECK(made(MIB, 500) == 500);
    CHECK(numbers().collections >= before + 5);
    check_live(limit);
    look();
    gmp_gc_set_limit(INT64_MAX);
    CHECK_EQ(gmp_gc_set_percent(100), -1);
}

static atomic_bool over;
static atomic_long got, none;

static void allocates(void *arg)
{
    while (!atomic_load(&over)) {
        char *p = gmp_gc_alloc((size_t)(uintptr_t)arg);

        atomic_fetch_add(p ? &got : &none, 1);
        gmp_yield();
    }
}

static void test_while_goroutines_allocate(void)
{
    gmp_g *gs[4];
    long before;

    for (uintptr_t i = 0; i < 4; i++)
        gs[i] = spawn(allocates, (void *)(i * 7000 + 1000));
    for (int i = 0; i < test_times(10); i++) {
        gmp_gc_set_limit(i % 2 ? 0 : KEPT);
        before = atomic_load(&none);
        AWAIT(atomic_load(&none) > before + 10);
        gmp_gc_set_limit(i % 2 ? 2 * KEPT : INT64_MAX);
        before = atomic_load(&got);
        AWAIT(atomic_load(&got) > before + 100);
    }
    atomic_store(&over, true);
    for (int i = 0; i < 4; i++)
        CHECK_OK(gmp_join(gs[i]));
    look();
    gmp_gc_set_limit(INT64_MAX);
}

int test_main(int argc, char **argv)
{
    (void)argc;
    (void)argv;
    test_before_the_first();
    test_numbers();
    make_kept();
    test_below(MIB);
    test_below(0);
    test_just_above();
    test_limit_alone();
    test_while_goroutines_allocate();
    return 0;
}
