/* GMP_GC_SIGNAL=0: collections wait for safe points, and disturb no system
 * call. Threads and goroutines wait in the kernel, in calls of the library, or
 * allocate; each has an object that only its own stack holds.
 *
 * heap_calm calm     with GMP_GC_SIGNAL=0: no call returns EINTR
 * heap_calm signals  without it: calls do, so the other case can fail
 * heap_calm regions  a collection needs no signal to threads that wait in calls
 *                    of the library: they block it
 * heap_calm busy     a thread without safe points: -EBUSY, and a line
 * heap_calm deaf     the same of a goroutine that blocks the signal, USR2
 */
#include "test.h"

#include <fcntl.h>
#include <sys/stat.h>

enum { WORDS = 64, CYCLES = 20, ALLOCATED = 500 };

static atomic_int ready, interrupted, came, looks;
static atomic_bool stop;
static bool deaf;
static gmp_chan *never;
static int in[2];
static char fifo[64];

/* An object to which only the caller's stack points. */
static uint64_t *make(uint64_t seed)
{
    uint64_t *p = gmp_gc_alloc(WORDS * sizeof *p);

    CHECK(p != NULL);
    for (int i = 0; i < WORDS; i++)
        p[i] = seed * 1000003 + (uint64_t)i;
    return p;
}

static void look(const uint64_t *p, uint64_t seed)
{
    for (int i = 0; i < WORDS; i++)
        CHECK_EQ(p[i], seed * 1000003 + (uint64_t)i);
    atomic_fetch_add(&looks, 1);
}

/* A system call that the library does not know, and does not begin again. */
static void wait_in_kernel(int which)
{
    struct timespec some = {0, MS(15)};
    long rc = which == 0 ? syscall(SYS_poll, NULL, 0, 15)
                         : syscall(SYS_nanosleep, &some, NULL);

    if (rc == -1 && errno == EINTR)
        atomic_fetch_add(&interrupted, 1);
    else
        CHECK_OK(rc);
}

static void foreign(void *arg)
{
    uint64_t seed = (uintptr_t)arg, *mine = make(seed);

    atomic_fetch_add(&ready, 1);
    while (!atomic_load(&stop)) {
        wait_in_kernel((int)(seed & 1));
        look(mine, seed);
        gmp_checkpoint();
    }
    look(mine, seed);
}

/* No call waits, and none is a checkpoint. */
static void allocates(void *arg)
{
    uint64_t seed = (uintptr_t)arg, *mine = make(seed), *other;

    atomic_fetch_add(&ready, 1);
    while (!atomic_load(&stop)) {
        other = make(seed + 1);
        spin_ns(US(200));
        look(other, seed + 1);
        look(mine, seed);
    }
}

static void yields(void *arg)
{
    uint64_t seed = (uintptr_t)arg, *mine = make(seed);

    atomic_fetch_add(&ready, 1);
    while (!atomic_load(&stop)) {
        spin_ns(US(200));
        gmp_yield();
        look(mine, seed);
    }
}

/* A thread that the signal does not reach, if that is the test. */
static void be_deaf(void)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGURG);
    if (deaf)
        CHECK_OK(pthread_sigmask(SIG_BLOCK, &set, NULL));
}

static void receives(void *arg)
{
    uint64_t seed = (uintptr_t)arg, *mine = make(seed);

    be_deaf();
    atomic_fetch_add(&ready, 1);
    CHECK_EQ(gmp_chan_recv(never, NULL), -EPIPE);
    look(mine, seed);
}

static void sleeps(void *arg)
{
    uint64_t seed = (uintptr_t)arg, *mine = make(seed);

    atomic_fetch_add(&ready, 1);
    while (!atomic_load(&stop)) {
        CHECK_OK(gmp_sleep(MS(3)));
        look(mine, seed);
    }
}

static void opens(void *arg)
{
    uint64_t seed = (uintptr_t)arg, *mine = make(seed);
    int fd;

    be_deaf();
    atomic_fetch_add(&ready, 1);
    CHECK((fd = gmp_open(fifo, O_RDONLY, 0)) >= 0);
    CHECK_OK(close(fd));
    look(mine, seed);
}

static void reads(void *arg)
{
    char byte;

    (void)arg;
    atomic_fetch_add(&ready, 1);
    CHECK_EQ(read(in[0], &byte, 1), 1);
    /* Ends the region, if there is one. */
    look(make(7), 7);
}

static void blocks(void *arg)
{
    uint64_t seed = (uintptr_t)arg, *mine = make(seed);

    CHECK_OK(gmp_blocking(reads, NULL));
    look(mine, seed);
}

static void *on_thread(void *arg)
{
    gmp_fn fn = *(gmp_fn *)arg;

    fn(arg);
    return NULL;
}

static void on_signal(int sig)
{
    (void)sig;
    atomic_fetch_add(&came, 1);
}

/* Collections until so many were made. */
static int collect(int wanted)
{
    int busy = 0;

    for (int made = 0; made < wanted;) {
        int rc = gmp_gc();

        CHECK(rc == 0 || rc == -EBUSY);
        made += rc == 0;
        busy += rc != 0;
        block_ns(MS(2));
    }
    return busy;
}

enum { EACH = 2 };

/* Starts each function on a thread and on a goroutine, and collects. */
static int beside(const gmp_fn *fns, int n, int cycles)
{
    static gmp_fn of_thread[16];
    pthread_t threads[16];
    gmp_g *gs[16];
    int busy;

    for (int i = 0; i < n; i++) {
        of_thread[i] = fns[i];
        CHECK_OK(pthread_create(&threads[i], NULL, on_thread, &of_thread[i]));
        CHECK_OK(gmp_go_with(NULL, fns[i], (void *)(uintptr_t)(i + 5), &gs[i]));
    }
    while (atomic_load(&ready) < EACH * n)
        block_ns(US(100));
    block_ns(MS(20));
    busy = collect(cycles);
    atomic_store(&stop, true);
    CHECK_OK(gmp_chan_close(never));
    CHECK_EQ(write(in[1], "xx", 2), 2);
    if (access(fifo, F_OK) == 0) {
        int fd = open(fifo, O_WRONLY);

        CHECK(fd >= 0);
        for (int i = 0; i < n; i++) {
            CHECK_OK(pthread_join(threads[i], NULL));
            CHECK_OK(gmp_join(gs[i]));
        }
        CHECK_OK(close(fd));
        CHECK_OK(unlink(fifo));
    } else {
        for (int i = 0; i < n; i++) {
            CHECK_OK(pthread_join(threads[i], NULL));
            CHECK_OK(gmp_join(gs[i]));
        }
    }
    return busy;
}

/* Has neither safe points nor system calls. */
static void *computes(void *arg)
{
    uint64_t *mine = make(3);

    (void)arg;
    atomic_fetch_add(&ready, 1);
    while (!atomic_load(&stop))
        spin_ns(US(50));
    look(mine, 3);
    return NULL;
}

static void busy(void)
{
    pthread_t thread;

    CHECK_OK(pthread_create(&thread, NULL, computes, NULL));
    while (atomic_load(&ready) < 1)
        block_ns(US(100));
    CHECK_EQ(gmp_gc(), -EBUSY);
    atomic_store(&stop, true);
    CHECK_OK(pthread_join(thread, NULL));
    CHECK_OK(gmp_gc());
}

/* It has no safe point, and its thread blocks the signal. */
static void never_stops(void *arg)
{
    sigset_t set, before;

    (void)arg;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR2);
    CHECK_OK(pthread_sigmask(SIG_BLOCK, &set, &before));
    atomic_fetch_add(&ready, 1);
    while (!atomic_load(&stop))
        spin_ns(US(50));
    CHECK_OK(pthread_sigmask(SIG_SETMASK, &before, NULL));
}

static void be_kept_by_a_goroutine(void)
{
    gmp_attr attr = GMP_ATTR_INIT;
    gmp_g *g;

    attr.name = "deaf\n";
    CHECK_OK(gmp_go_with(&attr, never_stops, NULL, &g));
    while (atomic_load(&ready) < 1)
        block_ns(US(100));
    CHECK_EQ(gmp_gc(), -EBUSY);
    atomic_store(&stop, true);
    CHECK_OK(gmp_join(g));
    CHECK_OK(gmp_gc());
}

int test_main(int argc, char **argv)
{
    static const gmp_fn all[] = {foreign, allocates, yields, receives,
                                 sleeps,  opens,     blocks};
    static const gmp_fn waiting[] = {receives, opens};
    const char *mode = argc > 1 ? argv[1] : "";
    struct sigaction action, now;
    int given_up;

    memset(&action, 0, sizeof action);
    action.sa_handler = on_signal;
    CHECK_OK(sigaction(SIGURG, &action, NULL));
    CHECK_OK(pipe(in));
    CHECK((never = gmp_chan_make(0, 0)) != NULL);
    snprintf(fifo, sizeof fifo, "/tmp/gmprt_calm_%d", (int)getpid());
    CHECK_OK(mkfifo(fifo, 0600));
    if (strcmp(mode, "calm") == 0) {
        given_up = beside(all, 7, CYCLES);
        CHECK_EQ(atomic_load(&interrupted), 0);
        CHECK_OK(sigaction(SIGURG, NULL, &now));
        CHECK(now.sa_handler == on_signal);
        printf("%d attempts were given up\n", given_up);
    } else if (strcmp(mode, "signals") == 0) {
        beside(all, 7, CYCLES);
        CHECK(atomic_load(&interrupted) > 0);
    } else if (strcmp(mode, "regions") == 0) {
        deaf = true;
        CHECK_EQ(beside(waiting, 2, CYCLES), 0);
    } else if (strcmp(mode, "deaf") == 0) {
        CHECK_OK(unlink(fifo));
        be_kept_by_a_goroutine();
    } else {
        CHECK_OK(unlink(fifo));
        busy();
    }
    CHECK_EQ(atomic_load(&came), 0);
    gmp_chan_unref(never);
    CHECK_OK(gmp_shutdown(gmp_after_ns(SEC(20))));
    return 0;
}
