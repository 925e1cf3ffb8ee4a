/* A process whose goroutines all wait costs nothing: no thread of it wakes up
 * for five seconds. */
#include "test.h"

static gmp_chan *never;

static void wait_for_ever(void *arg)
{
    gmp_chan_recv(never, NULL);
}

static void work(void *arg)
{
    for (int i = 0; i < 100; i++) {
        gmp_yield();
        gmp_sleep(US(100));
    }
}

int test_main(int argc, char **argv)
{
    long before, after;

    never = gmp_chan_make(0, 0);
    for (int i = 0; i < 100; i++)
        CHECK_OK(gmp_go(wait_for_ever, NULL));
    for (int i = 0; i < 10; i++)
        CHECK_OK(gmp_join(spawn(work, NULL)));
    /* The scavenger works until the second second in which a stack is idle
     * ends, and the first may begin late. */
    block_ns(SEC(4));
    before = context_switches();
    block_ns(SEC(5));
    after = context_switches();
    printf("%ld context switches of %d threads in 5 s\n", after - before,
           count_threads());
    CHECK(after - before <= 5);
    return 0;
}
