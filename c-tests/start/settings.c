/* What the settings of the environment have come to: prints the number of Ps,
 * and how many threads there are before the first call; with the argument
 * "stack" it writes to most of a stack of GMP_STACKSIZE bytes, which is told
 * in bytes by the next argument. */
#include "../test.h"

static size_t stack_bytes;

/* Writes to every page of a frame as large as that. */
static void fill(void *arg)
{
    volatile char frame[stack_bytes - stack_bytes / 8];

    for (size_t at = sizeof frame; at >= 4096; at -= 4096)
        frame[at - 4096] = 1;
    *(int *)arg = 1;
}

int test_main(int argc, char **argv)
{
    int filled = 0;
    int threads = count_threads();
    gmp_g *g;

    printf("procs %d\n", gmp_set_maxprocs(0));
    printf("started %s\n", threads > 1 ? "at load" : "at the first call");
    if (argc > 2 && strcmp(argv[1], "stack") == 0) {
        stack_bytes = strtoull(argv[2], NULL, 0);
        CHECK_OK(gmp_go_with(NULL, fill, &filled, &g));
        CHECK_OK(gmp_join(g));
        CHECK_EQ(filled, 1);
    }
    return 0;
}
