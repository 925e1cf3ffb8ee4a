/* Children, as waitpid(2) tells of them: ends, stops and continues, one of
 * them or any, with deadlines and cancels, and where no pidfd is to be had. */
#include "test.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/wait.h>

static pid_t child_that(int code, int64_t after)
{
    pid_t child = fork();

    CHECK(child >= 0);
    if (child == 0) {
        block_ns(after);
        _exit(code);
    }
    return child;
}

static pid_t child_that_stays(void)
{
    pid_t child = fork();

    CHECK(child >= 0);
    while (child == 0)
        pause();
    return child;
}

static void gone(pid_t child)
{
    CHECK_OK(kill(child, SIGKILL));
    CHECK_EQ(waitpid(child, NULL, 0), child);
}

static void errors_come_at_once(void *arg)
{
    static const int64_t deadlines[] = {0, GMP_FOREVER};
    int status;

    for (int i = 0; i < 2; i++) {
        CHECK_EQ(gmp_waitpid_until(-1, &status, 0, deadlines[i]), -ECHILD);
        CHECK_EQ(gmp_waitpid_until(getpid(), &status, 0, deadlines[i]),
                 -ECHILD);
        CHECK_EQ(gmp_waitpid_until(-1, &status, 0x40, deadlines[i]), -EINVAL);
        CHECK_EQ(gmp_waitpid_until(-1, &status, WNOHANG, deadlines[i]),
                 -ECHILD);
    }
}

static void the_past_tries_once(void *arg)
{
    pid_t child = child_that_stays();
    int status;

    CHECK_EQ(gmp_waitpid_until(child, &status, 0, 0), -ETIMEDOUT);
    CHECK_EQ(gmp_waitpid_until(-1, &status, 0, -1), -ETIMEDOUT);
    CHECK_EQ(gmp_waitpid_until(-1, &status, WUNTRACED, gmp_after_ns(MS(2))),
             -ETIMEDOUT);
    CHECK_EQ(gmp_waitpid(child, &status, WNOHANG), 0);
    CHECK_EQ(gmp_waitpid_until(child, &status, WNOHANG, 0), 0);
    gone(child);
    for (int i = 0; i < 2; i++) {
        siginfo_t info;

        child = child_that(5, 0);
        CHECK_OK(waitid(P_PID, (id_t)child, &info, WEXITED | WNOWAIT));
        CHECK_EQ(gmp_waitpid_until(i ? -1 : child, &status, 0, 0), child);
        CHECK_EQ(WEXITSTATUS(status), 5);
    }
}

/* One, any, any of a process group, any of this one's. */
static void ends(void *arg)
{
    for (int how = 0; how < 4; how++) {
        pid_t child = child_that(how, MS(5)), found;
        int status;

        if (how == 2)
            CHECK_OK(setpgid(child, child));
        found = how == 0 ? child : how == 1 ? -1 : how == 2 ? -child : 0;
        CHECK_EQ(gmp_waitpid(found, &status, how % 2 ? __WALL : 0), child);
        CHECK(WIFEXITED(status));
        CHECK_EQ(WEXITSTATUS(status), how);
    }
}

static void stops_and_continues(void *arg)
{
    for (int any = 0; any < 2; any++) {
        pid_t child = child_that_stays(), which = any ? -1 : child;
        int status;

        CHECK_OK(kill(child, SIGSTOP));
        CHECK_EQ(gmp_waitpid(which, &status, WUNTRACED), child);
        CHECK(WIFSTOPPED(status));
        CHECK_EQ(gmp_waitpid_until(which, &status, WUNTRACED | WCONTINUED,
                                   gmp_after_ns(MS(1))), -ETIMEDOUT);
        CHECK_OK(kill(child, SIGCONT));
        CHECK_EQ(gmp_waitpid_until(which, &status, WCONTINUED,
                                   gmp_after_ns(SEC(40))), child);
        CHECK(WIFCONTINUED(status));
        CHECK_OK(kill(child, SIGTERM));
        CHECK_EQ(gmp_waitpid(which, NULL, WUNTRACED), child);
    }
}

struct waiter {
    pid_t pid;
    int options;
    int result;
};

static void wait_for_it(void *arg)
{
    struct waiter *w = arg;

    w->result = gmp_waitpid(w->pid, NULL, w->options);
}

static void cancels(void)
{
    pid_t child = child_that_stays();

    for (int i = 0; i < 4; i++) {
        struct waiter w = {i % 2 ? -1 : child, i / 2 ? WUNTRACED : 0, 0};
        gmp_g *g = spawn(wait_for_it, &w);

        gmp_sleep(MS(1));
        CHECK_OK(gmp_cancel(g));
        CHECK_OK(gmp_join(g));
        CHECK_EQ(w.result, -ECANCELED);
    }
    gone(child);
}

/* One of several waiters gets it; the others learn that it is gone. */
static void several_waiters(void)
{
    pid_t child = child_that(0, MS(5));
    struct waiter w[4];
    gmp_g *g[4];
    int got = 0;

    for (int i = 0; i < 4; i++) {
        w[i] = (struct waiter){child, i % 2 ? WUNTRACED : 0, 0};
        g[i] = spawn(wait_for_it, &w[i]);
    }
    for (int i = 0; i < 4; i++) {
        CHECK_OK(gmp_join(g[i]));
        CHECK(w[i].result == child || w[i].result == -ECHILD);
        got += w[i].result == child;
    }
    CHECK_EQ(got, 1);
}

/* Children that nobody has to wait for leave nothing to wait for. */
static void ignored(void)
{
    struct sigaction ignore = {.sa_handler = SIG_IGN}, old;
    struct waiter w = {-1, 0, 0};
    gmp_g *g;

    CHECK_OK(sigaction(SIGCHLD, &ignore, &old));
    for (int i = 0; i < 2; i++) {
        w.pid = child_that(0, MS(5));
        if (i)
            w.pid = -1;
        g = spawn(wait_for_it, &w);
        CHECK_OK(gmp_join(g));
        CHECK_EQ(w.result, -ECHILD);
    }
    CHECK_OK(sigaction(SIGCHLD, &old, NULL));
}

static void all_of_it(void)
{
    void (*const both[])(void *) = {errors_come_at_once, the_past_tries_once,
                                    ends, stops_and_continues};

    for (int i = 0; i < 4; i++) {
        both[i](NULL);
        CHECK_OK(gmp_join(spawn(both[i], NULL)));
    }
    cancels();
    several_waiters();
    ignored();
}

/* From now on pidfd_open fails so, on all threads. */
static void refuse_pidfds(int error)
{
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 434, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (unsigned)error),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {4, filter};

    CHECK_OK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
    CHECK_OK(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER,
                     SECCOMP_FILTER_FLAG_TSYNC, &program));
}

int test_main(int argc, char **argv)
{
    static const int errors[] = {EPERM, ENOSYS, EACCES, EMFILE};

    CHECK_OK(gmp_wait_init());
    all_of_it();
    if (test_under("valgrind"))
        return 0; /* it knows neither pidfd_open nor seccomp */
    /* One of them a run: of several filters the first would count. */
    refuse_pidfds(errors[getpid() % 4]);
    all_of_it();
    return 0;
}
