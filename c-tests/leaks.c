/* gmp_dump tells which goroutines are leaked: those that wait for an object of
 * the heap that nothing else can reach. It tells of no other one, wherever the
 * pointer lies that still leads to the object. */
#include "test.h"

#include <sys/mman.h>

enum { TEXT = 1 << 18 };

static char text[TEXT];

/* Whatever leads to the channels of the goroutines that are not leaked. Not
 * static: a compiler leaves out what is only written. */
struct {
    gmp_chan *direct;
    gmp_chan **allocated, **mapped, **collected;
    gmp_chan *carrier;
    char *inside;
    gmp_g *handle;
    void **frame;
    gmp_chan *first;
} roots;
__thread gmp_chan *of_thread;
static atomic_int ready, ended;
static int started;
static gmp_chan *go_on;

static int waiting(void)
{
    gmp_stats stats;

    CHECK_OK(gmp_get_stats(&stats, sizeof stats));
    return (int)stats.goroutines_waiting;
}

/* Starts a goroutine, and lets it come to its wait. One that begins where
 * another one parks would have words of that one's left on its stack. */
static void start(const char *name, gmp_fn fn, void *arg, gmp_g **out)
{
    gmp_attr attr = GMP_ATTR_INIT;

    attr.name = name;
    CHECK_OK(gmp_go_with(&attr, fn, arg, out));
    started++;
    AWAIT(waiting() == started);
}

static void done(int result)
{
    CHECK_EQ(result, -ECANCELED);
    atomic_fetch_add(&ended, 1);
}

static gmp_chan *make(size_t capacity)
{
    gmp_chan *ch = gmp_gc_chan_make(sizeof(long), capacity);

    CHECK(ch != NULL);
    return ch;
}

static void receive(void *ch)
{
    long n;

    done(gmp_chan_recv(ch, &n));
}

/* A channel that only this goroutine knows. */
static void receive_and_free(void *ch)
{
    receive(ch);
    gmp_chan_unref(ch);
}

static void send_one(void *ch)
{
    long n = 1;

    done(gmp_chan_send(ch, &n));
}

static void receive_in_time(void *ch)
{
    long n;

    done(gmp_chan_recv_until(ch, &n, gmp_after_ns(SEC(1000))));
}

struct locks {
    char before[40];
    gmp_mutex mutex;
    gmp_rwmutex rw;
    gmp_cond cond;
    gmp_sema sema;
    gmp_waitgroup wg;
};

/* Locks that will never be free: mutex and rw are held. */
static struct locks *make_locks(void)
{
    struct locks *all = gmp_gc_alloc(sizeof *all);

    /* A pointer to the next object would be one to the end of this one. */
    CHECK(all != NULL && gmp_gc_alloc(sizeof *all) != NULL);
    CHECK_OK(gmp_mutex_lock(&all->mutex));
    CHECK_OK(gmp_rwmutex_lock(&all->rw));
    CHECK_OK(gmp_waitgroup_add(&all->wg, 1));
    return all;
}

static void want_mutex(void *locks)
{
    struct locks *all = locks;

    /* A cancel does not interrupt gmp_mutex_lock. */
    done(gmp_mutex_lock_until(&all->mutex, GMP_FOREVER));
}

static void want_rw(void *locks)
{
    struct locks *all = locks;

    done(gmp_rwmutex_rlock_until(&all->rw, GMP_FOREVER));
}

static void want_sema(void *locks)
{
    struct locks *all = locks;

    done(gmp_sema_acquire(&all->sema));
}

static void want_group(void *locks)
{
    struct locks *all = locks;

    done(gmp_waitgroup_wait(&all->wg));
}

static void want_cond(void *arg)
{
    struct locks *all = gmp_gc_alloc(sizeof *all);
    int result;

    (void)arg;
    CHECK(all != NULL && gmp_gc_alloc(sizeof *all) != NULL);
    CHECK_OK(gmp_mutex_lock(&all->mutex));
    result = gmp_cond_wait(&all->cond, &all->mutex);
    CHECK_OK(gmp_mutex_unlock(&all->mutex));
    done(result);
}

static void want_any(int n)
{
    gmp_case cases[20];
    long value = 0;

    for (int i = 0; i < n; i++)
        cases[i] = (gmp_case){make(0), &value, i % 2 ? GMP_SEND : GMP_RECV, 0};
    done(gmp_select(cases, (size_t)n));
}

static void select_two(void *arg)
{
    (void)arg;
    want_any(2);
}

static void select_many(void *arg)
{
    (void)arg;
    want_any(20);
}

/* A select with one channel that a static variable leads to. */
static void select_known(void *ch)
{
    long value;
    gmp_case cases[2] = {{make(0), &value, GMP_RECV, 0},
                         {ch, &value, GMP_RECV, 0}};

    done(gmp_select(cases, 2));
}

static void select_none(void *arg)
{
    (void)arg;
    done(gmp_select(NULL, 0));
}

struct two {
    gmp_chan *mine, *other;
};

/* Waits at its channel, and could send to another one. */
static void wait_with(void *arg)
{
    struct two both = *(struct two *)arg;
    long n;
    int result = gmp_chan_recv(both.mine, &n);

    if (result == 0)
        gmp_chan_send(both.other, &n);
    done(result);
}

static void start_with(const char *name, gmp_chan *mine, gmp_chan *other)
{
    struct two *both = gmp_gc_alloc(sizeof *both);

    CHECK(both != NULL && gmp_gc_alloc(sizeof *both) != NULL);
    *both = (struct two){mine, other};
    start(name, wait_with, both, NULL);
}

/* Sleeps with a pointer on its stack. */
static void hold(void *ch)
{
    void *volatile held = ch;

    done(gmp_chan_recv(go_on, NULL));
    CHECK(held != NULL);
}

/* Others know where this frame is, and not the channel. */
static void wait_in_frame(void *arg)
{
    void *volatile frame[1] = {make(0)};
    long n;

    (void)arg;
    roots.frame = (void **)frame;
    done(gmp_chan_recv(frame[0], &n));
}

static __attribute__((noinline)) void start_leaked(void)
{
    struct locks *all = make_locks();
    gmp_chan *full = make(1), *one = make(0), *two = make(0);
    long n = 1;

    start("leaked-receive", receive, make(0), NULL);
    start("leaked-buffer", receive, make(8), NULL);
    start("leaked-send", send_one, make(0), NULL);
    CHECK_OK(gmp_chan_send(full, &n));
    start("leaked-full", send_one, full, NULL);
    start("leaked-mutex", want_mutex, all, NULL);
    start("leaked-rw", want_rw, all, NULL);
    start("leaked-sema", want_sema, all, NULL);
    start("leaked-group", want_group, all, NULL);
    start("leaked-cond", want_cond, NULL, NULL);
    start("leaked-select", select_two, NULL, NULL);
    start("leaked-many", select_many, NULL, NULL);
    start("leaked-none", select_none, NULL, NULL);
    start("leaked-null", receive, NULL, NULL);
    /* Each could wake the other one, and nobody them. */
    start_with("leaked-one", one, two);
    start_with("leaked-two", two, one);
}

static __attribute__((noinline)) void start_others(void)
{
    gmp_chan *second = make(0), *carried = make(0);

    roots.direct = make(0);
    start("static", receive, roots.direct, NULL);
    roots.allocated = malloc(2 * sizeof *roots.allocated);
    roots.allocated[1] = make(0);
    start("malloc", receive, roots.allocated[1], NULL);
    roots.mapped = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(roots.mapped != MAP_FAILED);
    roots.mapped[5000] = make(0);
    start("mmap", receive, roots.mapped[5000], NULL);
    roots.collected = gmp_gc_alloc(3 * sizeof *roots.collected);
    roots.collected[2] = make(0);
    start("object", receive, roots.collected[2], NULL);
    roots.carrier = gmp_chan_make(sizeof(gmp_chan *), 1);
    CHECK_OK(gmp_chan_send(roots.carrier, &carried));
    start("element", receive, carried, NULL);
    roots.inside = (char *)make_locks() + 3;
    start("inside", want_mutex, roots.inside - 3, NULL);
    start("handle", receive, make(0), &roots.handle);
    start("frame", wait_in_frame, NULL, NULL);
    /* The first is known, and has the second one's channel. */
    roots.first = make(0);
    start_with("first", roots.first, second);
    start("second", receive, second, NULL);
    start("selects", select_known, roots.direct, NULL);
    start("in-time", receive_in_time, make(0), NULL);
    /* Of malloc's memory: nobody tells. */
    start("plain", receive_and_free, gmp_chan_make(sizeof(long), 0), NULL);
}

/* A channel that only a sleeping goroutine's stack leads to. */
static __attribute__((noinline)) void start_held(void)
{
    gmp_chan *ch = make(0);

    start("holds", hold, ch, NULL);
    start("held", receive, ch, NULL);
}

/* A thread's own variable leads to a channel. */
static void *of_a_thread(void *arg)
{
    (void)arg;
    of_thread = make(0);
    start("thread", receive, of_thread, NULL);
    atomic_store(&ready, 1);
    while (!atomic_load(&ended))
        usleep(1000);
    return NULL;
}

/* Overwrites what earlier calls have left below on the stack. */
static __attribute__((noinline)) void clear_stack(void)
{
    volatile char room[8192];

    for (size_t i = 0; i < sizeof room; i++)
        room[i] = 0;
}

static void dump(uint32_t flags)
{
    FILE *file = tmpfile();
    size_t n;

    CHECK(file != NULL);
    clear_stack();
    CHECK_OK(gmp_dump(fileno(file), flags));
    rewind(file);
    n = fread(text, 1, TEXT - 1, file);
    CHECK(n > 0 && n < TEXT - 1);
    text[n] = 0;
    fclose(file);
}

/* The line that begins the entry of this goroutine. */
static const char *head_of(const char *name)
{
    static char line[400];
    char quoted[64];
    const char *at, *begin;

    snprintf(quoted, sizeof quoted, "\"%s\"", name);
    at = strstr(text, quoted);
    if (at == NULL) {
        fputs(text, stderr);
        fprintf(stderr, "no entry of %s\n", name);
        CHECK(at != NULL);
    }
    for (begin = at; begin > text && begin[-1] != '\n'; begin--)
        ;
    snprintf(line, sizeof line, "%.*s", (int)strcspn(begin, "\n"), begin);
    return line;
}

static int is_leaked(const char *name)
{
    return strstr(head_of(name), " (leaked)]") != NULL;
}

static void check(const char *name, int leaked)
{
    if (is_leaked(name) != leaked) {
        fputs(text, stderr);
        fprintf(stderr, "%s should%s be leaked\n", name, leaked ? "" : " not");
        CHECK_EQ(is_leaked(name), leaked);
    }
}

static const char *const leaked[] = {
    "leaked-receive", "leaked-buffer", "leaked-send", "leaked-full",
    "leaked-mutex", "leaked-rw", "leaked-sema", "leaked-group", "leaked-cond",
    "leaked-select", "leaked-many", "leaked-none", "leaked-null", "leaked-one",
    "leaked-two",
};
static const char *const others[] = {
    "static", "malloc", "mmap", "object", "element", "inside", "handle",
    "frame", "first", "second", "selects", "in-time", "plain", "holds", "held",
    "thread",
};
enum {
    LEAKED = sizeof leaked / sizeof *leaked,
    OTHERS = sizeof others / sizeof *others
};

static void check_all(int more)
{
    char totals[64];

    dump(GMP_DUMP_EACH);
    for (int i = 0; i < LEAKED; i++)
        check(leaked[i], 1);
    for (int i = 0; i < OTHERS; i++)
        check(others[i], 0);
    snprintf(totals, sizeof totals, " (%d leaked)", LEAKED + more);
    CHECK(strstr(text, totals) != NULL);
    CHECK(strstr(text, "not searched for") == NULL);
}

/* Without a heap a dump makes none, and searches nothing. */
static void before(void)
{
    gmp_gc_stats stats;

    dump(0);
    CHECK(strstr(text, "leak") == NULL);
    CHECK_OK(gmp_gc_get_stats(&stats, sizeof stats));
    CHECK_EQ(stats.collections + stats.in_use_bytes, 0);
}

static void dump_on_goroutine(void *arg)
{
    (void)arg;
    dump(GMP_DUMP_EACH);
}

int test_main(int argc, char **argv)
{
    pthread_t thread;
    gmp_gc_stats stats;
    gmp_g *g;

    (void)argc;
    (void)argv;
    go_on = gmp_chan_make(0, 0);
    before();
    start_leaked();
    start_others();
    start_held();
    CHECK_EQ(pthread_create(&thread, NULL, of_a_thread, NULL), 0);
    AWAIT(atomic_load(&ready));
    CHECK_EQ(started, LEAKED + OTHERS);
    check_all(0);
    /* What they hold is there, and they stay what they are. */
    CHECK_OK(gmp_gc());
    CHECK_OK(gmp_gc());
    check_all(0);
    /* From a goroutine, with its own stack in use. */
    CHECK_OK(gmp_go_with(NULL, dump_on_goroutine, NULL, &g));
    CHECK_OK(gmp_join(g));
    check("leaked-receive", 1);
    check("static", 0);
    /* What led to a channel is gone. */
    roots.allocated[1] = NULL;
    roots.first = NULL;
    dump(GMP_DUMP_EACH);
    check("malloc", 1);
    check("first", 1);
    check("second", 1);
    check("mmap", 0);
    /* One that is cancelled was none. */
    CHECK_OK(gmp_cancel(roots.handle));
    CHECK_OK(gmp_join(roots.handle));
    CHECK_OK(gmp_gc_get_stats(&stats, sizeof stats));
    CHECK(stats.collections >= 6);
    CHECK_EQ(stats.failed, 0);
    /* All can still be ended, and find their objects. */
    CHECK_OK(gmp_shutdown(gmp_after_ns(SEC(60))));
    CHECK_EQ(atomic_load(&ended), LEAKED + OTHERS);
    CHECK_EQ(pthread_join(thread, NULL), 0);
    return 0;
}
