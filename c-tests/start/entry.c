/* A program that is entered at _rt0_amd64_linux. Its case, the first argument:
 * "walk" does what a debugger wants to see, "deadlock" waits for nothing,
 * "all" looks at everything and returns 7. */
#include <gmp.h>

#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

extern char **environ;

static int before_main;
static atomic_bool ran;

/* Before main nobody can start the runtime, for the main thread is to be its
 * first; the call says so at once. */
__attribute__((constructor)) static void construct(void)
{
    before_main = gmp_wait_init();
}

static void at_end(void)
{
    puts("at exit");
}

static void run(void *arg)
{
    atomic_store(&ran, true);
}

/* Needs more stack than a goroutine has by default. */
__attribute__((noinline)) static int deep(int depth)
{
    volatile char frame[64 << 10];

    frame[0] = (char)depth;
    return depth == 0 ? 0 : deep(depth - 1) + (frame[0] != 0);
}

__attribute__((noinline)) void leaf(void)
{
    gmp_yield();
}

static void look(int argc, char **argv, char **envp)
{
    printf("before main: %s\n", before_main == -EAGAIN ? "EAGAIN" : "wrong");
    printf("goroutine %llu\n", (unsigned long long)gmp_goid());
    printf("thread %s\n", gettid() == getpid() ? "main" : "other");
    printf("arguments %d %s\n", argc, argv[argc - 1]);
    printf("environment %s\n", envp == environ ? "same" : "other");
    printf("deep %d\n", deep(64));
    while (!atomic_load(&ran))
        gmp_yield();
    puts("goroutine ran");
}

int main(int argc, char **argv, char **envp)
{
    if (argc < 2 || atexit(at_end) != 0 || gmp_go(run, NULL) != 0)
        return 2;
    if (strcmp(argv[1], "all") == 0)
        look(argc, argv, envp);
    else if (strcmp(argv[1], "deadlock") == 0)
        gmp_chan_recv(NULL, NULL);
    leaf();
    return 7;
}
