/* What the programs of gmprt and of the C and C++ peers share: the command
 * line, results, the clock, and what /proc says. Every such program has a table
 * of operations that ends with a null name, and a main that calls
 * find_operation(). */
#ifndef PEER_H
#define PEER_H

#include <dirent.h>
#include <err.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>

enum { MISSING = 77 };
static const int64_t MS = 1000 * 1000, SECOND = 1000 * 1000 * 1000;
static const int64_t ENOUGH = 300 * 1000 * 1000; /* ns */

/* What the command line says, or else the table of operations. */
struct options {
    long n; /* rounds */
    long g; /* coroutines */
    long port;
    int workers;
};
/* One for all files of a program. */
struct options opt __attribute__((weak));

struct operation {
    const char *name;
    void (*run)(void);
    long n, g;
};

static inline void report(const char *metric, double value)
{
    printf("%s\t%.10g\n", metric, value);
    fflush(stdout);
}

/* Ends the program unless `ok`: what was measured is not what was meant. */
static inline void check(bool ok, const char *what)
{
    if (!ok)
        errx(1, "wrong: %s", what);
}

static inline int64_t clock_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * SECOND + t.tv_nsec;
}

/* Reports how many ns a round takes: pass(n) does n of them. It is called with
 * a tenth of opt.n to warm up, and then with opt.n until enough time is over. */
static inline void measure_as(const char *metric, void (*pass)(long n))
{
    pass(opt.n / 10);
    long rounds = 0;
    int64_t start = clock_ns(), took;
    do {
        pass(opt.n);
        rounds += opt.n;
        took = clock_ns() - start;
    } while (took < ENOUGH);
    report(metric, (double)took / (double)rounds);
}

static inline void measure(void (*pass)(long n))
{
    measure_as("ns", pass);
}

static void (*one_wave)(long n);

static inline void waves(long n)
{
    for (long i = 0; i < n; i += opt.g)
        one_wave(opt.g);
}

/* Waves of opt.g coroutines: wave(n) starts n of them and waits for all. */
static inline void measure_waves(void (*wave)(long n))
{
    one_wave = wave;
    measure(waves);
}

/* The first million counts: later ones find the stacks of earlier ones. */
static inline void measure_million(void (*wave)(long n))
{
    wave(1000);
    int64_t start = clock_ns();
    wave(opt.n);
    report("ns", (double)(clock_ns() - start) / (double)opt.n);
}

/* The sum of 1 to n. */
static inline long triangle(long n)
{
    return n * (n + 1) / 2;
}

/* A value of /proc/self/status, such as "VmRSS" in KiB. */
static inline long proc_status(const char *key)
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

static inline long memory_kib(void)
{
    return proc_status("VmRSS") + proc_status("VmPTE");
}

static inline long mappings(void)
{
    FILE *maps = fopen("/proc/self/maps", "r");
    long lines = 0;
    check(maps != NULL, "no /proc/self/maps");
    for (int c; (c = getc_unlocked(maps)) != EOF;)
        lines += c == '\n';
    fclose(maps);
    return lines;
}

/* A tree with opt.n leaves; skynet_of(n) builds one with n, and sums it up. */
static inline void measure_skynet(void (*skynet_of)(long leaves))
{
    skynet_of(opt.g * opt.g);
    int64_t start = clock_ns();
    skynet_of(opt.n);
    report("s", (double)(clock_ns() - start) / 1e9);
    report("MiB", (double)proc_status("VmHWM") / 1024);
}

/* What the process has before opt.n coroutines are started, which park. */
struct footprint {
    long kib, maps;
    int64_t time;
};

static inline struct footprint footprint(void)
{
    long kib = memory_kib(), maps = mappings();
    struct footprint now = {kib, maps, clock_ns()};
    return now;
}

/* What each of them has taken since then, now that all are parked. */
static inline void report_parked(struct footprint before)
{
    double n = (double)opt.n;
    report("ns", (double)(clock_ns() - before.time) / n);
    report("bytes", (double)(memory_kib() - before.kib) * 1024 / n);
    report("mappings", (double)(mappings() - before.maps));
}

static inline double cpu_seconds(void)
{
    struct rusage use;
    getrusage(RUSAGE_SELF, &use);
    return (double)(use.ru_utime.tv_sec + use.ru_stime.tv_sec) +
           (double)(use.ru_utime.tv_usec + use.ru_stime.tv_usec) / 1e6;
}

/* Adds up the two context switch counters of a thread's status file. */
static inline long switches_in(const char *path)
{
    FILE *status = fopen(path, "r");
    char line[256];
    long sum = 0;
    while (status != NULL && fgets(line, sizeof line, status)) {
        char *name = strstr(line, "voluntary_ctxt_switches:");
        if (name != NULL)
            sum += atol(strchr(name, ':') + 1);
    }
    if (status != NULL)
        fclose(status);
    return sum;
}

/* The context switches of all threads so far. */
static inline long switches(void)
{
    DIR *tasks = opendir("/proc/self/task");
    char path[300];
    long sum = 0;
    check(tasks != NULL, "no /proc/self/task");
    for (struct dirent *task; (task = readdir(tasks)) != NULL;) {
        snprintf(path, sizeof path, "/proc/self/task/%s/status", task->d_name);
        sum += switches_in(path);
    }
    closedir(tasks);
    return sum;
}

/* Two ways to block the thread for a second. */
static inline void sleep_in_c(void)
{
    const struct timespec second = {1, 0};
    nanosleep(&second, NULL);
}

static inline void burn_in_c(void)
{
    int64_t start = clock_ns();
    do {
        for (volatile int i = 0; i < 10000;)
            i = i + 1;
    } while (clock_ns() - start < SECOND);
}

/* The longest time from one tick() of a 1 ms ticker to the next. */
struct gaps {
    int64_t last, worst;
};

static inline void tick(struct gaps *gaps)
{
    int64_t now = clock_ns();
    if (gaps->last != 0 && now - gaps->last > gaps->worst)
        gaps->worst = now - gaps->last;
    gaps->last = now;
}

/* The next of a sleeper's times, 10 to 100 ms, in microseconds. */
static inline int64_t next_sleep_us(uint64_t *random)
{
    *random = *random * 6364136223846793005u + 1442695040888963407u;
    return 10000 + (int64_t)((*random >> 33) % 90000);
}

/* A listening socket on 127.0.0.1; reports its port. */
static inline int listen_on_loopback(void)
{
    struct sockaddr_in address;
    socklen_t length = sizeof address;
    memset(&address, 0, sizeof address);
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons((uint16_t)opt.port);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    check(bind(fd, (struct sockaddr *)&address, length) == 0, "bind");
    check(listen(fd, 1024) == 0, "listen");
    getsockname(fd, (struct sockaddr *)&address, &length);
    report("port", ntohs(address.sin_port));
    return fd;
}

static inline void set_option(const char *text)
{
    if (strncmp(text, "n=", 2) == 0)
        opt.n = atol(text + 2);
    else if (strncmp(text, "g=", 2) == 0)
        opt.g = atol(text + 2);
    else if (strncmp(text, "port=", 5) == 0)
        opt.port = atol(text + 5);
}

/* Sets opt and returns what to run; ends the program with MISSING where the
 * operation is not in the table or `most_workers` are too few. */
static inline const struct operation *
find_operation(int argc, char **argv, const struct operation *table,
               int most_workers)
{
    opt.workers = argc < 3 ? 0 : atoi(argv[2]);
    if (opt.workers < 1 || opt.workers > most_workers)
        exit(MISSING);
    while (table->name != NULL && strcmp(table->name, argv[1]) != 0)
        table++;
    if (table->name == NULL)
        exit(MISSING);
    opt.n = table->n;
    opt.g = table->g;
    for (int i = 3; i < argc; i++)
        set_option(argv[i]);
    return table;
}

#endif
