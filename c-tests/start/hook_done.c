/* _cgo_notify_runtime_init_done alone: called once, on a goroutine, when calls
 * of the library go straight on. */
#include "../test.h"

static atomic_int calls, ran;

static void count(void *arg)
{
    atomic_fetch_add(&ran, 1);
}

static void done(void)
{
    CHECK_EQ(gmp_goid(), 1);
    CHECK_OK(gmp_wait_init());
    CHECK_OK(gmp_join(spawn(count, NULL)));
    CHECK_EQ(atomic_load(&ran), 1);
    atomic_fetch_add(&calls, 1);
}

void (*_cgo_notify_runtime_init_done)(void) = done;

int test_main(int argc, char **argv)
{
    while (atomic_load(&calls) == 0)
        block_ns(US(100));
    CHECK_OK(gmp_wait_init());
    CHECK_EQ(atomic_load(&calls), 1);
    return 0;
}
