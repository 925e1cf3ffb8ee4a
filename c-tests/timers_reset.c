/* Timers that are put off: their functions do not begin after the reset. */
#include "test.h"

enum { RACES = 3000, FLOCK = 50 };

#define FAR SEC(3600)

/* Waits until the functions that have begun have ended; what is wrong in
 * spite of a stop has a moment to show itself. */
static void settle(int64_t goroutines)
{
    AWAIT(gmp_num_goroutines() <= goroutines);
    CHECK_OK(gmp_sleep(MS(1)));
    AWAIT(gmp_num_goroutines() <= goroutines);
}

static int below(uint64_t *seed, int n)
{
    return (int)(next_random(seed) % (uint64_t)n);
}

/* A timer that is put off for an hour. */
struct delay {
    gmp_timer *timer;
    atomic_bool put_off; /* the reset has returned */
    atomic_int runs, late;
};

static struct delay delays[RACES];
static atomic_int leaders; /* that put all off; many while we start */
static void note_lateness(void *arg)
{
    struct delay *delay = arg;

    delay->late += delay->put_off;
    delay->runs++;
}

static void put_off(struct delay *delay)
{
    CHECK_OK(gmp_timer_reset(delay->timer, FAR));
    atomic_store(&delay->put_off, true);
}

static void put_all_off(void *arg)
{
    note_lateness(arg);
    if (atomic_fetch_add(&leaders, 1) == 0)
        for (int i = 0; i < FLOCK; i++)
            put_off(&delays[i]);
}

/* No function begins after the reset. How many ran before. One that had begun
 * may take note of the time only afterwards, if its thread is held up within a
 * few instructions: that is rare. */
static int judge_delays(int n, int64_t goroutines)
{
    int late = 0, runs = 0;

    for (int i = 0; i < n; i++)
        AWAIT(delays[i].put_off || delays[i].runs);
    settle(goroutines);
    for (int i = 0; i < n; i++) {
        late += delays[i].late;
        runs += delays[i].runs;
        CHECK_EQ(gmp_timer_stop(delays[i].timer), delays[i].put_off);
        CHECK_EQ(gmp_timer_stop(delays[i].timer), 0);
        gmp_timer_free(delays[i].timer);
    }
    CHECK(late <= n / 10);
    memset(delays, 0, sizeof delays);
    return runs;
}

static int put_off_each(void)
{
    int64_t goroutines = gmp_num_goroutines();
    uint64_t seed = (uint64_t)goroutines;

    for (int i = 0; i < RACES; i++) {
        delays[i].timer = gmp_timer_start(US(below(&seed, 20)),
                                          below(&seed, 3) ? 0 : US(10),
                                          note_lateness, &delays[i]);
        spin_ns(US(below(&seed, below(&seed, 5) ? 25 : 150)));
        put_off(&delays[i]);
        if (below(&seed, 4) == 0)
            gmp_yield();
    }
    return judge_delays(RACES, goroutines);
}

static void reset_is_exact(void *arg)
{
    /* Until some were not in time. */
    while (put_off_each() == 0)
        ;
}

/* They fire at once, and with one processor they are all on their way when
 * the first one begins. */
static void reset_takes_back(void *arg)
{
    int64_t goroutines = gmp_num_goroutines(), due;
    int procs = gmp_set_maxprocs(1);

    for (int round = 0; round < 10; round++) {
        atomic_store(&leaders, FLOCK);
        due = gmp_after_ns(MS(1));
        for (int i = 0; i < FLOCK; i++)
            delays[i].timer = gmp_timer_start(due - gmp_now(), 0,
                                              put_all_off, &delays[i]);
        atomic_store(&leaders, 0);
        CHECK(judge_delays(FLOCK, goroutines) > 0);
    }
    gmp_set_maxprocs(procs);
}

int test_main(int argc, char **argv)
{
    reset_is_exact(NULL);
    reset_takes_back(NULL);
    CHECK_OK(gmp_join(spawn(reset_is_exact, NULL)));
    CHECK_OK(gmp_join(spawn(reset_takes_back, NULL)));
    return 0;
}
