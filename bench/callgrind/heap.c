/* The collected heap, without collections. */
#include "ops.h"

enum { SIZE = 64, LIVE = 256 };

static void *ring[LIVE];

/* Makes objects by `make`; each takes the place of one that was made before,
 * which is freed by `let_go`, if there is such a function. */
static void objects(long rounds, void *(*make)(size_t size),
                    int (*let_go)(void *p))
{
    CHECK(gmp_gc_set_percent(-1) >= -1);
    for (long i = 0; i < rounds; i++) {
        long *p = make(SIZE);

        CHECK(p != NULL);
        *p = i;
        if (let_go != NULL)
            CHECK(let_go(ring[i % LIVE]) == 0);
        ring[i % LIVE] = p;
    }
    CHECK(*(long *)ring[(rounds - 1) % LIVE] == rounds - 1);
}

void alloc64(long rounds)
{
    objects(rounds, gmp_gc_alloc, NULL);
}

void noscan64(long rounds)
{
    objects(rounds, gmp_gc_alloc_noscan, NULL);
}

void released64(long rounds)
{
    objects(rounds, gmp_gc_alloc_noscan, gmp_gc_free);
}
