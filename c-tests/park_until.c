/* gmp_park_until: which of a cancel, a permit and the deadline ends it, and
 * that unlockf runs whichever it is. A park may end for no reason: only where
 * a permit is there, or a cancel, is the result of a single one certain. */
#include "test.h"

enum { ROUNDS = 2000, PAST = 10000 };

static atomic_int unlocked;

/* Counts, and lets the park go on. */
static int count(gmp_g *g, void *lock)
{
    CHECK(g != NULL);
    CHECK(lock == &unlocked);
    atomic_fetch_add(&unlocked, 1);
    return 1;
}

static int park_until(int64_t deadline)
{
    int before = atomic_load(&unlocked), result;

    result = gmp_park_until(count, &unlocked, "test", deadline);
    CHECK_EQ(atomic_load(&unlocked), before + 1);
    return result;
}

/* Until it ends for a reason: nobody gives a permit. */
static int park_alone(int64_t deadline)
{
    int result = 0;

    while (result == 0)
        result = park_until(deadline);
    return result;
}

static void deadline_ends_it(void *arg)
{
    static const int64_t spans[] = {1, US(50), MS(2), MS(11)};

    for (size_t i = 0; i < sizeof spans / sizeof *spans; i++) {
        int64_t deadline = gmp_after_ns(spans[i]);

        CHECK_EQ(park_alone(deadline), -ETIMEDOUT);
        CHECK(gmp_now() >= deadline);
    }
    CHECK_EQ(gmp_park_until(NULL, NULL, NULL, 0), -ETIMEDOUT);
}

static void past_deadline_tries_once(void *arg)
{
    static const int64_t past[] = {0, -1, INT64_MIN};

    for (size_t i = 0; i < sizeof past / sizeof *past; i++) {
        CHECK_EQ(park_alone(past[i]), -ETIMEDOUT);
        CHECK_OK(gmp_ready(gmp_self()));
        CHECK_OK(park_until(past[i]));
        CHECK_EQ(park_alone(past[i]), -ETIMEDOUT);
    }
}

/* Deadlines of 0 do not disturb whoever sleeps until the next one: the timers
 * after them come, though nothing runs meanwhile that could look after them. */
static void past_deadlines_hold_no_timer_up(void *arg)
{
    for (int i = 0; i < 3; i++) {
        for (int j = 0; j < PAST; j++)
            CHECK_EQ(park_alone(0), -ETIMEDOUT);
        CHECK_OK(gmp_sleep(MS(60)));
    }
}

static void permit_is_taken_at_once(void *arg)
{
    for (int i = 0; i < 100; i++) {
        CHECK_OK(gmp_ready(gmp_self()));
        CHECK_OK(gmp_ready(gmp_self())); /* permits do not add up */
        CHECK_OK(park_until(GMP_FOREVER));
        CHECK_EQ(park_alone(0), -ETIMEDOUT);
    }
}

static void cancel_comes_first(void *arg)
{
    CHECK_OK(gmp_ready(gmp_self()));
    CHECK_OK(gmp_cancel(gmp_self()));
    CHECK_EQ(park_until(GMP_FOREVER), -ECANCELED);
    CHECK_EQ(park_until(gmp_after_ns(SEC(100))), -ECANCELED);
    for (int i = 0; i < ROUNDS; i++)
        CHECK_EQ(park_until(0), -ECANCELED);
    /* The permit is still there, for who may take it. */
    CHECK_OK(gmp_shield_enter());
    CHECK_OK(park_until(0));
    CHECK_EQ(park_alone(0), -ETIMEDOUT);
    CHECK_EQ(park_alone(gmp_after_ns(US(100))), -ETIMEDOUT);
    CHECK_OK(gmp_ready(gmp_self()));
    CHECK_OK(park_until(GMP_FOREVER));
    CHECK_OK(gmp_shield_leave());
    CHECK_EQ(park_until(GMP_FOREVER), -ECANCELED);
}

static int decline(gmp_g *g, void *lock)
{
    return 0;
}

static void unlockf_may_decline(void *arg)
{
    CHECK_OK(gmp_park_until(decline, NULL, "declined", GMP_FOREVER));
    CHECK_OK(gmp_park_until(decline, NULL, "declined", gmp_after_ns(SEC(9))));
}

/* What parks until main ends it, and how it ended. */
struct parked {
    _Atomic(gmp_g *) g;
    int64_t deadline;
    int want;
    atomic_bool told;
};

/* After the switch: whoever finds g may end the wait. */
static int publish(gmp_g *g, void *lock)
{
    atomic_store(&((struct parked *)lock)->g, g);
    return 1;
}

static void park_and_see(void *arg)
{
    struct parked *p = arg;
    int result = gmp_park_until(publish, p, "told", p->deadline);

    while (result == 0 && !atomic_load(&p->told))
        result = gmp_park_until(NULL, NULL, "told", p->deadline);
    CHECK_EQ(result, p->want);
}

static void ended_from_outside(bool cancel)
{
    int64_t deadlines[] = {GMP_FOREVER, gmp_after_ns(SEC(100))};

    for (int i = 0; i < 200; i++) {
        struct parked p = {.deadline = deadlines[i % 2],
                           .want = cancel ? -ECANCELED : 0};
        gmp_g *g = spawn(park_and_see, &p);
        int result;

        AWAIT(atomic_load(&p.g) != NULL);
        CHECK(atomic_load(&p.g) == g);
        atomic_store(&p.told, !cancel);
        result = cancel ? gmp_cancel(g) : gmp_ready(g);
        /* Who is told, and awake for no reason, may have ended by now. */
        CHECK(result == 0 || (result == -EINVAL && !cancel));
        CHECK_OK(gmp_join(g));
    }
}

static void ready_ends_it(void *arg)
{
    ended_from_outside(false);
}

static void cancel_ends_it(void *arg)
{
    ended_from_outside(true);
}

/* A permit that meets the deadline: it ends this park, or it is there at the
 * next. */
struct meeting {
    _Atomic(gmp_g *) g;
    atomic_int round, given;
};

/* Valgrind runs one thread at a time, and lets a loop go on for long. */
static int meetings(void)
{
    return test_under("valgrind") ? 50 : ROUNDS;
}

static void give_permits(void *arg)
{
    struct meeting *m = arg;

    for (int i = 1; i <= meetings(); i++) {
        while (atomic_load(&m->round) < i)
            gmp_yield();
        CHECK_OK(gmp_ready(atomic_load(&m->g)));
        atomic_store(&m->given, i);
    }
}

static void *give_permits_on_thread(void *arg)
{
    give_permits(arg);
    return NULL;
}

static void take_permits(void *arg)
{
    struct meeting *m = arg;

    CHECK_EQ(park_alone(0), -ETIMEDOUT); /* a host thread has its G now */
    atomic_store(&m->g, gmp_self());
    for (int i = 1; i <= meetings(); i++) {
        int first, second;

        atomic_store(&m->round, i);
        first = park_until(gmp_after_ns(i % 8 * 500));
        while (atomic_load(&m->given) < i)
            gmp_yield();
        second = park_until(0);
        CHECK(first == 0 || first == -ETIMEDOUT);
        CHECK(second == 0 || second == -ETIMEDOUT);
        CHECK(first == 0 || second == 0);
        while (second == 0)
            second = park_until(0);
    }
}

static void no_permit_is_lost(void)
{
    struct meeting on_goroutine = {.g = NULL}, on_thread = {.g = NULL};
    gmp_g *taker = spawn(take_permits, &on_goroutine);
    gmp_g *giver = spawn(give_permits, &on_goroutine);
    pthread_t thread;

    CHECK_OK(gmp_join(taker));
    CHECK_OK(gmp_join(giver));
    CHECK_OK(pthread_create(&thread, NULL, give_permits_on_thread,
                            &on_thread));
    take_permits(&on_thread);
    CHECK_OK(pthread_join(thread, NULL));
}

int test_main(int argc, char **argv)
{
    static const gmp_fn cases[] = {
        past_deadline_tries_once, permit_is_taken_at_once,
        deadline_ends_it,         unlockf_may_decline,
        ready_ends_it,            cancel_ends_it,
    };

    CHECK_OK(gmp_sleep(1)); /* gives this thread a G */
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        cases[i](NULL);                            /* from a host thread */
        CHECK_OK(gmp_join(spawn(cases[i], NULL))); /* from a goroutine */
    }
    CHECK_OK(gmp_join(spawn(cancel_comes_first, NULL)));
    CHECK_OK(gmp_join(spawn(past_deadlines_hold_no_timer_up, NULL)));
    no_permit_is_lost();
    return 0;
}
