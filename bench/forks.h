/* How long a fork takes, for the programs that measure it. */
#ifndef FORKS_H
#define FORKS_H

#include <err.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static inline double now_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e6 + (double)now.tv_nsec / 1e3;
}

static inline int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Microseconds from the call of fork until the child, which exits with what
 * child() returns, has been waited for: the median of n times, since a child
 * may have to wait for a processor. */
static inline double fork_us(long n, int (*child)(void))
{
    double *took = calloc((size_t)n, sizeof *took);
    if (took == NULL)
        errx(1, "no memory");
    for (long i = 0; i < n; i++) {
        double start = now_us();
        pid_t pid = fork();
        int status = -1;
        if (pid == 0)
            _exit(child());
        if (pid < 0 || waitpid(pid, &status, 0) != pid || status != 0)
            errx(1, "wrong: a child");
        took[i] = now_us() - start;
    }
    qsort(took, (size_t)n, sizeof *took, by_size);
    double median = took[n / 2];
    free(took);
    return median;
}

static inline int only_exit(void)
{
    return 0;
}

#endif
