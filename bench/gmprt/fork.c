/* A fork: with the library alone, and beside goroutines that wait. */
#include "bench.h"

#include "../forks.h"

static gmp_waitgroup arrived = GMP_WAITGROUP_INIT;
static gmp_waitgroup ended = GMP_WAITGROUP_INIT;

static void parker(void *never)
{
    gmp_waitgroup_done(&arrived);
    check(gmp_chan_recv(never, NULL) == -EPIPE, "received");
    gmp_waitgroup_done(&ended);
}

static void nothing(void *arg)
{
    (void)arg;
}

/* The child starts the runtime again. */
static int use(void)
{
    gmp_g *g;
    return gmp_go_with(NULL, nothing, NULL, &g) != 0 || gmp_join(g) != 0;
}

void fork_parked(void)
{
    gmp_chan *never = gmp_chan_make(0, 0);
    double bare = fork_us(opt.n, only_exit);
    gmp_waitgroup_add(&arrived, opt.g);
    gmp_waitgroup_add(&ended, opt.g);
    for (long i = 0; i < opt.g; i++)
        go(parker, never);
    gmp_waitgroup_wait(&arrived);
    report("us", fork_us(opt.n, only_exit));
    report("bare_us", bare);
    report("use_us", fork_us(opt.n, use));
    gmp_chan_close(never);
    gmp_waitgroup_wait(&ended);
    gmp_chan_unref(never);
}
