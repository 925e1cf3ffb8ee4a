/* What the program does: dumps, numbers, traces. */
#include <fcntl.h>
#include <gmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* Writes what all goroutines do to stderr, as groups of like ones. */
static int tell(void)
{
    return gmp_dump(2, 0);
}

/* Numbers for a dashboard. */
static int print_numbers(void)
{
    gmp_stats stats;
    int rc = gmp_get_stats(&stats, sizeof stats);

    if (rc == 0)
        printf("%llu threads, %llu switches\n",
               (unsigned long long)stats.threads,
               (unsigned long long)stats.switches);
    return rc;
}

/* Writes a timeline of this piece of the program. */
static int trace(const char *path, void (*piece)(void))
{
    int rc = gmp_trace_start(path);

    if (rc != 0)
        return rc;
    piece();
    return gmp_trace_stop();
}

/* Keeps the newest events in memory, and saves them if a piece was slow. */
static int trace_if_slow(int fd, void (*piece)(void))
{
    int64_t start = gmp_now();
    int rc = gmp_trace_start(NULL);

    if (rc != 0)
        return rc;
    piece();
    if (gmp_now() - start > 1000000)
        rc = gmp_trace_save(fd);
    gmp_trace_stop();
    return rc;
}

/* A mark on the track of this goroutine. */
static void piece(void)
{
    gmp_trace_mark("the piece begins");
    gmp_sleep(2000000);
}

int main(void)
{
    char path[] = "/tmp/gmprt-trace-XXXXXX";
    int fd = mkstemp(path), rc;

    if (fd < 0)
        return 1;
    rc = tell() != 0 || print_numbers() != 0 || trace(path, piece) != 0 ||
         trace_if_slow(fd, piece) != 0;
    unlink(path);
    return rc;
}
