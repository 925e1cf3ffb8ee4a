/* A heap in which something was allocated is collected in the end, though the
 * process is idle; afterwards no thread of it wakes up. With
 * GMPDEBUG=forcegc=MS.
 *
 * heap_idle sleeps   the main thread waits in one call
 * heap_idle grows    the same, and allocated by gmp_gc_realloc
 * heap_idle thread   a thread allocates now and then, and runs no goroutine
 * heap_idle on       collections were off, and are on from now on
 * heap_idle off      they are off: nothing is collected
 */
#include "test.h"

static atomic_int called;
static atomic_bool stop;

static void count(void *unused)
{
    (void)unused;
    atomic_fetch_add(&called, 1);
}

static __attribute__((noinline)) void lose(bool grows)
{
    char *p = gmp_gc_alloc(64);

    CHECK(p != NULL);
    if (grows) {
        /* What was allocated so far is collected. */
        CHECK_OK(gmp_gc());
        CHECK((p = gmp_gc_realloc(p, 5000)) != NULL);
    }
    CHECK_OK(gmp_gc_cleanup(p, count, NULL));
}

static __attribute__((noinline)) void clear_stack(void)
{
    volatile char room[8192];

    memset((char *)room, 0, sizeof room);
}

static void *allocates(void *unused)
{
    (void)unused;
    for (int i = 0; !atomic_load(&stop); i++) {
        if (i % 20 == 0)
            lose(false);
        clear_stack();
        block_ns(MS(5));
    }
    return NULL;
}

static uint64_t collections(void)
{
    gmp_gc_stats stats;

    CHECK_OK(gmp_gc_get_stats(&stats, sizeof stats));
    return stats.collections;
}

/* Once the deep sleep of sysmon has begun. */
static void lose_later(bool grows)
{
    CHECK_OK(gmp_gc());
    CHECK_OK(gmp_sleep(MS(300)));
    lose(grows);
    clear_stack();
}

static void stays_calm(void)
{
    long before, after;
    uint64_t made = collections();

    /* As in idle.c. */
    block_ns(SEC(4));
    before = context_switches();
    block_ns(SEC(3));
    after = context_switches();
    printf("%ld context switches of %d threads in 3 s\n", after - before,
           count_threads());
    CHECK(after - before <= 3);
    CHECK_EQ(collections(), made);
}

int test_main(int argc, char **argv)
{
    const char *mode = argc > 1 ? argv[1] : "";
    pthread_t thread;
    uint64_t before;

    if (strcmp(mode, "thread") == 0) {
        CHECK_EQ(pthread_create(&thread, NULL, allocates, NULL), 0);
        block_ns(SEC(3));
        CHECK(atomic_load(&called) > 0);
        atomic_store(&stop, true);
        CHECK_EQ(pthread_join(thread, NULL), 0);
        return 0;
    }
    if (strcmp(mode, "on") == 0 || strcmp(mode, "off") == 0)
        gmp_gc_set_percent(-1);
    lose_later(strcmp(mode, "grows") == 0);
    if (strcmp(mode, "on") == 0) {
        CHECK_OK(gmp_sleep(MS(300)));
        gmp_gc_set_percent(100);
    }
    before = collections();
    CHECK_OK(gmp_sleep(SEC(3)));
    CHECK_EQ(collections() - before, strcmp(mode, "off") != 0);
    if (strcmp(mode, "sleeps") == 0) {
        CHECK_EQ(atomic_load(&called), 1);
        stays_calm();
    }
    return 0;
}
