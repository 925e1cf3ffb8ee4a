/* Goroutines of three functions, which use a little, much and some stack: first
 * one after the other on the same stacks, then all at once. */
#include <gmp.h>
#include <stdatomic.h>
#include <string.h>

enum { ROUNDS = 50, WAITERS = 20, KIB = 1024 };

static gmp_chan *never;

__attribute__((noinline)) static int deep(int kib)
{
    volatile char frame[KIB];

    frame[0] = (char)kib;
    return (kib > 1 ? deep(kib - 1) : 0) + frame[0];
}

static void little(void *arg)
{
    (void)arg;
    gmp_yield();
}

static void much(void *arg)
{
    *(int *)arg += deep(100);
}

static atomic_int begun;

/* Not static: a name that a stripped program keeps. */
void some(void *arg)
{
    *(int *)arg += deep(20);
    atomic_fetch_add(&begun, 1);
    gmp_chan_recv(never, NULL);
}

static int run(gmp_fn fn, int *arg)
{
    gmp_g *g;
    int rc = gmp_go_with(NULL, fn, arg, &g);

    return rc != 0 ? rc : gmp_join(g);
}

int main(void)
{
    static int sum[WAITERS];

    never = gmp_chan_make(0, 0);
    for (int i = 0; i < ROUNDS; i++)
        if (run(much, sum) != 0 || run(little, sum) != 0)
            return 1;
    for (int i = 0; i < WAITERS; i++)
        if (gmp_go(some, &sum[i]) != 0)
            return 1;
    for (;;) {
        gmp_stats stats;

        if (gmp_get_stats(&stats, sizeof stats) != 0)
            return 1;
        /* On its way from one queue to another a goroutine counts as
         * waiting. */
        if (atomic_load(&begun) == WAITERS
            && stats.goroutines_waiting == WAITERS)
            return 0;
        gmp_sleep(1000000);
    }
}
