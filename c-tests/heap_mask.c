/* A program that blocks all signals before its first call, to take them by
 * sigwait: collections stop goroutines that compute all the same, on threads
 * that were there before the heap and on new ones. A thread that runs a
 * goroutine in place meanwhile has its own mask afterwards. */
#define GMP_KEEP_SIGMASK
#include "test.h"

enum { COMPUTING = 4 };

static atomic_int running, masks;
static atomic_bool in_place, begun, stop;

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

static void spins(void *host_thread)
{
    if (thread_id() != *(long *)host_thread)
        return;
    atomic_store(&in_place, true);
    while (!atomic_load(&begun))
        continue;
}

static void *begins_the_heap(void *unused)
{
    while (!atomic_load(&in_place))
        continue;
    CHECK(gmp_gc_alloc(16) != NULL);
    atomic_store(&begun, true);
    return unused;
}

/* The heap's first call comes while this thread, which takes SIGURG, runs a
 * goroutine in place. */
static void keeps_its_mask(const sigset_t *all)
{
    sigset_t mine = *all;
    long here = thread_id();
    pthread_t thread;

    sigdelset(&mine, SIGURG);
    CHECK_OK(pthread_sigmask(SIG_SETMASK, &mine, NULL));
    CHECK_OK(pthread_create(&thread, NULL, begins_the_heap, NULL));
    while (!atomic_load(&in_place))
        CHECK_OK(gmp_join(spawn(spins, &here)));
    CHECK_OK(pthread_sigmask(SIG_SETMASK, NULL, &mine));
    CHECK(!sigismember(&mine, SIGURG) && sigismember(&mine, SIGTERM));
    CHECK_OK(pthread_join(thread, NULL));
}

int test_main(int argc, char **argv)
{
    static const int faults[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP,
                                 SIGSYS, SIGABRT};
    sigset_t all;
    gmp_g *napping[COMPUTING], *computing[COMPUTING];

    (void)argc;
    (void)argv;
    sigfillset(&all);
    /* Those that the library's threads never block. */
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++)
        sigdelset(&all, faults[i]);
    CHECK_OK(pthread_sigmask(SIG_SETMASK, &all, NULL));
    for (int i = 0; i < COMPUTING; i++)
        napping[i] = spawn(naps, NULL);
    for (int i = 0; i < COMPUTING; i++)
        CHECK_OK(gmp_join(napping[i]));

    keeps_its_mask(&all);
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
