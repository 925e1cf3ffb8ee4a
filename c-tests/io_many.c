/* Thousands of connections that are idle, and a hundred that are not: what an
 * idle one costs, and how many threads there are.
 *
 * GMPRT_STRESS makes it ten thousand. */
#include "io.h"

enum { BUSY = 100, TURNS = 40 };

struct connection {
    int client, server;
    gmp_g *g;
};

static struct sockaddr_in address;
static int door;

/* As many descriptors as the system lets us have; how many connections. */
static long make_room(void)
{
    long wanted = test_env("GMPRT_STRESS", 0) > 0 ? 10000 : 2000;
    struct rlimit limit;

    CHECK_OK(getrlimit(RLIMIT_NOFILE, &limit));
    limit.rlim_cur = limit.rlim_max;
    CHECK_OK(setrlimit(RLIMIT_NOFILE, &limit));
    if (limit.rlim_cur < (rlim_t)(2 * wanted + 100))
        wanted = ((long)limit.rlim_cur - 100) / 2;
    CHECK(wanted > BUSY);
    return wanted;
}

static void echo(void *arg)
{
    struct connection *c = arg;
    char text[64];
    ssize_t n;

    while ((n = gmp_read(c->server, text, sizeof text)) > 0)
        CHECK_EQ(gmp_write_all(c->server, text, (size_t)n), n);
    CHECK_EQ(n, 0);
    CHECK_OK(gmp_close(c->server));
}

static void connect_all(struct connection *all, long n)
{
    struct sockaddr *to = (struct sockaddr *)&address;

    for (long i = 0; i < n; i++) {
        all[i].client = socket(AF_INET, SOCK_STREAM, 0);
        CHECK(all[i].client >= 0);
        CHECK_OK(gmp_connect(all[i].client, to, sizeof address));
        all[i].server = gmp_accept(door, NULL, NULL);
        CHECK(all[i].server >= 0);
    }
}

static void talk(void *arg)
{
    const struct connection *c = arg;
    int answer;

    for (int i = 0; i < TURNS; i++) {
        int64_t deadline = gmp_after_ns(SEC(30));

        CHECK_EQ(gmp_write(c->client, &i, sizeof i), sizeof i);
        answer = -1;
        CHECK_EQ(gmp_read_until(c->client, &answer, sizeof answer, deadline),
                 sizeof answer);
        CHECK_EQ(answer, i);
    }
}

/* A hundred of them, spread over all. */
static void traffic(struct connection *all, long n)
{
    gmp_g *talkers[BUSY];
    int most = 0;

    for (int i = 0; i < BUSY; i++)
        talkers[i] = spawn(talk, &all[n / BUSY * i]);
    for (int i = 0; i < BUSY; i++) {
        int threads = count_threads();

        most = threads > most ? threads : most;
        CHECK_OK(gmp_join(talkers[i]));
    }
    printf("%d threads at most with %d procs\n", most, gmp_set_maxprocs(0));
    /* On a machine with much to do a P is handed on now and then, with a
     * thread more each time; their number has nothing to do with n. */
    CHECK(most <= 4 * gmp_set_maxprocs(0) + BUSY / 2);
}

static long resident_kib(void)
{
    return status_value("/proc/self/status", "VmRSS:");
}

int test_main(int argc, char **argv)
{
    long n = make_room(), before;
    struct connection *all = calloc((size_t)n, sizeof *all);

    CHECK(all != NULL);
    door = listen_loopback(128, &address);
    connect_all(all, n);
    before = resident_kib();
    for (long i = 0; i < n; i++)
        all[i].g = spawn(echo, &all[i]);
    /* Each has answered once, so each waits for the next time. */
    for (long i = 0; i < n; i++)
        CHECK_EQ(gmp_write(all[i].client, "x", 1), 1);
    for (long i = 0; i < n; i++)
        CHECK_EQ(gmp_read(all[i].client, &(char){0}, 1), 1);
    printf("%ld connections, %.1f KiB for each\n", n,
           (double)(resident_kib() - before) / (double)n);
    traffic(all, n);
    for (long i = 0; i < n; i++)
        CHECK_OK(gmp_close(all[i].client));
    for (long i = 0; i < n; i++)
        CHECK_OK(gmp_join(all[i].g));
    CHECK_OK(gmp_close(door));
    free(all);
    return 0;
}
