/* A function of GMP_INIT, and a hook, that end the main goroutine: the rest of
 * the functions is called, and the thread of the main goroutine goes on.
 *
 * With HOOK it is _cgo_notify_runtime_init_done that does so. With
 * GMP_MAXTHREADS=2 that thread is the only one that can run goroutines. */
#include "../test.h"

static atomic_int calls, ran;

#ifdef HOOK
static void done(void)
{
    CHECK_EQ(gmp_goid(), 1);
    gmp_exit();
}

void (*_cgo_notify_runtime_init_done)(void) = done;
#endif

static void leave(void)
{
    atomic_fetch_add(&calls, 1);
    gmp_exit();
    atomic_fetch_add(&calls, 100);
}
GMP_INIT(leave)

static void leave_too(void)
{
    atomic_fetch_add(&calls, 1);
    gmp_exit();
    atomic_fetch_add(&calls, 100);
}
GMP_INIT(leave_too)

static void stay(void)
{
    atomic_fetch_add(&calls, 1);
}
GMP_INIT(stay)

static void work(void *arg)
{
    for (int i = 0; i < 100; i++)
        gmp_yield();
    atomic_fetch_add(&ran, 1);
}

int test_main(int argc, char **argv)
{
    enum { WORKERS = 50 };
    CHECK_OK(gmp_wait_init());
    CHECK_EQ(atomic_load(&calls), 3);
    for (int i = 0; i < WORKERS; i++)
        CHECK_OK(gmp_go(work, NULL));
    AWAIT(atomic_load(&ran) == WORKERS);
    return 0;
}
