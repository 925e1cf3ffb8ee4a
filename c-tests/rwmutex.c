/* Read-write mutexes: readers share, a writer is alone, and neither kind keeps
 * the other out for ever. */
#include "test.h"

enum { READERS = 5, USERS = 16, THREADS = 4, ROUNDS = 120, PENDING = 1 };

static gmp_rwmutex rw = GMP_RWMUTEX_INIT;

/* What one does that nobody holds or waits for. */
static void check_free(void)
{
    CHECK_OK(gmp_rwmutex_trylock(&rw));
    CHECK_OK(gmp_rwmutex_unlock(&rw));
    CHECK_OK(gmp_rwmutex_tryrlock(&rw));
    CHECK_OK(gmp_rwmutex_runlock(&rw));
    CHECK_EQ(gmp_rwmutex_runlock(&rw), -EPERM);
    CHECK_EQ(gmp_rwmutex_unlock(&rw), -EPERM);
}

/* Whether a writer keeps new readers out, while the caller holds it to read
 * or not at all. */
static bool closed_to_readers(void)
{
    int result = gmp_rwmutex_tryrlock(&rw);

    if (result == 0)
        CHECK_OK(gmp_rwmutex_runlock(&rw));
    else
        CHECK_EQ(result, -EAGAIN);
    return result != 0;
}

/* One that wants it, to read or to write. */
struct user {
    bool writes;
    int64_t deadline;
    atomic_bool arrived;
    atomic_int result; /* PENDING until its call returns */
    int turn;          /* how many had it before */
};

static atomic_int turns;

static int take(bool writes, int64_t deadline)
{
    return writes ? gmp_rwmutex_lock_until(&rw, deadline)
                  : gmp_rwmutex_rlock_until(&rw, deadline);
}

static int leave(bool writes)
{
    return writes ? gmp_rwmutex_unlock(&rw) : gmp_rwmutex_runlock(&rw);
}

static void use(void *arg)
{
    struct user *u = arg;
    int result;

    atomic_store(&u->arrived, true);
    result = take(u->writes, u->deadline);
    if (result == 0) {
        u->turn = atomic_fetch_add(&turns, 1);
        CHECK_OK(leave(u->writes));
    }
    atomic_store(&u->result, result);
}

static gmp_g *start_user(struct user *u, bool writes, int64_t deadline)
{
    gmp_g *g;

    u->writes = writes;
    u->deadline = deadline;
    u->turn = -1;
    atomic_store(&u->arrived, false);
    atomic_store(&u->result, PENDING);
    g = spawn(use, u);
    AWAIT(atomic_load(&u->arrived));
    return g;
}

static void join_user(gmp_g *g, struct user *u, int want)
{
    CHECK_OK(gmp_join(g));
    CHECK_EQ(atomic_load(&u->result), want);
}

static atomic_int reading;

/* Holds it until all others hold it too. */
static void read_together(void *arg)
{
    CHECK_OK(gmp_rwmutex_rlock(&rw));
    atomic_fetch_add(&reading, 1);
    AWAIT(atomic_load(&reading) >= READERS + 2);
    CHECK_OK(gmp_rwmutex_runlock(&rw));
}

static void *read_together_on_thread(void *arg)
{
    read_together(arg);
    return NULL;
}

static void readers_share(void)
{
    gmp_g *gs[READERS];
    pthread_t thread;

    atomic_store(&reading, 0);
    for (int i = 0; i < READERS; i++)
        gs[i] = spawn(read_together, NULL);
    CHECK_OK(pthread_create(&thread, NULL, read_together_on_thread, NULL));
    read_together(NULL);
    CHECK_OK(pthread_join(thread, NULL));
    for (int i = 0; i < READERS; i++)
        CHECK_OK(gmp_join(gs[i]));
    check_free();
}

static void writer_is_alone(void *arg)
{
    CHECK_OK(gmp_rwmutex_lock(&rw));
    CHECK_EQ(gmp_rwmutex_trylock(&rw), -EAGAIN);
    CHECK_EQ(gmp_rwmutex_tryrlock(&rw), -EAGAIN);
    CHECK_EQ(gmp_rwmutex_lock_until(&rw, gmp_after_ns(MS(1))), -ETIMEDOUT);
    CHECK_EQ(gmp_rwmutex_rlock_until(&rw, gmp_after_ns(MS(1))), -ETIMEDOUT);
    CHECK_OK(gmp_rwmutex_unlock(&rw));
    CHECK_OK(gmp_rwmutex_rlock(&rw));
    CHECK_EQ(gmp_rwmutex_trylock(&rw), -EAGAIN);
    CHECK_EQ(gmp_rwmutex_lock_until(&rw, gmp_after_ns(MS(1))), -ETIMEDOUT);
    /* The writer has given up and keeps nobody out. */
    CHECK_OK(gmp_rwmutex_tryrlock(&rw));
    CHECK_OK(gmp_rwmutex_rlock_until(&rw, 0));
    CHECK_OK(gmp_rwmutex_runlock(&rw));
    CHECK_OK(gmp_rwmutex_runlock(&rw));
    CHECK_OK(gmp_rwmutex_runlock(&rw));
    check_free();
}

static void deadlines(void *arg)
{
    static const int64_t past[] = {0, -1, INT64_MIN};
    int64_t deadline;

    for (int writes = 0; writes < 2; writes++) {
        for (size_t i = 0; i < sizeof past / sizeof *past; i++) {
            CHECK_OK(take(writes, past[i]));
            CHECK_EQ(take(true, past[i]), -ETIMEDOUT);
            CHECK_OK(leave(writes));
        }
        CHECK_OK(take(true, GMP_FOREVER));
        CHECK_EQ(take(writes, 0), -ETIMEDOUT);
        deadline = gmp_after_ns(MS(2));
        CHECK_EQ(take(writes, deadline), -ETIMEDOUT);
        CHECK(gmp_now() >= deadline);
        CHECK_OK(leave(true));
        check_free();
    }
}

static void unlock_for_another(void *arg)
{
    CHECK_OK(gmp_rwmutex_unlock(&rw));
}

static void runlock_for_another(void *arg)
{
    CHECK_OK(gmp_rwmutex_runlock(&rw));
}

static void belongs_to_nobody(void)
{
    CHECK_OK(gmp_rwmutex_lock(&rw));
    CHECK_OK(gmp_join(spawn(unlock_for_another, NULL)));
    CHECK_OK(gmp_rwmutex_rlock(&rw));
    CHECK_OK(gmp_join(spawn(runlock_for_another, NULL)));
    check_free();
}

static void wrong_unlocks(void)
{
    struct user writer;
    gmp_g *g;

    check_free();
    CHECK_OK(gmp_rwmutex_lock(&rw));
    CHECK_EQ(gmp_rwmutex_runlock(&rw), -EPERM);
    CHECK_OK(gmp_rwmutex_unlock(&rw));
    CHECK_OK(gmp_rwmutex_rlock(&rw));
    CHECK_EQ(gmp_rwmutex_unlock(&rw), -EPERM);
    g = start_user(&writer, true, GMP_FOREVER);
    AWAIT(closed_to_readers());
    /* The writer waits and has not got it. */
    CHECK_EQ(gmp_rwmutex_unlock(&rw), -EPERM);
    CHECK_EQ(atomic_load(&writer.result), PENDING);
    CHECK_OK(gmp_rwmutex_runlock(&rw));
    join_user(g, &writer, 0);
    check_free();
}

static void waiting_writer_goes_first(void)
{
    struct user writer, reader;
    gmp_g *first, *second;

    atomic_store(&turns, 0);
    CHECK_OK(gmp_rwmutex_rlock(&rw));
    first = start_user(&writer, true, GMP_FOREVER);
    AWAIT(closed_to_readers());
    CHECK_EQ(take(false, 0), -ETIMEDOUT);
    CHECK_EQ(take(false, gmp_after_ns(MS(2))), -ETIMEDOUT);
    second = start_user(&reader, false, GMP_FOREVER);
    CHECK_OK(gmp_sleep(MS(2)));
    CHECK_EQ(atomic_load(&reader.result), PENDING);
    CHECK_EQ(atomic_load(&writer.result), PENDING);
    CHECK_OK(gmp_rwmutex_runlock(&rw));
    join_user(first, &writer, 0);
    join_user(second, &reader, 0);
    CHECK_EQ(writer.turn, 0);
    CHECK_EQ(reader.turn, 1);
    check_free();
}

/* Whether the readers that wait for a writer went before the writer that
 * waits too; `at` of them came before that writer. */
static bool readers_went_first(int at)
{
    struct user readers[READERS], writer;
    gmp_g *gs[READERS], *g = NULL;

    atomic_store(&turns, 0);
    CHECK_OK(gmp_rwmutex_lock(&rw));
    for (int i = 0; i <= READERS; i++) {
        if (i == at) {
            g = start_user(&writer, true, GMP_FOREVER);
            CHECK_OK(gmp_sleep(MS(1)));
        }
        if (i < READERS)
            gs[i] = start_user(&readers[i], false, GMP_FOREVER);
    }
    CHECK_OK(gmp_sleep(MS(2)));
    CHECK_EQ(atomic_load(&turns), 0);
    CHECK_OK(gmp_rwmutex_unlock(&rw));
    for (int i = 0; i < READERS; i++)
        join_user(gs[i], &readers[i], 0);
    join_user(g, &writer, 0);
    check_free();
    return writer.turn == READERS;
}

/* A loaded machine may hold one reader up on its way to the lock. That it
 * does so each of four times is the lock's fault. */
static void readers_go_after_a_writer(void)
{
    for (int at = 0; at <= READERS; at += READERS)
        for (int tries = 0; !readers_went_first(at); tries++)
            CHECK(tries < 3);
}

/* A writer gives up while a reader holds the lock: those behind it share. */
static void leaving_writer_lets_readers_in(bool cancel)
{
    struct user writer, readers[READERS];
    gmp_g *g, *gs[READERS];

    CHECK_OK(gmp_rwmutex_rlock(&rw));
    g = start_user(&writer, true, cancel ? GMP_FOREVER : gmp_after_ns(MS(8)));
    if (cancel)
        AWAIT(closed_to_readers());
    for (int i = 0; i < READERS; i++)
        gs[i] = start_user(&readers[i], false,
                           i % 2 ? GMP_FOREVER : gmp_after_ns(SEC(40)));
    CHECK_OK(gmp_sleep(MS(1)));
    if (cancel) {
        for (int i = 0; i < READERS; i++)
            CHECK_EQ(atomic_load(&readers[i].result), PENDING);
        CHECK_OK(gmp_cancel(g));
    }
    join_user(g, &writer, cancel ? -ECANCELED : -ETIMEDOUT);
    for (int i = 0; i < READERS; i++)
        join_user(gs[i], &readers[i], 0);
    CHECK_OK(gmp_rwmutex_runlock(&rw));
    check_free();
}

/* A reader and a writer give up behind one that waits, which goes on. */
static void leavers_behind_a_writer(void)
{
    struct user writer, users[2];
    gmp_g *g, *gs[2];

    CHECK_OK(gmp_rwmutex_rlock(&rw));
    g = start_user(&writer, true, GMP_FOREVER);
    AWAIT(closed_to_readers());
    for (int i = 0; i < 2; i++)
        gs[i] = start_user(&users[i], i == 1, GMP_FOREVER);
    CHECK_OK(gmp_sleep(MS(1)));
    for (int i = 0; i < 2; i++) {
        CHECK_OK(gmp_cancel(gs[i]));
        join_user(gs[i], &users[i], -ECANCELED);
    }
    CHECK(closed_to_readers());
    CHECK_EQ(atomic_load(&writer.result), PENDING);
    CHECK_OK(gmp_rwmutex_runlock(&rw));
    join_user(g, &writer, 0);
    check_free();
}

struct cancelled {
    bool writes;
    atomic_bool arrived, locked;
};

static void lock_though_cancelled(void *arg)
{
    struct cancelled *c = arg;

    atomic_store(&c->arrived, true);
    CHECK_OK(c->writes ? gmp_rwmutex_lock(&rw) : gmp_rwmutex_rlock(&rw));
    atomic_store(&c->locked, true);
    CHECK(gmp_cancelled());
    CHECK_OK(leave(c->writes));
    /* Only the twins look, and do so before anything else. */
    CHECK_EQ(take(c->writes, GMP_FOREVER), -ECANCELED);
    CHECK_EQ(take(c->writes, 0), -ECANCELED);
    CHECK_OK(c->writes ? gmp_rwmutex_trylock(&rw) : gmp_rwmutex_tryrlock(&rw));
    CHECK_OK(leave(c->writes));
    CHECK_OK(gmp_shield_enter());
    CHECK_OK(take(c->writes, 0));
    CHECK_EQ(take(true, gmp_after_ns(MS(1))), -ETIMEDOUT);
    CHECK_OK(gmp_shield_leave());
    CHECK_OK(leave(c->writes));
    CHECK_OK(c->writes ? gmp_rwmutex_lock(&rw) : gmp_rwmutex_rlock(&rw));
    CHECK_OK(leave(c->writes));
}

static void locking_is_not_interrupted(bool writes, bool held_to_write)
{
    struct cancelled c = {.writes = writes};
    gmp_g *g;

    CHECK_OK(take(held_to_write, GMP_FOREVER));
    g = spawn(lock_though_cancelled, &c);
    AWAIT(atomic_load(&c.arrived));
    CHECK_OK(gmp_sleep(MS(1)));
    CHECK_OK(gmp_cancel(g));
    CHECK_OK(gmp_sleep(MS(1)));
    CHECK(!atomic_load(&c.locked));
    CHECK_OK(leave(held_to_write));
    CHECK_OK(gmp_join(g));
    check_free();
}

static void cancel_ends_a_wait(bool writes)
{
    struct user user;
    gmp_g *g;

    for (int i = 0; i < 6; i++) {
        CHECK_OK(gmp_rwmutex_lock(&rw));
        g = start_user(&user, writes, GMP_FOREVER);
        if (i % 2)
            CHECK_OK(gmp_sleep(MS(1)));
        CHECK_OK(gmp_cancel(g));
        join_user(g, &user, -ECANCELED);
        CHECK_EQ(gmp_rwmutex_tryrlock(&rw), -EAGAIN);
        CHECK_OK(gmp_rwmutex_unlock(&rw));
        check_free();
    }
}

/* A reader's or a writer's time is over just when the writer unlocks. */
static void leave_at_the_unlock(bool cancel)
{
    struct user users[2];
    uint64_t random = 5;

    for (int i = 0; i < ROUNDS; i++) {
        int64_t due = gmp_after_ns(US(150)), jitter;
        gmp_g *gs[2];

        CHECK_OK(gmp_rwmutex_lock(&rw));
        for (int j = 0; j < 2; j++)
            gs[j] = start_user(&users[j], (i + j) % 2,
                               cancel ? GMP_FOREVER : due);
        jitter = (int64_t)(next_random(&random) % (uint64_t)US(40)) - US(20);
        while (gmp_now() < due + jitter)
            gmp_checkpoint();
        if (cancel)
            CHECK_OK(gmp_cancel(gs[i / 2 % 2]));
        CHECK_OK(gmp_rwmutex_unlock(&rw));
        for (int j = 0; j < 2; j++) {
            CHECK_OK(gmp_join(gs[j]));
            if (cancel)
                CHECK_EQ(users[j].result, j == i / 2 % 2 ? -ECANCELED : 0);
            else if (users[j].result != 0)
                CHECK_EQ(users[j].result, -ETIMEDOUT);
        }
        check_free();
    }
}

static atomic_bool stop;
static atomic_int writers_in, readers_in;
static atomic_long written;
static long left, right; /* lock: rw, equal while nobody writes */

static void write_once(uint64_t random)
{
    CHECK_EQ(atomic_fetch_add(&writers_in, 1), 0);
    CHECK_EQ(atomic_load(&readers_in), 0);
    left++;
    if (random % 4 == 0)
        gmp_yield();
    if (random % 61 == 0)
        CHECK_OK(gmp_sleep(US(20)));
    right++;
    atomic_fetch_sub(&writers_in, 1);
    atomic_fetch_add(&written, 1);
}

static void read_once(uint64_t random)
{
    long seen = right;

    atomic_fetch_add(&readers_in, 1);
    CHECK_EQ(atomic_load(&writers_in), 0);
    CHECK_EQ(left, seen);
    if (random % 4 == 0)
        gmp_yield();
    CHECK_EQ(left, seen);
    CHECK_EQ(right, seen);
    atomic_fetch_sub(&readers_in, 1);
}

/* Takes it in a way that `random` picks. */
static int take_somehow(bool writes, uint64_t random)
{
    int64_t span = (int64_t)(random >> 8) % US(60);

    switch (random % 6) {
    case 0:
        return writes ? gmp_rwmutex_trylock(&rw) : gmp_rwmutex_tryrlock(&rw);
    case 1:
        return take(writes, 0);
    case 2:
    case 3:
        return take(writes, gmp_after_ns(span));
    default:
        return writes ? gmp_rwmutex_lock(&rw) : gmp_rwmutex_rlock(&rw);
    }
}

static void work(void *arg)
{
    uint64_t random = (uint64_t)(intptr_t)arg;

    for (int i = 0; i < ROUNDS; i++) {
        uint64_t r = next_random(&random);
        bool writes = (r >> 40) % 4 == 0;
        int result = take_somehow(writes, r);

        if (result != 0) {
            CHECK_EQ(result, r % 6 == 0 ? -EAGAIN : -ETIMEDOUT);
            continue;
        }
        if (writes)
            write_once(r);
        else
            read_once(r);
        CHECK_OK(leave(writes));
    }
}

static void *work_on_thread(void *arg)
{
    work(arg);
    return NULL;
}

static void readers_see_no_half_write(void)
{
    gmp_g *users[USERS];
    pthread_t threads[THREADS];
    long before = left;

    atomic_store(&written, 0);
    for (intptr_t i = 0; i < USERS; i++)
        users[i] = spawn(work, (void *)(i + 1));
    for (intptr_t i = 0; i < THREADS; i++)
        CHECK_OK(pthread_create(&threads[i], NULL, work_on_thread,
                                (void *)(i + 1000)));
    for (int i = 0; i < USERS; i++)
        CHECK_OK(gmp_join(users[i]));
    for (int i = 0; i < THREADS; i++)
        CHECK_OK(pthread_join(threads[i], NULL));
    CHECK_EQ(left - before, atomic_load(&written));
    CHECK_EQ(right, left);
    check_free();
}

static void work_until_cancelled(void *arg)
{
    uint64_t random = (uint64_t)(intptr_t)arg;
    bool writes;
    int result;

    do {
        writes = next_random(&random) % 3 == 0;
        result = take(writes, GMP_FOREVER);
        if (result != 0)
            continue;
        if (writes)
            write_once(1);
        else
            read_once(random);
        CHECK_OK(leave(writes));
    } while (result == 0);
    CHECK_EQ(result, -ECANCELED);
}

static void cancels_leave_nothing_behind(void)
{
    gmp_g *users[USERS];

    for (int round = 0; round < 10; round++) {
        for (intptr_t i = 0; i < USERS; i++)
            users[i] = spawn(work_until_cancelled, (void *)(i + 1));
        for (int i = 0; i < USERS; i++) {
            if (i % 4 == 0)
                CHECK_OK(gmp_sleep(US(50)));
            CHECK_OK(gmp_cancel(users[i]));
        }
        for (int i = 0; i < USERS; i++)
            CHECK_OK(gmp_join(users[i]));
        CHECK_EQ(left, right);
        check_free();
    }
}

/* Takes it again and again as one kind, so that it is hardly ever free. */
static void hog(void *arg)
{
    bool writes = (intptr_t)arg;

    while (!atomic_load(&stop)) {
        CHECK_OK(writes ? gmp_rwmutex_lock(&rw) : gmp_rwmutex_rlock(&rw));
        gmp_yield();
        CHECK_OK(leave(writes));
    }
}

static void hogs_starve_nobody(bool writes)
{
    gmp_g *hogs[3];

    atomic_store(&stop, false);
    for (int i = 0; i < 3; i++)
        hogs[i] = spawn(hog, (void *)(intptr_t)writes);
    for (int i = 0; i < 8; i++) {
        CHECK_OK(take(i / 2 % 2, i % 2 ? GMP_FOREVER : gmp_after_ns(SEC(40))));
        CHECK_OK(leave(i / 2 % 2));
    }
    atomic_store(&stop, true);
    for (int i = 0; i < 3; i++)
        CHECK_OK(gmp_join(hogs[i]));
    check_free();
}

int test_main(int argc, char **argv)
{
    static const gmp_fn anywhere[] = {writer_is_alone, deadlines};

    for (size_t i = 0; i < sizeof anywhere / sizeof *anywhere; i++) {
        anywhere[i](NULL);
        CHECK_OK(gmp_join(spawn(anywhere[i], NULL)));
    }
    readers_share();
    belongs_to_nobody();
    wrong_unlocks();
    waiting_writer_goes_first();
    readers_go_after_a_writer();
    leavers_behind_a_writer();
    locking_is_not_interrupted(true, false);
    for (int yes = 0; yes < 2; yes++) {
        leaving_writer_lets_readers_in(yes);
        locking_is_not_interrupted(yes, true);
        cancel_ends_a_wait(yes);
        leave_at_the_unlock(yes);
        hogs_starve_nobody(yes);
    }
    readers_see_no_half_write();
    cancels_leave_nothing_behind();
    return 0;
}
