/* An echo server without goroutines: one thread, one epoll instance. It takes
 * for granted what any other may not: that an answer fits into the socket. */
#include "raw.h"

#include <arpa/inet.h>
#include <err.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BATCH = 256 };

static int listen_on_loopback(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t length = sizeof address;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (bind(fd, (struct sockaddr *)&address, length) != 0 ||
        listen(fd, SOMAXCONN) != 0 ||
        getsockname(fd, (struct sockaddr *)&address, &length) != 0)
        err(1, "listen");
    printf("port\t%d\n", ntohs(address.sin_port));
    fflush(stdout);
    return fd;
}

static void watch(int epoll, int fd)
{
    struct epoll_event event = {EPOLLIN, {.fd = fd}};
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) != 0)
        err(1, "epoll_ctl");
}

static void answer(int fd)
{
    char buf[4096];
    ssize_t n = read(fd, buf, sizeof buf);
    if (n <= 0)
        close(fd);
    else if (write(fd, buf, (size_t)n) != n)
        errx(1, "an answer does not fit");
}

/* Echoes until SIGTERM ends the process. */
void echo_server(long n)
{
    (void)n;
    int epoll = epoll_create1(0), listener = listen_on_loopback();
    struct epoll_event events[BATCH];
    watch(epoll, listener);
    for (;;) {
        int ready = epoll_wait(epoll, events, BATCH, -1);
        for (int i = 0; i < ready; i++) {
            int fd = events[i].data.fd;
            if (fd != listener)
                answer(fd);
            else if ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0)
                watch(epoll, fd);
        }
    }
}
