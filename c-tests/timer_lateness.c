/* How late sleeps and timers are: the median and the 99th percentile of a
 * thousand each, of 1 to 10 ms. None is early; the rest is a report, for a
 * machine's load decides it. */
#include "test.h"

enum { ALL = 1000, SLEEPERS = 20 };

struct alarm {
    int64_t due, lateness;
};

static struct alarm alarms[ALL];
static atomic_int next, done;

static void note(struct alarm *alarm)
{
    alarm->lateness = gmp_now() - alarm->due;
    CHECK(alarm->lateness >= 0);
    atomic_fetch_add(&done, 1);
}

static int64_t span(int i)
{
    uint64_t seed = (uint64_t)i;

    return MS(1) + (int64_t)(next_random(&seed) % (uint64_t)MS(9));
}

/* Sleeps through what is left of the alarms, one after the other. */
static void sleep_for_each(void *arg)
{
    int i;

    while ((i = atomic_fetch_add(&next, 1)) < ALL) {
        alarms[i].due = gmp_after_ns(span(i));
        CHECK_OK(gmp_sleep(span(i)));
        note(&alarms[i]);
    }
}

static void receive_for_each(void *arg)
{
    gmp_chan *after;
    int i;

    while ((i = atomic_fetch_add(&next, 1)) < ALL) {
        alarms[i].due = gmp_after_ns(span(i));
        after = gmp_after(span(i));
        CHECK_OK(gmp_chan_recv(after, NULL));
        note(&alarms[i]);
        gmp_chan_unref(after);
    }
}

static void *sleep_on_thread(void *arg)
{
    sleep_for_each(arg);
    return NULL;
}

static void ring(void *arg)
{
    note(arg);
}

static int compare(const void *a, const void *b)
{
    const struct alarm *one = a, *two = b;

    return (one->lateness > two->lateness) - (one->lateness < two->lateness);
}

static void report(const char *what)
{
    AWAIT(atomic_load(&done) == ALL);
    qsort(alarms, ALL, sizeof *alarms, compare);
    printf("%-24s median %7.1f us, 99th percentile %8.1f us late\n", what,
           (double)alarms[ALL / 2].lateness / 1000,
           (double)alarms[ALL * 99 / 100].lateness / 1000);
    atomic_store(&next, 0);
    atomic_store(&done, 0);
}

static void goroutines(gmp_fn fn, const char *what)
{
    gmp_g *gs[SLEEPERS];

    for (int i = 0; i < SLEEPERS; i++)
        gs[i] = spawn(fn, NULL);
    for (int i = 0; i < SLEEPERS; i++)
        CHECK_OK(gmp_join(gs[i]));
    report(what);
}

static void threads(void)
{
    pthread_t all[SLEEPERS];

    for (int i = 0; i < SLEEPERS; i++)
        CHECK_OK(pthread_create(&all[i], NULL, sleep_on_thread, NULL));
    for (int i = 0; i < SLEEPERS; i++)
        CHECK_OK(pthread_join(all[i], NULL));
    report("sleeps of host threads");
}

/* Spread over a moment, so that they do not all come at once. */
static void timers(void)
{
    static gmp_timer *all[ALL];

    for (int i = 0; i < ALL; i++) {
        alarms[i].due = gmp_after_ns(span(i));
        all[i] = gmp_timer_start(span(i), 0, ring, &alarms[i]);
        CHECK(all[i] != NULL);
        if (i % 10 == 0)
            CHECK_OK(gmp_sleep(MS(1)));
    }
    report("timers");
    for (int i = 0; i < ALL; i++)
        gmp_timer_free(all[i]);
}

int test_main(int argc, char **argv)
{
    goroutines(sleep_for_each, "sleeps of goroutines");
    goroutines(receive_for_each, "channels of gmp_after");
    threads();
    timers();
    return 0;
}
