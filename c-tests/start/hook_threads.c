/* _cgo_sys_thread_create and _cgo_thread_start: a host that makes every thread
 * itself, with a signal blocked that its threads are not to take. */
#include "../test.h"

enum { BLOCKERS = 8 };

static atomic_int firsts, others, blocked;

static int create(void *(*fn)(void *), void *arg)
{
    sigset_t usr1, old;
    pthread_t thread;
    int result;

    sigemptyset(&usr1);
    sigaddset(&usr1, SIGUSR1);
    CHECK_OK(pthread_sigmask(SIG_BLOCK, &usr1, &old));
    result = pthread_create(&thread, NULL, fn, arg);
    CHECK_OK(pthread_sigmask(SIG_SETMASK, &old, NULL));
    return result == 0 ? pthread_detach(thread) : result;
}

static int create_first(void *(*fn)(void *), void *arg)
{
    atomic_fetch_add(&firsts, 1);
    return create(fn, arg);
}

static int create_other(const struct gmp_thread_start *start)
{
    CHECK(start->g != NULL && start->tls != NULL);
    atomic_fetch_add(&others, 1);
    return create(start->fn, start->arg);
}

int (*_cgo_sys_thread_create)(void *(*)(void *), void *) = create_first;
int (*_cgo_thread_start)(const struct gmp_thread_start *) = create_other;

static void look(void *arg)
{
    sigset_t mask;

    CHECK_OK(pthread_sigmask(SIG_BLOCK, NULL, &mask));
    atomic_fetch_add(&blocked, sigismember(&mask, SIGUSR1));
    block_ns(MS(30));
}

int test_main(int argc, char **argv)
{
    gmp_g *gs[BLOCKERS];

    CHECK_OK(gmp_wait_init());
    CHECK_EQ(atomic_load(&firsts), 1);
    for (int i = 0; i < BLOCKERS; i++)
        gs[i] = spawn(look, NULL);
    for (int i = 0; i < BLOCKERS; i++)
        CHECK_OK(gmp_join(gs[i]));
    /* On the threads of the host's making its mask is in force. */
    CHECK_EQ(atomic_load(&blocked), BLOCKERS);
    CHECK_EQ(count_threads(), 1 + 1 + atomic_load(&others));
    return 0;
}
