/* Yields and spawns. */
#include "ops.h"

enum { WAVE = 1000 };

static long runs;
static gmp_waitgroup done;

static void yield_often(void *arg)
{
    long times = *(long *)arg;

    for (long i = 0; i < times; i++) {
        runs++;
        gmp_yield();
    }
    gmp_waitgroup_done(&done);
}

static void yields(long rounds, int goroutines)
{
    long each = rounds / goroutines;

    CHECK(gmp_waitgroup_add(&done, goroutines) == 0);
    for (int i = 0; i < goroutines; i++)
        CHECK(gmp_go(yield_often, &each) == 0);
    CHECK(gmp_waitgroup_wait(&done) == 0);
    CHECK(runs == rounds);
}

void yield2(long rounds)
{
    yields(rounds, 2);
}

void yield1000(long rounds)
{
    yields(rounds, 1000);
}

static void run_once(void *arg)
{
    runs++;
    gmp_waitgroup_done(&done);
}

static void spawn_wave(long n)
{
    CHECK(gmp_waitgroup_add(&done, n) == 0);
    for (long i = 0; i < n; i++)
        CHECK(gmp_go(run_once, NULL) == 0);
    CHECK(gmp_waitgroup_wait(&done) == 0);
}

void spawn_waves(long rounds)
{
    for (long i = 0; i < rounds; i += WAVE)
        spawn_wave(WAVE);
    CHECK(runs == rounds);
}

void spawn_all(long rounds)
{
    spawn_wave(rounds);
    CHECK(runs == rounds);
}

static void count(void *arg)
{
    runs++;
}

void spawn_join(long rounds)
{
    for (long i = 0; i < rounds; i++)
        CHECK(gmp_join(spawn(count, NULL)) == 0);
    CHECK(runs == rounds);
}
