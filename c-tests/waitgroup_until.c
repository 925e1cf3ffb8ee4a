/* Wait groups with deadlines and cancels, and used again at any time: a wait
 * ends when the counter is zero once after it began. */
#include "test.h"

enum { WAITERS = 12, THREADS = 3, WORKERS = 8, ROUNDS = 60, PENDING = 1 };

static gmp_waitgroup group = GMP_WAITGROUP_INIT;

/* What a group does that is at zero. */
static void check_zero(gmp_waitgroup *wg)
{
    CHECK_OK(gmp_waitgroup_wait(wg));
    CHECK_OK(gmp_waitgroup_wait_until(wg, 0));
    CHECK_EQ(gmp_waitgroup_done(wg), -EINVAL);
    CHECK_OK(gmp_waitgroup_add(wg, 1));
    CHECK_EQ(gmp_waitgroup_wait_until(wg, 0), -ETIMEDOUT);
    CHECK_OK(gmp_waitgroup_done(wg));
    CHECK_OK(gmp_waitgroup_wait_until(wg, INT64_MIN));
}

struct waiter {
    int64_t deadline;
    atomic_bool arrived;
    atomic_int result; /* PENDING until its call returns */
};

static void wait_for_group(void *arg)
{
    struct waiter *w = arg;

    atomic_store(&w->arrived, true);
    atomic_store(&w->result,
                 w->deadline == GMP_FOREVER
                     ? gmp_waitgroup_wait(&group)
                     : gmp_waitgroup_wait_until(&group, w->deadline));
}

static void *wait_on_thread(void *arg)
{
    wait_for_group(arg);
    return NULL;
}

static void prepare(struct waiter *w, int64_t deadline)
{
    w->deadline = deadline;
    atomic_store(&w->arrived, false);
    atomic_store(&w->result, PENDING);
}

/* Starts a waiter and gives it time to wait, which nobody can see. */
static gmp_g *start_waiter(struct waiter *w, int64_t deadline)
{
    gmp_g *g;

    prepare(w, deadline);
    g = spawn(wait_for_group, w);
    AWAIT(atomic_load(&w->arrived));
    return g;
}

static void deadlines(void *arg)
{
    static const int64_t past[] = {0, -1, INT64_MIN};
    gmp_waitgroup mine = GMP_WAITGROUP_INIT;
    int64_t deadline;

    for (size_t i = 0; i < sizeof past / sizeof *past; i++) {
        CHECK_OK(gmp_waitgroup_wait_until(&mine, past[i]));
        CHECK_OK(gmp_waitgroup_add(&mine, 1));
        CHECK_EQ(gmp_waitgroup_wait_until(&mine, past[i]), -ETIMEDOUT);
        CHECK_OK(gmp_waitgroup_done(&mine));
    }
    CHECK_OK(gmp_waitgroup_wait_until(&mine, GMP_FOREVER));
    CHECK_OK(gmp_waitgroup_add(&mine, 2));
    deadline = gmp_after_ns(MS(2));
    CHECK_EQ(gmp_waitgroup_wait_until(&mine, deadline), -ETIMEDOUT);
    CHECK(gmp_now() >= deadline);
    /* The counter has not changed. */
    CHECK_OK(gmp_waitgroup_done(&mine));
    CHECK_EQ(gmp_waitgroup_wait_until(&mine, 0), -ETIMEDOUT);
    CHECK_OK(gmp_waitgroup_done(&mine));
    check_zero(&mine);
}

static void when_cancelled(void *arg)
{
    gmp_waitgroup mine = GMP_WAITGROUP_INIT;

    CHECK_OK(gmp_cancel(gmp_self()));
    /* It looks at that before it looks at the counter. */
    CHECK_EQ(gmp_waitgroup_wait(&mine), -ECANCELED);
    CHECK_EQ(gmp_waitgroup_wait_until(&mine, 0), -ECANCELED);
    CHECK_OK(gmp_waitgroup_add(&mine, 1));
    CHECK_EQ(gmp_waitgroup_wait(&mine), -ECANCELED);
    CHECK_EQ(gmp_waitgroup_wait_until(&mine, GMP_FOREVER), -ECANCELED);
    CHECK_EQ(gmp_waitgroup_wait_until(&mine, 0), -ECANCELED);
    CHECK_OK(gmp_shield_enter());
    CHECK_EQ(gmp_waitgroup_wait_until(&mine, gmp_after_ns(MS(1))),
             -ETIMEDOUT);
    CHECK_OK(gmp_waitgroup_done(&mine));
    check_zero(&mine);
    CHECK_OK(gmp_shield_leave());
}

static void cancel_ends_a_wait(int64_t deadline)
{
    struct waiter w;

    for (int i = 0; i < 10; i++) {
        gmp_g *g;

        CHECK_OK(gmp_waitgroup_add(&group, 1));
        g = start_waiter(&w, deadline);
        if (i % 2)
            CHECK_OK(gmp_sleep(MS(1)));
        CHECK_EQ(atomic_load(&w.result), PENDING);
        CHECK_OK(gmp_cancel(g));
        CHECK_OK(gmp_join(g));
        CHECK_EQ(atomic_load(&w.result), -ECANCELED);
        CHECK_OK(gmp_waitgroup_done(&group));
        check_zero(&group);
    }
}

/* Some give up, by deadline or cancel; the others wait on, and all of them
 * are woken at zero. */
static void those_who_stay_are_woken(void)
{
    struct waiter ws[WAITERS], host;
    gmp_g *gs[WAITERS];
    pthread_t thread;

    CHECK_OK(gmp_waitgroup_add(&group, 2));
    for (int i = 0; i < WAITERS; i++)
        gs[i] = start_waiter(&ws[i],
                             i % 3 == 0 ? gmp_after_ns(MS(3)) : GMP_FOREVER);
    prepare(&host, gmp_after_ns(SEC(40)));
    CHECK_OK(pthread_create(&thread, NULL, wait_on_thread, &host));
    CHECK_OK(gmp_waitgroup_done(&group));
    CHECK_OK(gmp_sleep(MS(1)));
    for (int i = 1; i < WAITERS; i += 3)
        CHECK_OK(gmp_cancel(gs[i]));
    for (int i = 0; i < WAITERS; i++)
        if (i % 3 != 2)
            CHECK_OK(gmp_join(gs[i]));
    for (int i = 0; i < WAITERS; i++)
        CHECK_EQ(atomic_load(&ws[i].result), i % 3 == 0   ? -ETIMEDOUT
                                             : i % 3 == 1 ? -ECANCELED
                                                          : PENDING);
    CHECK_EQ(atomic_load(&host.result), PENDING);
    CHECK_OK(gmp_waitgroup_done(&group));
    for (int i = 2; i < WAITERS; i += 3) {
        CHECK_OK(gmp_join(gs[i]));
        CHECK_EQ(atomic_load(&ws[i].result), 0);
    }
    CHECK_OK(pthread_join(thread, NULL));
    CHECK_EQ(atomic_load(&host.result), 0);
    check_zero(&group);
}

/* Whether waiters return from a zero that was there for a moment only. */
static bool a_moment_is_enough(void)
{
    struct waiter ws[WAITERS];
    gmp_g *gs[WAITERS];
    int64_t patience = SEC(2);
    int pending;

    CHECK_OK(gmp_waitgroup_add(&group, 1));
    for (int i = 0; i < WAITERS; i++)
        gs[i] = start_waiter(&ws[i],
                             i % 2 ? GMP_FOREVER : gmp_after_ns(SEC(40)));
    CHECK_OK(gmp_sleep(MS(2)));
    CHECK_OK(gmp_waitgroup_done(&group));
    CHECK_OK(gmp_waitgroup_add(&group, 3));
    do {
        pending = 0;
        for (int i = 0; i < WAITERS; i++)
            pending += atomic_load(&ws[i].result) == PENDING;
        CHECK_OK(gmp_sleep(MS(1)));
        patience -= MS(1);
    } while (pending && patience > 0);
    CHECK_EQ(gmp_waitgroup_wait_until(&group, 0), -ETIMEDOUT);
    CHECK_OK(gmp_waitgroup_add(&group, -3));
    for (int i = 0; i < WAITERS; i++) {
        CHECK_OK(gmp_join(gs[i]));
        CHECK_EQ(atomic_load(&ws[i].result), 0);
    }
    check_zero(&group);
    return pending == 0;
}

/* Each round's work is over when a wait for it returns, though the waiters of
 * the round before may still be on their way out of theirs. */
static atomic_int finished[ROUNDS];
static atomic_int rounds_begun;

static void work(void *arg)
{
    atomic_fetch_add((atomic_int *)arg, 1);
    CHECK_OK(gmp_waitgroup_done(&group));
}

/* Waits again and again, at its own pace, also in the middle of rounds. */
static void follow_rounds(void *arg)
{
    int round;

    do {
        round = atomic_load(&rounds_begun);
        if ((intptr_t)arg % 2)
            gmp_yield();
        CHECK_OK(gmp_waitgroup_wait(&group));
        /* The counter has been zero since, so what was begun is over. */
        for (int i = 0; i < round; i++)
            CHECK_EQ(atomic_load(&finished[i]), WORKERS);
    } while (round < ROUNDS);
}

static void *follow_on_thread(void *arg)
{
    follow_rounds(arg);
    return NULL;
}

static void rounds_follow_each_other(void)
{
    gmp_g *followers[WAITERS];
    pthread_t threads[THREADS];

    for (intptr_t i = 0; i < WAITERS; i++)
        followers[i] = spawn(follow_rounds, (void *)i);
    for (intptr_t i = 0; i < THREADS; i++)
        CHECK_OK(pthread_create(&threads[i], NULL, follow_on_thread,
                                (void *)i));
    for (int round = 0; round < ROUNDS; round++) {
        CHECK_OK(gmp_waitgroup_add(&group, WORKERS));
        atomic_fetch_add(&rounds_begun, 1);
        for (int i = 0; i < WORKERS; i++)
            CHECK_OK(gmp_go(work, &finished[round]));
        CHECK_OK(round % 2
                     ? gmp_waitgroup_wait(&group)
                     : gmp_waitgroup_wait_until(&group, gmp_after_ns(SEC(40))));
        CHECK_EQ(atomic_load(&finished[round]), WORKERS);
    }
    for (int i = 0; i < WAITERS; i++)
        CHECK_OK(gmp_join(followers[i]));
    for (int i = 0; i < THREADS; i++)
        CHECK_OK(pthread_join(threads[i], NULL));
    check_zero(&group);
}

static atomic_bool zero_soon;

static void wait_in_a_hurry(void *arg)
{
    struct waiter *w = arg;
    int result;

    atomic_store(&w->arrived, true);
    result = gmp_waitgroup_wait_until(&group, w->deadline);
    if (result == 0)
        CHECK(atomic_load(&zero_soon));
    atomic_store(&w->result, result);
}

/* Deadlines and cancels come with the zero: each waiter returns once, and the
 * next round's waiters get none of this round's wake-ups. */
static void leave_at_zero(bool cancel, uint64_t seed)
{
    struct waiter ws[WAITERS];
    gmp_g *gs[WAITERS];
    int64_t due = gmp_after_ns(MS(2));
    int other = cancel ? -ECANCELED : -ETIMEDOUT;

    atomic_store(&zero_soon, false);
    CHECK_OK(gmp_waitgroup_add(&group, 1));
    for (int i = 0; i < WAITERS; i++) {
        prepare(&ws[i], cancel ? GMP_FOREVER : due + US(2) * i);
        gs[i] = spawn(wait_in_a_hurry, &ws[i]);
    }
    for (int i = 0; i < WAITERS; i++)
        AWAIT(atomic_load(&ws[i].arrived));
    if (!cancel)
        while (gmp_now() < due + US(next_random(&seed) % 24))
            gmp_checkpoint();
    for (int i = 0; cancel && i < WAITERS / 2; i++)
        CHECK_OK(gmp_cancel(gs[i]));
    atomic_store(&zero_soon, true);
    CHECK_OK(gmp_waitgroup_done(&group));
    for (int i = WAITERS / 2; cancel && i < WAITERS; i++)
        (void)gmp_cancel(gs[i]); /* it may have ended */
    for (int i = 0; i < WAITERS; i++) {
        CHECK_OK(gmp_join(gs[i]));
        if (cancel && i < WAITERS / 2)
            CHECK_EQ(atomic_load(&ws[i].result), -ECANCELED);
        if (atomic_load(&ws[i].result) != 0)
            CHECK_EQ(atomic_load(&ws[i].result), other);
    }
    check_zero(&group);
}

static void nothing_is_wrong_after_a_mistake(void)
{
    struct waiter w;
    gmp_g *g;

    CHECK_OK(gmp_waitgroup_add(&group, 2));
    g = start_waiter(&w, GMP_FOREVER);
    CHECK_OK(gmp_sleep(MS(1)));
    CHECK_EQ(gmp_waitgroup_add(&group, -3), -EINVAL);
    CHECK_EQ(gmp_waitgroup_add(&group, INT64_MIN), -EINVAL);
    CHECK_EQ(gmp_waitgroup_add(&group, INT64_MAX), -EINVAL);
    CHECK_OK(gmp_sleep(MS(1)));
    CHECK_EQ(atomic_load(&w.result), PENDING);
    CHECK_OK(gmp_waitgroup_add(&group, -2));
    CHECK_OK(gmp_join(g));
    CHECK_EQ(atomic_load(&w.result), 0);
    CHECK_EQ(gmp_waitgroup_wait_until(NULL, GMP_FOREVER), -EINVAL);
    check_zero(&group);
}

static void finish_one(void *arg)
{
    CHECK_OK(gmp_waitgroup_done(arg));
}

/* Who waited for the last may give the memory up. */
static void memory_may_go_after_the_last_wait(void)
{
    static unsigned char wiped[sizeof(gmp_waitgroup)];

    memset(wiped, 0xA5, sizeof wiped);
    for (int i = 0; i < 3 * ROUNDS; i++) {
        gmp_waitgroup mine = GMP_WAITGROUP_INIT;
        gmp_g *gs[3];

        CHECK_OK(gmp_waitgroup_add(&mine, 3));
        for (int j = 0; j < 3; j++)
            gs[j] = spawn(finish_one, &mine);
        while (gmp_waitgroup_wait_until(&mine, gmp_after_ns(US(10))) != 0)
            continue;
        memset(&mine, 0xA5, sizeof mine);
        for (int j = 0; j < 3; j++)
            CHECK_OK(gmp_join(gs[j]));
        CHECK(memcmp(&mine, wiped, sizeof wiped) == 0);
    }
}

int test_main(int argc, char **argv)
{
    deadlines(NULL);
    CHECK_OK(gmp_join(spawn(deadlines, NULL)));
    CHECK_OK(gmp_join(spawn(when_cancelled, NULL)));
    cancel_ends_a_wait(GMP_FOREVER);
    cancel_ends_a_wait(gmp_after_ns(SEC(40)));
    for (int i = 0; i < 5; i++)
        those_who_stay_are_woken();
    /* A loaded machine may hold one waiter up on its way. That it does so
     * each of four times is the group's fault. */
    for (int tries = 0; !a_moment_is_enough(); tries++)
        CHECK(tries < 3);
    rounds_follow_each_other();
    for (int i = 0; i < ROUNDS; i++)
        leave_at_zero(i % 2, (uint64_t)i);
    nothing_is_wrong_after_a_mistake();
    memory_may_go_after_the_last_wait();
    return 0;
}
