/* A host that takes part in the start: it defines the four hooks in its own
 * program, creates every thread itself, gives g0 a smaller stack, and hears
 * when the start is over. */
#include "test.h"

enum { WORKERS = 20, SPARE = 16384 };

struct bounds {
    uintptr_t lo, hi;
};

struct thread_start {
    void *g;
    uintptr_t *tls;
    void *(*fn)(void *);
    void *arg;
};

static atomic_int inits, firsts, threads, notices, told;

/* The stack of m0: the host keeps the lowest part for itself. */
static void init(void *g0, void (*setg)(void *), void **tls, void *tlsbase)
{
    struct bounds *bounds = g0;
    char here;

    CHECK(setg != NULL && tls != NULL && tlsbase != NULL);
    CHECK(bounds->lo < (uintptr_t)&here && (uintptr_t)&here < bounds->hi);
    CHECK(bounds->hi - bounds->lo > 2 * SPARE);
    bounds->lo += SPARE;
    atomic_fetch_add(&inits, 1);
}

static int create(void *(*fn)(void *), void *arg)
{
    pthread_t thread;
    int result = pthread_create(&thread, NULL, fn, arg);

    return result == 0 ? pthread_detach(thread) : result;
}

static int create_first(void *(*fn)(void *), void *arg)
{
    atomic_fetch_add(&firsts, 1);
    return create(fn, arg);
}

static int create_thread(const struct thread_start *start)
{
    CHECK(start->g != NULL && start->tls != NULL);
    atomic_fetch_add(&threads, 1);
    return create(start->fn, start->arg);
}

static void hear(void *arg)
{
    atomic_fetch_add(&told, 1);
}

/* Runs when the start is over, and may use the library. */
static void notice(void)
{
    atomic_fetch_add(&notices, 1);
    CHECK(gmp_goid() != 0);
    CHECK_OK(gmp_go(hear, NULL));
}

void (*_cgo_init)(void *, void (*)(void *), void **, void *) = init;
int (*_cgo_sys_thread_create)(void *(*)(void *), void *) = create_first;
int (*_cgo_thread_start)(const struct thread_start *) = create_thread;
void (*_cgo_notify_runtime_init_done)(void) = notice;

static void block(void *arg)
{
    block_ns(MS(20));
}

int test_main(int argc, char **argv)
{
    gmp_g *gs[WORKERS];

    CHECK_OK(gmp_wait_init());
    AWAIT(atomic_load(&told) == 1);
    CHECK_EQ(atomic_load(&notices), 1);
    CHECK_EQ(atomic_load(&inits), 1);
    CHECK_EQ(atomic_load(&firsts), 1);
    for (int i = 0; i < WORKERS; i++)
        gs[i] = spawn(block, NULL);
    for (int i = 0; i < WORKERS; i++)
        CHECK_OK(gmp_join(gs[i]));
    CHECK(atomic_load(&threads) >= 2); /* sysmon, and who took over */
    return 0;
}
