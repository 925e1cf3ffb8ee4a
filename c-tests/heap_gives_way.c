/* A goroutine that allocates and frees without a pause keeps its P no longer
 * than one that computes: with one P, another goroutine's turn comes. And
 * collections that follow one another let a host thread go on between them. */
#include "test.h"

enum { ROUNDS = 20, BYTES = 900, COLLECTORS = 4, LIMIT = 32 << 20 };

static atomic_bool stop, ran;

static void computes(void *unused)
{
    (void)unused;
    while (!atomic_load(&stop))
        continue;
}

static void allocates(void *unused)
{
    (void)unused;
    while (!atomic_load(&stop))
        CHECK_OK(gmp_gc_free(gmp_gc_alloc(BYTES)));
}

static void runs(void *at)
{
    *(int64_t *)at = gmp_now();
    atomic_store(&ran, true);
}

/* How long goroutines wait behind one that calls `keeper`, in ns. */
static int64_t waits_behind(gmp_fn keeper)
{
    int64_t sum = 0;

    for (int i = 0; i < ROUNDS; i++) {
        int64_t began, at = 0;

        atomic_store(&stop, false);
        atomic_store(&ran, false);
        CHECK_OK(gmp_go(keeper, NULL));
        usleep(5000);
        began = gmp_now();
        CHECK_OK(gmp_go(runs, &at));
        while (!atomic_load(&ran))
            usleep(200);
        sum += at - began;
        atomic_store(&stop, true);
        AWAIT(gmp_num_goroutines() == 0);
    }
    return sum;
}

static void collects(void *unused)
{
    (void)unused;
    while (!atomic_load(&stop))
        CHECK_OK(gmp_gc());
}

static void fails_at_the_limit(void *unused)
{
    (void)unused;
    while (!atomic_load(&stop))
        CHECK(gmp_gc_alloc(2 * LIMIT) == NULL);
}

static void counts(void *yields)
{
    while (!atomic_load(&stop)) {
        gmp_yield();
        atomic_fetch_add((atomic_long *)yields, 1);
    }
}

/* A host thread and a goroutine get on beside some that call `collector`: they
 * are through before the watchdog comes. */
static void gets_on_beside(gmp_fn collector)
{
    atomic_long yields = 0;

    atomic_store(&stop, false);
    for (int i = 0; i < COLLECTORS; i++)
        CHECK_OK(gmp_go(collector, NULL));
    CHECK_OK(gmp_go(counts, &yields));
    for (int i = 0; i < 10 * ROUNDS; i++)
        usleep(1000);
    while (atomic_load(&yields) < 10 * ROUNDS)
        usleep(1000);
    atomic_store(&stop, true);
    AWAIT(gmp_num_goroutines() == 0);
}

int test_main(int argc, char **argv)
{
    static void *kept;
    int64_t usual;

    (void)argc;
    (void)argv;
    CHECK(gmp_set_maxprocs(1) > 0);
    usual = waits_behind(computes);
    CHECK(waits_behind(allocates) < 8 * usual + MS(500));
    gets_on_beside(collects);
    CHECK((kept = gmp_gc_alloc(LIMIT / 2)) != NULL);
    CHECK(gmp_gc_set_limit(LIMIT) > 0);
    gets_on_beside(fails_at_the_limit);
    return 0;
}
