/* Overflows a stack. Usage: crash_overflow CASE.
 *
 * The goroutine is called "deep", and writes its id to stdout first, so that
 * the reader can look for both in the message. */
#include "test.h"

static gmp_chan *never;
static volatile bool deeper = true;

__attribute__((noinline)) static long dig(long depth)
{
    volatile char frame[200];

    frame[0] = (char)depth;
    return (deeper ? dig(depth + 1) : depth) + frame[0];
}

/* A frame that is larger than any guard, grown page by page as a compiler
 * does where it probes the stack. */
static void grow_frame(void)
{
    volatile char *top = (volatile char *)__builtin_frame_address(0);

    for (size_t offset = 0;; offset += 4096)
        top[-(long)offset] = 0;
}

/* Fills the front of a large buffer, which is its low end, as one does who
 * reads a line: only what the guard is longer than keeps it off a neighbour. */
__attribute__((noinline)) static void read_line(size_t size)
{
    char line[size];

    memset(line, 'x', 200);
    __asm__ volatile("" : : "r"(line) : "memory");
}

/* Fills all but the last two KiB of the default stack, then calls it. */
__attribute__((noinline)) static long step_over(uintptr_t top, size_t size)
{
    volatile char frame[200];
    long used = (long)(top - (uintptr_t)frame);

    frame[0] = 1;
    if (used < (192 - 2) * 1024)
        used = step_over(top, size);
    else
        read_line(size);
    return used + frame[0];
}

static void say_who(void)
{
    printf("%llu\n", (unsigned long long)gmp_goid());
    fflush(stdout);
}

static void overflow(void *arg)
{
    const char *which = arg;

    if (strcmp(which, "set_name") == 0)
        CHECK_OK(gmp_set_name("deep"));
    if (strcmp(which, "handed_off") == 0)
        spin_ns(MS(60));
    if (strcmp(which, "after_block") == 0)
        block_ns(MS(30));
    if (strcmp(which, "after_park") == 0)
        CHECK_OK(gmp_sleep(MS(10)));
    if (strcmp(which, "locked") == 0)
        CHECK_OK(gmp_lock_os_thread());
    say_who();
    if (strcmp(which, "probes") == 0)
        grow_frame();
    if (strcmp(which, "array_of_32_kib") == 0)
        step_over((uintptr_t)&which, 32 * 1024);
    if (strcmp(which, "array_of_64_kib") == 0)
        step_over((uintptr_t)&which, 64 * 1024);
    dig(0);
}

static void keep_busy(void *arg)
{
    for (;;)
        gmp_yield();
}

static void overflow_in_blocking(void *arg)
{
    CHECK_OK(gmp_blocking(overflow, arg));
}

static int overflow_main(int argc, char **argv)
{
    CHECK_OK(gmp_set_name("deep"));
    overflow("main");
    return 0;
}

int test_main(int argc, char **argv)
{
    char *which = argc > 1 ? argv[1] : "plain";
    gmp_attr attr = GMP_ATTR_INIT;
    gmp_fn fn = overflow;
    gmp_g *g;

    never = gmp_chan_make(0, 0);
    if (strcmp(which, "run_main") == 0)
        return gmp_run_main(argc, argv, overflow_main);
    if (strcmp(which, "set_name") != 0)
        attr.name = "deep";
    if (strcmp(which, "big_stack") == 0)
        attr.stack_size = 16 << 20;
    if (strcmp(which, "blocking") == 0)
        fn = overflow_in_blocking;
    if (strcmp(which, "others_busy") == 0)
        for (int i = 0; i < 20; i++)
            CHECK_OK(gmp_go(keep_busy, NULL));
    CHECK_OK(gmp_go_with(&attr, fn, which, &g));
    /* A host thread may run it in place when it joins, so most cases leave
     * the goroutine to the runtime's threads. */
    if (strcmp(which, "joined") != 0)
        gmp_chan_recv(never, NULL);
    gmp_join(g);
    return 0;
}
