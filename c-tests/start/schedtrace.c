/* Ten goroutines wait; then nothing happens for a while, and the program prints
 * the numbers that GMPDEBUG=schedtrace prints, too. */
#include <gmp.h>
#include <inttypes.h>
#include <stdio.h>
#include <time.h>

static gmp_chan *never;

static void wait_for_ever(void *arg)
{
    (void)arg;
    gmp_chan_recv(never, NULL);
}

int main(void)
{
    struct timespec while_ = {0, 150000000};
    gmp_stats stats;

    never = gmp_chan_make(0, 0);
    for (int i = 0; i < 10; i++)
        if (gmp_go(wait_for_ever, NULL) != 0)
            return 1;
    nanosleep(&while_, NULL);
    if (gmp_get_stats(&stats, sizeof stats) != 0)
        return 1;
    nanosleep(&while_, NULL);
    printf("gomaxprocs=%" PRIu64 " idleprocs=%" PRIu64 " threads=%" PRIu64
           " spinningthreads=%" PRIu64 " idlethreads=%" PRIu64
           " detached=%" PRIu64 " runqueue=%" PRIu64 " goroutines=%" PRIu64
           "\n",
           stats.procs, stats.procs_idle, stats.threads, stats.threads_spinning,
           stats.threads_idle, stats.threads_detached, stats.runq_global,
           stats.goroutines);
    return 0;
}
