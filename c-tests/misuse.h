/* Shared by the misuse tests. A row is a name, a call, and the expected result.
 * An object is made anew for each of its rows, and must still work after it. */
#ifndef GMPRT_MISUSE_H
#define GMPRT_MISUSE_H

#include "test.h"

struct row {
    const char *name;
    long long (*call)(void);
    long long want;
};

/* A list of rows is a macro that makes first the functions and then the table,
 * since C has no functions without a name. */
#define FUNCTION(name, call, want)          \
    static long long name(void)             \
    {                                       \
        return (long long)(intptr_t)(call); \
    }
#define ENTRY(name, call, want) {#name, name, want},
#define TABLE(list) \
    list(FUNCTION)  \
    static const struct row list##_ROWS[] = {list(ENTRY) {NULL, NULL, 0}};

/* How to make an object, use it correctly, and free it. */
struct object {
    const struct row *rows;
    void (*make)(void), (*use)(void), (*free)(void);
};

static int failures;

static void compare(const struct row *row, long long got)
{
    if (got == row->want)
        return;
    fprintf(stderr, "%s: got %lld, want %lld\n", row->name, got, row->want);
    failures++;
}

static void call_rows(void *arg)
{
    const struct object *object = arg;

    for (const struct row *row = object->rows; row->name; row++) {
        object->make();
        compare(row, row->call());
        object->use();
        object->free();
    }
}

/* Checks all rows from a host thread and from a goroutine. */
static void check_objects(const struct object *objects, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        call_rows((void *)&objects[i]);
        CHECK_OK(gmp_join(spawn(call_rows, (void *)&objects[i])));
    }
    CHECK_EQ(failures, 0);
}

static int call_in_unlockf(gmp_g *g, void *arg)
{
    for (const struct row *row = arg; row->name; row++)
        compare(row, row->call());
    return 0;
}

/* Checks the rows on the scheduler's stack, where nothing may park. */
static void check_in_unlockf(const struct row *rows)
{
    CHECK_OK(gmp_park(call_in_unlockf, (void *)rows, "misuse"));
    CHECK_EQ(failures, 0);
}

static inline void nothing(void *arg)
{
}

static inline void count(void *arg)
{
    atomic_fetch_add((atomic_int *)arg, 1);
}

#endif
