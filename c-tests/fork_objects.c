/* Each kind of object over a fork: what it holds stays; what waits at it in the
 * parent is not there in the child; what the goroutine that forked has locked
 * is its own in the child; what others have locked stays locked. The same
 * where a host thread forks. */
#include "test.h"

#include <sys/wait.h>

static atomic_bool over;
static atomic_int ticks, once_runs;
static bool forked_by_goroutine;

static gmp_mutex own = GMP_MUTEX_INIT, theirs = GMP_MUTEX_INIT;
static gmp_rwmutex own_read = GMP_RWMUTEX_INIT, own_write = GMP_RWMUTEX_INIT;
static gmp_rwmutex their_write = GMP_RWMUTEX_INIT;
static gmp_cond cond = GMP_COND_INIT;
static gmp_mutex cond_mutex = GMP_MUTEX_INIT;
static gmp_sema sema = GMP_SEMA_INIT(1), empty = GMP_SEMA_INIT(0);
static gmp_barrier barrier = GMP_BARRIER_INIT(2);
static gmp_waitgroup wg = GMP_WAITGROUP_INIT;
static gmp_once done = GMP_ONCE_INIT, under_way = GMP_ONCE_INIT;
static gmp_chan *full, *closed, *wanted, *after, *tick_chan, *signals;
static gmp_group *group;
static gmp_key *key;
static gmp_timer *timer;
static int64_t due; /* of after */
static int ends[2];

static int64_t soon(void)
{
    return gmp_after_ns(MS(2));
}

/* --- The parent's goroutines ---------------------------------------------- */

static atomic_int holding;

static void holds(void *arg)
{
    CHECK_OK(gmp_mutex_lock(&theirs));
    CHECK_OK(gmp_rwmutex_lock(&their_write));
    atomic_fetch_add(&holding, 1);
    AWAIT(atomic_load(&over));
    CHECK_OK(gmp_rwmutex_unlock(&their_write));
    CHECK_OK(gmp_mutex_unlock(&theirs));
}

static void runs_long(void *arg)
{
    atomic_fetch_add(&holding, 1);
    AWAIT(atomic_load(&over));
}

static void runs_once(void *arg)
{
    CHECK_OK(gmp_once_do(&under_way, runs_long, NULL));
}

static void wants_own(void *arg)
{
    CHECK_OK(gmp_mutex_lock(&own));
    CHECK_OK(gmp_mutex_unlock(&own));
}

static void wants_to_write(void *arg)
{
    CHECK_OK(gmp_rwmutex_lock(&own_read));
    CHECK_OK(gmp_rwmutex_unlock(&own_read));
}

static void wants_to_read(void *arg)
{
    CHECK_OK(gmp_rwmutex_rlock(&own_write));
    CHECK_OK(gmp_rwmutex_runlock(&own_write));
}

static void waits_for_cond(void *arg)
{
    CHECK_OK(gmp_mutex_lock(&cond_mutex));
    while (!atomic_load(&over))
        CHECK_OK(gmp_cond_wait(&cond, &cond_mutex));
    CHECK_OK(gmp_mutex_unlock(&cond_mutex));
}

static void wants_token(void *arg)
{
    CHECK_OK(gmp_sema_acquire(&empty));
}

static void arrives(void *arg)
{
    CHECK(gmp_barrier_wait(&barrier) >= 0);
}

static void waits_for_group(void *arg)
{
    CHECK_OK(gmp_waitgroup_wait(&wg));
}

static void sends_third(void *arg)
{
    CHECK_OK(gmp_chan_send(full, &(int){3}));
}

static void receives(void *arg)
{
    int x;

    CHECK_OK(gmp_chan_recv(wanted, &x));
}

static void reads(void *arg)
{
    char c;

    CHECK_EQ(gmp_read(ends[0], &c, 1), 1);
}

static int member(void *arg)
{
    AWAIT(atomic_load(&over));
    return 0;
}

static void tick(void *arg)
{
    atomic_fetch_add(&ticks, 1);
}

static void once(void *arg)
{
    atomic_fetch_add(&once_runs, 1);
}

/* --- The child ------------------------------------------------------------ */

static void locks_in_child(void)
{
    CHECK_EQ(gmp_mutex_trylock(&own), -EAGAIN);
    CHECK_OK(gmp_mutex_unlock(&own));
    CHECK_OK(gmp_mutex_lock(&own));
    CHECK_OK(gmp_mutex_unlock(&own));
    CHECK_EQ(gmp_mutex_lock_until(&theirs, soon()), -ETIMEDOUT);
    /* A writer waits in the parent only. */
    CHECK_OK(gmp_rwmutex_runlock(&own_read));
    CHECK_OK(gmp_rwmutex_rlock(&own_read));
    CHECK_OK(gmp_rwmutex_runlock(&own_read));
    CHECK_OK(gmp_rwmutex_lock(&own_read));
    CHECK_OK(gmp_rwmutex_unlock(&own_read));
    CHECK_OK(gmp_rwmutex_unlock(&own_write));
    CHECK_OK(gmp_rwmutex_lock(&own_write));
    CHECK_OK(gmp_rwmutex_unlock(&own_write));
    CHECK_EQ(gmp_rwmutex_rlock_until(&their_write, soon()), -ETIMEDOUT);
    CHECK_OK(gmp_mutex_lock(&cond_mutex));
    CHECK_OK(gmp_cond_signal(&cond)); /* for nobody */
    CHECK_EQ(gmp_cond_wait_until(&cond, &cond_mutex, soon()), -ETIMEDOUT);
    CHECK_OK(gmp_mutex_unlock(&cond_mutex));
}

static void adds_token(void *arg)
{
    CHECK_OK(gmp_sema_release(&empty));
}

static void counts_in_child(void)
{
    gmp_g *g;

    CHECK_EQ(gmp_sema_value(&sema), 0);
    CHECK_OK(gmp_sema_release(&sema));
    CHECK_OK(gmp_sema_acquire(&sema));
    g = spawn(adds_token, NULL);
    CHECK_OK(gmp_sema_acquire(&empty));
    CHECK_OK(gmp_join(g));
    CHECK_EQ(gmp_barrier_wait_until(&barrier, soon()), -ETIMEDOUT);
    g = spawn(arrives, NULL);
    CHECK(gmp_barrier_wait(&barrier) >= 0);
    CHECK_OK(gmp_join(g));
    CHECK_EQ(gmp_waitgroup_wait_until(&wg, soon()), -ETIMEDOUT);
    CHECK_OK(gmp_waitgroup_done(&wg)); /* in the place of the parent's */
    CHECK_OK(gmp_waitgroup_wait(&wg));
    CHECK_OK(gmp_once_do(&done, once, NULL));
    CHECK_EQ(atomic_load(&once_runs), 1);
    /* The goroutine that runs it is not here, so it runs here anew. */
    CHECK_OK(gmp_once_do(&under_way, once, NULL));
    CHECK_EQ(atomic_load(&once_runs), 2);
}

static void channels_in_child(void)
{
    int x = 0;

    CHECK_EQ(gmp_chan_len(full), 2);
    for (int i = 1; i <= 2; i++) {
        CHECK_OK(gmp_chan_recv(full, &x));
        CHECK_EQ(x, i);
    }
    CHECK_EQ(gmp_chan_try_recv(full, &x), -EAGAIN); /* the third is not here */
    CHECK_OK(gmp_chan_send(full, &x));
    CHECK_EQ(gmp_chan_recv(closed, &x), -EPIPE);
    CHECK_EQ(gmp_chan_try_send(wanted, &x), -EAGAIN); /* nobody receives */
    if (test_under("tsan"))
        return; /* it runs no handler here */
    CHECK_OK(kill(getpid(), SIGUSR1));
    CHECK_OK(gmp_chan_recv(signals, &x));
    CHECK_EQ(x, SIGUSR1);
}

static void timers_in_child(bool fired)
{
    int before = atomic_load(&ticks);
    int64_t when;

    CHECK_OK(gmp_sleep(MS(5)));
    CHECK_EQ(atomic_load(&ticks), before); /* it has stopped */
    if (!fired) {
        CHECK_OK(gmp_sleep_until(due + MS(5)));
        CHECK_EQ(gmp_chan_try_recv(after, &when), -EAGAIN);
    }
    CHECK_EQ(gmp_chan_len(tick_chan), 0);
    CHECK(gmp_timer_reset(timer, US(200)) >= 0);
    AWAIT(atomic_load(&ticks) > before + 2);
    gmp_timer_free(timer);
}

static void rest_in_child(gmp_g *other, gmp_g *self)
{
    char c, name[16];

    CHECK_EQ(gmp_group_wait(group), 0); /* no member is here */
    atomic_store(&over, true);
    CHECK_OK(gmp_group_go(group, member, NULL));
    CHECK_OK(gmp_group_wait(group));
    gmp_group_free(group);
    CHECK_EQ(gmp_read_until(ends[0], &c, 1, soon()), -ETIMEDOUT);
    CHECK_OK(gmp_close(ends[0]));
    CHECK_EQ(gmp_join(other), -EINVAL);
    CHECK_EQ(gmp_cancel(other), -EINVAL);
    CHECK_EQ(gmp_self(), self);
    if (forked_by_goroutine) {
        CHECK_EQ(gmp_getspecific(key), ends);
        CHECK(gmp_get_name(self, name, sizeof name) >= 0);
        CHECK_OK(strcmp(name, "forks"));
        /* The group's member may end a moment after it counts as done. */
        while (gmp_num_goroutines() != 1)
            gmp_yield();
    }
}

static void be_child(gmp_g *other, gmp_g *self)
{
    bool fired = gmp_chan_len(after) != 0; /* before the fork */

    test_alarm(20);
    locks_in_child();
    counts_in_child();
    channels_in_child();
    timers_in_child(fired);
    rest_in_child(other, self);
}

/* --- The parent ----------------------------------------------------------- */

static gmp_g *other;

static void forks(void *arg)
{
    gmp_g *self = gmp_self();
    pid_t child;
    int status;

    if (forked_by_goroutine) {
        CHECK_OK(gmp_setspecific(key, ends));
        CHECK_OK(gmp_set_name("forks"));
    }
    CHECK_OK(gmp_mutex_lock(&own));
    CHECK_OK(gmp_rwmutex_rlock(&own_read));
    CHECK_OK(gmp_rwmutex_lock(&own_write));
    CHECK_OK(gmp_sema_acquire(&sema));
    *(gmp_g **)arg = spawn(wants_own, NULL);
    ((gmp_g **)arg)[1] = spawn(wants_to_write, NULL);
    ((gmp_g **)arg)[2] = spawn(wants_to_read, NULL);
    CHECK_OK(gmp_sleep(MS(3)));
    child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        be_child(other, self);
        _exit(7);
    }
    CHECK_EQ(gmp_waitpid(child, &status, 0), child);
    CHECK(WIFEXITED(status));
    CHECK_EQ(WEXITSTATUS(status), 7);
    CHECK_OK(gmp_sema_release(&sema));
    CHECK_OK(gmp_rwmutex_unlock(&own_write));
    CHECK_OK(gmp_rwmutex_runlock(&own_read));
    CHECK_OK(gmp_mutex_unlock(&own));
}

int test_main(int argc, char **argv)
{
    static const gmp_fn waits[] = {
        waits_for_cond, wants_token, arrives, waits_for_group, sends_third,
        receives, reads, holds, runs_once,
    };
    enum { WAITS = sizeof waits / sizeof *waits };
    gmp_g *waiting[WAITS], *want[3];

    full = gmp_chan_make(sizeof(int), 2);
    closed = gmp_chan_make(sizeof(int), 0);
    wanted = gmp_chan_make(sizeof(int), 0);
    signals = gmp_chan_make(sizeof(int), 1);
    CHECK_OK(gmp_signal_notify(signals, SIGUSR1));
    for (int i = 1; i <= 2; i++)
        CHECK_OK(gmp_chan_send(full, &i));
    CHECK_OK(gmp_chan_close(closed));
    CHECK_OK(gmp_once_do(&done, once, NULL));
    CHECK_OK(gmp_waitgroup_add(&wg, 1));
    CHECK_OK(pipe(ends));
    key = gmp_key_create(NULL);
    group = gmp_group_make();
    CHECK_OK(gmp_group_go(group, member, NULL));
    CHECK_OK(gmp_group_go(group, member, NULL));
    for (int i = 0; i < WAITS; i++)
        waiting[i] = spawn(waits[i], NULL);
    other = waiting[0];
    AWAIT(atomic_load(&holding) == 2);
    for (int i = 0; i < 2; i++) {
        forked_by_goroutine = i;
        due = gmp_after_ns(MS(20));
        after = gmp_after(MS(20));
        tick_chan = gmp_tick(SEC(1));
        timer = gmp_timer_start(US(100), US(100), tick, NULL);
        if (i)
            CHECK_OK(gmp_join_until(spawn(forks, want), gmp_after_ns(SEC(40))));
        else
            forks(want);
        for (int k = 0; k < 3; k++)
            CHECK_OK(gmp_join(want[k]));
        gmp_timer_free(timer);
        gmp_chan_unref(after);
        gmp_chan_unref(tick_chan);
    }
    /* The parent's waits are as they were. */
    atomic_store(&over, true);
    CHECK_OK(gmp_mutex_lock(&cond_mutex));
    CHECK_OK(gmp_cond_broadcast(&cond));
    CHECK_OK(gmp_mutex_unlock(&cond_mutex));
    CHECK_OK(gmp_sema_release(&empty));
    CHECK(gmp_barrier_wait(&barrier) >= 0);
    CHECK_OK(gmp_waitgroup_done(&wg));
    for (int i = 1; i <= 3; i++) {
        int x;

        CHECK_OK(gmp_chan_recv(full, &x));
        CHECK_EQ(x, i);
    }
    CHECK_OK(gmp_chan_send(wanted, &(int){1}));
    CHECK_EQ(gmp_write(ends[1], "x", 1), 1);
    CHECK_OK(gmp_group_wait(group));
    gmp_group_free(group);
    for (int i = 0; i < WAITS; i++)
        CHECK_OK(gmp_join(waiting[i]));
    return 0;
}
