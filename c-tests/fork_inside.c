/* A fork where the library holds a lock: in the functions of a channel's
 * elements, and in the handler of a signal, while other threads fork too. The
 * child may execute another program or end; calls are refused there. The parent
 * and the other children go on. */
#include "test.h"

#include <sys/wait.h>

enum { ROUNDS = 10, INSIDE = 4, WELL = 5 };

static atomic_bool stop;
static atomic_long forks_inside, forks_outside;
static _Thread_local bool is_interrupted;

static void reap(pid_t child, int code)
{
    int status;

    while (waitpid(child, &status, 0) != child)
        CHECK_EQ(errno, EINTR);
    CHECK(WIFEXITED(status));
    CHECK_EQ(WEXITSTATUS(status), code);
}

static void nothing(void *arg)
{
}

/* In the functions of elements. */
static void fork_inside(void)
{
    long n = atomic_fetch_add(&forks_inside, 1);
    pid_t child = fork();

    CHECK(child >= 0);
    if (child == 0) {
        test_alarm(20);
        if (n % 2) {
            execl("/bin/sh", "sh", "-c", "exit 5", (char *)NULL);
            _exit(1);
        }
        CHECK_EQ(gmp_go(nothing, NULL), -ENOTSUP);
        /* Another fork there is one more dead end. */
        child = fork();
        CHECK(child >= 0);
        if (child > 0)
            reap(child, INSIDE);
        CHECK_EQ(gmp_sleep(1), -ENOTSUP);
        _exit(child ? WELL : INSIDE);
    }
    reap(child, WELL);
}

static void move(void *to, void *from)
{
    memcpy(to, from, sizeof(long));
    fork_inside();
}

static void destroy(void *elem)
{
    fork_inside();
}

static void elements(void *arg)
{
    gmp_chan_attr attr = GMP_CHAN_ATTR_INIT;
    long x;

    attr.elem_size = sizeof(long);
    attr.capacity = 2;
    attr.move = move;
    attr.destroy = destroy;
    for (long i = 0; i < ROUNDS; i++) {
        gmp_chan *ch = gmp_chan_make_with(&attr);

        CHECK(ch != NULL);
        CHECK_OK(gmp_chan_send(ch, &i));
        CHECK_OK(gmp_chan_recv(ch, &x));
        CHECK_EQ(x, i);
        CHECK_OK(gmp_chan_send(ch, &i));
        CHECK_OK(gmp_chan_recv(ch, NULL));
        gmp_chan_unref(ch);
    }
}

/* Handlers come anywhere, also where the thread forks or reaps. */
static void forks_in_handler(int signo)
{
    int keep = errno, status;
    pid_t child;

    if (is_interrupted)
        return;
    is_interrupted = true;
    child = fork();
    if (child == 0)
        _exit(WELL);
    while (child > 0 && waitpid(child, &status, 0) != child)
        continue;
    is_interrupted = false;
    errno = keep;
}

static void *locks_and_is_interrupted(void *arg)
{
    gmp_chan *ch = gmp_chan_make(sizeof(long), 1);
    long x = 1;

    while (!atomic_load(&stop)) {
        CHECK_OK(gmp_chan_send(ch, &x));
        CHECK_OK(gmp_chan_recv(ch, &x));
    }
    gmp_chan_unref(ch);
    return NULL;
}

/* The child of a fork that comes meanwhile works. */
static void *forks_outside_all(void *arg)
{
    while (!atomic_load(&stop)) {
        pid_t child = fork();

        CHECK(child >= 0);
        if (child == 0) {
            test_alarm(20);
            if (!test_child_may_hang())
                CHECK_OK(gmp_join(spawn(nothing, NULL)));
            _exit(WELL);
        }
        reap(child, WELL);
        atomic_fetch_add(&forks_outside, 1);
    }
    return NULL;
}

int test_main(int argc, char **argv)
{
    struct sigaction action = {.sa_handler = forks_in_handler};
    pthread_t forking[2], locking;
    gmp_g *goroutine;

    CHECK_OK(sigaction(SIGUSR2, &action, NULL));
    for (int i = 0; i < 2; i++)
        CHECK_OK(pthread_create(&forking[i], NULL, forks_outside_all, NULL));
    CHECK_OK(
        pthread_create(&locking, NULL, locks_and_is_interrupted, NULL));
    goroutine = spawn(elements, NULL);
    elements(NULL);
    CHECK_OK(gmp_join(goroutine));
    for (int i = 0; i < 4 * ROUNDS; i++) {
        CHECK_OK(pthread_kill(locking, SIGUSR2));
        CHECK_OK(gmp_sleep(US(500)));
    }
    AWAIT(atomic_load(&forks_outside) > 10);
    atomic_store(&stop, true);
    for (int i = 0; i < 2; i++)
        CHECK_OK(pthread_join(forking[i], NULL));
    CHECK_OK(pthread_join(locking, NULL));
    return 0;
}
