/* How long a goroutine in the global queue waits for those that yield: one
 * that a host thread has started, or woken, runs after one or two yields, and
 * not after as many as there are others, however many yield. Of several, each
 * comes one or two yields after the one before it. */
#include "test.h"

/* BACKGROUND: how much longer it may take if a goroutine of the runtime's own
 * waits before it. */
enum { MOST_ROUNDS = 200, MOST = 3, BACKGROUND = 2, BURST = 8 };

#define ROUNDS test_times(MOST_ROUNDS)

static atomic_bool stop, queued, ran;
static atomic_int up;
static atomic_long passed;
static gmp_chan *gate;

/* Counts the yields that return while somebody is queued. */
static void yield_all_the_time(void *arg)
{
    if (arg)
        CHECK_OK(gmp_lock_os_thread());
    atomic_fetch_add(&up, 1);
    while (!atomic_load(&stop)) {
        gmp_yield();
        if (atomic_load(&queued) && !atomic_load(&ran))
            atomic_fetch_add(&passed, 1);
    }
    if (arg)
        CHECK_OK(gmp_unlock_os_thread());
}

static void run(void *arg)
{
    atomic_store(&ran, true);
}

static void be_woken(void *arg)
{
    while (gmp_chan_recv(gate, NULL) == 0)
        atomic_store(&ran, true);
}

static int by_size(const void *a, const void *b)
{
    long x = *(const long *)a, y = *(const long *)b;

    return (x > y) - (x < y);
}

/* One round: how many yields passed. */
static long pass(bool wake)
{
    atomic_store(&passed, 0);
    atomic_store(&ran, false);
    if (wake)
        CHECK_OK(gmp_chan_send(gate, NULL));
    else
        CHECK_OK(gmp_go(run, NULL));
    atomic_store(&queued, true);
    while (!atomic_load(&ran))
        block_ns(US(20));
    atomic_store(&queued, false);
    return atomic_load(&passed);
}

static void turns(int yielders, bool locked, bool wake)
{
    static gmp_g *gs[200];
    static long each[MOST_ROUNDS];
    int procs = gmp_set_maxprocs(0);
    gmp_g *woken = NULL;
    long middle, most;

    atomic_store(&stop, false);
    atomic_store(&up, 0);
    if (wake)
        woken = spawn(be_woken, NULL);
    for (int i = 0; i < yielders; i++)
        gs[i] = spawn(yield_all_the_time, locked ? gs : NULL);
    while (atomic_load(&up) < yielders)
        block_ns(MS(1));
    block_ns(MS(20));
    for (int i = 0; i < ROUNDS; i++) {
        block_ns(US(100));
        each[i] = pass(wake);
    }
    qsort(each, ROUNDS, sizeof each[0], by_size);
    /* One processor: all of them. Several: while the kernel lets none run that
     * looks, the others count on. */
    middle = each[ROUNDS / 2];
    most = procs == 1 ? each[ROUNDS - 1] : 0;
    printf("%d %s%s: %ld yields, %ld at most\n", yielders,
           locked ? "locked" : "free", wake ? ", woken" : "", middle,
           each[ROUNDS - 1]);
    /* A tool has turns of its own. */
    CHECK(middle <= MOST * procs || test_under(NULL));
    CHECK(most <= MOST + BACKGROUND || test_under(NULL));
    atomic_store(&stop, true);
    for (int i = 0; i < yielders; i++)
        CHECK_OK(gmp_join(gs[i]));
    if (wake) {
        CHECK_OK(gmp_chan_close(gate));
        CHECK_OK(gmp_join(woken));
    }
}

static long passed_at[BURST];
static atomic_int nran;

static void run_in_burst(void *arg)
{
    passed_at[(long *)arg - passed_at] = atomic_load(&passed);
    atomic_store(&ran, atomic_fetch_add(&nran, 1) + 1 == BURST);
}

static void *start_burst(void *arg)
{
    for (int i = 0; i < BURST; i++)
        CHECK_OK(gmp_go(run_in_burst, &passed_at[i]));
    return NULL;
}

/* Has a thread start some, and begins to yield once all wait. If the thread
 * takes long, the P is taken from here, and they run before. */
static void await_burst(void *arg)
{
    pthread_t thread;

    atomic_store(&nran, 0);
    atomic_store(&ran, false);
    atomic_store(&passed, 0);
    CHECK_OK(pthread_create(&thread, NULL, start_burst, NULL));
    CHECK_OK(pthread_join(thread, NULL));
    atomic_store(&queued, true);
    while (!atomic_load(&ran))
        gmp_yield();
    atomic_store(&queued, false);
}

/* With one processor: several that wait at once, beside yielders. */
static void burst_beside(int yielders, bool locked)
{
    static gmp_g *gs[200];
    int waited = 0;

    atomic_store(&stop, false);
    atomic_store(&up, 0);
    for (int i = 0; i < yielders; i++)
        gs[i] = spawn(yield_all_the_time, locked ? gs : NULL);
    while (atomic_load(&up) < yielders)
        block_ns(MS(1));
    for (int i = 0; i < ROUNDS || waited == 0; i++) {
        CHECK_OK(gmp_join(spawn(await_burst, NULL)));
        for (int k = 0; k < BURST; k++)
            CHECK(passed_at[k] <= MOST * (k + 1) + BACKGROUND ||
                  test_under(NULL));
        waited += passed_at[BURST - 1] > 0;
    }
    atomic_store(&stop, true);
    for (int i = 0; i < yielders; i++)
        CHECK_OK(gmp_join(gs[i]));
}

static atomic_long waits;

static void count_down(void *arg)
{
    atomic_fetch_sub(&waits, 1);
}

static void *hundred(void *arg)
{
    for (int i = 0; i < 100; i++)
        CHECK_OK(gmp_go(count_down, NULL));
    return NULL;
}

/* A lone yielder comes behind all that a thread has started. */
static void behind_a_hundred(void *arg)
{
    pthread_t thread;

    atomic_store(&waits, 100);
    CHECK_OK(pthread_create(&thread, NULL, hundred, NULL));
    CHECK_OK(pthread_join(thread, NULL));
    gmp_yield();
    CHECK_EQ(atomic_load(&waits), 0);
}

int test_main(int argc, char **argv)
{
    static const int many[] = {1, 2, 3, 5, 20, 200};

    for (size_t i = 0; i < sizeof many / sizeof many[0]; i++) {
        turns(many[i], false, false);
        gate = gmp_chan_make(0, 1);
        turns(many[i], false, true);
        gmp_chan_unref(gate);
    }
    turns(1, true, false);
    turns(3, true, false);
    turns(10, true, false);
    gmp_set_maxprocs(1);
    burst_beside(200, false);
    burst_beside(40, true);
    CHECK_OK(gmp_join(spawn(behind_a_hundred, NULL)));
    return 0;
}
