/* Every goroutine has an errno of its own, whichever thread it wakes up on.
 * The loops are such that a compiler which took errno's address for constant
 * would keep it across the calls. */
#include "test.h"

#include <fcntl.h>

enum { WORKERS = 32, ROUNDS = 300 };

static gmp_mutex mutex = GMP_MUTEX_INIT;
static gmp_chan *chan;

__attribute__((noinline)) static int lose_by_yielding(int mine)
{
    int wrong = 0;

    for (int i = 0; i < ROUNDS; i++) {
        errno = mine + i;
        gmp_yield();
        wrong += errno != mine + i;
    }
    return wrong;
}

__attribute__((noinline)) static int lose_by_waiting(int mine)
{
    int wrong = 0, value = 0;

    for (int i = 0; i < ROUNDS; i++) {
        errno = mine + i;
        if (mine % 2)
            gmp_chan_send(chan, &value);
        else
            gmp_chan_recv(chan, &value);
        wrong += errno != mine + i;
        gmp_mutex_lock(&mutex);
        if (i % 16 == 0)
            gmp_sleep(US(5));
        gmp_mutex_unlock(&mutex);
        wrong += errno != mine + i;
    }
    return wrong;
}

__attribute__((noinline)) static int lose_after_failure(void)
{
    int wrong = 0;

    for (int i = 0; i < ROUNDS; i++) {
        if (i % 2)
            wrong += close(-1) != -1;
        else
            wrong += open("/no such file", O_RDONLY) != -1;
        gmp_yield();
        wrong += errno != (i % 2 ? EBADF : ENOENT);
    }
    return wrong;
}

static void work(void *arg)
{
    int mine = 1000 * (int)(intptr_t)arg;

    CHECK_EQ(lose_by_yielding(mine), 0);
    CHECK_EQ(lose_by_waiting(mine / 1000), 0);
    CHECK_EQ(lose_after_failure(), 0);
}

static void yield_once(void *arg)
{
    gmp_yield();
}

static void *keep_on_thread(void *arg)
{
    for (int i = 0; i < 50; i++) {
        errno = 77;
        CHECK_OK(gmp_go(yield_once, NULL));
        gmp_sleep(US(10));
        CHECK_EQ(gmp_chan_try_recv(NULL, NULL), -EAGAIN);
        CHECK_EQ(gmp_mutex_unlock(&mutex), -EPERM);
        CHECK_EQ(errno, 77);
    }
    return NULL;
}

static void host_threads_keep_theirs(void)
{
    pthread_t thread;

    CHECK_OK(pthread_create(&thread, NULL, keep_on_thread, NULL));
    CHECK_OK(pthread_join(thread, NULL));
}

int test_main(int argc, char **argv)
{
    gmp_g *workers[WORKERS];

    host_threads_keep_theirs();
    chan = gmp_chan_make(sizeof(int), 2);
    for (intptr_t i = 0; i < WORKERS; i++)
        workers[i] = spawn(work, (void *)i);
    for (int i = 0; i < WORKERS; i++)
        CHECK_OK(gmp_join(workers[i]));
    return 0;
}
