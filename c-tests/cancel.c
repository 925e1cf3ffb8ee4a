/* What a cancel ends: every call that blocks, now and later, and nothing
 * else. CALLS has a name and a call for each that would block for ever. */
#include "test.h"

enum { TWICE = 2, DEEP = 5 };

/* What the calls below wait for, and do not get. */
static gmp_chan *empty, *full, *gate;
static gmp_mutex held = GMP_MUTEX_INIT;
static gmp_rwmutex written = GMP_RWMUTEX_INIT, being_read = GMP_RWMUTEX_INIT;
static gmp_sema none = GMP_SEMA_INIT(0);
static gmp_barrier large = GMP_BARRIER_INIT(1000000);
static gmp_waitgroup busy = GMP_WAITGROUP_INIT;
static gmp_once running = GMP_ONCE_INIT;
static gmp_group *group;
static gmp_g *joined[2], *runner;
static int64_t deadline; /* GMP_FOREVER, or some that does not come */
static int one = 1;

static struct monitor {
    gmp_mutex mutex;
    gmp_cond cond;
} monitors[2] = {{GMP_MUTEX_INIT, GMP_COND_INIT},
                 {GMP_MUTEX_INIT, GMP_COND_INIT}};

static void nothing(void *arg)
{
}

/* Returns with the mutex locked, whatever ends the wait. */
static int wait_for_signal(struct monitor *m, bool until)
{
    int result;

    CHECK_OK(gmp_mutex_lock(&m->mutex));
    result = until ? gmp_cond_wait_until(&m->cond, &m->mutex, deadline)
                   : gmp_cond_wait(&m->cond, &m->mutex);
    CHECK_EQ(gmp_mutex_trylock(&m->mutex), -EAGAIN);
    CHECK_OK(gmp_mutex_unlock(&m->mutex));
    return result;
}

static int select_blocked(bool until)
{
    gmp_case cases[] = {
        {.ch = full, .elem = &one, .op = GMP_SEND, .result = 99},
        {.ch = empty, .elem = NULL, .op = GMP_RECV, .result = 99},
        {.ch = NULL, .elem = NULL, .op = GMP_RECV, .result = 99},
    };
    int result = until ? gmp_select_until(cases, 3, deadline)
                       : gmp_select(cases, 3);

    for (int i = 0; i < 3; i++)
        CHECK_EQ(cases[i].result, 99);
    return result;
}

/* A park may return for no reason. */
static int park(bool until)
{
    int result = 0;

    while (result == 0)
        result = until ? gmp_park_until(NULL, NULL, "for ever", deadline)
                       : gmp_park(NULL, NULL, "for ever");
    return result;
}

#define CALLS(X)                                                             \
    X(chan_send, gmp_chan_send(full, &one))                                  \
    X(chan_recv, gmp_chan_recv(empty, NULL))                                 \
    X(chan_send_until, gmp_chan_send_until(full, &one, deadline))            \
    X(chan_recv_until, gmp_chan_recv_until(empty, NULL, deadline))           \
    X(null_send, gmp_chan_send(NULL, &one))                                  \
    X(null_recv, gmp_chan_recv(NULL, NULL))                                  \
    X(null_send_until, gmp_chan_send_until(NULL, &one, deadline))            \
    X(null_recv_until, gmp_chan_recv_until(NULL, NULL, deadline))            \
    X(select, select_blocked(false))                                         \
    X(select_until, select_blocked(true))                                    \
    X(select_nothing, gmp_select(NULL, 0))                                   \
    X(select_nothing_until, gmp_select_until(NULL, 0, deadline))             \
    X(sleep, gmp_sleep(SEC(1000)))                                           \
    X(sleep_for_ever, gmp_sleep(INT64_MAX))                                  \
    X(sleep_until, gmp_sleep_until(deadline))                                \
    X(join, gmp_join(joined[0]))                                             \
    X(join_until, gmp_join_until(joined[1], deadline))                       \
    X(park, park(false))                                                     \
    X(park_until, park(true))                                                \
    X(mutex_until, gmp_mutex_lock_until(&held, deadline))                    \
    X(write_until, gmp_rwmutex_lock_until(&written, deadline))               \
    X(read_until, gmp_rwmutex_rlock_until(&written, deadline))               \
    X(write_behind_reader, gmp_rwmutex_lock_until(&being_read, deadline))    \
    X(cond, wait_for_signal(&monitors[0], false))                            \
    X(cond_until, wait_for_signal(&monitors[1], true))                       \
    X(sema, gmp_sema_acquire(&none))                                         \
    X(sema_until, gmp_sema_acquire_until(&none, deadline))                   \
    X(barrier, gmp_barrier_wait(&large))                                     \
    X(barrier_until, gmp_barrier_wait_until(&large, deadline))               \
    X(waitgroup, gmp_waitgroup_wait(&busy))                                  \
    X(waitgroup_until, gmp_waitgroup_wait_until(&busy, deadline))            \
    X(once_until, gmp_once_do_until(&running, nothing, NULL, deadline))      \
    X(group, gmp_group_wait(group))                                          \
    X(group_until, gmp_group_wait_until(group, deadline))

#define DEFINE(name, call)                                                   \
    static int call_##name(void)                                             \
    {                                                                        \
        return call;                                                         \
    }
CALLS(DEFINE)

#define LIST(name, call) {#name, call_##name},
static const struct call {
    const char *name;
    int (*run)(void);
} calls[] = {CALLS(LIST)};

enum { NCALLS = sizeof calls / sizeof *calls };

static void wait_for_gate(void *arg)
{
    CHECK_EQ(gmp_chan_recv(gate, NULL), -EPIPE);
}

static int member(void *arg)
{
    wait_for_gate(arg);
    return 0;
}

static atomic_bool in_once;

static void stay_in_once(void *arg)
{
    atomic_store(&in_once, true);
    wait_for_gate(arg);
}

static void run_once(void *arg)
{
    CHECK_OK(gmp_once_do(&running, stay_in_once, arg));
}

/* Holds `running` until the gate is closed. */
static void hold_once(void)
{
    gate = gmp_chan_make(0, 0);
    memset(&running, 0, sizeof running);
    atomic_store(&in_once, false);
    runner = spawn(run_once, NULL);
    AWAIT(atomic_load(&in_once));
}

static void block_everything(void)
{
    hold_once();
    empty = gmp_chan_make(sizeof one, 0);
    full = gmp_chan_make(sizeof one, 1);
    CHECK_OK(gmp_chan_send(full, &one));
    joined[0] = spawn(wait_for_gate, NULL);
    joined[1] = spawn(wait_for_gate, NULL);
    CHECK_OK(gmp_mutex_lock(&held));
    CHECK_OK(gmp_rwmutex_lock(&written));
    CHECK_OK(gmp_rwmutex_rlock(&being_read));
    CHECK_OK(gmp_waitgroup_add(&busy, 1));
    group = gmp_group_make();
    CHECK_OK(gmp_group_go(group, member, NULL));
}

/* Nothing is as it would be after a wait that was granted, and everything
 * still works. */
static void unblock_everything(void)
{
    CHECK_EQ(gmp_chan_len(full), 1);
    CHECK_EQ(gmp_chan_try_recv(empty, NULL), -EAGAIN);
    CHECK_OK(gmp_chan_close(gate));
    CHECK_OK(gmp_join(joined[0]));
    CHECK_OK(gmp_join(joined[1]));
    CHECK_OK(gmp_join(runner));
    CHECK_OK(gmp_group_wait(group));
    gmp_group_free(group);
    CHECK_EQ(gmp_mutex_trylock(&held), -EAGAIN);
    CHECK_OK(gmp_mutex_unlock(&held));
    CHECK_OK(gmp_rwmutex_unlock(&written));
    CHECK_OK(gmp_rwmutex_tryrlock(&being_read));
    CHECK_OK(gmp_rwmutex_runlock(&being_read));
    CHECK_OK(gmp_rwmutex_runlock(&being_read));
    CHECK_OK(gmp_rwmutex_trylock(&being_read));
    CHECK_OK(gmp_rwmutex_unlock(&being_read));
    CHECK_EQ(gmp_sema_try_acquire(&none), -EAGAIN);
    CHECK_OK(gmp_waitgroup_done(&busy));
    CHECK_OK(gmp_waitgroup_wait(&busy));
    for (int i = 0; i < 2; i++) {
        CHECK_OK(gmp_cond_signal(&monitors[i].cond));
        CHECK_OK(gmp_mutex_trylock(&monitors[i].mutex));
        CHECK_OK(gmp_mutex_unlock(&monitors[i].mutex));
    }
    gmp_chan_unref(gate);
    gmp_chan_unref(empty);
    gmp_chan_unref(full);
}

static atomic_int entered, returned;

static void expect_cancelled(const struct call *call)
{
    int result = call->run();

    if (result != -ECANCELED)
        fprintf(stderr, "%s, when cancelled: %d\n", call->name, result);
    CHECK_EQ(result, -ECANCELED);
}

static void be_cancelled_in(void *call)
{
    CHECK(!gmp_cancelled());
    atomic_fetch_add(&entered, 1);
    expect_cancelled(call);
    CHECK(gmp_cancelled());
    for (int i = 0; i < TWICE; i++)
        expect_cancelled(call);
    atomic_fetch_add(&returned, 1);
}

/* One goroutine in each call. The cancel of one wakes no other. */
static void cancelled_in_each_call(uint32_t flags)
{
    gmp_attr attr = GMP_ATTR_INIT;
    gmp_g *gs[NCALLS];

    attr.flags = flags;
    block_everything();
    atomic_store(&entered, 0);
    atomic_store(&returned, 0);
    for (int i = 0; i < NCALLS; i++)
        CHECK_OK(gmp_go_with(&attr, be_cancelled_in, (void *)&calls[i],
                             &gs[i]));
    AWAIT(atomic_load(&entered) == NCALLS);
    CHECK_OK(gmp_sleep(MS(5))); /* until they wait, as far as one can see */
    for (int i = 0; i < NCALLS; i++) {
        CHECK_EQ(atomic_load(&returned), i);
        CHECK_OK(gmp_cancel(gs[i]));
        CHECK_OK(gmp_join(gs[i]));
    }
    unblock_everything();
}

static void call_when_cancelled(void *call)
{
    while (!gmp_cancelled())
        gmp_yield();
    for (int i = 0; i < TWICE; i++)
        expect_cancelled(call);
}

static void cancelled_before_each_call(void)
{
    block_everything();
    for (int i = 0; i < NCALLS; i++) {
        gmp_g *g = spawn(call_when_cancelled, (void *)&calls[i]);

        CHECK_OK(gmp_cancel(g));
        CHECK_OK(gmp_join(g));
    }
    unblock_everything();
}

static void each_call(void *arg)
{
    deadline = GMP_FOREVER;
    cancelled_in_each_call(0);
    cancelled_before_each_call();
    deadline = gmp_after_ns(SEC(1000));
    cancelled_in_each_call(GMP_LOCKED_THREAD);
    cancelled_before_each_call();
}

static void cancel_myself(void)
{
    CHECK(!gmp_cancelled());
    CHECK_OK(gmp_cancel(gmp_self()));
    CHECK(gmp_cancelled());
    CHECK_OK(gmp_cancel(gmp_self()));
    CHECK(gmp_cancelled());
}

static void set_true(void *arg)
{
    *(bool *)arg = true;
}

/* A cancelled goroutine's call looks at that first: before what it waits for,
 * and before its deadline. */
static void cancel_comes_first(void *arg)
{
    gmp_chan *ch = gmp_chan_make(sizeof one, 2);
    gmp_case cases[] = {{.ch = ch, .elem = &one, .op = GMP_SEND, .result = 9}};
    gmp_mutex mutex = GMP_MUTEX_INIT;
    gmp_rwmutex rw = GMP_RWMUTEX_INIT;
    gmp_sema sema = GMP_SEMA_INIT(1);
    gmp_waitgroup wg = GMP_WAITGROUP_INIT;
    gmp_group *gr = gmp_group_make();
    gmp_g *ended = spawn(nothing, NULL);
    bool called = false;

    CHECK_OK(gmp_chan_send(ch, &one));
    cancel_myself();
    CHECK_EQ(gmp_chan_send(ch, &one), -ECANCELED);
    CHECK_EQ(gmp_chan_recv(ch, NULL), -ECANCELED);
    CHECK_EQ(gmp_chan_recv_until(ch, NULL, 0), -ECANCELED);
    CHECK_EQ(gmp_select(cases, 1), -ECANCELED);
    CHECK_EQ(gmp_select_until(cases, 1, 0), -ECANCELED);
    CHECK_EQ(cases[0].result, 9);
    CHECK_EQ(gmp_chan_len(ch), 1);
    CHECK_OK(gmp_chan_close(ch));
    CHECK_EQ(gmp_chan_send(ch, &one), -ECANCELED);
    CHECK_EQ(gmp_sleep(0), -ECANCELED);
    CHECK_EQ(gmp_sleep_until(0), -ECANCELED);
    CHECK_EQ(gmp_mutex_lock_until(&mutex, 0), -ECANCELED);
    CHECK_EQ(gmp_mutex_unlock(&mutex), -EPERM);
    CHECK_EQ(gmp_rwmutex_lock_until(&rw, GMP_FOREVER), -ECANCELED);
    CHECK_EQ(gmp_rwmutex_rlock_until(&rw, 0), -ECANCELED);
    CHECK_OK(gmp_rwmutex_trylock(&rw));
    CHECK_EQ(gmp_sema_acquire(&sema), -ECANCELED);
    CHECK_EQ(gmp_sema_acquire_until(&sema, 0), -ECANCELED);
    CHECK_OK(gmp_sema_try_acquire(&sema));
    CHECK_EQ(gmp_waitgroup_wait(&wg), -ECANCELED);
    CHECK_EQ(gmp_waitgroup_wait_until(&wg, 0), -ECANCELED);
    CHECK_EQ(gmp_group_wait(gr), -ECANCELED);
    CHECK_EQ(gmp_group_wait_until(gr, 0), -ECANCELED);
    CHECK_EQ(gmp_blocking(set_true, &called), -ECANCELED);
    CHECK_EQ(gmp_blocking_until(set_true, &called, 0), -ECANCELED);
    CHECK(!called);
    CHECK_EQ(gmp_join(ended), -ECANCELED);
    CHECK_EQ(gmp_join_until(ended, 0), -ECANCELED);
    CHECK_OK(gmp_shield_enter());
    CHECK_OK(gmp_join(ended));
    CHECK_OK(gmp_shield_leave());
    gmp_group_free(gr);
    gmp_chan_unref(ch);
}

/* What cannot block is not affected, nor are plain locks and gmp_once_do. */
static void the_rest_works(void *arg)
{
    gmp_chan *ch = gmp_chan_make(sizeof one, 1);
    gmp_case cases[] = {{.ch = ch, .elem = NULL, .op = GMP_RECV, .result = 9}};
    gmp_mutex mutex = GMP_MUTEX_INIT;
    gmp_rwmutex rw = GMP_RWMUTEX_INIT;
    gmp_sema sema = GMP_SEMA_INIT(1);
    gmp_once once = GMP_ONCE_INIT;
    bool called = false;

    cancel_myself();
    CHECK_OK(gmp_chan_try_send(ch, &one));
    CHECK_EQ(gmp_chan_try_send(ch, &one), -EAGAIN);
    CHECK_OK(gmp_chan_try_recv(ch, NULL));
    CHECK_EQ(gmp_chan_try_recv(ch, NULL), -EAGAIN);
    CHECK_EQ(gmp_try_select(cases, 1), -EAGAIN);
    CHECK_OK(gmp_chan_close(ch));
    CHECK_EQ(gmp_try_select(cases, 1), 0);
    CHECK_EQ(cases[0].result, -EPIPE);
    CHECK_OK(gmp_mutex_lock(&mutex));
    CHECK_EQ(gmp_mutex_trylock(&mutex), -EAGAIN);
    CHECK_OK(gmp_rwmutex_rlock(&rw));
    CHECK_OK(gmp_rwmutex_tryrlock(&rw));
    CHECK_EQ(gmp_rwmutex_trylock(&rw), -EAGAIN);
    CHECK_OK(gmp_sema_try_acquire(&sema));
    CHECK_OK(gmp_once_do(&once, set_true, &called));
    CHECK(called);
    gmp_yield();
    gmp_chan_unref(ch);
}

/* Waits that a cancel does not end: they last until `granted`. */
static atomic_bool granted, in_wait;

static int lock_again(struct monitor *m)
{
    CHECK_OK(gmp_mutex_lock(&m->mutex));
    atomic_store(&in_wait, true);
    CHECK_EQ(gmp_cond_wait(&m->cond, &m->mutex), -ECANCELED);
    return 0;
}

/* Pairs of calls: the wait, and what undoes it. */
#define PLAIN(X)                                                             \
    X(write, gmp_rwmutex_lock(&written))                                     \
    X(unwrite, gmp_rwmutex_unlock(&written))                                 \
    X(read, gmp_rwmutex_rlock(&written))                                     \
    X(unread, gmp_rwmutex_runlock(&written))                                 \
    X(lock, gmp_mutex_lock(&held))                                           \
    X(unlock, gmp_mutex_unlock(&held))                                       \
    X(once_do, gmp_once_do(&running, nothing, NULL))                       \
    X(nothing, 0)                                                            \
    X(cond_lock, lock_again(&monitors[0]))                                   \
    X(cond_unlock, gmp_mutex_unlock(&monitors[0].mutex))

PLAIN(DEFINE)

static const struct call plain[] = {PLAIN(LIST)};

enum { NPLAIN = sizeof plain / sizeof *plain / 2 };

static void wait_unmoved(void *arg)
{
    const struct call *pair = arg;

    atomic_fetch_add(&entered, 1);
    CHECK_OK(pair[0].run());
    CHECK(atomic_load(&granted));
    CHECK(gmp_cancelled());
    CHECK_OK(pair[1].run());
}

static void plain_locks_wait_on(void *arg)
{
    gmp_g *gs[NPLAIN];

    atomic_store(&entered, 0);
    atomic_store(&granted, false);
    atomic_store(&in_wait, false);
    hold_once();
    CHECK_OK(gmp_rwmutex_lock(&written));
    CHECK_OK(gmp_mutex_lock(&held));
    for (int i = 0; i < NPLAIN; i++)
        gs[i] = spawn(wait_unmoved, (void *)&plain[2 * i]);
    AWAIT(atomic_load(&entered) == NPLAIN && atomic_load(&in_wait));
    CHECK_OK(gmp_sleep(MS(1))); /* until they wait, as far as one can see */
    CHECK_OK(gmp_mutex_lock(&monitors[0].mutex));
    for (int i = 0; i < NPLAIN; i++)
        CHECK_OK(gmp_cancel(gs[i]));
    CHECK_OK(gmp_sleep(MS(2)));
    atomic_store(&granted, true);
    CHECK_OK(gmp_rwmutex_unlock(&written));
    CHECK_OK(gmp_mutex_unlock(&held));
    CHECK_OK(gmp_mutex_unlock(&monitors[0].mutex));
    CHECK_OK(gmp_chan_close(gate));
    for (int i = 0; i < NPLAIN; i++)
        CHECK_OK(gmp_join(gs[i]));
    CHECK_OK(gmp_join(runner));
    gmp_chan_unref(gate);
}

/* Whether blocking calls go through, or end as cancelled. */
static void expect_blocking(bool works)
{
    CHECK_EQ(gmp_sleep(1), works ? 0 : -ECANCELED);
    CHECK_EQ(gmp_chan_recv_until(NULL, NULL, gmp_after_ns(US(10))),
             works ? -ETIMEDOUT : -ECANCELED);
}

static void shields_nest(void *arg)
{
    CHECK_EQ(gmp_shield_leave(), -EPERM);
    for (int i = 0; i < DEEP; i++)
        CHECK_OK(gmp_shield_enter());
    cancel_myself();
    for (int i = 0; i < DEEP; i++) {
        expect_blocking(true);
        CHECK(gmp_cancelled());
        CHECK_OK(gmp_shield_leave());
    }
    expect_blocking(false);
    CHECK_EQ(gmp_shield_leave(), -EPERM);
    CHECK_OK(gmp_shield_enter()); /* its successors must not inherit it */
}

static void start_bare(void *arg)
{
    CHECK(!gmp_cancelled());
    CHECK_EQ(gmp_shield_leave(), -EPERM);
    expect_blocking(true);
}

static void receive_shielded(void *ch)
{
    CHECK_OK(gmp_shield_enter());
    atomic_fetch_add(&entered, 1);
    CHECK_OK(gmp_chan_recv(ch, NULL));
    CHECK(gmp_cancelled());
    CHECK_OK(gmp_shield_leave());
    CHECK_EQ(gmp_chan_recv(ch, NULL), -ECANCELED);
}

static void shield(void *arg)
{
    gmp_chan *ch = gmp_chan_make(0, 0);
    gmp_g *g;

    for (int i = 0; i < 10; i++) {
        CHECK_OK(gmp_join(spawn(shields_nest, NULL)));
        CHECK_OK(gmp_join(spawn(start_bare, NULL)));
    }
    atomic_store(&entered, 0);
    g = spawn(receive_shielded, ch);
    AWAIT(atomic_load(&entered) == 1);
    CHECK_OK(gmp_sleep(MS(1))); /* until it waits, as far as one can see */
    CHECK_OK(gmp_cancel(g));
    CHECK_OK(gmp_sleep(MS(1)));
    CHECK_OK(gmp_chan_send(ch, NULL));
    CHECK_OK(gmp_join(g));
    gmp_chan_unref(ch);
}

static atomic_int born_cancelled;

static void be_born(void *arg)
{
    atomic_fetch_add(&born_cancelled, gmp_cancelled());
    while (!gmp_cancelled())
        gmp_yield();
    CHECK_EQ(gmp_sleep(1), -ECANCELED);
}

/* A cancel before the first instruction is kept. On one processor nearly all
 * are as early as that. */
static void cancelled_before_it_ran(void *arg)
{
    int procs = gmp_set_maxprocs(1);

    for (int i = 0; i < 100; i++) {
        gmp_g *g = spawn(be_born, NULL);

        CHECK_OK(gmp_cancel(g));
        CHECK_OK(gmp_join(g));
    }
    CHECK(atomic_load(&born_cancelled) > 0);
    gmp_set_maxprocs(procs);
}

static void sleep_long(void *arg)
{
    CHECK_EQ(gmp_sleep(SEC(1000)), -ECANCELED);
}

static void stale_handles(void *arg)
{
    gmp_g *g = spawn(nothing, NULL);

    CHECK_EQ(gmp_cancel(NULL), -EINVAL);
    CHECK_EQ(gmp_cancel((gmp_g *)UINTPTR_MAX), -EINVAL);
    CHECK_OK(gmp_join(g));
    CHECK_EQ(gmp_cancel(g), -EINVAL);
    /* Ended, and still to be joined. */
    g = spawn(nothing, NULL);
    AWAIT(gmp_cancel(g) == -EINVAL);
    CHECK_OK(gmp_join(g));
    /* A released handle is good until the end. */
    g = spawn(sleep_long, NULL);
    gmp_release(g);
    CHECK_OK(gmp_cancel(g));
    AWAIT(gmp_cancel(g) == -EINVAL);
}

static _Atomic(gmp_g *) host;

static void *block_on_thread(void *ch)
{
    CHECK(!gmp_cancelled());
    CHECK_OK(gmp_shield_leave());
    CHECK_OK(gmp_sleep(1));
    CHECK(gmp_self() != NULL);
    atomic_store(&host, gmp_self());
    CHECK_OK(gmp_chan_recv(ch, NULL));
    CHECK(!gmp_cancelled());
    CHECK_OK(gmp_shield_enter());
    CHECK_OK(gmp_shield_leave());
    CHECK_OK(gmp_shield_leave());
    CHECK_OK(gmp_sleep(1));
    return NULL;
}

static void host_threads_are_not_cancelled(void)
{
    gmp_chan *ch = gmp_chan_make(0, 0);
    pthread_t thread;

    CHECK_OK(pthread_create(&thread, NULL, block_on_thread, ch));
    AWAIT(atomic_load(&host) != NULL);
    CHECK_EQ(gmp_cancel(atomic_load(&host)), -EPERM);
    CHECK_OK(gmp_chan_send(ch, NULL));
    CHECK_OK(pthread_join(thread, NULL));
    CHECK_EQ(gmp_cancel(atomic_load(&host)), -EINVAL);
    gmp_chan_unref(ch);
}

int test_main(int argc, char **argv)
{
    static const gmp_fn cases[] = {each_call, plain_locks_wait_on, shield,
                                   stale_handles};
    static const gmp_fn on_goroutines[] = {
        cancel_comes_first, the_rest_works, cancelled_before_it_ran};

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        cases[i](NULL);                            /* from a host thread */
        CHECK_OK(gmp_join(spawn(cases[i], NULL))); /* from a goroutine */
    }
    for (size_t i = 0; i < sizeof on_goroutines / sizeof *on_goroutines; i++)
        CHECK_OK(gmp_join(spawn(on_goroutines[i], NULL)));
    host_threads_are_not_cancelled();
    return 0;
}
