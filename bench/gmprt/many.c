/* A million goroutines at once: as a tree, parked; and sleepers. */
#include "bench.h"

#include <stdio.h>
#include <sys/resource.h>

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
    skynet_of(opt.g * opt.g);
    int64_t start = gmp_now();
    skynet_of(opt.n);
    report("s", (double)(gmp_now() - start) / 1e9);
    report("MiB", (double)proc_status("VmHWM") / 1024);
}

static gmp_waitgroup arrived = GMP_WAITGROUP_INIT;

static void parker(void *never)
{
    gmp_waitgroup_done(&arrived);
    check(gmp_chan_recv(never, NULL) == -EPIPE, "received");
    gmp_waitgroup_done(&ended);
}

static long memory(void) /* KiB */
{
    return proc_status("VmRSS") + proc_status("VmPTE");
}

static long mappings(void)
{
    FILE *maps = fopen("/proc/self/maps", "r");
    long lines = 0;
    check(maps != NULL, "no /proc/self/maps");
    for (int c; (c = getc_unlocked(maps)) != EOF;)
        lines += c == '\n';
    fclose(maps);
    return lines;
}

void parked_million(void)
{
    gmp_chan *never = gmp_chan_make(0, 0);
    long kib = memory(), maps = mappings();
    gmp_waitgroup_add(&arrived, opt.n);
    gmp_waitgroup_add(&ended, opt.n);
    int64_t start = gmp_now();
    for (long i = 0; i < opt.n; i++)
        go(parker, never);
    gmp_waitgroup_wait(&arrived);
    report("ns", (double)(gmp_now() - start) / (double)opt.n);
    report("bytes", (double)(memory() - kib) * 1024 / (double)opt.n);
    report("mappings", (double)(mappings() - maps));
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
        random = random * 6364136223846793005 + 1442695040888963407;
        int64_t us = 10000 + (int64_t)((random >> 33) % 90000);
        int64_t due = gmp_after_ns(us * 1000);
        gmp_sleep(us * 1000);
        check(gmp_now() >= due, "woken too early");
    }
    atomic_fetch_add(&sleeps, done);
    gmp_waitgroup_done(&ended);
}

static double cpu_seconds(void)
{
    struct rusage use;
    getrusage(RUSAGE_SELF, &use);
    return (double)(use.ru_utime.tv_sec + use.ru_stime.tv_sec) +
           (double)(use.ru_utime.tv_usec + use.ru_stime.tv_usec) / 1e6;
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
