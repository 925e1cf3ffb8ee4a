/* Slow: requests that take microseconds wait for milliseconds, since a report
 * adds up under the lock that they need. docs/when.md looks into it. */
#include <gmp.h>
#include <stdint.h>
#include <stdio.h>

enum { CLIENTS = 8, REQUESTS = 200 };

static gmp_mutex lock = GMP_MUTEX_INIT;
static long sold;
static int64_t worst;
static volatile int done;

static void client(void *arg)
{
    gmp_waitgroup *all = arg;

    gmp_set_name("client");
    for (int i = 0; i < REQUESTS; i++) {
        int64_t start = gmp_now(), took;

        gmp_mutex_lock(&lock);
        sold++;
        took = gmp_now() - start;
        if (took > worst)
            worst = took;
        gmp_mutex_unlock(&lock);
        gmp_sleep(1000 * 1000);
    }
    gmp_waitgroup_done(all);
}

/* What a report computes: 20 ms of work. */
static void add_up(void)
{
    int64_t until = gmp_after_ns(20 * 1000 * 1000);

    while (gmp_now() < until)
        ;
}

static void reporter(void *arg)
{
    (void)arg;
    gmp_set_name("reporter");
    while (!done) {
        gmp_mutex_lock(&lock);
        add_up();
        gmp_mutex_unlock(&lock);
        gmp_trace_mark("report written");
        gmp_sleep(50 * 1000 * 1000);
    }
}

int main(void)
{
    static gmp_waitgroup all = GMP_WAITGROUP_INIT;

    gmp_waitgroup_add(&all, CLIENTS);
    gmp_go(reporter, NULL);
    for (int i = 0; i < CLIENTS; i++)
        gmp_go(client, &all);
    gmp_waitgroup_wait(&all);
    done = 1;
    printf("%ld sold; the slowest request took %.1f ms\n", sold, worst / 1e6);
    return 0;
}
