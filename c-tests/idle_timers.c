/* A process that waits for a far point in time, in all the ways there are,
 * costs nothing until then: no thread of it wakes up meanwhile. Timers that
 * were stopped or put off may be remembered until the time that they had, and
 * no longer. */
#include "test.h"

/* The scavenger works until the second second in which a stack is idle ends,
 * and the first may begin late. */
enum { SETTLE_MS = 4000, WATCH_MS = 2000, STOPPED = 40 };

#define FAR SEC(3600)

static atomic_int early;

static void fire(void *arg)
{
    atomic_fetch_add(&early, 1);
}

static void sleep_long(void *arg)
{
    CHECK_EQ(gmp_sleep(FAR), -ECANCELED);
}

static void receive_long(void *ch)
{
    CHECK_EQ(gmp_chan_recv_until(ch, NULL, gmp_after_ns(FAR)), -ECANCELED);
}

static void select_long(void *ch)
{
    gmp_chan *timeout = gmp_after(FAR);
    gmp_case cases[] = {{ch, NULL, GMP_RECV, 0}, {timeout, NULL, GMP_RECV, 0}};

    CHECK_EQ(gmp_select(cases, 2), -ECANCELED);
    gmp_chan_unref(timeout);
}

static void *receive_on_thread(void *ch)
{
    CHECK_EQ(gmp_chan_recv_until(ch, NULL, gmp_after_ns(FAR)), -EPIPE);
    return NULL;
}

/* What would fire soon, and the ticking ones while we watch, too. */
static void stop_early_ones(void *arg)
{
    gmp_timer **timers = arg;

    for (int i = 0; i < STOPPED; i++) {
        int64_t ns = MS(SETTLE_MS / 4 + i);
        gmp_chan *ticker = gmp_tick(MS(5)), *after = gmp_after(ns);

        timers[i] = gmp_timer_start(ns, i % 2 ? MS(1) : 0, fire, NULL);
        CHECK(timers[i] != NULL);
        if (i % 4 < 2)
            CHECK_EQ(gmp_timer_stop(timers[i]), 1);
        else
            CHECK_OK(gmp_timer_reset(timers[i], FAR));
        if (i % 2)
            CHECK_OK(gmp_chan_close(ticker));
        gmp_chan_unref(ticker);
        gmp_chan_unref(after);
    }
}

static int64_t cpu_time(void)
{
    struct timespec ts;

    CHECK_OK(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts));
    return SEC(ts.tv_sec) + ts.tv_nsec;
}

static void watch(void)
{
    int64_t cpu;
    long switches;

    block_ns(MS(SETTLE_MS)); /* whatever runs after work */
    switches = context_switches();
    cpu = cpu_time();
    block_ns(MS(WATCH_MS));
    cpu = cpu_time() - cpu;
    switches = context_switches() - switches;
    printf("%ld context switches of %d threads, %lld us of CPU in %d ms\n",
           switches, count_threads(), (long long)cpu / 1000, WATCH_MS);
    CHECK(switches <= 5);
    CHECK(cpu < MS(WATCH_MS) / 10);
    CHECK_EQ(atomic_load(&early), 0);
}

int test_main(int argc, char **argv)
{
    gmp_chan *ch = gmp_chan_make(0, 0), *ticker = gmp_tick(FAR);
    gmp_g *waiters[3] = {spawn(sleep_long, NULL), spawn(receive_long, ch),
                         spawn(select_long, ch)};
    gmp_timer *timers[STOPPED], *once, *ticking;
    pthread_t thread;

    CHECK_OK(pthread_create(&thread, NULL, receive_on_thread, ch));
    once = gmp_timer_start(FAR, 0, fire, NULL);
    ticking = gmp_timer_start(FAR, MS(1), fire, NULL);
    CHECK_OK(gmp_join(spawn(stop_early_ones, timers)));
    watch();
    CHECK_EQ(gmp_timer_stop(once), 1);
    CHECK_EQ(gmp_timer_stop(ticking), 1);
    gmp_timer_free(once);
    gmp_timer_free(ticking);
    for (int i = 0; i < STOPPED; i++)
        gmp_timer_free(timers[i]);
    for (int i = 0; i < 3; i++) {
        CHECK_OK(gmp_cancel(waiters[i]));
        CHECK_OK(gmp_join(waiters[i]));
    }
    CHECK_OK(gmp_chan_close(ch));
    CHECK_OK(pthread_join(thread, NULL));
    gmp_chan_unref(ch);
    gmp_chan_unref(ticker);
    return 0;
}
