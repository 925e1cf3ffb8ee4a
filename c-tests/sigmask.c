/* The signal mask: a goroutine begins with that of all others, wherever it
 * runs, in place on a host thread with another one too; one of its own follows
 * it over every park and to its children, and nobody gets it after it. */
#include "test.h"

#include <spawn.h>
#include <sys/wait.h>

enum { ROUNDS = 300, KEEPERS = 6 };

static sigset_t of(int signo)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, signo);
    return set;
}

static int blocks(int signo)
{
    sigset_t now;

    CHECK_OK(pthread_sigmask(SIG_BLOCK, NULL, &now));
    return sigismember(&now, signo);
}

static void check_plain(void)
{
    CHECK(!blocks(SIGTERM));
    CHECK(!blocks(SIGUSR1));
    CHECK(!blocks(SIGUSR2));
}

static void keeper(void *arg)
{
    int signo = (intptr_t)arg % 2 ? SIGUSR1 : SIGUSR2;
    int other = signo == SIGUSR1 ? SIGUSR2 : SIGUSR1;
    sigset_t set = of(signo);

    check_plain();
    CHECK_OK(pthread_sigmask(SIG_BLOCK, &set, NULL));
    for (int i = 0; i < ROUNDS; i++) {
        if (i % 3)
            gmp_yield();
        else
            CHECK_OK(gmp_sleep(US(20)));
        CHECK(blocks(signo));
        CHECK(!blocks(other));
    }
    /* Some end with it, some without. */
    if ((intptr_t)arg % 3 == 0)
        CHECK_OK(pthread_sigmask(SIG_UNBLOCK, &set, NULL));
}

static void plain(void *arg)
{
    (void)arg;
    for (int i = 0; i < ROUNDS; i++) {
        check_plain();
        gmp_yield();
    }
}

static void changes_and_ends(void *arg)
{
    sigset_t set = of(SIGTERM);

    (void)arg;
    check_plain();
    CHECK_OK(sigprocmask(SIG_BLOCK, &set, NULL));
    CHECK(blocks(SIGTERM));
}

/* Its thread ends with it, or, a host's, goes on as before. */
static void locks_and_ends(void *arg)
{
    sigset_t set = of(SIGUSR1);

    (void)arg;
    check_plain();
    CHECK_OK(gmp_lock_os_thread());
    CHECK_OK(pthread_sigmask(SIG_BLOCK, &set, NULL));
    CHECK(blocks(SIGUSR1));
}

static void locked(void *arg)
{
    sigset_t set = of(SIGUSR1);

    (void)arg;
    CHECK_OK(gmp_lock_os_thread());
    CHECK_OK(pthread_sigmask(SIG_BLOCK, &set, NULL));
    for (int i = 0; i < ROUNDS; i++) {
        gmp_yield();
        CHECK(blocks(SIGUSR1));
    }
    CHECK_OK(gmp_unlock_os_thread());
    for (int i = 0; i < ROUNDS; i++) {
        gmp_yield();
        CHECK(blocks(SIGUSR1));
    }
}

static void errors(void)
{
    sigset_t set = of(SIGUSR1), old;

    CHECK_EQ(gmp_sigmask(77, &set, NULL), -EINVAL);
    CHECK_EQ(pthread_sigmask(77, &set, NULL), EINVAL);
    errno = 0;
    CHECK_EQ(sigprocmask(77, &set, NULL), -1);
    CHECK_EQ(errno, EINVAL);
    CHECK_OK(gmp_sigmask(77, NULL, &old));
    CHECK_OK(gmp_sigmask(SIG_BLOCK, &set, &old));
    CHECK(!sigismember(&old, SIGUSR1));
    CHECK_OK(gmp_sigmask(SIG_SETMASK, &old, &set));
    CHECK(sigismember(&set, SIGUSR1));
    check_plain();
}

static void on_goroutine(void *arg)
{
    (void)arg;
    errors();
}

static atomic_int in_place;
static pthread_t host_thread;

/* A child has the mask of the goroutine that makes it. */
static void child(void *arg)
{
    char *const argv[] = {(char *)"grep", (char *)"-q",
                          (char *)"^SigBlk:.0*$",
                          (char *)"/proc/self/status", NULL};
    char *const envp[] = {NULL};
    pid_t pid;
    int status;

    (void)arg;
    if (pthread_equal(host_thread, pthread_self()))
        atomic_fetch_add(&in_place, 1);
    check_plain();
    CHECK_OK(posix_spawnp(&pid, "grep", NULL, NULL, argv, envp));
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(status, 0);
}

static void *host(void *arg)
{
    sigset_t set = of(SIGTERM);

    (void)arg;
    host_thread = pthread_self();
    CHECK_OK(pthread_sigmask(SIG_BLOCK, &set, NULL));
    /* The last half has the mask of all, and is asked just the same. */
    for (int i = 0; i < 80; i++) {
        gmp_fn what = i % 4 == 1 ? locks_and_ends : changes_and_ends;
        gmp_g *g = spawn(i % 4 ? what : child, NULL);

        if (i & 2)
            block_ns(MS(1));
        CHECK_OK(gmp_join(g));
        CHECK_EQ(blocks(SIGTERM), i < 40);
        if (i == 39)
            CHECK_OK(pthread_sigmask(SIG_UNBLOCK, &set, NULL));
        CHECK(!blocks(SIGUSR1));
    }
    check_plain();
    return NULL;
}

int test_main(int argc, char **argv)
{
    gmp_g *g[KEEPERS + 3];
    pthread_t thread;

    (void)argc;
    (void)argv;
    check_plain();
    CHECK_OK(gmp_wait_init());
    errors();
    CHECK_OK(gmp_join(spawn(on_goroutine, NULL)));
    for (int i = 0; i < KEEPERS; i++)
        g[i] = spawn(keeper, (void *)(intptr_t)i);
    g[KEEPERS] = spawn(plain, NULL);
    g[KEEPERS + 1] = spawn(plain, NULL);
    g[KEEPERS + 2] = spawn(locked, NULL);
    for (int i = 0; i < KEEPERS + 3; i++)
        CHECK_OK(gmp_join(g[i]));
    for (int i = 0; i < ROUNDS; i++)
        CHECK_OK(gmp_join(spawn(changes_and_ends, NULL)));
    CHECK_OK(pthread_create(&thread, NULL, host, NULL));
    CHECK_OK(pthread_join(thread, NULL));
    CHECK_OK(gmp_join(spawn(plain, NULL)));
    check_plain();
    printf("%d in place\n", atomic_load(&in_place));
    return 0;
}
