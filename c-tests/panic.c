/* gmp_call, gmp_panic, gmp_recover: what Go's language says of panics, on
 * goroutines and on host threads. What an unwinding runs is in
 * panic_unwind.cc, what lies around a panic in panic_around.c. */
#include "events.h"

#include <setjmp.h>

static void defer(gmp_fn fn, intptr_t arg)
{
    CHECK_OK(gmp_defer(fn, (void *)arg));
}

static void panics(void *number)
{
    note(number);
    gmp_panic("number %d", (int)(intptr_t)number);
}

static void panics_quietly(void *text)
{
    gmp_panic("%s", (char *)text);
}

static void recovers(void *number)
{
    CHECK(gmp_recover() != NULL);
    note(number);
}

static void finds_nothing(void *number)
{
    CHECK(gmp_recover() == NULL);
    note(number);
}

static void twice(void *number)
{
    const gmp_panic_info *info = gmp_recover();

    CHECK(info != NULL);
    CHECK(gmp_recover() == NULL);
    CHECK(strncmp(info->text, "number ", 7) == 0);
    note(number);
}

/* --- Deferred functions --------------------------------------------------- */

static void three(void *arg)
{
    defer(note, 1);
    defer(note, 2);
    defer(note, 3);
    note((void *)0);
}

static void at_the_return(void *arg)
{
    CHECK_OK(gmp_call(three, NULL, NULL));
    note((void *)4);
}

static void each_call_has_its_own(void *arg)
{
    defer(note, 5);
    CHECK_OK(gmp_call(three, NULL, NULL));
    CHECK_OK(gmp_call(three, NULL, NULL));
    note((void *)4);
}

static void inner_and_outer(void *arg)
{
    CHECK_OK(gmp_call(each_call_has_its_own, NULL, NULL));
    note((void *)6);
}

static void defers_more(void *arg)
{
    defer(note, 2);
    defer(note, 3);
    note((void *)1);
}

static void newer_before_older(void *arg)
{
    defer(note, 4);
    defer(defers_more, 0);
    note((void *)0);
}

static void defers_in_loop(void *arg)
{
    for (intptr_t i = 9; i >= 0; i--)
        defer(note, i);
}

static void nothing_to_recover(void *arg)
{
    CHECK(gmp_recover() == NULL);
    defer(finds_nothing, 1);
    note((void *)0);
}

/* --- A panic that is recovered -------------------------------------------- */

static void with_one(void *arg)
{
    defer(note, 3);
    defer(recovers, 2);
    defer(note, 1);
    panics((void *)0);
    note((void *)-1);
}

static void call_returns_1(void *arg)
{
    gmp_panic_info info = GMP_PANIC_INFO_INIT;

    CHECK_EQ(gmp_call(with_one, NULL, &info), 1);
    CHECK(strcmp(info.text, "number 0") == 0);
    CHECK(info.value == NULL);
    CHECK_EQ(info.goid, gmp_goid());
    note((void *)4);
    CHECK_EQ(gmp_call(with_one, NULL, NULL), 1);
}

/* After the recover the others are called, with no panic. */
static void with_more(void *arg)
{
    defer(finds_nothing, 3);
    defer(twice, 2);
    panics((void *)1);
}

/* The caller of the recovered function goes on. */
static void outer_goes_on(void *arg)
{
    defer(finds_nothing, 5);
    CHECK_EQ(gmp_call(with_more, NULL, NULL), 1);
    note((void *)4);
}

static void three_and_panic(void *arg)
{
    three(arg);
    panics_quietly("three");
}

static void recovered_by_an_outer(void *arg)
{
    defer(note, 6);
    defer(recovers, 5);
    defer(note, 4);
    gmp_call(three_and_panic, NULL, NULL);
    note((void *)-1);
}

static void outer_is_1(void *arg)
{
    gmp_panic_info info = GMP_PANIC_INFO_INIT;

    CHECK_EQ(gmp_call(recovered_by_an_outer, NULL, &info), 1);
    CHECK(strcmp(info.text, "three") == 0);
}

static int thing;

static void with_value(void *value)
{
    defer(recovers, 1);
    gmp_panic_with(value);
}

static void values(void *arg)
{
    gmp_panic_info info = GMP_PANIC_INFO_INIT;

    CHECK_EQ(gmp_call(with_value, &thing, &info), 1);
    CHECK(info.value == &thing);
    CHECK(strncmp(info.text, "value 0x", 8) == 0);
    CHECK_EQ(gmp_call(with_value, NULL, &info), 1);
    CHECK(info.value == NULL && info.text != NULL);
}

static char long_text[20000];

static void quiet(void *arg)
{
    gmp_recover();
}

static void with_text(void *text)
{
    defer(quiet, 0);
    panics_quietly(text);
}

/* The text is the panic's own, and calls before its end leave it alone. */
static void calls_after_recover(void *arg)
{
    const gmp_panic_info *info = gmp_recover();

    CHECK(info != NULL);
    for (int i = 0; i < 3; i++)
        CHECK_EQ(gmp_call(with_text, "below", NULL), 1);
    CHECK(strcmp(info->text, long_text) == 0);
}

static void with_long_text(void *text)
{
    defer(calls_after_recover, 0);
    panics_quietly(text);
}

static void texts(void *arg)
{
    gmp_panic_info info = GMP_PANIC_INFO_INIT;

    memset(long_text, '%', sizeof long_text - 1);
    CHECK_EQ(gmp_call(with_long_text, long_text, &info), 1);
    CHECK_OK(gmp_defer(quiet, NULL));
    CHECK(strcmp(info.text, long_text) == 0);
    CHECK(info.text != long_text);
}

/* --- Recover where it is none --------------------------------------------- */

static __attribute__((noinline)) const void *helper(void)
{
    const void *found = gmp_recover();

    __asm__ volatile("" : : "r"(&found) : "memory");
    return found;
}

static void by_a_helper(void *number)
{
    volatile int frame = 1;

    CHECK(helper() == NULL);
    frame++;
    note(number);
}

static void not_by_a_helper(void *arg)
{
    defer(recovers, 3);
    defer(by_a_helper, 2);
    panics((void *)1);
}

static void recovers_in_a_call(void *number)
{
    CHECK_OK(gmp_call(finds_nothing, number, NULL));
}

static void by_its_defer(void *number)
{
    CHECK_OK(gmp_call(nothing_to_recover, NULL, NULL));
    note(number);
}

static void not_in_a_call(void *arg)
{
    defer(recovers, 4);
    defer(recovers_in_a_call, 3);
    defer(by_its_defer, 2);
    panics((void *)1);
}

/* --- Panics in deferred functions ----------------------------------------- */

static void replaced(void *arg)
{
    defer(twice, 4);
    defer(panics, 3);
    defer(panics, 2);
    panics((void *)1);
}

static void the_last_counts(void *arg)
{
    gmp_panic_info info = GMP_PANIC_INFO_INIT;

    CHECK_EQ(gmp_call(replaced, NULL, &info), 1);
    CHECK(strcmp(info.text, "number 3") == 0);
}

static void recovers_and_panics(void *number)
{
    CHECK(gmp_recover() != NULL);
    panics(number);
}

static void again(void *arg)
{
    defer(twice, 3);
    defer(recovers_and_panics, 2);
    panics((void *)1);
}

static void panics_again(void *arg)
{
    gmp_panic_info info = GMP_PANIC_INFO_INIT;

    CHECK_EQ(gmp_call(again, NULL, &info), 1);
    CHECK(strcmp(info.text, "number 2") == 0);
}

/* A panic that comes and goes inside a deferred function leaves the one that
 * has called the function. */
static void one_of_its_own(void *number)
{
    gmp_panic_info info = GMP_PANIC_INFO_INIT;

    CHECK_EQ(gmp_call(with_text, "inside", &info), 1);
    CHECK(strcmp(info.text, "inside") == 0);
    note(number);
}

static void recovers_after_one(void *number)
{
    const gmp_panic_info *info;

    one_of_its_own((void *)2);
    info = gmp_recover();
    CHECK(info != NULL && strcmp(info->text, "number 0") == 0);
    note(number);
}

static void outer_panic_stays(void *arg)
{
    defer(recovers_after_one, 3);
    defer(one_of_its_own, 1);
    panics((void *)0);
}

static void within_another(void *arg)
{
    gmp_panic_info info = GMP_PANIC_INFO_INIT;

    CHECK_EQ(gmp_call(outer_panic_stays, NULL, &info), 1);
    CHECK(strcmp(info.text, "number 0") == 0);
}

/* A panic in what is deferred at a plain return. */
static void at_a_return(void *arg)
{
    defer(note, 4);
    defer(recovers, 3);
    defer(panics, 2);
    note((void *)1);
}

static void panics_at_the_return(void *arg)
{
    CHECK_EQ(gmp_call(at_a_return, NULL, NULL), 1);
    note((void *)5);
}

static void defers_two(void *arg)
{
    defer(note, 2);
    defer(note, 1);
}

/* What is deferred by a function that a panic calls runs before the rest. */
static void defers_during_a_panic(void *arg)
{
    defer(note, 4);
    defer(recovers, 3);
    defer(defers_two, 0);
    panics((void *)0);
}

/* A second panic in the rest, after the first was recovered. */
static void one_after_the_other(void *arg)
{
    defer(note, 5);
    defer(recovers, 4);
    defer(panics, 3);
    defer(recovers, 2);
    panics((void *)1);
}

static void two_in_a_row(void *arg)
{
    gmp_panic_info info = GMP_PANIC_INFO_INIT;

    CHECK_EQ(gmp_call(one_after_the_other, NULL, &info), 1);
    CHECK(strcmp(info.text, "number 3") == 0);
}

static void panics_three_times(void *arg)
{
    defer(panics, 3);
    defer(panics, 2);
    panics((void *)1);
}

/* The inner call's deferred functions panic, the outer one's recover. */
static void through_two(void *arg)
{
    defer(recovers, 4);
    gmp_call(panics_three_times, NULL, NULL);
    note((void *)-1);
}

/* --- longjmp -------------------------------------------------------------- */

static jmp_buf env;

static void jumps(void *arg)
{
    defer(note, 2);
    longjmp(env, 1);
}

/* What it has deferred passes to the call around it. */
static void jumped_over(void *arg)
{
    defer(note, 3);
    if (setjmp(env) == 0)
        gmp_call(jumps, NULL, NULL);
    defer(note, 1);
    note((void *)0);
}

static void jumped_over_and_panics(void *arg)
{
    defer(recovers, 3);
    if (setjmp(env) == 0)
        gmp_call(jumps, NULL, NULL);
    panics((void *)1);
}

static void recovers_and_jumps(void *arg)
{
    defer(recovers, 2);
    longjmp(env, 1);
}

/* The function that recovers belongs to a call that is gone. */
static void recovered_by_one_that_is_gone(void *arg)
{
    if (setjmp(env) == 0)
        gmp_call(recovers_and_jumps, NULL, NULL);
    panics((void *)1);
}

static void jumps_back(void *number)
{
    note(number);
    longjmp(env, 1);
}

/* A jump out of a deferred function ends the panic, too. */
static void jumps_out_of_a_panic(void *arg)
{
    defer(finds_nothing, 3);
    defer(jumps_back, 1);
    if (setjmp(env) == 0)
        gmp_panic("a jump ends it");
    note((void *)2);
}

static jmp_buf inner;

static void jumps_inside(void *number)
{
    note(number);
    longjmp(inner, 1);
}

static void panics_and_jumps(void *arg)
{
    defer(jumps_inside, 2);
    gmp_panic("left by a jump");
}

/* Or it ends the inner one of two. */
static void recovers_after_a_jump(void *number)
{
    const gmp_panic_info *info;

    if (setjmp(inner) == 0)
        gmp_call(panics_and_jumps, NULL, NULL);
    info = gmp_recover();
    CHECK(info != NULL && strcmp(info->text, "number 1") == 0);
    note(number);
}

static void jumps_out_of_the_inner(void *arg)
{
    defer(note, 4);
    defer(recovers_after_a_jump, 3);
    panics((void *)1);
}

/* A jump over a gmp_call has left what looks like its frame, below the frame of
 * another one that the first panic has already ended. */
static void jumps_inside_a_call(void *arg)
{
    longjmp(inner, 1);
}

static void panics_after_a_jump(void *number)
{
    note(number);
    if (setjmp(inner) == 0)
        gmp_call(jumps_inside_a_call, NULL, NULL);
    defer(recovers, 3);
    panics((void *)2);
}

static void first_panic_in_a_call(void *arg)
{
    defer(panics_after_a_jump, 1);
    gmp_call(panics, NULL, NULL);
    note((void *)-1);
}

static void jumped_over_in_a_panic(void *arg)
{
    defer(note, 5);
    CHECK_EQ(gmp_call(first_panic_in_a_call, NULL, NULL), 1);
    note((void *)4);
}

/* --- gmp_exit ------------------------------------------------------------- */

static void exits(void *number)
{
    note(number);
    gmp_exit();
    note((void *)-1);
}

static void exits_inside(void *arg)
{
    defer(finds_nothing, 2);
    exits((void *)1);
}

static void exit_runs_all(void *arg)
{
    defer(note, 4);
    defer(note, 3);
    gmp_call(exits_inside, NULL, NULL);
    note((void *)-1);
}

/* A panic is over where gmp_exit comes. */
static void exit_ends_a_panic(void *arg)
{
    defer(finds_nothing, 3);
    defer(exits, 2);
    panics((void *)1);
}

static void exit_ends_a_panic_in_calls(void *arg)
{
    defer(finds_nothing, 4);
    gmp_call(exit_ends_a_panic, NULL, NULL);
    note((void *)-1);
}

/* A recover ends a panic, and no gmp_exit. */
static void recovered_during_exit(void *arg)
{
    defer(note, 4);
    defer(recovers, 3);
    defer(panics, 2);
    exits((void *)1);
}

static void exit_goes_on(void *arg)
{
    defer(note, 5);
    gmp_call(recovered_during_exit, NULL, NULL);
    note((void *)-1);
}

/* --- At the base of a goroutine ------------------------------------------- */

static void recovered_by_the_goroutine(void *arg)
{
    defer(note, 5);
    defer(recovers, 4);
    gmp_call(three_and_panic, NULL, NULL);
    note((void *)-1);
}

static void panics_after_its_end(void *arg)
{
    defer(note, 4);
    defer(recovers, 3);
    defer(panics, 2);
    note((void *)1);
}

/* --- Where they run ------------------------------------------------------- */

#define COUNT(...) (sizeof (int[]){__VA_ARGS__} / sizeof(int))
#define CASE(fn, result, ...) \
    {fn, #fn, result, COUNT(__VA_ARGS__), {__VA_ARGS__}}

struct test_case {
    gmp_fn fn;
    const char *name;
    int result, n, want[16];
};

/* Each in a gmp_call, with its result. */
static const struct test_case in_calls[] = {
    CASE(at_the_return, 0, 0, 3, 2, 1, 4),
    CASE(inner_and_outer, 0, 0, 3, 2, 1, 0, 3, 2, 1, 4, 5, 6),
    CASE(newer_before_older, 0, 0, 1, 3, 2, 4),
    CASE(defers_in_loop, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9),
    CASE(nothing_to_recover, 0, 0, 1),
    CASE(with_one, 1, 0, 1, 2, 3),
    CASE(call_returns_1, 0, 0, 1, 2, 3, 4, 0, 1, 2, 3),
    CASE(outer_goes_on, 0, 1, 2, 3, 4, 5),
    CASE(recovered_by_an_outer, 1, 0, 3, 2, 1, 4, 5, 6),
    CASE(outer_is_1, 0, 0, 3, 2, 1, 4, 5, 6),
    CASE(values, 0, 1, 1),
    CASE(not_by_a_helper, 1, 1, 2, 3),
    CASE(not_in_a_call, 1, 1, 0, 1, 2, 3, 4),
    CASE(the_last_counts, 0, 1, 2, 3, 4),
    CASE(panics_again, 0, 1, 2, 3),
    CASE(within_another, 0, 0, 1, 2, 3),
    CASE(panics_at_the_return, 0, 1, 2, 3, 4, 5),
    CASE(defers_during_a_panic, 1, 0, 1, 2, 3, 4),
    CASE(two_in_a_row, 0, 1, 2, 3, 4, 5),
    CASE(through_two, 1, 1, 2, 3, 4),
    CASE(jumped_over, 0, 0, 1, 2, 3),
    CASE(jumped_over_and_panics, 1, 1, 2, 3),
    CASE(recovered_by_one_that_is_gone, 1, 1, 2),
    CASE(jumps_out_of_a_panic, 0, 1, 2, 3),
    CASE(jumps_out_of_the_inner, 1, 1, 2, 3, 4),
    CASE(jumped_over_in_a_panic, 0, 0, 1, 2, 3, 4, 5),
};

/* Each as the function of a goroutine, which it ends. */
static const struct test_case ends[] = {
    CASE(exit_runs_all, 0, 1, 2, 3, 4),
    CASE(exit_ends_a_panic, 0, 1, 2, 3),
    CASE(exit_ends_a_panic_in_calls, 0, 1, 2, 3, 4),
    CASE(exit_goes_on, 0, 1, 2, 3, 4, 5),
    CASE(recovered_by_the_goroutine, 0, 0, 3, 2, 1, 4, 5),
    CASE(panics_after_its_end, 0, 1, 2, 3, 4),
};

static void judge(const struct test_case *c, int result)
{
    char what[100];

    snprintf(what, sizeof what, "the result of %s", c->name);
    test_equal(__FILE__, __LINE__, what, result, c->result);
    for (int i = 0; i < c->n && i < happened; i++) {
        snprintf(what, sizeof what, "event %d of %s", i, c->name);
        test_equal(__FILE__, __LINE__, what, events[i], c->want[i]);
    }
    snprintf(what, sizeof what, "the number of events of %s", c->name);
    test_equal(__FILE__, __LINE__, what, happened, c->n);
}

static void calls(void *arg)
{
    for (size_t i = 0; i < sizeof in_calls / sizeof *in_calls; i++) {
        happened = 0;
        judge(&in_calls[i], gmp_call(in_calls[i].fn, NULL, NULL));
    }
    happened = 0;
    CHECK_EQ(gmp_call(texts, NULL, NULL), 0);
}

static void calls_in_a_call(void *arg)
{
    CHECK_OK(gmp_call(calls, NULL, NULL));
}

static void *calls_on_a_thread(void *arg)
{
    calls(arg);
    calls_in_a_call(arg);
    return arg;
}

/* Each of them in a deferred function of a panic, too. */
static void calls_during_a_panic(void *arg)
{
    defer(quiet, 0);
    defer(calls, 0);
    gmp_panic("another");
}

static void all_calls(void *arg)
{
    calls(arg);
    calls_in_a_call(arg);
    CHECK_EQ(gmp_call(calls_during_a_panic, NULL, NULL), 1);
}

static void misuse(void *arg)
{
    gmp_panic_info info = GMP_PANIC_INFO_INIT;

    info.struct_size = 8;
    CHECK_EQ(gmp_call(three, NULL, &info), -EINVAL);
    CHECK_EQ(gmp_call(NULL, NULL, NULL), -EINVAL);
    CHECK(gmp_recover() == NULL);
}

int test_main(int argc, char **argv)
{
    pthread_t thread;

    CHECK_EQ(gmp_defer(note, NULL), -EPERM);
    misuse(NULL);
    CHECK_EQ(gmp_defer(note, NULL), -EPERM);
    for (int round = 0; round < 5; round++) {
        all_calls(NULL);
        CHECK_EQ(gmp_defer(note, NULL), -EPERM);
        CHECK_OK(gmp_join(spawn(all_calls, NULL)));
        CHECK_OK(pthread_create(&thread, NULL, calls_on_a_thread, NULL));
        CHECK_OK(pthread_join(thread, NULL));
        for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
            happened = 0;
            CHECK_OK(gmp_join(spawn(ends[i].fn, NULL)));
            judge(&ends[i], 0);
        }
    }
    CHECK_OK(gmp_join(spawn(misuse, NULL)));
    return 0;
}
