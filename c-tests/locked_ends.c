/* A goroutine that ends locked takes its thread along, whichever that is: also
 * the library's first. */
#include "test.h"

enum { GOROUTINES = 12 };

static pthread_key_t key;
static atomic_int ended;

static void count(void *value)
{
    atomic_fetch_add(&ended, 1);
}

static void mark(void *arg)
{
    CHECK_OK(pthread_setspecific(key, &ended));
}

int test_main(int argc, char **argv)
{
    gmp_attr attr = GMP_ATTR_INIT;
    gmp_g *g;

    attr.flags = GMP_LOCKED_THREAD;
    CHECK_OK(pthread_key_create(&key, count));
    for (int i = 0; i < GOROUTINES; i++) {
        CHECK_OK(gmp_go_with(&attr, mark, NULL, &g));
        CHECK_OK(gmp_join(g));
    }
    AWAIT(atomic_load(&ended) == GOROUTINES);
    return 0;
}
