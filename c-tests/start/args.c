/* gmp_args: the arguments as main has got them, wherever the library is. */
#include "../test.h"

static int seen_argc;
static char **seen_argv;

static void look(void)
{
    seen_argc = gmp_args(&seen_argv);
}
GMP_INIT(look)

int test_main(int argc, char **argv)
{
    char **all = NULL;
    int n = gmp_args(&all);

    CHECK_EQ(gmp_args(NULL), n);
    CHECK(n >= argc && all != NULL);
    CHECK(all[n] == NULL);
    /* A plug-in's host has one argument more, before ours. */
    for (int i = 0; i < argc; i++)
        CHECK(strcmp(all[n - argc + i], argv[i]) == 0);
    CHECK_EQ(seen_argc, n);
    CHECK(seen_argv == all);
    return 0;
}
