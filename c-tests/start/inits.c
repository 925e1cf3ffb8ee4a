/* GMP_INIT in the program: each function is called once, in its order, on the
 * main goroutine, before the first call returns, and may use the library. */
#include "../test.h"

int inits_elsewhere(void); /* of inits_more.cc */

static atomic_int order, by_goroutine;

static void first(void)
{
    CHECK_EQ(atomic_fetch_add(&order, 1), 0);
    CHECK_EQ(gmp_goid(), 1);
}
GMP_INIT(first)

static void send_one(void *arg)
{
    int one = 1;

    CHECK_OK(gmp_sleep(MS(1)));
    CHECK_OK(gmp_chan_send(arg, &one));
    atomic_fetch_add(&by_goroutine, 1);
}

/* Starts goroutines, whose calls go on, and waits for them. */
static void second(void)
{
    gmp_chan *ch = gmp_chan_make(sizeof(int), 0);
    int got = 0;
    gmp_g *g;

    CHECK_EQ(atomic_fetch_add(&order, 1), 1);
    CHECK(ch != NULL);
    CHECK_OK(gmp_go_with(NULL, send_one, ch, &g));
    CHECK_OK(gmp_chan_recv(ch, &got));
    CHECK_EQ(got, 1);
    CHECK_OK(gmp_join(g));
    gmp_chan_unref(ch);
}
GMP_INIT(second)

static void third(void)
{
    CHECK_EQ(atomic_fetch_add(&order, 1), 2);
}
GMP_INIT(third)

static void *call(void *arg)
{
    CHECK_OK(gmp_wait_init());
    CHECK_EQ(atomic_load(&order), 3);
    CHECK_EQ(inits_elsewhere(), 1);
    return arg;
}

int test_main(int argc, char **argv)
{
    enum { CALLERS = 8 };
    pthread_t threads[CALLERS];

    /* Long enough for the start: nothing happens before a call. */
    block_ns(MS(100));
    CHECK_EQ(atomic_load(&order), 0);
    for (int i = 0; i < CALLERS; i++)
        CHECK_OK(pthread_create(&threads[i], NULL, call, NULL));
    for (int i = 0; i < CALLERS; i++)
        CHECK_OK(pthread_join(threads[i], NULL));
    CHECK_EQ(atomic_load(&by_goroutine), 1);
    CHECK_OK(gmp_sleep(MS(5)));
    CHECK_EQ(atomic_load(&order), 3);
    CHECK_EQ(inits_elsewhere(), 1);
    return 0;
}
