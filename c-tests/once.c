/* Once: one run among many callers, and nobody goes on before its end. */
#include "test.h"

enum { CALLERS = 20, THREADS = 4, ROUNDS = 50, PENDING = 1 };

static gmp_once once;
static atomic_int runs;
static int made; /* by the run, for all who return */

static void start_over(void)
{
    memset(&once, 0, sizeof once);
    atomic_store(&runs, 0);
    made = 0;
}

static void make(void *arg)
{
    atomic_fetch_add(&runs, 1);
    gmp_yield();
    made = 17;
}

static void call(void *arg)
{
    CHECK_OK((intptr_t)arg % 2
                 ? gmp_once_do(&once, make, NULL)
                 : gmp_once_do_until(&once, make, NULL, GMP_FOREVER));
    CHECK_EQ(made, 17);
}

static void *call_on_thread(void *arg)
{
    call(arg);
    return NULL;
}

static void one_run_among_many(void)
{
    gmp_g *callers[CALLERS];
    pthread_t threads[THREADS];

    for (int round = 0; round < ROUNDS; round++) {
        start_over();
        for (intptr_t i = 0; i < THREADS; i++)
            CHECK_OK(pthread_create(&threads[i], NULL, call_on_thread,
                                    (void *)i));
        for (intptr_t i = 0; i < CALLERS; i++)
            callers[i] = spawn(call, (void *)i);
        for (int i = 0; i < CALLERS; i++)
            CHECK_OK(gmp_join(callers[i]));
        for (int i = 0; i < THREADS; i++)
            CHECK_OK(pthread_join(threads[i], NULL));
        CHECK_EQ(atomic_load(&runs), 1);
        call(NULL);
        CHECK_EQ(atomic_load(&runs), 1);
    }
}

static void copy_argument(void *arg)
{
    made = *(int *)arg;
}

static void never(void *arg)
{
    CHECK(!"it runs once more");
}

static void argument_and_later_calls(void *arg)
{
    gmp_once first = GMP_ONCE_INIT, second = GMP_ONCE_INIT;
    int value = 3;

    CHECK_OK(gmp_once_do(&first, copy_argument, &value));
    CHECK_EQ(made, 3);
    CHECK_OK(gmp_once_do(&first, never, NULL));
    CHECK_OK(gmp_once_do_until(&first, never, NULL, 0));
    /* A deadline is about another's run: with none, it runs. */
    value = 4;
    CHECK_OK(gmp_once_do_until(&second, copy_argument, &value, INT64_MIN));
    CHECK_EQ(made, 4);
    CHECK_OK(gmp_once_do(&second, never, NULL));
}

/* A run that ends when the gate is closed. */
struct slow {
    gmp_chan *gate;
    atomic_bool running;
    gmp_fn then; /* how it ends, or NULL */
};

static void run_slowly(void *arg)
{
    struct slow *slow = arg;

    atomic_store(&slow->running, true);
    CHECK_EQ(gmp_chan_recv(slow->gate, NULL), -EPIPE);
    make(NULL);
    if (slow->then)
        slow->then(arg);
}

static atomic_int returned;

static void begin_slowly(void *arg)
{
    CHECK_OK(gmp_once_do(&once, run_slowly, arg));
    CHECK_EQ(made, 17);
    atomic_fetch_add(&returned, 1);
}

static void *begin_slowly_on_thread(void *arg)
{
    begin_slowly(arg);
    return NULL;
}

static void wait_for_it(void *arg)
{
    CHECK_OK(gmp_once_do(&once, never, NULL));
    CHECK_EQ(made, 17);
    atomic_fetch_add(&returned, 1);
}

static void *wait_for_it_on_thread(void *arg)
{
    wait_for_it(arg);
    return NULL;
}

/* The first caller runs it, on a thread or as a goroutine; those that come
 * meanwhile stay until the end, but for one with a deadline. */
static void others_wait_for_the_end(bool on_thread)
{
    struct slow slow = {.gate = gmp_chan_make(0, 0)};
    gmp_g *first = NULL, *waiters[CALLERS];
    pthread_t threads[2];
    int64_t deadline;

    start_over();
    atomic_store(&returned, 0);
    if (on_thread)
        CHECK_OK(pthread_create(&threads[0], NULL, begin_slowly_on_thread,
                                &slow));
    else
        first = spawn(begin_slowly, &slow);
    AWAIT(atomic_load(&slow.running));
    for (int i = 0; i < CALLERS; i++)
        waiters[i] = spawn(wait_for_it, NULL);
    CHECK_OK(pthread_create(&threads[1], NULL, wait_for_it_on_thread, NULL));
    CHECK_EQ(gmp_once_do_until(&once, never, NULL, 0), -ETIMEDOUT);
    deadline = gmp_after_ns(MS(3));
    CHECK_EQ(gmp_once_do_until(&once, never, NULL, deadline), -ETIMEDOUT);
    CHECK(gmp_now() >= deadline);
    CHECK_EQ(atomic_load(&returned), 0);
    CHECK_OK(gmp_chan_close(slow.gate));
    CHECK_OK(gmp_once_do_until(&once, never, NULL, gmp_after_ns(SEC(40))));
    CHECK_EQ(made, 17);
    for (int i = 0; i < CALLERS; i++)
        CHECK_OK(gmp_join(waiters[i]));
    CHECK_OK(on_thread ? pthread_join(threads[0], NULL) : gmp_join(first));
    CHECK_OK(pthread_join(threads[1], NULL));
    CHECK_EQ(atomic_load(&returned), CALLERS + 2);
    CHECK_EQ(atomic_load(&runs), 1);
    gmp_chan_unref(slow.gate);
}

static void exit_now(void *arg)
{
    int result = gmp_exit();

    CHECK_EQ(result, -EPERM); /* only on a host thread does it go on */
}

/* A run that ends its goroutine has happened, for those that wait too. */
static void exit_ends_the_run(void)
{
    struct slow slow = {.gate = gmp_chan_make(0, 0), .then = exit_now};
    gmp_g *first, *waiters[CALLERS];

    start_over();
    atomic_store(&returned, 0);
    first = spawn(begin_slowly, &slow);
    AWAIT(atomic_load(&slow.running));
    for (int i = 0; i < CALLERS; i++)
        waiters[i] = spawn(wait_for_it, NULL);
    CHECK_OK(gmp_sleep(MS(1)));
    CHECK_EQ(atomic_load(&returned), 0);
    CHECK_OK(gmp_chan_close(slow.gate));
    for (int i = 0; i < CALLERS; i++)
        CHECK_OK(gmp_join(waiters[i]));
    CHECK_OK(gmp_join(first)); /* it has not returned from its call */
    CHECK_EQ(atomic_load(&returned), CALLERS);
    wait_for_it(NULL);
    gmp_chan_unref(slow.gate);
}

static void exit_on_a_host_thread(void)
{
    gmp_once mine = GMP_ONCE_INIT;

    CHECK_OK(gmp_once_do(&mine, exit_now, NULL));
    CHECK_OK(gmp_once_do(&mine, never, NULL));
}

static gmp_once outer = GMP_ONCE_INIT, inner = GMP_ONCE_INIT;
static atomic_bool outer_begun, inner_begun;

static void exit_inside(void *arg)
{
    atomic_store(&inner_begun, true);
    exit_now(NULL);
}

static void nest(void *arg)
{
    atomic_store(&outer_begun, true);
    CHECK_OK(gmp_once_do(&inner, exit_inside, NULL));
    CHECK(!"a goroutine goes on after its end");
}

static void do_outer(void *arg)
{
    CHECK_OK(gmp_once_do(&outer, nest, NULL));
    CHECK(!"a goroutine goes on after its end");
}

static void exit_ends_nested_runs(void)
{
    CHECK_OK(gmp_join(spawn(do_outer, NULL)));
    CHECK(atomic_load(&outer_begun) && atomic_load(&inner_begun));
    CHECK_OK(gmp_once_do(&inner, never, NULL));
    CHECK_OK(gmp_once_do(&outer, never, NULL));
}

static void ask_from_inside(void *arg)
{
    gmp_once *self = arg, other = GMP_ONCE_INIT;

    CHECK_EQ(gmp_once_do(self, never, NULL), -EDEADLK);
    CHECK_EQ(gmp_once_do_until(self, never, NULL, 0), -EDEADLK);
    CHECK_EQ(gmp_once_do_until(self, never, NULL, GMP_FOREVER), -EDEADLK);
    CHECK_OK(gmp_once_do(&other, make, NULL));
    CHECK_EQ(gmp_once_do(self, never, NULL), -EDEADLK);
    made = 18;
}

static void recursion(void *arg)
{
    gmp_once mine = GMP_ONCE_INIT;

    CHECK_OK(gmp_once_do(&mine, ask_from_inside, &mine));
    CHECK_EQ(made, 18);
    CHECK_OK(gmp_once_do(&mine, never, NULL));
}

/* From inside a run, another goroutine's call is no recursion. */
static void wait_too_long(void *arg)
{
    CHECK_EQ(gmp_once_do_until(arg, never, NULL, gmp_after_ns(MS(1))),
             -ETIMEDOUT);
}

static void start_another(void *arg)
{
    CHECK_OK(gmp_join(spawn(wait_too_long, arg)));
    made = 19;
}

static void another_may_wait(void)
{
    gmp_once mine = GMP_ONCE_INIT;

    CHECK_OK(gmp_once_do(&mine, start_another, &mine));
    CHECK_EQ(made, 19);
    CHECK_OK(gmp_once_do(&mine, never, NULL));
}

/* A caller that is cancelled while another runs it. */
struct caller {
    bool twin;
    atomic_bool arrived;
    atomic_int result;
};

static void call_and_tell(void *arg)
{
    struct caller *c = arg;
    int result;

    atomic_store(&c->arrived, true);
    result = c->twin ? gmp_once_do_until(&once, never, NULL, GMP_FOREVER)
                     : gmp_once_do(&once, never, NULL);
    CHECK(gmp_cancelled());
    if (result == 0)
        CHECK_EQ(made, 17);
    atomic_store(&c->result, result);
}

static void cancelled_callers(void)
{
    struct slow slow = {.gate = gmp_chan_make(0, 0)};
    struct caller callers[CALLERS];
    gmp_g *first, *gs[CALLERS];

    start_over();
    first = spawn(begin_slowly, &slow);
    AWAIT(atomic_load(&slow.running));
    for (int i = 0; i < CALLERS; i++) {
        callers[i].twin = i % 2;
        atomic_store(&callers[i].arrived, false);
        atomic_store(&callers[i].result, PENDING);
        gs[i] = spawn(call_and_tell, &callers[i]);
        AWAIT(i % 3 == 0 || atomic_load(&callers[i].arrived));
    }
    CHECK_OK(gmp_sleep(MS(1)));
    for (int i = 0; i < CALLERS; i++)
        CHECK_OK(gmp_cancel(gs[i]));
    for (int i = 1; i < CALLERS; i += 2) {
        CHECK_OK(gmp_join(gs[i]));
        CHECK_EQ(callers[i].result, -ECANCELED);
    }
    CHECK_OK(gmp_sleep(MS(1)));
    for (int i = 0; i < CALLERS; i += 2)
        CHECK_EQ(callers[i].result, PENDING);
    CHECK_OK(gmp_chan_close(slow.gate));
    for (int i = 0; i < CALLERS; i += 2) {
        CHECK_OK(gmp_join(gs[i]));
        CHECK_EQ(callers[i].result, 0);
    }
    CHECK_OK(gmp_join(first));
    gmp_chan_unref(slow.gate);
}

static void run_cancelled(void *arg)
{
    CHECK(gmp_cancelled());
    CHECK_EQ(gmp_sleep(SEC(100)), -ECANCELED);
    made = 20;
}

static void when_cancelled(void *arg)
{
    gmp_once mine = GMP_ONCE_INIT;

    CHECK_OK(gmp_cancel(gmp_self()));
    CHECK_EQ(gmp_once_do_until(&mine, never, NULL, GMP_FOREVER), -ECANCELED);
    CHECK_EQ(gmp_once_do_until(&mine, never, NULL, 0), -ECANCELED);
    CHECK_OK(gmp_once_do(&mine, run_cancelled, NULL));
    CHECK_EQ(made, 20);
    CHECK_OK(gmp_once_do(&mine, never, NULL));
    CHECK_EQ(gmp_once_do_until(&mine, never, NULL, 0), -ECANCELED);
    CHECK_OK(gmp_shield_enter());
    CHECK_OK(gmp_once_do_until(&mine, never, NULL, 0));
    CHECK_OK(gmp_shield_leave());
}

static atomic_int gave_up;

static void call_in_a_hurry(void *arg)
{
    int64_t span = US(3) * ((intptr_t)arg % 20);
    int result = gmp_once_do_until(&once, make, NULL, gmp_after_ns(span));

    CHECK(result == 0 || result == -ETIMEDOUT);
    if (result == 0)
        CHECK_EQ(made, 17);
    else
        atomic_fetch_add(&gave_up, 1);
}

/* Deadlines come with the end of the run. The runner has none. */
static void deadlines_race_with_the_end(void)
{
    gmp_g *callers[CALLERS];

    for (int round = 0; round < ROUNDS; round++) {
        start_over();
        atomic_store(&gave_up, 0);
        for (intptr_t i = 0; i < CALLERS; i++)
            callers[i] = spawn(call_in_a_hurry, (void *)i);
        for (int i = 0; i < CALLERS; i++)
            CHECK_OK(gmp_join(callers[i]));
        CHECK_EQ(atomic_load(&runs), 1);
        CHECK(atomic_load(&gave_up) < CALLERS);
        CHECK_OK(gmp_once_do(&once, never, NULL));
    }
}

int test_main(int argc, char **argv)
{
    one_run_among_many();
    argument_and_later_calls(NULL);
    CHECK_OK(gmp_join(spawn(argument_and_later_calls, NULL)));
    others_wait_for_the_end(false);
    others_wait_for_the_end(true);
    exit_ends_the_run();
    exit_on_a_host_thread();
    exit_ends_nested_runs();
    recursion(NULL);
    CHECK_OK(gmp_join(spawn(recursion, NULL)));
    another_may_wait();
    cancelled_callers();
    CHECK_OK(gmp_join(spawn(when_cancelled, NULL)));
    deadlines_race_with_the_end();
    return 0;
}
