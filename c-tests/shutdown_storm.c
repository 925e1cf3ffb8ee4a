/* gmp_shutdown while host threads and goroutines use everything: each call is
 * right or says -ESHUTDOWN, and what was started has ended. */
#include "test.h"
#include <malloc.h>

enum { THREADS = 4, ROUNDS = 40 };

static _Atomic long started, ended;
static _Atomic bool stop;
static gmp_mutex mutex = GMP_MUTEX_INIT;
static gmp_chan *shared;
static long tids[THREADS];

static void counts(void *arg) { ended++; }

static void starts_more(void *arg)
{
    int rc = gmp_go(counts, NULL);

    CHECK(rc == 0 || rc == -ESHUTDOWN);
    started += rc == 0;
    rc = gmp_sleep(US(50));
    CHECK(rc == 0 || rc == -ECANCELED);
    rc = gmp_chan_send(shared, NULL);
    CHECK(rc == 0 || rc == -ECANCELED);
    CHECK_OK(gmp_mutex_lock(&mutex));
    CHECK_OK(gmp_mutex_unlock(&mutex));
    ended++;
}

/* A result that a call may have while others shut down. */
static int fair(int rc)
{
    CHECK(rc == 0 || rc == -ESHUTDOWN || rc == -EAGAIN || rc == -ETIMEDOUT);
    return rc;
}

static void *uses(void *arg)
{
    uint64_t seed = (uintptr_t)arg;
    gmp_timer *timer;
    gmp_g *g;

    tids[seed - 1] = thread_id();
    while (!stop) {
        switch (next_random(&seed) % 9) {
        case 0:
        case 1:
            started += fair(gmp_go(starts_more, NULL)) == 0;
            break;
        case 2:
            fair(gmp_chan_recv_until(shared, NULL, gmp_after_ns(MS(1))));
            break;
        case 3:
            fair(gmp_chan_try_recv(shared, NULL));
            break;
        case 4:
            if (fair(gmp_mutex_lock(&mutex)) == 0)
                CHECK_OK(gmp_mutex_unlock(&mutex));
            break;
        case 5:
            g = NULL;
            if (fair(gmp_go_with(NULL, counts, NULL, &g)) == 0) {
                started++;
                if (next_random(&seed) % 2)
                    fair(gmp_join_until(g, gmp_after_ns(MS(1))));
                gmp_release(g);
            }
            break;
        case 6:
            timer = gmp_timer_start(US(100), 0, counts, NULL);
            fair(gmp_sleep(US(200)));
            if (timer) {
                gmp_timer_stop(timer);
                gmp_timer_free(timer);
            }
            break;
        case 7:
            fair(gmp_sleep(US(next_random(&seed) % 300)));
            break;
        default:
            gmp_yield();
        }
    }
    return NULL;
}

int test_main(int argc, char **argv)
{
    pthread_t threads[THREADS];
    int rc, down = 0;

    mallopt(M_ARENA_MAX, 1);
    shared = gmp_chan_make(0, 4);
    for (uintptr_t i = 0; i < THREADS; i++)
        CHECK_OK(pthread_create(&threads[i], NULL, uses, (void *)(i + 1)));
    for (int i = 0; i < ROUNDS; i++) {
        block_ns(US(500));
        rc = gmp_shutdown(gmp_after_ns(SEC(20)));
        CHECK(rc == 0);
        down++;
    }
    stop = true;
    for (int i = 0; i < THREADS; i++)
        CHECK_OK(pthread_join(threads[i], NULL));
    for (int i = 0; i < THREADS; i++)
        await_gone(tids[i]);
    CHECK_OK(gmp_shutdown(GMP_FOREVER));
    CHECK_EQ(down, ROUNDS);
    CHECK_EQ(gmp_num_goroutines(), 0);
    /* Timers count as ended, and were not started here. */
    CHECK(ended >= started);
    CHECK_EQ(count_threads(), 1 + threads_of_tool());
    gmp_chan_unref(shared);
    return 0;
}
