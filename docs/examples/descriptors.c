/* Descriptors: a goroutine that waits for one costs no thread. */
#include <gmp.h>
#include <stdio.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

/* Copies until the end of the input. */
static int copy(int from, int to)
{
    char buf[4096];
    ssize_t n;

    while ((n = gmp_read(from, buf, sizeof buf)) > 0)
        if ((n = gmp_write_all(to, buf, (size_t)n)) < 0)
            break;
    return n < 0 ? (int)n : 0;
}

/* Waits at most 5 ms for bytes. */
static ssize_t read_soon(int fd, void *buf, size_t n)
{
    return gmp_read_until(fd, buf, n, gmp_after_ns(5000000));
}

/* Sends a part of the bytes, as many as there is room for in 5 ms. */
static ssize_t write_soon(int fd, const void *buf, size_t n)
{
    ssize_t sent = gmp_write_until(fd, buf, n, gmp_after_ns(5000000));

    return sent == -ETIMEDOUT ? 0 : sent;
}

/* Writes once, and learns how much was taken. */
static ssize_t write_some(int fd, const char *text)
{
    return gmp_write(fd, text, strlen(text));
}

struct message {
    char head[4], body[4];
};

/* A message of a fixed size, whole or not at all. */
static int read_message(int fd, struct message *m)
{
    ssize_t n = gmp_read_full(fd, m, sizeof *m);

    if (n < 0)
        return (int)n;
    return n == sizeof *m ? 0 : -EPIPE; /* less: the end came first */
}

/* The same until a deadline; says how much had come by then. */
static int read_message_until(int fd, struct message *m, int64_t deadline)
{
    size_t done;
    int rc = gmp_read_full_until(fd, m, sizeof *m, &done, deadline);

    if (rc == -ETIMEDOUT)
        printf("only %zu bytes\n", done);
    return rc;
}

/* Sends head and body in one system call if there is room. */
static ssize_t write_message(int fd, struct message *m)
{
    struct iovec parts[] = {{m->head, sizeof m->head},
                            {m->body, sizeof m->body}};

    return gmp_writev(fd, parts, 2);
}

static ssize_t write_message_until(int fd, struct message *m, int64_t deadline)
{
    struct iovec parts[] = {{m->head, sizeof m->head},
                            {m->body, sizeof m->body}};

    return gmp_writev_until(fd, parts, 2, deadline);
}

/* Receives head and body into their places. */
static ssize_t read_parts(int fd, struct message *m)
{
    struct iovec parts[] = {{m->head, sizeof m->head},
                            {m->body, sizeof m->body}};

    return gmp_readv(fd, parts, 2);
}

static ssize_t read_parts_until(int fd, struct message *m, int64_t deadline)
{
    struct iovec parts[] = {{m->head, sizeof m->head},
                            {m->body, sizeof m->body}};

    return gmp_readv_until(fd, parts, 2, deadline);
}

/* Waits for another library's descriptor, before a call of that library. */
static int wait_for_input(int fd)
{
    int ready = gmp_wait_fd(fd, GMP_READABLE, gmp_after_ns(5000000));

    return ready < 0 ? ready : 0;
}

/* Sends everything within a second, or says how far it came. */
static int send_report(int fd, const char *text)
{
    size_t done;
    int rc = gmp_write_all_until(fd, text, strlen(text), &done,
                                 gmp_after_ns(1000000000));

    if (rc != 0)
        fprintf(stderr, "%zu bytes sent: %s\n", done, gmp_strerror(rc));
    return rc;
}

int main(void)
{
    struct message m = {"HEAD", "BODY"}, got;
    int64_t soon = gmp_after_ns(1000000000);
    int in[2], out[2];
    char buf[64];

    if (pipe(in) != 0 || pipe(out) != 0)
        return 1;
    if (wait_for_input(in[0]) != -ETIMEDOUT ||
        read_soon(in[0], buf, sizeof buf) != -ETIMEDOUT)
        return 1;
    if (write_message(in[1], &m) != 8 || read_message(in[0], &got) != 0 ||
        write_message_until(in[1], &m, soon) != 8 ||
        read_parts(in[0], &got) != 8 || write_message(in[1], &m) != 8 ||
        read_parts_until(in[0], &got, soon) != 8)
        return 1;
    if (write_some(in[1], "half") != 4 ||
        read_message_until(in[0], &got, gmp_after_ns(1000000)) != -ETIMEDOUT)
        return 1;
    if (write_soon(in[1], "hello ", 6) != 6 || send_report(in[1], "world") != 0)
        return 1;
    gmp_close(in[1]);
    if (copy(in[0], out[1]) != 0 || read_soon(out[0], buf, sizeof buf) != 11)
        return 1;
    printf("%.11s\n", buf);
    gmp_close(in[0]);
    gmp_close(out[0]);
    return gmp_close(out[1]);
}
