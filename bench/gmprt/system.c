/* What goroutines do to one another and to the machine: stalls of a ticker,
 * wake-ups of an idle process, a server. */
#include "bench.h"

#include <dirent.h>
#include <err.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

static const int64_t MS = 1000 * 1000, SECOND = 1000 * 1000 * 1000;

static gmp_waitgroup ended = GMP_WAITGROUP_INIT;
static atomic_bool stop;

/* Sleeps a millisecond again and again; the longest time that took. */
static void ticker(void *worst)
{
    int64_t last = gmp_now();
    while (!stop) {
        gmp_sleep(MS);
        int64_t now = gmp_now();
        if (now - last > *(int64_t *)worst)
            *(int64_t *)worst = now - last;
        last = now;
    }
    gmp_waitgroup_done(&ended);
}

static void stall(void (*blocker)(void))
{
    int64_t worst = 0;
    gmp_waitgroup_add(&ended, 1);
    go(ticker, &worst);
    gmp_sleep(100 * MS);
    int64_t start = gmp_now();
    blocker();
    check(gmp_now() - start >= SECOND, "the blocker was too short");
    stop = true;
    gmp_waitgroup_wait(&ended);
    report("ms", (double)worst / (double)MS);
}

static void sleep_in_c(void)
{
    nanosleep(&(struct timespec){1, 0}, NULL);
}

static void burn_in_c(void)
{
    struct timespec start, now;
    clock_gettime(CLOCK_MONOTONIC, &start);
    do {
        for (volatile int i = 0; i < 10000; i++)
            ;
        clock_gettime(CLOCK_MONOTONIC, &now);
    } while ((now.tv_sec - start.tv_sec) * SECOND + now.tv_nsec -
                 start.tv_nsec < SECOND);
}

void stall_sleep(void)
{
    stall(sleep_in_c);
}

void stall_burn(void)
{
    stall(burn_in_c);
}

/* Adds up the two context switch counters of a thread's status file. */
static long switches_in(const char *path)
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
static long switches(void)
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

static void park_for_ever(void *never)
{
    gmp_chan_recv(never, NULL);
}

void idle(void)
{
    gmp_chan *never = gmp_chan_make(0, 0);
    gmp_chan *in_an_hour = gmp_after(3600 * SECOND);
    go(park_for_ever, never);
    gmp_sleep(SECOND / 2);
    long before = switches();
    gmp_sleep(2 * SECOND);
    report("wakeups", (double)(switches() - before));
    gmp_chan_unref(in_an_hour);
}

static void serve(void *arg)
{
    int fd = (int)(intptr_t)arg;
    char buf[4096];
    ssize_t n;
    while ((n = gmp_read(fd, buf, sizeof buf)) > 0 &&
           gmp_write_all(fd, buf, (size_t)n) == n)
        ;
    gmp_close(fd);
}

/* Echoes until SIGTERM ends the process. */
void echo_server(void)
{
    struct sockaddr_in address;
    socklen_t length = sizeof address;
    int listener = gmp_listen("tcp4", "127.0.0.1:0"), fd;
    check(listener >= 0, "listen");
    getsockname(listener, (struct sockaddr *)&address, &length);
    report("port", ntohs(address.sin_port));
    while ((fd = gmp_accept(listener, NULL, NULL)) >= 0)
        go(serve, (void *)(intptr_t)fd);
    errx(1, "accept: %s", gmp_strerror(fd));
}
