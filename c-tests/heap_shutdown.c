/* Threads of the program allocate, collect and change the number of Ps while
 * the runtime is shut down and started again, at any moment of that. And a
 * cleanup collects and forks while the runtime ends, which waits for it. */
#include "test.h"

#include <sys/wait.h>

enum { THREADS = 3, KEPT = 64 };

static atomic_bool stop, cleans, cleaned;
static atomic_long collections;

static void check_result(int rc)
{
    CHECK(rc >= 0 || rc == -ESHUTDOWN || rc == -EBUSY);
}

static void allocates(void *unused)
{
    (void)unused;
    for (int i = 0; i < 200; i++) {
        void *p = gmp_gc_alloc(64);

        if (p != NULL && i % 2 == 0)
            check_result(gmp_gc_free(p));
    }
}

static void *works(void *arg)
{
    uint64_t seed = (uintptr_t)arg, *kept[KEPT] = {NULL};

    while (!atomic_load(&stop)) {
        uint64_t n = next_random(&seed), **at = &kept[n % KEPT];

        if (*at != NULL)
            CHECK(**at == (uintptr_t)*at * 3);
        if (*at != NULL && n & 1 << 20)
            check_result(gmp_gc_free(*at));
        *at = gmp_gc_alloc(16 + (n >> 32) % 300);
        if (*at != NULL) {
            CHECK((*at)[0] == 0 && (*at)[1] == 0);
            **at = (uintptr_t)*at * 3;
        }
        if (n % 500 == 0) {
            int rc = gmp_gc();

            check_result(rc);
            atomic_fetch_add(&collections, rc == 0);
        } else if (n % 500 == 1) {
            check_result(gmp_set_maxprocs(1 + (int)(n >> 32) % 4));
        } else if (n % 500 == 2) {
            check_result(gmp_go(allocates, NULL));
        }
    }
    return NULL;
}

/* Waits for those who fork, and for those who keep forks away. */
static void collect_and_fork(void *unused)
{
    (void)unused;
    atomic_store(&cleans, true);
    while (gmp_gc() != -ESHUTDOWN)
        usleep(2000);
    if (!test_child_may_hang()) {
        pid_t child = fork();
        int status;

        CHECK(child >= 0);
        if (child == 0)
            _exit(7);
        CHECK_EQ(waitpid(child, &status, 0), child);
        CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 7);
    }
    atomic_store(&cleaned, true);
}

static __attribute__((noinline)) void lose_one(void)
{
    void *p = gmp_gc_alloc(64);

    CHECK(p != NULL);
    CHECK_OK(gmp_gc_cleanup(p, collect_and_fork, NULL));
    memset(p, 0, 64);
}

static void end_in_a_cleanup(void)
{
    atomic_store(&cleans, false);
    atomic_store(&cleaned, false);
    lose_one();
    while (!atomic_load(&cleans)) {
        CHECK_OK(gmp_gc());
        usleep(200);
    }
    CHECK_OK(gmp_shutdown(gmp_after_ns(SEC(20))));
    CHECK(atomic_load(&cleaned));
}

/* On a thread of its own: collections stop each that has used the heap, and
 * main is not to be disturbed later. */
static void *end_in_cleanups(void *unused)
{
    for (int i = 0; i < 10; i++)
        end_in_a_cleanup();
    return unused;
}

int test_main(int argc, char **argv)
{
    pthread_t threads[THREADS];
    const int shutdowns = (int)test_times(100);

    (void)argc;
    (void)argv;
    CHECK_OK(pthread_create(&threads[0], NULL, end_in_cleanups, NULL));
    CHECK_OK(pthread_join(threads[0], NULL));
    for (uintptr_t i = 0; i < THREADS; i++)
        CHECK_OK(pthread_create(&threads[i], NULL, works, (void *)(i + 1)));
    for (int i = 0; i < shutdowns; i++) {
        usleep((useconds_t)(i % 7) * 1000);
        check_result(gmp_shutdown(gmp_after_ns(SEC(20))));
    }
    atomic_store(&stop, true);
    for (int i = 0; i < THREADS; i++)
        CHECK_OK(pthread_join(threads[i], NULL));
    CHECK(atomic_load(&collections) > 0);
    return 0;
}
