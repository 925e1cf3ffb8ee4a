/* What the gdb script looks at: WAITERS goroutines that wait in one function,
 * and a few that do something else. With DUMP_CORE it aborts. */
#include "../test.h"
#include <unistd.h>

static gmp_chan *never;
static gmp_mutex mutex = GMP_MUTEX_INIT;
static atomic_int waiting;
static atomic_bool busy;
gmp_g *locker_g;

/* So that no call here is a tail call, which would take a frame away. */
static atomic_int returned;

__attribute__((noinline)) static void deeper(int depth)
{
    volatile char room[64];
    int64_t value;

    room[0] = (char)depth;
    if (depth > 0) {
        deeper(depth - 1);
    } else {
        atomic_fetch_add(&waiting, 1);
        gmp_chan_recv(never, &value);
    }
    atomic_fetch_add(&returned, room[0]);
}

__attribute__((noinline)) void wait_forever(void *arg)
{
    int64_t value = (intptr_t)arg;

    atomic_fetch_add(&waiting, 1);
    gmp_chan_recv(never, &value);
    atomic_fetch_add(&returned, (int)value);
}

__attribute__((noinline)) void wait_deep(void *arg)
{
    CHECK_OK(gmp_set_name("deep"));
    deeper((int)(intptr_t)arg);
    atomic_fetch_add(&returned, 1);
}

__attribute__((noinline)) void lock_twice(void *arg)
{
    (void)arg;
    CHECK_OK(gmp_set_name("locker"));
    gmp_mutex_lock(&mutex);
    atomic_fetch_add(&waiting, 1);
    gmp_mutex_lock(&mutex);
    atomic_fetch_add(&returned, 1);
}

__attribute__((noinline)) void nap(void *arg)
{
    (void)arg;
    atomic_fetch_add(&waiting, 1);
    gmp_sleep(MS(1000000));
    atomic_fetch_add(&returned, 1);
}

__attribute__((noinline)) void spin(void *arg)
{
    (void)arg;
    CHECK_OK(gmp_set_name("spinner"));
    atomic_store(&busy, true);
    while (atomic_load(&busy))
        ;
    atomic_fetch_add(&returned, 1);
}

/* Where gdb stops: all wait, one runs. */
__attribute__((noinline)) void all_wait(void)
{
    if (getenv("DUMP_CORE") != NULL)
        abort();
    atomic_fetch_add(&returned, 1);
}

/* All have come, and all have left their stacks. */
static bool all_are_there(int n)
{
    gmp_stats now;

    CHECK_OK(gmp_get_stats(&now, sizeof now));
    return atomic_load(&waiting) == n &&
           now.goroutines_waiting >= (uint64_t)n;
}

int test_main(int argc, char **argv)
{
    const char *wanted = getenv("WAITERS");
    int many = wanted != NULL ? (int)strtol(wanted, NULL, 10) : 1000;
    gmp_attr attr = GMP_ATTR_INIT;

    never = gmp_chan_make(sizeof(int64_t), 0);
    for (int i = 0; i < many; i++)
        CHECK_OK(gmp_go(wait_forever, (void *)(intptr_t)i));
    CHECK_OK(gmp_go(wait_deep, (void *)(intptr_t)5));
    CHECK_OK(gmp_go_with(&attr, lock_twice, NULL, &locker_g));
    CHECK_OK(gmp_go(nap, NULL));
    AWAIT(all_are_there(many + 3));
    CHECK_OK(gmp_go(spin, NULL));
    AWAIT(atomic_load(&busy));
    all_wait();
    fflush(stdout);
    _exit(0);
}

/* Here and not in main, which allows no cores. */
__attribute__((constructor)) static void with_core(void)
{
    struct rlimit all;

    if (getenv("DUMP_CORE") == NULL)
        return;
    CHECK_OK(getrlimit(RLIMIT_CORE, &all));
    all.rlim_cur = all.rlim_max;
    CHECK_OK(setrlimit(RLIMIT_CORE, &all));
    test_main(0, NULL);
}
