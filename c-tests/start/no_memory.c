/* A host with little address space, more in each child: the start has no
 * memory for one thing or another. Each child's first call says so, or all is
 * well; none is ended by it. */
#include "../test.h"

#include <sys/wait.h>

enum { MIB = 1 << 20, LEAST = 256 * 1024, MOST = 48 * MIB, STEP = 320 * 1024 };
/* What the loader says if there is not even room for the program. */
enum { NOT_LOADED = 127 };

static void nothing(void *arg) {}

/* More than the program has when it makes its first call. */
static int limited(rlim_t more)
{
    rlim_t now = (rlim_t)status_value("/proc/self/status", "VmSize:") * 1024;
    struct rlimit limit = {now + more, now + more};
    gmp_g *g = NULL;
    int r;

    CHECK_OK(setrlimit(RLIMIT_AS, &limit));
    r = gmp_wait_init();
    CHECK(r == 0 || r == -ENOMEM || r == -EAGAIN);
    CHECK(gmp_wait_init() == r || r == 0);
    if (r == 0)
        r = gmp_go_with(NULL, nothing, NULL, &g);
    CHECK(r == 0 || r == -ENOMEM || r == -EAGAIN);
    return r == 0 ? 0 : 1;
}

int test_main(int argc, char **argv)
{
    int failed = 0, well = 0;

    if (argc > 1)
        return limited((rlim_t)atol(argv[1])) == 0 ? 0 : 10;
    for (long more = LEAST; more < MOST; more += STEP) {
        char text[32];
        int status = 0;
        pid_t child = fork();

        if (child == 0) {
            snprintf(text, sizeof text, "%ld", more);
            execl("/proc/self/exe", argv[0], text, (char *)NULL);
            _exit(NOT_LOADED);
        }
        CHECK_EQ(waitpid(child, &status, 0), child);
        if (!WIFEXITED(status))
            printf("%ld more: status %x\n", more, (unsigned)status);
        CHECK(WIFEXITED(status));
        well += WEXITSTATUS(status) == 0;
        failed += WEXITSTATUS(status) == 10;
        CHECK(WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == 10);
    }
    printf("%d starts had too little memory, %d were well\n", failed, well);
    CHECK(failed > 0 && well > 0);
    return 0;
}
