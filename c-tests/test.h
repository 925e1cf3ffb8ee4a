/* Shared by all C tests: checks that print the values, a watchdog, and short
 * names for common steps.
 *
 * A subject includes this header and defines test_main. It is built three
 * times: as a program linked with the shared library, as one linked with the
 * static library, and, with TEST_PLUGIN, as a plugin that host.c loads. All
 * three come in through test_entry.
 *
 * The watchdog is an alarm and not a thread, so that a test may count threads.
 */
#ifndef GMPRT_TEST_H
#define GMPRT_TEST_H

#ifndef TEST_HEADER_INCLUDED
#include <gmp.h>
#endif

#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#ifndef __cplusplus
#include <stdatomic.h>
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* The subject. argv[0] names the program or the plugin. */
int test_main(int argc, char **argv);

/* Called by main and by host.c: arms the watchdog, then runs the subject. */
int test_entry(int argc, char **argv);

#ifdef __cplusplus
}
#endif

#define US(n) ((int64_t)(n) * 1000)
#define MS(n) ((int64_t)(n) * 1000000)
#define SEC(n) ((int64_t)(n) * 1000000000)

/* Ends the process with status 1 unless cond holds. */
#define CHECK(cond) \
    ((cond) ? (void)0 : test_fail(__FILE__, __LINE__, #cond))

/* Ends the process with status 1 unless two integers or pointers are equal. */
#define CHECK_EQ(got, want)                                         \
    test_equal(__FILE__, __LINE__, #got " == " #want,               \
               (long long)(intptr_t)(got), (long long)(intptr_t)(want))

/* Ends the process with status 1 unless a call returns 0. */
#define CHECK_OK(call) CHECK_EQ(call, 0)

/* Waits until cond holds, on a goroutine or a host thread. If it never does,
 * the watchdog ends the test. */
#define AWAIT(cond)              \
    do {                         \
        while (!(cond))          \
            gmp_sleep(US(200));  \
    } while (0)

static inline void test_fail(const char *file, int line, const char *what)
{
    fflush(stdout);
    fprintf(stderr, "%s:%d: failed: %s\n", file, line, what);
    _exit(1);
}

static inline void test_equal(const char *file, int line, const char *what,
                              long long got, long long want)
{
    if (got == want)
        return;
    fflush(stdout);
    fprintf(stderr, "%s:%d: failed: %s: got %lld", file, line, what, got);
    if (got < 0 && got > -200)
        fprintf(stderr, " (%s)", strerror((int)-got));
    fprintf(stderr, ", want %lld", want);
    if (want < 0 && want > -200)
        fprintf(stderr, " (%s)", strerror((int)-want));
    fprintf(stderr, "\n");
    _exit(1);
}

/* The group of processes that the test began in. */
static pid_t test_group;

static inline void test_timed_out(int signo)
{
    static const char text[] = "watchdog: the test hangs\n";
    ssize_t written = write(2, text, sizeof text - 1);
    const char *watcher = getenv("GMPRT_WATCHED");

    (void)signo;
    (void)written;
    /* tests/common sees that its child has stopped, which leads the group,
     * looks where all stands, and kills the group. A daemon is out of its
     * reach. */
    if (watcher && getpgrp() == test_group &&
        getsid(0) == getsid(atoi(watcher)) && kill(test_group, SIGSTOP) == 0)
        for (;;)
            pause();
    abort();
}

/* Reports that a part of the test cannot run here, and why. Such a test counts
 * as skipped, not as passed. */
static inline void test_skip(const char *part, const char *why)
{
    printf("skipped: %s: %s\n", part, why);
    fflush(stdout);
}

/* An integer from the environment, or otherwise. */
static inline long test_env(const char *name, long otherwise)
{
    const char *value = getenv(name);

    return value && *value ? strtol(value, NULL, 0) : otherwise;
}

/* Whether the test runs under a sanitizer or valgrind, which tests/sanitize.rs
 * names in GMPRT_TOOL: "asan", "lsan", "tsan" or "valgrind"; NULL stands for
 * any. A tool has threads, memory and handlers of its own, and it is slow. */
static inline bool test_under(const char *tool)
{
    const char *name = getenv("GMPRT_TOOL");

    return name && (!tool || strcmp(name, tool) == 0);
}

/* Whether a child of a fork may wait for ever as it starts a thread or
 * allocates: the sanitizers' allocators stay locked there if another thread has
 * held a lock (LLVM before 17). */
static inline bool test_child_may_hang(void)
{
    return test_under("asan") || test_under("lsan") || test_under("tsan");
}

/* How often to do what is done n times without a tool. */
static inline int test_times(int n)
{
    return test_under(NULL) ? (n + 9) / 10 : n;
}

/* Ends the process by SIGALRM after this many seconds from now, ten times as
 * many under a tool. A child that was forked needs one of its own: alarms are
 * not inherited. */
static inline void test_alarm(unsigned seconds)
{
    alarm(test_under(NULL) ? 10 * seconds : seconds);
}

/* The same, and says why the process ends. */
static inline void test_watchdog(unsigned seconds)
{
    struct sigaction action;

    test_group = getpgrp();
    memset(&action, 0, sizeof action);
    action.sa_handler = test_timed_out;
    action.sa_flags = SA_ONSTACK;
    sigaction(SIGALRM, &action, NULL);
    test_alarm(seconds);
}

/* Starts fn(arg) as a goroutine that must be joined. */
static inline gmp_g *spawn(gmp_fn fn, void *arg)
{
    gmp_attr attr = GMP_ATTR_INIT;
    gmp_g *g = NULL;

    CHECK_OK(gmp_go_with(&attr, fn, arg, &g));
    CHECK(g != NULL);
    return g;
}

/* Blocks the calling thread as any C function may, unseen by the library. */
static inline void block_ns(int64_t ns)
{
    struct timespec left;

    left.tv_sec = (time_t)(ns / SEC(1));
    left.tv_nsec = (long)(ns % SEC(1));
    while (nanosleep(&left, &left) != 0 && errno == EINTR)
        continue;
}

/* Keeps the calling thread busy without a call into the library. */
static inline void spin_ns(int64_t ns)
{
    struct timespec now, start;

    clock_gettime(CLOCK_MONOTONIC, &start);
    do
        clock_gettime(CLOCK_MONOTONIC, &now);
    while (SEC(now.tv_sec - start.tv_sec) + now.tv_nsec - start.tv_nsec < ns);
}

static inline long thread_id(void)
{
    return syscall(SYS_gettid);
}

/* Waits until a thread, or another process, sleeps in the kernel, and not for a
 * moment only. */
static inline void await_sleep(long tid)
{
    char path[64], text[256];
    FILE *file;

    snprintf(path, sizeof path, "/proc/%ld/stat", tid);
    for (int seen = 0; seen < 5; block_ns(MS(1))) {
        file = fopen(path, "r");
        CHECK(file != NULL);
        CHECK(fgets(text, sizeof text, file) != NULL);
        fclose(file);
        seen = strstr(text, ") S ") ? seen + 1 : 0;
    }
}

static inline int count_entries(const char *path)
{
    DIR *dir = opendir(path);
    struct dirent *entry;
    int n = 0;

    CHECK(dir != NULL);
    while ((entry = readdir(dir)) != NULL)
        n += entry->d_name[0] != '.';
    closedir(dir);
    return n;
}

/* Waits until a thread is gone for the kernel too: one that has been joined is
 * counted for a moment yet. */
static inline void await_gone(long tid)
{
    while (syscall(SYS_tgkill, getpid(), tid, 0) == 0)
        block_ns(US(100));
}

/* How many threads the process has. */
static inline int count_threads(void)
{
    return count_entries("/proc/self/task");
}

/* How many of them are a tool's; the child of a fork may have fewer. */
static inline int threads_of_tool(void)
{
    return test_under("tsan");
}

/* How many lines a file of /proc has: the mappings, for "maps". */
static inline long count_lines(const char *path)
{
    FILE *file = fopen(path, "r");
    long n = 0;
    int c;

    CHECK(file != NULL);
    while ((c = fgetc(file)) != EOF)
        n += c == '\n';
    fclose(file);
    return n;
}

/* The number after a key of a /proc status file. */
static inline long status_value(const char *path, const char *key)
{
    FILE *file = fopen(path, "r");
    char line[256];
    long value = -1;

    if (!file)
        return -1;
    while (value < 0 && fgets(line, sizeof line, file))
        if (strncmp(line, key, strlen(key)) == 0)
            value = strtol(line + strlen(key), NULL, 10);
    fclose(file);
    return value;
}

/* How often the present threads of the process have gone to sleep. */
static inline long context_switches(void)
{
    DIR *dir = opendir("/proc/self/task");
    struct dirent *entry;
    char path[300];
    long sum = 0;

    CHECK(dir != NULL);
    while ((entry = readdir(dir)) != NULL) {
        if (entry->d_name[0] == '.')
            continue;
        snprintf(path, sizeof path, "/proc/self/task/%s/status",
                 entry->d_name);
        sum += status_value(path, "voluntary_ctxt_switches:");
    }
    closedir(dir);
    return sum;
}

/* A random number: fast, and the same on every machine, so that a seed replays
 * a run. */
static inline uint64_t next_random(uint64_t *state)
{
    uint64_t z = *state += UINT64_C(0x9E3779B97F4A7C15);

    z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
    return z ^ (z >> 31);
}

int test_entry(int argc, char **argv)
{
    struct rlimit no_core = {0, 0};

    setrlimit(RLIMIT_CORE, &no_core);
    test_watchdog(60);
    return test_main(argc, argv);
}

#ifndef TEST_PLUGIN
int main(int argc, char **argv)
{
    return test_entry(argc, argv);
}
#endif

#endif
