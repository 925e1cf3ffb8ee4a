/* Children and signals. */
#include <gmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

/* Starts a program, and returns its number. */
static pid_t start(const char *path, const char *argument)
{
    pid_t pid = fork();

    if (pid == 0) {
        execl(path, path, argument, (char *)NULL);
        _exit(127);
    }
    return pid;
}

/* Waits for its end, and kills it if that takes more than ten seconds. */
static int run(const char *path, const char *argument)
{
    pid_t pid = start(path, argument);
    int status = 0;
    int rc = gmp_waitpid_until(pid, &status, 0, gmp_after_ns(10000000000));

    if (rc == -ETIMEDOUT) {
        kill(pid, SIGKILL);
        rc = gmp_waitpid(pid, &status, 0);
    }
    if (rc < 0)
        return rc;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* Waits for the signal on a channel, where it is no more than a message. */
static int wait_for_hangup(void)
{
    gmp_chan *signals = gmp_chan_make(sizeof(int), 4);
    int signo = 0;

    if (signals == NULL || gmp_signal_notify(signals, SIGHUP) != 0)
        return -1;
    kill(getpid(), SIGHUP);
    gmp_chan_recv(signals, &signo);
    gmp_signal_stop(signals, SIGHUP); /* it ends the process again */
    gmp_chan_unref(signals);
    return signo;
}

/* Keeps a signal out of a piece of code, on whatever thread it runs. */
static int without_interruption(void (*piece)(void))
{
    sigset_t set, old;
    int rc;

    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    rc = gmp_sigmask(SIG_BLOCK, &set, &old);
    if (rc != 0)
        return rc;
    piece();
    return gmp_sigmask(SIG_SETMASK, &old, NULL);
}

static void piece(void)
{
    puts("a piece of code");
}

int main(void)
{
    if (run("/bin/true", NULL) != 0 || wait_for_hangup() != SIGHUP)
        return 1;
    return without_interruption(piece);
}
