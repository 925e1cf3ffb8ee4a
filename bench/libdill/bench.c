/* libdill: coroutines of one thread, unbuffered channels, no mutex.
 *
 * Built with
 *     cc -std=gnu11 -O2 bench.c -o bench -ldill
 * and the flags of `pkg-config libdill`, or else -I$LIBDILL/include
 * -L$LIBDILL/lib -Wl,-rpath,$LIBDILL/lib for a prefix $LIBDILL. With nothing
 * but libdill.a there it is about 1.4 times as fast as with libdill.so.
 *
 * Only with one worker. It has no queues, so no buffered channels and no
 * channel that the selecting coroutine could fill itself. Skynet is not here:
 * go() runs the child at once but its parent last, so the whole tree is alive
 * at once, more stacks than the kernel has guards for. */
#include "../peer.h"

#include <libdill.h>
#include <sys/mman.h>

/* GCC may not conclude from the body of a coroutine that it lets go of its
 * arguments when the call "returns": it runs on beside its caller. */
#undef coroutine
#define coroutine __attribute__((noipa))

/* Starts a coroutine of a bundle. Past some 32,000 the kernel has no more
 * guards for stacks: such a number of coroutines is missing here. */
#define GO(group, call) \
    do { \
        if (bundle_go(group, call) != 0) \
            errx(MISSING, "no stack for another coroutine"); \
    } while (0)

enum { MAX_CASES = 4, STACK = 256 * 1024 };

static int wait_for(int group)
{
    int rc = bundle_wait(group, -1);
    hclose(group);
    return rc;
}

static coroutine void yielder(long left, long *yields)
{
    for (; left > 0; left--) {
        yield();
        ++*yields;
    }
}

static void yield_pass(long n)
{
    int group = bundle();
    long yields = 0;
    for (long i = 0; i < opt.g; i++)
        GO(group, yielder(n / opt.g, &yields));
    check(wait_for(group) == 0, "wait");
    check(yields == n, "number of yields");
}

static void yield_op(void)
{
    measure(yield_pass);
}

static coroutine void increment(long *count)
{
    ++*count;
}

static void wave(long n)
{
    int group = bundle();
    long count = 0;
    for (long i = 0; i < n; i++)
        GO(group, increment(&count));
    check(wait_for(group) == 0, "wait");
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

/* A bundle of one is what libdill can join. */
static void one_by_one(long n)
{
    int group = bundle();
    long count = 0;
    for (long i = 0; i < n; i++) {
        GO(group, increment(&count));
        check(bundle_wait(group, -1) == 0, "wait");
    }
    hclose(group);
    check(count == n, "number of runs");
}

static void spawn_join(void)
{
    measure(one_by_one);
}

static coroutine void ponger(int ch, long n)
{
    long x;
    for (long left = n; left > 0; left--) {
        chrecv(ch, &x, sizeof x, -1);
        x++;
        chsend(ch, &x, sizeof x, -1);
    }
}

/* A channel of libdill has two directions, so one is enough. */
static void pingpong_pass(long n)
{
    int ends[2], group = bundle();
    long x = 0;
    chmake(ends);
    GO(group, ponger(ends[1], n));
    for (long left = n; left > 0; left--) {
        chsend(ends[0], &x, sizeof x, -1);
        chrecv(ends[0], &x, sizeof x, -1);
    }
    check(x == n, "number of round trips");
    check(wait_for(group) == 0, "wait");
    hclose(ends[0]);
    hclose(ends[1]);
}

static void pingpong(void)
{
    measure(pingpong_pass);
}

static coroutine void feeder(int ch, long n)
{
    for (long x = n; x > 0; x--)
        chsend(ch, &x, sizeof x, -1);
}

static void select_pass(long n)
{
    int ends[MAX_CASES][2], group = bundle();
    struct chclause cases[MAX_CASES];
    long x, total = 0;
    for (long i = 0; i < opt.g; i++) {
        chmake(ends[i]);
        cases[i] = (struct chclause){CHRECV, ends[i][0], &x, sizeof x};
        GO(group, feeder(ends[i][1], n / opt.g));
    }
    for (long i = 0; i < n; i++) {
        choose(cases, (int)opt.g, -1);
        total += x;
    }
    check(wait_for(group) == 0, "wait");
    for (long i = 0; i < opt.g; i++) {
        hclose(ends[i][0]);
        hclose(ends[i][1]);
    }
    check(total == opt.g * triangle(n / opt.g), "sum of the elements");
}

static void select_park(void)
{
    measure(select_pass);
}

/* `count` stacks in one mapping, without guards. */
static char *make_stacks(long count)
{
    void *stacks = mmap(NULL, (size_t)count * STACK, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    check(stacks != MAP_FAILED, "mmap");
    return (char *)stacks;
}

static coroutine void parker(int never, long *arrived, long *released)
{
    long x;
    ++*arrived;
    check(chrecv(never, &x, sizeof x, -1) == -1 && errno == EPIPE, "received");
    ++*released;
}

static void parked_million(void)
{
    int ends[2], group = bundle();
    long arrived = 0, released = 0;
    chmake(ends);
    struct footprint before = footprint();
    char *stacks = make_stacks(opt.n);
    for (long i = 0; i < opt.n; i++)
        check(bundle_go_mem(group, parker(ends[0], &arrived, &released),
                            stacks + i * STACK, STACK) == 0, "go");
    check(arrived == opt.n, "number parked");
    report_parked(before);
    chdone(ends[1]);
    wait_for(group);
    check(released == opt.n, "number released");
}

static coroutine void sleeper(uint64_t random, long *sleeps)
{
    for (long i = 0; i < opt.n; i++) {
        int64_t due = now() + next_sleep_us(&random) / 1000;
        msleep(due);
        check(now() >= due, "woken too early");
        ++*sleeps;
    }
}

static void sleepers(void)
{
    int group = bundle();
    long sleeps = 0;
    double before = cpu_seconds();
    char *stacks = make_stacks(opt.g);
    for (long i = 0; i < opt.g; i++)
        check(bundle_go_mem(group, sleeper((uint64_t)i, &sleeps),
                            stacks + i * STACK, STACK) == 0, "go");
    wait_for(group);
    report("cpu_s", cpu_seconds() - before);
    check(sleeps == opt.g * opt.n, "number of sleeps");
}

static coroutine void ticker(struct gaps *gaps)
{
    while (msleep(now() + 1) == 0)
        tick(gaps);
}

static void stall(void (*blocker)(void))
{
    struct gaps gaps = {0, 0};
    int group = bundle();
    GO(group, ticker(&gaps));
    msleep(now() + 100);
    blocker();
    msleep(now() + 10);
    hclose(group);
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

static coroutine void park_for_ever(int never)
{
    long x;
    chrecv(never, &x, sizeof x, -1);
}

static coroutine void wait_an_hour(void)
{
    msleep(now() + 3600 * 1000);
}

static void idle(void)
{
    int ends[2], group = bundle();
    chmake(ends);
    GO(group, park_for_ever(ends[0]));
    GO(group, wait_an_hour());
    msleep(now() + 500);
    long before = switches();
    msleep(now() + 2000);
    report("wakeups", (double)(switches() - before));
    hclose(group);
}

/* brecv waits for all the bytes that it is asked for: a message. */
static coroutine void serve(int socket)
{
    char message[64];
    while (brecv(socket, message, sizeof message, -1) == 0 &&
           bsend(socket, message, sizeof message, -1) == 0)
        ;
    hclose(socket);
}

/* Echoes until SIGTERM ends the process. */
static void echo_server(void)
{
    int listener = tcp_listener_fromfd(listen_on_loopback()), socket;
    int group = bundle();
    check(listener >= 0, "listener");
    while ((socket = tcp_accept(listener, NULL, -1)) >= 0)
        GO(group, serve(socket));
    err(1, "accept");
}

static const struct operation operations[] = {
    {"yield2", yield_op, 2000000, 2},
    {"yield1000", yield_op, 2000000, 1000},
    {"spawn_waves", spawn_waves, 1000000, 1000},
    {"spawn_million", spawn_million, 1000000, 0},
    {"spawn_join", spawn_join, 1000000, 0},
    {"pingpong", pingpong, 1000000, 2},
    {"select2_park", select_park, 1000000, 2},
    {"select4_park", select_park, 1000000, 4},
    {"parked_million", parked_million, 1000000, 0},
    {"sleepers", sleepers, 10, 100000},
    {"stall_sleep", stall_sleep, 0, 0},
    {"stall_burn", stall_burn, 0, 0},
    {"idle", idle, 0, 0},
    {"echo_server", echo_server, 0, 0},
    {NULL, NULL, 0, 0},
};

int main(int argc, char **argv)
{
    find_operation(argc, argv, operations, 1)->run();
    return 0;
}
