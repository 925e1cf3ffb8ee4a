/* gmp_run_main: main as the main goroutine. */
#include "test.h"

static char *args[] = {"program", "one", "two", NULL};
static atomic_bool never;

static void spin_on(void *arg)
{
    while (!atomic_load(&never))
        gmp_sleep(MS(1));
}

static void sleep_long(void *arg)
{
    gmp_sleep(SEC(1000));
}

static void block_long(void *arg)
{
    block_ns(SEC(1000));
}

/* Calls itself until the stack is this deep; returns how often. Sanitizers make
 * frames larger. */
__attribute__((noinline)) static long dig(char *top, long bytes)
{
    volatile char frame[1000];
    char *here = __builtin_frame_address(0);

    frame[0] = (char)bytes;
    return top - here < bytes ? dig(top, bytes) + (frame[0] == (char)bytes) : 1;
}

static void send_one(void *arg)
{
    int one = 1;

    CHECK_OK(gmp_chan_send(arg, &one));
}

static int main_goroutine(int argc, char **argv)
{
    gmp_chan *ch = gmp_chan_make(sizeof(int), 0);
    struct rlimit limit;
    int value = 0;

    CHECK_EQ(argc, 3);
    CHECK(argv == args);
    CHECK(gmp_goid() != 0);
    CHECK(gmp_self() != NULL);
    CHECK_OK(gmp_go(send_one, ch));
    CHECK_OK(gmp_chan_recv(ch, &value));
    CHECK_EQ(value, 1);

    /* Its stack is as large as main's would be. */
    CHECK_OK(getrlimit(RLIMIT_STACK, &limit));
    if (limit.rlim_cur >= 8 << 20)
        CHECK(dig(__builtin_frame_address(0), 7 << 20) > 1000);

    /* Nobody waits for those who still run. */
    CHECK_OK(gmp_go(spin_on, NULL));
    CHECK_OK(gmp_go(sleep_long, NULL));
    CHECK_OK(gmp_go(block_long, NULL));
    CHECK_OK(gmp_sleep(MS(5)));
    return 42;
}

int test_main(int argc, char **argv)
{
    CHECK_EQ(gmp_run_main(3, args, main_goroutine), 42);
    return 0;
}
