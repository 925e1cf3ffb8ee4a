/* More goroutines block than there may be threads: the work is done all the
 * same, only later. Usage: crash_limits; GMP_MAXTHREADS is the limit. */
#include "test.h"

enum { BLOCKERS = 100 };

static atomic_int most;

static void nap(void *arg)
{
    int threads = count_threads(), before = atomic_load(&most);

    while (threads > before &&
           !atomic_compare_exchange_weak(&most, &before, threads))
        continue;
    block_ns(MS(5));
}

int test_main(int argc, char **argv)
{
    gmp_g *gs[BLOCKERS];

    for (int i = 0; i < BLOCKERS; i++)
        gs[i] = spawn(nap, NULL);
    for (int i = 0; i < BLOCKERS; i++)
        CHECK_OK(gmp_join(gs[i]));
    printf("%d threads at most\n", atomic_load(&most));
    /* The thread of main is not one of the runtime's. */
    CHECK(atomic_load(&most) <= test_env("GMP_MAXTHREADS", 10000) + 1);
    return 0;
}
