/* The heap knows the stacks of goroutines as such: those that were there before
 * it began, those mapped while it begins and later, and none that is gone. A
 * pointer into one that is given to a call for an object is told in words. And
 * what lies at their tops is looked at where it is the program's. */
#include "test.h"

#include <sys/wait.h>

enum { THREADS = 4, ROUNDS = 20 };

static gmp_chan *go_on;
static atomic_int begun;

/* Whether the heap knows all stacks, and no more. Nobody maps one meanwhile. */
static bool knows_all(void)
{
    gmp_gc_stats gc;
    gmp_stats all;

    CHECK_OK(gmp_gc_get_stats(&gc, sizeof gc));
    CHECK_OK(gmp_get_stats(&all, sizeof all));
    CHECK(all.stack_mapped_bytes > 0);
    return gc.stack_bytes == all.stack_mapped_bytes;
}

static uint64_t known(void)
{
    gmp_gc_stats gc;

    CHECK_OK(gmp_gc_get_stats(&gc, sizeof gc));
    return gc.stack_bytes;
}

static void wait_for_it(void *arg)
{
    int dummy;

    (void)arg;
    gmp_chan_recv(go_on, &dummy);
}

static void return_at_once(void *arg)
{
    (void)arg;
}

static gmp_g *start(void (*f)(void *), size_t size)
{
    gmp_attr attr = GMP_ATTR_INIT;
    gmp_g *g;

    attr.stack_size = size;
    CHECK_OK(gmp_go_with(&attr, f, NULL, &g));
    return g;
}

/* Maps stacks of all sizes, and unmaps those that have their own mapping. */
static void *map_stacks(void *arg)
{
    static const size_t sizes[] = {1, 300 << 10, 1 << 20, 3 << 20, 20 << 20};
    size_t n = (size_t)(uintptr_t)arg;

    for (int i = 0; i < ROUNDS; i++) {
        if (i == ROUNDS / 2)
            atomic_fetch_add(&begun, 1);
        CHECK_OK(gmp_join(start(return_at_once, sizes[(n + i) % 5])));
    }
    return NULL;
}

/* The heap begins while other threads map stacks. */
static void test_begin(void)
{
    pthread_t threads[THREADS];
    gmp_g *waiting[2] = {start(wait_for_it, 0), start(wait_for_it, 16 << 20)};

    CHECK_EQ(known(), 0);
    for (uintptr_t i = 0; i < THREADS; i++)
        CHECK_EQ(pthread_create(&threads[i], NULL, map_stacks, (void *)i), 0);
    while (atomic_load(&begun) == 0)
        sched_yield();
    CHECK(gmp_gc_alloc(16) != NULL);
    for (int i = 0; i < THREADS; i++)
        CHECK_EQ(pthread_join(threads[i], NULL), 0);
    CHECK(knows_all());
    CHECK(known() > 16 << 20);
    CHECK_OK(gmp_chan_close(go_on));
    for (int i = 0; i < 2; i++)
        CHECK_OK(gmp_join(waiting[i]));
    CHECK(knows_all());
}

/* Stacks that come later, and go. */
static void test_later(void)
{
    uint64_t before = known();

    CHECK_OK(gmp_join(start(return_at_once, 30 << 20)));
    CHECK_EQ(known(), before);
    CHECK_OK(gmp_join(start(return_at_once, 7 << 20)));
    CHECK(known() > before && knows_all());
    CHECK_OK(gmp_gc());
    CHECK(knows_all());
}

/* Arguments that were copied lie above the first frame of their goroutine, and
 * nothing else has their pointers. */
struct args {
    void *p;
    uintptr_t hidden;
};

static atomic_int came, right, gone;

static void keep_and_wait(void *arg)
{
    struct args *it = arg;
    int dummy;

    atomic_fetch_add(&came, 1);
    gmp_chan_recv(go_on, &dummy);
    if (~(uintptr_t)it->p == it->hidden && gmp_gc_base(it->p) == it->p)
        atomic_fetch_add(&right, 1);
    atomic_fetch_add(&gone, 1);
}

/* The goroutine that ends leaves its stack to the one that it has started. */
static void start_and_end(void *arg)
{
    char room[200] = {0};
    struct args *it = (struct args *)room;

    it->p = gmp_gc_alloc(64);
    CHECK(it->p != NULL);
    it->hidden = ~(uintptr_t)it->p;
    CHECK_OK(gmp_go_copy(keep_and_wait, room, *(size_t *)arg));
}

static void test_arguments(void)
{
    static size_t sizes[] = {16, 40, 48, 112, 200};
    enum { SIZES = sizeof sizes / sizeof *sizes, EACH = 10 };

    go_on = gmp_chan_make(sizeof(int), 0);
    CHECK(go_on != NULL);
    for (int i = 0; i < SIZES * EACH; i++)
        CHECK_OK(gmp_go(start_and_end, &sizes[i % SIZES]));
    AWAIT(atomic_load(&came) == SIZES * EACH);
    gmp_sleep(MS(2));
    for (int i = 0; i < 2; i++)
        CHECK_OK(gmp_gc());
    CHECK_OK(gmp_chan_close(go_on));
    AWAIT(atomic_load(&gone) == SIZES * EACH);
    CHECK_EQ(atomic_load(&right), SIZES * EACH);
    gmp_chan_unref(go_on);
}

static void never(void *arg)
{
    (void)arg;
    CHECK(!"called");
}

/* Calls for an object, with an address on a stack. */
static void give(char *p)
{
    CHECK_EQ(gmp_gc_free(p), -EINVAL);
    CHECK(gmp_gc_realloc(p, 10) == NULL);
    CHECK_EQ(gmp_gc_cleanup(p, never, NULL), -EINVAL);
    CHECK(gmp_gc_weak(p) == NULL);
    CHECK(gmp_gc_base(p) == NULL);
    CHECK_EQ(gmp_gc_size(p), 0);
}

static void give_own(void *arg)
{
    char room[100];

    *(uint64_t *)arg = gmp_goid();
    give(room + 40);
}

/* What `f(arg)` writes to stderr. */
static char *said(void (*f)(void *), void *arg)
{
    static char text[1000];
    int ends[2], old = dup(2);
    ssize_t n;

    CHECK(old >= 0 && pipe(ends) == 0 && dup2(ends[1], 2) == 2);
    f(arg);
    CHECK(dup2(old, 2) == 2);
    close(ends[1]);
    close(old);
    n = read(ends[0], text, sizeof text - 1);
    CHECK(n >= 0);
    close(ends[0]);
    text[n] = 0;
    return text;
}

static void on_goroutine(void *arg)
{
    gmp_g *g;

    CHECK_OK(gmp_go_with(NULL, give_own, arg, &g));
    CHECK_OK(gmp_join(g));
}

static void test_words(void)
{
    uint64_t id = 0;
    char wanted[100], *text;

    text = said(on_goroutine, &id);
    snprintf(wanted, sizeof wanted, "it lies on the stack of goroutine %llu\n",
             (unsigned long long)id);
    CHECK(strncmp(text, "gmprt: gmp_gc_free: 0x", 22) == 0);
    CHECK(strstr(text, wanted) != NULL);
    CHECK(strchr(text, '\n')[1] == 0);
}

/* In the child of a fork stacks come and go, and nothing is allocated. */
static void test_fork(void)
{
    pid_t child = fork();
    int status;

    CHECK(child >= 0);
    if (child == 0) {
        test_alarm(60);
        CHECK(gmp_gc_alloc(16) == NULL);
        CHECK(knows_all());
        CHECK_OK(gmp_join(start(return_at_once, 30 << 20)));
        CHECK_OK(gmp_join(start(return_at_once, 600 << 10)));
        CHECK(knows_all());
        _exit(0);
    }
    CHECK_EQ(waitpid(child, &status, 0), child);
    CHECK_EQ(status, 0);
}

/* The runtime ends, and begins again. */
static void test_end(void)
{
    CHECK_OK(gmp_shutdown(GMP_FOREVER));
    CHECK_OK(gmp_join(start(return_at_once, 0)));
    CHECK(knows_all());
    CHECK_OK(gmp_gc());
    CHECK_OK(gmp_join(start(return_at_once, 30 << 20)));
    CHECK(knows_all());
}

int test_main(int argc, char **argv)
{
    (void)argc, (void)argv;
    test_watchdog(120);
    go_on = gmp_chan_make(sizeof(int), 0);
    CHECK(go_on != NULL);
    test_begin();
    test_later();
    test_words();
    gmp_chan_unref(go_on);
    test_arguments();
    test_fork();
    test_end();
    return 0;
}
