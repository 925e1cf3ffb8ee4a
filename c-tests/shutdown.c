/* gmp_shutdown: what it refuses, ends and gives back, and what it does not
 * touch. Each part begins with a runtime that is up, and leaves one. */
#include "test.h"
#include <malloc.h>
#include <sys/wait.h>

enum { MANY = 200, ROUNDS = 100, SETTLED = 20 };

/* --- Host threads inside calls -------------------------------------------- */

static gmp_chan *empty, *full;
static gmp_mutex held = GMP_MUTEX_INIT, of_cond = GMP_MUTEX_INIT;
static gmp_rwmutex held_rw = GMP_RWMUTEX_INIT;
static gmp_cond cond = GMP_COND_INIT;
static gmp_sema none = GMP_SEMA_INIT(0);
static gmp_waitgroup pending = GMP_WAITGROUP_INIT;
static int ends[2];

static int by_recv(void) { return gmp_chan_recv(empty, NULL); }
static int by_recv_until(void)
{
    return gmp_chan_recv_until(empty, NULL, gmp_after_ns(SEC(1000)));
}
static int by_send(void) { return gmp_chan_send(full, NULL); }
static int by_null(void) { return gmp_chan_recv(NULL, NULL); }
static int by_select(void)
{
    gmp_case cases[2] = {{empty, NULL, GMP_RECV, 0}, {full, NULL, GMP_SEND, 0}};

    return gmp_select(cases, 2);
}
static int by_mutex(void)
{
    return gmp_mutex_lock_until(&held, GMP_FOREVER);
}
static int by_rlock(void)
{
    return gmp_rwmutex_rlock_until(&held_rw, GMP_FOREVER);
}
static int by_lock(void)
{
    return gmp_rwmutex_lock_until(&held_rw, gmp_after_ns(SEC(1000)));
}
static int by_sema(void) { return gmp_sema_acquire(&none); }
static int by_waitgroup(void) { return gmp_waitgroup_wait(&pending); }
static int by_sleep(void) { return gmp_sleep(SEC(1000)); }
static int by_park(void) { return gmp_park(NULL, NULL, "parks"); }
static int by_fd(void)
{
    return gmp_wait_fd(ends[0], GMP_READABLE, GMP_FOREVER);
}
static int by_read(void)
{
    char byte;

    return (int)gmp_read(ends[0], &byte, 1);
}
static int by_cond(void)
{
    int rc;

    CHECK_OK(gmp_mutex_lock(&of_cond));
    rc = gmp_cond_wait(&cond, &of_cond);
    /* The mutex was free, so the waiter has it again. */
    CHECK_OK(gmp_mutex_unlock(&of_cond));
    return rc;
}

static int (*const calls[])(void) = {
    by_recv, by_recv_until, by_send, by_null, by_select, by_mutex, by_rlock,
    by_lock, by_sema, by_waitgroup, by_sleep, by_park, by_fd, by_read, by_cond,
};
enum { CALLS = sizeof calls / sizeof *calls };

struct caller {
    pthread_t thread;
    int (*call)(void);
    _Atomic long tid;
    int result;
};

static void *calls_once(void *arg)
{
    struct caller *c = arg;

    /* A G of its own before the thread is looked at. */
    gmp_sleep(1);
    c->tid = thread_id();
    c->result = c->call();
    return NULL;
}

static void call_on_threads(struct caller *callers, int n)
{
    for (int i = 0; i < n; i++)
        CHECK_OK(pthread_create(&callers[i].thread, NULL, calls_once,
                                &callers[i]));
    for (int i = 0; i < n; i++) {
        AWAIT(callers[i].tid != 0);
        await_sleep(callers[i].tid);
    }
}

/* Every call of a host thread that waits ends with the error. */
static void threads_that_wait_are_woken(void)
{
    static struct caller callers[CALLS];

    memset(callers, 0, sizeof callers);
    empty = gmp_chan_make(0, 0);
    full = gmp_chan_make(0, 0);
    CHECK_OK(gmp_mutex_lock(&held));
    CHECK_OK(gmp_rwmutex_lock(&held_rw));
    CHECK_OK(gmp_waitgroup_add(&pending, 1));
    CHECK_OK(pipe(ends));
    for (int i = 0; i < CALLS; i++)
        callers[i].call = calls[i];
    call_on_threads(callers, CALLS);
    CHECK_OK(gmp_shutdown(GMP_FOREVER));
    for (int i = 0; i < CALLS; i++) {
        CHECK_OK(pthread_join(callers[i].thread, NULL));
        if (callers[i].result != -ESHUTDOWN)
            fprintf(stderr, "call %d\n", i);
        CHECK_EQ(callers[i].result, -ESHUTDOWN);
    }
    /* All objects are as before. */
    CHECK_OK(gmp_mutex_unlock(&held));
    CHECK_OK(gmp_mutex_trylock(&held));
    CHECK_OK(gmp_mutex_unlock(&held));
    CHECK_OK(gmp_rwmutex_unlock(&held_rw));
    CHECK_OK(gmp_waitgroup_done(&pending));
    CHECK_OK(gmp_waitgroup_wait(&pending));
    close(ends[0]);
    close(ends[1]);
    gmp_chan_unref(empty);
    gmp_chan_unref(full);
}

static int locks(void)
{
    int rc = gmp_mutex_lock(&held);

    CHECK_OK(gmp_mutex_unlock(&held));
    return rc;
}

static int waits_and_locks_again(void)
{
    int rc;

    CHECK_OK(gmp_mutex_lock(&of_cond));
    rc = gmp_cond_wait(&cond, &of_cond);
    CHECK_OK(gmp_mutex_unlock(&of_cond));
    return rc;
}

/* A lock is not interrupted, nor is the lock at the end of a condition wait:
 * they get the mutex from the thread that holds it, after the end. */
static void locks_wait_on(void)
{
    static struct caller callers[2];

    memset(callers, 0, sizeof callers);
    callers[0].call = waits_and_locks_again;
    callers[1].call = locks;
    CHECK_OK(gmp_mutex_lock(&held));
    call_on_threads(callers, 2);
    CHECK_OK(gmp_mutex_lock(&of_cond));
    CHECK_OK(gmp_shutdown(GMP_FOREVER));
    block_ns(MS(5));
    CHECK_EQ(gmp_mutex_trylock(&held), -EAGAIN);
    CHECK_OK(gmp_mutex_unlock(&held));
    CHECK_OK(gmp_mutex_unlock(&of_cond));
    for (int i = 0; i < 2; i++)
        CHECK_OK(pthread_join(callers[i].thread, NULL));
    CHECK_EQ(callers[0].result, -ESHUTDOWN);
    CHECK_EQ(callers[1].result, 0);
    CHECK_OK(gmp_mutex_trylock(&held));
    CHECK_OK(gmp_mutex_unlock(&held));
}

/* --- Goroutines ----------------------------------------------------------- */

static _Atomic int ended, refused, release;

static void waits(void *ch)
{
    CHECK_EQ(gmp_chan_recv(ch, NULL), -ECANCELED);
    /* What cleans up works, but starts nothing. */
    CHECK_OK(gmp_mutex_lock(&held));
    CHECK_OK(gmp_mutex_unlock(&held));
    if (gmp_go(waits, ch) == -ESHUTDOWN)
        refused++;
    ended++;
}

static void goroutines_are_cancelled(void)
{
    gmp_chan *ch = gmp_chan_make(0, 0);

    ended = refused = 0;
    for (int i = 0; i < MANY; i++)
        CHECK_OK(gmp_go(waits, ch));
    CHECK_OK(gmp_shutdown(GMP_FOREVER));
    CHECK_EQ(ended, MANY);
    CHECK_EQ(refused, MANY);
    gmp_chan_unref(ch);
}

/* A C function that blocks, and knows of no cancel. */
static void blocks_in_c(void *arg)
{
    while (!release)
        block_ns(MS(1));
    ended++;
}

static void computes(void *arg)
{
    while (!release)
        spin_ns(US(100));
    ended++;
}

static void those_that_stay_are_counted(void)
{
    static const int64_t past[] = {INT64_MIN, -1, 0, 1};
    gmp_chan *ch = gmp_chan_make(sizeof(int), 1);
    int seven = 7;

    release = ended = 0;
    CHECK_OK(gmp_go(blocks_in_c, NULL));
    CHECK_OK(gmp_go(computes, NULL));
    for (int i = 0; i < 4; i++)
        CHECK_EQ(gmp_shutdown(past[i]), -ETIMEDOUT);
    CHECK_EQ(gmp_shutdown(gmp_after_ns(MS(20))), -ETIMEDOUT);
    CHECK_EQ(gmp_num_goroutines(), 2);
    CHECK_EQ(ended, 0);
    /* The runtime goes on, and starts goroutines again. */
    release = 1;
    CHECK_OK(gmp_join(spawn(blocks_in_c, NULL)));
    AWAIT(ended == 3);
    CHECK_OK(gmp_chan_send(ch, &seven));
    CHECK_OK(gmp_shutdown(GMP_FOREVER));
    /* The host's objects keep what they have. */
    seven = 0;
    CHECK_OK(gmp_chan_recv(ch, &seven));
    CHECK_EQ(seven, 7);
    gmp_chan_unref(ch);
}

static void deferred(void *arg) { ended++; }

static void puts_off(void *ch)
{
    CHECK_OK(gmp_defer(deferred, NULL));
    gmp_chan_recv(ch, NULL);
    gmp_exit();
}

static void nested(void *ch)
{
    gmp_g *inner = spawn(waits, ch);

    int rc = gmp_join(inner);

    /* It is cancelled too, and may have been faster. */
    CHECK(rc == 0 || rc == -ECANCELED);
    gmp_release(inner);
    ended++;
}

static int member(void *ch)
{
    int rc = gmp_chan_recv(ch, NULL);

    ended++;
    return rc;
}

static void they_end_in_every_way(void)
{
    gmp_chan *ch = gmp_chan_make(0, 0);
    gmp_group *gr = gmp_group_make();
    gmp_attr locked = GMP_ATTR_INIT;
    gmp_g *g;

    ended = 0;
    locked.flags = GMP_LOCKED_THREAD;
    CHECK_OK(gmp_go(puts_off, ch));
    CHECK_OK(gmp_go(nested, ch));
    CHECK_OK(gmp_group_go(gr, member, ch));
    CHECK_OK(gmp_go_with(&locked, waits, ch, &g));
    AWAIT(gmp_num_goroutines() == 5);
    CHECK_OK(gmp_shutdown(GMP_FOREVER));
    CHECK_EQ(ended, 5);
    /* It has ended, and can be joined; after that its handle is stale. */
    CHECK_OK(gmp_join(g));
    CHECK_EQ(gmp_join(g), -EINVAL);
    CHECK_EQ(gmp_group_wait(gr), -ECANCELED);
    gmp_group_free(gr);
    gmp_chan_unref(ch);
}

/* --- What it must not be called on, and how often ------------------------- */

static int calls_inside(gmp_g *g, void *lock)
{
    *(int *)lock = gmp_shutdown(0);
    return 0;
}

static void on_goroutine(void *arg)
{
    int inside = 0;

    CHECK_EQ(gmp_shutdown(GMP_FOREVER), -EDEADLK);
    CHECK_OK(gmp_park(calls_inside, &inside, "inside"));
    CHECK_EQ(inside, -EDEADLK);
}

static void shuts_down(void *arg)
{
    CHECK_EQ(gmp_shutdown(GMP_FOREVER), -EDEADLK);
}

static void not_on_a_goroutine(void)
{
    int inside = 0;

    CHECK_OK(gmp_join(spawn(on_goroutine, NULL)));
    CHECK_OK(gmp_park(calls_inside, &inside, "inside"));
    CHECK_EQ(inside, -EDEADLK);
    CHECK_OK(gmp_shutdown(0));
    CHECK_OK(gmp_shutdown(0));
    CHECK_OK(gmp_shutdown(GMP_FOREVER));
    CHECK_OK(gmp_join(spawn(shuts_down, NULL)));
}

static void *shuts_down_too(void *arg)
{
    return (void *)(intptr_t)gmp_shutdown(GMP_FOREVER);
}

static void two_threads_at_once(void)
{
    gmp_chan *ch = gmp_chan_make(0, 0);
    pthread_t threads[3];
    void *result;

    for (int i = 0; i < MANY; i++)
        CHECK_OK(gmp_go(waits, ch));
    for (int i = 0; i < 3; i++)
        CHECK_OK(pthread_create(&threads[i], NULL, shuts_down_too, NULL));
    for (int i = 0; i < 3; i++) {
        CHECK_OK(pthread_join(threads[i], &result));
        CHECK_EQ(result, 0);
    }
    gmp_chan_unref(ch);
}

/* --- Timers, signals, threads that end ------------------------------------ */

static void fires(void *arg) { ended++; }

static void timers_do_not_fire_afterwards(void)
{
    gmp_timer *once = gmp_timer_start(MS(30), 0, fires, NULL);
    gmp_timer *again = gmp_timer_start(MS(30), MS(5), fires, NULL);
    gmp_chan *tick = gmp_tick(MS(5)), *after = gmp_after(MS(10));

    CHECK(once && again && tick && after);
    CHECK_OK(gmp_shutdown(GMP_FOREVER));
    /* Some may have been faster than the end. */
    ended = 0;
    gmp_chan_try_recv(after, &(int64_t){0});
    CHECK_OK(gmp_sleep(MS(60)));
    CHECK_EQ(ended, 0);
    CHECK_EQ(gmp_chan_try_recv(after, &(int64_t){0}), -EAGAIN);
    /* They are there yet, and can be used. */
    CHECK_OK(gmp_timer_reset(once, 0));
    AWAIT(ended == 1);
    gmp_timer_free(once);
    gmp_timer_free(again);
    gmp_chan_unref(tick);
    gmp_chan_unref(after);
}

static _Atomic int theirs;
static struct sigaction before;

static void host_handler(int signo) { theirs++; }

static void chaining(int signo, siginfo_t *info, void *context)
{
    theirs++;
    if (before.sa_flags & SA_SIGINFO)
        before.sa_sigaction(signo, info, context);
}

static void handlers_are_given_back(void)
{
    struct sigaction host, now, chain;
    gmp_chan *ch = gmp_chan_make(sizeof(int), 4);
    int signo = 0;

    memset(&host, 0, sizeof host);
    host.sa_handler = host_handler;
    CHECK_OK(sigaction(SIGUSR1, &host, NULL));
    CHECK_OK(gmp_signal_notify(ch, SIGUSR1));
    CHECK_OK(raise(SIGUSR1));
    CHECK_OK(gmp_chan_recv(ch, &signo));
    CHECK_EQ(signo, SIGUSR1);
    CHECK_OK(gmp_shutdown(GMP_FOREVER));
    CHECK_OK(sigaction(SIGUSR1, NULL, &now));
    CHECK(now.sa_handler == host_handler);
    /* Or a tool's handlers. */
    CHECK_OK(sigaction(SIGSEGV, NULL, &now));
    CHECK(now.sa_handler == SIG_DFL || test_under(NULL));
    CHECK_OK(sigaction(SIGABRT, NULL, &now));
    CHECK(now.sa_handler == SIG_DFL || test_under(NULL));
    /* Somebody chains to ours: that one is not taken away. */
    CHECK_OK(gmp_signal_notify(ch, SIGUSR1));
    memset(&chain, 0, sizeof chain);
    chain.sa_sigaction = chaining;
    chain.sa_flags = SA_SIGINFO;
    CHECK_OK(sigaction(SIGUSR1, &chain, &before));
    CHECK_EQ(gmp_shutdown(GMP_FOREVER), -EBUSY);
    theirs = 0;
    CHECK_OK(raise(SIGUSR1));
    CHECK_EQ(theirs, 2);
    CHECK_EQ(gmp_shutdown(GMP_FOREVER), -EBUSY);
    CHECK_OK(sigaction(SIGUSR1, &before, NULL));
    CHECK_OK(gmp_shutdown(GMP_FOREVER));
    CHECK_OK(sigaction(SIGUSR1, NULL, &now));
    CHECK(now.sa_handler == host_handler);
    CHECK_OK(gmp_wait_init());
    gmp_chan_unref(ch);
}

static gmp_key *key;
static pthread_key_t host_key;
static _Atomic int in_destructor;

static void shuts_down_at_the_end(void *arg)
{
    in_destructor = gmp_shutdown(GMP_FOREVER) == 0 ? in_destructor + 1 : -99;
}

static void *ends_with_keys(void *arg)
{
    CHECK_OK(gmp_sleep(1));
    CHECK_OK(gmp_setspecific(key, arg));
    CHECK_OK(pthread_setspecific(host_key, arg));
    return NULL;
}

/* From destructors of keys, of both kinds, as a thread ends. */
static void from_a_key_destructor(void)
{
    pthread_t thread;

    in_destructor = 0;
    key = gmp_key_create(shuts_down_at_the_end);
    CHECK(key != NULL);
    CHECK_OK(pthread_key_create(&host_key, shuts_down_at_the_end));
    CHECK_OK(pthread_create(&thread, NULL, ends_with_keys, &key));
    CHECK_OK(pthread_join(thread, NULL));
    CHECK_EQ(in_destructor, 2);
    CHECK_OK(pthread_key_delete(host_key));
    CHECK_OK(gmp_key_delete(key));
}

static pthread_barrier_t both;

static void *lives_across(void *arg)
{
    CHECK_OK(gmp_sleep(1));
    pthread_barrier_wait(&both);
    pthread_barrier_wait(&both);
    /* The G that it had serves in the next start as well. */
    CHECK_OK(gmp_sleep(1));
    CHECK_OK(gmp_join(spawn(fires, NULL)));
    return NULL;
}

static void threads_outlive_it(void)
{
    pthread_t threads[4];

    CHECK_OK(pthread_barrier_init(&both, NULL, 5));
    for (int i = 0; i < 4; i++)
        CHECK_OK(pthread_create(&threads[i], NULL, lives_across, NULL));
    pthread_barrier_wait(&both);
    CHECK_OK(gmp_shutdown(GMP_FOREVER));
    pthread_barrier_wait(&both);
    for (int i = 0; i < 4; i++)
        CHECK_OK(pthread_join(threads[i], NULL));
    CHECK_OK(pthread_barrier_destroy(&both));
}

/* --- What is given back --------------------------------------------------- */

static void uses(void *ch)
{
    CHECK_OK(gmp_sleep(1));
    gmp_chan_send(ch, NULL);
}

static void round_of_work(void)
{
    gmp_chan *ch = gmp_chan_make(0, 0);

    for (int i = 0; i < MANY; i++)
        CHECK_OK(gmp_go(uses, ch));
    for (int i = 0; i < MANY; i++)
        CHECK_OK(gmp_chan_recv(ch, NULL));
    CHECK_OK(gmp_shutdown(GMP_FOREVER));
    gmp_chan_unref(ch);
}

/* After each end: one thread, no descriptor, and as much memory. */
static void nothing_is_left(void)
{
    int threads = 0, descriptors = 0, most = gmp_set_maxprocs(0) + 2;
    long mappings = 0;

    for (int i = 0; i < ROUNDS; i++) {
        round_of_work();
        if (i == SETTLED) {
            threads = count_threads();
            descriptors = count_entries("/proc/self/fd");
            mappings = count_lines("/proc/self/maps");
            CHECK_EQ(threads, 1 + threads_of_tool());
        }
    }
    CHECK_EQ(count_threads(), threads);
    CHECK_EQ(count_entries("/proc/self/fd"), descriptors);
    /* The C library keeps stacks of threads for the next ones, each with a
     * guard: as many as there have been at a time. */
    CHECK(count_lines("/proc/self/maps") <= mappings + 2 * most
          || test_under(NULL));
}

/* The child of a fork has a runtime of its own to end. */
static void in_the_child_of_a_fork(void)
{
    gmp_chan *ch = gmp_chan_make(0, 0);
    int status;
    pid_t pid;

    CHECK_OK(gmp_join(spawn(fires, NULL)));
    pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        CHECK_OK(gmp_shutdown(GMP_FOREVER));
        for (int i = 0; i < 3; i++) {
            ended = 0;
            CHECK_OK(gmp_go(waits, ch));
            CHECK_OK(gmp_join(spawn(fires, NULL)));
            CHECK_OK(gmp_shutdown(GMP_FOREVER));
            CHECK_EQ(ended, 2);
            CHECK(count_threads() <= 1 + threads_of_tool());
        }
        _exit(0);
    }
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(status, 0);
    CHECK_OK(gmp_join(spawn(fires, NULL)));
    gmp_chan_unref(ch);
}

int test_main(int argc, char **argv)
{
    mallopt(M_ARENA_MAX, 1);
    /* Before the first call. */
    CHECK_OK(gmp_shutdown(GMP_FOREVER));
    nothing_is_left();
    threads_that_wait_are_woken();
    locks_wait_on();
    goroutines_are_cancelled();
    those_that_stay_are_counted();
    they_end_in_every_way();
    not_on_a_goroutine();
    two_threads_at_once();
    timers_do_not_fire_afterwards();
    handlers_are_given_back();
    from_a_key_destructor();
    threads_outlive_it();
    in_the_child_of_a_fork();
    CHECK_OK(gmp_shutdown(GMP_FOREVER));
    return 0;
}
