/* Locks, timers, sleeps, and descriptors. */
#include "ops.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { LOCKERS = 8, SLEEPERS = 2000, MESSAGE = 64 };

static const int64_t HOUR = 3600 * (int64_t)1000000000;

static gmp_mutex lock = GMP_MUTEX_INIT;
static gmp_waitgroup done = GMP_WAITGROUP_INIT;
static long counter;

void mutex(long rounds)
{
    for (long i = 0; i < rounds; i++) {
        CHECK(gmp_mutex_lock(&lock) == 0);
        counter++;
        CHECK(gmp_mutex_unlock(&lock) == 0);
    }
    CHECK(counter == rounds);
}

static void lock_and_yield(void *arg)
{
    long rounds = *(long *)arg;

    for (long i = 0; i < rounds; i++) {
        long seen;

        CHECK(gmp_mutex_lock(&lock) == 0);
        seen = counter;
        gmp_yield();
        counter = seen + 1;
        CHECK(gmp_mutex_unlock(&lock) == 0);
    }
    gmp_waitgroup_done(&done);
}

/* Runs fn with &each on n goroutines. */
static void on_many(int n, gmp_fn fn, long *each)
{
    CHECK(gmp_waitgroup_add(&done, n) == 0);
    for (int i = 0; i < n; i++)
        CHECK(gmp_go(fn, each) == 0);
    CHECK(gmp_waitgroup_wait(&done) == 0);
}

void mutex8_yield(long rounds)
{
    long each = rounds / LOCKERS;

    on_many(LOCKERS, lock_and_yield, &each);
    CHECK(counter == rounds);
}

static void never(void *arg)
{
    CHECK(!"a timer of an hour rang");
}

void timer(long rounds)
{
    for (long i = 0; i < rounds; i++) {
        gmp_timer *t = gmp_timer_start(HOUR, 0, never, NULL);

        CHECK(t != NULL);
        gmp_timer_free(t);
    }
}

/* A wave of sleeps that end at once: the pause before that depends on time, but
 * is short of instructions. It is eight times what the last wave took to come,
 * so that none is late. */
static const int64_t FIRST = 1000 * (int64_t)1000000;
static const int64_t LEAST = 150 * (int64_t)1000000;

struct sleeper {
    int64_t late;
    long waves;
};

static void sleep_often(void *arg)
{
    static int64_t began, pause = FIRST;
    static long came;
    struct sleeper *s = arg;

    for (long i = 0; i < s->waves; i++) {
        int64_t until;

        if (came++ % SLEEPERS == 0)
            began = gmp_now();
        until = began + pause;
        if (came % SLEEPERS == 0) {
            int64_t took = gmp_now() - began;

            CHECK(took < pause);
            pause = 8 * took > LEAST ? 8 * took : LEAST;
        }
        CHECK(gmp_sleep_until(until + s->late) == 0);
        counter++;
    }
    gmp_waitgroup_done(&done);
}

void sleeps(long rounds)
{
    static struct sleeper all[SLEEPERS];

    CHECK(gmp_waitgroup_add(&done, SLEEPERS) == 0);
    for (int i = 0; i < SLEEPERS; i++) {
        /* They are due in another order than that in which they come. */
        int64_t late = i * (int64_t)7919 % SLEEPERS;

        all[i] = (struct sleeper){late, rounds / SLEEPERS};
        CHECK(gmp_go(sleep_often, &all[i]) == 0);
    }
    CHECK(gmp_waitgroup_wait(&done) == 0);
    CHECK(counter == rounds);
}

/* Both ends of a connection answer each other, so a round is half of a request
 * and its reply: one read and one write, as a server has them. */
struct end {
    int fd;
    long rounds;
};

static void exchange(struct end *e, bool first)
{
    char buf[2048];

    memset(buf, 'x', MESSAGE);
    if (first)
        CHECK(gmp_write(e->fd, buf, MESSAGE) == MESSAGE);
    for (long i = 0; i < e->rounds; i++) {
        CHECK(gmp_read(e->fd, buf, sizeof buf) == MESSAGE);
        counter++;
        if (!first || i + 1 < e->rounds)
            CHECK(gmp_write(e->fd, buf, MESSAGE) == MESSAGE);
    }
    CHECK(gmp_close(e->fd) == 0);
    gmp_waitgroup_done(&done);
}

static void serve(void *arg)
{
    exchange(arg, false);
}

static void ask(void *arg)
{
    exchange(arg, true);
}

/* A connection of TCP, to oneself. */
static void connect_to_self(int listener, int fds[2])
{
    struct sockaddr_in name;
    socklen_t len = sizeof name;
    int on = 1;

    CHECK(getsockname(listener, (struct sockaddr *)&name, &len) == 0);
    fds[0] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    CHECK(fds[0] >= 0);
    CHECK(gmp_connect(fds[0], (struct sockaddr *)&name, len) == 0);
    fds[1] = gmp_accept(listener, NULL, NULL);
    CHECK(fds[1] >= 0);
    for (int i = 0; i < 2; i++)
        CHECK(setsockopt(fds[i], IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) ==
              0);
}

static void echo(long rounds, int connections)
{
    static struct end ends[64][2];
    int listener = gmp_listen("tcp4", "127.0.0.1:0");

    CHECK(listener >= 0);
    CHECK(gmp_waitgroup_add(&done, 2 * connections) == 0);
    for (int i = 0; i < connections; i++) {
        int fds[2];

        connect_to_self(listener, fds);
        for (int j = 0; j < 2; j++)
            ends[i][j] = (struct end){fds[j], rounds / connections / 2};
        CHECK(gmp_go(serve, &ends[i][0]) == 0);
        CHECK(gmp_go(ask, &ends[i][1]) == 0);
    }
    CHECK(gmp_waitgroup_wait(&done) == 0);
    CHECK(gmp_close(listener) == 0);
    CHECK(counter == rounds / connections / 2 * 2 * connections);
}

void echo1(long rounds)
{
    echo(rounds, 1);
}

void echo64(long rounds)
{
    echo(rounds, 64);
}
