/* The same, for clients that may fall silent: deadlines. */
#include <gmp.h>
#include <stdio.h>

/* A client may be silent for that long. */
#define PATIENCE 2000000000 /* ns */

static void echo(void *arg)
{
    int fd = *(int *)arg;
    char buf[4096];
    ssize_t n;

    while ((n = gmp_read_until(fd, buf, sizeof buf,
                               gmp_after_ns(PATIENCE))) > 0)
        if (gmp_write_all_until(fd, buf, (size_t)n, NULL,
                                gmp_after_ns(PATIENCE)) != 0)
            break;
    if (n == -ETIMEDOUT)
        gmp_write_all_until(fd, "bye\n", 4, NULL, gmp_after_ns(PATIENCE));
    gmp_close(fd);
}

int main(int argc, char **argv)
{
    char address[32];
    int listener, fd;

    snprintf(address, sizeof address, ":%s", argc > 1 ? argv[1] : "7000");
    listener = gmp_listen("tcp", address);
    if (listener < 0) {
        fprintf(stderr, "%s: %s\n", address, gmp_strerror(listener));
        return 1;
    }
    while ((fd = gmp_accept(listener, NULL, NULL)) >= 0)
        if (gmp_go_copy(echo, &fd, sizeof fd) != 0)
            gmp_close(fd);
    return 1;
}
