/* Barriers: nobody goes on before all have come, one of each round is told so,
 * and a caller that gives up leaves the round as if it had not come. */
#include "test.h"

enum { PARTIES = 6, THREADS = 2, ROUNDS = 300, GUESTS = 8, STEPS = 200 };
enum { PENDING = 77 };

static void sizes(void *arg)
{
    gmp_barrier one = GMP_BARRIER_INIT(1), two = GMP_BARRIER_INIT(2), cleared;
    static gmp_barrier fixed = GMP_BARRIER_INIT(1);

    memset(&cleared, 0, sizeof cleared);
    for (int i = 0; i < 3; i++) {
        CHECK_EQ(gmp_barrier_wait(&one), 1);
        CHECK_EQ(gmp_barrier_wait(&fixed), 1);
        CHECK_EQ(gmp_barrier_wait_until(&one, INT64_MIN), 1);
        CHECK_EQ(gmp_barrier_wait_until(&two, 0), -ETIMEDOUT);
        CHECK_EQ(gmp_barrier_wait_until(&two, gmp_after_ns(US(300))),
                 -ETIMEDOUT);
    }
    CHECK_EQ(gmp_barrier_wait(&cleared), -EINVAL);
    CHECK_EQ(gmp_barrier_wait_until(&cleared, GMP_FOREVER), -EINVAL);
    CHECK_EQ(gmp_barrier_wait(NULL), -EINVAL);
    CHECK_EQ(gmp_barrier_wait_until(NULL, 0), -EINVAL);
}

/* Rounds of several goroutines and host threads. The counter of a round is
 * plain memory: the barrier orders what each does before and after. */
static gmp_barrier all = GMP_BARRIER_INIT(PARTIES + THREADS);
static long counted[PARTIES + THREADS];
static long told, sum;

static void party(void *arg)
{
    intptr_t me = (intptr_t)arg;

    for (long round = 1; round <= ROUNDS; round++) {
        int result;

        counted[me] = round;
        if ((me + round) % 3 == 0)
            gmp_yield();
        result = me % 2 ? gmp_barrier_wait(&all)
                        : gmp_barrier_wait_until(&all, gmp_after_ns(SEC(40)));
        CHECK(result == 0 || result == 1);
        for (int i = 0; i < PARTIES + THREADS; i++)
            CHECK(counted[i] == round);
        if (result == 1)
            told++;
        result = gmp_barrier_wait(&all);
        CHECK(result == 0 || result == 1);
        if (result == 1)
            sum += round;
        CHECK_EQ(told, round);
    }
}

static void *party_on_thread(void *arg)
{
    party(arg);
    return NULL;
}

static void rounds(void)
{
    gmp_g *gs[PARTIES];
    pthread_t threads[THREADS];

    for (intptr_t i = 0; i < PARTIES; i++)
        gs[i] = spawn(party, (void *)i);
    for (intptr_t i = 0; i < THREADS; i++)
        CHECK_OK(pthread_create(&threads[i], NULL, party_on_thread,
                                (void *)(PARTIES + i)));
    for (int i = 0; i < PARTIES; i++)
        CHECK_OK(gmp_join(gs[i]));
    for (int i = 0; i < THREADS; i++)
        CHECK_OK(pthread_join(threads[i], NULL));
    CHECK_EQ(told, ROUNDS);
    CHECK_EQ(sum, (long)ROUNDS * (ROUNDS + 1) / 2);
}

/* One that waits at a barrier of three. */
static gmp_barrier three = GMP_BARRIER_INIT(3);

struct caller {
    int64_t deadline;
    atomic_bool arrived;
    atomic_int result; /* PENDING until its call returns */
};

static void come(void *arg)
{
    struct caller *c = arg;

    atomic_store(&c->arrived, true);
    atomic_store(&c->result,
                 c->deadline == GMP_FOREVER
                     ? gmp_barrier_wait(&three)
                     : gmp_barrier_wait_until(&three, c->deadline));
}

static void *come_on_thread(void *arg)
{
    come(arg);
    return NULL;
}

static void prepare(struct caller *c, int64_t deadline)
{
    c->deadline = deadline;
    atomic_store(&c->arrived, false);
    atomic_store(&c->result, PENDING);
}

static gmp_g *start(struct caller *c, int64_t deadline)
{
    gmp_g *g;

    prepare(c, deadline);
    g = spawn(come, c);
    AWAIT(atomic_load(&c->arrived));
    return g;
}

/* A round of three to which a fourth had come and gone. */
static void one_leaves(bool cancel, bool thread)
{
    struct caller leaver, stays[2];
    gmp_g *g = NULL, *gs[2];
    pthread_t t;

    gs[0] = start(&stays[0], GMP_FOREVER);
    if (thread) {
        prepare(&leaver, gmp_after_ns(MS(3)));
        CHECK_OK(pthread_create(&t, NULL, come_on_thread, &leaver));
        CHECK_OK(pthread_join(t, NULL));
    } else {
        g = start(&leaver, cancel ? GMP_FOREVER : gmp_after_ns(MS(3)));
        CHECK_OK(gmp_sleep(MS(1)));
        if (cancel)
            CHECK_OK(gmp_cancel(g));
        CHECK_OK(gmp_join(g));
    }
    CHECK_EQ(leaver.result, cancel ? -ECANCELED : -ETIMEDOUT);
    gs[1] = start(&stays[1], GMP_FOREVER);
    CHECK_OK(gmp_sleep(MS(1)));
    /* Two have come. */
    CHECK_EQ(stays[0].result, PENDING);
    CHECK_EQ(stays[1].result, PENDING);
    CHECK(gmp_barrier_wait(&three) >= 0);
    for (int i = 0; i < 2; i++) {
        CHECK_OK(gmp_join(gs[i]));
        CHECK(stays[i].result == 0 || stays[i].result == 1);
    }
}

static void when_cancelled(void *arg)
{
    gmp_barrier one = GMP_BARRIER_INIT(1);

    CHECK_OK(gmp_cancel(gmp_self()));
    /* It looks at that before it arrives, also as the last. */
    CHECK_EQ(gmp_barrier_wait(&one), -ECANCELED);
    CHECK_EQ(gmp_barrier_wait_until(&one, 0), -ECANCELED);
    CHECK_OK(gmp_shield_enter());
    CHECK_EQ(gmp_barrier_wait(&one), 1);
    CHECK_OK(gmp_shield_leave());
}

/* Guests come, wait a moment and leave, and are cancelled. Of those whose wait
 * succeeds there are two for each round, and one 1. */
static gmp_barrier pairs = GMP_BARRIER_INIT(2);
static atomic_long firsts, lasts, left;

static void guest(void *arg)
{
    uint64_t random = (uint64_t)(intptr_t)arg;

    for (int i = 0; i < STEPS; i++) {
        int64_t ns = (int64_t)(next_random(&random) % (uint64_t)US(60));
        int result = gmp_barrier_wait_until(&pairs, gmp_after_ns(ns));

        if (result == -ECANCELED)
            break;
        CHECK(result == 0 || result == 1 || result == -ETIMEDOUT);
        atomic_fetch_add(result == 1 ? &lasts : result == 0 ? &firsts : &left,
                         1);
    }
}

static void *guest_on_thread(void *arg)
{
    guest(arg);
    return NULL;
}

static void come_and_leave(void)
{
    gmp_g *gs[GUESTS];
    pthread_t threads[THREADS];

    for (intptr_t i = 0; i < GUESTS; i++)
        gs[i] = spawn(guest, (void *)(i + 1));
    for (intptr_t i = 0; i < THREADS; i++)
        CHECK_OK(pthread_create(&threads[i], NULL, guest_on_thread,
                                (void *)(i + 1000)));
    for (int i = 0; i < GUESTS; i++) {
        if (i % 4 == 0) {
            int result = gmp_cancel(gs[i]);

            CHECK(result == 0 || result == -EINVAL); /* it may have ended */
        }
    }
    for (int i = 0; i < GUESTS; i++)
        CHECK_OK(gmp_join(gs[i]));
    for (int i = 0; i < THREADS; i++)
        CHECK_OK(pthread_join(threads[i], NULL));
    CHECK_EQ(atomic_load(&firsts), atomic_load(&lasts));
    printf("%ld rounds, %ld left\n", atomic_load(&lasts), atomic_load(&left));
    /* It is empty. */
    CHECK_EQ(gmp_barrier_wait_until(&pairs, 0), -ETIMEDOUT);
}

/* Each of a round may give the memory up once its wait has returned. The third
 * waits with a deadline that comes at about the same time as the round's end;
 * it comes again if it was too early. */
struct round {
    gmp_barrier barrier;
    atomic_int back;
};

static void go_through(void *arg)
{
    struct round *r = arg;
    int result;

    while ((result = gmp_barrier_wait_until(&r->barrier,
                                            gmp_after_ns(US(15)))) < 0)
        CHECK_EQ(result, -ETIMEDOUT);
    if (atomic_fetch_add(&r->back, 1) == 2) {
        memset(&r->barrier, 0xA5, sizeof r->barrier);
        atomic_fetch_add(&r->back, 1);
    }
}

static void memory_may_go(void)
{
    static unsigned char wiped[sizeof(gmp_barrier)];

    memset(wiped, 0xA5, sizeof wiped);
    for (int i = 0; i < ROUNDS; i++) {
        struct round r = {GMP_BARRIER_INIT(3), 0};
        gmp_g *gs[3];

        for (int j = 0; j < 3; j++)
            gs[j] = spawn(go_through, &r);
        for (int j = 0; j < 3; j++)
            CHECK_OK(gmp_join(gs[j]));
        CHECK_EQ(r.back, 4);
        CHECK(memcmp(&r.barrier, wiped, sizeof wiped) == 0);
    }
}

int test_main(int argc, char **argv)
{
    sizes(NULL);
    CHECK_OK(gmp_join(spawn(sizes, NULL)));
    rounds();
    for (int i = 0; i < 5; i++) {
        one_leaves(false, false);
        one_leaves(true, false);
        one_leaves(false, true);
    }
    CHECK_OK(gmp_join(spawn(when_cancelled, NULL)));
    come_and_leave();
    memory_may_go();
    return 0;
}
