/* A host that loads plug-ins which use the library, has each end the runtime,
 * and unloads it: again and again, and everything is as before.
 *
 * Usage: host cycles N PLUGIN
 *        host two PLUGIN OTHER
 *        host early PLUGIN
 *        host stays LIBRARY
 *        host waiting PLUGIN
 *        host heap PLUGIN
 *        host reads PLUGIN
 *        host exits atexit|destructor|plugin PLUGIN */
#include "../test.h"
#include "user.h"

#include <dlfcn.h>
#include <link.h>
#include <malloc.h>

/* The cycle after which the figures do not change any more: the C library keeps
 * stacks of threads and heaps for the next ones. */
enum { SETTLED = 80 };

static void *load(const char *path, const struct user **user)
{
    void *plugin = dlopen(path, RTLD_NOW | RTLD_LOCAL);

    if (!plugin)
        fprintf(stderr, "%s\n", dlerror());
    CHECK(plugin != NULL);
    *user = dlsym(plugin, "user");
    CHECK(*user != NULL);
    return plugin;
}

static int loaded(struct dl_phdr_info *info, size_t size, void *path)
{
    return info->dlpi_name && strstr(info->dlpi_name, path) != NULL;
}

/* Nothing of it is in the process any more. */
static void check_gone(const char *path)
{
    const char *name = strrchr(path, '/') + 1;

    CHECK(!dl_iterate_phdr(loaded, (void *)name));
    CHECK(!dl_iterate_phdr(loaded, (void *)"libgmprt"));
    CHECK_EQ(count_threads(), 1);
}

struct figures {
    int descriptors;
    long mappings, kib;
};

static struct figures look(void)
{
    struct figures now = {count_entries("/proc/self/fd"),
                          count_lines("/proc/self/maps"),
                          status_value("/proc/self/status", "VmRSS:")};

    return now;
}

static void cycle(const char *path)
{
    const struct user *user;
    void *plugin = load(path, &user);

    CHECK_EQ(user->use(), 0);
    CHECK_OK(user->end());
    CHECK_OK(dlclose(plugin));
    check_gone(path);
}

/* Threads, descriptors, mappings, memory, keys and static TLS stay as they are:
 * of the last two there is little, so a loss ends in an error. The C library
 * keeps stacks and heaps of threads, as many as there have been at a time. */
static void cycles(long n, const char *path)
{
    struct figures then = {0, 0, 0}, now;

    for (long i = 0; i < n; i++) {
        cycle(path);
        if (i == SETTLED)
            then = look();
    }
    now = look();
    printf("%ld cycles: %d descriptors, %ld mappings, %ld KiB; after %d: %d, "
           "%ld, %ld\n", n, now.descriptors, now.mappings, now.kib, SETTLED,
           then.descriptors, then.mappings, then.kib);
    if (n <= SETTLED)
        return;
    CHECK_EQ(now.descriptors, then.descriptors);
    CHECK(now.mappings <= then.mappings + 40);
    CHECK(now.kib <= then.kib + 1500);
}

/* One copy goes, the other is not touched. The copy that was loaded first is
 * the one whose handlers the other's call, so it goes last. */
static void two(const char *path, const char *other)
{
    const struct user *a, *b;
    void *first = load(other, &b), *second;

    CHECK_EQ(b->use(), 0);
    for (int i = 0; i < 10; i++) {
        second = load(path, &a);
        CHECK_EQ(a->use(), 0);
        CHECK_OK(a->end());
        CHECK_OK(dlclose(second));
        CHECK_EQ(b->use(), 0);
    }
    second = load(path, &a);
    CHECK_EQ(a->use(), 0);
    CHECK_EQ(b->end(), -EBUSY);
    CHECK_EQ(b->use(), 0);
    CHECK_EQ(b->end(), -EBUSY);
    CHECK_EQ(a->use(), 0);
    CHECK_OK(a->end());
    CHECK_OK(dlclose(second));
    CHECK_OK(b->end());
    CHECK_OK(dlclose(first));
    check_gone(path);
}

/* Unloaded before its first call, where it has not started. */
static void early(const char *path)
{
    const struct user *user;
    struct sigaction now;

    for (int i = 0; i < 2000; i++) {
        CHECK_OK(dlclose(load(path, &user)));
        check_gone(path);
    }
    CHECK_OK(sigaction(SIGSEGV, NULL, &now));
    CHECK(now.sa_handler == SIG_DFL);
}

/* Without an end the library stays, whatever the host closes, and works. */
static void stays(const char *path)
{
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    int (*call)(int64_t) = library ? dlsym(library, "gmp_sleep") : NULL;

    CHECK(call != NULL);
    CHECK_OK(call(US(100)));
    CHECK_OK(dlclose(library));
    CHECK(dl_iterate_phdr(loaded, (void *)(strrchr(path, '/') + 1)));
    CHECK_OK(call(US(100)));
    CHECK(count_threads() > 1);
}

enum { WAITERS = 8 };
static const struct user *waited_with;
static _Atomic long tids[WAITERS];

/* Threads that live on after a call into the library, or are woken out of one,
 * end when it is gone. */
static pthread_barrier_t ends;

static void *waits_and_lives(void *tid)
{
    int result;

    *(_Atomic long *)tid = thread_id();
    result = waited_with->wait();
    pthread_barrier_wait(&ends);
    pthread_barrier_wait(&ends);
    return (void *)(intptr_t)result;
}

static void waiting(const char *path)
{
    pthread_t threads[WAITERS];
    void *plugin, *result;

    for (int round = 0; round < 20; round++) {
        plugin = load(path, &waited_with);
        CHECK_EQ(waited_with->use(), 0);
        CHECK_OK(pthread_barrier_init(&ends, NULL, WAITERS + 1));
        for (int i = 0; i < WAITERS; i++) {
            tids[i] = 0;
            CHECK_OK(pthread_create(&threads[i], NULL, waits_and_lives,
                                    (void *)&tids[i]));
        }
        for (int i = 0; i < WAITERS; i++) {
            while (tids[i] == 0)
                block_ns(MS(1));
            await_sleep(tids[i]);
        }
        CHECK_OK(waited_with->end());
        pthread_barrier_wait(&ends);
        CHECK_OK(dlclose(plugin));
        pthread_barrier_wait(&ends);
        for (int i = 0; i < WAITERS; i++) {
            CHECK_OK(pthread_join(threads[i], &result));
            await_gone(tids[i]);
            CHECK_EQ((intptr_t)result, -ESHUTDOWN);
        }
        check_gone(path);
    }
}

static long addresses(void)
{
    return status_value("/proc/self/status", "VmSize:");
}

/* Objects go with the library, and all that is known of them. */
static void heap(const char *path)
{
    const struct user *user;
    struct figures then = {0, 0, 0}, now;
    long kib = 0;
    void *plugin;

    for (int round = 0; round < 32; round++) {
        plugin = load(path, &user);
        CHECK_EQ(user->heap(), 0);
        CHECK_OK(user->end());
        /* The next start goes on with it. */
        CHECK_EQ(user->heap(), 0);
        CHECK_OK(user->end());
        CHECK(addresses() > 200 << 10);
        CHECK_OK(dlclose(plugin));
        check_gone(path);
        if (round == 7) {
            then = look();
            kib = addresses();
        }
    }
    now = look();
    printf("%ld mappings, %ld KiB, %ld KiB of addresses; before: %ld, %ld, "
           "%ld\n", now.mappings, now.kib, addresses(), then.mappings,
           then.kib, kib);
    /* More threads at a time than before leave two mappings each. */
    CHECK(now.mappings < then.mappings + 24);
    CHECK(now.kib <= then.kib + 1500);
    CHECK(addresses() <= kib + (20 << 10));
}

/* At the end of the process they do not: a thread may read them yet. */
static void reads(const char *path)
{
    const struct user *user;

    load(path, &user);
    CHECK_EQ(user->heap(), 0);
    CHECK_OK(user->end());
    user->read_at_exit();
}

static const struct user *exits_with;

static void at_the_exit(void)
{
    static const char text[] = "ended\n";

    CHECK_OK(exits_with->end());
    CHECK_EQ(count_threads(), 1);
    CHECK_EQ(write(1, text, sizeof text - 1), (ssize_t)sizeof text - 1);
}

__attribute__((destructor)) static void as_a_destructor(void)
{
    if (exits_with)
        at_the_exit();
}

/* Ended from a handler of atexit, from a destructor of the program, and from
 * one of the plug-in, which the host unloads. */
static void exits(const char *how, const char *path)
{
    const struct user *user;
    void *plugin = load(path, &user);

    CHECK_EQ(user->use(), 0);
    if (strcmp(how, "plugin") == 0) {
        user->end_at_unload();
        CHECK_OK(dlclose(plugin));
        check_gone(path);
        plugin = load(path, &user);
        CHECK_EQ(user->use(), 0);
    }
    exits_with = user;
    if (strcmp(how, "atexit") == 0)
        CHECK_OK(atexit(at_the_exit));
}

int main(int argc, char **argv)
{
    struct rlimit no_core = {0, 0};

    CHECK(argc >= 3);
    setrlimit(RLIMIT_CORE, &no_core);
    /* One heap: the C library gives each thread another, and keeps them. */
    mallopt(M_ARENA_MAX, 1);
    test_watchdog((unsigned)test_env("WATCHDOG", 60));
    if (strcmp(argv[1], "cycles") == 0)
        cycles(atol(argv[2]), argv[3]);
    else if (strcmp(argv[1], "two") == 0)
        two(argv[2], argv[3]);
    else if (strcmp(argv[1], "early") == 0)
        early(argv[2]);
    else if (strcmp(argv[1], "stays") == 0)
        stays(argv[2]);
    else if (strcmp(argv[1], "exits") == 0)
        exits(argv[2], argv[3]);
    else if (strcmp(argv[1], "waiting") == 0)
        waiting(argv[2]);
    else if (strcmp(argv[1], "heap") == 0)
        heap(argv[2]);
    else if (strcmp(argv[1], "reads") == 0)
        reads(argv[2]);
    else
        return 2;
    return 0;
}


int test_main(int argc, char **argv) { return 2; }
