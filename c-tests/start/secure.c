/* A program that has more rights than its caller: the settings of the
 * environment have no say. Making a set-uid file takes root and a file system
 * that has such files. So the parent here is a debugger that changes, before
 * the first instruction of the child, what the kernel has told it: AT_SECURE
 * in its auxiliary vector.
 *
 * Arguments: "1" or "0", what AT_SECURE is to be. The settings of the
 * environment ask for PROCS Ps. */
#include "../test.h"
#include <elf.h>
#include <fcntl.h>
#include <sys/auxv.h>
#include <sys/ptrace.h>
#include <sys/user.h>
#include <sys/wait.h>

enum { PROCS = 7 };

static long peek(pid_t child, unsigned long at)
{
    long word;

    errno = 0;
    word = ptrace(PTRACE_PEEKDATA, child, (void *)at, NULL);
    CHECK(word != -1 || errno == 0);
    return word;
}

/* Sets AT_SECURE: behind argc, argv, NULL, envp and NULL. */
static void set_secure(pid_t child, long secure)
{
    struct user_regs_struct regs;
    unsigned long at;

    CHECK_OK(ptrace(PTRACE_GETREGS, child, NULL, &regs));
    at = regs.rsp + 8 * (unsigned long)(2 + peek(child, regs.rsp));
    while (peek(child, at) != 0)
        at += 8;
    at += 8;
    while (peek(child, at) != AT_SECURE) {
        CHECK(peek(child, at) != AT_NULL);
        at += 16;
    }
    CHECK_OK(ptrace(PTRACE_POKEDATA, child, (void *)(at + 8), (void *)secure));
}

static int in_child(void)
{
    int secure = getauxval(AT_SECURE) != 0;

    CHECK_EQ(gmp_set_maxprocs(0), secure ? gmp_num_cpu() : PROCS);
    printf("secure %d\n", secure);
    return 0;
}

int test_main(int argc, char **argv)
{
    int status;
    pid_t child;

    CHECK(argc > 1);
    if (getenv("SECURE_CHILD"))
        return in_child();
    child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        setenv("SECURE_CHILD", "1", 1);
        CHECK_OK(ptrace(PTRACE_TRACEME, 0, NULL, NULL));
        execl("/proc/self/exe", argv[0], argv[1], (char *)NULL);
        _exit(99);
    }
    CHECK_EQ(waitpid(child, &status, 0), child);
    CHECK(WIFSTOPPED(status));
    set_secure(child, atoi(argv[1]));
    CHECK_OK(ptrace(PTRACE_DETACH, child, NULL, NULL));
    CHECK_EQ(waitpid(child, &status, 0), child);
    CHECK_EQ(status, 0);
    return 0;
}
