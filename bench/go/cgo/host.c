#include "host.h"

#include <pthread.h>
#include <stdint.h>
#include <time.h>

#include "_cgo_export.h"

static void *call_go(void *n)
{
    for (long left = (long)(intptr_t)n; left > 0; left--)
        spawn_join();
    return NULL;
}

void host(long n)
{
    pthread_t thread;
    if (pthread_create(&thread, NULL, call_go, (void *)(intptr_t)n) == 0)
        pthread_join(thread, NULL);
}

void sleep_in_c(void)
{
    nanosleep(&(struct timespec){1, 0}, NULL);
}

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

void burn_in_c(void)
{
    for (double start = seconds(); seconds() - start < 1;)
        for (volatile int i = 0; i < 10000; i++)
            ;
}
