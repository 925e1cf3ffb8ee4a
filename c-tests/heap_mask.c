/* A program that blocks all signals before its first call, to take them by
 * sigwait: collections stop goroutines that compute all the same, on threads
 * that were there before the heap and on new ones. */
#define GMP_KEEP_SIGMASK
#include "test.h"

enum { COMPUTING = 4 };

static atomic_int running, masks;
static atomic_bool stop;

/* Blocks in C, so that others need a thread each. */
static void naps(void *unused)
{
    (void)unused;
    usleep(30000);
}

static void computes(void *unused)
{
    sigset_t now;

    (void)unused;
    CHECK_OK(pthread_sigmask(SIG_BLOCK, NULL, &now));
    if (sigismember(&now, SIGTERM) && !sigismember(&now, SIGURG))
        atomic_fetch_add(&masks, 1);
    atomic_fetch_add(&running, 1);
    while (!atomic_load(&stop))
        continue;
}

int test_main(int argc, char **argv)
{
    sigset_t all;
    gmp_g *napping[COMPUTING], *computing[COMPUTING];

    (void)argc;
    (void)argv;
    sigfillset(&all);
    CHECK_OK(pthread_sigmask(SIG_SETMASK, &all, NULL));
    for (int i = 0; i < COMPUTING; i++)
        napping[i] = spawn(naps, NULL);
    for (int i = 0; i < COMPUTING; i++)
        CHECK_OK(gmp_join(napping[i]));

    CHECK(gmp_gc_alloc(16) != NULL);
    for (int i = 0; i < COMPUTING; i++)
        computing[i] = spawn(computes, NULL);
    while (atomic_load(&running) < COMPUTING)
        usleep(1000);
    for (int i = 0; i < 10; i++)
        CHECK_OK(gmp_gc());
    CHECK_EQ(atomic_load(&masks), COMPUTING);
    atomic_store(&stop, true);
    for (int i = 0; i < COMPUTING; i++)
        CHECK_OK(gmp_join(computing[i]));
    return 0;
}
