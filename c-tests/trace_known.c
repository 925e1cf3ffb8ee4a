/* A program whose events are known: tests/trace.rs looks for each of them in
 * its trace. Arguments: "file PATH" or "save PATH", with one P; "setting" where
 * the environment has started the trace; "fatal" to die;
 * "many" for more goroutines than anybody looks at; "heap PATH" to collect.
 */
#include "test.h"

#include <fcntl.h>

static gmp_chan *ch;
static gmp_mutex mutex = GMP_MUTEX_INIT;
static int pipe_fds[2];
static _Atomic(gmp_g *) parked;
static atomic_int contends, reads, yields, unblocked, stop;

static void reader(void *arg)
{
    long x;

    for (int i = 0; i < 3; i++)
        CHECK_OK(gmp_chan_recv(ch, &x));
    gmp_trace_mark("three received");
}

static void writer(void *arg)
{
    for (long i = 0; i < 3; i++) {
        CHECK_OK(gmp_sleep(MS(2)));
        CHECK_OK(gmp_chan_send(ch, &i));
    }
}

static void holder(void *arg)
{
    gmp_mutex_lock(&mutex);
    AWAIT(atomic_load(&contends));
    CHECK_OK(gmp_sleep(MS(20)));
    gmp_mutex_unlock(&mutex);
}

static void contender(void *arg)
{
    CHECK_OK(gmp_sleep(MS(1)));
    atomic_store(&contends, 1);
    gmp_mutex_lock(&mutex);
    gmp_mutex_unlock(&mutex);
}

static void pipe_reader(void *arg)
{
    char c;

    atomic_store(&reads, 1);
    CHECK_EQ(gmp_read(pipe_fds[0], &c, 1), 1);
}

static void parker(void *arg)
{
    char reason[16];

    /* The reason is gone when the trace is written. */
    snprintf(reason, sizeof reason, "own %s", "reason");
    atomic_store(&parked, gmp_self());
    CHECK_OK(gmp_park(NULL, NULL, reason));
    memset(reason, 'x', sizeof reason - 1);
}

static void unparker(void *arg)
{
    AWAIT(atomic_load(&parked));
    CHECK_OK(gmp_sleep(MS(2)));
    CHECK_OK(gmp_ready(atomic_load(&parked)));
}

static void child(void *arg)
{
    CHECK_OK(gmp_sleep(MS(2)));
}

static void parent(void *arg)
{
    CHECK_OK(gmp_join(spawn(child, NULL)));
}

static void yielder(void *arg)
{
    while (!atomic_load(&stop)) {
        gmp_yield();
        atomic_fetch_add(&yields, 1);
    }
}

static void blocker(void *arg)
{
    int before = atomic_load(&yields);

    /* There is one P, so the other goroutine runs only once it is taken. */
    do
        block_ns(MS(60));
    while (atomic_load(&yields) == before);
    CHECK_OK(gmp_set_name("blocked long"));
    gmp_yield();
    atomic_store(&unblocked, 1);
    /* One join of the main thread has to wait. */
    await_sleep(getpid());
}

static gmp_g *named(gmp_fn fn, const char *name)
{
    gmp_attr attr = GMP_ATTR_INIT;
    gmp_g *g = NULL;

    attr.name = name;
    CHECK_OK(gmp_go_with(&attr, fn, NULL, &g));
    return g;
}

static void known(void)
{
    gmp_g *gs[10];
    int n = 0;

    ch = gmp_chan_make(sizeof(long), 0);
    CHECK_OK(pipe(pipe_fds));
    gmp_trace_mark("begin");
    gs[n++] = named(reader, "reader");
    gs[n++] = named(writer, "writer");
    gs[n++] = named(holder, "holder");
    gs[n++] = named(contender, "contender");
    gs[n++] = named(pipe_reader, "pipe reader");
    gs[n++] = named(parker, "parker");
    gs[n++] = named(unparker, "unparker");
    gs[n++] = named(parent, "parent");
    AWAIT(atomic_load(&reads));
    gmp_sleep(MS(20));
    CHECK_EQ(write(pipe_fds[1], "x", 1), 1);
    for (int i = 0; i < n; i++)
        CHECK_OK(gmp_join(gs[i]));
    n = 0;
    gs[n++] = named(yielder, "yielder");
    gs[n++] = named(blocker, "blocker");
    AWAIT(atomic_load(&unblocked));
    atomic_store(&stop, 1);
    for (int i = 0; i < n; i++)
        CHECK_OK(gmp_join(gs[i]));
    gmp_trace_mark("end");
}

static void many(void)
{
    enum { MANY = 5000 };
    static gmp_g *gs[MANY];

    for (int round = 0; round < 4; round++) {
        for (int i = 0; i < MANY; i++)
            gs[i] = spawn(child, NULL);
        for (int i = 0; i < MANY; i++)
            CHECK_OK(gmp_join(gs[i]));
    }
}

/* The only goroutine locks itself out: a deadlock, which is a fatal error. */
static int dies(int argc, char **argv)
{
    gmp_trace_mark("about to die");
    gmp_mutex_lock(&mutex);
    gmp_mutex_lock(&mutex);
    return 0;
}

/* Three collections, with a megabyte more alive in each. */
static void collects(void)
{
    void *volatile kept[3];

    for (int i = 0; i < 3; i++) {
        CHECK((kept[i] = gmp_gc_alloc(1 << 20)) != NULL);
        CHECK_OK(gmp_gc());
        CHECK_OK(gmp_sleep(MS(5)));
    }
}

int test_main(int argc, char **argv)
{
    const char *how = argc > 1 ? argv[1] : "";
    const char *path = argc > 2 ? argv[2] : NULL;

    if (strcmp(how, "file") == 0) {
        CHECK_OK(gmp_trace_start(path));
        known();
        CHECK_OK(gmp_trace_stop());
    } else if (strcmp(how, "save") == 0) {
        int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0666);

        CHECK(fd >= 0);
        CHECK_OK(gmp_trace_start(NULL));
        known();
        CHECK_OK(gmp_trace_save(fd));
        CHECK_OK(gmp_trace_stop());
        close(fd);
    } else if (strcmp(how, "setting") == 0) {
        known();
    } else if (strcmp(how, "many") == 0) {
        CHECK_OK(gmp_trace_start(path));
        many();
        CHECK_OK(gmp_trace_stop());
    } else if (strcmp(how, "heap") == 0) {
        CHECK_OK(gmp_trace_start(path));
        collects();
        CHECK_OK(gmp_trace_stop());
    } else if (strcmp(how, "fatal") == 0) {
        return gmp_run_main(argc, argv, dies);
    } else {
        CHECK(!"a known way");
    }
    return 0;
}
