/* A plugin that uses goroutines in a host without any: loading the plugin loads
 * gmprt, and that starts the runtime. */
#include <errno.h>
#include <gmp.h>

struct job {
    gmp_chan *results;
    long n;
};

static void square(void *args)
{
    struct job *job = args;
    gmp_chan_send(job->results, &(long){job->n * job->n});
    gmp_chan_unref(job->results);
}

/* The sum of the squares of 1 to n, each computed on its own goroutine; or a
 * negative errno. */
long sum_of_squares(long n)
{
    gmp_chan *results = gmp_chan_make(sizeof(long), 0);
    if (results == NULL)
        return -ENOMEM;
    int rc = 0;
    for (long i = 1; i <= n && rc == 0; i++) {
        struct job job = {gmp_chan_ref(results), i};
        rc = gmp_go_copy(square, &job, sizeof job);
        if (rc != 0)
            gmp_chan_unref(job.results);
    }
    long sum = 0, result;
    for (long i = 1; i <= n && rc == 0; i++) {
        rc = gmp_chan_recv(results, &result);
        sum += result;
    }
    gmp_chan_close(results); /* whoever still sends goes on, with -EPIPE */
    gmp_chan_unref(results);
    return rc != 0 ? rc : sum;
}

/* Ends all goroutines and threads, so that the host can unload the plugin: 0,
 * or a negative errno if some goroutine does not end within a second. */
int plugin_end(void)
{
    return gmp_shutdown(gmp_after_ns(1000000000));
}
