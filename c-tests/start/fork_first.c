/* A host that forks before its first call (GMP_AUTOSTART=0): parent and child
 * each start a runtime of their own. The child of a process whose runtime is up
 * starts it again. */
#include "../test.h"

#include <sys/wait.h>

static void set_flag(void *arg)
{
    atomic_store((atomic_bool *)arg, true);
}

static void goroutine_runs(void)
{
    atomic_bool ran = false;

    CHECK_OK(gmp_join(spawn(set_flag, &ran)));
    CHECK(atomic_load(&ran));
}

static void wait_for(pid_t child)
{
    int status;

    CHECK(child > 0);
    CHECK_EQ(waitpid(child, &status, 0), child);
    CHECK(WIFEXITED(status));
    CHECK_EQ(WEXITSTATUS(status), 0);
}

int test_main(int argc, char **argv)
{
    pid_t child = fork();

    if (child == 0) {
        goroutine_runs();
        _exit(0);
    }
    goroutine_runs();
    wait_for(child);

    child = fork();
    if (child == 0) {
        CHECK_OK(gmp_wait_init());
        goroutine_runs();
        _exit(0);
    }
    wait_for(child);
    goroutine_runs();
    return 0;
}
