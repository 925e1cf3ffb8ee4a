/* Dumps its goroutines to stdout. Usage: dump CASE FLAGS.
 *
 *   leak       a thousand that wait for ever, each on a channel of its own
 *   kinds      one of each kind: see below
 *   storm      a leak, while others are made, wait and end; and then says on
 *              stderr how many it has made meanwhile
 *   calls      goroutines named after the function of gmp.h that each is in,
 *              dumped forty times
 *   churn      a leak, while ten thousand others yield, end and are made
 *   spin       goroutines that compute on other threads: one plain, one deep
 *              in calls, one with SIGURG blocked
 *   urgent     the same, with a handler of the program's for SIGURG
 *   company    hundreds of dumps, while goroutines compute, wait in system
 *              calls, fork, and end with their threads
 *   errors     what gmp_dump refuses
 *   signal     waits for signals that dump
 *   leaked     the same, with a leak in the collected heap
 *   unsearched a dump that finds the same leak, and, as a thread does not stop
 *              for it, one that searches for none; with GMP_GC_SIGNAL=0
 *   ends       signals that dump come while the runtime ends, a few times; with
 *              GMPDEBUG=dumpsignal=QUIT */
#include "test.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/select.h>
#include <sys/wait.h>

enum { LEAKED = 1000 };

static atomic_long churned;
static atomic_int stop;
static gmp_mutex mutex = GMP_MUTEX_INIT;
static atomic_int blocked;

static gmp_chan *(*make_chan)(size_t, size_t) = gmp_chan_make;

__attribute__((noinline)) static void wait_forever(void *ch)
{
    int value;

    gmp_chan_recv(ch, &value); /* waits here */
    __asm__ volatile("");
}

static void leak(void)
{
    gmp_attr attr = GMP_ATTR_INIT;

    attr.name = "leaker";
    for (int i = 0; i < LEAKED; i++) {
        void *ch = make_chan(sizeof(int), 0);

        CHECK_OK(gmp_go_with(&attr, wait_forever, ch, NULL)); /* starts here */
    }
}

/* Until a dump says that all of them wait. */
static void await_leak(void)
{
    static char text[1 << 16];
    bool all = false;

    while (!all) {
        int fd = memfd_create("dump", 0);
        ssize_t n;

        CHECK(fd >= 0);
        CHECK_OK(gmp_dump(fd, 0));
        n = pread(fd, text, sizeof text - 1, 0);
        CHECK(n > 0);
        text[n] = '\0';
        close(fd);
        all = strstr(text, "1000 waiting") != NULL;
        CHECK_OK(gmp_sleep(MS(1)));
    }
}

static void dump(int flags)
{
    CHECK_OK(gmp_dump(1, (uint32_t)flags));
}

__attribute__((noinline)) static void want_mutex(void *arg)
{
    (void)arg;
    gmp_mutex_lock(&mutex);
    __asm__ volatile("");
    gmp_mutex_unlock(&mutex);
}

/* Waits for a channel that has a name. */
__attribute__((noinline)) static void want_line(void *ch)
{
    char *line;

    gmp_chan_recv(ch, &line);
    __asm__ volatile("");
}

static gmp_chan *named(void)
{
    gmp_chan_attr attr = GMP_CHAN_ATTR_INIT;
    gmp_chan *ch;

    attr.elem_size = sizeof(char *);
    attr.capacity = 3;
    attr.name = "lines \"in\"";
    CHECK((ch = gmp_chan_make_with(&attr)) != NULL);
    return ch;
}

static void nap_in_c(void *arg)
{
    (void)arg;
    atomic_store(&blocked, 1);
    while (!atomic_load(&stop))
        usleep(1000);
}

static void *want_on_thread(void *arg)
{
    want_mutex(arg);
    return NULL;
}

/* A goroutine that dumps, on its own small stack. */
static void dump_here(void *flags)
{
    dump((int)(intptr_t)flags);
}

static void kinds(int flags)
{
    gmp_attr odd = GMP_ATTR_INIT, dumper = GMP_ATTR_INIT;
    pthread_t thread;
    gmp_chan *lines = named();
    gmp_g *g, *napping, *reading;

    odd.name = "odd \"name\"\n\xff";
    dumper.name = "dumper";
    dumper.stack_size = 65536;
    CHECK_OK(gmp_mutex_lock(&mutex));
    CHECK_OK(gmp_go_with(&odd, want_mutex, NULL, NULL));
    CHECK_OK(gmp_go_with(NULL, want_line, lines, &reading));
    CHECK_OK(gmp_go_with(NULL, nap_in_c, NULL, &napping));
    CHECK_EQ(pthread_create(&thread, NULL, want_on_thread, NULL), 0);
    AWAIT(atomic_load(&blocked));
    CHECK_OK(gmp_sleep(MS(100)));
    CHECK_OK(gmp_go_with(&dumper, dump_here, (void *)(intptr_t)flags, &g));
    CHECK_OK(gmp_join(g));
    atomic_store(&stop, 1);
    CHECK_OK(gmp_join(napping));
    CHECK_OK(gmp_chan_close(lines));
    CHECK_OK(gmp_join(reading));
    gmp_chan_unref(lines);
    CHECK_OK(gmp_mutex_unlock(&mutex));
    CHECK_EQ(pthread_join(thread, NULL), 0);
}

static void brief(void *arg)
{
    (void)arg;
    gmp_yield();
    atomic_fetch_add(&churned, 1);
}

static void churn(void *arg)
{
    (void)arg;
    while (!atomic_load(&stop)) {
        for (int i = 0; i < 100; i++)
            CHECK_OK(gmp_go(brief, NULL));
        gmp_sleep(MS(1));
    }
}

static void storm(int flags)
{
    gmp_g *churns[4];
    long before;

    leak();
    await_leak();
    for (int i = 0; i < 4; i++)
        CHECK_OK(gmp_go_with(NULL, churn, NULL, &churns[i]));
    AWAIT(atomic_load(&churned) > 1000);
    before = atomic_load(&churned);
    for (int i = 0; i < 20; i++)
        dump(flags);
    fprintf(stderr, "%ld\n", atomic_load(&churned) - before);
    atomic_store(&stop, 1);
    for (int i = 0; i < 4; i++)
        CHECK_OK(gmp_join(churns[i]));
}

/* Goroutines that call one function again and again, or wait in it. */
#define IN(name, call)                                       \
    __attribute__((noinline)) static void in_##name(void *arg) \
    {                                                        \
        (void)arg;                                           \
        while (!atomic_load(&stop)) {                        \
            (void)(call);                                    \
            __asm__ volatile("");                            \
        }                                                    \
    }

static gmp_chan *silent, *lively;
static gmp_once once = GMP_ONCE_INIT;
static gmp_g *sleeper;
static int silent_pipe[2];

static gmp_case *receive(gmp_chan *from)
{
    static int value;
    static gmp_case both[2];

    both[0] = both[1] = (gmp_case){from, &value, GMP_RECV, 0};
    return both;
}

static void wait_here(void *arg)
{
    (void)arg;
    gmp_chan_recv(silent, NULL);
}

static int64_t later(void)
{
    return gmp_now() + MS(1000000);
}

IN(gmp_yield, (gmp_yield(), 0))
IN(gmp_sleep, gmp_sleep(MS(1)))
IN(gmp_sleep_until, gmp_sleep_until(gmp_now() + US(50)))
IN(gmp_chan_send, gmp_chan_send(lively, NULL))
IN(gmp_chan_recv, gmp_chan_recv(lively, NULL))
IN(gmp_chan_recv_until, gmp_chan_recv_until(silent, NULL, later()))
IN(gmp_select, gmp_select(receive(silent), 2))
IN(gmp_select_until, gmp_select_until(receive(silent), 2, later()))
IN(gmp_mutex_lock, gmp_mutex_lock(&mutex))
IN(gmp_once_do, gmp_once_do(&once, wait_here, NULL))
IN(gmp_join, gmp_join(sleeper))
IN(gmp_park, gmp_park(NULL, NULL, "test"))
IN(gmp_read, gmp_read(silent_pipe[0], &stop, 1))

static void start(const char *name, gmp_fn fn)
{
    gmp_attr attr = GMP_ATTR_INIT;

    attr.name = name;
    CHECK_OK(gmp_go_with(&attr, fn, NULL, NULL));
}

static void calls(int flags)
{
    static const struct {
        const char *name;
        gmp_fn fn;
    } all[] = {
#define ONE(name) {#name, in_##name}
        ONE(gmp_yield), ONE(gmp_yield), ONE(gmp_yield), ONE(gmp_yield),
        ONE(gmp_sleep), ONE(gmp_sleep_until), ONE(gmp_chan_send),
        ONE(gmp_chan_recv), ONE(gmp_chan_recv_until), ONE(gmp_select),
        ONE(gmp_select_until), ONE(gmp_mutex_lock), ONE(gmp_once_do),
        ONE(gmp_join), ONE(gmp_park), ONE(gmp_read),
#undef ONE
    };

    silent = gmp_chan_make(0, 0);
    lively = gmp_chan_make(0, 1);
    CHECK_EQ(pipe(silent_pipe), 0);
    CHECK_OK(gmp_mutex_lock(&mutex));
    CHECK_OK(gmp_go_with(NULL, wait_here, NULL, &sleeper));
    start("gmp_chan_recv", wait_here);
    /* The first one has the once, and the second one waits for it. */
    start("first", in_gmp_once_do);
    CHECK_OK(gmp_sleep(MS(20)));
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        start(all[i].name, all[i].fn);
    for (int i = 0; i < 40; i++) {
        CHECK_OK(gmp_sleep(US(300)));
        dump(flags);
    }
}

static void yields(void *arg)
{
    gmp_yield();
    gmp_yield();
    atomic_fetch_add(&churned, 1);
    if (!atomic_load(&stop))
        CHECK_OK(gmp_go(yields, arg));
}

static void churn_and_leak(int flags)
{
    leak();
    await_leak();
    for (int i = 0; i < 10000; i++)
        CHECK_OK(gmp_go(yields, NULL));
    AWAIT(atomic_load(&churned) > 20000);
    dump(flags);
    atomic_store(&stop, 1);
}

static atomic_int spinning, urged;

__attribute__((noinline)) static void spin_here(void *arg)
{
    (void)arg;
    atomic_fetch_add(&spinning, 1);
    while (!atomic_load(&stop)) /* spins here */
        ;
    __asm__ volatile("");
}

__attribute__((noinline)) static void deeper(int left)
{
    if (left == 0)
        spin_here(NULL);
    else
        deeper(left - 1); /* one of forty */
    __asm__ volatile("");
}

static void spin_deep(void *arg)
{
    (void)arg;
    deeper(40);
    __asm__ volatile("");
}

static void spin_blocked(void *arg)
{
    sigset_t urgent;

    sigemptyset(&urgent);
    sigaddset(&urgent, SIGURG);
    CHECK_EQ(pthread_sigmask(SIG_BLOCK, &urgent, NULL), 0);
    spin_here(arg);
    CHECK_EQ(pthread_sigmask(SIG_UNBLOCK, &urgent, NULL), 0);
}

static void on_urgent(int signo)
{
    (void)signo;
    atomic_fetch_add(&urged, 1);
}

static void *action_of_urgent(void)
{
    struct sigaction now;

    CHECK_EQ(sigaction(SIGURG, NULL, &now), 0);
    return (void *)now.sa_handler;
}

static void spin(int flags, bool handled)
{
    gmp_attr attr = GMP_ATTR_INIT;
    gmp_g *all[3];

    if (handled)
        signal(SIGURG, on_urgent);
    attr.name = "plain";
    CHECK_OK(gmp_go_with(&attr, spin_here, NULL, &all[0]));
    attr.name = "deep";
    CHECK_OK(gmp_go_with(&attr, spin_deep, NULL, &all[1]));
    attr.name = "blocked";
    CHECK_OK(gmp_go_with(&attr, spin_blocked, NULL, &all[2]));
    AWAIT(atomic_load(&spinning) == 3);
    dump(flags);
    CHECK_EQ(action_of_urgent(), handled ? (void *)on_urgent : NULL);
    atomic_store(&stop, 1);
    for (int i = 0; i < 3; i++)
        CHECK_OK(gmp_join(all[i]));
    CHECK_EQ(atomic_load(&urged), 0);
}

static int own_pipe[2];

static void compute(void *arg)
{
    (void)arg;
    while (!atomic_load(&stop))
        for (volatile int i = 0; i < 10000; i++)
            ;
}

/* System calls that a signal may interrupt, between short computations. */
static void call_system(void *arg)
{
    struct pollfd one = {own_pipe[0], POLLIN, 0};
    struct timespec brief = {0, 20000};
    char byte;

    (void)arg;
    while (!atomic_load(&stop)) {
        for (volatile int i = 0; i < 3000; i++)
            ;
        CHECK_EQ(poll(&one, 1, 1), 0);
        CHECK_EQ(nanosleep(&brief, NULL), 0);
        CHECK_EQ(select(0, NULL, NULL, NULL, &(struct timeval){0, 100}), 0);
        CHECK_EQ(usleep(10), 0);
        CHECK_EQ(read(-1, &byte, 1), -1);
        CHECK_EQ(errno, EBADF);
        atomic_fetch_add(&churned, 1);
    }
}

static void fork_and_wait(void *arg)
{
    (void)arg;
    while (!atomic_load(&stop)) {
        int status;
        pid_t child = fork();

        CHECK(child >= 0);
        if (child == 0)
            _exit(7);
        CHECK_EQ(waitpid(child, &status, 0), child);
        CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 7);
        gmp_sleep(MS(2));
    }
}

static void end_with_thread(void *arg)
{
    (void)arg;
    CHECK_OK(gmp_lock_os_thread());
    for (volatile int i = 0; i < 100000; i++)
        ;
    atomic_fetch_add(&blocked, 1);
}

static void company(int flags)
{
    gmp_fn all[] = {compute, call_system, call_system, fork_and_wait};
    enum { N = sizeof all / sizeof *all };
    gmp_g *g[N];
    int null = open("/dev/null", O_WRONLY);

    CHECK_EQ(pipe(own_pipe), 0);
    for (int i = 0; i < N; i++)
        CHECK_OK(gmp_go_with(NULL, all[i], NULL, &g[i]));
    for (int i = 0; i < 300; i++) {
        if (i % 10 == 0)
            CHECK_OK(gmp_go(end_with_thread, NULL));
        CHECK_OK(gmp_dump(null, (uint32_t)flags));
    }
    AWAIT(atomic_load(&blocked) == 30);
    atomic_store(&stop, 1);
    for (int i = 0; i < N; i++)
        CHECK_OK(gmp_join(g[i]));
    printf("%ld\n", atomic_load(&churned));
}

static void *spin_on_thread(void *arg)
{
    CHECK_OK(gmp_gc_attach());
    spin_here(arg);
    return NULL;
}

static void unsearched(void)
{
    pthread_t thread;

    make_chan = gmp_gc_chan_make;
    leak();
    await_leak();
    dump(0);
    CHECK_EQ(pthread_create(&thread, NULL, spin_on_thread, NULL), 0);
    AWAIT(atomic_load(&spinning) == 1);
    puts("and now");
    fflush(stdout);
    dump(0);
    dump(GMP_DUMP_EACH);
    atomic_store(&stop, 1);
    CHECK_EQ(pthread_join(thread, NULL), 0);
}

static void *ask_for_dumps(void *arg)
{
    while (!atomic_load(&stop)) {
        CHECK_EQ(kill(getpid(), SIGQUIT), 0);
        usleep(300);
    }
    return arg;
}

static void wait_in_vain(void *ch)
{
    gmp_chan_recv(ch, NULL);
}

static void ends(void)
{
    /* The handler of the library calls this one, and once it has gone the
     * signals are the program's. */
    for (int i = 0; i < 20; i++) {
        pthread_t thread;

        atomic_store(&stop, 0);
        for (int n = 0; n < 3; n++)
            CHECK_OK(gmp_go(wait_in_vain, gmp_gc_chan_make(0, 0)));
        CHECK_EQ(pthread_create(&thread, NULL, ask_for_dumps, NULL), 0);
        usleep(5000);
        CHECK_OK(gmp_shutdown(gmp_after_ns(SEC(20))));
        atomic_store(&stop, 1);
        CHECK_EQ(pthread_join(thread, NULL), 0);
    }
}

static void errors(void)
{
    int ends[2], full = open("/dev/full", O_WRONLY);

    CHECK_EQ(gmp_dump(1, 1u << 31), -EINVAL);
    CHECK_EQ(gmp_dump(-1, 0), -EBADF);
    CHECK_EQ(gmp_dump(full, 0), -ENOSPC);
    /* Without a SIGPIPE, which would end this. */
    CHECK_EQ(pipe(ends), 0);
    close(ends[0]);
    CHECK_EQ(gmp_dump(ends[1], 0), -EPIPE);
    errno = 77;
    CHECK_EQ(gmp_dump(-1, 0), -EBADF);
    CHECK_EQ(errno, 77);
}

static void on_signal(int signo)
{
    static const char text[] = "the host's handler\n";

    (void)signo;
    (void)!write(2, text, sizeof text - 1);
}

__attribute__((unused)) static void install(int argc, char **argv, char **envp)
{
    (void)argc;
    (void)argv;
    for (; *envp; envp++)
        if (strcmp(*envp, "WITH_HANDLER=1") == 0)
            signal(SIGQUIT, on_signal);
}

#ifndef TEST_PLUGIN
/* Before the constructor of a library. */
__attribute__((section(".preinit_array"), used))
static void (*first)(int, char **, char **) = install;
#endif

int test_main(int argc, char **argv)
{
    const char *which = argc > 1 ? argv[1] : "";
    int flags = argc > 2 ? atoi(argv[2]) : 0;

    if (strcmp(which, "leak") == 0) {
        leak();
        await_leak();
        dump(flags);
    } else if (strcmp(which, "kinds") == 0) {
        kinds(flags);
    } else if (strcmp(which, "storm") == 0) {
        storm(flags);
    } else if (strcmp(which, "calls") == 0) {
        calls(flags);
    } else if (strcmp(which, "churn") == 0) {
        churn_and_leak(flags);
    } else if (strcmp(which, "spin") == 0) {
        spin(flags, false);
    } else if (strcmp(which, "urgent") == 0) {
        spin(flags, true);
    } else if (strcmp(which, "company") == 0) {
        company(flags);
    } else if (strcmp(which, "unsearched") == 0) {
        unsearched();
    } else if (strcmp(which, "ends") == 0) {
        ends();
    } else if (strcmp(which, "errors") == 0) {
        errors();
    } else {
        if (strcmp(which, "leaked") == 0)
            make_chan = gmp_gc_chan_make;
        leak();
        await_leak();
        puts("ready");
        fflush(stdout);
        getchar();
    }
    return 0;
}
