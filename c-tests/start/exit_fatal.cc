/* The process ends in the usual way while a goroutine's fatal error is being
 * written, or an exception that nobody catches: the end waits for that.
 *
 * Arguments: "overflow" or "throw"; "return", "exit" or "run_main", how the
 * process ends; and how long after the error has been called for, in
 * microseconds. */
#include "../test.h"
#include <atomic>
#include <stdexcept>

enum { WAITERS = 300 };

static std::atomic<int> waiting;
static std::atomic<bool> falling;

static void wait_here(void *)
{
    waiting++;
    gmp_park(NULL, NULL, "for ever");
}

__attribute__((noinline)) static int overflow(int depth)
{
    volatile char frame[1000];

    frame[0] = (char)depth;
    return depth < 0 ? 0 : overflow(depth + 1) + frame[0];
}

static void fall(void *)
{
    falling = true;
    overflow(0);
}

static void throw_it(void *)
{
    falling = true;
    throw std::out_of_range("thrown");
}

static void start(const char *name, gmp_fn fn)
{
    gmp_attr attr = GMP_ATTR_INIT;

    attr.name = name;
    CHECK_OK(gmp_go_with(&attr, fn, NULL, NULL));
}

static int leave(int, char **argv)
{
    AWAIT(waiting == WAITERS);
    start("faller", strcmp(argv[1], "throw") == 0 ? throw_it : fall);
    AWAIT(falling);
    block_ns(US(atoi(argv[3])));
    return 0;
}

int test_main(int argc, char **argv)
{
    struct rlimit no_core = {0, 0};

    CHECK(argc > 3);
    setrlimit(RLIMIT_CORE, &no_core);
    for (int i = 0; i < WAITERS; i++)
        start("waiter", wait_here);
    if (strcmp(argv[2], "run_main") == 0)
        return gmp_run_main(argc, argv, leave);
    leave(argc, argv);
    if (strcmp(argv[2], "exit") == 0)
        exit(0);
    return 0;
}
