/* Forks from goroutines, host threads and the main thread while channels,
 * timers, pipes, locks and new goroutines keep the runtime busy, signals come,
 * and others fork too. A child uses everything, forks again now and then, and
 * ends in one of many ways. No child hangs, runs a goroutine of its parent, or
 * gets a wrong sum; and the parent goes on. FORKS in the environment: how many.
 */
#include "test.h"

#include <sys/wait.h>

enum { PAIRS = 4, THREADS = 2, FORKERS = 4, CODE = 7 };

static pid_t parent;
static atomic_bool stop;
static atomic_long forks_left;
static atomic_long ran;
static gmp_mutex mutex = GMP_MUTEX_INIT;
static gmp_rwmutex rwmutex = GMP_RWMUTEX_INIT;
static gmp_sema sema = GMP_SEMA_INIT(2);
static gmp_cond cond = GMP_COND_INIT;
static gmp_chan *shared; /* 3 elements, which nobody of the parent takes */
static gmp_chan *pairs[PAIRS], *busy;
static int pipes[PAIRS][2];
static gmp_group *group;

/* A goroutine or thread of the parent's never goes on in a child. */
static void at_home(void)
{
    if (getpid() != parent) {
        static const char text[] = "a goroutine of the parent runs here\n";

        (void)!write(2, text, sizeof text - 1);
        _exit(50);
    }
}

/* --- What keeps the parent busy ------------------------------------------- */

static void sends(void *arg)
{
    gmp_chan *ch = arg;
    long i = 0;

    while (!atomic_load(&stop)) {
        at_home();
        CHECK_OK(gmp_chan_send(ch, &i));
        i++;
    }
    CHECK_OK(gmp_chan_close(ch));
}

static void receives(void *arg)
{
    long want = 0, got;

    while (gmp_chan_recv(arg, &got) == 0) {
        at_home();
        CHECK_EQ(got, want);
        want++;
    }
}

static void writes(void *arg)
{
    int *p = arg;

    while (!atomic_load(&stop)) {
        at_home();
        CHECK_EQ(gmp_write(p[1], "x", 1), 1);
        CHECK_OK(gmp_sleep(US(50)));
    }
    CHECK_OK(gmp_close(p[1]));
}

static void reads(void *arg)
{
    int *p = arg;
    char c;

    while (gmp_read(p[0], &c, 1) == 1)
        at_home();
    CHECK_OK(gmp_close(p[0]));
}

static void count(void *arg)
{
    atomic_fetch_add((atomic_long *)arg, 1);
}

static void spawns(void *arg)
{
    while (!atomic_load(&stop)) {
        gmp_g *gs[8];

        at_home();
        for (int i = 0; i < 8; i++)
            gs[i] = spawn(count, &ran);
        for (int i = 0; i < 8; i++)
            CHECK_OK(gmp_join(gs[i]));
    }
}

static void locks(void *arg)
{
    while (!atomic_load(&stop)) {
        at_home();
        CHECK_OK(gmp_mutex_lock(&mutex));
        gmp_yield();
        if ((intptr_t)arg % 2)
            (void)gmp_cond_wait_until(&cond, &mutex, gmp_after_ns(US(100)));
        else
            gmp_cond_signal(&cond);
        CHECK_OK(gmp_mutex_unlock(&mutex));
        if ((intptr_t)arg % 2) {
            CHECK_OK(gmp_rwmutex_rlock(&rwmutex));
            gmp_yield();
            CHECK_OK(gmp_rwmutex_runlock(&rwmutex));
        } else {
            CHECK_OK(gmp_rwmutex_lock(&rwmutex));
            gmp_yield();
            CHECK_OK(gmp_rwmutex_unlock(&rwmutex));
        }
        CHECK_OK(gmp_sema_acquire(&sema));
        gmp_yield();
        CHECK_OK(gmp_sema_release(&sema));
    }
}

static void selects(void *arg)
{
    while (!atomic_load(&stop)) {
        int64_t when;
        gmp_chan *after = gmp_after(US(200));
        gmp_case cases[] = {
            {.ch = after, .elem = &when, .op = GMP_RECV},
            {.ch = busy, .op = GMP_RECV},
        };
        long x;

        at_home();
        cases[1].elem = &x;
        CHECK(gmp_select(cases, 2) >= 0);
        gmp_chan_unref(after);
    }
}

static void tick(void *arg)
{
    at_home();
    (void)gmp_chan_try_send(busy, &(long){1});
}

static void *computes(void *arg)
{
    while (!atomic_load(&stop)) {
        gmp_chan_unref(gmp_after(SEC(1)));
        (void)gmp_chan_try_send(busy, &(long){1});
        if (atomic_load(&ran) % 7 == 0)
            CHECK_OK(gmp_sleep(US(100)));
        else
            block_ns(US(200));
    }
    return NULL;
}

static int member(void *arg)
{
    while (!atomic_load(&stop)) {
        at_home();
        CHECK_OK(gmp_sleep(MS(1)));
    }
    return 0;
}

static void signalled(int signo)
{
}

/* --- Children ------------------------------------------------------------- */

static void sum(void *arg)
{
    long x;
    gmp_chan **ends = arg;

    while (gmp_chan_recv(ends[0], &x) == 0)
        CHECK_OK(gmp_chan_send(ends[1], &(long){2 * x}));
}

static void echoes(void *arg)
{
    int *p = arg;
    char c;

    CHECK_EQ(gmp_read(p[0], &c, 1), 1);
    CHECK_EQ(c, 'q');
}

static int joins_group(void *arg)
{
    count(arg);
    return 0;
}

static void use_channels(void)
{
    gmp_chan *ends[2];
    gmp_g *g[3];
    long total = 0, x;

    ends[0] = gmp_chan_make(sizeof(long), 2);
    ends[1] = gmp_chan_make(sizeof(long), 64);
    for (int i = 0; i < 3; i++)
        g[i] = spawn(sum, ends);
    for (long i = 1; i <= 50; i++)
        CHECK_OK(gmp_chan_send(ends[0], &i));
    CHECK_OK(gmp_chan_close(ends[0]));
    for (int i = 0; i < 3; i++)
        CHECK_OK(gmp_join(g[i]));
    while (gmp_chan_try_recv(ends[1], &x) == 0)
        total += x;
    CHECK_EQ(total, 50 * 51);
    gmp_chan_unref(ends[0]);
    gmp_chan_unref(ends[1]);
}

static void use_shared(void)
{
    int64_t soon = gmp_after_ns(MS(1));
    long x;

    for (long i = 1; i <= 3; i++) {
        CHECK_OK(gmp_chan_recv(shared, &x));
        CHECK_EQ(x, i);
    }
    CHECK_EQ(gmp_chan_try_recv(shared, &x), -EAGAIN);
    for (long i = 1; i <= 3; i++)
        CHECK_OK(gmp_chan_send(shared, &i));
    /* Who holds these may be in the parent only. */
    if (gmp_mutex_lock_until(&mutex, soon) == 0)
        CHECK_OK(gmp_mutex_unlock(&mutex));
    if (gmp_rwmutex_rlock_until(&rwmutex, soon) == 0)
        CHECK_OK(gmp_rwmutex_runlock(&rwmutex));
    if (gmp_sema_acquire_until(&sema, soon) == 0)
        CHECK_OK(gmp_sema_release(&sema));
    for (int i = 0; i < PAIRS; i++)
        (void)gmp_chan_recv_until(pairs[i], &x, soon);
    gmp_cond_broadcast(&cond);
    (void)gmp_chan_try_send(busy, &x);
}

static void use_rest(void)
{
    gmp_group *mine = gmp_group_make();
    gmp_mutex m = GMP_MUTEX_INIT;
    gmp_chan *after;
    int64_t when;
    atomic_long n = 0;
    int p[2];
    gmp_g *g;

    CHECK_OK(pipe(p));
    g = spawn(echoes, p);
    CHECK_OK(gmp_sleep(US(100)));
    CHECK_EQ(gmp_write(p[1], "q", 1), 1);
    CHECK_OK(gmp_join(g));
    CHECK_OK(gmp_close(p[0]));
    CHECK_OK(gmp_close(p[1]));
    after = gmp_after(US(300));
    CHECK_OK(gmp_chan_recv(after, &when));
    gmp_chan_unref(after);
    for (int i = 0; i < 5; i++)
        CHECK_OK(gmp_group_go(mine, joins_group, &n));
    CHECK_OK(gmp_group_wait(mine));
    gmp_group_free(mine);
    CHECK_EQ(atomic_load(&n), 5);
    CHECK_OK(gmp_mutex_lock(&m));
    CHECK_OK(gmp_mutex_unlock(&m));
    CHECK_OK(gmp_group_wait(group)); /* without those of the parent */
}

static void reap(pid_t child, int code)
{
    int status;

    while (waitpid(child, &status, 0) != child)
        CHECK_EQ(errno, EINTR);
    if (WIFSIGNALED(status))
        fprintf(stderr, "child %d: signal %d\n", child, WTERMSIG(status));
    CHECK(WIFEXITED(status));
    CHECK_EQ(WEXITSTATUS(status), code);
}

static void be_child(unsigned kind, int depth);

static void fork_one(unsigned kind, int depth)
{
    pid_t child = fork();

    CHECK(child >= 0);
    if (child == 0)
        be_child(kind, depth);
    reap(child, CODE);
}

static void exits(void *arg)
{
    fork_one((unsigned)(uintptr_t)arg, 1);
    exit(CODE);
}

static void be_child(unsigned kind, int depth)
{
    test_alarm(40);
    parent = getpid();
    switch (kind % 8) {
    case 0:
        _exit(CODE);
    case 1:
        execl("/bin/sh", "sh", "-c", "exit 7", (char *)NULL);
        _exit(1);
    case 2:
        use_shared();
        break;
    case 3:
        use_rest();
        break;
    default:
        use_channels();
        use_shared();
        use_rest();
    }
    if (kind % 16 >= 12 && depth < 2)
        fork_one(kind / 2, depth + 1);
    if (kind % 32 == 5) {
        (void)spawn(exits, (void *)(uintptr_t)(kind / 4));
        for (;;)
            CHECK_OK(gmp_sleep(SEC(1)));
    }
    if (kind % 2)
        exit(CODE);
    _exit(CODE);
}

/* --- Forkers -------------------------------------------------------------- */

static void forks(void *arg)
{
    uint64_t state = (uint64_t)(uintptr_t)arg * 977 + (uint64_t)getpid();

    while (atomic_fetch_sub(&forks_left, 1) > 0) {
        fork_one((unsigned)next_random(&state), 0);
        if (next_random(&state) % 4 == 0)
            CHECK_OK(gmp_sleep(US(next_random(&state) % 500)));
    }
}

static void *forks_on_thread(void *arg)
{
    forks(arg);
    return NULL;
}

static void forks_locked(void *arg)
{
    CHECK_OK(gmp_lock_os_thread());
    forks(arg);
}

static void *signals(void *arg)
{
    while (!atomic_load(&stop)) {
        kill(getpid(), SIGUSR1);
        block_ns(MS(1));
    }
    return NULL;
}

int test_main(int argc, char **argv)
{
    gmp_g *work[3 * PAIRS + 6], *forkers[FORKERS];
    pthread_t threads[THREADS], forking[2], signaller;
    struct sigaction action = {
        .sa_handler = signalled,
        .sa_flags = SA_RESTART,
    };
    gmp_timer *ticker;
    int n = 0;

    parent = getpid();
    forks_left = test_env("FORKS", 60);
    test_watchdog((unsigned)(60 + forks_left / 20));
    sigaction(SIGUSR1, &action, NULL);
    shared = gmp_chan_make(sizeof(long), 3);
    busy = gmp_chan_make(sizeof(long), 8);
    group = gmp_group_make();
    for (long i = 1; i <= 3; i++)
        CHECK_OK(gmp_chan_send(shared, &i));
    for (int i = 0; i < PAIRS; i++) {
        pairs[i] = gmp_chan_make(sizeof(long), i);
        CHECK_OK(pipe(pipes[i]));
        work[n++] = spawn(sends, pairs[i]);
        work[n++] = spawn(receives, pairs[i]);
        work[n++] = spawn(locks, (void *)(intptr_t)i);
    }
    work[n++] = spawn(writes, pipes[0]);
    work[n++] = spawn(reads, pipes[0]);
    work[n++] = spawn(writes, pipes[1]);
    work[n++] = spawn(reads, pipes[1]);
    work[n++] = spawn(spawns, NULL);
    work[n++] = spawn(selects, NULL);
    CHECK_OK(gmp_group_go(group, member, NULL));
    CHECK_OK(gmp_group_go(group, member, NULL));
    ticker = gmp_timer_start(US(100), US(100), tick, NULL);
    for (int i = 0; i < THREADS; i++)
        CHECK_OK(pthread_create(&threads[i], NULL, computes, NULL));
    CHECK_OK(pthread_create(&signaller, NULL, signals, NULL));
    for (intptr_t i = 0; i < FORKERS; i++)
        forkers[i] = spawn(i % 2 ? forks_locked : forks, (void *)(i + 1));
    for (intptr_t i = 0; i < 2; i++)
        CHECK_OK(pthread_create(&forking[i], NULL, forks_on_thread,
                                (void *)(i + 10)));
    forks((void *)20);
    for (int i = 0; i < FORKERS; i++)
        CHECK_OK(gmp_join(forkers[i]));
    for (int i = 0; i < 2; i++)
        CHECK_OK(pthread_join(forking[i], NULL));
    atomic_store(&stop, true);
    for (int i = 0; i < n; i++)
        CHECK_OK(gmp_join(work[i]));
    for (int i = 0; i < THREADS; i++)
        CHECK_OK(pthread_join(threads[i], NULL));
    CHECK_OK(pthread_join(signaller, NULL));
    CHECK_OK(gmp_group_wait(group));
    gmp_group_free(group);
    gmp_timer_free(ticker);
    return 0;
}
