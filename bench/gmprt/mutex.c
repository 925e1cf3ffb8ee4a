/* opt.g goroutines and one mutex, locked opt.n times in all. */
#include "bench.h"

static gmp_mutex lock = GMP_MUTEX_INIT; /* of counter */
static long counter;
static gmp_waitgroup ended = GMP_WAITGROUP_INIT;

static void locker(void *arg)
{
    for (long left = (long)(intptr_t)arg; left > 0; left--) {
        gmp_mutex_lock(&lock);
        counter++;
        gmp_mutex_unlock(&lock);
    }
    gmp_waitgroup_done(&ended);
}

static void yielding_locker(void *arg)
{
    for (long left = (long)(intptr_t)arg; left > 0; left--) {
        gmp_mutex_lock(&lock);
        counter++;
        gmp_yield();
        gmp_mutex_unlock(&lock);
    }
    gmp_waitgroup_done(&ended);
}

static void run(gmp_fn fn, long n)
{
    counter = 0;
    gmp_waitgroup_add(&ended, opt.g);
    for (long i = 0; i < opt.g; i++)
        go(fn, (void *)(intptr_t)(n / opt.g));
    gmp_waitgroup_wait(&ended);
    check(counter == n, "the counter");
}

static void pass(long n)
{
    run(locker, n);
}

static void yielding_pass(long n)
{
    run(yielding_locker, n);
}

void mutex(void)
{
    measure(pass);
}

void mutex_yield(void)
{
    measure(yielding_pass);
}
