/* A web server for the files below a directory: HTTP/1.1, a goroutine for
 * each connection, in plain blocking style.
 *
 *     httpd [-c CONNECTIONS] [-t SECONDS] [-i SECONDS] ADDRESS DIRECTORY
 *
 *     acceptor --a goroutine each--> connection: read, answer, read, ...
 *        ^                               ^
 *        '----- main waits for SIGTERM, and cancels them
 *
 * A connection that waits for a request has no buffer; it takes one when there
 * is something to read. A cancel ends its wait. While it answers it is behind a
 * shield, so a stop lets every running request finish. */
#define _GNU_SOURCE
#include "httpd.h"

#include <fcntl.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { SPARE = 64 }; /* buffers that are kept for the next request */
static const int64_t MS = 1000000, SECOND = 1000 * MS;

/* The options of the command line. */
static long most_connections = 10000;
static int64_t request_ns; /* to send a request, and to take a piece of it */
static int64_t idle_ns;    /* between two requests */
static int root;

static gmp_sema slots;    /* a token for each connection more */
static gmp_chan *buffers; /* of struct request *, unused */
static atomic_long requests;
static int64_t most_goroutines; /* that there were at once */

/* --- A connection -------------------------------------------------------- */

static struct request *take_buffer(void)
{
    struct request *r;
    if (gmp_chan_try_recv(buffers, &r) != 0 &&
        (r = malloc(sizeof *r)) == NULL)
        return NULL;
    r->len = r->used = 0;
    return r;
}

static void give_buffer(struct request *r)
{
    if (gmp_chan_try_send(buffers, &r) != 0)
        free(r);
}

/* Ends a connection after an answer. An early close would reset the connection
 * of a client that still sends, which would lose the answer. */
static void linger(struct request *r, int fd)
{
    int64_t deadline = gmp_after_ns(SECOND);
    shutdown(fd, SHUT_WR);
    while (gmp_read_until(fd, r->in, sizeof r->in, deadline) > 0)
        ;
}

/* Answers the requests that have come in; true if more may come. */
static bool converse(struct request *r, int fd)
{
    bool more;
    do {
        int status = request_read(r, fd, gmp_after_ns(request_ns));
        if (status < 0)
            return false;
        requests++;
        more = answer(r, status, fd, root, request_ns);
    } while (more && r->used < r->len);
    if (!more)
        linger(r, fd);
    return more;
}

static int connection(void *arg)
{
    int fd = (int)(intptr_t)arg;
    bool more = true;
    fcntl(fd, F_SETFL, O_NONBLOCK); /* spares gmp_sendfile doing so */
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    while (more && gmp_wait_fd(fd, GMP_READABLE, gmp_after_ns(idle_ns)) > 0) {
        struct request *r = take_buffer();
        if (r == NULL)
            break;
        gmp_shield_enter();
        more = converse(r, fd);
        gmp_shield_leave();
        give_buffer(r);
    }
    gmp_close(fd);
    gmp_sema_release(&slots);
    return 0;
}

/* --- The acceptor -------------------------------------------------------- */

struct acceptor {
    int listener;
    gmp_group *connections;
    gmp_chan *signals; /* tells main of the end */
    int error;         /* and why it ended */
};

/* Accepts until it is cancelled. Clients wait in the listener's queue while the
 * number of connections is at its limit, and while descriptors or memory are
 * short. */
static void acceptor(void *arg)
{
    struct acceptor *a = arg;
    while ((a->error = gmp_sema_acquire(&slots)) == 0) {
        int fd = gmp_accept(a->listener, NULL, NULL);
        if (fd >= 0 && gmp_group_go(a->connections, connection,
                                    (void *)(intptr_t)fd) == 0) {
            int64_t n = gmp_num_goroutines();
            most_goroutines = n > most_goroutines ? n : most_goroutines;
            continue;
        }
        gmp_sema_release(&slots);
        if (fd >= 0) {
            gmp_close(fd);
        } else if (fd == -EMFILE || fd == -ENFILE || fd == -ENOBUFS ||
                   fd == -ENOMEM) {
            gmp_sleep(10 * MS);
        } else {
            a->error = fd;
            break;
        }
    }
    gmp_chan_try_send(a->signals, &(int){0});
}

/* --- The program --------------------------------------------------------- */

static int complain(const char *what, int error)
{
    fprintf(stderr, "httpd: %s: %s\n", what, gmp_strerror(error));
    return 1;
}

/* Prints the address of this server: the kernel may have chosen the port. */
static void announce(int listener, const char *address)
{
    struct sockaddr_storage ss;
    socklen_t len = sizeof ss;
    const char *colon = strrchr(address, ':');
    int port = 0;
    getsockname(listener, (struct sockaddr *)&ss, &len);
    if (ss.ss_family == AF_INET)
        port = ntohs(((struct sockaddr_in *)&ss)->sin_port);
    if (ss.ss_family == AF_INET6)
        port = ntohs(((struct sockaddr_in6 *)&ss)->sin6_port);
    if (colon == NULL || port == 0)
        printf("httpd: listening on %s\n", address);
    else
        printf("httpd: listening on %.*s:%d\n", (int)(colon - address),
               address, port);
    fflush(stdout);
}

/* Serves until a signal comes, and then finishes the running requests. */
static int serve(int listener)
{
    gmp_chan *signals = gmp_chan_make(sizeof(int), 1);
    gmp_g *g;
    struct acceptor a = {listener, gmp_group_make(), signals, 0};
    buffers = gmp_chan_make(sizeof(struct request *), SPARE);
    int rc = signals == NULL || a.connections == NULL || buffers == NULL
                 ? -ENOMEM : 0;
    if (rc != 0 || (rc = gmp_signal_notify(signals, SIGTERM)) != 0 ||
        (rc = gmp_signal_notify(signals, SIGINT)) != 0 ||
        (rc = gmp_go_with(NULL, acceptor, &a, &g)) != 0)
        return complain("start", rc);

    gmp_chan_recv(signals, NULL); /* one, or the acceptor's word */
    gmp_signal_stop(signals, SIGTERM);
    gmp_signal_stop(signals, SIGINT);
    gmp_cancel(g);
    gmp_join(g);
    gmp_close(listener);
    gmp_group_free(a.connections); /* cancels them, and waits */
    printf("httpd: %ld requests, %" PRId64 " goroutines at most\n",
           (long)requests, most_goroutines);

    struct request *r;
    while (gmp_chan_try_recv(buffers, &r) == 0)
        free(r);
    gmp_chan_unref(buffers);
    gmp_chan_unref(signals);
    return a.error == -ECANCELED ? 0 : complain("accept", a.error);
}

/* Parses a number of the command line, or ends the program. */
static long amount(const char *text)
{
    char *end;
    long n = strtol(text, &end, 10);
    if (*text == '\0' || *end != '\0' || n < 1 || n > 1000000) {
        fprintf(stderr, "httpd: %s: want 1 to 1000000\n", text);
        exit(2);
    }
    return n;
}

/* Asks for more than the usual 1024 descriptors. */
static void raise_limit(void)
{
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
}

static int httpd(int argc, char **argv)
{
    request_ns = 10 * SECOND;
    idle_ns = 60 * SECOND;
    bool usage = false;
    for (int opt; (opt = getopt(argc, argv, "c:t:i:")) != -1;) {
        usage |= opt == '?';
        if (opt == 'c')
            most_connections = amount(optarg);
        else if (opt == 't')
            request_ns = amount(optarg) * SECOND;
        else if (opt == 'i')
            idle_ns = amount(optarg) * SECOND;
    }
    if (usage || optind + 2 != argc) {
        fprintf(stderr, "usage: %s [-c CONNECTIONS] [-t SECONDS] [-i SECONDS] "
                        "ADDRESS DIRECTORY\n", argv[0]);
        return 2;
    }
    const char *address = argv[optind], *directory = argv[optind + 1];
    root = open(directory, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (root < 0)
        return complain(directory, errno);
    bool is_path = strchr(address, '/') != NULL;
    int listener = gmp_listen(is_path ? "unix" : "tcp", address);
    if (listener < 0)
        return complain(address, listener);

    tzset(); /* reads a file, at its first use */
    signal(SIGPIPE, SIG_IGN);
    raise_limit();
    slots = (gmp_sema)GMP_SEMA_INIT(most_connections);
    announce(listener, address);
    int status = serve(listener);
    if (is_path)
        unlink(address);
    close(root);
    return status;
}

int main(int argc, char **argv)
{
    return gmp_run_main(argc, argv, httpd);
}
