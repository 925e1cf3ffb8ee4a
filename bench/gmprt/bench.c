/* One operation of gmprt, measured:
 *
 *     bench OPERATION WORKERS [n=ROUNDS] [g=GOROUTINES]
 *
 * Prints a line with a metric and its value for each result. 77 is the exit
 * status for an operation that is not here, 1 that of a wrong result. */
#include "bench.h"

enum { MOST = 1024 }; /* Ps */

static const struct operation operations[] = {
    {"yield2", yield, 2000000, 2},
    {"yield1000", yield, 2000000, 1000},
    {"spawn_waves", spawn_waves, 1000000, 1000},
    {"spawn_million", spawn_million, 1000000, 0},
    {"spawn_join", spawn_join, 1000000, 0},
    {"host_spawn_join", spawn_join, 10000, 0},
    {"pingpong", pingpong, 1000000, 2},
    {"buffered_1_1", buffered, 4000000, 1},
    {"buffered_4_4", buffered, 4000000, 4},
    {"select2_ready", select_ready, 2000000, 2},
    {"select4_ready", select_ready, 2000000, 4},
    {"select2_park", select_park, 1000000, 2},
    {"select4_park", select_park, 1000000, 4},
    {"mutex8", mutex, 8000000, 8},
    {"mutex8_yield", mutex_yield, 800000, 8},
    {"defer", defer, 5000000, 1},
    {"defer10", defer, 500000, 10},
    {"panic_recover", panic_recover, 200000, 0},
    {"skynet", skynet, 1000000, 10},
    {"parked_million", parked_million, 1000000, 0},
    {"sleepers", sleepers, 10, 100000},
    {"stall_sleep", stall_sleep, 0, 0},
    {"stall_burn", stall_burn, 0, 0},
    {"idle", idle, 0, 0},
    {"fork", fork_parked, 300, 1000},
    {"echo_server", echo_server, 0, 0},
    {NULL, NULL, 0, 0},
};
void go(gmp_fn fn, void *arg)
{
    int rc = gmp_go(fn, arg);
    if (rc != 0)
        errx(1, "gmp_go: %s", gmp_strerror(rc));
}

static const struct operation *operation;

static int run_on_goroutine(int argc, char **argv)
{
    (void)argc, (void)argv;
    operation->run();
    return 0;
}

int main(int argc, char **argv)
{
    operation = find_operation(argc, argv, operations, MOST);
    gmp_set_maxprocs(opt.workers);
    if (strcmp(operation->name, "host_spawn_join") != 0)
        return gmp_run_main(argc, argv, run_on_goroutine);
    operation->run();
    return 0;
}
