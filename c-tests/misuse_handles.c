/* Misuse of the objects that are known by a pointer or a handle. The rows of
 * badargs.c are not repeated. */
#include "misuse.h"

static int return_zero(void *arg)
{
    return 0;
}

/* Channels. */

static gmp_chan *ch, *closed;
static int elem;

static void make_chan(void)
{
    ch = gmp_chan_make(sizeof elem, 1);
    closed = gmp_chan_make(sizeof elem, 1);
    CHECK_OK(gmp_chan_close(closed));
}

static void use_chan(void)
{
    int sent = 5, got = 0;

    CHECK_EQ(gmp_chan_len(ch), 0);
    CHECK_OK(gmp_chan_send_until(ch, &sent, 0));
    CHECK_EQ(gmp_chan_send_until(ch, &sent, 0), -ETIMEDOUT);
    CHECK_OK(gmp_chan_recv_until(ch, &got, 0));
    CHECK_EQ(got, 5);
    CHECK_EQ(gmp_chan_recv(closed, &got), -EPIPE);
    CHECK_EQ(got, 0);
}

static void free_chan(void)
{
    gmp_chan_unref(ch);
    gmp_chan_unref(closed);
}

#define CHAN(X)                                                             \
    X(chan_send_until_null_elem, gmp_chan_send_until(ch, NULL, GMP_FOREVER), \
      -EINVAL)                                                              \
    X(chan_send_until_null_elem_past, gmp_chan_send_until(ch, NULL, 0),     \
      -EINVAL)                                                              \
    X(chan_send_until_null, gmp_chan_send_until(NULL, &elem, 0),            \
      -ETIMEDOUT)                                                           \
    X(chan_recv_until_null, gmp_chan_recv_until(NULL, &elem, 0),            \
      -ETIMEDOUT)                                                           \
    X(chan_recv_until_null_later,                                           \
      gmp_chan_recv_until(NULL, NULL, gmp_after_ns(US(50))), -ETIMEDOUT)    \
    X(chan_recv_until_null_elem, gmp_chan_recv_until(ch, NULL, 0),          \
      -ETIMEDOUT)                                                           \
    X(chan_send_until_closed, gmp_chan_send_until(closed, &elem, 0),        \
      -EPIPE)                                                               \
    X(chan_recv_until_closed, gmp_chan_recv_until(closed, &elem, 0),        \
      -EPIPE)                                                               \
    X(chan_close_twice, gmp_chan_close(closed), -EPIPE)
TABLE(CHAN)

/* Selects, on the same channels. */

static gmp_case too_many[65537]; /* of no channel */

static int select_two(gmp_case first, gmp_case second)
{
    gmp_case cases[2] = {first, second};
    int result = gmp_select_until(cases, 2, 0);

    CHECK_EQ(cases[0].result, first.result);
    CHECK_EQ(cases[1].result, second.result);
    return result;
}

static gmp_case make_case(gmp_chan *on, void *what, int op)
{
    gmp_case made = {on, what, op, 77};

    return made;
}

#define READY make_case(ch, &elem, GMP_SEND)

static int select_too_many(void)
{
    for (int i = 0; i < 65537; i++)
        too_many[i].op = GMP_RECV;
    return gmp_try_select(too_many, 65537);
}

static void use_select(void)
{
    gmp_case cases[2] = {READY, make_case(NULL, NULL, GMP_RECV)};

    use_chan();
    CHECK_EQ(gmp_select(cases, 2), 0);
    CHECK_EQ(cases[0].result, 0);
    CHECK_EQ(cases[1].result, 77);
    CHECK_EQ(gmp_try_select(cases, 2), -EAGAIN);
    CHECK_OK(gmp_chan_try_recv(ch, NULL));
}

#define SELECT(X)                                                          \
    X(select_null, gmp_select(NULL, 1), -EINVAL)                           \
    X(select_until_null, gmp_select_until(NULL, 1, 0), -EINVAL)            \
    X(try_select_null, gmp_try_select(NULL, 1), -EINVAL)                   \
    X(try_select_null_huge, gmp_try_select(NULL, SIZE_MAX), -EINVAL)       \
    X(try_select_none, gmp_try_select(NULL, 0), -EAGAIN)                   \
    X(select_until_none, gmp_select_until(NULL, 0, 0), -ETIMEDOUT)         \
    X(select_until_none_later,                                             \
      gmp_select_until(NULL, 0, gmp_after_ns(US(50))), -ETIMEDOUT)         \
    X(select_too_many_cases, select_too_many(), -EINVAL)                   \
    X(select_as_many_as_can_be, gmp_try_select(too_many, 65536), -EAGAIN)  \
    X(select_op_0, select_two(make_case(ch, &elem, 0), READY), -EINVAL)    \
    X(select_op_3, select_two(READY, make_case(ch, &elem, 3)), -EINVAL)    \
    X(select_op_negative, select_two(READY, make_case(ch, &elem, -1)),     \
      -EINVAL)                                                             \
    X(select_op_0_of_null, select_two(make_case(NULL, NULL, 0), READY),    \
      -EINVAL)                                                             \
    X(select_send_null_elem,                                               \
      select_two(READY, make_case(ch, NULL, GMP_SEND)), -EINVAL)           \
    X(select_two_nulls, select_two(make_case(NULL, &elem, GMP_SEND),       \
                                   make_case(NULL, NULL, GMP_RECV)),       \
      -ETIMEDOUT)
TABLE(SELECT)

/* Timers. */

static gmp_timer *timer;
static atomic_int ticks;

static void make_timer(void)
{
    atomic_store(&ticks, 0);
    timer = gmp_timer_start(SEC(1000), 0, count, &ticks);
    CHECK(timer != NULL);
}

static void use_timer(void)
{
    CHECK_EQ(atomic_load(&ticks), 0);
    CHECK_OK(gmp_timer_reset(timer, SEC(1000)));
    CHECK_EQ(gmp_timer_stop(timer), 1);
    CHECK_EQ(gmp_timer_stop(timer), 0);
    CHECK_OK(gmp_timer_reset(timer, 1));
    AWAIT(atomic_load(&ticks) == 1);
    CHECK_EQ(gmp_timer_stop(timer), 0);
}

static void free_timer(void)
{
    gmp_timer_free(timer);
}

static int stop_twice(void)
{
    CHECK_EQ(gmp_timer_stop(timer), 1);
    return gmp_timer_stop(timer);
}

#define TIMER(X)                                                        \
    X(timer_start_null, gmp_timer_start(1, 0, NULL, NULL), 0)           \
    X(timer_start_null_period, gmp_timer_start(1, 1, NULL, NULL), 0)    \
    X(timer_start_negative_period,                                      \
      gmp_timer_start(1, -1, count, &ticks), 0)                         \
    X(timer_start_least_period,                                         \
      gmp_timer_start(0, INT64_MIN, count, &ticks), 0)                  \
    X(timer_stop_null, gmp_timer_stop(NULL), -EINVAL)                   \
    X(timer_stop_twice, stop_twice(), 0)                                \
    X(timer_reset_null, gmp_timer_reset(NULL, 1), -EINVAL)              \
    X(timer_free_null, (gmp_timer_free(NULL), 0), 0)                    \
    X(tick_0, gmp_tick(0), 0)                                           \
    X(tick_negative, gmp_tick(-1), 0)                                   \
    X(tick_least, gmp_tick(INT64_MIN), 0)
TABLE(TIMER)

/* Groups. */

static gmp_group *group;

static void make_group(void)
{
    group = gmp_group_make();
    CHECK(group != NULL);
}

static int count_member(void *arg)
{
    count(arg);
    return 0;
}

static void use_group(void)
{
    atomic_int members = 0;

    CHECK_OK(gmp_group_wait(group));
    for (int i = 0; i < 3; i++)
        CHECK_OK(gmp_group_go(group, count_member, &members));
    CHECK_OK(gmp_group_wait_until(group, GMP_FOREVER));
    CHECK_EQ(atomic_load(&members), 3);
}

static void free_group(void)
{
    gmp_group_free(group);
}

static int wait_from_inside(void *result)
{
    *(int *)result = gmp_group_wait(group);
    return 0;
}

static int wait_until_from_inside(void *result)
{
    *(int *)result = gmp_group_wait_until(group, GMP_FOREVER);
    return 0;
}

static int ask_member(int (*ask)(void *))
{
    int result = 1;

    CHECK_OK(gmp_group_go(group, ask, &result));
    CHECK_OK(gmp_group_wait(group));
    return result;
}

#define GROUP(X)                                                      \
    X(group_go_null, gmp_group_go(NULL, return_zero, NULL), -EINVAL)  \
    X(group_go_null_fn, gmp_group_go(group, NULL, NULL), -EINVAL)     \
    X(group_go_nulls, gmp_group_go(NULL, NULL, NULL), -EINVAL)        \
    X(group_wait_null, gmp_group_wait(NULL), -EINVAL)                 \
    X(group_wait_until_null, gmp_group_wait_until(NULL, 0), -EINVAL)  \
    X(group_cancel_null, gmp_group_cancel(NULL), -EINVAL)             \
    X(group_free_null, (gmp_group_free(NULL), 0), 0)                  \
    X(group_wait_of_member, ask_member(wait_from_inside), -EDEADLK)   \
    X(group_wait_until_of_member, ask_member(wait_until_from_inside), \
      -EDEADLK)
TABLE(GROUP)

/* Keys: one that is there, and one that is gone. */

static gmp_key *key, *stale_key;
static int value;

static void make_key(void)
{
    stale_key = gmp_key_create(NULL);
    CHECK(stale_key != NULL);
    CHECK_OK(gmp_setspecific(stale_key, &value));
    CHECK_OK(gmp_key_delete(stale_key));
    key = gmp_key_create(NULL);
    CHECK(key != NULL);
    CHECK(key != stale_key);
    CHECK(gmp_getspecific(key) == NULL);
}

static void use_key(void)
{
    CHECK_OK(gmp_setspecific(key, &value));
    CHECK(gmp_getspecific(key) == &value);
    CHECK_OK(gmp_setspecific(key, NULL));
    CHECK(gmp_getspecific(key) == NULL);
}

static void free_key(void)
{
    CHECK_OK(gmp_key_delete(key));
}

#define HUGE_KEY ((gmp_key *)UINTPTR_MAX)

#define KEY(X)                                                         \
    X(key_delete_null, gmp_key_delete(NULL), -EINVAL)                  \
    X(key_delete_stale, gmp_key_delete(stale_key), -EINVAL)            \
    X(key_delete_huge, gmp_key_delete(HUGE_KEY), -EINVAL)              \
    X(setspecific_null, gmp_setspecific(NULL, &value), -EINVAL)        \
    X(setspecific_stale, gmp_setspecific(stale_key, &value), -EINVAL)  \
    X(setspecific_stale_null, gmp_setspecific(stale_key, NULL), -EINVAL) \
    X(setspecific_huge, gmp_setspecific(HUGE_KEY, &value), -EINVAL)    \
    X(getspecific_null, gmp_getspecific(NULL), 0)                      \
    X(getspecific_stale, gmp_getspecific(stale_key), 0)                \
    X(getspecific_huge, gmp_getspecific(HUGE_KEY), 0)
TABLE(KEY)

/* Handles of goroutines: one that runs, and several that are gone. */

static gmp_g *running, *ended, *joined, *released;
static gmp_chan *gate;

static void stand_at_gate(void *arg)
{
    CHECK_EQ(gmp_chan_recv(gate, NULL), -EPIPE);
}

static void make_handles(void)
{
    gate = gmp_chan_make(0, 0);
    running = spawn(stand_at_gate, NULL);
    ended = spawn(nothing, NULL);
    AWAIT(gmp_ready(ended) == -EINVAL);
    joined = spawn(nothing, NULL);
    CHECK_OK(gmp_join(joined));
    released = spawn(nothing, NULL);
    gmp_release(released);
    AWAIT(gmp_ready(released) == -EINVAL);
}

static void use_handles(void)
{
    CHECK_EQ(gmp_join_until(running, 0), -ETIMEDOUT);
    CHECK(!gmp_cancelled());
}

static void free_handles(void)
{
    CHECK_OK(gmp_chan_close(gate));
    CHECK_OK(gmp_join(running)); /* not cancelled by any row */
    CHECK_OK(gmp_join(ended));
    gmp_chan_unref(gate);
}

#define HUGE_G ((gmp_g *)UINTPTR_MAX)

#define HANDLE(X)                                                           \
    X(cancel_null, gmp_cancel(NULL), -EINVAL)                               \
    X(cancel_huge, gmp_cancel(HUGE_G), -EINVAL)                             \
    X(cancel_ended, gmp_cancel(ended), -EINVAL)                             \
    X(cancel_joined, gmp_cancel(joined), -EINVAL)                           \
    X(cancel_released, gmp_cancel(released), -EINVAL)                       \
    X(join_until_joined, gmp_join_until(joined, GMP_FOREVER), -EINVAL)      \
    X(ready_ended, gmp_ready(ended), -EINVAL)                               \
    X(blocking_until_null, gmp_blocking_until(NULL, NULL, GMP_FOREVER),     \
      -EINVAL)                                                              \
    X(blocking_until_null_past, gmp_blocking_until(NULL, NULL, 0), -EINVAL)
TABLE(HANDLE)

/* What only a goroutine may do. */

static atomic_int deferred;

static void make_nothing(void)
{
    CHECK(gmp_self() != NULL);
}

static void use_shield(void)
{
    CHECK_OK(gmp_shield_enter());
    CHECK_OK(gmp_shield_leave());
}

static void use_defer(void)
{
    use_shield();
    CHECK_OK(gmp_defer(count, &deferred));
}

static void free_nothing(void)
{
}

#define HOST(X)                                          \
    X(host_cancel_self, gmp_cancel(gmp_self()), -EPERM)  \
    X(host_cancelled, gmp_cancelled(), 0)                \
    X(host_defer, gmp_defer(nothing, NULL), -EPERM)      \
    X(host_leave, gmp_shield_leave(), 0)
TABLE(HOST)

static int leave_too_often(void)
{
    use_shield();
    CHECK_OK(gmp_shield_enter());
    use_shield();
    CHECK_OK(gmp_shield_leave());
    return gmp_shield_leave();
}

#define GOROUTINE(X)                                \
    X(defer_null, gmp_defer(NULL, NULL), -EINVAL)   \
    X(leave_too_early, gmp_shield_leave(), -EPERM)  \
    X(leave_once_more, leave_too_often(), -EPERM)
TABLE(GOROUTINE)

/* What would have to wait. */

static int park_within(void)
{
    return gmp_park_until(NULL, NULL, "nested", GMP_FOREVER);
}

static int select_recv(void)
{
    gmp_case cases[1] = {make_case(ch, NULL, GMP_RECV)};

    return gmp_select(cases, 1);
}

static int stand_as_member(void *mine)
{
    CHECK_EQ(gmp_chan_recv(mine, NULL), -EPIPE);
    gmp_chan_unref(mine);
    return 0;
}

#define UNLOCKF(X)                                                        \
    X(unlockf_park_until, park_within(), -EDEADLK)                        \
    X(unlockf_recv_until, gmp_chan_recv_until(ch, NULL, GMP_FOREVER),     \
      -EDEADLK)                                                           \
    X(unlockf_select, select_recv(), -EDEADLK)                            \
    X(unlockf_try_select, gmp_try_select(NULL, 0), -EAGAIN)               \
    X(unlockf_sleep_until, gmp_sleep_until(gmp_after_ns(SEC(40))),        \
      -EDEADLK)                                                           \
    X(unlockf_join_until, gmp_join_until(running, GMP_FOREVER), -EDEADLK) \
    X(unlockf_group_wait, gmp_group_wait(group), -EDEADLK)                \
    X(unlockf_group_wait_until,                                           \
      gmp_group_wait_until(group, GMP_FOREVER), -EDEADLK)
TABLE(UNLOCKF)

static void park_inside_unlockf(void *arg)
{
    make_chan();
    make_group();
    make_handles();
    CHECK_OK(gmp_group_go(group, stand_as_member, gmp_chan_ref(gate)));
    check_in_unlockf(UNLOCKF_ROWS);
    use_chan();
    use_handles();
    free_handles();
    use_group();
    free_group();
    free_chan();
}

int test_main(int argc, char **argv)
{
    static const struct object objects[] = {
        {CHAN_ROWS, make_chan, use_chan, free_chan},
        {SELECT_ROWS, make_chan, use_select, free_chan},
        {TIMER_ROWS, make_timer, use_timer, free_timer},
        {GROUP_ROWS, make_group, use_group, free_group},
        {KEY_ROWS, make_key, use_key, free_key},
        {HANDLE_ROWS, make_handles, use_handles, free_handles},
    };
    static const struct object host = {HOST_ROWS, make_nothing, use_shield,
                                       free_nothing};
    static const struct object goroutine = {GOROUTINE_ROWS, make_nothing,
                                            use_defer, free_nothing};

    check_objects(objects, sizeof objects / sizeof *objects);
    CHECK_OK(gmp_sleep(US(1))); /* so that this thread has a handle */
    call_rows((void *)&host);
    CHECK_OK(gmp_join(spawn(call_rows, (void *)&goroutine)));
    CHECK_EQ(atomic_load(&deferred), 3);
    CHECK_OK(gmp_join(spawn(park_inside_unlockf, NULL)));
    CHECK_EQ(failures, 0);
    return 0;
}
