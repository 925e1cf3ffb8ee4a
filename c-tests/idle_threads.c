/* Threads that a burst of blocking calls has made end when they were idle for
 * a while, and the library works on. Usage: idle_threads CASE; run with
 * GMPDEBUG=idlethread=MS.
 *
 *   bursts     several, and after each the threads go, and wake nobody more
 *   storm      work comes while threads are about to end, all the time
 *   main       after the threads have gone, a deadlock is still told */
#include "test.h"

enum { BURSTS = 3, BLOCKED = 300, PRODUCERS = 3 };

static atomic_int blocked, released;

/* Blocks its thread until all do. */
static void block_in_c(void *arg)
{
    atomic_fetch_add(&blocked, 1);
    while (!atomic_load(&released))
        block_ns(MS(2));
    atomic_fetch_sub(&blocked, 1);
}

static gmp_stats numbers(void)
{
    gmp_stats now;

    CHECK_OK(gmp_get_stats(&now, sizeof now));
    return now;
}

static void burst(int n)
{
    gmp_g *gs[BLOCKED];

    atomic_store(&released, 0);
    for (int i = 0; i < n; i++)
        gs[i] = spawn(block_in_c, NULL);
    AWAIT(atomic_load(&blocked) == n);
    CHECK(count_threads() > n);
    atomic_store(&released, 1);
    for (int i = 0; i < n; i++)
        CHECK_OK(gmp_join(gs[i]));
}

/* So many threads stay: sysmon, the template thread, the main thread, m0, as
 * many idle ones as there are Ps, and those that run. */
static int few(void)
{
    return 4 + 2 * gmp_set_maxprocs(0) + 1;
}

static void bursts(void)
{
    for (int i = 0; i < BURSTS; i++) {
        gmp_stats now;
        long before;

        burst(BLOCKED);
        /* Without a call of the library, which would wake a thread. */
        while (count_threads() > few())
            block_ns(MS(10));
        now = numbers();
        CHECK(now.threads_begun - now.threads_ended <= (uint64_t)few());
        CHECK(now.threads_ended >= (uint64_t)(i + 1) * (BLOCKED - few()));
        printf("%d threads are left, %d may be\n", count_threads(), few());
        if (i < BURSTS - 1)
            continue;
        block_ns(SEC(3)); /* the scavenger */
        before = context_switches();
        block_ns(SEC(2));
        CHECK(context_switches() - before <= 5);
    }
}

static atomic_long done;
static atomic_bool stop;

static void count(void *arg)
{
    if ((intptr_t)arg % 8 == 0)
        block_ns(US(200));
    atomic_fetch_add(&done, 1);
}

/* Some work, and a pause about as long as threads stay. */
static void *produce(void *arg)
{
    uint64_t random = (uint64_t)(intptr_t)arg;

    for (int i = 0; !atomic_load(&stop); i++) {
        gmp_g *gs[16];

        for (intptr_t j = 0; j < 16; j++)
            gs[j] = spawn(count, (void *)j);
        for (int j = 0; j < 16; j++)
            CHECK_OK(gmp_join(gs[j]));
        block_ns((int64_t)(next_random(&random) % (uint64_t)MS(3)));
    }
    return NULL;
}

static void storm(void)
{
    pthread_t threads[PRODUCERS];
    gmp_stats before = numbers(), after;

    for (intptr_t i = 0; i < PRODUCERS; i++)
        CHECK_OK(pthread_create(&threads[i], NULL, produce, (void *)(i + 1)));
    for (int i = 0; i < 30; i++) {
        burst(20);
        block_ns(MS(60));
    }
    atomic_store(&stop, true);
    for (int i = 0; i < PRODUCERS; i++)
        CHECK_OK(pthread_join(threads[i], NULL));
    after = numbers();
    printf("%ld done, %llu threads ended\n", atomic_load(&done),
           (unsigned long long)(after.threads_ended - before.threads_ended));
    CHECK(after.threads_ended - before.threads_ended > 100);
}

static int main_of_all(int argc, char **argv)
{
    burst(50);
    while (count_threads() > few())
        block_ns(MS(10));
    puts("now");
    fflush(stdout);
    gmp_chan_recv(gmp_chan_make(0, 0), NULL);
    return 0;
}

int test_main(int argc, char **argv)
{
    const char *which = argc > 1 ? argv[1] : "";

    if (strcmp(which, "bursts") == 0)
        bursts();
    else if (strcmp(which, "storm") == 0)
        storm();
    else
        return gmp_run_main(argc, argv, main_of_all);
    return 0;
}
