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

/* Until a child has started the runtime again, and used it. */
static double use_us(long n)
{
    int64_t start = clock_ns();
    for (long i = 0; i < n; i++) {
        pid_t child = fork();
        int status = -1;
        if (child == 0) {
            gmp_g *g;
            _exit(gmp_go_with(NULL, nothing, NULL, &g) != 0 ||
                  gmp_join(g) != 0);
        }
        check(waitpid(child, &status, 0) == child && status == 0, "a child");
    }
    return (double)(clock_ns() - start) / 1e3 / (double)n;
}

void fork_parked(void)
{
    gmp_chan *never = gmp_chan_make(0, 0);
    fork_us(opt.n / 10);
    double bare = fork_us(opt.n);
    gmp_waitgroup_add(&arrived, opt.g);
    gmp_waitgroup_add(&ended, opt.g);
    for (long i = 0; i < opt.g; i++)
        go(parker, never);
    gmp_waitgroup_wait(&arrived);
    report("us", fork_us(opt.n));
    report("bare_us", bare);
    report("use_us", use_us(opt.n));
    gmp_chan_close(never);
    gmp_waitgroup_wait(&ended);
    gmp_chan_unref(never);
}
