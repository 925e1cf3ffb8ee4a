/* Goroutines that are cancelled at any moment of any wait, once each, mostly by
 * host threads, which run beside them and not between their steps. What they
 * wait for comes often or never; none of it is lost, and nobody is cancelled in
 * place of another one.
 *
 * All of it happens twice. A cancel has every thread pass a barrier, which is
 * the kernel's work; during the second storm it starts to refuse that, and the
 * library goes over to fences. The first argument is a seed. */
#include "test.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stddef.h>
#include <sys/prctl.h>

enum { WORKERS = 12, HELPERS = 3, HOSTS = 3, STEPS = 40, STORM_MS = 400,
       CANCELLED = 100, CHANS = 5 };

/* The life that each worker has in its hands, until somebody takes it out of
 * here and cancels it. */
static _Atomic(gmp_g *) targets[WORKERS];

/* Lives take from the first two and fill the third; the others are idle. */
static gmp_chan *chans[CHANS];
static gmp_sema sema = GMP_SEMA_INIT(0), idle_sema = GMP_SEMA_INIT(0);
static gmp_mutex mutex = GMP_MUTEX_INIT;

static atomic_ulong seeds;
static atomic_long in, out, sum_in, sum_out, numbers, cancelled;
static atomic_int inside;
static atomic_bool last_lives, over;

static void put(long value)
{
    atomic_fetch_add(&in, 1);
    atomic_fetch_add(&sum_in, value);
}

static void got(long value)
{
    atomic_fetch_add(&out, 1);
    atomic_fetch_add(&sum_out, value);
}

/* Some waits have a deadline as well, which comes about when the rest does. */
static int64_t soon(uint64_t *random)
{
    if (next_random(random) % 4 != 0)
        return GMP_FOREVER;
    return gmp_now() + US(next_random(random) % 50);
}

/* Of a wait that received a value, or left it as it was. */
static int came(int result, long value)
{
    if (result == 0)
        got(value);
    else
        CHECK_EQ(value, -1);
    return result;
}

/* What lives wait for; 0, -ETIMEDOUT or -ECANCELED. */
static int receive(uint64_t *random)
{
    gmp_chan *chan = chans[next_random(random) % 2];
    long value = -1;
    int result = gmp_chan_recv_until(chan, &value, soon(random));

    return came(result, value);
}

static int send(uint64_t *random)
{
    long value = atomic_fetch_add(&numbers, 1);
    int result = gmp_chan_send_until(chans[2], &value, soon(random));

    if (result == 0)
        put(value);
    return result;
}

/* Behind one lock, and behind three. */
static int select_one(uint64_t *random)
{
    long value = -1;
    gmp_case only = {.ch = chans[0], .elem = &value, .op = GMP_RECV};
    int result = gmp_select_until(&only, 1, soon(random));

    return came(result, value);
}

static int select_three(uint64_t *random)
{
    long number = atomic_fetch_add(&numbers, 1);
    long values[3] = {-1, -1, number};
    gmp_case cases[] = {
        {.ch = chans[0], .elem = &values[0], .op = GMP_RECV},
        {.ch = chans[1], .elem = &values[1], .op = GMP_RECV},
        {.ch = chans[2], .elem = &values[2], .op = GMP_SEND},
    };
    int result = gmp_select_until(cases, 3, soon(random));

    CHECK(result == 0 || values[0] == -1);
    CHECK(result == 1 || values[1] == -1);
    if (result < 0)
        return result;
    CHECK_EQ(cases[result].result, 0);
    if (result == 2)
        put(number);
    else
        got(values[result]);
    return 0;
}

static int acquire(uint64_t *random)
{
    int result = gmp_sema_acquire_until(&sema, soon(random));

    if (result == 0)
        got(1);
    return result;
}

static void in_the_mutex(uint64_t *random)
{
    CHECK_EQ(atomic_fetch_add(&inside, 1), 0);
    if (next_random(random) % 2 == 0)
        gmp_yield();
    atomic_fetch_sub(&inside, 1);
    CHECK_OK(gmp_mutex_unlock(&mutex));
}

static int lock(uint64_t *random)
{
    int result = gmp_mutex_lock_until(&mutex, soon(random));

    if (result == 0)
        in_the_mutex(random);
    return result;
}

/* Without a deadline a lock is had in any case. */
static int lock_anyway(uint64_t *random)
{
    CHECK_OK(gmp_mutex_lock(&mutex));
    in_the_mutex(random);
    return 0;
}

static int nap(uint64_t *random)
{
    return gmp_sleep(US(next_random(random) % 10));
}

static int park(uint64_t *random)
{
    return gmp_park_until(NULL, NULL, "nap", gmp_now() + US(20));
}

static int any_wait(uint64_t *random)
{
    static int (*const waits[])(uint64_t *) = {
        receive, receive, send, select_one, select_three,
        acquire, lock, lock_anyway, nap, park,
    };

    return waits[next_random(random) % (sizeof waits / sizeof *waits)](random);
}

/* A wait that nothing but a cancel ends. */
static void wait_for_cancel(uint64_t *random)
{
    long values[2];
    gmp_case cases[] = {
        {.ch = chans[3], .elem = &values[0], .op = GMP_RECV},
        {.ch = chans[4], .elem = &values[1], .op = GMP_RECV},
    };
    int which = (int)(next_random(random) % 3);

    if (which == 0)
        CHECK_EQ(gmp_chan_recv(chans[3], &values[0]), -ECANCELED);
    else if (which == 1)
        CHECK_EQ(gmp_select(cases, 2), -ECANCELED);
    else
        CHECK_EQ(gmp_sema_acquire(&idle_sema), -ECANCELED);
}

/* One in eight steps is behind a shield, which the cancel has to wait for. */
static int step(uint64_t *random)
{
    bool shielded = next_random(random) % 8 == 0;
    int result;

    if (shielded)
        gmp_shield_enter();
    result = any_wait(random);
    if (shielded) {
        CHECK(result != -ECANCELED);
        CHECK_OK(gmp_shield_leave());
    }
    CHECK(result == 0 || result == -ETIMEDOUT || result == -ECANCELED);
    return result;
}

/* What a life does once it knows: waits for what it needs to clean up, and
 * still is cancelled after that. */
static void clean_up(uint64_t *random)
{
    gmp_shield_enter();
    for (int i = 0; i < 3; i++) {
        int result = any_wait(random);

        CHECK(result == 0 || result == -ETIMEDOUT);
    }
    CHECK_OK(gmp_shield_leave());
    wait_for_cancel(random);
}

static void live(void *arg)
{
    _Atomic(gmp_g *) *target = arg;
    uint64_t random = atomic_fetch_add(&seeds, 1);
    int steps = 1 + (int)(next_random(&random) % STEPS), result = 0;

    for (int i = 0; i < steps && result != -ECANCELED; i++)
        result = step(&random);
    if (result != -ECANCELED) {
        if (next_random(&random) % 4 != 0)
            return;
        wait_for_cancel(&random);
    }
    CHECK(gmp_cancelled());
    /* It was meant, and not one whose place this one has taken. */
    CHECK_EQ(atomic_load(target), NULL);
    atomic_fetch_add(&cancelled, 1);
    clean_up(&random);
}

static void work(void *target)
{
    while (!atomic_load(&last_lives)) {
        gmp_g *g = spawn(live, target);

        atomic_store((_Atomic(gmp_g *) *)target, g);
        CHECK_OK(gmp_join(g));
        atomic_store((_Atomic(gmp_g *) *)target, NULL);
    }
}

/* Some moments pass before the cancel, which decide what it meets; it may be
 * too late. */
static void cancel_one(uint64_t *random)
{
    int which = (int)(next_random(random) % WORKERS);
    gmp_g *g = atomic_exchange(&targets[which], NULL);
    int result;

    if (g == NULL)
        return;
    for (volatile int i = (int)(next_random(random) % 4000); i > 0; i--)
        continue;
    result = gmp_cancel(g);
    CHECK(result == 0 || result == -EINVAL);
}

static void *cancel_from_host(void *arg)
{
    uint64_t random = atomic_fetch_add(&seeds, 1);

    while (!atomic_load(&over)) {
        cancel_one(&random);
        if (next_random(&random) % 4 == 0)
            sched_yield();
    }
    return NULL;
}

/* Serves those who wait, for so long at most. */
static void feed(uint64_t *random, int64_t patience)
{
    long value = atomic_fetch_add(&numbers, 1);
    int64_t deadline = gmp_now() + patience;
    int which = (int)(next_random(random) % 4);

    if (which < 2) {
        if (gmp_chan_send_until(chans[which], &value, deadline) == 0)
            put(value);
    } else if (which == 2) {
        if (gmp_chan_recv_until(chans[2], &value, deadline) == 0)
            got(value);
    } else {
        put(1);
        CHECK_OK(gmp_sema_release(&sema));
    }
}

static void *feed_from_host(void *arg)
{
    uint64_t random = atomic_fetch_add(&seeds, 1);

    while (!atomic_load(&over)) {
        feed(&random, US(100));
        lock(&random);
    }
    return NULL;
}

/* A goroutine that feeds, and cancels if it is told to. */
static void help(void *cancels)
{
    uint64_t random = atomic_fetch_add(&seeds, 1);

    while (!atomic_load(&over)) {
        feed(&random, 0);
        if (cancels)
            cancel_one(&random);
        gmp_yield();
    }
}

/* Nothing has been lost or had twice. */
static void check_sums(void)
{
    long value;

    for (int i = 0; i < CHANS; i++)
        while (gmp_chan_try_recv(chans[i], &value) == 0)
            got(value);
    while (gmp_sema_try_acquire(&sema) == 0)
        got(1);
    CHECK_EQ(atomic_load(&in), atomic_load(&out));
    CHECK_EQ(atomic_load(&sum_in), atomic_load(&sum_out));
}

/* From now on the kernel refuses the barrier, to every thread. */
static void refuse_barriers(void)
{
    struct sock_filter steps[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_membarrier, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog filter = {sizeof steps / sizeof *steps, steps};

    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
        syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER,
                SECCOMP_FILTER_FLAG_TSYNC, &filter) != 0)
        test_skip("cancels without barriers", "seccomp is refused");
    else
        CHECK_EQ(syscall(SYS_membarrier, 0, 0, 0), -1);
}

static void storm(bool refused)
{
    pthread_t hosts[HOSTS];
    gmp_g *helpers[HELPERS], *workers[WORKERS];

    atomic_store(&last_lives, false);
    atomic_store(&over, false);
    atomic_store(&cancelled, 0);
    CHECK_OK(pthread_create(&hosts[0], NULL, feed_from_host, NULL));
    for (int i = 1; i < HOSTS; i++)
        CHECK_OK(pthread_create(&hosts[i], NULL, cancel_from_host, NULL));
    for (int i = 0; i < HELPERS; i++)
        helpers[i] = spawn(help, i == 0 ? helpers : NULL);
    for (int i = 0; i < WORKERS; i++)
        workers[i] = spawn(work, &targets[i]);
    block_ns(MS(STORM_MS / 10));
    if (refused)
        refuse_barriers();
    block_ns(MS(STORM_MS - STORM_MS / 10));
    AWAIT(atomic_load(&cancelled) >= CANCELLED);
    atomic_store(&last_lives, true);
    for (int i = 0; i < WORKERS; i++)
        CHECK_OK(gmp_join(workers[i]));
    /* The others have gone on, as the last lives wait for them. */
    atomic_store(&over, true);
    for (int i = 0; i < HELPERS; i++)
        CHECK_OK(gmp_join(helpers[i]));
    for (int i = 0; i < HOSTS; i++)
        CHECK_OK(pthread_join(hosts[i], NULL));
    check_sums();
}

int test_main(int argc, char **argv)
{
    if (argc > 1)
        atomic_store(&seeds, strtoul(argv[1], NULL, 0) * 1000000);
    for (int i = 0; i < CHANS; i++)
        chans[i] = gmp_chan_make(sizeof(long), i % 3);
    storm(false);
    storm(true);
    for (int i = 0; i < CHANS; i++)
        gmp_chan_unref(chans[i]);
    return 0;
}
