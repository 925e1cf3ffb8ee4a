/* Panics in what the library calls, and beside what it keeps for a goroutine:
 * onces, long calls, timers, groups, keys, cancels, shields, locked threads,
 * the main goroutine. */
#include "events.h"

#include <setjmp.h>

static void defer(gmp_fn fn, intptr_t arg)
{
    CHECK_OK(gmp_defer(fn, (void *)arg));
}

static void recovers(void *number)
{
    CHECK(gmp_recover() != NULL);
    note(number);
}

static void recovers_quietly(void *arg)
{
    gmp_recover();
}

static void panics(void *number)
{
    note(number);
    gmp_panic("number %d", (int)(intptr_t)number);
}

static void panics_quietly(void *arg)
{
    gmp_panic("quietly");
}

/* --- Onces ---------------------------------------------------------------- */

/* As in Go, a function that panics has run. */
static gmp_once once;
static atomic_int waiting;

static void waits_and_panics(void *arg)
{
    AWAIT(atomic_load(&waiting) == 4);
    CHECK_OK(gmp_sleep(US(200)));
    gmp_panic("in a once");
}

static void waits_for_once(void *arg)
{
    atomic_fetch_add(&waiting, 1);
    CHECK_OK(gmp_once_do(&once, panics_quietly, NULL));
}

static void does_once(void *fn)
{
    gmp_once_do(&once, (gmp_fn)fn, NULL);
    CHECK(!"it panics");
}

static void recovers_once(void *fn)
{
    defer(recovers_quietly, 0);
    does_once(fn);
}

static void once_is_done(void *arg)
{
    for (int i = 0; i < 10; i++) {
        memset(&once, 0, sizeof once);
        CHECK_EQ(gmp_call(recovers_once, (void *)(gmp_fn)panics_quietly, NULL),
                 1);
        CHECK_OK(gmp_once_do(&once, panics_quietly, NULL));
    }
}

static void first_of_many(void *arg)
{
    CHECK_EQ(gmp_call(recovers_once, (void *)(gmp_fn)waits_and_panics, NULL),
             1);
}

static void others_go_on(void *arg)
{
    gmp_g *first, *gs[4];

    memset(&once, 0, sizeof once);
    atomic_store(&waiting, 0);
    first = spawn(first_of_many, NULL);
    AWAIT(once._state != 0);
    for (int i = 0; i < 4; i++)
        gs[i] = spawn(waits_for_once, NULL);
    for (int i = 0; i < 4; i++)
        CHECK_OK(gmp_join(gs[i]));
    CHECK_OK(gmp_join(first));
}

/* The once is done before the frames are left, and may be in one of them. */
static void local_once(void *arg)
{
    gmp_once o = GMP_ONCE_INIT;

    gmp_once_do(&o, panics_quietly, NULL);
}

static void recovers_local_once(void *arg)
{
    defer(recovers_quietly, 0);
    local_once(arg);
}

static void once_in_a_frame(void *arg)
{
    for (int i = 0; i < 10; i++)
        CHECK_EQ(gmp_call(recovers_local_once, NULL, NULL), 1);
}

/* --- Long calls ----------------------------------------------------------- */

static void blocks_and_panics(void *arg)
{
    block_ns(MS(2));
    gmp_panic("blocked");
}

static void recovers_blocking(void *arg)
{
    defer(recovers_quietly, 0);
    gmp_blocking(blocks_and_panics, NULL);
}

static void in_blocking(void *arg)
{
    for (int i = 0; i < 5; i++) {
        CHECK_EQ(gmp_call(recovers_blocking, NULL, NULL), 1);
        gmp_yield();
    }
}

/* --- Timers --------------------------------------------------------------- */

static atomic_int ticks;

static void recovers_tick(void *arg)
{
    CHECK(gmp_recover() != NULL);
}

static void ticks_and_panics(void *arg)
{
    defer(recovers_tick, 0);
    atomic_fetch_add(&ticks, 1);
    gmp_panic("tick");
}

static void ticks_and_exits(void *arg)
{
    atomic_fetch_add(&ticks, 1);
    gmp_exit();
}

/* A periodic timer goes on. */
static void in_timers(void *arg)
{
    for (int i = 0; i < 2; i++) {
        gmp_timer *timer;

        atomic_store(&ticks, 0);
        timer = gmp_timer_start(US(100), US(100),
                                i ? ticks_and_exits : ticks_and_panics, NULL);
        CHECK(timer != NULL);
        AWAIT(atomic_load(&ticks) > 5);
        gmp_timer_stop(timer);
        gmp_timer_free(timer);
    }
}

/* --- Groups --------------------------------------------------------------- */

static int recovered_member(void *arg)
{
    defer(recovers_quietly, 0);
    gmp_panic("a member");
    return 0;
}

static void recovers_in_call(void *arg)
{
    recovered_member(arg);
}

static int member_that_calls(void *arg)
{
    CHECK_EQ(gmp_call(recovers_in_call, NULL, NULL), 1);
    return 0;
}

static int member_that_waits(void *arg)
{
    CHECK_EQ(gmp_sleep(SEC(50)), -ECANCELED);
    return 1;
}

static void in_groups(void *arg)
{
    gmp_group *group = gmp_group_make();

    CHECK_OK(gmp_group_go(group, member_that_calls, NULL));
    CHECK_OK(gmp_group_wait(group));
    CHECK_OK(gmp_group_go(group, member_that_waits, NULL));
    CHECK_OK(gmp_group_go(group, recovered_member, NULL));
    CHECK_EQ(gmp_group_wait(group), -EOWNERDEAD);
    gmp_group_free(group);
}

/* --- Keys ----------------------------------------------------------------- */

static gmp_key *first_key, *second_key;

static void destructor_panics(void *number)
{
    defer(recovers, (intptr_t)number + 1);
    panics(number);
}

static void with_keys(void *arg)
{
    CHECK_OK(gmp_setspecific(first_key, (void *)1));
    CHECK_OK(gmp_setspecific(second_key, (void *)3));
    note((void *)0);
}

static void *thread_with_key(void *arg)
{
    happened = 0;
    CHECK_EQ(gmp_call(with_keys, NULL, NULL), 0);
    CHECK_OK(gmp_setspecific(first_key, NULL));
    CHECK_OK(gmp_setspecific(second_key, NULL));
    return arg;
}

static void in_destructors(void)
{
    pthread_t thread;

    first_key = gmp_key_create(destructor_panics);
    second_key = gmp_key_create(destructor_panics);
    EXPECT(with_keys, 0, 1, 2, 3, 4);
    CHECK_OK(pthread_create(&thread, NULL, thread_with_key, NULL));
    CHECK_OK(pthread_join(thread, NULL));
}

/* --- Cancels and shields -------------------------------------------------- */

static void waits_undisturbed(void *arg)
{
    CHECK(gmp_cancelled());
    CHECK_OK(gmp_sleep(US(10)));
}

static void defers_of_a_cancelled(void *arg)
{
    defer(waits_undisturbed, 0);
    defer(recovers_quietly, 0);
    defer(waits_undisturbed, 0);
    CHECK_OK(gmp_shield_enter());
    CHECK_OK(gmp_shield_enter());
    if (arg != NULL)
        gmp_panic("cancelled");
}

static void when_cancelled(void *arg)
{
    CHECK_OK(gmp_cancel(gmp_self()));
    CHECK_EQ(gmp_sleep(1), -ECANCELED);
    /* A panic takes back the shields of what it leaves. */
    CHECK_EQ(gmp_call(defers_of_a_cancelled, (void *)1, NULL), 1);
    CHECK_EQ(gmp_sleep(1), -ECANCELED);
    CHECK_EQ(gmp_shield_leave(), -EPERM);
    CHECK_OK(gmp_shield_enter());
    CHECK_EQ(gmp_call(defers_of_a_cancelled, (void *)1, NULL), 1);
    CHECK_OK(gmp_sleep(1));
    CHECK_OK(gmp_shield_leave());
    CHECK_EQ(gmp_sleep(1), -ECANCELED);
}

static jmp_buf before;

static void jumps(void *arg)
{
    longjmp(before, 1);
}

static void left_by_a_jump(void *panics)
{
    defer(jumps, 0);
    if (panics != NULL)
        gmp_panic("left by a jump");
}

static void jumps_out_of_a_deferred(void *panics)
{
    if (setjmp(before) == 0)
        gmp_call(left_by_a_jump, panics, NULL);
    CHECK_OK(gmp_sleep(1));
}

static void leaves_shield(void *arg)
{
    CHECK_OK(gmp_shield_leave());
}

static void jumps_out_and_defers(void *panics)
{
    CHECK_OK(gmp_shield_enter());
    defer(waits_undisturbed, 0);
    defer(leaves_shield, 0);
    jumps_out_of_a_deferred(panics);
    defer(waits_undisturbed, 0);
}

/* The shield of a deferred function that a jump has left goes at the end of the
 * gmp_call around, or by gmp_shield_leave. */
static void shield_left_by_a_jump(void *arg)
{
    CHECK_OK(gmp_cancel(gmp_self()));
    for (intptr_t panics = 0; panics < 2; panics++) {
        CHECK_OK(gmp_call(jumps_out_of_a_deferred, (void *)panics, NULL));
        CHECK_EQ(gmp_sleep(1), -ECANCELED);
        CHECK_OK(gmp_call(jumps_out_and_defers, (void *)panics, NULL));
        CHECK_EQ(gmp_sleep(1), -ECANCELED);
        jumps_out_of_a_deferred((void *)panics);
        CHECK_OK(gmp_shield_leave());
        CHECK_EQ(gmp_sleep(1), -ECANCELED);
        CHECK_EQ(gmp_shield_leave(), -EPERM);
    }
}

/* Deferred functions in one another, so many that their shields are more than
 * the library counts. */
enum { MOST_SHIELDS = 65535 };

static void call_deferring(void *depth);

static void deferred_deep(void *depth)
{
    intptr_t n = (intptr_t)depth;

    if (n > 1)
        CHECK_OK(gmp_call(call_deferring, (void *)(n - 1), NULL));
    else
        CHECK_EQ(gmp_shield_enter(), -EAGAIN);
    if (n < 4)
        CHECK_OK(gmp_sleep(1));
}

static void call_deferring(void *depth)
{
    defer(deferred_deep, (intptr_t)depth);
}

static void shields_beyond_counting(void *arg)
{
    CHECK_OK(gmp_cancel(gmp_self()));
    for (intptr_t n = MOST_SHIELDS - 1; n < MOST_SHIELDS + 4; n++) {
        CHECK_OK(gmp_call(call_deferring, (void *)n, NULL));
        CHECK_EQ(gmp_sleep(1), -ECANCELED);
        CHECK_EQ(gmp_shield_leave(), -EPERM);
    }
}

static void shields_deep(void)
{
    gmp_attr attr = GMP_ATTR_INIT;
    gmp_g *g;

    if (test_under("tsan")) {
        test_skip("shields beyond counting",
                  "ThreadSanitizer counts 65,536 calls in one another");
        return;
    }
    attr.stack_size = 256 << 20;
    CHECK_OK(gmp_go_with(&attr, shields_beyond_counting, NULL, &g));
    CHECK_OK(gmp_join(g));
}

/* --- Threads -------------------------------------------------------------- */

static void stays_there(void *tid)
{
    CHECK_OK(gmp_sleep(US(50)));
    CHECK_EQ(thread_id(), (intptr_t)tid);
    gmp_recover();
}

static void locked_and_panics(void *arg)
{
    defer(stays_there, thread_id());
    gmp_panic("locked");
}

static void when_locked(void *arg)
{
    CHECK_OK(gmp_lock_os_thread());
    CHECK_EQ(gmp_call(locked_and_panics, NULL, NULL), 1);
    CHECK_OK(gmp_unlock_os_thread());
}

/* --- Where nothing can be done -------------------------------------------- */

static int in_unlockf(gmp_g *g, void *lock)
{
    CHECK_EQ(gmp_call(recovers_quietly, NULL, NULL), -EPERM);
    CHECK_EQ(gmp_defer(recovers_quietly, NULL), -EPERM);
    CHECK_EQ(gmp_exit(), -EPERM);
    CHECK(gmp_recover() == NULL);
    return 0;
}

static void parks(void *arg)
{
    CHECK_OK(gmp_park(in_unlockf, NULL, "parks"));
}

static void parks_in_a_call(void *arg)
{
    CHECK_OK(gmp_call(parks, NULL, NULL));
}

/* --- Many ----------------------------------------------------------------- */

static void deep_calls(void *depth)
{
    intptr_t n = (intptr_t)depth;

    if (n == 0)
        gmp_panic("at the bottom");
    if (n % 10 == 0)
        defer(recovers_quietly, 0);
    gmp_call(deep_calls, (void *)(n - 1), NULL);
}

static void many_deep(void *arg)
{
    for (int i = 0; i < 20; i++) {
        CHECK_EQ(gmp_call(deep_calls, (void *)10, NULL), 1);
        CHECK_EQ(gmp_call(deep_calls, (void *)100, NULL), 0);
        gmp_yield();
    }
}

static void many(void *arg)
{
    gmp_g *gs[50];

    for (int i = 0; i < 50; i++)
        gs[i] = spawn(many_deep, NULL);
    for (int i = 0; i < 50; i++)
        CHECK_OK(gmp_join(gs[i]));
}

/* --- The main goroutine --------------------------------------------------- */

static int main_that_recovers(int argc, char **argv)
{
    defer(recovers_quietly, 0);
    gmp_panic("main");
    return 5;
}

static int main_that_returns(int argc, char **argv)
{
    CHECK_EQ(gmp_call(recovers_in_call, NULL, NULL), 1);
    return 6;
}

int test_main(int argc, char **argv)
{
    static const gmp_fn all[] = {
        once_is_done,  others_go_on, once_in_a_frame, in_blocking,
        in_timers,     in_groups,    parks,           parks_in_a_call,
        when_locked,   many,
    };

    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        if (all[i] != when_locked)
            all[i](NULL);
        CHECK_OK(gmp_join(spawn(all[i], NULL)));
    }
    in_destructors();
    CHECK_OK(gmp_join(spawn(when_cancelled, NULL)));
    CHECK_OK(gmp_join(spawn(shield_left_by_a_jump, NULL)));
    shields_deep();
    CHECK_EQ(gmp_run_main(0, NULL, main_that_recovers), 0);
    CHECK_EQ(gmp_run_main(0, NULL, main_that_returns), 6);
    return 0;
}
