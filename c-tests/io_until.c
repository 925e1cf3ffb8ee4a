/* Deadlines and cancels of everything that waits for a descriptor: one in the
 * past tries once, a later one ends the wait, and where they race with data
 * no byte is lost and none comes twice. */
#include "io.h"

#include <poll.h>

/* Each call that may wait, on a subject where it does. */
enum call {
    READ,
    READ_FULL,
    READV,
    RECVMSG,
    RECVFROM,
    WAIT_READABLE,
    WRITE,
    WRITE_ALL,
    WRITEV,
    SENDMSG,
    SENDTO,
    WAIT_WRITABLE,
    ACCEPT,
    CONNECT,
    CALLS
};

/* One way is empty, the other is full; nobody knocks at one door, and before
 * the other there is a queue. */
struct subject {
    struct ends empty, full;
    size_t filled;
    int door, clients[8];
    struct sockaddr_in crowded;
    int crowd;
};

static void make_subject(struct subject *s, bool nonblocking)
{
    struct sockaddr_in address;

    s->empty = make_ends(UNIX_STREAM, nonblocking);
    s->full = make_ends(UNIX_STREAM, nonblocking);
    s->filled = fill(&s->full);
    s->door = listen_loopback(4, &address);
    s->crowd = listen_loopback(0, &s->crowded);
    for (int i = 0; i < 8; i++) {
        s->clients[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
        connect(s->clients[i], (struct sockaddr *)&s->crowded,
                sizeof s->crowded);
    }
}

static void drop_subject(struct subject *s)
{
    close_ends(&s->empty);
    close_ends(&s->full);
    CHECK_OK(gmp_close(s->door));
    CHECK_OK(gmp_close(s->crowd));
    for (int i = 0; i < 8; i++)
        CHECK_OK(gmp_close(s->clients[i]));
}

static long write_until(enum call call, int fd, int64_t deadline)
{
    char byte = 'w';
    struct iovec part = {&byte, 1};
    struct msghdr msg = {.msg_iov = &part, .msg_iovlen = 1};
    size_t done = 99;
    int result;

    if (call == WRITE)
        return gmp_write_until(fd, &byte, 1, deadline);
    if (call == WRITEV)
        return gmp_writev_until(fd, &part, 1, deadline);
    if (call == SENDMSG)
        return gmp_sendmsg_until(fd, &msg, 0, deadline);
    if (call == SENDTO)
        return gmp_sendto_until(fd, &byte, 1, 0, NULL, 0, deadline);
    if (call == WAIT_WRITABLE) {
        result = gmp_wait_fd(fd, GMP_WRITABLE, deadline);
        return result == GMP_WRITABLE ? 1 : result;
    }
    result = gmp_write_all_until(fd, &byte, 1, &done, deadline);
    CHECK_EQ(done, result == 0);
    return result ? result : 1;
}

static long read_until(enum call call, int fd, int64_t deadline)
{
    char byte = 'r';
    struct iovec part = {&byte, 1};
    struct msghdr msg = {.msg_iov = &part, .msg_iovlen = 1};
    size_t done = 99;
    long result;

    if (call == READ)
        result = gmp_read_until(fd, &byte, 1, deadline);
    else if (call == READV)
        result = gmp_readv_until(fd, &part, 1, deadline);
    else if (call == RECVMSG)
        result = gmp_recvmsg_until(fd, &msg, 0, deadline);
    else if (call == RECVFROM)
        result = gmp_recvfrom_until(fd, &byte, 1, 0, NULL, NULL, deadline);
    else if (call == WAIT_READABLE)
        return gmp_wait_fd(fd, GMP_READABLE, deadline);
    else {
        result = gmp_read_full_until(fd, &byte, 1, &done, deadline);
        CHECK_EQ(done, result == 0);
        result = result ? result : 1;
    }
    CHECK_EQ(byte, result == 1 ? 'd' : 'r');
    return result;
}

static long connect_until(struct subject *s, int64_t deadline)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    long result = gmp_connect_until(fd, (struct sockaddr *)&s->crowded,
                                    sizeof s->crowded, deadline);

    CHECK_EQ(get_mode(fd) & O_NONBLOCK, 0);
    CHECK_OK(gmp_close(fd));
    return result;
}

static long call_until(enum call call, struct subject *s, int64_t deadline)
{
    if (call == ACCEPT)
        return gmp_accept_until(s->door, NULL, NULL, deadline);
    if (call == CONNECT)
        return connect_until(s, deadline);
    return call < WRITE ? read_until(call, s->empty.out, deadline)
                        : write_until(call, s->full.in, deadline);
}

static const int64_t spans[] = {INT64_MIN, -1, 0, US(1), US(200), MS(2)};

static void waits_until_its_deadline(void *arg)
{
    struct subject *s = arg;

    for (int call = 0; call < CALLS; call++)
        for (size_t i = 0; i < sizeof spans / sizeof *spans; i++) {
            int64_t deadline = gmp_after_ns(spans[i]);

            CHECK_EQ(call_until((enum call)call, s, deadline), -ETIMEDOUT);
            CHECK(gmp_now() >= deadline);
        }
}

/* A deadline in the past does what can be done without waiting. */
static void past_tries_once(void *arg)
{
    static const int64_t past[] = {0, 1, -1, INT64_MIN};
    struct ends e = make_ends(UNIX_STREAM, arg != NULL);
    struct subject s = {.empty = e, .full = e};
    struct sockaddr_in address;
    char text[64];
    size_t done;

    for (int call = 0; call < ACCEPT; call++)
        for (size_t i = 0; i < sizeof past / sizeof *past; i++) {
            CHECK_EQ(write(e.in, "d", 1), 1);
            CHECK_EQ(call_until((enum call)call, &s, past[i]), 1);
            CHECK(recv(e.out, text, sizeof text, MSG_DONTWAIT) !=
                  (call < WAIT_READABLE ? 1 : -1));
        }
    /* What was done before the deadline is told. */
    CHECK_EQ(write(e.in, "abc", 3), 3);
    CHECK_EQ(gmp_read_full_until(e.out, text, 8, &done, 0), -ETIMEDOUT);
    CHECK_EQ(done, 3);
    CHECK_EQ(gmp_read_full_until(e.out, text, 8, NULL, 0), -ETIMEDOUT);
    fill(&e);
    CHECK_EQ(gmp_write_all_until(e.in, text, 8, &done, 0), -ETIMEDOUT);
    CHECK_EQ(done, 0);
    close_ends(&e);
    /* The kernel connects on its own, so the door need not be opened. */
    s.door = listen_loopback(4, &address);
    s.clients[0] = socket(AF_INET, SOCK_STREAM, 0);
    CHECK_OK(gmp_connect_until(s.clients[0], (struct sockaddr *)&address,
                               sizeof address, gmp_after_ns(SEC(900))));
    s.clients[1] = gmp_accept_until(s.door, NULL, NULL, 0);
    CHECK(s.clients[1] >= 0);
    for (int i = 0; i < 2; i++)
        CHECK_OK(gmp_close(s.clients[i]));
    CHECK_OK(gmp_close(s.door));
}

/* Also after reads that fell short, and whether anybody has been told yet of
 * what has come since. */
static void past_tries_after_short_reads(void *arg)
{
    struct ends e = make_ends(TCP, arg != NULL);
    char text[64];

    CHECK_EQ(gmp_read_until(e.out, text, sizeof text, gmp_after_ns(US(200))),
             -ETIMEDOUT);
    for (int i = 0; i < 50; i++) {
        struct pollfd look = {.fd = e.out, .events = POLLIN};

        CHECK_EQ(write(e.in, "abc", 3), 3);
        CHECK_EQ(poll(&look, 1, 10000), 1);
        CHECK_EQ(gmp_read_until(e.out, text, sizeof text, 0), 3);
        CHECK_EQ(gmp_read_until(e.out, text, sizeof text, 0), -ETIMEDOUT);
    }
    close_ends(&e);
}

/* Waits in one of the calls, without a deadline that comes. */
struct waiter {
    struct subject *subject;
    enum call call;
    bool shielded; /* and cancelled before */
    gmp_chan *go;
    int64_t deadline;
    long result;
};

static void wait_in_call(void *arg)
{
    struct waiter *w = arg;

    if (w->shielded) {
        CHECK_OK(gmp_shield_enter());
        while (!gmp_cancelled())
            gmp_yield();
        w->deadline = gmp_after_ns(MS(2));
    }
    w->result = call_until(w->call, w->subject, w->deadline);
    CHECK_EQ(gmp_cancelled(), true);
    if (w->shielded)
        CHECK_OK(gmp_shield_leave());
    CHECK_EQ(call_until(w->call, w->subject, 0), -ECANCELED);
}

static void parked_calls_are_cancelled(struct subject *s)
{
    for (int i = 0; i < 2 * CALLS; i++) {
        struct waiter w = {.subject = s, .call = (enum call)(i % CALLS)};
        gmp_g *g;

        w.deadline = i < CALLS ? GMP_FOREVER : gmp_after_ns(SEC(900));
        g = spawn(wait_in_call, &w);
        CHECK_OK(gmp_sleep(US(300)));
        CHECK_OK(gmp_cancel(g));
        CHECK_OK(gmp_join(g));
        CHECK_EQ(w.result, -ECANCELED);
    }
}

/* Behind a shield only the deadline ends the wait. */
static void shields_hold(struct subject *s)
{
    for (int call = 0; call < CALLS; call++) {
        struct waiter w = {.subject = s, .call = (enum call)call};
        gmp_g *g;

        w.shielded = true;
        g = spawn(wait_in_call, &w);
        CHECK_OK(gmp_cancel(g));
        CHECK_OK(gmp_join(g));
        CHECK_EQ(w.result, -ETIMEDOUT);
        CHECK(gmp_now() >= w.deadline);
    }
}

static void call_cancelled(void *arg)
{
    struct waiter *w = arg;

    CHECK_EQ(gmp_chan_recv(w->go, NULL), -ECANCELED);
    for (int call = 0; call < CALLS; call++)
        for (int i = 0; i < 2; i++)
            CHECK_EQ(call_until((enum call)call, w->subject,
                                i ? GMP_FOREVER : 0),
                     -ECANCELED);
}

/* A cancel that came before counts for more than what is there. */
static void cancelled_calls_do_nothing(void)
{
    struct ends e = make_ends(UNIX_STREAM, false);
    struct subject s = {.empty = e, .full = e};
    struct waiter w = {.subject = &s, .go = make_chan(0, 0)};
    struct sockaddr_in address;
    char text[8];
    gmp_g *g;

    s.door = listen_loopback(4, &address);
    s.crowded = address;
    s.clients[0] = socket(AF_INET, SOCK_STREAM, 0);
    CHECK_OK(gmp_connect(s.clients[0], (struct sockaddr *)&address,
                         sizeof address));
    CHECK_EQ(write(e.in, "d", 1), 1);
    g = spawn(call_cancelled, &w);
    CHECK_OK(gmp_cancel(g));
    CHECK_OK(gmp_join(g));
    CHECK_EQ(recv(e.out, text, sizeof text, MSG_DONTWAIT), 1);
    s.clients[1] = gmp_accept_until(s.door, NULL, NULL, 0);
    CHECK(s.clients[1] >= 0);
    for (int i = 0; i < 2; i++)
        CHECK_OK(gmp_close(s.clients[i]));
    CHECK_OK(gmp_close(s.door));
    close_ends(&e);
    gmp_chan_unref(w.go);
}

/* Where nobody may park, a call does what it can at once. */
static int calls_in_unlockf(gmp_g *g, void *arg)
{
    struct subject *s = arg;

    for (int call = 0; call < CALLS; call++)
        if (call != CONNECT)
            CHECK_EQ(call_until((enum call)call, s, GMP_FOREVER), -EDEADLK);
    CHECK_EQ(write(s->empty.in, "d", 1), 1);
    CHECK_EQ(call_until(READ, s, GMP_FOREVER), 1);
    return 0;
}

static void park_and_call(void *arg)
{
    CHECK_OK(gmp_park(calls_in_unlockf, arg, NULL));
}

/* Readers and writers of one stream whose deadlines come all the time. */
struct racer {
    struct party party;
    struct ends ends;
    uint64_t random, count, sum;
    bool vectors;
};

static atomic_bool over;
/* Calls that have come too late. */
static atomic_long expired;

static int64_t soon(struct racer *r)
{
    return gmp_after_ns((int64_t)(next_random(&r->random) % US(60)) - US(5));
}

static void race_to_write(void *arg)
{
    struct racer *r = arg;

    while (!atomic_load(&over)) {
        unsigned char bytes[700];
        size_t n = 1 + next_random(&r->random) % sizeof bytes, done;
        int result;

        for (size_t i = 0; i < n; i++)
            bytes[i] = (unsigned char)next_random(&r->random);
        result = gmp_write_all_until(r->ends.in, bytes, n, &done, soon(r));
        CHECK(result == -ETIMEDOUT || (result == 0 && done == n));
        CHECK(done <= n);
        atomic_fetch_add(&expired, result != 0);
        r->count += done;
        for (size_t i = 0; i < done; i++)
            r->sum += bytes[i];
    }
}

static void race_to_read(void *arg)
{
    struct racer *r = arg;

    for (;;) {
        unsigned char bytes[512];
        size_t n = 1 + next_random(&r->random) % sizeof bytes;
        struct iovec part = {bytes, n};
        ssize_t got = r->vectors
                          ? gmp_readv_until(r->ends.out, &part, 1, soon(r))
                          : gmp_read_until(r->ends.out, bytes, n, soon(r));

        if (got == 0)
            break;
        if (got < 0) {
            CHECK_EQ(got, -ETIMEDOUT);
            atomic_fetch_add(&expired, 1);
            continue;
        }
        r->count += (uint64_t)got;
        for (ssize_t i = 0; i < got; i++)
            r->sum += bytes[i];
    }
}

enum { SIDE = 3 };

static void every_byte_once(enum link link, bool nonblocking)
{
    static struct racer racers[2 * SIDE];
    struct ends e = make_ends(link, nonblocking);
    uint64_t count = 0, sum = 0;

    make_narrow(link, &e);
    atomic_store(&over, false);
    atomic_store(&expired, 0);
    for (int i = 0; i < 2 * SIDE; i++) {
        racers[i] = (struct racer){.ends = e, .vectors = i % 2};
        racers[i].random = (uint64_t)(i + 10 * link);
        begin(&racers[i].party, i % SIDE == 0,
              i < SIDE ? race_to_write : race_to_read, &racers[i]);
    }
    /* Under a tool it takes longer until a deadline comes first. */
    do
        CHECK_OK(gmp_sleep(MS(40)));
    while (atomic_load(&expired) == 0);
    atomic_store(&over, true);
    for (int i = 0; i < 2 * SIDE; i++) {
        if (i == SIDE)
            CHECK_OK(gmp_close(e.in));
        finish(&racers[i].party);
        count += i < SIDE ? racers[i].count : -racers[i].count;
        sum += i < SIDE ? racers[i].sum : -racers[i].sum;
    }
    CHECK_EQ(count, 0);
    CHECK_EQ(sum, 0);
    CHECK_OK(gmp_close(e.out));
}

int test_main(int argc, char **argv)
{
    struct subject s;

    for (int i = 0; i < 2; i++) {
        make_subject(&s, i);
        on_both(waits_until_its_deadline, &s);
        parked_calls_are_cancelled(&s);
        shields_hold(&s);
        CHECK_OK(gmp_join(spawn(park_and_call, &s)));
        drop_subject(&s);
        on_both(past_tries_once, i ? &s : NULL);
        on_both(past_tries_after_short_reads, i ? &s : NULL);
        every_byte_once(PIPE, i);
        every_byte_once(UNIX_STREAM, i);
        every_byte_once(TCP, i);
    }
    cancelled_calls_do_nothing();
    return 0;
}
