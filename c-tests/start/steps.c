/* Goes through the steps that the seeds of this design name: goroutines come,
 * wait, are stolen, lose their P and take a thread along, and the heap is used
 * and collected. gdb has a breakpoint at each step. */
#include "../test.h"

enum { MANY = 40 };

static gmp_chan *ch;
static atomic_int left, inits;

/* Where gdb stops for good. */
__attribute__((noinline)) void steps_end(void)
{
    atomic_fetch_add(&left, 1);
}

static void at_init(void)
{
    atomic_fetch_add(&inits, 1);
}
GMP_INIT(at_init)

static void receive(void *arg)
{
    int64_t value;

    CHECK_OK(gmp_chan_recv(ch, &value));
    gmp_yield();
    atomic_fetch_sub(&left, 1);
}

/* Blocks its thread, so that sysmon takes the P. */
static void block(void *arg)
{
    struct timespec nap = { 0, 50000000 };

    nanosleep(&nap, NULL);
    atomic_fetch_sub(&left, 1);
}

/* Waits for another goroutine while it has its thread for itself. */
static void locked(void *arg)
{
    int64_t value = 1;

    CHECK_OK(gmp_sleep(MS(1)));
    CHECK_OK(gmp_chan_send(ch, &value));
    atomic_fetch_sub(&left, 1);
}

/* Objects that nobody keeps, and others after the first are gone. */
static void use_the_heap(void)
{
    for (int i = 0; i < 3; i++) {
        for (int n = 0; n < MANY; n++)
            CHECK(gmp_gc_alloc(512) != NULL);
        CHECK_OK(gmp_gc());
    }
}

static void run_all(void *arg)
{
    gmp_attr attr = GMP_ATTR_INIT;
    int64_t value = 1;
    gmp_g *g;

    for (int i = 0; i < MANY; i++)
        CHECK_OK(gmp_go(receive, NULL));
    attr.flags = GMP_LOCKED_THREAD;
    CHECK_OK(gmp_go_with(&attr, locked, NULL, &g));
    for (int i = 0; i < MANY - 1; i++)
        CHECK_OK(gmp_chan_send(ch, &value));
    CHECK_OK(gmp_join(g));
    CHECK_OK(gmp_go(block, NULL));
    use_the_heap();
}

int test_main(int argc, char **argv)
{
    atomic_store(&left, MANY + 2);
    ch = gmp_chan_make(sizeof(int64_t), 4);
    CHECK_OK(gmp_go(run_all, NULL));
    AWAIT(atomic_load(&left) == 0);
    CHECK_OK(gmp_sleep(MS(30)));
    steps_end();
    return 0;
}
