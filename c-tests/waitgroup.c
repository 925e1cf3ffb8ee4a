/* Wait groups: counting down to zero, again and again. */
#include "test.h"

enum { WORKERS = 200, WAITERS = 10, ROUNDS = 50 };

static gmp_waitgroup group = GMP_WAITGROUP_INIT;
static gmp_waitgroup waiters_done = GMP_WAITGROUP_INIT;
static atomic_int done;

static void work(void *arg)
{
    if ((intptr_t)arg % 3 == 0)
        gmp_yield();
    atomic_fetch_add(&done, 1);
    CHECK_OK(gmp_waitgroup_done(&group));
}

static void wait_for_all(void *arg)
{
    CHECK_OK(gmp_waitgroup_wait(&group));
    CHECK_EQ(atomic_load(&done), WORKERS);
    CHECK_OK(gmp_waitgroup_done(&waiters_done));
}

static void *wait_on_thread(void *arg)
{
    wait_for_all(arg);
    return NULL;
}

static void many_wait_for_many(void)
{
    for (int round = 0; round < ROUNDS; round++) {
        pthread_t thread;

        atomic_store(&done, 0);
        CHECK_OK(gmp_waitgroup_add(&group, WORKERS));
        CHECK_OK(gmp_waitgroup_add(&waiters_done, WAITERS + 1));
        for (int i = 0; i < WAITERS; i++)
            CHECK_OK(gmp_go(wait_for_all, NULL));
        CHECK_OK(pthread_create(&thread, NULL, wait_on_thread, NULL));
        for (intptr_t i = 0; i < WORKERS; i++)
            CHECK_OK(gmp_go(work, (void *)i));
        CHECK_OK(gmp_waitgroup_wait(&waiters_done));
        CHECK_OK(pthread_join(thread, NULL));
    }
}

static void zero_does_not_wait(void)
{
    gmp_waitgroup fresh = GMP_WAITGROUP_INIT;

    CHECK_OK(gmp_waitgroup_wait(&fresh));
    CHECK_OK(gmp_waitgroup_add(&fresh, 0));
    CHECK_OK(gmp_waitgroup_wait(&fresh));
}

static void below_zero_is_refused(void)
{
    gmp_waitgroup fresh = GMP_WAITGROUP_INIT;

    CHECK_EQ(gmp_waitgroup_done(&fresh), -EINVAL);
    CHECK_EQ(gmp_waitgroup_add(&fresh, -1), -EINVAL);
    CHECK_OK(gmp_waitgroup_add(&fresh, 2));
    CHECK_EQ(gmp_waitgroup_add(&fresh, -3), -EINVAL);
    CHECK_EQ(gmp_waitgroup_add(&fresh, INT64_MIN), -EINVAL);
    /* What was refused changed nothing. */
    CHECK_OK(gmp_waitgroup_add(&fresh, -2));
    CHECK_OK(gmp_waitgroup_wait(&fresh));
}

static void count_down(void *arg)
{
    gmp_waitgroup *latch = arg;

    CHECK_OK(gmp_sleep(MS(1)));
    CHECK_OK(gmp_waitgroup_add(latch, -1000));
}

static void steps_may_be_large(void)
{
    gmp_waitgroup latch = GMP_WAITGROUP_INIT;
    gmp_g *g;

    CHECK_OK(gmp_waitgroup_add(&latch, 1000));
    g = spawn(count_down, &latch);
    CHECK_OK(gmp_waitgroup_wait(&latch));
    CHECK_OK(gmp_join(g));
}

int test_main(int argc, char **argv)
{
    many_wait_for_many();
    zero_does_not_wait();
    below_zero_is_refused();
    steps_may_be_large();
    return 0;
}
