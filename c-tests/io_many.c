/* Ten thousand connections that are idle, and a hundred that are not: what an
 * idle one costs, and how many threads there are.
 *
 * The clients are a process of their own, in plain C, so that each process
 * needs one descriptor for a connection. */
#include "io.h"

#include <sys/wait.h>

/* AHEAD: so many clients come before the first of them wants an answer. */
enum { CONNECTIONS = 10000, BUSY = 100, TURNS = 40, AHEAD = 100, SPARE = 100 };

/* As many descriptors as the system lets us have; how many connections. */
static int make_room(void)
{
    struct rlimit limit;

    CHECK_OK(getrlimit(RLIMIT_NOFILE, &limit));
    limit.rlim_cur = limit.rlim_max;
    CHECK_OK(setrlimit(RLIMIT_NOFILE, &limit));
    if (limit.rlim_cur >= CONNECTIONS + SPARE)
        return CONNECTIONS;
    CHECK(limit.rlim_cur > BUSY + SPARE);
    return (int)limit.rlim_cur - SPARE;
}

static void ask(int fd, char question)
{
    CHECK_EQ(write(fd, &question, 1), 1);
}

static void hear(int fd, char answer)
{
    char got = 0;

    CHECK_EQ(read(fd, &got, 1), 1);
    CHECK_EQ(got, answer);
}

/* All come, and each is answered once. */
static void arrive(int *clients, int n, const struct sockaddr_in *address)
{
    const struct sockaddr *to = (const struct sockaddr *)address;
    /* They end with a reset: otherwise each would be remembered for a minute,
     * and the system has room for a number of these. */
    const struct linger reset = {.l_onoff = 1};

    for (int i = 0; i < n + AHEAD; i++) {
        if (i < n) {
            clients[i] = socket(AF_INET, SOCK_STREAM, 0);
            CHECK(clients[i] >= 0);
            CHECK_OK(setsockopt(clients[i], SOL_SOCKET, SO_LINGER, &reset,
                                sizeof reset));
            CHECK_OK(connect(clients[i], to, sizeof *address));
            ask(clients[i], 'x');
        }
        if (i >= AHEAD)
            hear(clients[i - AHEAD], 'x');
    }
}

/* A hundred of them, spread over all, at once and again and again. */
static void traffic(const int *clients, int n)
{
    for (int turn = 0; turn < TURNS; turn++) {
        for (int i = 0; i < BUSY; i++)
            ask(clients[n / BUSY * i], (char)(turn + i));
        for (int i = 0; i < BUSY; i++)
            hear(clients[n / BUSY * i], (char)(turn + i));
    }
}

/* The process of the clients. It tells when all have come, and goes on when
 * it is told to. */
static void be_clients(int n, const struct sockaddr_in *address, int parent)
{
    int *clients = calloc((size_t)n, sizeof *clients);

    CHECK(clients != NULL);
    test_watchdog(60);
    arrive(clients, n, address);
    ask(parent, 'a');
    hear(parent, 'g');
    traffic(clients, n);
    ask(parent, 't');
    hear(parent, 'e');
    for (int i = 0; i < n; i++)
        CHECK_OK(close(clients[i]));
    free(clients);
}

static void echo(void *arg)
{
    int fd = (int)(intptr_t)arg;
    char text[64];
    ssize_t n;

    while ((n = gmp_read(fd, text, sizeof text)) > 0)
        CHECK_EQ(gmp_write_all(fd, text, (size_t)n), n);
    CHECK_EQ(n, -ECONNRESET);
    CHECK_OK(gmp_close(fd));
}

static long resident_kib(void)
{
    return status_value("/proc/self/status", "VmRSS:");
}

static void welcome(int door, gmp_g **all, int n)
{
    for (int i = 0; i < n; i++) {
        int fd = gmp_accept(door, NULL, NULL);

        CHECK(fd >= 0);
        all[i] = spawn(echo, (void *)(intptr_t)fd);
    }
}

/* Watches the threads until the clients say that it is over. */
static void watch(int child)
{
    int most = 0, procs = gmp_set_maxprocs(0);
    char over;

    for (;;) {
        int threads = count_threads();
        ssize_t n = gmp_read_until(child, &over, 1, gmp_after_ns(MS(1)));

        most = threads > most ? threads : most;
        if (n == -ETIMEDOUT)
            continue;
        CHECK_EQ(n, 1);
        CHECK_EQ(over, 't');
        break;
    }
    printf("%d threads at most with %d procs\n", most, procs);
    /* On a machine with much to do a P is handed on now and then, with a
     * thread more each time; their number has nothing to do with n. */
    CHECK(most <= 4 * procs + BUSY / 2);
}

/* The process of the server. */
static void serve(int n, int door, int child)
{
    gmp_g **all = calloc((size_t)n, sizeof *all);
    long before = resident_kib();

    CHECK(all != NULL);
    welcome(door, all, n);
    hear(child, 'a');
    /* Each has answered once, so each waits for the next time. */
    CHECK(gmp_num_goroutines() >= n);
    printf("%d connections, %.1f KiB for each\n", n,
           (double)(resident_kib() - before) / n);
    ask(child, 'g');
    watch(child);
    ask(child, 'e');
    for (int i = 0; i < n; i++)
        CHECK_OK(gmp_join(all[i]));
    free(all);
}

int test_main(int argc, char **argv)
{
    int n = make_room(), door, status, ends[2];
    struct sockaddr_in address;
    pid_t child;

    door = listen_loopback(2 * AHEAD, &address);
    CHECK_OK(socketpair(AF_UNIX, SOCK_STREAM, 0, ends));
    child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        close(ends[0]);
        be_clients(n, &address, ends[1]);
        _exit(0);
    }
    close(ends[1]);
    serve(n, door, ends[0]);
    CHECK_OK(gmp_close(ends[0]));
    CHECK_OK(gmp_close(door));
    CHECK_EQ(waitpid(child, &status, 0), child);
    CHECK_EQ(status, 0);
    return 0;
}
