/* A host that may not make as many threads as it likes (RLIMIT_NPROC), started
 * with GMP_AUTOSTART=0. Its argument is how many more than its own it may
 * make; too few for the start. */
#include "../test.h"

/* A user of whom nobody else makes processes meanwhile; root has no limit. */
enum { SOMEBODY = 54321 };

int test_main(int argc, char **argv)
{
    struct rlimit limit;

    limit.rlim_cur = limit.rlim_max = 1 + (rlim_t)atoi(argv[1]);
    CHECK_OK(setrlimit(RLIMIT_NPROC, &limit));
    if (getuid() == 0)
        CHECK_OK(setuid(SOMEBODY));
    CHECK_EQ(gmp_wait_init(), -EAGAIN);
    CHECK_EQ(gmp_go((gmp_fn)free, NULL), -EAGAIN);
    CHECK_EQ(gmp_wait_init(), -EAGAIN);
    return 0;
}
