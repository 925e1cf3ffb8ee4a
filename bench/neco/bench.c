/* neco: coroutines of one thread, with Go's channels, wait groups and mutexes.
 *
 * Built with
 *     cc -std=gnu11 -O2 -DNECO_STACKSIZE=262144 -DNECO_GAPSIZE=4096 \
 *         bench.c chan.c $NECO/neco.c -I$NECO -o bench -pthread
 * where $NECO is a folder with neco.c and neco.h; neco has no package. The
 * size of a stack is that of the other systems.
 *
 * Only with one worker. Skynet, a million parked and 100,000 sleepers are not
 * here: each takes neco's trees of coroutines between 20 and 100 s. */
#include "../peer.h"
#include "chan.h"

#include <neco.h>
#include <unistd.h>

static neco_waitgroup ended = NECO_WAITGROUP_INITIALIZER;
static long count;

static void yielder(int argc, void **argv)
{
    (void)argc;
    for (long left = (long)argv[0]; left > 0; left--) {
        neco_yield();
        count++;
    }
    neco_waitgroup_done(&ended);
}

static void yield_pass(long n)
{
    count = 0;
    neco_waitgroup_add(&ended, (int)opt.g);
    for (long i = 0; i < opt.g; i++)
        neco_start(yielder, 1, n / opt.g);
    neco_waitgroup_wait(&ended);
    check(count == n, "number of yields");
}

static void yield_op(void)
{
    measure(yield_pass);
}

static void nothing(int argc, void **argv)
{
    (void)argc, (void)argv;
    neco_waitgroup_done(&ended);
}

static void wave(long n)
{
    neco_waitgroup_add(&ended, (int)n);
    for (long i = 0; i < n; i++)
        neco_start(nothing, 0);
    neco_waitgroup_wait(&ended);
}

static void spawn_waves(void)
{
    measure_waves(wave);
}

static void spawn_million(void)
{
    measure_million(wave);
}

static void increment(int argc, void **argv)
{
    (void)argc, (void)argv;
    count++;
}

/* A coroutine runs at once when it is started, so this one has always ended
 * before it could be joined; neco_join says so with NECO_NOTFOUND. */
static void one_by_one(long n)
{
    count = 0;
    for (long i = 0; i < n; i++) {
        neco_start(increment, 0);
        neco_join(neco_lastid());
    }
    check(count == n, "number of runs");
}

static void spawn_join(void)
{
    neco_env_setpaniconerror(false);
    measure(one_by_one);
}

static neco_mutex lock = NECO_MUTEX_INITIALIZER; /* of count */

static void locker(int argc, void **argv)
{
    (void)argc;
    for (long left = (long)argv[0]; left > 0; left--) {
        neco_mutex_lock(&lock);
        count++;
        neco_mutex_unlock(&lock);
    }
    neco_waitgroup_done(&ended);
}

static void yielding_locker(int argc, void **argv)
{
    (void)argc;
    for (long left = (long)argv[0]; left > 0; left--) {
        neco_mutex_lock(&lock);
        count++;
        neco_yield();
        neco_mutex_unlock(&lock);
    }
    neco_waitgroup_done(&ended);
}

static void run_lockers(void (*fn)(int, void **), long n)
{
    count = 0;
    neco_waitgroup_add(&ended, (int)opt.g);
    for (long i = 0; i < opt.g; i++)
        neco_start(fn, 1, n / opt.g);
    neco_waitgroup_wait(&ended);
    check(count == n, "the counter");
}

static void mutex_pass(long n)
{
    run_lockers(locker, n);
}

static void mutex_yield_pass(long n)
{
    run_lockers(yielding_locker, n);
}

static void mutex(void)
{
    measure(mutex_pass);
}

static void mutex_yield(void)
{
    measure(mutex_yield_pass);
}

static bool stop;

static void ticker(int argc, void **argv)
{
    (void)argc;
    while (!stop) {
        neco_sleep(MS);
        tick(argv[0]);
    }
    neco_waitgroup_done(&ended);
}

static void stall(void (*blocker)(void))
{
    struct gaps gaps = {0, 0};
    neco_waitgroup_add(&ended, 1);
    neco_start(ticker, 1, &gaps);
    neco_sleep(100 * MS);
    blocker();
    neco_sleep(10 * MS);
    stop = true;
    neco_waitgroup_wait(&ended);
    report("ms", (double)gaps.worst / (double)MS);
}

static void stall_sleep(void)
{
    stall(sleep_in_c);
}

static void stall_burn(void)
{
    stall(burn_in_c);
}

static void park_for_ever(int argc, void **argv)
{
    (void)argc;
    long x;
    neco_chan_recv(argv[0], &x);
}

static void wait_an_hour(int argc, void **argv)
{
    (void)argc, (void)argv;
    neco_sleep(3600 * SECOND);
}

static void idle(void)
{
    neco_chan *never;
    neco_chan_make(&never, sizeof(long), 0);
    neco_start(park_for_ever, 1, never);
    neco_start(wait_an_hour, 0);
    neco_sleep(SECOND / 2);
    long before = switches();
    neco_sleep(2 * SECOND);
    report("wakeups", (double)(switches() - before));
}

static void serve(int argc, void **argv)
{
    (void)argc;
    int fd = (int)(intptr_t)argv[0];
    char buf[4096];
    ssize_t n;
    while ((n = neco_read(fd, buf, sizeof buf)) > 0 &&
           neco_write(fd, buf, (size_t)n) == n)
        ;
    close(fd);
}

/* Echoes until SIGTERM ends the process. */
static void echo_server(void)
{
    int listener = listen_on_loopback(), fd;
    neco_setnonblock(listener, true, NULL);
    while ((fd = neco_accept(listener, NULL, NULL)) >= 0)
        neco_start(serve, 1, (intptr_t)fd);
    errx(1, "accept: %s", neco_strerror(fd));
}

static const struct operation operations[] = {
    {"yield2", yield_op, 2000000, 2},
    {"yield1000", yield_op, 2000000, 1000},
    {"spawn_waves", spawn_waves, 1000000, 1000},
    {"spawn_million", spawn_million, 1000000, 0},
    {"spawn_join", spawn_join, 1000000, 0},
    {"pingpong", pingpong, 1000000, 2},
    {"buffered_1_1", buffered, 4000000, 1},
    {"buffered_4_4", buffered, 4000000, 4},
    {"select2_ready", select_ready, 2000000, 2},
    {"select4_ready", select_ready, 2000000, 4},
    {"select2_park", select_park, 1000000, 2},
    {"select4_park", select_park, 1000000, 4},
    {"mutex8", mutex, 8000000, 8},
    {"mutex8_yield", mutex_yield, 800000, 8},
    {"stall_sleep", stall_sleep, 0, 0},
    {"stall_burn", stall_burn, 0, 0},
    {"idle", idle, 0, 0},
    {"echo_server", echo_server, 0, 0},
    {NULL, NULL, 0, 0},
};

int neco_main(int argc, char **argv)
{
    find_operation(argc, argv, operations, 1)->run();
    return 0;
}
