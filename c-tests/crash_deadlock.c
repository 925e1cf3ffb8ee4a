/* Waits for ever, or seems to. Usage: crash_deadlock CASE; `real_` cases are
 * deadlocks, the others end with exit code 3. */
#include "test.h"

enum { CODE = 3 };

static gmp_chan *chan;
static gmp_mutex mutex = GMP_MUTEX_INIT;
static gmp_waitgroup group = GMP_WAITGROUP_INIT;
static const char *which;

static bool is(const char *name)
{
    return strcmp(which, name) == 0;
}

static void receive(void *arg)
{
    gmp_chan_recv(chan, NULL);
}

static void lock_and_receive(void *arg)
{
    gmp_mutex_lock(&mutex);
    gmp_chan_recv(chan, NULL);
}

static void send_after_sleep(void *arg)
{
    CHECK_OK(gmp_sleep(MS(50)));
    CHECK_OK(gmp_chan_send(chan, NULL));
}

static void send_after_block(void *arg)
{
    block_ns(MS(50));
    CHECK_OK(gmp_chan_send(chan, NULL));
}

static void send_after_work(void *arg)
{
    spin_ns(MS(50));
    CHECK_OK(gmp_chan_send(chan, NULL));
}

static void *send_from_thread(void *arg)
{
    send_after_block(arg);
    return NULL;
}

static int main_goroutine(int argc, char **argv)
{
    pthread_t thread;

    chan = gmp_chan_make(0, 0);
    if (is("real_chan")) {
        gmp_chan_recv(chan, NULL);
    } else if (is("real_null")) {
        gmp_chan_send(NULL, NULL);
    } else if (is("real_mutex")) {
        CHECK_OK(gmp_mutex_lock(&mutex));
        gmp_mutex_lock(&mutex);
    } else if (is("real_group")) {
        CHECK_OK(gmp_waitgroup_add(&group, 1));
        gmp_waitgroup_wait(&group);
    } else if (is("real_park")) {
        for (;;)
            gmp_park(NULL, NULL, "nobody knows");
    } else if (is("real_many")) {
        for (int i = 0; i < 10; i++)
            CHECK_OK(gmp_go(i % 2 ? receive : lock_and_receive, NULL));
        gmp_join(spawn(receive, NULL));
    } else if (is("real_later")) {
        /* The last ones that could have done something end. */
        CHECK_OK(gmp_go(send_after_sleep, NULL));
        CHECK_OK(gmp_chan_recv(chan, NULL));
        gmp_chan_recv(chan, NULL);
    } else if (is("real_exit")) {
        CHECK_OK(gmp_go(receive, NULL));
        gmp_exit();
    } else if (is("sleeper")) {
        CHECK_OK(gmp_go(send_after_sleep, NULL));
        CHECK_OK(gmp_chan_recv(chan, NULL));
    } else if (is("blocker")) {
        CHECK_OK(gmp_go(send_after_block, NULL));
        CHECK_OK(gmp_chan_recv(chan, NULL));
    } else if (is("worker")) {
        CHECK_OK(gmp_go(send_after_work, NULL));
        CHECK_OK(gmp_chan_recv(chan, NULL));
    } else if (is("host_thread")) {
        CHECK_OK(pthread_create(&thread, NULL, send_from_thread, NULL));
        CHECK_OK(gmp_chan_recv(chan, NULL));
    }
    return CODE;
}

/* Without gmp_run_main nobody can tell: a host thread may come and help. */
static int library(void)
{
    pthread_t thread;

    chan = gmp_chan_make(0, 0);
    CHECK_OK(gmp_go(receive, NULL));
    CHECK_OK(pthread_create(&thread, NULL, send_from_thread, NULL));
    CHECK_OK(pthread_join(thread, NULL));
    CHECK_OK(gmp_go(receive, NULL));
    block_ns(MS(50));
    return CODE;
}

int test_main(int argc, char **argv)
{
    which = argc > 1 ? argv[1] : "library";
    if (is("library"))
        return library();
    return gmp_run_main(argc, argv, main_goroutine);
}
