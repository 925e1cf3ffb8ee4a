/* Memory over time, and collections beside many goroutines. */
#include "heap.h"

struct item {
    struct item *next;
    long value[6];
};

static struct item *volatile kept;

/* A list of n items; half of the former one goes, at least. */
static void work(long n)
{
    struct item *list = NULL;
    for (long i = 0; i < n; i++) {
        struct item *item = heap_alloc(sizeof *item + (size_t)(i % 8) * 16);
        item->next = list;
        list = item;
    }
    for (struct item *old = kept, *next; !COLLECTS && old != NULL; old = next) {
        next = old->next;
        drop(old);
    }
    kept = list;
}

static double resident_mib(void)
{
    return (double)proc_status("VmRSS") / 1024;
}

/* The highest memory after any of the last forty rounds, beside that after the
 * first fifty but ten. */
void rounds(void)
{
    double before = 0, after = 0;
    for (long round = 0; round < opt.n; round++) {
        work(100000 + 10000 * (round % 5));
        double now = resident_mib();
        if (round >= 10 && round < 50 && now > before)
            before = now;
        if (round >= opt.n - 40 && now > after)
            after = now;
    }
    report("growth", after / before);
    report("MiB", after);
}

static double bare, peak;

/* opt.n MiB of items at once. */
static void much(long part)
{
    (void)part;
    long n = opt.n * (1 << 20) / 136;
    struct item **all = heap_alloc((size_t)n * sizeof *all);
    for (long i = 0; i < n; i++) {
        all[i] = heap_alloc(128);
        all[i]->value[0] = i;
    }
    peak = resident_mib();
    for (long i = 0; i < n; i++) {
        check(all[i]->value[0] == i, "value");
        drop(all[i]);
    }
    drop(all);
}

static void pause_for_a_moment(void)
{
#ifdef HEAP_GMPRT
    gmp_sleep(50 * MS);
#else
    nanosleep(&(struct timespec){0, 50 * MS}, NULL);
#endif
}

/* What is left of it after a collection and five seconds in which the program
 * works a little. The items were made on another stack, which is gone. */
void burst(void)
{
    work(1000);
    bare = resident_mib();
    in_parallel(1, much);
    collect();
    const double enough = bare + (double)opt.n / 20;
    for (int i = 0; i < 100 && resident_mib() > enough; i++) {
        work(1000);
        pause_for_a_moment();
    }
    report("left_MiB", resident_mib() - bare);
    report("peak_MiB", peak - bare);
}

#ifdef HEAP_GMPRT

static gmp_chan *never;
static gmp_waitgroup ended = GMP_WAITGROUP_INIT;

static void park(void *arg)
{
    (void)arg;
    check(gmp_chan_recv(never, NULL) == -EPIPE, "received");
    gmp_waitgroup_done(&ended);
}

/* The pause of one collection, and its CPU time. */
static void one_collection(const char *pause, const char *cpu)
{
    double before = pauses_so_far().total_ms;
    int64_t start = cpu_ns();
    collect();
    report(cpu, (double)(cpu_ns() - start) / 1e6);
    report(pause, pauses_so_far().total_ms - before);
}

/* Beside opt.n goroutines that wait: none, all just parked, all for long. */
void parked(void)
{
    work(1000);
    collect();
    one_collection("bare_ms", "bare_cpu_ms");
    never = gmp_chan_make(0, 0);
    gmp_waitgroup_add(&ended, opt.n);
    for (long i = 0; i < opt.n; i++)
        check(gmp_go(park, NULL) == 0, "gmp_go");
    gmp_sleep(SECOND / 2);
    one_collection("first_ms", "first_cpu_ms");
    one_collection("idle_ms", "idle_cpu_ms");
    gmp_chan_close(never);
    gmp_waitgroup_wait(&ended);
}

#endif
