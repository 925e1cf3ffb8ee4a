/* Misuse is an error, not a crash: every function with null, zero, huge and
 * stale arguments. A row is a call and what it must return. */
#include "test.h"

struct row {
    const char *call;
    long long got, want;
};

#define ROW(call, want) {#call, (long long)(intptr_t)(call), (long long)(want)}

static int failures;

static void compare(const struct row *rows, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (rows[i].got == rows[i].want)
            continue;
        fprintf(stderr, "%s: got %lld, want %lld\n", rows[i].call,
                rows[i].got, rows[i].want);
        failures++;
    }
}

#define COMPARE(...)                                               \
    do {                                                           \
        const struct row rows[] = {__VA_ARGS__};                   \
                                                                   \
        compare(rows, sizeof rows / sizeof *rows);                 \
    } while (0)

static void nothing(void *arg)
{
}

static void starting(void *arg)
{
    gmp_attr none = GMP_ATTR_INIT, old = none, strange = none, deep = none;
    gmp_g *g = NULL;
    char args[8] = "";

    none.struct_size = 0;
    old.struct_size = sizeof(size_t) - 1;
    strange.flags = ~UINT32_C(0);
    deep.stack_size = SIZE_MAX;
    COMPARE(ROW(gmp_go(NULL, NULL), -EINVAL),
            ROW(gmp_go_copy(NULL, args, 8), -EINVAL),
            ROW(gmp_go_copy(nothing, NULL, 1), -EINVAL),
            ROW(gmp_go_copy(nothing, args, 65537), -EINVAL),
            ROW(gmp_go_copy(nothing, args, SIZE_MAX), -EINVAL),
            ROW(gmp_go_with(NULL, NULL, NULL, NULL), -EINVAL),
            ROW(gmp_go_with(NULL, NULL, NULL, &g), -EINVAL),
            ROW(gmp_go_with(&none, nothing, NULL, &g), -EINVAL),
            ROW(gmp_go_with(&old, nothing, NULL, &g), -EINVAL),
            ROW(gmp_go_with(&strange, nothing, NULL, &g), -EINVAL),
            ROW(gmp_go_with(&deep, nothing, NULL, &g), -EINVAL),
            ROW(g, 0),
            ROW(gmp_run_main(0, NULL, NULL), -EINVAL),
            ROW(gmp_blocking(NULL, NULL), -EINVAL));
}

static void handles(void *arg)
{
    gmp_g *huge = (gmp_g *)UINTPTR_MAX, *stale, *released;
    char args[8] = "";

    stale = spawn(nothing, NULL);
    CHECK_OK(gmp_join(stale));
    released = spawn(nothing, NULL);
    gmp_release(released);
    AWAIT(gmp_ready(released) == -EINVAL); /* it has ended */
    COMPARE(ROW(gmp_join(NULL), -EINVAL),
            ROW(gmp_join(huge), -EINVAL),
            ROW(gmp_join(stale), -EINVAL),
            ROW(gmp_join(released), -EINVAL),
            ROW(gmp_join_until(NULL, 0), -EINVAL),
            ROW(gmp_join_until(huge, GMP_FOREVER), -EINVAL),
            ROW(gmp_join_until(stale, INT64_MIN), -EINVAL),
            ROW(gmp_join_until(released, 0), -EINVAL),
            ROW(gmp_ready(NULL), -EINVAL),
            ROW(gmp_ready(huge), -EINVAL),
            ROW(gmp_ready(stale), -EINVAL));
    gmp_release(NULL);
    gmp_release(huge);
    gmp_release(stale);
    gmp_release(released);
    COMPARE(ROW(gmp_set_name(NULL), -EINVAL),
            ROW(gmp_get_name(stale, args, sizeof args), -EINVAL),
            ROW(gmp_get_name(huge, args, sizeof args), -EINVAL),
            ROW(gmp_get_name(NULL, args, SIZE_MAX), -EINVAL));
}

static void channels(void *arg)
{
    gmp_chan *ch = gmp_chan_make(4, 1), *many = gmp_chan_make(0, SIZE_MAX);
    int value = 0;

    COMPARE(ROW(gmp_chan_make(SIZE_MAX, 1), 0),
            ROW(gmp_chan_make(1, SIZE_MAX), 0),
            ROW(gmp_chan_make(SIZE_MAX, SIZE_MAX), 0),
            ROW(gmp_chan_make(SIZE_MAX / 2 + 1, 2), 0),
            ROW(gmp_chan_make(SIZE_MAX / 8, 8), 0),
            ROW(gmp_chan_make(SIZE_MAX, 0), 0),
            ROW(gmp_chan_make_with(NULL), 0),
            ROW(gmp_chan_ref(NULL), 0),
            ROW(gmp_chan_try_send(NULL, &value), -EAGAIN),
            ROW(gmp_chan_try_recv(NULL, &value), -EAGAIN),
            ROW(gmp_chan_send(ch, NULL), -EINVAL),
            ROW(gmp_chan_try_send(ch, NULL), -EINVAL),
            ROW(gmp_chan_try_recv(ch, NULL), -EAGAIN),
            ROW(gmp_chan_close(NULL), -EINVAL),
            ROW(gmp_chan_len(NULL), 0),
            ROW(gmp_chan_cap(NULL), 0));
    gmp_chan_unref(NULL);
    if (many)
        CHECK(gmp_chan_cap(many) == SIZE_MAX);
    gmp_chan_unref(many);
    CHECK_OK(gmp_chan_send(ch, &value));
    COMPARE(ROW(gmp_chan_recv(ch, NULL), 0),
            ROW(gmp_chan_close(ch), 0),
            ROW(gmp_chan_close(ch), -EPIPE),
            ROW(gmp_chan_send(ch, &value), -EPIPE),
            ROW(gmp_chan_try_send(ch, &value), -EPIPE),
            ROW(gmp_chan_recv(ch, NULL), -EPIPE));
    gmp_chan_unref(ch);
}

static void locks(void *arg)
{
    gmp_mutex mutex = GMP_MUTEX_INIT;
    gmp_waitgroup group = GMP_WAITGROUP_INIT;

    COMPARE(ROW(gmp_mutex_lock(NULL), -EINVAL),
            ROW(gmp_mutex_trylock(NULL), -EINVAL),
            ROW(gmp_mutex_unlock(NULL), -EINVAL),
            ROW(gmp_mutex_unlock(&mutex), -EPERM),
            ROW(gmp_mutex_trylock(&mutex), 0),
            ROW(gmp_mutex_trylock(&mutex), -EAGAIN),
            ROW(gmp_mutex_unlock(&mutex), 0),
            ROW(gmp_waitgroup_add(NULL, 1), -EINVAL),
            ROW(gmp_waitgroup_done(NULL), -EINVAL),
            ROW(gmp_waitgroup_wait(NULL), -EINVAL),
            ROW(gmp_waitgroup_add(&group, -1), -EINVAL),
            ROW(gmp_waitgroup_add(&group, INT64_MIN), -EINVAL),
            ROW(gmp_waitgroup_done(&group), -EINVAL));
    CHECK_OK(gmp_waitgroup_add(&group, 1));
    /* A counter that would overflow has no meaning either. */
    COMPARE(ROW(gmp_waitgroup_add(&group, INT64_MAX), -EINVAL),
            ROW(gmp_waitgroup_done(&group), 0),
            ROW(gmp_waitgroup_wait(&group), 0));
}

static void time_and_rest(void *arg)
{
    COMPARE(ROW(gmp_sleep(0), 0),
            ROW(gmp_sleep(-1), 0),
            ROW(gmp_sleep(INT64_MIN), 0),
            ROW(gmp_sleep_until(0), 0),
            ROW(gmp_sleep_until(INT64_MIN), 0),
            ROW(gmp_after_ns(INT64_MAX) == GMP_FOREVER, 1),
            ROW(gmp_set_maxprocs(INT32_MIN) >= 1, 1),
            ROW(gmp_set_maxprocs(INT32_MAX) >= 1, 1),
            ROW(gmp_set_maxprocs(2) >= 1, 1),
            ROW(gmp_set_maxprocs(0), 2));
    for (int i = -200; i <= 200; i++)
        CHECK(gmp_strerror(i) != NULL && *gmp_strerror(i) != '\0');
    CHECK(gmp_strerror(INT32_MIN) != NULL);
    CHECK(gmp_strerror(INT32_MAX) != NULL);
    CHECK(strcmp(gmp_strerror(-EINVAL), gmp_strerror(-EPIPE)) != 0);
}

int test_main(int argc, char **argv)
{
    static const gmp_fn groups[] = {starting, handles, channels, locks,
                                    time_and_rest};

    for (size_t i = 0; i < sizeof groups / sizeof *groups; i++) {
        groups[i](NULL);                            /* from a host thread */
        CHECK_OK(gmp_join(spawn(groups[i], NULL))); /* from a goroutine */
    }
    CHECK_EQ(gmp_exit(), -EPERM);
    CHECK_EQ(failures, 0);
    return 0;
}
