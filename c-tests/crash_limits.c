/* More goroutines block than there may be threads: the work is done all the
 * same, only later. Usage: crash_limits; GMP_MAXTHREADS is the limit. */
#include "test.h"

enum { BLOCKERS = 100, PATIENCE = 200 };

static atomic_int most;

/* The thread of main is not one of the runtime's. */
static int allowed(void)
{
    return test_env("GMP_MAXTHREADS", 10000) + 1;
}

/* Blocks until there are as many threads as there may be, which needs looks of
 * the watching thread. */
static void nap(void *arg)
{
    int threads, before = atomic_load(&most);

    for (int i = 0; i < PATIENCE; i++) {
        threads = count_threads();
        while (threads > before &&
               !atomic_compare_exchange_weak(&most, &before, threads))
            continue;
        block_ns(MS(5));
        if (atomic_load(&most) >= allowed())
            break;
    }
    block_ns(MS(30)); /* until it looks, and finds no thread */
}

int test_main(int argc, char **argv)
{
    gmp_g *gs[BLOCKERS];

    for (int i = 0; i < BLOCKERS; i++)
        gs[i] = spawn(nap, NULL);
    for (int i = 0; i < BLOCKERS; i++)
        CHECK_OK(gmp_join(gs[i]));
    printf("%d threads at most\n", atomic_load(&most));
    CHECK(atomic_load(&most) <= allowed());
    return 0;
}
