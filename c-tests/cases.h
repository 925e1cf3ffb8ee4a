/* Shared by the tests of select and of deadlines: cases whose result shows
 * whether it was written, and parties, which are goroutines or host threads.
 */
#ifndef GMPRT_CASES_H
#define GMPRT_CASES_H

#include "test.h"

/* The result of a case that did not run. */
enum { UNTOUCHED = 4711 };

static inline gmp_case sending(gmp_chan *ch, void *elem)
{
    gmp_case c = {ch, elem, GMP_SEND, UNTOUCHED};

    return c;
}

static inline gmp_case receiving(gmp_chan *ch, void *elem)
{
    gmp_case c = {ch, elem, GMP_RECV, UNTOUCHED};

    return c;
}

/* Checks that only the chosen case's result was written, and none if chosen is
 * negative. */
static inline void check_chosen(const gmp_case *cases, size_t n, int chosen)
{
    CHECK(chosen < 0 || (size_t)chosen < n);
    for (size_t i = 0; i < n; i++)
        if ((int)i == chosen)
            CHECK(cases[i].result != UNTOUCHED);
        else
            CHECK_EQ(cases[i].result, UNTOUCHED);
}

/* Checks that no sender and no receiver waits on a channel without elements. */
static inline void check_deserted(gmp_chan *ch)
{
    char elem[64] = "";

    CHECK_EQ(gmp_chan_try_recv(ch, NULL), -EAGAIN);
    if (gmp_chan_cap(ch) == 0)
        CHECK_EQ(gmp_chan_try_send(ch, elem), -EAGAIN);
}

static inline gmp_chan *make_chan(size_t elem_size, size_t capacity)
{
    gmp_chan *ch = gmp_chan_make(elem_size, capacity);

    CHECK(ch != NULL);
    return ch;
}

struct party {
    gmp_fn fn;
    void *arg;
    gmp_g *g; /* NULL: a host thread */
    pthread_t thread;
};

static inline void *run_party(void *party)
{
    struct party *p = party;

    p->fn(p->arg);
    return NULL;
}

/* Starts fn(arg) on a host thread or as a goroutine. */
static inline void begin(struct party *p, bool host, gmp_fn fn, void *arg)
{
    p->fn = fn;
    p->arg = arg;
    p->g = NULL;
    if (host)
        CHECK_OK(pthread_create(&p->thread, NULL, run_party, p));
    else
        p->g = spawn(fn, arg);
}

static inline void finish(struct party *p)
{
    if (p->g)
        CHECK_OK(gmp_join(p->g));
    else
        CHECK_OK(pthread_join(p->thread, NULL));
}

#endif
