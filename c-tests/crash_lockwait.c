/* Goroutines and threads that wait for each other, or seem to, in a host that
 * goes on. Usage: crash_lockwait CASE, under GMPDEBUG=lockwait=1.
 *
 * The library's report comes through a pipe of ours to stderr. A case with a
 * deadlock ends with code 3 once the report has the lines that are wanted.
 * A case that must have none ends so after QUIET, and the watchdog ends all
 * that hang. The case `run_main` ends as the library ends it. */
#include "test.h"

#include <poll.h>

enum { CODE = 3, QUIET = 3, LIMIT = 20 };

static gmp_mutex a = GMP_MUTEX_INIT, b = GMP_MUTEX_INIT, c = GMP_MUTEX_INIT;
static gmp_rwmutex rw = GMP_RWMUTEX_INIT;
static gmp_once first = GMP_ONCE_INIT, second = GMP_ONCE_INIT;
static gmp_cond cond = GMP_COND_INIT;
static gmp_group *group;
static gmp_g *handles[2];
static atomic_int here;

/* Waits until n have come. */
static void meet(int n)
{
    atomic_fetch_add(&here, 1);
    AWAIT(atomic_load(&here) >= n);
}

static void go(gmp_fn fn)
{
    CHECK_OK(gmp_go(fn, NULL));
}

static void thread(void *(*fn)(void *))
{
    pthread_t id;

    CHECK_OK(pthread_create(&id, NULL, fn, NULL));
}

static void lock_left(void *arg)
{
    gmp_set_name("left");
    CHECK_OK(gmp_mutex_lock(&a));
    meet(2);
    gmp_mutex_lock(&b);
}

static void lock_right(void *arg)
{
    gmp_set_name("right");
    CHECK_OK(gmp_mutex_lock(&b));
    meet(2);
    gmp_mutex_lock(&a);
}

static void crossed(void)
{
    go(lock_left);
    go(lock_right);
}

/* Others keep the process alive, and wait behind the two. */
static void lock_behind(void *arg)
{
    meet(1);
    gmp_mutex_lock(&a);
}

static void tick(void *arg)
{
    for (;;)
        gmp_sleep(MS(1));
}

static void work(void *arg)
{
    for (;;) {
        spin_ns(MS(1));
        gmp_yield();
    }
}

static void ticker(void)
{
    go(tick);
    go(work);
    crossed();
    AWAIT(atomic_load(&here) >= 2);
    for (int i = 0; i < 5; i++)
        go(lock_behind);
}

static void *thread_right(void *arg)
{
    /* The first call locks: the thread has no G yet. */
    CHECK_OK(gmp_mutex_lock(&b));
    meet(2);
    gmp_mutex_lock(&a);
    return NULL;
}

static void with_thread(void)
{
    thread(thread_right);
    go(lock_left);
}

static void *thread_left(void *arg)
{
    lock_left(arg);
    return NULL;
}

static void threads(void)
{
    thread(thread_right);
    thread(thread_left);
}

static void lock_twice(void *arg)
{
    CHECK_OK(gmp_mutex_lock(&a));
    gmp_mutex_lock(&a);
}

static void self(void)
{
    go(lock_twice);
}

static void *thread_twice(void *arg)
{
    lock_twice(arg);
    return NULL;
}

static void thread_self(void)
{
    thread(thread_twice);
}

static void join_other(void *arg)
{
    AWAIT(handles[1]);
    gmp_join(handles[(intptr_t)arg]);
}

static void joins(void)
{
    gmp_g *one = spawn(join_other, (void *)1);

    handles[0] = one;
    handles[1] = spawn(join_other, (void *)0);
}

static int lock_as_member(void *arg)
{
    meet(2);
    gmp_mutex_lock(&a);
    return 0;
}

static void wait_with_lock(void *arg)
{
    CHECK_OK(gmp_mutex_lock(&a));
    group = gmp_group_make();
    /* Members that end, and one that does nothing wrong. */
    CHECK_OK(gmp_group_go(group, lock_as_member, NULL));
    meet(2);
    gmp_group_wait(group);
}

static void in_group(void)
{
    go(wait_with_lock);
}

static void wait_for_group(void *arg)
{
    gmp_group_wait(group);
}

static int join_the_waiter(void *arg)
{
    gmp_join(spawn(wait_for_group, NULL));
    return 0;
}

static void in_member(void)
{
    group = gmp_group_make();
    CHECK_OK(gmp_group_go(group, join_the_waiter, NULL));
}

static void nothing(void *arg)
{
}

static void call_first(void *arg)
{
    gmp_once_do(&first, nothing, NULL);
}

static void join_a_caller(void *arg)
{
    gmp_join(spawn(call_first, NULL));
}

static void once_in_itself(void *arg)
{
    gmp_once_do(&first, join_a_caller, NULL);
}

static void in_once(void)
{
    go(once_in_itself);
}

static void call_second_late(void *arg)
{
    meet(2);
    gmp_once_do(&second, nothing, NULL);
}

static void call_first_late(void *arg)
{
    meet(2);
    gmp_once_do(&first, nothing, NULL);
}

static void first_then_second(void *arg)
{
    gmp_once_do(&first, call_second_late, NULL);
}

static void second_then_first(void *arg)
{
    gmp_once_do(&second, call_first_late, NULL);
}

static void onces(void)
{
    go(first_then_second);
    go(second_then_first);
}

static void read_then_write(void *arg)
{
    CHECK_OK(gmp_rwmutex_rlock(&rw));
    gmp_rwmutex_lock(&rw);
}

static void upgrade(void)
{
    go(read_then_write);
}

static void read_then_lock(void *arg)
{
    CHECK_OK(gmp_rwmutex_rlock(&rw));
    meet(2);
    gmp_mutex_lock(&a);
}

static void lock_then_write(void *arg)
{
    CHECK_OK(gmp_mutex_lock(&a));
    meet(2);
    gmp_rwmutex_lock(&rw);
}

static void reader(void)
{
    go(read_then_lock);
    go(lock_then_write);
}

static void write_then_lock(void *arg)
{
    CHECK_OK(gmp_rwmutex_lock(&rw));
    meet(2);
    gmp_mutex_lock(&a);
}

static void lock_then_read(void *arg)
{
    CHECK_OK(gmp_mutex_lock(&a));
    meet(2);
    gmp_rwmutex_rlock(&rw);
}

static void writer(void)
{
    go(write_then_lock);
    go(lock_then_read);
}

/* Many read at the same time, and those that come later have left. Then one
 * of them reads again behind a writer, which waits for the first time. */
static void read_for_a_while(void *arg)
{
    AWAIT(atomic_load(&here) >= 1);
    CHECK_OK(gmp_rwmutex_rlock(&rw));
    atomic_fetch_add(&here, 1);
    AWAIT(atomic_load(&here) >= 5);
    CHECK_OK(gmp_rwmutex_runlock(&rw));
    atomic_fetch_add(&here, 1);
}

static void probe(void *arg)
{
    AWAIT(gmp_rwmutex_tryrlock(&rw) != 0 || (gmp_rwmutex_runlock(&rw), 0));
}

static void read_again(void *arg)
{
    CHECK_OK(gmp_rwmutex_rlock(&rw));
    meet(9);
    CHECK_OK(gmp_join(spawn(probe, NULL)));
    gmp_rwmutex_rlock(&rw);
}

static void write_behind(void *arg)
{
    AWAIT(atomic_load(&here) >= 9);
    gmp_rwmutex_lock(&rw);
}

static void reads(void)
{
    go(read_again);
    for (int i = 0; i < 4; i++)
        go(read_for_a_while);
    go(write_behind);
}

static void lock_ring(void *arg)
{
    static gmp_mutex *const ring[] = { &a, &b, &c };
    int i = (int)(intptr_t)arg;

    CHECK_OK(gmp_mutex_lock(ring[i]));
    meet(3);
    gmp_mutex_lock(ring[(i + 1) % 3]);
}

static void three(void)
{
    for (int i = 0; i < 3; i++)
        CHECK_OK(gmp_go(lock_ring, (void *)(intptr_t)i));
}

/* A mutex that was handed from one to the other under contention knows its
 * last owner. */
static atomic_int rounds;

static void contend(void *arg)
{
    while (atomic_fetch_add(&rounds, 1) < 2000) {
        CHECK_OK(gmp_mutex_lock(&a));
        spin_ns(US(50));
        gmp_yield();
        CHECK_OK(gmp_mutex_unlock(&a));
    }
    meet(8);
}

static void contended(void)
{
    for (int i = 0; i < 8; i++)
        go(contend);
    AWAIT(atomic_load(&here) >= 8);
    atomic_store(&here, 0);
    crossed();
}

/* Near misses. */

static void try_left(void *arg)
{
    CHECK_OK(gmp_mutex_lock(&a));
    meet(2);
    while (gmp_mutex_trylock(&b) != 0)
        gmp_sleep(MS(1));
}

static void try_right(void *arg)
{
    CHECK_OK(gmp_mutex_lock(&b));
    meet(2);
    gmp_mutex_lock(&a);
}

static void trylocks(void)
{
    go(try_left);
    go(try_right);
}

static void left_until(void *arg)
{
    CHECK_OK(gmp_mutex_lock(&a));
    meet(2);
    while (gmp_mutex_lock_until(&b, gmp_now() + MS(1700)) != 0) {
    }
}

static void until(void)
{
    go(left_until);
    go(try_right);
}

static void left_gives_up(void *arg)
{
    CHECK_OK(gmp_mutex_lock(&a));
    meet(2);
    CHECK_EQ(gmp_mutex_lock_until(&b, gmp_now() + MS(2000)), -ETIMEDOUT);
    CHECK_OK(gmp_mutex_unlock(&a));
    CHECK_OK(gmp_mutex_lock(&b));
}

static void right_goes_on(void *arg)
{
    CHECK_OK(gmp_mutex_lock(&b));
    meet(2);
    CHECK_OK(gmp_mutex_lock(&a));
    CHECK_OK(gmp_mutex_unlock(&a));
    CHECK_OK(gmp_mutex_unlock(&b));
    atomic_fetch_add(&here, 1);
}

static void broken(void)
{
    go(left_gives_up);
    go(right_goes_on);
}

/* One locks, another unlocks: a mutex as a signal. */
static void unlock_later(void *arg)
{
    gmp_sleep((int64_t)(intptr_t)arg);
    CHECK_OK(gmp_mutex_unlock(&a));
}

static void signal_by_mutex(void *arg)
{
    CHECK_OK(gmp_mutex_lock(&a));
    CHECK_OK(gmp_go(unlock_later, (void *)MS(1)));
    CHECK_OK(gmp_mutex_lock(&a));
    CHECK_OK(gmp_go(unlock_later, (void *)MS(2500)));
    CHECK_OK(gmp_mutex_lock(&a));
    atomic_fetch_add(&here, 1);
}

static void around(void)
{
    go(signal_by_mutex);
}

/* A thread ends with a mutex locked, and the next has its thread pointer. */
static gmp_mutex left_locked[20];
static atomic_int taken = -1;
static pthread_t ended;

static void *lock_and_end(void *arg)
{
    /* A try gives the thread no G. */
    CHECK_OK(gmp_mutex_trylock(arg));
    ended = pthread_self();
    return NULL;
}

static void *lock_as_next(void *arg)
{
    if (!pthread_equal(pthread_self(), ended))
        return NULL;
    atomic_store(&taken, (int)((gmp_mutex *)arg - left_locked));
    meet(2);
    gmp_mutex_lock(&b);
    return NULL;
}

static void lock_what_is_left(void *arg)
{
    CHECK_OK(gmp_mutex_lock(&b));
    meet(2);
    gmp_mutex_lock(&left_locked[atomic_load(&taken)]);
}

static void next_thread(void)
{
    for (int i = 0; i < 20 && atomic_load(&taken) < 0; i++) {
        pthread_t id;

        CHECK_OK(pthread_create(&id, NULL, lock_and_end, &left_locked[i]));
        CHECK_OK(pthread_join(id, NULL));
        CHECK_OK(pthread_create(&id, NULL, lock_as_next, &left_locked[i]));
        if (pthread_equal(id, ended))
            break;
        CHECK_OK(pthread_join(id, NULL));
    }
    go(lock_what_is_left);
    AWAIT(atomic_load(&here) >= 2);
}

/* Another gives up a reader's share while a second one reads on. */
static void read_and_lock(void *arg)
{
    CHECK_OK(gmp_rwmutex_rlock(&rw));
    meet(3);
    gmp_mutex_lock(&a);
}

static void read_on(void *arg)
{
    AWAIT(atomic_load(&here) >= 1);
    CHECK_OK(gmp_rwmutex_rlock(&rw));
    meet(2);
    gmp_sleep(SEC(60));
}

static void give_up_and_write(void *arg)
{
    AWAIT(atomic_load(&here) >= 2);
    CHECK_OK(gmp_rwmutex_runlock(&rw));
    CHECK_OK(gmp_mutex_lock(&a));
    meet(3);
    gmp_rwmutex_lock(&rw);
}

static void share(void)
{
    go(read_and_lock);
    go(read_on);
    go(give_up_and_write);
}

static void hold_and_sleep(void *arg)
{
    CHECK_OK(gmp_mutex_lock(&a));
    CHECK_OK(gmp_rwmutex_rlock(&rw));
    gmp_sleep(SEC(60));
}

static void hold_and_wait(void *arg)
{
    CHECK_OK(gmp_mutex_lock(&b));
    AWAIT(gmp_mutex_trylock(&a) != 0 || (gmp_mutex_unlock(&a), 0));
    gmp_mutex_lock(&a);
}

/* This writer gives up, so the reader goes on. */
static void write_for_a_while(void *arg)
{
    AWAIT(atomic_load(&here) >= 9);
    CHECK_EQ(gmp_rwmutex_lock_until(&rw, gmp_now() + MS(2500)), -ETIMEDOUT);
}

static void impatient(void)
{
    go(read_again);
    for (int i = 0; i < 4; i++)
        go(read_for_a_while);
    go(write_for_a_while);
}

static void wait_long(void *arg)
{
    AWAIT(gmp_mutex_trylock(&b) != 0 || (gmp_mutex_unlock(&b), 0));
    gmp_mutex_lock(&b);
}

static void write_long(void *arg)
{
    AWAIT(gmp_rwmutex_trylock(&rw) != 0 || (gmp_rwmutex_unlock(&rw), 0));
    gmp_rwmutex_lock(&rw);
}

static void chain(void)
{
    go(hold_and_sleep);
    go(hold_and_wait);
    go(wait_long);
    go(write_long);
}

static void wait_for_cond(void *arg)
{
    CHECK_OK(gmp_mutex_lock(&a));
    CHECK_OK(gmp_mutex_lock(&b));
    gmp_cond_wait(&cond, &a);
}

static void lock_for_cond(void *arg)
{
    AWAIT(gmp_mutex_trylock(&b) != 0 || (gmp_mutex_unlock(&b), 0));
    CHECK_OK(gmp_mutex_lock(&a));
    gmp_mutex_lock(&b);
}

/* The waiter holds b only. */
static void in_cond(void)
{
    go(wait_for_cond);
    go(lock_for_cond);
}

static const struct {
    const char *name;
    void (*begin)(void);
    int lines; /* of its report; 0: none may come */
} cases[] = {
    { "crossed", crossed, 3 },
    { "ticker", ticker, 3 },
    { "thread", with_thread, 3 },
    { "threads", threads, 3 },
    { "self", self, 2 },
    { "thread_self", thread_self, 2 },
    { "joins", joins, 3 },
    { "group", in_group, 3 },
    { "member", in_member, 3 },
    { "once", in_once, 3 },
    { "onces", onces, 3 },
    { "upgrade", upgrade, 2 },
    { "reader", reader, 3 },
    { "writer", writer, 3 },
    { "reads", reads, 3 },
    { "three", three, 4 },
    { "contended", contended, 3 },
    { "quiet_crossed", crossed, 0 },
    { "trylocks", trylocks, 0 },
    { "until", until, 0 },
    { "broken", broken, 0 },
    { "around", around, 0 },
    { "impatient", impatient, 0 },
    { "next_thread", next_thread, 0 },
    { "share", share, 0 },
    { "chain", chain, 0 },
    { "cond", in_cond, 0 },
};

/* All sleep, and two of them for each other. */
static int main_goroutine(int argc, char **argv)
{
    crossed();
    gmp_chan_recv(gmp_chan_make(0, 0), NULL);
    return 0;
}

static int report;

/* Passes on what comes until there are so many lines about a deadlock, or for
 * QUIET seconds where there should be none; then a little longer, for a report
 * too many. */
static void pass_on(int from, int lines)
{
    int64_t end = gmp_now() + (lines ? SEC(LIMIT) : SEC(QUIET));
    struct pollfd ready = { .fd = from, .events = POLLIN };
    char text[4096];

    while (gmp_now() < end) {
        if (poll(&ready, 1, 10) <= 0)
            continue;
        ssize_t n = read(from, text, sizeof text);
        CHECK(n > 0);
        CHECK_EQ(write(report, text, (size_t)n), n);
        for (ssize_t i = 0; i < n; i++)
            if (text[i] == '\n' && lines > 0 && --lines == 0)
                end = gmp_now() + MS(1500);
    }
    CHECK(lines <= 0);
}

int test_main(int argc, char **argv)
{
    int pipe_fds[2];

    CHECK_EQ(argc, 2);
    if (strcmp(argv[1], "run_main") == 0)
        return gmp_run_main(argc, argv, main_goroutine);
    report = dup(2);
    CHECK_OK(pipe(pipe_fds));
    CHECK_EQ(dup2(pipe_fds[1], 2), 2);
    test_watchdog(LIMIT + 10);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        if (strcmp(argv[1], cases[i].name) == 0) {
            cases[i].begin();
            pass_on(pipe_fds[0], cases[i].lines);
            return CODE;
        }
    }
    return 1;
}
