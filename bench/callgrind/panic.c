/* Calls, deferred functions, panics. */
#include "ops.h"

static long count;

static void increment(void *arg)
{
    count++;
}

static void defer_some(void *number)
{
    for (long i = *(long *)number; i > 0; i--)
        CHECK(gmp_defer(increment, NULL) == 0);
}

static void calls(long rounds, long deferred)
{
    for (long i = 0; i < rounds; i++)
        CHECK(gmp_call(defer_some, &deferred, NULL) == 0);
    CHECK(count == rounds * deferred);
}

void call(long rounds)
{
    calls(rounds, 0);
}

void defer(long rounds)
{
    calls(rounds, 1);
}

void defer10(long rounds)
{
    calls(rounds, 10);
}

static void recovers(void *arg)
{
    count += gmp_recover() != NULL;
}

static void panics(void *arg)
{
    CHECK(gmp_defer(recovers, NULL) == 0);
    gmp_panic("counted");
}

void panic_recover(long rounds)
{
    for (long i = 0; i < rounds; i++)
        CHECK(gmp_call(panics, NULL, NULL) == 1);
    CHECK(count == rounds);
}
