/* The collected heap under everything at once: goroutines and host threads
 * build trees, keep them on stacks, in channels, timers, keys and arguments,
 * hand them on and drop them, while others compute without a call, block in
 * foreign code, get signals, fork, and load libraries. The shadow knows exactly
 * which objects are alive: none of these is ever handed out again or changed,
 * and all that is dead goes in the end. */
#include "shadow.h"

#include <dlfcn.h>
#include <setjmp.h>
#include <spawn.h>
#include <sys/wait.h>

enum { WORKERS = 12, THREADS = 3 };

extern char **environ;

static int64_t until;
static gmp_chan *pipes[3];
static atomic_long nodes, trips, tasks, collected;
static gmp_key *key;
static gmp_mutex shelf_lock = GMP_MUTEX_INIT;
static struct node *shelf[16];

/* A tree of up to that many nodes; of fewer where each collects. */
static struct node *tree_of(uint64_t *seed, int size)
{
    size = gc_stressed() ? (size + 9) / 10 : size;
    return tree_make(seed, 1 + (int)(shadow_random(seed) % (uint64_t)size));
}

/* The time is up, and there were collections enough. */
static bool over(void)
{
    return gmp_now() >= until && atomic_load(&collected) > 5;
}

static void drop(struct node *n)
{
    atomic_fetch_add(&nodes, tree_drop(n));
}

static void pause_for(void *us)
{
    usleep((useconds_t)(uintptr_t)us);
}

/* Keeps a tree on the stack alone, across what may move or stop the caller. */
static __attribute__((noinline)) void keep(struct node *n, uint64_t *seed)
{
    switch (shadow_random(seed) % 5) {
    case 0:
        gmp_yield();
        break;
    case 1:
        gmp_sleep(US(shadow_random(seed) % 500));
        break;
    case 2: {
        int64_t end = gmp_now() + US(shadow_random(seed) % 2000);
        volatile unsigned spin = 0;
        while (gmp_now() < end)
            for (int i = 0; i < 10000; i++)
                spin++;
        break;
    }
    case 3:
        CHECK_OK(gmp_blocking(pause_for, (void *)(uintptr_t)(shadow_random(seed) % 500)));
        break;
    default: {
        struct timespec t = {0, (long)(shadow_random(seed) % 300000)};
        nanosleep(&t, NULL);
    }
    }
    tree_check(n);
}

/* In an array whose end pointer is all that a loop keeps. */
static __attribute__((noinline)) uint64_t sum_of_array(uint64_t *seed)
{
    size_t n = gc_stressed() ? 30 : 100 + shadow_random(seed) % 1000;
    struct node **all = gmp_gc_alloc(n * sizeof *all), **at = all + n;
    uint64_t sum = 0;

    CHECK(all != NULL);
    shadow_born(all);
    for (size_t i = 0; i < n; i += 7)
        all[i] = node_make(seed);
    while (at-- > all) {
        if (*at != NULL) {
            node_check(*at);
            sum += (*at)->value;
        }
    }
    for (size_t i = 0; i < n; i += 7)
        drop(all[i]);
    shadow_dies(all);
    return sum;
}

static void jump(uint64_t *seed)
{
    struct node *n = tree_make(seed, 3);
    jmp_buf env;

    if (setjmp(env) == 0) {
        gmp_yield();
        longjmp(env, 1);
    }
    GMP_GC_KEEP(n);
    drop(n);
}

static void put_on_shelf(uint64_t *seed)
{
    size_t at = shadow_random(seed) % 16;
    struct node *old;

    struct node *n = tree_make(seed, 10);

    CHECK_OK(gmp_mutex_lock(&shelf_lock));
    old = shelf[at];
    shelf[at] = n;
    CHECK_OK(gmp_mutex_unlock(&shelf_lock));
    drop(old);
}

static void dies_with_goroutine(void *n)
{
    drop(n);
}

static void task(void *n)
{
    drop(n);
    atomic_fetch_add(&tasks, -1);
}

static int member(void *n)
{
    drop(n);
    return 0;
}

struct args { struct node *n; char room[100]; };

static void copied(void *arg)
{
    drop(((struct args *)arg)->n);
    atomic_fetch_add(&tasks, -1);
}

static void send(uint64_t *seed)
{
    struct node *n = tree_of(seed, 30);
    gmp_chan *ch = pipes[shadow_random(seed) % 3];
    int rc = gmp_chan_send_until(ch, &n, gmp_after_ns(MS(20)));

    if (rc == 0) {
        n = NULL;
        atomic_fetch_add(&trips, 1);
    } else {
        CHECK_EQ(rc, -ETIMEDOUT);
        drop(n);
    }
}

static void receive(uint64_t *seed)
{
    struct node *a = NULL, *b = NULL;
    gmp_case cases[2] = {
        {.ch = pipes[shadow_random(seed) % 3], .elem = &a, .op = GMP_RECV},
        {.ch = pipes[shadow_random(seed) % 3], .elem = &b, .op = GMP_RECV},
    };
    int rc = gmp_select_until(cases, 2, gmp_after_ns(MS(5)));

    CHECK(rc == -ETIMEDOUT || rc == 0 || rc == 1);
    drop(a);
    drop(b);
}

static void start_tasks(uint64_t *seed)
{
    struct args args = {tree_make(seed, 5), {0}};
    struct { struct node *n; } few = {tree_make(seed, 5)};
    gmp_group *gr = gmp_group_make();

    atomic_fetch_add(&tasks, 4);
    CHECK_OK(gmp_go_copy(copied, &args, sizeof args));
    CHECK_OK(gmp_go_copy(copied, &few, sizeof few));
    CHECK_OK(gmp_go(task, tree_make(seed, 5)));
    struct node *late = tree_make(seed, 5);
    gmp_timer *t = gmp_timer_start(US(shadow_random(seed) % 6000), 0, task,
                                   late);
    CHECK(t != NULL && gr != NULL);
    for (int i = 0; i < 3; i++)
        CHECK_OK(gmp_group_go(gr, member, tree_make(seed, 4)));
    CHECK_OK(gmp_group_wait(gr));
    gmp_group_free(gr);
    AWAIT(atomic_load(&tasks) < 1000);
    gmp_sleep(MS(3));
    /* The timer's own pointer has kept it, or its goroutine has it. */
    if (gmp_timer_stop(t) == 1)
        task(late);
    gmp_timer_free(t);
}

static void step(uint64_t *seed, bool goroutine)
{
    switch (shadow_random(seed) % 10) {
    case 0:
    case 1:
        send(seed);
        break;
    case 2:
    case 3:
        receive(seed);
        break;
    case 4:
        put_on_shelf(seed);
        break;
    case 5:
        sum_of_array(seed);
        break;
    case 6:
        jump(seed);
        break;
    case 7:
        if (goroutine) {
            start_tasks(seed);
            break;
        }
        /* fall through */
    default: {
        struct node *n = tree_of(seed, 200);
        keep(n, seed);
        drop(n);
    }
    }
}

static atomic_int working;

static void worker(void *arg)
{
    uint64_t seed = (uint64_t)(uintptr_t)arg * 77777 + 1;

    CHECK_OK(gmp_setspecific(key, tree_make(&seed, 20)));
    CHECK_OK(gmp_defer(dies_with_goroutine, tree_make(&seed, 20)));
    while (!over())
        step(&seed, true);
    atomic_fetch_add(&working, -1);
}

static void *thread(void *arg)
{
    uint64_t seed = (uint64_t)(uintptr_t)arg * 99999 + 3;

    while (!over())
        step(&seed, false);
    return NULL;
}

/* Threads that come and go. */
static void *short_thread(void *arg)
{
    uint64_t seed = (uint64_t)(uintptr_t)arg + 5;
    struct node *n = tree_make(&seed, 50);

    usleep(100);
    drop(n);
    return NULL;
}

static void nothing(int signo)
{
    (void)signo;
}

static void *disturber(void *arg)
{
    uint64_t round = 0;
    char *argv[] = {(char *)"true", NULL};

    (void)arg;
    while (!over()) {
        pthread_t t;
        pid_t pid;
        int status;

        CHECK_OK(pthread_create(&t, NULL, short_thread, (void *)(uintptr_t)++round));
        kill(getpid(), SIGUSR1);
        kill(getpid(), SIGURG);
        if (round % 16 == 0 && posix_spawnp(&pid, "true", NULL, NULL, argv, environ) == 0)
            while (waitpid(pid, &status, 0) < 0)
                CHECK_EQ(errno, EINTR);
        if (round % 16 == 8) {
            pid = fork();
            CHECK(pid >= 0);
            if (pid == 0)
                _exit(test_child_may_hang() || gmp_gc_alloc(16) == NULL ? 0 : 1);
            while (waitpid(pid, &status, 0) < 0)
                CHECK_EQ(errno, EINTR);
            CHECK_EQ(status, 0);
        }
        void *library = dlopen("libutil.so.1", RTLD_NOW);
        if (library != NULL)
            dlclose(library);
        CHECK_OK(pthread_join(t, NULL));
        usleep(500);
    }
    return NULL;
}

static void collect_now(void *arg)
{
    (void)arg;
    while (!over()) {
        int rc = gmp_gc();
        CHECK(rc == 0 || rc == -EBUSY);
        atomic_fetch_add(&collected, rc == 0);
        gmp_sleep(MS(1));
    }
}

static void drain(void)
{
    struct node *n;

    for (int i = 0; i < 3; i++)
        while (gmp_chan_try_recv(pipes[i], &n) == 0)
            drop(n);
    for (int i = 0; i < 16; i++) {
        drop(shelf[i]);
        shelf[i] = NULL;
    }
}

int test_main(int argc, char **argv)
{
    const char *seconds = getenv("STORM");
    pthread_t threads[THREADS], disturbs;
    gmp_gc_stats stats;
    gmp_g *collector;

    (void)argc;
    (void)argv;
    signal(SIGUSR1, nothing);
    until = gmp_now() + (seconds ? SEC(atoi(seconds)) : MS(1500));
    if (seconds)
        test_watchdog((unsigned)atoi(seconds) + 60);
    key = gmp_key_create(dies_with_goroutine);
    for (size_t i = 0; i < 3; i++)
        pipes[i] = gmp_chan_make(sizeof(void *), i * 4);
    atomic_store(&working, WORKERS);
    for (uintptr_t i = 0; i < WORKERS; i++)
        CHECK_OK(gmp_go(worker, (void *)(i + 1)));
    for (uintptr_t i = 0; i < THREADS; i++)
        CHECK_OK(pthread_create(&threads[i], NULL, thread, (void *)(i + 1)));
    CHECK_OK(pthread_create(&disturbs, NULL, disturber, NULL));
    CHECK_OK(gmp_go_with(NULL, collect_now, NULL, &collector));
    for (int i = 0; i < THREADS; i++)
        CHECK_OK(pthread_join(threads[i], NULL));
    CHECK_OK(pthread_join(disturbs, NULL));
    CHECK_OK(gmp_join(collector));
    AWAIT(atomic_load(&working) == 0 && atomic_load(&tasks) == 0);
    AWAIT(gmp_num_goroutines() == 0);
    drain();
    CHECK_EQ(atomic_load(&shadow_births), atomic_load(&shadow_deaths));
    for (int i = 0; i < 3; i++)
        CHECK_OK(gmp_gc());
    CHECK_OK(gmp_gc_get_stats(&stats, sizeof stats));
    printf("%ld objects, %ld trips, %llu collections, %llu failed, longest "
           "pause %llu us, %llu bytes kept\n",
           atomic_load(&shadow_births), atomic_load(&trips),
           (unsigned long long)stats.collections,
           (unsigned long long)stats.failed,
           (unsigned long long)stats.longest_pause_ns / 1000,
           (unsigned long long)stats.marked_bytes);
    CHECK(stats.collections > 5);
    CHECK(stats.failed <= stats.collections / 10);
    /* What words that look like pointers keep. */
    CHECK(stats.marked_bytes < 1 << 20);
    return 0;
}
