/* How long a fork takes, for the programs that measure it. */
#ifndef FORKS_H
#define FORKS_H

#include <err.h>
#include <stdint.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* Microseconds from the call of fork until the child, which only exits, has
 * been waited for: the mean of n times. */
static inline double fork_us(long n)
{
    struct timespec start, end;
    clock_gettime(CLOCK_MONOTONIC, &start);
    for (long i = 0; i < n; i++) {
        pid_t child = fork();
        int status = -1;
        if (child == 0)
            _exit(0);
        if (child < 0 || waitpid(child, &status, 0) != child || status != 0)
            errx(1, "wrong: a child");
    }
    clock_gettime(CLOCK_MONOTONIC, &end);
    double ns = (double)(end.tv_sec - start.tv_sec) * 1e9 +
                (double)(end.tv_nsec - start.tv_nsec);
    return ns / 1e3 / (double)n;
}

#endif
