/* Refuses a system call of a program, as a kernel or a sandbox would.
 *
 *     faults_inject NR ARG MASK VALUE ERRNO FIRST FOREVER SECONDS PROGRAM…
 *
 * runs PROGRAM under a seccomp filter that asks us about the system calls NR
 * (up to four numbers with commas between them), where argument ARG masked with
 * MASK is VALUE, and about MARK. Between the marks
 * BEGIN and END we count these calls, and answer the FIRST one (and, with
 * FOREVER, all later ones) with ERRNO; 0 refuses nothing. It needs no
 * privileges.
 *
 * Between the marks IDLE and BUSY the program has nothing to do, and its CPU
 * time is measured. After SECONDS it is killed, and we say where its threads
 * stood. The last line of stdout tells all of it:
 *
 *     injector: calls=N refused=N idle_us=N idle_cpu_us=N ended=HOW
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "faults.h"

/* What we are asked to do. */
static struct {
    uint32_t nr[4], arg, mask, value;
    int error;
    long first;
    int forever;
    int seconds;
} plan;

/* What happened. */
static struct {
    int active;
    long calls, refused;
    int64_t idle, idle_cpu;
} seen;

/* How the child hands over the descriptor that it has got from seccomp. */
static struct {
    volatile int listener;
    volatile int go;
} *shared;

static void give_up(const char *what)
{
    fprintf(stderr, "faults_inject: %s: %s\n", what, strerror(errno));
    _exit(NO_SECCOMP);
}

static int64_t now(clockid_t clock)
{
    struct timespec t = {0, 0};

    clock_gettime(clock, &t);
    return t.tv_sec * INT64_C(1000000) + t.tv_nsec / 1000;
}

/* Installs the filter; -1 if it cannot be had. */
static int filter(void)
{
    uint32_t arg = (uint32_t)offsetof(struct seccomp_data, args)
                   + plan.arg * 8;
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, MARK, 7, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, plan.nr[0], 3, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, plan.nr[1], 2, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, plan.nr[2], 1, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, plan.nr[3], 0, 4),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, arg),
        BPF_STMT(BPF_ALU | BPF_AND | BPF_K, plan.mask),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, plan.value, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof code / sizeof *code, code};

    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
        return -1;
    return (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER,
                        SECCOMP_FILTER_FLAG_NEW_LISTENER, &program);
}

/* In the child, which shares our table of descriptors until it executes the
 * program: no call that may be under the filter is needed to hand it over. */
static void child(char **argv)
{
    int listener = filter();

    shared->listener = listener < 0 ? -errno : listener;
    while (!shared->go)
        continue;
    if (listener >= 0)
        execv(argv[0], argv);
    _exit(127);
}

/* A mark of the program's. */
static void marked(uint64_t mark, pid_t pid)
{
    clockid_t cpu = CLOCK_MONOTONIC;

    clock_getcpuclockid(pid, &cpu);
    switch (mark) {
    case BEGIN:
        seen.active = 1;
        break;
    case END:
        seen.active = 0;
        break;
    case IDLE:
        seen.idle = -now(CLOCK_MONOTONIC);
        seen.idle_cpu = -now(cpu);
        break;
    case BUSY:
        seen.idle += now(CLOCK_MONOTONIC);
        seen.idle_cpu += now(cpu);
        break;
    }
}

/* Answers one call. */
static void answer(int listener, pid_t pid)
{
    struct seccomp_notif call;
    struct seccomp_notif_resp reply;

    memset(&call, 0, sizeof call);
    memset(&reply, 0, sizeof reply);
    if (ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &call) != 0)
        return;                        /* its thread is gone */
    reply.id = call.id;
    if (call.data.nr == MARK) {
        marked(call.data.args[0], pid);
    } else if (seen.active && ++seen.calls >= plan.first && plan.error != 0
               && (plan.forever || seen.calls == plan.first)) {
        seen.refused++;
        reply.error = -plan.error;
    } else {
        reply.flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE;
    }
    ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &reply);
}

/* Where the threads of a program that hangs stand. */
static void where(pid_t pid)
{
    char path[320], text[256];
    struct dirent *entry;
    DIR *dir;

    snprintf(path, sizeof path, "/proc/%d/task", pid);
    dir = opendir(path);
    while (dir && (entry = readdir(dir)) != NULL) {
        static const char *const files[] = {"comm", "syscall"};

        for (int i = 0; entry->d_name[0] != '.' && i < 2; i++) {
            FILE *file;

            snprintf(path, sizeof path, "/proc/%d/task/%s/%s", pid,
                     entry->d_name, files[i]);
            file = fopen(path, "r");
            if (file && fgets(text, sizeof text, file))
                fprintf(stderr, "  %s: %s", files[i], text);
            if (file)
                fclose(file);
        }
    }
    if (dir)
        closedir(dir);
}

/* Answers until the program has ended, or its time is over. */
static void supervise(int listener, pid_t pid)
{
    int64_t end = now(CLOCK_MONOTONIC) + plan.seconds * INT64_C(1000000);
    char how[32];
    int status;

    for (;;) {
        struct pollfd look = {listener, POLLIN, 0};

        if (poll(&look, 1, 20) > 0 && look.revents & POLLIN)
            answer(listener, pid);
        if (waitpid(pid, &status, WNOHANG) == pid) {
            if (WIFEXITED(status))
                snprintf(how, sizeof how, "exit:%d", WEXITSTATUS(status));
            else
                snprintf(how, sizeof how, "signal:%d", WTERMSIG(status));
            break;
        }
        if (now(CLOCK_MONOTONIC) > end) {
            if (getenv("FAULTS_STAY"))
                pause();
            where(pid);
            kill(pid, SIGKILL);
            waitpid(pid, &status, 0);
            strcpy(how, "deadline");
            break;
        }
    }
    printf("injector: calls=%ld refused=%ld idle_us=%lld idle_cpu_us=%lld "
           "ended=%s\n", seen.calls, seen.refused, (long long)seen.idle,
           (long long)seen.idle_cpu, how);
}

int main(int argc, char **argv)
{
    long pid;

    if (argc < 10)
        return 2;
    for (int i = 0; i < 4; i++) {
        char *end = argv[1];

        plan.nr[i] = (uint32_t)strtoul(argv[1], &end, 0);
        if (*end == ',')
            argv[1] = end + 1;
    }
    plan.arg = (uint32_t)strtoul(argv[2], NULL, 0);
    plan.mask = (uint32_t)strtoul(argv[3], NULL, 0);
    plan.value = (uint32_t)strtoul(argv[4], NULL, 0);
    plan.error = atoi(argv[5]);
    plan.first = atol(argv[6]);
    plan.forever = atoi(argv[7]);
    plan.seconds = atoi(argv[8]);
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE,
                  MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED)
        give_up("mmap");
    shared->listener = -1;
    pid = syscall(SYS_clone, CLONE_FILES | SIGCHLD, 0, 0, 0, 0);
    if (pid < 0)
        give_up("clone");
    if (pid == 0)
        child(argv + 9);
    while (shared->listener == -1)
        sched_yield();
    if (shared->listener < 0) {
        errno = -shared->listener;
        shared->go = 1;
        give_up("seccomp user notification is not to be had");
    }
    fcntl(shared->listener, F_SETFD, FD_CLOEXEC);
    shared->go = 1;
    supervise(shared->listener, (pid_t)pid);
    fflush(stdout);
    return 0;
}
