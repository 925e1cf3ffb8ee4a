/* The hot paths, one operation at a time, to count instructions of.
 *
 *     ops OPERATION ROUNDS
 *
 * bench/callgrind.py runs it with N and with 2N rounds; the difference is the
 * cost of N rounds, without the start of the runtime and of the operation. So
 * nothing here depends on time, and what an operation needs once does not
 * depend on the rounds. Each checks that it did what it was asked for.
 */
#include "ops.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct operation {
    const char *name;
    void (*run)(long rounds);
    /* On the thread of main, and not on a goroutine. */
    bool on_host;
} operations[] = {
    {"yield", yield2, false},
    {"yield1000", yield1000, false},
    {"spawn", spawn_waves, false},
    {"spawn_all", spawn_all, false},
    {"spawn_join", spawn_join, false},
    {"host_spawn_join", spawn_join, true},
    {"pingpong", pingpong, false},
    {"pingpong_until", pingpong_until, false},
    {"buffered", buffered, false},
    {"buffered_1_1", buffered_1_1, false},
    {"select2_ready", select2_ready, false},
    {"select4_ready", select4_ready, false},
    {"select2_park", select2_park, false},
    {"mutex", mutex, false},
    {"mutex8_yield", mutex8_yield, false},
    {"timer", timer, false},
    {"sleep", sleeps, false},
    {"echo", echo1, false},
    {"echo64", echo64, false},
    {"call", call, false},
    {"defer", defer, false},
    {"defer10", defer10, false},
    {"panic_recover", panic_recover, false},
    {"alloc64", alloc64, false},
    {"noscan64", noscan64, false},
    {"released64", released64, false},
};

void check_failed(const char *file, int line, const char *what)
{
    fprintf(stderr, "%s:%d: failed: %s\n", file, line, what);
    _Exit(1);
}

/* What the goroutine of an operation is told. */
struct order {
    const struct operation *operation;
    long rounds;
};

static void obey(void *arg)
{
    const struct order *order = arg;

    order->operation->run(order->rounds);
}

static void run(const struct operation *operation, long rounds)
{
    struct order order = {operation, rounds};

    if (operation->on_host)
        obey(&order);
    else
        CHECK(gmp_join(spawn(obey, &order)) == 0);
}

int main(int argc, char **argv)
{
    size_t n = sizeof operations / sizeof *operations;

    if (argc == 2 && strcmp(argv[1], "list") == 0) {
        for (size_t i = 0; i < n; i++)
            puts(operations[i].name);
        return 0;
    }
    for (size_t i = 0; argc == 3 && i < n; i++)
        if (strcmp(argv[1], operations[i].name) == 0) {
            run(&operations[i], atol(argv[2]));
            return 0;
        }
    fprintf(stderr, "usage: %s OPERATION ROUNDS, or %s list\n", argv[0],
            argv[0]);
    return 2;
}
