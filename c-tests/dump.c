/* Dumps its goroutines to stdout. Usage: dump CASE FLAGS.
 *
 *   leak       a thousand that wait for ever, each on a channel of its own
 *   kinds      one of each kind: see below
 *   storm      a leak, while others are made, wait and end; and then says on
 *              stderr how many it has made meanwhile
 *   errors     what gmp_dump refuses
 *   signal     waits for signals that dump */
#include "test.h"

#include <fcntl.h>
#include <sys/mman.h>

enum { LEAKED = 1000 };

static atomic_long churned;
static atomic_int stop;
static gmp_mutex mutex = GMP_MUTEX_INIT;
static atomic_int blocked;

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
        void *ch = gmp_chan_make(sizeof(int), 0);

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
        all = strstr(text, "1000 goroutines [chan receive] \"leaker\"") != NULL;
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
    } else if (strcmp(which, "errors") == 0) {
        errors();
    } else {
        leak();
        await_leak();
        puts("ready");
        fflush(stdout);
        getchar();
    }
    return 0;
}
