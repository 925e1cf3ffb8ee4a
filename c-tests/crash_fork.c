/* fork in a process whose goroutines run: the child may end, execute another
 * program, use the C library, and ask the runtime, without a hang. */
#include "test.h"

#include <sys/wait.h>

enum { WORKERS = 20, FORKS = 60, CODE = 9 };

static atomic_bool stop;
static gmp_mutex mutex = GMP_MUTEX_INIT;

static void work(void *arg)
{
    while (!atomic_load(&stop)) {
        void *memory = malloc(1000);

        CHECK_OK(gmp_mutex_lock(&mutex));
        gmp_yield();
        CHECK_OK(gmp_mutex_unlock(&mutex));
        if ((intptr_t)arg % 3 == 0)
            CHECK_OK(gmp_sleep(US(100)));
        free(memory);
    }
}

static void set_flag(void *arg)
{
    atomic_store((atomic_bool *)arg, true);
}

/* The runtime in the child starts afresh or says that it cannot. */
static void use_runtime(void)
{
    atomic_bool ran = false;
    gmp_attr attr = GMP_ATTR_INIT;
    gmp_g *g = NULL;

    if (gmp_go_with(&attr, set_flag, &ran, &g) == 0) {
        CHECK_OK(gmp_join(g));
        CHECK(atomic_load(&ran));
    }
}

static void be_child(int i)
{
    alarm(20); /* alarms are not inherited */
    switch (i % 4) {
    case 0:
        _exit(CODE);
    case 1:
        execl("/bin/sh", "sh", "-c", "exit 9", (char *)NULL);
        _exit(1);
    case 2:
        free(malloc(100000));
        exit(CODE);
    default:
        use_runtime();
        _exit(CODE);
    }
}

static void fork_once(int i)
{
    pid_t child = fork();
    int status;

    CHECK(child >= 0);
    if (child == 0)
        be_child(i);
    CHECK_EQ(waitpid(child, &status, 0), child);
    CHECK(WIFEXITED(status));
    CHECK_EQ(WEXITSTATUS(status), CODE);
}

static void fork_in_goroutine(void *arg)
{
    for (int i = 0; i < FORKS / 4; i++)
        fork_once(i);
}

/* The signal of the dumps ends a child, which has nobody to make them. */
static void quit(void *arg)
{
    pid_t child = fork();
    int status;

    CHECK(child >= 0);
    if (child == 0) {
        raise(SIGQUIT);
        _exit(0);
    }
    CHECK_EQ(waitpid(child, &status, 0), child);
    CHECK(WIFSIGNALED(status));
    CHECK_EQ(WTERMSIG(status), SIGQUIT);
}

int test_main(int argc, char **argv)
{
    gmp_g *workers[WORKERS];

    if (argc > 1 && strcmp(argv[1], "quit") == 0) {
        CHECK_OK(gmp_join(spawn(quit, NULL)));
        quit(NULL);
        return 0;
    }

    for (intptr_t i = 0; i < WORKERS; i++)
        workers[i] = spawn(work, (void *)i);
    for (int i = 0; i < FORKS; i++) {
        block_ns(US(100));
        fork_once(i);
    }
    CHECK_OK(gmp_join(spawn(fork_in_goroutine, NULL)));
    /* The parent goes on as before. */
    atomic_store(&stop, true);
    for (int i = 0; i < WORKERS; i++)
        CHECK_OK(gmp_join(workers[i]));
    return 0;
}
