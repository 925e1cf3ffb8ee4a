/* What the debugger walks through: the start, a goroutine that has parked and
 * gone on, and the end. */
#include "../test.h"

static atomic_bool done;

/* Where the test looks at the stack. */
__attribute__((noinline)) void leaf(void)
{
    atomic_store(&done, true);
}

__attribute__((noinline)) void in_goroutine(void *arg)
{
    CHECK_OK(gmp_sleep(MS(1)));
    leaf();
    /* Not a tail call, which would take this frame away. */
    CHECK(atomic_load(&done));
}

int test_main(int argc, char **argv)
{
    CHECK_OK(gmp_go(in_goroutine, NULL));
    AWAIT(atomic_load(&done));
    return 0;
}
