/* The collected heap at its bounds: the limit and the address space run out and
 * are there again; pointers that are none of its objects, of another copy of
 * the library too, are errors; many free the same; a thread that blocks the
 * signal stops collections, not the program; and a handler that takes the place
 * of the library's stops neither. */
#include "shadow.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/stat.h>

enum { WORKERS = 6, OBJECTS = 2000, LIMIT = 24 << 20 };

static void nop(void *arg)
{
    (void)arg;
}

/* --- The limit ------------------------------------------------------------ */

static atomic_long held;
static atomic_int full;
static int rounds = 3;
static gmp_barrier line = GMP_BARRIER_INIT(WORKERS);

/* Takes until there is no more, and gives all back. */
static void take_all(void *arg)
{
    uint64_t seed = (uintptr_t)arg + 1;
    size_t most = gc_stressed() ? 2000000 : 60000;

    for (int round = 0; round < rounds; round++) {
        void **chain = NULL, **p;

        for (;;) {
            size_t size = 8 + shadow_random(&seed) % most;

            p = round % 2 ? gmp_gc_alloc(size) : gmp_gc_alloc_root(size);
            if (p == NULL)
                break;
            atomic_fetch_add(&held, (long)gmp_gc_size(p));
            /* Each has checked the limit before, and may have one object. */
            CHECK(atomic_load(&held) <= LIMIT + WORKERS * (long)(most + 8192));
            *p = chain;
            chain = p;
        }
        atomic_fetch_add(&full, 1);
        CHECK(gmp_barrier_wait(&line) >= 0);
        CHECK(atomic_load(&held) > LIMIT / 2);
        CHECK(gmp_barrier_wait(&line) >= 0);
        for (; chain != NULL; chain = p) {
            p = *chain;
            atomic_fetch_sub(&held, (long)gmp_gc_size(chain));
            CHECK_OK(gmp_gc_free(chain));
        }
        CHECK(gmp_barrier_wait(&line) >= 0);
    }
}

static void *take_all_thread(void *arg)
{
    take_all(arg);
    return NULL;
}

static void test_limit(void)
{
    pthread_t threads[2];
    gmp_g *g[WORKERS - 2];

    CHECK_EQ(gmp_gc_set_limit(LIMIT), INT64_MAX);
    for (intptr_t i = 0; i < WORKERS - 2; i++)
        CHECK_OK(gmp_go_with(NULL, take_all, (void *)i, &g[i]));
    for (intptr_t i = 0; i < 2; i++)
        CHECK_OK(pthread_create(&threads[i], NULL, take_all_thread,
                                (void *)(i + WORKERS)));
    for (int i = 0; i < WORKERS - 2; i++)
        CHECK_OK(gmp_join(g[i]));
    for (int i = 0; i < 2; i++)
        CHECK_OK(pthread_join(threads[i], NULL));
    CHECK_EQ(atomic_load(&full), rounds * WORKERS);
    CHECK_EQ(atomic_load(&held), 0);
    CHECK_EQ(gmp_gc_set_limit(INT64_MAX), LIMIT);
}

static __attribute__((noinline)) void make_garbage(int n, size_t size)
{
    for (int i = 0; i < n; i++)
        CHECK(gmp_gc_alloc_noscan(size) != NULL);
}

/* What grows past the limit has garbage collected first, and what shrinks is
 * within it. */
static void test_realloc_at_limit(void)
{
    enum { MB = 1 << 20 };
    int percent = gmp_gc_set_percent(-1);
    char *p;

    CHECK_OK(gmp_gc());
    CHECK_EQ(gmp_gc_set_limit(LIMIT), INT64_MAX);
    p = gmp_gc_alloc_noscan(LIMIT / 3);
    CHECK(p != NULL);
    p[0] = 'p';
    make_garbage(LIMIT / 2 / MB, MB);
    p = gmp_gc_realloc(p, LIMIT / 2);
    CHECK(p != NULL && p[0] == 'p');
    CHECK(gmp_gc_realloc(p, LIMIT) == NULL);
    CHECK_EQ(gmp_gc_set_limit(MB), LIMIT);
    CHECK(gmp_gc_realloc(p, LIMIT) == NULL);
    p = gmp_gc_realloc(p, 2 * MB);
    CHECK(p != NULL && p[0] == 'p');
    p = gmp_gc_realloc(p, 100);
    CHECK(p != NULL && p[0] == 'p');
    CHECK_EQ(gmp_gc_set_limit(INT64_MAX), MB);
    CHECK_EQ(gmp_gc_set_percent(percent), -1);
    CHECK_OK(gmp_gc_free(p));
}

/* --- Address space -------------------------------------------------------- */

/* A number of a file of /proc, the first or the second. */
static unsigned long number_of(const char *path, int nth)
{
    FILE *file = fopen(path, "r");
    unsigned long first = 0, second = 0;

    CHECK(file != NULL && fscanf(file, "%lu %lu", &first, &second) >= nth);
    fclose(file);
    return nth == 1 ? first : second;
}

static rlim_t address_space(void)
{
    return number_of("/proc/self/statm", 1) * (rlim_t)getpagesize();
}

/* What no machine has costs the question, and no memory. */
static void test_too_much(void)
{
    unsigned long before = number_of("/proc/self/statm", 2);

    if (number_of("/proc/sys/vm/overcommit_memory", 1) == 1)
        return; /* the kernel gives any size there */
    for (int shift = 44; shift < 64; shift++) {
        CHECK(gmp_gc_alloc((size_t)1 << shift) == NULL);
        CHECK(gmp_gc_alloc_noscan(((size_t)1 << shift) + 1) == NULL);
        CHECK(gmp_gc_alloc_root(((size_t)1 << shift) - 1) == NULL);
        CHECK(gmp_gc_calloc((size_t)1 << (shift - 3), 8) == NULL);
    }
    CHECK(number_of("/proc/self/statm", 2) < before + (64u << 20 >> 12));
}

/* The chain is taken apart in the end: a word of somebody's that looks like a
 * pointer may keep an object, and would keep all links behind it. heap_stale.c
 * has such words. */
static __attribute__((noinline)) size_t take_space(void)
{
    void **chain = NULL, **p;
    size_t n = 0;

    while ((p = gmp_gc_alloc(1 << 20)) != NULL) {
        CHECK(++n < 1000);
        *p = chain;
        chain = p;
    }
    for (size_t i = 0; i < n; i++, chain = p) {
        CHECK(gmp_gc_base(chain) == chain);
        p = *chain;
        *chain = NULL;
    }
    CHECK(chain == NULL);
    return n;
}

static void test_address_space(void)
{
    struct rlimit was, now;
    size_t n;

    /* The tools have their own. */
    if (test_under(NULL))
        return;
    CHECK_OK(getrlimit(RLIMIT_AS, &was));
    now = was;
    now.rlim_cur = address_space() + (160u << 20);
    CHECK_OK(setrlimit(RLIMIT_AS, &now));
    n = take_space();
    CHECK(n >= 60);
    CHECK(gmp_gc_alloc(300u << 20) == NULL);
    CHECK(gmp_gc_alloc_noscan((size_t)1 << 46) == NULL);
    CHECK_OK(gmp_gc());
    CHECK(take_space() >= n - n / 8);
    CHECK_OK(setrlimit(RLIMIT_AS, &was));
    CHECK_OK(gmp_gc());
}

/* --- Pointers ------------------------------------------------------------- */

static void is_none(void *p)
{
    gmp_weak *weak = gmp_gc_weak(p);

    if (gmp_gc_base(p) != NULL || gmp_gc_size(p) != 0 || weak != NULL) {
        fprintf(stderr, "%p\n", p);
        CHECK(gmp_gc_base(p) == NULL);
        CHECK_EQ(gmp_gc_size(p), 0);
        CHECK(weak == NULL);
    }
    CHECK_EQ(gmp_gc_cleanup(p, nop, NULL), -EINVAL);
    if (p != NULL) {
        CHECK_EQ(gmp_gc_free(p), -EINVAL);
        CHECK(gmp_gc_realloc(p, 100) == NULL);
    }
}

static void test_pointers(void)
{
    static int in_data;
    size_t page = (size_t)getpagesize();
    char *p = gmp_gc_alloc(100), *big = gmp_gc_alloc(5 << 20);
    char *mapped =
        mmap(NULL, page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    void *foreign = malloc(100);
    uint64_t seed = 9;
    int on_stack;

    CHECK(p != NULL && big != NULL && mapped != MAP_FAILED && foreign != NULL);
    is_none(NULL);
    is_none(&on_stack);
    is_none(&in_data);
    is_none(foreign);
    is_none(mapped);
    is_none((void *)(uintptr_t)test_pointers);
    is_none((void *)1);
    is_none((void *)(uintptr_t)-1);
    is_none((void *)(uintptr_t)INT64_MIN);
    is_none((void *)(((uintptr_t)1 << 47) - 16));
    for (int i = 0; i < 10000; i++) {
        void *any = (void *)(uintptr_t)shadow_random(&seed);

        CHECK(gmp_gc_base(any) == NULL && gmp_gc_free(any) == -EINVAL);
    }
    /* Into the middle: it is of the object, and not to be freed. */
    for (int i = 1; i < 100; i++) {
        CHECK_EQ(gmp_gc_free(p + i), -EINVAL);
        CHECK(gmp_gc_realloc(p + i, 10) == NULL);
        CHECK(gmp_gc_base(p + i) == p);
    }
    CHECK_EQ(gmp_gc_free(big + page), -EINVAL);
    CHECK_OK(gmp_gc_free(big));
    is_none(big);
    is_none(big + (3 << 20));
    CHECK_OK(gmp_gc_free(p));
    is_none(p);
    is_none(p + 50);
    CHECK_OK(munmap(mapped, page));
    is_none(mapped);
    free(foreign);
}

static void *doomed[OBJECTS];
static atomic_int freed;

static void frees_all(void *arg)
{
    for (int i = 0; i < OBJECTS; i++) {
        int at = arg ? OBJECTS - 1 - i : i, rc = gmp_gc_free(doomed[at]);

        CHECK(rc == 0 || rc == -EINVAL);
        atomic_fetch_add(&freed, rc == 0);
    }
}

static void *frees_all_thread(void *arg)
{
    frees_all(arg);
    return NULL;
}

/* Each is freed once, whoever comes first. */
static void test_frees_at_once(void)
{
    pthread_t thread;
    gmp_g *g[3];
    int n = gc_stressed() ? 30 : OBJECTS;

    for (int i = 0; i < OBJECTS; i++) {
        doomed[i] = i < n ? gmp_gc_alloc(16 + (size_t)i % 7 * 500) : doomed[0];
        CHECK(doomed[i] != NULL);
    }
    atomic_store(&freed, 0);
    for (intptr_t i = 0; i < 3; i++)
        CHECK_OK(gmp_go_with(NULL, frees_all, (void *)(i % 2), &g[i]));
    CHECK_OK(pthread_create(&thread, NULL, frees_all_thread, &freed));
    for (int i = 0; i < 3; i++)
        CHECK_OK(gmp_join(g[i]));
    CHECK_OK(pthread_join(thread, NULL));
    CHECK_EQ(atomic_load(&freed), n);
    memset(doomed, 0, sizeof doomed);
}

/* --- A thread that does not stop ------------------------------------------ */

static atomic_int deaf;

static void *is_deaf(void *arg)
{
    sigset_t all, was;
    long *p = gmp_gc_alloc(sizeof *p);

    (void)arg;
    CHECK(p != NULL);
    *p = 4711;
    sigfillset(&all);
    CHECK_OK(pthread_sigmask(SIG_BLOCK, &all, &was));
    atomic_store(&deaf, 1);
    while (atomic_load(&deaf) == 1)
        block_ns(MS(1));
    CHECK_OK(pthread_sigmask(SIG_SETMASK, &was, NULL));
    atomic_store(&deaf, 3);
    while (atomic_load(&deaf) == 3)
        block_ns(MS(1));
    CHECK_EQ(*p, 4711);
    GMP_GC_KEEP(p);
    return NULL;
}

static void test_deaf(void)
{
    gmp_gc_stats before, after;
    pthread_t thread;

    /* Valgrind answers for it. */
    if (test_under("valgrind"))
        return;
    CHECK_OK(pthread_create(&thread, NULL, is_deaf, NULL));
    AWAIT(atomic_load(&deaf) == 1);
    CHECK_OK(gmp_gc_get_stats(&before, sizeof before));
    CHECK_EQ(gmp_gc(), -EBUSY);
    /* Where each allocation tries, it takes 100 ms. */
    for (int i = 0; i < (gc_stressed() ? 5 : 1000); i++)
        CHECK(gmp_gc_alloc(10000) != NULL);
    CHECK_OK(gmp_gc_get_stats(&after, sizeof after));
    CHECK(after.failed > before.failed);
    CHECK_EQ(after.collections, before.collections);
    atomic_store(&deaf, 2);
    AWAIT(atomic_load(&deaf) == 3);
    CHECK_OK(gmp_gc());
    atomic_store(&deaf, 4);
    CHECK_OK(pthread_join(thread, NULL));
}

/* --- A handler that takes the place of the library's ---------------------- */

static atomic_int handled;
static atomic_bool computes;

static void on_urgent(int sig)
{
    (void)sig;
    atomic_fetch_add(&handled, 1);
}

static void *compute(void *arg)
{
    long *p = gmp_gc_alloc(sizeof *p);

    (void)arg;
    CHECK(p != NULL);
    *p = 4711;
    atomic_store(&computes, true);
    while (atomic_load(&computes))
        continue;
    CHECK_EQ(*p, 4711);
    GMP_GC_KEEP(p);
    return NULL;
}

static void test_replaced_handler(void)
{
    static const int flags[] = {SA_RESETHAND, SA_RESTART | SA_ONSTACK};
    pthread_t thread;

    CHECK_OK(pthread_create(&thread, NULL, compute, NULL));
    AWAIT(atomic_load(&computes));
    CHECK_OK(gmp_gc());
    for (int i = 0; i < 2; i++) {
        struct sigaction action = {.sa_handler = on_urgent,
                                   .sa_flags = flags[i]};

        CHECK_OK(sigaction(SIGURG, &action, NULL));
        CHECK_OK(gmp_gc());
        CHECK_OK(gmp_gc());
    }
    atomic_store(&handled, 0);
    CHECK_OK(raise(SIGURG));
    CHECK_EQ(atomic_load(&handled), 1);
    atomic_store(&computes, false);
    CHECK_OK(pthread_join(thread, NULL));
}

/* --- Another copy of the library ------------------------------------------ */

static void *copy_of_library(void)
{
    char path[] = "/tmp/gmprt-copy-XXXXXX";
    int to = mkstemp(path), from;
    struct stat st;
    Dl_info info;
    void *copy;

    CHECK(dladdr((void *)(uintptr_t)gmp_gc_alloc, &info) != 0 && to >= 0);
    from = open(info.dli_fname, O_RDONLY | O_CLOEXEC);
    CHECK(from >= 0 && fstat(from, &st) == 0);
    for (off_t left = st.st_size; left > 0;) {
        ssize_t n = sendfile(to, from, NULL, (size_t)left);

        CHECK(n > 0);
        left -= n;
    }
    close(from);
    close(to);
    copy = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (copy == NULL)
        fprintf(stderr, "%s\n", dlerror());
    unlink(path);
    return copy;
}

static void test_copy(void)
{
    void *copy = copy_of_library();
    void *(*alloc)(size_t), *(*base)(const void *);
    int (*let_go)(void *), (*collect)(void), (*end)(int64_t);
    long *ours, *theirs;

    CHECK(copy != NULL);
    *(void **)&alloc = dlsym(copy, "gmp_gc_alloc");
    *(void **)&base = dlsym(copy, "gmp_gc_base");
    *(void **)&let_go = dlsym(copy, "gmp_gc_free");
    *(void **)&collect = dlsym(copy, "gmp_gc");
    *(void **)&end = dlsym(copy, "gmp_shutdown");
    CHECK(alloc && base && let_go && collect && end && alloc != gmp_gc_alloc);
    ours = gmp_gc_alloc(sizeof *ours);
    theirs = alloc(sizeof *theirs);
    CHECK(ours != NULL && theirs != NULL);
    *ours = 1;
    *theirs = 2;
    for (int i = 0; i < 3; i++) {
        is_none(theirs);
        CHECK(base(ours) == NULL && base(theirs) == theirs);
        CHECK_EQ(let_go(ours), -EINVAL);
        CHECK_OK(gmp_gc());
        CHECK_OK(collect());
        CHECK(*ours == 1 && *theirs == 2);
    }
    CHECK_OK(let_go(theirs));
    CHECK_EQ(let_go(theirs), -EINVAL);
    CHECK_OK(end(gmp_after_ns(SEC(20))));
    CHECK_OK(gmp_gc());
    CHECK_OK(gmp_gc_free(ours));
}

static void on_goroutine(void *arg)
{
    (void)arg;
    test_pointers();
    test_frees_at_once();
}

int test_main(int argc, char **argv)
{
    gmp_g *g;

    (void)argc;
    (void)argv;
    if (gc_stressed())
        rounds = 1;
    CHECK_OK(gmp_go_with(NULL, on_goroutine, NULL, &g));
    CHECK_OK(gmp_join(g));
    on_goroutine(NULL);
    test_limit();
    test_realloc_at_limit();
    test_too_much();
    test_address_space();
    test_deaf();
    /* A copy of a tool's, or of valgrind's, is another matter. */
    if (!test_under(NULL)) {
        test_replaced_handler();
        test_copy();
    }
    return 0;
}
