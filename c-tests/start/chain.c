/* A host whose action for SIGSEGV was there before the library: what happens
 * to a fault, or to the signal sent by somebody, is what would have happened
 * without the library. Usage: chain LIBRARY CASE. */
#include <dlfcn.h>
#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

enum { PAGE = 4096 };

static char *hole;
static atomic_int calls;
static int usr1_blocked, usr2_blocked, segv_blocked;

static void note_mask(void)
{
    sigset_t mask;

    pthread_sigmask(SIG_BLOCK, NULL, &mask);
    usr1_blocked = sigismember(&mask, SIGUSR1);
    usr2_blocked = sigismember(&mask, SIGUSR2);
    segv_blocked = sigismember(&mask, SIGSEGV);
}

/* Makes the page accessible, so that the write goes on. */
static void repair(int signo)
{
    note_mask();
    atomic_fetch_add(&calls, 1);
    mprotect(hole, PAGE, PROT_READ | PROT_WRITE);
}

static void install(int flags)
{
    struct sigaction action;

    memset(&action, 0, sizeof action);
    action.sa_handler = repair;
    action.sa_flags = flags;
    sigaddset(&action.sa_mask, SIGUSR1);
    sigaction(SIGSEGV, &action, NULL);
}

static void load(const char *path)
{
    int (*wait_init)(void);
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);

    if (library)
        *(void **)&wait_init = dlsym(library, "gmp_wait_init");
    if (!library || wait_init() != 0)
        _exit(2);
}

static void fault(void)
{
    mprotect(hole, PAGE, PROT_NONE);
    *(volatile char *)hole = 1;
}

/* Ends with status 1 unless a fault runs the handler with the mask that its
 * action asks for. */
static void handled(int segv)
{
    int before = atomic_load(&calls);
    sigset_t mask;

    fault();
    if (atomic_load(&calls) != before + 1 || !usr1_blocked || usr2_blocked ||
        segv_blocked != segv)
        _exit(1);
    pthread_sigmask(SIG_BLOCK, NULL, &mask);
    if (sigismember(&mask, SIGUSR1) || sigismember(&mask, SIGSEGV))
        _exit(1);
}

static int is(const char *name, const char *what)
{
    return strcmp(name, what) == 0;
}

int main(int argc, char **argv)
{
    struct rlimit no_core = {0, 0};
    const char *what = argc == 3 ? argv[2] : "";

    setrlimit(RLIMIT_CORE, &no_core);
    alarm(30);
    hole = mmap(NULL, PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (is(what, "mask"))
        install(0);
    else if (is(what, "nodefer"))
        install(SA_NODEFER);
    else if (is(what, "once"))
        install(SA_RESETHAND);
    else if (is(what, "ignored fault") || is(what, "ignored signal"))
        signal(SIGSEGV, SIG_IGN);
    load(argv[1]);

    if (is(what, "mask")) {
        handled(1);
        handled(1);
    } else if (is(what, "nodefer")) {
        handled(0);
    } else if (is(what, "once")) {
        handled(1);
        puts("handled once");
        fflush(stdout);
        fault();
    } else if (is(what, "ignored fault") || is(what, "default fault")) {
        fault();
    } else if (is(what, "ignored signal") || is(what, "default signal")) {
        kill(getpid(), SIGSEGV);
    } else {
        return 2;
    }
    return 0;
}
