/* One operation of gmprt, measured:
 *
 *     bench OPERATION WORKERS [n=ROUNDS] [g=GOROUTINES]
 *
 * Prints a line with a metric and its value for each result. 77 is the exit
 * status for an operation that is not here, 1 that of a wrong result. */
#include "bench.h"

#include <err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MISSING = 77 };
static const int64_t ENOUGH = 300 * 1000 * 1000; /* ns */

struct operation {
    const char *name;
    void (*run)(void);
    struct options defaults;
    bool on_host; /* on the thread of main, not on a goroutine */
};

static const struct operation operations[] = {
    {"yield2", yield, {2000000, 2}, false},
    {"yield1000", yield, {2000000, 1000}, false},
    {"spawn_waves", spawn_waves, {1000000, 1000}, false},
    {"spawn_million", spawn_million, {1000000, 0}, false},
    {"spawn_join", spawn_join, {1000000, 0}, false},
    {"host_spawn_join", spawn_join, {10000, 0}, true},
    {"pingpong", pingpong, {1000000, 2}, false},
    {"buffered_1_1", buffered, {4000000, 1}, false},
    {"buffered_4_4", buffered, {4000000, 4}, false},
    {"select2_ready", select_ready, {2000000, 2}, false},
    {"select4_ready", select_ready, {2000000, 4}, false},
    {"select2_park", select_park, {1000000, 2}, false},
    {"select4_park", select_park, {1000000, 4}, false},
    {"mutex8", mutex, {8000000, 8}, false},
    {"mutex8_yield", mutex_yield, {800000, 8}, false},
    {"skynet", skynet, {1000000, 10}, false},
    {"parked_million", parked_million, {1000000, 0}, false},
    {"sleepers", sleepers, {10, 100000}, false},
    {"stall_sleep", stall_sleep, {0, 0}, false},
    {"stall_burn", stall_burn, {0, 0}, false},
    {"idle", idle, {0, 0}, false},
    {"echo_server", echo_server, {0, 0}, false},
};
struct options opt;

void report(const char *metric, double value)
{
    printf("%s\t%.10g\n", metric, value);
    fflush(stdout);
}

void check(bool ok, const char *what)
{
    if (!ok)
        errx(1, "wrong: %s", what);
}

void go(gmp_fn fn, void *arg)
{
    int rc = gmp_go(fn, arg);
    if (rc != 0)
        errx(1, "gmp_go: %s", gmp_strerror(rc));
}

void measure(void (*pass)(long n))
{
    pass(opt.n / 10);
    long rounds = 0;
    int64_t start = gmp_now(), took;
    do {
        pass(opt.n);
        rounds += opt.n;
        took = gmp_now() - start;
    } while (took < ENOUGH);
    report("ns", (double)took / (double)rounds);
}

long proc_status(const char *key)
{
    FILE *status = fopen("/proc/self/status", "r");
    char line[256];
    long value = -1;
    size_t length = strlen(key);
    while (value < 0 && status != NULL && fgets(line, sizeof line, status))
        if (strncmp(line, key, length) == 0 && line[length] == ':')
            value = atol(line + length + 1);
    check(value >= 0, "/proc/self/status has no such line");
    fclose(status);
    return value;
}

static const struct operation *find(const char *name)
{
    const size_t count = sizeof operations / sizeof *operations;
    for (size_t i = 0; i < count; i++)
        if (strcmp(operations[i].name, name) == 0)
            return &operations[i];
    return NULL;
}

static void set_option(const char *text)
{
    if (strncmp(text, "n=", 2) == 0)
        opt.n = atol(text + 2);
    else if (strncmp(text, "g=", 2) == 0)
        opt.g = atol(text + 2);
}

static int run_on_goroutine(int argc, char **argv)
{
    (void)argc;
    find(argv[1])->run();
    return 0;
}

int main(int argc, char **argv)
{
    const struct operation *operation = argc < 3 ? NULL : find(argv[1]);
    if (operation == NULL)
        return MISSING;
    opt = operation->defaults;
    for (int i = 3; i < argc; i++)
        set_option(argv[i]);
    gmp_set_maxprocs(atoi(argv[2]));
    if (!operation->on_host)
        return gmp_run_main(argc, argv, run_on_goroutine);
    operation->run();
    return 0;
}
