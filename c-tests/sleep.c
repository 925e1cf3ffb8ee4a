/* Sleeping: never too short, in order, and at nobody else's expense. */
#include "test.h"

enum { SLEEPERS = 1000 };

static void never_too_short(void *arg)
{
    static const int64_t spans[] = {1, US(1), US(50), MS(1), MS(7)};
    int64_t start;

    for (size_t i = 0; i < sizeof spans / sizeof *spans; i++) {
        start = gmp_now();
        CHECK_OK(gmp_sleep(spans[i]));
        CHECK(gmp_now() - start >= spans[i]);
        start = gmp_after_ns(spans[i]);
        CHECK_OK(gmp_sleep_until(start));
        CHECK(gmp_now() >= start);
    }
}

static void past_is_now(void *arg)
{
    static const int64_t past[] = {0, -1, MS(-1), INT64_MIN};
    int64_t start = gmp_now();

    for (size_t i = 0; i < sizeof past / sizeof *past; i++) {
        CHECK_OK(gmp_sleep(past[i]));
        CHECK_OK(gmp_sleep_until(past[i]));
    }
    CHECK_OK(gmp_sleep_until(gmp_now() - 1));
    CHECK(gmp_now() - start < SEC(10));
}

static void clock_goes_forward(void)
{
    int64_t last = gmp_now();
    struct timespec ts;

    for (int i = 0; i < 10000; i++) {
        int64_t now = gmp_now();

        CHECK(now >= last);
        last = now;
    }
    CHECK_OK(clock_gettime(CLOCK_MONOTONIC, &ts));
    CHECK(SEC(ts.tv_sec) + ts.tv_nsec >= last);
    CHECK_EQ(gmp_after_ns(INT64_MAX), GMP_FOREVER);
    CHECK(gmp_after_ns(SEC(1)) > last);
    CHECK(gmp_after_ns(INT64_MIN) < last);
}

static gmp_chan *woken;

static void sleep_and_tell(void *arg)
{
    CHECK_OK(gmp_sleep(MS(15) * *(int *)arg));
    CHECK_OK(gmp_chan_send(woken, arg));
}

static bool wake_in_order(void)
{
    static int shuffled[] = {3, 1, 4, 2, 5};
    gmp_g *gs[5];
    bool ordered = true;
    int who;

    woken = gmp_chan_make(sizeof(int), 5);
    for (int i = 0; i < 5; i++)
        gs[i] = spawn(sleep_and_tell, &shuffled[i]);
    for (int i = 0; i < 5; i++) {
        CHECK_OK(gmp_chan_recv(woken, &who));
        ordered = ordered && who == i + 1;
    }
    for (int i = 0; i < 5; i++)
        CHECK_OK(gmp_join(gs[i]));
    gmp_chan_unref(woken);
    return ordered;
}

static void sleep_a_little(void *arg)
{
    int64_t deadline = gmp_after_ns(US(100) * ((intptr_t)arg % 300));

    CHECK_OK(gmp_sleep_until(deadline));
    CHECK(gmp_now() >= deadline);
}

static void many_sleep(void)
{
    static gmp_g *gs[SLEEPERS];

    for (intptr_t i = 0; i < SLEEPERS; i++)
        gs[i] = spawn(sleep_a_little, (void *)(i * 7919));
    for (int i = 0; i < SLEEPERS; i++)
        CHECK_OK(gmp_join(gs[i]));
}

static void sleep_long(void *arg)
{
    CHECK_OK(gmp_sleep(INT64_MAX));
}

static void count_turns(void *arg)
{
    for (int i = 0; i < 1000; i++) {
        (*(int *)arg)++;
        gmp_yield();
    }
}

static void sleepers_hold_nobody_up(void)
{
    int procs = gmp_set_maxprocs(1), turns = 0;

    for (int i = 0; i < 10; i++)
        CHECK_OK(gmp_go(sleep_long, NULL));
    CHECK_OK(gmp_join(spawn(count_turns, &turns)));
    CHECK_EQ(turns, 1000);
    gmp_set_maxprocs(procs);
}

int test_main(int argc, char **argv)
{
    clock_goes_forward();
    never_too_short(NULL);
    past_is_now(NULL);
    CHECK_OK(gmp_join(spawn(never_too_short, NULL)));
    CHECK_OK(gmp_join(spawn(past_is_now, NULL)));
    /* A loaded machine may hold one sleeper up, but not each time. */
    for (int tries = 0; !wake_in_order(); tries++)
        CHECK(tries < 3);
    many_sleep();
    sleepers_hold_nobody_up();
    return 0;
}
