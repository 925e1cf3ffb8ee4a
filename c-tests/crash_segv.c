/* A host that has a handler for SIGSEGV and loads gmprt.
 *
 * Usage: crash_segv LIBRARY WHEN HOW WHERE
 *   WHEN   before, after: the handler is installed before the library is
 *          loaded, or after a goroutine ran
 *   HOW    siginfo, plain: which kind of handler; repair: one that makes the
 *          page accessible and returns; default: none
 *   WHERE  goroutine, thread: who writes to a page that is not there
 *
 * Exits with status 0 when the handler saw the fault, from a page at ADDRESS,
 * and with 1 when something else happened. */
#include <dlfcn.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

enum { PAGE = 4096 };

static int (*go)(void (*fn)(void *), void *arg);
static char *hole;
static sem_t done;

static void with_siginfo(int signo, siginfo_t *info, void *context)
{
    (void)context;
    _exit(signo == SIGSEGV && info->si_addr == hole + 16 ? 0 : 1);
}

static void plainly(int signo)
{
    _exit(signo == SIGSEGV ? 0 : 1);
}

static void repair(int signo, siginfo_t *info, void *context)
{
    (void)context;
    if (signo != SIGSEGV || info->si_addr != hole + 16 ||
        mprotect(hole, PAGE, PROT_READ | PROT_WRITE) != 0)
        _exit(1);
}

static void install(const char *how)
{
    struct sigaction action;

    memset(&action, 0, sizeof action);
    if (strcmp(how, "default") == 0)
        return;
    action.sa_flags = SA_SIGINFO;
    if (strcmp(how, "siginfo") == 0)
        action.sa_sigaction = with_siginfo;
    else if (strcmp(how, "repair") == 0)
        action.sa_sigaction = repair;
    else {
        action.sa_flags = 0;
        action.sa_handler = plainly;
    }
    sigaction(SIGSEGV, &action, NULL);
}

static void fault(void *arg)
{
    *(volatile char *)(hole + 16) = 1;
    sem_post(arg);
}

static void *fault_on_thread(void *arg)
{
    fault(arg);
    return NULL;
}

static void nothing(void *arg)
{
    sem_post(arg);
}

int main(int argc, char **argv)
{
    struct rlimit no_core = {0, 0};
    pthread_t thread;
    void *library;

    if (argc != 5)
        return 2;
    setrlimit(RLIMIT_CORE, &no_core);
    alarm(30);
    sem_init(&done, 0, 0);
    hole = mmap(NULL, PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (strcmp(argv[2], "before") == 0)
        install(argv[3]);
    library = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
    if (!library) {
        fprintf(stderr, "%s\n", dlerror());
        return 2;
    }
    *(void **)&go = dlsym(library, "gmp_go");
    if (!go || go(nothing, &done) != 0)
        return 2;
    sem_wait(&done);
    if (strcmp(argv[2], "after") == 0)
        install(argv[3]);
    if (strcmp(argv[4], "goroutine") == 0)
        go(fault, &done);
    else
        pthread_create(&thread, NULL, fault_on_thread, &done);
    sem_wait(&done);
    /* Only a repaired page lets the writer come here. */
    return strcmp(argv[3], "repair") == 0 && hole[16] == 1 ? 0 : 1;
}
