/* Deferred functions, and a panic that one of them recovers. */
#include "bench.h"

static long count;

static void increment(void *arg)
{
    (void)arg;
    count++;
}

static void defer_increment(void)
{
    check(gmp_defer(increment, NULL) == 0, "defer");
}

static void defers(void *arg)
{
    (void)arg;
    for (long i = 0; i < opt.g; i++)
        defer_increment();
}

static void call_often(long n)
{
    count = 0;
    for (long i = 0; i < n; i++)
        check(gmp_call(defers, NULL, NULL) == 0, "call");
    check(count == n * opt.g, "number of calls");
}

void defer(void)
{
    measure(call_often);
}

static void recovers(void *arg)
{
    (void)arg;
    count += gmp_recover() != NULL;
}

static void panics(void *arg)
{
    (void)arg;
    check(gmp_defer(recovers, NULL) == 0, "defer");
    gmp_panic("measured");
}

static void recover_often(long n)
{
    count = 0;
    for (long i = 0; i < n; i++)
        check(gmp_call(panics, NULL, NULL) == 1, "call");
    check(count == n, "number of panics");
}

void panic_recover(void)
{
    measure(recover_often);
}
