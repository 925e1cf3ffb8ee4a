/* bdwgc in the same program: objects of its heap to which only goroutines point
 * live on, by gmp_gc_stop and gmp_gc_each_stack.
 *
 * other_collector hook  with both
 * other_collector none  without: most of the objects are lost, so the other
 *                       case can fail
 */
#define GC_THREADS
#define GC_NO_THREAD_REDIRECTS
#include <gc/gc.h>
#include <gc/gc_mark.h>

#include "test.h"

enum { GOROUTINES = 60, CHAIN = 8, CYCLES = 10, BUFFERED = 32 };

struct node {
    struct node *next;
    uint64_t number;
};

static atomic_int ready, lost, refused, ranges;
static atomic_bool stop;
static gmp_chan *gate, *buffered, *traffic;
static gmp_key *key;
static bool hooked;

static void GC_CALLBACK on_lost(void *object, void *data)
{
    (void)object;
    (void)data;
    atomic_fetch_add(&lost, 1);
}

static struct node *make(uint64_t seed, bool watched)
{
    struct node *head = NULL;

    for (uint64_t i = 0; i < CHAIN; i++) {
        struct node *node = GC_MALLOC(sizeof *node);

        CHECK(node != NULL);
        node->next = head;
        node->number = seed * 100 + i;
        if (watched)
            GC_REGISTER_FINALIZER_NO_ORDER(node, on_lost, NULL, NULL, NULL);
        head = node;
    }
    return head;
}

static void look(const struct node *node, uint64_t seed)
{
    for (uint64_t i = CHAIN; i-- > 0; node = node->next) {
        CHECK(node != NULL);
        CHECK_EQ(node->number, seed * 100 + i);
    }
}

/* Parks with a chain on its stack, or runs with one, or has it in a key. */
static void holds(void *arg)
{
    uint64_t seed = (uintptr_t)arg;
    struct node *mine = make(seed, true);

    if (seed % 3 == 0) {
        CHECK_OK(gmp_setspecific(key, mine));
        mine = NULL;
    }
    atomic_fetch_add(&ready, 1);
    if (seed % 6 == 1)
        while (!atomic_load(&stop)) {
            spin_ns(US(50));
            look(mine, seed);
            gmp_yield();
        }
    CHECK_EQ(gmp_chan_recv(gate, NULL), -EPIPE);
    look(seed % 3 == 0 ? gmp_getspecific(key) : mine, seed);
}

/* Allocates, and forgets what it gets. */
static void allocates(void *arg)
{
    (void)arg;
    while (!atomic_load(&stop)) {
        look(make(9, false), 9);
        CHECK_OK(gmp_sleep(US(100)));
    }
}

/* A thread of the program's that the other collector knows: it uses channels,
 * and may be stopped by that collector at any point. */
static void *sends(void *arg)
{
    struct GC_stack_base base;
    struct node *mine, *got = NULL;

    CHECK_OK(GC_get_stack_base(&base));
    CHECK_OK(GC_register_my_thread(&base));
    mine = make(77, true);
    while (!atomic_load(&stop)) {
        CHECK_OK(gmp_chan_send(traffic, &mine));
        CHECK_OK(gmp_chan_recv(traffic, &got));
        look(got, 77);
        gmp_chan_unref(gmp_chan_make(8, 4));
    }
    CHECK_OK(GC_unregister_my_thread());
    return arg;
}

static void push(void *lo, void *hi, void *arg)
{
    (void)arg;
    atomic_fetch_add(&ranges, 1);
    GC_push_all_eager(lo, hi);
}

/* What was there before pushes the stacks of threads. */
static GC_push_other_roots_proc push_threads;

static void GC_CALLBACK push_goroutines(void)
{
    push_threads();
    CHECK_OK(gmp_gc_each_stack(push, NULL));
}

/* The allocation lock of the other collector is held here, so no goroutine that
 * is stopped holds it. */
static void GC_CALLBACK on_event(GC_EventType event)
{
    int rc;

    if (event == GC_EVENT_PRE_STOP_WORLD) {
        while ((rc = gmp_gc_stop()) == -EBUSY)
            atomic_fetch_add(&refused, 1);
        CHECK_OK(rc);
        CHECK_EQ(gmp_gc_stop(), -EALREADY);
    } else if (event == GC_EVENT_POST_START_WORLD) {
        CHECK_OK(gmp_gc_start());
    }
}

/* No collection begins on a goroutine, whose thread that collector does not
 * know. */
static int GC_CALLBACK no_collection(void)
{
    return 1;
}

static int GC_CALLBACK go_on(void)
{
    return 0;
}

static void collect(void)
{
    CHECK(GC_try_to_collect(go_on));
    GC_invoke_finalizers();
}

static void on_goroutine(void *arg)
{
    (void)arg;
    CHECK_EQ(gmp_gc_stop(), -EPERM);
}

static void misuse(void)
{
    gmp_g *g;

    CHECK_EQ(gmp_gc_start(), -EPERM);
    CHECK_EQ(gmp_gc_each_stack(push, NULL), -EPERM);
    CHECK_EQ(gmp_gc_each_stack(NULL, NULL), -EINVAL);
    CHECK_OK(gmp_go_with(NULL, on_goroutine, NULL, &g));
    CHECK_OK(gmp_join(g));
}

static __attribute__((noinline)) void fill(void)
{
    for (int i = 0; i < BUFFERED; i++) {
        struct node *node = make(1000 + (uint64_t)i, true);

        CHECK_OK(gmp_chan_send(buffered, &node));
    }
}

static void drain(void)
{
    struct node *node;

    for (int i = 0; i < BUFFERED; i++) {
        CHECK_OK(gmp_chan_recv(buffered, &node));
        look(node, 1000 + (uint64_t)i);
    }
}

int test_main(int argc, char **argv)
{
    gmp_g *gs[GOROUTINES + 2];
    pthread_t threads[2];
    int all = (GOROUTINES + BUFFERED) * CHAIN;

    hooked = argc > 1 && strcmp(argv[1], "hook") == 0;
    GC_INIT();
    GC_allow_register_threads();
    GC_set_finalize_on_demand(1);
    GC_set_stop_func(no_collection);
    misuse();
    CHECK_OK(gmp_gc_stop());
    CHECK_OK(gmp_gc_start());
    CHECK((gate = gmp_chan_make(0, 0)) != NULL);
    CHECK((buffered = gmp_chan_make(sizeof(void *), BUFFERED)) != NULL);
    CHECK((traffic = gmp_chan_make(sizeof(void *), 4)) != NULL);
    CHECK((key = gmp_key_create(NULL)) != NULL);
    if (hooked) {
        push_threads = GC_get_push_other_roots();
        GC_set_push_other_roots(push_goroutines);
        GC_set_on_collection_event(on_event);
    }
    for (int i = 0; i < GOROUTINES; i++)
        CHECK_OK(gmp_go_with(NULL, holds, (void *)(uintptr_t)(i + 1), &gs[i]));
    while (atomic_load(&ready) < GOROUTINES)
        block_ns(US(100));
    fill();
    block_ns(MS(10));
    if (!hooked) {
        atomic_store(&stop, true);
        block_ns(MS(10));
        collect();
        CHECK(atomic_load(&lost) > all / 2);
        _exit(0);
    }
    for (int i = 0; i < 2; i++) {
        CHECK_OK(gmp_go_with(NULL, allocates, NULL, &gs[GOROUTINES + i]));
        CHECK_OK(pthread_create(&threads[i], NULL, sends, NULL));
    }
    for (int i = 0; i < CYCLES; i++) {
        collect();
        CHECK_EQ(atomic_load(&lost), 0);
        block_ns(MS(3));
    }
    CHECK(atomic_load(&ranges) > CYCLES * GOROUTINES);
    atomic_store(&stop, true);
    CHECK_OK(gmp_chan_close(gate));
    for (int i = 0; i < GOROUTINES + 2; i++)
        CHECK_OK(gmp_join(gs[i]));
    for (int i = 0; i < 2; i++)
        CHECK_OK(pthread_join(threads[i], NULL));
    drain();
    /* What nobody has any more goes. */
    collect();
    CHECK(atomic_load(&lost) > all / 2);
    gmp_chan_unref(gate);
    gmp_chan_unref(buffered);
    gmp_chan_unref(traffic);
    CHECK_OK(gmp_shutdown(gmp_after_ns(SEC(20))));
    return 0;
}
