/* A million goroutines at once: as a tree, parked; and sleepers. */
#include "bench.h"

static gmp_waitgroup ended = GMP_WAITGROUP_INIT;

struct node { /* holds a reference to its channel */
    gmp_chan *up;
    long first, leaves;
};

/* Sends the sum of the numbers of all leaves below. */
static void skynet_node(void *arg)
{
    struct node *self = arg;
    long sum = self->first;
    if (self->leaves > 1) {
        gmp_chan *below = gmp_chan_make(sizeof(long), 0);
        long part = self->leaves / opt.g, x;
        for (long i = 0; i < opt.g; i++) {
            struct node child = {gmp_chan_ref(below), self->first + i * part,
                                 part};
            check(gmp_go_copy(skynet_node, &child, sizeof child) == 0, "go");
        }
        sum = 0;
        for (long i = 0; i < opt.g; i++) {
            gmp_chan_recv(below, &x);
            sum += x;
        }
        gmp_chan_unref(below);
    }
    gmp_chan_send(self->up, &sum);
    gmp_chan_unref(self->up);
}

static void skynet_of(long leaves)
{
    gmp_chan *top = gmp_chan_make(sizeof(long), 0);
    struct node root = {gmp_chan_ref(top), 0, leaves};
    long sum;
    check(gmp_go_copy(skynet_node, &root, sizeof root) == 0, "go");
    gmp_chan_recv(top, &sum);
    check(sum == leaves * (leaves - 1) / 2, "sum of the leaves");
    gmp_chan_unref(top);
}

void skynet(void)
{
    measure_skynet(skynet_of);
}

static gmp_waitgroup arrived = GMP_WAITGROUP_INIT;

static void parker(void *never)
{
    gmp_waitgroup_done(&arrived);
    check(gmp_chan_recv(never, NULL) == -EPIPE, "received");
    gmp_waitgroup_done(&ended);
}

void parked_million(void)
{
    gmp_chan *never = gmp_chan_make(0, 0);
    gmp_waitgroup_add(&arrived, opt.n);
    gmp_waitgroup_add(&ended, opt.n);
    struct footprint before = footprint();
    for (long i = 0; i < opt.n; i++)
        go(parker, never);
    gmp_waitgroup_wait(&arrived);
    report_parked(before);
    gmp_chan_close(never);
    gmp_waitgroup_wait(&ended);
    gmp_chan_unref(never);
}

static atomic_long sleeps;

/* opt.n times 10 to 100 ms, from a generator with the seed `arg`. */
static void sleeper(void *arg)
{
    uint64_t random = (uint64_t)(uintptr_t)arg;
    long done = 0;
    for (; done < opt.n; done++) {
        int64_t ns = next_sleep_us(&random) * 1000;
        int64_t due = gmp_after_ns(ns);
        gmp_sleep(ns);
        check(gmp_now() >= due, "woken too early");
    }
    atomic_fetch_add(&sleeps, done);
    gmp_waitgroup_done(&ended);
}

void sleepers(void)
{
    double before = cpu_seconds();
    gmp_waitgroup_add(&ended, opt.g);
    for (long i = 0; i < opt.g; i++)
        go(sleeper, (void *)(intptr_t)i);
    gmp_waitgroup_wait(&ended);
    report("cpu_s", cpu_seconds() - before);
    check(sleeps == opt.g * opt.n, "number of sleeps");
}
