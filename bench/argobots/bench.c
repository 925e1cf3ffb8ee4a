/* Argobots: user-level threads (ULTs) on execution streams, the workers, which
 * steal from each other.
 *
 * Built with
 *     cc -std=gnu11 -O2 bench.c -o bench -labt -pthread
 * and the flags of `pkg-config argobots`, or else -I$ARGOBOTS/include
 * -L$ARGOBOTS/lib -Wl,-rpath,$ARGOBOTS/lib for a prefix $ARGOBOTS.
 *
 * It has no channels, timers or I/O; skynet here forks and joins instead, and
 * a million ULTs park on an eventual. Streams without work poll for it. */
#include "../peer.h"

#include <abt.h>
#include <pthread.h>
#include <stdatomic.h>

enum { MANY = 64 };

static ABT_pool pools[MANY];
static atomic_long count;

/* The pool of this worker, where what it creates begins. */
static ABT_pool own_pool(void)
{
    int rank;
    ABT_xstream_self_rank(&rank);
    return pools[rank];
}

static void spawn(ABT_pool pool, void (*fn)(void *), void *arg, ABT_thread *t)
{
    int rc = ABT_thread_create(pool, fn, arg, ABT_THREAD_ATTR_NULL, t);
    check(rc == ABT_SUCCESS, "ABT_thread_create");
}

/* Starts `number` ULTs and joins them. */
static void run_all(void (*fn)(void *), void *arg, long number)
{
    ABT_thread *threads = malloc((size_t)number * sizeof *threads);
    ABT_pool pool = own_pool();
    for (long i = 0; i < number; i++)
        spawn(pool, fn, arg, &threads[i]);
    for (long i = 0; i < number; i++)
        ABT_thread_free(&threads[i]);
    free(threads);
}

static void yielder(void *arg)
{
    for (long left = (long)arg; left > 0; left--)
        ABT_thread_yield();
    atomic_fetch_add(&count, (long)arg);
}

static void yield_pass(long n)
{
    count = 0;
    run_all(yielder, (void *)(n / opt.g), opt.g);
    check(count == n, "number of yields");
}

static void yield_op(void)
{
    measure(yield_pass);
}

static void increment(void *arg)
{
    (void)arg;
    atomic_fetch_add(&count, 1);
}

static void wave(long n)
{
    count = 0;
    run_all(increment, NULL, n);
    check(count == n, "number of runs");
}

static void spawn_waves(void)
{
    measure_waves(wave);
}

static void spawn_million(void)
{
    measure_million(wave);
}

static void one_by_one_in(ABT_pool pool, long n)
{
    ABT_thread thread;
    count = 0;
    for (long i = 0; i < n; i++) {
        spawn(pool, increment, NULL, &thread);
        ABT_thread_free(&thread);
    }
    check(count == n, "number of runs");
}

static void one_by_one(long n)
{
    one_by_one_in(own_pool(), n);
}

static void spawn_join(void)
{
    measure(one_by_one);
}

static void one_by_one_on_host(long n)
{
    one_by_one_in(pools[0], n);
}

static void *host(void *finished)
{
    measure(one_by_one_on_host);
    ABT_eventual_set(finished, NULL, 0);
    return NULL;
}

static void host_spawn_join(void)
{
    pthread_t thread;
    ABT_eventual finished;
    ABT_eventual_create(0, &finished);
    pthread_create(&thread, NULL, host, finished);
    ABT_eventual_wait(finished, NULL);
    pthread_join(thread, NULL);
    ABT_eventual_free(&finished);
}

static ABT_mutex lock; /* of counter */
static long counter;

static void locker(void *arg)
{
    for (long left = (long)arg; left > 0; left--) {
        ABT_mutex_lock(lock);
        counter++;
        ABT_mutex_unlock(lock);
    }
}

static void yielding_locker(void *arg)
{
    for (long left = (long)arg; left > 0; left--) {
        ABT_mutex_lock(lock);
        counter++;
        ABT_thread_yield();
        ABT_mutex_unlock(lock);
    }
}

static void mutex_pass(long n)
{
    counter = 0;
    run_all(locker, (void *)(n / opt.g), opt.g);
    check(counter == n, "the counter");
}

static void mutex_yield_pass(long n)
{
    counter = 0;
    run_all(yielding_locker, (void *)(n / opt.g), opt.g);
    check(counter == n, "the counter");
}

static void mutex(void)
{
    ABT_mutex_create(&lock);
    measure(mutex_pass);
    ABT_mutex_free(&lock);
}

static void mutex_yield(void)
{
    ABT_mutex_create(&lock);
    measure(mutex_yield_pass);
    ABT_mutex_free(&lock);
}

struct node {
    long first, leaves, sum;
    ABT_thread thread;
};

/* Sets `sum` to that of the numbers of all leaves below. */
static void skynet_node(void *arg)
{
    struct node *self = arg, below[10];
    self->sum = self->first;
    if (self->leaves > 1) {
        long part = self->leaves / opt.g;
        for (long i = 0; i < opt.g; i++) {
            below[i] = (struct node){self->first + i * part, part, 0, NULL};
            spawn(own_pool(), skynet_node, &below[i], &below[i].thread);
        }
        self->sum = 0;
        for (long i = 0; i < opt.g; i++) {
            ABT_thread_free(&below[i].thread);
            self->sum += below[i].sum;
        }
    }
}

static void skynet_of(long leaves)
{
    struct node root = {0, leaves, 0, NULL};
    check(opt.g <= 10, "at most 10 children");
    spawn(own_pool(), skynet_node, &root, &root.thread);
    ABT_thread_free(&root.thread);
    check(root.sum == leaves * (leaves - 1) / 2, "sum of the leaves");
}

static void skynet(void)
{
    measure_skynet(skynet_of);
}

static atomic_long released;

static void parker(void *never)
{
    atomic_fetch_add(&count, 1);
    ABT_eventual_wait(never, NULL);
    atomic_fetch_add(&released, 1);
}

static void parked_million(void)
{
    ABT_eventual never;
    ABT_thread *threads = malloc((size_t)opt.n * sizeof *threads);
    ABT_eventual_create(0, &never);
    struct footprint before = footprint();
    for (long i = 0; i < opt.n; i++)
        spawn(own_pool(), parker, never, &threads[i]);
    while (count < opt.n)
        ABT_thread_yield();
    report_parked(before);
    ABT_eventual_set(never, NULL, 0);
    for (long i = 0; i < opt.n; i++)
        ABT_thread_free(&threads[i]);
    check(released == opt.n, "number released");
    ABT_eventual_free(&never);
    free(threads);
}

static const struct operation operations[] = {
    {"yield2", yield_op, 2000000, 2},
    {"yield1000", yield_op, 2000000, 1000},
    {"spawn_waves", spawn_waves, 1000000, 1000},
    {"spawn_million", spawn_million, 1000000, 0},
    {"spawn_join", spawn_join, 1000000, 0},
    {"host_spawn_join", host_spawn_join, 10000, 0},
    {"mutex8", mutex, 8000000, 8},
    {"mutex8_yield", mutex_yield, 800000, 8},
    {"skynet", skynet, 1000000, 10},
    {"parked_million", parked_million, 1000000, 0},
    {NULL, NULL, 0, 0},
};

/* A worker per stream: its own pool first, then the others'. */
static ABT_sched make_scheduler(int worker)
{
    ABT_pool order[MANY];
    ABT_sched scheduler;
    for (int i = 0; i < opt.workers; i++)
        order[i] = pools[(worker + i) % opt.workers];
    ABT_sched_create_basic(ABT_SCHED_RANDWS, opt.workers, order,
                           ABT_SCHED_CONFIG_NULL, &scheduler);
    return scheduler;
}

int main(int argc, char **argv)
{
    const struct operation *operation =
        find_operation(argc, argv, operations, MANY);
    ABT_xstream streams[MANY];
    ABT_init(argc, argv);
    for (int i = 0; i < opt.workers; i++)
        ABT_pool_create_basic(ABT_POOL_RANDWS, ABT_POOL_ACCESS_MPMC, ABT_TRUE,
                              &pools[i]);
    ABT_xstream_self(&streams[0]);
    ABT_xstream_set_main_sched(streams[0], make_scheduler(0));
    for (int i = 1; i < opt.workers; i++)
        ABT_xstream_create(make_scheduler(i), &streams[i]);
    operation->run();
    for (int i = 1; i < opt.workers; i++) {
        ABT_xstream_join(streams[i]);
        ABT_xstream_free(&streams[i]);
    }
    ABT_finalize();
    return 0;
}
