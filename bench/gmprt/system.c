/* What goroutines do to one another and to the machine: stalls of a ticker,
 * wake-ups of an idle process, a server. */
#include "bench.h"

static gmp_waitgroup ended = GMP_WAITGROUP_INIT;
static atomic_bool stop;

static void ticker(void *gaps)
{
    tick(gaps);
    while (!stop) {
        gmp_sleep(MS);
        tick(gaps);
    }
    gmp_waitgroup_done(&ended);
}

static void stall(void (*blocker)(void))
{
    struct gaps gaps = {0, 0};
    gmp_waitgroup_add(&ended, 1);
    go(ticker, &gaps);
    gmp_sleep(100 * MS);
    int64_t start = clock_ns();
    blocker();
    check(clock_ns() - start >= SECOND, "the blocker was too short");
    stop = true;
    gmp_waitgroup_wait(&ended);
    report("ms", (double)gaps.worst / (double)MS);
}

void stall_sleep(void)
{
    stall(sleep_in_c);
}

void stall_burn(void)
{
    stall(burn_in_c);
}

static void park_for_ever(void *never)
{
    gmp_chan_recv(never, NULL);
}

void idle(void)
{
    gmp_chan *never = gmp_chan_make(0, 0);
    gmp_chan *in_an_hour = gmp_after(3600 * SECOND);
    go(park_for_ever, never);
    gmp_sleep(SECOND / 2);
    long before = switches();
    gmp_sleep(2 * SECOND);
    report("wakeups", (double)(switches() - before));
    gmp_chan_unref(in_an_hour);
}

static void serve(void *arg)
{
    int fd = (int)(intptr_t)arg;
    char buf[4096];
    ssize_t n;
    while ((n = gmp_read(fd, buf, sizeof buf)) > 0 &&
           gmp_write_all(fd, buf, (size_t)n) == n)
        ;
    gmp_close(fd);
}

/* Echoes until SIGTERM ends the process. */
void echo_server(void)
{
    struct sockaddr_in address;
    socklen_t length = sizeof address;
    int listener = gmp_listen("tcp4", "127.0.0.1:0"), fd;
    check(listener >= 0, "listen");
    getsockname(listener, (struct sockaddr *)&address, &length);
    report("port", ntohs(address.sin_port));
    while ((fd = gmp_accept(listener, NULL, NULL)) >= 0)
        go(serve, (void *)(intptr_t)fd);
    errx(1, "accept: %s", gmp_strerror(fd));
}
