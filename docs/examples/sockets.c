/* Sockets: a server, its clients, messages and names. */
#include <arpa/inet.h>
#include <gmp.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

static void echo(void *arg)
{
    int fd = *(int *)arg;
    char buf[256];
    ssize_t n;

    while ((n = gmp_read(fd, buf, sizeof buf)) > 0)
        gmp_write_all(fd, buf, (size_t)n);
    gmp_close(fd);
}

/* Accepts until the listener is closed; a goroutine for each connection. */
static void serve(void *arg)
{
    int listener = *(int *)arg, fd;

    while ((fd = gmp_accept(listener, NULL, NULL)) >= 0)
        if (gmp_go_copy(echo, &fd, sizeof fd) != 0)
            gmp_close(fd);
}

/* Waits at most 5 ms for a client. */
static int accept_soon(int listener)
{
    struct sockaddr_in from;
    unsigned int len = sizeof from;

    return gmp_accept_until(listener, (struct sockaddr *)&from, &len,
                            gmp_after_ns(5000000));
}

static int port_of(int fd)
{
    struct sockaddr_in addr;
    socklen_t len = sizeof addr;

    return getsockname(fd, (struct sockaddr *)&addr, &len) == 0
               ? ntohs(addr.sin_port)
               : -1;
}

/* Connects within a second, says hello, and hears it again. */
static int client(int port)
{
    char address[32], answer[5];
    int fd;

    snprintf(address, sizeof address, "127.0.0.1:%d", port);
    fd = gmp_dial_until("tcp", address, gmp_after_ns(1000000000));
    if (fd < 0)
        return fd;
    gmp_write_all(fd, "hello", 5);
    gmp_read_full(fd, answer, 5);
    gmp_close(fd);
    return memcmp(answer, "hello", 5);
}

/* The same by hand, with a socket of one's own. */
static int connect_by_hand(int port, int64_t deadline)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), rc;

    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    rc = deadline == GMP_FOREVER
             ? gmp_connect(fd, (struct sockaddr *)&to, sizeof to)
             : gmp_connect_until(fd, (struct sockaddr *)&to, sizeof to,
                                 deadline);
    gmp_close(fd);
    return rc;
}

/* Datagrams: asks, and waits at most a second for the answer. */
static int ask(int from, int to)
{
    struct sockaddr_in addr = {.sin_family = AF_INET};
    unsigned int len = sizeof addr;
    char buf[16];

    addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    addr.sin_port = htons(port_of(to));
    if (gmp_sendto(from, "ask", 3, 0, (struct sockaddr *)&addr, len) != 3)
        return -1;
    /* The other side answers whoever has asked. */
    if (gmp_recvfrom(to, buf, sizeof buf, 0, (struct sockaddr *)&addr, &len) !=
            3 ||
        gmp_sendto_until(to, "yes", 3, 0, (struct sockaddr *)&addr, len,
                         gmp_after_ns(1000000000)) != 3)
        return -1;
    return gmp_recvfrom_until(from, buf, sizeof buf, 0, NULL, NULL,
                              gmp_after_ns(1000000000)) == 3
               ? 0
               : -1;
}

/* Messages with several parts, and room for ancillary data. */
static int messages(int a, int b, int64_t deadline)
{
    char text[] = "part one, part two", got[32];
    struct iovec out[] = {{text, 10}, {text + 10, 8}}, in = {got, sizeof got};
    struct msghdr send = {.msg_iov = out, .msg_iovlen = 2};
    struct msghdr receive = {.msg_iov = &in, .msg_iovlen = 1};

    if (gmp_sendmsg(a, &send, 0) != 18 || gmp_recvmsg(b, &receive, 0) != 18)
        return -1;
    if (gmp_sendmsg_until(a, &send, 0, deadline) != 18 ||
        gmp_recvmsg_until(b, &receive, 0, deadline) != 18)
        return -1;
    return memcmp(got, text, 18);
}

/* Looks up a host, within ten seconds or without a limit. */
static int look_up(const char *host, int patient)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *list;
    int rc = patient ? gmp_getaddrinfo(host, "80", &hints, &list)
                     : gmp_getaddrinfo_until(host, "80", &hints, &list,
                                             gmp_after_ns(10000000000));

    if (rc == 0)
        freeaddrinfo(list);
    return rc;
}

static int bound_socket(void)
{
    struct sockaddr_in any = {.sin_family = AF_INET};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    any.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return bind(fd, (struct sockaddr *)&any, sizeof any) == 0 ? fd : -1;
}

int main(void)
{
    int listener = gmp_listen("tcp", "127.0.0.1:0"), pair[2];
    int a = bound_socket(), b = bound_socket(), port, again;
    char address[32];
    gmp_g *server;

    if (listener < 0 || a < 0 || b < 0 ||
        accept_soon(listener) != -ETIMEDOUT ||
        gmp_go_with(NULL, serve, &listener, &server) != 0)
        return 1;
    port = port_of(listener);
    snprintf(address, sizeof address, "127.0.0.1:%d", port);
    again = gmp_dial("tcp", address);
    if (again < 0 || gmp_close(again) != 0 || client(port) != 0 ||
        connect_by_hand(port, GMP_FOREVER) != 0 ||
        connect_by_hand(port, gmp_after_ns(1000000000)) != 0)
        return 1;
    if (ask(a, b) != 0 || look_up("127.0.0.1", 1) != 0 ||
        look_up("127.0.0.1", 0) != 0)
        return 1;
    if (socketpair(AF_UNIX, SOCK_DGRAM, 0, pair) != 0 ||
        messages(pair[0], pair[1], gmp_after_ns(1000000000)) != 0)
        return 1;
    gmp_cancel(server);
    gmp_join(server);
    puts("served");
    return gmp_close(listener);
}
