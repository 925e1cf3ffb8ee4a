/* A stack overflow among goroutines that wait: what the list of goroutines
 * tells of them, by GMP_TRACEBACK. */
#include "../test.h"

enum { WAITERS = 3 };

static atomic_int waiting;

static void wait_here(void *arg)
{
    atomic_fetch_add(&waiting, 1);
    gmp_park(NULL, NULL, "for\nnothing");
}

__attribute__((noinline)) static int overflow(int depth)
{
    volatile char frame[1000];

    frame[0] = (char)depth;
    return depth < 0 ? 0 : overflow(depth + 1) + frame[0];
}

static void fall(void *arg)
{
    overflow(0);
}

static void start(const char *name, gmp_fn fn)
{
    gmp_attr attr = GMP_ATTR_INIT;

    attr.name = name;
    CHECK_OK(gmp_go_with(&attr, fn, NULL, NULL));
}

int test_main(int argc, char **argv)
{
    struct rlimit no_core = {0, 0};

    setrlimit(RLIMIT_CORE, &no_core);
    for (int i = 0; i < WAITERS; i++)
        start("waiter", wait_here);
    AWAIT(atomic_load(&waiting) == WAITERS);
    gmp_sleep(MS(20)); /* until the last one has parked */
    start("faller", fall);
    for (;;)
        gmp_sleep(SEC(1));
}
