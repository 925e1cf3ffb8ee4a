/* A pool of workers that give up jobs which take too long.
 *
 * Each job finds the smallest factor of a number by trying all, on a goroutine
 * of its own. The worker waits for that goroutine until a deadline, and then
 * cancels it. */
#include <gmp.h>
#include <inttypes.h>
#include <stdio.h>

enum { WORKERS = 4 };
static const int64_t LIMIT = 1000000000; /* for each job: a second */

static struct job {
    uint64_t n, factor; /* factor: 0 where it was given up */
} jobs[] = {
    {91, 0},
    {18446744073709551557u, 0}, /* the largest prime in 64 bits */
    {1000000007, 0},
    {600851475143, 0},
    {18446744030759878681u, 0}, /* the square of the largest in 32 bits */
    {4294967297, 0},
};
enum { JOBS = sizeof jobs / sizeof *jobs };
static gmp_waitgroup left = GMP_WAITGROUP_INIT; /* workers */

static void find_factor(void *arg)
{
    struct job *job = arg;
    uint64_t factor = 2;
    for (; factor <= job->n / factor && job->n % factor != 0; factor++)
        if (gmp_cancelled()) /* without this question it would go on */
            return;
    job->factor = job->n % factor == 0 ? factor : job->n;
}

static void worker(void *todo)
{
    for (struct job *job; gmp_chan_recv(todo, &job) == 0;) {
        gmp_g *g;
        if (gmp_go_with(NULL, find_factor, job, &g) != 0)
            continue;
        if (gmp_join_until(g, gmp_after_ns(LIMIT)) != 0) {
            gmp_cancel(g);
            gmp_join(g); /* it needs the job until it has ended */
        }
    }
    gmp_waitgroup_done(&left);
}

int main(void)
{
    gmp_chan *todo = gmp_chan_make(sizeof(struct job *), 0);
    gmp_waitgroup_add(&left, WORKERS);
    for (int i = 0; i < WORKERS; i++)
        if (gmp_go(worker, todo) != 0)
            return 1;
    for (int i = 0; i < JOBS; i++)
        gmp_chan_send(todo, &(struct job *){&jobs[i]});
    gmp_chan_close(todo);
    gmp_waitgroup_wait(&left);
    gmp_chan_unref(todo);

    for (struct job *job = jobs; job < jobs + JOBS; job++)
        if (job->factor == 0)
            printf("%" PRIu64 ": given up\n", job->n);
        else
            printf("%" PRIu64 ": %" PRIu64 "\n", job->n, job->factor);
}
