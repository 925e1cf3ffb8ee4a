/* gmp_get_stats: the numbers are those of programs that we know, counters never
 * fall, and structures of other versions work. */
#include "test.h"

enum { MANY = 200 };

static gmp_stats now(void)
{
    gmp_stats stats;

    CHECK_OK(gmp_get_stats(&stats, sizeof stats));
    CHECK_EQ(stats.struct_size, sizeof stats);
    CHECK_EQ(stats.goroutines, stats.goroutines_running +
                                   stats.goroutines_runnable +
                                   stats.goroutines_waiting);
    CHECK_EQ(stats.goroutines,
             stats.goroutines_created - stats.goroutines_ended);
    CHECK(stats.goroutines_without_p <= stats.goroutines_running);
    CHECK(stats.threads_detached <= stats.goroutines_without_p);
    CHECK_EQ(stats.threads, stats.threads_begun - stats.threads_ended);
    CHECK(stats.runq_longest <= stats.runq_local);
    CHECK(stats.stack_released_bytes <= stats.stack_idle_bytes);
    return stats;
}

/* Structures of older and newer versions. */
static void versions(void)
{
    union {
        gmp_stats stats;
        unsigned char bytes[2 * sizeof(gmp_stats)];
    } room;
    size_t sizes[] = {sizeof(size_t), offsetof(gmp_stats, goroutines),
                      offsetof(gmp_stats, switches), sizeof(gmp_stats),
                      sizeof(gmp_stats) + 8, sizeof room - 8};

    CHECK_EQ(gmp_get_stats(NULL, sizeof(gmp_stats)), -EINVAL);
    CHECK_EQ(gmp_get_stats(&room.stats, 0), -EINVAL);
    CHECK_EQ(gmp_get_stats(&room.stats, sizeof(size_t) - 1), -EINVAL);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        size_t size = sizes[i], known = sizeof(gmp_stats);

        memset(room.bytes, 0xA5, sizeof room);
        CHECK_OK(gmp_get_stats(&room.stats, size));
        if (size < known)
            known = size;
        CHECK_EQ(room.stats.struct_size, known);
        for (size_t at = known; at < size; at++)
            CHECK_EQ(room.bytes[at], 0);
        for (size_t at = size; at < sizeof room; at++)
            CHECK_EQ(room.bytes[at], 0xA5);
        if (known > offsetof(gmp_stats, uptime_ns))
            CHECK(room.stats.uptime_ns > 0 &&
                  room.stats.uptime_ns < (uint64_t)SEC(3600));
        if (known > offsetof(gmp_stats, procs))
            CHECK_EQ(room.stats.procs, gmp_set_maxprocs(0));
    }
}

static gmp_chan *gate;

static void wait_at_gate(void *arg)
{
    (void)arg;
    CHECK_EQ(gmp_chan_recv(gate, NULL), -EPIPE);
}

static void goroutines_by_state(void)
{
    gmp_stats before = now(), then;
    gmp_g *gs[MANY];

    gate = gmp_chan_make(0, 0);
    for (int i = 0; i < MANY; i++)
        gs[i] = spawn(wait_at_gate, NULL);
    then = now();
    CHECK_EQ(then.goroutines_created - before.goroutines_created, MANY);
    CHECK_EQ(then.goroutines_ended, before.goroutines_ended);
    CHECK_EQ(then.goroutines, gmp_num_goroutines());
    /* On its way from one queue to another a goroutine counts as waiting. */
    AWAIT(now().switches >= before.switches + MANY);
    AWAIT(now().goroutines_waiting == before.goroutines + MANY);
    then = now();
    CHECK_EQ(then.goroutines_running + then.goroutines_runnable, 0);
    CHECK(then.stack_in_use_bytes >= before.stack_in_use_bytes + MANY * 65536ul);
    CHECK(then.stack_mapped_bytes >= then.stack_in_use_bytes +
                                         then.stack_cached_bytes +
                                         then.stack_idle_bytes);
    gmp_chan_close(gate);
    for (int i = 0; i < MANY; i++)
        CHECK_OK(gmp_join(gs[i]));
    gmp_chan_unref(gate);
    /* The joiner may be faster than the last stack's way back. */
    AWAIT(now().stack_in_use_bytes == before.stack_in_use_bytes);
    then = now();
    CHECK_EQ(then.goroutines_ended - before.goroutines_ended, MANY);
    CHECK_EQ(then.goroutines, before.goroutines);
    CHECK(then.stack_cached_bytes + then.stack_idle_bytes >= MANY * 65536ul);
}

static void nothing(void *arg)
{
    (void)arg;
}

/* On a goroutine, with one processor: those that it starts are queued. */
static void queue_some(void *arg)
{
    gmp_stats before = now(), then;

    (void)arg;
    CHECK_EQ(before.goroutines_running, 1);
    for (int i = 0; i < MANY; i++)
        CHECK_OK(gmp_go(nothing, NULL));
    then = now();
    /* A tool makes the starts so slow that the P may go to another thread. */
    if (!test_under(NULL)) {
        CHECK_EQ(then.goroutines_runnable, MANY);
        CHECK_EQ(then.runq_local + then.runq_global, MANY);
    }
    CHECK(then.goroutines_running == 1 || test_under(NULL));
    CHECK_EQ(then.goroutines_waiting, before.goroutines_waiting);
    CHECK_EQ(then.procs, 1);
    CHECK_EQ(then.procs_idle, 0);
    do
        gmp_yield();
    while (now().goroutines_runnable != 0);
    CHECK_EQ(now().goroutines_ended - before.goroutines_ended, MANY);
    CHECK(now().switches >= before.switches + MANY);
}

static int ends[2];

static void block_untold(void *arg)
{
    char byte;

    (void)arg;
    CHECK_EQ(read(ends[0], &byte, 1), 1);
}

static void block_told(void *arg)
{
    CHECK_OK(gmp_blocking(block_untold, arg));
}

/* Keeps work waiting, so that processors are taken from who blocks. */
static atomic_bool over;

static void go_on(void *arg)
{
    (void)arg;
    while (!atomic_load(&over))
        gmp_yield();
}

static void blocked_outside(gmp_fn fn, bool told)
{
    gmp_stats before = now(), then;
    gmp_g *blocked, *busy;

    atomic_store(&over, false);
    CHECK_OK(pipe(ends));
    blocked = spawn(fn, NULL);
    busy = spawn(go_on, NULL);
    AWAIT(now().goroutines_without_p == 1);
    then = now();
    CHECK_EQ(then.threads_detached, 0);
    CHECK(then.goroutines_running >= 1);
    CHECK(then.handoffs > before.handoffs);
    if (!told)
        CHECK(then.retaken_blocked > before.retaken_blocked);
    CHECK_EQ(write(ends[1], "", 1), 1);
    CHECK_OK(gmp_join(blocked));
    atomic_store(&over, true);
    CHECK_OK(gmp_join(busy));
    CHECK_EQ(now().goroutines_without_p, 0);
    close(ends[0]);
    close(ends[1]);
}

static void spin(void *arg)
{
    (void)arg;
    while (!atomic_load(&over))
        ;
}

/* A goroutine that computes loses its processor to one that waits. */
static void busy_outside(void)
{
    gmp_stats before = now(), then;
    gmp_g *gs[2];

    atomic_store(&over, false);
    gs[0] = spawn(spin, NULL);
    gs[1] = spawn(spin, NULL);
    AWAIT(now().threads_detached >= 1);
    then = now();
    CHECK(then.retaken_busy > before.retaken_busy);
    CHECK(then.yields_requested > before.yields_requested);
    atomic_store(&over, true);
    CHECK_OK(gmp_join(gs[0]));
    CHECK_OK(gmp_join(gs[1]));
    AWAIT(now().threads_detached == 0);
}

static void doze(void *arg)
{
    gmp_sleep(*(int64_t *)arg);
}

static void read_pipe(void *arg)
{
    char byte;

    (void)arg;
    CHECK_EQ(gmp_read(ends[0], &byte, 1), 1);
}

static void timers_and_descriptors(void)
{
    gmp_stats before = now(), then;
    int64_t shortly = MS(1), long_after = SEC(3600);
    gmp_g *gs[3];

    for (int i = 0; i < 3; i++)
        gs[i] = spawn(doze, &shortly);
    for (int i = 0; i < 3; i++)
        CHECK_OK(gmp_join(gs[i]));
    CHECK(now().timers_fired >= before.timers_fired + 3);

    for (int i = 0; i < 3; i++)
        gs[i] = spawn(doze, &long_after);
    /* The library may have one of its own. */
    AWAIT(now().timers_pending >= 3);
    CHECK(now().timers_pending <= 4);
    for (int i = 0; i < 3; i++) {
        CHECK_OK(gmp_cancel(gs[i]));
        CHECK_OK(gmp_join(gs[i]));
    }
    CHECK(now().timers_pending <= 1);

    CHECK_OK(pipe(ends));
    gs[0] = spawn(read_pipe, NULL);
    AWAIT(now().netpoll_waiting == 1);
    CHECK_EQ(write(ends[1], "", 1), 1);
    CHECK_OK(gmp_join(gs[0]));
    then = now();
    CHECK_EQ(then.netpoll_waiting, 0);
    CHECK(then.netpoll_polls > before.netpoll_polls);
    CHECK(then.netpoll_events > before.netpoll_events);
    close(ends[0]);
    close(ends[1]);
}

static atomic_long on_our_threads;

static void lock_thread(void *arg)
{
    CHECK_OK(gmp_lock_os_thread());
    gmp_yield();
    /* The thread that joins it may run it in place, and goes on then. */
    if (syscall(SYS_gettid) == getpid())
        return;
    atomic_fetch_add(&on_our_threads, 1);
    if (arg != NULL)
        CHECK(now().threads_locked >= 1);
    /* Ends locked, and so does its thread. */
}

/* Fails if a counter is lower than before. */
static void none_fell(const gmp_stats *a, const gmp_stats *b)
{
#define GROWS(field) CHECK(b->field >= a->field)
    GROWS(uptime_ns);
    GROWS(goroutines_created);
    GROWS(goroutines_ended);
    GROWS(goroutines_starved_ever);
    GROWS(switches);
    GROWS(steal_attempts);
    GROWS(stolen);
    GROWS(handoffs);
    GROWS(retaken_blocked);
    GROWS(retaken_busy);
    GROWS(yields_requested);
    GROWS(threads_begun);
    GROWS(threads_ended);
    GROWS(threads_refused);
    GROWS(thread_sleeps);
    GROWS(thread_wakeups);
    GROWS(timers_fired);
    GROWS(netpoll_polls);
    GROWS(netpoll_events);
#undef GROWS
}

static void *watch(void *looks)
{
    gmp_stats before = now(), then;

    while (!atomic_load(&over)) {
        then = now();
        none_fell(&before, &then);
        before = then;
        ++*(long *)looks;
    }
    return NULL;
}

/* Counters are watched while processors come and go, and threads end. */
static void counters_only_grow(void)
{
    int procs = gmp_set_maxprocs(0);
    gmp_stats before = now(), then;
    pthread_t watcher;
    long looks = 0;

    atomic_store(&on_our_threads, 0);
    atomic_store(&over, false);
    CHECK_OK(pthread_create(&watcher, NULL, watch, &looks));
    for (int round = 0; round < 60; round++) {
        gmp_g *gs[10];
        int64_t shortly = US(100);

        CHECK(gmp_set_maxprocs(1 + round % 8) > 0);
        for (int i = 0; i < 8; i++)
            gs[i] = spawn(i % 2 ? doze : nothing, &shortly);
        gs[8] = spawn(lock_thread, &looks);
        gs[9] = spawn(lock_thread, NULL);
        for (int i = 0; i < 10; i++)
            CHECK_OK(gmp_join(gs[i]));
    }
    AWAIT(now().threads_ended - before.threads_ended
          == (uint64_t)atomic_load(&on_our_threads));
    then = now();
    none_fell(&before, &then);
    CHECK_EQ(then.goroutines_ended - before.goroutines_ended, 600);
    CHECK_EQ(then.threads_locked, 0);
    CHECK(then.thread_sleeps > before.thread_sleeps);
    CHECK(then.thread_wakeups > before.thread_wakeups);
    atomic_store(&over, true);
    CHECK_OK(pthread_join(watcher, NULL));
    CHECK(looks > 0);
    CHECK(gmp_set_maxprocs(procs) > 0);
}

/* The heap is nothing until it is used. */
static void heap(void)
{
    gmp_stats before = now(), then;
    gmp_gc_stats gc;
    char *kept;

    CHECK_EQ(before.heap_arenas + before.heap_live_bytes +
                 before.heap_in_use_bytes + before.heap_idle_bytes +
                 before.heap_collections + before.heap_pause_ns,
             0);
    CHECK((kept = gmp_gc_alloc(3 << 20)) != NULL);
    CHECK_OK(gmp_gc());
    then = now();
    CHECK_OK(gmp_gc_get_stats(&gc, sizeof gc));
    CHECK_EQ(then.heap_arenas, 1);
    CHECK(then.heap_live_bytes >= 3 << 20);
    CHECK(then.heap_in_use_bytes >= then.heap_live_bytes);
    CHECK(then.heap_in_use_bytes + then.heap_idle_bytes <= 64 << 20);
    CHECK(then.heap_released_bytes <= then.heap_idle_bytes);
    CHECK_EQ(then.heap_collections, 1);
    CHECK_EQ(gc.collections, 1);
    CHECK(then.heap_pause_ns > 0 && then.heap_pause_ns == gc.pause_ns);
    CHECK(kept[0] == 0);
}

int test_main(int argc, char **argv)
{
    int procs = gmp_set_maxprocs(0);

    (void)argc;
    (void)argv;
    versions();
    goroutines_by_state();
    timers_and_descriptors();
    counters_only_grow();
    CHECK(gmp_set_maxprocs(1) > 0);
    CHECK_OK(gmp_join(spawn(queue_some, NULL)));
    blocked_outside(block_told, true);
    blocked_outside(block_untold, false);
    busy_outside();
    CHECK(gmp_set_maxprocs(procs) > 0);
    heap();
    return 0;
}
