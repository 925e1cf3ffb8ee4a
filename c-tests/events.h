/* For tests of the order of calls at a goroutine's end: the goroutine notes
 * events, which are numbers, and EXPECT compares them.
 */
#ifndef GMPRT_EVENTS_H
#define GMPRT_EVENTS_H

#include "test.h"

enum { EVENTS = 2048 };

/* The events in their order: plain data, which a join makes visible. */
static int events[EVENTS];
static int happened;

static void note(void *number)
{
    CHECK(happened < EVENTS);
    events[happened++] = (int)(intptr_t)number;
}

static inline void expect_at(const char *file, int line, gmp_fn fn,
                             const int *want, int n)
{
    happened = 0;
    CHECK_OK(gmp_join(spawn(fn, NULL)));
    test_equal(file, line, "the number of events", happened, n);
    for (int i = 0; i < n; i++)
        test_equal(file, line, "an event", events[i], want[i]);
}

/* Runs a goroutine, and checks the events that it has noted by its end. */
#define EXPECT(fn, ...)                                                      \
    do {                                                                     \
        static const int want[] = {__VA_ARGS__};                             \
                                                                             \
        expect_at(__FILE__, __LINE__, fn, want, sizeof want / sizeof *want); \
    } while (0)

#endif
