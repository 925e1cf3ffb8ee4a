/* gmp_blocking: a call that says beforehand that it blocks. */
#include "test.h"

static atomic_bool stop;
static atomic_long ticks;

static void tick(void *arg)
{
    while (!atomic_load(&stop)) {
        atomic_fetch_add(&ticks, 1);
        CHECK_OK(gmp_sleep(MS(1)));
    }
}

struct call {
    long tid;
    char *frame;
    long before, after;
};

static void block(void *arg)
{
    struct call *call = arg;
    char here;

    call->tid = thread_id();
    call->frame = &here;
    call->before = atomic_load(&ticks);
    block_ns(MS(100));
    call->after = atomic_load(&ticks);
}

static void others_go_on(void *arg)
{
    struct call call = {.tid = 0};
    char here;
    long tid = thread_id();

    CHECK_OK(gmp_blocking(block, &call));
    CHECK_EQ(call.tid, tid);
    CHECK(labs((long)(call.frame - &here)) < 65536); /* the same stack */
    CHECK(call.after > call.before);
}

static gmp_chan *there, *back;

static void answer(void *arg)
{
    int value;

    CHECK_OK(gmp_chan_recv(there, &value));
    value++;
    CHECK_OK(gmp_chan_send(back, &value));
}

/* What runs inside may block in the library as well, and nest. */
static void converse(void *arg)
{
    int value = *(int *)arg;

    CHECK_OK(gmp_go(answer, NULL));
    CHECK_OK(gmp_chan_send(there, &value));
    gmp_yield();
    CHECK_OK(gmp_chan_recv(back, &value));
    CHECK_OK(gmp_sleep(MS(1)));
    *(int *)arg = value;
}

static void converse_nested(void *arg)
{
    CHECK_OK(gmp_blocking(converse, arg));
}

static void library_calls_inside(void *arg)
{
    int value = 1;

    CHECK_OK(gmp_blocking(converse, &value));
    CHECK_EQ(value, 2);
    CHECK_OK(gmp_blocking(converse_nested, &value));
    CHECK_EQ(value, 3);
}

static void leave(void *arg)
{
    gmp_exit();
    CHECK(!"gmp_exit returned on a goroutine");
}

static void exit_inside(void *arg)
{
    gmp_blocking(leave, NULL);
    CHECK(!"gmp_blocking returned after gmp_exit");
}

int test_main(int argc, char **argv)
{
    gmp_g *ticker;

    there = gmp_chan_make(sizeof(int), 0);
    back = gmp_chan_make(sizeof(int), 0);
    CHECK_EQ(gmp_blocking(NULL, NULL), -EINVAL);
    gmp_set_maxprocs(1);
    ticker = spawn(tick, NULL);
    others_go_on(NULL);
    CHECK_OK(gmp_join(spawn(others_go_on, NULL)));
    library_calls_inside(NULL);
    CHECK_OK(gmp_join(spawn(library_calls_inside, NULL)));
    CHECK_OK(gmp_join(spawn(exit_inside, NULL)));
    atomic_store(&stop, true);
    CHECK_OK(gmp_join(ticker));
    return 0;
}
