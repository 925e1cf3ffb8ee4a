/* Sockets: connections accepted and made, how they end, urgent data,
 * datagrams with their addresses, descriptors that travel. */
#include "io.h"

#include <poll.h>

/* A read that waits, and what it gives. */
struct reading {
    int fd;
    char text[64];
    ssize_t n;
};

static void read_some(void *arg)
{
    struct reading *r = arg;

    r->n = gmp_read(r->fd, r->text, sizeof r->text);
}

/* One direction ends; the other goes on. */
static void half_close(void *arg)
{
    for (int i = 0; i < 4; i++) {
        struct ends e = make_ends(i < 2 ? TCP : UNIX_STREAM, i % 2);
        struct reading r = {.fd = e.out};
        struct party reader;

        begin(&reader, i % 2, read_some, &r);
        CHECK_OK(gmp_sleep(US(300)));
        CHECK_OK(shutdown(e.in, SHUT_WR));
        finish(&reader);
        CHECK_EQ(r.n, 0);
        CHECK_EQ(gmp_write(e.in, "x", 1), -EPIPE);
        CHECK_EQ(gmp_write_all(e.out, "back", 4), 4);
        CHECK_EQ(gmp_read_full(e.in, r.text, 4), 4);
        CHECK_OK(memcmp(r.text, "back", 4));
        close_ends(&e);
    }
}

static void reset(int fd)
{
    struct linger at_once = {1, 0};

    CHECK_OK(setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once));
    CHECK_OK(gmp_close(fd));
}

static void resets_are_told(void *arg)
{
    for (int i = 0; i < 4; i++) {
        struct ends e = make_ends(TCP, i % 2);
        struct reading r = {.fd = e.out};
        struct party reader;

        if (i < 2) {
            begin(&reader, i % 2, read_some, &r);
            CHECK_OK(gmp_sleep(US(300)));
            reset(e.in);
            finish(&reader);
        } else {
            CHECK_EQ(gmp_write(e.in, "x", 1), 1);
            reset(e.in);
            read_some(&r);
        }
        /* What came before a reset may be lost with it. */
        CHECK(r.n == -ECONNRESET || (i >= 2 && r.n == 1));
        CHECK(gmp_read(e.out, r.text, 1) <= 0);
        CHECK_EQ(gmp_write(e.out, "x", 1), -EPIPE);
        CHECK_OK(gmp_close(e.out));
    }
}

static bool urgent_is_here(int fd)
{
    struct pollfd look = {.fd = fd, .events = POLLPRI};

    CHECK(poll(&look, 1, 0) >= 0);
    return look.revents & POLLPRI;
}

/* Urgent data passes by what was sent before. */
static void urgent_data(void *arg)
{
    for (int i = 0; i < 2; i++) {
        struct ends e = make_ends(TCP, i % 2);
        char byte = 0, text[8];

        CHECK_EQ(gmp_recvfrom(e.out, &byte, 1, MSG_OOB, NULL, NULL), -EINVAL);
        CHECK_EQ(gmp_write(e.in, "ab", 2), 2);
        CHECK_EQ(gmp_sendto(e.in, "!", 1, MSG_OOB, NULL, 0), 1);
        AWAIT(urgent_is_here(e.out));
        CHECK_EQ(gmp_recvfrom(e.out, &byte, 1, MSG_OOB, NULL, NULL), 1);
        CHECK_EQ(byte, '!');
        CHECK_EQ(gmp_write(e.in, "c", 1), 1);
        CHECK_EQ(gmp_read_full(e.out, text, 3), 3);
        CHECK_OK(memcmp(text, "abc", 3));
        close_ends(&e);
    }
}

static void send_back(void *arg)
{
    struct sockaddr_in from;
    char text[64];

    for (;;) {
        socklen_t len = sizeof from;
        ssize_t n = gmp_recvfrom(*(int *)arg, text, sizeof text, 0,
                                 (struct sockaddr *)&from, &len);

        if (n < 0)
            break;
        CHECK_EQ(len, sizeof from);
        CHECK_EQ(gmp_sendto(*(int *)arg, text, (size_t)n, 0,
                            (struct sockaddr *)&from, len), n);
    }
}

/* Each datagram comes whole, from whom it says; a short buffer cuts it; an
 * empty one is a message too. */
static void datagrams_have_addresses(void *arg)
{
    struct sockaddr_in server_at, client_at, from;
    int server = bind_loopback(SOCK_DGRAM, &server_at);
    int client = bind_loopback(SOCK_DGRAM, &client_at);
    struct sockaddr *to = (struct sockaddr *)&server_at;
    socklen_t len = sizeof from;
    struct party echo;
    char text[64];

    set_nonblocking(server, true);
    begin(&echo, false, send_back, &server);
    for (int i = 0; i < 40; i++) {
        size_t n = (size_t)i % 8;

        CHECK_EQ(gmp_sendto(client, "0123456", n, 0, to, sizeof server_at), n);
        len = sizeof from;
        memset(&from, 0, sizeof from);
        CHECK_EQ(gmp_recvfrom(client, text, sizeof text, 0,
                              (struct sockaddr *)&from, &len), n);
        CHECK_OK(memcmp(text, "0123456", n));
        CHECK_EQ(len, sizeof from);
        CHECK_EQ(from.sin_port, server_at.sin_port);
    }
    CHECK_EQ(gmp_sendto(client, "0123456", 7, 0, to, sizeof server_at), 7);
    CHECK_EQ(gmp_recvfrom(client, text, 3, MSG_TRUNC, NULL, NULL), 7);
    CHECK_EQ(gmp_recvfrom_until(client, text, 3, 0, NULL, NULL, 0),
             -ETIMEDOUT);
    CHECK_EQ(gmp_sendto(client, NULL, 1, 0, to, sizeof server_at), -EINVAL);
    CHECK_EQ(gmp_recvfrom(client, NULL, 1, 0, NULL, NULL), -EINVAL);
    CHECK_OK(gmp_close(server));
    finish(&echo);
    CHECK_OK(gmp_close(client));
}

/* Room for one descriptor that travels. */
union control {
    char bytes[CMSG_SPACE(sizeof(int))];
    struct cmsghdr header;
};

static ssize_t send_fd(int over, int fd, const char *text)
{
    struct iovec part = {(void *)text, strlen(text)};
    union control control;
    struct msghdr msg = {.msg_iov = &part, .msg_iovlen = 1,
                         .msg_control = control.bytes,
                         .msg_controllen = sizeof control.bytes};

    memset(&control, 0, sizeof control);
    control.header.cmsg_level = SOL_SOCKET;
    control.header.cmsg_type = SCM_RIGHTS;
    control.header.cmsg_len = CMSG_LEN(sizeof fd);
    memcpy(CMSG_DATA(&control.header), &fd, sizeof fd);
    return gmp_sendmsg(over, &msg, 0);
}

static void receive_fd(void *arg)
{
    char text[8] = "";
    struct iovec part = {text, sizeof text};
    union control control;
    struct msghdr msg = {.msg_iov = &part, .msg_iovlen = 1,
                         .msg_control = control.bytes,
                         .msg_controllen = sizeof control.bytes};
    int fd;

    CHECK_EQ(gmp_recvmsg(*(int *)arg, &msg, MSG_CMSG_CLOEXEC), 4);
    CHECK_OK(strcmp(text, "here"));
    CHECK_EQ(msg.msg_controllen, sizeof control.bytes);
    CHECK_EQ(control.header.cmsg_type, SCM_RIGHTS);
    memcpy(&fd, CMSG_DATA(&control.header), sizeof fd);
    CHECK_EQ(fcntl(fd, F_GETFD), FD_CLOEXEC);
    CHECK_EQ(gmp_write(fd, "through", 7), 7);
    CHECK_OK(gmp_close(fd));
}

static void descriptors_travel(void *arg)
{
    for (int i = 0; i < 4; i++) {
        struct ends way = make_ends(i < 2 ? UNIX_STREAM : UNIX_PACKET, i % 2);
        struct ends e = make_ends(PIPE, i % 2);
        struct party receiver;
        char text[8] = "";

        begin(&receiver, i % 2, receive_fd, &way.out);
        CHECK_OK(gmp_sleep(US(300)));
        CHECK_EQ(send_fd(way.in, e.in, "here"), 4);
        CHECK_OK(gmp_close(e.in));
        CHECK_EQ(gmp_read_full(e.out, text, sizeof text), 7);
        CHECK_OK(strcmp(text, "through"));
        finish(&receiver);
        CHECK_OK(gmp_close(e.out));
        close_ends(&way);
    }
}

enum { CLIENTS = 96, ACCEPTORS = 8 };

/* Who accepts, from one socket, as many as there are altogether. */
static struct {
    int listener;
    struct sockaddr_in address;
    atomic_int left;
    atomic_int seen[CLIENTS];
} door;

static void accept_one(void *arg)
{
    struct sockaddr_in from;
    socklen_t len = sizeof from;
    int number = -1;
    int fd = gmp_accept(door.listener, (struct sockaddr *)&from, &len);

    CHECK(fd >= 0);
    CHECK_EQ(len, sizeof from);
    CHECK_EQ(from.sin_addr.s_addr, htonl(INADDR_LOOPBACK));
    CHECK_EQ(get_mode(fd) & O_NONBLOCK, 0);
    CHECK_EQ(fcntl(fd, F_GETFD), FD_CLOEXEC);
    CHECK_EQ(gmp_read_full(fd, &number, sizeof number), sizeof number);
    CHECK(number >= 0 && number < CLIENTS);
    atomic_fetch_add(&door.seen[number], 1);
    CHECK_OK(gmp_close(fd));
}

static void accept_many(void *arg)
{
    while (atomic_fetch_sub(&door.left, 1) > 0)
        accept_one(arg);
}

static void connect_one(void *arg)
{
    int number = (int)(intptr_t)arg, type = SOCK_STREAM;
    int fd = socket(AF_INET, number % 2 ? type | SOCK_NONBLOCK : type, 0);
    int mode = get_mode(fd);
    char byte;

    CHECK_OK(gmp_connect(fd, (struct sockaddr *)&door.address,
                         sizeof door.address));
    CHECK_EQ(get_mode(fd), mode);
    CHECK_EQ(gmp_write(fd, &number, sizeof number), sizeof number);
    CHECK_EQ(gmp_read(fd, &byte, 1), 0);
    CHECK_OK(gmp_close(fd));
}

/* Acceptors that take one each, or more; each connection has one of them, and
 * nobody is left waiting where somebody knocks. */
static void each_connection_once(bool one_each, bool hosts)
{
    struct party acceptors[CLIENTS], clients[CLIENTS];
    int n = one_each ? CLIENTS : ACCEPTORS;

    door.listener = listen_loopback(CLIENTS, &door.address);
    atomic_store(&door.left, CLIENTS);
    for (int i = 0; i < n; i++)
        begin(&acceptors[i], hosts && i % 4 == 0,
              one_each ? accept_one : accept_many, NULL);
    for (int i = 0; i < CLIENTS; i++) {
        atomic_store(&door.seen[i], 0);
        begin(&clients[i], hosts && i % 16 == 0, connect_one,
              (void *)(intptr_t)i);
    }
    for (int i = 0; i < CLIENTS; i++)
        finish(&clients[i]);
    for (int i = 0; i < n; i++)
        finish(&acceptors[i]);
    for (int i = 0; i < CLIENTS; i++)
        CHECK_EQ(atomic_load(&door.seen[i]), 1);
    CHECK(get_mode(door.listener) & O_NONBLOCK);
    CHECK_EQ(gmp_accept_until(door.listener, NULL, NULL, 0), -ETIMEDOUT);
    CHECK_OK(gmp_close(door.listener));
}

static void accept_late(void *arg)
{
    CHECK_OK(gmp_sleep(MS(5)));
    for (int i = 0; i < 4; i++) {
        int fd = gmp_accept(*(int *)arg, NULL, NULL);

        CHECK(fd >= 0);
        CHECK_OK(gmp_close(fd));
    }
}

/* A Unix socket's full queue, which connect(2) waits for. */
static void full_queues_are_waited_for(void *arg)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int listener = socket(AF_UNIX, SOCK_STREAM, 0), clients[4];
    struct party server;

    snprintf(address.sun_path + 1, 64, "gmprt-io-%d", (int)getpid());
    CHECK_OK(bind(listener, (struct sockaddr *)&address, sizeof address));
    CHECK_OK(listen(listener, 0));
    begin(&server, false, accept_late, &listener);
    for (int i = 0; i < 4; i++) {
        clients[i] = socket(AF_UNIX, SOCK_STREAM, 0);
        CHECK_OK(gmp_connect(clients[i], (struct sockaddr *)&address,
                             sizeof address));
    }
    finish(&server);
    for (int i = 0; i < 4; i++) {
        CHECK_EQ(gmp_read(clients[i], &(char){0}, 1), 0);
        CHECK_EQ(get_mode(clients[i]) & O_NONBLOCK, 0);
        CHECK_OK(gmp_close(clients[i]));
    }
    CHECK_OK(gmp_close(listener));
}

static void connections_are_refused(void *arg)
{
    struct sockaddr_in address;
    struct sockaddr *to = (struct sockaddr *)&address;
    struct sockaddr_un nowhere = {AF_UNIX, "/nowhere/at/all"};
    int listener = listen_loopback(1, &address), pipe_fd[2];
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    CHECK_OK(gmp_close(listener));
    CHECK_EQ(gmp_connect(fd, to, sizeof address), -ECONNREFUSED);
    CHECK_EQ(get_mode(fd) & O_NONBLOCK, 0);
    CHECK_EQ(gmp_connect(fd, NULL, sizeof address), -EINVAL);
    CHECK_EQ(gmp_accept(fd, NULL, NULL), -EINVAL);
    CHECK_OK(gmp_close(fd));
    CHECK_EQ(gmp_connect(fd, to, sizeof address), -EBADF);
    CHECK_EQ(gmp_accept(fd, NULL, NULL), -EBADF);
    fd = socket(AF_UNIX, SOCK_STREAM, 0);
    CHECK_EQ(gmp_connect(fd, (struct sockaddr *)&nowhere, sizeof nowhere),
             -ENOENT);
    CHECK_OK(gmp_close(fd));
    /* What is no socket is left as it is. */
    CHECK_OK(pipe(pipe_fd));
    CHECK_EQ(gmp_accept(pipe_fd[0], NULL, NULL), -ENOTSOCK);
    CHECK_EQ(gmp_connect(pipe_fd[0], to, sizeof address), -ENOTSOCK);
    CHECK_EQ(gmp_sendto(pipe_fd[1], "x", 1, 0, NULL, 0), -ENOTSOCK);
    CHECK_EQ(gmp_recvmsg(pipe_fd[0], &(struct msghdr){0}, 0), -ENOTSOCK);
    CHECK_EQ(gmp_recvmsg(pipe_fd[0], NULL, 0), -EINVAL);
    CHECK_EQ(gmp_sendmsg(pipe_fd[1], NULL, 0), -EINVAL);
    CHECK_EQ(get_mode(pipe_fd[0]) & O_NONBLOCK, 0);
    CHECK_OK(gmp_close(pipe_fd[0]));
    CHECK_OK(gmp_close(pipe_fd[1]));
}

int test_main(int argc, char **argv)
{
    static const gmp_fn cases[] = {
        half_close,         resets_are_told,
        urgent_data,        datagrams_have_addresses,
        descriptors_travel, full_queues_are_waited_for,
        connections_are_refused,
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        on_both(cases[i], NULL);
    for (int i = 0; i < 4; i++)
        each_connection_once(i & 1, i & 2);
    return 0;
}
