/* Joining: once, from goroutines and host threads, before and after the end,
 * with a deadline, and what is refused. */
#include "test.h"

enum { MANY = 1000, JOINERS = 8 };

static atomic_int ended;

static void finish(void *arg)
{
    atomic_fetch_add(&ended, 1);
}

static void finish_late(void *arg)
{
    CHECK_OK(gmp_sleep(MS(20)));
    atomic_fetch_add(&ended, 1);
}

static void joins_see_the_end(void *arg)
{
    int before = atomic_load(&ended);
    gmp_g *early = spawn(finish, NULL);
    gmp_g *late = spawn(finish_late, NULL);

    AWAIT(atomic_load(&ended) >= before + 1);
    CHECK_OK(gmp_join(early));
    CHECK_OK(gmp_join(late));
    CHECK_EQ(atomic_load(&ended), before + 2);
}

static void second_join_is_refused(void *arg)
{
    gmp_g *g = spawn(finish, NULL);

    CHECK_OK(gmp_join(g));
    CHECK_EQ(gmp_join(g), -EINVAL);
    CHECK_EQ(gmp_join_until(g, GMP_FOREVER), -EINVAL);
    /* The descriptor is used again: the old handle stays invalid. */
    for (int i = 0; i < 100; i++) {
        gmp_g *other = spawn(finish, NULL);

        CHECK(other != g);
        CHECK_EQ(gmp_join(g), -EINVAL);
        CHECK_EQ(gmp_ready(g), -EINVAL);
        CHECK_OK(gmp_join(other));
    }
}

static void released_is_gone(void *arg)
{
    int before = atomic_load(&ended);
    gmp_g *g = spawn(finish_late, NULL);

    gmp_release(g);
    CHECK_EQ(gmp_join(g), -EINVAL);
    g = spawn(finish, NULL);
    gmp_release(g);
    gmp_release(g);
    CHECK_EQ(gmp_join(g), -EINVAL);
    gmp_release(NULL);
    AWAIT(atomic_load(&ended) == before + 2);
}

static void finish_when_closed(void *gate)
{
    CHECK_EQ(gmp_chan_recv(gate, NULL), -EPIPE);
}

static void deadline_keeps_the_handle(void *arg)
{
    gmp_chan *gate = gmp_chan_make(0, 0);
    gmp_g *g = spawn(finish_when_closed, gate);
    int64_t start = gmp_now();

    CHECK_EQ(gmp_join_until(g, gmp_after_ns(MS(2))), -ETIMEDOUT);
    CHECK(gmp_now() - start >= MS(2));
    CHECK_EQ(gmp_join_until(g, 0), -ETIMEDOUT);
    CHECK_EQ(gmp_join_until(g, INT64_MIN), -ETIMEDOUT);
    CHECK_OK(gmp_chan_close(gate));
    CHECK_OK(gmp_join_until(g, gmp_after_ns(SEC(30))));
    CHECK_EQ(gmp_join(g), -EINVAL);
    gmp_chan_unref(gate);

    /* A deadline in the past tries once. */
    start = atomic_load(&ended);
    g = spawn(finish, NULL);
    AWAIT(atomic_load(&ended) > start);
    while (gmp_join_until(g, 0) == -ETIMEDOUT)
        gmp_yield();
    CHECK_EQ(gmp_join_until(g, 0), -EINVAL);
}

static gmp_g *_Atomic myself;

static void join_myself(void *arg)
{
    AWAIT(myself != NULL);
    CHECK_EQ(gmp_join(myself), -EDEADLK);
    CHECK_EQ(gmp_join_until(myself, 0), -EDEADLK);
}

static gmp_g *wanted;
static atomic_int winners;

static void race_to_join(void *arg)
{
    int result = gmp_join(wanted);

    CHECK(result == 0 || result == -EINVAL);
    atomic_fetch_add(&winners, result == 0);
}

static void only_one_joiner_wins(void)
{
    for (int round = 0; round < 20; round++) {
        gmp_g *joiners[JOINERS];

        atomic_store(&winners, 0);
        wanted = spawn(round % 2 ? finish : finish_late, NULL);
        for (int i = 0; i < JOINERS; i++)
            joiners[i] = spawn(race_to_join, NULL);
        for (int i = 0; i < JOINERS; i++)
            CHECK_OK(gmp_join(joiners[i]));
        CHECK_EQ(atomic_load(&winners), 1);
    }
}

static void finish_in_two_parts(void *arg)
{
    gmp_yield();
    atomic_fetch_add(&ended, 1);
}

/* A host thread may run an unstarted goroutine in place; whether it does, and
 * in whatever order the joins come, each goroutine runs exactly once. */
static void join_unstarted(void *arg)
{
    static gmp_g *gs[MANY];
    int before = atomic_load(&ended);
    uint64_t random = 7;

    for (int i = 0; i < MANY; i++)
        gs[i] = spawn(i % 2 ? finish : finish_in_two_parts, NULL);
    for (int i = MANY - 1; i > 0; i--) {
        int j = (int)(next_random(&random) % (unsigned)(i + 1));
        gmp_g *g = gs[i];

        if (i % 3 == 0) {
            gs[i] = gs[j];
            gs[j] = g;
        }
    }
    for (int i = MANY - 1; i >= 0; i--)
        CHECK_OK(gmp_join(gs[i]));
    CHECK_EQ(atomic_load(&ended), before + MANY);
    for (int i = 0; i < MANY; i++)
        CHECK_OK(gmp_join(spawn(finish_in_two_parts, NULL)));
    CHECK_EQ(atomic_load(&ended), before + 2 * MANY);
}

static void tree(void *arg)
{
    intptr_t depth = (intptr_t)arg;
    gmp_g *left, *right;

    if (depth == 0) {
        atomic_fetch_add(&ended, 1);
        return;
    }
    left = spawn(tree, (void *)(depth - 1));
    right = spawn(tree, (void *)(depth - 1));
    CHECK_OK(gmp_join(left));
    CHECK_OK(gmp_join(right));
}

int test_main(int argc, char **argv)
{
    static const gmp_fn cases[] = {
        joins_see_the_end,
        second_join_is_refused,
        released_is_gone,
        deadline_keeps_the_handle,
        join_unstarted,
    };
    int before;

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        cases[i](NULL);                           /* from a host thread */
        CHECK_OK(gmp_join(spawn(cases[i], NULL))); /* from a goroutine */
    }
    myself = spawn(join_myself, NULL);
    CHECK_OK(gmp_join(myself));
    only_one_joiner_wins();
    before = atomic_load(&ended);
    CHECK_OK(gmp_join(spawn(tree, (void *)(intptr_t)10)));
    CHECK(atomic_load(&ended) >= before + 1024);
    return 0;
}
