/* A function of GMP_INIT forks, and the child goes on from there.
 *
 * HOW in the environment: "quiet", the child's first call comes after the
 * functions; "calls", it comes in the first. With ENTRY defined the program
 * is entered at _rt0_amd64_linux, so that `main` follows in the child too;
 * else the child has the main goroutine only, and ends with it. */
#include "../test.h"

#include <sys/wait.h>

enum { IN_MAIN = 7 };

static pid_t child = -1;
static int laters;

static void sum_up(void *arg)
{
    CHECK_OK(gmp_sleep(US(50)));
    atomic_fetch_add((atomic_int *)arg, 1);
}

static void use_library(void)
{
    atomic_int n = 0;
    gmp_g *made[10];

    for (int i = 0; i < 10; i++)
        made[i] = spawn(sum_up, &n);
    for (int i = 0; i < 10; i++)
        CHECK_OK(gmp_join(made[i]));
    CHECK_EQ(atomic_load(&n), 10);
}

static bool calls(void)
{
    return strcmp(getenv("HOW"), "calls") == 0;
}

static void forks(void)
{
    child = fork();
    CHECK(child >= 0);
    if (child == 0)
        alarm(20);
    if (calls())
        use_library();
}
GMP_INIT(forks)

static void later(void)
{
    laters++;
    if (calls())
        use_library();
}
GMP_INIT(later)

int test_main(int argc, char **argv)
{
    int status;

    use_library();
    CHECK_EQ(laters, 1);
    if (child == 0)
        exit(IN_MAIN);
    CHECK_EQ(gmp_waitpid(child, &status, 0), child);
    CHECK(WIFEXITED(status));
#ifdef ENTRY
    CHECK_EQ(WEXITSTATUS(status), IN_MAIN);
#else
    CHECK_EQ(WEXITSTATUS(status), 0);
#endif
    return 0;
}
