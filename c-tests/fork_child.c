/* In the child of a fork there is the goroutine that forked, and no other of
 * the parent's: it goes on there, everything works, it runs what it has put off
 * when it returns, and the process ends with status 0 when nothing is left. */
#include "test.h"

#include <fcntl.h>
#include <sys/wait.h>

enum { OTHERS = 8 };

static pid_t parent;
static int told[2];
static atomic_bool stop, is_held;
static gmp_mutex held = GMP_MUTEX_INIT, own = GMP_MUTEX_INIT;
static gmp_sema no_tokens = GMP_SEMA_INIT(0);
static gmp_chan *chan, *full;
static gmp_g *others[OTHERS];
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

/* The parent's goroutines that wait at what the children use. */
static void receives(void *arg)
{
    int x;

    CHECK_EQ(gmp_chan_recv(chan, &x), -EPIPE);
    at_home();
}

static void locks(void *arg)
{
    CHECK_OK(gmp_mutex_lock(&held));
    at_home();
    CHECK_OK(gmp_mutex_unlock(&held));
}

static void acquires(void *arg)
{
    CHECK_OK(gmp_sema_acquire(&no_tokens));
    at_home();
}

static void holds(void *arg)
{
    CHECK_OK(gmp_mutex_lock(&held));
    atomic_store(&is_held, true);
    AWAIT(atomic_load(&stop));
    CHECK_OK(gmp_mutex_unlock(&held));
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
    int result = gmp_exit();

    CHECK_EQ(result, -EPERM); /* on a host thread */
}

static void sum_up(void *arg)
{
    atomic_fetch_add((atomic_int *)arg, 1);
}

static int member(void *arg)
{
    sum_up(arg);
    return 0;
}

static void send_some(void *ch)
{
    for (int i = 0; i < 10; i++)
        CHECK_OK(gmp_chan_send(ch, &i));
    CHECK_OK(gmp_chan_close(ch));
}

/* As the parent has left them: two elements in the buffer, and goroutines of
 * the parent that wait at both ends of other channels. */
static void shared_objects(void)
{
    gmp_case c = {.ch = chan, .op = GMP_RECV};
    int x = 0;

    CHECK_EQ(gmp_chan_len(full), 2);
    CHECK_OK(gmp_chan_recv(full, &x));
    CHECK_EQ(x, 1);
    CHECK_OK(gmp_chan_recv(full, &x));
    CHECK_EQ(x, 2);
    CHECK_EQ(gmp_chan_try_recv(full, &x), -EAGAIN);
    CHECK_EQ(gmp_chan_try_send(chan, &x), -EAGAIN); /* nobody receives */
    c.elem = &x;
    CHECK_EQ(gmp_select_until(&c, 1, gmp_after_ns(MS(1))), -ETIMEDOUT);
    CHECK_EQ(gmp_mutex_lock_until(&held, gmp_after_ns(MS(1))), -ETIMEDOUT);
    CHECK_EQ(gmp_sema_acquire_until(&no_tokens, gmp_after_ns(1)), -ETIMEDOUT);
    CHECK_OK(gmp_sema_release(&no_tokens));
    CHECK_OK(gmp_sema_acquire(&no_tokens));
}

static void all_calls(void)
{
    gmp_group *group = gmp_group_make();
    gmp_waitgroup wg = GMP_WAITGROUP_INIT;
    gmp_once fresh = GMP_ONCE_INIT;
    gmp_rwmutex rw = GMP_RWMUTEX_INIT;
    gmp_cond cond = GMP_COND_INIT;
    gmp_chan *ch = gmp_chan_make(sizeof(int), 1);
    atomic_int n = 0;
    gmp_g *gs[30];
    gmp_timer *timer;
    int64_t when;
    int x, got = 0, p[2];
    char byte = 'x';

    CHECK_OK(gmp_wait_init());
    CHECK_OK(gmp_go(sum_up, &n));
    for (int i = 0; i < 30; i++)
        gs[i] = spawn(sum_up, &n);
    for (int i = 0; i < 30; i++)
        CHECK_OK(gmp_join(gs[i]));
    AWAIT(atomic_load(&n) == 31);
    gs[0] = spawn(send_some, ch);
    while (gmp_chan_recv(ch, &x) == 0)
        got += x;
    CHECK_EQ(got, 45);
    CHECK_OK(gmp_join(gs[0]));
    gmp_chan_unref(ch);
    shared_objects();
    CHECK_OK(gmp_mutex_lock(&own));
    CHECK_OK(gmp_mutex_unlock(&own));
    CHECK_OK(gmp_rwmutex_rlock(&rw));
    CHECK_OK(gmp_rwmutex_runlock(&rw));
    CHECK_OK(gmp_mutex_lock(&own));
    CHECK_EQ(gmp_cond_wait_until(&cond, &own, gmp_after_ns(MS(1))),
             -ETIMEDOUT);
    CHECK_OK(gmp_mutex_unlock(&own));
    CHECK_OK(gmp_waitgroup_add(&wg, 1));
    CHECK_OK(gmp_waitgroup_done(&wg));
    CHECK_OK(gmp_waitgroup_wait(&wg));
    CHECK_OK(gmp_group_go(group, member, &n));
    CHECK_OK(gmp_group_wait(group));
    gmp_group_free(group);
    CHECK_OK(gmp_once_do(&fresh, sum_up, &n));
    CHECK_EQ(atomic_load(&n), 33);
    ch = gmp_after(MS(2));
    CHECK_OK(gmp_chan_recv(ch, &when));
    gmp_chan_unref(ch);
    timer = gmp_timer_start(MS(1), 0, sum_up, &n);
    AWAIT(atomic_load(&n) == 34);
    gmp_timer_free(timer);
    CHECK_OK(pipe(p));
    gs[0] = spawn(sum_up, &n);
    CHECK_EQ(gmp_read_until(p[0], &byte, 1, gmp_after_ns(MS(2))), -ETIMEDOUT);
    CHECK_EQ(gmp_write(p[1], &byte, 1), 1);
    CHECK_EQ(gmp_read(p[0], &byte, 1), 1);
    CHECK_OK(gmp_join(gs[0]));
    CHECK_OK(gmp_close(p[0]));
    CHECK_OK(gmp_close(p[1]));
    CHECK_EQ(gmp_waitpid(-1, NULL, 0), -ECHILD);
    CHECK_EQ(gmp_join(others[0]), -EINVAL); /* not here */
    CHECK(gmp_set_maxprocs(3) > 0);
    CHECK_OK(gmp_lock_os_thread());
    CHECK_OK(gmp_sleep(US(10)));
    CHECK_OK(gmp_unlock_os_thread());
    gmp_key_delete(gmp_key_create(NULL));
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
    CHECK_OK(gmp_sleep(1));
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
        test_alarm(20);
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
            test_alarm(20);
            if (doings[i] == forks_again)
                exit(3);
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
        test_alarm(20);
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
    if (child > 0) {
        judge(child, 0, "e");
        return;
    }
    yields();
    all_calls();
    if ((intptr_t)arg)
        CHECK_OK(gmp_once_do(&o, forking_once, &child)); /* it has run */
}

static int forking_unlockf(gmp_g *g, void *arg)
{
    pid_t child = fork();

    CHECK(child >= 0);
    if (child == 0)
        test_alarm(20);
    *(pid_t *)arg = child;
    return child == 0; /* the child would park */
}

static void fork_in_unlockf(void *arg)
{
    pid_t child = -1;

    CHECK_OK(gmp_park(forking_unlockf, &child, NULL));
    if (child > 0) {
        judge(child, 0, "e");
    } else {
        yields();
        all_calls();
    }
}

static atomic_int summed;

/* The child's first call is in the unlockf. */
static int busy_unlockf(gmp_g *g, void *arg)
{
    int result = forking_unlockf(g, arg);

    if (result)
        CHECK_OK(gmp_go(sum_up, &summed));
    return result;
}

static void fork_and_go_in_unlockf(void *arg)
{
    pid_t child = -1;

    CHECK_OK(gmp_park(busy_unlockf, &child, NULL));
    if (child > 0)
        judge(child, 0, "e");
    else
        all_calls();
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

/* --- Forks at the ends of goroutines, and in the handler of a signal ------ */

static volatile pid_t late_child;

static void forks_late(void *arg)
{
    late_child = fork();
    CHECK(late_child >= 0);
    if (late_child == 0) {
        test_alarm(20);
        all_calls();
    }
}

static void defers(void *arg)
{
    CHECK_OK(gmp_defer(forks_late, NULL));
}

static void sets(void *arg)
{
    gmp_key *late = gmp_key_create(forks_late);

    CHECK_OK(gmp_setspecific(late, arg));
}

static void at_the_end(void)
{
    CHECK_OK(gmp_join_until(spawn(defers, NULL), gmp_after_ns(SEC(40))));
    judge(late_child, 0, "e");
    CHECK_OK(gmp_join_until(spawn(sets, told), gmp_after_ns(SEC(40))));
    judge(late_child, 0, "e");
}

/* In the middle of a call or not: the child may execute another program. */
static void forks_in_handler(int signo)
{
    int keep = errno;
    pid_t child = fork();

    if (child == 0) {
        execl("/bin/sh", "sh", "-c", "exit 4", (char *)NULL);
        _exit(1);
    }
    late_child = child < 0 ? -errno : child;
    errno = keep;
}

static void *raises(void *arg)
{
    pthread_t *target = arg;

    for (int i = 0; i < 50; i++) {
        int status;

        late_child = 0;
        CHECK_OK(pthread_kill(*target, SIGUSR2));
        while (late_child == 0)
            block_ns(US(50));
        CHECK_EQ(late_child < 0 ? late_child : 0, 0);
        CHECK_EQ(waitpid(late_child, &status, 0), late_child);
        CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 4);
    }
    return NULL;
}

static void in_a_handler(void)
{
    struct sigaction action = {.sa_handler = forks_in_handler};
    pthread_t me = pthread_self(), thread;
    gmp_chan *ch = gmp_chan_make(sizeof(int), 1);
    int x = 1;

    CHECK_OK(sigaction(SIGUSR2, &action, NULL));
    CHECK_OK(pthread_create(&thread, NULL, raises, &me));
    while (pthread_tryjoin_np(thread, NULL) != 0) {
        for (int i = 0; i < 1000; i++) {
            CHECK_OK(gmp_chan_send(ch, &x));
            CHECK_OK(gmp_chan_recv(ch, &x));
        }
        CHECK_OK(gmp_join(spawn(tick, NULL)));
    }
    gmp_chan_unref(ch);
}

int test_main(int argc, char **argv)
{
    gmp_g *waiters[3], *holder;
    gmp_timer *timer;

    parent = getpid();
    CHECK_OK(pipe2(told, O_NONBLOCK));
    CHECK_OK(atexit(at_end_of_process));
    chan = gmp_chan_make(sizeof(int), 0);
    full = gmp_chan_make(sizeof(int), 4);
    for (int i = 1; i <= 2; i++)
        CHECK_OK(gmp_chan_send(full, &i));
    holder = spawn(holds, NULL);
    AWAIT(atomic_load(&is_held));
    waiters[0] = spawn(receives, NULL);
    waiters[1] = spawn(locks, NULL);
    waiters[2] = spawn(acquires, NULL);
    CHECK_OK(gmp_sleep(MS(5)));
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
    CHECK_OK(gmp_join_until(spawn(fork_and_go_in_unlockf, NULL),
                            gmp_after_ns(SEC(40))));
    fork_beside_busy_heaps();
    in_a_group();
    in_a_timer();
    at_the_end();
    in_a_handler();
    atomic_store(&stop, true);
    for (int i = 0; i < OTHERS; i++)
        CHECK_OK(gmp_join(others[i]));
    CHECK_OK(gmp_join(holder));
    CHECK_OK(gmp_chan_close(chan));
    CHECK_OK(gmp_sema_release(&no_tokens));
    for (int i = 0; i < 3; i++)
        CHECK_OK(gmp_join(waiters[i]));
    gmp_timer_free(timer);
    return 0;
}
