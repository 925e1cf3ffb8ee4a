/* gmp_lock_os_thread: a goroutine and its thread, nobody else's. */
#include "test.h"

enum { LOCKED = 4, ROUNDS = 100 };

static _Atomic long owners[LOCKED];
static atomic_bool stop;

static void yield_once(void *arg)
{
    gmp_yield();
}

static void stay(int rounds)
{
    long tid = thread_id();

    for (int i = 0; i < rounds; i++) {
        gmp_yield();
        CHECK_EQ(thread_id(), tid);
        if (i % 10 == 0)
            CHECK_OK(gmp_sleep(US(50)));
        CHECK_EQ(thread_id(), tid);
        if (i % 30 == 0)
            block_ns(US(50));
        CHECK_OK(gmp_blocking(yield_once, NULL));
        CHECK_EQ(thread_id(), tid);
    }
}

static void keep_thread(void *arg)
{
    intptr_t i = (intptr_t)arg;

    CHECK_OK(gmp_lock_os_thread());
    atomic_store(&owners[i], thread_id());
    stay(ROUNDS);
    CHECK_OK(gmp_lock_os_thread());
    CHECK_OK(gmp_unlock_os_thread());
    stay(ROUNDS); /* locks nest */
    atomic_store(&owners[i], 0);
    CHECK_OK(gmp_unlock_os_thread());
}

/* Runs wherever it is put, but never on a locked goroutine's thread. */
static void roam(void *arg)
{
    while (!atomic_load(&stop)) {
        for (int i = 0; i < LOCKED; i++)
            CHECK(atomic_load(&owners[i]) != thread_id());
        gmp_yield();
    }
}

static void locked_threads_are_their_own(void)
{
    gmp_g *locked[LOCKED], *others[8];

    for (int i = 0; i < 8; i++)
        others[i] = spawn(roam, NULL);
    for (intptr_t i = 0; i < LOCKED; i++)
        locked[i] = spawn(keep_thread, (void *)i);
    for (int i = 0; i < LOCKED; i++)
        CHECK_OK(gmp_join(locked[i]));
    atomic_store(&stop, true);
    for (int i = 0; i < 8; i++)
        CHECK_OK(gmp_join(others[i]));
}

static gmp_chan *gate;

static void end_locked(void *arg)
{
    CHECK_OK(gmp_lock_os_thread());
    CHECK_OK(gmp_lock_os_thread());
    *(long *)arg = thread_id();
    CHECK_EQ(gmp_chan_recv(gate, NULL), -EPIPE);
}

static int how_many_live(const long *tids)
{
    char path[64];
    int n = 0;

    for (int i = 0; i < LOCKED; i++) {
        snprintf(path, sizeof path, "/proc/self/task/%ld", tids[i]);
        n += access(path, F_OK) == 0;
    }
    return n;
}

/* The thread may have been changed for good, so it ends too; only the first
 * thread of the runtime may stay. */
static void ending_locked_ends_the_thread(void)
{
    gmp_g *gs[LOCKED];
    long tids[LOCKED] = {0};

    gate = gmp_chan_make(0, 0);
    for (int i = 0; i < LOCKED; i++)
        gs[i] = spawn(end_locked, &tids[i]);
    CHECK_OK(gmp_sleep(MS(5)));
    CHECK_OK(gmp_chan_close(gate));
    for (int i = 0; i < LOCKED; i++)
        CHECK_OK(gmp_join(gs[i]));
    for (int i = 0; i < LOCKED; i++)
        for (int j = 0; j < i; j++)
            CHECK(tids[i] != tids[j]);
    AWAIT(how_many_live(tids) <= 1);
    gmp_chan_unref(gate);
}

/* The child cannot run on its parent's thread. */
static void differ_from(void *arg)
{
    CHECK(thread_id() != *(long *)arg);
}

static void start_another(void *arg)
{
    long tid;

    CHECK_OK(gmp_lock_os_thread());
    tid = thread_id();
    CHECK_OK(gmp_join(spawn(differ_from, &tid)));
    CHECK_EQ(thread_id(), tid);
    CHECK_OK(gmp_unlock_os_thread());
}

/* Two that are locked and wake each other in turn hand over each time. */
struct match {
    gmp_chan *there, *back;
};

static void serve(void *arg)
{
    struct match *match = arg;

    CHECK_OK(gmp_lock_os_thread());
    for (int i = 0; i < ROUNDS; i++) {
        CHECK_OK(gmp_chan_send(match->there, &i));
        CHECK_OK(gmp_chan_recv(match->back, NULL));
    }
}

static void give_back(void *arg)
{
    struct match *match = arg;
    int value;

    CHECK_OK(gmp_lock_os_thread());
    for (int i = 0; i < ROUNDS; i++) {
        CHECK_OK(gmp_chan_recv(match->there, &value));
        CHECK_EQ(value, i);
        CHECK_OK(gmp_chan_send(match->back, &value));
    }
}

static void locked_ones_meet(void)
{
    struct match match = {gmp_chan_make(sizeof(int), 0),
                          gmp_chan_make(sizeof(int), 0)};
    gmp_g *a = spawn(serve, &match), *b = spawn(give_back, &match);

    CHECK_OK(gmp_join(a));
    CHECK_OK(gmp_join(b));
    gmp_chan_unref(match.there);
    gmp_chan_unref(match.back);
}

int test_main(int argc, char **argv)
{
    locked_threads_are_their_own();
    ending_locked_ends_the_thread();
    for (int i = 0; i < 20; i++)
        CHECK_OK(gmp_join(spawn(start_another, NULL)));
    locked_ones_meet();
    return 0;
}
