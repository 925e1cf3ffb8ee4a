/* Goroutines that do nothing: how long they take to start and to end. */
#include "bench.h"

static gmp_waitgroup ended = GMP_WAITGROUP_INIT;

static void nothing(void *arg)
{
    (void)arg;
    gmp_waitgroup_done(&ended);
}

/* The wait group counts the runs: with one too few it would wait for ever,
 * with one too many fail. */
static void wave(long n)
{
    gmp_waitgroup_add(&ended, n);
    for (long i = 0; i < n; i++)
        go(nothing, NULL);
    check(gmp_waitgroup_wait(&ended) == 0, "wait for a wave");
}

void spawn_waves(void)
{
    measure_waves(wave);
}

void spawn_million(void)
{
    measure_million(wave);
}

static void increment(void *count)
{
    ++*(long *)count;
}

static void one_by_one(long n)
{
    long count = 0;
    for (long i = 0; i < n; i++) {
        gmp_g *g;
        check(gmp_go_with(NULL, increment, &count, &g) == 0, "go");
        check(gmp_join(g) == 0, "join");
    }
    check(count == n, "number of runs");
}

void spawn_join(void)
{
    measure(one_by_one);
}
