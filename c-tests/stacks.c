/* Stacks: the default holds what it promises, an attribute or GMP_STACKSIZE
 * makes it larger, and a large one costs only what is touched. */
#include "test.h"

enum { KIB = 1024, MIB = 1024 * 1024 };

/* Uses about `bytes` of stack in small frames; returns the depth. */
__attribute__((noinline)) static long dig(long bytes)
{
    volatile char frame[480];
    long depth = 1;

    frame[0] = (char)bytes;
    frame[sizeof frame - 1] = frame[0];
    if (bytes > 512)
        depth += dig(bytes - 512);
    CHECK(frame[0] == (char)bytes && frame[sizeof frame - 1] == frame[0]);
    return depth;
}

/* The same in frames of a megabyte that are hardly touched. */
__attribute__((noinline)) static long stride(long bytes)
{
    volatile char frame[MIB];
    long depth = 1;

    frame[0] = (char)bytes;
    if (bytes > MIB)
        depth += stride(bytes - MIB);
    CHECK(frame[0] == (char)bytes);
    return depth;
}

static void dig_fully(void *arg)
{
    long bytes = *(long *)arg;

    CHECK(dig(bytes) >= bytes / 1024);
    gmp_yield();
    CHECK(dig(bytes) >= bytes / 1024);
}

static void stride_fully(void *arg)
{
    long bytes = *(long *)arg;

    CHECK(stride(bytes) >= bytes / MIB);
}

static void run_on(size_t stack_size, gmp_fn fn, long bytes)
{
    gmp_attr attr = GMP_ATTR_INIT;
    gmp_g *g = NULL;

    attr.stack_size = stack_size;
    CHECK_OK(gmp_go_with(&attr, fn, &bytes, &g));
    CHECK_OK(gmp_join(g));
}

static void default_is_deep(void)
{
    long size = test_env("GMP_STACKSIZE", 192 * KIB);
    gmp_g *gs[50];

    size -= size / 5; /* the rest is for the library and the C library */
    run_on(0, dig_fully, size);
    for (int i = 0; i < 50; i++)
        gs[i] = spawn(dig_fully, &size);
    for (int i = 0; i < 50; i++)
        CHECK_OK(gmp_join(gs[i]));
}

static void attribute_decides(void)
{
    run_on(1, dig_fully, KIB); /* raised to the least that works */
    run_on(16 * KIB, dig_fully, 4 * KIB);
    run_on(300 * KIB + 1, dig_fully, 260 * KIB); /* rounded up */
    run_on(1 * MIB, dig_fully, 900 * KIB);
    run_on(64 * MIB, dig_fully, 60 * MIB);
}

static void gigabyte_is_sparse(void)
{
    long before, after;

    run_on(1024l * MIB, dig_fully, 100 * KIB);
    before = status_value("/proc/self/status", "VmHWM:");
    run_on(1024l * MIB, stride_fully, 1000l * MIB);
    after = status_value("/proc/self/status", "VmHWM:");
    /* A thousand frames of a page each, not a thousand megabytes. */
    printf("1 GiB stack: %ld KiB more at the peak\n", after - before);
    CHECK(after - before < 200 * KIB);
}

static void use_up(void *arg)
{
    long bytes = test_env("GMP_STACKSIZE", 192 * KIB) / 5 * 3;

    dig_fully(&bytes);
}

enum { ROUNDS = 30, FIRST = 6, AT_ONCE = 20 };

/* Stacks are used again, and their pages given back or reused. */
static void stacks_are_reused(void)
{
    long used = test_env("GMP_STACKSIZE", 192 * KIB) / 5 * 3 / KIB;
    long before = 0, after;

    for (int round = 0; round < ROUNDS; round++) {
        gmp_g *gs[AT_ONCE];

        for (int i = 0; i < AT_ONCE; i++)
            gs[i] = spawn(use_up, NULL);
        for (int i = 0; i < AT_ONCE; i++)
            CHECK_OK(gmp_join(gs[i]));
        if (round == FIRST - 1)
            before = status_value("/proc/self/status", "VmRSS:");
    }
    after = status_value("/proc/self/status", "VmRSS:");
    /* Of the stacks since then at least four in five had been used before. The
     * others lie in the caches of Ps that had not taken part until then. */
    CHECK(after - before < (ROUNDS - FIRST) * AT_ONCE * used / 5);
}

int test_main(int argc, char **argv)
{
    default_is_deep();
    attribute_decides();
    stacks_are_reused();
    gigabyte_is_sparse();
    return 0;
}
