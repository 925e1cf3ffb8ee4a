/* An ordinary program that loads a library with goroutines in it:
 *
 *     dlopen LIBRARY dlopen WORKERS
 *
 * Reports the time from the call of dlopen to the return of the library's
 * first_result(), which a goroutine sends, and what the process has more of
 * then: threads, and memory. */
#include <dlfcn.h>
#include <err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { MISSING = 77 };

static double microseconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e6 + (double)now.tv_nsec / 1e3;
}

/* A value of /proc/self/status. */
static long proc_status(const char *key)
{
    FILE *status = fopen("/proc/self/status", "r");
    char line[256];
    long value = -1;
    while (status != NULL && fgets(line, sizeof line, status))
        if (strncmp(line, key, strlen(key)) == 0)
            value = atol(line + strlen(key));
    if (value < 0)
        errx(1, "/proc/self/status has no %s", key);
    fclose(status);
    return value;
}

int main(int argc, char **argv)
{
    if (argc < 4 || strcmp(argv[2], "dlopen") != 0)
        return MISSING;
    setenv("GMP_MAXPROCS", argv[3], 1);
    setenv("GOMAXPROCS", argv[3], 1);
    setenv("TOKIO_WORKER_THREADS", argv[3], 1);
    long threads = proc_status("Threads:"), kib = proc_status("VmRSS:");
    double start = microseconds();
    void *library = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
    void *symbol = library == NULL ? NULL : dlsym(library, "first_result");
    if (symbol == NULL)
        errx(1, "%s", dlerror());
    int (*first_result)(void);
    memcpy(&first_result, &symbol, sizeof symbol);
    int result = first_result();
    double took = microseconds() - start;
    if (result != 42)
        errx(1, "wrong: result %d", result);
    printf("us\t%.1f\n", took);
    printf("threads\t%ld\n", proc_status("Threads:") - threads);
    printf("MiB\t%.2f\n", (double)(proc_status("VmRSS:") - kib) / 1024);
}
