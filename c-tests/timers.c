/* Timers: never early, stopped and reset exactly, freed at any time, from
 * goroutines and host threads. */
#include "test.h"

enum { RACES = 3000, MOST = 100000 };

/* ThreadSanitizer knows 8,128 goroutines at a time. */
#define MANY (test_under("tsan") ? 4000 : test_times(MOST))

#define FAR SEC(3600)

/* A timer, and what its runs note. */
struct bell {
    _Atomic(gmp_timer *) timer; /* set after the start: a run may be first */
    int64_t due;                /* no run begins earlier */
    int64_t period;
    int last; /* the run in which it stops itself, if not 0 */
    atomic_int rings, inside;
    atomic_int stops; /* that said 1 */
};

static atomic_int all_rings;

static void ring(void *arg)
{
    struct bell *bell = arg;

    CHECK(gmp_now() >= bell->due);
    atomic_fetch_add(&bell->rings, 1);
    atomic_fetch_add(&all_rings, 1);
}

static gmp_timer *start(struct bell *bell, int64_t ns, gmp_fn fn)
{
    gmp_timer *timer;

    bell->due = gmp_after_ns(ns);
    timer = gmp_timer_start(ns, bell->period, fn, bell);
    CHECK(timer != NULL);
    atomic_store(&bell->timer, timer);
    return timer;
}

static void reset(struct bell *bell, int64_t ns)
{
    bell->due = gmp_after_ns(ns);
    CHECK_OK(gmp_timer_reset(atomic_load(&bell->timer), ns));
}

/* Its timer, for a function that may run before start has returned. */
static gmp_timer *timer_of(struct bell *bell)
{
    while (atomic_load(&bell->timer) == NULL)
        gmp_yield();
    return atomic_load(&bell->timer);
}

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

static void fires_once(void *arg)
{
    static const int64_t spans[] = {INT64_MIN, -1, 0, 1, US(50), MS(3)};
    int64_t goroutines = gmp_num_goroutines();

    for (size_t i = 0; i < sizeof spans / sizeof *spans; i++) {
        struct bell bell = {.period = 0};
        gmp_timer *timer = start(&bell, spans[i], ring);

        AWAIT(atomic_load(&bell.rings) > 0);
        CHECK_EQ(gmp_timer_stop(timer), 0);
        settle(goroutines);
        CHECK_EQ(atomic_load(&bell.rings), 1);
        gmp_timer_free(timer);
    }
}

static void stops_once(void *arg)
{
    static const int64_t spans[] = {SEC(60), FAR, INT64_MAX};

    for (int i = 0; i < 3; i++) {
        struct bell bell = {.period = i == 1 ? MS(1) : 0};
        gmp_timer *timer = start(&bell, spans[i], ring);

        CHECK_EQ(gmp_timer_stop(timer), 1);
        CHECK_EQ(gmp_timer_stop(timer), 0);
        CHECK_EQ(atomic_load(&bell.rings), 0);
        gmp_timer_free(timer);
    }
}

static void mistakes_are_errors(void *arg)
{
    CHECK(gmp_timer_start(1, 0, NULL, arg) == NULL);
    CHECK(gmp_timer_start(1, -1, ring, arg) == NULL);
    CHECK(gmp_timer_start(1, INT64_MIN, ring, arg) == NULL);
    CHECK_EQ(gmp_timer_stop(NULL), -EINVAL);
    CHECK_EQ(gmp_timer_reset(NULL, 1), -EINVAL);
    gmp_timer_free(NULL);
}

static void bring(void *ch)
{
    uint64_t me = gmp_goid();

    CHECK(gmp_self() != NULL && me != 0);
    CHECK_OK(gmp_sleep(US(10)));
    CHECK_OK(gmp_chan_send(ch, &me));
}

static void fetch(void *ch)
{
    uint64_t other;

    CHECK_OK(gmp_chan_recv(ch, &other));
    CHECK(gmp_goid() != other);
    atomic_store(&all_rings, 1);
}

/* Two that wait for each other. */
static void runs_on_its_own_goroutine(void *arg)
{
    int64_t goroutines = gmp_num_goroutines();
    gmp_chan *ch = gmp_chan_make(sizeof(uint64_t), 0);
    gmp_timer *one, *two;

    atomic_store(&all_rings, 0);
    one = gmp_timer_start(0, 0, bring, ch);
    two = gmp_timer_start(0, 0, fetch, ch);
    AWAIT(atomic_load(&all_rings) == 1);
    settle(goroutines);
    gmp_timer_free(one);
    gmp_timer_free(two);
    gmp_chan_unref(ch);
}

/* Run n comes n periods after the first one at the soonest, and after the end
 * of the one before. Some runs take longer than the period. */
static void keep_pace(void *arg)
{
    struct bell *bell = arg;
    int n = atomic_load(&bell->rings);

    CHECK(gmp_now() >= bell->due + n * bell->period);
    CHECK_EQ(atomic_fetch_add(&bell->inside, 1), 0);
    if (n % 4 == 1)
        CHECK_OK(gmp_sleep(bell->period * 5 / 2));
    if (n > 0 && n == bell->last)
        CHECK_EQ(gmp_timer_stop(timer_of(bell)), 1);
    CHECK_EQ(atomic_fetch_sub(&bell->inside, 1), 1);
    atomic_fetch_add(&bell->rings, 1);
}

static void ticks(void *arg)
{
    static const int64_t periods[] = {US(20), US(900), US(50)};
    int64_t goroutines = gmp_num_goroutines();

    for (int i = 0; i < 3; i++) {
        struct bell bell = {.period = periods[i], .last = i < 2 ? 0 : 19};
        gmp_timer *timer = start(&bell, US(500), keep_pace);
        int rings;

        AWAIT(atomic_load(&bell.rings) >= 20);
        if (i < 2)
            CHECK_EQ(gmp_timer_stop(timer), 1); /* the next tick is pending */
        CHECK_EQ(gmp_timer_stop(timer), 0);
        settle(goroutines);
        rings = atomic_load(&bell.rings);
        CHECK(i < 2 || rings == 20);
        CHECK_OK(gmp_sleep(MS(3)));
        CHECK_EQ(atomic_load(&bell.rings), rings);
        gmp_timer_free(timer);
    }
}

static gmp_chan *gate;
static _Atomic int64_t released;
/* The first run lasts until the gate opens. The tick of run 1 may have come
 * a moment before that, late as it was; no other one is an old one. */
static void linger_first(void *arg)
{
    struct bell *bell = arg;
    int n = atomic_load(&bell->rings);

    if (n > 1)
        CHECK(gmp_now() >= atomic_load(&released) + (n - 2) * bell->period);
    atomic_fetch_add(&bell->rings, 1);
    if (n > 0)
        return;
    CHECK_EQ(gmp_chan_recv(gate, NULL), -EPIPE);
    atomic_store(&released, gmp_now());
}

static void misses_ticks(void *arg)
{
    int64_t goroutines = gmp_num_goroutines();
    struct bell bell = {.period = MS(1)};
    gmp_timer *timer;

    gate = gmp_chan_make(0, 0);
    timer = start(&bell, 0, linger_first);
    AWAIT(atomic_load(&bell.rings) == 1);
    CHECK_OK(gmp_sleep(MS(20)));
    CHECK_EQ(atomic_load(&bell.rings), 1);
    CHECK_OK(gmp_chan_close(gate));
    AWAIT(atomic_load(&bell.rings) >= 12);
    gmp_timer_free(timer);
    settle(goroutines);
    gmp_chan_unref(gate);
}

static void linger(void *arg)
{
    struct bell *bell = arg;

    atomic_fetch_add(&bell->rings, 1);
    CHECK_EQ(gmp_chan_recv(gate, NULL), -EPIPE);
    atomic_fetch_add(&bell->inside, 1);
}

static gmp_timer *start_lingering(struct bell *bell)
{
    gmp_timer *timer;

    gate = gmp_chan_make(0, 0);
    timer = start(bell, 0, linger);
    AWAIT(atomic_load(&bell->rings) == 1);
    return timer;
}

static void let_go(struct bell *bell, int runs, int64_t goroutines)
{
    CHECK_EQ(atomic_load(&bell->rings), 1);
    CHECK_EQ(atomic_load(&bell->inside), 0);
    CHECK_OK(gmp_chan_close(gate));
    AWAIT(atomic_load(&bell->inside) == runs);
    settle(goroutines);
    CHECK_EQ(atomic_load(&bell->rings), runs);
    gmp_chan_unref(gate);
}

/* Whatever is done to the timer while its function runs does not wait for
 * that function, and is the end of it. */
static void ended_while_it_runs(void *arg)
{
    int64_t goroutines = gmp_num_goroutines();

    for (int i = 0; i < 6; i++) {
        struct bell bell = {.period = i % 2 ? US(10) : 0};
        gmp_timer *timer = start_lingering(&bell);

        if (i < 4)
            CHECK_EQ(gmp_timer_stop(timer), i % 2);
        if (i >= 2)
            gmp_timer_free(timer);
        let_go(&bell, 1, goroutines);
        if (i < 2)
            gmp_timer_free(timer);
    }
}

/* One that fires once, and is due again while it runs, runs again after that;
 * unless it is stopped in time. */
static void due_while_it_runs(void *arg)
{
    int64_t goroutines = gmp_num_goroutines();

    for (int again = 0; again < 2; again++) {
        struct bell bell = {.period = 0};
        gmp_timer *timer = start_lingering(&bell);

        CHECK_OK(gmp_timer_reset(timer, 0));
        CHECK_OK(gmp_sleep(MS(1)));
        if (!again)
            CHECK_EQ(gmp_timer_stop(timer), 1);
        let_go(&bell, 1 + again, goroutines);
        CHECK_EQ(gmp_timer_stop(timer), 0);
        gmp_timer_free(timer);
    }
}

static void free_first(void *arg)
{
    struct bell *bell = arg;

    gmp_timer_free(timer_of(bell));
    atomic_fetch_add(&bell->rings, 1);
}

static void frees_itself(void *arg)
{
    static struct bell bells[500];
    int64_t goroutines = gmp_num_goroutines();

    memset(bells, 0, sizeof bells);
    for (int i = 0; i < 500; i++) {
        bells[i].period = i % 2 ? US(5) : 0;
        start(&bells[i], US(i % 30), free_first);
    }
    for (int i = 0; i < 500; i++)
        AWAIT(bells[i].rings > 0);
    settle(goroutines);
    for (int i = 0; i < 500; i++)
        CHECK_EQ(bells[i].rings, 1);
}

static void reset_arms_again(void *arg)
{
    int64_t goroutines = gmp_num_goroutines();
    struct bell bell = {.period = 0};
    gmp_timer *timer = start(&bell, FAR, ring);
    static const int64_t spans[] = {MS(2), 0, INT64_MIN, US(30), -1};

    /* From pending, from fired, and from stopped. */
    for (int i = 0; i < 5; i++) {
        reset(&bell, spans[i]);
        AWAIT(atomic_load(&bell.rings) == i + 1);
    }
    settle(goroutines);
    CHECK_EQ(gmp_timer_stop(timer), 0);
    reset(&bell, FAR);
    reset(&bell, INT64_MAX);
    CHECK_EQ(gmp_timer_stop(timer), 1);
    reset(&bell, US(10));
    AWAIT(atomic_load(&bell.rings) == 6);
    CHECK_EQ(gmp_timer_stop(timer), 0);
    reset(&bell, FAR);
    gmp_timer_free(timer); /* still pending */
    CHECK_EQ(atomic_load(&bell.rings), 6);
}

static void reset_keeps_the_period(void *arg)
{
    int64_t goroutines = gmp_num_goroutines();
    struct bell bell = {.period = US(700)};
    gmp_timer *timer = start(&bell, FAR, keep_pace);

    reset(&bell, MS(1));
    AWAIT(atomic_load(&bell.rings) >= 6);
    gmp_timer_free(timer);
    settle(goroutines);
}

static void ring_again(void *arg)
{
    struct bell *bell = arg;

    if (atomic_fetch_add(&bell->rings, 1) < 49)
        CHECK_OK(gmp_timer_reset(timer_of(bell), US(20)));
}

static void resets_itself(void *arg)
{
    struct bell bell = {.period = 0};
    int64_t goroutines = gmp_num_goroutines();
    gmp_timer *timer = start(&bell, 0, ring_again);

    AWAIT(atomic_load(&bell.rings) >= 50);
    settle(goroutines);
    CHECK_EQ(atomic_load(&bell.rings), 50);
    CHECK_EQ(gmp_timer_stop(timer), 0);
    gmp_timer_free(timer);
}

static struct bell races[RACES];

static void stop(struct bell *bell)
{
    int stopped = gmp_timer_stop(timer_of(bell));

    CHECK(stopped == 0 || stopped == 1);
    atomic_fetch_add(&bell->stops, stopped);
}

/* Stops each timer a moment after its start, as well as it can. */
static void stop_each(void *arg)
{
    uint64_t seed = (uint64_t)(intptr_t)arg;

    for (int i = 0; i < RACES; i++) {
        timer_of(&races[i]);
        spin_ns(US(below(&seed, 25)));
        /* Where this is all that runs, timers would not. */
        if (i % 4 == 0)
            CHECK_OK(gmp_sleep(1));
        stop(&races[i]);
    }
}

/* How many were stopped in time. */
static int race_once(void)
{
    int64_t goroutines = gmp_num_goroutines();
    uint64_t seed = (uint64_t)goroutines;
    gmp_g *gs[2];
    int stops = 0;

    memset(races, 0, sizeof races);
    for (intptr_t i = 0; i < 2; i++)
        gs[i] = spawn(stop_each, (void *)i);
    for (int i = 0; i < RACES; i++) {
        int64_t ns = US(below(&seed, i % 5 ? 30 : 1000));

        start(&races[i], i % 7 ? ns : 0, ring);
        if (below(&seed, 3) == 0)
            spin_ns(US(below(&seed, 30)));
        if (below(&seed, 3) == 0)
            stop(&races[i]);
    }
    CHECK_OK(gmp_join(gs[0]));
    CHECK_OK(gmp_join(gs[1]));
    settle(goroutines);
    for (int i = 0; i < RACES; i++) {
        CHECK_EQ(races[i].stops + races[i].rings, 1);
        stops += races[i].stops;
        gmp_timer_free(races[i].timer);
    }
    return stops;
}

/* Either one stop was in time, or the function ran once. */
static void stop_is_exact(void *arg)
{
    int stops = 0, races = 0;

    /* Until there was each. */
    while (stops == 0 || stops == races) {
        stops += race_once();
        races += RACES;
    }
}

static void free_is_exact(void *arg)
{
    int64_t goroutines = gmp_num_goroutines();
    uint64_t seed = (uint64_t)goroutines;

    memset(races, 0, sizeof races);
    for (int i = 0; i < RACES; i++) {
        start(&races[i], US(below(&seed, 20)), ring);
        spin_ns(US(below(&seed, 25)));
        gmp_timer_free(races[i].timer);
    }
    settle(goroutines);
    for (int i = 0; i < RACES; i++)
        CHECK(races[i].rings <= 1);
}

static struct bell crowd[MOST];

static void many_fire(void *arg)
{
    int64_t goroutines = gmp_num_goroutines();
    uint64_t seed = 5;

    memset(crowd, 0, sizeof crowd);
    atomic_store(&all_rings, 0);
    for (int i = 0; i < MANY; i++)
        start(&crowd[i], US(below(&seed, 100000)), ring);
    AWAIT(atomic_load(&all_rings) >= MANY);
    settle(goroutines);
    for (int i = 0; i < MANY; i++) {
        CHECK_EQ(atomic_load(&crowd[i].rings), 1);
        CHECK_EQ(gmp_timer_stop(crowd[i].timer), 0);
        gmp_timer_free(crowd[i].timer);
    }
}

static void many_stop(void *arg)
{
    memset(crowd, 0, sizeof crowd);
    for (int i = 0; i < MANY; i++)
        start(&crowd[i], FAR + i % 1000, ring);
    for (long i = 0; i < MANY; i++) {
        struct bell *bell = &crowd[i * 7919 % MANY];

        if (i % 3)
            CHECK_EQ(gmp_timer_stop(bell->timer), 1);
        if (i % 3 == 1)
            CHECK_EQ(gmp_timer_stop(bell->timer), 0);
        gmp_timer_free(bell->timer);
        CHECK_EQ(atomic_load(&bell->rings), 0);
    }
}

static void memory_comes_back(void)
{
    long rss = status_value("/proc/self/status", "VmRSS:");

    for (int i = 0; i < 2 * MANY; i++)
        gmp_timer_free(gmp_timer_start(FAR, i % 2, ring, NULL));
    rss = status_value("/proc/self/status", "VmRSS:") - rss;
    CHECK(rss < 8192 || test_under(NULL)); /* a tool may keep what is freed */
}

int test_main(int argc, char **argv)
{
    static const gmp_fn cases[] = {
        fires_once,    stops_once,        mistakes_are_errors,
        ticks,         misses_ticks,      runs_on_its_own_goroutine,
        frees_itself,  due_while_it_runs, ended_while_it_runs,
        resets_itself, reset_arms_again,  reset_keeps_the_period,
        stop_is_exact, free_is_exact,
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        cases[i](NULL);                            /* from a host thread */
        CHECK_OK(gmp_join(spawn(cases[i], NULL))); /* from a goroutine */
    }
    many_fire(NULL);
    many_stop(NULL);
    CHECK_OK(gmp_join(spawn(many_fire, NULL)));
    CHECK_OK(gmp_join(spawn(many_stop, NULL)));
    memory_comes_back();
    return 0;
}
