/* One operation of a heap, measured:
 *
 *     bench OPERATION WORKERS [n=ROUNDS] [g=BYTES]
 *
 * The lines and statuses are those of the other programs. */
#include "heap.h"

enum { MOST = 2 }; /* threads */

static const struct operation operations[] = {
    {"alloc16", alloc_scan, 4000000, 16},
    {"alloc64", alloc_scan, 4000000, 64},
    {"alloc1024", alloc_scan, 1000000, 1024},
    {"noscan16", alloc_noscan, 4000000, 16},
    {"noscan64", alloc_noscan, 4000000, 64},
    {"noscan1024", alloc_noscan, 1000000, 1024},
    {"released1024", alloc_released, 1000000, 1024},
    {"trees18", trees, 18, 0},
    {"gcbench", gcbench, 18, 0},
    {"message_ring", message_ring, 4000000, 64},
    {"message_chan", message_chan, 2000000, 64},
    {"rounds", rounds, 100, 0},
    {"burst", burst, 400, 0},
#if defined HEAP_GMPRT || defined HEAP_BDWGC
    {"mark_nodes", mark_nodes, 22, 16},
    {"mark_random", mark_random, 3700000, 64},
    {"mark_records", mark_records, 1000000, 256},
#endif
#ifdef HEAP_GMPRT
    {"gc_parked", parked, 100000, 0},
#endif
    {NULL, NULL, 0, 0},
};

static const struct operation *operation;

static int run(int argc, char **argv)
{
    (void)argc, (void)argv;
    operation->run();
    return 0;
}

#ifndef HEAP_BDWGC

struct share {
    void (*fn)(long);
    long i;
    gmp_waitgroup *all;
};

static void run_share(void *arg)
{
    struct share *self = arg;
    self->fn(self->i);
    gmp_waitgroup_done(self->all);
}

void on_goroutines(int n, void (*fn)(long i))
{
    gmp_waitgroup all = GMP_WAITGROUP_INIT;
    struct share shares[MOST];
    gmp_waitgroup_add(&all, n);
    for (int i = 0; i < n; i++) {
        shares[i] = (struct share){fn, i, &all};
        check(gmp_go(run_share, &shares[i]) == 0, "gmp_go");
    }
    gmp_waitgroup_wait(&all);
}

#endif

#ifdef HEAP_GMPRT

void in_parallel(int n, void (*fn)(long i))
{
    on_goroutines(n, fn);
}

struct pauses pauses_so_far(void)
{
    gmp_gc_stats s;
    gmp_gc_get_stats(&s, sizeof s);
    return (struct pauses){(double)s.pause_ns / 1e6,
                           (double)s.longest_pause_ns / 1e6,
                           (long)s.collections};
}

int main(int argc, char **argv)
{
    operation = find_operation(argc, argv, operations, MOST);
    gmp_set_maxprocs(opt.workers);
    return gmp_run_main(argc, argv, run);
}

#else

struct part {
    void (*fn)(long);
    long i;
    pthread_t thread;
};

static void *run_part(void *arg)
{
    struct part *self = arg;
    self->fn(self->i);
    return NULL;
}

void in_parallel(int n, void (*fn)(long i))
{
    struct part parts[MOST];
    for (int i = 0; i < n; i++) {
        parts[i].fn = fn;
        parts[i].i = i;
        check(pthread_create(&parts[i].thread, NULL, run_part, &parts[i]) == 0,
              "pthread_create");
    }
    for (int i = 0; i < n; i++)
        pthread_join(parts[i].thread, NULL);
}

#ifdef HEAP_BDWGC

static struct pauses so_far;
static int64_t stopped_at;

static void on_event(GC_EventType event)
{
    if (event == GC_EVENT_PRE_STOP_WORLD)
        stopped_at = clock_ns();
    if (event != GC_EVENT_POST_START_WORLD)
        return;
    double ms = (double)(clock_ns() - stopped_at) / 1e6;
    so_far.n++;
    so_far.total_ms += ms;
    if (ms > so_far.longest_ms)
        so_far.longest_ms = ms;
}

struct pauses pauses_so_far(void)
{
    return so_far;
}

#else

struct pauses pauses_so_far(void)
{
    return (struct pauses){0, 0, 0};
}

#endif

int main(int argc, char **argv)
{
    operation = find_operation(argc, argv, operations, MOST);
#ifdef HEAP_BDWGC
    /* As many markers as threads of the program's. */
    setenv("GC_MARKERS", argv[2], 1);
    GC_INIT();
    GC_set_on_collection_event(on_event);
#endif
    return run(argc, argv);
}

#endif
