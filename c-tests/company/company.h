/* A host that loads the library when it likes, as often as it likes, and works
 * with it. Include it in one file of a program. */
#ifndef COMPANY_H
#define COMPANY_H

#include <dlfcn.h>
#include <gmp.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#define CHECK(cond)                                                         \
    ((cond) ? (void)0                                                       \
            : (fprintf(stderr, "%s:%d: failed: %s\n", __FILE__, __LINE__,   \
                       #cond),                                              \
               _exit(1)))
#define CHECK_OK(call) CHECK((call) == 0)

/* One copy of the library. */
struct gmp {
    int (*go_with)(const gmp_attr *, gmp_fn, void *, gmp_g **);
    int (*join)(gmp_g *);
    int (*sleep)(int64_t);
    void (*yield)(void);
    gmp_chan *(*chan_make)(size_t, size_t);
    int (*chan_send)(gmp_chan *, const void *);
    int (*chan_recv)(gmp_chan *, void *);
    void (*chan_unref)(gmp_chan *);
    int64_t (*now)(void);
    int (*set_name)(const char *);
};

__attribute__((unused)) static void *must(void *library, const char *name)
{
    void *symbol = dlsym(library, name);

    if (!symbol) {
        fprintf(stderr, "%s: %s\n", name, dlerror());
        _exit(1);
    }
    return symbol;
}

__attribute__((unused)) static void *opened(const char *path)
{
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);

    if (!library) {
        fprintf(stderr, "%s\n", dlerror());
        _exit(1);
    }
    return library;
}

__attribute__((unused)) static struct gmp load_gmp(const char *path)
{
    void *library = opened(path);
    struct gmp g;

#define GET(name) *(void **)&g.name = must(library, "gmp_" #name)
    GET(go_with);
    GET(join);
    GET(sleep);
    GET(yield);
    GET(chan_make);
    GET(chan_send);
    GET(chan_recv);
    GET(chan_unref);
    GET(now);
    GET(set_name);
#undef GET
    return g;
}

/* --- Work of all kinds: goroutines talk, sleep, block --- */

struct work {
    const struct gmp *gmp;
    gmp_chan *in, *out;
    atomic_bool stop;
    atomic_long done;
    gmp_g *workers[4], *feeder;
};

__attribute__((unused)) static gmp_g *started(const struct gmp *g, gmp_fn fn,
                                              void *arg)
{
    gmp_attr attr = GMP_ATTR_INIT;
    gmp_g *made = NULL;

    CHECK_OK(g->go_with(&attr, fn, arg, &made));
    return made;
}

static void work_step(void *arg)
{
    struct work *w = arg;
    int value;

    while (w->gmp->chan_recv(w->in, &value) == 0 && value >= 0) {
        if (value % 64 == 0)
            CHECK_OK(w->gmp->sleep(20000));
        if (value % 97 == 0)
            usleep(100);
        CHECK_OK(w->gmp->chan_send(w->out, &value));
    }
}

static void work_feed(void *arg)
{
    struct work *w = arg;
    int end = -1;

    for (int i = 1; !atomic_load(&w->stop); i = i % 100000 + 1) {
        int value = i, back;

        CHECK_OK(w->gmp->chan_send(w->in, &value));
        CHECK_OK(w->gmp->chan_recv(w->out, &back));
        CHECK(back > 0);
        atomic_fetch_add(&w->done, 1);
    }
    for (int i = 0; i < 4; i++)
        CHECK_OK(w->gmp->chan_send(w->in, &end));
}

__attribute__((unused)) static void begin_work(struct work *w,
                                               const struct gmp *g)
{
    memset(w, 0, sizeof *w);
    w->gmp = g;
    CHECK((w->in = g->chan_make(sizeof(int), 0)) != NULL);
    CHECK((w->out = g->chan_make(sizeof(int), 2)) != NULL);
    for (int i = 0; i < 4; i++)
        w->workers[i] = started(g, work_step, w);
    w->feeder = started(g, work_feed, w);
}

/* Ends the work, of which there has to be some. */
__attribute__((unused)) static void end_work(struct work *w)
{
    while (atomic_load(&w->done) < 100)
        usleep(1000);
    atomic_store(&w->stop, true);
    CHECK_OK(w->gmp->join(w->feeder));
    for (int i = 0; i < 4; i++)
        CHECK_OK(w->gmp->join(w->workers[i]));
    w->gmp->chan_unref(w->in);
    w->gmp->chan_unref(w->out);
}

/* --- Faults that the library has to tell --- */

__attribute__((noinline, unused)) static int sink_down(volatile char *above)
{
    volatile char here[4096];

    here[0] = above[0];
    return here[0] ? 1 : sink_down(here) + 1;
}

/* Fills the goroutine's stack. */
__attribute__((unused)) static void overflow(void *arg)
{
    char begin[4] = "";

    (void)arg;
    printf("%d\n", sink_down(begin));
}

/* Writes to no address. */
__attribute__((unused)) static void crash(void *arg)
{
    *(volatile int *)arg = 1;
}

/* Dies by one of the two, if the last argument names it. */
__attribute__((unused)) static void die(const struct gmp *g, const char *how)
{
    struct rlimit no_core = {0, 0};
    gmp_fn fn = NULL;

    if (strcmp(how, "overflow") == 0)
        fn = overflow;
    else if (strcmp(how, "crash") == 0)
        fn = crash;
    if (!fn)
        return;
    setrlimit(RLIMIT_CORE, &no_core);
    fflush(stdout);
    CHECK_OK(g->join(started(g, fn, NULL)));
    _exit(3);
}

__attribute__((unused)) static void begin(void)
{
    signal(SIGALRM, SIG_DFL);
    alarm(50);
}

#endif
