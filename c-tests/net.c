/* Names, listening and dialling; files; children; signals as elements of
 * channels. */
#include "test.h"

#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/wait.h>

/* The port that a socket listens at. */
static int port_of(int fd)
{
    struct sockaddr_storage addr;
    socklen_t len = sizeof addr;

    CHECK_OK(getsockname(fd, (struct sockaddr *)&addr, &len));
    return ntohs(((struct sockaddr_in *)&addr)->sin_port);
}

static void greet_one(void *arg)
{
    int fd = gmp_accept((int)(intptr_t)arg, NULL, NULL);

    CHECK(fd >= 0);
    CHECK_EQ(gmp_write_all(fd, "hello", 5), 5);
    CHECK_OK(gmp_close(fd));
}

/* Listens, dials, and is greeted. */
static void meet(const char *network, const char *listen, const char *dial)
{
    char address[128], got[8] = "";
    int listener = gmp_listen(network, listen), fd;
    gmp_g *server;

    if (listener == -EAFNOSUPPORT || listener == -EADDRNOTAVAIL) {
        test_skip(listen, "this machine has no such addresses");
        return;
    }
    CHECK(listener >= 0);
    CHECK(fcntl(listener, F_GETFD) & FD_CLOEXEC);
    server = spawn(greet_one, (void *)(intptr_t)listener);
    snprintf(address, sizeof address, dial, port_of(listener));
    fd = gmp_dial(network, address);
    CHECK(fd >= 0);
    CHECK(!(fcntl(fd, F_GETFL) & O_NONBLOCK));
    CHECK_EQ(gmp_read_full(fd, got, sizeof got), 5);
    CHECK_EQ(strcmp(got, "hello"), 0);
    CHECK_OK(gmp_join(server));
    CHECK_OK(gmp_close(fd));
    CHECK_OK(gmp_close(listener));
}

/* Whether the machine has the name; minimal ones have no /etc/hosts. */
static bool has_localhost(void)
{
    struct addrinfo *list = NULL;
    int rc = getaddrinfo("localhost", NULL, NULL, &list);

    if (rc == 0)
        freeaddrinfo(list);
    return rc == 0;
}

static void meetings(void)
{
    char path[64];

    meet("tcp4", "127.0.0.1:0", "127.0.0.1:%d");
    meet("tcp", ":0", "127.0.0.1:%d");
    meet("tcp", ":0", ":%d");
    if (has_localhost())
        meet("tcp", "localhost:0", "localhost:%d");
    else
        test_skip("localhost", "the C library does not know it (/etc/hosts)");
    meet("tcp6", "[::1]:0", "[::1]:%d");
    snprintf(path, sizeof path, "/tmp/gmprt-net-%d.sock", (int)getpid());
    unlink(path);
    meet("unix", path, path);
    unlink(path);
}

static void refusals(void)
{
    int listener = gmp_listen("tcp4", "127.0.0.1:0");
    char address[64];

    CHECK(listener >= 0);
    snprintf(address, sizeof address, "127.0.0.1:%d", port_of(listener));
    CHECK_EQ(gmp_listen("tcp4", address), -EADDRINUSE);
    CHECK_OK(gmp_close(listener));
    CHECK_EQ(gmp_dial("tcp", address), -ECONNREFUSED);
    CHECK_EQ(gmp_dial("tcp", "localhost"), -EINVAL);
    CHECK_EQ(gmp_dial("tcp", "::1:80"), -EINVAL);
    CHECK_EQ(gmp_dial("tcp", "localhost:"), -EINVAL);
    CHECK_EQ(gmp_dial("pigeon", "localhost:80"), -EPROTONOSUPPORT);
    CHECK_EQ(gmp_dial(NULL, address), -EINVAL);
    CHECK_EQ(gmp_listen("tcp", NULL), -EINVAL);
    CHECK_EQ(gmp_dial("unix", "/nowhere/at/all"), -ENOENT);
    CHECK_EQ(gmp_dial("tcp6", "127.0.0.1:80"), -EAFNOSUPPORT);
}

static void names(void)
{
    struct addrinfo hints, *list = NULL;

    memset(&hints, 0, sizeof hints);
    hints.ai_socktype = SOCK_STREAM;
    hints.ai_flags = AI_NUMERICHOST;
    CHECK_OK(gmp_getaddrinfo("127.0.0.1", "80", &hints, &list));
    CHECK(list != NULL);
    CHECK_EQ(list->ai_family, AF_INET);
    freeaddrinfo(list);
    CHECK_EQ(gmp_getaddrinfo("not numeric", "80", &hints, &list), -ENOENT);
    CHECK_EQ(gmp_getaddrinfo("127.0.0.1", "80", &hints, NULL), -EINVAL);
}

static void files(void)
{
    char path[64], got[16] = "";
    int fd, pipe_fd[2];
    int64_t offset = 2;

    snprintf(path, sizeof path, "/tmp/gmprt-net-%d.txt", (int)getpid());
    fd = gmp_open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
    CHECK(fd >= 0);
    CHECK_EQ(gmp_pwrite(fd, "0123456789", 10, 0), 10);
    CHECK_OK(gmp_fsync(fd));
    CHECK_EQ(gmp_pread(fd, got, sizeof got, 7), 3);
    CHECK_EQ(strncmp(got, "789", 3), 0);
    CHECK_OK(pipe(pipe_fd));
    CHECK_EQ(gmp_sendfile(pipe_fd[1], fd, &offset, 4), 4);
    CHECK_EQ(offset, 6);
    CHECK_EQ(gmp_read(pipe_fd[0], got, sizeof got), 4);
    CHECK_EQ(strncmp(got, "2345", 4), 0);
    CHECK_EQ(gmp_splice_until(pipe_fd[0], NULL, fd, NULL, 4, 0, 0),
             -ETIMEDOUT);
    CHECK_EQ(gmp_write(pipe_fd[1], "abcd", 4), 4);
    offset = 0;
    CHECK_EQ(gmp_splice(pipe_fd[0], NULL, fd, &offset, 4, 0), 4);
    CHECK_EQ(gmp_pread(fd, got, 6, 0), 6);
    CHECK_EQ(strncmp(got, "abcd45", 6), 0);
    CHECK_EQ(gmp_open("/nowhere/at/all", O_RDONLY, 0), -ENOENT);
    CHECK_EQ(gmp_open(NULL, O_RDONLY, 0), -EINVAL);
    CHECK_EQ(gmp_open_until(path, O_RDONLY, 0, 0), -ETIMEDOUT);
    CHECK_EQ(gmp_pread(-1, got, 1, 0), -EBADF);
    CHECK_OK(gmp_close(pipe_fd[0]));
    CHECK_OK(gmp_close(pipe_fd[1]));
    CHECK_OK(gmp_close(fd));
    unlink(path);
}

static void children(void)
{
    int status = 0;
    pid_t child = fork();

    CHECK(child >= 0);
    if (child == 0) {
        pause();
        _exit(1);
    }
    CHECK_EQ(gmp_waitpid(child, &status, WNOHANG), 0);
    CHECK_EQ(gmp_waitpid_until(child, &status, 0, gmp_after_ns(MS(5))),
             -ETIMEDOUT);
    CHECK_OK(kill(child, SIGKILL));
    CHECK_EQ(gmp_waitpid(child, &status, 0), child);
    CHECK(WIFSIGNALED(status));
    CHECK_EQ(WTERMSIG(status), SIGKILL);
    CHECK(gmp_waitpid(child, &status, 0) < 0);
}

static atomic_int handled;

static void count_signal(int signo)
{
    atomic_fetch_add(&handled, 1);
}

static void signals(void)
{
    gmp_chan *two = gmp_chan_make(sizeof(int), 4);
    gmp_chan *one = gmp_chan_make(sizeof(int), 1);
    gmp_chan *wrong = gmp_chan_make(1, 1);
    struct sigaction action, now;
    int signo = 0;

    memset(&action, 0, sizeof action);
    action.sa_handler = count_signal;
    CHECK_OK(sigaction(SIGUSR1, &action, NULL));
    CHECK_OK(gmp_signal_notify(two, SIGUSR1));
    CHECK_OK(gmp_signal_notify(two, SIGUSR1));
    CHECK_OK(gmp_signal_notify(two, SIGTERM));
    CHECK_OK(gmp_signal_notify(one, SIGUSR1));
    CHECK_OK(kill(getpid(), SIGUSR1));
    CHECK_OK(gmp_chan_recv(two, &signo));
    CHECK_EQ(signo, SIGUSR1);
    CHECK_OK(gmp_chan_recv(one, &signo));
    CHECK_EQ(signo, SIGUSR1);
    /* Our handler tells the relay before it calls the program's. */
    AWAIT(atomic_load(&handled) > 0);
    CHECK_OK(kill(getpid(), SIGTERM));
    CHECK_OK(gmp_chan_recv(two, &signo));
    CHECK_EQ(signo, SIGTERM);
    CHECK_EQ(gmp_chan_try_recv(two, &signo), -EAGAIN);
    CHECK_OK(gmp_signal_stop(two, SIGUSR1));
    CHECK_OK(gmp_signal_stop(one, SIGUSR1));
    CHECK_EQ(gmp_signal_stop(one, SIGUSR1), -EINVAL);
    CHECK_OK(sigaction(SIGUSR1, NULL, &now));
    CHECK(now.sa_handler == count_signal);
    CHECK_OK(gmp_signal_stop(two, SIGTERM));
    CHECK_OK(sigaction(SIGTERM, NULL, &now));
    CHECK(now.sa_handler == SIG_DFL);
    CHECK_EQ(gmp_signal_notify(two, SIGSEGV), -EINVAL);
    CHECK_EQ(gmp_signal_notify(two, SIGKILL), -EINVAL);
    CHECK_EQ(gmp_signal_notify(two, 0), -EINVAL);
    CHECK_EQ(gmp_signal_notify(two, 1000), -EINVAL);
    CHECK_EQ(gmp_signal_notify(wrong, SIGUSR1), -EINVAL);
    CHECK_EQ(gmp_signal_notify(NULL, SIGUSR1), -EINVAL);
    gmp_chan_unref(two);
    gmp_chan_unref(one);
    gmp_chan_unref(wrong);
}

static void all(void *arg)
{
    meetings();
    refusals();
    names();
    files();
    children();
    signals();
}

int test_main(int argc, char **argv)
{
    all(NULL);
    CHECK_OK(gmp_join(spawn(all, NULL)));
    return 0;
}
