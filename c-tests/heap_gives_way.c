/* A goroutine that allocates and frees without a pause keeps its P no longer
 * than one that computes: with one P, another goroutine's turn comes. */
#include "test.h"

enum { ROUNDS = 20, BYTES = 900 };

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

int test_main(int argc, char **argv)
{
    int64_t usual;

    (void)argc;
    (void)argv;
    CHECK(gmp_set_maxprocs(1) > 0);
    usual = waits_behind(computes);
    CHECK(waits_behind(allocates) < 8 * usual + MS(500));
    return 0;
}
