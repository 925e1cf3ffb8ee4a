/* A process may end at any moment, whatever its goroutines do.
 *
 * Usage: exit_anytime SEED. The seed picks the way out and the moment. The
 * exit code is always 7; a crash or a hang is the failure. */
#include "test.h"

enum { CODE = 7, WORKERS = 30 };

static gmp_chan *chan;
static gmp_mutex mutex = GMP_MUTEX_INIT;

static void talk(void *arg)
{
    int value = 0;

    for (;;) {
        gmp_chan_send(chan, &value);
        gmp_chan_recv(chan, &value);
    }
}

static void contend(void *arg)
{
    for (;;) {
        gmp_mutex_lock(&mutex);
        gmp_yield();
        gmp_mutex_unlock(&mutex);
    }
}

static void nap(void *arg)
{
    for (;;) {
        gmp_sleep(US(50));
        block_ns(US(50));
        spin_ns(US(50));
    }
}

static void nothing(void *arg)
{
}

static void spawn_more(void *arg)
{
    for (;;) {
        gmp_go(nothing, NULL);
        gmp_join(spawn(nothing, NULL));
        gmp_yield();
    }
}

static void call_exit(void *arg)
{
    exit(CODE);
}

static void call_exit_now(void *arg)
{
    _exit(CODE);
}

static void *exit_on_thread(void *arg)
{
    exit(CODE);
}

static void *block_on_thread(void *arg)
{
    talk(arg);
    return NULL;
}

static void at_exit(void)
{
    /* Handlers of the host may still use the library. */
    gmp_go(nothing, NULL);
    gmp_yield();
}

static int leave_main(int argc, char **argv)
{
    gmp_sleep(US(300));
    return CODE;
}

int test_main(int argc, char **argv)
{
    static const gmp_fn jobs[] = {talk, contend, nap, spawn_more};
    uint64_t seed = argc > 1 ? strtoull(argv[1], NULL, 0) : 1;
    pthread_t thread;
    uint64_t way;

    for (int i = 0; i < 5; i++)
        next_random(&seed);
    chan = gmp_chan_make(sizeof(int), 2);
    if (next_random(&seed) % 2)
        atexit(at_exit);
    for (int i = (int)(next_random(&seed) % WORKERS); i > 0; i--)
        gmp_go(jobs[next_random(&seed) % 4], NULL);
    if (next_random(&seed) % 4 == 0)
        pthread_create(&thread, NULL, block_on_thread, NULL);
    way = next_random(&seed) % 7;
    block_ns((int64_t)(next_random(&seed) % 2000000));
    switch (way) {
    case 0:
        return CODE;
    case 1:
        exit(CODE);
    case 2:
        _exit(CODE);
    case 3:
        quick_exit(CODE);
    case 4:
        return gmp_run_main(0, NULL, leave_main);
    case 5:
        pthread_create(&thread, NULL, exit_on_thread, NULL);
        break;
    default:
        gmp_go(next_random(&seed) % 2 ? call_exit : call_exit_now, NULL);
    }
    for (;;)
        pause();
}
