/* Who runs next on one processor: nobody who is ready is forgotten. */
#include "test.h"

enum { ROUNDS = 5000 };

static atomic_long turns[2];
static atomic_int started;
static atomic_bool stop;

static void take_turns(void *arg)
{
    intptr_t me = (intptr_t)arg;

    atomic_fetch_add(&started, 1);
    while (atomic_load(&started) < 2)
        gmp_yield();
    for (int i = 0; i < ROUNDS; i++) {
        atomic_fetch_add(&turns[me], 1);
        gmp_yield();
    }
    /* The other had its share when the first one is done. */
    CHECK(atomic_load(&turns[1 - me]) >= ROUNDS / 4);
}

static void yielders_share(void)
{
    gmp_g *a, *b;

    a = spawn(take_turns, (void *)0);
    b = spawn(take_turns, (void *)1);
    CHECK_OK(gmp_join(a));
    CHECK_OK(gmp_join(b));
}

struct pair {
    gmp_chan *there, *back;
};

/* Two that wake each other are each other's next for ever. */
static void ping(void *arg)
{
    struct pair *pair = arg;
    int ball = 0;

    while (!atomic_load(&stop)) {
        CHECK_OK(gmp_chan_send(pair->there, &ball));
        CHECK_OK(gmp_chan_recv(pair->back, &ball));
    }
    CHECK_OK(gmp_chan_close(pair->there));
}

static void pong(void *arg)
{
    struct pair *pair = arg;
    int ball;

    while (gmp_chan_recv(pair->there, &ball) == 0)
        CHECK_OK(gmp_chan_send(pair->back, &ball));
}

static void yield_all_the_time(void *arg)
{
    while (!atomic_load(&stop))
        gmp_yield();
}

static void checkpoint_all_the_time(void *arg)
{
    while (!atomic_load(&stop))
        gmp_checkpoint();
}

static void set_flag(void *arg)
{
    atomic_store((atomic_bool *)arg, true);
}

static void start_local(void *arg)
{
    CHECK_OK(gmp_go(set_flag, arg));
    gmp_yield();
}

/* With `busy` running, a goroutine from a host thread, which goes to the
 * global queue, and one from a goroutine, which goes to the local one, both
 * come to run. */
static void newcomers_run(gmp_fn busy, gmp_fn partner, void *arg)
{
    atomic_bool global = false, local = false;
    gmp_g *a, *b = NULL;

    atomic_store(&stop, false);
    a = spawn(busy, arg);
    if (partner)
        b = spawn(partner, arg);
    block_ns(MS(2));
    CHECK_OK(gmp_go(set_flag, &global));
    CHECK_OK(gmp_go(start_local, &local));
    while (!atomic_load(&global) || !atomic_load(&local))
        block_ns(US(200));
    atomic_store(&stop, true);
    CHECK_OK(gmp_join(a));
    if (b)
        CHECK_OK(gmp_join(b));
}

static void nothing(void *arg)
{
}

/* Whoever starts more than fit a P's queue and yields comes behind them, and
 * not behind a few of them. */
static void start_and_yield(void *arg)
{
    for (int round = 0; round < 60; round++) {
        for (int i = 0; i < 1000; i++)
            CHECK_OK(gmp_go(nothing, NULL));
        gmp_yield();
        CHECK(gmp_num_goroutines() < 10000);
    }
}

int test_main(int argc, char **argv)
{
    /* The last rounds go on until the process ends. */
    static struct pair pair;

    pair = (struct pair){gmp_chan_make(sizeof(int), 0),
                         gmp_chan_make(sizeof(int), 0)};
    gmp_set_maxprocs(1);
    yielders_share();
    newcomers_run(ping, pong, &pair);
    newcomers_run(yield_all_the_time, yield_all_the_time, NULL);
    newcomers_run(checkpoint_all_the_time, NULL, NULL);
    CHECK_OK(gmp_join(spawn(start_and_yield, NULL)));
    return 0;
}
