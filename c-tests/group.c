/* Groups: the first error ends them all and is what a wait returns; no member
 * outlives its group; groups made by members are part of theirs. */
#include "test.h"

enum { DEPTH = 3, FANOUT = 3 };

#define MANY test_times(5000)

static atomic_int started, live, cancelled_members;
static gmp_group *group;

static void reset(void)
{
    CHECK_EQ(atomic_load(&live), 0);
    atomic_store(&started, 0);
    atomic_store(&cancelled_members, 0);
}

static void go(gmp_group *gr, int (*fn)(void *), intptr_t arg)
{
    CHECK_OK(gmp_group_go(gr, fn, (void *)arg));
}

static void go_many(gmp_group *gr, int (*fn)(void *), int n)
{
    for (intptr_t i = 0; i < n; i++)
        go(gr, fn, i);
}

static void leave(void *arg)
{
    for (int i = 0; i < 3; i++)
        gmp_yield();
    atomic_fetch_sub(&live, 1);
}

/* A member begins so: it lives until the last of its defers. */
static void enter(void)
{
    atomic_fetch_add(&live, 1);
    CHECK_OK(gmp_defer(leave, NULL));
    atomic_fetch_add(&started, 1);
}

static int return_number(void *number)
{
    enter();
    return (int)(intptr_t)number;
}

static int return_zero(void *arg)
{
    enter();
    gmp_yield();
    return 0;
}

static int exit_early(void *arg)
{
    enter();
    gmp_exit();
    return -EIO;
}

static int be_cancelled(void *result)
{
    enter();
    CHECK_EQ(gmp_chan_recv(NULL, NULL), -ECANCELED);
    CHECK(gmp_cancelled());
    atomic_fetch_add(&cancelled_members, 1);
    return (int)(intptr_t)result;
}

static void wait_returns_the_first_error(void *arg)
{
    group = gmp_group_make();
    CHECK(group != NULL);
    reset();
    CHECK_OK(gmp_group_wait(group)); /* of nobody */
    go_many(group, return_zero, 10);
    CHECK_OK(gmp_group_wait(group));
    CHECK_EQ(atomic_load(&live), 0);
    CHECK_EQ(atomic_load(&started), 10);
    CHECK_OK(gmp_group_wait(group));

    /* The same group once more. All but one return an error, but later. */
    go_many(group, return_zero, 5);
    for (int i = 0; i < 10; i++)
        go(group, be_cancelled, -EIO);
    go(group, return_number, -ENOENT);
    CHECK_EQ(gmp_group_wait(group), -ENOENT);
    CHECK_EQ(atomic_load(&live), 0);
    CHECK_EQ(atomic_load(&cancelled_members), 10);
    CHECK_EQ(gmp_group_wait(group), -ENOENT);
    gmp_group_free(group);
}

static int see_cancel_at_birth(void *arg)
{
    CHECK(gmp_cancelled());
    return be_cancelled(arg);
}

static void who_comes_late_is_cancelled(void *arg)
{
    group = gmp_group_make();
    reset();
    go(group, return_number, 42); /* any number but 0 is an error */
    CHECK_EQ(gmp_group_wait(group), 42);
    go_many(group, see_cancel_at_birth, 10);
    CHECK_EQ(gmp_group_wait(group), 42);
    CHECK_EQ(atomic_load(&cancelled_members), 10);
    gmp_group_free(group);

    group = gmp_group_make();
    reset();
    CHECK_OK(gmp_group_cancel(group));
    go(group, see_cancel_at_birth, 0);
    CHECK_OK(gmp_group_wait(group));
    CHECK_EQ(atomic_load(&cancelled_members), 1);
    go(group, see_cancel_at_birth, -EXDEV);
    CHECK_EQ(gmp_group_wait(group), -EXDEV);
    gmp_group_free(group);
}

static void cancel_ends_all(void *arg)
{
    group = gmp_group_make();
    reset();
    for (int i = 0; i < 100; i++)
        go(group, be_cancelled, 0);
    AWAIT(atomic_load(&started) == 100);
    CHECK_EQ(atomic_load(&cancelled_members), 0);
    CHECK_OK(gmp_group_cancel(group));
    CHECK_OK(gmp_group_wait(group));
    CHECK_EQ(atomic_load(&cancelled_members), 100);
    CHECK_EQ(atomic_load(&live), 0);
    CHECK_OK(gmp_group_cancel(group));
    CHECK(!gmp_cancelled()); /* whoever calls it is not a member */
    gmp_group_free(group);
}

static void gmp_exit_is_no_error(void *arg)
{
    group = gmp_group_make();
    reset();
    go_many(group, exit_early, 10);
    CHECK_OK(gmp_group_wait(group));
    CHECK_EQ(atomic_load(&live), 0);
    go(group, return_number, -EIO);
    CHECK_EQ(gmp_group_wait(group), -EIO);
    gmp_group_free(group);
}

/* A member that ends in several steps, all of them after the cancel. */
static gmp_key *key;

static void destroy(void *value)
{
    CHECK_OK(gmp_sleep(US(100)));
    atomic_fetch_sub(&live, 1);
}

static int take_time_to_end(void *arg)
{
    CHECK_OK(gmp_setspecific(key, key));
    atomic_fetch_add(&live, 1);
    be_cancelled(arg);
    CHECK_OK(gmp_shield_enter());
    CHECK_OK(gmp_sleep(US(200)));
    CHECK_OK(gmp_shield_leave());
    return -EIO;
}

static int come_back_soon(void *arg)
{
    enter();
    AWAIT(gmp_cancelled());
    return 0;
}

/* Free cancels, and waits for the last instruction of the last member. */
static void free_waits(void *arg)
{
    key = gmp_key_create(destroy);
    CHECK(key != NULL);
    for (int i = 0; i < 20; i++) {
        group = gmp_group_make();
        reset();
        for (int j = 0; j < 20; j++)
            go(group, j % 2 ? take_time_to_end : come_back_soon, 0);
        while (i % 2 && atomic_load(&started) < 20)
            gmp_yield(); /* which works when cancelled, too */
        gmp_group_free(group);
        CHECK_EQ(atomic_load(&live), 0);
        CHECK_EQ(atomic_load(&started), 20);
    }
    gmp_group_free(gmp_group_make());
    gmp_group_free(NULL);
    CHECK_OK(gmp_key_delete(key));
}

static void free_when_cancelled(void *arg)
{
    CHECK_OK(gmp_cancel(gmp_self()));
    free_waits(arg);
}

static void wait_has_a_deadline(void *arg)
{
    int64_t deadline = gmp_after_ns(MS(2));

    group = gmp_group_make();
    reset();
    CHECK_OK(gmp_group_wait_until(group, 0));
    go(group, be_cancelled, 0);
    CHECK_EQ(gmp_group_wait_until(group, 0), -ETIMEDOUT);
    CHECK_EQ(gmp_group_wait_until(group, INT64_MIN), -ETIMEDOUT);
    CHECK_EQ(gmp_group_wait_until(group, deadline), -ETIMEDOUT);
    CHECK(gmp_now() >= deadline);
    CHECK_EQ(atomic_load(&cancelled_members), 0);
    CHECK_OK(gmp_group_cancel(group));
    CHECK_OK(gmp_group_wait_until(group, GMP_FOREVER));
    CHECK_EQ(atomic_load(&live), 0);
    CHECK_OK(gmp_group_wait_until(group, 0));
    gmp_group_free(group);
}

/* Several wait for one group, host threads among them. */
static void wait_for_group(void *arg)
{
    CHECK_EQ(gmp_group_wait(group), -ENOENT);
    CHECK_EQ(atomic_load(&live), 0);
}

static void *wait_on_thread(void *arg)
{
    wait_for_group(arg);
    return NULL;
}

static int fail_when_told(void *ch)
{
    enter();
    CHECK_OK(gmp_chan_recv(ch, NULL));
    return -ENOENT;
}

static void many_wait(void *arg)
{
    gmp_chan *ch = gmp_chan_make(0, 0);
    pthread_t threads[3];
    gmp_g *gs[5];

    group = gmp_group_make();
    reset();
    for (int i = 0; i < 5; i++)
        go(group, be_cancelled, -EIO);
    go(group, fail_when_told, (intptr_t)ch);
    for (int i = 0; i < 3; i++)
        CHECK_OK(pthread_create(&threads[i], NULL, wait_on_thread, NULL));
    for (int i = 0; i < 5; i++)
        gs[i] = spawn(wait_for_group, NULL);
    CHECK_OK(gmp_sleep(MS(1))); /* until they wait, as far as one can see */
    CHECK_OK(gmp_chan_send(ch, NULL));
    for (int i = 0; i < 5; i++)
        CHECK_OK(gmp_join(gs[i]));
    for (int i = 0; i < 3; i++)
        CHECK_OK(pthread_join(threads[i], NULL));
    gmp_group_free(group);
    gmp_chan_unref(ch);
}

static int wait_for_myself(void *arg)
{
    enter();
    CHECK_EQ(gmp_group_wait(group), -EDEADLK);
    CHECK_EQ(gmp_group_wait_until(group, GMP_FOREVER), -EDEADLK);
    CHECK_EQ(gmp_group_wait_until(group, 0), -EDEADLK);
    return -EXDEV;
}

static void members_cannot_wait(void *arg)
{
    group = gmp_group_make();
    reset();
    go(group, wait_for_myself, 0);
    CHECK_EQ(gmp_group_wait(group), -EXDEV);
    gmp_group_free(group);
}

/* A tree of groups: a member makes one, unless it is a leaf, and waits. */
static atomic_int leaves;

static int grow(void *arg)
{
    intptr_t depth = (intptr_t)arg;
    gmp_group *inner;
    int result;

    if (depth == 0) {
        atomic_fetch_add(&leaves, 1);
        return be_cancelled(NULL);
    }
    enter();
    inner = gmp_group_make();
    CHECK(inner != NULL);
    for (int i = 0; i < FANOUT; i++)
        go(inner, grow, depth - 1);
    /* The cancel comes to this member and to the inner group: the order is
     * not said. */
    result = gmp_group_wait(inner);
    CHECK(result == 0 || result == -ECANCELED);
    AWAIT(gmp_cancelled());
    gmp_group_free(inner);
    return 0;
}

static int fail_when_grown(void *arg)
{
    enter();
    AWAIT(atomic_load(&leaves) == FANOUT * FANOUT * FANOUT);
    return -ENOSPC;
}

static void cancel_goes_down(bool by_error)
{
    const int all = FANOUT * FANOUT * FANOUT;

    group = gmp_group_make();
    reset();
    atomic_store(&leaves, 0);
    for (int i = 0; i < FANOUT; i++)
        go(group, grow, DEPTH - 1);
    if (by_error)
        go(group, fail_when_grown, 0);
    AWAIT(atomic_load(&leaves) == all);
    if (!by_error)
        CHECK_OK(gmp_group_cancel(group));
    CHECK_EQ(gmp_group_wait(group), by_error ? -ENOSPC : 0);
    CHECK_EQ(atomic_load(&cancelled_members), all);
    CHECK_EQ(atomic_load(&live), 0);
    gmp_group_free(group);
}

/* A group that is made in a cancelled one is cancelled. */
static int nest_when_cancelled(void *arg)
{
    gmp_group *inner;

    enter();
    AWAIT(gmp_cancelled());
    inner = gmp_group_make();
    go(inner, see_cancel_at_birth, 0);
    CHECK_EQ(gmp_group_wait(inner), -ECANCELED);
    CHECK_OK(gmp_shield_enter());
    CHECK_OK(gmp_group_wait(inner));
    gmp_group_free(inner);
    return 0;
}

/* The cancel reaches the inner members past a shield of their group's maker,
 * which waits for them. */
static int nest_shielded(void *arg)
{
    gmp_group *inner = gmp_group_make();

    enter();
    go(inner, be_cancelled, 0);
    CHECK_OK(gmp_shield_enter());
    CHECK_OK(gmp_group_wait(inner));
    CHECK_OK(gmp_shield_leave());
    gmp_group_free(inner);
    return 0;
}

/* An inner error stays inside, unless the member passes it on. */
static int keep_error(void *arg)
{
    gmp_group *inner = gmp_group_make();

    enter();
    go(inner, be_cancelled, -EIO);
    go(inner, return_number, -EDOM);
    CHECK_EQ(gmp_group_wait(inner), -EDOM);
    CHECK(!gmp_cancelled());
    gmp_group_free(inner);
    return 0;
}

static void groups_nest(void *arg)
{
    cancel_goes_down(false);
    cancel_goes_down(true);

    group = gmp_group_make();
    reset();
    go_many(group, keep_error, 5);
    CHECK_OK(gmp_group_wait(group));
    go_many(group, nest_when_cancelled, 5);
    go_many(group, nest_shielded, 5);
    AWAIT(atomic_load(&started) == 5 * 3 + 5 + 5 * 2);
    CHECK_OK(gmp_group_cancel(group));
    CHECK_OK(gmp_group_wait(group));
    CHECK_EQ(atomic_load(&cancelled_members), 15);
    CHECK_EQ(atomic_load(&live), 0);
    gmp_group_free(group);
}

/* Members that add members: who waits waits for those as well. */
static int spread(void *arg)
{
    intptr_t depth = (intptr_t)arg;

    enter();
    gmp_yield();
    for (int i = 0; i < 2 && depth > 0; i++)
        go(group, spread, depth - 1);
    return 0;
}

/* Adds members until there are many, and fails: some are just starting. */
static int add_and_fail(void *arg)
{
    enter();
    while (gmp_sleep(0) == 0 && atomic_load(&started) < MANY)
        go(group, return_zero, 0);
    return atomic_load(&started) < MANY ? 0 : -ERANGE;
}

static void crowds(void *arg)
{
    group = gmp_group_make();
    reset();
    go_many(group, return_zero, MANY);
    CHECK_OK(gmp_group_wait(group));
    CHECK_EQ(atomic_load(&started), MANY);
    go(group, spread, 10);
    CHECK_OK(gmp_group_wait(group));
    CHECK_EQ(atomic_load(&started), MANY + 2047);
    CHECK_EQ(atomic_load(&live), 0);
    reset();
    for (int i = 0; i < MANY; i++)
        go(group, be_cancelled, 0);
    go(group, return_number, -ENFILE);
    CHECK_EQ(gmp_group_wait(group), -ENFILE);
    CHECK_EQ(atomic_load(&cancelled_members), MANY);
    CHECK_EQ(atomic_load(&live), 0);
    gmp_group_free(group);

    group = gmp_group_make();
    reset();
    go(group, add_and_fail, 0);
    go(group, add_and_fail, 0);
    CHECK_EQ(gmp_group_wait(group), -ERANGE);
    gmp_group_free(group);
    CHECK_EQ(atomic_load(&live), 0);
}

static void misuse(void *arg)
{
    group = gmp_group_make();
    CHECK_EQ(gmp_group_go(NULL, return_zero, NULL), -EINVAL);
    CHECK_EQ(gmp_group_go(group, NULL, NULL), -EINVAL);
    CHECK_EQ(gmp_group_wait(NULL), -EINVAL);
    CHECK_EQ(gmp_group_wait_until(NULL, 0), -EINVAL);
    CHECK_EQ(gmp_group_cancel(NULL), -EINVAL);
    CHECK_OK(gmp_group_wait(group));
    gmp_group_free(group);
}

int test_main(int argc, char **argv)
{
    static const gmp_fn cases[] = {
        wait_returns_the_first_error, who_comes_late_is_cancelled,
        cancel_ends_all,              gmp_exit_is_no_error,
        free_waits,                   wait_has_a_deadline,
        many_wait,                    members_cannot_wait,
        groups_nest,                  crowds,
        misuse,
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        cases[i](NULL);                            /* from a host thread */
        CHECK_OK(gmp_join(spawn(cases[i], NULL))); /* from a goroutine */
    }
    CHECK_OK(gmp_join(spawn(free_when_cancelled, NULL)));
    CHECK_EQ(atomic_load(&live), 0);
    return 0;
}
