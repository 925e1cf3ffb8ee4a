/* The collected heap: what is reached stays, wherever the library promises to
 * look, what is not goes, and mistakes are errors. */
#include "shadow.h"

#include <sys/wait.h>

enum { MANY = 200 };

/* Hidden pointers: a word of these keeps nothing. */
static uintptr_t hidden[MANY];
static gmp_chan *go_on;

static uintptr_t hide(const void *p)
{
    return ~(uintptr_t)p;
}

static int is_there(uintptr_t h)
{
    return gmp_gc_base((void *)~h) == (void *)~h;
}

/* Overwrites what earlier calls have left below on the stack. */
static __attribute__((noinline)) void clear_stack(void)
{
    volatile char room[8192];

    memset((char *)room, 0, sizeof room);
}

static __attribute__((noinline)) void make_garbage(void)
{
    for (int i = 0; i < MANY; i++) {
        char *p = gmp_gc_alloc(64);
        CHECK(p != NULL);
        hidden[i] = hide(p);
    }
}

/* How many of the garbage are kept, by words that look like pointers. */
static int count_there(void)
{
    int n = 0;

    for (int i = 0; i < MANY; i++)
        n += is_there(hidden[i]);
    return n;
}

static void collect(void)
{
    clear_stack();
    CHECK_OK(gmp_gc());
}

static void test_calls(void)
{
    unsigned char *p = gmp_gc_alloc(100), *q;
    gmp_gc_stats stats;
    char *big;

    CHECK(p != NULL && ((uintptr_t)p & 15) == 0);
    for (int i = 0; i < 100; i++)
        CHECK_EQ(p[i], 0);
    CHECK(gmp_gc_base(p + 99) == p);
    CHECK(gmp_gc_size(p + 50) >= 100 && gmp_gc_size(p) <= 128);
    CHECK(gmp_gc_base(&stats) == NULL);
    CHECK_EQ(gmp_gc_size(NULL), 0);
    memset(p, 7, 100);
    q = gmp_gc_realloc(p, 5000);
    CHECK(q != NULL && q[0] == 7 && q[99] == 7 && q[4999] == 0);
    CHECK(gmp_gc_realloc(q + 8, 10) == NULL);
    CHECK_EQ(gmp_gc_free(q + 16), -EINVAL);
    CHECK_OK(gmp_gc_free(q));
    CHECK_EQ(gmp_gc_free(q), -EINVAL);
    CHECK_EQ(gmp_gc_free(&stats), -EINVAL);
    CHECK_OK(gmp_gc_free(NULL));
    CHECK(gmp_gc_alloc(SIZE_MAX) == NULL);
    CHECK(gmp_gc_alloc(SIZE_MAX - 10000) == NULL);
    CHECK(gmp_gc_alloc(SIZE_MAX / 2) == NULL);
    CHECK(gmp_gc_calloc(SIZE_MAX / 2, 3) == NULL);
    CHECK(gmp_gc_calloc(10, 10) != NULL);
    CHECK(gmp_gc_alloc(0) != NULL && gmp_gc_alloc_noscan(0) != NULL);
    big = gmp_gc_alloc(100 << 20);
    CHECK(big != NULL && big[0] == 0 && big[(100 << 20) - 1] == 0);
    CHECK(gmp_gc_base(big + (99 << 20)) == big);
    CHECK_OK(gmp_gc_free(big));
    CHECK_EQ(gmp_gc_get_stats(&stats, 4), -EINVAL);
    CHECK_EQ(gmp_gc_get_stats(NULL, sizeof stats), -EINVAL);
    CHECK_OK(gmp_gc_get_stats(&stats, sizeof stats));
    CHECK_EQ(stats.struct_size, sizeof stats);
    CHECK_EQ(gmp_gc_set_roots(7), -EINVAL);
    CHECK_EQ(gmp_gc_add_roots(NULL, &stats), -EINVAL);
    CHECK_EQ(gmp_gc_set_percent(100), 100);
    CHECK_EQ(gmp_gc_set_limit(-1), INT64_MAX);
}

static void test_garbage_goes(void)
{
    gmp_gc_stats before, after;
    size_t bytes = 0, all = gc_stressed() ? 1u << 16 : 300u << 20;

    make_garbage();
    collect();
    CHECK(count_there() < MANY / 10);
    CHECK_OK(gmp_gc_get_stats(&before, sizeof before));
    while (bytes < all) {
        size_t size = 16 + bytes % 3000;
        CHECK(gmp_gc_alloc(size) != NULL);
        bytes += size;
    }
    CHECK_OK(gmp_gc_get_stats(&after, sizeof after));
    CHECK(after.collections > before.collections + 3);
    CHECK(after.in_use_bytes < 64u << 20);
    CHECK_EQ(after.failed, 0);
}

/* What each of these keeps is still there after a collection. */

/* A tree of pairs, which a recursion builds. */
static __attribute__((noinline)) void **tree(int depth)
{
    void **pair = gmp_gc_alloc(2 * sizeof *pair);

    CHECK(pair != NULL);
    if (depth > 0) {
        pair[0] = tree(depth - 1);
        pair[1] = tree(depth - 1);
    }
    return pair;
}

/* The recursion has left its words where gmp_gc has its own frames then, and
 * they keep nothing. Nobody clears the stack here, and no frame of the test's
 * lies there. */
static void test_old_frames_keep_nothing(void)
{
    const int depth = gc_stressed() ? 8 : 16;
    const uint64_t size = (2u << depth) * sizeof(void *[2]);
    gmp_gc_stats before, after;

    CHECK_OK(gmp_gc());
    CHECK_OK(gmp_gc_get_stats(&before, sizeof before));
    tree(depth);
    CHECK_OK(gmp_gc());
    CHECK_OK(gmp_gc_get_stats(&after, sizeof after));
    CHECK(after.marked_bytes < before.marked_bytes + size / 4);
}

static void *in_data;
static void *in_end[1];
static void *initialised[3] = {initialised, NULL, &in_data};
void *many[100000]; /* of other files, too */

static __attribute__((noinline)) void fill_data(uintptr_t *h)
{
    static void *local = &local;

    in_data = gmp_gc_alloc(48);
    in_end[0] = (char *)gmp_gc_alloc(160) + 160;
    initialised[1] = gmp_gc_alloc(48);
    many[0] = gmp_gc_alloc(48);
    many[99999] = gmp_gc_alloc(48);
    local = h[0] != 0 ? NULL : gmp_gc_alloc(48);
    h[0] = hide(in_data);
    h[1] = hide(initialised[1]);
    h[2] = hide(many[0]);
    h[3] = hide(many[99999]);
    h[4] = hide(local);
}

static void test_data(void)
{
    uintptr_t h[5] = {0};

    fill_data(h);
    collect();
    for (int i = 0; i < 5; i++)
        CHECK(is_there(h[i]));
    CHECK(gmp_gc_base((char *)in_end[0] - 1) == (char *)in_end[0] - 160);
    fill_data(h);
    in_data = in_end[0] = initialised[1] = many[0] = many[99999] = NULL;
}

static __attribute__((noinline)) uintptr_t fill_roots(void **room)
{
    room[0] = gmp_gc_alloc(32);
    return hide(room[0]);
}

static void test_roots(void)
{
    void **room = calloc(1, sizeof *room), **root;
    uintptr_t h, k, l;

    CHECK_OK(gmp_gc_add_roots(room, room + 1));
    h = fill_roots(room);
    root = gmp_kept_malloc(3 * sizeof *root);
    CHECK(root != NULL);
    CHECK(gmp_gc_base(root) == NULL);
    l = fill_roots(root + 2);
    collect();
    CHECK(is_there(l));
    gmp_kept_free(root);
    gmp_kept_free(NULL);
    CHECK(gmp_kept_malloc(SIZE_MAX - 8) == NULL);
    root = gmp_gc_alloc_root(16);
    CHECK(root != NULL);
    k = hide(root);
    root = NULL;
    collect();
    CHECK(is_there(h) && is_there(k));
    CHECK_OK(gmp_gc_remove_roots(room, room + 1));
    CHECK_OK(gmp_gc_free((void *)~k));
    room[0] = NULL;
    free(room);
}

static void parked(void *arg)
{
    void *local[3] = {NULL, gmp_gc_alloc(80), NULL};
    int dummy;

    atomic_store((_Atomic uintptr_t *)arg, hide(local[1]));
    gmp_chan_recv(go_on, &dummy);
    GMP_GC_KEEP(local);
    CHECK(is_there(hide(local[1])));
}

static void computing(void *arg)
{
    _Atomic uintptr_t *out = arg;
    char *p = gmp_gc_alloc(80);

    atomic_store(out, hide(p));
    /* No call of the library, so that only a signal stops it. */
    while (atomic_load(out) != 0)
        ;
    CHECK_EQ(p[0], 0);
    GMP_GC_KEEP(p);
}

static void *computing_thread(void *arg)
{
    computing(arg);
    return NULL;
}

static void *blocked_thread(void *arg)
{
    int dummy;
    void *p = gmp_gc_alloc(80);

    atomic_store((_Atomic uintptr_t *)arg, hide(p));
    gmp_chan_recv(go_on, &dummy);
    CHECK(is_there(hide(p)));
    GMP_GC_KEEP(p);
    return NULL;
}

static void *foreign_thread(void *arg)
{
    void *p = gmp_gc_alloc(80);

    atomic_store((_Atomic uintptr_t *)arg, hide(p));
    while (atomic_load((_Atomic uintptr_t *)arg) != 0)
        usleep(100000);
    CHECK(is_there(hide(p)));
    GMP_GC_KEEP(p);
    return NULL;
}

static void test_stacks(void)
{
    static _Atomic uintptr_t at[5];
    pthread_t threads[3];
    gmp_g *g[2];
    int zero = 0;

    memset((void *)at, 0, sizeof at);
    go_on = gmp_chan_make(sizeof(int), 0);
    CHECK_OK(gmp_go_with(NULL, parked, (void *)&at[0], &g[0]));
    CHECK_OK(gmp_go_with(NULL, computing, (void *)&at[1], &g[1]));
    CHECK_OK(pthread_create(&threads[0], NULL, computing_thread, (void *)&at[2]));
    CHECK_OK(pthread_create(&threads[1], NULL, blocked_thread, (void *)&at[3]));
    CHECK_OK(pthread_create(&threads[2], NULL, foreign_thread, (void *)&at[4]));
    for (int i = 0; i < 5; i++)
        AWAIT(atomic_load(&at[i]) != 0);
    gmp_sleep(MS(5));
    for (int n = 0; n < 10; n++) {
        collect();
        for (int i = 0; i < 5; i++)
            if (!is_there(at[i])) {
                fprintf(stderr, "stack %d, collection %d\n", i, n);
                CHECK(is_there(at[i]));
            }
    }
    for (int i = 1; i < 5; i++)
        if (i != 3)
            atomic_store(&at[i], 0);
    CHECK_OK(gmp_chan_send(go_on, &zero));
    CHECK_OK(gmp_chan_send(go_on, &zero));
    for (int i = 0; i < 2; i++)
        CHECK_OK(gmp_join(g[i]));
    for (int i = 0; i < 3; i++)
        CHECK_OK(pthread_join(threads[i], NULL));
    gmp_chan_unref(go_on);
}

static uintptr_t *results_of_all;

/* Waits for another goroutine's results, with the array for them. */
static void waiting_parent(void *arg)
{
    uintptr_t results[8] = {0};
    int dummy;

    (void)arg;
    __atomic_store_n(&results_of_all, results, __ATOMIC_RELEASE);
    CHECK_OK(gmp_chan_recv(go_on, &dummy));
    for (int i = 0; i < 8; i++)
        CHECK(is_there(hide((void *)results[i])));
}

static __attribute__((noinline)) void fill_in_results(void)
{
    for (int i = 0; i < 8; i++)
        results_of_all[i] = (uintptr_t)gmp_gc_alloc(64);
}

/* Others write into the stack of a goroutine that stays parked, which was
 * scanned before and had nothing. */
static void test_results_in_a_parked_stack(void)
{
    int zero = 0;
    gmp_g *g;

    results_of_all = NULL;
    go_on = gmp_chan_make(sizeof(int), 0);
    CHECK_OK(gmp_go_with(NULL, waiting_parent, NULL, &g));
    AWAIT(__atomic_load_n(&results_of_all, __ATOMIC_ACQUIRE) != NULL);
    gmp_sleep(MS(5));
    collect();
    collect();
    fill_in_results();
    results_of_all = NULL;
    collect();
    CHECK_OK(gmp_chan_send(go_on, &zero));
    CHECK_OK(gmp_join(g));
    gmp_chan_unref(go_on);
}

static __attribute__((noinline)) void fill_channel(gmp_chan *ch, int n)
{
    for (int i = 0; i < n; i++) {
        void *p = gmp_gc_alloc(64);
        hidden[i] = hide(p);
        CHECK_OK(gmp_chan_send(ch, &p));
    }
}

static __attribute__((noinline)) void drain_channel(gmp_chan *ch, int n)
{
    for (int i = 0; i < n; i++) {
        void *p;
        CHECK_OK(gmp_chan_recv(ch, &p));
        CHECK(hide(p) == hidden[i]);
    }
}

static void test_channel(void)
{
    gmp_chan *ch = gmp_chan_make(sizeof(void *), 7);

    /* The elements in the buffer begin somewhere in its middle. */
    fill_channel(ch, 5);
    drain_channel(ch, 5);
    fill_channel(ch, 7);
    collect();
    for (int i = 0; i < 7; i++)
        CHECK(is_there(hidden[i]));
    drain_channel(ch, 7);
    fill_channel(ch, 1);
    drain_channel(ch, 1);
    gmp_chan_unref(ch);
}

static gmp_key *key;
static atomic_int deferred;

static void check_there(void *p)
{
    CHECK(is_there(hide(p)));
    atomic_fetch_add(&deferred, 1);
}

static __attribute__((noinline)) void set_up(uintptr_t *h)
{
    void *value = gmp_gc_alloc(40), *arg = gmp_gc_alloc(40);

    h[0] = hide(value);
    h[1] = hide(arg);
    CHECK_OK(gmp_setspecific(key, value));
    CHECK_OK(gmp_defer(check_there, arg));
}

static void with_values(void *arg)
{
    uintptr_t h[2];

    (void)arg;
    set_up(h);
    collect();
    CHECK(is_there(h[0]) && is_there(h[1]));
    collect();
}

static void test_values(void)
{
    gmp_g *g;

    key = gmp_key_create(check_there);
    atomic_store(&deferred, 0);
    CHECK_OK(gmp_go_with(NULL, with_values, NULL, &g));
    CHECK_OK(gmp_join(g));
    CHECK_EQ(atomic_load(&deferred), 2);
}

/* Arguments that wait: of goroutines that have not begun, timers, groups. */

struct small { void *p; uintptr_t h; };
struct large { void *p; uintptr_t h; char room[200]; };
static atomic_int arrived;

static void small_came(void *arg)
{
    struct small *it = arg;

    CHECK(hide(it->p) == it->h && is_there(it->h));
    atomic_fetch_add(&arrived, 1);
}

static void large_came(void *arg)
{
    struct large *it = arg;

    CHECK(hide(it->p) == it->h && is_there(it->h));
    atomic_fetch_add(&arrived, 1);
}

static void object_came(void *p)
{
    CHECK(is_there(hide(p)) && *(uintptr_t *)p == hide(p));
    atomic_fetch_add(&arrived, 1);
}

static int member_came(void *p)
{
    object_came(p);
    return 0;
}

static void *new_object(void)
{
    uintptr_t *p = gmp_gc_alloc(24);

    *p = hide(p);
    return p;
}

static __attribute__((noinline)) void start_all(gmp_group *gr, gmp_timer **t)
{
    struct small s = {gmp_gc_alloc(16), 0};
    struct large l = {gmp_gc_alloc(16), 0, {0}};

    s.h = hide(s.p);
    l.h = hide(l.p);
    *t = gmp_timer_start(MS(100), 0, object_came, new_object());
    CHECK(*t != NULL);
    for (int i = 0; i < 20; i++) {
        CHECK_OK(gmp_go_copy(small_came, &s, sizeof s));
        CHECK_OK(gmp_go_copy(large_came, &l, sizeof l));
        CHECK_OK(gmp_go(object_came, new_object()));
        CHECK_OK(gmp_group_go(gr, member_came, new_object()));
    }
}

static void test_arguments(void)
{
    gmp_group *gr = gmp_group_make();
    gmp_timer *t;

    atomic_store(&arrived, 0);
    start_all(gr, &t);
    collect();
    collect();
    CHECK_OK(gmp_group_wait(gr));
    AWAIT(atomic_load(&arrived) == 81);
    gmp_group_free(gr);
    gmp_timer_free(t);
}

static void test_limit(void)
{
    static void *chain;
    const size_t size = gc_stressed() ? 1000000 : 100000;
    size_t n = 0;

    collect();
    CHECK_EQ(gmp_gc_set_limit(32 << 20), INT64_MAX);
    for (;;) {
        void **p = gmp_gc_alloc(size);
        if (p == NULL)
            break;
        CHECK(++n * size < 100 << 20);
        p[0] = chain;
        chain = p;
    }
    CHECK(n * size > 10 << 20);
    chain = NULL;
    CHECK(gmp_gc_alloc(size) != NULL);
    CHECK_EQ(gmp_gc_set_limit(INT64_MAX), 32 << 20);
}

static void *masked(void *arg)
{
    sigset_t all;
    void *p;

    (void)arg;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, NULL);
    p = gmp_gc_alloc(100);
    for (int i = 0; i < 3; i++)
        CHECK_OK(gmp_gc());
    CHECK(is_there(hide(p)));
    GMP_GC_KEEP(p);
    return NULL;
}

static void test_masked(void)
{
    pthread_t thread;

    CHECK_OK(pthread_create(&thread, NULL, masked, NULL));
    CHECK_OK(pthread_join(thread, NULL));
}

static void test_fork(void)
{
    uintptr_t *p = new_object();
    int status;
    pid_t child = fork();

    CHECK(child >= 0);
    if (child == 0) {
        CHECK(*p == hide(p));
        CHECK(gmp_gc_alloc(10) == NULL);
        for (size_t size = 1; size < 2000; size += 100)
            CHECK(gmp_gc_alloc_noscan(size) == NULL);
        CHECK_EQ(gmp_gc(), -ENOTSUP);
        CHECK_EQ(gmp_gc_free(p), -ENOTSUP);
        CHECK(gmp_gc_base(p) == p);
        gmp_chan *ch = gmp_chan_make(8, 3);
        CHECK(ch != NULL);
        gmp_chan_unref(ch);
        CHECK_OK(gmp_sleep(1000));
        _exit(0);
    }
    CHECK_EQ(waitpid(child, &status, 0), child);
    CHECK_EQ(status, 0);
    CHECK(is_there(hide(p)));
}

static void on_goroutine(void *arg)
{
    (void)arg;
    test_calls();
    test_garbage_goes();
    test_old_frames_keep_nothing();
    test_data();
    test_roots();
    test_stacks();
    test_results_in_a_parked_stack();
    test_channel();
    test_values();
    test_arguments();
    test_limit();
}

int test_main(int argc, char **argv)
{
    gmp_g *g;

    (void)argc;
    (void)argv;
    CHECK_OK(gmp_go_with(NULL, on_goroutine, NULL, &g));
    CHECK_OK(gmp_join(g));
    on_goroutine(NULL);
    test_masked();
    test_fork();
    return 0;
}
