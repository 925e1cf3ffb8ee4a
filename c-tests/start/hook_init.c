/* _cgo_init alone: a host that keeps a part of m0's stack for itself, and
 * tries what else it is given. */
#include "../test.h"

enum { KEPT = 32 << 10 };

/* The words of g0 that a host may know, and the two that follow from them. */
struct g0 {
    uintptr_t lo, hi, guard0, guard1;
};

static struct g0 *g0;
static uintptr_t lo;
static atomic_int calls;

static void init(void *g, void (*setg)(void *), void **tls, void *tlsbase)
{
    uintptr_t here = (uintptr_t)&g;

    g0 = g;
    CHECK(g0->lo < here && here < g0->hi);
    CHECK_EQ(*(void **)tlsbase, tlsbase); /* as fs:0 says */
    CHECK(*tls == NULL);
    setg(&calls);
    CHECK(*tls == (void *)&calls);
    setg(NULL);
    lo = g0->lo += KEPT;
    atomic_fetch_add(&calls, 1);
}

void (*_cgo_init)(void *, void (*)(void *), void **, void *) = init;

int test_main(int argc, char **argv)
{
    CHECK_OK(gmp_wait_init());
    CHECK_EQ(atomic_load(&calls), 1);
    CHECK_EQ(g0->lo, lo);
    /* The guards were set again, from the new bound. */
    CHECK(g0->guard0 > lo && g0->guard0 < lo + 4096);
    CHECK_EQ(g0->guard1, g0->guard0);
    return 0;
}
