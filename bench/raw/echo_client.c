/* The load for an echo server, which is as cheap as can be, so that the server
 * is what is measured:
 *
 *     echo_client PORT CONNECTIONS SECONDS PID
 *
 * Each connection has one request of 64 bytes on its way at a time; no two are
 * alike, and every answer is compared. After half a second to warm up, it
 * reports how many were answered for each second of CPU time that the process
 * PID, the server, used meanwhile. */
#include <arpa/inet.h>
#include <err.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { SIZE = 64, BATCH = 256 };
static const double WARM_UP = 0.5;

struct connection {
    int fd;
    size_t got; /* bytes of the answer */
    char sent[SIZE], answer[SIZE];
};
static uint64_t requests;

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* User and system time of a process: fields 14 and 15 of its stat file. */
static double cpu_seconds(const char *pid)
{
    char path[64], line[1024];
    unsigned long user, system;
    snprintf(path, sizeof path, "/proc/%s/stat", pid);
    FILE *stat = fopen(path, "r");
    if (stat == NULL || fgets(line, sizeof line, stat) == NULL)
        err(1, "%s", path);
    fclose(stat);
    char *after_name = strrchr(line, ')');
    if (after_name == NULL ||
        sscanf(after_name + 1,
               " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user,
               &system) != 2)
        errx(1, "%s: cannot be read", path);
    return (double)(user + system) / (double)sysconf(_SC_CLK_TCK);
}

static void request(struct connection *c)
{
    requests++;
    for (int i = 0; i < SIZE; i += (int)sizeof requests)
        memcpy(c->sent + i, &requests, sizeof requests);
    c->got = 0;
    if (write(c->fd, c->sent, SIZE) != SIZE)
        err(1, "write");
}

static void make_connection(struct connection *c, int port, int epoll)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    struct epoll_event event = {EPOLLIN, {.ptr = c}};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons((uint16_t)port);
    c->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(c->fd, (struct sockaddr *)&address, sizeof address) != 0)
        err(1, "connect");
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, c->fd, &event) != 0)
        err(1, "epoll_ctl");
}

/* Reads what has come of an answer; 1 once it is complete and right. */
static int answered(struct connection *c)
{
    ssize_t n = read(c->fd, c->answer + c->got, SIZE - c->got);
    if (n <= 0)
        errx(1, "wrong: the server hung up");
    c->got += (size_t)n;
    if (c->got < SIZE)
        return 0;
    if (memcmp(c->sent, c->answer, SIZE) != 0)
        errx(1, "wrong: the answer is not the request");
    return 1;
}

/* Goes on until then; how many requests were answered. */
static long drive(int epoll, double until)
{
    struct epoll_event events[BATCH];
    long answers = 0;
    while (seconds() < until) {
        int ready = epoll_wait(epoll, events, BATCH, 100);
        for (int i = 0; i < ready; i++) {
            struct connection *c = events[i].data.ptr;
            if (!answered(c))
                continue;
            answers++;
            request(c);
        }
    }
    return answers;
}

int main(int argc, char **argv)
{
    if (argc != 5)
        errx(2, "usage: %s PORT CONNECTIONS SECONDS PID", argv[0]);
    int count = atoi(argv[2]), epoll = epoll_create1(0);
    struct connection *connections = calloc((size_t)count, sizeof *connections);
    for (int i = 0; i < count; i++)
        make_connection(&connections[i], atoi(argv[1]), epoll);
    for (int i = 0; i < count; i++)
        request(&connections[i]);
    drive(epoll, seconds() + WARM_UP);

    double cpu = cpu_seconds(argv[4]);
    long answers = drive(epoll, seconds() + atof(argv[3]));
    cpu = cpu_seconds(argv[4]) - cpu;
    if (answers == 0 || cpu <= 0)
        errx(1, "wrong: no answer");
    printf("req_per_cpu_s\t%.1f\n", (double)answers / cpu);
    free(connections);
}
