/* Threads fork at any moment of a runtime's life: while it starts, is up, ends,
 * and is down. The library works in each child, and can be shut down there. */
#include "test.h"

#include <sys/wait.h>

enum { LIVES = 25, FORKERS = 2, WELL = 5 };

static atomic_bool stop;
static atomic_long forks;

static void sum_up(void *arg)
{
    CHECK_OK(gmp_sleep(US(20)));
    atomic_fetch_add((atomic_int *)arg, 1);
}

static void sleeps(void *arg)
{
    int result = gmp_sleep(SEC(3600));

    CHECK(result == -ECANCELED || result == -ESHUTDOWN);
}

static void use_library(void)
{
    atomic_int n = 0;
    gmp_g *made[4];

    for (int i = 0; i < 4; i++)
        made[i] = spawn(sum_up, &n);
    for (int i = 0; i < 4; i++)
        CHECK_OK(gmp_join(made[i]));
    CHECK_EQ(atomic_load(&n), 4);
}

static void be_child(long n)
{
    test_alarm(20);
    use_library();
    if (n % 3 == 0) {
        CHECK_OK(gmp_go(sleeps, NULL));
        CHECK_OK(gmp_shutdown(gmp_after_ns(SEC(10))));
        use_library();
    }
    if (n % 2)
        exit(WELL);
    _exit(WELL);
}

static void *forks_on(void *arg)
{
    while (!atomic_load(&stop)) {
        long n = atomic_fetch_add(&forks, 1);
        pid_t child = fork();
        int status;

        CHECK(child >= 0);
        if (child == 0)
            be_child(n);
        CHECK_EQ(waitpid(child, &status, 0), child);
        CHECK(WIFEXITED(status));
        CHECK_EQ(WEXITSTATUS(status), WELL);
    }
    return NULL;
}

int test_main(int argc, char **argv)
{
    pthread_t forkers[FORKERS];
    uint64_t state = 7;

    for (int i = 0; i < FORKERS; i++)
        CHECK_OK(pthread_create(&forkers[i], NULL, forks_on, NULL));
    for (int i = 0; i < LIVES; i++) {
        for (int k = 0; k < 8; k++)
            CHECK_OK(gmp_go(sleeps, NULL));
        block_ns(US(next_random(&state) % 2000));
        CHECK_OK(gmp_shutdown(gmp_after_ns(SEC(20))));
        block_ns(US(next_random(&state) % 500));
    }
    AWAIT(atomic_load(&forks) > 20);
    atomic_store(&stop, true);
    for (int i = 0; i < FORKERS; i++)
        CHECK_OK(pthread_join(forkers[i], NULL));
    printf("%ld forks\n", atomic_load(&forks));
    return 0;
}
