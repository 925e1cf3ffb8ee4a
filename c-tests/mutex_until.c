/* Mutexes with deadlines and cancels: who gives up leaves nothing behind, and
 * nobody who stays waits longer for it. */
#include "test.h"

enum { USERS = 24, THREADS = 3, ROUNDS = 150, PENDING = 1 };

static gmp_mutex mutex = GMP_MUTEX_INIT;
static atomic_int inside;
static long counter; /* lock: mutex */

/* What a mutex does that nobody holds or waits for. */
static void check_free(void)
{
    CHECK_OK(gmp_mutex_trylock(&mutex));
    CHECK_EQ(gmp_mutex_trylock(&mutex), -EAGAIN);
    CHECK_OK(gmp_mutex_unlock(&mutex));
    CHECK_EQ(gmp_mutex_unlock(&mutex), -EPERM);
    CHECK_OK(gmp_mutex_lock_until(&mutex, 0));
    CHECK_OK(gmp_mutex_unlock(&mutex));
}

/* One that wants the mutex; `result` is PENDING until its call returns. */
struct waiter {
    int64_t deadline;
    atomic_bool arrived;
    atomic_int result;
};

static void want(void *arg)
{
    struct waiter *w = arg;
    int result;

    atomic_store(&w->arrived, true);
    result = gmp_mutex_lock_until(&mutex, w->deadline);
    if (result == 0)
        CHECK_EQ(atomic_fetch_add(&inside, 1), 0);
    atomic_store(&w->result, result);
    if (result == 0) {
        atomic_fetch_sub(&inside, 1);
        CHECK_OK(gmp_mutex_unlock(&mutex));
    }
}

static void *want_on_thread(void *arg)
{
    want(arg);
    return NULL;
}

/* Starts a waiter and gives it time to wait, which nobody can see. */
static gmp_g *start_waiter(struct waiter *w, int64_t deadline)
{
    gmp_g *g;

    w->deadline = deadline;
    atomic_store(&w->arrived, false);
    atomic_store(&w->result, PENDING);
    g = spawn(want, w);
    AWAIT(atomic_load(&w->arrived));
    return g;
}

static void deadline_passes(void *arg)
{
    static const int64_t past[] = {0, -1, INT64_MIN};
    int64_t deadline;

    for (size_t i = 0; i < sizeof past / sizeof *past; i++) {
        CHECK_OK(gmp_mutex_lock_until(&mutex, past[i]));
        CHECK_EQ(gmp_mutex_lock_until(&mutex, past[i]), -ETIMEDOUT);
        CHECK_EQ(gmp_mutex_trylock(&mutex), -EAGAIN);
        CHECK_OK(gmp_mutex_unlock(&mutex));
    }
    CHECK_OK(gmp_mutex_lock_until(&mutex, GMP_FOREVER));
    deadline = gmp_after_ns(MS(2));
    CHECK_EQ(gmp_mutex_lock_until(&mutex, deadline), -ETIMEDOUT);
    CHECK(gmp_now() >= deadline);
    CHECK_EQ(gmp_mutex_trylock(&mutex), -EAGAIN);
    CHECK_OK(gmp_mutex_unlock(&mutex));
    check_free();
}

static void cancel_ends_a_wait(int64_t deadline)
{
    struct waiter w;

    for (int i = 0; i < 10; i++) {
        gmp_g *g;

        CHECK_OK(gmp_mutex_lock(&mutex));
        g = start_waiter(&w, deadline);
        if (i % 2)
            CHECK_OK(gmp_sleep(MS(1)));
        CHECK_EQ(atomic_load(&w.result), PENDING);
        CHECK_OK(gmp_cancel(g));
        CHECK_OK(gmp_join(g));
        CHECK_EQ(atomic_load(&w.result), -ECANCELED);
        CHECK_EQ(gmp_mutex_trylock(&mutex), -EAGAIN);
        CHECK_OK(gmp_mutex_unlock(&mutex));
        check_free();
    }
}

static void lock_though_cancelled(void *arg)
{
    struct waiter *w = arg;

    atomic_store(&w->arrived, true);
    CHECK_OK(gmp_mutex_lock(&mutex));
    atomic_store(&w->result, 0);
    CHECK(gmp_cancelled());
    CHECK_OK(gmp_mutex_unlock(&mutex));
    /* Only the twin looks, and does so before anything else. */
    CHECK_EQ(gmp_mutex_lock_until(&mutex, GMP_FOREVER), -ECANCELED);
    CHECK_EQ(gmp_mutex_lock_until(&mutex, 0), -ECANCELED);
    CHECK_OK(gmp_mutex_trylock(&mutex));
    CHECK_EQ(gmp_mutex_lock_until(&mutex, 0), -ECANCELED);
    CHECK_OK(gmp_mutex_unlock(&mutex));
    CHECK_OK(gmp_mutex_lock(&mutex));
    CHECK_OK(gmp_mutex_unlock(&mutex));
    CHECK_OK(gmp_shield_enter());
    CHECK_OK(gmp_mutex_lock_until(&mutex, GMP_FOREVER));
    CHECK_EQ(gmp_mutex_lock_until(&mutex, gmp_after_ns(MS(1))), -ETIMEDOUT);
    CHECK_OK(gmp_shield_leave());
    CHECK_OK(gmp_mutex_unlock(&mutex));
}

static void lock_is_not_interrupted(bool early)
{
    struct waiter w = {.result = PENDING};
    gmp_g *g;

    CHECK_OK(gmp_mutex_lock(&mutex));
    g = spawn(lock_though_cancelled, &w);
    if (!early)
        AWAIT(atomic_load(&w.arrived));
    CHECK_OK(gmp_cancel(g));
    AWAIT(atomic_load(&w.arrived));
    CHECK_OK(gmp_sleep(MS(2)));
    CHECK_EQ(atomic_load(&w.result), PENDING);
    CHECK_OK(gmp_mutex_unlock(&mutex));
    CHECK_OK(gmp_join(g));
    check_free();
}

static void those_behind_get_it(bool cancel)
{
    struct waiter leaver, behind[2], host = {.deadline = GMP_FOREVER,
                                             .result = PENDING};
    gmp_g *g, *gs[2];
    pthread_t thread;

    CHECK_OK(gmp_mutex_lock(&mutex));
    g = start_waiter(&leaver, cancel ? GMP_FOREVER : gmp_after_ns(MS(4)));
    CHECK_OK(gmp_sleep(MS(1)));
    gs[0] = start_waiter(&behind[0], GMP_FOREVER);
    gs[1] = start_waiter(&behind[1], gmp_after_ns(SEC(40)));
    CHECK_OK(pthread_create(&thread, NULL, want_on_thread, &host));
    AWAIT(atomic_load(&host.arrived));
    CHECK_OK(gmp_sleep(MS(1)));
    if (cancel)
        CHECK_OK(gmp_cancel(g));
    CHECK_OK(gmp_join(g));
    CHECK_EQ(atomic_load(&leaver.result), cancel ? -ECANCELED : -ETIMEDOUT);
    CHECK_EQ(atomic_load(&behind[0].result), PENDING);
    CHECK_EQ(atomic_load(&behind[1].result), PENDING);
    CHECK_EQ(atomic_load(&host.result), PENDING);
    CHECK_OK(gmp_mutex_unlock(&mutex));
    CHECK_OK(gmp_join(gs[0]));
    CHECK_OK(gmp_join(gs[1]));
    CHECK_OK(pthread_join(thread, NULL));
    CHECK_EQ(atomic_load(&behind[0].result), 0);
    CHECK_EQ(atomic_load(&behind[1].result), 0);
    CHECK_EQ(atomic_load(&host.result), 0);
    check_free();
}

/* A waiter that lost to others for a while has the mutex reserved for those
 * that wait. If it leaves then, nothing stays reserved. */
static void reservation_goes_with_the_leaver(bool another)
{
    struct waiter leaver, behind;
    gmp_g *g, *other = NULL;
    int result;

    CHECK_OK(gmp_mutex_lock(&mutex));
    g = start_waiter(&leaver, gmp_after_ns(MS(20)));
    CHECK_OK(gmp_sleep(MS(3)));
    CHECK_OK(gmp_mutex_unlock(&mutex));
    CHECK_OK(gmp_mutex_lock(&mutex));
    if (another)
        other = start_waiter(&behind, GMP_FOREVER);
    CHECK_OK(gmp_join(g));
    result = atomic_load(&leaver.result);
    CHECK(result == 0 || result == -ETIMEDOUT);
    CHECK_OK(gmp_mutex_unlock(&mutex));
    if (another) {
        CHECK_OK(gmp_join(other));
        CHECK_EQ(atomic_load(&behind.result), 0);
    }
    check_free();
}

static void cancel_at_once(void *arg)
{
    int result = gmp_cancel(arg);

    CHECK(result == 0 || result == -EINVAL); /* it may have ended */
}

/* The waiter's deadline or cancel comes with the unlock: it has the mutex or
 * has not, and the one behind it gets it in any case. */
static void leave_at_the_unlock(bool cancel, int64_t hold)
{
    struct waiter first, second;
    uint64_t random = (uint64_t)hold;

    for (int i = 0; i < (hold < MS(1) ? ROUNDS : 20); i++) {
        int64_t due = gmp_after_ns(hold), jitter;
        gmp_g *gs[2], *canceller = NULL;
        int result;

        CHECK_OK(gmp_mutex_lock(&mutex));
        gs[0] = start_waiter(&first, cancel ? GMP_FOREVER : due);
        gs[1] = start_waiter(&second, GMP_FOREVER);
        jitter = (int64_t)(next_random(&random) % (uint64_t)US(40)) - US(20);
        while (gmp_now() < due + jitter)
            gmp_checkpoint();
        if (cancel && i % 2)
            canceller = spawn(cancel_at_once, gs[0]);
        if (cancel && i % 2 == 0)
            CHECK_OK(gmp_cancel(gs[0]));
        CHECK_OK(gmp_mutex_unlock(&mutex));
        if (canceller)
            CHECK_OK(gmp_join(canceller));
        CHECK_OK(gmp_join(gs[0]));
        CHECK_OK(gmp_join(gs[1]));
        result = atomic_load(&first.result);
        CHECK(result == 0 || result == (cancel ? -ECANCELED : -ETIMEDOUT));
        CHECK_EQ(atomic_load(&second.result), 0);
        check_free();
    }
}

/* One that keeps the mutex until it is told to go. */
struct keeper {
    atomic_bool arrived, told;
};

static void keep(void *arg)
{
    struct keeper *k = arg;

    atomic_store(&k->arrived, true);
    CHECK_OK(gmp_mutex_lock_until(&mutex, gmp_after_ns(SEC(40))));
    AWAIT(atomic_load(&k->told));
    CHECK_OK(gmp_mutex_unlock(&mutex));
}

static void *keep_on_thread(void *arg)
{
    keep(arg);
    return NULL;
}

/* Whoever unlocks and locks at once is before a waiter that still has to wake
 * up; but not again and again, once that one has waited for a while. */
static void starving_waiter_is_handed_it(bool on_thread)
{
    struct keeper k = {false, false};
    pthread_t thread;
    gmp_g *g = NULL;
    int tries = 0;

    CHECK_OK(gmp_mutex_lock(&mutex));
    if (on_thread)
        CHECK_OK(pthread_create(&thread, NULL, keep_on_thread, &k));
    else
        g = spawn(keep, &k);
    AWAIT(atomic_load(&k.arrived));
    do {
        CHECK(tries++ < 5);
        CHECK_OK(gmp_sleep(MS(2)));
        CHECK_OK(gmp_mutex_unlock(&mutex));
    } while (gmp_mutex_trylock(&mutex) == 0);
    atomic_store(&k.told, true);
    CHECK_OK(on_thread ? pthread_join(thread, NULL) : gmp_join(g));
    check_free();
}

static atomic_bool stop;

/* Wants the mutex again as soon as it has let it go. */
static void hog(void *arg)
{
    while (!atomic_load(&stop)) {
        CHECK_OK(gmp_mutex_lock(&mutex));
        CHECK_EQ(atomic_fetch_add(&inside, 1), 0);
        atomic_fetch_sub(&inside, 1);
        CHECK_OK(gmp_mutex_unlock(&mutex));
    }
}

static void *hog_on_thread(void *arg)
{
    hog(arg);
    return NULL;
}

static void get_through(void *arg)
{
    for (int i = 0; i < 4; i++) {
        CHECK_OK(i % 2 ? gmp_mutex_lock(&mutex)
                       : gmp_mutex_lock_until(&mutex, gmp_after_ns(SEC(40))));
        CHECK_EQ(atomic_fetch_add(&inside, 1), 0);
        atomic_fetch_sub(&inside, 1);
        CHECK_OK(gmp_mutex_unlock(&mutex));
        CHECK_OK(gmp_sleep(US(100)));
    }
}

static void give_up(void *arg)
{
    int result;

    for (int i = 0; i < 4; i++) {
        result = gmp_mutex_lock_until(&mutex, gmp_after_ns(US(1500)));
        CHECK(result == 0 || result == -ETIMEDOUT);
        if (result == 0)
            CHECK_OK(gmp_mutex_unlock(&mutex));
    }
}

/* Beside the hog some leave, so that reservations come and go. */
static void hog_starves_nobody(bool on_thread)
{
    gmp_g *hogging = NULL, *leavers[3], *patient;
    pthread_t host;

    atomic_store(&stop, false);
    if (on_thread)
        CHECK_OK(pthread_create(&host, NULL, hog_on_thread, NULL));
    else
        hogging = spawn(hog, NULL);
    for (int i = 0; i < 3; i++)
        leavers[i] = spawn(give_up, NULL);
    patient = spawn(get_through, NULL);
    get_through(NULL);
    CHECK_OK(gmp_join(patient));
    for (int i = 0; i < 3; i++)
        CHECK_OK(gmp_join(leavers[i]));
    atomic_store(&stop, true);
    CHECK_OK(on_thread ? pthread_join(host, NULL) : gmp_join(hogging));
    check_free();
}

static atomic_long won, lost;

/* One try of a kind that `random` picks; the mutex is free afterwards. */
static void try_once(uint64_t random)
{
    int64_t span = (int64_t)(random >> 8) % US(60);
    int result;

    switch (random % 8) {
    case 0:
        result = gmp_mutex_lock(&mutex);
        break;
    case 1:
        result = gmp_mutex_trylock(&mutex);
        break;
    case 2:
        result = gmp_mutex_lock_until(&mutex, span - US(30));
        break;
    default:
        result = gmp_mutex_lock_until(&mutex, gmp_after_ns(span));
    }
    if (result != 0) {
        CHECK_EQ(result, random % 8 == 1 ? -EAGAIN : -ETIMEDOUT);
        atomic_fetch_add(&lost, 1);
        return;
    }
    CHECK_EQ(atomic_fetch_add(&inside, 1), 0);
    counter++;
    if (random % 5 == 0)
        gmp_yield();
    if (random % 17 == 0)
        CHECK_OK(gmp_sleep(US(30)));
    atomic_fetch_sub(&inside, 1);
    CHECK_OK(gmp_mutex_unlock(&mutex));
    atomic_fetch_add(&won, 1);
}

static void try_often(void *arg)
{
    uint64_t random = (uint64_t)(intptr_t)arg;

    for (int i = 0; i < ROUNDS; i++)
        try_once(next_random(&random));
}

static void *try_often_on_thread(void *arg)
{
    try_often(arg);
    return NULL;
}

static void leavers_race_with_unlock(void)
{
    gmp_g *users[USERS];
    pthread_t threads[THREADS];

    for (intptr_t i = 0; i < USERS; i++)
        users[i] = spawn(try_often, (void *)(i + 1));
    for (intptr_t i = 0; i < THREADS; i++)
        CHECK_OK(pthread_create(&threads[i], NULL, try_often_on_thread,
                                (void *)(i + 1000)));
    for (int i = 0; i < USERS; i++)
        CHECK_OK(gmp_join(users[i]));
    for (int i = 0; i < THREADS; i++)
        CHECK_OK(pthread_join(threads[i], NULL));
    CHECK_EQ(atomic_load(&won) + atomic_load(&lost),
             (USERS + THREADS) * ROUNDS);
    CHECK_EQ(counter, atomic_load(&won));
    check_free();
}

static void work_until_cancelled(void *arg)
{
    int result;

    while ((result = gmp_mutex_lock_until(&mutex, GMP_FOREVER)) == 0) {
        CHECK_EQ(atomic_fetch_add(&inside, 1), 0);
        counter++;
        gmp_yield();
        atomic_fetch_sub(&inside, 1);
        CHECK_OK(gmp_mutex_unlock(&mutex));
        atomic_fetch_add(&won, 1);
    }
    CHECK_EQ(result, -ECANCELED);
}

static void cancels_race_with_unlock(void)
{
    gmp_g *users[USERS];

    counter = 0;
    atomic_store(&won, 0);
    for (int round = 0; round < 10; round++) {
        for (int i = 0; i < USERS; i++)
            users[i] = spawn(work_until_cancelled, NULL);
        for (int i = 0; i < USERS; i++) {
            if (i % 4 == 0)
                CHECK_OK(gmp_sleep(US(50)));
            CHECK_OK(gmp_cancel(users[i]));
        }
        for (int i = 0; i < USERS; i++)
            CHECK_OK(gmp_join(users[i]));
        CHECK_EQ(counter, atomic_load(&won));
        check_free();
    }
}

/* A mutex in memory that its last user gives up. */
struct shared {
    gmp_mutex mutex;
    int users; /* lock: mutex */
};

static void use_and_leave(void *arg)
{
    struct shared *s = arg;
    bool last;
    int result;

    do {
        result = gmp_mutex_lock_until(&s->mutex, gmp_after_ns(US(20)));
        CHECK(result == 0 || result == -ETIMEDOUT);
    } while (result != 0);
    last = --s->users == 0;
    CHECK_OK(gmp_mutex_unlock(&s->mutex));
    if (last)
        memset(&s->mutex, 0xA5, sizeof s->mutex);
}

static void memory_may_go_after_the_last_unlock(void)
{
    static unsigned char wiped[sizeof(gmp_mutex)];
    gmp_g *gs[3];

    memset(wiped, 0xA5, sizeof wiped);
    for (int i = 0; i < ROUNDS; i++) {
        struct shared s = {.mutex = GMP_MUTEX_INIT, .users = 4};

        for (int j = 0; j < 3; j++)
            gs[j] = spawn(use_and_leave, &s);
        use_and_leave(&s);
        for (int j = 0; j < 3; j++)
            CHECK_OK(gmp_join(gs[j]));
        CHECK(memcmp(&s.mutex, wiped, sizeof wiped) == 0);
    }
}

static void alone(void)
{
    deadline_passes(NULL);
    CHECK_OK(gmp_join(spawn(deadline_passes, NULL)));
    cancel_ends_a_wait(GMP_FOREVER);
    cancel_ends_a_wait(gmp_after_ns(SEC(40)));
    lock_is_not_interrupted(true);
    lock_is_not_interrupted(false);
}

int test_main(int argc, char **argv)
{
    alone();
    those_behind_get_it(false);
    those_behind_get_it(true);
    reservation_goes_with_the_leaver(false);
    reservation_goes_with_the_leaver(true);
    for (int cancel = 0; cancel < 2; cancel++) {
        leave_at_the_unlock(cancel, US(150));
        leave_at_the_unlock(cancel, MS(2));
    }
    for (int on_thread = 0; on_thread < 2; on_thread++) {
        for (int i = 0; i < 12; i++)
            starving_waiter_is_handed_it(on_thread);
        hog_starves_nobody(on_thread);
    }
    leavers_race_with_unlock();
    cancels_race_with_unlock();
    memory_may_go_after_the_last_unlock();
    return 0;
}
