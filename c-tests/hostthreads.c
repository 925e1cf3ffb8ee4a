/* Host threads do everything that goroutines do, come and go, and leave
 * nothing behind. */
#include "test.h"

enum { THREADS = 100, ROUNDS = 3 };

static gmp_chan *work, *results;
static gmp_mutex mutex = GMP_MUTEX_INIT;
static long counter; /* lock: mutex */

static void square(void *arg)
{
    long n;

    while (gmp_chan_recv(work, &n) == 0) {
        n *= n;
        CHECK_OK(gmp_chan_send(results, &n));
    }
}

static void wake(void *arg)
{
    gmp_ready(*(gmp_g **)arg);
}

static int start_waker(gmp_g *g, void *lock)
{
    *(gmp_g **)lock = g;
    return gmp_go(wake, lock) == 0;
}

static void add_one(void *arg)
{
    atomic_fetch_add((atomic_long *)arg, 1);
}

static void add_and_finish(void *arg)
{
    gmp_waitgroup *group = arg;

    gmp_yield();
    CHECK_OK(gmp_waitgroup_done(group));
}

static void *do_everything(void *arg)
{
    gmp_waitgroup group = GMP_WAITGROUP_INIT;
    atomic_long sum = 0;
    long n = (long)(intptr_t)arg, squared;
    static _Thread_local gmp_g *self;

    CHECK_OK(gmp_chan_send(work, &n));
    CHECK_OK(gmp_chan_recv(results, &squared));
    CHECK(squared >= 0);
    CHECK_OK(gmp_mutex_lock(&mutex));
    counter++;
    CHECK_OK(gmp_mutex_unlock(&mutex));
    for (int i = 0; i < 3; i++)
        CHECK_OK(gmp_join(spawn(add_one, &sum)));
    CHECK_EQ(atomic_load(&sum), 3);
    CHECK_OK(gmp_waitgroup_add(&group, 5));
    for (int i = 0; i < 5; i++)
        CHECK_OK(gmp_go(add_and_finish, &group));
    CHECK_OK(gmp_waitgroup_wait(&group));
    CHECK_OK(gmp_sleep(US(100)));
    CHECK_OK(gmp_park(start_waker, &self, "host thread"));
    gmp_yield();
    gmp_checkpoint();
    CHECK_EQ(gmp_exit(), -EPERM);
    return NULL;
}

static void crowd(void)
{
    pthread_t threads[THREADS];

    for (intptr_t i = 0; i < THREADS; i++)
        CHECK_OK(pthread_create(&threads[i], NULL, do_everything, (void *)i));
    for (int i = 0; i < THREADS; i++)
        CHECK_OK(pthread_join(threads[i], NULL));
}

static void *block_once(void *arg)
{
    CHECK_OK(gmp_chan_recv(arg, NULL));
    return NULL;
}

/* The G of a thread that is gone is gone too: thousands leave no trace. */
static void threads_come_and_go(int rounds)
{
    gmp_chan *ch = gmp_chan_make(0, 0);

    for (int i = 0; i < rounds; i++) {
        pthread_t thread;

        CHECK_OK(pthread_create(&thread, NULL, block_once, ch));
        CHECK_OK(gmp_chan_send(ch, NULL));
        CHECK_OK(pthread_join(thread, NULL));
    }
    gmp_chan_unref(ch);
}

static atomic_int begun;

static void begin(void *arg)
{
    atomic_fetch_add(&begun, 1);
}

static void look_who_began(void *arg)
{
    *(int *)arg = atomic_load(&begun);
}

/* With one P, what a thread joins does not overtake what it started before,
 * though it might run on this very thread. */
static void joining_keeps_the_order(int rounds)
{
    int procs = gmp_set_maxprocs(1);

    for (int i = 0; i < rounds; i++) {
        int seen = -1;

        atomic_store(&begun, 0);
        CHECK_OK(gmp_go(begin, NULL));
        CHECK_OK(gmp_join(spawn(look_who_began, &seen)));
        CHECK_EQ(seen, 1);
    }
    gmp_set_maxprocs(procs);
}

int test_main(int argc, char **argv)
{
    gmp_g *workers[4];
    int64_t goroutines;
    int fds;
    long rss;

    work = gmp_chan_make(sizeof(long), 0);
    results = gmp_chan_make(sizeof(long), 8);
    for (int i = 0; i < 4; i++)
        workers[i] = spawn(square, NULL);
    crowd();
    goroutines = gmp_num_goroutines();
    fds = count_entries("/proc/self/fd");
    for (int i = 1; i < ROUNDS; i++)
        crowd();
    CHECK_EQ(counter, ROUNDS * THREADS);
    AWAIT(gmp_num_goroutines() <= goroutines);
    CHECK(count_entries("/proc/self/fd") <= fds + 8);

    threads_come_and_go(100);
    rss = status_value("/proc/self/status", "VmRSS:");
    threads_come_and_go(1000);
    CHECK(status_value("/proc/self/status", "VmRSS:") - rss < 2048);

    CHECK_OK(gmp_chan_close(work));
    for (int i = 0; i < 4; i++)
        CHECK_OK(gmp_join(workers[i]));
    joining_keeps_the_order(300);
    return 0;
}
