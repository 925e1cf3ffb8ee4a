/* The first call comes before the library's constructor has run: from the
 * program's .preinit_array, which the loader runs before everything else. */
#include "../test.h"

static atomic_int ran;

static void count(void *arg)
{
    atomic_fetch_add(&ran, 1);
}

static void before_all(int argc, char **argv, char **envp)
{
    CHECK_OK(gmp_go(count, NULL));
}

__attribute__((section(".preinit_array"), used))
static void (*const first)(int, char **, char **) = before_all;

int test_main(int argc, char **argv)
{
    CHECK_OK(gmp_go(count, NULL));
    AWAIT(atomic_load(&ran) == 2);
    return 0;
}
