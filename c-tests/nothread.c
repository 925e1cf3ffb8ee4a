/* Threads that are refused: once, for a moment, for good, at the limit, at the
 * start. Nothing that could run stalls: whoever can run it is woken, or a
 * thread is asked for again.
 *
 * The program takes the place of pthread_create, or has the kernel refuse.
 * Each case runs in a process of its own, this program with the case's name;
 * what ran is counted, and a stall is what takes seconds. */
#include "test.h"

#include <dlfcn.h>
#include <linux/filter.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/wait.h>

/* A refusal that lasts. */
enum { FOR_GOOD = 1 << 30 };

#define PATIENCE SEC(4) /* less than any timer here, which nobody waits for */
#define LATER SEC(60)

static atomic_int refuse, refused, ran, up;
static atomic_bool every_other;

/* How many of the first threads of the process are refused, and after how
 * many: for the start, which main does not see. */
static int at_start(void)
{
    static atomic_int calls;
    const char *which = getenv("NOTHREAD_START");
    int call = atomic_fetch_add(&calls, 1);

    return which && call == atoi(which);
}

/* A sanitizer's own, which stands before the C library's. */
__attribute__((weak)) int __interceptor_pthread_create(
    pthread_t *thread, const pthread_attr_t *attr, void *(*start)(void *),
    void *arg);

int pthread_create(pthread_t *thread, const pthread_attr_t *attr,
                   void *(*start)(void *), void *arg)
{
    typedef int create(pthread_t *, const pthread_attr_t *, void *(*)(void *),
                       void *);
    static create *_Atomic real;
    static atomic_uint calls;
    create *next = atomic_load(&real);
    int left = atomic_load(&refuse);

    if (!next) {
        next = __interceptor_pthread_create;
        if (!next)
            next = (create *)dlsym(RTLD_NEXT, "pthread_create");
        atomic_store(&real, next);
    }
    if (at_start())
        return EAGAIN;
    if (atomic_load(&every_other) && atomic_fetch_add(&calls, 1) % 2)
        return EAGAIN;
    while (left > 0 && left < FOR_GOOD &&
           !atomic_compare_exchange_weak(&refuse, &left, left - 1))
        continue;
    if (left <= 0)
        return next(thread, attr, start, arg);
    atomic_fetch_add(&refused, 1);
    return EAGAIN;
}

/* Now, and not when it suits some timer. */
static void await(atomic_int *count, int want)
{
    int64_t end = gmp_now() + PATIENCE;

    while (atomic_load(count) != want && gmp_now() < end)
        block_ns(US(500));
    CHECK_EQ(atomic_load(count), want);
}

static void run(void *arg)
{
    atomic_fetch_add(&ran, 1);
}

static void start(int n)
{
    atomic_store(&ran, 0);
    for (int i = 0; i < n; i++)
        CHECK_OK(gmp_go(run, NULL));
}

/* --- Who is there when no thread is --- */

static int pipe_fds[2];

static void block_in_c(void *arg)
{
    char byte;

    atomic_fetch_add(&up, 1);
    CHECK_EQ(read(pipe_fds[0], &byte, 1), 1);
}

/* Threads that are there are blocked one by one, until one is refused. */
static void block_until_refused(int times)
{
    int blocked = 0;

    CHECK_OK(pipe(pipe_fds));
    atomic_store(&refuse, times);
    do {
        CHECK_OK(gmp_go(block_in_c, NULL));
        blocked++;
        for (int i = 0; i < 100 && atomic_load(&up) < blocked; i++)
            block_ns(MS(1));
        CHECK(blocked < 200);
    } while (atomic_load(&refused) == 0);
}

static void release(int n)
{
    while (n-- > 0)
        CHECK_EQ(write(pipe_fds[1], "x", 1), 1);
}

static void once(void)
{
    block_until_refused(1);
    start(100);
    await(&ran, 100);
    release(200);
}

static void moment(void)
{
    block_until_refused(FOR_GOOD);
    start(100);
    block_ns(MS(200));
    atomic_store(&refuse, 0);
    await(&ran, 100);
    release(200);
}

/* Whoever comes back from C finds the processor. */
static void back_from_c(void)
{
    block_until_refused(FOR_GOOD);
    start(100);
    block_ns(MS(50));
    release(200);
    await(&ran, 100);
}

static void sleep_long(void *arg)
{
    atomic_fetch_add(&up, 1);
    CHECK_EQ(gmp_sleep(LATER), -ECANCELED);
}

static void read_long(void *arg)
{
    char byte;

    atomic_fetch_add(&up, 1);
    CHECK_EQ(gmp_read(pipe_fds[0], &byte, 1), -ECANCELED);
}

static void kept(gmp_fn wait)
{
    gmp_g *waiter;

    CHECK_OK(pipe(pipe_fds));
    atomic_store(&refuse, FOR_GOOD);
    waiter = spawn(wait, NULL);
    await(&up, 1);
    for (int i = 0; i < 20; i++) {
        block_ns(MS(i));
        start(10);
        await(&ran, 10);
    }
    CHECK_OK(gmp_cancel(waiter));
    CHECK_OK(gmp_join(waiter));
}

static void keeper_of_timers(void)
{
    kept(sleep_long);
}

static void keeper_of_descriptors(void)
{
    kept(read_long);
}

/* --- Locked goroutines --- */

static gmp_chan *there, *back, *begin;

static void ping(void *arg)
{
    CHECK_OK(gmp_lock_os_thread());
    atomic_fetch_add(&up, 1);
    CHECK_OK(gmp_chan_recv(begin, NULL));
    for (int i = 0; i < 100; i++) {
        CHECK_OK(gmp_chan_send(there, &i));
        CHECK_OK(gmp_chan_recv(back, &i));
    }
    CHECK_OK(gmp_chan_close(there));
    CHECK_OK(gmp_unlock_os_thread());
}

static void pong(void *arg)
{
    int ball;

    CHECK_OK(gmp_lock_os_thread());
    atomic_fetch_add(&up, 1);
    while (gmp_chan_recv(there, &ball) == 0)
        CHECK_OK(gmp_chan_send(back, &ball));
    CHECK_OK(gmp_unlock_os_thread());
}

/* Every thread there is has its goroutine; their own they can run. */
static void locked_pair(void)
{
    gmp_g *a, *b;

    there = gmp_chan_make(sizeof(int), 0);
    back = gmp_chan_make(sizeof(int), 0);
    begin = gmp_chan_make(0, 1);
    b = spawn(pong, NULL);
    a = spawn(ping, NULL);
    await(&up, 2);
    block_ns(MS(20));
    atomic_store(&refuse, FOR_GOOD);
    CHECK_OK(gmp_chan_send(begin, NULL));
    CHECK_OK(gmp_join_until(a, gmp_after_ns(PATIENCE)));
    CHECK_OK(gmp_join_until(b, gmp_after_ns(PATIENCE)));
}

static void wait_locked(void *arg)
{
    int value;

    CHECK_OK(gmp_lock_os_thread());
    atomic_fetch_add(&up, 1);
    CHECK_OK(gmp_chan_recv(there, &value));
    run(NULL);
    CHECK_OK(gmp_unlock_os_thread());
}

static void send_all(void *arg)
{
    for (int i = 0; i < 40; i++)
        CHECK_OK(gmp_chan_send(there, &i));
}

/* At a limit, which counts no locked ones. */
static void limit_of_locked(void)
{
    there = gmp_chan_make(sizeof(int), 0);
    for (int i = 0; i < 40; i++)
        CHECK_OK(gmp_go(wait_locked, NULL));
    await(&up, 40);
    CHECK_OK(gmp_go(send_all, NULL));
    await(&ran, 40);
}

static void end_locked(void *arg)
{
    CHECK_OK(gmp_lock_os_thread());
    gmp_yield();
    run(NULL);
}

/* Each takes its thread along, m0 too. */
static void limit_of_ending(void)
{
    for (int i = 0; i < 100; i++)
        CHECK_OK(gmp_go(end_locked, NULL));
    await(&ran, 100);
    start(100);
    await(&ran, 100);
}

static void ending_refused(void)
{
    for (int i = 0; i < 30; i++) {
        atomic_store(&refuse, 1);
        CHECK_OK(gmp_go(end_locked, NULL));
        await(&ran, i + 1);
    }
    start(100);
    await(&ran, 100);
}

/* --- Processors, host threads --- */

static void more_processors(void)
{
    atomic_store(&refuse, FOR_GOOD);
    for (int procs = 1; procs <= 16; procs++) {
        gmp_set_maxprocs(procs);
        start(1000);
        await(&ran, 1000);
    }
    for (int procs = 16; procs > 0; procs--) {
        start(1000);
        gmp_set_maxprocs(procs);
        await(&ran, 1000);
    }
}

static void nap(void *arg)
{
    CHECK_OK(gmp_sleep(US(300)));
    block_ns(US(100));
    run(NULL);
}

static void *start_and_join(void *arg)
{
    for (int i = 0; i < 200; i++)
        CHECK_OK(gmp_join_until(spawn(i % 2 ? nap : run, NULL),
                                gmp_after_ns(PATIENCE)));
    return NULL;
}

static void host_threads(void)
{
    pthread_t threads[4];

    for (int i = 0; i < 4; i++)
        CHECK_OK(pthread_create(&threads[i], NULL, start_and_join, NULL));
    atomic_store(&every_other, true);
    for (int i = 0; i < 4; i++)
        CHECK_OK(pthread_join(threads[i], NULL));
    await(&ran, 4 * 200);
}

/* --- The kernel says no --- */

/* From now on no thread of the process gets another one. */
static void forbid_threads(void)
{
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_clone3, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_clone, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
                 offsetof(struct seccomp_data, args[0])),
        BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, CLONE_THREAD, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EAGAIN),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof filter / sizeof filter[0], filter};

    CHECK_OK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
    CHECK_OK(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER,
                     SECCOMP_FILTER_FLAG_TSYNC, &program));
}

static void kernel_refuses(void)
{
    gmp_g *sleeper;

    forbid_threads();
    sleeper = spawn(sleep_long, NULL);
    await(&up, 1);
    for (int i = 0; i < 10; i++) {
        start(100);
        await(&ran, 100);
        block_ns(MS(3));
    }
    CHECK_OK(gmp_cancel(sleeper));
    CHECK_OK(gmp_join(sleeper));
}

/* --- The cases --- */

struct test_case {
    const char *name;
    void (*run)(void);
    const char *limit; /* GMP_MAXTHREADS */
    const char *start; /* the thread that is refused then */
};

static const struct test_case cases[] = {
    {"once", once, NULL, NULL},
    {"moment", moment, NULL, NULL},
    {"back_from_c", back_from_c, NULL, NULL},
    {"timers", keeper_of_timers, NULL, NULL},
    {"timers_at_limit", keeper_of_timers, "2", NULL},
    {"descriptors", keeper_of_descriptors, NULL, NULL},
    {"descriptors_at_limit", keeper_of_descriptors, "3", NULL},
    {"locked_pair", locked_pair, NULL, NULL},
    {"locked_2", limit_of_locked, "2", NULL},
    {"locked_3", limit_of_locked, "3", NULL},
    {"locked_7", limit_of_locked, "7", NULL},
    {"ending_2", limit_of_ending, "2", NULL},
    {"ending_4", limit_of_ending, "4", NULL},
    {"ending_refused", ending_refused, NULL, NULL},
    {"more_processors", more_processors, NULL, NULL},
    {"host_threads", host_threads, NULL, NULL},
    {"kernel", kernel_refuses, NULL, NULL},
    {"start_m0", NULL, NULL, "0"},
    {"start_sysmon", NULL, NULL, "1"},
};

static int run_case(const struct test_case *c)
{
    int error;

    test_watchdog(20);
    error = gmp_wait_init();
    if (c->start) {
        CHECK_EQ(error, -EAGAIN);
        CHECK_EQ(gmp_go(run, NULL), -EAGAIN);
    } else {
        CHECK_OK(error);
        c->run();
    }
    /* Some are blocked for good. */
    fflush(stdout);
    _exit(0);
}

static void set(const char *name, const char *value)
{
    if (value)
        setenv(name, value, 1);
    else
        unsetenv(name);
}

static void run_in_child(const struct test_case *c)
{
    int64_t begun = gmp_now();
    int status;
    pid_t child;

    fflush(stdout);
    child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        set("NOTHREAD_CASE", c->name);
        set("NOTHREAD_START", c->start);
        set("GMP_MAXTHREADS", c->limit);
        execl("/proc/self/exe", c->name, (char *)NULL);
        _exit(127);
    }
    CHECK_EQ(waitpid(child, &status, 0), child);
    printf("%s: %.0f ms\n", c->name, (double)(gmp_now() - begun) / 1e6);
    CHECK_EQ(status, 0);
}

int test_main(int argc, char **argv)
{
    const char *name = getenv("NOTHREAD_CASE");

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        if (!name)
            run_in_child(&cases[i]);
        else if (strcmp(name, cases[i].name) == 0)
            return run_case(&cases[i]);
    }
    return 0;
}
