/* A server that says what it hears: a goroutine for each connection. */
#include <gmp.h>
#include <stdio.h>

static void echo(void *arg)
{
    int fd = *(int *)arg;
    char buf[4096];
    ssize_t n;

    while ((n = gmp_read(fd, buf, sizeof buf)) > 0)
        if (gmp_write_all(fd, buf, (size_t)n) < 0)
            break;
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
