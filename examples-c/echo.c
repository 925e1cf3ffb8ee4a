/* A server that sends back all that it receives: a goroutine for each
 * connection, in plain blocking style.
 *
 *     echo tcp 127.0.0.1:7007
 *     echo unix /tmp/echo.sock
 */
#include <gmp.h>
#include <stdint.h>
#include <stdio.h>
#include <unistd.h>

static const int64_t SECOND = 1000000000;

static void serve(void *arg)
{
    int fd = (int)(intptr_t)arg;
    char buf[2048];
    ssize_t n;
    while ((n = gmp_read(fd, buf, sizeof buf)) > 0 &&
           gmp_write_all(fd, buf, (size_t)n) == n)
        ;
    gmp_close(fd);
}

static int complain(const char *what, int error)
{
    fprintf(stderr, "echo: %s: %s\n", what, gmp_strerror(error));
    return 1;
}

/* Whether an accept with this error may succeed later: descriptors or memory
 * that are short now come back when a connection ends. */
static int passes(int error)
{
    return error == -EMFILE || error == -ENFILE || error == -ENOMEM ||
           error == -ENOBUFS;
}

static int echo(int argc, char **argv)
{
    if (argc != 3) {
        fprintf(stderr, "usage: %s tcp|unix ADDRESS\n", argv[0]);
        return 2;
    }
    int listener = gmp_listen(argv[1], argv[2]);
    if (listener < 0)
        return complain(argv[2], listener);
    for (;;) {
        int fd = gmp_accept(listener, NULL, NULL);
        if (fd >= 0 && gmp_go(serve, (void *)(intptr_t)fd) == 0)
            continue;
        if (fd >= 0)
            gmp_close(fd);
        else if (passes(fd))
            gmp_sleep(SECOND / 100);
        else
            return complain("accept", fd);
    }
}

int main(int argc, char **argv)
{
    return gmp_run_main(argc, argv, echo);
}
