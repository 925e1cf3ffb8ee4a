/* In the child of a fork there is the goroutine that forked, and no other: it
 * goes on there, gets -ENOTSUP from all that would need the others, runs what
 * it has put off when it returns, and ends the process with status 0. */
#include "test.h"

#include <fcntl.h>
#include <sys/wait.h>

enum { OTHERS = 8 };

static pid_t parent;
static int told[2];
static atomic_bool stop;
static gmp_mutex mutex = GMP_MUTEX_INIT;
static gmp_once once = GMP_ONCE_INIT;
static gmp_chan *chan;
static gmp_key *key;

static void tell(char what)
{
    CHECK_EQ(write(told[1], &what, 1), 1);
}

/* Whatever runs here that should not. */
static void at_home(void)
{
    if (getpid() != parent) {
        tell('T');
        _exit(50);
    }
}

static void other(void *arg)
{
    while (!atomic_load(&stop)) {
        at_home();
        if ((intptr_t)arg % 2)
            gmp_yield();
        else
            CHECK_OK(gmp_sleep(US(50)));
    }
}

static void tick(void *arg)
{
    at_home();
}

/* --- What the goroutine does in the child, and how it ends there ---------- */

static void yields(void)
{
    for (int i = 0; i < 1000; i++)
        gmp_yield();
}

static void checkpoints(void)
{
    for (int i = 0; i < 20000; i++) {
        gmp_checkpoint();
        for (volatile int k = 0; k < 500; k++)
            continue;
    }
}

static void exits(void)
{
    CHECK_EQ(gmp_exit(), -ENOTSUP);
}

static int never(gmp_g *g, void *lock)
{
    CHECK(!"it parks");
    return 1;
}

static void all_calls(void)
{
    gmp_g *g = NULL;
    int x = 0;
    size_t n;
    gmp_case c = {.ch = chan, .elem = &x, .op = GMP_RECV};

    CHECK_EQ(gmp_wait_init(), -ENOTSUP);
    CHECK_EQ(gmp_go(tick, NULL), -ENOTSUP);
    CHECK_EQ(gmp_go_with(NULL, tick, NULL, &g), -ENOTSUP);
    CHECK_EQ(gmp_sleep(MS(1)), -ENOTSUP);
    CHECK_EQ(gmp_park(never, NULL, NULL), -ENOTSUP);
    CHECK_EQ(gmp_ready(gmp_self()), -ENOTSUP);
    CHECK_EQ(gmp_mutex_lock(&mutex), -ENOTSUP);
    CHECK_EQ(gmp_chan_send(chan, &x), -ENOTSUP);
    CHECK_EQ(gmp_chan_recv_until(chan, &x, 0), -ENOTSUP);
    CHECK_EQ(gmp_select(&c, 1), -ENOTSUP);
    CHECK_EQ(gmp_once_do(&once, tick, NULL), -ENOTSUP);
    CHECK_EQ(gmp_blocking(tick, NULL), -ENOTSUP);
    CHECK_EQ(gmp_read(told[0], &x, 1), -ENOTSUP);
    CHECK_EQ(gmp_waitpid(-1, NULL, 0), -ENOTSUP);
    CHECK_EQ(gmp_read_full_until(told[0], &x, 1, &n, 0), -ENOTSUP);
    CHECK_EQ(gmp_lock_os_thread(), -ENOTSUP);
    CHECK_EQ(gmp_set_maxprocs(3), -ENOTSUP);
    CHECK_EQ(gmp_run_main(0, NULL, NULL), -EINVAL);
    CHECK(gmp_key_create(NULL) == NULL);
    gmp_chan_unref(gmp_chan_ref(chan));
    gmp_yield();
}

static void forks_again(void)
{
    pid_t child = fork();
    int status;

    CHECK(child >= 0);
    yields();
    if (child == 0)
        return; /* ends that process, with 0 */
    CHECK_EQ(waitpid(child, &status, 0), child);
    CHECK(WIFEXITED(status));
    CHECK_EQ(WEXITSTATUS(status), 0);
}

static void *thread_of_child(void *arg)
{
    gmp_yield();
    CHECK_EQ(gmp_sleep(1), -ENOTSUP);
    return arg;
}

static void has_threads(void)
{
    pthread_t thread;
    void *result;

    CHECK_OK(pthread_create(&thread, NULL, thread_of_child, told));
    CHECK_OK(pthread_join(thread, &result));
    CHECK(result == told);
}

static void (*const doings[])(void) = {
    yields, checkpoints, exits, all_calls, forks_again, has_threads,
};

enum { DOINGS = sizeof doings / sizeof *doings };

/* --- Where it forks ------------------------------------------------------- */

static void deferred(void *arg)
{
    if (getpid() != parent)
        tell('d');
}

static void destructor(void *arg)
{
    if (getpid() != parent)
        tell('k');
}

static void at_end_of_process(void)
{
    if (getpid() != parent)
        tell('e');
}

struct fork {
    void (*doing)(void);
    pid_t child;
    bool locked;
};

static void fork_and_return(void *arg)
{
    struct fork *f = arg;

    CHECK_OK(gmp_defer(deferred, NULL));
    CHECK_OK(gmp_setspecific(key, f));
    if (f->locked)
        CHECK_OK(gmp_lock_os_thread());
    f->child = fork();
    CHECK(f->child >= 0);
    if (f->child == 0) {
        alarm(20);
        f->doing();
    }
}

/* What the child wrote comes in this order, and it ended with a status. */
static void judge(pid_t child, int want, const char *text)
{
    char got[16] = "";
    int status;

    CHECK_EQ(waitpid(child, &status, 0), child);
    CHECK(WIFEXITED(status));
    CHECK_EQ(WEXITSTATUS(status), want);
    CHECK(read(told[0], got, sizeof got - 1) >= -1);
    if (strcmp(got, text) != 0) {
        fprintf(stderr, "the child told \"%s\", want \"%s\"\n", got, text);
        exit(1);
    }
}

static void on_a_goroutine(void)
{
    for (int i = 0; i < 2 * DOINGS; i++) {
        struct fork f = {.doing = doings[i / 2], .locked = i % 2};
        const char *text = f.doing == forks_again ? "dkedke" : "dke";
        gmp_g *g = spawn(fork_and_return, &f);

        /* With a deadline it is not run in place. */
        CHECK_OK(gmp_join_until(g, gmp_after_ns(SEC(40))));
        judge(f.child, 0, text);
    }
}

/* A host thread that joins may run it itself. */
static void in_place(void)
{
    for (int i = 0; i < DOINGS; i++) {
        struct fork f = {.doing = doings[i]};
        const char *text = f.doing == forks_again ? "dkedke" : "dke";

        CHECK_OK(gmp_join(spawn(fork_and_return, &f)));
        judge(f.child, 0, text);
    }
}

static void on_a_host_thread(void)
{
    for (int i = 0; i < DOINGS; i++) {
        pid_t child = fork();

        CHECK(child >= 0);
        if (child == 0) {
            alarm(20);
            if (doings[i] == forks_again)
                exit(3);
            if (doings[i] == exits)
                CHECK_EQ(gmp_exit(), -ENOTSUP);
            else
                doings[i]();
            exit(3);
        }
        judge(child, 3, "e");
    }
}

static int forking_main(int argc, char **argv)
{
    pid_t child = fork();

    CHECK(child >= 0);
    if (child == 0) {
        alarm(20);
        yields();
        return 7;
    }
    judge(child, 7, "e");
    return 0;
}

static void forking_once(void *arg)
{
    pid_t *child = arg;

    *child = fork();
    CHECK(*child >= 0);
}

static void fork_in_once(void *arg)
{
    gmp_once o = GMP_ONCE_INIT;
    pid_t child;

    if ((intptr_t)arg)
        CHECK_OK(gmp_once_do(&o, forking_once, &child));
    else
        CHECK_OK(gmp_blocking(forking_once, &child));
    if (child > 0)
        judge(child, 0, "e");
    else
        yields();
}

static int forking_unlockf(gmp_g *g, void *arg)
{
    pid_t child = fork();

    CHECK(child >= 0);
    if (child == 0)
        alarm(20);
    *(pid_t *)arg = child;
    return child == 0; /* the child would park */
}

static void fork_in_unlockf(void *arg)
{
    pid_t child = -1;

    CHECK_OK(gmp_park(forking_unlockf, &child, NULL));
    if (child > 0)
        judge(child, 0, "e");
    else
        yields();
}

/* Locks the heap of timers most of the time. */
static void *starts_timers(void *arg)
{
    while (!atomic_load((atomic_bool *)arg))
        gmp_chan_unref(gmp_after(SEC(1)));
    return NULL;
}

/* The deadline of a park whose unlockf forks is a timer in a heap that another
 * thread may have locked, which is not there in the child. */
static void fork_with_a_deadline(void *arg)
{
    for (int i = 0; i < 200; i++) {
        int64_t far = gmp_after_ns(SEC(3600));
        pid_t child = -1;
        int status;

        CHECK_OK(gmp_park_until(forking_unlockf, &child, NULL, far));
        if (child == 0)
            _exit(0);
        CHECK_EQ(waitpid(child, &status, 0), child);
        CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    }
}

static void fork_beside_busy_heaps(void)
{
    static atomic_bool over;
    pthread_t threads[3];

    for (int i = 0; i < 3; i++)
        CHECK_OK(pthread_create(&threads[i], NULL, starts_timers, &over));
    CHECK_OK(gmp_join(spawn(fork_with_a_deadline, NULL)));
    atomic_store(&over, true);
    for (int i = 0; i < 3; i++)
        CHECK_OK(pthread_join(threads[i], NULL));
}

static int forking_member(void *arg)
{
    pid_t child = fork();

    CHECK(child >= 0);
    if (child == 0)
        return 5;
    judge(child, 0, "e");
    return 0;
}

static void in_a_group(void)
{
    gmp_group *group = gmp_group_make();

    CHECK_OK(gmp_group_go(group, forking_member, NULL));
    CHECK_OK(gmp_group_wait(group));
    gmp_group_free(group);
}

static atomic_int timer_ran;

static void timer_function(void *arg)
{
    pid_t child;
    int none = 0;

    if (!atomic_compare_exchange_strong(&timer_ran, &none, 1))
        return;
    child = fork();
    CHECK(child >= 0);
    if (child == 0)
        return;
    judge(child, 0, "e");
    atomic_store(&timer_ran, 2);
}

static void in_a_timer(void)
{
    gmp_timer *timer = gmp_timer_start(0, MS(1), timer_function, NULL);

    AWAIT(atomic_load(&timer_ran) == 2);
    gmp_timer_free(timer);
}

int test_main(int argc, char **argv)
{
    gmp_g *others[OTHERS];
    gmp_timer *timer;

    parent = getpid();
    CHECK_OK(pipe2(told, O_NONBLOCK));
    CHECK_OK(atexit(at_end_of_process));
    chan = gmp_chan_make(sizeof(int), 0);
    key = gmp_key_create(destructor);
    timer = gmp_timer_start(US(100), US(100), tick, NULL);
    for (intptr_t i = 0; i < OTHERS; i++)
        others[i] = spawn(other, (void *)i);
    on_a_goroutine();
    in_place();
    on_a_host_thread();
    CHECK_OK(gmp_run_main(argc, argv, forking_main));
    for (intptr_t i = 0; i < 2; i++)
        CHECK_OK(gmp_join(spawn(fork_in_once, (void *)i)));
    CHECK_OK(gmp_join(spawn(fork_in_unlockf, NULL)));
    fork_beside_busy_heaps();
    in_a_group();
    in_a_timer();
    atomic_store(&stop, true);
    for (int i = 0; i < OTHERS; i++)
        CHECK_OK(gmp_join(others[i]));
    gmp_timer_free(timer);
    return 0;
}
