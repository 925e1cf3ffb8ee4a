/* gmp_defer: last in, first out, however the goroutine ends, whatever its
 * defers do, and before anybody who joins it goes on. */
#include "events.h"

enum { MANY = 1000, GOROUTINES = 200 };

static void defer(gmp_fn fn, intptr_t arg)
{
    CHECK_OK(gmp_defer(fn, (void *)arg));
}

static void return_at_the_end(void *arg)
{
    defer(note, 1);
    defer(note, 2);
    defer(note, 3);
    note((void *)0);
}

static void exit_deep_inside(int depth)
{
    if (depth > 0) {
        defer(note, depth);
        exit_deep_inside(depth - 1);
    }
    note((void *)0);
    gmp_exit();
    note((void *)-1);
}

static void exit_from_below(void *arg)
{
    exit_deep_inside(3);
    note((void *)-2);
}

static void exit_with_no_defer(void *arg)
{
    note((void *)0);
    gmp_exit();
    note((void *)-1);
}

static void defer_two_more(void *number)
{
    intptr_t n = (intptr_t)number;

    note(number);
    defer(note, n + 1);
    defer(note, n + 2);
    note((void *)(n + 3));
}

static void defers_may_defer(void *arg)
{
    defer(note, 1);
    defer(defer_two_more, 10);
    defer(note, 2);
}

static void note_and_exit(void *number)
{
    note(number);
    gmp_exit();
    note((void *)-1);
}

static void defer_and_exit(void *number)
{
    defer(note, (intptr_t)number + 1);
    note_and_exit(number);
}

static void defers_may_exit(void *arg)
{
    defer(note_and_exit, 1);
    defer(note, 2);
    defer(note_and_exit, 3);
    defer(defer_and_exit, 4);
    defer(note_and_exit, 6);
}

static void defers_may_exit_after_exit(void *arg)
{
    defers_may_exit(arg);
    gmp_exit();
}

static void exit_in_callback(void *arg)
{
    note((void *)0);
    defer(note, 2);
    gmp_exit();
}

static void exit_in_blocking(void *arg)
{
    defer(note, 1);
    gmp_blocking(exit_in_callback, NULL);
    note((void *)-1);
}

static gmp_once once = GMP_ONCE_INIT;

static void exit_in_once(void *arg)
{
    defer(note, 1);
    gmp_once_do(&once, exit_in_callback, NULL);
    note((void *)-1);
}

static void in_order(void)
{
    EXPECT(return_at_the_end, 0, 3, 2, 1);
    EXPECT(exit_from_below, 0, 1, 2, 3);
    EXPECT(exit_with_no_defer, 0);
    EXPECT(defers_may_defer, 2, 10, 13, 12, 11, 1);
    EXPECT(defers_may_exit, 6, 4, 5, 3, 2, 1);
    EXPECT(defers_may_exit_after_exit, 6, 4, 5, 3, 2, 1);
    EXPECT(exit_in_blocking, 0, 2, 1);
    memset(&once, 0, sizeof once);
    EXPECT(exit_in_once, 0, 2, 1);
}

static void defer_many(void *arg)
{
    for (int i = 0; i < MANY; i++)
        defer(note, i);
}

/* Each makes the next: as many, and never two at a time. */
static void defer_the_next(void *number)
{
    intptr_t n = (intptr_t)number;

    note(number);
    if (n < MANY)
        defer(defer_the_next, n + 1);
}

static void defer_a_chain(void *arg)
{
    defer(defer_the_next, 1);
}

static void a_thousand(void)
{
    happened = 0;
    CHECK_OK(gmp_join(spawn(defer_many, NULL)));
    CHECK_EQ(happened, MANY);
    for (int i = 0; i < MANY; i++)
        CHECK_EQ(events[i], MANY - 1 - i);
    happened = 0;
    CHECK_OK(gmp_join(spawn(defer_a_chain, NULL)));
    CHECK_EQ(happened, MANY);
    for (int i = 0; i < MANY; i++)
        CHECK_EQ(events[i], i + 1);
}

static gmp_chan *ch;

static void send_one(void *arg)
{
    gmp_yield();
    CHECK_OK(gmp_chan_send(ch, NULL));
}

/* Calls that block, with what they wait for. */
static void block(void)
{
    gmp_mutex mutex = GMP_MUTEX_INIT;
    gmp_sema sema = GMP_SEMA_INIT(1);
    gmp_g *g = spawn(send_one, NULL);
    gmp_case cases[] = {{.ch = ch, .elem = NULL, .op = GMP_RECV, .result = 9}};

    CHECK_OK(gmp_sleep(US(10)));
    CHECK_OK(gmp_chan_recv(ch, NULL));
    CHECK_OK(gmp_join(g));
    CHECK_EQ(gmp_chan_recv_until(ch, NULL, gmp_after_ns(US(10))), -ETIMEDOUT);
    g = spawn(send_one, NULL);
    CHECK_EQ(gmp_select(cases, 1), 0);
    CHECK_OK(gmp_join(g));
    CHECK_OK(gmp_mutex_lock_until(&mutex, GMP_FOREVER));
    CHECK_OK(gmp_sema_acquire(&sema));
}

/* A cancel ends nothing in a defer, and there is no shield to leave. */
static void block_in_defer(void *arg)
{
    CHECK(gmp_cancelled());
    block();
    CHECK_EQ(gmp_shield_leave(), -EPERM);
    block();
    CHECK_OK(gmp_shield_enter());
    block();
    CHECK_OK(gmp_shield_leave());
    block();
    note(arg);
}

static void end_cancelled(void *arg)
{
    defer(note, 1);
    defer(block_in_defer, 2);
    CHECK_OK(gmp_cancel(gmp_self()));
    CHECK_EQ(gmp_sleep(1), -ECANCELED);
}

static void exit_cancelled(void *arg)
{
    end_cancelled(arg);
    gmp_exit();
}

static void cancel_in_defer(void *arg)
{
    CHECK_OK(gmp_cancel(gmp_self()));
    block_in_defer(arg);
}

static void end_then_be_cancelled(void *arg)
{
    defer(block_in_defer, 1);
    defer(cancel_in_defer, 2);
    block();
}

static atomic_int parked;

static void receive_in_defer(void *arg)
{
    atomic_store(&parked, 1);
    CHECK_OK(gmp_chan_recv(ch, NULL));
    CHECK(gmp_cancelled());
    note(arg);
}

static void park_in_defer(void *arg)
{
    defer(receive_in_defer, 1);
}

static void blocking_works_in_defers(void *arg)
{
    gmp_g *g;

    ch = gmp_chan_make(0, 0);
    EXPECT(end_cancelled, 2, 1);
    EXPECT(exit_cancelled, 2, 1);
    EXPECT(end_then_be_cancelled, 2, 1);

    happened = 0;
    atomic_store(&parked, 0);
    g = spawn(park_in_defer, NULL);
    AWAIT(atomic_load(&parked) == 1);
    CHECK_OK(gmp_sleep(MS(1))); /* until it waits, as far as one can see */
    CHECK_OK(gmp_cancel(g));
    CHECK_OK(gmp_sleep(MS(1)));
    CHECK_OK(gmp_chan_send(ch, NULL));
    CHECK_OK(gmp_join(g));
    CHECK_EQ(happened, 1);
    gmp_chan_unref(ch);
}

struct sums {
    int number, before, during; /* plain: a join makes them visible */
};

static void add_slowly(void *arg)
{
    struct sums *sums = arg;

    gmp_yield();
    if (sums->during % 3 == 0)
        CHECK_OK(gmp_sleep(US(5)));
    if (sums->during % 7 == 0)
        block_ns(US(20));
    sums->during++;
}

static void defer_additions(void *arg)
{
    struct sums *sums = arg;

    for (int i = 0; i < 10; i++)
        CHECK_OK(gmp_defer(add_slowly, sums));
    sums->before = 1;
    gmp_yield();
    if (sums->number % 2)
        gmp_exit();
}

static void joiners_see_all(void *arg)
{
    static struct sums sums[GOROUTINES];
    static gmp_g *gs[GOROUTINES];

    memset(sums, 0, sizeof sums);
    for (int i = 0; i < GOROUTINES; i++) {
        sums[i].number = i;
        gs[i] = spawn(defer_additions, &sums[i]);
    }
    for (int i = 0; i < GOROUTINES; i++) {
        CHECK_OK(gmp_join(gs[i]));
        CHECK_EQ(sums[i].before, 1);
        CHECK_EQ(sums[i].during, 10);
    }
}

/* A goroutine locked to its thread is still locked in its defers. */
static void see_thread(void *want)
{
    gmp_yield();
    CHECK_OK(gmp_sleep(US(50)));
    CHECK_EQ(thread_id(), (intptr_t)want);
    note((void *)1);
}

static void lock_and_end(void *arg)
{
    CHECK_OK(gmp_lock_os_thread());
    defer(see_thread, thread_id());
}

static void nothing(void *arg)
{
}

static void misuse(void *arg)
{
    CHECK_EQ(gmp_defer(NULL, NULL), -EINVAL);
    note((void *)1);
}

int test_main(int argc, char **argv)
{
    in_order();
    a_thousand();
    for (int i = 0; i < 20; i++)
        in_order(); /* in places where others have left their defers */
    blocking_works_in_defers(NULL);
    joiners_see_all(NULL);
    CHECK_OK(gmp_join(spawn(joiners_see_all, NULL)));
    EXPECT(lock_and_end, 1);
    EXPECT(misuse, 1);
    CHECK_EQ(gmp_defer(nothing, NULL), -EPERM);
    CHECK_OK(gmp_sleep(1)); /* gives this thread a G */
    CHECK_EQ(gmp_defer(nothing, NULL), -EPERM);
    return 0;
}
