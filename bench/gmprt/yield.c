/* opt.g goroutines that yield to one another, opt.n times in all. */
#include "bench.h"

static gmp_waitgroup ended = GMP_WAITGROUP_INIT;
static atomic_long yields;

static void yielder(void *arg)
{
    long left = (long)(intptr_t)arg;
    while (left > 0) {
        gmp_yield();
        left--;
    }
    atomic_fetch_add(&yields, (long)(intptr_t)arg - left);
    gmp_waitgroup_done(&ended);
}

static void pass(long n)
{
    yields = 0;
    gmp_waitgroup_add(&ended, opt.g);
    for (long i = 0; i < opt.g; i++)
        go(yielder, (void *)(intptr_t)(n / opt.g));
    gmp_waitgroup_wait(&ended);
    check(yields == n, "number of yields");
}

void yield(void)
{
    measure(pass);
}
