/* Memory that the kernel refuses to the collected heap: each of its mappings in
 * turn, once and with all that follow; and addresses beyond a limit, while
 * goroutines allocate. Whatever is refused, an allocation returns NULL and a
 * collection -ENOMEM, nothing is lost, and with memory all goes on. */
#include "refuse.h"

#include <sys/wait.h>

/* --- Mappings that are refused --- */

/* Making a part of a mapping usable counts as one. */
int mprotect(void *at, size_t n, int prot)
{
    return refuse() ? -1 : (int)syscall(SYS_mprotect, at, n, prot);
}

/* --- Objects --- */

enum { KEPT = 32, WORKERS = 4 };

/* What is allocated in turn: spans of one page and of several, large objects,
 * most of an arena, and more than one. */
static const size_t sizes[] = {
    32, 48, 1000, 10000, 32768, 40000, 1 << 20, 9 << 20, 40 << 20, 70 << 20,
};
enum { SIZES = sizeof sizes / sizeof *sizes, LONG = 1 << 20 };

/* A long one has its bytes elsewhere, and these are not scanned. */
struct object {
    size_t size, seed;
    struct object *next;
    char *bytes;
};

/* What the objects of one worker hang from. */
struct table {
    struct object *first[KEPT];
    uint64_t random;
    long got, none;
    gmp_sema go_on; /* of its worker alone: each works once */
};

static struct table tables[WORKERS + 2];

/* The last word, in the last page. */
static size_t *end_of(struct object *it)
{
    char *from = it->bytes ? it->bytes : (char *)(it + 1);

    return (size_t *)(from + it->size) - 1;
}

static struct object *make(struct table *t, size_t size)
{
    struct object *it = gmp_gc_alloc(size > LONG ? sizeof *it
                                                 : sizeof *it + size);
    char *bytes = it && size > LONG ? gmp_gc_alloc_noscan(size) : NULL;

    if (it == NULL || (size > LONG && bytes == NULL)) {
        t->none++;
        return NULL;
    }
    t->got++;
    CHECK(it->next == NULL && it->size == 0);
    it->size = size;
    it->bytes = bytes;
    it->seed = (size_t)next_random(&t->random);
    *end_of(it) = ~it->seed;
    return it;
}

static void look(struct object *it)
{
    for (; it; it = it->next) {
        char *at = it->bytes ? it->bytes : (char *)it;

        CHECK(gmp_gc_base(end_of(it)) == at);
        CHECK(gmp_gc_size(at) >= it->size);
        CHECK_EQ(*end_of(it), ~it->seed);
    }
}

static void look_at_all(struct table *t)
{
    for (int i = 0; i < KEPT; i++)
        look(t->first[i]);
}

/* Frees a list, by hand or by leaving it. */
static void drop(struct table *t, int i)
{
    struct object *it = t->first[i], *next;

    look(it);
    t->first[i] = NULL;
    if (next_random(&t->random) % 2)
        return;
    for (; it; it = next) {
        next = it->next;
        CHECK_OK(gmp_gc_free(it->bytes));
        CHECK_OK(gmp_gc_free(it));
    }
}

static atomic_int cleaned;

static void cleans(void *arg)
{
    atomic_fetch_add(&cleaned, 1);
}

/* Some of everything. What fails has changed nothing. */
static void work(struct table *t, size_t most)
{
    struct object *it, *more;
    gmp_weak *weak;
    int r;

    for (int n = 0; n < KEPT; n++) {
        size_t size = sizes[next_random(&t->random) % SIZES];
        int i = (int)(next_random(&t->random) % KEPT);

        if (size > most || (size > LONG && next_random(&t->random) % 2))
            continue;
        if (next_random(&t->random) % 3 == 0)
            drop(t, i);
        if ((it = make(t, size)) == NULL)
            continue;
        it->next = t->first[i];
        t->first[i] = it;
        weak = gmp_gc_weak(it);
        r = gmp_gc_cleanup(it, cleans, NULL);
        if (r != 0)
            CHECK_EQ(r, -ENOMEM);
        CHECK(weak == NULL || gmp_gc_weak_get(weak) == it);
        if ((more = make(t, 100)) != NULL) {
            size_t seed = more->seed;
            struct object *grown = gmp_gc_realloc(more, 5000);

            CHECK_EQ(*end_of(grown ? grown : more), ~seed);
            t->none += grown == NULL;
        }
    }
    r = gmp_gc();
    if (r != 0 && r != -ENOMEM)
        CHECK_EQ(r, -EBUSY);
    look_at_all(t);
}

/* --- One mapping after the other --- */

static gmp_sema done;
static atomic_bool over;
static const size_t all_sizes = SIZE_MAX;

static void worker(void *arg)
{
    struct table *t = arg;

    for (;;) {
        CHECK_OK(gmp_sema_acquire(&t->go_on));
        if (atomic_load(&over))
            return;
        work(t, all_sizes);
        CHECK_OK(gmp_sema_release(&done));
    }
}

static void *thread(void *arg)
{
    worker(arg);
    return NULL;
}

/* Each worker works, on a P or without one. */
static void let_all_work(void)
{
    work(&tables[0], all_sizes);
    for (int i = 0; i <= WORKERS; i++)
        CHECK_OK(gmp_sema_release(&tables[i + 1].go_on));
    for (int i = 0; i <= WORKERS; i++)
        CHECK_OK(gmp_sema_acquire(&done));
}

/* Refuses mapping number `n`, and with `rest` all that follow. Returns how many
 * there were, or 0 if there is no such mapping. */
static long run(long n, bool rest)
{
    gmp_g *gs[WORKERS];
    pthread_t host;
    long last;

    for (int i = 0; i < WORKERS + 2; i++)
        tables[i].random = (uint64_t)i;
    for (int i = 0; i < WORKERS; i++)
        gs[i] = spawn(worker, &tables[i + 1]);
    CHECK_OK(pthread_create(&host, NULL, thread, &tables[WORKERS + 1]));
    gmp_sleep(MS(1));

    arm(n, rest);
    let_all_work();
    disarm();
    last = atomic_load(&requests);

    /* With memory nothing is refused. */
    for (int i = 0; i < WORKERS + 2; i++) {
        if (!refused)
            CHECK_EQ(tables[i].none, 0);
        tables[i].none = 0;
    }
    let_all_work();
    CHECK_OK(gmp_gc());
    for (int i = 0; i < WORKERS + 2; i++) {
        CHECK_EQ(tables[i].none, 0);
        CHECK(tables[i].got > 0);
    }
    for (int i = 0; i < SIZES; i++)
        CHECK(make(&tables[0], sizes[i]) != NULL);

    atomic_store(&over, true);
    for (int i = 0; i <= WORKERS; i++)
        CHECK_OK(gmp_sema_release(&tables[i + 1].go_on));
    for (int i = 0; i < WORKERS; i++)
        CHECK_OK(gmp_join(gs[i]));
    CHECK_OK(pthread_join(host, NULL));
    return refused ? last : 0;
}

/* --- A limit of addresses that falls and rises --- */

static atomic_bool enough;

static void allocates(void *arg)
{
    struct table *t = arg;

    while (!atomic_load(&enough)) {
        work(t, 10 << 20);
        gmp_yield();
    }
}

static void set_limit(rlim_t bytes)
{
    struct rlimit limit;

    CHECK_OK(getrlimit(RLIMIT_AS, &limit));
    limit.rlim_cur = bytes < limit.rlim_max ? bytes : limit.rlim_max;
    CHECK_OK(setrlimit(RLIMIT_AS, &limit));
}

static rlim_t addresses_in_use(void)
{
    return (rlim_t)status_value("/proc/self/status", "VmSize:") << 10;
}

static long count(bool got)
{
    long n = 0;

    for (int i = 0; i < WORKERS; i++)
        n += got ? *(volatile long *)&tables[i].got
                 : *(volatile long *)&tables[i].none;
    return n;
}

static void run_below_a_limit(void)
{
    gmp_g *gs[WORKERS];
    long before;

    CHECK(gmp_set_maxprocs(WORKERS) > 0);
    for (int i = 0; i < WORKERS; i++) {
        tables[i].random = (uint64_t)i;
        gs[i] = spawn(allocates, &tables[i]);
    }
    for (int n = 0; n < 10; n++) {
        before = count(false);
        for (int i = 0; i < 100 && count(false) == before; i++) {
            set_limit(addresses_in_use());
            gmp_sleep(MS(2));
        }
        before = count(true);
        set_limit(RLIM_INFINITY);
        AWAIT(count(true) > before + 100);
    }
    atomic_store(&enough, true);
    for (int i = 0; i < WORKERS; i++)
        CHECK_OK(gmp_join(gs[i]));
    CHECK(count(false) > 0);
    CHECK_OK(gmp_gc());
    for (int i = 0; i < WORKERS; i++)
        look_at_all(&tables[i]);
}

/* --- Each in a process of its own, with a heap of its own --- */

/* Runs this program with two arguments; returns what it has printed. */
static long in_child(long n, bool rest)
{
    char first[24], line[64] = "";
    int status, to[2];
    pid_t pid;

    snprintf(first, sizeof first, "%ld", n);
    CHECK_OK(pipe(to));
    CHECK((pid = fork()) >= 0);
    if (pid == 0) {
        dup2(to[1], 1);
        execl("/proc/self/exe", "heap_refused", "child", first,
              rest ? "1" : "0", NULL);
        _exit(127);
    }
    close(to[1]);
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    if (status != 0)
        fprintf(stderr, "mapping %ld%s\n", n, rest ? " and the rest" : "");
    CHECK_EQ(status, 0);
    CHECK(read(to[0], line, sizeof line - 1) > 0);
    close(to[0]);
    return strtol(line, NULL, 10);
}

static int child(long n, bool rest)
{
    long result = 0;

    if (n > 0)
        result = run(n, rest);
    else
        run_below_a_limit();
    printf("%ld\n", result);
    return 0;
}

int test_main(int argc, char **argv)
{
    long n = 0;

    if (argc == 4 && strcmp(argv[1], "child") == 0)
        return child(strtol(argv[2], NULL, 10), argv[3][0] == '1');
    test_watchdog(90);
    in_child(0, false);
    do
        n++;
    while (in_child(n, false) != 0);
    printf("%ld mappings\n", n - 1);
    CHECK(n > 20);
    for (long i = 1; i < n; i++)
        in_child(i, true);
    return 0;
}
