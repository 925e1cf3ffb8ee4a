/* Starts that fail, start late, or start with nonsense in the environment.
 * Usage: crash_start CASE. */
#include "test.h"

/* The host's way to create the runtime's threads: 0 or a positive errno. */
extern int (*_cgo_sys_thread_create)(void *(*fn)(void *), void *arg);

static int refuse(void *(*fn)(void *), void *arg)
{
    return EAGAIN;
}

#ifdef HOOK_AT_LINK_TIME
/* Takes the place of the library's own pointer. */
int (*_cgo_sys_thread_create)(void *(*fn)(void *), void *arg) = refuse;
#endif

static atomic_int created;

static int create(void *(*fn)(void *), void *arg)
{
    pthread_t thread;
    int result = pthread_create(&thread, NULL, fn, arg);

    atomic_fetch_add(&created, 1);
    return result == 0 ? pthread_detach(thread) : result;
}

static void set_flag(void *arg)
{
    atomic_store((atomic_bool *)arg, true);
}

static void goroutine_runs(void)
{
    atomic_bool ran = false;

    CHECK_OK(gmp_join(spawn(set_flag, &ran)));
    CHECK(atomic_load(&ran));
}

/* Every call says that the start failed, and none crashes or hangs. */
static void start_fails(void)
{
    gmp_attr attr = GMP_ATTR_INIT;
    gmp_g *g = NULL;
    int value = 0;

    CHECK(gmp_wait_init() < 0);
    CHECK(gmp_go(set_flag, &value) < 0);
    CHECK(gmp_go_with(&attr, set_flag, &value, &g) < 0);
    CHECK(g == NULL);
    CHECK(gmp_wait_init() < 0);
    CHECK(gmp_rt_version() != NULL);
    printf("start failed: %s\n", gmp_strerror(gmp_wait_init()));
}

/* With GMP_AUTOSTART=0 nothing happens before the first call. */
static void start_late(void)
{
    block_ns(MS(50));
    CHECK_EQ(count_threads(), 1);
    goroutine_runs();
    CHECK(count_threads() > 1);
}

/* The same, with the hook set in time. */
static void start_by_host(void)
{
    CHECK_EQ(count_threads(), 1);
    _cgo_sys_thread_create = create;
    goroutine_runs();
    CHECK(atomic_load(&created) >= 1);
}

static void refuse_late(void)
{
    _cgo_sys_thread_create = refuse;
    start_fails();
}

/* Whatever the environment said, the runtime works as by default. */
static void nonsense_is_ignored(void)
{
    CHECK_OK(gmp_wait_init());
    CHECK(gmp_set_maxprocs(0) >= 1);
    goroutine_runs();
}

int test_main(int argc, char **argv)
{
    const char *which = argc > 1 ? argv[1] : "env";

    if (strcmp(which, "refused") == 0)
        start_fails();
    else if (strcmp(which, "refused_late") == 0)
        refuse_late();
    else if (strcmp(which, "late") == 0)
        start_late();
    else if (strcmp(which, "by_host") == 0)
        start_by_host();
    else
        nonsense_is_ignored();
    return 0;
}
