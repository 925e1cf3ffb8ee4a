/* The runtime's numbers for Prometheus and the like: OpenMetrics over HTTP.
 *
 *     metrics ADDRESS [WAITERS]
 *     curl http://ADDRESS/metrics
 *
 * Beside the server there is some work to be seen: WAITERS goroutines that wait
 * for a channel (100 by default), and two that hand on a number each
 * millisecond. */
#include <gmp.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const int64_t MS = 1000000, SECOND = 1000 * MS;

/* --- The text ------------------------------------------------------------ */

enum type { GAUGE, COUNTER };

/* A metric: its samples are fields of gmp_stats. Several samples of one metric
 * follow one another, and each has a label. */
struct metric {
    const char *name; /* ends with the unit, if it has one */
    enum type type;
    const char *label, *unit, *help;
    size_t field;
};

#define FIELD(f) offsetof(gmp_stats, f)

static const struct metric METRICS[] = {
    {"goroutines", GAUGE, "state=\"running\"", NULL,
     "Goroutines, by what they do now.", FIELD(goroutines_running)},
    {"goroutines", GAUGE, "state=\"runnable\"", NULL, NULL,
     FIELD(goroutines_runnable)},
    {"goroutines", GAUGE, "state=\"waiting\"", NULL, NULL,
     FIELD(goroutines_waiting)},
    {"goroutines_without_p", GAUGE, NULL, NULL,
     "Running goroutines that are outside and have no processor.",
     FIELD(goroutines_without_p)},
    {"goroutines_starved", GAUGE, NULL, NULL,
     "Goroutines that wait for memory for a stack.",
     FIELD(goroutines_starved)},
    {"goroutines_started", COUNTER, NULL, NULL, "Goroutines started.",
     FIELD(goroutines_created)},
    {"goroutines_ended", COUNTER, NULL, NULL, "Goroutines that have ended.",
     FIELD(goroutines_ended)},
    {"procs", GAUGE, NULL, NULL, "Processors.", FIELD(procs)},
    {"procs_idle", GAUGE, NULL, NULL, "Processors without work.",
     FIELD(procs_idle)},
    {"switches", COUNTER, NULL, NULL, "Goroutines started or resumed.",
     FIELD(switches)},
    {"runq", GAUGE, "queue=\"global\"", NULL, "Goroutines in run queues.",
     FIELD(runq_global)},
    {"runq", GAUGE, "queue=\"local\"", NULL, NULL, FIELD(runq_local)},
    {"steal_attempts", COUNTER, NULL, NULL,
     "Looks for work on other processors.", FIELD(steal_attempts)},
    {"stolen", COUNTER, NULL, NULL, "Goroutines taken from there.",
     FIELD(stolen)},
    {"handoffs", COUNTER, NULL, NULL,
     "Processors that went on without their goroutine.", FIELD(handoffs)},
    {"retaken", COUNTER, "goroutine=\"blocked\"", NULL,
     "Of these: taken from a goroutine.", FIELD(retaken_blocked)},
    {"retaken", COUNTER, "goroutine=\"busy\"", NULL, NULL,
     FIELD(retaken_busy)},
    {"threads", GAUGE, NULL, NULL, "Threads of the library.", FIELD(threads)},
    {"threads_idle", GAUGE, NULL, NULL, "Of these: asleep.",
     FIELD(threads_idle)},
    {"threads_begun", COUNTER, NULL, NULL, "Threads begun.",
     FIELD(threads_begun)},
    {"threads_refused", COUNTER, NULL, NULL,
     "Threads that the system or a limit has refused.",
     FIELD(threads_refused)},
    {"thread_wakeups", COUNTER, NULL, NULL, "Threads woken for work.",
     FIELD(thread_wakeups)},
    {"timers_pending", GAUGE, NULL, NULL, "Timers and deadlines to come.",
     FIELD(timers_pending)},
    {"timers_fired", COUNTER, NULL, NULL, "Timers and deadlines past.",
     FIELD(timers_fired)},
    {"netpoll_waiting", GAUGE, NULL, NULL, "Waits for descriptors.",
     FIELD(netpoll_waiting)},
    {"netpoll_polls", COUNTER, NULL, NULL, "Polls of the kernel.",
     FIELD(netpoll_polls)},
    {"stack_bytes", GAUGE, "stacks=\"in use\"", "bytes",
     "Address space of stacks.", FIELD(stack_in_use_bytes)},
    {"stack_bytes", GAUGE, "stacks=\"cached\"", "bytes", NULL,
     FIELD(stack_cached_bytes)},
    {"stack_bytes", GAUGE, "stacks=\"idle\"", "bytes", NULL,
     FIELD(stack_idle_bytes)},
    {"stack_mapped_bytes", GAUGE, NULL, "bytes",
     "Address space mapped for stacks.", FIELD(stack_mapped_bytes)},
};

/* Begins a metric: what it is. */
static void print_head(FILE *out, const struct metric *m)
{
    static const char *const TYPES[] = {"gauge", "counter"};
    fprintf(out, "# TYPE gmprt_%s %s\n", m->name, TYPES[m->type]);
    if (m->unit != NULL)
        fprintf(out, "# UNIT gmprt_%s %s\n", m->name, m->unit);
    fprintf(out, "# HELP gmprt_%s %s\n", m->name, m->help);
}

static void print_metrics(FILE *out, const gmp_stats *stats)
{
    fprintf(out, "# TYPE gmprt info\n# HELP gmprt The library.\n"
                 "gmprt_info{version=\"%s\"} 1\n", gmp_rt_version());
    fprintf(out, "# TYPE gmprt_uptime_seconds gauge\n"
                 "# UNIT gmprt_uptime_seconds seconds\n"
                 "# HELP gmprt_uptime_seconds Time since the start.\n"
                 "gmprt_uptime_seconds %" PRIu64 ".%09" PRIu64 "\n",
            stats->uptime_ns / SECOND, stats->uptime_ns % SECOND);
    for (size_t i = 0; i < sizeof METRICS / sizeof *METRICS; i++) {
        const struct metric *m = &METRICS[i];
        uint64_t value;
        memcpy(&value, (const char *)stats + m->field, sizeof value);
        if (m->help != NULL)
            print_head(out, m);
        fprintf(out, "gmprt_%s%s", m->name, m->type == COUNTER ? "_total" : "");
        if (m->label != NULL)
            fprintf(out, "{%s}", m->label);
        fprintf(out, " %" PRIu64 "\n", value);
    }
    fputs("# EOF\n", out);
}

/* --- The server ---------------------------------------------------------- */

/* Reads a request, and returns the status of the answer; 0 for none. */
static int read_request(int fd, char *in, size_t size)
{
    int64_t deadline = gmp_after_ns(5 * SECOND);
    size_t len = 0;
    in[0] = '\0';
    while (strstr(in, "\r\n\r\n") == NULL) {
        if (len == size - 1)
            return 431;
        ssize_t n = gmp_read_until(fd, in + len, size - 1 - len, deadline);
        if (n <= 0)
            return 0;
        len += (size_t)n;
        in[len] = '\0';
    }
    if (strncmp(in, "GET ", 4) != 0)
        return 405;
    return strncmp(in, "GET /metrics ", 13) == 0 ? 200 : 404;
}

static void answer(int fd, int status, const char *body, size_t len)
{
    static const char TYPE[] = "Content-Type: application/openmetrics-text; "
                               "version=1.0.0; charset=utf-8\r\n";
    char head[256];
    int n = snprintf(head, sizeof head,
                     "HTTP/1.1 %d %s\r\n%sContent-Length: %zu\r\n"
                     "Connection: close\r\n\r\n",
                     status, status == 200 ? "OK" : "No",
                     status == 200   ? TYPE
                     : status == 405 ? "Allow: GET\r\n"
                                     : "",
                     len);
    int64_t deadline = gmp_after_ns(5 * SECOND);
    if (gmp_write_all_until(fd, head, (size_t)n, NULL, deadline) == 0)
        gmp_write_all_until(fd, body, len, NULL, deadline);
}

static void serve(void *arg)
{
    int fd = (int)(intptr_t)arg;
    char in[4096], *body = NULL;
    size_t len = 0;
    gmp_stats stats;
    int status = read_request(fd, in, sizeof in);
    FILE *out = status == 200 ? open_memstream(&body, &len) : NULL;
    if (out != NULL) {
        if (gmp_get_stats(&stats, sizeof stats) == 0)
            print_metrics(out, &stats);
        fclose(out);
    }
    if (status != 0)
        answer(fd, status, body, len);
    free(body);
    gmp_close(fd);
}

/* --- The work that is to be seen ----------------------------------------- */

static gmp_chan *never, *numbers;

static void wait_for_ever(void *arg)
{
    (void)arg;
    gmp_chan_recv(never, NULL);
}

static void produce(void *arg)
{
    (void)arg;
    for (uint64_t i = 0; gmp_chan_send(numbers, &i) == 0; i++)
        gmp_sleep(MS);
}

static void consume(void *arg)
{
    uint64_t i;
    (void)arg;
    while (gmp_chan_recv(numbers, &i) == 0)
        ;
}

static int work(long waiters)
{
    never = gmp_chan_make(0, 0);
    numbers = gmp_chan_make(sizeof(uint64_t), 0);
    if (never == NULL || numbers == NULL)
        return -ENOMEM;
    int rc = 0;
    for (long i = 0; i < waiters && rc == 0; i++)
        rc = gmp_go(wait_for_ever, NULL);
    if (rc == 0)
        rc = gmp_go(consume, NULL);
    return rc != 0 ? rc : gmp_go(produce, NULL);
}

static int complain(const char *what, int error)
{
    fprintf(stderr, "metrics: %s: %s\n", what, gmp_strerror(error));
    return 1;
}

static int metrics(int argc, char **argv)
{
    if (argc != 2 && argc != 3) {
        fprintf(stderr, "usage: %s ADDRESS [WAITERS]\n", argv[0]);
        return 2;
    }
    int listener = gmp_listen("tcp", argv[1]);
    if (listener < 0)
        return complain(argv[1], listener);
    int rc = work(argc == 3 ? strtol(argv[2], NULL, 10) : 100);
    if (rc != 0)
        return complain("work", rc);
    for (;;) {
        int fd = gmp_accept(listener, NULL, NULL);
        if (fd >= 0 && gmp_go(serve, (void *)(intptr_t)fd) == 0)
            continue;
        if (fd >= 0)
            gmp_close(fd);
        else if (fd == -EMFILE || fd == -ENFILE || fd == -ENOMEM)
            gmp_sleep(10 * MS); /* some come back when a connection ends */
        else
            return complain("accept", fd);
    }
}

int main(int argc, char **argv)
{
    return gmp_run_main(argc, argv, metrics);
}
