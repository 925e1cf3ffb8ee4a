/* What the C library has to start processes by, called on goroutines and host
 * threads, while goroutines run and timers fire: system, popen, posix_spawn,
 * vfork and exec, fork and exec, daemon. Each does what it does in a program
 * without the library, a child has the signals that it would have there, and a
 * daemon uses the library. */
#include "test.h"

#include <spawn.h>
#include <sys/wait.h>

enum { ROUNDS = 3, GOROUTINES = 4, THREADS = 2, BUSY = 8 };

extern char **environ;

static pid_t parent;
static atomic_bool stop;
static atomic_long ticks, turns;
static gmp_chan *pairs[BUSY];
static char signals_of_child[256]; /* before the first call */

/* --- What goes on meanwhile ----------------------------------------------- */

static void at_home(void)
{
    if (getpid() != parent) {
        static const char text[] = "a goroutine of the parent runs here\n";

        (void)!write(2, text, sizeof text - 1);
        _exit(50);
    }
}

static void sends(void *arg)
{
    while (!atomic_load(&stop)) {
        at_home();
        CHECK_OK(gmp_chan_send(arg, &(int){1}));
    }
    CHECK_OK(gmp_chan_close(arg));
}

static void receives(void *arg)
{
    int x;

    while (gmp_chan_recv(arg, &x) == 0) {
        at_home();
        atomic_fetch_add(&turns, 1);
        if (atomic_load(&turns) % 64 == 0)
            CHECK_OK(gmp_sleep(US(20)));
    }
}

static void tick(void *arg)
{
    at_home();
    atomic_fetch_add(&ticks, 1);
}

/* --- What a daemon does --------------------------------------------------- */

static void count(void *arg)
{
    CHECK_OK(gmp_sleep(US(50)));
    atomic_fetch_add((atomic_int *)arg, 1);
}

static void use_library(void)
{
    atomic_int n = 0;
    gmp_g *made[10];
    gmp_chan *after;
    int64_t when;

    if (test_child_may_hang())
        return;
    after = gmp_after(MS(1));
    for (int i = 0; i < 10; i++)
        made[i] = spawn(count, &n);
    for (int i = 0; i < 10; i++)
        CHECK_OK(gmp_join(made[i]));
    CHECK_EQ(atomic_load(&n), 10);
    CHECK_OK(gmp_chan_recv(after, &when));
    gmp_chan_unref(after);
}

/* --- The ways ------------------------------------------------------------- */

static void ended_with(int status, int code)
{
    CHECK(WIFEXITED(status));
    CHECK_EQ(WEXITSTATUS(status), code);
}

static void reap(pid_t child, int code)
{
    int status;

    CHECK_EQ(gmp_waitpid(child, &status, 0), child);
    ended_with(status, code);
}

static void by_system(int round)
{
    ended_with(system("exit 3"), 3);
}

/* The signals that a child blocks. (The ones that it ignores are the caller's
 * too, but system changes them while it waits.) */
static void ask_signals(char *text, int size)
{
    FILE *pipe = popen("grep ^SigBlk /proc/self/status", "r");

    CHECK(pipe != NULL);
    text[fread(text, 1, (size_t)size - 1, pipe)] = '\0';
    ended_with(pclose(pipe), 0);
    CHECK(strstr(text, "SigBlk") != NULL);
}

static void by_popen(int round)
{
    char text[sizeof signals_of_child];

    ask_signals(text, sizeof text);
    if (strcmp(text, signals_of_child) != 0) {
        fprintf(stderr, "a child has %snot %s", text, signals_of_child);
        _exit(1);
    }
}

static void by_posix_spawn(int round)
{
    char *argv[] = {"sh", "-c", "echo spawned >&7; exit 5", NULL};
    posix_spawn_file_actions_t actions;
    char text[16] = "";
    int ends[2];
    pid_t child;

    CHECK_OK(pipe(ends));
    CHECK_OK(posix_spawn_file_actions_init(&actions));
    CHECK_OK(posix_spawn_file_actions_adddup2(&actions, ends[1], 7));
    CHECK_OK(posix_spawn(&child, "/bin/sh", &actions, NULL, argv, environ));
    CHECK_OK(posix_spawn_file_actions_destroy(&actions));
    CHECK_EQ(gmp_read_full(ends[0], text, 8), 8);
    CHECK_OK(strcmp(text, "spawned\n"));
    reap(child, 5);
    CHECK_OK(gmp_close(ends[0]));
    CHECK_OK(gmp_close(ends[1]));
}

static void by_vfork(int round)
{
    pid_t child = vfork();

    CHECK(child >= 0);
    if (child == 0) {
        execl("/bin/sh", "sh", "-c", "exit 6", (char *)NULL);
        _exit(1);
    }
    reap(child, 6);
}

static void by_fork(int round)
{
    pid_t child = fork();

    CHECK(child >= 0);
    if (child == 0) {
        execl("/bin/sh", "sh", "-c", "exit 7", (char *)NULL);
        _exit(1);
    }
    reap(child, 7);
}

/* In a child, which daemon ends: its child is the daemon. */
static void become_daemon(int end, int round)
{
    test_alarm(20);
    if (round % 2)
        use_library();
    CHECK_OK(daemon(round / 2 % 2, 1));
    test_alarm(20);
    CHECK_EQ(getsid(0), getpgrp());
    CHECK(getppid() != parent);
    use_library();
    CHECK_EQ(write(end, "well", 4), 4);
    _exit(0);
}

static void by_daemon(int round)
{
    char text[8] = "";
    pid_t child;
    int ends[2];

    CHECK_OK(pipe(ends));
    child = fork();
    CHECK(child >= 0);
    if (child == 0)
        become_daemon(ends[1], round);
    CHECK_OK(gmp_close(ends[1]));
    reap(child, 0);
    CHECK_EQ(gmp_read_full(ends[0], text, 4), 4);
    CHECK_OK(strcmp(text, "well"));
    CHECK_OK(gmp_close(ends[0]));
}

static void (*const ways[])(int) = {
    by_system, by_popen, by_posix_spawn, by_vfork, by_fork, by_daemon,
};

enum { WAYS = sizeof ways / sizeof *ways };

static void all_ways(void *first)
{
    for (int i = 0; i < ROUNDS * WAYS; i++)
        ways[(i + (int)(intptr_t)first) % WAYS](i / WAYS);
}

/* Some on threads of their own. */
static void on_a_goroutine(void *first)
{
    if ((intptr_t)first % 2)
        CHECK_OK(gmp_lock_os_thread());
    all_ways(first);
}

static void *on_a_thread(void *first)
{
    all_ways(first);
    return NULL;
}

int test_main(int argc, char **argv)
{
    gmp_g *busy[2 * BUSY], *goroutines[GOROUTINES];
    pthread_t threads[THREADS];
    gmp_timer *timer;

    parent = getpid();
    ask_signals(signals_of_child, sizeof signals_of_child);
    for (int i = 0; i < BUSY; i++) {
        pairs[i] = gmp_chan_make(sizeof(int), (size_t)i % 3);
        busy[2 * i] = spawn(sends, pairs[i]);
        busy[2 * i + 1] = spawn(receives, pairs[i]);
    }
    timer = gmp_timer_start(US(200), US(200), tick, NULL);
    for (intptr_t i = 0; i < GOROUTINES; i++)
        goroutines[i] = spawn(on_a_goroutine, (void *)i);
    for (intptr_t i = 0; i < THREADS; i++)
        CHECK_OK(pthread_create(&threads[i], NULL, on_a_thread, (void *)i));
    all_ways(NULL);
    for (int i = 0; i < GOROUTINES; i++)
        CHECK_OK(gmp_join(goroutines[i]));
    for (int i = 0; i < THREADS; i++)
        CHECK_OK(pthread_join(threads[i], NULL));
    /* All goes on. */
    for (long n = atomic_load(&ticks), m = atomic_load(&turns);;) {
        CHECK_OK(gmp_sleep(US(100)));
        if (atomic_load(&ticks) > n && atomic_load(&turns) > m)
            break;
    }
    atomic_store(&stop, true);
    for (int i = 0; i < 2 * BUSY; i++)
        CHECK_OK(gmp_join(busy[i]));
    for (int i = 0; i < BUSY; i++)
        gmp_chan_unref(pairs[i]);
    gmp_timer_free(timer);
    return 0;
}
