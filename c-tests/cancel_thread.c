/* pthread_cancel of a host thread that is in a call: no call is a point of
 * cancellation, so the call ends as ever and the thread after it. The goroutine
 * that it may be running in place is not that thread, and goes on; nothing is
 * left in a queue or locked; a thread of asynchronous type waits as well. */
#include "test.h"

#include <fcntl.h>

enum { STORM = 200 };

static atomic_int step, napped;
static gmp_chan *chan, *other;
static gmp_mutex mutex = GMP_MUTEX_INIT;
static gmp_cond cond = GMP_COND_INIT;
static gmp_sema sema = GMP_SEMA_INIT(0);
static gmp_waitgroup group = GMP_WAITGROUP_INIT;
static int ends[2];

static void napper(void *arg)
{
    (void)arg;
    atomic_store(&step, 1);
    usleep(50000);              /* points of cancellation, of the goroutine */
    pthread_testcancel();
    gmp_yield();
    usleep(1000);
    atomic_fetch_add(&napped, 1);
}

static void in_join(void)
{
    CHECK_OK(gmp_join(spawn(napper, NULL)));
}

static void in_recv(void)
{
    int value;

    CHECK_OK(gmp_chan_recv(chan, &value));
    CHECK_EQ(value, 7);
}

static void in_select(void)
{
    int value = 0, got = 0;
    gmp_case cases[2];

    memset(cases, 0, sizeof cases);
    cases[0].ch = chan;
    cases[0].op = GMP_RECV;
    cases[0].elem = &value;
    cases[1].ch = other;
    cases[1].op = GMP_RECV;
    cases[1].elem = &got;
    CHECK_EQ(gmp_select(cases, 2), 0);
    CHECK_EQ(value, 7);
}

static void in_lock(void)
{
    CHECK_OK(gmp_mutex_lock(&mutex));
    CHECK_OK(gmp_mutex_unlock(&mutex));
}

static void in_cond(void)
{
    CHECK_OK(gmp_mutex_lock(&mutex));
    CHECK_OK(gmp_cond_wait(&cond, &mutex));
    CHECK_OK(gmp_mutex_unlock(&mutex));
}

static void in_sema(void)
{
    CHECK_OK(gmp_sema_acquire(&sema));
}

static void in_group(void)
{
    CHECK_OK(gmp_waitgroup_wait(&group));
}

static void in_sleep(void)
{
    CHECK_OK(gmp_sleep(MS(60)));
}

static void in_read(void)
{
    char c = 0;

    CHECK_EQ(gmp_read(ends[0], &c, 1), 1);
    CHECK_EQ(c, 'x');
}

static void in_park(void)
{
    while (atomic_load(&step) < 2)
        CHECK_EQ(gmp_park_until(NULL, NULL, NULL, gmp_after_ns(MS(5))),
                 -ETIMEDOUT);
}

/* What the thread does, and how it may be cancelled. */
static void (*block)(void);
static int kind;

static void *thread(void *arg)
{
    int old;

    (void)arg;
    CHECK_OK(pthread_setcanceltype(kind, &old));
    atomic_store(&step, 1);
    block();
    /* Nothing was cancelled in the call, and here it is. */
    atomic_store(&step, 3);
    for (;;) {
        pthread_testcancel();
        block_ns(MS(1));
    }
    return NULL;
}

static void wake(void)
{
    int value = 7, waits = 1;

    /* One that ends by itself may be over already. */
    atomic_compare_exchange_strong(&step, &waits, 2);
    if (block == in_recv || block == in_select)
        CHECK_OK(gmp_chan_send(chan, &value));
    else if (block == in_lock)
        CHECK_OK(gmp_mutex_unlock(&mutex));
    else if (block == in_cond)
        CHECK_OK(gmp_cond_broadcast(&cond));
    else if (block == in_sema)
        CHECK_OK(gmp_sema_release(&sema));
    else if (block == in_group)
        CHECK_OK(gmp_waitgroup_done(&group));
    else if (block == in_read)
        CHECK_EQ(write(ends[1], "x", 1), 1);
}

/* Cancels a thread that waits in `what`, wakes it, and sees it end. */
static void cancel_in(void (*what)(void))
{
    int64_t start = gmp_now();
    /* These end by themselves, after 50 ms or more. */
    bool ends = what == in_sleep || what == in_join;
    pthread_t t;
    void *result;
    int seen;

    block = what;
    atomic_store(&step, 0);
    if (block == in_lock)
        CHECK_OK(gmp_mutex_lock(&mutex));
    if (block == in_group)
        CHECK_OK(gmp_waitgroup_add(&group, 1));
    CHECK_OK(pthread_create(&t, NULL, thread, NULL));
    while (!atomic_load(&step))
        block_ns(US(100));
    block_ns(MS(10));
    CHECK_OK(pthread_cancel(t));
    block_ns(MS(5));
    seen = atomic_load(&step);
    CHECK(seen != 3 || (ends && gmp_now() - start >= MS(50)));
    wake();
    CHECK_OK(pthread_join(t, &result));
    CHECK(result == PTHREAD_CANCELED);
    CHECK_EQ(atomic_load(&step), 3);
}

/* Everything still works, so nothing of the thread was left behind. */
static void pass(void *arg)
{
    int value = 1;

    CHECK_OK(gmp_mutex_lock(&mutex));
    CHECK_OK(gmp_mutex_unlock(&mutex));
    CHECK_OK(gmp_chan_send(arg, &value));
}

static void check_well(void)
{
    gmp_g *g = spawn(pass, chan), *h = spawn(pass, other);
    int value;

    CHECK_OK(gmp_chan_recv(chan, &value));
    CHECK_OK(gmp_chan_recv(other, &value));
    CHECK_OK(gmp_join(g));
    CHECK_OK(gmp_join(h));
}

/* Cancelled at any moment of short calls of all kinds, files among them. */
static void tiny(void *arg)
{
    (void)arg;
}

static void *short_calls(void *arg)
{
    int fd;

    (void)arg;
    atomic_fetch_add(&step, 1);
    for (;;) {
        char c = 'x';

        CHECK_OK(gmp_join(spawn(tiny, NULL)));
        gmp_yield();
        CHECK_EQ(gmp_write(ends[1], &c, 1), 1);
        CHECK_EQ(gmp_read(ends[0], &c, 1), 1);
        fd = gmp_open("/dev/null", O_RDWR | O_CLOEXEC, 0);
        CHECK(fd >= 0);
        CHECK_EQ(gmp_write(fd, &c, 1), 1);
        CHECK_OK(gmp_close(fd));
        CHECK_OK(gmp_sleep(US(10)));
        pthread_testcancel();
    }
    return NULL;
}

static void storm(void)
{
    int before = count_entries("/proc/self/fd");

    for (int i = 0; i < STORM; i++) {
        pthread_t t;
        void *result;

        atomic_store(&step, 0);
        CHECK_OK(pthread_create(&t, NULL, short_calls, NULL));
        while (!atomic_load(&step))
            block_ns(US(20));
        spin_ns(US(i * 5));
        CHECK_OK(pthread_cancel(t));
        CHECK_OK(pthread_join(t, &result));
        CHECK(result == PTHREAD_CANCELED);
    }
    CHECK(count_entries("/proc/self/fd") <= before + 4);
    CHECK_EQ(gmp_num_goroutines(), 0);
}

/* The thread that a goroutine runs on is nobody's to cancel. */
static void cancels_itself(void *arg)
{
    (void)arg;
    atomic_store(&step, 4);
    CHECK_OK(pthread_cancel(pthread_self()));
    usleep(100);
    pthread_testcancel();
    atomic_fetch_add(&napped, 1);
}

int test_main(int argc, char **argv)
{
    static void (*const blocks[])(void) = {
        in_join, in_recv,  in_select, in_lock, in_cond,
        in_sema, in_group, in_sleep,  in_read, in_park,
    };
    gmp_g *g;

    (void)argc;
    (void)argv;
    chan = gmp_chan_make(sizeof(int), 0);
    other = gmp_chan_make(sizeof(int), 0);
    CHECK(chan != NULL && other != NULL);
    CHECK_OK(pipe(ends));
    for (int type = 0; type < 2; type++) {
        kind = type ? PTHREAD_CANCEL_ASYNCHRONOUS : PTHREAD_CANCEL_DEFERRED;
        for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++) {
            cancel_in(blocks[i]);
            check_well();
        }
    }
    CHECK_EQ(atomic_load(&napped), 2);
    g = spawn(cancels_itself, NULL);
    /* This thread would run it in place, and be the one that is cancelled. */
    while (atomic_load(&step) != 4)
        block_ns(US(100));
    CHECK_OK(gmp_join(g));
    CHECK_EQ(atomic_load(&napped), 3);
    storm();
    check_well();
    return 0;
}
