/* For the stress tests. Directors, which are goroutines and host threads, pick
 * scenarios at random and run them; each scenario checks its own result. A
 * disturber changes the number of processors meanwhile, and starts short-lived
 * threads. GMPRT_STRESS is the time in seconds. GMPRT_SEED replays a run as far
 * as the machine's timing allows.
 */
#ifndef GMPRT_STRESS_H
#define GMPRT_STRESS_H

#include "test.h"

enum { GOROUTINES = 8, THREADS = 4 };

struct scenario {
    const char *name;
    void (*run)(uint64_t *seed);
    atomic_long runs;
};

/* The program's scenarios, and the time at which they end. */
static struct scenario *repertoire;
static int repertoire_len;
static int64_t end_of_run;

static int below(uint64_t *seed, int n)
{
    return (int)(next_random(seed) % (uint64_t)n);
}

static void run_one(uint64_t *seed)
{
    struct scenario *s = &repertoire[below(seed, repertoire_len)];

    s->run(seed);
    atomic_fetch_add(&s->runs, 1);
}

static void direct(void *arg)
{
    uint64_t seed = (uint64_t)(intptr_t)arg;

    while (gmp_now() < end_of_run)
        run_one(&seed);
}

static void *direct_on_thread(void *arg)
{
    direct(arg);
    return NULL;
}

static void *direct_one(void *arg)
{
    uint64_t seed = (uint64_t)(intptr_t)arg;

    run_one(&seed);
    return NULL;
}

static void *disturb(void *arg)
{
    uint64_t seed = (uint64_t)(intptr_t)arg;
    int procs = gmp_set_maxprocs(0);

    while (gmp_now() < end_of_run) {
        pthread_t thread;

        block_ns(MS(below(&seed, 20)));
        CHECK(gmp_set_maxprocs(1 + below(&seed, 8)) >= 1);
        CHECK_OK(pthread_create(&thread, NULL, direct_one,
                                (void *)(intptr_t)next_random(&seed)));
        CHECK_OK(pthread_join(thread, NULL));
    }
    CHECK(gmp_set_maxprocs(procs) >= 1);
    return NULL;
}

/* Runs n scenarios until the time is up and all goroutines have ended. */
static void stress(struct scenario *scenarios, int n)
{
    long seconds = test_env("GMPRT_STRESS", 2);
    uint64_t seed = (uint64_t)test_env("GMPRT_SEED", (long)gmp_now());
    int64_t goroutines;
    gmp_g *gs[GOROUTINES];
    pthread_t threads[THREADS + 1];

    printf("GMPRT_SEED=%llu\n", (unsigned long long)seed);
    fflush(stdout);
    test_watchdog((unsigned)seconds + 60);
    CHECK_OK(gmp_wait_init());
    goroutines = gmp_num_goroutines();
    repertoire = scenarios;
    repertoire_len = n;
    end_of_run = gmp_after_ns(SEC(seconds));
    for (int i = 0; i < GOROUTINES; i++)
        gs[i] = spawn(direct, (void *)(intptr_t)next_random(&seed));
    for (int i = 0; i <= THREADS; i++)
        CHECK_OK(pthread_create(&threads[i], NULL,
                                i < THREADS ? direct_on_thread : disturb,
                                (void *)(intptr_t)next_random(&seed)));
    for (int i = 0; i < GOROUTINES; i++)
        CHECK_OK(gmp_join(gs[i]));
    for (int i = 0; i <= THREADS; i++)
        CHECK_OK(pthread_join(threads[i], NULL));
    AWAIT(gmp_num_goroutines() <= goroutines);
    for (int i = 0; i < n; i++)
        printf("%s %ld, ", scenarios[i].name,
               atomic_load(&scenarios[i].runs));
    printf("%d threads\n", count_threads());
}

#endif
