/* Threads of the program call all that there is while the runtime is shut down
 * and started again. So some calls are late: they have passed the gate of a
 * runtime that ends meanwhile, and do their work in the midst of that end, or
 * of the next start. Each call is right or says why not, nothing waits for
 * ever, and no late call leaves anything behind. */
#include "test.h"
#include <fcntl.h>
#include <sys/socket.h>

enum { THREADS = 4, MOST = 60 };

/* The seed of a thread's random numbers. */
struct dice {
    uint64_t seed;
};

static unsigned roll(struct dice *dice, unsigned n)
{
    return (unsigned)(next_random(&dice->seed) >> 32) % n;
}

static int64_t soon(struct dice *dice)
{
    return gmp_after_ns(US(roll(dice, 300)));
}

/* A result that a call may have while others shut down. After a refusal the
 * next call is to come later, or most would be refused. */
static int fair(int rc)
{
    if (rc == -ESHUTDOWN)
        usleep(20);
    else if (rc != -ETIMEDOUT && rc != -EAGAIN)
        CHECK(rc >= 0);
    return rc;
}

/* The same on a goroutine, which the end cancels. */
static int fair_inside(int rc)
{
    return rc == -ECANCELED ? rc : fair(rc);
}

/* --- Goroutines ------------------------------------------------------------*/

static atomic_long started, ended;

static void ends(void *arg)
{
    (void)arg;
    atomic_fetch_add(&ended, 1);
}

static int start(gmp_fn f, void *arg)
{
    int rc;

    /* The threads must not be faster than one processor. */
    if (gmp_num_goroutines() > MOST) {
        usleep(100);
        return -EAGAIN;
    }
    rc = fair(gmp_go(f, arg));
    atomic_fetch_add(&started, rc == 0);
    return rc;
}

static void goes_on(void *arg)
{
    start(ends, NULL);
    fair_inside(gmp_sleep(US(50)));
    gmp_yield();
    ends(arg);
}

static void goes(struct dice *dice)
{
    start(roll(dice, 2) ? ends : goes_on, NULL);
}

static void joins(struct dice *dice)
{
    gmp_fn f = roll(dice, 2) ? ends : goes_on;
    gmp_attr attr = GMP_ATTR_INIT;
    gmp_g *g = NULL;
    int rc;

    /* Some have a stack with a mapping of its own. */
    attr.stack_size = roll(dice, 8) ? 0 : 16 << 20;
    if (fair(gmp_go_with(&attr, f, NULL, &g)) != 0)
        return;
    atomic_fetch_add(&started, 1);
    if (roll(dice, 2))
        gmp_cancel(g);
    rc = gmp_join_until(g, roll(dice, 2) ? GMP_FOREVER : soon(dice));
    /* The end makes a handle stale once the goroutine has ended. */
    if (rc != -EINVAL && fair(rc) != 0)
        gmp_release(g);
}

static void sleeps(struct dice *dice)
{
    if (roll(dice, 2))
        fair(gmp_sleep(US(roll(dice, 300))));
    else
        gmp_yield();
}

static void parks(struct dice *dice)
{
    gmp_g *self;

    fair(gmp_park_until(NULL, NULL, "late", soon(dice)));
    self = gmp_self();
    if (self != NULL)
        fair(gmp_ready(self));
}

static void naps(void *arg)
{
    (void)arg;
    usleep(100);
}

static void blocks_on(void *arg)
{
    fair_inside(gmp_blocking(naps, NULL));
    usleep(100);
    gmp_yield();
    ends(arg);
}

static void locks_thread(void *arg)
{
    gmp_lock_os_thread();
    fair_inside(gmp_sleep(US(20)));
    if (arg != NULL)
        gmp_unlock_os_thread();
    ends(NULL);
}

static void blocks(struct dice *dice)
{
    if (roll(dice, 2))
        start(blocks_on, NULL);
    else if (roll(dice, 4) == 0)
        start(locks_thread, roll(dice, 2) ? &started : NULL);
    else
        fair(gmp_blocking(naps, NULL));
}

/* A thread whose first call, and whose end, are late. */
static void *lives_shortly(void *arg)
{
    struct dice dice = {(uintptr_t)arg};

    sleeps(&dice);
    return NULL;
}

static void threads_begin(struct dice *dice)
{
    void *seed = (void *)(uintptr_t)roll(dice, 1000);
    pthread_t thread;

    CHECK_OK(pthread_create(&thread, NULL, lives_shortly, seed));
    CHECK_OK(pthread_join(thread, NULL));
}

/* --- Channels and locks ----------------------------------------------------*/

static gmp_chan *shared;

static void uses_channels(struct dice *dice)
{
    gmp_case cases[2] = {{0}};
    int in = 7, out = 7;
    gmp_chan *own;

    switch (roll(dice, 6)) {
    case 0:
        fair(gmp_chan_send_until(shared, &out, soon(dice)));
        break;
    case 1:
        fair(gmp_chan_recv_until(shared, &in, soon(dice)));
        break;
    case 2:
        fair(gmp_chan_try_send(shared, &out));
        break;
    case 3:
        fair(gmp_chan_try_recv(shared, &in));
        break;
    case 4:
        cases[0] = (gmp_case){.ch = shared, .op = GMP_RECV, .elem = &in};
        cases[1] = (gmp_case){.ch = shared, .op = GMP_SEND, .elem = &out};
        fair(gmp_select_until(cases, 2, soon(dice)));
        break;
    default:
        own = gmp_chan_make(8, roll(dice, 3));
        if (own != NULL)
            CHECK_OK(gmp_chan_close(own));
        gmp_chan_unref(own);
    }
    CHECK_EQ(in, 7);
}

static gmp_mutex mutex = GMP_MUTEX_INIT;
static gmp_rwmutex rwmutex = GMP_RWMUTEX_INIT;
static gmp_cond cond = GMP_COND_INIT;
static gmp_sema sema = GMP_SEMA_INIT(1);
static gmp_waitgroup waitgroup = GMP_WAITGROUP_INIT;
static gmp_barrier barrier = GMP_BARRIER_INIT(2);
static gmp_once once = GMP_ONCE_INIT;
static atomic_long onces;
/* How many hold it. */
static atomic_int by_mutex, by_rwmutex, by_sema;

/* The caller has what only one may have. */
static void alone(struct dice *dice, atomic_int *holders)
{
    CHECK_EQ(atomic_fetch_add(holders, 1), 0);
    sleeps(dice);
    CHECK_EQ(atomic_fetch_sub(holders, 1), 1);
}

static void uses_locks(struct dice *dice)
{
    switch (roll(dice, 4)) {
    case 0:
        if (fair(gmp_mutex_lock(&mutex)) != 0)
            break;
        alone(dice, &by_mutex);
        CHECK_OK(gmp_mutex_unlock(&mutex));
        break;
    case 1:
        if (fair(gmp_mutex_lock_until(&mutex, soon(dice))) != 0)
            break;
        fair(gmp_cond_wait_until(&cond, &mutex, soon(dice)));
        alone(dice, &by_mutex);
        CHECK_OK(gmp_mutex_unlock(&mutex));
        CHECK_OK(gmp_cond_broadcast(&cond));
        break;
    case 2:
        if (fair(gmp_rwmutex_lock(&rwmutex)) != 0)
            break;
        alone(dice, &by_rwmutex);
        CHECK_OK(gmp_rwmutex_unlock(&rwmutex));
        break;
    default:
        if (fair(gmp_rwmutex_rlock_until(&rwmutex, soon(dice))) != 0)
            break;
        sleeps(dice);
        CHECK_EQ(atomic_load(&by_rwmutex), 0);
        CHECK_OK(gmp_rwmutex_runlock(&rwmutex));
    }
}

static void counts_once(void *arg)
{
    (void)arg;
    atomic_fetch_add(&onces, 1);
}

static void meets(struct dice *dice)
{
    switch (roll(dice, 4)) {
    case 0:
        if (fair(gmp_sema_acquire_until(&sema, soon(dice))) != 0)
            break;
        alone(dice, &by_sema);
        CHECK_OK(gmp_sema_release(&sema));
        break;
    case 1:
        fair(gmp_barrier_wait_until(&barrier, soon(dice)));
        break;
    case 2:
        CHECK_OK(gmp_waitgroup_add(&waitgroup, 1));
        fair(gmp_waitgroup_wait_until(&waitgroup, soon(dice)));
        CHECK_OK(gmp_waitgroup_done(&waitgroup));
        break;
    default:
        fair(gmp_once_do(&once, counts_once, NULL));
    }
}

static atomic_long members;

static int is_member(void *arg)
{
    if (arg != NULL)
        fair_inside(gmp_sleep(SEC(1)));
    atomic_fetch_sub(&members, 1);
    return arg != NULL ? 0 : 5;
}

static void groups(struct dice *dice)
{
    gmp_group *group = gmp_group_make();
    int rc;

    if (group == NULL)
        return;
    for (int n = (int)roll(dice, 4); n > 0; n--) {
        atomic_fetch_add(&members, 1);
        rc = gmp_group_go(group, is_member, roll(dice, 2) ? &rc : NULL);
        if (fair(rc) != 0)
            atomic_fetch_sub(&members, 1);
    }
    if (roll(dice, 2))
        fair(gmp_group_wait_until(group, soon(dice)));
    gmp_group_free(group);
}

/* --- Timers, descriptors, signals ------------------------------------------*/

static void fires(void *arg)
{
    (void)arg;
}

static void ticks(struct dice *dice)
{
    gmp_chan *channel;
    gmp_timer *timer;
    int64_t tick;

    if (roll(dice, 2)) {
        channel = roll(dice, 2) ? gmp_after(US(50)) : gmp_tick(US(50));
        if (channel != NULL)
            fair(gmp_chan_recv_until(channel, &tick, soon(dice)));
        gmp_chan_unref(channel);
        return;
    }
    timer = gmp_timer_start(US(roll(dice, 200)), US(roll(dice, 2) * 100),
                            fires, NULL);
    if (timer == NULL)
        return;
    sleeps(dice);
    fair(gmp_timer_reset(timer, US(roll(dice, 300))));
    sleeps(dice);
    if (roll(dice, 2))
        CHECK(gmp_timer_stop(timer) >= 0);
    gmp_timer_free(timer);
}

static int pipe_ends[2];

static void reads_on(void *arg)
{
    char byte;

    fair_inside((int)gmp_read_until(pipe_ends[0], &byte, 1,
                                    gmp_after_ns(MS(1))));
    ends(arg);
}

static void uses_descriptors(struct dice *dice)
{
    char byte = 'x';
    int pair[2];

    switch (roll(dice, 5)) {
    case 0:
        fair((int)gmp_read_until(pipe_ends[0], &byte, 1, soon(dice)));
        break;
    case 1:
        fair((int)gmp_write_until(pipe_ends[1], &byte, 1, soon(dice)));
        break;
    case 2:
        fair(gmp_wait_fd(pipe_ends[0], GMP_READABLE, soon(dice)));
        break;
    case 3:
        start(reads_on, NULL);
        break;
    default:
        CHECK_OK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
        fair((int)gmp_read_until(pair[0], &byte, 1, soon(dice)));
        CHECK_OK(gmp_close(pair[0]));
        CHECK_OK(gmp_close(pair[1]));
    }
}

static gmp_chan *signals;

static void gets_signals(struct dice *dice)
{
    int rc = fair(gmp_signal_notify(signals, SIGUSR1)), got;

    if (roll(dice, 2))
        kill(getpid(), SIGUSR1);
    if (fair(gmp_chan_recv_until(signals, &got, soon(dice))) == 0)
        CHECK_EQ(got, SIGUSR1);
    if (rc != 0 || roll(dice, 2))
        return;
    /* The end, or another thread, may have done it. */
    rc = gmp_signal_stop(signals, SIGUSR1);
    CHECK(rc == 0 || rc == -EINVAL);
}

/* --- The rest --------------------------------------------------------------*/

static int nowhere;
static gmp_key *key;

static void looks(struct dice *dice)
{
    const uint32_t flags[] = {0, GMP_DUMP_EACH, GMP_DUMP_JSON,
                              GMP_DUMP_SYSTEM | GMP_DUMP_STACKS};
    gmp_gc_stats heap;
    gmp_stats stats;

    if (roll(dice, 4) == 0)
        fair(gmp_dump(nowhere, flags[roll(dice, 4)]));
    fair(gmp_get_stats(&stats, sizeof stats));
    fair(gmp_gc_get_stats(&heap, sizeof heap));
}

static void traces(struct dice *dice)
{
    int rc;

    switch (roll(dice, 4)) {
    case 0:
        rc = gmp_trace_start(roll(dice, 2) ? "/dev/null" : NULL);
        CHECK(rc == -EBUSY || fair(rc) == rc);
        break;
    case 1:
        rc = gmp_trace_stop();
        CHECK(rc == -EINVAL || fair(rc) == rc);
        break;
    case 2:
        rc = gmp_trace_save(nowhere);
        CHECK(rc == -EINVAL || fair(rc) == rc);
        break;
    default:
        gmp_trace_mark("late");
    }
}

static void has_values(struct dice *dice)
{
    gmp_key *own = gmp_key_create(fires);

    if (fair(gmp_setspecific(key, dice)) == 0)
        CHECK_EQ(gmp_getspecific(key), dice);
    if (own == NULL)
        return;
    fair(gmp_setspecific(own, dice));
    CHECK_OK(gmp_key_delete(own));
}

static void uses_the_heap(struct dice *dice)
{
    uint64_t *object = gmp_gc_alloc(16 + roll(dice, 300));
    gmp_chan *channel = gmp_gc_chan_make(8, 2);
    int rc;

    if (object != NULL) {
        CHECK_EQ(object[0], 0);
        fair(gmp_gc_cleanup(object, fires, NULL));
    }
    if (channel != NULL)
        fair(gmp_chan_try_send(channel, &(uint64_t){0}));
    if (roll(dice, 20) == 0) {
        rc = gmp_gc();
        CHECK(rc == -EBUSY || fair(rc) == rc);
    } else if (roll(dice, 20) == 0) {
        rc = gmp_gc_stop();
        CHECK(rc == -EBUSY || fair(rc) == rc);
        if (rc == 0)
            CHECK_OK(gmp_gc_start());
    }
}

static void changes_procs(struct dice *dice)
{
    fair(gmp_set_maxprocs(1 + (int)roll(dice, 4)));
}

/* --- All of it -------------------------------------------------------------*/

static void (*const actions[])(struct dice *) = {
    goes, joins, sleeps, parks, blocks, threads_begin, uses_channels,
    uses_locks, meets, groups, ticks, uses_descriptors, gets_signals, looks,
    traces, has_values, uses_the_heap, changes_procs,
};
enum { ACTIONS = sizeof actions / sizeof *actions };

static atomic_bool stop, rest;
static atomic_int resting;

static void *works(void *arg)
{
    struct dice dice = {(uintptr_t)arg};

    while (!atomic_load(&stop)) {
        actions[roll(&dice, ACTIONS)](&dice);
        if (atomic_load(&rest)) {
            atomic_fetch_add(&resting, 1);
            while (atomic_load(&rest))
                usleep(50);
            atomic_fetch_sub(&resting, 1);
        }
    }
    return NULL;
}

static int descriptors;

/* No thread is in a call. Unless one has started the runtime again, all that
 * the library had is given back, and calls that only give something back start
 * nothing. */
static bool is_clean(void)
{
    const int threads_of_all = 1 + THREADS + threads_of_tool();
    struct sigaction action;

    if (count_threads() > threads_of_all)
        return false;
    CHECK_EQ(gmp_close(-1), -EBADF);
    CHECK_EQ(gmp_signal_stop(signals, SIGUSR1), -EINVAL);
    CHECK_EQ(gmp_trace_stop(), -EINVAL);
    CHECK_OK(gmp_gc_remove_roots(pipe_ends, pipe_ends + 2));
    CHECK_EQ(count_threads(), threads_of_all);
    CHECK_EQ(count_entries("/proc/self/fd"), descriptors);
    CHECK_OK(sigaction(SIGUSR1, NULL, &action));
    CHECK(action.sa_handler == SIG_IGN);
    CHECK_OK(sigaction(SIGURG, NULL, &action));
    CHECK(action.sa_handler == SIG_DFL);
    return true;
}

static void shut_down(void)
{
    CHECK_OK(gmp_shutdown(GMP_FOREVER));
}

int test_main(int argc, char **argv)
{
    const int shutdowns = test_times(100);
    pthread_t threads[THREADS];
    int clean = 0;

    (void)argc;
    (void)argv;
    CHECK(signal(SIGUSR1, SIG_IGN) != SIG_ERR);
    CHECK_OK(pipe2(pipe_ends, O_NONBLOCK));
    nowhere = open("/dev/null", O_WRONLY);
    shared = gmp_chan_make(sizeof(int), 2);
    signals = gmp_chan_make(sizeof(int), 2);
    key = gmp_key_create(fires);
    CHECK(nowhere >= 0 && shared && signals && key);
    shut_down();
    descriptors = count_entries("/proc/self/fd");
    for (uintptr_t i = 0; i < THREADS; i++)
        CHECK_OK(pthread_create(&threads[i], NULL, works,
                                (void *)(i + 1 + (uintptr_t)getpid() * 8)));
    for (int i = 0; i < shutdowns; i++) {
        usleep((useconds_t)(i % 7) * 1000);
        if (i % 4 != 3) {
            shut_down();
            continue;
        }
        atomic_store(&rest, true);
        shut_down();
        while (atomic_load(&resting) < THREADS)
            usleep(50);
        clean += is_clean();
        atomic_store(&rest, false);
        while (atomic_load(&resting) > 0)
            usleep(50);
    }
    atomic_store(&stop, true);
    for (int i = 0; i < THREADS; i++)
        CHECK_OK(pthread_join(threads[i], NULL));
    shut_down();
    CHECK_EQ(gmp_num_goroutines(), 0);
    shut_down();
    CHECK_EQ(count_threads(), 1 + threads_of_tool());
    CHECK_EQ(atomic_load(&ended), atomic_load(&started));
    CHECK_EQ(atomic_load(&members), 0);
    CHECK(atomic_load(&onces) <= 1);
    printf("%d of %d were clean\n", clean, shutdowns / 4);
    gmp_chan_unref(shared);
    gmp_chan_unref(signals);
    return 0;
}
